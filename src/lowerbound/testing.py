r"""The contract of each kind of part, as checks for our classes and for a third party's.

Each check builds the part again from a function of no arguments (a likelihood: of its event shape) and raises
AssertionError with a sentence that says what is broken. What the checks ask, for a distribution p:

.. math::
    \int p(z)\, dz = 1, \qquad \mathbb{E}_{z \sim p}[f(z)] = \int f(z)\, p(z)\, dz \quad\text{for } f(z) = z, z^2

The left side of the second equation comes from ``sample``, the right one from ``log_prob``, so that a density
that lost a factor and a draw at the wrong scale both show. Monte Carlo estimates may be five standard errors
off; the random numbers are fixed and the global generator is left as it was.

Example:
    >>> from lowerbound.posteriors import DiagonalGaussian
    >>> check_posterior(lambda: DiagonalGaussian(3))
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, ExpTransform, MultivariateNormal, TransformedDistribution

from .conditions import Condition, Observed
from .errors import ConfigError, SupportError
from .likelihoods import Gaussian, Likelihood
from .model import VAE
from .objectives import ImportanceWeighted, Objective, Progress
from .posteriors import DiagonalGaussian
from .priors import Prior, StandardNormal
from .shapes import draws
from .walk import Draw, Walk

_Z_MAX = 5.0
_DRAWS = 20_000
_BATCHES = (1, 5)
_SAMPLES = ((), (3,))


def check_posterior(
    build: Callable[[], Any], *, prior: Callable[[], Prior] | None = None, device: str = "cpu"
) -> None:
    """Check a family of q(z | x).

    It turns h (B, *input_shape) into a distribution of batch (B,) of each level of the latent. Real levels are drawn
    by reparameterisation; the gradient reaches h both through a draw and through the density. Scored with parameters
    held fixed, no gradient reaches h nor the posterior's own parameters, and the path through z stays alive.

    Args:
        build: Gives a fresh posterior.
        prior: Gives the prior whose levels it goes with; N(0, I) if not given.
        device: Where to check the move to.

    Raises:
        AssertionError: The contract is broken.
    """
    with draws("cpu", seed=0):
        shape = build().event_shape
        levels = prior or (lambda: StandardNormal(shape))
        kept = levels().double()
        _require(
            build().levels == kept.levels, f"its levels {build().levels} are not the prior's {kept.levels}"
        )

        def infer(slot: Any, h: Tensor, samples: int = 1) -> Draw:
            p = kept if h.dtype == torch.float64 else copy.deepcopy(kept).float().to(h.device)
            with draws("cpu", seed=1):  # below the first level, what is found depends on the draws above
                told = slot.read(h, None, *[_Wave()] * slot.sees_joint)
                return Walk(p, slot, told, begun=p.begin(None, None)).draw(samples, len(h))

        for number, (_, kind) in enumerate(kept.levels):
            _check_module(
                build,
                device,
                lambda slot, h, n=number: infer(slot, h).q[n],
                inputs=lambda slot: _normal(slot.input_shape),
            )
            slot = build().double()
            for batch in _BATCHES:
                q = infer(slot, _normal((batch, *slot.input_shape))).q[number]
                _require(
                    tuple(q.batch_shape) in ((batch,), (1, batch)),
                    f"batch shape must be {(batch,)}; it is {tuple(q.batch_shape)}",
                )
                _check_shapes(q, tuple(q.batch_shape), kept.levels[number].shape)
            if kind in ("real", "positive"):
                h = _normal((2, *slot.input_shape)).requires_grad_()
                draw = infer(slot, h, 3)
                _require(
                    draw.q[number].has_rsample,
                    "a posterior must be drawn by reparameterisation; it has no rsample",
                )
                _require_gradient(draw.z[number].square().sum(), [("h, through a draw", h)])
                log_q = infer(slot, h).q[number].log_prob(draw.z[number].detach()).sum()
                _require_gradient(log_q, [("h, through log_prob", h)])
            _check_level(infer(slot, _normal((1, *slot.input_shape))).q[number], kind, "posterior")
        _check_held(build().double(), kept, infer)


class _Wave:
    """log p(x, z) = Σ cos 2 z − z² / 2 up to a constant, for posteriors that ask for it."""

    def gradient(self, z: Tensor) -> Tensor:
        return -z - 2 * torch.sin(2 * z)

    def detach(self) -> _Wave:
        return self


def _check_held(slot: Any, prior: Prior, infer: Callable[..., Draw]) -> None:
    """Scored with all parameters held fixed: the same value, and a gradient by way of z alone."""
    h = _normal((2, *slot.input_shape)).requires_grad_()
    draw = infer(slot, h, 3)
    real = [z for z, (_, kind) in zip(draw.z, prior.levels, strict=True) if kind == "real"]
    if real:
        _require_gradient(sum(z.square().sum() for z in real), slot.named_parameters())  # pyright: ignore
        draw = infer(slot, h, 3)
    codes = [z.detach().requires_grad_() for z in draw.z]
    held = draw.walk.held(codes)
    _require(torch.allclose(held, draw.log_q), "held fixed, log q has another value")
    if held.requires_grad:
        reached = torch.autograd.grad(
            held.sum(), [h, *slot.parameters(), *prior.parameters()], allow_unused=True, retain_graph=True
        )
        _require(all(g is None or not g.any() for g in reached), "held fixed, log q still has a gradient")
    if real:
        (path, *_) = torch.autograd.grad(
            held.sum(), [z for z, (_, kind) in zip(codes, prior.levels, strict=True) if kind == "real"]
        )
        _require(bool(path.isfinite().all() and path.any()), "held fixed, log q has no gradient in z")


def check_prior(
    build: Callable[[], Any], *, encode: Callable[[Tensor], Distribution] | None = None, device: str = "cpu"
) -> None:
    """Check a family of p(z), of batch shape (), or of p(z | c).

    This one has ``context`` > 0, and of a context (B, E) it gives distributions of batch (B,).

    Args:
        build: Gives a fresh prior.
        encode: Gives q(z | u) of pseudo-inputs, for a prior that is made of them.
        device: Where to check the move to.

    Raises:
        AssertionError: The contract is broken; for instance a level whose q is p has a KL that is not 0.
    """
    with draws("cpu", seed=0):
        slot = build().double()
        size = slot.context

        def generate(slot: Any, context: Tensor | None, samples: int = 1) -> Draw:
            batch = 1 if context is None else len(context)
            walk = Walk(slot, context=context, encode=encode, begun=slot.begin(context, encode))
            with draws("cpu", seed=1):  # below the first level, what is found depends on the draws above
                return walk.draw(samples, batch)

        for number, (shape, kind) in enumerate(slot.levels):

            def level(slot: Any, h: Tensor, n: int = number) -> Distribution:
                # A context has the parameters' own type: only what comes out of a network can be in 16 bits.
                h = h.float() if h.dtype == torch.bfloat16 else h
                return generate(slot, h if size else None).p[n]

            _check_module(
                build, device, level, inputs=lambda slot: _normal((size,)) if size else torch.zeros(1)
            )
            for batch in _BATCHES if size else (None,):
                p = generate(slot, None if batch is None else _normal((batch, size))).p[number]
                allowed = ((), (1, 1)) if batch is None else ((), (batch,), (1, batch))
                _require(
                    tuple(p.batch_shape) in allowed,
                    f"batch shape must be {' or '.join(map(str, allowed))}; it is {tuple(p.batch_shape)}",
                )
                _check_shapes(p, tuple(p.batch_shape), shape)
            _check_level(generate(slot, _normal((1, size)) if size else None).p[number], kind, "prior")
        context = _normal((2, size)).requires_grad_() if size else None
        draw = generate(slot, context, 30)
        named = [("context", context)] if context is not None else []
        scored = Walk(slot, context=context, encode=encode, begun=slot.begin(context, encode))
        along = scored.along([z.detach() for z in draw.z])
        if all(kind != "embedding" for _, kind in slot.levels):  # whose rows no density depends on
            # What only the decoder reads has its gradient from there.
            _require_gradient(
                along.log_p.sum() + along.code.square().sum(), [*named, *slot.named_parameters()]
            )
        kl = _same(draw).kl()
        _require(
            bool((kl == 0).all()),
            f"of a q that is p itself, KL(q || p) must be 0; it is {kl.abs().max():.3g}",
        )


def _same(draw: Draw) -> Draw:
    """Return a draw whose q is its p, each level afresh."""
    return replace(draw, q=list(draw.p), taken=[None] * len(draw.p))


def check_exact(model: VAE, x: Tensor, log_prob: Tensor, c: Any = None, samples: int = 5) -> None:
    """Check a model whose q is the exact posterior: importance weights are log p(x), and two gradients vanish.

    The sticking-the-landing and the doubly reparameterised gradient are zero there for every draw, in the parameters
    of the encoder and of the posterior, also where the posterior owns some or is built on what the prior finds.

    Args:
        model: The model, in float64.
        x: Observations, (B, *event).
        log_prob: log p(x | c) in nats, (B,).
        c: Their condition, tensors by name.
        samples: Draws per example.

    Raises:
        AssertionError: The weights are not constant, or a gradient is not zero.
    """
    with draws("cpu", seed=0):
        weight = model(x, c, samples).log_weight
        off = (weight - log_prob).abs().max().item()
        _require(off < 1e-8, f"at the exact posterior every weight is log p(x); one is {off:.3g} nats off")
        own = {
            name: p
            for name, p in model.named_parameters()
            if name.split(".")[0] in ("encoder", "posterior") and p.requires_grad
        }
        for gradient, k in (("stl", 1), ("stl", samples), ("dreg", samples)):
            out = ImportanceWeighted(k, gradient)(model, x, c, Progress())  # pyright: ignore[reportArgumentType]
            found = torch.autograd.grad(out.loss, list(own.values()), allow_unused=True)
            for name, value in zip(own, found, strict=True):
                worst = 0.0 if value is None else value.abs().max().item()
                _require(
                    worst < 1e-8,
                    f"{gradient!r} with {k} samples: the gradient of {name} is {worst:.3g}, not 0",
                )


def check_condition(
    build: Callable[[], Condition], values: Callable[[int], Tensor], *, device: str = "cpu"
) -> None:
    """Check a kind of entry of a condition.

    It turns values (B, *value_shape) into an embedding (B, E), each example by itself; a missing one, and in
    training one that is hidden by dropout, becomes the learned vector ``null``.

    Args:
        build: Gives a fresh entry.
        values: Gives so many known values, in float64 if they are not whole numbers.
        device: Where to check the move to.

    Raises:
        AssertionError: The contract is broken.
    """
    with draws("cpu", seed=0):
        entry = build().double()
        _check_arguments(entry)
        for parameter in entry.parameters():  # a fresh residual block may start at zero, without a gradient
            parameter.data += 0.1 * torch.randn_like(parameter)
        for batch in _BATCHES:
            value = values(batch)
            _require(
                tuple(value.shape) == (batch, *entry.value_shape),
                f"values have shape {tuple(value.shape)}; value_shape is {entry.value_shape}",
            )
            _require(
                bool(entry.known(value).all()) and len(entry.known(value)) == batch, "values must be known"
            )
            together = _embed(entry.eval(), value)
            _require(
                tuple(together.shape) == (batch, entry.context),
                f"the embedding of {batch} values must be {(batch, entry.context)}; it is {tuple(together.shape)}",
            )
            alone = torch.cat([_embed(entry, one) for one in value.split(1)])
            _require(
                torch.allclose(together, alone), "an example's embedding depends on the others in its batch"
            )
            _check_reading(entry, value)
        _check_missing(entry, values)
        both = values(5) if entry.null is None else torch.cat([values(5), entry.absent(1)])
        _require_gradient(_embed(entry, both).square().sum(), entry.named_parameters())

        value = values(5)
        copy = build().double().eval()
        copy.load_state_dict(entry.state_dict())
        same = torch.equal(_embed(copy, value), _embed(entry, value))
        _require(same, "a copy with the same state_dict gives other embeddings")
        moved = build().float().to(device).eval()
        moved.start(value)
        given = _embed(moved, moved.read(value, "value"))
        _require(given.dtype == torch.float32, f"a float32 entry must embed in float32; got {given.dtype}")
        _require(
            given.device.type == torch.device(device).type, f"after .to({device!r}) embeddings stay behind"
        )
        _require(bool(given.isfinite().all()), "embeddings must be finite after start")


def check_likelihood(
    build: Callable[[tuple[int, ...]], Likelihood],
    *,
    outside: Iterable[float] = (math.nan, math.inf),
    device: str = "cpu",
) -> None:
    """Check a family of p(x | z).

    It turns h (..., *input_shape) into a distribution of batch (...) and event ``event_shape``, normalised
    over its stated support, whose densities have at least 32 bits whatever the type of h.

    Args:
        build: Gives a fresh likelihood of an event shape.
        outside: Numbers outside the support, each of which ``check`` must refuse.
        device: Where to check the move to.

    Raises:
        AssertionError: The contract is broken.
    """
    shape = (2, 3)
    with draws("cpu", seed=0):
        _check_module(
            lambda: build(shape),
            device,
            _law,
            inputs=lambda slot: _normal(slot.input_shape),
        )
        likelihood = build(shape).double()
        _check_likelihood_shapes(likelihood)
        _check_support(likelihood, outside)

        h = _normal((2, *likelihood.input_shape)).requires_grad_()
        x = _law(likelihood, h).sample()
        named = [("h", h), *likelihood.named_parameters()]
        _require_gradient(_law(likelihood, h).log_prob(x).sum(), named)

        # One element is enough for the integrals, and its support can be covered; not in training mode,
        # where a likelihood may take its scale from the batch.
        single = build((1,)).double().eval()
        for h in _normal((3, *single.input_shape)) if single.given is None else ():
            _check_element(_law(single, h.unsqueeze(0)) if single.context_size else single(h))


def _law(likelihood: Any, h: Tensor) -> Distribution:
    """Return p(x | z), under one condition for all if the likelihood takes one."""
    size = likelihood.context_size
    return likelihood(h, torch.ones(1, size).to(h)) if size else likelihood(h)


def check_objective(build: Callable[[], Objective]) -> None:
    """Check an objective: on a model whose log p(x) is known exactly.

    Args:
        build: Gives a fresh objective.

    Raises:
        AssertionError: The contract is broken; for instance the reported bound lies above log p(x).
    """
    with draws("cpu", seed=0):
        objective = build()
        _check_arguments(objective)
        model, log_prob = _linear_gaussian()
        objective.start(model)
        progress = Progress(total_steps=10)
        for batch in _BATCHES:
            x = _normal((batch, *model.event_shape))
            objective.check(model, progress)
            players = objective.players(model)
            with draws("cpu", seed=1):
                moves = list(objective.moves(model, x, None, progress))
            with draws("cpu", seed=1):
                again = list(objective.moves(model, x, None, progress))
            _require("model" in [move.player for move in moves], "no move is the model's")
            for move, same in zip(moves, again, strict=True):
                _require(
                    move.player in players, f"there is no player {move.player!r}; there are {list(players)}"
                )
                bound = {} if move.bound is None else {"bound": move.bound}
                for name, value in {"loss": move.loss, **bound, **move.terms}.items():
                    _require(value.shape == (), f"{name} must be a scalar; it has shape {tuple(value.shape)}")
                    _require(bool(value.isfinite()), f"{name} is {value.item()}")
                _require(torch.equal(move.loss, same.loss), "the same draws must give the same loss")
            for player, parameters in players.items():
                named = [(f"parameter {i} of {player}", p) for i, p in enumerate(parameters)]
                if player == "model":
                    named = list(model.named_parameters())
                for move in moves:
                    if move.player == player:
                        _require_gradient(move.loss, named)

        if not objective.is_bound:
            return
        # A reported value that leaves out some of the divergence shows where the bound is tight.
        _make_posterior_exact(model)
        x = _normal((4, *model.event_shape))
        with torch.no_grad():
            bounds = torch.stack([_bound(objective, model, x, progress) for _ in range(400)])
        above = bounds.mean() - log_prob(x).mean()
        _require(
            bool(above <= _Z_MAX * _standard_error(bounds) + 1e-9),
            f"the reported bound lies {above:.3g} nats above log p(x)",
        )


def _bound(objective: Objective, model: VAE, x: Tensor, progress: Progress) -> Tensor:
    """Return the bound that the model's move reports."""
    return next(m.bound for m in objective.moves(model, x, None, progress) if m.bound is not None)


