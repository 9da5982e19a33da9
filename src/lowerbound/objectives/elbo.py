r"""The evidence lower bound, with the two modifications people use: a weight on the KL and free bits.

.. math::
    \log p(x) \ge \mathbb{E}_{q(z \mid x)}[\log p(x \mid z)] - KL(q(z \mid x) \,\|\, p(z))

The loss is −E[log p(x | z)] + β Σ_j max(λ, KL_j); the reported bound is always the one with β = 1 and λ = 0.

Reference:
    Auto-encoding variational Bayes (Kingma and Welling, 2014), https://arxiv.org/abs/1312.6114, eq. 3;
    β-VAE (Higgins et al., 2017), https://openreview.net/forum?id=Sy2fzU9gl;
    free bits: Improving variational inference with inverse autoregressive flow (Kingma et al., 2016),
    https://arxiv.org/abs/1606.04934, appendix C.8
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from ..errors import ConfigError
from ..model import VAE, VAEOutput
from .base import Objective, ObjectiveOutput, mean_penalty
from .schedules import Progress, Schedule, as_schedule


class ELBO(Objective):
    """Evidence lower bound.

    Args:
        beta: Weight of the KL term, a number or a schedule; 1 is the bound.
        free_bits: λ in nats: a latent dimension whose KL, averaged over the batch, is below it is not pushed
            further down. Needs a posterior and a prior that factorise.
        samples: Draws of z per example, L in the paper.
        analytic_kl: Use the closed form of the KL where there is one, else the same draws.
    """

    def __init__(
        self,
        beta: float | Schedule = 1.0,
        free_bits: float = 0.0,
        samples: int = 1,
        analytic_kl: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(beta, Schedule) and not 0 <= beta < math.inf:
            raise ConfigError(f"ELBO needs a finite beta >= 0; got {beta!r}")
        if not 0 <= free_bits < math.inf:
            raise ConfigError(f"ELBO needs finite free_bits >= 0 nats; got {free_bits!r}")
        if samples < 1:
            raise ConfigError(f"ELBO needs samples >= 1; got {samples!r}")
        if free_bits and not analytic_kl:
            raise ConfigError("free_bits needs the KL of each latent dimension; leave analytic_kl=True")
        self.beta = beta
        self.free_bits = free_bits
        self.samples = samples
        self.analytic_kl = analytic_kl

    def forward(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        out = model(x, c, self.samples)
        reconstruction = out.log_likelihood.mean()
        kl = out.kl(self.analytic_kl).mean()
        beta = as_schedule(self.beta)(progress)
        weighed = self._with_free_bits(out) if self.free_bits else kl
        bound = reconstruction - kl
        loss = beta * weighed - reconstruction + mean_penalty(out)
        return ObjectiveOutput(loss, bound, {"reconstruction": reconstruction.detach(), "kl": kl.detach()})

    def _with_free_bits(self, out: VAEOutput) -> Tensor:
        per_dimension = out.kl_per_dimension()
        assert per_dimension is not None, "check lets only factorised posteriors and priors pass"
        return per_dimension.mean(0).clamp(min=self.free_bits).sum()

    def check(self, model: VAE, progress: Progress) -> None:
        """Raise ConfigError if β's schedule is longer than the run, or q has no KL of each dimension."""
        as_schedule(self.beta).check(progress)
        if self.free_bits and not model.kl_factorises():
            raise ConfigError(
                "free_bits needs a posterior and a prior that factorise; use 'diagonal_gaussian'"
            )
