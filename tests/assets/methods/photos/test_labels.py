from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.methods.common.errors import UserError
from assets.methods.photos.catalogue import CatalogueSettings, catalogue_photos
from assets.methods.photos.decode import image_id
from assets.methods.photos.labels import (
    LabelledData,
    LabelSettings,
    check_labels,
    class_counts,
    label_images,
)
from assets.methods.photos.photo_store import PhotoStore
from assets.methods.photos.source import read_labels
from assets.methods.photos.splits import SplitFractions
from support.photos import encoded, photo, scene

# a, b and c follow each other by four bits, so that a and c are near through b only. The others
# have nothing in common.
HASHES = {
    "a": "00000000ffffffff",
    "b": "00000000fffffff0",
    "c": "00000000ffffff00",
    "d": "ffff0000ffff0000",
    "e": "0f0f0f0f0f0f0f0f",
    "f": "00ff00ff00ff00ff",
    "g": "3333333333333333",
}
# a2 is a copy of a's bytes; x is no photo, and the catalogue has never heard of y.
FILES = {
    "a1": "a",
    "a2": "a",
    "b1": "b",
    "c1": "c",
    "d1": "d",
    "d2": "d",
    "e1": "e",
    "f1": "f",
    "g1": "g",
}
IMAGES = pd.DataFrame(
    [(identity, uri, HASHES[identity]) for uri, identity in FILES.items()],
    columns=["image_id", "uri", "phash"],
    dtype="string",
)
REJECTS = pd.DataFrame(
    [("x", "truncated", "The file ends early.")],
    columns=["uri", "reason", "detail"],
    dtype="string",
)
ALL_TRAIN = LabelSettings(fractions=SplitFractions(1, 0, 0))


def manifest(*rows: tuple[str | None, ...], columns: str = "uri label split") -> pd.DataFrame:
    index = range(1, len(rows) + 1)
    return pd.DataFrame(rows, index, columns.split(), dtype="string")


def label(rows: pd.DataFrame, settings: LabelSettings = ALL_TRAIN) -> LabelledData:
    return label_images(rows, IMAGES, REJECTS, settings)


def found(data: LabelledData) -> list[tuple[int, str, str]]:
    findings = data.findings
    return list(zip(findings["row"], findings["reason"], findings["detail"], strict=True))


def test_the_tables():
    data = label(
        manifest(
            ("d1", "sfw", "test", "night", None),
            ("a1", "nsfw", None, None, "2"),
            ("x", "sfw", "train", "day", "3"),
            columns="uri label split light lens",
        )
    )
    expected = pd.DataFrame(
        [("a", "a1", "nsfw", "train", 0, None, "2"), ("d", "d1", "sfw", "test", 1, "night", None)],
        columns=["image_id", "uri", "label", "split", "group", "light", "lens"],
    ).astype({"group": "int64"} | dict.fromkeys(["image_id", "uri", "label", "split"], "string"))
    expected = expected.astype({"light": "string", "lens": "string"})
    pd.testing.assert_frame_equal(data.images, expected)
    findings = pd.DataFrame(
        {
            "row": [3],
            "uri": pd.array(["x"], dtype="string"),
            "reason": pd.array(["truncated"], dtype="string"),
            "detail": pd.array(["The file ends early."], dtype="string"),
            "left_out": [True],
        }
    )
    pd.testing.assert_frame_equal(data.findings, findings)
    assert data.slice_columns == ("light", "lens")
    assert data.class_names == ("sfw", "nsfw")


def test_rows_without_a_photo():
    data = label(
        manifest(("y", "sfw", None), ("x", "sfw", None), ("d1", "sfw", None), ("a1", "nsfw", None))
    )
    assert found(data) == [
        (
            1,
            "not catalogued",
            "The source has changed since its files were catalogued: catalogue them again.",
        ),
        (2, "truncated", "The file ends early."),
    ]
    assert data.findings["left_out"].all()


def test_labels():
    rows = manifest(
        ("a1", " NSFW ", None), ("d1", "Sfw", None), ("e1", "maybe", None), ("e1", None, None)
    )
    data = label(rows)
    assert data.images["label"].tolist() == ["nsfw", "sfw"]
    assert found(data) == [
        (3, "unknown label", "There is no class 'maybe': give sfw or nsfw."),
        (4, "unknown label", "The row has no label: give sfw or nsfw."),
    ]


