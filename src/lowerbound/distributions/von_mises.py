r"""The von Mises law of an angle, by its natural parameters.

.. math:: \log p(x) = a \cos x + b \sin x - \log 2 \pi I_0(\kappa), \qquad \kappa = \sqrt{a^2 + b^2}

torch's own takes the Bessel function from a polynomial that is right to seven digits, and its parameters have a seam
where the direction passes π.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions import VonMises as TorchVonMises


class VonMises(Distribution):
    """Angles in [−π, π]; no ``mean``, for that of the numbers depends on where the circle is cut.

    Args:
        a: Natural parameter of the cosine.
        b: Of the sine, same shape.
    """

    arg_constraints: ClassVar = {}  # pyright: ignore[reportIncompatibleMethodOverride,reportAssignmentType]
    support = constraints.interval(-math.pi, math.pi)  # pyright: ignore[reportAssignmentType]

    def __init__(self, a: Tensor, b: Tensor) -> None:
        self.a, self.b = torch.broadcast_tensors(a, b)
        super().__init__(self.a.shape, validate_args=False)

    @property
    def concentration(self) -> Tensor:
        """κ, kept off 0, where a root has no slope."""
        return (self.a.square() + self.b.square() + torch.finfo(self.a.dtype).tiny).sqrt()

    @property
    def direction(self) -> Tensor:
        """The most probable angle."""
        return torch.atan2(self.b, self.a)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(value), elementwise, in nats per radian."""
        k = self.concentration
        # a cos x + b sin x − κ ≤ 0, so that nothing grows with κ.
        height = self.a * value.cos() + self.b * value.sin() - k
        return height - torch.special.i0e(k).log() - math.log(2 * math.pi)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw angles."""
        k = self.concentration.clamp(min=1e-6)
        drawn = TorchVonMises(self.direction, k, validate_args=False).sample(torch.Size(sample_shape))
        return drawn.clamp(-math.pi, math.pi).to(self.a)
