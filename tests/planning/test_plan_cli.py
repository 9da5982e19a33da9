"""``lowerbound plan``: what each command writes, where it says it, and how it ends."""

import csv
import importlib
import json

import numpy as np
import pytest
from PIL import Image

from lowerbound import cli, planning
from lowerbound.cli import plan as commands
from lowerbound.planning.planar import NarrowPassage, PlanarProblem

pytestmark = pytest.mark.runs

EASY = ["--set", "gap=0.1", "--set", "walls=1", "--set", "grid=16", "--set", "thickness=[0.1, 0.15]"]


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """Run a command in an empty folder; returns its exit status, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main(["plan", *(str(argument) for argument in arguments)])
        return left.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a training set and a run of one pass over it."""
    folder = tmp_path_factory.mktemp("made")
    small = ["-n", "12", "--states", "2", "--workers", "1", "-q"]
    for arguments in (
        ["make-data", "narrow", "--out", str(folder / "set.npz"), *EASY, *small],
        ["train", str(folder / "set.npz"), "--out", str(folder / "run"), "--epochs", "1", "-q"],
    ):
        with pytest.raises(SystemExit) as left:
            cli.main(["plan", *arguments])
        assert not left.value.code
    return folder


def refused(answer, *words):
    code, out, err = answer
    assert (code, out) == (2, "")
    assert err.startswith("lowerbound: ")
    assert err.count("\n") == 1 + err.count("\ntry: ")
    for word in words:
        assert word in err


def test_help_lists_plan_and_its_commands(call, capsys):
    with pytest.raises(SystemExit):
        cli.main([])
    assert "\n  plan " in capsys.readouterr().out
    code, out, err = call("--help")
    assert (code, err) == (0, "")
    for command in ("new", "make-data", "train", "benchmark", "sample", "export", "demo"):
        assert f"\n  {command} " in out
        code, told, _ = call(command, "--help")
        assert code == 0
        assert f"\n  Examples:\n    lowerbound plan {command} " in told
    assert "..." not in out.split("Commands:")[1]  # no summary is cut
    assert max(map(len, out.splitlines())) <= 80


# -------------------------------------------------------------------------------------------------- make-data
def test_make_data(call, tmp_path):
    code, out, err = call(
        "make-data", "narrow", "--out", "d/set.npz", "-n", 5, "--states", 2, "--workers", 1, *EASY
    )
    assert (code, out) == (0, "")
    lines = err.splitlines()
    assert lines[0] == "solving: 5 of 5 problems"
    assert lines[-2].startswith("d/set.npz: 5 problems, ")
    assert lines[-1] == "next:  lowerbound plan train d/set.npz --out runs/set"
    meta = planning.read_meta(tmp_path / "d" / "set.npz")
    assert planning.family_from(meta["family"]) == NarrowPassage(0.1, (0.1, 0.15), 1, grid=16)
    assert (meta["n"], meta["states"]) == (5, 2)
    assert call("make-data", "narrow", "--out", "e.npz", "-n", 5, "--workers", 1, "-q", *EASY) == (0, "", "")


def test_make_data_says_what_it_could_not_solve(call, monkeypatch):
    data = importlib.import_module("lowerbound.planning.data")
    solved = []

    def some(problem, rng):
        solved.append(1)
        return None if len(solved) == 2 else planning.solution(problem, rng)

    monkeypatch.setattr(data, "solution", some)
    code, _, err = call("make-data", "narrow", "--out", "a.npz", "-n", 5, "--workers", 1, *EASY)
    assert (code, "a.npz: 4 problems, 1 left out that the search did not solve" in err) == (0, True)


