"""The settings of a training: they decide the weights, beside the photos and their labels."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from assets.methods.common.errors import UserError
from assets.methods.models.architectures import PLAIN_CONVNET
from assets.methods.models.classifier_file import LARGEST_SIDE, OPEN_NSFW

TrainedPart = Literal["head", "all"]
ClassWeights = Literal["balanced", "none"]
Augmentation = Literal["light", "none"]


@dataclass(frozen=True)
class TrainingSettings:
    """The settings of a training.

    Attributes:
        base: the network to start from, by a name in the table of ``starting_network``.
        pretrained: False starts from random weights, and downloads nothing.
        trained: "all", or only the "head", the last linear layer. All other layers then stay as
            they are, batch norm included.
        input_side: side of the squares that the network reads, in px, at most 4096; None keeps the
            network's own preprocessing.
        epochs: the largest number of passes over the training images.
        batch_size: the largest number of images in a step; at least 4, so that batch norm never
            reads a single image.
        learning_rate: the highest of the schedule (``loop.learning_rate_at``). None chooses 1e-4
            for a whole pretrained network, and 1e-3 otherwise.
        weight_decay: of AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization",
            2019), for weights and not for biases and norms.
        class_weights: "balanced" gives both classes the same total weight in the loss, "none" gives
            all images the same weight.
        augmentation: "light" is ``augment_lightly``, or mirroring half of the images if only the
            head is trained; "none" changes no image.
        patience: stop after this many epochs in a row without a lower validation loss; 0 never
            stops.
        seed: of all random numbers.

    Raises:
        UserError: a setting has no such value, or two settings do not go together.
    """

    base: str = OPEN_NSFW
    pretrained: bool = True
    trained: TrainedPart = "head"
    input_side: int | None = None
    epochs: int = 20
    batch_size: int = 32
    learning_rate: float | None = None
    weight_decay: float = 0.01
    class_weights: ClassWeights = "balanced"
    augmentation: Augmentation = "light"
    patience: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("epochs", 1),
            ("batch_size", 4),
            ("patience", 0),
            ("seed", 0),
            ("weight_decay", 0),
            ("input_side", 1),
        ):
            number = getattr(self, name)
            if number is not None and not (math.isfinite(number) and number >= least):
                raise UserError(f"{name} is {number}: it has to be at least {least}.")
        if self.input_side is not None and self.input_side > LARGEST_SIDE:
            raise UserError(
                f"input_side is {self.input_side}: it has to be at most {LARGEST_SIDE}."
            )
        if not (math.isfinite(self.highest_rate) and self.highest_rate > 0):
            raise UserError(f"learning_rate is {self.learning_rate}: it has to be above 0.")
        for name, kind in (
            ("trained", TrainedPart),
            ("class_weights", ClassWeights),
            ("augmentation", Augmentation),
        ):
            if getattr(self, name) not in get_args(kind):
                choices = " or ".join(get_args(kind))
                raise UserError(f"{name} is {getattr(self, name)}: choose {choices}.")
        if self.base == OPEN_NSFW and self.input_side is not None:
            raise UserError(
                "OpenNSFW reads squares of 224 px and no others: leave input_side (--input-side) "
                "out, or choose another base (--base)."
            )
        if self.base == PLAIN_CONVNET and self.pretrained:
            raise UserError(
                "No weights of plain_convnet are published: set pretrained to false and trained to "
                "all (--from-scratch --train all)."
            )
        if self.trained == "head" and not self.pretrained:
            raise UserError(
                "A head alone learns little from a network of random weights: set trained to all "
                "(--train all), or pretrained to true (leave --from-scratch out)."
            )

    @property
    def highest_rate(self) -> float:
        """The learning rate after the warm-up."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 1e-4 if self.trained == "all" and self.pretrained else 1e-3
