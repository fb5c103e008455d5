import threading
from dataclasses import replace

import dagster as dg
import pytest

from assets.methods.common.errors import UserError
from assets.resources.collections import DEMO_SOURCE, INPUTS_SOURCE, Collection
from orchestration.map_requests import LISTING_METADATA
from orchestration.notices import watched_sources
from orchestration.notices.settings import NoticeSettings
from orchestration.notices.watched_sources import (
    causes_of_sources,
    compare_with_maps,
    last_mapped,
    look_at_sources,
    watched,
)
from orchestration.source_looks import SourceLooks

HOUR = 3600.0
SETTINGS = NoticeSettings(stale_hours=48, unreachable_hours=6)


class Watch:
    """Looks at the source of the collection birds, whose listing is ``digest``; None fails."""

    def __init__(self):
        self.birds = Collection("birds", "/birds")
        self.seen = {}
        self.digest = "a"
        self.mapped = ("a", 0.0)
        self.n_looks = 0
        self.looks = SourceLooks(5, 1)

    def at(self, hours: float) -> list[str]:
        """Return the causes so many hours after the beginning."""
        now = 1000.0 + hours * HOUR
        looked_at = look_at_sources(self.seen, [self.birds], self.looks, self.look, 60, now)
        compare_with_maps(self.seen, looked_at, lambda name: self.mapped)
        return [str(one.kind) for one in causes_of_sources(self.seen, [self.birds], SETTINGS, now)]

    def map(self, hours: float) -> None:
        self.mapped = (self.digest, 1000.0 + hours * HOUR)

    def look(self, name: str) -> str:
        self.n_looks += 1
        if self.digest is None:
            raise UserError("/secret cannot be reached")
        return self.digest


@pytest.fixture
def watch():
    return Watch()


def test_a_collection_is_stale_when_it_is_not_mapped_in_time_after_a_change(watch):
    assert watch.at(0) == []
    watch.digest = "b"
    assert watch.at(5) == []
    assert watch.at(52) == []
    assert watch.at(53) == ["stale_collection"]
    # Another change is the same cause.
    watch.digest = "c"
    assert watch.at(60) == ["stale_collection"]
    watch.map(61)
    assert watch.at(61) == []


def test_a_source_that_changes_all_the_time_and_is_mapped_every_night_is_not_stale(watch):
    for hours in range(0, 240, 3):
        watch.digest = f"listing {hours}"
        assert watch.at(hours) == [], hours
        if hours % 24 == 0:
            watch.map(hours)


def test_a_change_that_is_taken_back_is_none(watch):
    watch.at(0)
    watch.digest = "b"
    watch.at(5)
    watch.digest = "a"
    watch.at(50)
    assert watch.at(60) == []


def test_a_map_after_the_last_look_makes_it_fresh_whatever_it_has_found(watch):
    watch.digest = "b"
    watch.at(0)
    watch.mapped = ("c", 1000.0 + 47.5 * HOUR)
    compare_with_maps(watch.seen, set(), lambda name: watch.mapped)
    assert watch.seen["birds"].differs_since is None


def test_hours_can_be_set_for_a_collection(watch):
    watch.digest = "b"
    watch.at(0)
    for hours, causes in ((2, ["stale_collection"]), (4, []), (0, [])):
        watch.birds = replace(watch.birds, stale_hours=hours)
        assert watch.at(3) == causes


def test_what_was_never_mapped_is_not_stale(watch):
    watch.mapped = None
    watch.at(0)
    assert watch.at(100) == []


def test_a_source_is_out_of_reach_after_a_while_and_until_it_is_reached(watch):
    watch.at(0)
    watch.digest = None
    assert watch.at(1) == []
    assert watch.at(6.9) == []
    assert watch.at(7) == ["unreachable_source"]
    watch.digest = "a"
    # It is looked at again sooner than one that is there.
    assert watch.at(7.2) == []
    watch.digest = None
    assert watch.at(9) == []


def test_a_source_that_hangs_counts_as_out_of_reach_until_it_answers(watch):
    goes_on = threading.Event()

    def hang(name):
        assert goes_on.wait(30)
        return "a"

    looks = SourceLooks(0.05, 0.05)
    look_at_sources(watch.seen, [watch.birds], looks, hang, 60, 10.0)
    assert watch.seen["birds"].unreached_since == 10.0
    goes_on.set()
    late = SourceLooks(5, 5)
    look_at_sources(watch.seen, [watch.birds], late, hang, 60, 10.0 + HOUR)
    assert watch.seen["birds"].unreached_since is None


def test_a_source_is_looked_at_once_an_hour_or_never(watch):
    for hours in (0, 0.5, 0.9, 1.1, 1.5):
        watch.at(hours)
    assert watch.n_looks == 2
    look_at_sources(watch.seen, [watch.birds], watch.looks, watch.look, 0, 1e9)
    assert watch.n_looks == 2


def test_no_more_than_a_few_are_looked_at_in_one_round_and_the_oldest_first(watch, monkeypatch):
    monkeypatch.setattr(watched_sources, "MOST_LOOKS", 2)
    collections = [Collection(name, f"/{name}") for name in "abc"]
    for now, names in ((1.0, "ab"), (2.0, "abc"), (1.5 + HOUR, "abc")):
        look_at_sources(watch.seen, collections, watch.looks, watch.look, 60, now)
        assert sorted(watch.seen) == list(names)
    assert [watch.seen[name].looked_at for name in "abc"] == [1.5 + HOUR, 1.5 + HOUR, 2.0]


def test_a_source_that_was_moved_begins_anew_and_one_that_was_removed_is_forgotten(watch):
    watch.digest = None
    watch.at(0)
    watch.birds = Collection("birds", "/elsewhere")
    assert watch.at(7) == []
    look_at_sources(watch.seen, [], watch.looks, watch.look, 60, 1e9)
    assert watch.seen == {}


def test_the_demo_and_what_is_posted_are_not_watched():
    collections = [
        Collection("birds", "/birds"),
        Collection("demo", DEMO_SOURCE),
        Collection("app", INPUTS_SOURCE),
    ]
    assert [one.name for one in watched(collections)] == ["birds"]


def test_nothing_private_is_in_the_text():
    seen = {"birds": watched_sources.SeenSource("p", 0.0, "d", 0.0, 0.0)}
    birds = Collection("birds", "s3://secret/photos")
    stale, unreachable = causes_of_sources(seen, [birds], SETTINGS, 1e6)
    assert stale.what == (
        "The source of the collection birds had changed by 1970-01-01 00:00 UTC, and in 48 hours "
        "the collection was not refreshed."
    )
    assert unreachable.what == (
        "The source of the collection birds has been out of reach since 1970-01-01 00:00 UTC."
    )


def test_the_listing_that_was_mapped_last(instance):
    def materialize(asset, listing=None):
        metadata = {LISTING_METADATA: listing} if listing else {}
        event = dg.AssetMaterialization(asset, partition="birds", metadata=metadata)
        instance.report_runless_asset_event(event)

    def listing():
        digest, _ = last_mapped(instance, "birds") or ("", 0.0)
        return digest

    assert last_mapped(instance, "birds") is None
    materialize("raw_images", "first")
    assert listing() == "first"
    materialize("mosaic")
    assert listing() == "first"
    # Scores alone make a newer catalogue, and no map.
    materialize("raw_images", "second")
    assert listing() == "first"
    materialize("mosaic")
    assert listing() == "second"
    assert last_mapped(instance, "cats") is None
