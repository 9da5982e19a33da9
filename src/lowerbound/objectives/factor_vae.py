r"""The total correlation of q(z), estimated by a critic and taken from the evidence lower bound.

.. math:: \mathcal{L} - \gamma \, KL(q(z) \,\|\, \textstyle\prod_j q(z_j)), \qquad
    KL \approx \mathbb{E}_{q(z)}\left[\log \frac{D(z)}{1 - D(z)}\right]

The critic D tells codes from codes whose dimensions were shuffled over a batch. It sees codes of one half of the
batch as they are, and those of the other half shuffled: of the same codes, shuffled ones are no independent sample.

Reference:
    Disentangling by factorising (Kim and Mnih, 2018), https://arxiv.org/abs/1802.05983, algorithm 2
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ..model import VAE
from ..nn import MLP
from .base import Move, WithCritic, check_weights, penalised
from .distances import check_real
from .schedules import Progress

if TYPE_CHECKING:
    pass


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

    def build(self, model: VAE) -> nn.Module:
        """Return a critic of codes."""
        return MLP(model.latent_shape, (1,), hidden=tuple(self.hidden), activation="relu")

    def moves(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> Iterator[Move]:
        """Yield the model's move and the critic's."""
        out = model(x, c)
        z = out.z[0]
        correlation = self.critic(z).mean()  # log D / (1 − D)
        done = penalised(out, self.gamma * correlation, total_correlation=correlation)
        yield Move("model", done.loss, done.bound, done.terms)

        z = z.detach()
        half = (len(z) + 1) // 2
        both = torch.cat([z[:half], shuffled(z[-half:])])
        real = (torch.arange(2 * half, device=z.device) < half).to(z.dtype).unsqueeze(1)
        loss = binary_cross_entropy_with_logits(self.critic(both), real)
        yield Move("critic", loss, None, {"critic": loss.detach()})

    def check(self, model: VAE, progress: Progress) -> None:
        """Raise ConfigError unless codes are real numbers."""
        check_real(self, model)


def shuffled(z: Tensor) -> Tensor:
    """Return codes (B, *latent) with each dimension permuted over the batch on its own."""
    flat = z.flatten(1)
    return flat.gather(0, torch.rand_like(flat).argsort(0)).reshape(z.shape)
