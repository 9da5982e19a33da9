r"""A set: points, boxes, any rows of numbers in any order and number, embedded by a network that sees no order.

.. math::
    e(\{p_1, \dots, p_n\}) = \rho\Big( \big[ \max_i \varphi(p_i), \tfrac1n \textstyle\sum_i \varphi(p_i) \big] \Big)

Reference:
    Deep sets (Zaheer et al., 2017), https://arxiv.org/abs/1703.06114; PointNet (Qi et al., 2017),
    https://arxiv.org/abs/1612.00593
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigError
from ..nn import MLP
from ..nn.network import size as checked_size
from ..nn.network import sizes
from ..shapes import event_shape_of
from .vector import Numbers


class PointSet(Numbers):
    """Up to N rows of D numbers; a row with a NaN is no row, and a set without rows is a missing one.

    Args:
        event_shape: (N, D).
        size: Size of the embedding.
        hidden: Widths of the hidden layers of the network that all rows share.
        dropout: Probability of hiding a set in training.
        missing: Sets may be missing; implied by ``dropout``.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        event_shape: Sequence[int],
        size: int = 128,
        hidden: Sequence[int] = (128, 128),
        dropout: float = 0.0,
        missing: bool = False,
    ) -> None:
        shape = event_shape_of(event_shape)
        if len(shape) != 2:
            raise ConfigError(f"PointSet needs rows of numbers (N, D); got {shape}")
        super().__init__(shape, checked_size("size", size), dropout, missing)
        self.event_shape, self.size, self.hidden = shape, size, sizes("hidden", hidden)
        wide = self.hidden[-1]
        self.each = MLP(shape[1:], (wide,), hidden=self.hidden)
        self.together = MLP((2 * wide,), (size,), hidden=(wide,))
        self.register_buffer("mean", torch.zeros(shape[1]))
        self.register_buffer("std", torch.ones(shape[1]))

    def known(self, value: Tensor) -> Tensor:
        """Return which sets have a row, (B,)."""
        return _rows(value).any(1)

    def read(self, value: Any, name: str) -> Tensor:
        """Return sets (B, N, D) of one or several, those of fewer rows filled up with NaN; None is a missing one."""
        try:
            rows = self.absent(0) if value is None else torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError):
            return super().read(value, name)  # which says what is wrong
        if value is None or rows.ndim not in (2, 3) or rows.shape[-1] != self.event_shape[1]:
            return super().read(value, name)
        free = max(0, self.event_shape[0] - rows.shape[-2])
        return super().read(F.pad(rows.to(self.anchor), (0, 0, 0, free), value=torch.nan), name)

    def start(self, u: Tensor, model: Any = None) -> None:
        """Take mean and standard deviation of the rows of the training sets (N, rows, D)."""
        rows = u[_rows(u)].double()
        std = rows.std(0, correction=0)
        self.mean.copy_(rows.mean(0))
        self.std.copy_(torch.where(std > torch.finfo(torch.float32).eps * self.mean.abs(), std, 1.0))

    def embed(self, value: Tensor) -> Tensor:
        """Return the embedding (B, E)."""
        there = _rows(value).unsqueeze(-1)
        h = self.each(torch.where(there, (value.nan_to_num() - self.mean) / self.std, 0.0))
        # Features of no row at all count as zero, in the maximum too: the network is trained with that.
        highest = torch.where(there, h, -torch.inf).amax(1)
        highest = torch.where(highest.isfinite(), highest, 0.0)
        mean = (h * there).sum(1) / there.sum(1).clamp(min=1)
        return self.together(torch.cat([highest, mean], 1))


def _rows(value: Tensor) -> Tensor:
    """Return which rows are there, (B, N)."""
    return ~value.isnan().any(-1)
