"""`tessera map`: what it writes, at every size, and what it says of bad input."""

import json
import re
import shutil
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from PIL import Image

from assets.methods.layout.grid import choose_grid
from assets.methods.photos.local import local_path
from assets.methods.photos.selection import read_selection
from assets.resources.collections import CollectionRegistry
from assets.resources.home import home_folder
from orchestration.instance import open_instance
from support.browser import CHROMIUM, chromium
from support.image_server import serving
from support.page_data import columns_of, fields_of

EVERY_RESULT = {
    *("mosaic.jpg", "figure.png", "layout.parquet", "rejects.csv", "companions.csv"),
    *("duplicates.csv", "report.json", "page"),
}
# Nothing but the end of a line may steer a terminal.
UNSAFE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


def everything_in(file: Path) -> bytes:
    """Return the content of a file, and what of it is packed: columns of a page and of Parquet."""
    data = file.read_bytes()
    if file.match("data/*.js"):
        return b"\n".join([data, *columns_of(data, file.stem)])
    if file.suffix == ".parquet":
        return data + pd.read_parquet(file).to_csv().encode("utf-8", "surrogatepass")
    return data


IN_BETWEEN = (3, 10, 17)


@pytest.mark.parametrize(
    "n", [1, 2, 5, 65, *(pytest.param(n, marks=pytest.mark.slow) for n in IN_BETWEEN)]
)
def test_any_number_of_photos_makes_a_map(tessera, photo_folder, tmp_path, n):
    ran = tessera("map", photo_folder(n), "--out", tmp_path / "map", "--name", f"n{n}")
    assert ran.code == 0, ran.err
    assert {path.name for path in (tmp_path / "map").iterdir()} == EVERY_RESULT
    layout = pd.read_parquet(tmp_path / "map" / "layout.parquet")
    assert list(layout.columns) == ["image_id", "uri", "x", "y", "row", "col"]
    grid = choose_grid(n)
    cells = layout.row * grid.columns + layout.col
    assert len(layout) == cells.nunique() == n
    assert cells.between(0, grid.cells - 1).all()
    assert np.isfinite(layout[["x", "y"]]).all(axis=None)
    with Image.open(tmp_path / "map" / "mosaic.jpg") as mosaic:
        assert mosaic.size == (grid.columns * 98 - 2, grid.rows * 98 - 2)


def test_of_fifty_copies_one_is_shown_unless_all_are_wanted(tessera, photo_folder, tmp_path):
    folder, out = photo_folder(1), tmp_path / "map"
    for number in range(49):
        shutil.copy(folder / "photo_000.png", folder / f"copy_{number}.png")
    calls = (([folder], 1), ([folder / "m.csv", "--show-duplicates", "--format", "png"], 50))
    for arguments, shown in calls:
        ran = tessera("map", *arguments, "--out", out, "--name", "copies")
        assert ran.code == 0, ran.err
        report = json.loads((out / "report.json").read_text())
        assert report["counts"]["shown"] == shown
        assert report["counts"]["exact_duplicates"] == 49
        assert len(pd.read_parquet(out / "layout.parquet")) == shown
        duplicates = pd.read_csv(out / "duplicates.csv")
        assert duplicates.uri.nunique() == 49
        assert duplicates.shown_uri.unique().tolist() == [str(folder / "copy_0.png")]
        assert "Duplicates: 49 exact copies and 0 near copies" in ran.out
        assert report["checks"]["copies_have_one_label"] == (shown == 1)
        # The second time one of them has another label than the others.
        rows = {path.name: "cat" for path in sorted(folder.glob("*.png"))} | {"copy_7.png": "dog"}
        table = pd.DataFrame({"uri": rows.keys(), "label": rows.values()})
        table.to_csv(folder / "m.csv", index=False)
    assert "1 with another label than the photo shown; duplicates.csv names them." in ran.out
    (row,) = duplicates[duplicates.labels_differ].itertuples()
    assert (row.uri, row.label, row.shown_label) == (str(folder / "copy_7.png"), "dog", "cat")
    # The mosaic of the first call is not left beside that of the second.
    assert not (out / "mosaic.jpg").exists()


