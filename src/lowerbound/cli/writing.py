"""The files that commands write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor

    from ..data import DataSpec
    from ..data.forms import FileForm, Form


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
    if spec is not None and spec.kind == "image":
        return (".png", ".npy")
    if spec is not None and spec.named is not None:
        return (".npz", ".npy")
    return (".csv", ".parquet", ".npy") if spec is not None and spec.table is not None else (".csv", ".npy")


def write_frame(
    out: Path, frame: DataFrame, forms: Mapping[str, Form] | None = None, file: FileForm | None = None
) -> None:
    """Write a table as .csv or .parquet.

    Without a form times are as in ISO 8601, an empty cell is nothing, booleans are True and False, and numbers have
    all their digits.

    Args:
        out: The file.
        frame: The cells.
        forms: How the cells of columns are written in a .csv.
        file: And its separator and encoding; its columns come first, in their order.
    """
    from ..data.forms import FileForm, as_written
    from ..training import write_atomically

    file = file or FileForm()
    first = [name for name in file.columns if name in frame]
    frame = frame.reindex(columns=[*first, *(name for name in frame if name not in first)])
    if out.suffix == ".parquet":
        frame.attrs = {}  # would be stored
        write_atomically(out, lambda temporary: frame.to_parquet(temporary, index=False))
        return
    texts = as_written(frame, forms or {})
    options: dict[str, Any] = {"index": False, "lineterminator": "\n", "sep": file.separator}
    write_atomically(out, lambda temporary: texts.to_csv(temporary, encoding=file.encoding, **options))


def write_npy(out: Path, array: Tensor) -> None:
    """Write an array as .npy."""
    import numpy as np

    from ..training import write_atomically

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, array.detach().cpu().numpy())

    write_atomically(out, write)


def write_npz(out: Path, x: Tensor, spec: DataSpec) -> None:
    """Write the named parts of x as a .npz, a class by its name."""
    import numpy as np

    from ..data import split_parts
    from ..training import write_atomically

    parts = {name: part.detach().cpu().numpy() for name, part in split_parts(x, spec).items()}
    for part in spec.named or ():
        if part.classes is not None:
            parts[part.source] = np.array(part.classes)[parts[part.source].astype(int)[:, 0]]

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, **parts)  # pyright: ignore[reportArgumentType]

    write_atomically(out, write)


def write_csv(out: Path, rows: Tensor, names: list[str], words: Mapping[str, Sequence[str]]) -> None:
    """Write a matrix (N, D) as a table with names, empty where NaN, and behind it columns of words, (N) each."""
    import csv

    from ..training import write_atomically

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow([*names, *words])
            for row, *own in zip(rows.detach().cpu().tolist(), *words.values(), strict=True):
                table.writerow([*("" if value != value else f"{value:.8g}" for value in row), *own])

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
    """Write observations (N, *event): a picture grid, a table with the data's column names, .npy, or .npz of parts.

    Args:
        out: The file; its ending chooses.
        x: The observations.
        spec: What they are.
        columns: Of the picture.
        labels: Last column of the table, (N,).
        label: Its name.
        **headings: Words beside the picture, as ``image_grid`` takes them.

    Raises:
        ConfigError: they are not finite.
    """
    finite = x.isfinite()
    if spec is not None and spec.table is not None:  # cells that may be empty
        finite |= x.isnan() & x.new_tensor([c.missing for c in spec.table if c.is_modelled]).bool()
    if not finite.all():
        raise ConfigError(
            f"the model gives values that are not finite, so {out} is not written; ask for a temperature "
            "nearer to 1, or for examples like those it was trained on"
        )
    if out.suffix == ".png":
        from ..report import image_grid, value_range
        from ..training import write_atomically

        low, high = (0.0, 1.0) if spec is None else value_range(x, spec)
        shown = (x[:, :3].cpu() - low) / (high - low)
        picture = image_grid(shown, columns, **headings)
        write_atomically(out, lambda temporary: temporary.write_bytes(picture))
    elif out.suffix == ".npy":
        write_npy(out, x)
    elif out.suffix == ".npz" and spec is not None:
        write_npz(out, x, spec)
    elif spec is not None and spec.table is not None:
        from ..data.schema import decode

        frame = decode(spec.table, x.detach().cpu().numpy(), aside=True)
        frame = frame if labels is None else frame.assign(**{label: labels})
        write_frame(out, frame, {c.name: (c.form, c.gap) for c in spec.table}, spec.file)
    else:
        rows = x.flatten(1)
        names = spec.columns if spec is not None else None
        words = {} if labels is None else {label: labels}
        write_csv(out, rows, list(names or (f"x{i}" for i in range(rows.shape[1]))), words)
