"""All entries of a condition together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError, ShapeError, suggest
from .base import Condition
from .image import Observed
from .label import Label


class Conditions(nn.Module):
    """Named entries; their embeddings side by side are the context (B, E).

    Args:
        entries: Conditions by name.

    Attributes:
        names: Their names, in order.
        context: Size E of the context.
    """

    def __init__(self, entries: Mapping[str, Condition]) -> None:
        super().__init__()
        if not entries:
            raise ConfigError("a condition needs at least one entry")
        for name, entry in entries.items():
            if not isinstance(entry, Condition):
                raise ConfigError(
                    f"the condition {name!r} must be a Condition, like Label(10); got {entry!r}"
                )
        self.names = tuple(entries)
        # Not a ModuleDict: a table's column may be called anything, "type" or "a.b" too.
        self.entries = nn.ModuleList(entries.values())
        self.context: int = sum(entry.context for entry in entries.values())

    def __getitem__(self, name: str) -> Any:
        return self.entries[self.names.index(name)]

    def items(self) -> list[tuple[str, Any]]:
        """Return the entries with their names."""
        return list(zip(self.names, self.entries, strict=True))

    @property
    def observed(self) -> str | None:
        """Name of the entry that holds the observed part of the example, if there is one."""
        return next((name for name, entry in self.items() if isinstance(entry, Observed)), None)

    @property
    def beside(self) -> list[str]:
        """Names of the other entries: all but the observed part."""
        return [name for name in self.names if name != self.observed]

    @property
    def labels(self) -> list[tuple[str, Label]]:
        """Names and entries of the labels."""
        return [(name, entry) for name, entry in self.items() if isinstance(entry, Label)]

    def forward(self, c: Mapping[str, Tensor]) -> Tensor:
        """Return the context (B, E) of entries by name, each (B, *value_shape)."""
        return torch.cat([entry(c[name]) for name, entry in self.items()], 1)

    def filled(self, c: Mapping[str, Tensor] | None, n: int | None = None) -> dict[str, Tensor]:
        """Return every entry, those that are not given as missing.

        Args:
            c: Entries by name, (B, ...) each.
            n: The batch size B; that of the entries if not given.

        Raises:
            ConfigError: there is no such entry, or one is missing where the model has only seen it known.
            ShapeError: an entry has another shape, or the entries have different batch sizes.
        """
        c = c or {}
        self._check_names(c)
        n = max([1, *(value.shape[0] for value in c.values())]) if n is None else n
        whole = {name: c[name] if name in c else entry.absent(n) for name, entry in self.items()}
        for name, entry in self.items():
            if name not in c:
                entry.check(whole[name], name)
            if tuple(whole[name].shape) != (n, *entry.value_shape):
                raise ShapeError(
                    f"the condition {name!r} has shape {(n, *entry.value_shape)} for a batch of {n}; "
                    f"got {tuple(whole[name].shape)}"
                )
        return whole

    def check(self, c: Mapping[str, Tensor]) -> None:
        """Raise ConfigError unless every entry can be embedded; see the entries' own ``check``."""
        for name, entry in self.items():
            entry.check(c[name], name)

    def _check_names(self, c: Mapping[str, Any]) -> None:
        for name in c:
            if name not in self.names:
                raise ConfigError(f"the model has no condition {name!r}; {suggest(str(name), self.names)}")

    def read(self, c: Any, n: int | None = None, *, each: bool = False) -> dict[str, Tensor]:
        """Return what a user gave as tensors by name, all of one batch size: 1, or ``n``.

        Args:
            c: A dict of entries, or the value of the only one; None if all are missing.
            n: Number of examples; if not given, any number will do.
            each: Give every example a row of its own, also where one value is for all.

        Raises:
            ConfigError: an entry is unknown, cannot be read, was never seen in training, or is missing where the
                model has only seen it known.
            ShapeError: an entry has another shape, or is neither one nor n.
        """
        if c is not None and not isinstance(c, Mapping):
            if len(self.names) > 1:
                raise ConfigError(
                    f"the model has the conditions {', '.join(self.names)}; give them by name, like "
                    f"c={{{self.names[0]!r}: ...}}"
                )
            c = dict.fromkeys(self.names, c)
        self._check_names(c or {})
        values = {name: self[name].read(value, name) for name, value in (c or {}).items()}
        lengths = {len(value) for value in values.values()} - {1}
        many = n if n is not None and (each or lengths) else max([1, *lengths])
        for name, value in values.items():
            if len(value) not in (1, many):
                raise ShapeError(
                    f"{name} has {len(value)} values, but {many} examples are asked for; give one, or one each"
                )
        expanded = {name: value.expand(many, *value.shape[1:]) for name, value in values.items()}
        whole = self.filled(expanded, many)
        self.check(whole)
        return whole
