"""What a learned prior is worth: one network, as many images, three priors, on dynamically binarised MNIST.

    python benchmarks/prior_ladder.py [--root DATA] [--seeds 0 1 2] [--millions 20] [--keep DIR] [--quick]

The default network and objective of ``lowerbound train mnist``, with N(0, I), a VampPrior of 500 pseudo-inputs and a
flow of affine couplings as prior. −log p(x) with q(z|x) as proposal and S = 1000, on all test images; beside it that
with the tightest proposal.
"""

from __future__ import annotations

import statistics
import time

import mnist_runs
from common import write_result

SAMPLES = 1000
PRIORS = {
    "standard": ["--set", "prior=standard_normal"],
    "vamp": ["--set", "prior=vamp", "--set", "prior.components=500"],
    "flow": ["--set", "prior=flow"],
}


def main() -> None:
    parser = mnist_runs.parser(__doc__)
    parser.add_argument("--millions", type=float, default=20.0, help="images of each run, in millions")
    parser.add_argument("--priors", nargs="+", default=list(PRIORS), choices=list(PRIORS))
    parser.add_argument(
        "--set", action="append", default=[], metavar="SLOT.OPTION=VALUE", help="of all runs alike"
    )
    arguments = parser.parse_args()
    alike = [word for option in arguments.set for word in ("--set", option)]
    sides = {prior: [*PRIORS[prior], *alike] for prior in arguments.priors}
    began = time.monotonic()
    with mnist_runs.place(arguments.keep) as folder:
        runs = mnist_runs.table_of(sides, arguments, folder, millions=arguments.millions, samples=SAMPLES)
    metrics, intervals = {}, {}
    for prior, of in runs.items():
        for name, each in ((prior, [r.nll for r in of]), (f"{prior}_tighter", [r.tighter for r in of])):
            metrics[name], intervals[name] = statistics.fmean(each), [min(each), max(each)]
        metrics[f"{prior}_minutes"] = statistics.fmean(run.minutes for run in of)
    every = [run for of in runs.values() for run in of]
    metrics["minutes"] = max(run.minutes for run in every)
    metrics["images_seen_millions"] = max(run.images for run in every) / 1e6
    print(", ".join(f"{key} {value:.4g}" for key, value in metrics.items()))
    if arguments.quick or arguments.priors != list(PRIORS):
        return
    path = write_result(
        "prior_ladder",
        metrics,
        intervals=intervals,
        protocol={
            "data": "MNIST, 50,000 training, 10,000 validation, 10,000 test images, dynamic binarisation",
            "estimate": f"importance sampling with q(z|x), S = {SAMPLES}, "
            + mnist_runs.images_scored(arguments.limit),
            "tighter": {p: of[0].evaluation["proposal"] for p, of in runs.items()},
            "selection": "weights with the best importance-weighted validation bound during the run",
            "minutes": "of the slowest prior",
            "interval": "lowest and highest seed",
        },
        seeds=arguments.seeds,
        config=runs["flow"][0].config,
        seconds=time.monotonic() - began,
    )
    print(path)


if __name__ == "__main__":
    main()
