r"""The layers that the networks are made of, and how they are initialised.

Every layer works on tensors of shape (N, F, ...), features on axis 1, images and vectors alike.

Initialisation: biases are zero, weights normal with

.. math:: \operatorname{Var} W = \frac{g^2}{\text{fan in}}, \qquad g^{-2} = E\,\varphi(\varepsilon)^2,
          \quad \varepsilon \sim N(0, 1)

the condition of He et al. (2015) for any activation :math:`\varphi`: a pre-activation of unit variance is followed
by another one, at any depth. The first layer, whose input is data or z, has :math:`g = 1`. The last one has the small
gain ``OUTPUT_GAIN``: the first outputs are near the bias (which is set from the data), yet not at it, since a decoder
that ignores z is a saddle point of the bound.

The gated layer is

.. math:: (A x + a) \odot \sigma(B x + b)

computed as one affine map of twice the width, then split.

A context vector e enters a layer before its activation, either beside the input (concatenation, which is a sum of two
affine maps) or as an affine map of every feature (FiLM):

.. math:: W [h; e] + b = W_h h + W_e e + b, \qquad (1 + \gamma(e)) \odot (W h + b) + \beta(e)

Either way what depends on e is computed once per example, however many samples of h there are.

References:
    Delving deep into rectifiers (He et al., 2015), https://arxiv.org/abs/1502.01852
    Language modeling with gated convolutional networks (Dauphin et al., 2017), https://arxiv.org/abs/1612.08083
    VAE with a VampPrior (Tomczak and Welling, 2018), https://arxiv.org/abs/1705.07120
    FiLM: visual reasoning with a general conditioning layer (Perez et al., 2018), https://arxiv.org/abs/1709.07871
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import ConfigError, suggest

Affine = TypeVar("Affine", bound=nn.Linear | nn.Conv2d | nn.ConvTranspose2d)

OUTPUT_GAIN = 0.1

# name -> (module, gain g)
ACTIVATIONS: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "relu": (nn.ReLU, math.sqrt(2)),
    "silu": (nn.SiLU, 1.6765),
    "gelu": (nn.GELU, 1.5335),
    "tanh": (nn.Tanh, 1.5925),
    "elu": (nn.ELU, 1.2452),
    "gated": (partial(nn.GLU, dim=1), 1.8462),
}


def activation_name(name: str) -> str:
    """Check the name of an activation.

    Raises:
        ConfigError: If there is none of this name.
    """
    if isinstance(name, str) and name in ACTIVATIONS:
        return name
    raise ConfigError(f"unknown activation {name!r}; {suggest(str(name), ACTIVATIONS)}")


def gain(activation: str) -> float:
    """Give the gain g of the weights that follow this activation."""
    return ACTIVATIONS[activation][1]


def initialise(layer: Affine, gain: float) -> Affine:
    """Draw the weights with variance gain²/(fan in) and set the biases to zero."""
    fan_in = layer.weight[0].numel()
    if isinstance(layer, nn.ConvTranspose2d):
        # input channels come first here, and an output pixel meets one in stride² of the kernel's cells
        fan_in = layer.weight[:, 0].numel() / math.prod(layer.stride)
    nn.init.normal_(layer.weight, std=gain / math.sqrt(fan_in))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def hidden_layer(
    build: Callable[[int], nn.Linear | nn.Conv2d | nn.ConvTranspose2d],
    width: int,
    activation: str,
    *,
    norm: Callable[[int], nn.Module] | None = None,
    dropout: float = 0.0,
    first: bool = False,
    scale: float = 1.0,
    context: int = 0,
    film: bool = True,
) -> list[nn.Module]:
    """Make an affine map, then optionally its normalisation, the activation, and dropout.

    Args:
        build: Makes the affine map for a given number of output features.
        width: Features after the activation (a gate needs twice as many before it).
        activation: Name of the activation.
        norm: Makes the normalisation for a given number of features.
        dropout: Probability of dropping a feature.
        first: The input is data or z, of second moment near 1, and no activation precedes: the gain is 1.
        scale: Factor on the gain.
        context: Size of the context vector that enters, 0 for none.
        film: Whether it scales and shifts the features, or is concatenated to the input.
    """
    wide = 2 * width if activation == "gated" else width
    layers: list[nn.Module] = [initialise(build(wide), scale * (1.0 if first else gain(activation)))]
    if norm is not None:
        layers.append(norm(wide))
    if context:
        layers.append(Injection(wide, context, film=film))
    layers.append(ACTIVATIONS[activation][0]())
    if dropout:
        layers.append(nn.Dropout(dropout))
    return layers


class Injection(nn.Module):
    """Let a context vector act on features: shift them, and with ``film`` scale them too.

    Args:
        features: Number F of features.
        context: Size E of the context vector.
        film: Whether to scale as well; the map then starts small, the layer as if there were no context.
    """

    def __init__(self, features: int, context: int, *, film: bool):
        super().__init__()
        self.film = film
        wide = 2 * features if film else features
        self.map = initialise(nn.Linear(context, wide, bias=False), OUTPUT_GAIN if film else 1.0)

    def forward(self, h: Tensor, context: Tensor) -> Tensor:
        """Map h (S * B, F, ...), S samples of each of B examples, and a context (B, E) to the shape of h."""
        effect = self.map(context)
        effect = effect.reshape(*effect.shape, *[1] * (h.dim() - 2))
        h = h.unflatten(0, (-1, context.shape[0]))
        if not self.film:
            return (h + effect).flatten(0, 1)
        scale, shift = effect.chunk(2, dim=1)
        return torch.addcmul(h + shift, h, scale).flatten(0, 1)


class Stack(nn.Sequential):
    """Layers one after the other; those that take a context are given it."""

    def forward(self, input: Tensor, context: Tensor | None = None) -> Tensor:
        """Map (N, F, ...), with a context (B, E) where N is a multiple of B."""
        for layer in self:
            input = layer(input, context) if isinstance(layer, Stack | Injection) else layer(input)
        return input


class Residual(Stack):
    """Add what the layers compute to their input: x + f(x)."""

    def forward(self, input: Tensor, context: Tensor | None = None) -> Tensor:
        """Map (N, F, ...) to the same shape."""
        return input + super().forward(input, context)


class Crop(nn.Module):
    """Keep the upper left (height, width) of an image.

    Doubling a size that was halved upwards gives one row too many when the size was odd.
    """

    def __init__(self, height: int, width: int):
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, height, width)."""
        return x[..., : self.height, : self.width]

    def extra_repr(self) -> str:
        """Name the size."""
        return f"{self.height}, {self.width}"


