r"""Places that each hold one row of a book.

.. math:: p(z) = \prod_{i=1}^{P} p(k_i \mid k_{<i}), \qquad z_i = \text{book}_{k_i}

with all rows alike, :math:`p = 1/K`, unless something scores them in order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, constraints

# Scores of all rows for places (..., n, K), of the rows that the places before hold, (..., n, D).
Scores = Callable[[Tensor], Tensor]


class Rows(Distribution):
    """P rows of a book, side by side.

    Args:
        book: (K, D).
        places: Their number P.
        index: Gives the numbers of rows, (...), of rows (..., D).
        batch: Batch shape.
        scores: Gives the unnormalised log-probabilities of the rows in order; without, all are alike.
    """

    arg_constraints: ClassVar = {}  # pyright: ignore[reportIncompatibleMethodOverride,reportAssignmentType]
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType]

    def __init__(
        self,
        book: Tensor,
        places: int,
        index: Callable[[Tensor], Tensor],
        batch: torch.Size | tuple[int, ...] = (),
        scores: Scores | None = None,
    ) -> None:
        self.book, self.places, self.index, self.scores = book, places, index, scores
        super().__init__(torch.Size(batch), torch.Size((places * book.shape[1],)), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Mean of all rows at each place, which itself is none."""
        if self.scores is not None:
            raise NotImplementedError
        return self.book.mean(0).expand(self.places, -1).flatten()

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability in nats, (...), of codes (..., P D)."""
        lead = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        if self.scores is None:
            return value.new_full(lead, -self.places * math.log(len(self.book)))
        k = self.index(value.unflatten(-1, (self.places, -1))).expand(*lead, self.places)
        logits = self.scores(self.book.detach()[k]).log_softmax(-1)
        return logits.gather(-1, k.unsqueeze(-1)).sum((-2, -1))

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw codes, place by place where they depend on one another."""
        lead = self._extended_shape(torch.Size(sample_shape))[:-1]
        if self.scores is None:
            k = torch.randint(len(self.book), (*lead, self.places), device=self.book.device)
            return self.book[k].flatten(-2)
        rows = self.book.new_zeros(*lead, self.places, self.book.shape[1])
        for i in range(self.places):
            logits = self.scores(rows)[..., i, :]
            rows[..., i, :] = self.book[Categorical(logits=logits, validate_args=False).sample()]
        return rows.flatten(-2)
