"""``lowerbound report``: one self-contained page about a run."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .options import OutOption, OverwriteOption
from .task import Task, on_run
from .writing import check_out


@on_run(source=True, device=False)
def report(
    task: Task,
    out: OutOption = None,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="Title of the page.")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a page about the run, report.html.

    It begins with a verdict and samples; then come the last evaluation, curves, reconstructions and the latent space.
    It needs no other file. A report in the run's folder is written again.
    """
    from ..errors import RunError
    from ..report import read_numbers, write_report
    from ..training import RunFolder

    folder = RunFolder(task.run)
    page = check_out(out or folder.path / "report.html", overwrite or out is None, (".html",))
    history = folder.history()
    try:
        numbers = read_numbers(folder.path / "evaluation.json")
    except RunError as error:
        print(f"warning: {error}", file=sys.stderr)
        numbers = None
    spec = task.data.spec
    path = write_report(
        page,
        title=title or f"{'VAE' if task.model.condition is None else 'Conditional VAE'} on {spec.source}",
        model=task.model,
        data=task.data,
        history=history,
        numbers=numbers,
        config=task.config,
        seed=task.seed,
    )
    print(path)
    if numbers is None:
        print(f"no numbers yet: `lowerbound evaluate {task.run}`, then report again", file=sys.stderr)
