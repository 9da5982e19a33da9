r"""Serial arms made of spheres among boxes, checked in batches; the seven-joint Barrett WAM.

A link frame follows from the one before it by a row of the standard Denavit-Hartenberg table,

.. math:: T_{i-1,i} = R_z(q_i + \theta_i) \, T_z(d_i) \, T_x(a_i) \, R_x(\alpha_i).

A state is free if no sphere touches a box (the exact distance from a point to a box), no two spheres of links that
can meet touch each other, and no sphere is beyond the floor or the plane behind. All of it is elementwise float32
arithmetic on arrays whose last axis is the batch; in NumPy, because on one thread torch took nearly twice as long for
the boxes at ten states and three times as long at a thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..errors import ConfigError, ShapeError
from .problem import Array, Problem

BOXES = 24  # rows of the condition's box list
VOXELS = 20  # cells along a side of the condition's grid
_CHUNK = 1024  # states at a time: their spheres stay in the second-level cache
_SUBCELLS = 8  # points along a side of a cell that measure how much of it a box covers


class Sphere(NamedTuple):
    """A sphere fixed to a link: the link's index, the centre in its frame (m), the radius (m)."""

    link: int
    centre: tuple[float, float, float]
    radius: float


def cover(link: int, a: Sequence[float], b: Sequence[float], radius: float, tolerance: float) -> list[Sphere]:
    """Return equal spheres along the segment from ``a`` to ``b`` that contain the capsule of this radius around it.

    The spheres have radius ``radius + tolerance``, so they reach at most ``tolerance`` outside of the capsule. Two
    neighbours at distance s meet in a circle of radius sqrt((radius + tolerance)^2 - s^2 / 4), which must not be
    smaller than the capsule's: this gives the largest s.

    Args:
        link: Index of the link that carries the spheres.
        a: First end of the segment in the link's frame, (3,), m.
        b: Second end, (3,), m.
        radius: Radius of the capsule, m.
        tolerance: How far the spheres may stand out, m.

    Raises:
        ConfigError: the radius or the tolerance is not positive.
    """
    if radius <= 0 or tolerance <= 0:
        raise ConfigError(f"a capsule needs radius > 0 and tolerance > 0; got {radius} and {tolerance}")
    start, end = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    spacing = 2 * np.sqrt((2 * radius + tolerance) * tolerance)
    count = int(np.ceil(np.linalg.norm(end - start) / spacing - 1e-9)) + 1
    centres = start + np.linspace(0, 1, count)[:, None] * (end - start)
    return [Sphere(link, (float(x), float(y), float(z)), radius + tolerance) for x, y, z in centres]


