"""Arrays in memory, in .npy and .npz files, and in map-style torch data sets; how their axes are read.

Axes of an array, N examples first:

    (N, D)          vectors
    (N, H, W)       grey images
    (N, C, H, W)    images; taken so whenever the second axis has length 1, 3 or 4
    (N, H, W, C)    images; taken so when the second axis has not and the last has
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from ..errors import DataError
from .blocks import Blocks, block_rows, cut_evenly
from .source import Source, check_names

_CHANNELS = (1, 3, 4)
_PARTS = ("train", "valid", "test")


def check_array(array: np.ndarray, name: str, any_channels: bool = False) -> np.ndarray:
    """The array with axes (N, D) or (N, C, H, W), as a view.

    Args:
        array: What came.
        name: What it is called in messages.
        any_channels: Take any C for (N, C, H, W) where neither end is 1, 3 or 4: of what is known to be images.

    Raises:
        DataError: It is empty, not numeric, or its axes are none of the module's table.
    """
    if array.dtype.kind not in "buif":
        raise DataError(
            f"{name} has dtype {array.dtype}; data must be booleans, integers or floats: convert them, or drop what "
            "is not a number"
        )
    if array.size == 0:
        raise DataError(f"{name} is empty: shape {array.shape}")
    if array.ndim == 2:
        return array
    if array.ndim == 3:
        return array[:, None]
    if array.ndim == 4 and array.shape[1] in _CHANNELS:
        return array
    if array.ndim == 4 and array.shape[3] in _CHANNELS:
        return array.transpose(0, 3, 1, 2)
    if array.ndim == 4 and any_channels:
        return array
    raise DataError(
        f"{name} has shape {array.shape}; give (N, D) for vectors, (N, 1) if an example is one number, "
        "and (N, H, W), (N, C, H, W) or (N, H, W, C) for images with 1, 3 or 4 channels"
    )


def read_array(value: np.ndarray | torch.Tensor) -> Source:
    """An array or tensor in memory."""
    return Source((as_numpy(value),))


def as_numpy(value: Any) -> np.ndarray:
    """A tensor or array-like as an array, without a copy where there need be none."""
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_quantized:
            raise DataError(f"the tensor is stored as {value.layout}, {value.dtype}; pass a dense one")
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    try:
        return np.asarray(value)
    except ValueError as error:
        raise DataError(f"a {type(value).__name__} cannot be read as an array: {error}") from error


def open_npy(path: Path) -> np.ndarray:
    """A .npy file, memory-mapped: it is never read whole into memory.

    Raises:
        DataError: The file is damaged or holds Python objects.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read as an array of numbers: {error}") from error


class ArrayBlocks(Blocks):
    """Ranges of the rows of a .npy file.

    Args:
        path: The file.
        memory: Bytes that are kept of it, which bound the length of a range.

    Raises:
        DataError: The file is damaged, holds Python objects, or its axes are those of no data.
    """

    def __init__(self, path: Path, memory: int):
        array = check_array(open_npy(path), str(path))
        rows = block_rows(len(array), array.dtype.itemsize * math.prod(array.shape[1:]), memory)
        super().__init__(str(path), cut_evenly(len(array), rows), array.shape[1:], array.dtype)
        self._path = path

    def read(self, block: int) -> np.ndarray:
        # Mapped anew each time: pages of a mapping that lives on would count as memory of this process.
        array = check_array(open_npy(self._path), self.name)
        if array.shape != self.shape:
            raise DataError(f"{self._path} has shape {array.shape}, but had {self.shape} when it was opened")
        start = int(self.starts[block])
        return np.array(array[start : start + int(self.counts[block])])


def read_npz(path: Path, conditions: Sequence[str] = ()) -> Source:
    """A .npz file: arrays train, valid and test (labels in train_labels, ...), or one array x (labels in y).

    A single array may have any name. What is conditioned on lies in arrays of that name: train_NAME, valid_NAME and
    test_NAME, or NAME.

    Raises:
        DataError: The file is damaged, holds Python objects, none of these, or lacks an array to condition on.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as arrays of numbers: {error}") from error
    own_split = any(name in arrays for name in _PARTS)
    keys = {name: [f"{part}_{name}" for part in _PARTS] if own_split else [name] for name in conditions}
    check_names([key for name in conditions for key in keys[name]], arrays, f"{path} has no array")
    taken = {name: tuple(arrays.pop(key) for key in keys[name]) for name in conditions}
    return replace(_own_split(path, arrays) if own_split else _one_part(path, arrays), conditions=taken)


def _one_part(path: Path, arrays: dict[str, np.ndarray]) -> Source:
    if len(arrays) == 1:
        return Source(tuple(arrays.values()))
    if "x" in arrays:
        return Source((arrays["x"],), (arrays["y"],) if "y" in arrays else None)
    raise DataError(
        f"{path} holds {', '.join(arrays) or 'nothing'}; name the arrays train, valid and test "
        "(labels: train_labels, ...), or x (labels: y)"
    )


def _own_split(path: Path, arrays: dict[str, np.ndarray]) -> Source:
    missing = [name for name in _PARTS if name not in arrays]
    if missing:
        raise DataError(
            f"{path} has its own split but lacks {', '.join(missing)}; it holds {', '.join(arrays)}"
        )
    labels = [arrays.get(f"{name}_labels") for name in _PARTS]
    known = [array for array in labels if array is not None]
    if known and len(known) < len(labels):
        raise DataError(f"{path} has labels for some parts only; it holds {', '.join(arrays)}")
    return Source(tuple(arrays[name] for name in _PARTS), tuple(known) or None)


def read_dataset(dataset: Dataset[Any]) -> Source:
    """A map-style data set whose items are x or (x, y), read once into memory.

    Raises:
        DataError: It has no length, is empty, or its items are something else or differ in shape.
    """
    if isinstance(dataset, TensorDataset):
        return _paired([as_numpy(tensor) for tensor in dataset.tensors])
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise DataError(
            f"{type(dataset).__name__} has no length; give a map-style data set, or the array itself"
        )
    items = [dataset[i] for i in range(len(dataset))]  # pyright: ignore[reportArgumentType]
    if not items:
        raise DataError(f"{type(dataset).__name__} is empty")
    if not isinstance(items[0], tuple | list):
        return Source((_stacked([as_numpy(item) for item in items]),))
    if {len(item) for item in items} - {1, 2}:
        raise DataError(
            f"items of {type(dataset).__name__} have {len(items[0])} entries; they must be x or (x, y)"
        )
    return _paired([_stacked([as_numpy(value) for value in column]) for column in zip(*items, strict=True)])


def _paired(arrays: list[np.ndarray]) -> Source:
    if len(arrays) > 2:
        raise DataError(f"items of the data set have {len(arrays)} entries; they must be x or (x, y)")
    return Source((arrays[0],), (arrays[1],) if len(arrays) == 2 else None)


def _stacked(arrays: list[np.ndarray]) -> np.ndarray:
    other = next((i for i, array in enumerate(arrays) if array.shape != arrays[0].shape), None)
    if other is not None:
        raise DataError(
            f"item 0 of the data set has shape {arrays[0].shape} but item {other} has {arrays[other].shape}; resize "
            "them to one shape"
        )
    return np.stack(arrays)
