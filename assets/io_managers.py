"""Assets on disk: tables as Parquet, images as files, the rest as JSON, all below the home.

An asset's value is a table or a dataclass. Each field of a dataclass is stored by itself, under its
name. Each materialisation has a folder of its own, and the file ``current`` names the current one
(``generations.py``): a reader sees the old value or the new one, never half of each. The file
``checksums.json`` of the folder has the SHA-256 of each other file, and a value is read only if
they are right.
"""

import dataclasses
import io
import json
import logging
import shutil
import time
import typing
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import PrivateAttr

from assets.generations import (
    CURRENT,
    ORIGIN,
    PARTITION_TAG,
    UNPARTITIONED,
    Origin,
    ancestors_of,
    checked_in,
    current_in,
    from_runs,
    is_generation,
    make_current,
    make_started,
    note_origin,
    origin_of,
    pointers_in,
    read_in,
    settle_run,
    waiting_in,
)
from assets.methods.common.checksums import (
    DamagedFileError,
    digest_of_file,
    read_checked_json,
    write_checked_json,
)
from assets.methods.common.errors import UserError
from assets.methods.common.files import share, write_whole, written_whole
from assets.methods.common.shown_text import shown
from assets.resources.progress import FOLLOWED_TAG
from assets.resources.tracking import drop_records, held_record, hold_records, send_records
from assets.steps import settled_metadata
from assets.values import FORMER_COLUMNS, FORMER_NAME, EncodedImage

_log = logging.getLogger(__name__)

Value = TypeVar("Value")
WHOLE_VALUE = "table"
PLAIN = "values.json"
UNTOUCHED_SECONDS = 3600
NAMED_ARRAYS = dict[str, np.ndarray]
NAMED_IMAGES = dict[str, EncodedImage]
# Names assets, separated by commas: values from a run with this tag are kept when newer ones come.
KEEP_TAG = "tessera/keep"
KEPT = "kept"
# In the metadata of a materialization: whether it has the content of the one before.
UNCHANGED = "unchanged"
CHECKSUMS = "checksums.json"
NOT_CHECKED = (CHECKSUMS, KEPT, ORIGIN)
STORED_AS_FILES = (pd.DataFrame, pa.Table, EncodedImage, NAMED_ARRAYS, NAMED_IMAGES)


