r"""Finite scalar quantisation: each number is bounded and rounded to one of a few values.

.. math:: z_j = \operatorname{round}\left(h_j \tanh(e_j + s_j) - o_j\right) / \lfloor L_j / 2 \rfloor

with :math:`h_j = (L_j - 1)(1 + \epsilon) / 2`, and offset o and shift s for an even number of values. There is no
book and no further loss; a gradient passes by the rounding as if it were not there.

Reference:
    Finite scalar quantization: VQ-VAE made simple (Mentzer et al., 2024), https://arxiv.org/abs/2309.15505
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..distributions import Point, through
from ..errors import ConfigError
from ..nn.network import sizes
from ..shapes import event_shape_of, full_precision, grid_of, numel
from ..slots import Level
from .base import Posterior

_SLACK = 1e-3


class FiniteScalar(Posterior):
    """The nearest point of a lattice.

    Args:
        event_shape: (P · number of sizes,).
        steps: Numbers L_j of values, as the lattice's.
        stride: As of the lattice: the encoder gives a map.
        data_shape: Shape of one observation.

    Raises:
        ConfigError: the numbers of a code cannot be divided so.
    """

    partners: ClassVar = {"prior": "lattice"}
    agree: ClassVar = ("steps", "stride")
    derived: ClassVar = frozenset({"data_shape"})

    def __init__(
        self,
        event_shape: int | Sequence[int],
        steps: Sequence[int] = (8, 5, 5, 5),
        stride: int = 0,
        data_shape: Sequence[int] = (1,),
    ) -> None:
        shape = event_shape_of(event_shape)
        if len(shape) != 1 or shape[0] % len(sizes("steps", steps)):
            raise ConfigError(
                f"a code of steps={steps!r} has a multiple of {len(steps)} numbers; got {shape}"
            )
        grid = grid_of(data_shape, stride)
        if grid is not None and shape[0] != len(steps) * numel(grid):
            raise ConfigError(
                f"a grid of {grid[0]} x {grid[1]} places of steps={steps!r} has {len(steps) * numel(grid)} numbers, "
                f"but the latent has shape {shape}: leave latent out"
            )
        super().__init__(shape, shape if grid is None else (len(steps), *grid), [Level(shape, "embedding")])
        self.stride, self.data_shape = stride, event_shape_of(data_shape, "data_shape")
        self.steps = steps

    def read(self, h: Tensor, context: Tensor | None) -> Tensor:
        """Return the numbers of all places side by side."""
        return h.movedim(-3, -1).flatten(-3) if self.stride else h

    def level(self, number: int, evidence: Any, state: Any, p: Distribution) -> Distribution:
        """Return the code (B, L) with certainty."""
        e = full_precision(evidence).unflatten(-1, (-1, len(self.steps)))
        n = torch.tensor(self.steps, device=e.device).to(e.dtype)
        half, offset = (n - 1) * (1 + _SLACK) / 2, 0.5 * (n % 2 == 0)
        bounded = half * torch.tanh(e + torch.atanh(offset / half)) - offset
        z = through(bounded.round(), bounded) / (n / 2).floor()
        return Point(z.flatten(-2), 1, discrete=True)
