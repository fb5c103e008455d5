"""Any model that MLflow can load, as a classifier."""

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from assets.methods.common.errors import UserError
from assets.methods.models.classifier import Images
from assets.resources.tracking import first_line

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel


class PyfuncClassifier:
    """An MLflow model that maps images, (n, height, width, 3) uint8, to a table, a column a class.

    The model has to name its classes, by its signature or by the columns of its answer. Raises
    UserError when it does not.
    """

    device = "cpu"
    batch_size = 8
    # The model may not be safe to be called from several threads.
    workers = 1

    def __init__(self, model: "PyFuncModel") -> None:
        self._model = model
        # Models of old MLflows have no id.
        identity = model.metadata.model_uuid or model.metadata.to_yaml()
        self.fingerprint = hashlib.sha256(identity.encode()).hexdigest()
        outputs = model.metadata.signature and model.metadata.signature.outputs
        named = outputs is not None and outputs.has_input_names()
        self.class_names = (
            tuple(outputs.input_names())
            if named
            else tuple(self._answer(np.zeros((1, 8, 8, 3), np.uint8)))
        )

    def classify(self, images: Images) -> dict[str, np.ndarray]:
        """Map n images to (n,) float32 probabilities by class name.

        Raises:
            UserError: the model refuses the images, or its answer lacks a class or a row.
        """
        answers = [self._answer(batch) for batch in _batches_of_one_size(images)]
        missing = [name for name in self.class_names if any(name not in one for one in answers)]
        if missing:
            raise UserError(f"The MLflow model gave no column for its class {missing[0]}.")
        return {
            name: np.concatenate([answer[name] for answer in answers]) for name in self.class_names
        }

    def _answer(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        from mlflow.exceptions import MlflowException

        try:
            answer = self._model.predict(batch)
        except MlflowException as error:
            raise UserError(
                "The MLflow model does not take images as (n, height, width, 3) uint8 "
                f"({first_line(error)})."
            ) from error
        if isinstance(answer, pd.DataFrame):
            answer = {str(name): answer[name].to_numpy() for name in answer.columns}
        if not isinstance(answer, dict):
            raise UserError(
                "The MLflow model does not name its classes: it has to answer a table with a "
                f"column for each, not {type(answer).__name__}."
            )
        return {name: _numbers(column, name, len(batch)) for name, column in answer.items()}


def _numbers(column: Any, name: str, n: int) -> np.ndarray:
    try:
        numbers = np.asarray(column, np.float32)
    except (TypeError, ValueError) as error:
        raise UserError(f"The MLflow model gave no numbers for {name} ({error}).") from error
    if numbers.shape != (n,):
        raise UserError(
            f"The MLflow model gave numbers of shape {numbers.shape} for {name}: it has to answer "
            "one an image."
        )
    return numbers


def _batches_of_one_size(images: Images) -> list[np.ndarray]:
    import torch

    batches = [images] if isinstance(images, torch.Tensor) else [one.unsqueeze(0) for one in images]
    return [batch.permute(0, 2, 3, 1).cpu().numpy() for batch in batches]
