"""2-D narrow passages: a sampler that sees an occupancy grid, start and goal only, against others.

    python benchmarks/planning_narrow.py [--seeds 0 1 2] [--workers 2] [--keep DIR]

Three walls with one gap each, thickness drawn from 0.05 to 0.15, gaps of 0.1 or 0.03 of the unit square. Success of
an r-disc roadmap with exact edges against the number of samples; invalid samples count. All recipes were chosen on
the split "tune"; the numbers are of the split "test".
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from common import read_arguments, run_jobs, write_result
from samplers import BASELINES, Comparison, Trial, at, baseline, draw_picture, learned, shown, training_set

from lowerbound import planning

GAPS = {"gap010": 0.1, "gap003": 0.03}
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
    "cvae_bottleneck": {**ICHTER, "target": "bottleneck"},
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
# Beyond the training problems: other gaps, thicknesses, and numbers of walls. The grid is the same.
OTHERS: dict[str, dict[str, Any]] = {
    "gap_002": {"gap": 0.02},
    "thin_003": {"thickness": 0.03},
    "thick_018": {"thickness": 0.18},
    "walls_5": {"walls": 5, "thickness": (0.05, 0.1)},
}


def main() -> None:
    arguments = read_arguments(__doc__)
    keep = arguments.keep or Path(tempfile.mkdtemp())
    families = {name: {"family": "narrow", "gap": gap} for name, gap in GAPS.items()}
    others = {name: {**families["gap003"], **options} for name, options in OTHERS.items()}
    jobs = rivals(families, others) | trainings(families, others, arguments.seeds, keep, arguments.workers)
    results, seconds = run_jobs(work, jobs, arguments.workers, keep / "narrow")

    compared = {gap: comparison(gap, results, arguments.seeds) for gap in GAPS}
    narrow = compared["gap003"]
    # The ablations have a table of their own.
    plain = {
        gap: [name for name in of.trials if name.split()[0] not in ABLATIONS] for gap, of in compared.items()
    }
    curves = {gap: of.curves(plain[gap]) for gap, of in compared.items()}
    first = results[f"ours-gap003-{arguments.seeds[0]}"]
    drawn = {name: curves["gap003"][name] for name in ("uniform", "halton", "bridge")}
    for label in (f"cvae_path {SHARE}", f"ours {SHARE}"):
        drawn[label] = [p for p in curves["gap003"][label] if p["n"] in NS]
    draw_picture("planning_narrow", drawn)
    write_result(
        "planning_narrow",
        {name: value for of in compared.values() for name, value in of.metrics.items()},
        intervals={name: value for of in compared.values() for name, value in of.intervals.items()},
        protocol={
            "task": "start to goal through up to three gaps in the unit square; point robot",
            "condition": "occupancy grid 64x64 with start and goal marked, start, goal",
            "planner": "r-disc roadmap, r = min(1.5, 2.2 sqrt(log n / n)), exact edges, invalid samples count",
            "problems": f"{TRAINING} training, {PROBLEMS} test, another split for choices; drawn from seeds",
            "learned states": (
                "chosen evenly among eight times as many decoded ones, for all that learn; no state is checked for it"
            ),
            "metrics": f"share {SHARE} of learned states, the rest Halton; mean over seeds, lowest and highest",
            "ratios": f"uniform over ours, at a success of {LEVEL}, interpolated in log n",
            "ablations": (
                f"gap 0.03, share {SHARE}: ours with one thing changed, the seeds the same. target_path: states of "
                "whole paths; grid_40: a grid of 40x40 for the paths and the model; embedding_vector: the grid as "
                "one vector instead of a map; as_decoded: states as they are decoded, none chosen; kl_weight: the "
                "weight of the KL, 1 otherwise. The learned share is in the table of curves"
            ),
            "curves": curves,
            "ablated": ablations(narrow),
            "cost_ratio_to_uniform": {
                gap: of.costs(label for label in plain[gap] if label not in BASELINES)
                for gap, of in compared.items()
            },
            "beyond_training": {
                name: {
                    "uniform": shown(results[f"uniform-{name}"]["curve"]),
                    "bridge": shown(results[f"bridge-{name}"]["curve"]),
                    f"ours {SHARE}": shown(first[name]["curve"]),
                }
                for name in others
            },
            "bridge_states_per_sample": round(at(results["bridge-gap003"]["curve"], 50, "states") / 50, 1),
        },
        seeds=arguments.seeds,
        config={"variants": {**VARIANTS, **ABLATIONS}, "settings": {**planning.SETTINGS}},
        seconds=seconds,
    )


def rivals(families: dict[str, Any], others: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the jobs of the samplers that learn nothing."""
    common: dict[str, Any] = {"split": "test", "problems": PROBLEMS, "plan": PLAN}
    jobs = {
        f"{name}-{gap}": {"options": options, "sampler": sampler, "ns": NS, **common}
        for gap, options in families.items()
        for name, sampler in BASELINES.items()
    }
    for name, options in others.items():
        for sampler in ("uniform", "bridge"):
            jobs[f"{sampler}-{name}"] = {
                "options": options,
                "sampler": BASELINES[sampler],
                "ns": SHORT,
                **common,
            }
    return jobs


