import dagster as dg
import pytest
from pydantic import ValidationError

from assets.config import (
    ASSETS,
    DeconvnetMapsConfig,
    LabelledImagesConfig,
    NsfwEvaluationConfig,
    NsfwScoresConfig,
    NsfwTrainingConfig,
    OcclusionMapsConfig,
    catalogue_settings,
    check_settings,
    config_of,
)
from assets.methods.attribution.deconvnet_maps import DeconvnetSettings
from assets.methods.attribution.heat_map import HeatMapSettings
from assets.methods.attribution.occlusion import OcclusionSettings
from assets.methods.common.errors import UserError
from assets.methods.evaluation.evaluate import EvaluationSettings
from assets.methods.photos.catalogue import CatalogueSettings
from assets.methods.photos.labels import LabelSettings
from assets.methods.photos.splits import SplitFractions
from assets.methods.training.settings import TrainingSettings
from support.whole_phrases import fragments_of


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


@pytest.mark.parametrize(
    "config",
    [
        NsfwScoresConfig,
        OcclusionMapsConfig,
        DeconvnetMapsConfig,
        LabelledImagesConfig,
        NsfwTrainingConfig,
        NsfwEvaluationConfig,
    ],
)
def test_dagsters_launchpad_gets_the_defaults_as_they_are(config):
    """Dagster has a schema of its own, in which a default may be lost."""

    @dg.asset
    def asset(config: config) -> dg.MaterializeResult:  # type: ignore[valid-type]
        values = config.model_dump()  # type: ignore[attr-defined]
        return dg.MaterializeResult(metadata={"config": values})

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


def test_the_defaults_are_those_of_the_methods():
    assert DeconvnetMapsConfig().settings() == DeconvnetSettings()
    assert LabelledImagesConfig().settings(4) == LabelSettings()
    assert NsfwTrainingConfig().settings() == TrainingSettings()
    assert NsfwEvaluationConfig().settings() == EvaluationSettings()


def test_a_deconvnet_starts_from_the_layer_and_the_place_that_are_given():
    assert DeconvnetMapsConfig(layer="conv_1").settings() == DeconvnetSettings("conv_1")
    placed = DeconvnetMapsConfig(layer="conv_1", place=[3, 0, 2]).settings()
    assert placed == DeconvnetSettings("conv_1", (3, 0, 2))
    config = DeconvnetMapsConfig()
    assert (config.model, config.class_name, config.highest) == (None, None, 4)


def test_labels_get_their_classes_and_shares_and_near_duplicates_are_the_catalogues():
    config = LabelledImagesConfig(
        negative="dressed", positive="bare", train=0.5, validation=0.2, test=0.3
    )
    expected = LabelSettings("dressed", "bare", SplitFractions(0.5, 0.2, 0.3), near_distance=7)
    assert config.settings(7) == expected


def test_a_training_is_what_was_asked_for():
    asked = {
        "base": "plain_convnet",
        "pretrained": False,
        "trained": "all",
        "input_side": 64,
        "epochs": 3,
        "batch_size": 8,
        "learning_rate": 0.01,
        "weight_decay": 0.1,
        "class_weights": "none",
        "augmentation": "none",
        "patience": 2,
        "seed": 9,
    }
    # No setting is forgotten.
    assert asked.keys() == NsfwTrainingConfig.model_fields.keys()
    assert NsfwTrainingConfig(**asked).settings() == TrainingSettings(**asked)


def test_an_evaluation_is_what_was_asked_for():
    config = NsfwEvaluationConfig(
        models=["skin-baseline"], threshold=0.25, wanted_recall=0.8, prevalence=0.001, seed=3
    )
    expected = EvaluationSettings(
        threshold=0.25, wanted_recall=0.8, prevalence=0.001, confidence=0.95, bins=15, seed=3
    )
    assert config.settings() == expected


def test_the_registered_model_is_evaluated_on_the_test_split_unless_somebody_asks():
    config = NsfwEvaluationConfig()
    assert (config.models, config.split) == (["models:/nsfw@champion"], "test")
    assert not config.sharp


@pytest.mark.parametrize(
    ("asset", "settings"),
    [
        ("deconvnet_maps", {"place": [0, 0, 0]}),
        ("deconvnet_maps", {"layer": "conv_1", "place": [0, 0]}),
        ("deconvnet_maps", {"layer": "conv_1", "place": []}),
        ("deconvnet_maps", {"layer": "conv_1", "place": [0, -1, 0]}),
        ("labelled_images", {"positive": "SFW "}),
        ("labelled_images", {"negative": ""}),
        ("labelled_images", {"train": 0.9}),
        ("labelled_images", {"train": 1.1, "validation": -0.1, "test": 0.0}),
        ("nsfw_training", {"epochs": 0}),
        ("nsfw_training", {"batch_size": 3}),
        ("nsfw_training", {"learning_rate": 0.0}),
        ("nsfw_training", {"weight_decay": -1.0}),
        ("nsfw_training", {"pretrained": False}),
        ("nsfw_evaluation", {"threshold": 1.5}),
        ("nsfw_evaluation", {"wanted_recall": 1.0}),
        ("nsfw_evaluation", {"prevalence": 0.0}),
        ("nsfw_evaluation", {"seed": -1}),
    ],
)
def test_settings_of_labels_training_and_evaluation_are_refused_at_once_too(asset, settings):
    with pytest.raises(UserError) as caught:
        check_settings({asset: settings})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (DeconvnetMapsConfig, {"highest": 0}),
        (NsfwTrainingConfig, {"trained": "tail"}),
        (NsfwTrainingConfig, {"augmentation": "heavy"}),
        (NsfwTrainingConfig, {"class_weights": "equal"}),
        (NsfwEvaluationConfig, {"models": []}),
        (NsfwEvaluationConfig, {"split": "train"}),
        (NsfwEvaluationConfig, {"worst": 0}),
        (NsfwEvaluationConfig, {"worst": 51}),
    ],
)
def test_a_choice_of_theirs_that_there_is_not_is_refused(config, settings):
    with pytest.raises(ValidationError):
        config(**settings)


def test_every_field_is_described_by_whole_phrases_in_the_launchpad_too():
    for config in ASSETS:
        assert config.__doc__
        shape = config.to_config_schema().as_field().config_type
        assert isinstance(shape, dg.Shape)
        launchpad = shape.fields
        for name, field in config.model_fields.items():
            assert launchpad[name].description == field.description
            assert not fragments_of(field.description or ""), (config, name, field.description)


def test_the_config_of_an_asset_is_made_of_its_own_settings():
    settings = {"mosaic": {"tile": 9}, "nsfw_scores": {"model": "skin-baseline"}}
    assert config_of(NsfwScoresConfig, settings).model == "skin-baseline"
    assert config_of(NsfwTrainingConfig, settings) == NsfwTrainingConfig()
