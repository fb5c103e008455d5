"""How a deconvnet passes a ReLU on the way back: what is negative of the signal becomes zero.

Importing this file imports torch: import it inside functions.

Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014,
section 2.1. A gradient passes where the ReLU's input was positive; a deconvnet passes what is
positive of the signal, wherever it is.
"""

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch  # noqa: TID253
from torch.overrides import TorchFunctionMode  # noqa: TID253

from assets.methods.common.errors import UserError

_OTHER_ACTIVATIONS = {
    *("celu", "elu", "gelu", "glu", "hardswish", "hardtanh", "leaky_relu", "mish", "prelu"),
    *("rrelu", "selu", "silu", "softplus", "tanh"),
}


class Rectification(TorchFunctionMode):
    """Within it a network's ReLU and ReLU6 answer as ever, and rectify the signal on its way back.

    It meets the functions that are called, not the modules that call them: hooks on modules, such
    as captum's, fail where a ReLU works in place and miss one that is no module.

    Attributes:
        n_met: the calls of a ReLU so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.n_met = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, or what stands for it.

        Raises:
            UserError: it is an activation function that is no ReLU.
        """
        kwargs = kwargs or {}
        # The name of a function that works in place ends with an underscore.
        name = getattr(func, "__name__", "").rstrip("_")
        ceiling = _ceiling(name, args, kwargs)
        if ceiling is not None:
            self.n_met += 1
            return _Rectifier.apply(args[0], ceiling)
        if name in _OTHER_ACTIVATIONS:
            raise UserError(
                f"This network uses the activation function {name}, but the deconvnet is defined "
                "for ReLU: choose a network whose activations are ReLU or ReLU6."
            )
        return func(*args, **kwargs)


class _Rectifier(torch.autograd.Function):
    @staticmethod
    def forward(
        context: torch.autograd.function.FunctionCtx, features: torch.Tensor, ceiling: float
    ) -> torch.Tensor:
        return features.clamp(0, ceiling)

    @staticmethod
    def backward(
        context: torch.autograd.function.FunctionCtx, *signals: torch.Tensor
    ) -> tuple[torch.Tensor, None]:
        return signals[0].clamp(min=0), None


def _ceiling(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float | None:
    """Return the largest value that a ReLU gives; None for what is no ReLU."""
    if name == "relu":
        return math.inf
    if name == "relu6":
        return 6.0
    if name == "hardtanh":
        # ReLU6 calls this function with other limits than its own.
        given = inspect.signature(torch.nn.functional.hardtanh).bind(*args, **kwargs)
        given.apply_defaults()
        if given.arguments["min_val"] == 0:
            return float(given.arguments["max_val"])
    return None
