"""Labelled data: the rows of a manifest, joined with its photos and freed of contradictions.

A photo has one label and one split, and so have all its copies. Near-duplicates share a split, for
a photo that resembles one of training would make the test easier than the world. They may differ
in their labels: a perceptual hash of 64 bits cannot see a small detail that decides one.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

import numpy as np
import pandas as pd

from assets.methods.common.errors import UserError
from assets.methods.photos.near_duplicates import near_groups
from assets.methods.photos.splits import SPLITS, SplitFractions, assign_splits, split_name

_MOST_ROWS_NAMED = 5
_MOST_LABELS_NAMED = 5
_IMAGE_DTYPES = {
    "image_id": "string",
    "uri": "string",
    "label": "string",
    "split": "string",
    "group": "int64",
}
_FOUND_DTYPES = {"reason": "string", "detail": "string", "left_out": "bool"}
_FINDING_DTYPES = {"row": "int64", "uri": "string", **_FOUND_DTYPES}
_MANIFEST_COLUMNS = ("uri", "label", "split")
_MADE_COLUMNS = ("image_id", "group")


class LabelReason(StrEnum):
    """What may be found about a row, beside the reasons for which its file is rejected."""

    NOT_CATALOGUED = "not catalogued"
    UNKNOWN_LABEL = "unknown label"
    LABEL_CONFLICT = "label conflict"
    UNKNOWN_SPLIT = "unknown split"
    NEAR_DUPLICATE_CONFLICT = "near-duplicate conflict"
    STRADDLES_SPLITS = "straddles splits"
    DUPLICATE = "duplicate"


@dataclass(frozen=True)
class LabelSettings:
    """The two classes, and how photos are split.

    A label names a class whatever its case and the spaces around it. ``near_distance`` is in bits
    of the perceptual hash.

    Raises:
        UserError: a class has no name, or both have the same.
    """

    negative: str = "sfw"
    positive: str = "nsfw"
    fractions: SplitFractions = field(default_factory=SplitFractions)
    near_distance: int = 4

    def __post_init__(self) -> None:
        if len({_normalised(name) for name in self.class_names} - {""}) < 2:
            raise UserError(
                f"The classes are {self.negative!r} and {self.positive!r}: give two names that "
                "differ in more than case."
            )

    @property
    def class_names(self) -> tuple[str, str]:
        """The negative class and the positive one."""
        return self.negative, self.positive


@dataclass(frozen=True)
class LabelledData:
    """The photos that can be used, and what was found about rows.

    Every row of the manifest is one of ``images``, or has exactly one finding with ``left_out``.

    Attributes:
        images: one row a photo, sorted by image_id: image_id, uri, label, split, group (int64, from
            0; near-duplicates share it), and the slice columns; all but group are strings.
        findings: sorted by row: row (int64, from 1), uri, reason, detail, left_out (bool).
        slice_columns: the manifest's columns beside uri, label and split.
        class_names: the negative class and the positive one.
    """

    images: pd.DataFrame
    findings: pd.DataFrame
    slice_columns: tuple[str, ...]
    class_names: tuple[str, str]


def label_images(
    rows: pd.DataFrame,
    images: pd.DataFrame,
    rejects: pd.DataFrame,
    settings: LabelSettings | None = None,
) -> LabelledData:
    """Join the rows of a manifest with its catalogue, and leave out what contradicts itself.

    Left out are, in this order: rows whose file is no photo; rows without one of the two labels;
    all rows of a photo that has both; rows with an unknown split; rows whose split is weaker than
    that of a copy or near-duplicate, as test is stronger than validation, and validation than
    train; and all but one row of each photo, the first by uri. Near-duplicates whose labels differ
    stay, and are reported. The order of the rows decides nothing.

    Args:
        rows: the manifest, as `read_manifest` returns it.
        images: the catalogue's photos: image_id, uri, phash.
        rejects: the catalogue's rejects: uri, reason, detail.
        settings: the two classes and the split.

    Raises:
        UserError: a column has a name that is taken, or not both classes are left.
    """
    settings = settings or LabelSettings()
    slices = [name for name in rows.columns if name not in _MANIFEST_COLUMNS]
    _check_slices(slices)
    # In this order the first row of a photo is the same one however the manifest is sorted.
    ordered = rows.sort_values(["uri", *slices], kind="stable")
    table = _with_photos(ordered, images, settings)
    table, bad_rows = _screen(
        table,
        partial(_bad_files, rejects=rejects),
        partial(_unknown_labels, settings=settings),
        _label_conflicts,
        _unknown_splits,
    )
    table = _with_splits(table, settings)
    table, bad_copies = _screen(table, _near_duplicate_conflicts, _straddling, _duplicates)
    findings = _findings_table(pd.concat([bad_rows, bad_copies]), rows["uri"])
    if table["label"].nunique() < 2:
        raise UserError(_too_little(len(rows), table["label"], findings, settings))
    kept = table[list(_IMAGE_DTYPES)].join(rows[slices]).sort_values("image_id", ignore_index=True)
    return LabelledData(kept.astype(_IMAGE_DTYPES), findings, tuple(slices), settings.class_names)


def check_labels(rows: pd.DataFrame, settings: LabelSettings) -> None:
    """Raise UserError, before any file is read, unless rows of a manifest have both labels."""
    labels = rows["label"].dropna()
    found = {_normalised(label) for label in labels}
    for name in settings.class_names:
        if _normalised(name) not in found:
            there = ", ".join(repr(label) for label in labels.unique()[:_MOST_LABELS_NAMED])
            raise UserError(
                f"No row of the manifest has the label {name}: its labels are {there or 'empty'}. "
                "Name two of them as the classes (--negative, --positive)."
            )


def class_counts(data: LabelledData) -> pd.DataFrame:
    """Return how many photos each split has of each class, int64: a row a split, a column a class.

    All three splits and both classes are there, with 0 where there is no photo.
    """
    counts = pd.crosstab(data.images["split"], data.images["label"])
    return counts.reindex(index=SPLITS, columns=data.class_names, fill_value=0)


def _check_slices(slices: list[str]) -> None:
    for name in _MADE_COLUMNS:
        if name in slices:
            raise UserError(
                f"The manifest's column {name} has a name that Tessera gives a column of its own: "
                "rename it."
            )


def _normalised(name: str) -> str:
    return name.strip().casefold()


def _with_photos(rows: pd.DataFrame, images: pd.DataFrame, settings: LabelSettings) -> pd.DataFrame:
    """One line a row, indexed by its number, null for what is missing or unknown.

    Returns uri, label (a class), given_split (a split), split_text (what the manifest says), and
    the photo's image_id and phash.
    """
    classes = {_normalised(name): name for name in settings.class_names}
    given = rows["split"] if "split" in rows else pd.Series(pd.NA, rows.index, dtype="string")
    split_text = given.str.strip().mask(lambda text: text == "")
    table = pd.DataFrame(
        {
            "uri": rows["uri"],
            "label_text": rows["label"].str.strip(),
            "label": rows["label"].map(lambda text: classes.get(_normalised(text)), "ignore"),
            "split_text": split_text,
            "given_split": split_text.map(split_name, "ignore"),
        },
        dtype="string",
    )
    return table.join(images.set_index("uri")[["image_id", "phash"]], on="uri")


def _with_splits(table: pd.DataFrame, settings: LabelSettings) -> pd.DataFrame:
    """Add the columns group and split."""
    photos = table.drop_duplicates("image_id").sort_values("image_id")
    hashes = np.array([int(text, 16) for text in photos["phash"]], dtype=np.uint64)
    groups = pd.Series(near_groups(hashes, settings.near_distance), photos["image_id"])
    group = table["image_id"].map(groups)
    given = [None if pd.isna(name) else name for name in table["given_split"]]
    splits = assign_splits(table["image_id"].tolist(), group.to_numpy(), given, settings.fractions)
    return table.assign(group=group, split=pd.array(splits, dtype="string"))


def _screen(
    table: pd.DataFrame, *checks: Callable[[pd.DataFrame], pd.DataFrame]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Apply each check to the rows that those before it left; return the rest, and what was found.

    A check returns reason, detail and left_out, indexed by the numbers of the rows concerned.
    """
    found = []
    for check in checks:
        findings = check(table)
        found.append(findings)
        table = table.drop(findings.index[findings["left_out"]])
    return table, pd.concat(found)


