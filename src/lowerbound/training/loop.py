"""The training loop, on Lightning Fabric: one process or several under torchrun, on any device."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..data import Data
from ..model import VAE
from ..objectives import ELBO, Objective
from .console import console, length_in_words
from .engine import make_fabric
from .folder import RunFolder
from .heap import kept_heap
from .session import Callback, Session
from .settings import Settings


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

    def __repr__(self) -> str:
        best = f", best bound {self.best['bound']:.2f} at epoch {self.best['epoch']:.4g}" if self.best else ""
        folder = "" if self.folder is None else f", {str(self.folder)!r}"
        return f"Run({self.stopped} after {self.steps} steps in {self.seconds:.0f} s{best}{folder})"


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
            console(progress and fabric.global_rank == 0, length) as shown,
            session.running(resume, shown),
        ):
            while session.stopped is None:
                x, c, where = session.batch()
                for move in objective.moves(session.module, x, c, where):
                    session.descend(move)
                session.advance()
                if session.pace.evaluation_is_due(session.step):
                    session.evaluate(callback)
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
