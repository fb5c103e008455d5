"""The scores of windows that are already known, so that an interrupted map goes on from them.

A file of float32 for each image, classifier, class, experiment and grid of windows: one number a
window, NaN where it has not been scored; and a seal at its end once all are. The version of a
remote model is part of its fingerprint, if it names one: a file holds scores of one model.
"""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from assets.methods.attribution.occlusion import OcclusionSettings
from assets.methods.common.checksums import DamagedFileError, read_sealed, seal
from assets.methods.common.files import set_aside, write_whole

# Raise it whenever the image of a window changes, for example by another blur.
_CODE_VERSION = 1
_FLOAT32 = np.dtype("<f4")


class WindowScoreStore:
    """Scores of windows in files below ``folder``, a file a key.

    Two runs may write to one file at the same time: what they write is the same. ``opened`` has the
    keys of those that were asked for.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.opened = set[str]()

    def open(self, key: str, count: int) -> np.memmap:
        """Return the scores of ``count`` windows, (count,) float32, NaN where there is none.

        What is assigned to the array is in the file even if the process is killed the moment
        after; ``finish`` with it to outlast a power cut too. A damaged file is put aside.
        """
        path = self._folder / f"{key}.f32"
        self.opened.add(key)
        try:
            content, was_sealed = read_sealed(path, key)
            if len(content) != count * _FLOAT32.itemsize:
                raise DamagedFileError("has not the size it should have")
        except FileNotFoundError:
            was_sealed = False
        except DamagedFileError as error:
            set_aside(path, f"{error}; its windows are scored again")
            was_sealed = False
        if not path.exists():
            self.forget(key, count)
        scores = np.memmap(path, dtype=_FLOAT32, mode="r+", shape=(count,))
        if not was_sealed:
            self.finish(key, scores)
        return scores

    def finish(self, key: str, scores: np.memmap) -> None:
        """Write scores to the disk, and seal their file if all are probabilities."""
        scores.flush()
        path = self._folder / f"{key}.f32"
        content = scores.tobytes()
        # If the scores were forgotten meanwhile, the file is another one.
        if is_score(scores).all() and path.read_bytes()[: len(content)] == content:
            seal(path, content, key)

    def forget(self, key: str, count: int) -> None:
        """Replace the scores of ``count`` windows by NaN.

        An array that is open keeps what it holds, and whatever is assigned to it from now on
        reaches no file: another run that still asks the former model spoils nothing.
        """
        write_whole(self._folder / f"{key}.f32", np.full(count, np.nan, dtype=_FLOAT32).tobytes())


def is_score(scores: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which stored numbers are probabilities; NaN and anything else is no score."""
    return (scores >= 0) & (scores <= 1)


def window_score_key(
    image: Image.Image,
    fingerprint: str,
    class_name: str,
    experiment: str,
    settings: OcclusionSettings,
    device: str = "cpu",
) -> str:
    """Return a SHA-256 in hex over everything that decides the scores of the windows of ``image``.

    Args:
        image: RGB, scaled down: its pixels count, not what it was scaled from.
        fingerprint: of the classifier.
        class_name: whose probability the scores are.
        experiment: "seen", "hidden", or "whole" for the image as it is.
        settings: box, stride and, for `hidden` alone, fill.
        device: where they are computed. Devices sum in other orders, and the last bits of scores
            show it: one map holds the scores of one device.
    """
    deciding = {
        "code_version": _CODE_VERSION,
        "size": image.size,
        "fingerprint": fingerprint,
        "class_name": class_name,
        "experiment": experiment,
        "box": settings.box,
        "stride": settings.stride,
        "fill": settings.fill if experiment == "hidden" else None,
    }
    if device != "cpu":
        # Keys of the CPU stay what they were before there were others.
        deciding["device"] = device
    digest = hashlib.sha256(repr(deciding).encode())
    digest.update(image.tobytes())
    return digest.hexdigest()
