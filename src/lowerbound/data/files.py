"""Files whose examples can stay on disk: .npy, .parquet and .tar, one or a folder of them.

A folder keeps a split of its own: sub-folders train, valid and test, or names that begin with these words, like
train-00000.parquet. What takes little memory is read whole, and is then like any other source.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import DataError, brief
from . import arrays
from .blocks import Blocks
from .images import PARTS, natural, part_of
from .lists import METADATA, is_metadata
from .memory import MIB, available_memory, cap_of, check_fits
from .parquet import ParquetBlocks, notes_of, table_of
from .pictures import PictureForm
from .schema import as_gaps
from .shards import ShardBlocks, numbered
from .source import Source
from .tables import Reading

_SUFFIXES = (".npy", ".parquet", ".tar")
_FOLDERS_OF = (".parquet", ".tar")


@dataclass(frozen=True)
class Files:
    """Files of one type.

    Attributes:
        suffix: Which type.
        parts: The files, or those of train, valid and test.
    """

    suffix: str
    parts: tuple[tuple[Path, ...], ...]


def user_path(name: str | os.PathLike[str]) -> Path:
    """The path that a user names, whose ~ is their home; there may be nothing at it.

    Raises:
        DataError: No path can have this name, or there is something that is neither a file nor a folder,
            or that may not be read.
    """
    try:
        path = Path(name).expanduser()
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return path
    except (OSError, RuntimeError, ValueError) as error:  # too long, no such user, a zero byte
        why = getattr(error, "strerror", None) or error
        raise DataError(f"{brief(os.fspath(name))} is no path that can be read: {why}") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a pipe or a device would be waited for
        raise DataError(f"{path} is neither a file nor a folder; save what it gives as a file")
    if not os.access(path, os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)):
        raise DataError(f"{path} may not be read by this user; change its permissions")
    return path


def find(path: Path) -> Files | None:
    """The files that a path stands for; None if it stands for something else.

    Raises:
        DataError: A folder holds several types, or some parts of a split and not others.
    """
    if not path.is_dir():
        suffix = path.suffix.lower()
        return Files(suffix, ((path,),)) if suffix in _SUFFIXES else None
    flat = _listed(path)
    nested: dict[str, list[Path]] = {}
    for child in sorted(path.iterdir()):
        if (part := part_of(child.name)) and child.is_dir():
            nested.setdefault(part, []).extend(_listed(child))
    nested = {part: files for part, files in nested.items() if files}
    if not flat and not nested:
        return None
    if flat and nested:
        raise DataError(
            f"{path} has {flat[0].name} and others next to the sub-folders {', '.join(nested)}; move them"
        )
    parts = nested or _by_name(flat)
    suffixes = {file.suffix.lower() for files in parts.values() for file in files}
    if len(suffixes) > 1:
        raise DataError(f"{path} holds {' and '.join(sorted(suffixes))} files; keep one type in a folder")
    if len(parts) == 1 and not nested:
        return Files(suffixes.pop(), (tuple(flat),))
    if set(parts) != set(PARTS):
        raise DataError(
            f"{path} holds files of {', '.join(sorted(parts))}; one with its own split has exactly train, valid and "
            "test: rename or add one, or pass one of them alone"
        )
    return Files(suffixes.pop(), tuple(tuple(parts[name]) for name in PARTS))


def _listed(folder: Path) -> list[Path]:
    """Files of the types that folders hold, in natural order; a list that names the pictures beside it is none."""
    files = [
        p
        for p in folder.iterdir()
        if p.suffix.lower() in _FOLDERS_OF and p.name[0] not in "._" and p.is_file()
    ]
    return sorted(
        (p for p in files if p.name not in METADATA or not is_metadata(p)), key=lambda p: natural(p.name)
    )


def _by_name(files: Sequence[Path]) -> dict[str, list[Path]]:
    """The files by the part of a split that their names begin with."""
    parts: dict[str, list[Path]] = {}
    for file in files:
        parts.setdefault(part_of(file.name, whole=False) or "no part of a split", []).append(file)
    return parts


def read_files(files: Files, options: Mapping[str, Any], conditions: Sequence[str]) -> Source:
    """Open the files, and read them whole where they are not to be streamed.

    Args:
        files: What to open.
        options: Those of `load`, "memory" in MiB.
        conditions: What is to be conditioned on and lies beside the data.

    Raises:
        ConfigError: An option does not fit these files, or an extra package is missing.
        DataError: A file is damaged, or not what it should be.
    """
    return replace(_read(files, options, conditions), streams=True)


def _read(files: Files, options: Mapping[str, Any], conditions: Sequence[str]) -> Source:
    stream, first = options["stream"], files.parts[0][0]
    if files.suffix == ".npy" and stream is False:
        return Source((arrays.open_npy(first),))
    source = {".npy": _open_array, ".parquet": _open_parquet, ".tar": _open_shards}[files.suffix](
        files, options, conditions
    )
    parts = [part for part in source.parts if isinstance(part, Blocks)]
    for part in parts:
        check_fits(
            part.block_bytes, f"a block of {part.name}, {part.counts.max()} examples,", part.smaller(1000)
        )
    size = sum(len(part) * part.row_bytes for part in parts)
    if stream or (stream is None and size > available_memory() // 4):
        return source
    if files.suffix == ".npy":
        return Source((arrays.open_npy(first),))
    check_fits(size, f"{parts[0].name}, with {sum(map(len, parts))} examples,", "leave stream=False out")
    return replace(source, parts=tuple(part.whole() for part in parts), settled=True)


def reading_of(options: Mapping[str, Any], conditions: Sequence[str]) -> Reading:
    """How a table is read."""
    return Reading(
        options["columns"],
        options["label_column"],
        conditions,
        options["schema"],
        options["unknown"],
        plain=options["values"] is not None,
        missing=as_gaps(options.get("missing")),
    )


def _cap(options: Mapping[str, Any]) -> int:
    """Bytes of decoded blocks to keep."""
    return int(cap_of(options["memory"]) * MIB)


def _open_array(files: Files, options: Mapping[str, Any], conditions: Sequence[str]) -> Source:
    return Source((arrays.ArrayBlocks(files.parts[0][0], _cap(options), options["axes"]),))


def _open_parquet(files: Files, options: Mapping[str, Any], conditions: Sequence[str]) -> Source:
    parts: list[ParquetBlocks] = []
    form = PictureForm.of(options)
    every = [path for paths in files.parts for path in paths]
    reading = reading_of(options, conditions)
    table, odd = table_of(every, reading, str(every[0] if len(every) == 1 else every[0].parent))
    for paths in files.parts:
        part = ParquetBlocks(paths, form, reading, table)
        parts.append(part)
        form = part.form  # its channels are those of the first picture of all
    beside = [part.read_beside() for part in parts]
    labels = tuple(part for part, _ in beside if part is not None)
    return Source(
        tuple(parts),
        labels or None,
        columns=tuple(parts[0].columns) if table is not None else None,
        table=table,
        notes=() if table is None else (*notes_of(every[0], reading, table), *odd),
        white=parts[0].form.white if parts[0].kind == "pictures" else None,
        conditions={name: tuple(entries[name] for _, entries in beside) for name in conditions},
    )


def _open_shards(files: Files, options: Mapping[str, Any], conditions: Sequence[str]) -> Source:
    parts: list[ShardBlocks] = []
    form = PictureForm.of(options)
    for paths in files.parts:
        part = ShardBlocks(paths, form, _cap(options), options["label_column"], conditions)
        parts.append(part)
        form = part.form or form  # its channels are those of the first picture of all
    labels = [part.labels for part in parts]
    known = tuple(part for part in labels if part is not None)
    if known and len(known) < len(labels):
        raise DataError(
            f"{parts[0].name} and its like: some of train, valid and test have labels, others not"
        )
    return Source(
        tuple(parts),
        (numbered(known) if options["label_column"] is None else known) or None,
        white=None if parts[0].form is None else parts[0].form.white,
        conditions={name: tuple(part.entries[name] for part in parts) for name in conditions},
    )
