"""A test that trains or starts a process says so by a marker: what carries none is a unit test, and quick."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

TESTS = """
import multiprocessing, subprocess, sys
import pytest, torch

def step():
    w = torch.nn.Parameter(torch.ones(1))
    w.sum().backward()
    torch.optim.SGD([w], 0.1).step()

def start():
    subprocess.run([sys.executable, "-c", ""], check=True)

def fork():
    worker = multiprocessing.get_context("fork").Process(target=int)
    worker.start()
    worker.join()

@pytest.fixture(scope="module")
def trained():
    return step()

def test_trains(): step()
def test_starts(): start()
def test_forks(): fork()
def test_trains_in_a_fixture(trained): pass
def test_trains_in_the_fixture_of_another(trained): pass
def test_does_neither(): pass
@pytest.mark.processes
def test_trains_with_the_marker_of_processes(): step()
@pytest.mark.runs
def test_trains_with_its_marker(): step()
@pytest.mark.runs
@pytest.mark.processes
def test_does_both_with_both_markers(trained): start()
@pytest.mark.pages
def test_is_a_page(trained): start()
"""


def test_a_test_without_its_marker_fails_and_says_which(tmp_path):
    here = Path(__file__).parent
    shutil.copy(here / "conftest.py", tmp_path)
    (tmp_path / "test_these.py").write_text(TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-c",
        here.parent / "pyproject.toml",
        tmp_path,
    ]
    told = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stdout
    failed = {line.partition("::")[2] for line in told.splitlines() if line.startswith("FAILED")}
    trains = "this test or a fixture of it takes steps of an optimiser: mark it with pytest.mark.runs"
    assert {name.partition(" - ")[0] for name in failed} == {
        "test_trains",
        "test_starts",
        "test_forks",
        "test_trains_in_a_fixture",
        "test_trains_in_the_fixture_of_another",
        "test_trains_with_the_marker_of_processes",
    }, told
    assert told.count(f"\n{trains}") == 4
    assert (
        told.count("\nthis test or a fixture of it starts a process: mark it with pytest.mark.processes") == 2
    )