def trainings(
    families: dict[str, Any], others: dict[str, Any], seeds: list[int], keep: Path, workers: int
) -> dict[str, dict[str, Any]]:
    """Return the jobs of what learns. Gaps of 0.1 are easy for all: there only ours is trained."""
    sets = {gap: training_set(options, TRAINING, 16, keep, workers) for gap, options in families.items()}
    coarse = {name: {**families["gap003"], "grid": grid} for name, grid in OF_GRID.items()}
    sets |= {name: training_set(options, TRAINING, 16, keep, workers) for name, options in coarse.items()}
    jobs: dict[str, dict[str, Any]] = {}
    for variant, recipe in (VARIANTS | ABLATIONS).items():
        for gap in GAPS if variant == "ours" else ["gap003"]:
            options = coarse.get(variant, families[gap])
            trials: dict[str, Any] = {
                f"{SHARE}": {
                    "share": SHARE,
                    "options": options,
                    "ns": SHORT
                    if variant in ABLATIONS
                    else [*FEWER, *LEARNED]
                    if variant == "ours"
                    else LEARNED,
                }
            }
            if variant not in ABLATIONS:
                for share in [*SHARES, 1.0] if variant == "ours" else SHARES:
                    trials[f"{share}"] = {"share": share, "options": options, "ns": SHORT}
            for seed in seeds:
                far: dict[str, Any] = {}
                if variant == "ours" and gap == "gap003":
                    far["as_decoded"] = {
                        "share": SHARE,
                        "options": options,
                        "ns": SHORT,
                        "draw": {"candidates": 1},
                    }
                    if seed == seeds[0]:
                        far |= {
                            name: {"share": SHARE, "options": other, "ns": SHORT}
                            for name, other in others.items()
                        }
                jobs[f"{variant}-{gap}-{seed}"] = {
                    "data": str(sets.get(variant, sets[gap])),
                    "run": str(keep / f"run-{variant}-{gap}-{seed}"),
                    "recipe": recipe,
                    "seed": seed,
                    "trials": trials | far,
                    "split": "test",
                    "problems": PROBLEMS,
                    "plan": PLAN,
                }
    return jobs


def comparison(gap: str, results: dict[str, Any], seeds: list[int]) -> Comparison:
    """Return what the samplers come to on one width of the gaps."""
    of = Comparison(results[f"uniform-{gap}"], {name: [results[f"{name}-{gap}"]] for name in BASELINES})
    for variant in VARIANTS | ABLATIONS:
        done: list[Trial] = [
            results[name] for seed in seeds if (name := f"{variant}-{gap}-{seed}") in results
        ]
        for key in done[0] if done else ():
            if key[0].isdigit() or key == "as_decoded":
                of.trials[f"{variant} {key}"] = [one[key] for one in done]
    ours = f"ours {SHARE}"
    of.successes(ours, SHORT, f"_{gap}")
    of.rival("uniform", [50], f"_{gap}")
    of.rival("bridge", [50], f"_{gap}")
    of.ratios(ours, LEVEL, f"_{gap}")
    return of


def ablations(of: Comparison) -> dict[str, Any]:
    """Return the curves of ours and of ours with one thing changed, where all have points."""
    labels = {"ours": f"ours {SHARE}", "target_path": f"ours_path {SHARE}", "as_decoded": "ours as_decoded"}
    labels |= {name: f"{name} {SHARE}" for name in ABLATIONS}
    return {
        name: [point for point in shown(of.curve(label)) if point["n"] in SHORT]
        for name, label in labels.items()
        if label in of.trials
    }


def work(**job: Any) -> dict[str, Any]:
    """Run one job: a baseline, or the training and trials of a learned sampler."""
    return baseline(**job) if "sampler" in job else learned(**job)


if __name__ == "__main__":
    main()
