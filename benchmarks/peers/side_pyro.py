"""Pyro, as in its tutorial on the VAE: a model, a guide, SVI with Trace_ELBO, a DataLoader.

Reference:
    https://pyro.ai/examples/vae.html
"""

from __future__ import annotations

import time

import networks
import pyro
import pyro.distributions as dist
import torch
from loading import grey, trained
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
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


def inference(vae: VAE, learning_rate: float = LEARNING_RATE) -> SVI:
    """Return what takes the steps."""
    pyro.clear_param_store()
    return SVI(vae.model, vae.guide, Adam({"lr": learning_rate}), loss=Trace_ELBO())


def epoch(svi: SVI, loader: DataLoader) -> float:
    """Train for one pass over the loader; return the mean loss, nats per image."""
    total, images = 0.0, 0
    for (x,) in loader:
        total += svi.step(x)
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
        svi = inference(self.vae)
        data = TensorDataset(self.x[:images])
        loader = DataLoader(data, batch_size=self.batch, shuffle=True, num_workers=self.workers)
        started = time.perf_counter()
        loss = epoch(svi, loader)
        return trained(images, time.perf_counter() - started, loss)
