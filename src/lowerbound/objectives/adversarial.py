r"""A critic of codes in place of the KL: adversarial autoencoders, WAE-GAN.

.. math:: -\mathbb{E}[\log p(x \mid z)] - \lambda\, \mathbb{E}_{q(z)}[\log D(z)]

The critic D tells draws of the prior from codes; the encoder has them taken for draws of the prior. At the best D,
which is p(z) / (p(z) + q(z)), its loss is 2 ln 2 less twice the Jensen-Shannon divergence of q(z) and p(z).

References:
    Adversarial autoencoders (Makhzani et al., 2016), https://arxiv.org/abs/1511.05644;
    Wasserstein auto-encoders (Tolstikhin et al., 2018), https://arxiv.org/abs/1711.01558, algorithm 1 (WAE-GAN)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..model import VAE
from ..nn import MLP
from .base import Criterion, Move, ObjectiveOutput, WithCritic, check_fixed_prior, check_weights, mean_penalty
from .distances import check_real, from_prior
from .schedules import Progress

if TYPE_CHECKING:
    pass


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

    def build(self, model: VAE) -> nn.Module:
        """Return a critic of codes."""
        return MLP(model.latent_shape, (1,), hidden=tuple(self.hidden), activation="relu")

    def forward(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        return self._pass(model, x, c)[0]

    def _pass(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None
    ) -> tuple[ObjectiveOutput, Tensor, Tensor]:
        """Return the model's loss, its codes, and as many draws of the prior."""
        out = model(x, c)
        z = out.z[0]
        with torch.no_grad():
            y = from_prior(out)
        fooled, reconstruction = softplus(-self.critic(z)).mean(), out.log_likelihood.mean()
        loss = self.weight * fooled - reconstruction + mean_penalty(out)
        return self.judged(loss, reconstruction=reconstruction, fooled=fooled), z.detach(), y

    def moves(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> Iterator[Move]:
        """Yield the model's move and the critic's."""
        done, z, y = self._pass(model, x, c)
        yield Move("model", done.loss, done.bound, done.terms)

        loss = softplus(-self.critic(y)).mean() + softplus(self.critic(z)).mean()
        yield Move("critic", loss, None, {"critic": loss.detach()})

    def check(self, model: VAE, progress: Progress) -> None:
        """Raise ConfigError unless codes are real numbers and the prior has nothing to learn."""
        check_real(self, model)
        check_fixed_prior(self, model)
