r"""Vector quantisation: each place takes the nearest row of the codebook, layer by layer of what is left over.

.. math:: k_{il} = \operatorname{argmin}_k \left\| e_i(x) - \textstyle\sum_{m<l} z_{im} - \text{book}^l_k \right\|

q names one code with certainty, so the divergence is −log p(k), and −log p(x) is reported as an upper bound that
counts this code only. A gradient passes by the choice as if it were not there, or turned and stretched as the
vector was.

References:
    Neural discrete representation learning (van den Oord, Vinyals and Kavukcuoglu, 2017), https://arxiv.org/abs/1711.00937
    Autoregressive image generation using residual quantization (Lee et al., 2022), https://arxiv.org/abs/2203.01941
    Restructuring vector quantization with the rotation trick (Fifty et al., 2025), https://arxiv.org/abs/2410.06424
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..distributions import Point, through
from ..errors import ConfigError
from ..nn.network import size
from ..shapes import event_shape_of, grid_of, numel
from ..slots import Level
from .base import Posterior


class VectorQuantised(Posterior):
    """The nearest rows.

    Args:
        event_shape: (depth · P · D,), as the codebook's.
        depth: Number of layers.
        commitment: Weight of the encoder's distance from its rows in the loss; where the book learns by gradients,
            its own distance has weight 1.
        gradient: "straight_through" or "rotation".
        stride: As of the codebook: the encoder gives a map (D, h, w).
        data_shape: Shape of one observation.

    Raises:
        ConfigError: an option has an impossible value.
    """

    partners: ClassVar = {"prior": "codebook"}
    agree: ClassVar = ("depth", "stride")
    derived: ClassVar = frozenset({"data_shape"})

    def __init__(
        self,
        event_shape: int | Sequence[int],
        depth: int = 1,
        commitment: float = 0.25,
        gradient: Literal["straight_through", "rotation"] = "straight_through",
        stride: int = 0,
        data_shape: Sequence[int] = (1,),
    ) -> None:
        shape = event_shape_of(event_shape)
        if shape[0] % size("depth", depth):
            raise ConfigError(f"a code of {depth} layers has a multiple of {depth} numbers; got {shape}")
        if not commitment >= 0 or gradient not in ("straight_through", "rotation"):
            raise ConfigError(
                "VectorQuantised needs commitment >= 0 and a gradient 'straight_through' or 'rotation'; got "
                f"{commitment!r} and {gradient!r}"
            )
        layer = (shape[0] // depth,)
        grid = grid_of(data_shape, stride)
        if grid is not None and layer[0] % numel(grid):
            raise ConfigError(
                f"a latent of shape {shape} cannot be divided among {depth} layers of {grid[0]} x {grid[1]} places: "
                "leave latent out"
            )
        read = layer if grid is None else (layer[0] // numel(grid), *grid)
        super().__init__(shape, read, [Level(layer, "embedding")] * depth)
        self.stride, self.data_shape = stride, event_shape_of(data_shape, "data_shape")
        self.depth, self.commitment, self.gradient = depth, commitment, gradient

    def read(self, h: Tensor, context: Tensor | None) -> Tensor:
        """Return the vectors of all places side by side, (B, P D)."""
        return h.movedim(-3, -1).flatten(-3) if self.stride else h

    def level(self, number: int, evidence: Any, state: Any, p: Any) -> Distribution:
        """Return the nearest rows with certainty: batch (B,), below the first layer (S, B)."""
        e = self._left(evidence, p.above, p)
        if self.training and torch.is_grad_enabled():
            p.owner.learn(p.number, e)
        rows = p.book[p.index(e)].detach()
        z = _turned(e, rows) if self.gradient == "rotation" else through(rows, e)
        return Point(z.flatten(-2), 1, discrete=True)

    def _left(self, evidence: Tensor, above: Tensor | None, p: Any) -> Tensor:
        """Return what the layers above left over of the encoder's output, (..., P, D)."""
        e = evidence.to(p.book.dtype)
        return (e if above is None else e - above).unflatten(-1, (p.places, -1))

    def penalty(self, number: int, evidence: Any, p: Any, z: Tensor) -> Tensor | float:
        """Return the squared distances between vectors and rows, (S, B), weighed."""
        e = self._left(evidence, None if p.above is None else p.above.detach(), p)
        rows = p.book[p.index(e)]
        loss = self.commitment * (rows.detach() - e).square()
        if rows.requires_grad:
            loss = loss + (rows - e.detach()).square()
        loss = loss.sum((-2, -1))
        return loss.expand(z.shape[:-1])


def _turned(e: Tensor, rows: Tensor) -> Tensor:
    """Return the rows as the vectors turned and stretched: a gradient is turned back and stretched with them."""
    least = torch.finfo(e.dtype).tiny
    with torch.no_grad():
        length, wanted = (t.norm(dim=-1, keepdim=True).clamp(min=least) for t in (e, rows))
        a, b = e / length, rows / wanted
        # The rotation from a to b, I − 2 r rᵀ + 2 b aᵀ with r halfway.
        r = a + b
        r = r / r.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        stretch = wanted / length
    turned = e - 2 * r * (r * e).sum(-1, keepdim=True) + 2 * b * (a * e).sum(-1, keepdim=True)
    return through(rows, stretch * turned)
