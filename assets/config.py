"""The config of each asset: its fields, defaults and descriptions.

Dagster's launchpad shows them, and the options of the command line are made from them.
"""

import json
from dataclasses import asdict
from typing import Any, Literal, TypeVar

import dagster as dg
from pydantic import ConfigDict, Field

from assets.methods.attribution.deconvnet_maps import DeconvnetSettings
from assets.methods.attribution.heat_map import Colormap, HeatMapSettings, Scale
from assets.methods.attribution.occlusion import EXPERIMENTS, PRESETS, Experiment, OcclusionSettings
from assets.methods.attribution.windows import Fill
from assets.methods.common.errors import UserError
from assets.methods.evaluation.evaluate import EvaluationSettings
from assets.methods.layout.assignment.assignment import Solver
from assets.methods.layout.assignment.dense_assignment import Cost
from assets.methods.layout.layout import LayoutSettings
from assets.methods.layout.mosaic import MosaicSettings
from assets.methods.layout.projection.projection import ProjectionSettings
from assets.methods.layout.staying.last_map import StaySettings
from assets.methods.models.backbones import DEFAULT_BACKBONE, backbone_fingerprint
from assets.methods.page.page import PageSettings
from assets.methods.photos.animation import DEFAULT_FRAMES, parse_frames
from assets.methods.photos.catalogue import CatalogueSettings
from assets.methods.photos.download import FetchLimits
from assets.methods.photos.labels import LabelSettings
from assets.methods.photos.opened_file import DecodeLimits
from assets.methods.photos.splits import SplitFractions
from assets.methods.plotting.blurring import BLUR_ABOVE
from assets.methods.training.settings import (
    Augmentation,
    ClassWeights,
    TrainedPart,
    TrainingSettings,
)
from assets.resources.registry import CHAMPION_URI


class _Config(dg.Config):
    """A config whose fields are described by the text below them."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class RawImagesConfig(_Config):
    """Which files are read as photos, and what limits downloads have."""

    manifest: str | None = None
    """CSV or Parquet file to read instead of the collection's source. A path that begins with
    inputs/ is one below the home."""
    max_megabytes: float = 256
    """Largest size of a file in megabytes. Larger files are rejected without being read."""
    max_megapixels: float = 200
    """Largest size of an image in millions of pixels. Larger images are rejected without being
    decoded. Images are decoded anew after a change."""
    min_side: int = 8
    """Smallest length of an image's shorter side in pixels. Smaller images are rejected."""
    near_distance: int = Field(default=4, ge=0, le=32)
    """Largest number of bits, out of 64, in which the perceptual hashes of two near-duplicates
    differ."""
    download_seconds: float = 60
    """Time limit of one download in seconds."""
    download_retries: int = 3
    """Number of further attempts after a download has failed."""
    frames: str = str(DEFAULT_FRAMES)
    """Number of frames of an animation that are scored, spread over its whole length, or all."""
    allow_private_addresses: bool = False
    """Allow downloads from private and loopback addresses, such as http://192.168.0.5/."""
    only: str | None = None
    """CSV or Parquet file with a column image_id, such as a selection that was saved on the page of
    a map. Other photos of the source are left out."""

    def settings(self, workers: int | None = None, follow_links: bool = False) -> CatalogueSettings:
        """Return the settings as the method takes them, for so many ``workers``.

        ``follow_links`` is the collection's.
        """
        return CatalogueSettings(
            DecodeLimits(max_pixels=int(self.max_megapixels * 1e6), min_side=self.min_side),
            FetchLimits(
                max_bytes=int(self.max_megabytes * 2**20),
                timeout_seconds=self.download_seconds,
                retries=self.download_retries,
                allow_private_addresses=self.allow_private_addresses,
            ),
            self.near_distance,
            workers,
            follow_links,
            parse_frames(self.frames),
            self.only,
        )


class EmbeddingsConfig(_Config):
    """The network that turns each photo into a vector."""

    backbone: str = "efficientnet-lite0"
    """Network that turns each photo into a vector: efficientnet-lite0, timm:NAME such as
    timm:resnet50, torchvision:NAME, or the path of a safetensors file. pixels is no network: the
    vector is the photo at 16 x 16 pixels, for comparison."""