def test_make_data_interrupted_ends_with_130_and_goes_on(call, monkeypatch, tmp_path):
    data = importlib.import_module("lowerbound.planning.data")
    monkeypatch.setattr(data, "_PART", 2)
    solved = []

    def some(problem, rng):
        solved.append(1)
        if len(solved) == 4:
            raise KeyboardInterrupt
        return planning.solution(problem, rng)

    monkeypatch.setattr(data, "solution", some)
    command = ["make-data", "narrow", "--out", "a.npz", "-n", 5, "--workers", 1, "-q", *EASY]
    assert call(*command) == (130, "", "lowerbound: interrupted\n")
    assert not (tmp_path / "a.npz").exists()
    assert call(*command) == (0, "", "")
    assert len(solved) == 4 + 3  # two of the first five were kept


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["narow"], ["no family of problems 'narow'", "did you mean 'narrow'"]),
        (["narrow", "--set", "gpa=0.1"], ["no option 'gpa'", "did you mean 'gap'"]),
        (["narrow", "--set", "gap=wide"], ["narrow.gap must be a number; got 'wide'"]),
        (["narrow", "--set", "gap=0.5"], ["at most 0.15; got 0.5"]),
        (["narrow", "--set", "name=x"], ["no option 'name'"]),
        (["narrow", "--set", "gap.x=1"], ["narrow.gap must be a number"]),
        (["narrow", "--set", "gap"], ["--set needs"]),
        (["narrow", "-n", "2"], ["n must be a whole number of at least 3"]),
        (["narrow", "-n", "many"], ["-n", "see `lowerbound plan make-data --help`"]),
        (["narrow", "--workers", "0"], ["workers must be"]),
        (["narrow", "--out", "a.csv"], ["written as .npz; got a.csv"]),
        (["narrow", "--out", "there.npz"], ["there.npz exists"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_make_data_refuses(call, tmp_path, arguments, words):
    (tmp_path / "there.npz").write_bytes(b"mine")
    out = [] if "--out" in arguments else ["--out", "a.npz"]
    refused(call("make-data", *arguments, *out), *words)
    assert [path.name for path in tmp_path.iterdir()] == ["there.npz"]
    assert (tmp_path / "there.npz").read_bytes() == b"mine"


# -------------------------------------------------------------------------------------------------------- own
OWN = """
from dataclasses import dataclass
from typing import ClassVar
from lowerbound import planning

@dataclass(frozen=True)
class Rooms(planning.NarrowPassage):
    name: ClassVar[str] = "rooms"
    gap: float = 0.1
    walls: int = 1
    grid: int = 16
"""


def test_a_family_in_a_file_is_found_again(call, tmp_path):
    file = tmp_path / "rooms.py"
    file.write_text(OWN)
    assert (
        call("make-data", "rooms.py", "--out", "set.npz", "-n", 12, "--states", 2, "--workers", 1, "-q")[0]
        == 0
    )
    assert call("train", "set.npz", "--out", "run", "--epochs", 1, "-q")[0] == 0
    again = ["benchmark", "run", "-n", 2, "--samples", 5, "-q"]
    code, out, err = call(*again)
    assert code == 0
    assert err.splitlines()[0] == f"family rooms: {file}, as it was when the training problems were drawn"
    file.write_text(OWN + "# edited")
    refused(call(*again), "rooms.py, which has changed since and is not run", "--family FILE")
    refused(call("sample", "run"), "has changed since and is not run")
    with pytest.warns(UserWarning, match="drawn with another state of rooms.py"):
        code, named, err = call(*again, "--family", file)
    assert (code, named) == (0, out)
    with pytest.warns(UserWarning, match="drawn with another state"):
        assert call("sample", "run", "--family", file)[0] == 0


def test_new(call, tmp_path):
    pytest.importorskip("pybullet", reason="pip install 'lowerbound[planning]'")
    from test_new import SCENE, URDF

    (tmp_path / "arm.urdf").write_text(URDF)
    (tmp_path / "scene.json").write_text(json.dumps(SCENE))
    code, out, err = call("new", "arm.urdf", "--scene", "scene.json", "--joints", "turn, elbow")
    assert (code, out) == (0, "")
    lines = err.splitlines()
    assert lines[0] == "family.py: family arm, 2 joints (turn, elbow)"
    assert lines[1].startswith("tried: a problem among 3 obstacles, a path of ")
    assert lines[2] == "next:  lowerbound plan make-data family.py -n 2000 --out family.npz"
    refused(call("new", "arm.urdf", "--scene", "scene.json"), "family.py exists")
    (tmp_path / "scene.json").write_text('{"boxes": [{"position": [0, 0, 1]}]}')
    refused(
        call("new", "arm.urdf", "--scene", "scene.json", "--overwrite"), "scene.json: boxes[0] has no size"
    )


# ------------------------------------------------------------------------------------------------------ train
def test_train_and_resume(call, made, tmp_path):
    code, out, err = call("train", made / "set.npz", "--out", "r", "--epochs", 1, "--target", "path")
    assert (code, out) == (0, "")
    assert err.splitlines()[-1] == "next:  lowerbound plan benchmark r"
    assert "finished after" in err.splitlines()[-2]
    assert json.loads((tmp_path / "r" / "planning.json").read_text())["target"] == "path"
    again = ["train", made / "set.npz", "--out", "r", "--epochs", 2, "-q"]
    refused(call(*again), "holds another run")
    refused(call(*again, "--resume"), "cannot resume r with target='bottleneck': the run has 'path'")
    assert call(*again, "--resume", "--target", "path") == (0, "", "")
    assert json.loads((tmp_path / "r" / "config.json").read_text())["training"]["epochs"] == 2
    assert call(*again, "--overwrite", "--kind", "gaussian") == (0, "", "")
    assert json.loads((tmp_path / "r" / "planning.json").read_text())["kind"] == "gaussian"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--target", "bottle"], ["no target 'bottle'"]),
        (["--obstacles", "boxes"], ["tells no obstacles as 'boxes'"]),
        (["--kind", "vae"], ["no kind 'vae'"]),
        (["--epochs", "0"], ["epochs"]),
        (["--epochs", "1", "--minutes", "1"], ["epochs", "minutes"]),
        (["--seed", "-1"], ["seed"]),
        (["--device", "gpu"], ["gpu"]),
        (["--resume"], []),
    ],
    ids=lambda value: " ".join(value),
)
def test_train_refuses(call, made, tmp_path, more, words):
    refused(call("train", made / "set.npz", "--out", "r", *more), *words)
    assert not (tmp_path / "r").exists()


