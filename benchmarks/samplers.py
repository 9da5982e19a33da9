"""What the planning benchmarks share: training sets, samplers compared on the same problems, and their curves."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lowerbound import planning
from lowerbound.objectives import ELBO

Recipe = dict[str, Any]
Curve = Sequence[Mapping[str, Any]]
Trial = Mapping[str, Any]  # a curve and costs, as ``baseline`` returns them
Costs = Mapping[str, Sequence[float | None]]  # of every problem by number of samples; None where not solved

TIMED = 50  # problems
# What a protocol says of the table that ``Comparison.effort`` gives.
EFFORT = (
    "means per problem, interpolated like the numbers of samples; states and edges that were checked for collisions; "
    f"milliseconds of one thread for the first {TIMED} problems, samplers of the first seed, network included, the "
    "sides alternating. Left out are those that do not reach the success, and those whose fewest samples exceed it"
)

# Samplers that learn nothing. Those that test for narrow places give half of the states, as a learned one might: by
# themselves they leave wide rooms empty.
BASELINES: dict[str, planning.Sampler] = {
    "uniform": planning.Uniform(),
    "halton": planning.Halton(),
    "gaussian": planning.Mixed(planning.GaussianSampler(), 0.5),
    "bridge": planning.Mixed(planning.Bridge(), 0.5),
}


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
    """Return the curve and the costs of a sampler."""
    drawn = planning.family_from(options).problems(split, problems)  # type: ignore[arg-type]
    records = planning.measure(sampler, drawn, ns, **plan)
    costs: dict[str, list[float | None]] = {}
    for r in records:
        costs.setdefault(str(r.n), []).append(r.cost if r.solved else None)
    return {"curve": planning.success_curve(records), "costs": costs}


def learned(
    data: str,
    run: str,
    recipe: Recipe,
    seed: int,
    trials: Mapping[str, Mapping[str, Any]],
    **common: Any,
) -> dict[str, Any]:
    """Train a sampler, and return the curve and the costs of every trial by name.

    Args:
        data: Training set.
        run: The run's folder; a finished run there is taken as it is.
        recipe: Arguments of ``planning.train``, and ``beta``, the weight of the KL.
        seed: Of the training.
        trials: By name the ``share`` of learned states, what gives the others (``rest``) if not Halton's sequence,
            how the learned ones are drawn (``draw``, options of ``planning.Learned``) if not as usual, and arguments
            of ``baseline``.
        **common: Arguments of ``baseline`` for all trials.
    """
    trained = Path(run) / "train_seconds.json"
    if not trained.exists():
        options = {name: value for name, value in recipe.items() if name != "beta"}
        objective = ELBO(beta=recipe["beta"]) if "beta" in recipe else None
        begun = time.perf_counter()
        planning.train(data, run, seed=seed, objective=objective, progress=False, overwrite=True, **options)
        trained.write_text(json.dumps(time.perf_counter() - begun))
    result: dict[str, Any] = {"train_seconds": json.loads(trained.read_text())}
    for name, trial in trials.items():
        sampler, _ = planning.load_sampler(run, **trial.get("draw", {}))
        mixing = {key: trial[key] for key in ("share", "rest") if key in trial}
        options = {key: value for key, value in trial.items() if key not in ("share", "rest", "draw")}
        result[name] = baseline(planning.Mixed(sampler, **mixing), **common, **options)
    return result


def loaded(runs: Mapping[str, str], share: float) -> dict[str, planning.Sampler]:
    """Return the samplers of runs by label, each with this share of learned states."""
    return {label: planning.Mixed(planning.load_sampler(run)[0], share) for label, run in runs.items()}


def at(curve: Curve, n: int, what: str = "success") -> float:
    """Return what a curve says at n samples."""
    return next(point[what] for point in curve if point["n"] == n)


def pooled(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Return the mean of the curves of several seeds; the interval is Wilson's for one seed's number of problems."""
    mean = []
    for points in zip(*curves, strict=True):
        n, trials = points[0]["n"], points[0]["trials"]
        success = statistics.fmean(point["success"] for point in points)
        low, high = planning.wilson(round(success * trials), trials)
        told = {
            key: statistics.fmean(point[key] for point in points) for key in ("states", "edges", "seconds")
        }
        mean.append({"n": n, "trials": trials, "success": success, "low": low, "high": high, **told})
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


