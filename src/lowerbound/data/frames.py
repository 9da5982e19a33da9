"""Files of tables as people have them, read into a pandas DataFrame of honest types.

A look at the beginning of a file tells its encoding, separator and header; then all its cells are read as texts,
whose columns `cells` turns into values. Two ways are shorter where that changes nothing: a table of plain numbers
goes to pandas' parser, and Parquet and Feather have types of their own.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import itertools
import json
import lzma
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ..errors import ConfigError, DataError, LowerboundError
from .cells import (
    DATE,
    DECIMAL_COMMA,
    LONGEST,
    MISSING,
    NUMBER,
    Notes,
    check_like,
    compute,
    cut,
    listed,
    read_cells,
)
from .forms import of_numbers
from .memory import MIB, available_memory

if TYPE_CHECKING:
    import pyarrow as pa
    from pandas import DataFrame

_TEXTS = (".csv", ".tsv", ".txt", ".data", ".tab", ".json", ".jsonl", ".ndjson")
_PACKED = ("", ".gz", ".bz2", ".xz", ".zip", ".zst")
TABLE_SUFFIXES = (
    *(text + packed for packed in _PACKED for text in _TEXTS),
    *(".feather", ".arrow", ".xlsx", ".parquet"),
)
MOST_COLUMNS = 2**16
_LOOK = 256 * 1024  # bytes at the beginning that show what a file is like
_LOOK_ROWS = 1000
_LOOK_COLUMNS = 200
_BLOCK = 4 * MIB
_LONGEST_LINE = 16 * MIB
_BLANKS = "blanks"
_SEPARATORS = ("\t", ";", "|", ",", _BLANKS)  # of two that do equally well the first
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like the one of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_INSTALL = "which is missing: pip install lowerbound[tables]"


def read_frame_file(path: Path, like: Mapping[str, str] | None = None) -> tuple[DataFrame, list[str]]:
    """The table in a file, and what is to be known of how it was read.

    Text files have `, ; tab |` or runs of blanks between cells, a header or none (columns are "0", "1", ... then),
    and are UTF-8, UTF-16 with its mark, or Windows-1252; they may be packed. An empty cell is missing. Columns are
    int64, Int64 where cells are missing, float64 (the nearest to what is written), bool, boolean, datetime64 (those
    with a zone in UTC), or objects: words, with None where they are missing. Parquet and Feather keep the types that
    pandas gives.

    Args:
        path: The file; see `TABLE_SUFFIXES`.
        like: Types of columns by name, "float64", "int64", "bool", "text" or "datetime", as they were in training.
            A column with such a name is read so whatever its cells suggest; "int64" gives floats where some are not
            whole.

    Returns:
        The table, whose ``attrs`` say how the file writes its cells (see `forms`), and one sentence for each thing
        that is not plain: a separator, a word read as missing, a dropped column.

    Raises:
        ConfigError: A package that reads such files is missing, or `like` has an unknown type.
        DataError: The file is no table of that kind, damaged, empty, larger than memory allows, its lines have other
            numbers of cells than its header, two columns have one name, or a cell is not of the type in `like`.
    """
    for kind in set((like or {}).values()):
        check_like(kind)
    notes, name = Notes(), cut(path, 200)
    try:
        if not path.is_file():
            raise DataError(f"{name} is no file; give the path of a table")
        frame = _read(path, like or {}, notes)
    except LowerboundError as error:
        raise type(error)(str(error) if name in str(error) else f"{name}: {error}") from error
    except ImportError as error:
        raise ConfigError(f"{name}: such files need {error.name or 'pyarrow'}, {_INSTALL}") from error
    except MemoryError as error:
        raise DataError(f"{name} does not fit into memory; take a part of it") from error
    except Exception as error:  # readers of damaged files raise nearly anything
        raise DataError(
            f"{name} cannot be read as a table: {cut(error, 200) or type(error).__name__}"
        ) from error
    if not len(frame.columns) or not len(frame):
        raise DataError(f"{name} is empty: {len(frame)} rows, {len(frame.columns)} columns")
    frame.attrs = {"forms": notes.forms, "file": replace(notes.file, columns=tuple(frame.columns))}
    return frame, notes.sentences()


def is_table(path: Path) -> bool:
    """Whether a file looks like a table by its content, whatever its name is: Parquet, Arrow, or rows of text.

    Such rows have several cells each, nearly all of them as many.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
        if head.startswith((b"PAR1", b"ARROW1", b"FEA1")):
            return True
        with _opened(path, head) as stream:
            data = stream.read(_LOOK)
        if b"\0" in data and not any(data.startswith(bom) for bom, _ in _BOMS):
            return False
        look = _look(_as_utf8(bytearray(data), Notes()), len(data) < _LOOK, Notes())
    except Exception:  # what cannot be unpacked or decoded is none
        return False
    return look.width > 1 and sum(len(row) == look.width for row in look.rows) > 0.9 * len(look.rows) > 1


