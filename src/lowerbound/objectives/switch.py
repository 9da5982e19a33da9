"""One objective for the first part of a run, another one for the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ..errors import ConfigError
from ..model import VAE
from .base import Move, Objective, ObjectiveOutput
from .schedules import Progress

if TYPE_CHECKING:
    from ..data import Data


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
        self.is_bound = first.is_bound and then.is_bound
        self.sums_out_labels = first.sums_out_labels and then.sums_out_labels

    def forward(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        return self._now(progress)[1](model, x, c, progress)

    def _now(self, progress: Progress) -> tuple[str, Objective]:
        return ("first", self.first) if progress.fraction < self.at else ("then", self.then)

    def start(self, model: VAE, data: Data | None = None) -> None:
        """Start both."""
        self.first.start(model, data)
        self.then.start(model, data)

    def players(self, model: VAE) -> dict[str, list[nn.Parameter]]:
        """Return the model's parameters, and those of either objective as "first_NAME" and "then_NAME"."""
        both = {"first": self.first.players(model), "then": self.then.players(model)}
        own = {_player(part, name): p for part, named in both.items() for name, p in named.items()}
        return own | super().players(model)

    def moves(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> Iterator[Move]:
        """Yield those of the objective whose turn it is."""
        part, objective = self._now(progress)
        for move in objective.moves(model, x, c, progress):
            yield move._replace(player=_player(part, move.player))

    def validate(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, samples: int
    ) -> dict[str, Tensor]:
        """Return what the second objective reports: the weights to keep are chosen by one criterion throughout."""
        return self.then.validate(model, x, c, samples)

    def check(self, model: VAE, progress: Progress) -> None:
        """Raise ConfigError if either objective does not fit the model or the run."""
        self.first.check(model, progress)
        self.then.check(model, progress)


def _player(part: str, name: str) -> str:
    return name if name == "model" else f"{part}_{name}"
