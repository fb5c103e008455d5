"""From a manifest to a new version, by Dagster, MLflow and its registry as they are."""

import logging
import re
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from assets import nsfw, photo_map, training
from assets.checks import training as training_checks
from assets.io_managers import outputs_of
from assets.methods.evaluation.intervals import Estimate
from assets.methods.evaluation.promotion import Champion, judge
from assets.methods.evaluation.swapped_labels import Reference
from assets.methods.models.classifier_file import describe_classifier
from assets.methods.photos.labels import LabelledData, class_counts, label_images
from assets.methods.photos.source import read_labels
from assets.resources.collections import PARTITIONS_NAME, Collection, CollectionRegistry
from assets.resources.compute import Compute
from assets.resources.models import Models
from assets.resources.partitions import COLLECTIONS
from assets.resources.photos import Photos
from assets.resources.progress import LogProgress
from assets.resources.registry import CHAMPION, MODEL
from assets.resources.tracking import DAGSTER_RUN, Tracking
from assets.results.training import CHAMPION_OF_BEFORE, NEW, TRAINING_IMAGES, log_epoch
from assets.values import NsfwEvaluation, NsfwTraining

# Of two photos of noise, the packaged network gives the dark one the higher score.
LEVELS = {"sfw": 180, "nsfw": 70}
TRAINING_CONFIG = {
    "base": "plain_convnet",
    "pretrained": False,
    "trained": "all",
    "input_side": 32,
    "epochs": 2,
    "batch_size": 8,
    "learning_rate": 0.01,
}
ASSETS = {
    "raw_images": photo_map.raw_images,
    "labelled_images": training.labelled_images,
    "nsfw_training": training.nsfw_training,
    "nsfw_model": nsfw.nsfw_model,
    "nsfw_evaluation": training.nsfw_evaluation,
}
TRAINING_CHECKS = training_checks.CHECKS
VALUES = {
    "labelled_images": LabelledData,
    "nsfw_training": NsfwTraining,
    "nsfw_evaluation": NsfwEvaluation,
}


class KilledError(Exception):
    """Stands for whatever ends a run."""


def noise(number: int, label: str, brighter: int = 0) -> Image.Image:
    """A photo of noise, dark if it is nsfw; ``brighter`` by little is a near-duplicate."""
    generator = np.random.default_rng(number)
    pixels = LEVELS[label] + generator.integers(-40, 40, (40, 48, 3)) + brighter
    return Image.fromarray(pixels.astype(np.uint8))


