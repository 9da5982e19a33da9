r"""A posterior of several levels, of which each below the first changes what the prior says there.

.. math:: q(z_l \mid z_{<l}, x) = \mathcal{N}\left(\mu_p + \sigma_p \, \Delta\mu,\;
    \operatorname{diag} (\sigma_p \, \Delta\sigma)^2\right)

with p(z_l | z_<l) = N(μ_p, diag σ_p²) and the changes a network of x and of the levels above. A model made for data
begins without a change, q = p, and a level costs nothing that it does not bring. Merged by precision, x votes for a
Gaussian of its own instead, and q is the product of the two.

References:
    NVAE (Vahdat and Kautz, 2020), residual normal distributions, section 3.2, https://arxiv.org/abs/2007.03898
    Ladder variational autoencoders (Sønderby et al., 2016), precisions, eq. 13, https://arxiv.org/abs/1602.02282
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..distributions import bounded_exp, diagonal_gaussian, factorised_gaussian
from ..errors import ConfigError
from ..nn import MLP
from ..nn.network import size
from ..nn.network import sizes as widths
from ..shapes import full_precision
from ..slots import levels_of
from .base import Posterior


class Ladder(Posterior):
    """Factorised Gaussians, level by level.

    Args:
        event_shape: (L,), the numbers of all levels.
        sizes: Number of levels of one size, or the size of each, as the prior's.
        hidden: Widths of the prior's hidden layers; the last one is that of the network of the changes too.
        features: Numbers that the encoder gives for the levels below the first.
        merge: How x and the prior meet: "residual" or "precision".

    Raises:
        ConfigError: an option has an impossible value.
    """

    partners: ClassVar = {"prior": "ladder"}
    agree: ClassVar = ("sizes", "hidden")

    def __init__(
        self,
        event_shape: int | Sequence[int],
        sizes: int | Sequence[int] = 2,
        hidden: Sequence[int] = (256, 256),
        features: int = 256,
        merge: Literal["residual", "precision"] = "residual",
    ) -> None:
        levels = levels_of(event_shape, sizes)
        numbers = [shape[0] for shape, _ in levels]
        super().__init__(event_shape, (2 * numbers[0] + size("features", features),), levels)
        self.sizes, self.features, self.merge = sizes, features, merge
        self.hidden = widths("hidden", hidden, may_be_empty=True)
        if merge not in ("residual", "precision"):
            raise ConfigError(f"merge must be 'residual' or 'precision'; got {merge!r}")
        last, residual = self.hidden[-1:], merge == "residual"
        self.networks = nn.ModuleList(
            MLP(
                (last or (sum(numbers[: n + 1]),)) if residual else (features,),
                (2, numbers[n + 1]),
                hidden=last,
                context=features if residual else 0,
            )
            for n in range(len(numbers) - 1)
        )

    def start(self, u: Tensor, model: Any) -> None:
        """Begin with no change."""
        for network in self.networks if self.merge == "residual" else ():
            nn.init.zeros_(network.output.weight)  # pyright: ignore
            if network.affine is not None:
                nn.init.zeros_(network.affine.map.weight)  # pyright: ignore

    def read(self, h: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return means and log-scales of the first level, (B, 2, n), and what the others read, (B, F)."""
        h = full_precision(h)
        first = h[..., : -self.features]
        return first.unflatten(-1, (2, -1)), h[..., -self.features :]

    def level(self, number: int, evidence: Any, state: Any, p: Any) -> Distribution:
        """Return q(z_l | z_<l, x, c): batch (B,), below the first level (S, B)."""
        if number == 0:
            return diagonal_gaussian(evidence[0], 1)
        network = self.networks[number - 1]
        if self.merge == "residual":
            return changed(p, network(state.features, evidence[1]), 1)
        vote, prior = diagonal_gaussian(network(evidence[1]), 1).base_dist, p.base_dist  # pyright: ignore
        a, b = vote.scale.square().reciprocal(), prior.scale.square().reciprocal()
        return factorised_gaussian((a * vote.loc + b * prior.loc) / (a + b), (a + b).rsqrt(), 1)


def changed(p: Any, h: Tensor, axes: int) -> Distribution:
    """Return a factorised Gaussian moved by some of its scales, and with its scales multiplied.

    Args:
        p: The Gaussian, batch (...) or ().
        h: Shifts in units of the scale, and logarithms of the factors, (..., 2, *event).
        axes: Number of event axes.
    """
    shift, raw = full_precision(h).unbind(-1 - axes)
    loc, scale = p.base_dist.loc, p.base_dist.scale
    return factorised_gaussian(torch.addcmul(loc, scale, shift), scale * bounded_exp(raw), axes)
