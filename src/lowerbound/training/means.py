"""Means over examples, summed up on the device without waiting for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Means:
    """Running means of named numbers, each over the examples that have one.

    Args:
        device: Where the numbers come from.
    """

    def __init__(self, device: torch.device) -> None:
        # Sums of many float32 are not; but Apple's GPU has no other type.
        self._zero = torch.zeros(
            (), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device
        )
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor], count: int) -> None:
        """Add means over ``count`` examples."""
        for name, value in values.items():
            self._open(name)
            if count:
                self.sums[name].add_(value.detach(), alpha=count)
                self.counts[name] += count

    def add_each(self, values: Mapping[str, Tensor], counted: bool = True) -> None:
        """Add a value of each example that has one, (n,) by name; if not counted, only note the names."""
        for name, value in values.items():
            self._open(name)
            if counted and len(value):
                self.sums[name].add_(value.sum())
                self.counts[name] += len(value)

    def _open(self, name: str) -> None:
        if name not in self.sums:
            self.sums[name], self.counts[name] = self._zero.clone(), 0

    def running(self, name: str) -> Callable[[], float | None]:
        """Return what computes this process's mean of a number, None before there is one; it waits for the device."""
        return lambda: self.sums[name].item() / self.counts[name] if self.counts.get(name) else None

    def over(self, fabric: Fabric) -> dict[str, float]:
        """Return the means over all processes' examples, with the evidence lower bound that they imply.

        What no example has is left out.
        """
        names = sorted(self.sums)
        if not names:
            return {}
        counts = torch.tensor([float(self.counts[name]) for name in names], dtype=self._zero.dtype)
        totals = torch.stack([torch.stack([self.sums[name] for name in names]), counts.to(self._zero.device)])
        if fabric.world_size > 1:
            totals = fabric.all_reduce(totals, reduce_op="sum")
        means = {n: t / c for n, t, c in zip(names, *totals.tolist(), strict=True) if c}  # pyright: ignore
        if "reconstruction" in means and "kl" in means:
            means["elbo"] = means["reconstruction"] - means["kl"]
        return means

    def state(self) -> dict[str, Any]:
        """Return what ``load`` takes, for JSON."""
        return {"sums": {k: v.item() for k, v in self.sums.items()}, "counts": dict(self.counts)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``."""
        for name, total in state.get("sums", {}).items():
            self._open(name)
            self.sums[name].fill_(total)
            # Of checkpoints from before there was a count for each name, all examples had all of them.
            self.counts[name] = int(state["counts"][name] if "counts" in state else state["examples"])
