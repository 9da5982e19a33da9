"""What a second process gains: throughput of two processes of one thread against one process of one and of two.

    python benchmarks/scale_out.py                # writes results/scale_out.json, in under six minutes

The same global batch throughout: under torchrun each of the two processes takes half of it, and they average their
gradients by gloo. The layouts take turns, so that a slow moment of the machine meets all of them. Images are random:
nothing here depends on what they show. What averaging takes of a step is measured by leaving it out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ROOT, write_result

import lowerbound as lb
from lowerbound.objectives import ELBO
from lowerbound.objectives.schedules import Progress
from lowerbound.training import Settings
from lowerbound.training.engine import make_fabric

MLP = {"type": "mlp", "hidden": [512, 512]}
CASES: dict[str, dict[str, Any]] = {
    "mlp_b1024": {"network": MLP, "batch_size": 1024, "examples": 6144},
    "mlp_b256": {"network": MLP, "batch_size": 256, "examples": 6144},
    "conv28_b256": {"network": {"type": "conv"}, "batch_size": 256, "examples": 1536},
}
# Processes and threads of each.
LAYOUTS = {"one": (1, 1), "threads": (1, 2), "two": (2, 1)}
EPOCHS = 3  # the first warms up


def main() -> None:
    """Run all layouts in turn and write the result."""
    arguments = _arguments()
    if arguments.measure:
        _measure(Path(arguments.measure), arguments.shrink)
        return
    begun = time.monotonic()
    rounds = []
    for number in range(arguments.rounds):
        rounds.append({name: _launch(*layout, arguments.shrink) for name, layout in LAYOUTS.items()})
        print(f"round {number + 1}: {json.dumps(rounds[-1])}", file=sys.stderr, flush=True)
    metrics, intervals = _summary(rounds)
    if not arguments.no_ray:
        metrics["ray_start_seconds"] = _ray_start()
    print(json.dumps(metrics, indent=2))
    if arguments.shrink > 1:
        print("sizes were divided: nothing is written", file=sys.stderr)
        return
    write_result(
        "scale_out",
        metrics,
        intervals=intervals,
        protocol={
            "efficiency": "examples per second of 2 processes with 1 thread each, over twice those of 1 process with "
            "1 thread; same global batch, same model, 32 bits",
            "against_threads": "the same over those of 1 process with 2 threads",
            "sync_share": "share of a step of 2 processes that ends when gradients are not averaged",
            "throughput": f"the loop's own, per epoch; median of {EPOCHS - 1} epochs after the first",
            "rounds": arguments.rounds,
            "summary": "median over the rounds, in which the layouts take turns; intervals: lowest and highest",
            "start": "from the command to the first step that could be done; ray: a call of cluster.fit less its "
            "training, with the cluster's own start and end",
            "data": "random grey images 28 x 28, binarised dynamically",
        },
        seeds=[0],
        config=CASES | {"latent": 32, "epochs": EPOCHS, "layouts": LAYOUTS},
        seconds=time.monotonic() - begun,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-ray", action="store_true", help="leave the start of Ray out")
    parser.add_argument("--shrink", type=int, default=1, help="divide the sizes, to try the script")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    return parser.parse_args()


def _launch(processes: int, threads: int, shrink: int) -> dict[str, float]:
    """Return what one start of the processes has measured."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "measured.json"
        command = [str(Path(__file__).resolve()), "--measure", str(target), "--shrink", str(shrink)]
        if processes > 1:
            launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
            command = [*launcher, *command]
        subprocess.run(
            [sys.executable, *command],
            check=True,
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "BEGUN": repr(time.time())},
        )
        return json.loads(target.read_text())


