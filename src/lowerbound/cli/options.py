"""Options that several commands share, and the checks of their values: made before anything slow is imported."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import ConfigError, brief, closest, suggest
from ..names import Mistake, known, options_in

MISTAKES = "lowerbound.mistakes"  # what a command line's context keeps them under
_DEVICES = ("auto", "cpu", "cuda", "mps", "xpu", "hpu", "mtia", "xla", "privateuseone")
_MOST = 2**63 - 1  # what torch and numpy take
DATASETS = ("digits", "mnist", "fashion-mnist")
_MOST_SAMPLES = 1_000_000  # the error falls with their square root: more are a mistake, and run for days


def number(least: float, most: float = _MOST, *, above: bool = False) -> Callable[..., Any]:
    """Return a check of an option: a number between two others, both included; not the first one if ``above``."""

    def check(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
        for one in value if isinstance(value, list | tuple) else [] if value is None else [value]:
            if not ((one > least if above else one >= least) and one <= most):
                wanted = f"at most {most:,}" if one > most else f"{'above' if above else 'at least'} {least}"
                note(ctx, Mistake(f"{_flag(param)} must be {wanted}; got {one}", "", None))
        return value

    return check


def how_many(words: str) -> Any:
    """Return the option for a number of things, which is told in these words."""
    return typer.Option("-n", "--number", metavar="N", callback=number(1), help=words)


def picture_size(text: str) -> int | list[int]:
    """Return the size of a picture: a number, or height and width."""
    sizes = text.replace("x", ",").split(",")
    if len(sizes) > 2 or not all(re.fullmatch(r"\s*[1-9]\d{0,8}\s*", size) for size in sizes):
        raise ConfigError(f"--image-size is a number of pixels, or HEIGHT,WIDTH; got {brief(text)}")
    return int(sizes[0]) if len(sizes) == 1 else [int(size) for size in sizes]


def one_of(*names: str) -> Callable[..., Any]:
    """Return a check of an option: one of these words."""

    def check(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
        if value is not None and value not in names:
            message = f"there is no {param.name} {brief(value)}; {suggest(value, names)}"
            note(ctx, Mistake(message, value, closest(value, names)))
        return value

    return check


def device_name(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    """Check the name of a device; whether there is one, torch knows."""
    if value is not None and value.split(":")[0] not in _DEVICES:
        message = f"there is no device {brief(value)}; {suggest(value, _DEVICES)}"
        note(ctx, Mistake(message, value, closest(value, _DEVICES)))
    return value


def note(ctx: typer.Context, mistake: Mistake) -> None:
    """Keep a mistake: all those of a command line are told together."""
    ctx.meta.setdefault(MISTAKES, []).append(mistake)


def _flag(param: typer.CallbackParam) -> str:
    return max(param.opts, key=len)


def runs_here(incomplete: str) -> list[str]:
    """Return the folders of runs that the beginning of a path may lead to."""
    parent = Path(incomplete).parent if incomplete else Path(".")
    parent = Path(incomplete) if incomplete.endswith("/") else parent
    found = [path for path in (*parent.glob("*"), *parent.glob("*/*")) if (path / "config.json").is_file()]
    return [str(path) for path in found if str(path).startswith(incomplete)]


def sources_here(incomplete: str) -> list[str]:
    """Return the names of data sets, files and folders that the beginning of a word may lead to."""
    parent = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    paths = [str(path) + "/" * path.is_dir() for path in parent.glob("*") if not path.name.startswith(".")]
    return [name for name in (*DATASETS, *sorted(paths)) if name.startswith(incomplete)]


def settings_like(incomplete: str) -> list[str]:
    """Return what may stand before the equals sign of --set."""
    every = ["latent="]
    for section, types in known().items():
        names = [*([] if "" in types else ["type"]), *options_in(section)]
        every += [f"{section}.{name}=" for name in names if types]
    return [name for name in every if name.startswith(incomplete)]


RunArgument = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="Folder of a run, as train writes it.", autocompletion=runs_here),
]
SourceArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="SOURCE",
        help="Other data than the run's own: a name, folder or file.",
        autocompletion=sources_here,
    ),
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
UnknownOption = Annotated[
    str,
    typer.Option(
        metavar="WHAT",
        callback=one_of("refuse", "missing"),
        help="What a category of a table that training has not seen becomes: refuse, or missing.",
    ),
]
OutOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="File to write; its ending chooses the format.")
]
ColumnsOption = Annotated[
    str | None, typer.Option(metavar="A,B,...", help="The columns of a table to use; all if not given.")
]
DropOption = Annotated[str | None, typer.Option(metavar="A,B,...", help="Columns of a table to leave out.")]
MissingOption = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,...", help="What stands for an empty cell in a table, besides NA and the like: -999."
    ),
]
LabelOption = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="The column that is the label, and no part of x.")
]
ImageSizeOption = Annotated[
    str | None, typer.Option(metavar="N", help="Size that pictures are brought to: 64, or HEIGHT,WIDTH.")
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
DeviceOption = Annotated[str, typer.Option(metavar="NAME", callback=device_name, help="auto, cpu, cuda, ...")]
SchemaOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A .json that says what the columns of a table mean, as inspect writes it.",
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is already there.")]
PluginOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        help="A Python file to run first, whose lowerbound.register names parts of your own; may be repeated.",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]


def parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    """Return a parameter of a command."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def parameters_of(function: Callable[..., None]) -> list[inspect.Parameter]:
    """Return the parameters of a function as those of a command."""
    of = inspect.signature(function, eval_str=True).parameters.values()
    return [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in of]


def shaped(
    command: Callable[..., None], function: Callable[..., None], parameters: list[inspect.Parameter]
) -> Callable[..., None]:
    """Give a command the name and words of a function, and parameters of its own, and return it."""
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def check_memory(option: str, count: int, each: int) -> None:
    """Raise ConfigError if so many things of ``each`` numbers cannot be held in memory."""
    from ..data.memory import available_memory

    need, there = 4 * count * each, available_memory()
    if need > there:
        raise ConfigError(
            f"{option} asks for {count:,} times {each:,} numbers, {need / 2**30:,.1f} GiB, but {there / 2**30:,.1f} "
            "GiB of memory are free; ask for fewer"
        )
