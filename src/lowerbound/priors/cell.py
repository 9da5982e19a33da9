r"""The prior of a latent with a discrete part: which cell, by the condition, and a Gaussian within it.

.. math:: p(k, e \mid c) = p(k \mid c) \, \mathcal{N}(e; 0, I), \qquad
    \log p(k \mid c) = g(h_k, c) - \log \sum_j \exp g(h_j, c)

Where the condition ends in a feature map with one place per cell, the same small network g scores every place by its
features h_k; else one network gives all K scores.

Reference:
    p(k) p(e) p(x | k, e) with k known: Semi-supervised learning with deep generative models (Kingma et al., 2014),
    https://arxiv.org/abs/1406.5298, eq. 2; there k is the class of x, here its place
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..distributions import OneHot, factorised_gaussian
from ..nn import MLP
from ..nn.cells import check_cells, check_map, split_map
from ..nn.network import sizes
from ..shapes import full_precision
from ..slots import Level
from .base import Encode, Prior


class CellPrior(Prior):
    """Categorical over cells, one-hot, and N(0, I): two levels.

    Args:
        event_shape: (K + L,).
        cells: Number K of cells.
        hidden: Widths of the hidden layers of the network that scores them.
        map_shape: Shape (F, h, w) of the feature map that the context ends in, h w = K; None for none.
        context: Size of the context vector; with 0 the probabilities are parameters.
    """

    partners: ClassVar = {"posterior": "cell_gaussian", "decoder": "cells"}
    agree: ClassVar = ("cells",)
    loc: Tensor

    def __init__(
        self,
        event_shape: int | Sequence[int],
        cells: int = 256,
        hidden: Sequence[int] = (64,),
        map_shape: Sequence[int] | None = None,
        context: int = 0,
    ) -> None:
        shape = check_cells(event_shape, cells)
        super().__init__(shape, context, (Level((cells,), "one-hot"), Level((shape[0] - cells,))))
        self.cells = cells
        self.hidden = sizes("hidden", hidden, may_be_empty=True)
        self.map_shape = check_map(map_shape, cells, context)
        self.register_buffer("loc", torch.zeros(shape[0] - cells), persistent=False)
        self.logits = None if context else nn.Parameter(torch.zeros(cells))
        self.network: MLP | None = None
        if self.map_shape is not None:
            beside = context - self.map_shape[0] * cells
            self.network = MLP((self.map_shape[0],), (1,), hidden=self.hidden, context=beside)
        elif context:
            self.network = MLP((context,), (cells,), hidden=self.hidden)

    @classmethod
    def usual(cls, options: Mapping[str, Any], data_shape: tuple[int, ...], numbers: int) -> tuple[int, ...]:
        """Return the cells beside the usual numbers."""
        return (options.get("cells", 256) + numbers,)

    def begin(self, context: Tensor | None, encode: Encode | None) -> Tensor:
        """Return the scores of the cells, (K,) or (B, K)."""
        return full_precision(self._logits(context))

    def level(self, number: int, state: Any) -> Distribution:
        """Return p(k | c), batch (B,), or () without a context; then N(0, I), batch ()."""
        if number == 0:
            return OneHot(state)
        loc = full_precision(self.loc)
        return factorised_gaussian(loc, torch.ones_like(loc), 1)

    def absorb(self, number: int, state: Any, z: Tensor) -> Tensor:
        """Return the cell, then cell and Gaussian side by side."""
        return z if number == 0 else torch.cat([state, z], -1)

    def _logits(self, context: Tensor | None) -> Tensor:
        """Return the scores of the cells, (K,) or (B, K)."""
        if self.logits is not None:
            return self.logits
        assert self.network is not None
        assert context is not None
        if self.map_shape is None:
            return self.network(context)
        beside, places = split_map(context, self.map_shape)
        # (K, B, F): the last axis before the features is that of the context.
        scores = self.network(places.transpose(0, 1), beside if self.network.context else None)
        return scores.squeeze(-1).T
