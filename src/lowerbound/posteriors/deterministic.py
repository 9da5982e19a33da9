r"""A code that is certain: the autoencoder, and what is built on it.

.. math:: z = \mu(x)

There is no density, hence no bound and no log p(x); evaluation says so, and validation reports log p(x | z) in the
bound's place. Under the objective ``elbo`` the finite part of the divergence, −log p(z), stands for it, weighed by
β: with β = 0 it is the autoencoder, and with N(0, I) and a small β the regularised one with ½ β |z|². A prior that
is learned wants the codes in one place; give it a fixed one.

References:
    From variational to deterministic autoencoders (Ghosh et al., 2020), https://arxiv.org/abs/1903.12436
    Wasserstein auto-encoders (Tolstikhin et al., 2018), https://arxiv.org/abs/1711.01558
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.distributions import Distribution

from ..distributions import Point
from ..shapes import event_shape_of, full_precision
from .base import Posterior


class Deterministic(Posterior):
    """One code for each x.

    Args:
        event_shape: Shape of one latent code; an integer L stands for (L,).
    """

    has_density = False

    def __init__(self, event_shape: int | Sequence[int]) -> None:
        super().__init__(event_shape, event_shape_of(event_shape))

    def forward(self, h: Tensor) -> Distribution:
        """Return the code (B, *event) as a distribution of batch (B,)."""
        return Point(full_precision(h), len(self.event_shape), discrete=False)
