"""Log-likelihood of a latent of two levels on dynamic MNIST, beside that of one level with the same networks.

    python benchmarks/hierarchy.py [--minutes 60 | --images 8] [--models ladder mlp] [--seeds 0 1 2]
                                   [--objective elbo] [--workers 1] [--root DATA] [--keep DIR] [--trial]

Choices were made on the validation images; the test images are evaluated once. ``--images`` counts millions of images
seen, which compares machines. ``--trial`` evaluates 2,000 validation images instead and writes no result.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from pathlib import Path
from typing import Any

import torch
from common import over_seeds, run_jobs, write_result
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import lowerbound as lb
from lowerbound.objectives import Progress
from lowerbound.registry import build_objective

SAMPLES = 1000
NETWORK: dict[str, Any] = {"type": "mlp", "hidden": [512, 512]}
ONE: dict[str, Any] = {"latent": 40, "network": NETWORK, "prior": "standard_normal"}
SIZES: dict[str, Any] = {"sizes": 2, "hidden": [256, 256]}
TWO: dict[str, Any] = {"latent": 80, "network": NETWORK, "posterior": {"type": "ladder", **SIZES}}
MODELS: dict[str, dict[str, Any]] = {
    "ladder": {**TWO, "prior": {"type": "ladder", "top": "flow", **SIZES}},
    "ladder_normal": {**TWO, "prior": {"type": "ladder", **SIZES}},
    "mlp": ONE,
    "mlp_flow": {**ONE, "prior": "flow"},
}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "iw": {"type": "importance_weighted", "samples": 8, "gradient": "dreg", "kept": 2},
    # Level by level some nats are free at first, or the second one is given up before it has been tried.
    "elbo": {
        "type": "elbo",
        "beta": {"type": "linear", "start": 0.0, "end": 1.0, "length": 0.1, "unit": "fraction"},
        "free_bits": {"type": "linear", "start": 4.0, "end": 0.0, "length": 0.3, "unit": "fraction"},
        "free_bits_of": "level",
    },
}
SETTINGS: dict[str, Any] = {"batch_size": 256, "learning_rate": 3e-3, "weight_decay": 0.06, "skip": 10.0}


class Flop(TorchDispatchMode):
    """Counts the operations of products; torch's own counter does not follow gradients that are scaled."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func._overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


def flop_per_image(model: lb.VAE, data: Any, objective: str) -> float:
    """Return the floating-point operations of a step's products, forward and back, for each image."""
    x, c = data.train.batch(torch.arange(64))
    with Flop() as counter:
        build_objective(OBJECTIVES[objective])(model, x, c, Progress()).loss.backward()
    model.zero_grad()
    return counter.total / len(x)


def work(
    name: str,
    seed: int,
    objective: str,
    minutes: float | None,
    images: float | None,
    root: str | None,
    trial: bool,
) -> dict[str, float]:
    """Train one model and evaluate it."""
    data = lb.data.load("mnist", binarize="dynamic", root=root, seed=0)
    torch.manual_seed(seed)
    model = lb.VAE.for_data(data, **MODELS[name])
    flop = flop_per_image(model, data, objective)
    length: dict[str, Any] = (
        {"minutes": minutes} if images is None else {"epochs": images * 1e6 / len(data.train)}
    )
    run = lb.fit(
        model, data, objective=OBJECTIVES[objective], seed=seed, progress=False, **SETTINGS, **length
    )
    last, end = run.history[-1], "" if name == "ladder" else f"_{name}"
    quiet = {"progress": False, "proposal": "posterior"}
    if trial:
        nll = lb.evaluate.nll(model, data.valid, 200, limit=2000, **quiet)
    else:
        nll = lb.evaluate.nll(model, data.test, SAMPLES, **quiet)
    kl = {f"{k}{end}": v for k, v in last.items() if k.startswith("kl")}
    return {
        f"nll_{'valid_s200' if trial else 'dynamic_s1000'}{end}": nll.value,
        f"nll_stderr{end}": nll.stderr,
        f"khat_share_bad{end}": nll.khat_share_bad,
        f"minutes{end}": run.seconds / 60,
        f"images_seen{end}": last["examples"],
        f"flop{end}": flop * last["examples"],
        f"skipped{end}": statistics.fmean(r["skipped"] for r in run.history if r["split"] == "train"),
        f"valid_bound{end}": (run.best or {})["bound"],
        **kl,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=60)
    length.add_argument("--images", type=float, help="millions of images seen, in place of minutes")
    parser.add_argument("--objective", default="elbo", choices=OBJECTIVES)
    parser.add_argument("--models", nargs="+", default=["ladder"], choices=MODELS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--workers", type=int, default=1, help="runs at a time, one thread each; of one, all threads"
    )
    parser.add_argument(
        "--root", default=os.environ.get("LOWERBOUND_DATA"), help="folder that holds MNIST/raw"
    )
    parser.add_argument(
        "--keep", type=Path, help="keep the finished runs' numbers here, and take up those there"
    )
    parser.add_argument("--trial", action="store_true", help="on validation images; writes no result")
    given = parser.parse_args()
    shared = {key: vars(given)[key] for key in ("objective", "minutes", "images", "root", "trial")}
    jobs = {
        f"{name}-{seed}": {"name": name, "seed": seed, **shared}
        for name in given.models
        for seed in given.seeds
    }
    results, seconds = run_jobs(work, jobs, given.workers, given.keep)
    means, intervals = over_seeds(results, given.seeds)
    if given.trial:
        print(json.dumps(means, indent=2))
        return
    path = write_result(
        "hierarchy",
        means,
        intervals=intervals,
        protocol={
            "data": "MNIST, 50,000 training, 10,000 validation, 10,000 test images",
            "binarisation": "dynamic: P(x = 1) = v/255, drawn anew in training, once in evaluation",
            "estimate": f"importance sampling with q(z|x), {SAMPLES} samples, all test images, evaluated once",
            "selection": "weights with the best importance-weighted validation bound during the run",
            "length": f"{given.minutes:g} minutes"
            if given.images is None
            else f"{given.images:g} million images",
            "flop": "of the products, forward and back, of all images seen",
            "threads": "one for each run" if given.workers > 1 else torch.get_num_threads(),
            "interval": "lowest and highest seed",
        },
        seeds=given.seeds,
        config={
            "models": {name: MODELS[name] for name in given.models},
            "objective": OBJECTIVES[given.objective],
            "training": SETTINGS,
        },
        seconds=seconds,
    )
    print(path)


if __name__ == "__main__":
    main()
