"""Synthetic tables: Adult, Shoppers and Beijing by the commands a user types, judged by sdmetrics and XGBoost.

    python benchmarks/tables.py [--root DATA] [--peers DIR] [--seeds 0 1 2] [--tables adult shoppers beijing]

Train on the training rows with the defaults, draw as many rows, compare. The splits are TabSyn's: Adult's own, nine
tenths and one tenth of the others. Beside each number is the floor, what the test rows have in the synthetic rows'
place, and for the booster what it has when it learns from the real rows.

Published: Mixed-type tabular data synthesis with score-based diffusion in latent space (Zhang et al., 2024),
https://arxiv.org/abs/2310.09656, tables 1 and 2 and the tables of the appendix.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import ROOT, lowerbound, write_result
from contest import python_with

JUDGES = {"sdmetrics": "0.32.0", "xgboost": "3.2.0", "scikit-learn": "1.9.1", "pandas": "2.3.3"}
ADULT = ["age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week"]
SHOPPERS = [
    *(
        "Administrative",
        "Administrative_Duration",
        "Informational",
        "Informational_Duration",
        "ProductRelated",
    ),
    *("ProductRelated_Duration", "BounceRates", "ExitRates", "PageValues", "SpecialDay"),
]
BEIJING = ["pm2.5", "DEWP", "TEMP", "PRES", "Iws", "Is", "Ir"]
NUMBERS = {"adult": ADULT, "shoppers": SHOPPERS, "beijing": BEIJING}
TARGETS = {"adult": "income", "shoppers": "Revenue", "beijing": "pm2.5"}


def split(name: str, root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return training and test rows, every cell as it is written."""
    folder, words = root / "tables", {"dtype": str, "keep_default_na": False, "skipinitialspace": True}
    if name == "adult":
        train, test = (pd.read_csv(folder / f"adult.{part}.gz", **words) for part in ("data", "test"))
        return train, test.assign(income=test["income"].str.rstrip("."))
    if name == "shoppers":
        rows = pd.read_csv(folder / "online_shoppers_intention.csv.gz", sep=";", **words)
    else:
        rows = pd.read_csv(folder / "beijing_pm25.csv.gz", **words)
        rows = rows[["year", "month", "day", "hour", "cbwd", *BEIJING]]
    order = np.random.default_rng(1234).permutation(len(rows))
    cut = round(0.9 * len(rows))
    return rows.iloc[order[:cut]], rows.iloc[order[cut:]]


def synthesise(train: Path, seed: int, folder: Path, options: list[str]) -> tuple[Path, float]:
    """Return the file of as many synthetic rows as there are training rows, and the minutes it took."""
    began, run, out = time.perf_counter(), folder / f"run-{seed}", folder / f"synthetic-{seed}.csv"
    lowerbound("train", str(train), "--out", str(run), "--seed", str(seed), *options)
    rows = len(pd.read_csv(train, dtype=str))
    lowerbound("sample", str(run), "-n", str(rows), "--seed", str(seed), "--out", str(out))
    return out, (time.perf_counter() - began) / 60


def judge(python: Path, name: str, real: Path, synthetic: Path, test: Path) -> dict[str, Any]:
    """Return what sdmetrics and XGBoost say of synthetic rows."""
    request = {"numbers": NUMBERS[name], "target": TARGETS[name]}
    request |= {"real": str(real), "synthetic": str(synthetic), "test": str(test)}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(request, file)
        file.flush()
        script = str(ROOT / "benchmarks" / "peers" / "table_metrics.py")
        done = subprocess.run([str(python), script, file.name], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--root", type=Path, default=os.environ.get("LOWERBOUND_DATA"), help="folder of data"
    )
    options.add_argument("--peers", type=Path, help="environment of the judges; else a temporary one")
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--tables", nargs="+", default=list(NUMBERS), choices=list(NUMBERS))
    options.add_argument("--keep", type=Path, help="keep runs and synthetic tables here")
    options.add_argument("--train", nargs=argparse.REMAINDER, default=[], help="options of train: no result")
    arguments = options.parse_args()
    if arguments.root is None:
        options.error("--root DATA or LOWERBOUND_DATA names the folder that holds tables/")
    started = time.monotonic()
    metrics: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    versions: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as temporary:
        python = python_with(arguments.peers or Path(temporary) / "peers", JUDGES, torch=False)
        for name in arguments.tables:
            folder = (arguments.keep or Path(temporary)) / name
            folder.mkdir(parents=True, exist_ok=True)
            parts = split(name, Path(arguments.root))
            real, test = (folder / f"{part}.csv" for part in ("train", "test"))
            for path, rows in zip((real, test), parts, strict=True):
                rows.to_csv(path, index=False)
            rounds: dict[str, list[float]] = {}
            for seed in arguments.seeds:
                out, minutes = synthesise(real, seed, folder, arguments.train)
                told = judge(python, name, real, out, test)
                print(name, seed, f"{minutes:.1f} min", told, file=sys.stderr, flush=True)
                versions = told.pop("versions")
                del told["columns"]
                for key, value in {**told, "minutes": minutes}.items():
                    rounds.setdefault(key, []).append(value)
            if arguments.train:
                continue
            floor, usual = judge(python, name, real, test, test), judge(python, name, real, real, test)
            for key, values in rounds.items():
                metrics[f"{key}_{name}"] = statistics.fmean(values)
                intervals[f"{key}_{name}"] = [min(values), max(values)]
                if key in ("auc", "rmse"):
                    metrics[f"{key}_{name}_real"] = usual[key]
                elif key != "minutes":
                    metrics[f"{key}_{name}_floor"] = floor[key]
    if arguments.train or set(arguments.tables) != set(NUMBERS):
        return
    for key in ("column_error", "pair_error", "c2st"):
        metrics[f"{key}_mean"] = statistics.fmean(metrics[f"{key}_{name}"] for name in NUMBERS)
    metrics["minutes_max"] = max(intervals[f"minutes_{name}"][1] for name in NUMBERS)
    path = write_result(
        "tables",
        metrics,
        intervals=intervals,
        protocol={
            "what": "lowerbound train TABLE; lowerbound sample -n as many rows: all defaults",
            "column_error, pair_error": "1 - Column Shapes and Column Pair Trends of sdmetrics, per cent",
            "c2st": "LogisticDetection of sdmetrics; 1 is best",
            "auc, rmse": "XGBoost trained on synthetic rows, on the test rows; rmse of log pm2.5",
            "floor": "the test rows in the place of the synthetic ones",
            "minutes": "training and sampling, two commands",
        },
        seeds=arguments.seeds,
        config={},
        seconds=time.monotonic() - started,
        versions=versions,
    )
    print(path)


if __name__ == "__main__":
    main()
