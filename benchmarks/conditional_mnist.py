"""Class-conditional MNIST: what the label is worth in nats, and whether generated digits are of the class asked for.

    python benchmarks/conditional_mnist.py [--root DATA] [--seeds 0 1 2] [--workers 2] [--keep DIR]

The same network is trained with and without the label, equally long; with it, the prior is a Gaussian of each class.
A neural network trained on real images then reads the digits that the conditional model generates, 1000 of each.
"""

from __future__ import annotations

from typing import Any

import torch
from common import over_seeds, read_arguments, run_jobs, write_result
from sklearn.neural_network import MLPClassifier

import lowerbound as lb

LATENT, SAMPLES = 40, 1000
SETTINGS: dict[str, Any] = {"epochs": 50, "learning_rate": 3e-3, "weight_decay": 0.06}
OBJECTIVE: dict[str, Any] = {"type": "elbo"}
DIGITS_PER_CLASS = 1000
PRIOR = {None: "standard_normal", "label": "conditional_gaussian"}
READER: dict[str, Any] = {"hidden_layer_sizes": (512,), "alpha": 1e-3, "batch_size": 256, "max_iter": 20}


def work(condition: str | None, seed: int, root: str | None) -> dict[str, float]:
    """Train and score one model."""
    data = lb.data.load("mnist", root=root, binarize="dynamic", condition=condition)
    torch.manual_seed(seed)
    model = lb.VAE.for_data(data, latent=LATENT, prior=PRIOR[condition])
    run = lb.fit(model, data, objective=OBJECTIVE, seed=seed, progress=False, **SETTINGS)
    nll = lb.evaluate.nll(model, data.test, samples=SAMPLES, precision="bf16", progress=False).value
    if condition is None:
        return {"nll_unconditional": nll, "minutes_unconditional": run.seconds / 60}
    return {"nll_conditional": nll, "minutes_conditional": run.seconds / 60, **recognised(model, root, seed)}


def recognised(model: lb.VAE, root: str | None, seed: int) -> dict[str, float]:
    """Return the share of generated digits that a classifier of real images reads as the class asked for."""
    real = lb.data.load("mnist", root=root, binarize="none", dequantize=False)
    x, _ = next(real.train.batches(len(real.train)))
    reader = MLPClassifier(**READER, random_state=seed).fit(x.flatten(1).numpy(), real.train.labels.numpy())
    test, _ = next(real.test.batches(len(real.test)))
    asked = torch.arange(10).repeat_interleave(DIGITS_PER_CLASS)
    drawn = model.sample(len(asked), asked, seed=seed)
    return {
        "digit_accuracy": float((reader.predict(drawn.flatten(1).numpy()) == asked.numpy()).mean()),
        "reader_accuracy_real": float(reader.score(test.flatten(1).numpy(), real.test.labels.numpy())),
    }


def main() -> None:
    arguments = read_arguments(__doc__)
    jobs = {
        f"{condition or 'none'}-{seed}": {"condition": condition, "seed": seed, "root": arguments.root}
        for seed in arguments.seeds
        for condition in (None, "label")
    }
    results, seconds = run_jobs(work, jobs, arguments.workers, arguments.keep)
    for seed in arguments.seeds:
        pair = results[f"none-{seed}"]["nll_unconditional"], results[f"label-{seed}"]["nll_conditional"]
        results[f"label-{seed}"]["gain_nats"] = pair[0] - pair[1]
    means, intervals = over_seeds(results, arguments.seeds)
    path = write_result(
        "conditional_mnist",
        means,
        intervals=intervals,
        protocol={
            "data": "MNIST, 50,000 training, 10,000 validation, 10,000 test images",
            "binarisation": "dynamic: P(x = 1) = v/255, drawn anew in training, once in evaluation",
            "gain_nats": "log p(x | y) - log p(x), mean over all test images; encoder, decoder and training are "
            "the same, one model is told the label and has a Gaussian prior for each. It would be at most "
            "log 10 = 2.30 if both were exact: the rest is what the label spares the network",
            "estimate": f"importance sampling with q(z | x, c), {SAMPLES} samples; networks in bfloat16",
            "digit_accuracy": f"share of {DIGITS_PER_CLASS} generated means p(x = 1 | z, y) of each class, z from "
            "the prior, that a neural network trained on the 50,000 real grey images reads as y",
            "reader_accuracy_real": "of that network on the 10,000 real test images",
            "interval": "lowest and highest seed",
        },
        seeds=arguments.seeds,
        config={
            "latent": LATENT,
            "prior": PRIOR["label"],
            "objective": OBJECTIVE,
            "training": SETTINGS,
            "reader": READER,
        },
        seconds=seconds,
    )
    print(path)


if __name__ == "__main__":
    main()
