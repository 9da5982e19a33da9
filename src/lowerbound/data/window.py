r"""The blocks that are in memory at a time, and the order of an epoch in which few need to be.

The order. The blocks of a split are permuted, and the ranks get consecutive shares of them, one example more or less.
Block :math:`i` of a rank's :math:`B` is open from :math:`i` to :math:`i + W` on a clock that advances by one per
block; each of its examples gets a random time in between, and the examples are visited by their times. So at any time
the examples of :math:`W` blocks are mixed. The first :math:`W` blocks open together and the last :math:`W` close
together, so that the ends of an epoch are mixed as well as its middle:

.. math:: t \sim U\big(\max(i, W - 1), \min(i + W, B)\big)

With :math:`W = B` the order is a uniform permutation. Otherwise two examples of one block, :math:`m` long, meet in a
batch of :math:`b` with probability about :math:`b / (W m)` instead of :math:`b / N`: :math:`B / W` times as often.

The memory. Blocks lie in the slots of one tensor, so that a batch is one index into it. :math:`W` slots are for open
blocks, the others for those that a thread reads ahead. A block gives its slot away when it is over; one that is asked
for out of turn takes the slot of the block whose turn is the longest ago.
"""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor
from threading import RLock

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from .blocks import Blocks, stored_dtype

_AHEAD = 32  # blocks read ahead at most


def spread(block: Tensor, window: int, seed: int, rank: int, world: int) -> tuple[Tensor, Tensor]:
    """The module's order.

    Args:
        block: In which block each example of the split lies, (M,).
        window: How many blocks may be open, W.
        seed: Of the order.
        rank: Whose share.
        world: How many share the examples.

    Returns:
        Places in the split (M / world,) in the order of the visit, and the numbers of the blocks as they open.
    """
    generator = torch.Generator().manual_seed(seed)
    present = torch.bincount(block).nonzero().squeeze(1)
    turn_of = torch.zeros(int(block.max()) + 1, dtype=torch.long)
    turn_of[present[torch.randperm(len(present), generator=generator)]] = torch.arange(len(present))
    along = turn_of[block].argsort(stable=True)  # block after block
    chance = torch.rand(len(block), dtype=torch.float64, generator=generator)
    each, over = divmod(len(block), world)
    start = rank * each + min(rank, over)
    mine = slice(start, start + each + (rank < over))
    along, chance = along[mine], chance[mine]
    opened, turn = block[along].unique_consecutive(return_inverse=True)
    width = min(window, len(opened))
    opens, closes = turn.clamp(min=width - 1), (turn + width).clamp(max=len(opened))
    return along[(opens + chance * (closes - opens)).argsort(stable=True)], opened


