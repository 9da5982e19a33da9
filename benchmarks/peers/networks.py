"""The networks of the comparisons in plain torch: layer for layer those that lowerbound builds of the same name.

They need nothing but torch, for the peers' environment has no lowerbound. ``tests/test_benchmarks.py`` holds the two
to the same outputs from the same weights.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

LATENT = 32
HIDDEN = (512, 512)
CHANNELS = (32, 64, 128)
WIDE = 256
LOG_SCALE_BOUND = 12.0  # lowerbound keeps log-scales within it, smoothly


class Encoder(nn.Module):
    """Images (B, C, H, W) to the means and log-scales of q(z | x), (B, L) each.

    Args:
        layers: Network to 2 L numbers.
    """

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and log-scales."""
        mean, raw = self.layers(x).chunk(2, dim=1)
        return mean, LOG_SCALE_BOUND * torch.tanh(raw / LOG_SCALE_BOUND)


class Crop(nn.Module):
    """Keep the upper left (height, width) of an image."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = height, width

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, height, width)."""
        return x[..., : self.size[0], : self.size[1]]


def build(
    network: str, shape: Sequence[int], latent: int = LATENT, hidden: Sequence[int] = HIDDEN
) -> tuple[Encoder, nn.Module]:
    """Return an encoder and a decoder, whose outputs are logits (B, C, H, W).

    Args:
        network: "mlp" or "conv".
        shape: (C, H, W) of one image.
        latent: Number L of latent dimensions.
        hidden: Widths of the hidden layers of "mlp".
    """
    return _mlp(tuple(shape), latent, tuple(hidden)) if network == "mlp" else _conv(tuple(shape), latent)


def _mlp(shape: tuple[int, ...], latent: int, hidden: tuple[int, ...]) -> tuple[Encoder, nn.Module]:
    def stack(widths: Sequence[int]) -> list[nn.Module]:
        pairs = itertools.pairwise(widths)
        layers = [layer for below, above in pairs for layer in (nn.Linear(below, above), nn.SiLU())]
        return layers[:-1]  # no activation after the last one

    pixels = math.prod(shape)
    encoder = nn.Sequential(nn.Flatten(), *stack((pixels, *hidden, 2 * latent)))
    decoder = nn.Sequential(*stack((latent, *hidden, pixels)), nn.Unflatten(1, shape))
    return Encoder(encoder), decoder


def _conv(shape: tuple[int, ...], latent: int) -> tuple[Encoder, nn.Module]:
    colours, *image = shape
    sizes = [tuple(image)]
    for _ in CHANNELS:
        sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
    small = CHANNELS[-1], *sizes[-1]

    down: list[nn.Module] = []
    for below, above in zip((colours, *CHANNELS), CHANNELS, strict=False):
        down += [nn.Conv2d(below, above, 3, 2, 1), nn.SiLU()]
    down += [nn.Flatten(), nn.Linear(math.prod(small), WIDE), nn.SiLU(), nn.Linear(WIDE, 2 * latent)]

    up: list[nn.Module] = [nn.Linear(latent, WIDE), nn.SiLU(), nn.Linear(WIDE, math.prod(small)), nn.SiLU()]
    up.append(nn.Unflatten(1, small))
    for above, below, size in zip(CHANNELS[::-1], CHANNELS[-2::-1], sizes[-2:0:-1], strict=False):
        up += [nn.ConvTranspose2d(above, below, 4, 2, 1), nn.SiLU(), Crop(*size)]
    up += [nn.ConvTranspose2d(CHANNELS[0], colours, 4, 2, 1), Crop(*image)]
    return Encoder(nn.Sequential(*down)), nn.Sequential(*up)


@torch.no_grad()
def set_weights(encoder: nn.Module, decoder: nn.Module, tensors: Sequence[Tensor]) -> None:
    """Copy weights, those of the encoder and then of the decoder, in the order of ``parameters()``."""
    for own, given in zip([*encoder.parameters(), *decoder.parameters()], tensors, strict=True):
        own.copy_(given)


def save_weights(encoder: nn.Module, decoder: nn.Module, path: str) -> None:
    """Write the weights as a .npz file, which both environments read without a pickle."""
    weights = [*encoder.parameters(), *decoder.parameters()]
    np.savez(path, *[weight.detach().float().numpy() for weight in weights])


def load_weights(encoder: nn.Module, decoder: nn.Module, path: str) -> None:
    """Read what ``save_weights`` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        set_weights(encoder, decoder, [torch.from_numpy(stored[name]) for name in stored.files])


@torch.no_grad()
def bound(
    posterior: Callable[[Tensor], tuple[Tensor, Tensor]],
    log_likelihood: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    batch: int = 1000,
) -> float:
    """Return the mean evidence lower bound of ``x`` (N, ...) in nats, one draw of z each, the same at every call.

    Args:
        posterior: Gives means and log-scales of q(z | x), (B, L) each.
        log_likelihood: Gives log p(x | z) from x and z, (B,).
        x: Observations.
        batch: How many are taken at once.
    """
    draws = torch.Generator().manual_seed(0)
    total = 0.0
    for part in x.split(batch):
        mean, log_scale = posterior(part)
        z = mean + log_scale.exp() * torch.randn(mean.shape, generator=draws)
        kl = 0.5 * (mean.square() + (2 * log_scale).exp() - 1 - 2 * log_scale).sum(1)
        total += (log_likelihood(part, z) - kl).sum().item()
    return total / len(x)


def bernoulli(decoder: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Return log p(x | z) for a decoder that gives logits."""

    def log_likelihood(x: Tensor, z: Tensor) -> Tensor:
        each = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="none")
        return -each.flatten(1).sum(1)

    return log_likelihood


def forward_flops(network: str, shape: Sequence[int]) -> int:
    """Return the floating-point operations of one image's way through encoder and decoder: their products alone."""
    from torch.utils.flop_counter import FlopCounterMode

    encoder, decoder = build(network, shape)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        mean, _ = encoder(torch.zeros(1, *shape))
        decoder(mean)
    return counter.get_total_flops()
