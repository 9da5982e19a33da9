r"""The log-likelihood of a model by importance sampling, streamed over tiles of examples and samples.

.. math::
    \log p(x) \approx \log \frac1S \sum_{s=1}^{S} w_s, \qquad
    w_s = \frac{p(x \mid z_s)\, p(z_s)}{r(z_s)}, \quad z_s \sim r(z)

The mean of the weights is unbiased for p(x), so its logarithm is below log p(x) in expectation, by about
Var(w) / (2 S p(x)²), and rises to it with S. The proposal r is q(z | x), or one of those in ``proposals.py``; the
naive estimator takes p(z), where :math:`w_s = p(x \mid z_s)`.

Two numbers per example tell how far to trust it: the effective sample size

.. math:: \mathrm{ESS} = \frac{\left(\sum_s w_s\right)^2}{\sum_s w_s^2} \in [1, S]

and the Pareto shape k-hat of the largest weights (``pareto.py``).

Reference:
    Importance weighted autoencoders (Burda, Grosse and Salakhutdinov, 2016), https://arxiv.org/abs/1509.00519
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from torch import Tensor

from ..data import Split
from ..display import signed
from ..model import VAE
from ..progress import Advance
from .pareto import THRESHOLD, fewest_samples, pareto_khat, tail_length
from .proposals import Batch, Proposal, name_of, source
from .stream import Options, Passes, check_samples, standard_error

MOST_BAD = 0.1  # share of the examples whose k-hat may be above the threshold

# How many times the weights that are kept for k-hat are collected before the largest are sought again.
_REDUCED_TOGETHER = 8


@dataclass(frozen=True, repr=False)
class NLL:
    """Minus log p(x) of a set of examples, in nats per example, and how far to trust it.

    Attributes:
        value: Minus the mean of log p(x) of the original data; lower is better.
        stderr: Its standard error over the examples, sd / √n; NaN for one example.
        samples: Importance samples S per example.
        n: Number of examples.
        per_example: Estimates of log p(x), (n,).
        ess: Effective sample sizes, (n,), between 1 and S.
        khat: Pareto shapes of the weights' tails, (n,); NaN where S is too small for a fit, −∞ where the largest
            weights are all the same.
        seconds: Time it took.
        proposal: Name of where the samples came from.
    """

    value: float
    stderr: float
    samples: int
    n: int
    per_example: Tensor
    ess: Tensor
    khat: Tensor
    seconds: float
    proposal: str = "posterior"

    def __repr__(self) -> str:
        """A line: ``NLL 24.23 ± 0.27 nats (n = 180, S = 1000, k-hat fine)``."""
        bad = self.khat_share_bad
        khat = "unknown" if math.isnan(bad) else f"above {THRESHOLD} for {bad:.0%}" if bad > 0 else "fine"
        other = "" if self.proposal == "posterior" else f", z from {self.proposal}"
        value = signed(self.value, 2, self.stderr)
        return f"NLL {value} nats (n = {self.n}, S = {self.samples}, k-hat {khat}{other})"

    @property
    def ess_median(self) -> float:
        """Median of the effective sample sizes."""
        return self.ess.quantile(0.5).item()

    @property
    def khat_share_bad(self) -> float:
        """Share of the examples with k-hat above 0.7; NaN if S is too small for a fit."""
        return math.nan if self.khat.isnan().all() else (self.khat > THRESHOLD).double().mean().item()

    @property
    def warning(self) -> str | None:
        """Why the value is not to be trusted, in a sentence, or None."""
        if not math.isfinite(self.value):
            lost = int((~self.per_example.isfinite()).sum())
            return f"{lost} of {self.n} examples have no finite estimate of log p(x)"
        if math.isnan(self.khat_share_bad):
            return (
                f"{self.samples} samples are too few to judge the importance weights by their Pareto k-hat; "
                f"it needs {fewest_samples()}"
            )
        if self.khat_share_bad > MOST_BAD:
            return (
                f"k-hat exceeds {THRESHOLD} for {self.khat_share_bad:.0%} of the examples (median effective sample "
                f"size {self.ess_median:.3g} of {self.samples}): the proposal misses part of the posterior, and the "
                "true NLL is probably lower; use more samples or a more flexible posterior"
            )
        return None

    @property
    def trusted(self) -> bool:
        """Whether at most a tenth of the examples have a k-hat above 0.7."""
        return self.warning is None


def nll(
    model: VAE,
    split: Split | Tensor | Any,
    samples: int = 1000,
    *,
    proposal: Proposal = "posterior",
    **options: Unpack[Options],
) -> NLL:
    """Estimate minus log p(x) of the original data, or log p(x | c) under a condition, in nats per example.

    The encoder sees each example once; the samples are decoded, scored and added up in tiles, so memory does not
    grow with their number. For dequantised grey levels the value is that of the discrete original and an upper
    bound on it; for a bare tensor it is the density of what the tensor holds. With the proposal "prior" every
    example has prior draws of its own, so that the examples' errors are independent. Where a level of the latent is
    discrete and the posterior names one code k(x), the value is that of log p(x, k(x) | c); with "prior" all count.

    Args:
        model: The model; its mode and torch's global generator are left as they were.
        split: A part of the data, or a tensor or array (N, *event).
        samples: Importance samples per example.
        proposal: "posterior" draws from q(z | x, c), "prior" from p(z | c): the naive estimator; "laplace" from
            a Student-t near p(z | x, c), and "mixture" from all three: tighter at equal S by what q misses. Or a
            function that gives of a view of the model and observations u (B, *event) a distribution over z, batch
            (B,), which must rest on these and on random numbers of its own alone.
        **options: ``c``, ``limit``, ``memory``, ``seed``, ``precision`` and ``progress``; see ``Options``.

    Raises:
        ConfigError: an option has an impossible value, or the proposal does not suit the model: "laplace" and
            "mixture" need a latent of real numbers and a likelihood whose Fisher information is known.
        DataError: there are no examples.
        ShapeError: the examples do not have the model's event shape.
        SupportError: they lie outside the likelihood's support.

    Example:
        >>> import lowerbound as lb
        >>> data = lb.data.load("digits")
        >>> model = lb.VAE.for_data(data, latent=2)
        >>> nll(model, data.test, samples=50).n
        180
    """
    began = time.perf_counter()
    check_samples("nll", samples)
    name = name_of(proposal)
    passes = Passes(model, split, **options)
    parts: list[tuple[Tensor, ...]] = []
    with passes.running(f"log p(x), {samples} samples") as advance:
        rows = passes.rows
        # Square tiles, unless the samples are too few to fill one.
        for x, c in passes.batches(max(rows // samples, math.isqrt(rows))):
            tiles = _counted(log_weights(model, x, c, samples, rows, proposal), samples, advance)
            log_sum, log_square_sum, khat = stream(tiles, keep=tail_length(samples) + 1)
            log_p = log_sum - math.log(samples) - passes.log_volume(c)
            parts.append((log_p, torch.exp(2 * log_sum - log_square_sum), khat))
    log_p, ess, khat = (torch.cat(part) for part in zip(*parts, strict=True))
    return NLL(
        value=-log_p.mean().item(),
        stderr=standard_error(log_p),
        samples=samples,
        n=passes.n,
        per_example=log_p,
        ess=ess,
        khat=khat,
        seconds=time.perf_counter() - began,
        proposal=name,
    )


def log_weights(
    model: VAE, x: Tensor, c: dict[str, Tensor] | None, samples: int, rows: int, proposal: Proposal
) -> Iterator[Tensor]:
    """Yield the log importance weights of one batch in nats, tile by tile (s, B), ``samples`` in all.

    Args:
        model: The model, frozen.
        x: Observations, (B, *event).
        c: Their condition.
        samples: Number of samples per example.
        rows: Largest number s · B of latent codes in a tile; s is at least 1.
        proposal: Where they are drawn from.
    """
    batch = Batch(model, x, c, samples, rows)
    view, (u, log_det) = batch.view, batch.view.to_model(x)
    codes = source(proposal, batch)
    for s in evenly(samples, max(1, rows // len(x))):
        code, log_weight = codes.weighted(s)
        yield view.log_likelihood(view.likelihood(code), u) + log_det + log_weight


def _counted(tiles: Iterable[Tensor], samples: int, advance: Advance) -> Iterator[Tensor]:
    """Report of each tile its share of the examples' samples: of many samples a batch takes its time."""
    for tile in tiles:
        yield tile
        advance(tile.numel() / samples)


