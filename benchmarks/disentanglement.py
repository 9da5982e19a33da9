"""Codes against the factors that images were made of: β-VAE, β-TCVAE, FactorVAE, DIP-VAE on drawn shapes.

    python benchmarks/disentanglement.py [--seeds 0 1 2 3 4] [--workers 2] [--keep DIR] [--quick]

The script draws the images: three shapes in three sizes at 8 x 8 places, every combination once, 16 x 16 pixels.
Scores move much between seeds, so that medians are told, with the lowest and the highest seed.
"""

from __future__ import annotations

import itertools
import json
import statistics
from typing import Any

import numpy as np
import torch
from common import over_seeds, read_arguments, run_jobs, write_result

import lowerbound as lb

SIDE, PLACES, SIZES = 16, 8, (2.0, 3.0, 4.0)
OBJECTIVES: dict[str, dict[str, Any]] = {
    "vae": {"type": "elbo"},
    "beta_4": {"type": "elbo", "beta": 4.0},
    "capacity": {
        "type": "capacity",
        "capacity": {"type": "linear", "start": 0.0, "end": 12.0, "length": 0.5, "unit": "fraction"},
        "gamma": 100.0,
    },
    "total_correlation_6": {"type": "total_correlation", "beta": 6.0},
    "factor_vae_20": {"type": "factor_vae", "gamma": 20.0},
    "dip_ii_10": {"type": "dip", "kind": "ii"},
}
MODEL: dict[str, Any] = {"latent": 8, "network": {"type": "mlp", "hidden": [256, 256]}}
SETTINGS: dict[str, Any] = {"epochs": 300, "batch_size": 64, "learning_rate": 1e-3, "keep": "last"}
SCORES = ("mig", "sap", "disentanglement", "completeness", "modularity", "factor_vae")


def images() -> tuple[np.ndarray, np.ndarray]:
    """Return the images (N, 1, 16, 16) of zeros and ones, and their factors (N, 4): shape, size, column, row."""
    grid = np.arange(SIDE) + 0.5
    places = np.linspace(SIDE / 4, 3 * SIDE / 4, PLACES)
    factors = np.array(list(itertools.product(range(3), range(len(SIZES)), range(PLACES), range(PLACES))))
    drawn = np.empty((len(factors), 1, SIDE, SIDE), np.float32)
    for image, (shape, size, column, row) in zip(drawn, factors, strict=True):
        x, y = np.abs(grid - places[column])[None, :], np.abs(grid - places[row])[:, None]
        distance = (np.maximum(x, y), np.hypot(x, y), x + y)[shape]  # a square, a disc, a diamond
        image[0] = distance <= SIZES[size]
    return drawn, factors


def work(name: str, seed: int, epochs: int) -> dict[str, float]:
    """Train one model and score its posterior means of all images."""
    x, factors = images()
    data = lb.data.load(x, seed=seed)
    torch.manual_seed(seed)
    model = lb.VAE.for_data(data, **MODEL)
    settings = {**SETTINGS, "epochs": epochs}
    lb.fit(model, data, objective=OBJECTIVES[name], seed=seed, progress=False, **settings)
    codes = lb.evaluate.posterior_means(model, x, progress=False).mean
    scores = lb.evaluate.disentanglement(codes, factors, seed=seed)
    found = {f"{score}_{name}": getattr(scores, score) for score in SCORES}
    return {
        **found,
        f"active_units_{name}": float(lb.evaluate.active_units(model, x, progress=False).count),
        f"elbo_{name}": lb.evaluate.bound(model, data.test, samples=10, progress=False).elbo,
    }


def main() -> None:
    arguments = read_arguments(__doc__, quick=True)
    seeds = arguments.seeds[:1] if arguments.quick else arguments.seeds
    epochs = 2 if arguments.quick else SETTINGS["epochs"]
    jobs = {
        f"{name}-{seed}": {"name": name, "seed": seed, "epochs": epochs}
        for name in OBJECTIVES
        for seed in seeds
    }
    results, seconds = run_jobs(work, jobs, arguments.workers, arguments.keep)
    medians, intervals = over_seeds(results, seeds, statistics.median)
    if arguments.quick:
        print(json.dumps(medians, indent=2))
        return
    path = write_result(
        "disentanglement",
        medians,
        intervals=intervals,
        protocol={
            "data": "three shapes in three sizes at 8 x 8 places, 16 x 16 pixels, every combination once, drawn by "
            "the script; four fifths are learned from",
            "scores": "of the posterior means of all images; 20 bins of equal width; the number is the median of the "
            "seeds",
            "elbo": "nats per image of the test split, whatever the objective weighs",
            "interval": "lowest and highest seed",
        },
        seeds=seeds,
        config={"model": MODEL, "objectives": OBJECTIVES, "training": SETTINGS},
        seconds=seconds,
    )
    print(path)


if __name__ == "__main__":
    main()
