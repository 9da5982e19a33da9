"""The exceptions a user can meet, under one base class, and the search for the nearest valid name.

Each message says what was asked, what came, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LowerboundError(Exception):
    """Base of every error that lowerbound raises on purpose: the user's mistake, with its remedy."""


class ShapeError(LowerboundError, ValueError):
    """A tensor has a shape that the model or the data cannot take."""


class SupportError(LowerboundError, ValueError):
    """Values lie outside the support of the likelihood."""


class ConfigError(LowerboundError, ValueError):
    """An option is unknown, has the wrong type, or contradicts another one."""


class DataError(LowerboundError, ValueError):
    """Data are missing, unreadable, or not what was announced."""


class RunError(LowerboundError, RuntimeError):
    """A run folder is missing, holds another run, is damaged, or comes from a newer version."""


class NonFiniteError(LowerboundError, RuntimeError):
    """A NaN or an infinity appeared in training; the message names the step, the term and the layer."""


def suggest(name: str, options: Iterable[str]) -> str:
    """End of a sentence that helps after a wrong name: the nearest valid one, then all of them."""
    options = sorted(options)
    near = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}options: {', '.join(options)}"
