"""The planners of OMPL, on the states of a sampler.

Needs ``pip install 'lowerbound[planning]'``, which brings OMPL 1.7; 2.x works for few planners, see ``planners``.

OMPL asks for one state at a time, a sampler is best asked for many: states are drawn a chunk at a time and handed out
one by one. What a planner adds of its own, steps near a state that it has and the goal, stays as it is.

OMPL 1.7 from PyPI loads its library twice, and a process that has imported ``ompl.base`` ends with a segmentation
fault. This module leaves the second copy out, which works unless something else has imported ``ompl.base`` before.

Reference:
    The Open Motion Planning Library (Şucan, Moll and Kavraki, 2012), https://ompl.kavrakilab.org
"""

from __future__ import annotations

import functools
import importlib
import inspect
import math
import numbers
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import ConfigError, ShapeError, suggest
from .problem import Array, Problem
from .samplers import Sampler, check_number

# Planners that take their samples from where a sampler can be put, for OMPL 1.x and 2.x.
_FED_1 = frozenset(
    "ABITstar AITstar BFMT BITstar FMT InformedRRTstar LBTRRT LazyLBTRRT LazyPRM LazyPRMstar LazyRRT PDST "
    "PRM PRMstar RRT RRTConnect RRTXstatic RRTsharp RRTstar SORRTstar TRRT".split()
)
_FED_2 = frozenset({"PRM", "PRMstar"})
# Left out: EITstar never asks the problem about an edge; SPARS and SPARStwo crash, for their second thread uses
# Python objects while the first one does; SST does not reach a goal that is one state; STRRTstar needs another space.
_UNFIT = frozenset({"EITstar", "SPARS", "SPARStwo", "SST", "STRRTstar"})
_HALVINGS = 5  # of an edge in collision, where a planner wants to know how far it is free


@dataclass(frozen=True)
class OmplResult:
    """What a planner of OMPL found.

    Attributes:
        path: States from the start to the goal, (P, D), joined by straight lines; None without a path.
        cost: Its cost, infinite without a path.
        reason: Why the search ended, in words.
        planner: Name of the planner.
        draws: States that the planner took from the sampler.
        states: State checks made, those of the sampler included.
        edges: Edge checks made; OMPL has the state at the end of an edge tested too, which counts as a state check.
        seconds: Wall-clock time taken, that of the sampler included.
        first_seconds: Of these, the time until the first path; None without a path, or where the planner went on to
            improve it and did not report the first.
        at_first: Whether the search ended with its first path, before the time did.
    """

    path: Array | None
    cost: float
    reason: str
    planner: str
    draws: int
    states: int
    edges: int
    seconds: float
    first_seconds: float | None
    at_first: bool

    @property
    def solved(self) -> bool:
        """Whether there is a path."""
        return self.path is not None


def planners(fed: bool = True) -> list[str]:
    """Return the planners that the installed OMPL offers to ``solve``: with a sampler, or (``fed=False``) without.

    OMPL 1.7 lets Python replace the sampler of the space, which many planners use. In 2.x it can only replace the
    sampler of free states, which PRM and PRMstar use, for their new states but not for the random walks by which
    they leave difficult places.

    Raises:
        ConfigError: OMPL is missing.
    """
    lib = _library()
    there = {name for name, value in vars(lib.geometric).items() if _is_planner(lib, value)}
    return sorted(there & (_FED_1 if lib.has_space_hook else _FED_2) if fed else there - _UNFIT)


