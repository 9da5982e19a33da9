"""Commands that use a trained model: sample, reconstruct, convert, complete, encode, interpolate, score."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from ..errors import ConfigError, suggest
from .options import (
    DeviceOption,
    GivenOption,
    NumberOption,
    OutOption,
    OverwriteOption,
    RootOption,
    RunArgument,
    SamplesOption,
    SeedOption,
    SourceArgument,
    SplitOption,
    check_least,
    check_out,
    example_given,
    formats_of,
    load_run,
    load_split,
    mask_rule,
    only_label,
    read_given,
    take,
    write_csv,
    write_npy,
    write_observations,
)

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Split
    from ..model import VAE


def sample(
    run: RunArgument,
    n: Annotated[
        Optional[int],  # noqa: UP045 (typer reads the annotation at run time)
        typer.Option(
            "-n", "--number", metavar="N", help="How many; 64, or for each class up to 8, if not given."
        ),
    ] = None,
    given: GivenOption = None,
    draw: Annotated[
        bool, typer.Option("--draw", help="Draw x as well, instead of the mean of p(x|z).")
    ] = False,
    temperature: Annotated[
        float, typer.Option(metavar="T", help="Spread of z relative to the prior; 1 is the model.")
    ] = 1.0,
    seed: SeedOption = 0,
    out: OutOption = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
) -> None:
    """Draw new examples: z from the prior, x from the decoder.

    A conditional model draws under what is --given. If its only label is not, the examples are spread evenly over the
    classes, in their order: a row of the picture each, if they come out even, and the last column of a table.
    """
    import torch

    check_least(1, number=n)
    check_least(0, temperature=temperature)
    model, _ = load_run(run, device)
    path = _target(run, "sample", out, overwrite, formats_of(model.data_spec))
    c: dict[str, Tensor] = read_given(model, given)
    layout: dict[str, Any] = {}
    if model.condition is not None and model.condition.observed is not None:
        raise ConfigError(f"the model was trained to complete examples; use `lowerbound complete {run}`")
    if found := only_label(model, c):
        name, label = found
        classes = torch.tensor(label.seen)
        n = n or len(classes) * max(1, min(8, 160 // len(classes)))
        c[name] = classes[torch.arange(n) * len(classes) // n]
        layout = {"label": name, "labels": [label.classes[k] for k in c[name].tolist()]}
        if n % len(classes) == 0:
            layout["columns"] = n // len(classes)
            layout["row_labels"] = [label.classes[k] for k in classes.tolist()]
    for name, entry in model.condition.items() if model.condition is not None else ():
        if name not in c and entry.null is None:
            raise ConfigError(
                f"the condition {name!r} is missing, but the model has only seen it known; give it, like "
                f"{example_given(model, name)}, or train with --set condition.{name}.dropout=0.1"
            )
    x = model.sample(n or 64, c or None, mean=not draw, temperature=temperature, seed=seed)
    write_observations(path, x, model.data_spec, **layout)
    print(path)


def reconstruct(
    run: RunArgument,
    source: SourceArgument = None,
    n: NumberOption = None,
    split: SplitOption = None,
    seed: SeedOption = 0,
    root: RootOption = None,
    out: OutOption = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
) -> None:
    """Encode and decode examples, each under its own condition.

    A picture shows each original above its reconstruction; a table or array holds the reconstructions.
    """
    check_least(1, number=n)
    model, config = load_run(run, device)
    path = _target(run, "reconstruct", out, overwrite, formats_of(model.data_spec))
    x, c = take(load_split(config, source, root, split), n, seed)
    _write_pairs(path, x, model.reconstruct(x, c), model)
    print(path)


def convert(
    run: RunArgument,
    source: SourceArgument = None,
    given: GivenOption = None,
    n: NumberOption = None,
    split: SplitOption = None,
    seed: SeedOption = 0,
    root: RootOption = None,
    out: OutOption = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
) -> None:
    """Show what examples would be under another condition.

    Each is encoded under its own condition and decoded under what is --given; other entries stay its own. A picture
    shows each original above the result. Without --given each is decoded under every class of the model's only label:
    a row of the picture is the original and a column for each class; a table or array holds them one after the other.
    """
    import torch

    check_least(1, number=n)
    model, config = load_run(run, device)
    path = _target(run, "convert", out, overwrite, formats_of(model.data_spec))
    wanted = read_given(model, given)
    found = None if wanted else only_label(model, wanted)
    if model.condition is None:
        raise ConfigError(
            "convert needs a conditional model, like that of `lowerbound train --condition label`"
        )
    if not wanted and not found:
        names = model.condition.beside
        if not names:
            raise ConfigError(f"the model was trained to complete examples; use `lowerbound complete {run}`")
        raise ConfigError(f"say what to convert to, like {example_given(model, names[0])}")
    x, c = take(load_split(config, source, root, split), n, seed)
    if found is None:
        _write_pairs(path, x, model.convert(x, c, {**(c or {}), **wanted}), model)
    else:
        name, label = found
        classes = label.seen
        versions = [model.convert(x, c, {**(c or {}), name: torch.tensor(k)}).cpu() for k in classes]
        words = [label.classes[k] for k in classes]
        if path.suffix == ".png":
            _write_rows(path, [x.cpu(), *versions], model, ["data", *words])
        else:
            _write_rows(path, versions, model, label=name, labels=words * len(x))
    print(path)


def complete(
    run: RunArgument,
    source: SourceArgument = None,
    mask: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="RULE",
            help="What is observed: quadrant, half, three-quadrants, random, or a table's columns like age,height; "
            "if not given, what the model was trained with, or else half of images and random values of tables.",
        ),
    ] = None,
    n: NumberOption = None,
    draws: Annotated[int, typer.Option(metavar="D", help="Completions of each example.")] = 4,
    mean: Annotated[
        bool, typer.Option("--mean", help="Give the mean of p(x|z) at the missing places, not a draw.")
    ] = False,
    method: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="NAME",
            help="importance or gibbs, importance if not given; a model trained with --observed needs none.",
        ),
    ] = None,
    samples: SamplesOption = 1000,
    split: SplitOption = None,
    seed: SeedOption = 0,
    root: RootOption = None,
    out: OutOption = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
) -> None:
    """Draw the missing part of examples, given the observed part.

    A row of the picture is an example, its observed part with the missing one in grey, and its completions; a table
    or array holds the completions one after the other. Their quality is told on standard error.
    """
    import torch

    check_least(1, number=n, draws=draws, samples=samples)
    model, config = load_run(run, device)
    path = _target(run, "complete", out, overwrite, formats_of(model.data_spec))
    part = load_split(config, source, root, split)
    x, c = take(part, n, seed)
    observed = _observed(part, mask, len(x), seed).to(x.device)
    name = None if model.condition is None else model.condition.observed
    c = {k: v for k, v in (c or {}).items() if k != name} or None
    done = model.complete(x, observed, draws, c=c, mean=mean, method=method, samples=samples, seed=seed)
    if path.suffix == ".png":
        from ..report import value_range

        grey = x.new_full((), sum(value_range(x, part.spec)) / 2)
        _write_rows(
            path, [x, torch.where(observed > 0, x, grey), *done.x.cpu()], model, ["data", "observed", "draws"]
        )
    else:
        _write_rows(path, list(done.x), model)
    print(path)
    if done.ess is not None:
        print(f"effective sample size {done.ess.median():.1f} of {done.samples}, median", file=sys.stderr)
    if done.acceptance is not None:
        print(f"accepted {done.acceptance.median():.1%} of {done.samples} moves, median", file=sys.stderr)
    if done.warning:
        print(f"warning: {done.warning}", file=sys.stderr)


def _observed(part: Split, rule: str | None, count: int, seed: int) -> Tensor:
    """Return masks (count, *event) by the rule that was named, or the usual one."""
    import torch

    from ..data.masks import check_rule, draw_masks

    spec = part.spec
    usual = part.mask_rule or ("half" if spec.kind == "image" else "random")
    chosen = usual if rule is None else mask_rule(rule)
    chosen = tuple(chosen) if isinstance(chosen, list) else chosen
    try:
        check_rule(chosen, spec.event_shape, spec.columns)
    except ConfigError as error:
        raise ConfigError(f"--mask {rule}: {error}") from None
    generator = torch.Generator().manual_seed(~seed)  # x is drawn from the seed itself
    return draw_masks(chosen, count, spec.event_shape, spec.columns, generator=generator)


def encode(
    run: RunArgument,
    source: SourceArgument = None,
    split: SplitOption = None,
    draw: Annotated[bool, typer.Option("--draw", help="Draw from q(z|x) instead of its mean.")] = False,
    seed: SeedOption = 0,
    root: RootOption = None,
    out: OutOption = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
) -> None:
    """Write the latent codes of a split, each example's under its own condition.

    One row per example, with its label as last column if there is one: its name in a .csv, its number in a .npy.
    """
    import torch

    model, config = load_run(run, device)
    path = _target(run, "encode", out, overwrite, (".csv", ".npy"))
    part = load_split(config, source, root, split)
    codes = [
        model.encode(x, c, sample=draw, seed=seed + i if draw else None).flatten(1).cpu()
        for i, (x, c) in enumerate(part.batches(1024, seed=seed))
    ]
    rows, labels = torch.cat(codes), part.labels
    if path.suffix == ".csv":
        # The last one is for -1, a missing label.
        classes = [*(part.spec.classes or ()), ""]
        words = None if labels is None else [classes[label] for label in labels.tolist()]
        write_csv(path, rows, [f"z{i}" for i in range(rows.shape[1])], words)
    else:
        write_npy(path, rows if labels is None else torch.cat([rows, labels.cpu().unsqueeze(1).to(rows)], 1))
    print(path)


def interpolate(
    run: RunArgument,
    source: SourceArgument = None,
    n: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("-n", "--number", metavar="N", help="How many ways; 8 if there are examples for them."),
    ] = None,
    steps: Annotated[int, typer.Option(metavar="N", help="Points on each way, both ends included.")] = 10,
    method: Annotated[str, typer.Option(metavar="NAME", help="spherical or linear.")] = "spherical",
    split: SplitOption = None,
    seed: SeedOption = 0,
    root: RootOption = None,
    out: OutOption = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
) -> None:
    """Decode the way between pairs of examples.

    Each row of the picture is one way; a table or array holds them one after the other. A conditional model encodes
    both ends, and decodes the way, under the condition of the start.
    """
    from typing import cast

    check_least(1, number=n)
    check_least(2, steps=steps)
    methods = ("spherical", "linear")
    if method not in methods:
        raise ConfigError(f"there is no method {method!r}; {suggest(method, methods)}")
    model, config = load_run(run, device)
    path = _target(run, "interpolate", out, overwrite, formats_of(model.data_spec))
    part = load_split(config, source, root, split)
    n = n or max(1, min(8, len(part) // 2))
    x, c = take(part, 2 * n, seed)
    start = c and {name: value[:n] for name, value in c.items()}
    ways = model.interpolate(x[:n], x[n:], steps, cast(Any, method), c=start).transpose(0, 1)
    write_observations(path, ways.reshape(n * steps, *ways.shape[2:]), model.data_spec, columns=steps)
    print(path)


def score(
    run: RunArgument,
    source: SourceArgument = None,
    samples: SamplesOption = 100,
    split: SplitOption = None,
    seed: SeedOption = 0,
    root: RootOption = None,
    out: OutOption = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
) -> None:
    """Write log p(x) of every example, or log p(x|c) under its condition, to find anomalies.

    In nats, with the effective sample size of the estimate; low values are anomalies.
    """
    import torch

    from ..evaluation import nll

    check_least(1, samples=samples)
    model, config = load_run(run, device)
    path = _target(run, "score", out, overwrite, (".csv", ".npy"))
    result = nll(model, load_split(config, source, root, split), samples, seed=seed)
    rows = torch.stack([result.per_example, result.ess], 1)
    if path.suffix == ".csv":
        write_csv(path, rows, ["log_prob", "effective_samples"])
    else:
        write_npy(path, rows)
    print(path)
    x = "x" if model.condition is None else "x|c"
    print(f"mean log p({x}) {-result.value:.3f} ± {result.stderr:.3f} nats", file=sys.stderr)


def _target(run: Path, command: str, out: Path | None, overwrite: bool, formats: tuple[str, ...]) -> Path:
    """Return the file to write: --out, or the command's own name in the run's folder."""
    return check_out(out or run / f"{command}{formats[0]}", overwrite, formats)


def _write_pairs(path: Path, x: Tensor, back: Tensor, model: VAE) -> None:
    """Write what became of examples, in a picture below each of them."""
    import torch

    if path.suffix == ".png":
        both = torch.cat([x.cpu(), back.cpu()])
        write_observations(path, both, model.data_spec, columns=len(x), row_labels=("data", "model"))
    else:
        write_observations(path, back, model.data_spec)


def _write_rows(
    path: Path, versions: list[Tensor], model: VAE, headings: list[str] | None = None, **labels: Any
) -> None:
    """Write several versions of examples, each (N, *event), those of one example in a row or one after the other."""
    import torch

    x = torch.stack(versions, 1).flatten(0, 1)
    write_observations(
        path, x, model.data_spec, columns=len(versions), column_labels=headings or (), **labels
    )
