"""Bounds and their gradients, on models whose log p(x) is known: by quadrature, or in closed form."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
import torch
from exact import bernoulli_vae, linear_gaussian, linear_vae
from torch import nn
from torch.distributions import MultivariateNormal, Normal

from lowerbound.errors import ConfigError
from lowerbound.likelihoods import Gaussian
from lowerbound.model import VAE
from lowerbound.nn import MLP
from lowerbound.objectives import (
    ELBO,
    Constant,
    Cosine,
    ImportanceWeighted,
    Linear,
    Progress,
    Switch,
    reparameterised_surrogate,
    score_function_surrogate,
)
from lowerbound.objectives.resampling import choose, inclusion
from lowerbound.posteriors import DiagonalGaussian, FullCovarianceGaussian
from lowerbound.priors import StandardNormal

pytestmark = pytest.mark.usefixtures("float64")

START = Progress(total_steps=100)


# orthogonal decoder columns: the exact posterior factorises
EXACT = linear_gaussian(4, 2, orthogonal=True, sigma=0.6)


@pytest.fixture
def exact():
    """Probabilistic PCA whose encoder gives the exact posterior."""
    return linear_vae(EXACT)


@pytest.fixture
def linear():
    """The same model with an encoder that is off."""
    model = linear_vae(EXACT)
    for parameter in model.encoder.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model


def with_full_covariance(model):
    """The same decoder, with a posterior that does not factorise and the same q."""
    posterior = FullCovarianceGaussian(2)
    encoder = MLP((4,), posterior.input_shape, hidden=())
    with torch.no_grad():
        for ours, theirs in zip(encoder.output.parameters(), model.encoder.output.parameters(), strict=True):
            ours.zero_()[:4] = theirs
    return VAE(encoder, posterior, model.prior, model.decoder, model.likelihood)


def standard_error(draws):
    return draws.std(0) / math.sqrt(len(draws))


def same_draw(objective, model, x, progress=START):
    torch.manual_seed(1)
    return objective(model, x, None, progress)


def bounds(k, model, x, n):
    """Importance-weighted bound of every example alone, (n, B)."""
    log_weight = model(x, samples=n * k).log_weight.detach().reshape(n, k, len(x))
    return log_weight.logsumexp(1) - math.log(k)


# ------------------------------------------------------------------ one latent dimension, by quadrature
@pytest.fixture
def nonlinear():
    """A Bernoulli decoder that is not affine in z; 3 pixels, 1 latent dimension."""
    return bernoulli_vae(3, 1, seed=1)


IMAGES = torch.tensor([[0, 0, 0], [1, 0, 1], [0, 1, 1.0]], dtype=torch.float64)


@torch.no_grad()
def by_quadrature(model, x):
    """log p(x), E_q[log p(x | z)], KL(q || p(z)) and KL(q || p(z | x)), each (B,).

    The trapezoidal rule is exact to rounding for smooth integrands that die off at both ends.
    """
    z = torch.linspace(-10, 10, 4001).reshape(-1, 1, 1)
    q, prior = model.infer(x), Normal(0.0, 1.0)
    likelihood = model.likelihood_at(z).log_prob(x)
    log_prior, log_q = prior.log_prob(z).squeeze(-1), q.log_prob(z)

    def integral(f):
        return torch.trapezoid(f, z.squeeze(-1), dim=0)

    evidence = integral((likelihood + log_prior).exp()).log()
    reconstruction = integral(log_q.exp() * likelihood)
    kl = integral(log_q.exp() * (log_q - log_prior))
    gap = integral(log_q.exp() * (log_q - (likelihood + log_prior - evidence)))
    return evidence, reconstruction, kl, gap


def test_elbo_is_its_integral_and_its_gap_the_divergence_to_the_posterior(nonlinear):
    evidence, reconstruction, kl, gap = by_quadrature(nonlinear, IMAGES)
    torch.testing.assert_close(evidence - (reconstruction - kl), gap, rtol=0, atol=1e-10)
    assert (gap > 1e-3).all()

    n = 10_000
    out = nonlinear(IMAGES, samples=n)
    torch.testing.assert_close(out.kl(), kl)
    likelihood = out.log_likelihood.detach()
    assert ((likelihood.mean(0) - reconstruction).abs() < 4 * standard_error(likelihood)).all()
    bound = ELBO(samples=n)(nonlinear, IMAGES, None, START).bound
    error = standard_error(likelihood.mean(1))
    assert abs(bound - (evidence - gap).mean()) < 4 * error


def test_probabilities_of_all_images_sum_to_one_by_quadrature(nonlinear):
    """Quadrature itself is right only if p(x) is normalised."""
    images = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    assert by_quadrature(nonlinear, images)[0].exp().sum().item() == pytest.approx(1, abs=1e-10)


def test_importance_weighted_bound_rises_with_k_towards_log_p(nonlinear):
    evidence = by_quadrature(nonlinear, IMAGES)[0]
    draws = [bounds(k, nonlinear, IMAGES, 20_000 // k) for k in (1, 4, 16, 256)]
    means, errors = [d.mean(0) for d in draws], [standard_error(d) for d in draws]
    for lower, higher, a, b in zip(means, means[1:], errors, errors[1:], strict=False):
        assert (higher - lower > -4 * (a + b)).all()
    assert (means[1] - means[0] > 4 * (errors[0] + errors[1])).any()
    assert (means[-1] <= evidence + 4 * errors[-1]).all()
    assert (evidence - means[-1] < 0.02 + 4 * errors[-1]).all()


def test_importance_weighted_reports_the_mean_over_the_batch_of_the_log_mean_weight(nonlinear):
    for gradient in ("standard", "stl", "dreg"):
        torch.manual_seed(1)
        reported = ImportanceWeighted(5, gradient)(nonlinear, IMAGES, None, START)
        torch.manual_seed(1)
        log_weight = nonlinear(IMAGES, samples=5).log_weight
        torch.testing.assert_close(reported.bound, log_weight.exp().mean(0).log().mean())
        torch.testing.assert_close(reported.terms["reconstruction"] - reported.terms["kl"], log_weight.mean())


def test_importance_weighted_of_one_sample_is_the_elbo_over_the_same_draw(nonlinear):
    torch.manual_seed(1)
    elbo = ELBO(analytic_kl=False)(nonlinear, IMAGES, None, START)
    torch.manual_seed(1)
    weighted = ImportanceWeighted(1)(nonlinear, IMAGES, None, START)
    torch.testing.assert_close(weighted.bound, elbo.bound)
    torch.testing.assert_close(weighted.loss, elbo.loss)


# ----------------------------------------------------------------------- the exact posterior
@pytest.mark.parametrize("k", [1, 2, 64])
@pytest.mark.parametrize("posterior", ["diagonal", "full"])
def test_with_the_exact_posterior_every_draw_of_every_bound_is_log_p(posterior, k):
    known = linear_gaussian(4, 2, orthogonal=posterior == "diagonal")
    model, x = linear_vae(known, posterior), known.sample(5)
    evidence = known.marginal().log_prob(x)
    torch.testing.assert_close(model(x, samples=k).log_weight, evidence.expand(k, 5), rtol=0, atol=1e-12)
    for objective in (
        ELBO(samples=k, analytic_kl=False),
        ImportanceWeighted(k),
        ImportanceWeighted(k, "dreg"),
    ):
        assert objective(model, x, None, START).bound.item() == pytest.approx(
            evidence.mean().item(), abs=1e-12
        )


def test_gap_of_the_best_factorised_posterior_is_its_closed_form():
    known = linear_gaussian(4, 2, orthogonal=False, seed=7)
    model, x = linear_vae(known), known.sample(1)
    gap = known.marginal().log_prob(x) - model(x, samples=40_000).log_weight.detach()
    assert known.diagonal_gap > 0.01
    assert abs(gap.mean() - known.diagonal_gap) < 4 * standard_error(gap)


def test_analytic_and_sampled_kl_agree_in_expectation(linear):
    x, n = torch.randn(3, 4), 20_000
    out = linear(x, samples=n)
    difference = (out.log_posterior - out.log_prior).detach()
    assert ((difference.mean(0) - out.kl()).abs() < 4 * standard_error(difference)).all()
    torch.testing.assert_close(out.kl(analytic=False), difference.mean(0))


def test_full_covariance_posterior_has_the_bound_of_the_diagonal_one_it_equals(linear):
    x = EXACT.sample(3)
    a, b = (same_draw(ELBO(samples=3), model, x) for model in (linear, with_full_covariance(linear)))
    torch.testing.assert_close(a.bound, b.bound)


# ----------------------------------------------------------------------- weights on the divergence
@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 4.0, Constant(4.0), Linear(1.0, 7.0, 0.5)])
def test_beta_weighs_the_kl_in_the_loss_and_not_in_the_bound(linear, beta):
    x, progress = torch.randn(5, 4), replace(START, step=25, fraction=0.25)
    plain, out = (same_draw(ELBO(beta=b), linear, x, progress) for b in (1.0, beta))
    weight = beta if isinstance(beta, float) else 4.0
    torch.testing.assert_close(plain.loss, -plain.bound)
    torch.testing.assert_close(out.loss, weight * out.terms["kl"] - out.terms["reconstruction"])
    torch.testing.assert_close(out.bound, plain.bound)
    torch.testing.assert_close(out.bound, out.terms["reconstruction"] - out.terms["kl"])


def test_free_bits_raise_each_dimension_of_the_batch_mean_to_the_floor(linear):
    x = torch.randn(5, 4)
    per_dimension = linear(x).kl_per_dimension().mean(0)
    floor = per_dimension.mean().item()  # between the two
    plain, out = (same_draw(ELBO(beta=2.0, free_bits=bits), linear, x) for bits in (0.0, floor))
    raised = sum(max(floor, kl) for kl in per_dimension.tolist())
    expected = 2.0 * raised - out.terms["reconstruction"].item()
    assert out.loss.item() == pytest.approx(expected)
    assert out.loss > plain.loss
    torch.testing.assert_close(out.bound, plain.bound)


def test_free_bits_stop_the_pull_on_dimensions_below_the_floor(linear):
    x = torch.randn(5, 4)
    per_dimension = linear(x).kl_per_dimension().mean(0)
    low = int(per_dimension.argmin())
    gradient = {}
    for beta in (0.0, 5.0):
        linear.zero_grad()
        same_draw(ELBO(beta=beta, free_bits=per_dimension.mean().item()), linear, x).loss.backward()
        gradient[beta] = linear.encoder.output.weight.grad.reshape(2, 2, 4).clone()
    torch.testing.assert_close(gradient[0.0][:, low], gradient[5.0][:, low])
    assert not torch.allclose(gradient[0.0][:, 1 - low], gradient[5.0][:, 1 - low])


class FullNormal(StandardNormal):
    """N(0, I) that does not say it factorises."""

    def forward(self, context=None, encode=None):
        return MultivariateNormal(self.loc, torch.eye(2))


def test_free_bits_refuse_a_posterior_or_a_prior_that_does_not_factorise(linear):
    ELBO(free_bits=0.1).check(linear, START)
    other = VAE(linear.encoder, linear.posterior, FullNormal(2), linear.decoder, linear.likelihood)
    for model in (with_full_covariance(linear), other):
        ELBO().check(model, START)
        with pytest.raises(ConfigError, match="factorise; use 'diagonal_gaussian'"):
            ELBO(free_bits=0.1).check(model, START)


def test_logged_terms_hold_no_graph(linear):
    for objective in (ELBO(), ImportanceWeighted(2), ImportanceWeighted(2, "dreg")):
        assert not any(
            t.requires_grad for t in objective(linear, torch.randn(2, 4), None, START).terms.values()
        )


# ----------------------------------------------------------------------- gradients of the encoder
def encoder_gradients(objective, model, x, n=100):
    """Estimates of the encoder's gradient, one per row; each an average over the batch."""
    return gradients(objective, model, list(model.encoder.parameters()), x, n)


