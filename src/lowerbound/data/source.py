"""What every reader of a source hands over, before values are interpreted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .spec import Binarize


@dataclass(frozen=True)
class Source:
    """Arrays as found.

    Attributes:
        parts: One array, which is then split, or three: train, valid and test.
        labels: As many label arrays, or None.
        classes: Names of integer labels 0..len-1, if the source knows them.
        columns: Names of a table's columns.
        white: Largest grey level, if the source is known to hold grey levels.
        binarize: What binarisation is usual for this source.
    """

    parts: tuple[np.ndarray, ...]
    labels: tuple[np.ndarray, ...] | None = None
    classes: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    white: int | None = None
    binarize: Binarize = "none"
