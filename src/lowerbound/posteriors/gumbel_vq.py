r"""Vector quantisation with a choice in place of the nearest row, layer by layer of what is left over.

.. math:: q(k_{il} \mid x, z_{<l}) = \operatorname{softmax}_k
    \left( -\left\| e_i(x) - \textstyle\sum_{m<l} z_{im} - \text{book}^l_k \right\|^2 \right)

Gradients are those of the Gumbel-softmax. q is stochastic: there is a bound, and log p(x) by importance sampling. In
training, layers may be dropped below a random one, of each example; then the code is short of these rows, whose KL
still counts, and an objective of importance weights reports no bound.

Reference:
    Hierarchical sketch induction for paraphrase generation (Hosking, Tang and Lapata, 2022),
    https://aclanthology.org/2022.acl-long.178. There the temperature falls to this one's, and the first layer may be
    dropped too
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..distributions import ChosenRows
from ..errors import ConfigError
from ..nn.network import probability
from ..shapes import is_positive
from .vq import VectorQuantised


class GumbelQuantised(VectorQuantised):
    """Rows by a choice, the nearer the likelier.

    Args:
        event_shape: (depth · P · D,), as the codebook's.
        depth: Number of layers.
        temperature: τ of the relaxed draws.
        drop: Probability that an example's code ends after a layer in training.
        norm: Weight in the loss of what the norm of a layer's book, times ``scale``, has beyond the norm of the one
            above, squared and relative to it.
        scale: See ``norm``.
        stride: As of the codebook: the encoder gives a map (D, h, w).
        data_shape: Shape of one observation.

    Raises:
        ConfigError: an option has an impossible value.
    """

    agree: ClassVar = (*VectorQuantised.agree, "learning")
    learning = "gradient"

    def __init__(
        self,
        event_shape: int | Sequence[int],
        depth: int = 1,
        temperature: float = 0.5,
        drop: float = 0.0,
        norm: float = 0.0,
        scale: float = 1.5,
        stride: int = 0,
        data_shape: Sequence[int] = (1,),
    ) -> None:
        super().__init__(event_shape, depth, stride=stride, data_shape=data_shape)
        if not (is_positive(temperature) and norm >= 0 and is_positive(scale)):
            raise ConfigError(
                "GumbelQuantised needs a temperature and a scale > 0, and norm >= 0; got "
                f"{temperature!r}, {scale!r} and {norm!r}"
            )
        self.temperature, self.drop = temperature, probability("drop", drop)
        self.norm, self.scale = norm, scale

    def read(self, h: Tensor, context: Tensor | None) -> Any:
        """Return the vectors of all places side by side, (B, P D); in training with how many layers stay, (B,)."""
        e = super().read(h, context)
        if not (self.drop and self.training and torch.is_grad_enabled()):
            return e
        on = torch.rand(self.depth - 1, len(e), device=e.device) >= self.drop
        return e, 1 + on.cumprod(0).sum(0)

    def level(self, number: int, evidence: Any, state: Any, p: Any) -> Distribution:
        """Return the choice of rows: batch (B,), below the first layer (S, B)."""
        evidence, layers = evidence if isinstance(evidence, tuple) else (evidence, None)
        e = self._left(evidence, p.above, p)
        if self.training and torch.is_grad_enabled() and p.owner.learning != self.learning:
            raise ConfigError(
                "the posterior gumbel_vq learns its book by gradients; got a prior with "
                f"learning={p.owner.learning!r}: set it to 'gradient'"
            )
        away = e.square().sum(-1, keepdim=True) + p.book.square().sum(-1) - 2 * e @ p.book.mT
        kept = None if layers is None else (layers > number).to(e.dtype)
        return ChosenRows(p.book, p.index, -away, float(self.temperature), kept)

    def penalty(self, number: int, evidence: Any, p: Any, z: Tensor) -> Tensor | float:
        """Return the weighed excess of the layer's norm, (S, B)."""
        if not (number and self.norm):
            return 0.0
        ratio = self.scale * p.book.norm() / p.owner.rows(number - 1).norm().clamp(min=1e-6)
        return (self.norm / self.depth * (ratio - 1).clamp(min=0).square()).expand(z.shape[:-1])

    def point(self, q: Any) -> Tensor:
        """Return the likeliest rows."""
        return q.likeliest
