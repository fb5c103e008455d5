"""The checkpoint of a training in one file, from which a killed run is resumed.

The file is the SHA-256 of the rest, then a torch file of tensors and plain values, which is read
with `weights_only`. torch itself does not detect a flipped bit.
"""

import hashlib
import io
import logging
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.methods.common.files import set_aside, write_whole

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

_NAME = "training.checkpoint"


@dataclass
class Checkpoint:
    """The state of a training after ``step`` steps of ``epoch`` and all epochs before.

    Random numbers are derived from seed, epoch and step, so that a checkpoint has no state of them.

    Attributes:
        epoch: counted from 0.
        step: 0 where an epoch begins.
        weights: state dict of the trained module; empty when the training has ended.
        optimizer: state dict; empty when the training has ended.
        loss_sum: over the images of this epoch so far, each multiplied by its class's weight.
        weight_sum: of the class weights of the same images.
        seconds: spent on this epoch so far.
        history: the metrics of the finished epochs, as plain values.
        best_epoch: the one with the lowest validation loss, counted from 1; 0 before the first.
        best_weights: state dict after the best epoch.
        has_ended: whether the last epoch is finished, or the training was stopped early.
    """

    weights: "dict[str, torch.Tensor]"
    optimizer: dict[str, Any]
    history: list[dict[str, Any]]
    best_weights: "dict[str, torch.Tensor]"
    best_epoch: int = 0
    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    weight_sum: float = 0.0
    seconds: float = 0.0
    has_ended: bool = False


def save_checkpoint(folder: Path, fingerprint: str, checkpoint: Checkpoint) -> None:
    """Write the one checkpoint of ``folder``, whole or not at all; it replaces an older one.

    Args:
        folder: created if it does not exist.
        fingerprint: of everything that decides the final weights.
        checkpoint: the state.
    """
    import torch

    parts = {field.name: getattr(checkpoint, field.name) for field in fields(Checkpoint)}
    buffer = io.BytesIO()
    torch.save({"fingerprint": fingerprint, **parts}, buffer)
    written = buffer.getvalue()
    write_whole(folder / _NAME, hashlib.sha256(written).digest() + written)


def load_checkpoint(folder: Path, fingerprint: str) -> Checkpoint | None:
    """Return the checkpoint of the training with this fingerprint; None if there is none.

    A damaged file is set aside; the file of another training stays until it is replaced.
    """
    import torch

    path = folder / _NAME
    if not path.is_file():
        return None
    data = path.read_bytes()
    size = hashlib.sha256().digest_size
    if hashlib.sha256(data[size:]).digest() != data[:size]:
        set_aside(path, "is damaged")
        return None
    parts = torch.load(io.BytesIO(data[size:]), map_location="cpu", weights_only=True)
    if parts.pop("fingerprint") != fingerprint:
        _log.info("%s belongs to another training, which this one replaces", path)
        return None
    return Checkpoint(**parts)
