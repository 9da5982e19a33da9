"""Files of tables as people have them: a DataFrame whose columns have honest types, and what was decided on the way.

Of text (.csv, .tsv, .txt, .data, ...) an own look at the first lines finds encoding, compression, comments, separator
(``, ; tab |`` or blanks), decimal comma, and whether there is a header. Then pandas reads it with all of these said,
and each column of words is looked at once more:

    an empty cell                           missing
    NA, NaN, null, None, -, . or ?          missing among numbers and dates; among words only ?
    007, and numbers of too many digits     words: as numbers they would not come back
    2024-01-31, 2024-01-31T12:00:05         dates; 31.01.2024 and 01/31/2024 where only one order makes sense
    true, False, ...                        booleans

Nothing is decided by pandas' guesses: no column becomes an index, no word a missing value, no name is changed.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ..errors import ConfigError, DataError
from .memory import available_memory

if TYPE_CHECKING:
    from pandas import DataFrame, Series

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".data", ".dat", ".tab")
TABLE_SUFFIXES = (*TEXT_SUFFIXES, ".json", ".jsonl", ".ndjson", ".feather", ".arrow", ".xlsx")
PACKED = (".gz", ".bz2", ".xz", ".zip")

_LOOK = 2**18  # bytes that are looked at
_LINES = 200
_LONGEST = 100_000  # letters of a cell: longer is no table, or a damaged one
_SHARE = 6  # of the memory at hand that a file's text may take: its table takes several times as much
_MISSING = {"na", "n/a", "nan", "null", "none", "-", ".", "?", "#n/a", "<na>"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity|nan)", re.IGNORECASE)
_COMMA_NUMBER = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
_ISO = re.compile(r"\d{4}-\d\d?-\d\d?([T ]\d\d?:\d\d(:\d\d(\.\d+)?)?\s*(Z|[+-]\d\d:?\d\d)?)?")
_DAY_FIRST = re.compile(r"(\d\d?)[./](\d\d?)[./](\d{4})")


def read_frame_file(path: Path, like: Mapping[str, str] | None = None) -> tuple[DataFrame, list[str]]:
    """A table in a file.

    Args:
        path: The file; its ending says what it is, packed (.gz .bz2 .xz .zip) or not.
        like: What the cells of columns are to be, by name, as a trained model knows them: "float", "integer",
            "boolean", "text" or "date"; columns that are not named are read as they look.

    Returns:
        The table, and what was decided in reading it, a sentence each.

    Raises:
        ConfigError: A package that reads such files is missing.
        DataError: The file is damaged, no table, larger than memory, or a cell is not what it has to be.
    """
    kind = kind_of(path)
    try:
        content = _content(path)
        if kind in (".feather", ".arrow", ".xlsx"):
            frame, notes = _packaged(kind, content, path)
        else:
            text, notes = _decoded(content, path)
            if kind in (".json", ".jsonl", ".ndjson"):
                frame = _of_json(text, path)
            else:
                frame, more = _of_text(text, path, kind, like or {})
                notes += more
    except (DataError, ConfigError):
        raise
    except MemoryError:
        raise DataError(
            f"{path} is too large to be read whole; write it as .parquet, which is streamed"
        ) from None
    except Exception as error:  # a damaged file makes parsers raise nearly anything
        raise DataError(f"{path} cannot be read as a table: {_brief(error)}") from error
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    for name, stored in (like or {}).items():
        if name in frame.columns:
            frame[name] = _as_stored(frame[name], stored, str(path))
    return frame, notes


def kind_of(path: Path) -> str:
    """The ending that says what a file holds, packed or not."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _brief(value: object, most: int = 200) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= most else f"{text[: most - 3]}..."


# ---------------------------------------------------------------------------------------- bytes and letters
def _content(path: Path) -> bytes:
    """The bytes of a file, unpacked by what they are and not by its name; no more than memory has room for."""
    most = available_memory() // _SHARE
    with path.open("rb") as file:
        magic = file.read(6)
        file.seek(0)
        if magic.startswith(b"PK\x03\x04") and kind_of(path) != ".xlsx":
            return _of_zip(file, path, most)
        opened: IO[bytes] = file
        if magic.startswith(b"\x1f\x8b"):
            opened = gzip.open(file)  # type: ignore[assignment]
        elif magic.startswith(b"BZh"):
            opened = bz2.open(file)
        elif magic.startswith(b"\xfd7zXZ"):
            opened = lzma.open(file)
        return _read(opened, path, most)


