"""How busy a card is, read from nvidia-smi several times a second beside the work."""

import shutil
import subprocess
import threading
import time
from statistics import mean
from types import TracebackType

QUERY = "--query-gpu=utilization.gpu,memory.used"


class Utilisation:
    """A context in which the first card is watched; without nvidia-smi it reads nothing."""

    def __init__(self) -> None:
        # Seconds of the monotonic clock, percent, MiB.
        self._readings: list[tuple[float, int, int]] = []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Utilisation":
        """Begin to read."""
        if shutil.which("nvidia-smi"):
            self._process = subprocess.Popen(
                ["nvidia-smi", QUERY, "--format=csv,noheader,nounits", "-i", "0", "-lms", "200"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop reading."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def since(self, started: float) -> dict[str, float | None]:
        """Return mean and largest utilisation in percent, and MiB in use, since a time.

        ``started`` is of ``time.monotonic``. The memory is that of all processes on the card.
        """
        readings = [reading for reading in self._readings if reading[0] >= started]
        if not readings:
            return {"gpu_percent_mean": None, "gpu_percent_max": None, "gpu_mib_max": None}
        return {
            "gpu_percent_mean": round(mean(percent for _, percent, _ in readings)),
            "gpu_percent_max": max(percent for _, percent, _ in readings),
            "gpu_mib_max": max(mebibytes for _, _, mebibytes in readings),
        }

    def _read(self) -> None:
        if self._process is None or self._process.stdout is None:
            return
        for line in self._process.stdout:
            percent, _, mebibytes = line.partition(",")
            if percent.strip().isdigit() and mebibytes.strip().isdigit():
                self._readings.append((time.monotonic(), int(percent), int(mebibytes)))
