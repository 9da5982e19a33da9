"""The same questions asked of pybullet: robots from URDF files, and an independent check of our own arm.

Needs ``pip install 'lowerbound[planning]'``. A robot lives in a physics client of its own, without a window; the
problems of a robot share it and put their boxes into it when they are asked. One state costs some hundred
microseconds here, a hundred times what ``arm`` needs: this is the expensive checker, with meshes.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import sys
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..errors import ConfigError, ShapeError, suggest
from .arm import ArmProblem, Chain, as_boxes, draw_boxes, inner_marks, padded, voxels
from .problem import Array, Family, Problem
from .scene_file import SHAPES
from .scenes import SCENES, inside
from .solve import connect

_EASY = 100  # a problem for which the proof of a path takes fewer checks is not kept
_FLOOR = 10.0  # half the side and half the thickness of the box that stands for a plane, m


class BulletRobot:
    """A robot from a URDF file in a pybullet client of its own.

    Close it, or use it in a ``with`` statement; a robot that is forgotten closes itself. Not to be shared by threads.

    Args:
        urdf: The file; or its text, recognised by its first character, ``<``.
        position: Of the robot's base in the world, (3,), m.
        orientation: Of the base, a quaternion x, y, z, w.
        joints: Names of the joints that a configuration sets, in its order; all that move if None.
        held: Positions of other joints by name, rad or m; those not named are held at 0.
        rest: A configuration known to be free of self-collision, (D,); zeros, or the middle of the limits where
            they do not contain zero, if None.
        reach: No part of the robot is further than this from its ``shoulder``, m: this sizes the voxels.
        shoulder: Middle of what the robot can reach, (3,), m; the base's position if None.
        pairs: Names of the links tested for self-collision, in pairs. If None, all links with a shape, but not two
            that are one rigid body, or joined by one joint that is set, or that touch at rest.

    Attributes:
        names: Names of the joints, (D,).
        lower: Lower limits, from the file, (D,).
        upper: Upper limits, (D,).

    Raises:
        ConfigError: pybullet is missing, the file is not there or unreadable, a joint is not in it or has no limits.
    """

    def __init__(
        self,
        urdf: str | os.PathLike[str],
        *,
        position: Sequence[float] | Array = (0.0, 0.0, 0.0),
        orientation: Sequence[float] | Array = (0.0, 0.0, 0.0, 1.0),
        joints: Sequence[str] | None = None,
        held: Mapping[str, float] | None = None,
        rest: Sequence[float] | Array | None = None,
        reach: float = 1.0,
        shoulder: Sequence[float] | Array | None = None,
        pairs: Sequence[tuple[str, str]] | None = None,
    ) -> None:
        self.bullet = pybullet()
        self.reach = reach
        self.shoulder = np.array(position if shoulder is None else shoulder, dtype=np.float64)
        with _silence():
            self.client = int(self.bullet.connect(self.bullet.DIRECT))
        self._close = weakref.finalize(self, _disconnect, self.bullet, self.client)
        try:
            self.body = self._load(urdf, position, orientation)
            self._read(joints, held or {})
        except Exception:
            self.close()
            raise
        self._boxes: list[int] = []
        self._shown: Array | None = None
        middle = np.clip(0.0, self.lower, self.upper)
        middle = np.where((self.lower < 0) & (self.upper > 0), middle, (self.lower + self.upper) / 2)
        self.move(middle if rest is None else np.asarray(rest, dtype=np.float64))
        self.pairs = self._all_pairs() if pairs is None else [(self.link(a), self.link(b)) for a, b in pairs]

    @classmethod
    def of(cls, chain: Chain) -> BulletRobot:
        """Return a chain as pybullet has it: its own joints, each sphere a body of its own, the same pairs."""
        position, orientation = chain.base[:3, 3], _quaternion(chain.base[:3, :3])
        pairs = [(f"sphere{i}", f"sphere{j}") for i, j in chain.pairs]
        return cls(
            urdf_of(chain),
            position=position,
            orientation=orientation,
            joints=[f"joint{i + 1}" for i in range(chain.joints)],
            reach=chain.reach,
            shoulder=chain.shoulder,
            pairs=pairs,
        )

    @property
    def cube(self) -> tuple[Array, Array]:
        """Lowest and highest corner of the cube of all that the robot can reach, (3,) each."""
        return self.shoulder - self.reach, self.shoulder + self.reach

    def link(self, name: str) -> int:
        """Return pybullet's index of a link.

        Raises:
            ConfigError: there is none of this name.
        """
        if name not in self.links:
            raise ConfigError(f"the robot has no link {name!r}; {suggest(name, self.links)}")
        return self.links[name]

    def move(self, q: Array) -> None:
        """Put the robot into configuration q (D,)."""
        if q.shape != self.lower.shape:
            raise ShapeError(f"a configuration of this robot has shape {self.lower.shape}; got {q.shape}")
        targets = [(float(value),) for value in q]
        self.bullet.resetJointStatesMultiDof(self.body, self.joints, targets, physicsClientId=self.client)

    def frames(self, q: Array, links: Sequence[str]) -> Array:
        """Return the poses of links in the world at configurations q (N, D), (N, L, 4, 4)."""
        indices = [self.link(name) for name in links]
        out = np.zeros((len(q), len(indices), 4, 4))
        out[..., 3, 3] = 1
        for n, configuration in enumerate(np.asarray(q, dtype=np.float64)):
            self.move(configuration)
            for i, index in enumerate(indices):
                position, orientation = self._pose(index)
                turn = self.bullet.getMatrixFromQuaternion(orientation)
                out[n, i, :3, :3], out[n, i, :3, 3] = np.reshape(turn, (3, 3)), position
        return out

    def show(self, boxes: Array, shapes: Sequence[str] = ()) -> None:
        """Make boxes (M, 7) the only obstacles, unless the same array's are there already.

        Args:
            boxes: The boxes.
            shapes: The solid that fills each, as ``BulletProblem`` takes them; after the last they are boxes.
        """
        if self._shown is boxes:
            return
        for body in self._boxes:
            self.bullet.removeBody(body, physicsClientId=self.client)
        solids = itertools.chain(shapes, itertools.repeat("box"))
        self._boxes = [self._box(box, solid) for box, solid in zip(boxes, solids, strict=False)]
        self._shown = boxes

    def collides(self) -> bool:
        """Whether the robot as it stands touches a box, or one link of a pair the other.

        Links that cannot move, because only fixed joints join them to the base, may touch boxes.
        """
        closest, client = self.bullet.getClosestPoints, self.client
        for box in self._boxes:
            points = closest(self.body, box, 0.0, physicsClientId=client)
            if any(point[3] not in self.fixed for point in points):
                return True
        return any(closest(self.body, self.body, 0.0, a, b, physicsClientId=client) for a, b in self.pairs)

    def close(self) -> None:
        """Release the client; the robot cannot be used any more."""
        self._close()

    def __enter__(self) -> BulletRobot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _load(self, urdf: str | os.PathLike[str], position: Any, orientation: Any) -> int:
        text = str(urdf)
        with contextlib.ExitStack() as stack:
            if text.lstrip().startswith("<"):
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                path = Path(folder) / "robot.urdf"
                path.write_text(text)
            else:
                path = Path(urdf)
                if not path.is_file():
                    raise ConfigError(f"there is no URDF file {path}; give the path of one, or its text")
            stack.enter_context(_silence())
            try:
                return self.bullet.loadURDF(
                    str(path),
                    list(position),
                    list(orientation),
                    useFixedBase=True,
                    physicsClientId=self.client,
                )
            except self.bullet.error as error:
                raise ConfigError(f"pybullet cannot read {path}: {error}") from None

    def _read(self, joints: Sequence[str] | None, held: Mapping[str, float]) -> None:
        """Read joints, limits and links; hold the joints that are not set."""
        count = self.bullet.getNumJoints(self.body, physicsClientId=self.client)
        infos = [self.bullet.getJointInfo(self.body, i, physicsClientId=self.client) for i in range(count)]
        moving = {info[1].decode(): info for info in infos if info[2] != self.bullet.JOINT_FIXED}
        self.names = tuple(moving if joints is None else joints)
        for name in (*self.names, *held):
            if name not in moving:
                raise ConfigError(f"the robot has no moving joint {name!r}; {suggest(name, moving)}")
        self.joints = [moving[name][0] for name in self.names]
        self.lower = np.array([moving[name][8] for name in self.names])
        self.upper = np.array([moving[name][9] for name in self.names])
        for name, low, high in zip(self.names, self.lower, self.upper, strict=True):
            if not low < high:
                raise ConfigError(f"joint {name!r} has no limits in the URDF file; give it some there")
        base = self.bullet.getBodyInfo(self.body, physicsClientId=self.client)[0].decode()
        self.links = {base: -1} | {info[12].decode(): info[0] for info in infos}
        for name, info in moving.items():
            if name not in self.names:
                self.bullet.resetJointState(
                    self.body, info[0], held.get(name, 0.0), physicsClientId=self.client
                )
        # links that move as one carry the same body; bodies are joined by the joints that are set
        self._rigid, self._before = {-1: -1}, {-1: -1}
        for info in infos:
            index, parent = info[0], info[16]
            self._rigid[index] = index if index in self.joints else self._rigid[parent]
            self._before[index] = self._rigid[parent]
        self.fixed = {index for index, body in self._rigid.items() if body == -1}

    def _all_pairs(self) -> list[tuple[int, int]]:
        """Return the pairs of links with a shape that are apart at rest and in the tree of bodies."""
        shaped = [
            link
            for link in sorted(self._rigid)
            if self.bullet.getCollisionShapeData(self.body, link, physicsClientId=self.client)
        ]
        pairs = []
        for a, b in itertools.combinations(shaped, 2):
            first, second = self._rigid[a], self._rigid[b]
            if first == second or self._before[second] == first or self._before[first] == second:
                continue
            if not self.bullet.getClosestPoints(self.body, self.body, 0.0, a, b, physicsClientId=self.client):
                pairs.append((a, b))
        return pairs

    def _pose(self, link: int) -> tuple[Any, Any]:
        if link == -1:
            return self.bullet.getBasePositionAndOrientation(self.body, physicsClientId=self.client)
        state = self.bullet.getLinkState(self.body, link, False, True, physicsClientId=self.client)
        return state[4], state[5]  # of the link's own frame, not of its centre of mass

    def _box(self, box: Array, solid: str) -> int:
        half = box[3:6].tolist()
        options: dict[str, Any] = {
            "box": {"shapeType": self.bullet.GEOM_BOX, "halfExtents": half},
            "sphere": {"shapeType": self.bullet.GEOM_SPHERE, "radius": half[0]},
            "cylinder": {"shapeType": self.bullet.GEOM_CYLINDER, "radius": half[0], "height": 2 * half[2]},
        }[solid]
        shape = self.bullet.createCollisionShape(**options, physicsClientId=self.client)
        turn = (0.0, 0.0, float(np.sin(box[6] / 2)), float(np.cos(box[6] / 2)))
        body = self.bullet.createMultiBody(0, shape, -1, box[:3].tolist(), turn, physicsClientId=self.client)
        # with a margin Bullet rounds the corners of a box, by up to 4 cm
        self.bullet.changeDynamics(body, -1, collisionMargin=0.0, physicsClientId=self.client)
        return body


class BulletProblem(Problem):
    """A pybullet robot among boxes; edges are straight lines in joint space, checked as ``ArmProblem`` does.

    Args:
        robot: The robot, shared by all its problems.
        boxes: Centre (3), half extents (3), yaw about z; (M, 7), m and rad.
        start: (D,).
        goal: (D,).
        resolution: Largest move of a joint between two checks of an edge, rad (or m).
        floor: Height below which nothing that moves may reach, m; None for no floor.
        behind: x below which nothing may reach, m; None for no such plane.
        scene: A name for the scene.
        shapes: The solid that fills each box: "box", or the "sphere" or upright "cylinder" that touches its sides.
            Collisions are tested with it; the model is conditioned on the box. All are boxes if not given.

    Raises:
        ShapeError: the boxes are not (M, 7), or the shapes not M.
        ConfigError: a half extent or the resolution is not positive, or there is no such shape.
    """

    def __init__(
        self,
        robot: BulletRobot,
        boxes: Array,
        start: Array,
        goal: Array,
        *,
        resolution: float = 0.05,
        floor: float | None = None,
        behind: float | None = None,
        scene: str = "",
        shapes: Sequence[str] = (),
    ) -> None:
        super().__init__(robot.lower, robot.upper, start, goal)
        if not resolution > 0:
            raise ConfigError(f"edges are checked at resolution > 0 rad; got {resolution}")
        self.robot = robot
        self.boxes = as_boxes(boxes)
        self.resolution, self.scene = resolution, scene
        self.shapes = tuple(shapes) or ("box",) * len(self.boxes)
        if len(self.shapes) != len(self.boxes):
            raise ShapeError(f"{len(self.boxes)} boxes need as many shapes; got {len(self.shapes)}")
        for shape in self.shapes:
            if shape not in SHAPES:
                raise ConfigError(f"there is no shape {shape!r}; {suggest(str(shape), SHAPES)}")
        planes = []
        if floor is not None:
            planes.append([0, 0, floor - _FLOOR, _FLOOR, _FLOOR, _FLOOR, 0])
        if behind is not None:
            planes.append([behind - _FLOOR, 0, 0, _FLOOR, _FLOOR, _FLOOR, 0])
        self._obstacles = np.concatenate([self.boxes, np.reshape(planes, (-1, 7))])

    def condition(self) -> dict[str, Array]:
        """Return start and goal (D,), boxes (24, 7) with rows of NaN after the last, float32; voxels (20, 20, 20).

        As ``ArmProblem.condition``.

        Raises:
            ConfigError: there are more than 24 boxes.
        """
        return {
            "start": self.start.astype(np.float32),
            "goal": self.goal.astype(np.float32),
            "boxes": padded(self.boxes),
            "voxels": voxels(self.boxes, *self.robot.cube),
        }

    def draw_on(
        self, axes: Any, configurations: Array | Sequence[Array] = (), colours: Sequence[Any] | None = None
    ) -> None:
        """Draw the boxes and a line through the robot's links at configurations (C, D) on 3-D Matplotlib axes."""
        draw_solids(axes, self.boxes, self.shapes)
        links = [name for name, index in self.robot.links.items() if index in (-1, *self.robot.joints)]
        for i, q in enumerate(configurations):
            line = self.robot.frames(np.asarray(q)[None], links)[0, :, :3, 3]
            axes.plot(*line.T, color=f"C{i}" if colours is None else colours[i], linewidth=4)
        low, high = self.robot.cube
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
        axes.set_box_aspect((1, 1, 1))

    def free(self, q: Array) -> Array:
        self.robot.show(self._obstacles, self.shapes)
        return np.array([self._untouched(state) for state in q], dtype=bool)

    def edges_free(self, a: Array, b: Array) -> Array:
        self.robot.show(self._obstacles, self.shapes)
        pieces = np.ceil(np.abs(b - a).max(1) / self.resolution - 1e-9).astype(np.intp).clip(1)
        return np.array(
            [
                all(self._untouched(a[i] + mark / n * (b[i] - a[i])) for mark in inner_marks(int(n)))
                for i, n in enumerate(pieces)
            ],
            dtype=bool,
        )

    def _untouched(self, q: Array) -> bool:
        self.robot.move(q)
        return not self.robot.collides()


