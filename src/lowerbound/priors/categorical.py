r"""The prior of codes that are choices: P variables of K values each, one-hot.

.. math:: p(z \mid c) = \prod_{i=1}^{P} \prod_{k=1}^{K} \pi_{ik}(c)^{z_{ik}}

Reference:
    Categorical reparameterization with Gumbel-softmax (Jang, Gu and Poole, 2017), https://arxiv.org/abs/1611.01144
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from ..distributions import OneHot
from ..errors import ConfigError
from ..nn import MLP
from ..nn.network import size, sizes
from ..shapes import event_shape_of
from ..slots import Level
from .base import Encode, Prior


class Categorical(Prior):
    """Independent choices, whose probabilities are parameters, or a network of the context's.

    Args:
        event_shape: (P · K,).
        categories: Number K of values of each.
        hidden: Widths of the network's hidden layers; without, an affine map.
        context: Size of the context vector.

    Raises:
        ConfigError: a code is no multiple of K numbers.
    """

    partners: ClassVar = {"posterior": "gumbel_softmax"}
    agree: ClassVar = ("categories",)

    def __init__(
        self,
        event_shape: int | Sequence[int],
        categories: int = 10,
        hidden: Sequence[int] = (64,),
        context: int = 0,
    ) -> None:
        shape = event_shape_of(event_shape)
        if len(shape) != 1 or size("categories", categories) < 2 or shape[0] % categories:
            raise ConfigError(
                f"choices among {categories} take a multiple of {categories} numbers, and two values at least; got "
                f"{shape}: set latent, or categories of prior and posterior"
            )
        level = (shape[0] // categories, categories)
        super().__init__(shape, context, [Level(level, "simplex")])
        self.categories, self.hidden = categories, sizes("hidden", hidden, may_be_empty=True)
        self.logits = nn.Parameter(torch.zeros(level))
        self.network = MLP((context,), level, hidden=self.hidden) if context else None

    def forward(self, context: Tensor | None = None, encode: Encode | None = None) -> Distribution:
        """Return p(z | c) over (P, K): batch (B,) with a context (B, E), else ()."""
        logits = self.logits if self.network is None else self.logits + self.network(context)
        return Independent(OneHot(logits), 1, validate_args=False)

    def absorb(self, number: int, state: Any, z: Tensor) -> Tensor:
        """Return the choices side by side."""
        return z.flatten(-2)
