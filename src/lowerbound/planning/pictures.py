"""Pictures of planning: a problem with the states that samplers draw for it, a path, and success against samples."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .arm import ArmProblem
from .bullet import BulletProblem
from .problem import Array, Problem

_DPI = 192
# The report's colours (Petroff, 2021): distinct under the common colour deficiencies.
_COLOURS = ("#717581", "#3f90da", "#a3924a", "#4fb3b8", "#832db6", "#a96b59")
_LEARNED, _ORANGE = "#bd1f01", "#d95f02"  # what is learned stands out; what is in collision
_INK, _GREY, _BLUE = "#3c4148", "#6b7280", "#2f6fab"
_START, _GOAL = "#2ca02c", "#d62728"
_MARKERS = ("o", "s", "^", "D", "v", "P")
_STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _GREY,
    "axes.axisbelow": True,
    "grid.color": "#e3e5e8",
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
}


def problem_picture(problem: Problem, drawn: Mapping[str, Array], path: Array | None = None) -> bytes:
    """Return a PNG with one panel for each sampler: the problem, the states drawn for it, and a path if given.

    Args:
        problem: In the plane (a system with more coordinates is seen from above), or of an arm, whose states are
            shown by where they put the hand.
        drawn: States (n, D) by the sampler's name.
        path: (P, D), drawn in the last panel.
    """
    if isinstance(problem, ArmProblem | BulletProblem):
        return _arm_picture(problem, drawn, path)
    return _flat(problem, drawn, path)


def _flat(problem: Any, drawn: Mapping[str, Array], path: Array | None) -> bytes:
    with _drawing(3.6 * len(drawn), 4.1) as (figure, buffer):
        for k, (name, states) in enumerate(drawn.items()):
            ax = figure.add_subplot(1, len(drawn), k + 1)
            problem.draw_on(ax)
            free = problem.free(states)
            ax.plot(*states[free, :2].T, ".", color=_BLUE, markersize=4.5, label="state, free")
            ax.plot(*states[~free, :2].T, "x", color=_ORANGE, markersize=4, label="state in an obstacle")
            if path is not None and k == len(drawn) - 1:
                ax.plot(*_trajectory(problem, path)[:, :2].T, color=_INK, label="path")
            for point, word in ((problem.start, "start"), (problem.goal, "goal")):
                _named(ax, word, point[:2], problem)
            ax.set_title(_heading(name, states, free), fontsize=10, loc="left")
        _legend_below(figure, 3)
    return buffer.getvalue()


def _heading(name: str, states: Array, free: Array) -> str:
    return f"{name}\n{len(states)} states, {free.sum()} of them free"


def _legend_below(figure: Any, columns: int) -> None:
    """Write one legend for all panels."""
    shown: dict[str, Any] = {}
    for ax in figure.axes:
        handles, labels = ax.get_legend_handles_labels()
        shown |= dict(zip(labels, handles, strict=True))
    figure.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=columns, fontsize=8.5)


def _named(ax: Any, word: str, point: Array, problem: Problem) -> None:
    """Write a word beside a point of the plane, on the side where there is room."""
    from matplotlib.patheffects import withStroke

    low, high = problem.lower[:2], problem.upper[:2]
    right = point[0] < (low + high)[0] / 2 or point[0] < high[0] - 0.16 * (high - low)[0]
    ax.annotate(
        word,
        point,
        xytext=(8 if right else -8, 0),
        textcoords="offset points",
        ha="left" if right else "right",
        va="center",
        fontsize=9.5,
        color=_INK,
        weight="bold",
        path_effects=[withStroke(linewidth=3, foreground="white")],
        zorder=6,
    )


def _arm_picture(
    problem: ArmProblem | BulletProblem, drawn: Mapping[str, Array], path: Array | None
) -> bytes:
    """The hand at every state, and the arm along the path; seen from behind the arm, as scenes stand before it."""
    from matplotlib.ticker import MaxNLocator

    with _drawing(4.4 * len(drawn), 4.9) as (figure, buffer):
        for k, (name, states) in enumerate(drawn.items()):
            ax: Any = figure.add_subplot(1, len(drawn), k + 1, projection="3d", computed_zorder=False)
            arms, colours = [problem.start, problem.goal], [_START, _GOAL]
            if path is not None and k == len(drawn) - 1:
                way = _trajectory(problem, path)
                middle = way[np.linspace(0, len(way) - 1, 6).astype(int)[1:-1]]
                arms, colours = [*middle, *arms], [*["#c3c7ce"] * len(middle), *colours]
                ax.plot(*_hands(problem, way).T, color=_INK, label="the hand's path", zorder=6)
                ax.plot([], [], [], color="#c3c7ce", linewidth=4, label="arm on the way")
            problem.draw_on(ax, arms, colours)
            free, hands = problem.free(states), _hands(problem, states)
            ax.plot(*hands[free].T, ".", color=_BLUE, markersize=4, label="hand of a free state", zorder=4)
            ax.plot(
                *hands[~free].T, "x", color=_ORANGE, markersize=3, label="hand, arm in collision", zorder=4
            )
            for q, colour, word in ((problem.start, _START, "start"), (problem.goal, _GOAL, "goal")):
                ax.plot([], [], [], color=colour, linewidth=4, label=f"arm at the {word}")
                _named_in_space(ax, word, _hands(problem, q[None])[0], colour)
            ax.set_title(_heading(name, states, free), fontsize=10, loc="left")
            ax.view_init(elev=24, azim=-125)
            for axis, letter in ((ax.xaxis, "x"), (ax.yaxis, "y"), (ax.zaxis, "z")):
                axis.set_major_locator(MaxNLocator(4))
                axis.set_label_text(f"{letter}, m", fontsize=8)
                axis._axinfo["grid"]["color"] = "#e3e5e8"
            ax.tick_params(labelsize=7, pad=0)
        _legend_below(figure, 3 if len(drawn) > 1 else 2)
    return buffer.getvalue()


def _named_in_space(ax: Any, word: str, point: Array, colour: str) -> None:
    from matplotlib.patheffects import withStroke

    ax.text(
        *(point + np.array([0.0, 0.0, 0.07])),
        word,
        color=colour,
        fontsize=9.5,
        weight="bold",
        ha="center",
        path_effects=[withStroke(linewidth=3, foreground="white")],
        zorder=8,
    )


def _hands(problem: ArmProblem | BulletProblem, states: Array) -> Array:
    """Return where the hand is at states (N, D), (N, 3): the tip, or the frame of the robot's last link."""
    if isinstance(problem, ArmProblem):
        return problem.chain.tip(states)
    return problem.robot.frames(states, list(problem.robot.links)[-1:])[:, 0, :3, 3]


