"""The double integrator: steering against integrals, searches and closed forms; edges against dense samples."""

import itertools

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from lowerbound.errors import ConfigError
from lowerbound.planning.integrator import DoubleIntegrator, IntegratorProblem
from lowerbound.planning.planar import PlanarProblem


def cube(effort=0.1, speed=1.0, boxes=()):
    boxes = np.array(boxes, dtype=float).reshape(-1, 4)
    start, goal = np.array([0.1, 0.1, 0.5, 0, 0, 0]), np.array([0.9, 0.9, 0.5, 0, 0, 0])
    return IntegratorProblem(PlanarProblem(boxes, start[:2], goal[:2]), start, goal, speed, effort)


def pairs(n, seed=0):
    rng = np.random.default_rng(seed)
    problem = cube()
    return problem.uniform(n, rng), problem.uniform(n, rng)


def gramian_cost(a, b, tau, effort):
    """tau + d' G^-1 d with G the integral of e^(As) B R^-1 B' e^(A's), by quadrature."""
    drift = np.zeros((6, 6))
    drift[:3, 3:] = np.eye(3)
    force = np.concatenate([np.zeros((3, 3)), np.eye(3)])
    nodes, weights = np.polynomial.legendre.leggauss(4)  # exact for the integrand's second degree
    gramian = np.zeros((6, 6))
    for node, weight in zip(nodes, weights, strict=True):
        flow = (np.eye(6) + drift * tau * (node + 1) / 2) @ force  # the whole series of e^(As): A^2 = 0
        gramian += weight * tau / 2 * flow @ flow.T / effort
    miss = b - (np.eye(6) + drift * tau) @ a
    return tau + miss @ np.linalg.solve(gramian, miss)


# --------------------------------------------------------------------------------------------------- steering
@pytest.mark.slow
@pytest.mark.parametrize("effort", [0.01, 0.1, 3.0])
def test_durations_against_a_search_of_the_gramian_cost(effort):
    problem = cube(effort)
    for a, b in zip(*pairs(12), strict=True):
        grid = np.geomspace(0.02, 20, 60)
        values = [gramian_cost(a, b, t, effort) for t in grid]
        k = int(np.argmin(values))
        found = minimize_scalar(
            lambda t, a=a, b=b: gramian_cost(a, b, t, effort),
            bounds=(grid[max(k - 1, 0)], grid[min(k + 1, 59)]),
            method="bounded",
            options={"xatol": 1e-10},
        )
        np.testing.assert_allclose(problem.cost(a, b), found.fun, rtol=1e-9)
        np.testing.assert_allclose(problem.duration(a, b), found.x, rtol=1e-4)


def polynomial(a, b, tau, effort):
    """The cost of a duration, written out from the squares of the two misses."""
    position, velocity = b[..., :3] - a[..., :3] - tau[..., None] * a[..., 3:], b[..., 3:] - a[..., 3:]
    squares = [
        np.sum(u * v, axis=-1) for u, v in ((position, position), (position, velocity), (velocity, velocity))
    ]
    return tau + effort * (12 * squares[0] / tau**3 - 12 * squares[1] / tau**2 + 4 * squares[2] / tau)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-4, 0.05, 1.0, 100.0])
def test_the_duration_is_the_best_of_all(scale):
    """Also where the cost has two minima, and where the one from below the bend is the best."""
    a, b = pairs(3000, seed=1)
    b[:1000, 3:] = a[:1000, 3:] + 0.1 * b[:1000, 3:]  # fast along one line: two minima
    b[:1000, :3] = a[:1000, :3] + np.linspace(0.02, 3, 1000)[:, None] * a[:1000, 3:]
    b[:, :3] = a[:, :3] + scale * (b[:, :3] - a[:, :3])
    two = below = 0
    for effort in (0.01, 0.3, 10.0):
        problem = cube(effort)
        tau, cost = problem.duration(a, b), problem.cost(a, b)
        np.testing.assert_allclose(cost, polynomial(a, b, tau, effort), rtol=1e-9)
        others = tau[:, None] * np.geomspace(1e-3, 1e3, 401)
        values = polynomial(a[:, None], b[:, None], others, effort)
        assert np.all(cost[:, None] <= values * (1 + 1e-10))  # terms of the size of 1 / tau cancel
        near = np.array([0.999, 1.001])
        assert np.all(cost[:, None] < polynomial(a[:, None], b[:, None], tau[:, None] * near, effort))
        minima = (values[:, 1:-1] < values[:, :-2]) & (values[:, 1:-1] < values[:, 2:])
        two += np.sum(minima.sum(axis=1) == 2)
        v0, v1 = a[:, 3:], b[:, 3:]
        bend = np.sqrt(effort * 4 * np.sum(v0 * v0 + v0 * v1 + v1 * v1, axis=1) / 6)
        below += np.sum(tau < bend)
    assert two > 50 or scale == 100
    assert below > 100 or scale == 100


