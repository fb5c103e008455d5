import io
import time

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from assets.methods.common.devices import ComputeSettings
from assets.methods.common.timestamps import DATE_VARIABLE
from assets.methods.models.provenance import tessera_version
from assets.methods.photos.download import FetchLimits
from orchestration.api.contract import LAST_PAGE
from orchestration.api.inference.served_models import ServedModels
from orchestration.api.routes.models import router
from support.image_server import serving
from support.small_app import REQ_ID, app_of
from support.small_models import KnownVersions, coloured, sent, use_small_models

OUTPUTS = "/v2/models/nsfw-v1.0/outputs"
VECTORS = "/v2/models/bbb5f41425b8468d9b7a554ff10f8581/outputs"


@pytest.fixture
def versions(tmp_path, monkeypatch):
    use_small_models(monkeypatch)
    return KnownVersions(tmp_path, n=2)


@pytest.fixture
def client(versions):
    limits = FetchLimits(max_bytes=2**20, timeout_seconds=5, allow_private_addresses=True)
    models = ServedModels(
        versions, ComputeSettings("cpu"), limits, pytest.fail, lambda model, size: None
    )
    models.start()
    with TestClient(app_of(router, models=models)) as client:
        yield client
    models.close()


def post(client, *inputs, to=OUTPUTS):
    return client.post(to, json={"inputs": list(inputs)})


def codes(reply):
    return [output["status"]["code"] for output in reply.json()["outputs"]]


def test_the_models_are_listed(client):
    reply = client.get("/v2/models").json()
    assert reply["status"] == {"code": 10000, "description": "Ok", "req_id": REQ_ID}
    nsfw, general = reply["models"]
    assert (nsfw["id"], nsfw["name"], nsfw["app_id"]) == ("nsfw", "nsfw-v1.0", "main")
    assert nsfw["output_info"]["type"] == "concept"
    assert nsfw["model_version"]["id"] == "1"
    assert nsfw["model_version"]["status"]["code"] == 21100
    assert nsfw["model_version"]["fingerprint"] == "f1"
    assert nsfw["created_at"].endswith("Z")
    assert general["output_info"] == {"type": "embed", "output_config": {}}


@pytest.mark.parametrize(
    ("page", "per_page", "ids"),
    [
        (1, 1, ["nsfw"]),
        (2, 1, ["general-embedding"]),
        (3, 1, []),
        (LAST_PAGE, 1000, []),
    ],
)
def test_models_come_in_pages(client, page, per_page, ids):
    reply = client.get("/v2/models", params={"page": page, "per_page": per_page}).json()
    assert [model["id"] for model in reply["models"]] == ids


@pytest.mark.parametrize("page", [0, -1, LAST_PAGE + 1, "x"])
def test_there_are_no_other_pages(client, page):
    answer = client.get("/v2/models", params={"page": page})
    assert (answer.status_code, answer.json()["status"]["code"]) == (400, 11102)


@pytest.mark.parametrize("path", ["", "/output_info"])
def test_a_model_is_described_under_each_of_its_names(client, path):
    described = [
        client.get(f"/v2/models/{name}{path}").json()["model"]
        for name in ("nsfw", "nsfw-v1.0", "e9576d86d2004ed1a38ba0cf39ecb4b1")
    ]
    assert described[0]["id"] == "nsfw"
    assert described[0] == described[1] == described[2]


@pytest.mark.parametrize("path", ["", "/nsfw", "/nsfw-v1.0", "/searches"])
def test_concepts_are_told_in_output_info_alone(client, path):
    method = "POST" if path == "/searches" else "GET"
    reply = client.request(method, f"/v2/models{path}", json={}).json()
    for model in reply.get("models") or [reply["model"]]:
        assert model["output_info"].keys() == {"type", "output_config"}


@pytest.mark.parametrize("path", ["nsfw", "nsfw-v1.0", "nsfw/versions/1", "nsfw/versions/2"])
def test_output_info_tells_the_concepts(client, path):
    model = client.get(f"/v2/models/{path}/output_info").json()["model"]
    assert model["model_version"]["id"] == ("2" if path.endswith("2") else "1")
    concepts = model["output_info"]["data"]["concepts"]
    assert [(one["id"], one["name"]) for one in concepts] == [("other", "other"), ("red", "red")]
    assert {one["app_id"] for one in concepts} == {"main"}
    assert {one["created_at"] for one in concepts} == {model["created_at"]}
    assert not any("value" in one for one in concepts)


