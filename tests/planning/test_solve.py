import numpy as np
import pytest

from lowerbound.errors import ConfigError, ShapeError
from lowerbound.planning.problem import Problem
from lowerbound.planning.solve import connect, length, resample, shorten


class Wall(Problem):
    """The unit square with a thin wall at x = 1/2, open from y = low to y = high; edges are tested exactly."""

    def __init__(self, low=0.7, high=0.8, start=(0.1, 0.2), goal=(0.9, 0.2)):
        super().__init__([0, 0], [1, 1], start, goal)
        self.low, self.high = low, high

    def free(self, q):
        return q[:, 0] != 0.5

    def edges_free(self, a, b):
        crosses = (a[:, 0] < 0.5) != (b[:, 0] < 0.5)
        share = (0.5 - a[:, 0]) / np.where(crosses, b[:, 0] - a[:, 0], 1)
        y = a[:, 1] + share * (b[:, 1] - a[:, 1])
        return ~crosses | ((y > self.low) & (y < self.high))

    def condition(self):
        return {}


class OneWay(Wall):
    directed = True


def rng(seed=0):
    return np.random.default_rng(seed)


def checked(problem, path):
    np.testing.assert_array_equal(path[[0, -1]], [problem.start, problem.goal])
    assert problem.valid(path).all()
    assert problem.edges_valid(path[:-1], path[1:]).all()


class TestConnect:
    @pytest.mark.parametrize("seed", range(8))
    def test_finds_a_free_path(self, seed):
        problem = Wall()
        path = connect(problem, rng(seed))
        checked(problem, path)
        assert len(path) > 2

    @pytest.mark.parametrize("seed", range(3))
    def test_branches_are_no_longer_than_a_step(self, seed):
        path = connect(Wall(), rng(seed), step=0.05)
        assert np.linalg.norm(np.diff(path, axis=0), axis=1).max() <= 0.05 + 1e-12

    def test_nothing_in_the_way(self):
        problem = Wall(low=0.0, high=1.0)
        np.testing.assert_array_equal(connect(problem, rng()), [problem.start, problem.goal])
        assert problem.counts.edges == 1

    @pytest.mark.parametrize("budget", [1, 500, 3000])
    def test_gives_up_at_the_budget(self, budget):
        problem = Wall(low=2.0, high=3.0)
        assert connect(problem, rng(), budget, batch=16) is None
        used = problem.counts.states + problem.counts.edges
        # the last round starts below the budget: 16 branches, each met by at most 1 / 0.17 steps of the other tree
        assert budget <= used <= budget + 2 * 16 * (1 + 10)

    def test_the_budget_is_of_this_call(self):
        problem = Wall()
        problem.valid(np.full((5000, 2), 0.1))
        assert connect(problem, rng(), 5000) is not None

    def test_blocked_end(self):
        assert connect(Wall(start=(0.5, 0.2)), rng()) is None

    def test_same_seed_same_path(self):
        np.testing.assert_array_equal(connect(Wall(), rng(3)), connect(Wall(), rng(3)))

    def test_directed(self):
        with pytest.raises(ConfigError, match="directed"):
            connect(OneWay(), rng())

    @pytest.mark.parametrize("options", [{"budget": 0}, {"batch": 0}, {"step": 0.0}])
    def test_bad_options(self, options):
        with pytest.raises(ConfigError, match="above 0"):
            connect(Wall(), rng(), **options)


class TestShorten:
    @pytest.mark.parametrize("seed", range(4))
    def test_nears_the_shortest_path(self, seed):
        problem = Wall()
        path = connect(problem, rng(seed))
        short = shorten(problem, path, rng(seed), rounds=40)
        checked(problem, short)
        # around the lower end of the opening: two legs from (0.1 or 0.9, 0.2) to (0.5, 0.7)
        best = 2 * np.hypot(0.4, 0.5)
        assert best < length(problem, short) < 1.02 * best
        assert length(problem, short) <= length(problem, path)

    def test_never_costs_more_from_round_to_round(self):
        problem = Wall()
        path = resample(connect(problem, rng(5)), 0.05)
        source = rng(5)
        for _ in range(20):
            shorter = shorten(problem, path, source, rounds=1, batch=8)
            checked(problem, shorter)
            assert length(problem, shorter) <= length(problem, path) + 1e-12
            path = shorter

    def test_leaves_a_straight_path(self):
        path = np.array([[0.1, 0.2], [0.1, 0.9]])
        np.testing.assert_array_equal(shorten(Wall(), path, rng()), path)

    def test_errors(self):
        with pytest.raises(ShapeError, match=r"\(P, D\)"):
            shorten(Wall(), np.zeros((1, 2)), rng())
        with pytest.raises(ConfigError, match="directed"):
            shorten(OneWay(), np.zeros((3, 2)), rng())


class TestResample:
    def test_spacing_points_and_length(self):
        path = np.array([[0.0, 0.0], [0.3, 0.4], [0.3, 0.5], [0.3, 0.5]])
        cut = resample(path, 0.15)
        gaps = np.linalg.norm(np.diff(cut, axis=0), axis=1)
        # 0.5 in four parts, 0.1 and 0 in one each
        np.testing.assert_allclose(gaps, [0.125] * 4 + [0.1, 0.0], atol=1e-12)
        np.testing.assert_array_equal(cut[[0, 4, 5, 6]], path)

    def test_exact_multiples_are_not_cut_again(self):
        assert len(resample(np.array([[0.0], [0.3]]), 0.1)) == 4

    def test_errors(self):
        with pytest.raises(ConfigError, match="spacing"):
            resample(np.zeros((2, 2)), 0.0)
        with pytest.raises(ShapeError):
            resample(np.zeros(3), 0.1)


def test_an_arm_in_a_shelf():
    from lowerbound.planning.scenes import Wam

    problem = Wam(scene="shelf").problem("tune", 0)
    path = connect(problem, rng(), 100_000)
    short = shorten(problem, path, rng())
    checked(problem, path)
    checked(problem, short)
    assert length(problem, problem.start[None].repeat(2, 0)) == 0
    assert np.linalg.norm(problem.goal - problem.start) < length(problem, short) < length(problem, path)
