import dataclasses
import json
import os
import time
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from assets.io_managers import (
    CHECKSUMS,
    KEEP_TAG,
    KEPT,
    UNPARTITIONED,
    UNTOUCHED_SECONDS,
    FolderIOManager,
    load,
    pointed_at,
    release,
    save,
)
from assets.methods.common.errors import UserError
from assets.methods.photos.catalogue import Catalogue
from assets.values import (
    Embeddings,
    EncodedImage,
    GridAssignment,
    Mosaic,
    NsfwEvaluation,
    NsfwModel,
    OcclusionMaps,
)


def test_a_table_comes_back_as_it_was(tmp_path):
    table = pd.DataFrame({"image_id": ["a", "b"], "row": np.array([1, 2], np.int32)})
    save(table, tmp_path)
    pd.testing.assert_frame_equal(load(pd.DataFrame, tmp_path), table)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        CHECKSUMS,
        "table.parquet",
    ]


def test_a_dataclass_is_stored_a_field_at_a_time(tmp_path):
    table = pd.DataFrame({"image_id": ["a"], "row": [0], "col": [0]})
    value = GridAssignment(table, columns=1, rows=1, metrics={"gap": None, "solver": "lapjv"})
    save(value, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        CHECKSUMS,
        "changes.parquet",
        "table.parquet",
        "values.json",
    }
    loaded = load(GridAssignment, tmp_path)
    pd.testing.assert_frame_equal(loaded.table, table)
    pd.testing.assert_frame_equal(loaded.changes, value.changes)
    without = {"table": None, "changes": None}
    assert dataclasses.replace(loaded, **without) == dataclasses.replace(value, **without)


def test_a_catalogue_of_an_older_home_has_no_companions(tmp_path):
    images = pd.DataFrame({"image_id": ["a"], "uri": ["/a.jpg"]})
    rejects = pd.DataFrame({"uri": ["/b"], "reason": ["empty"], "detail": [""]})
    save(Catalogue(images, rejects, 2, 1), tmp_path)
    (tmp_path / "companions.parquet").unlink()
    (tmp_path / CHECKSUMS).unlink()
    loaded = load(Catalogue, tmp_path)
    assert list(loaded.companions) == ["uri", "belongs_to"]
    assert len(loaded.companions) == 0
    assert (loaded.n_found, loaded.n_decoded) == (2, 1)


