"""What every benchmark shares: the result file and the facts that belong into it."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from lowerbound.training.devices import describe_hardware

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
LIBRARIES = ("lowerbound", "torch", "numpy", "lightning-fabric")


def write_result(
    name: str,
    metrics: dict[str, float],
    *,
    intervals: dict[str, list[float]] | None = None,
    protocol: dict[str, Any],
    seeds: list[int],
    config: dict[str, Any],
    seconds: float,
    device: str = "cpu",
    versions: Mapping[str, str] | None = None,
) -> Path:
    """Write ``benchmarks/results/NAME.json``.

    Args:
        name: Name of the benchmark.
        metrics: The numbers; keys say unit and protocol.
        intervals: Low and high ends, by metric.
        protocol: What was done, in words and numbers.
        seeds: Seeds of the runs.
        config: Resolved configuration.
        seconds: Wall-clock time of the whole benchmark.
        device: Where it ran.
        versions: Those of what it was compared with, beside our own.
    """
    result = {
        "name": name,
        "metrics": metrics,
        "intervals": intervals or {},
        "protocol": protocol,
        "seeds": seeds,
        "config": config,
        "commit": commit(),
        "hardware": describe_hardware(torch.device(device)),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in LIBRARIES}
        | dict(versions or {}),
        "date": datetime.date.today().isoformat(),
        "seconds": round(seconds, 1),
    }
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return path


def results() -> list[dict[str, Any]]:
    """Return all result files, by name."""
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]


def commit() -> str:
    """Return the commit that is checked out, marked if the package's files differ from it."""
    head, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "src")
    if head is None or changes is None:
        return "unknown"
    return head.strip() + ("-dirty" if changes else "")


def git(*arguments: str) -> str | None:
    """Return what git prints, None if it fails or is not there."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def lowerbound(*arguments: str) -> str:
    """Run a ``lowerbound`` command as a user would; progress goes to the terminal, the result is returned."""
    command = [sys.executable, "-m", "lowerbound", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def read_arguments(description: str | None, quick: bool = False) -> argparse.Namespace:
    """Return the arguments of a benchmark of several runs: ``root``, ``seeds``, ``workers``, ``keep``.

    Args:
        description: What the benchmark is, in the first line.
        quick: There is a ``--quick``, which tries the script and writes no result.
    """
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument(
        "--root", default=os.environ.get("LOWERBOUND_DATA"), help="folder that holds MNIST/raw"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument(
        "--keep", type=Path, help="keep the finished runs' numbers here, and take up those there"
    )
    if quick:
        parser.add_argument("--quick", action="store_true", help="a minute, one seed; writes no result")
    return parser.parse_args()


def run_jobs(
    work: Callable[..., dict[str, Any]], jobs: dict[str, dict[str, Any]], workers: int, keep: Path | None
) -> tuple[dict[str, dict[str, Any]], float]:
    """Return the results of ``work(**job)`` by the jobs' names, and the seconds it took, earlier calls included.

    Several run at a time, each on one thread.

    Args:
        work: A function of the script's own module.
        jobs: Keyword arguments by name.
        workers: Processes.
        keep: Folder for the finished results, which a later call takes up; None keeps nothing.
    """
    started, before = time.monotonic(), 0.0
    results: dict[str, dict[str, Any]] = {}
    spent = keep / "seconds.json" if keep else None
    if keep and spent:
        keep.mkdir(parents=True, exist_ok=True)
        before = json.loads(spent.read_text()) if spent.is_file() else 0.0
        kept = {name: keep / f"{name}.json" for name in jobs}
        results = {name: json.loads(path.read_text()) for name, path in kept.items() if path.is_file()}
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        waiting = {pool.submit(work, **job): name for name, job in jobs.items() if name not in results}
        for done in as_completed(waiting):
            name = waiting[done]
            results[name] = done.result()
            print(
                f"{len(results)} of {len(jobs)}: {name} {str(results[name])[:300]}",
                file=sys.stderr,
                flush=True,
            )
            if keep and spent:
                (keep / f"{name}.json").write_text(json.dumps(results[name]))
                spent.write_text(json.dumps(before + time.monotonic() - started))
    seconds = before + (time.monotonic() - started if waiting else 0.0)
    return results, seconds


def over_seeds(
    results: Mapping[str, Mapping[str, float]],
    seeds: Sequence[int],
    middle: Callable[[list[float]], float] = statistics.fmean,
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return the means or medians over the seeds, and the lowest and highest values, of results named ``WHAT-SEED``.

    The metrics of all jobs of a seed are joined.
    """
    joined = [
        {
            key: value
            for name, result in results.items()
            if name.endswith(f"-{seed}")
            for key, value in result.items()
        }
        for seed in seeds
    ]
    values = {key: [one[key] for one in joined] for key in joined[0]}
    return (
        {key: middle(found) for key, found in values.items()},
        {key: [min(found), max(found)] for key, found in values.items()},
    )
