"""Probabilities of intervals in log space, to the last digits where an interval is narrow or far in a tail."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .selection import log_tail

_NARROW = 0.05  # σ: below, the probability of an interval is taken from the density in its middle


def log_gaussian_interval(
    low: Tensor, high: Tensor, log_width: Tensor, mean: Tensor, scale: Tensor
) -> Tensor:
    """Return the log-probability that N(mean, scale²) lies in [low, high], or where these are equal its log-density.

    Args:
        low: Lower end.
        high: Upper end.
        log_width: Logarithm of their difference, or of what the density is to be multiplied by.
        mean: Means.
        scale: Standard deviations.
    """
    middle, width = ((low + high) / 2 - mean) / scale, (high - low) / scale
    narrow = width < _NARROW
    # The density in the middle times the width, to the second order in the width: the error is of the fourth.
    small = torch.where(narrow, width, 0.0)
    bend = torch.log1p((small.square() / 24 * (middle.square() - 1)).clamp(-0.5, 0.5))
    of_narrow = -0.5 * middle.square() - 0.5 * math.log(2 * math.pi) - scale.log() + log_width + bend
    # In the tail where Φ is not near 1, and so far inside that no gradient is 0 / 0.
    wide = torch.where(narrow, 1.0, width)
    far = middle.abs() + wide / 2
    top, bottom = log_tail(far - wide), log_tail(far)
    of_wide = top + torch.log(-torch.expm1((bottom - top).clamp(max=-1e-6)))
    return torch.where(narrow, of_narrow, of_wide)


def log_cauchy_interval(low: Tensor, high: Tensor, log_width: Tensor) -> Tensor:
    """Return the same as ``log_gaussian_interval`` of Cauchy's law around 0."""
    product = 1 + low * high
    # Of a difference of angles the tangent, which keeps the digits that the angles lose.
    between = torch.atan2(torch.where(high > low, log_width.exp(), 0.0), product).clamp(min=1e-30).log()
    return torch.where(high > low, between, log_width - product.log()) - math.log(math.pi)


def cauchy_quantile(p: Tensor, beneath: Tensor) -> Tensor:
    """Return the quantiles of Cauchy's law without its lowest part."""
    return torch.tan(math.pi * (beneath + (1 - beneath) * p - 0.5))
