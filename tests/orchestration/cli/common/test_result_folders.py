import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from assets.methods.common.errors import UserError
from assets.results.originals import Original
from orchestration.cli.common.result_folders import (
    REPORT,
    ImageFolders,
    check_replaceable,
    write_results,
)

PIXELS = Image.new("RGB", (1, 1))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_an_earlier_call_wrote_is_removed(tmp_path):
    write_results(tmp_path, {"mosaic.jpg": b"old", "figure.png": b"old"}, {"n": 1})
    paths = write_results(tmp_path, {"mosaic.png": b"new", "figure.png": b"new"}, {"n": 2})
    assert names(tmp_path) == {"mosaic.png", "figure.png", REPORT}
    assert paths == {name: tmp_path / name for name in ("mosaic.png", "figure.png", REPORT)}
    report = json.loads((tmp_path / REPORT).read_text())
    assert report["n"] == 2
    assert report["files"].keys() == {"mosaic.png", "figure.png"}
    # Written again, the same bytes have the same report.
    before = (tmp_path / REPORT).read_bytes()
    write_results(tmp_path, {"mosaic.png": b"new", "figure.png": b"new"}, {"n": 2})
    assert (tmp_path / REPORT).read_bytes() == before


@pytest.mark.parametrize("change", ["edited", "not ours", "link", "folder", "no report", "damaged"])
def test_what_a_person_changed_or_put_there_stays(tmp_path, change):
    out = tmp_path / "out"
    old = out / "old.jpg"
    write_results(out, {"old.jpg": b"old"}, {})
    if change == "edited":
        old.write_bytes(b"older")
    elif change == "not ours":
        old = old.rename(out / "mine.jpg")
    elif change == "link":
        old = old.rename(tmp_path / "old.jpg")
        (out / "old.jpg").symlink_to(old)
    elif change == "folder":
        old.unlink()
        old.mkdir()
    elif change == "no report":
        (out / REPORT).unlink()
    else:
        (out / REPORT).write_text("[1, ")
    write_results(out, {"new.jpg": b"new"}, {})
    assert old.exists()
    if change == "link":
        assert (out / "old.jpg").is_symlink()


