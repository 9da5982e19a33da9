"""Log-likelihood of binary tables (DEBD) with the defaults, beside Chow-Liu trees and Einsum networks.

    python benchmarks/density_binary.py [--root DATA] [--seeds 0 1 2] [--keep DIR] [--workers 2]

The tables' own splits. Training, and the choice of the weights to keep, see train and valid only; log p(x) of the
test rows is estimated with 1,000 importance samples each, a lower bound in expectation.

Published: Chow-Liu as recomputed by others on these splits; EiNet: Einsum networks (Peharz et al., 2020),
https://arxiv.org/abs/2004.06231, table 1.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import over_seeds, run_jobs, write_result

import lowerbound as lb
from lowerbound.defaults import recipe

SAMPLES = 1000
CHOW_LIU = {"nltcs": -6.759, "plants": -16.52, "jester": -58.23, "baudio": -44.37, "accidents": -33.19}
EINET = {"nltcs": -6.015, "plants": -13.68, "jester": -52.56, "baudio": -39.88, "accidents": -35.59}


def fit_and_score(name: str, seed: int, root: Path) -> dict[str, float]:
    """Return the mean log p(x) of the test rows, its standard error, and the minutes of training."""
    parts = {
        part: pd.read_csv(root / "binary" / f"{name}.{part}.data.gz", header=None).to_numpy(np.uint8)
        for part in ("train", "valid", "test")
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.npz"
        np.savez(path, **parts)
        data = lb.data.load(path, seed=seed)
    torch.manual_seed(seed)
    model = lb.VAE.for_data(data)
    objective, settings = recipe(data, model, {"seed": seed})
    began = time.perf_counter()
    run = lb.fit(model, data, objective=objective, progress=False, **settings)
    minutes = (time.perf_counter() - began) / 60
    result = lb.evaluate.nll(run.model, data.test, samples=SAMPLES)
    return {
        f"log_p_{name}": -float(result.value),
        f"stderr_{name}": float(result.stderr),
        f"khat_share_bad_{name}": float((result.khat > 0.7).double().mean()),
        f"minutes_{name}": minutes,
    }


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--root", type=Path, default=os.environ.get("LOWERBOUND_DATA"), help="folder of data"
    )
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--tables", nargs="+", default=list(EINET), choices=list(EINET))
    options.add_argument("--workers", type=int, default=2, help="fits at a time, one thread each")
    options.add_argument("--keep", type=Path, help="keep finished fits here, and take up those there")
    arguments = options.parse_args()
    if arguments.root is None:
        options.error("--root DATA or LOWERBOUND_DATA names the folder that holds binary/")
    jobs: dict[str, dict[str, Any]] = {
        f"{name}-{seed}": {"name": name, "seed": seed, "root": Path(arguments.root)}
        for seed in arguments.seeds
        for name in arguments.tables
    }
    found, seconds = run_jobs(fit_and_score, jobs, arguments.workers, arguments.keep)
    metrics, intervals = over_seeds(found, arguments.seeds)
    for peer, numbers in (("chow_liu", CHOW_LIU), ("einet", EINET)):
        beaten = [metrics[f"log_p_{name}"] > numbers[name] for name in arguments.tables]
        metrics[f"beats_{peer}"] = float(sum(beaten))
    metrics["minutes_max"] = max(intervals[f"minutes_{name}"][1] for name in arguments.tables)
    print({key: round(value, 3) for key, value in metrics.items()})
    if set(arguments.tables) != set(EINET):
        return
    path = write_result(
        "density_binary",
        metrics,
        intervals=intervals,
        protocol={
            "what": f"mean log p(x) of the test rows, nats, {SAMPLES} importance samples from q",
            "beats": "of the five tables, those with a higher mean than published",
            "published, Chow-Liu": str(CHOW_LIU),
            "published, EiNet": str(EINET),
            "minutes": f"of training, {arguments.workers} fits at a time, one thread each",
        },
        seeds=arguments.seeds,
        config={},
        seconds=seconds,
    )
    print(path)


if __name__ == "__main__":
    main()
