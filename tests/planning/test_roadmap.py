"""The roadmap planner against a plain one: same roadmap, same cost, lazily and eagerly, and counted checks."""

import heapq
import math

import numpy as np
import pytest
from scipy.ndimage import label

from lowerbound.errors import ConfigError, ShapeError
from lowerbound.planning import roadmap
from lowerbound.planning.integrator import DoubleIntegrator
from lowerbound.planning.planar import Forest, Maze, NarrowPassage, PlanarProblem
from lowerbound.planning.problem import Problem
from lowerbound.planning.roadmap import anytime, plan
from lowerbound.planning.samplers import Fixed, Halton, Uniform

FAMILIES = [NarrowPassage(gap=0.1), Maze(), Forest()]


class Current(PlanarProblem):
    """A planar world with a current along x: with it a way costs its length, against it more, across a step none."""

    directed = True

    def cost(self, a, b):
        d = np.asarray(b) - a
        length = np.linalg.norm(d, axis=-1)
        return np.where(length < 0.5, length + 2 * np.maximum(-d[..., 0], 0), np.inf)


def current(problem):
    return Current(problem.boxes, problem.start, problem.goal)


def walled():
    """Start and goal on two sides of a wall without a gap."""
    return PlanarProblem(np.array([[0.45, -0.1, 0.55, 1.1]]), np.array([0.1, 0.5]), np.array([0.9, 0.5]))


def draws(problem, n, seed=0):
    return Halton().draw(problem, n, np.random.default_rng(seed))


def naive(problem, samples, k=None, radius=None):
    """The cost of the cheapest path, by loops: neighbours from sorted distances, Dijkstra with a heap."""
    points = [problem.start, problem.goal, *[q for q in samples if problem.valid(q[None])[0]]]
    n, joined = len(points), set()
    for i in range(n):
        others = [j for j in range(n) if j != i]
        out = {j: float(problem.cost(points[i], points[j])) for j in others}
        into = {j: float(problem.cost(points[j], points[i])) for j in others}
        if radius is not None:
            joined |= {(i, j) for j in others if out[j] <= radius}
        else:
            joined |= {(i, j) for j in sorted(others, key=out.get)[:k]}
            joined |= {(j, i) for j in sorted(others, key=into.get)[:k]}
    best, heap = {}, [(0.0, 0)]
    while heap:
        cost, i = heapq.heappop(heap)
        if i in best:
            continue
        best[i] = cost
        for j in range(n):
            step = float(problem.cost(points[i], points[j]))
            if j not in best and (i, j) in joined and math.isfinite(step):
                if problem.edges_valid(points[i][None], points[j][None])[0]:
                    heapq.heappush(heap, (cost + step, j))
    return best.get(1, math.inf)


def check(problem, result):
    """The path is one: from the start to the goal over free states and edges, at the cost that is stated."""
    assert result.solved
    path = result.path
    np.testing.assert_array_equal(path[[0, -1]], [problem.start, problem.goal])
    assert problem.valid(path).all()
    assert problem.edges_valid(path[:-1], path[1:]).all()
    assert problem.cost(path[:-1], path[1:]).sum() == pytest.approx(result.cost, rel=1e-12)


# ------------------------------------------------------------------------------------------------- same as plain
@pytest.mark.slow
@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("rule", ["prm*", 7, 0.25, "r-disc", None])
def test_undirected_against_loops(lazy, rule):
    solved = 0
    for index in range(6):
        problem = FAMILIES[index % 3].problem("tune", index)
        samples = draws(problem, 60, index)
        size = problem.valid(samples).sum() + 2
        if rule == "prm*":
            options, expected = {"neighbours": rule}, {"k": math.ceil(math.e * 1.5 * math.log(size))}
        elif isinstance(rule, int):
            options, expected = {"neighbours": rule}, {"k": rule}
        else:
            disc = min(1.5, 2.2 * math.sqrt(math.log(60) / 60))
            # Not told how, a plane problem joins by the disc.
            options, expected = {"radius": rule}, {"radius": rule if isinstance(rule, float) else disc}
        result = plan(problem, samples, lazy=lazy, **options)
        cost = naive(problem, samples, **expected)
        if problem.edges_valid(problem.start[None], problem.goal[None])[0]:
            cost = float(np.linalg.norm(problem.goal - problem.start))
        assert result.cost == pytest.approx(cost, rel=1e-12)
        assert result.solved == math.isfinite(cost)
        if result.solved:
            check(problem, result)
            solved += 1
    assert 0 < solved


