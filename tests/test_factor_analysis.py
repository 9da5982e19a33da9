"""Factor analysis against scikit-learn's, dense Gaussians, and loadings that are known."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.datasets import load_wine
from sklearn.decomposition import FactorAnalysis
from sklearn.preprocessing import scale

from lowerbound.factor_analysis import Factors, best_rank, factors, log_density

WINE = scale(load_wine(return_X_y=True)[0])


def known(n, gaps=0.0, seed=0):
    rng = np.random.default_rng(seed)
    model = Factors(rng.normal(size=6), rng.normal(size=(6, 2)), rng.uniform(0.2, 0.6, 6))
    x = (
        model.mean
        + rng.normal(size=(n, 2)) @ model.loadings.T
        + rng.normal(size=(n, 6)) * np.sqrt(model.noise)
    )
    return model, np.where(rng.random(x.shape) < gaps, np.nan, x)


def dense(model):
    return model.loadings @ model.loadings.T + np.diag(model.noise)


@pytest.mark.parametrize("gaps", [0.0, 0.4])
def test_density_is_that_of_the_dense_gaussian_of_what_is_seen(gaps):
    model, x = known(50, gaps)
    covariance = dense(model)
    for row, found in zip(x, log_density(model, x), strict=True):
        at = np.flatnonzero(~np.isnan(row))
        exact = (
            multivariate_normal(model.mean[at], covariance[np.ix_(at, at)]).logpdf(row[at]) if len(at) else 0
        )
        assert found == pytest.approx(exact, abs=1e-9)


@pytest.mark.slow
def test_of_whole_rows_the_fit_is_that_of_the_greatest_likelihood():
    peer = FactorAnalysis(3, tol=1e-8, max_iter=20000).fit(WINE)
    assert log_density(factors(WINE, 3), WINE).mean() == pytest.approx(peer.score(WINE), abs=1e-3)


def test_a_missing_value_is_the_mean_of_its_feature():
    _, x = known(500, 0.3)
    filled = np.where(np.isnan(x), np.nanmean(x, 0), x)
    for found, same in zip(factors(x, 2), factors(filled, 2), strict=True):
        assert found == pytest.approx(same, abs=1e-6)


def test_the_rank_is_that_of_the_data_with_gaps_and_without():
    assert best_rank(known(600)[1]) == 2
    assert best_rank(known(2000, 0.3)[1]) == 2


def test_noise_has_a_floor_and_a_feature_that_no_row_shows_does_no_harm():
    _, x = known(100, 0.2)
    floor = np.full(6, 0.5)
    assert (factors(x, 2, floor).noise >= 0.5).all()
    x[:, 3] = np.nan
    found = factors(x, 2)
    assert all(np.isfinite(part).all() for part in found)
    assert np.isfinite(log_density(found, x)).all()