def test_the_slope_of_the_cost_vanishes():
    a, b = pairs(200, seed=2)
    problem = cube()
    tau = problem.duration(a, b)
    h = 1e-4 * tau
    slope = (polynomial(a, b, tau + h, 0.1) - polynomial(a, b, tau - h, 0.1)) / (2 * h)
    assert np.all(np.abs(slope) < 2e-6 * problem.cost(a, b) / tau)


def test_the_trajectory_obeys_the_dynamics_and_costs_what_it_should():
    for effort in (0.05, 1.0):
        problem = cube(effort)
        for a, b in zip(*pairs(8, seed=3), strict=True):
            tau, steps = float(problem.duration(a, b)), 2001
            states = problem.trajectory(a, b, steps)
            np.testing.assert_array_equal(states[[0, -1]], [a, b])
            dt = tau / (steps - 1)
            position, velocity = states[:, :3], states[:, 3:]
            # centred differences: exact for the quadratic velocity, of third-order error for the cubic position
            np.testing.assert_allclose((position[2:] - position[:-2]) / (2 * dt), velocity[1:-1], atol=1e-4)
            u = (velocity[1:] - velocity[:-1]) / dt
            integral = np.sum(1 + effort * np.sum(u**2, axis=1)) * dt
            np.testing.assert_allclose(integral, problem.cost(a, b), rtol=1e-5)
            np.testing.assert_allclose(np.diff(u, 2, axis=0), 0, atol=1e-6)  # linear in time: Pontryagin


def test_integrating_the_acceleration_arrives():
    problem = cube()
    a, b = (q[0] for q in pairs(1, seed=4))
    tau, states = float(problem.duration(a, b)), problem.trajectory(a, b, 1001)
    u = np.gradient(states[:, 3:], tau / 1000, axis=0, edge_order=2)
    q, dt = a.copy(), tau / 1000
    for first, second in itertools.pairwise(u):
        q[:3] += dt * q[3:] + dt**2 * (2 * first + second) / 6
        q[3:] += dt * (first + second) / 2
    np.testing.assert_allclose(q, b, atol=1e-9)


def test_rest_to_rest_in_closed_form():
    """With no velocities c = tau + 12 r L^2 / tau^3, least at tau^4 = 36 r L^2, where it is 4 tau / 3."""
    problem = cube(0.2)
    a, b = np.array([0.1, 0.5, 0.5, 0, 0, 0]), np.array([0.7, 0.5, 0.5, 0, 0, 0])
    tau = (36 * 0.2 * 0.36) ** 0.25
    np.testing.assert_allclose(problem.duration(a, b), tau)
    np.testing.assert_allclose(problem.cost(a, b), 4 * tau / 3)
    middle = problem.trajectory(a, b, 3)[1]
    np.testing.assert_allclose(middle, [0.4, 0.5, 0.5, 1.5 * 0.6 / tau, 0, 0], atol=1e-12)


def test_a_state_is_at_no_distance_from_itself_but_a_turn_on_the_spot_costs():
    problem = cube(0.1)
    a = np.array([0.5, 0.5, 0.5, 0.3, -0.2, 0.1])
    assert problem.cost(a, a) == problem.duration(a, a) == 0
    np.testing.assert_array_equal(problem.trajectory(a, a, 5), np.tile(a, (5, 1)))
    assert problem.edges_valid(a[None], a[None]).all()
    back = a * [1, 1, 1, -1, -1, -1]  # c = tau + 4 r v^2 / tau
    np.testing.assert_allclose(problem.cost(a, back), 2 * np.sqrt(4 * 0.1 * 0.14))
    assert problem.directed
    b = np.array([0.7, 0.5, 0.5, 0.3, -0.2, 0.1])
    assert problem.cost(a, b) < 0.5 * problem.cost(b, a)
    swap = [1, 1, 1, -1, -1, -1]  # in reversed time
    np.testing.assert_allclose(problem.cost(a, b), problem.cost(b * swap, a * swap))


