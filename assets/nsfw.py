"""The scores that a moderation model gives to images, and what in the images it looks at."""

from collections.abc import Callable
from dataclasses import asdict, replace

import dagster as dg
import pandas as pd

from assets.config import (
    DeconvnetMapsConfig,
    ExaminedImagesConfig,
    NsfwScoresConfig,
    OcclusionMapsConfig,
)
from assets.methods.attribution.target import Target, provenance_of
from assets.methods.models.scoring import score_unseen
from assets.methods.photos.catalogue import Catalogue, CatalogueSettings
from assets.methods.plotting.blurring import with_blurred
from assets.methods.plotting.contact_sheet import draw_ranking
from assets.resources.compute import Compute
from assets.resources.models import Models
from assets.resources.partitions import COLLECTIONS
from assets.resources.photos import Photos
from assets.resources.progress import ProgressReporter
from assets.resources.recent_use import WINDOWS
from assets.resources.tracking import Tracking
from assets.results.blurring import blurred_photos, is_blurring
from assets.results.deconvnet import chosen_deconvnet_maps
from assets.results.occlusion import chosen_occlusion_maps
from assets.results.originals import addresses_of, choose_images
from assets.results.scores import (
    frame_ids,
    is_flagged,
    other_model_note,
    score_table,
    unread_note,
)
from assets.steps import step
from assets.values import DeconvnetMaps, NsfwModel, NsfwScores, OcclusionMaps

GROUP = "nsfw"


def _asset(kinds: set[str]) -> Callable[..., dg.AssetsDefinition]:
    return dg.asset(
        partitions_def=COLLECTIONS,
        group_name=GROUP,
        code_version="1",
        kinds=kinds,
        pool="gpu",
        deps=["nsfw_model"],
    )


@dg.asset(group_name=GROUP, code_version="1", kinds={"torch", "mlflow"})
def nsfw_model(
    context: dg.AssetExecutionContext,
    models: dg.ResourceParam[Models],
    tracking: Tracking,
    progress: dg.ResourceParam[ProgressReporter],
) -> NsfwModel:
    """The model that the alias `champion` names; the packaged network if none was registered."""
    with step(context, tracking, progress) as log:
        model = models.champion(log.run.run_id)
        if model.unreachable:
            context.log.warning(model.unreachable)
        known = model.description
        log.metrics(
            {
                "version": model.version or "unknown: the registry could not be asked",
                "fingerprint": known.fingerprint,
                "classes": ", ".join(known.class_names),
                "registered_anew": model.is_new,
            }
        )
    return NsfwModel(
        model.version,
        model.weights.name,
        known.fingerprint,
        list(known.class_names),
        asdict(known.preprocessing),
    )


@_asset(kinds={"torch", "parquet"})
def nsfw_scores(
    context: dg.AssetExecutionContext,
    config: NsfwScoresConfig,
    raw_images: Catalogue,
    photos: Photos,
    models: dg.ResourceParam[Models],
    compute: Compute,
    tracking: Tracking,
    progress: dg.ResourceParam[ProgressReporter],
) -> NsfwScores:
    """P(NSFW) of each image, from its working copy; of an animation, the highest of its frames."""
    with step(context, tracking, progress, config) as log:
        image_ids = sorted(raw_images.images.image_id.unique())
        open_image = photos.store.open_working_copy
        animations = photos.store.animations(image_ids)
        loaded = models.load(config.model, compute.settings(), context.log.warning)
        target = Target(loaded.classifier, loaded.identity, config.class_name)
        made = provenance_of(target, config.threshold)
        found = score_unseen(
            image_ids,
            open_image,
            loaded.classifier,
            config.class_name,
            models.probabilities,
            log.progress("photos"),
            frame_ids(animations, raw_images.frames),
        )
        table = score_table(image_ids, found, animations)
        note = unread_note(table)
        if note:
            context.log.warning(note)
        # The model that answered may be another than when the first photo was asked for.
        made = replace(made, identity=target.identity)
        log.origin(made.parts())
        flagged = is_flagged(table.score, config.threshold)
        log.metrics({**found.metrics(), "flagged": int(flagged.sum())})
        log.histogram("scores.png", found.scores, "Scores", f"P({config.class_name})", made)
        highest = table.nlargest(config.listed, "score").merge(
            raw_images.images.drop_duplicates("image_id")[["image_id", "uri"]], on="image_id"
        )
        log.table("highest.csv", highest.assign(**made.parts()))
        scores = NsfwScores(
            table,
            config.model,
            config.class_name,
            found.fingerprint,
            found.n_computed,
            made.parts(),
        )
        shown = dict(zip(image_ids, found.highest_ids, strict=True))
        blurred = blurred_photos(photos, context.partition_key, scores=scores)
        ranking = draw_ranking(
            with_blurred(open_image, {shown[image_id] for image_id in blurred}),
            highest.assign(image_id=highest.image_id.map(shown)),
            blur=is_blurring(),
        )
        log.image("highest.png", ranking, made)
    return scores


