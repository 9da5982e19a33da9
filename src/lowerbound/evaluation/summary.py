"""All the numbers of a trained model on one part of the data, as ``lowerbound evaluate --json`` prints them."""

from __future__ import annotations

import math
import time
from typing import Any, Unpack

import torch
from torch import Tensor

from ..data import DataSpec, Split
from ..model import VAE
from .bounds import bound
from .classification import classification_error
from .importance import MOST_BAD, NLL, nll
from .latent import active_units, posterior_collapse_warning
from .proposals import Proposal, tightest
from .stream import Options, Passes, network_dtype, standard_error

# One draw would do for an average over thousands of examples; ten cost a hundredth of the NLL.
_BOUND_SAMPLES = 10
_NAIVE_LIMIT = 1000
_GAP = 0.01  # nats that are worth a word
_LOW = 0.1  # nats by which a value may be low
_FEW = 30  # examples

_NAMED = {"posterior": "q(z|x)", "prior": "p(z)"}
_NAMES = {torch.float64: "fp64", torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def summary(
    model: VAE,
    split: Split | Tensor | Any,
    samples: int = 1000,
    *,
    proposal: Proposal | None = None,
    naive: bool = False,
    **options: Unpack[Options],
) -> dict[str, Any]:
    """Return NLL, bound, use of the latent dimensions, a verdict and warnings; numbers, strings and lists only.

    Everything is in nats per example of the original data, as ``units`` says, but for ``bits_per_dim``. What
    does not apply or has no finite value is None. With a ``condition``, by its names, all is given it; where it holds
    the observed values, the others are ``scored``, so many on average. What is ``given`` of x itself is named, its
    "library" of counts for one: −log p(x | library) lacks the density of the library.

    Args:
        model: The model; it is left as it was.
        split: A part of the data, or a tensor or array (N, *event).
        samples: Importance samples per example.
        proposal: Where they come from: see ``nll``. If not given, the tightest, "mixture", where the model can have
            it and it does not take many times as long; else "posterior", and ``proposal_reason`` says why. Of another
            one than q(z | x, c), that of q stands beside it, as ``posterior_nll``, for it is what is published.
        naive: Estimate the NLL with z from the prior as well, of at most 1000 of the examples; done in any case where
            a level of the latent is discrete, for it alone counts all codes.
        **options: ``c``, ``limit``, ``memory``, ``seed``, ``precision`` and ``progress``; see ``Options``.
    """
    began = time.perf_counter()
    passes = Passes(model, split, **options)
    spec = passes.spec
    terms = bound(model, split, samples=_BOUND_SAMPLES, **options)
    units = active_units(model, split, **options)
    why = None
    if proposal is None:
        proposal, why = tightest(passes, samples)
    result = nll(model, split, samples, proposal=proposal, **options)
    by_q = None
    if result.proposal != "posterior" and model.posterior.has_density:
        by_q = nll(model, split, samples, **options)
    few = Options(**{**options, "limit": min(_NAIVE_LIMIT, result.n)})
    all_codes = None
    if naive or not model.prior.is_real:
        all_codes = nll(model, split, samples, proposal="prior", **few)
    word, reason = verdict(result)
    error = None
    if model.classifier is not None:
        error = classification_error(model, split, **options)
    of_each = terms.kl_per_dimension
    condition = model.condition
    scored = None
    if condition is not None and condition.observed is not None:
        parts = (c[condition.observed] for _, c in passes.batches(1024) if c is not None)
        counts = [(observed[:, 1] == 0).flatten(1).sum(1) for observed in parts]
        scored = torch.cat(counts).double().mean().item()
    numbers = {
        "nll": result.value,
        "nll_stderr": result.stderr,
        "elbo": terms.elbo,
        "elbo_stderr": terms.stderr,
        "reconstruction": terms.reconstruction,
        "kl": terms.kl,
        "kl_per_dimension": None if of_each is None else of_each.flatten().tolist(),
        # How many values are scored differs between the examples where the others are given.
        "bits_per_dim": bits_per_dim(result.value, spec, model.likelihood.discrete)
        if spec and scored is None
        else None,
        "error": None if error is None else error.value,
        "error_stderr": None if error is None else error.stderr,
        "condition": None if condition is None else list(condition.names),
        "scored": scored,
        "given": model.likelihood.given,
        "units": "nats",
        "proposal": result.proposal,
        "proposal_reason": why,
        "samples": samples,
        "n": result.n,
        "split": split.name if isinstance(split, Split) else None,
        "binarize": spec.binarize if spec else None,
        "ess_median": result.ess_median,
        "khat_share_bad": result.khat_share_bad,
        "active_units": units.count,
        "latent": units.total,
        "posterior_nll": None if by_q is None else by_q.value,
        "posterior_nll_stderr": None if by_q is None else by_q.stderr,
        "naive_nll": None if all_codes is None else all_codes.value,
        "naive_nll_stderr": None if all_codes is None else all_codes.stderr,
        "naive_n": None if all_codes is None else all_codes.n,
        "verdict": word,
        "reason": reason,
        "warnings": [
            warning
            for warning in (
                result.warning,
                None if all_codes is None or model.prior.is_real else _other_codes_warning(result, all_codes),
                posterior_collapse_warning(units, terms),
            )
            if warning
        ],
        "precision": _NAMES[network_dtype(model, passes.precision) or model.dtype],
        "seed": passes.seed,
        "seconds": time.perf_counter() - began,
    }
    return {key: _plain(value) for key, value in numbers.items()}


def verdict(result: NLL) -> tuple[str, str]:
    """Return "good", "rough" or "do not trust", and the reason.

    The estimate of log p(x) is low by about Var(w) / (2 S p(x)²), which is (1/ESS - 1/S) / 2 of each example.
    """
    lost, bad = int((~result.per_example.isfinite()).sum()), result.khat_share_bad
    if lost:
        return "do not trust", f"{lost} of {result.n} examples have no finite log p(x)"
    if bad > MOST_BAD:
        proposal = _NAMED.get(result.proposal, result.proposal)
        return "do not trust", (
            f"k-hat is above 0.7 for {bad:.0%} of the examples: {proposal} misses part of the posterior, and "
            "log p(x) is probably higher; train longer, or use more samples or a more flexible posterior"
        )
    if math.isnan(bad):
        return "rough", f"{result.samples} samples are too few to judge the importance weights"
    low = ((1 / result.ess - 1 / result.samples) / 2).mean().item()
    if low > max(_LOW, result.stderr / 2):
        return "rough", f"with {result.samples} samples the value is about {low:.2g} nats too low"
    if result.n < _FEW:
        return "rough", f"{result.n} examples are few"
    deviation = (result.per_example - result.per_example.mean()).square()
    if deviation.max() > deviation.sum() / 2:
        worst = int(deviation.argmax())
        return (
            "rough",
            f"one example makes most of the error: number {worst}, {result.per_example[worst]:.5g} nats",
        )
    return "good", f"k-hat is below 0.7 for {1 - bad:.0%} of the examples"


def _other_codes_warning(result: NLL, naive: NLL) -> str | None:
    """Say in a sentence that x comes from other codes too than the one that q(z | x) names, or return None.

    Either estimate is below log p(x) in the mean, but the second one counts all codes.
    """
    gap = naive.per_example - result.per_example[: naive.n]
    if not gap.mean() > max(_GAP, 3 * standard_error(gap)):
        return None
    return (
        "-log p(x) counts only the one discrete code that q(z | x) names, and others could have given x too: with z "
        f"from the prior it is {gap.mean():.2f} nats lower on {naive.n} examples; take that value, or a smaller "
        "scale or fewer codes"
    )


def bits_per_dim(nll: float, spec: DataSpec, discrete: bool = False) -> float | None:
    """Return NLL / (D ln 2) of discrete data: grey levels, binary values, classes; None for a density.

    Args:
        nll: Nats per example of the original data.
        spec: What one example is.
        discrete: What was scored is discrete whatever the data say.
    """
    discrete = discrete or spec.levels is not None or spec.values in ("binary", "categorical")
    return nll / (spec.dimensions * math.log(2)) if discrete else None


def _plain(value: Any) -> Any:
    """Return a number or a list of numbers with None for NaN and the infinities, which JSON does not know."""
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
