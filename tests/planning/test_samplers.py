"""The samplers: where their states lie, how many checks they make, and that they end."""

import math

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import qmc

from lowerbound.errors import ConfigError, ShapeError
from lowerbound.planning.planar import PlanarProblem
from lowerbound.planning.problem import Problem
from lowerbound.planning.samplers import Bridge, Fixed, GaussianSampler, Halton, Mixed, NearEnds, Uniform

EVERY = [
    Uniform(),
    Halton(),
    GaussianSampler(),
    Bridge(),
    NearEnds(),
    Mixed(Uniform(), 0.3),
    Mixed(Bridge(), 0.5, Uniform()),
]
every_sampler = pytest.mark.parametrize("sampler", EVERY, ids=lambda s: s.name)


class Line(Problem):
    """An interval whose states below ``wall`` collide, or those within it if it is a pair of numbers."""

    def __init__(self, wall, lower=0.0, upper=1.0):
        self.wall = wall if isinstance(wall, tuple) else (-math.inf, wall)
        end = [upper - 1e-9 * (upper - lower)]
        super().__init__(np.array([lower]), np.array([upper]), np.array(end), np.array(end))

    def free(self, q):
        return ~((q[:, 0] > self.wall[0]) & (q[:, 0] < self.wall[1]))

    def edges_free(self, a, b):
        return np.ones(len(a), dtype=bool)

    def condition(self):
        return {}


def world(gap=0.06):
    boxes = np.array([[-0.1, 0.4, 0.5 - gap / 2, 0.6], [0.5 + gap / 2, 0.4, 1.1, 0.6]])
    return PlanarProblem(boxes, np.array([0.1, 0.1]), np.array([0.9, 0.9]))


def rng(seed=0):
    return np.random.default_rng(seed)


# ------------------------------------------------------------------------------------------------------- all alike
@every_sampler
@pytest.mark.parametrize("n", [1, 2, 33])
def test_states_within_limits_from_the_generator_alone(sampler, n):
    problem = world()
    states = sampler.draw(problem, n, rng(1))
    assert (states.shape, states.dtype) == ((n, 2), np.float64)
    assert problem.within(states).all()
    np.testing.assert_array_equal(sampler.draw(problem, n, rng(1)), states)
    assert not np.array_equal(sampler.draw(problem, n, rng(2)), states)


@every_sampler
def test_limits_scale_the_states(sampler):
    """In another unit of length the states are the same: no sampler has a length of its own."""
    one, other = Line((0.4, 0.6)), Line((8.0, 12.0), 0.0, 20.0)
    np.testing.assert_allclose(20 * sampler.draw(one, 40, rng()), sampler.draw(other, 40, rng()), rtol=1e-12)
    moved = Line((0.4 - 7, 0.6 - 7), -7.0, -6.0)
    np.testing.assert_allclose(sampler.draw(one, 40, rng()) - 7, sampler.draw(moved, 40, rng()), atol=1e-12)


@every_sampler
@pytest.mark.parametrize("n", [0, -1, 2.0, True, "3"])
def test_wrong_number(sampler, n):
    with pytest.raises(ConfigError, match="whole number of states above 0"):
        sampler.draw(world(), n, rng())


# ------------------------------------------------------------------------------------------------ uniform and Halton
def test_uniform_and_halton_cover_the_limits_without_a_check():
    problem = world()
    for sampler, error in ((Uniform(), 0.05), (Halton(), 0.01)):
        states = sampler.draw(problem, 1000, rng())
        counts = np.histogram2d(*states.T, bins=4, range=[[0, 1], [0, 1]])[0] / 1000
        np.testing.assert_allclose(counts, 1 / 16, atol=error / 4 + 0.003)
        np.testing.assert_allclose(states.mean(axis=0), 0.5, atol=error)
    assert problem.counts.states == 0


def test_halton_is_more_even_than_chance():
    even, chance = (qmc.discrepancy(s.draw(world(), 256, rng())) for s in (Halton(), Uniform()))
    assert even < 0.2 * chance