class Project:
    """A home, its collections, and the assets run for one of them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.tracking = Tracking(home=str(home))
        self.outputs = outputs_of(home)
        self.models = Models(home, self.tracking)
        self.folder = home.parent / "photos"
        self.folder.mkdir()

    def photo(self, name: str, image: Image.Image) -> str:
        image.save(self.folder / name)
        return name

    def manifest(self, name: str, rows: list[dict[str, str]]) -> Path:
        path = self.folder / f"{name}.csv"
        pd.DataFrame(rows).to_csv(path, index=False)
        return path

    def add(self, name: str, source: Path) -> None:
        CollectionRegistry(self.home).add(Collection(name, str(source)))

    def run(
        self,
        collection: str,
        *assets: str,
        config: dict | None = None,
        tracking: Tracking | None = None,
        threads: int = 1,
    ) -> dg.ExecuteInProcessResult:
        """Materialise ``assets`` with their checks, the values of others being on disk."""
        tracking = tracking or self.tracking
        upstream = [
            dg.AssetSpec(name, partitions_def=COLLECTIONS if name != "nsfw_model" else None)
            for name in ASSETS
            if name not in assets
        ]
        checks = [
            check
            for check in TRAINING_CHECKS
            if all(key.to_user_string() in assets for key in check.keys_by_input_name.values())
        ]
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions(PARTITIONS_NAME, [collection])
            result = dg.materialize(
                [*upstream, *(ASSETS[name] for name in assets), *checks],
                partition_key=collection,
                instance=instance,
                resources={
                    "io_manager": self.outputs,
                    "photos": Photos(home=str(self.home)),
                    "models": Models(self.home, tracking),
                    "compute": Compute(device="cpu", threads=threads),
                    "tracking": tracking,
                    "progress": LogProgress(),
                },
                run_config={"ops": {key: {"config": one} for key, one in (config or {}).items()}},
                raise_on_error=False,
            )
            logged = instance.all_logs(result.run_id)
        self.warnings = [entry.user_message for entry in logged if entry.level == logging.WARNING]
        return result

    def train(self, collection: str, **options) -> dg.ExecuteInProcessResult:
        config = {"nsfw_training": {**TRAINING_CONFIG, **options.pop("config", {})}}
        return self.run(collection, "nsfw_training", config=config, **options)

    def read(self, collection: str, asset: str):
        return self.outputs.read(VALUES[asset], asset, collection)

    def weights(self, collection: str) -> Path:
        name = self.read(collection, "nsfw_training").weights
        return self.home / "trainings" / collection / name

    def aliases(self) -> dict[str, str]:
        found = self.tracking.client.get_registered_model(MODEL).aliases
        return {alias: str(version) for alias, version in found.items()}


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """What Dagster shows of an asset."""
    (event,) = result.asset_materializations_for_node(asset)
    return {name: one.value for name, one in event.metadata.items()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What a run that failed says."""
    assert not result.success
    (event,) = [event for event in result.all_events if event.is_step_failure]
    description = event.step_failure_data.user_failure_data.description
    assert description is not None
    return description


