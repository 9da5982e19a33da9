r"""Posterior of codes that are positive: independent gamma laws.

.. math:: q(z \mid x) = \prod_j \frac{b_j^{a_j}}{\Gamma(a_j)} z_j^{a_j - 1} e^{-b_j z_j}

Draws are differentiated in a and b implicitly, where the source has rejection sampling with corrected gradients.

References:
    Reparameterization gradients through acceptance-rejection sampling algorithms (Naesseth et al., 2017),
    https://arxiv.org/abs/1610.05683
    Implicit reparameterization gradients (Figurnov, Mohamed and Mnih, 2018), https://arxiv.org/abs/1805.08498
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution, Independent
from torch.distributions import Gamma as Law

from ..distributions import bounded_exp
from ..shapes import event_shape_of, full_precision
from ..slots import Level
from .base import Posterior


class Gamma(Posterior):
    """Independent gamma laws; the encoder gives the logarithms of shapes a and rates b.

    Args:
        event_shape: Shape of one latent code; an integer L stands for (L,).
    """

    partners: ClassVar = {"prior": "gamma"}

    def __init__(self, event_shape: int | Sequence[int]) -> None:
        shape = event_shape_of(event_shape)
        super().__init__(shape, (2, *shape), [Level(shape, "positive")])

    def forward(self, h: Tensor) -> Distribution:
        """Return q(z | x) with batch (B,) from (B, 2, *event)."""
        axes = len(self.event_shape)
        a, b = bounded_exp(full_precision(h)).unbind(-1 - axes)
        return Independent(Law(a, b, validate_args=False), axes, validate_args=False)
