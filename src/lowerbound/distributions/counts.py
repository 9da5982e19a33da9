r"""Counts 0, 1, 2, ...: by the logarithms of their parameters, so that no rate under- or overflows.

Poisson with mean μ; negative binomial with mean μ and inverse dispersion θ, of variance μ + μ²/θ:

.. math::
    \log p(x) = \log \frac{\Gamma(x + \theta)}{\Gamma(\theta)\, x!} + \theta \log \frac{\theta}{\theta + \mu}
              + x \log \frac{\mu}{\theta + \mu}

which is Poisson for θ → ∞; and either with more zeros, :math:`\pi [x = 0] + (1 - \pi) p(x)`. How a total n falls on
the elements, with shares ρ, is multinomial, or Dirichlet-multinomial where the shares themselves vary, with
concentration α:

.. math::
    \log p(x \mid n) = \log n! - \sum_d \log x_d! + \sum_d x_d \log \rho_d, \qquad
    \log \frac{n!\,\Gamma(\alpha)}{\Gamma(n + \alpha)}
    + \sum_d \log \frac{\Gamma(x_d + \alpha \rho_d)}{\Gamma(\alpha \rho_d)\, x_d!}

Reference:
    Deep generative modeling for single-cell transcriptomics (Lopez et al., 2018),
    https://doi.org/10.1038/s41592-018-0229-2
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, Gamma, constraints

from ..errors import ConfigError

_STIRLING = 64.0  # from here on the series of log Γ is exact to 1e-12, and a difference of two log Γ is not
_AT_ONCE = 4096  # draws of single events, of each example


class Counts(Distribution):
    """Base of distributions over counts, element by element.

    Args:
        log_mean: Logarithm of the mean μ.
        batch_shape: Shape, if it is not that of ``log_mean``.
    """

    arg_constraints: ClassVar = {}  # pyright: ignore[reportIncompatibleMethodOverride,reportAssignmentType]
    support = constraints.nonnegative_integer  # pyright: ignore[reportAssignmentType,reportIncompatibleMethodOverride]

    def __init__(self, log_mean: Tensor, batch_shape: torch.Size | None = None) -> None:
        self.log_mean = log_mean
        super().__init__(log_mean.shape if batch_shape is None else batch_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Mean."""
        return self.log_mean.exp().expand(self.batch_shape)

    def information(self) -> Tensor:
        """Return the Fisher information of log μ, the other parameters being known."""
        raise NotImplementedError


class PoissonLog(Counts):
    """Poisson with mean μ."""

    def information(self) -> Tensor:
        """Return the Fisher information of log μ."""
        return self.mean

    @property
    def variance(self) -> Tensor:
        """Variance, the mean."""
        return self.mean

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(value), elementwise, in nats."""
        return value * self.log_mean - self.log_mean.exp() - torch.lgamma(value + 1)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample, *batch)."""
        return torch.poisson(self.mean.expand(self._extended_shape(torch.Size(sample_shape))))


class NegativeBinomialLog(Counts):
    """Negative binomial with mean μ and variance μ + μ²/θ.

    Args:
        log_mean: log μ.
        log_theta: Logarithm of the inverse dispersion θ, of a shape that broadcasts with it.
    """

    def __init__(self, log_mean: Tensor, log_theta: Tensor) -> None:
        super().__init__(log_mean, torch.broadcast_shapes(log_mean.shape, log_theta.shape))
        self.log_theta = log_theta

    def information(self) -> Tensor:
        """Return the Fisher information of log μ, μθ / (μ + θ)."""
        return (self.log_mean - F.softplus(self.log_mean - self.log_theta, threshold=40.0)).exp()

    @property
    def variance(self) -> Tensor:
        """Variance."""
        return self.mean + (2 * self.log_mean - self.log_theta).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(value), elementwise, in nats."""
        none = F.softplus(self.log_mean - self.log_theta, threshold=40.0)  # log(1 + μ/θ)
        of_mean = value * self.log_mean - (self.log_theta.exp() + value) * none
        return of_mean + self._of_counts(value)

    def _of_counts(self, x: Tensor) -> Tensor:
        """Return log Γ(θ + x) / (Γ(θ) θ^x x!), which is 0 where x is 0 and costs more than all else of log p."""
        shape = torch.broadcast_shapes(x.shape, self.log_theta.shape)
        if x.device.type != "cpu":  # there, how many are not 0 would have to be waited for
            return log_rising(self.log_theta.exp(), x, self.log_theta) - torch.lgamma(x + 1)
        x = x.expand(shape).flatten()
        counted = x.nonzero().squeeze(1)
        places = torch.arange(self.log_theta.numel()).reshape(self.log_theta.shape).expand(shape).flatten()
        log_theta = self.log_theta.flatten().index_select(0, places[counted])
        x = x[counted]
        left = log_rising(log_theta.exp(), x, log_theta) - torch.lgamma(x + 1)
        return left.new_zeros(shape.numel()).index_copy(0, counted, left).reshape(shape)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample, *batch): Poisson, of a mean that is Gamma."""
        theta = self.log_theta.exp().expand(self._extended_shape(torch.Size(sample_shape)))
        return torch.poisson(_gamma(theta) * (self.log_mean - self.log_theta).exp())


