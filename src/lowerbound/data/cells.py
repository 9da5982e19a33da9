"""From the cells of a column, as a file has them, to values of an honest type.

A column has one type for all its cells, and what no type takes whole stays words: nothing is rounded or guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import ConfigError, DataError
from . import forms

if TYPE_CHECKING:
    import pyarrow as pa
    from pandas import Series

Like = Literal["float64", "int64", "bool", "text", "datetime"]
_SOME = 1000  # cells that tell how numbers are written
LONGEST = 131_072  # letters of a cell, the usual bound of parsers of CSV
MISSING = (
    "",
    "NA",
    "N/A",
    "n/a",
    "#N/A",
    "<NA>",
    "NaN",
    "nan",
    "NAN",
    "-nan",
    "null",
    "NULL",
    "None",
    "?",
    "-",
    ".",
)
_TRUTHS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_EXPONENT = r"([eE][+-]?\d+)?"
NUMBER = rf"^[+-]?(\d+\.?\d*|\.\d+){_EXPONENT}$"
DECIMAL_COMMA = rf"^[+-]?(\d+,?\d*|,\d+){_EXPONENT}$"
GROUPED = r"[+-]?[1-9]\d{{0,2}}[{}]\d{{3}}"  # a number with one mark that may part thousands or decimals
_MINUS = "\u2212"
_THOUSANDS = (" ", "\u00a0", "\u202f", "\u2009", "'", "’")
_CLOCK = r"([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?)?"
DATE = rf"^\d{{4}}-\d{{2}}-\d{{2}}{_CLOCK}( ?(Z|[+-]\d{{2}}:?\d{{2}}))?$"
# Short years, months by name, times of the day, and what else may be dates and is not read.
_LIKE_DATES = (
    r"^(\d{1,2}[ ./-]\w{1,9}[ ./,-]+\d{2,4}|[A-Za-z]{3,9} \d{1,2},? \d{4}|\d{4}[/.-]\d{1,2}[/.-]\d{1,2})"
    r"([ T].*)?$|^\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[AaPp][Mm])?$"
)
_UNIT = r"^([$€£] ?[+-]?\d[\d.,]*|[+-]?\d[\d.,]* ?(%|€|\$|£|°?[A-Za-zµ]{1,4}))$"


def cut(text: object, letters: int = 80) -> str:
    """The text, in messages: its beginning, if it is long."""
    text = str(text)
    return text if len(text) <= letters else f"{text[:letters]}... ({len(text)} letters)"


def listed(names: Iterable[object], most: int = 5) -> str:
    """Names in messages, of many the first ones."""
    names = [repr(cut(name, 40)) for name in names]
    more = [f"{len(names) - most} more"] if len(names) > most else []
    return " and ".join(", ".join(names[:most] + more).rsplit(", ", 1))


class Notes:
    """What a reader found out or passed over, one sentence for all columns that have it."""

    def __init__(self) -> None:
        self._columns: dict[str, dict[str, int]] = {}
        self._sentences: list[str] = []
        self.forms: dict[str, forms.Form] = {}  # how the cells of each column are written
        self.file = forms.FileForm()

    def say(self, sentence: str) -> None:
        self._sentences.append(sentence)

    def of(self, column: str, what: str, cells: int = 0) -> None:
        """Something about a column, and how many of its cells it is about."""
        self._columns.setdefault(what, {})[column] = cells

    def sentences(self) -> list[str]:
        said = list(self._sentences)
        for what, columns in self._columns.items():
            total = sum(columns.values())
            count = f" ({total} cell{'s' * (total != 1)})" if total else ""
            said.append(f"column{'s' * (len(columns) > 1)} {listed(columns)}: {what}{count}")
        return said


def read_cells(
    cells: pa.ChunkedArray,
    name: str,
    notes: Notes,
    like: str | None = None,
    *,
    decimals: str = "",
    commas: bool = True,
    numbers: bool = True,
    gaps: Sequence[str] = (),
) -> Series:
    """Values of one column: int64, Int64, float64, bool, boolean, datetime64 or objects with None.

    Args:
        cells: Texts, (N,), null where a cell is empty.
        name: What the column is called.
        notes: What is read in a way that a reader of the file should know is added here.
        like: The type that the column must have; by its cells if None.
        decimals: Which of "." and "," certainly are decimal signs in this file.
        commas: A single comma in a number can be its decimal sign.
        numbers: Words that look like numbers or true and false are these; else dates alone are seen in words.
        gaps: What says that a cell is empty, besides the usual words.

    Raises:
        DataError: A cell is longer than 131,072 letters, or not of the type that `like` names.
    """
    pc = compute()
    filled = cells.null_count < len(cells)
    if filled and pc.max(pc.binary_length(cells)).as_py() > LONGEST:
        row = int(pc.index(pc.greater(pc.binary_length(cells), LONGEST), True).as_py())
        raise DataError(
            f"column {cut(name)!r}, row {row} (counted from 0): a cell of more than {LONGEST:,} letters "
            f"({cut(cells[row].as_py(), 40)}); remove it, or close a quotation mark left open"
        )
    gone: dict[str, int] = {}
    if gaps:
        cells, gone = _without(cells, gaps)
        for word, count in gone.items():
            notes.of(name, f"{word!r} read as missing", count)
        filled = cells.null_count < len(cells)
    if like == "text":
        return _words(cells, name, notes, None, gone=gone)
    reason: list[str] = []
    form: list[str | None] = []
    known = {
        "numbers": lambda c: _numbers(c, reason, like is None, "." in decimals or "," not in decimals),
        "truths": lambda c: _truths(c, like is not None, form),
        "dates": lambda c: _dates(c, reason, form),
        "marked": lambda c: _marked(c, reason, commas, "." in decimals, like is None, form),
    }
    chosen = {None: tuple(known) if numbers else ("dates",), "bool": ("truths",), "datetime": ("dates",)}
    readers = [known[kind] for kind in chosen.get(like, ("numbers", "marked"))]
    value = (
        readers[0](cells) if filled and readers[0] is known["numbers"] else None
    )  # most columns need no more
    missing: dict[str, int] = {}
    clean = cells
    if value is None:
        clean, missing = _without(cells, MISSING)
        if clean.null_count == len(clean) and like is None:
            missing_too = {word: count for word, count in missing.items() if word != "?"}
            if missing_too:
                return _words(cells, name, notes, None, gone=gone)
            notes.of(name, "no cell is filled")
        value = next((v for reader in readers if (v := reader(clean)) is not None), None)
        if value is None and _any_match(clean, f"^{_MINUS}"):  # as word processors and web pages write it
            minus = pc.replace_substring_regex(clean, f"^{_MINUS}", "-")
            value = next((v for reader in readers if (v := reader(minus)) is not None), None)
            reason += [f"read with {_MINUS!r} as minus"] if value is not None else []
    if value is None and like is not None:
        raise _unlike(clean, name, like, readers)
    if value is None:
        return _words(cells, name, notes, clean if numbers else None, reason[-1] if reason else "", gone)
    for word, count in missing.items():
        notes.of(name, f"{word!r} read as missing", count)
    for said in [what for what in reason if what.startswith("read")]:
        notes.of(name, said)
    if not form and value.dtype.kind == "f":
        form.append(forms.of_numbers(_some(clean)))
    notes.forms[name] = (
        form[-1] if form else None,
        _usual_gap(cells.null_count - sum(gone.values()), missing | gone),
    )
    if like == "int64" and value.dtype == "float64" and (value.dropna() % 1 == 0).all():
        value = value.astype(
            "Int64" if value.isna().any() else "int64"
        )  # 12.0, as pandas writes 12 beside gaps
    return value.astype("float64") if like == "float64" else value


def _without(cells: pa.ChunkedArray, words: Sequence[str]) -> tuple[pa.ChunkedArray, dict[str, int]]:
    """Cells without blanks at their ends, null where they are one of some words, and how many are which.

    A whole number is one however many zeros are written behind its decimal sign.
    """
    import pyarrow as pa

    pc = compute()
    cells = pc.utf8_trim_whitespace(cells)
    found = pc.is_in(cells, pa.array(words, cells.type))
    for number in (re.escape(word) for word in words if re.fullmatch(r"[+-]?\d+", word)):
        found = pc.or_(found, pc.fill_null(pc.match_substring_regex(cells, rf"^{number}[.,]0*$"), False))
    counts = {}
    if pc.any(found).as_py():
        for item in pc.value_counts(cells.filter(found)).to_pylist():
            counts[item["values"]] = item["counts"]
        cells = pc.if_else(found, pa.scalar(None, cells.type), cells)
    return cells, {word: count for word, count in sorted(counts.items()) if word}


def _usual_gap(empty: int, missing: Mapping[str, int]) -> str:
    """How an empty cell is written most often: not at all, or by one of some words."""
    counts = {"": empty, **missing}
    return max(counts, key=lambda word: counts[word])


def _some(cells: pa.ChunkedArray) -> list[str]:
    """The first texts of a column."""
    return cells.slice(0, _SOME).drop_null().to_pylist()


def _unlike(
    cells: pa.ChunkedArray, name: str, like: str, readers: list[Callable[[pa.ChunkedArray], Any]]
) -> DataError:
    """The error that names the first cell which is not of the type of a column."""
    good, bad = 0, len(cells)  # so many cells from the top can be read, or cannot
    while bad - good > 1:
        middle = (good + bad) // 2
        if any(reader(cells.slice(0, middle)) is not None for reader in readers):
            good = middle
        else:
            bad = middle
    kind = {"bool": "true or false", "datetime": "a date, like 2024-01-31"}.get(like, "a number")
    return DataError(
        f"column {cut(name)!r}, row {good} (counted from 0): {cut(cells[good].as_py(), 40)!r} is not {kind}, which "
        "this column has in training; mend the cell or leave it empty"
    )


def _series(values: np.ndarray, gaps: np.ndarray) -> Series:
    """Whole numbers or booleans with a gap where `gaps` is true, in pandas' type that knows gaps."""
    import pandas as pd

    if not gaps.any():
        return pd.Series(values)
    make = pd.arrays.BooleanArray if values.dtype == bool else pd.arrays.IntegerArray
    return pd.Series(make(np.array(values), np.array(gaps)))


