"""What becomes of a trained classifier: its file, its version in the registry, its alias."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
from PIL import Image

from assets.methods.common.devices import ComputeSettings, plan_compute
from assets.methods.common.errors import UserError
from assets.methods.evaluation.evaluate import LEAST_OF_EACH_CLASS, EvaluationSettings
from assets.methods.evaluation.promotion import Verdict, judge
from assets.methods.models.classifier_file import load_classifier
from assets.methods.models.torch_classifier import CPU_BATCH_SIZE
from assets.methods.photos.labels import LabelledData, class_counts
from assets.methods.training.loop import EpochMetrics
from assets.methods.training.train import LabelledImages, TrainedClassifier, save_trained
from assets.resources.models import Models
from assets.resources.registry import ChampionReplacedError, ModelRegistry, RegisteredModel
from assets.resources.tracking import TrackedRun
from assets.results.evaluation import EvaluatedModel, evaluate_model
from assets.values import NsfwTraining

NEW, CHAMPION_OF_BEFORE = "new version", "champion of before"
# Of the MLflow run that makes a version: the images that it was trained on and chosen by.
TRAINING_IMAGES = "training_images.csv"


def examples_of(data: LabelledData, split: str) -> LabelledImages:
    """Return the images of a split with their labels."""
    images = data.images[data.images.split == split]
    return LabelledImages(
        list(images.image_id), (images.label == data.class_names[1]).to_numpy(dtype=bool)
    )


def training_images(data: LabelledData) -> pd.DataFrame:
    """Return image_id and split of the images that a version was trained on and chosen by."""
    images = data.images[data.images.split.isin(("train", "validation"))]
    return images[["image_id", "split"]]


def check_test_split(data: LabelledData) -> None:
    """Raise UserError, before anything is trained, when the test set could not judge the result."""
    counts = class_counts(data).loc["test"]
    for name, count in counts.items():
        if count < LEAST_OF_EACH_CLASS:
            raise UserError(
                f"The split test has {count} images of the class {name}: a new version is judged "
                f"by it, so label {LEAST_OF_EACH_CLASS} of each class there at least, and some "
                "hundreds for narrow intervals."
            )


def log_epoch(run: TrackedRun, epoch: EpochMetrics) -> None:
    """Log an epoch as a point of each curve."""
    metrics = asdict(epoch)
    run.metrics(metrics, step=metrics.pop("epoch"))


def enter_version(
    trained: TrainedClassifier,
    data: LabelledData,
    load_image: Callable[[str], Image.Image],
    models: Models,
    compute: ComputeSettings,
    folder: Path,
    run_id: str,
) -> NsfwTraining:
    """Save a trained classifier, judge it beside the champion, and register it with its alias.

    The champion is asked for here, and judging begins anew when another takes its place meanwhile.

    Args:
        trained: the new version.
        data: whose split test judges.
        load_image: returns the photo of an image_id.
        models: the registry, and the store of scores.
        compute: where both are asked.
        folder: where the file is written.
        run_id: the MLflow run that the version is the result of.
    """
    weights = folder / "classifier.safetensors"
    description = save_trained(trained, weights)
    positive = data.class_names[1]

    def judged(name: str, file: Path) -> EvaluatedModel:
        classifier = load_classifier(file, plan_compute(compute, CPU_BATCH_SIZE))
        settings = EvaluationSettings()
        store = models.probabilities
        return evaluate_model(name, classifier, data, "test", settings, load_image, store)

    new = judged(NEW, weights)
    while True:
        champion, evaluated = models.champion(), [new]
        if positive in champion.description.class_names:
            evaluated.append(judged(CHAMPION_OF_BEFORE, champion.weights))
            aucs = [one.evaluation.metrics["auc"] for one in evaluated]
            verdict = _with_overlap(judge(*aucs), champion, data, models.registry)
            if champion.description.fingerprint == description.fingerprint:
                # A person may have promoted what is not surely better than chance.
                verdict = Verdict("champion", "It is the champion already.")
        else:
            verdict = Verdict(
                "challenger",
                f"The champion knows no class {positive}, so the two cannot be compared.",
            )
        if champion.unreachable:
            # Meanwhile another may have become champion, and a better one.
            verdict = Verdict("challenger", f"Who is champion is not known: {champion.unreachable}")
        try:
            entered = models.registry.enter(weights, verdict.alias, run_id, champion.version)
            break
        except ChampionReplacedError:
            continue
    return NsfwTraining(
        history=pd.DataFrame([asdict(epoch) for epoch in trained.history]),
        comparison=_comparison(evaluated, [entered.version, champion.version]),
        weights=weights.name,
        fingerprint=description.fingerprint,
        version=entered.version,
        alias="" if entered.unreachable else verdict.alias,
        reason=entered.unreachable or verdict.reason,
        best_epoch=trained.best_epoch,
    )


def _with_overlap(
    verdict: Verdict, champion: RegisteredModel, data: LabelledData, registry: ModelRegistry
) -> Verdict:
    """Add how many of the test images the champion was trained on, if that is known.

    They flatter its AUC, so that it stays champion the sooner: the verdict errs on the safe side.
    """
    file = registry.logged_file(champion.version, TRAINING_IMAGES) if champion.version else None
    rows = [line.split(",") for line in (file or b"").decode(errors="replace").splitlines()]
    known = {row[0] for row in rows if row[1:] == ["train"]}
    tested = data.images.image_id[data.images.split == "test"]
    n_known = int(tested.isin(known).sum())
    if n_known == 0:
        return verdict
    told = f"The champion was trained on {n_known:,} of the {len(tested):,} photos of the split"
    return replace(verdict, reason=f"{verdict.reason} {told} test.")


def _comparison(evaluated: list[EvaluatedModel], versions: list[str]) -> pd.DataFrame:
    rows = []
    for name, version in zip((NEW, CHAMPION_OF_BEFORE), versions, strict=True):
        known = [one.evaluation.metrics["auc"] for one in evaluated if one.name == name]
        ends = vars(known[0]) if known else dict.fromkeys(("value", "low", "high"))
        rows.append({"model": name, "version": version, **ends})
    renamed = {"value": "auc", "low": "auc_low", "high": "auc_high"}
    table = pd.DataFrame(rows).rename(columns=renamed)
    return table.astype(dict.fromkeys(renamed.values(), "float64"))
