r"""Fully connected network.

.. math:: h_0 = x, \qquad h_i = \varphi(W_i h_{i-1} + b_i), \qquad y = W h_n + b
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal

from torch import Tensor, nn

from ..errors import ConfigError
from .layers import OUTPUT_GAIN, Injection, Residual, Stack, activation_name, hidden_layer, initialise
from .network import Network, features, probability, sizes


class MLP(Network):
    """Fully connected network on flattened inputs; without hidden layers it is one affine map.

    Args:
        in_shape: Shape of one input.
        out_shape: Shape of one output.
        hidden: Widths of the hidden layers; may be empty.
        activation: "relu", "silu", "gelu", "tanh", "elu" or "gated".
        residual: Add a hidden layer's input to its output where two hidden layers in a row have one width.
        norm: Put a LayerNorm before every activation; widths must be at least 2.
        dropout: Probability of dropping a feature after each hidden layer, in training.
        input_dropout: Probability of dropping a number of the input, in training.
        injection: How a context enters: "concatenate" to the input, or "film", scaling and shifting every hidden
            layer.
        context: Size of the context vector, 0 for none.

    Raises:
        ConfigError: If an option is unknown or has an impossible value.

    Example:
        >>> import torch
        >>> MLP((1, 28, 28), (2, 40))(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 2, 40])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (512, 512),
        activation: str = "silu",
        residual: bool = False,
        norm: bool = False,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        injection: Literal["concatenate", "film"] = "concatenate",
        context: int = 0,
    ):
        super().__init__(in_shape, out_shape, context)
        self.hidden = sizes("hidden", hidden, may_be_empty=True)
        self.activation = activation_name(activation)
        self.residual = residual
        self.norm = norm
        self.dropout = probability("dropout", dropout)
        self.input_dropout = probability("input_dropout", input_dropout)
        if injection not in ("concatenate", "film"):
            raise ConfigError(f"injection must be 'concatenate' or 'film'; got {injection!r}")
        self.injection = injection
        if norm and 1 in self.hidden:
            raise ConfigError(
                f"norm=True would set a hidden layer of width 1 to zero; got hidden={self.hidden}"
            )

        layers: list[nn.Module] = [nn.Flatten()]
        if self.input_dropout:
            layers.append(nn.Dropout(self.input_dropout))
        widths = (features(self.in_shape), *self.hidden)
        skips = [residual and i > 0 and widths[i] == widths[i + 1] for i in range(len(self.hidden))]
        for i, skip in enumerate(skips):
            layer = hidden_layer(
                partial(nn.Linear, widths[i]),
                widths[i + 1],
                self.activation,
                norm=nn.LayerNorm if norm else None,
                dropout=self.dropout,
                first=i == 0,
                # n skips of variance 1/n each keep the sum bounded at any depth
                scale=1 / math.sqrt(sum(skips)) if skip else 1.0,
                context=context if i == 0 or injection == "film" else 0,
                film=injection == "film",
            )
            layers += [Residual(*layer)] if skip else layer
        self.layers = Stack(*layers)
        self.output = initialise(nn.Linear(widths[-1], features(self.out_shape)), OUTPUT_GAIN)
        # The input of an affine network is the input of its output layer.
        wide = features(self.out_shape)
        self.affine = Injection(wide, context, film=False) if context and not self.hidden else None

    def _last(self, h: Tensor, context: Tensor | None) -> Tensor:
        y = self.output(h)
        return y if self.affine is None else self.affine(y, context)