# ---------------------------------------------------------------------- what all slots have in common
def _check_module(
    build: Callable[[], Any],
    device: str,
    distribution: Callable[[Any, Tensor], Distribution],
    inputs: Callable[[Any], Tensor],
) -> None:
    """Arguments kept, weights that carry the whole state, moves of type and device."""
    slot = build().double().eval()  # in training a slot may take in what it is shown
    _check_arguments(slot)
    h = inputs(slot).unsqueeze(0)
    p = distribution(slot, h)
    value = p.sample()
    before = p.log_prob(value)
    _require(before.dtype == torch.float64, f"float64 inputs must give float64 densities; got {before.dtype}")

    copy = build().double().eval()
    copy.load_state_dict(slot.state_dict())
    after = distribution(copy, h).log_prob(value)
    _require(torch.equal(before, after), "a copy with the same state_dict gives other log-densities")

    for dtype in (torch.float32, torch.bfloat16):
        slot = slot.float()
        p = distribution(slot, h.to(dtype))
        given = p.log_prob(p.sample()).dtype
        _require(given == torch.float32, f"{dtype} inputs must give float32 densities; got {given}")

    slot = slot.to(device)
    moved = distribution(slot, h.float().to(device))
    for name, tensor in (("draws", moved.sample()), ("densities", moved.log_prob(value.float().to(device)))):
        _require(tensor.device.type == torch.device(device).type, f"after .to({device!r}) {name} stay behind")


