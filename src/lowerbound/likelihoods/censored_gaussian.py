r"""Gaussian likelihood of what is measured up to a limit: an instrument's end of scale, a study's last day.

.. math:: \log p(x \mid z) = \sum_{d:\, x_d < c_d} \log N(x_d; \mu_d(z), \sigma_d)
    + \sum_{d:\, x_d = c_d} \log \Phi\left(\frac{\mu_d(z) - c_d}{\sigma_d}\right)

Reference:
    Estimation of relationships for limited dependent variables (Tobin, 1958), Econometrica 26, 24-36
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..distributions import CensoredNormal
from ..errors import ConfigError
from ..shapes import numel
from .location_scale import LocationScale, Scale


class CensoredGaussian(LocationScale):
    """Independent Gaussian observations, each seen up to its limit.

    Args:
        event_shape: Shape of one observation.
        limit: Limit c in the units of x, one for all elements or a flat list of one each; ∞ for none.
        scale: As ``LocationScale``'s.

    Raises:
        ConfigError: the limits are no numbers or too few, or the scale is none.
    """

    standardised = False
    bound: Tensor
    middle: Tensor
    unit: Tensor

    def __init__(
        self,
        event_shape: int | Sequence[int],
        limit: float | Sequence[float],
        scale: float | Scale = "per_dimension",
    ) -> None:
        super().__init__(event_shape, scale)
        each = list(limit) if isinstance(limit, Sequence) and not isinstance(limit, str) else [limit]
        numbers = all(isinstance(c, Real) and not isinstance(c, bool) and not math.isnan(c) for c in each)
        if not numbers or len(each) not in (1, numel(self.event_shape)):
            raise ConfigError(
                f"CensoredGaussian needs a number as limit, or one for each of {numel(self.event_shape)} elements; "
                f"got {limit!r}"
            )
        self.limit = limit
        # Data come in float32: a limit of more digits would never be reached.
        c = torch.tensor(each, dtype=torch.float32).to(torch.get_default_dtype())
        self.register_buffer(
            "bound", c.expand(numel(self.event_shape)).reshape(self.event_shape).clone(), persistent=False
        )
        # Units of its own, those of the data: a transform would have to take the limit along.
        self.register_buffer("middle", torch.zeros(self.event_shape))
        self.register_buffer("unit", torch.ones(self.event_shape))

    def features(self, x: Tensor) -> Tensor:
        """Return x in units of the data's spread."""
        return (x - self.middle) / self.unit

    @torch.no_grad()
    def start(self, u: Tensor, model: Any) -> Tensor:
        """Take middle and spread of the data as units; the rest as ``LocationScale``."""
        self.middle.copy_(u.mean(0))
        spread = u.std(0, correction=0)
        self.unit.copy_(torch.where(spread > 0, spread, 1.0))
        return super().start(self.features(u), model)

    def law(self, loc: Tensor, scale: Tensor) -> Distribution:
        """Return the censored Gaussian of each element."""
        if not loc.ndim:
            return CensoredNormal(loc, scale, torch.full_like(loc, math.inf))
        middle, unit, bound = (t.to(loc) for t in (self.middle, self.unit, self.bound))
        return CensoredNormal(middle + unit * loc, unit * scale, bound)

    def check(self, x: Tensor) -> None:
        """Raise SupportError unless x is finite and nowhere above its limit."""
        super().check(x)
        self.refuse(
            x, x > self.bound.to(x), "what is up to the limit", "set limit to the largest value there is"
        )
