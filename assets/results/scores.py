"""The scores of photos, and of animations by their frames."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from assets.methods.models.identity import ModelIdentity
from assets.methods.models.scoring import ScoringResult
from assets.methods.photos.animation import Animation, frame_id, frame_of
from assets.methods.photos.catalogue import Catalogue
from assets.methods.photos.decode import working_size
from assets.values import NsfwScores

_FRAME_DTYPES = {"frame": "Int64", "seconds": "float64", "note": "string"}


def frame_ids(animations: Mapping[str, Animation], wanted: int | None) -> dict[str, list[str]]:
    """Return the ids of the frames that are scored when ``wanted`` are, by image_id."""
    return {
        image_id: [frame_id(image_id, frame.number) for frame in animation.chosen(wanted)]
        for image_id, animation in animations.items()
    }


def score_table(
    image_ids: Sequence[str], found: ScoringResult, animations: Mapping[str, Animation]
) -> pd.DataFrame:
    """Return image_id and score, and of animations frame, seconds and note (see `NsfwScores`)."""
    rows = [
        _frame_of(animations.get(image_id), highest)
        for image_id, highest in zip(image_ids, found.highest_ids, strict=True)
    ]
    frames = pd.DataFrame(rows, columns=list(_FRAME_DTYPES)).astype(_FRAME_DTYPES)
    return pd.DataFrame({"image_id": list(image_ids), "score": found.scores}).join(frames)


def is_flagged(scores: pd.Series, threshold: float) -> pd.Series:
    """Return which scores are as high as the threshold or higher, bool.

    They are compared in float64, as `tessera evaluate` does: 0.7 is another number in float32.
    """
    return scores.astype("float64") >= threshold


def unread_note(table: pd.DataFrame) -> str | None:
    """Return a sentence on the animations of a score table of which frames were not read."""
    n = int(table.note.notna().sum())
    if not n:
        return None
    what = "animation was" if n == 1 else "animations were"
    return f"{n:,} {what} read in part only, as the scores say."


def other_model_note(
    identity: ModelIdentity, scores: NsfwScores, version_with: Callable[[str], str]
) -> str | None:
    """Return a sentence if maps of a model stand beside scores of another one.

    A model is the same if its fingerprint is, whatever it is called. ``version_with`` returns the
    registered version that has a fingerprint, for scores that do not know theirs.
    """
    # Older homes know only the key of the stored probabilities, which begins with it.
    fingerprint = scores.provenance.get("model_fingerprint", scores.fingerprint.partition("-")[0])
    if fingerprint == identity.fingerprint:
        return None
    version = scores.provenance.get("model_version") or version_with(fingerprint)
    other = ModelIdentity(scores.model, version, fingerprint)
    return (
        f"The maps are of another model than the scores by which the images were chosen: the maps "
        f"are of {identity.in_words()}, and nsfw_scores is of {other.in_words()}. Materialise "
        "nsfw_scores again to have both of one model."
    )


def with_sizes(table: pd.DataFrame, catalogue: Catalogue) -> pd.DataFrame:
    """Return a table of uris with the sizes of their images.

    ``width`` and ``height`` are the image's, upright, in px, ``read_width`` and ``read_height`` the
    working copy's, of which the model reads; both are empty for rejects.
    """
    sizes = catalogue.images[["uri", "width", "height"]].drop_duplicates("uri")
    sizes = sizes.astype({"uri": table.uri.dtype})
    pairs = zip(sizes.width, sizes.height, strict=True)
    read = [working_size((int(width), int(height))) for width, height in pairs]
    sizes[["read_width", "read_height"]] = np.array(read, dtype=np.int64).reshape(-1, 2)
    columns = ["width", "height", "read_width", "read_height"]
    return table.merge(sizes, on="uri", how="left").astype(dict.fromkeys(columns, "Int64"))


def _frame_of(
    animation: Animation | None, highest: str
) -> tuple[int | None, float | None, str | None]:
    if animation is None:
        return None, None, None
    number = frame_of(highest)
    seconds = next(frame.seconds for frame in animation.kept if frame.number == number)
    return number, seconds, animation.note
