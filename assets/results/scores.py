"""The scores of photos, and of animations by their frames."""

from collections.abc import Mapping, Sequence

import pandas as pd

from assets.methods.models.scoring import ScoringResult
from assets.methods.photos.animation import Animation, frame_id, frame_of

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


def unread_note(table: pd.DataFrame) -> str | None:
    """Return a sentence on the animations of a score table of which frames were not read."""
    n = int(table.note.notna().sum())
    if not n:
        return None
    what = "animation was" if n == 1 else "animations were"
    return f"{n:,} {what} read in part only, as the scores say."


def _frame_of(
    animation: Animation | None, highest: str
) -> tuple[int | None, float | None, str | None]:
    if animation is None:
        return None, None, None
    number = frame_of(highest)
    seconds = next(frame.seconds for frame in animation.kept if frame.number == number)
    return number, seconds, animation.note
