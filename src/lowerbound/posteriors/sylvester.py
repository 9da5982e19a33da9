r"""Posteriors by flows whose every number is of the example: Sylvester and planar maps.

.. math:: f(z) = z + Q R\, h(\tilde R Q^\top z + b), \qquad
    \log |\det \partial f| = \sum_i \log (1 + R_{ii} \tilde R_{ii} h'_i)

with Q of m orthogonal columns, by Householder reflections, and R, R̃ upper triangular; of one column it is the
planar map z + u h(wᵀz + b). The product of the diagonals is kept above −1, so that f is one to one. In the
coordinates y = Qᵀz the inverse is found from the last number to the first, each by bisection; its gradient is that
of one step of Newton's.

References:
    Sylvester normalizing flows for variational inference (van den Berg et al., 2018), https://arxiv.org/abs/1803.05649
    Variational inference with normalizing flows (Rezende and Mohamed, 2015), planar maps, https://arxiv.org/abs/1505.05770
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..distributions import Pushforward, diagonal_gaussian
from ..errors import ConfigError
from ..nn.network import size
from ..shapes import event_shape_of, full_precision
from .base import Posterior

_HALVINGS = 60


class Sylvester(Posterior):
    """A factorised Gaussian carried on by Sylvester maps; the encoder gives all their numbers.

    Args:
        event_shape: Number of latent dimensions k, or (k,).
        transforms: Number of maps.
        columns: Number m of columns of Q, at most k.

    Raises:
        ConfigError: a code is no vector, or there are more columns than dimensions.
    """

    def __init__(self, event_shape: int | Sequence[int], transforms: int = 4, columns: int = 2) -> None:
        shape = event_shape_of(event_shape)
        if len(shape) != 1 or size("columns", columns) > shape[0]:
            raise ConfigError(
                f"{type(self).__name__} needs a vector latent (k,) and at most k columns; got {shape} and {columns}"
            )
        self.transforms, m = size("transforms", transforms), columns
        # Vectors of the reflections, two triangles, a shift.
        self._sizes = [m * shape[0], m * m, m * m, m]
        super().__init__(shape, (2 * shape[0] + self.transforms * sum(self._sizes),))
        self.columns = columns

    def forward(self, h: Tensor) -> Distribution:
        """Return q(z | x), batch (B,): means, log-scales, and the numbers of each map."""
        k, m = self.event_shape[0], self.columns
        numbers = full_precision(h)
        maps = []
        for part in numbers[..., 2 * k :].chunk(self.transforms, -1):
            vectors, first, second, shift = part.split(self._sizes, -1)
            square = (*part.shape[:-1], m, m)
            maps.append(
                _Map(vectors.unflatten(-1, (m, k)), first.reshape(square), second.reshape(square), shift)
            )
        return Pushforward(diagonal_gaussian(numbers[..., : 2 * k].unflatten(-1, (2, k)), 1), maps)

    def point(self, q: Distribution) -> Tensor:
        """Return what the base's mean is carried to: a flow has no mean in closed form."""
        return q.carried(q.base.mean)[0]  # pyright: ignore[reportAttributeAccessIssue]


class Planar(Sylvester):
    """A factorised Gaussian carried on by planar maps.

    Args:
        event_shape: Number of latent dimensions k, or (k,).
        transforms: Number of maps.

    Raises:
        ConfigError: a code is no vector.
    """

    def __init__(self, event_shape: int | Sequence[int], transforms: int = 8) -> None:
        super().__init__(event_shape, transforms, columns=1)


class _Map:
    """z + Q R tanh(R̃ Qᵀ z + b), batch (...).

    Args:
        vectors: (..., m, k), of the reflections that make Q of the first m unit vectors.
        first: (..., m, m), of R; its lower triangle is not read.
        second: (..., m, m), of R̃.
        shift: b, (..., m).
    """

    def __init__(self, vectors: Tensor, first: Tensor, second: Tensor, shift: Tensor) -> None:
        m, k = vectors.shape[-2:]
        q = torch.eye(k, m, dtype=vectors.dtype, device=vectors.device).expand(*vectors.shape[:-2], k, m)
        for i in range(m):
            # Off 0, where a reflection has no direction.
            v = vectors[..., i, :] + torch.eye(m, k, dtype=q.dtype, device=q.device)[i]
            v = (v / v.norm(dim=-1, keepdim=True).clamp(min=1e-6)).unsqueeze(-1)
            q = q - 2 * v * (v.mT @ q)
        self.q, self.shift = q, shift
        # |tanh'| ≤ 1: with diagonals in (−1, 1) their product is above −1.
        self.r, self.t = (
            t.triu(1) + torch.diag_embed(t.diagonal(dim1=-2, dim2=-1).tanh()) for t in (first, second)
        )

    def _within(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return R h(R̃ y + b), and the derivative h', both (..., m)."""
        h = ((self.t @ y.unsqueeze(-1)).squeeze(-1) + self.shift).tanh()
        return (self.r @ h.unsqueeze(-1)).squeeze(-1), 1 - h.square()

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image and log |det|."""
        move, slope = self._within((self.q.mT @ z.unsqueeze(-1)).squeeze(-1))
        diagonal = self.r.diagonal(dim1=-2, dim2=-1) * self.t.diagonal(dim1=-2, dim2=-1)
        return z + (self.q @ move.unsqueeze(-1)).squeeze(-1), torch.log1p(diagonal * slope).sum(-1)

    def inverse(self, z: Tensor) -> Tensor:
        """Return the z' of which ``forward`` makes z."""
        target = (self.q.mT @ z.unsqueeze(-1)).squeeze(-1)
        y = self._solved(target.detach())
        move, slope = self._within(y)
        with torch.no_grad():
            eye = torch.eye(y.shape[-1], dtype=y.dtype, device=y.device)
            derivative = eye + self.r @ (slope.unsqueeze(-1) * self.t)
        # Its value is y; its gradient is the inverse's, by the implicit function theorem.
        left = (y + move - target).unsqueeze(-1)
        y = y - torch.linalg.solve_triangular(derivative, left, upper=True).squeeze(-1)
        return z + (self.q @ (y - target).unsqueeze(-1)).squeeze(-1)

    @torch.no_grad()
    def _solved(self, target: Tensor) -> Tensor:
        """Return the y with y + R h(R̃ y + b) = target, from the last number to the first."""
        y, h = target.clone(), torch.zeros_like(target)
        for i in reversed(range(y.shape[-1])):
            rest = (self.r[..., i, i + 1 :] * h[..., i + 1 :]).sum(-1)
            inner = (self.t[..., i, i + 1 :] * y[..., i + 1 :]).sum(-1) + self.shift[..., i]
            a, b, wanted = self.r[..., i, i], self.t[..., i, i], target[..., i] - rest
            low, high = wanted - 1, wanted + 1  # |a tanh| < 1
            for _ in range(_HALVINGS):
                middle = (low + high) / 2
                above = middle + a * torch.tanh(b * middle + inner) > wanted
                low, high = torch.where(above, low, middle), torch.where(above, middle, high)
            y[..., i] = (low + high) / 2
            h[..., i] = torch.tanh(b * y[..., i] + inner)
        return y
