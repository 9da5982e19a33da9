r"""The interface of one entry of a condition.

An entry is embedded as a vector. Where its value is missing, a learned vector stands in its place, and with
``dropout`` values are hidden at random in training, so that one model serves p(x | c) and p(x):

.. math:: e(c) = f(c) \;\text{where c is known}, \qquad e(\varnothing) = e_0

To add a kind, write a class with the members below in a file of its own and name it by ``lowerbound.register``.

Reference:
    Learning structured output representation using deep conditional generative models (Sohn, Lee and Yan, 2015);
    hiding the condition: Classifier-free diffusion guidance (Ho and Salimans, 2022), https://arxiv.org/abs/2207.12598
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..nn.network import probability
from ..slots import Slot


class Condition(Slot, ABC):
    """Base of the kinds of entry.

    Args:
        value_shape: Shape of one value; () for a class number.
        size: Size E of the embedding.
        dropout: Probability of hiding a value in training.
        missing: Values may be missing; implied by ``dropout``.
    """

    starts: ClassVar[bool] = True  # whether ``start`` takes anything from the data
    null: nn.Parameter | None

    def __init__(self, value_shape: tuple[int, ...], size: int, dropout: float, missing: bool) -> None:
        super().__init__()
        self.value_shape = value_shape
        self.context = size
        self.dropout = probability("dropout", dropout)
        self.missing = missing
        self.null = nn.Parameter(0.1 * torch.randn(size)) if missing or dropout else None

    @abstractmethod
    def embed(self, value: Tensor) -> Tensor:
        """Return the embedding (B, E) of known values (B, *value_shape)."""

    @abstractmethod
    def known(self, value: Tensor) -> Tensor:
        """Return which values are known, (B,) bool."""

    @abstractmethod
    def absent(self, n: int) -> Tensor:
        """Return ``n`` missing values."""

    @abstractmethod
    def read(self, value: Any, name: str) -> Tensor:
        """Return what a user gave as values (B, *value_shape), B = 1 for a single one.

        Args:
            value: A number, a word, a list, an array or a tensor; None for a missing one.
            name: Of the entry, for messages.

        Raises:
            ConfigError: it cannot be read.
            ShapeError: it has another shape.
        """

    def start(self, u: Tensor, model: Any = None) -> None:
        """Take from the training values (N, *value_shape) of the entry what the embedding should know of them."""

    def forward(self, value: Tensor) -> Tensor:
        """Return the context (B, E) of values (B, *value_shape), some of which may be missing."""
        if self.null is None:
            return self.embed(value)
        known = self.known(value)
        if self.training and self.dropout:
            known = known & (torch.rand(len(value), device=value.device) >= self.dropout)
        return torch.where(known.unsqueeze(1), self.embed(value), self.null)

    def check(self, value: Tensor, name: str) -> None:
        """Raise unless the values (B, *value_shape) can be embedded.

        Raises:
            ConfigError: a value is missing and the model has not learned what that means.
        """
        if self.null is None and not bool(self.known(value).all()):
            raise ConfigError(
                f"the condition {name!r} is missing, but the model has only seen it known; give it, or train with "
                f"condition.{name}.dropout=0.1"
            )
