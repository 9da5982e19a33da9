"""Plots, drawn through matplotlib's objects: no window, no current figure, no setting changed for others.

All have a white ground and neutral ink, which a page can invert for a dark screen.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import patheffects, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse

DPI = 192
"""Pixels per inch: two for each pixel of a page, for sharp print and sharp screens."""

# Ten colours that remain distinct under the common colour deficiencies (Petroff, 2021, arXiv:2107.02270), the
# three lightest darkened: on an inverted page they would be too dark.
PALETTE = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#879795", "#832db6"),
    *("#a96b59", "#e76300", "#a3924a", "#717581", "#4fb3b8"),
)
MARKERS = ("o", "^", "s")
MOST_CLASSES = 20
_BLUE, _ORANGE, _GREY = "#2f6fab", "#d95f02", "#6b7280"

_STYLE: dict[str, Any] = {
    "font.size": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _GREY,
    "axes.grid": True,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "grid.color": "#e3e5e8",
    "xtick.color": "#3c4148",
    "ytick.color": "#3c4148",
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.6,
}


@contextlib.contextmanager
def _drawing(width: float, height: float) -> Iterator[tuple[Figure, io.BytesIO]]:
    """Give an empty figure, in inches, and the buffer that holds it as a PNG after the block."""
    buffer = io.BytesIO()
    with style.context(["default", _STYLE]), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; the page has it in words.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, buffer
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})


def curves(
    history: Sequence[Mapping[str, Any]], columns: int = 2, write: Callable[[str], str] = str
) -> bytes:
    """Return the bound, its two terms and the learning rate against epochs.

    The vertical axes show the run after its first evaluations where these would flatten all the rest.

    Args:
        history: Records of ``metrics.jsonl``.
        columns: Panels side by side; one for a narrow screen.
        write: Writes the formulas of a title.
    """
    panels = [
        ("bound", "Bound on log p(x), nats"),
        ("reconstruction", "Reconstruction E[log p(x | z)], nats"),
        ("kl", "KL(q(z | x) ‖ p(z)), nats"),
        ("learning_rate", "Learning rate"),
    ]
    panels = [(key, write(title)) for key, title in panels if any(r.get(key) is not None for r in history)]
    rows = -(-len(panels) // columns)
    with _drawing(3.9 * columns + 0.4, 2.35 * rows + 0.3) as (figure, buffer):
        for number, (key, title) in enumerate(panels):
            ax = figure.add_subplot(rows, columns, number + 1)
            ax.set_title(title)
            lines = _lines(history, key)
            for split, (epochs, values) in lines.items():
                kind = {"train": (_BLUE, "--", "training"), "valid": (_ORANGE, "-", "validation")}
                color, dash, label = kind.get(split, (_GREY, ":", split))
                if key == "learning_rate":
                    color, dash = "#3c4148", "-"
                # A run with one evaluation has a point and no line.
                marker = "o" if len(epochs) < 3 else None
                ax.plot(epochs, values, color=color, linestyle=dash, label=label, marker=marker, markersize=4)
            if key == "bound" and "valid" in lines:
                epochs, values = lines["valid"]
                if np.isfinite(values).any():
                    best = int(np.nanargmax(values))
                    ax.plot(epochs[best], values[best], "o", color=_ORANGE, markersize=6, label="best")
            if key == "learning_rate":
                ax.ticklabel_format(axis="y", style="plain")
                ax.set_ylim(bottom=0)
            else:
                _focus(ax, [values for _, values in lines.values()])
            if number == 0:
                ax.legend(loc="best")
            if number >= len(panels) - columns:
                ax.set_xlabel("epochs")
    return buffer.getvalue()


def _lines(history: Sequence[Mapping[str, Any]], key: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return epochs and values of one quantity by split; the learning rate, the same for all, once."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for record in history:
        if record.get(key) is not None:
            lines.setdefault(record["split"], []).append((record["epoch"], record[key]))
    if key == "learning_rate":
        lines = dict(list(lines.items())[:1])
    return {split: (np.array(points)[:, 0], np.array(points)[:, 1]) for split, points in lines.items()}


def _focus(ax: Axes, lines: Sequence[np.ndarray]) -> None:
    """Set the vertical limits by all but the first fifth of each line, if that takes up most of the range."""
    every = np.concatenate(lines)
    late = np.concatenate([values[len(values) // 5 :] for values in lines])
    every, late = every[np.isfinite(every)], late[np.isfinite(late)]
    if len(late) and np.ptp(late) and np.ptp(every) > 2 * np.ptp(late):
        margin = 0.08 * np.ptp(late)
        ax.set_ylim(late.min() - margin, late.max() + margin)


def latent_map(
    points: np.ndarray,
    axes: Sequence[str],
    labels: np.ndarray | None = None,
    classes: Sequence[str] = (),
    prior: tuple[np.ndarray, np.ndarray] | None = None,
    words: bool = True,
) -> bytes:
    """Return a map of latent codes, coloured by class; of one-dimensional codes their histogram.

    Args:
        points: Codes (N, 2) or (N, 1).
        axes: Names of the one or two axes.
        labels: Class of each code (N,), whole numbers; one colour if None or with more than ``MOST_CLASSES``.
        classes: Names of the classes.
        prior: Mean and standard deviation of the prior (2,) each, to draw its circles of 1, 2 and 3 of them.
        words: Write short names of classes in their midst as well, where the classes lie apart.
    """
    if labels is None or len(classes) > MOST_CLASSES:
        labels, classes = np.zeros(len(points), dtype=int), ()
    present = [int(k) for k in np.unique(labels)]
    names = [_word(classes[k]) for k in present] if classes else []
    with _drawing(5.0 + (0.4 + 0.09 * max(map(len, names)) if names else 0), 4.7) as (figure, buffer):
        ax = figure.add_subplot()
        if points.shape[1] == 1:
            parts = [points[labels == k, 0] for k in present]
            colors = [PALETTE[k % len(PALETTE)] for k in present]
            ax.hist(parts, bins=40, stacked=True, color=colors, edgecolor="white", linewidth=0.3)
            ax.set_ylabel("examples")
            ax.locator_params(axis="y", integer=True)
        else:
            for k in present:
                ax.scatter(
                    *points[labels == k].T, **_mark(k), s=16, alpha=0.75, linewidths=0.3, edgecolors="white"
                )
            # Longer names would hide the points; the legend has them.
            for k, name in (
                zip(present, names, strict=True) if words and names and max(map(len, names)) <= 3 else ()
            ):
                x, y = np.median(points[labels == k], axis=0)
                ax.text(
                    x,
                    y,
                    name,
                    ha="center",
                    va="center",
                    weight="bold",
                    path_effects=[patheffects.withStroke(linewidth=3, foreground="white")],
                    parse_math=False,
                )
            if prior is not None:
                for radius in (1, 2, 3):
                    width, height = 2 * radius * prior[1]
                    ax.add_patch(
                        Ellipse(tuple(prior[0]), width, height, fill=False, color=_GREY, linestyle=":")
                    )
            middle = (points.min(0) + points.max(0)) / 2
            reach = 0.54 * np.ptp(points, axis=0).max() or 1.0
            ax.set_xlim(middle[0] - reach, middle[0] + reach)
            ax.set_ylim(middle[1] - reach, middle[1] + reach)
            ax.set_aspect("equal")
            ax.set_ylabel(axes[1])
        ax.set_xlabel(axes[0])
        if names:
            handles = [Line2D([], [], linestyle="", markersize=6, **_mark(k)) for k in present]
            _legend(figure, handles, names, loc="outside right upper", handletextpad=0.2)
    return buffer.getvalue()


def _mark(k: int) -> dict[str, Any]:
    """Return colour and shape of a class: neighbours differ in both, and all of MOST_CLASSES in one at least."""
    return {
        "color": PALETTE[k % len(PALETTE)],
        "marker": MARKERS[(k + k // len(PALETTE)) % len(MARKERS)],
    }


def _legend(figure: Figure, handles: Sequence[Any], names: Sequence[str], **style: Any) -> None:
    legend = figure.legend(handles, ["?"] * len(names), **style)
    # Only afterwards: as labels, names that begin with "_" are left out and those with "$" are set as formulas.
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)
        text.set_parse_math(False)


def _word(name: str, length: int = 20) -> str:
    """Return a name from the data on one line, shortened."""
    name = " ".join(name.split())
    return name if len(name) <= length else name[: length - 1] + "…"


def kl_bars(kl: np.ndarray, threshold: float) -> bytes:
    """Return bars of the KL of each latent dimension, the largest first.

    Args:
        kl: Mean KL (L,) in nats.
        threshold: Bars that do not exceed it are grey.
    """
    order = np.argsort(-kl, kind="stable")
    with _drawing(6.2, 3.2) as (figure, buffer):
        ax = figure.add_subplot()
        colors = np.where(kl[order] > threshold, _BLUE, "#b6bbc3")
        ax.bar(np.arange(len(kl)), kl[order], color=colors, width=min(0.8, 0.15 * (len(kl) + 1)))
        ax.grid(False, axis="x")
        if len(kl) <= 40:
            rotation = 90 if len(kl) > 20 else 0
            ax.set_xticks(np.arange(len(kl)), [str(k + 1) for k in order], rotation=rotation)
            ax.set_xlabel("latent dimension")
        else:
            ax.set_xlabel("rank of the latent dimension")
        ax.set_xlim(-0.6 - 0.5 * (len(kl) < 4), len(kl) - 0.4 + 0.5 * (len(kl) < 4))
        ax.set_ylabel("KL, nats")
    return buffer.getvalue()


def table_samples(
    data: np.ndarray, samples: np.ndarray, names: Sequence[str], limits: np.ndarray, whole: bool = False
) -> bytes:
    """Return histograms of columns and scatter plots of their pairs, data and samples over each other.

    Args:
        data: Rows of data (N, D).
        samples: Rows from the model (M, D).
        names: Names of the columns, D.
        limits: Lower and upper end of each column's axis, (D, 2).
        whole: Values are whole numbers: bars stand on them, and points are spread a little to be seen.
    """
    return table_parts({"data": data, "model": samples}, (_BLUE, _ORANGE), names, limits, whole)


def table_parts(
    parts: Mapping[str, np.ndarray],
    colors: Sequence[str],
    names: Sequence[str],
    limits: np.ndarray,
    whole: bool = False,
) -> bytes:
    """Return histograms of columns and scatter plots of their pairs, several parts over each other.

    Args:
        parts: Rows (N, D) by what they are called.
        colors: One for each part.
        names: Names of the columns, D.
        limits: Lower and upper end of each column's axis, (D, 2).
        whole: Values are whole numbers: bars stand on them, and points are spread a little to be seen.
    """
    d = len(names)
    noise = np.random.default_rng(0)
    names = [_word(name) for name in names]
    side = 2.0 if d > 1 else 4.0
    with _drawing(side * d + 0.4, side * d * 0.85 + 0.5) as (figure, buffer):
        kinds = list(zip(parts.values(), colors, strict=False))
        for row, column in np.ndindex(d, d):
            if column > row:
                continue
            ax = figure.add_subplot(d, d, row * d + column + 1)
            ax.set_xlim(*limits[column])
            for values, color in kinds:
                if row == column:
                    low, high = limits[column]
                    bins = (
                        np.arange(np.floor(low), np.ceil(high) + 1) - 0.5
                        if whole
                        else np.linspace(low, high, 36)
                    )
                    weights = np.full(len(values), 1 / len(values))
                    fill = {"histtype": "stepfilled", "alpha": 0.25, "color": color, "weights": weights}
                    ax.hist(values[:, column], bins, **fill)
                    ax.hist(values[:, column], bins, **{**fill, "histtype": "step", "alpha": 1.0})
                else:
                    pair = values[:, [column, row]]
                    pair = pair + noise.uniform(-0.2, 0.2, pair.shape) if whole else pair
                    size, alpha = (6, 0.35) if len(pair) > 200 else (14, 0.7)
                    ax.scatter(*pair.T, s=size, color=color, alpha=alpha, linewidths=0)
                    ax.set_ylim(*limits[row])
            ax.locator_params(nbins=5, integer=whole)
            if row == column:
                ax.set_yticks([])
                ax.spines["left"].set_visible(False)
            ax.tick_params(labelbottom=row == d - 1, labelleft=column == 0 and row > 0)
            if row == d - 1:
                ax.set_xlabel(names[column], parse_math=False)
            if column == 0 and row > 0:
                ax.set_ylabel(names[row], parse_math=False)
        handles = [Line2D([], [], linestyle="", marker="o", color=color) for _, color in kinds]
        _legend(figure, handles, [_word(name) for name in parts], loc="upper right", fontsize=10.5)
        figure.align_labels()
    return buffer.getvalue()


def table_reconstructions(
    data: np.ndarray,
    reconstructions: np.ndarray,
    names: Sequence[str],
    limits: np.ndarray,
    whole: bool = False,
    columns: int = 4,
) -> bytes:
    """Return the reconstruction of each column against its value, with the line on which they agree.

    Args:
        data: Rows of data (N, D).
        reconstructions: Their reconstructions (N, D).
        names: Names of the columns, D.
        limits: Lower and upper end of each column's axes, (D, 2).
        whole: Values are whole numbers: points are spread a little to be seen.
        columns: Panels side by side.
    """
    d = len(names)
    columns = min(columns, d)
    rows = -(-d // columns)
    noise = np.random.default_rng(0)
    with _drawing(2.3 * columns + 0.4 if d > 1 else 4.4, 2.6 * rows if d > 1 else 4.0) as (figure, buffer):
        for k in range(d):
            ax = figure.add_subplot(rows, columns, k + 1)
            pair = np.stack([data[:, k], reconstructions[:, k]])
            pair = pair + noise.uniform(-0.2, 0.2, pair.shape) if whole else pair
            ax.scatter(*pair, s=6, color=_BLUE, alpha=0.5, linewidths=0)
            ax.plot(limits[k], limits[k], color=_GREY, linewidth=1, linestyle=":")
            ax.set_xlim(*limits[k])
            ax.set_ylim(*limits[k])
            ax.set_aspect("equal")
            ax.locator_params(nbins=4, integer=whole)
            ax.set_title(_word(names[k]), parse_math=False)
            if k >= d - columns:
                ax.set_xlabel("data")
            if k % columns == 0:
                ax.set_ylabel("reconstruction")
    return buffer.getvalue()
