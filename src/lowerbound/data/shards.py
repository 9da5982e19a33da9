"""Tar shards as the webdataset package writes them: files of one sample stand together and share their key.

    000001.png  000001.cls       a picture and its class
    000002.png  000002.cls

The key of a member is its path up to the first dot of its name, the rest is its type. A sample has one picture or one
.npy array, and may have its class in a .cls (UTF-8, at most 1,000 letters) and numbers or words by name in a .json
(at most 16 MiB). Other members are passed over.

A shard is gone through once for where its members begin; from then on they are read by their place. That needs shards
that are not compressed. Nothing is ever unpickled.

Reference:
    The format: https://github.com/webdataset/webdataset
"""

from __future__ import annotations

import json
import re
import sys
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from ..errors import DataError, brief, listed, suggest
from .arrays import check_array, decode_npy
from .blocks import Blocks, block_rows, cut_evenly, stored_dtype, told
from .images import SUFFIXES
from .pictures import PictureForm

_LARGEST = {"cls": 4000, "json": 2**24}  # bytes of the small members, which are held beside the data
_PICKLES = (".pyd", ".pickle", ".pkl", ".pt", ".pth", ".joblib")


@dataclass
class _Index:
    """Where the samples of one shard lie, and what is small enough to be read at once.

    Attributes:
        path: The shard.
        offsets: Where the content of each sample's array or picture begins, in bytes.
        sizes: Its bytes.
        kinds: Types of the members that the samples have; all have the same.
        labels: Words of the .cls, or what the .json says; empty if there are none.
        entries: What is read of each sample's .json, by name.
    """

    path: Path
    offsets: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[int] = field(default_factory=lambda: array("q"))
    kinds: tuple[str, ...] = ()
    labels: list[Any] = field(default_factory=list)
    entries: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The type of the array or picture."""
        return next(kind for kind in self.kinds if _is_data(kind))


class ShardBlocks(Blocks):
    """Ranges of the samples of tar shards.

    Args:
        paths: The shards.
        form: What pictures become; its channels are settled by the first.
        memory: Bytes that are kept of the samples, which bound the length of a range.
        label: Name of the class in the .json; None for what a .cls says, if there is one.
        entries: Names of further numbers or words in the .json to read.

    Attributes:
        labels: The class of each sample, objects (N,): the word of its .cls, or what the .json says; or None.
        entries: Floats with NaN, or objects with None, (N,) by name.
        form: What pictures become; None if the samples are arrays.

    Raises:
        DataError: A shard is damaged or compressed, holds pickles, or its samples are unlike each other.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        form: PictureForm,
        memory: int,
        label: str | None = None,
        entries: Sequence[str] = (),
    ):
        self._index = [
            _read_index(paths[i], label, entries) for i in told(range(len(paths)), "indexing shards")
        ]
        self._check_alike()
        first = self._index[0]
        self.form = None if first.kind.endswith("npy") else form
        self._axes = form.axes if self.form is None else "NCHW"
        form.check_unused(str(paths[0]), "lists" if self.form is None else "pictures")
        with first.path.open("rb") as file:
            content = _content(file, first, 0)
            if self.form is not None:
                self.form = self._try(lambda: form.settled(content), first, 0)
            example = self._decode(content, first, 0)
        checked = check_array(example[None], f"{first.path}: {self._member(first, 0)}", axes=self._axes)
        size = stored_dtype(checked.dtype).itemsize * checked.size
        rows = block_rows(sum(len(index.sizes) for index in self._index), size, memory)
        cuts = [cut_evenly(len(index.sizes), rows) for index in self._index]
        self._found = (example.shape, example.dtype)
        self._where = [(i, start) for i, cut in enumerate(cuts) for start in range(0, sum(cut), rows)]
        name = str(paths[0]) if len(paths) == 1 else str(paths[0].parent)
        super().__init__(name, [n for cut in cuts for n in cut], checked.shape[1:], checked.dtype)
        labels = [value for index in self._index for value in index.labels]
        self.labels = np.array(labels, object) if labels else None
        self.entries = {name: _values([v for i in self._index for v in i.entries[name]]) for name in entries}

    def read(self, block: int) -> np.ndarray:
        number, start = self._where[block]
        index, count = self._index[number], int(self.counts[block])
        shape, dtype = self._found
        examples = np.empty((count, *shape), dtype)
        try:
            with index.path.open("rb") as file:
                for i in range(count):
                    example = self._decode(_content(file, index, start + i), index, start + i)
                    self._check_shape(example, index, start + i)
                    examples[i] = example
        except OSError as error:
            raise DataError(f"{index.path} cannot be read: {error}") from error
        return check_array(examples, self.name, axes=self._axes)

    def _decode(self, content: bytes, index: _Index, sample: int) -> np.ndarray:
        form = self.form
        return self._try(lambda: _load_npy(content) if form is None else form.read(content), index, sample)

    def _try(self, work: Any, index: _Index, sample: int) -> Any:
        """The result of some work on a sample; what goes wrong is said with the member's name."""
        try:
            return work()
        except Exception as error:  # a damaged file makes decoders raise nearly anything
            raise DataError(
                f"{index.path}: {self._member(index, sample)} cannot be decoded: {error}; repair it, or write the "
                "shard without it"
            ) from error

    def _check_shape(self, example: np.ndarray, index: _Index, sample: int) -> None:
        shape, dtype = self._found
        if (example.shape, example.dtype) != (shape, dtype):
            remedy = "make them alike" if self.form is None else "pass image_size=, with crop= if you like"
            raise DataError(
                f"{index.path}: {self._member(index, sample)} is {example.shape} {example.dtype}, but the first "
                f"sample, of {self._index[0].path.name}, is {shape} {dtype}; {remedy}"
            )

    def _check_alike(self) -> None:
        first = self._index[0]
        for index in self._index[1:]:
            if index.kinds != first.kinds:
                raise DataError(
                    f"samples of {index.path.name} have the members {listed(index.kinds)}, those of "
                    f"{first.path.name} {listed(first.kinds)}; all must have the same"
                )

    def _member(self, index: _Index, sample: int) -> str:
        """The name of a sample's array or picture, found again by its place: names would take more than all else."""
        offset = index.offsets[sample]
        return next((m.name for m in _members(index.path) if m.offset_data == offset), f"sample {sample}")


