"""Commands that use a trained model: sample, reconstruct, convert, encode, interpolate, score."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..display import signed
from ..errors import ConfigError, LowerboundError
from .given import example_given, only_label, read_given
from .options import GivenOption, NumberOption, SamplesOption, how_many, number, one_of
from .task import Task, on_run
from .writing import formats_of, write_csv, write_npy, write_observations

if TYPE_CHECKING:
    from torch import Tensor

    from ..evaluation import Closeness
    from ..model import VAE


@on_run(writes=formats_of)
def sample(
    task: Task,
    n: Annotated[
        int | None,
        how_many("How many; 64, or for each class up to 8, if not given."),
    ] = None,
    given: GivenOption = None,
    draw: Annotated[
        bool | None,
        typer.Option(
            "--draw/--mean",
            help="Draw x from p(x|z), or give its mean; if not given, tables and counts are drawn.",
        ),
    ] = None,
    temperature: Annotated[
        list[float] | None,
        typer.Option(
            metavar="T",
            callback=number(0, 1000),
            help="Spread of z relative to the prior; 1, if not given, is the model. Repeat it for each level of z.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the file, and of a table the facts, as one JSON object.")
    ] = False,
) -> None:
    """Draw new examples: z from the prior, x from the decoder.

    A conditional model draws under what is --given. If its only label is not, the examples are spread evenly over the
    classes, in their order: a row of the picture each, if they come out even, and a column of a table.

    Of a table it is said how many of the rows are copies of training rows, and how many are closer to a training row
    than to one of the test split, of which a model that does not copy has half. That is no proof of privacy.
    """
    import torch

    model = task.model
    c: dict[str, Tensor] = read_given(model, given)
    layout: dict[str, Any] = {}
    task.check_count("--number", n or 64)
    if model.condition is not None and model.condition.observed is not None:
        raise ConfigError(f"the model was trained to complete examples; use `lowerbound complete {task.run}`")
    if found := only_label(model, c):
        name, label = found
        classes = torch.tensor(label.seen)
        n = n or len(classes) * max(1, min(8, 160 // len(classes)))
        c[name] = classes[torch.arange(n) * len(classes) // n]
        column = (
            (task.config["data"] or {}).get("options", {}).get("label_column") if name == "label" else None
        )
        layout = {"label": column or name, "labels": [label.classes[k] for k in c[name].tolist()]}
        if n % len(classes) == 0:
            layout["columns"] = n // len(classes)
            layout["row_labels"] = [label.classes[k] for k in classes.tolist()]
    for name, entry in model.condition.items() if model.condition is not None else ():
        if name not in c and entry.null is None:
            raise ConfigError(
                f"the condition {name!r} is missing, but the model has only seen it known; give it, like "
                f"{example_given(model, name)}, or train with --set condition.{name}.dropout=0.1"
            )
    spec = model.data_spec
    draw = (spec is not None and (spec.table is not None or spec.values == "count")) if draw is None else draw
    t = 1.0 if not temperature else temperature[0] if len(temperature) == 1 else temperature
    x = model.sample(n or 64, c or None, mean=not draw, temperature=t, seed=task.seed)
    write_observations(task.path, x, model.data_spec, **layout)
    facts = None if spec is None or spec.table is None else _closeness(task, x)
    if as_json:
        print(json.dumps({"file": str(task.path), "closeness": facts and facts.to_dict()}))
        return
    print(task.path)
    if facts is not None:
        print(facts, file=sys.stderr)


def _closeness(task: Task, x: Tensor) -> Closeness | None:
    """Return how close rows x of a table, as they are written, are to those of training; say if that is unknown."""
    import numpy as np

    from ..data.schema import decode, encode
    from ..evaluation import closeness

    table = task.model.data_spec.table
    try:
        train, test = (next(iter(part.batches(len(part))))[0] for part in (task.data.train, task.data.test))
    except LowerboundError as error:
        print(f"whether rows are copies is not known without the data of the run: {error}", file=sys.stderr)
        return None
    written = encode(table, decode(table, x.detach().cpu().numpy()), "samples")
    return closeness(written, np.asarray(train), np.asarray(test), table, seed=task.seed)


@on_run(source=True, split=True, writes=formats_of)
def reconstruct(task: Task, n: NumberOption = None) -> None:
    """Encode and decode examples, each under its own condition.

    A picture shows each original above its reconstruction; a table or array holds the reconstructions.
    """
    x, c = task.take(n)
    _write_pairs(task.path, x, task.model.reconstruct(x, c), task.model)
    print(task.path)


@on_run(source=True, split=True, writes=formats_of)
def convert(task: Task, given: GivenOption = None, n: NumberOption = None) -> None:
    """Class transfer: show what examples would be under another condition.

    Each is encoded under its own condition and decoded under what is --given; other entries stay its own. A picture
    shows each original above the result. Without --given each is decoded under every class of the model's only label:
    a row of the picture is the original and a column for each class; a table or array holds them one after the other.
    """
    import torch

    model, path = task.model, task.path
    wanted = read_given(model, given)
    found = None if wanted else only_label(model, wanted)
    if model.condition is None:
        raise ConfigError(
            "convert needs a conditional model, like that of `lowerbound train --condition label`"
        )
    if not wanted and not found:
        names = model.condition.beside
        if not names:
            raise ConfigError(
                f"the model was trained to complete examples; use `lowerbound complete {task.run}`"
            )
        raise ConfigError(f"say what to convert to, like {example_given(model, names[0])}")
    x, c = task.take(n)
    if found is None:
        _write_pairs(path, x, model.convert(x, c, {**(c or {}), **wanted}), model)
    else:
        name, label = found
        classes = label.seen
        task.check_count("--number", len(x) * (1 + len(classes)))
        versions = [model.convert(x, c, {**(c or {}), name: torch.tensor(k)}).cpu() for k in classes]
        words = [label.classes[k] for k in classes]
        if path.suffix == ".png":
            write_rows(path, [x.cpu(), *versions], model, ["data", *words])
        else:
            write_rows(path, versions, model, label=name, labels=words * len(x))
    print(path)


@on_run(source=True, split=True, writes=(".csv", ".npy"))
def encode(
    task: Task,
    draw: Annotated[bool, typer.Option("--draw", help="Draw from q(z|x) instead of its mean.")] = False,
) -> None:
    """Write the latent codes of a split, each example's under its own condition.

    One row per example, behind it its label if there is one: its name in a .csv, its number in a .npy. A .csv has of
    pictures the path in their folder too. What cannot be encoded has an empty row.
    """
    import torch

    task = replace(task, unseen="leave out")
    part, path = task.part, task.path
    codes = [
        task.model.encode(x, c, sample=draw, seed=task.draw_seed(i) if draw else None).flatten(1).cpu()
        for i, (x, c) in enumerate(part.batches(1024, seed=task.seed))
    ]
    rows, labels = torch.cat(codes), part.labels
    if path.suffix == ".csv":
        # The last one is for -1, a missing label.
        classes = [*(part.spec.classes or ()), ""]
        words = {} if labels is None else {"label": [classes[label] for label in labels.tolist()]}
        rows, words, _ = task.every(rows, words)
        write_csv(path, rows, [f"z{i}" for i in range(rows.shape[1])], words)
    else:
        rows = rows if labels is None else torch.cat([rows, labels.cpu().unsqueeze(1).to(rows)], 1)
        write_npy(path, task.every(rows, {})[0])
    print(path)


@on_run(source=True, split=True, writes=formats_of)
def interpolate(
    task: Task,
    n: Annotated[int | None, how_many("How many paths; 8 if there are examples for them.")] = None,
    steps: Annotated[
        int, typer.Option(metavar="N", callback=number(2), help="Points on each path, both ends included.")
    ] = 10,
    method: Annotated[
        str,
        typer.Option(metavar="NAME", callback=one_of("spherical", "linear"), help="spherical or linear."),
    ] = "spherical",
) -> None:
    """Decode the path between pairs of examples.

    Each row of the picture is one path; a table or array holds them one after the other. A conditional model encodes
    both ends, and decodes the path, under the condition of the start.
    """
    n = n or max(1, min(8, len(task.part) // 2))
    task.check_count("--steps", n * steps)
    x, c = task.take(2 * n)
    start = c and {name: value[:n] for name, value in c.items()}
    ways = task.model.interpolate(x[:n], x[n:], steps, method, c=start).transpose(0, 1)  # type: ignore[arg-type]
    write_observations(
        task.path, ways.reshape(n * steps, *ways.shape[2:]), task.model.data_spec, columns=steps
    )
    print(task.path)


@on_run(source=True, split=True, writes=(".csv", ".npy"))
def score(task: Task, samples: SamplesOption = 100) -> None:
    """Write log p(x) of every example, or log p(x|c) under its condition, to find anomalies.

    In nats, with the effective sample size of the estimate; low values are anomalies. A .csv has the number of the
    example in its source, counted from 0, of a picture its path in the folder, and of a table the column that is most
    unlike what it usually is, with the nats by which it is. What cannot be scored is listed, and has empty cells.
    """
    import torch

    from ..evaluation import nll, oddest

    task = replace(task, unseen="leave out")
    result = nll(task.model, task.part, samples, seed=task.seed)
    rows = torch.stack([result.per_example, result.ess], 1)
    words: dict[str, Any] = {}
    if task.path.suffix == ".csv":
        columns = None if task.model.data_spec is None else task.model.data_spec.columns
        odd = oddest(task.model, task.part, seed=task.seed) if columns else None
        names, every = ["row", "log_prob", "effective_samples"], [rows]
        if odd is not None and columns is not None:
            every, names = [rows, odd[1].unsqueeze(1)], [*names, "odd_nats"]
            words = {"odd_column": [columns[i] for i in odd[0].tolist()]}
        found, words, places = task.every(torch.cat(every, 1), words)
        write_csv(task.path, torch.cat([torch.tensor(places).unsqueeze(1).to(found), found], 1), names, words)
    else:
        found, _, places = task.every(rows, words)
        write_npy(task.path, found)
    print(task.path)
    given = [*([] if task.model.condition is None else ["c"]), *filter(None, [task.model.likelihood.given])]
    x = "|".join(["x", *([",".join(given)] if given else [])])
    value = signed(-result.value, 3, result.stderr if len(rows) > 1 else None)
    print(f"mean log p({x}) {value} nats", file=sys.stderr)
    lowest = int(result.per_example.argmin())
    least = task.numbers[lowest]
    at = places.index(least)
    named = "".join(f", {words[name][at]}" for name in ("file", "odd_column") if name in words)
    print(f"lowest: {signed(result.per_example[lowest].item())} nats, row {least}{named}", file=sys.stderr)


def _write_pairs(path: Path, x: Tensor, back: Tensor, model: VAE) -> None:
    """Write what became of examples, in a picture below each of them."""
    import torch

    if path.suffix == ".png":
        both = torch.cat([x.cpu(), back.cpu()])
        write_observations(path, both, model.data_spec, columns=len(x), row_labels=("data", "model"))
    else:
        write_observations(path, back, model.data_spec)


def write_rows(
    path: Path, versions: list[Tensor], model: VAE, headings: list[str] | None = None, **labels: Any
) -> None:
    """Write several versions of examples, each (N, *event), those of one example in a row or one after the other."""
    import torch

    x = torch.stack(versions, 1).flatten(0, 1)
    write_observations(
        path, x, model.data_spec, columns=len(versions), column_labels=headings or (), **labels
    )