def test_train_refuses_what_is_no_training_set(call, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((9, 2)))
    refused(call("train", "x.npz", "--out", "r"), "is no training set for planning", "make-data")
    refused(call("train", "y.npz", "--out", "r"), "there is no file y.npz")
    assert not (tmp_path / "r").exists()


# -------------------------------------------------------------------------------------------------- benchmark
SAMPLERS = [
    "uniform",
    "Halton",
    "Gaussian, half uniform",
    "bridge test, half uniform",
    "learned, 60% uniform",
]


def test_benchmark_as_json_is_one_object_on_standard_output(call, made):
    code, out, err = call(
        "benchmark", made / "run", "-n", 3, "--samples", "10,5,10", "--share", 0.4, "--json", "--seed", 2
    )
    assert code == 0
    assert err.splitlines()[-2] == "planning: 15 of 15 plans · learned, 60% uniform"
    assert (
        err.splitlines()[-1] == f"next:  lowerbound plan sample {made / 'run'} --problem 0 --out states.png"
    )
    found = json.loads(out)
    assert out.count("\n") == 1
    assert list(found["samplers"]) == SAMPLERS
    assert (found["split"], found["problems"]) == ("test", 3)
    worlds = planning.family_from(found["family"])
    assert (worlds.gap, worlds.walls) == (0.1, 1)
    records = planning.measure(planning.Halton(), worlds.problems("test", 3), [5, 10], 2)
    truth = [point for point in planning.success_curve(records)]
    for came, right in zip(found["samplers"]["Halton"], truth, strict=True):
        assert came | {"seconds": 0} == right | {"seconds": 0}


