r"""The covariance of the codes drawn to the identity: DIP-VAE, I and II.

.. math::
    -\mathcal{L} + \lambda_{od} \sum_{i \ne j} C_{ij}^2 + \lambda_d \sum_i (C_{ii} - 1)^2

    C^{I} = \operatorname{Cov}_x(\mathbb{E}_q z), \qquad
    C^{II} = \operatorname{Cov}_x(\mathbb{E}_q z) + \mathbb{E}_x \operatorname{Cov}_q z

Reference:
    Variational inference of disentangled latent concepts from unlabeled observations (Kumar, Sattigeri and
    Balakrishnan, 2018), https://arxiv.org/abs/1711.00848, eqs. 6 and 7
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..errors import ConfigError
from ..model import VAE
from .base import Objective, ObjectiveOutput, check_weights, penalised
from .schedules import Progress


class DIP(Objective):
    """Evidence lower bound with a penalty on how far the codes' covariance is from the identity.

    Args:
        kind: "i" for the covariance of the posterior's mean, "ii" for that of the aggregate posterior.
        off_diagonal: Weight λ_od.
        diagonal: Weight λ_d; the paper has 10 λ_od for the first kind, λ_od for the second.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self, kind: Literal["i", "ii"] = "ii", off_diagonal: float = 10.0, diagonal: float = 10.0
    ) -> None:
        super().__init__()
        check_weights(self, off_diagonal=off_diagonal, diagonal=diagonal)
        if kind not in ("i", "ii"):
            raise ConfigError(f"DIP is of kind 'i' or 'ii'; got {kind!r}")
        self.kind, self.off_diagonal, self.diagonal = kind, off_diagonal, diagonal

    def forward(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        out = model(x, c)
        if len(out.draw.q) > 1:
            raise ConfigError("DIP needs a latent of one level; the model has several")
        covariance = code_covariance(out.q, aggregate=self.kind == "ii")
        excess = (covariance - torch.eye(len(covariance), dtype=covariance.dtype, device=x.device)).square()
        diagonal = excess.diagonal().sum()
        return penalised(out, self.off_diagonal * (excess.sum() - diagonal) + self.diagonal * diagonal)


def code_covariance(q: Distribution, aggregate: bool = True) -> Tensor:
    """Return the covariance, (L, L), of the posteriors' means over the batch, or of the aggregate posterior.

    Args:
        q: Posteriors of a batch, (B,), with a mean and a variance in closed form.
        aggregate: Add the mean of their own covariances; full ones where q has them.

    Raises:
        ConfigError: q has no moments in closed form.
    """
    try:
        mean, variance = q.mean.flatten(1), q.variance.flatten(1)
    except NotImplementedError:
        raise ConfigError(
            "DIP needs a posterior whose mean and variance are known, as 'diagonal_gaussian'"
        ) from None
    centred = mean - mean.mean(0)
    covariance = centred.T @ centred / len(mean)
    if not aggregate:
        return covariance
    own = getattr(q, "covariance_matrix", None)
    return covariance + (torch.diag(variance.mean(0)) if own is None else own.mean(0))
