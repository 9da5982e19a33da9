"""Labels and the entries of a condition: from arrays as found to tensors, numbered, typed and checked.

    dtype                             axes                    kind      stored as
    whole numbers, words, booleans    (N,)                    label     int64 class numbers, -1 where missing
    floats                            (N,)                    vector    float32 (N, 1), NaN where missing
    numbers                           (N, D)                  vector    float32 (N, D), NaN where missing
    numbers                           those of images         image     float32 (N, C, H, W), NaN where missing
    Shared(..., kind="image")         (N, C, H, W), any C     image     the same
    Shared(..., kind="set")           (N, rows, D)            set       float32 (N, rows, D), a row with a NaN is none

What comes as `Shared` is stored so: each value once, and an index. Images of bytes stay bytes: those with grey levels
are uint8 and read as v / 255, those of zeros and ones are bool.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError, DataError, brief, listed
from .arrays import as_numpy, check_array
from .shared import Shared, Stored
from .source import Source
from .spec import ConditionSpec, DataSpec

_NOTHING = ("None", "nan", "NaN", "NaT", "<NA>")
_TAKEN = "give whole numbers or strings"
_KINDS = {"word": str, "boolean": (bool, np.bool_), "number": (int, float, np.integer, np.floating)}
_LONGEST = 1000  # letters of a class's name
_EXACT = 2**53  # from here on a float is not one whole number


class Entry(NamedTuple):
    """One entry of the condition, or the labels, stored for train, valid and test."""

    spec: ConditionSpec
    parts: tuple[Any, ...]


def read_entry(value: Stored) -> Tensor:
    """Stored rows of an entry as a batch has them: float32, and labels int64."""
    if isinstance(value, Shared):
        value = value.dense()
    if value.dtype == torch.uint8:
        return value.float().div_(255)
    return value if value.dtype == torch.int64 else value.float()


def read_labels(source: Source, rows: Sequence[Any], name: str, *, optional: bool) -> Entry | None:
    """The labels of a source, if it has any, as class numbers.

    Args:
        source: Its labels are whole numbers or strings.
        rows: Which rows of the source, its parts one after the other, are train, valid and test.
        name: What the source is called in messages.
        optional: Whether labels may be missing.

    Raises:
        DataError: Labels are of another type, lie outside the classes that the source names, or are missing.
    """
    if source.labels is None:
        return None
    what = f"labels of {name}"
    numbers, classes = _number(_concatenated(source.labels, what), source.classes, what)
    missing = numbers < 0
    if missing.any() and not optional:
        raise DataError(
            f"{what} are missing for {missing.sum()} examples, the first in row {missing.argmax()}, counted from 0; "
            "fill or drop these, or pass condition='label', for a condition may be missing"
        )
    return Entry(ConditionSpec("label", "label", (), classes), tuple(numbers[index] for index in rows))


def read_entries(
    source: Source,
    names: Sequence[str],
    labels: Entry | None,
    rows: Sequence[Any],
    name: str,
    *,
    labelled: int | None = None,
    seed: int = 0,
    like: DataSpec | None = None,
) -> list[Entry]:
    """The entries of the condition, in the order of their names, by the module's table.

    Args:
        source: Where they lie.
        names: What to condition on.
        labels: The source's labels, which are the entry "label" unless the source has another of that name.
        rows: Which rows of the source, its parts one after the other, are train, valid and test.
        name: What the source is called in messages.
        labelled: How many of the labels of the training split to keep.
        seed: Which of them.
        like: What a model is trained on: an entry of images is stored as it was then, and may be missing throughout.

    Raises:
        DataError: An entry does not exist, fits no line of the table, has infinite values, or is missing in all of
            the training split.
        ConfigError: So many labels cannot be kept.
    """
    entries = []
    known = {} if like is None else {entry.name: entry for entry in like.conditions or ()}
    for key in names:
        if key in source.conditions:
            entry = _read(key, source.conditions[key], rows, f"condition {key!r} of {name}", known.get(key))
        elif key != "label":
            raise DataError(
                f"{name} has nothing named {key!r} to condition on, only tables and .npz files have; use 'label', "
                f"or pass the array: condition={{{key!r}: array}}"
            )
        elif labels is None:
            raise DataError(
                f"condition='label', but {name} has no labels; pass labels=, or for a table label_column="
            )
        else:
            entry = labels
        if key == "label" and labelled is not None:
            entry = _keep_labels(entry, labelled, seed)
        train = entry.parts[0]
        if isinstance(train, Shared):
            train = train.distinct().numpy()
        missing = train < 0 if entry.spec.kind == "label" else _missing(train, entry.spec.kind == "set")
        if missing.all() and like is None:
            raise DataError(
                f"condition {key!r} of {name} has no value in the training split; fill it, or leave it out"
            )
        entries.append(entry._replace(spec=replace(entry.spec, missing=bool(missing.any()))))
    return entries


def _keep_labels(entry: Entry, count: int, seed: int) -> Entry:
    """Keep so many labels of the training split, of each class equally many up to one; the others become -1."""
    if entry.spec.kind != "label":
        raise ConfigError(
            f"labelled={count} needs class labels, but condition 'label' is a {entry.spec.kind}"
        )
    train, *others = entry.parts
    # A stream of its own: the permutation of the examples comes from the seed alone.
    shuffled = np.random.default_rng([seed, 1]).permutation(np.flatnonzero(train >= 0))
    classes, sizes = np.unique(train[shuffled], return_counts=True)
    if not len(classes) <= count <= len(shuffled):
        raise ConfigError(
            f"labelled={count}, but the training split has {len(shuffled)} labels of {len(classes)} classes; keep at "
            "least one for each class and no more than there are"
        )
    # The first of every class, then the second of every class, ...
    turn = np.zeros(len(shuffled), np.int64)
    for label in classes:
        of_class = train[shuffled] == label
        turn[of_class] = np.arange(of_class.sum())
    order = np.argsort(turn, kind="stable")[:count]
    if sizes.min() < turn[order[-1]]:
        few = (entry.spec.classes or ())[classes[sizes.argmin()]]
        raise ConfigError(
            f"labelled={count} cannot be equally many of each of {len(classes)} classes: {few!r} has only "
            f"{sizes.min()} in the training split; keep fewer"
        )
    kept = np.full_like(train, -1)
    kept[shuffled[order]] = train[shuffled[order]]
    return Entry(entry.spec, (kept, *others))


def _read(
    name: str, parts: tuple[np.ndarray, ...], rows: Sequence[Any], what: str, like: ConditionSpec | None
) -> Entry:
    if isinstance(parts[0], Shared):
        return _read_shared(name, parts[0], rows, what, like)
    values = _concatenated(parts, what)
    spec, values = _read_values(name, values, None, what, like)
    return Entry(spec, tuple(values[index] for index in rows))


def _read_shared(
    name: str, shared: Shared, rows: Sequence[Any], what: str, like: ConditionSpec | None
) -> Entry:
    """An entry of values that examples share; of classes, which take no room, one each."""
    kind = shared.kind
    spec, values = _read_values(name, as_numpy(shared.values), kind, what, like)
    if kind is not None and kind != spec.kind:
        raise DataError(f"{what} is given as {kind!r}, but values of shape {values.shape} are {spec.kind!r}")
    index = as_numpy(shared.index)
    if spec.kind == "label":
        return Entry(spec, tuple(values[index[of_split]] for of_split in rows))
    stored = torch.from_numpy(np.array(values, order="C"))  # the data do not change with the caller's array
    return Entry(spec, tuple(Shared(stored, index[of_split], kind) for of_split in rows))


def _read_values(
    name: str, values: np.ndarray, kind: str | None, what: str, like: ConditionSpec | None = None
) -> tuple[ConditionSpec, np.ndarray]:
    """What an entry is, and its values as they are stored."""
    if kind == "set":
        if values.ndim != 3 or values.dtype.kind not in "fiu" or not values.size:
            raise DataError(f"{what} is a set, so (N, rows, D) numbers; got {values.shape} {values.dtype}")
        return ConditionSpec(name, "set", values.shape[1:]), _floats(values, what)
    if like is not None and like.kind == "vector" and values.ndim == 1 and values.dtype.kind in "biuO":
        values = _as_floats(values, what)
    empty = (
        like is not None
        and like.kind == "label"
        and values.dtype.kind == "f"
        and bool(np.isnan(values).all())
    )
    if kind is None and values.ndim == 1 and (values.dtype.kind in "biuUO" or empty):
        values, classes = _number(values, None, what)
        return ConditionSpec(name, "label", (), classes), values
    expected = () if like is None else like.event_shape
    values = values[:, None] if values.ndim == 1 else values
    values = check_array(values, what, any_channels=kind == "image", axes=expected)
    spec = ConditionSpec(name, "vector" if values.ndim == 2 else "image", values.shape[1:])
    white = None if like is None else like.white
    if white == 255 and values.dtype.kind in "iu" and 0 <= values.min() <= values.max() <= 255:
        values = values.astype(np.uint8)  # the same grey levels, whatever whole numbers they are stored as
    if spec.kind == "vector" and like is None:
        _check_digits(values, what)
    if spec.kind == "image" and values.dtype.kind in "bu" and white != 255 and values.max() <= 1:
        values, white = values.astype(bool), 1
    elif spec.kind == "vector" or values.dtype != np.uint8:
        values = _floats(values, what)
        if white is not None and not 0 <= np.nanmin(values) <= np.nanmax(values) <= 1:
            raise DataError(
                f"{what} holds {values.dtype} up to {np.nanmax(values):g}, but in training it held grey levels "
                f"0..{white:g}; give bytes, or bring them to [0, 1]"
            )
    else:
        if like is not None and white != 255:
            raise DataError(
                f"{what} holds bytes, but in training it did not: say what they mean by giving floats as then"
            )
        white = 255
    return replace(spec, white=white), values


def _check_digits(values: np.ndarray, what: str) -> None:
    """Refuse numbers that float32 would make equal: what is large beside its own spread."""
    with np.errstate(all="ignore"):
        low, high = (end(values, axis=0).astype(np.float64) for end in (np.fmin.reduce, np.fmax.reduce))
        lost = np.maximum(abs(low), abs(high)) * np.finfo(np.float32).eps > 1e-3 * (high - low)
    lost &= high > low
    if values.dtype.itemsize > 2 and lost.any():
        at = int(lost.argmax())
        raise DataError(
            f"{what} lies between {low[at]:.12g} and {high[at]:.12g}, which float32 hardly tells apart; subtract an "
            "offset from it"
        )


def _as_floats(values: np.ndarray, what: str) -> np.ndarray:
    """Whole numbers of an entry that held floats in training, and an empty column, as floats."""
    try:
        return np.array([np.nan if str(value) in (*_NOTHING, "") else value for value in values], np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{what} holds {values[0]!r}, but in training it held numbers") from None


def _floats(values: np.ndarray, what: str) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        values = values.astype(np.float32)
    infinite = np.isinf(values).reshape(len(values), -1).any(1)
    if infinite.any():
        raise DataError(
            f"{what} has values that are infinite or beyond float32 in {infinite.sum()} examples, the first in row "
            f"{infinite.argmax()}, counted from 0; correct them, or set them to NaN for missing"
        )
    return values


def _concatenated(parts: Sequence[np.ndarray], what: str) -> np.ndarray:
    """The values of all parts; values of unlike kinds stay what they are, as objects."""
    if len({part.shape[1:] for part in parts}) > 1:
        raise DataError(f"{what} has parts of several shapes: {', '.join(str(part.shape) for part in parts)}")
    kinds = {"i" if part.dtype.kind == "u" else part.dtype.kind for part in parts}
    if len(kinds) == 1 or kinds == {"i", "f"}:
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if kinds != {"i"} or joined.dtype.kind != "f":  # numpy makes floats of signed and unsigned ones
            return joined
    elif not kinds <= set("bifUO"):
        raise DataError(
            f"{what} have parts of unlike types: {listed([p.dtype for p in parts])}; make them alike"
        )
    return np.concatenate([part.astype(object) for part in parts])


def _number(
    values: np.ndarray, classes: tuple[str, ...] | None, what: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers (N,), -1 for what is missing, and the names of the classes.

    Without names the classes are what occurs, in order.
    """
    if values.dtype.kind not in "biufUO" or values.ndim != 1:
        raise DataError(f"{what} have dtype {values.dtype} and shape {values.shape}; {_TAKEN}")
    missing = _missing(values)
    present = _of_one_kind(values[~missing], what)
    if classes is None:
        found, present = _unique(present)
        classes = tuple(str(label) for label in found)
    elif len(present) and not 0 <= present.min() <= present.max() < len(classes):
        raise DataError(
            f"{what} lie in [{present.min()}, {present.max()}], but there are {len(classes)} classes"
        )
    numbers = np.full(len(values), -1)
    numbers[~missing] = present
    return numbers, classes


