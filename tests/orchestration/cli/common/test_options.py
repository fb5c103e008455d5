from pathlib import Path

import click
import pytest

from assets.config import (
    GridConfig,
    MosaicConfig,
    NsfwEvaluationConfig,
    RawImagesConfig,
    TsneConfig,
)
from assets.methods.common.errors import UserError
from assets.resources.compute import Compute
from orchestration.cli.common.options import (
    Options,
    check_output_file,
    check_output_folder,
    check_table_name,
    pass_options,
    path_or_name,
    path_or_url,
)
from orchestration.cli.main import cli


@pytest.fixture
def given(monkeypatch):
    """Returns a function that parses a call of a command: its options, and its other arguments."""

    def parse(name: str, *arguments: str) -> tuple[Options, dict]:
        kept = {}

        @pass_options
        def keep(options: Options, **others) -> None:
            kept.update(options=options, others=others)

        command = cli.get_command(click.Context(cli), name)
        monkeypatch.setattr(command, "callback", keep)
        cli.main([name, *arguments], standalone_mode=False)
        return kept["options"], kept["others"]

    return parse


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("map", ["photos"]),
        ("score", ["photos", "--out", "a.csv"]),
        ("train", ["labels.csv"]),
        ("evaluate", ["labels.csv", "--out", "a"]),
        ("explain", ["a.png", "--out", "a"]),
        ("deconv", ["a.png", "--out", "a"]),
    ],
)
def test_what_is_not_given_is_not_remembered(given, name, arguments):
    options, _ = given(name, *arguments)
    assert (options.given, options.settings) == ({}, {})
    assert options.config(GridConfig) == GridConfig()
    assert options.compute() == Compute()
    assert not options.strict_tracking
    assert not options.debug


def test_what_is_given_reaches_the_asset_under_the_name_of_its_setting(given):
    options, others = given(
        "map", "photos", "--name", "birds", "--projection", "pca", "--perplexity", "9", "--grid",
        "4x1", "--no-refine", "--certify", "--seed", "0", "--tile", "20", "--threads", "2",
        "--precision", "bfloat16",
    )  # fmt: skip
    assert options.settings == {
        "tsne_2d": {"method": "pca", "perplexity": 9.0, "seed": 0},
        "grid_assignment": {"shape": "4x1", "refine": False, "certify": True, "seed": 0},
        "mosaic": {"tile": 20},
    }
    assert options.config(MosaicConfig).tile == 20
    assert options.compute() == Compute(threads=2, precision="bfloat16")
    assert others == {"source": "photos", "name": "birds", "follow_links": None, "out": None}


def test_the_limit_of_pixels_reaches_what_reads_photos(given):
    options, _ = given("map", "photos", "--max-megapixels", "300")
    assert options.settings == {"raw_images": {"max_megapixels": 300.0}}
    assert options.config(RawImagesConfig).settings().decode.max_pixels == 300_000_000
    options, _ = given("explain", "photo.jpg", "--out", "a", "--max-megapixels", "0.5")
    assert options.given == {RawImagesConfig: {"max_megapixels": 0.5}}
    with pytest.raises(click.BadParameter):
        given("map", "photos", "--max-megapixels", "0")


def test_a_default_that_somebody_gives_is_remembered_as_given(given):
    options, _ = given("map", "photos", "--tile", str(MosaicConfig().tile), "--refine")
    assert options.settings == {"mosaic": {"tile": 96}, "grid_assignment": {"refine": True}}


