r"""The interface of a prior: the levels of a latent, coarse to fine, and how one leads to the next.

.. math:: p(z_1, \dots, z_L \mid c) = \prod_l p(z_l \mid z_{<l}, c)

Most latents have one level: their prior writes ``forward`` alone. One of several levels writes ``begin``, ``level``
and ``absorb``, which ``lowerbound.walk`` calls in turn:

    begin(context, encode) -> state;  then for each level l:  level(l, state) -> p(z_l | z_<l, c),
    absorb(l, state, z_l) -> state;  after the last level the state is the code that the decoder reads
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..shapes import event_shape_of, numel
from ..slots import Level, Slot

Encode = Callable[[Tensor], Distribution]


class Prior(Slot):
    """Base of the priors.

    Args:
        event_shape: Shape of one latent code; an integer L stands for (L,). With several levels, or a level that is
            no vector, a code is the flattened levels side by side.
        context: Size of the context vector that the prior reads; 0 if p(z) does not depend on the condition.
        levels: The levels, coarse to fine; one of ``event_shape`` with real numbers if not given.
        code_shape: Shape of what the decoder reads; ``event_shape`` if not given.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        context: int = 0,
        levels: Sequence[Level] = (),
        code_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.event_shape = event_shape_of(event_shape)
        self.context = context
        self.levels = tuple(levels) or (Level(self.event_shape),)
        self.code_shape = self.event_shape if code_shape is None else event_shape_of(code_shape, "code_shape")

    @classmethod
    def usual(cls, options: Mapping[str, Any], data_shape: tuple[int, ...], numbers: int) -> tuple[int, ...]:
        """Return the shape of a code where the user chose none.

        Args:
            options: The prior's.
            data_shape: Shape of one observation.
            numbers: What one level of real numbers usually has.
        """
        return (numbers,)

    def forward(self, context: Tensor | None = None, encode: Encode | None = None) -> Distribution:
        """Return p(z | c) of a latent of one level: batch () if it does not depend on c, else (B,).

        Args:
            context: The embedded condition (B, E), or None.
            encode: Gives q(z | u) of pseudo-inputs (K, *event) in the model's units: batch (K,), or with a context
                (K, B). Of several levels, it is the first one's.
        """
        raise NotImplementedError

    def begin(self, context: Tensor | None, encode: Encode | None) -> Any:
        """Return the state before the first level; arguments as ``forward``'s."""
        return self(context, encode)

    def level(self, number: int, state: Any) -> Distribution:
        """Return p(z_l | z_<l, c) of level ``number``: batch (), (B,), or below the first level (S, B)."""
        return state

    def absorb(self, number: int, state: Any, z: Tensor) -> Any:
        """Return the state after level ``number`` took the value z (S, B, ...); the last one goes to the decoder."""
        return z

    def adopt(self, old: Prior) -> None:
        """Take over from the prior of a trained model what its codes are made of, to be fitted to them in its place.

        Raises:
            ConfigError: codes of this prior are made otherwise.
        """

    @property
    def is_real(self) -> bool:
        """Whether all levels hold real numbers."""
        return all(level.kind == "real" for level in self.levels)

    @property
    def is_one_real_level(self) -> bool:
        """Whether a code is one level of real numbers, each of which can be looked at alone."""
        return len(self.levels) == 1 and self.is_real

    def real(self) -> Tensor:
        """Return which numbers of a flattened code are real ones, (L,) bool."""
        return torch.cat([torch.full((numel(shape),), kind == "real") for shape, kind in self.levels])

    def join(self, z: Sequence[Tensor]) -> Tensor:
        """Return the values of all levels, (..., *level) each, as one code (..., *event_shape)."""
        if len(z) == 1:
            lead = z[0].shape[: z[0].ndim - len(self.levels[0].shape)]
            return (
                z[0] if self.levels[0].shape == self.event_shape else z[0].reshape(*lead, *self.event_shape)
            )
        flat = [v.flatten(v.ndim - len(shape)) for v, (shape, _) in zip(z, self.levels, strict=True)]
        return torch.cat(flat, -1).reshape(*flat[0].shape[:-1], *self.event_shape)

    def split(self, code: Tensor) -> tuple[Tensor, ...]:
        """Return the values of each level of codes (..., *event_shape): the inverse of ``join``."""
        if len(self.levels) == 1 and self.levels[0].shape == self.event_shape:
            return (code,)
        lead = code.shape[: code.ndim - len(self.event_shape)]
        parts = code.reshape(*lead, -1).split([numel(shape) for shape, _ in self.levels], -1)
        return tuple(v.reshape(*lead, *shape) for v, (shape, _) in zip(parts, self.levels, strict=True))
