"""``--plugin``: a file of the user's own, run before the command, in which ``lowerbound.register`` names parts."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path

from ..errors import ConfigError, LowerboundError


def run_plugin(path: Path) -> None:
    """Run a Python file as a module; modules next to it can be imported from it.

    Raises:
        ConfigError: it cannot be run.
    """
    place = path.resolve()
    name = f"lowerbound_plugin_{place.stem}"
    spec = importlib.util.spec_from_file_location(name, place)
    if spec is None or spec.loader is None:
        raise ConfigError(f"--plugin {path}: a plugin is a Python file, NAME.py")
    if str(place.parent) not in sys.path:
        sys.path.append(str(place.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where annotations of its classes are looked up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(place)
        ]
        line = (
            getattr(error, "lineno", None) if isinstance(error, SyntaxError) else lines[-1] if lines else None
        )
        what = str(error) if isinstance(error, LowerboundError) else f"{type(error).__name__}: {error}"
        raise ConfigError(f"--plugin {path}{f', line {line}' if line else ''}: {what}") from error
