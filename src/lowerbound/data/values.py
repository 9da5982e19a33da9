"""What stored values mean: which of the model's kinds of values they are, and how they are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..errors import ConfigError, DataError, listed
from .blocks import Blocks
from .reading import Reading
from .rows import chunk_length
from .source import Source
from .spec import Binarize, DataSpec, Kind, Values


@dataclass(frozen=True)
class Facts:
    """What a pass over all values found.

    Attributes:
        low: Smallest value.
        high: Largest value.
        integral: All are whole numbers.
        stored_as: Their dtype.
        missing: How many are missing: NaN.
        where: The place of the first of these.
        constant: Columns of vectors that have one value.
        rows: They are vectors.
        two: They are bytes, 0 and 255 alone.
    """

    low: float
    high: float
    integral: bool
    stored_as: np.dtype
    missing: int = 0
    where: str = ""
    constant: tuple[str, ...] = ()
    rows: bool = False
    two: bool = False

    def notes(self, meaning: Meaning, table: bool) -> list[str]:
        """What is to be said of the values, read as they are, of a table or not."""
        said = []
        if self.missing:
            what = (
                "1 value is missing, it is"
                if self.missing == 1
                else f"{self.missing} values are missing, the first"
            )
            said.append(f"{what} at {self.where}; what is missing is not scored")
        if meaning.values == "real" and self.constant:
            said.append(
                f"constant: column {listed(self.constant)}; the density of a constant grows for ever in training, so "
                "that -log p(x) means nothing: leave it out, or give a DataFrame"
            )
        elif meaning.values == "real" and self.integral and self.rows and not table:
            said.append(
                "all values are whole numbers, of which a density is learned; values='count', a DataFrame or a table "
                "gives each a probability"
            )
        if meaning.values == "real" and not self.rows:
            said.append(
                "read as images, although the values are no grey levels; reshape to (N, D) what is no picture"
            )
        if meaning.values == "unit" and self.two:
            said.append("the only levels are 0 and 255; binarize='threshold' makes zeros and ones of them")
        return said

    @property
    def binary(self) -> bool:
        """All values are 0 or 1."""
        return self.integral and self.low >= 0 and self.high <= 1

    def __str__(self) -> str:
        return f"the data are {self.stored_as} in [{self.low:g}, {self.high:g}]"


def scan(source: Source, name: str) -> Facts:
    """One pass over all values, chunk by chunk.

    Raises:
        DataError: Some values are infinite or beyond float32, with their count and the place of the first; float32
            cannot tell those of a column apart; or all are missing.
    """
    low, high, integral, bad, where, missing, gap = np.inf, -np.inf, True, 0, "", 0, ""
    two = source.parts[0].dtype == np.uint8
    bounds: np.ndarray | None = None
    for part, examples in enumerate(source.parts):
        for start, chunk in _chunks(examples):
            if chunk.dtype.kind == "f":
                wide = chunk
                with np.errstate(over="ignore", invalid="ignore"):
                    chunk = chunk.astype(np.float32, copy=False)
                if not np.isfinite(chunk).all():
                    empty = np.isnan(wide)
                    wrong = ~np.isfinite(chunk) & ~empty
                    if wrong.any():
                        where = where or _place(source, part, start, wrong)
                        bad += int(wrong.sum())
                        continue
                    gap = gap or _place(source, part, start, empty)
                    missing += int(empty.sum())
                    chunk = chunk[~empty]
                    if not len(chunk):
                        continue
                integral = integral and bool((chunk == np.floor(chunk)).all())
                if wide.ndim == 2:
                    bounds = _bounds(wide, bounds)
            else:
                two = two and bool(((chunk == 0) | (chunk == 255)).all())
                if chunk.dtype.itemsize > 2 and chunk.ndim == 2:
                    bounds = _bounds(chunk, bounds)
            low, high = min(low, float(chunk.min())), max(high, float(chunk.max()))
    if bad:
        raise DataError(
            f"{name} has {bad} values that are infinite or beyond float32, the first at {where} (counted from 0); "
            "correct them, or set them to NaN if they are missing"
        )
    if low > high:
        raise DataError(f"{name} has no values: all are missing (NaN)")
    constant: tuple[str, ...] = ()
    if bounds is not None:
        if source.parts[0].dtype.itemsize > 4 or source.parts[0].dtype.kind != "f":
            _check_digits(source, bounds, name)
        at = np.flatnonzero(bounds[0] == bounds[1])
        constant = tuple(source.columns[i] if source.columns else str(i) for i in at)
    rows = len(source.parts[0].shape) == 2
    return Facts(
        low, high, integral, source.parts[0].dtype, missing, gap, constant, rows, two and low < high == 255
    )


def _bounds(chunk: np.ndarray, before: np.ndarray | None) -> np.ndarray:
    """Smallest and largest value of each column, (2, D), of this chunk and the ones before."""
    chunk = np.ascontiguousarray(chunk.T)  # numpy is slow along the other axis
    with np.errstate(over="ignore", invalid="ignore"):
        own = np.stack([np.fmin.reduce(chunk, 1), np.fmax.reduce(chunk, 1)]).astype(np.float64)
    return own if before is None else np.stack([np.fmin(before[0], own[0]), np.fmax(before[1], own[1])])


def _check_digits(source: Source, bounds: np.ndarray, name: str) -> None:
    """Refuse columns whose values float32 would make equal: what is large beside its own spread."""
    largest, spread = np.abs(bounds).max(0), bounds[1] - bounds[0]
    lost = (spread > 0) & (largest * np.finfo(np.float32).eps > 1e-3 * spread)
    if lost.any():
        at = int(np.flatnonzero(lost)[0])
        column = repr(source.columns[at]) if source.columns else str(at)
        raise DataError(
            f"{name}: column {column} lies between {bounds[0, at]:.12g} and {bounds[1, at]:.12g}, which "
            f"float32 hardly tells apart ({int(lost.sum())} such columns); subtract an offset, or give "
            "a DataFrame: its schema keeps one"
        )


def _chunks(part: np.ndarray | Blocks) -> Iterator[tuple[int, np.ndarray]]:
    """Number of the first example and examples of each chunk."""
    if isinstance(part, Blocks):
        yield from part.passed()
        return
    step = chunk_length(part[0].size, cached=True)
    for start in range(0, len(part), step):
        yield start, np.asarray(part[start : start + step])


def _place(source: Source, part: int, start: int, wrong: np.ndarray) -> str:
    row, *place = (int(i) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))
    inside = f"column {source.columns[place[0]]!r}" if source.columns else f"position {tuple(place)}"
    return f"example {start + row}{f' of part {part}' if len(source.parts) > 1 else ''}, {inside}"


@dataclass(frozen=True)
class Meaning:
    """How the values of a source become the model's; the attributes are those of `DataSpec`."""

    values: Values
    reading: Reading
    binarize: Binarize = "none"
    levels: int | None = None
    categories: int | None = None
    white: float | None = None


