"""Tables: from the columns of a file or DataFrame to examples, labels and conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..errors import ConfigError, DataError, listed, suggest
from .facts import look
from .forms import as_written
from .schema import as_gaps, check_columns, edited, encode, listed_edits, said_of_gaps, without_gaps
from .source import Source, check_names
from .spec import ColumnSpec
from .spill import Spilled

if TYPE_CHECKING:
    from pandas import DataFrame, Series


# What the cells of a column are, in the words of pandas.
_TYPES = {"float": "float64", "integer": "int64", "boolean": "bool", "text": "text", "date": "datetime"}

# What is said of the columns that are no part of x, by their kind.
_ASIDE = {
    "constant": "constant",
    "identifier": "identifiers",
    "text": "free text",
    "empty": "empty",
    "ignored": "ignored as the schema says",
}


@dataclass(frozen=True)
class Reading:
    """How a table is read.

    Attributes:
        columns: Which columns are data; all that are neither label nor condition if None.
        label_column: Which column is the label, if any.
        conditions: Which columns are conditioned on.
        schema: What the columns mean to a model that is trained, or a user's schema to lay over the first look.
        unknown: What to do with a category that a model does not know: "refuse", or "missing".
        plain: Take all columns as the numbers that they hold.
        missing: What says of a cell that it is empty, besides the usual words.
    """

    columns: Sequence[str] | None = None
    label_column: str | None = None
    conditions: Sequence[str] = ()
    schema: Any = None
    unknown: str = "refuse"
    plain: bool = False
    missing: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[ColumnSpec, ...] | None:
        """What the columns mean to a model that is trained."""
        given = self.schema
        return given if isinstance(given, tuple) and all(isinstance(c, ColumnSpec) for c in given) else None

    @property
    def gaps(self) -> Callable[[str], tuple[str, ...]] | None:
        """Gives by its name what says that a cell of a column is empty; None if nothing but the usual words do."""
        if self.known is not None:
            own = {column.name: column.gaps for column in self.known if column.gaps}
        else:
            own = {edit["name"]: as_gaps(edit.get("gaps")) for edit in listed_edits(self.schema or [])}
        if not self.missing and not any(own.values()):
            return None
        return lambda name: (*self.missing, *own.get(name, ()))

    def emptied(self, frame: DataFrame) -> DataFrame:
        """The table with cells empty that say so."""
        if (gaps := self.gaps) is None:
            return frame
        found = frame.assign(
            **{name: without_gaps(cast("Series", frame[name]), gaps(name)) for name in frame.columns}
        )
        found.attrs = frame.attrs
        return found

    def decided(
        self,
        chunks: Callable[[Sequence[str]], Iterable[DataFrame]],
        there: Sequence[str],
        rows: int,
        name: str,
    ) -> tuple[tuple[ColumnSpec, ...], list[str]]:
        """What the columns of data mean: what is known already, or what a look at them says; and what is odd there.

        Args:
            chunks: Gives columns by their names, the rows part by part.
            there: Names of all columns.
            rows: How many rows there are.
            name: What the table is called in messages.

        Raises:
            ConfigError: A column of data, label or schema does not exist, or is two of data, label and condition.
            DataError: A column to condition on does not exist, a column is of no known type, or none is left.
        """
        if self.known is not None:
            check_columns([c for c in self.known if c.is_modelled], there, name)
            choose_columns(there, None, self.label_column, self.conditions, name)  # refuses what is not there
            return self.known, []
        chosen = choose_columns(there, self.columns, self.label_column, self.conditions, name)
        facts = look(chunks(chosen), rows, name) if chosen and rows else []
        table = edited(facts, self.schema or [], name, self.columns is not None)
        if self.plain:
            table = tuple(_plain(column, name) for column in table)
        if not any(column.is_modelled for column in table):
            why = ", ".join(f"{column.name!r} ({column.kind})" for column in table[:8])
            raise DataError(
                f"{name} has nothing to learn from: {rows} rows and {len(chosen)} columns of data"
                f"{f', {why}' if why else ''}; give rows, or set the kinds of columns in a schema"
            )
        table = (
            tuple(replace(column, gaps=gaps(column.name)) for column in table)
            if (gaps := self.gaps)
            else table
        )
        said = [said_of_gaps(fact, column) for fact, column in zip(facts, table, strict=True)]
        return table, [one for one in said if one]

    def notes(
        self, table: Sequence[ColumnSpec], there: Sequence[str], zoned: Sequence[str] = ()
    ) -> list[str]:
        """What is not a part of x, or not of this model, and which columns had a zone, a sentence for each."""
        dates = [column.name for column in table if column.kind == "date" and column.name in zoned]
        said = [f"read as dates in UTC: {listed(dates, 6)}"] if dates else []
        for kind, what in _ASIDE.items() if self.known is None else ():
            if names := [column.name for column in table if column.kind == kind]:
                said.append(f"no part of x: {listed(names, 6)} ({what})")
        if self.known is not None:
            used = {*(c.name for c in table), self.label_column, *self.conditions}
            if over := [name for name in there if name not in used]:
                said.append(f"passed over: {listed(over, 6)}, which the model does not know")
        return said


def _plain(column: ColumnSpec, name: str) -> ColumnSpec:
    """A column taken as the numbers that it holds."""
    if column.stored == "text":
        raise DataError(
            f"{name}: column {column.name!r} holds words, which values='real' cannot be; leave it out with columns=, "
            "or leave values out"
        )
    return ColumnSpec(column.name, "real", "float", column.offset, low=column.low, high=column.high)


def import_pandas() -> ModuleType:
    """pandas, or a ConfigError that says how to install it."""
    try:
        import pandas
    except ImportError as error:
        raise ConfigError("tables need pandas, which is missing: pip install lowerbound[tables]") from error
    return pandas


def read_table(path: Path, reading: Reading, stream: bool | None = None) -> Source:
    """The table in a file; see `frames.read_frame_file` for what is read, and `read_frame`.

    Args:
        path: The file.
        reading: What its columns are.
        stream: Whether a file of text is read by way of others on disk, where the examples stay; None if it is larger
            than memory allows.
    """
    from .frames import read_columns

    import_pandas()
    stored = {column.name: _TYPES[column.stored] for column in reading.known or ()}
    # What is mapped stays when its name is gone.
    with TemporaryDirectory(prefix="lowerbound-", ignore_cleanup_errors=True) as folder:
        frame, notes = read_columns(path, stored or None, stream, Path(folder), reading.gaps)
        return _source(frame, reading, str(path), notes)


def read_frame(frame: DataFrame, reading: Reading, name: str = "the DataFrame") -> Source:
    """Examples, labels and conditions of a DataFrame.

    Args:
        frame: The table, one example per row.
        reading: What its columns are.
        name: What the table is called in messages.

    Raises:
        ConfigError: A column of data or label does not exist, or a column is two of data, label and condition.
        DataError: The table is empty, lacks a column, or a column has cells of no known type.
    """
    frame = frame.set_axis([str(column) for column in frame.columns], axis=1)
    check_unique(list(frame.columns), name)
    return _source(frame, reading, name, ())


def _source(frame: Any, reading: Reading, name: str, notes: Sequence[str]) -> Source:
    """Examples, labels and conditions of a DataFrame whose columns have names of their own, or of one on disk."""
    there = list(frame.columns)
    held = isinstance(frame, Spilled)
    frame = frame if held else reading.emptied(frame)
    try:
        table, odd = reading.decided(lambda chosen: [frame[list(chosen)]], there, len(frame), name)
    except DataError as error:  # for which what was noticed in reading may be the reason
        raise DataError(f"{error}{''.join(f' ({note})' for note in notes[:2])}") from None
    zoned = [c for c in there if not held and getattr(frame[c].dtype, "tz", None) is not None]
    label, x = reading.label_column, [column.name for column in table if column.is_modelled]
    return Source(
        (_examples(frame, table, x, name, reading.unknown),),
        None if label is None else (_labels(frame, label, name),),
        columns=tuple(x),
        conditions={column: (read_condition(frame, column),) for column in reading.conditions},
        table=table,
        notes=(*notes, *reading.notes(table, there, zoned), *odd),
        file=frame.attrs.get("file"),
    )


def _examples(
    frame: Any, table: Sequence[ColumnSpec], columns: list[str], name: str, unknown: str
) -> np.ndarray:
    """x, (N, D); of a table on disk mapped, there as well."""
    if not isinstance(frame, Spilled):
        return encode(table, frame, name, unknown)
    x = frame.new_array(len(columns))
    for start, part in frame[columns].parts():
        where = f"{name}, after row {start}" if start else name
        x[start : start + len(part)] = encode(table, part, where, unknown)
    x.flush()
    return x


def _labels(frame: Any, label: str, name: str) -> np.ndarray:
    if label not in frame.columns:
        raise ConfigError(f"{name} has no column {label!r}; {suggest(label, frame.columns)}")
    return _in_words(frame, label).to_numpy()


def _in_words(frame: DataFrame, name: str) -> Any:
    """A column; true and false, which become names of classes, as the file writes them."""
    form, _ = frame.attrs.get("forms", {}).get(name, (None, ""))
    column = frame[name]
    if not form or column.dtype.kind != "b":
        return column
    return as_written(column.to_frame(), {name: (form, "")})[name]


def check_unique(there: Sequence[str], name: str) -> None:
    """Raise a DataError if two columns have one name."""
    if len(set(there)) < len(there):
        twice = sorted({column for column in there if there.count(column) > 1})
        raise DataError(f"{name} has several columns named {listed(twice, 6)}; rename them")


def choose_columns(
    there: Sequence[str],
    columns: Sequence[str] | None,
    label_column: str | None,
    conditions: Sequence[str],
    name: str,
) -> list[str]:
    """The columns of data: those asked for, or all that are neither label nor condition.

    Raises:
        ConfigError: A column of data or label does not exist, or a column is two of data, label and condition.
        DataError: A column to condition on does not exist.
    """
    label = [] if label_column is None else [label_column]
    for column in [*(columns or ()), *label]:
        if column not in there:
            raise ConfigError(f"{name} has no column {column!r}; {suggest(str(column), there)}")
    check_names(conditions, there, f"{name} has no column")
    if label_column in conditions:
        raise ConfigError(
            f"condition= names {label_column!r}, which is label_column=; its name there is 'label'"
        )
    apart = [*label, *conditions]
    if columns is not None and (set(columns) & set(apart) or len(set(columns)) < len(columns)):
        raise ConfigError(
            f"columns={list(columns)} repeats a column, or contains label_column={label_column!r} or one of "
            f"condition={list(conditions)}; a column is either data or not"
        )
    return list(columns) if columns is not None else [column for column in there if column not in apart]


def read_condition(frame: Any, name: str) -> np.ndarray:
    """A column to condition on, (N,).

    Floats with NaN where cells are empty; for words, booleans and categories objects with None there.

    Raises:
        DataError: It holds dates.
    """
    column, types = _in_words(frame, name), import_pandas().api.types
    if types.is_datetime64_any_dtype(column.dtype):
        raise DataError(
            f"column {name!r} to condition on holds dates; give whole numbers or strings, like their months, or "
            "numbers, like the days since the first"
        )
    numeric = types.is_numeric_dtype(column.dtype) and not types.is_complex_dtype(column.dtype)
    if numeric and not types.is_bool_dtype(column.dtype):
        return column.to_numpy("float64", na_value=np.nan)
    return column.to_numpy(object, na_value=None)
