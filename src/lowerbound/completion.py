r"""Draws of the missing elements of x given the observed ones, x = (x_o, x_m).

.. math:: p(x_m \mid x_o, c) = \int p(x_m \mid z, c)\, p(z \mid x_o, c)\, dz, \qquad
    p(z \mid x_o, c) \propto p(z \mid c)\, p(x_o \mid z, c)

for a likelihood that factorises over the elements, so that x_o and x_m are independent given z. The methods differ in
where the codes come from.

"trained": the model has learned p(x_m | x_o, c) with x_o as a part of its condition; z is drawn from its prior.

"importance": codes are drawn from a mixture of proposals r_j, S_j of the S from each, weighted, and drawn again by
their weights,

.. math::
    z_s \sim r(z) = \sum_j \frac{S_j}{S} r_j(z), \qquad
    w_s = \frac{p(x_o \mid z_s, c)\, p(z_s \mid c)}{r(z_s)}, \qquad p(x_o \mid c) \approx \frac1S \sum_s w_s

A tenth are from the prior, so :math:`w \le 10\, p(x_o \mid z, c)` whatever the others are. Most of these are the
encoder's :math:`q(z \mid x_o, x_m^{(j)}, c)` at the states of pseudo-Gibbs chains, which draw z from q, x_m from
p(x_m | z, c), and again; one is a Gaussian with the mean and spread of all the chains' codes. The chains alone would
be right only if q were the exact posterior; the weights make up for it.

"gibbs": the same sweep, but z' from q takes the place of z with probability

.. math::
    \min\left(1, \frac{p(x \mid z', c)\, p(z' \mid c)\, q(z \mid x, c)}
                      {p(x \mid z, c)\, p(z \mid c)\, q(z' \mid x, c)}\right)

which leaves p(z, x_m | x_o, c) itself invariant.

Reference:
    Stochastic backpropagation and approximate inference in deep generative models (Rezende, Mohamed and Wierstra,
    2014), pseudo-Gibbs, https://arxiv.org/abs/1401.4082;
    Leveraging the exact likelihood of deep latent variable models (Mattei and Frellsen, 2018), Metropolis within
    Gibbs, section 3.3, https://arxiv.org/abs/1802.04826;
    Safe and effective importance sampling (Owen and Zhou, 2000), the prior's share, and Optimally combining sampling
    techniques for Monte Carlo rendering (Veach and Guibas, 1995), the mixture as denominator
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from .data.masks import draw_masks
from .errors import ConfigError, DataError, ShapeError, SupportError, suggest
from .evaluation.stream import tile_rows
from .model import VAE
from .shapes import check_event, draws, numel
from .view import View
from .walk import Draw

Method = Literal["trained", "importance", "gibbs"]

_STEPS = {"trained": 1, "importance": 20, "gibbs": 200}
_CHAINS = 10
_PRIOR_SHARE = 0.1
_WIDE_SHARE = 0.3
# Sweeps without refusals, which bring a chain from a draw of the prior to where it can be accepted.
_WARM_UP = 10
_MEMORY = 256  # MiB, for the decoder's arrays
# Numbers in the array (codes, proposals, latent) of the proposals' densities: in the cache it is twice as fast.
_DENSITIES = 2**21

_FEWEST_EFFECTIVE = 10
_LOWEST_ACCEPTANCE = 0.05


@dataclass(frozen=True)
class Completion:
    """Completed observations, and how far to trust them.

    Attributes:
        x: (n, B, *event), the observed elements exactly as they were given.
        method: "trained", "importance" or "gibbs".
        samples: Codes that were weighted per example ("importance"), sweeps per chain ("gibbs"), else 1.
        ess: Effective sample size of the weights, (B,), from 1 to ``samples``; by "importance".
        log_observed: Estimate of log p(x_observed | c) in nats, (B,), a density in the units of x, about 0 where
            nothing was observed; by "importance".
        acceptance: Share of the chains' moves that were accepted, (B,); by "gibbs".
    """

    x: Tensor = field(repr=False)
    method: str
    samples: int
    ess: Tensor | None = field(default=None, repr=False)
    log_observed: Tensor | None = field(default=None, repr=False)
    acceptance: Tensor | None = field(default=None, repr=False)

    @property
    def warning(self) -> str | None:
        """Why the completions are not to be trusted, in a sentence, or None."""
        # Negated, so that a NaN counts as bad.
        if self.ess is not None and (bad := int((~(self.ess >= _FEWEST_EFFECTIVE)).sum())):
            return (
                f"{bad} of {len(self.ess)} examples have fewer than {_FEWEST_EFFECTIVE} effective draws (the least "
                f"{self.ess.min():.3g} of {self.samples}), so their completions repeat a few codes; use more "
                "samples, or train a model for completion with load(..., observed='random')"
            )
        if self.acceptance is not None and (bad := int((~(self.acceptance >= _LOWEST_ACCEPTANCE)).sum())):
            return (
                f"the chains of {bad} of {len(self.acceptance)} examples accept fewer than {_LOWEST_ACCEPTANCE:.0%} "
                f"of their moves (the least {self.acceptance.min():.2%} of {self.samples}) and hardly leave where "
                "they started; use more steps, or method='importance'"
            )
        return None


@torch.no_grad()
def complete(
    model: VAE,
    x: Tensor | Any,
    mask: Tensor | Any,
    n: int = 1,
    *,
    c: Any = None,
    mean: bool = False,
    method: Method | None = None,
    samples: int = 1000,
    steps: int | None = None,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> Completion:
    """Draw the missing elements of ``x`` given the observed ones, ``n`` times for each example.

    With everything observed, x comes back; with nothing observed, draws from the model.

    Args:
        model: The model; its mode and, if there is a seed, torch's global generator are left as they were.
        x: Observations, (B, *event); what stands at the missing places is not read and may be NaN. Of a model that
            has whether a value is missing in its density, NaN is one that was found so, which tells of the value.
        mask: True or 1 where x is observed, (B, *event) or (*event); for images also one for all channels,
            (B, 1, H, W), (1, H, W) or (H, W).
        n: Draws per example.
        c: The rest of the condition, for all examples or one each.
        mean: Give the mean of p(x | z, c) at the missing places instead of a draw from it; z is drawn all the same.
        method: "trained", the default and the only choice for a model whose condition has the observed elements;
            for others "importance", the default, or "gibbs".
        samples: Codes per example that "importance" weighs.
        steps: Sweeps of each chain; 20 if not given, 200 for "gibbs".
        seed: Seed of the draws.
        generator: Generator of the draws, on the model's device.

    Raises:
        ConfigError: an option has an impossible value, the model cannot do this, or has never seen such a condition
            or mask in training.
        DataError: there are no examples.
        ShapeError: x, the mask or an entry of c has another shape.
        SupportError: an observed value lies outside the likelihood's support.

    Example:
        >>> import lowerbound as lb
        >>> data = lb.data.load("digits")
        >>> model = lb.VAE.for_data(data, latent=2)
        >>> x, _ = data.test.batch(torch.arange(3))
        >>> left = torch.arange(8) < 4
        >>> model.complete(x, left.expand(8, 8), n=5, samples=100).x.shape
        torch.Size([5, 3, 1, 8, 8])
    """
    method = _method(model, method)
    steps = _STEPS[method] if steps is None else steps
    for name, value in (("n", n), ("samples", samples), ("steps", steps)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"complete needs {name} >= 1, a whole number; got {value!r}")
    kept = _given(model, x)
    check_event(kept, model.event_shape, f"x for likelihood {type(model.likelihood).__name__}")
    if len(kept) == 0:
        raise DataError("there are no examples to complete")
    mask = _read_mask(mask, kept)
    gone = ~mask & kept.isnan() & model.missing
    # Zero at the missing places, as in training; not x * mask, for NaN times zero is NaN.
    kept = kept.masked_fill(~mask, 0)
    if lost := int((~kept.isfinite()).sum()):
        raise SupportError(
            f"x is NaN or infinite at {lost} places that the mask says are observed; use mask = ~x.isnan() if NaN "
            "marks what is missing"
        )
    c = _read_condition(model, kept.to(model.dtype), mask, c, method)

    with model.evaluating(), draws(model.device, seed, generator):
        # For the density and the volume of the observed elements, these are the scored ones.
        observed = mask.to(model.dtype)
        u, log_volume = View(model, scored=observed).to_model(kept.to(model.dtype))
        u = torch.where(mask, u, math.nan if model.missing else _anything(model, c, observed))
        model.likelihood.check(model.filled(u))

        rows = tile_rows(model, _MEMORY)
        if method == "importance":
            rows = max(1, min(rows, _DENSITIES // (_kept(steps) * _CHAINS * numel(model.latent_shape))))
        size = max(1, rows // (max(samples, _CHAINS) if method == "importance" else n))
        xs, found = [], []
        for at in torch.arange(len(kept), device=model.device).split(size):
            view = model.under(None if c is None else {name: value[at] for name, value in c.items()})
            batch = _Batch(u[at], mask[at], view, gone[at])
            if method == "trained":
                codes = _Codes(_join(view.generate(n, len(at))))
            elif method == "importance":
                codes = _by_importance(batch, n, samples, steps, rows)
            else:
                codes = _by_gibbs(batch, n, steps)
            parts = [batch.decoded(z) for z in codes.z.split(max(1, rows // len(at)))]
            drawn = torch.cat(
                [model.likelihood.point(p_x) if mean else model.likelihood.values(p_x) for p_x in parts]
            )
            # Pasted from what was given, not from what it is in the model's units and type.
            xs.append(torch.where(mask[at], kept[at], View(model).to_data(drawn)))
            found.append(codes[1:])
    ess, log_observed, acceptance = (
        torch.cat(part) if isinstance(part[0], Tensor) else None for part in zip(*found, strict=True)
    )
    if log_observed is not None:
        log_observed = log_observed + log_volume
    done = {"trained": 1, "importance": samples, "gibbs": steps}[method]
    return Completion(torch.cat(xs, 1), method, done, ess, log_observed, acceptance)


# ---------------------------------------------------------------------- what the user gave
def _method(model: VAE, method: Any) -> Method:
    """Return the method asked for, or the model's own."""
    trained = model.condition is not None and model.condition.observed is not None
    if method is None:
        method = "trained" if trained else "importance"
    if method not in get_args(Method):
        raise ConfigError(f"complete has no method {method!r}; {suggest(str(method), get_args(Method))}")
    if trained and method != "trained":
        raise ConfigError(
            f"method {method!r} is for models that were not trained for completion; this one was: use 'trained'"
        )
    if method == "trained" and not trained:
        raise ConfigError(
            "method 'trained' needs a model of p(x_missing | x_observed), from load(..., observed='random'); "
            "this one completes by 'importance' or 'gibbs'"
        )
    if method != "trained" and not model.prior.is_real:
        raise ConfigError(
            f"method {method!r} moves from code to code, and no posterior leads out of a discrete one; train the "
            "model for completion, with load(..., observed='random')"
        )
    return method


