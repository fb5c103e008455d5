import asyncio
import io
import threading
import time
from functools import partial

import numpy as np
import pytest
from PIL import Image
from skimage import data

from assets.methods.common.devices import ComputeSettings
from assets.methods.common.errors import UserError
from assets.methods.models.backbones import DEFAULT_BACKBONE
from assets.methods.models.embedding import embed_unseen
from assets.methods.models.scoring import score_unseen
from assets.methods.models.vector_store import VectorStore
from assets.methods.photos.animation import Frame
from assets.methods.photos.catalogue import catalogue_photos
from assets.methods.photos.download import FetchLimits
from assets.methods.photos.photo_store import PhotoStore
from assets.resources.models import Models
from assets.resources.registry import CHAMPION_URI, RegisteredModel
from assets.resources.tracking import Tracking
from orchestration.api.contract import ApiError, Code, ImageData
from orchestration.api.inference import served_models
from orchestration.api.inference.served_models import EMBEDDING, NSFW, ServedModels
from orchestration.api.inputs.images import ImageError
from support.small_models import KnownVersions, Redness, coloured, sent, use_small_models

CPU = ComputeSettings("cpu", threads=2)


def picture(red, green=0, blue=0):
    return ImageData(**sent(coloured(red, green, blue))["data"]["image"])


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def warnings_told():
    return []


@pytest.fixture
def serve(warnings_told):
    """Returns a function that serves models until the end of the test."""
    served = []

    def start(models, compute=CPU, on_batch=lambda model, size: None, **settings):
        limits = FetchLimits(allow_private_addresses=True)
        served.append(
            ServedModels(models, compute, limits, warnings_told.append, on_batch, **settings)
        )
        served[-1].start()
        return served[-1]

    yield start
    for one in served:
        one.close()


@pytest.fixture
def versions(tmp_path, monkeypatch):
    use_small_models(monkeypatch)
    return KnownVersions(tmp_path, n=5)


def found(models, *names):
    return asyncio.run(models.find(*names))


def answered(models, model, image):
    return asyncio.run(models.predict(model, image)).output


def refusal(models, *names):
    with pytest.raises(ApiError) as refused:
        found(models, *names)
    return refused.value


@pytest.mark.parametrize("name", ["nsfw", "nsfw-v1.0", "e9576d86d2004ed1a38ba0cf39ecb4b1"])
def test_the_champion_answers_to_its_names(serve, versions, name):
    models = serve(versions)
    model = found(models, name)
    assert (model.id, model.version, model.class_names) == (NSFW, "1", ("other", "red"))
    assert answered(models, model, picture(51)) == pytest.approx([0.8, 0.2], abs=0.02)


@pytest.mark.parametrize("name", ["general-embedding", "bbb5f41425b8468d9b7a554ff10f8581"])
def test_the_embedding_answers_to_its_names(serve, versions, name):
    models = serve(versions)
    model = found(models, name)
    assert (model.id, model.type) == (EMBEDDING, "embed")
    assert answered(models, model, picture(30, 40)) == pytest.approx([0.6, 0.8, 0], abs=0.05)


def test_who_asks_before_the_models_are_loaded_waits(serve, versions):
    versions.gate.clear()
    models = serve(versions)
    assert not models.ready
    threading.Timer(0.2, versions.gate.set).start()
    assert found(models, NSFW).version == "1"
    assert models.ready


def test_a_new_champion_is_noticed(serve, versions):
    models = serve(versions, poll_seconds=0.01)
    old = found(models, NSFW)
    versions.current = "3"
    wait_for(lambda: found(models, NSFW).version == "3")
    assert answered(models, old, picture(51))[1] == pytest.approx(0.2, abs=0.02)


def test_any_registered_version_answers_and_few_are_kept(serve, versions):
    models = serve(versions)
    for number in "23242":
        assert found(models, NSFW, number).version == number
    assert versions.asked == ["2", "3", "4"]
    assert found(models, NSFW, "1") is found(models, NSFW)
    assert found(models, NSFW, "3").version == "3"
    assert versions.asked == ["2", "3", "4", "3"]


