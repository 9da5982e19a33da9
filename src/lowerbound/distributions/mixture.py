r"""A mixture of distributions of one family.

.. math:: p(z) = \sum_k \pi_k \, p_k(z)
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

_MANY = 2**12  # numbers of all parts' means
_AT_ONCE = 2**24  # numbers drawn at a time


class Mixture(Distribution):
    """Mixture over the first batch axis of ``parts``; torch's own takes the last one.

    Args:
        parts: K distributions, batch (K, *batch).
        logits: Unnormalised log-probabilities of the parts, (K,) or (K, *batch); equal ones if not given.
    """

    arg_constraints: ClassVar = {}  # pyright: ignore[reportIncompatibleMethodOverride,reportAssignmentType]

    def __init__(self, parts: Distribution, logits: Tensor | None = None) -> None:
        count, *batch = parts.batch_shape
        logits = torch.zeros(count) if logits is None else logits
        self.parts = parts
        self.log_share = logits.log_softmax(0).reshape(*logits.shape, *[1] * (1 + len(batch) - logits.ndim))
        super().__init__(torch.Size(batch), parts.event_shape, validate_args=False)

    @property
    def support(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        """That of the parts."""
        return self.parts.support

    def _over_parts(self, values: Tensor) -> Tensor:
        """Return the mean over the parts of (K, *batch, *event)."""
        share = self.log_share.to(values).exp()
        return (share.reshape(*share.shape, *[1] * len(self.event_shape)) * values).sum(0)

    @property
    def mean(self) -> Tensor:
        """Mean, (*batch, *event)."""
        return self._over_parts(self.parts.mean)

    @property
    def variance(self) -> Tensor:
        """Variance of each number: the mean of the parts' variances plus the variance of their means."""
        return self._over_parts(self.parts.variance + (self.parts.mean - self.mean).square())

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density in nats, (*sample, *batch), of values (*sample, *batch, *event)."""
        axis = -1 - len(self.batch_shape)
        lead = torch.broadcast_shapes(value.shape[: value.ndim - len(self.event_shape)], self.batch_shape)
        value = value.expand(*lead, *self.event_shape)
        base = getattr(self.parts, "base_dist", None)
        if isinstance(base, Normal) and base.loc.numel() >= _MANY:
            each = self._by_products(value, base)
        else:
            each = self.parts.log_prob(value.unsqueeze(axis - len(self.event_shape)))
        return (each + self.log_share.to(each)).logsumexp(axis)

    def _by_products(self, value: Tensor, parts: Normal) -> Tensor:
        """Return the log-densities of the parts, (*sample, K, *batch), all being Gaussians of independent numbers.

        Their squares are multiplied out, so that nothing of the size of values times parts times numbers is made.
        What cancels costs digits: without gradients, where results are reported, it is worked out in float64.
        """
        count, length = len(parts.loc), self.event_shape.numel()
        sample = value.shape[: value.ndim - len(self.event_shape) - len(self.batch_shape)]
        exact = value.dtype if torch.is_grad_enabled() else torch.float64
        loc, scale = (t.reshape(count, -1, length).to(exact) for t in (parts.loc, parts.scale))
        middle = loc.detach().mean(0)
        z, loc = value.to(exact).reshape(-1, loc.shape[1], length) - middle, loc - middle
        precision = scale.square().reciprocal()
        alone = (
            (loc.square() * precision).sum(-1) / 2 + scale.log().sum(-1) + length * math.log(2 * math.pi) / 2
        )
        each = torch.einsum("sbl,kbl->skb", z, loc * precision)
        each = each - torch.einsum("sbl,kbl->skb", z.square(), precision) / 2 - alone
        return each.to(value.dtype).reshape(*sample, count, *self.batch_shape)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample, *batch, *event)."""
        shape, batch, event = torch.Size(sample_shape), self.batch_shape, self.event_shape
        # All parts are drawn from and one draw taken (a family cannot be asked for some of its batch): few at once.
        each = max(1, _AT_ONCE // max(1, len(self.log_share) * batch.numel() * event.numel()))
        drawn = [self._sample(min(each, shape.numel() - first)) for first in range(0, shape.numel(), each)]
        return torch.cat(drawn).reshape(*shape, *batch, *event)

    def _sample(self, n: int) -> Tensor:
        drawn = self.parts.sample((n,))  # (n, K, *batch, *event)
        share = self.log_share.to(drawn).exp().expand(-1, *self.batch_shape).movedim(0, -1)
        k = torch.distributions.Categorical(share, validate_args=False).sample((n,))
        index = k.reshape(n, 1, *self.batch_shape, *[1] * len(self.event_shape))
        return drawn.gather(1, index.expand(n, 1, *self.batch_shape, *self.event_shape)).squeeze(1)
