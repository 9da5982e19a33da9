"""Memory that the C library keeps while a run goes on, instead of giving it back to the system at every step."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Iterator

from ..data.memory import MIB, available_memory

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # the numbers of glibc's malloc.h
_LARGEST_ON_HEAP = 32 * MIB  # the most that glibc takes
_KEPT = 256 * MIB  # what some steps of a thousand images of MNIST's size take


@contextlib.contextmanager
def kept_heap() -> Iterator[None]:
    """Within the block glibc keeps memory that was freed, 256 MiB or an eighth of what there is; others do nothing.

    A step frees a dozen arrays of one size. Glibc gives the free end of its heap back once that exceeds twice the
    largest array so far, and each page of it costs a fault in the next step. Afterwards all that is free goes back;
    the thresholds stay where glibc's own rule ends with arrays of 32 MiB, for there is no way back to that rule. Of
    what the environment says about them nothing is changed.

    Reference:
        https://sourceware.org/glibc/manual/latest/html_node/Malloc-Tunable-Parameters.html
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_MMAP_THRESHOLD, _LARGEST_ON_HEAP)
    libc.mallopt(_TRIM_THRESHOLD, min(_KEPT, available_memory() // 8))
    try:
        yield
    finally:
        libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_ON_HEAP)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it is glibc, and the environment says nothing of its thresholds."""
    chosen = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & os.environ.keys()
    if chosen or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "") or platform.libc_ver()[0] != "glibc":
        return None
    return ctypes.CDLL(None)
