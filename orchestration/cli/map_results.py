"""The folder that `tessera map` leaves behind."""

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from assets.io_managers import FolderIOManager
from assets.methods.common.files import write_whole, written_whole
from assets.methods.photos.catalogue import Catalogue
from assets.resources.collections import Collection
from assets.values import Embeddings, GridAssignment, Mosaic
from orchestration.runs import FinishedRun

LAYOUT_COLUMNS = ["image_id", "uri", "x", "y", "row", "col"]
# The libraries that a layout's bytes depend on.
VERSIONED = [
    "tessera", "dagster", "lapjv", "mlflow", "numpy", "openTSNE", "pillow", "scikit-learn",
    "shufflesnap", "timm", "torch", "torchdr",
]  # fmt: skip


@dataclass(frozen=True)
class PhotoMap:
    """What the photo map of a collection holds at present."""

    catalogue: Catalogue
    embeddings: Embeddings
    grid: GridAssignment
    mosaic: Mosaic

    @classmethod
    def read(cls, outputs: FolderIOManager, collection: str) -> "PhotoMap":
        """Read the current values of the assets of ``collection``."""
        return cls(
            outputs.read(Catalogue, "raw_images", collection),
            outputs.read(Embeddings, "embeddings", collection),
            outputs.read(GridAssignment, "grid_assignment", collection),
            outputs.read(Mosaic, "mosaic", collection),
        )


def write_results(out: Path, photo_map: PhotoMap, report: dict[str, Any]) -> dict[str, Path]:
    """Write mosaic, figure, layout, rejects and report into ``out``; returns their paths."""
    paths = {
        "mosaic": out / f"mosaic{photo_map.mosaic.mosaic.suffix}",
        "figure": out / f"figure{photo_map.mosaic.figure.suffix}",
        "layout": out / "layout.parquet",
        "rejects": out / "rejects.csv",
        "report": out / "report.json",
    }
    write_whole(paths["mosaic"], photo_map.mosaic.mosaic.data)
    write_whole(paths["figure"], photo_map.mosaic.figure.data)
    layout = pa.Table.from_pandas(photo_map.grid.table[LAYOUT_COLUMNS], preserve_index=False)
    with written_whole(paths["layout"]) as beside:
        pq.write_table(layout.replace_schema_metadata(None), beside)
    write_whole(paths["rejects"], photo_map.catalogue.rejects.to_csv(index=False).encode())
    write_whole(paths["report"], json.dumps(report, indent=2).encode())
    return paths


def make_report(collection: Collection, photo_map: PhotoMap, run: FinishedRun) -> dict[str, Any]:
    """Return what report.json holds: counts, seconds, the grid's metrics, checks and versions."""
    catalogue = photo_map.catalogue
    return {
        "collection": collection.name,
        "source": collection.source,
        "dagster_run": run.run_id,
        "counts": {
            "found": catalogue.n_found,
            "photos": len(catalogue.images),
            "rejected": len(catalogue.rejects),
            "exact_duplicates": int(
                (catalogue.images.duplicate_of == catalogue.images.image_id).sum()
            ),
            "shown": len(photo_map.grid.table),
            "decoded_anew": catalogue.n_decoded,
            "embedded_anew": photo_map.embeddings.n_computed,
        },
        "seconds": run.seconds,
        "grid": {"columns": photo_map.grid.columns, "rows": photo_map.grid.rows},
        **photo_map.grid.metrics,
        "mosaic": {**photo_map.mosaic.settings, "shrunk": photo_map.mosaic.shrunk},
        "checks": {check.check_name: check.passed for check in run.checks},
        "versions": {name: version(name) for name in VERSIONED},
    }
