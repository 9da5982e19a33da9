r"""Likelihood for compositions: how many of n events fall on each element, as words in a document.

.. math:: p(x \mid z) = p(n \mid z) \; \frac{n!}{\prod_d x_d!} \prod_d \rho_d^{x_d}, \qquad
    n = \sum_d x_d, \quad \rho = \text{softmax}(h)

without the first factor where the total n is given. The coefficient is part of the density; perplexities of topic
models are published without it. Where the shares themselves vary from one document or cell to the next, a Dirichlet
of mean ρ integrates them out.

Reference:
    Neural variational inference for text processing (Miao, Yu and Blunsom, 2016), https://arxiv.org/abs/1511.06038
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..distributions.counts import MultinomialLog, NegativeBinomialLog
from ..shapes import full_precision, numel
from .counts import LARGEST_LOG_MEAN, CountLikelihood, check_word, log_theta_of


class Multinomial(CountLikelihood):
    """Counts as shares of their total; the decoder gives the logarithms of the shares.

    Args:
        event_shape: Shape of one observation.
        total: "given", the density is that of x given its own total; or "modelled": the total is negative binomial,
            its log-mean and log θ being two more numbers of the decoder, and the density is that of x.
        dispersion: "none", or "learned": shares are drawn from a Dirichlet for each example, of one concentration.
    """

    log_concentration: Tensor

    def __init__(
        self,
        event_shape: int | Sequence[int],
        total: Literal["given", "modelled"] = "given",
        dispersion: Literal["none", "learned"] = "none",
    ) -> None:
        check_word("Multinomial", "total", total, ("given", "modelled"))
        check_word("Multinomial", "dispersion", dispersion, ("none", "learned"))
        super().__init__(event_shape, 1, "total" if total == "given" else None)
        self.total, self.dispersion = total, dispersion
        if total == "modelled":
            self.input_shape = (numel(self.event_shape) + 2,)
        if dispersion == "learned":
            self.log_concentration = nn.Parameter(torch.tensor(4.0))

    def forward(self, h: Tensor) -> Distribution:
        """Return p(x | z), or p(x | z, total), from (..., *input_shape)."""
        axes, h = len(self.event_shape), full_precision(h)
        total = None
        log_total = getattr(self, "log_total", None)
        if self.total == "modelled":
            h, location, log_theta = h.split([h.shape[-1] - 2, 1, 1], -1)
            total = NegativeBinomialLog(
                location.squeeze(-1).clamp(max=LARGEST_LOG_MEAN), log_theta_of(log_theta.squeeze(-1))
            )
            scores = h.unflatten(-1, self.event_shape)
        else:
            scores = h.squeeze(-1 - axes)
        concentration = None
        if self.dispersion == "learned":
            concentration = log_theta_of(self.log_concentration).exp()
        return MultinomialLog(scores, axes, log_total, concentration, total)

    def information(self, p: Distribution, u: Tensor) -> Sequence[Tensor] | None:
        """Return of each element √μ log μ, √μ held fixed; None where the total or the shares have a law too."""
        if self.total == "modelled" or self.dispersion == "learned":
            return None
        assert isinstance(p, MultinomialLog)
        log_mean = p.log_means(u)
        return [(log_mean / 2).exp().detach() * log_mean]

    def start(self, u: Tensor, model: Any) -> Tensor:
        """Return the logarithms of the mean shares, and those of the totals' mean and θ."""
        self._remember_totals(u)
        scores = ((u.sum(0) + 0.5) / (len(u) + 1)).log()
        if self.total == "given":
            return scores.unsqueeze(0)
        totals = u.flatten(1).sum(1)
        mean, variance = totals.mean().clamp(min=1e-3), totals.var(correction=0)
        theta = (mean.square() / (variance - mean).clamp(min=1e-2 * mean)).clamp(0.1, 100)
        return torch.cat([scores.flatten(), torch.stack([mean, theta]).log()])
