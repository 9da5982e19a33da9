"""Families by name, what is learned from a solution, and training sets: made in parts, joined, split by problem."""

import json
import math
import sys

import numpy as np
import pytest
import torch

from lowerbound.errors import ConfigError, DataError, RunError
from lowerbound.planning import (
    FAMILIES,
    family,
    family_from,
    load_data,
    make_data,
    read_meta,
    solution,
    targets,
)
from lowerbound.planning.integrator import IntegratorProblem
from lowerbound.planning.problem import Problem
from lowerbound.planning.targets import narrowness

data = sys.modules["lowerbound.planning.data"]
EASY = family("narrow", gap=0.1, walls=1, thickness=0.15, grid=16)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(data, "_PART", 5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A set of 12 problems with 4 states each, made in one go by one process."""
    path = tmp_path_factory.mktemp("whole") / "set.npz"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "_PART", 5)
        make_data(EASY, 12, path, states=4, workers=1)
    return path


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    """A set of 6 problems of the arm with 3 states each."""
    path = tmp_path_factory.mktemp("arms") / "set.npz"
    make_data(family("wam", scene="shelf"), 6, path, states=3, workers=1)
    return path


def arrays(path):
    with np.load(path) as found:
        return {name: found[name] for name in found.files}


def assert_same(a, b):
    a, b = arrays(a), arrays(b)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


# --------------------------------------------------------------------------------------------------- families
@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_family_comes_back_from_json(name):
    first = family(name)
    assert first.name == name
    assert family_from(json.loads(json.dumps(first.to_dict()))) == first


def test_lists_of_json_become_tuples():
    stored = json.loads(json.dumps(family("narrow", thickness=(0.06, 0.1)).to_dict()))
    assert stored["thickness"] == [0.06, 0.1]
    again = family_from(stored)
    assert again.thickness == (0.06, 0.1)
    hash(again)
    assert family("narrow", thickness=[0.06, 0.1]) == again


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("narow", {}, "did you mean 'narrow'"),
        (["narrow"], {}, "no family"),
        ("narrow", {"gpa": 0.1}, "did you mean 'gap'"),
        ("narrow", {"name": "maze"}, "no option 'name'"),
        ("narrow", {"gap": "wide"}, "narrow.gap must be a number; got 'wide'"),
        ("narrow", {"gap": None}, "narrow.gap must be a number"),
        ("narrow", {"gap": {"a": 1}}, "narrow.gap must be a number"),
        ("narrow", {"gap": math.nan}, "gap above 0"),
        ("narrow", {"gap": 0.5}, "at most 0.15; got 0.5"),
        ("narrow", {"thickness": [0.1]}, "narrow.thickness must be a list of 2 numbers"),
        ("narrow", {"thickness": ["a", "b"]}, "narrow.thickness"),
        ("narrow", {"walls": True}, "narrow.walls must be a whole number"),
        ("narrow", {"walls": 3.0}, "narrow.walls must be a whole number"),
        ("narrow", {"orientation": "horizontl"}, "did you mean 'horizontal'"),
        ("narrow", {"orientation": 3}, "narrow.orientation"),
        ("integrator", {"speed": "fast"}, "integrator.speed must be a number"),
        ("wam", {"scene": ["shelf"]}, "wam.scene must be a word"),
        ("wam", {"scene": "shelv"}, "did you mean 'shelf'"),
    ],
)
def test_wrong_families_and_options(name, options, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        family(name, **options)


def test_a_stored_family_without_a_name_is_refused():
    with pytest.raises(ConfigError, match="no family"):
        family_from({"gap": 0.1})


# ---------------------------------------------------------------------------------------------------- targets
class Corridor(Problem):
    """Two open halves of a square, joined by a corridor of width 0.1 along y = 0, for -0.4 < x < 0.4."""

    def __init__(self):
        super().__init__(-np.ones(2), np.ones(2), [-0.9, 0.0], [0.9, 0.0])

    def free(self, q):
        return (np.abs(q[:, 0]) > 0.4) | (np.abs(q[:, 1]) < 0.05)

    def edges_free(self, a, b):
        way = a[:, None] + np.linspace(0, 1, 50)[:, None] * (b - a)[:, None]
        return self.free(way.reshape(-1, 2)).reshape(len(a), 50).all(1)

    def condition(self):
        return {"start": self.start.astype(np.float32), "goal": self.goal.astype(np.float32)}


def test_narrowness_is_the_share_of_the_neighbourhood_in_collision():
    states = np.array([[-0.9, 0.0], [0.0, 0.0], [0.4, 0.5]])
    found = np.mean([narrowness(Corridor(), states, np.random.default_rng(i)) for i in range(60)], axis=0)
    # A standard deviation of 0.06 * 2 = 0.12: the walls are 0.05 / 0.12 of it away in the corridor's middle.
    in_corridor = 2 * (0.5 - 0.5 * math.erf(0.05 / 0.12 / 2**0.5)) * math.erf(0.4 / 0.12 / 2**0.5)
    assert found[0] == 0
    assert found[1] == pytest.approx(in_corridor, abs=0.02)
    assert found[2] == pytest.approx(0.5, abs=0.03)  # half of it lies across the wall's face


def test_targets_lie_on_the_path_without_its_ends_and_evenly():
    path = np.stack([np.linspace(-0.9, 0.9, 91), np.zeros(91)], 1)
    chosen = targets(Corridor(), path, "path", 30, np.random.default_rng(0))
    assert chosen.shape == (30, 2)
    index = np.searchsorted(path[:, 0], chosen[:, 0] - 1e-9)
    np.testing.assert_array_equal(path[index], chosen)
    assert 1 <= index.min() <= 3
    assert 87 <= index.max() <= 89
    assert set(np.diff(index)) <= {2, 3}
    assert not np.array_equal(chosen, targets(Corridor(), path, "path", 30, np.random.default_rng(1)))


def test_bottleneck_states_of_any_problem_lie_in_its_narrow_place():
    path = np.stack([np.linspace(-0.9, 0.9, 91), np.zeros(91)], 1)
    chosen = targets(Corridor(), path, "bottleneck", 16, np.random.default_rng(0))
    assert np.abs(chosen[:, 0]).max() < 0.5
    assert len(np.unique(chosen, axis=0)) > 10


def test_planar_bottlenecks_lie_in_gaps():
    inside = []
    for i in range(20):
        problem = family("narrow", gap=0.04).problem("tune", i)
        rng = np.random.default_rng(i)
        chosen = targets(problem, solution(problem, rng), "bottleneck", 16, rng)
        assert problem.free(chosen).all()
        x0, y0, x1, y1 = problem.gaps.T + 0.05 * np.array([[-1], [-1], [1], [1]])
        x, y = chosen[:, :1], chosen[:, 1:]
        inside.append(((x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)).any(1).mean())
    assert np.mean(inside) > 0.9


def test_few_states_repeat_and_a_path_of_two_states_is_its_own_target():
    ends = np.array([[-0.9, 0.5], [-0.8, 0.5]])
    chosen = targets(Corridor(), ends, "path", 5, np.random.default_rng(0))
    assert {tuple(q) for q in chosen} == {tuple(q) for q in ends}
    chosen = targets(Corridor(), ends, "bottleneck", 5, np.random.default_rng(0))  # nowhere narrow
    assert {tuple(q) for q in chosen} == {tuple(q) for q in ends}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["narrow", "forest", "wam", "integrator"])
def test_solutions_are_free_and_dense_from_start_to_goal(name):
    problem = family(name).problem("tune", 0)
    path = solution(problem, np.random.default_rng(0))
    np.testing.assert_allclose(path[0], problem.start, atol=1e-9)
    np.testing.assert_allclose(path[-1], problem.goal, atol=1e-9)
    assert problem.valid(path).all()
    if not isinstance(problem, IntegratorProblem):  # its states are on the trajectories between a roadmap's
        assert problem.edges_free(path[:-1], path[1:]).all()
    steps = np.linalg.norm((path[1:] - path[:-1]) / (problem.upper - problem.lower), axis=1)
    assert steps.max() < 0.15


# -------------------------------------------------------------------------------------------------- make_data
def test_what_is_in_a_set(whole):
    found = arrays(whole)
    assert {name: (array.shape, array.dtype.name) for name, array in found.items() if name != "meta"} == {
        "lower": ((2,), "float64"),
        "upper": ((2,), "float64"),
        "c_start": ((12, 2), "float32"),
        "c_goal": ((12, 2), "float32"),
        "c_grid": ((12, 3, 16, 16), "uint8"),
        "x_path": ((48, 2), "float32"),
        "i_path": ((48,), "int32"),
        "x_bottleneck": ((48, 2), "float32"),
        "i_bottleneck": ((48,), "int32"),
    }
    np.testing.assert_array_equal(found["i_path"], np.repeat(np.arange(12), 4))
    for i, problem in enumerate(EASY.problems("train", 12)):
        for name, value in problem.condition().items():
            np.testing.assert_array_equal(found[f"c_{name}"][i], value)
        assert problem.free(found["x_path"][4 * i : 4 * i + 4].astype(float)).all()


def test_meta_says_how_to_draw_the_problems_again(whole):
    meta = read_meta(whole)
    assert family_from(meta["family"]) == EASY
    assert {name: meta[name] for name in ("n", "solved", "states", "split", "lower", "upper")} == {
        "n": 12,
        "solved": 12,
        "states": 4,
        "split": "train",
        "lower": [0.0, 0.0],
        "upper": [1.0, 1.0],
    }


@pytest.mark.processes
@pytest.mark.slow
def test_two_processes_give_what_one_gives(whole, tmp_path):
    seen = []
    made = make_data(EASY, 12, tmp_path / "a.npz", states=4, workers=2, progress=seen.append)
    assert (made.problems, made.unsolved, made.path) == (12, 0, tmp_path / "a.npz")
    assert (seen[0], sum(seen), len(seen)) == (0, 12, 4)
    assert_same(whole, tmp_path / "a.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_an_interrupted_job_goes_on_where_it_stopped(whole, tmp_path, monkeypatch):
    seen = []

    def interrupt(more):
        seen.append(more)
        if sum(seen) >= 10:
            raise KeyboardInterrupt

    out = tmp_path / "a.npz"
    with pytest.raises(KeyboardInterrupt):
        make_data(EASY, 12, out, states=4, workers=1, progress=interrupt)
    assert not out.exists()
    parts = sorted(path.name for path in (tmp_path / "a.parts").glob("*.npz"))
    assert parts == ["00000000.npz", "00000005.npz"]
    (tmp_path / "a.parts" / "00000000.npz").unlink()
    (tmp_path / "a.parts" / "00000010.unfinished.npz").write_bytes(b"half")  # killed while writing
    solved = []
    monkeypatch.setattr(data, "solution", lambda problem, rng: solved.append(1) or solution(problem, rng))
    seen = []
    make_data(EASY, 12, out, states=4, workers=1, progress=seen.append)
    assert seen == [5, 5, 2]
    assert len(solved) == 7
    assert_same(whole, out)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_interrupted_within_a_part_leaves_no_half_part(tmp_path, monkeypatch):
    calls = []

    def stop(problem, rng):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return solution(problem, rng)

    monkeypatch.setattr(data, "solution", stop)
    with pytest.raises(KeyboardInterrupt):
        make_data(EASY, 12, tmp_path / "a.npz", states=4, workers=1)
    assert sorted(path.name for path in (tmp_path / "a.parts").iterdir()) == ["00000000.npz", "job.json"]


def test_unsolved_problems_are_left_out_and_counted(whole, tmp_path, monkeypatch):
    starts = [problem.start for problem in EASY.problems("train", 12)]
    without = {0, 1, 2, 3, 4, 7}  # the whole of the first part, one of the second

    def some(problem, rng):
        number = next(i for i, start in enumerate(starts) if np.array_equal(start, problem.start))
        return None if number in without else solution(problem, rng)

    monkeypatch.setattr(data, "solution", some)
    made = make_data(EASY, 12, tmp_path / "a.npz", states=4, workers=1)
    assert (made.problems, made.unsolved) == (6, 6)
    found, full = arrays(tmp_path / "a.npz"), arrays(whole)
    kept = [i for i in range(12) if i not in without]
    np.testing.assert_array_equal(found["c_start"], full["c_start"][kept])
    np.testing.assert_array_equal(found["i_path"], np.repeat(np.arange(6), 4))
    np.testing.assert_array_equal(found["x_path"], full["x_path"].reshape(12, 4, 2)[kept].reshape(-1, 2))
    assert read_meta(tmp_path / "a.npz")["solved"] == 6
    monkeypatch.setattr(data, "solution", lambda problem, rng: None)
    with pytest.raises(DataError, match="0 of 12 problems were solved"):
        make_data(EASY, 12, tmp_path / "b.npz", states=4, workers=1)
    assert not (tmp_path / "b.npz").exists()


def test_what_is_there_is_not_touched(whole, tmp_path):
    (tmp_path / "a.npz").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="exists; choose another name"):
        make_data(EASY, 12, tmp_path / "a.npz", workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]

    def stop(more):
        if more:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_data(EASY, 12, tmp_path / "b.npz", states=4, workers=1, progress=stop)
    before = {path: path.read_bytes() for path in (tmp_path / "b.parts").iterdir()}
    for other in ({"n": 11}, {"states": 3}, {"family": family("maze")}):
        job = {"family": EASY, "n": 12, "states": 4} | other
        with pytest.raises(ConfigError, match="holds the unfinished parts of another set"):
            make_data(job["family"], job["n"], tmp_path / "b.npz", states=job["states"], workers=1)
    assert before == {path: path.read_bytes() for path in (tmp_path / "b.parts").iterdir()}
    (tmp_path / "b.parts" / "job.json").write_text("")
    with pytest.raises(ConfigError, match="not one of ours"):
        make_data(EASY, 12, tmp_path / "b.npz", states=4, workers=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 2}, "n must be a whole number of at least 3; got 2"),
        ({"n": 12.0}, "n must be"),
        ({"n": True}, "n must be"),
        ({"states": 0}, "states must be"),
        ({"workers": 0}, "workers must be"),
        ({"out": "a.csv"}, "written as .npz; got"),
    ],
)
def test_wrong_options_of_make_data(tmp_path, options, message):
    options = {"n": 12, "out": "a.npz"} | options
    with pytest.raises(ConfigError, match=message):
        make_data(EASY, options.pop("n"), tmp_path / options.pop("out"), **options)
    assert not list(tmp_path.iterdir())


def test_a_process_that_died_is_explained(tmp_path, monkeypatch):
    class Pool:
        def __init__(self, *_, **__):
            pass

        def submit(self, *_):
            raise data.BrokenProcessPool

        def shutdown(self, **_):
            pass

    monkeypatch.setattr(data, "ProcessPoolExecutor", Pool)
    with pytest.raises(RunError, match='__name__ == "__main__"'):
        make_data(EASY, 12, tmp_path / "a.npz", workers=2)


# -------------------------------------------------------------------------------------------------- load_data
def told(split):
    """All of a split: x and the condition, in numpy."""
    x, c = next(iter(split.batches(len(split), seed=0)))
    return x.numpy(), {name: value.numpy() for name, value in c.items()}


def test_a_problem_is_in_one_split_only(whole):
    loaded = load_data(whole, target="path")
    assert [len(split) for split in (loaded.train, loaded.valid, loaded.test)] == [40, 4, 4]
    starts = [
        {tuple(row) for row in told(split)[1]["start"]} for split in (loaded.train, loaded.valid, loaded.test)
    ]
    assert [len(found) for found in starts] == [10, 1, 1]
    assert len(set().union(*starts)) == 12


def test_every_state_has_the_condition_of_its_problem(whole):
    found, loaded = arrays(whole), load_data(whole, target="path", seed=3)
    assert [entry.name for entry in loaded.spec.conditions] == ["start", "goal", "grid"]
    for split in (loaded.train, loaded.valid, loaded.test):
        states, c = told(split)
        for x, start, goal, grid in zip(states, c["start"], c["goal"], c["grid"], strict=True):
            state = np.flatnonzero((found["x_path"] == x).all(1))
            problems = found["i_path"][state]
            matching = [i for i in problems if np.array_equal(found["c_start"][i], start)]
            assert matching
            np.testing.assert_array_equal(found["c_goal"][matching[0]], goal)
            np.testing.assert_allclose(found["c_grid"][matching[0]] / 255, grid, atol=1e-6)


def test_the_splits_depend_on_the_seed_and_the_targets_differ(whole):
    a, b, c = (load_data(whole, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(told(a.test)[0], told(b.test)[0])
    assert not np.array_equal(told(a.test)[1]["start"], told(c.test)[1]["start"])
    path, narrow = load_data(whole, target="path"), load_data(whole, target="bottleneck")
    np.testing.assert_array_equal(told(path.test)[1]["start"], told(narrow.test)[1]["start"])
    assert not np.array_equal(told(path.test)[0], told(narrow.test)[0])


def test_only_the_first_problems(whole):
    found, loaded = arrays(whole), load_data(whole, problems=5)
    starts = {
        tuple(row) for split in (loaded.train, loaded.valid, loaded.test) for row in told(split)[1]["start"]
    }
    assert starts == {tuple(row) for row in found["c_start"][:5]}


@pytest.mark.slow
@pytest.mark.parametrize("obstacles", [None, "boxes", "voxels"])
def test_the_way_back_stays_with_the_way_there(arms, obstacles):
    found, loaded = arrays(arms), load_data(arms, target="path", obstacles=obstacles)
    assert loaded.spec.conditions[-1].name == (obstacles or "boxes")
    ends = [np.concatenate([a, b], 1) for a, b in ((found["c_start"], found["c_goal"]),)]
    there = {tuple(row): i for i, row in enumerate(ends[0])}
    back = {tuple(np.roll(row, 7)): i for i, row in enumerate(ends[0])}
    assert not there.keys() & back.keys()
    seen = []
    for split in (loaded.train, loaded.valid, loaded.test):
        x, c = told(split)
        rows = [tuple(row) for row in np.concatenate([c["start"], c["goal"]], 1)]
        ways = {
            i: sorted((r in there, r in back) for r in rows if {**there, **back}[r] == i) for i in range(6)
        }
        for i, of_problem in ways.items():
            assert of_problem in ([], [(False, True)] * 3 + [(True, False)] * 3)
            if of_problem:
                seen.append(i)
        for state, row, tells in zip(x, rows, c[loaded.spec.conditions[-1].name], strict=True):
            i = {**there, **back}[row]
            assert state.tolist() in found["x_path"][found["i_path"] == i].tolist()
            stored = found[f"c_{loaded.spec.conditions[-1].name}"][i]
            scale = 255 if stored.dtype == np.uint8 else 1
            np.testing.assert_allclose(tells * scale, stored, atol=1e-4, equal_nan=True)
    assert sorted(seen) == list(range(6))  # each problem in exactly one split


def test_wrong_options_of_load_data(whole):
    for options, message in (
        ({"target": "bottlneck"}, "did you mean 'bottleneck'"),
        ({"obstacles": "voxels"}, "tells no obstacles as 'voxels'; options: grid"),
        ({"obstacles": "start"}, "tells no obstacles as 'start'"),
        ({"problems": 13}, "holds 12 problems; ask for 3 to so many; got 13"),
        ({"problems": 2}, "got 2"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_data(whole, **options)


@pytest.mark.parametrize("read", [read_meta, load_data])
def test_other_files_are_no_training_sets(whole, tmp_path, read):
    other = tmp_path / "a.npz"
    with pytest.raises(DataError, match="there is no file"):
        read(other)
    np.save(tmp_path / "a.npy", np.zeros(3))
    np.savez(tmp_path / "b.npz", x=np.zeros(3))
    np.savez(tmp_path / "c.npz", meta=np.array("[1]"))
    np.savez(tmp_path / "d.npz", meta=np.array(json.dumps({"version": 1})))
    (tmp_path / "e.npz").write_bytes(whole.read_bytes()[:-200])
    (tmp_path / "f.npz").write_bytes(b"nonsense")
    (tmp_path / "g.npz").write_bytes(b"")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(DataError, match="is no training set for planning"):
            read(path)


def test_a_set_that_tells_no_obstacles_is_refused(whole, tmp_path):
    path = tmp_path / "free.npz"
    np.savez(path, **{name: value for name, value in arrays(whole).items() if name != "c_grid"})
    for obstacles in (None, "grid"):
        with pytest.raises(DataError, match=r"free\.npz tells the start and the goal .* but no obstacles"):
            load_data(path, obstacles=obstacles)


def test_torch_reads_states_as_float32(whole):
    x, c = next(iter(load_data(whole).train.batches(4)))
    assert (x.dtype, c["grid"].dtype) == (torch.float32, torch.float32)
    assert float(c["grid"].max()) == 1.0
