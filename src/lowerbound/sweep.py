"""Many runs over choices: all combinations of lists, or draws from ranges by Optuna; the validation split chooses.

A sweep is a folder: ``sweep.json`` and a run's folder for each trial, ``000``, ``001``, ... Whatever ends it, it can
be continued, and a trial that was interrupted goes on from its checkpoint.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from . import data as sources
from .comparison import Comparison, compare
from .data import Data
from .defaults import model_for_data
from .display import needed, signed
from .errors import ConfigError, LowerboundError, NonFiniteError, RunError
from .names import Range, ends, merge, nested, parse_axis
from .overrides import build_settings, check_overrides
from .persistence import fit
from .training import Run, RunFolder, write_atomically

__all__ = ["FORMAT", "Range", "Sweep", "Trial", "parse_axis", "with_choices"]

FORMAT = 1
_USUAL_TRIALS = 20
_MOST_COMBINATIONS = 1000
_SHOWN = 10  # runs in the table
_SEED = "training.seed"
_FEWEST = 3  # trials that a trial is judged by,
_GRACE = 0.2  # and only after this share of its run
_SAME = ("training.validation_samples", "training.keep")  # or validation bounds could not be compared


@dataclass
class Trial:
    """One run of a sweep.

    Attributes:
        name: Its folder.
        choices: Keys and values that are its own.
        state: "running" until it has ended as "finished", "pruned" or "failed".
        bound: Its best validation bound, in nats per example.
        course: The best bound up to an epoch, as pairs.
        why: Why it has failed.
    """

    name: str
    choices: dict[str, Any]
    state: str = "running"
    bound: float | None = None
    course: list[tuple[float, float]] = field(default_factory=list)
    why: str | None = None


class _Pruned(Exception):
    """Ends a run that is not worth going on with."""


# -------------------------------------------------------------------------------------------------- what is tried
def with_choices(base: Mapping[str, Any], choices: Mapping[str, Any]) -> dict[str, Any]:
    """Return choices of sections with others, by their keys, laid on them; types first, for they drop options."""
    keys = sorted(choices, key=lambda key: not key.endswith(".type") and "." in key)
    return functools.reduce(merge, (nested(key, choices[key]) for key in keys), dict(base))


# ------------------------------------------------------------------------------------------------------- the sweep
class Sweep:
    """A sweep in a folder.

    Args:
        folder: Where it is.
        source: The data, by a name or path.
        space: Of each key its values, a list or a ``Range``.
        base: What all runs have in common: sections with their options.
        trials: How many runs; all combinations if None and there are only lists, 20 if there is a range.

    Raises:
        ConfigError: a key or value is wrong, there is nothing to try, or too much.
    """

    def __init__(
        self,
        folder: str | Path,
        source: str,
        space: Mapping[str, list[Any] | Range],
        base: Mapping[str, Any] | None = None,
        trials: int | None = None,
    ) -> None:
        self.folder, self.source = Path(folder), source
        fixed = {
            key: values[0] for key, values in space.items() if isinstance(values, list) and len(values) == 1
        }
        self.space = {key: values for key, values in space.items() if key not in fixed}
        self.base = with_choices(base or {}, fixed)
        self.trials: list[Trial] = []
        self._check()
        self.drawn = any(isinstance(values, Range) for values in self.space.values())
        if self.drawn:
            needed("optuna", "a range", "'lowerbound[sweep]'")
        combinations = math.prod(len(v) for v in self.space.values() if isinstance(v, list))
        if not self.drawn and (trials or combinations) > _MOST_COMBINATIONS:
            raise ConfigError(
                f"these lists have {combinations:,} combinations; try fewer values, or ranges with --trials"
            )
        self.wanted = (trials or _USUAL_TRIALS) if self.drawn else min(trials or combinations, combinations)

    def _check(self) -> None:
        if not self.space:
            raise ConfigError(
                "a sweep needs something to try: --set objective.beta=1,2,4, or a range like "
                "--set training.learning_rate=1e-4..1e-2"
            )
        for key, values in self.space.items():
            if key.startswith("data.") or key == "data":
                raise ConfigError(f"{key} cannot be swept: all runs of a sweep are compared on the same data")
            if key in _SAME:
                raise ConfigError(
                    f"{key} cannot be swept: the validation bounds of the runs could not be compared"
                )
            for value in ends(values) if isinstance(values, Range) else values:
                check_overrides(nested(key, value), "--set")
                choices = with_choices(self.base, {key: value})
                check_overrides(choices, "--set")
                build_settings(choices.get("training", {}))

    @classmethod
    def opened(cls, folder: str | Path, trials: int | None = None) -> Sweep:
        """Return the sweep that a folder holds, to be continued, with more trials if so many are wanted.

        Raises:
            RunError: it holds none, or a damaged one.
        """
        path = Path(folder) / "sweep.json"
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored["format"] > FORMAT:
                raise RunError(f"{path} is of a newer version of lowerbound; upgrade it")
            space = {k: Range(**v) if isinstance(v, dict) else list(v) for k, v in stored["space"].items()}
            sweep = cls(folder, str(stored["source"]), space, stored["base"], trials or stored["wanted"])
            sweep.trials = [
                Trial(**{**t, "course": [tuple(c) for c in t["course"]]}) for t in stored["trials"]
            ]
        except FileNotFoundError:
            raise RunError(
                f"{folder} holds no sweep: {path} is missing; begin one without --resume"
            ) from None
        except OSError as error:
            raise RunError(f"cannot read {path}: {error.strerror or error}") from None
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, LowerboundError):
                raise
            raise RunError(
                f"{path} is no sweep ({error!r}); restore it from a copy, or begin another"
            ) from None
        return sweep

    def write(self) -> None:
        """Write ``sweep.json``, atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        stored = {
            "format": FORMAT,
            "source": self.source,
            "base": self.base,
            "space": {k: dataclasses.asdict(v) if isinstance(v, Range) else v for k, v in self.space.items()},
            "wanted": self.wanted,
            "trials": [dataclasses.asdict(trial) for trial in self.trials],
        }
        text = json.dumps(stored, indent=2) + "\n"
        write_atomically(
            self.folder / "sweep.json", lambda temporary: temporary.write_text(text, encoding="utf-8")
        )

    def run(
        self, *, progress: bool = False, prune: bool = True, tell: Callable[[str], None] = lambda _: None
    ) -> bool:
        """Make the runs that are missing; return whether all were made, and False if the user has stopped it.

        Args:
            progress: Show that of each run.
            prune: End runs early whose validation bound stays below the median of the others at the same epoch; not
                where seeds are tried, of whose mean each is a part.
            tell: Is given a line for each trial.
        """
        prune = prune and _SEED not in self.space
        data = sources.load(self.source, **self.base.get("data", {}))
        self.write()
        while True:
            trial = next((trial for trial in self.trials if trial.state == "running"), None)
            if trial is None:
                if len(self.trials) >= self.wanted:
                    return True
                trial = Trial(f"{len(self.trials):03}", self._next())
                self.trials.append(trial)
                self.write()
            run = self._train(trial, data, progress, prune)
            if run is not None and run.stopped == "interrupted":
                return False
            self.write()
            said = ", ".join(f"{key.split('.')[-1]} {_short(value)}" for key, value in trial.choices.items())
            end = f"validation bound {signed(trial.bound)}" if trial.bound is not None else ""
            why = trial.why or (trial.state if trial.state != "finished" else "")
            tell(
                f"{trial.name} ({len(self.trials)} of {self.wanted})  {said}: {', '.join(filter(None, (end, why)))}"
            )

    def _train(self, trial: Trial, data: Data, progress: bool, prune: bool) -> Run | None:
        folder = self.folder / trial.name
        choices = with_choices(self.base, trial.choices)
        settings = build_settings(choices.get("training", {}))
        goes_on = RunFolder(folder).checkpoint.is_file() and RunFolder(folder).config.is_file()

        def judge(_: Any, record: Mapping[str, Any]) -> None:
            bound = max(
                (b for b in (trial.bound, record["bound"]) if b is not None and math.isfinite(b)),
                default=None,
            )
            if bound is None:
                return
            trial.bound, epoch = bound, record["epoch"]
            trial.course = [point for point in trial.course if point[0] < epoch] + [(epoch, bound)]
            self.write()
            if prune and _is_hopeless(trial, self.trials):
                raise _Pruned

        run = None
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(settings.seed)
                slots = {
                    k: v for k, v in choices.items() if k not in ("latent", "training", "objective", "data")
                }
                model = model_for_data(data, choices.get("latent"), **slots)
            given, objective = choices.get("training", {}), choices.get("objective")
            how: dict[str, Any] = {"resume": goes_on, "overwrite": not goes_on, "progress": progress}
            run = fit(model, data, objective=objective, out=folder, callback=judge, **how, **given)
            if run.stopped != "interrupted":
                trial.state, trial.bound = "finished", (run.best or {}).get("bound")
        except _Pruned:
            trial.state = "pruned"
        except (NonFiniteError, ConfigError) as error:  # of these choices; others may do
            if isinstance(error, ConfigError) and not any(t.course for t in self.trials):
                raise
            trial.state, trial.why = "failed", str(error)
        return run

    def _next(self) -> dict[str, Any]:
        """Return the choices of another trial."""
        if not self.drawn:
            lists = [values for values in self.space.values() if isinstance(values, list)]
            made = itertools.islice(itertools.product(*lists), len(self.trials), None)
            return dict(zip(self.space, next(made), strict=True))
        return _ask(self.space, self.trials)

    def settings(self) -> list[list[Trial]]:
        """Return the trials that have finished, those of all seeds of a setting together, the best setting first."""
        alike: dict[str, list[Trial]] = {}
        for trial in self.trials:
            if trial.state == "finished" and trial.bound is not None:
                setting = {key: value for key, value in trial.choices.items() if key != _SEED}
                alike.setdefault(json.dumps(setting), []).append(trial)
        return sorted(
            alike.values(), key=lambda trials: -statistics.fmean(trial.bound or 0 for trial in trials)
        )

    def shown(self) -> list[list[Trial]]:
        """Return the best settings, as many as the table has room for."""
        found = self.settings()
        return [trials for i, trials in enumerate(found) if not i or sum(map(len, found[: i + 1])) <= _SHOWN]

    def compared(self, samples: int = 100, **options: Any) -> Comparison | None:
        """Compare the best runs on the validation split, one row for all seeds of a setting.

        It is None if there are fewer than two runs. The test split is not read.

        Raises:
            LowerboundError: their numbers cannot stand in one column.
        """
        runs = {trial.name: self.folder / trial.name for trials in self.shown() for trial in trials}
        if len(runs) < 2:
            return None
        return compare(runs, samples=samples, split="valid", **options).over_seeds()


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:40]