class StayConfig(_Config):
    """Whether a map starts from the collection's last one."""

    stay: bool = True
    """Start from the last map of the collection, so that photos stay where they were."""
    fresh: bool = False
    """Make the map anew in this run, as if it were the first one."""
    from_map: int | None = None
    """Number of a kept map of the collection to start from in this run, instead of the last one."""
    apart: bool = False
    """Show some of the photos in this run, without starting from the collection's map or becoming
    it."""
    most_change: float = 0.15
    """Share of photos that came or went above which the map is made anew, from 0 to 1."""

    def stay_settings(self) -> StaySettings:
        """Return the settings as the method takes them."""
        return StaySettings(most_change=self.most_change)


class TsneConfig(StayConfig):
    """How the vectors are projected to the plane."""

    method: str = "tsne"
    """Method of the projection: tsne, largevis, umap, pca, drlim or triplet. The last two train a
    network once, which then places new photos without training."""
    perplexity: float = 30
    """Number of neighbours that each photo is drawn to. Small collections use a smaller number."""
    pca_components: int = 50
    """Number of principal components that the projection starts from."""
    seed: int = 0
    """Random seed."""
    retrain_above: float = Field(default=0.2, ge=0, le=1)
    """Share of the photos, from 0 to 1, that the network of drlim or triplet may place without
    having seen them. Above, it is trained anew."""

    def settings(self) -> ProjectionSettings:
        """Return the settings as the method takes them; ``retrain_above`` is none of them."""
        others = {*StayConfig.model_fields, "retrain_above"}
        return ProjectionSettings(**self.model_dump(exclude=others))

    def as_text(self) -> str:
        """Return the settings that decide where points lie, as a text to compare."""
        return json.dumps(asdict(self.settings()), sort_keys=True)


class GridConfig(StayConfig):
    """The shape of the grid, and how each photo gets its cell."""

    shape: str = "auto"
    """Shape of the grid: auto for a nearly square one, COLUMNSxROWS such as 40x25, or an aspect
    ratio such as 16:9."""
    certify: bool = False
    """Prove how close the assignment is to the best one, as is always done up to 10,000 photos."""
    certify_seconds: float = 60
    """Time limit of this proof in seconds."""
    solver: Solver = "auto"
    """Method of the assignment. auto is the fastest that proves its result: jonker-volgenant on up
    to 2,048 cells. hungarian is the textbook method, optimal-transport a network simplex, and
    sinkhorn is approximate. docs/assignment.md compares them."""
    cost: Cost = "squared"
    """What is minimised: the sum of the squared distances from points to cells, or of the distances
    themselves."""
    refine: bool = True
    """Swap photos after the assignment, so that similar photos lie side by side."""
    show_duplicates: bool = False
    """Show every copy of a file instead of one."""
    seed: int = 0
    """Random seed."""
    max_move: int = 2
    """Rows and columns that a photo of the last map may be moved from its cell by a swap."""
    move_price: float = 0.04
    """Price of moving a photo of the last map: higher numbers keep more photos in their cells and
    put fewer beside their like."""
    least_quality: float = 0.9
    """Share of the DPQ16 of a map made anew below which the map is made anew, from 0 to 1."""

    def settings(self) -> LayoutSettings:
        """Return the settings as the method takes them."""
        return LayoutSettings(
            self.shape,
            self.certify,
            self.certify_seconds,
            self.refine,
            self.seed,
            self.solver,
            self.cost,
        )

    def stay_settings(self) -> StaySettings:
        """Return the settings of a map that stays as the method takes them."""
        return StaySettings(self.max_move, self.move_price, self.most_change, self.least_quality)

    def as_text(self) -> str:
        """Return the settings that decide where a first map puts photos, as a text to compare."""
        deciding = {"shape", "refine", "seed", "solver", "cost"}
        return json.dumps(self.model_dump(include=deciding), sort_keys=True)


