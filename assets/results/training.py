"""From a trained classifier to a file, a version in the registry, and an alias."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
from PIL import Image

from assets.config import NsfwScoresConfig
from assets.methods.common.devices import ComputeSettings, plan_compute
from assets.methods.common.errors import UserError
from assets.methods.common.timestamps import now_to_the_second
from assets.methods.evaluation.evaluate import LEAST_OF_EACH_CLASS, EvaluationSettings
from assets.methods.evaluation.intervals import Estimate
from assets.methods.evaluation.promotion import Champion, answered_classes, judge
from assets.methods.evaluation.swapped_labels import Reference
from assets.methods.models.classifier_file import (
    OPEN_NSFW,
    ClassifierDescription,
    describe_classifier,
    load_classifier,
)
from assets.methods.models.identity import ModelIdentity
from assets.methods.models.provenance import Provenance, tessera_version
from assets.methods.models.torch_classifier import CPU_BATCH_SIZE
from assets.methods.photos.labels import LabelledData, class_counts
from assets.methods.training.loop import EpochMetrics
from assets.methods.training.train import LabelledImages, TrainedClassifier, save_trained
from assets.resources.models import Models
from assets.resources.registry import (
    MODEL,
    ChampionReplacedError,
    ModelRegistry,
    RegisteredModel,
)
from assets.resources.tracking import TrackedRun
from assets.results.evaluation import EvaluatedModel, evaluate_model
from assets.results.references import rank_reference, references_table
from assets.values import NsfwTraining

NEW, CHAMPION_OF_BEFORE = "new version", "champion of before"
# An artifact of the MLflow run of a training: its images of the splits train and validation.
TRAINING_IMAGES = "training_images.csv"


def examples_of(
    data: LabelledData, split: str, shown_ids: Mapping[str, str] = MappingProxyType({})
) -> LabelledImages:
    """Return the images of a split with their labels; ``shown_ids`` are those of `PhotoStore`."""
    images = data.images[data.images.split == split]
    return LabelledImages(
        [shown_ids.get(one, one) for one in images.image_id],
        (images.label == data.class_names[1]).to_numpy(dtype=bool),
    )


def training_images(data: LabelledData) -> pd.DataFrame:
    """Return image_id and split of the images of the splits train and validation."""
    images = data.images[data.images.split.isin(("train", "validation"))]
    return images[["image_id", "split"]]


def check_test_split(data: LabelledData) -> None:
    """Raise UserError when the split test has too few images to compare versions."""
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


def register_version(
    trained: TrainedClassifier,
    data: LabelledData,
    load_image: Callable[[str], Image.Image],
    models: Models,
    compute: ComputeSettings,
    folder: Path,
    run_id: str,
    ids_of: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> NsfwTraining:
    """Save a trained classifier, compare it with the champion, and register it with its alias.

    The champion is looked up here, and the comparison starts again if it is replaced meanwhile.

    Args:
        trained: the new version.
        data: the labelled images, of which the split test decides.
        load_image: returns the photo of an image_id.
        models: the registry, and the store of scores.
        compute: where both models compute their scores.
        folder: where the file is written.
        run_id: the MLflow run that made the version.
        ids_of: as for `evaluate_model`.
    """
    weights = folder / "classifier.safetensors"
    description = save_trained(trained, weights)

    def evaluate(file: Path, data: LabelledData, split: str) -> EvaluatedModel:
        classifier = load_classifier(file, plan_compute(compute, CPU_BATCH_SIZE))
        return evaluate_model(
            file.name,
            classifier,
            data,
            split,
            EvaluationSettings(),
            load_image,
            models.probabilities,
            ids_of=ids_of,
        )

    candidate = evaluate(weights, data, "test")
    auc = candidate.evaluation.metrics["auc"]
    while True:
        before = models.champion()
        champion, others = _models_before(before, models, data, candidate, evaluate)
        champion = replace(
            champion,
            is_candidate=before.description.fingerprint == description.fingerprint,
            caveat=_caveat(before.version, data, models.registry),
        )
        verdict = judge(auc, data.class_names, champion, others)
        with suppress(ChampionReplacedError):
            told = f"{verdict.alias}: {verdict.reason}"
            new = models.registry.register(weights, verdict.alias, run_id, before.version, told)
            break
    references = [one for one in (champion.reference, *others) if one is not None]
    of_champion = champion.reference.splits["test"] if champion.reference else None
    return NsfwTraining(
        history=pd.DataFrame([asdict(epoch) for epoch in trained.history]),
        comparison=_comparison((new.version, auc), (before.version, of_champion)).assign(
            model_fingerprint=[description.fingerprint, before.description.fingerprint]
        ),
        weights=weights.name,
        fingerprint=description.fingerprint,
        version=new.version,
        alias="" if new.unreachable else verdict.alias,
        reason=new.unreachable or verdict.reason,
        best_epoch=trained.best_epoch,
        label_doubt=verdict.label_doubt,
        references=references_table(references),
        provenance=_provenance(new, description, data.class_names[1]).parts(),
    )


def _provenance(
    new: RegisteredModel, description: ClassifierDescription, class_name: str
) -> Provenance:
    name = f"models:/{MODEL}/{new.version}" if new.version else new.weights.name
    return Provenance(
        ModelIdentity(name, new.version, description.fingerprint),
        class_name,
        None,
        description.preprocessing.in_words(),
        now_to_the_second(),
        tessera_version(),
    )


def _models_before(
    champion: RegisteredModel,
    models: Models,
    data: LabelledData,
    candidate: EvaluatedModel,
    evaluate: Callable[[Path, LabelledData, str], EvaluatedModel],
) -> tuple[Champion, list[Reference]]:
    """Return how the champion, and OpenNSFW if it is another, rank the photos.

    A model that does not have the positive class is no reference.
    """

    def ranked(name: str, file: Path) -> Reference:
        return rank_reference(name, data, candidate, partial(evaluate, file))

    positive = data.class_names[1]
    class_names = champion.description.class_names
    reference = ranked("the champion", champion.weights) if positive in class_names else None
    packaged = models.packaged()
    open_nsfw = describe_classifier(packaged)
    others = []
    if positive in open_nsfw.class_names and (
        open_nsfw.fingerprint != champion.description.fingerprint
    ):
        others = [ranked(OPEN_NSFW, packaged)]
    answers = answered_classes(class_names, NsfwScoresConfig().class_name)
    return Champion(reference, answers, unreachable=champion.unreachable), others


def _caveat(version: str, data: LabelledData, registry: ModelRegistry) -> str:
    """Return a sentence if the champion was trained on some of the test images, else "".

    They raise its AUC, so that the new version is judged too strictly and never too leniently.
    """
    file = registry.logged_file(version, TRAINING_IMAGES) if version else None
    rows = [line.split(",") for line in (file or b"").decode(errors="replace").splitlines()]
    trained_on = {row[0] for row in rows if row[1:] == ["train"]}
    tested = data.images.image_id[data.images.split == "test"]
    n_trained_on = int(tested.isin(trained_on).sum())
    if n_trained_on == 0:
        return ""
    return (
        f"The champion was trained on {n_trained_on:,} of the {len(tested):,} photos of the split "
        "test."
    )


def _comparison(*versions: tuple[str, Estimate | None]) -> pd.DataFrame:
    """Return the table of ``NsfwTraining`` for the new version and the champion."""
    unknown = Estimate(np.nan, np.nan, np.nan)
    rows = [
        {
            "model": name,
            "version": version,
            **(auc or unknown).named("auc"),
        }
        for name, (version, auc) in zip((NEW, CHAMPION_OF_BEFORE), versions, strict=True)
    ]
    return pd.DataFrame(rows)
