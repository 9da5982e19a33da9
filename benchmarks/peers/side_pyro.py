"""Pyro, as in its tutorial on the VAE: a model, a guide, SVI with Trace_ELBO, a DataLoader.

Reference:
    https://pyro.ai/examples/vae.html
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import networks
import pyro
import pyro.distributions as dist
import torch
from loading import Curve, bits, grey, trained
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam, CosineAnnealingLR
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

LEARNING_RATE = 1e-3


class VAE(nn.Module):
    """The tutorial's model and guide, with the networks of the comparison.

    Args:
        encoder: Network to means and log-scales.
        decoder: Network to logits.
        latent: Number of latent dimensions.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, latent: int = networks.LATENT) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.latent = latent

    def model(self, x: Tensor) -> None:
        """p(x | z) p(z)."""
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            shape = x.shape[0], self.latent
            z = pyro.sample("latent", dist.Normal(x.new_zeros(shape), x.new_ones(shape)).to_event(1))
            probabilities = torch.sigmoid(self.decoder(z)).flatten(1)
            # Grey levels lie outside the Bernoulli's support, so the tutorial leaves the check out.
            pyro.sample(
                "obs", dist.Bernoulli(probabilities, validate_args=False).to_event(1), obs=x.flatten(1)
            )

    def guide(self, x: Tensor) -> None:
        """q(z | x)."""
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            mean, log_scale = self.encoder(x)
            pyro.sample("latent", dist.Normal(mean, log_scale.exp()).to_event(1))


def epoch(svi: SVI, loader: DataLoader, drawn: Callable[[Tensor], Tensor] | None = None) -> float:
    """Train for one pass over the loader; return the mean loss, nats per image; ``drawn`` as in ``side_plain``."""
    total, images = 0.0, 0
    for (x,) in loader:
        total += svi.step(x if drawn is None else drawn(x))
        images += len(x)
    return total / images


class Training:
    """Timed passes over images; arguments as in ``side_plain.Training``."""

    def __init__(self, images: str, network: str, batch: int, workers: int = 0) -> None:
        self.x = grey(images)
        self.batch, self.workers = batch, workers
        self.vae = VAE(*networks.build(network, self.x.shape[1:]))

    def run(self, images: int) -> dict[str, float]:
        """Train on so many images; the seconds are those of the steps and of loading the data."""
        pyro.clear_param_store()
        svi = SVI(self.vae.model, self.vae.guide, Adam({"lr": LEARNING_RATE}), loss=Trace_ELBO())
        data = TensorDataset(self.x[:images])
        loader = DataLoader(data, batch_size=self.batch, shuffle=True, num_workers=self.workers)
        started = time.perf_counter()
        loss = epoch(svi, loader)
        return trained(images, time.perf_counter() - started, loss)


class Quality:
    """Training until a bound is reached; arguments as in ``side_plain.Quality``."""

    def __init__(self, train: str, valid: str) -> None:
        self.x, self.valid = grey(train), bits(valid)

    def run(self, seed: int, recipe: dict[str, Any], target: float | None = None) -> list[list[float]]:
        """Return (seconds, bound) after every epoch; arguments as in ``side_plain.Quality.run``."""
        pyro.set_rng_seed(seed)
        curve = Curve(target)
        encoder, decoder = networks.build("mlp", self.x.shape[1:], recipe["latent"])
        vae = VAE(encoder, decoder, recipe["latent"])
        optimizer = CosineAnnealingLR(
            {
                "optimizer": torch.optim.AdamW,
                "optim_args": {"lr": recipe["learning_rate"], "weight_decay": recipe["weight_decay"]},
                "T_max": recipe["epochs"],
            }
        )
        pyro.clear_param_store()
        svi = SVI(vae.model, vae.guide, optimizer, loss=Trace_ELBO())
        loader = DataLoader(TensorDataset(self.x), batch_size=recipe["batch"], shuffle=True)
        for _ in range(recipe["epochs"]):
            epoch(svi, loader, torch.bernoulli)
            optimizer.step()
            curve.pause()
            if curve.note(networks.bound(encoder, networks.bernoulli(decoder), self.valid)):
                break
        return curve.points
