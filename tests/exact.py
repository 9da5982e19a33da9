r"""Models whose log p(x) is known without sampling, for every test of an estimator, a bound or a gradient.

The linear-Gaussian VAE, which is probabilistic PCA (Tipping and Bishop, 1999):

    z ~ N(0, I),   x | z ~ N(W z + m, σ² I),   x ~ N(m, W Wᵀ + σ² I),
    z | x ~ N(P⁻¹ Wᵀ (x − m) / σ², P⁻¹),   P = Wᵀ W / σ² + I

the same under a condition,

    z | c ~ N(A c + a, diag s²),   x | z, c ~ N(W z + V c + m, σ² I),   P = Wᵀ W / σ² + diag s⁻²

a ladder of two linear levels with its exact posterior, a VAE with a Bernoulli decoder on one or two latent
dimensions, whose log p(x) is an integral on a grid, and one whose latent is a cell and a Gaussian of one
dimension, a sum of such integrals.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from lowerbound.conditions import Condition, Conditions, Map
from lowerbound.likelihoods import Bernoulli, Gaussian
from lowerbound.model import VAE
from lowerbound.nn import MLP, CellDecoder, CellEncoder
from lowerbound.nn.cells import place_cells
from lowerbound.posteriors import CellGaussian, DiagonalGaussian, FullCovarianceGaussian, Posterior
from lowerbound.priors import CellPrior, ConditionalGaussian, Level, Prior, StandardNormal


@dataclass(frozen=True)
class LinearGaussian:
    """p(x, z) with W (D, L), m (D,) and σ."""

    weight: Tensor
    mean: Tensor
    sigma: float

    @property
    def precision(self) -> Tensor:
        """P of the exact posterior, (L, L)."""
        w = self.weight
        return w.T @ w / self.sigma**2 + torch.eye(w.shape[1], dtype=w.dtype)

    @property
    def diagonal_gap(self) -> float:
        """log p(x) − ELBO at the best factorised q, nats: ½ [Σ ln Pᵢᵢ − ln |P|], for every x."""
        p = self.precision
        return 0.5 * (p.diagonal().log().sum() - torch.logdet(p)).item()

    def marginal(self) -> MultivariateNormal:
        """p(x)."""
        w = self.weight
        return MultivariateNormal(self.mean, w @ w.T + self.sigma**2 * torch.eye(len(w), dtype=w.dtype))

    def posterior(self, x: Tensor) -> MultivariateNormal:
        """p(z | x), batch (B,)."""
        gain = torch.linalg.solve(self.precision, self.weight.T) / self.sigma**2
        return MultivariateNormal((x - self.mean) @ gain.T, precision_matrix=self.precision)

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """Observations (n, D)."""
        g = torch.Generator().manual_seed(seed)
        d, latent = self.weight.shape
        z, noise = (torch.randn(n, k, generator=g, dtype=self.weight.dtype) for k in (latent, d))
        return z @ self.weight.T + self.mean + self.sigma * noise


def linear_gaussian(
    dimensions: int, latent: int, *, orthogonal: bool, sigma: float = 0.7, seed: int = 0
) -> LinearGaussian:
    """Random W in float64, its columns orthogonal or not; lengths between 1 and 2."""
    g = torch.Generator().manual_seed(seed)
    w = torch.randn(dimensions, latent, generator=g, dtype=torch.float64)
    if orthogonal:
        w = torch.linalg.qr(w).Q
    lengths = 1 + torch.rand(latent, generator=g, dtype=torch.float64)
    w = w / w.norm(dim=0) * lengths
    return LinearGaussian(w, torch.randn(dimensions, generator=g, dtype=torch.float64), sigma)


@dataclass(frozen=True)
class ConditionalLinearGaussian:
    """p(x, z | c) with W (D, L), V (D, E), m (D,), σ, A (L, E), a (L,) and s (L,)."""

    weight: Tensor
    shift: Tensor
    mean: Tensor
    sigma: float
    prior_weight: Tensor
    prior_mean: Tensor
    prior_scale: Tensor

    @property
    def precision(self) -> Tensor:
        """P of the exact posterior, (L, L)."""
        return self.weight.T @ self.weight / self.sigma**2 + torch.diag(self.prior_scale**-2)

    def prior(self, c: Tensor) -> MultivariateNormal:
        """p(z | c), batch (B,)."""
        mean = c @ self.prior_weight.T + self.prior_mean
        return MultivariateNormal(mean, torch.diag(self.prior_scale**2))

    def marginal(self, c: Tensor) -> MultivariateNormal:
        """p(x | c), batch (B,)."""
        spread = self.weight * self.prior_scale
        mean = self.prior(c).mean @ self.weight.T + c @ self.shift.T + self.mean
        noise = self.sigma**2 * torch.eye(len(self.mean), dtype=self.mean.dtype)
        return MultivariateNormal(mean, spread @ spread.T + noise)

    def posterior(self, x: Tensor, c: Tensor) -> MultivariateNormal:
        """p(z | x, c), batch (B,)."""
        residual = (x - c @ self.shift.T - self.mean) @ self.weight / self.sigma**2
        pull = self.prior(c).mean / self.prior_scale**2
        return MultivariateNormal(
            torch.linalg.solve(self.precision, residual + pull, left=False), precision_matrix=self.precision
        )


def conditional_linear_gaussian(
    dimensions: int, latent: int, context: int, *, orthogonal: bool, sigma: float = 0.7, seed: int = 0
) -> ConditionalLinearGaussian:
    """Random maps in float64, the columns of W orthogonal or not."""
    exact = linear_gaussian(dimensions, latent, orthogonal=orthogonal, sigma=sigma, seed=seed)
    g = torch.Generator().manual_seed(seed + 1)
    v, a_c, a = (
        torch.randn(*shape, generator=g, dtype=torch.float64)
        for shape in ((dimensions, context), (latent, context), (latent,))
    )
    s = 0.5 + torch.rand(latent, generator=g, dtype=torch.float64)
    return ConditionalLinearGaussian(exact.weight, v, exact.mean, sigma, a_c, a, s)


def raw_scale(scale: Tensor) -> Tensor:
    """The encoder output at which the Gaussian posteriors have this standard deviation."""
    return 12 * torch.atanh(scale.log() / 12)


def linear_vae(
    exact: LinearGaussian,
    posterior: Literal["diagonal", "full"] = "diagonal",
    widen: float = 1.0,
    transform: torch.nn.Module | None = None,
) -> VAE:
    """The VAE of p(x, z), in float64, with networks that are affine maps.

    q has the exact mean and, if "full", the exact covariance; if "diagonal", the best diagonal one, 1 / Pᵢᵢ, which
    is exact for orthogonal columns.

    Args:
        exact: p(x, z).
        posterior: "diagonal" or "full".
        widen: Factor on the standard deviations of q; 1 is the best.
        transform: Of the data; p(x, z) is then that of the transformed ones.
    """
    d, latent = exact.weight.shape
    p = exact.precision
    gain = torch.linalg.solve(p, exact.weight.T) / exact.sigma**2
    if posterior == "diagonal":
        family = DiagonalGaussian(latent)
        shape = raw_scale(widen * p.diagonal().rsqrt())
    else:
        family = FullCovarianceGaussian(latent)
        tril = widen * torch.linalg.cholesky(torch.linalg.inv(p))
        rows, columns = torch.tril_indices(latent, latent, offset=-1)
        shape = torch.cat([raw_scale(tril.diagonal()), tril[rows, columns]])
    encoder = MLP((d,), family.input_shape, hidden=())
    decoder = MLP((latent,), (1, d), hidden=())
    likelihood = Gaussian(d, scale=exact.sigma)
    model = VAE(encoder, family, StandardNormal(latent), decoder, likelihood, transform).double()
    with torch.no_grad():
        encoder.output.weight.copy_(torch.cat([gain, torch.zeros(len(shape), d, dtype=gain.dtype)]))
        encoder.output.bias.copy_(torch.cat([-gain @ exact.mean, shape]))
        decoder.output.weight.copy_(exact.weight)
        decoder.output.bias.copy_(exact.mean)
    return model


def conditional_linear_vae(
    exact: ConditionalLinearGaussian,
    condition: Condition,
    posterior: Literal["diagonal", "full"] = "diagonal",
    scale: Tensor | float = 1.0,
    centre: Tensor | float = 0.0,
) -> VAE:
    """The VAE of p(x, z | c) whose q has the exact mean and scales as in ``linear_vae``.

    Args:
        exact: p(x, z | c).
        condition: Its embedding e; c is ``scale`` e + ``centre``.
        posterior: "diagonal" or "full".
        scale: (E,).
        centre: (E,).
    """
    d, latent = exact.weight.shape
    size = condition.context
    p = exact.precision
    to_z = torch.linalg.inv(p)
    scale, centre = (torch.as_tensor(v, dtype=p.dtype).expand(size) for v in (scale, centre))
    if posterior == "diagonal":
        family, shape = DiagonalGaussian(latent), raw_scale(p.diagonal().rsqrt())
    else:
        family, tril = FullCovarianceGaussian(latent), torch.linalg.cholesky(to_z)
        rows, columns = torch.tril_indices(latent, latent, offset=-1)
        shape = torch.cat([raw_scale(tril.diagonal()), tril[rows, columns]])
    encoder = MLP((d,), family.input_shape, hidden=(), context=size)
    decoder = MLP((latent,), (1, d), hidden=(), context=size)
    prior = ConditionalGaussian(latent, size, hidden=())
    model = VAE(encoder, family, prior, decoder, Gaussian(d, scale=exact.sigma), condition=condition).double()

    def set_affine(network: MLP, on_input: Tensor | None, on_c: Tensor, bias: Tensor) -> None:
        """Set a map of input and c; without input, c's embedding is the input."""
        target = network.output.weight if on_input is None else network.affine.map.weight
        target.copy_(on_c * scale)
        network.output.bias.copy_(bias + on_c @ centre)
        if on_input is not None:
            network.output.weight.copy_(on_input)

    def constant(rows: Tensor) -> Tensor:
        return torch.cat([rows, rows.new_zeros(len(shape), rows.shape[1])])

    gain = to_z @ exact.weight.T / exact.sigma**2
    pull = to_z / exact.prior_scale**2
    with torch.no_grad():
        set_affine(
            encoder,
            constant(gain),
            constant(pull @ exact.prior_weight - gain @ exact.shift),
            torch.cat([pull @ exact.prior_mean - gain @ exact.mean, shape]),
        )
        set_affine(decoder, exact.weight, exact.shift, exact.mean)
        fixed = torch.zeros_like(exact.prior_weight)
        log_scale = raw_scale(exact.prior_scale)
        set_affine(
            prior.network,
            None,
            torch.cat([exact.prior_weight, fixed]),
            torch.cat([exact.prior_mean, log_scale]),
        )
    return model


