"""Which maps the page of a collection shows, and how they are drawn."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from assets.methods.common.errors import UserError
from assets.results.explained import explained_photos
from assets.values import DeconvnetMaps, NsfwScores, OcclusionMaps

MADE = {
    "model": "open_nsfw",
    "model_version": "2",
    "model_fingerprint": "f" * 64,
    "class": "nsfw",
}
SCORES = NsfwScores(pd.DataFrame(), "open_nsfw", "nsfw", "f" * 64, 0, MADE)
A, B, C = "a" * 64, "b" * 64, "c" * 64


class Outputs:
    """Stands for what reads the values of a home."""

    def __init__(self, **values: Any) -> None:
        self.values = values

    def has_value(self, asset: str, _: str) -> bool:
        return asset in self.values

    def read(self, _: type, asset: str, __: str) -> Any:
        if self.values[asset] is None:
            raise UserError("damaged")
        return self.values[asset]


def occlusion(made=MADE) -> OcclusionMaps:
    rows = [
        {"image_id": A, "experiment": "seen", "frame": pd.NA, "read_score": 0.75},
        {"image_id": A, "experiment": "hidden", "frame": pd.NA, "read_score": 0.75},
        {"image_id": B, "experiment": "seen", "frame": 3, "read_score": 0.5},
    ]
    table = pd.DataFrame(rows).astype({"frame": "Int64"})
    ramp = np.linspace(0, 1, 600, dtype=np.float32).reshape(1, 600).repeat(300, 0)
    flat = np.full((300, 600), 0.25, np.float32)
    maps = {f"{A}/seen": ramp, f"{A}/hidden": flat, f"{B}/seen": ramp}
    return OcclusionMaps(table, pd.DataFrame(), maps, {}, {}, {}, {}, made)


def deconvnet(made=MADE) -> DeconvnetMaps:
    table = pd.DataFrame({"image_id": [A, B], "frame": pd.array([pd.NA, 1], "Int64")})
    image = np.zeros((30, 60, 3), np.float32)
    return DeconvnetMaps(table, pd.DataFrame(), {A: image, B: image}, {}, {}, made)


def test_maps_of_the_model_in_use_are_shown_with_its_name():
    outputs = Outputs(occlusion_maps=occlusion(), deconvnet_maps=deconvnet())
    found = explained_photos(outputs, "album", [A, B, C], SCORES)
    assert set(found) == {A, B}
    assert [one.kind for one in found[A].maps] == ["seen", "hidden", "deconvnet"]
    assert found[A].model == f"open_nsfw, version 2, fingerprint {'f' * 16}"
    seen, hidden, carried = found[A].maps
    assert "from 0.00 to 1.00" in seen.words
    picture = np.asarray(seen.draw(), int)
    assert picture.shape == (256, 512, 3)
    # Dark where the score is low, bright where it is high.
    assert picture[:, 0].sum() < 0.1 * picture[:, -1].sum()
    # White where covering changes nothing: at 1 - the score.
    assert (np.asarray(hidden.draw(), int) > 240).all()
    assert (np.asarray(carried.draw()) == 128).all()
    assert [one.shows_photo for one in found[A].maps] == [False, False, True]
    # The frame of the first asset, and no map of another frame.
    assert found[B].shown_id == f"{B}-3"
    assert [one.kind for one in found[B].maps] == ["seen"]
    assert explained_photos(outputs, "album", [C], SCORES) == {}


@pytest.mark.parametrize(
    "changed",
    [{"model_fingerprint": "0" * 64}, {"class": "cat"}],
)
def test_maps_of_another_model_or_class_are_not_shown(changed):
    outputs = Outputs(occlusion_maps=occlusion(MADE | changed))
    assert explained_photos(outputs, "album", [A, B], SCORES) == {}


def test_what_is_not_there_or_damaged_is_left_out():
    assert explained_photos(Outputs(), "album", [A], SCORES) == {}
    outputs = Outputs(occlusion_maps=None, deconvnet_maps=deconvnet({}))
    assert explained_photos(outputs, "album", [A], SCORES) == {}


def test_a_map_that_is_an_estimate_says_so():
    kept = occlusion()
    kept.table["estimated_error"] = [0.02, np.nan, np.nan]
    found = explained_photos(Outputs(occlusion_maps=kept), "album", [A], SCORES)
    seen, hidden = found[A].maps
    assert seen.words.endswith(" Estimated from a part of the windows.")
    assert "Estimated" not in hidden.words
