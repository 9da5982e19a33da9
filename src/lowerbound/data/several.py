"""x of several named parts: arrays of one source, each read on its own, flattened and put one after the other.

Each part is described by a `DataSpec` of its own, whose ``source`` is the part's name. A class number is a part of
shape (1,). What is missing is NaN in x: to a model, a part of which all is missing is not there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from ..errors import ConfigError, DataError, ShapeError, listed, suggest
from .arrays import as_numpy, check_array
from .entries import read_labels
from .reading import Reading
from .source import Source
from .spec import DataSpec
from .values import Meaning, interpret, scan


@dataclass(frozen=True)
class Readings:
    """The rule of each part, by which its stored values become x.

    Args:
        each: A reading for each part.
        specs: What each part is.
    """

    each: tuple[Reading, ...]
    specs: tuple[DataSpec, ...]

    def _split(self, v: Tensor) -> list[Tensor]:
        return list(v.split([spec.dimensions for spec in self.specs], -1))

    def __call__(self, v: Tensor, generator: Generator | None = None) -> Tensor:
        """X (N, D), float32, of stored values (N, D); draws as of `Reading`."""
        parts = []
        for reading, stored in zip(self.each, self._split(v), strict=True):
            # Where a value is missing there is none to draw from, and of NaN no level or class.
            x = reading(stored.nan_to_num(), generator).to(torch.float32)
            parts.append(torch.where(stored.isnan(), torch.nan, x))
        return torch.cat(parts, -1)

    def expected(self, v: Tensor) -> Tensor:
        """E[x | v] in float64, NaN where it is missing."""
        each = zip(self.each, self._split(v), strict=True)
        return torch.cat([torch.where(s.isnan(), torch.nan, r.expected(s.nan_to_num())) for r, s in each], -1)


def check_names(names: Any) -> list[str]:
    """The names of the parts, as a list.

    Raises:
        ConfigError: They are no two or more different names.
    """
    named = list(names) if isinstance(names, list | tuple) else []
    if (
        len(set(map(str, named))) < 2
        or len(set(named)) < len(named)
        or not all(isinstance(n, str) and n for n in named)
    ):
        raise ConfigError(
            f"parts={names!r} must be a list of two or more names: of x itself first, then of what lies beside it, "
            "like ['image', 'label']"
        )
    return named


def join_source(
    found: Source, names: Sequence[str], asked: Mapping[str, Any], like: DataSpec | None, name: str
) -> tuple[Source, tuple[DataSpec, ...], Readings]:
    """A source of which x has all parts, what each of them is, and how they are read.

    Args:
        found: What was read; its own x is the first part, the others lie in its conditions, or are its labels.
        names: Of the parts.
        asked: The options ``binarize`` and ``dequantize``, for pictures.
        like: What a model is trained on.
        name: What the source is called in messages.

    Raises:
        ConfigError: The source is streamed, or a table.
        DataError: A part does not exist, has another length, or is not what it was for the model.
    """
    if found.streamed or found.table is not None:
        what = "is streamed" if found.streamed else "is a table"
        raise ConfigError(
            f"parts= joins arrays in memory, but {name} {what}; give a dict of arrays, a .npz, or images with labels"
        )
    known = {part.source: part for part in (like.named if like is not None else None) or ()}
    if like is not None and list(known) != list(names):
        raise DataError(f"{name} has the parts {listed(names)}, but the model needs {listed([*known])}")
    specs, readings, columns = [], [], []
    beside = dict(found.conditions)
    for number, part in enumerate(names):
        what, of = f"part {part!r} of {name}", known.get(part)
        if number == 0:
            arrays = [np.asarray(array) for array in found.parts]
        elif part in beside:
            arrays = [as_numpy(array) for array in beside.pop(part)]
        elif part == "label" and found.labels is not None:
            arrays = list(found.labels)
        else:
            raise DataError(
                f"{name} has nothing named {part!r} to be a part of x; {suggest(part, [*beside])}"
            )
        lengths, wanted = [len(array) for array in arrays], [len(array) for array in found.parts]
        if lengths != wanted:
            raise DataError(
                f"{what} has {sum(lengths)} examples, but {names[0]!r} has {sum(wanted)}; give one each"
            )
        first = found if number == 0 else Source((), classes=found.classes if part == "label" else None)
        spec, reading, values = _read_part(part, replace(first, parts=tuple(arrays)), asked, of, what)
        specs.append(spec)
        readings.append(reading)
        columns.append([array.reshape(len(array), -1).astype(np.float32) for array in values])
    whole = tuple(np.concatenate(parts, 1) for parts in zip(*columns, strict=True))
    labels = None if "label" in names else found.labels
    source = Source(whole, labels, found.classes, conditions=beside, notes=found.notes, names=found.names)
    return source, tuple(specs), Readings(tuple(readings), tuple(specs))


def _read_part(
    part: str, source: Source, asked: Mapping[str, Any], like: DataSpec | None, what: str
) -> tuple[DataSpec, Reading, Sequence[np.ndarray]]:
    """What a part is, how its stored values are read, and these."""
    arrays = [np.asarray(array) for array in source.parts]
    first = arrays[0]
    if first.ndim == 1 and first.dtype.kind in "biuUO":
        return _read_classes(part, source, like, what)
    arrays = [check_array(a[:, None] if a.ndim == 1 else a, what) for a in arrays]
    source = replace(source, parts=tuple(arrays))
    shape = arrays[0].shape[1:]
    kind = "vector" if len(shape) == 1 else "image"
    if like is not None and (like.kind, like.event_shape) != (kind, shape):
        raise DataError(f"{what} has shape {shape}, but the model needs {like.kind} {like.event_shape}")
    facts = scan(source, what)
    own = asked if kind == "image" else {"binarize": None, "dequantize": True}
    meaning = interpret(source, facts, kind, name=what, like=like, values=None, **own)
    spec = DataSpec(
        part,
        kind,
        shape,
        meaning.values,
        meaning.binarize,
        meaning.levels,
        meaning.categories,
        missing=facts.missing > 0,
        stored=str(facts.stored_as),
        white=meaning.white,
    )
    return spec if like is None else like, meaning.reading, arrays


def _read_classes(
    part: str, source: Source, like: DataSpec | None, what: str
) -> tuple[DataSpec, Reading, Sequence[np.ndarray]]:
    """A part of one class for each example: its number, among those that the model knows if there is one."""
    arrays = source.parts
    ends = np.cumsum([0, *map(len, arrays)])
    rows = [slice(start, end) for start, end in pairwise(ends)]
    entry = read_labels(replace(source, labels=arrays), rows, what, optional=True)  # pyright: ignore[reportArgumentType]
    assert entry is not None
    classes = own = entry.spec.classes or ()
    numbers = [np.asarray(values).astype(np.float32) for values in entry.parts]
    if like is not None:
        classes = like.classes or ()
        if strange := [c for c in own if c not in classes]:
            raise DataError(
                f"{what} has {listed([*map(repr, strange)])}, but the classes are {listed([*classes])}"
            )
        table = np.array([*(classes.index(c) for c in own), -1], np.float32)
        numbers = [table[values.astype(int)] for values in numbers]
    elif len(classes) < 2:
        raise DataError(
            f"{what} has the class {listed([*classes]) or 'of none'} alone; a part of x needs two or more"
        )
    numbers = [np.where(values < 0, np.nan, values)[:, None] for values in numbers]
    spec = DataSpec(
        part,
        "vector",
        (1,),
        "categorical",
        categories=len(classes),
        classes=classes,
        missing=any(bool(np.isnan(values).any()) for values in numbers),
        stored="int64",
    )
    return spec, Reading("floats"), numbers


def meaning_of(readings: Readings) -> Meaning:
    """How x is read of which the parts are read so."""
    return Meaning("mixed", readings)  # pyright: ignore[reportArgumentType]


# ------------------------------------------------------------------------------------------------ to and from x
def split_parts(x: Tensor, spec: DataSpec) -> dict[str, Tensor]:
    """The parts of x by their names.

    Args:
        x: Examples (..., D).
        spec: What they are.

    Returns:
        Each part, (..., *event of the part), a view of x: a class as its number, NaN where it is missing.

    Raises:
        ConfigError: The data have no named parts.
        ShapeError: x has another shape.
    """
    named = _named(spec)
    if x.shape[-1:] != spec.event_shape:
        raise ShapeError(
            f"x with the parts {listed([p.source for p in named])} is (..., {spec.dimensions}); got {tuple(x.shape)}"
        )
    values = x.split([part.dimensions for part in named], -1)
    return {part.source: v.unflatten(-1, part.event_shape) for part, v in zip(named, values, strict=True)}


def join_parts(parts: Mapping[str, Any], spec: DataSpec) -> Tensor:
    """x of its parts, NaN where a part is not given.

    Args:
        parts: Values (N, *event of the part) by name; None stands for a part that is missing, and a class is given as
            it is in the data. Floats are x itself, of a class its number.
        spec: What they are.

    Returns:
        x (N, D), float32.

    Raises:
        ConfigError: The data have no named parts.
        DataError: There is no such part, or its values have no known meaning.
        ShapeError: A part has another shape, or the parts differ in length.

    Example:
        >>> from lowerbound.data import load
        >>> data = load("digits", parts=["image", "label"])
        >>> join_parts({"label": [3, 5]}, data.spec).shape
        torch.Size([2, 65])
    """
    from .like import read_examples

    named = _named(spec)
    known = {part.source: part for part in named}
    for name in parts:
        if name not in known:
            raise DataError(f"there is no part {name!r}; {suggest(str(name), known)}")
    given: dict[str, Tensor] = {}
    for name, value in parts.items():
        part = known[name]
        if value is None:
            continue
        if part.classes is not None and not _floats(value):
            _, _, (value,) = _read_classes(
                name, Source((np.asarray(as_numpy(value)),)), part, f"part {name!r}"
            )
        x = read_examples(value, part).to(torch.float32)
        if x.numel() != len(x) * math.prod(part.event_shape):
            raise ShapeError(
                f"part {name!r} is (N, {', '.join(map(str, part.event_shape))}); got {tuple(x.shape)}"
            )
        given[name] = x.reshape(len(x), -1)
    lengths = {name: len(x) for name, x in given.items()}
    if len(set(lengths.values())) != 1:
        raise ShapeError(
            f"the parts of x have one length, and one at least is given; got {lengths or 'none'}"
        )
    n = next(iter(lengths.values()))
    gap = torch.full((), torch.nan)
    return torch.cat([given.get(p.source, gap.expand(n, p.dimensions)) for p in named], 1)


def _floats(value: Any) -> bool:
    return as_numpy(value).dtype.kind == "f"


def _named(spec: DataSpec | None) -> tuple[DataSpec, ...]:
    if spec is None or spec.named is None:
        raise ConfigError("x has no named parts; load the data with parts=")
    return spec.named
