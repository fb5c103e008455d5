"""What came, went and moved from one map to the next, as the page shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from assets.methods.common.shown_text import printable, printable_uri, without_secrets

# What can have become of a photo.
CAME, WENT, MOVED = "came", "went", "moved"
_MOST_NAMED = 200


@dataclass(frozen=True)
class MapChanges:
    """What led to a map of a collection.

    Attributes:
        number: that of the map among those of the collection.
        made_at: its date, or its date and time, as people read them; "" if nobody knows.
        table: a row for each photo that came, went or moved since the map before, with the columns
            change ("came", "went" or "moved"), image_id and uri.
        anew: why the map does not follow from the one before, in a sentence; "" if it does.
    """

    number: int
    made_at: str
    table: pd.DataFrame
    anew: str = ""


def changes_fields(maps: Sequence[MapChanges], image_ids: pd.Series) -> dict[str, Any]:
    """Return what the page reads of the changes, the newest map first.

    Args:
        maps: in any order.
        image_ids: of the photos in the order of the page. One that came or moved, and is not among
            them any more, is counted and not shown.
    """
    first = image_ids.drop_duplicates()
    place_of = pd.Series(first.index, first.array)
    newest_first = sorted(maps, key=lambda one: one.number, reverse=True)
    return {"maps": [_map_fields(one, place_of) for one in newest_first]}


def _map_fields(changes: MapChanges, place_of: pd.Series) -> dict[str, Any]:
    kinds = {kind: changes.table[changes.table.change == kind] for kind in (CAME, WENT, MOVED)}
    shown = {
        kind: [int(place) for place in kinds[kind].image_id.map(place_of).dropna()]
        for kind in (CAME, MOVED)
    }
    gone = kinds[WENT].uri.head(_MOST_NAMED)
    return {
        "number": changes.number,
        "madeAt": printable(changes.made_at),
        "anew": printable(changes.anew),
        "many": {kind: len(rows) for kind, rows in kinds.items()},
        **shown,
        WENT: [printable_uri(without_secrets(str(uri))) for uri in gone],
    }
