"""Files of tables as people have them, read into a pandas DataFrame of honest types.

All cells of a file of text are read as texts (`texts`), whose columns `cells` turns into values. Two ways are shorter
where that changes nothing: a table of plain numbers goes to pandas' parser, and Parquet and Feather have types of
their own.
"""

from __future__ import annotations

import json
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..errors import ConfigError, DataError, LowerboundError
from .cells import NUMBER, Notes, check_like, cut, listed, read_cells
from .forms import of_numbers
from .memory import MIB, available_memory
from .spill import Spilled
from .texts import (
    BLANKS,
    BOMS,
    LOOK,
    LOOK_ROWS,
    MOST_COLUMNS,
    Look,
    TextTable,
    TooLargeError,
    as_utf8,
    check_size,
    has_header,
    header_of,
    is_index,
    look_at,
    mapped,
    opened,
    packing,
    read_text,
    say_form,
    unpacked,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from pandas import DataFrame

_TEXTS = (".csv", ".tsv", ".txt", ".data", ".tab", ".json", ".jsonl", ".ndjson")
_PACKED = ("", ".gz", ".bz2", ".xz", ".zip", ".zst")
TABLE_SUFFIXES = (
    *(text + packed for packed in _PACKED for text in _TEXTS),
    *(".feather", ".arrow", ".xlsx", ".parquet"),
)
Gaps = Callable[[str], tuple[str, ...]] | None
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
    frame, notes = read_columns(path, like, False)
    return cast("DataFrame", frame), notes


def read_columns(
    path: Path,
    like: Mapping[str, str] | None,
    stream: bool | None,
    folder: Path | None = None,
    gaps: Gaps = None,
) -> tuple[DataFrame | Spilled, list[str]]:
    """As `read_frame_file`, but the columns of a file of text can stay on disk, in a folder for the time being.

    Args:
        path: The file.
        like: Types of columns by name.
        stream: Whether they do; None if they are more than a quarter of the memory.
        folder: Where that is.
        gaps: Gives by its name what says that a cell of a column is empty, besides the usual words.
    """
    for kind in set((like or {}).values()):
        check_like(kind)
    notes, name = Notes(), cut(path, 200)
    try:
        if not path.is_file():
            raise DataError(f"{name} is no file; give the path of a table")
        frame = _read(path, like or {}, notes, stream, folder, gaps)
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
    frame.attrs = {  # pyright: ignore[reportAttributeAccessIssue]
        "forms": notes.forms,
        "file": replace(notes.file, columns=tuple(frame.columns)),
    }
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
        with opened(path, head) as stream:
            data = stream.read(LOOK)
        if b"\0" in data and not any(data.startswith(bom) for bom, _ in BOMS):
            return False
        look = look_at(as_utf8(bytearray(data), Notes()), len(data) < LOOK, Notes())
    except Exception:  # what cannot be unpacked or decoded is none
        return False
    return look.width > 1 and sum(len(row) == look.width for row in look.rows) > 0.9 * len(look.rows) > 1


def _read(
    path: Path,
    like: Mapping[str, str],
    notes: Notes,
    stream: bool | None,
    folder: Path | None,
    gaps: Gaps,
) -> DataFrame | Spilled:
    with path.open("rb") as file:
        head = file.read(8)
    packed, inner = path.suffix.lower() in _PACKED[1:], path.with_suffix("").suffix.lower()
    is_json = (inner if packed else path.suffix.lower()) in (".json", ".jsonl", ".ndjson")
    typed = head.startswith((b"PAR1", b"ARROW1", b"FEA1")) or path.suffix.lower() in (
        ".arrow",
        ".feather",
        ".xlsx",
    )
    if stream and (is_json or typed):
        raise ConfigError(
            "stream=True is for tables of text, .npy, .parquet and .tar; leave it out, or write one"
        )
    if head.startswith(b"PAR1"):
        return _like_frame(_read_parquet(path), like, notes)
    if head.startswith((b"ARROW1", b"FEA1")) or path.suffix.lower() in (".feather", ".arrow"):
        return _like_frame(_read_arrow(path, head), like, notes)
    if path.suffix.lower() == ".parquet":
        raise DataError("not a Parquet file, or one cut off at its beginning")
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        raise DataError("an old Excel workbook (.xls); save it as .xlsx or .csv")
    if head.startswith(b"PK") and _is_workbook(path):
        return _columns_of(_sheet(path, like, notes), like, notes, gaps)
    if path.suffix.lower() == ".xlsx":
        raise DataError("not an Excel workbook, which is a zip archive with xl/workbook.xml")
    try:
        if stream:
            raise TooLargeError("it is to be streamed")
        plain = None if is_json or gaps or packing(head) else _plain_numbers(path, like, notes)
        if plain is not None:
            return plain
        data = as_utf8(unpacked(path, head), notes)
        return _columns_of(_json(data) if is_json else read_text(data, like, notes), like, notes, gaps)
    except TooLargeError as error:
        # Of what is packed nobody knows how large it will be.
        if is_json or folder is None or stream is False or (packing(head) and not stream):
            told = "; stream=True reads it by way of a copy on disk" if folder and stream is None else ""
            raise TooLargeError(f"{error}{told}") from error
        notes.say(f"read by way of temporary files in {folder.parent}, where a copy of the examples stays")
        table = read_text(mapped(path, head, folder, notes), like, notes, folder)
        return _columns_of(table, like, notes, gaps, folder)


# -- the short way of plain numbers


def _plain_numbers(path: Path, like: Mapping[str, str], notes: Notes) -> DataFrame | None:
    """A table of nothing but numbers, by pandas' own parser; None if there may be anything else in it.

    What pandas loses is looked for: leading zeros, digits beyond a float, whole numbers beside gaps, short lines.
    """
    import pandas as pd

    with path.open("rb") as file:
        head = file.read(LOOK)
    if (
        len(head) < LOOK
        or not head.isascii()
        or b'"' in head.partition(b"\n")[2]  # names are often in quotation marks, numbers hardly ever
        or b"\0" in head
        or set(like.values()) & {"text"}
    ):
        return None
    check_size(path.stat().st_size)
    own = Notes()
    try:
        look = look_at(head, False, own)
    except DataError:
        return None
    first, below = look.rows[0], look.rows[1:]
    pattern = re.compile(rf"(?!0\d){NUMBER[1:]}")
    if look.separator == BLANKS or len(first) != look.width or look.spaced or look.comment is not None:
        return None
    if not below or not all(len(row) == look.width and all(map(pattern.match, row)) for row in below):
        return None
    header = has_header(look.rows, look, like)
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
        largest = max(np.fmax.reduce(values), -np.fmin.reduce(values))
        if largest >= 2**53 or (gaps.any() and (values[~gaps] % 1 == 0).all()):
            return None
    if (frame.dtypes == np.int64).any() and _zeros_lead(path, look.separator):
        return None
    say_form(look, notes)
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


def _columns_of(
    table: TextTable, like: Mapping[str, str], notes: Notes, gaps: Gaps, folder: Path | None = None
) -> DataFrame | Spilled:
    """The values of a table of texts, on disk if a folder is given for that."""
    import pandas as pd

    names, columns, numbers = table.names, table.columns, table.numbers or [True] * len(table.columns)
    if (names is None or not names[-1]) and len(columns) > 1 and columns[-1].null_count == len(columns[-1]):
        names, columns = names and names[:-1], columns[:-1]
        notes.say("an empty last column without a name, behind a separator at the end of each line, dropped")
    unnamed = names is not None and len(names) > 1 and names[0] in ("", "Unnamed: 0") and names[0] not in like
    if names is not None and unnamed and is_index(columns[0]):
        names, columns, numbers = names[1:], columns[1:], numbers[1:]
        notes.say("a first column without a name that numbers the rows dropped")
    names = _checked_names(names, len(columns), notes)
    series: Any = {} if folder is None else Spilled(folder)
    wrong = []
    for name, column, number in zip(names, columns, numbers, strict=False):
        how: Any = {"decimals": table.decimals, "commas": table.commas, "numbers": number}
        try:
            series[name] = read_cells(
                column, name, notes, like.get(name), **how, gaps=gaps(name) if gaps else ()
            )
        except DataError as error:
            wrong.append(str(error))
    if wrong:
        raise DataError("; ".join(wrong[:4]) + (f"; and {len(wrong) - 4} more columns" if wrong[4:] else ""))
    return pd.DataFrame(series) if folder is None else series


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


def _json(data: bytes | bytearray) -> TextTable:
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
    return TextTable(names, columns, numbers)


def _is_workbook(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return "xl/workbook.xml" in archive.namelist()


def _sheet(path: Path, like: Mapping[str, str], notes: Notes) -> TextTable:
    """The only sheet of a workbook that has cells."""
    try:
        import openpyxl
    except ImportError as error:
        raise ConfigError("Excel workbooks need openpyxl, which is missing: pip install openpyxl") from error

    with zipfile.ZipFile(path) as archive:
        check_size(
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
    texts = [[_as_text(cell) or "" for cell in row] for row in rows[:LOOK_ROWS]]
    table = TextTable(None, *_of_rows(rows, width))
    sure = has_header(texts, Look("\t", 0, 0, texts, width, False, "."), like)
    table.names = header_of(table, texts[0], len(rows), sure, notes)
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
        check_size(max(least, meta.num_rows * max(1, len(file.schema_arrow))))
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
            check_size(size, most)
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
