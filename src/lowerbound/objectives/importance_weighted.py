r"""The importance-weighted bound, with three estimators of its gradient.

.. math::
    \mathcal{L}_K = \mathbb{E}_{z_{1:K} \sim q(z \mid x)}
        \left[ \log \frac1K \sum_k w_k \right], \qquad w_k = \frac{p(x \mid z_k)\, p(z_k)}{q(z_k \mid x)}

It rises with K from the evidence lower bound to log p(x). The encoder's part of the standard gradient gets
noisier with K relative to its size (Rainforth et al., 2018); the other two estimators leave out a term of
expectation zero, and both vanish for every draw once q is the exact posterior.

- "standard": differentiate the bound as it stands.
- "stl", sticking the landing: hold the parameters of log q(z | x) fixed. Unbiased at K = 1 only.
- "dreg", doubly reparameterised: each draw's path to the encoder is weighted by the square of its normalised
  weight. Unbiased at every K.

Reference:
    Importance weighted autoencoders (Burda, Grosse and Salakhutdinov, 2016), https://arxiv.org/abs/1509.00519;
    Sticking the landing (Roeder, Wu and Duvenaud, 2017), https://arxiv.org/abs/1703.09194;
    Doubly reparameterized gradient estimators (Tucker et al., 2019), https://arxiv.org/abs/1810.04152, eq. 8
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, get_args

from torch import Tensor

from ..errors import ConfigError, suggest
from ..model import VAE
from .base import Objective, ObjectiveOutput
from .schedules import Progress

Gradient = Literal["standard", "stl", "dreg"]


class ImportanceWeighted(Objective):
    """Importance-weighted bound.

    Args:
        samples: Number K of importance samples; 1 is the evidence lower bound.
        gradient: "standard", "stl" or "dreg".
    """

    def __init__(self, samples: int = 8, gradient: Gradient = "standard") -> None:
        if samples < 1:
            raise ConfigError(f"ImportanceWeighted needs samples >= 1; got {samples!r}")
        if gradient not in get_args(Gradient):
            raise ConfigError(f"unknown gradient {gradient!r}; {suggest(gradient, get_args(Gradient))}")
        self.samples = samples
        self.gradient = gradient

    def __call__(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        out = model(x, c, self.samples)
        if self.gradient == "standard":
            log_weight = out.log_weight
        else:
            log_weight = out.log_likelihood + out.log_prior - out.held().log_prob(out.z)
        per_example = log_weight.logsumexp(0) - math.log(self.samples)
        bound = per_example.mean()
        if self.gradient == "dreg":
            normalised = log_weight.detach().softmax(0)
            if out.z.requires_grad:
                # Backpropagation brings w̃ₖ ∂ log wₖ/∂z here once; the second factor w̃ₖ reaches the encoder
                # alone, since decoder and prior have branched off before.
                scale = normalised.reshape(*normalised.shape, *[1] * (out.z.ndim - 2))
                out.z.register_hook(lambda gradient: gradient * scale)
            loss = -(normalised * log_weight).sum(0).mean()
        else:
            loss = -bound
        terms = {
            "reconstruction": (reconstruction := out.log_likelihood.detach().mean()),
            "kl": reconstruction - log_weight.detach().mean(),
        }
        return ObjectiveOutput(loss, bound, terms)
