"""Arguments that several commands share, and the files they read and write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from ..errors import ConfigError, suggest

if TYPE_CHECKING:
    from torch import Tensor

    from ..conditions import Label
    from ..data import DataSpec, Split
    from ..model import VAE

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, as train writes it.")]
SourceArgument = Annotated[
    Optional[str],  # noqa: UP045 (typer reads the annotation at run time)
    typer.Argument(metavar="SOURCE", help="Other data than the run's own: a name, folder or file."),
]
RootOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        metavar="DIR", help="Where MNIST-like data lie (torchvision's layout); else $LOWERBOUND_DATA."
    ),
]
SplitOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        metavar="NAME",
        help="train, valid, test or all; test if not given, and all of another SOURCE, in its order.",
    ),
]
OutOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(metavar="FILE", help="File to write; its ending chooses the format."),
]
NumberOption = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("-n", "--number", metavar="N", help="How many examples; 16 if there are as many."),
]
GivenOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--given",
        metavar="NAME=VALUE",
        help="An entry of the condition: a class by its name, numbers like 0.1,0.9, an image by the path of a .npy; "
        "nothing for a missing one. May be repeated.",
    ),
]
SamplesOption = Annotated[
    int, typer.Option("--samples", "-k", metavar="K", help="Importance samples per example.")
]
SeedOption = Annotated[int, typer.Option(metavar="N", help="Seed of every draw.")]
DeviceOption = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, ...")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is already there.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]


def check_least(least: float, **given: float | None) -> None:
    """Raise ConfigError if a number that was given is below the least that makes sense."""
    for name, value in given.items():
        if value is not None and value < least:
            raise ConfigError(f"--{name} must be at least {least}; got {value}")


def load_run(run: Path, device: str = "auto") -> tuple[VAE, dict[str, Any]]:
    """Return the model of a run and its configuration."""
    from ..persistence import load, read_config
    from ..training.devices import choose_device

    config = read_config(run)
    return load(run, device=choose_device(device)), config


def load_split(config: dict[str, Any], source: str | None, root: Path | None, split: str | None) -> Split:
    """Return one split of the run's data, or all of another source read in the same way."""
    from ..persistence import open_data

    names = ("train", "valid", "test", "all")
    split = split or ("test" if source is None else "all")
    if split not in names:
        raise ConfigError(f"there is no split {split!r}; {suggest(split, names)}")
    return getattr(open_data(config, source, root=root), split)


def take(split: Split, n: int | None, seed: int) -> tuple[Tensor, dict[str, Tensor] | None]:
    """Return the first ``n`` examples of a split, 16 or all if it has fewer, and their condition."""
    n = n or min(16, len(split))
    if n > len(split):
        raise ConfigError(f"the {split.name} split has {len(split)} examples; {n} were asked for")
    return next(iter(split.batches(n, limit=n, seed=seed)))


def mask_rule(text: str) -> str | list[str]:
    """Return a rule of what is observed: its name, or the names of columns."""
    from ..data.masks import MASK_RULES

    return text if text in MASK_RULES else [name.strip() for name in text.split(",")]


def read_given(model: VAE, given: list[str] | None) -> dict[str, Tensor]:
    """Return what --given says: entries of the condition by name, one value each."""
    names = [] if model.condition is None else model.condition.beside
    if given and not names:
        raise ConfigError("the model takes no condition that can be given; leave --given out")
    entries: dict[str, Tensor] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(
                f"--given needs NAME=VALUE, like {example_given(model, names[0])}; got {text!r}"
            )
        if name not in names:
            raise ConfigError(f"the model has no condition {name!r}; {suggest(name, names)}")
        if name in entries:
            raise ConfigError(f"--given names {name!r} twice; give it once")
        assert model.condition is not None
        entry = model.condition[name]
        entries[name] = entry.read(_read_value(entry, text, value) if value else None, name)
        entry.check(entries[name], name)
        if len(entries[name]) != 1:
            raise ConfigError(f"--given {text} holds {len(entries[name])} values; give one")
    return entries


