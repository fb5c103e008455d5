"""The settings of the assets, as Dagster's launchpad and the command line offer them."""

from typing import Any, Literal

import dagster as dg
from pydantic import Field

from assets.methods.attribution.deconvnet_maps import DeconvnetSettings
from assets.methods.attribution.heat_map import Colormap, HeatMapSettings, Scale
from assets.methods.attribution.occlusion import EXPERIMENTS, PRESETS, Experiment, OcclusionSettings
from assets.methods.attribution.windows import Fill
from assets.methods.evaluation.evaluate import EvaluationSettings
from assets.methods.layout.layout import LayoutSettings
from assets.methods.layout.mosaic import MosaicSettings
from assets.methods.layout.projection import ProjectionSettings
from assets.methods.models.backbones import DEFAULT_BACKBONE, backbone_fingerprint
from assets.methods.photos.catalogue import CatalogueSettings
from assets.methods.photos.decode import DecodeLimits
from assets.methods.photos.download import FetchLimits
from assets.methods.photos.labels import LabelSettings
from assets.methods.photos.splits import SplitFractions
from assets.methods.training.settings import (
    Augmentation,
    ClassWeights,
    TrainedPart,
    TrainingSettings,
)
from assets.resources.registry import CHAMPION_URI


class RawImagesConfig(dg.Config):
    """Which files count as photos, and how far a download may go."""

    manifest: str | None = Field(
        default=None, description="Read this manifest instead of the collection's source."
    )
    max_megabytes: float = Field(default=256, description="Larger files are rejected unread.")
    max_megapixels: float = Field(
        default=200, description="Larger pictures are rejected undecoded."
    )
    min_side: int = Field(
        default=8, description="Pictures with a shorter side, in pixels, are rejected."
    )
    near_distance: int = Field(
        default=4, ge=0, le=32, description="Bits of the perceptual hash two likenesses differ by."
    )
    download_seconds: float = Field(default=60, description="Time limit of one download.")
    download_retries: int = Field(default=3, description="Further tries of a failed download.")
    allow_private_addresses: bool = Field(
        default=False,
        description="Whether a manifest may name URLs on private and loopback addresses.",
    )

    def settings(self, workers: int | None = None) -> CatalogueSettings:
        """Return the settings as the method takes them, for so many ``workers``."""
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
        )


class EmbeddingsConfig(dg.Config):
    """The network that turns a photo into a vector."""

    backbone: str = Field(
        default="efficientnet-lite0",
        description="efficientnet-lite0, timm:NAME, torchvision:NAME, or a safetensors file.",
    )


class TsneConfig(dg.Config):
    """How the vectors are brought to the plane."""

    method: str = Field(default="tsne", description="tsne, largevis, umap or pca.")
    perplexity: float = Field(
        default=30, description="Neighbours that count; less for small collections."
    )
    pca_components: int = Field(default=50, description="Dimensions left before the projection.")
    seed: int = Field(default=0, description="Of the random numbers.")

    def settings(self) -> ProjectionSettings:
        """Return the settings as the method takes them."""
        return ProjectionSettings(**self.model_dump())


class GridConfig(dg.Config):
    """The grid, and how photos come to their cells."""

    shape: str = Field(
        default="auto", description="auto, COLUMNSxROWS (40x25) or an aspect ratio (16:9)."
    )
    certify: bool = Field(
        default=False, description="Prove a lower bound above 10,000 photos as well."
    )
    certify_seconds: float = Field(default=60, description="Time limit of that proof.")
    refine: bool = Field(True, description="Swap cells to bring similar photos side by side.")
    show_duplicates: bool = Field(
        default=False, description="Show every copy of a file, not one of each."
    )
    seed: int = Field(default=0, description="Of the refinement and of sampled figures.")

    def settings(self) -> LayoutSettings:
        """Return the settings as the method takes them."""
        return LayoutSettings(
            self.shape, self.certify, self.certify_seconds, self.refine, self.seed
        )