@pytest.fixture(scope="module")
def project(home_template, tmp_path_factory) -> Project:
    """A home with two collections of labelled photos, catalogued and labelled.

    ``messy`` has one of each mistake, ``clean`` has none: 16 to train, 8 to validate, 12 to test.
    """
    home = shutil.copytree(home_template, tmp_path_factory.mktemp("learning") / "home")
    project = Project(home)
    splits = ["train"] * 16 + ["validation"] * 8 + ["test"] * 12
    clean = []
    for number, split in enumerate(splits):
        label = ("sfw", "nsfw")[number % 2]
        uri = project.photo(f"{number}.png", noise(number, label))
        source = ("camera", "web")[number // 2 % 2]
        clean.append({"uri": uri, "label": label, "split": split, "source": source})
    project.add("clean", project.manifest("clean", clean))
    project.add("messy", project.manifest("messy", messy_rows(project, clean)))
    for name in ("clean", "messy"):
        assert project.run(name, "raw_images", "labelled_images").success
    return project


def messy_rows(project: Project, clean: list[dict[str, str]]) -> list[dict[str, str]]:
    """The 36 rows of ``clean``, and 18 more from row 37 on."""
    first, second = clean[0], clean[1]
    (project.folder / "text.png").write_text("no picture at all")
    rows = [
        # 37: a copy of row 1 that says the same; 38: a copy of row 2 that says the other.
        {**first, "uri": project.photo("copy.png", noise(0, "sfw"))},
        {**second, "uri": project.photo("contradiction.png", noise(1, "nsfw")), "label": "sfw"},
        {**first, "uri": "gone.png"},
        {**first, "uri": "text.png"},
        {**first, "uri": project.photo("maybe.png", noise(100, "sfw")), "label": "maybe"},
        {**first, "uri": project.photo("empty.png", noise(101, "sfw")), "label": ""},
        {**first, "uri": project.photo("holdout.png", noise(102, "sfw")), "split": "holdout"},
        # 44: of train, and nearly row 25, which is of test; 45: nearly row 3, but nsfw.
        {**first, "uri": project.photo("near_test.png", noise(24, "sfw", 1))},
        {**first, "uri": project.photo("detail.png", noise(2, "sfw", 1)), "label": "nsfw"},
        # 46: the class whatever its case.
        {**first, "uri": project.photo("case.png", noise(103, "sfw")), "label": " SFW "},
    ]
    # 47 to 54: four pairs of near-duplicates, to which no split is given.
    for pair in range(4):
        for brighter in (0, 1):
            uri = project.photo(f"pair{pair}-{brighter}.png", noise(200 + pair, "sfw", brighter))
            rows.append({"uri": uri, "label": "sfw", "split": "", "source": "pairs"})
    return [*clean, *rows]


def by_name(project: Project, data: LabelledData) -> pd.DataFrame:
    """The images by the names of their files."""
    names = data.images.uri.map(lambda uri: Path(uri).name)
    return data.images.set_index(names)


def test_a_clean_manifest_is_all_used(project):
    data = project.read("clean", "labelled_images")
    assert class_counts(data).to_dict("index") == {
        "train": {"sfw": 8, "nsfw": 8},
        "validation": {"sfw": 4, "nsfw": 4},
        "test": {"sfw": 6, "nsfw": 6},
    }
    assert data.findings.empty
    assert data.slice_columns == ("source",)


def test_what_is_wrong_with_a_manifest_is_told_by_row(project):
    data = project.read("messy", "labelled_images")
    told = data.findings[["row", "reason", "left_out"]].itertuples(index=False, name=None)
    assert list(told) == [
        (2, "label conflict", True),
        # Row 3 and row 45 look nearly alike, and a detail may decide.
        (3, "near-duplicate conflict", False),
        (37, "duplicate", True),
        (38, "label conflict", True),
        (39, "unreadable", True),
        (40, "not an image", True),
        (41, "unknown label", True),
        (42, "unknown label", True),
        (43, "unknown split", True),
        (44, "straddles splits", True),
        (45, "near-duplicate conflict", False),
    ]
    details = data.findings.set_index("row").detail
    assert details[2] == "The same photo is labelled sfw in row 38."
    assert details[41] == "There is no class 'maybe': give sfw or nsfw."
    assert details[44] == "The same photo or one nearly alike is in test (row 25)."
    used = by_name(project, data)
    assert used.label["case.png"] == "sfw"
    assert used.label["detail.png"] == "nsfw"
    assert used.split["24.png"] == "test"


def test_near_duplicates_share_a_split(project):
    used = by_name(project, project.read("messy", "labelled_images"))
    for pair in range(4):
        one, other = f"pair{pair}-0.png", f"pair{pair}-1.png"
        assert used.image_id[one] != used.image_id[other]
        assert used.group[one] == used.group[other]
        assert used.split[one] == used.split[other]
    assert (used.groupby("group").split.nunique() == 1).all()


def test_labelled_images_are_stored_and_loaded_as_they_were(project):
    """What label_images returns, and what the next asset is given, is one and the same."""
    source = project.folder / "messy.csv"
    photos = Photos(home=str(project.home))
    catalogue = photo_map.catalogue_photos(str(source), photos.store)
    made = label_images(read_labels(str(source)), catalogue.images, catalogue.rejects)
    loaded = project.read("messy", "labelled_images")
    pd.testing.assert_frame_equal(loaded.images, made.images)
    pd.testing.assert_frame_equal(loaded.findings, made.findings)
    assert loaded.slice_columns == made.slice_columns == ("source",)
    assert loaded.class_names == made.class_names == ("sfw", "nsfw")


def test_dagster_and_mlflow_have_the_counts_and_the_findings(project, tmp_path):
    result = project.run("messy", "labelled_images")
    assert result.success
    shown = metadata(result, "labelled_images")
    data = project.read("messy", "labelled_images")
    assert shown["images"] == len(data.images) == 36 + 18 - 9
    assert shown["rows_left_out"] == 9
    assert shown["found_label_conflict"] == 2
    assert shown["found_near-duplicate_conflict"] == 2
    counts = class_counts(data)
    assert shown["test_nsfw"] == counts.loc["test", "nsfw"] == 6
    client = project.tracking.client
    logged = client.get_run(shown["mlflow_run"]).data.metrics
    assert logged["images"] == shown["images"]
    assert logged["test_nsfw"] == 6
    file = client.download_artifacts(shown["mlflow_run"], "findings.csv", str(tmp_path))
    assert pd.read_csv(file).row.tolist() == data.findings.row.tolist()


def test_other_names_of_the_classes_are_a_setting(project):
    rows = [
        {"uri": f"{number}.png", "label": ("kitchen", "Garden")[number % 2]} for number in range(36)
    ]
    project.add("rooms", project.manifest("rooms", rows))
    config = {"labelled_images": {"negative": "kitchen", "positive": "garden"}}
    assert project.run("rooms", "raw_images", "labelled_images", config=config).success
    data = project.read("rooms", "labelled_images")
    assert data.class_names == ("kitchen", "garden")
    assert data.images.label.value_counts().to_dict() == {"kitchen": 18, "garden": 18}
    assert data.slice_columns == ()


def test_folders_of_classes_are_labels_and_a_part_of_train_becomes_validation(project):
    folder = project.folder.with_name("classes")
    for split, numbers in (("training", range(300, 320)), ("testing", range(320, 330))):
        for number in numbers:
            label = ("sfw", "nsfw")[number % 2]
            (folder / split / label).mkdir(parents=True, exist_ok=True)
            noise(number, label).save(folder / split / label / f"{number}.png")
    project.add("classes", folder)
    assert project.run("classes", "raw_images", "labelled_images").success
    data = project.read("classes", "labelled_images")
    assert class_counts(data).to_numpy().tolist() == [[9, 9], [1, 1], [5, 5]]
    assert data.findings.empty
    assert data.notes == (
        "There is no split validation: 2 photos of train were taken for it, the same ones each "
        "time.",
    )


def test_a_bad_manifest_is_told_in_a_sentence(project):
    rows = [{"uri": "0.png", "label": "sfw", "group": "one"}, {"uri": "1.png", "label": "nsfw"}]
    project.add("bad", project.manifest("bad", rows))
    assert failure(project.run("bad", "raw_images", "labelled_images")).startswith(
        "The manifest's column group has a name that Tessera gives"
    )


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"uri": "0.png", "name": "one"}], "The manifest .* has no column named label"),
        ([{"uri": "0.png", "label": "cat"}], "Nothing has the label sfw: the labels are 'cat'"),
        (None, "There is no manifest at .*, and no folder in it: labelled data is a CSV or"),
    ],
    ids=["no labels", "other labels", "a folder"],
)
def test_what_needs_labels_is_skipped_where_there_are_none(project, rows, told):
    if rows is None:
        source = project.folder.with_name("folder")
        source.mkdir(exist_ok=True)
        noise(0, "sfw").save(source / "0.png")
    else:
        source = project.manifest("unlabelled", rows)
    project.add("unlabelled", source)
    result = project.run("unlabelled", *ASSETS)
    assert result.success
    made = {str(event.step_key) for event in result.get_asset_materialization_events()}
    assert made == {"raw_images", "nsfw_model"}
    (warning,) = [line for line in project.warnings if line.startswith("Skipped")]
    assert re.match(f"Skipped, as nothing here is labelled. {told}", warning)


