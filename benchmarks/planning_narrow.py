"""2-D narrow passages: a sampler that sees an occupancy grid, start and goal only, against others.

    python benchmarks/planning_narrow.py [--seeds 0 1 2] [--workers 2] [--keep DIR]

Three walls with one gap each, thickness drawn from 0.05 to 0.15, gaps of 0.03 or 0.1 of the unit square. Success of
an r-disc roadmap with exact edges against the number of samples; invalid samples count. All recipes were chosen on
the split "tune" with gaps of 0.03; the numbers are of the split "test".
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from common import read_arguments, run_jobs, write_result
from planning_pictures import draw
from samplers import (
    BASELINES,
    EFFORT,
    Comparison,
    at,
    baseline,
    learned,
    loaded,
    pooled,
    shown,
    training_set,
)

from lowerbound import planning

FAMILY = {"family": "narrow", "gap": 0.03}
GAP = "gap003"
WIDE = "gap010"
WIDE_FAMILY = {**FAMILY, "gap": 0.1}
NS = [25, 50, 100, 200, 400, 800]
LEARNED = NS[:-1]
FEWER = [14, 17, 20]  # ours only: to find where it reaches the level at which samples are compared
SHORT = NS[:3]
WIDE_NS = [6, 8, 10, 14, 20, *NS[:4]]
LEVEL = 0.85  # success at which numbers of samples are compared
PROBLEMS = 300  # test problems
TRAINING = 3000  # problems solved for training
PLAN = {"lazy": False, "radius": "r-disc"}
SHARE = 0.7  # of learned states
SHARES = [0.5, 0.9]  # others
OURS: dict[str, Any] = {"kind": "cells", "target": "bottleneck"}
ICHTER: dict[str, Any] = {
    # 2x512, z = 3; a squared error of weight 1 against 1e-4 * 4 KL is σ = 0.0141 in the unit square
    "kind": "gaussian",
    "model": {"latent": 3, "hidden": (512, 512), "width": 0.0283},
    "epochs": 2,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "ours": OURS,
    "ours_path": {"kind": "cells", "target": "path"},
    "cvae_path": {**ICHTER, "target": "path"},
    "cvae_bottleneck": {**ICHTER, "target": "bottleneck"},
}
WIDE_VARIANTS = ("ours", "cvae_path")
# Ours with one thing changed. A grid of 40 is halved once, so that the cells stay about as large; the paths of its
# training set are searched on it too.
ABLATIONS: dict[str, dict[str, Any]] = {
    "grid_40": {**OURS, "model": {"condition": {"grid": {"channels": [32]}}}},
    "embedding_vector": {
        **OURS,
        "model": {"cells": 256, "condition": {"grid": {"type": "image", "network": "conv"}}},
    },
    "kl_weight_0.25": {**OURS, "beta": 0.25},
    "kl_weight_4": {**OURS, "beta": 4.0},
}
OF_GRID = {"grid_40": 40}
# Beyond the training problems: other gaps, thicknesses, numbers of walls, and orientations. The grid is the same.
OTHERS: dict[str, dict[str, Any]] = {
    "gap_010": {"gap": 0.1},
    "gap_002": {"gap": 0.02},
    "thin_003": {"thickness": 0.03},
    "thick_018": {"thickness": 0.18},
    "walls_5": {"walls": 5, "thickness": (0.05, 0.1)},
    "turned": {"orientation": "vertical"},
}
# The usual training knows both orientations: "turned" is for what was trained on the other one only.
OTHER_WAY = "horizontal"
TRAINED_ON = {"turned": OTHER_WAY}


def main() -> None:
    arguments = read_arguments(__doc__)
    keep = arguments.keep or Path(tempfile.mkdtemp())
    seeds = arguments.seeds
    jobs = rivals() | trainings(seeds, keep, arguments.workers)
    results, seconds = run_jobs(work, jobs, arguments.workers, keep / "narrow")

    of = Comparison(results[f"uniform-{GAP}"], {name: [results[f"{name}-{GAP}"]] for name in BASELINES})
    for variant in VARIANTS | ABLATIONS:
        done = [results[f"{variant}-{GAP}-{seed}"] for seed in seeds]
        of.trials |= {f"{variant} {key}": [one[key] for one in done] for key in trials_of(variant)}
    wide = Comparison(results[f"uniform-{WIDE}"], {name: [results[f"{name}-{WIDE}"]] for name in BASELINES})
    for variant in WIDE_VARIANTS:
        label = f"{variant} {SHARE}"
        wide.trials[label] = [results[f"{variant}-{WIDE}-{seed}"][f"{SHARE}"] for seed in seeds]
    ours = f"ours {SHARE}"
    for comparison, gap in ((of, GAP), (wide, WIDE)):
        comparison.successes(ours, SHORT, f"_{gap}")
        comparison.rival("uniform", [50], f"_{gap}")
        comparison.rival("bridge", [50], f"_{gap}")
        comparison.ratios(ours, LEVEL, f"_{gap}")

    def effort(comparison: Comparison, gap: str, variants: Iterable[str], family: Any) -> dict[str, Any]:
        runs = {f"{variant} {SHARE}": jobs[f"{variant}-{gap}-{seeds[0]}"]["run"] for variant in variants}
        return comparison.effort(LEVEL, family, PLAN, BASELINES | loaded(runs, SHARE))

    # The ablations have a table of their own.
    plain = [name for name in of.trials if name.split()[0] not in ABLATIONS and "as_decoded" not in name]
    curves = of.curves(plain)
    draw("planning_narrow", curves)
    write_result(
        "planning_narrow",
        of.metrics | wide.metrics,
        intervals=of.intervals | wide.intervals,
        protocol={
            "task": "start to goal through up to three gaps in the unit square; point robot",
            "condition": "occupancy grid 64x64 with start and goal marked, start, goal",
            "planner": "r-disc roadmap, r = min(1.5, 2.2 sqrt(log n / n)), exact edges, invalid samples count",
            "problems": f"{TRAINING} training, {PROBLEMS} test, another split for choices; drawn from seeds",
            "learned states": (
                "chosen evenly among eight times as many decoded ones, for all that learn; no state is checked for it"
            ),
            "gap010": "trained and tried on gaps of 0.1, with the recipes chosen for 0.03",
            "metrics": f"share {SHARE} of learned states, the rest Halton; mean over seeds, lowest and highest",
            "ratios": f"uniform over ours, at a success of {LEVEL}, interpolated in log n",
            "ablations": (
                f"share {SHARE}: ours with one thing changed. target_path: states of whole paths; grid_40: a grid of "
                "40x40 for the paths and the model; embedding_vector: the grid as one vector instead of a map; "
                "as_decoded: states as they are decoded, none chosen; kl_weight: the weight of the KL, 1 otherwise. "
                "The share of learned states is varied in the table of curves"
            ),
            "effort": EFFORT,
            "curves": curves,
            "curves_gap010": wide.curves(wide.trials),
            f"effort for a success of {LEVEL}": effort(of, GAP, VARIANTS, FAMILY),
            f"effort for a success of {LEVEL}, gap010": effort(wide, WIDE, WIDE_VARIANTS, WIDE_FAMILY),
            "ablated": ablations(of),
            "cost_ratio_to_uniform": of.costs(label for label in plain if label not in BASELINES),
            "beyond_training": {name: beyond(name, results, seeds) for name in OTHERS},
            "beyond": (
                "ours on problems that differ from those of its training as the name says; turned: trained with a "
                "horizontal long wall, tried with a vertical one"
            ),
            "bridge_states_per_sample": round(at(results[f"bridge-{GAP}"]["curve"], 50, "states") / 50, 1),
        },
        seeds=arguments.seeds,
        config={"variants": {**VARIANTS, **ABLATIONS}, "settings": {**planning.SETTINGS}},
        seconds=seconds,
    )


def rivals() -> dict[str, dict[str, Any]]:
    """Return the jobs of the samplers that learn nothing."""

    def jobs_of(name: str, options: dict[str, Any], samplers: Iterable[str], ns: list[int]) -> dict[str, Any]:
        common = {"options": options, "split": "test", "problems": PROBLEMS, "ns": ns, "plan": PLAN}
        return {f"{sampler}-{name}": {"sampler": BASELINES[sampler], **common} for sampler in samplers}

    jobs = jobs_of(GAP, FAMILY, BASELINES, NS) | jobs_of(WIDE, WIDE_FAMILY, BASELINES, WIDE_NS)
    for name, options in OTHERS.items():
        jobs |= jobs_of(name, FAMILY | options, ("uniform", "bridge"), SHORT)
    return jobs


def trainings(seeds: list[int], keep: Path, workers: int) -> dict[str, dict[str, Any]]:
    """Return the jobs of what learns."""
    wide = {f"{SHARE}": {"share": SHARE, "ns": WIDE_NS}}
    recipes = VARIANTS | ABLATIONS
    sets = [(variant, GAP, family_of(variant), trials_of(variant)) for variant in recipes]
    sets += [(variant, WIDE, WIDE_FAMILY, wide) for variant in WIDE_VARIANTS]
    sets.append(("ours", OTHER_WAY, {**FAMILY, "orientation": OTHER_WAY}, {}))
    jobs: dict[str, dict[str, Any]] = {}
    for variant, gap, family, own in sets:
        data = training_set(family, TRAINING, 16, keep, workers)
        trials = own | (elsewhere(gap) if variant == "ours" else {})
        for seed in seeds:
            jobs[f"{variant}-{gap}-{seed}"] = {
                "data": str(data),
                "run": str(keep / f"run-{variant}-{gap}-{seed}"),
                "recipe": recipes[variant],
                "seed": seed,
                "trials": {name: {"options": family, **trial} for name, trial in trials.items()},
                "split": "test",
                "problems": PROBLEMS,
                "plan": PLAN,
            }
    return jobs


def family_of(variant: str) -> dict[str, Any]:
    """Return the family that a recipe is trained and tried on."""
    return {**FAMILY, "grid": OF_GRID[variant]} if variant in OF_GRID else FAMILY


def trials_of(variant: str) -> dict[str, dict[str, Any]]:
    """Return the trials of a recipe on its own family: by share, and how else the states are drawn."""
    if variant in ABLATIONS:
        return {f"{SHARE}": {"share": SHARE, "ns": SHORT}}
    if variant != "ours":
        return {f"{SHARE}": {"share": SHARE, "ns": LEARNED}} | {
            f"{share}": {"share": share, "ns": SHORT} for share in SHARES
        }
    return (
        {f"{SHARE}": {"share": SHARE, "ns": [*FEWER, *LEARNED]}}
        | {f"{share}": {"share": share, "ns": SHORT} for share in [*SHARES, 1.0]}
        | {"as_decoded": {"share": SHARE, "ns": SHORT, "draw": {"candidates": 1}}}
    )


def elsewhere(gap: str) -> dict[str, dict[str, Any]]:
    """Return the trials, beyond its training problems, of what was trained on this set."""
    return {
        name: {"share": SHARE, "options": {**FAMILY, **options}, "ns": SHORT}
        for name, options in OTHERS.items()
        if TRAINED_ON.get(name, GAP) == gap
    }


def beyond(name: str, results: dict[str, Any], seeds: list[int]) -> dict[str, Any]:
    """Return curves on problems unlike those of the training."""
    gap = TRAINED_ON.get(name, GAP)
    return {
        "uniform": shown(results[f"uniform-{name}"]["curve"]),
        "bridge": shown(results[f"bridge-{name}"]["curve"]),
        f"ours {SHARE}": shown(pooled([results[f"ours-{gap}-{seed}"][name]["curve"] for seed in seeds])),
    }


def ablations(of: Comparison) -> dict[str, Any]:
    """Return the curves of ours and of ours with one thing changed, where all have points."""
    labels = {"ours": f"ours {SHARE}", "target_path": f"ours_path {SHARE}", "as_decoded": "ours as_decoded"}
    labels |= {name: f"{name} {SHARE}" for name in ABLATIONS}
    return {
        name: [point for point in shown(of.curve(label)) if point["n"] in SHORT]
        for name, label in labels.items()
    }


def work(**job: Any) -> dict[str, Any]:
    """Run one job: a baseline, or the training and trials of a learned sampler."""
    return baseline(**job) if "sampler" in job else learned(**job)


if __name__ == "__main__":
    main()
