"""Small helpers on shapes, floating-point types and randomness that every layer above may use."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator, Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from .errors import ConfigError, ShapeError

_SEEDED = threading.RLock()


def event_shape_of(event_shape: int | Sequence[int], name: str = "event_shape") -> tuple[int, ...]:
    """Return a tuple of positive sizes; a plain integer n stands for (n,).

    Raises:
        ConfigError: a size is not a positive integer, or there is none.
    """
    sizes = tuple(event_shape) if isinstance(event_shape, Sequence) else (event_shape,)
    if not sizes or any(isinstance(s, bool) or not isinstance(s, Integral) or s < 1 for s in sizes):
        raise ConfigError(f"{name} must be one or more positive integers; got {event_shape!r}")
    return tuple(int(s) for s in sizes)


def is_positive(value: Any) -> bool:
    """Return whether this is a finite number above 0."""
    return isinstance(value, Real) and not isinstance(value, bool) and 0 < float(value) < math.inf


def numel(shape: Sequence[int]) -> int:
    """Return the number of elements of one event of this shape."""
    return math.prod(shape)


def check_event(x: Tensor, event_shape: tuple[int, ...], what: str) -> None:
    """Raise ShapeError unless ``x`` is one batch of events: (B, *event_shape).

    Worth its microsecond: a wrong axis would broadcast silently, (B, 1) against (B) gives (B, B).
    """
    if tuple(x.shape[1:]) == event_shape and x.ndim >= 1:
        return
    remedy = "one batch axis comes first"
    if tuple(x.shape) == event_shape:
        remedy = "a single example needs a batch axis: use x.unsqueeze(0)"
    elif numel(x.shape[1:]) == numel(event_shape) and x.ndim > 1:
        remedy = f"the sizes match after x.reshape(-1, {', '.join(map(str, event_shape))})"
    raise ShapeError(f"{what} has event shape {event_shape} but came as {tuple(x.shape)}; {remedy}")


def full_precision(h: Tensor) -> Tensor:
    """Return ``h`` in float32 if a network computed it in 16 bits: log-densities never are."""
    return h.float() if h.dtype in (torch.bfloat16, torch.float16) else h


@contextlib.contextmanager
def draws(
    device: torch.device | str, seed: int | None = None, generator: torch.Generator | None = None
) -> Iterator[None]:
    """Within the block, torch's own generator of ``device`` follows ``seed`` or ``generator``.

    Outside it nothing has changed, except that ``generator`` has moved on; with neither, the block
    draws from torch's global generator as usual. So any ``torch.distributions`` object, and dropout,
    can be driven by a seed without a ``generator`` argument of their own.

    Raises:
        ConfigError: both are given, or the generator lives on another device.
    """
    device = torch.device(device)
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, Integral)):
        raise ConfigError(f"seed must be a whole number; got {seed!r}")
    if seed is not None and generator is not None:
        raise ConfigError("give either seed= or generator=, not both")
    if seed is None and generator is None:
        yield
        return
    if generator is not None and generator.device.type != device.type:
        raise ConfigError(f"generator is on {generator.device} but the model is on {device}")
    accelerator = torch.get_device_module(device) if device.type != "cpu" else None
    get = accelerator.get_rng_state if accelerator else torch.get_rng_state
    put = accelerator.set_rng_state if accelerator else torch.set_rng_state
    # The generator is the whole process's: of several threads, one at a time follows a seed.
    with _SEEDED:
        before = get()
        try:
            if generator is not None:
                put(generator.get_state())
            else:
                assert seed is not None
                (accelerator.manual_seed if accelerator else torch.default_generator.manual_seed)(int(seed))
            yield
            if generator is not None:
                generator.set_state(get())
        finally:
            put(before)


def grid_of(data_shape: Sequence[int], stride: int) -> tuple[int, int] | None:
    """Return rows and columns of a grid that has a place for each ``stride`` x ``stride`` pixels; None for stride 0.

    Raises:
        ConfigError: the stride is no whole number >= 0, or x is no image.
    """
    if isinstance(stride, bool) or not isinstance(stride, int) or stride < 0:
        raise ConfigError(f"stride must be a whole number of pixels, or 0 for no grid; got {stride!r}")
    if stride and len(data_shape) != 3:
        raise ConfigError(f"stride={stride} needs images (C, H, W); got data of shape {tuple(data_shape)}")
    return (-(-data_shape[1] // stride), -(-data_shape[2] // stride)) if stride else None
