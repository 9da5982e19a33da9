"""Outlier detection on 22 of ADBench's tables: AUROC of our detector's defaults beside PyOD's.

    python benchmarks/outliers.py [--root DATA] [--peers DIR] [--seeds 0 1 2 3 4] [--keep DIR] [--workers 2]

The two settings of DTE's comparison: "one-class" trains on a half of the normal rows and tests on all others,
"unsupervised" trains and tests on all rows, outliers among them. A score is -log p(x); no option is set for any
table. Every fit has one thread.

Reference:
    On diffusion modeling for anomaly detection (Livernoche et al., 2024), https://arxiv.org/abs/2305.18593
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import run_jobs, write_result
from contest import Worker, python_with
from sklearn.metrics import roc_auc_score

from lowerbound.estimator import VAEOutlierDetector

PEERS = {"pyod": "3.6.7", "scikit-learn": "1.9.1"}
SETTINGS = ("oneclass", "unsupervised")


def rows(path: Path, setting: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows to train on, those to test on, and which of these are outliers."""
    with np.load(path) as table:
        X, y = table["X"].astype(float), table["y"].astype(int)
    if setting == "unsupervised":
        return X, X, y
    normal = np.random.default_rng(seed).permutation(np.flatnonzero(y == 0))
    train = normal[: len(normal) // 2]
    test = np.setdiff1d(np.arange(len(X)), train)
    return X[train], X[test], y[test]


def detect(path: Path, setting: str, seed: int) -> dict[str, Any]:
    """Return the AUROC of our detector, and the seconds of its fit and scores."""
    train, test, y = rows(path, setting, seed)
    began = time.perf_counter()
    odd = -VAEOutlierDetector(random_state=seed).fit(train).score_samples(test)
    return {"ours": roc_auc_score(y, odd), "seconds": time.perf_counter() - began}


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--root", type=Path, default=os.environ.get("LOWERBOUND_DATA"), help="folder of data"
    )
    options.add_argument("--peers", type=Path, help="environment of the peers; else a temporary one")
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    options.add_argument("--settings", nargs="+", default=SETTINGS, choices=SETTINGS)
    options.add_argument("--workers", type=int, default=2, help="fits at a time, one thread each")
    options.add_argument("--keep", type=Path, help="keep finished fits here, and take up those there")
    arguments = options.parse_args()
    if arguments.root is None:
        options.error("--root DATA or LOWERBOUND_DATA names the folder that holds outliers/")
    started = time.monotonic()
    tables = sorted(Path(arguments.root, "outliers").glob("*.npz"))
    jobs = {
        f"{path.stem}-{setting}-{seed}": {"path": path, "setting": setting, "seed": seed}
        for seed in arguments.seeds
        for setting in arguments.settings
        for path in tables
    }
    ours, seconds = run_jobs(detect, jobs, arguments.workers, arguments.keep)
    with tempfile.TemporaryDirectory() as scratch:
        python = python_with(arguments.peers or Path(scratch) / "peers", PEERS)
        worker = Worker(python, "outliers", Path(scratch) / "peers.log")
        worker.make("peers", "Detectors")
        for name, job in jobs.items():
            train, test, y = rows(**job)
            answer = worker.call(
                "peers", "scores", train=train.tolist(), test=test.tolist(), seed=job["seed"]
            )
            for peer, told in answer.items():
                ours[name][peer] = roc_auc_score(y, np.nan_to_num(told["scores"], posinf=1e30))
            print(name, {k: round(v, 3) for k, v in ours[name].items()}, file=sys.stderr, flush=True)
        versions = worker.ask(do="versions", of=["pyod", "scikit-learn", "torch"])
        worker.close()
    metrics: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    sides = [side for side in next(iter(ours.values())) if side != "seconds"]
    for setting in arguments.settings:
        for side in sides:
            each = [
                100 * statistics.fmean(ours[f"{path.stem}-{setting}-{seed}"][side] for path in tables)
                for seed in arguments.seeds
            ]
            metrics[f"auroc_{setting}_{side}"] = statistics.fmean(each)
            intervals[f"auroc_{setting}_{side}"] = [min(each), max(each)]
        for peer in sides[1:]:
            gain = metrics[f"auroc_{setting}_ours"] - metrics[f"auroc_{setting}_{peer}"]
            metrics[f"auroc_{setting}_gain_over_{peer}"] = gain
        for path in tables:
            for side in sides:
                each = [ours[f"{path.stem}-{setting}-{seed}"][side] for seed in arguments.seeds]
                metrics[f"auroc_{setting}_{path.stem}_{side}"] = 100 * statistics.fmean(each)
    metrics["minutes"] = seconds / 60
    metrics["seconds_per_fit"] = statistics.fmean(result["seconds"] for result in ours.values())
    for key in ("minutes", "seconds_per_fit"):
        print(key, metrics[key])
    print({key: round(value, 2) for key, value in metrics.items() if "gain" in key})
    if set(arguments.settings) != set(SETTINGS):
        return
    path = write_result(
        "outliers",
        metrics,
        intervals=intervals,
        protocol={
            "what": "AUROC in per cent, mean over 22 tables; ends: least and largest mean of a seed",
            "one-class": "trained on a half of the normal rows, tested on all others",
            "unsupervised": "trained and tested on all rows",
            "minutes": f"of all our {len(jobs)} fits and scores, {arguments.workers} at a time, one thread each",
        },
        seeds=arguments.seeds,
        config={"estimator": VAEOutlierDetector().get_params()},
        seconds=time.monotonic() - started,
        versions={f"{name} (peers)": text for name, text in versions.items()},
    )
    print(path)


if __name__ == "__main__":
    main()
