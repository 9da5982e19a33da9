r"""A law near p(z | x, c): Student-t around its middle, with precisions of several places.

From q's mean damped Gauss-Newton steps lead to the mode,

.. math::
    z \leftarrow z + t H^{-1} \nabla_z \log p(x, z), \qquad H = -\nabla_z^2 \log p(z) + J^\top F J,

with J the derivative of the decoder's output and F the likelihood's Fisher information, and from there to where the
mean slope over draws around is 0, the mean of the Gaussian that is nearest in KL(r || p). What p(z | x) lacks of a
Gaussian is that its precision differs from place to place: the law is the mixture, around one centre, of Gaussians
with the precisions of several draws, each with the tails of a Student-t.

Where the likelihood tells nothing of a direction, and the prior is Gaussian there, it stays as the prior has it; the
rest is a subspace, in which alone there are precisions. Of a large latent it is that of a few products with random
vectors, and nothing of L x L is made.

References:
    Variational Laplace autoencoders (Park, Kim and Kim, 2019), https://proceedings.mlr.press/v97/park19a.html: steps
    Finding structure with randomness (Halko, Martinsson and Tropp, 2011), https://arxiv.org/abs/0909.4061: subspace
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Gamma, constraints

from ..errors import ConfigError
from ..shapes import numel
from ..view import View

_STEPS = 3  # Newton steps to the mode
_SPREAD = 16  # draws that the mean slope is of
_CURVATURES = 6  # draws whose precisions are taken
_LENGTHS = (1.0, 0.5, 0.25, 0.1)  # of a step, of which the best is taken
_ENOUGH = 1e-3  # nats that a step must gain in one example of the batch, or the search ends
_TAIL = 100.0  # degrees of freedom
_WIDER = 1.3  # factor on the covariance
_FLATTEST = 1e-6  # smallest eigenvalue of a precision, as a share of the largest
_TOLD = 0.01  # by which a direction's precision must differ from the prior's, as a share of it
_WHOLE = 128  # numbers of a latent up to which the subspace is sought among all directions
_RANK = 64  # directions of the subspace of a larger one
_PROBES = 4  # products that tell the diagonal of its prior's precision


class NoLaplace(ConfigError):
    """There is no such law for a model.

    Args:
        reason: Why, in half a sentence.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the proposal 'laplace' cannot be had: {reason}; take proposal='posterior'")


