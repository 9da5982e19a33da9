"""Scenes of boxes for the WAM: a shelf, a cluttered table, a cage of bars, a wall with a window.

A scene has regions in which the hand's tip starts and ends. Configurations that put it there are found by drawing
many and keeping those that do so free of collision. What is drawn is kept if ``solve.connect`` finds a path and makes
at least 400 checks for it: problems that a straight line or a few branches solve tell planners apart in nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np

from ..errors import ConfigError, suggest
from .arm import ArmProblem, Chain, wam
from .problem import Array, Family
from .solve import connect

_DRAWS = 30_000  # configurations from which start and goal are picked
_BUDGET = 40_000  # checks that the proof of a path may take
_EASY = 400  # a problem for which the proof takes fewer is not kept
_ATTEMPTS = 200  # scenes drawn before giving up
_FLOOR = -0.75  # the arm stands on a pedestal of this height, m
_PEDESTAL = (-0.05, 0.0, _FLOOR / 2 - 0.005, 0.19, 0.16, -_FLOOR / 2 - 0.005, 0.0)


class Scene(NamedTuple):
    """Boxes (M, 7), and the boxes in which the tip starts (S, 7) and ends (G, 7)."""

    boxes: Array
    starts: Array
    goals: Array


def shelf(rng: np.random.Generator) -> Scene:
    """Return a bookcase facing the arm: from one bin, or from in front of it, into another bin."""
    columns, rows = int(rng.integers(2, 4)), int(rng.integers(2, 4))
    width, height, depth = rng.uniform(0.31, 0.41), rng.uniform(0.29, 0.37), rng.uniform(0.27, 0.34)
    board = 0.01
    half = columns * width / 2
    bottom = rng.uniform(-0.25, 0.6 - rows * height / 2)
    boxes = [(depth / 2, 0, bottom + i * height, depth / 2, half + board, board) for i in range(rows + 1)]
    middle = bottom + rows * height / 2
    boxes += [
        (depth / 2, i * width - half, middle, depth / 2, board, rows * height / 2) for i in range(columns + 1)
    ]
    boxes.append((depth, 0, middle, board, half + board, rows * height / 2))
    bins = [
        (
            0.5 * depth + 0.05,
            (i + 0.5) * width - half,
            bottom + (j + 0.5) * height,
            depth / 2 - 0.08,
            width / 2,
            height / 2,
        )
        for i in range(columns)
        for j in range(rows)
    ]
    order = rng.permutation(len(bins))
    goals = [bins[order[0]]]
    front = (-0.2, 0, middle, 0.12, half, rows * height / 2)
    starts = [bins[k] for k in order[1:]] if rng.random() < 0.75 else [front]
    return _placed(rng, boxes, starts, goals, distance=(0.42, 0.6), spread=0.5)


def table(rng: np.random.Generator) -> Scene:
    """Return a table with clutter: from below it, or from between the clutter, to between the clutter."""
    top, thick = rng.uniform(0.0, 0.25), 0.02
    deep, wide = rng.uniform(0.3, 0.4), rng.uniform(0.4, 0.55)
    boxes = [(deep, 0, top - thick, deep, wide, thick)]
    leg = (top - 2 * thick - _FLOOR) / 2
    boxes += [
        (deep + x * (deep - 0.03), y * (wide - 0.03), _FLOOR + leg, 0.025, 0.025, leg)
        for x in (-1, 1)
        for y in (-1, 1)
    ]
    # a jittered grid of things to reach between: three deep, four or five wide, some places empty
    columns = int(rng.integers(4, 6))
    x, y = np.meshgrid(np.linspace(0.1, 2 * deep - 0.08, 3), np.linspace(0.08 - wide, wide - 0.08, columns))
    places = np.stack([x.ravel(), y.ravel()], axis=1)
    kept = rng.permutation(places)[: int(rng.integers(2 * columns, 3 * columns - 1))]
    for x, y in kept + rng.uniform(-0.04, 0.04, kept.shape):
        h = rng.uniform(0.1, 0.24)
        boxes.append((x, y, top + h, rng.uniform(0.03, 0.06), rng.uniform(0.03, 0.06), h))
    between = [(1.2 * deep, 0, top + 0.08, 0.7 * deep, wide - 0.1, 0.04)]
    below = [(deep, 0, top - 0.25, deep, wide, 0.12)]
    starts = below if rng.random() < 0.6 else between
    return _placed(rng, boxes, starts, between, distance=(0.2, 0.32), spread=0.4)


def cage(rng: np.random.Generator) -> Scene:
    """Return a cage of bars, wider apart on one side; the hand starts in it or ends in it."""
    half = rng.uniform(0.18, 0.25, 3)
    centre = np.array([half[0], 0.0, rng.uniform(0.0, 0.6)])
    bar = rng.uniform(0.01, 0.018)
    way_in = int(rng.integers(1, 4))  # left, right or top; the side towards the arm is barred
    boxes = []
    for axis in range(3):  # the twelve edges
        for u in (-1, 1):
            for v in (-1, 1):
                at, size = np.zeros(3), np.full(3, bar)
                at[(axis + 1) % 3], at[(axis + 2) % 3] = u * half[(axis + 1) % 3], v * half[(axis + 2) % 3]
                size[axis] = half[axis] + bar
                boxes.append((*(centre + at), *size))
    for k, (axis, sign) in enumerate(((0, -1), (1, -1), (1, 1), (2, 1), (0, 1), (2, -1))):
        along = 2 if axis < 2 else 0  # upright in the sides, away from the arm in the top and the bottom
        across = 3 - axis - along
        shares = (rng.uniform(-0.2, 0.2),) if k == way_in else (-0.33, 0.33) if axis < 2 else (0.0,)
        for share in shares:
            at, size = np.zeros(3), np.full(3, bar)
            at[axis], at[across] = sign * half[axis], share * half[across]
            size[along] = half[along]
            boxes.append((*(centre + at), *size))
    inside = [(*centre, *(half - 0.07))]
    around = [(-0.1, 0.0, 0.3, 0.3, 0.7, 0.6)]
    starts, goals = (inside, around) if rng.random() < 0.5 else (around, inside)
    return _placed(rng, boxes, starts, goals, distance=(0.4, 0.55), spread=0.6)


def window(rng: np.random.Generator) -> Scene:
    """Return a wall with a rectangular opening through which the hand must go."""
    wide, high = rng.uniform(0.16, 0.26, 2)
    y, z = rng.uniform(-0.25, 0.25), rng.uniform(0.1, 0.7)
    thick, end, low, up = 0.015, 1.3, _FLOOR, 1.6
    boxes = [
        (0, (y - wide - end) / 2, (low + up) / 2, thick, (y - wide + end) / 2, (up - low) / 2),
        (0, (y + wide + end) / 2, (low + up) / 2, thick, (end - y - wide) / 2, (up - low) / 2),
        (0, y, (low + z - high) / 2, thick, wide, (z - high - low) / 2),
        (0, y, (up + z + high) / 2, thick, wide, (up - z - high) / 2),
    ]
    goals = [(0.27, y, z, 0.15, 0.5, 0.4)]
    starts = [(-0.3, 0, 0.4, 0.2, 0.7, 0.6)]
    return _placed(rng, boxes, starts, goals, distance=(0.45, 0.6), spread=0.3)


SCENES: dict[str, Callable[[np.random.Generator], Scene]] = {
    "shelf": shelf,
    "table": table,
    "cage": cage,
    "window": window,
}
MIXED = ("shelf", "table", "cage")


@dataclass(frozen=True)
class Wam(Family):
    """Problems of the WAM on a pedestal, with its hand to be moved in a scene of boxes.

    The pedestal is the last box; the floor is a plane and no box.

    Args:
        scene: ``shelf``, ``table``, ``cage``, ``window``, or ``mixed``: one of the first three, at random.
        resolution: Largest move of a joint between two checks of an edge, rad.

    Raises:
        ConfigError: there is no such scene.
    """

    name: ClassVar[str] = "wam"
    scene: str = "mixed"
    resolution: float = 0.05

    def __post_init__(self) -> None:
        if self.scene not in (*SCENES, "mixed"):
            raise ConfigError(f"there is no scene {self.scene!r}; {suggest(self.scene, (*SCENES, 'mixed'))}")

    def draw(self, rng: np.random.Generator) -> ArmProblem:
        """Return one problem: solvable, but not by the straight line or a few branches.

        Raises:
            ConfigError: no such problem was found in 200 scenes.
        """
        name = str(rng.choice(MIXED)) if self.scene == "mixed" else self.scene
        for _ in range(_ATTEMPTS):
            problem = _attempt(arm(), name, rng, self.resolution)
            if problem is not None:
                return problem
        raise ConfigError(f"no solvable {name} problem in {_ATTEMPTS} scenes")


@lru_cache(maxsize=1)
def arm() -> Chain:
    """Return the WAM that all problems share."""
    return wam()


def inside(points: Array, regions: Array) -> Array:
    """Return which points (N, 3) lie in any of the boxes (R, 7), (N,) bool."""
    out = np.zeros(len(points), dtype=bool)
    for region in regions:
        x, y, z = (points - region[:3]).T
        cos, sin = np.cos(region[6]), np.sin(region[6])
        out |= (
            (np.abs(cos * x + sin * y) <= region[3])
            & (np.abs(cos * y - sin * x) <= region[4])
            & (np.abs(z) <= region[5])
        )
    return out


def _attempt(chain: Chain, name: str, rng: np.random.Generator, resolution: float) -> ArmProblem | None:
    scene = SCENES[name](rng)
    boxes = np.concatenate([scene.boxes, [_PEDESTAL]])
    q = rng.uniform(chain.lower, chain.upper, (_DRAWS, chain.joints))
    tips = chain.tip(q)
    options = {"resolution": resolution, "floor": _FLOOR, "scene": name}
    empty = ArmProblem(chain, boxes, q[0], q[1], **options)
    ends = []
    for regions in (scene.starts, scene.goals):
        there = q[inside(tips, regions)]
        there = there[empty.free(there)]
        if not len(there):
            return None
        ends.append(there[rng.integers(len(there))])
    problem = ArmProblem(chain, boxes, *ends, **options)
    if connect(problem, rng, _BUDGET) is None or problem.counts.states + problem.counts.edges < _EASY:
        return None
    problem.counts.states = problem.counts.edges = 0
    return problem


def _placed(
    rng: np.random.Generator,
    boxes: list[tuple[float, ...]],
    starts: list[tuple[float, ...]],
    goals: list[tuple[float, ...]],
    *,
    distance: tuple[float, float],
    spread: float,
) -> Scene:
    """Turn boxes given with x away from the arm into the world: a random distance, bearing and yaw."""
    bearing, away = rng.uniform(-spread, spread), rng.uniform(*distance)
    yaw = bearing + rng.uniform(-0.2, 0.2)
    cos, sin = np.cos(yaw), np.sin(yaw)
    at = away * np.array([np.cos(bearing), np.sin(bearing)])

    def turn(rows: list[tuple[float, ...]]) -> Array:
        local = np.array(rows, dtype=np.float64)
        out = np.concatenate([local, np.full((len(local), 1), yaw)], axis=1)
        out[:, 0] = at[0] + cos * local[:, 0] - sin * local[:, 1]
        out[:, 1] = at[1] + sin * local[:, 0] + cos * local[:, 1]
        return out

    return Scene(turn(boxes), turn(starts), turn(goals))
