"""Parquet files by their row groups.

What an example is, the columns of data say:

columns of numbers, words, booleans and dates       (D,), in their order, as their schema says
one column of lists of numbers, all equally long    (D,)
lists of lists, and lists of these                  (H, W), and the axes of images
one column of encoded pictures                      an image: bytes, or a struct with a field "bytes"
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import ConfigError, DataError, LowerboundError, listed
from .arrays import check_array
from .blocks import Blocks, told
from .pictures import PictureForm
from .schema import encode
from .source import Source
from .spec import ColumnSpec
from .tables import Reading, check_unique, choose_columns, import_pandas, read_condition, read_frame

if TYPE_CHECKING:
    from pandas import DataFrame
    from pyarrow import Array, ChunkedArray, DataType, Schema

Kind = Literal["table", "lists", "pictures"]


class ParquetBlocks(Blocks):
    """Row groups of Parquet files with the same columns.

    Args:
        paths: The files.
        form: What encoded pictures become.
        reading: What the columns are.
        table: What those of a table mean, from `table_of`.

    Attributes:
        columns: Names of the columns of x.
        kind: What they hold, by the module's table.
        form: What pictures become.

    Raises:
        ConfigError: pyarrow is not installed, or a column does not exist or is two of data, label and condition.
        DataError: A file is damaged or empty, or the columns are none of the module's table.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        form: PictureForm,
        reading: Reading,
        table: tuple[ColumnSpec, ...] | None = None,
    ):
        name = str(paths[0]) if len(paths) == 1 else str(paths[0].parent)
        schema = _open(paths[0]).schema_arrow
        self.columns, self.kind = _columns_of(paths[0], reading, table)
        self.table, self.unknown, self._emptied = table, reading.unknown, reading.emptied
        self._struct = self.kind == "pictures" and _is_struct(schema.field(self.columns[0]).type)
        form.check_unused(name, self.kind)
        self.form = form
        self._label, self._conditions = reading.label_column, reading.conditions
        self._paths = paths
        types = {column: schema.field(column).type for column in self.columns}
        rows = [
            ((path, group), metadata.row_group(group).num_rows)
            for path in paths
            for metadata in [_checked(path, types)]
            for group in range(metadata.num_row_groups)
        ]
        filled = [(group, count) for group, count in rows if count]
        counts = [count for _, count in filled]
        if not filled:
            raise DataError(f"{name} is empty: 0 rows")
        if min(counts) < 0 or sum(counts) >= 2**63:
            raise DataError(f"{name} announces {sum(counts)} rows; it is damaged, write it again")
        self._groups = [group for group, _ in filled]
        if self.kind == "table":
            shape, dtype = (len(self.columns),), np.dtype(np.float32)
        else:
            first = self._first()
            shape, dtype = first.shape[1:], first.dtype
        super().__init__(name, counts, shape, dtype)

    def read(self, block: int) -> np.ndarray:
        path, group = self._groups[block]
        where = f"{path}, row group {group}"
        stored = self._stored_columns()
        table = _tried(lambda: _open(path).read_row_group(group, stored, use_threads=False), where)
        if len(table) != self.counts[block]:
            raise DataError(
                f"{where} announces {self.counts[block]} rows, but has {len(table)}; write the file again"
            )
        if self.table is not None:
            return encode(
                self.table, _tried(lambda: self._emptied(_cells(table)), where), where, self.unknown
            )
        examples = self._examples([table.column(name) for name in self.columns], where)
        if examples.shape != (int(self.counts[block]), *self.event_shape) or examples.dtype != self.dtype:
            remedy = (
                "pass image_size=, with crop= if you like" if self.kind == "pictures" else "make them alike"
            )
            raise DataError(
                f"{where} has examples of shape {examples.shape[1:]} {examples.dtype}, but the first row has "
                f"{self.event_shape} {self.dtype}; {remedy}"
            )
        return examples

    def smaller(self, rows: int) -> str:
        return f"write row groups of {rows}: pyarrow.parquet.write_table(table, path, row_group_size={rows})"

    def read_beside(self) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
        """The labels (N,), if there are some, and by name the columns to condition on, (N,) each, as of tables."""
        beside = [*([] if self._label is None else [self._label]), *self._conditions]
        if not beside:
            return None, {}
        pandas = import_pandas()

        def found() -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
            frame = pandas.concat([_frame(path, beside) for path in self._paths], ignore_index=True)
            frame = self._emptied(frame)
            labels = None if self._label is None else frame[self._label].to_numpy()
            return labels, {name: read_condition(frame, name) for name in self._conditions}

        return _tried(found, f"{self.name}: {listed(beside)}")

    def _stored_columns(self) -> list[str]:
        """The columns to read; of a struct the bytes alone."""
        return [f"{self.columns[0]}.bytes"] if self._struct else self.columns

    def _first(self) -> np.ndarray:
        """The first row, (1, *event)."""
        path, group = self._groups[0]
        where = f"{path}, row group {group}"
        stored = self._stored_columns()
        columns = _tried(
            lambda: next(_open(path).iter_batches(1, row_groups=[group], columns=stored)).columns, where
        )
        if self.kind == "pictures":
            self.form = _decoded(lambda: self.form.settled(_pictures(columns[0], where)[0]), where, 0)
        return self._examples(columns, where)

    def _examples(self, columns: Sequence[Array | ChunkedArray], where: str) -> np.ndarray:
        if self.kind == "lists":
            lists = _tried(lambda: _nested(columns[0], where), where)
            return check_array(lists, where, axes=self.form.axes)
        return _all_decoded(self.form, _tried(lambda: _pictures(columns[0], where), where), where)


