"""A look at the cells of a table: all that is to be known of its columns before it is decided what they mean."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..errors import DataError, brief
from .forms import Form
from .spec import Storage

if TYPE_CHECKING:
    from pandas import DataFrame, Series

SAMPLE = 100_000  # rows that tell of repeated values, evenly spread over the table; fewer of many columns
_SAMPLE_VALUES = 2**21
_DISTINCT = 10_000  # words that are counted
MOST_DIGITS = 6
PIECE = 2**15  # rows that are gone through at a time, which stay in the processor's cache
DAY = 86400.0
_MOST_FAR = 5  # values on one side that can stand for gaps, and one more
_FEWEST, _FEW = 3, 10  # values that show where a column lies, beside nines and beside others
_NINES = re.compile(r"-?9+(\.9*)?")


@dataclass
class ColumnFacts:
    """What a pass over all cells of a column finds; the same, however the rows are cut into chunks.

    Attributes:
        name: The column's name.
        stored: What its cells are.
        order: Categories in their order, if they have one.
        rows: Number of cells.
        empty: Number of empty ones.
        low: Smallest number.
        high: Largest number.
        ends: Both, of whole numbers too large for float64, as they are.
        integral: All numbers are whole.
        digits: Most decimal places of a number, or of dates of their seconds; more than 6 if it has more.
        first: The first number.
        divisor: What divides all differences from it, in units of the last place (of dates, in seconds).
        counting: Each number is the one before plus 1.
        words: Different words or booleans, up to some thousands.
        sample: Numbers of rows spread over the table.
        written: How the file writes the cells, and an empty one.
    """

    name: str
    stored: Storage
    order: tuple[Any, ...] | None = None
    rows: int = 0
    empty: int = 0
    low: float = math.inf
    high: float = -math.inf
    ends: set[int] = field(default_factory=set)
    integral: bool = True
    digits: int = 0
    first: float = math.nan
    divisor: int = 0
    counting: bool = True
    last: float = math.nan
    words: set[Any] = field(default_factory=set)
    sample: list[np.ndarray] = field(default_factory=list)
    written: Form = (None, "")

    def add(self, column: Series, every: int) -> None:
        """Look at the next rows.

        Args:
            column: Their cells.
            every: One of so many rows is taken into the sample.

        Raises:
            DataError: A number is infinite.
        """
        first = self.rows
        self.rows += len(column)
        if self.stored in ("text", "boolean"):
            present = column.dropna()
            self.empty += len(column) - len(present)
            if len(self.words) <= _DISTINCT:
                self.words.update(present.unique().tolist())
            return
        values = numbers(column, self.stored)
        gone = np.isnan(values)
        present = values[~gone] if gone.any() else values
        self.empty += len(values) - len(present)
        if len(present):
            if np.isinf(present).any():
                row = first + int(np.isinf(values).argmax())
                raise DataError(
                    f"column {self.name!r} has an infinite number in row {row}, counted from 0; correct it, or leave "
                    "the cell empty if it is missing"
                )
            self.low, self.high = min(self.low, float(present.min())), max(self.high, float(present.max()))
            if self.stored == "integer" and max(-self.low, self.high) >= 2**53:
                self.ends |= {int(end) for end in (column.min(), column.max())}
            if self.stored != "integer":
                self.integral = self.integral and bool((present == np.floor(present)).all())
            if self.digits <= MOST_DIGITS:
                self._divide(present)
            if self.counting:
                steps = np.diff(np.concatenate([[self.last], present]))
                self.counting = bool((steps[np.isfinite(steps)] == 1).all())
            self.last = float(present[-1])
        start = -first % every
        self.sample.append(values[start::every].copy())  # a view would keep all of them

    @property
    def unit(self) -> float:
        """How many of the smallest steps that are looked for make up 1."""
        return DAY if self.stored == "date" else 10.0**self.digits

    def _divide(self, present: np.ndarray) -> None:
        """Take some numbers into account in `digits`, `first` and `divisor`."""
        before = self.digits
        if self.stored == "date":
            seconds = present * DAY
            self.digits = 0 if (np.abs(seconds - np.round(seconds)) < 1e-4).all() else MOST_DIGITS + 1
        elif self.stored == "float" and not self.integral:
            self.digits = max(before, _decimals(present))
        if self.digits > MOST_DIGITS:
            return
        self.divisor *= 10 ** (self.digits - before)
        if math.isnan(self.first):
            self.first = float(present[0])
        for some in (present[:1000], present):  # most columns are told by their first numbers
            if self.divisor != 1:
                steps = np.clip(np.round((some - self.first) * self.unit), -(2.0**62), 2.0**62)
                self.divisor = math.gcd(self.divisor, int(np.gcd.reduce(steps.astype(np.int64))))

    def values(self) -> list[Any]:
        """Different values, in order: of numbers those of the sample."""
        return sorted(self.words) or np.unique(self.numbers_seen()).tolist()

    def far(self) -> dict[float, int]:
        """Numbers that lie farther from all others than these from each other, and in how many rows of the sample.

        Nines alone, as people write what they do not know, tell it of one row, and of few other values.
        """
        seen = self.numbers_seen()
        starts = np.flatnonzero(np.diff(seen, prepend=-np.inf) > 0)
        values, counts = seen[starts], np.diff(starts, append=len(seen))
        for below, above in sorted(itertools.product(range(_MOST_FAR), repeat=2), key=sum)[:0:-1]:
            end = len(values) - above
            core = values[below:end]
            if len(core) < _FEWEST:
                continue
            ends = [core[0] - value for value in values[:below]] + [
                value - core[-1] for value in values[end:]
            ]
            if min(ends) > core[-1] - core[0]:
                places = [*range(below), *range(end, len(values))]
                nines = [bool(_NINES.fullmatch(f"{values[i]:g}")) for i in places]
                if all(
                    (nine or len(core) > _FEW) and (counts[i] > 1 or (nine and abs(values[i]) > 99))
                    for i, nine in zip(places, nines, strict=True)
                ):
                    return {float(values[i]): int(counts[i]) for i in places}
        return {}

    def numbers_seen(self) -> np.ndarray:
        """The sample's numbers that are there, in their order."""
        values = np.concatenate(self.sample) if self.sample else np.empty(0)
        return np.sort(values[~np.isnan(values)])