def solve(
    problem: Problem,
    planner: str = "RRTConnect",
    sampler: Sampler | None = None,
    *,
    seconds: float,
    seed: int = 0,
    chunk: int = 256,
    improve: bool = False,
    parameters: Mapping[str, Any] | None = None,
) -> OmplResult:
    """Return what a planner of OMPL finds, its states and edges tested by the problem.

    The objective is the length of the path. With the same seed a run repeats itself, unless the time ended it or
    the planner has threads of its own (PRM, PRMstar). OMPL's own random numbers are seeded for the whole process.

    In OMPL 1.7 the second thread of PRM and PRMstar looks for a path every 0.1 s, which is the least they take.

    Args:
        problem: Its counts go up by the checks made.
        planner: Name of an OMPL class, one of ``planners``.
        sampler: Gives the samples; OMPL's own, which are uniform, if None. To compare samplers use ``Uniform`` as the
            uniform one: a Python sampler costs time, and its planner then differs in nothing else.
        seconds: Wall-clock limit of the planner, seen between two checks or chunks.
        seed: Of the sampler and of OMPL.
        chunk: Samples drawn at a time, the first of them with ``numpy.random.default_rng(seed)``.
        improve: Use up the time to shorten the path, where the planner can; otherwise end with the first one. LBTRRT
            and LazyLBTRRT use it up in any case.
        parameters: Of the planner, by OMPL's names: ``{"range": 0.2}``.

    Raises:
        ConfigError: OMPL is missing or cannot give this planner the sampler's states, the problem is directed, the
            start or the goal is in collision, or an option is wrong.
        ShapeError: the sampler returned another number of states or coordinates than asked for.
    """
    lib = _library()
    if problem.directed:
        raise ConfigError(
            "OMPL's geometric planners join states by straight lines, which are no motions of a directed problem; "
            "use lowerbound.planning.plan"
        )
    if not (isinstance(seconds, numbers.Real) and 0 < float(seconds) < math.inf):
        raise ConfigError(f"seconds is a positive time; got {seconds!r}")
    if not isinstance(seed, numbers.Integral) or seed < 0:  # pyright: ignore[reportOperatorIssue]
        raise ConfigError(f"seed is a whole number, 0 or above; got {seed!r}")
    _check_planner(lib, planner, fed=sampler is not None)
    problem.check()
    run = _Run(lib, problem, planner, sampler, int(seed), check_number(chunk))
    try:
        return run.solve(float(seconds), improve, parameters or {})
    finally:
        run.close()


class _Library(NamedTuple):
    """OMPL's modules, and whether Python can replace the sampler of a space (1.x) or not (2.x)."""

    base: Any
    geometric: Any
    util: Any
    has_space_hook: bool