def _cast(cells: pa.ChunkedArray, to: pa.DataType) -> pa.ChunkedArray | None:
    import pyarrow as pa

    pc = compute()
    try:
        return pc.cast(cells, to)
    except pa.ArrowInvalid:
        return None


def _all_match(cells: pa.ChunkedArray, pattern: str) -> bool:
    pc = compute()
    return pc.all(pc.match_substring_regex(cells, pattern)).as_py() is not False


def _any_match(cells: pa.ChunkedArray, pattern: str) -> bool:
    pc = compute()
    return bool(pc.any(pc.match_substring_regex(cells, pattern)).as_py())


def _whole(cells: pa.ChunkedArray, to: pa.DataType) -> Series | None:
    pc = compute()
    whole = _cast(cells, to)
    if whole is None:
        return None
    return _series(pc.fill_null(whole, 0).to_numpy(), cells.is_null().to_numpy())


def _numbers(cells: pa.ChunkedArray, reason: list[str], strict: bool, points: bool = True) -> Series | None:
    """Numbers with a decimal point, exactly as Python reads them.

    Where `strict`, digits that a number would lose keep the cells words. Unless `points` can be decimal points, 1.234
    is not read.
    """
    import pandas as pd
    import pyarrow as pa

    pc = compute()
    filled = cells.null_count < len(cells)
    whole = _whole(cells, pa.int64()) if filled else None
    if whole is not None:
        if _any_match(cells, r"^-?0[xX]"):
            return None
        if strict and _any_match(cells, r"^0\d"):
            reason.append("digits with leading zeros, kept as words")
            return None
        return whole
    floats = _cast(cells, pa.float64())
    if floats is None or pc.any(pc.is_nan(floats)).as_py():
        return None
    if not points and _any_match(cells, r"\.") and _all_match(cells, rf"^([^.]*|{GROUPED.format('.')})$"):
        reason.append("a point that may part thousands or decimals, kept as words")
        return None
    if pc.any(pc.starts_with(cells, "+")).as_py() and _all_match(cells, r"^[+-]?\d+$"):
        return _numbers(pc.replace_substring_regex(cells, r"^\+", ""), reason, strict)
    values = floats.to_numpy()
    if (np.abs(values) >= 2**53).any():  # NaN compares false
        digits = cells.filter(pc.match_substring_regex(cells, r"^[+-]?\d{16,}$")).to_pylist()
        if digits and (big := _whole(cells, pa.uint64())) is not None:
            return big
        if strict and any(
            float(text) in (np.inf, -np.inf) or int(float(text)) != int(text) for text in digits
        ):
            reason.append("whole numbers of more digits than a float keeps, kept as words")
            return None
    return pd.Series(values)


