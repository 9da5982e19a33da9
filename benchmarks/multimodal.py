"""One part of x given another: log p(x_a | x_b) of the multimodal presets on MNIST.

    python benchmarks/multimodal.py --root DATA [--seeds 0 1 2] [--workers 1] [--keep DIR] [--quick]

Two pairs: an image and its label, and an image and another one of the same class. Budgets are small and alike, a few
thousand steps of a two-layer perceptron for each part.

References:
    Multimodal generative models for scalable weakly-supervised learning (Wu and Goodman, 2018),
    https://arxiv.org/abs/1802.05335

    Variational mixture-of-experts autoencoders (Shi et al., 2019), https://arxiv.org/abs/1911.03393

    Generalized multimodal ELBO (Sutter, Daunhawer and Vogt, 2021), https://arxiv.org/abs/2105.02470
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import over_seeds, read_arguments, run_jobs, write_result

import lowerbound as lb
from lowerbound.presets import preset

PRESETS = ("mvae", "mmvae", "mopoe", "mvtcae")
SIZES = {"train": 20_000, "valid": 1000, "test": 1000}
MODEL: dict[str, Any] = {"latent": 16, "network": {"type": "parts", "hidden": [256, 256]}}
SETTINGS: dict[str, Any] = {"epochs": 15, "batch_size": 100}
SAMPLES = 100


@functools.cache
def _mnist(root: Path | None) -> lb.data.Data:
    return lb.data.load("mnist", root=root)


def another(label: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    """Return for each example the place of another one of its class, each taken once."""
    other = np.empty(len(label), int)
    for each in np.unique(label):
        of_class = draws.permutation(np.flatnonzero(label == each))
        other[of_class] = np.roll(of_class, 1)
    return other


def pairs(root: Path | None, second: str, seed: int) -> lb.data.Data:
    """Return images beside their labels ("label"), or beside others of the same class ("view")."""
    mnist, draws = _mnist(root), np.random.default_rng(seed)
    splits = {}
    for name, count in SIZES.items():
        split = getattr(mnist, name)
        chosen = torch.from_numpy(draws.permutation(len(split))[:count])
        image, label = split.rows.read(chosen).numpy(), split.labels[chosen].numpy()
        beside = label
        if second == "view":
            beside = image[another(label, draws)]
        splits[name] = {"image": image, second: beside}
    return lb.data.load(splits, parts=["image", second], binarize="dynamic")


def work(name: str, second: str, seed: int, root: Path | None, epochs: int) -> dict[str, float]:
    """Train one preset on one pair, and estimate each part given the other."""
    data, chosen = pairs(root, second, seed), preset(name)
    torch.manual_seed(seed)
    model = lb.VAE.for_data(data, posterior=chosen["posterior"], **MODEL)
    settings = {**SETTINGS, "epochs": epochs}
    lb.fit(model, data, objective=chosen["objective"], seed=seed, progress=False, **settings)
    found = {}
    for of, given in (("image", second), (second, "image")):
        if (of, given) == ("view", "image"):
            continue  # either image may be called the other one's view
        result = lb.evaluate.conditional_nll(
            model, data.test, of=of, samples=SAMPLES, seed=seed, progress=False
        )
        found[f"log_p_{of}_given_{given}_{name}"] = -result.value
        found[f"log_p_both_{second}_{name}"] = -result.joint.value
    return found


def main() -> None:
    arguments = read_arguments(__doc__, quick=True)
    seeds = arguments.seeds[:1] if arguments.quick else arguments.seeds
    epochs = 1 if arguments.quick else SETTINGS["epochs"]
    root = None if arguments.root is None else Path(arguments.root)
    jobs = {
        f"{name}-{second}-{seed}": {
            "name": name,
            "second": second,
            "seed": seed,
            "root": root,
            "epochs": epochs,
        }
        for seed in seeds
        for second in ("label", "view")
        for name in PRESETS
    }
    results, seconds = run_jobs(work, jobs, arguments.workers, arguments.keep)
    means, ends = over_seeds(results, seeds)
    if arguments.quick:
        print(json.dumps(means, indent=2))
        return
    path = write_result(
        "multimodal",
        means,
        intervals=ends,
        protocol={
            "what": "log p(x_a | x_b) = log p(x_a, x_b) - log p(x_b) in nats per example, each by importance "
            f"sampling with {SAMPLES} draws of its own posterior; higher is better",
            "data": f"MNIST, dynamically binarised: {SIZES['train']:,} images of the training file beside their "
            f"label, or beside another image of the same class; {SIZES['test']} of the test file",
            "reference": "without the image, log p(label) is about -2.30",
            "interval": "lowest and highest seed; a seed chooses the images too",
        },
        seeds=seeds,
        config={"model": MODEL, "training": SETTINGS, "presets": {name: preset(name) for name in PRESETS}},
        seconds=seconds,
    )
    print(path)


if __name__ == "__main__":
    main()