def _read(path: Path, like: Mapping[str, str], notes: Notes) -> DataFrame:
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(b"PAR1"):
        return _like_frame(_read_parquet(path), like, notes)
    if head.startswith((b"ARROW1", b"FEA1")) or path.suffix.lower() in (".feather", ".arrow"):
        return _like_frame(_read_arrow(path, head), like, notes)
    if path.suffix.lower() == ".parquet":
        raise DataError("not a Parquet file, or one cut off at its beginning")
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        raise DataError("an old Excel workbook (.xls); save it as .xlsx or .csv")
    if head.startswith(b"PK") and _is_workbook(path):
        return _columns_of(_sheet(path, like, notes), like, notes)
    if path.suffix.lower() == ".xlsx":
        raise DataError("not an Excel workbook, which is a zip archive with xl/workbook.xml")
    packed, inner = path.suffix.lower() in _PACKED[1:], path.with_suffix("").suffix.lower()
    is_json = (inner if packed else path.suffix.lower()) in (".json", ".jsonl", ".ndjson")
    if not is_json and not _packing(head) and (frame := _plain_numbers(path, like, notes)) is not None:
        return frame
    data = _as_utf8(_unpacked(path, head), notes)
    if is_json:
        return _columns_of(_json(data), like, notes)
    return _columns_of(_text(data, like, notes), like, notes)


# -- bytes


def _packing(head: bytes) -> str | None:
    """How bytes are packed, by how they begin."""
    marks = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ": "xz", b"PK": "zip", b"\x28\xb5\x2f\xfd": "zst"}
    return next((kind for mark, kind in marks.items() if head.startswith(mark)), None)


@contextmanager
def _opened(path: Path, head: bytes) -> Iterator[IO[bytes] | Any]:
    """The bytes in a file, unpacked as they are read."""
    match _packing(head):
        case "gz":
            stream: Any = gzip.open(path)
        case "bz2":
            stream = bz2.open(path)
        case "xz":
            stream = lzma.open(path)
        case "zst":
            import pyarrow

            stream = pyarrow.input_stream(str(path), compression="zstd")
        case "zip":
            with zipfile.ZipFile(path) as archive:
                inside = [
                    i for i in archive.infolist() if not i.is_dir() and not i.filename.startswith("__MACOSX")
                ]
                if len(inside) != 1:
                    names = listed(item.filename for item in inside) or "nothing"
                    raise DataError(f"an archive of {names}; unpack it, or keep one file in it")
                _check_size(inside[0].file_size)
                with archive.open(inside[0]) as member:
                    yield member
            return
        case _:
            _check_size(path.stat().st_size)
            stream = path.open("rb")
    with stream:
        yield stream


def _check_size(size: int, most: int | None = None) -> None:
    most = available_memory() // 4 if most is None else most
    if size > most:
        raise DataError(
            f"{size / MIB:,.0f} MiB or more, unpacked, of which {most / MIB:,.0f} can be read here; take a part, or "
            "write the table as Parquet"
        )


def _unpacked(path: Path, head: bytes) -> bytearray:
    """All bytes of a file of text; what is no text, or larger than memory allows, ends early."""
    most, data = available_memory() // 4, bytearray()
    with _opened(path, head) as stream:
        while block := stream.read(_BLOCK):
            data += block
            _check_size(len(data), most)
            if len(data) >= _LONGEST_LINE > len(data) - len(block) and not re.search(rb"[\r\n]", data):
                raise DataError(f"the first line has more than {_LONGEST_LINE // MIB} MiB; this is no table")
            if b"\0" in block and not any(data.startswith(bom) for bom, _ in _BOMS):
                raise DataError(
                    "bytes of zero: this is no text, or UTF-16 without its mark; save it as UTF-8"
                )
    return data


def _as_utf8(data: bytearray, notes: Notes) -> bytearray | bytes:
    """Text as UTF-8 without a byte order mark."""
    encoding = next((name for bom, name in _BOMS if data.startswith(bom)), None)
    if encoding == "utf-8":
        notes.file = replace(notes.file, encoding="utf-8-sig")
        del data[:3]
    elif encoding is not None:
        notes.say(f"encoding {encoding.upper()}")
        return data.decode(encoding).encode()
    try:
        if not data.isascii():
            data.decode()
        return data
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        notes.say(f"not UTF-8 (first in line {line}): read as Windows-1252, a kind of Latin-1")
        notes.file = replace(notes.file, encoding="cp1252")
        try:
            return data.decode("cp1252").encode()
        except UnicodeDecodeError:
            notes.file = replace(notes.file, encoding="latin-1")
            return data.decode("latin-1").encode()


