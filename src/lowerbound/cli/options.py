"""Arguments that several commands share, and the files they read and write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from ..errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Data, DataSpec, Split
    from ..model import VAE

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, as train writes it.")]
SourceArgument = Annotated[
    Optional[str],  # noqa: UP045 (typer reads the annotation at run time)
    typer.Argument(metavar="[SOURCE]", help="Other data than the run's own: a name, folder or file."),
]
RootOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Where MNIST-like data lie (torchvision's layout); else $LOWERBOUND_DATA."),
]
SplitOption = Annotated[str, typer.Option(help="train, valid or test.")]
OutOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="File to write; its ending chooses the format."),
]
SeedOption = Annotated[int, typer.Option(help="Seed of every draw.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, ...")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is already there.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]


def load_run(run: Path, device: str = "auto") -> tuple[VAE, dict[str, Any]]:
    """Return the model of a run and its configuration, ready for inference at the run's precision."""
    from ..persistence import load, read_config
    from ..training.devices import choose_compute_dtype, choose_device

    config = read_config(run)
    where = choose_device(device)
    model = load(run, device=where)
    precision = config.get("training", {}).get("precision", "auto")
    model.compute_dtype = choose_compute_dtype(precision, where, model)
    return model, config


def load_split(config: dict[str, Any], source: str | None, root: Path | None, split: str) -> Split:
    """Return one split of the run's data, or of another source."""
    return split_of(load_data(config, source, root), split)


def load_data(config: dict[str, Any], source: str | None, root: Path | None) -> Data:
    """Return the run's data, or another source read in the same way."""
    from ..persistence import open_data

    return open_data(config, source, root=None if root is None else str(root))


def split_of(data: Data, split: str) -> Split:
    """Return the split of this name."""
    from ..errors import suggest

    names = ("train", "valid", "test")
    if split not in names:
        raise ConfigError(f"there is no split {split!r}; {suggest(split, names)}")
    return getattr(data, split)


def take(split: Split, n: int, seed: int) -> tuple[Tensor, Tensor | None]:
    """Return the first ``n`` examples of a split with their labels."""
    if n < 1:
        raise ConfigError(f"the number of examples must be at least 1; got {n}")
    if n > len(split):
        raise DataError(f"the {split.name} split has {len(split)} examples; {n} were asked for")
    return next(iter(split.batches(n, limit=n, seed=seed)))


def check_out(out: Path, overwrite: bool, formats: tuple[str, ...]) -> Path:
    """Return ``out`` if it may be written: a known format, and nothing there that would be lost."""
    if out.suffix not in formats:
        raise ConfigError(f"cannot write {out}: the formats are {', '.join(formats)}")
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists; choose another name with --out, or replace it with --overwrite")
    return out


def formats_of(spec: DataSpec | None) -> tuple[str, ...]:
    """Return the endings that observations can be written with; the first is the default."""
    return (".png", ".npy") if spec is not None and spec.kind == "image" else (".csv", ".npy")


def write_rows(out: Path, rows: Tensor, names: list[str]) -> None:
    """Write a matrix (N, D) as .csv with column names, or as .npy."""
    import numpy as np

    from ..training import write_atomically

    array = rows.detach().cpu().float().numpy()

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            if out.suffix == ".npy":
                np.save(file, array)
            else:
                np.savetxt(file, array, delimiter=",", header=",".join(names), comments="", fmt="%.8g")

    write_atomically(out, write)


def write_observations(out: Path, x: Tensor, spec: DataSpec | None, columns: int | None = None) -> None:
    """Write observations (N, *event): a picture grid, a table with the data's column names, or .npy."""
    import numpy as np

    from ..report import image_grid
    from ..training import write_atomically

    if out.suffix == ".png":
        write_atomically(out, lambda temporary: temporary.write_bytes(image_grid(x.cpu(), columns)))
    elif out.suffix == ".npy" and x.ndim > 2:
        array = x.cpu().numpy()

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.save(file, array)

        write_atomically(out, write)
    else:
        names = (
            list(spec.columns) if spec is not None and spec.columns else [f"x{i}" for i in range(x.shape[1])]
        )
        write_rows(out, x, names)
