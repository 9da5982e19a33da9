"""How the cost grows with the number of examples, the latent size, importance samples and the area of the images.

    python benchmarks/growth.py [--rounds 5] [--scale 1]

Microseconds per example at each size, and the exponent: the slope of the logarithm of the cost over that of the size.
Examples are also read from the disk: a memory-mapped .npy, and .npy and Parquet by blocks, of which few are kept.
"""

from __future__ import annotations

import argparse
import functools
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import contest
import numpy as np
from common import write_result
from contest import Numbers, Worker

EXAMPLES = (2_000, 20_000, 200_000)
WIDTH = 64  # numbers of an example, where the examples grow in number
CAP = 8 * 2**20  # bytes of blocks that are kept: a sixth of the largest file
GROUP = 2048  # rows of a row group
LATENTS = (2, 8, 32, 128, 512)
TRAINED_SAMPLES = (1, 4, 16, 64)
SAMPLES = (10, 100, 1000, 10_000)
SIDES = (16, 32, 64, 128)
IMAGES_64 = 2000
SUPERLINEAR = 1.15  # a slope between two sizes above this is more than noise


class Files:
    """Writes the examples of all sizes.

    Args:
        folder: Where.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rng = np.random.default_rng(0)

    def vectors(self, n: int) -> str:
        """Write n vectors of normal numbers as .npy."""
        values = self.rng.normal(size=(n, WIDTH)).astype(np.float32)
        return contest.write_bytes(values, self.folder / f"vectors-{n}.npy")

    def parquet(self, npy: str) -> str:
        """Write the same as one column of lists, in row groups, to a folder with a file for each split."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        values = np.load(npy)
        folder = Path(npy).with_suffix("")
        folder.mkdir()
        cuts = int(0.9 * len(values)), int(0.95 * len(values))  # the shares of the other sources
        for name, part in zip(("train", "valid", "test"), np.split(values, cuts), strict=True):
            column = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), values.shape[1])
            pq.write_table(pa.table({"x": column}), folder / f"{name}.parquet", row_group_size=GROUP)
        return str(folder)

    def images(self, n: int, side: int, channels: int = 1) -> str:
        """Write n images of random bytes."""
        values = self.rng.integers(0, 256, (n, channels, side, side), np.uint8)
        return contest.write_bytes(values, self.folder / f"images-{n}-{side}-{channels}.npy")