def shown(curve: Curve) -> list[dict[str, Any]]:
    """Return a curve with few digits, for a result file."""
    return [
        {key: value if isinstance(value, int) else round(value, 4) for key, value in point.items()}
        for point in curve
    ]


@dataclass
class Comparison:
    """What the samplers of one set of problems come to, pooled over seeds.

    Attributes:
        uniform: What the others are compared with.
        trials: Of every sampler by label, one for each seed.
        metrics: Numbers for the result file.
        intervals: Their lowest and highest values over the seeds.
    """

    uniform: Trial
    trials: dict[str, list[Trial]] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, list[float]] = field(default_factory=dict)

    def curve(self, label: str) -> list[dict[str, Any]]:
        """Return the mean of a sampler's curves over its seeds."""
        return pooled([trial["curve"] for trial in self.trials[label]])

    def curves(self, labels: Iterable[str]) -> dict[str, Any]:
        """Return the curves of some samplers, for a result file."""
        return {label: shown(self.curve(label)) for label in labels}

    def costs(self, labels: Iterable[str]) -> dict[str, dict[str, float]]:
        """Return the mean ratio of costs to those of uniform samples by n, where every seed has one."""
        told = {}
        for label in labels:
            ratios = [cost_ratio(trial["costs"], self.uniform["costs"]) for trial in self.trials[label]]
            both = sorted(set.intersection(*map(set, ratios)), key=int)
            told[label] = {n: round(statistics.fmean(r[n] for r in ratios), 4) for n in both}
        return told

    def effort(
        self,
        level: float,
        options: Mapping[str, Any],
        plan: Mapping[str, Any],
        samplers: Mapping[str, planning.Sampler],
    ) -> dict[str, dict[str, float]]:
        """Return what a success of ``level`` takes, for every sampler that starts below it and reaches it.

        See ``EFFORT``.

        Args:
            level: Success.
            options: The family of problems, for the clock.
            plan: Arguments of ``planning.plan``.
            samplers: By label, those whose time is taken too; nothing else may run meanwhile.
        """
        told: dict[str, dict[str, float]] = {}
        for label in self.trials:
            curve = self.curve(label)
            found = {of: planning.samples_for(curve, level, of) for of in ("n", "states", "edges")}
            if curve[0]["success"] < level and found["n"]:
                told[label] = {of: round(value, 1) for of, value in found.items() if value is not None}
        records: dict[str, list[planning.Record]] = {label: [] for label in samplers if label in told}
        torch.set_num_threads(1)
        for i, problem in enumerate(planning.family_from(options).problems("test", TIMED)):
            for label, of in records.items():
                of += planning.measure(samplers[label], [problem], [round(told[label]["n"])], seed=i, **plan)
        for label, of in records.items():
            mean = statistics.fmean(r.draw_seconds + r.plan_seconds for r in of)
            told[label]["milliseconds"] = round(1000 * mean, 2)
        return told

    def successes(self, label: str, ns: Iterable[int], end: str = "") -> None:
        """Add ``success_nN`` of a sampler, and its lowest and highest seed."""
        for n in ns:
            values = [at(trial["curve"], n) for trial in self.trials[label]]
            self.metrics[f"success_n{n}{end}"] = statistics.fmean(values)
            self.intervals[f"success_n{n}{end}"] = [min(values), max(values)]

    def rival(self, label: str, ns: Iterable[int], end: str = "") -> None:
        """Add ``success_LABEL_nN`` of a sampler that learns nothing."""
        for n in ns:
            self.metrics[f"success_{label.split()[0]}_n{n}{end}"] = at(self.trials[label][0]["curve"], n)

    def ratios(self, label: str, level: float, end: str = "", edges: bool = True) -> None:
        """Add ``sample_ratio`` and ``edge_check_ratio``: what uniform samples take for a success over what these do.

        The mean curve decides; the interval is of the seeds' own curves.
        """
        for name, of in (("sample_ratio", "n"), ("edge_check_ratio", "edges"))[: 1 + edges]:
            theirs = planning.samples_for(self.uniform["curve"], level, of)
            mine = planning.samples_for(self.curve(label), level, of)
            each = [planning.samples_for(trial["curve"], level, of) for trial in self.trials[label]]
            if theirs and mine:
                self.metrics[f"{name}{end}"] = theirs / mine
                if all(each):
                    found = [theirs / own for own in each if own]
                    self.intervals[f"{name}{end}"] = [min(found), max(found)]
