r"""Does a model tell other data from its own? By log p(x), typicality and likelihood regret.

A density is no measure of strangeness by itself: a simple picture may be likelier than any that the model has learned
from. (Models of CIFAR-10 find SVHN likelier than CIFAR-10: an AUROC of 0.08 for −log p(x).) Two scores correct for
that:

.. math::
    \text{typicality} = |-\log p(x) - H|, \qquad
    \text{regret} = \max_{q} \mathcal{L}(x; q) - \mathcal{L}(x; q(z \mid x))

with H the mean of −log p over the model's own data, and the best q of the posterior's family for each x alone. All
are higher the stranger x is; which of them works depends on the data, so look at all three.

References:
    Do deep generative models know what they don't know? (Nalisnick et al., 2019), https://arxiv.org/abs/1810.09136;
    Detecting out-of-distribution inputs using typicality (Nalisnick et al., 2019), https://arxiv.org/abs/1906.02994;
    Likelihood regret (Xiao, Yan and Amit, 2020), https://arxiv.org/abs/2003.02977
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from torch import Tensor

from ..data import Split
from ..errors import ConfigError, DataError
from ..model import VAE
from ..progress import progress_bar
from ..shapes import draws, full_precision
from .importance import nll
from .quality import Score
from .stream import Options, Passes, frozen

_BOOTSTRAPS = 200
_SAME = 256  # draws that compare the two posteriors


@dataclass(frozen=True)
class OutlierDetection:
    """Areas under the ROC curve, of other data against the model's own: 1 tells all, 0.5 none, below 0.5 the reverse.

    Attributes:
        nll: Of −log p(x).
        typicality: Of the distance of −log p(x) from its mean over the reference.
        regret: Of the likelihood regret; None if it was not asked for.
        own: Number of the model's own examples.
        other: Number of the others.
    """

    nll: Score
    typicality: Score
    regret: Score | None
    own: int
    other: int

    @property
    def warning(self) -> str | None:
        """That the density points the wrong way, in a sentence, or None."""
        if self.nll.high >= 0.5:
            return None
        return (
            f"the other data are likelier than the model's own (AUROC {self.nll.value:.2f} of -log p): the density "
            "alone does not detect them; use typicality or likelihood regret"
        )


def outlier_detection(
    model: VAE,
    own: Split | Tensor | Any,
    other: Split | Tensor | Any,
    reference: Split | Tensor | Any,
    *,
    samples: int = 100,
    regret_steps: int = 100,
    **options: Unpack[Options],
) -> OutlierDetection:
    """Tell other data from examples like those that the model learned from.

    Args:
        model: The model.
        own: Examples of the model's data that it did not learn from, as the test split.
        other: Other data, in the same units and of the same shape.
        reference: Examples that say what −log p is usual, as the validation split.
        samples: Importance samples of log p(x).
        regret_steps: Steps in which each example's own posterior is found; 0 leaves the regret out.
        **options: See ``Options``; ``limit`` is for each of the three.
    """
    usual = nll(model, reference, samples, **options).value
    scores = [-nll(model, part, samples, **options).per_example for part in (own, other)]
    regret = None
    if regret_steps:
        regret = auroc(
            *(likelihood_regret(model, part, steps=regret_steps, **options) for part in (own, other))
        )
    return OutlierDetection(
        auroc(*scores), auroc(*((s - usual).abs() for s in scores)), regret, len(scores[0]), len(scores[1])
    )


def auroc(own: Tensor, other: Tensor, *, seed: int = 0) -> Score:
    """Return the probability that one of the others has the higher score, ties counted half, with its interval.

    Args:
        own: Scores (N,).
        other: Scores (M,), higher if told apart.
        seed: Seed of the bootstrap.

    Raises:
        DataError: there are no scores, or one is NaN.
    """
    own, other = (torch.as_tensor(s).double().flatten() for s in (own, other))
    if not len(own) or not len(other) or own.isnan().any() or other.isnan().any():
        raise DataError("auroc needs scores of both kinds that are numbers; got none, or NaN")

    def area(a: Tensor, b: Tensor) -> float:
        ordered = a.sort().values
        below, above = (torch.searchsorted(ordered, b, right=right) for right in (False, True))
        return ((below + above).double().mean() / (2 * len(a))).item()

    with draws("cpu", seed=seed):
        again = [area(*(s[torch.randint(len(s), s.shape)] for s in (own, other))) for _ in range(_BOOTSTRAPS)]
    low, high = torch.quantile(torch.tensor(again).double(), torch.tensor([0.025, 0.975]).double()).tolist()
    return Score(area(own, other), low, high)


def likelihood_regret(
    model: VAE,
    split: Split | Tensor | Any,
    *,
    steps: int = 100,
    learning_rate: float = 0.05,
    **options: Unpack[Options],
) -> Tensor:
    """Return by how many nats the bound of each example rises when its posterior is fitted to it alone, (N,).

    What the encoder gives is moved by Adam on the evidence lower bound; decoder and prior stay. Both posteriors are
    compared by the same noise.

    Args:
        model: The model; left as it was.
        split: A part of the data, or a tensor or array (N, *event).
        steps: Steps of Adam.
        learning_rate: Their size, in units of the encoder's output.
        **options: See ``Options``.

    Raises:
        ConfigError: a number is out of its range.
    """
    if steps < 1 or not 0 < learning_rate < math.inf:
        raise ConfigError(
            f"likelihood_regret needs steps >= 1 and a positive learning_rate; got {steps} and {learning_rate!r}"
        )
    passes = Passes(model, split, **options)
    regrets: list[Tensor] = []
    shown = False if passes.progress is False else None
    # Not ``running``, whose packed weights have no gradient.
    with (
        progress_bar("likelihood regret", passes.n, shown, unit="examples", after=0.5) as advance,
        model.evaluating(),
        draws(model.device, passes.seed),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        for x, c in passes.batches(max(1, passes.rows // _SAME)):
            regrets.append(_regret(model, x, c, steps, learning_rate, passes.seed))
            advance(len(x))
    return torch.cat(regrets)


def _regret(
    model: VAE, x: Tensor, c: dict[str, Tensor] | None, steps: int, learning_rate: float, seed: int
) -> Tensor:
    with torch.no_grad():
        view = model.under(c)
        u = view.to_model(x)[0]
        first = full_precision(model.run(model.encoder, model.features(u), view.context))

    def bounds(h: Tensor, samples: int = 1) -> Tensor:
        draw = view.infer(view.told(h, u), len(x), samples)
        return view.log_likelihood(view.likelihood(draw.code), u).mean(0) - draw.kl()

    h = first.clone().requires_grad_()
    optimizer = torch.optim.Adam([h], lr=learning_rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
        h.grad = torch.autograd.grad(-bounds(h).sum(), h)[0]
        optimizer.step()
    before, after = [], []
    for found, h_now in ((before, first), (after, h.detach())):
        with frozen(model, seed):
            found.append(bounds(h_now, _SAME).clone())
    return (after[0] - before[0]).cpu().double()