class Chain:
    """A serial chain of J revolute joints with spheres on its links.

    Link 0 is fixed, link i moves with joint i and carries frame i, which lies on the axis of joint i + 1.

    Args:
        rows: One (alpha, a, d, theta offset) per joint, (J, 4); radians and metres.
        lower: Lower limits of the joints, (J,), rad.
        upper: Upper limits, (J,), rad.
        spheres: The spheres of the links.
        base: Pose of frame 0 in the world, (4, 4); the identity if None.
        tip: Point of the last frame that counts as the hand's position, (3,), m.
        rest: A configuration known to be free of self-collision, (J,); zeros if None. Spheres that touch there are
            never tested against each other.

    Attributes:
        extents: How far the centre of each sphere can be from the shoulder, (K,), m.
        pairs: The pairs of spheres (i, j) tested for self-collision, (P, 2). Spheres of two links are tested unless
            the links are neighbours, or the axes of all joints between them meet in one point, as in a ball-like
            shoulder or wrist, where the limits of the joints keep the links apart; and unless they touch at rest.
        shoulder: Origin of frame 0 in the world, (3,).
        reach: No part of the chain is ever further than this from the shoulder, m.

    Raises:
        ShapeError: the table, the limits or the base have the wrong shape.
        ConfigError: a sphere names a link that does not exist.
    """

    def __init__(
        self,
        rows: Array | Sequence[Sequence[float]],
        lower: Array | Sequence[float],
        upper: Array | Sequence[float],
        spheres: Iterable[Sphere] = (),
        *,
        base: Array | None = None,
        tip: Sequence[float] = (0.0, 0.0, 0.0),
        rest: Array | Sequence[float] | None = None,
    ) -> None:
        self.rows = np.array(rows, dtype=np.float64)
        self.lower, self.upper = np.array(lower, dtype=np.float64), np.array(upper, dtype=np.float64)
        self.base = np.eye(4) if base is None else np.array(base, dtype=np.float64)
        if self.rows.ndim != 2 or self.rows.shape[1] != 4 or self.base.shape != (4, 4):
            raise ShapeError(
                f"a chain needs a (J, 4) table and a (4, 4) base; got {self.rows.shape} and {self.base.shape}"
            )
        if self.lower.shape != (self.joints,) or self.upper.shape != (self.joints,):
            raise ShapeError(
                f"{self.joints} joints need as many limits; got {self.lower.shape} and {self.upper.shape}"
            )
        ordered = sorted(spheres, key=lambda sphere: sphere.link)
        if any(not 0 <= sphere.link <= self.joints for sphere in ordered):
            raise ConfigError(
                f"links of {self.joints} joints are 0 to {self.joints}; "
                f"got {sorted({s.link for s in ordered})}"
            )
        self.links = np.array([sphere.link for sphere in ordered], dtype=np.intp)
        self.centres = np.array([sphere.centre for sphere in ordered], dtype=np.float64).reshape(-1, 3)
        self.radii = np.array([sphere.radius for sphere in ordered], dtype=np.float64)
        self.tip_point = np.array([*tip, 1.0])
        self.shoulder = self.base[:3, 3].copy()
        lengths = np.hypot(self.rows[:, 1], self.rows[:, 2])
        self.extents = np.concatenate([[0.0], np.cumsum(lengths)])[self.links] + np.linalg.norm(
            self.centres, axis=1
        )
        self.reach = float(max((self.extents + self.radii).max(initial=0.0), lengths.sum()))
        # cos and sin of the twists, with cos(pi / 2) exactly 0: then a joint costs two operations less
        self._twist = [
            (float(np.round(np.cos(t), 15)), float(np.round(np.sin(t), 15))) for t in self.rows[:, 0]
        ]
        self._local = {
            int(link): np.concatenate([self.centres, np.ones((len(self.centres), 1))], 1)[self.links == link]
            for link in np.unique(self.links)
        }
        self.moving = int(
            np.searchsorted(self.links, 1)
        )  # the spheres from here on are not fixed to the world
        self.pairs = self._pairs(
            np.zeros(self.joints) if rest is None else np.asarray(rest, dtype=np.float64)
        )
        self._partners = self._by_sphere()

    @property
    def joints(self) -> int:
        """Number J of joints."""
        return len(self.rows)

    def frames(self, q: Array, dtype: Any = np.float32) -> Array:
        """Return the poses of frames 0 to J in the world at configurations (N, J), (N, J + 1, 4, 4)."""
        q = self._configurations(q)
        out = np.zeros((len(q), self.joints + 1, 4, 4), dtype=dtype)
        out[..., 3, 3] = 1
        for part in _chunks(len(q)):
            out[part, :, :3] = self._walk(q[part], dtype).transpose(3, 0, 1, 2)
        return out

    def spheres(self, q: Array, dtype: Any = np.float32) -> Array:
        """Return the centres of the spheres in the world at configurations (N, J), (N, K, 3), m."""
        q = self._configurations(q)
        out = np.empty((len(q), len(self.radii), 3), dtype=dtype)
        for part in _chunks(len(q)):
            out[part] = self.place(q[part], dtype).transpose(2, 1, 0)
        return out

    def tip(self, q: Array, dtype: Any = np.float32) -> Array:
        """Return the hand's position in the world at configurations (N, J), (N, 3), m."""
        q = self._configurations(q)
        out = np.empty((len(q), 3), dtype=dtype)
        for part in _chunks(len(q)):
            out[part] = (self.tip_point.astype(dtype) @ self._walk(q[part], dtype)[-1]).T
        return out

    def place(self, q: Array, dtype: Any = np.float32) -> Array:
        """Return the centres of the spheres at configurations (N, J), not chunked, (3, K, N)."""
        frames = self._walk(q, dtype)
        out = np.empty((3, len(self.radii), len(q)), dtype=dtype)
        first = 0
        for link, local in self._local.items():
            np.matmul(local.astype(dtype), frames[link], out=out[:, first : first + len(local)])
            first += len(local)
        return out

    def self_collides(self, centres: Array) -> Array:
        """Return in which states a tested pair of spheres (3, K, N) touches, (N,) bool."""
        hit = np.zeros(centres.shape[2], dtype=bool)
        for j, stop, limits in self._partners:
            apart = centres[:, :stop] - centres[:, j : j + 1]
            apart *= apart
            square = apart[0]
            square += apart[1]
            square += apart[2]
            hit |= (square < limits).any(0)
        return hit

    def _walk(self, q: Array, dtype: Any) -> Array:
        """Return the frames as columns x, y, z, origin with the batch last, (J + 1, 3, 4, N)."""
        angles = (q.T + self.rows[:, 3:]).astype(dtype)
        cosines, sines = np.cos(angles), np.sin(angles)
        out = np.empty((self.joints + 1, 3, 4, len(q)), dtype=dtype)
        out[0] = self.base[:3, :, None]
        for i, (_, a, d, _) in enumerate(self.rows):
            x, y, z, o = (out[i, :, column] for column in range(4))
            nx, ny, nz, no = (out[i + 1, :, column] for column in range(4))
            c, s = cosines[i], sines[i]
            np.multiply(x, c, out=nx)
            nx += y * s
            across = y * c
            across -= x * s
            no[...] = o
            if d:
                no += dtype(d) * z
            if a:
                no += dtype(a) * nx
            cos, sin = self._twist[i]
            np.multiply(z, dtype(sin), out=ny)
            np.multiply(across, dtype(-sin), out=nz)
            if cos:
                ny += dtype(cos) * across
                nz += dtype(cos) * z
        return out

    def _pairs(self, rest: Array) -> Array:
        if rest.shape != (self.joints,):
            raise ShapeError(f"the rest configuration has shape ({self.joints},); got {rest.shape}")
        centres = self.spheres(rest[None], dtype=np.float64)[0]
        touching = (
            np.linalg.norm(centres[:, None] - centres[None], axis=-1) < self.radii[:, None] + self.radii[None]
        )
        return np.array(
            [
                (i, j)
                for j in range(len(self.radii))
                for i in range(j)
                if not touching[i, j] and not self._joined(int(self.links[i]), int(self.links[j]))
            ],
            dtype=np.intp,
        ).reshape(-1, 2)

    def _joined(self, i: int, j: int) -> bool:
        """Whether links i <= j are one, neighbours, or joined only by joints whose axes meet in one point."""
        between = self.rows[i : j - 1]  # rows i + 1 to j - 1: from the axis of joint i + 1 to that of joint j
        return j - i < 2 or not (between[:, 1].any() or between[1:, 2].any())

    def _by_sphere(self) -> list[tuple[int, int, Array]]:
        """Group the pairs by their second sphere: its index, a stop, the limits of spheres 0 to stop - 1.

        A slice of neighbouring spheres needs no gathering; spheres in it that are not tested get a limit that no
        square falls below.
        """
        groups = []
        for j in np.unique(self.pairs[:, 1]):
            first = self.pairs[self.pairs[:, 1] == j, 0]
            limits = np.full((first.max() + 1, 1), -1.0, dtype=np.float32)
            limits[first, 0] = (self.radii[first] + self.radii[j]) ** 2
            groups.append((int(j), len(limits), limits))
        return groups

    def _configurations(self, q: Array) -> Array:
        q = np.asarray(q)
        if q.ndim != 2 or q.shape[1] != self.joints:
            raise ShapeError(f"configurations of this chain have shape (N, {self.joints}); got {q.shape}")
        return q