class FolderIOManager(dg.ConfigurableIOManager):
    """Stores each asset and partition in ``base_folder/ASSET/PARTITION/``.

    An asset without partitions is stored in the folder ``all``.
    """

    base_folder: str
    # The generation of each folder that this run wrote: a concurrent run may change `current`, and
    # one run must not mix the values of two.
    _written: dict[Path, str] = PrivateAttr(default_factory=dict)
    # The same of the runs that this one goes on from.
    _inherited: dict[Path, str] = PrivateAttr(default_factory=dict)
    _run_id: str | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Look for what the runs have written from which this one goes on."""
        run = context.run
        if run is None:
            return
        self._run_id = run.run_id
        ancestors, partition = ancestors_of(run), run.tags.get(PARTITION_TAG)
        if ancestors:
            self._inherited = from_runs(Path(self.base_folder), ancestors, partition)
        elif partition and self._has_any(partition) and FOLLOWED_TAG not in run.tags:
            hold_records(run.run_id)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Make the values of a run current if nothing in it has failed."""
        if context.run is not None and context.instance is not None:
            base = Path(self.base_folder)
            failed = settle_run(base, context.instance, context.run, self._written)
            # Of a run that has failed, MLflow is told in any case.
            settle_records = drop_records if failed == set() else send_records
            settle_records(context.run.run_id)

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Store a table or a dataclass. It is current once its run has ended well.

        Outside of a run it is current at once.
        """
        if obj is None:
            send_records(self._run_id or "")
            return
        partition = context.asset_partition_key if context.has_asset_partitions else UNPARTITIONED
        asset = context.asset_key.path[-1]
        folder = self._folder(asset, partition)
        generation = uuid.uuid4().hex
        save(obj, folder / generation)
        if asset in _kept_assets(context):
            (folder / generation / KEPT).touch()
        previous = read_in(folder)
        is_same = previous is not None and _share_equal_files(
            folder / generation, folder / previous
        )
        used = pointed_at(folder) | {generation}
        if self._run_id is None:
            make_current(folder, generation)
        else:
            note_origin(folder / generation, self._run_id)
            make_started(folder, generation)
            self._written[folder] = generation
        _remove_older(folder, used)
        context.add_output_metadata(
            {"folder": dg.MetadataValue.path(str(folder / generation)), UNCHANGED: is_same}
        )
        run_id = self._run_id or ""
        former = _former(context) if is_same else None
        record = held_record(run_id, context.asset_key.to_user_string())
        context.add_output_metadata(
            settled_metadata(context.output_metadata, record, former, run_id)
        )

    def load_input(self, context: dg.InputContext) -> Any:
        """Load this run's own value, or else the current one, as the type of the input."""
        asset = context.asset_key.path[-1]
        partition = context.partition_key if context.has_asset_partitions else UNPARTITIONED
        value_type = context.dagster_type.typing_type
        try:
            generation = self._own(self._folder(asset, partition))
            if generation is not None:
                return _load_whole(value_type, generation)
            return self.read(value_type, asset, partition)
        except UserError as error:
            raise dg.Failure(shown(str(error)), allow_retries=False) from error

    def read(self, value_type: type[Value], asset: str, partition: str) -> Value:
        """Return the current value of an asset, or a first one that is not accepted yet.

        Raises:
            UserError: there is none, or it is damaged.
        """
        folder = self._folder(asset, partition)
        return _load_whole(value_type, _required(folder, _newest_whole(folder) or read_in(folder)))

    def checked(self, asset: str, partition: str) -> Path | None:
        """Return the folder of the value that a check of an asset looks at; None if there is none.

        It is the run's own, or else the one that waits to be accepted, or else the current one.
        """
        folder = self._folder(asset, partition)
        own = self._own(folder)
        if own is not None:
            return own
        generation = checked_in(folder)
        return folder / generation if generation else None

    def read_checked(self, value_type: type[Value], asset: str, partition: str) -> Value:
        """Return the value that a check looks at; raises what ``read`` raises."""
        folder = self._folder(asset, partition)
        _newest_whole(folder)
        generation = self.checked(asset, partition)
        return _load_whole(value_type, generation or _required(folder, None))

    def read_run(self, asset: str, partition: str) -> str | None:
        """Return the run whose value ``read`` gives; None if there is none, or it is not known."""
        folder = self._folder(asset, partition)
        generation = read_in(folder)
        return origin_of(folder / generation).run_id or None if generation else None

    def waiting_run(self, asset: str, partition: str) -> str | None:
        """Return the run whose value waits to be accepted; None if none does."""
        folder = self._folder(asset, partition)
        waiting = waiting_in(folder)
        return origin_of(folder / waiting.generation).run_id or None if waiting else None

    def has_value(self, asset: str, partition: str) -> bool:
        """Whether a value of an asset is stored, be it damaged."""
        return bool(pointed_at(self._folder(asset, partition)))

    def is_current(self, asset: str, partition: str) -> bool:
        """Whether an asset has a value that is good, or accepted."""
        return current_in(self._folder(asset, partition)) is not None

    def partitions(self, asset: str) -> list[str]:
        """Return the partitions of which a value of an asset is stored."""
        folders = Path(self.base_folder, asset).glob("*/")
        return sorted(folder.name for folder in folders if pointers_in(folder))

    def origin(self, asset: str, partition: str) -> Origin:
        """Return where the value comes from that a check looks at."""
        generation = self.checked(asset, partition)
        return origin_of(generation) if generation else Origin()

    def _has_any(self, partition: str) -> bool:
        folders = Path(self.base_folder).glob(f"*/{partition}")
        return any(current_in(folder) for folder in folders)

    def _folder(self, asset: str, partition: str) -> Path:
        return Path(self.base_folder, asset, partition)

    def _own(self, folder: Path) -> Path | None:
        """Return what this run has written, or a run that it goes on from."""
        generation = self._written.get(folder) or self._inherited.get(folder)
        return folder / generation if generation else None


def outputs_of(home: Path) -> FolderIOManager:
    """Return what reads and writes the values of the assets of a home."""
    return FolderIOManager(base_folder=str(home / "outputs"))


def _required(folder: Path, generation: str | None) -> Path:
    """Return the folder of a value; raises UserError if there is none."""
    if generation is None:
        asset, partition = folder.parts[-2:]
        of_partition = "" if partition == UNPARTITIONED else f" for {partition}"
        raise UserError(f"{asset} has not been materialised{of_partition}: materialise it first.")
    return folder / generation


def release(generation: Path) -> None:
    """Stop keeping a value: its folder is removed, unless something points to it."""
    (generation / KEPT).unlink(missing_ok=True)
    if generation.name not in pointed_at(generation.parent):
        shutil.rmtree(generation, ignore_errors=True)


