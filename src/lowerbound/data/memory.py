"""How much memory there is, and whether what a file announces fits into it."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

import torch

from ..errors import DataError

MIB = 2**20
DEFLATE = 1032  # bytes that a byte packed by deflate (.gz, .npz) can become at most, by the format
_UNKNOWN = 4096 * MIB  # where nothing says how much
_USUAL = 512 * MIB


def available_memory() -> int:
    """Bytes that this process can still take: the least of what the machine, its group and its own limit leave."""
    bounds = [_proc("meminfo", "MemAvailable") or _pages("SC_AVPHYS_PAGES") or _UNKNOWN]
    with suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / f"memory.{name}").read_text() for name in ("max", "current"))
        bounds.append(int(limit) - int(used))  # "max" where there is no limit
    with suppress(ImportError):
        import resource

        for kind, used in ((resource.RLIMIT_DATA, "VmData"), (resource.RLIMIT_AS, "VmSize")):
            limit = resource.getrlimit(kind)[0]
            if limit != resource.RLIM_INFINITY:
                bounds.append(limit - (_proc("self/status", used) or 0))
    return max(0, min(bounds))


def free_on(device: torch.device) -> float:
    """Bytes that are free on a device; of one that does not say, as the CPU, more than there can be."""
    if device.type != "cuda":
        return math.inf
    return torch.cuda.mem_get_info(device)[0]


def check_fits(size: int, what: str, remedy: str = "") -> None:
    """Check bytes that are about to be taken, before they are.

    Args:
        size: How many.
        what: What takes them, the beginning of the message.
        remedy: What to do about it; by default to take less of it or more memory.

    Raises:
        DataError: There is not so much memory.
    """
    there = available_memory()
    if size > there:
        remedy = remedy or "check the file, cut it into smaller ones, or use a machine with more memory"
        raise DataError(
            f"{what} takes {_readable(size)} of memory, but {_readable(there)} are available; {remedy}"
        )


def _readable(size: int) -> str:
    """Bytes in MiB or GiB, as 3.2 GiB."""
    if size > 2**63:  # what a damaged file announces can be beyond any float
        return "more than 8 EiB"
    return f"{size / MIB:.3g} MiB" if size < 1000 * MIB else f"{size / (1024 * MIB):.3g} GiB"


def cap_of(memory: float | None) -> float:
    """MiB of decoded blocks that are kept: what the user says, or a usual number.

    That does not depend on what else runs on the machine, for the order of an epoch depends on it.
    """
    if memory is not None:
        return memory
    return min(_USUAL, (_proc("meminfo", "MemTotal") or _pages("SC_PHYS_PAGES") or _UNKNOWN) // 8) / MIB


def _proc(file: str, name: str) -> int | None:
    """A line of a file in /proc in bytes; None where there is none."""
    with suppress(OSError, StopIteration, ValueError):
        lines = (Path("/proc") / file).read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])
    return None


def _pages(name: str) -> int | None:
    """A count of pages that the system knows, in bytes."""
    with suppress(OSError, ValueError, AttributeError):
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    return None
