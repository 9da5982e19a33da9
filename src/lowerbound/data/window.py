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
for out of turn takes that of a block that is over, or else of the one that opens last.
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
from .memory import MIB

_AHEAD = 16  # one of so many slots is for blocks that are read ahead


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
    # In place: of narrow tables such a tensor is not small beside the window.
    opens = turn.clamp(min=width - 1)
    span = turn.add_(width).clamp_(max=len(opened)).sub_(opens)
    return along[chance.mul_(span).add_(opens).argsort(stable=True)], opened


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
                f"{blocks.block_bytes:,} bytes decoded; memory={memory / MIB:.3g} (MiB) must hold two "
                "of them: give more"
                f"{blocks.smaller(fitting) and f', or {blocks.smaller(fitting)}'}"
            )
        self.blocks = blocks
        self._slots = min(count, memory // blocks.block_bytes)
        self._ahead = max(1, self._slots // _AHEAD)
        self.length = count if self._slots == count else self._slots - self._ahead
        self._rows = int(blocks.counts.max())
        self._slot_of = np.full(count, -1)
        self._block_in = np.full(self._slots, -1)
        self._turn_of = np.full(count, -1)
        self._opened = np.empty(0, np.int64)
        self._open = range(0)  # turns of the blocks that are open or read ahead
        self._coming: dict[int, tuple[int, Future[None]]] = {}
        self._store: Tensor | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._lock = RLock()

    def plan(self, opened: np.ndarray) -> None:
        """Read ahead in this order of the blocks from now on."""
        with self._lock:
            self._opened, self._open = opened, range(self.length)
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
            self._advance(needed)
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

    def _advance(self, needed: np.ndarray) -> None:
        """Let the clock of the plan go on, or back if a block that was over is asked for again."""
        turns = self._turn_of[needed]
        turns = turns[turns >= 0]
        if len(turns):
            stop = int(turns.max()) + 1 + self._ahead
            if turns.min() >= self._open.start:
                stop = max(stop, self._open.stop)
            self._open = range(max(0, stop - self._ahead - self.length), stop)

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
            slot = self._free_slot(needed, spare=False)
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

    def _free_slot(self, keep: np.ndarray, spare: bool) -> int | None:
        """A slot that is empty or is now emptied: of a block that is over, else of the one that opens last.

        Args:
            keep: Blocks that must stay.
            spare: Take no slot of an open block.
        """
        turn, count = self._turn_of[self._block_in], len(self._turn_of)
        over, later = turn < self._open.start, turn >= self._open.stop
        worth = np.where(over, turn, np.where(later, 2 * count - turn, 3 * count))
        worth[self._block_in < 0] = -2
        held = self._slot_of[keep]
        worth[held[held >= 0]] = 4 * count
        worth[[slot for slot, _ in self._coming.values()]] = 4 * count
        slot = int(worth.argmin())
        if worth[slot] >= (3 if spare else 4) * count:
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
        """Let the thread bring the blocks that are open or open next, or the one that follows."""
        planned = bool((self._turn_of[needed] >= 0).any())
        wanted = self._opened[self._open.start : self._open.stop]
        if not planned:
            wanted = self.blocks.block_of(np.array([] if following is None else [following], np.int64))
        for block in wanted[self._slot_of[wanted] < 0].tolist():
            if len(self._coming) >= self._ahead:
                return
            if block in self._coming:
                continue
            slot = self._free_slot(needed, spare=planned)
            if slot is None:
                return
            if self._store is None:
                self._store = self._empty(self._slots * self._rows)
            self._pool = self._pool or ThreadPoolExecutor(1, "lowerbound-read-ahead")
            self._coming[block] = slot, self._pool.submit(self._fill, block, slot)
