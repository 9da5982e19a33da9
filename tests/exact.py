r"""Models whose log p(x) is known without sampling, for every test of an estimator, a bound or a gradient.

The linear-Gaussian VAE, which is probabilistic PCA (Tipping and Bishop, 1999):

    z ~ N(0, I),   x | z ~ N(W z + m, σ² I),   x ~ N(m, W Wᵀ + σ² I),
    z | x ~ N(P⁻¹ Wᵀ (x − m) / σ², P⁻¹),   P = Wᵀ W / σ² + I

and a VAE with a Bernoulli decoder on one or two latent dimensions, whose log p(x) is an integral on a grid.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from lowerbound.likelihoods import Bernoulli, Gaussian
from lowerbound.model import VAE
from lowerbound.nn import MLP
from lowerbound.posteriors import DiagonalGaussian, FullCovarianceGaussian
from lowerbound.priors import StandardNormal


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
        log_joint = model.likelihood_at(z).log_prob(x) + model.prior().log_prob(z)
    cell = model.latent_shape[0] * math.log(2 * half_width / (points - 1))
    return log_joint.logsumexp(0) + cell
