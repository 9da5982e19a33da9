r"""Posterior of codes that are directions.

.. math:: q(z \mid x) \propto e^{\kappa(x) \mu(x)^\top z}, \qquad \|z\| = \|\mu(x)\| = 1

Reference:
    Hyperspherical variational auto-encoders (Davidson et al., 2018), https://arxiv.org/abs/1804.00891
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from ..distributions import VonMisesFisher as Law
from ..errors import ConfigError
from ..shapes import event_shape_of, full_precision
from ..slots import Level
from .base import Posterior

_LEAST = 1e-3  # of κ; there q is uniform


class VonMisesFisher(Posterior):
    """Von Mises-Fisher; the encoder gives a vector, whose direction is μ, and the concentration.

    Args:
        event_shape: Number d of dimensions, at least 2, or (d,).

    Raises:
        ConfigError: a code is no vector of at least two numbers.
    """

    partners: ClassVar = {"prior": "sphere"}

    def __init__(self, event_shape: int | Sequence[int]) -> None:
        shape = event_shape_of(event_shape)
        if len(shape) != 1 or shape[0] < 2:
            raise ConfigError(f"a direction is a vector (d,) of at least 2 numbers; got {shape}")
        super().__init__(shape, (shape[0] + 1,), [Level(shape, "sphere")])

    def forward(self, h: Tensor) -> Distribution:
        """Return q(z | x) with batch (B,) from (B, d + 1): a vector, and the inverse softplus of κ."""
        towards, raw = full_precision(h).tensor_split([self.event_shape[0]], -1)
        length = towards.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(towards.dtype).tiny)
        return Law(towards / length, F.softplus(raw.squeeze(-1)) + _LEAST)

    def point(self, p: Distribution) -> Tensor:
        """Return the mean direction: the mean lies within the sphere."""
        return p.loc  # pyright: ignore[reportAttributeAccessIssue]