@pytest.mark.parametrize("version", ["9", "01", "0", "x", "²", "-1", "9" * 40, "1/../2"])
def test_an_unknown_version_is_no_model(serve, versions, version):
    assert refusal(serve(versions), NSFW, version).code == Code.NO_SUCH_MODEL


def test_the_embedding_has_one_version(serve, versions):
    models = serve(versions)
    assert found(models, EMBEDDING, found(models, EMBEDDING).version).id == EMBEDDING
    assert refusal(models, EMBEDDING, "1").code == Code.NO_SUCH_MODEL


def test_an_unknown_model_is_none(serve, versions):
    assert refusal(serve(versions), "nsfw-v2.0").code == Code.NO_SUCH_MODEL


def test_a_champion_that_cannot_be_loaded_is_told_once_and_tried_again(
    serve, versions, warnings_told
):
    versions.fault = UserError("It is damaged.")
    models = serve(versions, poll_seconds=0.01)
    assert refusal(models, NSFW).http_status == 503
    assert found(models, EMBEDDING).id == EMBEDDING
    assert not models.ready
    versions.fault = None
    wait_for(lambda: models.ready)
    assert found(models, NSFW).version == "1"
    assert warnings_told == ["The champion could not be loaded (It is damaged.)."]


def test_without_the_registry_the_champion_has_no_number_until_it_is_back(
    serve, versions, warnings_told
):
    known = versions.versions["1"]
    versions.versions["1"] = RegisteredModel("", known.weights, known.description, False, "Down.")
    models = serve(versions, poll_seconds=0.01)
    model = found(models, NSFW)
    assert model.version == "champion"
    assert found(models, NSFW, "champion") is model
    versions.versions["1"] = known
    wait_for(lambda: found(models, NSFW).version == "1")
    assert found(models, NSFW).network is model.network
    assert warnings_told == ["Down."]


def test_batches_are_told_of(serve, versions):
    told = []
    models = serve(versions, on_batch=lambda *batch: told.append(batch))
    answered(models, found(models, NSFW), picture(51))
    # Each model has warmed up with a picture of nothing.
    assert told == [(EMBEDDING, 1), (NSFW, 1), (NSFW, 1)]


def test_what_is_no_picture_is_refused(serve, versions):
    models = serve(versions)
    with pytest.raises(ImageError) as refused:
        answered(models, found(models, NSFW), ImageData(base64="aGVsbG8="))
    assert refused.value.code == Code.INPUT_UNSUPPORTED


def test_a_picture_that_cannot_be_downloaded_is_refused(serve, versions):
    models = serve(versions)
    with pytest.raises(ImageError) as refused:
        answered(models, found(models, NSFW), ImageData(url="ftp://example.org/photo.jpg"))
    assert refused.value.code == Code.INPUT_DOWNLOAD_FAILED


def test_too_many_pictures_are_throttled(serve, versions, monkeypatch):
    monkeypatch.setattr(served_models, "Batcher", partial(Batcher_, max_waiting=1))
    entered, opened = threading.Semaphore(0), threading.Event()
    classify = Redness.classify

    def held(self, images):
        entered.release()
        opened.wait(30)
        return classify(self, images)

    models = serve(versions, ComputeSettings("cpu", threads=1))
    model = found(models, NSFW)
    monkeypatch.setattr(Redness, "classify", held)

    async def three():
        first = asyncio.ensure_future(models.predict(model, picture(1)))
        await asyncio.to_thread(entered.acquire)
        second = asyncio.ensure_future(models.predict(model, picture(2)))
        await asyncio.sleep(0.05)
        with pytest.raises(ApiError) as refused:
            await models.predict(model, picture(3))
        opened.set()
        await asyncio.gather(first, second)
        return refused.value

    refused = asyncio.run(three())
    assert refused.code == Code.THROTTLED
    assert int(refused.headers["Retry-After"]) >= 1


Batcher_ = served_models.Batcher


def photographs(folder):
    chelsea = Image.fromarray(data.chelsea())
    for number in range(5):
        crop = chelsea.crop((20 * number, 0, 20 * number + 300 + number, 290))
        crop.save(folder / f"{number}.{'jpg' if number % 2 else 'png'}")


