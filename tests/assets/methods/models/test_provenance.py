import dataclasses
import tomllib
from pathlib import Path

from assets.methods.models.identity import ModelIdentity
from assets.methods.models.provenance import Provenance, tessera_version

MADE = Provenance(
    ModelIdentity("models:/nsfw@champion", "3", "ab" * 32),
    "nsfw",
    0.5,
    "short side 256 px, centre 224 px",
    "2026-11-28T10:00:00Z",
    "0.2.0",
)


def test_the_parts_tell_two_versions_apart_and_keep_their_names():
    assert MADE.parts() == {
        "model": "models:/nsfw@champion",
        "model_version": "3",
        "model_fingerprint": "ab" * 32,
        "class": "nsfw",
        "threshold": 0.5,
        "preprocessing": "short side 256 px, centre 224 px",
        "made_at": "2026-11-28T10:00:00Z",
        "tessera_version": "0.2.0",
    }


def test_the_foot_of_a_figure_says_it_in_two_lines():
    assert MADE.lines() == [
        "model models:/nsfw@champion version 3, fingerprint abababababababab; P(nsfw), flagged "
        "from 0.5",
        "short side 256 px, centre 224 px; 2026-11-28T10:00:00Z, tessera 0.2.0",
    ]


def test_the_parts_make_the_origin_again():
    without = dataclasses.replace(MADE, class_name=None, threshold=None)

    assert Provenance.of_parts(MADE.parts()) == MADE
    assert Provenance.of_parts(without.parts()) == without


def test_what_does_not_apply_is_left_out_and_no_secret_is_told():
    url = ModelIdentity("https://scores.example/v1?token=s3cr3t", "", "cd" * 32)
    made = dataclasses.replace(
        MADE, identity=url, class_name=None, threshold=None, preprocessing=""
    )

    assert "class" not in made.parts()
    assert "threshold" not in made.parts()
    assert made.lines()[1] == "2026-11-28T10:00:00Z, tessera 0.2.0"
    assert "s3cr3t" not in repr((made.parts(), made.lines()))


def test_the_version_is_that_of_the_package():
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]

    assert tessera_version() == project["version"]