def test_shares_that_do_not_sum_to_one_are_told_in_a_sentence(project):
    result = project.run("clean", "labelled_images", config={"labelled_images": {"train": 0.9}})
    assert failure(result) == (
        "The shares of train, validation, test are 0.9, 0.1, 0.2: none may be negative, and they "
        "have to sum to 1."
    )


@pytest.fixture(scope="module")
def trained(project) -> dg.ExecuteInProcessResult:
    """The first training, in a registry in which nothing is."""
    return project.run("clean", *ASSETS, config={"nsfw_training": TRAINING_CONFIG})


def test_the_whole_chain_runs_and_its_checks_pass(trained):
    assert trained.success
    passed = {one.check_name: one.passed for one in trained.get_asset_check_evaluations()}
    assert passed == dict.fromkeys(
        (
            "no_image_is_in_two_splits",
            "few_rows_are_left_out",
            "labels_do_not_contradict",
            "champion_is_no_worse",
            "labels_are_not_swapped",
            "figures_lie_in_their_intervals",
            "auc_follows_from_the_scores",
        ),
        True,
    )


def test_the_packaged_model_is_registered_first_and_is_the_one_to_match(project, trained):
    result = project.read("clean", "nsfw_training")
    assert result.version == "2"
    packaged = describe_classifier(project.models.packaged())
    client = project.tracking.client
    assert client.get_model_version(MODEL, "1").tags["fingerprint"] == packaged.fingerprint
    assert client.get_model_version(MODEL, "2").tags["fingerprint"] == result.fingerprint
    table = result.comparison.set_index("model")
    assert table.version.to_dict() == {NEW: "2", CHAMPION_OF_BEFORE: "1"}
    new, before = (
        Estimate(row.auc, row.auc_low, row.auc_high)
        for row in (table.loc[NEW], table.loc[CHAMPION_OF_BEFORE])
    )
    champion = Champion(Reference("the champion", {"test": before}))
    verdict = judge(new, ("sfw", "nsfw"), champion)
    assert (result.alias, result.reason) == (verdict.alias, verdict.reason)
    # Both tell dark noise from bright noise without an error.
    assert result.alias == "champion"
    assert project.aliases()["champion"] == "2"


