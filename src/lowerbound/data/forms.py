"""How a file writes its cells, seen where they are read as texts, and cells written in that way again.

Booleans have a form like FALSE/TRUE, dates one like %d.%m.%Y (%3f are milliseconds). Of numbers 0.00 is always two
decimals, 1.000,00 the same with marks between thousands and a decimal comma, and 0.# as many decimals as are needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from pandas import DataFrame, Series

_ISO = re.compile(
    r"\d{4}([-/.])\d{2}[-/.]\d{2}(?:([T ])\d{2}:\d{2}(:\d{2})?(?:\.(\d+))?)?( ?)(Z|[+-]\d{2}(:?)\d{2})?"
)
_NUMBER_FORM = re.compile(r"(?:0|1(.)000)(?:([.,])(0+|#))?")
_MOST_DECIMALS = 6

Form = tuple[str | None, str]  # of the cells of a column, and the word of its empty ones


@dataclass(frozen=True)
class FileForm:
    """How a file of texts is written.

    Attributes:
        separator: Between cells.
        encoding: Its letters.
        columns: Names of all its columns, in their order.
    """

    separator: str = ","
    encoding: str = "utf-8"
    columns: tuple[str, ...] = ()


def of_truths(words: Sequence[str]) -> str | None:
    """Form of booleans, by the different words of a column; None if it is that of Python."""
    true = next((word for word in words if word.lower() in ("true", "1")), None)
    false = next((word for word in words if word.lower() in ("false", "0")), None)
    if true is None or false is None:
        like = true or false or "True"
        case = str.upper if like.isupper() else str.lower if like.islower() else str.title
        true, false = true or case("true"), false or case("false")
    return None if (false, true) == ("False", "True") else f"{false}/{true}"


def of_iso_dates(text: str) -> str | None:
    """Form of dates that begin with the year, by one of them."""
    found = _ISO.fullmatch(text)
    if found is None:
        return None
    mark, between, seconds, fraction, blank, zone, colon = found.groups()
    form = f"%Y{mark}%m{mark}%d"
    if between:
        form += f"{between}%H:%M" + (":%S" if seconds else "")
    if fraction:
        form += f".%{len(fraction)}f"
    return form + blank + ("Z" if zone == "Z" else f"+00{colon}00" if zone else "")


def of_numbers(texts: Sequence[str], decimal: str = ".", thousands: str = "") -> str | None:
    """Form of numbers with decimals, by some of them; None if it is Python's."""
    places = {len(text.rpartition(decimal)[2]) if decimal in text else 0 for text in texts}
    whole = f"1{thousands}000" if thousands else "0"
    if any("e" in text.lower() for text in texts):
        places = {1, 2}
    if len(places) == 1 and 0 < max(places) <= _MOST_DECIMALS:
        return f"{whole}{decimal}{'0' * max(places)}"
    return f"{whole}{decimal}#" if 0 in places or f"{decimal}{thousands}" != "." else None


def as_written(frame: DataFrame, forms: Mapping[str, Form]) -> DataFrame:
    """The cells as texts where a column has a form of its own, and others as they are."""
    out = frame.copy()
    for name, (form, empty) in forms.items():
        if name in out and (form or empty):
            cells = cast("Series", out[name])
            gaps = cells.isna()
            if form is not None and not bool(gaps.all()):
                cells = _texts(cells, form)
            out[name] = cells.astype(object).where(~gaps, empty or None)
    return out


def _texts(cells: Series, form: str) -> Series:
    present = cells.dropna().infer_objects()
    match present.dtype.kind:
        case "M":
            before, digits, after = re.fullmatch(r"(.*?)(?:%(\d)f(.*))?", form, re.DOTALL).groups()  # type: ignore[union-attr]
            texts = present.dt.strftime(before)
            if digits:
                texts += present.dt.strftime("%f").str.ljust(9, "0").str[: int(digits)] + after
        case "b":
            false, true = form.split("/")
            texts = present.map({False: false, True: true})
        case "i" | "u" | "f" if found := _NUMBER_FORM.fullmatch(form):
            texts = present.map(lambda value: _number(value, *found.groups("")))
        case _:
            return cells
    return texts.reindex(cells.index)


def _number(value: Any, thousands: str, decimal: str, places: str) -> str:
    group = "," if thousands else ""
    if places.startswith("0"):
        text = f"{value:{group}.{len(places)}f}"
    elif float(value).is_integer() and abs(value) < 1e15:
        text = f"{int(value):{group}d}"
    else:
        text = f"{value:,}" if group else repr(float(value))
    return text.translate({ord(","): thousands, ord("."): decimal}) if decimal + thousands != "." else text
