r"""Where the codes of an importance sampler come from: one class for each name.

.. math::
    \hat p(x) = \frac1S \sum_s \frac{p(x \mid z_s)\, p(z_s)}{r(z_s)}, \qquad z_s \sim r

is unbiased for every density r that covers the posterior and depends on x, the model and *other* random numbers
alone; its logarithm is a lower bound on log p(x) in expectation, the tighter the nearer r is to p(z | x). The Laplace
proposal finds the mode of p(z | x) by damped Gauss-Newton steps from q's mean,

.. math::
    z \leftarrow z + t H^{-1} \nabla_z \log p(x, z), \qquad H = -\nabla_z^2 \log p(z) + J^\top F J,

with J the derivative of the decoder's output and F the likelihood's Fisher information; from there it goes on to the
Gaussian that is nearest in KL(r || p), by the mean slope and the mean H over draws around, and draws from a Student-t
there, whose tails are wider than those of the posterior. It knows one mode: of another one, far away, its draws and
so the weights, ESS and k-hat tell nothing. The mixture adds shares of q and of the prior, and weighs each draw by the
density of the whole mixture, so that no weight exceeds those of a single member over its share.

Nothing is chosen by the draws that are scored: those of the search are others, and all examples have the same tails
and shares.

References:
    Variational Laplace autoencoders (Park, Kim and Kim, 2019), https://proceedings.mlr.press/v97/park19a.html: steps
    Safe and effective importance sampling (Owen and Zhou, 2000), mixtures whose draws are counted out and not drawn
    Optimally combining sampling techniques for Monte Carlo rendering (Veach and Guibas, 1995), the balance heuristic
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Gamma, constraints

from ..errors import ConfigError, brief, suggest
from ..model import VAE
from ..shapes import numel
from ..view import View
from ..walk import Draw

_ROUNDS = 1  # times the precision is computed on the way to the mode
_STEPS = 3  # Newton steps with each of them
_SHIFTS = 1  # Newton steps from the mode to the mean, before the last one
_SPREAD = 16  # draws that the mean slope is of
_CURVATURES = 4  # draws that the mean precision is of
_LENGTHS = (1.0, 0.5, 0.25, 0.1)  # of a step, of which the best is taken
_ENOUGH = 1e-3  # nats that a step must gain in one example of the batch, or the search ends
_TAIL = 30.0  # degrees of freedom
_WIDER = 1.15  # factor on the covariance
_FLATTEST = 1e-6  # smallest eigenvalue of a precision, as a share of the largest
_SHARES = (0.85, 0.10, 0.05)  # of Laplace, q and p(z)


@dataclass
class Batch:
    """What a proposal is made for: examples, and how many codes will be asked for.

    Attributes:
        model: The model, frozen.
        x: Observations, (B, *event).
        c: Their condition.
        samples: Number of codes of each example, in all tiles.
        rows: Number of codes that may be decoded at once.
    """

    model: VAE
    x: Tensor
    c: dict[str, Tensor] | None
    samples: int
    rows: int

    @cached_property
    def view(self) -> View:
        """The model under the condition."""
        return self.model.under(self.c)

    @cached_property
    def u(self) -> Tensor:
        """The observations in the units of the model."""
        return self.view.to_model(self.x)[0]

    @cached_property
    def evidence(self) -> Any:
        """What the posterior is told of them; the encoder sees them once."""
        return self.view.evidence(self.u)

    @contextlib.contextmanager
    def differentiable(self) -> Iterator[tuple[View, Tensor]]:
        """Give view and observations through which there are gradients, within the block."""
        with self.model.differentiable():
            c = None if self.c is None else {name: value.clone() for name, value in self.c.items()}
            view = self.model.under(c)
            yield view, view.to_model(self.x.clone())[0]


class Source:
    """Codes from one density, with their weights.

    Args:
        batch: The examples.
    """

    sees_posterior: ClassVar[bool] = False  # draws are walked along q too

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def codes(self, samples: int) -> Draw:
        """Draw so many codes of each example."""
        raise NotImplementedError

    def log_density(self, draw: Draw) -> Tensor:
        """Return log r(z) in nats, (S, B), of codes that came from anywhere."""
        raise NotImplementedError

    def weighted(self, samples: int) -> tuple[Any, Tensor | float]:
        """Return what the decoder reads of so many new codes, and log p(z | c) − log r(z) in nats, (S, B)."""
        draw = self.codes(samples)
        return draw.code, draw.log_p - self.log_density(draw)


class Posterior(Source):
    """Codes from q(z | x, c)."""

    sees_posterior = True

    def codes(self, samples: int) -> Draw:
        """Draw from q."""
        return self.batch.view.infer(self.batch.evidence, len(self.batch.x), samples)

    def log_density(self, draw: Draw) -> Tensor:
        """Return log q(z | x, c)."""
        return draw.log_q


class Prior(Source):
    """Codes from p(z | c), each example its own, so that the examples' errors are independent."""

    def codes(self, samples: int) -> Draw:
        """Draw from p(z | c)."""
        return self.batch.view.generate(samples, len(self.batch.x))

    def log_density(self, draw: Draw) -> Tensor:
        """Return log p(z | c)."""
        return draw.log_p

    def weighted(self, samples: int) -> tuple[Any, Tensor | float]:
        """Return codes and 0: the prior is not asked for its density."""
        return self.codes(samples).code, 0.0


