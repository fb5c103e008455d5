"""The checks of the NSFW model, its scores and its maps."""

import dagster as dg
import numpy as np

from assets.checks.collection_checks import check_of, finite
from assets.methods.attribution.occlusion import MOST_MAP_PIXELS, window_values
from assets.methods.common.devices import ComputeSettings, plan_compute
from assets.methods.common.shown_text import printable_uri
from assets.methods.models.classifier import classify_arrays
from assets.methods.models.classifier_file import load_classifier
from assets.methods.models.reference_images import reference_images
from assets.methods.models.torch_classifier import CPU_BATCH_SIZE
from assets.methods.photos.catalogue import Catalogue
from assets.methods.photos.pixels import size_within
from assets.resources.models import Models
from assets.values import DeconvnetMaps, NsfwModel, NsfwScores, OcclusionMaps

# What Dagster takes of this file.
CHECKS: list[dg.AssetChecksDefinition] = []
# How far an answer may be from the known one, which another library may have computed.
ANSWER_TOLERANCE = 1e-4
# A map is a mean of float32 numbers, in float32.
ROUNDING = 1e-6


@check_of(CHECKS, "nsfw_model", blocking=True, is_partitioned=False)
def model_gives_its_known_answers(
    nsfw_model: NsfwModel, models: dg.ResourceParam[Models]
) -> dg.AssetCheckResult:
    """The model that the alias names scores the reference images as it did when it was made."""
    champion = models.champion()
    expected = champion.description.reference_scores
    images = reference_images()
    if not expected or not expected.keys() <= images.keys():
        return dg.AssetCheckResult(passed=False, description="the model has no known answers")
    # The model is checked, not the device or the precision that is set at present.
    plan = plan_compute(ComputeSettings(device="cpu"), CPU_BATCH_SIZE)
    classifier = load_classifier(champion.weights, plan)
    answers = classify_arrays(classifier, [images[name] for name in expected])
    differences = [
        abs(float(answers[class_name][row]) - score) if class_name in answers else np.inf
        for row, scores in enumerate(expected.values())
        for class_name, score in scores.items()
    ]
    # NumPy's maximum of numbers among which is NaN is NaN, which is not within any tolerance.
    worst = float(np.max(differences))
    same_model = champion.description.fingerprint == nsfw_model.fingerprint
    return dg.AssetCheckResult(
        passed=same_model and worst <= ANSWER_TOLERANCE,
        description=f"{len(expected)} reference images, largest difference "
        f"{worst:.1e} (up to {ANSWER_TOLERANCE:.0e})"
        + ("" if same_model else "; the alias names another model than nsfw_model holds"),
        metadata={"images": len(expected), **finite(largest_difference=worst)},
    )


@check_of(CHECKS, "nsfw_scores", "raw_images")
def scores_are_probabilities(raw_images: Catalogue, nsfw_scores: NsfwScores) -> dg.AssetCheckResult:
    """One score an image, in [0, 1]."""
    ids = list(nsfw_scores.table.image_id)
    one_each = sorted(ids) == sorted(raw_images.images.image_id.unique())
    # A comparison with NaN is false, so this finds what is not finite as well.
    outside = int((~nsfw_scores.table.score.between(0, 1)).sum())
    return dg.AssetCheckResult(
        passed=one_each and outside == 0,
        description=f"{len(ids):,} scores, {outside:,} outside [0, 1], "
        f"{'one' if one_each else 'not one'} for each image",
        metadata={"scores": len(ids), "outside": outside},
    )


@check_of(CHECKS, "occlusion_maps", "raw_images")
def maps_are_sound(raw_images: Catalogue, occlusion_maps: OcclusionMaps) -> dg.AssetCheckResult:
    """Each map is finite, of its image's size, and within the range of its windows' scores.

    Exact maps have a score for each window, and estimates for as many as they say. A map of a very
    large image has as many pixels as a map has at most.
    """
    shape_of = _shapes(raw_images)
    table = occlusion_maps.table
    faults = []
    for row in table.to_dict("records"):
        image_id, experiment = row["image_id"], row["experiment"]
        key = f"{image_id}/{experiment}"
        scores = occlusion_maps.window_scores[key]
        known = scores[np.isfinite(scores)]
        if len(known) == 0 or len(known) != row.get("n_scored", scores.size):
            fault = "has windows without a score"
        else:
            values = occlusion_maps.maps.get(key)
            fault = _fault(values, window_values(experiment, known), shape_of.get(image_id))
        if fault:
            faults.append(f"{printable_uri(row['uri'])}: {experiment} {fault}")
    return dg.AssetCheckResult(
        passed=not faults and len(occlusion_maps.maps) == len(occlusion_maps.table) > 0,
        description=_summary(len(table), "maps", faults),
        metadata={"maps": len(table), "unsound": len(faults), "faults": faults},
    )


@check_of(CHECKS, "deconvnet_maps", "raw_images")
def reconstructions_are_sound(
    raw_images: Catalogue, deconvnet_maps: DeconvnetMaps
) -> dg.AssetCheckResult:
    """Each reconstruction is finite, of its image's size, and not blank."""
    shape_of = _shapes(raw_images)
    table = deconvnet_maps.table
    faults = []
    for image_id, uri in zip(table.image_id, table.uri, strict=True):
        values = deconvnet_maps.reconstructions.get(image_id)
        if values is None:
            faults.append(f"{printable_uri(uri)}: is missing")
        elif values.shape != (*shape_of.get(image_id, ()), 3):
            faults.append(f"{printable_uri(uri)}: is not of the image's size")
        elif not np.isfinite(values).all():
            faults.append(f"{printable_uri(uri)}: is not finite")
        elif not values.any():
            faults.append(f"{printable_uri(uri)}: is blank")
    return dg.AssetCheckResult(
        passed=not faults and len(deconvnet_maps.reconstructions) == len(table) > 0,
        description=_summary(len(table), "reconstructions", faults),
        metadata={"reconstructions": len(table), "unsound": len(faults), "faults": faults},
    )


def _summary(n: int, things: str, faults: list[str]) -> str:
    """Return how many are unsound, and the first of them."""
    first = f" ({faults[0]})" if faults else ""
    return f"{n:,} {things}, {len(faults):,} unsound{first}"


def _shapes(catalogue: Catalogue) -> dict[str, tuple[int, int]]:
    """Return the rows and columns of the maps of each image by its image_id."""
    images = catalogue.images
    sizes = zip(images.width.astype(int), images.height.astype(int), strict=True)
    shapes = [size_within(size, MOST_MAP_PIXELS)[::-1] for size in sizes]
    return dict(zip(images.image_id, shapes, strict=True))


def _fault(
    values: np.ndarray | None, window_values: np.ndarray, shape: tuple[int, int] | None
) -> str:
    if values is None:
        return "is missing"
    if values.shape != shape:
        return "is not of the image's size"
    if not np.isfinite(values).all():
        return "is not finite"
    low, high = window_values.min() - ROUNDING, window_values.max() + ROUNDING
    within = low <= values.min() and values.max() <= high
    return "" if within else "leaves the range of its windows"