def _of_one_kind(labels: np.ndarray, what: str) -> np.ndarray:
    """Labels (N,) as whole numbers, booleans or words; words that came as objects stay so.

    Raises:
        DataError: They are something else, or of several kinds: no two of them may become one class by a cast.
    """
    if labels.dtype == object:
        first: dict[str | None, Any] = {}
        for label in labels:
            kind = next((kind for kind, types in _KINDS.items() if isinstance(label, types)), None)
            first.setdefault(kind, label)
        if None in first or len(first) > 1:
            shown = " and ".join(brief(label) for label in first.values())
            raise DataError(f"{what} have dtype object, like {shown}; {_TAKEN}")
        if "boolean" in first:
            return labels.astype(bool)
        if "number" in first:
            _check_whole(
                np.array([label for label in labels if isinstance(label, float | np.floating)]), what
            )
            try:
                return np.array([int(label) for label in labels], np.int64)
            except OverflowError:
                raise DataError(f"{what} have whole numbers beyond 64 bits; write them as words") from None
    if labels.dtype.kind == "f":
        _check_whole(labels, what)
        return labels.astype(np.int64)
    if labels.dtype.kind in "UO" and (longest := max(map(len, labels), default=0)) > _LONGEST:
        raise DataError(f"{what} have one of {longest} letters; a class has a name of at most {_LONGEST}")
    return labels


