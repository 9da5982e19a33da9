r"""Bernoulli from logits, with a log-density of one fused expression.

.. math:: \log p(x \mid l) = x l - \log(1 + e^l), \qquad x \in \{0, 1\}
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Bernoulli


class BernoulliLogits(Bernoulli):
    """torch's Bernoulli with logits; half the time per log-density and its gradient.

    torch goes through ``binary_cross_entropy_with_logits``, which passes over arrays of the size of the image
    about ten times, forward and backward; this takes five. With several draws per image these passes cost as
    much as the decoder's matrix products.

    Args:
        logits: Log-odds of 1, any shape.
    """

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits=logits, validate_args=False)

    def expand(self, batch_shape, _instance=None) -> BernoulliLogits:
        """Return the same probabilities with the logits broadcast to ``batch_shape``."""
        return BernoulliLogits(self.logits.expand(batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(value), elementwise, in nats."""
        return cast(Tensor, _LogProb.apply(self.logits, value.to(self.logits.dtype)))


class _LogProb(torch.autograd.Function):
    """x l − log(1 + e^l), whose derivative in l is x − sigmoid(l)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(logits, value)
        # log σ(l) + (x − 1) l: with β = −1 softplus is log σ, and no pass is needed for a sign.
        return torch.addcmul(F.softplus(logits, beta=-1), value - 1, logits)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:  # pyright: ignore
        logits, value = ctx.saved_tensors
        slope = torch.sub(value, torch.sigmoid(logits)).mul_(gradient) if ctx.needs_input_grad[0] else None
        other = (logits * gradient).sum_to_size(value.shape) if ctx.needs_input_grad[1] else None
        return slope if slope is None else slope.sum_to_size(logits.shape), other
