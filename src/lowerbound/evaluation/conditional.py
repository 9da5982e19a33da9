r"""How likely some parts of x are given the others, by two estimates of a likelihood.

.. math:: \log p(x_a \mid x_b) = \log p(x_a, x_b) - \log p(x_b)

Each is estimated by importance sampling with a proposal of its own, q(z | x_a, x_b) and q(z | x_b). Draws of
q(z | x_b) alone would do for both, but where x_a says more of z than x_b does, as an image does beside its label,
few of them have any weight. As each logarithm is below the truth in expectation, by what ``ess`` and ``khat`` tell,
their difference is no bound; it converges to the truth with the number of samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import torch
from torch import Tensor

from ..data import DataSpec, Split
from ..display import signed
from ..errors import ConfigError, ShapeError
from ..model import VAE
from .importance import NLL, nll
from .proposals import Proposal
from .stream import Options, standard_error


@dataclass(frozen=True, repr=False)
class ConditionalNLL:
    """Minus log p(x_a | x_b) of a set of examples, in nats per example.

    Attributes:
        value: Minus the mean; lower is better.
        stderr: Its standard error over the examples.
        per_example: Estimates of log p(x_a | x_b), (n,).
        joint: Of log p(x_a, x_b).
        given: Of log p(x_b).
    """

    value: float
    stderr: float
    per_example: Tensor
    joint: NLL
    given: NLL

    def __repr__(self) -> str:
        """A line: ``ConditionalNLL 0.31 ± 0.04 nats (n = 180, S = 1000)``."""
        value = signed(self.value, 2, self.stderr)
        return f"ConditionalNLL {value} nats (n = {self.joint.n}, S = {self.joint.samples})"

    @property
    def warning(self) -> str | None:
        """Why the value is not to be trusted, in a sentence, or None."""
        return self.joint.warning or self.given.warning


def conditional_nll(
    model: VAE,
    split: Split | Tensor | Any,
    of: str | Sequence[str] | Tensor,
    samples: int = 1000,
    *,
    proposal: Proposal = "posterior",
    **options: Unpack[Options],
) -> ConditionalNLL:
    """Estimate minus log p(x_a | x_b) of the original data, in nats per example, x_b being the rest of x.

    Args:
        model: A model for which values of x may be missing.
        split: As for ``nll``.
        of: What x_a is: names of parts of x, or of columns of a table; or a mask of it, 1 where an element is of x_a,
            of x's shape.
        samples: Importance samples per example, of each estimate.
        proposal: As for ``nll``, of both.
        **options: As for ``nll``.

    Raises:
        ConfigError: x_b would be nothing to the model, x_a or x_b has no elements, or as for ``nll``.
        ShapeError: the mask has another shape than x.

    Example:
        >>> import lowerbound as lb
        >>> data = lb.data.load("digits", parts=["image", "label"])
        >>> model = lb.VAE.for_data(data, latent=2)
        >>> lb.evaluate.conditional_nll(model, data.test, of="label", samples=50).joint.n
        180
    """
    if not model.missing:
        raise ConfigError(
            "log p(x_a | x_b) needs a model that takes missing values: train it on data with parts=, or with gaps"
        )
    spec = split.spec if isinstance(split, Split) else model.data_spec
    mask = _mask(model, spec, of)
    if not isinstance(split, Split):
        x = torch.atleast_1d(model.accept(split))
        rest: Any = torch.where(mask.to(x.device), torch.nan, x)
        split = x
    else:
        rest = replace(split, reading=_Without(split.reading, mask))  # pyright: ignore[reportArgumentType]
    joint = nll(model, split, samples, proposal=proposal, **options)
    given = nll(model, rest, samples, proposal=proposal, **options)
    if isinstance(split, Split):  # of what is missing there is no volume
        volume = _volume(split.spec, mask)
        given = replace(given, value=given.value - volume, per_example=given.per_example + volume)
    log_p = joint.per_example - given.per_example
    return ConditionalNLL(-log_p.mean().item(), standard_error(log_p), log_p, joint, given)


@dataclass(frozen=True)
class _Without:
    """A reading that leaves some elements of x missing; the others are drawn as by the reading itself."""

    reading: Any
    mask: Tensor

    def __call__(self, v: Tensor, generator: torch.Generator | None = None) -> Tensor:
        x = self.reading(v, generator)
        return torch.where(self.mask.to(x.device), torch.nan, x)


def _mask(model: VAE, spec: DataSpec | None, of: str | Sequence[str] | Tensor) -> Tensor:
    """Return x_a as bool, (*event)."""
    if isinstance(of, Tensor):
        mask = of.bool()
        if tuple(mask.shape) != model.event_shape:
            raise ShapeError(f"the mask of x_a has x's shape {model.event_shape}; got {tuple(mask.shape)}")
    elif spec is None:
        raise ConfigError("the model knows no names of parts or columns; give a mask of x_a")
    else:
        mask = torch.tensor(spec.places([of] if isinstance(of, str) else of)).reshape(model.event_shape)
    if mask.all() or not mask.any():
        what = "all" if mask.all() else "nothing"
        raise ConfigError(f"x_a is {what} of x; something must be given and something left")
    return mask


def _volume(spec: DataSpec, mask: Tensor) -> float:
    """Return the part of the data's ``log_volume`` that belongs to some elements."""
    if spec.named is None:
        return spec.log_volume * mask.double().mean().item()
    each = zip(spec.named, mask.split([part.dimensions for part in spec.named]), strict=True)
    return sum(part.log_volume * own.double().mean().item() for part, own in each)