def _check_whole(labels: np.ndarray, what: str) -> None:
    part = ~np.isfinite(labels) | (labels != np.floor(labels))
    if part.any():
        raise DataError(f"{what} have dtype {labels.dtype}, like {labels[part][0]!r}; {_TAKEN}")
    if np.abs(labels).max(initial=0) >= _EXACT:
        raise DataError(
            f"{what} have floats beyond 2^53, like {labels[np.abs(labels).argmax()]!r}, which stand for several "
            "whole numbers each; write them as integers without gaps, or as words"
        )


def _unique(labels: np.ndarray) -> tuple[Iterable[Any], np.ndarray]:
    """The different labels in order, and the number of each in them."""
    if labels.dtype != object:  # words as objects would each take the room of the longest as an array
        return np.unique(labels, return_inverse=True)
    found = sorted(set(labels))
    number = {label: i for i, label in enumerate(found)}
    return found, np.array([number[label] for label in labels], np.int64)


def _missing(values: np.ndarray, is_set: bool = False) -> np.ndarray:
    """Which rows (N,) have no value: NaN, None, an empty word, or what pandas puts in an empty cell.

    Of a set, those are missing of which each row has a NaN.
    """
    if is_set:
        return np.all(np.any(np.isnan(values), axis=2), axis=1)
    if values.dtype.kind == "f":
        return np.any(np.isnan(values).reshape(len(values), -1), axis=1)
    if values.dtype.kind == "U":
        return np.asarray(values == "")
    if values.dtype.kind == "O":
        # By their words, for pandas' NA cannot be compared.
        return np.array([v == "" if isinstance(v, str) else str(v) in _NOTHING for v in values], bool)
    return np.zeros(len(values), bool)
