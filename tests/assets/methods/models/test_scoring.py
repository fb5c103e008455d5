from functools import partial

import numpy as np
import pytest
from PIL import Image
from skimage import data

from assets.methods.common.devices import ComputePlan
from assets.methods.common.errors import UserError
from assets.methods.models import vector_store
from assets.methods.models.classifier_file import convert_open_nsfw, load_classifier
from assets.methods.models.forward import unsplit_pool
from assets.methods.models.scoring import classify_photos, highest_frame, score_unseen
from assets.methods.models.vector_store import VectorStore
from assets.methods.photos.animation import Frame
from assets.methods.photos.decode import DECODE_VERSION
from assets.methods.photos.opened_file import DecodeLimits
from support.classifiers import Brightness
from support.devices import CARD, HAS_CARD, needs_card
from support.photos import NotedPhotos, encoded


def grey(image_id):
    """Draw a photo as bright as ten times its id."""
    return Image.new("L", (int(image_id) + 1, 2), 10 * int(image_id))


Photos = partial(NotedPhotos, grey)


@pytest.fixture
def store(tmp_path):
    return VectorStore(tmp_path)


def expected(ids):
    return [10 * int(one) / 255 for one in ids]


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (4, 1), (128, 4), (3, 2)])
def test_scores_come_in_the_order_asked(store, batch_size, workers):
    classifier = Brightness(batch_size=batch_size, workers=workers)
    ids = list("5310942")
    result = score_unseen(ids, Photos(), classifier, "bright", store)
    assert result.scores.dtype == np.float32
    assert result.scores.tolist() == pytest.approx(expected(ids))
    assert result.n_computed == 7
    assert result.fingerprint == f"b0-{DECODE_VERSION}"
    assert max(classifier.sizes) <= batch_size


def test_each_image_is_classified_once_whatever_the_class(store):
    photos, told = Photos(), []
    score_unseen(list("312"), photos, Brightness(), "bright", store)
    again = score_unseen(
        list("51233"), photos, Brightness(), "dark", store, lambda *tell: told.append(tell)
    )
    assert again.n_computed == 1
    assert photos.loaded == list("1235")
    assert told == [(1, 1)]
    assert again.scores.tolist() == pytest.approx([1 - one for one in expected("51233")])


def test_nothing_to_compute_calls_nothing(store):
    score_unseen(list("12"), Photos(), Brightness(), "bright", store)
    classifier = Brightness()
    assert score_unseen(list("21"), Photos(), classifier, "bright", store).n_computed == 0
    assert classifier.sizes == []


def test_no_images_have_no_scores(store):
    assert score_unseen([], Photos(), Brightness(), "bright", store).scores.shape == (0,)


def test_an_interrupted_run_goes_on_from_its_last_shard(store, monkeypatch):
    monkeypatch.setattr(vector_store, "SHARD_SIZE", 4)
    monkeypatch.setattr(vector_store, "SHARD_SECONDS", 0)
    ids = list("0123456789")
    with pytest.raises(KeyboardInterrupt):
        score_unseen(ids, Photos(broken={"9"}), Brightness(batch_size=2), "bright", store)
    photos, told = Photos(), []
    result = score_unseen(
        ids, photos, Brightness(), "bright", store, lambda *tell: told.append(tell)
    )
    assert photos.loaded == ["8", "9"]
    assert told[-1] == (2, 2)
    assert result.scores.tolist() == pytest.approx(expected(ids))


def test_progress_grows_over_all_shards(store, monkeypatch):
    monkeypatch.setattr(vector_store, "SHARD_SIZE", 4)
    monkeypatch.setattr(vector_store, "SHARD_SECONDS", 0)
    told = []
    score_unseen(
        list("012345"),
        Photos(),
        Brightness(batch_size=2),
        "dark",
        store,
        lambda *tell: told.append(tell),
    )
    assert told == [(2, 6), (4, 6), (6, 6)]


def test_an_unknown_class_is_refused_before_any_work(store):
    photos = Photos()
    with pytest.raises(UserError, match="no class nsfw"):
        score_unseen(["1"], photos, Brightness(), "nsfw", store)
    assert photos.loaded == []


def test_what_is_no_probability_is_refused_and_not_kept(store):
    class Broken(Brightness):
        def classify(self, images):
            return {name: np.full(len(images), np.nan) for name in self.class_names}

    with pytest.raises(UserError, match="as the probability of dark"):
        score_unseen(["1"], Photos(), Broken(), "bright", store)
    assert store.find(f"b0-{DECODE_VERSION}", ["1"]) == {}


