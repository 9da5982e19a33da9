"""A 7-joint arm among shelves, cluttered tables and cages: a sampler that sees boxes, start and goal, against others.

    python benchmarks/planning_wam.py [--seeds 0 1 2] [--workers 2] [--keep DIR]

Success of a lazy k-nearest roadmap against the number of samples, on problems that were not seen in training;
invalid samples count. Then the wall-clock time, the network included, with pybullet as the collision checker. All
recipes were chosen on the split "tune"; the numbers are of the split "test".
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, read_arguments, run_jobs, write_result
from samplers import at, baseline, cost_ratio, learned, pooled, shown, training_set

from lowerbound import planning

FAMILY = {"family": "wam"}
SCENES = ("shelf", "table", "cage")
NS = [50, 100, 200, 400, 800]
LONG = [*NS, 1600, 3200]
PROBLEMS = 150  # test problems, of all three scenes
OF_SCENE = 40  # test problems of each scene by itself
BULLET = 24  # test problems planned with pybullet
TRAINING = 2500  # problems solved for training
SHARES = [0.5, 0.9]
LEVEL = 0.3  # success at which numbers of samples are compared; uniform samples hardly get further
VARIANTS: dict[str, dict[str, Any]] = {
    "ours": {"kind": "cells", "target": "path", "obstacles": "boxes"},
    "cvae_path": {
        "kind": "gaussian",
        "target": "path",
        "obstacles": "boxes",
        "model": {"latent": 3, "hidden": (512, 512), "width": 0.0283},
    },
}
# One seed, as for the other that is compared, to tell what matters.
ABLATIONS: dict[str, dict[str, Any]] = {"bottleneck": {**VARIANTS["ours"], "target": "bottleneck"}}
BASELINES = {
    "uniform": planning.Uniform(),
    "halton": planning.Halton(),
    # Half of the states, as for a learned sampler: by themselves they leave wide rooms empty.
    "gaussian": planning.Mixed(planning.GaussianSampler(), 0.5),
    "bridge": planning.Mixed(planning.Bridge(), 0.5),
    "near_ends 0.5": planning.Mixed(planning.NearEnds(), 0.5),
    "near_ends 0.9": planning.Mixed(planning.NearEnds(), 0.9),
}


def main() -> None:
    arguments = read_arguments(__doc__)
    keep = arguments.keep or Path(tempfile.mkdtemp())
    data = training_set(FAMILY, TRAINING, 32, keep, arguments.workers)
    sets = {"mixed": FAMILY}
    common: dict[str, Any] = {"split": "test", "problems": PROBLEMS, "plan": {}}
    jobs: dict[str, dict[str, Any]] = {}
    for name, sampler in BASELINES.items():
        ns = LONG if name in ("uniform", "halton") else NS if name != "bridge" else NS[:4]
        jobs[f"{name}-mixed"] = {"options": FAMILY, "sampler": sampler, "ns": ns, **common}
    for variant, recipe in {**VARIANTS, **ABLATIONS}.items():
        for seed in arguments.seeds if variant == "ours" else arguments.seeds[:1]:
            jobs[f"{variant}-{seed}"] = {
                "data": str(data),
                "run": str(keep / f"run-wam-{variant}-{seed}"),
                "recipe": recipe,
                "seed": seed,
                "sets": sets,
                "shares": SHARES,
                "ns": NS,
                **common,
            }
    results, seconds = run_jobs(work, jobs, arguments.workers, keep / "wam")
    by_scene = {}
    for scene in (*SCENES, "window"):
        options = {**FAMILY, "scene": scene}
        again: dict[str, dict[str, Any]] = {
            f"uniform-{scene}": {
                "options": options,
                "sampler": BASELINES["uniform"],
                "split": "test",
                "problems": OF_SCENE,
                "ns": NS[1:3],
                "plan": {},
            },
            f"trained-{scene}": {
                "trained": str(keep / f"run-wam-ours-{arguments.seeds[0]}"),
                "options": options,
                "problems": OF_SCENE,
                "ns": NS[1:3],
            },
        }
        found, seconds = run_jobs(work, again, arguments.workers, keep / "wam")
        by_scene[scene] = {
            "uniform": shown(found[f"uniform-{scene}"]["curve"]),
            "ours 0.9": shown(found[f"trained-{scene}"]["curve"]),
        }
    # One at a time, for the clock.
    timed, seconds = run_jobs(
        work,
        {"bullet": {"bullet": str(keep / f"run-wam-ours-{arguments.seeds[0]}")}},
        1,
        keep / "wam",
    )

    uniform = results["uniform-mixed"]
    curves: dict[str, Any] = {name: shown(results[f"{name}-mixed"]["curve"]) for name in BASELINES}
    costs: dict[str, Any] = {}
    for variant in (*VARIANTS, *ABLATIONS):
        done = [results[f"{variant}-{s}"] for s in arguments.seeds if f"{variant}-{s}" in results]
        for share in SHARES:
            key, label = f"mixed@{share:g}", f"{variant} {share:g}"
            curves[label] = shown(pooled([one[key]["curve"] for one in done]))
            ratios = [cost_ratio(one[key]["costs"], uniform["costs"]) for one in done]
            shared = sorted(set.intersection(*map(set, ratios)), key=int)
            costs[label] = {n: round(statistics.fmean(r[n] for r in ratios), 4) for n in shared}
    ours = curves["ours 0.9"]
    seeds = [results[f"ours-{seed}"]["mixed@0.9"]["curve"] for seed in arguments.seeds]
    metrics: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    for n in NS:
        metrics[f"success_n{n}"] = at(ours, n)
        intervals[f"success_n{n}"] = [min(at(c, n) for c in seeds), max(at(c, n) for c in seeds)]
        metrics[f"success_uniform_n{n}"] = at(curves["uniform"], n)
    for n in (100, 200):
        metrics[f"success_near_ends_n{n}"] = at(curves["near_ends 0.9"], n)
    metrics["success_gain"] = at(ours, 200) - at(curves["uniform"], 200)
    theirs, mine = planning.samples_for(curves["uniform"], LEVEL), planning.samples_for(ours, LEVEL)
    if theirs and mine:
        metrics["sample_ratio"] = theirs / mine
    bullet = timed["bullet"]
    level = at(bullet["uniform"], max(p["n"] for p in bullet["uniform"]))
    if (fast := planning.samples_for(bullet["ours"], level, "seconds")) is not None:
        metrics["wall_time_ratio_pybullet"] = (
            at(bullet["uniform"], bullet["uniform"][-1]["n"], "seconds") / fast
        )
    metrics["decode_1000_ms"] = bullet["decode_1000_ms"]
    metrics["edge_check_pybullet_ms"] = bullet["edge_ms"]
    drawn = {
        name: curves[name]
        for name in ("uniform", "halton", "bridge", "near_ends 0.9", "cvae_path 0.9", "ours 0.9")
    }
    (RESULTS.parent.parent / "docs" / "images" / "planning_wam.png").write_bytes(
        planning.success_picture(drawn)
    )
    write_result(
        "planning_wam",
        metrics,
        intervals=intervals,
        protocol={
            "task": "Barrett WAM, 7 joints, spheres against boxes and itself; shelf, table or cage",
            "condition": "start, goal, up to 24 boxes as a set",
            "planner": "lazy roadmap, k = ceil(e (1 + 1/7) log n) nearest, edges checked every 0.05 rad",
            "problems": f"{TRAINING} training, {PROBLEMS} test, another split for choices; drawn from seeds",
            "metrics": "share 0.9 of learned states, the rest Halton; mean over training seeds, lowest and highest",
            "sample_ratio": f"uniform over ours, samples for a success of {LEVEL}, interpolated in log n",
            "success_gain": "ours minus uniform at 200 samples",
            "wall_time_ratio_pybullet": (
                f"uniform over ours, mean seconds per problem at the success {level:.2f} that uniform reaches with "
                f"its most samples; {BULLET} problems, pybullet checks, network included, one thread"
            ),
            "near_ends": (
                "half or nine tenths of the states normal around start and goal, sd 0.1 of the range, the rest "
                "Halton: nothing is learned, and it is the sampler to beat"
            ),
            "curves": curves,
            "cost_ratio_to_uniform": costs,
            "by_scene": by_scene,
            "bullet": bullet,
            "fast_checkers": (
                "against a checker of about a microsecond (VAMP) a network cannot win in wall-clock time: decoding a "
                "hundred states takes longer than most of its searches"
            ),
        },
        seeds=arguments.seeds,
        config={"variants": {**VARIANTS, **ABLATIONS}, "settings": {**planning.SETTINGS}},
        seconds=seconds,
    )


def work(**job: Any) -> dict[str, Any]:
    """Run one job: a baseline, a training and its trial, another trial, or the trial with pybullet."""
    if "bullet" in job:
        return with_bullet(job["bullet"])
    if "trained" in job:
        sampler, _ = planning.load_sampler(job["trained"])
        mixed = planning.Mixed(sampler, 0.9)
        return baseline(mixed, job["options"], "test", job["problems"], job["ns"], {})
    return baseline(**job) if "sampler" in job else learned(**job)


def with_bullet(run: str) -> dict[str, Any]:
    """Return curves with seconds, both sides alternating problem by problem, and the cost of a draw and an edge."""
    import time

    import numpy as np

    from lowerbound.planning.bullet import BulletRobot, as_bullet

    torch.set_num_threads(1)
    sampler, _ = planning.load_sampler(run)
    sides = {"uniform": planning.Uniform(), "ours": planning.Mixed(sampler, 0.9)}
    ns = {"uniform": [100, 200, 400, 800, 1600], "ours": [25, 50, 100, 200, 400]}
    records: dict[str, list[planning.Record]] = {name: [] for name in sides}
    edges, draws = [], []
    problems = list(planning.family_from(FAMILY).problems("test", BULLET))
    with BulletRobot.of(problems[0].chain) as robot:  # type: ignore[attr-defined]
        for i, problem in enumerate(problems):
            checked = as_bullet(problem, robot)  # type: ignore[arg-type]
            for name, side in sides.items():
                # The seed makes the draws those of the problem, whose place is 0 in a list of one.
                for record in planning.measure(side, [checked], ns[name], seed=i):
                    records[name].append(record)
            rng = np.random.default_rng(i)
            a, b = checked.uniform(20, rng), checked.uniform(20, rng)
            ends = checked._valid(a) & checked._valid(b)
            begun = time.perf_counter()
            checked._edges_valid(a[ends], b[ends])
            edges.append((time.perf_counter() - begun) / max(1, ends.sum()))
            begun = time.perf_counter()
            sampler.draw(problem, 1000, rng)
            draws.append(time.perf_counter() - begun)
    curves = {name: shown(planning.success_curve(of)) for name, of in records.items()}
    return {
        **curves,
        "edge_ms": 1e3 * statistics.median(edges),
        "decode_1000_ms": 1e3 * statistics.median(draws),
    }


if __name__ == "__main__":
    main()
