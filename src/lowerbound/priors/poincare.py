r"""The prior of codes in hyperbolic space, where there is room for trees: a wrapped normal law on the Poincaré ball.

Reference:
    Continuous hierarchical representations with Poincaré variational auto-encoders (Mathieu et al., 2019),
    https://arxiv.org/abs/1901.06033
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..distributions import WrappedNormal, bounded_exp, from_middle, within_reach
from ..errors import ConfigError
from ..nn import MLP
from ..nn.network import sizes
from ..shapes import event_shape_of, full_precision, is_positive
from .base import Encode, Prior


class Poincare(Prior):
    """Wrapped normal law of scale 1 about the middle of the ball, or as a network of the context says.

    Args:
        event_shape: Number of latent dimensions n, or (n,).
        curvature: c > 0; the ball has radius 1/√c.
        hidden: Widths of the network's hidden layers.
        context: Size of the context vector.

    Raises:
        ConfigError: a code is no vector, or the curvature is not positive.
    """

    partners: ClassVar = {"posterior": "poincare"}
    agree: ClassVar = ("curvature",)
    zeros: Tensor

    def __init__(
        self,
        event_shape: int | Sequence[int],
        curvature: float = 1.0,
        hidden: Sequence[int] = (64,),
        context: int = 0,
    ) -> None:
        shape = event_shape_of(event_shape)
        if len(shape) != 1 or not is_positive(curvature):
            raise ConfigError(
                f"Poincare needs a vector latent (n,) and a curvature > 0; got {shape}, {curvature!r}"
            )
        super().__init__(shape, context)
        self.curvature, self.hidden = curvature, sizes("hidden", hidden, may_be_empty=True)
        self.register_buffer("zeros", torch.zeros(2, *shape), persistent=False)
        self.network = MLP((context,), (2, *shape), hidden=self.hidden) if context else None

    def forward(self, context: Tensor | None = None, encode: Encode | None = None) -> Distribution:
        """Return p(z | c): batch (B,) with a context (B, E), else ()."""
        h = full_precision(self.zeros if self.network is None else self.network(context))
        c = float(self.curvature)
        towards, raw = h.unbind(-2)
        return WrappedNormal(from_middle(within_reach(towards, c), c), bounded_exp(raw), c)
