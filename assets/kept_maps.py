"""The maps of collections that are kept: the last, from which the next starts, and earlier ones.

Each is a sealed file ``maps/COLLECTION/NUMBER.map`` below the home: the table as Parquet, with the
other fields of the ``GridAssignment`` as its metadata.
"""

import io
import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import PrivateAttr

from assets.config import StayConfig
from assets.io_managers import outputs_of
from assets.methods.common.checksums import DamagedFileError, read_sealed, write_sealed
from assets.methods.common.errors import UserError
from assets.methods.common.files import set_aside
from assets.methods.page.changes import CAME, WENT, MapChanges
from assets.resources.photos import MAPS
from assets.values import GridAssignment

_log = logging.getLogger(__name__)

_SUFFIX = ".map"
_FIELDS = b"tessera.fields"
_CHANGES = b"tessera.changes"


class KeptMaps(dg.ConfigurableResource):
    """The last maps of collections, below the home."""

    home: str
    # By run and collection: both assets of a run that ask get the same map, whatever other runs do.
    _found: dict[tuple[str, str], GridAssignment | None] = PrivateAttr(default_factory=dict)

    def last(self, context: dg.AssetExecutionContext, config: StayConfig) -> GridAssignment | None:
        """Return the map from which a run starts; None if there is none, or it is to be made anew.

        Raises UserError if the map that the run is to start from is not kept.
        """
        if config.fresh or config.apart or not config.stay:
            return None
        key = (context.run.run_id, context.partition_key)
        if key not in self._found:
            self._found[key] = self._start(context.partition_key, config.from_map)
        return self._found[key]

    def keep(self, name: str, grid: GridAssignment, most: int) -> int | None:
        """Keep a map of a collection, and of the others the newest, ``most`` in all.

        Returns its number; None for a map that is not kept. The same map is kept once.
        """
        if grid.made_of.get("apart", True) or most == 0:
            return None
        content, numbers = _encoded(grid), self.numbers(name)
        newest = numbers[-1] if numbers else 0
        try:
            is_new = not newest or read_sealed(*self._file(name, newest))[0] != content
        except (DamagedFileError, OSError):
            is_new = True
        if is_new:
            newest += 1
            path, key = self._file(name, newest)
            write_sealed(path, content, key)
            numbers.append(newest)
        for number in numbers[:-most]:
            self._file(name, number)[0].unlink(missing_ok=True)
        return newest

    def numbers(self, name: str) -> list[int]:
        """Return the numbers of the maps of a collection that are kept, the oldest first."""
        files = Path(self.home, MAPS, name).glob(f"[0-9]*{_SUFFIX}")
        return sorted(int(file.stem) for file in files if file.stem.isdigit())

    def files(self, name: str) -> list[Path]:
        """Return the files of these maps."""
        return [self._file(name, number)[0] for number in self.numbers(name)]

    def kept(self, name: str, number: int) -> GridAssignment:
        """Return a map that is kept.

        Raises UserError if there is none with this number, or it is damaged.
        """
        path, key = self._file(name, number)
        try:
            content, is_sealed = read_sealed(path, key)
            if not is_sealed:
                raise DamagedFileError("is not whole")
            return _decoded(content)
        except FileNotFoundError as error:
            numbers = ", ".join(map(str, self.numbers(name))) or "none"
            raise UserError(
                f"There is no map {number} of {name}; those that are kept: {numbers}."
            ) from error
        except (DamagedFileError, OSError, ValueError, KeyError, TypeError, pa.ArrowException) as e:
            set_aside(path, f"is damaged ({e}); runs start from others")
            raise UserError(f"Map {number} of {name} is damaged: name another one.") from e

    def changes(self, name: str) -> list[MapChanges]:
        """Return what led to each map of a collection that is kept; damaged ones are left out.

        Of a map that was made anew, what came and went is told by the map before, if it is kept;
        nothing has moved, as all photos have other places.
        """
        found = []
        before: tuple[int, bytes] | None = None
        for number in self.numbers(name):
            path, key = self._file(name, number)
            try:
                content, _ = read_sealed(path, key)
                metadata = pq.read_schema(io.BytesIO(content)).metadata
                stay, table = _stay_in(metadata), _changes_in(metadata)
                if "known" not in stay and before is not None and before[0] == number - 1:
                    table = _came_and_went(before[1], content)
                at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            except (
                DamagedFileError,
                OSError,
                ValueError,
                KeyError,
                TypeError,
                pa.ArrowException,
            ) as e:
                _log.info("The changes of map %d of %s are not known: %s", number, name, e)
                continue
            before = number, content
            found.append(MapChanges(number, f"{at:%Y-%m-%d}", table, stay.get("anew", "")))
        return found

    def _start(self, name: str, number: int | None) -> GridAssignment | None:
        if number is not None:
            return self.kept(name, number)
        outputs = outputs_of(Path(self.home))
        try:
            current = outputs.read(GridAssignment, "grid_assignment", name)
            # A visualization of some photos has taken the place of the collection's map.
            if not current.made_of.get("apart"):
                _check_cells(current)
                return current
        except UserError as error:
            # There is no map yet, or it is damaged.
            _log.info("%s starts from no current map: %s", name, error)
        for kept in reversed(self.numbers(name)):
            try:
                return self.kept(name, kept)
            except UserError as error:
                _log.warning("%s", error)
        return None

    def _file(self, name: str, number: int) -> tuple[Path, str]:
        """Return the file of a map, and the key of its seal."""
        return Path(self.home, MAPS, name, f"{number:06}{_SUFFIX}"), f"{name}/{number}"