def wam() -> Chain:
    """Return the seven-joint Barrett WAM with a closed hand, standing on the origin of the world, z up.

    The joints are those of the DH table in Barrett's manual and ``libbarrett`` (its last twist and that of its tool
    plate cancel, so the hand's z axis is the direction of approach), the limits those of the arm of the robot HERB.
    The shoulder is 0.346 m above the mounting plate. The spheres are ours:

    ====  ===================================================================================================
    link  what its spheres cover
    ====  ===================================================================================================
    0     the foot: a block of 0.37 x 0.29 x 0.17 m on the plate, 0.04 m behind the shoulder
    1     the shoulder's drives: 0.35 m wide along the axis of joint 2, 0.30 m thick
    2     the shoulder's ball, 0.09 m in radius
    3     the upper arm: a tube of radius 0.05 m over the 0.55 m to the elbow; the elbow's joint, whose axis is
          0.045 m in front of the tube's: a ball of radius 0.08 m about the middle of that offset
    4     the forearm: 0.3 m from elbow to wrist, radius 0.055 m (a section of 0.09 x 0.12 m, rounded)
    5     the wrist: the ball about the common point of joints 5 to 7, radius 0.055 m
    7     the closed hand: from the tool plate, 0.061 m beyond the wrist, 0.20 m to the finger tips, radius 0.055 m
    ====  ===================================================================================================

    The tip is the middle of the closed fingers, 0.15 m beyond the tool plate. A frame's z axis is that of the next
    joint, so the upper arm lies along -y of frame 3 and the forearm along z of frame 4.
    """
    half = np.pi / 2
    rows = [
        (-half, 0.0, 0.0, 0.0),
        (half, 0.0, 0.0, 0.0),
        (-half, 0.045, 0.55, 0.0),
        (half, -0.045, 0.0, 0.0),
        (-half, 0.0, 0.3, 0.0),
        (half, 0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0609, 0.0),
    ]
    base = np.eye(4)
    base[2, 3] = 0.346
    spheres = [
        *cover(0, (-0.10, 0.0, -0.262), (0.02, 0.0, -0.262), 0.16, 0.02),
        *cover(1, (0.0, 0.046, -0.04), (0.0, 0.046, 0.04), 0.14, 0.02),
        Sphere(2, (0.0, 0.0, 0.03), 0.09),
        *cover(3, (-0.045, 0.43, 0.0), (-0.045, 0.08, 0.0), 0.05, 0.017),
        Sphere(3, (-0.0225, 0.015, 0.0), 0.08),
        *cover(4, (0.0, 0.0, 0.03), (0.0, 0.0, 0.245), 0.055, 0.013),
        Sphere(5, (0.0, 0.0, 0.0), 0.06),
        *cover(7, (0.0, 0.0, 0.03), (0.0, 0.0, 0.145), 0.055, 0.012),
    ]
    return Chain(
        rows,
        (-2.6, -2.0, -2.8, -0.9, -4.76, -1.6, -3.0),
        (2.6, 2.0, 2.8, 3.1, 1.24, 1.6, 3.0),
        spheres,
        base=base,
        tip=(0.0, 0.0, 0.15),
    )