class MosaicConfig(_Config):
    """How the mosaic is drawn."""

    tile: int = 96
    """Side of a tile in pixels."""
    gap: int = 2
    """Gap between tiles in pixels."""
    background: str = "#16181d"
    """Colour between the tiles: a name such as white, or #rrggbb."""
    fit: Literal["fill", "fit"] = "fill"
    """How a photo is put into its tile: fill cuts it to the tile, fit shows the whole photo."""
    format: Literal["jpeg", "png"] = "jpeg"
    """File format of the mosaic."""
    quality: int = 90
    """Quality of the JPEG file, from 1 to 95."""
    page: bool = True
    """Make a page of the map too, which any browser opens."""
    blur_above: float = Field(default=BLUR_ABOVE, ge=0, le=1)
    """Score above which all that is drawn of the collection shows a photo grey and blurred, if it
    was scored. 1 blurs none."""
    clear_photos: bool = True
    """Let the page show a blurred photo as it is when somebody asks for it."""
    landmarks: bool = True
    """Let the page name groups of like photos, with a photo for each, as a map names places."""
    scores_of: str | None = None
    """Collection whose scores the page shows, and blurs by, if this one was not scored."""
    kept_maps: int = Field(default=10, ge=0)
    """Number of maps of the collection that are kept, so that a run can start from an earlier
    one."""

    def settings(self) -> MosaicSettings:
        """Return the settings of the mosaic as the method takes them."""
        others = {"page", "blur_above", "clear_photos", "landmarks", "scores_of", "kept_maps"}
        return MosaicSettings(**self.model_dump(exclude=others))

    def page_settings(self, blur_above: float | None) -> PageSettings:
        """Return the settings of the page as the method takes them; None blurs no photo."""
        return PageSettings(blur_above, self.clear_photos, self.landmarks)


class NsfwScoresConfig(_Config):
    """The classifier, and the class whose probability is the score."""

    model: str = CHAMPION_URI
    """Classifier: a registered version such as models:/nsfw@champion or models:/nsfw/2;
    open_nsfw, skin-baseline, efficientnet-lite0, timm:NAME or torchvision:NAME; the path of a
    safetensors file; python:MODULE:ATTRIBUTE; or the URL of a service, whose key is read from
    the environment variable TESSERA_CLASSIFIER_KEY."""
    class_name: str = "nsfw"
    """Name of the class whose probability is wanted."""
    threshold: float = Field(default=0.5, ge=0, le=1)
    """Lowest score with which an image is flagged, from 0 to 1."""
    listed: int = Field(default=50, ge=1)
    """Number of images in the list of the highest scores."""


class ExaminedImagesConfig(_Config):
    """Which images are examined, by which classifier and for which class."""

    model: str | None = None
    """Classifier, named as for nsfw_scores. Without it, the classifier of nsfw_scores."""
    class_name: str | None = None
    """Class that is examined. Without it, the class of nsfw_scores."""
    highest: int = Field(default=4, ge=1)
    """Number of images to examine, those with the highest scores. Their maps are kept in memory."""
    images: list[str] = Field(default=[])
    """Images to examine instead of those with the highest scores, by image_id or uri."""


