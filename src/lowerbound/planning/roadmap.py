"""A roadmap planner on given samples: which paths they allow, at which cost and for how many collision checks.

The free samples, the start and the goal are the vertices; near ones are joined; the cheapest path of free edges is
the answer. Two ways find the same path: an eager one tests every edge and searches once, a lazy one searches first
and tests the edges it needs.

Neighbours are the k = ceil(e (1 + 1/D) log n) nearest (k-nearest PRM*), a fixed number of them, or all within a
radius. In the plane it is a radius unless another rule is asked for: where many states lie in one narrow place, the
nearest few of each are all in it, and nothing joins it to the next.
"""

from __future__ import annotations

import itertools
import math
import numbers
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import KDTree

from ..errors import ConfigError, ShapeError
from .problem import Array, Problem
from .samplers import Sampler, check_number

_PAIRS = 1 << 18  # pairs whose cost is computed at once
_AHEAD = 0.1  # edges a lazy search tests beside its path, as a fraction of those tested so far
_CHUNK = 4096  # edges tested between two looks at the clock


@dataclass(frozen=True)
class Result:
    """What a planner found.

    Attributes:
        path: Vertices from the start to the goal, (P, D); None without a path. Between two of them the way is
            ``problem.trajectory``.
        cost: Its cost, infinite without a path.
        reason: Why the search ended, in words.
        n: Samples given.
        free: Those that are free.
        candidates: Edges of the roadmap, tested or not.
        states: State checks made, without those of the sampler.
        edges: Edge checks made.
        searches: Shortest-path searches made.
        seconds: Wall-clock time taken; of ``anytime`` with the time of the sampler, of ``plan`` without.
    """

    path: Array | None
    cost: float
    reason: str
    n: int = 0
    free: int = 0
    candidates: int = 0
    states: int = 0
    edges: int = 0
    searches: int = 0
    seconds: float = 0.0

    @property
    def solved(self) -> bool:
        """Whether there is a path."""
        return self.path is not None


def plan(
    problem: Problem,
    samples: Array,
    *,
    lazy: bool = True,
    neighbours: str | int | None = None,
    radius: float | str | None = None,
    max_edges: int | None = None,
    seconds: float | None = None,
) -> Result:
    """Return the cheapest path over a roadmap of the samples, the start and the goal.

    The edge from the start to the goal is tested first and is the answer if it is free: no detour is cheaper where
    costs obey the triangle inequality, as those of this package do. A search whose
    budget ends returns the cheapest path of the edges known to be free, if there is one.

    Args:
        problem: Its counts go up by the checks made.
        samples: States within the limits or not, free or not, (n, D).
        lazy: Test only the edges that the search needs; otherwise all. The path is equally cheap either way.
        neighbours: Edges to the nearest of the n vertices: this number of them, or "prm*" for
            ceil(e (1 + 1/D) log n). Near is Euclidean; in a directed problem it is ``problem.cost``, with as many
            edges into a vertex as out of it. If neither this nor a radius is given, "prm*", but radius "r-disc" for
            undirected problems of two dimensions.
        radius: Join all vertices within this distance (in a directed problem, cost) instead. "r-disc" is
            min(1.5, 2.2 sqrt(log n / n)) with n samples, times the side of a square as large as the limits'
            rectangle, for undirected problems of two dimensions.
        max_edges: Most edge checks.
        seconds: Wall-clock limit. It is looked at between batches of checks; the states are one batch.

    Raises:
        ConfigError: the start or the goal is in collision, or an option is wrong.
        ShapeError: the samples are no (n, D) array.

    Reference:
        Sampling-based algorithms for optimal motion planning (Karaman and Frazzoli, 2011)
        Path planning using Lazy PRM (Bohlin and Kavraki, 2000)
    """
    samples = np.asarray(samples, dtype=np.float64)
    if samples.ndim != 2 or samples.shape[1] != problem.dimensions:
        raise ShapeError(f"samples of this problem have shape (n, {problem.dimensions}); got {samples.shape}")
    search = _Search(problem, lazy, neighbours, radius, max_edges, seconds)
    return search.straight() or search.over(samples)


