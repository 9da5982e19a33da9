r"""Laws of directions: the uniform one and that of von Mises and Fisher, on the unit sphere in d dimensions.

.. math::
    p(z) = \frac{\Gamma(d/2)}{2 \pi^{d/2}}, \qquad
    q(z) = \frac{\kappa^{\nu}}{(2\pi)^{d/2} I_{\nu}(\kappa)} e^{\kappa \mu^\top z}, \quad \nu = \tfrac d2 - 1

Densities are with respect to the sphere's surface. The cosine :math:`w = \mu^\top z` is drawn by rejection (Wood,
1994) and differentiated in κ implicitly, :math:`\partial w / \partial \kappa = -(\partial F / \partial \kappa) /
p(w)`, with the distribution function's derivative by quadrature over the angle; the rest of z is uniform and turned
by a reflection.

References:
    Simulation of the von Mises Fisher distribution (Wood, 1994)
    Hyperspherical variational auto-encoders (Davidson et al., 2018), https://arxiv.org/abs/1804.00891
    Implicit reparameterization gradients (Figurnov, Mohamed and Mnih, 2018), https://arxiv.org/abs/1805.08498
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Beta, Distribution, constraints
from torch.distributions.kl import register_kl

from .bessel import log_bessel_i

_NODES, _WEIGHTS = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(64))


def _normalised(z: Tensor) -> Tensor:
    return z / z.norm(dim=-1, keepdim=True)


class UniformSphere(Distribution):
    """All directions alike.

    Args:
        like: A tensor (d,) whose type and device draws have.
    """

    arg_constraints: ClassVar = {}  # pyright: ignore[reportIncompatibleMethodOverride,reportAssignmentType]
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType]

    def __init__(self, like: Tensor) -> None:
        self.like = like
        super().__init__(torch.Size(), like.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The middle of the sphere, which is no direction."""
        return torch.zeros_like(self.like)

    @property
    def log_density(self) -> float:
        """log p(z), the same everywhere."""
        half = len(self.like) / 2
        return math.lgamma(half) - math.log(2) - half * math.log(math.pi)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(value) in nats, (...)."""
        return value.new_full(value.shape[:-1], self.log_density)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw directions."""
        shape = self._extended_shape(torch.Size(sample_shape))
        return _normalised(torch.randn(shape, dtype=self.like.dtype, device=self.like.device))