def test_other_classes():
    data = label(
        manifest(("a1", "CAT", None), ("d1", "dog", None), ("e1", "sfw", None)),
        LabelSettings(negative="dog", positive="Cat"),
    )
    assert data.images["label"].tolist() == ["Cat", "dog"]
    assert found(data) == [(3, "unknown label", "There is no class 'sfw': give dog or Cat.")]


@pytest.mark.parametrize("names", [("sfw", "SFW "), ("", "nsfw"), ("sfw", " ")])
def test_classes_that_are_not_two(names):
    with pytest.raises(UserError, match=r"give two names that differ"):
        LabelSettings(*names)


def test_copies_with_both_labels_are_left_out():
    rows = manifest(
        ("a1", "sfw", None),
        ("a2", "nsfw", "holdout"),
        ("a1", "sfw", None),
        ("d1", "sfw", None),
        ("e1", "nsfw", None),
        ("d2", "what", None),
    )
    data = label(rows)
    assert data.images["image_id"].tolist() == ["d", "e"]
    assert found(data) == [
        (1, "label conflict", "The same photo is labelled nsfw in row 2."),
        (2, "label conflict", "The same photo is labelled sfw in rows 1 and 3."),
        (3, "label conflict", "The same photo is labelled nsfw in row 2."),
        # A label that is none contradicts nothing.
        (6, "unknown label", "There is no class 'what': give sfw or nsfw."),
    ]


def test_many_rows_are_not_all_named():
    rows = [("a1", "sfw", None)] * 7 + [
        ("a2", "nsfw", None),
        ("d1", "sfw", None),
        ("e1", "nsfw", None),
    ]
    _, _, detail = found(label(manifest(*rows)))[7]
    assert detail == "The same photo is labelled sfw in rows 1, 2, 3, 4, 5 and 2 more."


