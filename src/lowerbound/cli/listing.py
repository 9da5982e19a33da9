"""``lowerbound list``: what can be named."""

from __future__ import annotations

import json
import shutil
import textwrap
from typing import Annotated, Any

import typer

from ..errors import ConfigError, suggest

KINDS = (
    "presets",
    "datasets",
    "encoders",
    "decoders",
    "posteriors",
    "priors",
    "likelihoods",
    "transforms",
    "conditions",
    "classifiers",
    "objectives",
    "schedules",
    "training",
)


def list_names(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help=f"One of {', '.join(KINDS)}; all if not given."),
    ] = None,
) -> None:
    """List what train and --set understand.

    The options stand with their default values, written as --set takes them.
    """
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"there is nothing called {kind!r} to list; {suggest(kind, KINDS)}")
    for name in KINDS if kind is None else (kind,):
        if kind is None:
            print(f"{name}:")
        entries = _entries(name)
        width = max(len(entry) for entry, _ in entries)
        for entry, texts in entries:
            _print_entry(entry, texts, width, "  " if kind is None else "")
        if kind is None and name != KINDS[-1]:
            print()


def _print_entry(entry: str, texts: list[str], width: int, indent: str) -> None:
    """Print a name and, in a column beside it, its texts, each on lines of its own."""
    room = max(30, min(100, shutil.get_terminal_size().columns) - width - len(indent) - 2)
    lines = [line for text in texts for line in textwrap.wrap(text, room, break_on_hyphens=False)] or [""]
    for i, line in enumerate(lines):
        print(f"{indent}{entry if i == 0 else '':{width}}  {line}".rstrip())


def _entries(kind: str) -> list[tuple[str, list[str]]]:
    if kind == "presets":
        from ..presets import PRESETS

        return [(name, [preset.summary, preset.source]) for name, preset in PRESETS.items()]
    if kind == "datasets":
        return [
            ("digits", ["8 x 8 handwritten digits, 1797 examples; come with scikit-learn"]),
            ("mnist", ["28 x 28 handwritten digits, 70000 examples; read from --root, or downloaded"]),
            ("fashion-mnist", ["28 x 28 pictures of clothes, 70000 examples; the same"]),
            ("FOLDER", ["images in it and below; sub-folders are labels"]),
            ("FILE", [".npy, .npz, .csv, .parquet or .tar"]),
        ]
    from ..registry import REGISTRY, options_of

    if kind == "training":
        from ..training import Settings

        return [(name, [_value(option.default)]) for name, option in options_of(kind, Settings).items()]
    slot = kind.removesuffix("s")
    return [
        (name, ["  ".join(_option(option) for option in options_of(slot, cls).values())])
        for name, cls in REGISTRY[slot].items()
    ]


def _option(option: Any) -> str:
    return option.name if option.default is option.empty else f"{option.name}={_value(option.default)}"


def _value(value: Any) -> str:
    """Return a default value as --set takes it."""
    return "not set" if value is None else json.dumps(value)
