"""A function of the user's as a classifier."""

import hashlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from assets.methods.common.errors import UserError
from assets.methods.common.fingerprints import digest_parts
from assets.methods.models.classifier import Images
from assets.methods.models.preprocessing import to_pillow

# A list of n RGB images to (n, classes), or to n probabilities by class name.
ImagesToProbabilities = Callable[[list[Image.Image]], Any]


class CallableClassifier:
    """Any function of Pillow images.

    It is called from one thread at a time, in which torch does not split its operations
    (``forward.unsplit_pool``).

    Args:
        function: maps a list of n RGB images to (n, classes) in the order of ``class_names``, or to
            a mapping from class name to n probabilities.
        class_names: None takes them from one call with a grey image, which has to give a mapping.
        name: stands for the function in messages and, with ``version`` and the function's own
            attribute ``version`` if it has one, in the fingerprint.
        version: change it when the function changes.

    Raises:
        UserError: the names are not given and the function does not give a mapping, or two classes
            have one name.
    """

    device = "cpu"
    batch_size = 32
    workers = 1

    def __init__(
        self,
        function: ImagesToProbabilities,
        class_names: Sequence[str] | None,
        name: str,
        version: str = "",
    ) -> None:
        self._function = function
        self._name = name
        if isinstance(class_names, str):
            raise UserError(f"The class_names of {name} are a text: they have to be a list.")
        self.class_names = tuple(self._probed_names() if class_names is None else class_names)
        if len(set(self.class_names)) < len(self.class_names):
            raise UserError(f"Two classes of {name} have one name: give each its own.")
        version += str(getattr(function, "version", ""))
        self.fingerprint = digest_parts(
            {"callable": name, "version": version, "class_names": list(self.class_names)}
        )

    def classify(self, images: Images) -> dict[str, np.ndarray]:
        """Map n images to (n,) float32 probabilities by class name.

        Raises:
            UserError: the answer does not have the shape or the classes that it has to have.
        """
        answer = self._call([to_pillow(image) for image in images])
        if isinstance(answer, Mapping):
            missing = sorted(set(self.class_names) - answer.keys())
            if missing:
                raise UserError(f"{self._name} gave no probabilities for the class {missing[0]}.")
            columns = [self._numbers(answer[name]) for name in self.class_names]
            for column in columns:
                self._check_shape(column, (len(images),))
        else:
            array = self._numbers(answer)
            self._check_shape(array, (len(images), len(self.class_names)))
            columns = list(array.T)
        return dict(zip(self.class_names, columns, strict=True))

    def _call(self, images: list[Image.Image]) -> Any:
        try:
            return self._function(images)
        except Exception as error:
            raise UserError(f"{self._name} raised {type(error).__name__}: {error}") from error

    def _probed_names(self) -> list[str]:
        answer = self._call([Image.new("RGB", (64, 64), (128, 128, 128))])
        if not isinstance(answer, Mapping):
            raise UserError(
                f"{self._name} has to give a mapping from class name to probabilities, or have an "
                "attribute class_names."
            )
        return [str(name) for name in answer]

    def _numbers(self, values: Any) -> np.ndarray:
        try:
            return np.asarray(values, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise UserError(f"{self._name} gave what is no array of numbers ({error}).") from error

    def _check_shape(self, array: np.ndarray, expected: tuple[int, ...]) -> None:
        if array.shape != expected:
            raise UserError(
                f"{self._name} gave an array of shape {array.shape} instead of {expected}."
            )


def load_callable_classifier(name: str) -> CallableClassifier:
    """Import `python:package.module:attribute`, which runs the user's own code.

    The class names are the function's attribute ``class_names``, or the keys of its answer.

    Raises:
        UserError: the name is not of this form, there is no such attribute, or it is no function.
    """
    _, _, place = name.partition(":")
    module_name, _, attribute = place.partition(":")
    if not module_name or not attribute:
        raise UserError(f"{name} is not of the form python:package.module:attribute.")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # If it is a module that the user's own code imports, Python's message says more.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise UserError(
            f"There is no Python module {module_name}: is its folder on PYTHONPATH?"
        ) from error
    function = getattr(module, attribute, None)
    if not callable(function):
        raise UserError(f"The Python module {module_name} has no function {attribute}.")
    class_names = getattr(function, "class_names", None)
    return CallableClassifier(function, class_names, name, _source_digest(module))


def _source_digest(module: ModuleType) -> str:
    """Return a hash of the module's file, if it has one; what it imports may change unnoticed."""
    file = getattr(module, "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12] if file else ""
