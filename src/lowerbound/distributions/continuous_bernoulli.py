r"""Continuous Bernoulli: a density on [0, 1] for grey levels, with its normaliser exact at every logit.

.. math::
    p(x \mid l) = \frac{e^{l x}}{Z(l)}, \qquad
    \log Z(l) = \log \int_0^1 e^{l x} dx = \max(l, 0) + \log \frac{1 - e^{-|l|}}{|l|}

``torch.distributions.ContinuousBernoulli`` computes the normaliser from clamped probabilities, so that it
stops being one for |l| > 16; networks do produce such logits for black borders.

Reference:
    The continuous Bernoulli (Loaiza-Ganem and Cunningham, 2019), https://arxiv.org/abs/1907.06845, eq. 4.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

# Below this |l| the closed forms lose digits to cancellation and the Taylor series is exact to float32.
_SERIES = 0.1
_ICDF_SERIES = 1e-3


class ContinuousBernoulliLogits(Distribution):
    """Continuous Bernoulli, parametrised by the logit of its discrete cousin.

    Args:
        logits: Natural parameter l, any shape; 0 is the uniform density.
    """

    # torch declares these two as properties and sets them as class attributes itself.
    arg_constraints = {"logits": constraints.real}  # noqa: RUF012  # pyright: ignore[reportAssignmentType]
    support = constraints.unit_interval  # pyright: ignore[reportAssignmentType]
    has_rsample = True

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        super().__init__(batch_shape=logits.shape, validate_args=False)

    def expand(self, batch_shape, _instance=None) -> ContinuousBernoulliLogits:
        """Return the same density with its parameters broadcast to ``batch_shape``."""
        return ContinuousBernoulliLogits(self.logits.expand(batch_shape))

    def _split(self) -> tuple[Tensor, Tensor]:
        """Return (is l small, l with the small ones replaced by 1): where() must not divide by zero."""
        small = self.logits.abs() < _SERIES
        return small, torch.where(small, torch.ones_like(self.logits), self.logits)

    @property
    def variance(self) -> Tensor:
        """Variance, the second derivative of log Z: 1/l² − e^−|l| / (1 − e^−|l|)²."""
        small, safe = self._split()
        a = safe.abs()
        exact = a.square().reciprocal() - (-a).exp() / torch.expm1(-a).square()
        l2 = self.logits.square()
        return torch.where(small, 1 / 12 - l2 / 240 + l2.square() / 6048, exact)

    @property
    def log_normaliser(self) -> Tensor:
        """log Z(l), elementwise."""
        small, safe = self._split()
        a = safe.abs()
        exact = safe.clamp(min=0) + torch.log(-torch.expm1(-a)) - torch.log(a)
        l2 = self.logits.square()
        series = self.logits / 2 + l2 / 24 - l2.square() / 2880
        return torch.where(small, series, exact)

    @property
    def mean(self) -> Tensor:
        """E[x] = d log Z / dl = 1 / (1 - exp(-l)) - 1 / l."""
        small, safe = self._split()
        exact = -1 / torch.expm1(-safe) - 1 / safe
        series = 0.5 + self.logits / 12 - self.logits**3 / 720
        return torch.where(small, series, exact)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(value), elementwise, in nats per unit of [0, 1]."""
        return value * self.logits - self.log_normaliser

    def icdf(self, value: Tensor) -> Tensor:
        """Return the quantile: log(1 + u (e^l - 1)) / l, mirrored for l > 0 so that nothing overflows."""
        # The value keeps its digits down to l = 0, its derivative in l does not: hence the series.
        small = self.logits.abs() < _ICDF_SERIES
        safe = torch.where(small, torch.ones_like(self.logits), self.logits)
        a = -safe.abs()
        u = torch.where(safe > 0, 1 - value, value)
        x = torch.log1p(u * torch.expm1(a)) / a
        x = torch.where(safe > 0, 1 - x, x)
        series = value + self.logits / 2 * value * (1 - value) * (1 + self.logits / 3 * (1 - 2 * value))
        return torch.where(small, series, x).clamp(0, 1)

    def rsample(self, sample_shape=torch.Size()) -> Tensor:  # noqa: B008
        """Draw by inversion; differentiable in the logits."""
        shape = self._extended_shape(sample_shape)
        u = torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device)
        # u = 0 has the right quantile, 0, but an infinite slope on the way to it.
        return self.icdf(u.clamp(min=torch.finfo(u.dtype).eps))