class ZeroInflated(Counts):
    """Another distribution of counts with probability 1 - π, else 0.

    Args:
        base: The other one.
        logits: Log-odds of π, of a shape that broadcasts with it.
    """

    def __init__(self, base: Counts, logits: Tensor) -> None:
        super().__init__(base.log_mean, torch.broadcast_shapes(base.batch_shape, logits.shape))
        self.base, self.logits = base, logits

    @property
    def mean(self) -> Tensor:
        """Mean."""
        return self.base.mean * torch.sigmoid(-self.logits)

    @property
    def variance(self) -> Tensor:
        """Variance."""
        share = torch.sigmoid(-self.logits)
        return share * (self.base.variance + (1 - share) * self.base.mean.square())

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(value), elementwise, in nats."""
        other = self.base.log_prob(value)
        zero = F.softplus(other - self.logits) - F.softplus(-self.logits)
        return torch.where(value == 0, zero, other - F.softplus(self.logits))

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample, *batch)."""
        shape = self._extended_shape(torch.Size(sample_shape))
        drawn = self.base.sample(shape[: len(shape) - len(self.base.batch_shape)])
        return drawn * torch.bernoulli(torch.sigmoid(-self.logits).expand(shape))


def _gamma(shape: Tensor) -> Tensor:
    """Draw from Gamma(shape, 1)."""
    return Gamma(shape, torch.ones_like(shape), validate_args=False).sample()


def log_rising(a: Tensor, x: Tensor, log_a: Tensor | None = None) -> Tensor:
    """Return log Γ(a + x) − log Γ(a), less x log a if that is given, as the difference of large numbers is not.

    Args:
        a: Positive.
        x: Not negative.
        log_a: Logarithm of a.
    """
    near = torch.lgamma(a + x) - torch.lgamma(a)
    if log_a is None:
        return near
    far = a.clamp(min=_STIRLING)
    beyond = (far + x - 0.5) * torch.log1p(x / far) - x + _stirling(far + x) - _stirling(far)
    return torch.where(a < _STIRLING, near - x * log_a, beyond)


def _stirling(t: Tensor) -> Tensor:
    """Return what is left of log Γ(t) beside (t − ½) log t − t + ½ log 2π."""
    return 1 / (12 * t) - 1 / (360 * t**3)