# -- what a text file is like


@dataclass
class _Look:
    """What the beginning of a text file shows.

    Attributes:
        separator: Between cells; "blanks" for runs of blanks.
        start: Bytes before the first line of the table.
        lines: Lines there.
        rows: The first rows, the header among them if there is one.
        width: Cells of a row.
        spaced: Blanks follow each separator.
        decimals: Signs that certainly are decimal signs.
        comment: The last line at the top that begins with #, without it.
    """

    separator: str
    start: int
    lines: int
    rows: list[list[str]]
    width: int
    spaced: bool
    decimals: str
    comment: str | None = None

    @property
    def mark(self) -> str:
        """The separator of what a parser gets, where runs of blanks are tabs."""
        return "\t" if self.separator == _BLANKS else self.separator


def _split(text: str, separator: str, spaced: bool = False) -> list[list[str]]:
    """Up to 1,000 rows of cells."""
    if separator == _BLANKS:
        text, separator = _tabbed(text.encode()).decode(), "\t"
    reader, rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=spaced), []
    try:
        for row in reader:
            if row and (len(row) > 1 or row[0].strip()):
                rows.append(row)
            if len(rows) == _LOOK_ROWS:
                break
    except csv.Error as error:
        raise _unclosed(reader.line_num) from error
    return rows


def _unclosed(line: int) -> DataError:
    return DataError(
        f"line {line}: a quotation mark that is never closed, or a cell of more than {LONGEST:,} letters; mend it"
    )


def _tabbed(data: bytes | bytearray) -> bytes:
    """Text whose lines have a tab where they had a run of blanks outside quotation marks."""
    data = re.sub(rb"[ \t]+(?=[\r\n]|$)|(?:(?<=[\r\n])|^)[ \t]+", b"", data)
    if b'"' not in data:
        return re.sub(rb"[ \t]+", b"\t", data)
    return re.sub(rb'("[^"]*")|[ \t]+', lambda found: found[1] or b"\t", data)


def _look(data: bytes | bytearray, whole: bool, notes: Notes) -> _Look:
    """See what a text is like; `whole` if there is no more of it than these bytes."""
    size = _LOOK
    while size < len(data) and data.count(b"\n", 0, size) < 3 and size <= _LONGEST_LINE:
        size *= 4  # lines can be long
    whole = whole and size >= len(data)
    head = bytes(data[:size])
    text = head.decode("utf-8", errors="ignore")
    first = re.search(r"[\r\n]", text.lstrip())
    if not whole and first is None:
        raise DataError(f"the first line has more than {len(head) // MIB} MiB; this is no table")
    position, lines, comments, separators = 0, 0, [], _SEPARATORS
    while found := re.compile(r"(?: *|#[^\r\n]*|sep=(.))(?:\r\n|\r|\n|$)").match(text, position):
        if found.end() == position:
            break
        if found[0].startswith("#"):
            comments.append(found[0][1:].strip())
        separators = (found[1],) if found[1] in _SEPARATORS else separators  # Excel's first line
        position, lines = found.end(), lines + 1
    if comments:
        notes.say(f"{len(comments)} line{'s' * (len(comments) > 1)} of comment at the top passed over")
    text, start = text[position:], len(text[:position].encode())
    if not text.strip():
        raise DataError("empty: there is no row in it")
    best: tuple[float, str, list[list[str]], int, bool] | None = None
    for separator in separators:
        if separator == _BLANKS and best is not None and best[0] > 2.4:
            continue
        if separator != _BLANKS and separator not in text:
            continue
        rows = _split(text, separator)
        spaced = separator != _BLANKS and all(cell[:1] == " " for row in rows for cell in row[1:])
        rows = _split(text, separator, True) if spaced else rows
        if not whole and len(rows) > 1 and len(rows) < _LOOK_ROWS:
            rows.pop()  # cut in the middle
        below = rows[1:] or rows
        width, often = Counter(len(row) for row in below).most_common(1)[0]
        if width < 2 and len(rows[0]) < 2:
            continue
        values = _share_of_values(below, separator)
        if separator == _BLANKS and values <= 0.5:
            continue
        score = often / len(below) + (len(rows[0]) == width) / 2 + values
        if best is None or score > best[0]:
            best = (score, separator, rows, width, spaced)
    if best is None:
        rows = _split(text, ",")
        best = (0, ",", rows[:-1] if not whole and 1 < len(rows) < _LOOK_ROWS else rows, 1, False)
    _, separator, rows, width, spaced = best
    if max(width, len(rows[0])) > MOST_COLUMNS:
        raise DataError(
            f"{max(width, len(rows[0])):,} columns, of which {MOST_COLUMNS:,} can be read; save the numbers as .npy"
        )
    decimals = ""
    for mark in ".,":
        sure = re.compile(rf"[+-]?(\d*[{mark}](\d{{1,2}}|\d{{4,}})|\d{{4,}}[{mark}]\d+|0[{mark}]\d+)")
        if any(mark in cell and sure.fullmatch(cell.strip()) for row in rows for cell in row):
            decimals += mark
    return _Look(separator, start, lines, rows, width, spaced, decimals, comments[-1] if comments else None)


