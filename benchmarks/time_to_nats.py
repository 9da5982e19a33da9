"""−log p(x) of dynamic MNIST against seconds, images and floating-point operations: a leaderboard, open to all.

    python benchmarks/time_to_nats.py [--root DATA] [--minutes 1 3 10] [--presets NAME ...] [--row "NAME: OPTIONS"]
                                      [--rows FILE ...] [--keep DIR] [--quick]

Every preset that has a likelihood of bits is trained for each length, with a schedule of that length, and evaluated
once on the test images: a point is a whole run, not a moment of one. A row of your own is

- options of ``lowerbound train``, also with a part from a file: ``--row "mine: --preset vae --plugin my.py"``;
- or a JSON file of what was measured elsewhere, ``--rows mine.json``: a list of objects with the keys ``name``,
  ``seconds``, ``images``, ``flop``, ``nll`` and ``source``, null for what is not known.

The operations are those of a training step, forward and backward, products and convolutions, times the steps.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import mnist_runs
import torch
from common import RESULTS, write_result
from matplotlib.figure import Figure
from torch.utils.flop_counter import FlopCounterMode

import lowerbound as lb
from lowerbound.objectives import Progress
from lowerbound.presets import PRESETS
from lowerbound.registry import build_objective

SAMPLES = 1000
AXES = {"seconds": "seconds of training", "images": "images seen", "flop": "floating-point operations"}


def presets() -> list[str]:
    """Return the presets whose model has a log p(x) of bits, without labels."""
    return [
        name
        for name, preset in PRESETS.items()
        if "no bound" not in preset.summary and not preset.overrides.get("data") and name != "cvae"
    ]


def operations(run: mnist_runs.Finished, root: str | None) -> float:
    """Return the floating-point operations of training per image, counted on one step."""
    model = lb.load(run.folder).train()
    objective = build_objective(run.config["objective"])
    objective.start(model) if hasattr(objective, "start") else None  # those with a critic
    size = run.config["training"]["batch_size"]
    data = lb.data.load("mnist", binarize="dynamic", root=root)
    x, c = data.train.batch(torch.arange(size))
    with FlopCounterMode(display=False) as counter:
        objective(model, x, c if model.condition is not None else None, Progress()).loss.backward()
    return counter.get_total_flops() / size


def row_of(name: str, run: mnist_runs.Finished, root: str | None) -> dict[str, Any]:
    """Return what stands in the table for one run."""
    try:
        each = operations(run, root)
    except Exception as error:  # a row without it is still one
        print(f"{name}: operations are not known: {error}", file=sys.stderr)
        each = None
    told = run.evaluation
    return {
        "name": name,
        "seconds": run.history[-1]["seconds"],
        "images": run.images,
        "flop": None if each is None else each * run.images,
        "nll": run.nll,
        "nll_stderr": told["nll_stderr"],
        "nll_tighter": run.tighter,
        "proposal_tighter": told["proposal"],
        "samples": told["samples"],
        "source": "measured here",
    }


def read_rows(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Return rows that were measured elsewhere.

    Raises:
        SystemExit: a file has something else.
    """
    rows = []
    for path in paths:
        for row in json.loads(path.read_text()):
            lacking = {"name", "nll", "source", *AXES} - set(row)
            if lacking:
                raise SystemExit(
                    f"{path}: a row lacks {', '.join(sorted(lacking))}; null is for what is not known"
                )
            rows.append(row)
    return rows


def draw(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Draw −log p(x) over each of the three prices, a line for each name."""
    lines: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        lines[row["name"]].append(row)
    order = sorted(lines, key=lambda name: min(row["nll"] for row in lines[name]))
    figure = Figure(figsize=(13, 5.5), layout="constrained")
    for at, (price, label) in enumerate(AXES.items()):
        ax = figure.add_subplot(1, 3, 1 + at)
        for number, name in enumerate(order):
            known = sorted((row[price], row["nll"]) for row in lines[name] if row[price] is not None)
            if known:
                style = {"marker": "osD^v<>p"[number // 10 % 8], "color": f"C{number % 10}", "ms": 4, "lw": 1}
                ax.plot(*zip(*known, strict=True), label=f"{name} {min(v for _, v in known):.1f}", **style)
        ax.set_xscale("log")
        ax.set_xlabel(label)
        ax.grid(color="#e3e5e8")
        ax.spines[["top", "right"]].set_visible(False)
        if not at:
            ax.set_ylabel("−log p(x), nats, S = 1000 from q(z|x); lower is better")
            handles = ax.get_legend_handles_labels()
    figure.legend(*handles, loc="outside right center", fontsize=7, title="best", frameon=False)
    figure.savefig(path, dpi=150, metadata={"Software": None})


def main() -> None:
    parser = mnist_runs.parser(__doc__)
    parser.set_defaults(seeds=[0])
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 3.0, 10.0])
    parser.add_argument("--presets", nargs="*", default=presets(), choices=presets(), metavar="NAME")
    parser.add_argument("--row", action="append", default=[], metavar='"NAME: OPTIONS"')
    parser.add_argument("--rows", type=Path, nargs="+", default=[], metavar="FILE")
    parser.add_argument("--out", type=Path, default=RESULTS / "time_to_nats.png", help="the picture")
    arguments = parser.parse_args()
    minutes, samples, limit = arguments.minutes, SAMPLES, arguments.limit
    if arguments.quick:
        minutes, samples, limit = [0.05], 50, 20
    sides = {name: ["--preset", name] for name in arguments.presets}
    for own in arguments.row:
        name, _, options = own.partition(":")
        sides[name.strip()] = shlex.split(options)
    began, rows = time.monotonic(), read_rows(arguments.rows)
    jobs = [(name, length, seed) for length in minutes for name in sides for seed in arguments.seeds]
    with mnist_runs.place(arguments.keep) as folder:
        config: dict[str, Any] = {}
        for number, (name, length, seed) in enumerate(jobs, 1):
            print(f"{number} of {len(jobs)}", file=sys.stderr, flush=True)
            try:
                run = mnist_runs.finished(
                    folder / f"{name}-{length:g}m-seed{seed}",
                    [*sides[name], "--minutes", str(length), "--seed", str(seed)],
                    samples=samples,
                    root=arguments.root,
                    limit=limit,
                )
            except Exception as error:
                print(f"{name}: no row: {error}", file=sys.stderr, flush=True)
                continue
            rows.append(row_of(name, run, arguments.root) | {"minutes": length, "seed": seed})
            config = run.config
            draw(rows, arguments.out)
    rows.sort(key=lambda row: row["nll"])
    for row in rows:
        flop = "      ?" if row["flop"] is None else f"{row['flop'] / 1e15:7.3f}"
        price = f"{row['seconds'] or 0:7.0f} s  {row['images'] or 0:12,} images  {flop} PFLOP"
        print(f"{row['nll']:8.2f}  {price}  {row['name']}")
    print(arguments.out)
    if arguments.quick:
        return
    path = write_result(
        "time_to_nats",
        {f"{row['name']}_{row['minutes']:g}m": row["nll"] for row in rows if "minutes" in row},
        protocol={
            "data": "MNIST, 50,000 training, 10,000 validation, 10,000 test images, dynamic binarisation",
            "estimate": f"importance sampling with q(z|x), S = {samples}, "
            f"{'all' if limit is None else limit} test images, once",
            "rows": {f"{row['name']} {row.get('minutes', '')}".strip(): row for row in rows},
        },
        seeds=arguments.seeds,
        config=config,
        seconds=time.monotonic() - began,
    )
    print(path)


if __name__ == "__main__":
    main()
