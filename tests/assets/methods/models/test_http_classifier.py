import base64
import dataclasses
import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from assets.methods.attribution.occlusion import OcclusionSettings
from assets.methods.attribution.occlusion_maps import occlusion_maps
from assets.methods.attribution.window_images import WindowedImage
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.common.errors import UserError
from assets.methods.models.forward import unsplit_pool
from assets.methods.models.http_classifier import KEY_VARIABLE, HttpClassifier, HttpSettings
from assets.methods.models.reference_images import reference_images
from support.black_box import BlackBox, serving
from support.classifiers import Brightness

QUICK = HttpSettings(batch_size=8, tries=3, timeout_seconds=10, first_pause_seconds=0.001)
KEY = "s3cr3t-key"
ANSWER: dict[str, Any] = {
    "status": {"code": 10000},
    "outputs": [{"status": {"code": 10000}, "data": {"concepts": [{"name": "a", "value": 1}]}}],
}


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [
        torch.from_numpy(rng.integers(0, 256, (3, 5 + side, 9), dtype=np.uint8))
        for side in range(20)
    ]


def answered(**changed):
    """Return the answer to one image with its output changed."""
    return json.dumps({**ANSWER, "outputs": [{**ANSWER["outputs"][0], **changed}]}).encode()


def equal(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert np.array_equal(found[name], values)


def test_probabilities_are_the_local_classifiers(images):
    box = BlackBox(Brightness())
    with serving(box) as url:
        found = HttpClassifier(url, QUICK).classify(images)
    equal(found, Brightness().classify(images))
    assert found["bright"].dtype == np.float32
    # The first request learns the classes and the version.
    assert [request["n"] for request in box.requests] == [1, 8, 8, 4]


def test_classes_are_learnt_from_one_request_and_sorted():
    box = BlackBox(Brightness())
    with serving(box) as url:
        classifier = HttpClassifier(url, QUICK)
        assert box.requests == []
        assert classifier.class_names == classifier.class_names == ("bright", "dark")
    assert len(box.requests) == 1


def test_failures_now_and_then_change_nothing(images):
    faults = [
        500,
        None,
        "drop",
        "mixed",
        "slow",
        (429, {"Retry-After": "0"}),
        None,
        503,
        "all fail",
    ]
    box = BlackBox(Brightness(), lambda number: faults[number % len(faults)])
    settings = HttpSettings(batch_size=3, tries=12, timeout_seconds=10, first_pause_seconds=0.001)
    with serving(box) as url:
        classifier = HttpClassifier(url, settings)
        with unsplit_pool(classifier.workers) as pool:
            parts = list(
                pool.map(classifier.classify, [images[i : i + 3] for i in range(0, 20, 3)])
            )
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    equal(found, Brightness().classify(images))


def test_of_a_mixed_batch_only_what_failed_is_asked_again(images):
    box = BlackBox(Brightness(), lambda number: "mixed" if number == 1 else None)
    with serving(box) as url:
        found = HttpClassifier(url, QUICK).classify(images[:5])
    equal(found, Brightness().classify(images[:5]))
    assert [request["n"] for request in box.requests] == [1, 5, 3]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (500, "failed 3 times, the last time because of HTTP status 500, code 10020 failure"),
        (408, "because of HTTP status 408"),
        ((429, {"Retry-After": "0"}), "because of HTTP status 429"),
        ("drop", "because the connection failed or broke off"),
        ("all fail", "because an image failed: code 10020 busy"),
        (b'{"status": {"code": 10020, "description": "down"}}', "request failed: code 10020 down"),
    ],
)
def test_what_goes_on_failing_is_told_after_so_many_tries(images, fault, message):
    box = BlackBox(Brightness(), lambda number: fault)
    with serving(box) as url, pytest.raises(UserError, match=message):
        HttpClassifier(url, QUICK).classify(images[:2])
    assert len(box.requests) == 3


