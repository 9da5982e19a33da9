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
import resource
import torch
from lowerbound.training import heap

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [torch.ones(2**20) for _ in range(25)]  # 100 MiB, 25 600 pages
    after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    del arrays
    return after - before

heap.available_memory = lambda: 2**31
with heap.kept_heap():
    faults()
    print(min(faults() for _ in range(3)))
print(faults())  # all of it had gone back
"""


@pytest.mark.processes
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the remedy is for glibc")
def test_a_step_s_arrays_cost_faults_once_only():
    env = {name: value for name, value in os.environ.items() if name not in THRESHOLDS}
    ended = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, env=env, check=True
    )
    kept, after = map(int, ended.stdout.split())
    assert kept < after / 2