def _given(model: VAE, x: Any) -> Tensor:
    """Return what is given on the model's device, in its own type where that can hold x."""
    spec = model.data_spec
    own = isinstance(x, Tensor) and (x.is_floating_point() or spec is None or spec.values == "categorical")
    return x.to(model.device) if own else model.accept(x)


def _read_mask(mask: Any, x: Tensor) -> Tensor:
    """Return the mask as bool, (B, *event)."""
    mask = torch.as_tensor(mask).to(x.device)
    event = tuple(x.shape[1:])
    planes = [(1, *event[1:]), event[1:]] if len(event) == 3 else []
    shapes = [event, *planes]
    if tuple(mask.shape) not in [
        *shapes,
        *((b, *shape) for b in (1, len(x)) for shape in (event, *planes[:1])),
    ]:
        known = " or ".join(map(str, dict.fromkeys(shapes)))
        raise ShapeError(
            f"the mask of x {tuple(x.shape)} has the shape of one example, {known}, or of all of them; "
            f"got {tuple(mask.shape)}"
        )
    other = mask[(mask != 0) & (mask != 1)]
    if len(other):
        raise ConfigError(
            f"a mask is 1 (True) where x is observed and 0 (False) where it is missing; got {other[0].item():g}; "
            "for missing values marked by NaN use mask = ~x.isnan()"
        )
    return mask.bool().expand(x.shape)