def test_several_models_are_a_list_and_files_whole_paths(given, tmp_path, monkeypatch):
    (tmp_path / "net.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    models = ["--model", "skin-baseline", "--model", "net.safetensors"]
    options, _ = given("evaluate", "labels.csv", "--out", "a", *models, "--recall", "0.9")
    assert options.settings == {
        "nsfw_evaluation": {
            "models": ["skin-baseline", str(tmp_path / "net.safetensors")],
            "wanted_recall": 0.9,
        }
    }


def test_training_takes_its_batch_size_and_where_it_starts(given):
    options, _ = given(
        "train", "labels.csv", "--batch-size", "8", "--from-scratch", "--train", "all"
    )
    assert options.settings == {
        "nsfw_training": {"batch_size": 8, "pretrained": False, "trained": "all"}
    }
    assert options.compute() == Compute()


def test_a_place_is_three_numbers(given):
    options, _ = given("deconv", "a.png", "--out", "a", "--layer", "x", "--place", "3", "0", "2")
    assert options.settings == {"deconvnet_maps": {"layer": "x", "place": [3, 0, 2]}}


def test_tracking_may_be_strict(given):
    options, _ = given("score", "photos", "--out", "a.csv", "--strict-tracking")
    assert options.strict_tracking
    assert options.settings == {}


@pytest.mark.parametrize(
    "arguments",
    [["--worst", "51"], ["--worst", "0"], ["--split", "train"], ["--threads", "0"]],
)
def test_a_value_out_of_range_is_a_mistake_in_the_call(given, arguments):
    with pytest.raises(click.BadParameter):
        given("evaluate", "labels.csv", "--out", "a", *arguments)


@pytest.mark.parametrize("threshold", ["-0.1", "1.1", "nan", "high"])
def test_a_threshold_lies_between_0_and_1(given, threshold):
    with pytest.raises(click.BadParameter):
        given("score", "photos", "--out", "a.csv", "--threshold", threshold)
    options, _ = given("score", "photos", "--out", "a.csv", "--threshold", "0")
    assert options.settings == {"nsfw_scores": {"threshold": 0.0}}


@pytest.mark.parametrize("name", ["a.csv", "a.b.JSON", "x/a.Parquet"])
def test_a_table_is_named_by_its_format(name):
    check_table_name(Path(name))


@pytest.mark.parametrize("name", ["a", "a.xlsx", "a.csv.gz", "a.tsv", ".csv"])
def test_another_ending_is_refused(name):
    with pytest.raises(UserError, match=r"has to end in \.csv, \.parquet or \.json"):
        check_table_name(Path(name))


@pytest.mark.parametrize("name", ["metrics.csv", "mosaic.PNG", "scores.json", "index.html"])
def test_a_folder_is_not_named_like_a_file_that_would_be_in_it(tmp_path, name):
    out = tmp_path / name
    with pytest.raises(UserError, match=r"--out .* named like a file, .* such as .*/[a-z]+\.$"):
        check_output_folder(out)
    assert not out.exists()
    out.mkdir()
    check_output_folder(out)
    check_output_folder(tmp_path / "v1.2")


def test_a_table_replaces_no_photo(tmp_path):
    photos = [tmp_path / name for name in ("a.png", "b.csv")]
    for photo in photos:
        photo.touch()
    check_output_file(tmp_path / "c.csv", [str(photo) for photo in photos])
    with pytest.raises(UserError, match=r"b\.csv, which is read only"):
        check_output_file(tmp_path / "b.csv", [str(photo) for photo in photos])


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    def refuse(device: str) -> str:
        raise UserError("There is no such device.")

    monkeypatch.setattr("orchestration.cli.common.options.choose_device", refuse)
    with pytest.raises(UserError):
        Options({Compute: {"device": "cuda"}}, debug=False).compute()
    assert Options({}, debug=False).compute().device == "auto"


def test_help_default_and_choices_are_those_of_the_field():
    command = cli.get_command(click.Context(cli), "evaluate")
    options = {option.name: option for option in command.params}
    for name in ("models", "split", "threshold", "wanted_recall", "worst"):
        field = NsfwEvaluationConfig.model_fields[name]
        assert options[name].help == field.description
        assert options[name].default == field.default
    assert tuple(options["split"].type.choices) == ("test", "all")
    assert (options["worst"].type.min, options["worst"].type.max) == (1, 50)


def test_a_seed_is_of_all_that_is_random_in_a_map(given):
    options, _ = given("map", "photos", "--seed", "7")
    assert {options.config(kind).seed for kind in (TsneConfig, GridConfig)} == {7}


def test_paths_become_whole_and_names_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "a.csv").touch()
    assert path_or_url("photos") == str(tmp_path / "photos")
    assert path_or_url("s3://bucket/photos") == "s3://bucket/photos"
    assert path_or_name("a.csv") == str(tmp_path / "a.csv")
    # A folder may be called as a network is.
    assert path_or_name("photos") == "photos"
