"""Exponential moving average of a model's weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..errors import RunError

_STRIDE = 10


class MovingAverage:
    """Average of the weights over the last 1 / (1 − decay) steps; less noisy than the weights themselves.

    Early on the average runs over the steps so far, so that it does not remember the initialisation. After the first
    hundred steps it takes in every tenth one's weights: neighbouring steps differ too little to tell, and reading
    all weights costs a tenth of a small network's step. Buffers are not averaged: they already are running averages,
    or constants.

    Args:
        model: The model whose parameters are followed.
        decay: Weight of the old average in each step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.source = [p for p in model.parameters() if p.requires_grad]
        self.names = [name for name, p in model.named_parameters() if p.requires_grad]
        self.average = [p.detach().clone() for p in self.source]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimiser step number ``step`` (from 1)."""
        stride = 1 if step <= 100 else _STRIDE
        if step % stride:
            return
        decay = min(self.decay, step / (step + 9)) ** stride
        torch._foreach_lerp_(self.average, [p.detach() for p in self.source], 1 - decay)  # pyright: ignore

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the model has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for parameter, average in zip(self.source, self.average, strict=True):
            parameter.data, average.data = average.data, parameter.data

    def state(self) -> dict[str, Tensor]:
        """Return the averages by parameter name."""
        return dict(zip(self.names, self.average, strict=True))

    @torch.no_grad()
    def apply(self) -> None:
        """Give the model the averaged weights for good."""
        for parameter, average in zip(self.source, self.average, strict=True):
            parameter.copy_(average)

    @torch.no_grad()
    def load(self, state: dict[str, Tensor], where: str) -> None:
        """Take the averages of ``state``.

        Raises:
            RunError: they are not those of this model.
        """
        for name, average in zip(self.names, self.average, strict=True):
            if name not in state or state[name].shape != average.shape:
                raise RunError(f"{where} has no average of {name!r}; restore it from a copy, or train again")
            average.copy_(state[name])
