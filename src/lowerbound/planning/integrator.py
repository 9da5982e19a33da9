r"""A point with inertia in the unit cube: states (x, y, z, vx, vy, vz), controlled by its acceleration u.

An edge from :math:`(p_0, v_0)` to :math:`(p_1, v_1)` is the trajectory of least cost that joins them exactly,

.. math:: \int_0^\tau 1 + r\,|u(t)|^2 \, dt, \qquad \dot p = v, \quad \dot v = u

with its duration :math:`\tau` free and r the price of effort. For a given duration the least effort is
:math:`d^\top G(\tau)^{-1} d`, where d is the goal's distance from where the state would drift and G is the
controllability Gramian, block by block of an axis,

.. math:: d = \begin{pmatrix} p_1 - p_0 - \tau v_0 \\ v_1 - v_0 \end{pmatrix}, \qquad
    G^{-1} = r \begin{pmatrix} 12/\tau^3 & -6/\tau^2 \\ -6/\tau^2 & 4/\tau \end{pmatrix}

which gives, with :math:`\Delta = p_1 - p_0`,

.. math:: c(\tau) = \tau + r \left(\frac{A}{\tau^3} - \frac{B}{\tau^2} + \frac{C}{\tau}\right), \quad
    A = 12 |\Delta|^2, \quad B = 12\, \Delta \cdot (v_0 + v_1), \quad C = 4 (|v_0|^2 + v_0 \cdot v_1 + |v_1|^2)

and c' = 0 where :math:`f(\tau) = \tau^4 - r C \tau^2 + 2 r B \tau - 3 r A = 0`. The acceleration is linear in time,
so the position is the cubic that fits both ends.

Reference:
    Kinodynamic RRT*: asymptotically optimal motion planning for robots with linear dynamics (Webb and van den Berg,
    2013), free final time through the Gramian, https://arxiv.org/abs/1205.5088;
    Learning sampling distributions for robot motion planning (Ichter, Harrison and Pavone, 2018), the double
    integrator among narrow gaps, https://arxiv.org/abs/1709.05448
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import ConfigError
from .planar import NarrowPassage, Orientation, PlanarProblem, planar_image
from .problem import Array, Family, Problem

_SPACING = 0.005  # between the positions of an edge that are tested against the obstacles
_CHUNK = 2**15  # edges, or tested positions, at a time: they stay in the processor's cache
_NEWTON = 15  # iterations: 14 reach the last digit also where two minima nearly meet


class IntegratorProblem(Problem):
    """A double integrator among the obstacles of a planar world, which reach from z = 0 to z = 1.

    Edges are directed: there is no way back along a trajectory. The limits hold on the whole of an edge, exactly;
    obstacles are tested at positions at most 0.005 apart in x and y.

    Args:
        world: The planar world; its start and goal are those of x and y.
        start: (6,).
        goal: (6,).
        speed: Limit of each component of the velocity.
        effort: r, the price of a squared acceleration for a unit of time.

    Raises:
        ShapeError: start or goal has another shape.
        ConfigError: start or goal lies outside the limits.
    """

    directed = True

    def __init__(self, world: PlanarProblem, start: Array, goal: Array, speed: float, effort: float) -> None:
        upper = np.array([1, 1, 1, speed, speed, speed], dtype=np.float64)
        super().__init__(upper * [0, 0, 0, -1, -1, -1], upper, start, goal)
        self.world, self.effort = world, effort

    def condition(self) -> dict[str, Array]:
        """Return ``start`` (6,) and ``goal`` (6,) float32, and the world's ``grid`` (3, G, G) uint8."""
        return {
            "start": self.start.astype(np.float32),
            "goal": self.goal.astype(np.float32),
            "grid": planar_image(self.world.occupancy(self.world.grid), self.start, self.goal),
        }

    def draw_on(self, ax: Any) -> None:
        """Draw the world seen from above on matplotlib axes."""
        self.world.draw_on(ax)

    def duration(self, a: Array, b: Array) -> Array:
        """Return the durations (...) of the edges from a (..., 6) to b (..., 6), which broadcast."""
        return self._best(a, b)[0]

    def cost(self, a: Array, b: Array) -> Array:
        """Return the costs (...) of the edges from a (..., 6) to b (..., 6), which broadcast."""
        return self._best(a, b)[1]

    def trajectory(self, a: Array, b: Array, steps: int = 2) -> Array:
        """Return ``steps`` states on the way from a (6,) to b (6,), evenly spaced in time, both included."""
        a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
        tau, share = float(self.duration(a, b)), np.linspace(0, 1, steps)[:, None]
        if tau == 0:
            return np.tile(a, (steps, 1))
        linear, square = _velocity(a, b, np.array(tau))
        position = a[:3] + tau * share * (a[3:] + share * (linear / 2 + share * square / 3))
        states = np.concatenate([position, a[3:] + share * (linear + share * square)], axis=1)
        states[-1] = b  # without rounding
        return states

    def free(self, q: Array) -> Array:
        return self.world.free(q[:, :2])

    def edges_free(self, a: Array, b: Array) -> Array:
        tau = self.duration(a, b)
        linear, square = _velocity(a, b, tau)
        ok, speed = self._within_limits(a, b, tau, linear, square)
        counts = np.ceil(tau * speed / _SPACING).astype(int) - 1  # of positions between the ends
        edges = np.flatnonzero(ok & (counts > 0))
        counts = counts[edges]
        ends = np.cumsum(counts)
        p0, v0, v1, v2 = a[edges, :2], a[edges, 3:5], linear[edges, :2] / 2, square[edges, :2] / 3
        first = 0
        while first < len(edges):  # some edges at a time, with about _CHUNK positions together
            done = ends[first] - counts[first]
            last = max(first + 1, int(np.searchsorted(ends, done + _CHUNK, side="right")))
            begins = ends[first:last] - counts[first:last] - done
            e = np.repeat(np.arange(first, last), counts[first:last])  # the edge of each position
            share = ((np.arange(len(e)) - begins[e - first] + 1) / (counts[e] + 1))[:, None]
            way = tau[edges[e], None] * share * (v0[e] + share * (v1[e] + share * v2[e]))
            ok[edges[first:last]] = np.logical_and.reduceat(self.world.free(p0[e] + way), begins)
            first = last
        return ok

    def _within_limits(
        self, a: Array, b: Array, tau: Array, linear: Array, square: Array
    ) -> tuple[Array, Array]:
        """Return which edges (E,) keep to the limits, and a bound of their speed in x and y, (E,).

        On an edge the velocity is a quadratic and the position a cubic in each axis, so they are extreme at the ends,
        at the vertex, and at the roots of the velocity.
        """
        p0, v0, v1, t = a[:, :3], a[:, 3:], b[:, 3:], tau[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            vertex = -linear / (2 * square)
            # the stable form of the roots: no difference of nearly equal numbers
            half = -0.5 * (linear + np.copysign(np.sqrt(linear**2 - 4 * square * v0), linear))
            roots = [half / square, v0 / half]
        lower, upper = self.lower, self.upper
        share = np.where((vertex > 0) & (vertex < 1), vertex, 0)  # none within the edge: its start
        extreme = v0 + share * (linear + share * square)
        ok = np.all((extreme >= lower[3:]) & (extreme <= upper[3:]), axis=1)
        for root in roots:
            share = np.where((root > 0) & (root < 1), root, 0)
            position = p0 + t * share * (v0 + share * (linear / 2 + share * square / 3))
            ok &= np.all((position >= lower[:3]) & (position <= upper[:3]), axis=1)
        fastest = np.maximum(np.abs(extreme), np.maximum(np.abs(v0), np.abs(v1)))
        return ok, np.linalg.norm(fastest[:, :2], axis=1)

    def _best(self, a: Array, b: Array) -> tuple[Array, Array]:
        """Return the durations and costs of edges, (...) each; both are 0 from a state to itself."""
        a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
        shape = np.broadcast_shapes(a.shape[:-1], b.shape[:-1])
        A, B, C, apart = np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool)
        for axis in range(3):  # one axis at a time: no array of shape (..., 6)
            p0, v0, p1, v1 = a[..., axis], a[..., axis + 3], b[..., axis], b[..., axis + 3]
            delta, total = p1 - p0, v0 + v1
            A += 12 * delta**2
            B += 12 * delta * total
            C += 4 * (total**2 - v0 * v1)
            apart |= (delta != 0) | (v0 != v1)
        tau, cost = np.zeros(shape).reshape(-1), np.zeros(shape).reshape(-1)
        A, B, C, apart = (value.reshape(-1) for value in (A, B, C, apart))
        for i in range(0, len(tau), _CHUNK):
            k = i + np.flatnonzero(apart[i : i + _CHUNK])
            tau[k], cost[k] = _least(A[k], B[k], C[k], self.effort)
        return tau.reshape(shape), cost.reshape(shape)


