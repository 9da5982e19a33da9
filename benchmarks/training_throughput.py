"""Images per second of training, beside pythae, Pyro and a loop written by hand, and the share of what is possible.

    python benchmarks/training_throughput.py [--root DATA] [--peers DIR] [--rounds 5] [--seconds 2]

All sides train the same networks with batches of the same size, one draw of z per image, Adam and the data loading
that their users have; they take turns in one run. The limit is the rate of large matrix products, measured in it too.
"""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any

import contest
import numpy as np
from common import write_result
from contest import Numbers, Worker
from peers import networks

# Images of the networks, and what their products are compared with.
SHAPES = {"mlp": (1, 28, 28), "conv28": (1, 28, 28), "conv64": (3, 64, 64)}
BATCHES = (128, 1024)
PEERS = ("pythae", "plain", "pyro")
OURS = {"ours": "auto", "ours_fp32": "fp32"}
LOADERS = (0, 2)  # processes that load the peers' data: the faster of the two counts
RANDOM_IMAGES = 4096
SQUARE, LAYER = [2048, 2048, 2048], [1024, 784, 512]
DTYPES = {"ours": "bfloat16", "ours_fp32": "float32"}
STEP_OVER_FORWARD = 3  # forward, and backward for the weights and for the inputs, each as many products


def files(root: str | None, scratch: Path) -> dict[str, str]:
    """Write the images of every network; return their paths."""
    mnist = contest.write_mnist(root, scratch)["train"]
    noise = np.random.default_rng(0).integers(0, 256, (RANDOM_IMAGES, *SHAPES["conv64"]), np.uint8)
    return {"mlp": mnist, "conv28": mnist, "conv64": contest.write_bytes(noise, scratch / "noise.npy")}