def as_bullet(problem: ArmProblem, robot: BulletRobot | None = None) -> BulletProblem:
    """Return the problem with pybullet's joints and collision checker in place of ours.

    Args:
        problem: A problem of a chain of spheres.
        robot: ``BulletRobot.of(problem.chain)``, if there is one already; it can serve many problems.
    """
    return BulletProblem(
        BulletRobot.of(problem.chain) if robot is None else robot,
        problem.boxes,
        problem.start,
        problem.goal,
        resolution=problem.resolution,
        floor=problem.floor,
        behind=problem.behind,
        scene=problem.scene,
    )


def urdf_of(chain: Chain) -> str:
    """Return a URDF of the chain: links ``link0`` to ``linkJ`` are its frames, ``sphere0``, ... hang on them.

    A row of the DH table becomes a revolute joint about z and a fixed one, which moves by (a, 0, d) and turns by
    alpha about x.
    """
    mass = (
        '<inertial><mass value="0.1"/>'
        '<inertia ixx="1e-3" ixy="0" ixz="0" iyy="1e-3" iyz="0" izz="1e-3"/></inertial>'
    )
    parts = [f'<link name="link0">{mass}</link>']

    def add(name: str, parent: str, joint: str, xyz: Any, rpy: Any, shape: str = "") -> None:
        origin = f'<origin xyz="{_numbers(xyz)}" rpy="{_numbers(rpy)}"/>'
        parts.append(f'<link name="{name}">{mass}{shape}</link>')
        parts.append(f'{joint}<parent link="{parent}"/><child link="{name}"/>{origin}</joint>')

    for i, (alpha, a, d, offset) in enumerate(chain.rows, start=1):
        low, high = float(chain.lower[i - 1]), float(chain.upper[i - 1])
        limits = f'<limit lower="{low!r}" upper="{high!r}" effort="1" velocity="1"/>'
        joint = f'<joint name="joint{i}" type="revolute"><axis xyz="0 0 1"/>{limits}'
        add(f"turn{i}", f"link{i - 1}", joint, (0, 0, 0), (0, 0, offset))
        add(f"link{i}", f"turn{i}", f'<joint name="offset{i}" type="fixed">', (a, 0, d), (alpha, 0, 0))
    for i, (link, centre, radius) in enumerate(zip(chain.links, chain.centres, chain.radii, strict=True)):
        shape = f'<collision><geometry><sphere radius="{float(radius)!r}"/></geometry></collision>'
        add(f"sphere{i}", f"link{link}", f'<joint name="hold{i}" type="fixed">', centre, (0, 0, 0), shape)
    # one element a line: pybullet drops what stands beyond some length of a line
    return "\n".join(['<robot name="chain">', *parts, "</robot>"])


