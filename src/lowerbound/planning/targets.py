"""What a sampler should learn to draw: states of solutions, all along the path or where it is narrow.

The solutions come from a search that takes its time: the cheapest path on the occupancy grid in the plane, a large
roadmap for a system with dynamics, RRT-Connect with shortening elsewhere. Nothing here knows where a family has put
its gaps.

Reference:
    path states: Learning sampling distributions for robot motion planning (Ichter, Harrison and Pavone, 2018);
    bottleneck states: LEGO, Leveraging experience in roadmap generation for sampling-based planning (Kumar et al.,
    2019)
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .gridsearch import bottlenecks as planar_bottlenecks
from .gridsearch import shortest_path
from .integrator import IntegratorProblem
from .planar import PlanarProblem
from .problem import Array, Problem
from .roadmap import plan
from .samplers import Bridge, Mixed, Uniform
from .solve import connect, resample, shorten

TARGETS = ("path", "bottleneck")
_BUDGET = 400_000  # state checks of RRT-Connect
_NEAR = 64  # states drawn around one to tell how narrow its place is


def solution(problem: Problem, rng: np.random.Generator) -> Array | None:
    """Return a good path (P, D) from start to goal, densely spaced, or None if the search did not find one."""
    if isinstance(problem, PlanarProblem):
        return shortest_path(problem.occupancy(problem.grid).astype(bool), problem.start, problem.goal)
    if isinstance(problem, IntegratorProblem):
        samples = Mixed(Bridge(), 0.3, Uniform()).draw(problem, 1000, rng)
        path = plan(problem, samples).path
        if path is None:
            return None
        parts = [problem.trajectory(a, b, 16)[:-1] for a, b in pairwise(path)]
        return np.concatenate([*parts, path[-1:]])
    path = connect(problem, rng, budget=_BUDGET)
    if path is None:
        return None
    spacing = 0.02 * float(np.linalg.norm(problem.upper - problem.lower))
    return resample(shorten(problem, path, rng), spacing)


def targets(problem: Problem, path: Array, kind: str, n: int, rng: np.random.Generator) -> Array:
    """Return ``n`` states to learn from (n, D): evenly chosen along a path, or among its bottleneck states.

    Args:
        problem: It is asked whether states are free.
        path: (P, D), densely spaced; its ends are the start and the goal, which are left out.
        kind: "path" or "bottleneck".
        n: Number of states; some repeat where there are fewer.
        rng: Drives the choice.
    """
    inner = path[1:-1] if len(path) > 2 else path
    chosen = inner
    if kind == "bottleneck":
        if isinstance(problem, PlanarProblem):
            chosen = planar_bottlenecks(problem, path)
        elif (narrow := narrowness(problem, inner, rng)).any():
            # The narrower half of what is narrower than the path's median.
            chosen = inner[narrow >= max(np.quantile(narrow, 0.6), 1e-9)]
    # Evenly along the path, from a random offset: every stretch of it is there.
    index = (np.arange(n) + rng.random()) * len(chosen) / n
    return chosen[np.minimum(index.astype(int), len(chosen) - 1)]


def narrowness(problem: Problem, states: Array, rng: np.random.Generator, radius: float = 0.06) -> Array:
    """Return the share of each state's neighbourhood that is in collision, (P,) in [0, 1].

    Args:
        problem: Its limits give the scale.
        states: (P, D).
        rng: Draws the neighbours, normal in every coordinate.
        radius: Their standard deviation, as a fraction of the limits' range.
    """
    scale = radius * (problem.upper - problem.lower)
    near = states[:, None] + scale * rng.standard_normal((len(states), _NEAR, problem.dimensions))
    near = near.clip(problem.lower, problem.upper).reshape(-1, problem.dimensions)
    return 1 - problem.free(near).reshape(len(states), _NEAR).mean(1)
