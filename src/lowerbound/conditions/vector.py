"""Numbers, standardised by what the training data hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError, ShapeError
from ..nn import MLP
from ..nn.network import sizes
from ..shapes import event_shape_of
from .base import Condition


def read_numbers(value: Any, event_shape: tuple[int, ...], name: str, like: Tensor) -> Tensor:
    """Return numbers as (B, *event_shape) in the type and on the device of ``like``; B = 1 for a single value.

    Raises:
        ConfigError: it is not numbers.
        ShapeError: it has another shape.
    """
    try:
        numbers = torch.as_tensor(value).to(like.device, like.dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"{name} needs numbers of shape {event_shape}; got {type(value).__name__} {str(value)[:40]!r}"
        ) from error
    if numbers.shape == event_shape or (numbers.ndim == 0 and event_shape == (1,)):
        return numbers.reshape(1, *event_shape)
    if tuple(numbers.shape[1:]) == event_shape:
        return numbers
    if numbers.ndim == 1 and event_shape == (1,):
        return numbers.unsqueeze(1)
    raise ShapeError(
        f"{name} has shape {event_shape}, or (B, {', '.join(map(str, event_shape))}) for a batch; "
        f"got {tuple(numbers.shape)}"
    )


class Numbers(Condition):
    """Base of the kinds whose values are arrays of numbers; a NaN makes the whole array a missing one.

    Args:
        value_shape: Shape of one value.
        size: Size of the embedding.
        dropout: Probability of hiding a value in training.
        missing: Values may be missing; implied by ``dropout``.
    """

    anchor: Tensor

    def __init__(self, value_shape: tuple[int, ...], size: int, dropout: float, missing: bool) -> None:
        super().__init__(value_shape, size, dropout, missing)
        # Carries the module's device and floating-point type.
        self.register_buffer("anchor", torch.zeros(()), persistent=False)

    def known(self, value: Tensor) -> Tensor:
        """Return which values have no NaN, (B,)."""
        return ~value.flatten(1).isnan().any(1)

    def absent(self, n: int) -> Tensor:
        """Return ``n`` values of NaN."""
        return self.anchor.new_full((n, *self.value_shape), torch.nan)

    def read(self, value: Any, name: str) -> Tensor:
        """Return values (B, *value_shape) of one or several; None is a missing one."""
        return self.absent(1) if value is None else read_numbers(value, self.value_shape, name, self.anchor)

    def check(self, value: Tensor, name: str) -> None:
        """Raise ConfigError where a value is infinite, or missing and the model has only seen known ones."""
        if bool(value.isinf().any()):
            raise ConfigError(f"{name} holds an infinite value; give finite numbers")
        super().check(value, name)


class Vector(Numbers):
    """D numbers; a NaN makes the whole vector a missing one.

    Args:
        event_shape: Number D of values, or (D,).
        hidden: Widths of a network that embeds them; without, the standardised values are the embedding.
        dropout: Probability of hiding a vector in training.
        missing: Vectors may be missing; implied by ``dropout``.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        event_shape: int | Sequence[int],
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
        missing: bool = False,
    ) -> None:
        shape = event_shape_of(event_shape)
        if len(shape) != 1:
            raise ConfigError(f"Vector needs the number of values (D,); got {shape}; for images use Image")
        widths = sizes("hidden", tuple(hidden), may_be_empty=True)
        super().__init__(shape, widths[-1] if widths else shape[0], dropout, missing)
        self.event_shape = shape
        self.hidden = widths
        self.network = MLP(shape, widths[-1:], hidden=widths[:-1]) if widths else None
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))

    def start(self, u: Tensor, model: Any = None) -> None:
        """Take mean and standard deviation of the known training vectors (N, D)."""
        values = u[self.known(u)].double()
        std = values.std(0, correction=0)
        self.mean.copy_(values.mean(0))
        self.std.copy_(torch.where(std > torch.finfo(torch.float32).eps * self.mean.abs(), std, 1.0))

    def embed(self, value: Tensor) -> Tensor:
        """Return the standardised values, or what the network makes of them."""
        value = (value.nan_to_num() - self.mean) / self.std
        return value if self.network is None else self.network(value)