@dataclass(frozen=True)
class Panda(Family):
    """Problems of the Franka Emika Panda, checked with its meshes by pybullet; the file comes with pybullet.

    Args:
        scene: ``shelf`` or ``table``: those of the WAM at ``scale`` of their size, as the arm is shorter.
        resolution: Largest move of a joint between two checks of an edge, rad.
        scale: Size of the scene.
        proof: Checks that ``solve.connect`` may make to find a path, without which a problem is not kept; 0 for no
            proof, which draws problems faster, some of them without a solution.

    Raises:
        ConfigError: there is no such scene.
    """

    name: ClassVar[str] = "panda"
    scene: str = "shelf"
    resolution: float = 0.05
    scale: float = 0.9
    proof: int = 2000

    def __post_init__(self) -> None:
        if self.scene not in ("shelf", "table"):
            raise ConfigError(
                f"there is no scene {self.scene!r} here; {suggest(self.scene, ('shelf', 'table'))}"
            )

    def draw(self, rng: np.random.Generator) -> BulletProblem:
        """Return one problem, not solved by the straight line nor, with a proof, by fewer than 100 checks.

        Raises:
            ConfigError: pybullet is missing, or no such problem was found in 100 scenes.
        """
        for _ in range(100):
            problem = self._attempt(panda(), rng)
            if problem is not None:
                return problem
        raise ConfigError(f"no solvable {self.scene} problem in 100 scenes")

    def _attempt(self, robot: BulletRobot, rng: np.random.Generator) -> BulletProblem | None:
        scene = SCENES[self.scene](rng)
        boxes, starts, goals = (_scaled(part, self.scale) for part in scene)
        q = rng.uniform(robot.lower, robot.upper, (20_000, 7))
        tips = panda_chain().tip(q)
        options: dict[str, Any] = {"resolution": self.resolution, "floor": -0.6, "scene": self.scene}
        empty = BulletProblem(robot, boxes, q[0], q[0], **options)
        ends = []
        for regions in (starts, goals):
            there = q[inside(tips, regions)]
            found = next((state for state in there[:300] if empty.free(state[None])[0]), None)
            if found is None:
                return None
            ends.append(found)
        problem = BulletProblem(robot, boxes, *ends, **options)
        if problem.edges_free(ends[0][None], ends[1][None])[0]:
            return None
        if self.proof:
            path = connect(problem, rng, self.proof, batch=8)
            if path is None or problem.counts.states + problem.counts.edges < _EASY:
                return None
        problem.counts.states = problem.counts.edges = 0
        return problem


