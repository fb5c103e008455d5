import json
import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pandas as pd
import pytest

from assets.methods.common.errors import UserError
from orchestration.cli.common.result_folders import write_results
from orchestration.cli.common.result_index import PAGE, TABLE, check_index, results_in, write_index

WINDOW = {"score": 0.75, "image_px": {"left": 0, "upper": 1.5, "right": 64, "lower": 65.5}}


def result(
    folder: Path, image: str, score: object, image_id: str | None = "0", **more: object
) -> None:
    report = {
        "command": "explain",
        "image": image,
        "image_id": image_id,
        "model": "models:/nsfw@champion",
        "model_version": "3",
        "fingerprint": "ab" * 32,
        "class": "nsfw",
        "score": score,
        "strongest_windows": {"seen": WINDOW},
    }
    write_results(folder, {"figure.png": b"figure"}, report | more)


class Links(HTMLParser):
    """What a page links, which tags it has, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[bytes] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [unquote_to_bytes(value) for name, value in attrs if name == "href"]

    def handle_data(self, data):
        self.text += data


def page_of(out: Path) -> Links:
    return Links((out / PAGE).read_text())


def test_an_index_has_each_result_the_image_with_the_highest_score_first(tmp_path):
    result(tmp_path / "b-2", "/photos/b.jpg", 0.5, "2")
    result(tmp_path / "model-x" / "a-1", "/photos/a.jpg", 0.9, "1")
    result(tmp_path / "model-y" / "a-1", "/photos/a.jpg", 0.1, "1", model="y", model_version="")
    assert write_index(tmp_path) == [tmp_path / TABLE, tmp_path / PAGE]
    table = pd.read_csv(tmp_path / TABLE, dtype={"image_id": str, "model_version": str})
    assert table.folder.tolist() == ["model-x/a-1", "model-y/a-1", "b-2"]
    assert table.score.tolist() == [0.9, 0.1, 0.5]
    first = table.iloc[0]
    assert (first["file"], first["class"], first.model_version) == ("a.jpg", "nsfw", "3")
    assert (first.seen_score, first.seen_window) == (0.75, "0 1.5 64 65.5")
    assert (first.uri, first.image_id) == ("/photos/a.jpg", "1")
    assert pd.isna(first.hidden_score)
    for column in ("figure", "report"):
        assert all((tmp_path / path).is_file() for path in table[column])
    page = page_of(tmp_path)
    assert all((tmp_path / os.fsdecode(link)).exists() for link in page.links)
    assert {b"model-x/a-1/figure.png", b"b-2/report.json", b"b-2/"} <= set(page.links)
    assert "models:/nsfw@champion, version 3" in page.text
    assert not {"script", "img", "link", "iframe"} & page.tags


def test_results_of_earlier_calls_stay_in_the_index_and_those_that_are_gone_leave_it(tmp_path):
    result(tmp_path / "a-1", "/photos/a.jpg", 0.9, "1")
    write_index(tmp_path)
    result(tmp_path / "b-2", "/photos/b.jpg", 0.5, "2", command="deconv")
    write_index(tmp_path)
    assert results_in(tmp_path).command.tolist() == ["explain", "deconv"]
    for file in (tmp_path / "a-1").iterdir():
        file.unlink()
    check_index(tmp_path)
    write_index(tmp_path)
    assert pd.read_csv(tmp_path / TABLE).folder.tolist() == ["b-2"]


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>.jpg", 'a" onclick="x.jpg', "a&amp;b#c?d%20.jpg", "caf\udce9.jpg"],
)
def test_names_are_text_and_never_markup(tmp_path, name):
    folder = tmp_path / name.replace("/", "_")
    result(folder, f"/photos/{name}", 0.5, model=name, **{"class": name})
    write_index(tmp_path)
    page = page_of(tmp_path)
    assert "script" not in page.tags
    assert os.fsencode(folder.name) + b"/figure.png" in page.links
    shown = name.replace("\udce9", "\\udce9")
    assert page.text.count(shown.rpartition("/")[2]) >= 2


def test_a_formula_is_no_formula_in_the_table(tmp_path):
    result(tmp_path / "a", "/photos/=1+1.jpg", 0.5)
    write_index(tmp_path)
    assert (tmp_path / TABLE).read_text().splitlines()[1].startswith("'=1+1.jpg,")


def test_what_is_no_result_is_passed_over(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").write_bytes(b"photo")
    result(tmp_path / "map", "/photos/a.jpg", 0.5, command="map")
    result(tmp_path / "no-id", "/photos/a.jpg", 0.5, None)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "report.json").write_text("[1, ")
    (tmp_path / "link").symlink_to(tmp_path.parent)
    assert write_index(tmp_path) == []
    odd = {"score": "high", "strongest_windows": {"seen": [1]}, "files": {}, "model": ["x"]}
    result(tmp_path / "edited", "/photos/a.jpg", 0.5)
    report = json.loads((tmp_path / "edited" / "report.json").read_text()) | odd
    (tmp_path / "edited" / "report.json").write_text(json.dumps(report))
    (row,) = results_in(tmp_path).to_dict("records")
    assert row["folder"] == "edited"
    assert pd.isna(row["score"])
    write_index(tmp_path)
    assert b"edited/figure.png" not in page_of(tmp_path).links


def test_an_index_links_the_pages_of_a_sheet(tmp_path):
    result(tmp_path / "a", "/photos/a.jpg", 0.5)
    pages = {"page-1.png": b"page", "page-2.png": b"page"}
    write_results(tmp_path / "sheet", pages, {"command": "explain", "kind": "sheet"})
    write_index(tmp_path)
    assert {b"sheet/page-1.png", b"sheet/page-2.png"} <= set(page_of(tmp_path).links)


@pytest.mark.parametrize("name", [TABLE, PAGE])
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_a_file_of_a_person_is_not_replaced_by_an_index(tmp_path, name, kind):
    mine = tmp_path / name
    if kind == "file":
        mine.write_text("<!doctype html>\n<html>mine")
    elif kind == "folder":
        mine.mkdir()
    else:
        mine.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=f"holds a file {name} that Tessera did not write"):
        check_index(tmp_path)


def test_the_same_results_give_the_same_index(tmp_path):
    for number in (3, 1, 2):
        result(tmp_path / f"a-{number}", f"/photos/{number}.jpg", 0.5, str(number))
    files = [path.read_bytes() for path in write_index(tmp_path)]
    assert [path.read_bytes() for path in write_index(tmp_path)] == files


def test_an_estimate_is_told_from_an_exact_map(tmp_path):
    estimates = {"seen": {"error": 0.01}, "hidden": {"error": 0.03}}
    result(tmp_path / "a-1", "/photos/a.jpg", 0.9, "1", estimates=estimates)
    result(tmp_path / "b-2", "/photos/b.jpg", 0.5, "2", estimates={"hidden": {"error": 0.25}})
    result(tmp_path / "c-3", "/photos/c.jpg", 0.4, "3")
    result(tmp_path / "d-4", "/photos/d.jpg", 0.3, "4", estimates=["edited"])
    write_index(tmp_path)
    errors = pd.read_csv(tmp_path / TABLE).estimated_error
    assert errors[:2].tolist() == [0.03, 0.25]
    assert errors[2:].isna().all()
    assert page_of(tmp_path).text.count(", estimate") == 2
