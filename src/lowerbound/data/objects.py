"""Objects in memory, as libraries hand them out.

    arrays, tensors, lists of numbers or of arrays        x
    torch data sets, DataLoaders, lists of their items    x, (x, y), or dicts of columns
    pandas, polars, Arrow, and what else exports Arrow    a table, or a column of lists or of encoded pictures
    Hugging Face data sets                                the same; an Image is x, a ClassLabel the label
    dicts of columns                                      a table, or x as the only one that holds arrays
    dicts of train, valid and test                        any of these, with a split of its own

Of the libraries none is imported but pyarrow, for what exports Arrow.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
)

from ..errors import DataError, brief, listed
from .arrays import as_numpy
from .dataset import Data, Split
from .images import PARTS, completed, part_of
from .parquet import import_arrow, read_arrow
from .pictures import PictureForm
from .source import Source, check_names
from .tables import Reading, import_pandas, read_frame

_TAKEN = (
    "give a name, a path, an array, a tensor, a list of examples, a DataFrame (pandas, polars, Arrow), a data set of "
    "Hugging Face, or a map-style torch Dataset or its DataLoader"
)


@dataclass(frozen=True)
class Held:
    """What an object holds, in its order.

    Attributes:
        parts: By the names of parts of a split, or by "" where it has none: x, a pair (x, y), a dict of columns, a
            DataFrame, or a table of Arrow.
        features: What Hugging Face says of its columns.
    """

    parts: Mapping[str, Any]
    features: Mapping[str, Any]

    @property
    def form(self) -> str | None:
        """Which options of `load` it takes: of a "table", of "columns" that may be pictures, or none of these."""
        part = next(iter(self.parts.values()))
        return None if isinstance(part, np.ndarray | tuple) else "columns" if _in_columns(part) else "table"

    def read(self, form: PictureForm, reading: Reading, seed: int) -> Source:
        """Examples and labels.

        Args:
            form: What encoded pictures become.
            reading: What the columns of a table are.
            seed: Of what is drawn from train for a part that a split of its own lacks.

        Raises:
            ConfigError: A column does not exist, or an option is for something else.
            DataError: It holds what is no data.
        """
        reading, notes = _as_features_say(self.features, reading), []
        if "" in self.parts:
            return _read(self.parts[""], form, reading)
        joined = _read(_joined([*self.parts.values()]), form, reading)
        numbers = [PARTS.index(name) for name, part in self.parts.items() for _ in range(_length(part))]
        numbers = np.array(completed("the data", numbers, seed, notes))
        cuts = [np.flatnonzero(numbers == i) for i in range(len(PARTS))]
        return replace(
            joined,
            parts=tuple(np.asarray(joined.parts[0])[cut] for cut in cuts),
            labels=None if joined.labels is None else tuple(joined.labels[0][cut] for cut in cuts),
            conditions={
                name: tuple(entry[0][cut] for cut in cuts) for name, entry in joined.conditions.items()
            },
            notes=(*joined.notes, *notes),
        )


def examples_in(value: Any) -> np.ndarray | Held:
    """x alone, (N, ...), of an object that holds arrays; what a table or columns hold.

    Raises:
        ConfigError: pyarrow is missing.
        DataError: It is no object of the module's table, or its examples differ in shape.
    """
    found = held(value)
    part = found.parts.get("")
    return part if isinstance(part, np.ndarray) else part[0] if isinstance(part, tuple) else found


def held(value: Any) -> Held:
    """What an object of the module's table holds.

    Raises:
        ConfigError: pyarrow is missing.
        DataError: It is another object, or empty, or its examples differ in shape.
    """
    if isinstance(value, Held):
        return value
    own = {part_of(str(key)): part for key, part in value.items()} if isinstance(value, Mapping) else {}
    if "train" not in own or None in own or len(own) < len(value):
        own = {"": value}
    features = getattr(own.get("train", value), "features", None)
    return Held(
        {name or "": _plain(part) for name, part in own.items()},
        features if isinstance(features, Mapping) else {},
    )


def _in_columns(plain: Any) -> bool:
    return isinstance(plain, dict) or hasattr(plain, "schema")


def _read(plain: Any, form: PictureForm, reading: Reading) -> Source:
    if isinstance(plain, np.ndarray):
        return Source((plain,))
    if isinstance(plain, tuple):
        return Source((plain[0],), (plain[1],))
    if isinstance(plain, dict):
        form.check_unused(listed(plain), "lists")
        return _read_columns(plain, reading)
    return read_arrow(plain, form, reading) if _in_columns(plain) else read_frame(plain, reading)


def _read_columns(columns: dict[str, np.ndarray], reading: Reading) -> Source:
    """x is the column that is asked for, or the only one of arrays."""
    label, beside = reading.label_column, [*reading.conditions]
    x = [*(reading.columns or ())] or [
        n for n, column in columns.items() if column.ndim > 1 and n not in beside
    ]
    check_names([*x, *([] if label is None else [label]), *beside], columns, "the data have no column")
    if len(x) != 1:
        raise DataError(
            f"the data have columns {listed(columns)}, of which one is to be x: name it with columns="
        )
    over = [name for name in columns if name not in (*x, label, *beside)]
    return Source(
        (columns[x[0]],),
        None if label is None else (columns[label],),
        conditions={name: (columns[name],) for name in beside},
        notes=(f"passed over: {listed(over, 6)}, next to {x[0]!r}",) if over else (),
    )


# ------------------------------------------------------------------------------------------------ to one of few forms
def _plain(value: Any) -> Any:
    """What holds the examples of an object: x, (x, y), a dict of columns, a DataFrame, or a table of Arrow."""
    kind, pandas = type(value).__name__, sys.modules.get("pandas")
    if isinstance(value, Data | Split):
        raise DataError(f"a {kind} has been read already; use it as it is, or give x of its batches")
    if pandas is not None and isinstance(value, pandas.DataFrame):
        return value
    if hasattr(value, "to_frame"):  # a Series of pandas or polars
        return _plain(value.to_frame())
    if isinstance(value, np.ndarray | Tensor):
        return as_numpy(value)
    if isinstance(value, Mapping):
        return _of_columns({str(name): list(column) for name, column in value.items()})
    described = hasattr(value, "features") and hasattr(value, "column_names")
    sized = hasattr(value, "__len__") and not isinstance(value, IterableDataset)
    if not sized and (described or isinstance(value, Dataset)):
        raise DataError(f"{kind} has no length; give a map-style data set, or a list of its examples")
    if described:
        return _of_features(value)
    if isinstance(value, TensorDataset):
        return _of_entries([as_numpy(tensor) for tensor in value.tensors])
    if isinstance(value, DataLoader):
        return _of_batches(value)
    if isinstance(value, Dataset):
        return _of_items([value[i] for i in range(len(value))], kind)  # pyright: ignore[reportArgumentType]
    if isinstance(value, tuple) and [np.ndim(part) > 1 for part in value] == [True, False]:
        return _of_entries([*map(as_numpy, value)])  # (X, y)
    if isinstance(value, list | tuple):
        return _of_items(list(value), kind)
    if hasattr(value, "__arrow_c_stream__"):
        try:
            return import_arrow().table(value)
        except Exception as error:  # whatever the library that exports it raises
            raise DataError(f"a {kind} cannot be read as a table of Arrow: {brief(error, 200)}") from error
    if hasattr(value, "__array__") or hasattr(value, "__array_interface__"):
        return as_numpy(value)
    if hasattr(value, "collect"):
        raise DataError(f"a {kind} has not been computed; give the result of its .collect()")
    raise DataError(f"cannot load a {kind}; {_TAKEN}")


def _of_items(items: list[Any], kind: str) -> Any:
    """What examples one after the other are."""
    if not items:
        raise DataError(f"{kind} is empty")
    first = items[0]
    if isinstance(first, Mapping):
        names = list(dict.fromkeys(str(name) for item in items for name in item))
        return _of_columns({name: [item.get(name) for item in items] for name in names})
    entries = isinstance(first, list | tuple)
    if entries and kind in ("list", "tuple"):  # of numbers, unless its entries are arrays
        entries = bool(first) and not isinstance(first[0], list | tuple) and as_numpy(first[0]).ndim > 0
    if not entries:
        return _stacked(items)
    if any(len(item) not in (1, 2) for item in items):
        raise DataError(f"items of {kind} have {len(first)} entries; they must be x or (x, y)")
    return _of_entries([_stacked([*column]) for column in zip(*items, strict=True)])


def _of_entries(entries: Sequence[np.ndarray]) -> Any:
    if len(entries) > 2:
        raise DataError(f"items of the data set have {len(entries)} entries; they must be x or (x, y)")
    return entries[0] if len(entries) == 1 else (entries[0], entries[1])


def _of_batches(loader: DataLoader[Any]) -> Any:
    """All batches of a loader, of one that shuffles in the order of its data set; none is dropped."""
    data, sampler = loader.dataset, loader.sampler
    whole = isinstance(sampler, SequentialSampler) or (
        isinstance(sampler, RandomSampler)
        and not sampler.replacement
        and len(sampler) == len(sampler.data_source)
    )
    if isinstance(data, IterableDataset) or not whole or loader.batch_size is None:
        raise DataError(
            f"a DataLoader with {type(sampler).__name__} does not say which examples come in which order; give its "
            "data set, or a torch.utils.data.Subset of it"
        )
    if isinstance(sampler, RandomSampler):
        warnings.warn("the DataLoader shuffles; its data set is read in its own order", stacklevel=2)
    batches = list(
        DataLoader(data, loader.batch_size, num_workers=loader.num_workers, collate_fn=loader.collate_fn)
    )
    if not batches:
        raise DataError("the DataLoader is empty")
    if isinstance(batches[0], Mapping):
        return _of_columns({str(k): [v for batch in batches for v in batch[k]] for k in batches[0]})
    if not isinstance(batches[0], list | tuple):
        return np.concatenate([*map(as_numpy, batches)])
    return _of_entries([np.concatenate([*map(as_numpy, part)]) for part in zip(*batches, strict=True)])


def _of_columns(columns: dict[str, list[Any]]) -> Any:
    """A table, if all cells are single values; else an array for each column."""
    if len({len(column) for column in columns.values()}) > 1:
        raise DataError(f"columns of unlike lengths: {brief({k: len(v) for k, v in columns.items()}, 200)}")
    cells = {
        name: [v.item() if isinstance(v, Tensor) and not v.ndim else v for v in column]
        for name, column in columns.items()
    }
    wide = {name for name, column in cells.items() if any(_is_array(cell) for cell in column[:1])}
    if not wide:
        pandas = import_pandas()
        return pandas.DataFrame(
            {name: pandas.Series(column).infer_objects() for name, column in cells.items()}
        )
    return {name: _stacked(column) if name in wide else as_numpy(column) for name, column in cells.items()}


def _is_array(cell: Any) -> bool:
    return (
        isinstance(cell, list | tuple)
        or (hasattr(cell, "__array_interface__") and as_numpy(cell).ndim > 0)
        or (isinstance(cell, Tensor))
    )


def _stacked(items: list[Any]) -> np.ndarray:
    if not any(hasattr(item, "__array__") or hasattr(item, "__array_interface__") for item in items[:1]):
        return as_numpy(items)
    arrays = [as_numpy(item) for item in items]
    other = next((i for i, array in enumerate(arrays) if array.shape != arrays[0].shape), None)
    if other is not None:
        raise DataError(
            f"item 0 of the data set has shape {arrays[0].shape} but item {other} has {arrays[other].shape}; resize "
            "them to one shape"
        )
    return np.stack(arrays)


# ------------------------------------------------------------------------------------------------ Hugging Face
def _kinds(features: Mapping[str, Any], kind: str) -> list[str]:
    return [name for name, feature in features.items() if type(feature).__name__ == kind]


def _as_features_say(features: Mapping[str, Any], reading: Reading) -> Reading:
    """The only picture of a Hugging Face data set is x, its only class the label, if nothing else is asked."""
    pictures, classes = _kinds(features, "Image"), _kinds(features, "ClassLabel")
    taken = {*(reading.columns or ()), *reading.conditions, *(column.name for column in reading.known or ())}
    if reading.label_column is None and len(classes) == 1 and classes[0] not in taken:
        reading = replace(reading, label_column=classes[0])
    if reading.columns is None and reading.known is None and len(pictures) == 1:
        reading = replace(reading, columns=pictures)
    return reading


def _of_features(value: Any) -> Any:
    """A Hugging Face data set: its columns in Arrow, classes by their names, pictures as their files' bytes."""
    pa = import_arrow()
    table: Any = value.with_format("arrow")[:] if hasattr(value, "with_format") else None
    if not isinstance(table, pa.Table):
        return _of_items([value[i] for i in range(len(value))], type(value).__name__)
    for name in _kinds(value.features, "ClassLabel"):
        names = [*value.features[name].names, None]  # the last one is for -1, no class
        words = [None if number is None else names[number] for number in table.column(name).to_pylist()]
        table = table.set_column(table.column_names.index(name), name, pa.array(words, pa.string()))
    for name in _kinds(value.features, "Image"):
        rows = [
            row and (row["bytes"] or Path(row["path"]).read_bytes()) for row in table.column(name).to_pylist()
        ]
        table = table.set_column(table.column_names.index(name), name, pa.array(rows, pa.large_binary()))
    return table


# ------------------------------------------------------------------------------------------------ several parts
def _length(plain: Any) -> int:
    if isinstance(plain, tuple | dict):
        return len(next(iter(plain.values() if isinstance(plain, dict) else plain)))
    return len(plain)


def _joined(parts: list[Any]) -> Any:
    """The parts of a split one after the other."""
    first = parts[0]
    if len({type(part) for part in parts}) > 1:
        raise DataError(
            "train, valid and test are unlike objects, or some have labels and others not; make them alike"
        )
    try:
        if isinstance(first, np.ndarray):
            return np.concatenate(parts)
        if isinstance(first, tuple):
            return tuple(np.concatenate(column) for column in zip(*parts, strict=True))
        if isinstance(first, dict):
            return {name: np.concatenate([part[name] for part in parts]) for name in first}
        if hasattr(first, "schema"):
            return import_arrow().concat_tables(parts)
    except (ValueError, KeyError) as error:
        raise DataError(f"train, valid and test are unlike: {error}; make them alike") from error
    return import_pandas().concat(parts, ignore_index=True)