def stream(tiles: Iterable[Tensor], keep: int) -> tuple[Tensor, Tensor, Tensor]:
    """Reduce tiles of log weights to log Σ w, log Σ w² and k-hat, (B,) each, in float64 on the CPU.

    Args:
        tiles: Log weights, (s, B) each.
        keep: How many of the largest weights k-hat is fitted to, the threshold included.
    """
    # A tile holds few weights: each reduction of many of them costs what one of a single tile does.
    parts = joined(tiles, _REDUCED_TOGETHER * keep)
    first = next(parts)
    log_sum = log_square_sum = first.new_full(first.shape[1:], -torch.inf)
    largest = first[:0]
    for part in itertools.chain([first], parts):
        log_sum = torch.logaddexp(log_sum, part.logsumexp(0))
        log_square_sum = torch.logaddexp(log_square_sum, (2 * part).logsumexp(0))
        largest = torch.cat([largest, part])
        largest = largest.topk(min(keep, len(largest)), dim=0).values
    return log_sum.cpu().double(), log_square_sum.cpu().double(), pareto_khat(largest.cpu())


def joined(tiles: Iterable[Tensor], most: int) -> Iterator[Tensor]:
    """Yield tiles (s, B) joined along their first axis, as many as go into ``most`` rows; at least one."""
    # Copied into one array at once: small ones that outlive the large ones between them would scatter the heap.
    waiting, rows = None, 0
    for tile in tiles:
        if waiting is None or rows + len(tile) > len(waiting):
            if waiting is not None:
                yield waiting[:rows]
            waiting, rows = tile.new_empty(max(most, len(tile)), *tile.shape[1:]), 0
        waiting[rows : rows + len(tile)] = tile
        rows += len(tile)
    if waiting is not None:
        yield waiting[:rows]


def evenly(total: int, most: int) -> Iterator[int]:
    """Cut ``total`` into the fewest parts of at most ``most``, as equal as can be."""
    parts = math.ceil(total / most)
    return (total // parts + (i < total % parts) for i in range(parts))
