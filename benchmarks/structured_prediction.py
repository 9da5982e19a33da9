"""Structured prediction on MNIST (Sohn, Lee and Yan 2015): the rest of a digit from 1, 2 or 3 of its quadrants.

    python benchmarks/structured_prediction.py [--root DATA] [--seeds 0 1 2] [--workers 2] [--keep DIR]

Observed are the lower left quadrant, the left half, or all but the upper right quadrant. The conditional VAE gives
the negative conditional log-likelihood of the other pixels by importance sampling; beside it stands the network
alone, without a latent, trained and scored with the cross-entropy of the same pixels (``nn``). The grey variant
scores the model that was trained on binarised images on grey ones, with the cross-entropy of grey targets in place of
log p: no likelihood, but what published implementations compute.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from common import over_seeds, read_arguments, run_jobs, write_result

import lowerbound as lb
from lowerbound.objectives import Objective, ObjectiveOutput, Progress

RULES = {"1q": "quadrant", "2q": "half", "3q": "three-quadrants"}
LATENT = 40
SETTINGS: dict[str, Any] = {"epochs": 50, "learning_rate": 3e-3, "weight_decay": 0.06}
NN_SETTINGS: dict[str, Any] = {"epochs": 20, "learning_rate": 1e-3, "weight_decay": 0.06}
OBJECTIVE: dict[str, Any] = {"type": "elbo"}
PRECISION = "bf16"  # of the networks in evaluation


class WithoutLatent(Objective):
    """Cross-entropy of the missing pixels under the decoder alone, its code held at zero."""

    def __call__(
        self, model: Any, x: torch.Tensor, c: Mapping[str, torch.Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        p_x = model.likelihood_at(torch.zeros(len(x), *model.latent_shape, device=x.device), c)
        bound = p_x.log_prob(x).mean()
        return ObjectiveOutput(-bound, bound)


def conditional(rule: str, seed: int, root: str | None) -> dict[str, float]:
    """Train and score the conditional VAE; metrics with the number of quadrants in their names."""
    data = lb.data.load("mnist", root=root, binarize="dynamic", observed=RULES[rule])
    torch.manual_seed(seed)
    model = lb.VAE.for_data(data, latent=LATENT)
    run = lb.fit(model, data, objective=OBJECTIVE, seed=seed, progress=False, **SETTINGS)
    # Grey levels as they are, v / 255, in the place of bits.
    grey = lb.data.load("mnist", root=root, binarize="none", dequantize=False, observed=RULES[rule])
    return {
        f"nll_{rule}": nll(model, data.test, 100),
        f"nll_{rule}_s1000": nll(model, data.test, 1000),
        f"nll_{rule}_grey": grey_nll(model, grey.test, samples=100),
        f"valid_{rule}": nll(model, data.valid, 100),
        f"bf16_difference_{rule}": nll(model, data.valid, 100, limit=1000)
        - nll(model, data.valid, 100, limit=1000, precision="fp32"),
        f"minutes_{rule}": run.seconds / 60,
    }


def nll(model: lb.VAE, split: Any, samples: int, **options: Any) -> float:
    """Return -log p(missing | observed) in nats."""
    options = {"precision": PRECISION, "progress": False} | options
    return lb.evaluate.nll(model, split, samples, **options).value


@torch.no_grad()
def grey_nll(model: lb.VAE, split: Any, samples: int) -> float:
    """Return the importance-sampling estimate with grey targets in the cross-entropy."""
    total = 0.0
    for number, (x, c) in enumerate(split.batches(200)):
        torch.manual_seed(number)
        log_weight = model(x, c, samples).log_weight
        total -= (log_weight.logsumexp(0) - torch.tensor(float(samples)).log()).sum().item()
    return total / len(split)


def network(rule: str, seed: int, root: str | None) -> dict[str, float]:
    """Train and score the baseline: the same condition network and decoder, no latent."""
    data = lb.data.load("mnist", root=root, binarize="dynamic", observed=RULES[rule])
    torch.manual_seed(seed)
    model = lb.VAE.for_data(data, latent=LATENT)
    lb.fit(model, data, objective=WithoutLatent(), seed=seed, progress=False, keep="last", **NN_SETTINGS)
    scores = [
        model.likelihood_at(torch.zeros(len(x), LATENT), c).log_prob(x).detach()
        for x, c in data.test.batches(500)
    ]
    return {f"nn_{rule}": -torch.cat(scores).mean().item()}


def work(kind: str, **job: Any) -> dict[str, float]:
    return {"cvae": conditional, "nn": network}[kind](**job)


def main() -> None:
    arguments = read_arguments(__doc__)
    jobs = {
        f"{kind}-{rule}-{seed}": {"kind": kind, "rule": rule, "seed": seed, "root": arguments.root}
        for kind in ("cvae", "nn")
        for rule in RULES
        for seed in arguments.seeds
    }
    results, seconds = run_jobs(work, jobs, arguments.workers, arguments.keep)
    means, intervals = over_seeds(results, arguments.seeds)
    path = write_result(
        "structured_prediction",
        means,
        intervals=intervals,
        protocol={
            "data": "MNIST, 50,000 training, 10,000 validation, 10,000 test images",
            "observed": "1q: lower left quadrant; 2q: left half; 3q: all but the upper right quadrant",
            "score": "-log p(other pixels | observed pixels), nats per image, mean over all test images",
            "binarisation": "dynamic: P(x = 1) = v/255, drawn anew in training, once in evaluation",
            "estimate": "importance sampling with q(z | x, c), 100 samples, and 1000 where the row says so; networks "
            "in bfloat16, log-densities in float32",
            "bf16_difference": "what that changes, on the first 1000 validation images with the same draws",
            "grey": "the same model with grey pixels as input and as targets of the cross-entropy, 100 samples: no "
            "likelihood, printed because published implementations report it",
            "nn": "the same condition network and decoder without a latent, cross-entropy of the same pixels; it "
            "sees binarised pixels, which say less than grey ones",
            "selection": "weights with the best validation bound during the run; settings chosen on validation",
            "interval": "lowest and highest seed",
        },
        seeds=arguments.seeds,
        config={"latent": LATENT, "objective": OBJECTIVE, "training": SETTINGS, "training_nn": NN_SETTINGS},
        seconds=seconds,
    )
    print(path)


if __name__ == "__main__":
    main()
