"""What the comparisons with peers share: their environment, workers that take turns, medians over the rounds.

The peers are no dependency: ``peers_python`` installs them into an environment of their own. Each side runs in a
process of its own (``peers/worker.py``) with torch's default number of threads, and waits while another works.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT

from lowerbound.data.idx import read_mnist

PEERS = {"pythae": "0.1.2", "pyro-ppl": "1.9.2"}
VERSIONS = [*PEERS, "torch", "numpy"]
HERE = Path(__file__).resolve().parent
# Set by those who run several things at once; here every side has the machine to itself in its turn.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def parser(description: str | None, rounds: int = 5) -> argparse.ArgumentParser:
    """Return the options that every comparison has: ``peers`` and ``rounds``."""
    options = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    folder = os.environ.get("BENCH_PEERS")
    options.add_argument(
        "--peers",
        type=Path,
        default=None if folder is None else Path(folder),
        help="environment of the peers, made there if it is not; else $BENCH_PEERS, else a temporary one",
    )
    options.add_argument("--rounds", type=int, default=rounds, help="times that every side has its turn")
    return options


def add_root(options: argparse.ArgumentParser) -> None:
    """Add the option ``root``."""
    default = os.environ.get("LOWERBOUND_DATA")
    options.add_argument("--root", default=default, help="folder that holds MNIST/raw; else $LOWERBOUND_DATA")


def environment() -> dict[str, str]:
    """Return the environment of a process that has the machine to itself."""
    return {name: value for name, value in os.environ.items() if name not in _THREADS}


@contextlib.contextmanager
def peers_python(folder: Path | None) -> Iterator[Path]:
    """Give the interpreter of the peers' environment; it is made, or completed, where it lacks something.

    Args:
        folder: Where it is or will be; None for a temporary one, which is removed afterwards.
    """
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peers-")))
        yield python_with(folder, PEERS)


def python_with(folder: Path, packages: Mapping[str, str], torch: bool = True) -> Path:
    """Return the interpreter of an environment; it is made, or completed, where it lacks something.

    Args:
        folder: Where it is or will be.
        packages: Versions by name.
        torch: Whether they need torch, in the build that the project itself is measured with.
    """
    python = folder.resolve() / "bin" / "python"
    if not python.exists():
        print(f"installing {', '.join(packages)} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True)
    script = f"from importlib.metadata import version; print(*map(version, {list(packages)!r}))"
    found = subprocess.run([str(python), "-c", script], capture_output=True, text=True)
    if found.returncode or found.stdout.split() != list(packages.values()):
        wanted = [f"{name}=={version}" for name, version in packages.items()]
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        build = ["-c", str(ROOT / "constraints-cpu.txt"), "torch"] if torch else []
        subprocess.run([*pip, *build, *wanted], check=True)
    return python


class Worker:
    """One side in a process of its own; ``peers/worker.py`` says what it understands.

    Args:
        python: Its interpreter.
        side: "ours", "plain", "pyro" or "pythae".
        log: File for what it prints.
    """

    def __init__(self, python: Path | str, side: str, log: Path) -> None:
        self.side, self.log = side, log
        command = [str(python), str(HERE / "peers" / "worker.py"), side]
        with log.open("w") as printed:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=printed,
                text=True,
                env=environment(),
            )

    def make(self, name: str, kind: str, **arguments: Any) -> None:
        """Make an object of one of the side's classes, under a name."""
        self.ask(do="make", name=name, kind=kind, arguments=arguments)

    def call(self, name: str, method: str = "run", **arguments: Any) -> Any:
        """Return what a method of a made object returns."""
        return self.ask(do="call", name=name, method=method, arguments=arguments)

    def ask(self, **order: Any) -> Any:
        """Send a command and wait for its answer.

        Raises:
            RuntimeError: it failed, with the side's traceback or the end of what it printed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"{self.side} ended before it answered:\n{self.log.read_text()[-2000:]}")
        reply = json.loads(line)
        if "error" in reply:
            raise RuntimeError(f"{self.side} failed:\n{reply['error']}")
        return reply["answer"]

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(BrokenPipeError):  # it may have ended before
            if self._process.stdin is not None:
                self._process.stdin.close()
        self._process.wait()


@contextlib.contextmanager
def workers(sides: Sequence[str], peers: Path | None) -> Iterator[tuple[dict[str, Worker], Path]]:
    """Give a worker for each side, "ours" in this interpreter and the others in the peers', and a scratch folder."""
    with contextlib.ExitStack() as stack:
        python = stack.enter_context(peers_python(peers))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="contest-")))
        started = {}
        for side in sides:
            interpreter = sys.executable if side == "ours" else python
            started[side] = Worker(interpreter, side, scratch / f"{side}.log")
            stack.callback(started[side].close)
        yield started, scratch


def peers_versions(worker: Worker) -> dict[str, str]:
    """Return the versions in the peers' environment."""
    return {f"{name} (peers)": version for name, version in worker.ask(do="versions", of=VERSIONS).items()}


def write_mnist(root: str | None, folder: Path) -> dict[str, str]:
    """Write MNIST's three splits as .npy files of bytes (N, 1, 28, 28); return their paths."""
    paths = {}
    for name, part in zip(("train", "valid", "test"), read_mnist("mnist", root).parts, strict=True):
        paths[name] = write_bytes(part.reshape(-1, 1, 28, 28), folder / f"{name}.npy")
    return paths


def write_bytes(images: np.ndarray, path: Path) -> str:
    """Write an array as a .npy file and return its path."""
    np.save(path, np.ascontiguousarray(images))
    return str(path)


def alternate(
    turns: Mapping[str, Callable[[], dict[str, float]]], rounds: int
) -> dict[str, list[dict[str, float]]]:
    """Return every side's answers, one for each round; the order of the sides is reversed every second round.

    What else the machine does then falls on all sides alike, and none is always the one after the longest pause.
    """
    answers: dict[str, list[dict[str, float]]] = {name: [] for name in turns}
    for number in range(rounds):
        for name in list(turns)[:: 1 if number % 2 == 0 else -1]:
            answers[name].append(turns[name]())
        print(f"round {number + 1} of {rounds}: " + _last(answers), file=sys.stderr, flush=True)
    return answers


def _last(answers: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    return ", ".join(f"{name} {answer[-1].get('seconds', 0):.2f} s" for name, answer in answers.items())


class Numbers:
    """Metrics as medians over the rounds, with the lowest and the highest round as intervals."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.intervals: dict[str, list[float]] = {}

    def add(self, key: str, values: Sequence[float]) -> None:
        """Add a metric from its values in all rounds."""
        self.metrics[key] = statistics.median(values)
        self.intervals[key] = [min(values), max(values)]

    def add_ratio(self, key: str, over: Sequence[float], under: Sequence[float]) -> None:
        """Add the ratio of two metrics, round by round."""
        self.add(key, [a / b for a, b in zip(over, under, strict=True)])
