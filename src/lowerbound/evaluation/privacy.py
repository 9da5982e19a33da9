r"""How close the rows of a synthetic table are to those that a model was trained on.

Two facts, and no claim beyond them: the share of synthetic rows whose cells are all those of some training row, and
the share that is closer to the training rows than to as many rows held out. A model that copies has a high share of
either; one that does not is at one half in the second, for to it both are rows of the same kind. Neither says what an
attacker could find out, and a model can tell of a person without any row of hers coming back.

The distance of two rows is the mean over columns of :math:`|v - v'| / s` for numbers, at most 1, with s the range of
the training rows, and of 0 or 1 for categories and where one cell is empty (Gower, 1971).

References:
    A general coefficient of similarity and some of its properties (Gower, 1971), https://doi.org/10.2307/2528823;
    Holdout-based empirical assessment of mixed-type synthetic data (Platzer and Reutterer, 2021),
    https://doi.org/10.3389/fdata.2021.679939
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ..data.spec import ColumnSpec
from ..errors import DataError

_MOST = 2000  # rows of each kind between which distances are taken
_AT_ONCE = 2**22


@dataclass(frozen=True)
class Closeness:
    """Facts about copies.

    Attributes:
        copies: Share of the synthetic rows that equal a training row in every column.
        copies_held_out: The same of rows held out, which no model has copied.
        closer: Share of the synthetic rows that are closer to a training row than to any held out; ties count half.
        stderr: Of `closer`; synthetic rows with the same nearest row are no independent ones.
        rows: Number of synthetic rows.
        compared: Number of synthetic rows whose distances were taken.
        references: Number of training rows to which they were taken, and as many held out.
    """

    copies: float
    copies_held_out: float
    closer: float
    stderr: float
    rows: int
    compared: int
    references: int

    def __str__(self) -> str:
        return (
            f"copies of training rows: {self.copies:.2%} (of held-out rows {self.copies_held_out:.2%})\n"
            f"closer to a training than to a held-out row: {self.closer:.1%} ± {self.stderr:.1%} (50% is no copying)"
        )

    def to_dict(self) -> dict[str, Any]:
        """The attributes."""
        return asdict(self)


def closeness(
    synthetic: np.ndarray, train: np.ndarray, held_out: np.ndarray, table: Sequence[ColumnSpec], seed: int = 0
) -> Closeness:
    """How close synthetic rows are to those of training, beside rows that were held out.

    Args:
        synthetic: Rows as `data.schema.encode` gives them, (N, D), NaN where a cell is empty.
        train: Rows of training, (M, D).
        held_out: Rows of the same kind that the model has not seen, (H, D).
        table: What the columns mean.
        seed: Of the choice of the rows that are compared.

    Raises:
        DataError: One of the three has no row.
    """
    parts = {"synthetic": synthetic, "train": train, "held_out": held_out}
    for name, rows in parts.items():
        if not len(rows):
            raise DataError(f"{name} has no row; give one or more of each")
    known = {row.tobytes() for row in _exact(train)}
    copies, usual = (
        np.mean([row.tobytes() in known for row in _exact(part)]) for part in (synthetic, held_out)
    )
    rng = np.random.default_rng(seed)
    size = min(len(train), len(held_out), _MOST)
    new, own, other = (
        part[rng.permutation(len(part))[:count]]
        for part, count in ((synthetic, _MOST), (train, size), (held_out, size))
    )
    numbers = np.array([column.is_number for column in table if column.is_modelled])
    low, high = (
        f(train, axis=0, initial=v, where=~np.isnan(train)) for f, v in ((np.min, np.inf), (np.max, -np.inf))
    )
    spread = np.where(high > low, high - low, 1.0)
    (to_own, at_own), (to_other, at_other) = (_nearest(new, part, numbers, spread) for part in (own, other))
    wins = np.where(np.isclose(to_own, to_other, rtol=1e-6, atol=0), 0.5, to_own < to_other)
    return Closeness(
        copies=float(copies),
        copies_held_out=float(usual),
        closer=float(wins.mean()),
        stderr=_stderr(wins, np.where(to_own < to_other, at_own, size + at_other)),
        rows=len(synthetic),
        compared=len(new),
        references=size,
    )


def _exact(rows: np.ndarray) -> np.ndarray:
    """Rows whose bytes are equal where their cells are."""
    return np.where(np.isnan(rows), -3e38, rows).astype(np.float32) + np.float32(0)  # no negative zero


def _stderr(wins: np.ndarray, nearest: np.ndarray) -> float:
    """Standard error of the mean, whose terms go together where their nearest row is the same.

    Of few rows that all fall on one side it is not 0: at least that of independent ones with two more on each side
    (Agresti and Coull, 1998).
    """
    n, sums = len(wins), np.bincount(nearest, wins - wins.mean())
    share = (wins.sum() + 2) / (n + 4)
    return float(max(np.sqrt((sums**2).sum()) / n, np.sqrt(share * (1 - share) / (n + 4))))


def _nearest(
    x: np.ndarray, others: np.ndarray, numbers: np.ndarray, spread: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The distance of each row to the nearest of the others, and which it is, (N,) each."""
    a, b, scale, real = (torch.as_tensor(v) for v in (x, others, spread, numbers))
    found = []
    for part in a.split(max(1, _AT_ONCE // max(1, others.size))):
        p, q = part.unsqueeze(1), b.unsqueeze(0)
        apart = torch.where(real, ((p - q).abs() / scale).clamp(max=1), (p != q).to(scale))
        empty = p.isnan() | q.isnan()
        apart = torch.where(empty, (p.isnan() != q.isnan()).to(apart), apart)
        found.append(apart.mean(2).min(1))
    return torch.cat([f.values for f in found]).numpy(), torch.cat([f.indices for f in found]).numpy()