def _measure(target: Path, shrink: int) -> None:
    """Measure all cases in this process, which may be one of a group; the first writes the numbers down."""
    fabric = make_fabric(Settings(epochs=1, device="cpu"))
    measured = {"start_seconds": time.time() - float(os.environ["BEGUN"])}
    for name, case in CASES.items():
        data, model = _prepared(case, shrink)
        run = lb.fit(
            model,
            data,
            epochs=EPOCHS,
            batch_size=case["batch_size"],
            device="cpu",
            precision="fp32",
            validation_samples=1,
            progress=False,
        )
        rates = [record["images_per_second"] for record in run.history if record["split"] == "train"]
        measured[name] = statistics.median(rates[1:])
        if fabric.world_size > 1:
            measured |= {f"{key}_{name}": value for key, value in _averaging(fabric, case, shrink).items()}
    if fabric.global_rank == 0:
        target.write_text(json.dumps(measured))
    if fabric.world_size > 1:
        torch.distributed.destroy_process_group()


def _prepared(case: dict[str, Any], shrink: int) -> tuple[lb.data.Data, lb.VAE]:
    images = np.random.default_rng(0).integers(0, 256, (case["examples"] // shrink + 128, 28, 28), np.uint8)
    share = 64 / len(images)
    data = lb.data.load(images, binarize="dynamic", split=(1 - 2 * share, share, share))
    torch.manual_seed(0)
    return data, lb.VAE.for_data(data, latent=32, network=case["network"])


def _averaging(fabric: Any, case: dict[str, Any], shrink: int) -> dict[str, float]:
    """Return the share of a step that averaging takes, its bytes, and the time that gloo needs for them alone."""
    data, model = _prepared(case, shrink)
    module, optimizer = fabric.setup(model, torch.optim.AdamW(model.parameters(), fused=True))
    index = torch.arange(case["batch_size"] // fabric.world_size) % len(data.train)
    objective, times = ELBO(), {True: [], False: []}
    for step in range(24):
        averaged = step % 2 == 0
        fabric.barrier()
        begun = time.perf_counter()
        with fabric.no_backward_sync(module, enabled=not averaged):
            fabric.backward(objective(module, *data.train.batch(index), Progress()).loss)
        optimizer.step()
        optimizer.zero_grad()
        times[averaged].append(time.perf_counter() - begun)
    flat = torch.zeros(sum(p.numel() for p in model.parameters()))
    alone = []
    for _ in range(12):
        fabric.barrier()
        begun = time.perf_counter()
        torch.distributed.all_reduce(flat)
        alone.append(time.perf_counter() - begun)
    with_it, without = (statistics.median(times[averaged][4:]) for averaged in (True, False))
    return {
        "sync_share": max(0.0, 1 - without / with_it),
        "sync_mebibytes": flat.numel() * 4 / 2**20,
        "all_reduce_milliseconds": 1e3 * statistics.median(alone[4:]),
    }


def _summary(rounds: list[dict[str, dict[str, float]]]) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return the medians over the rounds and their lowest and highest values."""
    values: dict[str, list[float]] = {}
    for measured in rounds:
        one, threads, two = (measured[name] for name in LAYOUTS)
        numbers = {
            "torchrun_start_seconds": two["start_seconds"],
            "python_start_seconds": one["start_seconds"],
        }
        for case in CASES:
            numbers[f"efficiency_{case}"] = two[case] / (2 * one[case])
            numbers[f"against_threads_{case}"] = two[case] / threads[case]
            numbers |= {f"images_per_second_{name}_{case}": measured[name][case] for name in LAYOUTS}
            numbers |= {
                f"{key}_{case}": two[f"{key}_{case}"]
                for key in ("sync_share", "sync_mebibytes", "all_reduce_milliseconds")
            }
        for key, value in numbers.items():
            values.setdefault(key, []).append(value)
    medians = {key: statistics.median(each) for key, each in values.items()}
    return medians, {key: [min(each), max(each)] for key, each in values.items()}


def _ray_start() -> float:
    """Return the seconds that a run on Ray takes beside its training."""
    from lowerbound import cluster

    data = lb.data.load("digits")
    model = lb.VAE.for_data(data, latent=2)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        run = cluster.fit(
            model, data, out=Path(folder) / "run", workers=2, epochs=1, device="cpu", progress=False
        )
        return time.monotonic() - begun - run.seconds


if __name__ == "__main__":
    main()