def turns_of(
    workers: dict[str, Worker], network: str, batch: int, path: str, seconds: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Warm every side up; return what each does in its turn, and how: images, and processes that load data."""
    kind = "mlp" if network == "mlp" else "conv"
    most = int(np.load(path, mmap_mode="r").shape[0] * 0.99) // batch  # ours keeps some for the other splits
    turns, how = {}, {}
    variants = {name: ("ours", name, {"precision": p}) for name, p in OURS.items()}
    variants |= {f"{side}-{n}": (side, f"{side}-{n}", {"workers": n}) for side in PEERS for n in LOADERS}
    best: dict[str, float] = {}
    for side, name, options in variants.values():
        worker = workers[side]
        worker.make(name, "Training", images=path, network=kind, batch=batch, **options)
        answer = worker.call(name, images=2 * batch)  # the first call also sets up what the process keeps
        if answer["seconds"] < seconds:
            count = max(2, min(most, round(2 * seconds / answer["seconds"])))
            answer = worker.call(name, images=count * batch)
        rate = answer["images"] / answer["seconds"]
        count = max(2, min(most, round(rate * seconds / batch)))
        label = name if side == "ours" else side
        if rate > best.get(label, 0):
            best[label] = rate
            turns[label] = functools.partial(worker.call, name, images=count * batch)
            how[label] = {"images": count * batch, "loading_processes": options.get("workers", 0)}
    return turns, how


def main() -> None:
    options = contest.parser(__doc__)
    contest.add_root(options)
    options.add_argument("--seconds", type=float, default=2.0, help="length of one turn, about")
    options.add_argument("--networks", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    arguments = options.parse_args()
    started = time.monotonic()
    numbers, protocol = Numbers(), {}
    with contest.workers(["ours", *PEERS], arguments.peers) as (workers, scratch):
        versions = contest.peers_versions(workers["plain"])
        products = {}
        for label, dtype in DTYPES.items():
            for what, shape in (("square", SQUARE), ("layer", LAYER)):
                workers["ours"].make(f"{dtype}_{what}", "Products", dtype=dtype, shape=shape)
                products[label, what] = f"{dtype}_{what}"
        paths = files(arguments.root, scratch)
        limits: dict[str, list[float]] = {}
        for network in arguments.networks:
            for batch in BATCHES:
                turns, how = turns_of(workers, network, batch, paths[network], arguments.seconds)
                protocol[f"{network}_b{batch}"] = how
                products_of = {
                    name: functools.partial(workers["ours"].call, name) for name in products.values()
                }
                answers = contest.alternate(turns | products_of, arguments.rounds)
                add(numbers, network, batch, answers, products)
                for name in products.values():
                    limits.setdefault(name, []).extend(a["flops_per_second"] for a in answers[name])
        for name, values in limits.items():
            numbers.add(f"matmul_gflops_{name}", [value / 1e9 for value in values])
    path = write_result(
        "training_throughput",
        numbers.metrics,
        intervals=numbers.intervals,
        protocol={
            "network": "mlp: 784-512-512-(32, 32) and 32-512-512-784; conv: 3 x 3 convolutions of 32, 64, 128 "
            "channels with stride 2, a layer of 256, and the mirror with 4 x 4 transposed convolutions; SiLU",
            "data": "mlp and conv28: MNIST; conv64: random bytes, 3 x 64 x 64. Ours are binarised anew at each "
            "step within the time, the peers see grey levels, as their tutorials do",
            "time": "steps with loading of the data, without validation, set-up or saving; ours by the seconds of "
            "the run's records, pythae's by its callbacks, the others' around the loop",
            "precision": "peers in fp32, which is what they have on a CPU; ours with its default (networks in "
            "bfloat16 where the processor has units for it), and in fp32 where the name says so",
            "settings": "Adam at 1e-3 for the peers; ours with its defaults (AdamW, clipping, average of the "
            "weights, check for finite gradients) and the evidence lower bound",
            "ratio": "images per second, ours over theirs, round by round; median of the rounds",
            "loading": f"peers load data with {' or '.join(map(str, LOADERS))} more processes, the faster one",
            "roofline": "operations of a step per second over those of a product of two 2048 x 2048 matrices in the "
            "same type, same round; a step counts as three times the products of the forward pass",
            "layer": "products of (1024, 784) with (784, 512), the first layer of mlp_b1024, for comparison",
            "interval": "lowest and highest round",
            "rounds": arguments.rounds,
            "turns": protocol,
        },
        seeds=[0],
        config={"batches": list(BATCHES), "seconds": arguments.seconds, "flops_per_image": flops()},
        seconds=time.monotonic() - started,
        versions=versions,
    )
    print(path)


def flops() -> dict[str, int]:
    """Return the operations of a training step per image."""
    return {
        network: STEP_OVER_FORWARD * networks.forward_flops("mlp" if network == "mlp" else "conv", shape)
        for network, shape in SHAPES.items()
    }


def add(
    numbers: Numbers,
    network: str,
    batch: int,
    answers: dict[str, list[dict[str, float]]],
    products: dict[tuple[str, str], str],
) -> None:
    """Add the metrics of one network and batch size."""
    what = f"{network}_b{batch}"
    rates = {
        side: [a["images"] / a["seconds"] for a in of_side]
        for side, of_side in answers.items()
        if "images" in of_side[0]
    }
    for side, values in rates.items():
        numbers.add(f"images_per_second_{what}_{side}", values)
    for peer in PEERS:
        numbers.add_ratio(f"ratio_to_{peer}_{what}", rates["ours"], rates[peer])
        numbers.add_ratio(f"ratio_to_{peer}_{what}_fp32", rates["ours_fp32"], rates[peer])
    work = flops()[network]
    for label in OURS:
        limit = [a["flops_per_second"] for a in answers[products[label, "square"]]]
        ending = "_fp32" if label == "ours_fp32" else ""
        numbers.add_ratio(f"roofline_share_{what}{ending}", [work * rate for rate in rates[label]], limit)


if __name__ == "__main__":
    main()