class Precision:
    r"""Precision matrices of the event, K for each example: all numbers, or all but those of a subspace as they were.

    .. math:: H_k = D^{1/2} (I + V (T_k T_k^\top - I) V^\top) D^{1/2}

    with orthonormal V. Rows are (S, B, L); nothing of L x L is made where there is a subspace.

    Args:
        tril: Lower factors T, (K, B, R, R).
        basis: V, (B, L, R); None for the identity.
        root: D^½, (B, L); None for ones.

    Attributes:
        inverse: Inverses of the factors, (K, B, R, R).
    """

    def __init__(self, tril: Tensor, basis: Tensor | None = None, root: Tensor | None = None) -> None:
        self.tril, self.basis, self.root = tril, basis, root
        eye = torch.eye(tril.shape[-1], dtype=tril.dtype, device=tril.device)
        self.inverse = torch.linalg.solve_triangular(tril, eye, upper=False)

    @classmethod
    def diagonal(cls, root: Tensor) -> Precision:
        """Return the one with D = root² alone, root (B, L)."""
        return cls(root.new_zeros(1, len(root), 0, 0), root.new_zeros(*root.shape, 0), root)

    def __len__(self) -> int:
        return len(self.tril)

    def units(self) -> Tensor:
        """Return D^-½ V as rows, (R, B, L), between which what the factors have is measured."""
        assert self.root is not None
        return _units(self.basis, self.root)

    @property
    def half_log_det(self) -> Tensor:
        """Return ½ log |H_k|, (K, B)."""
        inside = self.tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return inside if self.root is None else inside + self.root.log().sum(-1)

    def lengths(self, rows: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return squared lengths in the units of H_k: (K, S, B) of what lies in the subspace, (S, B) of the rest."""
        rows = rows if self.root is None else rows * self.root
        inside = rows if self.basis is None else times(rows, self.basis)
        # One product for all K.
        many = times(inside, self.tril.permute(1, 2, 0, 3).flatten(2)).unflatten(-1, (len(self), -1))
        rest = 0.0 if self.basis is None else (rows.square().sum(-1) - inside.square().sum(-1)).clamp(min=0)
        return many.square().sum(-1).movedim(-1, 0), rest

    def colour(self, rows: Tensor, which: Tensor, stretch: Tensor | float = 1.0) -> Tensor:
        """Return draws of N(0, 1 / H_k) for rows of N(0, I), what lies in the subspace times ``stretch``.

        Args:
            rows: Draws, (S, B, L).
            which: Numbers k of the precisions, (S, B) or (S, 1).
            stretch: Factors (S, B, 1).
        """
        return self._through(rows, self.inverse, which, stretch, None, self.root)

    def coloured_back(self, rows: Tensor, which: Tensor) -> Tensor:
        """Return rows by the transposed matrices of ``colour``."""
        return self._through(rows, self.inverse.mT, which, 1.0, self.root, None)

    def solved(self, rows: Tensor) -> Tensor:
        """Return 1 / H of rows, of the first precision."""
        first = torch.zeros(len(rows), 1, dtype=torch.long, device=rows.device)
        return self.colour(self.coloured_back(rows, first), first)

    def _through(
        self,
        rows: Tensor,
        matrices: Tensor,
        which: Tensor,
        stretch: Tensor | float,
        before: Tensor | None,
        after: Tensor | None,
    ) -> Tensor:
        rows = rows if before is None else rows / before
        inside = rows if self.basis is None else times(rows, self.basis)
        if len(self) == 1:
            other = times(inside, matrices[0])
        else:
            many = times(inside, matrices.permute(1, 2, 0, 3).flatten(2)).unflatten(-1, (len(self), -1))
            index = which.expand(many.shape[:2])[..., None, None].expand(-1, -1, 1, many.shape[-1])
            other = many.gather(2, index).squeeze(2)
        other = other * stretch
        rows = other if self.basis is None else rows + times(other - inside, self.basis.mT)
        return rows if after is None else rows / after


class StudentT(Distribution):
    r"""Mixture in equal shares of laws around one centre: Student-t in the subspace of a precision, Gaussian else.

    Args:
        loc: The centre, (B, *event).
        precision: Of the flattened event, K for each example.
        df: Degrees of freedom, a number or (B,).
        wider: Factor on the covariance in the subspace, a number or (B,).
    """

    arg_constraints: ClassVar = {}  # pyright: ignore[reportIncompatibleMethodOverride,reportAssignmentType]
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType]

    def __init__(
        self, loc: Tensor, precision: Precision, df: float | Tensor = _TAIL, wider: float | Tensor = _WIDER
    ) -> None:
        self.loc, self.precision = loc, precision
        self.df, self.wider = (torch.as_tensor(v).to(loc).expand(len(loc)) for v in (df, wider))
        super().__init__(loc.shape[:1], loc.shape[1:], validate_args=False)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample, B, *event)."""
        shape = self._extended_shape(torch.Size(sample_shape))
        rows = torch.randn(
            math.prod(sample_shape), len(self.loc), self._size, dtype=self.loc.dtype, device=self.loc.device
        )
        half = (self.df / 2).expand(rows.shape[:2])
        stretch = self.wider.expand(rows.shape[:2]) / Gamma(half, half, validate_args=False).sample()
        # In turn from a random start: each draw alone has the law of the mixture.
        start = torch.randint(len(self.precision), rows.shape[1:2], device=rows.device)
        which = (torch.arange(len(rows), device=rows.device).unsqueeze(1) + start) % len(self.precision)
        return self.loc + self.precision.colour(rows, which, stretch.sqrt().unsqueeze(-1)).reshape(shape)

    @property
    def _size(self) -> int:
        return numel(self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density in nats."""
        lead = value.shape[: value.ndim - len(self.event_shape)]
        rows = (value - self.loc).reshape(-1, len(self.loc), self._size)
        return self.by_lengths(*self.precision.lengths(rows), self.df, self.wider).reshape(lead)

    def by_lengths(self, inside: Tensor, rest: Tensor | float, df: Tensor, wider: Tensor) -> Tensor:
        """Return the log-density in nats, (..., S, B), of the lengths that ``Precision`` gives.

        Args:
            inside: (K, S, B).
            rest: (S, B).
            df: Degrees of freedom, (B,).
            wider: Factors, (B,).
        """
        size = self.precision.tril.shape[-1]
        constant = (
            torch.lgamma((df + size) / 2)
            - torch.lgamma(df / 2)
            - size / 2 * torch.log(df * math.pi * wider)
            - (self._size - size) / 2 * math.log(2 * math.pi)
            - math.log(len(self.precision))
        )
        each = self.precision.half_log_det.unsqueeze(1) - (df + size) / 2 * torch.log1p(inside / (df * wider))
        return constant + each.logsumexp(0) - rest / 2


def times(rows: Tensor, matrices: Tensor) -> Tensor:
    """Return rows (S, B, L) times their example's matrix (B, L, M): one product for each example."""
    return (rows.transpose(0, 1) @ matrices).transpose(0, 1)


def laplace(view: View, u: Tensor, rows: int) -> StudentT:
    """Return Student-t laws around the middle of p(z | x, c), batch (B,); to be called within ``VAE.differentiable``.

    Args:
        view: The model under the condition.
        u: Observations in the units of the model, (B, *event).
        rows: Number of codes that may be decoded at once.

    Raises:
        NoLaplace: the latent is not real, or the likelihood's Fisher information is not known.
    """
    if not view.model.prior.is_real:
        raise NoLaplace(
            f"it needs a latent of real numbers, and {type(view.model.prior).__name__} has another"
        )
    with torch.no_grad():
        z = view.points(view.evidence(u), len(u)).clone()
    return StudentT(*Search(view, u, rows).found(z))


class Search:
    """The search for the middle of p(z | x, c), by way of its mode, and for its precision in several places.

    Args:
        view: The model under the condition.
        u: Observations in the units of the model, (B, *event).
        rows: Number of codes that may be decoded at once.
    """

    def __init__(self, view: View, u: Tensor, rows: int) -> None:
        self.view, self.u, self.rows = view, u, rows
        self.shape = view.model.latent_shape
        self.size = numel(self.shape)

    def found(self, z: Tensor) -> tuple[Tensor, Precision]:
        """Return a centre (B, *latent) and the precisions around it, from where to begin."""
        first, bent, told = self.precision(z)
        z = self.mode(z, first)
        # A posterior is not symmetric about its mode, and its curvature there is not that of where its mass lies: the
        # Gaussian that is nearest in KL(r || p) has its mean where the mean slope is 0, and the mean precision.
        z = self.shifted(z, first)
        rows, places = first.units(), z + self.around(first, _CURVATURES)
        # The prior's curvature, as dear as the likelihood's if it is learned, is more alike from place to place.
        if told is not None:
            rows = torch.einsum("rbl,brk->kbl", rows, told)
        seen = torch.stack([_seen(_Local(self, place), rows) for place in places])
        each = bent + (seen if told is None else told @ seen @ told.mT)
        z = self.shifted(z, Precision(_factor(each.mean(0, keepdim=True)), first.basis, first.root))
        return z, Precision(_factor(each), first.basis, first.root)

    def mode(self, z: Tensor, precision: Precision) -> Tensor:
        """Return the mode (B, *latent), by Newton steps with one precision."""
        for _ in range(_STEPS):
            value, slope = self.climb(z.unsqueeze(0))
            step = self.newton(precision, slope)
            tried = torch.stack([z + length * step for length in _LENGTHS])
            with torch.no_grad():
                best, at = self.view.log_joint(tried, self.u).nan_to_num(nan=-math.inf).max(0)
            gained = torch.where(best > value, best - value, 0.0)
            z = _where(gained > 0, tried[at, torch.arange(len(z), device=z.device)], z)
            if gained.max() < _ENOUGH:
                break
        return z

    def shifted(self, z: Tensor, precision: Precision) -> Tensor:
        """Return centres moved by a Newton step on the mean of log p(x, z | c) around them, where it gains."""
        spread = self.around(precision, _SPREAD)
        value, slope = self.climb(z + spread)
        other = z + self.newton(precision, slope)
        with torch.no_grad():
            gains = self.view.log_joint(other + spread, self.u).mean(0) > value
        return _where(gains, other, z)

    def newton(self, precision: Precision, slope: Tensor) -> Tensor:
        """Return 1 / H of slopes (B, *latent)."""
        return precision.solved(slope.flatten(1).unsqueeze(0)).reshape(slope.shape)

    def around(self, precision: Precision, draws: int) -> Tensor:
        """Return draws from N(0, 1 / H) and their mirror images, ``draws`` (S, B, *latent) in all."""
        like = precision.tril
        rows = torch.randn(draws // 2, like.shape[1], self.size, dtype=like.dtype, device=like.device)
        half = precision.colour(rows, torch.zeros(1, 1, dtype=torch.long, device=like.device))
        return torch.cat([half, -half]).unflatten(-1, self.shape)

    def climb(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean of log p(x, z | c) over codes (S, B, *latent), (B,), and that of its gradient."""
        z = z.detach().requires_grad_()
        value = self.view.log_joint(z, self.u)
        (slope,) = torch.autograd.grad(value.sum(), z)
        return value.detach().mean(0), slope.nan_to_num(0.0, 0.0, 0.0).mean(0)

    def precision(self, z: Tensor) -> tuple[Precision, Tensor, Tensor | None]:
        """Return H at codes (B, *latent) in the subspace where it is not the prior's diagonal.

        Beside it the prior's share of what the factors have, (B, R, R), and the directions in that subspace (B, R, K)
        of which the likelihood tells; None for all.
        """
        local, span = _Local(self, z), None
        probes = torch.randint(2, (_PROBES, len(z), self.size), device=z.device).to(z.dtype) * 2 - 1
        root = _root((probes * local.prior(probes)).mean(0))
        if self.size > _WHOLE:
            rows = torch.randn(_RANK, len(z), self.size, dtype=z.dtype, device=z.device) / root
            sketch = (local.pulled(local.pushed(rows)) + local.prior(rows)) / root - rows * root
            span = torch.linalg.qr(sketch.nan_to_num(0.0, 0.0, 0.0).permute(1, 2, 0))[0]
        units = _units(span, root)
        seen, bent = _seen(local, units), _bent(local, units)
        values, vectors = torch.linalg.eigh(seen + bent)
        chosen = _largest((values - 1).abs())
        if chosen.shape[1] == self.size:
            found = Precision(_factor((seen + bent)[None]), None, root)
        else:
            within = vectors.gather(2, chosen.unsqueeze(1).expand(-1, vectors.shape[1], -1))
            seen, bent = (within.mT @ part @ within for part in (seen, bent))
            tril = _factor(values.gather(1, chosen).diag_embed()[None])
            found = Precision(tril, within if span is None else span @ within, root)
        values, vectors = torch.linalg.eigh(seen)
        chosen = _largest(values)
        if chosen.shape[1] == seen.shape[1]:
            return found, bent, None
        return found, bent, vectors.gather(2, chosen.unsqueeze(1).expand(-1, vectors.shape[1], -1))


def _largest(told: Tensor) -> Tensor:
    """Return which of the eigenvalues (B, R) matter, (B, K) in order, as many as of the example with the most."""
    rank = max(1, int((told > _TOLD).sum(1).max()))
    return told.argsort(1, descending=True)[:, :rank].sort(1)[0]


def _units(basis: Tensor | None, root: Tensor) -> Tensor:
    """Return the rows D^-½ V, (R, B, L); V is the identity if there is no ``basis``."""
    rows = torch.diag_embed(1 / root) if basis is None else basis / root.unsqueeze(-1)
    return rows.permute(2, 0, 1)


def _seen(local: _Local, rows: Tensor) -> Tensor:
    """Return rows' J' F J rows, (B, R, R)."""
    pushed = local.pushed(rows).transpose(0, 1)
    return (pushed @ pushed.mT).nan_to_num(0.0, 0.0, 0.0)


def _bent(local: _Local, rows: Tensor) -> Tensor:
    """Return minus the Hessian of log p(z | c) between rows, (B, R, R)."""
    h = torch.einsum("rbl,sbl->brs", rows, local.prior(rows))
    return ((h + h.mT) / 2).nan_to_num(0.0, 0.0, 0.0)


class _Local:
    """Products with the derivatives at codes (B, *latent), of rows (R, B, L)."""

    def __init__(self, search: Search, z: Tensor) -> None:
        self.view, self.most = search.view, max(1, search.rows // len(z))
        self.flat = flat = z.detach().flatten(1).requires_grad_()
        numbers = self.view.information(self.view.code(flat.reshape(1, *z.shape)), search.u)
        if numbers is None:
            name = type(self.view.model.likelihood).__name__
            raise NoLaplace(f"the Fisher information of {name} with its options is not known")
        self.numbers, self.shape = numbers, z.shape
        # w ↦ J'w is linear in w, and its derivative along a direction of the latent is a column of J: forward mode by
        # two passes backward, which every network has. The latent has fewer numbers than x.
        self.w = torch.zeros_like(numbers, requires_grad=True)
        (self.back,) = torch.autograd.grad(numbers, flat, self.w, create_graph=True)

    @cached_property
    def slope(self) -> Tensor:
        """The gradient of log p(z | c), (B, L)."""
        value = self.view.log_prior(self.flat.reshape(1, *self.shape)).sum()
        return torch.autograd.grad(value, self.flat, create_graph=True)[0]

    def pushed(self, rows: Tensor) -> Tensor:
        """Return J rows, (R, B, n)."""
        return self._products(self.back, self.w, rows)[:, 0]

    def pulled(self, rows: Tensor) -> Tensor:
        """Return J' rows, (R, B, L), of rows (R, B, n)."""
        return self._products(self.numbers, self.flat, rows.unsqueeze(1))

    def prior(self, rows: Tensor) -> Tensor:
        """Return the negative Hessian of log p(z | c) times rows, (R, B, L)."""
        return (
            -self._products(self.slope, self.flat, rows)
            if self.slope.requires_grad
            else torch.zeros_like(rows)
        )

    def _products(self, of: Tensor, to: Tensor, rows: Tensor) -> Tensor:
        options: Any = {"retain_graph": True, "is_grads_batched": True, "materialize_grads": True}
        return torch.cat([torch.autograd.grad(of, to, part, **options)[0] for part in rows.split(self.most)])


def _root(diagonal: Tensor) -> Tensor:
    """Return the root of a diagonal (B, L); of numbers that are not positive that of a small one."""
    diagonal = diagonal.nan_to_num(0.0, 0.0, 0.0)
    least = _FLATTEST + 1e-3 * diagonal.abs().mean(1, keepdim=True)
    return torch.maximum(diagonal, least).sqrt()


def _where(taken: Tensor, other: Tensor, z: Tensor) -> Tensor:
    return torch.where(taken.reshape(-1, *[1] * (z.ndim - 1)), other, z)


def _factor(h: Tensor) -> Tensor:
    """Return the lower factors of symmetric matrices; of those that are not definite with other eigenvalues."""
    tril, failed = torch.linalg.cholesky_ex(h)
    if not h.shape[-1]:
        return tril
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


def search_passes(size: int) -> int:
    """Return about how many passes through the decoder the search takes for one example of so many latent numbers."""
    directions = min(size, _RANK) if size > _WHOLE else size
    first = 3 * _RANK + _PROBES if size > _WHOLE else size
    climbs = _STEPS * (3 + len(_LENGTHS)) + 2 * 4 * _SPREAD
    return 2 * (first + _CURVATURES * directions) + climbs
