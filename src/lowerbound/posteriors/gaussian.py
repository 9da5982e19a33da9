r"""Gaussian posteriors, drawn by the reparameterisation z = μ + L ε with ε ~ N(0, I).

Reference:
    Auto-encoding variational Bayes (Kingma and Welling, 2014), https://arxiv.org/abs/1312.6114, section 2.4
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from ..distributions import bounded_exp, diagonal_gaussian
from ..errors import ConfigError
from ..shapes import event_shape_of, full_precision
from .base import Posterior


class DiagonalGaussian(Posterior):
    r"""Factorised Gaussian, :math:`q(z \mid x) = \mathcal{N}(z; \mu(x), \operatorname{diag} \sigma(x)^2)`.

    Args:
        event_shape: Shape of one latent code; an integer L stands for (L,).
    """

    def __init__(self, event_shape: int | Sequence[int]) -> None:
        super().__init__(event_shape, (2, *event_shape_of(event_shape)))

    def forward(self, h: Tensor) -> Distribution:
        """Return q(z | x) with batch (B,) from the encoder's output (B, 2, *event): means, log-scales."""
        return diagonal_gaussian(h, len(self.event_shape))


class FullCovarianceGaussian(Posterior):
    r"""Gaussian with correlated latents, :math:`q(z \mid x) = \mathcal{N}(z; \mu(x), L(x) L(x)^\top)`.

    L is lower triangular with a positive diagonal; the encoder gives its k (k + 1) / 2 entries.

    Args:
        event_shape: Number of latent dimensions k, or (k,).
    """

    def __init__(self, event_shape: int | Sequence[int]) -> None:
        shape = event_shape_of(event_shape)
        if len(shape) != 1:
            raise ConfigError(f"FullCovarianceGaussian needs a vector latent (k,); got {shape}")
        super().__init__(shape, (shape[0] + shape[0] * (shape[0] + 1) // 2,))

    def forward(self, h: Tensor) -> Distribution:
        """Return q(z | x) with batch (B,) from the encoder's output (B, k + k (k + 1) / 2)."""
        k = self.event_shape[0]
        loc, diagonal, below = full_precision(h).split([k, k, k * (k - 1) // 2], dim=-1)
        rows, columns = torch.tril_indices(k, k, offset=-1, device=h.device)
        tril = torch.diag_embed(bounded_exp(diagonal))
        tril[..., rows, columns] = below
        return MultivariateNormal(loc, scale_tril=tril, validate_args=False)
