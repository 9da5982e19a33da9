"""Plain convolutional networks: stride-2 convolutions to a small map, and back.

Each stage halves the height and the width, rounded up, until they are 1; the decoder goes back through the
same sizes. There is no normalisation between examples, so one example at a time trains as well as many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from ..errors import ConfigError
from .layers import (
    OUTPUT_GAIN,
    Crop,
    Stack,
    activation_name,
    double,
    halve,
    hidden_layer,
    initialise,
    stage_sizes,
)
from .network import Network, features, image_shape, probability, size, sizes


class ConvNetwork(Network):
    """What the networks of both directions have in common: options, and the layers that these describe."""

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        *,
        channels: Sequence[int] = (32, 64, 128),
        hidden: int = 256,
        activation: str = "silu",
        dropout: float = 0.0,
        context: int = 0,
    ):
        super().__init__(in_shape, out_shape, context)
        self.channels = sizes("channels", channels)
        self.hidden = hidden if hidden == 0 else size("hidden", hidden)
        self.activation = activation_name(activation)
        self.dropout = probability("dropout", dropout)
        self._build()

    def _build(self) -> None:
        """Make the layers."""
        raise NotImplementedError

    def _layer(self, build: Callable[[int], Any], width: int, **options: Any) -> list[nn.Module]:
        common = {"dropout": self.dropout, "context": self.context}
        return hidden_layer(build, width, self.activation, **common, **options)

    def _down(self, below: int, above: int, first: bool) -> list[nn.Module]:
        """Make a stage that halves the size."""
        return self._layer(halve(below), above, first=first)

    def _up(self, above: int, below: int, target: tuple[int, int]) -> list[nn.Module]:
        """Make a stage that doubles the size, to ``target``."""
        return [*self._layer(double(above), below), Crop(*target)]

    def _smallest(self, shape: tuple[int, ...]) -> list[nn.Module]:
        """Make what maps the fully connected layer to the smallest map."""
        return [*self._layer(partial(nn.Linear, self.hidden), features(shape)), nn.Unflatten(1, shape)]

    def _end(self, channels: int) -> list[nn.Module]:
        """Make what follows the last stage."""
        return []

    def _map(self, name: str, shape: tuple[int, ...], smallest: tuple[int, int]) -> int:
        """Return the channels of a shape (..., h, w), which is to be of the smallest map's size.

        Raises:
            ConfigError: it is not.
        """
        if len(shape) < 3 or shape[-2:] != smallest:
            raise ConfigError(
                f"hidden=0 keeps maps, which {len(self.channels)} stages make {smallest[0]} x {smallest[1]}, but "
                f"{name} is {shape}; choose as many channels as a side is halved, or hidden > 0"
            )
        return features(shape[:-2])


class ConvEncoder(ConvNetwork):
    """Convolutional network from images to any shape.

    Args:
        in_shape: (C, H, W) of one image, of any size.
        out_shape: Shape of one output.
        channels: Channels of each stage; a stage halves the size.
        hidden: Width of the fully connected layer before the output; 0 for none: the output is a map of the size
            that the stages leave, by a convolution.
        activation: "relu", "silu", "gelu", "tanh", "elu" or "gated".
        dropout: Probability of dropping a feature after each hidden layer, in training.
        context: Size of the context vector, 0 for none; it scales and shifts every hidden layer (FiLM).

    Raises:
        ConfigError: If an option is unknown or has an impossible value.

    Example:
        >>> import torch
        >>> ConvEncoder((3, 32, 32), (2, 40))(torch.zeros(5, 3, 32, 32)).shape
        torch.Size([5, 2, 40])
    """

    def _build(self) -> None:
        colours, height, width = image_shape("in_shape", self.in_shape)
        layers: list[nn.Module] = []
        for below, above in pairwise((colours, *self.channels)):
            layers += self._down(below, above, first=not layers)
        small = self.channels[-1], *stage_sizes(height, width, len(self.channels))[-1]
        layers += self._end(self.channels[-1])
        if not self.hidden:
            wide = self._map("out_shape", self.out_shape, small[1:])
            self.layers = Stack(*layers)
            self.output = initialise(nn.Conv2d(small[0], wide, 3, padding=1), OUTPUT_GAIN)
            return
        layers.append(nn.Flatten())
        self.layers = Stack(*layers, *self._layer(partial(nn.Linear, features(small)), self.hidden))
        self.output = initialise(nn.Linear(self.hidden, features(self.out_shape)), OUTPUT_GAIN)


class ConvDecoder(ConvNetwork):
    """Convolutional network from any shape to images: the mirror of :class:`ConvEncoder`.

    Args:
        in_shape: Shape of one input, flattened; for a latent vector (L,).
        out_shape: (C, H, W) of one image of any size, or (P, C, H, W) for P parameters per number.
        channels: Channels of each stage, from the image inwards, as the encoder has them.
        hidden: Width of the fully connected layer after the input; 0 for none: the input is a map of the size that
            the stages begin with.
        activation: As of the encoder.
        dropout: As of the encoder.
        context: As of the encoder.

    Raises:
        ConfigError: If an option is unknown or has an impossible value.

    Example:
        >>> import torch
        >>> ConvDecoder((40,), (2, 3, 32, 32))(torch.zeros(5, 40)).shape
        torch.Size([5, 2, 3, 32, 32])
    """

    def _build(self) -> None:
        *maps, height, width = image_shape("out_shape", self.out_shape, parameters=True)
        image, *between, smallest = stage_sizes(height, width, len(self.channels))
        if self.hidden:
            layers = [
                nn.Flatten(),
                *self._layer(partial(nn.Linear, features(self.in_shape)), self.hidden, first=True),
                *self._smallest((self.channels[-1], *smallest)),
            ]
        else:
            wide = self._map("in_shape", self.in_shape, smallest)
            build = partial(nn.Conv2d, wide, kernel_size=3, padding=1)
            layers = [nn.Flatten(1, -3), *self._layer(build, self.channels[-1], first=True)]
        for (above, below), target in zip(pairwise(self.channels[::-1]), between[::-1], strict=True):
            layers += self._up(above, below, target)
        self.layers = Stack(*layers, *self._end(self.channels[0]))
        self.output = initialise(double(self.channels[0])(features(tuple(maps))), OUTPUT_GAIN)
        self.crop = Crop(*image)

    def _last(self, h: Tensor, context: Tensor | None) -> Tensor:
        return self.crop(self.output(h))