def interpret(
    source: Source,
    facts: Facts,
    kind: Kind,
    *,
    name: str,
    like: DataSpec | None,
    binarize: Binarize | None,
    values: Values | None,
    dequantize: bool,
) -> Meaning:
    """Choose how a source is read, by the rules of `lowerbound.data.load`, or as a trained model knows it.

    Raises:
        ConfigError: What was asked for cannot be had from these values.
        DataError: They have no known relation to those of the model.
    """
    if like is not None and like.table is not None:
        if source.table is None:
            raise DataError(f"{name} is no table, but the model was trained on one; give its columns by name")
        return Meaning(like.values, Reading("floats"), like.binarize)
    if like is not None and (like.stored is not None):
        return _as_known(facts, like, name)
    white = _white(source, facts, kind)
    if binarize is None:
        binarize = source.binarize if values in (None, "binary") else "none"
    if binarize != "none":
        if white is None:
            raise ConfigError(
                f"binarize={binarize!r} needs grey levels (bytes 0..255, or floats in [0, 1]), but {facts}; "
                "scale them to [0, 1], or leave binarize out"
            )
        return Meaning("binary", Reading(_rule_of(binarize), white), binarize, white=white)
    match values or _usual(source, facts, kind, white):
        case "binary":
            _require(facts.binary, "binary", "zeros and ones only (or a binarize= other than 'none')", facts)
            return Meaning("binary", Reading("floats"))
        case "categorical":
            _require(
                facts.integral and facts.low >= 0 and not facts.missing,
                "categorical",
                "whole numbers 0..K-1",
                facts,
            )
            return Meaning("categorical", Reading("integers"), categories=int(facts.high) + 1)
        case "count":
            _require(facts.integral and facts.low >= 0, "count", "whole numbers, none negative", facts)
            return Meaning("count", Reading("floats"))
        case "unit" if white is not None and white > 1:
            if dequantize:
                return Meaning("unit", Reading("dequantise", white), levels=int(white) + 1, white=white)
            return Meaning("unit", Reading("scale", white), white=white)
        case "unit":
            _require(white is not None, "unit", "floats in [0, 1], bytes 0..255 or uint16 of images", facts)
            return Meaning("unit", Reading("floats"), white=1.0)
        case "mixed":
            return Meaning("mixed", Reading("floats"))
        case _:
            return Meaning("real", Reading("floats"))


