"""Where examples lie: a tensor on a device, a memory-mapped file of which only the asked rows are read, or blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor

from .blocks import stored_dtype
from .memory import free_on
from .window import Window, spread

_CHUNK = 2**22  # values held at once when a whole file is passed over
_SHARE = 0.5  # of a device's free memory that data may fill
_CACHED = 2**17  # values that stay in the processor's cache while something is worked out of them


def chunk_length(event_size: int, cached: bool = False) -> int:
    """Number of examples in one chunk of a pass over all of them, or in one that the processor's cache holds."""
    return max(1, (min(_CHUNK, _CACHED) if cached else _CHUNK) // max(1, event_size))


def to_tensor(array: np.ndarray) -> Tensor:
    """The array as a tensor in a type that torch computes with: uint8, a signed integer, or float32."""
    array = np.ascontiguousarray(array, dtype=stored_dtype(array.dtype))
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def shuffled(count: int, seed: int, rank: int = 0, world: int = 1) -> Tensor:
    """Every world-th of the numbers 0..count-1 in random order, from the rank-th on: (M,) int64."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[rank::world]


class Rows(Protocol):
    """N examples in their storage type."""

    @property
    def device(self) -> torch.device:
        """Where `read` puts its result."""
        ...

    def __len__(self) -> int: ...

    def read(self, index: Tensor) -> Tensor:
        """The examples (B, *event) at an index (B,)."""
        ...

    def select(self, index: np.ndarray) -> Rows:
        """Only the examples of the index, in its order."""
        ...

    def to(self, device: torch.device) -> Rows:
        """The same examples, read to the device."""
        ...

    def order(self, seed: int, rank: int, world: int) -> Tensor:
        """The order (M,) in which one of several processes visits its share; see `Split.order`."""
        ...


def join(parts: Sequence[Rows]) -> Rows:
    """The examples of several parts of one source, one part after the other."""
    if all(isinstance(part, MappedRows) for part in parts):
        first = cast(MappedRows, parts[0])  # the parts of a memory-mapped source are rows of one array
        return MappedRows(first.array, np.concatenate([part.index for part in parts]), first.device)  # pyright: ignore
    if all(isinstance(part, StreamedRows) for part in parts):
        first = cast(StreamedRows, parts[0])  # and those of a streamed one share its window
        return StreamedRows(first.window, np.concatenate([part.index for part in parts]), first.device)  # pyright: ignore
    if all(isinstance(part, TensorRows) for part in parts):
        tensors = [cast(TensorRows, part).tensor for part in parts]
        if len({tensor.device for tensor in tensors}) == 1:
            return TensorRows(torch.cat(tensors), parts[0].device)
    return TensorRows(torch.cat([part.read(torch.arange(len(part))) for part in parts]))


class TensorRows:
    """Rows of a tensor, indexed where it lies.

    Args:
        tensor: All of them.
        device: Where `read` puts its result, if that is not where they lie.
    """

    def __init__(self, tensor: Tensor, device: torch.device | None = None):
        self.tensor = tensor
        self.device = device or tensor.device

    def __len__(self) -> int:
        return len(self.tensor)

    def read(self, index: Tensor) -> Tensor:
        rows = self.tensor.index_select(0, index.to(self.tensor.device))
        return rows.to(self.device, non_blocking=True)

    def select(self, index: np.ndarray) -> TensorRows:
        at = torch.from_numpy(index).to(self.tensor.device)
        return TensorRows(self.tensor.index_select(0, at), self.device)

    def to(self, device: torch.device) -> TensorRows:
        """The same examples on the device; what would fill it stays, and is read to it batch by batch."""
        if self.tensor.device != device and self.tensor.nbytes > free_on(device) * _SHARE:
            pinned = self.tensor.pin_memory() if device.type == "cuda" else self.tensor
            return TensorRows(pinned, device)
        return TensorRows(self.tensor.to(device))

    def order(self, seed: int, rank: int, world: int) -> Tensor:
        return shuffled(len(self), seed, rank, world)


class _DiskRows:
    """Numbers of examples that stay on disk whatever the device is."""

    def __init__(self, index: np.ndarray, device: torch.device | None):
        self.index = index
        self._device = device or torch.device("cpu")

    @property
    def device(self) -> torch.device:
        return self._device

    def __len__(self) -> int:
        return len(self.index)


class MappedRows(_DiskRows):
    """Rows of a memory-mapped array."""

    def __init__(
        self, array: np.ndarray, index: np.ndarray | None = None, device: torch.device | None = None
    ):
        super().__init__(np.arange(len(array)) if index is None else index, device)
        self.array = array

    def read(self, index: Tensor) -> Tensor:
        rows = self.index[index.cpu().numpy()]
        order = np.argsort(rows)
        block = np.asarray(self.array[rows[order]])  # ascending, so that the disk is read forwards
        unsorted = np.empty_like(block)
        unsorted[order] = block
        return to_tensor(unsorted).to(self.device)

    def select(self, index: np.ndarray) -> MappedRows:
        return MappedRows(self.array, self.index[index], self.device)

    def to(self, device: torch.device) -> MappedRows:
        return MappedRows(self.array, self.index, device)

    def order(self, seed: int, rank: int, world: int) -> Tensor:
        return shuffled(len(self), seed, rank, world)


class StreamedRows(_DiskRows):
    """Examples in blocks, of which a window is in memory.

    Any index is read, but only two kinds fast: places in the order of `order`, and those that follow each other. For
    these the next blocks are read ahead.

    Args:
        window: The blocks in memory; the splits of a source share it.
        index: Numbers of the examples in the source, (N,).
        device: Where `read` puts its result.
    """

    def __init__(self, window: Window, index: np.ndarray, device: torch.device | None = None):
        super().__init__(index, device)
        self.window = window

    def read(self, index: Tensor) -> Tensor:
        at = index.cpu().numpy()
        following = None
        if len(at) and at[-1] - at[0] == len(at) - 1 and at[-1] + 1 < len(self):
            following = int(self.index[at[-1] + 1])
        return self.window.read(self.index[at], following).to(self.device)

    def select(self, index: np.ndarray) -> StreamedRows:
        return StreamedRows(self.window, self.index[index], self.device)

    def to(self, device: torch.device) -> StreamedRows:
        return StreamedRows(self.window, self.index, device)

    def order(self, seed: int, rank: int, world: int) -> Tensor:
        """As in `lowerbound.data.window`; from now on blocks are read ahead for this pass."""
        block = torch.from_numpy(self.window.blocks.block_of(self.index))
        places, opened = spread(block, self.window.length, seed, rank, world)
        self.window.plan(opened.numpy())
        return places
