"""`tessera score`: the table, what is computed once, and what it says of bad input."""

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from assets.methods.models.classifier_file import convert_open_nsfw
from assets.resources.collections import CollectionRegistry


@pytest.fixture
def scored(tessera, photo_folder, tmp_path):
    """Returns a function that scores five photos and a file that is none; the table too."""
    folder = photo_folder(5)
    (folder / "notes.jpg").write_text("not a photo")

    def score(*arguments):
        ran = tessera("score", folder, "--out", tmp_path / "scores.csv", *arguments)
        assert ran.code == 0, ran.err
        return pd.read_csv(tmp_path / "scores.csv"), ran

    return score


def test_every_file_is_in_the_table_and_is_scored_once_whatever_the_class(scored):
    table, ran = scored("--name", "five")
    columns = ["uri", "image_id", "score", "flagged", "frame", "seconds", "reason", "detail"]
    assert list(table.columns)[: len(columns)] == columns
    assert {"model", "model_version", "model_fingerprint", "threshold"} < set(table.columns)
    assert table.flagged.tolist()[:5] == (table.score[:5] >= 0.5).tolist()
    assert pd.isna(table.flagged[5])
    assert table.score[:5].between(0, 1).all()
    assert table.score[:5].is_monotonic_decreasing
    assert table.reason.tolist()[5] == "not an image"
    assert len(table) == 6
    assert "5 images scored by models:/nsfw@champion" in ran.out
    assert table.uri[0] in ran.out
    second, ran = scored("--name", "five", "--class", "sfw")
    assert ": 0 anew" in ran.out
    both = table.merge(second, on="image_id")
    assert (both.score_x + both.score_y - 1).abs().max() < 1e-6


def test_a_classifier_of_the_library_scores_its_own_classes(scored):
    table, _ = scored("--name", "cats", "--model", "efficientnet-lite0", "--class", "tabby")
    assert table.score[:5].between(0, 1).all()


def test_scoring_leaves_the_settings_of_the_map_as_they_were(
    tessera, shared_home, photo_folder, tmp_path
):
    folder = photo_folder(3)
    named = (folder, "--name", "both", "--out")
    assert tessera("map", *named, tmp_path / "map", "--tile", "20").code == 0
    assert tessera("score", *named, tmp_path / "scores.csv", "--class", "sfw").code == 0
    settings = CollectionRegistry(shared_home).get("both").settings
    assert settings["mosaic"] == {"tile": 20}
    assert settings["nsfw_scores"] == {"class_name": "sfw"}
    assert tessera("map", *named, tmp_path / "map").code == 0
    settings = CollectionRegistry(shared_home).get("both").settings
    assert "mosaic" not in settings
    assert settings["nsfw_scores"] == {"class_name": "sfw"}


WHITENESS = """
def white(images):
    return {"white": [image.convert("L").getpixel((0, 0)) / 255 for image in images]}
"""


def test_photos_that_are_named_are_scored_flagged_and_handed_to_reviewers(
    tessera, shared_home, tmp_path, monkeypatch
):
    (tmp_path / "own_whiteness.py").write_text(WHITENESS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for level in (51, 153, 204):
        Image.new("L", (20, 10), level).save(f"{level}.png")
    model = ("--model", "python:own_whiteness:white", "--class", "white", "--threshold", "0.6")
    ran = tessera("score", "51.png", "204.png", "153.png", *model, "--top", 1, "--out", "a.json")
    assert ran.code == 0, ran.err
    assert "3 images scored by python:own_whiteness:white" in ran.out
    assert "2 flagged, with P(white) of 0.6 or more" in ran.out
    assert "\nHighest score:\n  0.8000  " in ran.out
    assert "153.png" not in ran.out
    found = json.loads(Path("a.json").read_text())
    assert found["provenance"]["threshold"] == 0.6
    assert [(Path(row["uri"]).name, row["flagged"]) for row in found["rows"]] == [
        ("204.png", True),
        ("153.png", True),
        ("51.png", False),
    ]
    assert [row["score"] for row in found["rows"]] == pytest.approx([0.8, 0.6, 0.2])
    (collection,) = [
        one for one in CollectionRegistry(shared_home).all() if one.name.startswith("153-and-2-")
    ]
    assert collection.settings["nsfw_scores"]["threshold"] == 0.6

    again = ("score", "153.png", "./204.png", "51.png", "--out", "a.parquet", "--review", "seen")
    ran = tessera(*again, *model)
    assert ": 0 anew" in ran.out
    types = pq.read_schema("a.parquet").types
    assert [str(one) for one in types[:4]] == ["string", "string", "double", "bool"]
    seen = pd.read_csv("seen/review.csv")
    assert seen.file.tolist() == ["204.png", "153.png"]
    for thumbnail, level in zip(seen.thumbnail, (204, 153), strict=True):
        with Image.open(Path("seen", thumbnail)) as opened:
            assert opened.getpixel((120, 120)) == pytest.approx((level,) * 3, abs=3)
    report = json.loads(Path("seen/report.json").read_text())
    assert report["files"].keys() == {"review.csv", "index.html"}
    assert (report["images"], report["flagged"], report["reviewed"]) == (3, 2, 2)

    # What reviewers have written is not replaced, and nothing is done before that is said.
    seen.assign(reviewer_label="white").to_csv("seen/review.csv", index=False)
    filled_in = Path("seen/review.csv").read_bytes()
    ran = tessera(*again, *model)
    assert ran.code == 2
    assert "holds a file review.csv that would be replaced" in ran.err
    assert Path("seen/review.csv").read_bytes() == filled_in


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--class", "lewd"], "There is no class lewd: choose sfw or nsfw."),
        (["--model", "no-such-network"], "There is no network no-such-network"),
        (["--model", "models:/nothing@champion"], "models:/nothing@champion cannot be loaded"),
        (["--model", "python:no_such_module:f"], "There is no Python module no_such_module"),
        (["--out", "."], "--out . is a folder: name a file."),
        (["--out", "scores.xlsx"], "scores.xlsx has to end in .csv, .parquet or .json"),
        (["--review-highest", "3"], "--review-highest N says what is in the folder of --review"),
        (["--model", "http://bob:secret@127.0.0.1:1/"], "carries a user name, a password"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    tessera, photo_folder, tmp_path, options, sentence
):
    arguments = ["score", photo_folder(1), "--out", tmp_path / "scores.csv", "--name", "wrong"]
    ran = tessera(*arguments, *options)
    assert ran.code == 2
    assert ran.err.strip().split("\n")[-1].startswith("tessera: ")
    assert sentence in ran.err
    assert "Traceback" not in ran.err


def test_the_source_is_never_written_to(tessera, photo_folder, tmp_path):
    folder = photo_folder(1)
    manifest = tmp_path / "photos.csv"
    manifest.write_text(f"uri,label\n{folder / 'photo_000.png'},bird\n")
    before = manifest.read_bytes()
    for source, out in ((manifest, manifest), (folder, folder / "scores.csv")):
        ran = tessera("score", source, "--out", out)
        assert ran.code == 2
        assert "which is read only: name another file" in ran.err
    assert manifest.read_bytes() == before


def test_a_file_of_weights_is_remembered_by_its_whole_path(
    tessera, shared_home, photo_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    convert_open_nsfw(tmp_path).rename("mine.safetensors")
    command = ("score", photo_folder(1), "--name", "mine", "--out", "scores.csv")
    assert tessera(*command, "--model", "mine.safetensors").code == 0
    settings = CollectionRegistry(shared_home).get("mine").settings
    assert settings["nsfw_scores"] == {"model": str(tmp_path / "mine.safetensors")}
