"""How much tighter a proposal makes log p(x) at equal samples, and how far that is from annealed importance sampling.

    python benchmarks/sharp_estimate.py [RUN ...] [--root DATA] [--minutes 10] [--seeds 0 1 2] [--keep DIR] [--quick]

RUN are folders of ``lowerbound train mnist --binarize dynamic``, one for each seed; without, they are trained here.
On the test split, once: 1,000 images with S = 1,000 from q and from the proposal, in turn, timed; and 200 of them by
annealed importance sampling from q. What the proposal has of constants was chosen on validation images; ``--split
valid`` shows these numbers there, and writes no result.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import mnist_runs
from common import write_result

import lowerbound as lb

SAMPLES = 1000
FULL = {"images": 1000, "checked": 200, "temperatures": 1000, "chains": 16, "rounds": 3}
QUICK = {"images": 30, "checked": 4, "temperatures": 20, "chains": 4, "rounds": 1}


def measure(
    run: Path, root: str | None, proposal: str, split: str, sizes: dict[str, int]
) -> dict[str, float]:
    """Return the metrics of one trained model."""
    model = lb.load(run)
    part = getattr(lb.data.load("mnist", binarize="dynamic", root=root), split)
    names = ("posterior", proposal)
    # What is loaded at the first call is nobody's time.
    for name in names:
        lb.evaluate.nll(model, part, 10, proposal=name, limit=10, progress=False)
    found: dict[str, list[Any]] = {name: [] for name in names}
    for seed in range(sizes["rounds"]):
        for name in names if seed % 2 else names[::-1]:
            one = lb.evaluate.nll(model, part, SAMPLES, proposal=name, seed=seed, limit=sizes["images"])
            found[name].append(one)
            print(f"{run.name}: {one}, {one.seconds:.1f} s", file=sys.stderr, flush=True)
    q, sharp = found["posterior"][0], found[proposal][0]
    reference = lb.evaluate.ais(
        model, part, temperatures=sizes["temperatures"], chains=sizes["chains"], limit=sizes["checked"]
    )
    print(f"{run.name}: {reference}, {reference.seconds:.0f} s", file=sys.stderr, flush=True)

    def seconds(name: str) -> float:
        return statistics.median(one.seconds for one in found[name])

    return {
        "ess_median": sharp.ess_median,
        "ess_median_q": q.ess_median,
        "khat_share_bad": sharp.khat_share_bad,
        "khat_share_bad_q": q.khat_share_bad,
        "gain_nats": q.value - sharp.value,
        "time_ratio": seconds(proposal) / seconds("posterior"),
        "gap_to_ais": (reference.per_example - sharp.per_example[: reference.n]).mean().item(),
        "gap_to_ais_q": (reference.per_example - q.per_example[: reference.n]).mean().item(),
        "nll": sharp.value,
        "nll_q": q.value,
    }


def main() -> None:
    parser = mnist_runs.parser(__doc__)
    mnist_runs.add_training(parser)
    parser.add_argument("--proposal", default="mixture", choices=["mixture", "laplace"])
    parser.add_argument("--split", default="test", choices=["test", "valid"])
    arguments = parser.parse_args()
    sizes = QUICK if arguments.quick else FULL
    began = time.monotonic()
    metrics, intervals, configs = mnist_runs.of_each_run(
        arguments,
        f"sharp-{arguments.proposal}-{arguments.split}",
        lambda run: measure(run, arguments.root, arguments.proposal, arguments.split, sizes),
    )
    if arguments.quick or arguments.split != "test":
        return
    path = write_result(
        "sharp_estimate",
        metrics,
        intervals=intervals,
        protocol={
            "data": "MNIST test, dynamic binarisation, once; constants of the proposal chosen on validation images",
            "samples": SAMPLES,
            "proposal": arguments.proposal,
            "time_ratio": "of the medians of alternating rounds, against q at equal S",
            "gap_to_ais": "AIS from q minus the estimate, on the first images",
            **sizes,
        },
        seeds=[config["training"]["seed"] for config in configs],
        config=mnist_runs.without_places(configs[0]),
        seconds=time.monotonic() - began,
    )
    print(path)


if __name__ == "__main__":
    main()
