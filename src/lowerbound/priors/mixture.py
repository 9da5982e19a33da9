r"""A prior with several hills: a mixture of factorised Gaussians.

.. math:: p(z \mid c) = \sum_k \pi_k(c) \, \mathcal{N}(z; m_k(c), \operatorname{diag} s_k(c)^2)

Reference:
    Approximate inference for deep latent Gaussian mixtures (Nalisnick, Hertel and Smyth, 2016); under a condition
    it is a mixture density network (Bishop, 1994)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from ..distributions import Mixture, bounded_exp
from ..nn import MLP
from ..nn.network import size, sizes
from ..shapes import numel
from .base import Encode, Prior


class GaussianMixture(Prior):
    """Mixture of K Gaussians, whose numbers are parameters, moved by a network of the context if there is one.

    Args:
        event_shape: Shape of one latent code; an integer L stands for (L,).
        components: Number K of Gaussians.
        hidden: Widths of the network's hidden layers; without, an affine map.
        context: Size of the context vector.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        components: int = 10,
        hidden: Sequence[int] = (64,),
        context: int = 0,
    ) -> None:
        super().__init__(event_shape, context)
        self.components = size("components", components)
        self.hidden = sizes("hidden", hidden, may_be_empty=True)
        length = numel(self.event_shape)
        numbers = torch.zeros(self.components, 1 + 2 * length)
        numbers[:, 1 : 1 + length].normal_()
        self.numbers = nn.Parameter(numbers)
        self.network = MLP((context,), tuple(numbers.shape), hidden=self.hidden) if context else None

    def forward(self, context: Tensor | None = None, encode: Encode | None = None) -> Distribution:
        """Return p(z | c), batch (B,) with a context (B, E), else ()."""
        numbers = self.numbers if self.network is None else self.numbers + self.network(context)
        numbers = numbers.movedim(-2, 0)
        loc, raw = (t.reshape(*t.shape[:-1], *self.event_shape) for t in numbers[..., 1:].chunk(2, -1))
        parts = Normal(loc, bounded_exp(raw), validate_args=False)
        return Mixture(Independent(parts, len(self.event_shape), validate_args=False), numbers[..., 0])
