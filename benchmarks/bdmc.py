"""Bounds on log p(x) from both sides, on images that the model has drawn: what annealed importance sampling is worth.

    python benchmarks/bdmc.py [RUN ...] [--root DATA] [--minutes 10] [--seeds 0 1 2] [--keep DIR] [--quick]
                              [--images 100] [--temperatures 500] [--chains 8] [--start laplace]

RUN are folders of trained models, one for each seed; without, they are trained here. log p(x) lies between the
bounds: ``gap_nats`` is how far either can be off, in expectation, and ``minutes`` what that took.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import mnist_runs
from common import write_result

import lowerbound as lb


def main() -> None:
    parser = mnist_runs.parser(__doc__)
    mnist_runs.add_training(parser)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--temperatures", type=int, default=500)
    parser.add_argument("--chains", type=int, default=8)
    parser.add_argument("--start", default="laplace", choices=["laplace", "posterior", "prior"])
    arguments = parser.parse_args()
    options = {"temperatures": arguments.temperatures, "chains": arguments.chains, "start": arguments.start}
    images = arguments.images
    if arguments.quick:
        images, options = 4, {"temperatures": 20, "chains": 4, "start": arguments.start}

    def measure(run: Path) -> dict[str, float]:
        one = lb.evaluate.bdmc(lb.load(run), images, **options)
        print(f"{run.name}: {one}, {one.seconds:.0f} s", file=sys.stderr, flush=True)
        found = {"gap_nats": one.gap, "gap_stderr": one.stderr, "minutes": one.seconds / 60}
        return found | {"lower": one.lower, "upper": one.upper}

    began = time.monotonic()
    stem = f"bdmc-{'-'.join(map(str, options.values()))}-{images}"
    metrics, intervals, configs = mnist_runs.of_each_run(arguments, stem, measure)
    if arguments.quick:
        return
    path = write_result(
        "bdmc",
        metrics,
        intervals=intervals,
        protocol={"data": "drawn from the model", "images": images, **options},
        seeds=[config["training"]["seed"] for config in configs],
        config=mnist_runs.without_places(configs[0]),
        seconds=time.monotonic() - began,
    )
    print(path)


if __name__ == "__main__":
    main()
