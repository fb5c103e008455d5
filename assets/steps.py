"""What every asset does around its one call into the methods: tracking, logging, thumbnails."""

import base64
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
from PIL import Image

from assets.methods.common.errors import UserError
from assets.methods.common.progress import Progress, silent
from assets.methods.common.shown_text import shown
from assets.methods.common.tables import csv_bytes
from assets.methods.models.provenance import Provenance
from assets.methods.plotting.foot import with_foot
from assets.methods.plotting.histogram import draw_histogram
from assets.methods.plotting.png import png_bytes
from assets.resources.progress import FOLLOWED_TAG, ProgressReporter, event_listener
from assets.resources.tracking import ChildRun, Tracking, send_records

# The metadata of an asset that MLflow lacks, and how its text begins.
TRACKING, NOT_TRACKED = "tracking", "not tracked: "
# The metadata of one that it has: the id of its run, and its page.
MLFLOW_RUN, MLFLOW_PAGE = "mlflow_run", "mlflow"
# The version of a model that the run of an asset has registered.
VERSION = "version"
# That of a value that has not changed since: the run of Dagster that made it.
MADE_IN = "made_in"
_PICTURE = "![thumbnail]("
THUMBNAIL_SIDE = 480
THUMBNAIL_BYTES = 100_000


@dataclass(frozen=True)
class Step:
    """What the body of one asset reports to: Dagster's UI, MLflow and the terminal."""

    context: dg.AssetExecutionContext
    run: ChildRun
    reporter: ProgressReporter

    def progress(self, unit: str) -> Progress:
        """Return a progress callback for work that is counted in ``unit``."""
        step = self.context.asset_key.path[-1]
        lines = self.reporter.listener(self.context.log, step, unit)
        is_followed = FOLLOWED_TAG in self.context.run.tags
        events = event_listener(self.context, unit) if is_followed else silent

        def report(done: int, total: int) -> None:
            lines(done, total)
            events(done, total)
            self.run.send_if_late()

        return report

    def metrics(self, metrics: dict[str, Any]) -> None:
        """Show metrics in Dagster, and log the numbers among them to MLflow."""
        known = {name: _plain(metric) for name, metric in metrics.items() if metric is not None}
        self.context.add_output_metadata(known)
        self.run.metrics({k: v for k, v in known.items() if isinstance(v, int | float)})

    def origin(self, parts: Mapping[str, Any], prefix: str = "") -> None:
        """Say in Dagster, and in the tags of MLflow's run, where answers come from.

        ``parts`` are those of a `Provenance`.
        """
        named = {f"{prefix}{name}": part for name, part in parts.items()}
        self.context.add_output_metadata({name: _plain(part) for name, part in named.items()})
        self.run.tags(named)

    def image(self, name: str, image: Image.Image, made: Provenance | None = None) -> None:
        """Log an image to MLflow under ``name``, and show its thumbnail in Dagster.

        One of answers that were ``made`` says their origin below it, and in its file.
        """
        self._picture(name, lambda: image, made)

    def thumbnail(self, name: str, draw: Callable[[], Image.Image]) -> None:
        """Show a small version of an image in Dagster; it is drawn once the run is sent to MLflow.

        That is now, if nothing is held (`hold_records`).
        """
        if not self.run.is_held:
            self.context.add_output_metadata({name: dg.MetadataValue.md(thumbnail(draw()))})
            return
        self.run.thumbnails[name] = ""

        def show() -> None:
            self.run.thumbnails[name] = thumbnail(draw())

        self.run.when_sent(show)

    def histogram(
        self,
        name: str,
        values: np.ndarray,
        title: str,
        unit: str,
        made: Provenance | None = None,
    ) -> None:
        """Log the distribution of ``values`` as a figure; ``made`` as for ``image``."""
        self._picture(name, lambda: draw_histogram(values, title, unit), made)

    def table(self, name: str, table: pd.DataFrame) -> None:
        """Log a table to MLflow, as CSV."""
        self.run.file(name, csv_bytes(table))

    def _picture(self, name: str, draw: Callable[[], Image.Image], made: Provenance | None) -> None:
        def logged() -> Image.Image:
            image = draw()
            if made is None:
                self.run.image(name, image)
            else:
                image = with_foot(image, made.lines())
                self.run.file(name, png_bytes(image, made.parts()))
            return image

        self.thumbnail(Path(name).stem, logged)


@contextmanager
def step(
    context: dg.AssetExecutionContext,
    tracking: Tracking,
    reporter: ProgressReporter,
    config: dg.Config | None = None,
    is_stored: bool = True,
) -> Iterator[Step]:
    """Run the body of an asset: track it, and log its settings; ``is_stored`` if it has a value.

    A UserError becomes a dg.Failure with the same message, which Dagster does not retry.
    """
    with tracking.child_run(context, is_stored) as run:
        if config is not None:
            run.parameters(config.model_dump())
        try:
            yield Step(context, run, reporter)
        except UserError as error:
            raise dg.Failure(shown(str(error)), allow_retries=False) from error
    if not run.is_held:
        context.add_output_metadata(_record_of(run))


