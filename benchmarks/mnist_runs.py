"""Runs of ``lowerbound train mnist`` and ``lowerbound evaluate``, for tables that compare models."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common import lowerbound

TRAINING_IMAGES = 50_000


class Finished(NamedTuple):
    """A run that is trained and evaluated.

    Attributes:
        folder: Where it lies.
        evaluation: What ``lowerbound evaluate`` gave, on all test images, or on the part asked for.
        history: Records of the training.
        config: Its configuration.
    """

    folder: Path
    evaluation: dict[str, Any]
    history: list[dict[str, Any]]
    config: dict[str, Any]

    @property
    def nll(self) -> float:
        """−log p(x) by samples of q(z|x), the one that is published."""
        by_q = self.evaluation["posterior_nll"]
        return self.evaluation["nll"] if by_q is None else by_q

    @property
    def tighter(self) -> float:
        """−log p(x) by the tightest proposal that the model has."""
        return self.evaluation["nll"]

    @property
    def minutes(self) -> float:
        """Minutes of training."""
        return self.history[-1]["seconds"] / 60

    @property
    def images(self) -> int:
        """Images seen in training."""
        return self.history[-1]["examples"]


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return the options of all these tables: ``root``, ``seeds``, ``keep``, ``limit`` and ``quick``."""
    options = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    options.add_argument(
        "--root", default=os.environ.get("LOWERBOUND_DATA"), help="folder that holds MNIST/raw"
    )
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument(
        "--keep", type=Path, help="keep the run folders here, and take up those that are finished"
    )
    options.add_argument("--limit", type=int, help="test images to evaluate; all if not given")
    options.add_argument("--quick", action="store_true", help="tries the script; writes no result")
    return options


@contextlib.contextmanager
def place(keep: Path | None) -> Iterator[Path]:
    """Give the folder of the runs: one that stays, or a temporary one."""
    with contextlib.ExitStack() as stack:
        yield keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mnist-")))


def finished(
    folder: Path, training: Sequence[str], *, samples: int, root: str | None, limit: int | None = None
) -> Finished:
    """Train and evaluate on dynamically binarised MNIST, unless the folder has an evaluation.

    Args:
        folder: The run's folder.
        training: Options of ``lowerbound train``.
        samples: Importance samples of an image.
        root: Folder that holds MNIST/raw; None for the default.
        limit: Number of test images; None for all.
    """
    where = ["--root", root] if root else []
    numbers = folder / "evaluation.json"
    if not numbers.is_file():
        print(f"{folder.name}: train {' '.join(training)}", file=sys.stderr, flush=True)
        data = ["mnist", "--binarize", "dynamic", *where]
        lowerbound("train", *data, *training, "--out", str(folder), "--overwrite")
        some = ["--all"] if limit is None else ["--limit", str(limit)]
        lowerbound("evaluate", str(folder), "-k", str(samples), *some, "--json", *where)
    evaluation = json.loads(numbers.read_text())
    history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    config = json.loads((folder / "config.json").read_text())
    config["data"]["options"].pop("root", None)  # where the data lie is this machine's affair
    config["data"].pop("paths", None)
    done = Finished(folder, evaluation, history, config)
    print(
        f"{folder.name}: −log p(x) {done.nll:.2f} by q, {done.tighter:.2f} by {evaluation['proposal']}, "
        f"S = {evaluation['samples']}, {done.images:,} images in {done.minutes:.1f} minutes",
        file=sys.stderr,
        flush=True,
    )
    return done