def _read_value(entry: Any, text: str, value: str) -> Any:
    """Return the value of an entry from how its kind is written on the command line."""
    import numpy as np

    from ..conditions import Label, PointSet, Vector
    from ..data.arrays import check_array

    if isinstance(entry, Label):
        return value
    if isinstance(entry, Vector):
        try:
            return [float(number) for number in value.split(",")]
        except ValueError:
            raise ConfigError(f"--given {text} needs numbers, with commas between them") from None
    try:
        image = np.load(value, allow_pickle=False)
    except (ValueError, EOFError):
        raise ConfigError(f"--given {text}: {value} cannot be read as a .npy") from None
    if isinstance(entry, PointSet):
        return image
    image = check_array(image[None] if image.ndim < 4 else image, value)
    return image / np.float32(255) if image.dtype == np.uint8 and image.max() > 1 else image


def example_given(model: VAE, name: str) -> str:
    """Return how an entry of the condition is given, by an example."""
    from ..conditions import Label, Vector

    assert model.condition is not None
    entry = model.condition[name]
    if isinstance(entry, Label):
        classes = ", ".join(entry.classes[:20]) + (", ..." if len(entry.classes) > 20 else "")
        return f"--given {name}={entry.classes[entry.seen[0]]} (its classes: {classes})"
    if isinstance(entry, Vector):
        return f"--given {name}={','.join(f'{value:.6g}' for value in entry.mean.tolist())}"
    return f"--given {name}=FILE.npy"


def only_label(model: VAE, given: dict[str, Tensor]) -> tuple[str, Label] | None:
    """Return name and entry of the condition's only label, unless its class is given."""
    try:
        name, label = model.label
    except ConfigError:
        return None
    return None if name in given else (name, label)


def check_out(out: Path, overwrite: bool, formats: tuple[str, ...]) -> Path:
    """Return ``out`` if it may be written: a known format, and nothing there that would be lost."""
    if out.suffix not in formats:
        raise ConfigError(f"cannot write {out}: the formats are {', '.join(formats)}")
    if out.is_dir():
        raise ConfigError(f"{out} is a folder; name a file with --out")
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists; choose another name with --out, or replace it with --overwrite")
    return out


def formats_of(spec: DataSpec | None) -> tuple[str, ...]:
    """Return the endings that observations can be written with; the first is the default."""
    return (".png", ".npy") if spec is not None and spec.kind == "image" else (".csv", ".npy")


def write_npy(out: Path, array: Tensor) -> None:
    """Write an array as .npy."""
    import numpy as np

    from ..training import write_atomically

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, array.detach().cpu().numpy())

    write_atomically(out, write)


def write_csv(
    out: Path, rows: Tensor, names: list[str], labels: list[str] | None = None, label: str = "label"
) -> None:
    """Write a matrix (N, D) as a table with column names, and the labels (N) as its last column."""
    import csv

    from ..training import write_atomically

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(names if labels is None else [*names, label])
            for i, row in enumerate(rows.detach().cpu().tolist()):
                numbers = [f"{value:.8g}" for value in row]
                table.writerow(numbers if labels is None else [*numbers, labels[i]])

    write_atomically(out, write)


def write_observations(
    out: Path,
    x: Tensor,
    spec: DataSpec | None,
    columns: int | None = None,
    *,
    labels: list[str] | None = None,
    label: str = "label",
    **headings: Any,
) -> None:
    """Write observations (N, *event): a picture grid, a table with the data's column names, or .npy.

    Args:
        out: The file; its ending chooses.
        x: The observations.
        spec: What they are.
        columns: Of the picture.
        labels: Last column of the table, (N,).
        label: Its name.
        **headings: Words beside the picture, as ``image_grid`` takes them.
    """
    if out.suffix == ".png":
        from ..report import image_grid, value_range
        from ..training import write_atomically

        low, high = (0.0, 1.0) if spec is None else value_range(x, spec)
        shown = (x[:, :3].cpu() - low) / (high - low)
        picture = image_grid(shown, columns, **headings)
        write_atomically(out, lambda temporary: temporary.write_bytes(picture))
    elif out.suffix == ".npy":
        write_npy(out, x)
    else:
        rows = x.flatten(1)
        names = spec.columns if spec is not None else None
        write_csv(out, rows, list(names or (f"x{i}" for i in range(rows.shape[1]))), labels, label)
