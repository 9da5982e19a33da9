"""Worlds in the unit square with rectangular obstacles, for a robot that is a point.

Obstacles are closed: what touches one collides, states and edges alike. Every problem of a family has a solution.

Reference:
    Learning sampling distributions for robot motion planning (Ichter, Harrison and Pavone, 2018), worlds of three
    narrow gaps, https://arxiv.org/abs/1709.05448
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from ..errors import ConfigError, ShapeError, suggest
from .problem import Array, Family, Problem

Orientation = Literal["both", "horizontal", "vertical"]

_MARGIN = 0.02  # between a gap and what is beside it, so that the way to the gap is open
_PAIRS = 2**20  # edges x obstacles tested at a time, to bound the memory
_FINE = 256  # cells a side of the grid that proves a forest's start and goal connected
_TRIES = 1000


class PlanarProblem(Problem):
    """A point among axis-aligned rectangles in the unit square.

    Args:
        boxes: Obstacles (M, 4): x0, y0, x1, y1. They may overlap and reach out of the square.
        start: (2,).
        goal: (2,).
        grid: Cells a side of the image of the problem in ``condition``.
        gaps: The passages (G, 4) that the family left open, where it knows them: for tests and pictures. Nothing
            that learns or samples may read them.

    Raises:
        ShapeError: boxes, gaps, start or goal have another shape.
        ConfigError: a box's x1, y1 are not above its x0, y0, or start or goal lies outside the square.
    """

    def __init__(
        self, boxes: Array, start: Array, goal: Array, grid: int = 64, gaps: Array | None = None
    ) -> None:
        super().__init__(np.zeros(2), np.ones(2), start, goal)
        self.boxes, self.grid = _rectangles("boxes", boxes), grid
        self.gaps = _rectangles("gaps", np.zeros((0, 4)) if gaps is None else gaps)

    def free(self, q: Array) -> Array:
        x0, y0, x1, y1 = self.boxes.T
        x, y = q[:, :1], q[:, 1:]
        return ~((x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)).any(axis=1)

    def edges_free(self, a: Array, b: Array) -> Array:
        chunk = max(1, _PAIRS // max(1, len(self.boxes)))
        parts = [
            ~_segments_meet(a[i : i + chunk], b[i : i + chunk], self.boxes).any(axis=1)
            for i in range(0, len(a), chunk)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=bool)

    def occupancy(self, size: int = 64) -> Array:
        """Return which cell centres are in collision, (size, size) uint8 of 0 and 1: row i is y, column j is x.

        The centre of cell (i, j) is ((j + 0.5) / size, (i + 0.5) / size).
        """
        centres = (np.arange(size) + 0.5) / size
        x0, y0, x1, y1 = self.boxes.T[:, :, None]
        across = ((centres >= x0) & (centres <= x1)).astype(np.float32)
        along = ((centres >= y0) & (centres <= y1)).astype(np.float32)
        return (along.T @ across > 0).astype(np.uint8)

    def condition(self) -> dict[str, Array]:
        """Return ``start`` (2,) and ``goal`` (2,) float32, and ``grid`` (3, G, G) uint8.

        The grid's channels are the obstacles, 255 where occupied, the start and the goal, each a bump of height 255
        and a standard deviation of two cells.
        """
        return {
            "start": self.start.astype(np.float32),
            "goal": self.goal.astype(np.float32),
            "grid": planar_image(self.occupancy(self.grid), self.start, self.goal),
        }

    def draw_on(self, ax: Any) -> None:
        """Draw obstacles, start (green disc) and goal (red star) on matplotlib axes: the unit square."""
        from matplotlib.collections import PatchCollection
        from matplotlib.patches import Rectangle

        patches = [Rectangle((x0, y0), x1 - x0, y1 - y0) for x0, y0, x1, y1 in self.boxes]
        ax.add_collection(PatchCollection(patches, facecolor="#8b9099", edgecolor="none"))
        ax.plot(*self.start[:2], "o", color="tab:green", markersize=7, zorder=5)
        ax.plot(*self.goal[:2], "*", color="tab:red", markersize=11, zorder=5)
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        ax.set(xlabel="x, sides of the square", ylabel="y")
        ax.spines[:].set_visible(True)  # they are the limits


def planar_image(occupancy: Array, start: Array, goal: Array) -> Array:
    """Return the obstacles (G, G) with a channel for the start and one for the goal, (3, G, G) uint8 of 0 to 255."""
    size = len(occupancy)
    centres = (np.arange(size) + 0.5) / size
    channels = [255.0 * occupancy]
    for point in (start, goal):
        x, y = (np.exp(-0.5 * ((centres - p) * size / 2) ** 2) for p in point[:2])
        channels.append(255.0 * y[:, None] * x)
    return np.rint(np.stack(channels)).astype(np.uint8)


def _segments_meet(a: Array, b: Array, boxes: Array) -> Array:
    """Return which segments a (E, 2) to b (E, 2) meet which closed boxes (M, 4), (E, M) bool.

    The slab method: a + t (b - a) is in the x slab for t between two values, in the y slab between two others, and
    the segment meets the box if both intervals and [0, 1] share a t. The intervals are compared multiplied by the
    product of the direction's components: without a division there is no special case for a segment along an axis
    or of length zero, and a segment along a box's side meets it exactly.
    """
    x0, y0, x1, y1 = boxes.T
    low, high = np.minimum(a, b), np.maximum(a, b)
    meet = (high[:, :1] >= x0) & (low[:, :1] <= x1) & (high[:, 1:] >= y0) & (low[:, 1:] <= y1)
    e, m = np.nonzero(meet)  # few pairs pass the test of their bounding boxes
    (ax, ay), (dx, dy) = a[e].T, (b[e] - a[e]).T
    x_slab = dy * (x0[m] - ax), dy * (x1[m] - ax)
    y_slab = dx * (y0[m] - ay), dx * (y1[m] - ay)
    meet[e, m] = (np.maximum(*x_slab) >= np.minimum(*y_slab)) & (np.maximum(*y_slab) >= np.minimum(*x_slab))
    return meet


@dataclass(frozen=True)
class NarrowPassage(Family):
    """Rooms that are joined by narrow gaps only.

    A long wall crosses the square; on each side of it stand perpendicular walls, from it to the border, at random
    places. Every wall has one gap at a random place, away from other walls and from the border. With three walls
    there are four rooms in a chain. The start and the goal are uniform free states on different sides of the long
    wall, one to three gaps apart.

    Args:
        gap: Width of the gaps, at most 0.15, at least one cell of the grid so that the image shows it.
        thickness: Of the walls: least and greatest, at most 0.2 (each wall's own, uniform), or one number.
        walls: 1 (the long wall only), 3 or 5 (one or two perpendicular walls on each side).
        orientation: Of the long wall; "both" leaves it to chance.
        grid: Cells a side of the image of a problem.

    Raises:
        ConfigError: an option is out of its range.
    """

    name: ClassVar[str] = "narrow"

    gap: float = 0.03
    thickness: tuple[float, float] | float = (0.05, 0.15)
    walls: int = 3
    orientation: Orientation = "both"
    grid: int = 64

    def __post_init__(self) -> None:
        _whole(self, "grid", 8, 2048)
        object.__setattr__(self, "thickness", _range(self, "thickness", 0.2))
        if not 0 < self.gap <= 0.15:
            raise ConfigError(f"family 'narrow' needs a gap above 0 and at most 0.15; got {self.gap}")
        if self.gap * self.grid < 1:
            raise ConfigError(
                f"family 'narrow': a gap of {self.gap} does not show on a grid of {self.grid} cells a side; "
                f"ask for a grid of at least {int(np.ceil(1 / self.gap))} or a gap of at least {1 / self.grid:.3g}"
            )
        if self.walls not in (1, 3, 5):
            raise ConfigError(f"family 'narrow' has 1, 3 or 5 walls; got {self.walls}")
        if self.orientation not in get_args(Orientation):
            raise ConfigError(
                f"family 'narrow' has no orientation {self.orientation!r}; "
                f"{suggest(str(self.orientation), get_args(Orientation))}"
            )

    def draw(self, rng: np.random.Generator) -> PlanarProblem:
        centre = rng.uniform(0.3, 0.7)
        half = self._thickness(rng) / 2
        low, high = centre - half, centre + half  # of the long wall, in y until the world is turned
        for _ in range(_TRIES):
            sides = [self._perpendicular(rng) for _ in "ab"]  # each (K, 2): x0, x1
            place = _outside(rng, self.gap, np.concatenate([[(-1, 0)], *sides, [(1, 2)]]))
            if place is not None:
                break
        else:
            raise ConfigError(
                f"family 'narrow': the walls leave no place for a gap of {self.gap}; make them thinner"
            )
        boxes = [(0, low, place, high), (place + self.gap, low, 1, high)]
        gaps = [(place, low, place + self.gap, high)]
        for walls, (y0, y1) in zip(sides, ((0, low), (high, 1)), strict=True):
            for x0, x1 in walls:
                y = rng.uniform(y0 + _MARGIN, y1 - _MARGIN - self.gap)
                boxes += [(x0, y0, x1, y), (x0, y + self.gap, x1, y1)]
                gaps.append((x0, y, x1, y + self.gap))
        boxes, gaps = np.array(boxes), np.array(gaps)

        world = PlanarProblem(boxes, np.zeros(2), np.zeros(2))
        while True:
            start, goal = rng.uniform(size=(2, 2))
            if (start[1] > centre) != (goal[1] > centre) and world.free(np.stack([start, goal])).all():
                break
        turned = rng.random() < 0.5 if self.orientation == "both" else self.orientation == "vertical"
        if turned:
            boxes, gaps = boxes[:, [1, 0, 3, 2]], gaps[:, [1, 0, 3, 2]]
            start, goal = start[::-1], goal[::-1]
        return PlanarProblem(boxes, start, goal, grid=self.grid, gaps=gaps)

    def _thickness(self, rng: np.random.Generator) -> float:
        return rng.uniform(*self.thickness)  # type: ignore[misc]

    def _perpendicular(self, rng: np.random.Generator) -> Array:
        """Return the extents in x of one side's walls, (K, 2), in their order."""
        count = self.walls // 2
        centres = (np.arange(count) + rng.uniform(0.25, 0.75, count)) / max(1, count)
        halves = np.array([self._thickness(rng) for _ in range(count)]) / 2
        return np.stack([centres - halves, centres + halves], axis=1)


@dataclass(frozen=True)
class Maze(Family):
    """A perfect maze: one way, and no other, between any two of its cells.

    Carved by a random depth-first walk. The goal is in a cell at least half as far from the start's, along the maze,
    as the farthest one.

    Args:
        cells: Cells a side, 2 or more.
        wall: Thickness of the walls; corridors are 1 / cells - wall wide and must be at least two cells of the grid.
        grid: Cells a side of the image of a problem.

    Raises:
        ConfigError: an option is out of its range.
    """

    name: ClassVar[str] = "maze"

    cells: int = 6
    wall: float = 0.04
    grid: int = 64

    def __post_init__(self) -> None:
        _whole(self, "grid", 8, 2048)
        _whole(self, "cells", 2, 1024)
        if self.wall <= 0 or (1 / self.cells - self.wall) * self.grid < 2:
            raise ConfigError(
                f"family 'maze': walls must be thicker than 0 and leave corridors, 1 / cells - wall wide, of at "
                f"least 2 / grid; got cells {self.cells}, wall {self.wall} and grid {self.grid}"
            )

    def draw(self, rng: np.random.Generator) -> PlanarProblem:
        n, half = self.cells, self.wall / 2
        doors = self._carve(rng)
        boxes = []
        for i in range(n):  # row, y
            for j in range(n):  # column, x
                if j + 1 < n and (i, j, i, j + 1) not in doors:
                    boxes.append(((j + 1) / n - half, i / n - half, (j + 1) / n + half, (i + 1) / n + half))
                if i + 1 < n and (i, j, i + 1, j) not in doors:
                    boxes.append((j / n - half, (i + 1) / n - half, (j + 1) / n + half, (i + 1) / n + half))
        boxes = np.array(boxes)
        start = self._in_cell(rng, rng.integers(n, size=2))
        steps = self._steps(doors, (int(start[1] * n), int(start[0] * n)))
        far = np.argwhere(2 * steps >= steps.max())
        goal = self._in_cell(rng, far[rng.integers(len(far))])
        return PlanarProblem(boxes, start, goal, grid=self.grid)

    def _carve(self, rng: np.random.Generator) -> set[tuple[int, int, int, int]]:
        """Return the open doors: row and column of a cell, then of its neighbour to the right or above."""
        n = self.cells
        stack = [tuple(int(k) for k in rng.integers(n, size=2))]
        seen, doors = set(stack), set()
        while stack:
            i, j = stack[-1]
            beside = [
                cell
                for cell in ((i, j + 1), (i, j - 1), (i + 1, j), (i - 1, j))
                if cell not in seen and 0 <= min(cell) and max(cell) < n
            ]
            if not beside:
                stack.pop()
                continue
            cell = beside[rng.integers(len(beside))]
            doors.add(min((i, j), cell) + max((i, j), cell))
            seen.add(cell)
            stack.append(cell)
        return doors

    def _steps(self, doors: set[tuple[int, int, int, int]], cell: tuple[int, int]) -> Array:
        """Return the number of doors between a cell and every other, (n, n)."""
        steps = np.full((self.cells, self.cells), -1)
        steps[cell], front = 0, [cell]
        while front:
            i, j = front.pop()
            for other in ((i, j + 1), (i, j - 1), (i + 1, j), (i - 1, j)):
                if min((i, j), other) + max((i, j), other) in doors and steps[other] < 0:
                    steps[other] = steps[i, j] + 1
                    front.append(other)
        return steps

    def _in_cell(self, rng: np.random.Generator, cell: Array) -> Array:
        """Return a uniform state of the part of a cell (row, column) that no wall can reach."""
        inside = rng.uniform(self.wall / 2 * self.cells, 1 - self.wall / 2 * self.cells, 2)
        return (cell[::-1] + inside) / self.cells


@dataclass(frozen=True)
class Forest(Family):
    """Rectangles at random places.

    The start and the goal are uniform free states at least 0.5 apart that a path joins.

    Args:
        obstacles: Their number.
        size: Of their sides: least and greatest, between 0.01 and 0.5, or one number.
        grid: Cells a side of the image of a problem.

    Raises:
        ConfigError: an option is out of its range, or the obstacles hardly ever leave a way.
    """

    name: ClassVar[str] = "forest"

    obstacles: int = 40
    size: tuple[float, float] | float = (0.03, 0.12)
    grid: int = 64

    def __post_init__(self) -> None:
        _whole(self, "grid", 8, 2048)
        object.__setattr__(self, "size", _range(self, "size", 0.5, 0.01))
        _whole(self, "obstacles", 0, 100_000)

    def draw(self, rng: np.random.Generator) -> PlanarProblem:
        for _ in range(_TRIES):
            centres = rng.uniform(size=(self.obstacles, 2))
            halves = rng.uniform(*self.size, (self.obstacles, 2)) / 2  # type: ignore[misc]
            start, goal = rng.uniform(size=(2, 2))
            problem = PlanarProblem(
                np.concatenate([centres - halves, centres + halves], axis=1), start, goal, grid=self.grid
            )
            if np.linalg.norm(goal - start) >= 0.5 and _joined(problem):
                return problem
        raise ConfigError(
            f"family 'forest': none of {_TRIES} worlds with {self.obstacles} obstacles of sides {self.size} left a "
            f"way from the start to the goal; ask for fewer or smaller ones"
        )


def _joined(problem: PlanarProblem) -> bool:
    """Return whether a fine grid joins start and goal: a proof, as no obstacle fits between neighbouring centres."""
    from scipy.ndimage import label

    ends = np.stack([problem.start, problem.goal])
    cells = np.minimum((ends * _FINE).astype(int), _FINE - 1)
    if not problem.free(ends).all() or not problem.edges_free(ends, (cells + 0.5) / _FINE).all():
        return False
    regions: Array = label(problem.occupancy(_FINE) == 0)[0]  # type: ignore[index]
    return regions[cells[0, 1], cells[0, 0]] == regions[cells[1, 1], cells[1, 0]]


def _outside(rng: np.random.Generator, width: float, taken: Array) -> float | None:
    """Return the left end of a uniform interval of ``width`` that keeps off those taken (K, 2), None if none fits."""
    taken = taken[np.argsort(taken[:, 0])]
    ends = np.maximum.accumulate(taken[:-1, 1]) + _MARGIN
    room = np.maximum(taken[1:, 0] - _MARGIN - width - ends, 0)
    if not room.any():
        return None
    at = rng.uniform(0, room.sum())
    k = min(int(np.searchsorted(np.cumsum(room), at)), len(room) - 1)
    return float(ends[k] + at - (np.cumsum(room)[k] - room[k]))


def _rectangles(name: str, value: Array) -> Array:
    value = np.asarray(value, dtype=np.float64)
    if value.size == 0:
        return np.zeros((0, 4))
    if value.ndim != 2 or value.shape[1] != 4:
        raise ShapeError(f"a planar problem's {name} have shape (M, 4): x0, y0, x1, y1; got {value.shape}")
    if not np.all(value[:, :2] < value[:, 2:]):
        raise ConfigError(f"a planar problem's {name} need x0 below x1 and y0 below y1; give x0, y0, x1, y1")
    return value


def _range(family: Any, name: str, most: float, least: float = 0.0) -> tuple[float, float]:
    value = getattr(family, name)
    pair = (value, value) if isinstance(value, int | float) else tuple(value)
    if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= most or pair[0] < least:
        raise ConfigError(
            f"family {family.name!r}: {name} is a least and a greatest number, above {least} and at most {most}; "
            f"got {value}"
        )
    return float(pair[0]), float(pair[1])


def _whole(family: Any, name: str, least: int, most: int) -> None:
    value = getattr(family, name)
    if not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(
            f"family {family.name!r}: {name} is a whole number of at least {least} and at most {most}; got {value}"
        )