class Law(Source):
    """Codes from a distribution over z, batch (B,).

    Args:
        batch: The examples.
        law: The distribution.
    """

    def __init__(self, batch: Batch, law: Distribution) -> None:
        super().__init__(batch)
        self.law = law

    def codes(self, samples: int) -> Draw:
        """Draw from it."""
        return self.batch.view.along(None, self.law.sample(torch.Size((samples,))))

    def log_density(self, draw: Draw) -> Tensor:
        """Return its log-density."""
        return self.law.log_prob(self.batch.model.prior.join(draw.z))


class Laplace(Law):
    """Codes from a Student-t around the mode of p(z | x, c); works for real-valued latents of any prior.

    Args:
        batch: The examples.

    Raises:
        ConfigError: the latent is not real, or the likelihood's Fisher information is not known.
    """

    def __init__(self, batch: Batch) -> None:
        with batch.differentiable() as (view, u):
            super().__init__(batch, laplace(view, u, batch.rows))


class Mixture(Source):
    """Codes from Laplace, q and prior in fixed shares, weighed by the density of the mixture.

    How many come from each is counted out over all samples, not drawn: the estimate stays unbiased and varies less.

    Args:
        batch: The examples.

    Raises:
        ConfigError: as of ``Laplace``.
    """

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        counts = _shared_out(batch.samples, _SHARES)
        kinds = (Laplace, Posterior, Prior)
        self.members = [(kind(batch), n) for kind, n in zip(kinds, counts, strict=True) if n]
        # Draw j of n is due at (j + ½) / n of the way, so that a tile has of each member its share.
        due = [(torch.arange(n) + 0.5) / n for _, n in self.members]
        owner = torch.cat([torch.full((n,), k) for k, (_, n) in enumerate(self.members)])
        self.order = owner[torch.cat(due).argsort(stable=True)]
        self.at = 0

    def codes(self, samples: int) -> Draw:
        """Draw the next ones in turn."""
        batch = self.batch
        part = self.order[self.at : self.at + samples]
        self.at += samples
        join = batch.model.prior.join
        counts = torch.bincount(part, minlength=len(self.members)).tolist()
        z = [join(member.codes(n).z) for (member, _), n in zip(self.members, counts, strict=True) if n]
        sees = any(member.sees_posterior for member, _ in self.members)
        return batch.view.along(batch.evidence if sees else None, torch.cat(z))

    def log_density(self, draw: Draw) -> Tensor:
        """Return the logarithm of the members' densities by their shares."""
        each = [m.log_density(draw) + math.log(n / self.batch.samples) for m, n in self.members]
        return torch.stack(each).logsumexp(0)


