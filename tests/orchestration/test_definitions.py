"""The code location: what is in it, and how fast it loads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.definitions import definitions
from orchestration.jobs import ASSETS_OF, PHOTO_MAP

ROOT = Path(__file__).parents[2]

ASSET_GRAPH = """
raw_images <-
embeddings <- raw_images
tsne_2d <- embeddings
grid_assignment <- embeddings, raw_images, tsne_2d
fresh_map <- embeddings, grid_assignment
mosaic <- embeddings, grid_assignment, raw_images
labelled_images <- raw_images
nsfw_training <- labelled_images, nsfw_model, raw_images
nsfw_model <-
nsfw_scores <- nsfw_model, raw_images
occlusion_maps <- nsfw_model, nsfw_scores, raw_images
deconvnet_maps <- nsfw_model, nsfw_scores, raw_images
nsfw_evaluation <- labelled_images, nsfw_model, nsfw_training, raw_images
health <-
""".strip()

CHECKS = """
deconvnet_maps: reconstructions_are_sound
embeddings: vectors_are_sound
grid_assignment: assignment_is_a_bijection (blocking)
grid_assignment: gap_is_within_its_promise
grid_assignment: layout_beats_random_placement
labelled_images: few_rows_are_left_out
labelled_images: labels_do_not_contradict
labelled_images: no_image_is_in_two_splits (blocking)
mosaic: tiles_are_the_photos_of_the_layout
nsfw_evaluation: auc_follows_from_the_scores
nsfw_evaluation: figures_lie_in_their_intervals
nsfw_model: model_gives_its_known_answers (blocking)
nsfw_scores: scores_are_probabilities
nsfw_training: champion_is_no_worse (blocking)
nsfw_training: labels_are_not_swapped
occlusion_maps: maps_are_sound
raw_images: copies_have_one_label
raw_images: every_file_is_accounted_for
raw_images: few_files_are_rejected
tsne_2d: coordinates_are_finite
""".strip()

# Seconds of CPU, not of the clock: the machine is shared.
LONGEST_IMPORT = 3.0


NODES = {node.key.to_user_string(): node for node in definitions.resolve_asset_graph().asset_nodes}


def test_the_asset_graph_is_the_one_that_was_reviewed():
    names = [line.split(" ")[0] for line in ASSET_GRAPH.split("\n")]
    assert set(NODES) == set(names)
    lines = [
        f"{name} <- {', '.join(sorted(key.to_user_string() for key in NODES[name].parent_keys))}"
        for name in names
    ]
    assert "\n".join(line.rstrip() for line in lines) == ASSET_GRAPH


def test_assets_are_partitioned_by_collection_and_gpu_steps_wait_in_the_pool():
    wants_gpu = {"embeddings", "tsne_2d", "nsfw_scores", "occlusion_maps", "deconvnet_maps"}
    wants_gpu |= {"nsfw_training", "nsfw_evaluation"}
    for name, node in NODES.items():
        partitions = None if name in ("nsfw_model", "health") else "collections"
        assert getattr(node.partitions_def, "name", None) == partitions
        group = {"health": "operation", "fresh_map": "operation"}.get(
            name, "photo_map" if name in PHOTO_MAP else "nsfw"
        )
        assert node.group_name == group
        assert node.pools == ({"gpu"} if name in wants_gpu else set())


def test_every_asset_belongs_to_a_job():
    assert set(NODES) == {asset for assets in ASSETS_OF.values() for asset in assets}
    for job, assets in ASSETS_OF.items():
        resolved = definitions.resolve_job_def(job)
        keys = {key.to_user_string() for key in resolved.asset_layer.selected_asset_keys}
        assert keys == set(assets)


def test_the_checks_are_the_ones_that_were_reviewed():
    specs = [spec for check in definitions.asset_checks or [] for spec in check.check_specs]
    lines = sorted(
        f"{spec.asset_key.to_user_string()}: {spec.name}{' (blocking)' * spec.blocking}"
        for spec in specs
    )
    assert "\n".join(lines) == CHECKS


@pytest.mark.process
def test_loading_the_code_location_is_quick_and_leaves_heavy_modules_alone():
    script = (
        "import sys, time, dagster; begun = time.process_time(); "
        "import orchestration.definitions; print(time.process_time() - begun); "
        "print(*{'torch', 'mlflow', 'sklearn', 'matplotlib', 'numba', 'timm'} & set(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    seconds, heavy = ran.stdout.split("\n")[:2]
    assert heavy == ""
    assert float(seconds) < LONGEST_IMPORT


@pytest.mark.process
def test_dagster_finds_the_definitions_valid(home):
    validate = [sys.executable, "-m", "dagster", "definitions", "validate"]
    ran = subprocess.run(
        validate, capture_output=True, text=True, cwd=ROOT, env=os.environ, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
