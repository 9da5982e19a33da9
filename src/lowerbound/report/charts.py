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
from matplotlib import dates, patheffects, style, ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse

from ..display import Picture
from .tables import Panel

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
_BLUE, _ORANGE, _GREY, _INK = "#2f6fab", "#d95f02", "#6b7280", "#3c4148"

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
    is_bound = not any("criterion" in record for record in history)
    panels = [
        ("bound", "Bound on log p(x), nats" if is_bound else "Minus the loss, which is no bound"),
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
    names = [brief(classes[k]) for k in present] if classes else []
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


def brief(name: str, length: int = 20) -> str:
    """Return a name from the data on one line, shortened."""
    name = " ".join(name.split())
    return name if len(name) <= length else name[: length - 1] + "…"


def dimension_bars(values: np.ndarray, threshold: float, what: str) -> bytes:
    """Return bars of a number of each latent dimension, the largest first.

    Args:
        values: The numbers (L,), as mean KLs in nats.
        threshold: Bars that do not exceed it are grey.
        what: What they are, in words.
    """
    order = np.argsort(-values, kind="stable")
    with _drawing(6.2, 3.2) as (figure, buffer):
        ax = figure.add_subplot()
        colors = np.where(values[order] > threshold, _BLUE, "#b6bbc3")
        ax.bar(np.arange(len(values)), values[order], color=colors, width=min(0.8, 0.15 * (len(values) + 1)))
        ax.grid(False, axis="x")
        if len(values) <= 40:
            rotation = 90 if len(values) > 20 else 0
            ax.set_xticks(np.arange(len(values)), [str(k + 1) for k in order], rotation=rotation)
            ax.set_xlabel("latent dimension")
        else:
            ax.set_xlabel("rank of the latent dimension")
        ax.set_xlim(-0.6 - 0.5 * (len(values) < 4), len(values) - 0.4 + 0.5 * (len(values) < 4))
        ax.set_ylabel(what)
    return buffer.getvalue()


def panels(
    parts: Sequence[str], columns: Sequence[Panel], colors: Sequence[str] = (), side: int = 4
) -> bytes:
    """Return bars and histograms of columns, several parts over each other.

    Args:
        parts: What they are called.
        columns: What is drawn of each column.
        colors: One for each part; those of data and model if there are none.
        side: Panels side by side.
    """
    colors = colors or (_BLUE, _ORANGE)
    side = min(side, len(columns))
    rows = -(-len(columns) // side)
    width, height = (4.6, 3.4) if len(columns) == 1 else (2.35 if side > 2 else 2.05, 1.85)
    with _drawing(width * side, height * rows + 0.35) as (figure, buffer):
        for number, shown in enumerate(columns):
            ax = figure.add_subplot(rows, side, number + 1)
            _title(ax, shown, side)
            notes = (
                [f"{shown.empty:.0%} empty" if shown.empty >= 0.005 else "some empty"] if shown.empty else []
            )
            if len(parts) <= 2:
                beyond = zip(parts, shown.beyond, strict=True)
                notes += [f"{part} beyond: {share:.0%}" for part, share in beyond if share > 0.02]
            if shown.scale == "words":
                _draw_bars(ax, shown, colors)
                ax.set_ylim(bottom=len(shown.words) * (1 + 0.13 * len(notes)) - 0.5)
            else:
                _draw_histogram(ax, shown, colors)
                _axis(ax.xaxis, shown, side)
                ax.set_ylim(0, 1 + 0.12 * max(len(notes), bool(shown.spikes)))
            y, va = (0.02, "bottom") if shown.scale == "words" else (0.98, "top")
            _note(ax, "\n".join(notes), 0.99, y, ha="right", va=va, transform=ax.transAxes)
        handles = [Line2D([], [], linestyle="", marker="s", color=color) for color in colors[: len(parts)]]
        names = [brief(name) for name in parts]
        _legend(figure, handles, names, loc="outside upper left", ncols=max(2, 2 * side), handletextpad=0.1)
    return buffer.getvalue()


def _title(ax: Axes, shown: Panel, side: int) -> None:
    """Name the column of a panel."""
    room = {1: 50, 2: 18}.get(side, 24)
    ax.set_title(brief(shown.column.name, room), parse_math=False, fontsize=9.5)


def _note(ax: Axes, text: str, x: float, y: float, **how: Any) -> None:
    """Write small words over what is drawn."""
    halo = [patheffects.withStroke(linewidth=2.5, foreground="white")]
    ax.text(x, y, text, fontsize=7.5, color=_INK, parse_math=False, path_effects=halo, zorder=5, **how)


def _draw_bars(ax: Axes, shown: Panel, colors: Sequence[str]) -> None:
    """Draw horizontal bars, beside their words, the first on top."""
    many, count = len(shown.heights), len(shown.words)
    places = np.arange(count, dtype=float)
    for k, (shares, color) in enumerate(zip(shown.heights, colors, strict=False)):
        thick = 0.8 / many
        ax.barh(places - 0.4 + (k + 0.5) * thick, shares, thick, color=color, alpha=0.85)
    _words(ax, shown.words)
    ax.set_xlim(0, 1.05 * max((shares.max(initial=0) for shares in shown.heights), default=0) or 1)
    _percent(ax)


def _words(ax: Axes, words: Sequence[str]) -> None:
    """Name the places 0, 1, ... from top to bottom."""
    ax.set_ylim(len(words) - 0.5, -0.5)
    ax.set_yticks(range(len(words)), [brief(word, 13) for word in words], fontsize=8 if len(words) > 4 else 9)
    for text in ax.get_yticklabels():
        text.set_parse_math(False)
    ax.tick_params(axis="y", length=0)
    ax.grid(False, axis="y")


def _percent(ax: Axes) -> None:
    ax.xaxis.set_major_locator(ticker.MaxNLocator(3))
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda share, _: f"{100 * share:g}%"))


