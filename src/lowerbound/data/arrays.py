"""Arrays in memory, and in .npy and .npz files; how their axes are read.

Axes of an array, N examples first:

    (N, D)          vectors
    (N, H, W)       grey images, if they are squares, or stored as bytes, 16-bit levels or booleans
    (N, C, H, W)    images; taken so when the second axis has length 1, 3 or 4 and the last has not
    (N, H, W, C)    images; taken so when the last has and the second has not

Where both ends could be channels, squares decide: (N, 3, 4, 4), (N, 4, 4, 3). What is left, as (N, 3, 7, 4), and
(N, 60, 3), which may be sequences, is refused until `axes` says it: "NHWC", or "HWN" for pictures behind each other.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch

from ..errors import ConfigError, DataError, LowerboundError, listed
from .blocks import Blocks, block_rows, cut_evenly
from .memory import DEFLATE, check_fits
from .source import Source, check_names

_CHANNELS = (1, 3, 4)
_AXES = ("ND", "NHW", "NCHW")
_PARTS = ("train", "valid", "test")
_HEADER = 16384  # bytes that hold any header of a .npy that numpy takes


def check_axes(axes: Any) -> None:
    """Raise a ConfigError unless this names the axes of vectors or of pictures, in any order."""
    known = {"".join(sorted(usual)): usual for usual in _AXES}
    if axes is None or (isinstance(axes, str) and "".join(sorted(axes)) in known):
        return
    what = "is neither"
    if isinstance(axes, str) and set("TL") & set(axes):
        what = "has an axis of time, and no network goes along one: reshape to (N, D) to learn all steps together;"
    elif isinstance(axes, str) and {*"DHW"} <= set(axes):
        what = (
            "are volumes, and no network here has three axes: reshape to (N, D), or make slices the examples;"
        )
    raise ConfigError(
        f"axes={axes!r} {what} ND of vectors, NHW of grey pictures, nor NCHW of pictures, in any order"
    )


def check_array(
    array: np.ndarray, name: str, any_channels: bool = False, axes: str | tuple[int, ...] | None = None
) -> np.ndarray:
    """The array with axes (N, D) or (N, C, H, W), as a view.

    Args:
        array: What came.
        name: What it is called in messages.
        any_channels: Take any C for (N, C, H, W) where neither end is 1, 3 or 4: of what is known to be images.
        axes: What its axes are, a letter each; or the shape of an example that is expected, by which of several
            readings that one is taken which gives it, and else the first; None if nothing is known.

    Raises:
        DataError: It is empty, not numeric, or its axes are none of the module's table, or unclear.
    """
    if array.dtype.kind not in "buif":
        raise DataError(
            f"{name} has dtype {array.dtype}; data must be booleans, integers or floats: convert them, or drop what "
            "is not a number"
        )
    if array.size == 0:
        raise DataError(f"{name} is empty: shape {array.shape}")
    axes = axes if isinstance(axes, str) else _axes_of(array, name, any_channels, axes)
    if array.ndim != len(axes):
        raise DataError(f"{name} has shape {array.shape}, which axes={axes!r} do not fit")
    usual = next(order for order in _AXES if set(order) == set(axes))
    array = array.transpose([axes.index(letter) for letter in usual])
    return array if array.ndim != 3 else array[:, None]


def _axes_of(array: np.ndarray, name: str, any_channels: bool, event: tuple[int, ...] | None) -> str:
    """What the axes of an array are, by the module's table, or as examples of this shape have them."""
    if array.ndim == 2:
        return "ND"
    if array.ndim == 3:
        _, a, b = array.shape
        if event is None and a != b and not (array.dtype.kind in "bu" and array.dtype.itemsize <= 2):
            raise DataError(
                f"{name} has shape {array.shape}: grey pictures of {a} x {b}, or sequences of {a} steps? For "
                f"pictures pass axes='NHW'; no network here goes along time: reshape sequences to (N, {a * b}), to "
                "learn all steps together"
            )
        return "NHW"
    _, a, b, last = array.shape if array.ndim == 4 else (0, 0, 0, 0)
    first_ends = [("NCHW", a in _CHANNELS, b == last), ("NHWC", last in _CHANNELS, a == b)]
    fitting = [axes for axes, fits, _ in first_ends if fits] or ["NCHW"] * (array.ndim == 4 and any_channels)
    if len(fitting) > 1 and not a == last == 1:  # else both are the same numbers in the same order
        squares = [axes for axes, _, square in first_ends if square]
        shapes = {"NCHW": (a, b, last), "NHWC": (last, a, b)}
        if event is not None:
            fitting = [axes for axes in fitting if shapes[axes] == event] or fitting
        elif len(squares) == 1:
            fitting = squares
        else:
            raise DataError(
                f"{name} has shape {array.shape}, which is (N, C, H, W), C = {a}, or (N, H, W, C), C = {last}: "
                "pass axes='NCHW' or axes='NHWC'"
            )
    if fitting:
        return fitting[0]
    raise DataError(
        f"{name} has shape {array.shape}; give (N, D) for vectors, (N, 1) if an example is one number, "
        "and (N, H, W), (N, C, H, W) or (N, H, W, C) for images with 1, 3 or 4 channels; axes='NCHW' takes others, "
        "and volumes and sequences can be reshaped to (N, D)"
    )


