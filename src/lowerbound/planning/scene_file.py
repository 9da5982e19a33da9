"""A robot's surroundings as a file of boxes, spheres and cylinders: YAML, JSON or TOML, lengths in metres.

    boxes:
      - {position: [0.5, 0.0, 0.2], size: [0.2, 0.6, 0.4], yaw: 0.3}   # its centre; whole lengths; radians
    spheres:
      - {position: [0.3, 0.4, 0.6], radius: 0.1}
    cylinders:                                                         # upright
      - {position: [0.0, 0.6, 0.3], radius: 0.05, height: 0.6}
    floor: -0.01                                                       # a plane at this height

Every obstacle is kept as the box around it, on which a model is conditioned, and the name of the solid that fills it,
which is what collides.
"""

from __future__ import annotations

import json
import math
import os
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import ConfigError, DataError, LowerboundError, suggest
from .problem import Array

SHAPES = ("box", "sphere", "cylinder")
# What an obstacle has to say, and what it may say, with what may be said.
_SIZES = {"boxes": {"size": 3}, "spheres": {"radius": 1}, "cylinders": {"radius": 1, "height": 1}}
_KINDS = dict(zip(_SIZES, SHAPES, strict=True))
_MOST = 1_000_000  # bytes: a scene is written by hand


class SceneFile(NamedTuple):
    """What ``read_scene`` gives: boxes (M, 7) as ``BulletProblem`` takes them, their shapes, the floor's height."""

    boxes: Array
    shapes: tuple[str, ...]
    floor: float | None


def read_scene(path: str | os.PathLike[str]) -> SceneFile:
    """Read a scene from a .yaml, .yml, .json or .toml file.

    Raises:
        DataError: the file is not there or says something else; what, and where in it.
        ConfigError: its ending is another, or YAML cannot be read without PyYAML.
    """
    path = Path(path)
    told = _parsed(path)
    if not isinstance(told, dict):
        raise DataError(
            f"{path} holds no scene: it needs lists under {', '.join(_SIZES)}, and a floor; got {told!r:.60}"
        )
    for name in told:
        if name not in (*_SIZES, "floor"):
            raise DataError(f"{path}: a scene has no {name!r:.60}; {suggest(str(name), (*_SIZES, 'floor'))}")
    floor = told.get("floor")
    rows, shapes = [], []
    for kind, shape in _KINDS.items():
        items = told.get(kind)
        if items is not None and not isinstance(items, list):
            raise DataError(f"{path}: {kind} is a list of obstacles; got {items!r:.60}")
        for i, item in enumerate(items or ()):
            rows.append(_row(item, kind, f"{path}: {kind}[{i}]"))
            shapes.append(shape)
    return SceneFile(
        np.array(rows, dtype=np.float64).reshape(-1, 7),
        tuple(shapes),
        None if floor is None else _numbers(floor, 1, f"{path}: floor")[0],
    )


def _row(item: Any, kind: str, where: str) -> list[float]:
    """Return the centre, half extents and yaw of the box around an obstacle."""
    sizes = _SIZES[kind]
    known = ["name", "position", *sizes, *(["yaw"] if kind == "boxes" else [])]
    if not isinstance(item, dict):
        raise DataError(f"{where} needs {', '.join(['position', *sizes])}; got {item!r:.60}")
    for name in item:
        if name not in known:
            raise DataError(f"{where} has {name!r:.60}, which is not read; {suggest(str(name), known)}")
    for name in ("position", *sizes):
        if name not in item:
            raise DataError(
                f"{where} has no {name}; it needs {' and '.join(['position', *sizes])}, in metres"
            )
    position = _numbers(item["position"], 3, f"{where}.position")
    lengths = {name: _numbers(item[name], n, f"{where}.{name}", True) for name, n in sizes.items()}
    yaw = _numbers(item.get("yaw", 0.0), 1, f"{where}.yaw")
    radius, height = lengths.get("radius"), lengths.get("height")
    if kind == "boxes":
        half = [length / 2 for length in lengths["size"]]
    else:
        assert radius is not None
        half = [radius[0], radius[0], height[0] / 2 if height else radius[0]]
    return [*position, *half, *yaw]


def _numbers(value: Any, n: int, where: str, positive: bool = False) -> list[float]:
    """Return ``n`` finite numbers of a file, above 0 if they must be."""
    values: list[Any] = value if isinstance(value, list) and n > 1 else [value]
    good = len(values) == n and all(
        isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e6 and math.isfinite(v)
        for v in values
    )
    if not good or (positive and min(values) <= 0):
        what = "a number" if n == 1 else f"{n} numbers like [{', '.join(['0.1', '0.2', '0.3'][:n])}]"
        raise DataError(f"{where} needs {what}{' above 0' if positive else ''}; got {value!r:.60}")
    return [float(v) for v in values]


def _parsed(path: Path) -> Any:
    """Return what stands in the file."""
    readers = {".json": json.loads, ".toml": tomllib.loads, ".yaml": _yaml, ".yml": _yaml}
    if path.suffix not in readers:
        raise ConfigError(f"a scene is a .yaml, .json or .toml file; got {path}")
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    if path.stat().st_size > _MOST:
        raise DataError(f"{path} is larger than {_MOST:,} bytes, which no scene needs")
    try:
        return readers[path.suffix](path.read_text(encoding="utf-8"))
    except LowerboundError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {' '.join(str(error).split()):.200}") from None


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise ConfigError(
            "YAML needs PyYAML: pip install pyyaml, or write the scene as .json or .toml"
        ) from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
