"""Commands that use a trained model: sample, reconstruct, encode, interpolate, score."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from ..errors import ConfigError, suggest
from .options import (
    DeviceOption,
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
    formats_of,
    load_run,
    load_split,
    take,
    write_csv,
    write_npy,
    write_observations,
)


def sample(
    run: RunArgument,
    n: Annotated[int, typer.Option("-n", "--number", metavar="N", help="How many.")] = 64,
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
    """Draw new examples: z from the prior, x from the decoder."""
    check_least(1, number=n)
    check_least(0, temperature=temperature)
    model, _ = load_run(run, device)
    path = _target(run, "sample", out, overwrite, formats_of(model.data_spec))
    x = model.sample(n, mean=not draw, temperature=temperature, seed=seed)
    write_observations(path, x, model.data_spec)
    print(path)


def reconstruct(
    run: RunArgument,
    source: SourceArgument = None,
    n: Annotated[
        Optional[int],  # noqa: UP045 (typer reads the annotation at run time)
        typer.Option("-n", "--number", metavar="N", help="How many; 16 if there are as many."),
    ] = None,
    split: SplitOption = None,
    seed: SeedOption = 0,
    root: RootOption = None,
    out: OutOption = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
) -> None:
    """Encode and decode examples.

    A picture shows each original above its reconstruction; a table or array holds the reconstructions.
    """
    import torch

    check_least(1, number=n)
    model, config = load_run(run, device)
    path = _target(run, "reconstruct", out, overwrite, formats_of(model.data_spec))
    part = load_split(config, source, root, split)
    x = take(part, n or min(16, len(part)), seed)
    back = model.reconstruct(x).cpu()
    if path.suffix == ".png":
        write_observations(path, torch.cat([x.cpu(), back]), model.data_spec, columns=len(x))
    else:
        write_observations(path, back, model.data_spec)
    print(path)


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
    """Write the latent codes of a split.

    One row per example, with its label as last column if there is one: its name in a .csv, its number in a .npy.
    """
    import torch

    model, config = load_run(run, device)
    path = _target(run, "encode", out, overwrite, (".csv", ".npy"))
    part = load_split(config, source, root, split)
    codes = [
        model.encode(x, sample=draw, seed=seed + i if draw else None).flatten(1).cpu()
        for i, (x, _) in enumerate(part.batches(1024, seed=seed))
    ]
    rows, labels = torch.cat(codes), part.labels
    if path.suffix == ".csv":
        classes = part.spec.classes
        words = None if labels is None or classes is None else [classes[label] for label in labels.tolist()]
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

    Each row of the picture is one way; a table or array holds them one after the other.
    """
    from typing import Any, cast

    check_least(1, number=n)
    check_least(2, steps=steps)
    methods = ("spherical", "linear")
    if method not in methods:
        raise ConfigError(f"there is no method {method!r}; {suggest(method, methods)}")
    model, config = load_run(run, device)
    path = _target(run, "interpolate", out, overwrite, formats_of(model.data_spec))
    part = load_split(config, source, root, split)
    n = n or max(1, min(8, len(part) // 2))
    x = take(part, 2 * n, seed)
    ways = model.interpolate(x[:n], x[n:], steps, cast(Any, method)).transpose(0, 1)
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
    """Write log p(x) of every example, to find anomalies.

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
    print(f"mean log p(x) {-result.value:.3f} ± {result.stderr:.3f} nats", file=sys.stderr)


def _target(run: Path, command: str, out: Path | None, overwrite: bool, formats: tuple[str, ...]) -> Path:
    """Return the file to write: --out, or the command's own name in the run's folder."""
    return check_out(out or run / f"{command}{formats[0]}", overwrite, formats)
