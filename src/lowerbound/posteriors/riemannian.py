r"""Hamiltonian dynamics in a latent space with a learned metric, which is small where codes of the data lie.

.. math::
    G^{-1}(z) = \sum_i L_i L_i^\top e^{-\lVert z - c_i \rVert^2 / T^2} + \lambda I, \qquad
    H(z, \rho) = -\log p(x, z) + \tfrac12 \log \det G(z) + \tfrac12 \rho^\top G^{-1}(z)\, \rho

c_i and L_i are means and roots that the encoder gave for the last examples of training; those of the batch have their
gradients. Momenta have the law N(0, G(z)). A code holds :math:`v = C^\top \rho` with :math:`C C^\top = G^{-1}(z)`, of
which the prior says N(0, I), and to go from one to the other takes the determinant of C. The generalised leapfrog
step keeps volumes, as far as its two implicit equations are solved: by Newton's method, and evaluation says if not.

References:
    Geometry-aware Hamiltonian variational auto-encoder (Chadebec, Mantoux and Allassonnière, 2020),
    https://arxiv.org/abs/2010.11518;
    Data augmentation in high dimensional low sample size setting using a geometry-based variational autoencoder
    (Chadebec et al., 2022), https://arxiv.org/abs/2105.00026. There L has a network of its own;
    Riemann manifold Langevin and Hamiltonian Monte Carlo methods (Girolami and Calderhead, 2011), the step
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, distributed

from ..distributions import bounded_exp
from ..errors import ConfigError
from ..nn.network import size
from ..shapes import full_precision, is_positive
from .hamiltonian import Hamiltonian, Leapfrog

_CONVERGED = 1e-3  # what the last iteration may still change
# In the same words each time, to be shown once.
_UNSOLVED = (
    "some steps of the posterior riemannian are too long to be solved, and are taken without it: importance weights "
    "of these draws are off; let step_size be less, or iterations more"
)


class Riemannian(Hamiltonian):
    """K tempered steps under a metric that is learned with the model.

    Args:
        event_shape: (2 d,): d numbers that the decoder reads, and their momenta.
        steps: Number K of steps.
        step_size: Size ε of a step that training starts from.
        tempering: Inverse temperature β_0 of the first momenta, below 1 for wider ones; of the last it is 1.
        temperature: T, how far a centroid reaches.
        regularisation: λ, what the inverse metric is far from all centroids.
        centroids: Number of examples that the metric is made of.
        iterations: Steps of Newton's method for each of a step's two implicit equations.

    Raises:
        ConfigError: a code is no even number of numbers, or an option is out of its range.
    """

    centres: Tensor
    roots: Tensor
    next: Tensor

    def __init__(
        self,
        event_shape: int | Sequence[int],
        steps: int = 3,
        step_size: float = 0.01,
        tempering: float = 0.3,
        temperature: float = 1.5,
        regularisation: float = 0.01,
        centroids: int = 100,
        iterations: int = 4,
    ) -> None:
        super().__init__(event_shape, steps, step_size, tempering)
        if not (is_positive(temperature) and is_positive(regularisation)):
            raise ConfigError(
                f"Riemannian needs a temperature and a regularisation > 0; got {temperature!r} and {regularisation!r}"
            )
        self.temperature, self.regularisation = temperature, regularisation
        self.centroids, self.iterations = size("centroids", centroids), size("iterations", iterations)
        d = self.event_shape[0] // 2
        self.input_shape = (2 * d + d * (d + 1) // 2,)
        # A root of zeros is that of a place not taken yet: it adds nothing.
        self.register_buffer("centres", torch.zeros(centroids, d))
        self.register_buffer("roots", torch.zeros(centroids, d, d))
        self.register_buffer("next", torch.zeros((), dtype=torch.long))

    def read(self, h: Tensor, context: Tensor | None, joint: Any = None) -> Any:
        """Return means and log-scales, log p(x, z | c), and the centroids with their roots."""
        super().read(h, context, joint)
        d = self.event_shape[0] // 2
        gaussian, diagonal, below = full_precision(h).split([2 * d, d, d * (d - 1) // 2], -1)
        gaussian = gaussian.unflatten(-1, (2, d))
        centres, roots = self.centres, self.roots
        if self.training and torch.is_grad_enabled():
            row, column = torch.tril_indices(d, d, offset=-1, device=h.device)
            root = torch.diag_embed(bounded_exp(diagonal))
            root[..., row, column] = below
            centres, roots = self._remember(gaussian[:, 0], root)
        return gaussian, joint, centres, roots

    def _remember(self, centres: Tensor, roots: Tensor) -> list[Tensor]:
        """Return all centroids with their roots, those of the batch, (B, d) and (B, d, d), in place of the oldest."""
        n = min(len(centres), self.centroids)
        at = (self.next + torch.arange(n, device=centres.device)) % self.centroids
        found = []
        for kept, new in ((self.centres, centres[:n]), (self.roots, roots[:n])):
            found.append(kept.index_copy(0, at, new.to(kept.dtype)))
            stored = new.detach().to(kept.dtype).contiguous()
            if distributed.is_available() and distributed.is_initialized():  # one metric for all processes
                distributed.broadcast(stored, 0)
            kept.index_copy_(0, at, stored)
        self.next.add_(n).remainder_(self.centroids)
        return found

    def _maps(
        self,
        joint: Any,
        step: Tensor,
        cooling: Sequence[float],
        batch: int,
        centres: Tensor | None = None,
        roots: Tensor | None = None,
    ) -> Sequence[Any]:
        assert centres is not None
        assert roots is not None
        metric = _Metric(centres, roots, self.temperature, self.regularisation)
        moves = [_Generalised(joint, step, factor, batch, metric, self.iterations) for factor in cooling]
        return [_Momenta(metric), *moves, _Whitened(metric)]


class _Metric:
    """G⁻¹, and the forces that it makes.

    Args:
        centres: c_i, (N, d).
        roots: L_i, (N, d, d).
        temperature: T.
        floor: λ.
    """

    def __init__(self, centres: Tensor, roots: Tensor, temperature: float, floor: float) -> None:
        self.centres, self.roots, self.temperature, self.floor = centres, roots, temperature, floor

    @cached_property
    def products(self) -> Tensor:
        """L_i L_iᵀ, (N, d, d)."""
        return self.roots @ self.roots.mT

    def near(self, z: Tensor) -> Tensor:
        """Return the weight of each centroid at z (..., d): (..., N)."""
        away = z.unsqueeze(-2) - self.centres
        return (-away.square().sum(-1) / self.temperature**2).exp()

    def root(self, z: Tensor) -> Tensor:
        """Return C, lower triangular, with C Cᵀ = G⁻¹(z); (..., d, d)."""
        eye = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
        inverse = torch.einsum("...n,nde->...de", self.near(z), self.products) + self.floor * eye
        return torch.linalg.cholesky_ex(inverse)[0]

    def parts(self, momentum: Tensor) -> Tensor:
        """Return L_i L_iᵀ ρ of momenta (..., d): (..., N, d)."""
        return torch.einsum("nde,...e->...nd", self.products, momentum)

    def force(self, z: Tensor) -> Any:
        """Return −∂_z (½ log det G + ½ ρᵀ G⁻¹ ρ) as a function of ρ (..., d)."""
        metric, near = torch.cholesky_inverse(self.root(z)), self.near(z)
        traces = torch.einsum("...de,nde->...n", metric, self.products)

        def of(momentum: Tensor) -> Tensor:
            energies = (self.parts(momentum) * momentum.unsqueeze(-2)).sum(-1)
            pull = near * (energies - traces) / self.temperature**2
            return z * pull.sum(-1, keepdim=True) - pull @ self.centres

        return of

    def velocity(self, momentum: Tensor) -> Any:
        """Return G⁻¹ ρ as a function of z."""
        parts = self.parts(momentum)
        return lambda z: (self.near(z).unsqueeze(-1) * parts).sum(-2) + self.floor * momentum

    def twist(self, z: Tensor, momentum: Tensor) -> Tensor:
        """Return the derivative of the force in ρ, (..., d, d); turned over, minus that of the velocity in z."""
        weight = self.near(z).unsqueeze(-1) * (z.unsqueeze(-2) - self.centres)
        return 2 / self.temperature**2 * (weight.mT @ self.parts(momentum))


class _Generalised(Leapfrog):
    """One generalised leapfrog step, and its tempering.

    Args:
        joint: log p(x, z | c) of B examples.
        step: ε of each dimension, (d,).
        cooling: Factor on the momenta after the step.
        batch: Number B of examples.
        metric: The metric.
        iterations: Steps of Newton's method for each of a step's two implicit equations.
    """

    def __init__(
        self, joint: Any, step: Tensor, cooling: float, batch: int, metric: _Metric, iterations: int
    ) -> None:
        super().__init__(joint, step, cooling, batch)
        self.metric, self.iterations = metric, iterations

    def move(self, z: Tensor, momentum: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the dynamics lead; with the momentum turned round, they lead back."""
        metric, half, force = self.metric, self.step / 2, self.metric.force(z)
        kicked = momentum + self.kick(z, momentum)
        momentum = self._solved(
            lambda rho: kicked + half * force(rho),
            lambda rho: half.unsqueeze(-1) * metric.twist(z, rho),
            kicked,
        )
        velocity = metric.velocity(momentum)
        begun = z + half * velocity(z)
        z = self._solved(
            lambda at: begun + half * velocity(at),
            lambda at: -half.unsqueeze(-1) * metric.twist(at, momentum).mT,
            begun,
        )
        return z, momentum + self.kick(z, momentum) + half * metric.force(z)(momentum)

    def _solved(self, equation: Any, slope: Any, value: Tensor) -> Tensor:
        """Return y with y = equation(y), by Newton's method from ``value``; ``slope`` gives the derivative in y."""
        eye = torch.eye(value.shape[-1], dtype=value.dtype, device=value.device)

        def after(value: Tensor) -> Tensor:
            with torch.no_grad():
                system = eye - slope(value)
            off = (equation(value) - value).unsqueeze(-1)
            return value + torch.linalg.solve_ex(system, off)[0].squeeze(-1)

        begun = before = value
        with torch.no_grad():
            for _ in range(self.iterations):
                before, value = value, after(value)
            solved = ((value - before).abs() <= _CONVERGED * (1 + value.abs())).all(-1, keepdim=True)
            value = torch.where(solved, value, begun)
        if torch.is_grad_enabled():
            # The last step alone has the whole gradient, that of an implicit function.
            return torch.where(solved, after(value), begun)
        if not solved.all():
            warnings.warn(_UNSOLVED, stacklevel=2)
        return value


class _Momenta:
    """(z, v) to (z, ρ), ρ = C⁻ᵀ v: of v ~ N(0, I), ρ ~ N(0, G(z))."""

    def __init__(self, metric: _Metric) -> None:
        self.metric = metric

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image of codes (..., 2 d) and log |det|."""
        z, v = z.chunk(2, -1)
        root = self.metric.root(z)
        momentum = torch.linalg.solve_triangular(root.mT, v.unsqueeze(-1), upper=True).squeeze(-1)
        return torch.cat([z, momentum], -1), -root.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def inverse(self, y: Tensor) -> Tensor:
        """Return the codes of which ``forward`` makes these."""
        return _Whitened(self.metric).forward(y)[0]


class _Whitened(_Momenta):
    """The way back."""

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image of codes (..., 2 d) and log |det|."""
        z, momentum = z.chunk(2, -1)
        root = self.metric.root(z)
        v = (root.mT @ momentum.unsqueeze(-1)).squeeze(-1)
        return torch.cat([z, v], -1), root.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def inverse(self, y: Tensor) -> Tensor:
        """Return the codes of which ``forward`` makes these."""
        return _Momenta(self.metric).forward(y)[0]
