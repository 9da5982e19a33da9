"""What a model and a result must know of the data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import TypeAdapter, ValidationError

from ..errors import ConfigError, DataError, suggest
from .forms import FileForm

Kind = Literal["image", "vector"]
Values = Literal["binary", "unit", "real", "count", "categorical", "mixed"]
ColumnKind = Literal[
    "real", "integer", "category", "ordered", "date", "constant", "identifier", "text", "empty", "ignored"
]
Storage = Literal["float", "integer", "boolean", "text", "date"]
# Kinds of columns that are no part of x: there is nothing to learn of them.
ASIDE = ("constant", "identifier", "text", "empty", "ignored")
Binarize = Literal["none", "dynamic", "static", "threshold"]
ConditionKind = Literal["label", "vector", "image", "set", "observed"]


@dataclass(frozen=True)
class ConditionSpec:
    """Shape and meaning of one entry of the condition.

    Attributes:
        name: The entry's key in the condition of a batch.
        kind: "label", a class number; "vector"; "image"; "set", rows of numbers in no order; or "observed", the known
            part of x itself and where it is.
        event_shape: Shape of one entry: () for a label, (D,), (C, H, W), (rows, D), and for "observed" 2 before that
            of x.
        classes: Names of a label's classes 0..len-1.
        missing: Whether some training example has no value for the entry.
        masks: For "observed", the rule by which x is masked: its name, or the columns that are always observed.
        white: Of images, the largest grey level as they are stored: 255 for bytes, 1 for zeros and ones; None for
            floats.
    """

    name: str
    kind: ConditionKind
    event_shape: tuple[int, ...]
    classes: tuple[str, ...] | None = None
    missing: bool = False
    masks: str | tuple[str, ...] | None = None
    white: int | None = None

    def __str__(self) -> str:
        what = {
            "label": f"{len(self.classes or ())} classes",
            "observed": self.masks
            if isinstance(self.masks, str)
            else f"always {', '.join(self.masks or ())}",
        }.get(self.kind, f"{self.kind} {self.event_shape}")
        return f"{self.name} ({what}{', some missing' if self.missing else ''})"

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ConditionSpec:
        """The entry whose attributes these are.

        Raises:
            ConfigError: A key is unknown or missing, or a word is not one of its options.
        """
        return cls(**_entries(cls, stored, "the spec of a condition"))


@dataclass(frozen=True)
class ColumnSpec:
    r"""What a column of a table means, and how its cells become numbers of x.

    A number v is read as x = v - offset, a category as its place in ``categories``, an empty cell as NaN.

    Attributes:
        name: The column's name.
        kind: "real", with a density; "integer", "ordered" and "date", with a probability of each value; "category";
            or, as it is no part of x, "constant", "identifier" (another value in each row), "text" (too many
            different words), "empty", or "ignored" at the user's wish.
        stored: What the cells are in the file.
        offset: What is subtracted, in float64; dates count in days from 1970-01-01. Not 0 only where float32 would
            else lose digits.
        step: Values are whole multiples of it away from ``offset``, and have a probability; None if they lie on no
            such grid.
        cell: Width around a value whose probability it has, where values repeat that lie on no grid; if neither this
            nor a step is given, they have a density.
        digits: Decimal places of what is written; None for as many as there are.
        low: Smallest value of the training data.
        high: Largest value, and the largest number in identifiers that are numbered.
        spikes: Single values that so many rows have that they have a probability of their own, most frequent first.
        categories: Of a category or an ordered column, in their order; of a constant its one value; of identifiers
            that are numbered the words before the number.
        missing: Whether cells are empty.
        form: How the file writes the cells, see `forms`; None as Python does.
        gap: How it writes an empty one.
        gaps: Words and numbers that say a cell is empty, besides the usual ones.
    """

    name: str
    kind: ColumnKind
    stored: Storage
    offset: float = 0.0
    step: float | None = None
    cell: float | None = None
    digits: int | None = None
    low: float | None = None
    high: float | None = None
    spikes: tuple[float, ...] = ()
    categories: tuple[str | bool | int | float, ...] | None = None
    missing: bool = False
    form: str | None = None
    gap: str = ""
    gaps: tuple[str, ...] = ()

    @property
    def is_modelled(self) -> bool:
        """Whether the column is a part of x."""
        return self.kind not in ASIDE

    @property
    def is_number(self) -> bool:
        """Whether x is the number itself, and not the place of a category."""
        return self.kind in ("real", "integer", "date")

    @property
    def words(self) -> list[str]:
        """The categories as the file writes them."""
        own = (self.form or "").split("/")
        return [own[v] if isinstance(v, bool) and len(own) == 2 else str(v) for v in self.categories or ()]

    def on_grid(self, v: np.ndarray) -> np.ndarray:
        """Numbers in the column's units, those of steps at the nearest one."""
        return v if self.step is None else np.round((v - self.offset) / self.step) * self.step + self.offset

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ColumnSpec:
        """The column whose attributes these are.

        Raises:
            ConfigError: A key is unknown or missing, or a value of a wrong type.
        """
        return cls(**_entries(cls, stored, "the schema of a column"))