class MosaicConfig(dg.Config):
    """The picture."""

    tile: int = Field(default=96, description="Side of a tile, in pixels.")
    gap: int = Field(default=2, description="Pixels between tiles.")
    background: str = Field(default="#16181d", description="A colour: a name or #rrggbb.")
    fit: Literal["fill", "fit"] = Field(
        default="fill", description="fill: cut to the tile; fit: the whole photo inside it."
    )
    format: Literal["jpeg", "png"] = Field(default="jpeg", description="jpeg or png.")
    quality: int = Field(default=90, description="Of the JPEG, 1 to 95.")

    def settings(self) -> MosaicSettings:
        """Return the settings as the method takes them."""
        return MosaicSettings(**self.model_dump())


class NsfwScoresConfig(dg.Config):
    """Whose probability, by which classifier."""

    model: str = Field(
        default=CHAMPION_URI,
        description="models:/NAME@ALIAS, timm:NAME, torchvision:NAME, efficientnet-lite0, "
        "NAME.safetensors, python:MODULE:ATTRIBUTE, or the address of a service.",
    )
    class_name: str = Field(default="nsfw", description="One of the classifier's classes.")
    listed: int = Field(default=50, ge=1, description="Images in the list of the highest scores.")


class OcclusionMapsConfig(dg.Config):
    """Which images are looked into, how, and how the maps are drawn."""

    model: str | None = Field(default=None, description="That of nsfw_scores if not set.")
    class_name: str | None = Field(default=None, description="That of nsfw_scores if not set.")
    highest: int = Field(
        default=4, ge=1, description="So many of the highest scores; maps are kept in memory."
    )
    images: list[str] = Field(
        default=[], description="These instead, by image_id or uri: an explicit list."
    )
    experiment: Literal["seen", "hidden", "both"] = Field(
        default="both", description="seen: windows cut out; hidden: painted over; or both."
    )
    preset: Literal["quick", "figure"] = Field(
        default="quick", description="Box and stride: 64, 16 (quick) or 64, 3 (figure)."
    )
    box: int | None = Field(default=None, description="Side of a window in px, not the preset's.")
    stride: int | None = Field(default=None, description="From window to window in px.")
    fill: Fill = Field(default="black", description="What hidden windows are painted over with.")
    long_side: int = Field(default=1024, description="Larger images are scaled down to it, in px.")
    colormap: Colormap = Field(
        default="inferno", description="All but jet are perceptually uniform."
    )
    scale: Scale = Field(default="own", description="own: the map's range; fixed: 0 to 1.")
    opacity: float = Field(default=0.6, description="Of the map over the image, 0 to 1.")
    threshold: float = Field(
        default=0.5, description="Above it a window counts in share_above_threshold."
    )

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


class DeconvnetMapsConfig(dg.Config):
    """Which images are carried back to their pixels, from which activation."""

    model: str | None = Field(default=None, description="That of nsfw_scores if not set.")
    class_name: str | None = Field(default=None, description="That of nsfw_scores if not set.")
    highest: int = Field(default=4, ge=1, description="So many of the highest scores.")
    images: list[str] = Field(
        default=[], description="These instead, by image_id or uri: an explicit list."
    )
    layer: str | None = Field(
        default=None, description="A module's dotted name; the class's logit if not set."
    )
    place: list[int] | None = Field(
        default=None,
        description="Channel, row and column of an activation of the layer; the one that adds most "
        "to the class if not set.",
    )

    def settings(self) -> DeconvnetSettings:
        """Return the settings as the method takes them."""
        if self.place is None:
            return DeconvnetSettings(self.layer)
        # The method refuses other numbers than three.
        return DeconvnetSettings(self.layer, tuple(self.place))  # type: ignore[arg-type]


class LabelledImagesConfig(dg.Config):
    """The two classes of the manifest, and how its images are split."""

    negative: str = Field(default="sfw", description="The label of the negatives.")
    positive: str = Field(default="nsfw", description="The label of the positives.")
    train: float = Field(default=0.7, description="Share of the images where no split is given.")
    validation: float = Field(default=0.1, description="Likewise.")
    test: float = Field(default=0.2, description="Likewise; the three sum to 1.")

    def settings(self, near_distance: int) -> LabelSettings:
        """Return the settings as the method takes them, near-duplicates being the catalogue's."""
        fractions = SplitFractions(self.train, self.validation, self.test)
        return LabelSettings(self.negative, self.positive, fractions, near_distance)


