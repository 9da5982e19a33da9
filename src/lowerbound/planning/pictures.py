"""Pictures of planning: a problem with the states that samplers draw for it, a path, and success against samples."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .arm import ArmProblem
from .bullet import BulletProblem
from .problem import Array, Problem

_DPI = 192
_INK, _LEARNED, _PATH = "#374151", "#2f6fab", "#d95f02"


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
    figure = _figure(3.6 * len(drawn), 3.9)
    for k, (name, states) in enumerate(drawn.items()):
        ax = figure.add_subplot(1, len(drawn), k + 1)
        problem.draw_on(ax)
        free = problem.free(states)
        ax.plot(*states[free, :2].T, ".", color=_LEARNED, markersize=4, label="free")
        ax.plot(*states[~free, :2].T, "x", color=_PATH, markersize=4, label="in collision")
        if path is not None and k == len(drawn) - 1:
            ax.plot(*_trajectory(problem, path)[:, :2].T, color=_INK, linewidth=1.6, label="path")
        ax.set_title(f"{name}: {len(states)} states, {free.mean():.0%} free", fontsize=10, loc="left")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, frameon=False, fontsize=8.5)
    return _png(figure)


def _arm_picture(
    problem: ArmProblem | BulletProblem, drawn: Mapping[str, Array], path: Array | None
) -> bytes:
    """The hand at every state, and the arm along the path; seen from behind the arm, as scenes stand before it."""
    from matplotlib.ticker import MaxNLocator

    figure = _figure(4.4 * len(drawn), 4.8)
    for k, (name, states) in enumerate(drawn.items()):
        ax: Any = figure.add_subplot(1, len(drawn), k + 1, projection="3d", computed_zorder=False)
        arms, colours = [problem.start, problem.goal], ["tab:green", "tab:red"]
        if path is not None and k == len(drawn) - 1:
            way = _trajectory(problem, path)
            middle = way[np.linspace(0, len(way) - 1, 6).astype(int)[1:-1]]
            arms, colours = [*middle, *arms], [*["0.75"] * len(middle), *colours]
            ax.plot(*_hands(problem, way).T, color=_INK, linewidth=1.6, label="path", zorder=6)
        problem.draw_on(ax, arms, colours)
        free, hands = problem.free(states), _hands(problem, states)
        ax.plot(*hands[free].T, ".", color=_LEARNED, markersize=4, label="hand, free", zorder=4)
        ax.plot(*hands[~free].T, "x", color=_PATH, markersize=3, label="in collision", zorder=4)
        for colour, label in (("tab:green", "start"), ("tab:red", "goal")):
            ax.plot([], [], [], color=colour, linewidth=4, label=label)
        ax.set_title(f"{name}: {len(states)} states, {free.mean():.0%} free", fontsize=10, loc="left")
        ax.view_init(elev=24, azim=-125)
        for axis, letter in ((ax.xaxis, "x"), (ax.yaxis, "y"), (ax.zaxis, "z")):
            axis.set_major_locator(MaxNLocator(4))
            axis.set_label_text(f"{letter}, m", fontsize=8)
            axis._axinfo["grid"]["color"] = "#e3e5e8"
        ax.tick_params(labelsize=7, pad=0)
        ax.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, 0.0),
            ncols=5,
            frameon=False,
            fontsize=7.5,
            columnspacing=1,
        )
    return _png(figure)


def _hands(problem: ArmProblem | BulletProblem, states: Array) -> Array:
    """Return where the hand is at states (N, D), (N, 3): the tip, or the frame of the robot's last link."""
    if isinstance(problem, ArmProblem):
        return problem.chain.tip(states)
    return problem.robot.frames(states, list(problem.robot.links)[-1:])[:, 0, :3, 3]


def success_picture(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
    """Return a PNG of success against the number of samples, with 95 % Wilson intervals.

    Args:
        curves: By the sampler's name, points with ``n``, ``success``, ``low`` and ``high``.
    """
    figure = _figure(5.6, 3.8)
    ax = figure.add_subplot()
    for name, points in curves.items():
        n = [point["n"] for point in points]
        (line,) = ax.plot(n, [point["success"] for point in points], marker="o", markersize=4, label=name)
        low, high = ([point[end] for point in points] for end in ("low", "high"))
        ax.fill_between(n, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    ticks = sorted({point["n"] for points in curves.values() for point in points})
    ax.set_xscale("log")
    ax.set_xticks(ticks, [str(n) for n in ticks])
    ax.minorticks_off()
    ax.set(xlabel="samples", ylabel="problems solved", ylim=(0, 1.02))
    ax.grid(color="#e3e5e8")
    ax.legend(frameon=False, fontsize=9)
    return _png(figure)


def _trajectory(problem: Problem, path: Array) -> Array:
    parts = [problem.trajectory(a, b, 24) for a, b in pairwise(path)]
    return np.concatenate(parts)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    # As large as what is on it: axes of equal scale leave titles outside of the figure.
    figure.savefig(
        buffer, format="png", dpi=_DPI, bbox_inches="tight", pad_inches=0.06, metadata={"Software": None}
    )
    return buffer.getvalue()
