import numpy as np
import pandas as pd

from assets.methods.page.facts import (
    copies_of,
    name_files,
    name_labels,
    near_groups_of,
    taken_seconds,
)


def test_files_are_named_by_folder_and_name():
    uris = ["/p/a/one.jpg", "/p/b/two.jpg", "s3://bucket/x/three.jpg", "/p/a/four.jpg"]
    named = name_files(pd.Series(uris))
    assert named.names == ["one.jpg", "two.jpg", "three.jpg", "four.jpg"]
    whole = [
        f"{named.folders[code]}/{name}"
        for code, name in zip(named.folder_codes, named.names, strict=True)
    ]
    assert whole == uris
    assert named.uris == {}


def test_names_that_cannot_be_shown_have_a_uri_of_their_own():
    uris = ["/p/bad\udcff.jpg", "/p/bell\x07.jpg", "https://h/a.jpg?x=1"]
    named = name_files(pd.Series(uris))
    assert named.names == ["bad\ufffd.jpg", r"bell\x07.jpg", "a.jpg"]
    assert named.folders == ["/p", "https://h"]
    assert named.uris == {
        0: "file:///p/bad%FF.jpg",
        1: "file:///p/bell%07.jpg",
        2: "https://h/a.jpg?x=1",
    }


def test_secrets_in_the_catalogue_of_an_older_home_are_hidden():
    uris = [
        "https://s3cr3t:s3cr3t@h/a.jpg?sig=s3cr3t",
        "https://h/b.jpg?token=s3cr3t",
        "s3://id:s3cr3t@bucket/c.jpg",
    ]
    named = name_files(pd.Series(uris))
    copies = copies_of(pd.DataFrame({"image_id": "a", "uri": uris}))
    assert named.folders == ["https://h", "https://hidden@h", "s3://hidden@bucket"]
    assert named.uris[0].startswith("https://hidden@h/a.jpg?sig=hidden-")
    assert "s3cr3t" not in repr((named, copies))


def test_labels_are_numbered_from_one():
    names, codes = name_labels(pd.Series(["b", None, "a", "b"], dtype="string"))
    assert names == ["a", "b"]
    assert codes.tolist() == [2, 0, 1, 2]


def test_copies_and_near_groups():
    images = pd.DataFrame(
        {
            "image_id": ["a", "a", "b", "c", "d", "e"],
            "uri": ["1", "2", "3", "4", "5", "6"],
            "duplicate_of": [None, "a", "a", "b", None, "d"],
        }
    )
    assert copies_of(images) == {"a": ["1", "2"]}
    assert near_groups_of(images) == {"a": 1, "b": 1, "c": 1, "d": 2, "e": 2}


def test_times_are_those_of_the_camera():
    taken = pd.Series(["2020-01-02T03:04:05+02:00", "2020-01-02T03:04:05", None], dtype="string")
    seconds = taken_seconds(taken)
    assert seconds[0] == seconds[1] == pd.Timestamp("2020-01-02T03:04:05").timestamp()
    assert np.isnan(seconds[2])