class OcclusionMapsConfig(ExaminedImagesConfig):
    """Which images are examined by occlusion, how, and how the maps are drawn."""

    experiment: Literal["seen", "hidden", "both"] = "both"
    """Experiments to run: seen scores windows that are cut out of the image, hidden scores the
    image with a window painted over, both runs the two."""
    preset: Literal["quick", "figure"] = "quick"
    """Size and distance of the windows: quick is windows of 64 pixels every 16 pixels, figure
    is every 3 pixels and about 28 times as many windows."""
    box: int | None = None
    """Side of a window in pixels, instead of the preset's."""
    stride: int | None = None
    """Distance from one window to the next in pixels, instead of the preset's."""
    tolerance: float | None = Field(default=None, ge=0, le=1)
    """Estimated mean error below which a map is finished, as a share of the map's range from its
    lowest to its highest value, such as 0.02. Without it, all windows are scored, and the map is
    exact."""
    fill: Fill = "black"
    """What hidden windows are painted over with: black, the mean colour of the image, or the
    blurred image."""
    long_side: int | None = None
    """Longest side in pixels to which the original is scaled down, to put the windows on it.
    Without it, windows lie on the working copy, the pixels that are scored."""
    colormap: Colormap = "inferno"
    """Colours of the map of seen. In all but jet, equal differences look equal. That of hidden is
    red where covering lowers the score, blue where it raises it and white where it does not."""
    scale: Scale = "own"
    """Range of the colours: own is from the lowest to the highest value of the map of seen, and
    the largest change on the map of hidden. fixed is from 0 to 1, and a change of 1, which makes
    images comparable."""
    opacity: float = 0.6
    """Opacity of the map over the image, from 0 to 1."""
    threshold: float = 0.5
    """Value above which a window counts for the metric share_above_threshold."""

    def occlusion(self) -> OcclusionSettings:
        """Return the settings of the experiments as the method takes them."""
        box, stride = PRESETS[self.preset]
        box = box if self.box is None else self.box
        stride = stride if self.stride is None else self.stride
        return OcclusionSettings(box, stride, self.fill, self.long_side)

    def experiments(self) -> tuple[Experiment, ...]:
        """Return the experiments to run."""
        return EXPERIMENTS if self.experiment == "both" else (self.experiment,)

    def drawing(self) -> HeatMapSettings:
        """Return the settings of the pictures as the method takes them."""
        return HeatMapSettings(self.colormap, self.scale, self.opacity)


class DeconvnetMapsConfig(ExaminedImagesConfig):
    """Which images a deconvnet carries back to their pixels, and from which activation."""

    layer: str | None = None
    """Layer to start from, such as relu_stage3_block2. Without it, the start is the class."""
    place: list[int] | None = None
    """Channel, row and column of the layer to start from. Without them, the start is the place
    that adds most to the class."""

    def settings(self) -> DeconvnetSettings:
        """Return the settings as the method takes them."""
        if self.place is None:
            return DeconvnetSettings(self.layer)
        # The method refuses other numbers than three.
        return DeconvnetSettings(self.layer, tuple(self.place))  # type: ignore[arg-type]


class LabelledImagesConfig(_Config):
    """The two labels, and how the labelled images are split."""

    negative: str = "sfw"
    """Label of the negative images."""
    positive: str = "nsfw"
    """Label of the positive images, which the model has to find."""
    train: float = 0.7
    """Share of the images for training, where the manifest names no split."""
    validation: float = 0.1
    """Share of the images for validation, where the manifest names no split. Where images are
    given to train and none to validation, a part of them becomes validation by this share."""
    test: float = 0.2
    """Share of the images for testing, where the manifest names no split. The three shares sum
    to 1."""
    corrections: list[str] = Field(default=[])
    """CSV or Parquet file with columns image_id and label, such as a selection that was saved on
    the page of a map. Its labels replace those of the source; of several files the last counts."""

    def settings(self, near_distance: int) -> LabelSettings:
        """Return the settings as the method takes them, near-duplicates being the catalogue's."""
        fractions = SplitFractions(self.train, self.validation, self.test)
        return LabelSettings(self.negative, self.positive, fractions, near_distance)


class NsfwTrainingConfig(_Config):
    """The network to train, and how."""

    base: str = "open_nsfw"
    """Network to start from: open_nsfw, efficientnet-lite0, plain_convnet, timm:NAME,
    torchvision:NAME, or the path of a safetensors file."""
    pretrained: bool = True
    """Start from trained weights instead of random ones."""
    trained: TrainedPart = "head"
    """Layers to train: head is the last layer alone, all is the whole network."""
    input_side: int | None = None
    """Side of the squares that the network reads in pixels. Without it, the network's own."""
    epochs: int = 20
    """Largest number of passes over the training images."""
    batch_size: int = 32
    """Number of images in a training step."""
    learning_rate: float | None = None
    """Highest learning rate of the schedule. Without it, 0.0001 for a whole network with
    trained weights, and 0.001 otherwise."""
    weight_decay: float = 0.01
    """Weight decay of the optimizer AdamW."""
    class_weights: ClassWeights = "balanced"
    """Weights in the loss: balanced gives both classes the same weight, none gives it to all
    images."""
    augmentation: Augmentation = "light"
    """Random changes of the training images: light mirrors half of them and, if the whole
    network is trained, also crops them and changes brightness and contrast."""
    patience: int = 5
    """Number of epochs without a lower validation loss after which the training stops. 0 never
    stops it early."""
    seed: int = 0
    """Random seed."""

    def settings(self) -> TrainingSettings:
        """Return the settings as the method takes them."""
        return TrainingSettings(**self.model_dump())


