"""Detection of other data: ranks by hand, and regret where the best posterior is known."""

import math

import numpy as np
import pytest
import torch
from exact import linear_gaussian, linear_vae
from sklearn.metrics import roc_auc_score

from lowerbound.errors import ConfigError, DataError
from lowerbound.evaluation import auroc, likelihood_regret, outlier_detection
from lowerbound.likelihoods import Gaussian
from lowerbound.model import VAE
from lowerbound.nn import MLP
from lowerbound.posteriors import DiagonalGaussian
from lowerbound.priors import StandardNormal

pytestmark = pytest.mark.usefixtures("float64")


def test_the_area_is_the_share_of_pairs_in_order():
    got = auroc(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0]))
    assert got.value == pytest.approx((1.5 + 3) / 6)
    rng = np.random.default_rng(0)
    own, other = rng.integers(0, 6, 200), rng.integers(1, 8, 150)
    wanted = roc_auc_score(np.r_[np.zeros(200), np.ones(150)], np.r_[own, other])
    got = auroc(torch.tensor(own), torch.tensor(other))
    assert got.value == pytest.approx(wanted)
    assert got.low < wanted < got.high
    assert got.high - got.low < 0.15


@pytest.mark.parametrize("scores", [([], [1.0]), ([1.0], []), ([math.nan], [1.0])])
def test_scores_that_are_none_are_refused(scores):
    with pytest.raises(DataError, match="scores of both kinds"):
        auroc(*(torch.tensor(s) for s in scores))


@pytest.mark.runs
def test_the_regret_is_the_gap_that_an_own_posterior_closes():
    truth = linear_gaussian(4, 2, orthogonal=False, sigma=0.6)
    model, x = linear_vae(truth), truth.sample(40)
    for parameter in model.encoder.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    before = {name: v.clone() for name, v in model.state_dict().items()}
    q, exact = model.infer(x), truth.posterior(x)
    gap = torch.distributions.kl_divergence(
        torch.distributions.MultivariateNormal(q.mean, torch.diag_embed(q.variance)), exact
    )
    wanted = gap - truth.diagonal_gap  # the best factorised posterior has this gap
    got = likelihood_regret(model, x, steps=400, learning_rate=0.1)
    # The reconstruction is compared over 256 draws of the same noise.
    assert (got - wanted).abs().max() < 0.5
    assert got.mean().item() == pytest.approx(wanted.mean().item(), rel=0.1)
    assert torch.corrcoef(torch.stack([got, wanted.detach()]))[0, 1] > 0.95
    assert all(torch.equal(v, before[name]) for name, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.runs
def test_at_the_best_posterior_there_is_nothing_to_regret():
    truth = linear_gaussian(4, 2, orthogonal=True, sigma=0.6)
    got = likelihood_regret(linear_vae(truth), truth.sample(5), steps=30, learning_rate=0.01)
    assert got.abs().max() < 0.1


@pytest.mark.runs
def test_other_data_that_are_likelier_are_found_by_typicality_alone():
    truth = linear_gaussian(30, 2, orthogonal=True, sigma=0.6)
    model = linear_vae(truth)
    dull = truth.mean + 0.01 * torch.randn(60, 30)  # at the mode, where no example lies
    got = outlier_detection(
        model, truth.sample(80), dull, truth.sample(60, seed=1), samples=20, regret_steps=0
    )
    assert got.nll.value < 0.01
    assert got.typicality.value > 0.95
    assert got.regret is None
    assert "does not detect them" in got.warning
    assert (got.own, got.other) == (80, 60)
    far = outlier_detection(model, truth.sample(40), truth.sample(40) + 3, truth.sample(40), regret_steps=5)
    assert far.nll.value == 1.0
    assert far.warning is None
    assert 0 <= far.regret.value <= 1


@pytest.mark.runs
def test_the_regret_of_a_network_in_32_bits_is_that_in_64():
    encoder, decoder = MLP((6,), (2, 2), hidden=(16,)), MLP((2,), (1, 6), hidden=(16,))
    model = VAE(encoder, DiagonalGaussian(2), StandardNormal(2), decoder, Gaussian(6, scale=0.3))
    x = torch.randn(5, 6)
    got = [likelihood_regret(model.to(t), x.to(t), steps=60) for t in (torch.float64, torch.float32)]
    # Their noise is not the same: the generator draws other numbers for other types.
    torch.testing.assert_close(got[1], got[0], rtol=0.1, atol=0.5)
    assert got[0].max() > 1


def test_bad_options_are_refused():
    truth = linear_gaussian(4, 2, orthogonal=True)
    with pytest.raises(ConfigError, match="steps >= 1"):
        likelihood_regret(linear_vae(truth), truth.sample(2), steps=0)
