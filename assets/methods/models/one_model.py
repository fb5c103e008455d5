"""One answer, one model: classifiers behind a network may be replaced while they are asked.

A service that names the version of its model is believed. One that does not is asked again, now and
then, for images whose answers are known (controls): other answers come from another model.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from assets.methods.common.errors import UserError
from assets.methods.models.classifier import Classifier, Images
from assets.methods.models.forward import unsplit_pool
from assets.methods.models.identity import ModelIdentity

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

# Services compute in half precision, in batches of other sizes, and round what they answer. Two
# models seldom agree so closely on several images.
ROUNDING = 1e-3
# Each of them costs a request its place among 128 images, or a hundredth of the time.
MOST_CONTROLS = 4
NEW_BEGINNINGS = 2


class ModelChangedError(UserError):
    """Another model answers than before.

    ``change`` says it as a sentence without its full stop.
    """

    def __init__(self, change: str) -> None:
        super().__init__(
            f"{change}, while it was asked: run the same again, so that all answers are of one "
            "model. What the models answered is never mixed."
        )
        self.change = change


class RemoteClassifier(ABC):
    """A classifier whose model may be replaced at any time by whoever serves it."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is, for people."""

    @property
    @abstractmethod
    def version(self) -> str:
        """The version that the service names, empty if it names none.

        It is the version of all answers: where a reply names another, ``classify`` raises
        ModelChangedError.
        """

    @abstractmethod
    def renew(self) -> None:
        """Ask anew which classes and which version the service has; answers of it are accepted."""


def names_no_version(classifier: Classifier) -> bool:
    """Return whether only its answers can tell that a classifier was replaced by another."""
    return isinstance(classifier, RemoteClassifier) and not classifier.version


def identity_now(classifier: Classifier, loaded: ModelIdentity) -> ModelIdentity:
    """Return which model answers now, given the one that was loaded."""
    if not isinstance(classifier, RemoteClassifier):
        return loaded
    return replace(loaded, version=classifier.version, fingerprint=classifier.fingerprint)


def by_one_model(
    classifier: Classifier, compute: Callable[[], T], notify: Callable[[str], object]
) -> T:
    """Return what ``compute`` returns, begun anew whenever another model answers meanwhile.

    Args:
        classifier: asked by ``compute``.
        compute: raises ModelChangedError when another model answers, and uses nothing of
            the former model when it is called again.
        notify: called with a sentence for each new beginning.

    Raises:
        UserError: the model changed more often than ``NEW_BEGINNINGS`` times.
    """
    for _ in range(NEW_BEGINNINGS):
        try:
            return compute()
        except ModelChangedError as changed:
            notify(f"{changed.change}: this begins anew, so that all answers are of one model.")
            _renew(classifier)
    try:
        return compute()
    except ModelChangedError as changed:
        _renew(classifier)
        raise UserError(
            f"{changed.change}. It is the third change while one result was computed, so there is "
            "no result: wait until one version answers all requests, or give the address of one "
            "version."
        ) from changed


@dataclass(frozen=True)
class Control:
    """An image, (3, h, w) uint8 RGB, and the probabilities of classes that it got."""

    image: "torch.Tensor"
    answer: dict[str, float]


class WatchedClassifier:
    """A classifier that is asked for a control with each batch of images.

    Without controls, it takes some of the first images that it answers.

    Args:
        classifier: names no version.
        controls: images whose answers are known.
    """

    def __init__(self, classifier: Classifier, controls: Sequence[Control] = ()) -> None:
        self._classifier = classifier
        self._controls = list(controls)
        self._turns = count()
        self.class_names = classifier.class_names
        self.fingerprint = classifier.fingerprint
        self.device = classifier.device
        # The control has a place in a full request.
        self.batch_size = max(1, classifier.batch_size - 1)
        self.workers = classifier.workers

    def classify(self, images: Images) -> dict[str, np.ndarray]:
        """Map n images to (n,) float32 probabilities by class name.

        Raises:
            ModelChangedError: the control got another answer than before.
        """
        if not self._controls:
            answers = self._classifier.classify(images)
            self._controls = _taken_from(images, answers)
            return answers
        control = self._controls[next(self._turns) % len(self._controls)]
        answers = self._classifier.classify([*images, control.image])
        self._compare(control, {name: float(found[-1]) for name, found in answers.items()})
        return {name: found[:-1] for name, found in answers.items()}

    def check(self) -> None:
        """Ask for all controls again; raises ModelChangedError if one gets another answer."""
        if not self._controls:
            return
        images = [control.image for control in self._controls]
        with unsplit_pool(self.workers) as pool:
            answers = pool.submit(self._classifier.classify, images).result()
        for number, control in enumerate(self._controls):
            self._compare(control, {name: float(found[number]) for name, found in answers.items()})

    def _compare(self, control: Control, answer: dict[str, float]) -> None:
        for name, before in control.answer.items():
            if abs(answer[name] - before) > ROUNDING:
                raise ModelChangedError(
                    f"{_described(self._classifier)}, which names no version, gives {name} the "
                    f"probability {answer[name]:.4f} for an image that got {before:.4f} before, "
                    "so another model answers now"
                )


def spread(values: np.ndarray, n: int) -> list[int]:
    """Return the places of at most ``n`` of the values, which lie apart in the order of size."""
    order = np.argsort(values, kind="stable")
    chosen = np.linspace(0, len(order) - 1, min(n, len(order))).round().astype(int)
    return [int(place) for place in order[chosen]]


def _taken_from(images: Images, answers: dict[str, np.ndarray]) -> list[Control]:
    first = next(iter(answers.values()))
    return [
        Control(images[place], {name: float(found[place]) for name, found in answers.items()})
        for place in spread(first, MOST_CONTROLS)
    ]


def _described(classifier: Classifier) -> str:
    place = f" at {classifier.place}" if isinstance(classifier, RemoteClassifier) else ""
    return f"The classifier{place}"


def _renew(classifier: Classifier) -> None:
    if isinstance(classifier, RemoteClassifier):
        classifier.renew()