def anytime(
    problem: Problem,
    sampler: Sampler,
    rng: np.random.Generator,
    *,
    batch: int = 100,
    most: int = 3200,
    lazy: bool = True,
    neighbours: str | int | None = None,
    radius: float | str | None = None,
    max_edges: int | None = None,
    seconds: float | None = None,
) -> Result:
    """Return the first path found while a roadmap grows by batches of samples; ``n`` of the result says how many.

    No state and no edge is tested twice. The budgets hold for all batches together.

    Args:
        problem: Its counts go up by the checks made, those of the sampler included.
        sampler: Asked for ``batch`` samples at a time.
        rng: Drives the sampler.
        batch: Samples added at a time.
        most: Most samples.
        lazy: As for ``plan``.
        neighbours: As for ``plan``.
        radius: As for ``plan``.
        max_edges: As for ``plan``.
        seconds: As for ``plan``, here with the time of the sampler.

    Raises:
        ConfigError: the start or the goal is in collision, or an option is wrong.
    """
    check_number(batch)
    check_number(most)
    search = _Search(problem, lazy, neighbours, radius, max_edges, seconds)
    result, samples = search.straight(), np.empty((0, problem.dimensions))
    while result is None or (not result.solved and not search.spent() and len(samples) < most):
        drawn = sampler.draw(problem, min(batch, most - len(samples)), rng)
        samples = np.concatenate([samples, drawn])
        result = search.over(samples)
    if not result.solved and len(samples) < most:
        result = replace(result, reason=search.spent())
    return result


