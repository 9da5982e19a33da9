r"""M importance-weighted bounds of K samples side by side: MIWAE, and with another bound for the decoder PIWAE.

.. math::
    \mathcal{L}_{M, K} = \frac1M \sum_{m=1}^M \log \frac1K \sum_{k=1}^K w_{m, k}

The more samples in one bound, the better the decoder's gradient and the noisier, relative to its size, the encoder's.
With the same MK draws the encoder can climb :math:`\mathcal{L}_{M, K}` and everything else
:math:`\mathcal{L}_{1, MK}`.

Reference:
    Tighter variational bounds are not necessarily better (Rainforth et al., 2018), https://arxiv.org/abs/1802.04537,
    eqs. 13 and 15
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from ..errors import ConfigError
from ..model import VAE
from .base import Objective, ObjectiveOutput, check_counts, mean_penalty, of_weights
from .schedules import Progress


class MultiplyWeighted(Objective):
    """Mean of M importance-weighted bounds of K samples each.

    Args:
        estimates: Number M of bounds.
        samples: Number K of samples of each.
        decoder: "same", everything climbs the mean (MIWAE); "all", encoder and posterior do, and decoder, prior and
            condition climb the bound of all MK samples (PIWAE), which is then the one that is reported.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self, estimates: int = 8, samples: int = 8, decoder: Literal["same", "all"] = "same"
    ) -> None:
        super().__init__()
        check_counts(self, estimates=estimates, samples=samples)
        if decoder not in ("same", "all"):
            raise ConfigError(f"decoder is 'same' (MIWAE) or 'all' (PIWAE); got {decoder!r}")
        self.estimates, self.samples, self.decoder = estimates, samples, decoder

    def forward(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        out = model(x, c, self.estimates * self.samples)
        log_weight = out.log_weight
        of_each = log_weight.unflatten(0, (self.estimates, self.samples)).logsumexp(1).mean()
        bound = of_each - math.log(self.samples)
        loss = mean_penalty(out) - bound
        if self.decoder == "all":
            bound = log_weight.logsumexp(0).mean() - math.log(len(log_weight))
            loss = mean_penalty(out) - bound
            if loss.requires_grad:
                loss = loss + self._for_the_encoder(out.view.model, loss + of_each)
        return of_weights(out, bound, loss)

    def _for_the_encoder(self, model: VAE, excess: Tensor) -> Tensor:
        """Return 0, whose gradient replaces, for encoder and posterior alone, that of one bound by the other's."""
        inner = [p for part in (model.encoder, model.posterior) for p in part.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(excess, inner, retain_graph=True, allow_unused=True)
        pairs = [(p, g) for p, g in zip(inner, gradients, strict=True) if g is not None]
        return -sum((((p - p.detach()) * g).sum() for p, g in pairs), torch.zeros_like(excess.detach()))
