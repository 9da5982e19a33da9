r"""How much samples look like data, in features that the user gives, or of a classifier that is trained on the data.

.. math::
    \mathrm{Fréchet} = \lVert m - m' \rVert^2 + \operatorname{tr}\left(C + C' - 2 (C C')^{1/2}\right)

All compare features of data (N, F) with features of samples (M, F). A number is only comparable with another one of
the same features, N and M: the Fréchet distance of finite sets is too high, the more so the fewer and the wider they
are. The kernel distance is not. Intervals of 95 % are by bootstrap.

References:
    Fréchet: GANs trained by a two time-scale update rule (Heusel et al., 2017), https://arxiv.org/abs/1706.08500;
    kernel: Demystifying MMD GANs (Bińkowski et al., 2018), https://arxiv.org/abs/1801.01401;
    precision, recall: Improved precision and recall (Kynkäänniemi et al., 2019), https://arxiv.org/abs/1904.06991;
    density, coverage: Reliable fidelity and diversity metrics (Naeem et al., 2020), https://arxiv.org/abs/2002.09797
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from ..data import Split
from ..errors import ConfigError, DataError
from ..model import VAE
from ..nn import ENCODERS
from ..nn.classifier import BATCH, train_classifier
from ..shapes import draws
from .stream import Options, Passes

_BOOTSTRAPS = 200
_ROWS = 2**22  # distances held at once

Features = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Score:
    """A number with its interval.

    Attributes:
        value: The number.
        low: Lower end of its interval of 95 %.
        high: Upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SampleQuality:
    """How samples compare with data.

    Attributes:
        frechet: Fréchet distance of two Gaussians fitted to the features; lower is better.
        kernel: Squared MMD with a cubic kernel, unbiased, so that it may be below 0; lower is better.
        precision: Share of samples among the data's neighbours; higher is better, 1 at most.
        recall: Share of the data among the samples' neighbours; higher is better, 1 at most.
        density: Neighbourhoods of data that a sample lies in, over those expected; higher is better, about 1.
        coverage: Share of the data with a sample in their neighbourhood; higher is better, 1 at most.
        n: Number of examples.
        samples: Number of samples.
    """

    frechet: Score
    kernel: Score
    precision: Score
    recall: Score
    density: Score
    coverage: Score
    n: int
    samples: int


def sample_quality(
    model: VAE,
    split: Split | Tensor | Any,
    features: Features,
    *,
    samples: int | None = None,
    mean: bool | None = None,
    **options: Unpack[Options],
) -> SampleQuality:
    """Compare draws of the model with a part of the data.

    Args:
        model: The model.
        split: A part of the data, or a tensor or array (N, *event).
        features: Function of x (B, *event), in the data's units, to features (B, F), such as ``classifier_features``
            makes.
        samples: Number of draws; as many as there are examples if not given. Those of a conditional model are under
            the examples' conditions, in turn.
        mean: Take the mean of p(x | z) for a draw, as published distances of pictures do; False draws x as well. If
            not given, the mean for images of grey levels or colours, whose noise of every pixel nobody draws, and
            draws for anything else.
        **options: See ``Options``.

    Raises:
        DataError: there are fewer than two examples, or features are not finite.
    """
    passes = Passes(model, split, **options)
    wanted = passes.n if samples is None else samples
    if min(wanted, passes.n) < 2:
        raise DataError(f"sample_quality needs two examples and two samples; got {passes.n} and {wanted}")
    if mean is None:
        spec = model.data_spec
        mean = spec is not None and spec.kind == "image" and spec.values != "binary"
    real, made, conditions = [], [], []
    with passes.running("sample quality") as advance:
        for x, c in passes.batches(min(256, passes.rows)):
            real.append(features(x))
            conditions.append((c, len(x)))
            advance(len(x))
        drawn = 0
        while drawn < wanted:
            c, size = conditions[len(made) % len(conditions)]
            view = model.under(c)
            p_x = view.likelihood(view.generate(1, size).code)
            x = view.to_data(model.likelihood.point(p_x) if mean else p_x.sample())[0]
            made.append(features(x[: wanted - drawn]))
            drawn += len(made[-1])
    return compare_features(torch.cat(real), torch.cat(made), seed=passes.seed)


def compare_features(real: Tensor, made: Tensor, *, seed: int = 0) -> SampleQuality:
    """Return all scores of features of data (N, F) and of samples (M, F).

    Args:
        real: Features of data.
        made: Features of samples.
        seed: Seed of the bootstrap.
    """
    real, made = (_checked(f) for f in (real, made))
    with draws("cpu", seed=seed):
        value, *shares = kernel_distance(real, made)
        precise, recalled = precision_recall(real, made)
        dense, covered = density_coverage(real, made)
        return SampleQuality(
            _frechet_score(real, made),
            _score(value, shares),
            *(_score(share.mean(), [share]) for share in (precise, recalled, dense, covered)),
            n=len(real),
            samples=len(made),
        )


# ------------------------------------------------------------------------------------------------- distances
def frechet_distance(real: Tensor, made: Tensor) -> float:
    """Return the Fréchet distance of Gaussians fitted to features (N, F) and (M, F)."""
    first, second = _checked(real), _checked(made)
    c1, c2 = (torch.cov(f.T).reshape(f.shape[1], f.shape[1]) for f in (first, second))
    # tr (C C')^1/2 is the sum of the singular values of C^1/2 C'^1/2, roots that symmetry makes exact.
    cross = torch.linalg.svdvals(_root(c1) @ _root(c2)).sum()
    shift = (first.mean(0) - second.mean(0)).square().sum()
    return max(0.0, (shift + c1.trace() + c2.trace() - 2 * cross).item())


