"""What is missing of a Gaussian by a logistic function of its value, against integrals of scipy."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from lowerbound.distributions import SelectedGaussian

F64 = torch.float64
CASES = [
    (0.0, 1.0, 0.0, 1.0),
    (0.7, 0.3, -1.0, 2.0),
    (-1.5, 2.0, 0.4, -3.0),
    (0.2, 1.5, -1.0, 40.0),  # all but a step
    (1.0, 0.01, -6.0, 0.5),
    (0.5, 1.0, 2.0, 0.0),
]


def made(case, grad=False):
    return [torch.tensor(value, dtype=F64, requires_grad=grad) for value in case]


def of_missing(case, power):
    """E[u^power σ(a + b u)] by adaptive quadrature, split where the logistic function turns."""
    mean, scale, offset, slope = case
    ends = [mean - 12 * scale, mean + 12 * scale]
    turn = [-offset / slope + d / abs(slope) for d in (-20, -3, 0, 3, 20)] if slope else []
    points = sorted({*ends, *(p for p in turn if ends[0] < p < ends[1])})

    def at(u):
        return u**power * stats.norm.pdf(u, mean, scale) * special.expit(offset + slope * u)

    return sum(
        integrate.quad(at, low, high, epsabs=1e-14, epsrel=1e-12)[0]
        for low, high in itertools.pairwise(points)
    )


@pytest.mark.parametrize("case", CASES)
def test_chance_and_mean_are_the_integrals(case):
    law = SelectedGaussian(*made(case))
    total = of_missing(case, 0)
    assert law.log_missing.item() == pytest.approx(math.log(total), abs=1e-8)
    assert law.mean.item() == pytest.approx(of_missing(case, 1) / total, abs=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_the_integral(case):
    numbers = made(case, grad=True)
    SelectedGaussian(*numbers).log_missing.backward()
    for i, number in enumerate(numbers):
        moved = []
        for step in (1e-4, -1e-4):
            other = list(case)
            other[i] += step * max(1, abs(case[i])) if i != 1 else step * case[1]
            moved.append((other[i], math.log(of_missing(other, 0))))
        slope = (moved[0][1] - moved[1][1]) / (moved[0][0] - moved[1][0])
        assert number.grad.item() == pytest.approx(slope, abs=1e-5, rel=1e-5)
    assert torch.autograd.gradcheck(lambda *v: SelectedGaussian(*v).log_missing, made(case, grad=True))


@pytest.mark.parametrize("case", CASES)
def test_draws_have_the_moments_of_what_is_missing(case):
    torch.manual_seed(0)
    drawn = SelectedGaussian(*made(case)).sample(torch.Size((40_000,))).numpy()
    total, first, second = (of_missing(case, power) for power in (0, 1, 2))
    mean = first / total
    std = math.sqrt(second / total - mean**2)
    assert drawn.mean() == pytest.approx(mean, abs=4 * std / 200)
    assert drawn.std() == pytest.approx(std, rel=0.03)


def test_far_out_and_in_float32_nothing_is_infinite():
    numbers = [
        torch.tensor(v, requires_grad=True) for v in ([-50.0, 80.0], [0.1, 1.0], [0.0, 3.0], [9.0, -9.0])
    ]
    law = SelectedGaussian(*numbers)
    (law.log_missing.sum() + law.mean.sum()).backward()
    assert law.sample(torch.Size((50,))).isfinite().all()
    assert all(bool(number.grad.isfinite().all()) for number in numbers)
    assert np.isfinite(law.log_missing.detach().numpy()).all()
