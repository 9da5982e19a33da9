"""``lowerbound evaluate``: the numbers of a run, with their protocol and error bars."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from typing import Annotated, Any, Optional, cast

import typer

from ..errors import ConfigError, suggest
from .options import (
    DeviceOption,
    QuietOption,
    RootOption,
    RunArgument,
    SamplesOption,
    SeedOption,
    SourceArgument,
    SplitOption,
    check_least,
)


def evaluate(
    run: RunArgument,
    source: SourceArgument = None,
    samples: SamplesOption = 1000,
    split: SplitOption = None,
    limit: Annotated[
        Optional[int],  # noqa: UP045 (typer reads the annotation at run time)
        typer.Option(metavar="N", help="Use only the first N examples."),
    ] = None,
    root: RootOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    precision: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NAME", help="Of the networks: fp32 or bf16; fp32 if not given."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Estimate log p(x), or log p(x|c) of a conditional model, with its standard error.

    By importance sampling; the evidence lower bound and its terms stand beside it. The numbers of the run's own data
    are also written to evaluation.json in its folder, where the report finds them.
    """
    from ..evaluation import summary
    from ..training import RunFolder, write_atomically
    from .options import load_run, load_split

    check_least(1, samples=samples, limit=limit)
    precisions = ("fp32", "bf16")
    if precision is not None and precision not in precisions:
        raise ConfigError(f"there is no precision {precision!r}; {suggest(precision, precisions)}")
    model, config = load_run(run, device)
    part = load_split(config, source, root, split)
    numbers = summary(model, part, samples, seed, cast(Any, precision), False if quiet else None, limit=limit)
    if source is None:
        text = json.dumps(numbers, indent=2) + "\n"
        write_atomically(
            RunFolder(run).path / "evaluation.json", lambda temporary: temporary.write_text(text)
        )
    if as_json:
        print(json.dumps(numbers))
    else:
        print(
            f"{part.spec.source}: {numbers['n']} {numbers['split']} examples, binarisation {numbers['binarize']}"
        )
        if numbers["condition"]:
            of = (
                f"; of {part.spec.dimensions} values {numbers['scored']:.4g} scored"
                if numbers["scored"]
                else ""
            )
            print(f"condition c: {', '.join(numbers['condition'])}{of}")
        print()
        print("\n".join(_table(numbers)))
    for warning in numbers["warnings"]:
        print("\n" + textwrap.fill(f"warning: {warning}", _width()), file=sys.stderr)


def _width() -> int:
    return min(100, shutil.get_terminal_size().columns)


def _given(text: str) -> str:
    """Return a text whose formulas are given c."""
    for formula, conditional in (
        ("(x)", "(x|c)"),
        ("(z)", "(z|c)"),
        ("(x|z)", "(x|z,c)"),
        ("(z|x)", "(z|x,c)"),
    ):
        text = text.replace(formula, conditional)
    return text


def _table(numbers: dict[str, Any]) -> list[str]:
    """Return the lines of the table: a quantity, its value with the standard error, and what it is."""
    samples, latent = numbers["samples"], numbers["latent"]
    rows = [
        ("−log p(x)", "nll", 3, f"nats; {samples} importance samples"),
        ("bits per dimension", "bits_per_dim", 4, "the same in bits, per value of x"),
        ("ELBO", "elbo", 3, "nats, lower bound on log p(x)"),
        ("  reconstruction", "reconstruction", 3, "nats, E[log p(x|z)]"),
        ("  KL", "kl", 3, "nats, KL(q(z|x) ‖ p(z))"),
        ("classification error", "error", 4, "share of the examples that q(y|x) gets wrong"),
        ("active units", "active_units", 0, f"of {latent} latent dimensions"),
        ("effective samples", "ess_median", 1, f"of {samples}, median over the examples"),
        ("k-hat above 0.7", "khat_share_bad", 3, "share of examples not to be trusted"),
        ("naive −log p(x)", "naive_nll", 3, "nats, z from the prior; to compare only"),
    ]
    if numbers["condition"]:
        rows = [(_given(name), key, digits, _given(meaning)) for name, key, digits, meaning in rows]
    shown = []
    for name, key, digits, meaning in rows:
        if numbers[key] is not None:
            error = numbers.get(f"{key}_stderr")
            spread = "" if error is None else f" ± {error:.{digits}f}"
            shown.append((name, f"{numbers[key]:.{digits}f}".replace("-", "−"), spread, meaning))
    names, values, spreads = (max(len(row[i]) for row in shown) for i in range(3))
    return [f"{n:{names}}  {v:>{values}}{s:{spreads}}  {meaning}" for n, v, s, meaning in shown]