@pytest.mark.slow
@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("rule", [6, 0.3])
def test_directed_against_loops(lazy, rule):
    costs = []
    for index in range(6):
        problem = current(FAMILIES[2 * (index % 2)].problem("tune", index))
        samples = draws(problem, 60, index)
        by_number = isinstance(rule, int)
        result = plan(
            problem, samples, lazy=lazy, **({"neighbours": rule} if by_number else {"radius": rule})
        )
        costs.append(naive(problem, samples, **({"k": rule} if by_number else {"radius": rule})))
        assert result.cost == pytest.approx(costs[-1], rel=1e-12)
        if result.solved:
            check(problem, result)
    assert np.isfinite(costs).any()


def test_directed_neighbours_in_chunks(monkeypatch):
    problem = current(Forest().problem("tune", 0))
    points = problem.uniform(41, np.random.default_rng(0))
    whole = roadmap._near_by_cost(problem.cost, points, 5, None)
    monkeypatch.setattr(roadmap, "_PAIRS", 3 * len(points))
    np.testing.assert_array_equal(roadmap._near_by_cost(problem.cost, points, 5, None), whole)
    cost = problem.cost(points[:, None], points[None])
    np.fill_diagonal(cost, np.inf)
    expected = {(i, j) for i in range(41) for j in np.argsort(cost[i])[:5]}
    expected |= {(i, j) for j in range(41) for i in np.argsort(cost[:, j])[:5]}
    assert {tuple(pair) for pair in whole.tolist()} == expected
    assert len(whole) == len(expected)


@pytest.mark.slow
@pytest.mark.parametrize("n", [50, 300, 1000])
def test_lazy_and_eager_agree(n):
    both, edges = [], np.zeros(2)
    for index in range(8):
        family = FAMILIES[index % 3]
        lazy, eager = (
            plan(family.problem("tune", index), draws(family.problem("tune", index), n), lazy=way)
            for way in (True, False)
        )
        assert lazy.cost == pytest.approx(eager.cost, rel=1e-12)
        assert lazy.edges <= eager.edges
        assert eager.edges in (1, eager.candidates, eager.candidates + 1)
        both.append(lazy.solved)
        edges += lazy.edges, eager.edges
    assert any(both)
    assert edges[0] < 0.5 * edges[1]


def test_double_integrator():
    problem = DoubleIntegrator(gap=0.15).problem("tune", 0)
    samples = draws(problem, 400)
    lazy, eager = plan(problem, samples), plan(problem, samples, lazy=False)
    assert lazy.cost == pytest.approx(eager.cost, rel=1e-12)
    check(problem, lazy)
    with pytest.raises(ConfigError, match="r-disc"):
        plan(problem, samples, radius="r-disc")


def test_double_integrator_against_all_pairs():
    """The cost of Floyd and Warshall over each vertex's k cheapest edges out and k cheapest in."""
    solved = 0
    for index in range(4):
        problem = DoubleIntegrator(gap=0.15, walls=1).problem("tune", index)
        samples, k = draws(problem, 120, index), 12
        points = np.concatenate([[problem.start, problem.goal], samples[problem.valid(samples)]])
        cost = problem.cost(points[:, None], points[None])
        np.fill_diagonal(cost, np.inf)
        rank_out, rank_in = (np.argsort(np.argsort(cost, axis=axis), axis=axis) for axis in (1, 0))
        a, b = np.nonzero((np.minimum(rank_out, rank_in) < k) & np.isfinite(cost))
        free = problem.edges_valid(points[a], points[b])
        best = np.full_like(cost, np.inf)
        best[a[free], b[free]] = cost[a[free], b[free]]
        for via in range(len(points)):
            best = np.minimum(best, best[:, via, None] + best[None, via])
        straight = problem.edges_valid(points[:1], points[1:2])[0]
        expected = float(cost[0, 1] if straight else best[0, 1])
        for lazy in (True, False):
            result = plan(problem, samples, neighbours=k, lazy=lazy)
            assert result.cost == pytest.approx(expected, rel=1e-9)
        assert result.candidates in (0, len(a))  # no roadmap where the straight edge is free
        solved += math.isfinite(expected) and not straight
    assert solved


