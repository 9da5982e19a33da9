r"""Where the codes of an importance sampler come from: one class for each name.

.. math::
    \hat p(x) = \frac1S \sum_s \frac{p(x \mid z_s)\, p(z_s)}{r(z_s)}, \qquad z_s \sim r

is unbiased for every density r that covers the posterior and depends on x, the model and *other* random numbers
alone; its logarithm is a lower bound on log p(x) in expectation, the tighter the nearer r is to p(z | x). The Laplace
proposal (``laplace.py``) knows one mode: of another one, far away, its draws and so the weights, ESS and k-hat tell
nothing. The mixture adds shares of q and of the prior, and weighs each draw by the density of the whole mixture, so
that no weight exceeds those of a single member over its share.

Nothing is chosen by the draws that are scored: those of the search are others, and so are the pilot draws, by which
each example's Laplace law becomes wider or narrower, and the shares of the mixture others.

References:
    Safe and effective importance sampling (Owen and Zhou, 2000), mixtures whose draws are counted out and not drawn
    Optimally combining sampling techniques for Monte Carlo rendering (Veach and Guibas, 1995), the balance heuristic
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.utils.flop_counter import FlopCounterMode

from ..errors import ConfigError, brief, suggest
from ..model import VAE
from ..shapes import numel
from ..view import View
from ..walk import Draw
from .laplace import NoLaplace, laplace, search_passes
from .stream import Passes, frozen

_BEARABLE = 4e12  # floating-point operations: half a minute, more or less
_DEARER = 4.0  # times the price of q alone that are always borne
_PILOT = 40  # draws that choose
_WIDTHS = (1.0, 1.3, 1.7)  # factors on the covariance to choose from; the first is that of the pilot draws


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


class Mixture(Source):
    """Codes from Laplace, q and prior in shares, weighed by the density of the mixture.

    How wide the Laplace law is, and the shares, are chosen for each example by draws of their own, among a few. How
    many codes come from each member is counted out over all samples, not drawn: the estimate stays unbiased and
    varies less.

    Args:
        batch: The examples.

    Attributes:
        menu: Shares of the members to choose from; the first draw is by the first.
        law: The Laplace law.
        shares: Those of each example, (M, B).

    Raises:
        ConfigError: the latent is not real, or the likelihood's Fisher information is not known.
    """

    menu: ClassVar[Sequence[tuple[float, ...]]] = ((0.85, 0.10, 0.05), (0.45, 0.50, 0.05))

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        with batch.differentiable() as (view, u):
            self.law = laplace(view, u, batch.rows)
        kinds = (Law(batch, self.law), Posterior(batch), Prior(batch))
        self.members = kinds[: 1 + max(k for shares in self.menu for k, share in enumerate(shares) if share)]
        self.sees = any(member.sees_posterior for member in self.members)
        self.stock: dict[int, Tensor] = {}
        first = torch.zeros(len(batch.x), dtype=torch.long, device=batch.x.device)
        self._deal(_PILOT, first)
        width, choice = self._chosen(self.codes(_PILOT))
        self.law.wider = self.law.wider * width
        self._deal(batch.samples, choice)

    def _deal(self, samples: int, choice: Tensor) -> None:
        """Say which member each of so many draws comes from, by the numbers (B,) of the shares."""
        counts = [_shared_out(samples, shares) for shares in self.menu]
        orders = []
        for each in counts:
            # Draw j of n is due at (j + 1/2) / n of the way, so that a tile has of each member its share.
            due = [(torch.arange(n) + 0.5) / n for n in each]
            owner = torch.cat([torch.full((n,), k) for k, n in enumerate(each)])
            orders.append(owner[torch.cat(due).argsort(stable=True)])
        device = self.batch.x.device
        self.order = torch.stack(orders, 1).to(device)[:, choice]
        self.shares = torch.tensor(counts, dtype=self.batch.model.dtype, device=device).T[:, choice] / samples
        self.at = 0

    def _chosen(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Return factors on the covariance, and the numbers of the shares, (B,), at which the weights vary least.

        The second moment of weights by another density r' is that of the weights at hand times r / r'.
        """
        view, u, members = self.batch.view, self.batch.u, self.members
        log_p = view.log_likelihood(view.likelihood(draw.code), u) + draw.log_p
        others = [member.log_density(draw) for member in members[1:]]
        used = self._log_mixed([members[0].log_density(draw), *others])
        scores, rows = [], (self.batch.model.prior.join(draw.z) - self.law.loc).flatten(2)
        lengths = self.law.precision.lengths(rows)
        for width in _WIDTHS:
            here = self.law.by_lengths(*lengths, self.law.df, self.law.wider * width)
            for shares in self.menu:
                given = self.shares.new_tensor(shares[: len(members)]).unsqueeze(1)
                scores.append(2 * log_p - used - self._log_mixed([here, *others], given))
        score = torch.stack(scores).nan_to_num(-math.inf, -math.inf, -math.inf).logsumexp(1)
        # Of few draws the largest weight decides: half of the say is the other examples'.
        score = (score - score[:1]).nan_to_num(0.0, 0.0, 0.0)
        best = (score + score.mean(1, keepdim=True)).argmin(0)
        widths = self.shares.new_tensor(_WIDTHS)
        return widths[best // len(self.menu)], best % len(self.menu)

    def _log_mixed(self, each: Sequence[Tensor], shares: Tensor | None = None) -> Tensor:
        shares = self.shares if shares is None else shares
        return (torch.stack(list(each)) + shares.log().unsqueeze(1)).logsumexp(0)

    def codes(self, samples: int) -> Draw:
        """Draw the next ones in turn."""
        batch = self.batch
        part = self.order[self.at : self.at + samples]
        self.at += samples
        z = None
        for number in range(len(self.members)):
            mine = part == number
            place = mine.cumsum(0)
            most = int(place[-1].max())
            if not most:
                continue
            drawn = self._drawn(number, most)
            index = (place - 1).clamp(min=0)
            drawn = drawn[index, torch.arange(len(batch.x), device=index.device)]
            z = drawn if z is None else torch.where(mine.reshape(*mine.shape, *[1] * (z.ndim - 2)), drawn, z)
        assert z is not None
        return batch.view.along(batch.evidence if self.sees else None, z)

    def _drawn(self, number: int, n: int) -> Tensor:
        """Return ``n`` new codes of a member, (n, B, *latent); of one that is seldom asked, out of a stock."""
        stock, many = self.stock.get(number), max(1, self.batch.rows // len(self.batch.x))
        if stock is None or len(stock) < n:
            stock = self.batch.model.prior.join(self.members[number].codes(n if 2 * n > many else many).z)
        self.stock[number] = stock[n:]
        return stock[:n]

    def log_density(self, draw: Draw) -> Tensor:
        """Return the logarithm of the members' densities by their shares."""
        return self._log_mixed([member.log_density(draw) for member in self.members])


class Laplace(Mixture):
    """Codes from the Laplace law alone; works for real-valued latents of any prior.

    Args:
        batch: The examples.

    Raises:
        ConfigError: as of ``Mixture``.
    """

    menu = ((1.0, 0.0, 0.0),)


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


def tightest(passes: Passes, samples: int) -> tuple[str, str | None]:
    """Return "mixture" where a model can have it at a bearable price, else "posterior" and why, in half a sentence.

    The price is counted, not timed, so that a command gives the same on every machine.

    Args:
        passes: The model and its examples.
        samples: Importance samples per example.
    """
    model = passes.model
    if not model.posterior.has_density:
        return "posterior", "q(z|x) has no density"
    with frozen(model, passes.seed):
        x, c = next(passes.batches(1))
        batch = Batch(model, x[:1], c, 1, passes.rows)
        try:
            Mixture(batch)
        except NoLaplace as refused:
            return "posterior", refused.reason
        except (RuntimeError, NotImplementedError) as failed:
            what = brief((str(failed) or type(failed).__name__).splitlines()[0])
            return "posterior", f"the model cannot be differentiated twice ({what})"
        # The counter follows modules by hooks on the graph, which inference does not have.
        with batch.differentiable() as (view, u), FlopCounterMode(display=False) as counter:
            view.log_likelihood(view.likelihood(view.generate(1, 1).code), u)
    more = 2 + search_passes(numel(model.latent_shape)) / samples
    cost = passes.n * samples * more * counter.get_total_flops()
    if cost > _BEARABLE and more > _DEARER:
        return (
            "posterior",
            f"a tighter proposal takes {more:.0f} times as long: --proposal mixture, or more samples",
        )
    return "mixture", None


def _shared_out(total: int, shares: tuple[float, ...]) -> list[int]:
    """Cut ``total`` by the shares, by largest remainders."""
    exact = [total * share for share in shares]
    counts = [int(value) for value in exact]
    by_rest = sorted(range(len(shares)), key=lambda k: counts[k] - exact[k])
    for k in by_rest[: total - sum(counts)]:
        counts[k] += 1
    return counts