PROPOSALS: dict[str, Callable[[Batch], Source]] = {
    "posterior": Posterior,
    "prior": Prior,
    "laplace": Laplace,
    "mixture": Mixture,
}

# A name, or what gives of a view and observations u (B, *event) a distribution over z, batch (B,).
Proposal = str | Callable[[View, Tensor], Distribution]


def name_of(proposal: Proposal) -> str:
    """Return what a proposal is called.

    Raises:
        ConfigError: there is none of this name, or it can draw nothing.
    """
    if callable(proposal):
        return getattr(proposal, "__name__", type(proposal).__name__)
    if proposal not in PROPOSALS:
        raise ConfigError(f"unknown proposal {brief(proposal)}; {suggest(str(proposal), PROPOSALS)}")
    return proposal


def source(proposal: Proposal, batch: Batch) -> Source:
    """Return where the codes of a batch come from.

    Raises:
        ConfigError: the proposal is unknown, does not suit the model, or gives something else than was asked for.
    """
    if not callable(proposal):
        return PROPOSALS[name_of(proposal)](batch)
    with batch.differentiable() as (view, u):
        law = proposal(view, u)
    shape = (len(u), *batch.model.latent_shape)
    if not isinstance(law, Distribution) or (*law.batch_shape, *law.event_shape) != shape:
        came = brief(law) if not isinstance(law, Distribution) else f"{law.batch_shape} and {law.event_shape}"
        raise ConfigError(
            f"the proposal {name_of(proposal)!r} must return a distribution of batch shape ({len(u)},) and event "
            f"shape {batch.model.latent_shape}; got {came}"
        )
    return Law(batch, law)


class StudentT(Distribution):
    """Student-t over vectors (..., L) or other shapes, with a precision matrix.

    Args:
        loc: Its centre, (B, *event).
        tril: Lower factor of the precision matrix of the flattened event, (B, L, L).
        df: Degrees of freedom.

    Attributes:
        scale: Matrices (B, L, L) that make of rows of N(0, I) draws of this covariance, but for the tails.
    """

    arg_constraints: ClassVar = {}  # pyright: ignore[reportIncompatibleMethodOverride,reportAssignmentType]
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType]

    def __init__(self, loc: Tensor, tril: Tensor, df: float) -> None:
        self.loc, self.tril, self.df = loc, tril, df
        eye = torch.eye(tril.shape[-1], dtype=tril.dtype, device=tril.device)
        self.scale = torch.linalg.solve_triangular(tril, eye, upper=False)
        super().__init__(loc.shape[:1], loc.shape[1:], validate_args=False)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample, B, *event)."""
        shape = self._extended_shape(torch.Size(sample_shape))
        like = {"dtype": self.loc.dtype, "device": self.loc.device}
        e = torch.randn(shape.numel() // self.tril[..., 0].numel(), *self.tril.shape[:-1], **like)
        if math.isfinite(self.df):
            half = torch.full_like(e[..., :1], self.df / 2)
            e = e / Gamma(half, half, validate_args=False).sample().sqrt()
        return self.loc + times(e, self.scale).reshape(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density in nats."""
        size = self.tril.shape[-1]
        away = (value - self.loc).flatten(-len(self.event_shape))
        away = times(away.reshape(-1, *self.tril.shape[:-1]), self.tril).reshape(away.shape)
        constant = (
            math.lgamma((self.df + size) / 2)
            - math.lgamma(self.df / 2)
            - size / 2 * math.log(self.df * math.pi)
        )
        log_det = self.tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        spread = away.square().sum(-1) / self.df
        return constant + log_det - (self.df + size) / 2 * torch.log1p(spread)


