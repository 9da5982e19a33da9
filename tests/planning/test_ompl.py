"""OMPL on the states of a sampler. What imports OMPL runs in one process of its own, which must end well, too."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

from lowerbound.errors import ConfigError
from lowerbound.planning.ompl import _hooks, _Run, solve
from lowerbound.planning.planar import PlanarProblem
from lowerbound.planning.samplers import Uniform

pytestmark = pytest.mark.processes

with_ompl = pytest.mark.skipif(
    find_spec("ompl") is None, reason="OMPL is not installed (no wheels of 1.7 for this Python)"
)

COUNTED = ("RRTConnect", "PRM", "LazyPRMstar", "BITstar", "RRTstar", "FMT")

SCRIPT = """
import json, os
import numpy as np
from lowerbound.planning import DoubleIntegrator, Fixed, Forest, GaussianSampler, PlanarProblem, Sampler, Uniform
from lowerbound.planning import ompl

class Spy(Sampler):
    name = "spy"
    def __init__(self, inner=None): self.inner, self.drawn = inner or Uniform(), []
    def draw(self, problem, n, rng):
        self.drawn.append(self.inner.draw(problem, n, rng))
        return self.drawn[-1]

def wall(gap):  # of height gap, at the lower end of a wall
    return PlanarProblem(np.array([[0.4, gap, 0.6, 2]]), np.array([0.1, 0.9]), np.array([0.9, 0.9]))

def told(problem, planner, sampler=None, **options):
    options = {"seconds": 5.0} | options
    try:
        r = ompl.solve(problem, planner, sampler, **options)
    except BaseException as error:
        return {"error": type(error).__name__, "message": str(error)}
    row = {k: getattr(r, k) for k in ("reason", "planner", "draws", "states", "edges", "seconds", "at_first",
           "first_seconds", "solved")} | {"cost": r.cost if r.solved else None, "path": None}
    row["checks"] = [problem.counts.states, problem.counts.edges]
    if r.solved:
        row["path"] = r.path.tolist()
        row["free"] = bool(problem.valid(r.path).all() and problem.edges_valid(r.path[:-1], r.path[1:]).all())
        row["length"] = float(np.linalg.norm(np.diff(r.path, axis=0), axis=1).sum())
    if isinstance(sampler, Spy):
        row["chunks"] = len(sampler.drawn)
        row["rows"] = [len(d) for d in sampler.drawn]
        if r.solved and sampler.drawn:
            every = np.concatenate([*sampler.drawn, problem.start[None], problem.goal[None]])
            row["of_sampler"] = [bool((every == q).all(axis=1).any()) for q in r.path]
    return row

class Breaks(Sampler):
    name = "breaks"
    def __init__(self, error): self.error, self.calls = error, 0
    def draw(self, problem, n, rng):
        self.calls += 1
        if self.calls > 1: raise self.error
        return problem.uniform(n, rng)

class Flat(Sampler):
    name = "flat"
    def draw(self, problem, n, rng): return problem.uniform(n, rng)[:, :1]

class Stops(PlanarProblem):
    def free(self, q):
        if self.counts.states > 10: raise KeyboardInterrupt("stop")
        return super().free(q)

out = {"old": ompl._library().has_space_hook, "fed": ompl.planners(), "unfed": ompl.planners(fed=False)}
for name in json.loads(os.environ["COUNTED"]):
    if name in out["fed"]:
        out[name] = told(wall(0.2), name, Spy(), chunk=50)
        out[name + " twice"] = [told(wall(0.2), name, Uniform(), seed=s)["path"] for s in (3, 3, 4)]
        out[name + " no way"] = told(wall(-1), name, Uniform(), seconds=0.2)