def _share_of_values(rows: Sequence[Sequence[str]], separator: str) -> float:
    """How many of the cells that are filled are numbers or dates."""
    commas = [] if separator == "," else [DECIMAL_COMMA, r"[+-]?\d{1,3}(\.\d{3})+(,\d+)?$"]
    patterns = [re.compile(p) for p in (NUMBER, DATE, *commas)]
    cells = [cell.strip() for row in rows[:200] for cell in row if cell.strip() not in MISSING]
    return sum(any(p.match(cell) for p in patterns) for cell in cells) / max(1, len(cells))


def _say_form(look: _Look, notes: Notes) -> None:
    notes.file = replace(notes.file, separator=look.mark)
    if look.separator not in (",", "\t") and look.width > 1:
        said = "runs of blanks" if look.separator == _BLANKS else repr(look.separator)
        notes.say(f"separator {said}")


# -- header


@dataclass
class _Table:
    """Texts of a table: names or None where there may be a header in the first row, columns, and how to read them."""

    names: list[str] | None
    columns: list[pa.ChunkedArray]
    numbers: list[bool] | None = None
    decimals: str = "."
    commas: bool = False


def _has_header(rows: Sequence[Sequence[str]], look: _Look, like: Mapping[str, str]) -> bool | None:
    """Whether the first of some rows names the columns; None if only all the rows can tell."""
    import pyarrow as pa

    first = [cell.strip() for cell in rows[0]]
    counted = [str(i) for i in range(len(first))]
    if set(like) == set(counted) != {""}:
        return first == counted
    if 2 * len(set(first) & set(like)) > len(first):
        return True
    if first == counted or (first[0] == "" and first[1:] == counted[:-1] and len(first) > 1):
        return True
    patterns = (NUMBER, DECIMAL_COMMA, DATE, r"(?i)true|false")
    numeric = [any(re.fullmatch(p, cell) for p in patterns) for cell in first]  # what is no name
    if all(numeric):
        return False
    word_over_values = number_over_values = False
    for i, cell in enumerate(first[:_LOOK_COLUMNS]):
        if cell in MISSING:
            number_over_values |= cell != ""  # no name
            continue
        cells = [row[i] for row in rows[1:] if i < len(row)]
        filled = [None if text.strip() in MISSING else text for text in cells]
        below = pa.chunked_array([pa.array(filled, pa.string())])
        if below.null_count == len(below):
            continue

        def kind(cells: pa.ChunkedArray) -> str:
            commas = look.separator != "," or look.decimals == ","
            dtype = read_cells(cells, "", Notes(), decimals=look.decimals, commas=commas).dtype
            return {"i": "number", "u": "number", "f": "number"}.get(dtype.kind, dtype.kind)

        under = kind(below)
        if under == "O":
            continue
        fits = kind(pa.chunked_array([pa.array([cell])])) == under
        word_over_values |= not fits
        number_over_values |= fits
    if word_over_values:
        return True
    return False if number_over_values or any(numeric) else None


def _header(table: _Table, first: list[str], rows: int, sure: bool | None, notes: Notes) -> list[str] | None:
    """Names of the columns, or None if the first row is a row like the others."""
    pc = compute()
    names = [cell.strip() for cell in first]
    if sure is None:  # words alone: a name does not occur below it
        sure = len(set(names)) == len(names) and rows > 1
        filled = [column.null_count < len(column) for column in table.columns]
        sure = sure and all(name or not cells for name, cells in zip(names[1:], filled[1:], strict=True))
        sure = sure and not any(
            pc.any(pc.equal(column.slice(1), cell)).as_py()
            for column, cell in zip(table.columns, first, strict=True)
        )
        if sure and rows > 1:
            notes.say(f"first line taken as names of the columns ({listed(names, 3)}), for none occurs below")
    if not sure:
        notes.say('no header: columns are named "0", "1", ...')
        return None
    return names


