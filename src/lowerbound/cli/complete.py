"""``lowerbound complete``: the missing part of examples, by a rule or as a table's empty cells say."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ConfigError
from .generate import write_rows
from .given import mask_rule
from .options import NumberOption, SamplesOption, number
from .task import Task, on_run
from .writing import formats_of, write_frame

if TYPE_CHECKING:
    from torch import Tensor

    from ..completion import Completion
    from ..data import Split

_FILLS = 100  # draws of which an empty cell gets the middle one
_AT_ONCE = 2000  # rows


@on_run(source=True, split=True, writes=formats_of)
def complete(
    task: Task,
    mask: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="What is observed: quadrant, half, three-quadrants, random, a table's columns like age,height, or "
            "parts of x; "
            "if not given, a table's cells that are not empty, what the model was trained with, or half of images.",
        ),
    ] = None,
    n: NumberOption = None,
    draws: Annotated[
        int | None,
        typer.Option(
            metavar="D",
            callback=number(1),
            help="Completions of each example; 4, of a table's own gaps the best one.",
        ),
    ] = None,
    mean: Annotated[
        bool, typer.Option("--mean", help="Give the mean of p(x|z) at the missing places, not a draw.")
    ] = False,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="importance or gibbs, importance if not given; a model trained with --observed needs none.",
        ),
    ] = None,
    samples: SamplesOption = 1000,
) -> None:
    """Inpaint or impute: draw what is missing of examples, given the rest.

    A row of the picture is an example, its observed part with the missing one in grey, and its completions; a table
    or array holds the completions one after the other. Their quality is said on standard error.

    Of a table with empty cells, without --mask, every row comes back with these filled: by the middle of many draws,
    or of categories the most frequent; FILE.intervals.csv has for each filled cell the range of 90 % of the draws.
    With --draws there are so many tables one after the other, numbered in the column "draw".
    """
    import torch

    task = replace(task, gaps="keep")
    model, path = task.model, task.path
    if mask is None and _has_gaps(task):
        _fill(task, n, draws, mean, method, samples)
        return
    draws = draws or 4
    x, c = task.take(n)
    task.check_count("--draws", len(x) * draws)
    observed = _observed(task.part, mask, len(x), task.draw_seed(1)).to(x.device) * ~x.isnan()
    name = None if model.condition is None else model.condition.observed
    c = {k: v for k, v in (c or {}).items() if k != name} or None
    done = model.complete(
        x, observed, draws, c=c, mean=mean, method=method, samples=samples, seed=task.draw_seed()
    )
    if path.suffix == ".png":
        from ..report import value_range

        grey = x.new_full((), sum(value_range(x, task.part.spec)) / 2)
        write_rows(
            path, [x, torch.where(observed > 0, x, grey), *done.x.cpu()], model, ["data", "observed", "draws"]
        )
    else:
        write_rows(path, list(done.x), model)
    print(path)
    _tell(done)


def _tell(done: Completion) -> None:
    """Say how far the completions are to be trusted."""
    if done.ess is not None:
        print(f"effective sample size {done.ess.median():.1f} of {done.samples}, median", file=sys.stderr)
    if done.acceptance is not None:
        print(f"accepted {done.acceptance.median():.1%} of {done.samples} moves, median", file=sys.stderr)
    if done.warning:
        print(f"warning: {done.warning}", file=sys.stderr)


def _has_gaps(task: Task) -> bool:
    spec = task.data.spec
    return (
        spec.table is not None
        and spec.missing
        and (task.model.condition is None or task.model.condition.observed is None)
    )


def _fill(task: Task, n: int | None, draws: int | None, mean: bool, method: str | None, samples: int) -> None:
    """Fill the empty cells of a table, and write all of its rows."""
    import torch

    from ..data.frames import original_frame
    from ..data.schema import decode

    if task.path.suffix == ".npy":
        raise ConfigError(
            f"a filled table has cells of several types; write a .csv or .parquet, not {task.path}"
        )
    part = task.part if task.split else task.data.all
    table = task.model.data_spec.table
    x, c = next(iter(part.batches(len(part), limit=n, seed=task.seed)))
    rows = x.isnan().any(1).nonzero().flatten()
    k = draws or _FILLS
    filled = x.unsqueeze(0).repeat(draws or 1, 1, 1)
    spread: list[Tensor] = []
    last: Completion | None = None
    for i, at in enumerate(rows.split(_AT_ONCE)):
        known = None if c is None else {name: value[at] for name, value in c.items()}
        last = task.model.complete(
            x[at],
            ~x[at].isnan(),
            k,
            c=known,
            mean=mean,
            method=method,
            samples=samples,
            seed=task.draw_seed(i),
        )
        if draws is None:
            filled[0, at] = _middle(last.x, table)
            spread.append(last.x.cpu())
        else:
            filled[:, at] = last.x.cpu()
    names = [column.name for column in table if column.is_modelled]
    numbers = task.data.places(part)[: len(x)].tolist()
    # The very file that was read: the run's own may lie elsewhere than its name leads from here.
    original = original_frame(task.data.spec.source).iloc[numbers].reset_index(drop=True)
    frames = []
    for d in range(len(filled)):
        made = decode(table, filled[d].cpu().numpy())
        frame = original.copy()
        for i, name in enumerate(names):
            gaps = x[:, i].isnan().cpu().numpy()
            frame[name] = frame[name].astype(object).where(~gaps, made[name].astype(object)).infer_objects()
        if draws is not None:
            frame.insert(0, "draw", d)
        frames.append(frame)
    import pandas as pd

    form = original.attrs.get("forms", {}), original.attrs.get("file")
    write_frame(task.path, pd.concat(frames, ignore_index=True), *form)
    print(task.path)
    if draws is None and len(rows):
        beside = task.path.with_suffix(".intervals.csv")
        write_frame(beside, _intervals(x, rows, torch.cat(spread, 1), filled[0], table, numbers))
        print(beside)
    print(f"{int(x.isnan().sum())} empty cells in {len(rows)} of {len(x)} rows filled", file=sys.stderr)
    if last is not None:
        _tell(last)


def _middle(draws: Tensor, table: Any) -> Tensor:
    """Return the middle draw (B, D) of each number, a value that was drawn, and the most frequent category."""
    middle = draws.sort(0).values[(len(draws) - 1) // 2]
    for i, column in enumerate(column for column in table if column.is_modelled):
        if not column.is_number:
            middle[:, i] = draws[:, :, i].mode(0).values
    return middle.cpu()


def _intervals(x: Tensor, rows: Tensor, draws: Tensor, filled: Tensor, table: Any, numbers: list[int]) -> Any:
    """Return a table of the filled cells: row, column, value, the range of 90 % of the draws or the value's share."""
    import pandas as pd

    from ..data.schema import decode

    low, high = (draws.quantile(q, dim=0, interpolation="nearest") for q in (0.05, 0.95))
    at = rows.cpu()
    ends = [decode(table, part.numpy()) for part in (filled[at].cpu(), low, high)]
    found = []
    for i, column in enumerate(column for column in table if column.is_modelled):
        for j in x[at, i].isnan().nonzero().flatten().tolist():
            value, below, above = (end[column.name].iloc[j] for end in ends)
            share = (draws[:, j, i] == filled[at[j], i]).double().mean().item()
            cell = {"row": numbers[int(at[j])], "column": column.name, "value": value}
            found.append(cell | ({"low": below, "high": above} if column.is_number else {"share": share}))
    return pd.DataFrame(found, columns=["row", "column", "value", "low", "high", "share"]).sort_values(
        ["row", "column"], kind="stable"
    )


def _observed(part: Split, rule: str | None, count: int, seed: int) -> Tensor:
    """Return masks (count, *event) by the rule that was named, or the usual one."""
    import torch

    from ..data.masks import check_rule, draw_masks

    spec = part.spec
    usual = part.mask_rule or ("half" if spec.kind == "image" else "random")
    chosen = usual if rule is None else mask_rule(rule)
    chosen = tuple(chosen) if isinstance(chosen, list) else chosen
    try:
        check_rule(chosen, spec.event_shape, spec.owners)
    except ConfigError as error:
        raise ConfigError(f"--mask {rule}: {error}") from None
    generator = torch.Generator().manual_seed(seed)
    return draw_masks(chosen, count, spec.event_shape, spec.owners, generator=generator)