def kernel_distance(real: Tensor, made: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the unbiased MMD² with the kernel (x·y / F + 1)³, and the share of every example and every sample in it.

    The shares, (N,) and (M,), are of its first order: their means vary as the estimate does.
    """

    def k(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: Tensor) -> Tensor:
        pairs = k(a, a)
        return (pairs.sum(1) - pairs.diagonal()) / (len(a) - 1)

    between = k(real, made)
    one, two = within(real), within(made)
    value = one.mean() + two.mean() - 2 * between.mean()
    return value, 2 * (one - between.mean(1)), 2 * (two - between.mean(0))


def precision_recall(real: Tensor, made: Tensor, neighbours: int = 3) -> tuple[Tensor, Tensor]:
    """Return of every sample, (M,), and of every example, (N,), whether it is within the others' neighbourhoods."""
    own_real, own_made = radii(real, neighbours), radii(made, neighbours)
    inside = _counts(made, real, own_real)[0]
    return (inside > 0).double(), (_counts(real, made, own_made)[0] > 0).double()


def density_coverage(real: Tensor, made: Tensor, neighbours: int = 5) -> tuple[Tensor, Tensor]:
    """Return every sample's density, (M,), and of every example, (N,), whether a sample is in its neighbourhood."""
    own = radii(real, neighbours)
    inside, holds = _counts(made, real, own)
    return inside.double() / neighbours, (holds > 0).double()


def radii(points: Tensor, neighbours: int) -> Tensor:
    """Return the distance of each point (N, F) to its neighbour of that rank, itself not counted; (N,)."""
    rank = min(neighbours, len(points) - 1) + 1
    parts = points.split(max(1, _ROWS // len(points)))
    return torch.cat([torch.cdist(part, points).kthvalue(rank, 1).values for part in parts])


def _counts(points: Tensor, centres: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Return in how many balls each point lies, and how many points each ball holds."""
    inside, holds = [], torch.zeros(len(centres), dtype=torch.long)
    for part in points.split(max(1, _ROWS // len(centres))):
        near = torch.cdist(part, centres) <= radius
        inside.append(near.sum(1))
        holds = holds + near.sum(0)
    return torch.cat(inside), holds


# ------------------------------------------------------------------------------------------------- intervals
def _score(value: Tensor, shares: Sequence[Tensor]) -> Score:
    """Return a value with the interval of the sum of means of shares that are drawn anew with replacement."""
    total = torch.zeros(_BOOTSTRAPS).double()
    for share in shares:
        drawn = torch.stack([share[torch.randint(len(share), share.shape)].mean() for _ in total])
        total = total + drawn - share.mean()
    low, high = torch.quantile(total, torch.tensor([0.025, 0.975]).double())
    return Score(value.item(), (value + low).item(), (value + high).item())


def _frechet_score(real: Tensor, made: Tensor) -> Score:
    """Return the Fréchet distance with a basic bootstrap interval: sets drawn from sets are as much too far apart."""
    value = frechet_distance(real, made)
    again = [
        frechet_distance(*(f[torch.randint(len(f), (len(f),))] for f in (real, made)))
        for _ in range(_BOOTSTRAPS // 4)
    ]
    low, high = torch.quantile(torch.tensor(again).double(), torch.tensor([0.025, 0.975]).double())
    return Score(value, max(0.0, 2 * value - high.item()), max(0.0, 2 * value - low.item()))


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def _checked(features: Tensor) -> Tensor:
    features = torch.as_tensor(features).detach().cpu().double()
    if features.ndim != 2 or len(features) < 2:
        raise DataError(f"features are (N, F) of at least two examples; got shape {tuple(features.shape)}")
    if not features.isfinite().all():
        raise DataError("features must be finite; got NaN or Inf")
    return features


# ------------------------------------------------------------------------------------------------- features
class ClassifierFeatures(nn.Module):
    """The last hidden features of a small classifier, in the units of the data.

    Attributes:
        accuracy: Share of right classes among the examples that it was not trained on; say it beside the scores.
    """

    accuracy: float

    def __init__(self, event_shape: Sequence[int], classes: int, features: int = 32) -> None:
        super().__init__()
        network = "conv" if len(event_shape) == 3 and min(event_shape[1:]) >= 8 else "mlp"
        self.trunk = ENCODERS[network](tuple(event_shape), (features,))
        self.head = nn.Sequential(nn.SiLU(), nn.Linear(features, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, F) of x (B, *event)."""
        weight = next(self.parameters())
        return self.trunk(x.to(weight.device, weight.dtype))


def classifier_features(
    train: Split, valid: Split, *, features: int = 32, epochs: int = 10, seed: int = 0
) -> ClassifierFeatures:
    """Train a small classifier of the data's labels, for its features.

    Args:
        train: What it learns from; labelled.
        valid: What its accuracy is of.
        features: Number F of features.
        epochs: Passes over the training data.
        seed: Seed of the weights and of the batches.

    Raises:
        ConfigError: the data have no labels.
    """
    if train.labels is None or valid.labels is None:
        raise ConfigError("classifier_features needs labelled data; give features of your own otherwise")
    with draws("cpu", seed=seed), torch.inference_mode(False), torch.enable_grad():
        classes = int(max(train.labels.max(), valid.labels.max())) + 1
        network = ClassifierFeatures(train.spec.event_shape, classes, features)
        whole = nn.Sequential(network, network.head)
        steps = epochs * -(-len(train.known) // BATCH)
        train_classifier(whole, train.labelled, train.known, steps, seed)
        right = [
            (whole(x).argmax(1) == labels).double()
            for x, labels in (valid.labelled(index) for index in valid.known.split(1024))
        ]
        network.accuracy = torch.cat(right).mean().item()
    return network