def _least(A: Array, B: Array, C: Array, r: float) -> tuple[Array, Array]:
    """Return the minimisers of c and the minima, (N,) each, for coefficients (N,) of which A or C is not 0.

    c is least where f crosses zero upwards. As f is concave up to the bend (r C / 6)^(1/2) and convex beyond, and
    f(0) <= 0, it does so at most once on either side. Newton's method finds the first crossing from 0 and the last
    from an upper bound of the roots, neither passing its root; where there is none on a side, the clipped iterate is
    still a duration, whose cost cannot be below the minimum.
    """
    bend = np.sqrt(r * C / 6)
    bound = 6**0.5 * bend + np.cbrt(2 * r * np.maximum(-B, 0)) + (3 * r * A) ** 0.25
    best_tau, best = bound, np.full_like(bound, np.inf)
    for tau, low, high in ((np.zeros_like(bound), 1e-12, bend), (bound, bend, bound)):
        for _ in range(_NEWTON):
            value = ((tau**2 - r * C) * tau + 2 * r * B) * tau - 3 * r * A
            slope = (4 * tau**2 - 2 * r * C) * tau + 2 * r * B
            tau = np.clip(tau - value / np.where(slope > 0, slope, np.inf), low, np.maximum(low, high))
        cost = tau + r * ((A / tau - B) / tau + C) / tau
        best_tau, best = np.where(cost < best, tau, best_tau), np.minimum(cost, best)
    return best_tau, best


