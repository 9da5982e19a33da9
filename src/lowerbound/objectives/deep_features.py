r"""Reconstruction in the hidden layers of a network that is fixed: deep feature consistency.

.. math:: \beta\, KL(q(z \mid x) \,\|\, p(z))
    + w \sum_l \frac{D}{2 n_l} \left\lVert \frac{f_l(x) - f_l(\hat{x})}{s_l} \right\rVert^2

f_l are the n_l outputs of a layer, s_l their standard deviation over training data, and x̂ is the decoded mean: each
layer counts as the D numbers of x would in units of their spread. It is no log-likelihood of x: there is no bound.

Reference:
    Deep feature consistent variational autoencoder (Hou et al., 2017), https://arxiv.org/abs/1610.00291. Its layers
    are those of a VGG network trained on ImageNet; here they are those of a small classifier of the data's labels, or
    random ones, and ``FeatureDistance`` takes any network in Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..model import VAE
from ..nn.classifier import train_classifier
from ..nn.network import sizes
from ..shapes import draws, numel
from .base import check_counts, check_word
from .perceptual import Perceptual

if TYPE_CHECKING:
    from ..data import Data

_EXAMPLES = 1000  # of which layers take their spread


class DeepFeatures(Perceptual):
    """KL and the distance in all layers of a small network; no bound.

    Args:
        weight: Weight w of the distance.
        beta: Weight of the KL.
        features: "classifier", trained on the labels of the training data before the first step, or "random", as it
            is initialised.
        channels: Channels of each layer, of images convolutions; each after the first halves the sides.
        steps: Steps of 128 examples that the classifier learns in.
        seed: Seed of the network.

    Raises:
        ConfigError: an argument is out of its range.
    """

    layers: nn.ModuleList
    spreads: Tensor

    def __init__(
        self,
        weight: float = 1.0,
        beta: float = 1.0,
        features: Literal["classifier", "random"] = "classifier",
        channels: Sequence[int] = (16, 32, 64),
        steps: int = 500,
        seed: int = 0,
    ) -> None:
        super().__init__(weight, beta)
        check_word("features", features, ("classifier", "random"))
        check_counts(self, steps=steps)
        self.features, self.channels = features, sizes("channels", channels)
        self.steps, self.seed = steps, seed

    def start(self, model: VAE, data: Data | None = None) -> None:
        """Build the layers, train them if they are a classifier's, and take their spreads.

        Raises:
            ConfigError: the data have no labels to learn, or there are none.
        """
        train = None if data is None else data.train
        if self.features == "classifier" and (train is None or not len(train.known)):
            raise ConfigError(
                "DeepFeatures trains a classifier of the data's labels for its features, but there are none: load "
                "data with labels, or take objective.features='random', or in Python FeatureDistance(network)"
            )
        with draws("cpu", seed=self.seed), torch.inference_mode(False), torch.enable_grad():
            self.layers = _layers(model.event_shape, self.channels).float()
            if train is None:
                x = torch.rand(_EXAMPLES, *model.event_shape, dtype=torch.float32)
            else:
                x = train.batch(torch.arange(min(_EXAMPLES, len(train))))[0].cpu().float()
            if self.features == "classifier" and train is not None and train.labels is not None:
                with torch.no_grad():
                    wide = self._all(x[:1])[-1].shape[1]
                head = nn.Sequential(nn.Flatten(), nn.Linear(wide, int(train.labels.max()) + 1))
                whole = nn.Sequential(*self.layers, head).float()
                train_classifier(whole, train.labelled, train.known, self.steps, self.seed)
            self.layers.requires_grad_(False)
            self.register_buffer(
                "spreads", torch.stack([f.std(0).square().mean().sqrt() for f in self._all(x)])
            )
        self.to(model.device, model.dtype)

    def _all(self, x: Tensor) -> list[Tensor]:
        """Return the outputs of all layers, (B, n_l) each."""
        found = []
        for layer in self.layers:
            x = layer(x)
            found.append(x.flatten(1))
        return found

    def distance(self, x: Tensor, decoded: Tensor) -> Tensor:
        """Return the sum over the layers, (B,)."""
        d = x[0].numel() / 2
        pairs = zip(self._all(x), self._all(decoded), self.spreads, strict=True)
        return sum((((a - b) / s.clamp(min=1e-6)).square().mean(1) for a, b, s in pairs), torch.zeros(())) * d


def _layers(event_shape: Sequence[int], channels: Sequence[int]) -> nn.ModuleList:
    """Return layers with rectified outputs."""
    image = len(event_shape) == 3
    wide = [event_shape[0] if image else numel(event_shape), *channels]
    affine = [
        nn.Conv2d(a, b, 3, stride=2 if n else 1, padding=1)
        if image
        else nn.Sequential(nn.Flatten(), nn.Linear(a, b))
        for n, (a, b) in enumerate(pairwise(wide))
    ]
    return nn.ModuleList(nn.Sequential(each, nn.ReLU()) for each in affine)
