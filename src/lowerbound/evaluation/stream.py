"""What every evaluation shares: its options, a frozen model, batches of examples, tiles under a memory cap."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, get_args

import torch
from torch import Tensor, nn

from ..data import DataSpec, Split
from ..errors import ConfigError, DataError, suggest
from ..model import VAE
from ..nn.network import context_size
from ..nn.packing import packed
from ..progress import Advance, progress_bar
from ..shapes import draws, numel

Precision = Literal["fp32", "bf16"]

# Measured with an MLP decoder of 784 pixels: from half to twice this size the time per row is within a fifth of the
# best; far above, arrays leave the cache and malloc gives their pages back each time.
_CPU_BYTES_PER_THREAD = 12 * 2**20

# The data's binarisation and dequantisation come from a generator with a small seed. The latent draws must not:
# from one stream, the noise of x and of z would be the same numbers.
_LATENT_STREAM = 0x7A657461
_PATIENCE = 0.5  # seconds before a bar appears


class Options(TypedDict, total=False):
    """What every evaluation takes as keyword arguments.

    Attributes:
        c: The condition in place of the split's, one for all examples or one each.
        limit: Evaluate only the first examples.
        memory: Cap on the arrays held at once in MiB, 256 if not given, for as few as one example. The draws depend
            on how many go together: they repeat for equal ``memory``, ``limit`` and, on a CPU, number of threads.
        seed: Seed of the latent draws, 0 if not given. The binarisation or dequantisation is the same for all seeds.
        precision: "fp32" or "bf16" for the networks; None for the model's ``compute_dtype``. Log-densities are never
            in fewer than 32 bits.
        progress: False for no progress bar on the terminal.
    """

    c: Any
    limit: int | None
    memory: float
    seed: int
    precision: Precision | None
    progress: bool | None


@dataclass(frozen=True)
class Passes:
    """A model, the examples that go through it, and the ``Options`` of that, checked.

    Attributes:
        model: The model; its mode and torch's global generator are left as they were.
        split: A part of the data, or a tensor or array (N, *event), from here on a tensor.

    Raises:
        ConfigError: an option has an impossible value.
        DataError: there are no examples.
    """

    model: VAE
    split: Split | Tensor | Any
    c: Any = None
    limit: int | None = None
    memory: float = 256
    seed: int = 0
    precision: Precision | None = None
    progress: bool | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.split, Split):
            split = self.split if isinstance(self.split, Tensor) else self.model.accept(self.split)
            object.__setattr__(self, "split", torch.atleast_1d(split))
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit must be at least 1, or None for all examples; got {self.limit}")
        if not self.memory > 0:
            raise ConfigError(f"memory must be positive, in MiB; got {self.memory!r}")
        network_dtype(self.model, self.precision)
        if len(self.split) == 0:
            raise DataError("there are no examples to evaluate")

    @property
    def n(self) -> int:
        """How many examples are evaluated."""
        return len(self.split) if self.limit is None else min(self.limit, len(self.split))

    @property
    def spec(self) -> DataSpec | None:
        """The schema of the data; a bare tensor has none."""
        return self.split.spec if isinstance(self.split, Split) else None

    @property
    def rows(self) -> int:
        """How many latent codes go together."""
        return tile_rows(self.model, self.memory)

    @contextlib.contextmanager
    def running(self, what: str) -> Iterator[Advance]:
        """Freeze the model within the block, and give what moves a bar of as many units as there are examples."""
        # Of None and True a bar on a terminal and nothing elsewhere: a result has no lines of its own.
        shown = False if self.progress is False else None
        bar = progress_bar(what, self.n, shown, unit="examples", after=_PATIENCE)
        with frozen(self.model, self.seed, self.precision), bar as advance:
            yield advance

    def batches(self, size: int) -> Iterator[tuple[Tensor, dict[str, Tensor] | None]]:
        """Yield (x, c) in order, x (B, *event) on the model's device and in its floating-point type.

        Raises:
            ShapeError: x is not a batch of the model's events.
            SupportError: x lies outside the likelihood's support.
            ConfigError: the condition is not what the model takes, or was never seen in training.
            DataError: the split has other columns or classes than the data that the model was made for.
        """
        model, split = self.model, self.split
        if self.spec is not None and model.data_spec is not None:
            model.data_spec.check_same(self.spec)
        whole = None if self.c is None else model.read(self.c, len(split))
        if isinstance(split, Tensor):
            parts: Iterator[tuple[Tensor, Any]] = ((x, None) for x in split[: self.limit].split(size))
        else:
            parts = split.batches(size, limit=self.limit)
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

    def log_volume(self, c: dict[str, Tensor] | None) -> Tensor | float:
        """Return what log p(x) exceeds that of the discrete original by, in nats, or (B,); 0 for a bare tensor.

        Args:
            c: The condition of a batch: where it holds the observed elements, only the others are scored.
        """
        volume = log_volume(self.model, self.spec, c)
        return volume.cpu().double() if isinstance(volume, Tensor) else volume


def log_volume(model: VAE, spec: DataSpec | None, c: dict[str, Tensor] | None) -> Tensor | float:
    """Return what a log-density exceeds the log-probability of the discrete original by, in nats, or (B,).

    Args:
        model: The model.
        spec: What the data are; nothing is discrete without.
        c: The condition of a batch: where it holds the observed elements, only the others are scored.
    """
    volume = 0.0 if spec is None else spec.log_volume
    name = None if model.condition is None else model.condition.observed
    if not volume or name is None or c is None:
        return volume
    return volume * (1 - c[name][:, 1].flatten(1).mean(1))


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


def check_samples(what: str, samples: int) -> None:
    """Raise ConfigError unless there is at least one sample."""
    if samples < 1:
        raise ConfigError(f"{what} needs samples >= 1; got {samples!r}")


def standard_error(values: Tensor) -> float:
    """Return sd / √n of values (n,); NaN for n = 1."""
    return values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan


def tile_rows(model: VAE, memory: float) -> int:
    """Return how many latent codes may be decoded and scored at once in ``memory`` MiB.

    The decoder is run on one code to see the largest array in it, of which three are counted (input, output and
    one temporary), or four arrays of the size of its output, which a log-density needs. On a CPU a tile is in
    addition kept to a size that stays in the caches, of each thread's.
    """
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