class _Given(Distribution):
    """Base of distributions of counts by their total and their shares of it.

    Args:
        scores: Logits of the shares ρ, (*batch, *event).
        axes: Number of event axes.
        log_total: Mean and standard deviation of the logarithm of the total, (2,), for draws and means; None if these
            do without.
    """

    arg_constraints: ClassVar = {}  # pyright: ignore[reportIncompatibleMethodOverride,reportAssignmentType]

    def __init__(self, scores: Tensor, axes: int, log_total: Tensor | None) -> None:
        self.scores, self.axes, self.log_total = scores, axes, log_total
        self.scored: Tensor | None = None
        batch = scores.shape[: scores.ndim - axes]
        super().__init__(batch, scores.shape[scores.ndim - axes :], validate_args=False)

    @property
    def support(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Whole numbers, none negative."""
        return constraints.independent(constraints.nonnegative_integer, self.axes)

    def restricted(self, scored: Tensor) -> _Given:
        """Return the distribution of the scored elements, given their own total."""
        other = copy.copy(self)
        other.scored = scored
        return other

    def log_shares(self, scored: Tensor | None = None) -> Tensor:
        """Return log ρ, (*batch, *event): shares of the total of the scored elements."""
        kept = self.scores if scored is None else self.scores.masked_fill(scored <= 0, -torch.inf)
        return self.scores - self._over_event(kept, torch.logsumexp)

    def log_means(self, value: Tensor) -> Tensor:
        """Return the logarithms of the means, (*batch, *event), given the total of what is scored of ``value``."""
        # Without any count there is no total, and nothing else to come than zeros.
        return self.log_shares(self.scored) + self._seen(value)[1].clamp(min=1e-30).log()

    def _over_event(self, values: Tensor, reduce: Callable[..., Tensor] = torch.sum) -> Tensor:
        return reduce(values, tuple(range(-self.axes, 0)), keepdim=True)

    def _summed(self, values: Tensor) -> Tensor:
        return values.flatten(-self.axes).sum(-1)

    def _seen(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return the value with 0 where it is not scored, and its total."""
        value = value if self.scored is None else torch.where(self.scored > 0, value, 0.0)
        return value, self._over_event(value)

    def _total(self, shape: torch.Size) -> Tensor:
        """Draw totals, (*shape, 1, ...), not rounded."""
        assert self.log_total is not None
        location, scale = self.log_total
        noise = torch.randn(shape, device=self.scores.device, dtype=self.scores.dtype)
        return (location + scale * noise).exp().reshape(*shape, *[1] * self.axes)

    def _mean_total(self) -> Tensor:
        assert self.log_total is not None
        location, scale = self.log_total
        return (location + scale.square() / 2).exp()


class GivenLibrary(_Given):
    """Independent counts of means ``library x ρ``, given their library size: the total of the value itself.

    ``log_prob`` is log p(x | library), which sums to one over x for each library and not over all x. Draws and means
    are over libraries from a log-normal.

    Args:
        scores: Logits of the shares ρ, (*batch, *event).
        axes: Number of event axes.
        log_total: Mean and standard deviation of the library's logarithm, (2,).
        family: Gives the elements' distribution for the logarithms of their means.
    """

    def __init__(
        self, scores: Tensor, axes: int, log_total: Tensor, family: Callable[[Tensor], Counts]
    ) -> None:
        super().__init__(scores, axes, log_total)
        self.family = family

    @property
    def mean(self) -> Tensor:
        """Mean, (*batch, *event)."""
        return self.family(self.log_shares() + self._mean_total().log()).mean

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(value | its library) in nats."""
        each = self.family(self.log_means(value)).log_prob(self._seen(value)[0])
        return self._summed(each if self.scored is None else torch.where(self.scored > 0, each, 0.0))

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample, *batch, *event)."""
        total = self._total(torch.Size((*sample_shape, *self.batch_shape)))
        return self.family(self.log_shares() + total.log()).sample()


class MultinomialLog(_Given):
    """How a total falls on the elements; multinomial, or Dirichlet-multinomial.

    Args:
        scores: Logits of the shares ρ, (*batch, *event).
        axes: Number of event axes.
        log_total: Mean and standard deviation of the total's logarithm, (2,).
        concentration: Concentration α of the Dirichlet, a number; None for the multinomial.
        total: Distribution of the total, batch (*batch); None if it is given.
    """

    def __init__(
        self,
        scores: Tensor,
        axes: int,
        log_total: Tensor | None,
        concentration: Tensor | None = None,
        total: NegativeBinomialLog | None = None,
    ) -> None:
        super().__init__(scores, axes, log_total)
        self.concentration, self.total = concentration, total

    def restricted(self, scored: Tensor) -> _Given:
        """Return the distribution of the scored elements: given their own total, or with the total that is left.

        Raises:
            ConfigError: the total is modelled and the shares vary, which have no such distribution in closed form.
        """
        if self.total is not None and self.concentration is not None:
            raise ConfigError(
                "a multinomial with dispersion 'learned' and its total 'modelled' cannot leave elements out, as "
                "where values are missing; set dispersion='none' or total='given'"
            )
        return super().restricted(scored)

    @property
    def mean(self) -> Tensor:
        """Mean, (*batch, *event)."""
        total = self._mean_total() if self.total is None else self.total.mean
        return self.log_shares().exp() * total.reshape(*total.shape, *[1] * self.axes)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(value | total), or log p(value) where the total has a distribution, in nats."""
        value, n = self._seen(value)
        log_share = self.log_shares()
        kept = log_share if self.scored is None else log_share.masked_fill(self.scored <= 0, -torch.inf)
        log_mass = self._over_event(kept, torch.logsumexp)  # the share of what is scored, else 0
        total = n.flatten(-self.axes).squeeze(-1)
        falls = torch.lgamma(total + 1) - self._summed(torch.lgamma(value + 1))
        if self.concentration is None:
            falls = falls + self._summed(value * (log_share - log_mass))
        else:
            alpha = self.concentration * log_share.exp()
            mass = self.concentration * log_mass.exp().flatten(-self.axes).squeeze(-1)
            falls = falls + self._summed(log_rising(alpha, value)) - log_rising(mass, total)
        if self.total is None:
            return falls
        # A share of negative binomial events, each kept or not by itself, is negative binomial too.
        of_scored = self.total.log_mean + log_mass.flatten(-self.axes).squeeze(-1)
        return falls + NegativeBinomialLog(of_scored, self.total.log_theta).log_prob(total)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample, *batch, *event)."""
        lead = torch.Size((*sample_shape, *self.batch_shape))
        n = self._total(lead).round() if self.total is None else self.total.sample(torch.Size(sample_shape))
        share = self.log_shares().exp().expand(*lead, *self.event_shape)
        if self.concentration is not None:
            share = _gamma((self.concentration * share).clamp(min=1e-30))
        flat = share.reshape(-1, self.event_shape.numel()).clamp(min=1e-30)
        n, drawn = n.reshape(-1, 1).long(), torch.zeros_like(flat)
        for first in range(0, int(n.max()) if n.numel() else 0, _AT_ONCE):
            many = min(_AT_ONCE, int(n.max()) - first)
            at = torch.multinomial(flat, many, replacement=True)
            counted = (first + torch.arange(many, device=n.device) < n).to(flat)
            drawn.scatter_add_(1, at, counted)
        return drawn.reshape(*lead, *self.event_shape)