def _check_arguments(slot: Any) -> None:
    """Constructor arguments stay readable: as attributes of the same name, and in the repr."""
    arguments = {}
    for name, parameter in inspect.signature(type(slot)).parameters.items():
        _require(
            parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY),
            f"a configuration cannot read back {parameter}; name each argument",
        )
        _require(hasattr(slot, name), f"argument {name!r} must be kept as an attribute of the same name")
        arguments[name] = getattr(slot, name)
    shown = repr(slot)
    _require(type(slot).__name__ in shown, f"the repr must name the class; it is {shown!r}")
    _require(" object at 0x" not in shown, f"the repr must be readable; it is {shown!r}")
    for name in arguments:
        _require(name in shown, f"the repr must show the argument {name!r}; it is {shown!r}")
    again = type(slot)(**arguments)
    _require(repr(again) == shown, f"built again from its own arguments it reads {again!r}, not {shown!r}")


def _check_shapes(p: Distribution, batch: tuple[int, ...], event: tuple[int, ...]) -> None:
    """Samples, batch, event: in this order, for one draw and for several."""
    _require(tuple(p.batch_shape) == batch, f"batch shape must be {batch}; it is {tuple(p.batch_shape)}")
    _require(tuple(p.event_shape) == event, f"event shape must be {event}; it is {tuple(p.event_shape)}")
    for samples in _SAMPLES:
        z = p.sample(torch.Size(samples))
        _require(tuple(z.shape) == (*samples, *batch, *event), f"draws {samples} have shape {tuple(z.shape)}")
        log_prob = p.log_prob(z)
        _require(
            tuple(log_prob.shape) == (*samples, *batch),
            f"log_prob must sum over the event axes alone; of draws {tuple(z.shape)} it gives "
            f"{tuple(log_prob.shape)}",
        )
        _require(bool(log_prob.isfinite().all()), "log_prob of its own draws must be finite")


