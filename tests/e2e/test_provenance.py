"""What every file of score, explain, deconv, evaluate and train says of its origin.

The list is the table of docs/provenance.md: a file that is not in it, or does not say what stands
there, fails here.
"""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from PIL import Image

from assets.methods.common.timestamps import DATE_VARIABLE
from assets.methods.models.classifier_file import describe_classifier
from assets.methods.models.provenance import tessera_version
from assets.methods.training.train import TrainedClassifier, save_trained
from assets.resources.models import Models
from assets.resources.registry import CHAMPION, CHAMPION_URI
from assets.resources.tracking import Tracking
from support.brightness_network import ARCHITECTURE, PREPROCESSING, brightness_weights
from support.pages import origins_on_page

SIZE = {"width": 112, "height": 112}
MADE_AT = "2025-11-28T10:00:00Z"
REVIEW = ("--review-highest", "2", "--review")
EXPLAINED = ("--box", "56", "--stride", "56")
SMALL_TRAINING = (
    *("--base", "plain_convnet", "--from-scratch", "--train", "all", "--input-side", "32"),
    *("--epochs", "1", "--threads", "1"),
)
INDEXED = ("model", "model_version", "model_fingerprint", "class", "made_at")
COMMANDS = ("score", "explain", "deconv", "evaluate", "train")


@pytest.fixture
def register(shared_home: Path, tmp_path: Path) -> Callable[[float], dict[str, str | float]]:
    """Returns a function that makes a network the champion, and says what is known of it."""

    def make(slope: float) -> dict[str, str | float]:
        file = tmp_path / f"{slope}.safetensors"
        weights, classes = brightness_weights(slope), ("sfw", "nsfw")
        save_trained(
            TrainedClassifier(weights, ARCHITECTURE, PREPROCESSING, classes, [], 1, 0), file
        )
        models = Models(shared_home, Tracking(home=str(shared_home)))
        version = models.registry.register(file, CHAMPION).version
        return {
            "model": CHAMPION_URI,
            "model_version": version,
            "model_fingerprint": describe_classifier(file).fingerprint,
            "class": "nsfw",
            "threshold": 0.5,
            "preprocessing": "short side 32 px bilinear, centre 32 px",
            "made_at": MADE_AT,
            "tessera_version": tessera_version(),
        }

    return make


@pytest.fixture
def ran(tessera, register, shared_home, labelled_dolls, tmp_path, monkeypatch) -> SimpleNamespace:
    """The five commands, run once by one model: where their files are, and the model's parts."""
    monkeypatch.setenv(DATE_VARIABLE, "1764324000")
    parts, photos, out = register(8), labelled_dolls(48), tmp_path / "out"
    photo = photos.with_name("doll_005.png")
    for arguments in (
        ("score", photos, "--out", out / "score" / "scores.csv"),
        ("score", photos, "--out", out / "score" / "scores.parquet"),
        (
            "score",
            photos,
            "--out",
            out / "score" / "scores.json",
            *REVIEW,
            out / "score" / "review",
        ),
        ("explain", photo, photos.with_name("doll_006.png"), "--out", out / "explain", *EXPLAINED),
        ("deconv", photo, "--out", out / "deconv"),
        ("evaluate", photos, "--out", out / "evaluate"),
        ("train", photos, "--name", "trained", *SMALL_TRAINING),
    ):
        result = tessera(*arguments)
        assert result.code == 0, result.err
    return SimpleNamespace(
        parts=parts, out=out, photos=photos, trained=shared_home / "trainings" / "trained"
    )


def files(ran: SimpleNamespace) -> Iterator[tuple[str, Path]]:
    for command in COMMANDS[:-1]:
        for file in (ran.out / command).rglob("*"):
            if file.is_file():
                yield command, file
    # The rest of the folder is what an interrupted training goes on from.
    yield "train", ran.trained / "classifier.safetensors"


def name_on_page(file: Path) -> str:
    is_thumbnail = file.parent.name == "thumbnails" and file.suffix == ".jpg"
    return "thumbnails/*.jpg" if is_thumbnail else file.name


def chunks_of(file: Path) -> dict[str, str]:
    with Image.open(file) as image:
        return {str(name): str(text) for name, text in image.info.items()}


def rows_of(data: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data)))


def as_text(parts: Mapping[str, object]) -> dict[str, str]:
    return {name: str(part) for name, part in parts.items()}


def check_columns(command: str, file: Path, parts: Mapping[str, object]) -> None:
    if file.suffix == ".parquet":
        rows = rows_of(pd.read_parquet(file).to_csv(index=False))
    else:
        rows = rows_of(file.read_text())
    expected = as_text(parts)
    if file.name == "curves.csv":
        del expected["threshold"]
    if file.name == "index.csv":
        expected = {name: expected[name] for name in INDEXED}
    assert rows or file.name == "worst_errors.csv", file
    for row in rows:
        assert row.items() >= expected.items(), file
    if command == "score" and file.stem == "scores":
        sizes = [rows[0][name] for name in ("width", "height", "read_width", "read_height")]
        assert sizes == ["112"] * 4


