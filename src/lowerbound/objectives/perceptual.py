r"""Pictures compared as an eye or a network sees them, in place of a likelihood: MS-SSIM, and features of a network.

.. math:: \beta\, KL(q(z \mid x) \,\|\, p(z)) + w\, d(x, \hat{x}), \qquad
    d = 1 - \mathrm{MS\text{-}SSIM}(x, \hat{x}) \quad\text{or}\quad \tfrac12 \lVert f(x) - f(\hat{x}) \rVert^2

x̂ is the decoded mean. Neither is a log-likelihood of x: there is no bound, and a run reports minus the loss.

References:
    Multiscale structural similarity for image quality assessment (Wang, Simoncelli and Bovik, 2003);
    Learning to generate images with perceptual similarity metrics (Snell et al., 2017),
    https://arxiv.org/abs/1511.06409;
    Deep feature consistent variational autoencoder (Hou et al., 2017), https://arxiv.org/abs/1610.00291
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError
from ..model import VAE, VAEOutput
from .base import Criterion, ObjectiveOutput, check_weights, decoded_mean, mean_penalty
from .schedules import Progress

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, from fine to coarse
_SIGMA = 1.5  # pixels, of the window
_K1, _K2 = 0.01, 0.03


class Perceptual(Criterion):
    """KL and a distance of x from what is decoded.

    Args:
        weight: Weight w of the distance.
        beta: Weight β of the KL.
    """

    def __init__(self, weight: float, beta: float) -> None:
        super().__init__()
        check_weights(self, weight=weight, beta=beta)
        self.weight, self.beta = weight, beta

    def distance(self, x: Tensor, decoded: Tensor) -> Tensor:
        """Return the distance of each example, (B,)."""
        raise NotImplementedError

    def forward(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        out: VAEOutput = model(x, c)
        decoded = out.view.to_data(decoded_mean(out.p_x, out))[0]
        kl, distance = out.kl().mean(), self.distance(x.to(decoded.dtype), decoded).mean()
        loss = self.beta * kl + self.weight * distance + mean_penalty(out)
        return self.judged(loss, kl=kl, distance=distance)


class StructuralSimilarity(Perceptual):
    """KL and one less the multi-scale structural similarity of images; no bound.

    Args:
        weight: Weight of 1 − MS-SSIM, which is at most 2.
        beta: Weight of the KL.
        window: Width of the Gaussian window, in pixels; the largest odd number that fits, if the image is smaller.
        white: Value of white less that of black.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self, weight: float = 100.0, beta: float = 1.0, window: int = 11, white: float = 1.0
    ) -> None:
        super().__init__(weight, beta)
        if window < 1 or window % 2 == 0:
            raise ConfigError(f"StructuralSimilarity needs an odd window; got {window!r}")
        check_weights(self, white=white)
        self.window, self.white = window, white

    def distance(self, x: Tensor, decoded: Tensor) -> Tensor:
        """Return 1 − MS-SSIM, (B,), of images (B, C, H, W)."""
        return 1 - ms_ssim(x, decoded, self.window, self.white)

    def check(self, model: VAE, progress: Progress) -> None:
        """Raise ConfigError unless x are images."""
        if len(model.event_shape) != 3:
            raise ConfigError(
                f"StructuralSimilarity is for images (C, H, W); the data have {model.event_shape}"
            )


class FeatureDistance(Perceptual):
    """KL and half the squared distance of a network's features; no bound. In Python only: a file names no network.

    Args:
        features: Network from x (B, *event), in the data's units, to features (B, ...); it is not trained.
        weight: Weight of the distance.
        beta: Weight of the KL.
    """

    def __init__(self, features: nn.Module, weight: float = 1.0, beta: float = 1.0) -> None:
        super().__init__(weight, beta)
        self.features = features.requires_grad_(False)

    def train(self, mode: bool = True) -> FeatureDistance:
        """Set the mode; the features stay in that of evaluation."""
        super().train(mode)
        self.features.eval()
        return self

    def distance(self, x: Tensor, decoded: Tensor) -> Tensor:
        """Return half the squared distance of the features, (B,)."""
        return 0.5 * (self.features(x) - self.features(decoded)).flatten(1).square().sum(1)


def ms_ssim(x: Tensor, y: Tensor, window: int = 11, white: float = 1.0) -> Tensor:
    """Return the multi-scale structural similarity, (B,), of images (B, C, H, W), mean over the channels.

    Of five scales, each half the size of the one before, those count on which the window fits; the paper's exponents
    of these are scaled to add up to 1.

    Args:
        x: Images.
        y: Images to compare with.
        window: Width of the window, reduced to the largest odd number that fits.
        white: Value of white less that of black.
    """
    side = min(x.shape[-2:])
    window = min(window, side - 1 + side % 2)
    scales = next((n for n in range(5, 1, -1) if side >> (n - 1) >= window), 1)
    weights = torch.tensor(_WEIGHTS[:scales], dtype=x.dtype, device=x.device)
    weights = weights / weights.sum()
    at = torch.arange(window, dtype=x.dtype, device=x.device) - window // 2
    profile = (-at.square() / (2 * _SIGMA**2)).softmax(0)
    kernel = (profile.unsqueeze(0) * profile.unsqueeze(1)).expand(x.shape[1], 1, -1, -1)

    def local(image: Tensor) -> Tensor:
        return F.conv2d(image, kernel, groups=image.shape[1])

    total = torch.ones((), dtype=x.dtype, device=x.device)
    for scale, weight in enumerate(weights):
        mean_x, mean_y = local(x), local(y)
        variances = local(x * x) - mean_x**2 + local(y * y) - mean_y**2
        covariance = local(x * y) - mean_x * mean_y
        c1, c2 = (_K1 * white) ** 2, (_K2 * white) ** 2
        similar = (2 * covariance + c2) / (variances + c2)
        if scale == scales - 1:
            similar = similar * (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
        # A power of what is below 0 is none; and of exactly 0 it has no finite gradient.
        total = total * similar.mean((-2, -1)).clamp(min=1e-6) ** weight
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return total.mean(1)
