import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from assets.methods.common.devices import ComputePlan
from assets.methods.common.errors import UserError
from assets.methods.models.efficientnet_lite0 import PREPROCESSING, packaged_network
from assets.methods.models.forward import unsplit_pool
from assets.methods.models.preprocessing import Preprocessing
from assets.methods.models.torch_classifier import TorchClassifier

PLAIN = Preprocessing(2, 2, (0.0,) * 3, (1 / 255,) * 3, "bicubic")


class Means(torch.nn.Module):
    def forward(self, batch):
        return batch.mean(dim=(2, 3))


def plan(batch_size=1, threads=1, precision="float32"):
    return ComputePlan("cpu", batch_size, precision, threads)


def grey(*values):
    return torch.tensor(values, dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 2, 2)


def test_probabilities_are_the_softmax_by_name():
    classifier = TorchClassifier(Means(), PLAIN, ("a", "b", "c"), "f", plan())
    found = classifier.classify(grey(1, 2, 3))
    exponentials = np.exp([1, 2, 3])
    expected = exponentials / exponentials.sum()
    assert list(found) == ["a", "b", "c"]
    assert [found[name][0] for name in found] == pytest.approx(expected)
    assert found["a"].dtype == np.float32


def test_large_logits_do_not_overflow():
    found = TorchClassifier(Means(), PLAIN, "abc", "f", plan()).classify(grey(0, 255, 255))
    assert [found[name][0] for name in "abc"] == pytest.approx([0, 0.5, 0.5])


def test_no_images_have_no_probabilities():
    found = TorchClassifier(Means(), PLAIN, "abc", "f", plan()).classify([])
    assert {name: len(values) for name, values in found.items()} == {"a": 0, "b": 0, "c": 0}


def test_images_of_any_sizes_may_come_together():
    images = [
        torch.full((3, height, width), 7, dtype=torch.uint8)
        for height, width in ((1, 1), (9, 4), (2, 30))
    ]
    found = TorchClassifier(Means(), PLAIN, "abc", "f", plan(2)).classify(images)
    assert found["b"] == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_image_scores_the_same_bits_in_any_company(batch_size):
    photo = torch.from_numpy(data.chelsea()).permute(2, 0, 1)
    windows = [photo[:, :90, 30 * left : 30 * left + 90] for left in range(9)]
    classifier = TorchClassifier(
        packaged_network(), PREPROCESSING, list(map(str, range(1000))), "f", plan(batch_size, 2)
    )
    with unsplit_pool(classifier.workers) as pool:
        together = classifier.classify(torch.stack(windows))["281"]
        apart = pool.map(lambda window: classifier.classify(window[None])["281"][0], windows)
        mixed = classifier.classify([photo, *windows[::-1]])["281"]
        assert np.array_equal(together, list(apart))
    assert np.array_equal(together, mixed[:0:-1])


def test_the_packaged_network_knows_a_cat():
    image = torch.from_numpy(np.array(Image.fromarray(data.chelsea()))).permute(2, 0, 1)
    names = list(map(str, range(1000)))
    classifier = TorchClassifier(packaged_network(), PREPROCESSING, names, "f", plan())
    found = classifier.classify(image[None])
    assert int(max(found, key=lambda name: found[name][0])) in range(281, 288)


def test_half_precision_has_a_fingerprint_of_its_own():
    whole = TorchClassifier(Means(), PLAIN, "abc", "f", plan()).fingerprint
    half = TorchClassifier(Means(), PLAIN, "abc", "f", plan(precision="bfloat16")).fingerprint
    assert whole == "f"
    int(half, 16)


def test_another_number_of_classes_is_refused():
    with pytest.raises(UserError, match="3 numbers for an image, but 2 class names"):
        TorchClassifier(Means(), PLAIN, "ab", "f", plan()).classify(grey(1, 2, 3))


def test_two_classes_of_one_name_are_refused():
    with pytest.raises(UserError, match="one name"):
        TorchClassifier(Means(), PLAIN, "aba", "f", plan())
