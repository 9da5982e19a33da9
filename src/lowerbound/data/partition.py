"""From arrays to splits: sizes checked, examples told apart and cut.

What is in memory is split by the identity of examples (`lowerbound.data.identity`): their hashes are cut at two
thresholds, which a run keeps. Rows that are added, removed or put elsewhere later leave the others where they were.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Generator

from ..errors import ConfigError, DataError
from .blocks import Blocks, JoinedBlocks
from .dataset import Split
from .entries import Entry
from .identity import hashes, mixed
from .memory import check_fits
from .reading import Reading
from .rows import MappedRows, Rows, StreamedRows, TensorRows, chunk_length, to_tensor
from .shared import Shared
from .source import Source
from .sparse import SparseRows
from .spec import DataSpec
from .window import Window

NAMES = ("train", "valid", "test")
_TOGETHER = 8  # equal examples go to one split, but of more than so many each further bunch on its own


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


def cut_by_identity(
    source: Source,
    shares: Sequence[float],
    seed: int,
    names: Sequence[str],
    at: Mapping[str, Any] | None,
    name: str,
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Which rows of a source are train, valid and test, by what they are and not by where they stand.

    Equal examples are in one split, unless most of the data are repetitions, as of few columns of classes: these are
    drawn anew and not copied. Where classes are conditioned on, one example of each at least goes to train.

    Args:
        source: One part, in memory or mapped.
        shares: Of the three splits.
        seed: Of the hashes.
        names: What is conditioned on.
        at: Where the hashes were cut before; else it is chosen, by the shares.
        name: What the source is called in messages.

    Raises:
        DataError: A split would be empty, cut as before.
        ConfigError: They were cut before by other shares or another seed.

    Returns:
        Three arrays of row numbers, in the order of the hashes; and where these are cut: "valid" and "test", from
        where on hashes are in these splits, "train", hashes that are there nevertheless, and "together", how many
        equal examples share a hash, for which "split" and "seed".
    """
    array = source.parts[0]
    assert not isinstance(array, Blocks)
    identity = hashes(array, seed)
    order, ordered = _sorted(identity)
    if at is None:
        different = 1 + int((ordered[1:] != ordered[:-1]).sum())
        together = _TOGETHER if different > len(NAMES) and 2 * different >= len(identity) else 1
        at = {"together": together, "split": [*shares], "seed": seed}
    if (at["split"], at["seed"]) != ([*shares], seed):
        raise ConfigError(
            f"split={[*shares]} and seed={seed}, but split_by= keeps where hashes were cut for {at['split']} and "
            f"{at['seed']}; leave split_by out to cut {name} again"
        )
    if (ordered[at["together"] :] == ordered[: -at["together"]]).any():
        identity = _bunched(identity, order, ordered, at["together"])
        order, ordered = _sorted(identity)
    if "valid" not in at:
        kept, bounds = _thresholds(ordered, order, shares, list(_classes(source, names)))
        at = {"valid": _hex(bounds[0]), "test": _hex(bounds[1]), "train": [*map(_hex, kept)], **at}
    bounds = [_number(at[part]) for part in NAMES[1:]]
    train, *others = np.split(order, np.searchsorted(ordered, np.array(bounds, np.uint64)))
    kept = [np.isin(identity[index], np.array([*map(_number, at["train"])], np.uint64)) for index in others]
    train = np.concatenate([train, *(index[k] for index, k in zip(others, kept, strict=True))])
    cuts = [train, *(index[~k] for index, k in zip(others, kept, strict=True))]
    for part, index in zip(NAMES, cuts, strict=True):
        if not len(index):
            raise DataError(
                f"of the {len(order)} examples of {name} none is in {part}, cut as in training; to use all of them, "
                "name the file as another SOURCE"
            )
    return cuts, dict(at)


def is_cut(value: Any) -> bool:
    """Whether a value is what `cut_by_identity` says of where hashes are cut."""
    if not isinstance(value, Mapping) or set(value) != {
        "valid",
        "test",
        "train",
        "together",
        "split",
        "seed",
    }:
        return False
    words = [value["valid"], value["test"], *(value["train"] if isinstance(value["train"], list) else [None])]
    there = all(isinstance(word, str) and re.fullmatch("[0-9a-f]{16}", word) for word in words)
    return there and isinstance(value["together"], int) and value["together"] > 0


