"""A path for any problem, fast: two trees grown in batches towards each other, then shortcuts tried in batches.

This is what draws reference paths and proves that a problem has one. The trees are those of RRT-Connect (Kuffner and
LaValle, 2000), except that each round extends many branches at once, so that states and edges are checked together.
"""

from __future__ import annotations

import numpy as np

from ..errors import ConfigError, ShapeError
from .problem import Array, Problem


def connect(
    problem: Problem,
    rng: np.random.Generator,
    budget: int = 100_000,
    *,
    step: float | None = None,
    batch: int = 64,
) -> Array | None:
    """Return a free path from start to goal, (P, D), its ends included; None if the budget did not suffice.

    Args:
        problem: Any problem whose edges are the same in both directions.
        rng: Source of the random targets.
        budget: Checks that may be made, a state and an edge counting one each; never exceeded by more than a round's.
        step: Longest branch, Euclidean; 0.12 of the square root of the sum of squared ranges if None.
        batch: Targets drawn in a round.

    Raises:
        ConfigError: the problem is directed, or an option is not positive.
    """
    if problem.directed:
        raise ConfigError(
            "connect grows a tree backwards from the goal, which a directed problem does not allow"
        )
    step = 0.12 * float(np.linalg.norm(problem.upper - problem.lower)) if step is None else step
    if budget < 1 or batch < 1 or step <= 0:
        raise ConfigError(f"connect needs budget, batch and step above 0; got {budget}, {batch} and {step}")
    spent = problem.counts.states + problem.counts.edges

    def used() -> int:
        return problem.counts.states + problem.counts.edges - spent

    ends = np.stack([problem.start, problem.goal])
    if not problem.valid(ends).all():
        return None
    if problem.edges_valid(ends[:1], ends[1:])[0]:
        return ends
    here, there = _Tree(problem, ends[0]), _Tree(problem, ends[1])
    while used() < budget:
        fresh = here.extend(problem.uniform(batch, rng), step)
        met = there.reach(here.states[fresh], step)
        for mine, other in zip(fresh, met, strict=True):
            if other >= 0:
                path = np.concatenate([here.to(mine)[::-1], there.to(other)[1:]])
                return path if np.array_equal(path[0], problem.start) else path[::-1]
        here, there = there, here
    return None


def shorten(
    problem: Problem, path: Array, rng: np.random.Generator, rounds: int = 24, batch: int = 64
) -> Array:
    """Return a path (P', D) that costs no more: random shortcuts, many tried in a round, the best applied.

    A shortcut joins two random points of the path by one edge; those of a round that save most and do not overlap
    are made. New points lie on old edges, and the parts of those that remain are checked again as edges of their own.

    Args:
        problem: Any problem whose edges are the same in both directions.
        path: A free path, (P, D).
        rng: Source of the shortcuts.
        rounds: Rounds of shortcuts.
        batch: Shortcuts tried in a round.

    Raises:
        ShapeError: the path is not (P, D) with at least two points.
        ConfigError: the problem is directed.
    """
    path = _path(path)
    if problem.directed:
        raise ConfigError("straight shortcuts are not motions of a directed problem")
    for _ in range(rounds):
        if len(path) < 3:
            return path
        path = _shorten_once(problem, path, rng, batch)
    return path


def resample(path: Array, spacing: float) -> Array:
    """Return the path with each edge cut into equal parts no longer than ``spacing``, (P', D); it keeps its points.

    Raises:
        ShapeError: the path is not (P, D) with at least two points.
        ConfigError: the spacing is not positive.
    """
    path = _path(path)
    if spacing <= 0:
        raise ConfigError(f"a path is cut at spacing > 0; got {spacing}")
    parts = np.ceil(np.linalg.norm(np.diff(path, axis=0), axis=1) / spacing - 1e-9).astype(int).clip(1)
    edge = np.repeat(np.arange(len(parts)), parts)
    share = (np.arange(len(edge)) - np.repeat(np.cumsum(parts) - parts, parts)) / parts[edge]
    inner = path[edge] + share[:, None] * (path[edge + 1] - path[edge])
    return np.concatenate([inner, path[-1:]])


def length(problem: Problem, path: Array) -> float:
    """Return the cost of a path (P, D)."""
    return float(problem.cost(path[:-1], path[1:]).sum())


