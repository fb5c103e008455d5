import numpy as np
import pytest
from PIL import Image

from assets.methods.models.skin.baseline import find_evidence
from skin_figure import draw_skin_figure
from support.limb_drawings import bare, clothed

RED, BLUE = (214, 39, 40), (31, 119, 180)


def figure(image):
    return draw_skin_figure(Image.fromarray(image), find_evidence(image))


def columns_of(picture, colour):
    """In which quarters of a picture, from the left, there is a colour."""
    found = np.nonzero((np.asarray(picture) == colour).all(axis=2))[1]
    return set((found * 4 // picture.width).tolist())


def test_limbs_are_drawn_and_then_those_of_the_figure_with_its_torso():
    picture = figure(bare())
    assert columns_of(picture, RED) == {2, 3}
    assert columns_of(picture, BLUE) == {3}


def test_without_a_figure_the_last_picture_is_bare():
    assert columns_of(figure(clothed()), RED) == {2}


def test_marked_skin_is_white_and_what_it_grew_by_is_grey():
    image = np.full((112, 112, 3), (160, 126, 86), dtype=np.uint8)
    image[:, :40] = (228, 75, 75)
    picture = np.asarray(figure(image))
    # The second picture begins after the first, of 260 px, and two gaps of 14 px.
    row = picture[14 + 130, 14 + 260 + 14 : 14 + 260 + 14 + 260]
    scale = 260 / 112
    assert (row[: int(39 * scale)] == 255).all()
    assert (row[int(41 * scale) : int(42 * scale)] == 185).all()
    assert (row[int(44 * scale) :] == 58).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 400), (400, 3), (300, 500)])
def test_images_of_any_shape_are_drawn(shape):
    picture = figure(np.full((*shape, 3), (216, 160, 128), dtype=np.uint8))
    assert picture.mode == "RGB"
    assert picture.width == 14 + 4 * (260 + 14)


def test_the_picture_is_the_same_each_time():
    assert figure(bare()).tobytes() == figure(bare()).tobytes()