class _Run:
    """One query: the objects of OMPL, and what it calls."""

    def __init__(
        self, lib: _Library, problem: Problem, planner: str, sampler: Sampler | None, seed: int, chunk: int
    ) -> None:
        self.lib, self.problem, self.name, self.sampler = lib, problem, planner, sampler
        self.seed, self.chunk = seed, chunk
        self.rng, self.steps = np.random.default_rng(seed), np.random.default_rng([seed, 1])
        self.ready: Iterator[list[float]] = iter(())
        self.draws = 0
        self.first: float | None = None
        self.failure: BaseException | None = None
        self.space: Any = None
        self.query: Any = None
        self.planner: Any = None
        self.condition: Any = None
        self.kept: list[Any] = []  # C++ does not keep Python objects alive that it calls
        self.index = range(problem.dimensions)
        self.started = time.perf_counter()

    def solve(self, seconds: float, improve: bool, parameters: Mapping[str, Any]) -> OmplResult:
        states, edges = self.problem.counts.states, self.problem.counts.edges
        with _quiet(self.lib):
            self._build(improve, parameters)
            self.planner.setup()
            begun = time.perf_counter()
            self.condition = self.lib.base.timedPlannerTerminationCondition(seconds)
            if self.failure is None:
                status = self.planner.solve(self.condition).asString()
        if self.failure is not None:
            raise self.failure
        # The condition itself cannot be asked: some planners end it when they have a path.
        ended, took = time.perf_counter() - begun >= seconds, time.perf_counter() - self.started
        path, limit = self._path(), f"the time of {seconds:g} s ended"
        if path is None:
            reason = f"{limit} without a path" if ended else f"{self.name} gave up: {status.lower()}"
        else:
            reason = f"solved; {limit}" if ended else "solved"
            if not ended and self.first is None:
                self.first = took
        return OmplResult(
            path=path,
            cost=math.inf if path is None else float(self.problem.cost(path[:-1], path[1:]).sum()),
            reason=reason,
            planner=self.name,
            draws=self.draws,
            states=self.problem.counts.states - states,
            edges=self.problem.counts.edges - edges,
            seconds=took,
            first_seconds=None if path is None else self.first,
            at_first=path is not None and not ended,
        )

    def close(self) -> None:
        """Let go of OMPL's objects, which refer back to this one where no garbage collector can see it."""
        self.planner = self.query = self.space = self.condition = None
        self.kept.clear()

    def free(self, state: Any) -> bool:
        return bool(self.problem.valid(self.read(state))[0])

    def way(self, a: Array, b: Array) -> bool:
        return bool(self.problem.valid(b)[0] and self.problem.edges_valid(a, b)[0])

    def sample(self, state: Any) -> None:
        """Write the sampler's next state."""
        values = next(self.ready, None)
        if values is None:
            self.ready = iter(self._chunk())
            values = next(self.ready)
        self.draws += 1
        self.write(state, values)

    def near(self, state: Any, middle: Any, distance: float) -> None:
        """Write a uniform state of the box around another one, within the limits."""
        at = self.read(middle)[0]
        low = np.maximum(self.problem.lower, at - distance)
        high = np.minimum(self.problem.upper, at + distance)
        self.write(state, self.steps.uniform(low, high))

    def normal(self, state: Any, mean: Any, sd: float) -> None:
        """Write a state from a normal distribution around another one, brought back to the limits."""
        value = self.steps.normal(self.read(mean)[0], sd)
        self.write(state, np.clip(value, self.problem.lower, self.problem.upper))

    def read(self, state: Any) -> Array:
        return np.array([[state[i] for i in self.index]])

    def write(self, state: Any, values: Iterable[float]) -> None:
        for i, value in zip(self.index, values, strict=True):
            state[i] = float(value)

    def fail(self, error: BaseException) -> None:
        """Keep what a callback raised, for no exception may pass through OMPL, and end the search."""
        self.failure = self.failure or error
        if self.condition is not None:
            self.condition.terminate()

    def _build(self, improve: bool, parameters: Mapping[str, Any]) -> None:
        base, problem, keep = self.lib.base, self.problem, self._keep
        bounds = base.RealVectorBounds(problem.dimensions)
        for i in self.index:
            bounds.setLow(i, float(problem.lower[i]))
            bounds.setHigh(i, float(problem.upper[i]))
        self.space = base.RealVectorStateSpace(problem.dimensions)
        self.space.setBounds(bounds)
        info = base.SpaceInformation(self.space)

        motion, states, free_states = _hooks(base)
        free = _guarded(self, self.free, False)
        old = self.lib.has_space_hook
        info.setStateValidityChecker(keep(base.StateValidityCheckerFn(free) if old else free))
        info.setMotionValidator(keep(motion(info, self)))
        if self.sampler is not None and old:
            self.space.setStateSamplerAllocator(
                keep(base.StateSamplerAllocator(lambda space: keep(states(space, self))))
            )
        elif self.sampler is not None:
            info.setValidStateSamplerAllocator(lambda info: keep(free_states(info, self)))
        info.setup()

        self.query = base.ProblemDefinition(info)
        self.query.setStartAndGoalStates(self._state(problem.start), self._state(problem.goal))
        # Length as the integral of one: with OMPL's own length the informed planners sample an ellipsoid, not space.
        objective = base.StateCostIntegralObjective(info, False)
        if not improve:
            objective.setCostThreshold(base.Cost(math.inf))
        self.query.setOptimizationObjective(objective)
        if old:  # 2.x cannot be given a Python function here
            self.query.setIntermediateSolutionCallback(keep(base.ReportIntermediateSolutionFn(self._report)))
        self.lib.util.RNG.setSeed(self.seed % (2**32 - 1) + 1)
        self.planner = getattr(self.lib.geometric, self.name)(info)
        self.planner.setProblemDefinition(self.query)
        _set_parameters(self.lib, self.planner, self.name, parameters)

    def _chunk(self) -> list[list[float]]:
        assert self.sampler is not None
        drawn, shape = self.sampler.draw(self.problem, self.chunk, self.rng), (self.chunk, len(self.index))
        if np.shape(drawn) != shape:
            raise ShapeError(
                f"sampler {self.sampler.name!r} was asked for states of shape {shape} and returned {np.shape(drawn)}"
            )
        return np.asarray(drawn, dtype=np.float64).tolist()

    def _keep(self, value: Any) -> Any:
        self.kept.append(value)
        return value

    def _state(self, values: Array) -> Any:
        base = self.lib.base
        state = base.State(self.space) if self.lib.has_space_hook else self.space.allocState()
        self.write(state, values)
        return state

    def _report(self, *_: Any) -> None:
        if self.first is None:
            self.first = time.perf_counter() - self.started

    def _path(self) -> Array | None:
        if not self.query.hasExactSolution():
            return None
        path = self.query.getSolutionPath()
        return np.concatenate([self.read(path.getState(i)) for i in range(path.getStateCount())])


def _guarded(run: _Run, call: Callable[..., Any], otherwise: Any) -> Callable[..., Any]:
    """Return ``call`` as OMPL may call it: after an exception it returns ``otherwise``, and the search ends."""

    def guarded(*args: Any) -> Any:
        if run.failure is None:
            try:
                return call(*args)
            except BaseException as error:  # KeyboardInterrupt too
                run.fail(error)
        return otherwise

    return guarded


