from functools import partial

import numpy as np
import pytest
from PIL import Image

from assets.methods.common.errors import UserError
from assets.methods.models import vector_store
from assets.methods.models.scoring import score_unseen
from assets.methods.models.vector_store import VectorStore
from assets.methods.photos.decode import DECODE_VERSION
from support.classifiers import Brightness
from support.photos import NotedPhotos


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