class VonMisesFisher(Distribution):
    """Directions about a mean one.

    Args:
        loc: Mean direction μ of length 1, (..., d), d at least 2.
        concentration: κ > 0, (...).
    """

    arg_constraints: ClassVar = {}  # pyright: ignore[reportIncompatibleMethodOverride,reportAssignmentType]
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType]
    has_rsample = True

    def __init__(self, loc: Tensor, concentration: Tensor) -> None:
        self.loc, self.concentration = loc, concentration
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    @property
    def _log_bessel(self) -> tuple[Tensor, Tensor]:
        """log I_ν(κ) and log I_{ν+1}(κ), in float64: their differences with other terms are small."""
        return log_bessel_i(self.event_shape[0] / 2 - 1, self.concentration.double())

    @property
    def length(self) -> Tensor:
        """E[μᵀz] = I_{ν+1}(κ) / I_ν(κ), (...)."""
        below, above = self._log_bessel
        return (above - below).exp().to(self.loc)

    @property
    def mean(self) -> Tensor:
        """E[z], which lies within the sphere."""
        return self.length.unsqueeze(-1) * self.loc

    @property
    def log_normaliser(self) -> Tensor:
        """Log of the density where z is at right angles to μ, in float64."""
        d = self.event_shape[0]
        log_k = self.concentration.double().log()
        return (d / 2 - 1) * log_k - d / 2 * math.log(2 * math.pi) - self._log_bessel[0]

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log q(value) in nats, (...)."""
        # κ (w − 1) by the chord: near μ a cosine has no digits left.
        chord = (value - self.loc).double().square().sum(-1)
        k = self.concentration.double()
        return (self.log_normaliser + k - 0.5 * k * chord).to(self.loc)

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw directions, differentiable in both parameters."""
        shape = self._extended_shape(torch.Size(sample_shape))
        d = shape[-1]
        k = self.concentration.double().expand(shape[:-1])
        angle = cast(Tensor, _Angle.apply(k, d)).unsqueeze(-1).to(self.loc)
        around = _normalised(torch.randn(*shape[:-1], d - 1, dtype=self.loc.dtype, device=self.loc.device))
        z = torch.cat([angle.cos(), angle.sin() * around], -1)
        # The reflection that carries the first axis to μ.
        first = torch.zeros_like(self.loc)
        first[..., 0] = 1
        across = first - self.loc
        square = across.square().sum(-1, keepdim=True).clamp(min=torch.finfo(z.dtype).tiny)
        return z - 2 * across * (across * z).sum(-1, keepdim=True) / square

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw directions."""
        return self.rsample(sample_shape)


class _Angle(torch.autograd.Function):
    """The angle between z and μ, of density ∝ sin^(d−2) θ e^(κ cos θ)."""

    @staticmethod
    def forward(ctx: Any, k: Tensor, d: int) -> Tensor:
        b = (d - 1) / (2 * k + (4 * k.square() + (d - 1) ** 2).sqrt())
        x0 = (1 - b) / (1 + b)
        # log(1 − x0²), where 1 − x0 is small for a large κ
        c = k * x0 + (d - 1) * (4 * b / (1 + b).square()).log()
        half = torch.tensor((d - 1) / 2, dtype=k.dtype, device=k.device)
        away = torch.zeros_like(k)  # 1 − cos θ
        left = torch.ones_like(k, dtype=torch.bool)
        while bool(left.any()):
            u = Beta(half, half).sample(k.shape)
            v = 2 * b * u / (1 - (1 - b) * u)
            keep = k * (1 - v) + (d - 1) * (1 - x0 * (1 - v)).log() - c >= torch.rand_like(k).log()
            away = torch.where(left & keep, v, away)
            left = left & ~keep
        angle = 2 * torch.asin((away / 2).clamp(0, 1).sqrt())
        ctx.save_for_backward(k, angle)
        ctx.d = d
        return angle

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        k, angle = ctx.saved_tensors
        d = ctx.d
        below, above = log_bessel_i(d / 2 - 1, k)
        expected = (above - below).exp()
        # ∫_0^θ of (cos − E cos) p / p(θ), or the same over the other side with its sign: where p falls off.
        width = 12 / k.clamp(min=max(1.0, d - 2)).sqrt()
        right = angle.cos() < expected
        start = torch.where(right, angle, (angle - width).clamp(min=0))
        end = torch.where(right, (angle + width).clamp(max=math.pi), angle)
        nodes, weights = _NODES.to(k), _WEIGHTS.to(k)
        span = (end - start).unsqueeze(-1) / 2
        t = start.unsqueeze(-1) + span * (nodes + 1)
        ratio = k.unsqueeze(-1) * (t.cos() - angle.cos().unsqueeze(-1))
        if d > 2:
            tiny = torch.finfo(k.dtype).tiny
            ratio = ratio + (d - 2) * (
                t.sin().clamp(min=tiny).log() - angle.sin().clamp(min=tiny).log().unsqueeze(-1)
            )
        area = (span * weights * (t.cos() - expected.unsqueeze(-1)) * ratio.exp()).sum(-1)
        return gradient * torch.where(right, area, -area), None


@register_kl(VonMisesFisher, UniformSphere)
def _kl(q: VonMisesFisher, p: UniformSphere) -> Tensor:
    below, above = q._log_bessel
    expected = q.concentration.double() * (above - below).exp()
    return (expected + q.log_normaliser - p.log_density).to(q.loc)
