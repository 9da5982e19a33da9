"""The families of problems by name, as files and the command line know them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ..config import check_value
from ..errors import ConfigError, suggest
from .bullet import Panda
from .integrator import DoubleIntegrator
from .planar import Forest, Maze, NarrowPassage
from .problem import Family
from .scenes import Wam

FAMILIES: dict[str, type[Family]] = {
    cls.name: cls for cls in (NarrowPassage, Maze, Forest, DoubleIntegrator, Wam, Panda)
}


def family(name: str, /, **options: Any) -> Family:
    """Return a family by its name and options.

    Raises:
        ConfigError: there is no such family or option, or an option has an impossible value.

    Example:
        >>> family("narrow", gap=0.1).gap
        0.1
    """
    if not isinstance(name, str) or name not in FAMILIES:
        raise ConfigError(f"there is no family of problems {name!r}; {suggest(str(name), FAMILIES)}")
    known = inspect.signature(FAMILIES[name]).parameters
    for option in options:
        if option not in known:
            raise ConfigError(f"family {name!r} has no option {option!r}; {suggest(option, known)}")
    cls = FAMILIES[name]
    return cls(**{option: check_value(name, cls, option, value) for option, value in options.items()})


def family_from(stored: Mapping[str, Any]) -> Family:
    """Return the family that ``Family.to_dict`` described, also once it has been through JSON.

    Raises:
        ConfigError: as ``family``.
    """
    options = dict(stored)
    return family(options.pop("family", ""), **options)
