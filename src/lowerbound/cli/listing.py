"""``lowerbound list``: what can be named."""

from __future__ import annotations

from typing import Annotated, Optional

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
    "objectives",
)


def list_names(
    kind: Annotated[Optional[str], typer.Argument(help=", ".join(KINDS))] = None,  # noqa: UP045
) -> None:
    """List the names that train and --set understand, with their options."""
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"there is nothing called {kind!r} to list; {suggest(kind, KINDS)}")
    for name in KINDS if kind is None else (kind,):
        if kind is None:
            print(f"{name}:")
        for line in _lines(name):
            print(f"  {line}" if kind is None else line)


def _lines(kind: str) -> list[str]:
    if kind == "presets":
        from ..presets import PRESETS

        width = max(map(len, PRESETS))
        return [f"{n:{width}}  {p.summary}{f' ({p.source})' if p.source else ''}" for n, p in PRESETS.items()]
    if kind == "datasets":
        return ["digits", "mnist", "fashion-mnist", "a folder of images", "a file: .npy .npz .csv .parquet"]
    from ..config import REGISTRY, options_of

    lines = []
    for name, cls in REGISTRY[kind.rstrip("s")].items():
        options = [
            option if parameter.default is parameter.empty else f"{option}={parameter.default!r}"
            for option, parameter in options_of(cls).items()
        ]
        lines.append(f"{name}({', '.join(options)})")
    return lines
