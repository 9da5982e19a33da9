r"""The prior of the original paper.

.. math:: p(z) = \mathcal{N}(z; 0, I)

Reference:
    Auto-encoding variational Bayes (Kingma and Welling, 2014), https://arxiv.org/abs/1312.6114
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from .base import Encode, Prior


class StandardNormal(Prior):
    """Standard normal prior, without parameters.

    Args:
        event_shape: Shape of one latent code; an integer L stands for (L,).

    Example:
        >>> StandardNormal(2)().log_prob(torch.zeros(2)).item()  # -log(2 pi)
        -1.837877...
    """

    loc: Tensor

    def __init__(self, event_shape: int | Sequence[int]) -> None:
        super().__init__(event_shape)
        # A buffer, so that the prior follows the model's device and floating-point type.
        self.register_buffer("loc", torch.zeros(self.event_shape), persistent=False)

    def forward(self, context: Tensor | None = None, encode: Encode | None = None) -> Distribution:
        """Return p(z), batch shape (), event shape of the latent."""
        normal = Normal(self.loc, torch.ones_like(self.loc), validate_args=False)
        return Independent(normal, len(self.event_shape), validate_args=False)