@pytest.mark.slow
def test_a_path_where_a_fine_grid_has_one():
    """Worlds of rooms of which one gap is closed, so that the start and the goal are apart in some."""
    apart = []
    for index in range(12):
        whole = NarrowPassage(gap=0.08, walls=3).problem("tune", index)
        boxes = np.concatenate([whole.boxes, whole.gaps[[index % 3]]])
        problem = PlanarProblem(boxes, whole.start, whole.goal)
        room, _ = label(problem.occupancy(400) == 0)
        (j, i), (q, p) = (np.minimum(end * 400, 399).astype(int) for end in (problem.start, problem.goal))
        apart.append(room[i, j] != room[p, q])
        assert plan(problem, draws(problem, 1500, index)).solved == (not apart[-1])
    assert 3 <= sum(apart) <= 9


# ------------------------------------------------------------------------------------------------------- the ends
def test_straight_edge_first():
    problem = PlanarProblem(np.zeros((0, 4)), np.array([0.1, 0.2]), np.array([0.4, 0.6]))
    result = plan(problem, draws(problem, 500))
    np.testing.assert_array_equal(result.path, [[0.1, 0.2], [0.4, 0.6]])
    assert result.cost == pytest.approx(0.5, rel=1e-12)
    assert (problem.counts.states, problem.counts.edges) == (0, 1)
    assert (result.states, result.edges) == (0, 1)


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("n", [0, 1, 2, 50, 800])
def test_no_path_is_stated(lazy, n):
    problem = walled()
    samples = draws(problem, n) if n else np.empty((0, 2))
    result = plan(problem, samples, lazy=lazy)
    assert (result.path, result.cost) == (None, math.inf)
    assert result.reason == f"no path in the roadmap of {n} samples"
    assert not result.solved


@pytest.mark.slow
def test_a_failure_takes_few_searches_and_not_all_edges():
    result = plan(walled(), draws(walled(), 2000))
    assert result.searches < 200
    assert result.edges < 0.2 * result.candidates


@pytest.mark.parametrize("lazy", [True, False])
def test_edge_budget(lazy):
    problem = walled()
    result = plan(problem, draws(problem, 500), lazy=lazy, max_edges=100)
    assert result.reason == "the budget of 100 edge checks ended"
    assert result.edges == problem.counts.edges == 100
    assert result.path is None


