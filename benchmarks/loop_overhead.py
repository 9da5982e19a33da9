"""What ``lb.fit`` costs over the bare step: the same batches, objective, optimiser and average in a bare loop.

    python benchmarks/loop_overhead.py [--rounds 9] [--seconds 2]

Both train the default network on images like MNIST's, in float32, and take turns in one process, in an order that is
reversed every second round. A ratio of times is taken round by round; 1 is no cost at all.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch
from common import write_result

import lowerbound as lb
from lowerbound.objectives import ELBO, Progress
from lowerbound.training import Settings
from lowerbound.training.ema import MovingAverage
from lowerbound.training.optimizers import make_optimizer

BATCHES = (128, 1024)
EXAMPLES = 20_000
FIRST = 20  # steps before the first turn


def make_data() -> lb.data.Data:
    """Return grey images that are binarised anew in every batch."""
    images = np.random.default_rng(0).integers(0, 256, (EXAMPLES, 28, 28), np.uint8)
    return lb.data.load(images, binarize="dynamic", split=(0.9, 0.05, 0.05))


def make_model(data: lb.data.Data) -> lb.VAE:
    """Return the default model."""
    torch.manual_seed(0)
    return lb.VAE.for_data(data, latent=32, prior="standard_normal")


def fitted(model: lb.VAE, data: lb.data.Data, batch: int, steps: int) -> float:
    """Return the seconds of so many steps of ``fit``, without its start and its one evaluation."""
    per_epoch = -(-len(data.train) // batch)
    run = lb.fit(
        model,
        data,
        objective=ELBO(),
        epochs=steps / per_epoch,
        batch_size=batch,
        evaluations=1,
        precision="fp32",
        device="cpu",
        progress=False,
    )
    return run.history[-1]["examples"] / run.history[-1]["images_per_second"]


class Bare:
    """The bare loop.

    Args:
        model: The model.
        data: The data.
        batch: Examples of a step.
    """

    def __init__(self, model: lb.VAE, data: lb.data.Data, batch: int) -> None:
        self.settings = Settings(epochs=1)
        self.model, self.data, self.batch = model.train(), data, batch
        self.optimizer = make_optimizer(list(model.parameters()), self.settings)
        self.average = MovingAverage(model, self.settings.ema)

    def __call__(self, steps: int) -> float:
        """Return the seconds of so many steps."""
        objective, progress, done = ELBO(), Progress(), 0
        started = time.perf_counter()
        while done < steps:
            for index in torch.randperm(len(self.data.train)).split(self.batch)[: steps - done]:
                x, c = self.data.train.batch(index)
                objective(self.model, x, c, progress).loss.backward()
                self.optimizer.step()
                self.optimizer.zero_grad()
                done += 1
                self.average.update(done)
        return time.perf_counter() - started


def measure(batch: int, rounds: int, seconds: float) -> tuple[list[float], int]:
    """Return the ratio of each round, and the steps of a turn."""
    data = make_data()
    model, bare = make_model(data), Bare(make_model(data), data, batch)
    fitted(model, data, batch, FIRST)
    steps = max(FIRST, round(seconds * FIRST / bare(FIRST)))
    ratios = []
    for number in range(rounds):
        turns = {"fit": lambda: fitted(model, data, batch, steps), "bare": lambda: bare(steps)}
        names = list(turns) if number % 2 else list(turns)[::-1]
        took = {name: turns[name]() for name in names}
        ratios.append(took["fit"] / took["bare"])
    return ratios, steps


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one turn, about")
    arguments = parser.parse_args()
    started = time.monotonic()
    metrics, intervals, steps = {}, {}, {}
    for batch in BATCHES:
        ratios, steps[f"b{batch}"] = measure(batch, arguments.rounds, arguments.seconds)
        name = f"fit_over_bare_b{batch}"
        metrics[name] = statistics.median(ratios)
        intervals[name] = [min(ratios), max(ratios)]
    path = write_result(
        "loop_overhead",
        metrics,
        intervals=intervals,
        protocol={
            "fit": "lb.fit with one evaluation, which is not counted, nor is what comes before the first step",
            "bare": "the same batches, objective, optimiser and average, without seeds, clipping, checks and records",
            "steps_of_a_turn": steps,
            "rounds": arguments.rounds,
        },
        seeds=[0],
        config={"latent": 32, "precision": "fp32", "threads": torch.get_num_threads()},
        seconds=time.monotonic() - started,
    )
    print(path)


if __name__ == "__main__":
    main()