def _of_zip(file: IO[bytes], path: Path, most: int) -> bytes:
    with zipfile.ZipFile(file) as archive:
        names = [
            entry for entry in archive.infolist() if not entry.is_dir() and "__MACOSX" not in entry.filename
        ]
        if len(names) != 1:
            raise DataError(f"{path} holds {len(names)} files; pack one table alone, or unpack it")
        with archive.open(names[0]) as member:
            return _read(member, path, most)


def _read(file: IO[bytes], path: Path, most: int) -> bytes:
    parts, size = [], 0
    while part := file.read(2**24):
        size += len(part)
        if size > most:
            raise DataError(
                f"{path} holds more than {most / 2**20:,.0f} MiB, a {_SHARE}th of the memory at hand; write it as "
                ".parquet, which is streamed"
            )
        parts.append(part)
    return b"".join(parts)


def _decoded(content: bytes, path: Path) -> tuple[bytes, list[str]]:
    """The text in UTF-8 without a mark at its beginning."""
    if content.startswith(b"\xef\xbb\xbf"):
        content = content[3:]
    elif content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16").encode(), ["encoding UTF-16"]
    if b"\x00" in content[:_LOOK]:
        raise DataError(f"{path} is no text: it has zero bytes; save it as .csv in UTF-8")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace").encode(), [
            "encoding taken for Latin-1: it is not UTF-8"
        ]
    return content, []


# ---------------------------------------------------------------------------------------- text
@dataclass
class _Form:
    """How a text is written."""

    skip: int
    separator: str | None
    decimal: str
    names: list[str] | None
    fields: int


def _of_text(content: bytes, path: Path, kind: str, like: Mapping[str, str]) -> tuple[DataFrame, list[str]]:
    import pandas as pd

    form, notes = _look(content, path, kind)
    # What begins with 0 is a name: as a number it would not come back. Then no column is read as numbers at once.
    between = re.escape((form.separator or " ").encode())
    words = re.search(
        rb'(?:^|[\r\n"]|' + between + rb')\s*0\d+(?=\s*["\r\n]|\s*' + between + rb"|\s*$)", content
    )
    try:
        frame = pd.read_csv(
            io.BytesIO(content),
            sep=form.separator if form.separator is not None else r"\s+",
            header=None,
            skiprows=form.skip + (form.names is not None),
            na_values=[""],
            keep_default_na=False,
            decimal=form.decimal,
            skipinitialspace=True,
            low_memory=False,
            dtype=str if words else None,
            encoding="utf-8",
            **_precision(pd.__version__),
        )
    except pd.errors.EmptyDataError:
        frame = pd.DataFrame()
    except pd.errors.ParserError:
        _check_lengths(content, form, form.fields, path)  # says it with both lines
        raise
    if not len(frame):
        raise DataError(f"{path} has a header but no rows" if form.names else f"{path} is empty")
    names = form.names or [str(i) for i in range(len(frame.columns))]
    frame = _without_last(frame, names, notes)
    if len(names) != len(frame.columns) or frame.iloc[:, -1].isna().any():
        _check_lengths(content, form, len(names), path)
    frame = frame.set_axis(names, axis=1)
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(
            f"{path} has several columns named {_brief(', '.join(map(repr, twice)))}; rename them"
        )
    frame = _typed(frame, content, form, path, notes)
    if names[0] == "" and _counts(frame[""]):
        notes.append("the first column, without a name, counts the rows and is left out")
        frame = frame.drop(columns="")
    return frame, notes


def _precision(version: str) -> dict[str, Any]:
    """The option for numbers to be read to the last digit, where a version of pandas needs one."""
    major, minor = version.split(".")[:2]
    return {} if (int(major), int(minor)) >= (3, 1) else {"float_precision": "round_trip"}