def _truths(cells: pa.ChunkedArray, digits: bool, form: list[str | None]) -> Series | None:
    """True and false, also as 1 and 0 where it is known that they are meant."""
    import pyarrow as pa

    pc = compute()
    words = _TRUTHS | ({"1": True, "0": False} if digits else {})
    gaps = cells.is_null()
    if pc.all(pc.or_(gaps, pc.is_in(cells, pa.array(words, cells.type)))).as_py() is False:
        return None
    form.append(forms.of_truths(pc.unique(cells).drop_null().to_pylist()))
    true = pc.is_in(cells, pa.array([word for word, value in words.items() if value], cells.type))
    return _series(true.to_numpy(), gaps.to_numpy())


def _dates(cells: pa.ChunkedArray, reason: list[str], written: list[str | None]) -> Series | None:
    """Dates and date-times, those with a zone in UTC; of other orders than ISO's those with a day over 12."""
    import pandas as pd

    pc = compute()
    first = next((cell for cell in (c.as_py() for c in cells) if cell is not None), None)
    texts = cells
    form = "ISO8601"
    if first is None:
        return pd.Series(pd.NaT, index=range(len(cells)), dtype="datetime64[us]")
    if _any_match(cells.slice(0, 1000).drop_null(), r"^\d{4}[/.]\d{2}[/.]\d{2}"):
        texts = pc.replace_substring_regex(cells, r"^(\d{4})[/.](\d{2})[/.](\d{2})", r"\1-\2-\3")
    if not _all_match(texts, DATE):
        mark = next(
            (m for m in "./-" if _all_match(cells, rf"^\d{{1,2}}[{m}]\d{{1,2}}[{m}]\d{{4}}{_CLOCK}$")), None
        )
        if mark is None:
            return None
        parts = pc.extract_regex(cells, rf"^(?P<a>\d+)[{mark}](?P<b>\d+)[{mark}]\d+(?P<clock>.*)$")
        a, b = (pc.max(pc.cast(pc.struct_field(parts, [i]), "int64")).as_py() for i in (0, 1))
        if (a > 12) == (b > 12):
            reason.append(
                f"dates whose order of day and month is not clear ({cut(first, 30)!r}), kept as words"
            )
            return None
        clocks = pc.unique(pc.binary_length(pc.struct_field(parts, [2]))).drop_null().to_pylist()
        clock = {(0,): "", (6,): " %H:%M", (9,): " %H:%M:%S"}.get(tuple(clocks))
        if clock is None:
            return None
        form = mark.join(("%d", "%m", "%Y") if a > 12 else ("%m", "%d", "%Y")) + clock
        reason.append(f"read as dates, {'day' if a > 12 else 'month'} first")
        texts = pc.replace_substring(cells, "T", " ")
    zones = pc.match_substring_regex(texts, r"(Z|[+-]\d{2}:?\d{2})$") if form == "ISO8601" else None
    some = zones is not None and bool(pc.any(zones).as_py())
    if some and not pc.all(zones).as_py():
        reason.append("dates with and without a zone, kept as words")
        return None
    try:
        values = pd.to_datetime(pd.Series(texts.to_numpy(), dtype=object), format=form, utc=some)
    except ValueError:  # 2024-02-31, or a year that pandas does not know
        reason.append("dates that do not exist among others, kept as words")
        return None
    if some:
        reason.append("read as dates in UTC")
        values = values.dt.tz_localize(None)
    alike = len(pc.unique(pc.binary_length(cells)).drop_null()) == 1
    written.append((forms.of_iso_dates(first) if alike else None) if form == "ISO8601" else form)
    return values


