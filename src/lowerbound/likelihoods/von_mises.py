r"""Von Mises likelihood of angles.

.. math:: \log p(x \mid z) = \sum_d a_d \cos x_d + b_d \sin x_d - \log 2 \pi I_0\big(\sqrt{a_d^2 + b_d^2}\big)

Reference:
    of torsion angles in proteins: Protein bioinformatics and mixtures of bivariate von Mises distributions (Mardia,
    Taylor and Subramaniam, 2007)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..distributions import VonMises as Law
from .base import Likelihood


class VonMises(Likelihood):
    """Independent angles in radians, [−π, π]; the decoder gives two numbers each, the direction times κ.

    Args:
        event_shape: Shape of one observation.
    """

    scores = frozenset({"real", "unit", "binary"})

    def __init__(self, event_shape: int | Sequence[int]) -> None:
        super().__init__(event_shape, parameters=2)

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Cosines, then sines as further channels."""
        return (2 * self.event_shape[0], *self.event_shape[1:])

    def features(self, x: Tensor) -> Tensor:
        """Return cosines and sines, (B, *feature_shape): there is no seam in them."""
        return torch.cat([x.cos(), x.sin()], 1)

    def law(self, a: Tensor, b: Tensor) -> Distribution:
        """Return the von Mises distribution of each element."""
        return Law(a, b)

    def check(self, x: Tensor) -> None:
        """Raise SupportError unless every element is an angle in [−π, π]."""
        outside = ~(x.abs() <= math.pi + 1e-6)
        self.refuse(x, outside, "[-pi, pi] (radians)", "take np.angle(np.exp(1j * x)) of other angles")

    def start(self, u: Tensor, model: Any) -> Tensor:
        """Return the mean direction times a κ of about its length (Mardia and Jupp, 2000, section 5.3.1)."""
        mean = torch.stack([u.cos().mean(0), u.sin().mean(0)])
        r = mean.norm(dim=0).clamp(1e-3, 0.99)
        return mean / mean.norm(dim=0).clamp(min=1e-12) * r * (2 - r.square()) / (1 - r.square())

    def point(self, p: Distribution) -> Tensor:
        """Return the most probable angle: a mean of angles as numbers depends on the seam."""
        return p.base_dist.direction  # pyright: ignore[reportAttributeAccessIssue]
