r"""One walk down the levels of a latent, for inference, for generation and for scoring codes that are known.

.. math::
    \log p(z \mid c) = \sum_l \log p(z_l \mid z_{<l}, c), \qquad
    \log q(z \mid x, c) = \sum_l \log q(z_l \mid z_{<l}, x, c)

Prior and posterior answer the same question level by level, and the walk asks them in turn. An importance weight is
made of the log-densities at the draws, never of a KL in closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.func import functional_call

from .distributions import closed_form_kl, kl_per_dimension
from .posteriors import Posterior
from .priors import Encode, Prior

# Gives a value (S, B, *level) of a level's distribution, by its number.
Pick = Callable[[int, Distribution], Tensor]


@dataclass
class Walk:
    """What a walk goes by; a draw keeps it, to be scored again.

    Attributes:
        prior: p(z | c).
        posterior: q(z | x, c), or None in generation.
        evidence: What the posterior's ``read`` gave.
        context: The embedded condition, (B, E) or (1, E), or None.
        encode: q of pseudo-inputs, for the prior.
        begun: The prior's state before the first level.
        levels: How many levels know of x; those below are the prior's. None for all.
    """

    prior: Prior
    posterior: Posterior | None = None
    evidence: Any = None
    context: Tensor | None = None
    encode: Encode | None = None
    begun: Any = None
    levels: int | None = None

    @cached_property
    def first(self) -> tuple[Distribution, Distribution]:
        """Prior and posterior of the first level, which depend on no draw."""
        p = self.prior.level(0, self.begun)
        return p, p if self.posterior is None else self.posterior.level(0, self.evidence, self.begun, p)

    def draw(self, samples: int = 1, batch: int = 1, pick: Pick | None = None) -> Draw:
        """Walk down and draw ``samples`` codes for each of ``batch`` examples: from q, or without a posterior from p.

        Args:
            samples: Number S of codes per example.
            batch: Number B of examples.
            pick: Chooses the value of each level instead; in generation it sees p, in inference q.
        """
        if pick is not None:
            return self._down(lambda n, p: (pick(n, p).expand(samples, batch, *p.event_shape), None))
        return self._down(lambda n, p: _drawn(p, samples, batch, self.posterior is not None))

    def along(self, z: Sequence[Tensor]) -> Draw:
        """Walk along known codes, (S, B, *level) of each level; their gradients stay alive."""
        return self._down(lambda number, p: (z[number], None))

    def _down(self, choose: Callable[[int, Distribution], tuple[Tensor, Tensor | None]]) -> Draw:
        prior, posterior, state = self.prior, self.posterior, self.begun
        draw = Draw(self, [], [], [], [])
        for number in range(len(prior.levels)):
            if number == 0:
                p, q = self.first
            else:
                p = prior.level(number, state)
                told = posterior is not None and (self.levels is None or number < self.levels)
                q = posterior.level(number, self.evidence, state, p) if told else p  # pyright: ignore
            z, log_q = choose(number, q)
            if posterior is not None:
                draw.penalty = draw.penalty + posterior.penalty(number, self.evidence, p, z)
            state = prior.absorb(number, state, z)
            draw.z.append(z)
            draw.p.append(p)
            draw.q.append(q)
            draw.taken.append(log_q)
        draw.code = state
        return draw

    def held(self, z: Sequence[Tensor]) -> Tensor:
        """Return log q of known codes, (S, B), with all parameters held fixed: a gradient passes through z alone."""
        prior, posterior = self.prior, self.posterior
        assert posterior is not None
        evidence, context = _detached(self.evidence), _detached(self.context)

        def log_q() -> Tensor:
            total, state = 0.0, None
            if posterior.sees_prior:
                with torch.no_grad():  # above the first level nothing depends on z
                    state = prior.begin(context, self.encode)
            for number, z_l in enumerate(z):
                p = prior.level(number, state) if posterior.sees_prior else None
                q = posterior.level(number, evidence, state, p)  # pyright: ignore[reportArgumentType]
                total = total + q.log_prob(z_l)
                if posterior.sees_prior:
                    state = prior.absorb(number, state, z_l)
            return total  # pyright: ignore[reportReturnType]

        return with_fixed([posterior, prior] if posterior.sees_prior else [posterior], log_q)


@dataclass
class Draw:
    """Codes, and the distributions that were met on the way.

    Attributes:
        walk: What the walk went by.
        z: Values of each level, (S, B, *level).
        p: Prior of each level.
        q: Posterior of each level; in generation the prior.
        taken: log q of each level in nats, (S, B), where it came with the draw, else None.
        code: What the decoder reads, (S, B, *code).
        penalty: Added to the loss beside the bound, (S, B) or 0.
    """

    walk: Walk
    z: list[Tensor]
    p: list[Distribution]
    q: list[Distribution]
    taken: list[Tensor | None]
    code: Any = None
    penalty: Tensor | float = 0.0

    @cached_property
    def log_p(self) -> Tensor:
        """log p(z | c) in nats, (S, B)."""
        return reduce(torch.add, [p.log_prob(z) for p, z in zip(self.p, self.z, strict=True)])

    @cached_property
    def _log_q(self) -> list[Tensor]:
        each = zip(self.q, self.z, self.taken, strict=True)
        return [q.log_prob(z) if taken is None else taken for q, z, taken in each]

    @property
    def log_q(self) -> Tensor:
        """log q(z | x, c) in nats, (S, B)."""
        return reduce(torch.add, self._log_q)

    @cached_property
    def log_q_held(self) -> Tensor:
        """log q with all parameters held fixed, the path through z alive, in nats, (S, B)."""
        return self.walk.held(self.z)

    def kl_of_levels(self, analytic: bool = True) -> list[Tensor]:
        """Return KL(q || p) of each level in nats, (B,): the closed form if there is one, else over the draws."""
        found = []
        for number, (q, p, z) in enumerate(zip(self.q, self.p, self.z, strict=True)):
            kl = closed_form_kl(q, p) if analytic else None
            kl = self._log_q[number] - p.log_prob(z) if kl is None else kl
            found.append(kl.mean(0) if kl.ndim > 1 else kl)
        return found

    def kl(self, analytic: bool = True) -> Tensor:
        """Return KL(q || p) in nats, (B,), the sum over the levels."""
        return reduce(torch.add, self.kl_of_levels(analytic))

    def kl_per_dimension(self) -> Tensor | None:
        """Return the KL of each latent dimension in nats, (B, *latent), or None if a level's does not factorise."""
        parts = []
        for q, p, (shape, _) in zip(self.q, self.p, self.walk.prior.levels, strict=True):
            kl = kl_per_dimension(q, p)
            if kl is None:
                return None
            parts.append(kl.mean(0) if kl.ndim > 1 + len(shape) else kl)
        return self.walk.prior.join(parts)

    def take(self, index: Tensor) -> Draw:
        """Return some of the draws: those of number ``index``, (M, B), of each example."""
        examples = torch.arange(index.shape[1], device=index.device)
        return self.walk.along([z[index, examples] for z in self.z])

    def scaled(self, factor: Tensor) -> Draw:
        """Return the same draws, whose gradients reach the path they were drawn by with a factor (S, B)."""
        return self.walk.along([_with_scaled_gradient(z, factor) for z in self.z])


