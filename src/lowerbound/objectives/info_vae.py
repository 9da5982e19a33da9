r"""The mutual information of x and z kept, and the aggregate posterior drawn to the prior: InfoVAE.

.. math::
    -\mathbb{E}[\log p(x \mid z)] + (1 - \alpha)\, KL(q(z \mid x) \,\|\, p(z))
        + (\alpha + \lambda - 1)\, D(q(z), p(z))

With α = 1 the KL is gone (an MMD-VAE), with α = 0 and λ = 1 this is the evidence lower bound. A weight of D below 0
would reward a mismatch, so it is refused.

Reference:
    InfoVAE: balancing learning and inference in variational autoencoders (Zhao, Song and Ermon, 2019),
    https://arxiv.org/abs/1706.02262, eq. 6
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..errors import ConfigError
from ..model import VAE
from .base import Objective, ObjectiveOutput, check_weights, penalised
from .distances import Distance, check_distance, check_real, to_prior
from .schedules import Progress


class InfoVAE(Objective):
    """Evidence lower bound with less of the KL and a distance of q(z) from p(z).

    Args:
        alpha: Share of the KL that is left out, at most 1.
        weight: λ; the distance has the weight α + λ − 1, which must not be below 0.
        distance: "mmd" with the kernel of Wasserstein autoencoders, "mmd_gaussian", or "sliced_wasserstein".

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(self, alpha: float = 0.5, weight: float = 100.0, distance: Distance = "mmd") -> None:
        super().__init__()
        check_weights(self, weight=weight)
        check_distance(distance)
        if not alpha <= 1:
            raise ConfigError(f"InfoVAE needs alpha <= 1, so that the KL is not rewarded; got {alpha!r}")
        if not alpha + weight >= 1:
            raise ConfigError(
                f"InfoVAE needs alpha + weight >= 1: with {alpha:g} + {weight:g} the distance of q(z) from p(z) has "
                f"the weight {alpha + weight - 1:g}, a reward for mismatch"
            )
        self.alpha, self.weight, self.distance = alpha, weight, distance

    def forward(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        out = model(x, c)
        distance = to_prior(out, self.distance)
        weighed = (self.alpha + self.weight - 1) * distance
        return penalised(out, weighed, beta=1 - self.alpha, **{self.distance: distance})

    def check(self, model: VAE, progress: Progress) -> None:
        """Raise ConfigError unless codes are real numbers."""
        check_real(self, model)
