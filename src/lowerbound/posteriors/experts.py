r"""Posteriors made of one Gaussian expert per named part of x; a part that is missing is an expert that is missing.

With :math:`q_k(z \mid x_k) = N(\mu_k, \operatorname{diag} \sigma_k^2)` of the parts A that are there:

.. math::
    \text{product:}\quad & q(z \mid x_A) \propto N(z; 0, I) \prod_{k \in A} q_k(z \mid x_k) \\
    \text{mixture:}\quad & q(z \mid x_A) = \tfrac{1}{|A|} \sum_{k \in A} q_k(z \mid x_k) \\
    \text{mixture of products:}\quad & q(z \mid x_A) = \tfrac{1}{2^{|A|} - 1} \sum_{\emptyset \neq S \subseteq A}
        q_{\text{product}}(z \mid x_S)

Where p(x_k | z) are linear and Gaussian with orthogonal effects, p(z | x_A) is the product, whatever parts are there.
With no part at all, q is N(0, I). Each mixture has its true density, so that its KL is estimated from draws: the
papers' sums over experts are looser bounds.

Reference:
    Product: Multimodal generative models for scalable weakly-supervised learning (Wu and Goodman, 2018),
    https://arxiv.org/abs/1802.05335;
    mixture: Variational mixture-of-experts autoencoders (Shi et al., 2019), https://arxiv.org/abs/1911.03393, with
    Laplace laws there;
    mixture of products: Generalized multimodal ELBO (Sutter, Daunhawer and Vogt, 2021),
    https://arxiv.org/abs/2105.02470, where the products of some parts are without N(0, I)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..distributions import Mixture, bounded_exp, factorised_gaussian
from ..errors import ConfigError, suggest
from ..shapes import event_shape_of, full_precision
from ..slots import Part
from .base import Posterior

Combine = Literal["poe", "moe", "mopoe"]
_MOST = 8  # parts, of whose subsets there is a product each


class Experts(Posterior):
    """Experts over named parts of x.

    Args:
        event_shape: Shape of one latent code; an integer L stands for (L,).
        layout: The parts of x, as the likelihood has them.
        combine: "poe", a product; "moe", a mixture; "mopoe", a mixture of the products of all subsets.
        stratified: Of a mixture, spread the draws of an example evenly over its components, from a random one on.
            Each draw has the law q, but they are not independent.

    Raises:
        ConfigError: x has no named parts, or too many for all their subsets.
    """

    derived = frozenset({"layout"})
    partners: ClassVar = {"encoder": "parts"}

    def __init__(
        self,
        event_shape: int | Sequence[int],
        layout: Sequence[Part] | None,
        combine: Combine = "poe",
        stratified: bool = True,
    ) -> None:
        shape, count = event_shape_of(event_shape), len(layout or ())
        if not count:
            raise ConfigError(
                f"posterior 'experts' of {shape} needs x of several named parts: load the data with parts="
            )
        if combine not in get_args(Combine):
            raise ConfigError(f"Experts cannot combine by {combine!r}; {suggest(combine, get_args(Combine))}")
        if combine == "mopoe" and count > _MOST:
            raise ConfigError(
                f"combine='mopoe' has a product for each of the 2^{count} - 1 subsets of {count} parts, at most "
                f"{_MOST} are taken; use 'poe' or 'moe'"
            )
        super().__init__(shape, (count, 3, *shape))
        self.layout, self.combine, self.stratified = layout, combine, stratified
        self.independent = combine == "poe" or not stratified
        # Which parts each component of the mixture has.
        subsets = torch.arange(1, 2**count) if combine == "mopoe" else 2 ** torch.arange(count)
        self.register_buffer(
            "members", subsets[:, None] // 2 ** torch.arange(count) % 2 > 0, persistent=False
        )

    members: Tensor

    def forward(self, h: Tensor) -> Distribution:
        """Return q(z | x), batch (...), from means, log-scales and whether the part is there, (..., K, 3, *event)."""
        axes = len(self.event_shape)
        loc, raw, there = full_precision(h).movedim(-2 - axes, 0).unbind(-1 - axes)
        there = there > 0.5
        scale = bounded_exp(raw)
        if self.combine == "poe":
            return factorised_gaussian(*_product(loc, scale, there), axes)
        # A component takes part if all its parts are there.
        first = there.flatten(-axes)[..., 0]
        gone = self.members.reshape(*self.members.shape, *[1] * (first.ndim - 1)) & ~first
        takes_part = ~gone.any(1)
        if self.combine == "mopoe":
            products = [_product(loc[s], scale[s], there[s]) for s in self.members]
            loc, scale = (torch.stack(each) for each in zip(*products, strict=True))
        # Of no part at all, all components are N(0, I).
        none = ~takes_part.any(0)
        if bool(none.any()):
            takes_part, at = takes_part | none, none.reshape(*none.shape, *[1] * axes)
            loc, scale = torch.where(at, 0.0, loc), torch.where(at, 1.0, scale)
        logits = torch.where(takes_part, 0.0, -torch.inf).to(loc)
        return Components(factorised_gaussian(loc, scale, axes), logits, self.stratified)


def _product(loc: Tensor, scale: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of the product of N(0, I) and the Gaussians (K, ...) that are there."""
    precision = torch.where(there, scale.square().reciprocal(), 0.0)
    total = 1 + precision.sum(0)
    return (precision * loc).sum(0) / total, total.rsqrt()


class Components(Mixture):
    """Mixture of equal shares of some components, drawn by the path within a component.

    The shares do not depend on parameters, so that the component of a draw needs no gradient.

    Args:
        parts: Components, batch (K, *batch).
        logits: 0, or −∞ for a component that takes no part, (K, *batch).
        stratified: Whether draws go round the components.
    """

    has_rsample = True

    def __init__(self, parts: Distribution, logits: Tensor, stratified: bool) -> None:
        super().__init__(parts, logits)
        self.takes_part, self.stratified = logits == 0, stratified

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample, *batch, *event), without a gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample, *batch, *event)."""
        shape, batch, event = torch.Size(sample_shape), self.batch_shape, self.event_shape
        n = shape.numel()
        drawn = self.parts.rsample(torch.Size((n,)))  # (n, K, *batch, *event)
        count = self.takes_part.sum(0)
        u = torch.rand(1 if self.stratified else n, *batch, device=drawn.device)
        number = (u * count).long()
        if self.stratified:
            number = number + torch.arange(n, device=drawn.device).reshape(-1, *[1] * len(batch))
        # The components that take part first, each group in its order.
        order = (~self.takes_part).int().argsort(dim=0, stable=True)
        k = order.gather(0, number % count)
        index = k.reshape(n, 1, *batch, *[1] * len(event)).expand(n, 1, *batch, *event)
        return drawn.gather(1, index).squeeze(1).reshape(*shape, *batch, *event)
