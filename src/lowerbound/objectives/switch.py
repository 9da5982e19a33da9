"""One objective for the first part of a run, another one for the rest."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..errors import ConfigError
from ..model import VAE
from .base import Objective, ObjectiveOutput
from .schedules import Progress


class Switch(Objective):
    """Train with ``first`` until a share of the run is done, then with ``then``.

    The importance-weighted bound costs several decoder passes per step and its gain comes at the end: the
    evidence lower bound for the first part reaches the same place in less time.

    Args:
        first: Objective at the start.
        then: Objective at the end.
        at: Share of the run, between 0 and 1, after which ``then`` takes over.
    """

    def __init__(self, first: Objective, then: Objective, at: float = 0.5) -> None:
        super().__init__()
        if not 0 < at < 1:
            raise ConfigError(f"Switch needs 0 < at < 1, a share of the run; got {at!r}")
        self.first = first
        self.then = then
        self.at = at
        self.sums_out_labels = first.sums_out_labels and then.sums_out_labels

    def forward(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        return (self.first if progress.fraction < self.at else self.then)(model, x, c, progress)

    def check(self, model: VAE, progress: Progress) -> None:
        """Raise ConfigError if either objective does not fit the model or the run."""
        self.first.check(model, progress)
        self.then.check(model, progress)