def _drawn(p: Distribution, samples: int, batch: int, path: bool) -> tuple[Tensor, Tensor | None]:
    """Return values (S, B, *event), and their log-density where it comes with them.

    A distribution that does not depend on the example has no batch axis of its own, one that does not depend on the
    levels above none of samples.
    """
    shape = torch.Size((samples, batch)[: 2 - len(p.batch_shape)])
    together = getattr(p, "rsample_and_log_prob", None)  # of flows, which would have to invert themselves
    if path and together is not None:
        return together(shape)
    return (p.rsample(shape) if path and p.has_rsample else p.sample(shape)), None


def _with_scaled_gradient(z: Tensor, factor: Tensor) -> Tensor:
    alias = z.view_as(z)
    if alias.requires_grad:
        scale = factor.reshape(*factor.shape, *[1] * (z.ndim - factor.ndim))
        alias.register_hook(lambda gradient: gradient * scale)
    return alias


def _detached(value: Any) -> Any:
    """Return tensors and a log joint, or tuples, lists and dicts of them, without their gradients."""
    if hasattr(value, "detach"):
        return value.detach()
    if isinstance(value, dict):
        return {key: _detached(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(map(_detached, value))
    return value


class _Calling(nn.Module):
    """Modules under one roof, and a call among them."""

    def __init__(self, parts: list[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, call: Callable[[], Tensor]) -> Tensor:
        return call()


def with_fixed(parts: list[Any], call: Callable[[], Tensor]) -> Tensor:
    """Return ``call()`` with every parameter of the modules held fixed: no gradient reaches them."""
    if not any(True for part in parts for _ in part.parameters()):
        return call()
    whole = _Calling(parts)
    return functional_call(whole, {name: p.detach() for name, p in whole.named_parameters()}, (call,))
