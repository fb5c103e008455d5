import pandas as pd
import pytest

from assets.methods.photos import catalogue as cataloguing
from assets.methods.photos.catalogue import CatalogueSettings, catalogue_photos
from assets.methods.photos.companions import find_companions
from assets.methods.photos.listing import SourceFile
from assets.methods.photos.photo_store import PhotoStore
from assets.methods.photos.rejects import Reason
from support.photos import encoded, photo, scene
from support.sources import write

SETTINGS = CatalogueSettings(workers=2)
VIDEO = b"\0\0\0\x14ftypqt  " + bytes(64)


@pytest.fixture
def store(tmp_path):
    return PhotoStore(tmp_path / "store")


def kinds(catalogue) -> dict[str, str]:
    """What became of each file, by its name."""
    tables = {
        "photo": catalogue.images,
        "reject": catalogue.rejects,
        "companion": catalogue.companions,
    }
    return {uri.rpartition("/")[2]: kind for kind, table in tables.items() for uri in table["uri"]}


@pytest.mark.parametrize(
    ("name", "belongs_to"),
    [
        # As photo services write them.
        ("IMG_1.jpg.json", "IMG_1.jpg"),
        ("IMG_1.JPG.supplemental-metadata.json", "IMG_1.jpg"),
        ("IMG_1.jpg.suppl.json", "IMG_1.jpg"),
        ("IMG_1.jpg(1).json", "IMG_1(1).jpg"),
        ("IMG_1.jpg.supplemental-metadata(1).json", "IMG_1(1).jpg"),
        ("IMG_1(1).jpg.json", "IMG_1(1).jpg"),
        ("IMG_1.json", "IMG_1.jpg"),
        ("metadata.json", None),
        # As telephones and cameras do.
        ("IMG_1.AAE", "IMG_1.jpg"),
        ("IMG_2.MOV", "img_2.HEIC"),
        ("IMG_3.MP4", None),
        ("img_1.CR2", "IMG_1.jpg"),
        # As editors do.
        ("IMG_1.xmp", "IMG_1.jpg"),
        ("IMG_1.jpg.xmp", "IMG_1.jpg"),
        ("raw.xmp", "raw.nef"),
        ("raw.nef.xmp", "raw.nef"),
        ("labels.csv", None),
        ("IMG_1.old.jpg.txt", "IMG_1.jpg"),
    ],
)
def test_names_of_companions(name, belongs_to):
    there = ["IMG_1.jpg", "IMG_1(1).jpg", "img_2.HEIC", "raw.nef"]
    uris = [f"/photos/{one}" for one in [*there, name]] + ["/other/IMG_3.jpg"]
    found = find_companions([SourceFile(uri, None, None) for uri in uris])
    assert found == {f"/photos/{name}": belongs_to and f"/photos/{belongs_to}"}


@pytest.mark.parametrize("name", ["a.jpg", "a.pdf", "raw.nef", "README", "a.psd", "a.json.jpg"])
def test_names_that_are_none(name):
    assert find_companions([SourceFile(f"/photos/{name}", None, None)]) == {}


def test_the_export_of_a_photo_service_has_no_rejects(tmp_path, store):
    folder = tmp_path / "export"
    for number in range(3):
        write(folder / f"IMG_{number}.jpg", photo("JPEG", seed=number))
        write(folder / f"IMG_{number}.jpg.json", b'{"title": ""}')
    write(folder / "metadata.json", b"{}")
    write(folder / "IMG_1.MOV", VIDEO)
    write(folder / "empty.txt", b"")
    write(folder / "IMG_2.ARW", photo("TIFF"))
    catalogue = catalogue_photos(str(folder), store, SETTINGS)
    assert list(kinds(catalogue).values()) == ["photo"] * 3 + ["companion"] * 7
    assert catalogue.n_found == 10
    belongs_to = dict(zip(catalogue.companions.uri, catalogue.companions.belongs_to, strict=True))
    assert belongs_to[f"{folder}/IMG_1.MOV"] == f"{folder}/IMG_1.jpg"
    assert pd.isna(belongs_to[f"{folder}/metadata.json"])
    assert catalogue.companions.uri.is_monotonic_increasing