@lru_cache(maxsize=1)
def panda() -> BulletRobot:
    """Return the Panda of pybullet's data, fingers open, shared by all problems.

    Raises:
        ConfigError: pybullet is missing.
    """
    pybullet()
    import pybullet_data  # pyright: ignore[reportMissingImports]

    return BulletRobot(
        Path(pybullet_data.getDataPath()) / "franka_panda" / "panda.urdf",
        joints=[f"panda_joint{i}" for i in range(1, 8)],
        held={"panda_finger_joint1": 0.04, "panda_finger_joint2": 0.04},
        rest=(0.0, 0.0, 0.0, -1.5, 0.0, 1.8, 0.0),
        reach=1.1,
        shoulder=(0.0, 0.0, 0.333),
    )


@lru_cache(maxsize=1)
def panda_chain() -> Chain:
    """Return the Panda's joints as a chain without spheres: the last frame is its flange, the tip the grasp's middle.

    The manufacturer's table is in Craig's convention; its twist and offset of one row are those of the row before in
    the standard one.
    """
    half = np.pi / 2
    rows = [
        (-half, 0.0, 0.333, 0.0),
        (half, 0.0, 0.0, 0.0),
        (half, 0.0825, 0.316, 0.0),
        (-half, -0.0825, 0.0, 0.0),
        (half, 0.0, 0.384, 0.0),
        (half, 0.088, 0.0, 0.0),
        (0.0, 0.0, 0.107, 0.0),
    ]
    robot = panda()
    return Chain(rows, robot.lower, robot.upper, tip=(0.0, 0.0, 0.105))


