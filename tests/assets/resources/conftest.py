"""Models in MLflow as anybody may log them."""

import warnings

import pytest

# A model as anybody may log it, its classes the columns of what it answers.
BRIGHTNESS = """
import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Brightness(PythonModel):
    def predict(self, context, model_input: np.ndarray, params=None):
        bright = model_input.mean(axis=(1, 2, 3)) / 255
        return pd.DataFrame({"dark": 1 - bright, "bright": bright})


set_model(Brightness())
"""


@pytest.fixture
def log_model(tracking, monkeypatch):
    """Returns a function that logs a model as any program does, and gives what MLflow says."""

    def log(**options):
        with monkeypatch.context() as patch, warnings.catch_warnings():
            # What type hints it misses, and that it was given no example.
            warnings.simplefilter("ignore", UserWarning)
            import mlflow

            patch.setenv("MLFLOW_TRACKING_URI", tracking.uri)
            with mlflow.start_run(experiment_id=tracking.experiment_id):
                return mlflow.pyfunc.log_model(name="model", pip_requirements=[], **options)

    return log


@pytest.fixture
def brightness(tmp_path) -> str:
    """The code of ``BRIGHTNESS`` in a file, as MLflow wants it."""
    code = tmp_path / "brightness.py"
    code.write_text(BRIGHTNESS)
    return str(code)
