"""A double integrator in a narrow-passage world (6-D): a learned sampler against others.

    python benchmarks/planning_integrator.py [--seeds 0 1 2] [--workers 2] [--keep DIR]

The system of the reference notebook of Ichter, Harrison and Pavone (2018): position and velocity in three dimensions,
walls of thickness 0.1 with gaps of 0.1 seen from above; edges are optimal motions between full states. Success and
cost of a lazy roadmap against the number of samples, on problems that were not seen in training. All recipes were
chosen on the split "tune"; the numbers are of the split "test".
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from common import read_arguments, run_jobs, write_result
from planning_pictures import draw
from samplers import BASELINES, EFFORT, Comparison, baseline, learned, loaded, training_set

from lowerbound import planning

FAMILY = {"family": "integrator"}
NS = [25, 50, 100, 200, 400]
PROBLEMS = 60
TRAINING = 300
SHARE = 0.5
SHARES = [SHARE, 0.9]
LEVEL = 0.85  # success at which numbers of samples are compared
# A small network for the grid: the training set is small, and so is what it has to learn.
GRID = {"condition": {"grid": {"channels": [8, 16, 32]}}}
LENGTH = {"epochs": 4, "batch_size": 64}
# Chosen on the split "tune": the latent without cells, the one of the reference. Without a map to read them from,
# cells along the way from the start to the goal gain nothing here.
OURS = "cvae_path"
VARIANTS: dict[str, dict[str, Any]] = {
    "cells_path": {"kind": "cells", "target": "path", "model": GRID, **LENGTH},
    "cvae_path": {
        "kind": "gaussian",
        "target": "path",
        "model": {"latent": 3, "hidden": (512, 512), "width": 0.0283, **GRID},
        **LENGTH,
    },
}


def main() -> None:
    arguments = read_arguments(__doc__)
    keep = arguments.keep or Path(tempfile.mkdtemp())
    data = training_set(FAMILY, TRAINING, 64, keep, arguments.workers)
    common: dict[str, Any] = {"options": FAMILY, "split": "test", "problems": PROBLEMS, "ns": NS, "plan": {}}
    jobs: dict[str, dict[str, Any]] = {
        f"{name}-integrator": {"sampler": sampler, **common} for name, sampler in BASELINES.items()
    }
    for variant, recipe in VARIANTS.items():
        for seed in arguments.seeds:
            jobs[f"integrator-{variant}-{seed}"] = {
                "data": str(data),
                "run": str(keep / f"run-integrator-{variant}-{seed}"),
                "recipe": recipe,
                "seed": seed,
                "trials": {f"integrator@{share:g}": {"share": share} for share in SHARES},
                **common,
            }
    results, seconds = run_jobs(work, jobs, arguments.workers, keep / "integrator")
    of = Comparison(
        results["uniform-integrator"], {name: [results[f"{name}-integrator"]] for name in BASELINES}
    )
    for variant in VARIANTS:
        for share in SHARES:
            of.trials[f"{variant} {share:g}"] = [
                results[f"integrator-{variant}-{seed}"][f"integrator@{share:g}"] for seed in arguments.seeds
            ]
    first = arguments.seeds[0]
    runs = {f"{variant} {SHARE:g}": jobs[f"integrator-{variant}-{first}"]["run"] for variant in VARIANTS}
    ours = f"{OURS} {SHARE:g}"
    of.successes(ours, NS[:3])
    of.rival("uniform", NS[:3])
    of.rival("bridge", NS[:3])
    of.ratios(ours, LEVEL)
    costs = of.costs(label for label in of.trials if label not in BASELINES)
    if "200" in costs[ours]:
        of.metrics["cost_ratio_n200"] = costs[ours]["200"]
    draw("planning_integrator", of.curves(of.trials))
    write_result(
        "planning_integrator",
        of.metrics,
        intervals=of.intervals,
        protocol={
            "task": "double integrator, 6-D, cost 1 + 0.1 |u|^2 over time; three walls, gaps of 0.1",
            "condition": "occupancy grid 64x64 with start and goal marked, start and goal states",
            "planner": "lazy roadmap, k = ceil(e (1 + 1/6) log n) cheapest neighbours each way, optimal motions",
            "problems": f"{TRAINING} training, {PROBLEMS} test, another split for choices; drawn from seeds",
            "metrics": (
                f"of {OURS}, share {SHARE:g} of learned states, the rest Halton; mean over seeds, lowest and highest"
            ),
            "recipes": (
                "cvae_path: a Gaussian latent of 3 and σ fixed, as in the reference; cells_path: cells along the way "
                "from start to goal, σ predicted, as for the arm. The former was chosen on the split tune"
            ),
            "ratios": f"uniform over {OURS}, at a success of {LEVEL}, interpolated in log n",
            "effort": EFFORT,
            "curves": of.curves(of.trials),
            f"effort for a success of {LEVEL}": of.effort(LEVEL, FAMILY, {}, BASELINES | loaded(runs, SHARE)),
            "cost_ratio_to_uniform": costs,
        },
        seeds=arguments.seeds,
        config={"variants": VARIANTS, "settings": {**planning.SETTINGS}},
        seconds=seconds,
    )


def work(**job: Any) -> dict[str, Any]:
    """Run one job: a baseline, or the training and trials of a learned sampler."""
    return baseline(**job) if "sampler" in job else learned(**job)


if __name__ == "__main__":
    main()
