r"""A model under one condition: its three distributions, to and from the units of the data, and a pass through them.

``view = model.at(c)`` embeds the condition once for everything that is asked under it. Evaluation, completion,
export, report and planner go through it. Axes are always samples S, batch B, then the event's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.quasirandom import SobolEngine

from .distributions import from_uniform, restrict, uniforms
from .errors import ConfigError, ShapeError
from .shapes import check_event
from .walk import Draw, Walk, with_fixed

if TYPE_CHECKING:
    from .model import VAE


@dataclass
class View:
    """A model under a condition, for a batch of B examples or one condition for all.

    Attributes:
        model: The model.
        context: The condition's embedding, (B, E) or (1, E); None without a condition.
        observed: Observed elements of x, zero elsewhere, (B, *event); None if the condition holds none.
        scored: 1 where an element of x is scored, else 0, (B, *event); None if all are.
    """

    model: VAE
    context: Tensor | None = None
    observed: Tensor | None = None
    scored: Tensor | None = None

    # ------------------------------------------------------------------ units of the data and of the model
    def to_model(self, x: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return the transformed observations u (B, *event) and log |det du/dx| of the scored elements, nats."""
        check_event(x, self.model.event_shape, f"x for likelihood {type(self.model.likelihood).__name__}")
        transform: Any = self.model.transform
        if transform is None:
            return x, 0.0
        scored = self.scored_of(x)
        if scored is None:
            return transform(x), transform.log_det
        return transform(x), (scored * transform.log_slope).flatten(1).sum(1)

    def scored_of(self, x: Tensor) -> Tensor | None:
        """Return 1 where an element of x (B, *event) is scored, else 0; None if all are."""
        if not self.model.missing:
            return self.scored
        seen = (~x.isnan()).to(x.dtype)
        return seen if self.scored is None else seen * self.scored

    def to_data(self, u: Tensor) -> Tensor:
        """Return u (..., B, *event) in the units of the data, with the observed elements in their place."""
        transform: Any = self.model.transform
        x = u if transform is None else transform.inverse(u)
        if self.observed is None or self.scored is None:
            return x
        return torch.where(self.scored > 0, x, self.observed.to(x.dtype))

    # ------------------------------------------------------------------ the distributions
    def likelihood(self, code: Tensor) -> Distribution:
        """Return p(x | z, c), batch (...), of what the decoder reads (..., *code), in the units of the model.

        The one place where S and B are flattened for the network.
        """
        model = self.model
        shape = model.prior.code_shape
        lead = code.shape[: code.ndim - len(shape)]
        h = model.run(model.decoder, code.reshape(-1, *shape), self.context)
        beside = (self.context,) if model.likelihood.context_size else ()
        p_x = model.likelihood(reads(model.likelihood, h).reshape(*lead, *h.shape[1:]), *beside)
        return p_x if self.scored is None else restrict(p_x, self.scored)

    def log_likelihood(self, p_x: Distribution, u: Tensor) -> Tensor:
        """Return log p(u | z, c) in nats, batch of ``p_x``, of u (B, *event) in the units of the model.

        Missing values (NaN), and those that are not to be scored, are left out: given z the others are independent of
        them.
        """
        if not self.model.missing or self.model.likelihood.scores_missing:
            return p_x.log_prob(u)
        scored = self.scored_of(u)
        assert scored is not None
        return restrict(p_x, scored).log_prob(self.model.filled(u))

    def information(self, code: Tensor, u: Tensor) -> Tensor | None:
        """Return numbers (S, B, n) of codes (S, B, *code) whose derivative J gives the Fisher information J'J.

        It is that of the scored elements of u (B, *event); None if the likelihood does not know it.
        """
        p_x, scored = self.likelihood(code), self.scored_of(u)
        if scored is not None and self.scored is None:
            p_x = restrict(p_x, scored)
        parts = self.model.likelihood.information(p_x, self.model.filled(u))
        if parts is None:
            return None
        parts = [part if scored is None else part * scored for part in parts]
        return torch.cat([part.flatten(2) for part in parts], -1)

    def decoded(self, z: Tensor) -> Distribution:
        """Return p(x | z, c), batch (...), of latent codes (..., *latent)."""
        return self.likelihood(self.code(z))

    def code(self, z: Tensor) -> Tensor:
        """Return what the decoder reads of latent codes (..., *latent): these themselves, unless they have levels."""
        prior = self.model.prior
        if len(prior.levels) == 1 and prior.code_shape == prior.event_shape:
            return z
        lead = z.shape[: z.ndim - len(prior.event_shape)]
        # As samples and batch, the axes that a level's state has.
        flat = z.reshape(-1, lead[-1] if lead else 1, *prior.event_shape)
        code = self._walk().along(prior.split(flat)).code
        return code.reshape(*lead, *prior.code_shape)

    def evidence(self, u: Tensor) -> Any:
        """Return what the posterior is told of observations u (B, *event) in the units of the model."""
        return self.told(self.model.run(self.model.encoder, self.model.features(u), self.context), u)

    def told(self, h: Tensor, u: Tensor) -> Any:
        """Return the same of the encoder's output (B, *input_shape)."""
        posterior = self.model.posterior
        beside = (LogJoint(self, u),) if posterior.sees_joint else ()
        return posterior.read(reads(posterior, h), self.context, *beside)

    def log_joint(self, z: Tensor, u: Tensor) -> Tensor:
        """Return log p(u, z | c) in nats, (S, B), of codes (S, B, *latent) and u (B, *event) in the model's units."""
        draw = self.along(None, z)
        return self.log_likelihood(self.likelihood(draw.code), u) + draw.log_p

    def _encode(self, u: Tensor) -> Distribution:
        """Return q of pseudo-inputs (K, *event), of the first level: batch (K,), or (K, B) with a context."""
        model = self.model
        features = model.features(u)
        lead = (len(u),) if self.context is None else (len(u), len(self.context))
        if self.context is not None:
            features = features.unsqueeze(1).expand(*lead, *features.shape[1:]).flatten(0, 1)
        h = reads(model.posterior, model.run(model.encoder, features, self.context))
        evidence = model.posterior.read(h.reshape(*lead, *h.shape[1:]), self.context)
        return model.posterior.level(0, evidence, None, None)  # pyright: ignore[reportArgumentType]

    @cached_property
    def _begun(self) -> Any:
        return self.model.prior.begin(self.context, self._encode)

    def _walk(self, evidence: Any = None, levels: int | None = None) -> Walk:
        posterior = None if evidence is None else self.model.posterior
        return Walk(self.model.prior, posterior, evidence, self.context, self._encode, self._begun, levels)

    # ------------------------------------------------------------------ codes
    def infer(self, evidence: Any, batch: int, samples: int = 1, levels: int | None = None) -> Draw:
        """Draw ``samples`` codes from q(z | x, c) for each of ``batch`` examples, with gradients.

        Args:
            evidence: What ``evidence`` gave of them.
            batch: Number B of examples.
            samples: Number S of draws each.
            levels: How many levels know of x; those below are drawn from p. None for all.
        """
        return self._walk(evidence, levels).draw(samples, batch)

    def along(self, evidence: Any | None, z: Tensor) -> Draw:
        """Score codes (S, B, *latent) that came from elsewhere under q(z | x, c) and p(z | c)."""
        return self._walk(evidence).along(self.model.prior.split(z))

    def log_prior(self, z: Tensor) -> Tensor:
        """Return log p(z | c) in nats, (S, B), of codes (S, B, *latent)."""
        return self.along(None, z).log_p

    def generate(self, samples: int, batch: int = 1) -> Draw:
        """Draw ``samples`` codes from p(z | c) for each of ``batch`` examples."""
        return self._walk().draw(samples, batch)

    def middle(self, evidence: Any, batch: int, levels: int | None = None) -> Draw:
        """Walk through the values that stand for q(z | x, c), (1, B, ...): of each level its mean or the like."""
        return self._walk(evidence, levels).draw(1, batch, self.model.posterior.middle)

    def points(self, evidence: Any, batch: int, levels: int | None = None) -> Tensor:
        """Return the codes (B, *latent) that stand for q(z | x, c); ``levels`` as of ``infer``."""
        return self.model.prior.join(self.middle(evidence, batch, levels).z)[0]

    def prior(self) -> Distribution:
        """Return p(z | c), of several levels the first one's: batch (B,), or () if it does not depend on c."""
        return self._walk().first[0]

    def posterior(self, x: Tensor) -> Distribution:
        """Return q(z | x, c), batch (B,), of a latent of several levels the first one's."""
        return self._walk(self.evidence(self.to_model(x)[0])).first[1]

    def check_temperature(self) -> None:
        """Raise ConfigError unless codes can be drawn at another distance from the prior's mean."""
        prior = self.model.prior
        kinds = {kind for _, kind in prior.levels} - {"real"}
        if kinds or not (hasattr(self.prior(), "tempered") or self._means() is not None):
            what = f"{kinds.pop()} values" if kinds else "no mean"
            raise ConfigError(
                f"the prior {type(prior).__name__} has {what}, so no temperature; leave it at 1"
            )

    def temperatures(self, temperature: float | Sequence[float]) -> list[float]:
        """Return the temperature of each level.

        Raises:
            ConfigError: they are not as many as the levels, or one is no finite number >= 0.
        """
        levels = len(self.model.prior.levels)
        each = [float(temperature)] * levels if isinstance(temperature, int | float) else list(temperature)
        if len(each) != levels or not all(0 <= t < math.inf for t in each):
            raise ConfigError(
                f"sample needs a finite temperature >= 0, or one for each of the {levels} levels; got {temperature!r}"
            )
        return each

    def tempered(self, samples: int, batch: int, temperature: float | Sequence[float]) -> Draw:
        """Draw codes whose distance from the prior's mean is multiplied by ``temperature``, level by level.

        A distribution without a mean may say itself what that is, by a method ``tempered(shape, temperature)``.

        Args:
            samples: Number S of codes for each of the batch.
            batch: Number B.
            temperature: Of all levels, or one for each.

        Raises:
            ConfigError: a level does not hold real numbers, or has no mean.
        """
        self.check_temperature()
        each = iter(self.temperatures(temperature))

        def pick(number: int, p: Distribution) -> Tensor:
            shape, t = torch.Size((samples, batch)[: 2 - len(p.batch_shape)]), next(each)
            if hasattr(p, "tempered"):
                return p.tempered(shape, t)  # pyright: ignore[reportAttributeAccessIssue]
            z = p.sample(shape)
            return p.mean + t * (z - p.mean)

        return self._walk().draw(samples, batch, pick)

    def _means(self) -> Draw | None:
        """Walk down the prior's means; None if a level has none."""
        try:
            return self._walk().draw(
                1, 1 if self.context is None else len(self.context), lambda number, p: p.mean
            )
        except NotImplementedError:
            return None

    def uniforms(self) -> int:
        """Return how many numbers between 0 and 1 make a code: see ``carried``.

        Raises:
            ConfigError: a level has no inverse distribution function here, or there are several conditions.
        """
        one = self.context is None or len(self.context) == 1
        means = self._means() if one else None
        sizes = [None] if means is None else [uniforms(p) for p in means.p]
        if None in sizes:
            raise ConfigError(
                "evenly spread codes (spread=True), and a graph of the sampler, need a prior over vectors that "
                "factorises, under one condition for all draws"
            )
        return sum(size for size in sizes if size is not None)

    def carried(self, u: Tensor, carry: Callable[[Distribution, Tensor], Tensor] = from_uniform) -> Draw:
        """Return the codes (n, 1, *latent) of points of the unit cube, by the levels' inverse distribution functions.

        Args:
            u: Points (n, ``uniforms()``), strictly between 0 and 1; the first level takes the first numbers.
            carry: Gives values (n, *level) of a distribution for points (n, ...), and (n, 1, *level) for (n, 1, ...).
        """
        at = 0

        def pick(number: int, p: Distribution) -> Tensor:
            nonlocal at
            first, at = at, at + (uniforms(p) or 0)
            if len(p.batch_shape) == 2:  # below the first level it is that of each point
                return carry(p, u[:, first:at].unsqueeze(1))
            return carry(p, u[:, first:at]).unsqueeze(1)

        return self._walk().draw(u.shape[0], 1, pick)

    def spread(self, n: int, temperature: float | Sequence[float] = 1.0) -> Draw:
        """Draw ``n`` evenly spread codes, (n, 1, *latent): a scrambled Sobol sequence through the prior's levels.

        Args:
            n: Number of codes.
            temperature: As of ``tempered``.

        Raises:
            ConfigError: as ``uniforms``.
        """
        device = self.model.device
        size = self.uniforms()
        seed = int(torch.randint(2**31, (), device=device))
        u = SobolEngine(size, scramble=True, seed=seed).draw(n, dtype=torch.float64).to(device)
        column = 0
        for shape, kind in self.model.prior.levels:
            if kind == "one-hot":
                # Systematic in a choice, to which few draws are most sensitive: equal steps from a random start,
                # round and round, so that each code alone has the prior's law whatever its rank.
                start = torch.rand((), dtype=u.dtype, device=device)
                u[:, column] = (u[:, column].argsort().argsort() / n + start) % 1
            column += 1 if kind == "one-hot" else shape[0]
        # The sequence is on a lattice that holds 0, where a Gaussian has no finite value.
        u = u.clamp(2.0**-31, 1 - 2.0**-31)
        each = self.temperatures(temperature)
        if set(each) == {1.0}:
            return self.carried(u)
        self.check_temperature()
        rest = iter(each)
        return self.carried(u, lambda p, u: p.mean + next(rest) * (from_uniform(p, u) - p.mean))