def settled_metadata(
    metadata: Mapping[str, Any],
    record: ChildRun | None,
    former: dg.EventLogRecord | None,
    dagster_run: str,
) -> dict[str, Any]:
    """Return what is added to the ``metadata`` of a value, or stands in place of some of it.

    Args:
        metadata: of the new materialization.
        record: what is held of the asset, if anything is: it is sent, unless the value is unchanged
            and MLflow still has the run that made it.
        former: the materialization before it, if the value has not changed since; else None.
        dagster_run: the run of the asset.
    """
    found: dict[str, Any] = {}
    if record is not None and former is not None and _needs_no_record(record, metadata, former):
        pictures = {name: dg.MetadataValue.md(_PICTURE) for name in record.thumbnails}
        of_former = {MLFLOW_RUN: "", MLFLOW_PAGE: ""}
        return as_before({**metadata, **pictures, **of_former}, former)
    if record is not None:
        send_records(dagster_run)
        found |= _record_of(record)
    if former is not None:
        found |= as_before({**metadata, **found}, former)
    return found


def _needs_no_record(
    record: ChildRun, metadata: Mapping[str, Any], former: dg.EventLogRecord
) -> bool:
    before = former.asset_materialization.metadata if former.asset_materialization else {}
    maker = before.get(MLFLOW_RUN)
    return (
        maker is not None
        and metadata.get(VERSION) == before.get(VERSION)
        and record.knows(str(maker.value))
    )


def _record_of(run: ChildRun) -> dict[str, Any]:
    """Return the metadata of what was logged to MLflow, and the pictures among it."""
    pictures = {name: dg.MetadataValue.md(text) for name, text in run.thumbnails.items() if text}
    if run.run_id:
        return {**pictures, MLFLOW_RUN: run.run_id, MLFLOW_PAGE: dg.MetadataValue.url(run.url)}
    return {**pictures, TRACKING: f"{NOT_TRACKED}{run.unreachable}"}


def as_before(
    metadata: Mapping[str, Any], former: dg.EventLogRecord
) -> dict[str, dg.MetadataValue]:
    """Return what stands in place of some ``metadata`` of a value that has not changed since.

    A picture takes up to 100 KB in each of Dagster's databases, so there is a link to the run that
    shows it. The run of MLflow is the one that has what was logged when the value was made.

    Args:
        metadata: of the new materialization.
        former: the materialization before it.
    """
    shown_before = former.asset_materialization.metadata if former.asset_materialization else {}
    found: dict[str, dg.MetadataValue] = {
        MADE_IN: shown_before.get(MADE_IN) or dg.MetadataValue.dagster_run(former.run_id)
    }
    for name, value in metadata.items():
        if _is_picture(value) and name in shown_before:
            found[name] = _pointing_to(shown_before[name], former)
    is_tracked = MLFLOW_RUN in metadata and MLFLOW_RUN in shown_before
    # A version of a model names the run that has registered it.
    if is_tracked and metadata.get(VERSION) == shown_before.get(VERSION):
        found |= {name: shown_before[name] for name in (MLFLOW_RUN, MLFLOW_PAGE)}
    return found


def _is_picture(value: Any) -> bool:
    return isinstance(value, dg.MarkdownMetadataValue) and str(value.value).startswith(_PICTURE)


def _pointing_to(value: dg.MetadataValue, former: dg.EventLogRecord) -> dg.MetadataValue:
    """Return a link to the run that shows a picture; ``value`` itself if it is one already."""
    if not _is_picture(value):
        return value
    since = f"{datetime.fromtimestamp(former.timestamp, UTC):%Y-%m-%d %H:%M} UTC"
    return dg.MetadataValue.md(f"[As on {since}](/runs/{former.run_id}), and not changed since.")


def _plain(metric: Any) -> Any:
    """Return a text that can be shown, and a NumPy scalar as the number that Dagster stores."""
    if isinstance(metric, str):
        return shown(metric)
    return metric.item() if isinstance(metric, np.generic) else metric


def thumbnail(image: Image.Image) -> str:
    """Return Markdown with ``image`` inside, at most 100 KB, for Dagster's metadata."""
    small = image.convert("RGB")
    side = THUMBNAIL_SIDE
    while True:
        small.thumbnail((side, side))
        encoded = io.BytesIO()
        small.save(encoded, "JPEG", quality=80)
        text = base64.b64encode(encoded.getvalue()).decode()
        markdown = f"{_PICTURE}data:image/jpeg;base64,{text})"
        if len(markdown) <= THUMBNAIL_BYTES:
            return markdown
        side = side * 3 // 4
