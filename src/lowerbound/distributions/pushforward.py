"""The law of a Gaussian draw carried on by maps whose numbers are of each example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints


class Map(Protocol):
    """A differentiable bijection of R^k."""

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image of z (..., k) and log |det| of the derivative, (...)."""
        ...

    def inverse(self, y: Tensor) -> Tensor:
        """Return the z of which ``forward`` makes y, with its gradient."""
        ...


class Pushforward(Distribution):
    """Law of f_n(... f_1(u)), u from a base over vectors; it has no mean in closed form.

    Args:
        base: Law of u, batch (...), event (k,).
        maps: f_1 to f_n.
    """

    arg_constraints: ClassVar = {}  # pyright: ignore[reportIncompatibleMethodOverride,reportAssignmentType]
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType]
    has_rsample = True

    def __init__(self, base: Distribution, maps: Sequence[Map]) -> None:
        self.base, self.maps = base, maps
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def carried(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return what u (..., k) is carried to, and log |det|, (...)."""
        log_det = torch.zeros_like(u[..., 0])
        for each in self.maps:
            u, more = each.forward(u)
            log_det = log_det + more
        return u, log_det

    def rsample_and_log_prob(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
        """Draw, with the log-density of the draw: no map has to be inverted."""
        u = self.base.rsample(torch.Size(sample_shape))
        z, log_det = self.carried(u)
        return z, self.base.log_prob(u) - log_det

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw."""
        return self.carried(self.base.rsample(torch.Size(sample_shape)))[0]

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw, without gradients."""
        return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density in nats."""
        for each in reversed(self.maps):
            value = each.inverse(value)
        return self.base.log_prob(value) - self.carried(value)[1]
