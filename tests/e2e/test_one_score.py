"""One photo has one score, whichever way it is asked for: a small version of bench/one_score.py."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from skimage import data

from assets.methods.common.devices import ComputeSettings, plan_compute
from assets.methods.models.classifier_file import load_classifier, save_classifier
from assets.methods.models.preprocessing import Preprocessing
from assets.methods.models.reference_images import reference_images
from assets.methods.models.scoring import score_image
from assets.resources.models import Models
from assets.resources.registry import CHAMPION
from assets.resources.tracking import Tracking
from assets.results import deconvnet, occlusion
from bench.one_score import command_scores, compared, make_photos, service_scores, show
from orchestration.api.settings import ServeSettings
from support.served_here import served_here


@pytest.fixture
def champion(shared_home, tmp_path):
    """A small network of random weights is the champion, whose scores are far apart."""
    torch.manual_seed(0)
    weights = timm.create_model("test_resnet", num_classes=2).state_dict()
    weights["fc.weight"] = 40 * weights["fc.weight"]
    numbers = Preprocessing(40, 32, (0.5,) * 3, (0.5,) * 3, "bicubic")
    file, image = tmp_path / "tiny.safetensors", Image.fromarray(reference_images()["coffee"])
    answers: dict[str, dict[str, float]] = {}
    for _ in range(2):
        save_classifier(file, weights, "timm:test_resnet", ("sfw", "nsfw"), numbers, answers)
        classifier = load_classifier(file, plan_compute(ComputeSettings(device="cpu")))
        answers = {"coffee": {"nsfw": score_image(classifier, image, "nsfw")}}
    Models(shared_home, Tracking(home=str(shared_home))).registry.register(file, CHAMPION)


@pytest.fixture
def no_figures(monkeypatch):
    """Figures take most of the time, and are tested elsewhere."""
    blank = Image.new("RGB", (8, 8))
    monkeypatch.setattr(deconvnet, "draw_deconvnet_figure", lambda *_, **__: blank)
    for name in ("draw_occlusion_figure", "draw_overlay"):
        monkeypatch.setattr(occlusion, name, lambda *_, **__: blank)


@pytest.mark.usefixtures("champion", "no_figures")
def test_photos_of_all_kinds_have_one_score_by_every_way(tessera, shared_home, tmp_path, capsys):
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    photographs = {"coffee": Image.fromarray(data.coffee()), "cat": Image.fromarray(data.chelsea())}
    # Larger than a working copy, and no whole multiple of it.
    make_photos(folder, photographs, scale=0.15)
    for number in range(2):
        part = photographs["coffee"].crop((100 * number, 50, 100 * number + 300, 250))
        part.save(folder / f"part-{number}.jpg")

    def run(*arguments):
        ran = tessera(*arguments)
        assert ran.code == 0, ran.err

    scores = command_scores(run, folder, out)
    with served_here(shared_home, ServeSettings(allow_private_addresses=True)) as service:
        scores |= service_scores(int(service.base.rpartition(":")[2]), folder)
    table = compared(scores)
    assert len(table) == 10
    assert len([way for way in scores if way not in ("square", "warned")]) == 7
    assert show(table), capsys.readouterr().out
    # Before, explain read the original and deconv a square of it, and said nothing.
    assert np.ptp(table["score"]) > 0.1
    # The first frame is white, and not the one with the highest score.
    reports = [out / folder / "moving" / "report.json" for folder in ("explained", "deconvolved")]
    assert [json.loads(one.read_text())["frame"] > 0 for one in reports] == [True, True]
    assert table.warned.any()
    assert not table.warned.all()