def _read_condition(model: VAE, x: Tensor, mask: Tensor, c: Any, method: Method) -> dict[str, Tensor] | None:
    """Return the whole condition, (B, ...) each, with the observed elements if the model has learned from them."""
    if method == "trained":
        assert model.condition is not None
        name = model.condition.observed
        others = model.condition.beside
        if c is not None and not isinstance(c, Mapping):
            if len(others) != 1:
                raise ConfigError(
                    f"x and mask say what is observed; c is for {', '.join(others) or 'nothing'} beside it"
                    f"{', by name' if others else ': leave it out'}"
                )
            c = {others[0]: c}
        if c is not None and name in c:
            raise ConfigError(f"x and mask say what is observed; leave {name!r} out of c")
        _check_rule(model, model.condition[str(name)].masks, mask)
        c = {**(c or {}), str(name): torch.stack([x, mask.to(x.dtype)], 1)}
    return model.read(c, len(x), each=True)


def _check_rule(model: VAE, rule: str | tuple[str, ...], mask: Tensor) -> None:
    """Raise ConfigError if the model was trained with one mask and this is another."""
    columns = getattr(model.data_spec, "owners", None)
    # Without the table's columns there is no telling where those of the rule are.
    if rule == "random" or (columns is None and not isinstance(rule, str)):
        return
    known = draw_masks(rule, 1, model.event_shape, columns, device=mask.device) > 0
    wrong = int((mask != known).flatten(1).any(1).sum())
    if wrong:
        what = rule if isinstance(rule, str) else f"columns {', '.join(rule)}"
        raise ConfigError(
            f"the model was trained with one mask, {what} observed; {wrong} of {len(mask)} examples have another; "
            "give that mask, or train with load(..., observed='random')"
        )