def _rule_of(binarize: Binarize) -> Literal["threshold", "dynamic"]:
    """How grey levels are read that become bits; a static draw is a dynamic one that is kept."""
    return "threshold" if binarize == "threshold" else "dynamic"


def _as_known(facts: Facts, like: DataSpec, name: str) -> Meaning:
    """How stored values of some type are read for a model whose data had another: by the types, never by the range.

    Of grey levels 0..W (bytes: 255), whole numbers of any type are the same levels, and floats in [0, 1] their share
    of W. Of floats in [0, 1] bytes are the 255th part. All else stays what it is, and must lie where the data did.
    """
    white = like.white
    known = Meaning(like.values, Reading("floats"), like.binarize, like.levels, like.categories, white)
    floats = facts.stored_as.kind == "f"
    trained_on = f"the model was trained on {like.stored}"
    if white is not None and white > 1:
        trained_on += f", grey levels 0..{white:g}"
        if floats and not 0 <= facts.low <= facts.high <= 1:
            raise DataError(
                f"{name}: {facts}, but {trained_on}. If these are grey levels too, store them as whole numbers "
                f"(astype('uint8')); if not, bring them to [0, 1] (divide by {white:g})"
            )
        if not floats and not (facts.low >= 0 and facts.high <= white):
            raise DataError(f"{name}: {facts}, but {trained_on}; bring them to this range")
        rule = "dequantise" if like.levels else "scale"
        if like.values == "binary":
            rule = _rule_of(like.binarize)
        scale = white if floats or facts.stored_as.kind == "b" else 1.0
        return replace(known, reading=Reading(rule, white, scale=scale))
    if like.values == "unit" or like.binarize != "none":
        rule = "floats" if like.values == "unit" else _rule_of(like.binarize)
        if facts.stored_as == np.uint8:
            return replace(known, reading=Reading("scale" if rule == "floats" else rule, 255))
        if not 0 <= facts.low <= facts.high <= 1:
            raise DataError(
                f"{name}: {facts}, but {trained_on} in [0, 1]; divide them by the value of white, or store bytes"
            )
        return replace(known, reading=Reading(rule))
    if like.values == "binary" and not facts.binary:
        raise DataError(
            f"{name}: {facts}, but {trained_on} of zeros and ones; binarise them, for example (x > 0.5)"
        )
    if like.values == "count" and not (facts.integral and facts.low >= 0):
        raise DataError(
            f"{name}: {facts}, but {trained_on}, counts; give raw counts, whole and none negative"
        )
    if like.values == "categorical":
        if not facts.integral or facts.missing or not 0 <= facts.low <= facts.high < (like.categories or 0):
            raise DataError(
                f"{name}: {facts}, but {trained_on}, categories 0..{(like.categories or 1) - 1}; number them so"
            )
        return replace(known, reading=Reading("integers"))
    return known


def _white(source: Source, facts: Facts, kind: Kind) -> float | None:
    """The largest grey level, or None if the values are no grey levels."""
    if source.white is not None:
        return source.white
    if facts.low < 0:
        return None
    if facts.stored_as.kind == "f" or facts.binary:
        return 1 if facts.high <= 1 else None
    if kind == "image" and facts.stored_as == np.uint16 and facts.high > 255:
        return 65535  # as of a picture of 16 bits in a file
    return 255 if facts.high <= 255 and (kind == "image" or facts.stored_as == np.uint8) else None


def _usual(source: Source, facts: Facts, kind: Kind, white: float | None) -> Values:
    if source.table is not None:
        columns = [column for column in source.table if column.is_modelled]
        if all(column.categories in ((0, 1), (False, True)) for column in columns):
            return "binary"
        return "real" if all(column.is_number for column in columns) else "mixed"
    if facts.binary and source.white is None:
        return "binary"
    if source.counts and facts.integral and facts.low >= 0:
        return "count"
    return "unit" if kind == "image" and white is not None else "real"


def _require(fulfilled: bool, values: Values, need: str, facts: Facts) -> None:
    if not fulfilled:
        raise ConfigError(
            f"values={values!r} needs {need}, but {facts}; leave values out, or prepare the data"
        )
