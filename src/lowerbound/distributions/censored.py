r"""A Gaussian of which nothing above a limit is seen but that it is there.

.. math:: p(x) = N(x; \mu, \sigma) \;\text{for } x < c, \qquad P(x = c) = 1 - \Phi\left(\frac{c - \mu}{\sigma}\right)
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints


class CensoredNormal(Distribution):
    """min(X, c) of a Gaussian X: a density below the limit c, a probability on it.

    Args:
        loc: Mean of X.
        scale: Standard deviation of X.
        limit: c; shapes that broadcast.
    """

    arg_constraints: ClassVar = {}  # pyright: ignore[reportIncompatibleMethodOverride,reportAssignmentType]

    def __init__(self, loc: Tensor, scale: Tensor, limit: Tensor) -> None:
        self.loc, self.scale, self.limit = torch.broadcast_tensors(loc, scale, limit)
        super().__init__(self.loc.shape, validate_args=False)

    @property
    def support(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        """All numbers up to the limit."""
        return constraints.interval(torch.full_like(self.limit, -torch.inf), self.limit)

    @property
    def _z(self) -> Tensor:
        return (self.limit - self.loc) / self.scale

    @property
    def atoms(self) -> Tensor:
        """The value that has a probability, not a density."""
        return self.limit

    @property
    def stddev(self) -> Tensor:
        """That of X."""
        return self.scale

    @property
    def mean(self) -> Tensor:
        """E[min(X, c)]."""
        below = torch.special.ndtr(self._z)
        height = torch.exp(-0.5 * self._z.square()) / math.sqrt(2 * math.pi)
        return self.loc * below - self.scale * height + self.limit * torch.special.ndtr(-self._z)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(value) below the limit, on it the log-probability, elementwise, in nats."""
        z = (value - self.loc) / self.scale
        density = -0.5 * z.square() - self.scale.log() - 0.5 * math.log(2 * math.pi)
        at = value >= self.limit
        # Where it is not asked for, the tail's logarithm may be infinite, and so its slope.
        return torch.where(at, torch.special.log_ndtr(torch.where(at, -self._z, 0.0)), density)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw."""
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        return torch.minimum(self.loc + self.scale * noise, self.limit)