def test_a_second_run_computes_only_what_is_new_and_photos_stay(
    tessera, shared_home, photo_folder, tmp_path, monkeypatch
):
    folder, out = photo_folder(6), tmp_path / "map"
    newcomer = tmp_path / "newcomer.png"
    Image.new("RGB", (40, 30), "teal").save(newcomer)
    counts, cells, results = [], [], []

    def run(*options: str) -> str:
        ran = tessera("map", folder, "--out", out, "--name", "growing", *options)
        assert ran.code == 0, ran.err
        report = json.loads((out / "report.json").read_text())
        counts.append((report["counts"]["decoded_anew"], report["counts"]["embedded_anew"]))
        layout = pd.read_parquet(out / "layout.parquet")
        cells.append(dict(zip(layout.uri, zip(layout.row, layout.col, strict=True), strict=True)))
        files = [path for path in out.rglob("*") if path.is_file() and path.name != "report.json"]
        results.append({str(path.relative_to(out)): path.read_bytes() for path in files})
        return ran.out

    assert "Map 1 of the collection. It is the first one." in run()
    shutil.copy(newcomer, folder)
    # It is killed when it has its cells and no mosaic; the next run shows what it would have.
    with monkeypatch.context() as patch:
        patch.setattr("assets.photo_map.plan_mosaic", lambda *_: 1 / 0)
        assert tessera("map", folder, "--out", out, "--name", "growing").code == 1
    assert "Map 2 of the collection. Since the map before, 1 came and 0 went" in run()
    run()
    assert counts[1:] == [(0, 0), (0, 0)]
    assert results[2] == results[1]
    assert {path.name for path in out.iterdir()} == EVERY_RESULT | {"changes.csv", "changes.png"}
    changes = pd.read_csv(out / "changes.csv")
    assert changes[changes.change == "came"].uri.tolist() == [str(folder / "newcomer.png")]
    for uri, (row, col) in cells[0].items():
        assert abs(cells[1][uri][0] - row) <= 2
        assert abs(cells[1][uri][1] - col) <= 2
    run("--from-map", "2")
    assert results[3] == results[2]
    # It was meant for this run alone.
    assert CollectionRegistry(shared_home).get("growing").settings["grid_assignment"] == {}


