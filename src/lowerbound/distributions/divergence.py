r"""Kullback-Leibler divergences in closed form.

.. math:: KL(q \| p) = \mathbb{E}_{z \sim q}[\log q(z) - \log p(z)] \ge 0
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    StudentT,
    kl_divergence,
)

# Of these, torch knows entropy, mean and variance, but no divergence from a factorised Gaussian.
_WITH_MOMENTS = (MultivariateNormal, LowRankMultivariateNormal, StudentT)


def closed_form_kl(q: Distribution, p: Distribution) -> Tensor | None:
    r"""Return KL(q || p) in nats with the batch shape of q and p, or None where no closed form is known.

    Besides torch's own pairs it knows a full-covariance, a low-rank or a Student-t law against a factorised Gaussian:
    the cross-entropy needs the mean μ and the variances v of q alone,

    .. math:: KL = \sum_d \frac{v_d + (\mu_d - m_d)^2}{2 s_d^2} + \log s_d \sqrt{2 \pi} \; - H[q]
    """
    factorised = p.base_dist if isinstance(p, Independent) else p
    family = q.base_dist if isinstance(q, Independent) else q
    if isinstance(factorised, Normal) and isinstance(family, _WITH_MOMENTS):
        square = (q.variance + (q.mean - factorised.loc).square()) / factorised.scale.square()
        cross = 0.5 * square + factorised.scale.log() + 0.5 * math.log(2 * math.pi)
        axes = len(p.event_shape)
        return (cross.flatten(cross.ndim - axes).sum(-1) if axes else cross) - q.entropy()
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return None


def kl_per_dimension(q: Distribution, p: Distribution) -> Tensor | None:
    """Return KL(q || p) of each latent dimension, (*batch, *event), or None.

    None unless both factorise and the closed form is known.
    """
    if not (isinstance(q, Independent) and isinstance(p, Independent)):
        return None
    if q.base_dist.event_shape or p.base_dist.event_shape:
        return None
    kl = closed_form_kl(q.base_dist, p.base_dist)
    return (
        None
        if kl is None
        else torch.broadcast_to(kl, torch.broadcast_shapes(q.batch_shape, p.batch_shape) + q.event_shape)
    )