def test_each_version_has_files_of_its_own(project, trained):
    """Both were registered during one run; loading the older one must not load the newer."""
    client = project.tracking.client
    sources = [client.get_model_version(MODEL, version).source for version in "12"]
    assert sources[0] != sources[1]
    loaded = [
        project.models.registry.load_pyfunc(f"models:/{MODEL}/{version}")[0].metadata.metadata
        for version in "12"
    ]
    assert [one["architecture"] for one in loaded] == ["open_nsfw", "plain_convnet"]


def test_dagster_shows_what_became_of_the_training(project, trained):
    shown = metadata(trained, "nsfw_training")
    result = project.read("clean", "nsfw_training")
    assert (shown["epochs"], shown["epochs_resumed"]) == (2, 0)
    assert shown["best_epoch"] == result.best_epoch
    best = result.history.set_index("epoch").loc[result.best_epoch]
    assert shown["validation_auc_best"] == best.validation_auc
    assert best.validation_loss == result.history.validation_loss.min()
    assert shown["auc"] == result.comparison.auc[0]
    assert (shown["version"], shown["alias"]) == ("2", "champion")
    assert shown["reason"] == result.reason


def curves(project: Project, run_id: str) -> dict[str, list[tuple[int, float]]]:
    """Each curve of a training's MLflow run: the points (epoch, value)."""
    history = project.tracking.client.get_metric_history
    names = ("train_loss", "validation_loss", "validation_auc", "learning_rate", "seconds")
    return {name: [(one.step, one.value) for one in history(run_id, name)] for name in names}


def test_mlflow_has_a_point_an_epoch_and_the_tables(project, trained, tmp_path):
    shown = metadata(trained, "nsfw_training")
    history = project.read("clean", "nsfw_training").history
    for name, points in curves(project, shown["mlflow_run"]).items():
        assert points == list(zip(history.epoch, history[name], strict=True))
    run = project.tracking.client.get_run(shown["mlflow_run"])
    assert run.data.params["base"] == "plain_convnet"
    assert run.data.metrics["auc"] == shown["auc"]
    file = project.tracking.client.download_artifacts(run.info.run_id, "history.csv", str(tmp_path))
    assert pd.read_csv(file).epoch.tolist() == [1, 2]
    # The parent, of which MLflow's table has a row, has the end and no curves.
    of_parent = project.tracking.client.get_run(run.data.tags["mlflow.parentRunId"]).data.metrics
    assert of_parent["nsfw_training.auc"] == shown["auc"]
    assert "nsfw_training.train_loss" not in of_parent


def test_a_version_says_which_training_made_it(project, trained):
    shown = metadata(trained, "nsfw_training")
    version = project.tracking.client.get_model_version(MODEL, "2")
    assert version.run_id == shown["mlflow_run"]