def _text(data: bytes | bytearray, like: Mapping[str, str], notes: Notes) -> _Table:
    """The cells of a text file."""
    look = _look(data, True, notes)
    first, width = look.rows[0], look.width
    separate = len(first) != width  # the header stands apart
    view: bytes | memoryview = memoryview(data)[look.start :]
    if look.separator == _BLANKS:
        view = _tabbed(bytes(view))
    if separate:
        view = memoryview(view)[_end_of_row(view, look) :]
    columns = _parse(view, look)
    # In cells of a file with commas between them a comma is in quotation marks, and no decimal sign beside points.
    table = _Table(None, columns, None, look.decimals, look.separator != "," or look.decimals == ",")
    if b'"' not in data and re.search(rb"\n[ \t]*\r?\n[ \t]*[^\s]", view):
        notes.say("blank lines between rows passed over")
    _say_form(look, notes)
    second = look.rows[1] if len(look.rows) > 1 else []
    if separate:
        table.names = _uneven(table, first, second, notes)
    else:
        sure = _has_header(look.rows, look, like)
        if not sure and look.comment is not None:
            named = _split(look.comment, look.separator)
            if len(named) == 1 and len(named[0]) == width > 1:
                notes.say("names of the columns are those in the last comment")
                table.names = [cell.strip() for cell in named[0]]
                return table
        rows = len(table.columns[0])
        alone = rows == 1 and sure is not False and not any(re.fullmatch(NUMBER, c.strip()) for c in first)
        if not alone:
            table.names = _header(table, first, rows, sure, notes)
        if table.names is not None:
            table.columns = [column.slice(1) for column in table.columns]
        if alone or not len(table.columns[0]):
            raise DataError(f"only a header ({cut(look.mark.join(first))}), no row")
    return table


def _uneven(table: _Table, first: list[str], second: list[str], notes: Notes) -> list[str]:
    """Names for rows that have one cell more or fewer than the header, where that says nothing else."""
    names = [cell.strip() for cell in first]
    if len(first) + 1 == len(second):
        if table.columns[-1].null_count == len(table.columns[-1]):
            notes.say("an empty last column, behind a separator at the end of each line, dropped")
            table.columns.pop()
            return names
        if _is_index(table.columns[0], counted=True):
            return ["", *names]
    if len(first) == len(second) + 1 and not names[-1]:
        return names[:-1]
    raise DataError(
        f"the header has {len(first)} cells and its rows {len(second)}: {cut('|'.join(first))!r} over "
        f"{cut('|'.join(second))!r} (here with | between cells); name each column once, and quote cells that contain "
        "the separator"
    )


def _is_index(column: pa.ChunkedArray, counted: bool = False) -> bool:
    """Whether the cells number the rows, each by its own; where `counted`, from 0 or 1 without a gap."""
    values = read_cells(column, "", Notes())
    if values.dtype != np.int64 or not values.is_unique or values.min() < 0:
        return False
    steps = values.to_numpy() - np.arange(len(values))
    return not counted or (len(values) > 1 and steps[0] in (0, 1) and bool((steps == steps[0]).all()))


def _end_of_row(view: bytes | memoryview, look: _Look) -> int:
    """Bytes of the first row with the end of its line."""
    text = bytes(view[: 4 * _LONGEST_LINE])
    reader = csv.reader(io.StringIO(text.decode("utf-8", errors="ignore"), newline=""), delimiter=look.mark)
    next(reader)
    ends = re.finditer(rb"\r\n|\r|\n", text)
    return next(itertools.islice(ends, reader.line_num - 1, None)).end()


