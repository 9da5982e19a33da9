r"""Distances between the aggregate posterior q(z) and the prior p(z), from draws of both.

.. math::
    \mathrm{MMD}^2 = \mathbb{E}[k(z, z')] + \mathbb{E}[k(y, y')] - 2\, \mathbb{E}[k(z, y)], \qquad
    \mathrm{SW}_2^2 = \mathbb{E}_{\theta}\left[ \frac1B \sum_i \left( (\theta^\top z)_{(i)}
        - (\theta^\top y)_{(i)} \right)^2 \right]

for z, z' ~ q(z), y, y' ~ p(z), directions θ uniform on the sphere, and (i) for the order.

References:
    A kernel two-sample test (Gretton et al., 2012);
    Wasserstein auto-encoders (Tolstikhin et al., 2018), https://arxiv.org/abs/1711.01558, for the kernel;
    Sliced-Wasserstein autoencoder (Kolouri et al., 2018), https://arxiv.org/abs/1804.01947
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from ..errors import ConfigError, suggest
from ..model import VAE, VAEOutput

Distance = Literal["mmd", "mmd_gaussian", "sliced_wasserstein"]
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_DIRECTIONS = 50


def mmd(
    z: Tensor,
    y: Tensor,
    kernel: Literal["inverse_multiquadratic", "gaussian"] = "inverse_multiquadratic",
    scales: Sequence[float] = SCALES,
) -> Tensor:
    """Return the unbiased estimate of MMD² of draws z (N, L) and y (M, L): it may be below 0.

    The kernel is the sum over the scales s, with C = 2 L s, of C / (C + |z − y|²), or of exp(−|z − y|² / C).

    Args:
        z: Draws of one distribution.
        y: Draws of the other one.
        kernel: "inverse_multiquadratic" or "gaussian".
        scales: In units of the squared distance of two draws of N(0, I).
    """

    def k(a: Tensor, b: Tensor) -> Tensor:
        squared = (a.unsqueeze(1) - b.unsqueeze(0)).square().sum(-1)
        sizes = [2 * z.shape[1] * scale for scale in scales]
        if kernel == "gaussian":
            return sum(((-squared / c).exp() for c in sizes), torch.zeros_like(squared))
        return sum((c / (c + squared) for c in sizes), torch.zeros_like(squared))

    def within(a: Tensor) -> Tensor:
        pairs = k(a, a)
        return (pairs.sum() - pairs.diagonal().sum()) / max(1, len(a) * (len(a) - 1))

    return within(z) + within(y) - 2 * k(z, y).mean()


def sliced_wasserstein(z: Tensor, y: Tensor, directions: int = _DIRECTIONS) -> Tensor:
    """Return the mean over random directions of the squared Wasserstein-2 distance of z (N, L) and y (N, L)."""
    theta = torch.randn(z.shape[1], directions, dtype=z.dtype, device=z.device)
    theta = theta / theta.norm(dim=0)
    return ((z @ theta).sort(0).values - (y @ theta).sort(0).values).square().mean()


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mmd": mmd,
    "mmd_gaussian": lambda z, y: mmd(z, y, "gaussian", (1.0,)),
    "sliced_wasserstein": sliced_wasserstein,
}


def to_prior(out: VAEOutput, distance: str) -> Tensor:
    """Return the distance of the codes of a pass from as many draws of the prior under its condition."""
    z = out.z[0]
    return DISTANCES[distance](z.flatten(1), from_prior(out).flatten(1))


def from_prior(out: VAEOutput) -> Tensor:
    """Return as many draws of the prior, (B, *latent), under its condition, as a pass has codes."""
    return out.view.model.prior.join(out.view.generate(1, out.z.shape[1]).z)[0]


def check_distance(name: str) -> None:
    """Raise ConfigError unless there is such a distance."""
    if name not in DISTANCES:
        raise ConfigError(f"there is no distance {name!r}; {suggest(name, DISTANCES)}")


def check_real(owner: object, model: VAE) -> None:
    """Raise ConfigError unless codes are real numbers, which have distances."""
    if not model.prior.is_real:
        raise ConfigError(
            f"{type(owner).__name__} compares codes by their distance, which those of prior "
            f"{type(model.prior).__name__} do not have; use a latent of real numbers"
        )
