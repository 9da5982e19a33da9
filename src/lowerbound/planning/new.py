"""The file of a family for a robot of the user's own, written from its URDF file and a scene, and tried."""

from __future__ import annotations

import json
import keyword
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import ConfigError, LowerboundError
from .bullet import BulletProblem, BulletRobot
from .family_file import load_family
from .scene_file import read_scene
from .targets import solution

_POSES = 300  # configurations that show how far the robot reaches


class Written(NamedTuple):
    """What ``new_family`` wrote, and how the trial went.

    Attributes:
        path: The file.
        name: The family's name.
        joints: Names of the joints.
        obstacles: Number of obstacles.
        states: States of the path that solves the first problem; 0 if none was found.
        seconds: Time to draw and solve it.
    """

    path: Path
    name: str
    joints: tuple[str, ...]
    obstacles: int
    states: int
    seconds: float


def new_family(
    urdf: str | os.PathLike[str],
    scene: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    joints: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Written:
    """Write the file of a family: a robot among the obstacles of a scene, each a little elsewhere in every problem.

    The file is run before it takes its place: a problem is drawn and solved.

    Args:
        urdf: The robot.
        scene: Its surroundings, as ``read_scene`` takes them.
        out: The .py file.
        joints: The joints that a state holds; all that move if not given.
        overwrite: Replace another file.

    Raises:
        ConfigError: robot or scene cannot be read, the file exists, or no problem can be drawn.
        DataError: the scene says something that cannot be.
    """
    urdf, scene, out = Path(urdf), Path(scene), Path(out)
    if out.suffix != ".py":
        raise ConfigError(f"a family is written as .py; got {out}")
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists; choose another name with --out, or replace it with --overwrite")
    found = read_scene(scene)
    with BulletRobot(urdf, joints=joints) as robot:
        names = robot.names
        shoulder, reach = _extent(robot)
        BulletProblem(
            robot, found.boxes, robot.lower, robot.upper, shapes=found.shapes
        ).condition()  # not too many
    name = re.sub(r"\W+", "_", urdf.stem if out.stem == "family" else out.stem).strip("_").lower() or "own"
    folder = out.resolve().parent
    text = _TEMPLATE.format(
        robot=json.dumps(_beside(urdf, folder)),
        scene=json.dumps(_beside(scene, folder)),
        joints=", ".join(map(json.dumps, names)),
        shoulder=", ".join(f"{value:.3f}" for value in shoulder),
        reach=f"{reach:.2f}",
        cls=_class(name),
        name=name,
        dimensions=len(names),
    )
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"_{out.stem}_draft.py"  # beside it, as its paths are relative
    draft.write_text(text, encoding="utf-8")
    try:
        begun = time.perf_counter()
        states = _try(draft)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    return Written(out, name, names, len(found.boxes), states, time.perf_counter() - begun)


def _try(draft: Path) -> int:
    """Run a file, draw a problem and solve it; return the states of its path."""
    try:
        problem = load_family(draft)().problem("train", 0)
    except LowerboundError as error:
        raise ConfigError(f"{error} (nothing was written)") from None
    path = solution(problem, np.random.default_rng(0))
    return 0 if path is None else len(path)


def _extent(robot: BulletRobot) -> tuple[np.ndarray, float]:
    """Return where the first joint stands, and how far from there any part of the robot gets in many poses, m."""
    bullet, rng = robot.bullet, np.random.default_rng(0)
    first = next(name for name, index in robot.links.items() if index == robot.joints[0])
    shoulder = robot.frames(np.clip(0.0, robot.lower, robot.upper)[None], [first])[0, 0, :3, 3]
    farthest = 0.0
    for q in rng.uniform(robot.lower, robot.upper, (_POSES, len(robot.names))):
        robot.move(q)
        for index in robot.links.values():
            if bullet.getCollisionShapeData(robot.body, index, physicsClientId=robot.client):
                low, high = bullet.getAABB(robot.body, index, physicsClientId=robot.client)
                corner = np.maximum(np.abs(np.array(low) - shoulder), np.abs(np.array(high) - shoulder))
                farthest = max(farthest, float(corner.max()))
    if not farthest:
        raise ConfigError("the robot has no collision shapes in its URDF file; give its links some")
    return shoulder, 1.02 * farthest + 0.005


def _beside(path: Path, folder: Path) -> str:
    """Return a path as it is written in a file in this folder: relative where it can be."""
    try:
        return Path(os.path.relpath(path.resolve(), folder)).as_posix()
    except ValueError:  # another drive
        return path.resolve().as_posix()


def _class(name: str) -> str:
    words = "".join(word.capitalize() for word in name.split("_"))
    return words if words.isidentifier() and not keyword.iskeyword(words) else f"Family{words}"


_TEMPLATE = '''"""Problems of a robot of our own, for `lowerbound plan`. `lowerbound plan new` wrote it; edit it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lowerbound import planning
from lowerbound.errors import ConfigError
from lowerbound.planning.bullet import BulletProblem, BulletRobot

HERE = Path(__file__).parent
ROBOT, SCENE = {robot}, {scene}
FILES = (ROBOT, SCENE)  # what the problems depend on beside this file: if it changes, runs made with it say so


@functools.lru_cache(maxsize=1)
def robot():
    """Return the robot, one for all problems."""
    return BulletRobot(
        HERE / ROBOT,
        joints=[{joints}],  # what a state holds, in this order; all other joints
        held={{}},  # stand here, by name in rad or m, and at 0 if not named
        shoulder=({shoulder}),  # m: the middle of what it reaches
        reach={reach},  # m: how far from there
    )


@functools.lru_cache(maxsize=1)
def scene():
    """Return the obstacles and the floor."""
    return planning.read_scene(HERE / SCENE)


@dataclass(frozen=True)
class {cls}(planning.Family):
    """The robot among the obstacles of the scene, each moved a little.

    Options are fields, set like --set moved=0.1.
    """

    name: ClassVar[str] = "{name}"
    moved: float = 0.05  # how far an obstacle stands from its place in the file at most, along x and along y, m
    resolution: float = 0.05  # largest move of a joint between two checks of an edge, rad or m
    proof: int = 5000  # collision checks that may be spent on proving that a problem has a solution; 0: no proof

    def draw(self, rng):
        """Return one problem. Here start and goal are anywhere: draw them as you will meet them."""
        arm, there = robot(), scene()
        for _ in range(100):
            boxes = there.boxes.copy()  # (M, 7): centre, half extents, m, and yaw about z, rad
            boxes[:, :2] += rng.uniform(-self.moved, self.moved, (len(boxes), 2))
            options = {{"shapes": there.shapes, "floor": there.floor, "resolution": self.resolution}}
            states = rng.uniform(arm.lower, arm.upper, (64, {dimensions}))
            empty = BulletProblem(arm, boxes, states[0], states[1], **options)
            free = states[empty.valid(states)]
            if len(free) < 2:
                continue
            start, goal = free[:2]
            problem = BulletProblem(arm, boxes, start, goal, **options)
            if problem.edges_valid(start[None], goal[None])[0]:
                continue  # too easy: the straight line is free
            if self.proof and planning.connect(problem, rng, self.proof, batch=8) is None:
                continue  # perhaps there is no way
            problem.counts = planning.Counts()  # only the checks of the planner are to count
            return problem
        raise ConfigError(
            "100 scenes held no problem: no two free states that a straight line does not join but a path does"
        )
'''
