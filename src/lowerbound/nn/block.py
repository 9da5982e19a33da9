"""Convolutions that leave the size of a map as it is, as ladders have them between their levels.

Reference:
    Very deep VAEs (Child, 2021), the block of figure 3, https://arxiv.org/abs/2011.10650
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from .layers import OUTPUT_GAIN, Stack, hidden_layer, initialise
from .network import Network, features, image_shape, size


class ConvBlock(Network):
    """Kernels 1, 3, 3 and 1, an activation before each; there is no normalisation.

    Args:
        in_shape: (C, h, w).
        out_shape: (..., h, w), of the same size.
        hidden: Channels in between.
        gain: Of the last convolution's weights.
        context: Size of the context vector; it scales and shifts the features between (FiLM).
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        *,
        hidden: int = 32,
        gain: float = OUTPUT_GAIN,
        context: int = 0,
    ):
        super().__init__(in_shape, out_shape, context)
        below = image_shape("in_shape", self.in_shape)[0]
        self.hidden, self.gain = size("hidden", hidden), gain
        layers: list[nn.Module] = [nn.SiLU()]
        for channels, kernel in ((below, 1), (hidden, 3), (hidden, 3)):
            build = partial(nn.Conv2d, channels, kernel_size=kernel, padding=kernel // 2)
            layers += hidden_layer(build, hidden, "silu", context=context)
        self.layers = Stack(*layers)
        self.output = initialise(nn.Conv2d(hidden, features(self.out_shape[:-2]), 1), gain)


def resized(x: Tensor, height: int, width: int) -> Tensor:
    """Return maps (..., C, h, w) at another size: repeated where they grow, averaged where they shrink."""
    flat = x.reshape(-1, *x.shape[-3:])
    if x.shape[-2:] == (height, width):
        return x
    larger = height >= x.shape[-2] and width >= x.shape[-1]
    flat = (
        functional.interpolate(flat, (height, width))
        if larger
        else functional.adaptive_avg_pool2d(flat, (height, width))
    )
    return flat.reshape(*x.shape[:-2], height, width)