def test_the_model_asset_holds_the_champion_that_was_to_be_matched_and_then_the_new_one(
    project, trained
):
    assert metadata(trained, "nsfw_model")["version"] == "1"
    # The sensor `trained_model` asks for it after each training.
    shown = metadata(project.run("clean", "raw_images", "nsfw_model"), "nsfw_model")
    assert shown["version"] == "2"
    assert shown["fingerprint"] == project.read("clean", "nsfw_training").fingerprint


def test_the_champion_is_worth_as_much_when_it_is_evaluated(project, trained):
    value = project.read("clean", "nsfw_evaluation")
    result = project.read("clean", "nsfw_training")
    auc = value.metrics[value.metrics.metric == "auc"].iloc[0]
    new = result.comparison.iloc[0]
    assert (auc.value, auc.low, auc.high) == (new.auc, new.auc_low, new.auc_high)
    # The scores that judged it are not computed once more.
    assert [one.split("-")[0] for one in value.fingerprints] == [result.fingerprint]
    assert value.scores.split.unique().tolist() == ["test"]
    assert len(value.scores) == 12


@pytest.fixture(scope="module")
def killed(project, trained):
    """The same training, killed after its first epoch, and materialised again with two threads."""
    project.add("killed", project.folder / "clean.csv")
    assert project.run("killed", "raw_images", "labelled_images").success

    def kill(run, epoch):
        raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "log_epoch", kill)
        broken = project.train("killed")
    return broken, project.train("killed", threads=2)


def test_a_killed_training_goes_on_and_ends_in_the_same_bytes(project, killed):
    broken, resumed = killed
    assert not broken.success
    assert resumed.success
    assert metadata(resumed, "nsfw_training")["epochs_resumed"] == 1
    assert project.weights("killed").read_bytes() == project.weights("clean").read_bytes()
    before, after = (project.read(name, "nsfw_training") for name in ("clean", "killed"))
    assert after.fingerprint == before.fingerprint
    pd.testing.assert_frame_equal(
        after.history.drop(columns="seconds"), before.history.drop(columns="seconds")
    )


def test_the_curves_of_a_resumed_training_are_whole(project, killed):
    run_id = metadata(killed[1], "nsfw_training")["mlflow_run"]
    history = project.read("killed", "nsfw_training").history
    assert curves(project, run_id)["train_loss"] == list(
        zip(history.epoch, history.train_loss, strict=True)
    )


def test_the_run_that_was_killed_is_failed_in_mlflow(project, killed):
    query = f"tags.`{DAGSTER_RUN}` = '{killed[0].run_id}' and tags.`dagster.asset` != ''"
    (run,) = project.tracking.client.search_runs([project.tracking.experiment_id], query)
    assert run.info.status == "FAILED"


def test_the_same_training_is_no_new_version(project, killed):
    result = project.read("killed", "nsfw_training")
    versions = project.tracking.client.search_model_versions(f"name = '{MODEL}'")
    same = [str(one.version) for one in versions if one.tags["fingerprint"] == result.fingerprint]
    assert same == [result.version] == ["2"]


def test_the_images_that_a_version_saw_are_logged_with_it(project, trained, tmp_path):
    client = project.tracking.client
    run_id = client.get_model_version(MODEL, "2").run_id
    logged = pd.read_csv(client.download_artifacts(run_id, TRAINING_IMAGES, str(tmp_path)))
    used = project.read("clean", "labelled_images").images
    seen = used[used.split != "test"]
    assert logged.to_dict("list") == seen[["image_id", "split"]].to_dict("list")
    assert logged.split.value_counts().to_dict() == {"train": 16, "validation": 8}


