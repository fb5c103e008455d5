import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec
from PIL import Image

from assets.methods.attribution.occlusion import OcclusionSettings
from assets.methods.attribution.occlusion_maps import occlusion_maps
from assets.methods.attribution.window_images import WindowedImage
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.common.devices import ComputeSettings
from assets.methods.common.errors import UserError
from assets.resources.models import Models
from assets.resources.pyfunc_classifier import PyfuncClassifier

IMAGES = TensorSpec(np.dtype("uint8"), (-1, -1, -1, 3))


class Model:
    """What MLflow gives for a model, with a function of the test's in its place."""

    def __init__(self, predict, classes=None, uuid="7d"):
        outputs = classes and Schema([ColSpec("double", name) for name in classes])
        signature = classes and ModelSignature(Schema([IMAGES]), outputs)
        self.metadata = SimpleNamespace(model_uuid=uuid, signature=signature)
        self.answer = predict
        self.seen = []

    def predict(self, batch):
        self.seen.append(batch)
        return self.answer(batch)


def channels(batch):
    """Answer with the mean of each channel, over 255."""
    means = batch.mean(axis=(1, 2)) / 255
    return pd.DataFrame(means, columns=["red", "green", "blue"])


def noise(*shape):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


def test_classes_are_those_of_the_signature_without_a_question():
    model = Model(channels, ["blue", "red"])
    classifier = PyfuncClassifier(model)
    assert classifier.class_names == ("blue", "red")
    assert model.seen == []
    assert list(classifier.classify(noise(1, 3, 4, 5))) == ["blue", "red"]


@pytest.mark.parametrize(
    "predict", [channels, lambda batch: channels(batch).to_dict("list")], ids=["table", "dict"]
)
def test_without_a_signature_classes_are_those_of_an_answer(predict):
    classifier = PyfuncClassifier(Model(predict))
    assert classifier.class_names == ("red", "green", "blue")
    answer = classifier.classify(torch.full((2, 3, 4, 5), 51, dtype=torch.uint8))
    np.testing.assert_allclose(answer["green"], [0.2, 0.2], rtol=1e-6)


def test_a_signature_without_names_is_no_help():
    model = Model(channels, ["ignored"])
    model.metadata.signature = ModelSignature(
        Schema([IMAGES]), Schema([TensorSpec(np.dtype("float64"), (-1, 3))])
    )
    assert PyfuncClassifier(model).class_names == ("red", "green", "blue")


def test_columns_that_are_numbered_are_called_by_their_numbers():
    classifier = PyfuncClassifier(Model(lambda batch: pd.DataFrame(np.full((len(batch), 2), 0.5))))
    assert classifier.class_names == ("0", "1")
    np.testing.assert_array_equal(classifier.classify(noise(2, 3, 4, 5))["1"], [0.5, 0.5])


def test_a_model_that_does_not_name_its_classes_is_refused():
    with pytest.raises(UserError, match=r"does not name its classes.*not ndarray"):
        PyfuncClassifier(Model(lambda batch: np.zeros((len(batch), 2))))


def test_a_batch_is_one_question_with_channels_last():
    model = Model(channels, ["red", "green", "blue"])
    images = noise(3, 3, 4, 5)
    answer = PyfuncClassifier(model).classify(images)
    (batch,) = model.seen
    assert (batch.shape, batch.dtype) == ((3, 4, 5, 3), np.uint8)
    np.testing.assert_array_equal(batch[2, 1, 3], images[2, :, 1, 3])
    for column, name in enumerate(answer):
        expected = images[:, column].numpy().mean(axis=(1, 2)) / 255
        np.testing.assert_allclose(answer[name], expected, rtol=1e-6)
        assert answer[name].dtype == np.float32


def test_images_of_different_sizes_are_answered_in_their_order():
    model = Model(channels, ["red"])
    images = [noise(3, 4, 5), noise(3, 9, 2), noise(3, 4, 5) // 2]
    answer = PyfuncClassifier(model).classify(images)
    assert [batch.shape for batch in model.seen] == [(1, 4, 5, 3), (1, 9, 2, 3), (1, 4, 5, 3)]
    expected = [image[0].float().mean() / 255 for image in images]
    np.testing.assert_allclose(answer["red"], expected, rtol=1e-6)


def test_the_fingerprint_is_that_of_the_model():
    prints = [PyfuncClassifier(Model(channels, ["red"], uuid)).fingerprint for uuid in "aab"]
    assert prints[0] == prints[1] != prints[2]
    assert int(prints[0], 16)


@pytest.mark.parametrize(
    ("predict", "sentence"),
    [
        (lambda batch: pd.DataFrame({"red": np.zeros(len(batch))}), "no column for its class blue"),
        (lambda batch: {"red": [0.0], "blue": [0.0]}, r"shape \(1,\) for red: .* one an image"),
        (lambda batch: {"red": ["much", "little"]}, "no numbers for red"),
    ],
)
def test_an_answer_that_is_not_what_was_promised_is_told(predict, sentence):
    classifier = PyfuncClassifier(Model(predict, ["red", "blue"]))
    with pytest.raises(UserError, match=sentence):
        classifier.classify(noise(2, 3, 4, 5))


def test_a_model_that_does_not_take_images_is_told(tmp_path, brightness):
    other = TensorSpec(np.dtype("float64"), (-1, 7))
    with warnings.catch_warnings():
        # Of type hints in MLflow's own modules.
        warnings.simplefilter("ignore", UserWarning)
        import mlflow.pyfunc

        mlflow.pyfunc.save_model(
            path=tmp_path / "model",
            python_model=brightness,
            signature=ModelSignature(Schema([other]), Schema([ColSpec("double", "bright")])),
            pip_requirements=[],
        )
        classifier = PyfuncClassifier(mlflow.pyfunc.load_model(str(tmp_path / "model")))
    with pytest.raises(UserError, match=r"does not take images as \(n, height, width, 3\) uint8"):
        classifier.classify(noise(2, 3, 4, 5))


def test_a_model_of_mlflow_is_looked_into_by_any_of_its_names(
    tracking, tmp_path, log_model, brightness
):
    log_model(python_model=brightness, registered_model_name="brightness")
    tracking.client.set_registered_model_alias("brightness", "best", "1")
    image = np.zeros((8, 12, 3), np.uint8)
    image[:4, 8:] = 255
    for name in ("models:/brightness@best", "models:/brightness/1"):
        classifier = Models(tmp_path, tracking).load(name, ComputeSettings(), print).classifier
        assert isinstance(classifier, PyfuncClassifier)
        store = WindowScoreStore(tmp_path / name)
        windowed = WindowedImage(Image.fromarray(image), OcclusionSettings(4, 4))
        found = occlusion_maps(windowed, classifier, "bright", store)
        np.testing.assert_array_equal(found["seen"].values, image[..., 0] / 255)
        # Of six windows the white one is all that is bright.
        np.testing.assert_allclose(found["hidden"].values.min(), 5 / 6)
