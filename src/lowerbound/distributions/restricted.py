r"""A factorised distribution of which only some elements are scored.

.. math:: \log p(x_m \mid z) = \sum_{d \in m} \log p(x_d \mid z)

is the density of the missing elements m where the others are given.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from ..errors import ConfigError


class Restricted(Independent):
    """Independent elements; ``log_prob`` is the log-density of the scored ones. Draws and moments are of all.

    Args:
        base: Distribution whose batch axes end in the event's.
        axes: Number of event axes.
        scored: 1 where an element is scored, else 0, (B, *event).
    """

    def __init__(self, base: Distribution, axes: int, scored: Tensor) -> None:
        super().__init__(base, axes, validate_args=False)
        self.scored = scored

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of the scored elements of ``value``, in nats."""
        elementwise = torch.where(self.scored > 0, self.base_dist.log_prob(value), 0.0)
        return elementwise.flatten(-len(self.event_shape)).sum(-1)


def restrict(p: Distribution, scored: Tensor) -> Distribution:
    """Return ``p`` with a log-density of the scored elements only.

    Args:
        p: A factorised distribution, or one with a method ``restricted`` of its own.
        scored: 1 where an element is scored, else 0, (B, *event).

    Raises:
        ConfigError: p does not factorise over the elements.
    """
    if hasattr(p, "restricted"):
        return p.restricted(scored)  # pyright: ignore[reportAttributeAccessIssue]
    if not isinstance(p, Independent) or p.base_dist.event_shape:
        raise ConfigError(
            f"only a likelihood that factorises over its elements can leave some out; {type(p).__name__} does not"
        )
    return Restricted(p.base_dist, p.reinterpreted_batch_ndims, scored)