def test_a_training_is_judged_against_who_is_champion_when_it_ends(project, trained):
    """The packaged model when it begins, another one after its first epoch."""
    project.add("late", project.folder / "clean.csv")
    assert project.run("late", "raw_images", "labelled_images").success
    champion = project.aliases()["champion"]
    project.models.registry.set_alias(CHAMPION, "1")

    def promote(run, epoch):
        project.models.registry.set_alias(CHAMPION, champion)
        log_epoch(run, epoch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "log_epoch", promote)
        assert project.train("late", config={"seed": 1}).success
    result = project.read("late", "nsfw_training")
    assert result.comparison.set_index("model").version[CHAMPION_OF_BEFORE] == champion
    project.models.registry.set_alias(CHAMPION, champion)


def test_a_training_of_wrong_labels_becomes_challenger(project, trained):
    """The labels of train and validation are swapped, those of test are right."""
    rows = pd.read_csv(project.folder / "clean.csv")
    other = {"sfw": "nsfw", "nsfw": "sfw"}
    rows["label"] = rows.label.where(rows.split == "test", rows.label.map(other))
    project.add("wrong", project.manifest("wrong", rows.to_dict("records")))
    assert project.run("wrong", "raw_images", "labelled_images").success
    before = project.aliases()["champion"]
    result = project.train("wrong")
    assert result.success
    shown = metadata(result, "nsfw_training")
    assert shown["alias"] == "challenger"
    assert "below the champion's. Labels of the split train swapped? The cham" in shown["reason"]
    assert shown["label_doubt"].startswith("Labels of the split train swapped? ")
    assert shown["label_doubt"] in project.warnings
    aliases = project.aliases()
    assert (aliases["champion"], aliases["challenger"]) == (before, shown["version"])
    passed = {one.check_name: one.passed for one in result.get_asset_check_evaluations()}
    assert passed == {"champion_is_no_worse": True, "labels_are_not_swapped": False}


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"epochs": 0}, "epochs is 0: it has to be at least 1."),
        ({"trained": "head"}, "A head alone learns little from a network of random weights"),
        ({"base": "nothing"}, "There is no network nothing to train: use "),
        ({"input_side": 2}, "plain_convnet cannot read squares of 2 px"),
        ({"learning_rate": 1e30}, "The loss is no longer finite in epoch 1"),
    ],
)
def test_settings_that_do_not_go_together_are_told_in_a_sentence(project, trained, config, told):
    assert told in failure(project.train("clean", config=config))


def test_too_few_test_images_are_told_before_anything_is_trained(project):
    rows = pd.read_csv(project.folder / "clean.csv")
    rows = rows.drop(rows.index[rows.split == "test"][4:])
    project.add("few", project.manifest("few", rows.to_dict("records")))
    assert project.run("few", "raw_images", "labelled_images").success
    assert failure(project.train("few")).startswith(
        "The split test has 2 images of the class sfw: a new version is judged by it"
    )
    assert not (project.home / "trainings" / "few").exists()


def down(project: Project, uri: str, strict: bool = False) -> Tracking:
    return Tracking(home=str(project.home), tracking_uri=uri, strict=strict)


def test_a_server_that_is_down_costs_no_training(project, trained, unreachable_uri):
    before = project.aliases()
    project.add("down", project.folder / "clean.csv")
    assert project.run("down", "raw_images", "labelled_images").success
    result = project.train("down", tracking=down(project, unreachable_uri))
    assert result.success
    assert [one for one in project.warnings if one.startswith("The model registry could not be")]
    shown = metadata(result, "nsfw_training")
    assert (shown["version"], shown["alias"]) == ("", "")
    assert shown["reason"].startswith("The model registry could not be reached: ")
    assert shown["tracking"].startswith("not tracked: ")
    assert "secret" not in f"{shown}{project.warnings}"
    assert project.aliases() == before
    assert project.weights("down").read_bytes() == project.weights("clean").read_bytes()
    assert all(check.passed for check in result.get_asset_check_evaluations())


def test_a_server_that_is_down_fails_a_strict_training(project, trained, unreachable_uri):
    result = project.train("clean", tracking=down(project, unreachable_uri, strict=True))
    assert not result.success
    (event,) = [event for event in result.all_events if event.is_step_failure]
    assert event.step_failure_data.error.cause.cls_name == "TrackingError"
