"""Examples in blocks that are decoded one at a time: what a source larger than memory is made of.

A block is a row group of a Parquet file, a range of rows of a .npy file, or a range of samples of a tar shard.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TypeVar

import numpy as np

from ..progress import progress_bar

Item = TypeVar("Item")

_BLOCK_BYTES = 4 * 2**20  # read in one go: long for a disk, short beside a cache
_PER_CACHE = 16  # ranges that we choose are so small that this many fit
_PER_SOURCE = 100  # and that there are about this many, for shares of them to be cut
_QUIET = 2.0  # seconds before a pass is told of


def stored_dtype(dtype: np.dtype) -> np.dtype:
    """The type that values of another are kept in, one that torch computes with; see `to_tensor`."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f":
        return np.dtype(np.float32)
    if dtype.kind == "u" and dtype.itemsize > 1:
        return np.dtype(np.int32 if dtype.itemsize == 2 else np.int64)
    return dtype.newbyteorder("=")


class Blocks(ABC):
    """N examples of one shape and type in B blocks.

    Args:
        name: What the source is called in messages.
        counts: Examples in each block, (B,).
        event_shape: Shape of one example, (D,) or (C, H, W).
        dtype: Type of the values as they are read.
    """

    def __init__(self, name: str, counts: Sequence[int], event_shape: tuple[int, ...], dtype: np.dtype):
        self.name = name
        self.counts = np.asarray(counts, np.int64)
        self.event_shape = tuple(event_shape)
        self.dtype = dtype

    @abstractmethod
    def read(self, block: int) -> np.ndarray:
        """The examples (n, *event) of one block; from any thread.

        Raises:
            DataError: They are damaged, or not what they were when the source was opened.
        """

    def smaller(self, rows: int) -> str:
        """How the source is written in blocks of so many examples, if that is for its owner to do; else nothing."""
        return ""

    @cached_property
    def starts(self) -> np.ndarray:
        """The number of the first example of each block, (B,)."""
        return np.cumsum(self.counts) - self.counts

    def __len__(self) -> int:
        return int(self.counts.sum())

    @property
    def shape(self) -> tuple[int, ...]:
        """That of all examples in one array, (N, *event)."""
        return (len(self), *self.event_shape)

    @property
    def row_bytes(self) -> int:
        """What one example takes in memory."""
        return math.prod(self.event_shape) * stored_dtype(self.dtype).itemsize

    @property
    def block_bytes(self) -> int:
        """What the largest block takes in memory."""
        return int(self.counts.max(initial=0)) * self.row_bytes

    def block_of(self, rows: np.ndarray) -> np.ndarray:
        """In which blocks examples lie, (M,) for the numbers (M,) of the examples."""
        return np.searchsorted(self.starts, rows, side="right") - 1

    def passed(self) -> Iterator[tuple[int, np.ndarray]]:
        """Number of the first example and examples of each block; a long pass tells how far it is."""
        for block in told(range(len(self.counts)), f"reading {self.name}"):
            yield int(self.starts[block]), self.read(block)

    def whole(self) -> np.ndarray:
        """All examples in memory, (N, *event)."""
        array = np.empty(self.shape, self.dtype)
        for start, examples in self.passed():
            array[start : start + len(examples)] = examples
        return array


class JoinedBlocks(Blocks):
    """Several sources of one shape and type, one after the other."""

    def __init__(self, name: str, parts: Sequence[Blocks]):
        first = parts[0]
        super().__init__(
            name, np.concatenate([p.counts for p in parts]).tolist(), first.event_shape, first.dtype
        )
        self._where = [(part, block) for part in parts for block in range(len(part.counts))]

    def read(self, block: int) -> np.ndarray:
        part, inside = self._where[block]
        return part.read(inside)


def block_rows(count: int, row_bytes: int, memory: int) -> int:
    """How many examples to read in one go, where the file leaves the choice.

    It follows from the arguments alone, for the order of an epoch depends on it.
    """
    few = min(_BLOCK_BYTES, memory // _PER_CACHE) // max(1, row_bytes)
    return max(1, min(few, math.ceil(count / _PER_SOURCE)))


def cut_evenly(count: int, most: int) -> list[int]:
    """Lengths of ranges of at most so many that make up a count."""
    return [min(most, count - start) for start in range(0, count, most)]


def told(items: Sequence[Item], what: str) -> Iterator[Item]:
    """The items, with a bar or lines on standard error where they take long; of several processes the first tells."""
    with progress_bar(what, len(items), True, after=_QUIET) as advance:
        for item in items:
            yield item
            advance()