@_asset(kinds={"torch", "png"})
def occlusion_maps(
    context: dg.AssetExecutionContext,
    config: OcclusionMapsConfig,
    raw_images: Catalogue,
    nsfw_scores: NsfwScores,
    photos: Photos,
    models: dg.ResourceParam[Models],
    compute: Compute,
    tracking: Tracking,
    progress: dg.ResourceParam[ProgressReporter],
) -> OcclusionMaps:
    """What the model looks at: windows of the image cut out, and painted over, and scored."""
    with step(context, tracking, progress, config) as log:
        chosen, reading = _chosen(context, config, raw_images, nsfw_scores, photos)
        target = _target(context, config, nsfw_scores, models, compute)
        notes = _origin_notes(context, target, nsfw_scores, models)
        store = models.window_scores
        blurred = blurred_photos(photos, context.partition_key, scores=nsfw_scores)
        maps = chosen_occlusion_maps(chosen, target, config, reading, store, log, notes, blurred)
        photos.recent.note(context.partition_key, WINDOWS, store.opened)
    return maps


@_asset(kinds={"torch", "png"})
def deconvnet_maps(
    context: dg.AssetExecutionContext,
    config: DeconvnetMapsConfig,
    raw_images: Catalogue,
    nsfw_scores: NsfwScores,
    photos: Photos,
    models: dg.ResourceParam[Models],
    compute: Compute,
    tracking: Tracking,
    progress: dg.ResourceParam[ProgressReporter],
) -> DeconvnetMaps:
    """What in the pixels makes the network answer so: a deconvnet from the class back to them."""
    with step(context, tracking, progress, config) as log:
        chosen, reading = _chosen(context, config, raw_images, nsfw_scores, photos)
        target = _target(context, config, nsfw_scores, models, compute)
        notes = _origin_notes(context, target, nsfw_scores, models)
        threshold = nsfw_scores.provenance.get("threshold")
        blurred = blurred_photos(photos, context.partition_key, scores=nsfw_scores)
        return chosen_deconvnet_maps(
            chosen, target, config, reading, log, threshold, notes, blurred
        )


def _chosen(
    context: dg.AssetExecutionContext,
    config: ExaminedImagesConfig,
    raw_images: Catalogue,
    scores: NsfwScores,
    photos: Photos,
) -> tuple[pd.DataFrame, CatalogueSettings]:
    """Return the images to examine, with the address of each, and how they are read."""
    chosen = choose_images(raw_images.images, scores.table, config)
    addresses, reading = addresses_of(chosen.uri, photos.registered(context.partition_key))
    return chosen.assign(address=addresses), reading


def _target(
    context: dg.AssetExecutionContext,
    config: ExaminedImagesConfig,
    scores: NsfwScores,
    models: Models,
    compute: Compute,
) -> Target:
    model = config.model or scores.model
    loaded = models.load(model, compute.settings(), context.log.warning)
    return Target(loaded.classifier, loaded.identity, config.class_name or scores.class_name)


def _origin_notes(
    context: dg.AssetExecutionContext, target: Target, scores: NsfwScores, models: Models
) -> list[str]:
    """Return a sentence, and warn, if the scores are of another model than the maps."""
    note = other_model_note(target.identity, scores, models.registry.version_with)
    if note is None:
        return []
    context.log.warning(note)
    context.add_output_metadata({"note": note})
    return [note]
