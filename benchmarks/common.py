"""What every benchmark shares: the result file and the facts that belong into it."""

from __future__ import annotations

import datetime
import json
import platform
import subprocess
import sys
from importlib.metadata import version
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
        "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        "date": datetime.date.today().isoformat(),
        "seconds": round(seconds, 1),
    }
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return path


def commit() -> str:
    """Return the commit that is checked out, marked if the package's files differ from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "src") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def lowerbound(*arguments: str) -> str:
    """Run a ``lowerbound`` command as a user would; progress goes to the terminal, the result is returned."""
    command = [sys.executable, "-m", "lowerbound", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
