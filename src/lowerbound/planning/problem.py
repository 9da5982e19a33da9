"""What a motion-planning problem is: a space, its obstacles, a start and a goal; and families that draw problems.

Configurations are float64 arrays of shape (N, D). A planner asks a problem only two questions, which of many states
are free and which of many edges are, and both are counted: checks are what planning costs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ..errors import ConfigError, ShapeError, suggest

Array = np.ndarray
Split = Literal["train", "tune", "test"]
SPLITS: dict[str, int] = {"train": 1, "tune": 2, "test": 3}


@dataclass
class Counts:
    """Collision checks made so far: states, and edges between two states."""

    states: int = 0
    edges: int = 0


class Problem(ABC):
    """One planning problem.

    A subclass says which states and edges are free (``free``, ``edges_free``) and what a model is conditioned on
    (``condition``). Lengths are in the units of the space: metres, radians.

    Args:
        lower: Lower limits of the configurations, (D,).
        upper: Upper limits, (D,).
        start: (D,).
        goal: (D,).

    Attributes:
        counts: Checks made of this problem.
        directed: An edge and its reverse differ in cost or validity (a system with dynamics).

    Raises:
        ShapeError: the four differ in shape.
        ConfigError: limits are not ordered, or start or goal lies outside of them.
    """

    directed: ClassVar[bool] = False

    def __init__(self, lower: Array, upper: Array, start: Array, goal: Array) -> None:
        self.lower, self.upper, self.start, self.goal = (
            np.array(value, dtype=np.float64) for value in (lower, upper, start, goal)
        )
        self.counts = Counts()
        for name in ("upper", "start", "goal"):
            if getattr(self, name).shape != self.lower.shape or self.lower.ndim != 1:
                raise ShapeError(
                    f"a problem's limits, start and goal are vectors of one length; lower has shape "
                    f"{self.lower.shape} and {name} {getattr(self, name).shape}"
                )
        if not np.all(self.lower < self.upper):
            raise ConfigError(
                f"every lower limit must be below its upper one; got {self.lower}, {self.upper}"
            )
        for name in ("start", "goal"):
            if not self.within(getattr(self, name)[None])[0]:
                raise ConfigError(
                    f"the {name} {getattr(self, name)} lies outside the limits {self.lower} to {self.upper}"
                )

    @property
    def dimensions(self) -> int:
        """Number D of coordinates of a configuration."""
        return len(self.lower)

    @abstractmethod
    def free(self, q: Array) -> Array:
        """Return which states (N, D), all within the limits, are free of collision, (N,) bool."""

    @abstractmethod
    def edges_free(self, a: Array, b: Array) -> Array:
        """Return which edges from a (E, D) to b (E, D), whose ends are free, are free in between, (E,) bool."""

    @abstractmethod
    def condition(self) -> dict[str, Array]:
        """Return what a model is conditioned on, by name: at least ``start`` and ``goal``, float32."""

    def cost(self, a: Array, b: Array) -> Array:
        """Return the cost of the edges from a (..., D) to b (..., D): here the Euclidean length."""
        return np.linalg.norm(np.asarray(b) - a, axis=-1)

    def trajectory(self, a: Array, b: Array, steps: int = 2) -> Array:
        """Return ``steps`` states on the way from a (D,) to b (D,), both included: here the straight line."""
        return a + np.linspace(0, 1, steps)[:, None] * (b - a)

    def within(self, q: Array) -> Array:
        """Return which states (N, D) keep to the limits, (N,) bool."""
        return np.all((q >= self.lower) & (q <= self.upper), axis=-1)

    def mirrored(self, q: Array) -> Array:
        """Return states (N, D) within the limits: what lies beyond a limit is mirrored at it, as often as it takes.

        Unlike states moved onto a limit none of them comes to lie exactly on it, and none falls on another.
        """
        span = self.upper - self.lower
        along = (q - self.lower) % (2 * span)
        back = (self.lower + np.minimum(along, 2 * span - along)).clip(
            self.lower, self.upper
        )  # for the rounding
        return np.where((q >= self.lower) & (q <= self.upper), q, back)

    def valid(self, q: Array) -> Array:
        """Return which states (N, D) are within the limits and free of collision, (N,) bool; each is counted."""
        q = self._states(q)
        self.counts.states += len(q)
        ok = self.within(q)
        if ok.any():
            ok[ok] = self.free(q[ok])
        return ok

    def edges_valid(self, a: Array, b: Array) -> Array:
        """Return which edges from a (E, D) to b (E, D), between free states, are free, (E,) bool; counted."""
        a, b = self._states(a), self._states(b)
        if a.shape != b.shape:
            raise ShapeError(f"edges need as many ends as starts; got {a.shape} and {b.shape}")
        self.counts.edges += len(a)
        return self.edges_free(a, b) if len(a) else np.zeros(0, dtype=bool)

    def uniform(self, n: int, rng: np.random.Generator) -> Array:
        """Return ``n`` states drawn evenly within the limits, (n, D)."""
        return rng.uniform(self.lower, self.upper, (n, self.dimensions))

    def check(self) -> None:
        """Raise ConfigError if the start or the goal is in collision."""
        for name in ("start", "goal"):
            if not self.free(getattr(self, name)[None])[0]:
                raise ConfigError(f"the {name} {getattr(self, name)} is in collision")

    def _states(self, q: Array) -> Array:
        q = np.asarray(q, dtype=np.float64)
        if q.ndim != 2 or q.shape[1] != self.dimensions:
            raise ShapeError(f"states of this problem have shape (N, {self.dimensions}); got {q.shape}")
        return q


@dataclass(frozen=True)
class Family(ABC):
    """A distribution of problems; its fields are its options.

    Problem ``index`` of a split depends on nothing but the family's options, the split and the index, so the splits
    share no problem and a problem can be named in a result file.

    Attributes:
        origin: The file that the family was loaded from, with hashes (see ``family_file``); None if from none.
    """

    name: ClassVar[str]
    origin: ClassVar[dict[str, Any] | None] = None

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Problem:
        """Return one problem; its start and goal are free."""

    def problem(self, split: Split, index: int) -> Problem:
        """Return problem ``index`` of a split.

        Raises:
            ConfigError: there is no such split.
        """
        if split not in SPLITS:
            raise ConfigError(f"there is no split {split!r}; {suggest(str(split), SPLITS)}")
        return self.draw(np.random.default_rng([SPLITS[split], index]))

    def problems(self, split: Split, n: int, first: int = 0) -> Iterator[Problem]:
        """Return problems ``first`` to ``first + n - 1`` of a split, drawn as they are asked for."""
        return (self.problem(split, index) for index in range(first, first + n))

    def to_dict(self) -> dict[str, Any]:
        """Return the family's name, options and, as "from", its file, as ``family_from`` reads them."""
        # No option can be called "from", a word of the language.
        return {"family": self.name, **({"from": self.origin} if self.origin else {}), **asdict(self)}
