"""The map of a column to normal scores: piecewise linear between points of the data's distribution function."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

KNOTS = 256
END = 8.0
"""Normal score at a bound that no value passes."""

_OFTEN, _ROWS = 0.005, 10.0  # share, and number of rows, that make a value one of its own


def knots(x: Tensor, column: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Return points (x, u) of the map to normal scores, as many as there is room for, in float64.

    A frequent value of a column of steps has two points, around its cell, with the shares below it and up to it.
    Between, points are quantiles.
    """
    values, counts = x.unique(return_counts=True)
    n, step, low = len(x), float(column.get("step") or 0), column.get("low")
    up_to = counts.cumsum(0).double()
    alone = _standing_alone(counts) if step else torch.zeros(len(values), dtype=torch.bool)
    # So many that each piece holds enough examples for its slope to mean something.
    rest = (~alone).nonzero().flatten()
    most = min(KNOTS - 4 - 2 * int(alone.sum()), max(4, round(math.sqrt(int(counts[rest].sum())))))
    middle = (up_to - counts / 2.0) / n
    if len(rest) > most:
        # Evenly in the normal score, so that the tails have their share of points.
        first, last = (float(math.sqrt(2) * torch.erfinv(2 * middle[rest[i]] - 1)) for i in (0, -1))
        goal = torch.special.ndtr(torch.linspace(first, last, most)).double()
        rest = rest[torch.searchsorted(middle[rest], goal).clamp(0, len(rest) - 1).unique()]
    # The border above a step is known, and of what has none the place in the middle of the value's own share.
    xs = torch.cat([values[rest] + step / 2, values[alone] - step / 2, values[alone] + step / 2])
    share = torch.cat(
        [up_to[rest] / n if step else middle[rest], (up_to - counts)[alone] / n, up_to[alone] / n]
    )
    order = share.argsort(stable=True)
    order = order[xs[order].argsort(stable=True)]
    xs, share = xs[order], share[order]
    if step:
        first = torch.ones(len(xs), dtype=torch.bool)
        first[1:] = xs[1:] > xs[:-1] + step / 4  # two neighbours have one border
        xs, share = xs[first], share[first]
    # Nothing that was not seen is impossible: a half of one example is spread evenly over the range.
    even = (xs - xs[0]) / (xs[-1] - xs[0]).clamp(min=1e-300)
    share = (n * share + 0.5 * even + 0.25) / (n + 1)
    us = math.sqrt(2) * torch.erfinv(2 * share - 1)
    return _with_tails(xs, us, low, step)


def _standing_alone(counts: Tensor) -> Tensor:
    """Return which of the different values of a column of steps have borders of their own: the frequent ones.

    Of the others, what is between two borders is as likely as what lies beside it: a value that few rows have says
    little of how many more will, and nothing of its neighbours that none has.
    """
    often = torch.zeros(len(counts), dtype=torch.bool)
    often[counts.topk(min(len(counts), (KNOTS - 4) // 4)).indices] = True
    return often & (counts >= max(_ROWS, _OFTEN * float(counts.sum())))


def _with_tails(xs: Tensor, us: Tensor, low: float | None, step: float) -> tuple[Tensor, Tensor]:
    """Return as many points as a map has: on both sides it goes on as a Gaussian of the data's spread would."""
    middle = len(xs) // 2
    rises = []
    for end, other in ((0, middle), (-1, middle if middle < len(xs) - 1 else 0)):
        span = float((xs[end] - xs[other]).abs())
        rises.append(float((us[end] - us[other]).abs()) / span if span > 0 else 1.0)
    below, above = rises
    begin = xs[0] - max(1e-12, (float(us[0]) + END)) / below
    if low is not None and begin < low - step / 2:
        # No value lies below the bound: all that is left of the probability lies above it.
        begin = xs.new_tensor(low - step / 2)
        if begin >= xs[0]:
            xs, us = xs[1:], us[1:]
    end = xs[-1] + max(1e-12, (END - float(us[-1]))) / above
    xs = torch.cat([begin.reshape(1), xs, end.reshape(1)])
    us = torch.cat([us.new_tensor([-END]), us, us.new_tensor([END])])
    room = KNOTS - len(xs)
    # What room is left lies beyond the end, on the same line.
    beyond = torch.arange(1, room + 1, dtype=xs.dtype)
    slope = (us[-1] - us[-2]) / (xs[-1] - xs[-2])
    far = (xs[-1] - xs[0]) / KNOTS
    return torch.cat([xs, xs[-1] + beyond * far]), torch.cat([us, us[-1] + beyond * far * slope])