# ---------------------------------------------------------------------- entries of a condition
def _embed(entry: Condition, value: Tensor) -> Tensor:
    """Return the context of values; the observed part of an example is given as the model gives it."""
    return entry(value.flatten(1, 2) if isinstance(entry, Observed) else value)


def _check_reading(entry: Condition, value: Tensor) -> None:
    """One value, a batch and a nested list of them are read; so is None."""
    for given, wanted in ((value, value), (value.tolist(), value), (value[0], value[:1])):
        read = entry.read(given, "value")
        _require(read.shape == wanted.shape, f"{type(given).__name__} was read as {tuple(read.shape)}")
        _require(torch.equal(read, wanted), f"{type(given).__name__} was read as other values")
        entry.check(read, "value")
    absent = entry.read(None, "value")
    _require(
        tuple(absent.shape) == (1, *entry.value_shape), f"None must be one value; it is {tuple(absent.shape)}"
    )


def _check_missing(entry: Condition, values: Callable[[int], Tensor]) -> None:
    """Missing values become null, or are refused; so do, in training alone, those that dropout hides."""
    absent = entry.absent(3)
    if entry.null is None:
        if bool(entry.known(absent).all()):  # nothing of this kind can be missing
            return
        try:
            entry.check(absent, "value")
        except ConfigError:
            return
        raise AssertionError("without null, check must refuse missing values with a ConfigError")
    entry.check(absent, "value")
    _require(not bool(entry.known(absent).any()), "absent values must not be known")
    _require(torch.equal(_embed(entry, absent), entry.null.expand(3, -1)), "missing values must become null")
    value = values(1).expand(2000, *entry.value_shape)
    for training, share in ((False, 0.0), (True, entry.dropout)):
        hidden = (_embed(entry.train(training), value) == entry.null).all(1).double().mean().item()
        off = abs(hidden - share) / (math.sqrt(share * (1 - share) / 2000) + 1e-12)
        _require(
            off < _Z_MAX, f"{'in' if training else 'outside'} training {hidden:.3f} are hidden, not {share:g}"
        )
    entry.eval()


