"""One run: the model, the objective and their optimisers, where it stands, and what of it is on disk.

Randomness is a function of (seed, rank, step) alone, so a run that was interrupted anywhere and resumed gives the
same numbers as one that was not.

The host waits for the device now and then only, at a *look*: then all processes agree on how late it is and whether
to stop, and learn whether all moves were finite. Nothing is evaluated, saved or kept without a look before it.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, distributed, nn

from ..data import Data, Split
from ..errors import ConfigError, DataError, NonFiniteError, RunError, suggest
from ..evaluation import bits_per_dim
from ..evaluation.stream import log_volume
from ..model import VAE
from ..objectives import Move, Objective, Progress
from ..settings import Settings
from . import checkpoint
from .checkpoint import seed_for
from .console import Console
from .devices import choose_compute_dtype
from .ema import MovingAverage
from .engine import begin, mark, remember
from .folder import RunFolder, is_record
from .health import diagnose
from .means import Means
from .optimizers import Guard, make_optimizer
from .pace import Pace
from .validation import of_original, seed_all, validate

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Callback = Callable[[VAE, dict[str, Any]], None]
_SETTLED = 50  # batches, of which the running mean is one


class Session:
    """A run as it goes on.

    Args:
        fabric: The engine.
        model: The model; trained in place.
        data: The data; moved to the device once, in their storage type.
        objective: What to maximise; its own networks are built here.
        settings: The run's numbers.
        folder: Where to write; None writes nothing.
        config: What ``config.json`` is to hold.
        stop: Set from outside to end the run after the step.

    Attributes:
        module: The model as objectives call it; of several processes its gradients become the mean.
        step: Optimiser steps done.
        best: The validation record with the highest bound.
        history: The records of ``metrics.jsonl``.

    Raises:
        ConfigError: the objective or a setting does not fit the run.
        DataError: there are too few examples.
    """

    def __init__(
        self,
        fabric: Fabric,
        model: VAE,
        data: Data,
        objective: Objective,
        settings: Settings,
        folder: RunFolder | None,
        config: dict[str, Any] | None,
        stop: threading.Event,
    ) -> None:
        self._started = self._tick = time.monotonic()  # when all processes are there
        self._fabric, self._device = fabric, fabric.device
        self._rank, self._world = fabric.global_rank, fabric.world_size
        self._share = max(1, settings.batch_size // self._world)  # examples of this process in a step
        n = len(data.train)
        if n < self._world or not len(data.valid):
            raise DataError(
                f"training needs at least one example per process and for validation; got {n} examples"
            )
        every_step = self._world == 1 and self._device.type == "cpu"
        self.pace = Pace(settings, self._share * self._world, n, len(data.valid), every_step)
        objective.check(model, self.pace.progress(0))

        self.model, self._objective, self._settings = model.to(self._device), objective, settings
        self._data, self._folder, self._config, self._stop = data.to(self._device), folder, config, stop
        seed_all(self._device, seed_for(settings.seed))
        objective.start(model, self._data)
        objective.to(self._device)
        self._labelled = known_labels(model, self._data.train) if settings.labelled_per_batch else None

        players = check_players(objective, model)
        self._optimizers = {name: make_optimizer(ps, settings) for name, ps in players.items()}
        self._trained = list(
            dict.fromkeys(chain(model.parameters(), objective.parameters(), *players.values()))
        )
        own = set(model.parameters())
        self._by_hand = {name: [p for p in ps if p not in own] for name, ps in players.items()}
        self.module: VAE = model
        if self._world > 1:  # the engine averages the model's gradients over the processes, and no others
            self.module = cast(VAE, fabric.setup_module(model))
            if model.classifier is not None:
                self.module.mark_forward_method("classify")  # pyright: ignore[reportCallIssue]
        self._average = MovingAverage(model, settings.ema) if settings.ema else None

        self.step, self.best, self.history = 0, cast(dict[str, Any] | None, None), list[dict[str, Any]]()
        self._since_best, self._before, self._saved, self._interrupted = 0, 0.0, 0.0, False
        self._best_weights: dict[str, Tensor] | None = None
        self._guard = Guard(self._device, settings.skip)
        self._reset()
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)
        self._counted, self._weight, self._moves, self._volume = 0, 1.0, 0, cast(Any, 0.0)

    @property
    def seconds(self) -> float:
        """Training time, resumed parts included."""
        return self._before + time.monotonic() - self._started

    @property
    def stopped(self) -> str | None:
        """How the run has ended: "finished", "early" or "interrupted"; None while it goes on."""
        if self.pace.fraction(self.step) >= 1:
            return "finished"
        if self._settings.patience and self._since_best >= self._settings.patience:
            return "early"
        return "interrupted" if self._interrupted else None

    @contextlib.contextmanager
    def running(self, resume: bool, console: Console) -> Iterator[None]:
        """Train within the block; whatever ends it, the model is left as one that can be used.

        Raises:
            RunError: there is nothing to resume, or the folder cannot be written.
            NonFiniteError: no validation bound was finite.
        """
        self._console = console
        self.model.compute_dtype = choose_compute_dtype(self._settings.precision, self._device, self.model)
        try:
            if resume:
                self._resume()
            else:
                self._begin()
            self._train_mode()
            self.look()
            self._saved, self._tick = self.pace.seconds, time.monotonic()
            yield
            self._finish()
        finally:
            self._clear_gradients()
            self.model.compute_dtype = (
                None  # what is asked of the model from here on is computed in its own type
            )
            self.model.eval()
            self._objective.eval()

    # --------------------------------------------------------------------------------------------- one step
    def batch(self) -> tuple[Tensor, dict[str, Tensor] | None, Progress]:
        """Return the next batch, its condition, and where the run stands; all draws of the step follow its seed."""
        self._moves = 0
        x, c, _ = self._batch(self.step)
        volume = log_volume(self.model, self._data.train.spec, c)
        self._volume = volume.mean() if isinstance(volume, Tensor) else volume
        return x, c, self.pace.progress(self.step)

    def _batch(self, step: int) -> tuple[Tensor, dict[str, Tensor] | None, Tensor]:
        epoch, inside = divmod(step, self.pace.steps_per_epoch)
        train, world, device = self._data.train, self._world, self._device
        if epoch != self._epoch:
            self._epoch = epoch
            seed = seed_for(self._settings.seed, -1, epoch)
            self._order = train.order(seed, self._rank, world).to(device)
        index = self._order[inside * self._share : (inside + 1) * self._share]
        # An epoch's last batch may not go evenly into the processes, and may be smaller than their number. Processes
        # average their gradients: the mean over all examples needs each one's share.
        self._counted = len(index)
        together = min(self._share * world, len(train) - inside * self._share * world)
        self._weight = self._counted * world / together
        index = index if self._counted else self._order[:1]
        seed_all(device, seed_for(self._settings.seed, self._rank, step))
        if self._labelled is not None:
            chosen = torch.randperm(len(self._labelled), device=self._labelled.device)
            share = max(1, self._settings.labelled_per_batch // world)
            index = torch.cat([index, self._labelled[chosen[:share]].to(index.device)])
        return *train.batch(index), index

    def descend(self, move: Move) -> None:
        """Make one move: the gradient of its loss moves its player's parameters, and no others.

        Raises:
            ConfigError: the objective has no such player.
        """
        if move.player not in self._optimizers:
            raise ConfigError(
                f"a move of {move.player!r}, who is none of the objective's players; "
                f"{suggest(move.player, self._optimizers)}"
            )
        self._fabric.backward(move.loss if self._weight == 1 else move.loss * self._weight)
        if self._world > 1:
            for parameter in self._by_hand[move.player]:
                if parameter.grad is not None:
                    distributed.all_reduce(parameter.grad)
                    parameter.grad /= self._world
        optimizer = self._optimizers[move.player]
        for group in optimizer.param_groups:
            group["lr"] = self.pace.learning_rate(self.step)
        at = (self.step, self._moves)
        skipped = self._guard.apply(optimizer, move.loss, self._settings.clip, at, move.player)
        self._clear_gradients()
        self._moves += 1
        values = dict(move.terms) if move.bound is None else {"bound": move.bound, **move.terms}
        if self._settings.skip is not None:
            values["skipped"] = skipped
        self._means.add(of_original(values, self._volume), self._counted)

    def advance(self) -> None:
        """Go on to the next step, and look how things are when that is due.

        Raises:
            NonFiniteError: a move was not finite; it was not made.
        """
        self.step += 1
        self._examples += self._counted
        if self._average:
            self._average.update(self.step)
        if self.pace.look_is_due(self.step):
            self.look()
        clock = self._clock + time.monotonic() - self._tick
        rate = self._examples * self._world / clock
        self._console.step(self.pace.fraction(self.step), rate, self._means.running("bound"))

    def look(self) -> None:
        """Wait for the device, and agree with the other processes.

        Raises:
            NonFiniteError: a move since the last look was not finite.
        """
        seconds, stop, bad = self.seconds, float(self._stop.is_set()), self._guard.bad()
        if self._world > 1:
            mine = torch.tensor([seconds, stop, bad], dtype=torch.float64, device=self._device)
            seconds, stop, bad = cast(Tensor, self._fabric.all_reduce(mine, reduce_op="max")).tolist()
        self._interrupted = stop > 0
        self.pace.looked(self.step, seconds)
        if bad:
            last = f"; the last good state is in {self._folder.checkpoint}" if self._folder else ""
            raise NonFiniteError(self._diagnosis() + last)
        self._guard.passed()

    def _diagnosis(self) -> str:
        if not self._guard.bad():
            return f"before step {self.step}: another process met a loss or gradient that is not finite"
        step, number = self._guard.first_bad()
        x, c, index = self._batch(step)  # with the step's draws; the weights are still those it began with
        progress = self.pace.progress(step)
        moves = self._objective.moves(self.model, x, c, progress)
        return diagnose(self.model, self._objective, moves, x, index, step, number)

    # ------------------------------------------------------------------------------------------- evaluation
    def evaluate(self, callback: Callback | None) -> None:
        """Record the bounds of training and validation with the averaged weights, and keep the best.

        Raises:
            NonFiniteError: a move was not finite.
        """
        self.look()
        self._pause()
        fraction, world = self.pace.fraction(self.step), self._world
        self.pace.evaluated(self.step, fraction)
        epochs, inside = divmod(self.step, self.pace.steps_per_epoch)
        n = len(self._data.train)
        common = {
            "step": self.step,
            "epoch": self.step / self.pace.steps_per_epoch,
            "examples": n * epochs + min(n, self._share * world * inside),
            "seconds": self.seconds,
            "learning_rate": self.pace.learning_rate(self.step - 1),
            "images_per_second": self._examples * world / self._clock,
        }
        train = self._with_bits({**common, "split": "train", **self._means.over(self._fabric)})
        with self._judged():
            found, where = validate(
                self._fabric, self.model, self._objective, self._data.valid, self._settings
            )
            valid = self._with_bits({**common, "seconds": self.seconds, "split": "valid", **found})
            better = self._judge(valid, where)
            for record in (train, valid):
                self.history.append(record)
                if self._writes:
                    self._writes.append(record)
            self._console.evaluated(fraction, train, valid, better)
            if callback:
                self._call(callback, valid)
        self._reset()
        self.look()  # it took a while

    @property
    def _grey(self) -> float:
        """The log-volume of grey levels; 0 of other data, and where the values that are scored differ in number."""
        condition = self.model.condition
        part = condition is not None and condition.observed is not None
        return 0.0 if part else self._data.train.spec.log_volume

    def _with_bits(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return a record with its bound in bits per dimension beside it, for grey levels."""
        if not self._grey or "bound" not in record:
            return record
        return {**record, "bits_per_dim": bits_per_dim(-record["bound"], self._data.train.spec)}

    def _in_units(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return a record of before bounds were those of the discrete original, brought up to the present."""
        if not self._grey or "bits_per_dim" in record:
            return record
        return self._with_bits({**record, **of_original(record, self._grey)})

    def _judge(self, valid: dict[str, Any], where: str) -> bool:
        """Return whether these are the best weights so far, and keep them then."""
        bound = valid["bound"]
        if not math.isfinite(bound):
            warnings.warn(
                f"the validation bound at step {self.step} is {bound}, so these weights are not kept: "
                f"{where} of the validation data; look at it, or lower the learning rate",
                stacklevel=2,
            )
        better = math.isfinite(bound) and (self.best is None or bound > self.best["bound"])
        self._since_best = 0 if better else self._since_best + 1
        if better:
            self.best = valid
            if self._settings.keep == "best":
                self._best_weights = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
                self._write_model()
        return better

    def _call(self, callback: Callback, record: dict[str, Any]) -> None:
        """Call it, and leave nothing of what it does to buffers and gradients."""
        before = [buffer.clone() for buffer in self.model.buffers()]
        callback(self.model, record)
        with torch.no_grad():
            for buffer, was in zip(self.model.buffers(), before, strict=True):
                buffer.copy_(was)
        self._clear_gradients()

    @contextlib.contextmanager
    def _judged(self) -> Iterator[None]:
        """Within the block the model is in evaluation mode and has the averaged weights."""
        self.model.eval()
        self._objective.eval()
        try:
            with self._average.applied() if self._average else contextlib.nullcontext():
                yield
        finally:
            self._train_mode()

    def _train_mode(self) -> None:
        self.module.train()
        self._objective.train()

    def _clear_gradients(self) -> None:
        for parameter in self._trained:
            parameter.grad = None

    def _pause(self) -> None:
        """Stop the clock of training."""
        self._clock += time.monotonic() - self._tick

    def _reset(self) -> None:
        """Start what the next records will be made of."""
        self._means, self._examples, self._clock = Means(self._device), 0, 0.0
        self._tick = time.monotonic()

    # ----------------------------------------------------------------------------------------------- on disk
    @property
    def _writes(self) -> RunFolder | None:
        """The folder, for the one process that writes."""
        return self._folder if self._rank == 0 else None

    def save_if_due(self) -> None:
        """Write a checkpoint if the last one is long ago, by the clock of the last look."""
        if self.pace.seconds - self._saved > self._settings.checkpoint_seconds:
            self.look()
            self._save()

    def _save(self) -> None:
        self._pause()
        self._saved = self.pace.seconds
        if self._writes:
            self._write_checkpoint(self._writes)
            if self._best_weights is None:  # so that the folder holds what the run would end with
                with self._average.applied() if self._average else contextlib.nullcontext():
                    self._write_model()
        self._tick = time.monotonic()

    def _write_model(self) -> None:
        if self._writes:
            checkpoint.save_tensors(self._writes.model, self.model.state_dict(), {"step": self.step})

    def _write_checkpoint(self, folder: RunFolder) -> None:
        tensors = checkpoint.with_prefix("model", self.model.state_dict())
        tensors |= checkpoint.with_prefix("objective", self._objective.state_dict())
        for name, optimizer in self._optimizers.items():
            tensors |= checkpoint.with_prefix(_place(name), checkpoint.optimizer_tensors(optimizer))
        if self._average:
            tensors |= checkpoint.with_prefix("ema", self._average.state())
        tensors |= checkpoint.with_prefix("usual", self._guard.usual)
        interval = {"examples": self._examples, "clock": self._clock, **self._means.state()}
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "since_best": self._since_best,
        }
        checkpoint.save_tensors(folder.checkpoint, tensors, {**state, "interval": interval})

    def _begin(self) -> None:
        def write(new: RunFolder) -> None:
            self._write_checkpoint(new)
            checkpoint.save_tensors(new.model, self.model.state_dict(), {"step": 0})
            mark(new)
            if self._config is not None:
                new.write_config(self._config)

        if self._writes:
            self._writes.begin(write)
        if self._folder:
            remember(self._folder)

    def _resume(self) -> None:
        if self._folder is None:
            raise RunError("resume needs the folder of the run")
        self._restore(self._folder)
        if self._writes:
            self._writes.tidy()
            self._write_records(self._writes)
        begin(self._folder)

    def _write_records(self, folder: RunFolder) -> None:
        folder.write_history(self.history)
        if self._config is not None:
            folder.write_config(self._config)

    def _restore(self, folder: RunFolder) -> None:
        """Take everything from the checkpoint, after comparing it with what the run calls for."""
        tensors, state = checkpoint.load_tensors(folder.checkpoint)
        where = str(folder.checkpoint)
        checkpoint.load_module(self.model, checkpoint.without_prefix("model", tensors), where)
        checkpoint.load_module(self._objective, checkpoint.without_prefix("objective", tensors), where)
        for name, optimizer in self._optimizers.items():
            moments = checkpoint.without_prefix(_place(name), tensors)
            if name == "model":  # those of others stand under the same word, by their names
                moments = {key: v for key, v in moments.items() if key.split(".", 1)[0].isdigit()}
            checkpoint.load_optimizer(optimizer, moments, where)
        for name, usual in checkpoint.without_prefix("usual", tensors).items():
            self._guard.usual[name] = usual.to(self._device)
        if self._average:
            self._average.load(checkpoint.without_prefix("ema", tensors), where)
        self._take(state, where)
        self.history = [self._in_units(r) for r in folder.history() if r["step"] <= self.step]
        if self.history:
            last = self.history[-1]
            self.pace.evaluated(last["step"], self.pace.fraction(last["step"], last["seconds"]))
        if self.best is not None and self._settings.keep == "best":
            self._take_best(folder)

    def _take(self, state: Any, where: str) -> None:
        """Go on from where the checkpoint's header says that the run stands."""
        try:
            step, best, since = state["step"], state["best"], state["since_best"]
            interval = (
                state.get("interval", {}) if self._rank == 0 else {}
            )  # the first process's part is known
            counts = [step, since, interval.get("examples", 0)]
            whole = all(isinstance(count, int) and count >= 0 for count in counts)
            if not whole or not (best is None or is_record(best)):
                raise ValueError("numbers that cannot be")
            best = best and self._in_units(best)
            self.step, self.best, self._since_best, self._before = step, best, since, float(state["seconds"])
            self._examples, self._clock = interval.get("examples", 0), float(interval.get("clock", 0.0))
            self._means.load(interval)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise RunError(
                f"{where} does not say where the run stands ({error!r}); restore it from a copy, or train again"
            ) from None
        total = self.pace.total_steps
        if total is not None and self.step > total:
            raise RunError(
                f"the run has done {self.step} steps, but epochs={self._settings.epochs:g} are {total}; "
                "give a longer length, or start another run"
            )

    def _take_best(self, folder: RunFolder) -> None:
        """Read the best weights so far, which the checkpoint does not hold."""
        try:
            tensors = checkpoint.load_tensors(folder.model)[0]
            checkpoint.check_tensors(self.model, tensors, str(folder.model))
            self._best_weights = {name: tensor.to(self._device) for name, tensor in tensors.items()}
        except RunError as error:
            warnings.warn(f"{error}; the run goes on, but its best weights so far are lost", stacklevel=2)
            self.best = None

    def _finish(self) -> None:
        """Give the model the weights that the run ends with, and write all that is to be kept."""
        self.look()
        self._save()
        if self._best_weights is not None:
            self.model.load_state_dict(self._best_weights)
        elif self._average:
            self._average.apply()
        self._settle()
        if self._writes:  # everything, for somebody may have removed it meanwhile
            self._write_model()
            self._write_records(self._writes)
        if self.best is None and self.history and self.stopped != "interrupted":
            raise NonFiniteError(
                "no validation bound of the run was finite, so there is no best model; look for outliers in the "
                "validation data, or lower the learning rate"
            )

    @torch.no_grad()
    def _settle(self) -> None:
        """Fit σ to these weights, where it is a running mean, of others' weights up to now."""
        likelihood = self.model.likelihood
        if not hasattr(likelihood, "restart"):
            return
        likelihood.restart()  # pyright: ignore[reportCallIssue]
        self.model.eval()
        self._objective.eval()
        likelihood.train()
        seed_all(self._device, seed := seed_for(self._settings.seed, -1, -1))
        train, size = self._data.train, self._settings.batch_size
        for index in train.order(seed)[: _SETTLED * size].to(self._device).split(size):
            self._objective.validate(self.model, *train.batch(index), 1)


def check_players(objective: Objective, model: VAE) -> dict[str, list[nn.Parameter]]:
    """Return the parameters that each player moves.

    Raises:
        ConfigError: a player has none, or a name that a checkpoint cannot hold.
    """
    players = {
        name: [p for p in parameters if p.requires_grad]
        for name, parameters in objective.players(model).items()
    }
    for name, parameters in players.items():
        if not name.isidentifier():
            raise ConfigError(f"a player's name is a word like 'critic'; got {name!r}")
        if not parameters:
            raise ConfigError(f"there is nothing to train: no parameter of {name!r} requires a gradient")
    return players


def known_labels(model: VAE, split: Split) -> Tensor:
    """Return the places of the examples whose label is known.

    Raises:
        ConfigError: the model has no label.
    """
    return (split.condition(model.label[0]) >= 0).nonzero().squeeze(1)


def _place(player: str) -> str:
    return "optimizer" if player == "model" else f"optimizer.{player}"
