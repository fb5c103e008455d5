"""What a training has reached, in one file, so that a killed run goes on where it was.

The file is the SHA-256 of what follows, then a torch file of tensors and plain values, which is
read with `weights_only`: torch itself does not notice a flipped bit.
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
    """A place in a training: ``step`` steps of ``epoch`` are done, and all epochs before it.

    Random numbers are derived from seed, epoch and step, so that none of their state is kept.

    Attributes:
        epoch: counted from 0.
        step: 0 where an epoch begins.
        weights: state dict of what is trained; empty once the training has ended.
        optimizer: state dict; empty once the training has ended.
        loss_sum: of the steps of this epoch that are done, each image times its class's weight.
        weight_sum: of the same images.
        seconds: spent on this epoch.
        history: the metrics of the epochs done, plain values each.
        best_epoch: the one of the lowest validation loss, counted from 1; 0 before there is one.
        best_weights: state dict after it.
        has_ended: the last epoch is done, or the training was stopped early.
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
    """Write the one checkpoint of ``folder``, whole or not at all; an older one is replaced.

    Args:
        folder: made if it is not there.
        fingerprint: of all that decides the weights that the training ends in.
        checkpoint: what to write.
    """
    import torch

    parts = {field.name: getattr(checkpoint, field.name) for field in fields(Checkpoint)}
    buffer = io.BytesIO()
    torch.save({"fingerprint": fingerprint, **parts}, buffer)
    written = buffer.getvalue()
    write_whole(folder / _NAME, hashlib.sha256(written).digest() + written)


def load_checkpoint(folder: Path, fingerprint: str) -> Checkpoint | None:
    """Return the checkpoint of the training with this fingerprint; None if there is none.

    A damaged file is set aside, that of another training is left to be replaced.
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