@functools.cache
def _hooks(base: Any) -> tuple[type, type, type]:
    """Return the classes that OMPL calls: for edges, for states (1.x) and for free states (2.x)."""

    class Motion(base.MotionValidator):
        def __init__(self, info: Any, run: _Run) -> None:
            super().__init__(info)
            self.call = _guarded(run, self._check, False)
            self.run = run

        def checkMotion(self, a: Any, b: Any, last: Any = None) -> bool:
            return self.call(a, b, last)

        def _check(self, start: Any, end: Any, last: Any) -> bool:
            a, b = self.run.read(start), self.run.read(end)
            if self.run.way(a, b):
                return True
            if last is not None:  # OMPL asks for the last free state and its place on the edge
                low, high = 0.0, 1.0
                for _ in range(_HALVINGS):
                    middle = (low + high) / 2
                    if self.run.way(a + low * (b - a), a + middle * (b - a)):
                        low = middle
                    else:
                        high = middle
                if last.first is not None:
                    self.run.write(last.first, (a + low * (b - a))[0])
                last.second = low
            return False

    class States(base.StateSampler):
        def __init__(self, space: Any, run: _Run) -> None:
            super().__init__(space)
            self.run = run

        def sampleUniform(self, state: Any) -> None:
            _sampled(self.run, self.run.sample, state)

        def sampleUniformNear(self, state: Any, near: Any, distance: float) -> None:
            _sampled(self.run, self.run.near, state, near, distance)

        def sampleGaussian(self, state: Any, mean: Any, sd: float) -> None:
            _sampled(self.run, self.run.normal, state, mean, sd)

    class FreeStates(base.ValidStateSampler):
        def __init__(self, info: Any, run: _Run) -> None:
            super().__init__(info)
            self.run = run

        def sample(self, state: Any) -> bool:
            _sampled(self.run, self.run.sample, state)
            return _guarded(self.run, self.run.free, False)(state)

        def sampleNear(self, state: Any, near: Any, distance: float) -> bool:
            _sampled(self.run, self.run.near, state, near, distance)
            return _guarded(self.run, self.run.free, False)(state)

    return Motion, States, FreeStates


def _sampled(run: _Run, call: Callable[..., None], state: Any, *args: Any) -> None:
    """Write a state; the start after an exception, as OMPL reads it in any case."""
    _guarded(run, call, None)(state, *args)
    if run.failure is not None:
        run.write(state, run.problem.start)


def _set_parameters(lib: _Library, planner: Any, name: str, parameters: Mapping[str, Any]) -> None:
    if not parameters:
        return
    if not lib.has_space_hook:
        raise ConfigError(
            "OMPL 2.x does not let Python set a planner's parameters; use 1.7, or leave them out"
        )
    known, params = lib.util.vectorString(), planner.params()
    params.getParamNames(known)
    for key, value in parameters.items():
        if key not in list(known):
            raise ConfigError(f"{name} has no parameter {key!r}; {suggest(str(key), known)}")
        if not params.setParam(key, str(int(value) if isinstance(value, bool) else value)):
            raise ConfigError(f"{name} cannot set its parameter {key!r} to {value!r}")


def _check_planner(lib: _Library, planner: str, fed: bool) -> None:
    usable = planners(fed)
    if planner in usable:
        return
    if planner in planners(fed=False):
        hint = "" if lib.has_space_hook else "; more planners can with OMPL 1.7"
        raise ConfigError(
            f"{planner} of the installed OMPL cannot be given the states of a sampler; these can: "
            f"{', '.join(usable)}{hint}"
        )
    raise ConfigError(f"there is no planner {planner!r} here; {suggest(str(planner), usable)}")


def _is_planner(lib: _Library, value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, lib.base.Planner)


def _library() -> _Library:
    """Import OMPL.

    Raises:
        ConfigError: it is missing.
    """
    try:
        ompl = importlib.import_module("ompl")
        # The bindings of the wheels are linked to a copy of the library in ompl.libs; before that they load another
        # one, next to the package, with all its symbols visible. Both then destroy the same global objects.
        if hasattr(ompl, "dll_loader") and "ompl.util" not in sys.modules:
            if (Path(str(ompl.__file__)).parents[1] / "ompl.libs").is_dir():
                ompl.dll_loader = lambda *_: None  # pyright: ignore[reportAttributeAccessIssue]
        base, geometric, util = (
            importlib.import_module(f"ompl.{name}") for name in ("base", "geometric", "util")
        )
    except ImportError as error:
        raise ConfigError(
            f"this needs OMPL ({error}): pip install 'lowerbound[planning]', with Python 3.12 or below"
        ) from None
    return _Library(base, geometric, util, hasattr(base.StateSpace, "setStateSamplerAllocator"))


@contextmanager
def _quiet(lib: _Library) -> Iterator[None]:
    """Keep OMPL from writing to the terminal."""
    level = lib.util.getLogLevel()
    lib.util.setLogLevel(getattr(lib.util, "LogLevel", lib.util).LOG_NONE)
    try:
        yield
    finally:
        lib.util.setLogLevel(level)