def gradients(objective, model, parameters, x, n=100):
    rows = []
    for _ in range(n):
        gradient = torch.autograd.grad(objective(model, x, None, START).loss, parameters)
        rows.append(torch.cat([g.flatten() for g in gradient]))
    return torch.stack(rows)


def score_function_objective(model, x, c, progress):
    """The evidence lower bound differentiated without the path through z."""
    q = model.infer(x)

    def log_weight(z):
        p_x = model.likelihood_at(z).log_prob(x)
        return p_x + model.prior().log_prob(z) - q.log_prob(z)

    return ObjectiveLoss(-score_function_surrogate(log_weight, q).mean())


class ObjectiveLoss:
    def __init__(self, loss):
        self.loss = loss


def assert_same_expectation(a, b):
    error = (standard_error(a).square() + standard_error(b).square()).sqrt()
    assert ((a.mean(0) - b.mean(0)).abs() < 4 * error + 1e-12).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "other",
    [
        ELBO(analytic_kl=False),
        score_function_objective,
        ImportanceWeighted(1, "standard"),
        ImportanceWeighted(1, "stl"),
        ImportanceWeighted(1, "dreg"),
    ],
    ids=["sampled KL", "score function", "K=1", "stl", "dreg"],
)
def test_gradients_of_the_elbo_agree_in_expectation(linear, other):
    x = torch.randn(1, 4).expand(200, 4)  # copies: an average over as many draws
    assert_same_expectation(encoder_gradients(ELBO(), linear, x), encoder_gradients(other, linear, x))


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 8])
def test_doubly_reparameterised_gradient_is_that_of_the_importance_weighted_bound(nonlinear, k):
    x = IMAGES[1:2].expand(500, 3)
    standard, dreg = (
        encoder_gradients(ImportanceWeighted(k, gradient), nonlinear, x) for gradient in ("standard", "dreg")
    )
    assert_same_expectation(standard, dreg)
    assert (
        standard.mean(0).abs() > 4 * standard_error(standard)
    ).any()  # the test has power: signal above noise


