r"""The total correlation of named parts and code as an objective: MVTCAE.

With K parts, :math:`q_k = q(z \mid x_k)` what the posterior is of one part alone, and q that of all of them:

.. math:: -\tfrac{K - \alpha}{K} \mathbb{E}_q[\log p(x \mid z)] + \beta \Big[ (1 - \alpha) KL(q \,\|\, p(z))
    + \tfrac{\alpha}{K} \sum_k KL(q \,\|\, q_k) \Big]

The second sum draws what each part alone says of z to what all of them say. The reported bound is the evidence lower
bound. A part that is missing in an example is left out of its mean.

Reference:
    Multi-view representation learning via total correlation objective (Hwang et al., 2021),
    Advances in neural information processing systems 34
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..distributions import closed_form_kl
from ..errors import ConfigError
from ..model import VAE
from .base import Objective, ObjectiveOutput, check_weights
from .schedules import Progress, Schedule, as_schedule
from .subsets import only, part_sizes


class MVTCAE(Objective):
    """Multi-view total correlation.

    Args:
        alpha: How much of the total correlation's bound comes from the parts alone, between 0 and 1.
        beta: Weight of the divergences, a number or a schedule.

    Raises:
        ConfigError: a weight is out of its range.
    """

    def __init__(self, alpha: float = 0.9, beta: float | Schedule = 1.0) -> None:
        super().__init__()
        if not isinstance(beta, Schedule):
            check_weights(self, beta=beta)
        if not 0 <= alpha <= 1:
            raise ConfigError(f"MVTCAE needs alpha between 0 and 1; got {alpha!r}")
        self.alpha, self.beta = alpha, beta

    def forward(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        sizes = part_sizes(model, self)
        out, view = model(x, c), model.under(c)
        u, _ = view.to_model(x)
        total, count = x.new_zeros(len(x)), x.new_zeros(len(x))
        for keep in torch.eye(len(sizes), dtype=torch.bool, device=x.device):
            alone = only(u, keep.expand(len(x), -1), sizes)
            kl = closed_form_kl(out.q, view.model.posterior.level(0, view.evidence(alone), None, out.p_z))
            assert kl is not None, "check lets only posteriors with a divergence pass"
            there = (~alone.isnan()).any(1)
            total, count = total + torch.where(there, kl, 0.0), count + there
        reconstruction, kl = out.log_likelihood.mean(), out.kl().mean()
        between = (total / count.clamp(min=1)).mean()
        loss = as_schedule(self.beta)(progress) * ((1 - self.alpha) * kl + self.alpha * between)
        loss = loss - (1 - self.alpha / len(sizes)) * reconstruction
        terms = {"reconstruction": reconstruction, "kl": kl, "between": between}
        return ObjectiveOutput(
            loss, reconstruction - kl, {name: value.detach() for name, value in terms.items()}
        )

    def check(self, model: VAE, progress: Progress) -> None:
        """Raise ConfigError unless x has named parts, and two posteriors a divergence in closed form."""
        part_sizes(model, self)
        as_schedule(self.beta).check(progress)
        if not model.kl_factorises():
            raise ConfigError(
                "MVTCAE needs posteriors whose divergence is known, which that of a mixture is not: combine='poe'"
            )
