"""Data as a model meets them: three named splits that give batches, and the moments of the training split.

A batch costs one index into what is stored and, for grey levels, one bulk draw of bits: no example passes
through Python on its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Generator, LongTensor, Tensor

from ..errors import ConfigError
from .reading import Reading
from .rows import Rows, chunk_length, join
from .spec import DataSpec


class Split:
    """One named part of the data.

    Args:
        name: "train", "valid" or "test".
        spec: What one example is.
        rows: The stored examples.
        reading: How stored values become x.
        labels: Class numbers (N,), int64, or None.
    """

    def __init__(self, name: str, spec: DataSpec, rows: Rows, reading: Reading, labels: Tensor | None = None):
        self.name = name
        self.spec = spec
        self.rows = rows
        self.reading = reading
        self.labels = labels

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Split {self.name!r}: {len(self)} x {self.spec.event_shape} on {self.rows.device}"

    def to(self, device: torch.device | str) -> Split:
        """The same split, its examples stored on the device (memory-mapped ones stay on disk)."""
        device = torch.device(device)
        labels = None if self.labels is None else self.labels.to(device)
        return Split(self.name, self.spec, self.rows.to(device), self.reading, labels)

    def take(self, n: int) -> Split:
        """The first n examples, or all if there are fewer.

        Raises:
            ConfigError: n is not positive.
        """
        if n < 1:
            raise ConfigError(f"take({n}) of split {self.name!r}: ask for at least one example")
        labels = None if self.labels is None else self.labels[:n]
        rows = self.rows.select(np.arange(min(n, len(self))))
        return Split(self.name, self.spec, rows, self.reading, labels)

    def batch(self, index: LongTensor | Tensor) -> tuple[Tensor, Tensor | None]:
        """The examples at an index (B,), with draws from torch's global generator.

        Returns:
            x (B, *event), float32 (int64 for categorical values), and the labels (B,) or None.
        """
        return self._batch(index, None)

    def batches(
        self, batch_size: int, *, limit: int | None = None, seed: int = 0
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """All examples in order; the last batch may be short.

        Draws come from a generator of their own, so two passes give the same numbers and the global generator is
        left alone; on a CPU what an example gets does not depend on the batch size either.

        Args:
            batch_size: Examples in a batch.
            limit: Stop after so many examples.
            seed: Seed of the binarisation and dequantisation.

        Raises:
            ConfigError: batch_size or limit is not positive.
        """
        if batch_size < 1 or (limit is not None and limit < 1):
            raise ConfigError(f"batch_size and limit must be at least 1; got {batch_size} and {limit}")
        return self._batches(batch_size, len(self) if limit is None else min(limit, len(self)), seed)

    def _batches(self, batch_size: int, stop: int, seed: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        generator = Generator(self.rows.device).manual_seed(seed)
        for index in torch.arange(stop, device=self.rows.device).split(batch_size):
            yield self._batch(index, generator)

    def _batch(self, index: Tensor, generator: Generator | None) -> tuple[Tensor, Tensor | None]:
        x = self.reading(self.rows.read(index), generator)
        return x, None if self.labels is None else self.labels[index.to(self.labels.device)]

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of x over the split and over its draws, both (*event,) float32."""
        count, mean, spread = 0, torch.zeros(()), torch.zeros(())
        for index in torch.arange(len(self)).split(chunk_length(self.spec.dimensions)):
            x = self.reading.expected(self.rows.read(index).cpu())
            # Pairwise update (Chan et al., 1983): sums of squares would cancel when the mean is large.
            center, total = x.mean(0), count + len(x)
            step = center - mean
            spread = spread + x.sub_(center).square_().sum(0) + step.square() * (count * len(x) / total)
            mean, count = mean + step * (len(x) / total), total
        variance = spread / count
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
    """

    def __init__(
        self,
        train: Split,
        valid: Split,
        test: Split,
        options: dict[str, Any],
        order: np.ndarray | None = None,
    ):
        self.train = train
        self.valid = valid
        self.test = test
        self.options = options
        self.order = order
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
        splits = (self.train, self.valid, self.test)
        rows = join([split.rows for split in splits])
        labels = (
            None
            if self.train.labels is None
            else torch.cat([s.labels for s in splits if s.labels is not None])
        )
        if self.order is not None:
            back = np.argsort(self.order)
            rows, labels = rows.select(back), None if labels is None else labels[torch.from_numpy(back)]
        return Split("all", self.spec, rows, self.train.reading, labels)

    def _train_moments(self) -> tuple[Tensor, Tensor]:
        if self._moments is None:
            self._moments = self.train.moments()
        return self._moments

    def to(self, device: torch.device | str) -> Data:
        """The same data, stored on the device."""
        moved = Data(
            self.train.to(device), self.valid.to(device), self.test.to(device), self.options, self.order
        )
        if self._moments is not None:
            moved._moments = (self._moments[0].to(device), self._moments[1].to(device))
        return moved

    def __repr__(self) -> str:
        spec = self.spec
        values = {"binary": "binary", "unit": "in [0, 1]", "real": "real"}.get(
            spec.values, f"categories 0..{(spec.categories or 1) - 1}"
        )
        how = f", binarised ({spec.binarize})" if spec.binarize != "none" else ""
        how += f", dequantised from {spec.levels} levels" if spec.levels else ""
        labels = "no labels" if spec.classes is None else f"{len(spec.classes)} classes"
        return (
            f"Data {spec.source!r}: {spec.kind}s {spec.event_shape}, values {values}{how}\n"
            f"  train {len(self.train)}, valid {len(self.valid)}, test {len(self.test)} examples, {labels}, "
            f"on {self.train.rows.device}"
        )
