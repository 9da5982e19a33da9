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

from torch import nn

from .conv import ConvDecoder, ConvEncoder, ConvNetwork
from .layers import ACTIVATIONS, Crop, Residual, double, gain, halve, initialise
from .network import features, size


def group_norm(channels: int) -> nn.Module:
    """Normalise groups of at least 8 channels, at most 32 groups; fewer channels are one group.

    Groups of one number would all become zero, as a single channel of a 1x1 image would: it is left as it is.
    """
    if channels == 1:
        return nn.Identity()
    groups = max(g for g in range(1, 33) if channels % g == 0 and (g == 1 or channels // g >= 8))
    return nn.GroupNorm(groups, channels)


class ResNetwork(ConvNetwork):
    """The stages of the plain networks with residual blocks; the options are theirs, and ``blocks``."""

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
        self.blocks = size("blocks", blocks)  # before the layers are made
        super().__init__(
            in_shape,
            out_shape,
            channels=channels,
            hidden=hidden,
            activation=activation,
            dropout=dropout,
            context=context,
        )

    def _blocks(self, channels: int) -> list[nn.Module]:
        convolution = partial(nn.Conv2d, channels, kernel_size=3, padding=1)
        return [
            Residual(
                *self._end(channels),
                *self._layer(convolution, channels, norm=group_norm),
                initialise(convolution(channels), 0.0),
            )
            for _ in range(self.blocks)
        ]

    def _down(self, below: int, above: int, first: bool) -> list[nn.Module]:
        return [initialise(halve(below)(above), 1.0), *self._blocks(above)]

    def _up(self, above: int, below: int, target: tuple[int, int]) -> list[nn.Module]:
        return [initialise(double(above)(below), 1.0), Crop(*target), *self._blocks(below)]

    def _smallest(self, shape: tuple[int, ...]) -> list[nn.Module]:
        linear = initialise(nn.Linear(self.hidden, features(shape)), gain(self.activation))
        return [linear, nn.Unflatten(1, shape), *self._blocks(shape[0])]

    def _end(self, channels: int) -> list[nn.Module]:
        activation = [] if self.activation == "gated" else [ACTIVATIONS[self.activation][0]()]
        return [group_norm(channels), *activation]


class ResNetEncoder(ResNetwork, ConvEncoder):
    """Residual convolutional network from images to any shape.

    Args:
        in_shape: (C, H, W) of one image, of any size.
        out_shape: Shape of one output.
        channels: Channels of each stage; a stage halves the size.
        blocks: Residual blocks of each stage, after halving.
        hidden: Width of the fully connected layer before the output; 0 for none: the output is a map.
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


class ResNetDecoder(ResNetwork, ConvDecoder):
    """Residual convolutional network from any shape to images: the mirror of :class:`ResNetEncoder`.

    Args:
        in_shape: Shape of one input, flattened; for a latent vector (L,).
        out_shape: (C, H, W) of one image of any size, or (P, C, H, W) for P parameters per number.
        channels: Channels of each stage, from the image inwards, as the encoder has them.
        blocks: Residual blocks of each stage, before doubling.
        hidden: Width of the fully connected layer after the input; 0 for none: the input is a map.
        activation: As of the encoder.
        dropout: As of the encoder.
        context: As of the encoder.

    Raises:
        ConfigError: If an option is unknown or has an impossible value.

    Example:
        >>> import torch
        >>> ResNetDecoder((40,), (2, 3, 32, 32))(torch.zeros(5, 40)).shape
        torch.Size([5, 2, 3, 32, 32])
    """