class ArmProblem(Problem):
    """An arm among boxes.

    Edges are straight lines in joint space, checked at inner points so close that no joint moves more than
    ``resolution`` from one to the next (the largest of the joints' moves counts, not their Euclidean length), the
    middle first, then ever finer.

    Args:
        chain: The arm. The spheres of its link 0 never move and are not tested against boxes or planes.
        boxes: Centre (3), half extents (3), yaw about z; (M, 7), m and rad.
        start: (J,), rad.
        goal: (J,), rad.
        resolution: Largest move of a joint between two checks of an edge, rad.
        floor: Height below which nothing may reach, m; None for no floor.
        behind: x below which nothing may reach, m; None for no such plane.
        scene: A name for the scene.

    Raises:
        ShapeError: the boxes are not (M, 7).
        ConfigError: a half extent or the resolution is not positive.
    """

    def __init__(
        self,
        chain: Chain,
        boxes: Array,
        start: Array,
        goal: Array,
        *,
        resolution: float = 0.05,
        floor: float | None = None,
        behind: float | None = None,
        scene: str = "",
    ) -> None:
        super().__init__(chain.lower, chain.upper, start, goal)
        self.chain = chain
        self.boxes = as_boxes(boxes)
        if not resolution > 0:
            raise ConfigError(f"edges are checked at resolution > 0 rad; got {resolution}")
        self.resolution = resolution
        self.floor, self.behind, self.scene = floor, behind, scene
        self._radii = chain.radii[chain.moving :, None].astype(np.float32)
        self._squares = self._radii**2
        self._turned = self._prepare()

    def condition(self) -> dict[str, Array]:
        """Return start and goal (J,), boxes (24, 7) with rows of NaN after the last, float32; voxels (20, 20, 20).

        The voxels (uint8, indexed z, y, x) cover the cube about the shoulder that the arm can reach, ``cube``; see
        the function ``voxels``. The planes are in neither.

        Raises:
            ConfigError: there are more than 24 boxes.
        """
        return {
            "start": self.start.astype(np.float32),
            "goal": self.goal.astype(np.float32),
            "boxes": padded(self.boxes),
            "voxels": voxels(self.boxes, *self.cube),
        }

    @property
    def cube(self) -> tuple[Array, Array]:
        """Lowest and highest corner of the cube about the shoulder that contains all the arm can reach, (3,) each."""
        return self.chain.shoulder - self.chain.reach, self.chain.shoulder + self.chain.reach

    def clearance(self, q: Array) -> Array:
        """Return the distance from the spheres to the nearest box or plane at states (N, J), (N,), m.

        It is negative where a sphere reaches into one, and then no deeper than minus the sphere's radius; infinite
        if there are none.
        """
        out = np.empty(len(q))
        for part in _chunks(len(q)):
            centres = self.chain.place(q[part])[:, self.chain.moving :]
            square = self._to_boxes(centres, everything=True)
            nearest = (np.sqrt(square) - self._radii).min(0)
            for axis, limit in ((2, self.floor), (0, self.behind)):
                if limit is not None:
                    nearest = np.minimum(nearest, (centres[axis] - self._radii).min(0) - limit)
            out[part] = nearest
        return out

    def draw_on(
        self,
        axes: Any,
        configurations: Array | Sequence[Array] = (),
        colours: Sequence[Any] | None = None,
        *,
        spheres: bool = False,
    ) -> None:
        """Draw the boxes and the arm at configurations (C, J) on 3-D Matplotlib axes.

        Args:
            axes: Axes with ``projection="3d"``.
            configurations: The arm's configurations, (C, J).
            colours: One colour for each; start and goal colours of the default cycle if None.
            spheres: Draw the spheres too, not only the middle line.
        """
        draw_boxes(axes, self.boxes)
        for i, q in enumerate(configurations):
            colour = f"C{i}" if colours is None else colours[i]
            q = np.asarray(q, dtype=np.float64)[None]
            origins = self.chain.frames(q, np.float64)[0, :, :3, 3]
            foot = np.array([[*self.chain.shoulder[:2], 0.0]])
            line = np.concatenate([foot, origins, self.chain.tip(q, np.float64)])
            axes.plot(*line.T, color=colour, linewidth=4, solid_capstyle="round")
            if spheres:
                turn, rise = np.meshgrid(np.linspace(0, 2 * np.pi, 13), np.linspace(0, np.pi, 7))
                unit = np.stack([np.cos(turn) * np.sin(rise), np.sin(turn) * np.sin(rise), np.cos(rise)])
                for centre, radius in zip(self.chain.spheres(q)[0], self.chain.radii, strict=True):
                    axes.plot_surface(
                        *(centre[:, None, None] + radius * unit), color=colour, alpha=0.3, linewidth=0
                    )
        low, high = self.cube
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
        axes.set_box_aspect((1, 1, 1))

    def free(self, q: Array) -> Array:
        out = np.empty(len(q), dtype=bool)
        for part in _chunks(len(q)):
            out[part] = self._untouched(q[part])
        return out

    def edges_free(self, a: Array, b: Array) -> Array:
        pieces = np.ceil(np.abs(b - a).max(1) / self.resolution - 1e-9).astype(np.intp).clip(1)
        lengths, which = np.unique(pieces, return_inverse=True)
        marks = np.concatenate([inner_marks(int(n)) for n in lengths])
        begins = (np.cumsum(lengths - 1) - (lengths - 1))[which]  # where the marks of each edge begin
        free = np.ones(len(a), dtype=bool)
        done = 0
        while True:
            alive = np.flatnonzero(free & (pieces - 1 > done))
            if not len(alive):
                return free
            # the next level of bisection, or more when that would be too few states for a batch
            width = max(done + 1, 256 // len(alive))
            counts = np.minimum(pieces[alive] - 1 - done, width)
            edge = np.repeat(alive, counts)
            rank = done + np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
            share = marks[begins[edge] + rank] / pieces[edge]
            hit = ~self.free(a[edge] + share[:, None] * (b[edge] - a[edge]))
            free[edge[hit]] = False
            done += width

    def _untouched(self, q: Array) -> Array:
        """Return which states (N, J), so few that they are not cut into chunks, are free, (N,) bool."""
        centres = self.chain.place(q)
        moving = centres[:, self.chain.moving :]
        hit = np.any(self._to_boxes(moving) < self._squares, axis=0)
        for axis, limit in ((2, self.floor), (0, self.behind)):
            if limit is not None:
                hit |= (moving[axis] < self._radii + np.float32(limit)).any(0)
        alive = np.flatnonzero(~hit)
        if len(alive) < 0.7 * len(q):
            centres = centres[..., alive]
            hit[alive] = self.chain.self_collides(centres)
        else:
            hit |= self.chain.self_collides(centres)
        return ~hit

    def _prepare(self) -> list[tuple[float, float, list[tuple[int, Array, Array]]]]:
        """Group the boxes by yaw: cos, sin, and for each box a sphere's index, its lowest and its highest corner.

        The corners are those in the world turned back by the yaw. Spheres before the index are too close to the
        shoulder, whatever the configuration, to touch the box.
        """
        chain = self.chain
        extents = (chain.extents + chain.radii)[chain.moving :]
        groups: dict[float, list[tuple[int, Array, Array]]] = {}
        for box in self.boxes:
            cos, sin = np.cos(box[6]), np.sin(box[6])
            turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
            centre = turn @ box[:3]
            low, high = centre - box[3:6], centre + box[3:6]
            shoulder = turn @ chain.shoulder
            distance = np.linalg.norm(shoulder - np.clip(shoulder, low, high))
            reaching = np.flatnonzero(extents >= distance - 1e-5)
            first = int(reaching[0]) if len(reaching) else len(extents)
            low, high = (corner.astype(np.float32)[:, None, None] for corner in (low, high))
            groups.setdefault(float(box[6]), []).append((first, low, high))
        return [(float(np.cos(yaw)), float(np.sin(yaw)), boxes) for yaw, boxes in groups.items()]

    def _to_boxes(self, centres: Array, everything: bool = False) -> Array:
        """Return the squared distance of the moving centres (3, K, N) from the nearest box, (K, N).

        Spheres are not compared with boxes that they cannot reach, unless ``everything`` is asked for.
        """
        best = np.full(centres.shape[1:], np.inf, dtype=np.float32)
        room = np.empty_like(centres)
        for cos, sin, boxes in self._turned:
            turned = centres
            if sin:
                turned = np.empty_like(centres)
                np.multiply(centres[0], np.float32(cos), out=turned[0])
                turned[0] += np.float32(sin) * centres[1]
                np.multiply(centres[1], np.float32(cos), out=turned[1])
                turned[1] -= np.float32(sin) * centres[0]
                turned[2] = centres[2]
            for near, low, high in boxes:
                first = 0 if everything else near
                points, apart = turned[:, first:], room[:, first:]
                np.clip(points, low, high, out=apart)
                apart -= points
                apart *= apart
                square = apart[0]
                square += apart[1]
                square += apart[2]
                np.minimum(best[first:], square, out=best[first:])
        return best


def as_boxes(boxes: Array) -> Array:
    """Return boxes (M, 7) as float64.

    Raises:
        ShapeError: they have another shape.
        ConfigError: a half extent is not positive.
    """
    boxes = np.array(boxes, dtype=np.float64)
    if not boxes.size:
        return np.zeros((0, 7))
    if boxes.ndim != 2 or boxes.shape[1] != 7:
        raise ShapeError(f"boxes are rows of centre, half extents and yaw, (M, 7); got {boxes.shape}")
    if not (boxes[:, 3:6] > 0).all():
        raise ConfigError(f"half extents of boxes are above 0; got {boxes[:, 3:6].min()}")
    return boxes


def padded(boxes: Array) -> Array:
    """Return boxes (M, 7) with rows of NaN up to 24, float32.

    Raises:
        ConfigError: there are more than 24 boxes.
    """
    if len(boxes) > BOXES:
        raise ConfigError(f"the condition holds at most {BOXES} boxes; this problem has {len(boxes)}")
    out = np.full((BOXES, 7), np.nan, dtype=np.float32)
    out[: len(boxes)] = boxes
    return out


def voxels(boxes: Array, low: Array, high: Array) -> Array:
    """Return what share of the cells of a cube boxes (M, 7) fill, 0 to 255, uint8, (20, 20, 20) indexed z, y, x.

    A box's height in a cell is exact, its area is measured on 8 x 8 points; where boxes overlap, shares add up to at
    most 255.

    Args:
        boxes: (M, 7).
        low: Lowest corner of the cube, (3,), m.
        high: Highest corner, (3,), m.
    """
    side = (high - low)[0] / VOXELS
    inner = (np.arange(VOXELS * _SUBCELLS) + 0.5) * side / _SUBCELLS
    x, y = np.meshgrid(low[0] + inner, low[1] + inner, indexing="xy")
    floors = low[2] + side * np.arange(VOXELS)
    share = np.zeros((VOXELS, VOXELS, VOXELS))
    for cx, cy, cz, hx, hy, hz, yaw in boxes:
        cos, sin = np.cos(yaw), np.sin(yaw)
        inside = np.abs(cos * (x - cx) + sin * (y - cy)) <= hx
        inside &= np.abs(cos * (y - cy) - sin * (x - cx)) <= hy
        area = inside.reshape(VOXELS, _SUBCELLS, VOXELS, _SUBCELLS).mean((1, 3))
        height = np.clip(np.minimum(floors + side, cz + hz) - np.maximum(floors, cz - hz), 0, None) / side
        share += height[:, None, None] * area
    return np.round(255 * np.clip(share, 0, 1)).astype(np.uint8)


def draw_boxes(axes: Any, boxes: Array, colour: Any = "tab:gray", alpha: float = 0.35) -> None:
    """Draw boxes (M, 7) on 3-D Matplotlib axes."""
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    faces = ((0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5))
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    for box in boxes:
        cos, sin = np.cos(box[6]), np.sin(box[6])
        corners = box[:3] + (signs * box[3:6]) @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        shape = Poly3DCollection([corners[list(face)] for face in faces], alpha=alpha)
        shape.set_facecolor(colour)
        shape.set_edgecolor((0, 0, 0, 0.4))
        shape.set_linewidth(0.5)
        axes.add_collection3d(shape)


@lru_cache(maxsize=256)
def inner_marks(pieces: int) -> Array:
    """Return the inner marks 1 to ``pieces`` - 1 of an edge cut in so many, the middle first, then ever finer."""
    levels = (pieces - 1).bit_length()
    points = np.arange(1, 2**levels)
    turned = np.zeros_like(points)  # their bits read backwards: van der Corput's 1/2, 1/4, 3/4, ...
    for level in range(levels):
        turned = 2 * turned + (points >> level & 1)
    marks = pieces * turned >> levels
    marks = marks[marks > 0]
    marks = marks[np.sort(np.unique(marks, return_index=True)[1])]
    marks.flags.writeable = False  # all calls share it
    return marks


def _chunks(n: int) -> Iterable[slice]:
    return (slice(first, first + _CHUNK) for first in range(0, n, _CHUNK))
