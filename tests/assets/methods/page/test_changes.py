import pandas as pd

from assets.methods.page.changes import MapChanges, changes_fields


def changes(*rows: tuple[str, str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["change", "image_id"])
    return table.assign(uri="/photos/" + table.image_id + ".png")


def test_changes_name_photos_by_their_places_and_what_is_gone_by_its_file():
    maps = [
        MapChanges(1, "2026-11-26", changes(("came", "b"), ("came", "gone by now"))),
        MapChanges(2, "", changes(("moved", "a"), ("came", "c"), ("went", "gone by now"))),
    ]
    newest, before = changes_fields(maps, pd.Series(["c", "a", "b", "a"]))["maps"]
    assert newest == {
        "number": 2,
        "madeAt": "",
        "anew": "",
        "many": {"came": 1, "went": 1, "moved": 1},
        "came": [0],
        "moved": [1],
        "went": ["/photos/gone by now.png"],
    }
    assert (before["many"]["came"], before["came"]) == (2, [2])


def test_a_map_without_changes_is_among_them():
    anew = MapChanges(7, "today", changes(), "It was \x07 made anew.")
    (only,) = changes_fields([anew], pd.Series(["a"]))["maps"]
    assert only["many"] == {"came": 0, "went": 0, "moved": 0}
    assert only["anew"] == r"It was \x07 made anew."


def test_what_is_gone_is_shown_without_secrets_and_without_control_characters():
    table = changes(("went", "a")).assign(uri="https://someone:secret@host/\x1b[31m.png")
    (one,) = changes_fields([MapChanges(1, "\x07", table)], pd.Series(["b"]))["maps"]
    assert "secret" not in one["went"][0]
    assert "\x1b" not in one["went"][0]
    assert one["madeAt"] == r"\x07"