def as_numpy(value: Any) -> np.ndarray:
    """A tensor or array-like as an array, without a copy where there need be none."""
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_quantized:
            raise DataError(f"the tensor is stored as {value.layout}, {value.dtype}; pass a dense one")
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
        if value.dtype.kind not in "buif":
            raise DataError(f"the array has masked values of dtype {value.dtype}; fill or drop them")
        # What is masked is missing.
        return np.where(np.ma.getmaskarray(value), np.nan, np.ma.getdata(value).astype(np.float64))
    try:
        return np.asarray(value)
    except Exception as error:  # objects that call themselves arrays raise what they like
        raise DataError(f"a {type(value).__name__} cannot be read as an array: {error}") from error


class _Header(NamedTuple):
    """What a .npy says of itself, checked; `start` is the place of its values in bytes, `size` their bytes."""

    shape: tuple[int, ...]
    order: Any
    dtype: np.dtype
    start: int
    size: int


def _read_header(file: IO[bytes], length: int) -> _Header:
    """The header of a .npy of so many bytes.

    Raises:
        ValueError: It does not fit them, or it holds Python objects. On damaged ones numpy raises nearly anything.
    """
    stream = io.BytesIO(file.read(_HEADER))
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):  # the third is for names of fields, which arrays of numbers have not
        raise ValueError(f"its format {version} is none of arrays of numbers")
    first = version == (1, 0)
    read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are pickles, and opening one can run any code")
    if any(isinstance(n, bool) or n < 0 for n in shape):
        raise ValueError(f"its header says shape {shape}")
    start, size = stream.tell(), math.prod(shape) * dtype.itemsize
    if start + size != length:
        raise ValueError(
            f"its header announces {shape} {dtype}, {start + size} bytes, but it has {length}; it is damaged, not "
            "written whole, or holds several arrays one after the other"
        )
    return _Header(shape, "F" if fortran else "C", dtype, start, size)


