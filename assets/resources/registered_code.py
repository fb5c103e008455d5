"""The code of a registered model ("model from code"): MLflow copies this file beside the weights.

It runs wherever ``models:/nsfw@champion`` is loaded, and needs Tessera installed there.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from assets.methods.common.devices import ComputeSettings, plan_compute
from assets.methods.models.classifier_file import load_classifier


class RegisteredClassifier(PythonModel):
    """Maps a batch of images to a table of probabilities: a row per image, a column per class."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights that were registered beside this code."""
        plan = plan_compute(ComputeSettings())
        self._classifier = load_classifier(Path(context.artifacts["weights"]), plan)

    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Map images, (n, height, width, 3) uint8 RGB, to probabilities by class name."""
        import torch

        # Copied because torch warns of read-only arrays, such as Pillow's.
        images = torch.from_numpy(np.array(model_input)).permute(0, 3, 1, 2)
        return pd.DataFrame(self._classifier.classify(images.to(self._classifier.device)))


set_model(RegisteredClassifier())