def _look(content: bytes, path: Path, kind: str) -> tuple[_Form, list[str]]:
    """Find out from the first lines how a text is written."""
    head = content[:_LOOK].decode("utf-8", errors="replace")
    lines = head.splitlines()
    if len(content) > _LOOK:
        lines = lines[:-1]  # the last one may be cut
    if not lines and content.strip():
        raise DataError(f"{path}: its first line is longer than {_LOOK:,} bytes, which no table has")
    notes, skip = [], 0
    while skip < len(lines) and (lines[skip].startswith("#") or not lines[skip].strip()):
        skip += 1
    comments = sum(line.startswith("#") for line in lines[:skip])
    if comments:
        notes.append(f"{comments} lines of comment at the top")
    lines = lines[skip : skip + _LINES]
    if not lines:
        raise DataError(f"{path} is empty")
    separator, rows = _separator(lines, kind)
    if max(len(cell) for row in rows for cell in row) > _LONGEST:
        raise DataError(f"{path} has a cell of more than {_LONGEST:,} letters, which is no table's")
    if separator != "," and (separator is not None or kind != ".csv"):
        notes.append(
            {"\t": "separated by tabs", None: "separated by blanks"}.get(
                separator, f"separator {separator!r}"
            )
        )
    cells = [cell for row in rows[1:] or rows for cell in row]
    decimal = "."
    if (
        separator != ","
        and any(map(_COMMA_NUMBER.fullmatch, cells))
        and not any("." in cell and _NUMBER.fullmatch(cell) for cell in cells)
    ):
        decimal = ","
        notes.append("decimal comma")
    names = rows[0] if _is_header(rows, decimal) else None
    if names is None:
        notes.append("no header: columns are called 0, 1, ...")
    return _Form(skip, separator, decimal, names, len(rows[0])), notes


def _separator(lines: Sequence[str], kind: str) -> tuple[str | None, list[list[str]]]:
    """The separator, None for blanks, and the cells of the first lines by it."""
    best: tuple[float, int, str | None, list[list[str]]] | None = None
    for mark in "\t;,|" if kind in (".tsv", ".tab") else ",;\t|":
        rows = [[cell.strip() for cell in row] for row in _parsed(lines, mark) if row]
        if not rows:
            continue
        counts = [len(row) - (len(row) > 1 and row[-1] == "") for row in rows]
        usual = max(set(counts), key=counts.count)
        if usual > 1 and (best is None or (counts.count(usual) / len(counts), usual) > best[:2]):
            best = counts.count(usual) / len(counts), usual, mark, rows
    blank = [line.split() for line in lines if line.strip()]
    widths = {len(row) for row in blank}
    if (best is None or best[0] < 1) and widths != {1} and len(widths) == 1:
        if all(_NUMBER.fullmatch(cell) or _COMMA_NUMBER.fullmatch(cell) for row in blank[1:] for cell in row):
            return None, blank
    if best is None:
        return ",", [[cell.strip() for cell in row] or [""] for row in _parsed(lines, ",") if row]
    return best[2], best[3]


def _parsed(lines: Sequence[str], separator: str) -> list[list[str]]:
    csv.field_size_limit(2**27)
    return list(csv.reader(lines, delimiter=separator, skipinitialspace=True))


def _number_of(cell: str, decimal: str) -> float | None:
    text = cell.replace(",", ".") if decimal == "," else cell
    return float(text) if _NUMBER.fullmatch(text) else None


def _is_header(rows: Sequence[Sequence[str]], decimal: str) -> bool:
    """Whether the first line names the columns."""
    first, rest = rows[0], rows[1:]
    numbers = [_number_of(cell, decimal) for cell in first]
    if all(number is not None for number in numbers):
        return numbers == list(range(len(numbers)))
    for i, cell in enumerate(first):
        below = [row[i] for row in rest if i < len(row) and row[i].lower() not in _MISSING | {""}]
        of_numbers = bool(below) and all(_number_of(value, decimal) is not None for value in below)
        if of_numbers and cell.lower() not in _MISSING:
            return numbers[i] is None
    if not rest:
        return True
    repeated = any(cell and cell in {row[i] for row in rest if i < len(row)} for i, cell in enumerate(first))
    return not repeated and all(number is None for number in numbers)


def _without_last(frame: DataFrame, names: list[str], notes: list[str]) -> DataFrame:
    """The table without the empty column that a separator at the end of each line makes."""
    if not frame.iloc[:, -1].isna().all() or len(frame.columns) < 2:
        return frame
    if len(names) == len(frame.columns) and names[-1] == "":
        names.pop()
    if len(names) == len(frame.columns) - 1:
        notes.append("each line ends with a separator")
        return frame.iloc[:, :-1]
    return frame


def _check_lengths(content: bytes, form: _Form, fields: int, path: Path) -> None:
    """Refuse lines with another number of cells than the first has."""
    lines = content.decode("utf-8").splitlines()[form.skip :]
    rows = [line.split() for line in lines] if form.separator is None else _parsed(lines, form.separator)
    for i, row in enumerate(rows):
        if row and len(row) != fields and not (len(row) == fields + 1 and row[-1] == ""):
            first, other = _brief(lines[0], 80), _brief(lines[min(i, len(lines) - 1)], 80)
            raise DataError(
                f"{path}: line {form.skip + 1} has {fields} fields, but line {form.skip + i + 1} has {len(row)}: "
                f"{first!r} and {other!r}; give every row as many, and a name for each"
            )