def _draw_histogram(ax: Axes, shown: Panel, colors: Sequence[str]) -> None:
    """Draw a histogram, and the numbers that stand alone as bars as high as their share."""
    top = max((heights.max(initial=0) for heights in shown.heights), default=0) or 1
    span = shown.edges[-1] - shown.edges[0]
    scale = 0.8 if shown.spikes else 0.92
    for k, (heights, color) in enumerate(zip(shown.heights, colors, strict=False)):
        if len(shown.heights) <= 2:
            ax.stairs(scale * heights / top, shown.edges, fill=True, color=color, alpha=0.25)
        ax.stairs(scale * heights / top, shown.edges, color=color)
        for place, _, shares in shown.spikes:
            thick = 0.06 * span / len(shown.heights)
            ax.bar(place - 0.03 * span + (k + 0.5) * thick, shares[k], thick, color=color, alpha=0.85)
    written: list[tuple[float, str]] = []
    for place, word, shares in shown.spikes:
        # The first are the most frequent; one whose words would lie on theirs goes without.
        if max(shares) >= 0.01 and all(
            abs(place - other) > 0.03 * span * (len(word) + len(its)) for other, its in written
        ):
            written.append((place, word))
            _note(ax, brief(word, 10), place, max(shares) + 0.02, ha="center", va="bottom")
    ax.set_xlim(*shown.limits)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)


def _axis(axis: Axis, shown: Panel, side: int) -> None:
    """Set few ticks, with short words, on the axis of a panel."""
    low, high, most = shown.edges[0], shown.edges[-1], 3 if side == 2 else 4
    if shown.scale == "date":
        axis.set_major_locator(dates.AutoDateLocator(minticks=2, maxticks=3))
        days = high - low
        form = "%Y" if days > 1100 else "%b %Y" if days > 100 else "%d %b" if days > 2 else "%H:%M"
        axis.set_major_formatter(dates.DateFormatter(form))
        return
    if shown.scale == "log":
        decades = np.arange(np.ceil(low - 0.05), np.floor(high + 0.05) + 1)
        axis.set_major_locator(ticker.FixedLocator(list(decades[:: max(1, round(len(decades) / most))])))
    else:
        axis.set_major_locator(ticker.MaxNLocator(most, integer=shown.column.step == 1))

    def short(value: float, _: object = None) -> str:
        value = 10**value if shown.scale == "log" else value
        for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if max(abs(low), abs(high)) >= 10 * unit or shown.scale == "log":
                if abs(value) >= unit:
                    return f"{value / unit:g}{letter}"
        return f"{value:.6g}"

    axis.set_major_formatter(ticker.FuncFormatter(short))