def read_arrow(table: Any, form: PictureForm, reading: Reading, name: str = "the table") -> Source:
    """Examples, labels and conditions of a table of Arrow in memory, by the module's table.

    Args:
        table: A pyarrow.Table.
        form: What encoded pictures become.
        reading: What the columns are.
        name: What it is called in messages.

    Raises:
        ConfigError: A column does not exist, or is two of data, label and condition.
        DataError: The table is empty or damaged, or the columns are none of the module's table.
    """
    table = _tried(lambda: _plain_types(table), name)
    if not len(table):
        raise DataError(f"{name} is empty: 0 rows")
    check_unique(table.column_names, name)
    if reading.known is None:
        columns = choose_columns(
            table.column_names, reading.columns, reading.label_column, reading.conditions, name
        )
        kind = _kind_of(table.schema, columns, name)
        over = [
            c for c in table.column_names if c not in (*columns, reading.label_column, *reading.conditions)
        ]
    else:
        columns, kind, over = [], "table", []
    form.check_unused(name, kind)
    if kind == "table":
        return read_frame(_tried(lambda: _cells(table), name), reading, name)
    column, white = table.column(columns[0]), None
    if kind == "lists":
        x = check_array(_tried(lambda: _nested(column, name), name), name, axes=form.axes)
    else:
        contents = _tried(lambda: _pictures(column, name), name)
        form = _decoded(lambda: form.settled(contents[0]), name, 0)
        x, white = _all_decoded(form, contents, name), form.white
    beside = [c for c in (reading.label_column, *reading.conditions) if c is not None]
    frame = _tried(lambda: _cells(table.select(beside)), name)
    return Source(
        (x,),
        None
        if reading.label_column is None
        else (frame[reading.label_column].to_numpy(object, na_value=None),),
        white=white,
        settled=True,
        conditions={c: (read_condition(frame, c),) for c in reading.conditions},
        notes=(f"passed over: {listed(over, 6)}, next to {columns[0]!r}",) if over else (),
    )


def _plain_types(table: Any) -> Any:
    """The table with words, bytes and lists in the types that all of Arrow's functions know."""
    import pyarrow as pa

    views = {"string_view": pa.large_string(), "binary_view": pa.large_binary()}

    def plain(chunk: Any) -> Any:
        if isinstance(chunk.type, pa.BaseExtensionType):
            return plain(chunk.storage)
        if pa.types.is_dictionary(chunk.type):
            return pa.DictionaryArray.from_arrays(
                chunk.indices, plain(chunk.dictionary), ordered=chunk.type.ordered
            )
        return chunk.cast(views[str(chunk.type)]) if str(chunk.type) in views else chunk

    columns = [[plain(chunk) for chunk in column.chunks] or column for column in table.columns]
    return pa.table([pa.chunked_array(chunks) for chunks in columns], table.column_names)


