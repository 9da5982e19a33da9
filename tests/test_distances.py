"""Distances of q(z) from p(z) against closed forms, and the objectives made of them."""

import math

import pytest
import torch
from exact import linear_gaussian, linear_vae
from torch import nn

from lowerbound.errors import ConfigError
from lowerbound.objectives import InfoVAE, Progress, Wasserstein
from lowerbound.objectives.distances import mmd, sliced_wasserstein

pytestmark = pytest.mark.usefixtures("float64")

START = Progress(total_steps=100)


@pytest.fixture
def model():
    """A linear VAE with an encoder that is off."""
    made = linear_vae(linear_gaussian(4, 2, orthogonal=True, sigma=0.6))
    for parameter in made.encoder.parameters():
        nn.init.normal_(parameter, std=0.4)
    return made


def expected_kernel(shift, variances, c):
    """E exp(−|z − y|² / c) of independent Gaussians, z − y ~ N(shift, diag variances)."""
    spread = 1 + 2 * variances / c
    return (-(shift.square() / (c * spread)).sum()).exp() / spread.prod().sqrt()


@pytest.mark.slow
def test_mmd_of_two_gaussians_is_its_closed_form_for_the_gaussian_kernel():
    shift, s1, s2 = (torch.tensor(v) for v in ([0.5, -0.3, 0.0], [0.6, 1.0, 1.4], [1.0, 0.7, 1.0]))
    for scale in (0.3, 1.0):
        c, zero = 2 * 3 * scale, torch.zeros(3)
        closed = (
            expected_kernel(zero, 2 * s1**2, c)
            + expected_kernel(zero, 2 * s2**2, c)
            - 2 * expected_kernel(shift, s1**2 + s2**2, c)
        )
        draws = torch.stack(
            [
                mmd(shift + s1 * torch.randn(50, 3), s2 * torch.randn(40, 3), "gaussian", (scale,))
                for _ in range(2000)
            ]
        )
        error = draws.std() / math.sqrt(len(draws))
        assert abs(draws.mean() - closed) < 4 * error
        assert error < 0.05 * closed


@pytest.mark.slow
def test_the_inverse_multiquadratic_kernel_is_a_mixture_of_gaussian_ones():
    """C / (C + d) = ∫ exp(−t) exp(−t d / C) dt, so its MMD is an integral of closed forms."""
    t = torch.linspace(0, 40, 40_001)
    variances, shift, c = torch.tensor([1.3, 2.0]), torch.tensor([0.4, -1.0]), 2 * 2 * 0.5
    kernel = torch.stack([expected_kernel(shift, variances, c / s) for s in t[1:]])
    integral = torch.trapezoid((-t).exp() * torch.cat([torch.ones(1), kernel]), t)
    z, y = 0.7**0.5 * torch.randn(400, 2), shift + torch.tensor([0.6, 1.3]).sqrt() * torch.randn(400, 2)
    same, scales = z[:2] * 0, (0.5,)  # with two equal points, MMD² = 1 + E k(y, y') − 2 E k(0, y)
    cross = -0.5 * (mmd(z, y, scales=scales) - _within(z, c) - _within(y, c))
    assert abs(cross - integral) < 0.02
    assert mmd(same, same, scales=scales).abs() < 1e-12


def _within(a, c):
    k = c / (c + torch.cdist(a, a).square())
    return (k.sum() - len(a)) / (len(a) * (len(a) - 1))


def test_mmd_is_zero_in_the_mean_for_equal_distributions_and_may_be_below():
    draws = torch.stack([mmd(torch.randn(20, 2), torch.randn(20, 2)) for _ in range(1000)])
    assert abs(draws.mean()) < 4 * draws.std() / math.sqrt(1000)
    assert draws.min() < 0
    assert mmd(torch.randn(1, 2), torch.randn(1, 2)).isfinite()


@pytest.mark.slow
def test_sliced_wasserstein_of_two_gaussians_is_its_closed_form():
    shift, s1, s2 = torch.tensor([1.0, -2.0, 0.5]), 0.6, 1.5
    closed = shift.square().sum() / 3 + (s1 - s2) ** 2
    got = sliced_wasserstein(shift + s1 * torch.randn(4000, 3), s2 * torch.randn(4000, 3), 1000)
    # The directions: θ·shift has a variance over the sphere; a thousand leave two hundredths.
    assert got.item() == pytest.approx(closed.item(), rel=0.06)


def test_info_vae_weighs_the_kl_and_the_distance(model):
    x = torch.randn(9, 4)

    def run(objective):
        torch.manual_seed(1)
        return objective(model, x, None, START)

    elbo = run(InfoVAE(alpha=0.0, weight=1.0))
    torch.testing.assert_close(elbo.loss, -elbo.bound)
    got = run(InfoVAE(alpha=0.25, weight=4.0))
    torch.testing.assert_close(got.bound, elbo.bound)
    torch.testing.assert_close(
        got.loss, 0.75 * got.terms["kl"] - got.terms["reconstruction"] + 3.25 * got.terms["mmd"]
    )
    assert run(InfoVAE(distance="sliced_wasserstein")).terms["sliced_wasserstein"] > 0


def test_the_sign_trap_of_info_vae_is_refused():
    with pytest.raises(ConfigError, match=r"the weight -0.999, a reward for mismatch"):
        InfoVAE(alpha=0.0, weight=1e-3)


@pytest.mark.parametrize("distance", ["mmd", "sliced_wasserstein"])
def test_a_wasserstein_autoencoder_has_no_kl_and_says_it_is_no_bound(model, distance):
    x = torch.randn(9, 4)
    objective = Wasserstein(weight=3.0, distance=distance)
    torch.manual_seed(1)
    got = objective(model, x, None, START)
    torch.testing.assert_close(got.loss, 3 * got.terms[distance] - got.terms["reconstruction"])
    assert not objective.is_bound
    assert "kl" not in got.terms
    torch.manual_seed(1)
    judged = objective.validate(model, x, None, 4)
    torch.testing.assert_close(judged["bound"], -got.loss.detach().expand(9))


@pytest.mark.slow
def test_the_distance_falls_as_the_aggregate_posterior_nears_the_prior():
    """At the exact posterior of data from the model, q(z) is the prior."""
    truth = linear_gaussian(4, 2, orthogonal=True, sigma=0.6)
    exact, x = linear_vae(truth), truth.sample(1500)
    for distance in ("mmd", "sliced_wasserstein"):
        near = Wasserstein(distance=distance)(exact, x, None, START).terms[distance]
        far = Wasserstein(distance=distance)(exact, x + 2, None, START).terms[distance]
        assert abs(near) < 0.02 < 0.1 < far


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: InfoVAE(alpha=2.0), "alpha <= 1"),
        (lambda: InfoVAE(weight=-1.0), "finite weight >= 0"),
        (lambda: InfoVAE(distance="mdm"), "no distance 'mdm'; did you mean 'mmd'"),
        (lambda: Wasserstein(distance="kl"), "no distance 'kl'"),
        (lambda: Wasserstein(weight=math.inf), "finite weight >= 0"),
    ],
)
def test_bad_options_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
