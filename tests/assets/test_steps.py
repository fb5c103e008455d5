from datetime import UTC, datetime
from types import SimpleNamespace

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from assets.steps import MADE_IN, MLFLOW_RUN, THUMBNAIL_BYTES, as_before, thumbnail


@pytest.mark.parametrize("size", [(1, 1), (3000, 40), (2000, 2000)])
def test_a_thumbnail_is_small_whatever_the_picture(size):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    markdown = thumbnail(Image.fromarray(noise))
    assert markdown.startswith("![thumbnail](data:image/jpeg;base64,")
    assert len(markdown) <= THUMBNAIL_BYTES


def _shown(run: str, **metadata: str) -> dict[str, dg.MetadataValue]:
    page = dg.MetadataValue.url(f"http://mlflow/{run}")
    texts = {name: dg.MetadataValue.text(text) for name, text in metadata.items()}
    return {MLFLOW_RUN: dg.MetadataValue.text(run), "mlflow": page, **texts}


def _materialization(metadata: dict[str, dg.MetadataValue]):
    moment = datetime(2026, 11, 28, 3, 0, tzinfo=UTC).timestamp()
    made = SimpleNamespace(metadata=metadata)
    return SimpleNamespace(asset_materialization=made, run_id="first", timestamp=moment)


def test_what_has_not_changed_refers_to_the_run_that_has_it():
    picture = dg.MetadataValue.md(thumbnail(Image.new("RGB", (20, 20))))
    text = dg.MetadataValue.md("a table of words")
    now = {**_shown("b"), "mosaic": picture, "new": picture, "words": text}
    before = {**_shown("a"), "mosaic": picture, "words": text}
    found = as_before(now, _materialization(before))
    assert (
        found["mosaic"].value == "[As on 2026-11-28 03:00 UTC](/runs/first), and not changed since."
    )
    assert found[MADE_IN].value == "first"
    assert (found[MLFLOW_RUN].value, found["mlflow"].value) == ("a", "http://mlflow/a")
    # What was not shown before is shown.
    assert found.keys() == {MADE_IN, MLFLOW_RUN, "mlflow", "mosaic"}
    assert as_before(now, _materialization({**before, **found})) == found


def test_a_registered_version_keeps_its_run_of_mlflow():
    found = as_before(_shown("b", version="3"), _materialization(_shown("a", version="2")))
    assert found.keys() == {MADE_IN}
    assert MLFLOW_RUN not in as_before({}, _materialization(_shown("a")))
