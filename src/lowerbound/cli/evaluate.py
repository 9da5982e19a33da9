"""``lowerbound evaluate``: the numbers of a run, with their protocol and error bars."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..display import signed, wrapped
from ..errors import ConfigError, DataError, RunError, listed
from .options import QuietOption, SamplesOption, number, one_of
from .task import Task, on_run

if TYPE_CHECKING:
    from ..data import Split

_PAPERS = 5000  # samples


@on_run(source=True, split=True)
def evaluate(
    task: Task,
    samples: SamplesOption = 200,
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            callback=number(1),
            help="Use only N examples, evenly spaced; 1000 if not given, fewer if each has more than 1024 values.",
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Use all examples, as papers do.")] = False,
    proposal: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            callback=one_of("posterior", "laplace", "mixture", "prior"),
            help="Where the samples come from: posterior, q(z|x), as papers do; laplace, around the mode of p(z|x), "
            "tighter at equal samples; mixture, of all; prior. If not given, mixture where the model can have it.",
        ),
    ] = None,
    naive: Annotated[
        bool, typer.Option("--naive", help="Estimate log p(x) with z from the prior as well, to compare.")
    ] = False,
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
    """Estimate log p(x), or log p(x|c) of a conditional model, and say how far to trust it.

    By importance sampling, in nats per example, higher is better: the same sign and unit as in training. The evidence
    lower bound and its terms follow. The default answers within half a minute; papers use 5000 samples of all
    examples. The first line names the proposal and its number of samples S; beside the value stands that of q(z|x)
    alone, which papers publish. The numbers of the run's own data are also written to evaluation.json in its folder,
    where the report finds them.
    """
    import numpy as np

    from ..evaluation import summary

    if everything and limit is not None:
        raise ConfigError("--all and --limit contradict each other; leave one out")
    part = _known(replace(task, unseen="leave out"))
    there = len(part)
    most = there if everything else limit or max(100, 1000 * 1024 // max(1024, part.spec.dimensions))
    if there > most:
        part = part.select((np.arange(most) * there) // most)
    chosen: Any = {"seed": task.seed, "precision": precision, "progress": False if quiet else None}
    numbers = summary(task.model, part, samples, proposal=proposal, naive=naive, **chosen)
    if as_json:
        print(json.dumps(numbers))
    else:
        print("\n".join([*_headline(numbers), "", *_protocol(numbers, part, there), "", *_table(numbers)]))
    sys.stdout.flush()
    if task.source is None:
        _keep(numbers, task.run)
    for warning in numbers["warnings"]:
        if _worth_it(warning, task.run):
            print("", *wrapped(f"warning: {warning}"), sep="\n", file=sys.stderr)
    if not quiet and not as_json and (there > most or samples < _PAPERS):
        source = f" {task.source}" if task.source else ""
        more = f"lowerbound evaluate {task.run}{source} --samples {_PAPERS} --all"
        print(f"\nfor a paper: {more}", file=sys.stderr)


def _headline(numbers: dict[str, Any]) -> list[str]:
    """Return the value with its error, and the verdict with its reason."""
    x = "x|c" if numbers["condition"] else "x"
    value = "not finite" if numbers["nll"] is None else signed(-numbers["nll"], 2, numbers["nll_stderr"])
    bits = "" if numbers["bits_per_dim"] is None else f"; {numbers['bits_per_dim']:.3f} bits/dim"
    how = f"({numbers['proposal']}, S = {numbers['samples']}{bits})"
    said = f"log p({x}) = {value} nats {how}; {numbers['verdict']}: {numbers['reason']}"
    return wrapped(said)


def _protocol(numbers: dict[str, Any], part: Split, there: int) -> list[str]:
    """Return what was evaluated, and how."""
    of = "" if there == numbers["n"] else f" of {there:,}, evenly spaced"
    split = "" if numbers["split"] in (None, "all") else f"{numbers['split']} "
    lines = [
        f"{part.spec.source}: {numbers['n']:,} {split}examples{of}, binarisation {numbers['binarize']}, "
        f"{numbers['samples']} importance samples"
    ]
    if numbers["proposal_reason"]:
        lines.append(f"samples of q(z|x) alone: {numbers['proposal_reason']}")
    if numbers["condition"]:
        scored = numbers["scored"]
        given = f"; of {part.spec.dimensions} values {scored:.4g} scored" if scored else ""
        lines.append(f"condition c: {', '.join(numbers['condition'])}{given}")
    if numbers["given"]:
        own = numbers["given"]
        lines.append(
            f"given {own}: the density is p(x | {own}), at each example's own {own}, the sum of its counts"
        )
    return [row for line in lines for row in wrapped(line)]


def _worth_it(warning: str, run: Path) -> bool:
    """Whether to say it: the k-hat stands in the headline, and after a short trial no latent is in use yet."""
    if "k-hat" in warning or "finite estimate" in warning:
        return False
    from ..training import RunFolder
    from ..training.health import settled

    try:
        return not warning.startswith(("posterior collapse", "only ")) or settled(RunFolder(run).history())
    except RunError:  # damaged records are no reason to be silent
        return True


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
    from ..training import RunFolder, write_atomically

    path = RunFolder(run).path / "evaluation.json"
    text = json.dumps(numbers, indent=2) + "\n"
    try:
        write_atomically(path, lambda temporary: temporary.write_text(text))
    except RunError as error:
        print(f"warning: the numbers are not kept: {error}", file=sys.stderr)


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
        ("log p(x)", "nll", 3, "nats, higher is better"),
        ("log p(x), z from q", "posterior_nll", 3, "nats, the same from q(z|x), as published"),
        ("bits per dimension", "bits_per_dim", 4, "of −log p(x), per value; lower is better"),
        ("ELBO", "elbo", 3, "nats, lower bound on log p(x)"),
        ("  reconstruction", "reconstruction", 3, "nats, E[log p(x|z)]"),
        ("  KL", "kl", 3, "nats, KL(q(z|x) ‖ p(z))"),
        ("classification error", "error", 4, "share of the examples that q(y|x) gets wrong"),
        ("active units", "active_units", 0, f"of {latent} latent dimensions"),
        ("effective samples", "ess_median", 1, f"of {samples}, median over the examples"),
        ("k-hat above 0.7", "khat_share_bad", 3, "share of examples not to be trusted"),
        ("naive log p(x)", "naive_nll", 3, "nats, z from the prior: too low; to compare only"),
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
            value = -numbers[key] if key.endswith("nll") else numbers[key]
            shown.append((name, signed(value, digits), spread, meaning))
    names, values, spreads = (max(len(row[i]) for row in shown) for i in range(3))
    return [f"{n:{names}}  {v:>{values}}{s:{spreads}}  {meaning}" for n, v, s, meaning in shown]