class Window:
    """The decoded blocks in memory, and the thread that reads ahead.

    What is read does not depend on the thread: it only brings blocks that `read` would else bring itself. An error of
    the thread is raised by the `read` that needs the block.

    Args:
        blocks: Where the examples lie.
        memory: Bytes of decoded blocks to keep.

    Raises:
        ConfigError: Two blocks take more memory than that.
    """

    def __init__(self, blocks: Blocks, memory: int):
        count = len(blocks.counts)
        if min(2, count) * blocks.block_bytes > memory:
            fitting = max(1, memory // (16 * blocks.row_bytes))
            raise ConfigError(
                f"{blocks.name} has a block of {int(blocks.counts.max())} examples, which takes "
                f"{blocks.block_bytes:,} bytes decoded; memory={memory:,} must hold two of them. Give more"
                f"{blocks.smaller(fitting) and f', or {blocks.smaller(fitting)}'}"
            )
        self.blocks = blocks
        self._slots = min(count, memory // blocks.block_bytes)
        self._ahead = min(_AHEAD, max(1, self._slots // 16))
        self.length = count if self._slots == count else self._slots - self._ahead
        self._rows = int(blocks.counts.max())
        self._slot_of = np.full(count, -1)
        self._block_in = np.full(self._slots, -1)
        self._turn_of = np.full(count, -1)
        self._opened = np.empty(0, np.int64)
        self._coming: dict[int, tuple[int, Future[None]]] = {}
        self._store: Tensor | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._lock = RLock()

    def plan(self, opened: np.ndarray) -> None:
        """Read ahead in this order of the blocks from now on."""
        with self._lock:
            self._opened = opened
            self._turn_of.fill(-1)
            self._turn_of[opened] = np.arange(len(opened))

    def read(self, rows: np.ndarray, following: int | None = None) -> Tensor:
        """Examples (M, *event) by their numbers (M,), in their storage type.

        Args:
            rows: Any numbers, in any order.
            following: The example that will be asked for next, if that is known.

        Raises:
            DataError: A block is damaged.
        """
        block = self.blocks.block_of(rows)
        needed = np.unique(block)
        with self._lock:
            if len(needed) <= self.length:
                self._hold(needed)
                found = self._gather(rows, block)
            else:
                found = self._empty(len(rows))
                for some in np.array_split(needed, math.ceil(len(needed) / self.length)):
                    at = np.isin(block, some)
                    self._hold(some)
                    found[torch.from_numpy(at)] = self._gather(rows[at], block[at])
            self._read_ahead(needed, following)
        return found

    def _empty(self, count: int) -> Tensor:
        kind = torch.from_numpy(np.empty(0, stored_dtype(self.blocks.dtype))).dtype
        return torch.empty((count, *self.blocks.event_shape), dtype=kind)

    def _gather(self, rows: np.ndarray, block: np.ndarray) -> Tensor:
        """Examples of blocks that are in memory."""
        assert self._store is not None or not len(rows)
        if self._store is None:
            return self._empty(0)
        at = self._slot_of[block] * self._rows + rows - self.blocks.starts[block]
        return self._store.index_select(0, torch.from_numpy(at))

    def _hold(self, needed: np.ndarray) -> None:
        """Have all of the blocks in memory; there are at most `length` of them."""
        for block, (_, coming) in list(self._coming.items()):
            if coming.done() or block in needed:
                self._settle(block)
        for block in needed[self._slot_of[needed] < 0].tolist():
            slot = self._free_slot(needed)
            assert slot is not None  # those needed and those coming do not fill all slots
            self._fill(block, slot)
            self._block_in[slot], self._slot_of[block] = block, slot

    def _settle(self, block: int) -> None:
        """Wait for a block that is coming; what went wrong with it is raised here."""
        slot, coming = self._coming[block]
        try:
            coming.result()
            self._block_in[slot], self._slot_of[block] = block, slot
        finally:
            if coming.done():  # it may be the wait that was interrupted
                del self._coming[block]

    def _free_slot(self, keep: np.ndarray, before: int | None = None) -> int | None:
        """An empty slot, or that of the block whose turn is the longest ago, emptied.

        Args:
            keep: Blocks that must stay.
            before: Take the slot of no block with this turn or a later one.
        """
        turns = np.where(self._block_in < 0, -2, self._turn_of[self._block_in])
        last = len(self._turn_of)
        held = self._slot_of[keep]
        turns[held[held >= 0]] = last
        turns[[slot for slot, _ in self._coming.values()]] = last
        slot = int(turns.argmin())
        if turns[slot] >= (last if before is None else before):
            return None
        if self._block_in[slot] >= 0:
            self._slot_of[self._block_in[slot]] = -1
            self._block_in[slot] = -1
        return slot

    def _fill(self, block: int, slot: int) -> None:
        """Decode a block into a slot that nothing else uses."""
        if self._store is None:
            self._store = self._empty(self._slots * self._rows)  # takes memory only where it is filled
        examples = self.blocks.read(block)
        start = slot * self._rows
        np.copyto(self._store.numpy()[start : start + len(examples)], examples, casting="unsafe")

    def _read_ahead(self, needed: np.ndarray, following: int | None) -> None:
        """Let the thread bring what comes after the blocks just read, into slots of blocks that are over."""
        furthest = int(self._turn_of[needed].max(initial=-1))
        first = max(0, furthest - self.length + 1)
        wanted = self._opened[first : furthest + 1 + self._ahead]
        before: int | None = first
        if furthest < 0:
            wanted = self.blocks.block_of(np.array([] if following is None else [following], np.int64))
            before = None
        for block in wanted[self._slot_of[wanted] < 0].tolist():
            if len(self._coming) >= self._ahead:
                return
            if block in self._coming:
                continue
            slot = self._free_slot(needed, before)
            if slot is None:
                return
            if self._store is None:
                self._store = self._empty(self._slots * self._rows)
            self._pool = self._pool or ThreadPoolExecutor(1, "lowerbound-read-ahead")
            self._coming[block] = slot, self._pool.submit(self._fill, block, slot)
