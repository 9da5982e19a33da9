r"""Residual convolutional networks: the stages of the plain ones with pre-activation blocks between them.

One block adds to its input

.. math:: f(x) = W_2 * \varphi(\operatorname{norm}(W_1 * \varphi(\operatorname{norm}(x))))

with 3x3 convolutions and GroupNorm, which looks at one example alone. :math:`W_2` starts at zero, so a fresh
block is the identity and depth costs nothing at the start. For the activation "gated", the :math:`\varphi` after
:math:`W_1` is its gate; the others, which follow no convolution of their own, are left out.

References:
    Identity mappings in deep residual networks (He et al., 2016), https://arxiv.org/abs/1603.05027
    Group normalization (Wu and He, 2018), https://arxiv.org/abs/1803.08494
    Fixup initialization (Zhang et al., 2019), https://arxiv.org/abs/1901.09321
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from .layers import (
    ACTIVATIONS,
    OUTPUT_GAIN,
    Crop,
    Residual,
    Stack,
    activation_name,
    double,
    gain,
    halve,
    hidden_layer,
    initialise,
    stage_sizes,
)
from .network import Network, features, image_shape, probability, size, sizes


def group_norm(channels: int) -> nn.Module:
    """Normalise groups of at least 8 channels, at most 32 groups; fewer channels are one group.

    Groups of one number would all become zero, as a single channel of a 1x1 image would: it is left as it is.
    """
    if channels == 1:
        return nn.Identity()
    groups = max(g for g in range(1, 33) if channels % g == 0 and (g == 1 or channels // g >= 8))
    return nn.GroupNorm(groups, channels)


def _preactivation(channels: int, activation: str) -> list[nn.Module]:
    return [group_norm(channels)] + ([] if activation == "gated" else [ACTIVATIONS[activation][0]()])


def _blocks(count: int, channels: int, activation: str, dropout: float, context: int) -> list[nn.Module]:
    convolution = partial(nn.Conv2d, channels, kernel_size=3, padding=1)
    return [
        Residual(
            *_preactivation(channels, activation),
            *hidden_layer(
                convolution, channels, activation, norm=group_norm, dropout=dropout, context=context
            ),
            initialise(convolution(channels), 0.0),
        )
        for _ in range(count)
    ]


class ResNetEncoder(Network):
    """Residual convolutional network from images to any shape.

    Args:
        in_shape: (C, H, W) of one image, of any size.
        out_shape: Shape of one output.
        channels: Channels of each stage; a stage halves the size.
        blocks: Residual blocks of each stage, after halving.
        hidden: Width of the fully connected layer before the output.
        activation: "relu", "silu", "gelu", "tanh", "elu" or "gated".
        dropout: Probability of dropping a feature inside each block and after the hidden layer, in training.
        context: Size of the context vector, 0 for none; it scales and shifts the features inside each block and in
            the hidden layer (FiLM).

    Raises:
        ConfigError: If an option is unknown or has an impossible value.

    Example:
        >>> import torch
        >>> ResNetEncoder((3, 32, 32), (2, 40))(torch.zeros(5, 3, 32, 32)).shape
        torch.Size([5, 2, 40])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        *,
        channels: Sequence[int] = (32, 64, 128),
        blocks: int = 2,
        hidden: int = 256,
        activation: str = "silu",
        dropout: float = 0.0,
        context: int = 0,
    ):
        super().__init__(in_shape, out_shape, context)
        colours, height, width = image_shape("in_shape", self.in_shape)
        self.channels = sizes("channels", channels)
        self.blocks = size("blocks", blocks)
        self.hidden = size("hidden", hidden)
        self.activation = activation_name(activation)
        self.dropout = probability("dropout", dropout)

        layers: list[nn.Module] = []
        for below, above in pairwise((colours, *self.channels)):
            layers.append(initialise(halve(below)(above), 1.0))
            layers += _blocks(self.blocks, above, self.activation, self.dropout, context)
        small = self.channels[-1], *stage_sizes(height, width, len(self.channels))[-1]
        linear = partial(nn.Linear, features(small))
        self.layers = Stack(
            *layers,
            *_preactivation(self.channels[-1], self.activation),
            nn.Flatten(),
            *hidden_layer(linear, self.hidden, self.activation, dropout=self.dropout, context=context),
        )
        self.output = initialise(nn.Linear(self.hidden, features(self.out_shape)), OUTPUT_GAIN)


class ResNetDecoder(Network):
    """Residual convolutional network from any shape to images: the mirror of :class:`ResNetEncoder`.

    Args:
        in_shape: Shape of one input, flattened; for a latent vector (L,).
        out_shape: (C, H, W) of one image of any size, or (P, C, H, W) for P parameters per number.
        channels: Channels of each stage, from the image inwards, as the encoder has them.
        blocks: Residual blocks of each stage, before doubling.
        hidden: Width of the fully connected layer after the input.
        activation: "relu", "silu", "gelu", "tanh", "elu" or "gated".
        dropout: Probability of dropping a feature inside each block and after the hidden layer, in training.
        context: Size of the context vector, 0 for none; it scales and shifts the features inside each block and in
            the hidden layer (FiLM).

    Raises:
        ConfigError: If an option is unknown or has an impossible value.

    Example:
        >>> import torch
        >>> ResNetDecoder((40,), (2, 3, 32, 32))(torch.zeros(5, 40)).shape
        torch.Size([5, 2, 3, 32, 32])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        *,
        channels: Sequence[int] = (32, 64, 128),
        blocks: int = 2,
        hidden: int = 256,
        activation: str = "silu",
        dropout: float = 0.0,
        context: int = 0,
    ):
        super().__init__(in_shape, out_shape, context)
        *maps, height, width = image_shape("out_shape", self.out_shape, parameters=True)
        self.channels = sizes("channels", channels)
        self.blocks = size("blocks", blocks)
        self.hidden = size("hidden", hidden)
        self.activation = activation_name(activation)
        self.dropout = probability("dropout", dropout)

        image, *between, smallest = stage_sizes(height, width, len(self.channels))
        small = self.channels[-1], *smallest
        linear = partial(nn.Linear, features(self.in_shape))
        layers = [
            nn.Flatten(),
            *hidden_layer(
                linear, self.hidden, self.activation, dropout=self.dropout, first=True, context=context
            ),
            initialise(nn.Linear(self.hidden, features(small)), gain(self.activation)),
            nn.Unflatten(1, small),
            *_blocks(self.blocks, small[0], self.activation, self.dropout, context),
        ]
        for (above, below), target in zip(pairwise(self.channels[::-1]), between[::-1], strict=True):
            layers += [initialise(double(above)(below), 1.0), Crop(*target)]
            layers += _blocks(self.blocks, below, self.activation, self.dropout, context)
        self.layers = Stack(*layers, *_preactivation(self.channels[0], self.activation))
        self.output = initialise(double(self.channels[0])(features(tuple(maps))), OUTPUT_GAIN)
        self.crop = Crop(*image)

    def _last(self, h: Tensor, context: Tensor | None) -> Tensor:
        return self.crop(self.output(h))