class _Search:
    """Roadmaps over growing samples of one problem; remembers which states and edges it has tested."""

    def __init__(
        self,
        problem: Problem,
        lazy: bool,
        neighbours: str | int | None,
        radius: float | str | None,
        max_edges: int | None,
        seconds: float | None,
    ) -> None:
        _check_options(problem, neighbours, radius, max_edges, seconds)
        problem.check()
        if neighbours is None and radius is None and problem.dimensions == 2 and not problem.directed:
            radius = "r-disc"
        self.problem, self.lazy, self.neighbours, self.radius = problem, lazy, neighbours or "prm*", radius
        self.max_edges, self.limit = max_edges, seconds
        self.started = time.perf_counter()
        self.states = self.edges = self.searches = 0
        self.free = np.ones(2, dtype=bool)
        # Tested edges: key of the two vertices, sorted, and whether the edge is free.
        self.keys, self.known = np.empty(0, dtype=np.int64), np.empty(0, dtype=bool)

    def straight(self) -> Result | None:
        """Return the straight edge from start to goal as a result, if it is free."""
        ends = np.stack([self.problem.start, self.problem.goal])
        cost = float(self.problem.cost(ends[0], ends[1]))
        if not math.isfinite(cost):
            return None
        ok = self._test(ends, np.array([[0, 1]]))
        self._remember(np.array([[0, 1]]), ok)
        if not ok.all():
            return None
        return self._result(ends, cost, "solved: the edge from the start to the goal is free")

    def over(self, samples: Array) -> Result:
        """Return the cheapest path over samples that begin with those of the call before."""
        vertices = np.concatenate([self.problem.start[None], self.problem.goal[None], samples])
        fresh = vertices[len(self.free) :]
        self.states += len(fresh)
        self.free = np.concatenate([self.free, self.problem.valid(fresh)])
        ids = np.flatnonzero(self.free)
        points = vertices[ids]
        pairs, costs = self._join(points, len(samples))
        status = self._recall(ids[pairs])  # 1 free, -1 in collision, 0 not tested
        graph = _Graph(len(points), pairs, self.problem.directed)
        find = self._lazily if self.lazy else self._eagerly
        path, cost, reason = find(graph, points, pairs, costs, status)
        self._remember(ids[pairs[status != 0]], status[status != 0] > 0)
        reason = reason or (
            "solved" if path is not None else f"no path in the roadmap of {len(samples)} samples"
        )
        route = None if path is None else points[path]
        counts = {"n": len(samples), "free": len(ids) - 2, "candidates": len(pairs)}
        return replace(self._result(route, cost, reason), **counts)

    def spent(self) -> str:
        """Return which budget has ended, in words, or an empty string."""
        if self.max_edges is not None and self.edges >= self.max_edges:
            return f"the budget of {self.max_edges} edge checks ended"
        if self.limit is not None and time.perf_counter() - self.started >= self.limit:
            return f"the time of {self.limit:g} s ended"
        return ""

    def _eagerly(
        self, graph: _Graph, points: Array, pairs: Array, costs: Array, status: Array
    ) -> tuple[Array | None, float, str]:
        todo = np.flatnonzero(status == 0)
        if self.max_edges is not None:  # short edges are the ones most likely to be free
            todo = todo[np.argsort(costs[todo], kind="stable")]
        step = _CHUNK if self.limit is not None else max(len(todo), 1)
        while len(todo) and not self.spent():
            self._update(points, pairs, status, todo[:step])
            todo = todo[step:]
        path, cost, _ = self._shortest(graph, np.where(status > 0, costs, np.inf))
        return path, cost, "" if status.all() else self.spent()

    def _lazily(
        self, graph: _Graph, points: Array, pairs: Array, costs: Array, status: Array
    ) -> tuple[Array | None, float, str]:
        weights = np.where(status < 0, np.inf, costs)
        tested = int(np.count_nonzero(status))
        while True:
            path, cost, forward = self._shortest(graph, weights)
            if path is None:
                return None, math.inf, ""
            on_path = graph.edges_of(path)
            todo = on_path[status[on_path] == 0]
            if not len(todo):
                return path, cost, ""
            if ended := self.spent():
                path, cost, _ = self._shortest(graph, np.where(status > 0, costs, np.inf))
                return path, cost, ended
            if ahead := int(_AHEAD * tested):
                more = self._ahead(graph, pairs, weights, status, forward, ahead)
                todo = np.concatenate([todo, np.setdiff1d(more, todo)])
            before = self.edges
            self._update(points, pairs, status, todo)
            tested += self.edges - before
            weights[status < 0] = np.inf

    def _ahead(
        self, graph: _Graph, pairs: Array, weights: Array, status: Array, forward: Array, most: int
    ) -> Array:
        """Return edges worth a test beside those of the shortest path, at most ``most``.

        One path at a time, a failure would take as many searches as there are edges across the obstacle. Edges are
        ranked by the cost of the cheapest path through them. While nothing is known to join start and goal, only
        edges that would enlarge what is known to hang together with one of them count.
        """
        backward = self._to_goal(graph, weights)
        through = forward[pairs[:, 0]] + weights + backward[pairs[:, 1]]
        if not self.problem.directed:
            through = np.minimum(through, forward[pairs[:, 1]] + weights + backward[pairs[:, 0]])
        free = pairs[status > 0]
        shape = (graph.vertices, graph.vertices)
        joined = csr_array((np.ones(len(free), dtype=bool), (free[:, 0], free[:, 1])), shape=shape)
        label = connected_components(joined, directed=False)[1]
        useful = (status == 0) & np.isfinite(through)
        if label[0] != label[1]:
            a, b = label[pairs[:, 0]], label[pairs[:, 1]]
            useful &= (a != b) & ((a == label[0]) | (b == label[0]) | (a == label[1]) | (b == label[1]))
        chosen = np.flatnonzero(useful)
        if len(chosen) > most:
            chosen = chosen[np.argpartition(through[chosen], most)[:most]]
        return chosen

    def _update(self, points: Array, pairs: Array, status: Array, edges: Array) -> None:
        """Test edges, as many as the budget allows, and write what they are."""
        if self.max_edges is not None:
            edges = edges[: self.max_edges - self.edges]
        status[edges] = np.where(self._test(points, pairs[edges]), 1, -1)

    def _test(self, points: Array, pairs: Array) -> Array:
        self.edges += len(pairs)
        return self.problem.edges_valid(points[pairs[:, 0]], points[pairs[:, 1]])

    def _shortest(self, graph: _Graph, weights: Array) -> tuple[Array | None, float, Array]:
        """Return the path from vertex 0 to vertex 1 or None, its cost, and all distances from vertex 0."""
        self.searches += 1
        distance, previous = dijkstra(graph.matrix(weights), indices=0, return_predecessors=True)
        if not np.isfinite(distance[1]):
            return None, math.inf, distance
        path = [1]
        while path[-1] != 0:
            path.append(int(previous[path[-1]]))
        return np.array(path[::-1]), float(distance[1]), distance

    def _to_goal(self, graph: _Graph, weights: Array) -> Array:
        """Return the cost of the cheapest path from every vertex to vertex 1."""
        self.searches += 1
        matrix = graph.matrix(weights)
        return dijkstra(matrix.T.tocsr() if graph.directed else matrix, indices=1)

    def _join(self, points: Array, n: int) -> tuple[Array, Array]:
        """Return the edges of the roadmap, (E, 2), each once, and their costs, (E,)."""
        size = len(points)
        radius = self.radius
        if radius == "r-disc":
            side = math.sqrt(np.prod(self.problem.upper - self.problem.lower))
            radius = side * min(1.5, 2.2 * math.sqrt(math.log(max(n, 2)) / max(n, 2)))
        k = self.neighbours
        if k == "prm*":
            k = math.ceil(math.e * (1 + 1 / self.problem.dimensions) * math.log(size))
        k = min(int(k), size - 1)
        if self.problem.directed:
            pairs = _near_by_cost(self.problem.cost, points, k, None if radius is None else float(radius))
        elif radius is not None:
            pairs = KDTree(points).query_pairs(float(radius), output_type="ndarray").astype(np.int64)
            pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        else:
            near = KDTree(points).query(points, k=k + 1)[1]
            ends = np.stack([np.repeat(np.arange(size), k + 1), near.ravel()], axis=1)
            pairs = _unique(np.sort(ends, axis=1), size)
        costs = np.concatenate(
            [np.empty(0)]
            + [
                self.problem.cost(points[part[:, 0]], points[part[:, 1]])
                for part in np.split(pairs, range(_PAIRS, len(pairs), _PAIRS))
            ]
        )
        reachable = np.isfinite(costs)
        return pairs[reachable], costs[reachable]

    def _recall(self, pairs: Array) -> Array:
        """Return what is known of edges between vertices: 1 free, -1 in collision, 0 not tested."""
        if not len(self.keys):
            return np.zeros(len(pairs), dtype=np.int8)
        keys = pairs[:, 0] << 32 | pairs[:, 1]
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, np.where(self.known[at], 1, -1), 0).astype(np.int8)

    def _remember(self, pairs: Array, free: Array) -> None:
        keys = np.concatenate([self.keys, pairs[:, 0] << 32 | pairs[:, 1]])
        self.keys, at = np.unique(keys, return_index=True)
        self.known = np.concatenate([self.known, free])[at]

    def _result(self, path: Array | None, cost: float, reason: str) -> Result:
        seconds = time.perf_counter() - self.started
        result = Result(path, cost, reason, states=self.states, edges=self.edges, searches=self.searches)
        return replace(result, seconds=seconds)