# ---------------------------------------------------------------------- inside: embedded and transformed
class _Batch(NamedTuple):
    """Observed elements of u and any others; which are observed; the model under c; which were found missing."""

    u: Tensor
    mask: Tensor
    view: View
    gone: Tensor

    def chains(self, k: int) -> _Batch:
        """Return ``k`` copies of every example, copy by copy, as a batch of k B."""
        u, mask, gone = (t.repeat(k, *[1] * (t.ndim - 1)) for t in (self.u, self.mask, self.gone))
        context = self.view.context
        return _Batch(
            u, mask, replace(self.view, context=None if context is None else context.repeat(k, 1)), gone
        )

    def filled(self, u: Tensor) -> _Batch:
        """Return the same with other values at the missing places."""
        return self._replace(u=torch.where(self.mask, self.u, u))

    def decoded(self, z: Tensor) -> Distribution:
        """Return p(x | z) given what was found missing, batch (..., B), of codes (..., B, *latent)."""
        return self.view.model.likelihood.given_gaps(self.view.decoded(z), self.gone)

    def inferred(self) -> Tensor:
        """Return one code of each example drawn from q, (B, *latent)."""
        return _join(self.view.infer(self.view.evidence(self.u), len(self.u)))[0]


class _Codes(NamedTuple):
    """Codes (n, B, *latent), and the entries of `Completion` that came with them."""

    z: Tensor
    ess: Tensor | None = None
    log_observed: Tensor | None = None
    acceptance: Tensor | None = None


def _join(draw: Draw) -> Tensor:
    """Return the codes of a draw, (S, B, *latent)."""
    return draw.walk.prior.join(draw.z)


def _anything(model: VAE, c: dict[str, Tensor] | None, observed: Tensor) -> Tensor:
    """Return one draw from the model, (1, *event): values in the support, to stand at missing places."""
    view = model.under(None if c is None else {name: value[:1] for name, value in c.items()})
    # Refuses a likelihood in which the missing elements depend on the observed ones given z.
    known = replace(view, scored=observed[:1])
    return known.likelihood(view.generate(1).code[0]).sample()


def _kept(steps: int) -> int:
    """Return how many of a chain's sweeps give a proposal: the later half."""
    return steps - steps // 2


