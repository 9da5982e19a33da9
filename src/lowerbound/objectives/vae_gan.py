r"""Reconstruction in the features of a critic of images: VAE-GAN.

.. math::
    KL(q(z \mid x) \,\|\, p(z)) + \tfrac12 \lVert f(x) - f(\hat{x}) \rVert^2
        - \lambda\, \mathbb{E}[\log D(\hat{x}) + \log D(\hat{x}_p)]

f are the features of which the critic D judges, x̂ is the decoded mean of a code of x, and x̂_p that of a draw of the
prior. The encoder sees no part of the last term, and the critic learns x against both. No bound: the criterion moves
with the critic, so keep the last weights (``training.keep = "last"``).

Reference:
    Autoencoding beyond pixels using a learned similarity metric (Larsen et al., 2016),
    https://arxiv.org/abs/1512.09300, algorithm 1. Its γ is 1/λ. There is no gate that lets one side rest.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..errors import ConfigError
from ..model import VAE, VAEOutput
from ..nn import ENCODERS
from .base import (
    Criterion,
    ObjectiveOutput,
    WithCritic,
    check_counts,
    check_weights,
    decoded_mean,
    mean_penalty,
)


class VAEGAN(WithCritic, Criterion):
    """KL and reconstruction in the features of a critic of x, which the decoder tries to deceive; no bound.

    Args:
        weight: λ, of the decoder's part in the game.
        beta: Weight of the KL.
        network: The critic's, "mlp", "conv" or "resnet".
        features: Number of features that it judges by.

    Raises:
        ConfigError: an argument is out of its range.
    """

    critic: nn.ModuleList

    def __init__(
        self,
        weight: float = 1.0,
        beta: float = 1.0,
        network: Literal["mlp", "conv", "resnet"] = "mlp",
        features: int = 128,
    ) -> None:
        super().__init__()
        check_weights(self, weight=weight, beta=beta)
        check_counts(self, features=features)
        if network not in ENCODERS:
            raise ConfigError(f"VAEGAN's network is one of {', '.join(ENCODERS)}; got {network!r}")
        self.weight, self.beta, self.network, self.features = weight, beta, network, features

    def build(self, model: VAE) -> nn.ModuleList:
        """Return the critic: its features, and what judges by them."""
        trunk = ENCODERS[self.network](model.event_shape, (self.features,))
        return nn.ModuleList([trunk, nn.Sequential(nn.SiLU(), nn.Linear(self.features, 1))])

    def play(self, out: VAEOutput) -> tuple[ObjectiveOutput, tuple[Tensor, ...]]:
        """Return the model's part, and x with the decoded means of the codes and of draws of the prior."""
        trunk, judge = self.critic
        view, batch = out.view, len(out.u)
        own = out.draw.walk.along([level.detach() for level in out.draw.z])
        with torch.no_grad():
            prior = view.generate(1, batch)
        means = [
            decoded_mean(view.likelihood(code), out)[0] for code in (out.draw.code, own.code, prior.code)
        ]
        distance = 0.5 * (trunk(out.u) - trunk(means[0])).square().sum(1).mean()
        fooled = sum(softplus(-judge(trunk(mean))).mean() for mean in means[1:])
        kl = out.kl().mean()
        loss = self.beta * kl + distance + self.weight * fooled + mean_penalty(out)
        done = self.judged(loss, kl=kl, features=distance, fooled=torch.as_tensor(fooled))
        return done, (out.u, *(mean.detach() for mean in means[1:]))

    def critics_loss(self, *shown: Tensor) -> Tensor:
        """Return minus the log-probability of telling x from what is decoded."""
        trunk, judge = self.critic
        x, *decoded = shown
        mistaken = sum(softplus(judge(trunk(mean))).mean() for mean in decoded) / len(decoded)
        return softplus(-judge(trunk(x))).mean() + mistaken
