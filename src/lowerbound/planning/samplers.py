"""Where a roadmap puts its states: the samplers that need no training, and the mixture with one that does.

A sampler proposes n states and decides nothing else. States in collision count towards n for every sampler, so that
curves against n compare like with like; state checks that a sampler makes on its own are counted by the problem.
"""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import qmc

from ..errors import ConfigError, ShapeError
from .problem import Array, Problem

_BATCH = (64, 16384)  # fewest and most candidate pairs tested at once


class Sampler(ABC):
    """Proposes states for one problem; has no state of its own, so the same ``rng`` gives the same states.

    Attributes:
        name: Names the sampler in tables and pictures.
    """

    name: str

    @abstractmethod
    def draw(self, problem: Problem, n: int, rng: np.random.Generator) -> Array:
        """Return ``n`` states within the limits of the problem, free or not, (n, D) float64.

        Raises:
            ConfigError: ``n`` is no whole number above 0.
        """


def check_number(n: int) -> int:
    """Return a number of states to draw.

    Raises:
        ConfigError: it is no whole number above 0.
    """
    if not isinstance(n, numbers.Integral) or isinstance(n, bool) or n < 1:
        raise ConfigError(f"a sampler draws a whole number of states above 0; got {n!r}")
    return int(n)


@dataclass(frozen=True)
class Uniform(Sampler):
    """Independent states, evenly distributed within the limits."""

    name: str = "uniform"

    def draw(self, problem: Problem, n: int, rng: np.random.Generator) -> Array:
        return problem.uniform(check_number(n), rng)


@dataclass(frozen=True)
class Halton(Sampler):
    """The Halton sequence within the limits, its digits permuted by ``rng``: even, without clumps and holes.

    Reference:
        On the efficiency of certain quasi-random sequences of points in evaluating multi-dimensional integrals
        (Halton, 1960); the permutations: A randomized Halton algorithm in R (Owen, 2017), arXiv:1706.02808
    """

    name: str = "halton"

    def draw(self, problem: Problem, n: int, rng: np.random.Generator) -> Array:
        unit = qmc.Halton(problem.dimensions, scramble=True, rng=rng).random(check_number(n))
        return problem.lower + unit * (problem.upper - problem.lower)


@dataclass(frozen=True)
class GaussianSampler(Sampler):
    """Free states near obstacles: of two states close to each other, one of them in collision, the other is kept.

    The first is uniform, the second differs from it by a normal step in every coordinate; steps that leave the limits
    are not tested. Where obstacles are rare the search for n states could last for ever: after ``checks`` state
    checks per state asked for it ends, and the states that are still missing are uniform and may be in collision.

    Args:
        sd: Standard deviation of the step in a coordinate, as a fraction of that coordinate's range.
        checks: Most state checks spent per state asked for.

    Raises:
        ConfigError: ``sd`` is not positive, or ``checks`` is below 1.

    Reference:
        The Gaussian sampling strategy for probabilistic roadmap planners (Boor, Overmars and van der Stappen, 1999)
    """

    sd: float = 0.05
    checks: int = 1000
    name: str = "gaussian"

    def __post_init__(self) -> None:
        _positive(self.name, self.sd, self.checks)

    def draw(self, problem: Problem, n: int, rng: np.random.Generator) -> Array:
        def test(a: Array, b: Array) -> Array:
            free = problem.valid(np.concatenate([a, b]))
            free_a, free_b = free[: len(a)], free[len(a) :]
            return np.where(free_a[:, None], a, b)[free_a != free_b]

        return _search(problem, check_number(n), rng, self.sd, self.checks, 2, test)


@dataclass(frozen=True)
class Bridge(Sampler):
    """Free states in narrow passages: midpoints of two states in collision that are close to each other.

    The first is uniform, the second differs from it by a normal step in every coordinate; steps that leave the limits
    are not tested. After ``checks`` state checks per state asked for the search ends, and the states that are still
    missing are uniform and may be in collision.

    Args:
        sd: Standard deviation of the step in a coordinate, as a fraction of that coordinate's range.
        checks: Most state checks spent per state asked for.

    Raises:
        ConfigError: ``sd`` is not positive, or ``checks`` is below 1.

    Reference:
        The bridge test for sampling narrow passages with probabilistic roadmap planners (Hsu et al., 2003)
    """

    sd: float = 0.06
    checks: int = 1000
    name: str = "bridge"

    def __post_init__(self) -> None:
        _positive(self.name, self.sd, self.checks)

    def draw(self, problem: Problem, n: int, rng: np.random.Generator) -> Array:
        def test(a: Array, b: Array) -> Array:
            # One after the other, as most pairs fail early and a state that is not tested costs nothing.
            hit = ~problem.valid(a)
            a, b = a[hit], b[hit]
            hit = ~problem.valid(b)
            middle = (a[hit] + b[hit]) / 2
            return middle[problem.valid(middle)]

        return _search(problem, check_number(n), rng, self.sd, self.checks, 3, test)


