import hashlib
from pathlib import Path

import pandas as pd
import pytest

from assets.methods.common.errors import UserError
from assets.methods.common.tables import csv_bytes
from assets.methods.photos.catalogue import CatalogueSettings, catalogue_photos
from assets.methods.photos.photo_store import PhotoStore
from assets.methods.photos.selection import read_corrections, read_selection
from support.photos import encoded, scene

ONE, TWO = (hashlib.sha256(name.encode()).hexdigest() for name in ("one", "two"))


@pytest.fixture
def written(tmp_path):
    def write(text: str, encoding: str = "utf-8", name: str = "some.csv") -> str:
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return str(path)

    return write


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_photos_and_their_labels_are_read_however_a_spreadsheet_saved_them(
    written, encoding, separator
):
    rows = [["uri", "Image_ID ", "label"], ["/é.png", ONE.upper(), " sfw "], ["/b.png", TWO, ""]]
    text = "\r\n".join(separator.join(row) for row in [*rows, ["", "", ""]])
    assert read_selection(written(text, encoding)).labels == {ONE: "sfw", TWO: None}


def test_a_parquet_file_such_as_a_layout_is_a_selection(tmp_path):
    path = tmp_path / "layout.parquet"
    pd.DataFrame({"image_id": [ONE, TWO], "row": [0, 1]}).to_parquet(path)
    assert read_selection(str(path)).labels == {ONE: None, TWO: None}


def test_a_label_that_looks_like_a_formula_is_what_it_was(written):
    table = pd.DataFrame({"image_id": [ONE, TWO], "label": ["=1+1", "'quoted'"]})
    path = Path(written(""))
    path.write_bytes(csv_bytes(table))
    assert read_selection(str(path)).labels == {ONE: "=1+1", TWO: "'quoted'"}


@pytest.mark.parametrize(
    ("text", "encoding", "says"),
    [
        ("", "utf-8", "is empty"),
        ("image_id,label\n", "utf-8", "has no rows: select photos first."),
        ("uri,label\n/a.png,sfw\n", "utf-8", "has no column named image_id: its columns are 'uri'"),
        (f"image_id,label\n{ONE},\xe9\n", "latin-1", "is not encoded in UTF-8 or UTF-16: line 2"),
        ("image_id\n1.2E+45\n", "utf-8", "Row 1 of the selection .* but '1.2E\\+45'"),
        (f"image_id,label\n{ONE},a\n{ONE},b\n", "utf-8", "gives a photo the label 'b'"),
        (f'image_id,label\n{ONE},"a\n', "utf-8", "Line 2 of the selection cannot be read"),
        (f"image_id,image_id\n{ONE},{TWO}\n", "utf-8", "has two columns named image_id"),
    ],
)
def test_a_file_that_is_no_selection_is_refused_in_a_sentence(written, text, encoding, says):
    with pytest.raises(UserError, match=says):
        read_selection(written(text, encoding))


def test_a_file_that_is_not_there_or_is_no_table_is_refused(tmp_path, written):
    with pytest.raises(UserError, match="cannot be read: "):
        read_selection(str(tmp_path / "gone.csv"))
    with pytest.raises(UserError, match="is damaged or not what its name says"):
        read_selection(written("image_id", name="some.parquet"))


def test_the_labels_of_later_selections_count(written):
    first = written(f"image_id,label\n{ONE},sfw\n{TWO},sfw\n", name="first.csv")
    second = written(f"image_id,label\n{TWO},nsfw\n", name="second.csv")
    assert read_corrections([first, second]) == {ONE: "sfw", TWO: "nsfw"}
    assert read_corrections([]) == {}
    with pytest.raises(UserError, match=r"none.csv has no labels: name one on the page"):
        read_corrections([written(f"image_id\n{ONE}\n", name="none.csv")])


def test_the_catalogue_of_a_selection_has_its_photos_and_nothing_else(tmp_path, written):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.png").write_bytes(encoded(scene(32, 32, number)))
    (folder / "copy.png").write_bytes((folder / "2.png").read_bytes())
    (folder / "broken.png").write_bytes(b"\x89PNG")
    store = PhotoStore(tmp_path / "store")
    images = catalogue_photos(str(folder), store).images
    chosen = images.set_index("uri").image_id.loc[str(folder / "2.png")]
    selection = written(f"image_id\n{chosen}\n{ONE}\n")
    catalogue = catalogue_photos(str(folder), store, CatalogueSettings(only=selection))
    assert [Path(uri).name for uri in catalogue.images.uri] == ["2.png", "copy.png"]
    assert (catalogue.n_found, catalogue.n_decoded) == (2, 0)
    assert catalogue.rejects.empty
    assert catalogue.listing == catalogue_photos(str(folder), store).listing
    with pytest.raises(UserError, match=r"None of the 1 photos of the selection .* is in /"):
        catalogue_photos(str(folder), store, CatalogueSettings(only=written(f"image_id\n{ONE}\n")))