@dataclass(frozen=True)
class DataSpec:
    r"""Shape and meaning of one example as the model sees it; JSON through `to_dict` and `from_dict`.

    Attributes:
        source: Name of the data set, the path as given, or "array" for what came from memory.
        kind: "image" with event shape (C, H, W), or "vector" with event shape (D,).
        event_shape: Shape of one example.
        values: "binary" {0, 1}, "unit" [0, 1], "real", "count" {0, 1, 2, ...}, or "categorical": integers 0..K-1.
        binarize: How grey levels became bits; part of every reported number, for the four are not comparable.
        levels: Number of grey levels :math:`L` when :math:`x = (v + u)/L` is dequantised, else None.
        categories: :math:`K` when values are categorical.
        columns: Names of a table's columns.
        classes: Names of the labels 0..len-1.
        conditions: The entries of the condition that batches bring, or None.
        missing: Whether values of x may be missing, which NaN marks.
        table: What each column of a table means, those that are no part of x included; None for other data.
        stored: Type of the stored values of data that are no table, in numpy's words; None if that is not known.
        white: Their largest grey level, if they are grey levels.
        file: How the file of a table is written, if it is one of texts.
        named: The named parts of x, which has them flattened, one after the other; ``source`` is a part's name. None
            if x is of one kind.
    """

    source: str
    kind: Kind
    event_shape: tuple[int, ...]
    values: Values
    binarize: Binarize = "none"
    levels: int | None = None
    categories: int | None = None
    columns: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    conditions: tuple[ConditionSpec, ...] | None = None
    missing: bool = False
    table: tuple[ColumnSpec, ...] | None = None
    stored: str | None = None
    white: float | None = None
    file: FileForm | None = None
    named: tuple[DataSpec, ...] | None = None

    @property
    def tabular(self) -> bool:
        """Whether x has columns of kinds of their own: of a table that is not zeros and ones alone."""
        return self.table is not None and self.values != "binary"

    @property
    def parts(self) -> list[dict[str, Any]] | None:
        """What a likelihood must know of a table's columns, in the units of x, or of named parts.

        See `likelihoods.Columns` and `likelihoods.Parts`.
        """
        if self.named is not None:
            of_part = [(part, {"categories": part.categories, "parts": part.parts}) for part in self.named]
            return [
                {"name": part.source, "shape": list(part.event_shape), "values": part.values}
                | {key: value for key, value in facts.items() if value is not None}
                for part, facts in of_part
            ]
        if self.table is None:
            return None
        parts: list[dict[str, Any]] = []
        for column in self.table:
            if column.kind in ("category", "ordered"):
                part: dict[str, Any] = {"categories": len(column.categories or ())}
            elif column.is_modelled:
                # Numbers of which none is negative stay so.
                low = -column.offset if column.low is not None and column.low >= 0 else None
                if low is not None and column.step:
                    low = math.ceil(low / column.step - 1e-6) * column.step
                spikes = [spike - column.offset for spike in column.spikes]
                part = {"step": column.step, "cell": column.cell, "low": low, "spikes": spikes}
            else:
                continue
            part["missing"] = column.missing
            parts.append({key: value for key, value in part.items() if value or (key, value) == ("low", 0)})
        return parts

    @property
    def dimensions(self) -> int:
        """Number of values in one example."""
        return math.prod(self.event_shape)

    @property
    def log_volume(self) -> float:
        r"""Nats per example from the density of x to the probability of the discrete original.

        A grey level is a cell of volume :math:`L^{-D}`, so
        :math:`-\log P(v) \le -\mathbb{E}_u \log p(x) + D \log L`; 0 when nothing was dequantised.

        Reference:
            A note on the evaluation of generative models (Theis et al., 2016), https://arxiv.org/abs/1511.01844
        """
        if self.named is not None:
            return sum(part.log_volume for part in self.named)
        return 0.0 if self.levels is None else self.dimensions * math.log(self.levels)

    @property
    def owners(self) -> tuple[str, ...] | None:
        """The named part or the column that each element of a flattened x belongs to; None if there are no names."""
        return self.columns or owners_of(self.named)

    def places(self, names: Sequence[str]) -> list[bool]:
        """Which elements of a flattened x belong to named parts, or to columns of a table.

        Raises:
            ConfigError: There is no such part or column.
        """
        owners = self.owners
        if owners is None:
            raise ConfigError(
                f"{self.source} has neither named parts nor columns; give a mask of x in their place"
            )
        for name in names:
            if name not in owners:
                raise ConfigError(
                    f"{self.source} has no part {name!r}; {suggest(str(name), dict.fromkeys(owners))}"
                )
        return [owner in names for owner in owners]

    def to_dict(self) -> dict[str, Any]:
        """The attributes with lists for tuples, as JSON gives them back."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> DataSpec:
        """Inverse of `to_dict`.

        Raises:
            ConfigError: A key is unknown or missing, or a word is not one of its options.
        """
        entries = _entries(cls, stored, "the data spec")
        if entries.get("conditions") is not None:
            entries["conditions"] = tuple(map(ConditionSpec.from_dict, entries["conditions"]))
        if entries.get("table") is not None:
            entries["table"] = tuple(map(ColumnSpec.from_dict, entries["table"]))
        if entries.get("named") is not None:
            entries["named"] = tuple(map(DataSpec.from_dict, entries["named"]))
        if entries.get("file") is not None:
            entries["file"] = FileForm(**_entries(FileForm, entries["file"], "the form of a file"))
        return cls(**entries)

    def check_same(self, came: DataSpec) -> None:
        """Raise unless the numbers of other data mean what those of these data mean.

        Class numbers and columns are known to a model by their order alone.

        Args:
            came: The schema of the other data.

        Raises:
            DataError: they have other columns, or a condition of another shape or other classes.
        """
        pairs: list[tuple[str, Sequence[Any], Sequence[Any]]] = []
        if self.owners and came.owners:
            whats = "the columns" if self.named is None else "the parts"
            pairs.append((whats, self.owners, came.owners))
        entries = {entry.name: entry for entry in came.conditions or ()}
        for entry in self.conditions or ():
            other = entries.get(entry.name, entry)
            if (entry.kind, entry.event_shape) != (other.kind, other.event_shape):
                own, its = (f"{e.kind} {e.event_shape}" for e in (entry, other))
                raise DataError(
                    f"{came.source} has a condition {entry.name!r} of {its}; the model needs {own}"
                )
            if entry.kind == "label":
                pairs.append((f"in {entry.name!r} the classes", entry.classes or (), other.classes or ()))
        for what, own, its in pairs:
            if own != its:
                raise DataError(
                    f"{came.source} has {what} {_listed(its)}; the model was made for {_listed(own)}, in this order: "
                    "read the data with lowerbound.data.load_like(source, model.data_spec)"
                )


def owners_of(named: Sequence[DataSpec] | None) -> tuple[str, ...] | None:
    """The part that each element of a flattened x belongs to."""
    return None if named is None else tuple(part.source for part in named for _ in range(part.dimensions))


def _entries(cls: type, stored: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The attributes of a spec after JSON, with tuples for lists; entries of the condition are left as they are."""
    if not isinstance(stored, Mapping):
        raise ConfigError(f"{what} is a table of entries; got {stored!r}")
    required = {field.name: field.default is MISSING for field in fields(cls)}
    for key in stored:
        if key not in required:
            raise ConfigError(f"{what} has no entry {key!r}; {suggest(str(key), required)}")
    missing = [key for key, needed in required.items() if needed and key not in stored]
    if missing:
        raise ConfigError(f"{what} lacks {', '.join(missing)}; it has {', '.join(stored) or 'nothing'}")
    return {key: _typed(cls, key, value, what) for key, value in stored.items()}


def _typed(cls: type, key: str, value: Any, what: str) -> Any:
    """The value of an entry, if it is of the type that the entry has."""
    hint = get_type_hints(cls)[key]
    if get_origin(hint) is Literal:
        check_option(key, value, get_args(hint))
    try:
        nested: dict[str, Any] = dict.fromkeys(("conditions", "table", "named"), tuple[Any, ...] | None)
        wanted = (nested | {"file": dict[str, Any] | None}).get(key, hint)
        return TypeAdapter(wanted).validate_json(json.dumps(value), strict=True)
    except (ValidationError, TypeError):
        raise ConfigError(f"{what} has {key}={str(value)[:80]!r}, which is of a wrong type") from None


def _listed(names: Sequence[Any]) -> str:
    return ", ".join(map(str, names[:10])) + (", ..." if len(names) > 10 else "")


def check_option(option: str, value: object, options: tuple[Any, ...]) -> None:
    """Raise a ConfigError unless the value is one of the options."""
    if value not in options:
        raise ConfigError(f"{option}={value!r} is not known; {suggest(str(value), map(str, options))}")
