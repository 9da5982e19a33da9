"""Networks over named parts of x, one for each: x has the parts flattened, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..slots import Part, build_named, check_of_parts
from .conv import ConvDecoder, ConvEncoder
from .mlp import MLP
from .network import Network, features
from .resnet import ResNetDecoder, ResNetEncoder


class _Parts(Network):
    """What the two have in common.

    Args:
        in_shape: Shape of one input.
        out_shape: Shape of one output.
        layout: The parts of x.
        networks: Type and options of the network of a part, by its name.
        hidden: Widths of the hidden layers of the multi-layer perceptrons that the other parts have.
        context: Size of the context vector, 0 for none.
    """

    derived = frozenset({"layout"})
    types: Mapping[str, type[Network]]

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        layout: Sequence[Part] | None,
        networks: Mapping[str, Any] | None = None,
        hidden: Sequence[int] = (256, 256),
        context: int = 0,
    ):
        super().__init__(in_shape, out_shape, context)
        if layout is None:
            raise ConfigError(
                f"network 'parts' from {self.in_shape} to {self.out_shape} needs x of several named parts: load the "
                "data with parts="
            )
        self.layout, self.hidden = layout, tuple(hidden)
        self.networks = None if networks is None else dict(networks)
        check_of_parts("networks", self.networks, [part.name for part in layout])
        self.each = nn.ModuleList(self._network(part) for part in layout)

    def shapes(self, part: Part) -> tuple[Sequence[int], Sequence[int]]:
        """Return the shapes of what the network of a part reads and gives."""
        raise NotImplementedError

    def _network(self, part: Part) -> Network:
        chosen = (self.networks or {}).get(part.name, {"type": "mlp", "hidden": self.hidden})
        shapes = dict(zip(("in_shape", "out_shape"), self.shapes(part), strict=True))
        return build_named(
            f"the network of part {part.name!r}", chosen, self.types, "mlp", **shapes, context=self.context
        )


class PartsEncoder(_Parts):
    """A network for each part of x, and whether the part is there: the encoder of a posterior of experts.

    It reads the features of all parts, then a mask of x; what a part's network sees is the part's, and below it
    1 where an element is missing. A part is there if any of its elements is.

    Args:
        in_shape: (F + D,).
        out_shape: (K, 3, *latent): means, log-scales, and 1 where the part is there, else 0.
        layout: The parts of x.
        networks: Type and options of the network of a part, by its name.
        hidden: Widths of the hidden layers of the multi-layer perceptrons that the other parts have.
        context: Size of the context vector, 0 for none.
    """

    types = {"mlp": MLP, "conv": ConvEncoder, "resnet": ResNetEncoder}  # noqa: RUF012

    def shapes(self, part: Part) -> tuple[Sequence[int], Sequence[int]]:
        return part.feature_shape, (2, *self.out_shape[2:])

    def _flat(self, x: Tensor, context: Tensor | None) -> Tensor:
        events = [features(part.event_shape) for part in self.layout]
        owns = [features(part.feature_shape) - size for part, size in zip(self.layout, events, strict=True)]
        if x.shape[-1] != sum(owns) + sum(events):
            raise ConfigError(
                f"network 'parts' reads {sum(owns)} features and a mask of {sum(events)}; got {x.shape[-1]} numbers: "
                "build the model with missing=True"
            )
        values, masks = x.split([sum(owns), sum(events)], -1)
        found = []
        for part, network, own, mask in zip(
            self.layout, self.each, values.split(owns, -1), masks.split(events, -1), strict=True
        ):
            below = part.event_shape[1:]
            there = mask.amax(-1, keepdim=True)
            # Of most examples no element of a part is missing alone, and zeros do not hold up learning as ones would.
            gaps = there - mask
            both = torch.cat([own.unflatten(-1, (-1, *below)), gaps.unflatten(-1, (-1, *below))], 1)
            h = network(both, context)
            there = there.reshape(-1, *[1] * (h.ndim - 1)).to(h.dtype)
            found.append(torch.cat([h, there.expand_as(h[:, :1])], 1))
        return torch.stack(found, 1)

    @torch.no_grad()
    def set_output_bias(self, value: Tensor) -> None:
        """Set what all experts begin near, (K, 3, *latent); the last row is not theirs."""
        for network, part in zip(self.each, value, strict=True):
            network.set_output_bias(part[:2])  # pyright: ignore[reportCallIssue]


class PartsDecoder(_Parts):
    """A network for each part of x, from the code to what the likelihood reads for the part.

    Args:
        in_shape: Shape of one code.
        out_shape: (P,), those of all parts one after the other.
        layout: The parts of x.
        networks: Type and options of the network of a part, by its name.
        hidden: Widths of the hidden layers of the multi-layer perceptrons that the other parts have.
        context: Size of the context vector, 0 for none.
    """

    types = {"mlp": MLP, "conv": ConvDecoder, "resnet": ResNetDecoder}  # noqa: RUF012

    def shapes(self, part: Part) -> tuple[Sequence[int], Sequence[int]]:
        return self.in_shape, part.input_shape

    def _flat(self, x: Tensor, context: Tensor | None) -> Tensor:
        each = [network(x, context) for network in self.each]
        return torch.cat([h.flatten(1) for h in each], 1)

    @torch.no_grad()
    def set_output_bias(self, value: Tensor) -> None:
        """Set what the networks begin near, (P,)."""
        sizes = [features(part.input_shape) for part in self.layout]
        for network, part, own in zip(self.each, self.layout, value.split(sizes), strict=True):
            network.set_output_bias(own.reshape(part.input_shape))  # pyright: ignore[reportCallIssue]
