r"""The prior of finite scalar quantisation: the points of a lattice, of which none has to be learned.

.. math:: z_{ij} \in \left\{ -\lfloor L_j / 2 \rfloor, \dots \right\} / \lfloor L_j / 2 \rfloor, \qquad
    K = \prod_j L_j

Reference:
    Finite scalar quantization: VQ-VAE made simple (Mentzer et al., 2024), https://arxiv.org/abs/2309.15505
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..errors import ConfigError
from ..nn.network import sizes
from ..shapes import grid_of, numel
from .codes import Codes

_MOST = 2**16


class Lattice(Codes):
    """Places of as many numbers as there are sizes, number j of each of L_j values.

    Args:
        event_shape: (P · number of sizes,).
        steps: The sizes L_j, at least 2 each.
        order: Width of the network that predicts each place; 0 for none, then all codes are alike.
        stride: As of a codebook.
        context: Size of the context vector.
        data_shape: Shape of one observation.

    Raises:
        ConfigError: there are too many points, or the numbers of a code cannot be divided so.
    """

    partners: ClassVar = {"posterior": "fsq"}
    agree: ClassVar = ("steps", "stride")
    derived: ClassVar = frozenset({"data_shape"})
    points: Tensor

    def __init__(
        self,
        event_shape: int | Sequence[int],
        steps: Sequence[int] = (8, 5, 5, 5),
        order: int = 0,
        stride: int = 0,
        context: int = 0,
        data_shape: Sequence[int] = (1,),
    ) -> None:
        self_steps = sizes("steps", steps)
        codes = math.prod(self_steps)
        if min(self_steps) < 2 or codes > _MOST:
            raise ConfigError(
                f"a lattice needs steps of at least 2 and at most {_MOST} points; got {steps!r}"
            )
        super().__init__(event_shape, codes, len(self_steps), 1, order, context, stride, data_shape)
        self.steps = steps
        axes = [(torch.arange(n) - n // 2) / (n // 2) for n in self_steps]
        self.register_buffer("points", torch.cartesian_prod(*axes).reshape(codes, -1), persistent=False)

    @classmethod
    def usual(cls, options: Mapping[str, Any], data_shape: tuple[int, ...], numbers: int) -> tuple[int, ...]:
        """Return the usual numbers, or those of the grid."""
        grid = grid_of(data_shape, options.get("stride", 0))
        return (len(options.get("steps", (8, 5, 5, 5))) * numel(grid) if grid else numbers,)

    def rows(self, number: int) -> Tensor:
        """Return the points, (K, D)."""
        return self.points

    def index(self, number: int, rows: Tensor) -> Tensor:
        """Return the numbers (...) of points (..., D), the last axis running fastest."""
        k = torch.zeros(rows.shape[:-1], dtype=torch.long, device=rows.device)
        for j, n in enumerate(self.steps):
            k = k * n + ((rows[..., j] * (n // 2)).round().long() + n // 2).clamp(0, n - 1)
        return k
