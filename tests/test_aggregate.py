"""The parts of the KL term, and the forecast of collapse, on models for which both are known."""

import math

import numpy as np
import pytest
import torch
from exact import linear_gaussian, linear_vae
from torch.distributions import MultivariateNormal

import lowerbound as lb
from lowerbound.errors import ConfigError
from lowerbound.evaluation import aggregate_posterior, bound, collapse_forecast
from lowerbound.likelihoods import Bernoulli, Gaussian
from lowerbound.model import VAE
from lowerbound.nn import MLP
from lowerbound.posteriors import DiagonalGaussian
from lowerbound.priors import StandardNormal

float64 = pytest.mark.usefixtures("float64")


# ------------------------------------------------------------------------------------- the two parts of the KL
@pytest.mark.slow
@float64
def test_at_the_exact_posterior_the_aggregate_is_the_prior_and_the_information_a_closed_form():
    truth = linear_gaussian(4, 2, orthogonal=True, sigma=0.8)
    got = aggregate_posterior(linear_vae(truth), truth.sample(4000))
    information = (
        0.5 * torch.logdet(truth.precision).item()
    )  # ½ log of prior variance over posterior variance
    # Of finite many examples q(z) is a little off the prior: by less than a dimension's worth of Σ 1/n.
    assert abs(got.mutual_information - information) < 4 * got.mutual_information_stderr + 0.02
    assert abs(got.kl) < 4 * got.kl_stderr + 0.02
    assert got.warning is None


@pytest.mark.slow
@float64
def test_a_shifted_prior_is_that_far_from_the_aggregate():
    truth = linear_gaussian(4, 2, orthogonal=True, sigma=0.8)
    model = linear_vae(truth)
    shift = torch.tensor([1.0, -0.5])
    model.prior.forward = lambda context=None, encode=None: MultivariateNormal(shift, torch.eye(2))
    got = aggregate_posterior(model, truth.sample(3000))
    assert abs(got.kl - 0.5 * shift.square().sum()) < 4 * got.kl_stderr + 0.02


@float64
def test_the_parts_add_up_to_the_kl():
    truth = linear_gaussian(4, 2, orthogonal=True, sigma=0.3)
    model, x = linear_vae(truth), 2 * truth.sample(2000) + 1
    got = aggregate_posterior(model, x, memory=0.01)
    error = got.mutual_information_stderr + got.kl_stderr
    assert abs(got.mutual_information + got.kl - bound(model, x).kl) < 4 * error


@float64
def test_information_near_its_limit_is_not_trusted():
    truth = linear_gaussian(4, 2, orthogonal=True, sigma=1e-3)
    got = aggregate_posterior(linear_vae(truth), truth.sample(20))
    assert got.mutual_information == pytest.approx(math.log(20), abs=1e-6)
    assert "close to log n = 3.00" in got.warning


# ------------------------------------------------------------------------------------------ collapse
def linear(scale, latent=3, dimensions=5):
    encoder = MLP((dimensions,), (2, latent), hidden=())
    decoder = MLP((latent,), (2 if scale == "predicted" else 1, dimensions), hidden=())
    return VAE(
        encoder, DiagonalGaussian(latent), StandardNormal(latent), decoder, Gaussian(dimensions, scale=scale)
    )


def data_with(variances, n=400, seed=0):
    """Examples with exactly these eigenvalues, along random directions."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, len(variances)))
    z = z - z.mean(0)
    z = z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / n).T)
    turn = np.linalg.qr(rng.standard_normal((len(variances), len(variances))))[0]
    return (z * np.sqrt(variances) @ turn.T).astype(np.float32)


VARIANCES = np.array([9.0, 4.0, 1.0, 0.25, 0.04])


def test_dimensions_below_the_noise_collapse_and_the_others_have_their_nats():
    x = data_with(VARIANCES)
    got = collapse_forecast(linear(1.5), x)
    np.testing.assert_allclose(got.eigenvalues, VARIANCES, rtol=1e-4)
    np.testing.assert_allclose(got.nats, [0.5 * math.log(9 / 2.25), 0.5 * math.log(4 / 2.25), 0.0], atol=1e-4)
    assert (got.kept, got.noise, got.fitted) == (2, 2.25, False)
    assert got.warning.startswith("1 of 3 latent dimensions will collapse")
    assert "set it below 1" in got.warning
    assert "all 3 latent dimensions" in collapse_forecast(linear(1.5), x, beta=5.0).warning
    assert collapse_forecast(linear(0.9), x).warning is None


def test_a_fitted_noise_is_what_the_codes_leave():
    got = collapse_forecast(linear("optimal"), data_with(VARIANCES))
    assert got.noise == pytest.approx((0.25 + 0.04) / 2, rel=1e-4)
    assert (got.kept, got.fitted, got.warning) == (3, True, None)


@pytest.mark.runs
@pytest.mark.parametrize(("beta", "kept"), [(1.0, 2), (5.0, 1)])
def test_training_ends_where_the_forecast_says(beta, kept):
    x = data_with(VARIANCES)
    data = lb.data.load(x, values="real")
    torch.manual_seed(0)
    model = linear(1.2)
    objective = lb.objectives.ELBO(beta=beta)
    settings = {"batch_size": 320, "learning_rate": 0.02, "keep": "last", "ema": 0.0}
    lb.fit(model, data, objective=objective, epochs=600, evaluations=1, progress=False, **settings)
    forecast = collapse_forecast(model, data.train, beta=beta)
    found = bound(model, data.train).kl_per_dimension
    # Which turn of the kept directions is best, the gradient tells only slowly; how many and how much it has told.
    assert int((found > 0.01).sum()) == forecast.kept == kept
    assert found.sum().item() == pytest.approx(forecast.nats.sum().item(), rel=0.05)


def test_only_gaussian_noise_is_foretold():
    binary = Bernoulli(5)
    model = VAE(MLP((5,), (2, 3)), DiagonalGaussian(3), StandardNormal(3), MLP((3,), (1, 5)), binary)
    with pytest.raises(ConfigError, match="the likelihood is Bernoulli"):
        collapse_forecast(model, torch.zeros(4, 5))
    with pytest.raises(ConfigError, match="finite beta > 0"):
        collapse_forecast(linear(1.0), torch.zeros(4, 5), beta=0.0)
