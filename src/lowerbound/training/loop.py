"""The training loop, on Lightning Fabric: one process or several under torchrun, on any device."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..data import Data
from ..data.tables import import_pandas
from ..display import Picture, html_table, signed
from ..errors import ConfigError
from ..model import VAE
from ..objectives import ELBO, Objective
from ..settings import Settings
from .console import console, length_in_words
from .engine import make_fabric
from .folder import RunFolder
from .heap import kept_heap
from .loggers import logging_to
from .session import Callback, Session

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(repr=False)
class Run:
    """What a training run ended with.

    Attributes:
        model: The trained model, with the kept weights, in evaluation mode.
        history: The records of ``metrics.jsonl``.
        best: The validation record with the highest bound.
        steps: Optimiser steps done.
        seconds: Training time, resumed parts included.
        stopped: "finished", "early" (patience ran out) or "interrupted" (resume to go on).
        folder: The run's folder, or None.
    """

    model: VAE
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    steps: int = 0
    seconds: float = 0.0
    stopped: str = "finished"
    folder: Path | None = None

    @property
    def epochs(self) -> float:
        """Passes over the training data."""
        return self.history[-1]["epoch"] if self.history else 0.0

    def __repr__(self) -> str:
        """A line: ``Run(runs/x, 20 epochs, best −24.40)``, the bound in nats."""
        best = None if self.best is None else f"best {signed(self.best['bound'])}"
        ended = {"early": "stopped early", "interrupted": "interrupted"}.get(self.stopped)
        parts = (self.folder, f"{self.epochs:.4g} epochs", best, ended)
        return f"Run({', '.join(str(part) for part in parts if part is not None)})"

    def _repr_html_(self) -> str:
        best = self.best or {}
        rows = [("ended", self.stopped), ("epochs", f"{self.epochs:.4g}"), ("steps", self.steps)]
        rows += [("seconds", f"{self.seconds:.0f}")]
        rows += [(f"best {key}, nats", f"{best[key]:.2f}") for key in ("bound", "kl") if key in best]
        return html_table(rows, str(self.folder or "Run"), heads=False)

    def to_frame(self) -> DataFrame:
        """Return the records, a row for each, as a DataFrame."""
        return import_pandas().DataFrame(self.history)

    def plot(self) -> Picture:
        """Draw the bound, its terms and the learning rate against epochs."""
        from ..report.charts import curves

        if not self.history:
            raise ConfigError("the run has no records yet, so there is nothing to draw")
        return Picture(curves(self.history))


def train(
    model: VAE,
    data: Data,
    objective: Objective | None = None,
    settings: Settings | None = None,
    *,
    folder: RunFolder | None = None,
    config: dict[str, Any] | None = None,
    resume: bool = False,
    progress: bool = True,
    callback: Callback | None = None,
    loggers: Sequence[Any] = (),
) -> Run:
    """Train ``model`` on ``data.train``; keep the weights with the best bound on ``data.valid``.

    Args:
        model: The model; trained in place.
        data: The data; moved to the device once, in their storage type.
        objective: What to maximise; the evidence lower bound if not given.
        settings: The run's numbers; 50 epochs if not given.
        folder: Where to write metrics, weights and checkpoints, in the place of another run; None writes nothing.
        config: What the folder's ``config.json`` is to hold.
        resume: Continue from the folder's checkpoint.
        progress: Show progress on standard error.
        callback: Called after each evaluation with the model, in evaluation mode and with the averaged weights, and
            the record; training goes on as if it had not been called.
        loggers: Lightning's, or objects like these; see ``loggers.py``.

    Raises:
        ConfigError: the objective or a setting does not fit the run, or the device does not exist.
        NonFiniteError: a NaN or Inf appeared; the last checkpoint and the best weights are kept.
        RunError: ``resume`` without a readable checkpoint, or the folder cannot be written.
    """
    objective, settings = objective or ELBO(), settings or Settings(epochs=50)
    fabric = make_fabric(settings)
    with _own_state(fabric.device), _stop_requested() as stop, kept_heap():
        session = Session(fabric, model, data, objective, settings, folder, config, stop)
        length = length_in_words(settings.epochs, settings.minutes, session.pace.total_steps)
        with (
            console(progress and fabric.global_rank == 0, length, objective.is_bound) as shown,
            session.running(resume, shown),
            logging_to(loggers if fabric.global_rank == 0 else (), config, session.history) as log,
        ):
            while session.stopped is None:
                x, c, where = session.batch()
                for move in objective.moves(session.module, x, c, where):
                    session.descend(move)
                session.advance()
                if session.pace.evaluation_is_due(session.step):
                    session.evaluate(callback)
                    log(session.history[-2:])
                session.save_if_due()
    return Run(
        model,
        session.history,
        session.best,
        session.step,
        session.seconds,
        session.stopped or "interrupted",
        folder.path if folder else None,
    )


@contextlib.contextmanager
def _own_state(device: torch.device) -> Iterator[None]:
    """Record gradients whatever the caller does, and give torch's global generator back as it was."""
    devices = [] if device.type == "cpu" else [device]
    kind = device.type if devices else "cuda"
    with (
        torch.random.fork_rng(devices=devices, device_type=kind),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        yield


@contextlib.contextmanager
def _stop_requested() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C or SIGTERM into a flag that the loop looks at; a second one acts as usual."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: object) -> None:
        event.set()
        signal.signal(number, old[signal.Signals(number)])

    for number in old:
        signal.signal(number, handle)
    try:
        yield event
    finally:
        for number, previous in old.items():
            signal.signal(number, previous)
