r"""A latent with a discrete part: which cell k of a partition of the data space, and a Gaussian e within it.

.. math:: p(k, e) = p_k \, \mathcal{N}(e; \mu, \operatorname{diag} \sigma^2), \qquad
    KL(q \| p) = \sum_k q_k \log \frac{q_k}{p_k} + KL(\mathcal{N}_q \| \mathcal{N}_p)

A value is the one-hot vector of k with e behind it, (K + L,). Points of the unit cube become values by the inverse
distribution functions,

.. math:: k = \min\{k : p_1 + \dots + p_k \ge u_0\}, \qquad e_j = \mu_j + \sigma_j \Phi^{-1}(u_j)

Reference:
    chain rule of the divergence: Elements of information theory (Cover and Thomas, 2006), section 2.5;
    inversion: Non-uniform random variate generation (Devroye, 1986), chapters II.2 and III.2
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, Normal, constraints
from torch.distributions.kl import kl_divergence, register_kl
from torch.nn.functional import one_hot


class CellNormal(Distribution):
    """Independent cell number and Gaussian.

    Args:
        log_probs: Log-probabilities of the K cells, (*batch, K); normalised here. One of −∞ is a cell that never is.
        loc: Means of the Gaussian part, (*batch, L).
        scale: Standard deviations, (*batch, L).
    """

    arg_constraints: ClassVar = {}  # pyright: ignore[reportIncompatibleMethodOverride,reportAssignmentType]
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType]
    has_rsample = True

    def __init__(self, log_probs: Tensor, loc: Tensor, scale: Tensor) -> None:
        batch = torch.broadcast_shapes(log_probs.shape[:-1], loc.shape[:-1], scale.shape[:-1])
        loc, scale = (t.expand(*batch, -1) for t in (loc, scale))
        self.log_probs = log_probs.log_softmax(-1).expand(*batch, -1)
        self.normal = Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)
        self.cells = log_probs.shape[-1]
        super().__init__(batch, torch.Size((self.cells + loc.shape[-1],)), validate_args=False)

    def expand(self, batch_shape, _instance=None) -> CellNormal:
        """Return the same distribution broadcast to ``batch_shape``."""
        parts = (self.log_probs, self.normal.mean, self.normal.stddev)
        return CellNormal(*(part.expand(*batch_shape, -1) for part in parts))

    @property
    def probs(self) -> Tensor:
        """Probabilities of the cells, (*batch, K)."""
        return self.log_probs.exp()

    @property
    def mean(self) -> Tensor:
        """Probabilities of the cells and means of the Gaussian, (*batch, K + L)."""
        return torch.cat([self.probs, self.normal.mean], -1)

    @property
    def variance(self) -> Tensor:
        """Variance of the one-hot vector and of the Gaussian, (*batch, K + L)."""
        return torch.cat([self.probs * (1 - self.probs), self.normal.variance], -1)

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample, *batch, K + L); a gradient passes through the Gaussian part only."""
        shape = torch.Size(sample_shape)
        k = Categorical(logits=self.log_probs.detach(), validate_args=False).sample(shape)
        return torch.cat([one_hot(k, self.cells).to(self.log_probs), self.normal.rsample(shape)], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of the cell plus log-density of the Gaussian, nats, (*sample, *batch)."""
        chosen, e = value.split([self.cells, value.shape[-1] - self.cells], -1)
        # Not a product: the cells that were not drawn may have probability 0.
        return torch.where(chosen > 0, self.log_probs, 0.0).sum(-1) + self.normal.log_prob(e)


@register_kl(CellNormal, CellNormal)
def _kl(q: CellNormal, p: CellNormal) -> Tensor:
    of_cells = torch.where(q.probs > 0, q.probs * (q.log_probs - p.log_probs), 0.0)
    return of_cells.sum(-1) + kl_divergence(q.normal, p.normal)


def from_uniform(p: Distribution, u: Tensor) -> Tensor:
    """Carry points of the unit cube to values of ``p``, evenly spread points to evenly spread values.

    Args:
        p: A factorised Gaussian over L dimensions, or a ``CellNormal``, with batch () or (1,).
        u: Points (n, ``uniforms(p)``), strictly between 0 and 1.

    Returns:
        Values (n, *event): inverse distribution functions, of the cells by the first coordinate.
    """
    normal = p.normal if isinstance(p, CellNormal) else p
    loc, scale = (t.reshape(-1, t.shape[-1]) for t in (normal.mean, normal.stddev))
    u = u.double()  # 32 bits would round the uppermost points to 1, where the Gaussian is infinite
    e = loc + scale * torch.special.ndtri(u[:, u.shape[1] - loc.shape[1] :]).to(loc)
    if not isinstance(p, CellNormal):
        return e
    edges = p.log_probs.reshape(-1, p.cells)[0].double().exp().cumsum(-1)
    k = torch.searchsorted(edges / edges[-1], u[:, 0].contiguous())
    return torch.cat([one_hot(k, p.cells).to(e), e], -1)


def uniforms(p: Distribution) -> int | None:
    """Return how many numbers ``from_uniform`` takes for one value of ``p``; None if it does not know p."""
    if isinstance(p, CellNormal):
        return 1 + p.event_shape[0] - p.cells
    factorised = isinstance(p, Independent) and isinstance(p.base_dist, Normal) and len(p.event_shape) == 1
    return p.event_shape[0] if factorised else None
