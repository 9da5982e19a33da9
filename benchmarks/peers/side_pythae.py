"""pythae through its own trainer, with its data set, and encoder and decoder of the networks of the comparison.

Reference:
    Pythae: unifying generative autoencoders in Python (Chadebec, Vincent and Allassonnière, 2022),
    https://arxiv.org/abs/2206.08309
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import networks
import torch
import torch.nn.functional as F
from loading import Curve, bits, grey, trained
from pythae.data.datasets import BaseDataset, DatasetOutput
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
        self.x = bits(x)
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


class Binarised(BaseDataset):
    """Grey images that are binarised anew whenever one is read."""

    def __getitem__(self, index: int) -> DatasetOutput:
        """Return one image and its label."""
        return DatasetOutput(data=torch.bernoulli(self.data[index]), labels=self.labels[index])


class Reached(Exception):
    """The target is reached: pythae's trainer has no other way to stop."""


class Bounds(TrainingCallback):
    """The validation bound after every epoch; pythae's own evaluation does not count either.

    Args:
        curve: Where it goes.
        x: The validation images.
    """

    def __init__(self, curve: Curve, x: Tensor) -> None:
        self.curve, self.x = curve, x

    def on_eval_step_begin(self, training_config: BaseTrainerConfig, **_: Any) -> None:
        """Stop the clock: the epoch's training is done."""
        self.curve.pause()

    def on_epoch_end(self, training_config: BaseTrainerConfig, model: VAE, **_: Any) -> None:
        """Add a point."""
        model.eval()
        if self.curve.note(networks.bound(_posterior(model), _log_likelihood(model), self.x)):
            raise Reached


def _posterior(model: VAE) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    def posterior(x: Tensor) -> tuple[Tensor, Tensor]:
        output = model.encoder(x)
        return output.embedding, 0.5 * output.log_covariance

    return posterior


def _log_likelihood(model: VAE) -> Callable[[Tensor, Tensor], Tensor]:
    def log_likelihood(x: Tensor, z: Tensor) -> Tensor:
        probabilities = model.decoder(z).reconstruction.reshape(x.shape)
        return -F.binary_cross_entropy(probabilities, x, reduction="none").flatten(1).sum(1)

    return log_likelihood


class Quality:
    """Training until a bound is reached; arguments as in ``side_plain.Quality``."""

    def __init__(self, train: str, valid: str) -> None:
        self.x, self.valid = grey(train), bits(valid)

    def run(self, seed: int, recipe: dict[str, Any], target: float | None = None) -> list[list[float]]:
        """Return (seconds, bound) after every epoch.

        Args:
            seed: Of the weights and draws.
            recipe: latent, epochs, own_network (pythae's default one), and ``trainer``, fields of its configuration.
            target: Bound to stop at, nats.
        """
        torch.manual_seed(seed)
        curve = Curve(target)
        shape, latent = tuple(self.x.shape[1:]), recipe["latent"]
        if recipe["own_network"]:
            model = VAE(VAEConfig(input_dim=shape, latent_dim=latent, reconstruction_loss="bce"))
        else:
            model = vae(*networks.build("mlp", shape, latent), shape, latent)
        train = Binarised(self.x, torch.zeros(len(self.x)))
        valid = BaseDataset(self.valid, torch.zeros(len(self.valid)))
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Reached):
            config = BaseTrainerConfig(
                output_dir=folder, num_epochs=recipe["epochs"], seed=seed, **recipe["trainer"]
            )
            BaseTrainer(model, train, valid, config, callbacks=[Bounds(curve, self.valid)]).train()
        return curve.points