class _Graph:
    """Edges as a sparse matrix whose weights can be exchanged without sorting it again."""

    def __init__(self, vertices: int, pairs: Array, directed: bool) -> None:
        self.vertices, self.directed = vertices, directed
        rows, columns, edge = pairs[:, 0], pairs[:, 1], np.arange(len(pairs))
        if not directed:  # both directions, as a directed search of them is the faster one
            rows, columns, edge = (
                np.concatenate([rows, columns]),
                np.concatenate([columns, rows]),
                np.concatenate([edge, edge]),
            )
        order = np.lexsort((columns, rows))
        self.edge = edge[order]
        self.columns = columns[order].astype(np.int32)
        self.pointers = np.searchsorted(rows[order], np.arange(vertices + 1)).astype(np.int32)

    def matrix(self, weights: Array) -> csr_array:
        """Return the matrix for weights of the edges, (E,); an infinite one is no edge, zero is one."""
        shape = (self.vertices, self.vertices)
        return csr_array((weights[self.edge], self.columns, self.pointers), shape=shape)

    def edges_of(self, path: Array) -> Array:
        """Return the edges along a path of vertices."""
        ends = [
            self.pointers[a] + np.searchsorted(self.columns[self.pointers[a] : self.pointers[a + 1]], b)
            for a, b in itertools.pairwise(path)
        ]
        return self.edge[ends]