def pointed_at(folder: Path) -> set[str]:
    """Return the generations in ``folder``, that of an asset and a partition, that are in use.

    They are the current one, the one that waits to be accepted, that of a run at work, and those
    that are kept for pictures that the HTTP service has given out; all of them if ``current`` is
    damaged, until a reader has mended it.
    """
    if current_in(folder) is None and (folder / CURRENT).exists():
        return {path.name for path in folder.iterdir() if is_generation(path.name)}
    return pointers_in(folder) | {path.parent.name for path in folder.glob(f"*/{KEPT}")}


def save(value: Any, folder: Path) -> None:
    """Write a table or a dataclass into a new ``folder``."""
    if isinstance(value, pd.DataFrame):
        _save_field(value, folder / WHOLE_VALUE)
    else:
        _save_fields(value, folder)
    _write_checksums(folder)


def _save_fields(value: Any, folder: Path) -> None:
    plain = {}
    for field in dataclasses.fields(value):
        content = getattr(value, field.name)
        if field.type in STORED_AS_FILES:
            _save_field(content, folder / field.name)
        else:
            plain[field.name] = content
    write_whole(folder / PLAIN, json.dumps(plain, indent=2).encode())


def load(value_type: type[Value], folder: Path) -> Value:
    """Read back what ``save`` wrote, as a ``value_type``.

    A value of an older home, which has no checksums, is given them once it could be read.

    Raises:
        DamagedFileError: a file is missing, or has not the content that was written.
    """
    try:
        _check(folder)
    except FileNotFoundError:
        value = _load(value_type, folder)
        with suppress(OSError):
            _write_checksums(folder)
        return value
    return _load(value_type, folder)


def _load(value_type: type[Value], folder: Path) -> Value:
    if value_type is pd.DataFrame:
        return _load_field(pd.DataFrame, folder / WHOLE_VALUE)
    stored = json.loads((folder / PLAIN).read_text())
    types = typing.get_type_hints(value_type)
    fields = dataclasses.fields(typing.cast(Any, value_type))
    return value_type(**{field.name: _field(field, types, stored, folder) for field in fields})


def _field(
    field: dataclasses.Field[Any], types: dict[str, Any], stored: dict[str, Any], folder: Path
) -> Any:
    """Return the content of a field, which an older home may hold under its former name."""
    field_type = types[field.name]
    former = field.metadata.get(FORMER_NAME, field.name)
    if field_type in STORED_AS_FILES:
        name = field.name if _is_stored(folder / field.name) else former
        if field.default_factory is not dataclasses.MISSING and not _is_stored(folder / name):
            # An older home has no such field.
            return field.default_factory()
        content = _load_field(field_type, folder / name)
        columns = field.metadata.get(FORMER_COLUMNS)
        return content.rename(columns=columns) if columns else content
    name = field.name if field.name in stored else former
    if name not in stored and field.default is not dataclasses.MISSING:
        return field.default
    if name not in stored and field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    content = stored[name]
    # JSON stores a tuple as a list.
    return tuple(content) if typing.get_origin(field_type) is tuple else content


def _load_whole(value_type: type[Value], folder: Path) -> Value:
    """Do what ``load`` does; raises UserError if the value is damaged."""
    try:
        return load(value_type, folder)
    # The latter are what files that are older than the checksums may give.
    except (DamagedFileError, OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        asset, partition = folder.parts[-3:-1]
        of_partition = "" if partition == UNPARTITIONED else f" for {partition}"
        raise UserError(
            f"The value of {asset}{of_partition} in {folder} is damaged ({error}): materialise "
            f"{asset} again."
        ) from error


def _digests(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): digest_of_file(file)
        for file in sorted(folder.rglob("[!.]*"))
        if file.is_file() and file.name not in NOT_CHECKED
    }


def _write_checksums(folder: Path) -> None:
    write_checked_json(folder / CHECKSUMS, {"sha256": _digests(folder)}, CHECKSUMS)


def _share_equal_files(folder: Path, previous: Path) -> bool:
    """Let the files of a new value be those of the previous one where they have the same bytes.

    What has not changed takes no room again: each is then one file with two names. Returns whether
    all are the same; those numbers may differ that stand beside tables or images and tell, say, how
    many seconds it took.
    """
    before, now = (_written_digests(one) for one in (previous, folder))
    same = {name for name in now.keys() & before.keys() if now[name] == before[name]}
    for name in same:
        share(folder / name, previous / name)
    deciding = (now.keys() | before.keys()) - {PLAIN} or {PLAIN}
    return deciding <= same


def _written_digests(folder: Path) -> dict[str, str]:
    try:
        written, _ = read_checked_json(folder / CHECKSUMS, CHECKSUMS)
    except (DamagedFileError, OSError):
        return {}
    digests: dict[str, str] = written.get("sha256") or {}
    return digests


