r"""The prior of the two-stage VAE: the codes z of a VAE are what a second one generates, of codes u of its own.

.. math:: p(u, z \mid c) = \mathcal{N}(u; 0, I) \,
    \mathcal{N}\left(z; \mu(u, c), \operatorname{diag} \sigma(u, c)^2\right)

Where z lies near a manifold of few dimensions, as of an autoencoder without noise, N(0, I) is far from its law, and
the second stage learns it. The decoder reads z alone.

Reference:
    Diagnosing and enhancing VAE models (Dai and Wipf, 2019), https://arxiv.org/abs/1903.05789, section 4
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from torch import Tensor
from torch.distributions import Distribution

from ..distributions import diagonal_gaussian
from ..nn import MLP
from ..nn.network import sizes as widths
from ..slots import stages_of
from .base import Encode, Prior
from .normal import StandardNormal


class _State(NamedTuple):
    context: Tensor | None
    law: Distribution


class TwoStage(Prior):
    """Levels u (M,) and z (L,), side by side in a code (M + L,).

    Args:
        event_shape: (M + L,).
        second: Number M of the second stage's codes.
        hidden: Widths of its networks' hidden layers.
        context: Size of the context vector.

    Raises:
        ConfigError: there is no number left for z.
    """

    partners: ClassVar = {"posterior": "two_stage"}
    agree: ClassVar = ("second", "hidden")

    def __init__(
        self,
        event_shape: int | Sequence[int],
        second: int = 16,
        hidden: Sequence[int] = (256, 256),
        context: int = 0,
    ) -> None:
        levels = stages_of(event_shape, second)
        super().__init__(event_shape, context, levels, levels[1].shape)
        self.second, self.hidden = second, widths("hidden", hidden, may_be_empty=True)
        self.first = StandardNormal(levels[0].shape)
        self.network = MLP((second,), (2, *levels[1].shape), hidden=self.hidden, context=context)

    @classmethod
    def usual(cls, options: Mapping[str, Any], data_shape: tuple[int, ...], numbers: int) -> tuple[int, ...]:
        """Return the usual numbers for z, and those of u."""
        return (numbers + options.get("second", 16),)

    def begin(self, context: Tensor | None, encode: Encode | None) -> _State:
        """Return the state before u."""
        return _State(context if self.context else None, self.first())

    def level(self, number: int, state: _State) -> Distribution:
        """Return N(0, I), and then p(z | u, c), (S, B)."""
        return state.law

    def absorb(self, number: int, state: _State, z: Tensor) -> Any:
        """Return the state after u; after z that is what the decoder reads."""
        return z if number else _State(state.context, diagonal_gaussian(self.network(z, state.context), 1))
