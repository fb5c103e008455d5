"""Labelled data: the rows of a manifest or of folders, joined with photos, no contradictions.

A photo has one label and one split, and its copies have the same. Near-duplicates share a split:
test photos that resemble training photos would be easier than those the model meets later. Their
labels may differ, because a perceptual hash of 64 bits misses a small detail that decides a label.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import permutations

import numpy as np
import pandas as pd

from assets.methods.common.errors import NotApplicableError, UserError
from assets.methods.photos.near_duplicates import near_groups
from assets.methods.photos.splits import (
    SPLITS,
    SplitFractions,
    assign_splits,
    split_name,
    with_validation,
)

_MOST_ROWS_NAMED = 5
_MOST_LABELS_NAMED = 5
_MOST_COLUMNS_NAMED = 5
_IMAGE_DTYPES = {
    "image_id": "string",
    "uri": "string",
    "label": "string",
    "split": "string",
    "group": "int64",
}
_FINDING_DTYPES = {"row": "int64", "uri": "string", "reason": "string", "detail": "string"}
_MANIFEST_COLUMNS = ("uri", "label", "split")
_MADE_COLUMNS = ("image_id", "group")
# Columns that pandas writes when somebody forgets to leave its index out.
_INDEX_COLUMN = re.compile(r"__index_level_\d+__|Unnamed: \d+")
# With fewer values, even one for each row, a column still divides the rows.
_FEWEST_IDENTIFIERS = 10


class LabelReason(StrEnum):
    """The rules that a row can break, besides those for which its file is rejected."""

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
        slice_columns: the columns of the manifest other than uri, label and split, without those
            whose values name single rows.
        class_names: the negative class and the positive one.
        notes: sentences on what was done with columns and splits.
    """

    images: pd.DataFrame
    findings: pd.DataFrame
    slice_columns: tuple[str, ...]
    class_names: tuple[str, str]
    notes: tuple[str, ...] = ()


def label_images(
    rows: pd.DataFrame,
    images: pd.DataFrame,
    rejects: pd.DataFrame,
    settings: LabelSettings | None = None,
    corrections: Mapping[str, str] | None = None,
) -> LabelledData:
    """Join the rows of a source with its catalogue, and leave out what contradicts itself.

    Left out are, in this order: rows whose file is no photo; rows without one of the two labels;
    all rows of a photo that has both; rows with an unknown split; rows whose split is weaker than
    that of a copy or near-duplicate, as test is stronger than validation, and validation than
    train; and all but one row of each photo, the first by uri. Near-duplicates whose labels differ
    stay, and are reported. The order of the rows decides nothing. Where rows are given to train and
    none is in validation, a part of train becomes validation.

    Args:
        rows: as `read_labels` returns them.
        images: the catalogue's photos: image_id, uri, phash.
        rejects: the catalogue's rejects: uri, reason, detail.
        settings: the two classes and the split.
        corrections: by image_id, labels that replace those of the rows.

    Raises:
        UserError: a column has a name that is taken, or not both classes are left.
    """
    settings = settings or LabelSettings()
    others = [name for name in rows.columns if name not in _MANIFEST_COLUMNS]
    identifiers = [name for name in others if _is_identifier_column(rows[name])]
    slices = [name for name in others if name not in identifiers]
    _check_slices(slices)
    # In this order the first row of a photo is the same one however the manifest is sorted.
    ordered = rows.sort_values(["uri", *others], kind="stable")
    table = _with_photos(ordered, images, settings)
    table, correction_notes = _corrected(table, corrections or {}, settings)
    bad_files = _bad_files(table, rejects)
    table, bad_rows = _screen(
        table.drop(bad_files.index),
        (LabelReason.UNKNOWN_LABEL, partial(_unknown_labels, settings=settings)),
        (LabelReason.LABEL_CONFLICT, _label_conflicts),
        (LabelReason.UNKNOWN_SPLIT, _unknown_splits),
    )
    table, split_notes = _with_splits(table, settings)
    table, bad_copies = _screen(
        table,
        (LabelReason.NEAR_DUPLICATE_CONFLICT, _near_duplicate_conflicts),
        (LabelReason.STRADDLES_SPLITS, _straddling),
        (LabelReason.DUPLICATE, _duplicates),
    )
    findings = _findings_table(pd.concat([bad_files, bad_rows, bad_copies]), rows["uri"])
    if table["label"].nunique() < 2:
        raise UserError(_too_little(len(rows), table["label"], findings, settings))
    kept = table[list(_IMAGE_DTYPES)].join(rows[slices]).sort_values("image_id", ignore_index=True)
    notes = (*correction_notes, *_identifier_notes(identifiers), *split_notes)
    return LabelledData(
        kept.astype(_IMAGE_DTYPES), findings, tuple(slices), settings.class_names, notes
    )


