r"""Likelihoods of positive numbers: durations, amounts, intensities.

.. math::
    \text{log-normal:}\quad & \log p(x \mid z) = \sum_d \log N(\log x_d; \mu_d, \sigma_d) - \log x_d \\
    \text{gamma:}\quad & \log p(x \mid z) = \sum_d a_d \log \frac{a_d}{m_d} - \log \Gamma(a_d)
        + (a_d - 1) \log x_d - \frac{a_d x_d}{m_d}

The gamma law has mean m and standard deviation m / √a.

Reference:
    gamma observations of spectra: Nonnegative matrix factorization with the Itakura-Saito divergence (Févotte, Bertin
    and Durrieu, 2009), a = 1; with a VAE: A variance modeling framework based on variational autoencoders for speech
    enhancement (Leglaive, Girin and Horaud, 2018), https://arxiv.org/abs/1902.01605
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions import Gamma as TorchGamma
from torch.distributions import LogNormal as TorchLogNormal

from ..distributions import bounded_exp
from .base import Likelihood

_FAR = 60.0  # logarithm of a mean that float32 still holds, divided by a shape


class _Positive(Likelihood):
    """Positive numbers, two parameters each; the encoder sees their logarithms."""

    scores = frozenset({"real"})
    inside = 1.0

    def __init__(self, event_shape: int | Sequence[int]) -> None:
        super().__init__(event_shape, parameters=2)

    def features(self, x: Tensor) -> Tensor:
        """Return log x."""
        return x.log()

    def check(self, x: Tensor) -> None:
        """Raise SupportError unless every element is positive and finite."""
        self.refuse(
            x,
            ~((x > 0) & x.isfinite()),
            "the positive numbers",
            "shift or fill what is not, or use 'gaussian'",
        )


class LogNormal(_Positive):
    """Independent log-normal observations; the decoder gives mean and log-standard deviation of log x.

    Args:
        event_shape: Shape of one observation.
    """

    def law(self, first: Tensor, second: Tensor) -> Distribution:
        """Return the log-normal distribution of each element."""
        return TorchLogNormal(first, bounded_exp(second), validate_args=False)

    def start(self, u: Tensor, model: Any) -> Tensor:
        """Return mean and log of the spread of log x."""
        log = u.log()
        return torch.stack([log.mean(0), log.std(0, correction=0).clamp(min=1e-2).log()])


class Gamma(_Positive):
    """Independent gamma observations; the decoder gives the logarithms of mean m and shape a.

    Args:
        event_shape: Shape of one observation.
    """

    def law(self, first: Tensor, second: Tensor) -> Distribution:
        """Return the gamma distribution of each element."""
        a = bounded_exp(second)
        return TorchGamma(a, a * torch.exp(-first.clamp(-_FAR, _FAR)), validate_args=False)

    def start(self, u: Tensor, model: Any) -> Tensor:
        """Return log-mean and log-shape by the data's moments."""
        mean, variance = u.mean(0), u.var(0, correction=0)
        return torch.stack([mean.log(), (mean.square() / variance.clamp(min=1e-12)).clamp(0.01, 1e4).log()])
