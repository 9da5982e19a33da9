"""`load_like`: another source, read for a model whose schema is known."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError, ShapeError, listed
from .dataset import Data
from .load import load_as
from .objects import examples_in
from .several import join_parts
from .sparse import SparseRows, is_annotated, is_sparse
from .spec import ConditionSpec, DataSpec


def load_like(
    source: Any, spec: DataSpec, *, unseen: Literal["refuse", "leave out"] = "refuse", **options: Any
) -> Data:
    """Load another source than the one a model was trained on, with conditions and class numbers as it knows them.

    Args:
        source: As for `load`.
        spec: What the model is trained on; its conditions are what is read unless `condition` and `observed` say
            otherwise.
        unseen: What becomes of examples of a class that was never seen in training: "leave out" does so, with a
            warning of how many.
        **options: Those of `load`. Without `split`, a source that brings no split of its own is not cut: train, valid
            and test are each all of it, and one example is enough.

    Raises:
        ConfigError: An option is wrong, or does not fit this source.
        DataError: The data are not what `load` needs, an example has another shape, the condition lacks an entry, has
            one of another kind or shape, or has a class never seen in training.

    Example:
        >>> data = load("digits", condition="label")
        >>> load_like("digits", data.spec, seed=1).spec.conditions[0].classes[:3]
        ('0', '1', '2')
    """
    wanted = {entry.name: entry for entry in spec.conditions or ()}
    masks = [entry.masks for entry in wanted.values() if entry.kind == "observed"]
    usual = {
        "condition": [entry.name for entry in wanted.values() if entry.kind != "observed"] or None,
        "observed": masks[0] if masks else None,
    }
    data = load_as(source, spec, **(usual | options))
    own, splits = data.spec, [data.train, data.valid, data.test]
    if own.event_shape != spec.event_shape:
        raise DataError(
            f"{own.source} has examples of shape {own.event_shape}, but the model needs {spec.event_shape}"
        )
    came = {entry.name: entry for entry in own.conditions or ()}
    for name in wanted | came:
        _check_entry(came.get(name), wanted.get(name), name, own.source)
    known = [torch.ones(len(split), dtype=torch.bool) for split in splits]
    for name, entry in came.items():
        if entry.kind == "label":
            stored = [split.condition(name) for split in splits]
            classes = wanted[name].classes or ()
            came_as = _as_then(entry.classes, classes)
            strange = _unseen(stored, came_as, classes)
            numbers = _renumbered(stored, came_as, classes)
            none = all(bool((n < 0).all() and (s >= 0).all()) for n, s in zip(numbers, stored, strict=True))
            if strange and (none or unseen == "refuse"):
                raise DataError(
                    f"condition {name!r} of {own.source} has {listed([*map(repr, strange)])}, which was never "
                    f"seen in training; the classes are {listed(classes)}"
                )
            splits = [
                replace(split, conditions={**split.conditions, name: new})
                for split, new in zip(splits, numbers, strict=True)
            ]
            if strange:
                known = [k & ((n >= 0) | (s < 0)) for k, n, s in zip(known, numbers, stored, strict=True)]
                here = slice(1 if data.whole else None)
                count, every = (sum(int(f(k)) for k in known[here]) for f in (torch.sum, len))
                warnings.warn(
                    f"{every - count} of the {every} examples of {own.source} are left out: they have "
                    f"{listed([*map(repr, strange)])} as {name!r}, which was never seen in training",
                    stacklevel=2,
                )
    # A model of data without classes, or of others, leaves the labels as they are.
    labels = [split.labels for split in splits if split.labels is not None]
    came_as = _as_then(own.classes, spec.classes or ())
    if came_as and spec.classes and not _unseen(labels, came_as, spec.classes):
        numbers = _renumbered(labels, came_as, spec.classes)
        splits = [replace(split, labels=new) for split, new in zip(splits, numbers, strict=True)]
        own = replace(own, classes=spec.classes)
    conditions = tuple(replace(entry, classes=wanted[name].classes) for name, entry in came.items())
    own = replace(own, conditions=conditions or None)
    # Values may be missing here and not in training, or the other way: to the model that makes no difference.
    own = replace(own, missing=own.missing or spec.missing)
    splits = [replace(split, spec=own) for split in splits]
    found = data.with_splits(splits, data.order)
    found.read = tuple(splits)
    return found if all(bool(k.all()) for k in known) else found.kept([k.numpy() for k in known])


def read_examples(x: Any, spec: DataSpec | None) -> Tensor:
    """Examples as a model knows them: x (N, *event).

    Floats are x itself. What comes as bytes, whole numbers or a table is read as the model's data were: grey levels
    are dequantised or binarised as in training, always by the same draws.

    Args:
        x: An array or any other object that `load` reads, but no path.
        spec: What the model is trained on, if that is known.

    Raises:
        DataError: x is no such thing, or has no known relation to the data of training.
    """
    if isinstance(x, str | os.PathLike):
        raise DataError(
            f"x is a batch of examples; got the path {os.fspath(x)[:200]!r}: read it with "
            "lowerbound.data.load_like(path, model.data_spec)"
        )
    if spec is not None and spec.named is not None and isinstance(x, Mapping):
        return join_parts(x, spec)
    if is_sparse(x) and spec is None:
        x = SparseRows(x, "x")[:]
    found = x if isinstance(x, Tensor) or is_sparse(x) or is_annotated(x) else examples_in(x)
    floats = found.is_floating_point() if isinstance(found, Tensor) else _is_float(found)
    if floats or (spec is None and isinstance(found, Tensor)):
        return torch.as_tensor(found)
    if spec is None:
        if isinstance(found, np.ndarray) and found.dtype.kind in "bui":
            return torch.as_tensor(found)
        raise DataError(
            f"x is a {type(x).__name__} of no numbers that mean something to this model, which has not seen data; "
            "give an array or tensor of numbers"
        )
    whole = load_as(found, replace(spec, conditions=None)).all
    if whole.spec.event_shape != spec.event_shape:
        raise ShapeError(
            f"x has examples of shape {whole.spec.event_shape}, but the model needs {spec.event_shape}"
        )
    return next(iter(whole.batches(len(whole))))[0]


def _is_float(found: Any) -> bool:
    return isinstance(found, np.ndarray) and found.dtype in (np.float16, np.float32, np.float64)


def _as_then(own: tuple[str, ...] | None, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Names of classes, with true and false in the letters that they had in training."""
    truths = {name.lower(): name for name in classes if name.lower() in ("true", "false")}
    return tuple(name if name in classes else truths.get(name.lower(), name) for name in own or ())


def _check_entry(came: ConditionSpec | None, wanted: ConditionSpec | None, name: str, source: str) -> None:
    if wanted is None:
        raise DataError(f"condition {name!r} of {source} is unknown to the model; leave it out")
    if came is None:
        raise DataError(f"the model needs condition {name!r}, which was not asked of {source}; add it")
    if (came.kind, came.event_shape) != (wanted.kind, wanted.event_shape):
        raise DataError(
            f"condition {name!r} of {source} is a {came.kind} {came.event_shape}, but the model needs a "
            f"{wanted.kind} {wanted.event_shape}"
        )


def _unseen(numbers: Sequence[Tensor], own: tuple[str, ...], classes: tuple[str, ...]) -> list[str]:
    """Names of the classes that occur, but are not among the given ones."""
    occur = torch.cat(list(numbers)).unique().tolist()
    return [own[i] for i in occur if i >= 0 and own[i] not in classes]


def _renumbered(numbers: Sequence[Tensor], own: tuple[str, ...], classes: tuple[str, ...]) -> list[Tensor]:
    """Class numbers by the order of the given names; -1 stays, for it finds the last place of the table."""
    table = torch.tensor([classes.index(name) if name in classes else -1 for name in own] + [-1])
    return [table[part] for part in numbers]