name = "RRTConnect" if out["old"] else "PRM"
out["long branches"] = told(wall(0.2), name, Spy(), parameters={"range": 10.0} if out["old"] else None)
out["own"] = told(wall(0.2), "RRTConnect")
out["straight"] = told(PlanarProblem(np.zeros((0, 4)), np.array([.1, .1]), np.array([.4, .5])), "PRM", Uniform())
out["better"] = told(wall(0.3), "RRTstar" if out["old"] else "PRMstar", Uniform(), improve=True, seconds=0.4)
out["first"] = told(wall(0.3), "RRTstar" if out["old"] else "PRMstar", Uniform(), seconds=5)
out["gaussian"] = told(wall(0.2), "PRM", GaussianSampler())
out["uniform"] = told(wall(0.2), "PRM", Uniform())
out["expands"] = told(wall(0.02), "PRM", Uniform(), improve=True, seconds=0.4)  # long enough for its random walks
out["breaks"] = told(wall(-1), "PRM", Breaks(ValueError("second chunk")), chunk=20, seconds=20)
out["few"] = told(wall(0.2), "PRM", Fixed(np.full((9, 2), 0.2)), chunk=10)
out["shape"] = told(wall(0.2), "PRM", Flat())
boxes = np.array([[0.4, 0.2, 0.6, 2]])
out["interrupt"] = told(Stops(boxes, np.array([.1, .9]), np.array([.9, .9])), "PRM", Uniform(), seconds=20)
out["unknown"] = told(wall(0.2), "RRTConect", Uniform())
out["cannot"] = told(wall(0.2), "KPIECE1" if out["old"] else "RRTConnect", Uniform())
out["parameter"] = told(wall(0.2), "PRM", parameters={"rang": 1})
out["value"] = told(wall(0.2), "PRM", parameters={"max_nearest_neighbors": "many"})
out["directed"] = told(DoubleIntegrator().problem("test", 0), "PRM")
out["start"] = told(PlanarProblem(boxes, np.array([.5, .9]), np.array([.9, .9])), "PRM")
out["time"] = told(wall(0.2), "PRM", seconds=0)
out["seed"] = told(wall(0.2), "PRM", seed=-1)
out["chunk"] = told(wall(0.2), "PRM", Uniform(), chunk=0)
import ompl.control, ompl.tools  # would load the second copy of the library
print("RESULT" + json.dumps(out))
"""


@pytest.fixture(scope="module")
def results():
    env = os.environ | {"OMP_NUM_THREADS": "1", "COUNTED": json.dumps(COUNTED)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert "RESULT" in done.stdout, done.stderr[-3000:]
    before, after = done.stdout.split("RESULT")
    return json.loads(after) | {"code": done.returncode, "noise": before + done.stderr}


@with_ompl
def test_the_process_ends_well_and_silently(results):
    assert (results["code"], results["noise"]) == (0, "")


@with_ompl
@pytest.mark.parametrize("name", COUNTED)
class TestPlanner:
    def row(self, results, name, what=""):
        if name not in results["fed"]:
            pytest.skip(f"the installed OMPL cannot give {name} the states of a sampler")
        return results[name + what]

    def test_takes_its_states_from_the_sampler(self, results, name):
        row = self.row(results, name)
        assert row["solved"]
        assert row["planner"] == name
        assert row["draws"] > 0
        assert row["rows"] == [50] * row["chunks"]
        assert (
            50 * (row["chunks"] - 1) < row["draws"] <= 50 * row["chunks"]
        )  # a chunk is drawn when one is needed
        if name in ("LazyPRMstar", "BITstar", "FMT"):  # which join samples and nothing else
            assert all(row["of_sampler"])
        else:
            assert sum(row["of_sampler"]) > 2

    def test_finds_a_free_path_and_counts_its_checks(self, results, name):
        row = self.row(results, name)
        assert row["free"]
        assert row["path"][0] == [0.1, 0.9]
        assert row["path"][-1] == [0.9, 0.9]
        np.testing.assert_allclose(row["cost"], row["length"], rtol=1e-12)
        assert [row["states"], row["edges"]] == row["checks"]
        assert row["edges"] > 0

    def test_ends_with_its_first_path(self, results, name):
        row = self.row(results, name)
        assert row["at_first"]
        assert row["reason"] == "solved"
        assert 0 < row["first_seconds"] <= row["seconds"] < 5

    def test_repeats_itself(self, results, name):
        one, same, other = self.row(results, name, " twice")
        assert one != other
        if name != "PRM":  # whose second thread ends it when it gets to it
            assert one == same

    def test_without_a_way_ends_with_the_time(self, results, name):
        row = self.row(results, name, " no way")
        assert not row["solved"]
        assert row["reason"] == "the time of 0.2 s ended without a path"
        assert row["first_seconds"] is None
        assert not row["at_first"]
        assert 0.2 <= row["seconds"] < 2


@with_ompl
def test_a_long_branch_reaches_the_sample(results):
    if not results["old"]:
        pytest.skip("OMPL 2.x does not let Python set parameters")
    assert all(
        results["long branches"]["of_sampler"]
    )  # with the usual range most states lie on the way to one


@with_ompl
def test_without_a_sampler_ompl_draws(results):
    assert results["own"]["solved"]
    assert results["own"]["draws"] == 0


@with_ompl
def test_a_straight_way(results):
    assert results["straight"]["path"] == [[0.1, 0.1], [0.4, 0.5]]
    np.testing.assert_allclose(results["straight"]["cost"], 0.5, rtol=1e-12)


@with_ompl
def test_improving_takes_the_time_and_shortens(results):
    better, first = results["better"], results["first"]
    assert better["seconds"] >= 0.4
    assert better["reason"] == "solved; the time of 0.4 s ended"
    assert not better["at_first"]
    assert first["at_first"]
    # The shortest way passes both lower corners of the wall, at (0.4, 0.3) and (0.6, 0.3).
    shortest = 2 * np.hypot(0.3, 0.6) + 0.2
    assert shortest < better["cost"] < min(first["cost"], 1.2 * shortest)
    if results["old"]:
        assert 0 < better["first_seconds"] < 0.4  # by OMPL's report


@with_ompl
def test_random_walks_of_prm(results):
    # It asks for the last free state on an edge in collision; the path it finds is made of free edges nevertheless.
    assert results["expands"]["draws"] > 0
    assert results["expands"].get("free", True)


@with_ompl
def test_checks_of_the_sampler_are_counted(results):
    # A state check for each edge and state of the planner, and a pair for each try of the Gaussian sampler.
    plain, gaussian = results["uniform"], results["gaussian"]
    assert plain["states"] <= plain["edges"] + plain["draws"] + 2
    assert gaussian["states"] > gaussian["edges"] + 2 * gaussian["draws"] + 2


@with_ompl
@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("breaks", "ValueError", "second chunk"),
        ("few", "ConfigError", "which holds 9"),
        ("shape", "ShapeError", "(256, 2) and returned (256, 1)"),
        ("interrupt", "KeyboardInterrupt", "stop"),
        ("unknown", "ConfigError", "there is no planner 'RRTConect'"),
        ("cannot", "ConfigError", "cannot be given the states of a sampler; these can: "),
        ("parameter", "ConfigError", "parameter"),
        ("value", "ConfigError", "parameter"),
        ("directed", "ConfigError", "use lowerbound.planning.plan"),
        ("start", "ConfigError", "the start [0.5 0.9] is in collision"),
        ("time", "ConfigError", "got 0"),
        ("seed", "ConfigError", "got -1"),
        ("chunk", "ConfigError", "got 0"),
    ],
)
def test_errors(results, name, error, words):
    assert results[name].get("error") == error, results[name]
    assert words in results[name]["message"]


@with_ompl
def test_the_error_names_usable_planners(results):
    named = results["cannot"]["message"].split("these can: ")[1].split("; ")[0].split(", ")
    assert named == results["fed"]
    assert {"PRM", "PRMstar"} <= set(named)
    assert set(named) <= set(results["unfed"])
    assert not {"EITstar", "SPARS", "SPARStwo"} & set(results["unfed"])


# ------------------------------------------------------------------------------------------------- without OMPL
def test_missing_ompl(monkeypatch):
    monkeypatch.setitem(sys.modules, "ompl", None)
    with pytest.raises(ConfigError, match=r"pip install 'lowerbound\[planning\]'"):
        solve(wall(), seconds=1)


def wall():
    return PlanarProblem(np.array([[0.4, -1, 0.6, 2]]), np.array([0.1, 0.5]), np.array([0.9, 0.5]))


def run():
    return _Run(None, wall(), "RRTConnect", Uniform(), 0, 8)  # type: ignore[arg-type]


def test_samples_come_in_chunks_of_the_seed():
    one, state, states = run(), [0.0, 0.0], []
    for _ in range(20):
        one.sample(state)
        states.append(list(state))
    rng = np.random.default_rng(0)
    expected = np.concatenate([Uniform().draw(wall(), 8, rng) for _ in range(3)])
    np.testing.assert_array_equal(states, expected[:20])
    assert one.draws == 20


def test_states_near_another_fill_the_box_within_the_limits():
    one, state, states = run(), [0.0, 0.0], []
    for _ in range(2000):
        one.near(state, [0.1, 0.5], 0.2)
        states.append(list(state))
    states = np.array(states)
    for axis, (low, high) in enumerate([(0.0, 0.3), (0.3, 0.7)]):
        np.testing.assert_allclose(
            states[:, axis].mean(), (low + high) / 2, atol=5 * 0.4 / 12**0.5 / 2000**0.5
        )
        np.testing.assert_allclose([states[:, axis].min(), states[:, axis].max()], [low, high], atol=0.01)
        assert states[:, axis].min() >= low
        assert states[:, axis].max() <= high
    assert one.draws == 0


def test_normal_states_keep_to_the_limits():
    one, state, states = run(), [0.0, 0.0], []
    for _ in range(2000):
        one.normal(state, [0.0, 0.5], 0.1)
        states.append(list(state))
    states = np.array(states)
    assert 0.45 < np.mean(states[:, 0] == 0) < 0.55  # half of them were brought back
    np.testing.assert_allclose(states[:, 1].std(), 0.1, rtol=0.1)
    np.testing.assert_allclose(states[:, 1].mean(), 0.5, atol=0.012)


class Bindings:
    """Stands for ompl.base, whose classes take the space or the space information."""

    class MotionValidator:
        def __init__(self, info):
            self.info = info

    StateSampler = ValidStateSampler = MotionValidator


def test_an_edge_in_collision_tells_how_far_it_is_free():
    one = run()
    motion = _hooks(Bindings)[0](None, one)
    a, b = [0.0, 0.5], [1.0, 0.5]
    assert not motion.checkMotion(a, b)
    last = SimpleNamespace(first=[9.0, 9.0], second=9.0)
    assert not motion.checkMotion(a, b, last)
    assert 0.4 - 1 / 32 <= last.second < 0.4  # the wall begins at 0.4
    np.testing.assert_allclose(last.first, [last.second, 0.5])
    last = SimpleNamespace(first=None, second=9.0)
    assert motion.checkMotion(a, [0.3, 0.5], last)
    assert last.second == 9.0


def test_the_end_of_an_edge_is_tested():
    class Porous(PlanarProblem):  # its edges are never in collision
        def edges_free(self, a, b):
            return np.ones(len(a), dtype=bool)

    problem = Porous(wall().boxes, wall().start, wall().goal)
    motion = _hooks(Bindings)[0](None, _Run(None, problem, "PRM", None, 0, 8))  # type: ignore[arg-type]
    assert not motion.checkMotion([0.1, 0.1], [0.5, 0.5])
    assert motion.checkMotion([0.1, 0.1], [0.9, 0.9])


def test_the_sampler_of_free_states_says_which_are_free():
    one, state = run(), [0.0, 0.0]
    sampler = _hooks(Bindings)[2](None, one)
    for _ in range(50):
        assert sampler.sample(state) == (not 0.4 <= state[0] <= 0.6)
    assert one.draws == 50
    assert not sampler.sampleNear(state, [0.5, 0.5], 0.05)
    assert sampler.sampleNear(state, [0.2, 0.5], 0.05)


def test_after_an_exception_everything_ends():
    one, state = run(), [9.0, 9.0]
    motion, states, _ = _hooks(Bindings)
    one.condition = SimpleNamespace(terminate=lambda: ended.append(True))
    ended = []
    one._chunk = lambda: 1 / 0  # type: ignore[method-assign]
    states(None, one).sampleUniform(state)
    assert isinstance(one.failure, ZeroDivisionError)
    assert ended == [True]
    assert state == [0.1, 0.5]  # the start: OMPL reads it in any case
    before = one.problem.counts.states
    assert not motion(None, one).checkMotion([0.1, 0.1], [0.2, 0.2])
    assert one.problem.counts.states == before
