"""Another prior, fitted to the codes of a trained model."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal
from toys import small_model

import lowerbound as lb
from lowerbound.distributions import bounded_exp
from lowerbound.errors import ConfigError, DataError, ShapeError
from lowerbound.priors import ConditionalGaussian, Flow, Prior, StandardNormal

pytestmark = pytest.mark.runs


class Learned(Prior):
    """N(m, diag s²), whose best m and s are the codes' mean and standard deviation."""

    def __init__(self, event_shape):
        super().__init__(event_shape)
        self.loc = nn.Parameter(torch.zeros(self.event_shape))
        self.log_scale = nn.Parameter(torch.zeros(self.event_shape))

    def forward(self, context=None, encode=None):
        return Independent(Normal(self.loc, self.log_scale.exp(), validate_args=False), 1)


@pytest.fixture(scope="module")
def digits():
    return lb.data.load("digits")


@pytest.fixture(scope="module")
def model(digits):
    """A model whose codes are away from the prior."""
    made = small_model(digits).eval()
    with torch.no_grad():
        made.encoder.output.bias.add_(torch.tensor([2.0, -1.0, 0.5, -1.0, -1.0, -1.0]))
    return made


def test_the_best_gaussian_has_the_moments_of_the_codes(model, digits):
    new = lb.ex_post(model, digits, Learned(3), steps=600, learning_rate=0.02)
    x, _ = next(digits.train.batches(len(digits.train)))
    q = model.infer(x)
    mean = q.mean.mean(0)
    variance = (q.variance + q.mean**2).mean(0) - mean**2
    torch.testing.assert_close(new.prior.loc.data, mean, rtol=0, atol=0.08)
    torch.testing.assert_close(new.prior.log_scale.data.exp(), variance.sqrt(), rtol=0.08, atol=0)


def test_the_bound_rises_and_nothing_else_moves(model, digits, tmp_path):
    before = {name: v.clone() for name, v in model.state_dict().items()}
    new = lb.ex_post(model, digits, {"type": "flow", "couplings": 2}, steps=200)
    assert lb.evaluate.bound(new, digits.test).elbo > lb.evaluate.bound(model, digits.test).elbo + 0.5
    assert isinstance(model.prior, StandardNormal)
    assert isinstance(new.prior, Flow)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
        assert torch.equal(value, new.state_dict()[name])
        assert value.data_ptr() != new.state_dict()[name].data_ptr()
    assert not new.training
    assert all(p.grad is None for p in new.parameters())
    lb.save(new, tmp_path / "new")
    again = lb.load(tmp_path / "new")
    assert torch.equal(again.sample(5, seed=1), new.sample(5, seed=1))


def test_a_second_stage_learns_where_codes_lie(digits, tmp_path):
    curved = small_model(digits).eval()
    with torch.no_grad():
        curved.encoder.output.weight.zero_()
        curved.encoder.output.bias.copy_(torch.tensor([3.0, -2.0, 0.0, -2.0, -2.0, -2.0]))
    new = lb.ex_post(curved, digits, {"type": "two_stage", "second": 2, "hidden": [16]}, steps=400)
    assert new.latent_shape == (5,)
    assert isinstance(curved.prior, StandardNormal)
    # All codes are N(m, 0.14²), which the second stage can say exactly: no bound is higher than with this prior.
    best = lb.ex_post(curved, digits, Learned(3), steps=800, learning_rate=0.02)
    best, found = (lb.evaluate.bound(made, digits.test).elbo for made in (best, new))
    assert best - 0.3 < found < best + 0.1
    lb.save(new, tmp_path / "new")
    again = lb.load(tmp_path / "new")
    assert torch.equal(again.sample(5, seed=1), new.sample(5, seed=1))


def test_the_second_stage_of_an_affine_decoder_is_a_gaussian():
    prior = lb.priors.TwoStage(5, second=2, hidden=()).double()
    torch.manual_seed(0)
    with torch.no_grad():
        prior.network.output.weight.normal_()
        prior.network.output.weight[3:] = 0
        prior.network.output.bias.copy_(torch.linspace(-1, 1, 6))
    weight, bias = prior.network.output.weight.detach()[:3], prior.network.output.bias.detach()
    scale = bounded_exp(bias[3:])
    exact = MultivariateNormal(bias[:3], weight @ weight.T + torch.diag(scale**2))
    z = exact.sample((4,))
    u = torch.randn(100_000, 1, 2, dtype=torch.float64)
    state = prior.absorb(0, prior.begin(None, None), u)
    found = prior.level(1, state).log_prob(z).logsumexp(0) - math.log(len(u))
    torch.testing.assert_close(found, exact.log_prob(z), rtol=0, atol=0.1)
    assert torch.equal(prior.absorb(1, state, z), z)


@pytest.mark.parametrize("posterior", ["deterministic", "full_covariance_gaussian"])
def test_a_second_stage_goes_with_the_posteriors_that_it_knows(posterior, digits):
    model = lb.VAE.for_data(digits, latent=3, posterior=posterior, network={"type": "mlp", "hidden": [8]})
    if posterior == "deterministic":
        new = lb.ex_post(model, digits, {"type": "two_stage", "second": 1, "hidden": [8]}, steps=20)
        assert new.sample(2).shape == (2, 1, 8, 8)
        assert not new.posterior.has_density
    else:
        with pytest.raises(ConfigError, match="first stage's posterior cannot be"):
            lb.ex_post(model, digits, "two_stage", steps=1)


def test_it_repeats_and_leaves_the_generator_alone(model, digits):
    state = torch.get_rng_state()
    first, second = (lb.ex_post(model, digits, "flow", steps=5) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(first.prior.parameters(), second.prior.parameters(), strict=True):
        assert torch.equal(a, b)


def test_under_a_condition_the_new_prior_knows_it():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=600)
    x = (rng.standard_normal((600, 4)) + 6 * y[:, None]).astype(np.float32)
    data = lb.data.load(x, values="real", condition={"label": y})
    model = small_model(data, latent=2, prior="standard_normal")
    with torch.no_grad():
        model.encoder.output.weight.mul_(4)
    new = lb.ex_post(model, data, "conditional_gaussian", steps=500)
    assert isinstance(new.prior, ConditionalGaussian)
    for label in (0, 1):
        chosen = torch.as_tensor(x[y == label])
        codes = model.infer(chosen, {"label": label}).mean.mean(0)
        torch.testing.assert_close(new.prior_at(label).mean[0], codes, rtol=0, atol=0.15)


def test_a_prior_that_is_no_better_is_told(model, digits):
    with pytest.warns(UserWarning, match="the new prior is no better"):
        lb.ex_post(model, digits, "standard_normal")


def test_what_does_not_fit_is_refused(model, digits):
    with pytest.raises(ConfigError, match="no prior 'gausian'"):
        lb.ex_post(model, digits, "gausian")
    with pytest.raises(ShapeError, match="latent shape"):
        lb.ex_post(model, digits, StandardNormal(2))
    with pytest.raises(ConfigError, match="steps >= 1"):
        lb.ex_post(model, digits, steps=0)
    with pytest.raises(ConfigError, match="positive learning_rate"):
        lb.ex_post(model, digits, learning_rate=math.inf)
    with pytest.raises((ConfigError, DataError), match=r"lowerbound\.data\.load"):
        lb.ex_post(model, torch.zeros(3, 1, 8, 8))
