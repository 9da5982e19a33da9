r"""Kullback-Leibler divergences in closed form.

.. math:: KL(q \| p) = \mathbb{E}_{z \sim q}[\log q(z) - \log p(z)] \ge 0
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal, kl_divergence


def closed_form_kl(q: Distribution, p: Distribution) -> Tensor | None:
    r"""Return KL(q || p) in nats with the batch shape of q and p, or None where no closed form is known.

    Besides torch's own pairs it knows a full-covariance Gaussian against a factorised one, for which

    .. math::
        KL = \tfrac12 \left[\operatorname{tr} D^{-1} \Sigma + (\mu - m)^\top D^{-1} (\mu - m) - k
             + \log\det D - \log\det \Sigma\right]

    and with p = N(0, I) this is ½[tr Σ + μᵀμ − k − log det Σ].
    """
    if isinstance(q, MultivariateNormal) and isinstance(p, Independent) and isinstance(p.base_dist, Normal):
        scale = p.base_dist.scale
        tril = q.scale_tril / scale.unsqueeze(-1)
        shift = (q.loc - p.base_dist.loc) / scale
        log_det = tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return 0.5 * (tril.square().sum((-2, -1)) + shift.square().sum(-1) - shift.shape[-1]) - log_det
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
    return None if kl is None else torch.broadcast_to(kl, q.batch_shape + q.event_shape)