def _parse(view: bytes | memoryview, look: _Look) -> list[pa.ChunkedArray]:
    """Columns of texts, null where a cell is empty.

    Raises:
        DataError: A row has more or fewer cells than others.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    names = [str(i) for i in range(look.width)]
    if look.spaced:
        after = re.compile(rb'("[^"]*")|(?<=' + re.escape(look.mark.encode()) + rb") +")
        view = after.sub(lambda found: found[1] or b"", view)
    data = memoryview(view)
    end = len(data)
    while end and (match := re.search(rb"[\r\n]+ *$", data[max(0, end - 200) : end])):
        end -= match.end() - match.start()
    data = data[:end]
    block = max(_BLOCK, 4 * max(sum(map(len, row)) + len(row) for row in look.rows))
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(pa.py_buffer(data)),
            arrow_csv.ReadOptions(column_names=names, block_size=min(block, 2**30)),
            arrow_csv.ParseOptions(delimiter=look.mark, newlines_in_values=bool(re.search(b'"', data))),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                check_utf8=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise _odd_row(data, look) or error from error
    if bytes(data).count(b'"') % 2 and (odd := _odd_row(data, look)):
        raise odd  # a quotation mark that nothing closes is no error of Arrow's
    return table.columns


def _odd_row(data: memoryview, look: _Look) -> DataError | None:
    """The error that names the first row of another number of cells; None if there is none."""
    lines = io.TextIOWrapper(io.BytesIO(data), newline="", encoding="utf-8")
    reader = csv.reader(lines, delimiter=look.mark, strict=True)
    ahead, last = look.lines + (len(look.rows[0]) != look.width), 0
    try:
        for row in reader:
            if row and len(row) != look.width:
                return DataError(
                    f"line {ahead + last + 1} has {len(row)} cells where others have {look.width}: "
                    f"{cut(look.mark.join(row))!r}; the lines before it begin {cut(look.mark.join(look.rows[0]))!r}; "
                    "give every row as many, and quote cells that contain the separator"
                )
            last = reader.line_num
    except csv.Error as error:
        if "expected after" in str(error):  # letters behind a closed quotation mark
            return None
        return _unclosed(ahead + last + 1)
    return None


# -- the short way of plain numbers


def _plain_numbers(path: Path, like: Mapping[str, str], notes: Notes) -> DataFrame | None:
    """A table of nothing but numbers, by pandas' own parser; None if there may be anything else in it.

    What pandas loses is looked for: leading zeros, digits beyond a float, whole numbers beside gaps, short lines.
    """
    import pandas as pd

    with path.open("rb") as file:
        head = file.read(_LOOK)
    if (
        len(head) < _LOOK
        or not head.isascii()
        or b'"' in head
        or b"\0" in head
        or set(like.values()) & {"text"}
    ):
        return None
    _check_size(path.stat().st_size)
    own = Notes()
    try:
        look = _look(head, False, own)
    except DataError:
        return None
    first, below = look.rows[0], look.rows[1:]
    pattern = re.compile(rf"(?!0\d){NUMBER[1:]}")
    if look.separator == _BLANKS or len(first) != look.width or look.spaced or look.comment is not None:
        return None
    if not below or not all(len(row) == look.width and all(map(pattern.match, row)) for row in below):
        return None
    header = _has_header(look.rows, look, like)
    if header is None or not all(first) or set(like.values()) - {"float64", "int64"}:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of types that differ between blocks, which are read anew
        try:
            frame = pd.read_csv(
                path,
                sep=look.separator,
                header=None,
                skiprows=look.lines + header,
                na_values=[""],
                keep_default_na=False,
                engine="c",
            )
        except ValueError:
            return None
    if any(dtype not in (np.int64, np.float64) for dtype in frame.dtypes) or len(frame.columns) != look.width:
        return None
    if frame.iloc[:, -1].isna().any():
        return None
    for _, column in frame.select_dtypes("float64").items():
        values = column.to_numpy()
        gaps = np.isnan(values)
        if np.abs(values).max(initial=0, where=~gaps) >= 2**53 or (
            gaps.any() and (values[~gaps] % 1 == 0).all()
        ):
            return None
    if (frame.dtypes == np.int64).any() and _zeros_lead(path, look.separator):
        return None
    _say_form(look, notes)
    names = [cell.strip() for cell in first] if header else None
    if not header:
        notes.say('no header: columns are named "0", "1", ...')
    frame.columns = _checked_names(names, look.width, notes)
    for i, (column, dtype) in enumerate(frame.dtypes.items()):
        if dtype == np.float64:
            notes.forms[str(column)] = of_numbers([row[i] for row in below if row[i]]), ""
    for column, kind in like.items():
        if kind == "float64" and column in frame:
            frame[column] = frame[column].astype("float64")
    return frame


def _zeros_lead(path: Path, separator: str) -> bool:
    """Whether some cell begins with a zero and another digit, or is a rare one that looks so, like 0e5."""
    with path.open("rb") as file:
        kept = b"\n"
        while block := file.read(MIB // 2):  # stays in the cache
            a = np.frombuffer(kept + block, np.uint8)
            zero = a[1:-1] == ord("0")
            if (
                separator in ",\t"
            ):  # all that ends a cell or begins one has a code below those of digits, "-" and "."
                zero &= a[2:] >= ord("0")
                zero &= a[:-2] < ord("-")
            else:
                zero &= a[2:] - np.uint8(ord("0")) < 10
                zero &= (a[:-2] == ord(separator)) | (a[:-2] < ord("-"))
            if zero.any():
                return True
            kept = block[-2:]
    return False


# -- texts to columns


def _checked_names(names: list[str] | None, width: int, notes: Notes) -> list[str]:
    """A name for each column, each once."""
    if names is None:
        return [str(i) for i in range(width)]
    empty = [i for i, name in enumerate(names) if not name]
    names = [name or f"Unnamed: {i}" for i, name in enumerate(names)]
    if empty:
        notes.say(f"without a name in the header, so called {listed(names[i] for i in empty)}")
    _refuse_twice(names)
    return names


def _refuse_twice(names: Iterable[str]) -> None:
    """Raise a DataError if two columns have one name."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"several columns are called {listed(twice)}; rename them")


