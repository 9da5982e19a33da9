r"""log p(x) by annealed importance sampling, and how far that can be off: the reference for every other estimate.

A chain goes from r(z), which is q(z | x), the prior or the Laplace proposal, to p(x, z) along

.. math::
    f_\beta(z) = r(z)^{1 - \beta}\, p(x, z)^{\beta}, \qquad 0 = \beta_0 < \dots < \beta_T = 1, \qquad
    \log w = \sum_{t=1}^T (\beta_t - \beta_{t-1}) \log \frac{p(x, z_{t-1})}{r(z_{t-1})},

with a step of Hamiltonian Monte Carlo at each temperature. The mean of w over chains is unbiased for p(x): its
logarithm is a lower bound in expectation. The same way back from an exact draw of p(z | x), which there is for x that
the model itself has drawn, gives w whose inverse is unbiased for 1 / p(x): an upper bound. Between the two lies
log p(x) (bidirectional Monte Carlo).

Step sizes are adapted in a first round; the second one, which counts, has them fixed and random numbers of its own:
adapted on the way, the chains would not leave f invariant and the bound would be none.

References:
    Annealed importance sampling (Neal, 2001), https://arxiv.org/abs/physics/9803008
    Sandwiching the marginal likelihood using bidirectional Monte Carlo (Grosse, Ghahramani and Adams, 2015),
    https://arxiv.org/abs/1511.02543
    On the quantitative analysis of decoder-based generative models (Wu, Burda, Salakhutdinov and Grosse, 2017),
    https://arxiv.org/abs/1611.04273
    Evaluating lossy compression rates of deep generative models (Huang et al., 2020),
    https://arxiv.org/abs/2008.06653: the two rounds
    Inference suboptimality in variational autoencoders (Cremer, Li and Duvenaud, 2018),
    https://arxiv.org/abs/1801.03558: the two gaps
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Unpack, get_args

import torch
from torch import Tensor

from ..data import Split
from ..display import signed
from ..errors import ConfigError, suggest
from ..model import VAE
from ..progress import progress_bar
from ..shapes import numel
from ..view import View
from .bounds import bound
from .laplace import Precision, laplace
from .outliers import likelihood_regret
from .proposals import Batch
from .stream import Options, Passes, frozen, standard_error, tile_rows

Start = Literal["posterior", "prior", "laplace"]

_ACCEPTED = 0.75  # share of the steps that adaptation aims at
_GAIN = 0.3  # of the logarithm of a step size, per unit of the share
_FIRST = 0.5  # step size at the start, in units of L^-1/4
_WARM = 20  # steps at the first temperature, before adaptation goes along the path
_SPREAD = 64  # draws that tell the scale of each latent dimension
_STEEP = 4.0  # of the sigmoid along which temperatures lie
_GRADIENT = 3  # arrays of a tile without gradients that one with them needs the room of


@dataclass(frozen=True, repr=False)
class Annealed:
    """Minus log p(x) of a set of examples by annealed importance sampling, in nats per example.

    Attributes:
        value: Minus the mean of log p(x) of the original data: an upper bound in expectation.
        stderr: Its standard error over the examples; NaN for one.
        per_example: Estimates of log p(x), (n,).
        ess: Effective number of chains of each example, (n,).
        acceptance: Share of the steps that were accepted.
        temperatures: Number T of them.
        chains: Number of chains of each example.
        leapfrog: Leapfrog steps at each temperature.
        start: Where the chains start.
        n: Number of examples.
        seconds: Time it took.
    """

    value: float
    stderr: float
    per_example: Tensor
    ess: Tensor
    acceptance: float
    temperatures: int
    chains: int
    leapfrog: int
    start: Start
    n: int
    seconds: float

    def __repr__(self) -> str:
        """A line: ``NLL 81.60 ± 1.70 nats (n = 9, AIS from laplace, 100 temperatures x 8 chains, 76% accepted)``."""
        value = signed(self.value, 2, self.stderr)
        how = f"{self.temperatures} temperatures x {self.chains} chains, {self.acceptance:.0%} accepted"
        return f"NLL {value} nats (n = {self.n}, AIS from {self.start}, {how})"


@dataclass(frozen=True, repr=False)
class Sandwich:
    """Two bounds on log p(x) of data that the model has drawn itself, in nats per example and the model's units.

    Attributes:
        lower: Mean lower bound, from forward chains.
        upper: Mean upper bound, from chains back from the exact code.
        gap: Their difference: neither is off by more, in expectation.
        stderr: Standard error of the gap over the examples.
        per_example: Lower and upper bounds, (n, 2).
        n: Number of examples.
        seconds: Time it took.
    """

    lower: float
    upper: float
    gap: float
    stderr: float
    per_example: Tensor
    n: int
    seconds: float

    def __repr__(self) -> str:
        """A line: ``log p(x) in [−81.62, −81.58], gap 0.04 ± 0.01 nats (n = 100)``."""
        inside = f"[{signed(self.lower)}, {signed(self.upper)}]"
        return f"log p(x) in {inside}, gap {signed(self.gap, 3, self.stderr)} nats (n = {self.n})"


@dataclass(frozen=True, repr=False)
class Gaps:
    """What a bound loses, in nats per example: log p(x) − ELBO = approximation + amortisation.

    Attributes:
        log_p: log p(x) by annealed importance sampling.
        elbo: The bound.
        approximation: What the best q of the posterior's family loses.
        amortisation: What the encoder's q loses against that one.
        stderr: Standard errors of the two gaps over the examples.
        n: Number of examples.
    """

    log_p: float
    elbo: float
    approximation: float
    amortisation: float
    stderr: tuple[float, float]
    n: int

    def __repr__(self) -> str:
        """A line: ``log p(x) −81.6 = ELBO −85.0 + approximation 2.1 + amortisation 1.3 nats (n = 200)``."""
        gaps = f"approximation {signed(self.approximation)} + amortisation {signed(self.amortisation)}"
        return f"log p(x) {signed(self.log_p)} = ELBO {signed(self.elbo)} + {gaps} nats (n = {self.n})"


def ais(
    model: VAE,
    split: Split | Tensor | Any,
    *,
    temperatures: int = 100,
    chains: int = 8,
    leapfrog: int = 5,
    start: Start = "posterior",
    **options: Unpack[Options],
) -> Annealed:
    """Estimate minus log p(x) of the original data, or log p(x | c), by annealed importance sampling.

    It takes about 2 · ``temperatures`` · ``leapfrog`` · ``chains`` gradients of the decoder for each example, half of
    them to adapt step sizes; a gradient takes as long as three samples of ``nll``. It is for some hundred examples.

    Args:
        model: The model; its mode and torch's global generator are left as they were.
        split: A part of the data, or a tensor or array (N, *event).
        temperatures: Steps from the start to p(x, z).
        chains: Chains for each example.
        leapfrog: Leapfrog steps at each temperature.
        start: "posterior", q(z | x, c); "prior"; or "laplace", around the mode, the nearest to p(z | x, c).
        **options: ``c``, ``limit``, ``memory``, ``seed``, ``precision`` (of no effect here) and ``progress``.

    Raises:
        ConfigError: an option has an impossible value, or the latent is not one of real numbers.
        DataError: there are no examples.
    """
    began = time.perf_counter()
    _check(model, start, temperatures=temperatures, chains=chains, leapfrog=leapfrog)
    passes = Passes(model, split, **options)
    parts: list[tuple[Tensor, ...]] = []
    with passes.running(f"AIS, {temperatures} temperatures") as advance:
        for x, c in passes.batches(_together(passes.rows, chains)):
            batch = Batch(model, x, c, chains, passes.rows)
            log_det = batch.view.to_model(x)[1]
            with batch.differentiable() as (view, u):
                path = _Path(view, u, start, temperatures, leapfrog, passes.rows)
                share = len(x) / (2 * temperatures)
                steps = path.adapted(chains, lambda share=share: advance(share))
                log_w, accepted = path.run(path.begin(chains), steps, lambda share=share: advance(share))
            log_p = log_w.logsumexp(0) - math.log(chains) + log_det
            ess = torch.exp(2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0))
            parts.append((log_p.cpu().double() - passes.log_volume(c), ess.cpu(), accepted.cpu()))
    log_p, ess, accepted = (torch.cat(part) for part in zip(*parts, strict=True))
    return Annealed(
        value=-log_p.mean().item(),
        stderr=standard_error(log_p),
        per_example=log_p,
        ess=ess,
        acceptance=accepted.mean().item(),
        temperatures=temperatures,
        chains=chains,
        leapfrog=leapfrog,
        start=start,
        n=passes.n,
        seconds=time.perf_counter() - began,
    )


def bdmc(
    model: VAE,
    n: int = 100,
    c: Any = None,
    *,
    temperatures: int = 100,
    chains: int = 8,
    leapfrog: int = 5,
    start: Start = "posterior",
    memory: float = 256,
    seed: int = 0,
    progress: bool | None = None,
) -> Sandwich:
    """Bound log p(x) from both sides on examples that the model draws: what ``ais`` with the same options is worth.

    Args:
        model: The model; left as it was.
        n: Number of examples.
        c: The condition: one for all of them, or ``n``, one each.
        temperatures: As of ``ais``.
        chains: As of ``ais``, in either direction.
        leapfrog: As of ``ais``.
        start: As of ``ais``.
        memory: Cap on the arrays held at once in MiB.
        seed: Of the examples and the chains.
        progress: False for no progress bar on the terminal.

    Raises:
        ConfigError: an option has an impossible value, or the latent is not one of real numbers.
    """
    began = time.perf_counter()
    _check(model, start, temperatures=temperatures, chains=chains, leapfrog=leapfrog, n=n)
    given = model.read(c, n, each=True)
    shown = False if progress is False else None
    bar = progress_bar("bounds from both sides", n, shown, unit="examples", after=0.5)
    lower, upper = [], []
    with frozen(model, seed), bar as advance:
        rows = tile_rows(model, memory)
        for first in range(0, n, size := _together(rows, chains)):
            many = min(size, n - first)
            part = None if given is None else {k: v[first : first + many] for k, v in given.items()}
            with model.differentiable():
                view = model.under(part)
                with torch.no_grad():
                    drawn = view.generate(1, many)
                    code, u = model.prior.join(drawn.z), view.likelihood(drawn.code).sample()[0]

                def step(share: float = many / (3 * temperatures)) -> None:
                    advance(share)

                path = _Path(view, u, start, temperatures, leapfrog, rows)
                steps = path.adapted(chains, step)
                forward, _ = path.run(path.begin(chains), steps, step)
                backward, _ = path.run(code.expand(chains, *code.shape[1:]), steps, step, back=True)
            lower.append(forward.logsumexp(0).cpu().double() - math.log(chains))
            upper.append(math.log(chains) - (-backward).logsumexp(0).cpu().double())
    bounds = torch.stack([torch.cat(lower), torch.cat(upper)], 1)
    gap = bounds[:, 1] - bounds[:, 0]
    return Sandwich(
        lower=bounds[:, 0].mean().item(),
        upper=bounds[:, 1].mean().item(),
        gap=gap.mean().item(),
        stderr=standard_error(gap),
        per_example=bounds,
        n=n,
        seconds=time.perf_counter() - began,
    )


def gaps(
    model: VAE,
    split: Split | Tensor | Any,
    *,
    temperatures: int = 100,
    chains: int = 8,
    leapfrog: int = 5,
    steps: int = 100,
    samples: int = 100,
    **options: Unpack[Options],
) -> Gaps:
    """Tell what the bound loses by the family of q, and what by an encoder that must serve all examples.

    Args:
        model: The model; left as it was.
        split: A part of the data, or a tensor or array (N, *event); some hundred examples.
        temperatures: As of ``ais``, which gives log p(x).
        chains: As of ``ais``.
        leapfrog: As of ``ais``.
        steps: Steps of the search for the best q of each example; see ``likelihood_regret``.
        samples: Draws of the bound.
        **options: See ``Options``.

    Raises:
        ConfigError: as of ``ais``, ``bound`` and ``likelihood_regret``.
    """
    truth = ais(model, split, temperatures=temperatures, chains=chains, leapfrog=leapfrog, **options)
    below = bound(model, split, samples=samples, **options)
    amortisation = likelihood_regret(model, split, steps=steps, **options)
    approximation = truth.per_example - below.per_example - amortisation
    return Gaps(
        log_p=-truth.value,
        elbo=below.elbo,
        approximation=approximation.mean().item(),
        amortisation=amortisation.mean().item(),
        stderr=(standard_error(approximation), standard_error(amortisation)),
        n=truth.n,
    )


def _check(model: VAE, start: str, **numbers: int) -> None:
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"annealed importance sampling needs {name} >= 1; got {value!r}")
    if start not in get_args(Start):
        raise ConfigError(f"chains cannot start from {start!r}; {suggest(str(start), get_args(Start))}")
    if not model.prior.is_real:
        raise ConfigError(
            "annealed importance sampling moves codes along gradients, and those of the prior "
            f"{type(model.prior).__name__} are not real numbers; take lowerbound.evaluate.nll"
        )


def _together(rows: int, chains: int) -> int:
    return max(1, rows // (_GRADIENT * chains))


@dataclass
class _State:
    """Codes (S, B, *latent), with log p(x, z) and log r(z), (S, B), and their gradients."""

    z: Tensor
    joint: Tensor
    base: Tensor
    slopes: tuple[Tensor, Tensor]

    def log_f(self, beta: float) -> Tensor:
        """Return log f_β."""
        return self.base + beta * (self.joint - self.base)

    def slope(self, beta: float) -> Tensor:
        """Return its gradient."""
        joint, base = self.slopes
        return base + beta * (joint - base)

    def where(self, taken: Tensor, other: _State) -> _State:
        """Return the other state where it was taken, (S, B), else this one."""

        def choose(a: Tensor, b: Tensor) -> Tensor:
            return torch.where(taken.reshape(*taken.shape, *[1] * (a.ndim - 2)), a, b)

        slopes = tuple(choose(a, b) for a, b in zip(other.slopes, self.slopes, strict=True))
        joint, base = choose(other.joint, self.joint), choose(other.base, self.base)
        return _State(choose(other.z, self.z), joint, base, slopes)  # pyright: ignore[reportArgumentType]


class _Path:
    """The way from r(z) to p(x, z) for a batch of observations u (B, *event); within ``differentiable``."""

    def __init__(
        self, view: View, u: Tensor, start: Start, temperatures: int, leapfrog: int, rows: int
    ) -> None:
        self.view, self.u, self.leapfrog = view, u, leapfrog
        self.law = laplace(view, u, rows) if start == "laplace" else None
        with torch.no_grad():
            self.evidence = view.evidence(u) if start == "posterior" else None
            ends = torch.linspace(-_STEEP, _STEEP, temperatures + 1, dtype=torch.float64).sigmoid()
            self.betas = ((ends - ends[0]) / (ends[-1] - ends[0])).tolist()
            # In units of r's own scale one step size does for all dimensions.
            if self.law is None:
                self.scale = Precision.diagonal(1 / self.begin(_SPREAD).std(0).flatten(1))
            else:
                self.scale = self.law.precision
            self.first = torch.zeros(1, 1, dtype=torch.long, device=u.device)  # of the law's precisions

    @torch.no_grad()
    def begin(self, chains: int) -> Tensor:
        """Draw codes from r, (chains, B, *latent)."""
        view, many = self.view, len(self.u)
        if self.law is not None:
            return self.law.sample(torch.Size((chains,)))
        draw = (
            view.generate(chains, many) if self.evidence is None else view.infer(self.evidence, many, chains)
        )
        return view.model.prior.join(draw.z)

    def state(self, z: Tensor) -> _State:
        """Return what is known at codes (S, B, *latent)."""
        z = z.detach().requires_grad_()
        draw = self.view.along(self.evidence, z)
        joint = self.view.log_likelihood(self.view.likelihood(draw.code), self.u) + draw.log_p
        base = draw.log_q if self.law is None else self.law.log_prob(z)
        slopes = [
            torch.autograd.grad(value.sum(), z, retain_graph=value is base)[0] for value in (base, joint)
        ]
        return _State(z.detach(), joint.detach(), base.detach(), (slopes[1], slopes[0]))

    def step(self, at: _State, beta: float, size: Tensor) -> tuple[_State, Tensor]:
        """Move by Hamiltonian Monte Carlo at β with step sizes (B,); also returns how likely it was, (S, B)."""
        size = size.unsqueeze(-1)
        momentum = first = torch.randn_like(at.z.flatten(2))

        def half(now: _State) -> Tensor:
            return size / 2 * self.scale.coloured_back(now.slope(beta).flatten(2), self.first)

        now, kick = at, half(at)
        for _ in range(self.leapfrog):
            momentum = momentum + kick
            move = size * self.scale.colour(momentum, self.first)
            now = self.state(now.z + move.reshape(now.z.shape))
            kick = half(now)
            momentum = momentum + kick

        def energy(p: Tensor) -> Tensor:
            return p.square().sum(-1) / 2

        log_ratio = now.log_f(beta) - at.log_f(beta) + energy(first) - energy(momentum)
        likely = log_ratio.nan_to_num(-math.inf, posinf=-math.inf).clamp(max=0.0).exp()
        return at.where(torch.rand_like(likely) < likely, now), likely

    def adapted(self, chains: int, step: Callable[[], None]) -> list[Tensor]:
        """Return step sizes for each temperature between the ends, (B,) each, found on chains of their own."""
        now = self.state(self.begin(chains))
        size = torch.full_like(now.joint[0], _FIRST * numel(now.z.shape[2:]) ** -0.25)
        found = []
        for t, beta in enumerate(self.betas[1:-1]):
            for _ in range(1 if t else _WARM):
                now, likely = self.step(now, beta, size)
                size = size * torch.exp(_GAIN * (likely.mean(0) - _ACCEPTED))
            found.append(size)
            step()
        step()
        return found

    def run(
        self, z: Tensor, sizes: list[Tensor], step: Callable[[], None], back: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return log w (S, B) in nats, and the share of steps accepted (B,).

        Args:
            z: Codes (S, B, *latent) from r, or ``back``, from p(z | x).
            sizes: Step sizes of each temperature between the ends.
            step: Called once for each temperature.
            back: Walk from the last temperature to the first.
        """
        now = self.state(z)
        log_w, accepted = torch.zeros_like(now.joint), torch.zeros_like(now.joint)
        rises = [high - low for low, high in zip(self.betas, self.betas[1:], strict=False)]
        # Between two shares of the weight lies a step that leaves invariant the f of the temperature they share.
        moves = [*zip(self.betas[1:-1], sizes, strict=True)]
        if back:
            rises, moves = rises[::-1], moves[::-1]
        for t, rise in enumerate(rises):
            log_w = log_w + rise * (now.joint - now.base)
            if t < len(moves):
                now, likely = self.step(now, *moves[t])
                accepted = accepted + likely / len(moves)
            step()
        return log_w, accepted.mean(0)
