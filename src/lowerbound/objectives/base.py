"""The interface of an objective."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ..model import VAE
from .schedules import Progress


@dataclass(frozen=True)
class ObjectiveOutput:
    """One batch's loss and what is reported of it.

    Attributes:
        loss: Scalar to minimise; its gradient is the estimator's, its value need not be a bound.
        bound: The bound on log p(x | c) itself, mean over the batch in nats, never a surrogate.
        terms: Named scalars to log, nats unless the name says otherwise.
    """

    loss: Tensor
    bound: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)


class Objective(ABC):
    """A function of (model, batch, condition, progress) that training minimises.

    Weights stay outside the model: the same model can be trained with one objective and evaluated with another.
    """

    @abstractmethod
    def __call__(
        self, model: VAE, x: Tensor, c: Mapping[str, Tensor] | None, progress: Progress
    ) -> ObjectiveOutput:
        """Return the loss and the bound of one batch x, (B, *event), under its condition c."""

    def check(self, model: VAE, progress: Progress) -> None:
        """Raise ConfigError if the objective does not fit the model or the length of the run."""

    def __repr__(self) -> str:
        options = inspect.signature(type(self)).parameters
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in options)})"