def _check_cells(grid: GridAssignment) -> None:
    """Raise UserError unless each photo has a cell of its own.

    What is wrong would stay, as the next map is made from this one.
    """
    cells = grid.table[["row", "col"]]
    if cells.duplicated().any() or (cells < 0).any(axis=None):
        raise UserError("Not every photo of the current map has a cell of its own.")
    if (cells.row >= grid.rows).any() or (cells.col >= grid.columns).any():
        raise UserError("The current map has photos outside its grid.")


def _encoded(grid: GridAssignment) -> bytes:
    fields = {
        "columns": grid.columns,
        "rows": grid.rows,
        "metrics": grid.metrics,
        "made_of": grid.made_of,
    }
    table = pa.Table.from_pandas(grid.table, preserve_index=False)
    metadata = {
        **(table.schema.metadata or {}),
        _FIELDS: json.dumps(fields).encode(),
        _CHANGES: _parquet(pa.Table.from_pandas(grid.changes, preserve_index=False)),
    }
    return _parquet(table.replace_schema_metadata(metadata))


def _decoded(content: bytes) -> GridAssignment:
    table = pq.read_table(io.BytesIO(content))
    metadata = dict(table.schema.metadata)
    fields = json.loads(metadata.pop(_FIELDS))
    changes = _changes_in(metadata)
    del metadata[_CHANGES]
    shown = table.replace_schema_metadata(metadata).to_pandas()
    return GridAssignment(shown, **fields, changes=changes)


def _changes_in(metadata: dict[bytes, bytes]) -> pd.DataFrame:
    changes: pd.DataFrame = pq.read_table(io.BytesIO(metadata[_CHANGES])).to_pandas()
    return changes


def _stay_in(metadata: dict[bytes, bytes]) -> dict[str, Any]:
    """Return what the metrics of a map say of those that stayed; nothing in older homes."""
    stay: dict[str, Any] = json.loads(metadata[_FIELDS])["metrics"].get("stay", {})
    return stay


def _came_and_went(before: bytes, now: bytes) -> pd.DataFrame:
    """Return the photos that only one of two maps has: change, image_id and uri."""
    old, new = (
        pq.read_table(io.BytesIO(content), columns=["image_id", "uri"]).to_pandas()
        for content in (before, now)
    )
    came, went = new[~new.image_id.isin(old.image_id)], old[~old.image_id.isin(new.image_id)]
    return pd.concat([came.assign(change=CAME), went.assign(change=WENT)], ignore_index=True)


def _parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()
