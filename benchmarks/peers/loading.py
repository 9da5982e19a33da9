"""What the peers' sides share: images as their users have them, and a clock."""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from torch import Tensor


def grey(path: str) -> Tensor:
    """Return stored bytes (N, C, H, W) as grey levels in [0, 1], as torchvision's ``ToTensor`` gives them."""
    return torch.from_numpy(np.load(path)).float().div_(255)


def trained(images: int, seconds: float, loss: float) -> dict[str, float]:
    """Return what a timed run answers.

    Raises:
        ArithmeticError: the loss is not a number: what was timed was no training.
    """
    if not math.isfinite(loss):
        raise ArithmeticError(f"the loss is {loss}")
    return {"images": images, "seconds": seconds, "loss": loss}


class Clock:
    """Wall-clock time, less what is spent within ``pause``."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.paused = 0.0

    def __call__(self) -> float:
        return time.perf_counter() - self.started - self.paused

    def __enter__(self) -> None:
        self._at = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.paused += time.perf_counter() - self._at
