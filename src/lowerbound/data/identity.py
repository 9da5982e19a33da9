"""What an example is known by: a hash of its values, wherever it stands and in whatever file or type.

A word of two float32 values is mixed with its place in the example, the words are added modulo 2**64, and the sum is
mixed again. Sums of such hashes over examples do not depend on their order.

Reference:
    Fast splittable pseudorandom number generators (Steele et al., 2014), https://doi.org/10.1145/2660193.2660195
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch

from .dataset import Data, Split
from .rows import StreamedRows, chunk_length
from .shared import Shared

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_PLACES, _PIECE = 64, 2**16  # so many pieces of a large file are looked at, each of so many bytes


def mixed(words: np.ndarray) -> np.ndarray:
    """The words (uint64) mixed in place, so that each bit of them changes half of the bits."""
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words


def hashes(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """One number for each example (N, ...) of an array, (N,) uint64: equal ones for examples of equal values.

    Values are compared as float32, which is what models see: their type, the sign of 0 and the bits of NaN do not
    matter. A memory-mapped array is read once, piece by piece.
    """
    width = int(np.prod(values.shape[1:]))
    found = np.empty(len(values), np.uint64)
    start = mixed(np.array([seed], np.uint64) + _GOLDEN)
    keys = mixed(np.arange(1, width // 2 + 2, dtype=np.uint64) * _GOLDEN + start)
    step = chunk_length(width, cached=True)
    for at in range(0, len(values), step):
        part = np.asarray(values[at : at + step]).reshape(-1, width)
        padded = np.zeros((len(part), 2 * len(keys)), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            padded[:, :width] = part
        if part.dtype.kind == "f":
            padded += 0.0
            padded[np.isnan(padded)] = np.nan
        found[at : at + step] = mixed(mixed(padded.view(np.uint64) + keys).sum(1, dtype=np.uint64) + start)
    return found


def fingerprint(data: Data, path: Path | None = None) -> dict[str, Any]:
    """What was read, as JSON keeps it: `difference` compares two of them.

    The number of "examples"; a hash of their "values"; and one of these with what goes with them "beside" and their
    splits. The order of examples in a split changes none of them.

    Args:
        data: Its splits as they were read, whatever has become of them.
        path: The file or folder; of data that are streamed it is looked at instead of the examples: sizes, and pieces
            of each file at its beginning, its end and in between.
    """
    split = data.read[0]
    found: dict[str, Any] = {"examples": len(split) if data.whole else sum(map(len, data.read))}
    if isinstance(split.rows, StreamedRows):
        return found | ({} if path is None else {"files": f"{_files(path):016x}"})
    values = beside = 0
    for place, split in enumerate(data.read, 1):
        x = np.empty(len(split), np.uint64)
        for index in torch.arange(len(split)).split(chunk_length(split.spec.dimensions)):
            x[index.numpy()] = hashes(split.rows.read(index).cpu().numpy())
        values += int(mixed(x).sum(dtype=np.uint64))
        x ^= mixed(np.array([place], np.uint64))  # the split of an example
        for word, entry in _beside(split):
            x += mixed(entry ^ np.uint64(word))
        beside += int(mixed(x).sum(dtype=np.uint64))
    return found | {"values": f"{values % 2**64:016x}", "beside": f"{beside % 2**64:016x}"}


def digest(split: Split, limit: int | None = None) -> str:
    """What examples a split has and what is given of each, in their order: two splits are equal if it is.

    Args:
        split: The split.
        limit: Look at so many of its first examples.
    """
    count, found = len(split) if limit is None else min(limit, len(split)), hashlib.sha256()
    for index in torch.arange(count).split(chunk_length(split.spec.dimensions)):
        found.update(hashes(split.rows.read(index).cpu().numpy()).tobytes())
    for word, entry in _beside(replace(split, labels=None)):
        found.update(entry[:count].tobytes() + word.to_bytes(4, "little"))
    return found.hexdigest()[:16]


def _beside(split: Split) -> Iterator[tuple[int, np.ndarray]]:
    """Hashes of what goes with the examples, each with that of its name."""
    entries: dict[str, Any] = {**split.conditions}
    if split.labels is not None:
        entries["labels of all"] = split.labels
    for name, entry in entries.items():
        if isinstance(entry, Shared):
            found = hashes(entry.values.cpu().numpy())[entry.index.cpu().numpy()]
        else:
            found = hashes(entry.cpu().numpy())
        yield crc32(name.encode()), found


def _files(path: Path) -> int:
    """A hash of the files, for which little of large ones is read."""
    total = 0
    inside = (
        p for p in path.rglob("*.*") if p.suffix.lower() in (".parquet", ".tar") and p.name[0] not in "._"
    )
    for file in [path] if path.is_file() else sorted(inside):
        size = os.stat(file).st_size
        where = range(0, size, _PIECE) if size <= _PLACES * _PIECE else np.linspace(0, size - _PIECE, _PLACES)
        check = crc32(str(file.relative_to(path)).encode())
        with file.open("rb") as opened:
            for place in where:
                opened.seek(int(place))
                check = crc32(opened.read(_PIECE), check)
        total += int(mixed(np.array([size], np.uint64) * _GOLDEN + np.uint64(check))[0])
    return total % 2**64


def difference(then: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """How data differ from what they were, in words; None if they do not, or if there is nothing to tell it by."""
    if then and now["examples"] != then.get("examples"):
        return f"{now['examples']} examples, {then.get('examples')} in training"
    for key, what in (
        ("values", "as many examples as in training, but other values in them"),
        ("beside", "the examples of training, but with other labels or conditions, or in other splits"),
        ("files", "as many examples as in training, but other bytes in the files"),
    ):
        if key in then and key in now and then[key] != now[key]:
            return what
    return None