def _all_decoded(form: PictureForm, contents: list[bytes], where: str) -> np.ndarray:
    """Pictures of one size, (N, C, H, W), in a settled form."""
    pictures: np.ndarray | None = None
    for row, content in enumerate(contents):
        picture = _decoded(lambda content=content: form.read(content), where, row)
        pictures = np.empty((len(contents), *picture.shape), picture.dtype) if pictures is None else pictures
        if picture.shape != pictures.shape[1:]:
            raise DataError(
                f"{where}: the picture in its row {row} is {picture.shape}, but others are {pictures.shape[1:]}; "
                "pass image_size=, with crop= if you like"
            )
        pictures[row] = picture
    assert pictures is not None  # there are rows
    return pictures


def _decoded(work: Any, where: str, row: int) -> Any:
    """The result of some work on a picture; what goes wrong is said with its place."""
    try:
        return work()
    except Exception as error:  # a damaged picture makes decoders raise nearly anything
        raise DataError(f"{where}: the picture in its row {row} cannot be decoded: {error}") from error


def _frame(path: Path, columns: Sequence[str]) -> DataFrame:
    """Columns as pandas has them; what pandas wrote about them beside is not asked, for it may be anything."""
    return _tried(
        lambda: _open(path).read(list(columns), use_threads=False).to_pandas(ignore_metadata=True), str(path)
    )


def _tried(work: Callable[[], Any], where: str, how: str = "") -> Any:
    """The result of reading something; on a damaged file arrow raises nearly anything."""
    try:
        return work()
    except LowerboundError:
        raise
    except Exception as error:
        raise DataError(f"{where} cannot be read{how}: {error}") from error


def _open(path: Path) -> Any:
    """An open file; what it says of itself is read once, as long as it does not change."""
    import_arrow()
    import pyarrow.parquet as pq

    def opened() -> Any:
        state = path.stat()
        # Without arrow's buffers and threads: one thread reads ahead, and the rest is for the training.
        return pq.ParquetFile(
            path, metadata=_metadata(path, state.st_mtime_ns, state.st_size), pre_buffer=False
        )

    return _tried(opened, str(path), " as a table")


def import_arrow() -> ModuleType:
    """pyarrow, or a ConfigError that says how to install it."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(
            "Parquet and Arrow need pyarrow, which is missing: pip install lowerbound[tables]"
        ) from error
    return pyarrow


@lru_cache(maxsize=256)
def _metadata(path: Path, changed: int, size: int) -> Any:
    import pyarrow.parquet as pq

    return pq.read_metadata(path)


def table_of(
    paths: Sequence[Path], reading: Reading, name: str
) -> tuple[tuple[ColumnSpec, ...] | None, list[str]]:
    """What the columns of a table in several files mean, by one pass over them; None if their columns are no table.

    Raises:
        ConfigError: A column is not there, or is two of data, label and condition.
        DataError: A file is damaged, or a column is of no known type.
    """
    if _columns_of(paths[0], reading)[1] != "table":
        return None, []
    rows = sum(_open(path).metadata.num_rows for path in paths)
    there = _column_names(_open(paths[0]).schema_arrow, paths[0])
    return reading.decided(lambda columns: map(reading.emptied, _frames(paths, columns)), there, rows, name)


def notes_of(path: Path, reading: Reading, table: Sequence[ColumnSpec]) -> list[str]:
    """What of a file's columns is no part of x."""
    schema = _open(path).schema_arrow
    zoned = [field.name for field in schema if getattr(field.type, "tz", None) is not None]
    return reading.notes(table, _column_names(schema, path), zoned)


def _columns_of(
    path: Path, reading: Reading, table: Sequence[ColumnSpec] | None = None
) -> tuple[list[str], Kind]:
    """Names of the columns of data, and what they hold."""
    schema = _open(path).schema_arrow
    there = _column_names(schema, path)
    check_unique(there, str(path))
    table = table or reading.known
    if table is not None:
        return [column.name for column in table if column.is_modelled], "table"
    columns = choose_columns(there, reading.columns, reading.label_column, reading.conditions, str(path))
    return columns, _kind_of(schema, columns, str(path))


def _frames(paths: Sequence[Path], columns: Sequence[str]) -> Iterator[DataFrame]:
    """Some columns of files, row group by row group."""
    groups = [(path, group) for path in paths for group in range(_open(path).metadata.num_row_groups)]
    for i in told(range(len(groups)), f"looking at {paths[0].name}"):
        path, group = groups[i]
        where = f"{path}, row group {group}"

        def read(path: Path = path, group: int = group) -> DataFrame:
            return _cells(_open(path).read_row_group(group, columns=list(columns), use_threads=False))

        yield _tried(read, where)


