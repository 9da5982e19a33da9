"""Invertible maps between the units of the data and those a network likes, with their log-determinant."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import ConfigError


class Standardize(nn.Module):
    r"""Centre and scale each value, :math:`u = (x - \mu) / \sigma`.

    An entry that is constant to float32 precision keeps scale 1: any positive scale is a valid change of
    variables, and none can be learned from a constant.

    Args:
        mean: :math:`\mu`, of the event's shape.
        std: :math:`\sigma \ge 0`, of the same shape.

    Raises:
        ConfigError: The shapes differ, or an entry is negative or not finite.

    Example:
        >>> transform = Standardize(torch.tensor([1.0]), torch.tensor([2.0]))
        >>> transform(torch.tensor([[5.0]]))
        tensor([[2.]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor):
        super().__init__()
        if mean.shape != std.shape:
            raise ConfigError(
                f"mean has shape {tuple(mean.shape)} but std has {tuple(std.shape)}; give one of each"
            )
        if not (mean.isfinite().all() and std.isfinite().all() and (std >= 0).all()):
            raise ConfigError("mean and std must be finite and std not negative; check the data for NaN")
        constant = std <= torch.finfo(torch.float32).eps * mean.abs()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", torch.where(constant, 1.0, std))

    def forward(self, x: Tensor) -> Tensor:
        """X in units of the data to u, both (..., *event)."""
        return (x - self.mean) / self.std

    def inverse(self, u: Tensor) -> Tensor:
        """U to x, both (..., *event)."""
        return u * self.std + self.mean

    @property
    def log_slope(self) -> Tensor:
        r""":math:`\log |\partial u / \partial x| = -\log \sigma` of each value, of the event's shape, in nats."""
        return -self.std.log()

    @property
    def log_det(self) -> Tensor:
        r""":math:`\log |\det \partial u / \partial x| = -\sum \log \sigma` per example, a scalar in nats."""
        return self.log_slope.sum()
