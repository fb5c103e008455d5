import dataclasses
import os
import time
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from assets.io_managers import UNTOUCHED_SECONDS, FolderIOManager, load, save
from assets.methods.errors import UserError
from assets.values import Embeddings, GridAssignment, Mosaic, Picture


def test_a_table_comes_back_as_it_was(tmp_path):
    table = pd.DataFrame({"image_id": ["a", "b"], "row": np.array([1, 2], np.int32)})
    save(table, tmp_path)
    pd.testing.assert_frame_equal(load(pd.DataFrame, tmp_path), table)
    assert [path.name for path in tmp_path.iterdir()] == ["table.parquet"]


def test_a_dataclass_is_stored_a_field_at_a_time(tmp_path):
    table = pd.DataFrame({"image_id": ["a"], "row": [0], "col": [0]})
    value = GridAssignment(table, columns=1, rows=1, figures={"gap": None, "solver": "lapjv"})
    save(value, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"table.parquet", "values.json"}
    loaded = load(GridAssignment, tmp_path)
    pd.testing.assert_frame_equal(loaded.table, table)
    assert dataclasses.replace(loaded, table=None) == dataclasses.replace(value, table=None)


def test_vectors_keep_their_bits_and_their_fixed_length(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    save(Embeddings.from_arrays(["a", "b", "c"], vectors, "print", 3), tmp_path)
    loaded = load(Embeddings, tmp_path)
    assert loaded.vectors.tobytes() == vectors.tobytes()
    assert str(loaded.table.schema.field("vector").type) == "fixed_size_list<element: float>[4]"
    np.testing.assert_array_equal(loaded.of(["c", "a"]), vectors[[2, 0]])


def test_pictures_are_files_that_a_person_can_open(tmp_path):
    value = Mosaic(Picture(b"jpeg", ".jpg"), Picture(b"png", ".png"), {"tile": 96})
    save(value, tmp_path)
    assert (tmp_path / "mosaic.jpg").read_bytes() == b"jpeg"
    assert load(Mosaic, tmp_path) == value


def _store(manager: FolderIOManager, value: Any, partition: str = "demo") -> None:
    context = dg.build_output_context(
        asset_key=dg.AssetKey("tsne_2d"),
        asset_partitions_def=dg.StaticPartitionsDefinition(["demo", "other"]),
        partition_key=partition,
    )
    manager.handle_output(context, value)


def test_the_newest_value_counts_and_old_ones_go(tmp_path):
    manager = FolderIOManager(base_folder=str(tmp_path))
    folder = tmp_path / "tsne_2d" / "demo"
    long_ago = time.time() - 2 * UNTOUCHED_SECONDS
    for number in range(3):
        _store(manager, pd.DataFrame({"x": [number]}))
        for generation in folder.iterdir():
            if generation.is_dir():
                os.utime(generation, (long_ago, long_ago))
    assert manager.read(pd.DataFrame, "tsne_2d", "demo").x.tolist() == [2]
    assert sum(path.is_dir() for path in folder.iterdir()) == 2


def test_partitions_do_not_mix(tmp_path):
    manager = FolderIOManager(base_folder=str(tmp_path))
    _store(manager, pd.DataFrame({"x": [1]}), "demo")
    _store(manager, pd.DataFrame({"x": [2]}), "other")
    assert manager.read(pd.DataFrame, "tsne_2d", "demo").x.tolist() == [1]


def test_a_value_that_fails_half_way_leaves_the_old_one(tmp_path):
    manager = FolderIOManager(base_folder=str(tmp_path))
    _store(manager, pd.DataFrame({"x": [1]}))
    with pytest.raises(TypeError):
        _store(manager, GridAssignment(pd.DataFrame({"x": [2]}), 1, 1, {"not json": object()}))
    assert manager.read(pd.DataFrame, "tsne_2d", "demo").x.tolist() == [1]


def test_what_was_never_materialised_is_named(tmp_path):
    manager = FolderIOManager(base_folder=str(tmp_path))
    with pytest.raises(UserError, match="tsne_2d has not been materialised for demo"):
        manager.read(pd.DataFrame, "tsne_2d", "demo")