def series_of(files: Files, scale: float) -> dict[str, dict[int, tuple[str, dict[str, Any]]]]:
    """Return what is timed: by name and size, the kind of work and its arguments.

    Args:
        files: Writes the data.
        scale: Factor on the numbers of examples.
    """

    def count(n: int) -> int:
        return max(100, round(n * scale))

    vectors = {n: files.vectors(count(n)) for n in EXAMPLES}
    digits = files.images(count(10_000), 28)
    many: dict[str, dict[int, tuple[str, dict[str, Any]]]] = {
        "examples_memory": {n: ("Training", {"source": path}) for n, path in vectors.items()},
        "examples_npy_mapped": {
            n: ("Training", {"source": path, "how": "mapped"}) for n, path in vectors.items()
        },
        "examples_npy_streamed": {
            n: ("Training", {"source": path, "how": "streamed", "cap": CAP}) for n, path in vectors.items()
        },
        "examples_parquet_streamed": {
            n: ("Training", {"source": files.parquet(path), "how": "streamed", "cap": CAP})
            for n, path in vectors.items()
        },
    }
    binary = {"load": {"binarize": "dynamic"}}
    many["latent"] = {n: ("Training", {"source": digits, "latent": n, **binary}) for n in LATENTS}
    many["trained_samples"] = {
        n: ("Training", {"source": files.images(count(20_000 / n), 28), "samples": n, **binary})
        for n in TRAINED_SAMPLES
    }
    many["samples"] = {
        n: ("Evaluation", {"source": digits, "examples": max(5, count(50_000) // n), "samples": n})
        for n in SAMPLES
    }
    conv = {"network": {"type": "conv"}, **binary}
    many["pixels"] = {
        side**2: ("Training", {"source": files.images(count(1_000_000 / side**2), side), **conv})
        for side in SIDES
    }
    colour = files.images(count(IMAGES_64), 64, 3)
    cap = max(2**20, Path(colour).stat().st_size // 6)
    for how in ("memory", "streamed"):
        many[f"images64_{how}"] = {
            IMAGES_64: ("Training", {"source": colour, "how": how, "cap": cap, **binary})
        }
    return many


def slope(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the least-squares slope of log cost over log size."""
    x, y = np.log(sizes), np.log(costs)
    return float(np.polyfit(x, y, 1)[0])


def last_linear(sizes: Sequence[int], costs: Sequence[float]) -> int:
    """Return the largest size up to which the cost grows no faster than in proportion, from one to the next."""
    for i in range(1, len(sizes)):
        if math.log(costs[i] / costs[i - 1]) / math.log(sizes[i] / sizes[i - 1]) > SUPERLINEAR:
            return sizes[i - 1]
    return sizes[-1]


def add(numbers: Numbers, name: str, answers: dict[int, list[dict[str, float]]]) -> None:
    """Add the metrics of one series.

    Where the examples grow in number the exponent is that of an epoch's seconds, else of those of one example.
    """
    of_epoch = name.startswith("examples")
    each = {
        size: [answer["seconds"] / answer["images"] for answer in of_size]
        for size, of_size in answers.items()
    }
    for size, values in each.items():
        numbers.add(f"microseconds_{name}_{size}", [1e6 * value for value in values])
    if len(each) == 1:
        return
    cost = {
        size: [answer["seconds"] for answer in answers[size]] if of_epoch else values
        for size, values in each.items()
    }
    rounds = list(zip(*cost.values(), strict=True))
    sizes = list(cost)
    numbers.add(f"exponent_{name}", [slope(sizes, costs) for costs in rounds])
    numbers.add(f"exponent_last_{name}", [slope(sizes[-2:], costs[-2:]) for costs in rounds])
    numbers.metrics[f"linear_to_{name}"] = last_linear(sizes, [float(np.median(v)) for v in cost.values()])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=5, help="times that everything has its turn")
    options.add_argument("--scale", type=float, default=1.0, help="factor on the numbers of examples")
    arguments = options.parse_args()
    started = time.monotonic()
    numbers = Numbers()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        worker = Worker(sys.executable, "growth", folder / "log")
        series = series_of(Files(folder), arguments.scale)
        turns = {}
        for name, sizes in series.items():
            for size, (kind, given) in sizes.items():
                worker.make(f"{name}-{size}", kind, **given)
                turns[f"{name}-{size}"] = functools.partial(worker.call, f"{name}-{size}")
        answers = contest.alternate(turns, arguments.rounds)
        worker.close()
    for name, sizes in series.items():
        add(numbers, name, {size: answers[f"{name}-{size}"] for size in sizes})
    seconds = {
        how: [answer["seconds"] for answer in answers[f"images64_{how}-{IMAGES_64}"]]
        for how in ("memory", "streamed")
    }
    numbers.add(
        "streaming_overhead_64",
        [a / b - 1 for a, b in zip(seconds["streamed"], seconds["memory"], strict=True)],
    )
    path = write_result(
        "growth",
        numbers.metrics,
        intervals=numbers.intervals,
        protocol={
            "microseconds": "per example of a training epoch, the second of two, without evaluations; for samples "
            "per image of log p(x)",
            "exponent": "least-squares slope of the logarithm of the cost over that of the size; 1 is linear, 0 no "
            "growth. exponent_last is that between the two largest sizes. The cost is an epoch's where the examples "
            "grow in number, else that of one example",
            "linear_to": f"the largest size up to which no slope from one size to the next is above {SUPERLINEAR}",
            "examples": f"vectors of {WIDTH} numbers, default networks, latent 8: in memory, from a memory-mapped "
            f".npy, and by blocks from .npy and from Parquet in row groups of {GROUP}, {CAP >> 20} MiB of blocks "
            f"kept at a time ({max(EXAMPLES) * WIDTH * 4 >> 20} MiB at the largest size)",
            "latent": "images of 28 x 28, default networks, the evidence lower bound",
            "trained_samples": "the same, importance-weighted bound of so many samples",
            "samples": "importance samples of log p(x), lb.evaluate.nll",
            "pixels": "the convolutional networks, square grey images of so many pixels, binarised",
            "streaming_overhead_64": "seconds of an epoch of 3 x 64 x 64 images by blocks from a .npy, a sixth of it "
            "in memory at a time, over those of the array in memory, less 1; convolutional networks",
            "disk": "the files were just written, so that the system has them in memory: our reading is timed",
            "value": "median of the rounds",
            "interval": "lowest and highest round",
            "rounds": arguments.rounds,
        },
        seeds=[0],
        config={"scale": arguments.scale, "examples": list(EXAMPLES), "cap": CAP, "row_group": GROUP},
        seconds=time.monotonic() - started,
    )
    print(path)


if __name__ == "__main__":
    main()
