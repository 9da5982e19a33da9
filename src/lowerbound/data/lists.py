"""Lists of file names and labels: what lies beside a folder of pictures, or in it as metadata.csv.

    file_name,label          a header, and a row for each picture
    cat/1.png,cat            or rows alone, of two columns

A name is the path within the folder, or what is enough of it: the file's name, with or without its ending. The same
in metadata.jsonl, an object a line, and metadata.parquet, as the datasets package of Hugging Face has them.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, DataError, suggest
from .pictures import SUFFIXES, some

TYPES = (".csv", ".tsv", ".jsonl", ".parquet")
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_FILE_NAME = "file_name"
_NAMES = (
    _FILE_NAME,
    "filename",
    "file",
    "path",
    "image",
    "img",
    "name",
    "image_name",
    "image_path",
    "image_id",
    "id",
)


def read_list(file: Path, label_column: str | None = None, base: str = "") -> list[tuple[str, Any]] | None:
    """Names and labels, in the order of the file.

    Args:
        file: The list; its ending says how it is written.
        label_column: Which column is the label; else the one of that name, or of two columns the other.
        base: What names in it are relative to, within the folder.

    Returns:
        The rows; None if no label_column is asked for and the columns are no names of files and labels.

    Raises:
        DataError: The file is missing or damaged, or labels are neither numbers nor words.
        ConfigError: The column does not exist, or pyarrow is missing.
    """
    suffix = file.suffix.lower()
    try:
        columns, rows = {".jsonl": _read_jsonl, ".parquet": _read_parquet}.get(suffix, _read_csv)(file)
    except (
        OSError,
        ValueError,
        csv.Error,
        RecursionError,
    ) as error:  # those of arrow are OSError and ValueError
        raise DataError(
            f"{file} cannot be read as a list of file names and labels: {some([error])}"
        ) from error
    if not rows:
        raise DataError(f"{file} is a list without rows")
    lower = [column.lower() for column in columns]
    name = next((lower.index(known) for known in _NAMES if known in lower), 0)
    if label_column is not None:
        if label_column not in columns:
            raise ConfigError(f"{file} has no column {label_column!r}; {suggest(label_column, columns)}")
        label = columns.index(label_column)
    elif "label" in lower:
        label = lower.index("label")
    elif len(columns) == 2:
        label = 1 - name
    else:
        return None
    pairs = []
    for row in rows:
        if isinstance(row[label], list | dict | bytes):
            raise DataError(f"{file}: the label of {row[name]!r} is neither a number nor a word")
        pairs.append((f"{base}{str(row[name]).strip()}".replace("\\", "/").removeprefix("./"), row[label]))
    return pairs


def is_metadata(file: Path) -> bool:
    """Whether a file called like a list has a column of file names."""
    try:
        if file.suffix == ".parquet":
            import pyarrow.parquet as pq

            return _FILE_NAME in pq.read_schema(file).names
        with file.open(encoding="utf-8-sig") as lines:
            return _FILE_NAME in lines.readline(2**16)
    except (ImportError, OSError, ValueError):
        return False


def match(pairs: Sequence[tuple[str, Any]], paths: Sequence[str], where: str) -> list[Any]:
    """The label of each path, by its name in a list.

    Raises:
        DataError: A row names no picture, a picture has no row, or two have the same.
    """
    keys: dict[str, int] = {}
    ways: tuple[Callable[[str], str], ...] = (
        str,
        os.path.basename,
        lambda path: os.path.splitext(path)[0],
        lambda path: os.path.splitext(os.path.basename(path))[0],
    )
    for way in ways:
        found = defaultdict(list)
        for i, path in enumerate(paths):
            found[way(path)].append(i)
        for key, places in found.items():
            if len(places) == 1:  # what several files are called names none of them
                keys.setdefault(key, places[0])
    # Names can have folders in front that lie above the one that is read.
    levels = zip(*(name.split("/")[:-1] for name, _ in pairs), strict=False)
    above = [level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels)]
    starts = ["".join(f"{part}/" for part in above[:count]) for count in range(len(above) + 1)]
    start = max(starts, key=lambda start: sum(name.removeprefix(start) in keys for name, _ in pairs))
    pairs = [(name.removeprefix(start), label) for name, label in pairs]
    labels: dict[int, Any] = {}
    lost, twice = [], []
    for name, label in pairs:
        i = keys.get(name)
        if i is None:
            lost.append(name)
        elif i in labels:
            twice.append(name)
        else:
            labels[i] = label
    bare = [path for i, path in enumerate(paths) if i not in labels]
    wrong = [
        (lost, f"of {len(pairs)} rows name no picture, or several"),
        (twice, f"of {len(pairs)} rows name a picture that another row names"),
        (bare, f"of {len(paths)} pictures have no row"),
    ]
    if any(names for names, _ in wrong):
        told = "; ".join(f"{len(names)} {what} ({some(names, longest=80)})" for names, what in wrong if names)
        raise DataError(f"{where} does not fit the folder: {told}")
    return [labels[i] for i in range(len(paths))]


def as_array(labels: Sequence[Any]) -> np.ndarray:
    """Labels (N,): integers if all are, also as words that integers are written as; else as they came."""
    if all(isinstance(label, str) for label in labels):
        words = [label.strip() for label in labels]
        if all(word.isascii() and word.removeprefix("-").isdigit() and len(word) < 18 for word in words):
            numbers = [int(word) for word in words]
            if all(str(number) == word for number, word in zip(numbers, words, strict=True)):
                return np.array(numbers)
        return np.array(words)
    return (
        np.array(labels, object) if any(isinstance(v, str) or v is None for v in labels) else np.array(labels)
    )


def _read_csv(file: Path) -> tuple[list[str], list[list[Any]]]:
    text = file.read_text(encoding="utf-8-sig")
    first = text.partition("\n")[0]
    delimiter = max(",;\t|", key=first.count)
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(row)]
    odd = next((i for i, row in enumerate(rows) if len(row) != len(rows[0])), None)
    if odd is not None:
        raise ValueError(f"row {odd + 1} has {len(rows[odd])} fields, but row 1 has {len(rows[0])}")
    if rows and len(rows[0]) < 2:
        raise ValueError(f"it has one column; its first row is {some(rows[0])}")
    if rows and Path(rows[0][0]).suffix.lower() in SUFFIXES:  # no header
        return [_FILE_NAME, "label", *map(str, range(2, len(rows[0])))], rows
    return (rows[0], rows[1:]) if rows else ([], [])


def _read_jsonl(file: Path) -> tuple[list[str], list[list[Any]]]:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    columns = list(rows[0]) if rows and isinstance(rows[0], dict) else []
    if len(columns) < 2 or not all(isinstance(row, dict) and row.keys() >= set(columns) for row in rows):
        raise ValueError("each line must be an object with the names of the first")
    return columns, [[row[column] for column in columns] for row in rows]


def _read_parquet(file: Path) -> tuple[list[str], list[list[Any]]]:
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigError(
            "Parquet needs pyarrow, which is missing: pip install lowerbound[tables]"
        ) from error
    table = pq.read_table(file)
    return table.column_names, [
        list(row) for row in zip(*(c.to_pylist() for c in table.columns), strict=True)
    ]