def _findings(details: pd.Series, reason: str | pd.Series, left_out: bool = True) -> pd.DataFrame:
    columns = {"reason": reason, "detail": details, "left_out": left_out}
    return pd.DataFrame(columns, details.index).astype(_FOUND_DTYPES)


def _bad_files(table: pd.DataFrame, rejects: pd.DataFrame) -> pd.DataFrame:
    bad = table.loc[table["image_id"].isna(), ["uri"]]
    bad = bad.join(rejects.set_index("uri")[["reason", "detail"]], on="uri")
    stale = "The manifest has changed since its files were catalogued: catalogue them again."
    return _findings(
        bad["detail"].fillna(stale), bad["reason"].fillna(LabelReason.NOT_CATALOGUED.value)
    )


def _unknown_labels(table: pd.DataFrame, settings: LabelSettings) -> pd.DataFrame:
    texts = table.loc[table["label"].isna(), "label_text"].fillna("")
    wanted = "give {} or {}.".format(*settings.class_names)
    problems = texts.map(
        lambda text: f"There is no class {text!r}" if text else "The row has no label"
    )
    details = problems.astype("string") + f": {wanted}"
    return _findings(details, LabelReason.UNKNOWN_LABEL.value)


def _unknown_splits(table: pd.DataFrame) -> pd.DataFrame:
    is_unknown = table["given_split"].isna() & table["split_text"].notna()
    wanted = f"give {', '.join(SPLITS)}, or nothing to have one chosen."
    texts = table.loc[is_unknown, "split_text"]
    details = texts.map(lambda text: f"There is no split {text!r}: {wanted}")
    return _findings(details, LabelReason.UNKNOWN_SPLIT.value)