@pytest.mark.slow
def test_costs_broadcast(monkeypatch):
    problem = cube()
    a, b = pairs(30, seed=5)
    table = problem.cost(a[:, None], b[None])
    assert table.shape == (30, 30)
    expected = [[float(problem.cost(p, q)) for q in b] for p in a]
    np.testing.assert_allclose(table, expected, rtol=1e-13)
    np.testing.assert_allclose(problem.cost(a[0], b), table[0], rtol=1e-13)
    monkeypatch.setattr("lowerbound.planning.integrator._CHUNK", 7)
    np.testing.assert_allclose(problem.cost(a[:, None], b[None]), table, rtol=1e-13)
    assert problem.cost(a[:0], b[:0]).shape == (0,)


# ------------------------------------------------------------------------------------------------------ edges
def sampled(problem, a, b, steps):
    """Which edges keep to the limits and are free at many states, and how far the states are from the limits."""
    free, room = [], []
    for p, q in zip(a, b, strict=True):
        states = problem.trajectory(p, q, steps)
        room.append(np.minimum(states - problem.lower, problem.upper - states)[1:-1].min())
        free.append(problem.free(states).all())
    return np.array(free), np.array(room)


@pytest.mark.slow
def test_limits_hold_on_the_whole_edge():
    problem = cube(0.1)
    a, b = pairs(400, seed=6)
    ok = problem.edges_valid(a, b)
    _, room = sampled(problem, a, b, 4001)
    clear = np.abs(room) > 1e-5
    assert clear.mean() > 0.95
    assert 0.2 < ok.mean() < 0.9
    np.testing.assert_array_equal(ok[clear], room[clear] > 0)
    # each kind of limit refuses some
    states = np.stack([problem.trajectory(p, q, 501) for p, q in zip(a, b, strict=True)])
    outside = (states < problem.lower - 1e-4) | (states > problem.upper + 1e-4)
    place, haste = outside[..., :3].any(axis=(1, 2)), outside[..., 3:].any(axis=(1, 2))
    assert np.sum(place & ~haste) > 10
    assert np.sum(haste & ~place) > 10


@pytest.mark.slow
def test_edges_against_dense_samples():
    problem = DoubleIntegrator().problem("tune", 0)
    rng = np.random.default_rng(7)
    q = problem.uniform(3000, rng)
    q = q[problem.valid(q)]
    order = np.argsort(problem.cost(q[:300, None], q[None]), axis=1)[:, 1:4]
    a, b = np.repeat(q[:300], 3, axis=0), q[order.reshape(-1)]
    ok = problem.edges_valid(a, b)
    free, room = sampled(problem, a, b, 3001)
    clear = np.abs(room) > 1e-5
    expected = free & (room > 0)
    assert 0.2 < ok.mean() < 0.8
    assert np.sum(~free & (room > 0)) > 50  # some fail by an obstacle alone
    assert not np.any(expected & ~ok & clear)  # positions tested are on the trajectory
    assert np.mean((ok == expected)[clear]) > 0.995  # the rest cut a corner by less than the spacing
    assert problem.counts.edges == len(a)


def test_no_wall_is_jumped_at_any_speed():
    """A wall of 0.006, just above the spacing, across edges of many speeds and durations."""
    problem = cube(0.1, speed=50.0, boxes=[[0.5, 0, 0.506, 1]])
    rng = np.random.default_rng(8)
    a, b = problem.uniform(500, rng), problem.uniform(500, rng)
    a[:, 0], b[:, 0] = rng.uniform(0, 0.45, 500), rng.uniform(0.55, 1, 500)
    a[:, 3:], b[:, 3:] = rng.uniform(-1, 1, (2, 500, 3))
    a[:250, 3:] = b[:250, 3:] = (b[:250, :3] - a[:250, :3]) * rng.uniform(
        1, 50, (250, 1)
    )  # straight and fast
    open_ = cube(0.1, speed=50.0)
    assert open_.edges_valid(a, b).mean() > 0.6
    assert not problem.edges_valid(a, b).any()


