"""The code of a registered projection ("model from code"): MLflow copies it beside the weights.

It runs wherever ``models:/projection-COLLECTION@drlim`` is loaded, and needs Tessera installed
there.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from assets.methods.layout.network_store import read_network


class RegisteredProjection(PythonModel):
    """Maps vectors to a table of points: a row per vector, the columns x and y."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights that were registered beside this code."""
        self._network = read_network(Path(context.artifacts["weights"])).network

    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Map vectors, (n, d) float32 of unit length, to points."""
        points = self._network.place(np.asarray(model_input))
        return pd.DataFrame(points, columns=["x", "y"])


set_model(RegisteredProjection())