def test_benchmark_prints_a_table_and_writes_a_picture(call, made, tmp_path):
    arguments = [
        "benchmark",
        made / "run",
        "-n",
        2,
        "--samples",
        "5,10",
        "--share",
        0.4,
        "--split",
        "tune",
        "-q",
    ]
    code, out, err = call(*arguments, "--out", "s.png", "--set", "gap=0.12")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "problems solved of 2, by number of samples"
    assert lines[1].split() == ["5", "10"]
    assert [line[:27].strip() for line in lines[2:]] == SAMPLERS
    assert all(0 <= float(value) <= 1 for line in lines[2:] for value in line[27:].split())
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.format == "PNG"
    refused(call(*arguments, "--out", "s.png"), "s.png exists")
    assert call(*arguments, "--out", "s.png", "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--samples", "5,x"], ["--samples needs positive whole numbers"]),
        (["--samples", "0"], ["--samples needs"]),
        (["-n", "0"], ["--problems must be at least 1; got 0"]),
        (["--seed", "-1"], ["--seed must be at least 0"]),
        (["--split", "train"], ["there is no split 'train'; options: test, tune"]),
        (["--share", "1.5"], ["--share must be at most 1; got 1.5"]),
        (["--out", "s.pdf"], ["the formats are .png"]),
        (["--set", "gpa=0.1"], ["no option 'gpa'"]),
        (["--set", "grid=32", "-n", "1", "--samples", "3", "-q"], ["(3, 32, 32)", "(3, 16, 16)"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_benchmark_refuses(call, made, more, words):
    refused(call("benchmark", made / "run", *more), *words)


def test_commands_refuse_a_folder_that_is_no_run_of_theirs(call, made, tmp_path):
    for command in (["benchmark"], ["sample"], ["export", "--out", "a.onnx"]):
        refused(call(command[0], "nowhere", *command[1:]), "nowhere does not exist")
    assert not list(tmp_path.iterdir())


def test_a_start_in_collision_is_the_users_mistake(call, made, monkeypatch):
    def closed(self, rng):
        return PlanarProblem([[0, 0, 0.5, 1]], [0.2, 0.5], [0.8, 0.5], grid=16)

    monkeypatch.setattr(NarrowPassage, "draw", closed)
    refused(call("benchmark", made / "run", "-n", 1, "--samples", 5, "-q"), "the start", "is in collision")


def test_benchmark_draws_each_problem_once_for_all_samplers(call, made, monkeypatch):
    drawn = []
    draw = NarrowPassage.draw

    def counted(family, rng):
        drawn.append(1)
        return draw(family, rng)

    monkeypatch.setattr(NarrowPassage, "draw", counted)
    assert call("benchmark", made / "run", "-n", 4, "--samples", 5, "-q")[0] == 0
    assert len(drawn) == 4


# ----------------------------------------------------------------------------------------------------- sample
def test_sample_is_the_librarys_own(call, made, tmp_path):
    sampler, meta = planning.load_sampler(made / "run")
    problem = planning.family_from(meta["family"]).problem("test", 2)
    truth = planning.Mixed(sampler, 0.7).draw(problem, 9, np.random.default_rng(4))
    arguments = ["sample", made / "run", "--problem", 2, "-n", 9, "--share", 0.7, "--seed", 4]
    code, out, err = call(*arguments)
    assert (code, out) == (0, "")
    assert err.splitlines() == [
        "states.csv: 9 states",
        f"next:  lowerbound plan export {made / 'run'} --out run.onnx",
    ]
    with open(tmp_path / "states.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["q0", "q1"]
    np.testing.assert_allclose(np.array(rows, float), truth, rtol=1e-8)
    assert call(*arguments, "--out", "s.npz")[0] == 0
    with np.load(tmp_path / "s.npz") as found:
        np.testing.assert_array_equal(found["states"], truth)
        np.testing.assert_array_equal(found["goal"], problem.goal)
    assert call(*arguments, "--out", "s.png")[0] == 0
    with Image.open(tmp_path / "s.png") as picture:
        assert min(picture.size) > 400
    refused(call(*arguments), "states.csv exists", "--overwrite")
    assert call(*arguments, "--overwrite")[0] == 0
    refused(call(*arguments, "--out", "s.txt"), "the formats are .csv, .npz, .png")
    refused(call("sample", made / "run", "--out", "b.csv", "--problem", -1), "--problem must be at least 0")
    refused(call("sample", made / "run", "--out", "b.csv", "-n", 0), "--number must be at least 1; got 0")
    refused(call("sample", made / "run", "--out", "no/b.csv"), "no/b.csv")


# ----------------------------------------------------------------------------------------------------- export
def test_export(call, made, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    code, out, err = call("export", made / "run", "--out", "s.onnx")
    assert (code, out) == (0, "s.onnx\n")
    for line in (
        "  in   start  (1, 2)\n",
        "  in   grid  (1, 3, 16, 16)\n",
        "  out  states  (n, 2)\n",
        "\nnext:  python -c ",
    ):
        assert line in err
    inputs = [entry.name for entry in runtime.InferenceSession("s.onnx").get_inputs()]
    assert inputs == ["u", "start", "goal", "grid"]
    refused(call("export", made / "run", "--out", "s.onnx"), "s.onnx exists")
    refused(call("export", made / "run", "--out", "s.pt"), "the formats are .onnx")


# ------------------------------------------------------------------------------------------------------- demo
@pytest.fixture
def small(monkeypatch):
    recipe = {"problems": 6, "epochs": 0.02, "test": 2, "samples": [5, 10], "shown": 200}
    monkeypatch.setattr(commands, "_DEMOS", {"narrow": recipe, "wam": recipe})


@pytest.mark.parametrize("name", ["narrow", "wam"])
def test_demo(call, tmp_path, small, name):
    code, out, err = call("demo", name, "--workers", 1, "-q")
    assert code == 0
    assert out.splitlines()[0] == "problems solved of 2, by number of samples"
    folder = tmp_path / "runs" / f"plan-{name}"
    assert {path.name for path in folder.iterdir()} == {"data.npz", "run", "success.png", "samples.png"}
    assert err.splitlines()[-3].startswith("pictures: ")
    assert err.splitlines()[-2] == f"next:  lowerbound plan benchmark runs/plan-{name}/run"
    for picture in ("success.png", "samples.png"):
        with Image.open(folder / picture) as image:
            assert min(image.size) > 400
    # Again it goes on from what is there.
    before = (folder / "data.npz").read_bytes(), (folder / "run" / "model.safetensors").read_bytes()
    assert call("demo", name, "--workers", 1, "-q")[1].splitlines()[2:] == out.splitlines()[2:]
    assert before == ((folder / "data.npz").read_bytes(), (folder / "run" / "model.safetensors").read_bytes())


def test_an_unknown_demo(call, tmp_path):
    refused(call("demo", "maze"), "no demo 'maze'; choose narrow or wam")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_demo_compares_nothing(call, small, monkeypatch):
    class Stopped:
        stopped = "interrupted"

    monkeypatch.setattr(planning, "train", lambda *_, **__: Stopped())
    code, out, _ = call("demo", "narrow", "--workers", 1, "-q")
    assert (code, out) == (130, "")