@pytest.mark.slow
def test_sticking_the_landing_is_biased_above_one_sample(nonlinear):
    """It leaves out a term that only DReG accounts for; the documentation says so."""
    x = IMAGES[1:2].expand(500, 3)
    standard, stl = (
        encoder_gradients(ImportanceWeighted(8, gradient), nonlinear, x) for gradient in ("standard", "stl")
    )
    error = (standard_error(standard).square() + standard_error(stl).square()).sqrt()
    assert ((standard.mean(0) - stl.mean(0)).abs() > 6 * error).any()


@pytest.mark.parametrize(("gradient", "k"), [("stl", 1), ("stl", 4), ("dreg", 1), ("dreg", 4)])
def test_at_the_exact_posterior_the_encoder_gradient_vanishes_for_every_draw(exact, gradient, k):
    x = EXACT.sample(5)
    assert encoder_gradients(ImportanceWeighted(k, gradient), exact, x, 3).abs().max() < 1e-12
    assert encoder_gradients(ImportanceWeighted(k), exact, x, 3).abs().max() > 1e-2


@pytest.mark.parametrize("gradient", ["stl", "dreg"])
def test_decoder_gradients_are_the_standard_ones_for_the_same_draws(nonlinear, gradient):
    def decoder_gradients(objective):
        torch.manual_seed(1)
        return torch.autograd.grad(
            objective(nonlinear, IMAGES, None, START).loss, list(nonlinear.decoder.parameters())
        )

    for a, b in zip(
        decoder_gradients(ImportanceWeighted(6)),
        decoder_gradients(ImportanceWeighted(6, gradient)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


# ----------------------------------------------------------------------- gradient estimators alone
def gradients_of_square(surrogate, theta, n):
    """n estimates of d/dθ E[z²], z ~ N(θ, 1); its value is 2θ."""
    location = torch.full((n,), theta, requires_grad=True)
    estimate = surrogate(torch.square, Normal(location, 1.0))
    return torch.autograd.grad(estimate.sum(), location)[0]


@pytest.mark.parametrize("theta", [0.0, 0.5, -2.0])
@pytest.mark.parametrize(
    ("surrogate", "variance"),
    [
        (reparameterised_surrogate, lambda theta: 4),
        # z²(z − θ) = θ²ε + 2θε² + ε³: second moment θ⁴ + 18θ² + 15, mean 2θ
        (score_function_surrogate, lambda theta: theta**4 + 14 * theta**2 + 15),
    ],
)
def test_gradient_estimators_have_their_closed_form_mean_and_variance(surrogate, variance, theta):
    draws = gradients_of_square(surrogate, theta, 400_000)
    assert abs(draws.mean() - 2 * theta) < 4 * standard_error(draws)
    squares = (draws - 2 * theta).square()
    assert abs(squares.mean() - variance(theta)) < 4 * standard_error(squares)


@pytest.mark.parametrize("surrogate", [reparameterised_surrogate, score_function_surrogate])
def test_surrogates_have_the_value_of_the_expectation(surrogate):
    q = Normal(torch.full((50_000,), 0.7, requires_grad=True), 1.0)
    value = surrogate(torch.square, q, 2)
    assert value.shape == (50_000,)
    assert abs(value.mean() - 1.49) < 4 * standard_error(value.detach())


def test_score_function_also_differentiates_the_parameters_of_f():
    weight = torch.tensor(3.0, requires_grad=True)
    torch.manual_seed(1)
    value = score_function_surrogate(lambda z: weight * z, Normal(torch.zeros(5), 1.0), 4)
    torch.testing.assert_close(torch.autograd.grad(value.sum(), weight)[0], value.detach().sum() / 3)


# ----------------------------------------------------------------------- schedules
def at(step, total=1000, per_epoch=100):
    return Progress(step, per_epoch, total, step / total)


@pytest.mark.parametrize(("length", "unit"), [(200, "steps"), (2, "epochs"), (0.2, "fraction")])
@pytest.mark.parametrize(
    ("schedule", "quarter"),
    [(Linear, 1 + 0.25 * 4), (Cosine, 1 + 4 * (1 - math.cos(math.pi / 4)) / 2)],
)
def test_schedule_values(schedule, quarter, length, unit):
    beta = schedule(1.0, 5.0, length, unit)
    values = [beta(at(step)) for step in (0, 50, 100, 200, 201, 1000)]
    assert values == pytest.approx([1.0, quarter, 3.0, 5.0, 5.0, 5.0])
    beta.check(at(0))


def test_a_schedule_may_fall():
    assert Linear(1.0, 0.0, 10, "steps")(at(4)) == pytest.approx(0.6)


def test_fraction_follows_the_clock_where_the_run_has_no_fixed_number_of_steps():
    progress = Progress(step=7, steps_per_epoch=3, total_steps=None, fraction=0.25)
    Linear(0.0, 1.0, 0.5).check(progress)
    assert Linear(0.0, 1.0, 0.5)(progress) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "wrap", [ELBO, lambda beta: Switch(ELBO(), ELBO(beta=beta)), lambda b: Switch(ELBO(b), ELBO())]
)
@pytest.mark.parametrize(
    ("schedule", "total", "message"),
    [
        (
            Linear(0.0, 1.0, 1001, "steps"),
            1000,
            "takes 1001 steps but the run has only 1000: it would end at 0.999",
        ),
        (
            Linear(0.0, 4.0, 20, "epochs"),
            1000,
            "takes 20 epochs but the run has only 10: it would end at 2 instead of 4",
        ),
        (Cosine(0.0, 4.0, 40, "epochs"), 1000, "only 10: it would end at 0.585786 instead of 4"),
        (Linear(0.0, 1.0, 1.5, "fraction"), 1000, "a fraction of at most 1"),
        (Linear(0.0, 1.0, 10, "steps"), None, "limited by minutes .* unit='fraction'"),
        (Linear(0.0, 1.0, 10, "epochs"), None, "limited by minutes .* unit='fraction'"),
    ],
)
def test_a_schedule_that_does_not_fit_the_run_is_refused(linear, wrap, schedule, total, message):
    with pytest.raises(ConfigError, match=message):
        wrap(schedule).check(linear, Progress(steps_per_epoch=100, total_steps=total))


def test_a_schedule_as_long_as_the_run_is_accepted(linear):
    for length, unit in ((1000, "steps"), (10, "epochs"), (1, "fraction")):
        ELBO(beta=Linear(0.0, 1.0, length, unit)).check(linear, at(0))


def test_switch_takes_over_at_its_share_of_the_run(linear):
    x = torch.randn(2, 4)
    first, then = ELBO(beta=0.0), ELBO(beta=9.0)
    switch = Switch(first, then, at=0.5)
    for fraction, expected in ((0.0, first), (0.49, first), (0.5, then), (1.0, then)):
        progress = replace(START, fraction=fraction)
        got, wanted = (same_draw(o, linear, x, progress).loss for o in (switch, expected))
        torch.testing.assert_close(got, wanted)


# ------------------------------------------------------------------ the gradient through some of the draws
@pytest.mark.slow
@pytest.mark.parametrize("gradient", ["standard", "stl", "dreg"])
@pytest.mark.parametrize("kept", [1, 3])
@pytest.mark.parametrize("network", ["encoder", "decoder"])
def test_the_gradient_through_some_draws_is_that_through_all(nonlinear, gradient, kept, network):
    x = IMAGES[1:2].expand(500, 3)
    parameters = list(getattr(nonlinear, network).parameters())
    whole, some = (
        gradients(ImportanceWeighted(8, gradient, kept=kept), nonlinear, parameters, x)
        for kept in (None, kept)
    )
    assert_same_expectation(whole, some)
    assert (whole.mean(0).abs() > 6 * standard_error(some)).any()  # a factor would show


@pytest.mark.parametrize("gradient", ["standard", "stl", "dreg"])
def test_the_bound_and_the_terms_are_of_all_draws_whatever_is_kept(nonlinear, gradient):
    whole, some = (
        same_draw(ImportanceWeighted(8, gradient, kept=kept), nonlinear, IMAGES) for kept in (None, 2)
    )
    torch.testing.assert_close(some.bound, whole.bound)
    torch.testing.assert_close(some.terms, whole.terms)
    assert not some.bound.requires_grad


@pytest.mark.parametrize("gradient", ["standard", "stl", "dreg"])
def test_an_optimal_sigma_is_fitted_once_a_step_and_to_all_draws_whatever_is_kept(gradient):
    encoder, decoder = MLP((4,), (2, 2), hidden=()), MLP((2,), (1, 4), hidden=())
    x = torch.randn(6, 4)

    def step(scale, kept):
        likelihood = Gaussian(4, scale=scale)
        model = VAE(encoder, DiagonalGaussian(2), StandardNormal(2), decoder, likelihood)
        return likelihood, same_draw(ImportanceWeighted(8, gradient, kept=kept), model, x)

    of_all, whole = step("optimal", None)
    of_some, some = step("optimal", 2)
    assert of_some.seen == 1
    torch.testing.assert_close(of_some.variance, of_all.variance)
    torch.testing.assert_close(some.bound, whole.bound)
    _, fixed = step(of_all.variance.sqrt().item(), 2)
    torch.testing.assert_close(some.loss, fixed.loss)


@pytest.mark.parametrize("gradient", ["stl", "dreg"])
def test_at_the_exact_posterior_the_encoder_gradient_through_some_draws_vanishes(exact, gradient):
    x = EXACT.sample(5)
    assert encoder_gradients(ImportanceWeighted(4, gradient, kept=2), exact, x, 3).abs().max() < 1e-12


def test_the_gradient_through_all_draws_named_is_the_usual_one(nonlinear):
    torch.testing.assert_close(
        same_draw(ImportanceWeighted(4, "dreg", kept=4), nonlinear, IMAGES).loss,
        same_draw(ImportanceWeighted(4, "dreg"), nonlinear, IMAGES).loss,
        rtol=0,
        atol=0,
    )


def test_a_pass_can_go_on_with_some_of_its_draws(nonlinear):
    out = nonlinear(IMAGES, samples=5)
    index = torch.tensor([[4, 0, 2], [1, 3, 2]])
    some = out.take(index)
    torch.testing.assert_close(some.log_weight, out.log_weight.gather(0, index))
    assert some.log_weight.shape == (2, 3)


@pytest.mark.parametrize("kept", [1, 2, 5, 8])
def test_chances_of_being_kept_are_proportional_to_the_weight_up_to_one(kept):
    weights = torch.randn(8, 50, dtype=torch.float64).mul(2).softmax(0)
    p = inclusion(weights, kept)
    torch.testing.assert_close(p.sum(0), torch.full((50,), float(kept), dtype=torch.float64))
    for w, found in zip(weights.T.numpy(), p.T.numpy(), strict=True):
        # The c at which they add up, found by another way; the sum falls from 8 at c = 0 to 1 at c = 1.
        c = w.min() if kept == 8 else scipy.optimize.brentq(excess, 1e-12, 1.1, (w, kept))
        np.testing.assert_allclose(found, (w / c).clip(max=1), atol=1e-3)


def excess(c, weights, kept):
    return (weights / c).clip(max=1).sum() - kept


def test_kept_draws_are_distinct_and_come_as_often_as_they_should():
    weights = torch.tensor([0.0, 0.5, 0.02, 0.0, 0.18, 0.3]).unsqueeze(1).expand(6, 200_000)
    index, p = choose(weights, 3)
    assert (index.sort(0).values.diff(dim=0) > 0).all()
    rate = torch.bincount(index.flatten(), minlength=6) / 200_000
    # 0.5 and 0.3 are kept whole; of the other 0.2, one: c = 0.2.
    torch.testing.assert_close(rate, torch.tensor([0, 1, 0.1, 0, 0.9, 1]), atol=4e-3, rtol=0)
    torch.testing.assert_close(p, inclusion(weights, 3).gather(0, index))


def test_more_draws_can_be_kept_than_have_any_weight():
    weights = torch.tensor([1.0, 0.0, 0.0, 0.0]).unsqueeze(1).expand(4, 1000)
    index, p = choose(weights, 2)
    assert (index.sort(0).values.diff(dim=0) > 0).all()
    torch.testing.assert_close((weights.gather(0, index) / p).sum(0), torch.ones(1000))


# ----------------------------------------------------------------------- bad options
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ELBO(beta=-1.0), "finite beta >= 0; got -1"),
        (lambda: ELBO(beta=math.nan), "finite beta >= 0; got nan"),
        (lambda: ELBO(free_bits=-0.5), "free_bits >= 0 nats; got -0.5"),
        (lambda: ELBO(free_bits=math.nan), "free_bits >= 0 nats; got nan"),
        (lambda: ELBO(samples=0), "samples >= 1; got 0"),
        (lambda: ELBO(free_bits=0.1, analytic_kl=False), "leave analytic_kl=True"),
        (lambda: ImportanceWeighted(samples=0), "samples >= 1; got 0"),
        (lambda: ImportanceWeighted(samples=4, kept=5), "1 <= kept <= samples=4; got 5"),
        (lambda: ImportanceWeighted(kept=0), "1 <= kept <= samples=8; got 0"),
        (lambda: ImportanceWeighted(gradient="dregs"), "unknown gradient 'dregs'; did you mean 'dreg'"),
        (lambda: Linear(length=0), "positive length; got 0"),
        (lambda: Linear(length=-2), "positive length; got -2"),
        (lambda: Linear(length=math.inf), "positive length; got inf"),
        (lambda: Cosine(length=math.nan), "positive length; got nan"),
        (lambda: Linear(unit="minutes"), "one of steps, epochs, fraction; got 'minutes'"),
        (lambda: Switch(ELBO(), ELBO(), at=0.0), "0 < at < 1"),
        (lambda: Switch(ELBO(), ELBO(), at=1.5), "got 1.5"),
    ],
)
def test_bad_options_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