def _check_likelihood_shapes(likelihood: Likelihood) -> None:
    event = likelihood.event_shape
    for samples in _SAMPLES:
        for batch in _BATCHES:
            lead = (*samples, batch)
            p_x = _law(likelihood, _normal((*lead, *likelihood.input_shape)))
            _check_shapes(p_x, lead, event)
            point = likelihood.point(p_x)
            _require(tuple(point.shape) == (*lead, *event), f"point has shape {tuple(point.shape)}")
            _require(bool(point.isfinite().all()), "point must be finite")
            x = p_x.sample()[0] if samples else p_x.sample()
            _require(tuple(p_x.log_prob(x).shape) == lead, "one batch x must be scored under every draw of z")
            features = likelihood.features(x)
            _require(
                tuple(features.shape) == (batch, *likelihood.feature_shape),
                f"features must be (B, {likelihood.feature_shape}); they are {tuple(features.shape)}",
            )
    x = _law(likelihood, _normal((50, *likelihood.input_shape))).sample()
    output = likelihood.start(x, None)  # pyright: ignore
    _require(
        output is None or tuple(output.shape) == likelihood.input_shape,
        f"start must return {likelihood.input_shape} or None; it gives {None if output is None else output.shape}",
    )


def _check_support(likelihood: Likelihood, outside: Iterable[float]) -> None:
    x = _law(likelihood, _normal((5, *likelihood.input_shape))).sample()
    likelihood.check(x)
    for bad in outside:
        y = x.double().clone()
        y.view(-1)[-1] = bad
        try:
            likelihood.check(y)
        except SupportError:
            continue
        raise AssertionError(f"check must refuse {bad} with a SupportError")


