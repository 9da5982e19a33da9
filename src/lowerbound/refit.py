r"""Another prior for a trained model, fitted to its codes: ex-post density estimation.

.. math:: \max_p \; \mathbb{E}_{x} \, \mathbb{E}_{q(z \mid x)} [\log p(z \mid c)]

This is what of the evidence lower bound depends on the prior, so the bound can only rise; for a deterministic
autoencoder it is what makes it generate. Encoder and decoder stay as they are. Of a prior with a level more, as the
two-stage VAE's, log p(z) is bounded from below, and the encoder of that level learned with it.

References:
    From variational to deterministic autoencoders (Ghosh et al., 2020), https://arxiv.org/abs/1903.12436, section 4;
    Diagnosing and enhancing VAE models (Dai and Wipf, 2019), https://arxiv.org/abs/1903.05789
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .conditions import Map
from .defaults import check_data, starting_sample
from .errors import ConfigError
from .evaluation.stream import Passes
from .model import VAE
from .registry import as_options, build, describe, lookup, options_of
from .shapes import draws
from .view import View

_CHECKS = 20  # looks at the validation codes


def ex_post(
    model: VAE,
    data: Any,
    prior: str | Mapping[str, Any] | nn.Module = "flow",
    *,
    steps: int = 2000,
    batch_size: int = 500,
    learning_rate: float = 0.01,
    samples: int = 4,
    seed: int = 0,
) -> VAE:
    """Return the model with another prior, fitted by maximum likelihood to the codes of ``data.train``.

    The codes are drawn from q(z | x, c) once. Adam climbs their log-density; what is best on the codes of
    ``data.valid`` is kept. Under a condition the new prior is p(z | c) if it can be.

    Args:
        model: A trained model; left as it was, and the new one shares nothing with it.
        data: What ``lowerbound.data.load`` returns.
        prior: A registered name, a dict with a ``type`` and options, or a module.
        steps: Steps of Adam.
        batch_size: Codes per step.
        learning_rate: At the beginning; it falls to 0 along a cosine.
        samples: Codes drawn for each example.
        seed: Seed of the codes, the new prior's start and the batches.

    Raises:
        ConfigError: a number is out of its range, or the prior is none.
        ShapeError: the prior does not fit the posterior.

    Example:
        >>> import lowerbound as lb
        >>> data = lb.data.load("digits")
        >>> model = lb.VAE.for_data(data, latent=2)
        >>> lb.ex_post(model, data, prior="flow", steps=2).prior.couplings
        8
    """
    check_data(data)
    for name, value in (("steps", steps), ("batch_size", batch_size), ("samples", samples)):
        if value < 1:
            raise ConfigError(f"ex_post needs {name} >= 1; got {value!r}")
    if not 0 < learning_rate < math.inf:
        raise ConfigError(f"ex_post needs a positive learning_rate; got {learning_rate!r}")
    wrapped = _wrapper(prior) is not None
    train, valid = (_codes(model, part, samples, seed, wrapped) for part in (data.train, data.valid))
    with draws(model.device, seed), torch.inference_mode(False):
        new = _with_prior(model, prior)
        with torch.no_grad():
            new.prior.start(starting_sample(data.train, new.transform).to(new.device, new.dtype), new)
        new.prior.adopt(model.prior)
        if any(p.requires_grad for p in new.prior.parameters()):
            added = [module for name, module in new.posterior.named_children() if wrapped and name != "inner"]
            _fit(new, train, valid, steps, batch_size, learning_rate, added)
    before, after = (_mean_log_prior(m, valid, batch_size) for m in (model, new))
    if not after > before:
        warnings.warn(
            f"the new prior is no better: log p(z) of the validation codes is {after:.2f} nats and was {before:.2f}; "
            "keep the old one, or give more steps",
            stacklevel=2,
        )
    return new.eval()


def _wrapper(prior: Any) -> str | None:
    """Return the name of the posterior that takes in a model's own to give it the prior's levels, if there is one."""
    if isinstance(prior, nn.Module):
        return None
    name = lookup("prior", as_options("prior", prior)["type"]).partners.get("posterior")
    return (
        name
        if isinstance(name, str) and "first" in options_of("posterior", lookup("posterior", name))
        else None
    )


def _with_prior(model: VAE, prior: Any) -> VAE:
    """Return a copy of the model with another prior, untrained, and with a posterior that has its levels."""
    condition = model.condition
    last = None if condition is None else condition.items()[-1][1]
    posterior = copy.deepcopy(model.posterior)
    if not isinstance(prior, nn.Module):
        options, shape = as_options("prior", prior), model.latent_shape
        if (partner := _wrapper(prior)) is not None:
            cls = lookup("prior", options["type"])
            shape = cls.usual(options, model.event_shape, math.prod(shape))
            shared = {name: options[name] for name in cls.agree if name in options}
            whole = {"type": partner, "first": describe("posterior", posterior), **shared}
            posterior = build("posterior", whole, event_shape=shape)
            posterior.inner.load_state_dict(model.posterior.state_dict())
            posterior = posterior.to(model.device, model.dtype)
        prior = build(
            "prior",
            options,
            event_shape=shape,
            context=0 if condition is None else condition.context,
            map_shape=last.map_shape if isinstance(last, Map) else None,
            feature_shape=model.likelihood.feature_shape,
            data_shape=model.event_shape,
            latent_shape=model.latent_shape,
        )
    kept = ("encoder", "decoder", "likelihood", "transform", "condition", "classifier")
    slots: dict[str, Any] = {name: copy.deepcopy(getattr(model, name)) for name in kept}
    slots["posterior"] = posterior
    slots["prior"] = copy.deepcopy(prior).to(model.device, model.dtype)
    new = VAE(missing=model.missing, **slots)
    new.data_spec = model.data_spec
    return new


class _Codes(NamedTuple):
    """Codes (N, *latent), and for each, or None, the value that stands for its q(z | x) and its context."""

    z: Tensor
    middle: Tensor | None
    context: Tensor | None


def _codes(model: VAE, split: Any, samples: int, seed: int, middle: bool) -> _Codes:
    """Return codes of a split, ``samples`` of each example; if asked for, with what stands for q(z | x)."""
    passes = Passes(model, split, seed=seed)
    codes, middles, contexts = [], [], []
    with passes.running("codes") as advance:
        for x, c in passes.batches(max(1, passes.rows // samples)):
            view = model.under(c)
            evidence = view.evidence(view.to_model(x)[0])
            draw = view.infer(evidence, len(x), samples)
            codes.append(model.prior.join(draw.z).flatten(0, 1))
            if middle:
                point = view.points(evidence, len(x))
                middles.append(point.repeat(samples, *[1] * (point.ndim - 1)))
            if view.context is not None:
                contexts.append(view.context.expand(len(x), -1).repeat(samples, 1))
            advance(len(x))
        # Copies, for what is made without gradients cannot be learned from.
        parts = [torch.cat(each) if each else None for each in (codes, middles, contexts)]
    with torch.inference_mode(False):
        return _Codes(*(None if part is None else part.clone() for part in parts))  # pyright: ignore


def _log_prior(model: VAE, codes: _Codes, index: Tensor) -> Tensor:
    """Return log p(z | c), or of a prior with a level more a bound on it by one draw, in nats, (M,)."""
    view = View(model, None if codes.context is None else codes.context[index])
    z, log_q = codes.z[index], 0.0
    if codes.middle is not None:
        z, log_q = model.posterior.with_levels(z, codes.middle[index])
    return view.log_prior(z.unsqueeze(0))[0] - log_q


@torch.no_grad()
def _mean_log_prior(model: VAE, codes: _Codes, batch_size: int) -> float:
    with model.evaluating():
        parts = torch.arange(len(codes.z), device=model.device).split(batch_size)
        return torch.cat([_log_prior(model, codes, part) for part in parts]).double().mean().item()


def _fit(
    model: VAE,
    train: _Codes,
    valid: _Codes,
    steps: int,
    batch_size: int,
    learning_rate: float,
    added: Sequence[nn.Module],
) -> None:
    """Climb the log-density of the codes with the prior's parameters; keep what is best on the validation codes."""
    parts = nn.ModuleList([model.prior, *added])
    parameters = [p for p in parts.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, kept = -math.inf, {}
    model.eval()
    for step in range(1, steps + 1):
        index = torch.randint(len(train.z), (batch_size,), device=model.device)
        parts.train()
        with torch.enable_grad():
            loss = -_log_prior(model, train, index).mean()
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(parameters, 100.0)
        optimizer.step()
        schedule.step()
        if step % max(1, steps // _CHECKS) == 0 or step == steps:
            found = _mean_log_prior(model, valid, batch_size)
            if found > best:
                best = found
                kept = {name: v.detach().clone() for name, v in parts.state_dict().items()}
    optimizer.zero_grad()
    if kept:
        parts.load_state_dict(kept)