def test_positions_tested_are_as_close_as_promised(monkeypatch):
    problem = cube(0.1, speed=3.0)
    a, b = pairs(60, seed=10)
    tested = []
    monkeypatch.setattr(problem.world, "free", lambda q: tested.append(q) or np.ones(len(q), dtype=bool))
    closest = 1.0
    for p, q in zip(a, b, strict=True):
        tested.clear()
        if problem.edges_valid(p[None], q[None])[0]:
            positions = np.concatenate([[p[:2]], *tested, [q[:2]]])
            gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
            assert gaps.max() <= 0.005
            closest = min(closest, gaps.max())
            np.testing.assert_allclose(
                positions, problem.trajectory(p, q, len(positions))[:, :2], atol=1e-9
            )  # evenly in time
    assert closest > 0.001  # and not needlessly close


def test_edges_do_not_depend_on_their_company(monkeypatch):
    problem = DoubleIntegrator().problem("tune", 1)
    rng = np.random.default_rng(9)
    q = problem.uniform(600, rng)
    q = q[problem.valid(q)][:300]
    a, b = q[:150], q[150:]
    ok = problem.edges_valid(a, b)
    assert ok.any()
    np.testing.assert_array_equal(
        ok, [problem.edges_valid(p[None], r[None])[0] for p, r in zip(a, b, strict=True)]
    )
    monkeypatch.setattr("lowerbound.planning.integrator._CHUNK", 100)
    np.testing.assert_array_equal(ok, problem.edges_valid(a, b))
    assert problem.edges_valid(q[:0], q[:0]).shape == (0,)


# ----------------------------------------------------------------------------------------------------- family
@pytest.mark.parametrize(
    "family", [DoubleIntegrator(), DoubleIntegrator(walls=5, speed=2.0, effort=1.0)], ids=str
)
def test_problems_start_and_end_free_and_can_brake(family):
    for problem in family.problems("tune", 15):
        problem.check()
        assert problem.dimensions == 6
        ends = np.stack([problem.start, problem.goal])
        assert np.abs(ends[:, 3:]).max() <= 0.5 * family.speed
        np.testing.assert_array_equal(ends[:, :2], [problem.world.start, problem.world.goal])
        # braking at the constant rate that costs least, from the start and (in reversed time) from the goal
        for q in (problem.start, problem.goal * [1, 1, 1, -1, -1, -1]):
            tau = np.sqrt(family.effort) * np.linalg.norm(q[3:])
            s = np.linspace(0, 1, 200)[:, None]
            states = np.concatenate([q[:3] + tau * (s - s**2 / 2) * q[3:], (1 - s) * q[3:]], axis=1)
            assert problem.valid(states).all()
            np.testing.assert_allclose(problem.trajectory(q, states[-1], 200), states, atol=1e-9)


def test_problems_are_reproducible():
    family = DoubleIntegrator()
    for split in ("train", "tune", "test"):
        one, other = family.problem(split, 3), family.problem(split, 3)
        np.testing.assert_array_equal(one.start, other.start)
        np.testing.assert_array_equal(one.world.boxes, other.world.boxes)
    assert not np.array_equal(family.problem("train", 0).start, family.problem("test", 0).start)


def test_condition_tells_of_the_state_and_the_world():
    problem = DoubleIntegrator(grid=32).problem("tune", 0)
    condition = problem.condition()
    assert condition["grid"].shape == (3, 32, 32)
    np.testing.assert_array_equal(condition["grid"], problem.world.condition()["grid"])
    for name in ("start", "goal"):
        assert condition[name].dtype == np.float32
        np.testing.assert_allclose(condition[name], getattr(problem, name), rtol=1e-6)


def test_options_of_a_file_come_back_as_they_were():
    family = DoubleIntegrator(thickness=[0.05, 0.1], effort=0.2)  # type: ignore[arg-type]
    options = family.to_dict()
    assert options.pop("family") == "integrator"
    assert DoubleIntegrator(**options) == family


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": 0.0}, "speed above 0"),
        ({"effort": -1.0}, "effort above 0"),
        ({"effort": np.nan}, "effort above 0"),
        ({"gap": 0.5}, "gap"),
        ({"walls": 4}, "1, 3 or 5"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        DoubleIntegrator(**options)