def bernoulli_vae(dimensions: int, latent: int, seed: int = 0) -> VAE:
    """A random VAE of binary vectors, in float64, whose q is as wide as the prior and depends on x a little."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = MLP((dimensions,), (2, latent), hidden=())
        decoder = MLP((latent,), (1, dimensions), hidden=(8,), activation="tanh")
        torch.nn.init.normal_(decoder.output.weight)
        torch.nn.init.normal_(decoder.output.bias)
    model = VAE(encoder, DiagonalGaussian(latent), StandardNormal(latent), decoder, Bernoulli(dimensions))
    return model.double()


def log_evidence_on_grid(model: VAE, x: Tensor, half_width: float = 8.0, points: int = 401) -> Tensor:
    """log p(x) in nats, (B,), by the trapezoidal rule over z in [−half_width, half_width]^L, L = 1 or 2."""
    axis = torch.linspace(-half_width, half_width, points, dtype=torch.float64)
    z = torch.cartesian_prod(*[axis] * model.latent_shape[0]).reshape(-1, 1, *model.latent_shape)
    with torch.no_grad():
        log_joint = model.likelihood_at(z).log_prob(x) + model.at().log_prior(z)
    cell = model.latent_shape[0] * math.log(2 * half_width / (points - 1))
    return log_joint.logsumexp(0) + cell


def cell_vae(condition: Conditions | None = None, cells: int = 6, sigma: float = 0.4, seed: int = 0) -> VAE:
    """A random VAE of points in the plane, in float64, its latent a cell and a Gaussian of one dimension.

    Args:
        condition: What encoder, prior and decoder depend on; a ``Map`` comes last and has as many places as cells.
        cells: Number of cells.
        sigma: Standard deviation of p(x | z).
        seed: Of the weights and the centres.
    """
    context = 0 if condition is None else condition.context
    last = None if condition is None else condition.items()[-1][1]
    known = {"cells": cells, "context": context}
    on_map = {"map_shape": last.map_shape if isinstance(last, Map) else None}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        latent = (cells + 1,)
        encoder = CellEncoder((2,), (2, *latent), hidden=(8,), **known)
        decoder = CellDecoder(latent, (1, 2), hidden=(8,), features=4, **known, **on_map)
        prior = CellPrior(latent, hidden=(8,), **known, **on_map)
        for part in (encoder, decoder, prior):
            for parameter in part.parameters():
                torch.nn.init.normal_(parameter, std=0.5)
        # A q nearly as wide as the prior, for importance sampling to go well whatever x is.
        torch.nn.init.normal_(encoder.body.output.weight, std=0.05)
        torch.nn.init.constant_(encoder.body.output.bias, 0.05)
        place_cells(encoder, decoder, 1.5 * torch.randn(cells, 2), torch.tensor([0.6, 0.8]))
    posterior, likelihood = CellGaussian(latent, cells), Gaussian(2, scale=sigma)
    return VAE(encoder, posterior, prior, decoder, likelihood, condition=condition).double()


@torch.no_grad()
def log_joint_of_cells(model: VAE, x: Tensor, c=None, half_width: float = 8.0, points: int = 801) -> Tensor:
    """log p(x, k | c) in nats, (B, K), by the trapezoidal rule over e in [−half_width, half_width].

    Its ``logsumexp(1)`` is log p(x | c).
    """
    e = torch.linspace(-half_width, half_width, points, dtype=torch.float64)
    e = e[:, None, None].expand(points, len(x), 1)
    parts = []
    for chosen in torch.eye(model.prior.cells, dtype=torch.float64):
        z = torch.cat([chosen.expand(points, len(x), -1), e], -1)
        log_joint = model.likelihood_at(z, c).log_prob(x) + model.at(c).log_prior(z)
        parts.append(log_joint.logsumexp(0) + math.log(2 * half_width / (points - 1)))
    return torch.stack(parts, 1)


class LinearPrior(Prior):
    """z1 ~ N(0, I), z2 | z1 ~ N(A z1, s² I); the decoder reads z2."""

    def __init__(self, a, s):
        top, below = a.shape[1], a.shape[0]
        levels = [Level((top,)), Level((below,))]
        super().__init__(top + below, levels=levels, code_shape=(below,))
        self.a, self.s = torch.nn.Parameter(a), s

    def begin(self, context, encode):
        return None

    def level(self, number, state):
        if number == 0:
            return MultivariateNormal(
                self.a.new_zeros(self.a.shape[1]), torch.eye(self.a.shape[1]).to(self.a)
            )
        return MultivariateNormal(state @ self.a.T, self.s**2 * torch.eye(len(self.a)).to(self.a))


class ExactPosterior(Posterior):
    """q(z1 | x), and q(z2 | z1, x) made of the prior's own distribution of the level."""

    def __init__(self, a, s, w, r):
        top, below = a.shape[1], a.shape[0]
        levels = [Level((top,)), Level((below,))]
        super().__init__(top + below, (len(w),), levels)
        self.w, self.r = torch.nn.Parameter(w), r
        noise, m = w @ w.T * s**2 + r**2 * torch.eye(len(w)).to(w), w @ a
        precision = torch.eye(top).to(w) + m.T @ torch.linalg.solve(noise, m)
        self.covariance = torch.nn.Parameter(torch.linalg.inv(precision))
        self.gain = torch.nn.Parameter(torch.linalg.solve(precision, m.T @ torch.linalg.inv(noise)))

    def level(self, number, evidence, state, p):
        if number == 0:
            return MultivariateNormal(evidence @ self.gain.T, self.covariance)
        before = torch.linalg.inv(p.covariance_matrix)
        precision = before + self.w.T @ self.w / self.r**2
        pull = (before @ p.mean.unsqueeze(-1)).squeeze(-1) + evidence @ self.w / self.r**2
        return MultivariateNormal(
            torch.linalg.solve(precision, pull.unsqueeze(-1)).squeeze(-1), torch.linalg.inv(precision)
        )


def linear_ladder(seed: int = 0) -> tuple[VAE, MultivariateNormal]:
    """A ladder of two levels, 2 and 4 numbers, whose posterior is the exact one, and its p(x) over 6."""
    g = torch.Generator().manual_seed(seed)
    a, w = (torch.randn(n, m, generator=g, dtype=torch.float64) for n, m in ((4, 2), (6, 4)))
    s, r = 0.7, 0.5
    decoder = torch.nn.Sequential(torch.nn.Linear(4, 6, bias=False), torch.nn.Unflatten(-1, (1, 6))).double()
    decoder[0].weight.data.copy_(w)  # pyright: ignore
    model = VAE(
        torch.nn.Identity(), ExactPosterior(a, s, w, r), LinearPrior(a, s), decoder, Gaussian(6, scale=r)
    )
    covariance = w @ (a @ a.T + s**2 * torch.eye(4).double()) @ w.T + r**2 * torch.eye(6).double()
    return model, MultivariateNormal(torch.zeros(6).double(), covariance)
