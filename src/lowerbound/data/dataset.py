"""Data as a model meets them: three named splits that give batches, and the moments of the training split.

A batch is x and its condition. It costs one index into what is stored for each and, for grey levels and random masks,
one bulk draw of bits: no example passes through Python on its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Generator, LongTensor, Tensor

from ..display import html_table
from ..errors import ConfigError, listed
from .entries import read_entry
from .masks import draw_masks, observe
from .reading import Reading
from .rows import Rows, chunk_length, join
from .shared import Shared, Stored, join_stored
from .spec import DataSpec

Condition = dict[str, Tensor] | None


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """One named part of the data.

    Args:
        name: "train", "valid" or "test".
        spec: What one example is.
        rows: The stored examples.
        reading: How stored values become x.
        labels: Class numbers (N,), int64, -1 where missing, or None.
        conditions: Stored entries of the condition by name, (N, ...) each or `Shared`; "observed" is made from x and
            not stored.
    """

    name: str
    spec: DataSpec
    rows: Rows
    reading: Reading
    labels: Tensor | None = None
    conditions: Mapping[str, Stored] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Split {self.name!r}: {len(self)} x {self.spec.event_shape} on {self.rows.device}"

    @property
    def mask_rule(self) -> str | tuple[str, ...] | None:
        """How x is masked for the entry "observed": a rule's name or the columns always observed; None if not."""
        return next((entry.masks for entry in self.spec.conditions or () if entry.kind == "observed"), None)

    @property
    def known(self) -> Tensor:
        """Numbers of the examples that have a label, on the CPU."""
        return (
            torch.empty(0, dtype=torch.long)
            if self.labels is None
            else (self.labels.cpu() >= 0).nonzero()[:, 0]
        )

    def labelled(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return x (B, *event) and labels (B,) of the examples of some numbers, on the CPU."""
        assert self.labels is not None
        return self.batch(index)[0].cpu().float(), self.labels.cpu()[index].long()

    def to(self, device: torch.device | str, once: dict[int, Tensor] | None = None) -> Split:
        """The same split, its examples stored on the device (memory-mapped ones stay on disk).

        Args:
            device: The device.
            once: Values that have been moved already; see ``Shared.to``.
        """
        device = torch.device(device)
        once = {} if once is None else once
        return self._with(
            self.rows.to(device),
            lambda stored: stored.to(device, once) if isinstance(stored, Shared) else stored.to(device),
        )

    def take(self, n: int) -> Split:
        """The first n examples, or all if there are fewer.

        Raises:
            ConfigError: n is not positive.
        """
        if n < 1:
            raise ConfigError(f"take({n}) of split {self.name!r}: ask for at least one example")
        return self.select(np.arange(min(n, len(self))))

    def select(self, index: np.ndarray) -> Split:
        """Only the examples of the index (M,), in its order."""
        at = torch.from_numpy(index)
        return self._with(
            self.rows.select(index), lambda stored: stored.index_select(0, at.to(stored.device))
        )

    def _with(self, rows: Rows, change: Callable[[Any], Any]) -> Split:
        """Other rows, and what goes with them changed alike."""
        labels = None if self.labels is None else change(self.labels)
        conditions = {name: change(stored) for name, stored in self.conditions.items()}
        return replace(self, rows=rows, labels=labels, conditions=conditions)

    def condition(self, name: str) -> Tensor:
        """A stored entry of the condition as batches give it, all examples (N, ...) of it."""
        return read_entry(self.conditions[name])

    def distinct(self, name: str) -> Tensor:
        """The values of an entry of the condition as batches give them, those that examples share only once."""
        stored = self.conditions[name]
        return read_entry(stored.distinct() if isinstance(stored, Shared) else stored)

    def order(self, seed: int, rank: int = 0, world: int = 1) -> Tensor:
        """The order in which one process visits its share of the examples in one epoch: (M,) int64, on the CPU.

        A function of the arguments alone, so a pass is resumed at any place by going on from there. Over all ranks
        every example occurs once, and the lengths M differ by at most one, the first ranks having the longer ones.

        Examples in memory, or in a .npy that is not streamed, come in a uniform random permutation, dealt in turn. Of
        streamed ones each rank has blocks of its own, but for one on the border between two ranks; their order is
        random, and the examples of W blocks are mixed at a time, W being the number that `memory` holds less those
        read ahead. Two examples of one block, m long, then meet in a batch of b with probability b / (W m) instead of
        b / N; if all blocks fit, this too is a uniform permutation. From this call on, blocks are read ahead for this
        order. See `lowerbound.data.window`.

        Args:
            seed: Another for each epoch.
            rank: Number of this process, from 0.
            world: Number of processes that share the pass.

        Raises:
            ConfigError: rank does not lie in [0, world).
        """
        if not 0 <= rank < world:
            raise ConfigError(
                f"order() of split {self.name!r}: rank {rank} of {world}; ranks count from 0 to world - 1"
            )
        return self.rows.order(seed, rank, world)

    def batch(self, index: LongTensor | Tensor) -> tuple[Tensor, Condition]:
        """The examples at an index (B,), with draws from torch's global generator.

        Returns:
            x (B, *event), float32 (int64 for categorical values), and the entries of the condition by name, or None:
            labels (B,) int64, -1 where missing; vectors (B, D), images (B, C, H, W) and sets (B, rows, D) float32,
            with NaN where missing; "observed" (B, 2, *event) float32, the observed values of this very x and their
            mask.
        """
        return self._batch(index, None, None)

    def batches(
        self, batch_size: int, *, limit: int | None = None, seed: int = 0
    ) -> Iterator[tuple[Tensor, Condition]]:
        """All examples in order, as `batch` gives them; the last batch may be short.

        Draws come from generators of their own, so two passes give the same numbers and the global generator is
        left alone; on a CPU what an example gets does not depend on the batch size either.

        Args:
            batch_size: Examples in a batch.
            limit: Stop after so many examples.
            seed: Seed of the binarisation, dequantisation and masks.

        Raises:
            ConfigError: batch_size or limit is not positive.
        """
        if batch_size < 1 or (limit is not None and limit < 1):
            raise ConfigError(f"batch_size and limit must be at least 1; got {batch_size} and {limit}")
        return self._batches(batch_size, len(self) if limit is None else min(limit, len(self)), seed)

    def _batches(self, batch_size: int, stop: int, seed: int) -> Iterator[tuple[Tensor, Condition]]:
        # Masks have a generator of their own: on one, draws for x and masks would alternate from batch to batch.
        for_x, for_masks = (Generator(self.rows.device).manual_seed(s) for s in (seed, ~seed))
        for index in torch.arange(stop, device=self.rows.device).split(batch_size):
            yield self._batch(index, for_x, for_masks)

    def _batch(
        self, index: Tensor, for_x: Generator | None, for_masks: Generator | None
    ) -> tuple[Tensor, Condition]:
        x = self.reading(self.rows.read(index), for_x)
        if self.spec.conditions is None:
            return x, None
        at = index.to(x.device)
        c = {name: read_entry(stored.index_select(0, at)) for name, stored in self.conditions.items()}
        if self.mask_rule is not None:
            shape, columns = self.spec.event_shape, self.spec.owners
            mask = draw_masks(self.mask_rule, len(x), shape, columns, device=x.device, generator=for_masks)
            c["observed"] = observe(x, mask)
        return x, c

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of x over the split and over its draws, both (*event,) float32.

        Of what is given: missing values do not count, and where all are missing the mean is 0 and the deviation 1.
        """
        count, mean, spread = torch.zeros(()), torch.zeros(()), torch.zeros(())
        for index in torch.arange(len(self)).split(chunk_length(self.spec.dimensions)):
            x = self.reading.expected(self.rows.read(index).cpu())
            # Pairwise update (Chan et al., 1983): sums of squares would cancel when the mean is large.
            seen = (~x.isnan()).sum(0).double() if self.spec.missing else torch.tensor(float(len(x)))
            total = count + seen
            center = x.nan_to_num().sum(0) / seen.clamp(min=1) if self.spec.missing else x.mean(0)
            step, share = center - mean, seen / total.clamp(min=1)
            spread = spread + x.sub_(center).square_().nansum(0) + step.square() * (count * share)
            mean, count = mean + step * share, total
        variance = torch.where(count > 0, spread / count.clamp(min=1), 1.0)
        if self.spec.values == "binary":
            variance = mean * (1 - mean)  # with the variance of the draw itself
        elif self.spec.levels is not None:
            variance = variance + 1 / (12 * self.spec.levels**2)  # of u / L
        return mean.float().to(self.rows.device), variance.sqrt().float().to(self.rows.device)


class Data:
    """Splits train, valid and test of one source.

    Args:
        train: What is fitted.
        valid: What choices are made on.
        test: What is reported.
        options: Keyword arguments that load the same data again: `load(data.spec.source, **data.options)`.
        order: Where in the source the examples of train, then valid, then test stand; None for one after the other.
            Of what is not cut, those of all that are left.
        whole: The source is not cut: train, valid and test are each all of it.
        notes: What was decided or passed over in reading, a sentence each.
        names: What each example of the source is called, in its order: the paths of pictures in their folder.

    Attributes:
        read: The splits as they were read, whatever is put in their places.
    """

    def __init__(
        self,
        train: Split,
        valid: Split,
        test: Split,
        options: dict[str, Any],
        order: np.ndarray | None = None,
        whole: bool = False,
        notes: Sequence[str] = (),
        names: Sequence[str] | None = None,
    ):
        self.train = train
        self.valid = valid
        self.test = test
        self.read: tuple[Split, ...] = (train, valid, test)
        self.options = options
        self.order = order
        self.whole = whole
        self.notes = tuple(notes)
        self.names = names
        self._moments: tuple[Tensor, Tensor] | None = None

    @property
    def spec(self) -> DataSpec:
        """What one example is."""
        return self.train.spec

    @property
    def mean(self) -> Tensor:
        """Mean of x over the training split, (*event,) float32; for binarised data the mean probability."""
        return self._train_moments()[0]

    @property
    def std(self) -> Tensor:
        """Standard deviation of x over the training split and the draws of binarisation or dequantisation."""
        return self._train_moments()[1]

    @property
    def all(self) -> Split:
        """Every example, in the order of the source: for scores or codes that belong to the rows of a file."""
        if self.whole:
            return replace(self.train, name="all")
        splits = (self.train, self.valid, self.test)
        # What goes with the examples has the same names in every split.
        every = replace(
            self.train,
            name="all",
            rows=join([split.rows for split in splits]),
            labels=None
            if self.train.labels is None
            else torch.cat([s.labels for s in splits if s.labels is not None]),
            conditions={
                name: join_stored([split.conditions[name] for split in splits])
                for name in self.train.conditions
            },
        )
        return every if self.order is None else every.select(np.argsort(self.order))

    def places(self, split: Split) -> np.ndarray:
        """Where in the source the examples of one of the splits, or of `all`, stand, counted from 0, (N,)."""
        splits = (self.train, self.valid, self.test)
        ends = np.cumsum([0, *map(len, splits)])
        every = np.arange(ends[-1]) if self.order is None else self.order
        for own, start in zip(splits, ends, strict=False):
            if own is split and not self.whole:
                return every[start : start + len(own)]
        return every[: len(split)] if self.whole else np.sort(every)

    def kept(self, masks: Sequence[np.ndarray]) -> Data:
        """Those examples that masks (N,) of train, valid and test mark; where they stand in the source is kept."""
        splits = (self.train, self.valid, self.test)
        chosen = [split.select(np.flatnonzero(mask)) for split, mask in zip(splits, masks, strict=True)]
        every = np.arange(sum(map(len, splits))) if self.order is None else self.order
        if self.whole:
            return self.with_splits(chosen, every[: len(self.train)][masks[0]])
        return self.with_splits(chosen, every[np.concatenate(masks)])

    def with_splits(self, splits: Sequence[Split], order: np.ndarray | None) -> Data:
        """The same data with other splits, whose examples stand in other places; what was read stays known."""
        train, valid, test = splits
        other = Data(train, valid, test, self.options, order, self.whole, self.notes, self.names)
        other.read = self.read
        return other

    def _train_moments(self) -> tuple[Tensor, Tensor]:
        if self._moments is None:
            self._moments = self.train.moments()
        return self._moments

    def to(self, device: torch.device | str) -> Data:
        """The same data, stored on the device; values that examples share once for all splits."""
        once: dict[int, Tensor] = {}
        splits = [split.to(device, once) for split in (self.train, self.valid, self.test)]
        moved = self.with_splits(splits, self.order)
        if self._moments is not None:
            moved._moments = (self._moments[0].to(device), self._moments[1].to(device))
        return moved

    def _repr_html_(self) -> str:
        first, *_ = repr(self).splitlines()
        sizes = [(split.name, f"{len(split):,}") for split in (self.train, self.valid, self.test)]
        return html_table(sizes[: 1 if self.whole else 3], first, heads=False)

    def __repr__(self) -> str:
        spec = self.spec
        values = {
            "binary": "binary",
            "unit": "in [0, 1]",
            "real": "real",
            "count": "counts",
            "mixed": "of several kinds",
        }.get(spec.values, f"categories 0..{(spec.categories or 1) - 1}")
        values += ", some missing" if spec.missing else ""
        how = f", binarised ({spec.binarize})" if spec.binarize != "none" else ""
        how += f", dequantised from {spec.levels} levels" if spec.levels else ""
        what = f"{spec.kind}s {spec.event_shape}, values {values}{how}"
        if spec.named is not None:
            what = "parts " + ", ".join(
                f"{part.source} {part.event_shape} {part.values}" for part in spec.named
            )
        labels = "no labels" if spec.classes is None else f"{len(spec.classes)} classes"
        condition = f"\n  condition: {', '.join(map(str, spec.conditions))}" if spec.conditions else ""
        return (
            f"Data {spec.source!r}: {what}\n"
            f"  train {len(self.train)}, valid {len(self.valid)}, test {len(self.test)} examples, {labels}, "
            f"on {self.train.rows.device}{condition}" + "".join(f"\n  {note}" for note in self.notes)
        )


def without_unseen(data: Data) -> Data:
    """The data without examples of valid and test of a class that no example of train has, and a warning of them.

    Where examples are told apart by what they are, one of each class is in train. A split that the source brings, or
    of blocks, has classes as it likes, and nothing can be said of those that are never seen. A part of which nothing
    would be left stays as it is.
    """
    splits = (data.train, data.valid, data.test)
    masks = [np.ones(len(split), bool) for split in splits]
    for entry in data.spec.conditions or ():
        if entry.kind != "label" or data.whole:
            continue
        known = np.unique(data.train.condition(entry.name).cpu().numpy())
        for split, mask in zip(splits[1:], masks[1:], strict=True):
            numbers = split.condition(entry.name).cpu().numpy()
            strange = (numbers >= 0) & ~np.isin(numbers, known)
            if strange.any() and not (strange | ~mask).all():
                mask &= ~strange
                names = [repr((entry.classes or ())[i]) for i in np.unique(numbers[strange])]
                count = int(strange.sum())
                words = (
                    "example of {} is left out: it has"
                    if count == 1
                    else "examples of {} are left out: they have"
                )
                warnings.warn(
                    f"{count} {words.format(split.name)} {listed(names, 5)} as "
                    f"{entry.name!r}, which none of train has",
                    stacklevel=3,
                )
    return data if all(mask.all() for mask in masks) else data.kept(masks)