def _near_by_cost(
    cost: Callable[[Array, Array], Array], points: Array, k: int, radius: float | None
) -> Array:
    """Return directed edges, (E, 2): to and from the k cheapest vertices of each, or all within a cost."""
    size = len(points)
    edges = [np.empty((0, 2), dtype=np.int64)]
    best, origin = np.empty((0, size)), np.empty((0, size), dtype=np.int64)  # cheapest edges into each vertex
    step = max(_PAIRS // size, 1)
    for first in range(0, size, step):
        rows = np.arange(first, min(first + step, size))
        here = np.array(cost(points[rows, None], points[None]), dtype=np.float64)
        here[np.arange(len(rows)), rows] = np.inf
        if radius is not None:
            a, b = np.nonzero(here <= radius)
            edges.append(np.stack([rows[a], b], axis=1))
            continue
        near = np.argpartition(here, k - 1, axis=1)[:, :k]
        edges.append(np.stack([np.repeat(rows, k), near.ravel()], axis=1))
        best = np.concatenate([best, here])
        origin = np.concatenate([origin, np.broadcast_to(rows[:, None], here.shape)])
        if len(best) > k:
            keep = np.argpartition(best, k - 1, axis=0)[:k]
            best, origin = np.take_along_axis(best, keep, 0), np.take_along_axis(origin, keep, 0)
    edges.append(np.stack([origin.ravel(), np.tile(np.arange(size), len(origin))], axis=1))
    return _unique(np.concatenate(edges), size)


def _unique(pairs: Array, size: int) -> Array:
    """Return the pairs of two different vertices, sorted, each once."""
    keys = np.unique(pairs[:, 0] * size + pairs[:, 1])
    a, b = keys // size, keys % size
    return np.stack([a, b], axis=1)[a != b]


def _check_options(problem: Problem, neighbours: Any, radius: Any, max_edges: Any, seconds: Any) -> None:
    if neighbours not in (None, "prm*") and not _positive(neighbours, numbers.Integral):
        raise ConfigError(f"neighbours is a whole number above 0 or 'prm*'; got {neighbours!r}")
    if radius == "r-disc":
        if problem.dimensions != 2 or problem.directed:
            raise ConfigError(
                f"radius 'r-disc' is the rule for undirected problems of two dimensions; this one has "
                f"{problem.dimensions}; give a number, or leave radius out"
            )
    elif radius is not None and not _positive(radius, numbers.Real):
        raise ConfigError(f"radius is a positive distance or 'r-disc'; got {radius!r}")
    if max_edges is not None and not _positive(max_edges, numbers.Integral):
        raise ConfigError(f"max_edges is a whole number above 0; got {max_edges!r}")
    if seconds is not None and not _positive(seconds, numbers.Real):
        raise ConfigError(f"seconds is a positive time; got {seconds!r}")


def _positive(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and value > 0
