"""A double integrator in a narrow-passage world (6-D): a learned sampler against others.

    python benchmarks/planning_integrator.py [--seeds 0 1 2] [--workers 2] [--keep DIR]

The system of the reference notebook of Ichter, Harrison and Pavone (2018): position and velocity in three dimensions,
walls of thickness 0.1 with gaps of 0.1 seen from above; edges are optimal motions between full states. Success and
cost of a lazy roadmap against the number of samples, on problems that were not seen in training. All recipes were
chosen on the split "tune"; the numbers are of the split "test".
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from common import RESULTS, read_arguments, run_jobs, write_result
from samplers import at, baseline, cost_ratio, learned, pooled, shown, training_set

from lowerbound import planning

FAMILY = {"family": "integrator"}
NS = [25, 50, 100, 200, 400]
PROBLEMS = 60
TRAINING = 300
SHARES = [0.5, 0.9]
# A small network for the grid: the training set is small, and so is what it has to learn.
GRID = {"condition": {"grid": {"channels": [8, 16, 32]}}}
LENGTH = {"epochs": 4, "batch_size": 64}
VARIANTS: dict[str, dict[str, Any]] = {
    "ours": {"kind": "cells", "target": "path", "model": GRID, **LENGTH},
    "cvae_path": {
        "kind": "gaussian",
        "target": "path",
        "model": {"latent": 3, "hidden": (512, 512), "width": 0.0283, **GRID},
        **LENGTH,
    },
}
BASELINES = {
    "uniform": planning.Uniform(),
    "halton": planning.Halton(),
    # Half of the states, as for a learned sampler: by themselves they leave wide rooms empty.
    "gaussian": planning.Mixed(planning.GaussianSampler(), 0.5),
    "bridge": planning.Mixed(planning.Bridge(), 0.5),
}


def main() -> None:
    arguments = read_arguments(__doc__)
    keep = arguments.keep or Path(tempfile.mkdtemp())
    data = training_set(FAMILY, TRAINING, 64, keep, arguments.workers)
    common: dict[str, Any] = {"split": "test", "problems": PROBLEMS, "ns": NS, "plan": {}}
    jobs: dict[str, dict[str, Any]] = {
        f"{name}-integrator": {"options": FAMILY, "sampler": sampler, **common}
        for name, sampler in BASELINES.items()
    }
    for variant, recipe in VARIANTS.items():
        for seed in arguments.seeds if variant == "ours" else arguments.seeds[:1]:
            jobs[f"integrator-{variant}-{seed}"] = {
                "data": str(data),
                "run": str(keep / f"run-integrator-{variant}-{seed}"),
                "recipe": recipe,
                "seed": seed,
                "sets": {"integrator": FAMILY},
                "shares": SHARES,
                **common,
            }
    results, seconds = run_jobs(work, jobs, arguments.workers, keep / "integrator")
    uniform = results["uniform-integrator"]
    curves: dict[str, Any] = {name: shown(results[f"{name}-integrator"]["curve"]) for name in BASELINES}
    costs: dict[str, Any] = {}
    for variant in VARIANTS:
        names = [f"integrator-{variant}-{seed}" for seed in arguments.seeds]
        done = [results[name] for name in names if name in results]
        for share in SHARES:
            key, label = f"integrator@{share:g}", f"{variant} {share:g}"
            curves[label] = shown(pooled([one[key]["curve"] for one in done]))
            ratios = [cost_ratio(one[key]["costs"], uniform["costs"]) for one in done]
            both = sorted(set.intersection(*map(set, ratios)), key=int)
            costs[label] = {n: round(statistics.fmean(r[n] for r in ratios), 4) for n in both}
    ours = curves["ours 0.5"]
    metrics: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    for n in (25, 50, 100):
        values = [
            at(results[f"integrator-ours-{seed}"]["integrator@0.5"]["curve"], n) for seed in arguments.seeds
        ]
        metrics[f"success_n{n}"] = at(ours, n)
        intervals[f"success_n{n}"] = [min(values), max(values)]
        metrics[f"success_uniform_n{n}"] = at(curves["uniform"], n)
        metrics[f"success_bridge_n{n}"] = at(curves["bridge"], n)
    for name, of in (("sample_ratio", "n"), ("edge_check_ratio", "edges")):
        theirs, mine = (planning.samples_for(curve, 0.85, of) for curve in (curves["uniform"], ours))
        if theirs and mine:
            metrics[name] = theirs / mine
    if "200" in costs["ours 0.5"]:
        metrics["cost_ratio_n200"] = costs["ours 0.5"]["200"]
    drawn = {name: curves[name] for name in ("uniform", "halton", "bridge", "cvae_path 0.5", "ours 0.5")}
    picture = RESULTS.parent.parent / "docs" / "images" / "planning_integrator.png"
    picture.write_bytes(planning.success_picture(drawn))
    write_result(
        "planning_integrator",
        metrics,
        intervals=intervals,
        protocol={
            "task": "double integrator, 6-D, cost 1 + 0.1 |u|^2 over time; three walls, gaps of 0.1",
            "condition": "occupancy grid 64x64 with start and goal marked, start and goal states",
            "planner": "lazy roadmap, k = ceil(e (1 + 1/6) log n) cheapest neighbours each way, optimal motions",
            "problems": f"{TRAINING} training, {PROBLEMS} test, another split for choices; drawn from seeds",
            "metrics": "share 0.5 of learned states, the rest Halton; mean over training seeds, lowest and highest",
            "ratios": "uniform over ours, at a success of 0.85, interpolated in log n",
            "curves": curves,
            "cost_ratio_to_uniform": costs,
        },
        seeds=arguments.seeds,
        config={"variants": VARIANTS, "settings": {**planning.SETTINGS}},
        seconds=seconds,
    )


def work(**job: Any) -> dict[str, Any]:
    """Run one job: a baseline, or the training and trial of a learned sampler."""
    return baseline(**job) if "sampler" in job else learned(**job)


if __name__ == "__main__":
    main()
