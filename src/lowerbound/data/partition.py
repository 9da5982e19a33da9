"""From arrays to splits: sizes checked, labels numbered, examples permuted and cut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Generator

from ..errors import DataError
from .dataset import Split
from .reading import Reading
from .rows import MappedRows, Rows, TensorRows, chunk_length, to_tensor
from .source import Source
from .spec import DataSpec

NAMES = ("train", "valid", "test")


def check_parts(source: Source, name: str) -> None:
    """Check what must agree before any work: number of examples, shapes of the parts, length of the labels.

    Raises:
        DataError: Something does not.
    """
    if len(source.parts) == 1 and len(source.parts[0]) < len(NAMES):
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


def number_labels(source: Source) -> tuple[list[np.ndarray] | None, tuple[str, ...] | None]:
    """Labels as numbers 0..K-1 for each part, and the names of the K classes.

    If the source does not name its classes, they are the labels that occur, in order.

    Raises:
        DataError: Labels are neither whole numbers nor strings, or lie outside the named classes.
    """
    if source.labels is None:
        return None, None
    every = np.concatenate(source.labels)
    if every.dtype.kind == "f" and np.isfinite(every).all() and (every == np.floor(every)).all():
        every = every.astype(np.int64)
    if every.dtype.kind not in "biuU" and all(isinstance(label, str) for label in every):
        every = every.astype(str)
    if every.dtype.kind not in "biuU":
        raise DataError(f"labels have dtype {every.dtype}, like {every[0]!r}; give whole numbers or strings")
    if source.classes is None:
        classes, numbers = np.unique(every, return_inverse=True)
        names = tuple(str(label) for label in classes)
    else:
        names, numbers = source.classes, every
        if not 0 <= every.min() <= every.max() < len(names):
            raise DataError(
                f"labels lie in [{every.min()}, {every.max()}], but there are {len(names)} classes"
            )
    ends = np.cumsum([len(part) for part in source.parts])[:-1]
    return np.split(numbers.astype(np.int64), ends), names


def make_splits(
    source: Source,
    numbers: list[np.ndarray] | None,
    spec: DataSpec,
    reading: Reading,
    shares: Sequence[float],
    seed: int,
) -> tuple[list[Split], np.ndarray | None]:
    """Train, valid and test, and the permutation that was cut into them, if one was.

    Args:
        source: Three parts, which stay as they are, or one, which is permuted and cut.
        numbers: Labels of each part as class numbers.
        spec: What one example is.
        reading: How stored values become x.
        shares: Of the three splits.
        seed: Of the permutation and of static binarisation.
    """
    order = None
    if len(source.parts) == 1:
        indices = _cut(len(source.parts[0]), shares, seed)
        rows = [_rows(source.parts[0], index) for index in indices]
        labels = None if numbers is None else [numbers[0][index] for index in indices]
        order = np.concatenate(indices)
    else:
        rows, labels = [_rows(part) for part in source.parts], numbers
    splits = [
        Split(name, spec, rows[i], reading, None if labels is None else torch.from_numpy(labels[i]))
        for i, name in enumerate(NAMES)
    ]
    return (_drawn_once(splits, seed) if spec.binarize == "static" else splits), order


def _cut(count: int, shares: Sequence[float], seed: int) -> list[np.ndarray]:
    order = np.random.default_rng(seed).permutation(count)
    # At least one example each, whatever the shares round to.
    valid = min(max(1, round(count * shares[1])), count - 2)
    test = min(max(1, round(count * shares[2])), count - 1 - valid)
    return np.split(order, [count - valid - test, count - test])


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
        fixed.append(
            Split(split.name, split.spec, TensorRows(torch.cat(bits)), Reading("floats"), split.labels)
        )
    return fixed