def reconstructions(columns: Sequence[tuple[Panel, np.ndarray, np.ndarray]], side: int = 4) -> bytes:
    """Return of each column the reconstructions against the values, with the line on which they agree.

    Args:
        columns: A panel, the values (N,) and their reconstructions (N,); of bars the shares reproduced.
        side: Panels side by side.
    """
    side = min(side, len(columns))
    rows = -(-len(columns) // side)
    wide = 4.4 if side == 1 else 2.05 if side == 2 else 2.35
    with _drawing(wide * side, (2.35 if side > 1 else 3.8) * rows) as (figure, buffer):
        for number, (shown, values, others) in enumerate(columns):
            ax = figure.add_subplot(rows, side, number + 1)
            _title(ax, shown, side)
            places = shown.at(values)
            if shown.scale == "words":
                total, hit = (
                    np.bincount(places[keep].astype(int), minlength=len(shown.words))
                    for keep in (~np.isnan(places), ~np.isnan(places) & (values == others))
                )
                note = f"all: {hit.sum() / max(total.sum(), 1):.0%}"
                ax.barh(np.arange(len(shown.words)), hit / np.maximum(total, 1), 0.6, color=_BLUE, alpha=0.85)
                _words(ax, shown.words)
                ax.set_xlim(0, 1)
                _percent(ax)
                ax.set_xlabel(f"reproduced; {note}", fontsize=9)
            else:
                ax.scatter(places, shown.at(others), s=6, color=_BLUE, alpha=0.5, linewidths=0)
                ax.plot(shown.limits, shown.limits, color=_GREY, linewidth=1, linestyle=":")
                ax.set_xlim(*shown.limits)
                ax.set_ylim(*shown.limits)
                _axis(ax.xaxis, shown, side)
                _axis(ax.yaxis, shown, side)
                ax.set_xlabel("data", fontsize=9)
                if number % side == 0:
                    ax.set_ylabel("reconstruction", fontsize=9)
    return buffer.getvalue()


def heat_maps(maps: Mapping[str, np.ndarray], names: Sequence[str], side: int = 3) -> bytes:
    """Return square tables of numbers in [0, 1] as colours; of the last, a difference, in [-1, 1].

    Args:
        maps: Numbers (D, D) by what they are; NaN stays white.
        names: Of rows and columns; none are written if there are none.
        side: Tables side by side.
    """
    rows, longest = -(-len(maps) // side), max((len(brief(name, 16)) for name in names), default=0)
    d = len(next(iter(maps.values())))
    whole = 9.4 if side > 1 else 4.0
    size = 7.5 if d > 14 else 8.5
    margin = 0.3 + longest * size / 72 * 0.55
    one = (whole - margin - 1.4) / side if side == len(maps) else (whole - side * margin - 0.9) / side
    with _drawing(whole, rows * (one + margin + 0.25)) as (figure, buffer):
        drawn = []
        for number, (title, values) in enumerate(maps.items()):
            ax = figure.add_subplot(rows, side, number + 1)
            is_last = number == len(maps) - 1
            # White is zero on both; on a scale of its own chance would look like a pattern.
            most = max(0.5, float(np.nanmax(np.abs(values), initial=0))) if is_last else 1.0
            drawn.append(
                ax.imshow(
                    values, cmap="PuOr" if is_last else "Blues", vmin=-most if is_last else 0, vmax=most
                )
            )
            ax.set_title(title)
            ax.grid(False)
            ax.set_xticks([])
            ax.set_yticks([])
            if names:
                ax.set_xticks(range(d), [brief(name, 16) for name in names], rotation=90, fontsize=size)
                if number % side == 0 or rows > 1:
                    ax.set_yticks(range(d), [brief(name, 16) for name in names], fontsize=size)
                ax.tick_params(length=0)
                for text in (*ax.get_xticklabels(), *ax.get_yticklabels()):
                    text.set_parse_math(False)
            if number >= len(maps) - 2 or side == 1:
                figure.colorbar(drawn[-1], ax=ax, shrink=0.7, aspect=25, pad=0.02)
    return buffer.getvalue()


def bars(names: Sequence[str], shares: Sequence[float]) -> bytes:
    """Return a horizontal bar for each share, with its name."""
    with _drawing(5.0, 0.6 + 0.22 * len(names)) as (figure, buffer):
        ax = figure.add_subplot()
        ax.barh(range(len(names)), shares, 0.7, color=_BLUE)
        _words(ax, names)
        ax.set_yticks(range(len(names)), [brief(name, 30) for name in names], fontsize=8.5)
        _percent(ax)
        ax.set_xlim(0, max(shares) * 1.05)
    return buffer.getvalue()


def intervals(
    names: Sequence[str],
    values: Sequence[tuple[float, float]],
    differences: Sequence[tuple[float, float]],
    label: str,
) -> Picture:
    """Return values with their intervals beside differences to the first of them with theirs.

    Args:
        names: What they are of, from top to bottom.
        values: Each with half the width of its interval.
        differences: To the first, which has none.
        label: What is measured, with its unit.
    """
    places = np.arange(len(names))
    room = 0.075 * max(len(brief(name, 30)) for name in names)
    with _drawing(5.6 + room, 1.05 + 0.34 * len(names)) as (figure, buffer):
        first, second = figure.subplots(1, 2, sharey=True)
        for ax, pairs, title in (
            (first, values, label),
            (second, differences, "difference to the best, paired"),
        ):
            for place, (value, half) in zip(places, pairs, strict=True):
                color = _ORANGE if place == 0 else _BLUE
                if np.isfinite(value):
                    half = half if np.isfinite(half) else 0.0
                    ax.errorbar(value, place, xerr=half, fmt="o", color=color, markersize=5, capsize=3)
                else:
                    _note(
                        ax, "not finite", 0.02, float(place), va="center", transform=ax.get_yaxis_transform()
                    )
            ax.set_title(title)
            ax.set_xlabel("nats; bars are intervals of 95 %" if ax is second else "higher is better")
            ax.locator_params(axis="x", nbins=5)
        second.axvline(0, color=_GREY, linewidth=1, linestyle=":")
        first.set_yticks(places, [brief(name, 30) for name in names])
        first.set_ylim(len(names) - 0.5, -0.5)
        for text in first.get_yticklabels():
            text.set_parse_math(False)
    return Picture(buffer.getvalue())
