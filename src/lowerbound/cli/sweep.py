"""``lowerbound sweep``: many runs over choices, ending in the table of ``compare``."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ConfigError, LowerboundError, RunError
from ..presets import preset as preset_overrides
from .compare import show
from .options import QuietOption, RootOption, SamplesOption, number
from .train import from_file, laid_over

if TYPE_CHECKING:
    from ..sweep import Sweep


def sweep(
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="What `lowerbound train` takes.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A TOML or JSON file of what all runs share, as `train --config` takes it."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PART.OPTION=VALUES",
            help="What to try: a list like 1,2,4, or a range like 1e-4..1e-2; one value is for all runs. May be "
            "repeated.",
        ),
    ] = None,
    preset: Annotated[
        str, typer.Option(metavar="NAME", help="A name from `lowerbound list presets`.")
    ] = "default",
    epochs: Annotated[
        float | None, typer.Option(metavar="N", help="Length of each run in passes over the data.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(metavar="M", help="Length of each run by the clock instead.")
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            callback=number(1),
            help="How many runs; of lists all combinations, of ranges 20, if not given.",
        ),
    ] = None,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune/--no-prune",
            help="End a run early whose validation bound stays below the median of the others at its epoch.",
        ),
    ] = True,
    samples: SamplesOption = 100,
    root: RootOption = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The sweep's folder; sweeps/SOURCE if not given.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="auto, cpu, cuda, ...; auto if not given.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the sweep in --out; --trials may be more.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Train many runs over lists and ranges of options, and compare the best on the validation split.

    Lists give all their combinations; with a range Optuna proposes each trial from those before it. A trial is a
    run's folder in --out. With several --set training.seed=0,1,2 the table has means over them, with their standard
    errors, and no trial is ended early. The test split is not looked at: evaluate your choice on it, once.
    """
    from ..sweep import Sweep, parse_axis

    if resume:
        if out is None or source or set_ or config:
            raise ConfigError(
                "--resume takes everything but --trials from the sweep in --out; name that alone"
            )
        found = Sweep.opened(out, trials)
    else:
        if source is None:
            raise ConfigError("name the data to train on, like `lowerbound sweep digits --set latent=2,4,8`")
        folder = out or Path("sweeps") / (Path(source).stem or "sweep")
        if (folder / "sweep.json").exists() or (folder.is_dir() and any(folder.iterdir())):
            raise RunError(
                f"{folder} is there already; choose another folder with --out, or continue with --resume"
            )
        own = {"epochs": epochs, "minutes": minutes, "device": device}
        base = {"training": {k: v for k, v in own.items() if v is not None}}
        base |= {"data": {"root": str(root)}} if root else {}
        layers = [("--preset", preset_overrides(preset)), *from_file(config), ("the command line", base)]
        found = Sweep(folder, source, dict(map(parse_axis, set_ or [])), laid_over(layers), trials)

    def tell(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr, flush=True)

    tell(f"{found.wanted} runs over {', '.join(found.space)}; writing to {found.folder}")
    try:
        # Elsewhere than on a terminal a line for each trial is enough.
        done = found.run(progress=not quiet and sys.stderr.isatty(), prune=prune, tell=tell)
    except KeyboardInterrupt:
        done = False
    try:
        table = found.compared(samples) if done else None
    except LowerboundError as error:
        table = None
        print(f"warning: {error}", file=sys.stderr)
    if table is not None:
        show(table)
    if not quiet:
        print("\n".join(_outcome(found, done)), file=sys.stderr)
    if not done:
        sys.exit(130)


def _outcome(found: Sweep, done: bool) -> list[str]:
    """Return how many trials have ended in what way, and what to do next."""
    counts = Counter(trial.state for trial in found.trials)
    settings = found.settings()
    lines = ["", ", ".join(f"{counts[state]} {state}" for state in sorted(counts))] if counts else []
    if len(found.shown()) < len(settings) and done:
        lines[-1] += f"; the table has the {len(found.shown())} best settings by their validation bounds"
    if not done:
        return [*lines, f"continue:  lowerbound sweep --resume --out {found.folder}"]
    if not settings:
        why = next((trial.why for trial in found.trials if trial.why), "all were pruned")
        return [*lines, f"no trial has finished: {why}"]
    best = " ".join(str(found.folder / trial.name) for trial in settings[0])
    return [*lines, f"test it, once:  lowerbound {'compare' if len(settings[0]) > 1 else 'evaluate'} {best}"]
