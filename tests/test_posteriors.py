"""Gaussian posteriors and the standard normal prior: what the encoder's output means."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal

from lowerbound.errors import ConfigError
from lowerbound.posteriors import DiagonalGaussian, FullCovarianceGaussian
from lowerbound.priors import StandardNormal

pytestmark = pytest.mark.usefixtures("float64")


def test_diagonal_gaussian_reads_means_then_log_scales():
    h = torch.randn(5, 2, 3)
    q = DiagonalGaussian(3)(h)
    torch.testing.assert_close(q.mean, h[:, 0])
    torch.testing.assert_close(q.stddev, h[:, 1].exp(), rtol=0.05, atol=0)  # the bound bends it by raw³/432
    z = torch.randn(5, 3)
    expected = MultivariateNormal(q.mean, torch.diag_embed(q.variance)).log_prob(z)
    torch.testing.assert_close(q.log_prob(z), expected)


def test_full_covariance_gaussian_reads_means_then_the_cholesky_factor():
    k = 3
    h = torch.randn(5, k + 6)
    q = FullCovarianceGaussian(k)(h)
    torch.testing.assert_close(q.mean, h[:, :k])
    tril = torch.zeros(5, k, k)
    tril[:, range(k), range(k)] = 12 * torch.tanh(h[:, k : 2 * k] / 12)
    tril.diagonal(dim1=-2, dim2=-1).exp_()
    for i, (row, column) in enumerate([(1, 0), (2, 0), (2, 1)]):
        tril[:, row, column] = h[:, 2 * k + i]
    torch.testing.assert_close(q.covariance_matrix, tril @ tril.mT)


def test_draws_are_the_affine_map_of_standard_normal_noise():
    h = torch.randn(5, 2, 3)
    q = DiagonalGaussian(3)(h)
    torch.manual_seed(1)
    z = q.rsample((4,))
    torch.manual_seed(1)
    torch.testing.assert_close(z, q.mean + q.stddev * torch.randn(4, 5, 3))


@pytest.mark.parametrize("raw", [-1e4, -100.0, 0.0, 100.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scales_gone_astray_stay_finite(raw, dtype):
    h = torch.full((1, 2, 3), raw, dtype=dtype)
    scale = DiagonalGaussian(3)(h).stddev
    assert (scale >= math.exp(-12.001)).all()
    assert (scale <= math.exp(12.001)).all()
    diagonal = FullCovarianceGaussian(2)(h.reshape(1, 6)[:, :5]).scale_tril.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(diagonal, scale[:, :2])


def test_scales_gone_astray_have_a_gradient_that_leads_back():
    h = torch.full((1, 2, 3), 40.0, requires_grad=True)
    DiagonalGaussian(3)(h).stddev.log().sum().backward()
    assert (h.grad[:, 1] > 0).all()


@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    batch=st.integers(1, 4),
    samples=st.lists(st.integers(1, 3), max_size=2).map(tuple),
)
def test_axes_are_samples_batch_event(shape, batch, samples):
    q = DiagonalGaussian(shape)(torch.randn(batch, 2, *shape))
    p = StandardNormal(shape)()
    z = q.rsample(samples)
    assert z.shape == (*samples, batch, *shape)
    assert q.log_prob(z).shape == p.log_prob(z).shape == (*samples, batch)


def test_standard_normal_has_its_constant():
    z = torch.randn(7, 2, 3)
    expected = -0.5 * z.square().sum((1, 2)) - 3 * math.log(2 * math.pi)
    torch.testing.assert_close(StandardNormal((2, 3)).double()().log_prob(z), expected)


def test_standard_normal_leaves_nothing_to_save():
    assert not StandardNormal(4).state_dict()


@pytest.mark.parametrize("family", [DiagonalGaussian, FullCovarianceGaussian, StandardNormal])
@pytest.mark.parametrize("latent", [0, -2, 2.5, True, "3", (), (3, 0), (3, -1), None])
def test_impossible_latent_sizes_are_refused(family, latent):
    with pytest.raises(ConfigError, match="event_shape must be one or more positive integers"):
        family(latent)


def test_full_covariance_refuses_a_feature_map():
    with pytest.raises(ConfigError, match=r"needs a vector latent \(k,\); got \(2, 3\)"):
        FullCovarianceGaussian((2, 3))
