"""A command's work on a run: its options, read once for all such commands."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, RunError
from .options import (
    ChangedDataOption,
    DeviceOption,
    OutOption,
    OverwriteOption,
    RootOption,
    RunArgument,
    SeedOption,
    SourceArgument,
    SplitOption,
    UnknownOption,
    check_memory,
    parameter,
    parameters_of,
    shaped,
)
from .writing import check_out

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Data, DataSpec, Split
    from ..model import VAE

_MOST_PICTURES = 10_000  # in one .png
_DRAWS = 1  # the stream of what a command draws, apart from that of the data's own noise

Formats = tuple[str, ...] | Callable[["DataSpec | None"], tuple[str, ...]]


@dataclass(frozen=True)
class Task:
    """What a command works with.

    Attributes:
        run: The run's folder.
        model: Its model.
        config: Its configuration.
        path: The file to write, which may be written.
        seed: Of the data's own noise; that of the command's draws is ``draw_seed``.
        source: Other data than the run's own.
        root: Where MNIST-like data lie.
        split: Which part of them; the usual one if None.
        changed_data: The run's own data may have changed.
        unknown: What a category of a table becomes that the model has never seen: "refuse" or "missing".
        unseen: What becomes of examples of classes that the model has never seen.
        gaps: What becomes of examples with missing values, if the model has never seen any: "leave out" or "keep".
    """

    run: Path
    model: VAE
    config: dict[str, Any]
    path: Path
    seed: int
    source: str | None
    root: Path | None
    split: str | None
    changed_data: bool = False
    unknown: str = "refuse"
    unseen: str = "refuse"
    gaps: Any = "leave out"

    @cached_property
    def data(self) -> Data:
        """The run's data, or another source read in the same way."""
        from ..persistence import open_data

        if self.source is None and (self.run / "planning.json").is_file():
            raise ConfigError(
                f"{self.run} is a planner's sampler: see `lowerbound plan benchmark {self.run}` and `lowerbound plan "
                f"sample {self.run}`"
            )
        return open_data(
            self.config,
            self.source,
            changed_data=self.changed_data,
            unseen=self.unseen,
            gaps=self.gaps,
            root=self.root,
            unknown=None if self.unknown == "refuse" else self.unknown,
        )

    @cached_property
    def part(self) -> Split:
        """One split of the run's data, or all of another source, in its order.

        Raises:
            ConfigError: another source has no splits.
        """
        if self.data.whole and self.split not in (None, "all"):
            raise ConfigError(
                f"{self.source} is not split, so it has no {self.split}; leave --split out to use all of it, or "
                "bring the split as sub-folders or arrays train, valid and test"
            )
        return getattr(self.data, self.split or ("test" if self.source is None else "all"))

    @property
    def numbers(self) -> list[int]:
        """The place of each example of the part in its source, counted from 0."""
        return self.data.places(self.part).tolist()

    def every(
        self, rows: Tensor, words: Mapping[str, Sequence[str]]
    ) -> tuple[Tensor, dict[str, Sequence[str]], list[int]]:
        """Return results of the part's examples, with empty places for those of a source that were left out.

        Args:
            rows: Numbers of each example, (N, D).
            words: Words of each, (N,), in columns by name.

        Returns:
            Numbers (M, D), NaN where an example was left out; the words, among them as "file" the path of a picture
            in its folder; and the place of each in its source, counted from 0.
        """
        numbers, known = self.numbers, self.data.names
        if self.data.whole and len(numbers) < (count := len(self.data.read[0])):
            places, found = list(range(count)), rows.new_full((count, *rows.shape[1:]), math.nan)
            found[numbers] = rows
            of = dict(zip(numbers, range(len(numbers)), strict=True))
            words = {name: [one[of[i]] if i in of else "" for i in places] for name, one in words.items()}
        else:
            places, found = numbers, rows
        return found, {**words} | ({} if known is None else {"file": [known[i] for i in places]}), places

    def take(self, n: int | None) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Return the first ``n`` examples of the part and their condition.

        Without a number all of them; for a picture, or of pictures, 16, and it is said how many there are.
        """
        if n is None:
            few = self.path.suffix == ".png" or self.part.spec.kind == "image"
            n = min(16, len(self.part)) if few else len(self.part)
            if n < len(self.part):
                print(f"the first {n} of {len(self.part)} examples; --number says how many", file=sys.stderr)
        if n > len(self.part):
            raise ConfigError(f"the {self.part.name} split has {len(self.part)} examples; {n} were asked for")
        self.check_count("--number", n)
        return next(iter(self.part.batches(n, limit=n, seed=self.seed)))

    def draw_seed(self, batch: int = 0) -> int:
        """Return the seed of draws: of noise that is not that of x, and another for each batch."""
        from ..training.checkpoint import seed_for

        return seed_for(self.seed, _DRAWS, batch)

    def check_count(self, option: str, count: int) -> None:
        """Raise ConfigError if so many observations can neither be held nor shown."""
        check_memory(option, count, math.prod(self.model.event_shape))
        if self.path.suffix == ".png" and count > _MOST_PICTURES:
            raise ConfigError(
                f"{option} asks for a picture of {count:,} examples, and {_MOST_PICTURES:,} are the most; write an "
                "array with --out FILE.npy, or ask for fewer"
            )


def load_run(run: Path, device: str = "auto") -> tuple[VAE, dict[str, Any]]:
    """Return the model of a run and its configuration."""
    from ..persistence import load, read_config
    from ..training.devices import choose_device

    if run.is_file():
        raise RunError(
            f"{run} is a file; RUN is the folder that `lowerbound train` writes, and data come after it"
        )
    config = read_config(run)
    return load(run, device=choose_device(device)), config


def on_run(
    *, source: bool = False, split: bool = False, device: bool = True, writes: Formats | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function whose first argument is a ``Task``: it gets RUN and the options that go with it.

    Args:
        source: Other data may be named: SOURCE and --root.
        split: One of its splits is used: --split.
        device: It may be run elsewhere: --device.
        writes: The endings of the files it writes, the first as the default, or what tells them from the data's
            spec; with --out and --overwrite.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = parameters_of(function)[1:]
        parameters = [
            parameter("run", RunArgument),
            *([parameter("source", SourceArgument, None)] if source else []),
            *own,
            *([parameter("split", SplitOption, None)] if split else []),
            parameter("seed", SeedOption, 0),
            *([parameter("root", RootOption, None)] if source else []),
            *([parameter("changed_data", ChangedDataOption, False)] if source else []),
            *([parameter("unknown", UnknownOption, "refuse")] if source else []),
            *([parameter("out", OutOption, None)] if writes else []),
            *([parameter("device", DeviceOption, "auto")] if device else []),
            *([parameter("overwrite", OverwriteOption, False)] if writes else []),
        ]

        def command(**given: Any) -> None:
            mine = {one.name: given.pop(one.name) for one in own}
            function(_open(function.__name__, writes, **given), **mine)

        return shaped(command, function, parameters)

    return decorate


def _open(
    command: str,
    writes: Formats | None,
    *,
    run: Path,
    seed: int,
    source: str | None = None,
    split: str | None = None,
    root: Path | None = None,
    changed_data: bool = False,
    unknown: str = "refuse",
    out: Path | None = None,
    device: str = "cpu",
    overwrite: bool = False,
) -> Task:
    """Return what a command works with; the file to write is --out, or the command's own name in the run's folder."""
    model, config = load_run(run, device)
    path = run
    if writes is not None:
        formats = writes(model.data_spec) if callable(writes) else writes
        path = check_out(out or run / f"{command}{formats[0]}", overwrite, formats)
    return Task(run, model, config, path, seed, source, root, split, changed_data, unknown)
