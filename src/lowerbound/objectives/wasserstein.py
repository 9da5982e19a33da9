r"""A distance of the aggregate posterior from the prior in place of the KL: Wasserstein autoencoders.

.. math:: -\mathbb{E}[\log p(x \mid z)] + \lambda\, D(q(z), p(z))

With a Gaussian likelihood of σ² = 1/2 the first term is the squared error plus a constant. Nothing keeps q(z | x)
wide: this is no bound on log p(x), and reports none.

References:
    Wasserstein auto-encoders (Tolstikhin et al., 2018), https://arxiv.org/abs/1711.01558, algorithm 2 (WAE-MMD);
    Sliced-Wasserstein autoencoder (Kolouri et al., 2018), https://arxiv.org/abs/1804.01947
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..model import VAE
from .base import Criterion, ObjectiveOutput, check_fixed_prior, check_weights, mean_penalty
from .distances import Distance, check_distance, check_real, to_prior
from .schedules import Progress


class Wasserstein(Criterion):
    """Reconstruction and a distance of q(z) from p(z); no bound.

    Args:
        weight: λ; 10 for MNIST and 100 for faces in the paper, beside squared errors summed over the pixels.
        distance: "mmd", "mmd_gaussian" or "sliced_wasserstein".

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(self, weight: float = 10.0, distance: Distance = "mmd") -> None:
        super().__init__()
        check_weights(self, weight=weight)
        check_distance(distance)
        self.weight, self.distance = weight, distance

    def forward(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        out = model(x, c)
        reconstruction, distance = out.log_likelihood.mean(), to_prior(out, self.distance)
        loss = self.weight * distance - reconstruction + mean_penalty(out)
        return self.judged(loss, reconstruction=reconstruction, **{self.distance: distance})

    def check(self, model: VAE, progress: Progress) -> None:
        """Raise ConfigError unless codes are real numbers and the prior has nothing to learn."""
        check_real(self, model)
        check_fixed_prior(self, model)
