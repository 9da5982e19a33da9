"""Observation families: normalised, equal to other implementations, with their constants."""

import math

import pytest
import scipy.stats
import torch
from scipy import integrate

from lowerbound.errors import ConfigError, SupportError
from lowerbound.likelihoods import Bernoulli, Categorical, ContinuousBernoulli, Gaussian

pytestmark = pytest.mark.usefixtures("float64")

SHAPES = [(1,), (4,), (2, 3), (1, 2, 2)]
GAUSSIANS = {
    str(scale): lambda shape, scale=scale: Gaussian(shape, scale=scale)
    for scale in (0.3, 2, "learned", "per_dimension", "predicted", "optimal")
}
every_gaussian = pytest.mark.parametrize("build", GAUSSIANS.values(), ids=GAUSSIANS)


def decoder_output(likelihood, *lead):
    return torch.randn(*lead, *likelihood.input_shape)


# ------------------------------------------------------------------------------------------ Bernoulli
@pytest.mark.parametrize("shape", SHAPES)
def test_bernoulli_is_that_of_scipy_summed_over_the_event(shape):
    likelihood = Bernoulli(shape)
    h = decoder_output(likelihood, 3, 5)
    p_x = likelihood(h)
    x = p_x.sample()
    expected = scipy.stats.bernoulli.logpmf(x.numpy(), h.sigmoid().numpy().reshape(x.shape))
    torch.testing.assert_close(p_x.log_prob(x), torch.from_numpy(expected).flatten(2).sum(-1))
    torch.testing.assert_close(p_x.mean, h.sigmoid().reshape(x.shape))


def test_bernoulli_sums_to_one_over_all_images():
    likelihood = Bernoulli((2, 2))
    images = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4).reshape(16, 2, 2)
    p_x = likelihood(decoder_output(likelihood, 1))
    assert p_x.log_prob(images).exp().sum().item() == pytest.approx(1)


def test_continuous_bernoulli_integrates_to_one_in_two_dimensions():
    likelihood = ContinuousBernoulli(2)
    p_x = likelihood(torch.tensor([[-3.0, 8.0]]))
    total, _ = integrate.dblquad(lambda a, b: p_x.log_prob(torch.tensor([a, b])).exp().item(), 0, 1, 0, 1)
    assert total == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("family", [Bernoulli, ContinuousBernoulli])
def test_extreme_logits_in_float32_keep_finite_densities_and_gradients(family):
    logits = torch.tensor([-1e4, -88.0, -17.0, 0.0, 17.0, 88.0, 1e4], dtype=torch.float32)
    h = logits.unsqueeze(0).requires_grad_()
    for value in (0.0, 1.0):
        log_prob = family(7)(h).log_prob(torch.full((7,), value, dtype=torch.float32))
        (gradient,) = torch.autograd.grad(log_prob, h)
        assert log_prob.isfinite()
        assert gradient.isfinite().all()


@pytest.mark.parametrize(("family", "tolerance"), [(Bernoulli, 1e-12), (ContinuousBernoulli, 0.01)])
def test_initial_logits_give_the_mean_of_the_data(family, tolerance):
    mean = torch.tensor([0.05, 0.2, 0.5, 0.9])
    likelihood = family(4)
    h = likelihood.start(torch.stack([mean - 0.05, mean + 0.05]), None)
    torch.testing.assert_close(likelihood(h).mean, mean, rtol=0, atol=tolerance)


@pytest.mark.parametrize("family", [Bernoulli, ContinuousBernoulli])
def test_initial_logits_stay_finite_for_pixels_that_never_change(family):
    assert family(2).start(torch.tensor([[0.0, 1.0]]).expand(5, 2), None).isfinite().all()