def test_a_server_that_is_silent_is_told(images):
    box = BlackBox(Brightness(), lambda number: "slow")
    settings = HttpSettings(tries=2, timeout_seconds=0.01, first_pause_seconds=0.001)
    with serving(box) as url, pytest.raises(UserError, match="it did not answer in time"):
        HttpClassifier(url, settings).classify(images[:1])


def test_maps_are_the_same_from_a_black_box_that_fails_drops_and_answers_too_late(tmp_path):
    image = Image.fromarray(reference_images()["coffee"][::12, ::12])
    windowed = WindowedImage(image, OcclusionSettings(8, 4))
    faults = {1: 503, 2: "slow", 4: "drop", 5: "mixed", 7: "slow", 9: (429, {"Retry-After": "0"})}
    box = BlackBox(Brightness(), faults.get)
    impatient = dataclasses.replace(QUICK, timeout_seconds=0.5, tries=6)
    box.slow_seconds = 3 * impatient.timeout_seconds
    store = WindowScoreStore(tmp_path / "local")
    local = occlusion_maps(windowed, Brightness(), "bright", store)
    with serving(box) as url:
        store = WindowScoreStore(tmp_path / "remote")
        remote = occlusion_maps(windowed, HttpClassifier(url, impatient), "bright", store)
    assert len(box.requests) > max(faults)
    for experiment, found in local.items():
        np.testing.assert_allclose(remote[experiment].values, found.values, rtol=0, atol=1e-6)


def test_an_address_where_nobody_listens_is_told(images):
    with serving(BlackBox(Brightness())) as url:
        pass
    with pytest.raises(UserError, match=r"failed 3 times.*the connection failed"):
        HttpClassifier(url, QUICK).classify(images[:1])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (400, "refused the request .HTTP status 400, code 10020"),
        (404, "HTTP status 404"),
        (401, f"set the environment variable {KEY_VARIABLE}"),
        ((302, {"Location": "http://127.0.0.1:1/"}), "give the address that it redirects to"),
    ],
)
def test_a_refusal_is_told_at_once(images, fault, message):
    box = BlackBox(Brightness(), lambda number: fault)
    with serving(box) as url, pytest.raises(UserError, match=message):
        HttpClassifier(url, QUICK).classify(images[:1])
    assert len(box.requests) == 1


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"<html>", "one output for each of 1 images"),
        (b"[]", "one output for each of 1 images"),
        (b'{"outputs": []}', "one output for each of 1 images"),
        (b'{"outputs": {}}', "one output for each of 1 images"),
        (answered(data={}), "without data.concepts"),
        (answered(data={"concepts": 5}), "without data.concepts"),
        (answered(data={"concepts": ["a"]}), "without data.concepts"),
        (answered(data={"concepts": [{"name": "a"}]}), "without data.concepts"),
        (answered(data={"concepts": []}), "a class twice, or none"),
        (answered(data={"concepts": 2 * [{"name": "a", "value": 1}]}), "a class twice, or none"),
        (answered(data={"concepts": [{"name": "a", "value": "1"}]}), "of the wrong type"),
        (answered(data={"concepts": [{"name": "a", "value": True}]}), "of the wrong type"),
        (answered(data={"concepts": [{"name": 7, "value": 1}]}), "of the wrong type"),
        (answered(data={"concepts": [{"name": [], "value": 1}]}), "without data.concepts"),
    ],
)
def test_a_malformed_reply_is_told_at_once(images, reply, message):
    box = BlackBox(Brightness(), lambda number: reply)
    with serving(box) as url, pytest.raises(UserError, match=message):
        HttpClassifier(url, QUICK).classify(images[:1])
    assert len(box.requests) == 1


def test_an_output_without_a_status_has_failed(images):
    box = BlackBox(Brightness(), lambda number: answered(status="fine"))
    with serving(box) as url, pytest.raises(UserError, match="image failed: it has no status"):
        HttpClassifier(url, QUICK).classify(images[:1])


