"""MNIST with 100 labels (Kingma et al. 2014): a classifier learned with the generative model of all images.

    python benchmarks/semi_supervised.py [--root DATA] [--seeds 0 1 2] [--workers 2] [--keep DIR]

Ten labels of each class are kept of the 50,000 training images, chosen by the seed; the labels of the other images
are summed out. The error is that of q(y | x) on all 10,000 test images.
"""

from __future__ import annotations

from typing import Any

import torch
from common import over_seeds, read_arguments, run_jobs, write_result

import lowerbound as lb

LABELS = 100
DATA: dict[str, Any] = {"binarize": "threshold", "condition": "label", "labelled": LABELS}
MODEL: dict[str, Any] = {
    "latent": 20,
    "network": {"type": "mlp", "hidden": [256, 256]},
    "classifier": {"type": "conv", "channels": [16, 32], "hidden": 128, "dropout": 0.2},
}
OBJECTIVE: dict[str, Any] = {"type": "semi_supervised", "alpha": 10.0, "augment": 1.0}
SETTINGS: dict[str, Any] = {
    "epochs": 20,
    "batch_size": 128,
    "labelled_per_batch": 50,
    "learning_rate": 2e-3,
    "keep": "last",
}


def work(seed: int, root: str | None) -> dict[str, float]:
    """Train and score one model; the seed chooses the labelled images too."""
    data = lb.data.load("mnist", root=root, seed=seed, **DATA)
    torch.manual_seed(seed)
    model = lb.VAE.for_data(data, **MODEL)
    run = lb.fit(model, data, objective=OBJECTIVE, seed=seed, progress=False, **SETTINGS)
    return {
        f"error_{LABELS}_labels": 100 * lb.evaluate.classification_error(model, data.test).value,
        f"valid_error_{LABELS}_labels": 100 * lb.evaluate.classification_error(model, data.valid).value,
        "nll_conditional_s100": lb.evaluate.nll(model, data.test, samples=100, progress=False).value,
        "minutes": run.seconds / 60,
    }


def main() -> None:
    arguments = read_arguments(__doc__)
    jobs = {f"m2-{seed}": {"seed": seed, "root": arguments.root} for seed in arguments.seeds}
    results, seconds = run_jobs(work, jobs, arguments.workers, arguments.keep)
    means, intervals = over_seeds(results, arguments.seeds)
    path = write_result(
        "semi_supervised",
        means,
        intervals=intervals,
        protocol={
            "data": "MNIST, 50,000 training images of which 100 have a label, ten of each class, chosen by the seed",
            "error": "percent of the 10,000 test images that q(y | x) gets wrong, with the last weights",
            "images": "binarised at the middle grey, the same in training and test",
            "classifier": "sees training images under random small affine maps, which the published one does not; "
            "the bound is that of the images as they are",
            "choice": "settings chosen by the error on the labels of the validation split",
            "nll_conditional_s100": "-log p(x | y) of the test images, nats, importance sampling, 100 samples",
            "interval": "lowest and highest seed",
        },
        seeds=arguments.seeds,
        config={"data": DATA, "model": MODEL, "objective": OBJECTIVE, "training": SETTINGS},
        seconds=seconds,
    )
    print(path)


if __name__ == "__main__":
    main()
