r"""Beta likelihood of shares and grey levels strictly between 0 and 1.

.. math:: \log p(x \mid z) = \sum_d (a_d - 1) \log x_d + (b_d - 1) \log(1 - x_d) - \log B(a_d, b_d)

with mean m = a / (a + b) and concentration c = a + b from the decoder.

Reference:
    The continuous Bernoulli (Loaiza-Ganem and Cunningham, 2019), https://arxiv.org/abs/1907.06845, section 5,
    where it stands beside that one
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Beta as TorchBeta
from torch.distributions import Distribution

from ..distributions import bounded_exp
from .base import Likelihood

_EDGE = 2.0**-26  # where rounding has put a value on 0 or 1, it is scored this far inside
_ROUNDED = 1e-3  # share of such values; more are a part of the data


class _Inside(TorchBeta):
    """A Beta law that is not asked for its value on the ends, where it may be infinite."""

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value.clamp(_EDGE, 1 - max(_EDGE, torch.finfo(value.dtype).eps)))


class Beta(Likelihood):
    """Independent observations in (0, 1); the decoder gives the logit of the mean and the log of the concentration.

    Args:
        event_shape: Shape of one observation.
    """

    scores = frozenset({"unit"})
    inside = 0.5

    def __init__(self, event_shape: int | Sequence[int]) -> None:
        super().__init__(event_shape, parameters=2)

    def law(self, logit: Tensor, raw: Tensor) -> Distribution:
        """Return the Beta distribution of each element."""
        c, least = bounded_exp(raw), torch.finfo(logit.dtype).tiny
        a, b = (c * torch.sigmoid(side) + least for side in (logit, -logit))
        return _Inside(a, b, validate_args=False)

    def check(self, x: Tensor) -> None:
        """Raise SupportError unless 0 < x < 1; a few values that were rounded to an end pass."""
        ends = (x == 0) | (x == 1)
        rounded = int(ends.sum()) <= max(1, _ROUNDED * x.numel())
        outside = ~((x >= 0) & (x <= 1)) | (ends & (not rounded))
        self.refuse(x, outside, "(0, 1)", "load bytes with dequantize=True, or use 'continuous_bernoulli'")

    def start(self, u: Tensor, model: Any) -> Tensor:
        """Return logit of the mean and log-concentration by the data's moments."""
        mean, variance = u.mean(0).clamp(0.01, 0.99), u.var(0, correction=0).clamp(min=1e-4)
        c = (mean * (1 - mean) / variance - 1).clamp(0.1, 100)
        return torch.stack([mean.logit(), c.log()])
