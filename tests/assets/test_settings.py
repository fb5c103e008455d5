import dagster as dg
import pytest
from pydantic import ValidationError

from assets.methods.cataloguing import CatalogueSettings
from assets.methods.errors import UserError
from assets.methods.heat_map import HeatMapSettings
from assets.methods.occlusion import OcclusionSettings
from assets.settings import (
    NsfwScoresConfig,
    OcclusionMapsConfig,
    catalogue_settings,
    check_settings,
)


@pytest.mark.parametrize(
    ("given", "box", "stride"),
    [
        ({}, 64, 16),
        ({"preset": "figure"}, 64, 3),
        ({"preset": "figure", "stride": 5}, 64, 5),
        ({"box": 32}, 32, 16),
        ({"box": 8, "stride": 8}, 8, 8),
    ],
)
def test_box_and_stride_are_the_presets_unless_they_are_given(given, box, stride):
    assert OcclusionMapsConfig(**given).occlusion() == OcclusionSettings(box, stride)


def test_the_other_settings_reach_the_methods():
    config = OcclusionMapsConfig(
        fill="blur", long_side=99, colormap="jet", scale="fixed", opacity=0.25
    )
    assert config.occlusion() == OcclusionSettings(64, 16, "blur", 99)
    assert config.drawing() == HeatMapSettings("jet", "fixed", 0.25)


@pytest.mark.parametrize(
    ("experiment", "experiments"),
    [("seen", ("seen",)), ("hidden", ("hidden",)), ("both", ("seen", "hidden"))],
)
def test_experiments_run_alone_or_both(experiment, experiments):
    assert OcclusionMapsConfig(experiment=experiment).experiments() == experiments


def test_the_registered_model_is_asked_for_nsfw_and_the_maps_are_of_what_was_asked():
    scores, maps = NsfwScoresConfig(), OcclusionMapsConfig()
    assert (scores.model, scores.class_name) == ("models:/nsfw@champion", "nsfw")
    assert (maps.model, maps.class_name) == (None, None)


@pytest.mark.parametrize("config", [NsfwScoresConfig, OcclusionMapsConfig])
def test_dagsters_launchpad_gets_the_defaults_as_they_are(config):
    """Dagster has a schema of its own, in which a default may be lost."""

    @dg.asset
    def asset(config: config) -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={"config": config.model_dump()})

    result = dg.materialize([asset])
    (materialization,) = result.asset_materializations_for_node("asset")
    assert materialization.metadata["config"].value == config().model_dump()


@pytest.mark.parametrize(
    "settings",
    [
        {"box": 8},
        {"stride": 65},
        {"box": 0},
        {"stride": 0},
        {"long_side": 0},
        {"opacity": 1.5},
    ],
)
def test_settings_that_occlusion_maps_would_refuse_are_refused_at_once(settings):
    with pytest.raises(UserError):
        check_settings({"occlusion_maps": settings})


def test_settings_that_fit_pass():
    check_settings({})
    check_settings({"occlusion_maps": {"preset": "figure", "box": 32, "opacity": 0}})


@pytest.mark.parametrize(
    "settings", [{"fill": "white"}, {"highest": 0}, {"experiment": "heard"}, {"preset": "slow"}]
)
def test_a_choice_that_there_is_not_is_refused(settings):
    with pytest.raises(ValidationError):
        OcclusionMapsConfig(**settings)


def test_originals_are_read_as_their_collection_was_catalogued():
    assert catalogue_settings({"mosaic": {"tile": 9}}) == CatalogueSettings()
    settings = catalogue_settings(
        {"raw_images": {"max_megapixels": 2, "min_side": 3, "allow_private_addresses": True}}
    )
    assert (settings.decode.max_pixels, settings.decode.min_side) == (2_000_000, 3)
    assert settings.fetch.allow_private_addresses