def precision(values: np.ndarray) -> float:
    """To how much of themselves values are known: those that all come from float32, to its last place."""
    few = values[:1000]
    with np.errstate(over="ignore", invalid="ignore"):
        if len(few) < len(values) and precision(few) < 1e-7:
            return 4 * np.finfo(float).eps
        single = np.abs(values - values.astype(np.float32)) <= 1e-9 * np.abs(values)
    return 1e-7 if np.all(single | np.isnan(values)) else 4 * np.finfo(float).eps


def _decimals(values: np.ndarray) -> int:
    """Most decimal places that a value needs; more than is looked for if that cannot be told.

    Of values that come from float32, 2.1 is 2.0999999046: they are known to its last place.
    """
    # Most columns are told by their first numbers.
    few = _decimals(values[:1000]) if len(values) > 1000 else 0
    known, largest = precision(values), np.abs(values).max(initial=0.0)
    for places in range(few, MOST_DIGITS + 1):
        if known * largest * 10.0**places > 0.1:
            break
        scaled = values * 10.0**places
        off = np.abs(scaled - np.round(scaled))
        far = off > 1e-9
        if not far.any() or (off[far] <= known * np.abs(scaled[far])).all():
            return places
    return MOST_DIGITS + 1


def storage_of(column: Series) -> Storage | None:
    """What the cells of a column are; None if they are nothing that is known."""
    from pandas.api import types

    dtype = column.dtype
    if isinstance(dtype, _category_type()):
        return storage_of(column.cat.categories.to_series())
    if types.is_bool_dtype(dtype):
        return "boolean"
    if types.is_datetime64_any_dtype(dtype):
        return "date"
    if types.is_complex_dtype(dtype):
        return None
    if types.is_numeric_dtype(dtype):
        return "integer" if types.is_integer_dtype(dtype) else "float"
    if types.is_string_dtype(dtype) or dtype == np.dtype(object):
        present = column.dropna()
        kinds = {type(value) for value in present}
        if kinds <= {str}:
            return "text"
        if kinds <= {bool, np.bool_}:
            return "boolean"
        if all(issubclass(kind, np.number | np.bool_ | int | float | Decimal) for kind in kinds):
            return "float"
        if all(hasattr(value, "year") for value in present):
            return "date"
    return None


def _category_type() -> type:
    from pandas import CategoricalDtype

    return CategoricalDtype


def numbers(column: Series, stored: Storage) -> np.ndarray:
    """The cells of numbers or dates in float64, NaN where empty; dates in days from 1970-01-01."""
    if isinstance(column.dtype, _category_type()):
        column = column.astype(column.cat.categories.dtype if not column.isna().any() else "float64")
    if stored == "date":
        from pandas import to_datetime

        times = to_datetime(column, utc=True).dt.tz_localize(None)
        whole = times.to_numpy("datetime64[us]")  # finer than float64 knows a day of this century
        days = whole.astype("datetime64[D]")
        rest = (whole - days).astype(np.int64) / (DAY * 1e6)
        values = days.astype(np.int64) + rest
        values[np.isnat(whole)] = np.nan
        return values
    return column.to_numpy("float64", na_value=np.nan)


def look(chunks: Iterable[DataFrame], rows: int, name: str) -> list[ColumnFacts]:
    """Pass over a table once.

    Args:
        chunks: Its rows, part by part.
        rows: How many there are.
        name: What the table is called in messages.

    Raises:
        DataError: A column holds what is no number, word, boolean or date.
    """
    every, facts = 1, None
    for chunk in chunks:
        if facts is None:
            most = max(2000, min(SAMPLE, _SAMPLE_VALUES // max(1, len(chunk.columns))))
            every = max(1, math.ceil(rows / most))
            facts = [_begun(cast("Series", chunk[column]), name) for column in chunk.columns]
            for fact in facts:
                fact.written = chunk.attrs.get("forms", {}).get(fact.name, (None, ""))
        for fact in facts:
            column = cast("Series", chunk[fact.name])
            column.attrs = {}  # which would be copied with each piece
            try:
                for start in range(0, len(column), PIECE):
                    fact.add(column.iloc[start : start + PIECE], every)
            except DataError as error:
                raise DataError(f"{name}: {error}") from None
    return facts or []


def _begun(column: Series, name: str) -> ColumnFacts:
    stored = storage_of(column)
    if stored is None:
        some, held = next((value for value in column if value is not None), None), str(column.dtype)
        if held == "object":
            held = " and ".join(sorted({type(value).__name__ for value in column.dropna()})[:4])
        raise DataError(
            f"{name}: column {column.name!r} holds {held[:60]}, for example {brief(some, 60)}; columns are"
            " numbers, words, booleans or dates: choose others with columns=, or convert it"
        )
    if isinstance(column.dtype, _category_type()) and column.cat.ordered:
        return ColumnFacts(str(column.name), stored, tuple(column.cat.categories.tolist()))
    return ColumnFacts(str(column.name), stored)
