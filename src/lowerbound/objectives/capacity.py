r"""A KL that is held at a capacity, which rises as training goes on.

.. math:: -\mathbb{E}[\log p(x \mid z)] + \gamma \, | KL(q(z \mid x) \,\|\, p(z)) - C |

The distance is taken for every example, as in the paper; of the mean over a batch it would let some examples take
what others leave.

Reference:
    Understanding disentangling in β-VAE (Burgess et al., 2018), https://arxiv.org/abs/1804.03599, eq. 8
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..model import VAE
from .base import Objective, ObjectiveOutput, check_weights, penalised
from .schedules import Progress, Schedule, as_schedule


class Capacity(Objective):
    """Evidence lower bound whose KL is drawn to a capacity.

    Args:
        capacity: C in nats, a number or a schedule; the paper's rises from 0 to 25.
        gamma: Weight γ of the distance; 1000 in the paper.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(self, capacity: float | Schedule = 25.0, gamma: float = 1000.0) -> None:
        super().__init__()
        fixed = {} if isinstance(capacity, Schedule) else {"capacity": capacity}
        check_weights(self, gamma=gamma, **fixed)
        self.capacity, self.gamma = capacity, gamma

    def forward(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        out, capacity = model(x, c), as_schedule(self.capacity)(progress)
        return penalised(out, self.gamma * (out.kl() - capacity).abs().mean(), beta=0.0)

    def check(self, model: VAE, progress: Progress) -> None:
        """Raise ConfigError if the capacity's schedule is longer than the run."""
        as_schedule(self.capacity).check(progress)
