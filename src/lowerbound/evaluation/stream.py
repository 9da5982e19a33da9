"""What every evaluation shares: a frozen model, batches of examples, tiles under a memory cap."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ..data import DataSpec, Split
from ..errors import ConfigError, DataError, suggest
from ..model import VAE
from ..nn.network import context_size
from ..nn.packing import packed
from ..shapes import draws, numel

Precision = Literal["fp32", "bf16"]

# Measured with an MLP decoder of 784 pixels: from half to twice this size the time per row is within a fifth of the
# best; far above, arrays leave the cache and malloc gives their pages back each time.
_CPU_BYTES_PER_THREAD = 12 * 2**20

# The data's binarisation and dequantisation come from a generator with a small seed. The latent draws must not:
# from one stream, the noise of x and of z would be the same numbers.
_LATENT_STREAM = 0x7A657461


@contextlib.contextmanager
def frozen(model: VAE, seed: int = 0, precision: Precision | None = None) -> Iterator[None]:
    """Within the block: no gradients, dropout off, latent draws from ``seed``, networks in ``precision``.

    The model's mode, its compute type and torch's global generator are afterwards what they were before.

    Args:
        model: The model.
        seed: Seed of the latent draws.
        precision: "fp32" for the parameters' own type, "bf16" for networks in bfloat16, None for the model's
            ``compute_dtype``.

    Raises:
        ConfigError: unknown precision.
    """
    before = model.compute_dtype
    try:
        model.compute_dtype = network_dtype(model, precision)
        # The outer autocast is off, but while it lasts the weights' 16-bit copies are kept from tile to tile.
        cached = torch.autocast(model.device.type, enabled=False)
        packing = packed(model) if model.compute_dtype is None else contextlib.nullcontext()
        with model.evaluating(), torch.inference_mode(), cached, packing:
            with draws(model.device, seed ^ _LATENT_STREAM):
                yield
    finally:
        model.compute_dtype = before


def network_dtype(model: VAE, precision: Precision | None) -> torch.dtype | None:
    """Return the type that ``precision`` asks the networks to compute in, None for the parameters' own.

    Raises:
        ConfigError: unknown precision.
    """
    if precision is None:
        return model.compute_dtype
    if precision not in get_args(Precision):
        raise ConfigError(f"unknown precision {precision!r}; {suggest(str(precision), get_args(Precision))}")
    return torch.bfloat16 if precision == "bf16" else None


def examples_of(split: Split | Tensor | Any) -> Split | Tensor:
    """Return a split as it is and anything else as a tensor (N, *event)."""
    return split if isinstance(split, Split) else torch.atleast_1d(torch.as_tensor(split))


def spec_of(split: Split | Tensor) -> DataSpec | None:
    """Return the schema of a split; a bare tensor has none."""
    return split.spec if isinstance(split, Split) else None


def log_volume(split: Split | Tensor) -> float:
    """Return what log p(x) exceeds the log-probability of the discrete original by, nats; 0 for a bare tensor."""
    spec = spec_of(split)
    return 0.0 if spec is None else spec.log_volume


def scored_share(model: VAE, c: dict[str, Tensor] | None) -> Tensor | float:
    """Return the share of its elements that each example is scored on, (B,): 1, unless the others are given."""
    name = None if model.condition is None else model.condition.observed
    return 1.0 if name is None or c is None else 1 - c[name][:, 1].flatten(1).mean(1).cpu().double()


def standard_error(values: Tensor) -> float:
    """Return sd / √n of values (n,); NaN for n = 1."""
    return values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan


def count(split: Split | Tensor, limit: int | None) -> int:
    """Return how many examples will be evaluated.

    Raises:
        ConfigError: the limit is not positive.
        DataError: there are no examples.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit must be at least 1, or None for all examples; got {limit}")
    if len(split) == 0:
        raise DataError("there are no examples to evaluate")
    return len(split) if limit is None else min(limit, len(split))


def batches(
    model: VAE, split: Split | Tensor, size: int, limit: int | None, c: Any = None
) -> Iterator[tuple[Tensor, dict[str, Tensor] | None]]:
    """Yield (x, c) in order, x (B, *event) on the model's device and in its floating-point type.

    Args:
        model: The model.
        split: A part of the data, which brings its condition, or a tensor (N, *event).
        size: Examples in a batch.
        limit: Stop after so many examples.
        c: The condition in place of the split's, one for all examples or N, as ``VAE.encode`` takes it.

    Raises:
        ShapeError: x is not a batch of the model's events.
        SupportError: x lies outside the likelihood's support.
        ConfigError: the condition is not what the model takes, or was never seen in training.
        DataError: the split has other columns or classes than the data that the model was made for.
    """
    spec = spec_of(split)
    if spec is not None and model.data_spec is not None:
        model.data_spec.check_same(spec)
    whole = None if c is None else model.read(c, len(split))
    if isinstance(split, Tensor):
        parts: Iterator[tuple[Tensor, Any]] = ((x, None) for x in split[:limit].split(size))
    else:
        parts = split.batches(size, limit=limit)
    start = 0
    for raw, own in parts:
        x = model.accept(raw)
        # A model without a condition gives log p(x), whatever else is known of x.
        part = own if model.condition is not None else None
        if whole is not None:
            part = {k: v if len(v) == 1 else v[start : start + len(x)] for k, v in whole.items()}
        model.check_x(x)
        start += len(x)
        yield x, model.read(part, len(x), each=True)


def tile_rows(model: VAE, memory: float) -> int:
    """Return how many latent codes may be decoded and scored at once in ``memory`` MiB.

    The decoder is run on one code to see the largest array in it, of which three are counted (input, output and
    one temporary), or four arrays of the size of its output, which a log-density needs. On a CPU a tile is in
    addition kept to a size that stays in the caches.

    Raises:
        ConfigError: memory is not positive.
    """
    if not memory > 0:
        raise ConfigError(f"memory must be positive, in MiB; got {memory!r}")
    itemsize = torch.finfo(model.dtype).bits // 8
    sizes = [numel(model.latent_shape)]

    def note(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.numel())

    hooks = [module.register_forward_hook(note) for module in model.decoder.modules()]
    try:
        # Not through __call__: hooks that others have put on the decoder see the samples and nothing else.
        probe = [torch.zeros(1, *model.prior.code_shape, device=model.device, dtype=model.dtype)]
        if size := context_size(model.decoder):
            probe.append(probe[0].new_zeros(1, size))
        output = model.decoder.forward(*probe)
    finally:
        for hook in hooks:
            hook.remove()
    budget = memory * 2**20
    if model.device.type == "cpu":
        budget = min(budget, _CPU_BYTES_PER_THREAD * torch.get_num_threads())
    return max(1, int(budget // (itemsize * max(3 * max(sizes), 4 * output.numel()))))
