r"""Likelihood of ordered classes: cumulative logits.

.. math:: P(x_d \le k \mid z) = \sigma(\theta_{d, k} - f_d(z)), \qquad \theta_{d, 0} < \dots < \theta_{d, K - 2}

The decoder gives one number per element and the thresholds are parameters, so that neighbouring classes are alike.

References:
    Regression models for ordinal data (McCullagh, 1980); in a VAE for tables: Handling incomplete heterogeneous data
    using VAEs (Nazábal et al., 2020), https://arxiv.org/abs/1807.03653, section 3.1
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution

from ..distributions import log_between
from .categorical import Classes


class Ordinal(Classes):
    """Independent ordered classes 0 < 1 < ... < K−1; the decoder gives one location each.

    Args:
        event_shape: Shape of one observation.
        categories: Number of classes K, at least 2.

    Raises:
        ConfigError: there are fewer than two classes.
    """

    discrete = True

    def __init__(self, event_shape: int | Sequence[int], categories: int) -> None:
        super().__init__(event_shape, categories)
        start = torch.arange(categories - 1) - (categories - 2) / 2
        raw = torch.full((categories - 1, *self.event_shape), math.log(math.e - 1))  # softplus gives 1
        raw[0] = start[0]
        self.thresholds = nn.Parameter(raw)

    def features(self, x: Tensor) -> Tensor:
        """Return the classes' places in [−1, 1]."""
        return 2 * x.to(torch.get_default_dtype()) / (self.categories - 1) - 1

    def law(self, location: Tensor) -> Distribution:
        """Return the distribution over the classes of each element."""
        f = location.unsqueeze(-1)
        gaps = F.softplus(self.thresholds[1:])
        edges = (
            torch.cat([self.thresholds[:1], self.thresholds[:1] + gaps.cumsum(0)]).movedim(0, -1).to(f) - f
        )
        end = torch.full_like(edges[..., :1], torch.inf)
        width = gaps.movedim(0, -1).to(f).expand(*edges.shape[:-1], -1)
        mass = log_between(
            torch.cat([-end, edges], -1), torch.cat([edges, end], -1), torch.cat([end, width, end], -1)
        )
        return Categorical(logits=mass, validate_args=False)

    @torch.no_grad()
    def start(self, u: Tensor, model: Any) -> Tensor:
        """Set the thresholds to the data's frequencies; the location that goes with them is 0."""
        below = torch.stack([(u <= k).sum(0) for k in range(self.categories - 1)]).to(self.thresholds)
        # Between classes that never occur a gap remains.
        steps = torch.arange(1, self.categories).to(below).reshape(-1, *[1] * (u.ndim - 1))
        edges = ((below + 0.1 * steps) / (len(u) + 0.1 * self.categories)).logit()
        self.thresholds[0] = edges[0]
        self.thresholds[1:] = edges.diff(dim=0).expm1().clamp(min=1e-6).log()  # the inverse of softplus
        return torch.zeros_like(edges[:1])