def test_classes_that_change_are_told(images):
    box = BlackBox(Brightness(), lambda number: answered() if number == 0 else None)
    with serving(box) as url:
        classifier = HttpClassifier(url, QUICK)
        assert classifier.class_names == ("a",)
        with pytest.raises(UserError, match="answers now with the class a, now without"):
            classifier.classify(images[:1])


def test_the_key_is_sent_and_never_told(images, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    # The server repeats the key in the description of each failure.
    box = BlackBox(Brightness(), lambda number: [None, 400, 500, 500, 500][number])
    with serving(box) as url:
        classifier = HttpClassifier(url, QUICK)
        assert classifier.class_names == ("bright", "dark")
        for _ in range(2):
            with pytest.raises(UserError) as told:
                classifier.classify(images[:1])
            assert "Key ***" in str(told.value)
            assert KEY not in str(told.value)
    assert {request["headers"]["Authorization"] for request in box.requests} == {f"Key {KEY}"}


def test_without_a_key_no_authorization_is_sent():
    box = BlackBox(Brightness())
    with serving(box) as url:
        assert HttpClassifier(url, QUICK).class_names
    assert "Authorization" not in box.requests[0]["headers"]


def test_a_key_that_cannot_be_sent_is_refused_without_being_told(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, f"{KEY}\nX: y")
    with pytest.raises(UserError, match="characters that a key cannot have") as told:
        HttpClassifier("http://127.0.0.1/")
    assert KEY not in str(told.value)


def test_the_fragment_names_the_version_and_is_not_sent():
    box = BlackBox(Brightness())
    with serving(box) as url:
        first, second, again = (
            HttpClassifier(f"{url}{part}", QUICK) for part in ("#v1", "#v2", "#v2")
        )
        assert first.fingerprint != second.fingerprint
        assert second.fingerprint == again.fingerprint
    assert {request["path"] for request in box.requests} == {"/v2/models/m/outputs"}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/", "begins with http"),
        ("http://", "begins with http"),
        ("http://user:pass@host/", "carries a user name, a password or a query"),
        ("http://host/?api_key=secret", "carries a user name, a password or a query"),
        ("http://host:port/", "not a valid web address"),
    ],
)
def test_an_address_that_cannot_be_is_refused(url, message):
    with pytest.raises(UserError, match=message):
        HttpClassifier(url)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "holds 1 to 128"),
        ({"batch_size": 129}, "holds 1 to 128"),
        ({"workers": 0}, "number of workers is 0"),
        ({"tries": 0}, "number of tries is 0"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        HttpSettings(**settings)


def test_pauses_double_unless_the_server_names_one(images, monkeypatch):
    pauses = []
    monkeypatch.setattr("assets.methods.models.http_classifier.time.sleep", pauses.append)
    faults = [500, 500, (429, {"Retry-After": "7"}), (503, {"Retry-After": "9999"}), 500]
    box = BlackBox(Brightness(), lambda number: faults[number])
    settings = HttpSettings(tries=5, first_pause_seconds=0.5)
    with serving(box) as url, pytest.raises(UserError, match="failed 5 times"):
        HttpClassifier(url, settings).classify(images[:1])
    assert pauses == [0.5, 1, 7, 60]


def test_requests_are_cut_by_bytes_as_well(images, monkeypatch):
    monkeypatch.setattr("assets.methods.models.http_classifier.LARGEST_BODY_BYTES", 3000)
    box = BlackBox(Brightness())
    with serving(box) as url:
        equal(HttpClassifier(url, QUICK).classify(images), Brightness().classify(images))
    assert max(request["n_bytes"] for request in box.requests) < 3100
    assert max(request["n"] for request in box.requests) > 1


def test_a_server_that_takes_less_is_sent_less(images, monkeypatch):
    monkeypatch.setattr("assets.methods.models.http_classifier._LARGE_BODY_BYTES", 100)
    box = BlackBox(Brightness())
    box.most_bytes = 2500
    with serving(box) as url:
        classifier = HttpClassifier(url, QUICK)
        equal(classifier.classify(images), Brightness().classify(images))
        n_first = len(box.requests)
        equal(classifier.classify(images), Brightness().classify(images))
        # The limit is learnt.
        refused = [one for one in box.requests[n_first:] if one["n_bytes"] > box.most_bytes]
        assert refused == []
        box.most_bytes = 500
        with pytest.raises(UserError, match=r"refuses an image of .* MB as too large"):
            classifier.classify(images[-1:])


def test_a_server_that_breaks_off_a_large_request_is_sent_smaller_ones(images, monkeypatch):
    monkeypatch.setattr("assets.methods.models.http_classifier._LARGE_BODY_BYTES", 100)
    box = BlackBox(Brightness())
    box.faults = lambda number: "drop" if box.requests[number]["n"] > 2 else None
    with serving(box) as url:
        equal(HttpClassifier(url, QUICK).classify(images[:8]), Brightness().classify(images[:8]))


@pytest.mark.parametrize("fault", [(429, {"Retry-After": "3"}), 502, 503, 504, "drop"])
def test_a_server_that_is_away_for_a_while_is_waited_for(images, monkeypatch, fault):
    pauses = []
    monkeypatch.setattr("assets.methods.models.http_classifier.time.sleep", pauses.append)
    box = BlackBox(Brightness(), lambda number: fault if 0 < number < 20 else None)
    settings = HttpSettings(tries=2, timeout_seconds=10)
    with serving(box) as url:
        found = HttpClassifier(url, settings).classify(images[:2])
    equal(found, Brightness().classify(images[:2]))
    assert pauses == [3] * 19 if isinstance(fault, tuple) else [0.5, 1, 2, 4, 8, *[10] * 14]


def test_the_patience_with_a_server_has_an_end(images, monkeypatch):
    box = BlackBox(Brightness(), lambda number: 503 if number else None)
    settings = dataclasses.replace(QUICK, patience_seconds=0)
    with serving(box) as url, pytest.raises(UserError, match="failed 3 times"):
        HttpClassifier(url, settings).classify(images[:2])


def test_a_black_box_of_others_is_sent_the_image_as_it_is(images):
    box = BlackBox(Brightness())
    with serving(box) as url:
        HttpClassifier(url, QUICK).classify(images[:2])
    assert {tuple(image) for request in box.requests for image in request["images"]} == {
        ("base64",)
    }


def test_a_service_that_says_what_it_reads_is_sent_no_more():
    image = torch.from_numpy(reference_images()["coffee"]).permute(2, 0, 1)
    reads = {"short_side": 40, "crop": 32, "stretch": False, "interpolation": "bicubic"}
    box = BlackBox(Brightness())
    box.model_version = {"id": "1", "reads": reads}
    with serving(box) as url:
        HttpClassifier(url, QUICK).classify([image, image[:, :20, :30]])
    learnt, asked = box.requests
    assert "working_copy" not in learnt["images"][0]
    assert [image["working_copy"] for image in asked["images"]] == [True, True]
    sizes = [_size(image["base64"]) for image in asked["images"]]
    height, width = image.shape[1:]
    # What is smaller than the network reads is not enlarged on the way.
    assert sizes == [(40 * width // height, 40), (30, 20)]


@pytest.mark.parametrize(
    "reads",
    [
        None,
        [],
        {"short_side": 0, "crop": 1, "stretch": False, "interpolation": "bicubic"},
        {"short_side": 10**9, "crop": 1, "stretch": False, "interpolation": "bicubic"},
        {"short_side": 40, "crop": True, "stretch": False, "interpolation": "bicubic"},
        {"short_side": 40, "crop": 32, "stretch": "no", "interpolation": "bicubic"},
        {"short_side": 40, "crop": 32, "stretch": False, "interpolation": "magic"},
    ],
)
def test_what_makes_no_sense_as_a_reading_is_not_obeyed(images, reads):
    box = BlackBox(Brightness())
    box.model_version = {"id": "1", "reads": reads}
    with serving(box) as url:
        equal(HttpClassifier(url, QUICK).classify(images), Brightness().classify(images))


def _size(encoded):
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        return image.size