def test_an_embedding_has_no_concepts(client):
    model = client.get("/v2/models/general/output_info").json()["model"]
    assert model["output_info"] == {"type": "embed", "output_config": {}}


@pytest.mark.parametrize("path", ["", "/output_info", "/versions/1/output_info"])
def test_an_unknown_model_is_none(client, path):
    reply = client.get(f"/v2/models/other{path}")
    assert reply.status_code == 404
    assert reply.json()["status"]["code"] == 21200


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({}, ["nsfw", "general-embedding"]),
        ({"name": "NSFW*"}, ["nsfw"]),
        ({"name": "*"}, ["nsfw", "general-embedding"]),
        ({"name": "nsfw"}, []),
        ({"name": "general", "type": "embed"}, ["general-embedding"]),
        ({"type": "concept"}, ["nsfw"]),
        ({"type": "facedetect"}, []),
        ({"name": "nsfw-v1.?"}, []),
        ({"name": "[n]sfw-v1.0"}, []),
        ({"name": ""}, []),
    ],
)
def test_models_are_found_by_name_and_type(client, query, ids):
    reply = client.post("/v2/models/searches", json={"model_query": query}).json()
    assert [model["id"] for model in reply["models"]] == ids


def test_a_search_for_many_stars_takes_no_time(client):
    begun = time.monotonic()
    client.post("/v2/models/searches", json={"model_query": {"name": "*a" * 100 + "*b"}})
    assert time.monotonic() - begun < 2


def test_concepts_come_by_falling_value(client):
    reply = post(client, sent(coloured(200)), sent(coloured(50)))
    assert reply.status_code == 200
    assert reply.json()["status"]["code"] == 10000
    first, second = [output["data"]["concepts"] for output in reply.json()["outputs"]]
    assert [(one["id"], one["app_id"]) for one in first] == [("red", "main"), ("other", "main")]
    assert [one["value"] for one in first] == pytest.approx([200 / 255, 55 / 255], abs=0.02)
    assert [one["name"] for one in second] == ["other", "red"]


def test_an_output_says_of_what_and_by_which_model_it_is(client, monkeypatch):
    monkeypatch.setenv(DATE_VARIABLE, "1764324000")
    asked = {"id": "mine", **sent(coloured(20))}
    asked["data"]["image"]["crop"] = [0, 0, 0.5, 1]
    (output,) = post(client, asked).json()["outputs"]
    assert output["input"] == {"id": "mine", "data": {"image": {"crop": [0, 0, 0.5, 1]}}}
    assert (output["model"]["id"], output["model"]["model_version"]["id"]) == ("nsfw", "1")
    assert output["provenance"] == {
        "model": "nsfw",
        "model_version": "1",
        "model_fingerprint": "f1",
        "preprocessing": "short side 2 px bicubic, centre 2 px",
        "made_at": "2025-11-28T10:00:00Z",
        "tessera_version": tessera_version(),
    }
    assert "data" not in output["model"]["output_info"]
    assert output["created_at"].endswith("Z")
    assert len(output["id"]) == 32


def test_a_vector_survives_the_wire_bit_for_bit(client):
    (output,) = post(client, sent(coloured(30, 40, 50)), to=VECTORS).json()["outputs"]
    (embedding,) = output["data"]["embeddings"]
    vector = np.array(embedding["vector"], np.float32)
    assert embedding["num_dimensions"] == len(vector) == 3
    assert vector.astype(float).tolist() == embedding["vector"]
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_a_crop_is_what_is_looked_at(client):
    picture = Image.new("RGB", (16, 8), (230, 0, 0))
    picture.paste((0, 0, 0), (8, 0, 16, 8))
    out = io.BytesIO()
    picture.save(out, "PNG")
    halves = []
    for crop in ([0, 0, 1, 0.5], [0, 0.5, 1, 1]):
        halves.append(sent(out.getvalue()))
        halves[-1]["data"]["image"]["crop"] = crop
    outputs = post(client, *halves).json()["outputs"]
    assert [output["data"]["concepts"][0]["id"] for output in outputs] == ["red", "other"]


def test_pictures_are_downloaded(client):
    with serving({"/red.png": coloured(240)}) as base:
        urls = [f"{base}/red.png", f"{base}/gone.png"]
        reply = post(client, *[{"data": {"image": {"url": url}}} for url in urls])
    assert reply.json()["status"]["code"] == 10010
    assert codes(reply) == [10000, 30002]
    first, second = reply.json()["outputs"]
    assert first["data"]["concepts"][0]["id"] == "red"
    assert first["input"]["data"]["image"]["url"] == urls[0]
    assert "data" not in second
    assert second["status"]["details"] == "The server answered 404."


