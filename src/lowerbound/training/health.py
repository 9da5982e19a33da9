"""What goes wrong in training, and why: a NaN or an infinity, a learning rate too high, a model that overfits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ..model import VAE
from ..objectives import Move, Objective

_FEWEST, _FEWEST_STEPS = 8, 1000  # evaluations and steps of a run that is more than a trial
_STILL = 0.02  # share of a run's gain that may come in its last quarter
_FALL = 0.2  # share of its gain that the training bound may lose: more is no noise
_SHARE = 0.02  # the same of the validation bound
_NATS = 0.2
_WORDS = {"reconstruction": "log p(x|z)", "kl": "KL"}


def diagnose(
    model: VAE, objective: Objective, moves: Iterator[Move], x: Tensor, index: Tensor, step: int, number: int
) -> str:
    """Repeat the step that gave a non-finite loss or gradient, and say where it appeared.

    Args:
        model: The model, with the weights the bad move began with.
        objective: The objective, with those of its networks.
        moves: The moves of the step, to be drawn by the same random numbers.
        x: The batch, (B, *event).
        index: Which examples of the training split it holds, (B,).
        step: Number of the step.
        number: Number of the bad move within it; those before it have been made.
    """
    rows = ", ".join(map(str, index[:8].tolist())) + (", ..." if len(index) > 8 else "")
    where = f"step {step}, a batch of {len(x)} training examples ({rows})"
    given = model.filled(x)
    if not torch.isfinite(given).all():
        bad = index[~torch.isfinite(given).flatten(1).all(1)].tolist()
        return f"{where}: the data themselves hold NaN or Inf, in example {bad[0]}"
    named = list(chain(model.named_parameters(), objective.named_parameters()))
    for name, parameter in named:
        if not torch.isfinite(parameter).all():
            return f"{where}: the weights of {name} are not finite; lower the learning rate"

    found: list[str] = []
    handles = [
        module.register_forward_hook(_first_bad(found, name))
        for name, module in chain(model.named_modules(), objective.named_modules())
        if name and not any(True for _ in module.children())
    ]
    try:
        move = next(move for place, move in enumerate(moves) if place == number)
    finally:
        for handle in handles:
            handle.remove()
    layer = f"; the first layer whose output is not finite is {found[0]}" if found else ""
    bad_terms = [
        _WORDS.get(name, name) for name, value in move.terms.items() if not torch.isfinite(value).all()
    ]
    if bad_terms:
        return f"{where}: {' and '.join(bad_terms)} became NaN or Inf{layer}"
    if not torch.isfinite(move.loss):
        return (
            f"{where}: the loss is not finite although its terms are; look at the objective's weights{layer}"
        )
    move.loss.backward()
    for name, parameter in named:
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            return f"{where}: every term is finite but the gradient of {name} is not"
    return f"{where}: all is finite when the step is repeated; another process may have met it"


def _first_bad(found: list[str], name: str):
    def hook(module: nn.Module, inputs: object, output: object) -> None:
        if not found and isinstance(output, Tensor) and not torch.isfinite(output).all():
            found.append(f"{name} ({type(module).__name__})")

    return hook


def settled(history: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a run has gone on until its validation bound rose no more: a short trial has not."""
    bounds = _bounds(history, "valid")
    if len(bounds) < _FEWEST or history[-1]["step"] < _FEWEST_STEPS:
        return False
    late = max(bounds) - max(bounds[: -len(bounds) // 4])
    return late <= _STILL * (max(bounds) - bounds[0])


def findings(history: Sequence[Mapping[str, Any]], learning_rate: float, stopped: str) -> list[str]:
    """Return what went wrong in a run, each with its cause and a remedy; nothing where nothing did.

    Args:
        history: The records of ``metrics.jsonl``.
        learning_rate: The highest learning rate.
        stopped: How the run ended; one that stopped early has dealt with a falling validation bound.
    """
    train, valid = _bounds(history, "train"), _bounds(history, "valid")
    if len(valid) < _FEWEST:
        return []
    lost = sum(not math.isfinite(bound) for bound in valid)
    gain = max(train) - train[0]
    if lost or max(train) - train[-1] > _FALL * gain + _NATS:
        what = (
            f"{lost} of {len(valid)} validation bounds are not finite"
            if lost
            else f"the training bound fell from {max(train):.2f} to {train[-1]:.2f} nats"
        )
        return [
            f"{what}: the learning rate {learning_rate:g} is probably too high; try {learning_rate / 3:.1g}"
        ]
    best = max(range(len(valid)), key=lambda i: valid[i])
    fall, rise = valid[best] - valid[-1], valid[best] - valid[0]
    if stopped == "early" or len(valid) - 1 - best < 3 or fall <= _SHARE * rise + _NATS:
        return []
    of = [record for record in history if record["split"] == "valid"]
    where = f"evaluation {best + 1} of {len(valid)} (epoch {of[best]['epoch']:.4g})"
    return [
        f"validation fell from {valid[best]:.2f} nats at {where} to {valid[-1]:.2f} while training went on to rise: "
        "from there on the model learned its examples by heart. The weights of that evaluation are kept; patience=5 "
        "would have saved the time"
    ]


def _bounds(history: Sequence[Mapping[str, Any]], split: str) -> list[float]:
    return [record["bound"] for record in history if record["split"] == split and "bound" in record]
