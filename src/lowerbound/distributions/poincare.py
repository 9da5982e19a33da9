r"""A normal law on the Poincaré ball, the ball of radius 1/√c with the geometry of constant curvature −c.

.. math::
    v \sim \mathcal{N}(0, \operatorname{diag} \sigma^2), \qquad
    z = \mu \oplus \tanh\left(\tfrac{\sqrt c\, r}{2}\right) \frac{v}{\sqrt c\, r}, \quad r = \|v\| = d(\mu, z)

    \log q(z) = \log \mathcal{N}(v; 0, \sigma) + (n - 1) \log \frac{\sqrt c\, r}{\sinh \sqrt c\, r}
        + n \log \frac{2}{1 - c \|z\|^2}

with Möbius addition ⊕. This is the density with respect to the numbers of z, not to the geometry's volume, whose
factor is the last term; divergences and importance weights are the same by either.

References:
    Continuous hierarchical representations with Poincaré variational auto-encoders (Mathieu et al., 2019),
    https://arxiv.org/abs/1901.06033
    A wrapped normal distribution on hyperbolic space (Nagano et al., 2019), https://arxiv.org/abs/1902.02992
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

_REACH = 8.0  # √c times the largest distance of a mean from the middle


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1, keepdim=True)


def _norm(a: Tensor) -> Tensor:
    """Return |a|, (..., 1), off 0, where it has no slope."""
    return (_dot(a, a) + 1e-30).sqrt()


def add(a: Tensor, b: Tensor, c: float) -> Tensor:
    """Return the Möbius sum of points (..., n) of the ball of curvature −c."""
    ab, aa, bb = _dot(a, b), _dot(a, a), _dot(b, b)
    return ((1 + 2 * c * ab + c * bb) * a + (1 - c * aa) * b) / (1 + 2 * c * ab + c**2 * aa * bb)


def from_middle(v: Tensor, c: float) -> Tensor:
    """Return the points at distances |v| from the middle, in the directions of v (..., n)."""
    r = _norm(v)
    return torch.tanh(math.sqrt(c) * r / 2) * v / (math.sqrt(c) * r)


def within_reach(v: Tensor, c: float) -> Tensor:
    """Return v (..., n), shortened smoothly so that its point can be told from the ball's rim."""
    r = math.sqrt(c) * _norm(v)
    return v * (_REACH * torch.tanh(r / _REACH) / r)


class WrappedNormal(Distribution):
    """Normal law about a point of the ball; its mean as numbers has no closed form.

    Args:
        loc: μ, (..., n), in the ball.
        scale: σ > 0, (..., n).
        curvature: c > 0.
    """

    arg_constraints: ClassVar = {}  # pyright: ignore[reportIncompatibleMethodOverride,reportAssignmentType]
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType]
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, curvature: float) -> None:
        self.loc, self.scale, self.curvature = loc, scale, curvature
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw points."""
        return self.tempered(sample_shape, 1.0)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw points, without gradients."""
        return self.rsample(sample_shape)

    def tempered(self, sample_shape: torch.Size | tuple[int, ...], temperature: float) -> Tensor:
        """Draw points whose distance from μ is multiplied by ``temperature``."""
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        v = (temperature * self.scale * noise).double()
        z = add(self.loc.double(), from_middle(v, self.curvature), self.curvature).to(self.loc)
        # Rounding may put a point on the rim, which is infinitely far.
        rim = (1 - 4 * torch.finfo(z.dtype).eps) / math.sqrt(self.curvature)
        return z * (rim / _norm(z)).clamp(max=1.0)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log q(value) in nats, (...), per unit of the numbers; −∞ outside the ball."""
        c, root = self.curvature, math.sqrt(self.curvature)
        n = self.event_shape[0]
        z, loc, scale = value.double(), self.loc.double(), self.scale.double()
        inside = c * _dot(z, z) < 1
        z = torch.where(inside, z, 0.0)
        y = add(-loc, z, c)
        length = (root * _norm(y)).clamp(max=1 - 1e-15)
        r = 2 * torch.atanh(length)  # √c times the distance
        v = r * y / length  # r / length is √c |v| / √c |y|
        normal = (-0.5 * (v / scale).square() - scale.log() - 0.5 * math.log(2 * math.pi)).sum(-1)
        # log(r / sinh r) without overflow
        log_sinh = r + torch.log(-torch.expm1(-2 * r)) - math.log(2)
        volume = (n - 1) * (r.log() - log_sinh) + n * (2 / (1 - c * _dot(z, z))).log()
        return torch.where(inside.squeeze(-1), normal + volume.squeeze(-1), -torch.inf).to(self.loc)
