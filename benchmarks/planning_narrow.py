"""2-D narrow passages: a sampler that sees an occupancy grid, start and goal only, against others.

    python benchmarks/planning_narrow.py [--seeds 0 1 2] [--workers 2] [--keep DIR]

Three walls with one gap each, thickness drawn from 0.05 to 0.15, gaps of 0.1 or 0.03 of the unit square. Success of
an r-disc roadmap with exact edges against the number of samples; invalid samples count. All recipes were chosen on
the split "tune"; the numbers are of the split "test".
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from common import RESULTS, read_arguments, run_jobs, write_result
from samplers import at, baseline, cost_ratio, learned, pooled, shown, training_set

from lowerbound import planning

GAPS = {"gap010": 0.1, "gap003": 0.03}
NS = [25, 50, 100, 200, 400, 800]
FEWER = [10, 14, 20]  # ours only: to find where it reaches the level at which samples are compared
PROBLEMS = 300  # test problems
TRAINING = 3000  # problems solved for training
PLAN = {"lazy": False, "radius": "r-disc"}
SHARES = [0.5, 0.7, 0.9]
ICHTER: dict[str, Any] = {
    # 2x512, z = 3; a squared error of weight 1 against 1e-4 * 4 KL is σ = 0.0141 in the unit square
    "kind": "gaussian",
    "model": {"latent": 3, "hidden": (512, 512), "width": 0.0283},
    "epochs": 2,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "ours": {"kind": "cells", "target": "bottleneck"},
    "ours_path": {"kind": "cells", "target": "path"},
    "cvae_path": {**ICHTER, "target": "path"},
    "cvae_bottleneck": {**ICHTER, "target": "bottleneck"},
}
# Where those besides ours are trained.
COMPARED = {"ours_path": ["gap003"], "cvae_bottleneck": ["gap003"]}
BASELINES = {
    "uniform": planning.Uniform(),
    "halton": planning.Halton(),
    # Half of the states, as for a learned sampler: by themselves they leave wide rooms empty.
    "gaussian": planning.Mixed(planning.GaussianSampler(), 0.5),
    "bridge": planning.Mixed(planning.Bridge(), 0.5),
}
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
    sets = {
        name: training_set(options, TRAINING, 16, keep, arguments.workers)
        for name, options in families.items()
    }
    others = {name: {**families["gap003"], **options} for name, options in OTHERS.items()}
    common: dict[str, Any] = {"split": "test", "problems": PROBLEMS, "ns": NS, "plan": PLAN}
    jobs: dict[str, dict[str, Any]] = {}
    for gap, options in families.items():
        for name, sampler in BASELINES.items():
            jobs[f"{name}-{gap}"] = {"options": options, "sampler": sampler, **common}
        for variant, recipe in VARIANTS.items():
            # What only serves comparison is trained with the first seed.
            if gap not in COMPARED.get(variant, GAPS):
                continue
            for seed in arguments.seeds if variant == "ours" else arguments.seeds[:1]:
                far = others if gap == "gap003" and variant == "ours" and seed == arguments.seeds[0] else {}
                jobs[f"{variant}-{gap}-{seed}"] = {
                    "data": str(sets[gap]),
                    "run": str(keep / f"run-{variant}-{gap}-{seed}"),
                    "recipe": recipe,
                    "seed": seed,
                    "sets": {gap: options, **far},
                    "share_of": {name: [0.7] for name in far},
                    "shares": SHARES if variant != "ours" else [*SHARES, 1.0],
                    **common,
                }
    for name, options in others.items():
        for sampler in ("uniform", "bridge"):
            jobs[f"{sampler}-{name}"] = {"options": options, "sampler": BASELINES[sampler], **common}
    results, seconds = run_jobs(work, jobs, arguments.workers, keep / "narrow")

    early: dict[str, dict[str, Any]] = {
        f"early-{gap}-{seed}": {"trained": str(keep / f"run-ours-{gap}-{seed}"), "options": options}
        for gap, options in families.items()
        for seed in arguments.seeds
    }
    fewer, seconds = run_jobs(work, early, arguments.workers, keep / "narrow")

    metrics: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    curves: dict[str, Any] = {}
    costs: dict[str, Any] = {}
    for gap in GAPS:
        uniform = results[f"uniform-{gap}"]
        plain = {name: results[f"{name}-{gap}"]["curve"] for name in BASELINES}
        of_seeds = [results[f"ours-{gap}-{seed}"][f"{gap}@0.7"] for seed in arguments.seeds]
        ours = pooled([one["curve"] for one in of_seeds])
        first = pooled([fewer[f"early-{gap}-{seed}"]["curve"] for seed in arguments.seeds])
        for n in (25, 50, 100):
            metrics[f"success_n{n}_{gap}"] = at(ours, n)
            values = [at(one["curve"], n) for one in of_seeds]
            intervals[f"success_n{n}_{gap}"] = [min(values), max(values)]
        metrics[f"success_uniform_n50_{gap}"] = at(plain["uniform"], 50)
        metrics[f"success_bridge_n50_{gap}"] = at(plain["bridge"], 50)
        for name, of in (("sample_ratio", "n"), ("edge_check_ratio", "edges")):
            theirs = planning.samples_for(plain["uniform"], 0.85, of)
            mine = planning.samples_for(first + ours, 0.85, of)
            if theirs and mine:
                metrics[f"{name}_{gap}"] = theirs / mine
        curves[gap] = {name: shown(curve) for name, curve in plain.items()}
        for variant in VARIANTS:
            done = [r for name, r in results.items() if name.startswith(f"{variant}-{gap}-")]
            for key in done[0] if done else ():
                if key.startswith(f"{gap}@"):
                    label = f"{variant} {key.partition('@')[2]}"
                    curves[gap][label] = shown(pooled([one[key]["curve"] for one in done]))
                    costs.setdefault(gap, {})[label] = {
                        n: round(statistics.fmean(r[n] for r in ratios), 4)
                        for ratios in [[cost_ratio(one[key]["costs"], uniform["costs"]) for one in done]]
                        for n in set.intersection(*map(set, ratios))
                    }
    beyond = {
        name: {
            "uniform": shown(results[f"uniform-{name}"]["curve"]),
            "bridge": shown(results[f"bridge-{name}"]["curve"]),
            "ours 0.7": shown(results[f"ours-gap003-{arguments.seeds[0]}"][f"{name}@0.7"]["curve"]),
        }
        for name in others
    }
    drawn = {
        name: curves["gap003"][name] for name in ("uniform", "halton", "bridge", "cvae_path 0.7", "ours 0.7")
    }
    (RESULTS.parent.parent / "docs" / "images" / "planning_narrow.png").write_bytes(
        planning.success_picture(drawn)
    )
    write_result(
        "planning_narrow",
        metrics,
        intervals=intervals,
        protocol={
            "task": "start to goal through up to three gaps in the unit square; point robot",
            "condition": "occupancy grid 64x64 with start and goal marked, start, goal",
            "planner": "r-disc roadmap, r = min(1.5, 2.2 sqrt(log n / n)), exact edges, invalid samples count",
            "problems": f"{TRAINING} training, {PROBLEMS} test, another split for choices; drawn from seeds",
            "metrics": "share 0.7 of learned states, the rest Halton; mean over training seeds, lowest and highest",
            "ratios": "uniform over ours, at a success of 0.85, interpolated in log n",
            "curves": curves,
            "cost_ratio_to_uniform": costs,
            "beyond_training": beyond,
            "bridge_states_per_sample": round(at(results["bridge-gap003"]["curve"], 50, "states") / 50, 1),
        },
        seeds=arguments.seeds,
        config={"variants": VARIANTS, "settings": {**planning.SETTINGS}},
        seconds=seconds,
    )


def work(**job: Any) -> dict[str, Any]:
    """Run one job: a baseline, the training and trial of a learned sampler, or its trial with fewer samples."""
    if "trained" in job:
        sampler, _ = planning.load_sampler(job["trained"])
        mixed = planning.Mixed(sampler, 0.7)
        return baseline(mixed, job["options"], "test", PROBLEMS, FEWER, PLAN)
    return baseline(**job) if "sampler" in job else learned(**job)


if __name__ == "__main__":
    main()