# ---------------------------------------------------------------------- draws against densities
def _check_level(p: Distribution, kind: str, what: str) -> None:
    if kind == "real":
        _check_density(p, what)
    elif kind == "positive":
        _check_density(TransformedDistribution(p, ExpTransform().inv, validate_args=False), what)
    elif kind == "one-hot":
        _check_one_hot(p, what)


def _check_one_hot(p: Distribution, what: str) -> None:
    """Over the K values: their probabilities sum to 1, and draws have these frequencies."""
    z = p.sample((_DRAWS,)).reshape(_DRAWS, -1)
    _require(
        bool(((z == 0) | (z == 1)).all() and (z.sum(1) == 1).all()), f"the {what}'s draws must be one-hot"
    )
    k = p.event_shape[0]
    probability = p.log_prob(torch.eye(k).double().reshape(k, *[1] * len(p.batch_shape), k)).exp().reshape(k)
    total = probability.sum().item()
    _require(abs(total - 1) < 1e-9, f"the {what}'s total mass is {total:.4f}, not 1")
    off = (z.mean(0) - probability).abs() / (probability * (1 - probability) / _DRAWS + 1e-12).sqrt()
    _require(
        bool((off < _Z_MAX).all()),
        f"the {what}'s draws do not follow its log_prob: moment 1 is {off.max():.1f} standard errors off",
    )


