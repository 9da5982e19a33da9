"""Seconds of ``lb.data.load`` beside an earlier checkout's, and beside one process that decodes JPEGs with PIL.

    python benchmarks/loading.py --before CHECKOUT [--rounds 5] [--root DATA] [--megabytes 100]

Files of about 100 MB are made: bytes in a ``.npy`` file, a CSV of floats, one of integers, and a Parquet file of
floats.
Each load is a fresh process, which times the call alone; the two checkouts take turns, in an order that is reversed
every second round, and a ratio is taken round by round. The JPEGs are the 25,000 of DATA/images; PIL decodes them one
after the other into one array.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from common import ROOT, write_result

# What is imported on the way is not timed: ``startup.py`` has that.
_IMPORTS = """
import sys, time
from pathlib import Path
import numpy as np, pandas, pyarrow, torch
import lowerbound as lb
from lowerbound.data import load
from PIL import Image
t = time.perf_counter()
"""
_LOAD = """
load(sys.argv[1])
"""
_PIL = """
np.stack([np.asarray(Image.open(path)) for path in sorted(Path(sys.argv[1]).rglob("*.jpg"))])
"""
_TELL = "print(time.perf_counter() - t)"


def make_files(folder: Path, size: int) -> dict[str, Path]:
    """Write a file of each kind, of about ``size`` bytes, and return their paths by name."""
    rng = np.random.default_rng(0)
    files = {name: folder / name for name in ("bytes.npy", "floats.csv", "integers.csv", "floats.parquet")}
    np.save(files["bytes.npy"], rng.integers(0, 256, (size // 784, 28, 28), np.uint8))
    names = [f"c{i}" for i in range(10)]
    pd.DataFrame(rng.normal(size=(size // 100, 10)).round(6), columns=names).to_csv(
        files["floats.csv"], index=False
    )
    whole = rng.integers(-9999, 99999, (size // 60, 10))
    pd.DataFrame(whole, columns=names).to_csv(files["integers.csv"], index=False)
    pd.DataFrame(rng.normal(size=(size // 80, 10)), columns=names).to_parquet(files["floats.parquet"])
    return files


def seconds_of(code: str, source: Path, checkout: Path) -> float:
    """Return what a fresh process says that a load took, with the package of a checkout."""
    environment = {**os.environ, "PYTHONPATH": os.fspath(checkout / "src")}
    command = [sys.executable, "-c", _IMPORTS + code + _TELL, os.fspath(source)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout.split()[-1])


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--before", type=Path, required=True, help="root of the earlier checkout")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--megabytes", type=int, default=100)
    options.add_argument("--root", default=os.environ.get("LOWERBOUND_DATA"), help="folder of data")
    arguments = options.parse_args()
    if arguments.root is None:
        options.error("--root DATA or LOWERBOUND_DATA names the folder that holds images/")
    started = time.monotonic()
    before = arguments.before.resolve()
    commit = subprocess.run(
        ["git", "-C", os.fspath(before), "rev-parse", "--short", "HEAD"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    metrics: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        files = make_files(Path(temporary), arguments.megabytes * 10**6)
        with tarfile.open(Path(arguments.root) / "images" / "cifar10_jpeg_20k_5k.tar.gz") as archive:
            archive.extractall(Path(temporary) / "jpegs", filter="data")
        jobs = {
            path.name.replace(".", "_"): (path, (_LOAD, ROOT), (_LOAD, before)) for path in files.values()
        }
        jobs["pil_over_ours_jpeg"] = (Path(temporary) / "jpegs", (_PIL, ROOT), (_LOAD, ROOT))
        for name, (path, *sides) in jobs.items():
            ratios: list[float] = []
            for number in range(arguments.rounds + 1):
                order = [0, 1] if number % 2 else [1, 0]
                took = {side: seconds_of(sides[side][0], path, sides[side][1]) for side in order}
                if number:  # the first only warms the file system's cache
                    ratios.append(took[0] / took[1])
            key = name if name.startswith("pil") else f"now_over_before_{name}"
            metrics[key], intervals[key] = statistics.median(ratios), [min(ratios), max(ratios)]
            print(
                f"{key:32}{metrics[key]:6.2f}   {min(ratios):.2f} to {max(ratios):.2f}   {took}", flush=True
            )
    path = write_result(
        "loading",
        metrics,
        intervals=intervals,
        protocol={
            "now_over_before": f"seconds of load, over those of commit {commit}; ends: least and most",
            "pil_over_ours_jpeg": "seconds of one process that decodes 25,000 JPEGs with PIL, over ours",
            "rounds": arguments.rounds,
            "megabytes": arguments.megabytes,
        },
        seeds=[0],
        config={},
        seconds=time.monotonic() - started,
    )
    print(path)


if __name__ == "__main__":
    main()
