"""A class, embedded by a table of learned vectors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ConfigError, ShapeError, suggest
from ..nn.network import size as size_of
from .base import Condition


class Label(Condition):
    """Class number 0..K-1; -1 stands for a missing one.

    Args:
        classes: Number K of classes, or their names.
        size: Size of the embedding; K, but at most 64, if not given.
        dropout: Probability of hiding a label in training, so that the model serves p(x) beside p(x | c).
        missing: Labels may be missing; implied by ``dropout``.

    Attributes:
        frequency: Share of each class among the known training labels, (K,); p(y) in semi-supervision.
    """

    frequency: Tensor

    def __init__(
        self,
        classes: int | Sequence[str],
        size: int | None = None,
        dropout: float = 0.0,
        missing: bool = False,
    ) -> None:
        if isinstance(classes, Sequence):
            names = tuple(classes)
        else:
            names = tuple(map(str, range(size_of("the number of classes", classes))))
        if not names or len(set(names)) < len(names):
            raise ConfigError(
                f"Label needs the number of classes, or their names without repetition; got {classes!r}"
            )
        if size is not None and size < 1:
            raise ConfigError(f"Label needs size >= 1; got {size!r}")
        super().__init__((), size or min(len(names), 64), dropout, missing)
        self.classes = names
        self.size = size
        self.table = nn.Embedding(len(names), self.context)
        self.register_buffer("frequency", torch.full((len(names),), 1 / len(names)))

    def start(self, u: Tensor, model: Any = None) -> None:
        """Count the classes of the training labels (N,)."""
        count = torch.bincount(u[u >= 0].cpu(), minlength=len(self.classes))
        self.frequency.copy_(count / count.sum())

    @property
    def seen(self) -> list[int]:
        """Numbers of the classes that occurred in training."""
        return self.frequency.nonzero().flatten().tolist()

    def embed(self, value: Tensor) -> Tensor:
        """Return the rows of the table, (B, E)."""
        return self.table(value.clamp(min=0))

    def known(self, value: Tensor) -> Tensor:
        """Return which labels are known, (B,)."""
        return value >= 0

    def absent(self, n: int) -> Tensor:
        """Return ``n`` times -1."""
        return torch.full((n,), -1, device=self.frequency.device)

    def read(self, value: Any, name: str) -> Tensor:
        """Return class numbers (B,) of numbers, names or None, one or several.

        A tensor, as batches bring it, holds class numbers. Else a number is a name where all names are whole numbers,
        and -1 that is none stands for a missing one.

        Raises:
            ConfigError: there is no such class.
            ShapeError: several axes.
        """
        if isinstance(value, np.ndarray) and (value.dtype.kind not in "biuf" or self._named_by_numbers):
            value = np.atleast_1d(value).tolist()
        if isinstance(value, Tensor | np.ndarray):
            numbers = torch.atleast_1d(torch.as_tensor(value))
            if numbers.is_floating_point() and not bool((numbers == numbers.round()).all()):
                raise ConfigError(f"{name} is a class; got numbers that are not whole, like {numbers[0]:g}")
        elif isinstance(value, list | tuple):
            numbers = torch.tensor([self._number(entry, name) for entry in value])
        else:
            numbers = torch.tensor([self._number(value, name)])
        if numbers.ndim != 1 or not len(numbers):
            raise ShapeError(
                f"{name} is one class or a batch of classes (B,); got shape {tuple(numbers.shape)}"
            )
        return numbers.to(self.frequency.device, torch.int64)

    def _number(self, value: Any, name: str) -> int:
        if value is None:
            return -1
        if isinstance(value, str):
            if value not in self.classes:
                raise ConfigError(f"{name} has no class {value!r}; {suggest(value, self.classes)}")
            return self.classes.index(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise ConfigError(f"{name} is a class number or name; got {value!r}")
        if self._named_by_numbers and (value != -1 or "-1" in self.classes):
            return self._number(str(int(value)), name)
        return int(value)

    @property
    def _named_by_numbers(self) -> bool:
        """Whether users know the classes by whole numbers."""
        return all(re.fullmatch(r"-?\d+", known) for known in self.classes)

    def check(self, value: Tensor, name: str) -> None:
        """Raise unless every label (B,) is missing or a class that occurred in training.

        Raises:
            ConfigError: it is not, or is missing where the model has only seen known ones.
        """
        k = len(self.classes)
        wrong = value[(value < -1) | (value >= k)]
        if len(wrong):
            raise ConfigError(f"{name} has classes 0..{k - 1} ({_list(self.classes)}); got {int(wrong[0])}")
        super().check(value, name)
        unseen = value[(value >= 0) & (self.frequency[value.clamp(min=0)] == 0)]
        if len(unseen):
            seen = [self.classes[k] for k in self.seen]
            raise ConfigError(
                f"the class {self.classes[int(unseen[0])]!r} of {name} was never seen in training; "
                f"seen were {_list(seen)}"
            )


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
