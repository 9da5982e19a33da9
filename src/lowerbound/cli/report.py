"""``lowerbound report``: one self-contained page about a run."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Optional

import typer

from .options import OutOption, RootOption, RunArgument, SeedOption, SourceArgument


def report(
    run: RunArgument,
    source: SourceArgument = None,
    root: RootOption = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    title: Annotated[Optional[str], typer.Option(help="Title of the page.")] = None,  # noqa: UP045
) -> None:
    """Write report.html: curves, samples, reconstructions, interpolations, the latent map and the numbers."""
    from ..report import write_report
    from ..training import RunFolder
    from .options import load_data, load_run

    folder = RunFolder(run)
    model, config = load_run(run, "cpu")
    data = load_data(config, source, root)
    stored = folder.path / "evaluation.json"
    numbers = json.loads(stored.read_text()) if stored.is_file() else None
    path = write_report(
        out or folder.path / "report.html",
        title=title or f"VAE on {config['data']['source'] if config.get('data') else 'data'}",
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
