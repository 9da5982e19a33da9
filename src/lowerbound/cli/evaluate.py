"""``lowerbound evaluate``: the numbers of a run, with their protocol and error bars."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, Optional, cast

import typer

from .options import (
    DeviceOption,
    QuietOption,
    RootOption,
    RunArgument,
    SeedOption,
    SourceArgument,
    SplitOption,
)


def evaluate(
    run: RunArgument,
    source: SourceArgument = None,
    samples: Annotated[int, typer.Option("--samples", "-k", help="Importance samples per example.")] = 1000,
    split: SplitOption = "test",
    limit: Annotated[Optional[int], typer.Option(help="Use only the first so many examples.")] = None,  # noqa: UP045
    root: RootOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    precision: Annotated[
        str | None, typer.Option(help="Of the networks: fp32 or bf16; the run's own if not given.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Estimate log p(x) by importance sampling, with its standard error, and the bound and its terms."""
    from ..evaluation import summary
    from ..training import RunFolder, write_atomically
    from .options import load_run, load_split

    model, config = load_run(run, device)
    part = load_split(config, source, root, split)
    part = part.take(limit) if limit is not None else part
    numbers = summary(
        model, part, samples=samples, seed=seed, precision=cast(Any, precision), progress=not quiet
    )
    text = json.dumps(numbers, indent=2)
    write_atomically(
        RunFolder(run).path / "evaluation.json", lambda temporary: temporary.write_text(text + "\n")
    )
    if as_json:
        print(json.dumps(numbers))
    else:
        _print_table(numbers)


def _print_table(numbers: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"{numbers['n']} {numbers['split']} examples, binarisation {numbers['binarize']}", min_width=60
    )
    table.add_column("quantity")
    table.add_column("value", justify="right")
    table.add_column("how")

    def row(name: str, key: str, how: str, error: str | None = None, digits: int = 3) -> None:
        value = numbers.get(key)
        if value is not None:
            spread = f" ± {numbers[error]:.{digits}f}" if error and numbers.get(error) is not None else ""
            table.add_row(
                name, f"{value:.{digits}f}{spread}" if isinstance(value, float) else f"{value}{spread}", how
            )

    row("−log p(x)", "nll", f"nats, {numbers['samples']} importance samples, ± standard error", "nll_stderr")
    row("bits per dimension", "bits_per_dim", "the same in bits, over the dimensions")
    row("ELBO", "elbo", "nats")
    row("  reconstruction", "reconstruction", "nats, E[log p(x|z)]")
    row("  KL", "kl", "nats, KL(q(z|x) ‖ p(z))")
    row("active units", "active_units", f"of {numbers.get('latent', '?')} latent dimensions")
    row("effective samples", "ess_median", f"median, of {numbers['samples']}", digits=1)
    row("k-hat > 0.7", "khat_share_bad", "share of examples whose estimate is not to be trusted")
    row("naive −log p(x)", "naive_nll", "nats, z from the prior: for comparison only", "naive_nll_stderr")
    Console().print(table)
    for warning in numbers.get("warnings", []):
        print(f"warning: {warning}", file=sys.stderr)
