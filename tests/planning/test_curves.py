"""Curves of success: their intervals, means and interpolation by hand, and that samplers are compared alike."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from lowerbound.planning.curves import Record, cost_ratio, measure, samples_for, success_curve, wilson
from lowerbound.planning.planar import NarrowPassage
from lowerbound.planning.roadmap import plan
from lowerbound.planning.samplers import Bridge, Fixed, Sampler, Uniform


def record(problem, n, cost=math.inf, states=0, edges=0, draw=0.0, plan=0.0):
    return Record(problem, n, math.isfinite(cost), cost, states, edges, draw, plan)


# ------------------------------------------------------------------------------------------------------------ Wilson
@pytest.mark.parametrize(("k", "n"), [(0, 10), (1, 10), (8, 10), (10, 10), (199, 200), (50, 100)])
def test_wilson_by_its_equation(k, n):
    """At the interval's ends the observed rate is z standard errors of them away: (k/n - p)² = z² p (1 - p) / n."""
    for z in (1.0, 1.96, 3.0):
        low, high = wilson(k, n, z)
        assert low - 1e-15 <= k / n <= high + 1e-15
        for p in (low, high):
            assert (k / n - p) ** 2 == pytest.approx(z**2 * p * (1 - p) / n, abs=1e-15)
        assert low < high


@pytest.mark.parametrize(("k", "n"), [(0, 10), (1, 10), (8, 10), (10, 10), (199, 200), (50, 100)])
def test_wilson_against_scipy(k, n):
    interval = binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert wilson(k, n) == pytest.approx((interval.low, interval.high), rel=1e-6, abs=1e-9)


def test_wilson_default_is_95_percent():
    assert wilson(199, 200) == pytest.approx(wilson(199, 200, 1.959964), rel=1e-9)
    low, high = wilson(199, 200)
    assert (round(low, 3), round(high, 3)) == (0.972, 0.999)
    assert wilson(0, 0) == (0.0, 1.0)


def test_wilson_ends_are_rates():
    """No end is below 0 or above 1, not even by rounding; that of no or all successes is the rate itself."""
    for n in range(1, 400):
        ends = [wilson(0, n), wilson(n, n)]
        assert all(0 <= low < high <= 1 for low, high in ends)
        assert ends[0][0] == pytest.approx(0, abs=1e-15)
        assert ends[1][1] == pytest.approx(1, abs=1e-15)


# ------------------------------------------------------------------------------------------------------------ curves
RECORDS = [
    record(0, 50, 1.0, states=50, edges=10, draw=1.0, plan=2.0),
    record(1, 50, states=70, edges=30, draw=1.0, plan=4.0),
    record(0, 25, states=25, edges=5),
    record(1, 25, states=25, edges=6),
]


def test_success_curve():
    first, second = success_curve(iter(RECORDS))
    assert (first["n"], first["success"], second["n"], second["success"]) == (25, 0, 50, 0.5)
    assert (first["trials"], second["trials"]) == (2, 2)
    assert (second["low"], second["high"]) == wilson(1, 2)
    assert (first["states"], first["edges"], first["seconds"]) == (25, 5.5, 0)
    assert (second["states"], second["edges"], second["seconds"]) == (60, 20, 4)
    assert success_curve([]) == []


def test_cost_ratio_is_over_problems_that_both_solved():
    ours = [
        record(0, 50, 2.0),
        record(1, 50, 9.0),
        record(2, 50),
        record(3, 50, 3.0),
        record(0, 100, 1.0),
        record(1, 200, 1.0),
    ]
    other = [
        record(0, 50, 1.0),
        record(1, 50),
        record(2, 50, 1.0),
        record(3, 50, 2.0),
        record(0, 100, 4.0),
        record(0, 200, 5.0),
    ]
    assert cost_ratio(ours, iter(other)) == {50: pytest.approx(1.75), 100: pytest.approx(0.25)}
    # of the same cost, whatever else each solved
    assert cost_ratio(ours, ours) == {50: 1, 100: 1, 200: 1}


