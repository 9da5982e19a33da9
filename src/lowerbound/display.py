"""How results show themselves as text and in a notebook, and what is said of a package that is not installed."""

from __future__ import annotations

import importlib
import math
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from .errors import ConfigError


class Picture(bytes):
    """The bytes of a PNG, which a notebook shows."""

    def _repr_png_(self) -> bytes:
        return bytes(self)

    def __repr__(self) -> str:
        return f"Picture({len(self):,} bytes of PNG; .save('picture.png') writes them)"

    def save(self, path: str | Path) -> Path:
        """Write them to a file, and return its path."""
        path = Path(path).expanduser()
        path.write_bytes(self)
        return path


def signed(value: float, digits: int = 2, error: float | None = None) -> str:
    """Return a number with the minus sign of print, and its standard error unless that is None or NaN.

    Example:
        >>> signed(-24.183, 1, 0.28)
        '−24.2 ± 0.3'
    """
    spread = "" if error is None or error != error else f" ± {error:.{digits}f}"
    return f"{value:.{digits}f}{spread}".replace("-", "−")


def digits_of(errors: Iterable[float]) -> int:
    """Return the decimals that show two digits of the smallest error: what is behind them means nothing."""
    known = [error for error in errors if math.isfinite(error) and error > 0]
    return min(4, max(0, 1 - math.floor(math.log10(min(known))))) if known else 2


def clock(seconds: float) -> str:
    """Return a time as h:mm:ss, or m:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def wrapped(text: str, width: int | None = None) -> list[str]:
    """Return the lines of a text, broken between words only; as wide as the terminal, up to 100, if not given."""
    width = width or min(100, shutil.get_terminal_size().columns)
    return textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def aligned(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in (heads, *rows)
    ]


def html_table(rows: Sequence[Sequence[object]], caption: str, heads: bool = True) -> str:
    """Return a table in HTML.

    Args:
        rows: Its cells.
        caption: What stands above it.
        heads: The first row are headings; else the first column.
    """
    lines = [f'<table>\n<caption style="text-align: left">{escape(caption)}</caption>']
    for number, row in enumerate(rows):
        tags = ["th" if (number == 0 if heads else place == 0) else "td" for place in range(len(row))]
        cells = "".join(f"<{t}>{escape(str(c))}</{t}>" for t, c in zip(tags, row, strict=True))
        lines.append(f"<tr>{cells}</tr>")
    return "\n".join([*lines, "</table>"])


def needed(module: str, what: str, install: str) -> Any:
    """Return a module that is not installed with lowerbound itself.

    Args:
        module: Its name.
        what: What needs it, as a sentence begins.
        install: What pip is to install.

    Raises:
        ConfigError: it is missing, with the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or module
        raise ConfigError(f"{what} needs the package {missing}: pip install {install}") from None


def flat(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the entries of nested tables by their keys, joined with dots; those that are None are left out."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{key}.")
        elif value is not None:
            yield f"{before}{key}", value