def check_labels(
    rows: pd.DataFrame, settings: LabelSettings, corrections: Iterable[str] = ()
) -> None:
    """Check, before any file is read, that there are rows, or corrections, with both labels.

    Raises:
        NotApplicableError: no row has either of them.
        UserError: no row has one of them.
    """
    labels = pd.concat([rows["label"].dropna(), pd.Series([*corrections], dtype="string")])
    found = {_normalised(label) for label in labels}
    for name in settings.class_names:
        if _normalised(name) not in found:
            there = ", ".join(repr(label) for label in labels.unique()[:_MOST_LABELS_NAMED])
            known = found & {_normalised(one) for one in settings.class_names}
            raise (UserError if known else NotApplicableError)(
                f"Nothing has the label {name}: the labels are {there or 'empty'}. "
                "Name two of them as the classes (--negative, --positive)."
            )


def class_counts(data: LabelledData) -> pd.DataFrame:
    """Return how many photos each split has of each class, int64: a row a split, a column a class.

    All three splits and both classes are there, with 0 where there is no photo.
    """
    counts = pd.crosstab(data.images["split"], data.images["label"])
    return counts.reindex(index=SPLITS, columns=data.class_names, fill_value=0)


def is_identifier(values: pd.Series) -> bool:
    """Return whether values name single photos, as ids and times do, and divide them into nothing.

    They do if there are at least ten, and more than one for two of the photos that have a value.
    """
    n_values = values.nunique()
    return n_values >= _FEWEST_IDENTIFIERS and n_values > values.count() / 2


def _is_identifier_column(values: pd.Series) -> bool:
    return bool(_INDEX_COLUMN.fullmatch(str(values.name))) or is_identifier(values)


def _identifier_notes(names: list[str]) -> list[str]:
    if not names:
        return []
    listed = ", ".join(names[:_MOST_COLUMNS_NAMED])
    more = f" and {len(names) - _MOST_COLUMNS_NAMED:,} more" * (len(names) > _MOST_COLUMNS_NAMED)
    return [f"Not taken as slices, because they have about as many values as rows: {listed}{more}."]


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
    given = rows["split"] if "split" in rows else pd.Series(pd.NA, rows.index, dtype="string")
    split_text = given.str.strip().mask(lambda text: text == "")
    table = pd.DataFrame(
        {
            "uri": rows["uri"],
            "label_text": rows["label"].str.strip(),
            "label": _classes(rows["label"], settings),
            "split_text": split_text,
            "given_split": split_text.map(split_name, "ignore"),
        },
        dtype="string",
    )
    return table.join(images.set_index("uri")[["image_id", "phash"]], on="uri")


def _classes(labels: pd.Series, settings: LabelSettings) -> pd.Series:
    classes = {_normalised(name): name for name in settings.class_names}
    return labels.map(lambda text: classes.get(_normalised(text)), "ignore")


def _corrected(
    table: pd.DataFrame, corrections: Mapping[str, str], settings: LabelSettings
) -> tuple[pd.DataFrame, list[str]]:
    """Replace labels by those of ``corrections``, and say of how many photos."""
    if not corrections:
        return table, []
    given = table["image_id"].map(corrections).astype("string")
    classes = _classes(given, settings).astype("string")
    is_other = given.notna() & (classes != table["label"]).fillna(True)
    n_other = table.loc[is_other, "image_id"].nunique()
    n_given = table.loc[given.notna(), "image_id"].nunique()
    notes = [
        f"Labels from selections: {n_given:,} photos, {n_other:,} of them had another or none."
    ]
    n_absent = len(corrections) - n_given
    if n_absent:
        notes.append(f"Photos of selections that the source does not have: {n_absent:,}.")
    return table.assign(
        label_text=given.fillna(table["label_text"]),
        label=classes.where(given.notna(), table["label"]),
    ), notes


def _with_splits(table: pd.DataFrame, settings: LabelSettings) -> tuple[pd.DataFrame, list[str]]:
    """Add the columns group and split, and return notes on splits that were made."""
    photos = table.drop_duplicates("image_id").sort_values("image_id")
    hashes = np.array([int(text, 16) for text in photos["phash"]], dtype=np.uint64)
    groups = pd.Series(near_groups(hashes, settings.near_distance), photos["image_id"])
    group = table["image_id"].map(groups)
    given = [None if pd.isna(name) else name for name in table["given_split"]]
    ids, fractions = table["image_id"].tolist(), settings.fractions
    splits = assign_splits(ids, group.to_numpy(), given, fractions)
    notes = []
    if "train" in given and "validation" not in splits:
        splits = with_validation(ids, group.to_numpy(), table["label"].tolist(), splits, fractions)
        n_taken = table["image_id"][[name == "validation" for name in splits]].nunique()
        if n_taken:
            notes.append(
                f"There is no split validation: {n_taken:,} photos of train were taken for it, the "
                "same ones each time."
            )
    return table.assign(group=group, split=pd.array(splits, dtype="string")), notes


