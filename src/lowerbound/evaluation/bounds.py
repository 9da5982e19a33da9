r"""The evidence lower bound of a set of examples, with its two terms.

.. math::
    \log p(x) \ge \mathbb{E}_{q(z \mid x)}[\log p(x \mid z)] - KL(q(z \mid x) \,\|\, p(z))

Reference:
    Auto-encoding variational Bayes (Kingma and Welling, 2014), https://arxiv.org/abs/1312.6114, eq. 3
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..data import Split
from ..errors import ConfigError
from ..model import VAE
from .stream import (
    Precision,
    batches,
    count,
    examples_of,
    frozen,
    log_volume,
    scored_share,
    standard_error,
    tile_rows,
)


@dataclass(frozen=True)
class Bound:
    """The bound and its terms, in nats per example of the original data.

    Attributes:
        elbo: Reconstruction − KL, a lower bound on log p(x); higher is better.
        stderr: Its standard error over the examples, sd / √n; NaN for one example.
        reconstruction: E[log p(x | z)].
        kl: KL(q(z | x) || p(z)), in closed form where there is one.
        kl_per_dimension: Its share of each latent dimension, (*latent), or None if q does not factorise.
        n: Number of examples.
    """

    elbo: float
    stderr: float
    reconstruction: float
    kl: float
    kl_per_dimension: Tensor | None = field(repr=False)
    n: int


def bound(
    model: VAE,
    split: Split | Tensor | Any,
    *,
    samples: int = 1,
    c: Any = None,
    limit: int | None = None,
    memory: float = 256,
    seed: int = 0,
    precision: Precision | None = None,
) -> Bound:
    """Estimate the evidence lower bound and its terms; the bound with many importance samples is ``nll``.

    Args:
        model: The model; its mode and torch's global generator are left as they were.
        split: A part of the data, or a tensor or array (N, *event).
        samples: Draws of z per example; those of one example are held at once.
        c: The condition in place of the split's, one for all examples or one each.
        limit: Evaluate only the first examples.
        memory: Cap on the arrays held at once in MiB, for as few as one example.
        seed: Seed of the latent draws. The binarisation or dequantisation is the same for all seeds.
        precision: "fp32" or "bf16" for the networks; None for the model's ``compute_dtype``.

    Raises:
        ConfigError: an option has an impossible value.
        DataError: there are no examples.
        ShapeError: the examples do not have the model's event shape.
        SupportError: they lie outside the likelihood's support.
    """
    if samples < 1:
        raise ConfigError(f"bound needs samples >= 1; got {samples!r}")
    split = examples_of(split)
    n = count(split, limit)
    terms: list[tuple[Tensor, Tensor]] = []
    per_dimension: list[Tensor] = []
    with frozen(model, seed, precision):
        size = max(1, tile_rows(model, memory) // samples)
        for x, c_x in batches(model, split, size, limit, c):
            out = model(x, c_x, samples)
            volume = log_volume(split) * scored_share(model, c_x)
            terms.append((out.log_likelihood.mean(0).cpu().double() - volume, out.kl().cpu().double()))
            if (kl_of_each := out.kl_per_dimension()) is not None:
                per_dimension.append(kl_of_each.sum(0).cpu().double())
    reconstruction, kl = (torch.cat(term) for term in zip(*terms, strict=True))
    return Bound(
        elbo=(reconstruction - kl).mean().item(),
        stderr=standard_error(reconstruction - kl),
        reconstruction=reconstruction.mean().item(),
        kl=kl.mean().item(),
        kl_per_dimension=torch.stack(per_dimension).sum(0) / n if per_dimension else None,
        n=n,
    )
