r"""The prior of codes that are directions: all alike.

.. math:: p(z) = \frac{\Gamma(d / 2)}{2 \pi^{d/2}}, \qquad \|z\| = 1

Reference:
    Hyperspherical variational auto-encoders (Davidson et al., 2018), https://arxiv.org/abs/1804.00891
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..distributions import UniformSphere
from ..errors import ConfigError
from ..shapes import event_shape_of
from ..slots import Level
from .base import Encode, Prior


class Sphere(Prior):
    """Uniform on the unit sphere.

    Args:
        event_shape: Number d of dimensions, at least 2, or (d,).

    Raises:
        ConfigError: a code is no vector of at least two numbers.
    """

    partners: ClassVar = {"posterior": "von_mises_fisher"}
    like: Tensor

    def __init__(self, event_shape: int | Sequence[int]) -> None:
        shape = event_shape_of(event_shape)
        if len(shape) != 1 or shape[0] < 2:
            raise ConfigError(f"a direction is a vector (d,) of at least 2 numbers; got {shape}")
        super().__init__(shape, levels=[Level(shape, "sphere")])
        self.register_buffer("like", torch.zeros(shape), persistent=False)

    def forward(self, context: Tensor | None = None, encode: Encode | None = None) -> Distribution:
        """Return p(z), batch ()."""
        return UniformSphere(self.like)
