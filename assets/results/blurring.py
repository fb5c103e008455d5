"""Which photos of a collection are drawn blurred: the one place that decides it for all that is
drawn of a collection, from its scores and from the setting of the home.
"""

import os
from pathlib import Path

from assets.config import MosaicConfig, NsfwScoresConfig, config_of
from assets.io_managers import FolderIOManager
from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import shown
from assets.methods.plotting.blurring import BLUR_ABOVE, are_blurred
from assets.resources.photos import Photos
from assets.steps import Step
from assets.values import NsfwScores

SWITCH = "TESSERA_BLUR"
_ON, _OFF = "on", "off"


def is_blurring() -> bool:
    """Whether photos are blurred at all; UserError if the environment says neither on nor off."""
    given = os.environ.get(SWITCH, "").strip().lower() or _ON
    if given not in (_ON, _OFF):
        raise UserError(f"{SWITCH} is {given!r}: write {_ON} or {_OFF}.")
    return given == _ON


def blur_limit(config: MosaicConfig) -> float | None:
    """Return the score above which a photo is blurred; None if none is."""
    return config.blur_above if is_blurring() else None


def blurred_photos(
    photos: Photos, name: str, config: MosaicConfig | None = None, scores: NsfwScores | None = None
) -> frozenset[str]:
    """Return the image_id of each photo of a collection that is drawn blurred.

    Args:
        photos: the collections.
        name: of the collection.
        config: whose limit holds; by default that of the collection.
        scores: by default those that the collection has by now; without any, none is blurred.

    Raises:
        UserError: the scores are damaged, so that nobody knows which photos are to be blurred.
    """
    config = config or config_of(MosaicConfig, photos.registered(name).settings)
    limit = blur_limit(config)
    if limit is None:
        return frozenset()
    scores = scores or scores_for(outputs_of(photos), name, config)
    if scores is None:
        return frozenset()
    return frozenset(scores.table.image_id[are_blurred(scores.table.score, limit)])


def is_blurred_by(class_name: str, score: float) -> bool:
    """Whether an image of no collection is drawn blurred on sheets of many, by its own score."""
    default = NsfwScoresConfig().class_name
    return is_blurring() and class_name == default and score > BLUR_ABOVE


def blurred_or_all(
    log: Step, photos: Photos, all_ids: list[str], config: MosaicConfig | None = None
) -> tuple[frozenset[str], str | None]:
    """Return the image_id of each photo that is drawn blurred: all if the scores are damaged.

    Then a sentence says so, which is also logged.
    """
    name = log.context.partition_key
    # A setting that means nothing is an error in itself.
    is_blurring()
    try:
        return blurred_photos(photos, name, config), None
    except UserError as error:
        note = (
            f"All photos of {name} are drawn blurred, as nobody knows which are to be: "
            f"{shown(str(error))}"
        )
        log.context.log.warning(note)
        return frozenset(all_ids), note


def outputs_of(photos: Photos) -> FolderIOManager:
    """Return what reads the values of the home that the photos are in."""
    return FolderIOManager(base_folder=str(Path(photos.home) / "outputs"))


def scores_for(outputs: FolderIOManager, name: str, config: MosaicConfig) -> NsfwScores | None:
    """Return the scores that the pictures of a map go by.

    Those of the collection itself, or else those of the collection whose photos were selected: what
    is blurred in one map is blurred in the other. UserError is raised if they are damaged.
    """
    scores = current_scores(outputs, name)
    if scores is None and config.scores_of is not None:
        scores = current_scores(outputs, config.scores_of)
    return scores


def current_scores(outputs: FolderIOManager, name: str) -> NsfwScores | None:
    """Return the scores of a collection, None if it has none; UserError if they are damaged."""
    if not outputs.has_value("nsfw_scores", name):
        return None
    return outputs.read(NsfwScores, "nsfw_scores", name)
