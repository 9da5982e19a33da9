r"""The prior of vector quantisation: which codes there are, and how they follow one another.

.. math:: z_i = \sum_{l} \text{book}^l_{k_{il}}, \qquad p(k) = \prod_{l, i} p(k_{il} \mid k_{<i,l}, k_{\cdot,<l}, c)

Rows move by the running means of what is given to them, or by gradients. A row that is hardly used takes the place of
a random one of the encoder's outputs.

References:
    Neural discrete representation learning (van den Oord, Vinyals and Kavukcuoglu, 2017), https://arxiv.org/abs/1711.00937;
    running means: its appendix A.1
    SoundStream (Zeghidour et al., 2021), residual layers, rows that are replaced, https://arxiv.org/abs/2107.03312
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, distributed, nn

from ..errors import ConfigError
from ..nn.network import context_size, probability
from ..shapes import grid_of, numel
from .codes import Codes

_EXAMPLES = 2000  # of which rows are taken at the start
_LEAST = 1e-5  # share of use that a mean is divided by


class Codebook(Codes):
    """Books of K rows of D numbers, one a layer; a code is P rows of each, and ``latent`` sets P.

    Args:
        event_shape: (depth · P · D,).
        codes: Number K of rows.
        width: Numbers D of a row.
        depth: Number of layers: each codes what those above left over.
        order: Width of the network that predicts each place; 0 for none, then all codes are alike.
        learning: "means" or "gradient".
        decay: Weight of the old mean in each step.
        revive: A row used less than this share of the average takes another's place; 0 for never.
        stride: Side in pixels of what a place stands for, as the posterior's: the places form a grid over an image,
            and the decoder reads a map (D, h, w); 0 for places without one.
        context: Size of the context vector.
        data_shape: Shape of one observation.

    Raises:
        ConfigError: an option has an impossible value.
    """

    partners: ClassVar = {"posterior": ("vq", "gumbel_vq")}
    agree: ClassVar = ("depth", "stride")
    derived: ClassVar = frozenset({"data_shape"})
    book: Tensor
    use: Tensor
    total: Tensor

    def __init__(
        self,
        event_shape: int | Sequence[int],
        codes: int = 256,
        width: int = 2,
        depth: int = 1,
        order: int = 0,
        learning: Literal["means", "gradient"] = "means",
        decay: float = 0.99,
        revive: float = 0.03,
        stride: int = 0,
        context: int = 0,
        data_shape: Sequence[int] = (1,),
    ) -> None:
        super().__init__(event_shape, codes, width, depth, order, context, stride, data_shape)
        if learning not in ("means", "gradient"):
            raise ConfigError(f"a codebook learns by 'means' or 'gradient'; got {learning!r}")
        self.learning, self.decay, self.revive = (
            learning,
            probability("decay", decay),
            probability("revive", revive),
        )
        book = torch.randn(depth, codes, width)
        if learning == "gradient":
            self.book = nn.Parameter(book)
            return
        self.register_buffer("book", book)
        self.register_buffer("use", torch.ones(depth, codes))  # 1 is the average
        self.register_buffer("total", book.clone())

    @classmethod
    def usual(cls, options: Mapping[str, Any], data_shape: tuple[int, ...], numbers: int) -> tuple[int, ...]:
        """Return the usual numbers, or those of the grid."""
        grid = grid_of(data_shape, options.get("stride", 0))
        return (options.get("depth", 1) * options.get("width", 2) * numel(grid) if grid else numbers,)

    def adopt(self, old: Any) -> None:
        """Take over the rows that codes were made of."""
        super().adopt(old)
        if self.learning == "means":
            self.total.copy_(self.book)

    def rows(self, number: int) -> Tensor:
        """Return the book of a layer, (K, D)."""
        return self.book[number]

    @torch.no_grad()
    def start(self, u: Tensor, model: Any) -> None:
        """Take rows from what the encoder gives for examples, each layer from what the last one left over."""
        if context_size(model.encoder):
            return  # which examples go with which condition is not known here
        u = u[:_EXAMPLES].to(model.device)
        e = model.posterior.read(model.run(model.encoder, model.features(u)), None)
        e = e.to(self.book).reshape(-1, self.width)
        for number in range(self.depth):
            self.book[number] = e[torch.randint(len(e), (self.codes,))] + 1e-3 * torch.randn_like(
                self.book[number]
            )
            e = e - self.book[number][self.index(number, e)]
        if self.learning == "means":
            self.total.copy_(self.book)

    @torch.no_grad()
    def learn(self, number: int, e: Tensor) -> None:
        """Move the rows of a layer to the running means of the vectors (..., P, D) that are nearest to them."""
        if self.learning != "means":
            return
        e = e.detach().reshape(-1, self.width).to(self.book)
        book, use, total = self.book[number], self.use[number], self.total[number]
        k = self.index(number, e)
        now = torch.zeros_like(total).index_add_(0, k, e)
        count = torch.zeros_like(use).index_add_(0, k, torch.ones_like(e[:, 0]))
        other = e[torch.randint(len(e), (self.codes,), device=e.device)]
        if distributed.is_available() and distributed.is_initialized():  # one book for all processes
            for part in (now, count):
                distributed.all_reduce(part)
            distributed.broadcast(other, 0)
        scale = self.codes / count.sum()
        use.lerp_(scale * count, 1 - self.decay)
        total.lerp_(scale * now, 1 - self.decay)
        dead = use < self.revive
        use.masked_fill_(dead, 1.0)
        total.copy_(torch.where(dead.unsqueeze(-1), other, total))
        book.copy_(total / use.clamp(min=_LEAST).unsqueeze(-1))
