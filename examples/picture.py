"""What the examples share: how a picture looks, where it goes, and the command line."""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

BLUE, ORANGE, RED, GREY = "#2f6fab", "#e08214", "#b2182b", "#6b7280"
PALETTE = ("#3f90da", "#ffa90e", "#bd1f01", "#717581", "#832db6")


def panels(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``width`` x ``height`` inches, without a window, and its axes row by row."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def square(ax: Axes, title: str, limit: float, names: tuple[str, str]) -> None:
    """Give an axis equal units on both sides, from -limit to limit."""
    ax.set(title=title, xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1], rotation=0)


def save(figure: Figure, out: str | Path, name: str) -> None:
    """Write a picture and say where."""
    path = Path(out) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    # 256 colours are enough for a plot, and make its file a third as large.
    Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"wrote {path}")


def run(main: Callable[[Path, bool], Any], description: str | None) -> None:
    """Run an example's ``main`` with the folder that ``--out`` names."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "out", help="folder of the pictures"
    )
    parser.add_argument("--quick", action="store_true", help="a smaller run with rougher numbers")
    arguments = parser.parse_args()
    main(arguments.out, arguments.quick)
