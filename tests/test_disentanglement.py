"""Scores of disentanglement on toy codes, for which each is known by arithmetic."""

import itertools
import math

import numpy as np
import pytest

from lowerbound.errors import DataError
from lowerbound.evaluation import (
    dci,
    disentanglement,
    factor_vae_score,
    gaussian_total_correlation,
    mig,
    modularity,
    mutual_information,
    sap,
)

BITS = np.array(list(itertools.product([0, 1], repeat=2)) * 50)  # two fair bits a and b, each pair as often
A, B = BITS.T.astype(float)
ENTROPY = np.full(2, math.log(2))
GRID = np.array(list(itertools.product(range(4), range(5), range(3))) * 20)  # three factors


def gap(codes, factors=BITS):
    entropy = [math.log(len(np.unique(f))) for f in factors.T]
    return mig(mutual_information(codes, factors), np.array(entropy))


@pytest.mark.parametrize(
    ("codes", "value"),
    [
        (np.stack([A, B], 1), 1.0),
        (np.stack([B, A], 1), 1.0),
        (np.stack([A, B, A, B], 1), 0.0),
        (np.stack([A * 0, A * 0], 1), 0.0),
        (np.stack([A + B, A - B], 1), 0.0),
        (np.stack([A + B, A * 0], 1), 0.5),
        ((A + B)[:, None], 0.5),
        (np.stack([A, B * 0], 1), 0.5),
    ],
)
def test_mutual_information_gap_of_two_bits(codes, value):
    assert gap(codes) == pytest.approx(value, abs=1e-12)


def test_mutual_information_is_that_of_the_table_of_frequencies():
    information = mutual_information(np.stack([A + B, A], 1), BITS)
    # I(a + b; a) = H(a + b) - H(b) = 1.5 bits - 1 bit
    np.testing.assert_allclose(information, np.array([[0.5, 0.5], [1, 0]]) * math.log(2), atol=1e-12)
    assert gap(GRID.astype(float), GRID) == pytest.approx(1.0)


def test_a_factor_that_never_changes_is_left_out_of_the_gap():
    factors = np.column_stack([BITS, np.zeros(len(BITS), int)])
    information = mutual_information(np.stack([A, B], 1), factors)
    assert mig(information, np.append(ENTROPY, 0.0)) == pytest.approx(1.0)


def test_separated_attribute_predictability():
    continuous = np.stack([A, B], 1)
    assert sap(np.stack([A, B], 1), continuous) == pytest.approx(1.0)
    assert sap(np.stack([A + B, A * 0], 1), continuous) == pytest.approx(0.5)
    assert sap(np.stack([A, B, A, B], 1), continuous) == pytest.approx(0.0)
    assert sap(np.stack([A, B], 1), BITS) > 0.4  # right always, against half of the time
    # A code that never moves predicts no class.
    assert sap(np.stack([A, A * 0], 1), BITS[:, :1]) == pytest.approx(1.0)


def test_disentanglement_and_completeness_of_importances():
    eye = np.eye(5)
    once, twice = pytest.approx(1.0), pytest.approx(1 - math.log(2) / math.log(10))
    assert dci(np.eye(10)) == (once, once)
    assert dci(np.vstack([eye, eye])) == (once, twice)
    assert dci(np.hstack([eye, eye])) == (twice, once)
    assert dci(np.zeros((10, 10))) == (0.0, 0.0)
    missed = np.eye(10)
    missed[5:] = 0
    assert dci(missed) == (once, once)
    assert dci(np.ones((4, 4))) == (pytest.approx(0.0), pytest.approx(0.0))
    # A code that matters three times as much weighs so much more: rows (1, 0), (1.5, 1.5).
    assert dci(np.array([[1.0, 0.0], [1.5, 1.5]]))[0] == pytest.approx(0.25)


def test_modularity():
    assert modularity(np.eye(3)) == pytest.approx(1.0)
    assert modularity(np.diag([1.0, 1.0, 0.0])) == pytest.approx(2 / 3)
    shared = np.eye(10)
    shared[0, 1] = 1.0
    assert modularity(shared) == pytest.approx((9 + 1 - 1 / 9) / 10)
    assert modularity(np.zeros((2, 4))) == 0.0


def test_factor_vae_score():
    codes = GRID * np.array([1.0, 10.0, 0.1])
    assert factor_vae_score(codes, GRID, votes=300) == 1.0
    assert factor_vae_score(codes[:, ::-1], GRID, votes=300) == 1.0
    assert factor_vae_score(codes * 1e-3, GRID, votes=300) == 0.0
    noise = np.random.default_rng(0).standard_normal((len(GRID), 3))
    assert factor_vae_score(noise, GRID, votes=3000) == pytest.approx(1 / 3, abs=0.1)
    # Without the pruning of codes that hardly move, a constant one would win every vote.
    assert factor_vae_score(np.column_stack([codes, np.full(len(codes), 1e-4)]), GRID, votes=300) == 1.0


def test_gaussian_total_correlation():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((4000, 2))
    z = (z - z.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(z.T)).T)  # covariance exactly I
    assert gaussian_total_correlation(z) == pytest.approx(0.0, abs=1e-12)
    r = 0.8
    tied = np.column_stack([z[:, 0], 3 * (r * z[:, 0] + math.sqrt(1 - r**2) * z[:, 1]), np.ones(4000)])
    assert gaussian_total_correlation(tied) == pytest.approx(-0.5 * math.log(1 - r**2))
    assert gaussian_total_correlation(np.column_stack([z, z[:, 0]])) > 10


@pytest.mark.slow
def test_all_scores_of_codes_that_are_the_factors():
    got = disentanglement(GRID.astype(float), GRID)
    values = (got.mig, got.disentanglement, got.completeness, got.informativeness, got.modularity)
    assert values == pytest.approx([1.0] * 5, abs=1e-6)
    assert (got.factor_vae, got.gaussian_total_correlation) == (1.0, pytest.approx(0.0, abs=1e-12))
    assert (got.n, got.bins) == (len(GRID), 20)
    mixed = disentanglement(GRID @ np.array([[1.0, 1, 0], [1, -1, 1], [0.5, 0, -1]]), GRID)
    assert mixed.mig < 0.4
    assert mixed.disentanglement < 0.8


@pytest.mark.parametrize(
    ("codes", "factors", "message"),
    [
        (np.zeros(4), np.zeros((4, 1)), r"codes are \(N, L\)"),
        (np.zeros((4, 2)), np.zeros((3, 1)), r"a row for each of 4 examples; got shape \(3, 1\)"),
        (np.full((4, 2), np.nan), np.zeros((4, 1)), "finite"),
        (np.zeros((4, 2)), np.full((4, 1), np.nan), "factors must be finite"),
    ],
)
def test_what_is_no_codes_or_factors_is_refused(codes, factors, message):
    with pytest.raises(DataError, match=message):
        mutual_information(codes, factors)