@pytest.mark.parametrize("name", ["../outside.jpg", "sub/inside.jpg", "/", "..", REPORT])
def test_a_report_that_was_tampered_with_leads_nowhere_else(tmp_path, name):
    out = tmp_path / "out"
    paths = write_results(out, {"a.jpg": b"x"}, {})
    digest = json.loads(paths[REPORT].read_text())["files"]["a.jpg"]
    for path in (tmp_path / "outside.jpg", out / "sub" / "inside.jpg"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    paths[REPORT].write_text(json.dumps({"files": {name: digest}}))
    write_results(out, {"b.jpg": b"x"}, {})
    assert (tmp_path / "outside.jpg").exists()
    assert (out / "sub" / "inside.jpg").exists()


def test_a_file_is_in_the_way_unless_the_same_command_wrote_it_and_nobody_changed_it(tmp_path):
    out = tmp_path / "out"

    def check(command: str = "review") -> None:
        check_replaceable(out, ["table.csv"], command, "--review")

    check()
    out.mkdir()
    (out / "table.csv").write_bytes(b"")
    with pytest.raises(UserError, match=r"--review .*out holds a file table.csv that would be"):
        check()
    write_results(out, {"table.csv": b"old"}, {"command": "review"})
    check()
    with pytest.raises(UserError, match=r"table\.csv"):
        check("explain")
    (out / "other.csv").write_bytes(b"mine")
    check()
    (out / "table.csv").write_bytes(b"old, and filled in")
    with pytest.raises(UserError, match="somebody has changed"):
        check()
    (out / "table.csv").unlink()
    check()
    (out / REPORT).write_bytes(b"{}")
    with pytest.raises(UserError, match=r"holds a file report\.json"):
        check()


def written(folders: ImageFolders, uri: str, image_id: str = "0123456789") -> str:
    """The name of the folder into which the result of an image is written."""
    image = Original(1, uri, "a.jpg", "a", PIXELS, image_id, PIXELS, PIXELS.size)
    return folders.write(image, {"figure.png": uri.encode()}, {"score": 1})[REPORT].parent.name


def test_a_folder_has_the_name_of_the_file_and_a_short_id_call_after_call(tmp_path):
    assert written(ImageFolders(tmp_path, "explain"), "/one/a.jpg", "1" * 64) == "a-11111111"
    assert written(ImageFolders(tmp_path, "explain"), "/two/a.jpg", "2" * 64) == "a-22222222"
    # The result of the same file is replaced.
    assert written(ImageFolders(tmp_path, "explain"), "/one/a.jpg", "1" * 64) == "a-11111111"
    assert names(tmp_path) == {"a-11111111", "a-22222222"}


def test_files_of_one_name_and_one_content_have_folders_of_their_own_call_after_call(tmp_path):
    assert written(ImageFolders(tmp_path, "explain"), "/one/a.jpg") == "a-01234567"
    assert written(ImageFolders(tmp_path, "explain"), "/two/a.jpg") == "a-01234567-2"
    assert written(ImageFolders(tmp_path, "explain"), "/three/a.png") == "a-01234567-3"
    # In whatever order they are named.
    again = ImageFolders(tmp_path, "explain")
    found = [written(again, f"/{one}/a.jpg") for one in ("two", "one")]
    assert found == ["a-01234567-2", "a-01234567"]
    assert (tmp_path / "a-01234567" / "figure.png").read_text() == "/one/a.jpg"


def test_another_command_is_another_result(tmp_path):
    assert written(ImageFolders(tmp_path, "explain"), "/one/a.jpg") == "a-01234567"
    assert written(ImageFolders(tmp_path, "deconv"), "/one/a.jpg") == "a-01234567-2"
    assert written(ImageFolders(tmp_path, "explain"), "/one/a.jpg") == "a-01234567"


def test_an_image_that_is_named_twice_in_a_call_has_two_results(tmp_path):
    for _ in range(2):
        folders = ImageFolders(tmp_path, "explain")
        found = [written(folders, "/one/a.jpg") for _ in range(2)]
        assert found == ["a-01234567", "a-01234567-2"]


def test_a_result_is_replaced_by_the_next_of_the_same_image(tmp_path):
    image = Original(1, "/one/a.jpg", "a.jpg", "a", PIXELS, "0123456789", PIXELS, PIXELS.size)
    write = ImageFolders(tmp_path, "explain").writer(image)
    # A call that ends before the first result leaves no folder that the next one has to shun.
    assert names(tmp_path) == set()
    first = write({"figure.png": b"estimate", "seen.npy": b"1"}, {"score": 1})
    second = write({"figure.png": b"exact"}, {"score": 1})
    assert first[REPORT] == second[REPORT] == tmp_path / "a-01234567" / REPORT
    assert names(tmp_path / "a-01234567") == {"figure.png", REPORT}
    assert second["figure.png"].read_bytes() == b"exact"


def test_a_folder_of_the_plain_name_is_used_if_it_holds_the_result_of_the_same_file(tmp_path):
    identity = {"command": "explain", "image_id": "0123456789"}
    for number, uri in (("", "/one/a.jpg"), ("-2", "/two/a.jpg")):
        folder = tmp_path / f"a{number}"
        write_results(folder, {"old.png": b"old"}, {**identity, "image": uri})
    folders = ImageFolders(tmp_path, "explain")
    assert written(folders, "/two/a.jpg") == "a-2"
    assert names(tmp_path / "a-2") == {"figure.png", REPORT}
    # Another content, and another file.
    assert written(folders, "/one/a.jpg", "9876543210") == "a-98765432"
    assert written(folders, "/three/a.jpg") == "a-01234567"
    assert written(folders, "/one/a.jpg") == "a"
    assert names(tmp_path) == {"a", "a-2", "a-01234567", "a-98765432"}


@pytest.mark.parametrize("content", ["nothing", "photos", "file", "other report"])
def test_a_folder_that_a_person_made_is_left_alone(tmp_path, content):
    mine = tmp_path / "a-01234567"
    if content == "file":
        mine.write_text("mine")
    else:
        mine.mkdir()
    if content == "photos":
        (mine / "figure.png").write_text("mine")
    elif content == "other report":
        (mine / REPORT).write_text('{"image": "/one/a.jpg"}')
    assert written(ImageFolders(tmp_path, "explain"), "/one/a.jpg") == "a-01234567-2"
    assert mine.is_file() or "seen.png" not in names(mine)


def test_calls_at_the_same_time_take_different_folders(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(
            lambda number: written(ImageFolders(tmp_path, "explain"), f"/{number}/a.jpg"), range(16)
        )
        assert len(set(found)) == 16


def test_a_sheet_of_fewer_pages_removes_what_a_call_before_left(tmp_path):
    def write(n_pages: int, *, is_killed: bool = False) -> None:
        sheet = ImageFolders(tmp_path, "explain").open_sheet()
        for number in range(n_pages):
            sheet.add(f"page-{number}.png", b"page")
            sheet.note()
        if not is_killed:
            sheet.finish({"n": n_pages})

    write(3, is_killed=True)
    write(1)
    assert names(tmp_path / "sheet") == {"page-0.png", REPORT}
    write(2)
    write(1, is_killed=True)
    # The pages of the call before are known until they are replaced.
    assert json.loads((tmp_path / "sheet" / REPORT).read_text())["files"].keys() == {
        "page-0.png",
        "page-1.png",
    }
    assert names(tmp_path) == {"sheet"}


def test_a_sheet_goes_beside_a_folder_that_a_person_made(tmp_path):
    (tmp_path / "sheet").mkdir()
    sheet = ImageFolders(tmp_path, "explain").open_sheet()
    sheet.add("page-1.png", b"page")
    assert sheet.finish({})["page-1.png"] == tmp_path / "sheet-2" / "page-1.png"
