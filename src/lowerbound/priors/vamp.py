r"""A prior made of the posterior: the mixture of the posteriors of learned pseudo-inputs.

.. math:: p(z \mid c) = \frac1K \sum_k q(z \mid u_k, c)

The best prior for the bound is the aggregate of q(z | x) over the data; this is one over few examples that are
learned.

Reference:
    VAE with a VampPrior (Tomczak and Welling, 2018), https://arxiv.org/abs/1705.07120
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..distributions import Mixture
from ..errors import ConfigError
from ..nn.network import size
from ..shapes import event_shape_of
from .base import Encode, Prior


class VampPrior(Prior):
    """Mixture of q(z | u) over K pseudo-inputs; under a condition each is read under it.

    Args:
        event_shape: Shape of one latent code.
        data_shape: Shape of one observation.
        components: Number K of pseudo-inputs; the paper's is 500, and each is encoded once a step.
        weighted: Learn the parts' probabilities, which are equal otherwise.
    """

    derived: ClassVar = frozenset({"data_shape"})

    def __init__(
        self,
        event_shape: int | Sequence[int],
        data_shape: Sequence[int],
        components: int = 50,
        weighted: bool = False,
    ) -> None:
        super().__init__(event_shape)
        self.data_shape = event_shape_of(data_shape, "data_shape")
        self.components, self.weighted = size("components", components), weighted
        self.inputs = nn.Parameter(torch.randn(components, *self.data_shape))
        self.logits = nn.Parameter(torch.zeros(components)) if weighted else None

    def start(self, u: Tensor, model: Any) -> None:
        """Take examples of the data as pseudo-inputs.

        Raises:
            ConfigError: what the encoder sees of an example has no gradient in it, as of classes.
        """
        with torch.no_grad():
            few = len(u) < self.components
            self.inputs.copy_(u[torch.multinomial(torch.ones(len(u)), self.components, replacement=few)])
        with torch.enable_grad():
            moves = model.features(self.inputs[:1]).requires_grad
        if not moves:
            raise ConfigError(
                "the prior 'vamp' moves its pseudo-inputs by gradients, which classes and the columns of a table do "
                "not have; use 'gaussian_mixture' or 'flow'"
            )

    def forward(self, context: Tensor | None = None, encode: Encode | None = None) -> Distribution:
        """Return p(z | c), batch (B,) with a context (B, E), else ()."""
        assert encode is not None
        return Mixture(encode(self.inputs), self.logits)