def _columns_of(table: _Table, like: Mapping[str, str], notes: Notes) -> DataFrame:
    """The values of a table of texts."""
    import pandas as pd

    names, columns, numbers = table.names, table.columns, table.numbers or [True] * len(table.columns)
    if (names is None or not names[-1]) and len(columns) > 1 and columns[-1].null_count == len(columns[-1]):
        names, columns = names and names[:-1], columns[:-1]
        notes.say("an empty last column without a name, behind a separator at the end of each line, dropped")
    unnamed = names is not None and len(names) > 1 and names[0] in ("", "Unnamed: 0") and names[0] not in like
    if names is not None and unnamed and _is_index(columns[0]):
        names, columns, numbers = names[1:], columns[1:], numbers[1:]
        notes.say("a first column without a name that numbers the rows dropped")
    names = _checked_names(names, len(columns), notes)
    series, wrong = {}, []
    for name, column, number in zip(names, columns, numbers, strict=False):
        how = {"decimals": table.decimals, "commas": table.commas, "numbers": number}
        try:
            series[name] = read_cells(column, name, notes, like.get(name), **how)
        except DataError as error:
            wrong.append(str(error))
    if wrong:
        raise DataError("; ".join(wrong[:4]) + (f"; and {len(wrong) - 4} more columns" if wrong[4:] else ""))
    return pd.DataFrame(series)


def _of_rows(rows: Sequence[Sequence[Any]], width: int) -> tuple[list[pa.ChunkedArray], list[bool]]:
    """Columns of texts from cells that have types, and which of them are more than words throughout."""
    import pyarrow as pa

    columns, numbers = [], []
    for i in range(width):
        cells = [row[i] if i < len(row) else None for row in rows]
        filled = [cell for cell in cells if cell is not None]
        numbers.append(not filled or not all(isinstance(cell, str) for cell in filled))
        columns.append(pa.chunked_array([pa.array(list(map(_as_text, cells)), pa.string())]))
    return columns, numbers


def _as_text(cell: Any) -> str | None:
    if cell is None or cell == "":
        return None
    return str(cell).lower() if isinstance(cell, bool) else str(cell)


# -- files with types of their own


def _json(data: bytes | bytearray) -> _Table:
    """Records in a list or one a line, or an object of columns."""
    text = data.decode()
    if not text.strip():
        raise DataError("empty: there is no record in it")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            raise DataError(
                f"a record has two values for {listed(k for k, n in Counter(k for k, _ in pairs).items() if n > 1)}"
            )
        return made

    try:
        whole = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError:
        whole = []
        for i, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    whole.append(json.loads(line, object_pairs_hook=once))
                except json.JSONDecodeError as error:
                    raise DataError(f"line {i} is no JSON: {cut(error)}; its text: {cut(line)!r}") from error
    if isinstance(whole, dict) and any(isinstance(value, (list, dict)) for value in whole.values()):
        lists = {k: list(v.values()) if isinstance(v, dict) else v for k, v in whole.items()}
        lengths = {k: len(v) if isinstance(v, list) else -1 for k, v in lists.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"columns of unlike lengths: {cut(lengths, 200)}")
        names, rows = list(lists), list(zip(*lists.values(), strict=True))
    else:
        records = [whole] if isinstance(whole, dict) else whole
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise DataError("neither records ([{...}, ...], or one {...} a line) nor an object of columns")
        if not any(records):
            raise DataError("empty: there is no record in it")
        names = list(dict.fromkeys(name for record in records for name in record))
        rows = [[record.get(name) for name in names] for record in records]
    nested = [name for i, name in enumerate(names) if any(isinstance(row[i], (list, dict)) for row in rows)]
    if nested:
        raise DataError(f"lists or objects in {listed(nested)}; a table has one number or word in a cell")
    if len(names) > MOST_COLUMNS:
        raise DataError(f"{len(names):,} columns, of which {MOST_COLUMNS:,} can be read")
    columns, numbers = _of_rows(rows, len(names))
    return _Table(names, columns, numbers)


