"""A family written for a URDF file and a scene: what stands in the file, that it runs, and what is refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pybullet", reason="pip install 'lowerbound[planning]'")

from lowerbound import cli, planning
from lowerbound.errors import ConfigError, DataError, ShapeError
from lowerbound.planning.bullet import BulletProblem, BulletRobot

LINK = """<link name="{}"><inertial><mass value="1"/>
<inertia ixx="1" ixy="0" ixz="0" iyy="1" iyz="0" izz="1"/></inertial>
<collision><origin xyz="{} 0 0"/><geometry><box size="{} 0.06 0.06"/></geometry></collision></link>"""
JOINT = """<joint name="{}" type="revolute"><parent link="{}"/><child link="{}"/><origin xyz="{} 0 0"/>
<axis xyz="{}"/><limit lower="-2.6" upper="{}" effort="1" velocity="1"/></joint>"""
URDF = (
    '<robot name="arm">'
    + LINK.format("base", 0, 0.05)
    + JOINT.format("turn", "base", "upper", 0, "0 0 1", 2.6)
    + LINK.format("upper", 0.2, 0.4)
    + JOINT.format("elbow", "upper", "lower", 0.4, "0 1 0", 2.6)
    + LINK.format("lower", 0.2, 0.4)
    + "</robot>"
)
SCENE = {
    "boxes": [{"position": [0.45, 0.35, 0.1], "size": [0.1, 0.1, 0.9]}],
    "spheres": [{"position": [-0.5, 0.2, 0.1], "radius": 0.1}],
    "cylinders": [{"position": [0.4, -0.4, 0.1], "radius": 0.05, "height": 0.8}],
    "floor": -0.5,
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "robot").mkdir()
    (tmp_path / "robot" / "arm.urdf").write_text(URDF)
    (tmp_path / "scene.json").write_text(json.dumps(SCENE))
    return tmp_path


def write(folder, **options):
    return planning.new_family(
        folder / "robot" / "arm.urdf", folder / "scene.json", folder / "out" / "family.py", **options
    )


def test_the_file_that_is_written(folder):
    made = write(folder)
    assert (made.name, made.joints, made.obstacles) == ("arm", ("turn", "elbow"), 3)
    assert made.states > 2
    assert [path.name for path in (folder / "out").iterdir()] == ["family.py"]
    family = planning.family(str(made.path), moved=0.02)
    assert family.name == "arm"
    assert set(family.origin["files"]) == {"../robot/arm.urdf", "../scene.json"}
    problem = family.problem("test", 3)
    assert problem.shapes == ("box", "sphere", "cylinder")
    rest = planning.read_scene(folder / "scene.json").boxes
    apart = np.abs(problem.boxes - rest)
    assert 0 < apart[:, :2].max() <= 0.02
    assert apart[:, 2:].max() == 0
    assert problem.valid(np.stack([problem.start, problem.goal])).all()
    assert not problem.edges_valid(problem.start[None], problem.goal[None])[0]
    np.testing.assert_array_equal(family.problem("test", 3).start, problem.start)
    # all that the robot can touch lies in its cube: two links of 0.4 m and half their width
    assert 0.8 < problem.robot.reach < 0.9


def test_joints_can_be_chosen(folder):
    made = write(folder, joints=["elbow", "turn"])
    assert planning.family(str(made.path)).problem("test", 0).robot.names == ("elbow", "turn")


def test_what_is_refused_leaves_nothing(folder):
    with pytest.raises(ConfigError, match="no moving joint 'elbw'; did you mean 'elbow'"):
        write(folder, joints=["elbw"])
    with pytest.raises(ConfigError, match="there is no URDF file"):
        planning.new_family(folder / "no.urdf", folder / "scene.json", folder / "out" / "a.py")
    with pytest.raises(ConfigError, match=r"written as .py; got"):
        planning.new_family(folder / "robot" / "arm.urdf", folder / "scene.json", folder / "out" / "a.txt")
    (folder / "scene.json").write_text(json.dumps({"boxes": [{"position": [0, 0, 0], "size": [3, 3, 3]}]}))
    with pytest.raises(ConfigError, match=r"100 scenes held no problem.*nothing was written"):
        write(folder)
    (folder / "scene.json").write_text(json.dumps({"boxes": SCENE["boxes"] * 25}))
    with pytest.raises(ConfigError, match="at most 24 boxes; this problem has 25"):
        write(folder)
    (folder / "scene.json").write_text(json.dumps({"boxes": [{}]}))
    with pytest.raises(DataError, match="has no position"):
        write(folder)
    assert not (folder / "out").exists() or not list((folder / "out").iterdir())
    (folder / "out").mkdir(exist_ok=True)
    (folder / "out" / "family.py").write_text("mine")
    with pytest.raises(ConfigError, match=r"family.py exists"):
        write(folder)
    assert (folder / "out" / "family.py").read_text() == "mine"


# -------------------------------------------------------------------------------------------------- solids
PROBE = """<robot name="probe"><link name="world"/>{}<link name="tip"><inertial><mass value="1"/>
<inertia ixx="1" ixy="0" ixz="0" iyy="1" iyz="0" izz="1"/></inertial>
<collision><geometry><sphere radius="0.001"/></geometry></collision></link></robot>"""
AXES = "".join(
    f'<joint name="{name}" type="prismatic"><parent link="{a}"/><child link="{b}"/><axis xyz="{axis}"/>'
    f'<limit lower="-1" upper="1" effort="1" velocity="1"/></joint>'
    + (f'<link name="{b}"/>' if b != "tip" else "")
    for name, a, b, axis in (
        ("x", "world", "a", "1 0 0"),
        ("y", "a", "b", "0 1 0"),
        ("z", "b", "tip", "0 0 1"),
    )
)


def test_solids_collide_as_what_they_are():
    boxes = np.array([[0.3, 0.1, 0.2, 0.2, 0.2, 0.4, 0.0]])
    q = np.random.default_rng(0).uniform(-0.8, 0.8, (4000, 3))
    away = q - boxes[0, :3]
    round_ = np.hypot(away[:, 0], away[:, 1])
    truth = {
        "box": np.abs(away / boxes[0, 3:6]).max(1) - 1,
        "cylinder": np.maximum(round_ / 0.2, np.abs(away[:, 2]) / 0.4) - 1,
        "sphere": np.linalg.norm(away, axis=1) / 0.2 - 1,
    }
    with BulletRobot(PROBE.format(AXES)) as robot:
        for shape, apart in truth.items():
            problem = BulletProblem(robot, boxes, q[0], q[1], shapes=[shape])
            clear = np.abs(apart) > 0.02  # the probe has a size
            np.testing.assert_array_equal(problem.free(q)[clear], (apart > 0)[clear], err_msg=shape)
            np.testing.assert_array_equal(problem.condition()["boxes"][0], boxes[0].astype(np.float32))
        with pytest.raises(ShapeError, match="1 boxes need as many shapes; got 2"):
            BulletProblem(robot, boxes, q[0], q[1], shapes=["box", "box"])
        with pytest.raises(ConfigError, match="no shape 'cone'"):
            BulletProblem(robot, boxes, q[0], q[1], shapes=["cone"])


# ---------------------------------------------------------------------------------------------------- the page
@pytest.mark.runs
@pytest.mark.slow
def test_the_five_commands_of_the_page_from_an_empty_folder(tmp_path, monkeypatch, capsys):
    pytest.importorskip("yaml")
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "own-robot.md").read_text()
    xml, yaml = (re.search(rf"```{kind}\n(.*?)```", page, re.S)[1] for kind in ("xml", "yaml"))
    commands = re.findall(r"^lowerbound (plan .*)$", page.split("## The robot")[0], re.M)
    assert [command.split()[1] for command in commands] == [
        "new",
        "make-data",
        "train",
        "benchmark",
        "sample",
    ]
    smaller = {
        "make-data": "--workers 1 --states 4 -n 12",
        "train": "--epochs 1",
        "benchmark": "-n 2 --samples 10",
    }
    monkeypatch.chdir(tmp_path)
    (tmp_path / "arm.urdf").write_text(xml)
    (tmp_path / "boxes.yaml").write_text(yaml)
    for command in commands:
        words = [*command.split(), *smaller.get(command.split()[1], "").split()]
        with pytest.raises(SystemExit) as left:
            cli.main(words)
        assert not left.value.code, capsys.readouterr().err
    told = capsys.readouterr().err
    # What the page shows of `new` is what it says.
    for line in re.search(r"```text\n(family.py.*?)```", page, re.S)[1].splitlines():
        assert re.sub(r"[\d.]+ s$", "", line) in told
    assert {"family.py", "arm.npz", "success.png", "states.png"} <= {path.name for path in tmp_path.iterdir()}
    meta = json.loads((tmp_path / "runs" / "arm" / "planning.json").read_text())
    assert meta["family"]["from"]["file"] == str(tmp_path / "family.py")
