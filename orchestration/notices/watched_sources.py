"""Sources that changed without a new map, and sources that are out of reach, over time."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Set

import dagster as dg

from assets.resources.collections import DEMO_SOURCE, INPUTS_SOURCE, Collection
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
    digest_of: Callable[[Collection], str],
    minutes: float,
    now: float,
) -> set[str]:
    """Look at the sources whose last look is ``minutes`` ago, and note in ``seen`` what is found.

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
            digest = found(collection.name, lambda one=collection: digest_of(one))  # type: ignore[misc]
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
    drawn = _newest(instance, "mosaic", name)
    # The map is of the catalogue before it: a scoring makes a newer one, and no map.
    catalogued = _newest(instance, "raw_images", name, drawn.timestamp if drawn else None)
    materialization = catalogued.asset_materialization if catalogued else None
    listing = materialization.metadata.get(LISTING_METADATA) if materialization else None
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
        hours = (
            collection.stale_hours if collection.stale_hours is not None else (settings.stale_hours)
        )
        if _is_over(entry.differs_since, hours, now):
            yield Cause(
                Kind.STALE_COLLECTION,
                collection.name,
                "",
                float(entry.differs_since or 0),
                f"The source of the collection {collection.name} had changed by "
                f"{in_words(entry.differs_since or 0)}, and in {hours:g} hours the collection was "
                "not refreshed.",
            )
        if _is_over(entry.unreached_since, settings.unreachable_hours, now):
            yield Cause(
                Kind.UNREACHABLE_SOURCE,
                collection.name,
                "",
                float(entry.unreached_since or 0),
                f"The source of the collection {collection.name} has been out of reach since "
                f"{in_words(entry.unreached_since or 0)}.",
            )


def _is_over(since: float | None, hours: float, now: float) -> bool:
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


def _newest(
    instance: dg.DagsterInstance, asset: str, name: str, before: float | None = None
) -> dg.EventLogRecord | None:
    wanted = dg.AssetRecordsFilter(
        dg.AssetKey(asset), asset_partitions=[name], before_timestamp=before
    )
    found = instance.fetch_materializations(wanted, limit=1).records
    return found[0] if found else None