def test_what_is_no_picture_fails_alone(client):
    reply = post(client, sent(b"text"), sent(coloured(10)), sent(coloured(20)[:45]))
    assert reply.status_code == 200
    assert reply.json()["status"]["code"] == 10010
    assert codes(reply) == [30101, 10000, 30101]


def test_when_all_fail_the_outputs_say_so_each(client):
    reply = post(client, sent(b"text"), sent(b""))
    assert reply.status_code == 400
    assert reply.json()["status"]["code"] == 10020
    assert codes(reply) == [30101, 30101]


def test_a_failure_of_the_model_is_told_in_its_sentence(client):
    reply = post(client, sent(coloured(255)))
    assert codes(reply) == [10020]
    assert reply.json()["outputs"][0]["status"]["details"] == "So red a picture is refused."


@pytest.mark.parametrize("image", [{}, {"url": "http://a/b", "base64": "aaaa"}])
def test_a_picture_has_one_source(client, image):
    reply = post(client, sent(coloured(1)), {"data": {"image": image}})
    assert reply.status_code == 400
    assert reply.json()["status"]["code"] == 40001
    assert "outputs" not in reply.json()


def test_a_version_is_asked_by_its_number(client):
    reply = post(client, sent(coloured(1)), to="/v2/models/nsfw/versions/2/outputs")
    assert reply.json()["outputs"][0]["model"]["model_version"]["id"] == "2"


@pytest.mark.parametrize(
    "path", ["nsfw/versions/7", "nsfw/versions/x", "other", "other/versions/1"]
)
def test_outputs_of_an_unknown_model_are_none(client, path):
    reply = post(client, sent(coloured(1)), to=f"/v2/models/{path}/outputs")
    assert (reply.status_code, reply.json()["status"]["code"]) == (404, 21200)


def test_an_output_names_the_frame_of_an_animation(client):
    frames = [Image.new("RGB", (16, 16), (level, 0, 0)) for level in (0, 240, 100)]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:], duration=120)
    whole = file.getvalue()
    cut = whole[: whole.rindex(b"fdAT") + 8]
    outputs = post(client, sent(whole), sent(cut), sent(coloured(9, 0, 0))).json()["outputs"]
    for output in outputs[:2]:
        assert output["data"]["frame_info"] == {"index": 1, "time": 120}
        assert output["data"]["concepts"][0]["name"] == "red"
    assert [output["status"].get("details") for output in outputs] == [
        None,
        "Only the first 2 of 3 frames could be read.",
        None,
    ]
    assert "frame_info" not in outputs[2]["data"]


def test_a_working_copy_is_read_as_it_is(client):
    pixels = np.random.default_rng(0).integers(0, 200, (300, 400, 3), np.uint8)
    photo = sent(_png(pixels))
    copy = {"data": {"image": {**photo["data"]["image"], "working_copy": True}}}
    part = {"data": {"image": {**copy["data"]["image"], "crop": [0, 0.5, 0.5, 1]}}}
    reply = post(client, photo, copy, part)
    assert codes(reply) == [10000] * 3
    red = [_value(output, "red") for output in reply.json()["outputs"]]
    assert red[1] == pytest.approx(pixels[..., 0].mean() / 255, abs=1e-6)
    assert red[2] == pytest.approx(pixels[:150, 200:, 0].mean() / 255, abs=1e-6)
    # As a photo it is scaled and encoded, which changes it a little.
    assert 1e-5 < abs(red[0] - red[1]) < 0.01


def test_a_working_copy_is_checked_like_any_image(client):
    large = sent(_png(np.zeros((2049, 2048, 3), np.uint8)))
    broken = sent(b"no image")
    for image in (large, broken):
        image["data"]["image"]["working_copy"] = True
    reply = post(client, large, broken)
    assert codes(reply) == [30101, 30101]
    assert "4,19" in reply.json()["outputs"][0]["status"]["details"]


def test_a_model_tells_what_it_reads(client):
    for path in ("/v2/models/nsfw", "/v2/models/general"):
        version = client.get(path).json()["model"]["model_version"]
        assert version["reads"] == {
            "short_side": 2,
            "crop": 2,
            "stretch": False,
            "interpolation": "bicubic",
        }
    (output,) = post(client, sent(coloured(1))).json()["outputs"]
    assert output["model"]["model_version"]["reads"]["short_side"] == 2


def _png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def _value(output, name):
    return next(one["value"] for one in output["data"]["concepts"] if one["name"] == name)