def _bad_files(table: pd.DataFrame, rejects: pd.DataFrame) -> pd.DataFrame:
    """Return reason and detail of the rows without a photo, indexed by their numbers."""
    uris = table.loc[table["image_id"].isna(), ["uri"]]
    found = uris.join(rejects.set_index("uri")[["reason", "detail"]], on="uri").drop(columns="uri")
    stale = "The source has changed since its files were catalogued: catalogue them again."
    return found.fillna({"reason": LabelReason.NOT_CATALOGUED.value, "detail": stale})


def _screen(
    table: pd.DataFrame, *rules: tuple[LabelReason, Callable[[pd.DataFrame], pd.Series]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Leave out the rows that break a rule; each rule gets the rows that the earlier ones kept.

    A rule returns a sentence for each row that breaks it, indexed by the numbers of these rows.
    Returns the rows that are kept, and reason and detail of what was found.
    """
    found = []
    for reason, rule in rules:
        details = rule(table)
        found.append(pd.DataFrame({"reason": reason.value, "detail": details}, dtype="string"))
        if reason != LabelReason.NEAR_DUPLICATE_CONFLICT:
            table = table.drop(details.index)
    return table, pd.concat(found)


def _unknown_labels(table: pd.DataFrame, settings: LabelSettings) -> pd.Series:
    texts = table.loc[table["label"].isna(), "label_text"].fillna("")
    problems = {text: f"There is no class {text!r}" for text in texts}
    problems[""] = "The row has no label"
    return texts.map(problems) + ": give {} or {}.".format(*settings.class_names)


def _unknown_splits(table: pd.DataFrame) -> pd.Series:
    wanted = f"give {', '.join(SPLITS)}, or nothing to have one chosen."
    texts = table.loc[table["given_split"].isna(), "split_text"].dropna()
    return texts.map(lambda text: f"There is no split {text!r}: {wanted}")


def _label_conflicts(table: pd.DataFrame) -> pd.Series:
    return "The same photo is labelled " + _other_labels(table, "image_id") + "."


def _near_duplicate_conflicts(table: pd.DataFrame) -> pd.Series:
    others = _other_labels(table, "group")
    return "A photo that looks nearly alike is labelled " + others + "; a detail may decide."


def _other_labels(table: pd.DataFrame, key: str) -> pd.Series:
    """Return the other label and its rows in words, for each row of a group with both labels."""
    others: dict[int, str] = {}
    for rows in _disagreements(table, key, "label"):
        for label, other in permutations(rows):
            others |= dict.fromkeys(rows[label], f"{other} in {_in_words(rows[other])}")
    return pd.Series(others, dtype="string")


def _straddling(table: pd.DataFrame) -> pd.Series:
    details: dict[int, str] = {}
    for rows in _disagreements(table, "group", "given_split"):
        split = max(rows, key=SPLITS.index)
        detail = f"The same photo or one nearly alike is in {split} ({_in_words(rows.pop(split))})."
        for weaker in rows.values():
            details |= dict.fromkeys(weaker, detail)
    return pd.Series(details, dtype="string")


def _duplicates(table: pd.DataFrame) -> pd.Series:
    first = table["image_id"].drop_duplicates()
    copies = table["image_id"].drop(first.index)
    numbers = copies.map(pd.Series(first.index, first)).astype("string")
    return "The same photo is in row " + numbers + "."


def _disagreements(table: pd.DataFrame, key: str, column: str) -> list[dict[str, list[int]]]:
    """Return the rows by their values in ``column``, for each group of ``key`` with several values.

    Rows are numbers; those without a value are left out.
    """
    groups: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, group, value in table[[key, column]].dropna().itertuples():
        groups[group][value].append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def _in_words(rows: Iterable[int]) -> str:
    names = [f"{row}" for row in sorted(rows)]
    if len(names) == 1:
        return f"row {names[0]}"
    if len(names) > _MOST_ROWS_NAMED:
        names = [*names[:_MOST_ROWS_NAMED], f"{len(names) - _MOST_ROWS_NAMED:,} more"]
    return f"rows {', '.join(names[:-1])} and {names[-1]}"


def _findings_table(findings: pd.DataFrame, uris: pd.Series) -> pd.DataFrame:
    table = findings.join(uris).rename_axis("row").reset_index().astype(_FINDING_DTYPES)
    table["left_out"] = (table["reason"] != LabelReason.NEAR_DUPLICATE_CONFLICT).astype(bool)
    in_order = table.sort_values(["row", "left_out"], ignore_index=True)
    return in_order[[*_FINDING_DTYPES, "left_out"]]


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
