"""Commands that use a trained model: sample, reconstruct, encode, interpolate, score."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from .options import (
    DeviceOption,
    OutOption,
    OverwriteOption,
    RootOption,
    RunArgument,
    SeedOption,
    SourceArgument,
    SplitOption,
    check_out,
    formats_of,
    load_run,
    load_split,
    take,
    write_observations,
    write_rows,
)

CountOption = Annotated[int, typer.Option("-n", "--number", help="How many.")]


def sample(
    run: RunArgument,
    n: CountOption = 64,
    draw: Annotated[
        bool, typer.Option("--draw", help="Draw x as well, instead of the mean of p(x|z).")
    ] = False,
    temperature: Annotated[
        float, typer.Option(help="Spread of z relative to the prior; 1 is the model.")
    ] = 1.0,
    seed: SeedOption = 0,
    out: OutOption = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
) -> None:
    """Draw new examples: z from the prior, x from the decoder."""
    model, _ = load_run(run, device)
    path = _target(run, "sample", out, overwrite, formats_of(model.data_spec))
    x = model.sample(n, mean=not draw, temperature=temperature, seed=seed)
    write_observations(path, x, model.data_spec)
    print(path)


def reconstruct(
    run: RunArgument,
    source: SourceArgument = None,
    n: CountOption = 16,
    split: SplitOption = "test",
    seed: SeedOption = 0,
    root: RootOption = None,
    out: OutOption = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
) -> None:
    """Encode and decode examples; a picture shows each original above its reconstruction."""
    import torch

    model, config = load_run(run, device)
    path = _target(run, "reconstruct", out, overwrite, formats_of(model.data_spec))
    x, _ = take(load_split(config, source, root, split), n, seed)
    back = model.reconstruct(x).cpu()
    if path.suffix == ".png":
        write_observations(path, torch.cat([x.cpu(), back]), model.data_spec, columns=n)
    else:
        write_observations(path, back, model.data_spec)
    print(path)


def encode(
    run: RunArgument,
    source: SourceArgument = None,
    split: SplitOption = "test",
    draw: Annotated[bool, typer.Option("--draw", help="Draw from q(z|x) instead of its mean.")] = False,
    seed: SeedOption = 0,
    root: RootOption = None,
    out: OutOption = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
) -> None:
    """Write the latent codes of a split, one row per example, with the label as last column if there is one."""
    import torch

    model, config = load_run(run, device)
    path = _target(run, "encode", out, overwrite, (".csv", ".npy"))
    part = load_split(config, source, root, split)
    codes = [
        model.encode(x, sample=draw, seed=seed + i if draw else None).flatten(1).cpu()
        for i, (x, _) in enumerate(part.batches(1024, seed=seed))
    ]
    rows = torch.cat(codes)
    names = [f"z{i}" for i in range(rows.shape[1])]
    if part.labels is not None:
        rows, names = torch.cat([rows, part.labels.cpu().unsqueeze(1).to(rows.dtype)], 1), [*names, "label"]
    write_rows(path, rows, names)
    print(path)


def interpolate(
    run: RunArgument,
    source: SourceArgument = None,
    n: CountOption = 8,
    steps: Annotated[int, typer.Option(help="Points on each way, both ends included.")] = 10,
    method: Annotated[str, typer.Option(help="spherical or linear.")] = "spherical",
    split: SplitOption = "test",
    seed: SeedOption = 0,
    root: RootOption = None,
    out: OutOption = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
) -> None:
    """Decode the way between pairs of examples; each row of the picture is one way."""
    from typing import Any, cast

    model, config = load_run(run, device)
    path = _target(run, "interpolate", out, overwrite, formats_of(model.data_spec))
    x, _ = take(load_split(config, source, root, split), 2 * n, seed)
    ways = model.interpolate(x[:n], x[n:], steps, cast(Any, method)).transpose(0, 1)
    write_observations(path, ways.reshape(n * steps, *ways.shape[2:]), model.data_spec, columns=steps)
    print(path)


def score(
    run: RunArgument,
    source: SourceArgument = None,
    samples: Annotated[int, typer.Option("--samples", "-k", help="Importance samples per example.")] = 100,
    split: SplitOption = "test",
    seed: SeedOption = 0,
    root: RootOption = None,
    out: OutOption = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
) -> None:
    """Write log p(x) of every example in nats, with its effective sample size: low values are anomalies."""
    import torch

    from ..evaluation import nll

    model, config = load_run(run, device)
    path = _target(run, "score", out, overwrite, (".csv", ".npy"))
    result = nll(model, load_split(config, source, root, split), samples, seed=seed)
    write_rows(path, torch.stack([result.per_example, result.ess], 1), ["log_prob", "effective_samples"])
    print(path)
    print(f"mean log p(x) {-result.value:.3f} ± {result.stderr:.3f} nats", file=sys.stderr)


def _target(run: Path, command: str, out: Optional[Path], overwrite: bool, formats: tuple[str, ...]) -> Path:  # noqa: UP045
    """Return the file to write: --out, or the command's own name in the run's folder."""
    return check_out(out or run / f"{command}{formats[0]}", overwrite, formats)
