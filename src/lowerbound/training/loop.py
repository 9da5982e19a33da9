"""The training loop, on Lightning Fabric: one process or several under torchrun, on any device.

Read it top to bottom. Randomness is a function of (seed, rank, step) alone, so a run that was interrupted
anywhere and resumed gives the same numbers as one that was not.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from ..data import Data, Split
from ..errors import DataError, NonFiniteError, RunError
from ..model import VAE
from ..objectives import ELBO, ImportanceWeighted, Objective, Progress
from . import checkpoint
from .checkpoint import seed_for
from .console import Console
from .devices import choose_compute_dtype
from .ema import MovingAverage
from .engine import make_fabric
from .folder import RunFolder
from .health import diagnose
from .settings import Settings

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Callback = Callable[[VAE, dict[str, Any]], None]


@dataclass
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


def train(
    model: VAE,
    data: Data,
    objective: Objective | None = None,
    settings: Settings | None = None,
    *,
    folder: RunFolder | None = None,
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
        folder: Where to write metrics, weights and checkpoints; None writes nothing.
        resume: Continue from the folder's checkpoint.
        progress: Show progress on standard error.
        callback: Called with the model (kept weights) and the record after each evaluation.

    Raises:
        ConfigError: the objective or a setting does not fit the run, or the device does not exist.
        NonFiniteError: a NaN or Inf appeared; the last checkpoint and the best weights are kept.
        RunError: ``resume`` without a readable checkpoint.
    """
    objective = objective or ELBO()
    settings = settings or Settings(epochs=50)
    fabric = make_fabric(settings)
    started = time.monotonic()  # when all processes are there
    device, rank, world = fabric.device, fabric.global_rank, fabric.world_size
    model.compute_dtype = choose_compute_dtype(settings.precision, device, model)

    n, local_batch = len(data.train), max(1, settings.batch_size // world)
    if n < world or not len(data.valid):
        raise DataError(
            f"training needs at least one example per process and for validation; got {n} examples"
        )
    steps_per_epoch = math.ceil(n / (local_batch * world))
    total_steps = None if settings.epochs is None else max(1, round(settings.epochs * steps_per_epoch))
    where = Progress(0, steps_per_epoch, total_steps, 0.0)
    objective.check(model, where)
    data = data.to(device)
    model.to(device)

    parameters = [p for p in model.parameters() if p.requires_grad]
    module, optimizer = fabric.setup(model, _optimizer(model, settings))
    if model.classifier is not None:
        module.mark_forward_method("classify")
    labelled = _labelled(model, data.train) if settings.labelled_per_batch else None
    average = MovingAverage(model, settings.ema) if settings.ema else None

    state: dict[str, Any] = {"step": 0, "seconds": 0.0, "best": None, "since_best": 0}
    if resume:
        if folder is None:
            raise RunError("resume needs the folder of the run")
        state = _restore(folder, model, optimizer, average)
        folder.forget_after(state["step"])
    before = state["seconds"]
    history = folder.history() if folder and resume else []
    if state["best"] is None:
        best_weights = None
    else:
        best_weights = (
            {k: v.to(device) for k, v in checkpoint.load_tensors(folder.model)[0].items()} if folder else None
        )

    def elapsed() -> float:
        return before + time.monotonic() - started

    def fraction_at(step: int, seconds: float) -> float:
        if total_steps is not None:
            return min(1.0, step / total_steps)
        assert settings.minutes is not None
        return min(1.0, seconds / (60 * settings.minutes))

    def fraction_done(step: int) -> float:
        return fraction_at(step, elapsed())

    def save() -> None:
        if folder and rank == 0:
            interval = {"examples": examples, "clock": clock, "sums": {k: v.item() for k, v in sums.items()}}
            _save(folder, model, optimizer, average, {**state, "seconds": elapsed(), "interval": interval})

    length = f"{settings.epochs:g} epochs" if settings.minutes is None else f"{settings.minutes:g} minutes"
    console = Console(progress and rank == 0, length)
    stopped = "finished"
    # What the next record of training will be made of: of several processes, the first one's part is known again.
    interval = state.pop("interval", {}) if rank == 0 else {}
    sums = {name: torch.tensor(value, device=device) for name, value in interval.get("sums", {}).items()}
    examples, clock, last_save = interval.get("examples", 0), interval.get("clock", 0.0), time.monotonic()
    step, order, epoch = state["step"], torch.empty(0, dtype=torch.long), -1
    last = history[-1] if history else {"step": 0, "seconds": 0.0}
    next_evaluation = _next_evaluation(
        last["step"], fraction_at(last["step"], last["seconds"]), where, settings
    )

    with _own_generator(device), _stop_requested() as stop:

        def standing(step: int) -> tuple[float, bool]:
            """Return the share of the run that is done and whether to stop; all processes get the same answer."""
            if world == 1:
                return fraction_done(step), stop.is_set()
            mine = torch.tensor([fraction_done(step), float(stop.is_set())], device=device)
            fraction, stopping = cast(Tensor, fabric.all_reduce(mine, reduce_op="max")).tolist()
            return fraction, stopping > 0

        try:
            if folder and rank == 0 and not folder.checkpoint.exists():
                save()
                checkpoint.save_tensors(folder.model, model.state_dict(), {"step": 0})  # loadable from now on
            module.train()
            fraction, stopping = standing(step)
            while fraction < 1 and not stopping:
                # ---------------------------------------------------------------- one step
                tick = time.monotonic()
                if step // steps_per_epoch != epoch:
                    epoch = step // steps_per_epoch
                    order = data.train.order(seed_for(settings.seed, -1, epoch), rank, world).to(device)
                start = (step % steps_per_epoch) * local_batch
                index = order[start : start + local_batch]
                # An epoch's last batch may not go evenly into the processes, and may be smaller than their number.
                counted, together = len(index), min(local_batch * world, n - start * world)
                index = index if counted else order[:1]
                seed = seed_for(settings.seed, rank, step)
                _seed(device, seed)
                if labelled is not None:
                    chosen = torch.randperm(len(labelled), device=labelled.device)
                    share = max(1, settings.labelled_per_batch // world)
                    index = torch.cat([index, labelled[chosen[:share]].to(index.device)])
                x, c = data.train.batch(index)
                for group in optimizer.param_groups:
                    group["lr"] = settings.learning_rate_at(fraction)
                out = objective(module, x, c, replace(where, step=step, fraction=fraction))
                # Processes average their gradients: the mean over all examples needs each one's share.
                uneven = counted * world != together
                fabric.backward(out.loss * (counted * world / together) if uneven else out.loss)
                # The norm is wanted even where nothing is clipped: it is finite only if every gradient is.
                gradients = [p.grad for p in parameters if p.grad is not None]
                norm = nn.utils.get_total_norm(gradients)
                loss, length_of_gradient = torch.stack([out.loss.detach(), norm]).tolist()
                if not math.isfinite(loss + length_of_gradient):
                    _seed(device, seed)
                    x, c = data.train.batch(index)
                    raise NonFiniteError(
                        diagnose(model, x, c, index, seed, step, getattr(objective, "samples", 1))
                        + (f"; the last good state is in {folder.checkpoint}" if folder else "")
                    )
                if settings.clip and length_of_gradient > settings.clip:
                    nn.utils.clip_grads_with_norm_(parameters, settings.clip, norm)
                optimizer.step()
                optimizer.zero_grad()
                step += 1
                state["step"] = step
                if average:
                    average.update(step)
                for name, value in (("bound", out.bound), *out.terms.items()):
                    sums[name] = sums.get(name, 0) + value.detach() * counted
                examples += counted
                clock += time.monotonic() - tick
                console.step(fraction, examples * world / clock)

                # ---------------------------------------------------------------- one evaluation
                fraction, stopping = standing(step)
                if _due(step, fraction, next_evaluation):
                    next_evaluation = _next_evaluation(step, fraction, where, settings)
                    common = {
                        "step": step,
                        "epoch": step / steps_per_epoch,
                        "examples": n * (step // steps_per_epoch)
                        + min(n, local_batch * world * (step % steps_per_epoch)),
                        "seconds": elapsed(),
                        "learning_rate": optimizer.param_groups[0]["lr"],
                        "images_per_second": examples * world / clock,
                    }
                    train_record = {**common, "split": "train", **_means(fabric, sums, examples)}
                    with average.applied() if average else contextlib.nullcontext():
                        valid = validate(fabric, model, data.valid, settings, rank, world)
                        valid_record = {**common, "seconds": elapsed(), "split": "valid", **valid}
                        better = state["best"] is None or valid["bound"] > state["best"]["bound"]
                        if better:
                            state["best"], state["since_best"] = valid_record, 0
                            best_weights = {k: v.detach().clone() for k, v in model.state_dict().items()}
                        else:
                            state["since_best"] += 1
                        if folder and rank == 0 and better:
                            checkpoint.save_tensors(folder.model, model.state_dict(), {"step": step})
                        if callback:
                            callback(model, valid_record)
                    for record in (train_record, valid_record):
                        history.append(record)
                        if folder and rank == 0:
                            folder.append(record)
                    console.evaluated(fraction, train_record, valid_record, better)
                    sums, examples, clock = {}, 0, 0.0
                    if settings.patience and state["since_best"] >= settings.patience:
                        stopped = "early"
                        break
                    fraction, stopping = standing(step)  # it took a while
                if time.monotonic() - last_save > settings.checkpoint_seconds:
                    save()
                    last_save = time.monotonic()
            if stopping:
                stopped = "interrupted"
            save()
        finally:
            console.close()
            module.zero_grad()

    _keep(model, settings, average, best_weights)
    if folder and rank == 0 and settings.keep == "last":
        checkpoint.save_tensors(folder.model, model.state_dict(), {"step": step})
    model.compute_dtype = None  # what is asked of the model from here on is computed in its own type
    model.eval()
    return Run(model, history, state["best"], step, elapsed(), stopped, folder.path if folder else None)


def _labelled(model: VAE, split: Split) -> Tensor:
    """Return the places of the examples whose label is known."""
    known = split.condition(model.label[0]) >= 0
    return known.nonzero().squeeze(1)


@torch.no_grad()
def validate(
    fabric: Fabric, model: VAE, split: Split, settings: Settings, rank: int = 0, world: int = 1
) -> dict[str, float]:
    """Return the bound, the evidence lower bound and its two terms on a split, nats per example.

    With a classifier, also the share of the labelled examples that it gets wrong; where a label is missing, the bound
    is that of the class it finds. The same noise at every call: differences between two evaluations are the model's,
    not the draws'.
    """
    criterion = ImportanceWeighted(settings.validation_samples)
    sums: dict[str, Tensor] = {}
    rows = 0
    training = model.training
    model.eval()
    for number, (x, c) in enumerate(split.batches(settings.batch_size, seed=settings.seed)):
        # Every process takes its share of every batch. One whose share is empty looks at an example that does not
        # count, for all must have the same terms to add up.
        mine = slice(rank, None, world) if len(x) > rank else slice(1)
        counted = len(range(rank, len(x), world))
        x, c = x[mine], c and {name: value[mine] for name, value in c.items()}
        _seed(fabric.device, seed_for(settings.seed, -2 - rank, number))
        errors = {}
        if model.classifier is not None and c is not None:
            name, found = model.label[0], model.classify(x).argmax(1)
            known = c[name] >= 0
            errors["error"] = ((found != c[name]) & known).sum() / known.sum().clamp(min=1)
            c = c | {name: torch.where(known, c[name], found)}
        out = criterion(model, x, c, Progress())
        terms = {"bound": out.bound, **out.terms, **errors}
        for name, value in terms.items():
            sums[name] = sums.get(name, 0) + value * counted
        rows += counted
    model.train(training)
    return _means(fabric, sums, rows)


def _means(fabric: Fabric, sums: dict[str, Tensor], rows: int) -> dict[str, float]:
    """Return the means over all processes' examples, with the evidence lower bound they imply."""
    names = sorted(sums)
    totals = torch.stack(
        [*(sums[name].double() for name in names), torch.tensor(float(rows), device=fabric.device)]
    )
    if fabric.world_size > 1:
        totals = fabric.all_reduce(totals, reduce_op="sum")
    means = {name: (total / totals[-1]).item() for name, total in zip(names, totals, strict=False)}
    if "reconstruction" in means and "kl" in means:
        means["elbo"] = means["reconstruction"] - means["kl"]
    return means


def _optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    groups = [group for group in groups if group["params"]]
    return kind(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)


def _seed(device: torch.device, seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def _own_generator(device: torch.device):
    """Give torch's global generator back as it was: the loop seeds it at every step."""
    devices = [] if device.type == "cpu" else [device]
    return torch.random.fork_rng(devices=devices, device_type=device.type if devices else "cuda")


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


def _next_evaluation(step: int, fraction: float, where: Progress, settings: Settings) -> tuple[int, float]:
    """Return the step and the share of the run that both must be reached before the next evaluation."""
    interval = 1 / settings.evaluations
    epoch_end = (step // where.steps_per_epoch + 1) * where.steps_per_epoch
    return epoch_end, (math.floor(fraction / interval + 1e-9) + 1) * interval


def _due(step: int, fraction: float, target: tuple[int, float]) -> bool:
    """Return whether an evaluation is due: at an epoch's end when its time has come, and at the run's end."""
    return fraction >= 1 or (step >= target[0] and fraction >= target[1] - 1e-9)


def _save(
    folder: RunFolder,
    model: VAE,
    optimizer: Any,
    average: MovingAverage | None,
    state: dict[str, Any],
) -> None:
    tensors = checkpoint.with_prefix("model", model.state_dict())
    tensors |= checkpoint.with_prefix("optimizer", checkpoint.optimizer_tensors(optimizer.optimizer))
    if average:
        tensors |= checkpoint.with_prefix("ema", average.state())
    checkpoint.save_tensors(folder.checkpoint, tensors, state)


def _restore(folder: RunFolder, model: VAE, optimizer: Any, average: MovingAverage | None) -> dict[str, Any]:
    tensors, state = checkpoint.load_tensors(folder.checkpoint)
    where = str(folder.checkpoint)
    checkpoint.load_module(model, checkpoint.without_prefix("model", tensors), where)
    saved = checkpoint.without_prefix("ema", tensors)
    if average:
        if set(saved) != set(average.names):
            raise RunError(
                f"{where} was written without an average of the weights; resume with training.ema=0"
            )
        average.load(saved)
    checkpoint.load_optimizer(optimizer.optimizer, checkpoint.without_prefix("optimizer", tensors))
    return state


@torch.no_grad()
def _keep(
    model: VAE, settings: Settings, average: MovingAverage | None, best: dict[str, Tensor] | None
) -> None:
    """Give the model the weights that the run is to end with."""
    if settings.keep == "best" and best is not None:
        model.load_state_dict(best)
    elif average:
        for parameter, value in zip(average.source, average.average, strict=True):
            parameter.copy_(value)