def points(*pairs, **other):
    return [{"n": n, "success": s, "edges": n**2, "states": 0.0} for n, s in pairs]


def test_samples_for_between_points():
    curve = points((25, 0.2), (100, 0.6), (400, 0.9))
    assert samples_for(curve, 0.4) == pytest.approx(50)  # half-way in success, the geometric mean in n
    assert samples_for(curve, 0.6) == pytest.approx(100)
    assert samples_for(curve, 0.7) == pytest.approx(100 * 4 ** (1 / 3))
    assert samples_for(curve, 0.4, of="edges") == pytest.approx(2500)
    assert samples_for(curve, 0.4, of="states") == 0
    assert samples_for(curve, 0.9) == pytest.approx(400)
    assert samples_for(curve, 0.91) is None


def test_samples_for_at_the_ends():
    assert samples_for(points((25, 0.8), (50, 1.0)), 0.5) == 25
    assert samples_for([], 0.5) is None
    # the first time counts, also where the curve falls again
    assert samples_for(points((10, 0.0), (40, 0.8), (80, 0.3), (160, 0.9)), 0.4) == pytest.approx(20)
    assert samples_for(points((10, 0.5), (40, 0.3), (160, 0.7)), 0.5) == 10


# ----------------------------------------------------------------------------------------------------------- measure
class Recorder(Sampler):
    """Uniform, and remembers its draws."""

    name = "recorder"

    def __init__(self):
        self.drawn = []

    def draw(self, problem, n, rng):
        self.drawn.append(Uniform().draw(problem, n, rng))
        return self.drawn[-1]


def problems(count=3):
    return list(NarrowPassage(gap=0.1).problems("tune", count))


def test_measure_is_the_planner_on_the_draws():
    sampler, worlds = Recorder(), problems()
    records = measure(sampler, worlds, [30, 120], seed=5, neighbours=8)
    assert [(r.problem, r.n) for r in records] == [(i, n) for i in range(3) for n in (30, 120)]
    for r, drawn in zip(records, sampler.drawn, strict=True):
        assert len(drawn) == r.n
        result = plan(problems()[r.problem], drawn, neighbours=8)
        assert (r.solved, r.cost) == (result.solved, result.cost)
        assert (r.states, r.edges) == (result.states, result.edges)
        assert r.draw_seconds > 0
        assert r.plan_seconds > 0
    assert any(r.solved for r in records)


def test_draws_depend_on_seed_problem_and_n_alone():
    def drawn(ns, seed=0, count=3):
        sampler = Recorder()
        records = measure(sampler, problems(count), ns, seed)
        return {(r.problem, r.n): q for r, q in zip(records, sampler.drawn, strict=True)}

    whole = drawn([20, 40])
    for other in (drawn([40, 20]), drawn([40]), drawn([20], count=1)):
        for key, q in other.items():
            np.testing.assert_array_equal(q, whole[key])
    assert not np.array_equal(whole[0, 40][:20], whole[0, 20])
    assert not np.array_equal(whole[0, 20], whole[1, 20])
    assert not np.array_equal(whole[0, 20], drawn([20], seed=1)[0, 20])


def test_checks_of_the_sampler_count():
    bridge, alone = measure(Bridge(), problems(1), [40]), problems(1)[0]
    drawn = Bridge().draw(alone, 40, np.random.default_rng([0, 0, 40]))
    assert alone.counts.states > 40
    fixed = measure(Fixed(drawn), problems(1), [40])
    assert bridge[0].states == fixed[0].states + alone.counts.states
    assert bridge[0].edges == fixed[0].edges


def test_counts_of_before_do_not():
    worlds = problems(1)
    first, second = measure(Uniform(), worlds, [60]), measure(Uniform(), worlds, [60])
    assert (first[0].states, first[0].edges) == (second[0].states, second[0].edges)
    assert worlds[0].counts.states == first[0].states + second[0].states