def _read_index(path: Path, label: str | None, entries: Sequence[str]) -> _Index:
    """Go through a shard once."""
    index = _Index(path, entries={name: [] for name in entries})
    size = path.stat().st_size
    sample: dict[str, tarfile.TarInfo] = {}
    key = None
    with path.open("rb") as file:
        for member in _members(path):
            if member.isdir():
                continue
            _check_member(member, path, size)
            own, kind = _split_name(member.name)
            if own != key and sample:
                _add(index, sample, str(key), label, file)
                sample = {}
            key = own
            if kind in sample:
                raise DataError(f"{path}: {member.name} occurs twice in its sample")
            sample[kind] = member
        if sample:
            _add(index, sample, str(key), label, file)
    if not index.offsets:
        raise DataError(f"{path} is a tar file with no samples in it")
    return index


def _members(path: Path) -> Iterator[tarfile.TarInfo]:
    try:
        with tarfile.open(path, "r:") as tar:
            while (member := tar.next()) is not None:
                yield member
                tar.members = []  # pyright: ignore  # it keeps what it has seen, a kilobyte each
    except (
        Exception
    ) as error:  # damaged numbers, names and tables of holes make tarfile raise nearly anything
        raise DataError(
            f"{path} cannot be read as a tar file: {error}; a compressed one must be unpacked first, for samples are "
            "read by their place in it"
        ) from error


def _check_member(member: tarfile.TarInfo, path: Path, size: int) -> None:
    if not member.isreg() or member.sparse is not None:
        raise DataError(f"{path}: {member.name} is a link, a device or sparse; shards hold plain files")
    if member.size < 0:
        raise DataError(f"{path}: {member.name} has {member.size} bytes; the shard is damaged")
    if member.name.lower().endswith(_PICKLES):
        raise DataError(
            f"{path}: {member.name} is a pickle, and opening one can run any code; write arrays as .npy"
        )
    if member.offset_data + member.size > size:
        raise DataError(f"{path} ends within {member.name}; it has not been written or copied whole")


def _split_name(name: str) -> tuple[str, str]:
    """Key and type of a member: the path up to the first dot of the file's name, and the rest in small letters."""
    folder, _, file = name.rpartition("/")
    stem, _, kind = file.partition(".")
    return f"{folder}/{stem}", kind.lower()


