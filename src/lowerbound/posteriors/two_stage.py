r"""The posterior of the two-stage VAE: that of a VAE, and a second encoder, of the codes that stand for x.

.. math:: q(u, z \mid x) = \mathcal{N}\left(u; \mu(m), \operatorname{diag} \sigma(m)^2\right) \, q(z \mid x), \qquad
    m = \mathbb{E}_{q(z \mid x)}[z]

So the bound is one on log p(x), as any other. ``lowerbound.ex_post(model, data, prior="two_stage")`` makes the second
stage of a trained model.

Reference:
    Diagnosing and enhancing VAE models (Dai and Wipf, 2019), https://arxiv.org/abs/1903.05789, section 4
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..distributions import diagonal_gaussian
from ..nn import MLP
from ..nn.network import sizes as widths
from ..slots import build_named, stages_of
from .base import Posterior
from .deterministic import Deterministic
from .gaussian import DiagonalGaussian
from .low_rank import LowRankGaussian
from .student_t import StudentT

FIRSTS: dict[str, type[Posterior]] = {
    "diagonal_gaussian": DiagonalGaussian,
    "low_rank_gaussian": LowRankGaussian,
    "student_t": StudentT,
    "deterministic": Deterministic,
}


class TwoStage(Posterior):
    """q(u | x) of the second stage, then q(z | x) of the first.

    Args:
        event_shape: (M + L,), as the prior's.
        second: Number M of the second stage's codes.
        hidden: Widths of the second encoder's hidden layers.
        first: The posterior of z, by its name or with options.

    Raises:
        ConfigError: the first stage's posterior is none, or no number is left for it.
    """

    partners: ClassVar = {"prior": "two_stage"}
    agree: ClassVar = ("second", "hidden")

    def __init__(
        self,
        event_shape: int | Sequence[int],
        second: int = 16,
        hidden: Sequence[int] = (256, 256),
        first: str | dict[str, Any] = "diagonal_gaussian",
    ) -> None:
        levels = stages_of(event_shape, second)
        inner: Posterior = build_named(
            "the first stage's posterior", first, FIRSTS, "diagonal_gaussian", event_shape=levels[1].shape
        )
        super().__init__(event_shape, inner.input_shape, levels)
        self.second, self.hidden = second, widths("hidden", hidden, may_be_empty=True)
        self.first, self.inner, self.has_density = first, inner, inner.has_density
        self.network = MLP(levels[1].shape, (2, second), hidden=self.hidden)

    def start(self, u: Tensor, model: Any) -> Tensor | None:
        """Let the first stage's posterior begin as it would alone."""
        return self.inner.start(u, model)

    def read(self, h: Tensor, context: Tensor | None) -> Any:
        """Return what the first stage is told."""
        return self.inner.read(h, context)

    def level(self, number: int, evidence: Any, state: Any, p: Distribution) -> Distribution:
        """Return q(u | x), and then q(z | x), batch (B,)."""
        q: Distribution = self.inner(evidence)
        return q if number else self._above(self.inner.middle(0, q))

    def with_levels(self, z: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes (B, M + L) with a draw of u for each, and log q(u | x) in nats, (B,)."""
        q = self._above(middle)
        u = q.rsample()
        return torch.cat([u, z], -1), q.log_prob(u)

    def _above(self, middle: Tensor) -> Distribution:
        return diagonal_gaussian(self.network(middle), 1)
