"""Tables of numbers: CSV and Parquet files and pandas DataFrames."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ConfigError, DataError, suggest
from .source import Source, check_names

if TYPE_CHECKING:
    from pandas import DataFrame


def import_pandas() -> ModuleType:
    """pandas, or a ConfigError that says how to install it."""
    try:
        import pandas
    except ImportError as error:
        raise ConfigError("tables need pandas, which is missing: pip install lowerbound[tables]") from error
    return pandas


def read_table(
    path: Path, columns: Sequence[str] | None, label_column: str | None, conditions: Sequence[str] = ()
) -> Source:
    """A .csv or .parquet file; see `read_frame`.

    A CSV whose first line is all numbers has no header, unless these count 0, 1, 2, ...

    Raises:
        ConfigError: pandas, or pyarrow for Parquet, is not installed.
        DataError: The file cannot be parsed.
    """
    pandas = import_pandas()
    try:
        if path.suffix.lower() == ".csv":
            frame = pandas.read_csv(path, header="infer" if _has_header(path) else None)
        else:
            frame = pandas.read_parquet(path)
    except ImportError as error:
        raise ConfigError(
            "Parquet needs pyarrow, which is missing: pip install lowerbound[tables]"
        ) from error
    except (ValueError, OSError) as error:  # the parsers' own errors are ValueErrors
        raise DataError(f"{path} cannot be read as a table: {error}") from error
    return read_frame(frame, columns, label_column, conditions, str(path))


def read_frame(
    frame: DataFrame,
    columns: Sequence[str] | None,
    label_column: str | None,
    conditions: Sequence[str] = (),
    name: str = "the DataFrame",
) -> Source:
    """Numbers, labels and conditions of a DataFrame.

    Args:
        frame: The table, one example per row.
        columns: Which columns are data; all that are neither label nor condition if None.
        label_column: Which column is the label, if any.
        conditions: Which columns are conditioned on.
        name: What the table is called in messages.

    Raises:
        ConfigError: A column of data or label does not exist, or a column is two of data, label and condition.
        DataError: The table is empty, lacks a column to condition on, or a column of data has something other than
            numbers or has missing values.
    """
    frame = frame.set_axis([str(column) for column in frame.columns], axis=1)
    if not frame.columns.is_unique:
        twice = sorted(set(frame.columns[frame.columns.duplicated()]))
        raise DataError(f"{name} has several columns named {', '.join(twice)}; rename them")
    chosen = choose_columns(list(frame.columns), columns, label_column, conditions, name)
    data = frame.loc[:, chosen]
    if data.size == 0:
        raise DataError(f"{name} is empty: {len(data)} rows, {len(data.columns)} columns of data")
    _check_numeric(data, name)
    _check_missing(data, name)
    return Source(
        (data.astype("float64").to_numpy(),),
        None if label_column is None else (frame[label_column].to_numpy(),),
        columns=tuple(data.columns),
        conditions={column: (read_condition(frame, column),) for column in conditions},
    )


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


def read_condition(frame: DataFrame, name: str) -> np.ndarray:
    """A column to condition on, (N,).

    Floats with NaN where cells are empty; for words, booleans and categories objects with None there.
    """
    column, types = frame[name], import_pandas().api.types
    if _is_numeric(column.dtype) and not types.is_bool_dtype(column.dtype):
        return column.to_numpy("float64", na_value=np.nan)
    return column.to_numpy(object, na_value=None)


def _is_numeric(dtype: object) -> bool:
    types = import_pandas().api.types
    return types.is_numeric_dtype(dtype) and not types.is_complex_dtype(dtype)


def _has_header(path: Path) -> bool:
    with path.open(newline="", encoding="utf-8-sig") as file:
        first = next(csv.reader(file), [])
    try:
        numbers = [float(cell) for cell in first]
    except ValueError:
        return True
    return numbers == list(range(len(numbers)))


def _check_numeric(frame: DataFrame, name: str) -> None:
    bad = [
        f"{column!r} ({dtype}, for example {frame[column].iloc[0]!r})"
        for column, dtype in frame.dtypes.items()
        if not _is_numeric(dtype)
    ]
    if bad:
        raise DataError(
            f"{name} has columns that are not numbers: {', '.join(bad)}; choose others with columns=, or take "
            "one as label_column= or condition="
        )


def _check_missing(frame: DataFrame, name: str) -> None:
    missing = frame.isna()
    bad = [
        f"{column!r} ({missing[column].sum()}, first in row {missing[column].to_numpy().argmax()})"
        for column in frame.columns[missing.any()]
    ]
    if bad:
        raise DataError(
            f"{name} has missing values in {', '.join(bad)}, rows counted from 0; fill or drop these rows"
        )