def _check(folder: Path) -> None:
    """Raise DamagedFileError if a file is damaged, FileNotFoundError if there are no checksums."""
    written, _ = read_checked_json(folder / CHECKSUMS, CHECKSUMS)
    expected, found = written.get("sha256"), _digests(folder)
    if not isinstance(expected, dict):
        raise DamagedFileError(f"{CHECKSUMS} does not have the content that was written")
    for name, digest in expected.items():
        if name not in found:
            raise DamagedFileError(f"{name} is missing")
        if found[name] != digest:
            raise DamagedFileError(f"{name} does not have the content that was written")


def _newest_whole(folder: Path) -> str | None:
    """Return the newest whole value of a folder whose ``current`` is damaged, and name it there.

    Return None if it is not damaged, or there is none.
    """
    pointer = folder / CURRENT
    if not pointer.exists() or current_in(folder) is not None:
        return None
    bad = pointers_in(folder)
    made = {
        checksums.parent.name: checksums.stat().st_mtime
        for checksums in folder.glob(f"*/{CHECKSUMS}")
        if checksums.parent.name not in bad
    }
    for generation in sorted(made, key=lambda one: made[one], reverse=True):
        try:
            _check(folder / generation)
        except (DamagedFileError, OSError):
            continue
        _log.warning("%s names no value: took the newest one, %s", pointer, generation)
        write_whole(pointer, generation.encode())
        return generation
    raise UserError(
        f"{pointer} is damaged, and no whole value is beside it: materialise {folder.parent.name} "
        "again."
    )


def _is_stored(path: Path) -> bool:
    return path.is_dir() or any(path.parent.glob(f"{path.name}.*"))


def _save_field(content: Any, path: Path) -> None:
    """Write a table, an image, or a dict of arrays or images, each in a file of its name."""
    if isinstance(content, dict):
        path.mkdir(parents=True)
        for name, one in content.items():
            _save_field(one, path / name)
    elif isinstance(content, EncodedImage):
        write_whole(path.with_name(path.name + content.suffix), content.data)
    elif isinstance(content, np.ndarray):
        write_whole(path.with_name(f"{path.name}.npy"), npy_bytes(content))
    else:
        if isinstance(content, pd.DataFrame):
            content = pa.Table.from_pandas(content, preserve_index=False)
        with written_whole(path.with_suffix(".parquet")) as beside:
            pq.write_table(content, beside)


def _load_field(field_type: Any, path: Path) -> Any:
    if field_type == NAMED_ARRAYS:
        return {
            name: np.load(file, allow_pickle=False) for name, file in _named_files(path).items()
        }
    if field_type == NAMED_IMAGES:
        return {name: _load_image(file) for name, file in _named_files(path).items()}
    if field_type is EncodedImage:
        (file,) = path.parent.glob(f"{path.name}.*")
        return _load_image(file)
    table = pq.read_table(path.with_suffix(".parquet"))
    return table if field_type is pa.Table else table.to_pandas()


def _load_image(file: Path) -> EncodedImage:
    return EncodedImage(file.read_bytes(), file.suffix)


def _named_files(folder: Path) -> dict[str, Path]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def npy_bytes(array: np.ndarray) -> bytes:
    """Return an array as the content of a ``.npy`` file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _kept_assets(context: dg.OutputContext) -> list[str]:
    try:
        tags = context.step_context.run_tags
    except dg.DagsterInvariantViolationError:
        # There are no tags outside of a run.
        return []
    return tags.get(KEEP_TAG, "").split(",")


def _former(context: dg.OutputContext) -> dg.EventLogRecord | None:
    """Return the materialization before the one that is made; None if there is none."""
    partitions = [context.asset_partition_key] if context.has_asset_partitions else None
    wanted = dg.AssetRecordsFilter(context.asset_key, asset_partitions=partitions)
    try:
        instance = context.step_context.instance
    except dg.DagsterInvariantViolationError:
        # There is none outside of a run.
        return None
    found = instance.fetch_materializations(wanted, limit=1).records
    return found[0] if found else None


def _remove_older(folder: Path, used: set[str]) -> None:
    """Remove other generations than ``used``, but none that a concurrent run may still use."""
    oldest = time.time() - UNTOUCHED_SECONDS
    for generation in folder.iterdir():
        if not generation.is_dir() or generation.name in used or (generation / KEPT).exists():
            continue
        if generation.stat().st_mtime < oldest:
            shutil.rmtree(generation, ignore_errors=True)
