"""What every reader of a source hands over, before values are interpreted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import DataError, suggest
from .blocks import Blocks
from .forms import FileForm
from .spec import Binarize, ColumnSpec


@dataclass(frozen=True)
class Source:
    """Arrays as found.

    Attributes:
        parts: One array, which is then split, or three: train, valid and test. Of a source that is streamed, blocks.
        labels: As many label arrays, or None.
        classes: Names of integer labels 0..len-1, if the source knows them.
        columns: Names of a table's columns.
        counts: Whole numbers in it, none negative, are counts, as of reads or words.
        white: Largest grey level, if the source is known to hold grey levels.
        binarize: What binarisation is usual for this source.
        conditions: By name, as many arrays for each entry of the condition other than the labels.
        streams: Whether the source could be streamed, even if it is not.
        table: What the columns of a table mean, those that are no part of x included.
        notes: What was passed over or decided in reading, a sentence each.
        names: Of what each example is called, the parts one after the other: the paths of pictures in their folder.
        file: How the file of a table is written.
        settled: The axes of the parts are (N, D) or (N, C, H, W) for certain.
    """

    parts: tuple[np.ndarray | Blocks, ...]
    labels: tuple[np.ndarray, ...] | None = None
    classes: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    counts: bool = False
    white: int | None = None
    binarize: Binarize = "none"
    conditions: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    streams: bool = False
    table: tuple[ColumnSpec, ...] | None = None
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None
    file: FileForm | None = None
    settled: bool = False

    @property
    def own_split(self) -> bool:
        """Whether the source says what is train, valid and test."""
        return len(self.parts) > 1

    @property
    def streamed(self) -> bool:
        """Whether the examples stay on disk, in blocks."""
        return isinstance(self.parts[0], Blocks)

    def with_parts(self, parts: Sequence[np.ndarray | Blocks]) -> Source:
        """The same source with other parts."""
        return replace(self, parts=tuple(parts))


def check_names(names: Iterable[str], there: Iterable[str], what: str) -> None:
    """Raise a DataError unless all that is to be conditioned on is there."""
    there = list(there)
    for name in names:
        if name not in there:
            raise DataError(f"{what} {name!r} to condition on; {suggest(name, there)}")