def _sorted(identity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order (N,) of hashes, equal ones as they stand, and the hashes in it; a stable sort is slower."""
    order = np.argsort(identity)
    ordered = identity[order]
    same = ordered[1:] == ordered[:-1]
    if same.any():
        tied = np.append(same, False) | np.append(False, same)
        order[tied] = order[tied][np.lexsort((order[tied], ordered[tied]))]
    return order, ordered


def _hex(number: np.uint64) -> str:
    return f"{int(number):016x}"


def _number(word: str) -> np.uint64:
    return np.uint64(int(word, 16))


def _bunched(identity: np.ndarray, order: np.ndarray, ordered: np.ndarray, together: int) -> np.ndarray:
    """Hashes (N,), and in their order, in which equal ones, past the first so many, get others."""
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    turn = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    bunch = (turn // together).astype(np.uint64)
    found = identity.copy()
    found[order[bunch > 0]] = mixed(ordered[bunch > 0] + bunch[bunch > 0])
    return found


def _thresholds(
    ordered: np.ndarray, order: np.ndarray, shares: Sequence[float], classes: Sequence[np.ndarray]
) -> tuple[np.ndarray, tuple[np.uint64, np.uint64]]:
    """Hashes from which on examples are in valid and in test, and those above that are in train for their class."""
    firsts = [ordered[np.unique(numbers[order], return_index=True)[1]] for numbers in classes]
    kept = np.unique(np.concatenate(firsts)) if firsts else np.empty(0, np.uint64)
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    groups, counts = ordered[starts], np.diff(starts, append=len(ordered))
    if len(groups) - len(kept) < 2:  # then a class more can be in train alone only if a split is empty
        kept = kept[:0]
    free = ~np.isin(groups, kept) if len(kept) else np.ones(len(groups), bool)
    _, valid, test = _sizes(len(ordered), shares)
    middle = np.cumsum(counts[free]) - counts[free] / 2
    total, count = counts[free].sum(), int(free.sum())
    # At least one of each, whatever the shares round to and however many are equal.
    start = int(np.clip(np.searchsorted(middle, total - valid - test), 0 if len(kept) else 1, count - 2))
    end = int(np.clip(np.searchsorted(middle, total - test), start + 1, count - 1))
    bounds = groups[free][start], groups[free][end]
    return kept[kept >= bounds[0]], bounds


def _classes(source: Source, names: Sequence[str]) -> Iterator[np.ndarray]:
    """The classes of the examples, (N,) numbers from 0, by each label that is conditioned on."""
    for name in names:
        labels = name == "label" and name not in source.conditions
        values = (source.labels or (None,))[0] if labels else source.conditions.get(name, (None,))[0]
        if not isinstance(values, np.ndarray) or values.shape != (len(source.parts[0]),):
            continue
        if values.dtype.kind in "UO":
            numbers: dict[str, int] = {}
            yield np.array([numbers.setdefault(str(value), len(numbers)) for value in values])
        elif labels or values.dtype.kind in "biu":
            yield np.unique(values, return_inverse=True)[1]


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
    train, valid, _ = _sizes(count, shares)
    return np.split(order, [train, train + valid])


def _sizes(count: int, shares: Sequence[float]) -> tuple[int, int, int]:
    """Of the splits, at least one example each, whatever the shares round to."""
    valid = min(max(1, round(count * shares[1])), count - 2)
    test = min(max(1, round(count * shares[2])), count - 1 - valid)
    return count - valid - test, valid, test


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
    held = [part for part in source.parts if not isinstance(part, Blocks)]
    if source.own_split:
        return [_rows(part) for part in held]
    if all(isinstance(index, slice) for index in cuts):  # all of it, three times
        return [_rows(held[0])] * len(cuts)
    return [_rows(held[0], index) for index in cuts]


def _rows(array: np.ndarray | SparseRows, index: np.ndarray | None = None) -> Rows:
    if isinstance(array, np.memmap | SparseRows):
        return MappedRows(array, index)  # pyright: ignore[reportArgumentType]
    # Indexing copies, so the data do not change with the caller's array; parts of their own come from our readers.
    return TensorRows(to_tensor(array if index is None else array.take(index, axis=0)))


def _drawn_once(splits: list[Split], seed: int) -> list[Split]:
    """Static binarisation: one draw of everything, held as bytes."""
    generator = Generator().manual_seed(seed)
    fixed = []
    for split in splits:
        chunks = torch.arange(len(split)).split(chunk_length(split.spec.dimensions))
        bits = [split.reading(split.rows.read(index), generator).to(torch.uint8) for index in chunks]
        fixed.append(replace(split, rows=TensorRows(torch.cat(bits)), reading=Reading("floats")))
    return fixed
