"""Time to the validation bound that pythae reaches in 20 epochs, and the test log-likelihood after ten minutes.

    python benchmarks/time_to_quality.py [--root DATA] [--peers DIR] [--seeds 0 1 2] [--keep DIR] [--skip-ten-minutes]

Dynamically binarised MNIST. pythae trains with the settings of its own documentation and sets the target; ours
trains with the defaults of ``lb.fit``, and with those of ``lowerbound train mnist``; pythae, Pyro and a loop written
by hand also train our network with the batch size and learning rate of the former. The last part is ``lowerbound
train mnist --minutes 10``.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import contest
import numpy as np
from common import write_result
from contest import Numbers, Worker
from mnist_mlp import SAMPLES, by_q, train_and_evaluate

from lowerbound.training import Settings

EPOCHS = 20
LATENT = 40
# Those of its README; the latent size and the likelihood are those of its settings for binary MNIST.
DOCUMENTED: dict[str, Any] = {
    "latent": 16,
    "own_network": True,
    "trainer": {
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 200,
        "per_device_eval_batch_size": 200,
        "train_dataloader_num_workers": 2,
        "eval_dataloader_num_workers": 2,
        "optimizer_cls": "AdamW",
        "optimizer_params": {"weight_decay": 0.05, "betas": [0.91, 0.995]},
        "scheduler_cls": "ReduceLROnPlateau",
        "scheduler_params": {"patience": 5, "factor": 0.5},
    },
}
USUAL = Settings(epochs=1)  # batch size, learning rate and weight decay of ``lb.fit``
SAME: dict[str, Any] = {
    "latent": LATENT,
    "batch": USUAL.batch_size,
    "learning_rate": USUAL.learning_rate,
    "weight_decay": USUAL.weight_decay,
}


def recipes(epochs: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the worker and the recipe of every side but the first, which sets the target, in the order of turns."""
    trainer = {
        "learning_rate": SAME["learning_rate"],
        "per_device_train_batch_size": SAME["batch"],
        "per_device_eval_batch_size": SAME["batch"],
        "optimizer_cls": "AdamW",
        "optimizer_params": {"weight_decay": SAME["weight_decay"]},
        "scheduler_cls": "CosineAnnealingLR",
        "scheduler_params": {"T_max": epochs},
    }
    pythae = {"latent": LATENT, "epochs": epochs, "own_network": False, "trainer": trainer}
    same = SAME | {"epochs": epochs}
    return {
        "ours": ("ours", {}),
        "ours_command": ("ours", {"command": True}),
        "pythae_our_settings": ("pythae", pythae),
        "plain": ("plain", same),
        "pyro": ("pyro", same),
    }


def curves_of(
    workers: dict[str, Worker], seed: int, number: int, epochs: int, keep: Path | None
) -> dict[str, list[list[float]]]:
    """Return (seconds, bound) after every epoch, for each side, of one seed; with the first seed, of every side.

    Args:
        workers: The sides.
        seed: Of all sides' runs.
        number: How many seeds came before.
        epochs: Length of the peers' runs.
        keep: Folder for the finished curves, which are taken up.
    """
    first = DOCUMENTED | {"epochs": epochs}
    curves = {"pythae": _kept(keep, f"pythae-{seed}", workers["pythae"], seed=seed, recipe=first)}
    target = max(bound for _, bound in curves["pythae"])
    sides = recipes(epochs)
    for name in sides if number == 0 else ["ours"]:
        worker, recipe = sides[name]
        curves[name] = _kept(keep, f"{name}-{seed}", workers[worker], seed=seed, recipe=recipe, target=target)
    return curves


def _kept(keep: Path | None, name: str, worker: Worker, **arguments: Any) -> list[list[float]]:
    path = None if keep is None else keep / f"curve-{name}.json"
    if path is not None and path.is_file():
        return json.loads(path.read_text())
    curve = worker.call("quality", **arguments)
    print(
        f"{name}: {len(curve)} epochs, bound {curve[-1][1]:.2f} after {curve[-1][0]:.1f} s", file=sys.stderr
    )
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(curve))
    return curve


def reached(curve: list[list[float]], target: float) -> float | None:
    """Return the seconds at the first evaluation with a bound of the target or above, or None."""
    return next((seconds for seconds, bound in curve if bound >= target), None)


def race(arguments: Any) -> tuple[list[dict[str, list[list[float]]]], dict[str, str]]:
    """Return every seed's curves, and the versions of the peers."""
    runs = []
    with contest.workers(["ours", "pythae", "plain", "pyro"], arguments.peers) as (workers, scratch):
        versions = contest.peers_versions(workers["pythae"])
        paths = contest.write_mnist(arguments.root, scratch)
        grey = np.load(paths["valid"]) / 255
        bits = (np.random.default_rng(0).random(grey.shape) < grey).astype(np.uint8)
        valid = contest.write_bytes(bits, scratch / "bits.npy")
        for side, worker in workers.items():
            source = {"root": arguments.root} if side == "ours" else {"train": paths["train"]}
            worker.make("quality", "Quality", valid=valid, **source)
        for number, seed in enumerate(arguments.seeds):
            runs.append(curves_of(workers, seed, number, arguments.epochs, arguments.keep))
    return runs, versions


