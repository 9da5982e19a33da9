"""``lowerbound compare``: runs side by side, on the same examples."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import ConfigError
from .options import (
    ChangedDataOption,
    DeviceOption,
    OverwriteOption,
    QuietOption,
    RootOption,
    SamplesOption,
    SeedOption,
    SplitOption,
    number,
    one_of,
)
from .writing import check_out

_FORMS = ("csv", "latex", "markdown", "json")


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of two runs or more.")],
    source: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Other data than the runs' own, for all of them.")
    ] = None,
    samples: SamplesOption = 200,
    proposal: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            callback=one_of("posterior", "laplace", "mixture", "prior"),
            help="Where the samples come from: posterior, q(z|x); laplace or mixture, tighter; prior, naive.",
        ),
    ] = "posterior",
    limit: Annotated[
        int | None, typer.Option(metavar="N", callback=number(1), help="Use only the first N examples.")
    ] = None,
    split: SplitOption = None,
    seed: SeedOption = 0,
    csv: Annotated[bool, typer.Option("--csv", help="Print a .csv with all numbers.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print a table in LaTeX (booktabs).")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a table in Markdown.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output.")
    ] = False,
    each: Annotated[
        bool, typer.Option("--each", help="A row for each run, also where only the seed differs.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the values with their intervals into a .png.")
    ] = None,
    root: RootOption = None,
    changed_data: ChangedDataOption = False,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare runs on the same examples: log p(x), the paired difference to the best one, and their configurations.

    Runs that differ in the seed alone are one row: their mean, with its standard error over the seeds.

    What may not stand in one column is refused: A bound next to an estimate, other binarisations, proposals, units,
    or test examples.
    """
    forms = [form for form, asked in zip(_FORMS, (csv, latex, markdown, as_json), strict=True) if asked]
    if len(forms) > 1:
        raise ConfigError(f"--{forms[0]} and --{forms[1]} are two forms of one table; give one of them")
    if out is not None:
        check_out(out, overwrite, (".png",))

    from ..comparison import compare
    from ..training.devices import choose_device

    given: Any = {"proposal": proposal, "split": split, "changed_data": changed_data, "root": root}
    found = compare(
        runs,
        source,
        samples=samples,
        limit=limit,
        seed=seed,
        device=str(choose_device(device)),
        progress=not quiet,
        **given,
    )
    found = found if each else found.over_seeds()
    show(found, forms[0] if forms else None)
    if out is not None:
        from ..training import write_atomically

        picture = found.plot()
        write_atomically(out, lambda temporary: temporary.write_bytes(picture))
        print(out, file=sys.stderr)


def show(found: Any, form: str | None = None) -> None:
    """Print a comparison in one of its forms, as text if none is named."""
    if form == "json":
        print(json.dumps(found.to_dict()))
    elif form is None:
        print(found)
    else:
        print(getattr(found, f"to_{form}")(), end="")
    sys.stdout.flush()
