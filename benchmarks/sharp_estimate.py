"""How much tighter a proposal makes log p(x) at equal samples, and how far that is from annealed importance sampling.

    python benchmarks/sharp_estimate.py RUN [RUN ...] [--root DATA] [--proposal mixture] [--quick]

RUN are folders of ``lowerbound train mnist --binarize dynamic --minutes 10``, one for each seed. On the test split:
1,000 images with S = 1,000 from q and from the proposal, in turn, timed; and 200 of them by annealed importance
sampling from q.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

from common import write_result

import lowerbound as lb

SAMPLES = 1000
FULL = {"images": 1000, "checked": 200, "temperatures": 1000, "chains": 16, "rounds": 3}
QUICK = {"images": 30, "checked": 10, "temperatures": 50, "chains": 8, "rounds": 1}


def measure(run: str, root: str | None, proposal: str, sizes: dict[str, int]) -> dict[str, float]:
    """Return the metrics of one trained model."""
    model = lb.load(run)
    test = lb.data.load("mnist", binarize="dynamic", root=root).test
    quiet = {"progress": False, "limit": sizes["images"]}
    # What is loaded at the first call is nobody's time.
    for name in ("posterior", proposal):
        lb.evaluate.nll(model, test, 10, proposal=name, limit=10, progress=False)
    seconds: dict[str, list[float]] = {"posterior": [], proposal: []}
    found = {}
    for seed in range(sizes["rounds"]):
        for name, spent in seconds.items():
            found[name] = lb.evaluate.nll(model, test, SAMPLES, proposal=name, seed=seed, **quiet)
            spent.append(found[name].seconds)
    q, sharp = found["posterior"], found[proposal]
    reference = lb.evaluate.ais(
        model,
        test,
        temperatures=sizes["temperatures"],
        chains=sizes["chains"],
        limit=sizes["checked"],
    )
    return {
        "ess_median": sharp.ess_median,
        "ess_median_q": q.ess_median,
        "khat_share_bad": sharp.khat_share_bad,
        "khat_share_bad_q": q.khat_share_bad,
        "gain_nats": q.value - sharp.value,
        "time_ratio": statistics.median(seconds[proposal]) / statistics.median(seconds["posterior"]),
        "gap_to_ais": (reference.per_example - sharp.per_example[: reference.n]).mean().item(),
        "gap_to_ais_q": (reference.per_example - q.per_example[: reference.n]).mean().item(),
        "nll": sharp.value,
        "nll_q": q.value,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument(
        "--root", default=os.environ.get("LOWERBOUND_DATA"), help="folder that holds MNIST/raw"
    )
    parser.add_argument("--proposal", default="mixture", choices=["mixture", "laplace"])
    parser.add_argument("--quick", action="store_true", help="30 images of each run; writes no result")
    arguments = parser.parse_args()
    sizes = QUICK if arguments.quick else FULL
    began = time.monotonic()
    each = [measure(run, arguments.root, arguments.proposal, sizes) for run in arguments.runs]
    metrics = {key: statistics.fmean(one[key] for one in each) for key in each[0]}
    print(", ".join(f"{key} {value:.4g}" for key, value in metrics.items()))
    if arguments.quick:
        return
    configs = [json.loads((Path(run) / "config.json").read_text()) for run in arguments.runs]
    path = write_result(
        "sharp_estimate",
        metrics,
        intervals={key: [min(one[key] for one in each), max(one[key] for one in each)] for key in metrics},
        protocol={
            "data": "MNIST test, dynamic binarisation",
            "samples": SAMPLES,
            "proposal": arguments.proposal,
            "time_ratio": "of the medians of alternating rounds, against q at equal S",
            "gap_to_ais": "AIS from q minus the estimate, on the first images",
            **sizes,
        },
        seeds=[config["training"]["seed"] for config in configs],
        config=configs[0],
        seconds=time.monotonic() - began,
    )
    print(path)


if __name__ == "__main__":
    main()