def _check_density(p: Distribution, what: str) -> None:
    """Over R^n: integrate p by importance sampling from a wider Student t, and compare with its draws."""
    z = p.sample((_DRAWS,)).flatten(1)
    event = torch.Size((*p.batch_shape, *p.event_shape))
    # Location and spread of the proposal need not be exact, only wide enough; five degrees of freedom are.
    proposal = MultivariateNormal(z.mean(0), torch.cov(z.T).reshape(z.shape[1], z.shape[1]))
    tails = torch.distributions.Chi2(torch.tensor(5.0).double()).sample((_DRAWS, 1)) / 5
    y = proposal.loc + (proposal.sample((_DRAWS,)) - proposal.loc) / tails.sqrt()
    log_weight = p.log_prob(y.reshape(_DRAWS, *event)).reshape(_DRAWS) - _student_log_prob(proposal, y)
    _require_moments(log_weight.exp(), y, z, what)
    with contextlib.suppress(NotImplementedError):  # a flow has no mean in closed form
        _require_mean(p, z, what)


def _require_moments(weight: Tensor, y: Tensor, z: Tensor, what: str) -> None:
    """E[w] = 1, E[w y] = E[z], E[w y²] = E[z²]: weighted draws (N, D) of another against own draws."""
    off = (weight.mean() - 1) / _standard_error(weight)
    _require(
        bool(off.abs() < _Z_MAX),
        f"the {what}'s density integrates to {weight.mean():.4f}, {off:.1f} standard errors from 1",
    )
    for power in (1, 2):
        by_density, by_draws = weight.unsqueeze(1) * y**power, z**power
        error = (by_density.mean(0) - by_draws.mean(0)).abs() / (
            _standard_error(by_density).square() + _standard_error(by_draws).square()
        ).sqrt()
        _require(
            bool((error < _Z_MAX).all()),
            f"the {what}'s draws do not follow its log_prob: moment {power} is {error.max():.1f} standard errors off",
        )


def _check_element(p: Distribution) -> None:
    """One element: sums over the values that occur, or trapezoids over the range of the draws and beyond."""
    x = p.sample(torch.Size((_DRAWS,))).double()
    support = p.support
    assert support is not None
    if support.is_discrete:
        values = x.unique()
        mass = p.log_prob(values.unsqueeze(-1)).exp()
    else:
        margin = x.max() - x.min()
        values = torch.linspace(float(x.min() - margin), float(x.max() + margin), 100_001).double()
        values = values[support.check(values.unsqueeze(-1))]
        widths = torch.zeros_like(values)
        widths[1:] += values.diff() / 2
        widths[:-1] += values.diff() / 2
        mass = p.log_prob(values.unsqueeze(-1)).exp() * widths
        atoms = getattr(getattr(p, "base_dist", p), "atoms", None)  # what has a probability, and no density
        if atoms is not None:
            mass = torch.cat([mass * (values != atoms), p.log_prob(atoms).exp().reshape(1)])
            values = torch.cat([values, atoms.reshape(1)])
    total = mass.sum().item()
    _require(abs(total - 1) < 2e-3, f"the likelihood's total mass is {total:.4f}, not 1")
    for power in (1, 2):
        moments = x.flatten() ** power
        off = ((mass * values**power).sum() - moments.mean()) / _standard_error(moments)
        _require(
            bool(off.abs() < _Z_MAX),
            f"the likelihood's draws do not follow its log_prob: moment {power} is {off:.1f} standard errors off",
        )
    with contextlib.suppress(NotImplementedError):  # what is drawn step by step has no mean in closed form
        if bool(p.mean.isfinite().all()):  # classes have none
            _require_mean(p, x, "likelihood")


