"""Another prior for a trained model: the Fréchet distance of its draws before and after ``lowerbound.ex_post``.

    python benchmarks/ex_post.py [--root DATA] [--seeds 0 1 2] [--workers 2] [--keep DIR] [--quick]

Grey MNIST. Features are those of a small classifier trained on the training images by the library, the same for all
models of a seed; a distance compares with no number of other features.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from common import over_seeds, read_arguments, run_jobs, write_result

import lowerbound as lb
from lowerbound.presets import preset

MODELS = ("vae", "beta-vae", "rae-l2")
DATA: dict[str, Any] = {"binarize": "none"}
LIKELIHOOD: dict[str, Any] = {"type": "gaussian", "scale": 0.7071067811865476}
MODEL: dict[str, Any] = {"latent": 16, "network": {"type": "mlp", "hidden": [512, 512]}}
PRIOR: dict[str, Any] = {"type": "gaussian_mixture", "components": 10}
SETTINGS: dict[str, Any] = {"epochs": 20, "batch_size": 128, "learning_rate": 1e-3}


def work(name: str, seed: int, root: str | None, quick: bool) -> dict[str, float]:
    """Train one model, and compare its draws with the test images, with either prior."""
    data = lb.data.load("digits" if quick else "mnist", root=None if quick else root, seed=seed, **DATA)
    features = lb.evaluate.classifier_features(data.train, data.valid, epochs=2, seed=seed)
    chosen = dict(preset(name))
    objective = chosen.pop("objective")
    chosen.pop("data", None)
    torch.manual_seed(seed)
    model = lb.VAE.for_data(data, **{"likelihood": LIKELIHOOD, **chosen, **MODEL})
    settings = {**SETTINGS, "epochs": 2 if quick else SETTINGS["epochs"]}
    lb.fit(model, data, objective=objective, seed=seed, progress=False, **settings)
    after = lb.ex_post(model, data, PRIOR, steps=1000 if quick else 4000, seed=seed)
    found = {}
    for when, one in (("before", model), ("after", after)):
        quality = lb.evaluate.sample_quality(one, data.test, features, seed=seed, progress=False)
        key = name.replace("-", "_")
        found[f"frechet_{when}_{key}"] = quality.frechet.value
        found[f"coverage_{when}_{key}"] = quality.coverage.value
    return {**found, "classifier_accuracy": features.accuracy}


def main() -> None:
    arguments = read_arguments(__doc__, quick=True)
    seeds = arguments.seeds[:1] if arguments.quick else arguments.seeds
    jobs = {
        f"{name}-{seed}": {"name": name, "seed": seed, "root": arguments.root, "quick": arguments.quick}
        for name in MODELS
        for seed in seeds
    }
    results, seconds = run_jobs(work, jobs, arguments.workers, arguments.keep)
    means, intervals = over_seeds(results, seeds)
    if arguments.quick:
        print(json.dumps(means, indent=2))
        return
    path = write_result(
        "ex_post",
        means,
        intervals=intervals,
        protocol={
            "data": "MNIST, grey, 50,000 training images",
            "frechet": "of as many draws as there are test images, 10,000, in 32 features of a small classifier that "
            "is trained by the library; lower is better",
            "before": "the prior that the model was trained with; of the regularised autoencoder N(0, I)",
            "after": "a mixture of 10 Gaussians, fitted to the codes of the training images",
            "interval": "lowest and highest seed",
        },
        seeds=seeds,
        config={
            "models": MODELS,
            "model": MODEL,
            "likelihood": LIKELIHOOD,
            "prior": PRIOR,
            "training": SETTINGS,
        },
        seconds=seconds,
    )
    print(path)


if __name__ == "__main__":
    main()
