"""The table of Burda et al. (2016) on dynamically binarised MNIST: VAE, and IWAE with 5 and 50 samples.

    python benchmarks/iwae_table.py [--root DATA] [--seeds 0 1 2] [--millions 10] [--keep DIR] [--quick]

The network of the paper, 784-200-200-50 with tanh, one stochastic layer; our optimiser, and a twentieth of the
paper's 195 million images. −log p(x) with q(z|x) as proposal and S = 5000, on all test images.

Reference:
    Importance weighted autoencoders (Burda, Grosse and Salakhutdinov, 2016), https://arxiv.org/abs/1509.00519: 86.76,
    85.54 and 84.78 in table 1
"""

from __future__ import annotations

import statistics
import time

import mnist_runs
from common import write_result

SAMPLES = 5000
SIDES = {
    "vae": ["--set", "objective=elbo"],
    "iwae_5": ["--set", "objective.samples=5"],
    "iwae_50": ["--set", "objective.samples=50"],
}


def main() -> None:
    parser = mnist_runs.parser(__doc__)
    parser.add_argument("--millions", type=float, default=10.0, help="images of each run, in millions")
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=list(SIDES))
    arguments = parser.parse_args()
    sides = {side: ["--preset", "iwae", *SIDES[side]] for side in arguments.sides}
    began = time.monotonic()
    with mnist_runs.place(arguments.keep) as folder:
        runs = mnist_runs.table_of(sides, arguments, folder, millions=arguments.millions, samples=SAMPLES)
    metrics = {side: statistics.fmean(run.nll for run in of) for side, of in runs.items()}
    every = [run for of in runs.values() for run in of]
    metrics["images_seen_millions"] = max(run.images for run in every) / 1e6
    metrics["minutes"] = statistics.fmean(run.minutes for run in every)
    print(", ".join(f"{key} {value:.4g}" for key, value in metrics.items()))
    if arguments.quick or arguments.sides != list(SIDES):
        return
    path = write_result(
        "iwae_table",
        metrics,
        intervals={side: [min(r.nll for r in of), max(r.nll for r in of)] for side, of in runs.items()},
        protocol={
            "data": "MNIST, 50,000 training, 10,000 validation, 10,000 test images, dynamic binarisation",
            "network": "784-200-200-50, tanh, as in the paper",
            "estimate": f"importance sampling with q(z|x), S = {SAMPLES}, "
            + mnist_runs.images_scored(arguments.limit),
            "selection": "weights with the best importance-weighted validation bound during the run",
            "published": "195 million images each",
            "interval": "lowest and highest seed",
        },
        seeds=arguments.seeds,
        config=runs["iwae_50"][0].config,
        seconds=time.monotonic() - began,
    )
    print(path)


if __name__ == "__main__":
    main()
