"""pythae through its own trainer, with its data set, and encoder and decoder of the networks of the comparison.

Reference:
    Pythae: unifying generative autoencoders in Python (Chadebec, Vincent and Allassonnière, 2022),
    https://arxiv.org/abs/2206.08309
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

import networks
import numpy as np
import torch
from loading import grey, trained
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import Tensor, nn

LEARNING_RATE = 1e-3


class Encoder(BaseEncoder):
    """An encoder of the comparison as pythae wants it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> ModelOutput:
        """Return means and log-variances."""
        mean, log_scale = self.network(x)
        return ModelOutput(embedding=mean, log_covariance=2 * log_scale)


class Decoder(BaseDecoder):
    """A decoder of the comparison; pythae wants probabilities."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> ModelOutput:
        """Return probabilities."""
        return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))


def vae(encoder: nn.Module, decoder: nn.Module, shape: tuple[int, ...], latent: int = networks.LATENT) -> VAE:
    """Return pythae's VAE with the Bernoulli likelihood."""
    config = VAEConfig(input_dim=tuple(shape), latent_dim=latent, reconstruction_loss="bce")
    return VAE(config, encoder=Encoder(encoder), decoder=Decoder(decoder))


class Steps(TrainingCallback):
    """Wall-clock time from before an epoch's first batch is loaded to after its last step, and the mean loss."""

    seconds = 0.0
    loss = float("nan")

    def on_train_step_begin(self, training_config: BaseTrainerConfig, **_: Any) -> None:
        """Start: pythae calls this once an epoch."""
        self._started = time.perf_counter()

    def on_train_step_end(self, training_config: BaseTrainerConfig, **_: Any) -> None:
        """Note the time: pythae calls this after each step."""
        self.seconds = time.perf_counter() - self._started

    def on_log(self, training_config: BaseTrainerConfig, logs: dict[str, float], **_: Any) -> None:
        """Note the epoch's loss."""
        self.loss = logs["train_epoch_loss"]


class Training:
    """Timed passes over images; arguments as in ``side_plain.Training``."""

    def __init__(self, images: str, network: str, batch: int, workers: int = 0) -> None:
        self.x = grey(images)
        self.batch, self.workers = batch, workers
        shape = tuple(self.x.shape[1:])
        self.model = vae(*networks.build(network, shape), shape)

    def run(self, images: int) -> dict[str, float]:
        """Train on so many images; the seconds are those of the steps and of loading the data."""
        steps = Steps()
        with tempfile.TemporaryDirectory() as folder:
            config = BaseTrainerConfig(
                output_dir=folder,
                num_epochs=1,
                learning_rate=LEARNING_RATE,
                per_device_train_batch_size=self.batch,
                train_dataloader_num_workers=self.workers,
            )
            data = BaseDataset(self.x[:images], torch.zeros(images))
            BaseTrainer(self.model, data, training_config=config, callbacks=[steps]).train()
        return trained(images, steps.seconds, steps.loss)


class Likelihood:
    """log p(x) by pythae's ``get_nll``, which returns +log p(x); arguments as in ``side_ours.Likelihood``."""

    def __init__(self, x: str, network: str, weights: str) -> None:
        self.x = torch.from_numpy(np.load(x)).float()
        shape = tuple(self.x.shape[1:])
        encoder, decoder = networks.build(network, shape)
        networks.load_weights(encoder, decoder, weights)
        self.model = vae(encoder, decoder, shape).eval()

    def run(self, images: int, samples: int, seed: int, batch: int) -> dict[str, float]:
        """Evaluate so many images, decoding ``batch`` samples at once; it must divide ``samples``."""
        torch.manual_seed(seed)
        started = time.perf_counter()
        with torch.no_grad():
            log_p = float(self.model.get_nll(self.x[:images], n_samples=samples, batch_size=batch))
        seconds = time.perf_counter() - started
        return {"images": images, "samples": samples, "seconds": seconds, "log_p": log_p}
