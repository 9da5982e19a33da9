r"""Likelihoods for black-and-white pixels and for grey levels in [0, 1].

.. math:: \log p(x \mid z) = \sum_d x_d l_d - \log(1 + e^{l_d}), \qquad x_d \in \{0, 1\}

With grey levels this expression is no log-density: it does not integrate to one. Binarise, or use the
continuous Bernoulli, which has the normaliser.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from ..distributions import BernoulliLogits, ContinuousBernoulliLogits
from .base import Likelihood


class Bernoulli(Likelihood):
    """Independent binary observations; the decoder gives logits.

    Args:
        event_shape: Shape of one observation.
    """

    scores = frozenset({"binary"})

    def __init__(self, event_shape: int | Sequence[int]) -> None:
        super().__init__(event_shape)

    def law(self, logits: Tensor) -> Distribution:
        """Return the Bernoulli distribution of each element."""
        return BernoulliLogits(logits)

    def information(self, p: Distribution, u: Tensor) -> Sequence[Tensor]:
        """Return the logits in units of their standard error, whose inverse square is the variance of x."""
        logits: Tensor = p.base_dist.logits  # pyright: ignore[reportAttributeAccessIssue]
        return [(logits.sigmoid() * (-logits).sigmoid()).sqrt().detach() * logits]

    def check(self, x: Tensor) -> None:
        """Raise SupportError unless x is 0 or 1 everywhere."""
        self.refuse(
            x,
            (x != 0) & (x != 1),
            "{0, 1}",
            "binarise the data (binarize='dynamic'), or use 'continuous_bernoulli'",
        )

    def start(self, u: Tensor, model: Any) -> Tensor:
        """Return the logit of the mean, away from ±∞ where a pixel never changes."""
        return u.mean(0).clamp(0.01, 0.99).logit().unsqueeze(0)


class ContinuousBernoulli(Likelihood):
    """Independent grey levels in [0, 1] with a density monotone in x; the decoder gives logits.

    Args:
        event_shape: Shape of one observation.

    Reference:
        The continuous Bernoulli (Loaiza-Ganem and Cunningham, 2019), https://arxiv.org/abs/1907.06845
    """

    scores = frozenset({"binary", "unit"})

    def __init__(self, event_shape: int | Sequence[int]) -> None:
        super().__init__(event_shape)

    def law(self, logits: Tensor) -> Distribution:
        """Return the continuous Bernoulli distribution of each element."""
        return ContinuousBernoulliLogits(logits)

    def information(self, p: Distribution, u: Tensor) -> Sequence[Tensor]:
        """Return the logits in units of their standard error, whose inverse square is the variance of x."""
        base = p.base_dist  # pyright: ignore[reportAttributeAccessIssue]
        return [base.variance.sqrt().detach() * base.logits]

    def check(self, x: Tensor) -> None:
        """Raise SupportError unless 0 <= x <= 1 everywhere."""
        self.refuse(x, ~((x >= 0) & (x <= 1)), "[0, 1]", "rescale the data, or use 'gaussian'")

    def start(self, u: Tensor, model: Any) -> Tensor:
        """Return a logit whose mean is near the data's, away from ±∞ where a pixel never changes."""
        # The mean is ½ + ½ L(l/2) with the Langevin function L(t) = coth t − 1/t, whose inverse is
        # y (3 − y²) / (1 − y²) within 5 % (Cohen, 1991).
        y = 2 * u.mean(0).clamp(0.05, 0.95) - 1
        return (2 * y * (3 - y**2) / (1 - y**2)).unsqueeze(0)
