r"""Posterior with heavy tails, so that importance weights are bounded where a Gaussian's are not.

.. math:: q(z \mid x) = \prod_j t_\nu(z_j; \mu_j(x), \sigma_j(x))

Reference:
    Importance weighting and variational inference (Domke and Sheldon, 2018), https://arxiv.org/abs/1808.09034,
    section 5: elliptical distributions in place of Gaussians
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent
from torch.distributions import StudentT as TorchStudentT

from ..distributions import bounded_exp
from ..errors import ConfigError
from ..shapes import event_shape_of, full_precision, is_positive
from .base import Posterior


class StudentT(Posterior):
    """Factorised Student t.

    Args:
        event_shape: Shape of one latent code; an integer L stands for (L,).
        df: Degrees of freedom ν, more than 2: then the bound's divergence from a Gaussian is finite.

    Raises:
        ConfigError: ν is 2 or less.
    """

    def __init__(self, event_shape: int | Sequence[int], df: float = 7.0) -> None:
        if not is_positive(df) or df <= 2:
            raise ConfigError(f"the posterior StudentT needs more than 2 degrees of freedom; got {df!r}")
        super().__init__(event_shape, (2, *event_shape_of(event_shape)))
        self.df = df

    def forward(self, h: Tensor) -> Distribution:
        """Return q(z | x) with batch (B,) from the encoder's output (B, 2, *event): locations, log-scales."""
        axes = len(self.event_shape)
        loc, raw = full_precision(h).unbind(-1 - axes)
        df = torch.full_like(loc, float(self.df))
        return Independent(
            TorchStudentT(df, loc, bounded_exp(raw), validate_args=False), axes, validate_args=False
        )
