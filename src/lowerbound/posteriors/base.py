r"""The interface of a posterior: q(z | x, c), level by level of the latent.

.. math:: q(z_1, \dots, z_L \mid x, c) = \prod_l q(z_l \mid z_{<l}, x, c)

That of a latent of one level is a family: ``forward(h)`` makes a distribution of the encoder's output. One of several
levels reads the encoder's output once (``read``) and answers level by level (``level``), where it may use what the
prior has found of the levels above: its state, and its own p(z_l | z_<l, c).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor
from torch.distributions import Distribution

from ..shapes import event_shape_of
from ..slots import Family, Level


class Posterior(Family):
    """Base of the posteriors.

    Args:
        event_shape: Shape of one latent code, as the prior's.
        input_shape: Shape of what it reads of the encoder, per example.
        levels: The levels, coarse to fine, as the prior's; one of ``event_shape`` with real numbers if not given.

    Attributes:
        has_density: Whether q has a density; without one there is neither a bound nor log p(x).
        independent: Whether the draws of one example are independent of each other.
        sees_joint: Whether ``read`` takes a third argument, log p(x, z | c) of the batch, with its gradient in codes
            z (S, B, *latent): ``joint.gradient(z)``.
    """

    has_density: bool = True
    independent: bool = True
    sees_joint: ClassVar[bool] = False

    def __init__(
        self, event_shape: int | Sequence[int], input_shape: Sequence[int], levels: Sequence[Level] = ()
    ) -> None:
        super().__init__()
        self.event_shape = event_shape_of(event_shape)
        self.input_shape = event_shape_of(input_shape, "input_shape")
        self.levels = tuple(levels) or (Level(self.event_shape),)

    def read(self, h: Tensor, context: Tensor | None) -> Any:
        """Return what the levels are told of x: tensors, or tuples, lists or dicts of them.

        Args:
            h: The encoder's output, (B, *input_shape).
            context: The embedded condition, (B, E) or (1, E), or None.
        """
        return h

    def level(self, number: int, evidence: Any, state: Any, p: Distribution) -> Distribution:
        """Return q(z_l | z_<l, x, c) of level ``number``: batch (B,), below the first level (S, B).

        Args:
            number: Number of the level, from 0.
            evidence: What ``read`` gave.
            state: The prior's state before the level.
            p: The prior's distribution of the level.
        """
        return self(evidence)

    def penalty(self, number: int, evidence: Any, p: Distribution, z: Tensor) -> Tensor | float:
        """Return what training adds to the loss for this level beside the bound, nats, (S, B): a commitment term."""
        return 0.0

    def with_levels(self, z: Tensor, middle: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return codes with the levels that this posterior adds to those of a model without them.

        Args:
            z: The codes (B, *latent) of that model.
            middle: The values that stand for its q(z | x), (B, *latent).

        Returns:
            Codes (B, *event_shape), and log q of what was added, in nats, (B,).
        """
        return z, 0.0

    def middle(self, number: int, q: Distribution) -> Tensor:
        """Return the one value that stands for q of level ``number``; usually ``point``."""
        return self.point(q)

    @property
    def sees_prior(self) -> bool:
        """Whether q depends on the prior, or on the levels above."""
        return type(self).level is not Posterior.level
