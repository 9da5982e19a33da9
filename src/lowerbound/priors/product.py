r"""The prior of codes that are made of blocks, each with a prior of its own.

.. math:: p(z \mid c) = \prod_b p_b(z_b \mid c)

A block is one level of the latent, or several; the decoder reads the codes of all blocks side by side.

Reference:
    continuous numbers beside choices: Learning disentangled joint continuous and discrete representations (Dupont,
    2018), https://arxiv.org/abs/1804.00104
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..errors import ConfigError
from ..shapes import event_shape_of, numel
from ..slots import side_by_side
from .base import Encode, Prior


class Product(Prior):
    """Independent blocks.

    Args:
        event_shape: As many numbers as the blocks have together.
        blocks: Prior of each block by name; in a file a table for each, which says its ``latent`` too.

    Raises:
        ConfigError: the blocks have another number of numbers, or their names cannot be used.
    """

    partners: ClassVar = {"posterior": "product"}

    def __init__(self, event_shape: int | Sequence[int], blocks: Mapping[str, Prior]) -> None:
        shape, modules, where = side_by_side(type(self).__name__, event_shape, blocks)
        each = list(modules.values())
        super().__init__(
            shape,
            max(block.context for block in each),
            [level for block in each for level in block.levels],
            (sum(numel(block.code_shape) for block in each),),
        )
        self.blocks: Any = modules
        self._where = where

    @classmethod
    def usual(cls, options: Mapping[str, Any], data_shape: tuple[int, ...], numbers: int) -> tuple[int, ...]:
        """Return what the blocks have together."""
        blocks = options.get("blocks", {}).values()
        shapes = [getattr(b, "event_shape", None) or event_shape_of(b["latent"], "latent") for b in blocks]
        return (sum(map(numel, shapes)),)

    def start(self, u: Tensor, model: Any) -> None:
        """Let each block start."""
        for block in self.blocks.values():
            block.start(u, model)

    def begin(self, context: Tensor | None, encode: Encode | None) -> Any:
        """Return the states of all blocks."""
        states = {}
        for number, (name, block) in enumerate(self.blocks.items()):
            states[name] = block.begin(context, _unknown if encode is not None and number else encode)
        return states

    def level(self, number: int, state: Any) -> Distribution:
        """Return that of the level's block."""
        name, own = self._where[number]
        return self.blocks[name].level(own, state[name])

    def absorb(self, number: int, state: Any, z: Tensor) -> Any:
        """Return the states, of which the block's own has changed; in the end what the blocks have, side by side."""
        name, own = self._where[number]
        state = {**state, name: self.blocks[name].absorb(own, state[name], z)}
        if number + 1 < len(self.levels):
            return state
        flat = [state[name].flatten(-len(block.code_shape)) for name, block in self.blocks.items()]
        return torch.cat(flat, -1)


def _unknown(u: Tensor) -> Distribution:
    raise ConfigError("of a Product only the first block's prior can be made of posteriors: put it first")
