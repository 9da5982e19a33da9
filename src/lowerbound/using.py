r"""What people do with a trained model: convert, interpolate, classify.

``VAE`` has a thin method for each; completion is in ``lowerbound.completion``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from .errors import ConfigError, ShapeError
from .model import VAE
from .shapes import full_precision
from .view import View


@torch.no_grad()
def convert(model: VAE, x: Tensor, c_from: Any, c_to: Any) -> Tensor:
    r"""Return what ``x`` would be under another condition: encoded under one, decoded under the other.

    The mean code keeps its place in the prior: where this depends on c,

    .. math:: z' = \mu(c') + \sigma(c') \frac{z - \mu(c)}{\sigma(c)}

    Args:
        model: The model.
        x: Observations, (B, *event).
        c_from: The condition that x was seen under, for all or one each.
        c_to: The condition that is wanted, for all or one each.

    Raises:
        ConfigError: the model takes no condition, one of these was never seen in training, or the prior depends on
            the condition in another way than by means and scales.
    """
    if model.condition is None:
        raise ConfigError("convert needs a model with a condition, like load(..., condition='label')")
    z = model.encode(x, c_from)
    if model.prior.context:
        with model.evaluating():
            here, there = (place(model.at(c, len(z))) for c in (c_from, c_to))
        if here is None or there is None:
            raise ConfigError(
                f"convert keeps a code's place in the prior, in units of its means and scales; "
                f"{type(model.prior).__name__} under a condition has none"
            )
        z = there[0] + there[1] * (z - here[0]) / here[1]
    return model.decode(z, c_to)


def place(view: View) -> tuple[Tensor, Tensor] | None:
    """Return mean and standard deviation of p(z | c), (*latent) or (B, *latent); None if it has none, or levels."""
    if not view.model.prior.is_one_real_level:
        return None
    p = view.prior()
    try:
        return p.mean, p.stddev
    except NotImplementedError:
        return None


@torch.no_grad()
def interpolate(
    model: VAE,
    a: Tensor,
    b: Tensor,
    steps: int = 8,
    method: Literal["spherical", "linear"] = "spherical",
    *,
    c: Any = None,
) -> Tensor:
    """Return observations on the way from each ``a`` to each ``b``, both included: (steps, B, *event).

    Args:
        model: The model.
        a: Observations to start from, (B, *event).
        b: Observations to end at, (B, *event).
        steps: Number of points, at least 2.
        method: "spherical" turns and stretches the code about the mean of p(z | c), in units of its scales, and so
            stays at radii where a Gaussian prior has its mass; "linear" takes the chord, which passes nearer to it.
        c: The condition of both ends and of the way: one for all, or one for each pair.
    """
    if steps < 2:
        raise ConfigError(f"interpolate needs steps >= 2; got {steps}")
    if method not in ("spherical", "linear"):
        raise ConfigError(f"interpolate knows the methods 'spherical' and 'linear'; got {method!r}")
    start, end = model.encode(a, c), model.encode(b, c)
    if start.shape != end.shape:
        raise ShapeError(
            f"interpolate needs as many ends as starts; got {len(start)} starts and {len(end)} ends"
        )
    with model.evaluating():
        mean, scale = place(model.at(c, len(start))) or (torch.zeros_like(start), torch.ones_like(start))
    path = slerp if method == "spherical" else torch.lerp
    start, end = (start - mean) / scale, (end - mean) / scale
    weights = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device)
    return model.decode(torch.stack([mean + scale * path(start, end, w) for w in weights]), c)


@torch.no_grad()
def predict_proba(
    model: VAE, x: Tensor, samples: int = 100, *, c: Mapping[str, Any] | None = None, seed: int | None = 0
) -> Tensor:
    r"""Return the probabilities of the classes, (B, K): by the classifier q(y | x), or else by Bayes's rule.

    .. math:: p(y \mid x) \propto p(y)\, p(x \mid y)

    with p(y) the training frequencies and p(x | y) estimated with ``samples`` importance samples.

    Args:
        model: The model.
        x: Observations, (B, *event).
        samples: Importance samples per class, where there is no classifier.
        c: The other entries of the condition, which Bayes's rule goes by; a classifier sees x alone.
        seed: Seed of their draws.

    Raises:
        ConfigError: the condition has no label, or several.
    """
    name, label = model.label
    x = model.accept(x)
    if model.classifier is not None:
        model.check_x(x)
        with model.evaluating():
            return model.classify(x).exp()
    joint = torch.full(
        (len(x), len(label.classes)), -torch.inf, dtype=full_precision(x).dtype, device=model.device
    )
    for k in label.seen:
        of_class = {**(c or {}), name: torch.tensor([k])}
        joint[:, k] = model.log_prob(x, of_class, samples, seed=seed) + label.frequency[k].log()
    return joint.softmax(1)


def slerp(a: Tensor, b: Tensor, weight: Tensor | float) -> Tensor:
    """Interpolate on the great circle between the directions of ``a`` and ``b``, and linearly in length.

    Args:
        a: Codes, (B, *latent).
        b: Codes, (B, *latent).
        weight: 0 gives a, 1 gives b.
    """
    flat_a, flat_b = a.flatten(1), b.flatten(1)
    length_a, length_b = flat_a.norm(dim=1, keepdim=True), flat_b.norm(dim=1, keepdim=True)
    unit_a, unit_b = flat_a / length_a.clamp(min=1e-12), flat_b / length_b.clamp(min=1e-12)
    # atan2 of the two chords keeps its digits for nearly parallel codes, where arccos of the cosine loses them.
    angle = 2 * torch.atan2(
        (unit_a - unit_b).norm(dim=1, keepdim=True), (unit_a + unit_b).norm(dim=1, keepdim=True)
    )
    sine = torch.sin(angle)
    # Parallel codes need no turning, and opposite ones have no one great circle: both go along the chord.
    straight = sine.abs() < 1e-6
    safe = torch.where(straight, torch.ones_like(sine), sine)
    turned = (torch.sin((1 - weight) * angle) * unit_a + torch.sin(weight * angle) * unit_b) / safe
    length = torch.lerp(length_a, length_b, torch.as_tensor(weight, dtype=a.dtype, device=a.device))
    flat = torch.where(
        straight,
        torch.lerp(flat_a, flat_b, torch.as_tensor(weight, dtype=a.dtype, device=a.device)),
        turned * length,
    )
    return flat.reshape(a.shape)
