"""What every test shares: a fixed seed, float64 for those that compare numbers with formulas, and a guard.

A unit test neither trains nor starts a process; ``make check`` runs these alone. Others carry a marker: ``runs``,
``processes``, or ``pages`` for the blocks of a page and the examples. The guard fails a test that lacks its marker.
"""

import functools
import gc
import multiprocessing.process
import os
import subprocess
from collections import defaultdict

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

# What a marker is for, and the markers with which a test may do it.
SENTENCES = {
    "runs": ("takes steps of an optimiser", {"runs", "pages"}),
    "processes": ("starts a process", {"processes", "pages"}),
}
_seen: set[str] = set()
_seen_in_fixtures: defaultdict[tuple[str, str], set[str]] = defaultdict(set)  # by node and name


# The first k-means of a process would else start another one, which counts the cores.
os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")
gc.disable()


def pytest_collection_finish():
    """What was collected lives to the end: it is gone through neither while it grows nor later."""
    gc.freeze()
    gc.enable()


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="where the slot contracts also run, for example cuda")


def pytest_configure(config):
    """Note from now on when a model is trained, by whatever loop, and when a process starts."""
    register_optimizer_step_pre_hook(lambda *_: _seen.add("runs"))
    for cls, name in ((subprocess.Popen, "__init__"), (multiprocessing.process.BaseProcess, "start")):
        setattr(cls, name, _noting(getattr(cls, name)))


def _noting(method):
    @functools.wraps(method)
    def noted(*args, **kwargs):
        _seen.add("processes")
        return method(*args, **kwargs)

    return noted


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef, request):
    """Keep what a fixture does, for all tests that use it: it is set up for the first of them only."""
    before = _seen.copy()
    _seen.clear()
    try:
        return (yield)
    finally:
        _seen_in_fixtures[request.node.nodeid, fixturedef.argname] |= _seen
        _seen.update(before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    _seen.clear()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item):
    result = yield
    nodes = [node.nodeid for node in item.listchain()]
    needed = _seen.union(*(_seen_in_fixtures[node, name] for node in nodes for name in item.fixturenames))
    marked = {mark.name for mark in item.iter_markers()}
    for marker in sorted(needed):
        does, markers = SENTENCES[marker]
        if not markers & marked:
            pytest.fail(
                f"this test or a fixture of it {does}: mark it with pytest.mark.{marker}", pytrace=False
            )
    return result


@pytest.fixture
def device(request):
    return request.config.getoption("--device")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def float64():
    """Make float64 the default type of a test: rounding then hides no wrong constant."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def one_thread():
    """Let torch compute in one thread: sums are then added in one order, and runs repeat bit for bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
