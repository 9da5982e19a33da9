r"""The KL in three parts, each with a weight of its own: β-TCVAE.

.. math::
    \mathbb{E}_x KL(q(z \mid x) \,\|\, p(z)) = \underbrace{KL(q(z, x) \,\|\, q(z) p(x))}_{\text{mutual information}}
        + \underbrace{KL(q(z) \,\|\, \textstyle\prod_j q(z_j))}_{\text{total correlation}}
        + \underbrace{\mathbb{E}[\textstyle\sum_j \log q(z_j) - \log p(z)]}_{\text{of each dimension}}

:math:`q(z) = \frac1N \sum_n q(z \mid x_n)` over the N training examples is estimated from a batch of B, with its
constants, so that what is logged are nats:

- "mss", stratified: the example's own posterior counts 1/N, the others share the rest. Unbiased for q(z). (The paper
  gives one of the others a larger share; this is the mean over which one.)
- "mws", weighted: each counts 1/(NB). Too low by log B where only its own example could have given z, and by log N
  where all could: good for gradients, not as a number.

Reference:
    Isolating sources of disentanglement in VAEs (Chen et al., 2018), https://arxiv.org/abs/1802.04942, eq. 4 and
    appendix C
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, get_args

from torch import Tensor
from torch.distributions import Distribution, Independent

from ..errors import ConfigError
from ..model import VAE
from .base import Objective, ObjectiveOutput, check_weights, check_word, penalised
from .schedules import Progress

if TYPE_CHECKING:
    from ..data import Data

Aggregate = Literal["mss", "mws"]


def aggregate_log_probs(
    q: Distribution, z: Tensor, examples: int, aggregate: Aggregate = "mss"
) -> tuple[Tensor, Tensor]:
    """Return log q(z), (B,), and log q(z_j) of every dimension, (B, L), of the aggregate posterior, in nats.

    Args:
        q: Posteriors of a batch, (B,), that factorise.
        z: A draw from each, (B, *latent).
        examples: Number N of examples that the batch is drawn from.
        aggregate: "mss" or "mws".

    Raises:
        ConfigError: q does not factorise.
    """
    if not isinstance(q, Independent) or q.base_dist.event_shape:
        raise ConfigError(
            "the total correlation of q(z) needs a posterior that factorises; use 'diagonal_gaussian'"
        )
    batch = len(z)
    each = q.base_dist.log_prob(z.unsqueeze(1)).flatten(
        2
    )  # z of the example i under q of the example j: (B, B, L)
    if aggregate == "mws":
        log_share = each.new_full((batch, batch), -math.log(examples * batch))
    else:
        others = (1 - 1 / examples) / (batch - 1) if batch > 1 else 1.0
        share = each.new_full((batch, batch), others)
        log_share = share.fill_diagonal_(1 / examples if batch > 1 else 1.0).log()
    return (each.sum(2) + log_share).logsumexp(1), (each + log_share.unsqueeze(2)).logsumexp(1)


class TotalCorrelation(Objective):
    """Evidence lower bound with the KL's three parts weighed: β-TCVAE.

    Args:
        alpha: Weight of the mutual information of x and z.
        beta: Weight of the total correlation.
        gamma: Weight of the KL of each dimension.
        aggregate: Estimator of q(z), "mss" or "mws".

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self, alpha: float = 1.0, beta: float = 6.0, gamma: float = 1.0, aggregate: Aggregate = "mss"
    ) -> None:
        super().__init__()
        check_weights(self, alpha=alpha, beta=beta, gamma=gamma)
        check_word("aggregate", aggregate, get_args(Aggregate))
        self.alpha, self.beta, self.gamma = alpha, beta, gamma
        self.aggregate: Aggregate = aggregate
        self._examples: int | None = None

    def start(self, model: VAE, data: Data | None = None) -> None:
        """Take the number N of training examples; without data it is that of each batch."""
        self._examples = None if data is None else len(data.train)

    def forward(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        out = model(x, c)
        if len(out.draw.z) > 1:
            raise ConfigError("the total correlation of q(z) needs a latent of one level")
        examples = max(self._examples or 0, len(x))
        log_q_z, log_q_each = aggregate_log_probs(out.q, out.draw.z[0][0], examples, self.aggregate)
        log_q_each = log_q_each.sum(1)
        information = (out.log_posterior[0] - log_q_z).mean()
        correlation = (log_q_z - log_q_each).mean()
        dimensions = (log_q_each - out.log_prior[0]).mean()
        extra = self.alpha * information + self.beta * correlation + self.gamma * dimensions
        return penalised(out, extra, beta=0.0, mutual_information=information, total_correlation=correlation)
