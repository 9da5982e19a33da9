"""The families of problems by name, as files and the command line know them."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError, suggest
from ..registry import check_value
from .bullet import Panda
from .family_file import is_file, load_family, restored
from .integrator import DoubleIntegrator
from .planar import Forest, Maze, NarrowPassage
from .problem import Family
from .scenes import Wam

FAMILIES: dict[str, type[Family]] = {
    cls.name: cls for cls in (NarrowPassage, Maze, Forest, DoubleIntegrator, Wam, Panda)
}


def family(name: str, /, **options: Any) -> Family:
    """Return a family by its name and options.

    Args:
        name: One of ``FAMILIES``, or a file that holds a family: ``arm.py``, ``arm.py:Class``.
        **options: Its options.

    Raises:
        ConfigError: there is no such family or option, or an option has an impossible value.

    Example:
        >>> family("narrow", gap=0.1).gap
        0.1
    """
    if isinstance(name, str | os.PathLike) and is_file(str(name)):
        return _built(load_family(name), options)
    if not isinstance(name, str) or name not in FAMILIES:
        raise ConfigError(
            f"there is no family of problems {name!r}; {suggest(str(name), FAMILIES)}, or a file of your own "
            "like arm.py"
        )
    return _built(FAMILIES[name], options)


def family_from(stored: Mapping[str, Any], file: str | os.PathLike[str] | None = None) -> Family:
    """Return the family that ``Family.to_dict`` described, also once it has been through JSON.

    Args:
        stored: The description. A family that came from a file is loaded from there, if neither the file nor what it
            names in ``FILES`` has changed.
        file: The file to load it from, wherever it was and whether it has changed, which a warning then says.

    Raises:
        ConfigError: as ``family``, or the file has changed, and was not named.
    """
    options = dict(stored)
    name, origin = options.pop("family", ""), options.pop("from", None)
    if origin is None and file is None:
        if name not in FAMILIES:
            raise ConfigError(
                f"there is no family of problems {name!r} here ({suggest(str(name), FAMILIES)}); if it is one of "
                "your own, name its file with --family FILE (in Python file=)"
            )
        return family(name, **options)
    return _built(restored(str(name), origin, file), options)


def _built(cls: type[Family], options: Mapping[str, Any]) -> Family:
    known = inspect.signature(cls).parameters
    for option in options:
        if option not in known:
            raise ConfigError(f"family {cls.name!r} has no option {option!r}; {suggest(option, known)}")
    return cls(**{option: check_value(cls.name, cls, option, value) for option, value in options.items()})
