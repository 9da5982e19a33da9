"""Pictures of planning: a problem with the states that samplers draw for it, a path, and success against samples."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .arm import ArmProblem
from .problem import Array, Problem

_DPI = 192
_INK, _LEARNED, _PATH = "#6b7280", "#2f6fab", "#d95f02"


def problem_picture(problem: Problem, drawn: Mapping[str, Array], path: Array | None = None) -> bytes:
    """Return a PNG with one panel for each sampler: the problem, the states drawn for it, and a path if given.

    Args:
        problem: In the plane (a system with more coordinates is seen from above), or of an arm.
        drawn: States (n, D) by the sampler's name.
        path: (P, D), drawn in the last panel.
    """
    return (
        _arm_picture(problem, drawn, path) if isinstance(problem, ArmProblem) else _flat(problem, drawn, path)
    )


def _flat(problem: Any, drawn: Mapping[str, Array], path: Array | None) -> bytes:
    figure = _figure(3.6 * len(drawn), 3.9)
    for k, (name, states) in enumerate(drawn.items()):
        ax = figure.add_subplot(1, len(drawn), k + 1)
        problem.draw_on(ax)
        free = problem._valid(states)
        ax.plot(*states[free, :2].T, ".", color=_LEARNED, markersize=4, label="free")
        ax.plot(*states[~free, :2].T, "x", color=_PATH, markersize=4, label="in collision")
        if path is not None and k == len(drawn) - 1:
            ax.plot(*_trajectory(problem, path)[:, :2].T, color=_INK, linewidth=1.6, label="path")
        ax.set_title(f"{name}: {len(states)} states, {free.mean():.0%} free", fontsize=10, loc="left")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, frameon=False, fontsize=8.5)
    return _png(figure)


def _arm_picture(problem: ArmProblem, drawn: Mapping[str, Array], path: Array | None) -> bytes:
    """The hand's tip at every state, and the arm along the path."""
    figure = _figure(4.4 * len(drawn), 4.6)
    for k, (name, states) in enumerate(drawn.items()):
        ax: Any = figure.add_subplot(1, len(drawn), k + 1, projection="3d")
        arms, colours = [problem.start, problem.goal], ["tab:green", "tab:red"]
        last = k == len(drawn) - 1
        if path is not None and last:
            way = _trajectory(problem, path)
            middle = way[np.linspace(0, len(way) - 1, 6).astype(int)[1:-1]]
            arms, colours = [*middle, *arms], [*["0.65"] * len(middle), *colours]
            ax.plot(*problem.chain.tip(way).T, color=_INK, linewidth=1.6)
        problem.draw_on(ax, arms, colours)
        free = problem._valid(states)
        tips = problem.chain.tip(states)
        ax.plot(*tips[free].T, ".", color=_LEARNED, markersize=4)
        ax.plot(*tips[~free].T, "x", color=_PATH, markersize=3)
        ax.set_title(f"{name}: {len(states)} states, {free.mean():.0%} free", fontsize=10, loc="left")
        ax.view_init(elev=22, azim=-60)
        ax.set(xlabel="x, m", ylabel="y, m", zlabel="z, m")
        ax.tick_params(labelsize=7)
    return _png(figure)


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
    parts = [problem.trajectory(a, b, 24) for a, b in zip(path[:-1], path[1:], strict=True)]
    return np.concatenate(parts)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
