"""Diagonal Gaussians from unconstrained numbers, as posteriors and priors make them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from ..shapes import full_precision

# Scales stay within exp(±12). The bound is smooth, so a scale that has gone astray still has a gradient
# that leads back; "invalid loc/scale" is the failure that users of other libraries report most.
_LOG_SCALE_BOUND = 12.0


def bounded_exp(raw: Tensor) -> Tensor:
    """Return exp(raw) for small ``raw``, and something positive and finite for any."""
    return torch.exp(_LOG_SCALE_BOUND * torch.tanh(raw / _LOG_SCALE_BOUND))


def diagonal_gaussian(h: Tensor, axes: int) -> Distribution:
    """Return the factorised Gaussian of means and log-scales.

    Args:
        h: Means and log-scales, (..., 2, *event).
        axes: Number of event axes.
    """
    loc, raw = full_precision(h).unbind(-1 - axes)
    return factorised_gaussian(loc, bounded_exp(raw), axes)


def factorised_gaussian(loc: Tensor, scale: Tensor, axes: int) -> Independent:
    """Return N(loc, diag scale²), of which the last ``axes`` axes are the event."""
    return Independent(Normal(loc, scale, validate_args=False), axes, validate_args=False)