def times(rows: Tensor, matrices: Tensor) -> Tensor:
    """Return rows (S, B, L) times their example's matrix (B, L, L): one product for each example."""
    return (rows.transpose(0, 1) @ matrices).transpose(0, 1)


def laplace(view: View, u: Tensor, rows: int, df: float = _TAIL, wider: float = _WIDER) -> StudentT:
    """Return a Student-t around the mode of p(z | x, c), batch (B,); to be called within ``VAE.differentiable``.

    Args:
        view: The model under the condition.
        u: Observations in the units of the model, (B, *event).
        rows: Number of codes that may be decoded at once.
        df: Degrees of freedom.
        wider: Factor on the covariance.

    Raises:
        ConfigError: the latent is not real, or the likelihood's Fisher information is not known.
    """
    if not view.model.prior.is_real:
        raise ConfigError(
            f"the proposal 'laplace' needs a latent of real numbers; that of {type(view.model.prior).__name__} is "
            "another: take proposal='posterior'"
        )
    with torch.no_grad():
        z = view.points(view.evidence(u), len(u)).clone()
    mode, tril = Search(view, u, rows).found(z)
    return StudentT(mode, tril / math.sqrt(wider), df)


class Search:
    """The search for the Gaussian that is nearest to p(z | x, c), by way of its mode."""

    def __init__(self, view: View, u: Tensor, rows: int) -> None:
        self.view, self.u, self.rows = view, u, rows
        self.size = numel(view.model.latent_shape)

    def found(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return a centre (B, *latent) and the factor of a precision (B, L, L), from where to begin."""
        z = self.mode(z)
        tril = self.precision(z)
        # A posterior is not symmetric about its mode, and its curvature there is not that of where its mass lies: the
        # Gaussian that is nearest in KL(r || p) has its mean where the mean slope is 0, and the mean precision.
        for _ in range(_SHIFTS):
            z = self.shifted(z, tril)
        spread = self.around(tril, _CURVATURES)
        h = torch.stack([f @ f.mT for f in (self.precision(z + part) for part in spread)]).mean(0)
        tril = _factor(h)
        return self.shifted(z, tril), tril

    def mode(self, z: Tensor) -> Tensor:
        """Return the mode (B, *latent)."""
        for _ in range(_ROUNDS):
            tril = self.precision(z)
            for _ in range(_STEPS):
                value, slope = self.climb(z.unsqueeze(0))
                step = _solved(tril, slope)
                tried = torch.stack([z + length * step for length in _LENGTHS])
                with torch.no_grad():
                    best, at = self.view.log_joint(tried, self.u).nan_to_num(nan=-math.inf).max(0)
                gained = torch.where(best > value, best - value, 0.0)
                z = _where(gained > 0, tried[at, torch.arange(len(z), device=z.device)], z)
                if gained.max() < _ENOUGH:
                    return z
        return z

    def shifted(self, z: Tensor, tril: Tensor) -> Tensor:
        """Return centres moved by a Newton step on the mean of log p(x, z | c) around them, where it gains."""
        spread = self.around(tril, _SPREAD)
        value, slope = self.climb(z + spread)
        other = z + _solved(tril, slope)
        with torch.no_grad():
            gains = self.view.log_joint(other + spread, self.u).mean(0) > value
        return _where(gains, other, z)

    def around(self, tril: Tensor, draws: int) -> Tensor:
        """Return draws from N(0, H⁻¹) and their mirror images, ``draws`` (S, B, *latent) in all."""
        half = StudentT(tril.new_zeros(tril.shape[:2]), tril, math.inf).sample(torch.Size((draws // 2,)))
        return torch.cat([half, -half]).unflatten(-1, self.view.model.latent_shape)

    def climb(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean of log p(x, z | c) over codes (S, B, *latent), (B,), and that of its gradient."""
        z = z.detach().requires_grad_()
        value = self.view.log_joint(z, self.u)
        (slope,) = torch.autograd.grad(value.sum(), z)
        return value.detach().mean(0), slope.nan_to_num(0.0, 0.0, 0.0).mean(0)

    def precision(self, z: Tensor) -> Tensor:
        """Return the lower factor of H at codes (B, *latent), (B, L, L)."""
        flat = z.detach().flatten(1).requires_grad_()
        numbers = self.view.information(self.view.code(flat.reshape(1, *z.shape)), self.u)
        if numbers is None:
            raise ConfigError(
                "the proposal 'laplace' needs the Fisher information of the likelihood, which "
                f"{type(self.view.model.likelihood).__name__} does not have with its options: take "
                "proposal='posterior'"
            )
        # w ↦ J'w is linear in w, and its derivative along a direction of the latent is a column of J: forward mode by
        # two passes backward, which every network has. The latent has fewer numbers than x.
        w = torch.zeros_like(numbers, requires_grad=True)
        pulled = torch.autograd.grad(numbers, flat, w, create_graph=True)[0]
        directions = torch.eye(self.size, dtype=z.dtype, device=z.device).unsqueeze(1).expand(-1, len(z), -1)
        columns = [
            torch.autograd.grad(pulled, w, part, retain_graph=True, is_grads_batched=True)[0][:, 0]
            for part in directions.split(max(1, self.rows // len(z)))
        ]
        moved = torch.cat(columns).transpose(0, 1)
        return _factor(moved @ moved.transpose(1, 2) + self.of_prior(flat.detach(), z.shape))

    def of_prior(self, flat: Tensor, shape: torch.Size) -> Tensor:
        """Return the negative Hessian of log p(z | c), (B, L, L)."""
        flat = flat.clone().requires_grad_()
        log_p = self.view.log_prior(flat.reshape(1, *shape)).sum()
        (slope,) = torch.autograd.grad(log_p, flat, create_graph=True)
        if not slope.requires_grad:
            return flat.new_zeros(len(flat), self.size, self.size)
        rows = [torch.autograd.grad(slope[:, i].sum(), flat, retain_graph=True)[0] for i in range(self.size)]
        h = -torch.stack(rows, 1)
        return (h + h.transpose(1, 2)) / 2


def _solved(tril: Tensor, slope: Tensor) -> Tensor:
    """Return H⁻¹ of slopes (B, *latent)."""
    return torch.cholesky_solve(slope.flatten(1).unsqueeze(-1), tril).reshape(slope.shape)


def _where(taken: Tensor, other: Tensor, z: Tensor) -> Tensor:
    return torch.where(taken.reshape(-1, *[1] * (z.ndim - 1)), other, z)


def _factor(h: Tensor) -> Tensor:
    """Return the lower factor of symmetric matrices; of those that are not definite with other eigenvalues."""
    tril, failed = torch.linalg.cholesky_ex(h)
    diagonal = tril.diagonal(dim1=-2, dim2=-1)
    # A factor of a nearly singular one would make draws that fly away.
    bad = (failed > 0) | ~(diagonal.amin(-1) > math.sqrt(_FLATTEST) * diagonal.amax(-1))
    if bad.any():
        h = h[bad].nan_to_num(0.0, 0.0, 0.0)
        values, vectors = torch.linalg.eigh(h.double())
        values = values.abs()
        values = torch.maximum(values, _FLATTEST * values.amax(-1, keepdim=True).clamp(min=_FLATTEST))
        mended = (vectors * values.unsqueeze(-2)) @ vectors.transpose(1, 2)
        tril[bad] = torch.linalg.cholesky(mended).to(tril.dtype)
    return tril


def _shared_out(total: int, shares: tuple[float, ...]) -> list[int]:
    """Cut ``total`` by the shares, by largest remainders."""
    exact = [total * share for share in shares]
    counts = [int(value) for value in exact]
    by_rest = sorted(range(len(shares)), key=lambda k: counts[k] - exact[k])
    for k in by_rest[: total - sum(counts)]:
        counts[k] += 1
    return counts
