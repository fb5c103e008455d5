"""The service asked by the classifier that `explain --model http://...` uses."""

import asyncio
import socket
import threading
from contextlib import contextmanager
from itertools import count

import numpy as np
import pytest
import torch
import uvicorn
from PIL import Image
from skimage import data

from assets.methods.attribution.occlusion import OcclusionSettings
from assets.methods.attribution.occlusion_maps import occlusion_maps, whole_image_score
from assets.methods.attribution.window_images import WindowedImage
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.common.devices import ComputePlan, ComputeSettings
from assets.methods.common.errors import UserError
from assets.methods.models.http_classifier import HttpClassifier, HttpSettings
from assets.methods.models.one_model import by_one_model
from assets.methods.models.preprocessing import Preprocessing
from assets.methods.models.torch_classifier import TorchClassifier
from assets.methods.photos.download import FetchLimits
from orchestration.api.inference import served_models
from orchestration.api.inference.served_models import NSFW, ServedModels
from orchestration.api.routes.models import router
from support.small_app import app_of
from support.small_models import KnownVersions, use_small_models

READS = Preprocessing(24, 20, (0.5,) * 3, (0.25,) * 3, "bicubic")
SETTINGS = HttpSettings(batch_size=8, workers=2)


def network(version):
    torch.manual_seed(int(version))
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 20 * 20, 2))
    plan = ComputePlan("cpu", 4, "float32", 1)
    return TorchClassifier(module, READS, ("red", "other"), f"f{version}", plan)


class Replacing:
    """An application before which another champion is loaded at some of its requests."""

    def __init__(self, app, versions, models, at):
        self.app, self.versions, self.models, self.at = app, versions, models, set(at)
        self._numbers = count()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and next(self._numbers) in self.at:
            self.versions.current = "2" if self.versions.current == "1" else "1"
            while (await self.models.find(NSFW)).version != self.versions.current:
                await asyncio.sleep(0.01)
        await self.app(scope, receive, send)


@pytest.fixture
def versions(tmp_path, monkeypatch):
    use_small_models(monkeypatch)
    monkeypatch.setattr(
        served_models, "load_classifier", lambda weights, plan: network(weights.stem)
    )
    return KnownVersions(tmp_path, n=2)


@contextmanager
def serving(versions, replaced_at=()):
    """Serve the champion on loopback; yields the address of its outputs."""
    limits = FetchLimits(max_bytes=2**20)
    compute = ComputeSettings("cpu", threads=2)
    models = ServedModels(versions, compute, limits, pytest.fail, lambda model, size: None, 0.01)
    models.start()
    app = Replacing(app_of(router, models=models), versions, models, replaced_at)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/v2/models/nsfw/outputs"
        finally:
            server.should_exit = True
            thread.join()
            models.close()


def explained(classifier, folder, notify=pytest.fail, long_side=90):
    image = Image.fromarray(data.coffee()).crop((100, 50, 220, 130))
    windowed = WindowedImage(image, OcclusionSettings(16, 8, long_side=long_side))
    store = WindowScoreStore(folder)

    def compute():
        score = whole_image_score(windowed.scaled, windowed.settings, classifier, "red", store)
        return score, occlusion_maps(windowed, classifier, "red", store)

    return by_one_model(classifier, compute, notify)


def assert_same(found, expected):
    (score, maps), (expected_score, expected_maps) = found, expected
    assert score == pytest.approx(expected_score, abs=1e-6)
    for experiment, one in maps.items():
        other = expected_maps[experiment]
        np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=1e-6)


def test_the_maps_by_the_service_are_the_local_ones(versions, tmp_path):
    with serving(versions) as url:
        classifier = HttpClassifier(url, SETTINGS)
        found = explained(classifier, tmp_path / "remote")
        assert classifier.version == "1"
    assert_same(found, explained(network("1"), tmp_path / "local"))


def test_a_new_champion_within_a_map_begins_it_anew(versions, tmp_path):
    told = []
    with serving(versions, {9}) as url:
        classifier = HttpClassifier(url, SETTINGS)
        found = explained(classifier, tmp_path / "remote", told.append)
        assert classifier.version == "2"
        assert len(told) == 1
        assert "answered by version 1, and answers by version 2 now" in told[0]
        assert_same(found, explained(network("2"), tmp_path / "local"))
        # Back again, in the next call: what is stored of version 1 is gone on with.
        versions.current = "1"
        while (again := HttpClassifier(url, SETTINGS)).version != "1":
            pass
        found = explained(again, tmp_path / "remote")
        assert_same(found, explained(network("1"), tmp_path / "local"))
        assert min(one.n_computed for one in found[1].values()) < 70


def test_champions_that_change_again_and_again_stop_the_map(versions, tmp_path):
    with serving(versions, range(5, 1000, 5)) as url:
        classifier = HttpClassifier(url, SETTINGS)
        with pytest.raises(UserError, match="It is the third change while one result"):
            explained(classifier, tmp_path / "remote", lambda sentence: None)