class LogJoint:
    """log p(x, z | c) of a batch of examples, as a posterior is told it that asks for it (``sees_joint``).

    Args:
        view: The model under the condition.
        u: Observations in the units of the model, (B, *event).
        held: Whether all parameters are held fixed, and the condition's embedding.
    """

    def __init__(self, view: View, u: Tensor, held: bool = False) -> None:
        self.view, self.u, self.held = view, u, held

    def detach(self) -> LogJoint:
        """Return the same with all parameters held fixed: a gradient passes through z alone."""
        context = None if self.view.context is None else self.view.context.detach()
        return LogJoint(replace(self.view, context=context), self.u.detach(), held=True)

    @cached_property
    def _apart(self) -> LogJoint:
        """The same of tensors that can take part in a gradient where the given ones cannot."""
        parts = (self.view.context, self.view.observed, self.view.scored)
        return LogJoint(
            View(self.view.model, *(None if t is None else t.clone() for t in parts)), self.u.clone()
        )

    def gradient(self, z: Tensor) -> Tensor:
        """Return the gradient in the codes z (S, B, *latent), itself differentiable where gradients are taken."""
        model = self.view.model
        if not torch.is_grad_enabled():
            with model.differentiable():
                return self._apart._slope(z.clone().requires_grad_(), graph=False)
        if not self.held:
            return self._slope(z if z.requires_grad else z.detach().requires_grad_())
        parts = [model.prior, model.decoder, model.likelihood]
        return with_fixed(parts, lambda: self._slope(z if z.requires_grad else z.detach().requires_grad_()))

    def _slope(self, z: Tensor, graph: bool = True) -> Tensor:
        return torch.autograd.grad(self.view.log_joint(z, self.u).sum(), z, create_graph=graph)[0]


