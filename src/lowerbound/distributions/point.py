"""A value that is certain, and values whose gradient goes another way."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.kl import register_kl

from ..errors import ConfigError

NO_DENSITY = (
    "a deterministic code has no density, so there is neither a bound nor log p(x): train with an objective that "
    "needs none, as 'elbo' with its closed form, judge by reconstructions and samples, or choose another posterior"
)


class Point(Distribution):
    """All probability on one value.

    Args:
        value: (*batch, *event).
        axes: Number of event axes.
        discrete: The value is one of a discrete set, and its probability 1. Among real numbers it has no density.
    """

    arg_constraints: ClassVar = {}  # pyright: ignore[reportIncompatibleMethodOverride,reportAssignmentType]
    support = constraints.real  # pyright: ignore[reportAssignmentType]
    has_rsample = True

    def __init__(self, value: Tensor, axes: int, discrete: bool) -> None:
        self.value, self.discrete = value, discrete
        cut = value.ndim - axes
        super().__init__(value.shape[:cut], value.shape[cut:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The value."""
        return self.value

    @property
    def variance(self) -> Tensor:
        """0."""
        return torch.zeros_like(self.value)

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Return the value, so many times."""
        return self.value.expand(self._extended_shape(torch.Size(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return 0 of a discrete value, (...).

        Raises:
            ConfigError: the value is a real number.
        """
        if not self.discrete:
            raise ConfigError(NO_DENSITY)
        return value.new_zeros(value.shape[: value.ndim - len(self.event_shape)])


@register_kl(Point, Distribution)
def _kl(q: Point, p: Distribution) -> Tensor:
    # Of a discrete value the divergence; of a real one what is finite of it.
    return -p.log_prob(q.value)


def through(value: Tensor, path: Tensor) -> Tensor:
    """Return ``value``, whose gradient is handed to ``path`` as it is (Bengio, Léonard and Courville, 2013)."""
    return cast(Tensor, _Through.apply(value, path))


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, path: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:  # pyright: ignore
        return None, gradient
