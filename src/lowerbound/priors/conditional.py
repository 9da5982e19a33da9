r"""A prior that depends on the condition.

.. math:: p(z \mid c) = \mathcal{N}(z; \mu(c), \operatorname{diag} \sigma(c)^2)

With N(0, I) in its place the codes are independent of c: they hold what c does not say, such as the style of a
digit of any class. This one lets c say where the codes lie, which a condition that leaves little open needs.

Reference:
    Learning structured output representation using deep conditional generative models (Sohn, Lee and Yan, 2015)
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.distributions import Distribution

from ..distributions import diagonal_gaussian
from ..errors import ConfigError
from ..nn import MLP
from .base import Encode, Prior


class ConditionalGaussian(Prior):
    """Factorised Gaussian whose means and scales are a network of the context.

    Args:
        event_shape: Shape of one latent code; an integer L stands for (L,).
        context: Size of the context vector.
        hidden: Widths of the network's hidden layers; without, an affine map.

    Raises:
        ConfigError: there is no context, so no condition.
    """

    def __init__(
        self, event_shape: int | Sequence[int], context: int = 0, hidden: Sequence[int] = (256,)
    ) -> None:
        if context < 1:
            raise ConfigError("the prior 'conditional_gaussian' needs a condition; use 'standard_normal'")
        super().__init__(event_shape, context)
        self.network = MLP((context,), (2, *self.event_shape), hidden=tuple(hidden))
        self.hidden = self.network.hidden

    def forward(self, context: Tensor | None = None, encode: Encode | None = None) -> Distribution:
        """Return p(z | c), batch (B,), from the context (B, E)."""
        return diagonal_gaussian(self.network(context), len(self.event_shape))
