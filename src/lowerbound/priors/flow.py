r"""A prior learned with the rest: a normalising flow of affine couplings.

.. math:: z = f^{-1}(\epsilon), \quad \epsilon \sim \mathcal{N}(0, I), \qquad
    \log p(z \mid c) = \log \mathcal{N}(f(z); 0, I) + \sum_i \log |\det \partial f_i|

Each of the couplings turns its input by a fixed rotation and then moves and scales one half of it by a network of the
other half and of the context. All begin as rotations or nearly so, and p(z) as N(0, I).

With N(0, I) in its place the aggregate of q(z | x) over the data leaves holes where no example lies, and draws from
there look like none. What it costs is small beside encoder and decoder.

References:
    Density estimation using Real NVP (Dinh, Sohl-Dickstein and Bengio, 2017), https://arxiv.org/abs/1605.08803
    Variational lossy autoencoder (Chen et al., 2017), a flow as prior, https://arxiv.org/abs/1611.02731
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from ..errors import ConfigError
from ..nn import MLP
from ..shapes import numel
from .base import Encode, Prior

_STEEPEST = 2.0  # logarithm of the largest scale of one coupling
_START = 0.01  # of the usual weights: nearly nothing moves at first, but gradients reach all layers


class Flow(Prior):
    """Affine couplings over N(0, I), conditional if there is a context.

    Args:
        event_shape: Shape of one latent code; an integer L stands for (L,), at least 2 numbers.
        context: Size of the context vector.
        couplings: Number of couplings.
        hidden: Widths of the hidden layers of each one's network.

    Raises:
        ConfigError: there are fewer than 2 numbers, or no coupling.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        context: int = 0,
        couplings: int = 8,
        hidden: Sequence[int] = (128, 128),
    ) -> None:
        super().__init__(event_shape, context)
        size = numel(self.event_shape)
        if size < 2 or couplings < 1:
            raise ConfigError(
                f"the prior 'flow' needs a latent of at least 2 numbers and a coupling; got {size} and {couplings}"
            )
        self.couplings = couplings
        self.steps = nn.ModuleList(_Coupling(size, hidden, context) for _ in range(couplings))
        self.hidden = self.steps[0].network.hidden  # type: ignore[union-attr]

    def forward(self, context: Tensor | None = None, encode: Encode | None = None) -> Distribution:
        """Return p(z | c): batch (B,) with a context (B, E), else ()."""
        return FlowDistribution(list(self.steps), self.event_shape, context if self.context else None)  # pyright: ignore


class _Coupling(nn.Module):
    """One rotation and one affine map of the second half of the numbers by the first."""

    rotation: Tensor

    def __init__(self, size: int, hidden: Sequence[int], context: int) -> None:
        super().__init__()
        self.kept = size // 2
        moved = size - self.kept
        self.network = MLP((self.kept + context,), (2, moved), hidden=tuple(hidden))
        with torch.no_grad():
            self.network.output.weight.mul_(_START)
        self.register_buffer("rotation", torch.linalg.qr(torch.randn(size, size))[0])

    def numbers(self, kept: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return shift and log-scale of the moved half."""
        if context is not None:
            lead = torch.broadcast_shapes(kept.shape[:-1], context.shape[:-1])
            kept = torch.cat([kept.expand(*lead, -1), context.expand(*lead, -1)], -1)
        h = self.network(kept.reshape(-1, kept.shape[-1])).reshape(*kept.shape[:-1], 2, -1)
        shift, raw = h.unbind(-2)
        return shift, _STEEPEST * torch.tanh(raw / _STEEPEST)

    def forward(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the numbers nearer to N(0, I), and log |det| (...)."""
        kept, moved = (z @ self.rotation).tensor_split([self.kept], -1)
        shift, log_scale = self.numbers(kept, context)
        moved = (moved + shift) * log_scale.exp()
        return torch.cat([kept.expand(*moved.shape[:-1], -1), moved], -1), log_scale.sum(-1)

    def inverse(self, u: Tensor, context: Tensor | None) -> Tensor:
        """Return the numbers of which ``forward`` makes these."""
        kept, moved = u.tensor_split([self.kept], -1)
        shift, log_scale = self.numbers(kept, context)
        moved = moved * (-log_scale).exp() - shift
        return torch.cat([kept.expand(*moved.shape[:-1], -1), moved], -1) @ self.rotation.T


class FlowDistribution(Distribution):
    """The law of a flow's codes; it has no mean in closed form.

    Args:
        steps: The couplings, from the codes to N(0, I).
        event_shape: Shape of a code.
        context: The embedded condition (B, E), or None.
    """

    arg_constraints = {}  # noqa: RUF012  # pyright: ignore[reportAssignmentType]
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType]
    has_rsample = True

    def __init__(
        self, steps: Sequence[_Coupling], event_shape: tuple[int, ...], context: Tensor | None
    ) -> None:
        self.steps, self.context = steps, context
        batch = torch.Size() if context is None else context.shape[:-1]
        super().__init__(batch, torch.Size(event_shape), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density in nats."""
        u = value.flatten(value.ndim - len(self.event_shape))
        log_det = torch.zeros((), dtype=u.dtype, device=u.device)
        for step in self.steps:
            u, more = step(u, self.context)
            log_det = log_det + more
        return -0.5 * u.square().sum(-1) - 0.5 * u.shape[-1] * math.log(2 * math.pi) + log_det

    def rsample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        """Draw codes."""
        return self.tempered(sample_shape, 1.0)

    def tempered(self, sample_shape: torch.Size | Sequence[int], temperature: float) -> Tensor:
        """Draw codes, those of N(0, I) with their distance from 0 multiplied by ``temperature``."""
        like = self.steps[0].rotation
        lead = (*sample_shape, *self.batch_shape)
        z = temperature * torch.randn(*lead, len(like), dtype=like.dtype, device=like.device)
        for step in reversed(self.steps):
            z = step.inverse(z, self.context)
        return z.reshape(*lead, *self.event_shape)