def reads(slot: Any, h: Tensor) -> Tensor:
    """Return a network's output if it is what the slot reads.

    Raises:
        ShapeError: it has another shape.
    """
    # A missing axis would not fail further down: the slot would take another axis for it.
    if tuple(h.shape[1:]) != slot.input_shape:
        raise ShapeError(
            f"{type(slot).__name__} needs {slot.input_shape} per example from its network but got "
            f"{tuple(h.shape[1:])}; let the network end in nn.Unflatten or a reshape"
        )
    return h


class VAEOutput:
    """What one pass gives: the draws of the latent, and log-densities on first use.

    Args:
        view: The model under the condition of the pass.
        x: Observations, (B, *event).
        u: The same in the units of the model.
        log_volume: log |det du/dx| of the model's data transform u(x), nats, a number or (B,).
        draw: Codes of each level with their distributions.
        decoded: p(x | z, c) of the draws, if it is known already.
    """

    def __init__(
        self,
        view: View,
        x: Tensor,
        u: Tensor,
        log_volume: Tensor | float,
        draw: Draw,
        decoded: Distribution | None = None,
    ) -> None:
        self.view, self.x, self.u, self.log_volume = view, x, u, log_volume
        self.draw, self.decoded = draw, decoded

    @property
    def q(self) -> Distribution:
        """The approximate posterior, batch (B,), of several levels the first one's."""
        return self.draw.q[0]

    @property
    def p_z(self) -> Distribution:
        """Prior, batch (), or (B,) if it depends on c, of several levels the first one's."""
        return self.draw.p[0]

    @cached_property
    def z(self) -> Tensor:
        """Latent codes drawn from q, (S, B, *latent)."""
        return self.view.model.prior.join(self.draw.z)

    @cached_property
    def p_x(self) -> Distribution:
        """Likelihood p(x | z, c), batch (S, B); of the missing elements, where the condition is the observed ones."""
        return self.view.likelihood(self.draw.code) if self.decoded is None else self.decoded

    @cached_property
    def log_likelihood(self) -> Tensor:
        """log p(x | z) in nats, (S, B); a density in the units of x."""
        return self.view.log_likelihood(self.p_x, self.u) + self.log_volume

    @property
    def log_prior(self) -> Tensor:
        """log p(z) in nats, (S, B)."""
        return self.draw.log_p

    @property
    def log_posterior(self) -> Tensor:
        """log q(z | x) in nats, (S, B)."""
        return self.draw.log_q

    @property
    def log_posterior_held(self) -> Tensor:
        """log q(z | x) with all parameters held fixed, in nats, (S, B): its gradient passes through z alone."""
        return self.draw.log_q_held

    @cached_property
    def log_weight(self) -> Tensor:
        """log p(x | z) + log p(z) − log q(z | x), the log importance weight in nats, (S, B)."""
        return self.log_likelihood + self.log_prior - self.log_posterior

    @property
    def penalty(self) -> Tensor | float:
        """What training adds to the loss beside the bound, (S, B) or 0."""
        return self.draw.penalty

    def take(self, index: Tensor) -> VAEOutput:
        """Return the same pass with some of its draws: those of number ``index``, (M, B), of each example."""
        return self._with(self.draw.take(index))

    def scaled(self, factor: Tensor) -> VAEOutput:
        """Return the same pass, in which gradients reach the draws' path with a factor, (S, B)."""
        return self._with(self.draw.scaled(factor))

    def _with(self, draw: Draw) -> VAEOutput:
        return VAEOutput(self.view, self.x, self.u, self.log_volume, draw)

    def kl(self, analytic: bool = True) -> Tensor:
        """Return KL(q(z | x) || p(z)) in nats, (B,): closed form if there is one, else over the draws."""
        return self.draw.kl(analytic)

    def kl_per_dimension(self) -> Tensor | None:
        """Return the KL of each latent dimension in nats, (B, *latent), or None if q does not factorise."""
        return self.draw.kl_per_dimension()
