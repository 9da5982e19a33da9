r"""Likelihoods for counts: whole numbers 0, 1, 2, ... of events, as of reads in a cell.

.. math:: x_d \mid z \sim \text{Poisson}(\mu_d) \quad\text{or}\quad NB(\mu_d, \theta_d), \qquad
    \mu_d = \ell \, \text{softmax}(h)_d \quad\text{or}\quad e^{h_d}

With the library size :math:`\ell = \sum_d x_d` given, the shares alone are learned, and what is reported is
log p(x | library): of other units than log p(x), from which it lacks the density of the library itself. Without, the
decoder gives the means, and the density is that of x; ``Multinomial`` with its total modelled has both, shares and a
density of x.

Reference:
    Deep generative modeling for single-cell transcriptomics (Lopez et al., 2018),
    https://doi.org/10.1038/s41592-018-0229-2; scvi-tools has the same parametrisation
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from ..distributions.counts import Counts, GivenLibrary, NegativeBinomialLog, PoissonLog, ZeroInflated
from ..errors import ConfigError, suggest
from ..shapes import full_precision
from .base import Likelihood

LARGEST_LOG_MEAN = 40.0  # of log-means: beyond, powers of e overflow
_BOUND = 12.0  # of log θ, as that of scales of Gaussians
_FEW_ZEROS = -3.0  # log-odds of zero inflation at the start


def check_word(owner: str, option: str, value: Any, known: Sequence[str]) -> None:
    """Raise ConfigError unless the value of an option is one of the words it knows."""
    if value not in known:
        raise ConfigError(f"{owner} has no {option} {value!r}; {suggest(str(value), known)}")


def log_theta_of(raw: Tensor) -> Tensor:
    """Return ``raw`` for small numbers, and for any a log θ whose gradient leads back."""
    return _BOUND * torch.tanh(full_precision(raw) / _BOUND)


class CountLikelihood(Likelihood):
    """What likelihoods of counts share: their support, the encoder's features, the training data's library sizes.

    Attributes:
        log_total: Mean and standard deviation of the library sizes' logarithm, (2,), by which draws are made.
    """

    log_total: Tensor

    scores = frozenset({"binary", "count"})

    def __init__(self, event_shape: int | Sequence[int], parameters: int, given: str | None) -> None:
        super().__init__(event_shape, parameters)
        self.given = given
        if given:
            self.register_buffer("log_total", torch.tensor([5.0, 1.0]))

    def features(self, x: Tensor) -> Tensor:
        """Return log(1 + x)."""
        return torch.log1p(x)

    def check(self, x: Tensor) -> None:
        """Raise SupportError unless every element is a whole number, not negative."""
        outside = ~torch.isfinite(x) | (x < 0) | (x != x.round())
        self.refuse(
            x,
            outside,
            "{0, 1, 2, ...}",
            "give raw counts, neither normalised nor logarithms, or use 'gaussian'",
        )

    def _remember_totals(self, u: Tensor) -> None:
        """Keep how large the totals of the training data are, where draws need it."""
        totals = u.flatten(1).sum(1)
        logs = totals[totals > 0].double().log()
        if self.given and len(logs):
            with torch.no_grad():
                self.log_total.copy_(torch.stack([logs.mean(), logs.std(correction=0)]))


class Poisson(CountLikelihood):
    """Independent Poisson counts; the decoder gives the logarithms of their means, or of their shares.

    Args:
        event_shape: Shape of one observation.
        library: "given", the means are shares of the observation's own total; or "none".
        zero_inflated: Learn a probability that an element is 0 whatever its mean is; its log-odds are the decoder's
            last numbers.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        library: Literal["given", "none"] = "given",
        zero_inflated: bool = False,
    ) -> None:
        self._begin(event_shape, 1, library, zero_inflated)

    def _begin(self, event_shape: Any, parameters: int, library: str, zero_inflated: bool) -> None:
        check_word(type(self).__name__, "library", library, ("given", "none"))
        super().__init__(event_shape, parameters + zero_inflated, "library" if library == "given" else None)
        self.library, self.zero_inflated = library, zero_inflated

    def _family(self, log_mean: Tensor, others: Sequence[Tensor], context: Tensor | None) -> Counts:
        """Return the elements' distribution for the logarithms of their means and the decoder's other numbers."""
        return PoissonLog(log_mean)

    def forward(self, h: Tensor, context: Tensor | None = None) -> Distribution:
        """Return p(x | z), or p(x | z, library), from (..., P, *event), and from (B, C) of an embedded condition."""
        axes = len(self.event_shape)
        first, *others = full_precision(h).unbind(-1 - axes)

        def family(log_mean: Tensor) -> Counts:
            base = self._family(log_mean, others, context)
            return ZeroInflated(base, others[-1]) if self.zero_inflated else base

        if self.library == "given":
            return GivenLibrary(first, axes, self.log_total, family)
        return Independent(family(first.clamp(max=LARGEST_LOG_MEAN)), axes, validate_args=False)

    def information(self, p: Distribution, u: Tensor) -> Sequence[Tensor] | None:
        """Return the log-means in units of their standard error; None with more zeros or a predicted dispersion."""
        if self.input_shape[0] > 1:
            return None
        if isinstance(p, GivenLibrary):
            base = p.family(p.log_means(u))
        else:
            base: Counts = p.base_dist  # pyright: ignore[reportAttributeAccessIssue]
        return [base.information().sqrt().detach() * base.log_mean]

    def start(self, u: Tensor, model: Any) -> Tensor:
        """Return the logarithms of the means or shares, and few zeros beside."""
        self._remember_totals(u)
        mean = (u.sum(0) + 0.5) / (len(u) + 1)
        first = mean.log()
        total = u.flatten(1).sum(1).reshape(-1, *[1] * len(self.event_shape))
        expected = total * mean / mean.sum() if self.given else mean.expand_as(u)
        last = [torch.full_like(first, _FEW_ZEROS)] if self.zero_inflated else []
        return torch.stack([first, *self._start_others(u, expected), *last])

    def _start_others(self, u: Tensor, expected: Tensor) -> list[Tensor]:
        return []


