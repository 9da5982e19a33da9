"""What every test shares: a fixed seed, and float64 for those that compare numbers with formulas."""

import pytest
import torch


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="where the slot contracts also run, for example cuda")


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