@pytest.fixture(scope="module")
def open_nsfw(tmp_path_factory):
    return convert_open_nsfw(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def photographs():
    made = (Image.fromarray(one()) for one in (data.astronaut, data.chelsea, data.coffee))
    corners = [(image, left, upper) for image in made for left in (0, 100) for upper in (0, 80)]
    return {
        str(number): image.crop((left, upper, left + 300, upper + 220))
        for number, (image, left, upper) in enumerate(corners)
    }


def scores_of(photographs, open_nsfw, folder, plan):
    classifier = load_classifier(open_nsfw, plan)
    return score_unseen(
        list(photographs), photographs.get, classifier, "nsfw", VectorStore(folder)
    ).scores


def test_what_is_served_and_what_is_scored_are_the_same_bytes(photographs, open_nsfw, tmp_path):
    plan = ComputePlan("cpu", 4, "float32", 2)
    stored = scores_of(photographs, open_nsfw, tmp_path, plan)
    classifier = load_classifier(open_nsfw, plan)
    with unsplit_pool(2) as pool:
        served = pool.map(lambda one: classify_photos(classifier, [one])[0], photographs.values())
        scores = np.array([row[classifier.class_names.index("nsfw")] for row in served])
    assert scores.tobytes() == stored.tobytes()


class TestOnACard:
    pytestmark = needs_card

    # P(nsfw) of photographs; half precisions carry 11 and 8 bits.
    @pytest.mark.parametrize(
        ("precision", "difference"),
        [("float32", 1e-3), ("tf32", 5e-3), ("float16", 5e-3), ("bfloat16", 5e-2)],
    )
    def test_scores_are_near_to_those_of_the_cpu_and_the_same_bytes_twice(
        self, photographs, open_nsfw, tmp_path, precision, difference
    ):
        if not HAS_CARD and precision in ("float16", "tf32"):
            pytest.skip(f"the CPU does not compute in {precision}")
        card = ComputePlan(CARD, 8, precision, 3)
        on_cpu = ComputePlan("cpu", 4, "float32", 2)
        expected = scores_of(photographs, open_nsfw, tmp_path / "cpu", on_cpu)
        found = scores_of(photographs, open_nsfw, tmp_path / "card", card)
        again = scores_of(photographs, open_nsfw, tmp_path / "again", card)
        assert np.abs(found - expected).max() <= difference
        assert again.tobytes() == found.tobytes()

    def test_what_is_served_and_what_is_scored_are_the_same_bytes(
        self, photographs, open_nsfw, tmp_path
    ):
        card = ComputePlan(CARD, 8, "float32", 3)
        stored = scores_of(photographs, open_nsfw, tmp_path, card)
        classifier = load_classifier(open_nsfw, card)
        with unsplit_pool(3) as pool:
            served = pool.map(
                lambda one: classify_photos(classifier, [one])[0], photographs.values()
            )
            scores = np.array([row[classifier.class_names.index("nsfw")] for row in served])
        assert scores.tobytes() == stored.tobytes()


def test_the_score_of_an_animation_is_the_highest_of_its_frames(store):
    photos, told = Photos(), []
    ids_of = {"5": ["1", "9", "3"], "unused": ["8"]}
    found = score_unseen(
        ["5", "2", "5"],
        photos,
        Brightness(),
        "bright",
        store,
        lambda *tell: told.append(tell),
        ids_of,
    )
    assert found.scores.tolist() == pytest.approx(expected("929"))
    assert found.highest_ids == ["9", "2", "9"]
    # Two photos, of four frames in all.
    assert (found.n_computed, told[-1]) == (2, (4, 4))
    assert sorted(photos.loaded) == list("1239")
    more = score_unseen(["5", "2"], photos, Brightness(), "dark", store, ids_of={"5": list("1934")})
    assert (more.n_computed, more.highest_ids) == (1, ["1", "2"])
    assert photos.loaded[-1] == "4"


def test_the_highest_frame_of_a_file_is_found_in_batches():
    classifier = Brightness(batch_size=3)
    frames = [Image.new("L", (16, 16), 10 * level) for level in (1, 2, 3, 9, 5, 6, 9, 8)]
    data = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=50)

    def highest(data, wanted, class_name):
        found = highest_frame(data, DecodeLimits(), wanted, classifier, class_name)
        return found and found[0]

    # Of equal scores it is the first.
    assert highest(data, None, "bright") == Frame(3, 0.15)
    assert classifier.sizes == [3, 3, 2]
    assert highest(data, 2, "bright") == Frame(7, 0.35)
    assert highest(data, 2, "dark") == Frame(0, 0)
    assert highest(encoded(frames[0], "PNG"), 8, "bright") is None