class Halving(nn.Conv2d):
    """A convolution of stride 2, which is 1 across a map of width 1: the same numbers.

    With stride 2 there, torch 2.13 gives an uninitialised gradient of the weights in bfloat16 on a CPU.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, F, ⌈H / 2⌉, ⌈W / 2⌉)."""
        stride = self.stride if input.shape[-1] > 1 else (self.stride[0], 1)
        return functional.conv2d(input, self.weight, self.bias, stride, self.padding)


def halve(channels_in: int) -> Callable[[int], nn.Conv2d]:
    """Build convolutions that halve the size, rounded up: 28, 14, 7, 4, 2, 1, 1, ..."""
    return partial(Halving, channels_in, kernel_size=3, stride=2, padding=1)


def double(channels_in: int) -> Callable[[int], nn.ConvTranspose2d]:
    """Build transposed convolutions that double the size.

    The kernel is a multiple of the stride, so every pixel is reached by equally many of its cells: no chequers.
    Resizing and then convolving 3x3 takes twice the multiplications and has no weights of its own for each of the
    four phases.
    """
    return partial(nn.ConvTranspose2d, channels_in, kernel_size=4, stride=2, padding=1)


def stage_sizes(height: int, width: int, stages: int) -> list[tuple[int, int]]:
    """List the sizes of the image before the first stage and after each one."""
    result = [(height, width)]
    for _ in range(stages):
        height, width = -(-height // 2), -(-width // 2)
        result.append((height, width))
    return result