def _label_conflicts(table: pd.DataFrame) -> pd.DataFrame:
    others = _rows_of_the_other_class(table, "image_id")
    return _findings("The same photo is labelled " + others + ".", LabelReason.LABEL_CONFLICT.value)


def _near_duplicate_conflicts(table: pd.DataFrame) -> pd.DataFrame:
    others = _rows_of_the_other_class(table, "group")
    details = "A photo that looks nearly alike is labelled " + others + "; a detail may decide."
    return _findings(details, LabelReason.NEAR_DUPLICATE_CONFLICT.value, left_out=False)


def _rows_of_the_other_class(table: pd.DataFrame, key: str) -> pd.Series:
    """The other label and its rows in words, for each row whose ``key`` occurs with both labels."""
    mixed = table[table.groupby(key)["label"].transform("nunique") > 1]
    numbers = defaultdict(list)
    for row, *pair in zip(mixed.index, mixed[key], mixed["label"], strict=True):
        numbers[tuple(pair)].append(row)
    texts = {pair: f"{pair[1]} in {_in_words(rows)}" for pair, rows in numbers.items()}
    other = dict(zip(mixed["label"].unique(), mixed["label"].unique()[::-1], strict=True))
    others = zip(mixed[key], mixed["label"].map(other), strict=True)
    return pd.Series([texts[pair] for pair in others], mixed.index, dtype="string")


def _straddling(table: pd.DataFrame) -> pd.DataFrame:
    weaker = table[table["given_split"].notna() & (table["given_split"] != table["split"])]
    is_claim = (table["given_split"] == table["split"]) & table["group"].isin(weaker["group"])
    claims = table[is_claim].groupby("group").groups
    rows = weaker["group"].map({group: _in_words(claims[group]) for group in claims})
    details = "The same photo or one nearly alike is in " + weaker["split"] + " ("
    details += rows.astype("string") + ")."
    return _findings(details, LabelReason.STRADDLES_SPLITS.value)


def _duplicates(table: pd.DataFrame) -> pd.DataFrame:
    is_first = ~table["image_id"].duplicated()
    first = pd.Series(table.index[is_first], table.loc[is_first, "image_id"])
    copies = table.loc[~is_first, "image_id"]
    details = "The same photo is in row " + copies.map(first).astype("string") + "."
    return _findings(details, LabelReason.DUPLICATE.value)


def _in_words(rows: Iterable[int]) -> str:
    names = [f"{row}" for row in sorted(rows)]
    if len(names) == 1:
        return f"row {names[0]}"
    if len(names) > _MOST_ROWS_NAMED:
        names = [*names[:_MOST_ROWS_NAMED], f"{len(names) - _MOST_ROWS_NAMED:,} more"]
    return f"rows {', '.join(names[:-1])} and {names[-1]}"


def _findings_table(findings: pd.DataFrame, uris: pd.Series) -> pd.DataFrame:
    table = findings.join(uris).rename_axis("row").reset_index()
    in_order = table.sort_values(["row", "left_out"], ignore_index=True)
    return in_order[list(_FINDING_DTYPES)].astype(_FINDING_DTYPES)


def _too_little(
    n_rows: int, labels: pd.Series, findings: pd.DataFrame, settings: LabelSettings
) -> str:
    lost = findings[findings["left_out"] & (findings["reason"] != LabelReason.DUPLICATE)]
    counts = lost["reason"].value_counts().sort_index()
    by_reason = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
    why = ""
    if len(lost):
        row, uri, detail = lost.loc[lost.index[0], ["row", "uri", "detail"]]
        why = f" ({by_reason}; for example row {row}, {uri}: {detail.removesuffix('.')})"
    if not len(labels):
        return f"None of the {n_rows:,} rows can be used as labelled data{why}."
    (absent,) = {*settings.class_names} - {*labels}
    return (
        f"None of the {len(labels):,} photos that can be used is labelled {absent}: label some of "
        f"each class{why}."
    )
