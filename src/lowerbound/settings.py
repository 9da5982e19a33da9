"""The numbers of a training run, in one frozen table that ``config.json`` repeats; known without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from .errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """How to train. The same names are the keyword arguments of ``fit`` and the keys of ``[training]``.

    Attributes:
        epochs: Length of the run in passes over the training data; may be fractional.
        minutes: Length of the run by the clock instead; every schedule then follows the clock.
        batch_size: Examples per optimiser step, over all processes.
        labelled_per_batch: Labelled examples added to every batch, drawn again each time, for semi-supervised data.
        learning_rate: Highest learning rate, after the warm-up.
        optimizer: "adamw" or "adam", fused.
        weight_decay: Decoupled for "adamw"; on weight matrices, never on biases and scales.
        betas: Decay rates of Adam's two averages.
        warmup: Share of the run in which the learning rate rises linearly, the first step's being above 0.
        schedule: "cosine" to zero after the warm-up, or "constant".
        clip: Largest norm of the gradient; None never clips.
        skip: A step is left out if the gradient's norm is more than this many times its running median; None never
            leaves one out. Records then say the share of steps left out, as "skipped".
        ema: Decay per step of the exponential moving average of the weights, the weights that are validated
            and kept; 0 keeps the last weights instead.
        validation_samples: Importance samples K of the validation bound, which chooses the weights to keep.
        evaluations: How often, at most, the validation bound is computed in the run: at an epoch's end where that is
            near, but also within long ones, and for the first time early on.
        patience: Evaluations without a better validation bound after which the run stops; None never stops early.
        keep: "best" ends with the weights of the best validation bound, "last" with the last ones.
        seed: Seed of every draw; with one thread a run repeats bit for bit.
        device: "auto", "cpu", "cuda", ...
        precision: Of the networks: "auto", "fp32", "bf16"; log-densities are in fp32 (or fp64) regardless.
        checkpoint_seconds: Longest time between two checkpoints.
    """

    epochs: float | None = None
    minutes: float | None = None
    batch_size: int = 200
    labelled_per_batch: int = 0
    learning_rate: float = 2.5e-3
    optimizer: Literal["adamw", "adam"] = "adamw"
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: float = 0.005
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: float | None = 200.0
    skip: float | None = None
    ema: float = 0.999
    validation_samples: int = 4
    evaluations: int = 25
    patience: int | None = None
    keep: Literal["best", "last"] = "best"
    seed: int = 0
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.minutes is None):
            given = "both" if self.epochs is not None else "neither"
            raise ConfigError(f"a run's length is either epochs or minutes; got {given}")
        positive = (
            "epochs",
            "minutes",
            "batch_size",
            "learning_rate",
            "clip",
            "skip",
            "validation_samples",
            "evaluations",
        )
        if self.skip is not None and self.skip <= 1:
            raise ConfigError(f"training.skip must be above 1, or half of the steps go; got {self.skip!r}")
        for name in (*positive, "patience", "checkpoint_seconds"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"training.{name} must be positive; got {value!r}")
        if not -(2**63) <= self.seed < 2**63:
            raise ConfigError(f"training.seed must fit into 64 bits; got {self.seed!r}")
        if self.labelled_per_batch < 0:
            raise ConfigError(
                f"training.labelled_per_batch must be 0 or more; got {self.labelled_per_batch!r}"
            )
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(
                f"training.betas must be two numbers, at least 0 and below 1; got {self.betas!r}"
            )
        for name, high in (("weight_decay", math.inf), ("warmup", 1.0), ("ema", 1.0)):
            if not 0 <= getattr(self, name) < high:
                raise ConfigError(
                    f"training.{name} must be at least 0 and below {high:g}; got {getattr(self, name)!r}"
                )

    def learning_rate_at(self, fraction: float, step: float = 0.0) -> float:
        """Return the learning rate of a step.

        Args:
            fraction: Share of the run that is done.
            step: Share of the run that the step takes; the warm-up counts it, or the first one would be idle.
        """
        if fraction < self.warmup:
            return self.learning_rate * min(1.0, (fraction + step) / self.warmup)
        if self.schedule == "constant":
            return self.learning_rate
        done = min(1.0, (fraction - self.warmup) / (1 - self.warmup))
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