class NsfwTrainingConfig(dg.Config):
    """What is trained, and how."""

    base: str = Field(
        default="open_nsfw",
        description="open_nsfw, efficientnet-lite0, timm:NAME, torchvision:NAME, plain_convnet or "
        "NAME.safetensors.",
    )
    pretrained: bool = Field(default=True, description="Start from its weights, not random ones.")
    trained: TrainedPart = Field(default="head", description="The head alone, or all of it.")
    input_side: int | None = Field(default=None, description="In px, if not the network's own.")
    epochs: int = Field(default=20, description="At most.")
    batch_size: int = Field(default=32, description="Images a step.")
    learning_rate: float | None = Field(default=None, description="The highest of the schedule.")
    weight_decay: float = Field(default=0.01, description="Of AdamW.")
    class_weights: ClassWeights = Field(default="balanced", description="balanced or none.")
    augmentation: Augmentation = Field(default="light", description="light or none.")
    patience: int = Field(
        default=5, description="Epochs without a lower validation loss; 0 for never stopping."
    )
    seed: int = Field(default=0, description="Of all that is random.")

    def settings(self) -> TrainingSettings:
        """Return the settings as the method takes them."""
        return TrainingSettings(**self.model_dump())


class NsfwEvaluationConfig(dg.Config):
    """Which models are compared, and what is asked of their scores."""

    models: list[str] = Field(
        default=[CHAMPION_URI], min_length=1, description="As in nsfw_scores; one or several."
    )
    split: Literal["test", "all"] = Field(
        default="test",
        description="test leaves train and validation out; all suits models that saw none of it.",
    )
    threshold: float = Field(default=0.5, description="Scores as high or higher are flagged.")
    wanted_recall: float = Field(default=0.95, description="That a threshold is looked for.")
    prevalence: float = Field(
        default=0.01, description="Share of positives where the model works, for its precision."
    )
    worst: int = Field(default=20, ge=1, le=50, description="Errors of each kind that are drawn.")
    sharp: bool = Field(default=False, description="Draw the errors as they are, not blurred.")
    seed: int = Field(default=0, description="Of the intervals that are drawn by lot.")

    def settings(self) -> EvaluationSettings:
        """Return the settings as the method takes them."""
        return EvaluationSettings(
            self.threshold, self.wanted_recall, self.prevalence, seed=self.seed
        )


def catalogue_settings(settings: dict[str, dict[str, Any]]) -> CatalogueSettings:
    """Return how the files of a collection with these settings, by asset, are read."""
    return RawImagesConfig(**settings.get("raw_images", {})).settings()


def check_settings(settings: dict[str, dict[str, Any]]) -> None:
    """Raise UserError for settings, by asset, that an asset would refuse hours into a run.

    Whether a grid given as COLUMNSxROWS is large enough shows only once the photos are counted.
    """
    backbone = EmbeddingsConfig(**settings.get("embeddings", {})).backbone
    if backbone != DEFAULT_BACKBONE:
        backbone_fingerprint(backbone)
    near_distance = catalogue_settings(settings).near_distance
    TsneConfig(**settings.get("tsne_2d", {})).settings()
    GridConfig(**settings.get("grid_assignment", {})).settings()
    MosaicConfig(**settings.get("mosaic", {})).settings()
    occlusion_maps = OcclusionMapsConfig(**settings.get("occlusion_maps", {}))
    occlusion_maps.occlusion()
    occlusion_maps.drawing()
    DeconvnetMapsConfig(**settings.get("deconvnet_maps", {})).settings()
    LabelledImagesConfig(**settings.get("labelled_images", {})).settings(near_distance)
    NsfwTrainingConfig(**settings.get("nsfw_training", {})).settings()
    NsfwEvaluationConfig(**settings.get("nsfw_evaluation", {})).settings()
