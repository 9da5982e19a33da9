"""Inside OMPL: its planners with their own uniform samples, and with a learned sampler in the place of these.

    python benchmarks/planning_ompl.py [--seeds 0] [--keep DIR]

Time and checks to the first solution of RRTConnect, PRM, LazyPRM* and BIT*, and the cost after a fixed time of
LazyPRM* and BIT*, on test problems of the arm and of the narrow passages (gap 0.03). Uniform states go through the
same hook, so that both sides pay the same for it. The network is included; one thread. Takes the sampler of the first
seed that benchmarks/planning_wam.py and planning_narrow.py trained, or trains it.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import planning_narrow
import planning_wam
from common import read_arguments, run_jobs, write_result
from samplers import training_set

from lowerbound import planning

FIRST = ("RRTConnect", "PRM", "LazyPRMstar", "BITstar")
BETTER = ("LazyPRMstar", "BITstar")
SECONDS = 1.0  # limit of a search for a first solution, and the fixed time of one that goes on
PROBLEMS = 12
SHARE = 0.5
TASKS: dict[str, dict[str, Any]] = {
    "wam": {"family": planning_wam.FAMILY, "recipe": planning_wam.VARIANTS["ours"], "states": 32},
    "narrow": {
        "family": {"family": "narrow", "gap": 0.03},
        "recipe": planning_narrow.VARIANTS["ours"],
        "states": 16,
    },
}


def main() -> None:
    arguments = read_arguments(__doc__)
    keep = arguments.keep or Path(tempfile.mkdtemp())
    seed = arguments.seeds[0]
    runs = {"wam": f"run-wam-ours-{seed}", "narrow": f"run-ours-gap003-{seed}"}
    sizes = {"wam": planning_wam.TRAINING, "narrow": planning_narrow.TRAINING}
    for task, of in TASKS.items():
        if not (keep / runs[task] / "planning.json").exists():
            data = training_set(of["family"], sizes[task], of["states"], keep, arguments.workers)
            planning.train(data, keep / runs[task], seed=seed, **of["recipe"])
    jobs = {f"ompl-{task}": {"task": task, "run": str(keep / runs[task])} for task in TASKS}
    # One at a time: there are clocks in it.
    results, seconds = run_jobs(work, jobs, 1, keep / "ompl")
    metrics: dict[str, float] = {}
    for task in TASKS:
        for planner, sides in results[f"ompl-{task}"]["first"].items():
            a, b = sides["uniform"], sides["learned"]
            name = f"{task}_{planner.lower()}"
            metrics[f"{name}_solved_uniform"], metrics[f"{name}_solved"] = a["solved"], b["solved"]
            if a["seconds"] and b["seconds"]:
                metrics[f"{name}_time_ratio"] = a["seconds"] / b["seconds"]
                metrics[f"{name}_check_ratio"] = a["checks"] / b["checks"]
        for planner, ratio in results[f"ompl-{task}"]["cost_ratio"].items():
            if ratio is not None:
                metrics[f"{task}_{planner.lower()}_cost_ratio"] = ratio
    write_result(
        "planning_ompl",
        metrics,
        protocol={
            "planners": f"OMPL, its defaults, state and edge checks by our problems; limit {SECONDS} s",
            "samplers": f"uniform, and {SHARE:.0%} learned states with uniform ones, through the same hook",
            "time_ratio": "uniform over learned, medians over the problems that both solved, network included",
            "check_ratio": "the same of state and edge checks",
            "cost_ratio": f"learned over uniform, mean over problems that both solved, after {SECONDS} s",
            "problems": f"{PROBLEMS} of the test split of each family",
            "tasks": results,
        },
        seeds=[seed],
        config={"tasks": TASKS},
        seconds=seconds,
    )


def work(task: str, run: str) -> dict[str, Any]:
    """Return what every planner does on every problem, both sides alternating."""
    import torch

    from lowerbound.planning import ompl

    torch.set_num_threads(1)
    learned, _ = planning.load_sampler(run)
    sides = {"uniform": planning.Uniform(), "learned": planning.Mixed(learned, SHARE, planning.Uniform())}
    family = planning.family_from(TASKS[task]["family"])
    problems = list(family.problems("test", PROBLEMS))
    # The first call of the network sets it up.
    learned.draw(problems[0], 256, problems_rng())
    first: dict[str, dict[str, list[Any]]] = {}
    for planner in FIRST:
        first[planner] = {name: [] for name in sides}
        for i, problem in enumerate(problems):
            for name, sampler in sides.items():
                first[planner][name].append(
                    ompl.solve(problem, planner, sampler, seconds=SECONDS, seed=i + 1)
                )
    ratios: dict[str, float | None] = {}
    for planner in BETTER:
        pairs = []
        for i, problem in enumerate(problems):
            costs = [
                ompl.solve(problem, planner, sampler, seconds=SECONDS, seed=i + 1, improve=True)
                for sampler in sides.values()
            ]
            if all(found.solved for found in costs):
                pairs.append(costs[1].cost / costs[0].cost)
        ratios[planner] = statistics.fmean(pairs) if pairs else None
    return {
        "first": {planner: _summary(of) for planner, of in first.items()},
        "cost_ratio": ratios,
    }


def problems_rng() -> Any:
    """Return a fixed source of random numbers."""
    import numpy as np

    return np.random.default_rng(0)


def _summary(found: dict[str, list[Any]]) -> dict[str, dict[str, float | None]]:
    """Return for each side the share solved, and medians over the problems that both solved."""
    both = [all(pair) for pair in zip(*[[r.solved for r in side] for side in found.values()], strict=True)]
    summary: dict[str, dict[str, float | None]] = {}
    for name, side in found.items():
        kept = [r for r, ok in zip(side, both, strict=True) if ok]
        summary[name] = {
            "solved": statistics.fmean(r.solved for r in side),
            "seconds": statistics.median(r.seconds for r in kept) if kept else None,
            "checks": statistics.median(r.states + r.edges for r in kept) if kept else None,
            "draws": statistics.median(r.draws for r in kept) if kept else None,
            "both": len(kept),
        }
    return summary


if __name__ == "__main__":
    main()
