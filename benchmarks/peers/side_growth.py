"""lowerbound's epochs and evaluations at sizes that grow."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from side_ours import second_epoch

import lowerbound as lb


class Training:
    """Timed epochs.

    Args:
        source: A file of examples.
        how: "memory" for an array in memory, "mapped" for a memory-mapped .npy, "streamed" for blocks from the disk.
        cap: Bytes of blocks that are kept of what is streamed.
        load: Further options of ``lb.data.load``.
        latent: Number of latent dimensions.
        network: Options of both networks.
        samples: Importance samples of the bound that is trained; 1 for the evidence lower bound.
    """

    def __init__(
        self,
        source: str,
        how: str = "memory",
        cap: int | None = None,
        load: dict[str, Any] | None = None,
        latent: int = 8,
        network: dict[str, Any] | None = None,
        samples: int = 1,
    ) -> None:
        options = dict(load or {})
        if not Path(source).is_dir():  # which brings its own
            options["split"] = (0.9, 0.05, 0.05)
        if how == "streamed":
            options |= {"stream": True, "memory": cap}
        elif how == "mapped":
            options |= {"stream": False}
        self.data = lb.data.load(np.load(source) if how == "memory" else source, **options)
        torch.manual_seed(0)
        self.model = lb.VAE.for_data(self.data, latent=latent, **({"network": network} if network else {}))
        weighted = {"type": "importance_weighted", "samples": samples}
        self.objective = weighted if samples > 1 else {"type": "elbo"}

    def run(self) -> dict[str, float]:
        """Return the seconds of an epoch, without evaluation."""
        return second_epoch(self.model, self.data, objective=self.objective, validation_samples=1)


class Evaluation:
    """Timed estimates of log p(x).

    Args:
        source: A .npy file of bytes (N, C, H, W), binarised.
        examples: How many of them.
        samples: Importance samples.
    """

    def __init__(self, source: str, examples: int, samples: int) -> None:
        data = lb.data.load(np.load(source), binarize="threshold")
        torch.manual_seed(0)
        self.model, self.split = lb.VAE.for_data(data, latent=8), data.train.take(examples)
        self.samples = samples

    def run(self) -> dict[str, float]:
        """Return the seconds of one estimate for all examples."""
        started = time.perf_counter()
        lb.evaluate.nll(self.model, self.split, self.samples, progress=False)
        return {"images": len(self.split), "seconds": time.perf_counter() - started}