def many(n_photos: int, **columns: list[str | None]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows and photos that have nothing in common, every second one nsfw."""
    identities = [image_id(bytes([number])) for number in range(n_photos)]
    hashes = [identity[:16] for identity in identities]
    images = pd.DataFrame(
        {"image_id": identities, "uri": identities, "phash": hashes}, dtype="string"
    )
    labels = [("sfw", "nsfw")[number % 2] for number in range(n_photos)]
    rows = pd.DataFrame({"uri": identities, "label": labels, **columns}, dtype="string")
    return rows.set_index(pd.RangeIndex(1, n_photos + 1)), images


def test_columns_that_name_single_rows_are_no_slices_and_a_note_names_them_once():
    rows, images = many(
        20,
        camera=[f"camera {number % 9}" for number in range(20)],
        place=[f"place {number % 10}" for number in range(20)],
        time=[f"12:{number % 11}" for number in range(20)],
        image_id=[f"{number}" for number in range(20)],
        # Of the ten rows that have a value, each has its own.
        note=[f"seen by {number}" if number < 10 else None for number in range(20)],
        __index_level_0__=["0"] * 20,
        light=["day", "night"] * 10,
    )
    data = label_images(rows, images, REJECTS)
    assert data.slice_columns == ("camera", "place", "light")
    assert list(data.images.columns[5:]) == ["camera", "place", "light"]
    assert data.notes == (
        "Not taken as slices, because they have about as many values as rows: time, image_id, "
        "note, __index_level_0__.",
    )


def test_so_few_rows_are_divided_by_any_column():
    rows, images = many(9, place=[f"{number}" for number in range(9)])
    data = label_images(rows, images, REJECTS)
    assert (data.slice_columns, data.notes) == (("place",), ())


def test_a_note_of_many_columns_is_short():
    names = [f"id{number}" for number in range(7)]
    rows, images = many(20, **{name: [f"{number}" for number in range(20)] for name in names})
    (note,) = label_images(rows, images, REJECTS).notes
    assert note.endswith(": id0, id1, id2, id3, id4 and 2 more.")


def test_train_without_validation_gives_a_part_of_it_the_same_each_time():
    given = ["training"] * 48 + ["testing"] * 16
    rows, images = many(64, split=given)
    data = label_images(rows, images, REJECTS)
    # An eighth of the 24 photos of each class, as 10 % of all are an eighth of 70 % and 10 %.
    assert class_counts(data).to_numpy().tolist() == [[21, 21], [3, 3], [8, 8]]
    assert data.notes == (
        "There is no split validation: 6 photos of train were taken for it, the same ones each "
        "time.",
    )
    again = label_images(rows[::-1], images[::-1], REJECTS)
    pd.testing.assert_frame_equal(again.images, data.images)
    named = label_images(rows.replace({"split": {"training": "train"}}), images, REJECTS)
    pd.testing.assert_frame_equal(named.images, data.images)


@pytest.mark.parametrize(
    ("split", "shares"),
    [
        # There is one; or train was given to nobody; or nobody wants one.
        (["train"] * 30 + ["dev"] * 2 + ["test"] * 8, (0.7, 0.1, 0.2)),
        (["test"] * 40, (0.7, 0.1, 0.2)),
        (["train"] * 32 + ["test"] * 8, (0.8, 0, 0.2)),
    ],
)
def test_splits_that_need_no_other_validation_stay(split, shares):
    rows, images = many(40, split=split)
    data = label_images(rows, images, REJECTS, LabelSettings(fractions=SplitFractions(*shares)))
    by_uri = data.images.set_index("uri").split
    assert by_uri[rows.uri].tolist() == ["validation" if one == "dev" else one for one in split]
    assert data.notes == ()


def test_copies_with_one_label_are_one_image():
    data = label(
        manifest(
            ("d2", "sfw", "x"),
            ("a1", "nsfw", "x"),
            ("d1", "SFW", "z"),
            ("d1", "sfw", "y"),
            columns="uri label place",
        )
    )
    # The first by uri, and of rows with one uri the first by the slice columns.
    assert data.images["uri"].tolist() == ["a1", "d1"]
    assert data.images["place"].tolist() == ["x", "y"]
    assert found(data) == [
        (1, "duplicate", "The same photo is in row 4."),
        (3, "duplicate", "The same photo is in row 4."),
    ]


def test_near_duplicates_with_both_labels_stay():
    rows = manifest(
        ("c1", "nsfw", None), ("b1", "sfw", None), ("a1", "nsfw", None), ("e1", "sfw", None)
    )
    data = label(rows)
    assert data.images["image_id"].tolist() == ["a", "b", "c", "e"]
    assert data.images["group"].tolist() == [0, 0, 0, 1]
    alike = "A photo that looks nearly alike is labelled "
    assert found(data) == [
        (1, "near-duplicate conflict", alike + "sfw in row 2; a detail may decide."),
        (2, "near-duplicate conflict", alike + "nsfw in rows 1 and 3; a detail may decide."),
        (3, "near-duplicate conflict", alike + "sfw in row 2; a detail may decide."),
    ]
    assert not data.findings["left_out"].any()
    strict = label(rows, LabelSettings(near_distance=3))
    assert strict.images["group"].tolist() == [0, 1, 2, 3]
    assert len(strict.findings) == 0


def test_a_photo_that_was_left_out_links_nothing():
    data = label(manifest(("a1", "nsfw", None), ("b1", "what", None), ("c1", "sfw", None)))
    assert data.images["group"].tolist() == [0, 1]


def test_splits_as_given():
    rows = manifest(
        ("a1", "nsfw", "VAL"), ("d1", "sfw", "test"), ("e1", "sfw", "new"), ("e1", "sfw", " ")
    )
    data = label(rows)
    assert data.images.set_index("image_id")["split"].to_dict() == {
        "a": "validation",
        "d": "test",
        "e": "train",
    }
    assert found(data) == [
        (
            3,
            "unknown split",
            "There is no split 'new': give train, validation, test, or nothing to have one chosen.",
        )
    ]


def test_a_test_set_stays_whole():
    rows = manifest(
        ("a1", "sfw", "train"),
        ("a2", "sfw", "validation"),
        ("b1", "sfw", None),
        ("c1", "sfw", "test"),
        ("d1", "nsfw", "train"),
        ("d2", "nsfw", "val"),
        ("e1", "nsfw", "train"),
    )
    data = label(rows)
    assert list(
        data.images[["image_id", "uri", "split", "group"]].itertuples(index=False, name=None)
    ) == [
        ("b", "b1", "test", 0),
        ("c", "c1", "test", 0),
        ("d", "d2", "validation", 1),
        ("e", "e1", "train", 2),
    ]
    assert found(data) == [
        (1, "straddles splits", "The same photo or one nearly alike is in test (row 4)."),
        (2, "straddles splits", "The same photo or one nearly alike is in test (row 4)."),
        (5, "straddles splits", "The same photo or one nearly alike is in validation (row 6)."),
    ]
    assert data.findings["left_out"].all()


def test_a_group_follows_the_split_that_one_of_it_has():
    rows = manifest(
        ("a1", "nsfw", None), ("a2", "nsfw", None), ("c1", "sfw", "test"), ("b1", "sfw", None)
    )
    assert set(label(rows).images["split"]) == {"test"}


def test_columns_whose_names_are_taken():
    for name in ("image_id", "group"):
        with pytest.raises(UserError, match=f"column {name} has a name"):
            label(manifest(("a1", "sfw", "1"), columns=f"uri label {name}"))


def test_columns_named_like_those_of_other_tables():
    rows = manifest(
        ("d1", "sfw", "1", "2"), ("a1", "nsfw", "3", "4"), columns="uri label phash row"
    )
    assert label(rows).images[["phash", "row"]].to_numpy().tolist() == [["3", "4"], ["1", "2"]]


def test_nothing_usable():
    with pytest.raises(UserError) as caught:
        label(manifest(("x", "sfw", None), ("d1", "bad", None), ("d2", None, None)))
    assert str(caught.value) == (
        "None of the 3 rows can be used as labelled data (1 truncated, 2 unknown label; for example"
        " row 1, x: The file ends early)."
    )


def test_one_class_only():
    with pytest.raises(UserError) as caught:
        label(manifest(("a1", "sfw", None), ("d1", "sfw", None), ("d2", "sfw", None)))
    assert str(caught.value) == (
        "None of the 2 photos that can be used is labelled nsfw: label some of each class."
    )
    with pytest.raises(UserError) as caught:
        label(manifest(("a1", "nsfw", None), ("d1", "safe", None)))
    assert str(caught.value) == (
        "None of the 1 photos that can be used is labelled sfw: label some of each class (1 unknown"
        " label; for example row 2, d1: There is no class 'safe': give sfw or nsfw)."
    )


def test_counts():
    rows = manifest(("a1", "nsfw", "test"), ("d1", "sfw", "train"), ("e1", "sfw", "train"))
    counts = class_counts(label(rows))
    assert counts.index.tolist() == ["train", "validation", "test"]
    assert counts.columns.tolist() == ["sfw", "nsfw"]
    assert counts.to_numpy().tolist() == [[2, 0], [0, 0], [0, 1]]


# Two photos of their own make sure that there is one of each class.
SURE = [("f1", "sfw", "test", None), ("g1", "nsfw", "test", None)]
any_rows = st.lists(
    st.tuples(
        st.sampled_from([*list(FILES)[:-2], "x", "y"]),
        st.sampled_from(["sfw", "sfw", "nsfw", "NSFW", "other", None]),
        st.sampled_from(["train", "val", "validation", "test", "other", None]),
        st.sampled_from(["day", "night", None]),
    ),
    max_size=15,
).map(lambda rows: SURE + rows)


def labelled(rows: list[tuple[str | None, ...]]) -> tuple[pd.DataFrame, LabelledData]:
    table = manifest(*rows, columns="uri label split light")
    return table, label(table, LabelSettings())


@settings(max_examples=25)
@given(any_rows)
def test_every_row_is_accounted_for(rows):
    table, data = labelled(rows)
    left_out = data.findings.loc[data.findings["left_out"], "row"]
    assert left_out.is_unique
    kept = table.drop(left_out)
    assert sorted(kept["uri"].map(FILES)) == data.images["image_id"].tolist()
    for row in kept.itertuples():
        image = data.images[data.images["image_id"] == FILES[row.uri]].iloc[0]
        assert image["uri"] == row.uri
        assert image["label"] == row.label.lower()
        # Without a split validation a part of train becomes it.
        taken = image["split"] == "validation" and "no split validation" in "".join(data.notes)
        assert pd.isna(row.split) or (
            image["split"][:3] == row.split[:3] or (taken and row.split == "train")
        )
        assert (pd.isna(image["light"]) and pd.isna(row.light)) or image["light"] == row.light
    assert data.findings["row"].is_monotonic_increasing
    assert data.findings["uri"].tolist() == table.loc[data.findings["row"], "uri"].tolist()
    assert data.findings.notna().all(axis=None)


@settings(max_examples=15)
@given(any_rows)
def test_no_group_straddles_and_a_test_set_stays_whole(rows):
    table, data = labelled(rows)
    splits = data.images.groupby("group")["split"].nunique()
    assert (splits == 1).all()
    assert splits.index.tolist() == list(range(len(splits)))
    by_id = data.images.set_index("image_id")
    for one, other in (("a", "b"), ("b", "c")):
        if {one, other} <= set(by_id.index):
            assert by_id["group"][one] == by_id["group"][other]
    straddling = data.findings.loc[data.findings["reason"] == "straddles splits", "row"]
    assert "test" not in set(table.loc[straddling, "split"])


@settings(max_examples=15)
@given(any_rows, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_decides_nothing(rows, random):
    _, expected = labelled(rows)
    shuffled = random.sample(rows, len(rows))
    _, again = labelled(shuffled)
    pd.testing.assert_frame_equal(again.images, expected.images)
    found, wanted = (
        data.findings[["uri", "reason"]].value_counts().sort_index() for data in (again, expected)
    )
    pd.testing.assert_series_equal(found, wanted)


@settings(max_examples=15)
@given(
    st.lists(st.integers(0, 95), min_size=4, max_size=20, unique=True),
    st.integers(2, 20),
)
def test_new_photos_move_only_the_groups_that_they_join(places, n_old):
    # Photos along a line of hashes: those whose places differ by at most four are near.
    names = [image_id(bytes([place])) for place in places]
    images = pd.DataFrame(
        {"image_id": names, "uri": names, "phash": [thermometer(place) for place in places]},
        dtype="string",
    )

    def groups(n_photos: int) -> dict[frozenset[str], str]:
        rows = [(name, ("sfw", "nsfw")[number % 2]) for number, name in enumerate(names[:n_photos])]
        data = label_images(manifest(*rows, columns="uri label"), images, REJECTS)
        members: defaultdict[tuple[Any, Any], set] = defaultdict(set)
        for row in data.images.itertuples():
            members[row.group, row.split].add(row.image_id)
        return {frozenset(ids): split for (_, split), ids in members.items()}

    before, after = groups(n_old), groups(len(names))
    for group in before.keys() & after.keys():
        assert before[group] == after[group]


def thermometer(place: int) -> str:
    """Sixteen bits that stay, and 48 that are set and then cleared one after the other."""
    is_emptying, filled = divmod(place, 48)
    low = (1 << filled) - 1
    return f"{(0xFFFF << 48) | (low ^ ((1 << 48) - 1) if is_emptying else low):016x}"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, seed in (("beach", 0), ("street", 1), ("forest", 2)):
        (folder / f"{name}.png").write_bytes(photo(seed=seed))
    (folder / "copy.png").write_bytes(photo(seed=0))
    for quality in (90, 60):
        (folder / f"street{quality}.jpg").write_bytes(
            encoded(scene(seed=1), "JPEG", quality=quality)
        )
    (folder / "cut.jpg").write_bytes(photo("JPEG")[:300])
    return folder


ROWS = [
    ("beach.png", "sfw", "train", "day"),
    ("copy.png", "nsfw", "train", "day"),
    ("street.png", "nsfw", "test", "night"),
    ("street90.jpg", "nsfw", "train", "night"),
    ("street60.jpg", "sfw", None, None),
    ("forest.png", "sfw", "val", "day"),
    ("./forest.png", "sfw", None, "dusk"),
    ("gone.png", "sfw", "test", None),
    ("cut.jpg", "sfw", "test", None),
    (None, "sfw", "test", None),
    ("beach.png", "?", "test", None),
]


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_from_files_to_labelled_data(photos, tmp_path, name):
    frame = pd.DataFrame(ROWS, columns=["uri", "label", "split", "light"])
    source = photos / name
    if name == "m.csv":
        frame.to_csv(source, index=False)
    else:
        frame.to_parquet(source)
    catalogue = catalogue_photos(
        str(source), PhotoStore(tmp_path / "store"), CatalogueSettings(workers=2)
    )
    data = label_images(read_labels(str(source)), catalogue.images, catalogue.rejects)

    names = data.images["uri"].str.rpartition("/")[2]
    by_name = data.images.set_index(names)
    assert by_name[["label", "split", "light"]].fillna("").to_dict("index") == {
        "street.png": {"label": "nsfw", "split": "test", "light": "night"},
        "street60.jpg": {"label": "sfw", "split": "test", "light": ""},
        "forest.png": {"label": "sfw", "split": "validation", "light": "day"},
    }
    assert by_name["group"]["street.png"] == by_name["group"]["street60.jpg"]
    assert by_name["image_id"]["forest.png"] == image_id(photo(seed=2))

    findings = data.findings
    assert list(zip(findings["row"], findings["reason"], findings["left_out"], strict=True)) == [
        (1, "label conflict", True),
        (2, "label conflict", True),
        (3, "near-duplicate conflict", False),
        (4, "near-duplicate conflict", False),
        (4, "straddles splits", True),
        (5, "near-duplicate conflict", False),
        (7, "duplicate", True),
        (8, "unreadable", True),
        (9, "truncated", True),
        (10, "unreadable", True),
        (11, "unknown label", True),
    ]
    details = findings.drop_duplicates("row", keep="last").set_index("row")["detail"]
    assert details[8] == "The file cannot be read: no such file or directory."
    assert details[10] == "The row of the manifest names no file."
    assert findings["uri"].iloc[7] == str(photos / "gone.png")


def test_a_hundred_thousand_rows():
    random = np.random.default_rng(0)
    n_photos = 100_000
    names = [f"{number:06}" for number in range(n_photos)]
    hashes = random.integers(0, 2**64, n_photos, dtype=np.uint64)
    hashes[50_000:60_000] = hashes[:10_000] ^ np.uint64(1)
    images = pd.DataFrame(
        {"image_id": names, "uri": names, "phash": [f"{one:016x}" for one in hashes]},
        dtype="string",
    )
    rows = images[["uri"]].set_index(pd.RangeIndex(1, n_photos + 1))
    rows = rows.assign(label=pd.array(["sfw", "nsfw"] * (n_photos // 2), dtype="string"))
    data = label_images(rows, images, REJECTS)
    assert len(data.images) == n_photos
    splits = data.images["split"].to_numpy()
    assert (splits[50_000:60_000] == splits[:10_000]).all()


def test_a_manifest_without_one_of_the_labels_is_refused_before_its_files_are_read():
    rows = manifest(("a", " Dog ", None), ("b", "cat", None), ("c", None, None))
    check_labels(rows, LabelSettings("CAT", "dog"))
    with pytest.raises(UserError) as caught:
        check_labels(rows, LabelSettings())
    assert str(caught.value) == (
        "Nothing has the label sfw: the labels are ' Dog ', 'cat'. Name two of them as the classes "
        "(--negative, --positive)."
    )
    with pytest.raises(UserError, match="the labels are empty"):
        check_labels(rows[2:], LabelSettings())


def test_labels_from_selections_replace_those_of_the_rows():
    rows = manifest(
        ("a1", "sfw", None), ("a2", "nsfw", None), ("d1", None, None), ("e1", "sfw", None)
    )
    corrections = {"a": " NSFW", "d": "sfw", "e": "sfw", "z": "nsfw"}
    data = label_images(rows, IMAGES, REJECTS, ALL_TRAIN, corrections)
    # Both rows of a photo are mended, so that they contradict each other no more.
    assert dict(zip(data.images.uri, data.images.label, strict=True)) == {
        "a1": "nsfw",
        "d1": "sfw",
        "e1": "sfw",
    }
    assert data.notes[:2] == (
        "Labels from selections: 3 photos, 2 of them had another or none.",
        "Photos of selections that the source does not have: 1.",
    )
    unknown = label_images(rows, IMAGES, REJECTS, ALL_TRAIN, corrections | {"e": "coin"})
    assert found(unknown)[-1][1:] == (
        "unknown label",
        "There is no class 'coin': give sfw or nsfw.",
    )


def test_labels_from_selections_count_before_any_file_is_read():
    rows = manifest(("a1", None, None), ("d1", "sfw", None))
    check_labels(rows, ALL_TRAIN, ["nsfw"])
    with pytest.raises(UserError, match="Nothing has the label nsfw"):
        check_labels(rows, ALL_TRAIN, ["sfw"])
