"""Families in files of the user's own, which training sets and runs find again, and never run once they have changed.

A file is Python and holds a class derived from ``Family``. What else decides how its problems look, like the robot
and the scene, it names in ``FILES``, relative to itself. What is made of the family keeps the path of the file and
the hashes of all of these; the hash of the file itself is compared before it is run.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import ConfigError, LowerboundError, suggest
from .problem import Family

_LOADED: dict[tuple[str, str], ModuleType] = {}


def is_file(name: str) -> bool:
    """Whether the name of a family is that of a file, maybe with a class behind a colon."""
    return re.search(r"\.py(:\w*)?$", name) is not None


def load_family(name: str | os.PathLike[str], called: str | None = None) -> type[Family]:
    """Run a file and return the family in it, whose ``origin`` says where it is from.

    Args:
        name: The file; of several families in it one is named as ``file.py:Class``.
        called: The family's own name, which chooses among several as well.

    Raises:
        ConfigError: there is no such file or family, or it cannot be run.
    """
    file, _, cls = str(name).partition(".py:")
    path = Path(f"{file}.py" if cls else file).resolve()
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    module = _run(path)
    found = {
        value.__name__: value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Family)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
        and isinstance(getattr(value, "name", None), str)
    }
    if not found:
        raise ConfigError(
            f"{path} holds no family: a class derived from lowerbound.planning.Family, with a name and a method draw"
        )
    chosen = [value for value in found.values() if value.name == called] if called and not cls else []
    if cls and cls not in found:
        raise ConfigError(f"{path} has no family {cls!r}; {suggest(cls, found)}")
    if not cls and len(found) > 1 and len(chosen) != 1:
        raise ConfigError(f"{path} holds {len(found)} families; name one, like {path.name}:{min(found)}")
    return found[cls] if cls else (chosen or list(found.values()))[0]


def restored(
    name: str, origin: Mapping[str, Any] | None, file: str | os.PathLike[str] | None
) -> type[Family]:
    """Return the family of a run: from the file the user names, else from where it was, if nothing has changed.

    Args:
        name: The family's name.
        origin: What ``Family.origin`` was, None if it came from no file.
        file: The file the user names.

    Raises:
        ConfigError: the file is not there any more or has changed and was not named, or holds another family.
    """
    if file is not None:
        cls = load_family(file, name)
        if cls.name != name:
            raise ConfigError(f"{file} has the family {cls.name!r}, but {name!r} is asked for")
        if origin and (changed := _changed(_origin(origin, name), cls.origin)):
            warnings.warn(
                f"the training problems were drawn with another state of {' and '.join(changed)}",
                stacklevel=3,
            )
        return cls
    assert origin is not None
    stored = _origin(origin, name)
    path = Path(stored["file"])
    advice = f"name the file to use with --family FILE (in Python file=), if you trust it: {path}"
    if not path.is_file():
        raise ConfigError(f"the family {name!r} came from {path}, which is not there any more; {advice}")
    if _digest(path) != stored["sha256"]:
        raise ConfigError(
            f"the family {name!r} came from {path.name}, which has changed since and is not run; {advice}"
        )
    cls = load_family(path, name)
    if changed := _changed(stored, cls.origin):
        raise ConfigError(f"{' and '.join(changed)} of the family {name!r} changed since; {advice}")
    return cls


def _origin(origin: Any, name: str) -> dict[str, Any]:
    """Return an origin out of a file, if it is one."""
    if (
        isinstance(origin, Mapping)
        and all(isinstance(origin.get(key), str) for key in ("file", "sha256"))
        and isinstance(origin.get("files"), Mapping)
    ):
        return dict(origin)
    raise ConfigError(
        f"what is stored of the family {name!r} does not say which file it came from: {origin!r:.80}"
    )


def _changed(then: Mapping[str, Any], now: Mapping[str, Any] | None) -> list[str]:
    """Return the names of the files that differ."""
    now = now or {"sha256": "", "files": {}}
    names = sorted({*then["files"], *now["files"]})
    changed = [name for name in names if then["files"].get(name) != now["files"].get(name)]
    return ([Path(then["file"]).name] if then["sha256"] != now["sha256"] else []) + changed


def _run(path: Path) -> ModuleType:
    """Run a file as a module, once for each state it is in, and note on its families where they are from."""
    source = path.read_bytes()
    digest = hashlib.sha256(source).hexdigest()
    name = f"lowerbound_family_{path.stem}_{digest[:12]}"
    module = _LOADED.get((str(path), digest))
    if module is None:
        module = ModuleType(name)
        module.__file__ = str(path)
        sys.modules[name] = module  # where dataclasses look for the types of fields
        sys.path.insert(0, str(path.parent))  # it may import what lies beside it
        try:
            exec(compile(source, str(path), "exec", dont_inherit=True), vars(module))
        except LowerboundError:
            raise
        except Exception as error:
            line = next((f.lineno for f in reversed(inspect.trace()) if f.filename == str(path)), None)
            where = f"line {line}: " if line else ""
            raise ConfigError(f"{path} cannot be run: {where}{type(error).__name__}: {error}") from error
        finally:
            sys.path.remove(str(path.parent))
        _LOADED[str(path), digest] = module
    files = {}
    for other in getattr(module, "FILES", ()):
        if not (path.parent / other).is_file():
            raise ConfigError(f"{path} needs {other}, which is not there")
        files[str(other)] = _digest(path.parent / other)
    for value in list(vars(module).values()):
        if isinstance(value, type) and issubclass(value, Family) and value.__module__ == name:
            value.origin = {"file": str(path), "sha256": digest, "files": files}
    return module


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
