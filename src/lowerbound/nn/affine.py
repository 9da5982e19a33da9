"""A fully connected network beside an affine map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from .layers import OUTPUT_GAIN, initialise
from .mlp import MLP
from .network import features


class AffineMLP(MLP):
    r"""Affine map plus a fully connected network, :math:`y = A x + b + f(x)`.

    A VAE of two of them with a Gaussian likelihood is, where f = 0, the factor analysis with the decoder's A as its
    loadings; what f learns is the rest.

    Args:
        in_shape: Shape of one input.
        out_shape: Shape of one output.
        hidden: Widths of the hidden layers; may be empty.
        activation: As of ``MLP``.
        dropout: Probability of dropping a feature after each hidden layer, in training.
        context: Size of the context vector, 0 for none.

    Example:
        >>> import torch
        >>> AffineMLP((13,), (2, 3), hidden=(16,))(torch.zeros(5, 13)).shape
        torch.Size([5, 2, 3])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "silu",
        dropout: float = 0.0,
        context: int = 0,
    ):
        super().__init__(
            in_shape, out_shape, hidden=hidden, activation=activation, dropout=dropout, context=context
        )
        straight = nn.Linear(features(self.in_shape), features(self.out_shape), bias=False)
        self.straight = initialise(straight, OUTPUT_GAIN)

    def _flat(self, x: Tensor, context: Tensor | None) -> Any:
        return super()._flat(x, context) + self.straight(x.flatten(1))
