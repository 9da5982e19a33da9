r"""Paths on the occupancy grid of a planar problem, and the bottlenecks on them: targets that need no planner.

The path minimises, over the 8-connected free cells,

.. math:: \int 1 + \frac{w}{d(s)} \, ds

with d the distance to the nearest occupied cell and w the weight of the clearance; at w = 0 it is the shortest.

A state of the path is in a bottleneck if most of the disc around it is in collision. Where the narrow places are is
known from nothing but the grid and the collision checks.

Reference:
    LEGO: leveraging experience in roadmap generation for sampling-based planning (Kumar et al., 2019), a sampler that
    learns bottleneck states of paths instead of all of their states, https://arxiv.org/abs/1907.09574
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from ..errors import ConfigError, ShapeError
from .planar import PlanarProblem
from .problem import Array

_DISC = 128  # states tested in a disc


def shortest_path(
    occupancy: Array, start: Array, goal: Array, clearance_weight: float = 0.05
) -> Array | None:
    """Return the states of the best path on a grid of the unit square, None if there is no path.

    The path runs over centres of free cells, does not cut the corner of an occupied one, and begins at the start and
    ends at the goal themselves, which take the place of the nearest free centres. What is narrower than a cell is
    not seen, so an edge of the path can be in collision.

    Args:
        occupancy: Occupied cells are true, (G, G); row i is y, column j is x.
        start: (2,).
        goal: (2,).
        clearance_weight: w above, in the unit of length of the square.

    Returns:
        States (P, 2), P at least 2.

    Raises:
        ShapeError: the occupancy is not square.
        ConfigError: the weight is negative.
    """
    occupied = np.asarray(occupancy).astype(bool)
    if occupied.ndim != 2 or occupied.shape[0] != occupied.shape[1]:
        raise ShapeError(f"an occupancy grid has shape (G, G); got {occupied.shape}")
    if not clearance_weight >= 0:
        raise ConfigError(f"the weight of the clearance must be 0 or more; got {clearance_weight}")
    free, size = ~occupied, len(occupied)
    if not free.any():
        return None
    factor = np.ones(free.shape)
    if occupied.any():  # else the transform has nothing to measure from
        clearance: Array = distance_transform_edt(free)  # type: ignore[assignment]
        factor += clearance_weight * size / np.maximum(clearance, 1)

    cells = np.arange(size * size).reshape(size, size)
    row_steps, column_steps = (np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])
    rising, falling = (np.s_[:-1, :-1], np.s_[1:, 1:]), (np.s_[:-1, 1:], np.s_[1:, :-1])
    ends, costs = [], []
    for (here, there), beside in ((row_steps, ()), (column_steps, ()), (rising, falling), (falling, rising)):
        open_ = free[here] & free[there]
        for cell in beside:  # the two that a diagonal step passes between
            open_ &= free[cell]
        length = 2**0.5 if beside else 1.0
        ends.append(np.stack([cells[here][open_], cells[there][open_]]))
        costs.append(length * (factor[here] + factor[there])[open_])
    (i, j), cost = np.concatenate(ends, axis=1), np.concatenate(costs)
    graph = csr_array((cost, (i, j)), shape=(size * size, size * size))

    centres = np.argwhere(free)[:, ::-1] + 0.5
    first, last = (
        cells[free][np.argmin(np.sum((centres - np.asarray(q) * size) ** 2, axis=1))] for q in (start, goal)
    )
    _, before = dijkstra(graph, directed=False, indices=first, return_predecessors=True)
    if first != last and before[last] < 0:
        return None
    path = [last]
    while path[-1] != first:
        path.append(before[path[-1]])
    row, column = np.divmod(path[::-1], size)
    states = (np.stack([column, row], axis=1) + 0.5) / size
    return np.concatenate([[start], states[1:-1], [goal]]).astype(np.float64)


def bottlenecks(
    problem: PlanarProblem,
    path: Array,
    radius: float = 0.05,
    share: float = 0.4,
    dilate: int = 4,
    recentre: float = 0.03,
) -> Array:
    """Return the states of a path that are in narrow places, moved to the middle of these.

    A state is taken if more than ``share`` of the disc around it is in collision, and so are its neighbours on the
    path; each is then moved to the mean of the free part of the smaller disc ``recentre`` around it. What is outside
    the limits belongs to no disc, so that a border is not a narrow place. Checks are not counted.

    Args:
        problem: The problem that the path solves.
        path: States (P, 2).
        radius: Of the disc that is looked at.
        share: Of the disc in collision, between 0 and 1, above which a place is narrow. Walls thinner than the disc
            fill less of it: of the gaps of 0.03 in walls from 0.05 to 0.15 thick 0.4 finds nearly all, 0.5 seven in
            eight.
        dilate: Number of neighbours on the path taken on either side.
        recentre: Radius of the disc whose free part is averaged; 0 leaves the states on the path.

    Returns:
        Free states (B, 2); the path's own, likewise moved, if no place is narrow.

    Raises:
        ConfigError: a radius, the share or the dilation is out of its range.
    """
    if not (radius > 0 and 0 <= share < 1 and dilate >= 0 and recentre >= 0):
        raise ConfigError(
            f"bottlenecks need radius > 0, share in [0, 1), dilate >= 0 and recentre >= 0; got {radius}, {share}, "
            f"{dilate} and {recentre}"
        )
    _, free, inside = _discs(problem, path, radius)
    narrow = (inside & ~free).sum(axis=1) > share * inside.sum(axis=1)
    near = np.convolve(narrow, np.ones(2 * dilate + 1), mode="full")[dilate : dilate + len(path)] > 0
    states = path[near] if near.any() else path
    if recentre > 0:
        points, free, _ = _discs(problem, states, recentre)
        mean = (points * free[..., None]).sum(axis=1) / np.maximum(free.sum(axis=1), 1)[:, None]
        states = np.where(problem.free(mean)[:, None], mean, states)
    states = states[problem.free(states)]
    return states if len(states) else path[problem.free(path)]


def _discs(problem: PlanarProblem, states: Array, radius: float) -> tuple[Array, Array, Array]:
    """Return evenly spread points (N, K, 2) of discs around states (N, 2), which are free and which inside (N, K)."""
    k = np.arange(_DISC)
    distance, angle = radius * np.sqrt((k + 0.5) / _DISC), k * np.pi * (3 - 5**0.5)  # a sunflower's seeds
    points = states[:, None] + np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=1)
    flat = points.reshape(-1, 2)
    inside = problem.within(flat)
    free = inside & problem.free(flat)
    return points, free.reshape(len(states), _DISC), inside.reshape(len(states), _DISC)
