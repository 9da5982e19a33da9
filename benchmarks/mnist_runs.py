"""Runs of ``lowerbound train mnist`` and ``lowerbound evaluate``, for tables that compare models."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common import lowerbound
from mnist_mlp import TRAINING_IMAGES, by_q


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
        return by_q(self.evaluation)

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


def add_training(options: argparse.ArgumentParser) -> None:
    """Add folders of trained runs, and how long runs are trained where there is none."""
    options.add_argument("runs", nargs="*", type=Path, metavar="RUN")
    options.add_argument("--minutes", type=float, default=10.0, help="of the training, where no RUN is given")


def given_or_trained(arguments: argparse.Namespace, folder: Path) -> list[Path]:
    """Return the runs that are given, else those of the seeds, trained in the folder unless they are there."""
    minutes = 0.05 if arguments.quick else arguments.minutes
    seeds = arguments.seeds[:1] if arguments.quick else arguments.seeds
    return arguments.runs or [
        trained(
            folder / f"mnist-{minutes:g}m-seed{seed}",
            ["--minutes", str(minutes), "--seed", str(seed)],
            arguments.root,
        )
        for seed in seeds
    ]


def without_places(config: dict[str, Any]) -> dict[str, Any]:
    """Return a run's configuration without where its data lie, which is this machine's affair."""
    config["data"]["options"].pop("root", None)
    config["data"].pop("paths", None)
    return config


@contextlib.contextmanager
def place(keep: Path | None) -> Iterator[Path]:
    """Give the folder of the runs: one that stays, or a temporary one."""
    with contextlib.ExitStack() as stack:
        if keep:
            keep.mkdir(parents=True, exist_ok=True)
        yield keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mnist-")))


def trained(folder: Path, training: Sequence[str], root: str | None) -> Path:
    """Train on dynamically binarised MNIST, unless that is done; return the folder.

    Args:
        folder: The run's folder.
        training: Options of ``lowerbound train``.
        root: Folder that holds MNIST/raw; None for the default.
    """
    done = folder.with_name(f"{folder.name}.trained")
    if not done.is_file():
        print(f"{folder.name}: train {' '.join(training)}", file=sys.stderr, flush=True)
        where = ["--root", root] if root else []
        given = ["mnist", "--binarize", "dynamic", *where, *training, "--out", str(folder), "--overwrite"]
        lowerbound("train", *given)
        done.touch()
    return folder


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
    numbers = folder / "evaluation.json"
    if not numbers.is_file():
        trained(folder, training, root)
        some = ["--all"] if limit is None else ["--limit", str(limit)]
        where = ["--root", root] if root else []
        lowerbound("evaluate", str(folder), "-k", str(samples), *some, "--json", *where)
    evaluation = json.loads(numbers.read_text())
    history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    config = without_places(json.loads((folder / "config.json").read_text()))
    done = Finished(folder, evaluation, history, config)
    print(
        f"{folder.name}: −log p(x) {done.nll:.2f} by q, {done.tighter:.2f} by {evaluation['proposal']}, "
        f"S = {evaluation['samples']}, {done.images:,} images in {done.minutes:.1f} minutes",
        file=sys.stderr,
        flush=True,
    )
    return done


def table_of(
    sides: Mapping[str, Sequence[str]],
    arguments: argparse.Namespace,
    folder: Path,
    *,
    millions: float,
    samples: int,
) -> dict[str, list[Finished]]:
    """Return the runs of each side, one for each seed, trained on so many images; ``quick`` ones are the least.

    Args:
        sides: Options of ``lowerbound train`` by name.
        arguments: Of ``parser``.
        folder: Where the runs lie.
        millions: Images of each run, in millions.
        samples: Importance samples of an image.
    """
    seeds, limit = arguments.seeds, arguments.limit
    if arguments.quick:
        millions, seeds, samples, limit = 0.002, seeds[:1], 50, 20
    length = ["--epochs", str(millions * 1e6 / TRAINING_IMAGES)]
    return {
        side: [
            finished(
                folder / f"{side}-seed{seed}",
                [*options, *length, "--seed", str(seed)],
                samples=samples,
                root=arguments.root,
                limit=limit,
            )
            for seed in seeds
        ]
        for side, options in sides.items()
    }


def images_scored(limit: int | None) -> str:
    """Return how many test images a table is of, in words."""
    return f"{'all' if limit is None else limit} test images, once"


def of_each_run(
    arguments: argparse.Namespace, stem: str, measure: Callable[[Path], dict[str, float]]
) -> tuple[dict[str, float], dict[str, list[float]], list[dict[str, Any]]]:
    """Return means and ends of numbers over runs, given or trained, and the runs' configurations.

    Args:
        arguments: Of ``parser`` with ``add_training``.
        stem: Name of the files of finished numbers in ``keep``.
        measure: What is asked of a run.
    """
    each = []
    with place(arguments.keep) as folder:
        runs = given_or_trained(arguments, folder)
        for run in runs:
            kept = folder / f"{stem}-{run.name}.json"
            if not kept.is_file():
                kept.write_text(json.dumps(measure(run)))
            each.append(json.loads(kept.read_text()))
        configs = [json.loads((run / "config.json").read_text()) for run in runs]
    columns = {key: [one[key] for one in each] for key in each[0]}
    metrics = {key: statistics.fmean(values) for key, values in columns.items()}
    print(", ".join(f"{key} {value:.4g}" for key, value in metrics.items()))
    return metrics, {key: [min(values), max(values)] for key, values in columns.items()}, configs
