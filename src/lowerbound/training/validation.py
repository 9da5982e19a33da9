"""What a model is worth on a split, as its objective judges it, and the random numbers of that."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..data import Split
from ..errors import ConfigError
from ..evaluation.stream import log_volume
from ..model import VAE
from ..objectives import Objective
from ..settings import Settings
from .checkpoint import seed_for
from .means import Means

if TYPE_CHECKING:
    from lightning_fabric import Fabric


_OF_X = ("bound", "elbo", "reconstruction")  # the terms that are log-densities of x


def seed_all(device: torch.device, seed: int) -> None:
    """Seed torch's global generators: the CPU's, and the device's if it has one."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


@torch.no_grad()
def validate(
    fabric: Fabric, model: VAE, objective: Objective, split: Split, settings: Settings
) -> tuple[dict[str, float], str]:
    """Return the means of ``objective.validate`` over a split, each over the examples that have the number.

    The same noise at every call: differences between two evaluations are the model's, not the draws'.

    Returns:
        The means, and where the bound is not finite: an example of this process, in words, or "".

    Raises:
        ConfigError: the objective reports no bound.
    """
    rank, world = fabric.global_rank, fabric.world_size
    means, bounds = Means(fabric.device), []
    for number, (x, c) in enumerate(split.batches(settings.batch_size, seed=settings.seed)):
        # Every process takes its share of every batch. One whose share is empty looks at an example that does not
        # count, for all must have the same terms to add up.
        counted = len(x) > rank
        mine = slice(rank, None, world) if counted else slice(1)
        c = c and {name: value[mine] for name, value in c.items()}
        seed_all(fabric.device, seed_for(settings.seed, -2 - rank, number))
        values = objective.validate(model, x[mine], c, settings.validation_samples)
        if "bound" not in values:
            raise ConfigError(
                f"{type(objective).__name__}.validate reports no 'bound', which chooses the model"
            )
        values = of_original(values, log_volume(model, split.spec, c))
        means.add_each(values, counted)
        bounds.append(values["bound"] if counted else values["bound"][:0])
    found = means.over(fabric)
    return found, "" if math.isfinite(found["bound"]) else _first_bad(
        bounds, settings.batch_size, rank, world
    )


def of_original(values: Mapping[str, Any], volume: Tensor | float) -> dict[str, Any]:
    """Return an objective's terms with log p(x) as that of the discrete original, as evaluations have it.

    Args:
        values: Terms by name.
        volume: What the density of the dequantised x exceeds it by, in nats.
    """
    return {name: value - volume if name in _OF_X else value for name, value in values.items()}


def _first_bad(bounds: list[Tensor], batch_size: int, rank: int, world: int) -> str:
    for number, values in enumerate(bounds):
        bad = (~torch.isfinite(values)).nonzero().flatten().tolist()
        if bad:
            return f"{values[bad[0]].item()} for example {number * batch_size + rank + world * bad[0]}"
    return "not finite over all"
