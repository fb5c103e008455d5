"""`tessera score`: the table, what is computed once, and what it says of bad input."""

import pandas as pd
import pytest

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


def test_every_file_is_in_the_table_with_its_score_or_the_reason_why_not(scored):
    table, ran = scored("--name", "five")
    columns = ["uri", "image_id", "score", "frame", "seconds", "reason", "detail"]
    assert list(table.columns)[: len(columns)] == columns
    assert table.score[:5].between(0, 1).all()
    assert table.score[:5].is_monotonic_decreasing
    assert table.reason.tolist()[5] == "not an image"
    assert len(table) == 6
    assert "5 images scored by models:/nsfw@champion" in ran.out
    assert table.uri[0] in ran.out


def test_a_photo_is_scored_once_whatever_the_class(scored):
    first, _ = scored("--name", "twice")
    second, ran = scored("--name", "twice", "--class", "sfw")
    assert ": 0 anew" in ran.out
    both = first.merge(second, on="image_id")
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


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--class", "lewd"], "There is no class lewd: choose sfw or nsfw."),
        (["--model", "no-such-network"], "There is no network no-such-network"),
        (["--model", "models:/nothing@champion"], "models:/nothing@champion cannot be loaded"),
        (["--model", "python:no_such_module:f"], "There is no Python module no_such_module"),
        (["--out", "."], "--out . is a folder: name a file."),
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
