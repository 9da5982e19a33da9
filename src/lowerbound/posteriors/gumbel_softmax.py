r"""Posterior over choices, with gradients by the Gumbel-softmax.

.. math:: q(z \mid x) = \prod_i \operatorname{Cat}(z_i; \operatorname{softmax} h_i(x))

The divergence from the prior is a sum in closed form. Training and evaluation see choices, so that the reported
bound is one; a gradient takes the way of the relaxed draw beside them and is a little wrong, the more so the
smaller its noise. Relaxed draws themselves may stand in training for them, as published; then the bound that
training reports is none.

References:
    Categorical reparameterization with Gumbel-softmax (Jang, Gu and Poole, 2017), https://arxiv.org/abs/1611.01144
    The concrete distribution (Maddison, Mnih and Teh, 2017), https://arxiv.org/abs/1611.00712
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution, Independent

from ..distributions import GumbelOneHot
from ..errors import ConfigError
from ..nn.network import size
from ..shapes import event_shape_of, full_precision, is_positive
from ..slots import Level
from .base import Posterior


class GumbelSoftmax(Posterior):
    """P independent choices among K values.

    Args:
        event_shape: (P · K,).
        categories: Number K of values of each, as the prior's.
        temperature: τ of the relaxed draws.
        hard: Draw choices in training; False draws relaxed ones there.

    Raises:
        ConfigError: a code is no multiple of K numbers, or τ is not positive.
    """

    partners: ClassVar = {"prior": "categorical"}
    agree: ClassVar = ("categories",)

    def __init__(
        self,
        event_shape: int | Sequence[int],
        categories: int = 10,
        temperature: float = 0.5,
        hard: bool = True,
    ) -> None:
        shape = event_shape_of(event_shape)
        if len(shape) != 1 or shape[0] % size("categories", categories) or not is_positive(temperature):
            raise ConfigError(
                f"GumbelSoftmax needs a multiple of categories={categories} numbers and a temperature > 0; got "
                f"{shape} and {temperature!r}"
            )
        level = (shape[0] // categories, categories)
        super().__init__(shape, level, [Level(level, "simplex")])
        self.categories, self.temperature, self.hard = categories, temperature, hard

    def forward(self, h: Tensor) -> Distribution:
        """Return q(z | x), batch (B,), from logits (B, P, K)."""
        hard = self.hard or not self.training
        choice = GumbelOneHot(full_precision(h), float(self.temperature), hard)
        return Independent(choice, 1, validate_args=False)
