r"""Scores at the places of a line or a grid, each by the places before it.

On a grid, row by row, one stack of convolutions sees the rows above, another the row itself up to the place, and
reads the first: together they see all that comes before and nothing else.

Reference:
    Conditional image generation with PixelCNN decoders (van den Oord et al., 2016), figure 2,
    https://arxiv.org/abs/1606.05328
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_LAYERS = 5


class Raster(nn.Module):
    """Scores at the places of a grid, by masked convolutions.

    Args:
        grid: Rows and columns (h, w) of the grid.
        width: Numbers D at each place.
        scores: Scores K at each place.
        hidden: Channels.
        context: Size of the context vector, 0 for none.
        below: Whether there are numbers of a layer above, all of which each place sees.
    """

    def __init__(
        self, grid: tuple[int, int], width: int, scores: int, hidden: int, context: int, below: bool
    ) -> None:
        super().__init__()
        self.grid = grid
        self.first = nn.Parameter(torch.zeros(hidden))
        self.reading = nn.Linear(context, hidden) if context else None
        self.seeing = nn.Conv2d(width, hidden, 3, padding=1) if below else None
        self.rows, self.places = nn.Conv2d(width, hidden, 1), nn.Conv2d(width, hidden, 1)
        self.down = nn.ModuleList(nn.Conv2d(hidden, 2 * hidden, (2, 3)) for _ in range(_LAYERS))
        self.right = nn.ModuleList(nn.Conv2d(hidden, 2 * hidden, (1, 2)) for _ in range(_LAYERS))
        self.across = nn.ModuleList(nn.Conv2d(hidden, 2 * hidden, 1) for _ in range(_LAYERS))
        self.output = nn.Conv2d(hidden, scores, 1)

    def forward(self, numbers: Tensor, above: Tensor | None, context: Tensor | None) -> Tensor:
        """Return (..., P, K) from the numbers (..., P, D) of the places, P = h w; of each only those before are seen.

        Args:
            numbers: (..., P, D).
            above: Those of the layer above, that many, or None.
            context: (B, E), where B is the last of the leading axes, or None.
        """
        lead = numbers.shape[:-2]
        x = self._as_map(numbers)
        given = self.first if self.reading is None or context is None else self.first + self.reading(context)
        given = given.expand(*lead, -1).reshape(len(x), -1, 1, 1)
        if self.seeing is not None and above is not None:
            given = given + self.seeing(self._as_map(above.expand_as(numbers)))
        # Shifted by one row and by one place: nothing here has seen the place itself.
        v = self.rows(functional.pad(x, (0, 0, 1, 0))[..., :-1, :]) + given
        h = self.places(functional.pad(x, (1, 0))[..., :-1]) + given
        for down, right, across in zip(self.down, self.right, self.across, strict=True):
            v = v + functional.glu(down(functional.pad(v, (1, 1, 1, 0))), 1)
            h = h + functional.glu(right(functional.pad(h, (1, 0))) + across(v), 1)
        return self.output(h).flatten(2).mT.reshape(*lead, numbers.shape[-2], -1)

    def _as_map(self, numbers: Tensor) -> Tensor:
        return numbers.reshape(-1, *self.grid, numbers.shape[-1]).movedim(-1, 1)


class Recurrent(nn.Module):
    """Scores at places in a line, by a recurrent network; arguments as of ``Raster``."""

    def __init__(self, width: int, scores: int, hidden: int, context: int, below: bool) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(hidden))
        self.reading = nn.Linear(context, hidden) if context else None
        self.network = nn.GRU(width * (2 if below else 1), hidden, batch_first=True)
        self.output = nn.Linear(hidden, scores)

    def forward(self, numbers: Tensor, above: Tensor | None, context: Tensor | None) -> Tensor:
        """Return (..., P, K) from the numbers (..., P, D) of the places; of each only those before are seen."""
        lead, places = numbers.shape[:-2], numbers.shape[-2]
        seen = torch.cat([torch.zeros_like(numbers[..., :1, :]), numbers[..., :-1, :]], -2)
        if above is not None:
            seen = torch.cat([seen, above.expand_as(seen)], -1)
        first = self.first if self.reading is None else self.first + self.reading(context)
        first = first.expand(*lead, -1).reshape(1, -1, first.shape[-1]).contiguous()
        out, _ = self.network(seen.reshape(-1, places, seen.shape[-1]), first)
        return self.output(out).reshape(*lead, places, -1)
