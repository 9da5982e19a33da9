r"""The evidence lower bound and the importance-weighted one, weighed: CIWAE.

.. math:: \beta\, \mathbb{E}[\log w_k] + (1 - \beta) \log \frac1K \sum_k w_k

Reference:
    Tighter variational bounds are not necessarily better (Rainforth et al., 2018), https://arxiv.org/abs/1802.04537,
    eq. 14
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from ..errors import ConfigError
from ..model import VAE
from .base import Objective, ObjectiveOutput, check_counts, of_weights
from .schedules import Progress


class Combined(Objective):
    """Weighted mean of the evidence lower bound and the importance-weighted bound over the same draws.

    Args:
        samples: Number K of samples.
        beta: Weight of the evidence lower bound, between 0 and 1.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(self, samples: int = 8, beta: float = 0.5) -> None:
        super().__init__()
        check_counts(self, samples=samples)
        if not 0 <= beta <= 1:
            raise ConfigError(f"Combined needs beta between 0 and 1; got {beta!r}")
        self.samples, self.beta = samples, beta

    def forward(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        out = model(x, c, self.samples)
        elbo = out.log_weight.mean()
        weighted = out.log_weight.logsumexp(0).mean() - math.log(self.samples)
        return of_weights(out, self.beta * elbo + (1 - self.beta) * weighted)
