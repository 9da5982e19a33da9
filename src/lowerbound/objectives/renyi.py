r"""Bounds between the evidence lower bound and the importance-weighted one, by Rényi's divergence: VR-IWAE.

.. math::
    \mathcal{L}_{\alpha, K} = \frac{1}{1 - \alpha} \, \mathbb{E} \log \frac1K \sum_{k=1}^K w_k^{1 - \alpha},
    \qquad 0 \le \alpha < 1

α = 0 is the importance-weighted bound; towards α = 1 it is the evidence lower bound for every K. For K → ∞ it is
:math:`\log p(x) - D_\alpha(q(z \mid x) \,\|\, p(z \mid x))`. The gradient of the bound as it stands, by
reparameterisation, is unbiased for every K (that of Li and Turner's bound is not).

References:
    Alpha-divergence variational inference meets importance weighted auto-encoders (Daudel et al., 2023),
    https://arxiv.org/abs/2210.06226, eq. 3;
    Rényi divergence variational inference (Li and Turner, 2016), https://arxiv.org/abs/1602.02311
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from ..errors import ConfigError
from ..model import VAE
from .base import Objective, ObjectiveOutput, check_counts, of_weights
from .schedules import Progress


class Renyi(Objective):
    """Rényi bound.

    Args:
        alpha: Order α, at least 0 and below 1.
        samples: Number K of samples.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(self, alpha: float = 0.5, samples: int = 8) -> None:
        super().__init__()
        if not 0 <= alpha < 1:
            raise ConfigError(
                f"Renyi needs 0 <= alpha < 1, where it is a lower bound (1 is the ELBO); got {alpha!r}"
            )
        check_counts(self, samples=samples)
        self.alpha, self.samples = alpha, samples

    def forward(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        out, order = model(x, c, self.samples), 1 - self.alpha
        bound = ((order * out.log_weight).logsumexp(0).mean() - math.log(self.samples)) / order
        return of_weights(out, bound)
