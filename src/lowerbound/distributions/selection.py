r"""A Gaussian of which a value is missing with a probability that depends on the value itself.

.. math:: u \sim N(\mu, \sigma^2), \qquad P(m = 1 \mid u) = \text{sigmoid}(a + b u)

The logistic function is a mixture of normal ones, :math:`\text{sigmoid}(t) = E_K \Phi(t / 2K)` with Kolmogorov's K.
So m is the sign of a Gaussian given K, and what is asked of u has a closed form:

.. math::
    P(m = 1) = E_K \Phi(t_K), \qquad t_K = \frac{a + b\mu}{s_K}, \qquad s_K = \sqrt{4K^2 + b^2\sigma^2}, \qquad
    E[u \mid m = 1, K] = \mu + \frac{b\sigma^2}{s_K} \frac{\phi(t_K)}{\Phi(t_K)}

however steep the logistic function is beside the Gaussian, where quadrature over u has no digits left. The
expectation over K is a sum over 20 points evenly spaced in log K; where :math:`|a + bu| < 10`, its logarithm is right
to 2e-9.

Reference:
    A normal scale mixture representation of the logistic distribution (Stefanski, 1991), Statistics and Probability
    Letters 11, 69-70
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .relaxed import with_gumbel_noise

_FAR = 20.0  # σ


def log_tail(t: Tensor) -> Tensor:
    """Return log Φ(-t), far out by its asymptote: there the gradient of torch's own overflows."""
    near = torch.special.log_ndtr(-t.clamp(max=_FAR))
    far = t.clamp(min=_FAR)
    beyond = -0.5 * far.square() - far.log() - 0.5 * math.log(2 * math.pi) - far.pow(-2)
    return torch.where(t < _FAR, near, beyond)


def _kolmogorov() -> tuple[np.ndarray, np.ndarray]:
    """Return the points 4K² and the logarithms of their weights."""
    s = np.linspace(math.log(0.22), math.log(4.0), 20)
    k, j = np.exp(s), np.arange(1, 80)[:, None]
    weight = k * 8 * k * ((-1.0) ** (j + 1) * j**2 * np.exp(-2 * j**2 * k**2)).sum(0)
    return 4 * k**2, np.log(weight / weight.sum())


_POINTS, _LOG_WEIGHTS = _kolmogorov()


class SelectedGaussian:
    """What is missing of a Gaussian.

    Args:
        mean: μ, (...).
        scale: σ.
        offset: a, broadcast to them.
        slope: b.
    """

    def __init__(self, mean: Tensor, scale: Tensor, offset: Tensor, slope: Tensor) -> None:
        self.mean_of_all, self.scale, self.slope = mean, scale, slope
        points, log_weight = (
            torch.as_tensor(t, dtype=mean.dtype, device=mean.device) for t in (_POINTS, _LOG_WEIGHTS)
        )
        self.spread = (points + (slope * scale).square().unsqueeze(-1)).sqrt()  # (..., K)
        self.t = (offset + slope * mean).unsqueeze(-1) / self.spread
        self.log_each = log_weight + log_tail(-self.t)

    @property
    def log_missing(self) -> Tensor:
        """The log-probability of being missing, (...)."""
        return self.log_each.logsumexp(-1)

    @property
    def mean(self) -> Tensor:
        """The mean of what is missing, (...)."""
        hazard = torch.exp(-0.5 * self.t.square() - 0.5 * math.log(2 * math.pi) - log_tail(-self.t))
        rise = (self.log_each.softmax(-1) * hazard / self.spread).sum(-1)
        return self.mean_of_all + self.slope * self.scale.square() * rise

    def sample(self, sample_shape: torch.Size) -> Tensor:
        """Draw what is missing, (*sample_shape, ...)."""
        shape = (*sample_shape, *self.log_each.shape)
        chosen = with_gumbel_noise(self.log_each, shape).argmax(-1, keepdim=True)
        t, spread = (part.expand(shape).gather(-1, chosen).squeeze(-1) for part in (self.t, self.spread))
        # Of a normal number that is larger than -t: its negative is below t, where a small Φ keeps its digits.
        uniform = torch.rand(t.shape, dtype=torch.float64, device=t.device).clamp(min=1e-300)
        below = torch.special.ndtri(uniform * torch.special.ndtr(t.double().clamp(min=-35))).clamp(-38, 38)
        rise = -below.to(t.dtype)
        share = self.slope * self.scale / spread
        rest = (1 - share.square()).clamp(min=0).sqrt() * torch.randn_like(t)
        return self.mean_of_all + self.scale * (share * rise + rest)
