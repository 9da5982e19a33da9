r"""Posteriors by normalising flows: a Gaussian draw carried on by maps that read the encoder's output.

.. math:: z = f_x(u), \quad u \sim \mathcal{N}(\mu(x), \operatorname{diag} \sigma(x)^2), \qquad
    \log q(z \mid x) = \log \mathcal{N}(u; \mu, \sigma) - \log |\det \partial f_x|

All begin near f = identity, which is the factorised Gaussian.

References:
    Improving variational inference with inverse autoregressive flow (Kingma et al., 2016),
    https://arxiv.org/abs/1606.04934
    Density estimation using Real NVP (Dinh, Sohl-Dickstein and Bengio, 2017), couplings, https://arxiv.org/abs/1605.08803
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from ..distributions import diagonal_gaussian, gentle, zuko
from ..errors import ConfigError
from ..nn.network import size, sizes
from ..shapes import event_shape_of, full_precision
from .base import Posterior


class IAF(Posterior):
    """Inverse autoregressive flow: fast to draw from, with log q; other codes are scored dimension by dimension.

    Args:
        event_shape: Number of latent dimensions, or (L,).
        transforms: Number of maps.
        hidden: Widths of the hidden layers of each one's network.
        features: Numbers that the encoder gives for the maps, beside μ and σ.

    Raises:
        ConfigError: a code is no vector, or zuko is not installed.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        transforms: int = 2,
        hidden: Sequence[int] = (64,),
        features: int = 32,
    ) -> None:
        shape = event_shape_of(event_shape)
        if len(shape) != 1:
            raise ConfigError(f"{type(self).__name__} needs a vector latent (L,); got {shape}")
        super().__init__(shape, (2 * shape[0] + size("features", features),))
        self.transforms, self.hidden = size("transforms", transforms), sizes("hidden", hidden)
        self.features = features
        self.flow = gentle(self._build())

    def _build(self, passes: int | None = None) -> Any:
        flow = zuko().flows.MAF(
            self.event_shape[0],
            self.features,
            transforms=self.transforms,
            hidden_features=self.hidden,
            passes=passes,
        )
        return zuko().flows.Flow(flow.transform.inv, flow.base)

    def forward(self, h: Tensor) -> Distribution:
        """Return q(z | x), batch (B,), from (B, 2 L + features): means, log-scales, and what the maps read."""
        k = self.event_shape[0]
        gaussian, features = full_precision(h).split([2 * k, self.features], -1)
        base = diagonal_gaussian(gaussian.unflatten(-1, (2, k)), 1)
        return zuko().distributions.NormalizingFlow(self.flow(features).transform, base)

    def point(self, q: Any) -> Tensor:
        """Return what the base's mean is carried to: a flow has no mean in closed form."""
        return q.transform.inv(q.base.mean)


class Coupling(IAF):
    """Affine couplings: fast to draw from and to score; at least two dimensions.

    Args:
        event_shape: Number of latent dimensions, or (L,).
        transforms: Number of maps.
        hidden: Widths of the hidden layers of each one's network.
        features: Numbers that the encoder gives for the maps, beside μ and σ.

    Raises:
        ConfigError: a code is no vector of two numbers at least, or zuko is not installed.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        transforms: int = 4,
        hidden: Sequence[int] = (64,),
        features: int = 32,
    ) -> None:
        if event_shape_of(event_shape) == (1,):
            raise ConfigError(
                "a coupling moves one half of the numbers by the other; got a latent of one number"
            )
        super().__init__(event_shape, transforms, hidden, features)

    def _build(self, passes: int | None = None) -> Any:
        return super()._build(passes=2)
