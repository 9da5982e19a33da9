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


class Curve:
    """The validation bound over the seconds of training; the time of the evaluations does not count.

    The clock starts when it is made.

    Args:
        target: Bound in nats at which training may end.
    """

    def __init__(self, target: float | None) -> None:
        self.target = target
        self.points: list[list[float]] = []
        self._started, self._paused, self._at = time.perf_counter(), 0.0, 0.0

    def pause(self) -> None:
        """Stop the clock."""
        self._at = time.perf_counter()

    def note(self, bound: float) -> bool:
        """Add a bound at the time of ``pause``, start the clock again, and return whether the target is reached."""
        self.points.append([self._at - self._started - self._paused, bound])
        self._paused += time.perf_counter() - self._at
        return self.target is not None and bound >= self.target


def bits(path: str) -> Tensor:
    """Return stored zeros and ones (N, C, H, W) as floating-point numbers."""
    return torch.from_numpy(np.load(path)).float()
