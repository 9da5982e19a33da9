"""What priors of discrete codes share: rows of a book at several places, in one or more layers, and their order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..distributions import Rows
from ..errors import ConfigError
from ..nn.network import size
from ..nn.order import Raster, Recurrent
from ..shapes import event_shape_of, full_precision, grid_of, numel
from ..slots import Level
from .base import Encode, Prior


class Codes(Prior):
    """Base of these. A layer is a level of the latent; what the decoder reads is the sum of the layers.

    Args:
        event_shape: (depth · P · D,).
        codes: Number K of rows.
        width: Numbers D of a row.
        depth: Number of layers.
        order: Width of the network that predicts each place from those before, from the condition and from the layers
            above, recurrent or on a grid of masked convolutions; 0 for none, then all codes are alike.
        context: Size of the context vector.
        stride: Side in pixels of what a place stands for: they form a grid, and the decoder reads a map (D, h, w);
            0 for places without one.
        data_shape: Shape of one observation.

    Raises:
        ConfigError: the numbers of a code cannot be divided so.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        codes: int,
        width: int,
        depth: int,
        order: int,
        context: int,
        stride: int,
        data_shape: Sequence[int],
    ) -> None:
        shape, grid = event_shape_of(event_shape), grid_of(data_shape, stride)
        layer = shape[0] // size("depth", depth)
        if len(shape) != 1 or shape[0] % (depth * size("width", width)):
            raise ConfigError(
                f"a code of rows is a vector of depth · places · width numbers; got {shape} for depth={depth} and "
                f"width={width}: let latent be a multiple of {depth * width}"
            )
        if grid is not None and layer != width * numel(grid):
            raise ConfigError(
                f"a grid of {grid[0]} x {grid[1]} places has {depth * width * numel(grid)} numbers, but the latent "
                f"has shape {shape}: leave latent out"
            )
        read = (layer,) if grid is None else (width, *grid)
        super().__init__(
            shape, context if order else 0, [Level((layer,), "embedding")] * depth, code_shape=read
        )
        self.stride, self.data_shape = stride, event_shape_of(data_shape, "data_shape")
        self.codes, self.width, self.depth = size("codes", codes), width, depth
        self.order = size("order", order) if order else 0
        self.places = layer // width
        self.grid, build = grid, Recurrent if grid is None else partial(Raster, grid)
        self.orders = nn.ModuleList(
            build(width, codes, order, self.context, below=n > 0) for n in range(depth if order else 0)
        )

    @torch.no_grad()
    def adopt(self, old: Any) -> None:
        """Take over the rows that codes were made of.

        Raises:
            ConfigError: the old prior's codes are made otherwise.
        """
        for option in ("codes", "width", "depth", "steps", "stride"):
            mine, theirs = (getattr(prior, option, None) for prior in (self, old))
            if mine != theirs:
                raise ConfigError(
                    f"the codes were made with {option}={theirs!r}, so the new prior cannot have {mine!r}; set it so"
                )
        for number in range(self.depth):
            self.rows(number).copy_(old.rows(number))

    def rows(self, number: int) -> Tensor:
        """Return the book of a layer, (K, D)."""
        raise NotImplementedError

    def index(self, number: int, rows: Tensor) -> Tensor:
        """Return the numbers (...) of the nearest rows of a layer to vectors (..., D)."""
        return (
            torch.cdist(rows.reshape(-1, self.width), self.rows(number)).argmin(-1).reshape(rows.shape[:-1])
        )

    def begin(self, context: Tensor | None, encode: Encode | None) -> tuple[Tensor | None, Tensor | None]:
        """Return the context, and the sum of the layers so far: none."""
        return context if self.context else None, None

    def level(self, number: int, state: Any) -> Distribution:
        """Return p of a layer: batch (), (B,) or (S, B)."""
        context, above = state

        def index(rows: Tensor) -> Tensor:
            return self.index(number, rows)

        book = full_precision(self.rows(number))
        if not self.order:
            return _Layer(book, self.places, index, owner=self, number=number, above=above)
        order = self.orders[number]
        places = None if above is None else above.detach().unflatten(-1, (self.places, -1))
        batch = context.shape[:-1] if above is None and context is not None else ()
        batch = batch if above is None else above.shape[:-1]

        def scores(rows: Tensor) -> Tensor:
            return order(rows, places, context)

        return _Layer(book, self.places, index, batch, scores, owner=self, number=number, above=above)

    def absorb(self, number: int, state: Any, z: Tensor) -> Any:
        """Return the sum so far, after the last layer alone: what the decoder reads."""
        context, above = state
        total = z if above is None else above + z
        if number < self.depth - 1:
            return context, total
        return total if self.grid is None else total.unflatten(-1, (*self.grid, -1)).movedim(-1, -3)

    def learn(self, number: int, e: Tensor) -> None:
        """Take in what the encoder gave for a layer in a step of training, (..., P, D); most books need nothing."""


class _Layer(Rows):
    """The law of a layer, with what its posterior asks for: the book's owner, and the layers above."""

    def __init__(self, *arguments: Any, owner: Codes, number: int, above: Tensor | None) -> None:
        super().__init__(*arguments)
        self.owner, self.number, self.above = owner, number, above