def test_answers_are_bit_for_bit_those_of_the_assets(serve, tmp_path, warnings_told):
    folder = tmp_path / "photos"
    folder.mkdir()
    photographs(folder)
    store = PhotoStore(tmp_path / "store")
    images = catalogue_photos(str(folder), store).images
    ids, home = list(images.image_id), tmp_path / "home"
    kept = Models(home, Tracking(home=str(home)))
    vectors = embed_unseen(
        ids, store.open_working_copy, DEFAULT_BACKBONE, VectorStore(tmp_path / "vectors"), CPU
    ).vectors
    scores = score_unseen(
        ids,
        store.open_working_copy,
        kept.load(CHAMPION_URI, CPU, warnings_told.append).classifier,
        "nsfw",
        VectorStore(tmp_path / "scores"),
    ).scores
    models = serve(kept)

    async def ask(model_id):
        model = await models.find(model_id)
        bodies = [io.BytesIO((folder / uri.rpartition("/")[2]).read_bytes()) for uri in images.uri]
        asked = [ImageData(**sent(body.getvalue())["data"]["image"]) for body in bodies]
        answers = await asyncio.gather(*[models.predict(model, image) for image in asked])
        return model, np.stack([answer.output for answer in answers])

    _, embedded = asyncio.run(ask(EMBEDDING))
    assert embedded.tobytes() == vectors.tobytes()
    model, probabilities = asyncio.run(ask(NSFW))
    assert model.version == "1"
    column = model.class_names.index("nsfw")
    assert probabilities[:, column].tobytes() == scores.tobytes()
    assert warnings_told == []


def animation(levels, size=(16, 16), **options):
    frames = [Image.new("RGB", size, (level, 0, 0)) for level in levels]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:], duration=200, **options)
    return file.getvalue()


def test_the_frame_of_an_animation_with_the_highest_score_answers(serve, versions):
    batches = []
    models = serve(versions, on_batch=lambda name, size: batches.append((name, size)))
    model, embedding = found(models, NSFW), found(models, EMBEDDING)
    batches.clear()
    levels = [10 * number for number in range(20)]
    levels[11] = 245
    image = ImageData(**sent(animation(levels))["data"]["image"])
    answer = asyncio.run(models.predict(model, image))
    assert (answer.frame, answer.note) == (Frame(11, 2.2), None)
    assert answer.output[1] == pytest.approx(0.96, abs=0.02)
    # Eight frames, in batches that are no larger than others.
    assert sum(size for _, size in batches) == 8
    assert max(size for _, size in batches) <= model.network.batch_size
    # A vector is of the frame that the map shows, here the first, which is black.
    batches.clear()
    answer = asyncio.run(models.predict(embedding, image))
    assert answer.frame is None
    assert batches == [(EMBEDDING, 1)]
    still = ImageData(**sent(coloured(200, 0, 0))["data"]["image"])
    assert asyncio.run(models.predict(model, still)).frame is None


def test_how_many_frames_are_scored_is_a_setting(serve, versions):
    levels = [0] * 20
    levels[10] = 245
    # Pillow joins frames that are alike.
    levels[:10], levels[11:] = range(10), range(11, 20)
    image = ImageData(**sent(animation(levels))["data"]["image"])
    for n_frames, frame in ((8, 19), (20, 10)):
        models = serve(versions, frames=n_frames)
        answer = asyncio.run(models.predict(found(models, NSFW), image))
        assert answer.frame.number == frame


def test_a_part_is_cut_out_of_each_frame(serve, versions):
    models = serve(versions)
    model = found(models, NSFW)
    frames = [Image.new("RGB", (40, 20), (0, 0, level)) for level in range(3)]
    frames[2].paste((204, 0, 0), (20, 0, 40, 20))
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    body = sent(file.getvalue())["data"]["image"]
    right = ImageData(**body, crop=(0, 0.5, 1, 1))
    left = ImageData(**body, crop=(0, 0, 1, 0.5))
    answer = asyncio.run(models.predict(model, right))
    assert (answer.frame.number, round(float(answer.output[1]), 2)) == (2, 0.8)
    assert asyncio.run(models.predict(model, left)).output[1] == pytest.approx(0, abs=0.02)