def test_initial_logits_of_classes_are_their_frequencies():
    likelihood = Categorical(2, categories=3)
    x = torch.tensor([[0, 2], [1, 2], [1, 2], [0, 2], [2, 2], [0, 2]] * 1000)
    p = likelihood(likelihood.start(x, None)).base_dist.probs
    wanted = torch.tensor([[3 / 6, 2 / 6, 1 / 6], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(p, wanted, rtol=0, atol=1e-3)


# ------------------------------------------------------------------------------------------- Gaussian
def scale_of(likelihood, h):
    """Standard deviations that the documentation announces, from the parameters; small ones, so linear."""
    smooth = lambda log_scale: torch.exp(10 * torch.tanh(log_scale / 10)) + 1e-4  # noqa: E731
    return {
        "learned": lambda: smooth(likelihood.log_scale),
        "per_dimension": lambda: smooth(likelihood.log_scale),
        "predicted": lambda: smooth(h[..., 1, :]),
        "optimal": lambda: likelihood.variance.sqrt(),
    }.get(likelihood.scale, lambda: torch.tensor(likelihood.scale))()


@every_gaussian
def test_gaussian_is_that_of_scipy_summed_over_the_event(build):
    likelihood = build(4).eval()
    with torch.no_grad():
        for parameter in [
            *likelihood.parameters(),
            *([likelihood.variance] if likelihood.scale == "optimal" else []),
        ]:
            parameter.copy_(torch.rand_like(parameter) + 0.2)
    h = decoder_output(likelihood, 3, 5)
    p_x = likelihood(h)
    x = p_x.sample()
    scale = scale_of(likelihood, h).expand(3, 5, 4).detach()
    expected = scipy.stats.norm.logpdf(x.numpy(), h[..., 0, :].numpy(), scale.numpy())
    torch.testing.assert_close(p_x.log_prob(x).detach(), torch.from_numpy(expected).sum(-1))
    torch.testing.assert_close(p_x.mean, h[..., 0, :])


@every_gaussian
def test_gaussian_integrates_to_one_in_two_dimensions(build):
    likelihood = build(2).eval()
    p_x = likelihood(0.3 * decoder_output(likelihood, 1))
    spread, mean = p_x.stddev.detach()[0], p_x.mean.detach()[0]
    x, y = (torch.linspace(-9, 9, 181) * spread[i] + mean[i] for i in (0, 1))
    density = p_x.log_prob(torch.cartesian_prod(x, y)).exp().detach().reshape(181, 181)
    assert torch.trapezoid(torch.trapezoid(density, y), x).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_gaussian_predicted_scale_is_the_second_parameter(shape):
    likelihood = Gaussian(shape, scale="predicted")
    h = torch.zeros(1, *likelihood.input_shape)
    h[:, 1] = math.log(2)
    assert likelihood.input_shape == (2, *shape)
    torch.testing.assert_close(likelihood(h).stddev, torch.full((1, *shape), 2.0), rtol=2e-3, atol=0)


def test_gaussian_scale_stays_positive_and_finite_with_gradients_that_lead_back():
    h = torch.tensor([[[0.0, 0.0], [-1e3, 1e3]]], dtype=torch.float32)
    scale = Gaussian(2, scale="predicted")(h).stddev
    assert (scale >= 1e-4).all()
    assert scale.isfinite().all()
    h = torch.tensor([[[0.0, 0.0], [-20.0, 20.0]]]).requires_grad_()
    Gaussian(2, scale="predicted")(h).stddev.log().sum().backward()
    assert (h.grad[0, 1] > 0).all()


@pytest.mark.parametrize(("scale", "size"), [("learned", 1), ("per_dimension", 4), ("predicted", 4)])
def test_gaussian_starts_at_the_spread_of_the_data(scale, size):
    std, mean = torch.tensor([0.5, 0.8, 1.0, 3.0]), torch.randn(4)
    likelihood = Gaussian(4, scale=scale)
    p_x = likelihood(likelihood.start(torch.stack([mean - std, mean + std]), None))
    expected = std if size == 4 else std.square().mean().sqrt().expand(4)
    torch.testing.assert_close(p_x.mean, mean)
    torch.testing.assert_close(p_x.stddev, expected, rtol=0.02, atol=0)


# ------------------------------------------------------- the optimal σ, in training and in evaluation
def optimal(shape=(4,)):
    return Gaussian(shape, scale="optimal").train()


def test_optimal_scale_gives_the_maximum_of_the_likelihood_over_sigma():
    likelihood = optimal()
    h, x = decoder_output(likelihood, 2, 6), 0.3 * torch.randn(6, 4)
    log_prob = likelihood(h).log_prob(x).sum()
    sigmas = torch.linspace(0.5, 2, 3001)
    fixed = torch.stack([Gaussian(4, scale=s)(h).log_prob(x).sum() for s in sigmas.tolist()])
    rms = (x - h.squeeze(-2)).square().mean().sqrt()
    assert sigmas[fixed.argmax()].item() == pytest.approx(rms.item(), abs=1e-3)
    assert log_prob.item() == pytest.approx(fixed.max().item(), abs=1e-4)
    assert log_prob >= fixed.max()


def test_optimal_scale_has_the_gradient_of_the_likelihood_at_that_sigma():
    """σ maximises the likelihood, so its own dependence on the decoder adds nothing (envelope theorem)."""
    likelihood = optimal()
    x = torch.randn(6, 4)
    h = decoder_output(likelihood, 6).requires_grad_()
    (gradient,) = torch.autograd.grad(likelihood(h).log_prob(x).sum(), h)
    rms = (x - h.detach().squeeze(-2)).square().mean().sqrt().item()
    (expected,) = torch.autograd.grad(Gaussian(4, scale=rms)(h).log_prob(x).sum(), h)
    torch.testing.assert_close(gradient, expected)


def test_optimal_running_variance_starts_without_bias_and_converges():
    likelihood = optimal()
    h = torch.zeros(50, *likelihood.input_shape)
    x = 0.25 * torch.randn(50, 4)
    likelihood(h).log_prob(x)
    assert likelihood.variance.item() == pytest.approx(x.square().mean().item())
    for _ in range(500):
        likelihood(h).log_prob(0.5 * torch.randn(50, 4))
    # an exponential average of 1/0.02 batches of 200 numbers: relative error sqrt(0.02/2 · 2/200) = 1 %
    assert likelihood.variance.item() == pytest.approx(0.25, rel=0.04)


def test_optimal_evaluation_uses_the_running_variance_and_leaves_it():
    likelihood = optimal()
    h = torch.zeros(5, *likelihood.input_shape)
    likelihood(h).log_prob(torch.full((5, 4), 2.0))
    likelihood.eval()
    x = torch.randn(5, 4)
    torch.testing.assert_close(likelihood(h).log_prob(x), Gaussian(4, scale=2.0)(h).log_prob(x))
    assert likelihood.variance.item() == pytest.approx(4.0)


def test_optimal_running_variance_is_saved_with_the_weights():
    likelihood, copy = optimal(), optimal()
    likelihood(torch.zeros(5, 1, 4)).log_prob(torch.full((5, 4), 2.0))
    copy.load_state_dict(likelihood.state_dict())
    assert copy.variance.item() == pytest.approx(4.0)


def test_optimal_scale_survives_a_perfect_reconstruction():
    likelihood = optimal()
    h = torch.zeros(5, 1, 4, requires_grad=True)
    log_prob = likelihood(h).log_prob(torch.zeros(5, 4))
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    assert h.grad.isfinite().all()


# ---------------------------------------------------------------------------------------- Categorical
@pytest.mark.parametrize("shape", [(3,), (2, 3, 4)])
def test_categorical_takes_the_log_softmax_over_its_first_parameter_axis(shape):
    likelihood = Categorical(shape, categories=5)
    h = decoder_output(likelihood, 2)
    p_x = likelihood(h)
    x = p_x.sample()
    expected = h.log_softmax(1).gather(1, x.unsqueeze(1)).squeeze(1).flatten(1).sum(1)
    assert likelihood.input_shape == (5, *shape)
    torch.testing.assert_close(p_x.log_prob(x), expected)


def test_categorical_sums_to_one_over_all_codes():
    likelihood = Categorical(3, categories=4)
    codes = torch.cartesian_prod(*[torch.arange(4)] * 3)
    p_x = likelihood(decoder_output(likelihood, 1))
    assert p_x.log_prob(codes).exp().sum().item() == pytest.approx(1)


def test_categorical_features_are_one_hot_channels_class_by_class():
    likelihood = Categorical((2, 1, 3), categories=4)
    x = torch.randint(4, (5, 2, 1, 3))
    features = likelihood.features(x)
    assert features.shape == (5, 8, 1, 3)
    for k in range(4):
        torch.testing.assert_close(features[:, 2 * k : 2 * k + 2], (x == k).double())


def test_categorical_point_is_the_most_probable_class():
    likelihood = Categorical((2, 3), categories=4)
    h = decoder_output(likelihood, 5)
    assert torch.equal(likelihood.point(likelihood(h)), h.argmax(1))


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
def test_categorical_takes_classes_of_any_type(dtype):
    likelihood = Categorical(2, categories=300)
    x = torch.tensor([[0, 299]])
    h = decoder_output(likelihood, 1)
    likelihood.check(x.to(dtype))
    torch.testing.assert_close(likelihood(h).log_prob(x.to(dtype)), likelihood(h).log_prob(x))


# ----------------------------------------------------------------------------------------- bad inputs
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Bernoulli(0), ConfigError, r"event_shape .* positive integers; got 0"),
        (lambda: Bernoulli(()), ConfigError, r"one or more positive integers; got \(\)"),
        (lambda: Bernoulli((1, -2)), ConfigError, r"got \(1, -2\)"),
        (lambda: Bernoulli(2.5), ConfigError, "got 2.5"),
        (lambda: Bernoulli(True), ConfigError, "got True"),
        (lambda: Gaussian(4, scale=0.0), ConfigError, "positive number as scale"),
        (lambda: Gaussian(4, scale=-1), ConfigError, "got -1"),
        (lambda: Gaussian(4, scale=math.inf), ConfigError, "got inf"),
        (lambda: Gaussian(4, scale=math.nan), ConfigError, "got nan"),
        (lambda: Gaussian(4, scale=None), ConfigError, "got None"),
        (lambda: Gaussian(4, scale=True), ConfigError, "got True"),
        (lambda: Gaussian(4, scale="lerned"), ConfigError, "did you mean 'learned'"),
        (lambda: Categorical(4, categories=1), ConfigError, "categories >= 2; got 1"),
        (lambda: Categorical(4, categories=2.0), ConfigError, "categories >= 2; got 2.0"),
        (
            lambda: Bernoulli(2).check(torch.tensor([[0.0, 255.0]])),
            SupportError,
            r"Bernoulli needs x in \{0, 1\}; got values in \[0, 255\], for example 255; binarise",
        ),
        (
            lambda: ContinuousBernoulli(2).check(torch.tensor([[0.5, -1.0]])),
            SupportError,
            r"needs x in \[0, 1\].*example -1; rescale",
        ),
        (
            lambda: Categorical(2, 3).check(torch.tensor([[0, 3]])),
            SupportError,
            r"needs x in \{0, ..., 2\}.*example 3; number the classes from 0",
        ),
        (lambda: Gaussian(2).check(torch.tensor([[0.0, math.nan]])), SupportError, "missing values"),
    ],
)
def test_bad_input_is_refused_with_its_remedy(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    "x", [torch.tensor([[0, 1]]), torch.tensor([[False, True]]), torch.tensor([[0.0, 1.0]])]
)
def test_bernoulli_accepts_zeros_and_ones_of_any_type(x):
    Bernoulli(2).check(x)
