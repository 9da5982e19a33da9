"""Draws from models, one call after another, and the forward pass of a plain torch network beside them."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import numpy as np
import torch
from torch import nn

import lowerbound as lb
from lowerbound import planning


def each(work: Callable[[], Any], seconds: float) -> dict[str, float]:
    """Return the mean seconds of one call, over calls for so long, and how many there were."""
    calls, started = 0, time.perf_counter()
    while calls < 3 or time.perf_counter() - started < seconds:
        work()
        calls += 1
    return {"seconds": (time.perf_counter() - started) / calls, "calls": calls}


class Saved:
    """A model of MNIST's shape with the default networks; untrained, which costs the same.

    Args:
        folder: Where it is written.
    """

    def __init__(self, folder: str) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (500, 28, 28), np.uint8)
        data = lb.data.load(pixels, binarize="dynamic")
        lb.save(lb.VAE.for_data(data, latent=40), folder)


class Images:
    """That model, loaded.

    Args:
        folder: Where it is.
    """

    def __init__(self, folder: str) -> None:
        started = time.perf_counter()
        self.model = lb.load(folder)
        self.loaded = time.perf_counter() - started
        started = time.perf_counter()
        self.model.sample(1)
        self.first = time.perf_counter() - started

    def begun(self) -> dict[str, float]:
        """Return the seconds to load the model and to draw the first sample in this process."""
        return {"load": self.loaded, "seconds": self.first}

    def run(self, n: int) -> dict[str, float]:
        """Draw n samples in one call."""
        started = time.perf_counter()
        self.model.sample(n)
        return {"seconds": time.perf_counter() - started}


class Small:
    """A decoder as small as a planner's: latent 3, two hidden layers of 512, a state of 7 joints.

    ``module`` is the decoder's network alone in plain torch, of the same weights, with the draw of z: nothing that
    samples with this network can be faster in torch.
    """

    def __init__(self, latent: int = 3, states: int = 7) -> None:
        data = lb.data.load(np.random.default_rng(0).normal(size=(500, states)).astype(np.float32))
        self.latent = latent
        self.model = lb.VAE.for_data(data, latent=latent, network={"hidden": list(networks.HIDDEN)})
        self.model.eval()
        widths = (latent, *networks.HIDDEN)
        layers: list[nn.Module] = []
        for below, above in itertools.pairwise(widths):
            layers += [nn.Linear(below, above), nn.SiLU()]
        self.module = nn.Sequential(*layers, nn.Linear(widths[-1], states)).eval()
        own, given = list(self.module.parameters()), list(self.model.decoder.parameters())
        networks.set_weights(self.module, nn.Identity(), given[: len(own)])

    @torch.inference_mode()
    def _plain(self, n: int) -> torch.Tensor:
        return self.module(torch.randn(n, self.latent))

    def run(self, what: str, n: int, seconds: float) -> dict[str, float]:
        """Time calls that give n states: "sample", "decode" or "module"."""
        z = torch.randn(n, self.latent)
        work = {
            "sample": lambda: self.model.sample(n),
            "decode": lambda: self.model.decode(z),
            "module": lambda: self._plain(n),
        }
        return each(work[what], seconds)


class Planner:
    """The learned sampler of the planner in the plane, with the latent of cells that is its default; untrained."""

    def __init__(self, problems: int = 20) -> None:
        family = planning.family("narrow")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "problems.npz"
            planning.make_data(family, problems, path, workers=1)
            meta = planning.read_meta(path)
            data = planning.load_data(path, target="bottleneck")
            model = planning.model_for(data, meta["lower"], meta["upper"])
        self.sampler = planning.Learned(model.eval())
        self.problem = next(iter(family.problems("test", 1)))

    def run(self, n: int, seconds: float) -> dict[str, float]:
        """Time draws of n states for one problem, the reading of its map included."""
        rng = np.random.default_rng(0)
        return each(lambda: self.sampler.draw(self.problem, n, rng), seconds)
