"""Where a NaN or an infinity came from: which term, which layer, which batch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor, nn

from ..model import VAE
from ..objectives import Move, Objective

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
