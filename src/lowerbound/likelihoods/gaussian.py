r"""Gaussian likelihood, with five ways to choose its standard deviation σ.

.. math::
    \log p(x \mid z) = -\sum_d \left[ \frac{(x_d - \mu_d(z))^2}{2 \sigma_d^2} + \log \sigma_d
                       + \tfrac12 \log 2\pi \right]

σ weighs the reconstruction against the KL term; leaving it at 1 (a mean squared error) is a strong statement
about the noise of the data. The default is the optimal σ: the maximum-likelihood value has a closed form, the
root mean squared error of the batch, so there is nothing to tune.

Reference:
    Simple and effective VAE training with calibrated decoders (Rybkin, Daniilidis and Levine, 2021),
    https://arxiv.org/abs/2006.13202, section 3
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from ..distributions import restrict
from ..errors import ConfigError, suggest
from ..shapes import full_precision
from .base import Likelihood, refuse_non_finite

SCALES = ("optimal", "learned", "per_dimension", "predicted")
Scale = Literal["optimal", "learned", "per_dimension", "predicted"]

# σ is kept above this: on constant pixels its maximum-likelihood value is 0 and the density is unbounded.
_FLOOR = 1e-4
_MOMENTUM = 0.02


class Gaussian(Likelihood):
    """Independent Gaussian observations.

    Args:
        event_shape: Shape of one observation.
        scale: A number (σ fixed), or "learned" (one σ, a parameter), "per_dimension" (one parameter each),
            "predicted" (the decoder gives σ for each x and dimension) or "optimal" (one σ in closed form: in
            training the root mean squared error of the batch at hand, in evaluation its running average).
    """

    log_scale: Tensor
    variance: Tensor
    seen: Tensor

    scores = frozenset({"binary", "unit", "real"})
    standardised = True

    def __init__(self, event_shape: int | Sequence[int], scale: float | Scale = "optimal") -> None:
        if isinstance(scale, str) and scale not in SCALES:
            raise ConfigError(
                f"Gaussian has no scale {scale!r}; a positive number, or {suggest(scale, SCALES)}"
            )
        if not isinstance(scale, str) and not (
            isinstance(scale, Real) and not isinstance(scale, bool) and 0 < scale < math.inf
        ):
            raise ConfigError(
                f"Gaussian needs a positive number as scale, or one of {', '.join(SCALES)}; got {scale!r}"
            )
        super().__init__(event_shape, parameters=2 if scale == "predicted" else 1)
        self.scale = scale if isinstance(scale, str) else float(scale)
        if scale == "learned":
            self.log_scale = nn.Parameter(torch.zeros(()))
        elif scale == "per_dimension":
            self.log_scale = nn.Parameter(torch.zeros(self.event_shape))
        elif scale == "optimal":
            # Running mean of the batches' squared errors; seen counts them, to start without a bias.
            self.register_buffer("variance", torch.ones(()))
            self.register_buffer("seen", torch.zeros(()))

    def forward(self, h: Tensor) -> Distribution:
        """Return p(x | z) from means (..., 1, *event), with log-scales as a second parameter if predicted."""
        parts = full_precision(h).unbind(-1 - len(self.event_shape))
        loc = parts[0]
        if isinstance(self.scale, float):
            scale = torch.full_like(loc, self.scale)
        elif self.scale == "optimal":
            scale = self.variance.sqrt().clamp(min=_FLOOR).expand_as(loc)
            if self.training:
                return _FittedScale(loc, scale, self._remember, len(self.event_shape))
        else:
            log_scale = parts[1] if self.scale == "predicted" else self.log_scale
            # Smooth floor: gradients survive where a hard one would stop them.
            scale = (torch.exp(10 * torch.tanh(log_scale / 10)) + _FLOOR).expand_as(loc)
        return Independent(
            Normal(loc, scale, validate_args=False), len(self.event_shape), validate_args=False
        )

    def information(self, p: Distribution, u: Tensor) -> Sequence[Tensor]:
        """Return the means over σ, and √2 log σ where the decoder gives σ."""
        base: Normal = p.base_dist  # pyright: ignore[reportAttributeAccessIssue]
        of_mean = base.loc / base.scale.detach()
        return [of_mean, math.sqrt(2) * base.scale.log()] if self.scale == "predicted" else [of_mean]

    def _remember(self, variance: Tensor) -> None:
        """Fold one batch's squared error into the running average that evaluation uses."""
        self.seen += 1
        weight = torch.clamp(1 / self.seen, min=_MOMENTUM)
        self.variance += weight * (variance - self.variance)

    def restart(self) -> None:
        """Forget the batches so far, as after a change of the weights: σ is that of the batches from here on."""
        if self.scale == "optimal":
            self.seen.zero_()

    def check(self, x: Tensor) -> None:
        """Raise SupportError if x is not finite."""
        refuse_non_finite(self, x)

    def start(self, u: Tensor, model: Any) -> Tensor:
        """Return the mean and, if predicted, the logarithm of the spread; sets σ where it is a parameter."""
        mean, spread = u.mean(0), u.std(0, correction=0).clamp(min=1e-2)
        with torch.no_grad():
            if self.scale == "learned":
                self.log_scale.copy_(spread.square().mean().sqrt().log())
            elif self.scale == "per_dimension":
                self.log_scale.copy_(spread.log())
            elif self.scale == "optimal":
                self.variance.copy_(spread.square().mean())
        return torch.stack([mean, spread.log()]) if self.scale == "predicted" else mean.unsqueeze(0)


class _FittedScale(Independent):
    """Gaussian whose log-density takes the σ that fits the observations best (Rybkin et al., eq. 5)."""

    def __init__(self, loc: Tensor, scale: Tensor, remember, axes: int, scored: Tensor | None = None) -> None:
        super().__init__(Normal(loc, scale, validate_args=False), axes, validate_args=False)
        self._remember = remember
        self._scored = scored
        # σ² of the observations scored last, and one to take in its place, as that of more draws than these.
        self.fitted: Tensor | None = None
        self.held: Tensor | None = None

    def restricted(self, scored: Tensor) -> _FittedScale:
        """Return the same with σ fitted to, and the log-density of, the scored elements only."""
        base = self.base_dist
        return _FittedScale(base.mean, base.stddev, self._remember, len(self.event_shape), scored)

    def _fit(self, value: Tensor) -> Tensor:
        error = (value - self.base_dist.mean).square()
        if self._scored is None:
            variance = error.mean()
        else:
            variance = (error * self._scored).sum() / self._scored.expand_as(error).sum().clamp(min=1)
        fitted = self.fitted = variance.clamp(min=_FLOOR**2)
        with torch.no_grad():
            self._remember(fitted)
        return fitted

    def log_prob(self, value: Tensor) -> Tensor:
        loc = self.base_dist.mean
        variance = self._fit(value) if self.held is None else self.held
        fitted = Independent(
            Normal(loc, variance.sqrt(), validate_args=False), len(self.event_shape), validate_args=False
        )
        return (fitted if self._scored is None else restrict(fitted, self._scored)).log_prob(value)