@dataclass(frozen=True)
class NearEnds(Sampler):
    """States around the start and the goal, half of them each: where an arm has to leave a narrow place.

    Nothing is learned; what is learned should be better than this.

    Args:
        sd: Standard deviation of the normal step in a coordinate, as a fraction of that coordinate's range.

    Raises:
        ConfigError: ``sd`` is not positive.
    """

    sd: float = 0.1
    name: str = "near the ends"

    def __post_init__(self) -> None:
        _positive(self.name, self.sd, 1)

    def draw(self, problem: Problem, n: int, rng: np.random.Generator) -> Array:
        ends = np.stack([problem.start, problem.goal])[np.arange(check_number(n)) % 2]
        step = self.sd * (problem.upper - problem.lower) * rng.standard_normal(ends.shape)
        return problem.mirrored(ends + step)


@dataclass(frozen=True)
class Mixed(Sampler):
    """A share of states from one sampler, the rest from another: a learned one that errs then loses no guarantee.

    Both are drawn once and interleaved, so that the first m of the n states hold the share too, to within one state.

    Args:
        learned: Gives ``round(share * n)`` of the states.
        share: Between 0 and 1, both included.
        rest: Gives the others.

    Raises:
        ConfigError: ``share`` is not between 0 and 1.
    """

    learned: Sampler
    share: float = 0.5
    rest: Sampler = field(default_factory=Halton)
    name: str = ""

    def __post_init__(self) -> None:
        if not (isinstance(self.share, numbers.Real) and 0 <= self.share <= 1):
            raise ConfigError(f"the share of the learned sampler lies between 0 and 1; got {self.share!r}")
        if not self.name:
            object.__setattr__(self, "name", f"{self.share:.0%} {self.learned.name}, rest {self.rest.name}")

    def draw(self, problem: Problem, n: int, rng: np.random.Generator) -> Array:
        k = round(self.share * check_number(n))
        # State i is learned where the share of i + 1 states exceeds that of i by a whole state.
        learned = np.diff(np.arange(n + 1) * k // n) > 0
        states = np.empty((n, problem.dimensions))
        for sampler, mask in ((self.learned, learned), (self.rest, ~learned)):
            if mask.any():
                states[mask] = sampler.draw(problem, int(mask.sum()), rng)
        return states


class Fixed(Sampler):
    """The first rows of a given array: states drawn elsewhere, or known to help.

    Args:
        states: (N, D).
        name: Names the sampler.

    Raises:
        ShapeError: ``states`` is no matrix.
    """

    def __init__(self, states: Array, name: str = "fixed") -> None:
        self.states, self.name = np.array(states, dtype=np.float64), name
        if self.states.ndim != 2:
            raise ShapeError(f"fixed states have shape (N, D); got {self.states.shape}")

    def draw(self, problem: Problem, n: int, rng: np.random.Generator) -> Array:
        """Return the first ``n`` rows.

        Raises:
            ConfigError: there are fewer than ``n``.
            ShapeError: the problem has another number of coordinates.
        """
        if check_number(n) > len(self.states):
            raise ConfigError(
                f"{n} states were asked of sampler {self.name!r}, which holds {len(self.states)}"
            )
        if self.states.shape[1] != problem.dimensions:
            raise ShapeError(
                f"sampler {self.name!r} holds states with {self.states.shape[1]} coordinates; the problem has "
                f"{problem.dimensions}"
            )
        return self.states[:n].copy()


def _positive(name: str, sd: float, checks: int) -> None:
    if not (isinstance(sd, numbers.Real) and 0 < sd < np.inf):
        raise ConfigError(f"sd of sampler {name!r} is a positive fraction of the limits' range; got {sd!r}")
    if not isinstance(checks, numbers.Integral) or checks < 1:
        raise ConfigError(f"checks of sampler {name!r} is a whole number above 0; got {checks!r}")


def _search(
    problem: Problem,
    n: int,
    rng: np.random.Generator,
    sd: float,
    checks: int,
    per_pair: int,
    test: Callable[[Array, Array], Array],
) -> Array:
    """Return n states: what ``test`` keeps of pairs of close states, then uniform ones if the checks run out.

    ``test`` makes at most ``per_pair`` state checks for a pair.
    """
    kept, found, tried = [np.empty((0, problem.dimensions))], 0, 0
    before, most = problem.counts.states, checks * n
    # Steps that leave the limits cost no check, so pairs are bounded too: a huge sd must not search for ever.
    while found < n and tried < 10 * most and (left := (most - problem.counts.states + before) // per_pair):
        # As many pairs as the kept share so far suggests: a batch that overshoots is checks for nothing.
        expected = (n - found) * (tried + 1) / (found + 1) if tried else 2 * n
        size = int(min(max(expected, _BATCH[0]), _BATCH[1], left))
        a = problem.uniform(size, rng)
        b = a + sd * (problem.upper - problem.lower) * rng.standard_normal(a.shape)
        tried += size
        inside = problem.within(b)
        kept.append(test(a[inside], b[inside]))
        found += len(kept[-1])
    states = np.concatenate(kept)[:n]
    return np.concatenate([states, problem.uniform(n - len(states), rng)])