def add(numbers: Numbers, runs: list[dict[str, list[list[float]]]]) -> None:
    """Add the times, and their ratios where a side reached the target with all of its seeds."""
    targets = [max(bound for _, bound in curves["pythae"]) for curves in runs]
    numbers.add("target_bound", targets)
    for side in runs[0]:
        ran = [(curves, target) for curves, target in zip(runs, targets, strict=True) if side in curves]
        times = [(reached(curves[side], target), reached(curves["ours"], target)) for curves, target in ran]
        there = [theirs for theirs, _ in times if theirs is not None]
        numbers.metrics[f"seeds_reached_{side}"] = len(there)
        if there:
            numbers.add(f"seconds_{side}", there)
        ours = [own for _, own in times if own is not None]
        if side != "ours" and len(there) == len(ours) == len(ran):
            numbers.add_ratio(f"ratio_to_{side}", there, ours)
        own_curves = [curves[side] for curves, _ in ran]
        numbers.add(f"seconds_per_epoch_{side}", [curve[-1][0] / len(curve) for curve in own_curves])


def main() -> None:
    options = contest.parser(__doc__)
    contest.add_root(options)
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--epochs", type=int, default=EPOCHS, help="length of the peers' runs")
    options.add_argument("--minutes", type=float, default=10.0, help="length of the last part's training")
    options.add_argument("--skip-ten-minutes", action="store_true", help="leave the last part out")
    options.add_argument("--long-seeds", type=int, nargs="+", default=[0], help="seeds of the last part")
    options.add_argument("--keep", type=Path, help="keep the finished runs here, and take up those there")
    arguments = options.parse_args()
    started = time.monotonic()
    runs, versions = race(arguments)
    numbers = Numbers()
    add(numbers, runs)
    if not arguments.skip_ten_minutes:
        finished = train_and_evaluate(
            arguments.long_seeds, ["--minutes", f"{arguments.minutes:g}"], arguments.root, arguments.keep
        )
        nll = [by_q(evaluation) for evaluation, _, _ in finished]
        numbers.add("nll_10_minutes", nll)
        numbers.metrics["nll_10_minutes"] = statistics.fmean(nll)
        numbers.add("epochs_10_minutes", [history[-1]["epoch"] for _, history, _ in finished])
    path = write_result(
        "time_to_quality",
        numbers.metrics,
        intervals=numbers.intervals,
        protocol={
            "data": "MNIST, 50,000 training images, binarised anew in each epoch on all sides, 10,000 validation "
            "images, binarised once",
            "bound": "evidence lower bound of the validation images in fp32, one draw of z each, KL in closed form, "
            "nats",
            "target_bound": f"best one that pythae reaches in {arguments.epochs} epochs, seed by seed, with the "
            "trainer of its README (batches of 200, AdamW at 1e-3, two loading processes), its default network, and "
            "the latent size of 16 of its settings for binary MNIST",
            "seconds": "from the making of the model to the first evaluation, one after each epoch, with the target "
            "bound or more; the time of evaluations does not count, reading the files neither",
            "ours": "lb.fit(lb.VAE.for_data(data), data): evidence lower bound, its own schedule of 50 epochs, cut "
            "off at the target",
            "ours_command": "lowerbound train mnist: importance-weighted bound of 8 samples, gradient through 2, "
            "which is slower to this bound and better in the end, 50 epochs, cut off at the target",
            "our_settings": "pythae, plain and Pyro with our network and latent size, batches of "
            f"{SAME['batch']}, AdamW at {SAME['learning_rate']}, cosine schedule of {arguments.epochs} epochs; the "
            "evidence lower bound, without our warm-up, average of weights or clipping",
            "ratio": "their seconds over ours, seed by seed; given where all seeds reached the target",
            "sides": "pythae with its own settings and ours: all seeds; the others: the first seed",
            "nll_10_minutes": f"-log p(x) of all 10,000 test images, {SAMPLES} samples, after lowerbound train mnist "
            f"--binarize dynamic --minutes {arguments.minutes:g}; mean over its seeds",
            "seeds_10_minutes": arguments.long_seeds,
            "value": "median over the seeds, but for nll_10_minutes",
            "interval": "lowest and highest seed",
        },
        seeds=arguments.seeds,
        config={"documented": DOCUMENTED, "our_settings": recipes(arguments.epochs), "curves": runs},
        seconds=time.monotonic() - started,
        versions=versions,
    )
    print(path)


if __name__ == "__main__":
    main()