def _by_importance(batch: _Batch, n: int, samples: int, steps: int, rows: int) -> _Codes:
    """Draw codes from a mixture of proposals, weigh them and draw ``n`` of them again by their weights."""
    view, examples = batch.view, len(batch.u)
    latent = view.model.latent_shape
    if view.model.missing:
        # The encoder has learned q(z | x_o) itself.
        proposals, several, evidence = 1, view, view.evidence(batch.u)
        around = _join(view.infer(evidence, examples, 2 * _CHAINS))
    else:
        proposals, several, evidence, around = _swept(batch, steps)
    # The proposals may be too narrow and too few for a wide p(z | x_o); the common mean and spread are not.
    spread = Normal(around.mean(0), around.std(0), validate_args=False)
    wide = Independent(spread, len(latent), validate_args=False)

    from_prior, from_wide = max(1, round(_PRIOR_SHARE * samples)), int(_WIDE_SHARE * samples)
    rest = samples - from_prior - from_wide
    z = _join(several.infer(evidence, proposals * examples, math.ceil(rest / proposals)))
    z = z.reshape(-1, examples, *latent)[:rest]
    prior = _join(view.generate(from_prior, examples))
    z = torch.cat([prior, wide.sample(torch.Size((from_wide,))), z])
    counts = torch.bincount(torch.arange(rest) % proposals, minlength=proposals).tolist()
    log_share = (z.new_tensor([from_prior, from_wide, *counts]) / samples).log().unsqueeze(1)

    # That a value was found missing is a part of what is observed, where the density has it.
    known = replace(view, scored=(batch.mask | batch.gone).to(batch.u.dtype))
    log_weights = []
    for part in z.split(max(1, rows // examples)):
        # Every code under every proposal of its example.
        each = part.unsqueeze(1).expand(-1, proposals, *part.shape[1:]).flatten(1, 2)
        log_q = several.along(evidence, each).log_q.unflatten(1, (proposals, examples))
        log_p = view.log_prior(part)
        log_r = torch.cat([torch.stack([log_p, wide.log_prob(part)], 1), log_q], 1) + log_share
        log_weights.append(known.log_likelihood(known.decoded(part), batch.u) + log_p - log_r.logsumexp(1))
    log_weight = torch.cat(log_weights)
    weight = log_weight.softmax(0)
    again = torch.multinomial(weight.T, n, replacement=True).T
    return _Codes(
        z[again, torch.arange(examples, device=z.device)],
        ess=1 / weight.square().sum(0),
        log_observed=log_weight.logsumexp(0) - math.log(samples),
    )


def _swept(batch: _Batch, steps: int) -> tuple[int, View, Any, Tensor]:
    """Return how many proposals pseudo-Gibbs chains make, the view and evidence of these, and the chains' codes."""
    view, examples = batch.view, len(batch.u)
    chains = batch.chains(_CHAINS)
    states = [_join(view.generate(_CHAINS, examples)).flatten(0, 1)]
    swept = []
    for _ in range(steps):
        chains = chains.filled(view.model.likelihood.values(chains.decoded(states[-1])))
        swept.append(chains.u)
        states.append(chains.inferred())
    proposals = _kept(steps) * _CHAINS
    several = batch.chains(proposals).view
    evidence = several.evidence(torch.cat(swept[-_kept(steps) :]))
    return (
        proposals,
        several,
        evidence,
        torch.cat(states[-_kept(steps) :]).unflatten(0, (proposals, examples)),
    )


def _by_gibbs(batch: _Batch, n: int, steps: int) -> _Codes:
    """Run ``n`` chains per example and return where each of them ends."""
    chains = batch.chains(n)
    view, k = chains.view, len(chains.u)
    z = _join(view.generate(1, k))[0]
    for _ in range(_WARM_UP):
        chains = chains.filled(view.model.likelihood.values(chains.decoded(z)))
        z = chains.inferred()
    chains = chains.filled(view.model.likelihood.values(chains.decoded(z)))
    accepted = z.new_zeros(len(z))
    for _ in range(steps):
        evidence = view.evidence(chains.u)
        both = view.along(evidence, torch.stack([z, _join(view.infer(evidence, k))[0]]))
        p_x = view.model.likelihood.given_gaps(view.likelihood(both.code), chains.gone)
        log_weight = view.log_likelihood(p_x, chains.u) + both.log_p - both.log_q
        moves = (torch.rand_like(accepted).log() < log_weight[1] - log_weight[0]).long()
        # Both ends of a move have been decoded, so x is drawn from both and one of them taken.
        chosen = moves, torch.arange(k, device=z.device)
        z = _join(both)[chosen]
        chains = chains.filled(view.model.likelihood.values(p_x)[chosen])
        accepted += moves
    acceptance = (accepted / steps).reshape(n, -1).mean(0)
    return _Codes(z.reshape(n, -1, *view.model.latent_shape), acceptance=acceptance)
