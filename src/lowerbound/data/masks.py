r"""Which part of x is observed: masks, 1 where a value is given and 0 where the model has to find it.

For images, with :math:`H` rows and :math:`W` columns, rows counted from the top:

    quadrant         the lower left: rows from H // 2, columns before W // 2
    half             the left: columns before W // 2
    three-quadrants  all but the upper right
    random           by equal chance all but a rectangle, a rectangle, one side of a line, or single pixels

Of vectors "random" observes single values, and a list of columns these columns. In each form of "random" the observed
share is about uniform on [0, 1], and at least one value is always left to find. The channels of an image have the
same mask.

Reference:
    The quadrants: Learning structured output representation using deep conditional generative models (Sohn et al.,
    2015), https://papers.nips.cc/paper/5775
    Random masks: Variational autoencoder with arbitrary conditioning (Ivanov et al., 2019),
    https://arxiv.org/abs/1806.02382
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Generator, Tensor

from ..errors import ConfigError, suggest
from .reading import RANGE, random_bits

MASK_RULES = ("quadrant", "half", "three-quadrants", "random")


def check_rule(
    rule: str | tuple[str, ...], event_shape: tuple[int, ...], columns: tuple[str, ...] | None = None
) -> None:
    """Check that a rule can mask such examples.

    Args:
        rule: One of `MASK_RULES`, or names of columns.
        event_shape: Shape of one example, (C, H, W) or (D,).
        columns: Names of a table's columns.

    Raises:
        ConfigError: The rule is for other data, or would leave nothing to observe or nothing to find.
    """
    if isinstance(rule, str):
        if rule == "random":
            return
        if len(event_shape) != 3:
            raise ConfigError(
                f"observed={rule!r} is for images, but an example has shape {event_shape}; use 'random', or for a "
                "table a list of columns"
            )
    elif columns is None:
        raise ConfigError(
            f"observed={list(rule)} names columns, which only tables have; use one of {', '.join(MASK_RULES)}"
        )
    for name in () if isinstance(rule, str) else rule:
        if name not in (columns or ()):
            raise ConfigError(f"observed= names {name!r}, no column of x; {suggest(name, columns or ())}")
    mask = _fixed(rule, event_shape, columns, torch.device("cpu"))
    if mask.all() or not mask.any():
        raise ConfigError(
            f"observed={rule if isinstance(rule, str) else list(rule)!r} of examples of shape {event_shape} observes "
            f"{'all' if mask.all() else 'nothing'}; something must be observed and something left to find"
        )


def draw_masks(
    rule: str | tuple[str, ...],
    count: int,
    event_shape: tuple[int, ...],
    columns: tuple[str, ...] | None = None,
    *,
    device: torch.device | str = "cpu",
    generator: Generator | None = None,
) -> Tensor:
    """Masks (count, *event), float32 zeros and ones, by a rule that `check_rule` has passed.

    On a CPU what an example gets does not depend on how examples are batched.

    Args:
        rule: One of `MASK_RULES`, or names of columns.
        count: Number of masks.
        event_shape: Shape of one example, (C, H, W) or (D,).
        columns: Names of a table's columns.
        device: Where the masks are made.
        generator: What they are drawn from; the device's global generator if None.
    """
    device = torch.device(device)
    if rule == "random":
        mask = _random(count, event_shape, device, generator)
    else:
        mask = _fixed(rule, event_shape, columns, device)
    return mask.float().expand(count, *event_shape)


def observe(x: Tensor, mask: Tensor) -> Tensor:
    """What a model is told of x (B, *event) under masks of its shape: values and mask, (B, 2, *event) float32.

    A missing value, NaN, is observed under no mask.
    """
    mask = mask * ~x.isnan()
    return torch.stack([torch.where(mask > 0, x, 0.0), mask], 1)


@lru_cache(maxsize=8)
def _fixed(
    rule: str | tuple[str, ...],
    event_shape: tuple[int, ...],
    columns: tuple[str, ...] | None,
    device: torch.device,
) -> Tensor:
    """The one mask of a rule without chance, bool, broadcastable to (*event,)."""
    if isinstance(rule, tuple):
        return torch.tensor([column in rule for column in columns or ()], device=device)
    _, height, width = event_shape
    lower = (torch.arange(height, device=device) >= height // 2)[:, None]
    left = (torch.arange(width, device=device) < width // 2).expand(height, width)
    return {"quadrant": lower & left, "half": left, "three-quadrants": lower | left}[rule]


def _random(
    count: int, event_shape: tuple[int, ...], device: torch.device, generator: Generator | None
) -> Tensor:
    """Masks of the rule "random", bool, broadcastable to (count, *event)."""
    height, width = (1, *event_shape)[-2:]  # a vector is an image of one row
    bits = random_bits(torch.Size((count, 9 + height * width)), device, generator)
    # Midpoints of 2^15 cells: never 0 nor 1.
    u = bits[:, :8].float().add_(0.5).div_(RANGE)[..., None, None].unbind(1)
    form, area, aspect, top, left, row, column, angle = u
    i, j = torch.arange(height, device=device)[:, None], torch.arange(width, device=device)
    # One value, drawn at random, is always left to find, the others are observed at a rate from U(0, 1). How many are
    # is uniform on 0..D-1, exactly as if all D took part and masks with nothing left to find were drawn again.
    di, dj = i - (row * height).floor(), j - (column * width).floor()
    single = (bits[:, 9:].view(count, height, width) < bits[:, 8, None, None]) & ((di != 0) | (dj != 0))
    if len(event_shape) == 1:
        return single.view(count, width)
    # Everything before that value in a random direction: its rank is uniform, and with it the share.
    side = di * (2 * math.pi * angle).sin() + dj * (2 * math.pi * angle).cos() < 0
    # A rectangle of uniform area: its sides are shares a^v and a^(1-v) of the image's, so not both can be 1.
    rows, columns = area**aspect * height, area ** (1 - aspect) * width

    def rectangle(rows: Tensor, columns: Tensor) -> Tensor:
        first, start = (top * (height - rows + 1)).floor(), (left * (width - columns + 1)).floor()
        return (i >= first) & (i < first + rows) & (j >= start) & (j < start + columns)

    # Rounded so that the one leaves something to find, and the other too.
    forms = [~rectangle(rows.ceil(), columns.ceil()), rectangle(rows.floor(), columns.floor()), side, single]
    chosen = torch.stack(forms)[(form.flatten() * 4).long(), torch.arange(count, device=device)]
    return chosen[:, None]
