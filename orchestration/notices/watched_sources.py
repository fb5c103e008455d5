"""Sources that changed without a new map, and sources that are out of reach, over time."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from functools import partial
from typing import TypeGuard

import dagster as dg

from assets.resources.collections import DEMO_SOURCE, INPUTS_SOURCE, Collection
from orchestration.dagster_records import metadata_of, newest_materialization
from orchestration.map_requests import LISTING_METADATA
from orchestration.notices.cause import Cause, Kind, in_words
from orchestration.notices.settings import NoticeSettings
from orchestration.notices.state import SeenSource
from orchestration.source_looks import SourceLooks

# Of one round; the others come next.
MOST_LOOKS = 20
# One that could not be reached is looked at again sooner, so that the end is seen.
_MINUTES_UNTIL_AGAIN = 10.0


def watched(collections: Iterable[Collection]) -> list[Collection]:
    """Return the collections whose source can change or be out of reach by itself.

    What is posted to the HTTP service is mapped when somebody asks for it.
    """
    return [one for one in collections if one.source not in (DEMO_SOURCE, INPUTS_SOURCE)]


def look_at_sources(
    seen: dict[str, SeenSource],
    collections: Iterable[Collection],
    looks: SourceLooks,
    digest_of: Callable[[str], str],
    minutes: float,
    now: float,
) -> set[str]:
    """Look at the sources whose last look is ``minutes`` ago, and note in ``seen`` what is found.

    ``digest_of`` lists the source of a collection, by its name, and returns the listing's digest.
    A source that somebody has moved is another one. What does not answer in time counts as out of
    reach until it does. Returns the names of those that were looked at.
    """
    known = {one.name: one for one in collections}
    for name in [name for name in seen if name not in known or _moved(seen[name], known[name])]:
        del seen[name]
    due = [one for one in known.values() if _is_due(seen.get(one.name), minutes, now)]
    due.sort(key=lambda one: seen[one.name].looked_at if one.name in seen else 0.0)
    found = looks.round()
    for collection in due[:MOST_LOOKS]:
        entry = seen.setdefault(collection.name, SeenSource(_place(collection), now))
        try:
            digest = found(collection.name, partial(digest_of, collection.name))
        except Exception:
            # Each kind of store has its own; the sensor `new_images` and the runs say more.
            digest = None
        entry.looked_at = now
        if digest is None:
            entry.unreached_since = entry.unreached_since or now
        else:
            entry.digest, entry.unreached_since = digest, None
    return {one.name for one in due[:MOST_LOOKS]}


def compare_with_maps(
    seen: Mapping[str, SeenSource],
    looked_at: Set[str],
    mapped: Callable[[str], tuple[str, float] | None],
) -> None:
    """Note since when listings differ from those that were mapped.

    It is done of sources that were just ``looked_at``, and of those that differed before.
    ``mapped`` returns the digest of the listing that was mapped last, and when; None if none was.
    """
    for name, entry in seen.items():
        if name not in looked_at and entry.differs_since is None:
            continue
        last = mapped(name) if entry.digest is not None else None
        # What was mapped after the look was newer than what the look has seen.
        if last is None or last[0] == entry.digest or last[1] > entry.looked_at:
            entry.differs_since = None
        else:
            entry.differs_since = max(entry.differs_since or entry.looked_at, last[1])


def last_mapped(instance: dg.DagsterInstance, name: str) -> tuple[str, float] | None:
    """Return the digest of the listing that a collection was last mapped or catalogued with.

    Also when, in seconds since 1970. None if it never was, or a version before 0.2 did it.
    """
    drawn = newest_materialization(instance, "mosaic", name)
    # The map is of the catalogue before it: a scoring makes a newer one, and no map.
    before = drawn.timestamp if drawn else None
    catalogued = newest_materialization(instance, "raw_images", name, before)
    listing = metadata_of(catalogued).get(LISTING_METADATA)
    if catalogued is None or listing is None:
        return None
    return str(listing.value), (drawn or catalogued).timestamp


def causes_of_sources(
    seen: Mapping[str, SeenSource],
    collections: Iterable[Collection],
    settings: NoticeSettings,
    now: float,
) -> Iterator[Cause]:
    """Yield the collections that are stale, and those whose source is out of reach for long."""
    for collection in collections:
        entry = seen.get(collection.name)
        if entry is None:
            continue
        name, hours = collection.name, collection.stale_hours
        if hours is None:
            hours = settings.stale_hours
        if _is_over(entry.differs_since, hours, now):
            what = (
                f"had changed by {in_words(entry.differs_since)}, and in {hours:g} hours the "
                "collection was not refreshed"
            )
            yield _cause(Kind.STALE_COLLECTION, name, entry.differs_since, what)
        if _is_over(entry.unreached_since, settings.unreachable_hours, now):
            what = f"has been out of reach since {in_words(entry.unreached_since)}"
            yield _cause(Kind.UNREACHABLE_SOURCE, name, entry.unreached_since, what)


def _cause(kind: Kind, name: str, since: float, what: str) -> Cause:
    return Cause(kind, name, "", since, f"The source of the collection {name} {what}.")


def _is_over(since: float | None, hours: float, now: float) -> TypeGuard[float]:
    return since is not None and hours > 0 and now - since >= hours * 3600


def _is_due(entry: SeenSource | None, minutes: float, now: float) -> bool:
    if minutes == 0:
        return False
    if entry is None:
        return True
    pause = minutes if entry.unreached_since is None else min(minutes, _MINUTES_UNTIL_AGAIN)
    # A clock that was put back must not stop it for long.
    return not 0 <= now - entry.looked_at < pause * 60


def _place(collection: Collection) -> str:
    named = f"{collection.source}\n{collection.follow_links}"
    return hashlib.sha256(named.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _moved(entry: SeenSource, collection: Collection) -> bool:
    return entry.place != _place(collection)
