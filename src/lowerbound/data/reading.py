r"""From stored values v to the x that a model sees: binarisation and dequantisation.

With white the largest grey level (255 for eight bits, 16 for the digits, 1 for images already in [0, 1]):

    dynamic      x ~ Bernoulli(v / white), a fresh draw each time
    threshold    x = [v > white / 2]
    dequantise   x = (v + u) / (white + 1),  u ~ U(0, 1)
    scale        x = v / white
    floats       x = v
    integers     x = v as int64

The randomness is 15 bits per value, drawn in bulk: a generator's call yields 64 bits, enough for four values.
A binary draw then has its probability to :math:`2^{-15}` (exact at black and at white), and u lies on the midpoints
:math:`(r + ½) 2^{-15}`, whose sum with v is exact in float32: x never rounds up into the next grey level, nor to 1.
For that, levels of 16 bits leave room for 7 bits of u.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

RANGE = 2**15
_ON_LEVEL = 1e-4  # of a level: what float32 leaves open of v / white


def random_bits(shape: torch.Size, device: torch.device, generator: Generator | None = None) -> Tensor:
    """Independent uniform integers 0..32767 of the given shape (N, *event), int16.

    On a CPU each row takes whole generator calls, so what a row gets does not depend on how rows are batched.
    """
    if device.type != "cpu":
        return torch.empty(shape, dtype=torch.int16, device=device).random_(0, RANGE, generator=generator)
    size = math.prod(shape[1:])
    words = torch.empty((shape[0], math.ceil(size / 4)), dtype=torch.int64)
    words.random_(-(2**63), None, generator=generator)
    return words.view(torch.int16).bitwise_and_(RANGE - 1)[:, :size].reshape(shape)


def draw_binary(v: Tensor, white: float, generator: Generator | None = None) -> Tensor:
    """Bernoulli(v / white) as float32 zeros and ones; v (N, *event) in [0, white]."""
    bits = random_bits(v.shape, v.device, generator)
    return v.to(torch.float32, copy=True).mul_(RANGE / white).gt_(bits)


@dataclass(frozen=True)
class Reading:
    """The rule that turns stored values into x, see the module's table.

    Args:
        rule: Which line of the table.
        white: Stored value of white.
        scale: Factor that turns stored values into v: 1, unless they are stored otherwise than those of the table.
    """

    rule: Literal["dynamic", "threshold", "dequantise", "scale", "floats", "integers"]
    white: float = 1.0
    scale: float = 1.0

    def _levels(self, v: Tensor) -> Tensor:
        """Stored values as v. What is a level is one exactly; what lies between two levels stays there."""
        if self.scale == 1:
            return v
        v = v.double() * self.scale
        return torch.where((v - v.round()).abs() < _ON_LEVEL, v.round(), v).float()

    def __call__(self, v: Tensor, generator: Generator | None = None) -> Tensor:
        """X of the same shape: float32, for "integers" int64; draws from the global generator unless given one."""
        v = self._levels(v)
        match self.rule:
            case "dynamic":
                return draw_binary(v, self.white, generator)
            case "dequantise":
                # Fewer bits of noise beside many levels, for the sum to be exact.
                kept = min(15, 23 - int(self.white).bit_length())
                bits = random_bits(v.shape, v.device, generator).bitwise_right_shift_(15 - kept)
                x = v.to(torch.float32, copy=True).add_(bits, alpha=2.0**-kept).add_(2.0 ** -(kept + 1))
                x = x.div_(self.white + 1)
                if self.scale == 1:
                    return x
                # An example that lies between the levels has been dequantised already.
                levels = (v == v.round()).flatten(1).all(1).reshape(-1, *[1] * (v.ndim - 1))
                return torch.where(levels, x, v / self.white)
            case "threshold":
                return (v > self.white / 2).to(torch.float32)
            case "scale":
                return v.to(torch.float32).div(self.white)
            case "floats":
                return v.to(torch.float32)
            case "integers":
                return v.to(torch.int64)

    def expected(self, v: Tensor) -> Tensor:
        """E[x | v] in float64."""
        v = self._levels(v).double()
        match self.rule:
            case "dynamic" | "scale":
                return v / self.white
            case "dequantise":
                return (v + 0.5) / (self.white + 1)
            case "threshold":
                return (v > self.white / 2).double()
            case "floats" | "integers":
                return v