def check_keys(command: str, file: Path, parts: Mapping[str, object]) -> None:
    report = json.loads(file.read_text())
    if command == "evaluate":
        assert report["provenance"] == {CHAMPION_URI: parts}
        return
    if file.name == "scores.json":
        assert report["provenance"] == parts
        assert report["rows"][0]["read_width"] == 112
        return
    if report.get("kind") == "sheet":
        assert report["models"] == [parts]
        return
    assert report.items() >= parts.items()
    if command == "score":
        return
    assert report["image_size"] == report["read_size"] == SIZE
    if command == "explain":
        assert report["box_px"]["read"] == {"width": 56, "height": 56}
        for one in report["strongest_windows"].values():
            assert one["read_px"] == one["image_px"]
            assert one["read_px"]["right"] - one["read_px"]["left"] == 56
            assert 0 <= one["score"] <= 1


def check_text_chunks(command: str, file: Path, parts: Mapping[str, object]) -> None:
    chunks = chunks_of(file)
    if file.name in ("evaluation.png", "page-1.png"):
        assert json.loads(chunks["models"]) == [parts]
        return
    assert chunks.items() >= as_text(parts).items(), file
    if command in ("explain", "deconv"):
        assert chunks["image"] in ("doll_005.png", "doll_006.png")
        assert json.loads(chunks["read_size"]) == SIZE


def check_words(command: str, file: Path, parts: Mapping[str, object]) -> None:
    page = file.read_text()
    for name in ("model", "model_version", "class"):
        assert str(parts[name]) in page, name
    assert str(parts["model_fingerprint"])[:16] in page


def check_digest(command: str, file: Path, parts: Mapping[str, object]) -> None:
    report = json.loads((file.parent / "report.json").read_text())
    assert report["files"][file.name] == hashlib.sha256(file.read_bytes()).hexdigest()


def check_own_description(command: str, file: Path, parts: Mapping[str, object]) -> None:
    described = describe_classifier(file)
    assert described.class_names == ("sfw", "nsfw")
    assert described.preprocessing.in_words().startswith("short side ")
    assert described.fingerprint != parts["model_fingerprint"]


CHECKS = {
    "columns": check_columns,
    "keys": check_keys,
    "foot and text chunks": check_text_chunks,
    "text chunks": check_text_chunks,
    "words": check_words,
    "digest": check_digest,
    "its own description": check_own_description,
}


def test_every_file_says_where_it_comes_from_as_the_page_lists_it(
    ran, shared_home, tessera, register, tmp_path
):
    page = {key: says for key, says in origins_on_page().items() if key[0] in COMMANDS}
    found = list(files(ran))
    assert {(command, name_on_page(file)) for command, file in found} == page.keys()
    for command, file in found:
        says = page[command, name_on_page(file)]
        (check,) = {one for words, one in CHECKS.items() if says.startswith(words)}
        check(command, file, ran.parts)
    check_tracked(Tracking(home=str(shared_home)), ran.parts)
    # Another version becomes champion, and scores the same photos.
    other = register(4)
    assert tessera("score", ran.photos, "--out", tmp_path / "other.csv").code == 0
    check_joined(ran.out / "score" / "scores.csv", ran.parts, tmp_path / "other.csv", other)


def check_tracked(tracking: Tracking, parts: Mapping[str, object]) -> None:
    """The runs in MLflow have the parts as tags, and the tables that they log as columns."""
    client = tracking.client
    runs = {
        run.data.tags.get("dagster.asset") or run.info.run_name: run
        for run in client.search_runs([tracking.experiment_id])
    }
    for name in ("nsfw_scores", "nsfw_evaluation", "explain", "deconv"):
        assert runs[name].data.tags.items() >= as_text(parts).items(), name
    for table in ("highest.csv",):
        logged = client.download_artifacts(runs["nsfw_scores"].info.run_id, table)
        check_columns("", Path(logged), parts)
    for figure in ("highest.png", "scores.png"):
        logged = client.download_artifacts(runs["nsfw_scores"].info.run_id, figure)
        check_text_chunks("", Path(logged), parts)
    trained = runs["nsfw_training"]
    told = {name: trained.data.tags[name] for name in parts if name != "threshold"}
    assert told["model"] == f"models:/nsfw/{told['model_version']}"
    assert told["made_at"] == MADE_AT
    run_id = trained.info.run_id
    (history,) = rows_of(Path(client.download_artifacts(run_id, "history.csv")).read_text())
    assert history.items() >= told.items()
    compared = rows_of(Path(client.download_artifacts(run_id, "comparison.csv")).read_text())
    assert [row["model_fingerprint"] for row in compared] == [
        told["model_fingerprint"],
        parts["model_fingerprint"],
    ]


def check_joined(
    before: Path, parts: Mapping[str, object], after: Path, other_parts: Mapping[str, object]
) -> None:
    """Two tables of two versions are told apart by their columns, and joined by the image_id."""
    assert parts["model_version"] != other_parts["model_version"]
    tables = [pd.read_csv(file, dtype={"model_version": str}) for file in (before, after)]
    both = tables[0].merge(tables[1], on="image_id", suffixes=("_before", "_after"))
    assert len(both) == 48
    for suffix, known in (("before", parts), ("after", other_parts)):
        for name in ("model", "model_version", "model_fingerprint"):
            assert set(both[f"{name}_{suffix}"]) == {known[name]}
    # The second network is less sure of what is bright.
    assert (both.score_after <= both.score_before).all()
    assert (both.score_after < both.score_before).any()
