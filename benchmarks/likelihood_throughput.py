"""Images times samples per second of log p(x) by importance sampling, beside pythae, at equal estimates.

    python benchmarks/likelihood_throughput.py [--root DATA] [--peers DIR] [--rounds 5] [--seconds 4]

Both sides evaluate the same weights on the same binarised images. First their estimates must agree within their
errors, else nothing is timed; then they take turns. Last comes the memory: its peak with 10 and with 10,000 samples.
"""

from __future__ import annotations

import functools
import math
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import contest
import numpy as np
from common import write_result
from contest import Numbers, Worker

SAMPLES = 1000
EPOCHS = 5.0
CHECK_IMAGES, CHECK_ROUNDS = 100, 8
LARGEST_GAP = 4  # standard errors
PRECISIONS = {"ours": "bf16", "ours_fp32": "fp32"}
BATCHES = (100, 500, 1000)  # samples that pythae decodes at once; 100 is its default, the fastest counts
MEMORY_IMAGES, MEMORY_SAMPLES = 250, (10, 10_000)


def prepare(ours: Worker, root: str | None, scratch: Path, epochs: float) -> dict[str, str]:
    """Train a model, write its weights and the binarised test images, and return a ``Likelihood``'s arguments."""
    paths = contest.write_mnist(root, scratch)
    grey = np.load(paths["test"]) / 255
    bits = (np.random.default_rng(0).random(grey.shape) < grey).astype(np.uint8)
    ours.make("weights", "Weights", images=paths["train"], network="mlp", epochs=epochs)
    weights = str(scratch / "weights.npz")
    ours.call("weights", "save", path=weights)
    return {"x": contest.write_bytes(bits, scratch / "bits.npy"), "network": "mlp", "weights": weights}


def check(ours: Worker, pythae: Worker) -> dict[str, float]:
    """Return both sides' estimates on the same images, and how far ours are from pythae's, in nats.

    Raises:
        SystemExit: they differ by more than their errors, taken from repetitions with other draws.
    """
    estimates: dict[str, list[float]] = {"pythae": []}
    for seed in range(CHECK_ROUNDS):
        same = {"images": CHECK_IMAGES, "samples": SAMPLES, "seed": seed}
        estimates["pythae"].append(pythae.call("pythae", batch=BATCHES[0], **same)["log_p"])
        for name, precision in PRECISIONS.items():
            answer = ours.call("ours", precision=precision, **same)
            estimates.setdefault(name, []).append(answer["log_p"])
    found = {f"log_p_{name}": statistics.fmean(values) for name, values in estimates.items()}
    for name in PRECISIONS:
        gap, error = compared(estimates[name], estimates["pythae"])
        if abs(gap) > LARGEST_GAP * error:
            sys.exit(
                f"{name} and pythae disagree by {gap:.4f} nats, standard error {error:.4f}: nothing is timed"
            )
        found |= {f"log_p_gap_{name}": gap, f"log_p_gap_stderr_{name}": error}
    return found