def _marked(
    cells: pa.ChunkedArray,
    reason: list[str],
    commas: bool,
    points: bool,
    strict: bool,
    form: list[str | None],
) -> Series | None:
    """Numbers with a decimal comma or with marks between thousands, where there is one way only to read them."""
    pc = compute()

    def read(marks: str, decimal: str, said: str) -> Series | None:
        plain = pc.replace_substring(pc.replace_substring(cells, marks, "") if marks else cells, decimal, ".")
        value = _numbers(plain, reason, strict)
        if value is not None:
            reason.append(f"read with {said}")
            form.append(forms.of_numbers(_some(cells), decimal, marks))
        return value

    for marks, decimal in ((",", "."), (".", ",")):
        t, d = f"[{marks}]", f"[{decimal}]"
        if _any_match(cells, rf"\d{t}\d{{3}}({t}\d{{3}}|{d}\d)") and _all_match(
            cells, rf"^[+-]?(\d{{1,3}}({t}\d{{3}})+|\d+)({d}\d*)?$"
        ):
            return read(marks, decimal, f"{marks!r} between thousands")
    for marks in _THOUSANDS:  # which never are decimal signs
        for decimal in (".", ","):
            if _any_match(cells, rf"\d{marks}\d{{3}}") and _all_match(
                cells, rf"^[+-]?([1-9]\d{{0,2}}({marks}\d{{3}})+|\d{{1,3}})([{decimal}]\d*)?$"
            ):
                return read(marks, decimal, f"{marks!r} between thousands")
    if not _all_match(cells, DECIMAL_COMMA):
        return None
    if not _any_match(cells, ","):
        return None
    if not commas or (points and _all_match(cells, rf"^([^,]*|{GROUPED.format(',')})$")):
        reason.append("a comma that may part thousands or decimals, kept as words")
        return None
    return read("", ",", "decimal comma")