def _counts(column: Series) -> bool:
    return column.dtype.kind == "i" and bool((np.diff(column.to_numpy()) == 1).all())


# ---------------------------------------------------------------------------------------- types of columns
def _typed(frame: DataFrame, content: bytes, form: _Form, path: Path, notes: list[str]) -> DataFrame:
    columns, missing, dates = {}, {}, []
    for name in frame.columns:
        column = frame[name]
        if column.dtype == np.dtype(object) or str(column.dtype).startswith("str"):
            column, gaps, note = _of_words(column.astype(object), form.decimal)
            if gaps:
                missing[name] = gaps
            if note:
                notes.append(f"column {name!r}: {note}")
            if column.dtype.kind == "M":
                dates.append(name)
        elif column.dtype.kind == "f" and _is_whole(column):
            column = column.astype("Int64")
        columns[name] = column
    if missing:
        words = sorted({word for _, word in missing.values()})
        count = sum(count for count, _ in missing.values())
        where = ", ".join(list(missing)[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        notes.append(f"{count} cells {', '.join(map(repr, words[:5]))} read as missing, in {where}")
    import pandas as pd

    return pd.DataFrame(columns)


def _is_whole(column: Series) -> bool:
    values = column.to_numpy()
    values = values[~np.isnan(values)]
    return (
        len(values) < len(column)
        and len(values) > 0
        and bool((values == np.floor(values)).all() and (np.abs(values) < 2**53).all())
    )


def _of_words(column: Series, decimal: str) -> tuple[Series, tuple[int, str] | None, str]:
    """A column of words as what they all are, how many cells were words for nothing, and what is to be said."""
    import pandas as pd

    codes, values = pd.factorize(column)  # each different word is looked at once
    values = [str(value).strip() for value in values]
    counts = np.bincount(codes[codes >= 0], minlength=len(values))
    void = [value.lower() in _MISSING for value in values]
    left = [value for value, gone in zip(values, void, strict=True) if not gone]

    def made(convert: Callable[[str], Any], dtype: Any) -> Series:
        table = [None if gone else convert(value) for value, gone in zip(values, void, strict=True)]
        filled = pd.Series([*table, None], dtype=dtype) if dtype is not None else pd.Series([*table, None])
        return filled.take(np.where(codes < 0, len(values), codes)).set_axis(column.index)

    gone = sum(int(n) for n, is_void in zip(counts, void, strict=True) if is_void)
    gaps = (gone, next(v for v, is_void in zip(values, void, strict=True) if is_void)) if gone else None
    if left and all(_exact(value, decimal) for value in left):
        if all(re.fullmatch(r"[+-]?\d+", value) for value in left):
            whole = made(int, "Int64")
            return (whole if whole.isna().any() else whole.astype("int64")), gaps, ""
        return (
            made(lambda value: float(value.replace(",", ".") if decimal == "," else value), "float64"),
            gaps,
            "",
        )
    if left and all(value.lower() in ("true", "false") for value in left):
        flags = made(lambda value: value.lower() == "true", "boolean")
        return (flags if flags.isna().any() else flags.astype(bool)), gaps, ""
    if left and (times := _dates(left)) is not None:
        return made(dict(zip(left, times, strict=True)).__getitem__, "datetime64[ns]"), gaps, ""
    void = [value == "?" for value in values]
    gone = sum(int(n) for n, is_void in zip(counts, void, strict=True) if is_void)
    numbers = sum(int(n) for n, v in zip(counts, values, strict=True) if _number_of(v, decimal) is not None)
    note = ""
    if left and 0.5 * counts.sum() < numbers < counts.sum() - gone:
        odd = next(i for i, v in enumerate(values) if v != "?" and _number_of(v, decimal) is None)
        row = int((codes == odd).argmax())
        note = (
            f"words, for {int(counts.sum()) - numbers - gone} cells among its numbers are none, like "
            f"{_brief(values[odd], 40)!r} in row {row}"
        )
    return made(str, object), (gone, "?") if gone else None, note


def _exact(value: str, decimal: str) -> bool:
    """Whether a word is a number that comes back as it was."""
    digits = value.lstrip("+-")
    if re.fullmatch(r"\d+", digits):
        return (digits == "0" or digits[0] != "0") and len(digits) <= 18
    return _number_of(value, decimal) is not None and not re.match(r"0\d", digits)


def _dates(values: Sequence[str]) -> list[Any] | None:
    """The times that words stand for, if all do and there is one way to read them."""
    import pandas as pd

    try:
        if all(map(_ISO.fullmatch, values)):
            times = pd.to_datetime(pd.Series(values), format="ISO8601", utc=True)
            return times.dt.tz_localize(None).astype("datetime64[ns]").tolist()
        parts = [match.groups() for value in values if (match := _DAY_FIRST.fullmatch(value))]
        if len(parts) == len(values):
            first, second = (max(int(part[i]) for part in parts) for i in (0, 1))
            if (first > 12) != (second > 12):
                day, month = (0, 1) if first > 12 else (1, 0)
                iso = [f"{p[2]}-{int(p[month]):02}-{int(p[day]):02}" for p in parts]
                return pd.to_datetime(pd.Series(iso), format="%Y-%m-%d").astype("datetime64[ns]").tolist()
    except (ValueError, OverflowError):
        pass
    return None


def _as_stored(column: Series, stored: str, name: str) -> Series:
    """A column with cells of the type that a model knows."""
    import pandas as pd

    try:
        if stored == "text":
            return column.map(lambda v: None if pd.isna(v) else str(v)).astype(object)
        if stored == "date":
            return column if column.dtype.kind == "M" else pd.to_datetime(column)
        if stored == "boolean":
            return column if column.isna().any() else column.astype(bool)
        return (
            column
            if column.dtype.kind in "iufb" or str(column.dtype) in ("Int64", "boolean")
            else pd.to_numeric(column)
        )
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{name}: column {column.name!r} holds {stored}s in training, but here {_brief(error, 120)}"
        ) from None


# ---------------------------------------------------------------------------------------- other files
def _of_json(content: bytes, path: Path) -> DataFrame:
    import pandas as pd

    text = content.decode()
    try:
        found = json.loads(text)
    except RecursionError:
        raise DataError(f"{path} is nested too deeply for a table") from None
    except ValueError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        try:
            found = [json.loads(line) for line in lines]
        except (ValueError, RecursionError):
            raise DataError(f"{path} is no valid JSON: {_brief(error)}") from None
    if isinstance(found, list) and found and all(isinstance(row, dict) for row in found):
        frame = pd.DataFrame.from_records(found)
    elif (
        isinstance(found, dict)
        and found
        and all(isinstance(column, list | dict) for column in found.values())
    ):
        frame = pd.DataFrame(
            {key: list(v.values()) if isinstance(v, dict) else v for key, v in found.items()}
        )
    else:
        raise DataError(
            f"{path} is no table: give a list of records, one record per line, or a list for each column"
        )
    for name in frame.columns:
        nested = next((value for value in frame[name] if isinstance(value, list | dict)), None)
        if nested is not None:
            raise DataError(
                f"{path}: column {name!r} is nested, like {_brief(nested, 60)}; give one value per cell"
            )
    return pd.DataFrame(
        {
            name: _of_words(frame[name], ".")[0]
            if frame[name].map(lambda v: isinstance(v, str)).any()
            else frame[name]
            for name in frame.columns
        }
    )


def _packaged(kind: str, content: bytes, path: Path) -> tuple[DataFrame, list[str]]:
    import pandas as pd

    try:
        if kind in (".feather", ".arrow"):
            return pd.read_feather(io.BytesIO(content)), []
        sheets = pd.read_excel(io.BytesIO(content), sheet_name=None, na_values=[""], keep_default_na=False)
    except ImportError as error:
        package = "openpyxl" if kind == ".xlsx" else "pyarrow"
        raise ConfigError(f"{kind} files need {package}, which is missing: pip install {package}") from error
    full = {name: sheet for name, sheet in sheets.items() if sheet.size}
    if len(full) != 1:
        named = _brief(", ".join(map(repr, full)) or "none")
        raise DataError(f"{path} has {len(full)} sheets with cells ({named}); keep one, or save it as .csv")
    ((name, sheet),) = full.items()
    for column in sheet.columns[sheet.dtypes == np.dtype(object)]:
        if sheet[column].map(lambda v: isinstance(v, str)).any():
            sheet[column] = _of_words(sheet[column], ".")[0]
    return sheet, [f"sheet {name!r}"]
