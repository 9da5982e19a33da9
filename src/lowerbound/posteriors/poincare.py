r"""Posterior of codes in hyperbolic space: a wrapped normal law on the Poincaré ball.

Reference:
    Continuous hierarchical representations with Poincaré variational auto-encoders (Mathieu et al., 2019),
    https://arxiv.org/abs/1901.06033
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution

from ..distributions import WrappedNormal, bounded_exp, from_middle, within_reach
from ..errors import ConfigError
from ..shapes import event_shape_of, full_precision, is_positive
from .base import Posterior


class Poincare(Posterior):
    """Wrapped normal law; the encoder gives the way from the middle to its centre, and log-scales.

    Args:
        event_shape: Number of latent dimensions n, or (n,).
        curvature: c > 0, as the prior's.

    Raises:
        ConfigError: a code is no vector, or the curvature is not positive.
    """

    partners: ClassVar = {"prior": "poincare"}
    agree: ClassVar = ("curvature",)

    def __init__(self, event_shape: int | Sequence[int], curvature: float = 1.0) -> None:
        shape = event_shape_of(event_shape)
        if len(shape) != 1 or not is_positive(curvature):
            raise ConfigError(
                f"Poincare needs a vector latent (n,) and a curvature > 0; got {shape}, {curvature!r}"
            )
        super().__init__(shape, (2, *shape))
        self.curvature = curvature

    def forward(self, h: Tensor) -> Distribution:
        """Return q(z | x), batch (B,), from (B, 2, n)."""
        towards, raw = full_precision(h).unbind(-2)
        c = float(self.curvature)
        return WrappedNormal(from_middle(within_reach(towards, c), c), bounded_exp(raw), c)

    def point(self, p: Distribution) -> Tensor:
        """Return the centre: the mean of the numbers has no closed form."""
        return p.loc  # pyright: ignore[reportAttributeAccessIssue]
