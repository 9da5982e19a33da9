r"""Gaussian posterior with few directions of correlation.

.. math:: q(z \mid x) = \mathcal{N}(z; \mu(x), \operatorname{diag} \sigma(x)^2 + F(x) F(x)^\top)

with F of r columns: between the factorised Gaussian and the one of full covariance, at a cost linear in the
dimensions.

Reference:
    Gaussian variational approximation with a factor covariance structure (Ong, Nott and Smith, 2018),
    https://arxiv.org/abs/1701.03208
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.distributions import Distribution, LowRankMultivariateNormal

from ..distributions import bounded_exp
from ..errors import ConfigError
from ..nn.network import size
from ..shapes import event_shape_of, full_precision
from .base import Posterior


class LowRankGaussian(Posterior):
    """Gaussian of low-rank plus diagonal covariance.

    Args:
        event_shape: Number of latent dimensions k, or (k,).
        rank: Number r of directions, at most k.

    Raises:
        ConfigError: a code is no vector, or there are more directions than dimensions.
    """

    def __init__(self, event_shape: int | Sequence[int], rank: int = 2) -> None:
        shape = event_shape_of(event_shape)
        if len(shape) != 1 or size("rank", rank) > shape[0]:
            raise ConfigError(
                f"LowRankGaussian needs a vector latent (k,) and a rank of at most k; got {shape} and rank={rank}"
            )
        super().__init__(shape, (2 + rank, shape[0]))
        self.rank = rank

    def forward(self, h: Tensor) -> Distribution:
        """Return q(z | x), batch (B,), from (B, 2 + r, k): means, log-scales, and the columns of F."""
        numbers = full_precision(h)
        loc, raw, columns = numbers[..., 0, :], numbers[..., 1, :], numbers[..., 2:, :]
        return LowRankMultivariateNormal(loc, columns.mT, bounded_exp(raw).square(), validate_args=False)
