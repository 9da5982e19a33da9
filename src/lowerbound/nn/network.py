"""What every network has in common: shapes, the bias of its last layer, and the checks of its options.

A network maps ``(N, *in_shape)`` to ``(N, *out_shape)``; any number of leading axes may stand in N's place. One built
with ``context`` > 0 takes a context vector beside its input: what a condition has been embedded in.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, TypeGuard

import torch
from torch import Tensor, nn

from ..errors import ConfigError, ShapeError


class Network(nn.Module):
    """Interface of a network; a concrete one builds ``layers``, then ``output``, its last affine layer.

    One of another structure overrides ``_flat`` and ``set_output_bias``.

    Args:
        in_shape: Shape of one input.
        out_shape: Shape of one output.
        context: Size E of the context vector, 0 for none.
    """

    # As of ``slots.Slot``.
    partners: ClassVar[Mapping[str, str]] = {}
    agree: ClassVar[Sequence[str]] = ()
    layers: nn.Module
    output: nn.Linear | nn.Conv2d | nn.ConvTranspose2d

    def __init__(self, in_shape: Sequence[int], out_shape: Sequence[int], context: int = 0):
        super().__init__()
        self.in_shape = sizes("in_shape", in_shape)
        self.out_shape = sizes("out_shape", out_shape)
        self.context = context

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map x, shape (..., *in_shape), to shape (..., *out_shape).

        Args:
            x: Inputs, (..., *in_shape).
            context: (B, E), where B is the last of the leading axes of x, or 1 for a context common to all.

        Raises:
            ShapeError: If x does not end in ``in_shape``, or the context is missing or of another size.
        """
        lead = x.shape[: max(x.dim() - len(self.in_shape), 0)]
        if x.shape[len(lead) :] != self.in_shape:
            raise ShapeError(
                f"{type(self).__name__} takes inputs of shape (..., {', '.join(map(str, self.in_shape))}); "
                f"got {tuple(x.shape)}"
            )
        came = 0 if context is None else context.shape[-1]
        if came != self.context:
            raise ShapeError(f"{type(self).__name__} takes a context of size {self.context}; got {came}")
        return self._flat(x.reshape(-1, *self.in_shape), context).reshape(*lead, *self.out_shape)

    def _flat(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Map x (N, *in_shape), N a multiple of the context's B, to N outputs of any shape."""
        return self._last(self.layers(x, context), context)

    def _last(self, h: Tensor, context: Tensor | None) -> Tensor:
        return self.output(h)

    def start(self, u: Tensor, model: Any) -> None:
        """Take from a sample of the training data (N, *event) what the network begins with; most need nothing."""

    @torch.no_grad()
    def set_output_bias(self, value: Tensor) -> None:
        """Set the bias of the last layer, so that a fresh network starts near ``value``.

        Args:
            value: Shape ``out_shape``. A convolution, with one bias per channel, takes the mean over the pixels.

        Raises:
            ShapeError: If value has another shape.
        """
        if value.shape != self.out_shape:
            raise ShapeError(f"the output bias must have shape {self.out_shape}; got {tuple(value.shape)}")
        bias = self.output.bias
        assert bias is not None
        bias.copy_(value.to(bias).reshape(len(bias), -1).mean(1))

    def __repr__(self) -> str:
        options = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        if not self.context:
            del options["context"]
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in options.items())})"


def _is_size(value: object) -> TypeGuard[int]:
    # A larger one is a mistake, or a damaged file: layers would be built until the memory is full.
    return isinstance(value, Integral) and not isinstance(value, bool) and 0 < int(value) < 2**31


def sizes(name: str, value: Sequence[int], *, may_be_empty: bool = False) -> tuple[int, ...]:
    """Check a shape or a list of widths and return it as a tuple of plain integers."""
    if isinstance(value, (tuple, list)) and all(map(_is_size, value)) and (value or may_be_empty):
        return tuple(int(size) for size in value)
    kind = "tuple" if may_be_empty else "non-empty tuple"
    raise ConfigError(f"{name} must be a {kind} of positive integers; got {value!r}")


def image_shape(name: str, value: tuple[int, ...], *, parameters: bool = False) -> tuple[int, ...]:
    """Check that a shape is (C, H, W), or also (P, C, H, W) with ``parameters``."""
    if len(value) == 3 or (parameters and len(value) == 4):
        return value
    wanted = "(C, H, W) or (P, C, H, W)" if parameters else "(C, H, W)"
    raise ConfigError(f"{name} must be {wanted} for images; got {value!r}; an MLP takes any shape")


def size(name: str, value: int) -> int:
    """Check a positive integer."""
    if _is_size(value):
        return int(value)
    raise ConfigError(f"{name} must be a positive integer; got {value!r}")


def probability(name: str, value: float) -> float:
    """Check a dropout probability."""
    if isinstance(value, Real) and not isinstance(value, bool) and 0 <= value < 1:
        return float(value)
    raise ConfigError(f"{name} must be a number in [0, 1); got {value!r}")


def features(shape: tuple[int, ...]) -> int:
    """Count the numbers in one tensor of this shape."""
    return math.prod(shape)


def context_size(network: nn.Module) -> int:
    """Return the size of the context vector that a network takes, 0 for none.

    A network of the user's own takes one if it says so by an attribute ``context``.
    """
    return getattr(network, "context", 0)
