r"""Priors learned with the rest: autoregressive flows, affine ones or by splines.

.. math:: z = f^{-1}(\epsilon), \quad \epsilon \sim \mathcal{N}(0, I), \qquad
    \log p(z \mid c) = \log \mathcal{N}(f(z); 0, I) + \log |\det \partial f|

where number i of f depends on the numbers up to i. Scoring takes one pass, drawing one for each latent dimension; the
prior ``flow`` is fast both ways.

References:
    Masked autoregressive flow for density estimation (Papamakarios, Pavlakou and Murray, 2017),
    https://arxiv.org/abs/1705.07057
    Neural spline flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..distributions import gentle, zuko
from ..errors import ConfigError
from ..nn.network import size, sizes
from ..shapes import numel
from .base import Encode, Prior


class MAF(Prior):
    """Masked autoregressive flow, conditional if there is a context.

    Args:
        event_shape: Number of latent dimensions, or (L,).
        transforms: Number of autoregressive maps.
        hidden: Widths of the hidden layers of each one's network.
        context: Size of the context vector.

    Raises:
        ConfigError: a code is no vector, or zuko is not installed.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        transforms: int = 3,
        hidden: Sequence[int] = (64, 64),
        context: int = 0,
    ) -> None:
        super().__init__(event_shape, context)
        if len(self.event_shape) != 1:
            raise ConfigError(f"{type(self).__name__} needs a vector latent (L,); got {self.event_shape}")
        self.transforms = size("transforms", transforms)
        self.hidden = sizes("hidden", hidden)
        self.flow = gentle(self._build(numel(self.event_shape), context))

    def _build(self, length: int, context: int) -> Any:
        return zuko().flows.MAF(length, context, transforms=self.transforms, hidden_features=self.hidden)

    def forward(self, context: Tensor | None = None, encode: Encode | None = None) -> Distribution:
        """Return p(z | c): batch (B,) with a context (B, E), else ()."""
        p = self.flow(context if self.context else None)
        p.tempered = partial(_tempered, p)
        return p


class NSF(MAF):
    """Autoregressive flow of monotone splines; beyond [−5, 5] each is the identity.

    Args:
        event_shape: Number of latent dimensions, or (L,).
        transforms: Number of autoregressive maps.
        hidden: Widths of the hidden layers of each one's network.
        bins: Number of pieces of each spline.
        context: Size of the context vector.

    Raises:
        ConfigError: a code is no vector, or zuko is not installed.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        transforms: int = 3,
        hidden: Sequence[int] = (64, 64),
        bins: int = 8,
        context: int = 0,
    ) -> None:
        self.bins = size("bins", bins)
        super().__init__(event_shape, transforms, hidden, context)

    def _build(self, length: int, context: int) -> Any:
        flows = zuko().flows
        return flows.NSF(
            length, context, bins=self.bins, transforms=self.transforms, hidden_features=self.hidden
        )


def _tempered(p: Any, shape: torch.Size | Sequence[int], temperature: float) -> Tensor:
    """Draw codes of a flow, those of N(0, I) with their distance from 0 multiplied by ``temperature``."""
    return p.transform.inv(temperature * p.base.sample(torch.Size(shape)))
