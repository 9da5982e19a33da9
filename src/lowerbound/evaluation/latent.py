r"""What the latent dimensions are used for.

A dimension is active if its posterior mean moves with x:

.. math:: \operatorname{Var}_{x}\left(\mathbb{E}_{q(z \mid x)}[z_j]\right) > 0.01

Reference:
    Importance weighted autoencoders (Burda, Grosse and Salakhutdinov, 2016), https://arxiv.org/abs/1509.00519,
    section 5.2 and appendix C
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
from torch import Tensor

from ..data import Split
from ..model import VAE
from .bounds import Bound
from .stream import Options, Passes

_FEWEST_NATS = 0.1
# Half of 40 dimensions asleep is what a good model of MNIST does by itself; three quarters are worth a word.
_FEWEST_SHARE = 0.25


class Codes(NamedTuple):
    """Posterior means of a set of examples, (n, L), a latent of any shape flattened; labels (n,) or None."""

    mean: Tensor
    labels: Tensor | None


@dataclass(frozen=True, repr=False)
class ActiveUnits:
    """How many latent dimensions are used.

    Attributes:
        count: Number of active dimensions.
        total: Number of dimensions L.
        variance: Variance of the posterior mean over the examples, (L,).
    """

    count: int
    total: int
    variance: Tensor

    def __repr__(self) -> str:
        """A line: ``6 of 8 latent dimensions active``."""
        return f"{self.count} of {self.total} latent dimensions active"


def posterior_means(model: VAE, split: Split | Tensor | Any, **options: Unpack[Options]) -> Codes:
    """Return E[z] under q(z | x) of every example, with the labels, on the CPU: for maps of the latent space.

    Args:
        model: The model.
        split: A part of the data, or a tensor or array (N, *event).
        **options: See ``Options``; nothing is drawn of which the seed would speak.
    """
    passes = Passes(model, split, **options)
    means: list[Tensor] = []
    with passes.running("latent codes") as advance:
        for x, c in passes.batches(passes.rows):
            view = model.under(c)
            evidence = view.evidence(view.to_model(x)[0])
            means.append(view.points(evidence, len(x)).flatten(1).cpu())
            advance(len(x))
    labels = split.labels if isinstance(split, Split) else None
    return Codes(torch.cat(means), None if labels is None else labels[: passes.n].cpu())


def active_units(
    model: VAE, split: Split | Tensor | Any, *, threshold: float = 0.01, **options: Unpack[Options]
) -> ActiveUnits:
    """Count the latent dimensions whose posterior mean has a variance above ``threshold`` over the examples.

    Only real numbers count: what a level of another kind says, a class for one, is in the KL.

    Args:
        model: The model.
        split: A part of the data, or a tensor or array (N, *event).
        threshold: Smallest variance of an active dimension.
        **options: As of ``posterior_means``.
    """
    mean = posterior_means(model, split, **options).mean[:, model.prior.real()]
    # Not over n − 1: a single example has no spread, and the variance is that of the examples at hand.
    variance = mean.double().var(0, correction=0) if mean.shape[1] else mean.new_zeros(0)
    return ActiveUnits(int((variance > threshold).sum()), len(variance), variance)


def posterior_collapse_warning(units: ActiveUnits, terms: Bound) -> str | None:
    """Say in a sentence that the codes carry little of x, or return None.

    Args:
        units: The active dimensions.
        terms: The bound on the same examples.
    """
    remedy = "use fewer latent dimensions, free bits or a warm-up of beta, or a less flexible decoder"
    if terms.kl < _FEWEST_NATS:
        return (
            f"posterior collapse: the KL term is {terms.kl:.2g} nats per example, so the codes say nothing of x and "
            f"the decoder ignores them; {remedy}"
        )
    if units.total and units.count <= _FEWEST_SHARE * units.total:
        return f"only {units.count} of {units.total} latent dimensions are active; {remedy}"
    return None
