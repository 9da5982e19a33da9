"""Comparing samplers on the same problems: success, cost and checks against the number of samples."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .problem import Problem
from .roadmap import plan
from .samplers import Sampler

_Z = 1.959964


@dataclass(frozen=True)
class Record:
    """One problem, one number of samples.

    Attributes:
        problem: Its place among the problems.
        n: Samples drawn.
        solved: Whether a path was found.
        cost: Of the path; infinite without one.
        states: State checks, those of the sampler included.
        edges: Edge checks.
        draw_seconds: Wall-clock time of the sampler, its network included.
        plan_seconds: Wall-clock time of the planner.
    """

    problem: int
    n: int
    solved: bool
    cost: float
    states: int
    edges: int
    draw_seconds: float
    plan_seconds: float


def measure(
    sampler: Sampler,
    problems: Iterable[Problem],
    ns: Sequence[int],
    seed: int = 0,
    *,
    progress: Callable[[int], object] | None = None,
    **options: Any,
) -> list[Record]:
    """Plan every problem with every number of samples.

    The draws depend on the seed, the problem's place and n alone: two samplers see the same problems, and a sampler
    the same draws in any order.

    Args:
        sampler: Proposes the states; the invalid ones count.
        problems: Their counts go up.
        ns: Numbers of samples.
        seed: Of the draws.
        progress: Called with 1 after each problem.
        **options: Of ``plan``.
    """
    records = []
    for i, problem in enumerate(problems):
        for n in ns:
            states, edges = problem.counts.states, problem.counts.edges
            begun = time.perf_counter()
            drawn = sampler.draw(problem, n, np.random.default_rng([seed, i, n]))
            between = time.perf_counter()
            found = plan(problem, drawn, **options)
            records.append(
                Record(
                    problem=i,
                    n=n,
                    solved=found.solved,
                    cost=found.cost,
                    states=problem.counts.states - states,
                    edges=problem.counts.edges - edges,
                    draw_seconds=between - begun,
                    plan_seconds=time.perf_counter() - between,
                )
            )
        if progress is not None:
            progress(1)
    return records


def wilson(successes: int, trials: int, z: float = _Z) -> tuple[float, float]:
    """Return Wilson's interval of a success rate, of 95 % with the default z.

    Reference:
        Probable inference, the law of succession, and statistical inference (Wilson, 1927)

    Example:
        >>> low, high = wilson(8, 10)
        >>> round(low, 3), round(high, 3)
        (0.49, 0.943)
    """
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    centre = rate + z * z / (2 * trials)
    half = z * math.sqrt(rate * (1 - rate) / trials + (z / (2 * trials)) ** 2)
    scale = 1 + z * z / trials
    # At 0 and at 1 the ends are the rate itself, which rounding would miss by a hair.
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def success_curve(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Return for each number of samples ``n``: ``trials``, ``success`` with Wilson's ``low`` and ``high``, and means.

    There are as many trials as problems. The means are over all of them, solved or not: ``states`` and ``edges``
    checked, ``seconds`` from the sampler's first draw to the planner's answer.
    """
    by_n: dict[int, list[Record]] = {}
    for record in records:
        by_n.setdefault(record.n, []).append(record)
    curve = []
    for n, of_n in sorted(by_n.items()):
        solved = sum(record.solved for record in of_n)
        low, high = wilson(solved, len(of_n))
        curve.append(
            {
                "n": n,
                "trials": len(of_n),
                "success": solved / len(of_n),
                "low": low,
                "high": high,
                "states": _mean([r.states for r in of_n]),
                "edges": _mean([r.edges for r in of_n]),
                "seconds": _mean([r.draw_seconds + r.plan_seconds for r in of_n]),
            }
        )
    return curve


def cost_ratio(records: Iterable[Record], reference: Iterable[Record]) -> dict[int, float]:
    """Return the mean ratio of costs, by n, on the problems that both solved: each over its own would flatter one."""
    other = {(r.problem, r.n): r.cost for r in reference if r.solved}
    ratios: dict[int, list[float]] = {}
    for r in records:
        if r.solved and (r.problem, r.n) in other:
            ratios.setdefault(r.n, []).append(r.cost / other[r.problem, r.n])
    return {n: _mean(values) for n, values in sorted(ratios.items())}


def samples_for(curve: Sequence[Mapping[str, Any]], level: float, of: str = "n") -> float | None:
    """Return how many samples a success of ``level`` takes, or None if the curve does not reach it.

    Between two points success is taken as linear in log n. The first point counts as reached at its own n.

    Args:
        curve: Of ``success_curve``.
        level: Success, in (0, 1].
        of: What to give instead of the number of samples at that place: "edges", "states" or "seconds".
    """
    last = None
    for point in curve:
        if point["success"] >= level:
            if last is None:
                return float(point[of])
            share = (level - last["success"]) / (point["success"] - last["success"])
            if last[of] <= 0 or point[of] <= 0:
                return last[of] + share * (point[of] - last[of])
            return math.exp(math.log(last[of]) + share * (math.log(point[of]) - math.log(last[of])))
        last = point
    return None


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