def test_what_is_a_photo_by_its_content_stays_one_whatever_its_name(tmp_path, store):
    folder = tmp_path / "photos"
    write(folder / "a.jpg", photo())
    write(folder / "a.txt", photo(seed=1))
    write(folder / "a.dng", photo("JPEG", seed=2))
    write(folder / "b.mov", photo("HEIF", seed=3))
    write(folder / "cut.txt", photo("JPEG")[:300])
    for _ in range(2):
        catalogue = catalogue_photos(str(folder), store, SETTINGS)
        assert kinds(catalogue) == {
            "a.jpg": "photo",
            "a.txt": "photo",
            "a.dng": "photo",
            "b.mov": "photo",
            "cut.txt": "reject",
        }
    assert catalogue.n_decoded == 0


def test_a_raw_file_alone_is_a_reject_that_says_so(tmp_path, store):
    folder = tmp_path / "photos"
    write(folder / "a.jpg", photo())
    write(folder / "alone.NEF", encoded(scene(seed=5), "TIFF"))
    manifest = write(folder / "m.csv", b"uri\na.jpg\nalone.NEF\n")
    for source in (folder, manifest, folder):
        (reject,) = catalogue_photos(str(source), store, SETTINGS).rejects.to_dict("records")
        assert reject["uri"] == str(folder / "alone.NEF")
        assert reject["reason"] == Reason.UNSUPPORTED
        assert "raw file" in reject["detail"]


def test_a_raw_file_that_an_older_version_took_for_a_photo_is_none(tmp_path, store, monkeypatch):
    folder = tmp_path / "photos"
    write(folder / "a.jpg", photo())
    for name in ("a.dng", "alone.dng"):
        write(folder / name, photo("TIFF", seed=1))
    with monkeypatch.context() as patch:
        patch.setattr(cataloguing, "is_named_raw", lambda uri: False)
        assert len(catalogue_photos(str(folder), store, SETTINGS).images) == 3
    catalogue = catalogue_photos(str(folder), store, SETTINGS)
    assert kinds(catalogue) == {"a.jpg": "photo", "a.dng": "companion", "alone.dng": "reject"}


def test_a_row_of_a_manifest_claims_to_be_a_photo(tmp_path, store):
    write(tmp_path / "a.jpg", photo())
    write(tmp_path / "a.json", b"{}")
    manifest = write(tmp_path / "m.csv", b"uri\na.jpg\na.json\n")
    catalogue = catalogue_photos(str(manifest), store, SETTINGS)
    assert kinds(catalogue) == {"a.jpg": "photo", "a.json": "reject"}


def test_of_a_companion_only_the_beginning_is_read_and_only_once(memory, store, monkeypatch):
    memory.pipe("/export/a.png", photo())
    memory.pipe("/export/a.mov", VIDEO + bytes(10_000))
    read = []

    def cat_file(path, start=None, end=None, **options):
        read.append((path, end))
        return memory.store[path].getvalue()[start:end]

    monkeypatch.setattr(memory, "cat_file", cat_file)
    monkeypatch.setattr(type(memory), "cat_file", lambda self, *a, **k: cat_file(*a, **k))
    for _ in range(2):
        catalogue = catalogue_photos("memory://export", store, SETTINGS)
        assert kinds(catalogue) == {"a.png": "photo", "a.mov": "companion"}
    assert read == [("/export/a.mov", 4096)]


def test_a_companion_that_cannot_be_read_is_one_by_its_name(tmp_path, store, monkeypatch):
    folder = tmp_path / "photos"
    write(folder / "a.jpg", photo())
    write(folder / "a.txt", b"hello")

    def unreadable(file, n_bytes):
        raise cataloguing.Rejected(Reason.UNREADABLE, "The disk is asleep.")

    monkeypatch.setattr(cataloguing, "read_head", unreadable)
    assert kinds(catalogue_photos(str(folder), store, SETTINGS))["a.txt"] == "companion"
