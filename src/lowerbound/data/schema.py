"""What the columns of a table mean: looked at once, said, stored, and from then on how cells become numbers.

    cells                                        kind         x                             probability or density
    numbers of more than six decimals            real         v - offset                    density, but for spikes
    the same, many of which repeat               real         v - offset                    probability, by a cell
    numbers of up to six decimals                real         v - offset                    probability, by their step
    whole numbers                                integer      v - offset                    probability, by their step
    words; true and false; two different numbers category     place among the categories    probability
    categories that have an order                ordered      place among the categories    probability
    dates and times                              date         days since the first          probability, if by a step
    one value only                               constant     no part of x
    another word, or the next number, in each    identifier   no part of x
    row
    very many different words                    text         no part of x
    nothing                                      empty        no part of x
    what the user's schema leaves out            ignored      no part of x

A density exists only where values hardly ever repeat: of a column that is rounded, or holds some values often, it
could grow without a bound, and −log p(x) had none below. What is rounded shows in its decimals, however many values
differ, and in what divides them: weights to 25 grams have steps of 25. Where values repeat and are no decimals, like
thirds, the closest two tell how wide a cell is that holds one of them; so it is where a step is too small beside its
column for float32 to know the multiple.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..errors import ConfigError, DataError, brief, listed, suggest
from .cells import NUMBER
from .facts import DAY, MOST_DIGITS, PIECE, ColumnFacts, numbers, precision, storage_of
from .spec import ColumnSpec, Storage

if TYPE_CHECKING:
    from pandas import DataFrame, Series

MOST_CATEGORIES = 1000
_FEW = 20  # rows below which nothing is taken for an identifier
_DIFFERENT = 20  # values that lie on one grid by chance once in 2**19 columns at most
_TIES = 0.1  # share of rows with a value that others have too, from which on values repeat
_SPIKE = 0.02  # share of rows that makes a value of a real column one of its own
_MOST_SPIKES = 8
_FEW_VALUES, _ROWS_EACH = (
    32,
    30,
)  # so few values, with so many rows each on average, are told apart one by one
_STANDS_OUT = 0.05  # share of rows that makes one of many steps a value of its own
_MOST_REPEATED = 100  # values of a column whose values repeat that are spikes
_CLOSE_TO_RARE = 0.005  # share of rows that makes one of them such
_CLOSE = 1e-9  # of the range: what is closer is one value
_EXACT = 2**23  # multiples of a step that float32 tells apart, with room for their halves
_NAMES = re.compile(r"(.*[ _-])?(id|uuid|guid|index|key|row|nr|no)([ _-].*)?|unnamed: \d+", re.IGNORECASE)


# ---------------------------------------------------------------------------------------- what they mean
def decide(facts: ColumnFacts, asked: bool = False) -> ColumnSpec:
    """What a column means, by the module's table.

    Args:
        facts: What was found.
        asked: The user has named the column as one of data, so numbers are no identifier.
    """
    missing, present = facts.empty > 0, facts.rows - facts.empty
    form, gap = facts.written
    base = ColumnSpec(facts.name, "real", facts.stored, missing=missing, form=form, gap=gap)
    if not present:
        return replace(base, kind="empty")
    if facts.order is not None:
        # What is said is what the column can hold, whether each value occurs or not.
        known = tuple(_plain(value, facts.stored) for value in facts.order)
        return replace(base, kind="ordered" if len(known) > 1 else "constant", categories=known)
    if facts.stored in ("text", "boolean"):
        return _of_words(base, facts, present)
    return _of_numbers(base, facts, asked)


def _of_words(base: ColumnSpec, facts: ColumnFacts, present: int) -> ColumnSpec:
    if facts.stored == "boolean":
        known: tuple[Any, ...] = tuple(sorted(bool(value) for value in facts.words))
        return replace(base, kind="category" if len(known) > 1 else "constant", categories=known)
    count = len(facts.words)
    if count == 1:
        return replace(base, kind="constant", categories=tuple(facts.words))
    if count >= _FEW and count > 0.9 * present:
        return _numbered(base, facts)
    if count > MOST_CATEGORIES or (count > 100 and count > 0.5 * present):
        return replace(base, kind="text")
    return replace(base, kind="category", categories=tuple(sorted(facts.words)))


def _numbered(base: ColumnSpec, facts: ColumnFacts) -> ColumnSpec:
    """Identifiers; of those that are one word and a number it is known from where new ones count."""
    parts = [re.fullmatch(r"(.*?)(\d{1,15})", str(word)) for word in facts.words]
    words = {part[1] if part else None for part in parts}
    if len(words) != 1 or None in words:
        return replace(base, kind="identifier")
    digits = {len(part[2]) for part in parts if part}
    # Not all words of a long table were kept.
    high = max(int(part[2]) for part in parts if part) + facts.rows - facts.empty - len(parts)
    return replace(
        base,
        kind="identifier",
        categories=tuple(word for word in words if word is not None),
        high=float(high),
        digits=max(digits) if len(digits) == 1 else 0,
    )


def _of_numbers(base: ColumnSpec, facts: ColumnFacts, asked: bool) -> ColumnSpec:
    low, high = facts.low, facts.high
    if low == high and len(facts.ends) < 2:
        return replace(base, kind="constant", categories=(_plain(low, facts.stored),))
    seen = facts.numbers_seen()
    values, counts = np.unique(seen, return_counts=True)
    whole = facts.integral and facts.stored != "date"
    unique = len(values) == len(seen) >= _FEW and not base.missing
    if facts.stored == "integer" and unique and not asked:
        if facts.counting or _NAMES.fullmatch(facts.name):
            return replace(base, kind="identifier", high=high)
    if facts.stored == "integer" and np.spacing(max(abs(low), abs(high))) > 1e-3 * (high - low):
        raise DataError(
            f"column {facts.name!r} lies between {low:.16g} and {high:.16g}, which float64 hardly tells apart; "
            "choose other columns with columns=, or write it as words"
        )
    if (
        len(values) == 2
        and facts.stored != "date"
        and (whole or len(seen) >= _FEW)
        and low in values
        and high in values
    ):
        return replace(base, kind="category", categories=tuple(_plain(v, facts.stored) for v in values))
    digits = None if facts.digits > MOST_DIGITS or facts.stored == "date" else 0 if whole else facts.digits
    unit = _unit(facts, len(values))
    # Of multiples that float32 does not tell apart, only their distance is known.
    step = unit if unit is not None and (high - low) / unit < _EXACT else None
    spikes, cell = _repeated(values, counts) if step is None else (_frequent(values, counts), None)
    return replace(
        base,
        kind="date" if facts.stored == "date" else "integer" if whole else "real",
        low=low,
        high=high,
        offset=_offset(low, high, step, None if facts.stored == "date" else 10.0**-facts.digits),
        digits=digits,
        step=step,
        cell=unit if step is None and cell is None else cell,
        spikes=spikes,
    )


def _unit(facts: ColumnFacts, different: int) -> float | None:
    """The widest steps between all values: what divides them, if that many different ones can hardly do by chance.

    Of fewer, the last decimal place is one, or of dates the day, hour, minute or second.
    """
    if facts.digits > MOST_DIGITS:
        return None
    divisor = facts.divisor
    if different < _DIFFERENT:
        whole = math.gcd(divisor, round(facts.first * facts.unit))
        usual = (86400, 3600, 60, 1) if facts.stored == "date" else (1,)
        divisor = next(seconds for seconds in usual if whole % seconds == 0)
    return divisor / DAY if facts.stored == "date" else float(f"{divisor}e-{facts.digits}")


def _offset(low: float, high: float, step: float | None, place: float | None) -> float:
    """What is subtracted for float32 to keep the digits of values between two bounds; 0 if it keeps them anyway.

    Of values in steps it is one of them, or they are multiples of the step themselves. `place` is how much the last
    decimal place counts, None of dates.
    """
    largest = max(abs(low), abs(high))
    if step is None:
        return math.floor(low) if place is None else 0.0 if largest <= 100 * (high - low) else float(low)
    multiple = place is not None and abs(low - round(low / step) * step) < 1e-3 * place
    return 0.0 if multiple and largest / step < _EXACT else float(low)


def _repeated(values: np.ndarray, counts: np.ndarray) -> tuple[tuple[float, ...], float | None]:
    """Values that stand out of a column, most frequent first; and if many others repeat, the width of a cell."""
    order = np.argsort(-counts, kind="stable")
    often = int((counts >= max(3, _SPIKE * counts.sum())).sum())
    few = order[: min(often, _MOST_SPIKES)]
    rest = np.delete(counts, few)
    if len(rest) and rest[rest > 1].sum() <= _TIES * rest.sum():
        return tuple(values[few].tolist()), None
    gaps = np.diff(values)
    cell = float(gaps[gaps > _CLOSE * (values[-1] - values[0])].min())
    # What few rows have in common is left to the curve of the rest.
    often = int((counts >= max(_ROWS_EACH, _CLOSE_TO_RARE * counts.sum())).sum())
    return tuple(values[order[: min(often, _MOST_REPEATED)]].tolist()), cell


def _frequent(values: np.ndarray, counts: np.ndarray) -> tuple[float, ...]:
    """Values of steps that a smooth curve would miss, most frequent first: all of few, or those of many rows."""
    order = np.argsort(-counts, kind="stable")
    if len(values) <= _FEW_VALUES and len(values) * _ROWS_EACH <= counts.sum():
        return tuple(values[order].tolist())
    often = int((counts >= max(_ROWS_EACH, _STANDS_OUT * counts.sum())).sum())
    return tuple(values[order[: min(often, _MOST_SPIKES)]].tolist())


def _plain(value: Any, stored: Storage) -> str | bool | int | float:
    """A value as JSON can hold it."""
    if stored == "boolean":
        return bool(value)
    if stored == "text":
        return str(value)
    if stored == "integer" or (float(value).is_integer() and abs(value) < 2**53):
        return int(value)
    return float(value)


# ---------------------------------------------------------------------------------------- to numbers and back
def encode(table: Sequence[ColumnSpec], frame: DataFrame, name: str, unknown: str = "refuse") -> np.ndarray:
    """The cells as x, float32 (N, D), NaN where one is empty.

    Args:
        table: What the columns mean.
        frame: The cells; columns are taken by their names.
        name: What the table is called in messages.
        unknown: What to do with categories that are none of the column's: "refuse", or "missing".

    Raises:
        DataError: A column is not there, or a cell is nothing that the column can hold.
    """
    modelled = [column for column in table if column.is_modelled]
    check_columns(modelled, frame.columns, name)
    x = np.empty((len(frame), len(modelled)), np.float32)
    cells = [cast("Series", frame[column.name]) for column in modelled]
    for column in cells:
        column.attrs = {}  # which would be copied with each piece
    wrong: dict[int, str] = {}

    def put(i: int, rows: slice) -> None:
        try:
            x[rows, i] = _encoded(modelled[i], cells[i].iloc[rows], unknown)
        except DataError as error:
            wrong[i] = str(error)

    by_piece = [i for i, column in enumerate(modelled) if column.is_number and cells[i].dtype.kind in "iuf"]
    for start in range(0, len(frame), PIECE):
        for i in by_piece:
            put(i, slice(start, start + PIECE))
    for i in wrong.keys() | set(range(len(modelled))).difference(by_piece):
        put(i, slice(None))  # at once, as are those of which the message has to name the row of all
    if wrong:
        more = f"; and {len(wrong) - 5} more columns" if len(wrong) > 5 else ""
        raise DataError(f"{name}: {'; '.join(wrong[i] for i in sorted(wrong)[:5])}{more}")
    return x


def check_columns(table: Sequence[ColumnSpec], there: Iterable[str], name: str) -> None:
    """Raise a DataError unless all columns are there."""
    there = list(there)
    absent = [column.name for column in table if column.name not in there]
    if absent:
        named = listed([repr(column) for column in absent], 5)
        hint = suggest(absent[0], there) if len(there) <= 20 else f"it has {len(there)} columns"
        raise DataError(f"{name} has no column {named}; {hint}")


def _encoded(column: ColumnSpec, cells: Series, unknown: str) -> np.ndarray:
    if column.is_number:
        return _encoded_numbers(column, cells)
    known = {_key(value, column.stored): float(i) for i, value in enumerate(column.categories or ())}
    empty = cells.isna().to_numpy()
    codes, values = cells.factorize()  # each different cell is looked up once; an empty one has the code -1
    places = [known.get(_key(value, column.stored), math.inf) for value in values]
    x = np.append(np.array(places, np.float64), math.nan)[codes]
    strange = np.isinf(x)
    if strange.any() and unknown == "refuse":
        row = int(strange.argmax())
        have = ", ".join(str(value) for value in (column.categories or ())[:10])
        more = ", ..." if len(column.categories or ()) > 10 else ""
        places = column.stored == "text" and all(
            str(value) in map(str, range(len(column.categories or ()))) for value in values
        )
        raise DataError(
            f"column {column.name!r} has {brief(cells.iloc[row], 60)} in row {row}, counted from 0, and "
            f"{int(strange.sum())} such cells; its categories are {have}{more}: "
            + ("if the numbers are places among them, write the words" if places else "correct them")
            + ", leave the cells empty, or read them so: unknown='missing'"
        )
    x[strange | empty] = math.nan
    return x


def _key(value: Any, stored: Storage) -> Any:
    """A category to look up: numbers by their value, so that 1, 1.0 and "1" are the same; words as they are."""
    if stored == "text":
        return str(value)
    try:
        word = str(value).lower()
        return float({"true": "1", "false": "0"}.get(word, word))
    except (TypeError, ValueError):
        return str(value)


def _encoded_numbers(column: ColumnSpec, cells: Series) -> np.ndarray:
    stored = storage_of(cells)
    if column.stored == "date" and stored in ("text", None):
        raise DataError(
            f"column {column.name!r} holds dates in training, and here {brief(cells.iloc[0], 60)}"
        )
    if column.stored != "date" and stored not in ("integer", "float", "boolean"):
        present = cells.dropna()
        if len(present):
            what = "dates" if stored == "date" else "words"
            raise DataError(
                f"column {column.name!r} holds numbers, but here {what}, like {brief(present.iloc[0], 60)}"
            )
        return np.full(len(cells), math.nan)
    v = numbers(cells, column.stored)
    whole = stored == "integer" and column.step == 1 and column.offset % 1 == 0
    if column.step is not None and not whole:
        place = 1 / DAY if column.stored == "date" else 10.0 ** -(column.digits or 0)  # of what is written
        slack = 1e-3 * min(place, column.step) + 4 * np.finfo(float).eps * np.abs(v)
        nearest = column.on_grid(v)
        off = np.abs(v - nearest) > slack
        if off.any():  # of what comes from float32 more cannot be asked
            off &= np.abs(v - nearest) > slack + precision(v) * np.abs(v)
            v = np.where(off, v, nearest)
        if off.any():
            row = int(off.argmax())
            raise DataError(
                f"column {column.name!r} has {v[row]:.10g} in row {row}, counted from 0, and {int(off.sum())} such "
                f"cells; the model knows it in steps of {_step_words(column)}: round it, or train with a schema "
                "that gives the column a smaller step, or none"
            )
    x = v - column.offset
    beyond = np.abs(x) > np.finfo(np.float32).max
    if beyond.any():
        row = int(beyond.argmax())
        raise DataError(
            f"column {column.name!r} has {v[row]:.6g} in row {row}, counted from 0, which is infinite or beyond "
            "float32; correct it, or leave the cell empty"
        )
    return x


def decode(table: Sequence[ColumnSpec], x: np.ndarray, aside: bool = False) -> DataFrame:
    """x (N, D) as a table with the types, digits and categories of the one that was learned from.

    Constant columns come back; identifiers and texts, of which nothing is known, do not.

    Args:
        table: What the columns mean.
        x: Numbers, NaN for empty cells.
        aside: Put in what has been set aside too: identifiers that are numbered count on from the last one of the
            data, and others are empty, as texts are.
    """
    import pandas as pd

    numbers_of = iter(np.asarray(x, np.float64).T)
    cells: dict[str, Any] = {}
    for column in table:
        if column.kind == "constant":
            cells[column.name] = pd.Series([(column.categories or (None,))[0]] * len(x))
        elif column.is_modelled:
            cells[column.name] = _decoded(column, next(numbers_of))
        elif aside and column.kind != "ignored":
            cells[column.name] = _counted_on(column, len(x))
    return pd.DataFrame(cells)


def _counted_on(column: ColumnSpec, count: int) -> Any:
    """New identifiers, or empty cells if they are not numbered."""
    import pandas as pd

    if column.kind != "identifier" or column.high is None:
        return pd.Series([None] * count, dtype=object)
    numbers = np.arange(count) + int(column.high) + 1
    if column.stored == "integer":
        return pd.Series(numbers)
    (word,) = column.categories or ("",)
    return pd.Series([f"{word}{number:0{column.digits or 0}d}" for number in numbers.tolist()], dtype=object)


def _decoded(column: ColumnSpec, x: np.ndarray) -> Any:
    import pandas as pd

    empty = np.isnan(x)
    if not column.is_number:
        known = column.categories or ()
        place = np.clip(np.nan_to_num(np.round(x)), 0, len(known) - 1).astype(int)
        values = pd.Series([None if e else known[k] for k, e in zip(place, empty, strict=True)], dtype=object)
        kinds = {
            "boolean": "boolean" if empty.any() else "bool",
            "integer": "Int64" if empty.any() else "int64",
        }
        if column.stored in kinds:
            return values.astype(kinds[column.stored])
        return values.astype("float64") if column.stored == "float" else values
    v = _without_noise(x, column.offset)
    if column.step is not None:
        v = column.on_grid(v)
    if column.stored == "date":
        days = np.floor(np.nan_to_num(v))
        # To a microsecond, which is what a sum in float64 keeps of a day of this century.
        rest = np.round((np.nan_to_num(v) - days) * DAY * 1e6).astype("timedelta64[us]")
        times = days.astype("datetime64[D]").astype("datetime64[us]") + rest
        if column.step is not None and column.step >= 1 / DAY - 1e-12:
            times = (times + np.timedelta64(500_000, "us")).astype("datetime64[s]").astype("datetime64[us]")
        times[empty] = np.datetime64("NaT")
        return pd.Series(times)
    if column.digits is not None:
        v = np.round(v, column.digits)
    if column.spikes:  # with the digits that float32 has not
        known = np.sort(np.array(column.spikes))
        near = known[np.searchsorted((known[1:] + known[:-1]) / 2, v)]
        v = np.where(np.abs(v - near) <= 1e-6 * np.abs(near), near, v)
    if column.stored == "integer":
        return (
            pd.Series(np.where(empty, 0, np.round(v)).astype(np.int64)).astype("Int64").mask(empty)
            if empty.any()
            else pd.Series(np.round(v).astype(np.int64))
        )
    return pd.Series(v)


def _without_noise(x: np.ndarray, offset: float) -> np.ndarray:
    """Numbers with the seven digits that float32 knows, and no others of their binary form."""
    with np.errstate(divide="ignore"):
        places = np.clip(np.nan_to_num(6 - np.floor(np.log10(np.abs(x))), posinf=0), -300, 300)
    up, down = 10.0 ** np.maximum(places, 0), 10.0 ** np.maximum(-places, 0)
    v = np.round(x * up / down) / up * down
    if not offset:
        return v
    # A sum has as many decimals as its parts.
    return np.round(v + offset, int(min(15, max(0, np.nanmedian(places))))) if len(v) else v


# ---------------------------------------------------------------------------------------- said
def _step_words(column: ColumnSpec) -> str:
    step = column.step or 0.0
    away = abs(column.offset / step - round(column.offset / step)) > 1e-3
    start = f" from {_value_words(column, column.offset)}" if away else ""
    if column.stored != "date":
        return f"{step:g}{start}"
    seconds = round(step * DAY)
    size, name = next(
        (s, n) for s, n in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")) if seconds % s == 0
    )
    count = seconds // size
    return (f"{count} {name}s" if count > 1 else f"{'an' if name == 'hour' else 'a'} {name}") + start


def _value_words(column: ColumnSpec, value: float | None) -> str:
    if value is None:
        return "?"
    if column.stored == "date":
        return str(np.datetime64(round(value * DAY), "s")).removesuffix("T00:00:00").replace("T", " ")
    return f"{value if column.digits is None else round(value, column.digits):.10g}"


def words(column: ColumnSpec) -> tuple[str, str, str]:
    """Kind and meaning of a column, and what must not be cut off at its end, as `inspect` prints them."""
    gaps = "; some empty" if column.missing and column.kind != "empty" else ""
    known = column.words
    if column.kind in ("category", "ordered"):
        shown = (" < " if column.kind == "ordered" else ", ").join(known[:20])
        return column.kind, shown, (f" ({len(known)})" if len(known) > 4 else "") + gaps
    if column.is_number:
        span = f"{_value_words(column, column.low)} to {_value_words(column, column.high)}"
        if column.step is not None and (column.kind != "integer" or column.step != 1):
            span += f", in steps of {_step_words(column)}"
        if often := [_value_words(column, spike) for spike in column.spikes]:
            span += f", often {', '.join(often[:4])}" + (f", ... ({len(often)})" if often[4:] else "")
        cells = column.cell is not None and column.kind != "integer"
        return column.kind, span, (f"; in cells of {column.cell:.2g}" if cells else "") + gaps
    return (
        column.kind,
        {
            "constant": f"always {known[0] if known else ''}{gaps}; put back into what is written",
            "identifier": "another value in each row; "
            + ("set aside" if column.high is None else "numbered on in samples"),
            "text": f"more than {MOST_CATEGORIES} different words, or hardly any twice; set aside",
            "empty": "no cell has a value; set aside",
            "ignored": "set aside by the schema",
        }[column.kind],
        "",
    )


def edited(
    facts: Sequence[ColumnFacts], edits: Any, name: str, asked: bool = False
) -> tuple[ColumnSpec, ...]:
    """What the columns mean, with a user's schema laid over what the look at their cells says.

    Args:
        facts: What was found.
        edits: Attributes of `ColumnSpec` by column: a list of tables with "name", or a table of tables by name.
        name: What the data are called in messages.
        asked: The user has named the columns as those of data.

    Raises:
        ConfigError: A column or an attribute is not known, or of a wrong type.
    """
    by_name = {fact.name: decide(fact, asked) for fact in facts}
    found = {fact.name: fact for fact in facts}
    for edit in listed_edits(edits):
        column = edit["name"]
        if column not in by_name:
            wish = "is to be left out" if edit.get("kind") == "ignored" else "the schema names"
            raise ConfigError(f"{name} has no column {column!r}, which {wish}; {suggest(column, by_name)}")
        known = _as_stored(by_name[column])
        if edit.get("kind") in ("category", "ordered") and not (
            edit.get("categories") or known["categories"]
        ):
            known["categories"] = [_plain(value, found[column].stored) for value in found[column].values()]
        by_name[column] = ColumnSpec.from_dict(known | dict(edit))
        _check_edited(by_name[column], name)
    return tuple(by_name.values())


def listed_edits(edits: Any) -> list[Mapping[str, Any]]:
    """A user's schema as a list of columns, each with its name.

    Raises:
        ConfigError: It is none.
    """
    if isinstance(edits, Mapping):
        edits = edits.get("table", edits)
    if isinstance(edits, Mapping):
        edits = [
            {"name": key, **(value if isinstance(value, Mapping) else {"kind": value})}
            for key, value in edits.items()
        ]
    edits = edits if isinstance(edits, Sequence) and not isinstance(edits, str) else [None]
    for edit in edits:
        if not isinstance(edit, Mapping) or not isinstance(edit.get("name"), str):
            raise ConfigError(
                f"a schema is a list of columns, each a table with its name; got {brief(edit, 60)}"
            )
    return [edit for edit in edits if isinstance(edit, Mapping)]


def without_gaps(cells: Series, words: Sequence[str]) -> Series:
    """A column that is empty where it holds one of some words, or of numbers or dates one that is written so."""
    import pandas as pd

    if isinstance(cells.dtype, pd.CategoricalDtype):
        return cells.cat.remove_categories([c for c in cells.cat.categories if _written(c) in words])
    stored = storage_of(cells)
    if stored in ("integer", "float"):
        values = [float(word) for word in words if re.fullmatch(NUMBER, word)]
        single = getattr(cells.dtype, "numpy_dtype", cells.dtype) == np.float32
        gone = cells.isin(np.array(values, np.float32) if single else values)
    elif stored == "date":
        days = numbers(pd.to_datetime(pd.Series(words), errors="coerce", format="ISO8601"), stored)
        gone = pd.Series(np.isin(numbers(cells, stored), days), cells.index)
    else:
        gone = cells.map(_written, na_action="ignore").isin(words)
    if not gone.any():
        return cells
    return (cells.astype("Int64") if cells.dtype.kind in "iu" and stored == "integer" else cells).mask(gone)


def _written(value: Any) -> str:
    """A value as a user writes it who names it as a gap: a whole number without decimals."""
    return f"{value:g}" if isinstance(value, float) and value.is_integer() else str(value)


def as_gaps(values: Any) -> tuple[str, ...]:
    """Words of a user that stand for gaps, which may be numbers, in one form."""
    values = [values] if isinstance(values, str | int | float) else values
    return tuple(dict.fromkeys(map(_written, values or ())))


def said_of_gaps(fact: ColumnFacts, column: ColumnSpec) -> str | None:
    """What is to be said of numbers that may stand for gaps."""
    if not column.is_number or not (far := fact.far()):
        return None
    known, every = len(fact.numbers_seen()), fact.rows - fact.empty
    words = [_value_words(column, value) for value in far]
    rows = " and ".join(
        f"{word} in {'about ' if known < every else ''}{count * every // known} row{'s' * (count * every > known)}"
        for word, count in zip(words, far.values(), strict=True)
    )
    return (
        f"column {column.name!r} has {rows}, far from all its other values: if that stands for a gap, pass "
        f"missing=[{', '.join(words)}]"
    )


def _as_stored(column: ColumnSpec) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(column).items()}


def _check_edited(column: ColumnSpec, name: str) -> None:
    if column.is_number and column.stored in ("text", "boolean"):
        raise ConfigError(
            f"column {column.name!r} of {name} holds {column.stored}, so it is no {column.kind}"
        )
    if column.kind in ("category", "ordered") and len(column.categories or ()) < 2:
        raise ConfigError(
            f"column {column.name!r} of {name} is to be {column.kind}: list two or more categories in its schema"
        )
    for word, width in (("step", column.step), ("cell", column.cell)):
        if width is not None and not 0 < width < math.inf:
            raise ConfigError(f"column {column.name!r} of {name} needs a positive {word}; got {width}")
