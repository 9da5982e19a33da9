"""What all parts of a model have in common: how they start from data; and a family, from numbers to a distribution.

To add a part, write a class in a file of its own under ``priors/``, ``posteriors/``, ``likelihoods/`` or
``conditions/`` and register it; ``docs/how-to/extend.md`` has one of each kind. The constructor's arguments are
kept as attributes of the same names: from these a saved model is built again.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from torch import Tensor, nn
from torch.distributions import Distribution

if TYPE_CHECKING:
    from .model import VAE


class Level(NamedTuple):
    """One level of a latent.

    Attributes:
        shape: Shape of its value.
        kind: What its numbers are: "real"; "one-hot"; "embedding", vectors out of a finite set; "simplex"; "sphere".
            Tools ask for it: only real numbers are active or not, have a temperature, or can be moved.
    """

    shape: tuple[int, ...]
    kind: str = "real"


class Slot(nn.Module):
    """Base of the parts of a model.

    Attributes:
        partners: Registered names that other parts must have next to this one, by kind.
        agree: Options on which it and its partners must agree.
    """

    partners: ClassVar[Mapping[str, str]] = {}
    agree: ClassVar[Sequence[str]] = ()

    def start(self, u: Tensor, model: VAE) -> Tensor | None:
        """Take from a sample of the training data what the part should begin with; ``VAE.for_data`` calls it once.

        Called in the order encoder, posterior, prior, decoder, likelihood, so that each finds the ones before it
        started. It draws from torch's global generator where it needs chance.

        Args:
            u: Examples (N, *event), as the model sees them: after its transform.
            model: The model that it is a part of.

        Returns:
            The output, (*input_shape), at which the network that feeds the part should begin; None if any will do.
        """
        return None

    def extra_repr(self) -> str:
        """Show every constructor argument."""
        options = inspect.signature(type(self)).parameters
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in options)


class Family(Slot):
    """Numbers to a distribution: ``forward(h)`` makes of (..., *input_shape) a distribution of batch (...).

    It may own parameters.

    Attributes:
        event_shape: Shape of one value.
        input_shape: What it reads of a network, per value.
    """

    event_shape: tuple[int, ...]
    input_shape: tuple[int, ...]

    def forward(self, h: Tensor) -> Distribution:
        """Return the distribution, batch (...), from a network's output (..., *input_shape)."""
        raise NotImplementedError

    def point(self, p: Distribution) -> Tensor:
        """Return the one value that stands for ``p``: its mean, unless that has no meaning."""
        return p.mean
