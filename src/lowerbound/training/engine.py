"""The engine under the loop: Lightning Fabric, for one process or for those that a launcher has started.

A launcher (torchrun, Ray) tells each process its place in the environment variables ``RANK``, ``WORLD_SIZE``,
``LOCAL_RANK`` and ``LOCAL_WORLD_SIZE``; here they become a group that averages gradients (DistributedDataParallel).
"""

from __future__ import annotations

import logging
import os
from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import TorchElasticEnvironment

from .devices import choose_device
from .settings import Settings


class _Launched(TorchElasticEnvironment):
    """The environment variables of a launcher, whichever it is, with any number of processes on each machine."""

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Accept 2 processes here and 1 there: nothing is computed from the product of the two numbers."""


def make_fabric(settings: Settings) -> Fabric:
    """Return the engine: one process, or the processes that a launcher has started.

    Raises:
        ConfigError: the device does not exist here.
    """
    device = choose_device(settings.device)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # no advice on global torch settings
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world == 1:
        devices: Any = [device.index or 0] if device.type != "cpu" else 1
        fabric = Fabric(accelerator=device.type, devices=devices)
    else:
        local = int(os.environ.get("LOCAL_WORLD_SIZE", world))
        fabric = Fabric(
            accelerator=device.type,
            devices=local,
            num_nodes=max(1, world // local),
            strategy="ddp",
            plugins=[_Launched()],
        )
    fabric.launch()
    return fabric