def open_npy(path: Path) -> np.ndarray:
    """A .npy file, memory-mapped: it is never read whole into memory.

    Raises:
        DataError: The file is damaged or holds Python objects.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            raise ValueError("there is no such file")
        with path.open("rb") as file:
            header = _read_header(file, path.stat().st_size)
        if not header.size:  # nothing can be mapped
            return np.empty(header.shape, header.dtype)
        return np.memmap(path, header.dtype, "r", header.start, header.shape, header.order)
    except Exception as error:  # numpy raises nearly anything on damaged headers
        raise DataError(f"{path} cannot be read as an array of numbers: {error}") from error


def decode_npy(content: bytes) -> np.ndarray:
    """The array of a .npy in memory, whose values are not copied.

    Raises:
        ValueError: It is damaged or holds Python objects; numpy raises nearly anything.
    """
    header = _read_header(io.BytesIO(content), len(content))
    values = np.frombuffer(content, header.dtype, math.prod(header.shape), header.start)
    return values.reshape(header.shape, order=header.order)


class ArrayBlocks(Blocks):
    """Ranges of the rows of a .npy file.

    Args:
        path: The file.
        memory: Bytes that are kept of it, which bound the length of a range.
        axes: What its axes are, if that is known.

    Raises:
        DataError: The file is damaged, holds Python objects, or its axes are those of no data.
    """

    def __init__(self, path: Path, memory: int, axes: str | tuple[int, ...] | None = None):
        self._axes = axes
        array = check_array(open_npy(path), str(path), axes=axes)
        rows = block_rows(len(array), array.dtype.itemsize * math.prod(array.shape[1:]), memory)
        super().__init__(str(path), cut_evenly(len(array), rows), array.shape[1:], array.dtype)
        self._path = path

    def read(self, block: int) -> np.ndarray:
        # Mapped anew each time: pages of a mapping that lives on would count as memory of this process.
        array = check_array(open_npy(self._path), self.name, axes=self._axes)
        if array.shape != self.shape:
            raise DataError(f"{self._path} has shape {array.shape}, but had {self.shape} when it was opened")
        start = int(self.starts[block])
        return np.array(array[start : start + int(self.counts[block])])


def read_npz(path: Path, conditions: Sequence[str] = (), main: str | None = None) -> Source:
    """A .npz file: arrays train, valid and test (labels in train_labels, ...), or one array x or X.

    The labels of a single array are y, Y, label or labels.

    A single array may have any name. What is conditioned on lies in arrays of that name: train_NAME, valid_NAME and
    test_NAME, or NAME.

    Raises:
        DataError: The file is damaged, holds Python objects, none of these, or lacks an array to condition on.
    """
    with _opened(path) as (archive, members):
        own_split = any(name in members for name in _PARTS)
        keys = {name: [f"{part}_{name}" for part in _PARTS] if own_split else [name] for name in conditions}
        beside = [key for name in conditions for key in keys[name]]
        check_names(beside, members, f"{path} has no array")
        there = [name for name in members if name not in beside]
        x, y = _own_split(path, there) if own_split else _one_part(path, there, main)
        arrays = _unpacked(archive, members, [*x, *y, *beside], path)
    return Source(
        tuple(arrays[name] for name in x),
        tuple(arrays[name] for name in y) or None,
        conditions={name: tuple(arrays[key] for key in keys[name]) for name in conditions},
    )


def unpack(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a .npz by their names.

    Raises:
        DataError: The file is damaged, holds Python objects, or more than there is memory.
    """
    with _opened(path) as (archive, members):
        return _unpacked(archive, members, list(members), path)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]]:
    """A .npz and its arrays by name, none of them unpacked; what goes wrong with it is a DataError."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive, _members(archive)
    except LowerboundError:
        raise
    except Exception as error:  # zipfile, the methods of packing and numpy raise nearly anything
        hint = "; it begins as a .npy does, so call it that" if _is_npy(path) else ""
        raise DataError(f"{path} cannot be read as arrays of numbers: {error}{hint}") from error


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The arrays of a .npz by their names; none is unpacked."""
    infos = archive.infolist()
    other = [info.filename for info in infos if not info.filename.endswith(".npy")]
    if other:
        raise ValueError(f"it has members that are no .npy: {listed(other)}; write it with numpy.savez")
    members = {info.filename.removesuffix(".npy"): info for info in infos}
    if len(members) < len(infos):
        raise ValueError("it has several members of one name")
    return members


def _unpacked(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], names: Sequence[str], path: Path
) -> dict[str, np.ndarray]:
    """The arrays of these names, all of them together no more than there is memory."""
    names = list(dict.fromkeys(names))
    check_fits(sum(members[name].file_size for name in names), f"{path}, with {listed(names)},")
    return {name: _read_member(archive, members[name]) for name in names}


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """An array of a .npz; what it announces is checked before it is unpacked."""
    try:
        if info.compress_type == zipfile.ZIP_DEFLATED and info.file_size > DEFLATE * (info.compress_size + 1):
            raise ValueError(
                f"{info.compress_size} packed bytes cannot hold the {info.file_size} it announces"
            )
        with archive.open(info) as file:
            _read_header(file, info.file_size)
        with archive.open(info) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:
        raise ValueError(f"{info.filename}: {error}") from error


def _is_npy(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(6) == np.lib.format.MAGIC_PREFIX
    except OSError:
        return False


def _one_part(
    path: Path, names: Sequence[str], main: str | None = None
) -> tuple[Sequence[str], Sequence[str]]:
    """The names of the data, which may be given, and of the labels among those of the arrays."""
    labels = [name for name in ("y", "Y", "label", "labels") if name in names][:1]
    if main is not None and main in names:
        return (main,), labels
    if len(names) == 1:
        return names, ()
    if len(found := [name for name in ("x", "X") if name in names]) == 1:
        return found, labels
    raise DataError(
        f"{path} holds {listed(names) or 'nothing'}; name the arrays train, valid and test "
        "(labels: train_labels, ...), or x (labels: y)"
    )


def _own_split(path: Path, names: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    missing = [name for name in _PARTS if name not in names]
    if missing:
        raise DataError(f"{path} has its own split but lacks {', '.join(missing)}; it holds {listed(names)}")
    labels = [f"{name}_labels" for name in _PARTS if f"{name}_labels" in names]
    if labels and len(labels) < len(_PARTS):
        raise DataError(f"{path} has labels for some parts only; it holds {listed(names)}")
    return _PARTS, labels
