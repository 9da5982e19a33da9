r"""A grid that says what is where: embedded place by place, as a feature map.

An ``Image`` becomes one vector and loses where things are; a convolutional network that gives a vector of features
for every place of a coarser grid keeps it. Networks that know of places (``CellPrior``, ``CellDecoder``) read the map
from the end of the context, and take its columns for the first axis of the data and its rows for the second.

Reference:
    a score for every place: Fully convolutional networks for semantic segmentation (Long, Shelhamer and Darrell,
    2015), https://arxiv.org/abs/1411.4038;
    dilations: Multi-scale context aggregation by dilated convolutions (Yu and Koltun, 2016),
    https://arxiv.org/abs/1511.07122
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from ..errors import ConfigError
from ..nn.layers import Residual, halve, hidden_layer, stage_sizes
from ..nn.network import size, sizes
from ..shapes import event_shape_of
from .vector import Numbers


class Map(Numbers):
    """Image or occupancy grid (C, H, W); a NaN in it makes the whole a missing one.

    Args:
        event_shape: (C, H, W).
        features: Number F of features of a place.
        channels: Channels of the stages that halve the grid; each stage makes a place twice as wide.
        blocks: Residual 3x3 convolutions at the map's own resolution, dilated by 1, 2, 4, 1, 2, 4, ...: how far a
            place sees.
        dropout: Probability of hiding a grid in training.
        missing: Grids may be missing; implied by ``dropout``.

    Attributes:
        map_shape: (F, h, w): the embedding is this map, flattened.
    """

    starts = False

    def __init__(
        self,
        event_shape: Sequence[int],
        features: int = 16,
        channels: Sequence[int] = (16, 32),
        blocks: int = 4,
        dropout: float = 0.0,
        missing: bool = False,
    ) -> None:
        shape = event_shape_of(event_shape)
        if len(shape) != 3:
            raise ConfigError(f"Map needs a grid (C, H, W); got {shape}")
        stages = sizes("channels", channels)
        height, width = stage_sizes(shape[1], shape[2], len(stages))[-1]
        map_shape = (size("features", features), height, width)
        super().__init__(shape, math.prod(map_shape), dropout, missing)
        self.event_shape, self.map_shape = shape, map_shape
        self.features, self.channels = map_shape[0], stages
        self.blocks = 0 if blocks == 0 else size("blocks", blocks)
        layers: list[nn.Module] = []
        before = shape[0]
        for i, wide in enumerate(self.channels):
            layers += hidden_layer(halve(before), wide, "silu", first=i == 0)
            before = wide
        for i in range(self.blocks):
            far = (1, 2, 4)[i % 3]
            convolution = partial(nn.Conv2d, before, kernel_size=3, padding=far, dilation=far)
            scale = 1 / math.sqrt(self.blocks)
            layers.append(Residual(*hidden_layer(convolution, before, "silu", scale=scale)))
        layers += hidden_layer(partial(nn.Conv2d, before, kernel_size=1), self.features, "silu")
        self.body = nn.Sequential(*layers)

    def embed(self, value: Tensor) -> Tensor:
        """Return the feature map, flattened, (B, F h w)."""
        return self.body(value.nan_to_num()).flatten(1)
