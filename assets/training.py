"""From labels to a trained model, and to the evaluation of models."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg

from assets.config import (
    LabelledImagesConfig,
    NsfwEvaluationConfig,
    NsfwTrainingConfig,
    catalogue_settings,
)
from assets.methods.attribution.target import Target, provenance_of
from assets.methods.common.devices import plan_compute
from assets.methods.common.errors import NotApplicableError
from assets.methods.common.shown_text import shown
from assets.methods.common.timestamps import now_to_the_second
from assets.methods.evaluation.figure import draw_evaluation
from assets.methods.photos.catalogue import Catalogue
from assets.methods.photos.labels import LabelledData, check_labels, label_images
from assets.methods.photos.selection import read_corrections
from assets.methods.photos.source import read_labels
from assets.methods.training.train import train_classifier
from assets.resources.compute import Compute
from assets.resources.models import Models
from assets.resources.partitions import COLLECTIONS
from assets.resources.photos import TRAININGS, Photos
from assets.resources.progress import ProgressReporter
from assets.resources.tracking import Tracking
from assets.results.blurring import blurred_or_all, is_blurring
from assets.results.evaluation import (
    MODEL_NAME,
    evaluate_model,
    evaluation_summary,
    evaluation_value,
    label_metrics,
    log_evaluation,
    scores_in_words,
    shown_names,
)
from assets.results.scores import frame_ids
from assets.results.training import (
    TRAINING_IMAGES,
    check_test_split,
    examples_of,
    log_epoch,
    register_version,
    training_images,
)
from assets.steps import VERSION, step
from assets.values import NsfwEvaluation, NsfwTraining

GROUP = "nsfw"


def _asset(kinds: set[str], **options: Any) -> Callable[..., dg.AssetsDefinition]:
    return dg.asset(
        partitions_def=COLLECTIONS, group_name=GROUP, code_version="1", kinds=kinds, **options
    )


@_asset(kinds={"parquet"}, output_required=False)
def labelled_images(
    context: dg.AssetExecutionContext,
    config: LabelledImagesConfig,
    raw_images: Catalogue,
    photos: Photos,
    tracking: Tracking,
    progress: dg.ResourceParam[ProgressReporter],
) -> Iterator[dg.Output[LabelledData]]:
    """Label and split of each image that the source labels without contradiction.

    A collection without labels has none: what follows from them is skipped then.
    """
    with step(context, tracking, progress, config) as log:
        collection = photos.collection(context.partition_key)
        reading = catalogue_settings(collection.settings)
        settings = config.settings(reading.near_distance)
        data = None
        try:
            corrections = read_corrections(config.corrections)
            rows = read_labels(
                collection.source, reading.fetch, collection.follow_links, not corrections
            )
            # What accompanies a photo in a folder has no label.
            rows = rows[~rows["uri"].isin(raw_images.companions["uri"])]
            check_labels(rows, settings, corrections.values())
        except NotApplicableError as reason:
            context.log.warning(f"Skipped, as nothing here is labelled. {shown(str(reason))}")
        else:
            data = label_images(rows, raw_images.images, raw_images.rejects, settings, corrections)
            log.metrics(label_metrics(data))
            log.table("findings.csv", data.findings)
            for note in data.notes:
                context.log.info(note)
    if data is not None:
        yield dg.Output(data)


@_asset(kinds={"torch", "mlflow"}, pool="gpu", deps=["nsfw_model"])
def nsfw_training(
    context: dg.AssetExecutionContext,
    config: NsfwTrainingConfig,
    raw_images: Catalogue,
    labelled_images: LabelledData,
    photos: Photos,
    models: dg.ResourceParam[Models],
    compute: Compute,
    tracking: Tracking,
    progress: dg.ResourceParam[ProgressReporter],
) -> NsfwTraining:
    """A new version of the NSFW model: champion if it is no worse, or else challenger."""
    with step(context, tracking, progress, config) as log:
        data, load_image = labelled_images, photos.store.open_working_copy
        animations = photos.store.animations(data.images.image_id)
        # A label belongs to what a person saw; a version is compared by the scores that it gives.
        shown_ids = photos.store.shown_ids(data.images.image_id)
        check_test_split(data)
        # Before hours of training, to warn of a registry that is down, and to register the packaged
        # model in an empty one.
        champion = models.champion()
        if champion.unreachable:
            context.log.warning(champion.unreachable)
        log.table(TRAINING_IMAGES, training_images(data))
        folder = Path(photos.home, TRAININGS, context.partition_key)
        trained = train_classifier(
            examples_of(data, "train", shown_ids),
            examples_of(data, "validation", shown_ids),
            (data.class_names[0], data.class_names[1]),
            load_image,
            config.settings(),
            folder,
            plan_compute(compute.settings()),
            log.progress("images"),
            partial(log_epoch, log.run),
        )
        result = register_version(
            trained,
            data,
            load_image,
            models,
            compute.settings(),
            folder,
            log.run.run_id,
            frame_ids(animations, raw_images.frames),
        )
        context.log.info(f"{result.alias or 'not registered'}: {result.reason}")
        made = result.provenance
        log.origin(made)
        log.table("history.csv", result.history.assign(**made))
        shared = {name: made[name] for name in ("class", "made_at", "tessera_version")}
        log.table("comparison.csv", result.comparison.assign(**shared))
        log.table("references.csv", result.references.assign(**shared))
        if result.label_doubt:
            context.log.warning(result.label_doubt)
        log.metrics(
            {
                "epochs": len(trained.history),
                "best_epoch": trained.best_epoch,
                "epochs_resumed": trained.n_resumed,
                "validation_auc_best": trained.history[trained.best_epoch - 1].validation_auc,
                "auc": float(result.comparison.auc[0]),
                VERSION: result.version,
                "alias": result.alias,
                "reason": result.reason,
                "label_doubt": result.label_doubt or None,
            }
        )
    return result


# Where both are materialised, a new champion is evaluated.
@_asset(kinds={"scikitlearn", "png"}, pool="gpu", deps=["nsfw_model", "nsfw_training"])
def nsfw_evaluation(
    context: dg.AssetExecutionContext,
    config: NsfwEvaluationConfig,
    raw_images: Catalogue,
    labelled_images: LabelledData,
    photos: Photos,
    models: dg.ResourceParam[Models],
    compute: Compute,
    tracking: Tracking,
    progress: dg.ResourceParam[ProgressReporter],
) -> NsfwEvaluation:
    """Precision, recall, ROC, PR and calibration of each model, with 95 % intervals, per slice."""
    with step(context, tracking, progress, config) as log:
        load_image = photos.store.open_working_copy
        animations = photos.store.animations(labelled_images.images.image_id)
        asked = list(dict.fromkeys(config.models))
        positive = labelled_images.class_names[1]
        evaluated, made = [], []
        for name, model in zip(shown_names(asked), asked, strict=True):
            loaded = models.load(model, compute.settings(), context.log.warning)
            asked_at = now_to_the_second()
            found = evaluate_model(
                name,
                loaded.classifier,
                labelled_images,
                config.split,
                config.settings(),
                load_image,
                models.probabilities,
                log.progress("photos"),
                frame_ids(animations, raw_images.frames),
                config.classes.get(model, ()),
                loaded.identity.version,
            )
            target = Target(loaded.classifier, loaded.identity, found.class_name)
            evaluated.append(found)
            made.append(replace(provenance_of(target, config.threshold), made_at=asked_at))
        figure = draw_evaluation(
            {one.name: one.evaluation for one in evaluated},
            scores_in_words(evaluated, positive),
            [line for one in made for line in one.lines()],
        )
        blurred, _ = blurred_or_all(log, photos, list(labelled_images.images.image_id))
        value = evaluation_value(
            evaluated, figure, load_image, positive, config, made, blurred, blur=is_blurring()
        )
        log.metrics(evaluation_summary(evaluated))
        for number, one in enumerate(made, 1):
            log.origin(one.parts(), "" if len(made) == 1 else f"{MODEL_NAME.format(number)}.")
        log_evaluation(log.run, evaluated, value)
        log.thumbnail("evaluation", lambda: figure)
        for note in value.notes:
            context.log.info(note)
    return value