class NegativeBinomial(Poisson):
    """Independent negative binomial counts of variance μ + μ²/θ; the decoder gives their means as for ``Poisson``.

    Args:
        event_shape: Shape of one observation.
        library: "given", the means are shares of the observation's own total; or "none".
        dispersion: Whence log θ: "feature", one parameter for each element; "condition", a linear map of the
            embedded condition beside it, so that each class has its own; or "predicted" by the decoder for each
            example.
        zero_inflated: Learn a probability that an element is 0 whatever its mean is; its log-odds are the decoder's
            last numbers.
        context: Size of the embedded condition.

    Raises:
        ConfigError: the dispersion is by a condition, and there is none.
    """

    derived = frozenset({"context"})
    log_theta: Tensor

    def __init__(
        self,
        event_shape: int | Sequence[int],
        library: Literal["given", "none"] = "given",
        dispersion: Literal["feature", "condition", "predicted"] = "feature",
        zero_inflated: bool = False,
        context: int = 0,
    ) -> None:
        check_word("NegativeBinomial", "dispersion", dispersion, ("feature", "condition", "predicted"))
        self._begin(event_shape, 1 + (dispersion == "predicted"), library, zero_inflated)
        self.dispersion, self.context = dispersion, context
        if dispersion != "predicted":
            self.log_theta = nn.Parameter(torch.zeros(self.event_shape))
        if dispersion == "condition":
            if not context:
                raise ConfigError(
                    "NegativeBinomial has dispersion 'condition', but the data have none; load them with condition=, "
                    "or set dispersion 'feature' or 'predicted'"
                )
            self.context_size = context
            self.of_condition = nn.Parameter(torch.zeros(context, *self.event_shape))

    def _family(self, log_mean: Tensor, others: Sequence[Tensor], context: Tensor | None) -> Counts:
        raw = others[0] if self.dispersion == "predicted" else self.log_theta
        if self.context_size:
            assert context is not None
            raw = raw + torch.tensordot(full_precision(context), self.of_condition, 1)
        return NegativeBinomialLog(log_mean, log_theta_of(raw))

    def _start_others(self, u: Tensor, expected: Tensor) -> list[Tensor]:
        """Return log θ by the method of moments, or set it."""
        excess = ((u - expected).square() - expected).sum(0)
        squares = expected.square().sum(0)
        log_theta = (squares / excess.clamp(min=1e-2 * squares.clamp(min=1e-6))).clamp(0.1, 100).log()
        if self.dispersion == "predicted":
            return [log_theta]
        with torch.no_grad():
            self.log_theta.copy_(log_theta)
        return []
