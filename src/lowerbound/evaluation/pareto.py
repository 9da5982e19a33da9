r"""How heavy is the tail of the importance weights: the Pareto shape k-hat.

Beyond a high threshold the excesses of the weights follow a generalised Pareto distribution,

.. math::
    p(y \mid k, \sigma) = \frac1\sigma \left(1 + \frac{k y}{\sigma}\right)^{-1/k - 1}, \qquad y > 0,

whose moments of order 1/k and above are infinite. For k > ½ the weights have no variance, and for k > 0.7 the
estimate of log p(x) cannot be trusted at any number of samples that one can afford.

The fit is an average over the profile likelihood of θ = −k/σ on a grid (Zhang and Stephens), as is usual with a
weak prior worth ten observations at k = ½.

Reference:
    Pareto smoothed importance sampling (Vehtari et al., 2024), https://arxiv.org/abs/1507.02646, section 3 and
    appendix C;
    A new and efficient estimation method for the generalized Pareto distribution (Zhang and Stephens, 2009),
    Technometrics 51(3)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

THRESHOLD = 0.7
"""Above this k-hat an importance sampling estimate is not to be trusted."""

_SMALLEST_TAIL = 5
_PRIOR_WEIGHT, _PRIOR_SHAPE = 10, 0.5

# Weights that agree within this many nats have no tail: any shape fitted to them would be that of round-off.
_FLAT = 1e-4


def tail_length(samples: int) -> int:
    """Return M, the number of largest weights that make up the tail: ⌈min(0.2 S, 3 √S)⌉."""
    return math.ceil(min(0.2 * samples, 3 * math.sqrt(samples)))


def fewest_samples() -> int:
    """Return the smallest number of samples with a tail long enough to be fitted."""
    return next(samples for samples in range(1, 1000) if tail_length(samples) >= _SMALLEST_TAIL)


def pareto_khat(largest: Tensor) -> Tensor:
    """Return k-hat of each column, (B,), from its M + 1 largest log weights.

    NaN if the tail is too short for a fit (M < 5); −∞ if its weights are all the same; +∞ if one weight is so
    large that the others vanish beside it.

    Args:
        largest: The M + 1 largest log weights, (M + 1, B), in descending order; the last is the threshold.
    """
    largest = largest.double()
    if len(largest) <= _SMALLEST_TAIL:
        return largest.new_full(largest.shape[1:], torch.nan)
    weights = torch.exp(largest - largest[0])
    k, _ = fit_generalised_pareto((weights[:-1] - weights[-1]).flip(0))
    k = torch.where(k.isnan(), torch.inf, k)
    return torch.where(largest[0] - largest[-1] < _FLAT, -torch.inf, k)


def fit_generalised_pareto(y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shape k, with its weak prior, and the scale σ of each column, both (B,).

    Args:
        y: Excesses over a threshold, (M, B), in ascending order. The result is NaN where more than a quarter of
            them are zero.
    """
    m = len(y)
    quartile = y[math.floor(m / 4 + 0.5) - 1]
    size = 30 + math.isqrt(m)
    grid = torch.arange(1, size + 1, dtype=y.dtype, device=y.device).unsqueeze(-1)
    theta = 1 / y[-1] + (1 - torch.sqrt(size / (grid - 0.5))) / (3 * quartile)
    # One grid point after the other: all at once would be an array of 40 times the weights.
    shapes = torch.stack([torch.log1p(-t * y).mean(0) for t in theta])
    profile = m * (torch.log(-theta / shapes) - shapes - 1)
    best = (profile.softmax(0) * theta).sum(0)
    k = torch.log1p(-best * y).mean(0)
    sigma = -k / best
    return (m * k + _PRIOR_WEIGHT * _PRIOR_SHAPE) / (m + _PRIOR_WEIGHT), sigma
