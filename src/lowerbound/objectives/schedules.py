"""Weights that change as training goes on, and how far it has gone.

A schedule's length is checked against the run's before the first step: a warm-up that is longer than the run
would end at a weight below the one that was asked for, silently another objective.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Literal

from ..errors import ConfigError

Unit = Literal["steps", "epochs", "fraction"]
UNITS = ("steps", "epochs", "fraction")


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        step: Optimiser steps done.
        steps_per_epoch: Steps that see the training data once.
        total_steps: Steps of the whole run, or None if it is limited by the clock.
        fraction: Share of the run that is done, from 0 to 1, by steps or by the clock.
    """

    step: int = 0
    steps_per_epoch: int = 1
    total_steps: int | None = None
    fraction: float = 0.0


class Schedule(ABC):
    """A weight as a function of progress."""

    @abstractmethod
    def __call__(self, progress: Progress) -> float:
        """Return the weight."""

    def check(self, progress: Progress) -> None:
        """Raise ConfigError unless the schedule ends within the run that ``progress`` describes."""


@dataclass(frozen=True)
class Constant(Schedule):
    """A weight that stays."""

    value: float

    def __call__(self, progress: Progress) -> float:
        return self.value


@dataclass(frozen=True)
class Linear(Schedule):
    """Straight line from ``start`` to ``end`` over ``length``, then constant.

    Attributes:
        start: First value.
        end: Last value.
        length: Duration, in ``unit``.
        unit: "steps", "epochs", or "fraction" of the run.
    """

    start: float = 0.0
    end: float = 1.0
    length: float = 0.1
    unit: Unit = "fraction"

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ConfigError(f"a schedule's unit is one of {', '.join(UNITS)}; got {self.unit!r}")
        if not (self.length > 0 and math.isfinite(self.length)):
            raise ConfigError(f"a schedule needs a positive length; got {self.length!r}")

    def _done(self, progress: Progress) -> float:
        if self.unit == "fraction":
            done = progress.fraction
        else:
            done = progress.step / (progress.steps_per_epoch if self.unit == "epochs" else 1)
        return min(1.0, done / self.length)

    def __call__(self, progress: Progress) -> float:
        return self.start + (self.end - self.start) * self._done(progress)

    def check(self, progress: Progress) -> None:
        """Raise ConfigError if the run ends before the schedule does, or has no length to compare with."""
        if self.unit == "fraction":
            if self.length > 1:
                raise ConfigError(
                    f"the schedule takes {self.length:g} of the run; give a fraction of at most 1"
                )
            return
        if progress.total_steps is None:
            raise ConfigError(
                f"the schedule's length is in {self.unit}, but a run limited by minutes has no fixed number of "
                "them; give it as unit='fraction', or limit the run by epochs"
            )
        per_unit = progress.steps_per_epoch if self.unit == "epochs" else 1
        run = progress.total_steps / per_unit
        if self.length > run:
            last = self(replace(progress, step=progress.total_steps))
            raise ConfigError(
                f"the schedule takes {self.length:g} {self.unit} but the run has only {run:g}: it would end at "
                f"{last:g} instead of {self.end:g}; shorten the schedule or lengthen the run"
            )


@dataclass(frozen=True)
class Cosine(Linear):
    """Half a cosine wave from ``start`` to ``end`` over ``length``, then constant."""

    def __call__(self, progress: Progress) -> float:
        return self.end + (self.start - self.end) * 0.5 * (1 + math.cos(math.pi * self._done(progress)))


def as_schedule(value: float | Schedule) -> Schedule:
    """Return a schedule: a number stands for a constant weight."""
    return value if isinstance(value, Schedule) else Constant(float(value))
