"""Training a sampler from a file of targets to a run folder, and taking it up again from there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, cast

import torch

from ..conditions import Map
from ..errors import RunError
from ..objectives import ELBO, Objective
from ..persistence import fit, load
from ..training import Run
from .data import load_data, read_meta
from .learned import Learned, model_for

_FILE = "planning.json"


def train(
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    target: str | None = None,
    obstacles: str | None = None,
    problems: int | None = None,
    model: dict[str, Any] | None = None,
    kind: str = "cells",
    objective: Objective | None = None,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Any,
) -> Run:
    """Train a sampler on a training set and write a run folder, which ``lowerbound.load`` reads like any other.

    Args:
        data: A file that ``make_data`` wrote.
        out: The run's folder.
        target: What to learn: "bottleneck" or "path" states; in the plane the former if not given, else the latter.
        obstacles: Which entry of the condition tells the obstacles; the first there is if not given.
        problems: Use only the first so many.
        model: Options of ``model_for``.
        kind: Of the latent; see ``model_for``.
        objective: The evidence lower bound if not given.
        seed: Of the weights, the split and the training.
        resume: Continue the run in ``out``.
        overwrite: Replace another run in ``out``.
        progress: Show progress on standard error.
        **settings: Fields of ``Settings``, over the recipe's; None stands for the recipe's.

    Raises:
        ConfigError: an option is wrong.
        DataError: the file is no training set.
        RunError: ``out`` holds another run.
    """
    meta = read_meta(data)
    target = target or ("bottleneck" if len(meta["lower"]) == 2 else "path")
    recipe = {"target": target, "obstacles": obstacles, "problems": problems, "seed": seed, "kind": kind}
    examples = load_data(data, target=target, obstacles=obstacles, problems=problems, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = model_for(examples, meta["lower"], meta["upper"], kind=kind, **(model or {}))
    told = Path(out) / _FILE
    if resume and told.is_file():
        _check_same(json.loads(told.read_text(encoding="utf-8")), {**meta, **recipe}, out)
    given = {name: value for name, value in settings.items() if value is not None}
    usual = dict(SETTINGS["map" if isinstance(built.condition.items()[-1][1], Map) else "other"])  # type: ignore[union-attr]
    if "minutes" in given:
        del usual["epochs"]

    def tell(*_: Any) -> None:
        told.write_text(json.dumps({**meta, **recipe}, indent=2), encoding="utf-8")

    run = fit(
        built,
        examples,
        objective=objective or ELBO(),
        out=Path(out),
        resume=resume,
        overwrite=overwrite,
        progress=progress,
        callback=tell,
        **cast("dict[str, Any]", given if resume else usual | {"seed": seed} | given),
    )
    tell()  # an interrupted run may have seen no evaluation
    return run


def _check_same(stored: dict[str, Any], now: dict[str, Any], out: str | os.PathLike[str]) -> None:
    """Refuse to resume with other data or other targets: the model would fit both."""
    for name in ("family", "n", "solved", "states", "target", "obstacles", "problems", "seed", "kind"):
        if stored.get(name) != now[name]:
            raise RunError(
                f"cannot resume {out} with {name}={now[name]!r}: the run has {stored.get(name)!r}; ask for the same, "
                "or start another run"
            )


# Chosen on tuning problems by the success of samples from the prior, not by the bound.
_COMMON = {
    "epochs": 2,
    "learning_rate": 2e-3,
    "warmup": 0.02,
    "ema": 0.99,
    "validation_samples": 1,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "map": {**_COMMON, "batch_size": 64},
    # A few thousand problems are few for an arm: σ is predicted, and is soon too sure of itself.
    "other": {**_COMMON, "batch_size": 256, "weight_decay": 0.3},
}


def load_sampler(run: str | os.PathLike[str], **options: Any) -> tuple[Learned, dict[str, Any]]:
    """Return the sampler of a run folder, and what the run says of its training set: ``family`` and more.

    Args:
        run: A folder that ``train`` wrote.
        **options: Of ``Learned``.

    Raises:
        RunError: it holds no run, or one that ``train`` did not write.
    """
    told = Path(run) / _FILE
    model = load(Path(run))
    if not told.is_file():
        raise RunError(f"{run} was not made by `lowerbound plan train`: {_FILE} is missing")
    return Learned(model, **options), json.loads(told.read_text(encoding="utf-8"))