def _is_hopeless(trial: Trial, trials: Sequence[Trial]) -> bool:
    """Return whether a trial is below the median of what others had reached at its epoch."""
    epoch, bound = trial.course[-1]
    others = [t.course for t in trials if t is not trial and t.state in ("finished", "pruned") and t.course]
    if len(others) < _FEWEST or epoch < _GRACE * statistics.median(course[-1][0] for course in others):
        return False
    reached = [
        [b for e, b in course if e <= epoch] or [course[0][1]] for course in others if course[-1][0] >= epoch
    ]
    return len(reached) >= _FEWEST and bound < statistics.median(max(bounds) for bounds in reached)


def _ask(space: Mapping[str, list[Any] | Range], trials: Iterable[Trial]) -> dict[str, Any]:
    """Return what Optuna proposes after these trials; the same after the same ones."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions: dict[str, Any] = {}
    for key, values in space.items():
        if isinstance(values, Range):
            kind: Any = (
                optuna.distributions.IntDistribution
                if values.whole
                else optuna.distributions.FloatDistribution
            )
            low, high = ends(values)
            distributions[key] = kind(low, high, log=values.log)
        else:  # by their places, for a value may be a list
            distributions[key] = optuna.distributions.CategoricalDistribution(list(range(len(values))))
    trials = list(trials)
    sampler = optuna.samplers.TPESampler(seed=len(trials))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for trial in trials:
        if trial.bound is None:
            continue
        params = {
            key: trial.choices[key] if isinstance(values, Range) else values.index(trial.choices[key])
            for key, values in space.items()
        }
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=distributions, value=trial.bound)
        )
    found = study.ask(distributions).params
    return {k: v if isinstance(space[k], Range) else space[k][v] for k, v in found.items()}  # type: ignore[index]
