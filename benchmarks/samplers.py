"""What the planning benchmarks share: training sets, samplers compared on the same problems, and their curves."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lowerbound import planning

Recipe = dict[str, Any]
Costs = Mapping[
    str, Sequence[float | None]
]  # of each problem by number of samples; None where it was not solved


def training_set(options: Mapping[str, Any], problems: int, states: int, keep: Path, workers: int) -> Path:
    """Return the training set of a family, made if it is not there yet."""
    family = planning.family_from(options)
    path = keep / f"{family.name}-{'-'.join(str(v) for v in list(options.values())[1:]) or 'default'}.npz"
    if not path.exists():
        keep.mkdir(parents=True, exist_ok=True)
        planning.make_data(family, problems, path, states=states, workers=workers)
    return path


def baseline(
    sampler: planning.Sampler,
    options: Mapping[str, Any],
    split: str,
    problems: int,
    ns: Sequence[int],
    plan: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the curve and the costs of a sampler that is not learned."""
    drawn = planning.family_from(options).problems(split, problems)  # type: ignore[arg-type]
    return _summary(planning.measure(sampler, drawn, ns, **plan))


def learned(
    data: str,
    run: str,
    recipe: Recipe,
    seed: int,
    sets: Mapping[str, Mapping[str, Any]],
    split: str,
    problems: int,
    ns: Sequence[int],
    shares: Sequence[float],
    plan: Mapping[str, Any],
    share_of: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Any]:
    """Train a sampler and return its curve and costs for every share, on every set of problems.

    ``share_of`` gives other shares for some of the sets.
    """
    trained = Path(run) / "train_seconds.json"
    if not trained.exists():
        begun = time.perf_counter()
        planning.train(data, run, seed=seed, progress=False, overwrite=True, **recipe)
        trained.write_text(json.dumps(time.perf_counter() - begun))
    result: dict[str, Any] = {"train_seconds": json.loads(trained.read_text())}
    sampler, _ = planning.load_sampler(run)
    for name, options in sets.items():
        drawn = list(planning.family_from(options).problems(split, problems))  # type: ignore[arg-type]
        for share in (share_of or {}).get(name, shares):
            mixed = planning.Mixed(sampler, share)
            result[f"{name}@{share:g}"] = _summary(planning.measure(mixed, drawn, ns, **plan))
    return result


def _summary(records: Sequence[planning.Record]) -> dict[str, Any]:
    costs: dict[str, list[float | None]] = {}
    for r in records:
        costs.setdefault(str(r.n), []).append(r.cost if r.solved else None)
    return {"curve": planning.success_curve(records), "costs": costs}


def at(curve: Sequence[Mapping[str, Any]], n: int, what: str = "success") -> float:
    """Return what a curve says at n samples."""
    return next(point[what] for point in curve if point["n"] == n)


def pooled(curves: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return the mean of the curves of several seeds; the interval is Wilson's for one seed's number of problems."""
    mean = []
    for points in zip(*curves, strict=True):
        success = statistics.fmean(point["success"] for point in points)
        trials = points[0]["trials"]
        low, high = planning.wilson(round(success * trials), trials)
        told = {
            key: statistics.fmean(point[key] for point in points) for key in ("states", "edges", "seconds")
        }
        mean.append(
            {"n": points[0]["n"], "trials": trials, "success": success, "low": low, "high": high, **told}
        )
    return mean


def cost_ratio(costs: Costs, other: Costs) -> dict[str, float]:
    """Return the mean ratio of costs, by n, over the problems that both solved."""
    ratios = planning.cost_ratio(_records(costs), _records(other))
    return {str(n): ratio for n, ratio in ratios.items()}


def _records(costs: Costs) -> list[planning.Record]:
    """Return what is known of each problem from costs that a file kept: whether it was solved, and at which cost."""
    return [
        planning.Record(i, int(n), cost is not None, math.inf if cost is None else cost, 0, 0, 0.0, 0.0)
        for n, of_n in costs.items()
        for i, cost in enumerate(of_n)
    ]


def shown(curve: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a curve with few digits, for a result file."""
    return [
        {key: value if isinstance(value, int) else round(value, 4) for key, value in point.items()}
        for point in curve
    ]
