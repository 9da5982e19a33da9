r"""A KL that is held at a capacity, which rises as training goes on.

.. math:: -\mathbb{E}[\log p(x \mid z)] + \gamma \sum_l | KL(q(z_l \mid x) \,\|\, p(z_l)) - C_l |

with one capacity for the whole latent, or one for each of its levels. The distance is taken for every example, as in
the first paper; of the mean over a batch it would let some examples take what others leave.

References:
    Understanding disentangling in β-VAE (Burgess et al., 2018), https://arxiv.org/abs/1804.03599, eq. 8
    Learning disentangled joint continuous and discrete representations (Dupont, 2018), a capacity for each,
    https://arxiv.org/abs/1804.00104, eq. 7
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..errors import ConfigError
from ..model import VAE
from .base import Objective, ObjectiveOutput, check_weights, penalised
from .schedules import Progress, Schedule, as_schedule


class Capacity(Objective):
    """Evidence lower bound whose KL is drawn to a capacity.

    Args:
        capacity: C in nats, a number or a schedule; the paper's rises from 0 to 25. A list of these has one for each
            level of the latent.
        gamma: Weight γ of the distance; 1000 in the paper.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self, capacity: float | Schedule | Sequence[float | Schedule] = 25.0, gamma: float = 1000.0
    ) -> None:
        super().__init__()
        self.capacity, self.gamma = capacity, gamma
        fixed = [c for c in self._each if not isinstance(c, Schedule)]
        check_weights(self, gamma=gamma)
        for c in fixed:
            check_weights(self, capacity=c)

    @property
    def _each(self) -> Sequence[float | Schedule]:
        return self.capacity if isinstance(self.capacity, Sequence) else [self.capacity]

    def forward(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        out = model(x, c)
        kls = out.draw.kl_of_levels() if isinstance(self.capacity, Sequence) else [out.kl()]
        pairs = zip(kls, self._each, strict=True)
        distance = torch.stack(
            [(kl - as_schedule(capacity)(progress)).abs().mean() for kl, capacity in pairs]
        )
        return penalised(out, self.gamma * distance.sum(), beta=0.0)

    def check(self, model: VAE, progress: Progress) -> None:
        """Raise ConfigError if a capacity's schedule is longer than the run, or there is not one for each level."""
        for capacity in self._each:
            as_schedule(capacity).check(progress)
        levels = len(model.prior.levels)
        if isinstance(self.capacity, Sequence) and len(self.capacity) != levels:
            raise ConfigError(
                f"Capacity has {len(self.capacity)} capacities, but the latent has {levels} levels: give one "
                "for each, or one number for all together"
            )