def success_picture(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
    """Return a PNG of success against the number of samples, with 95 % Wilson intervals.

    Args:
        curves: By the sampler's name as it stands in the legend, points with ``n``, ``success``, ``low`` and
            ``high``. The last is drawn to stand out.
    """
    from matplotlib.ticker import PercentFormatter

    with _drawing(6.4, 4.1) as (figure, buffer):
        ax = figure.add_subplot()
        last = list(curves)[-1]
        for k, (name, points) in enumerate(curves.items()):
            n = [point["n"] for point in points]
            colour = _LEARNED if name == last else _COLOURS[k % len(_COLOURS)]
            ax.plot(
                n,
                [point["success"] for point in points],
                color=colour,
                marker=_MARKERS[k % len(_MARKERS)],
                markersize=4.5,
                linewidth=2.2 if name == last else 1.5,
                label=name,
                clip_on=False,
                zorder=3 if name == last else 2,
            )
            low, high = ([point[end] for point in points] for end in ("low", "high"))
            ax.fill_between(n, low, high, color=colour, alpha=0.13, linewidth=0)
        ticks = sorted({point["n"] for points in curves.values() for point in points})
        ax.set_xscale("log")
        ax.set_xticks(ticks, [str(n) for n in ticks])
        ax.minorticks_off()
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        ax.set(xlabel="samples per problem (log scale)", ylabel="problems solved; bands: 95 % intervals")
        ax.set_ylim(0, 1.0)
        ax.grid(color="#e3e5e8")
        handles, labels = ax.get_legend_handles_labels()
        # In the order of the curves at their first point, the best on top.
        order = sorted(range(len(labels)), key=lambda i: -next(iter(curves[labels[i]]))["success"])
        figure.legend(
            [handles[i] for i in order], [labels[i] for i in order], loc="outside lower center", ncols=2
        )
    return buffer.getvalue()


def _trajectory(problem: Problem, path: Array) -> Array:
    parts = [problem.trajectory(a, b, 24) for a, b in pairwise(path)]
    return np.concatenate(parts)


@contextlib.contextmanager
def _drawing(width: float, height: float) -> Iterator[tuple[Any, io.BytesIO]]:
    """Give an empty figure, in inches, and the buffer that holds it as a PNG after the block."""
    from matplotlib import style
    from matplotlib.figure import Figure

    buffer = io.BytesIO()
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, buffer
        # As large as what is on it: axes of equal scale leave titles outside of the figure.
        figure.savefig(
            buffer, format="png", dpi=_DPI, bbox_inches="tight", pad_inches=0.06, metadata={"Software": None}
        )