class _Tree:
    """States (n, D), each with the index of the state it was reached from."""

    def __init__(self, problem: Problem, root: Array) -> None:
        self.problem = problem
        self.size = 1
        self._states = np.empty((256, len(root)))
        self._parents = np.empty(256, dtype=np.intp)
        self._states[0], self._parents[0] = root, -1

    @property
    def states(self) -> Array:
        return self._states[: self.size]

    def nearest(self, q: Array) -> Array:
        """Return the indices of the states nearest to q (N, D), (N,)."""
        states = self.states
        # |x - q|^2 up to |q|^2, which does not depend on x
        return np.argmin((states * states).sum(1) - 2 * q @ states.T, axis=1)

    def add(self, q: Array, parents: Array) -> Array:
        """Add states (N, D) and return their indices, (N,)."""
        new = self.size + np.arange(len(q))
        while self.size + len(q) > len(self._states):
            self._states = np.concatenate([self._states, np.empty_like(self._states)])
            self._parents = np.concatenate([self._parents, np.empty_like(self._parents)])
        self._states[new], self._parents[new] = q, parents
        self.size += len(q)
        return new

    def extend(self, targets: Array, step: float) -> Array:
        """Grow towards targets (N, D) by at most a step; return the indices of the new states."""
        near = self.nearest(targets)
        return self._grow(near, _towards(self.states[near], targets, step)[0])[0]

    def reach(self, targets: Array, step: float) -> Array:
        """Grow towards targets (N, D) by steps until blocked; return the index of the state there, or -1, (N,)."""
        met = np.full(len(targets), -1, dtype=np.intp)
        active = np.arange(len(targets))
        near = self.nearest(targets) if len(targets) else active
        while len(active):
            new, arrived = _towards(self.states[near], targets[active], step)
            added, ok = self._grow(near, new)
            met[active[ok & arrived]] = added[arrived[ok]]
            if (met >= 0).any():
                return met
            active, near = active[ok], added
        return met

    def to(self, index: int) -> Array:
        """Return the states from this one back to the root, (n, D)."""
        indices = [index]
        while self._parents[indices[-1]] >= 0:
            indices.append(int(self._parents[indices[-1]]))
        return self._states[indices]

    def _grow(self, parents: Array, q: Array) -> tuple[Array, Array]:
        """Add those of q (N, D) that are free with the edge to their parent; return their indices, and which."""
        ok = self.problem.valid(q)
        if ok.any():
            ok[ok] = self.problem.edges_valid(self.states[parents[ok]], q[ok])
        return self.add(q[ok], parents[ok]), ok


def _towards(a: Array, b: Array, step: float) -> tuple[Array, Array]:
    """Return the points at most a step from a (N, D) towards b, and which are b itself."""
    distance = np.linalg.norm(b - a, axis=1)
    arrived = distance <= step
    share = step / np.where(arrived, 1, distance)
    return np.where(arrived[:, None], b, a + share[:, None] * (b - a)), arrived


def _shorten_once(problem: Problem, path: Array, rng: np.random.Generator, batch: int) -> Array:
    lengths = problem.cost(path[:-1], path[1:])
    marks = np.concatenate([[0.0], np.cumsum(lengths)])
    ends = np.sort(rng.uniform(0, marks[-1], (batch, 2)), axis=1)
    edge = np.clip(np.searchsorted(marks, ends, side="right") - 1, 0, len(path) - 2)
    # half of the ends are moved to a point of the path: cutting a corner needs new points, leaving one out does not
    snapped = rng.random((batch, 2)) < 0.5
    share = (ends - marks[edge]) / np.where(lengths[edge] > 0, lengths[edge], 1)
    share = np.where(snapped, [0.0, 1.0], np.clip(share, 0, 1))
    points = path[edge] + share[..., None] * (path[edge + 1] - path[edge])
    i, j = edge[:, 0], edge[:, 1]
    new = problem.cost(points[:, 0], points[:, 1])
    old = marks[j] + share[:, 1] * lengths[j] - marks[i] - share[:, 0] * lengths[i]
    saved = old - new
    keep = np.flatnonzero((i < j) & (saved > 1e-6 * marks[-1]))
    keep = keep[_free_shortcuts(problem, path, points[keep], edge[keep])]
    taken = np.zeros(len(path) - 1, dtype=bool)
    chosen = []
    for k in keep[np.argsort(-saved[keep])]:
        if not taken[i[k] : j[k] + 1].any():
            taken[i[k] : j[k] + 1] = True
            chosen.append(k)
    parts, last = [], 0
    for k in sorted(chosen, key=lambda k: i[k]):
        parts += [path[last : i[k] + 1], points[k]]
        last = j[k] + 1
    out = np.concatenate([*parts, path[last:]])
    distinct = np.concatenate([[True], (np.diff(out, axis=0) != 0).any(1)])
    return out[distinct]


def _free_shortcuts(problem: Problem, path: Array, points: Array, edge: Array) -> Array:
    """Return which shortcuts between points (N, 2, D) are free, with what is left of the edges they start on."""
    if not len(points):
        return np.zeros(0, dtype=bool)
    ok = np.all(problem.valid(points.reshape(-1, path.shape[1])).reshape(-1, 2), axis=1)
    for a, b in (
        (points[:, 0], points[:, 1]),
        (path[edge[:, 0]], points[:, 0]),
        (points[:, 1], path[edge[:, 1] + 1]),
    ):
        if ok.any():
            ok[ok] = problem.edges_valid(a[ok], b[ok])
    return ok


def _path(path: Array) -> Array:
    path = np.asarray(path, dtype=np.float64)
    if path.ndim != 2 or len(path) < 2:
        raise ShapeError(f"a path has at least two points, (P, D); got {path.shape}")
    return path