def test_vectors_keep_their_bits_and_their_fixed_length(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    save(Embeddings.from_arrays(["a", "b", "c"], vectors, "print", 3), tmp_path)
    loaded = load(Embeddings, tmp_path)
    assert loaded.vectors.tobytes() == vectors.tobytes()
    assert str(loaded.table.schema.field("vector").type) == "fixed_size_list<element: float>[4]"
    np.testing.assert_array_equal(loaded.of(["c", "a"]), vectors[[2, 0]])


def test_pictures_are_files_that_a_person_can_open(tmp_path):
    value = Mosaic(EncodedImage(b"jpeg", ".jpg"), EncodedImage(b"png", ".png"), {"tile": 96})
    save(value, tmp_path)
    assert (tmp_path / "mosaic.jpg").read_bytes() == b"jpeg"
    assert load(Mosaic, tmp_path) == value


def _maps(**changed: Any) -> OcclusionMaps:
    numbers = np.random.default_rng(0)
    parts = {
        "table": pd.DataFrame({"image_id": ["ab"], "experiment": ["seen"], "score": [0.5]}),
        "rejects": pd.DataFrame({"uri": [], "reason": [], "detail": []}, dtype="string"),
        "maps": {"ab/seen": numbers.random((3, 5), np.float32)},
        "window_scores": {"ab/seen": numbers.random((1, 2), np.float32)},
        "overlays": {"ab/seen": EncodedImage(b"overlay", ".png")},
        "figures": {"ab": EncodedImage(b"figure", ".jpg")},
        "settings": {"box": None, "images": []},
    }
    return OcclusionMaps(**{**parts, **changed})


def test_named_arrays_keep_their_bits_and_are_files_called_by_their_names(tmp_path):
    value = _maps()
    save(value, tmp_path)
    assert {
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()
    } == {
        "table.parquet",
        "rejects.parquet",
        "maps/ab/seen.npy",
        "window_scores/ab/seen.npy",
        "overlays/ab/seen.png",
        "figures/ab.jpg",
        "values.json",
        CHECKSUMS,
    }
    loaded = load(OcclusionMaps, tmp_path)
    for before, after in (
        (value.maps, loaded.maps),
        (value.window_scores, loaded.window_scores),
    ):
        assert list(before) == list(after)
        assert after["ab/seen"].dtype == np.float32
        np.testing.assert_array_equal(after["ab/seen"], before["ab/seen"])
    assert (loaded.overlays, loaded.figures) == (value.overlays, value.figures)
    assert loaded.settings == value.settings
    pd.testing.assert_frame_equal(loaded.rejects, value.rejects)


def test_arrays_and_pictures_of_many_names_are_not_mixed_up(tmp_path):
    names = [f"{image}/{experiment}" for image in ("b", "a") for experiment in ("seen", "hidden")]
    arrays = {name: np.full((2, 3), number, np.float32) for number, name in enumerate(names)}
    pictures = {name: EncodedImage(name.encode(), ".png") for name in names}
    save(_maps(maps=arrays, overlays=pictures), tmp_path)
    loaded = load(OcclusionMaps, tmp_path)
    assert {name: array[0, 0] for name, array in loaded.maps.items()} == {
        name: array[0, 0] for name, array in arrays.items()
    }
    assert loaded.overlays == pictures


def test_a_name_may_have_a_dot_in_it(tmp_path):
    figures = {"cat.1": EncodedImage(b"one", ".png"), "cat.2": EncodedImage(b"two", ".png")}
    arrays = {"cat.1/seen.old": np.zeros(1), "cat.1/seen.new": np.ones(1)}
    save(_maps(figures=figures, maps=arrays), tmp_path)
    loaded = load(OcclusionMaps, tmp_path)
    assert loaded.figures == figures
    assert {name: float(array[0]) for name, array in loaded.maps.items()} == {
        "cat.1/seen.old": 0,
        "cat.1/seen.new": 1,
    }


def test_no_arrays_and_no_pictures_are_none_again(tmp_path):
    save(_maps(maps={}, window_scores={}, overlays={}, figures={}), tmp_path)
    loaded = load(OcclusionMaps, tmp_path)
    assert loaded.maps == loaded.window_scores == loaded.overlays == loaded.figures == {}


def test_an_array_of_objects_is_not_pickled(tmp_path):
    with pytest.raises(ValueError, match="allow_pickle"):
        save(_maps(maps={"ab/seen": np.array([object()])}), tmp_path)
    save(_maps(), tmp_path / "whole")
    np.save(tmp_path / "whole/maps/ab/seen.npy", np.array([object()]), allow_pickle=True)
    (tmp_path / "whole" / CHECKSUMS).unlink()
    with pytest.raises(ValueError, match="allow_pickle"):
        load(OcclusionMaps, tmp_path / "whole")


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


NSFW_MODEL = NsfwModel("1", "open_nsfw.safetensors", "f0", ["sfw", "nsfw"], {"crop": 224})


def test_an_asset_without_partitions_has_one_value(tmp_path):
    manager = FolderIOManager(base_folder=str(tmp_path))
    for version in ("1", "2"):
        context = dg.build_output_context(asset_key=dg.AssetKey("nsfw_model"))
        manager.handle_output(context, dataclasses.replace(NSFW_MODEL, version=version))
    assert manager.read(NsfwModel, "nsfw_model", UNPARTITIONED) == dataclasses.replace(
        NSFW_MODEL, version="2"
    )


def test_an_asset_without_partitions_that_was_never_materialised_is_named(tmp_path):
    manager = FolderIOManager(base_folder=str(tmp_path))
    with pytest.raises(UserError) as caught:
        manager.read(NsfwModel, "nsfw_model", UNPARTITIONED)
    assert str(caught.value) == "nsfw_model has not been materialised: materialise it first."


def test_assets_with_and_without_partitions_and_their_checks_share_a_run(tmp_path):
    """Dagster tells an input's partition in its own way to assets and to their checks."""
    demo = dg.StaticPartitionsDefinition(["demo", "other"])
    seen: dict[str, object] = {}

    @dg.asset
    def nsfw_model() -> NsfwModel:
        return NSFW_MODEL

    @dg.asset(partitions_def=demo)
    def scores(context: dg.AssetExecutionContext, nsfw_model: NsfwModel) -> pd.DataFrame:
        seen["asset"] = nsfw_model
        return pd.DataFrame({"partition": [context.partition_key]})

    @dg.asset_check(asset=nsfw_model)
    def model_check(nsfw_model: NsfwModel) -> dg.AssetCheckResult:
        seen["check of the model"] = nsfw_model
        return dg.AssetCheckResult(passed=True)

    @dg.asset_check(asset=scores)
    def scores_check(scores: pd.DataFrame) -> dg.AssetCheckResult:
        seen["check of the scores"] = scores.partition.tolist()
        return dg.AssetCheckResult(passed=True)

    manager = FolderIOManager(base_folder=str(tmp_path))
    definitions = [nsfw_model, scores, model_check, scores_check]
    for partition in ("other", "demo"):
        assert dg.materialize(
            definitions, resources={"io_manager": manager}, partition_key=partition
        ).success
    assert seen == {
        "asset": NSFW_MODEL,
        "check of the model": NSFW_MODEL,
        "check of the scores": ["demo"],
    }
    assert manager.read(pd.DataFrame, "scores", "other").partition.tolist() == ["other"]


def test_an_input_that_was_never_materialised_fails_the_step_with_a_sentence(tmp_path):
    model = dg.AssetSpec("nsfw_model")

    @dg.asset
    def scores(nsfw_model: NsfwModel) -> None:
        raise AssertionError("there is nothing to score with")

    result = dg.materialize(
        [model, scores],
        resources={"io_manager": FolderIOManager(base_folder=str(tmp_path))},
        raise_on_error=False,
    )
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    told = failure.step_failure_data.error.to_string()
    assert "nsfw_model has not been materialised: materialise it first." in told


@dg.asset(name="tsne_2d", partitions_def=dg.StaticPartitionsDefinition(["demo", "other"]))
def _points(context: dg.AssetExecutionContext) -> pd.DataFrame:
    return pd.DataFrame({"run": [context.run.run_id]})


def _materialize(manager: FolderIOManager, assets: list, **tags: str) -> dg.ExecuteInProcessResult:
    resources = {"io_manager": manager}
    return dg.materialize(assets, resources=resources, partition_key="demo", tags=tags)


def _age(folder) -> None:
    long_ago = time.time() - 2 * UNTOUCHED_SECONDS
    for generation in folder.iterdir():
        if generation.is_dir():
            os.utime(generation, (long_ago, long_ago))


def test_a_value_is_kept_if_the_runs_tag_names_its_asset(tmp_path):
    manager = FolderIOManager(base_folder=str(tmp_path))
    folder = tmp_path / "tsne_2d" / "demo"
    kept = _materialize(manager, [_points], **{KEEP_TAG: "mosaic,tsne_2d"})
    _materialize(manager, [_points], **{KEEP_TAG: "mosaic"})
    for _ in range(3):
        _age(folder)
        _store(manager, pd.DataFrame({"x": [0]}))
    generations = [path for path in folder.iterdir() if path.is_dir()]
    assert len(generations) == 3
    (event,) = kept.get_asset_materialization_events()
    generation = folder / event.materialization.metadata["folder"].value
    assert load(pd.DataFrame, generation).run.tolist() == [kept.run_id]
    release(generation)
    assert not generation.exists()


def test_a_kept_value_that_is_current_stays_current_when_it_is_released(tmp_path):
    manager = FolderIOManager(base_folder=str(tmp_path))
    run = _materialize(manager, [_points], **{KEEP_TAG: "tsne_2d"})
    (generation,) = [path for path in (tmp_path / "tsne_2d" / "demo").iterdir() if path.is_dir()]
    release(generation)
    assert manager.read(pd.DataFrame, "tsne_2d", "demo").run.tolist() == [run.run_id]
    for _ in range(2):
        _store(manager, pd.DataFrame({"x": [0]}))
    _age(tmp_path / "tsne_2d" / "demo")
    _store(manager, pd.DataFrame({"x": [0]}))
    assert not generation.exists()


def _generations(folder) -> list:
    paths = [path for path in folder.iterdir() if path.is_dir()]
    return sorted(paths, key=lambda path: (path / CHECKSUMS).stat().st_mtime_ns)


def test_what_has_not_changed_takes_no_room_again(tmp_path):
    manager = FolderIOManager(base_folder=str(tmp_path))
    table = pd.DataFrame({"row": [0, 1]})
    for n_computed in (2, 0):
        _store(manager, GridAssignment(table, 2, 1, {"solver": n_computed}))
    old, new = _generations(tmp_path / "tsne_2d" / "demo")
    assert (old / "table.parquet").samefile(new / "table.parquet")
    assert not (old / "values.json").samefile(new / "values.json")
    assert load(GridAssignment, new).metrics == {"solver": 0}
    assert load(GridAssignment, old).metrics == {"solver": 2}


def test_a_damaged_file_is_not_shared_with_the_value_that_mends_it(tmp_path):
    manager = FolderIOManager(base_folder=str(tmp_path))
    table = pd.DataFrame({"row": [0, 1]})
    _store(manager, table)
    (old,) = _generations(tmp_path / "tsne_2d" / "demo")
    file = old / "table.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    _store(manager, table)
    pd.testing.assert_frame_equal(manager.read(pd.DataFrame, "tsne_2d", "demo"), table)


def test_values_in_use_are_the_current_one_and_those_given_out(tmp_path):
    manager = FolderIOManager(base_folder=str(tmp_path))
    folder = tmp_path / "tsne_2d" / "demo"
    assert pointed_at(folder) == set()
    for number in range(3):
        _store(manager, pd.DataFrame({"x": [number]}))
    first, second, third = (path.name for path in _generations(folder))
    (folder / first / KEPT).touch()
    assert pointed_at(folder) == {first, third}
    (folder / "current").write_text("damaged")
    assert pointed_at(folder) == {first, second, third}


def test_values_of_two_runs_side_by_side_do_not_meet(tmp_path):
    """A run goes on from its own values, whatever another has written; who ends last counts."""
    manager = FolderIOManager(base_folder=str(tmp_path))
    seen = {}

    @dg.asset(partitions_def=_points.partitions_def)
    def grid(context: dg.AssetExecutionContext, tsne_2d: pd.DataFrame) -> None:
        seen[context.run.run_id] = tsne_2d.run.tolist()

    @dg.asset_check(asset=_points, blocking=True)
    def interrupted(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        _store(manager, pd.DataFrame({"run": ["another"]}))
        return dg.AssetCheckResult(passed=True)

    result = _materialize(manager, [_points, interrupted, grid])
    assert seen == {result.run_id: [result.run_id]}
    assert manager.read(pd.DataFrame, "tsne_2d", "demo").run.tolist() == [result.run_id]
    _store(manager, pd.DataFrame({"run": ["another"]}))
    assert _materialize(manager, [_points.to_source_asset(), grid]).success
    assert list(seen.values())[-1] == ["another"]


def test_a_home_may_hold_a_field_and_a_column_under_their_former_names(tmp_path):
    table = pd.DataFrame({"image_id": ["a"], "row": [0], "col": [0]})
    grid = GridAssignment(table, columns=1, rows=1, metrics={"gap": 0.0})
    save(grid, tmp_path / "grid")
    values = tmp_path / "grid" / "values.json"
    values.write_text(values.read_text().replace('"metrics"', '"figures"'))
    (tmp_path / "grid" / CHECKSUMS).unlink()
    assert load(GridAssignment, tmp_path / "grid").metrics == {"gap": 0.0}

    metrics = pd.DataFrame([("m", "auc", 0.9, 0.8, 1.0)])
    metrics.columns = ["model", "metric", "value", "low", "high"]
    empty = pd.DataFrame({"model": pd.Series(dtype=str)})
    picture = EncodedImage(b"png", ".png")
    evaluation = NsfwEvaluation(
        "nsfw", ["m"], ["f"], metrics, empty, empty, empty, empty, picture, {}, [], {}
    )
    save(evaluation, tmp_path / "evaluation")
    stored = tmp_path / "evaluation" / "metrics.parquet"
    pd.read_parquet(stored).rename(columns={"metric": "figure"}).to_parquet(
        stored.with_name("figures.parquet")
    )
    stored.unlink()
    (stored.parent / CHECKSUMS).unlink()
    # Nor had it classes, an origin, or another rate of slices than that of false positives.
    older = pd.DataFrame({"false_positive_rate": [0.5], "low": [0.1], "high": [0.9]})
    older.to_parquet(stored.with_name("slices.parquet"))
    values = tmp_path / "evaluation" / "values.json"
    plain = json.loads(values.read_text())
    del plain["classes"], plain["provenance"]
    values.write_text(json.dumps(plain))
    loaded = load(NsfwEvaluation, tmp_path / "evaluation")
    pd.testing.assert_frame_equal(loaded.metrics, metrics)
    ends = ["false_positive_rate", "false_positive_rate_low", "false_positive_rate_high"]
    assert list(loaded.slices) == ends
    assert (loaded.classes, loaded.provenance) == ((), [])
