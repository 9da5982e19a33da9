"""Values that many examples have in common, stored once: the map of a problem, for all points of its solution."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import ConfigError, DataError


class Shared:
    """M values and, for each of N examples, which of them it has.

    Args:
        values: (M, ...), an array or tensor.
        index: (N,), whole numbers in [0, M).
        kind: "vector", "image" or "set" (rows of numbers, up to as many as there are; a row with a NaN is none); None
            reads it off the shape as for plain arrays.

    Raises:
        ConfigError: there is no such kind.
        DataError: an index is not a whole number, or out of range.

    Example:
        >>> grids = Shared(torch.rand(2, 8, 8), [0, 0, 1])
        >>> len(grids), grids.dense().shape
        (3, torch.Size([3, 8, 8]))
    """

    def __init__(
        self, values: Any, index: Any, kind: Literal["vector", "image", "set"] | None = None
    ) -> None:
        if kind not in (None, "vector", "image", "set"):
            raise ConfigError(f"Shared knows the kinds 'vector', 'image' and 'set'; got {kind!r}")
        self.values = torch.as_tensor(values)
        self.index = torch.as_tensor(index)
        self.kind: Literal["vector", "image", "set"] | None = kind
        whole = not (self.index.is_floating_point() or self.index.dtype == torch.bool)
        if not whole or self.index.ndim != 1:
            raise DataError(
                f"an index is one whole number per example; got {tuple(self.index.shape)} {self.index.dtype}"
            )
        self.index = self.index.long()
        if len(self.index) and not 0 <= int(self.index.min()) <= int(self.index.max()) < len(self.values):
            raise DataError(
                f"the index lies in [{int(self.index.min())}, {int(self.index.max())}], but there are "
                f"{len(self.values)} values"
            )

    def __len__(self) -> int:
        return len(self.index)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of one value per example, (N, ...)."""
        return (len(self.index), *self.values.shape[1:])

    @property
    def device(self) -> torch.device:
        """Where the values are."""
        return self.values.device

    def to(self, device: torch.device | str, once: dict[int, Tensor] | None = None) -> Shared:
        """The same on another device.

        Args:
            device: The device.
            once: Values that have been moved, by their identity; for several that share them to share the copy.
        """
        once = {} if once is None else once
        if id(self.values) not in once:
            once[id(self.values)] = self.values.to(device)
        return self.replaced(once[id(self.values)], self.index.to(device))

    def index_select(self, axis: int, at: Tensor) -> Shared:
        """Those of some examples, (M,); the axis is 0."""
        return self.replaced(self.values, self.index.index_select(axis, at))

    def dense(self) -> Tensor:
        """One value per example, (N, ...)."""
        return self.values.index_select(0, self.index)

    def distinct(self) -> Tensor:
        """The values that some example has."""
        return self.values.index_select(0, self.index.unique())

    def replaced(self, values: Tensor, index: Tensor) -> Shared:
        """Other values and another index, of the same kind; they are not checked."""
        made = object.__new__(Shared)
        made.values, made.index, made.kind = values, index, self.kind
        return made


Stored = Tensor | Shared


def join_stored(parts: Sequence[Any]) -> Any:
    """Return stored entries of several splits, one after the other."""
    if not isinstance(parts[0], Shared):
        return torch.cat(list(parts))
    if all(part.values is parts[0].values for part in parts):
        return parts[0].replaced(parts[0].values, torch.cat([part.index for part in parts]))
    starts = accumulate([len(part.values) for part in parts[:-1]], initial=0)
    index = torch.cat([part.index + start for part, start in zip(parts, starts, strict=True)])
    return parts[0].replaced(torch.cat([part.values for part in parts]), index)
