"""``lowerbound report``: one self-contained page about a run."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Optional

import typer

from .options import (
    OutOption,
    OverwriteOption,
    RootOption,
    RunArgument,
    SeedOption,
    SourceArgument,
    check_out,
)


def report(
    run: RunArgument,
    source: SourceArgument = None,
    root: RootOption = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    title: Annotated[
        Optional[str],  # noqa: UP045 (typer reads the annotation at run time)
        typer.Option(metavar="TEXT", help="Title of the page."),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a page about the run, report.html.

    It shows curves, samples, reconstructions, interpolations, the latent map and the numbers of the last evaluation,
    and needs no other file. A report in the run's folder is written anew.
    """
    from ..persistence import open_data
    from ..report import write_report
    from ..training import RunFolder
    from .options import load_run

    folder = RunFolder(run)
    model, config = load_run(run, "cpu")
    page = check_out(out or folder.path / "report.html", overwrite or out is None, (".html",))
    data = open_data(config, source, root=root)
    stored = folder.path / "evaluation.json"
    numbers = json.loads(stored.read_text(encoding="utf-8")) if stored.is_file() else None
    path = write_report(
        page,
        title=title or f"{'VAE' if model.condition is None else 'Conditional VAE'} on {data.spec.source}",
        model=model,
        data=data,
        history=folder.history(),
        numbers=numbers,
        config=config,
        seed=seed,
    )
    print(path)
    if numbers is None:
        print(f"no numbers yet: `lowerbound evaluate {run}`, then report again", file=sys.stderr)
