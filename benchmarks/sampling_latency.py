"""Seconds to the first sample and to 10,000, and microseconds per call of decoders as small as a planner's.

    python benchmarks/sampling_latency.py [--rounds 7] [--seconds 0.3]

Beside them stands the forward pass of the same network in plain torch: the floor. The first samples are those of
fresh processes; the rest takes turns in one.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import time
from pathlib import Path

import contest
from common import write_result
from contest import Numbers, Worker

SIZES = (1, 100, 1000)
WHAT = ("sample", "decode", "module")
MANY = 10_000


def first_samples(rounds: int, folder: str, log: Path) -> list[dict[str, float]]:
    """Return the seconds of fresh processes."""
    answers = []
    for _ in range(rounds):
        worker = Worker(sys.executable, "sampling", log)
        worker.make("images", "Images", folder=folder)
        answers.append(worker.call("images", "begun"))
        worker.close()
    return answers


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=7, help="times that everything has its turn")
    options.add_argument("--seconds", type=float, default=0.3, help="length of one turn of the small ones")
    arguments = options.parse_args()
    started = time.monotonic()
    numbers = Numbers()
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        worker, folder = Worker(sys.executable, "sampling", log), str(Path(scratch) / "model")
        worker.make("saved", "Saved", folder=folder)
        worker.make("images", "Images", folder=folder)
        worker.make("small", "Small")
        worker.make("planner", "Planner")
        first = first_samples(arguments.rounds, folder, Path(scratch) / "log-first")
        turns = {"many": functools.partial(worker.call, "images", n=MANY)}
        for n in SIZES:
            length = {"n": n, "seconds": arguments.seconds}
            for what in WHAT:
                turns[f"{what}_b{n}"] = functools.partial(worker.call, "small", what=what, **length)
            turns[f"planner_b{n}"] = functools.partial(worker.call, "planner", **length)
        for turn in turns.values():
            turn()
        answers = contest.alternate(turns, arguments.rounds)
        worker.close()
    numbers.add("load_seconds", [one["load"] for one in first])
    numbers.add("first_sample_seconds", [one["seconds"] for one in first])
    seconds = {name: [answer["seconds"] for answer in of_one] for name, of_one in answers.items()}
    numbers.add("samples_10000_seconds", seconds["many"])
    for n in SIZES:
        for what in (*WHAT, "planner"):
            numbers.add(f"microseconds_{what}_b{n}", [1e6 * value for value in seconds[f"{what}_b{n}"]])
        for what in ("sample", "decode"):
            numbers.add_ratio(f"{what}_over_module_b{n}", seconds[f"{what}_b{n}"], seconds[f"module_b{n}"])
    path = write_result(
        "sampling_latency",
        numbers.metrics,
        intervals=numbers.intervals,
        protocol={
            "load_seconds": "lb.load of a model of 28 x 28 pixels, networks 784-512-512, in a fresh process that has "
            "imported lowerbound; first_sample_seconds the first model.sample(1) after it",
            "samples_10000_seconds": "one model.sample(10000) of that model",
            "small": "latent 3, two hidden layers of 512, states of 7 numbers; model.sample(n) and model.decode(z) "
            "of n codes, per call",
            "module": "the decoder's network alone in plain torch, same weights, with its draw of z",
            "planner": "the learned sampler's draw of n states in the plane: reads the map, decodes eight candidates "
            "for each state and keeps those that stand for the others; untrained",
            "value": "median of the rounds, each the mean over the calls of its turn",
            "interval": "lowest and highest round",
            "rounds": arguments.rounds,
        },
        seeds=[0],
        config={"sizes": list(SIZES), "seconds": arguments.seconds},
        seconds=time.monotonic() - started,
    )
    print(path)


if __name__ == "__main__":
    main()
