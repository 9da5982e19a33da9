r"""A critic of codes in place of the KL: adversarial autoencoders, WAE-GAN.

.. math:: -\mathbb{E}[\log p(x \mid z)] - \lambda\, \mathbb{E}_{q(z)}[\log D(z)]

The critic D tells draws of the prior from codes; the encoder has them taken for draws of the prior. At the best D,
which is p(z) / (p(z) + q(z)), its loss is 2 ln 2 less twice the Jensen-Shannon divergence of q(z) and p(z).

References:
    Adversarial autoencoders (Makhzani et al., 2016), https://arxiv.org/abs/1511.05644;
    Wasserstein auto-encoders (Tolstikhin et al., 2018), https://arxiv.org/abs/1711.01558, algorithm 1 (WAE-GAN)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..model import VAE, VAEOutput
from .base import Criterion, ObjectiveOutput, WithCritic, check_fixed_prior, check_weights, mean_penalty
from .distances import check_real, from_prior
from .schedules import Progress


class Adversarial(WithCritic, Criterion):
    """Reconstruction and a critic of q(z) against p(z); no bound.

    Args:
        weight: λ; 10 for MNIST in the WAE paper, beside squared errors summed over the pixels.
        hidden: Widths of the critic's hidden layers.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(self, weight: float = 1.0, hidden: Sequence[int] = (256, 256)) -> None:
        super().__init__()
        check_weights(self, weight=weight)
        self.weight, self.hidden = weight, hidden

    def play(self, out: VAEOutput) -> tuple[ObjectiveOutput, tuple[Tensor, ...]]:
        """Return the model's part, and codes with as many draws of the prior."""
        z = out.z[0]
        with torch.no_grad():
            y = from_prior(out)
        fooled, reconstruction = softplus(-self.critic(z)).mean(), out.log_likelihood.mean()
        loss = self.weight * fooled - reconstruction + mean_penalty(out)
        return self.judged(loss, reconstruction=reconstruction, fooled=fooled), (z.detach(), y)

    def critics_loss(self, *shown: Tensor) -> Tensor:
        """Return minus the log-probability of telling codes from draws of the prior."""
        z, y = shown
        return softplus(-self.critic(y)).mean() + softplus(self.critic(z)).mean()

    def check(self, model: VAE, progress: Progress) -> None:
        """Raise ConfigError unless codes are real numbers and the prior has nothing to learn."""
        check_real(self, model)
        check_fixed_prior(self, model)
