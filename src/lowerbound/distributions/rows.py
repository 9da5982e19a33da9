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
from torch.distributions.kl import register_kl

from .relaxed import GumbelOneHot

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


class ChosenRows(Rows):
    """Rows that are chosen independently of each other, drawn so that a gradient reaches book and probabilities.

    Args:
        book: (K, D).
        index: Gives the numbers of rows, (...), of rows (..., D).
        logits: Log-probabilities of the rows at each place, (*batch, P, K), up to a constant.
        temperature: τ of the relaxed draws.
        kept: Factor on draws by reparameterisation, (*batch); 0 leaves them out.
    """

    has_rsample = True

    def __init__(
        self,
        book: Tensor,
        index: Callable[[Tensor], Tensor],
        logits: Tensor,
        temperature: float,
        kept: Tensor | None = None,
    ) -> None:
        self.choice, self.kept = GumbelOneHot(logits, temperature), kept
        super().__init__(book, logits.shape[-2], index, logits.shape[:-2])

    @property
    def mean(self) -> Tensor:
        """Mean row at each place, which itself may be none; (*batch, P D)."""
        return (self.choice.probs @ self.book).flatten(-2)

    @property
    def likeliest(self) -> Tensor:
        """The row of the highest probability at each place, (*batch, P D)."""
        return self.book[self.choice.log_probs.argmax(-1)].flatten(-2)

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw; a gradient goes the way of a relaxed draw."""
        rows = (self.choice.rsample(sample_shape) @ self.book).flatten(-2)
        return rows if self.kept is None else rows * self.kept.unsqueeze(-1)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw, without gradients and with nothing left out."""
        return (self.choice.sample(sample_shape) @ self.book).flatten(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability in nats, (...), of codes (..., P D)."""
        k = self.index(value.unflatten(-1, (self.places, -1))).unsqueeze(-1)
        lead = torch.broadcast_shapes(k.shape[:-2], self.batch_shape)
        log_q = self.choice.log_probs.expand(*lead, *self.choice.log_probs.shape[-2:])
        return log_q.gather(-1, k.expand(*lead, -1, -1)).sum((-2, -1))


@register_kl(ChosenRows, Rows)
def _kl(q: ChosenRows, p: Rows) -> Tensor:
    if p.scores is not None:  # an order: what a place holds depends on those before
        raise NotImplementedError
    log_q = q.choice.log_probs
    return (log_q.exp() * log_q).sum((-2, -1)) + q.places * math.log(len(p.book))
