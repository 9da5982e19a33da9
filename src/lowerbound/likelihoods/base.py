"""The interface of an observation family.

The decoder gives ``input_shape`` numbers per example, a leading axis of P parameters before the event's own
axes; the likelihood makes of them a distribution over x, normalised over its stated support. To add one,
write a class with the members below in a file of its own and name it by ``lowerbound.register``; ``start`` (see
``slots.py``) returns the decoder's output at which p(x | z) has the data's mean and spread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from ..errors import SupportError
from ..shapes import event_shape_of, full_precision
from ..slots import Family, Part


class Likelihood(Family, ABC):
    """Base of the observation families.

    Args:
        event_shape: Shape of one observation; an integer D stands for (D,).
        parameters: Number P of decoder outputs per element of x.

    Attributes:
        scores: Kinds of value (``DataSpec.values``) that it can score; empty if the class does not say, and then
            ``check`` alone decides.
        scores_missing: Its distributions score a missing value (NaN) themselves.
        standardised: Real values are standardised for it, unless another transform is chosen.
        discrete: Its values are discrete whatever the data say, so that log p(x) is that of a probability.
        layout: The named parts of x; None if it has none.
        context_size: Size of the embedded condition (B, C) that ``forward`` takes beside the decoder's output, or 0.
        given: What of x itself its density is given, in a word ("library", "total"); None if that is a density of x.
        inside: A value in the support, which stands where x has none; its density is not counted.
    """

    scores: ClassVar[frozenset[str]] = frozenset()
    scores_missing: ClassVar[bool] = False
    standardised: ClassVar[bool] = False
    discrete: ClassVar[bool] = False
    inside: ClassVar[float] = 0.0
    layout: Sequence[Part] | None = None
    context_size: int = 0
    given: str | None = None

    def __init__(self, event_shape: int | Sequence[int], parameters: int = 1) -> None:
        super().__init__()
        self.event_shape = event_shape_of(event_shape)
        self.input_shape = (parameters, *self.event_shape)

    def law(self, *parameters: Tensor) -> Distribution:
        """Return the distribution of each element, batch (..., *event), from its parameters, (..., *event) each."""
        raise NotImplementedError(f"{type(self).__name__} has neither law nor forward")

    def forward(self, h: Tensor) -> Distribution:
        """Return p(x | z), event shape of x, from the decoder's output (..., *input_shape).

        Here its elements are independent, each of the ``law`` that its P parameters give.
        """
        axes, h = len(self.event_shape), full_precision(h)
        # The gradient of what is unbound is put together again, that of one parameter need not be.
        parts = h.unbind(-1 - axes) if self.input_shape[0] > 1 else [h.squeeze(-1 - axes)]
        return Independent(self.law(*parts), axes, validate_args=False)

    @abstractmethod
    def check(self, x: Tensor) -> None:
        """Raise SupportError unless every element of ``x`` lies in the support."""

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one observation as the encoder sees it."""
        return self.event_shape

    def features(self, x: Tensor) -> Tensor:
        """Return ``x`` as real numbers for the encoder, (B, *feature_shape)."""
        return x

    def shape_beside_mask(self) -> tuple[int, ...]:
        """Return the shape of the features with a mask of the observation's elements below them."""
        first, *rest = self.feature_shape
        return (first + self.event_shape[0], *rest)

    def per_feature(self, mask: Tensor) -> Tensor:
        """Return what each feature is of, (B, *feature_shape), for numbers (B, *event), one for each element of x."""
        times = self.feature_shape[0] // self.event_shape[0]
        return mask.repeat(1, times, *[1] * (mask.ndim - 2)) if times > 1 else mask

    def information(self, p: Distribution, u: Tensor) -> Sequence[Tensor] | None:
        """Return numbers, (..., *event) each, whose derivative J gives the Fisher information J'J.

        Of whatever p is made of: a Gauss-Newton step needs their derivatives alone. None if there is no closed form.

        Args:
            p: What ``forward`` gave, possibly restricted to some elements.
            u: Observations (B, *event), of which some densities take a total.
        """
        return None

    def values(self, p: Distribution) -> Tensor:
        """Return a draw from ``p`` in which nothing is missing."""
        return p.sample()

    def given_gaps(self, p: Distribution, gone: Tensor) -> Distribution:
        """Return ``p`` given which elements (B, *event) were found missing, for what stands in their places.

        It is p itself, unless that is a part of its density.
        """
        return p

    def refuse(self, x: Tensor, outside: Tensor, support: str, remedy: str) -> None:
        """Raise SupportError, with an example value, if any element is marked as ``outside``."""
        if bool(outside.any()):
            low, high = x.min().item(), x.max().item()
            value = x[outside][0].item()
            raise SupportError(
                f"{type(self).__name__} needs x in {support}; got values in [{low:g}, {high:g}], "
                f"for example {value:g}; {remedy}"
            )


def refuse_non_finite(likelihood: Likelihood, x: Tensor) -> None:
    """Raise SupportError if ``x`` holds a NaN or an infinity."""
    likelihood.refuse(x, ~torch.isfinite(x), "the real numbers", "remove or fill missing values first")
