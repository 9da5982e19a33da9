import ctypes
import os
import platform
import subprocess
import sys

import pytest

from lowerbound.training import heap

THRESHOLDS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


class Library:
    """Stands for the C library, and notes what is asked of it."""

    def __init__(self, *_):
        self.calls = []

    def mallopt(self, *call):
        self.calls.append(call)

    def malloc_trim(self, *call):
        self.calls.append(call)


@pytest.fixture
def library(monkeypatch):
    made = Library()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: made)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    for name in THRESHOLDS:
        monkeypatch.delenv(name, raising=False)
    return made


def test_the_thresholds_are_raised_and_the_memory_goes_back_even_after_an_error(library):
    with pytest.raises(KeyError), heap.kept_heap():
        raise KeyError
    largest, (name, kept), *after = library.calls
    assert largest == (-3, 32 * 2**20)
    assert name == -1
    assert 0 < kept <= 256 * 2**20
    assert after == [(-1, 64 * 2**20), (0,)]


@pytest.mark.parametrize("other", [("", ""), ("musl", "1.2.5"), ("libc", "")])
def test_other_c_libraries_are_left_alone(library, monkeypatch, other):
    monkeypatch.setattr(platform, "libc_ver", lambda: other)
    with heap.kept_heap():
        pass
    assert not library.calls


@pytest.mark.parametrize("name", THRESHOLDS)
def test_what_the_environment_says_stands(library, monkeypatch, name):
    monkeypatch.setenv(name, "glibc.malloc.trim_threshold=131072")
    with heap.kept_heap():
        pass
    assert not library.calls


FAULTS = """
import ctypes, resource
from lowerbound.training import heap

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [libc.malloc(2**22) for _ in range(25)]  # 100 MiB, 25 600 pages
    for array in arrays:
        ctypes.memset(array, 1, 2**22)
    for array in arrays:
        libc.free(array)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

heap.available_memory = lambda: 2**31
with heap.kept_heap():
    print(faults(), faults())
print(faults())
"""


@pytest.mark.processes
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the remedy is for glibc")
def test_a_step_s_arrays_cost_faults_once_only():
    env = {name: value for name, value in os.environ.items() if name not in THRESHOLDS}
    told = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, env=env, check=True)
    first, second, after = map(int, told.stdout.split())
    assert first > 10_000
    assert second < 2000
    assert after > 10_000  # all of it had gone back