def test_a_budget_keeps_what_was_found():
    problem = NarrowPassage(gap=0.15).problem("tune", 3)
    samples = draws(problem, 400)
    whole = plan(problem, samples, lazy=False)
    cut = plan(problem, samples, lazy=False, max_edges=whole.candidates // 2)
    assert cut.solved
    assert "budget" in cut.reason
    check(problem, cut)
    assert cut.cost >= whole.cost
    assert plan(problem, samples, max_edges=10**6).reason == "solved"


@pytest.mark.parametrize("lazy", [True, False])
def test_time_budget(lazy):
    result = plan(walled(), draws(walled(), 300), lazy=lazy, seconds=1e-9)
    assert result.reason == "the time of 1e-09 s ended"
    assert plan(walled(), draws(walled(), 300), lazy=lazy, seconds=60).reason.startswith("no path")


@pytest.mark.parametrize("which", ["start", "goal"])
def test_ends_in_collision(which):
    ends = {"start": np.array([0.1, 0.5]), "goal": np.array([0.9, 0.5])} | {which: np.array([0.5, 0.5])}
    problem = PlanarProblem(walled().boxes, **ends)
    with pytest.raises(ConfigError, match=which):
        plan(problem, draws(problem, 10))
    with pytest.raises(ConfigError, match=which):
        anytime(problem, Uniform(), np.random.default_rng(0))


# ---------------------------------------------------------------------------------------------------------- counts
def test_counts_and_reproducible():
    problem = Maze().problem("tune", 1)
    samples = draws(problem, 300)
    first = plan(problem, samples)
    assert (first.n, first.states) == (300, 300)
    assert first.free == problem.valid(samples).sum()
    assert (problem.counts.states, problem.counts.edges) == (600, first.edges)
    second = plan(problem, samples)
    np.testing.assert_array_equal(first.path, second.path)
    assert (first.edges, first.searches) == (second.edges, second.searches)


def test_no_edge_twice(monkeypatch):
    """Neither in one search nor from batch to batch, in either direction."""
    seen = []
    test = PlanarProblem.edges_valid

    def record(self, a, b):
        seen.extend(frozenset((tuple(p), tuple(q))) for p, q in zip(a.tolist(), b.tolist(), strict=True))
        return test(self, a, b)

    monkeypatch.setattr(PlanarProblem, "edges_valid", record)
    problem = NarrowPassage().problem("tune", 0)
    for lazy in (True, False):
        seen.clear()
        result = anytime(problem, Halton(), np.random.default_rng(0), batch=50, most=300, lazy=lazy)
        assert len(seen) == len(set(seen)) == result.edges


def test_twins_and_samples_on_the_ends():
    problem = Forest().problem("tune", 0)
    samples = draws(problem, 150)
    once = plan(problem, samples, radius=0.3)
    many = plan(problem, np.concatenate([samples, samples, [problem.start] * 3, [problem.goal]]), radius=0.3)
    assert once.solved
    assert many.cost == pytest.approx(once.cost, rel=1e-12)
    check(problem, many)
    outside = np.concatenate([samples, samples + 5.0])
    assert plan(problem, outside, radius=0.3).cost == pytest.approx(once.cost, rel=1e-12)


# ---------------------------------------------------------------------------------------------------------- anytime
@pytest.mark.parametrize("lazy", [True, False])
def test_anytime_stops_at_the_first_prefix_that_solves(lazy):
    used = []
    for index in range(4):
        problem = NarrowPassage(gap=0.03).problem("tune", index)
        samples = draws(problem, 1000, index)
        sampler = Walk(samples)
        result = anytime(problem, sampler, np.random.default_rng(0), batch=40, most=1000, lazy=lazy)
        used.append(result.n)
        if not result.solved or not result.n:
            continue
        assert result.states == result.n == sampler.given
        assert result.cost == pytest.approx(plan(problem, samples[: result.n], lazy=False).cost, rel=1e-12)
        assert all(not plan(problem, samples[:n]).solved for n in range(40, result.n, 40))
        check(problem, result)
    assert max(used) > 40


class Walk(Fixed):
    """Gives the rows of an array on, where the last call ended."""

    given = 0

    def draw(self, problem, n, rng):
        self.given += n
        return self.states[self.given - n : self.given]


def test_anytime_ends():
    rng = np.random.default_rng(0)
    result = anytime(walled(), Uniform(), rng, batch=64, most=150)
    assert (result.n, result.path) == (150, None)
    assert result.reason == "no path in the roadmap of 150 samples"
    result = anytime(walled(), Uniform(), rng, batch=64, most=10**9, max_edges=500)
    assert result.reason == "the budget of 500 edge checks ended"
    assert result.edges == 500
    result = anytime(walled(), Uniform(), rng, batch=64, most=10**9, seconds=0.2)
    assert result.reason == "the time of 0.2 s ended"
    assert 0.2 <= result.seconds < 5
    straight = PlanarProblem(np.zeros((0, 4)), np.zeros(2), np.ones(2))
    assert anytime(straight, Uniform(), rng).n == 0


# ------------------------------------------------------------------------------------------------------------ input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neighbours": 0}, "neighbours is a whole number above 0 or 'prm\\*'; got 0"),
        ({"neighbours": "knn"}, "got 'knn'"),
        ({"neighbours": True}, "got True"),
        ({"radius": -1.0}, "radius is a positive distance or 'r-disc'; got -1.0"),
        ({"radius": "disc"}, "got 'disc'"),
        ({"max_edges": 0}, "max_edges"),
        ({"max_edges": 1.5}, "max_edges"),
        ({"seconds": 0}, "seconds"),
        ({"seconds": "1"}, "seconds"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ConfigError, match=message):
        plan(walled(), draws(walled(), 5), **options)
    with pytest.raises(ConfigError, match=message):
        anytime(walled(), Uniform(), np.random.default_rng(0), **options)


def test_wrong_samples():
    for samples in (np.zeros((3, 4)), np.zeros(2), np.zeros((2, 2, 2))):
        with pytest.raises(ShapeError, match=r"\(n, 2\)"):
            plan(walled(), samples)
    with pytest.raises(ConfigError, match="whole number"):
        anytime(walled(), Uniform(), np.random.default_rng(0), batch=0)


@pytest.mark.slow
def test_states_that_cluster_in_gaps_are_joined_in_the_plane():
    """Sixty states in and about each of three gaps, twenty elsewhere: the nearest of many are all in one gap."""
    solved = {"default": 0, "prm*": 0}
    for index in range(20):
        problem, rng = NarrowPassage(gap=0.03).problem("tune", index), np.random.default_rng(index)
        middle = (problem.gaps[:, :2] + problem.gaps[:, 2:]) / 2
        size = 0.06 + problem.gaps[:, 2:] - problem.gaps[:, :2]
        about = middle + size * rng.uniform(-0.5, 0.5, (60, 1, 2))
        samples = np.concatenate([about.reshape(-1, 2), Halton().draw(problem, 20, rng)])
        solved["default"] += plan(problem, samples).solved
        solved["prm*"] += plan(problem, samples, neighbours="prm*").solved
    assert solved["default"] == 20, solved
    assert solved["prm*"] < 20, solved


@pytest.mark.slow
def test_the_disc_goes_with_the_size_of_the_plane():
    """A world in metres: 20 long and 5 high, ten times the unit square's side where both are as large."""
    unit = PlanarProblem(np.array([[0.4, 0.0, 0.6, 0.45]]), np.array([0.1, 0.1]), np.array([0.9, 0.1]))

    class Metres(Problem):
        scale = np.array([20.0, 5.0])

        def free(self, q):
            return unit.free(q / self.scale)

        def edges_free(self, a, b):
            return unit.edges_free(a / self.scale, b / self.scale)

        def condition(self):
            return {}

    problem = Metres(np.zeros(2), Metres.scale, unit.start * Metres.scale, unit.goal * Metres.scale)
    samples = draws(unit, 120) * Metres.scale
    radius = 10 * min(1.5, 2.2 * math.sqrt(math.log(120) / 120))
    for options in ({}, {"radius": "r-disc"}):
        result = plan(problem, samples, **options)
        assert result.candidates == plan(problem, samples, radius=radius).candidates
        assert result.cost == pytest.approx(naive(problem, samples, radius=radius), rel=1e-12)
        check(problem, result)


def test_r_disc_is_for_two_dimensions():
    class Cube(Problem):
        def free(self, q):
            return np.ones(len(q), dtype=bool)

        def edges_free(self, a, b):
            return np.ones(len(a), dtype=bool)

        def condition(self):
            return {}

    with pytest.raises(ConfigError, match="two dimensions; this one has 3"):
        plan(Cube(np.zeros(3), np.ones(3), np.zeros(3), np.ones(3)), np.zeros((5, 3)), radius="r-disc")