def compared(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Return the difference of two means and its standard error."""
    error = math.sqrt(statistics.variance(a) / len(a) + statistics.variance(b) / len(b))
    return statistics.fmean(a) - statistics.fmean(b), error


def images_for(rate: float, seconds: float, least: int = 1) -> int:
    """Return how many images take about so long."""
    return max(least, min(10_000, round(rate * seconds)))


def turns_of(ours: Worker, pythae: Worker, seconds: float) -> tuple[dict, dict[str, dict[str, int]]]:
    """Warm up; return what each side does in its turn, and how."""
    turns, how = {}, {}
    for name, precision in PRECISIONS.items():
        timed = functools.partial(ours.call, "ours", samples=SAMPLES, seed=0, precision=precision)
        timed(images=CHECK_IMAGES)
        answer = timed(images=CHECK_IMAGES)
        images = images_for(CHECK_IMAGES / answer["seconds"], seconds, CHECK_IMAGES)
        turns[name], how[name] = functools.partial(timed, images=images), {"images": images}
    best = 0.0
    for batch in BATCHES:
        timed = functools.partial(pythae.call, "pythae", samples=SAMPLES, seed=0, batch=batch)
        timed(images=1)
        answer = timed(images=CHECK_IMAGES)
        rate = CHECK_IMAGES / answer["seconds"]
        if rate > best:
            best, images = rate, images_for(rate, seconds)
            turns["pythae"] = functools.partial(timed, images=images)
            how["pythae"] = {"images": images, "samples_at_once": batch}
    return turns, how


def memory(model: dict[str, str], scratch: Path, samples: int, images: int) -> float:
    """Return the peak memory of a fresh process that evaluates with so many samples, MiB."""
    worker = Worker(sys.executable, "ours", scratch / "memory.log")
    worker.make("ours", "Likelihood", **model)
    worker.call("ours", images=images, samples=samples, seed=0)
    peak = worker.call("ours", "peak")
    worker.close()
    return peak


def main() -> None:
    options = contest.parser(__doc__)
    contest.add_root(options)
    options.add_argument("--seconds", type=float, default=4.0, help="length of one turn, about")
    options.add_argument(
        "--epochs", type=float, default=EPOCHS, help="training of the model that is evaluated"
    )
    options.add_argument(
        "--memory-rounds", type=int, default=3, help="fresh processes of each number of samples"
    )
    arguments = options.parse_args()
    started = time.monotonic()
    numbers = Numbers()
    with contest.workers(["ours", "pythae"], arguments.peers) as (workers, scratch):
        ours, pythae = workers["ours"], workers["pythae"]
        versions = contest.peers_versions(pythae)
        model = prepare(ours, arguments.root, scratch, arguments.epochs)
        for side, worker in workers.items():
            worker.make(side, "Likelihood", **model)
        estimates = check(ours, pythae)
        turns, how = turns_of(ours, pythae, arguments.seconds)
        answers = contest.alternate(turns, arguments.rounds)
        peaks: dict[int, list[float]] = {samples: [] for samples in MEMORY_SAMPLES}
        for _ in range(arguments.memory_rounds):
            for samples in MEMORY_SAMPLES:
                peaks[samples].append(memory(model, scratch, samples, MEMORY_IMAGES))
    rates = {
        side: [a["images"] * a["samples"] / a["seconds"] for a in of_side]
        for side, of_side in answers.items()
    }
    for side, ending in (("ours", ""), ("ours_fp32", "_fp32")):
        numbers.add_ratio(f"ratio_to_pythae{ending}", rates[side], rates["pythae"])
    for side, values in rates.items():
        numbers.add(f"samples_per_second_{side}", values)
    few, many = (peaks[samples] for samples in MEMORY_SAMPLES)
    numbers.add_ratio("memory_growth_s10_to_s10000", many, few)
    numbers.add("peak_mib_s10", few)
    numbers.add("peak_mib_s10000", many)
    path = write_result(
        "likelihood_throughput",
        numbers.metrics | estimates,
        intervals=numbers.intervals,
        protocol={
            "model": "784-512-512-(32, 32) and 32-512-512-784, SiLU; the same weights on both sides",
            "images": "of MNIST's test split, binarised once",
            "samples": f"{SAMPLES} importance samples per image with q(z | x), both sides",
            "samples_per_second": "images times samples over wall-clock time",
            "ratio": "ours over pythae's, round by round; median of the rounds. Without an ending: "
            'the networks in bf16, precision="bf16"; log-densities and sums in fp32',
            "check": f"means over {CHECK_IMAGES} images and {CHECK_ROUNDS} repetitions, log p(x) in nats; the script "
            f"fails if ours and pythae's differ by more than {LARGEST_GAP} standard errors",
            "pythae": f"get_nll without gradients, {', '.join(map(str, BATCHES))} samples at once, the fastest",
            "peak_mib": f"largest resident memory of a fresh process, Python and torch included, {MEMORY_IMAGES} "
            "images",
            "interval": "lowest and highest round",
            "rounds": arguments.rounds,
            "turns": how,
        },
        seeds=[0],
        config={"samples": SAMPLES, "epochs": arguments.epochs, "seconds": arguments.seconds},
        seconds=time.monotonic() - started,
        versions=versions,
    )
    print(path)


if __name__ == "__main__":
    main()