class NsfwEvaluationConfig(_Config):
    """The classifiers to compare, and how their scores are judged."""

    models: list[str] = Field(default=[CHAMPION_URI], min_length=1)
    """Classifiers to evaluate and to compare, each named as for nsfw_scores (tessera score)."""
    classes: dict[str, list[str]] = Field(default={})
    """By classifier, the classes that stand for the positive label, where it has no class of that
    name. The probabilities of several classes add up."""
    split: Literal["test", "all"] = "test"
    """Images to evaluate on: test is the test split; all is every image, which is fair only for
    classifiers that were trained on none of them."""
    threshold: float = 0.5
    """Lowest score that counts as positive."""
    wanted_recall: float = 0.95
    """Recall for which a threshold is looked for."""
    prevalence: float = 0.01
    """Share of positives where the classifier will be used. Precision is also given for it."""
    worst: int = Field(default=20, ge=1, le=50)
    """Number of errors of each kind to draw, the worst ones."""
    sharp: bool = False
    """Draw the errors sharp instead of blurred, but for photos with a score above the limit of the
    collection."""
    seed: int = 0
    """Random seed of the confidence intervals."""

    def settings(self) -> EvaluationSettings:
        """Return the settings as the method takes them.

        Raises UserError also for classes of a classifier that is not evaluated.
        """
        unknown = [name for name in self.classes if name not in self.models]
        if unknown:
            raise UserError(
                f"Classes are given for {unknown[0]}, which is not evaluated: the classifiers are "
                f"{', '.join(self.models)}."
            )
        return EvaluationSettings(
            self.threshold, self.wanted_recall, self.prevalence, seed=self.seed
        )


ASSETS: dict[type[dg.Config], str] = {
    RawImagesConfig: "raw_images",
    EmbeddingsConfig: "embeddings",
    TsneConfig: "tsne_2d",
    GridConfig: "grid_assignment",
    MosaicConfig: "mosaic",
    NsfwScoresConfig: "nsfw_scores",
    OcclusionMapsConfig: "occlusion_maps",
    DeconvnetMapsConfig: "deconvnet_maps",
    LabelledImagesConfig: "labelled_images",
    NsfwTrainingConfig: "nsfw_training",
    NsfwEvaluationConfig: "nsfw_evaluation",
}
AnyConfig = TypeVar("AnyConfig", bound=dg.Config)


def config_of(kind: type[AnyConfig], settings: dict[str, dict[str, Any]]) -> AnyConfig:
    """Return the config of one asset from settings by asset; the rest has its default."""
    return kind(**settings.get(ASSETS[kind], {}))


def catalogue_settings(settings: dict[str, dict[str, Any]]) -> CatalogueSettings:
    """Return how the files of a collection with these settings, by asset, are read."""
    return config_of(RawImagesConfig, settings).settings()


def check_settings(settings: dict[str, dict[str, Any]]) -> None:
    """Raise UserError for settings, by asset, that an asset would refuse hours into a run.

    Whether a grid given as COLUMNSxROWS is large enough shows only once the photos are counted.
    """
    near_distance = catalogue_settings(settings).near_distance
    for kind in (kind for kind, asset in ASSETS.items() if asset in settings):
        match config_of(kind, settings):
            case EmbeddingsConfig(backbone=backbone) if backbone != DEFAULT_BACKBONE:
                backbone_fingerprint(backbone)
            case LabelledImagesConfig() as config:
                config.settings(near_distance)
            case OcclusionMapsConfig() as config:
                config.occlusion()
                config.drawing()
            case (
                TsneConfig()
                | GridConfig()
                | MosaicConfig()
                | DeconvnetMapsConfig()
                | NsfwTrainingConfig()
                | NsfwEvaluationConfig()
            ) as config:
                config.settings()
