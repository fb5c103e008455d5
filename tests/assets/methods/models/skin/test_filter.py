import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter, median_filter
from skimage.morphology import disk

from assets.methods.models.skin.filter import log_opponent, skin_planes
from support.limb_drawings import bare, body

# Of these, x + 1.5 is 25.5, 76.5 and 229.5: each three times the one before. A step from one to the
# next is 105 log10(3) in L.
LOW, MIDDLE, HIGH = 24, 75, 228
STEP = 105 * np.log10(3)

# The ten tones of the Monk Skin Tone scale, from light to dark.
MONK_TONES = [
    (246, 237, 228),
    (243, 231, 219),
    (247, 234, 208),
    (234, 218, 186),
    (215, 189, 150),
    (160, 126, 86),
    (130, 92, 67),
    (96, 65, 52),
    (58, 49, 42),
    (41, 36, 32),
]


def swatch(colour, shape=(40, 30)):
    return np.full((*shape, 3), colour, dtype=np.uint8)


def mottled(seed, shape=(48, 37)):
    """A picture of smooth blobs of colours that are skin, nearly skin, and anything."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=shape), 3)
    colours = np.array([(228, 75, 75), (160, 126, 86), (216, 160, 128), (60, 90, 160)])
    picture = colours[np.digitize(field, np.quantile(field, [0.25, 0.5, 0.75]))]
    return (picture + rng.integers(0, 12, (*shape, 1))).astype(np.uint8)


def skin_mask(image):
    return skin_planes(image).skin


def test_log_opponent_colours_are_those_of_the_formulas():
    intensity, red_green, blue_yellow = log_opponent(swatch((HIGH, MIDDLE, LOW), (1, 1)))
    assert intensity[0, 0] == pytest.approx(105 * np.log10(76.5))
    assert red_green[0, 0] == pytest.approx(STEP)
    assert blue_yellow[0, 0] == pytest.approx(-1.5 * STEP)


# Rg and By in steps of 50.1, from which hue and saturation follow.
@pytest.mark.parametrize(
    ("colour", "red_green", "blue_yellow", "is_skin"),
    [
        ((HIGH, MIDDLE, LOW), 1, -1.5, True),  # hue 146, saturation 90: the second band
        ((HIGH, MIDDLE, MIDDLE), 1, -0.5, True),  # hue 117, saturation 56: the first band
        ((HIGH, LOW, LOW), 2, -1, False),  # hue 117, saturation 112: too red for the second
        ((HIGH, MIDDLE, HIGH), 1, 0.5, False),  # hue 63: magenta
        ((MIDDLE, MIDDLE, LOW), 0, -1, False),  # hue 180: yellow
        ((LOW, LOW, MIDDLE), 0, 1, False),  # hue 0: blue
        ((LOW, MIDDLE, LOW), -1, -0.5, False),  # hue -117: green
        ((LOW, MIDDLE, MIDDLE), -1, 0.5, False),  # hue -63: cyan
        ((MIDDLE, MIDDLE, MIDDLE), 0, 0, False),
    ],
)
def test_swatches_whose_answer_is_known(colour, red_green, blue_yellow, is_skin):
    planes = skin_planes(swatch(colour))
    if red_green >= 0 >= blue_yellow:
        hue = np.degrees(np.arctan2(red_green, blue_yellow))
        np.testing.assert_allclose(planes.hue, hue, atol=0.5)
        saturation = STEP * np.hypot(red_green, blue_yellow)
        np.testing.assert_allclose(planes.saturation, saturation, atol=0.5)
    assert (planes.texture == 0).all()
    assert (planes.marked == is_skin).all()
    assert (planes.skin == is_skin).all()


@pytest.mark.parametrize(
    ("colour", "is_skin"),
    [
        ((216, 160, 128), True),  # hue 141, saturation 22
        ((224, 172, 140), False),  # hue 142, saturation 19.4: a little paler
        ((160, 82, 45), True),  # hue 144, saturation 51: sienna, as of wood
        ((178, 34, 34), False),  # hue 117, saturation 83: brick red
        ((255, 0, 0), False),  # saturation 262
        ((255, 255, 255), False),
        ((0, 0, 0), False),
    ],
)
def test_named_swatches(colour, is_skin):
    assert (skin_mask(swatch(colour)) == is_skin).all()


def test_pale_and_dark_skin_is_missed():
    """The bias of the filter, which docs/skin-baseline.md tells."""
    found = [number for number, tone in enumerate(MONK_TONES, 1) if skin_mask(swatch(tone)).all()]
    assert found == [7, 8]


@pytest.mark.parametrize(("reach", "is_skin"), [(0, True), (6, True), (16, False)])
def test_texture_is_the_median_distance_from_the_smoothed_intensity(reach, is_skin):
    # Brightness that lies evenly within +-reach in L is half of that from its median, by median.
    rng = np.random.default_rng(0)
    factor = 10 ** (rng.uniform(-reach, reach, (80, 60, 1)) / 105)
    image = np.rint((np.array([150, 111, 89]) + 1.5) * factor - 1.5).astype(np.uint8)
    planes = skin_planes(image)
    inner = planes.texture[12:-12, 12:-12]
    # The median of a disc leans a little towards the pixel in its middle.
    assert abs(inner.mean() - reach / 2) < 0.7
    assert (planes.marked[12:-12, 12:-12] == is_skin).all()


def test_the_planes_are_those_of_scipy_s_medians():
    image = mottled(0, (60, 50))
    intensity, red_green, blue_yellow = log_opponent(image)
    red_green = median_filter(red_green, footprint=disk(2))
    blue_yellow = median_filter(blue_yellow, footprint=disk(2))
    smooth = median_filter(intensity, footprint=disk(4))
    texture = median_filter(np.abs(intensity - smooth), footprint=disk(6))
    planes = skin_planes(image)
    inner = np.zeros(texture.shape, dtype=bool)
    inner[10:-10, 10:-10] = True
    warm, smooth_enough = inner & (red_green >= 0) & (blue_yellow <= 0), inner & (texture < 15)
    assert min(warm.mean(), smooth_enough.mean()) > 0.3
    saturation = np.hypot(red_green, blue_yellow)
    np.testing.assert_allclose(planes.saturation[warm], saturation[warm], atol=0.4)
    np.testing.assert_allclose(planes.texture[smooth_enough], texture[smooth_enough], atol=0.04)


def test_skin_grows_into_what_is_nearly_skin_but_not_far():
    image = swatch((160, 126, 86), (112, 112))  # hue 154, saturation 25: in the weaker band alone
    assert not skin_mask(image).any()
    image[:, :40] = (228, 75, 75)
    planes = skin_planes(image)
    assert planes.scale == 1
    assert np.array_equal(planes.marked[56], np.arange(112) < 40)
    assert np.array_equal(planes.skin[56], np.arange(112) < 43)


@pytest.mark.parametrize(("side", "filled"), [(10, True), (14, False)])
def test_holes_up_to_a_hundredth_of_the_image_are_filled(side, filled):
    image = swatch((216, 160, 128), (112, 112))
    image[50 : 50 + side, 50 : 50 + side] = (60, 90, 160)
    assert skin_mask(image).all() == filled
    assert not skin_planes(image).marked[50 + side // 2, 50 + side // 2]


def test_the_mask_of_a_drawn_body_is_the_body():
    found, drawn = skin_mask(bare()), body()
    assert (found & drawn).sum() / (found | drawn).sum() > 0.96


@given(st.integers(0, 1000))
def test_a_mirrored_or_turned_image_gives_the_mask_mirrored_or_turned(seed):
    image = mottled(seed)
    mask = skin_mask(image)
    assert np.array_equal(skin_mask(image[:, ::-1]), mask[:, ::-1])
    assert np.array_equal(skin_mask(np.rot90(image)), np.rot90(mask))


def test_a_larger_image_is_scaled_down_first():
    small = np.asarray(Image.fromarray(bare()).resize((256, 256), Image.Resampling.NEAREST))
    large = small.repeat(3, axis=0).repeat(3, axis=1)
    mask = skin_mask(small)
    assert 0.1 < mask.mean() < 0.5
    assert np.array_equal(skin_mask(large), mask)


def test_brightness_hardly_matters():
    dim = (bare().astype(float) * 0.6).astype(np.uint8)
    assert (skin_mask(dim) == skin_mask(bare())).mean() > 0.98


@pytest.mark.parametrize(
    ("shape", "filtered"),
    [
        ((1, 1), (1, 1)),
        ((1, 7), (1, 7)),
        ((5, 2), (5, 2)),
        ((3, 2000), (1, 256)),
        ((900, 4), (256, 1)),
    ],
)
@pytest.mark.parametrize("colour", [(216, 160, 128), (128, 128, 128)])
def test_images_of_any_shape_are_filtered(shape, filtered, colour):
    mask = skin_mask(swatch(colour, shape))
    assert mask.shape == filtered
    assert mask.dtype == bool
    assert (mask == (colour != (128, 128, 128))).all()


def test_grey_images_hold_no_skin():
    grey = np.random.default_rng(0).integers(0, 256, (60, 60, 1)).astype(np.uint8)
    assert not skin_mask(np.repeat(grey, 3, axis=2)).any()
