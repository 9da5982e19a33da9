"""Bounds between the evidence lower bound and log p(x): MIWAE, PIWAE, CIWAE, VR-IWAE."""

import math

import pytest
import torch
from exact import bernoulli_vae, linear_gaussian, linear_vae
from torch import nn

from lowerbound.errors import ConfigError
from lowerbound.objectives import ELBO, Combined, ImportanceWeighted, MultiplyWeighted, Progress, Renyi

pytestmark = pytest.mark.usefixtures("float64")

START = Progress(total_steps=100)
IMAGES = torch.tensor([[0, 0, 0], [1, 0, 1], [0, 1, 1.0]], dtype=torch.float64)


@pytest.fixture
def nonlinear():
    """A Bernoulli decoder that is not affine in z; 3 pixels, 1 latent dimension."""
    return bernoulli_vae(3, 1, seed=1)


def run(objective, model, x=IMAGES):
    torch.manual_seed(1)
    return objective(model, x, None, START)


def gradients(objective, model, part):
    parameters = list(part.parameters())
    return torch.autograd.grad(run(objective, model).loss, parameters)


def test_several_bounds_are_the_mean_of_bounds_over_disjoint_samples(nonlinear):
    torch.manual_seed(1)
    weights = nonlinear(IMAGES, samples=12).log_weight.exp()
    by_hand = sum(
        math.log(sum(weights[4 * m + k, i].item() for k in range(4)) / 4) for m in range(3) for i in range(3)
    )
    assert run(MultiplyWeighted(3, 4), nonlinear).bound.item() == pytest.approx(by_hand / 9)


def test_its_ends_are_the_importance_weighted_bound_and_the_elbo(nonlinear):
    torch.testing.assert_close(
        run(MultiplyWeighted(1, 6), nonlinear).bound, run(ImportanceWeighted(6), nonlinear).bound
    )
    sampled = ELBO(samples=6, analytic_kl=False)
    torch.testing.assert_close(run(MultiplyWeighted(6, 1), nonlinear).bound, run(sampled, nonlinear).bound)


def test_the_encoder_climbs_one_bound_and_the_decoder_the_other(nonlinear):
    partial = MultiplyWeighted(3, 4, decoder="all")
    for part, same in (("encoder", MultiplyWeighted(3, 4)), ("decoder", ImportanceWeighted(12))):
        network = getattr(nonlinear, part)
        for got, wanted in zip(
            gradients(partial, nonlinear, network), gradients(same, nonlinear, network), strict=True
        ):
            torch.testing.assert_close(got, wanted)
    encoder = nonlinear.encoder
    other = gradients(ImportanceWeighted(12), nonlinear, encoder)
    assert not torch.allclose(gradients(partial, nonlinear, encoder)[0], other[0], rtol=1e-3)
    torch.testing.assert_close(run(partial, nonlinear).bound, run(ImportanceWeighted(12), nonlinear).bound)
    with torch.no_grad():
        assert run(partial, nonlinear).loss.isfinite()


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_the_combined_bound_weighs_both(nonlinear, beta):
    elbo = run(ELBO(samples=5, analytic_kl=False), nonlinear).bound
    weighted = run(ImportanceWeighted(5), nonlinear).bound
    torch.testing.assert_close(run(Combined(5, beta), nonlinear).bound, beta * elbo + (1 - beta) * weighted)


def renyi_divergence(alpha, m, s, mean, sd):
    """Of N(m, s²) from N(mean, sd²), Gil, Alajaji and Linder (2013)."""
    mixed = (1 - alpha) * s**2 + alpha * sd**2
    return (sd / s).log() + (sd**2 / mixed).log() / (2 * (alpha - 1)) + 0.5 * alpha * (m - mean) ** 2 / mixed


@pytest.mark.parametrize("alpha", [0.3, 0.7])
def test_with_many_samples_the_renyi_bound_is_log_p_less_the_divergence(alpha):
    truth = linear_gaussian(3, 1, orthogonal=True, sigma=0.8)
    model = linear_vae(truth)
    for parameter in model.encoder.parameters():
        parameter.data += 0.15 * torch.randn_like(parameter)
    x = truth.sample(4)
    q, exact = model.infer(x), truth.posterior(x)
    closed = truth.marginal().log_prob(x) - renyi_divergence(
        alpha, q.mean[:, 0], q.stddev[:, 0], exact.mean[:, 0], exact.variance[:, 0].sqrt()
    )
    torch.manual_seed(0)
    weight = (model(x, samples=100_000).log_weight.detach() * (1 - alpha)).exp()
    error = (weight.std(0) / weight.mean(0)).square().sum().sqrt() / (4 * (1 - alpha) * math.sqrt(100_000))
    torch.manual_seed(0)
    bound = Renyi(alpha, samples=100_000)(model, x, None, START).bound
    assert abs(bound - closed.mean()) < 4 * error < 0.02
    assert (truth.marginal().log_prob(x) - closed).mean() > 0.02


def test_the_renyi_bound_goes_from_the_importance_weighted_one_to_the_elbo(nonlinear):
    ends = (
        run(ImportanceWeighted(7), nonlinear).bound,
        run(ELBO(samples=7, analytic_kl=False), nonlinear).bound,
    )
    torch.testing.assert_close(run(Renyi(0.0, 7), nonlinear).bound, ends[0])
    torch.testing.assert_close(run(Renyi(1 - 1e-7, 7), nonlinear).bound, ends[1], rtol=0, atol=1e-6)
    inside = [run(Renyi(a, 7), nonlinear).bound for a in (0.0, 0.25, 0.5, 0.75)]
    assert inside == sorted(inside, reverse=True)


@pytest.mark.parametrize("build", [lambda: Renyi(0.4, 3), lambda: MultiplyWeighted(2, 3, "all"), Combined])
def test_at_the_exact_posterior_every_draw_is_log_p(build):
    truth = linear_gaussian(4, 2, orthogonal=True, sigma=0.6)
    x = truth.sample(5)
    nn.Module.eval(model := linear_vae(truth))
    expected = truth.marginal().log_prob(x).mean()
    torch.testing.assert_close(run(build(), model, x).bound, expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MultiplyWeighted(estimates=0), "estimates >= 1; got 0"),
        (lambda: MultiplyWeighted(samples=0), "samples >= 1"),
        (lambda: MultiplyWeighted(decoder="both"), "'same' .MIWAE. or 'all'"),
        (lambda: Combined(beta=1.5), "beta between 0 and 1"),
        (lambda: Combined(samples=0), "samples >= 1"),
        (lambda: Renyi(1.0), "0 <= alpha < 1"),
        (lambda: Renyi(-0.5), "0 <= alpha < 1"),
        (lambda: Renyi(samples=0), "samples >= 1"),
    ],
)
def test_bad_options_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
