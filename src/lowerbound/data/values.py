"""What stored values mean: which of the model's kinds of values they are, and how they are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import ConfigError, DataError
from .blocks import Blocks
from .reading import Reading
from .rows import chunk_length
from .source import Source
from .spec import Binarize, Kind, Values


@dataclass(frozen=True)
class Facts:
    """What a pass over all values found.

    Attributes:
        low: Smallest value.
        high: Largest value.
        integral: All are whole numbers.
        stored_as: Their dtype.
    """

    low: float
    high: float
    integral: bool
    stored_as: np.dtype

    @property
    def binary(self) -> bool:
        """All values are 0 or 1."""
        return self.integral and self.low >= 0 and self.high <= 1

    def __str__(self) -> str:
        return f"the data are {self.stored_as} in [{self.low:g}, {self.high:g}]"


def scan(source: Source, name: str) -> Facts:
    """One pass over all values, chunk by chunk.

    Raises:
        DataError: Some values are NaN, infinite, or beyond float32, with their count and the place of the first.
    """
    low, high, integral, bad, where = np.inf, -np.inf, True, 0, ""
    for part, examples in enumerate(source.parts):
        for start, chunk in _chunks(examples):
            if chunk.dtype.kind == "f":
                with np.errstate(over="ignore", invalid="ignore"):
                    chunk = chunk.astype(np.float32, copy=False)
                wrong = ~np.isfinite(chunk)
                if wrong.any():
                    where = where or _place(source, part, start, wrong)
                    bad += int(wrong.sum())
                    continue
                integral = integral and bool((chunk == np.floor(chunk)).all())
            low, high = min(low, float(chunk.min())), max(high, float(chunk.max()))
    if bad:
        raise DataError(
            f"{name} has {bad} values that are NaN, infinite or beyond float32, the first at {where} "
            "(counted from 0); fill or drop these examples"
        )
    return Facts(low, high, integral, source.parts[0].dtype)


def _chunks(part: np.ndarray | Blocks) -> Iterator[tuple[int, np.ndarray]]:
    """Number of the first example and examples of each chunk."""
    if isinstance(part, Blocks):
        yield from part.passed()
        return
    step = chunk_length(part[0].size)
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


def interpret(
    source: Source,
    facts: Facts,
    kind: Kind,
    *,
    binarize: Binarize | None,
    values: Values | None,
    dequantize: bool,
) -> Meaning:
    """Choose how a source is read, by the rules of `lowerbound.data.load`.

    Raises:
        ConfigError: What was asked for cannot be had from these values.
    """
    white = _white(source, facts, kind)
    if binarize is None:
        binarize = source.binarize if values in (None, "binary") else "none"
    if binarize != "none":
        if white is None:
            raise ConfigError(
                f"binarize={binarize!r} needs grey levels (bytes 0..255, or floats in [0, 1]), but {facts}; "
                "scale them to [0, 1], or leave binarize out"
            )
        return Meaning(
            "binary", Reading("threshold" if binarize == "threshold" else "dynamic", white), binarize
        )
    match values or _usual(source, facts, kind, white):
        case "binary":
            _require(facts.binary, "binary", "zeros and ones only (or a binarize= other than 'none')", facts)
            return Meaning("binary", Reading("floats"))
        case "categorical":
            _require(facts.integral and facts.low >= 0, "categorical", "whole numbers 0..K-1", facts)
            return Meaning("categorical", Reading("integers"), categories=int(facts.high) + 1)
        case "unit" if white is not None and white > 1:
            if dequantize:
                return Meaning("unit", Reading("dequantise", white), levels=int(white) + 1)
            return Meaning("unit", Reading("scale", white))
        case "unit":
            _require(white is not None, "unit", "floats in [0, 1] or bytes 0..255", facts)
            return Meaning("unit", Reading("floats"))
        case "real":
            return Meaning("real", Reading("floats"))


def _white(source: Source, facts: Facts, kind: Kind) -> float | None:
    """The largest grey level, or None if the values are no grey levels."""
    if source.white is not None:
        return source.white
    if facts.low < 0:
        return None
    if facts.stored_as.kind == "f" or facts.binary:
        return 1 if facts.high <= 1 else None
    return 255 if facts.high <= 255 and (kind == "image" or facts.stored_as == np.uint8) else None


def _usual(source: Source, facts: Facts, kind: Kind, white: float | None) -> Values:
    if facts.binary and source.white is None:
        return "binary"
    return "unit" if kind == "image" and white is not None else "real"


def _require(fulfilled: bool, values: Values, need: str, facts: Facts) -> None:
    if not fulfilled:
        raise ConfigError(
            f"values={values!r} needs {need}, but {facts}; leave values out, or prepare the data"
        )