def _velocity(a: Array, b: Array, tau: Array) -> tuple[Array, Array]:
    """Return L and S (..., 3) of the velocity v0 + L s + S s^2 at share s of the duration, for edges (..., 6)."""
    v0, v1 = a[..., 3:], b[..., 3:]
    mean = (b[..., :3] - a[..., :3]) / np.where(tau > 0, tau, 1)[..., None]
    linear, square = 6 * mean - 4 * v0 - 2 * v1, 3 * (v0 + v1) - 6 * mean
    moves = (tau > 0)[..., None]  # an edge from a state to itself takes no time
    return np.where(moves, linear, 0), np.where(moves, square, 0)


def _escapes(problem: IntegratorProblem) -> bool:
    """Return whether the start can brake, and the goal be reached from rest, on a free straight line.

    The best edge from (p, v) to rest at p + |v| v r^(1/2) / 2 is straight, of constant acceleration.
    """
    ends = np.stack([problem.start, problem.goal])
    v = ends[:, 3:] * [[1], [-1]]  # the goal in reversed time
    rest = ends * [1, 1, 1, 0, 0, 0]
    rest[:, :3] += 0.5 * problem.effort**0.5 * np.linalg.norm(v, axis=1, keepdims=True) * v
    if not np.all(problem.within(rest)) or not problem.free(rest).all():
        return False
    return bool(problem.edges_free(np.stack([ends[0], rest[1]]), np.stack([rest[0], ends[1]])).all())


@dataclass(frozen=True)
class DoubleIntegrator(Family):
    """A double integrator in the worlds of ``NarrowPassage``, with walls as high as the cube.

    Heights of the start and the goal are uniform in the unit interval, their velocities within half the limits, but
    drawn again, each time a little smaller, until the start can brake, and the goal be reached from rest, at once and
    on a free straight line: no sample could help a start that is bound to hit a wall.

    Args:
        gap: Width of the gaps, as in ``NarrowPassage``.
        thickness: Of the walls: least and greatest, or one number.
        walls: 1, 3 or 5.
        orientation: Of the long wall; "both" leaves it to chance.
        speed: Limit of each component of the velocity, above 0.
        effort: Price of a squared acceleration for a unit of time, above 0: where it is low, edges are fast.
        grid: Cells a side of the image of a problem.

    Raises:
        ConfigError: an option is out of its range.
    """

    name: ClassVar[str] = "integrator"

    gap: float = 0.1
    thickness: tuple[float, float] | float = 0.1
    walls: int = 3
    orientation: Orientation = "both"
    speed: float = 1.0
    effort: float = 0.1
    grid: int = 64

    def __post_init__(self) -> None:
        object.__setattr__(self, "thickness", self._worlds().thickness)
        for name in ("speed", "effort"):
            if not 0 < getattr(self, name) < np.inf:
                raise ConfigError(f"family 'integrator' needs a {name} above 0; got {getattr(self, name)}")

    def draw(self, rng: np.random.Generator) -> IntegratorProblem:
        world = self._worlds().draw(rng)
        height = rng.uniform(size=(2, 1))
        position = np.concatenate([np.stack([world.start, world.goal]), height], axis=1)
        most = 0.5 * self.speed
        while True:
            velocity = rng.uniform(-most, most, (2, 3))
            start, goal = np.concatenate([position, velocity], axis=1)
            problem = IntegratorProblem(world, start, goal, self.speed, self.effort)
            if _escapes(problem):
                return problem
            most *= 0.98  # ends even where the effort allows hardly any braking

    def _worlds(self) -> NarrowPassage:
        return NarrowPassage(self.gap, self.thickness, self.walls, self.orientation, self.grid)