def test_every_file_is_a_photo_a_reject_with_a_reason_or_a_companion(
    tessera, photo_folder, tmp_path
):
    folder = photo_folder(3)
    (folder / "empty.jpg").touch()
    (folder / "half.png").write_bytes((folder / "photo_000.png").read_bytes()[:60])
    (folder / "drawing.svg").write_text("<svg/>")
    Image.new("RGB", (4, 4)).save(folder / "small.png")
    (folder / "away").symlink_to(photo_folder(1, "elsewhere"))
    (folder / "photo_001.png.json").write_text("{}")
    (folder / "notes.txt").write_text("milk, bread")
    (folder / "film.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(64))
    wide = ("--grid", "16x1", "--tile", "9000")
    ran = tessera("map", folder, "--out", tmp_path / "map", "--name", "mixed", *wide)
    rejects = pd.read_csv(tmp_path / "map" / "rejects.csv")
    reasons = {
        uri.rsplit("/", 1)[1]: reason
        for uri, reason in zip(rejects.uri, rejects.reason, strict=True)
    }
    assert reasons == {
        "empty.jpg": "empty",
        "half.png": "truncated",
        "drawing.svg": "unsupported",
        "small.png": "too small",
        "away": "link not followed",
    }
    companions = pd.read_csv(tmp_path / "map" / "companions.csv").set_index("uri").belongs_to
    assert companions[f"{folder}/photo_001.png.json"] == f"{folder}/photo_001.png"
    assert companions.isna().sum() == 2
    counts = json.loads((tmp_path / "map" / "report.json").read_text())["counts"]
    assert [counts[name] for name in ("found", "photos", "rejected", "companions")] == [11, 3, 5, 3]
    assert len(pd.read_parquet(tmp_path / "map" / "layout.parquet")) == 3
    assert "3 more files accompany photos, such as data" in ran.out
    assert "1 link out of the folder was not followed" in ran.out
    # More than half of the files are no photos: the map is made, and CI would fail.
    assert ran.code == 1
    assert "few_files_are_rejected" in ran.err
    # Tiles of a picture that would be too large are smaller.
    assert "instead of 9000" in ran.out
    with Image.open(tmp_path / "map" / "mosaic.jpg") as mosaic:
        assert 16_000 < mosaic.width <= 16_384


def test_an_added_folder_is_told_with_the_links_that_are_not_followed(
    tessera, shared_home, photo_folder
):
    folder = photo_folder(2)
    (folder / "more").symlink_to(photo_folder(1, "elsewhere"))
    for options, found in (
        ([], "2 files (links out of the folder that are not followed: 1)"),
        (["--follow-links"], "3 files"),
        # It is remembered.
        ([], "3 files"),
        (["--no-follow-links"], "2 files (links out of the folder that are not followed: 1)"),
    ):
        assert tessera("add", "linked", folder, *options).out == f"linked: {found} at {folder}\n"
    assert not CollectionRegistry(shared_home).get("linked").follow_links


def test_no_secret_is_kept_and_no_control_character_is_shown(
    tessera, shared_home, photo_folder, tmp_path
):
    folder = photo_folder(3)
    bell = folder / "bell\x1b]0;title\x07 [red]\u202e.png"
    (folder / "photo_001.png").rename(bell)
    broken = folder / "broken\r\n=1+1.png"
    broken.write_bytes(b"")
    names = [str(path.relative_to(tmp_path)) for path in (bell, broken, folder / "photo_000.png")]
    picture = (folder / "photo_002.png").read_bytes()
    secrets = ["s3cr3t-user", "s3cr3t-pass", "s3cr3t-sign", "s3cr3t-key", "s3cr3t-code"]
    signed = "/a.png?X-Amz-Signature=s3cr3t-sign&api_key=s3cr3t-key"
    with serving({signed: picture}) as server:
        web = server.removeprefix("http://")
        rows = [
            *names,
            server + signed,
            f"http://s3cr3t-user:s3cr3t-pass@{web}/b.png",
            f"{server}/gone.png?code=1&token=s3cr3t-code",
        ]
        manifest = tmp_path / "list.csv"
        pd.DataFrame({"uri": rows}).to_csv(manifest, index=False)
        ran = tessera(
            "map", manifest, "--out", tmp_path / "map", "--name", "odd", "--allow-private-addresses"
        )
    assert "3 files rejected" in ran.out, ran.err
    results = sorted(file for file in (tmp_path / "map").rglob("*") if file.is_file())
    written = [*results, *(file for file in shared_home.rglob("*") if file.is_file())]
    legible = {file: everything_in(file) for file in written}
    for secret in secrets:
        assert secret not in ran.out + ran.err
        assert [file for file in written if secret.encode() in legible[file]] == []
    # The page names photos by such addresses.
    facts = fields_of((tmp_path / "map" / "page" / "data" / "facts.js").read_bytes(), "facts")
    assert [uri for uri in facts["uris"].values() if uri.startswith(f"{server}/a.png?")] != []
    # Two addresses stay two, and the names of files stay what they are.
    layout = pd.read_parquet(tmp_path / "map" / "layout.parquet")
    assert sum(uri.startswith(f"{server}/a.png?X-Amz-Signature=hidden-") for uri in layout.uri) == 1
    assert {str(bell), str(folder / "photo_000.png")} < set(layout.uri)
    tables = [file for file in written if file.suffix == ".csv"]
    assert {file.name for file in tables} >= {"rejects.csv", "companions.csv"}
    for text in (ran.out, ran.err, *(file.read_bytes().decode() for file in tables)):
        assert UNSAFE.search(text) is None
    rejects = pd.read_csv(tmp_path / "map" / "rejects.csv").uri
    assert [local_path(uri) for uri in rejects if uri.startswith("file:")] == [str(broken)]
    assert f"http://hidden@{web}/b.png" in set(rejects)


def test_png_and_the_other_settings_of_the_picture_are_heeded(
    tessera, shared_home, photo_folder, tmp_path
):
    ran = tessera(
        "map", photo_folder(4), "--out", tmp_path / "map", "--name", "settings",
        "--grid", "4x1", "--tile", "20", "--gap", "0", "--format", "png", "--fit", "fit",
        "--background", "red", "--projection", "pca", "--no-refine", "--backbone", "pixels",
        "--solver", "optimal-transport", "--cost", "distance", "--no-page",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert not (tmp_path / "map" / "page").exists()
    assert not (shared_home / "pages" / "settings").exists()
    with Image.open(tmp_path / "map" / "mosaic.png") as mosaic:
        assert mosaic.size == (80, 20)
        assert mosaic.getpixel((0, 0)) == (255, 0, 0)
    report = json.loads((tmp_path / "map" / "report.json").read_text())
    assert report["refinement"] is None
    assert report["mosaic"]["tile"] == 20
    # The nightly run keeps to what was chosen.
    (remembered,) = (one for one in CollectionRegistry(shared_home).all() if one.name == "settings")
    assert remembered.settings["mosaic"]["background"] == "red"
    assert remembered.settings["grid_assignment"]["cost"] == "distance"
    assert report["assignment"]["certified"] is True
    assert report["assignment"]["cost_kind"] == "distance"
    assert "by network simplex, distances: certified optimal" in ran.out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--grid", "1x2"], "cells"),
        (["--grid", "wide"], "wide"),
        (["--projection", "magic"], "magic"),
        (["--solver", "magic"], "magic"),
        (["--perplexity", "0"], "perplexity"),
        (["--backbone", "magic"], "magic"),
        (["--background", "nocolour"], "nocolour"),
        (["--tile", "0"], "tile"),
        (["--name", "../up"], "cannot name a collection"),
        (["--name", "some/folder"], "cannot name a collection"),
        (["--device", "abacus"], "abacus"),
        (["--threads", "0"], "threads"),
        (["--fit", "squeeze"], "squeeze"),
    ],
)
def test_a_setting_that_makes_no_sense_is_told_in_a_sentence(
    tessera, photo_folder, tmp_path, options, sentence
):
    name = [] if "--name" in options else ["--name", "bad"]
    ran = tessera("map", photo_folder(3), "--out", tmp_path / "map", *name, *options)
    assert ran.code == 2
    assert sentence in ran.err
    assert "Traceback" not in ran.err
    assert not list((tmp_path / "map").glob("*"))
    # What cannot be mapped is not remembered either.
    assert "bad\t" not in tessera("list").out


