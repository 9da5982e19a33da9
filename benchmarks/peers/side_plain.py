"""A training loop written by hand, as in PyTorch's VAE example: DataLoader, Adam, binary cross-entropy.

Reference:
    https://github.com/pytorch/examples/blob/main/vae/main.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import networks
import torch
import torch.nn.functional as F
from loading import Curve, bits, grey, trained
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

LEARNING_RATE = 1e-3


class VAE(nn.Module):
    """The example's model, with the networks of the comparison in place of its four layers."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return reconstructed probabilities, and means and log-variances of q(z | x)."""
        mu, log_scale = self.encoder(x)
        log_variance = 2 * log_scale
        z = mu + torch.exp(0.5 * log_variance) * torch.randn_like(mu)
        return torch.sigmoid(self.decoder(z)), mu, log_variance


def loss_of(probabilities: Tensor, x: Tensor, mu: Tensor, log_variance: Tensor) -> Tensor:
    """Return minus the evidence lower bound, summed over the batch, nats."""
    cross_entropy = F.binary_cross_entropy(probabilities, x, reduction="sum")
    return cross_entropy - 0.5 * torch.sum(1 + log_variance - mu.pow(2) - log_variance.exp())


def epoch(
    model: VAE,
    optimizer: torch.optim.Optimizer,
    loader: DataLoader,
    drawn: Callable[[Tensor], Tensor] | None = None,
) -> float:
    """Train for one pass over the loader; return the mean loss, nats per image.

    Args:
        model: The model.
        optimizer: What takes the steps.
        loader: Gives grey levels.
        drawn: Makes of them what the model sees.
    """
    model.train()
    total, images = 0.0, 0
    for (grey_levels,) in loader:
        x = grey_levels if drawn is None else drawn(grey_levels)
        optimizer.zero_grad()
        loss = loss_of(*_with_target(model, x))
        loss.backward()
        # The example's loss is the sum over the batch, on whose scale Adam's step does not depend.
        total += loss.item()
        images += len(x)
        optimizer.step()
    return total / images


def _with_target(model: VAE, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    probabilities, mu, log_variance = model(x)
    return probabilities, x, mu, log_variance


class Training:
    """Timed passes over images.

    Args:
        images: A .npy file of bytes (N, C, H, W).
        network: "mlp" or "conv".
        batch: Images in a step.
        workers: Processes that load the data; 0 for none.
    """

    def __init__(self, images: str, network: str, batch: int, workers: int = 0) -> None:
        self.x = grey(images)
        self.batch, self.workers = batch, workers
        self.model = VAE(*networks.build(network, self.x.shape[1:]))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE)

    def run(self, images: int) -> dict[str, float]:
        """Train on so many images; the seconds are those of the steps and of loading the data."""
        data = TensorDataset(self.x[:images])
        loader = DataLoader(data, batch_size=self.batch, shuffle=True, num_workers=self.workers)
        started = time.perf_counter()
        loss = epoch(self.model, self.optimizer, loader)
        return trained(images, time.perf_counter() - started, loss)


class Quality:
    """Training until a bound is reached, on images that are binarised anew in each epoch.

    Args:
        train: A .npy file of bytes (N, C, H, W).
        valid: A .npy file of zeros and ones (M, C, H, W).
    """

    def __init__(self, train: str, valid: str) -> None:
        self.x, self.valid = grey(train), bits(valid)

    def run(self, seed: int, recipe: dict[str, Any], target: float | None = None) -> list[list[float]]:
        """Return (seconds, bound) after every epoch.

        Args:
            seed: Of the weights and draws.
            recipe: latent, batch, epochs, learning_rate, weight_decay.
            target: Bound to stop at, nats.
        """
        torch.manual_seed(seed)
        curve = Curve(target)
        encoder, decoder = networks.build("mlp", self.x.shape[1:], recipe["latent"])
        model = VAE(encoder, decoder)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=recipe["learning_rate"], weight_decay=recipe["weight_decay"]
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe["epochs"])
        loader = DataLoader(TensorDataset(self.x), batch_size=recipe["batch"], shuffle=True)
        for _ in range(recipe["epochs"]):
            epoch(model, optimizer, loader, torch.bernoulli)
            schedule.step()
            curve.pause()
            model.eval()
            if curve.note(networks.bound(encoder, networks.bernoulli(decoder), self.valid)):
                break
        return curve.points
