"""The engine under the loop: Lightning Fabric, for one process or for those that a launcher has started.

A launcher (torchrun, Ray) tells each process its place in the environment variables ``RANK``, ``WORLD_SIZE``,
``LOCAL_RANK`` and ``LOCAL_WORLD_SIZE``; here they become a group that averages gradients (DistributedDataParallel).

When a process dies, the launcher starts all of them again with the same command. A run remembers the launch that has
begun it, in ``checkpoint/launch``, so the second life of that launch takes its own run up, and no other one.
"""

from __future__ import annotations

import atexit
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from ..settings import Settings
from .checkpoint import write_atomically
from .devices import choose_device
from .folder import RunFolder

if TYPE_CHECKING:  # it takes seconds to import, and only training needs it
    from lightning_fabric import Fabric

# Names a launch where the launcher is not torchrun, for example a batch job that is queued again after a failure.
LAUNCH = "LOWERBOUND_LAUNCH"
_begun: set[Path] = set()  # by this very process, which may train one model after another in the same folder


def make_fabric(settings: Settings) -> Fabric:
    """Return the engine: one process, or the processes that a launcher has started.

    Raises:
        ConfigError: the device does not exist here.
    """
    from lightning_fabric import Fabric

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
            plugins=[_launched()],
        )
        _join_again(device)
    fabric.launch()
    return fabric


def _launched() -> Any:
    """Return a launcher's environment variables, whichever it is, with any number of processes on each machine."""
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    class Launched(TorchElasticEnvironment):
        def validate_settings(self, num_devices: int, num_nodes: int) -> None:
            """Accept 2 processes here and 1 there: nothing is computed from the product of the two numbers."""

    return Launched()


def _join_again(device: torch.device) -> None:
    """Form the group of a second life under a name of its own.

    torchrun keeps one store for all lives, where a process may find the address of one that is dead
    (https://github.com/pytorch/pytorch/issues/135712). The number of the life parts them, on one machine: several may
    count differently.
    """
    env = os.environ
    life = env.get("TORCHELASTIC_RESTART_COUNT", "0")
    shared = (
        env.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and env["WORLD_SIZE"] == env["LOCAL_WORLD_SIZE"]
    )
    if life == "0" or not shared or distributed.is_initialized():
        return
    from torch.distributed.rendezvous import rendezvous

    store, rank, world = next(rendezvous("env://"))
    distributed.init_process_group(
        distributed.get_default_backend_for_device(device),
        store=distributed.PrefixStore(f"life-{life}", store),  # pyright: ignore[reportPrivateImportUsage]
        rank=rank,
        world_size=world,
    )
    atexit.register(_leave)


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def launch() -> str | None:
    """Return the name of the launch, which outlives its processes; None without one.

    "none" is what torchrun calls a launch on several machines that has got no ``--rdzv-id``.
    """
    name = os.environ.get(LAUNCH) or os.environ.get("TORCHELASTIC_RUN_ID")
    return None if name == "none" else name


def is_restarted(folder: RunFolder) -> bool:
    """Return whether an earlier life of this launch has begun the run in the folder."""
    return launch() is not None and folder.path.resolve() not in _begun and begun_by(folder) == launch()


def begin(folder: RunFolder) -> None:
    """Note that the run in the folder is this launch's; the first of its processes writes it down."""
    remember(folder)
    if os.environ.get("RANK", "0") == "0":
        mark(folder)


def remember(folder: RunFolder) -> None:
    """Note that this very process has begun the run in the folder."""
    _begun.add(folder.path.resolve())


def mark(folder: RunFolder) -> None:
    """Write down in the folder which launch, if any, the run is of."""
    name = launch()
    if name is not None:
        write_atomically(_marker(folder), lambda temporary: temporary.write_text(name, encoding="utf-8"))


def begun_by(folder: RunFolder) -> str | None:
    """Return the name of the launch that has begun the run in the folder, if it had one."""
    try:
        return _marker(folder).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _marker(folder: RunFolder) -> Path:
    return folder.checkpoint.with_name("launch")
