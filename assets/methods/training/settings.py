"""What is trained, and how: all that decides the weights beside the photos and their labels."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from assets.methods.common.errors import UserError
from assets.methods.models.architectures import PLAIN_CONVNET
from assets.methods.models.classifier_file import LARGEST_SIDE, OPEN_NSFW

TrainedPart = Literal["head", "all"]
ClassWeights = Literal["balanced", "none"]
Augmentation = Literal["light", "none"]

# The highest learning rates of whole networks.
_FROM_RANDOM, _FROM_PRETRAINED = 1e-3, 1e-4


@dataclass(frozen=True)
class TrainingSettings:
    """The choices of a training.

    Attributes:
        base: the network to start from, by a name in the table of ``starting_network``.
        pretrained: False starts from random weights; nothing is then downloaded.
        trained: "all", or the "head" alone: the last, linear layer. The rest then stays as it is,
            batch norm included.
        input_side: px of the squares that the network reads, at most 4096, as a classifier's file;
            None leaves its own preprocessing.
        epochs: passes over the training images, at most.
        batch_size: images a step, at most; at least 4, so that batch norm never sees one alone.
        learning_rate: the highest of the schedule (``training_loop.learning_rate_at``). None
            chooses 1e-4 for a whole network that was trained before, and 1e-3 otherwise.
        weight_decay: of AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization",
            2019), for weights and not for biases and norms.
        class_weights: "balanced" gives both classes the same weight in the loss whatever their
            numbers, "none" gives it to all images.
        augmentation: "light" is ``augment_lightly``, or half of the images mirrored for a head
            alone; "none" shows the images as they are.
        patience: epochs in a row without a lower validation loss after which to stop; 0 for never.
        seed: of all that is random.

    Raises:
        UserError: a choice is none, or two do not go together.
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
        fine_tuned = self.trained == "all" and self.pretrained
        return _FROM_PRETRAINED if fine_tuned else _FROM_RANDOM
