r"""The prior of codes that have momenta beside them.

.. math:: p(z, \rho \mid c) = \mathcal{N}(z; m(c), \operatorname{diag} s(c)^2)\, \mathcal{N}(\rho; 0, I)

The decoder reads z alone: ρ adds nothing to p(x), and what q knows of it tightens the bound.

Reference:
    Hamiltonian variational auto-encoder (Caterini, Doucet and Sejdinovic, 2018), https://arxiv.org/abs/1805.11328
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..distributions import diagonal_gaussian
from ..errors import ConfigError
from ..nn import MLP
from ..nn.network import sizes
from ..shapes import event_shape_of, full_precision
from .base import Encode, Prior


class Momentum(Prior):
    """N(0, I), or as a network of the context says, and N(0, I) for the momenta.

    Args:
        event_shape: (2 d,): d numbers that the decoder reads, and their momenta.
        hidden: Widths of the network's hidden layers.
        context: Size of the context vector.

    Raises:
        ConfigError: a code is no even number of numbers.
    """

    partners: ClassVar = {"posterior": ("hamiltonian", "riemannian")}
    zeros: Tensor

    def __init__(
        self, event_shape: int | Sequence[int], hidden: Sequence[int] = (64,), context: int = 0
    ) -> None:
        shape = event_shape_of(event_shape)
        if len(shape) != 1 or shape[0] % 2:
            raise ConfigError(
                f"a code of Momentum is as many numbers as momenta, an even latent (2 d,); got {shape}"
            )
        d = shape[0] // 2
        super().__init__(shape, context, code_shape=(d,))
        self.hidden = sizes("hidden", hidden, may_be_empty=True)
        self.register_buffer("zeros", torch.zeros(2, d), persistent=False)
        self.network = MLP((context,), (2, d), hidden=self.hidden) if context else None

    @classmethod
    def usual(cls, options: Mapping[str, Any], data_shape: tuple[int, ...], numbers: int) -> tuple[int, ...]:
        """Return the usual numbers and as many momenta."""
        return (2 * numbers,)

    def forward(self, context: Tensor | None = None, encode: Encode | None = None) -> Distribution:
        """Return p(z, ρ | c): batch (B,) with a context (B, E), else ()."""
        h = full_precision(self.zeros if self.network is None else self.network(context))
        return diagonal_gaussian(torch.cat([h, torch.zeros_like(h)], -1), 1)

    def absorb(self, number: int, state: Any, z: Tensor) -> Tensor:
        """Return the numbers without their momenta."""
        return z[..., : self.code_shape[0]]

    def real(self) -> Tensor:
        """Return the numbers that the decoder reads, (2 d,) bool: nothing is learned in momenta."""
        return torch.arange(self.event_shape[0]) < self.code_shape[0]