def _require_mean(p: Distribution, z: Tensor, what: str) -> None:
    error = (z.mean(0) - p.mean.flatten()).abs() / _standard_error(z)
    _require(bool((error < _Z_MAX).all()), f"the {what}'s mean is {error.max():.1f} standard errors off")


def _student_log_prob(normal: MultivariateNormal, y: Tensor) -> Tensor:
    """Density of a Student t with five degrees of freedom, and the location and scatter of ``normal``."""
    degrees, d = 5.0, y.shape[-1]
    root = normal.scale_tril
    distance = torch.linalg.solve_triangular(root, (y - normal.loc).T, upper=False).square().sum(0)
    constant = math.lgamma((degrees + d) / 2) - math.lgamma(degrees / 2) - d / 2 * math.log(degrees * math.pi)
    return constant - root.diagonal().log().sum() - (degrees + d) / 2 * torch.log1p(distance / degrees)


def _standard_error(values: Tensor) -> Tensor:
    """Of the mean over the first axis; never 0, so that a constant is not infinitely far off."""
    return values.std(0) / math.sqrt(len(values)) + 1e-12


# ---------------------------------------------------------------------- small things
def _linear_gaussian() -> tuple[VAE, Callable[[Tensor], Tensor]]:
    """Return a linear VAE of 3 observed and 2 latent dimensions, and its exact log p(x).

    The decoder's columns are orthogonal, so that the exact posterior factorises.
    """
    encoder: Any = nn.Sequential(nn.Linear(3, 4), nn.Unflatten(-1, (2, 2)))
    decoder: Any = nn.Sequential(nn.Linear(2, 3), nn.Unflatten(-1, (1, 3)))
    model = VAE(encoder, DiagonalGaussian(2), StandardNormal(2), decoder, Gaussian(3, scale=0.7)).double()
    weight = torch.linalg.qr(_normal((3, 2))).Q * torch.tensor([1.5, 0.8]).double()
    decoder[0].weight.data.copy_(weight)
    covariance = weight @ weight.T + 0.7**2 * torch.eye(3).double()
    return model, MultivariateNormal(decoder[0].bias.detach(), covariance).log_prob


@torch.no_grad()
def _make_posterior_exact(model: Any) -> None:
    """Set the encoder to p(z | x): variance 1 / (1 + wᵀw / σ²), mean variance · wᵀ(x − b) / σ² per column w."""
    decoder, encoder = model.decoder[0], model.encoder[0]
    weight, noise = decoder.weight, 0.7**2
    variance = 1 / (1 + weight.square().sum(0) / noise)
    encoder.weight.zero_()
    encoder.weight[:2] = variance.unsqueeze(1) * weight.T / noise
    encoder.bias[:2] = -encoder.weight[:2] @ decoder.bias
    encoder.bias[2:] = variance.log() / 2


def _normal(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def _require_gradient(scalar: Tensor, named: Iterable[tuple[str, Tensor]]) -> None:
    """Every tensor gets a gradient that is finite and not all zero."""
    tensors = dict(named)
    if not tensors:
        return
    _require(scalar.requires_grad, f"no gradient reaches {', '.join(tensors)}")
    gradients = torch.autograd.grad(scalar, list(tensors.values()), allow_unused=True)
    for name, gradient in zip(tensors, gradients, strict=True):
        if gradient is None or not bool(gradient.any()):
            raise AssertionError(f"no gradient reaches {name}")
        _require(bool(gradient.isfinite().all()), f"the gradient of {name} is not finite")


def _require(condition: bool, message: str) -> None:
    # Not an assert statement: it would vanish under python -O, and the contract with it.
    if not condition:
        raise AssertionError(message)
