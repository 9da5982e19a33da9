r"""The posterior of codes that are made of blocks, each with a family of its own.

.. math:: q(z \mid x, c) = \prod_b q_b(z_b \mid x, c)

Reference:
    continuous numbers beside choices: Learning disentangled joint continuous and discrete representations (Dupont,
    2018), https://arxiv.org/abs/1804.00104
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor
from torch.distributions import Distribution

from ..errors import ConfigError
from ..shapes import numel
from ..slots import side_by_side
from .base import Posterior


class Product(Posterior):
    """Independent blocks, to which the encoder gives the numbers that each reads.

    Args:
        event_shape: As many numbers as the blocks have together.
        blocks: Posterior of each block by name; in a file a table for each, which says its ``latent`` too.

    Raises:
        ConfigError: the blocks have another number of numbers, names that cannot be used, or one follows log p(x, z).
    """

    partners: ClassVar = {"prior": "product"}

    def __init__(self, event_shape: int | Sequence[int], blocks: Mapping[str, Posterior]) -> None:
        shape, modules, where = side_by_side(type(self).__name__, event_shape, blocks)
        each = list(modules.values())
        told = [name for name, block in modules.items() if block.sees_joint]
        if told:
            raise ConfigError(
                f"{type(modules[told[0]]).__name__} can be no block of a Product: take it alone"
            )
        self.has_density = all(block.has_density for block in each)
        self._sizes = [numel(block.input_shape) for block in each]
        super().__init__(shape, (sum(self._sizes),), [level for block in each for level in block.levels])
        self.blocks: Any = modules
        self._where = where

    def read(self, h: Tensor, context: Tensor | None) -> Any:
        """Return what each block is told."""
        parts = zip(self.blocks.items(), h.split(self._sizes, -1), strict=True)
        return {name: b.read(part.unflatten(-1, b.input_shape), context) for (name, b), part in parts}

    def level(self, number: int, evidence: Any, state: Any, p: Any) -> Distribution:
        """Return that of the level's block."""
        name, own = self._where[number]
        return self.blocks[name].level(own, evidence[name], None if state is None else state[name], p)

    def penalty(self, number: int, evidence: Any, p: Any, z: Tensor) -> Tensor | float:
        """Return that of the level's block."""
        name, own = self._where[number]
        return self.blocks[name].penalty(own, evidence[name], p, z)

    def middle(self, number: int, q: Distribution) -> Tensor:
        """Return what stands for the level's q in its block."""
        name, own = self._where[number]
        return self.blocks[name].middle(own, q)
