r"""A deterministic autoencoder that is kept smooth: RAE.

.. math::
    -\log p(x \mid z) + \tfrac{\beta}{2} \lVert z \rVert^2 + \lambda R, \qquad
    R_{L2} = \lVert \theta \rVert^2, \quad R_{GP} = \lVert \partial \hat{x} / \partial z \rVert_F^2

for the decoder's parameters θ or the gradient of what it decodes. The Frobenius norm is estimated without bias by one
random direction v per example: :math:`\mathbb{E} \lVert v^\top J \rVert^2 = \lVert J \rVert_F^2` for v ~ N(0, I).
Samples come from a density that is fitted to the codes afterwards (``lowerbound.ex_post``).

Reference:
    From variational to deterministic autoencoders (Ghosh et al., 2020), https://arxiv.org/abs/1903.12436, eqs. 4-12
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from ..model import VAE, VAEOutput
from .base import (
    Criterion,
    ObjectiveOutput,
    check_fixed_prior,
    check_weights,
    check_word,
    decoded_mean,
    mean_penalty,
)
from .schedules import Progress

Penalty = Literal["l2", "gradient", "none"]


class Regularised(Criterion):
    """Reconstruction, small codes and a smooth decoder; no bound.

    Args:
        beta: Weight β of half the squared norm of the codes; 1e-4 in the paper.
        penalty: "l2", the squared norm of the decoder's parameters; "gradient", that of the gradient of the decoded
            mean; or "none", a plain autoencoder if β is 0 too.
        weight: Weight λ of the penalty; 1e-7 in the paper.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(self, beta: float = 1e-4, penalty: Penalty = "l2", weight: float = 1e-7) -> None:
        super().__init__()
        check_weights(self, beta=beta, weight=weight)
        check_word("penalty", penalty, get_args(Penalty))
        self.beta, self.penalty, self.weight = beta, penalty, weight

    def forward(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        out = model(x, c)
        reconstruction = out.log_likelihood.mean()
        norm = out.z.flatten(2).square().sum(2).mean()
        loss = self.beta / 2 * norm - reconstruction + mean_penalty(out)
        terms = {"reconstruction": reconstruction, "code_norm": norm}
        if self.penalty != "none":
            smooth = decoder_norm(out) if self.penalty == "l2" else gradient_norm(out)
            loss = loss + self.weight * smooth
            terms[self.penalty] = smooth
        return self.judged(loss, **terms)

    def check(self, model: VAE, progress: Progress) -> None:
        """Raise ConfigError unless the prior has nothing to learn."""
        check_fixed_prior(self, model)


def decoder_norm(out: VAEOutput) -> Tensor:
    """Return the squared norm of the decoder's parameters."""
    return torch.stack([p.square().sum() for p in out.view.model.decoder.parameters()]).sum()


def gradient_norm(out: VAEOutput) -> Tensor:
    """Return an unbiased estimate of the squared Frobenius norm of ∂E[x | z]/∂z, mean over draws and batch.

    Raises:
        ConfigError: the likelihood has no mean.
    """
    z = [level.detach().requires_grad_() for level in out.draw.z]
    mean = decoded_mean(out.view.likelihood(out.draw.walk.along(z).code), out)
    gradients = torch.autograd.grad(mean, z, torch.randn_like(mean), create_graph=True)
    return torch.stack([g.flatten(2).square().sum(2).mean() for g in gradients]).sum()
