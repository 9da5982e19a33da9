"""2-D narrow passages: a sampler that sees an occupancy grid, start and goal only, against others.

    python benchmarks/planning_narrow.py [--seeds 0 1 2] [--workers 2] [--keep DIR]

Three walls with one gap each, thickness drawn from 0.05 to 0.15, gaps of 0.03 of the unit square. Success of an
r-disc roadmap with exact edges against the number of samples; invalid samples count. All recipes were chosen on the
split "tune"; the numbers are of the split "test".
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from common import read_arguments, run_jobs, write_result
from samplers import BASELINES, Comparison, at, baseline, draw_picture, learned, shown, training_set

from lowerbound import planning

FAMILY = {"family": "narrow", "gap": 0.03}
GAP = "gap003"
NS = [25, 50, 100, 200, 400, 800]
LEARNED = NS[:-1]
FEWER = [14, 17, 20]  # ours only: to find where it reaches the level at which samples are compared
SHORT = NS[:3]
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
}
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
# What only serves comparison is trained with the first so many of the seeds.
SEEDS_OF = {"ours_path": 1} | dict.fromkeys(ABLATIONS, 1)
# Beyond the training problems: other gaps, thicknesses, and numbers of walls. The grid is the same.
OTHERS: dict[str, dict[str, Any]] = {
    "gap_010": {"gap": 0.1},
    "gap_002": {"gap": 0.02},
    "thin_003": {"thickness": 0.03},
    "thick_018": {"thickness": 0.18},
    "walls_5": {"walls": 5, "thickness": (0.05, 0.1)},
}


def main() -> None:
    arguments = read_arguments(__doc__)
    keep = arguments.keep or Path(tempfile.mkdtemp())
    seeds = {name: arguments.seeds[: SEEDS_OF.get(name)] for name in VARIANTS | ABLATIONS}
    jobs = rivals() | trainings(seeds, keep, arguments.workers)
    results, seconds = run_jobs(work, jobs, arguments.workers, keep / "narrow")

    of = Comparison(results[f"uniform-{GAP}"], {name: [results[f"{name}-{GAP}"]] for name in BASELINES})
    for variant in VARIANTS | ABLATIONS:
        done = [results[f"{variant}-{GAP}-{seed}"] for seed in seeds[variant]]
        of.trials |= {f"{variant} {key}": [one[key] for one in done] for key in trials_of(variant)}
    ours = f"ours {SHARE}"
    of.successes(ours, SHORT, f"_{GAP}")
    of.rival("uniform", [50], f"_{GAP}")
    of.rival("bridge", [50], f"_{GAP}")
    of.ratios(ours, LEVEL, f"_{GAP}")
    wide, first = "gap_010", results[f"ours-{GAP}-{seeds['ours'][0]}"]
    wider = Comparison(
        results[f"uniform-{wide}"], {"bridge": [results[f"bridge-{wide}"]], ours: [first[wide]]}
    )
    wider.trials["uniform"] = [wider.uniform]
    wider.successes(ours, SHORT, "_gap010")
    wider.rival("uniform", [50], "_gap010")
    wider.rival("bridge", [50], "_gap010")
    # The ablations have a table of their own.
    plain = [name for name in of.trials if name.split()[0] not in ABLATIONS and "as_decoded" not in name]
    curves = of.curves(plain)
    drawn = {name: curves[name] for name in ("uniform", "halton", "bridge", f"cvae_path {SHARE}")}
    draw_picture("planning_narrow", drawn | {ours: [p for p in curves[ours] if p["n"] in NS]})
    write_result(
        "planning_narrow",
        of.metrics | wider.metrics,
        intervals=of.intervals | wider.intervals,
        protocol={
            "task": "start to goal through up to three gaps in the unit square; point robot",
            "condition": "occupancy grid 64x64 with start and goal marked, start, goal",
            "planner": "r-disc roadmap, r = min(1.5, 2.2 sqrt(log n / n)), exact edges, invalid samples count",
            "problems": f"{TRAINING} training, {PROBLEMS} test, another split for choices; drawn from seeds",
            "learned states": (
                "chosen evenly among eight times as many decoded ones, for all that learn; no state is checked for it"
            ),
            "gap010": "ours is what was trained on gaps of 0.03, the first seed; see beyond_training",
            "metrics": f"share {SHARE} of learned states, the rest Halton; mean over seeds, lowest and highest",
            "ratios": f"uniform over ours, at a success of {LEVEL}, interpolated in log n",
            "seeds": "; ".join(f"{name}: {', '.join(map(str, of_it))}" for name, of_it in seeds.items()),
            "ablations": (
                f"share {SHARE}: ours with one thing changed. target_path: states of whole paths; grid_40: a grid of "
                "40x40 for the paths and the model; embedding_vector: the grid as one vector instead of a map; "
                "as_decoded: states as they are decoded, none chosen; kl_weight: the weight of the KL, 1 otherwise. "
                "The share of learned states is varied in the table of curves"
            ),
            "curves": curves,
            "ablated": ablations(of),
            "cost_ratio_to_uniform": of.costs(label for label in plain if label not in BASELINES),
            "beyond_training": {name: beyond(name, results, seeds["ours"][0]) for name in OTHERS},
            "bridge_states_per_sample": round(at(results[f"bridge-{GAP}"]["curve"], 50, "states") / 50, 1),
        },
        seeds=arguments.seeds,
        config={"variants": {**VARIANTS, **ABLATIONS}, "settings": {**planning.SETTINGS}},
        seconds=seconds,
    )


def rivals() -> dict[str, dict[str, Any]]:
    """Return the jobs of the samplers that learn nothing."""
    common: dict[str, Any] = {"split": "test", "problems": PROBLEMS, "plan": PLAN}
    jobs: dict[str, dict[str, Any]] = {
        f"{name}-{GAP}": {"options": FAMILY, "sampler": sampler, "ns": NS, **common}
        for name, sampler in BASELINES.items()
    }
    for name, options in OTHERS.items():
        for sampler in ("uniform", "bridge"):
            jobs[f"{sampler}-{name}"] = {
                "options": {**FAMILY, **options},
                "sampler": BASELINES[sampler],
                "ns": SHORT,
                **common,
            }
    return jobs


def trainings(seeds: dict[str, list[int]], keep: Path, workers: int) -> dict[str, dict[str, Any]]:
    """Return the jobs of what learns."""
    jobs: dict[str, dict[str, Any]] = {}
    for variant, recipe in (VARIANTS | ABLATIONS).items():
        family = family_of(variant)
        data = training_set(family, TRAINING, 16, keep, workers)
        for seed in seeds[variant]:
            trials = trials_of(variant)
            if variant == "ours" and seed == seeds[variant][0]:
                trials |= {
                    name: {"share": SHARE, "options": {**FAMILY, **other}, "ns": SHORT}
                    for name, other in OTHERS.items()
                }
            jobs[f"{variant}-{GAP}-{seed}"] = {
                "data": str(data),
                "run": str(keep / f"run-{variant}-{GAP}-{seed}"),
                "recipe": recipe,
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


def beyond(name: str, results: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return curves on problems unlike those of the training."""
    return {
        "uniform": shown(results[f"uniform-{name}"]["curve"]),
        "bridge": shown(results[f"bridge-{name}"]["curve"]),
        f"ours {SHARE}": shown(results[f"ours-{GAP}-{seed}"][name]["curve"]),
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
