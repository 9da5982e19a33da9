"""A classifier, trained for what it finds on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, islice

import torch
from torch import Tensor, nn

BATCH = 128


def train_classifier(
    network: nn.Module,
    examples: Callable[[Tensor], tuple[Tensor, Tensor]],
    known: Tensor,
    steps: int,
    seed: int,
) -> None:
    """Let a network on the CPU learn classes by their cross-entropy, and leave it fixed, in evaluation mode.

    Args:
        network: From x (B, *event) to logits (B, classes).
        examples: Gives x and classes (B,) of the examples of some numbers (B,).
        known: Numbers of the examples to learn from, (N,).
        steps: Steps of ``BATCH`` examples.
        seed: Seed of their order.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for index in islice(_batches(known, seed), steps):
        x, classes = examples(index)
        loss = nn.functional.cross_entropy(network(x), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.requires_grad_(False).eval()


def _batches(known: Tensor, seed: int) -> Iterator[Tensor]:
    for epoch in count(seed):
        order = torch.randperm(len(known), generator=torch.Generator().manual_seed(epoch))
        yield from known[order].split(BATCH)
