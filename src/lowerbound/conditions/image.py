"""Images, occupancy grids, and the observed part of an example itself, embedded by a network of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import ConfigError, suggest
from ..nn import ENCODERS, MLP
from ..nn.network import Network
from ..shapes import event_shape_of, numel
from .base import Condition
from .vector import Numbers, read_numbers

NetworkName = Literal["mlp", "conv", "resnet"]
_SMALL = 1024  # pixels that a fully connected network reads at a reasonable price


def embedding_network(
    in_shape: tuple[int, ...],
    size: int,
    network: NetworkName | None,
    hidden: Sequence[int],
    channels: Sequence[int],
) -> Network:
    """Return a network from values of ``in_shape`` to (size,)."""
    image = len(in_shape) == 3
    name = network or ("conv" if image and numel(in_shape[1:]) > _SMALL else "mlp")
    if name not in ENCODERS:
        raise ConfigError(f"there is no network {name!r}; {suggest(str(name), ENCODERS)}")
    if name == "mlp":
        return MLP(in_shape, (size,), hidden=tuple(hidden))
    if not image:
        raise ConfigError(f"network {name!r} needs images (C, H, W); got {in_shape}; use 'mlp'")
    if len(hidden) != 1:
        raise ConfigError(
            f"network {name!r} has one fully connected layer, like hidden=[256]; got {hidden!r}"
        )
    return ENCODERS[name](in_shape, (size,), hidden=hidden[0], channels=tuple(channels))


class Image(Numbers):
    """Image or grid (C, H, W); a NaN in it makes the whole a missing one.

    Args:
        event_shape: (C, H, W).
        network: "mlp", "conv" or "resnet"; "conv" if not given, or "mlp" for at most 1024 pixels.
        size: Size of the embedding.
        hidden: Widths of the fully connected hidden layers; one for the convolutional networks.
        channels: Channels of the convolutional stages.
        dropout: Probability of hiding an image in training.
        missing: Images may be missing; implied by ``dropout``.
    """

    starts = False

    def __init__(
        self,
        event_shape: Sequence[int],
        network: NetworkName | None = None,
        size: int = 128,
        hidden: Sequence[int] = (256,),
        channels: Sequence[int] = (32, 64, 128),
        dropout: float = 0.0,
        missing: bool = False,
    ) -> None:
        shape = event_shape_of(event_shape)
        if len(shape) != 3:
            raise ConfigError(f"Image needs (C, H, W); got {shape}")
        super().__init__(shape, size, dropout, missing)
        self.event_shape = shape
        self.network, self.size, self.hidden, self.channels = network, size, tuple(hidden), tuple(channels)
        self.body = embedding_network(shape, size, network, hidden, channels)

    def embed(self, value: Tensor) -> Tensor:
        """Return the network's embedding, (B, E)."""
        return self.body(value.nan_to_num())


class Observed(Condition):
    """The observed elements of an example, and which these are; the model scores and completes the others.

    A value is (2, *event): the example with zeros where nothing was observed, and the mask, 1 where it was.
    Nothing of it can be missing: an empty mask says that.

    Args:
        event_shape: Shape of one example.
        feature_shape: Shape of its features, as the likelihood gives them to the networks.
        masks: Name of the rule that the training masks follow, or the columns that are always observed.
        network: As for ``Image``.
        size: Size of the embedding.
        hidden: Widths of the fully connected hidden layers.
        channels: Channels of the convolutional stages.
    """

    starts = False

    def __init__(
        self,
        event_shape: Sequence[int],
        feature_shape: Sequence[int] | None = None,
        masks: str | Sequence[str] = "random",
        network: NetworkName | None = None,
        size: int = 256,
        hidden: Sequence[int] = (512,),
        channels: Sequence[int] = (32, 64, 128),
    ) -> None:
        shape = event_shape_of(event_shape)
        features = shape if feature_shape is None else event_shape_of(feature_shape)
        super().__init__((2, *shape), size, 0.0, False)
        self.event_shape = shape
        self.masks = masks if isinstance(masks, str) else tuple(masks)
        self.network, self.size, self.hidden, self.channels = network, size, tuple(hidden), tuple(channels)
        self.feature_shape = features
        self.body = embedding_network((features[0] + shape[0], *shape[1:]), size, network, hidden, channels)

    def embed(self, value: Tensor) -> Tensor:
        """Return the embedding (B, E) of features and mask side by side, (B, channels of both, ...)."""
        return self.body(value)

    def known(self, value: Tensor) -> Tensor:
        """Return that every value is known, (B,)."""
        return torch.ones(len(value), dtype=torch.bool, device=value.device)

    def absent(self, n: int) -> Tensor:
        """Return ``n`` values of which nothing was observed."""
        parameter = next(self.parameters())
        return torch.zeros((n, *self.value_shape), dtype=parameter.dtype, device=parameter.device)

    def read(self, value: Any, name: str) -> Tensor:
        """Return values (B, 2, *event); None is an empty mask."""
        like = next(self.parameters())
        return self.absent(1) if value is None else read_numbers(value, self.value_shape, name, like)

    def check(self, value: Tensor, name: str) -> None:
        """Raise ConfigError unless the masks hold zeros and ones, and the observed values are finite."""
        values, mask = value.unbind(1)
        if bool(((mask != 0) & (mask != 1)).any()):
            raise ConfigError(f"the mask of {name} must be 1 where a value was observed and 0 elsewhere")
        if not bool(values[mask > 0].isfinite().all()):
            raise ConfigError(
                f"{name} holds a NaN or an infinite value that counts as observed; set the mask to 0 there"
            )
