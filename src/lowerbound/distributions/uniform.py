r"""Points of the unit cube carried to values of a distribution by its inverse distribution functions.

.. math:: z_j = \mu_j + \sigma_j \Phi^{-1}(u_j), \qquad k = \min\{k : p_1 + \dots + p_k \ge u\}

Evenly spread points become evenly spread values.

Reference:
    inversion: Non-uniform random variate generation (Devroye, 1986), chapters II.2 and III.2
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal
from torch.nn.functional import one_hot

from .one_hot import OneHot


def uniforms(p: Distribution) -> int | None:
    """Return how many numbers ``from_uniform`` takes for one value of ``p``; None if it does not know p."""
    if isinstance(p, OneHot):
        return 1
    factorised = isinstance(p, Independent) and isinstance(p.base_dist, Normal) and len(p.event_shape) == 1
    return p.event_shape[0] if factorised else None


def from_uniform(p: Distribution, u: Tensor) -> Tensor:
    """Return values (n, *event) of ``p`` for points (n, ``uniforms(p)``), strictly between 0 and 1.

    Args:
        p: A factorised Gaussian over vectors, or a one-hot categorical, of batch () or (1,); a Gaussian's may be any
            that the points have too.
        u: The points.
    """
    u = u.double()  # 32 bits would round the uppermost points to 1, where the Gaussian is infinite
    if isinstance(p, OneHot):
        edges = p.probs.reshape(-1, p.probs.shape[-1])[0].double().cumsum(-1)
        k = torch.searchsorted(edges / edges[-1], u[:, 0].contiguous())
        return one_hot(k, len(edges)).to(p.probs)
    loc, scale = p.mean, p.stddev
    return loc + scale * torch.special.ndtri(u).to(loc)
