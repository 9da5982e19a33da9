r"""A bound on every set of named parts of x, for a posterior that is to know them from any of the others.

With A all parts of an example and :math:`\mathcal{L}(x_S)` the inner objective's loss where all but the parts S are
missing:

.. math:: \mathcal{L}(x_A) + \sum_{k \in A} \mathcal{L}(x_k) + \sum_{j=1}^{J} \mathcal{L}(x_{S_j}), \qquad
    S_j \subset A \text{ at random, of more than one part and not all}

Each term is a bound on log p(x_S), so the reported bound is that of the first alone.

Reference:
    Multimodal generative models for scalable weakly-supervised learning (Wu and Goodman, 2018),
    https://arxiv.org/abs/1802.05335, whose J sets are those of a whole batch; here each example
    has its own
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import ConfigError
from ..model import VAE
from ..shapes import numel
from .base import Objective, ObjectiveOutput
from .elbo import ELBO
from .schedules import Progress

if TYPE_CHECKING:
    from ..data import Data


class Subsets(Objective):
    """An objective on all parts of x, on each alone, and on random sets of them.

    Args:
        objective: The inner one, the evidence lower bound if not given.
        random: Number J of random sets for each example and step; of two parts there are none.

    Raises:
        ConfigError: random is negative, or the inner objective has players of its own.
    """

    def __init__(self, objective: Objective | None = None, random: int = 1) -> None:
        super().__init__()
        if random < 0:
            raise ConfigError(f"Subsets needs random >= 0; got {random!r}")
        self.objective = ELBO() if objective is None else objective
        if type(self.objective).moves is not Objective.moves:
            raise ConfigError(
                f"Subsets cannot wrap {type(self.objective).__name__}, which has several players"
            )
        self.random = random
        self.is_bound = self.objective.is_bound
        self.sums_out_labels = self.objective.sums_out_labels

    def forward(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        sizes = part_sizes(model, self)
        kept = [row.expand(len(x), -1) for row in torch.eye(len(sizes), dtype=torch.bool, device=x.device)]
        if len(sizes) > 2:
            kept += [_some(len(x), len(sizes), x.device) for _ in range(self.random)]
        out = self.objective(model, x, c, progress)
        again = (
            None
            if c is None
            else {name: value.repeat(len(kept), *[1] * (value.ndim - 1)) for name, value in c.items()}
        )
        few = self.objective(model, torch.cat([only(x, keep, sizes) for keep in kept]), again, progress)
        terms = {**out.terms, "subsets": few.bound.detach()}
        return ObjectiveOutput(out.loss + len(kept) * few.loss, out.bound, terms)

    def validate(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, samples: int
    ) -> dict[str, Tensor]:
        """Return what the inner objective reports of all parts."""
        return self.objective.validate(model, x, c, samples)

    def start(self, model: VAE, data: Data | None = None) -> None:
        """Start the inner objective."""
        self.objective.start(model, data)

    def check(self, model: VAE, progress: Progress) -> None:
        """Raise ConfigError unless x has named parts and the inner objective fits the model and the run."""
        part_sizes(model, self)
        self.objective.check(model, progress)


def part_sizes(model: VAE, objective: Objective) -> list[int]:
    """Return how many elements each named part of x has.

    Raises:
        ConfigError: x has no named parts, or none may be missing.
    """
    layout = model.likelihood.layout
    if layout is None or not model.missing:
        raise ConfigError(
            f"{type(objective).__name__} needs x of several named parts that may be missing: load the data with "
            "parts=, like ['image', 'label']"
        )
    return [numel(part.event_shape) for part in layout]


def only(x: Tensor, keep: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return x (B, D) of which only some parts are left, the others NaN.

    Args:
        x: Observations.
        keep: Which parts are kept, (B, K).
        sizes: Number of elements of each part.
    """
    each = torch.as_tensor(sizes, device=x.device)
    return torch.where(keep.repeat_interleave(each, 1), x, torch.nan)


def _some(n: int, count: int, device: torch.device) -> Tensor:
    """Return sets (n, count) of 2 to count - 1 parts, of uniform size."""
    size = torch.randint(2, count, (n, 1), device=device)
    return torch.rand(n, count, device=device).argsort(1).argsort(1) < size