def _is_data(kind: str) -> bool:
    return f".{kind.rpartition('.')[2]}" in (*SUFFIXES, ".npy")


def _add(
    index: _Index, sample: dict[str, tarfile.TarInfo], key: str, label: str | None, file: BinaryIO
) -> None:
    """Note a sample whose members are complete."""
    key = key.removeprefix("/")
    data = [kind for kind in sample if _is_data(kind)]
    if len(data) != 1:
        raise DataError(
            f"{index.path}: sample {key!r} has {' and '.join(data) or 'no picture and no .npy'} among "
            f"{listed(sorted(sample))}; it must have one picture or one .npy, its files standing together"
        )
    kinds = tuple(sorted(sample))
    if index.kinds and kinds != index.kinds:
        raise DataError(
            f"{index.path}: sample {key!r} has the members {listed(kinds)}, those before "
            f"{listed(index.kinds)}; all must have the same"
        )
    index.kinds = kinds
    index.offsets.append(sample[data[0]].offset_data)
    index.sizes.append(sample[data[0]].size)
    what = f"{index.path}: sample {brief(key)}"
    if label is not None or index.entries:
        values = _read_json(file, sample.get("json"), what)
        for name, column in index.entries.items():
            column.append(_entry(values, name, what))
        if label is not None:
            index.labels.append(_entry(values, label, what))
    if label is None and "cls" in sample:
        content = _bytes(file, sample["cls"], _LARGEST["cls"], what)
        try:
            # Another word in place of what is no UTF-8 would make one class of several.
            index.labels.append(sys.intern(content.decode("utf-8").strip()))
        except UnicodeDecodeError as error:
            raise DataError(f"{what}: its .cls is no text in UTF-8: {error}") from error


def _read_json(file: BinaryIO, member: tarfile.TarInfo | None, what: str) -> dict[str, Any]:
    if member is None:
        raise DataError(f"{what} has no .json to take label_column= or condition= from")
    content = _bytes(file, member, _LARGEST["json"], what)
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{what}: its .json cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise DataError(f"{what}: its .json is no table of names, but {type(values).__name__}")
    return values


def _entry(values: dict[str, Any], name: str, what: str) -> Any:
    if name not in values:
        raise DataError(f"{what}: its .json has no {name!r}; {suggest(name, values)}")
    value = values[name]
    if not isinstance(value, int | float | str | None):
        raise DataError(f"{what}: {name!r} in its .json is no number and no word, but {brief(value)}")
    if isinstance(value, int) and abs(value) >= 2**1023:
        raise DataError(f"{what}: {name!r} in its .json is a number that no float holds, {brief(value)}")
    return value


def _values(column: list[Any]) -> np.ndarray:
    """Floats (N,) with NaN, or for words and booleans objects (N,) with None, as those of tables."""
    if any(isinstance(value, str | bool) for value in column):
        return np.array(column, object)
    return np.array([np.nan if value is None else value for value in column], np.float64)


def numbered(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Classes as words, objects (N,) for each part, as numbers where every word of all is one as it is written.

    Where one is not, like 007 or what 64 bits do not hold, all stay words, so that no two become one class.
    """
    words = {word for part in parts for word in part if word}
    if all(isinstance(word, str) and re.fullmatch(r"0|-?[1-9]\d{0,17}", word, re.ASCII) for word in words):
        return tuple(np.array([int(word) if word else None for word in part], object) for part in parts)
    return tuple(parts)


def _bytes(file: BinaryIO, member: tarfile.TarInfo, most: int, what: str) -> bytes:
    if member.size > most:
        raise DataError(
            f"{what}: {member.name} has {member.size} bytes; at most {most} are read of such a one"
        )
    file.seek(member.offset_data)
    return file.read(member.size)


def _content(file: BinaryIO, index: _Index, sample: int) -> bytes:
    file.seek(index.offsets[sample])
    content = file.read(index.sizes[sample])
    if len(content) < index.sizes[sample]:
        _shorter(index.path)
    return content


def _shorter(path: Path) -> NoReturn:
    raise DataError(f"{path} is shorter than when it was opened; start again with the shards as they are")


def _load_npy(content: bytes) -> np.ndarray:
    array = decode_npy(content)
    if array.dtype.kind not in "buif":
        raise ValueError(f"it has dtype {array.dtype}; examples are booleans, integers or floats")
    return array
