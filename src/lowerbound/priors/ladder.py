r"""A prior of several levels: below the first, each is a Gaussian whose numbers a network makes of those above.

.. math:: p(z_1, \dots, z_L \mid c) = p(z_1 \mid c) \prod_{l > 1}
    \mathcal{N}(z_l; \mu_l(z_{<l}, c), \operatorname{diag} \sigma_l(z_{<l}, c)^2)

The first level is the coarsest, and its law any of the priors of one level: N(0, I), a flow, a VampPrior. The decoder
reads all levels side by side.

References:
    Ladder variational autoencoders (Sønderby et al., 2016), https://arxiv.org/abs/1602.02282
    VAE with a VampPrior (Tomczak and Welling, 2018), two levels, section 4, https://arxiv.org/abs/1705.07120
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional

from ..distributions import diagonal_gaussian
from ..nn import MLP
from ..nn.layers import gain, initialise
from ..nn.network import sizes as widths
from ..shapes import event_shape_of
from ..slots import build_named, levels_of
from .autoregressive_flow import MAF, NSF
from .base import Encode, Prior
from .flow import Flow
from .mixture import GaussianMixture
from .normal import StandardNormal
from .vamp import VampPrior

TOPS: dict[str, type[Prior]] = {
    "standard_normal": StandardNormal,
    "flow": Flow,
    "gaussian_mixture": GaussianMixture,
    "vamp": VampPrior,
    "maf": MAF,
    "nsf": NSF,
}


class State(NamedTuple):
    """What the levels so far have come to.

    Attributes:
        context: The embedded condition, or None.
        z: The levels above side by side, (S, B, n); None above the first one.
        features: What is found of them, (S, B, F); above the first level its law.
    """

    context: Tensor | None
    z: Tensor | None
    features: Any


class Ladder(Prior):
    """Levels that are vectors.

    Args:
        event_shape: (L,), the numbers of all levels.
        data_shape: Shape of one observation.
        context: Size of the context vector.
        sizes: Number of levels of one size, or the size of each, coarse to fine.
        hidden: Widths of the hidden layers of each level's network; without, an affine map.
        top: The first level's prior, by its name or with options: {"type": "vamp", "components": 500}.

    Raises:
        ConfigError: the sizes do not make up the latent, or the first level's prior is none.
    """

    derived: ClassVar = frozenset({"data_shape"})
    partners: ClassVar = {"posterior": "ladder"}
    agree: ClassVar = ("sizes", "hidden")

    def __init__(
        self,
        event_shape: int | Sequence[int],
        data_shape: Sequence[int] = (1,),
        context: int = 0,
        sizes: int | Sequence[int] = 2,
        hidden: Sequence[int] = (256, 256),
        top: str | dict[str, Any] = "standard_normal",
    ) -> None:
        levels = levels_of(event_shape, sizes)
        super().__init__(event_shape, context, levels)
        self.data_shape = event_shape_of(data_shape, "data_shape")
        self.sizes, self.top = sizes, top
        self.hidden = widths("hidden", hidden, may_be_empty=True)
        numbers = [shape[0] for shape, _ in levels]
        self.first: Prior = build_named(
            "the first level's prior",
            top,
            TOPS,
            "standard_normal",
            event_shape=numbers[:1],
            context=context,
            data_shape=self.data_shape,
        )
        above = list(accumulate(numbers))[:-1]
        read = self.hidden[-1:] * len(above) or above
        trunks = [
            MLP((n,), (m,), hidden=self.hidden[:-1], context=context)
            for n, m in zip(above, read, strict=True)
        ]
        self.trunks = nn.ModuleList(trunks if self.hidden else [])
        for trunk in self.trunks:
            initialise(trunk.output, gain("silu"))  # pyright: ignore[reportArgumentType]
        self.heads = nn.ModuleList(
            MLP((m,), (2, n), hidden=(), context=context) for m, n in zip(read, numbers[1:], strict=True)
        )

    @classmethod
    def usual(cls, options: Mapping[str, Any], data_shape: tuple[int, ...], numbers: int) -> tuple[int, ...]:
        """Return the usual numbers for each level, or what the sizes sum up to."""
        sizes = options.get("sizes", 2)
        return (numbers * sizes if isinstance(sizes, int) else sum(sizes),)

    def start(self, u: Tensor, model: Any) -> None:
        """Let the first level's prior begin as it would alone."""
        self.first.start(u, model)

    def begin(self, context: Tensor | None, encode: Encode | None) -> State:
        """Return the state above the first level."""
        return State(context if self.context else None, None, self.first(context, encode))

    def level(self, number: int, state: State) -> Distribution:
        """Return p(z_l | z_<l, c): batch () or (B,), below the first level (S, B)."""
        if number == 0:
            return state.features
        return diagonal_gaussian(self.heads[number - 1](state.features, state.context), 1)

    def absorb(self, number: int, state: State, z: Tensor) -> Any:
        """Return the state with one level more; after the last one all of them side by side."""
        z = z if state.z is None else torch.cat([state.z, z], -1)
        if number == len(self.levels) - 1:
            return z
        features = functional.silu(self.trunks[number](z, state.context)) if self.hidden else z
        return State(state.context, z, features)
