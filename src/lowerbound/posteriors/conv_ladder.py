r"""A posterior of many levels that are maps: x goes up by convolutions, and comes down along the prior's path.

.. math:: q(z_l \mid z_{<l}, x) = \mathcal{N}\left(\mu_p + \sigma_p \, \Delta\mu,\;
    \operatorname{diag} (\sigma_p \, \Delta\sigma)^2\right), \qquad
    \Delta\mu, \log \Delta\sigma = r_l\left((e_l(x) + h_l) / \sqrt 2\right)

A model made for data begins without a change, q = p.

References:
    NVAE (Vahdat and Kautz, 2020), https://arxiv.org/abs/2007.03898
    Very deep VAEs (Child, 2021), https://arxiv.org/abs/2011.10650
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.distributions import Distribution

from ..nn.block import ConvBlock, resized
from ..nn.network import size
from ..shapes import event_shape_of, full_precision
from ..slots import maps_of
from .base import Posterior
from .ladder import changed


class ConvLadder(Posterior):
    """Factorised Gaussians, level by level.

    Args:
        event_shape: (L,), the numbers of all levels.
        data_shape: Shape (C, H, W) of one observation.
        scales: Levels of each size, as the prior's.
        channels: Channels of the path, as the prior's; the encoder gives as many at half the size of x.
        width: Channels of each level, as the prior's.
        blocks: Blocks of each scale on the way up.
    """

    derived: ClassVar = frozenset({"data_shape"})
    partners: ClassVar = {"prior": "conv_ladder"}
    agree: ClassVar = ("scales", "channels", "width")

    def __init__(
        self,
        event_shape: int | Sequence[int],
        data_shape: Sequence[int],
        scales: Sequence[int] = (2, 2),
        channels: int = 32,
        width: int = 4,
        blocks: int = 2,
    ) -> None:
        self_shape = event_shape_of(data_shape, "data_shape")
        levels = maps_of(self_shape, scales, width, event_shape)
        super().__init__(event_shape, (channels, *levels[-1].shape[1:]), levels)
        self.data_shape, self.scales = self_shape, tuple(scales)
        self.channels, self.width, self.blocks = channels, width, size("blocks", blocks)
        shapes = [(channels, *shape[1:]) for shape, _ in levels]
        gain = 1 / math.sqrt(blocks * len(scales))
        self.up = nn.ModuleList(
            nn.ModuleList(ConvBlock(shape, shape, hidden=channels, gain=gain) for _ in range(blocks))
            for shape in list(dict.fromkeys(shapes))[::-1]
        )
        self.changes = nn.ModuleList(
            ConvBlock(shape, (2, width, *shape[1:]), hidden=channels) for shape in shapes
        )

    def start(self, u: Tensor, model: Any) -> None:
        """Begin with no change."""
        for change in self.changes:
            nn.init.zeros_(change.output.weight)  # pyright: ignore

    def read(self, h: Tensor, context: Tensor | None) -> list[Tensor]:
        """Return a map (B, C, h, w) for each scale, fine to coarse."""
        h, found = full_precision(h), []
        for blocks in self.up:
            h = resized(h, *blocks[0].in_shape[1:])  # pyright: ignore
            for block in blocks:  # pyright: ignore
                h = h + block(h)
            found.append(h)
        return found

    def level(self, number: int, evidence: Any, state: Any, p: Any) -> Distribution:
        """Return q(z_l | z_<l, x, c): batch (B,), below the first level (S, B)."""
        change = self.changes[number]
        e = next(e for e in evidence if e.shape[-3:] == change.in_shape)
        return changed(p, change((e + state.h) / math.sqrt(2)), 3)