# --------------------------------------------------------------------------------------------- Gaussian and bridge
def test_gaussian_by_its_density():
    """On a line with a wall below w, x > w is kept in proportion to P(its partner is below w and above 0).

    A pair may begin at either end, and the step is as likely there as back: the density is that of x times the
    chance of the step, ndtr((w - x) / sd) - ndtr(-x / sd).
    """
    problem, wall, sd = Line(0.5), 0.5, 0.1
    states = GaussianSampler(sd=sd).draw(problem, 20000, rng())[:, 0]
    assert problem.valid(states[:, None]).all()
    edges = np.linspace(wall, wall + 3 * sd, 7)
    fine = np.linspace(wall, 1, 20001)
    density = ndtr((wall - fine) / sd) - ndtr(-fine / sd)
    whole = np.cumsum(density) / density.sum()
    expected = np.diff(np.interp(edges, fine, whole))
    found = np.histogram(states, bins=edges)[0] / len(states)
    np.testing.assert_allclose(found, expected, atol=4 * np.sqrt(0.25 / len(states)))


def test_bridge_lies_in_the_passage():
    problem = world()
    states = Bridge(sd=0.06).draw(problem, 300, rng())
    assert problem.valid(states).all()
    inside = (abs(states[:, 0] - 0.5) <= 0.03) & (abs(states[:, 1] - 0.5) <= 0.1)
    assert inside.mean() > 0.95
    assert states[inside, 1].std() > 0.04  # all along it, (0.2² / 12)^½ = 0.058


def test_bridge_by_its_density():
    """On a line free in a < m < b, a midpoint m is as likely as the steps from u = m - h to v = m + h together.

    Both are in collision and within the limits: 0 < u < a, b < v < 1, or the other way round.
    """
    a, b, sd, n = 0.45, 0.55, 0.1, 20000
    states = Bridge(sd=sd).draw(Outside(a, b), n, rng())[:, 0]
    m = np.linspace(a, b, 401)
    # half the step, h = (v - u) / 2 > 0, with u = m - h in (0, a) and v = m + h in (b, 1)
    least = np.maximum(m - a, b - m)
    most = np.minimum(m, 1 - m)
    density = ndtr(2 * most / sd) - ndtr(2 * least / sd)
    whole = np.cumsum(density) / density.sum()
    edges = np.linspace(a, b, 6)
    expected = np.diff(np.interp(edges, m, whole))
    found = np.histogram(states, bins=edges)[0] / n
    np.testing.assert_allclose(found, expected, atol=4 * np.sqrt(0.25 / n))


class Outside(Line):
    """The converse of a line with a wall in the middle: free in there alone."""

    def __init__(self, low, high):
        super().__init__((low, high))

    def free(self, q):
        return ~super().free(q)


@pytest.mark.parametrize("sampler", [GaussianSampler(), Bridge()], ids=lambda s: s.name)
def test_checks_are_counted_and_few_in_vain(sampler):
    """The checks follow the number of states: a fixed batch would make as many for one as for a hundred."""
    spent = {}
    for n in (10, 100, 1000):
        problem = world()
        tested = []
        valid = problem.free
        problem.free = lambda q, valid=valid, tested=tested: tested.append(len(q)) or valid(q)
        sampler.draw(problem, n, rng())
        assert problem.counts.states == sum(tested) > n
        spent[n] = problem.counts.states
    assert spent[10] < spent[100] < spent[1000]
    assert 4 < spent[1000] / spent[100] < 16


@pytest.mark.parametrize("cls", [GaussianSampler, Bridge])
@pytest.mark.parametrize("checks", [1, 3, 50])
def test_the_search_ends_where_there_is_nothing(cls, checks):
    """Without an obstacle no pair is kept: the states are uniform, after no more than the checks allowed."""
    problem = PlanarProblem(np.zeros((0, 4)), np.zeros(2), np.ones(2))
    states = cls(checks=checks).draw(problem, 400, rng())
    assert problem.counts.states <= 400 * checks
    assert problem.counts.states > 400 * checks - 16384
    counts = np.histogram2d(*states.T, bins=2, range=[[0, 1], [0, 1]])[0]
    np.testing.assert_allclose(counts, 100, atol=40)
    # where no step stays within the limits there is no check to run out of
    states = cls(sd=1e9, checks=checks).draw(problem, 10, rng())
    assert states.shape == (10, 2)


@pytest.mark.parametrize("cls", [GaussianSampler, Bridge])
@pytest.mark.parametrize(
    "options", [{"sd": 0}, {"sd": -0.1}, {"sd": "0.1"}, {"sd": math.inf}, {"sd": math.nan}]
)
def test_wrong_sd(cls, options):
    with pytest.raises(ConfigError, match=f"sd of sampler '{cls.name}'"):
        cls(**options)


