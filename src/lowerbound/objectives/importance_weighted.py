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

Each is a sum over the draws, weighted by their normalised weights w̃ₖ, most of which are small, and two thirds of a
step's work is to backpropagate through the decoder. ``kept`` does so for some of the draws only, chosen by weight
such that the expectation of the gradient is what it was (``resampling.py``). All K are decoded and make the bound.

Reference:
    Importance weighted autoencoders (Burda, Grosse and Salakhutdinov, 2016), https://arxiv.org/abs/1509.00519,
    which proposes to backpropagate through one draw, in section 3;
    Sticking the landing (Roeder, Wu and Duvenaud, 2017), https://arxiv.org/abs/1703.09194;
    Doubly reparameterized gradient estimators (Tucker et al., 2019), https://arxiv.org/abs/1810.04152, eq. 8
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import ConfigError
from ..model import VAE, VAEOutput
from .base import Objective, ObjectiveOutput, check_counts, check_word, mean_penalty
from .resampling import choose
from .schedules import Progress

Gradient = Literal["standard", "stl", "dreg"]


class ImportanceWeighted(Objective):
    """Importance-weighted bound.

    Args:
        samples: Number K of importance samples; 1 is the evidence lower bound.
        gradient: "standard", "stl" or "dreg".
        kept: Number of draws that the gradient goes through; all of them if not given. A few of many cost less and
            add little noise. They are decoded again: a decoder with dropout weighs them under another mask. An
            optimal σ stays that of all draws, held fixed.
    """

    def __init__(self, samples: int = 8, gradient: Gradient = "standard", kept: int | None = None) -> None:
        super().__init__()
        check_counts(self, samples=samples)
        check_word("gradient", gradient, get_args(Gradient))
        if kept is not None and not 1 <= kept <= samples:
            raise ConfigError(f"ImportanceWeighted needs 1 <= kept <= samples={samples}; got {kept!r}")
        self.samples = samples
        self.gradient = gradient
        self.kept = kept

    def forward(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        kept = self.samples if self.kept is None else self.kept
        some = kept < self.samples
        dreg = self.gradient == "dreg"
        out = model(x, c, self.samples, decode=not (some or dreg))
        if dreg and not some:
            # Backpropagation brings w̃ₖ ∂ log wₖ/∂z to the draws once; the second factor w̃ₖ reaches the encoder
            # alone, since decoder and prior have branched off before. It is known once the weights are.
            factor = torch.empty(out.draw.z[0].shape[:2], device=x.device, dtype=out.draw.z[0].dtype)
            out = out.scaled(factor)
        with torch.no_grad() if some else contextlib.nullcontext():
            log_weight = self._log_weight(out)
        bound = (log_weight.logsumexp(0) - math.log(self.samples)).mean()
        terms = {
            "reconstruction": (reconstruction := out.log_likelihood.detach().mean()),
            "kl": reconstruction - log_weight.detach().mean(),
        }
        if not (some or dreg):
            return ObjectiveOutput(-bound + mean_penalty(out), bound, terms)
        normalised = log_weight.detach().softmax(0)
        if some:
            index, probability = choose(normalised, kept)
            normalised = normalised.gather(0, index)
            fitted = getattr(out.p_x, "fitted", None)
            out = out.take(index)
            out = out.scaled(normalised) if dreg else out
            if fitted is not None:
                out.p_x.held = fitted  # pyright: ignore[reportAttributeAccessIssue]
            log_weight, share = self._log_weight(out), normalised / probability
        else:
            share = factor.copy_(normalised)
        return ObjectiveOutput(-(share * log_weight).sum(0).mean() + mean_penalty(out), bound, terms)

    def check(self, model: VAE, progress: Progress) -> None:
        """Raise ConfigError if the gradient is "dreg" and the posterior's draws depend on each other."""
        if self.gradient == "dreg" and self.samples > 1 and not model.posterior.independent:
            raise ConfigError(
                "gradient 'dreg' rests on independent draws of each example, which those of posterior "
                f"{type(model.posterior).__name__} are not; set posterior.stratified=false, or use 'standard'"
            )

    def _log_weight(self, out: VAEOutput) -> Tensor:
        """Return log w of every draw in nats, (S, B), with the gradient that the estimator takes of it."""
        if self.gradient == "standard":
            return out.log_weight
        return out.log_likelihood + out.log_prior - out.log_posterior_held