def _words(
    cells: pa.ChunkedArray,
    name: str,
    notes: Notes,
    clean: pa.ChunkedArray | None,
    reason: str = "",
    gone: Mapping[str, int] | None = None,
) -> Series:
    """Words as they are, None where a cell is empty or "?"; notes say what looks like a mistake."""
    import pandas as pd
    import pyarrow as pa

    pc = compute()
    trimmed = pc.utf8_trim_whitespace(cells)
    marks = int(pc.sum(pc.equal(trimmed, "?")).as_py() or 0)
    if marks:
        notes.of(name, "'?' read as missing", marks)
    empty = pc.is_in(trimmed, pa.array(["", "?"], cells.type))
    kept = pc.is_in(trimmed, pa.array([word for word in MISSING if word not in ("", "?")], cells.type))
    for item in pc.value_counts(trimmed.filter(kept)).to_pylist() if pc.any(kept).as_py() else ():
        notes.of(name, f"the word {item['values']!r} is a value, not a gap", item["counts"])
    if reason and not reason.startswith("read"):
        notes.of(name, reason)
    elif clean is not None:
        filled = len(clean) - clean.null_count
        number = pc.or_(*(pc.match_substring_regex(clean, p) for p in (NUMBER, DECIMAL_COMMA)))
        unit = pc.match_substring_regex(clean, _UNIT)
        if 2 * (pc.sum(number).as_py() or 0) >= filled > 0:
            row = int(pc.index(number, False).as_py())
            words = int(pc.sum(pc.invert(number)).as_py())
            notes.of(
                name,
                f"kept as words, for among its numbers are words, first {cut(clean[row].as_py(), 40)!r} in row {row} "
                "(counted from 0)",
                words,
            )
        elif 2 * (pc.sum(unit).as_py() or 0) >= filled > 0:
            row = int(pc.index(unit, True).as_py())
            notes.of(name, f"numbers with a unit ({cut(clean[row].as_py(), 40)!r}), kept as words")
        elif clean[0].as_py() is not None and _all_match(clean, _LIKE_DATES):
            told = f"like dates or times ({cut(clean[0].as_py(), 40)!r}), kept as words"
            notes.of(name, f"{told}: write 2024-01-31 12:30, or a number")
    gone = gone or {}
    notes.forms[name] = (None, _usual_gap(cells.null_count - sum(gone.values()), {"?": marks, **gone}))
    if pc.any(empty).as_py():
        cells = pc.if_else(empty, pa.scalar(None, cells.type), cells)
    return pd.Series(cells.to_numpy(), dtype=object)


def compute() -> Any:
    """pyarrow.compute, whose functions are made when it is imported, so that no type checker knows them."""
    import pyarrow.compute

    return pyarrow.compute


def check_like(like: str) -> None:
    """Raise a ConfigError if this is no type of a column."""
    if like not in Like.__args__:
        raise ConfigError(f"a column cannot be read like {like!r}; options: {', '.join(Like.__args__)}")
