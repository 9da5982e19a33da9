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
from common import read_arguments, run_jobs, write_result
from planning_pictures import draw
from samplers import BASELINES as PLAIN
from samplers import EFFORT, Comparison, at, baseline, learned, loaded, shown, training_set

from lowerbound import planning

FAMILY = {"family": "wam"}
SCENES = ("shelf", "table", "cage")
NS = [50, 100, 200, 400, 800]
LONG = [*NS, 1600, 3200]
PROBLEMS = 150  # test problems, of all three scenes
OF_SCENE = 40  # test problems of each scene by itself
BULLET = 24  # test problems planned with pybullet
TRAINING = 2500  # problems solved for training
SHARE = 0.9
SHARES = [0.5, SHARE]
LEVEL = 0.3  # success at which numbers of samples are compared; uniform samples hardly get further
HALF = 0.5  # success at which the efforts of the others are compared
VARIANTS: dict[str, dict[str, Any]] = {
    "ours": {"kind": "cells", "target": "path", "obstacles": "boxes"},
    "cvae_path": {
        "kind": "gaussian",
        "target": "path",
        "obstacles": "boxes",
        "model": {"latent": 3, "hidden": (512, 512), "width": 0.0283},
    },
}
# Ours with one thing changed.
ABLATIONS: dict[str, dict[str, Any]] = {"bottleneck": {**VARIANTS["ours"], "target": "bottleneck"}}
# Half of the learned states replaced by states around start and goal.
WITH_ENDS = {"share": SHARE / 2, "rest": planning.Mixed(planning.NearEnds(), SHARE / 2 / (1 - SHARE / 2))}
BASELINES: dict[str, planning.Sampler] = {
    **PLAIN,
    "near_ends 0.5": planning.Mixed(planning.NearEnds(), 0.5),
    "near_ends 0.9": planning.Mixed(planning.NearEnds(), 0.9),
}


