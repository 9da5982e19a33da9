"""lowerbound, through ``lb.fit``, with the same networks as the peers."""

from __future__ import annotations

import resource
import signal
import time
from typing import Any

import networks
import numpy as np
import torch
from loading import bits, trained

import lowerbound as lb
from lowerbound import defaults


def model_for(data: lb.data.Data, network: str, latent: int = networks.LATENT) -> lb.VAE:
    """Return the model with the networks of the comparison."""
    options = {"mlp": {"hidden": list(networks.HIDDEN)}, "conv": {"channels": list(networks.CHANNELS)}}
    given = {"type": network, **options[network]}
    return lb.VAE.for_data(data, latent=latent, network=given, prior="standard_normal")


class Training:
    """Timed passes over images, binarised anew within the time.

    Args:
        images: A .npy file of bytes (N, C, H, W).
        network: "mlp" or "conv".
        batch: Images in a step.
        precision: Of the networks, as in ``lb.fit``.
    """

    def __init__(self, images: str, network: str, batch: int, precision: str = "auto") -> None:
        pixels = np.load(images)
        # A few of the images are enough for the other splits, which are not timed.
        self.data = lb.data.load(pixels, binarize="dynamic", split=(0.998, 0.001, 0.001))
        self.batch, self.precision = batch, precision
        self.model = model_for(self.data, network)

    def run(self, images: int) -> dict[str, float]:
        """Train two epochs of so many images; the second one is timed, from after one evaluation to the next."""
        data = self.data
        part = lb.data.Data(data.train.take(images), data.valid, data.test, options=data.options)
        settings = {"batch_size": self.batch, "precision": self.precision}
        return second_epoch(self.model, part, objective="elbo", **settings)


def second_epoch(model: lb.VAE, data: lb.data.Data, **options: Any) -> dict[str, float]:
    """Train two epochs and return the seconds of the second one, its evaluation not included.

    Args:
        model: Trained in place.
        data: The data.
        **options: Of ``lb.fit``.
    """
    fitted = lb.fit(model, data, epochs=2, evaluations=2, **options)
    first = next(record["seconds"] for record in fitted.history if record["split"] == "valid")
    last = [record for record in fitted.history if record["split"] == "train"][-1]
    return trained(len(data.train), last["seconds"] - first, -last["bound"])


class Weights:
    """Trains a model, for others to read its weights.

    Args:
        images: A .npy file of bytes (N, C, H, W).
        network: "mlp" or "conv".
        epochs: Passes over them.
        seed: Of the run.
    """

    def __init__(self, images: str, network: str, epochs: float, seed: int = 0) -> None:
        data = lb.data.load(np.load(images), binarize="dynamic", split=(0.98, 0.01, 0.01))
        torch.manual_seed(seed)
        self.model = model_for(data, network)
        lb.fit(self.model, data, objective="elbo", epochs=epochs, evaluations=2, seed=seed)

    def save(self, path: str) -> None:
        """Write the weights."""
        networks.save_weights(self.model.encoder, self.model.decoder, path)


class Likelihood:
    """log p(x) by importance sampling with given weights.

    Args:
        x: A .npy file of zeros and ones (N, C, H, W).
        network: "mlp" or "conv".
        weights: A file of ``networks.save_weights``.
    """

    def __init__(self, x: str, network: str, weights: str) -> None:
        self.x = bits(x)
        self.model = model_for(lb.data.load(self.x, values="binary"), network)
        networks.load_weights(self.model.encoder, self.model.decoder, weights)

    def run(
        self, images: int, samples: int, seed: int, precision: str | None = None, of: int | None = None
    ) -> dict[str, float]:
        """Evaluate so many images; ``log_p`` is the mean over the first ``of`` of them, nats."""
        started = time.perf_counter()
        result = lb.evaluate.nll(
            self.model, self.x[:images], samples, seed=seed, precision=precision, progress=False
        )
        seconds = time.perf_counter() - started
        log_p = result.per_example[:of].mean().item()
        return {"images": images, "samples": samples, "seconds": seconds, "log_p": log_p}

    def peak(self) -> float:
        """Return the largest resident memory of this process so far, MiB."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Quality:
    """Training until a bound is reached, as ``lb.fit`` or ``lowerbound train mnist`` does it.

    Args:
        valid: A .npy file of zeros and ones (M, C, H, W).
        root: Folder that holds MNIST/raw.
        source: Other data than MNIST.
    """

    def __init__(self, valid: str, root: str | None, source: str = "mnist") -> None:
        self.data, self.valid = lb.data.load(source, root=root, binarize="dynamic"), bits(valid)

    def run(
        self, seed: int, recipe: dict[str, Any] | None = None, target: float | None = None
    ) -> list[list[float]]:
        """Return (seconds, bound) after every epoch.

        Args:
            seed: Of the run.
            recipe: Settings that are not the default ones; with "command", the others are the command's choice.
            target: Bound to stop at, nats: one evaluation later.
        """
        started = time.perf_counter()
        data = lb.data.Data(self.data.train, self.data.valid, self.data.test, options=self.data.options)
        torch.manual_seed(seed)
        model = lb.VAE.for_data(data)
        given = {"evaluations": 1000} | (recipe or {})  # an evaluation at every epoch's end
        objective = None
        if given.pop("command", False):
            objective, usual = defaults.recipe(data.spec, model)
            given = usual | given
        bounds, pauses = [], []

        def note(model: lb.VAE, record: dict[str, Any]) -> None:
            at = time.perf_counter()
            if target is not None and any(bound >= target for bound in bounds):
                signal.raise_signal(signal.SIGINT)  # the run ends as by Ctrl-C, with its records
            bounds.append(lb.evaluate.bound(model, self.valid, samples=1, precision="fp32").elbo)
            pauses.append(time.perf_counter() - at)

        fitted = lb.fit(model, data, objective=objective, seed=seed, callback=note, **given)
        before = time.perf_counter() - started - fitted.seconds
        seconds = {
            split: [record["seconds"] for record in fitted.history if record["split"] == split]
            for split in ("train", "valid")
        }
        points, paused = [], 0.0
        for train, valid, bound, pause in zip(
            seconds["train"], seconds["valid"], bounds, pauses, strict=True
        ):
            points.append([before + train - paused, bound])
            paused += valid - train + pause  # its own evaluation, and this one
        return points


class Products:
    """The rate of matrix products on this machine, which no network can beat.

    Args:
        dtype: "bfloat16" or "float32".
        shape: Sizes (n, k, m) of a product of (n, k) with (k, m).
    """

    def __init__(self, dtype: str, shape: list[int]) -> None:
        n, k, m = shape
        self.flops = 2 * n * k * m
        kind = getattr(torch, dtype)
        self.a, self.b = torch.randn(n, k).to(kind), torch.randn(k, m).to(kind)

    def run(self, seconds: float = 0.5) -> dict[str, float]:
        """Multiply for so long; the rate is that of all products."""
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds or count < 2:
            torch.matmul(self.a, self.b)
            count += 1
        return {"flops_per_second": self.flops * count / (time.perf_counter() - started)}
