r"""The evidence lower bound of a set of examples, with its two terms.

.. math::
    \log p(x) \ge \mathbb{E}_{q(z \mid x)}[\log p(x \mid z)] - KL(q(z \mid x) \,\|\, p(z))

Reference:
    Auto-encoding variational Bayes (Kingma and Welling, 2014), https://arxiv.org/abs/1312.6114, eq. 3
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from torch import Tensor

from ..data import Split
from ..display import signed
from ..distributions import NO_DENSITY
from ..errors import ConfigError
from ..model import VAE
from .stream import Options, Passes, check_samples, standard_error


@dataclass(frozen=True, repr=False)
class Bound:
    """The bound and its terms, in nats per example of the original data.

    Attributes:
        elbo: Reconstruction − KL, a lower bound on log p(x); higher is better.
        stderr: Its standard error over the examples, sd / √n; NaN for one example.
        reconstruction: E[log p(x | z)].
        kl: KL(q(z | x) || p(z)), in closed form where there is one.
        kl_per_dimension: Its share of each latent dimension, (*latent), or None if q does not factorise.
        n: Number of examples.
        per_example: The bound of each, (n,).
    """

    elbo: float
    stderr: float
    reconstruction: float
    kl: float
    kl_per_dimension: Tensor | None
    n: int
    per_example: Tensor

    def __repr__(self) -> str:
        """A line: ``ELBO −24.40 ± 0.27 (reconstruction −20.10, KL 4.30) nats (n = 180)``."""
        terms = f"reconstruction {signed(self.reconstruction)}, KL {signed(self.kl)}"
        return f"ELBO {signed(self.elbo, 2, self.stderr)} ({terms}) nats (n = {self.n})"


def bound(
    model: VAE,
    split: Split | Tensor | Any,
    *,
    samples: int = 1,
    **options: Unpack[Options],
) -> Bound:
    """Estimate the evidence lower bound and its terms; the bound with many importance samples is ``nll``.

    Args:
        model: The model; its mode and torch's global generator are left as they were.
        split: A part of the data, or a tensor or array (N, *event).
        samples: Draws of z per example; those of one example are held at once.
        **options: ``c``, ``limit``, ``memory``, ``seed``, ``precision`` and ``progress``; see ``Options``.

    Raises:
        ConfigError: an option has an impossible value.
        DataError: there are no examples.
        ShapeError: the examples do not have the model's event shape.
        SupportError: they lie outside the likelihood's support.
    """
    check_samples("bound", samples)
    if not model.posterior.has_density:
        raise ConfigError(NO_DENSITY)
    passes = Passes(model, split, **options)
    terms: list[tuple[Tensor, Tensor]] = []
    per_dimension: list[Tensor] = []
    with passes.running("evidence lower bound") as advance:
        for x, c in passes.batches(max(1, passes.rows // samples)):
            out = model(x, c, samples)
            log_likelihood = out.log_likelihood.mean(0).cpu().double() - passes.log_volume(c)
            terms.append((log_likelihood, out.kl().cpu().double()))
            if (kl_of_each := out.kl_per_dimension()) is not None:
                per_dimension.append(kl_of_each.sum(0).cpu().double())
            advance(len(x))
    reconstruction, kl = (torch.cat(term) for term in zip(*terms, strict=True))
    return Bound(
        elbo=(reconstruction - kl).mean().item(),
        stderr=standard_error(reconstruction - kl),
        reconstruction=reconstruction.mean().item(),
        kl=kl.mean().item(),
        kl_per_dimension=torch.stack(per_dimension).sum(0) / passes.n if per_dimension else None,
        n=passes.n,
        per_example=reconstruction - kl,
    )