def _is_workbook(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return "xl/workbook.xml" in archive.namelist()


def _sheet(path: Path, like: Mapping[str, str], notes: Notes) -> _Table:
    """The only sheet of a workbook that has cells."""
    try:
        import openpyxl
    except ImportError as error:
        raise ConfigError("Excel workbooks need openpyxl, which is missing: pip install openpyxl") from error

    with zipfile.ZipFile(path) as archive:
        _check_size(
            16 * sum(item.file_size for item in archive.infolist())
        )  # a cell takes more than its letters
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of styles, and of whatever else is not cells
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        sheets = {}
        for sheet in book.worksheets:
            rows = [row for row in sheet.iter_rows(values_only=True) if any(cell is not None for cell in row)]
            if rows:
                sheets[sheet.title] = rows
        book.close()
    if len(sheets) != 1:
        named = f"{len(sheets)} sheets with cells, {listed(sheets)}" if sheets else "no sheet with cells"
        raise DataError(f"{named}; keep one of them in the workbook, or save one as .csv")
    (rows,) = sheets.values()
    width = max(i for row in rows for i, cell in enumerate(row, 1) if cell is not None)
    rows = [[_error_gone(cell) for cell in row[:width]] for row in rows]
    texts = [[_as_text(cell) or "" for cell in row] for row in rows[:_LOOK_ROWS]]
    table = _Table(None, *_of_rows(rows, width))
    sure = _has_header(texts, _Look("\t", 0, 0, texts, width, False, "."), like)
    table.names = _header(table, texts[0], len(rows), sure, notes)
    if table.names is not None:
        table.columns, table.numbers = _of_rows(rows[1:], width)
    return table


def _error_gone(cell: Any) -> Any:
    """A cell of a sheet; what Excel shows in place of a number it has not is missing."""
    return (
        "#N/A"
        if isinstance(cell, str) and re.fullmatch(r"#(N/A|DIV/0!|NUM!|VALUE!|REF!|NAME\?|NULL!)", cell)
        else cell
    )


def _read_parquet(path: Path) -> DataFrame:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        meta = file.metadata
        least = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
        _check_size(max(least, meta.num_rows * max(1, len(file.schema_arrow))))
        _refuse_twice(file.schema_arrow.names)
        return file.read().to_pandas()


def _read_arrow(path: Path, head: bytes) -> DataFrame:
    import pyarrow as pa
    from pyarrow import feather

    if head.startswith(b"FEA1"):
        return feather.read_feather(path)
    with pa.memory_map(str(path)) as source:
        reader = pa.ipc.open_file(source) if head.startswith(b"ARROW1") else pa.ipc.open_stream(source)
        many = reader.num_record_batches if head.startswith(b"ARROW1") else None
        most, size, batches = available_memory() // 4, 0, []
        for batch in (reader.get_batch(i) for i in range(many)) if many is not None else reader:
            size += batch.nbytes
            _check_size(size, most)
            batches.append(batch)
        return pa.Table.from_batches(batches, reader.schema).to_pandas()


def _like_frame(frame: DataFrame, like: Mapping[str, str], notes: Notes) -> DataFrame:
    """A frame with types of its own, of which those columns are read anew that are not of the kind in `like`."""
    import pandas as pd
    import pyarrow as pa

    if not isinstance(frame.index, pd.RangeIndex):
        notes.say(f"the index of the frame ({listed(map(str, frame.index.names), 3)}) is passed over")
        frame = frame.reset_index(drop=True)
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    _refuse_twice(frame.columns)
    types = pd.api.types
    fits = {
        "float64": lambda t: types.is_numeric_dtype(t) and not types.is_bool_dtype(t),
        "int64": lambda t: types.is_numeric_dtype(t) and not types.is_bool_dtype(t),
        "bool": types.is_bool_dtype,
        "datetime": types.is_datetime64_any_dtype,
        "text": lambda t: (
            types.is_object_dtype(t) or types.is_string_dtype(t) or isinstance(t, pd.CategoricalDtype)
        ),
    }
    for name, kind in like.items():
        if name in frame and not fits[kind](frame[name].dtype):
            cells = frame[name].astype(object).where(frame[name].notna(), None)
            texts = pa.chunked_array([pa.array(list(map(_as_text, cells)), pa.string())])
            frame[name] = read_cells(texts, name, notes, kind, commas=False)
    return frame


def original_frame(source: Any) -> DataFrame:
    """All columns of a table, those too that are no part of x, as they are in the source: a path or a DataFrame."""
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        return source.copy()
    from .files import find

    path = Path(source).expanduser()
    found = find(path)
    paths = [path] if found is None else [file for part in found.parts for file in part]
    return pd.concat([read_frame_file(file)[0] for file in paths], ignore_index=True)
