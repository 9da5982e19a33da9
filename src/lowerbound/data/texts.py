"""Files of text as tables of texts: bytes, their encoding, the separator, a header or none, and the cells.

A file that memory does not hold goes the same way with its bytes and cells on disk, in a folder for the time being:
what is mapped from there is read like bytes in memory.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import itertools
import lzma
import mmap
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError
from .cells import DATE, DECIMAL_COMMA, LONGEST, MISSING, NUMBER, Notes, compute, cut, listed, read_cells
from .memory import MIB, available_memory

if TYPE_CHECKING:
    import pyarrow as pa

MOST_COLUMNS = 2**16
LOOK = 256 * 1024  # bytes at the beginning that show what a file is like
LOOK_ROWS = 1000
_LOOK_COLUMNS = 200
_BLOCK = 4 * MIB
_LONGEST_LINE = 16 * MIB
_COPIES = 6  # so many times its size a file can take on disk as texts, columns and examples
BLANKS = "blanks"
_SEPARATORS = ("\t", ";", "|", ",", BLANKS)  # of two that do equally well the first
BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like the one of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NOT_1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
Buffer = bytes | bytearray | memoryview  # of a file that is mapped a memoryview


class TooLargeError(DataError):
    """A table is larger than memory allows."""


# -- bytes


def packing(head: bytes) -> str | None:
    """How bytes are packed, by how they begin."""
    marks = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ": "xz", b"PK": "zip", b"\x28\xb5\x2f\xfd": "zst"}
    return next((kind for mark, kind in marks.items() if head.startswith(mark)), None)


@contextmanager
def opened(path: Path, head: bytes) -> Iterator[IO[bytes] | Any]:
    """The bytes in a file, unpacked as they are read."""
    match packing(head):
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
                with archive.open(inside[0]) as member:
                    yield member
            return
        case _:
            stream = path.open("rb")
    with stream:
        yield stream


def check_size(size: int, most: int | None = None) -> None:
    """Raise a TooLargeError of so many bytes, unless so many are allowed: by default a quarter of the memory."""
    most = available_memory() // 4 if most is None else most
    if size > most:
        raise TooLargeError(
            f"{size / MIB:,.0f} MiB or more, unpacked, of which {most / MIB:,.0f} can be read here; take a part, or "
            "write the table as Parquet"
        )


def _blocks(path: Path, head: bytes, most: int | None) -> Iterator[bytes]:
    """The bytes of a file of text, unpacked, `most` at most; what is no text ends early."""
    size, lines, marked = 0, False, any(head.startswith(bom) for bom, _ in BOMS)
    with opened(path, head) as stream:
        while block := stream.read(_BLOCK):
            if not size and packing(head):
                marked = any(block.startswith(bom) for bom, _ in BOMS)
            size += len(block)
            if most is not None:
                check_size(size, most)
            lines = lines or re.search(rb"[\r\n]", block) is not None
            if size >= _LONGEST_LINE and not lines:
                raise DataError(f"the first line has more than {_LONGEST_LINE // MIB} MiB; this is no table")
            if not marked and b"\0" in block:
                raise DataError(
                    "bytes of zero: this is no text, or UTF-16 without its mark; save it as UTF-8"
                )
            yield block


def unpacked(path: Path, head: bytes) -> bytearray:
    """All bytes of a file of text.

    Raises:
        TooLargeError: They take more than a quarter of the memory.
        DataError: They are no text.
    """
    data = bytearray()
    check_size(path.stat().st_size if packing(head) is None else 0)
    for block in _blocks(path, head, available_memory() // 4):
        data += block
    return data


def mapped(path: Path, head: bytes, folder: Path, notes: Notes) -> memoryview:
    """All bytes of a file of text as UTF-8, mapped: the file itself, or what is written into a folder."""
    most = shutil.disk_usage(folder).free // _COPIES
    if packing(head) is None:
        check_size(path.stat().st_size, most)
        for _ in _blocks(path, head, None):  # is it text?
            pass
    else:
        path = _written(folder / "unpacked", _blocks(path, head, most))

    def read() -> Iterator[bytes]:
        with path.open("rb") as file:
            yield from iter(lambda: file.read(_BLOCK), b"")

    encoding, start = _encoding_of(read, notes)
    if encoding != "utf-8":
        with path.open(encoding=encoding, newline="") as text:
            pieces = iter(lambda: text.read(_BLOCK), "")
            path, start = _written(folder / "utf-8", (piece.encode() for piece in pieces)), 0
    return _view(path)[start:]


def _written(path: Path, blocks: Iterable[bytes]) -> Path:
    with path.open("wb") as file:
        file.writelines(blocks)
    return path


def _view(path: Path) -> memoryview:
    """The bytes of a file, mapped."""
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def as_utf8(data: bytearray, notes: Notes) -> bytearray | bytes:
    """Text as UTF-8 without a byte order mark."""
    encoding, start = _encoding_of(lambda: iter([data]), notes)
    if encoding != "utf-8":
        return data.decode(encoding).encode()
    del data[:start]
    return data


def _encoding_of(read: Callable[[], Iterator[bytes | bytearray]], notes: Notes) -> tuple[str, int]:
    """The encoding of bytes that can be read block by block, and how many of them are a mark that is left over."""
    first = next(read(), b"")
    encoding = next((name for bom, name in BOMS if first.startswith(bom)), None)
    if encoding not in (None, "utf-8"):
        notes.say(f"encoding {encoding.upper()}")
        return encoding, 0
    decoder, lines = codecs.getincrementaldecoder("utf-8")(), 0
    try:
        for block in read():
            if not block.isascii() or decoder.getstate()[0]:
                decoder.decode(block)
            lines += block.count(b"\n")
        decoder.decode(b"", True)
    except UnicodeDecodeError as error:
        line = lines + error.object.count(b"\n", 0, error.start) + 1
        notes.say(f"not UTF-8 (first in line {line}): read as Windows-1252, a kind of Latin-1")
        latin = any(_NOT_1252.search(block) for block in read())
        notes.file = replace(notes.file, encoding="latin-1" if latin else "cp1252")
        return notes.file.encoding, 0
    if encoding:
        notes.file = replace(notes.file, encoding="utf-8-sig")
    return "utf-8", 3 if encoding else 0


def _rewritten(view: Buffer, work: Callable[[bytes], bytes], folder: Path | None, name: str) -> Buffer:
    """Text each of whose lines is changed: in memory, or in a file of this name, some lines at a time."""
    if folder is None:
        return work(bytes(view))

    def pieces() -> Iterator[bytes]:
        start, length = 0, _BLOCK
        while start < len(view):
            piece = bytes(view[start : start + length])
            last = start + len(piece) == len(view)
            end = len(piece) if last else piece.rfind(b"\n") + 1
            while not last and end and piece.count(b'"', 0, end) % 2:  # a line end in a cell
                end = piece.rfind(b"\n", 0, end - 1) + 1
            length = _BLOCK if end else 2 * length
            start += end
            if end:
                yield work(piece[:end])

    return _view(_written(folder / name, pieces()))


def _quotes(view: Buffer) -> int:
    """How many quotation marks there are."""
    return sum(bytes(view[i : i + _BLOCK]).count(b'"') for i in range(0, len(view), _BLOCK))


# -- what a text file is like


@dataclass
class Look:
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
        return "\t" if self.separator == BLANKS else self.separator


def _split(text: str, separator: str, spaced: bool = False) -> list[list[str]]:
    """Up to 1,000 rows of cells."""
    if separator == BLANKS:
        text, separator = _tabbed(text.encode()).decode(), "\t"
    reader, rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=spaced), []
    try:
        for row in reader:
            if row and (len(row) > 1 or row[0].strip()):
                rows.append(row)
            if len(rows) == LOOK_ROWS:
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


def look_at(data: Buffer, whole: bool, notes: Notes) -> Look:
    """See what a text is like; `whole` if there is no more of it than these bytes."""
    size = LOOK
    while size < len(data) and bytes(data[:size]).count(b"\n") < 3 and size <= _LONGEST_LINE:
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
        if separator == BLANKS and best is not None and best[0] > 2.4:
            continue
        if separator != BLANKS and separator not in text:
            continue
        rows = _split(text, separator)
        spaced = separator != BLANKS and all(cell[:1] == " " for row in rows for cell in row[1:])
        rows = _split(text, separator, True) if spaced else rows
        if not whole and len(rows) > 1 and len(rows) < LOOK_ROWS:
            rows.pop()  # cut in the middle
        below = rows[1:] or rows
        width, often = Counter(len(row) for row in below).most_common(1)[0]
        if width < 2 and len(rows[0]) < 2:
            continue
        values = _share_of_values(below, separator)
        if separator == BLANKS and values <= 0.5:
            continue
        score = often / len(below) + (len(rows[0]) == width) / 2 + values
        if best is None or score > best[0]:
            best = (score, separator, rows, width, spaced)
    if best is None:
        rows = _split(text, ",")
        best = (0, ",", rows[:-1] if not whole and 1 < len(rows) < LOOK_ROWS else rows, 1, False)
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
    return Look(separator, start, lines, rows, width, spaced, decimals, comments[-1] if comments else None)


def _share_of_values(rows: Sequence[Sequence[str]], separator: str) -> float:
    """How many of the cells that are filled are numbers or dates."""
    commas = [] if separator == "," else [DECIMAL_COMMA, r"[+-]?\d{1,3}(\.\d{3})+(,\d+)?$"]
    patterns = [re.compile(p) for p in (NUMBER, DATE, *commas)]
    cells = [cell.strip() for row in rows[:200] for cell in row if cell.strip() not in MISSING]
    return sum(any(p.match(cell) for p in patterns) for cell in cells) / max(1, len(cells))


def say_form(look: Look, notes: Notes) -> None:
    """Keep how a file is written, and say what is unusual of it."""
    notes.file = replace(notes.file, separator=look.mark)
    if look.separator not in (",", "\t") and look.width > 1:
        said = "runs of blanks" if look.separator == BLANKS else repr(look.separator)
        notes.say(f"separator {said}")


# -- header


@dataclass
class TextTable:
    """Texts of a table: names or None where there may be a header in the first row, columns, and how to read them."""

    names: list[str] | None
    columns: list[pa.ChunkedArray]
    numbers: list[bool] | None = None
    decimals: str = "."
    commas: bool = False


def has_header(rows: Sequence[Sequence[str]], look: Look, like: Mapping[str, str]) -> bool | None:
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


def header_of(
    table: TextTable, first: list[str], rows: int, sure: bool | None, notes: Notes
) -> list[str] | None:
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


def read_text(data: Buffer, like: Mapping[str, str], notes: Notes, folder: Path | None = None) -> TextTable:
    """The cells of a text file, on disk if a folder is given for that."""
    look = look_at(data, True, notes)
    first, width = look.rows[0], look.width
    separate = len(first) != width  # the header stands apart
    view: Buffer = memoryview(data)[look.start :]
    if look.separator == BLANKS:
        view = _rewritten(view, _tabbed, folder, "tabs")
    if separate:
        view = memoryview(view)[_end_of_row(view, look) :]
    columns = _parse(view, look, folder)
    # In cells of a file with commas between them a comma is in quotation marks, and no decimal sign beside points.
    table = TextTable(None, columns, None, look.decimals, look.separator != "," or look.decimals == ",")
    if not re.search(b'"', data) and re.search(rb"\n[ \t]*\r?\n[ \t]*[^\s]", view):
        notes.say("blank lines between rows passed over")
    say_form(look, notes)
    second = look.rows[1] if len(look.rows) > 1 else []
    if separate:
        table.names = _uneven(table, first, second, notes)
    else:
        sure = has_header(look.rows, look, like)
        if not sure and look.comment is not None:
            named = _split(look.comment, look.separator)
            if len(named) == 1 and len(named[0]) == width > 1:
                notes.say("names of the columns are those in the last comment")
                table.names = [cell.strip() for cell in named[0]]
                return table
        rows = len(table.columns[0])
        alone = rows == 1 and sure is not False and not any(re.fullmatch(NUMBER, c.strip()) for c in first)
        if not alone:
            table.names = header_of(table, first, rows, sure, notes)
        if table.names is not None:
            table.columns = [column.slice(1) for column in table.columns]
        if alone or not len(table.columns[0]):
            raise DataError(f"only a header ({cut(look.mark.join(first))}), no row")
    return table


def _uneven(table: TextTable, first: list[str], second: list[str], notes: Notes) -> list[str]:
    """Names for rows that have one cell more or fewer than the header, where that says nothing else."""
    names = [cell.strip() for cell in first]
    if len(first) + 1 == len(second):
        if table.columns[-1].null_count == len(table.columns[-1]):
            notes.say("an empty last column, behind a separator at the end of each line, dropped")
            table.columns.pop()
            return names
        if is_index(table.columns[0], counted=True):
            return ["", *names]
    if len(first) == len(second) + 1 and not names[-1]:
        return names[:-1]
    raise DataError(
        f"the header has {len(first)} cells and its rows {len(second)}: {cut('|'.join(first))!r} over "
        f"{cut('|'.join(second))!r} (here with | between cells); name each column once, and quote cells that contain "
        "the separator"
    )


def is_index(column: pa.ChunkedArray, counted: bool = False) -> bool:
    """Whether the cells number the rows, each by its own; where `counted`, from 0 or 1 without a gap."""
    values = read_cells(column, "", Notes())
    if values.dtype != np.int64 or not values.is_unique or values.min() < 0:
        return False
    steps = values.to_numpy() - np.arange(len(values))
    return not counted or (len(values) > 1 and steps[0] in (0, 1) and bool((steps == steps[0]).all()))


def _end_of_row(view: Buffer, look: Look) -> int:
    """Bytes of the first row with the end of its line."""
    text = bytes(view[: 4 * _LONGEST_LINE])
    reader = csv.reader(io.StringIO(text.decode("utf-8", errors="ignore"), newline=""), delimiter=look.mark)
    next(reader)
    ends = re.finditer(rb"\r\n|\r|\n", text)
    return next(itertools.islice(ends, reader.line_num - 1, None)).end()


def _parse(view: Buffer, look: Look, folder: Path | None) -> list[pa.ChunkedArray]:
    """Columns of texts, null where a cell is empty; mapped if a folder is given, where they are written.

    Raises:
        DataError: A row has more or fewer cells than others.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    names = [str(i) for i in range(look.width)]
    if look.spaced:
        after = re.compile(rb'("[^"]*")|(?<=' + re.escape(look.mark.encode()) + rb") +")
        view = _rewritten(
            view, lambda text: after.sub(lambda found: found[1] or b"", text), folder, "unspaced"
        )
    data = memoryview(view)
    end = len(data)
    while end and (match := re.search(rb"[\r\n]+ *$", bytes(data[max(0, end - 200) : end]))):
        end -= match.end() - match.start()
    data = data[:end]
    quotes = _quotes(data)
    block = max(_BLOCK, 4 * max(sum(map(len, row)) + len(row) for row in look.rows))
    options = (
        arrow_csv.ReadOptions(column_names=names, block_size=min(block, 2**30)),
        arrow_csv.ParseOptions(delimiter=look.mark, newlines_in_values=quotes > 0),
        arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            check_utf8=False,
        ),
    )
    source = pa.BufferReader(pa.py_buffer(data))
    try:
        if folder is None:
            table = arrow_csv.read_csv(source, *options)
        else:
            with (
                arrow_csv.open_csv(source, *options) as reader,
                pa.ipc.new_file(str(folder / "cells"), reader.schema) as file,
            ):
                for batch in reader:
                    file.write_batch(batch)
            table = pa.ipc.open_file(pa.memory_map(str(folder / "cells"))).read_all()
    except pa.ArrowInvalid as error:
        raise _odd_row(data, look) or error from error
    if quotes % 2 and (odd := _odd_row(data, look)):
        raise odd  # a quotation mark that nothing closes is no error of Arrow's
    return table.columns


def _odd_row(data: memoryview, look: Look) -> DataError | None:
    """The error that names the first row of another number of cells; None if there is none."""
    import pyarrow as pa

    source: Any = pa.BufferReader(pa.py_buffer(data))
    lines = io.TextIOWrapper(source, newline="", encoding="utf-8")
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
