"""From arrays to splits: sizes checked, examples permuted and cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Generator

from ..errors import DataError
from .blocks import Blocks, JoinedBlocks
from .dataset import Split
from .entries import Entry
from .memory import check_fits
from .reading import Reading
from .rows import MappedRows, Rows, StreamedRows, TensorRows, chunk_length, to_tensor
from .shared import Shared
from .source import Source
from .spec import DataSpec
from .window import Window

NAMES = ("train", "valid", "test")


def check_parts(source: Source, name: str, whole: bool = False) -> None:
    """Check what must agree before any work: number of examples, shapes of the parts, lengths of what goes with them.

    Args:
        source: What was read.
        name: What it is called in messages.
        whole: It will not be cut.

    Raises:
        DataError: Something does not.
    """
    if not (source.own_split or whole) and len(source.parts[0]) < len(NAMES):
        raise DataError(
            f"{name} has {len(source.parts[0])} examples; train, valid and test need at least one each"
        )
    if len({(part.shape[1:], part.dtype) for part in source.parts}) > 1:
        shapes = ", ".join(f"{part.shape} {part.dtype}" for part in source.parts)
        raise DataError(
            f"train, valid and test of {name} differ in shape or dtype: {shapes}; make them alike"
        )
    for part, labels in zip(source.parts, source.labels or (), strict=False):
        if labels.shape != (len(part),):
            raise DataError(
                f"labels of {name} have shape {labels.shape}, but there are {len(part)} examples; give one label each"
            )
    for entry, arrays in source.conditions.items():
        for part, array in zip(source.parts, arrays, strict=True):
            if array.shape[:1] != (len(part),):
                raise DataError(
                    f"condition {entry!r} of {name} has shape {array.shape}, but there are {len(part)} examples; "
                    "give one row each"
                )


def cut(source: Source, shares: Sequence[float], seed: int, groups: np.ndarray | None = None) -> list[Any]:
    """Which rows of a source, its parts one after the other, are train, valid and test.

    Args:
        source: Three parts, which stay as they are, or one, which is permuted and cut; if it is streamed, its blocks.
        shares: Of the three splits.
        seed: Of the permutation.
        groups: The group of each example, (N,), numbers or words: groups are permuted and cut instead, by their
            number and not by their sizes, and none is in two splits.

    Raises:
        DataError: There is not one group per example, or there are fewer than three groups, or too few blocks.

    Returns:
        Three slices, or three arrays of row numbers.
    """
    rows = sum(map(len, source.parts))
    check_fits(
        4 * 8 * rows, f"to split the {rows} examples of {getattr(source.parts[0], 'name', 'the data')}"
    )
    if source.own_split:
        ends = np.cumsum([0, *(len(part) for part in source.parts)])
        return [slice(start, end) for start, end in pairwise(ends)]
    if isinstance(source.parts[0], Blocks):
        return _cut_blocks(source.parts[0], shares, seed)
    if groups is not None:
        group, count = _numbered(groups, len(source.parts[0]))
        order = np.random.default_rng(seed).permutation(len(group))
        split_of = np.empty(count, int)
        for i, chosen in enumerate(_cut(count, shares, seed)):
            split_of[chosen] = i
        return [order[split_of[group[order]] == i] for i in range(len(NAMES))]
    return _cut(len(source.parts[0]), shares, seed)


def _numbered(groups: np.ndarray, examples: int) -> tuple[np.ndarray, int]:
    """The group of each example as a number from 0, and how many groups there are."""
    if groups.shape != (examples,):
        raise DataError(
            f"groups has shape {groups.shape}, but there are {examples} examples; give one group each"
        )
    missing = groups.dtype.kind == "f" and bool(np.isnan(groups).any())
    if missing or (groups.dtype.kind == "O" and len({isinstance(group, str) for group in groups}) > 1):
        raise DataError("groups are numbers or words, none of them missing; fill them")
    names, numbers = np.unique(groups, return_inverse=True)
    if len(names) < len(NAMES):
        raise DataError(f"there are {len(names)} groups; train, valid and test need at least one each")
    return numbers, len(names)


def _cut(count: int, shares: Sequence[float], seed: int) -> list[np.ndarray]:
    order = np.random.default_rng(seed).permutation(count)
    # At least one example each, whatever the shares round to.
    valid = min(max(1, round(count * shares[1])), count - 2)
    test = min(max(1, round(count * shares[2])), count - 1 - valid)
    return np.split(order, [count - valid - test, count - test])


def _cut_blocks(blocks: Blocks, shares: Sequence[float], seed: int) -> list[np.ndarray]:
    """Whole blocks for each split, permuted, by the number of their examples; within a block the order stays."""
    count, least = len(blocks.counts), math.ceil(1 / min(shares))
    if count < least:
        better = blocks.smaller(max(1, len(blocks) // (10 * least)))
        raise DataError(
            f"{blocks.name} has {len(blocks)} examples in {count} blocks, and what is streamed is split by blocks: "
            f"split={tuple(shares)} needs {least} of them; {better or 'pass stream=False'}, or bring the split in "
            "sub-folders train, valid and test"
        )
    order = np.random.default_rng(seed).permutation(count)
    middle = np.cumsum(blocks.counts[order]) - blocks.counts[order] / 2
    # At least one block each, whatever their lengths are.
    train = np.clip(np.searchsorted(middle, shares[0] * len(blocks)), 1, count - 2)
    valid = np.clip(np.searchsorted(middle, (shares[0] + shares[1]) * len(blocks)), train + 1, count - 1)
    every = np.split(np.arange(len(blocks)), blocks.starts[1:])
    return [
        np.concatenate([every[block] for block in part]) for part in np.split(order, [int(train), int(valid)])
    ]


def make_splits(
    source: Source,
    cuts: list[Any],
    labels: Entry | None,
    conditions: Sequence[Entry],
    spec: DataSpec,
    reading: Reading,
    seed: int,
    memory: int,
) -> list[Split]:
    """Train, valid and test.

    Args:
        source: Where the examples lie.
        cuts: Which rows are whose, from `cut`.
        labels: Class numbers for each split.
        conditions: The entries of the condition for each split.
        spec: What one example is.
        reading: How stored values become x.
        seed: Of static binarisation.
        memory: Bytes of decoded blocks to keep of a source that is streamed.

    Raises:
        ConfigError: The memory is too little.
        DataError: There is none for a copy of what is held in memory.
    """
    if not source.own_split:
        held = sum(
            p.nbytes for p in source.parts if isinstance(p, np.ndarray) and not isinstance(p, np.memmap)
        )
        check_fits(held, f"a copy of the examples of {spec.source}, in which they are split,")
    rows = _all_rows(source, cuts, memory)
    splits = [
        Split(
            name,
            spec,
            rows[i],
            reading,
            None if labels is None else _tensor(labels, i),
            {entry.spec.name: _tensor(entry, i) for entry in conditions},
        )
        for i, name in enumerate(NAMES)
    ]
    return _drawn_once(splits, seed) if spec.binarize == "static" else splits


def _tensor(entry: Entry, i: int) -> Any:
    part = entry.parts[i]
    return part if isinstance(part, Shared) else torch.from_numpy(np.ascontiguousarray(part))


def _all_rows(source: Source, cuts: list[Any], memory: int) -> list[Rows]:
    blocks = [part for part in source.parts if isinstance(part, Blocks)]
    if blocks:
        joined = blocks[0] if len(blocks) == 1 else JoinedBlocks(blocks[0].name, blocks)
        window, every = Window(joined, memory), np.arange(len(joined))
        return [StreamedRows(window, every[index]) for index in cuts]
    held = [part for part in source.parts if isinstance(part, np.ndarray)]
    if source.own_split:
        return [_rows(part) for part in held]
    if all(isinstance(index, slice) for index in cuts):  # all of it, three times
        return [_rows(held[0])] * len(cuts)
    return [_rows(held[0], index) for index in cuts]


def _rows(array: np.ndarray, index: np.ndarray | None = None) -> Rows:
    if isinstance(array, np.memmap):
        return MappedRows(array, index)
    # Indexing copies, so the data do not change with the caller's array; parts of their own come from our readers.
    return TensorRows(to_tensor(array if index is None else array[index]))


def _drawn_once(splits: list[Split], seed: int) -> list[Split]:
    """Static binarisation: one draw of everything, held as bytes."""
    generator = Generator().manual_seed(seed)
    fixed = []
    for split in splits:
        chunks = torch.arange(len(split)).split(chunk_length(split.spec.dimensions))
        bits = [split.reading(split.rows.read(index), generator).to(torch.uint8) for index in chunks]
        fixed.append(replace(split, rows=TensorRows(torch.cat(bits)), reading=Reading("floats")))
    return fixed
