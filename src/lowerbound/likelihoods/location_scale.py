r"""What likelihoods of a location and a scale have in common: where the scale comes from.

.. math:: p(x \mid z) = \prod_d \frac{1}{s_d} f\left(\frac{x_d - \mu_d(z)}{s_d}\right)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from ..distributions import bounded_exp
from ..errors import ConfigError, suggest
from ..shapes import full_precision, is_positive
from .base import Likelihood, refuse_non_finite

Scale = Literal["learned", "per_dimension", "predicted"]


class LocationScale(Likelihood):
    """Base of these; a subclass says by ``law`` of location and scale what f is.

    Args:
        event_shape: Shape of one observation.
        scale: A number (s fixed), or "learned" (one s, a parameter), "per_dimension" (one parameter each) or
            "predicted" (the decoder gives s for each x and dimension).

    Raises:
        ConfigError: the scale is none of these.
    """

    scores = frozenset({"binary", "unit", "real"})
    standardised = True

    def __init__(self, event_shape: int | Sequence[int], scale: float | Scale = "per_dimension") -> None:
        words = get_args(Scale)
        if not is_positive(scale) and scale not in words:
            raise ConfigError(
                f"{type(self).__name__} needs a positive number as scale, or a word; got {scale!r}; "
                f"{suggest(str(scale), words)}"
            )
        super().__init__(event_shape, parameters=2 if scale == "predicted" else 1)
        self.scale = scale
        shape = {"learned": (), "per_dimension": self.event_shape}.get(str(scale))
        self.log_scale = None if shape is None else nn.Parameter(torch.zeros(shape))

    def forward(self, h: Tensor) -> Distribution:
        """Return p(x | z) from locations (..., 1, *event), with log-scales as a second parameter if predicted."""
        loc, *more = full_precision(h).unbind(-1 - len(self.event_shape))
        if not isinstance(self.scale, str):
            scale = torch.full_like(loc, self.scale)
        else:
            raw = more[0] if self.log_scale is None else self.log_scale
            scale = bounded_exp(raw).expand_as(loc)
        return Independent(self.law(loc, scale), len(self.event_shape), validate_args=False)

    def check(self, x: Tensor) -> None:
        """Raise SupportError if x is not finite."""
        refuse_non_finite(self, x)

    @torch.no_grad()
    def start(self, u: Tensor, model: Any) -> Tensor:
        """Return the mean and, if predicted, the log-scale of the data's spread; sets s where it is a parameter."""
        mean, spread = u.mean(0), u.std(0, correction=0).clamp(min=1e-2)
        one = self.law(torch.zeros(()), torch.ones(())).stddev
        spread = spread / torch.where(one.isfinite(), one, 1.0).to(spread)  # a Cauchy law has no spread
        if self.log_scale is not None:
            fitted = spread if self.log_scale.ndim else spread.square().mean().sqrt()
            self.log_scale.copy_(fitted.log())
        return torch.stack([mean, spread.log()]) if self.scale == "predicted" else mean.unsqueeze(0)
