"""``lowerbound evaluate``: the numbers of a run, with their protocol and error bars."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import DataError, listed
from .options import QuietOption, SamplesOption, number, one_of
from .task import Task, on_run

if TYPE_CHECKING:
    from ..data import Split


@on_run(source=True, split=True)
def evaluate(
    task: Task,
    samples: SamplesOption = 1000,
    limit: Annotated[
        int | None, typer.Option(metavar="N", callback=number(1), help="Use only the first N examples.")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            callback=one_of("fp32", "bf16"),
            help="Of the networks: fp32 or bf16; fp32 if not given.",
        ),
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

    part = _known(replace(task, unseen="leave out"))
    shown = False if quiet else None
    chosen: Any = {"seed": task.seed, "precision": precision, "progress": shown, "limit": limit}
    numbers = summary(task.model, part, samples, **chosen)
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
        if numbers["given"]:
            own = numbers["given"]
            print(
                f"given {own}: the density is p(x | {own}) at each example's own {own}, the sum of its counts"
            )
        print()
        print("\n".join(_table(numbers)))
    sys.stdout.flush()
    if task.source is None:
        _keep(numbers, task.run)
    for warning in numbers["warnings"]:
        print("\n" + textwrap.fill(f"warning: {warning}", _width()), file=sys.stderr)


def _known(task: Task) -> Split:
    """Return the task's examples but for those of classes that no training example had; how many is warned of."""
    from ..conditions import Label

    part = task.part
    for name, entry in task.model.condition.items() if task.model.condition is not None else ():
        if not isinstance(entry, Label) or not len(part):
            continue
        numbers = part.condition(name).cpu()
        known = (numbers < 0) | (entry.frequency.cpu()[numbers.clamp(min=0)] > 0)
        if not known.all():
            strange = [entry.classes[k] for k in numbers[~known].unique().tolist()]
            warnings.warn(
                f"{int((~known).sum())} of the {len(part)} examples of {part.spec.source} are left out: they have "
                f"{listed([*map(repr, strange)])} as {name!r}, which was never seen in training",
                stacklevel=2,
            )
            part = part.select(known.nonzero().flatten().numpy())
    if not len(part):
        raise DataError(f"no example of {part.spec.source} can be scored; see the warnings")
    return part


def _keep(numbers: dict[str, Any], run: Path) -> None:
    """Write the numbers into the run's folder; a folder that cannot be written is no reason to fail."""
    from ..errors import RunError
    from ..training import RunFolder, write_atomically

    path = RunFolder(run).path / "evaluation.json"
    text = json.dumps(numbers, indent=2) + "\n"
    try:
        write_atomically(path, lambda temporary: temporary.write_text(text))
    except RunError as error:
        print(f"warning: the numbers are not kept: {error}", file=sys.stderr)


def _width() -> int:
    return min(100, shutil.get_terminal_size().columns)


def _given(text: str, condition: bool, own: str | None) -> str:
    """Return a text whose formulas are given c, and x something of its own."""
    c = ["c"] if condition else []
    of_x = [*c, *([own] if own else [])]
    for formula, given in (("(x)", of_x), ("(z)", c), ("(x|z)", of_x), ("(z|x)", c)):
        if given:
            text = text.replace(formula, f"{formula[:-1]}{',' if '|' in formula else '|'}{','.join(given)})")
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
    given = bool(numbers["condition"]), numbers["given"]
    rows = [
        (_given(name, *given), key, digits, _given(meaning, *given)) for name, key, digits, meaning in rows
    ]
    shown = []
    for name, key, digits, meaning in rows:
        if numbers[key] is not None:
            error = numbers.get(f"{key}_stderr")
            spread = "" if error is None else f" ± {error:.{digits}f}"
            shown.append((name, f"{numbers[key]:.{digits}f}".replace("-", "−"), spread, meaning))
    names, values, spreads = (max(len(row[i]) for row in shown) for i in range(3))
    return [f"{n:{names}}  {v:>{values}}{s:{spreads}}  {meaning}" for n, v, s, meaning in shown]