def main() -> None:
    arguments = read_arguments(__doc__)
    keep = arguments.keep or Path(tempfile.mkdtemp())
    data = training_set(FAMILY, TRAINING, 32, keep, arguments.workers)
    common: dict[str, Any] = {"options": FAMILY, "split": "test", "problems": PROBLEMS, "plan": {}}
    jobs: dict[str, dict[str, Any]] = {}
    for name, sampler in BASELINES.items():
        ns = LONG if name in ("uniform", "halton") else NS if name != "bridge" else NS[:4]
        jobs[f"{name}-mixed"] = {"sampler": sampler, "ns": ns, **common}
    for variant, recipe in {**VARIANTS, **ABLATIONS}.items():
        for seed in arguments.seeds:
            jobs[f"{variant}-{seed}"] = {
                "data": str(data),
                "run": str(keep / f"run-wam-{variant}-{seed}"),
                "recipe": recipe,
                "seed": seed,
                "trials": trials_of(variant),
                "ns": NS,
                **common,
            }
    results, seconds = run_jobs(work, jobs, arguments.workers, keep / "wam")
    first = arguments.seeds[0]
    ours, by_scene = f"ours {SHARE:g}", {}
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
                "trained": jobs[f"ours-{first}"]["run"],
                "options": options,
                "problems": OF_SCENE,
                "ns": NS[1:3],
            },
        }
        found, seconds = run_jobs(work, again, arguments.workers, keep / "wam")
        by_scene[scene] = {
            "uniform": shown(found[f"uniform-{scene}"]["curve"]),
            ours: shown(found[f"trained-{scene}"]["curve"]),
        }
    # One at a time, for the clock.
    timed, seconds = run_jobs(
        work,
        {"bullet": {"bullet": jobs[f"ours-{first}"]["run"]}},
        1,
        keep / "wam",
    )

    of = Comparison(results["uniform-mixed"], {name: [results[f"{name}-mixed"]] for name in BASELINES})
    for variant in (*VARIANTS, *ABLATIONS):
        for name in trials_of(variant):
            of.trials[f"{variant} {name}"] = [results[f"{variant}-{seed}"][name] for seed in arguments.seeds]
    runs = {f"{variant} {SHARE:g}": jobs[f"{variant}-{first}"]["run"] for variant in VARIANTS}
    curves = of.curves(of.trials)
    of.successes(ours, NS)
    of.successes("ours with near_ends", NS, "_with_near_ends")
    of.rival("uniform", NS)
    of.rival(f"near_ends {SHARE:g}", [100, 200])
    of.ratios(ours, LEVEL, edges=False)
    metrics = of.metrics
    metrics["success_gain"] = metrics["success_n200"] - metrics["success_uniform_n200"]
    bullet = timed["bullet"]
    level = at(bullet["uniform"], max(p["n"] for p in bullet["uniform"]))
    if (fast := planning.samples_for(bullet["ours"], level, "seconds")) is not None:
        metrics["wall_time_ratio_pybullet"] = (
            at(bullet["uniform"], bullet["uniform"][-1]["n"], "seconds") / fast
        )
    metrics["decode_1000_ms"] = bullet["decode_1000_ms"]
    metrics["edge_check_pybullet_ms"] = bullet["edge_ms"]
    draw("planning_wam", curves)
    write_result(
        "planning_wam",
        metrics,
        intervals=of.intervals,
        protocol={
            "task": "Barrett WAM, 7 joints, spheres against boxes and itself; shelf, table or cage",
            "condition": "start, goal, up to 24 boxes as a set",
            "planner": "lazy roadmap, k = ceil(e (1 + 1/7) log n) nearest, edges checked every 0.05 rad",
            "problems": f"{TRAINING} training, {PROBLEMS} test, another split for choices; drawn from seeds",
            "metrics": f"share {SHARE} of learned states, the rest Halton; mean over seeds, lowest and highest",
            "sample_ratio": (
                f"uniform over ours, samples for a success of {LEVEL}, interpolated in log n; who exceeds it with "
                f"the fewest tried, {NS[0]}, counts with these, so the ratio is then a lower limit"
            ),
            "success_gain": "ours minus uniform at 200 samples",
            "wall_time_ratio_pybullet": (
                f"uniform over ours, mean seconds per problem at the success {level:.2f} that uniform reaches with "
                f"its most samples; {BULLET} problems, pybullet checks, network included, one thread"
            ),
            "near_ends": (
                "half or nine tenths of the states normal around start and goal, sd 0.1 of the range, the rest "
                "Halton: nothing is learned"
            ),
            "effort": EFFORT,
            "with near_ends": (
                f"{SHARE / 2:g} of the states learned and as many around start and goal, the rest Halton; not tuned"
            ),
            "curves": curves,
            "cost_ratio_to_uniform": of.costs(name for name in of.trials if name not in BASELINES),
            f"effort for a success of {HALF}": of.effort(HALF, FAMILY, {}, BASELINES | loaded(runs, SHARE)),
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


def trials_of(variant: str) -> dict[str, dict[str, Any]]:
    """Return the trials of a recipe: by share, and ours together with states around the ends."""
    shares: dict[str, dict[str, Any]] = {f"{share:g}": {"share": share} for share in SHARES}
    return shares | ({"with near_ends": WITH_ENDS} if variant == "ours" else {})


def work(**job: Any) -> dict[str, Any]:
    """Run one job: a baseline, a training and its trial, another trial, or the trial with pybullet."""
    if "bullet" in job:
        return with_bullet(job["bullet"])
    if "trained" in job:
        sampler, _ = planning.load_sampler(job["trained"])
        mixed = planning.Mixed(sampler, SHARE)
        return baseline(mixed, job["options"], "test", job["problems"], job["ns"], {})
    return baseline(**job) if "sampler" in job else learned(**job)


def with_bullet(run: str) -> dict[str, Any]:
    """Return curves with seconds, both sides alternating problem by problem, and the cost of a draw and an edge."""
    import time

    import numpy as np

    from lowerbound.planning.bullet import BulletRobot, as_bullet

    torch.set_num_threads(1)
    sampler, _ = planning.load_sampler(run)
    sides = {"uniform": planning.Uniform(), "ours": planning.Mixed(sampler, SHARE)}
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
            ends = checked.free(a) & checked.free(b)
            begun = time.perf_counter()
            checked.edges_free(a[ends], b[ends])
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