@lru_cache(maxsize=1)
def pybullet() -> Any:
    """Return the module pybullet, imported without its greeting.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        with _silence():
            import pybullet as module  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ConfigError("this needs pybullet: pip install 'lowerbound[planning]'") from None
    return module


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Send nowhere what C code prints: the greeting of pybullet and its remarks on URDF files."""
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "wb"))
        for number in (1, 2):
            with contextlib.suppress(OSError):  # one may be closed
                kept = os.dup(number)
                stack.callback(os.close, kept)
                stack.callback(os.dup2, kept, number)
                os.dup2(nowhere.fileno(), number)
        if os.name == "posix":  # what C still holds back goes nowhere too
            stack.callback(ctypes.CDLL(None).fflush, None)
        yield


def _disconnect(bullet: Any, client: int) -> None:
    if bullet.isConnected(client):
        bullet.disconnect(client)


def draw_solids(axes: Any, boxes: Array, shapes: Sequence[str]) -> None:
    """Draw the solids that fill boxes (M, 7) on 3-D Matplotlib axes."""
    draw_boxes(axes, boxes[[shape == "box" for shape in shapes]])
    turn, along = np.meshgrid(np.linspace(0, 2 * np.pi, 25), np.linspace(-1, 1, 13))
    for box, shape in zip(boxes, shapes, strict=True):
        if shape != "box":
            wide = np.ones_like(along) if shape == "cylinder" else np.cos(along * np.pi / 2)
            high = along if shape == "cylinder" else np.sin(along * np.pi / 2)
            unit = np.stack([wide * np.cos(turn), wide * np.sin(turn), high])
            axes.plot_surface(
                *(box[:3, None, None] + box[3:6, None, None] * unit),
                color="tab:gray",
                alpha=0.35,
                linewidth=0,
            )


def _scaled(boxes: Array, scale: float) -> Array:
    return boxes * np.array([*[scale] * 6, 1.0])


def _numbers(values: Sequence[float] | Array) -> str:
    return " ".join(repr(float(value)) for value in values)


def _quaternion(turn: Array) -> Array:
    """Return a rotation (3, 3) as a quaternion x, y, z, w: the leading eigenvector of Bar-Itzhack's matrix (2000)."""
    (a, b, c), (d, e, f), (g, h, i) = turn
    matrix = np.array(
        [
            [a - e - i, b + d, c + g, h - f],
            [b + d, e - a - i, f + h, c - g],
            [c + g, f + h, i - a - e, d - b],
            [h - f, c - g, d - b, a + e + i],
        ]
    )
    return np.linalg.eigh(matrix)[1][:, -1]
