r"""The density whose negative logarithm is log cosh: like a Gaussian near its middle, like a Laplace law far from it.

.. math:: p(x) = \frac{\Gamma(\frac{a + 1}{2})}{\sqrt\pi\, \Gamma(\frac a2)\, s}
    \cosh\left(\frac{x - \mu}{s}\right)^{-a}

With t = (x − μ) / s, (1 + tanh t) / 2 is Beta(a/2, a/2): so it is drawn. For a = 1 it is the hyperbolic secant law,
for a = 2 the logistic one.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Beta, Distribution, constraints


class LogCosh(Distribution):
    """Law of a location, a scale and a power.

    Args:
        loc: Location μ, its mean.
        scale: Scale s > 0, same shape.
        power: Power a > 0 of the hyperbolic cosine.
    """

    arg_constraints: ClassVar = {}  # pyright: ignore[reportIncompatibleMethodOverride,reportAssignmentType]
    support = constraints.real  # pyright: ignore[reportAssignmentType]
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, power: float = 1.0) -> None:
        self.loc, self.scale, self.power = loc, scale, power
        super().__init__(torch.broadcast_shapes(loc.shape, scale.shape), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The location."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """s² ψ'(a/2) / 2, with the trigamma function ψ'."""
        half = torch.tensor(self.power / 2, dtype=torch.float64)
        return self.scale.square() * (torch.polygamma(1, half) / 2).item()

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(value), elementwise, in nats."""
        t = ((value - self.loc) / self.scale).abs()
        log_cosh = t + F.softplus(-2 * t) - math.log(2)
        half = self.power / 2
        constant = math.lgamma(half + 0.5) - math.lgamma(half) - 0.5 * math.log(math.pi)
        return constant - self.scale.log() - self.power * log_cosh

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw; differentiable in location and scale."""
        shape = self._extended_shape(torch.Size(sample_shape))
        half = torch.tensor(self.power / 2, dtype=self.loc.dtype, device=self.loc.device)
        u = Beta(half, half, validate_args=False).sample(shape)
        tiny = torch.finfo(u.dtype).tiny
        t = 0.5 * (u.clamp(min=tiny).log() - (1 - u).clamp(min=torch.finfo(u.dtype).eps / 2).log())
        return self.loc + self.scale * t
