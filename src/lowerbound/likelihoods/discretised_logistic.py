r"""Grey levels as what they are, whole numbers: a logistic law, or a mixture of several, by intervals.

.. math:: P(x \mid z) = \sum_k \pi_k \left[ \sigma\left(\frac{x + \delta/2 - \mu_k}{s_k}\right)
    - \sigma\left(\frac{x - \delta/2 - \mu_k}{s_k}\right) \right]

for each element, with the step δ between levels, and with the tails given to the lowest and the highest level. So
-log p(x) is that of the bytes themselves, and nothing is dequantised.

References:
    Improving variational inference with inverse autoregressive flow (Kingma et al., 2016), one component,
    https://arxiv.org/abs/1606.04934, section 5.2
    PixelCNN++ (Salimans et al., 2017), several, https://arxiv.org/abs/1701.05517, section 2.1; there the three
    colours of a pixel depend on one another
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from ..distributions import DiscretisedLogistic as Law
from ..distributions import Mixture, bounded_exp
from ..errors import ConfigError
from ..shapes import full_precision
from .base import Likelihood


class DiscretisedLogistic(Likelihood):
    """Independent levels 0, 1/(L−1), ..., 1; the decoder gives location and log-scale, of several also their logits.

    Args:
        event_shape: Shape of one observation.
        levels: Number L of levels, at least 2.
        components: Number of logistic laws that are mixed.

    Raises:
        ConfigError: there are fewer than two levels, or no component.
    """

    scores = frozenset({"unit"})
    discrete = True

    def __init__(self, event_shape: int | Sequence[int], levels: int = 256, components: int = 1) -> None:
        for name, value, least in (("levels", levels, 2), ("components", components, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"DiscretisedLogistic needs {name} >= {least}; got {value!r}")
        super().__init__(event_shape, parameters=2 if components == 1 else 3 * components)
        self.levels, self.components = levels, components

    def forward(self, h: Tensor) -> Distribution:
        """Return p(x | z) from (..., P, *event)."""
        axis = -1 - len(self.event_shape)
        loc, raw, *logits = full_precision(h).unflatten(axis, (-1, self.components)).unbind(axis - 1)
        parts = Law(loc.movedim(axis, 0), bounded_exp(raw).movedim(axis, 0), self.levels)
        each = (
            Mixture(parts, logits[0].movedim(axis, 0))
            if logits
            else Law(parts.loc[0], parts.scale[0], self.levels)
        )
        return Independent(each, len(self.event_shape), validate_args=False)

    def check(self, x: Tensor) -> None:
        """Raise SupportError unless every element is one of the levels."""
        top = self.levels - 1
        place = x * top
        off = ~((place - place.round()).abs() < 1e-3)
        self.refuse(
            x,
            off | ~((x >= 0) & (x <= 1)),
            f"{{0, 1/{top}, ..., 1}}",
            "load bytes with dequantize=False, or set levels",
        )

    def start(self, u: Tensor, model: Any) -> Tensor:
        """Return the mean and the spread of the data; several components stand side by side."""
        mean, spread = u.mean(0), u.std(0, correction=0).clamp(min=1 / self.levels)
        scale = (spread * math.sqrt(3) / math.pi).log()
        k = self.components
        if k == 1:
            return torch.stack([mean, scale])
        place = torch.linspace(-1, 1, k).to(u).reshape(k, *[1] * mean.ndim)
        return torch.cat(
            [mean + spread * place, (scale - 0.5).expand(k, *scale.shape), torch.zeros_like(place * mean)]
        )
