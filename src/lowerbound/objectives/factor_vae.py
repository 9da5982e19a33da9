r"""The total correlation of q(z), estimated by a critic and taken from the evidence lower bound.

.. math:: \mathcal{L} - \gamma \, KL(q(z) \,\|\, \textstyle\prod_j q(z_j)), \qquad
    KL \approx \mathbb{E}_{q(z)}\left[\log \frac{D(z)}{1 - D(z)}\right]

The critic D tells codes from codes whose dimensions were shuffled over a batch. It sees codes of one half of the
batch as they are, and those of the other half shuffled: of the same codes, shuffled ones are no independent sample.

Reference:
    Disentangling by factorising (Kim and Mnih, 2018), https://arxiv.org/abs/1802.05983, algorithm 2
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..model import VAE, VAEOutput
from .base import ObjectiveOutput, WithCritic, check_weights, penalised
from .distances import check_real
from .schedules import Progress


class FactorVAE(WithCritic):
    """Evidence lower bound less γ times the total correlation of q(z), which a critic estimates.

    Args:
        gamma: Weight of the total correlation; 10 to 100 in the paper and its followers.
        hidden: Widths of the critic's hidden layers; six of 1000 in the paper.
    """

    def __init__(self, gamma: float = 10.0, hidden: Sequence[int] = (256, 256, 256)) -> None:
        super().__init__()
        check_weights(self, gamma=gamma)
        self.gamma, self.hidden = gamma, hidden

    def play(self, out: VAEOutput) -> tuple[ObjectiveOutput, tuple[Tensor, ...]]:
        """Return the model's part, and half of the codes with the other half shuffled."""
        z = out.z[0]
        correlation = self.critic(z).mean()  # log D / (1 − D)
        done = penalised(out, self.gamma * correlation, total_correlation=correlation)
        z, half = z.detach(), (len(z) + 1) // 2
        return done, (z[:half], shuffled(z[-half:]))

    def critics_loss(self, *shown: Tensor) -> Tensor:
        """Return the cross-entropy of telling codes from shuffled ones."""
        codes, others = shown
        return (softplus(-self.critic(codes)).mean() + softplus(self.critic(others)).mean()) / 2

    def check(self, model: VAE, progress: Progress) -> None:
        """Raise ConfigError unless codes are real numbers."""
        check_real(self, model)


def shuffled(z: Tensor) -> Tensor:
    """Return codes (B, *latent) with each dimension permuted over the batch on its own."""
    flat = z.flatten(1)
    return flat.gather(0, torch.rand_like(flat).argsort(0)).reshape(z.shape)
