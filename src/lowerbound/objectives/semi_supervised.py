r"""Labels for some examples, and a classifier that is learned with the generative model of all of them.

With a label y the bound is that of the joint density; without, y is summed out exactly, with the classifier
:math:`q(y \mid x)` as its posterior:

.. math::
    \log p(x, y) &\ge \mathcal{L}(x \mid y) + \log p(y)

    \log p(x) &\ge \sum_y q(y \mid x) \left[ \mathcal{L}(x \mid y) + \log p(y) - \log q(y \mid x) \right]

where :math:`\mathcal{L}(x \mid y)` is the evidence lower bound under the condition y. The loss adds
:math:`-\alpha \log q(y \mid x)` of the labelled examples, from which alone the first bound teaches the classifier
nothing. Summing costs K passes, for K classes; drawing y instead, with the score function's gradient, fails to learn.

Reference:
    Semi-supervised learning with deep generative models (Kingma et al., 2014), https://arxiv.org/abs/1406.5298,
    eqs. 6-9 (M2)
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigError
from ..model import VAE
from .base import Objective, ObjectiveOutput, check_weights, mean_penalty
from .schedules import Progress, Schedule, as_schedule


class SemiSupervised(Objective):
    """Evidence lower bound with the missing labels summed out; for a model with a classifier.

    The reported bound is on log p(x, y) where y is known and on log p(x) where it is not.

    Args:
        alpha: Weight of the labelled examples' classification loss, nats per nat of the bound.
        augment: Strength of the random affine maps of the images that the classifier sees in training: 1 turns by up
            to 15 degrees, scales and shears by up to 0.15 and moves by up to 2 pixels of 28. The bound holds for any
            classifier's input, and the same class for all of them is what a classifier should learn.
        beta: Weight of the KL term and of the classifier's entropy, a number or a schedule; 1 is the bound.

    Raises:
        ConfigError: an argument is out of its range.
    """

    sums_out_labels = True

    def __init__(self, alpha: float = 10.0, augment: float = 0.0, beta: float | Schedule = 1.0) -> None:
        super().__init__()
        check_weights(self, alpha=alpha, augment=augment)
        self.alpha = alpha
        self.augment = augment
        self.beta = beta

    def forward(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        name, label = model.label
        assert c is not None
        y, n, classes = c[name], len(x), len(label.classes)
        known = y >= 0
        log_q = model.classify(jitter(x, self.augment) if self.augment else x)

        # Every class of every example in one pass: (K * B), classes outermost.
        every = {key: value.repeat(classes, *[1] * (value.ndim - 1)) for key, value in c.items()}
        every[name] = torch.arange(classes, device=y.device).repeat_interleave(n)
        out = model(x.repeat(classes, *[1] * (x.ndim - 1)), every)
        reconstruction = out.log_likelihood.mean(0).reshape(classes, n).T
        kl = out.kl().expand(classes * n).reshape(classes, n).T

        weight = torch.where(known.unsqueeze(1), F.one_hot(y.clamp(min=0), classes), log_q.exp())
        log_weight = torch.where(known.unsqueeze(1), torch.zeros_like(log_q), log_q)
        penalty = (weight * (kl + log_weight - label.frequency.log().clamp(min=-1e4))).sum(1).mean()
        fit = (weight * reconstruction).sum(1).mean()
        right = log_q.gather(1, y.clamp(min=0).unsqueeze(1)).squeeze(1)
        cross_entropy = -(right * known).sum() / known.sum().clamp(min=1)
        loss = (
            as_schedule(self.beta)(progress) * penalty - fit + self.alpha * cross_entropy + mean_penalty(out)
        )
        return ObjectiveOutput(
            loss,
            fit - penalty,
            {
                "reconstruction": fit.detach(),
                "kl": penalty.detach(),
                "cross_entropy": cross_entropy.detach(),
            },
        )

    def check(self, model: VAE, progress: Progress) -> None:
        """Raise ConfigError if the model has no classifier or no label to classify, or β does not fit the run."""
        if model.classifier is None:
            raise ConfigError(
                "SemiSupervised needs a model with a classifier, like VAE.for_data(data, classifier='mlp')"
            )
        if self.augment and len(model.event_shape) != 3:
            raise ConfigError(
                f"augment is for images (C, H, W); the data have {model.event_shape}; leave it 0"
            )
        as_schedule(self.beta).check(progress)


def jitter(x: Tensor, strength: float) -> Tensor:
    """Return images (B, C, H, W) under random affine maps, one each, with zeros beyond the edge."""
    turn, shear_x, shear_y, scale_x, scale_y, right, down = (
        2 * torch.rand(7, len(x), device=x.device, dtype=x.dtype) - 1
    ) * strength
    turn = turn * math.radians(15)
    scale_x, scale_y = 1 + 0.15 * scale_x, 1 + 0.15 * scale_y
    rows = (
        torch.stack([turn.cos() * scale_x, 0.15 * shear_x - turn.sin(), right / 7], 1),
        torch.stack([turn.sin() + 0.15 * shear_y, turn.cos() * scale_y, down / 7], 1),
    )
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)
