"""Options that several commands share, and the checks of their values: made before anything slow is imported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import ConfigError, suggest

_MOST = 2**63 - 1  # what torch and numpy take
_MOST_SAMPLES = 1_000_000  # the error falls with their square root: more are a mistake, and run for days


def number(least: float, most: float = _MOST) -> Callable[..., Any]:
    """Return a check of an option: a number between two others, both included."""

    def check(param: typer.CallbackParam, value: Any) -> Any:
        if value is not None and not least <= value <= most:
            wanted = f"at most {most:,}" if value > most else f"at least {least}"
            raise ConfigError(f"{max(param.opts, key=len)} must be {wanted}; got {value}")
        return value

    return check


def how_many(words: str) -> Any:
    """Return the option for a number of things, which is told in these words."""
    return typer.Option("-n", "--number", metavar="N", callback=number(1), help=words)


def one_of(*names: str) -> Callable[..., Any]:
    """Return a check of an option: one of these words."""

    def check(param: typer.CallbackParam, value: Any) -> Any:
        if value is not None and value not in names:
            raise ConfigError(f"there is no {param.name} {value!r}; {suggest(value, names)}")
        return value

    return check


RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, as train writes it.")]
SourceArgument = Annotated[
    str | None,
    typer.Argument(metavar="SOURCE", help="Other data than the run's own: a name, folder or file."),
]
RootOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Where MNIST-like data lie (torchvision's layout); else $LOWERBOUND_DATA."
    ),
]
SplitOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        callback=one_of("train", "valid", "test", "all"),
        help="train, valid, test or all; test if not given, and all of another SOURCE, in its order.",
    ),
]
ChangedDataOption = Annotated[
    bool,
    typer.Option(
        "--changed-data", help="Go on although the run's own data have changed since it was trained."
    ),
]
OutOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="File to write; its ending chooses the format.")
]
NumberOption = Annotated[int | None, how_many("How many examples; if not given all, of pictures 16.")]
GivenOption = Annotated[
    list[str] | None,
    typer.Option(
        "--given",
        metavar="NAME=VALUE",
        help="An entry of the condition: a class by its name, numbers like 0.1,0.9, an image by the path of a .npy; "
        "nothing for a missing one. May be repeated.",
    ),
]
SamplesOption = Annotated[
    int,
    typer.Option(
        "--samples",
        "-k",
        metavar="K",
        callback=number(1, _MOST_SAMPLES),
        help="Importance samples per example.",
    ),
]
SeedOption = Annotated[int, typer.Option(metavar="N", callback=number(0), help="Seed of every draw.")]
DeviceOption = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, ...")]
SchemaOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A .json that says what the columns of a table mean, as inspect writes it.",
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is already there.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]


def check_memory(option: str, count: int, each: int) -> None:
    """Raise ConfigError if so many things of ``each`` numbers cannot be held in memory."""
    from ..data.memory import available_memory

    need, there = 4 * count * each, available_memory()
    if need > there:
        raise ConfigError(
            f"{option} asks for {count:,} times {each:,} numbers, {need / 2**30:,.1f} GiB, but {there / 2**30:,.1f} "
            "GiB of memory are free; ask for fewer"
        )
