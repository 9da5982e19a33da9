r"""A prior of many levels that are maps, coarse to fine, along a path of convolutions.

.. math:: p(z_l \mid z_{<l}, c) = \mathcal{N}(\mu_l(h_l), \operatorname{diag} \sigma_l(h_l)^2), \qquad
    h_{l+1} = g_l(h_l + f_l(h_l) + W_l z_l)

The path begins with a learned map and doubles its size from scale to scale; its end is what the decoder reads.

References:
    NVAE (Vahdat and Kautz, 2020), https://arxiv.org/abs/2007.03898
    Very deep VAEs (Child, 2021), https://arxiv.org/abs/2011.10650
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..distributions import diagonal_gaussian
from ..nn.block import ConvBlock, resized
from ..shapes import event_shape_of, numel
from ..slots import maps_of
from .base import Encode, Prior


class Path(NamedTuple):
    """Where the path is.

    Attributes:
        context: The embedded condition, or None.
        h: The map before the level, (..., C, h, w), of batch (), (B,) or (S, B).
        found: What the level's block makes of it: numbers of p, and features.
    """

    context: Tensor | None
    h: Tensor
    found: Tensor


class ConvLadder(Prior):
    """Levels that are maps.

    Args:
        event_shape: (L,), the numbers of all levels.
        data_shape: Shape (C, H, W) of one observation.
        context: Size of the context vector.
        scales: Levels of each size, coarse to fine; the finest maps have half the height and width of x, and each
            scale half of the next.
        channels: Channels of the path.
        width: Channels of each level.

    Raises:
        ConfigError: x is no image, or the levels do not make up the latent.
    """

    derived: ClassVar = frozenset({"data_shape"})
    partners: ClassVar = {"posterior": "conv_ladder"}
    agree: ClassVar = ("scales", "channels", "width")

    def __init__(
        self,
        event_shape: int | Sequence[int],
        data_shape: Sequence[int],
        context: int = 0,
        scales: Sequence[int] = (2, 2),
        channels: int = 32,
        width: int = 4,
    ) -> None:
        self_shape = event_shape_of(data_shape, "data_shape")
        levels = maps_of(self_shape, scales, width, event_shape)
        end = (channels, *levels[-1].shape[1:])
        super().__init__(event_shape, context, levels, code_shape=end)
        self.data_shape, self.scales = self_shape, tuple(scales)
        self.channels, self.width = channels, width
        small = 1 / math.sqrt(len(levels))
        self.begins = nn.Parameter(torch.randn(channels, *levels[0].shape[1:]))
        self.laws, self.mixes, self.takes = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for (_, *hw), _ in levels:
            shape = (channels, *hw)
            self.laws.append(ConvBlock(shape, (2 * width + channels, *hw), hidden=channels, context=context))
            self.mixes.append(ConvBlock(shape, shape, hidden=channels, gain=small, context=context))
            self.takes.append(nn.Conv2d(width, channels, 1))

    @classmethod
    def usual(cls, options: Mapping[str, Any], data_shape: tuple[int, ...], numbers: int) -> tuple[int, ...]:
        """Return how many numbers the maps have."""
        levels = maps_of(data_shape, options.get("scales", (2, 2)), options.get("width", 4))
        return (sum(numel(shape) for shape, _ in levels),)

    def begin(self, context: Tensor | None, encode: Encode | None) -> Path:
        """Return the beginning of the path, (C, h, w) or (B, C, h, w)."""
        if not self.context or context is None:
            return self._at(0, None, self.begins)
        return self._at(0, context, self.begins.expand(len(context), *self.begins.shape))

    def _at(self, number: int, context: Tensor | None, h: Tensor) -> Path:
        return Path(context, h, self.laws[number](h, context))

    def level(self, number: int, state: Path) -> Distribution:
        """Return p(z_l | z_<l, c): batch () or (B,), below the first level (S, B)."""
        numbers = state.found[..., : 2 * self.width, :, :]
        return diagonal_gaussian(numbers.unflatten(-3, (2, self.width)), 3)

    def absorb(self, number: int, state: Path, z: Tensor) -> Any:
        """Return the path below the level, at the size of the next one; its end goes to the decoder."""
        taken = self.takes[number](z.reshape(-1, *z.shape[-3:]))
        h = (
            state.h
            + state.found[..., 2 * self.width :, :, :]
            + taken.reshape(*z.shape[:-3], *taken.shape[1:])
        )
        h = h + self.mixes[number](h, state.context)
        if number == len(self.levels) - 1:
            return h
        return self._at(number + 1, state.context, resized(h, *self.levels[number + 1].shape[1:]))
