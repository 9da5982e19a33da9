r"""The logistic law over intervals: ordered classes, and grey levels.

.. math:: \log[\sigma(b) - \sigma(a)] = \log \sigma(b) + \log \sigma(-a) + \log(1 - e^{-(b - a)})

which keeps its digits where σ(b) and σ(a) are both 0 or 1.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, constraints


def log_between(low: Tensor, high: Tensor, width: Tensor) -> Tensor:
    """Return the logarithm of the logistic law's mass between ``low`` and ``high``; −∞ and ∞ are allowed.

    Args:
        low: Lower ends.
        high: Upper ends.
        width: high − low > 0, known more exactly than the difference; ∞ where an end is.
    """
    return F.logsigmoid(high) + F.logsigmoid(-low) + torch.log(-torch.expm1(-width))


class _Levels(constraints.Constraint):
    is_discrete = True

    def __init__(self, levels: int) -> None:
        self.top = levels - 1

    def check(self, value: Tensor) -> Tensor:
        place = value * self.top
        return ((place - place.round()).abs() < 1e-3) & (value >= 0) & (value <= 1)


class DiscretisedLogistic(Distribution):
    r"""Levels 0, 1/(L−1), ..., 1, each with the mass of a logistic law that lies nearest to it, tails included.

    Args:
        loc: Location of the law.
        scale: Its scale.
        levels: Number L of levels.
    """

    arg_constraints: ClassVar = {}  # pyright: ignore[reportIncompatibleMethodOverride,reportAssignmentType]

    def __init__(self, loc: Tensor, scale: Tensor, levels: int) -> None:
        self.loc, self.scale, self.levels = loc, scale, levels
        super().__init__(torch.broadcast_shapes(loc.shape, scale.shape), validate_args=False)

    @property
    def support(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        """The levels."""
        return _Levels(self.levels)

    @property
    def mean(self) -> Tensor:
        """Σ P(x ≥ k) / (L − 1) over the levels k but the lowest."""
        top = self.levels - 1
        above = torch.zeros_like(self.loc)
        for k in range(1, self.levels):
            above = above + torch.sigmoid((self.loc - (k - 0.5) / top) / self.scale)
        return above / top

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log P(value), elementwise, in nats, of levels."""
        top = self.levels - 1
        k = (value * top).round()
        infinite = torch.full((), torch.inf, dtype=self.loc.dtype, device=self.loc.device)
        low = torch.where(k <= 0, -infinite, ((k - 0.5) / top - self.loc) / self.scale)
        high = torch.where(k >= top, infinite, ((k + 0.5) / top - self.loc) / self.scale)
        width = torch.where((k <= 0) | (k >= top), infinite, 1 / (top * self.scale))
        return log_between(low, high, width)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw levels."""
        shape = self._extended_shape(torch.Size(sample_shape))
        u = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
        x = self.loc + self.scale * u.logit(eps=torch.finfo(u.dtype).eps)
        top = self.levels - 1
        return (x.clamp(0, 1) * top).round() / top