def _cells(table: Any) -> DataFrame:
    """A part of a file as a DataFrame whose types do not depend on which cells of the part are empty."""
    import pandas as pd
    import pyarrow as pa

    whole = {
        getattr(pa, f"{u}int{n}")(): getattr(pd, f"{u.upper()}Int{n}Dtype")()
        for u in ("", "u")
        for n in (8, 16, 32, 64)
    }
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type) and not field.type.ordered:
            table = table.set_column(i, field.name, table.column(i).cast(field.type.value_type))
    return table.to_pandas(types_mapper={**whole, pa.bool_(): pd.BooleanDtype()}.get, ignore_metadata=True)


def _column_names(schema: Schema, path: Path) -> list[str]:
    """Names of the columns, without those that pandas keeps its index in.

    Raises:
        DataError: What pandas wrote cannot be understood: then an index could be taken for data.
    """
    try:
        index = json.loads((schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
        kept = {name for name in index if isinstance(name, str)}  # a range is not kept in a column
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path} has an entry 'pandas', which says what is an index, but it cannot be understood: {error}; write "
            "the file again"
        ) from error
    return [name for name in schema.names if name not in kept]


def _checked(path: Path, types: Mapping[str, DataType]) -> Any:
    """The metadata of a file whose columns of data are of these types."""
    own = _open(path)
    there = {field.name: field.type for field in own.schema_arrow}
    for name, kind in types.items():
        if there.get(name) != kind:
            raise DataError(
                f"{path}: column {name!r} is {there.get(name, 'missing')}, but {kind} in the first file; write all "
                "files with the same columns"
            )
    return own.metadata


def _kind_of(schema: Schema, columns: Sequence[str], name: str) -> Kind:
    types = {column: schema.field(column).type for column in columns}
    if types and all(_is_cell(kind) for kind in types.values()):
        return "table"
    if len(types) == 1:
        (kind,) = types.values()
        if _is_bytes(kind) or _is_struct(kind):
            return "pictures"
        if _is_list(kind) and _is_number(_innermost(kind)):
            return "lists"
    bad = listed([f"{column!r} ({kind})" for column, kind in types.items() if not _is_cell(kind)])
    raise DataError(
        f"{name} has columns that are no numbers, words, booleans or dates: {bad or 'it has none of data'}; "
        "choose others with columns=, or take one as label_column= or condition=. One column of lists of "
        "numbers or of encoded pictures can be data by itself"
    )


def _is_number(kind: DataType) -> bool:
    import pyarrow.types as types

    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)


def _is_cell(kind: DataType) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return (
        _is_number(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_temporal(kind)
        or types.is_decimal(kind)
        or types.is_null(kind)
    )


def _is_bytes(kind: DataType) -> bool:
    import pyarrow.types as types

    return types.is_binary(kind) or types.is_large_binary(kind)


def _is_struct(kind: DataType) -> bool:
    import pyarrow.types as types

    return (
        types.is_struct(kind) and kind.get_field_index("bytes") >= 0 and _is_bytes(kind.field("bytes").type)
    )


def _is_list(kind: DataType) -> bool:
    import pyarrow.types as types

    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _innermost(kind: DataType) -> DataType:
    while _is_list(kind):
        kind = kind.value_type
    return kind


def _nested(column: Array | ChunkedArray, where: str) -> np.ndarray:
    """Lists of one length as an array, an axis for each depth."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    shape = [len(values)]
    while _is_list(values.type):
        lengths = pc.call_function("list_value_length", [values]).unique().to_pylist()
        if len(lengths) > 1 or lengths in ([None], [0]):
            raise DataError(
                f"{where} has lists of several lengths: {', '.join(map(str, lengths[:5]))}; an example has one shape"
            )
        shape.append(lengths[0])
        values = values.flatten()
    if values.null_count:
        raise DataError(
            f"{where} has {values.null_count} missing values in its lists; fill or drop these rows"
        )
    return values.to_numpy(zero_copy_only=False).reshape(shape)


def _pictures(column: Array | ChunkedArray, where: str) -> list[bytes]:
    if column.null_count:
        raise DataError(f"{where} has {column.null_count} rows without a picture; fill or drop these rows")
    rows = column.to_pylist()
    return [row["bytes"] if isinstance(row, dict) else row for row in rows]
