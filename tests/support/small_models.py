"""Models with known outputs, and images for them."""

import io
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

from assets.methods.common.errors import UserError
from assets.methods.models.backbones import Backbone
from assets.methods.models.preprocessing import Preprocessing
from assets.resources.registry import RegisteredModel
from orchestration.api.inference import served_models
from support.image_server import packed

SMALL = Preprocessing(2, 2, (0.0,) * 3, (1.0,) * 3, "bicubic")


class Means(torch.nn.Module):
    """The mean of each channel."""

    def forward(self, batch):
        return batch.mean(dim=(2, 3))


class Redness:
    """The class `red` has the mean of the first channel over 255 as its probability."""

    class_names = ("other", "red")
    device, batch_size, workers = "cpu", 2, 1
    preprocessing = SMALL

    def __init__(self, weights):
        self.weights = weights

    def classify(self, images):
        red = np.array([float(image[0].float().mean()) / 255 for image in images], np.float32)
        if (red > 0.98).any():
            raise UserError("So red a picture is refused.")
        return {"red": red, "other": 1 - red}


class KnownVersions:
    """Replaces `Models`: versions of the NSFW model, one of them the champion."""

    def __init__(self, folder: Path, n: int = 1):
        self.versions = {str(number): self._made(folder, str(number)) for number in range(1, n + 1)}
        self.current, self.fault, self.asked = "1", None, []
        self.registry = self
        self.gate = threading.Event()
        self.gate.set()

    def champion(self):
        self.gate.wait(30)
        if self.fault is not None:
            raise self.fault
        return self.versions[self.current]

    def version_at(self, uri):
        number = uri.rpartition("/")[2]
        self.asked.append(number)
        if number not in self.versions:
            raise UserError(f"The model {uri} cannot be loaded.")
        return self.versions[number]

    def _made(self, folder, number):
        weights = folder / f"{number}.safetensors"
        weights.write_bytes(b"")
        return RegisteredModel(
            number, weights, SimpleNamespace(fingerprint=f"f{number}", preprocessing=SMALL)
        )


def use_small_models(monkeypatch):
    """Let `ServedModels` load the models above."""
    backbone = Backbone(Means(), SMALL, 3, "tiny")
    monkeypatch.setattr(served_models, "load_backbone", lambda name: backbone)
    monkeypatch.setattr(served_models, "load_classifier", lambda weights, plan: Redness(weights))


def coloured(red, green=0, blue=0):
    """The bytes of an image."""
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (red, green, blue)).save(out, "PNG")
    return out.getvalue()


def sent(data):
    """An image as base64 in a request."""
    return {"data": {"image": {"base64": packed(data)}}}