def test_a_name_that_leads_elsewhere_leaves_no_file_there(
    tessera, shared_home, photo_folder, tmp_path
):
    before = set(shared_home.iterdir())
    tessera("map", photo_folder(1), "--out", tmp_path / "map", "--name", "../up")
    assert set(shared_home.iterdir()) == before


def test_a_source_that_is_not_there_is_told_in_a_sentence(tessera, tmp_path):
    ran = tessera("map", tmp_path / "nowhere", "--out", tmp_path / "map")
    assert ran.code == 2
    assert "nowhere" in ran.err
    assert "Traceback" not in ran.err


def test_a_folder_without_a_photo_says_what_was_looked_at(tessera, tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "notes.jpg").write_text("milk, bread")
    ran = tessera("map", folder, "--out", tmp_path / "map", "--name", "texts")
    assert ran.code == 2
    assert "texts" not in tessera("list").out
    assert "1 not an image" in ran.err
    assert "notes.jpg" in ran.err


@pytest.mark.parametrize("out", ["/proc/nowhere/map", "file/map"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    tessera, photo_folder, tmp_path, monkeypatch, out
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    ran = tessera("map", photo_folder(1), "--out", out, "--name", "unwritable")
    assert ran.code == 2
    assert "cannot be written to" in ran.err
    assert "unwritable" not in tessera("list").out


def test_a_collection_that_is_being_mapped_is_not_mapped_twice_at_once(
    tessera, shared_home, photo_folder, tmp_path
):
    (shared_home / "locks").mkdir(exist_ok=True)
    with FileLock(shared_home / "locks" / "busy.lock"):
        ran = tessera("map", photo_folder(1), "--out", tmp_path / "map", "--name", "busy")
    assert ran.code == 2
    assert "Another tessera is at work on busy" in ran.err


def test_results_inside_the_source_are_refused(tessera, photo_folder):
    folder = photo_folder(1)
    ran = tessera("map", folder, "--out", folder / "map")
    assert ran.code == 2
    assert "inside" in ran.err
    assert not (folder / "map").exists()


def test_a_fault_of_ours_is_a_line_without_debug_and_a_traceback_with_it(
    tessera, photo_folder, tmp_path, monkeypatch
):
    def fail(*arguments, **options):
        raise ZeroDivisionError("a bug")

    folder = photo_folder(2)
    monkeypatch.setattr("assets.results.staying_map.lay_out", fail)
    arguments = ["map", folder, "--out", tmp_path / "map", "--name", "fault"]
    ran = tessera(*arguments)
    assert ran.code == 1
    assert "grid_assignment failed: ZeroDivisionError: a bug" in ran.err
    assert "Traceback" not in ran.err
    with pytest.raises(ZeroDivisionError, match="a bug"):
        tessera(*arguments, "--debug")


def test_ctrl_c_ends_in_a_sentence_and_the_run_is_not_called_a_success(
    tessera, photo_folder, tmp_path, monkeypatch
):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("assets.results.staying_map.lay_out", interrupt)
    ran = tessera("map", photo_folder(2), "--out", tmp_path / "map", "--name", "interrupted")
    assert ran.code == 130
    assert "the next run goes on" in ran.err
    with open_instance() as instance:
        assert instance.get_runs(limit=1)[0].status == dg.DagsterRunStatus.CANCELED


def test_a_source_that_cannot_be_mapped_does_not_take_the_place_of_one_that_can(
    tessera, photo_folder, tmp_path
):
    folder = photo_folder(1)
    tessera("add", "kept", folder)
    assert tessera("map", tmp_path / "nowhere", "--out", tmp_path / "m", "--name", "kept").code == 2
    assert f"kept\t{folder}\n" in tessera("list").out
    moved = tessera("add", "kept", photo_folder(2, "elsewhere"))
    assert f"(was at {folder})" in moved.out


def test_collections_are_added_and_listed(tessera, shared_home, photo_folder):
    folder = photo_folder(2)
    added = tessera("add", "two", folder, "--allow-private-addresses")
    assert (added.code, added.out) == (0, f"two: 2 files at {folder}\n")
    # The sensor and the night go by it, too.
    kept = CollectionRegistry(shared_home).get("two").settings
    assert kept == {"raw_images": {"allow_private_addresses": True}}
    assert f"two\t{folder}\n" in tessera("list").out


def test_a_source_that_cannot_be_listed_is_not_added(tessera, tmp_path):
    assert tessera("add", "nothing", tmp_path / "nowhere").code == 2
    assert "nothing" not in tessera("list").out


def test_a_manifest_whose_files_are_all_missing_is_not_added(tessera, photo_folder, tmp_path):
    manifest = tmp_path / "old.csv"
    manifest.write_text("uri\ngone.jpg\nlost.jpg\n")
    refused = tessera("add", "old", manifest)
    assert refused.code == 2
    assert f"None of the 2 files that {manifest} names can be read; for example" in refused.err
    assert "old" not in {line.partition("\t")[0] for line in tessera("list").out.splitlines()}
    manifest.write_text(f"uri\ngone.jpg\n{photo_folder(1) / 'photo_000.png'}\n")
    added = tessera("add", "old", manifest)
    assert added.code == 0
    assert "old: 1 files and 1 that cannot be read (for example" in added.out


def test_help_names_every_command(tessera):
    assert all(
        command in tessera("--help").out
        for command in ("map", "add", "list", "demo", "check", "dev", "home")
    )


@pytest.mark.browser
@pytest.mark.timeout(600)
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_selection_from_the_page_is_mapped_by_itself(tessera, photo_folder, tmp_path):
    folder = photo_folder(10)
    ran = tessera("map", folder, "--out", tmp_path / "all", "--name", "all", "--tile", "20")
    assert ran.code == 0, ran.err
    before = {path: path.read_bytes() for path in (tmp_path / "all").rglob("*") if path.is_file()}
    selection = tmp_path / "three of them.csv"
    with chromium() as browser:
        page = browser.new_page()
        page.goto((tmp_path / "all" / "page" / "index.html").as_uri())
        page.wait_for_selector("html[data-ready]", state="attached")

        def save(photos: list[int], label: str, path: Path) -> None:
            page.evaluate("photos => tessera.state.select(photos)", photos)
            page.get_by_label("Label of the selected photos").fill(label)
            page.get_by_label("Name of the selection").fill(path.stem)
            with page.expect_download() as download:
                page.get_by_role("button", name="Save CSV").click()
            download.value.save_as(path)

        save([1, 4, 7], "nsfw", selection)
        save([0, 2, 3, 5, 6, 8, 9], "sfw", tmp_path / "others.csv")
        save([0, 2], "nsfw", tmp_path / "more.csv")
    chosen = read_selection(str(selection)).labels
    assert set(chosen.values()) == {"nsfw"}
    labels = [selection, tmp_path / "others.csv", tmp_path / "more.csv"]
    _check_labels_count(tessera, folder, labels, tmp_path / "evaluated")
    selection.write_text(f"{selection.read_text()}{'f' * 64},/gone.png,,,,,,\n")

    ran = tessera("map", "--only", selection, "--out", tmp_path / "some")
    assert ran.code == 0, ran.err
    (own,) = re.findall("These 3 files of all are a collection of their own, (.+?): ", ran.out)
    assert own.startswith("all-three-of-them-")
    assert own in {one.name for one in CollectionRegistry(home_folder()).all()}
    assert "1 of the 4 photos of the selection are not in all." in ran.out
    layout = pd.read_parquet(tmp_path / "some" / "layout.parquet")
    assert set(layout.image_id) == {*chosen}
    assert json.loads((tmp_path / "some" / "report.json").read_text())["counts"]["found"] == 3
    # With the settings of the map that it is from, and that one is as it was.
    with Image.open(tmp_path / "some" / "mosaic.jpg") as mosaic:
        assert max(mosaic.size) <= 3 * 22
    assert before == {path: path.read_bytes() for path in before}

    for refused, says in (
        (["--only", selection, "--name", "all"], "all is a collection of its own"),
        ([], "Missing argument 'SOURCE'"),
        (["--only", tmp_path / "gone.csv"], "gone.csv cannot be read: "),
    ):
        ran = tessera("map", *refused)
        assert ran.code != 0
        assert says in ran.err
    selection.write_text(f"image_id\n{'e' * 64}\n")
    ran = tessera("map", "--only", selection)
    assert "No collection that was mapped has a photo of the selection" in ran.err


def _check_labels_count(tessera, folder: Path, selections: list[Path], out: Path) -> None:
    """Evaluate and train with labels of selections: the folder itself has none."""
    options = [part for selection in selections for part in ("--labels", selection)]
    ran = tessera("evaluate", folder, *options, "--split", "all", "--out", out)
    assert ran.code == 0, ran.err
    assert "10 images, 5 of them nsfw" in ran.out
    assert "Labels from selections: 10 photos, 10 of them had another or none." in ran.out
    labels = [read_selection(str(selection)).labels for selection in selections]
    scores = pd.read_csv(out / "scores.csv")
    # Of a photo that is in two, the later one counts.
    assert set(scores[scores.label == "nsfw"].image_id) == {*labels[0], *labels[2]}
    # So few labels are counted, class by class, and are too few to train with.
    ran = tessera("train", folder, *options[:4])
    assert ran.code == 2
    assert "images of the class sfw: a new version is judged by it" in ran.err