@pytest.mark.parametrize("checks", [0, 1.5])
def test_wrong_checks(checks):
    with pytest.raises(ConfigError, match="checks of sampler 'bridge'"):
        Bridge(checks=checks)


def test_near_ends():
    """Half of the states at either end in turn, with a step of sd times the range, mirrored at the limits."""
    problem = PlanarProblem(np.zeros((0, 4)), np.array([0.3, 0.5]), np.array([0.7, 1.0]))
    states = NearEnds(sd=0.05).draw(problem, 8001, rng())
    for part, end in ((states[::2], problem.start), (states[1::2], problem.goal)):
        np.testing.assert_allclose(part[:, 0].mean(), end[0], atol=4 * 0.05 / 4000**0.5)
        np.testing.assert_allclose(part[:, 0].std(), 0.05, rtol=0.05)
    step = 1 - states[1::2, 1]  # half of these steps would leave: of a normal one its size is left
    assert step.min() > 0
    np.testing.assert_allclose(step.mean(), 0.05 * (2 / math.pi) ** 0.5, rtol=0.05)
    assert problem.counts.states == 0
    with pytest.raises(ConfigError, match="sd of sampler 'near the ends'"):
        NearEnds(sd=0)


# --------------------------------------------------------------------------------------------------- mixed and fixed
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 1 / 3, 0.9, 1])
@pytest.mark.parametrize("n", [1, 2, 7, 100, 257])
def test_mixed_holds_its_share_in_every_prefix(share, n):
    learned = Fixed(np.full((300, 2), 0.25) + np.arange(300)[:, None] * 1e-4, name="twenty-five")
    states = Mixed(learned, share, Uniform()).draw(world(), n, rng())
    mask = (states[:, 0] == states[:, 1]) & (states[:, 0] >= 0.25)
    assert mask.sum() == round(share * n)
    np.testing.assert_array_equal(states[mask], learned.states[: mask.sum()])  # in their order
    prefix = np.cumsum(mask)
    assert np.abs(prefix - mask.sum() / n * np.arange(1, n + 1)).max() < 1


def test_mixed_asks_nothing_of_a_sampler_without_a_share():
    empty = Fixed(np.empty((0, 2)))
    np.testing.assert_array_equal(
        Mixed(empty, 0, Halton()).draw(world(), 9, rng()), Halton().draw(world(), 9, rng())
    )
    np.testing.assert_array_equal(
        Mixed(Halton(), 1, empty).draw(world(), 9, rng()), Halton().draw(world(), 9, rng())
    )


def test_names():
    assert Mixed(Bridge(), 0.5).name == "50% bridge, rest halton"
    assert Mixed(Bridge(), 0.5, name="ours").name == "ours"


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan, "half"])
def test_wrong_share(share):
    with pytest.raises(ConfigError, match="between 0 and 1; got"):
        Mixed(Bridge(), share)


def test_fixed():
    array = np.arange(6.0).reshape(3, 2) / 6
    sampler = Fixed(array)
    array[:] = 9
    first = sampler.draw(world(), 2, rng())
    np.testing.assert_allclose(first, [[0, 1 / 6], [2 / 6, 3 / 6]])
    first[:] = 9
    assert sampler.draw(world(), 1, rng()).max() < 1
    with pytest.raises(ConfigError, match="4 states were asked of sampler 'fixed', which holds 3"):
        sampler.draw(world(), 4, rng())
    with pytest.raises(ShapeError, match="2 coordinates; the problem has 1"):
        sampler.draw(Line(0.5), 1, rng())
    with pytest.raises(ShapeError, match=r"\(N, D\); got \(3,\)"):
        Fixed(np.zeros(3))


def test_what_lies_beyond_a_limit_is_mirrored_at_it():
    problem = Line(0.5, lower=2.0, upper=3.0)
    q = np.array([[1.75], [2.0], [2.4], [3.0], [3.25], [4.25], [-0.75], [1002.25]])
    np.testing.assert_allclose(problem.mirrored(q)[:, 0], [2.25, 2, 2.4, 3, 2.75, 2.25, 2.75, 2.25])
    far = np.random.default_rng(0).normal(scale=1e6, size=(10_000, 1))
    assert problem.within(problem.mirrored(far)).all()
