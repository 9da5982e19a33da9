r"""Likelihood for unordered classes.

.. math:: \log p(x \mid z) = \sum_d h_{x_d, d} - \log \sum_k e^{h_{k, d}}, \qquad x_d \in \{0, \dots, K - 1\}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Distribution, Independent

from ..errors import ConfigError
from ..shapes import full_precision
from .base import Likelihood


class Classes(Likelihood):
    """Base of likelihoods of classes 0..K-1.

    Args:
        event_shape: Shape of one observation.
        categories: Number of classes K, at least 2.
        parameters: Number of decoder outputs per element.

    Raises:
        ConfigError: there are fewer than two classes.
    """

    scores = frozenset({"binary", "categorical"})

    def __init__(self, event_shape: int | Sequence[int], categories: int, parameters: int = 1) -> None:
        if isinstance(categories, bool) or not isinstance(categories, int) or categories < 2:
            raise ConfigError(f"{type(self).__name__} needs categories >= 2; got {categories!r}")
        super().__init__(event_shape, parameters)
        self.categories = categories

    def check(self, x: Tensor) -> None:
        """Raise SupportError unless x is a whole number from 0 to K - 1 everywhere."""
        outside = (x < 0) | (x >= self.categories) | (x != x.round() if x.is_floating_point() else False)
        self.refuse(
            x, outside, f"{{0, ..., {self.categories - 1}}}", "number the classes from 0, or raise categories"
        )

    def point(self, p: Distribution) -> Tensor:
        """Return the most probable class: a mean of class numbers has no meaning."""
        return p.mode


class Categorical(Classes):
    """Independent classes 0..K-1; the decoder gives K logits per element.

    Args:
        event_shape: Shape of one observation.
        categories: Number of classes K, at least 2.
    """

    def __init__(self, event_shape: int | Sequence[int], categories: int) -> None:
        super().__init__(event_shape, categories, categories)

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """One-hot classes become channels: (K C, H, W) or (K D,)."""
        return (self.categories * self.event_shape[0], *self.event_shape[1:])

    def features(self, x: Tensor) -> Tensor:
        """Return one-hot classes as channels, (B, *feature_shape)."""
        one_hot = F.one_hot(x.long(), self.categories).movedim(-1, 1)
        return one_hot.reshape(len(x), *self.feature_shape).to(torch.get_default_dtype())

    def forward(self, h: Tensor) -> Distribution:
        """Return p(x | z) from logits (..., K, *event)."""
        axes = len(self.event_shape)
        logits = full_precision(h).movedim(-1 - axes, -1)
        return Independent(TorchCategorical(logits=logits, validate_args=False), axes, validate_args=False)

    def information(self, p: Distribution, u: Tensor) -> Sequence[Tensor]:
        """Return of each class √p log p, with √p held fixed: of the logits diag(p) − pp'."""
        log_p: Tensor = p.base_dist.logits  # pyright: ignore[reportAttributeAccessIssue]
        return ((log_p / 2).exp().detach() * log_p).unbind(-1)

    def start(self, u: Tensor, model: Any) -> Tensor:
        """Return the logarithms of the classes' frequencies at each place, none of which is taken for 0."""
        counts = torch.stack([(u == k).sum(0) for k in range(self.categories)]).to(torch.get_default_dtype())
        return ((counts + 1) / (len(u) + self.categories)).log()
