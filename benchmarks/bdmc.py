"""Bounds on log p(x) from both sides, on images that the model has drawn: what annealed importance sampling is worth.

    python benchmarks/bdmc.py RUN [RUN ...] [--images 100] [--temperatures 500] [--chains 8] [--quick]

RUN are folders of trained models, one for each seed. log p(x) lies between the bounds: ``gap_nats`` is how far either
can be off, in expectation, and ``minutes`` what that took.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from common import write_result

import lowerbound as lb


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--temperatures", type=int, default=500)
    parser.add_argument("--chains", type=int, default=8)
    parser.add_argument("--start", default="laplace", choices=["laplace", "posterior", "prior"])
    parser.add_argument("--quick", action="store_true", help="10 images, 50 temperatures; writes no result")
    arguments = parser.parse_args()
    options = {"temperatures": arguments.temperatures, "chains": arguments.chains, "start": arguments.start}
    images = arguments.images
    if arguments.quick:
        images, options = 10, {"temperatures": 50, "chains": 4, "start": arguments.start}
    began = time.monotonic()
    found = [lb.evaluate.bdmc(lb.load(run), images, **options) for run in arguments.runs]
    for one in found:
        print(one)
    gaps, minutes = [one.gap for one in found], [one.seconds / 60 for one in found]
    metrics = {
        "gap_nats": statistics.fmean(gaps),
        "gap_stderr": statistics.fmean(one.stderr for one in found),
        "minutes": statistics.fmean(minutes),
    }
    print(", ".join(f"{key} {value:.4g}" for key, value in metrics.items()))
    if arguments.quick:
        return
    configs = [json.loads((Path(run) / "config.json").read_text()) for run in arguments.runs]
    path = write_result(
        "bdmc",
        metrics,
        intervals={"gap_nats": [min(gaps), max(gaps)], "minutes": [min(minutes), max(minutes)]},
        protocol={"data": "drawn from the model", "images": images, **options},
        seeds=[config["training"]["seed"] for config in configs],
        config=configs[0],
        seconds=time.monotonic() - began,
    )
    print(path)


if __name__ == "__main__":
    main()
