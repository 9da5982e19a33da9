"""Test log-likelihood of dynamically binarised MNIST after a short training on a CPU, with the defaults.

    python benchmarks/mnist_mlp.py [--root DATA] [--millions 8 | --minutes 10] [--seeds 0 1 2]

It runs ``lowerbound train mnist --binarize dynamic`` for as many images, of which two cores with matrix units see 8
million in ten minutes, and ``lowerbound evaluate --samples 1000``: the network with the best bound on the validation
split is evaluated once on all 10,000 test images. Images compare machines; minutes are what one of them takes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import lowerbound, write_result

SAMPLES = 1000
TRAINING_IMAGES = 50_000


def train_and_evaluate(
    seeds: Sequence[int], length: Sequence[str], root: str | None, keep: Path | None
) -> list[tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]]:
    """Run the two commands for every seed; return the evaluation, the metrics and the configuration of each run.

    Args:
        seeds: Seeds of the runs.
        length: Of the training, as options of ``lowerbound train``.
        root: Folder that holds MNIST/raw; None for the default.
        keep: Folder for the runs, of which those that are finished are taken up; None keeps nothing.
    """
    where = ["--root", root] if root else []
    runs = []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in seeds:
            folder = (keep or Path(scratch)) / f"mnist-seed{seed}"
            evaluated = folder / "evaluation.json"
            if not evaluated.is_file():  # a kept run that was evaluated is not done again
                train = ["train", "mnist", "--binarize", "dynamic", *length]
                lowerbound(*train, "--seed", str(seed), "--out", str(folder), *where)
                lowerbound("evaluate", str(folder), "-k", str(SAMPLES), "--all", "--json", *where)
            evaluation = json.loads(evaluated.read_text())
            history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
            config = json.loads((folder / "config.json").read_text())
            config["data"]["options"].pop("root", None)  # where the data lie is this machine's affair
            runs.append((evaluation, history, config))
    return runs


def by_q(evaluation: dict[str, Any]) -> float:
    """Return −log p(x) by samples of q(z|x), the one that is published."""
    return evaluation["nll"] if evaluation.get("posterior_nll") is None else evaluation["posterior_nll"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", help="folder that holds MNIST/raw; else $LOWERBOUND_DATA")
    parser.add_argument("--millions", type=float, default=8, help="images of each run, in millions")
    parser.add_argument("--minutes", type=float, help="length of each run, in place of the images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--keep", type=Path, help="keep the run folders here, and take up those that are there"
    )
    arguments = parser.parse_args()
    started = time.monotonic()
    length = ["--epochs", f"{1e6 * arguments.millions / TRAINING_IMAGES:g}"]
    if arguments.minutes is not None:
        length = ["--minutes", f"{arguments.minutes:g}"]
    runs = train_and_evaluate(arguments.seeds, length, arguments.root, arguments.keep)

    def mean(key: str) -> float:
        return statistics.fmean(evaluation[key] for evaluation, _, _ in runs)

    last = [history[-1] for _, history, _ in runs]
    nll, tighter = [by_q(evaluation) for evaluation, _, _ in runs], [one["nll"] for one, _, _ in runs]
    path = write_result(
        "mnist_mlp",
        {
            "nll_dynamic_s1000": statistics.fmean(nll),
            "nll_tighter_s1000": statistics.fmean(tighter),
            "nll_stderr": mean("nll_stderr"),
            "elbo": mean("elbo"),
            "kl": mean("kl"),
            "active_units": mean("active_units"),
            "khat_share_bad": mean("khat_share_bad"),
            "images_seen_millions": statistics.fmean(record["examples"] / 1e6 for record in last),
            "minutes": statistics.fmean(record["seconds"] / 60 for record in last),
            "epochs": statistics.fmean(record["epoch"] for record in last),
            "images_per_second": statistics.fmean(record["examples"] / record["seconds"] for record in last),
        },
        intervals={
            "nll_dynamic_s1000": [min(nll), max(nll)],
            "nll_tighter_s1000": [min(tighter), max(tighter)],
        },
        protocol={
            "data": "MNIST, 50,000 training, 10,000 validation, 10,000 test images",
            "binarisation": "dynamic: P(x = 1) = v/255, drawn anew in training, once in evaluation",
            "estimate": f"importance sampling with q(z|x), {SAMPLES} samples, all test images, evaluated once",
            "tighter": f"with the proposal {runs[0][0]['proposal']}, to which k-hat belongs",
            "selection": "weights with the best importance-weighted validation bound during the run",
            "interval": "lowest and highest seed",
            "nll_stderr": "over test images, of one run",
        },
        seeds=arguments.seeds,
        config=runs[0][2],
        # Of runs that were taken up, too.
        seconds=max(time.monotonic() - started, sum(record["seconds"] for record in last)),
    )
    print(path)


if __name__ == "__main__":
    main()
