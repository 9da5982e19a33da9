r"""The prior of codes that are positive: independent gamma laws.

.. math:: p(z) = \prod_j \frac{b^a}{\Gamma(a)} z_j^{a - 1} e^{-b z_j}

Reference:
    Reparameterization gradients through acceptance-rejection sampling algorithms (Naesseth et al., 2017),
    https://arxiv.org/abs/1610.05683
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent
from torch.distributions import Gamma as Law

from ..errors import ConfigError
from ..shapes import event_shape_of, is_positive
from ..slots import Level
from .base import Encode, Prior


class Gamma(Prior):
    """Gamma laws, all alike, without parameters to learn.

    Args:
        event_shape: Shape of one latent code; an integer L stands for (L,).
        shape: Shape a.
        rate: Rate b.

    Raises:
        ConfigError: a or b is not positive.
    """

    partners: ClassVar = {"posterior": "gamma"}
    ones: Tensor

    def __init__(self, event_shape: int | Sequence[int], shape: float = 2.0, rate: float = 1.0) -> None:
        super().__init__(event_shape, levels=[Level(event_shape_of(event_shape), "positive")])
        if not (is_positive(shape) and is_positive(rate)):
            raise ConfigError(f"the prior Gamma needs a shape and a rate > 0; got {shape!r} and {rate!r}")
        self.shape, self.rate = shape, rate
        self.register_buffer("ones", torch.ones(self.event_shape), persistent=False)

    def forward(self, context: Tensor | None = None, encode: Encode | None = None) -> Distribution:
        """Return p(z), batch ()."""
        law = Law(self.shape * self.ones, self.rate * self.ones, validate_args=False)
        return Independent(law, len(self.event_shape), validate_args=False)
