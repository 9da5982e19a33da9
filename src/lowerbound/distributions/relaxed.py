r"""One of K, drawn so that a gradient reaches its probabilities.

.. math:: y = \operatorname{softmax}\left(\frac{\log p + g}{\tau}\right), \qquad
    z = \operatorname{argmax} (\log p + g), \quad g_k = -\log(-\log u_k)

z has the probabilities p whatever τ is; y nears it for small τ, and lends it its gradient.

References:
    Categorical reparameterization with Gumbel-softmax (Jang, Gu and Poole, 2017), https://arxiv.org/abs/1611.01144
    The concrete distribution (Maddison, Mnih and Teh, 2017), https://arxiv.org/abs/1611.00712
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from .one_hot import OneHot
from .point import through


def with_gumbel_noise(log_p: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """Return log-probabilities (..., K), up to a constant, with noise, of a shape that they broadcast to.

    The largest of them is a draw of the K values.
    """
    noise = torch.empty(shape, dtype=log_p.dtype, device=log_p.device).exponential_()
    return log_p - noise.clamp_(min=torch.finfo(log_p.dtype).tiny).log_()


class GumbelOneHot(OneHot):
    """One-hot vectors with a draw for gradients; densities and draws without are those of ``OneHot``.

    Args:
        logits: Log-probabilities of the K values, (*batch, K); normalised here.
        temperature: τ > 0.
        hard: Give z, whose gradient is that of y; else y itself, of which the log-probability has no meaning.
    """

    has_rsample = True

    def __init__(self, logits: Tensor, temperature: float, hard: bool = True) -> None:
        super().__init__(logits)
        self.temperature, self.hard = temperature, hard

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample, *batch, K)."""
        shape = self._extended_shape(torch.Size(sample_shape))
        scores = with_gumbel_noise(self.log_probs, shape)
        soft = (scores / self.temperature).softmax(-1)
        if not self.hard:
            return soft
        return through(one_hot(scores.detach().argmax(-1), shape[-1]).to(soft), soft)
