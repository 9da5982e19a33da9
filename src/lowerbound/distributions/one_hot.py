r"""One of K, as a one-hot vector.

.. math:: \log p(z) = \sum_k z_k \log p_k, \qquad KL(q \| p) = \sum_k q_k \log \frac{q_k}{p_k}
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, constraints
from torch.distributions.kl import register_kl
from torch.nn.functional import one_hot


class OneHot(Distribution):
    """One-hot vectors; torch's own cannot be traced into a graph, nor have classes of probability 0.

    Args:
        logits: Log-probabilities of the K values, (*batch, K); normalised here. One of −∞ is a value that never is.
    """

    arg_constraints: ClassVar = {}  # pyright: ignore[reportIncompatibleMethodOverride,reportAssignmentType]
    support = constraints.one_hot  # pyright: ignore[reportAssignmentType]

    def __init__(self, logits: Tensor) -> None:
        self.log_probs = logits.log_softmax(-1)
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=False)

    @property
    def probs(self) -> Tensor:
        """Probabilities, (*batch, K)."""
        return self.log_probs.exp()

    @property
    def mean(self) -> Tensor:
        """The probabilities."""
        return self.probs

    @property
    def variance(self) -> Tensor:
        """Variance of each entry, (*batch, K)."""
        return self.probs * (1 - self.probs)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample, *batch, K)."""
        k = Categorical(logits=self.log_probs, validate_args=False).sample(torch.Size(sample_shape))
        return one_hot(k, self.log_probs.shape[-1]).to(self.log_probs)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability in nats, (*sample, *batch), of one-hot vectors (*sample, *batch, K)."""
        # Not a product: the values that were not drawn may have probability 0.
        return torch.where(value > 0, self.log_probs, 0.0).sum(-1)


@register_kl(OneHot, OneHot)
def _kl(q: OneHot, p: OneHot) -> Tensor:
    return torch.where(q.probs > 0, q.probs * (q.log_probs - p.log_probs), 0.0).sum(-1)
