"""Further observation families: equal to scipy's, exact far out, differentiable, started at the data."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from lowerbound.distributions import Mixture
from lowerbound.errors import ConfigError, SupportError
from lowerbound.likelihoods import (
    Beta,
    CensoredGaussian,
    DiscretisedLogistic,
    Gamma,
    Laplace,
    LogCosh,
    LogNormal,
    Ordinal,
    StudentT,
    VonMises,
)

pytestmark = pytest.mark.usefixtures("float64")

H = torch.tensor(
    [[0.3, -1.2, 0.7], [0.4, -0.5, 0.1]], dtype=torch.float64
)  # two parameters of three elements
FIRST, SECOND = H.numpy()
SIGMA = np.exp(12 * np.tanh(SECOND / 12))  # the scale that is documented: exp, bounded far out


def logistic_level(x, loc, scale, levels):
    """Mass of the level x, tails included, in 60 digits' worth of care: by the side on which numbers are small."""
    step = 1 / (levels - 1)
    low = -np.inf if x <= 0 else (x - step / 2 - loc) / scale
    high = np.inf if x >= 1 else (x + step / 2 - loc) / scale
    if low > 0:
        low, high = -high, -low
    return math.log(special.expit(high) - special.expit(low))


CASES = {
    "laplace": (
        lambda: Laplace(3, "predicted"),
        [1.0, -2.0, 0.7],
        lambda x: stats.laplace.logpdf(x, FIRST, SIGMA),
    ),
    "student_t": (
        lambda: StudentT(3, "predicted", df=3.5),
        [1.0, -8.0, 0.7],
        lambda x: stats.t.logpdf(x, 3.5, FIRST, SIGMA),
    ),
    "log_cosh": (
        lambda: LogCosh(3, "predicted"),
        [1.0, -2.0, 30.0],
        lambda x: stats.hypsecant.logpdf(x, FIRST, SIGMA),
    ),
    "log_cosh_logistic": (
        lambda: LogCosh(3, "predicted", power=2.0),
        [1.0, -2.0, 30.0],
        lambda x: stats.logistic.logpdf(x, FIRST, SIGMA / 2),
    ),
    "discretised_logistic": (
        lambda: DiscretisedLogistic(3, levels=6),
        [0.0, 0.4, 1.0],
        lambda x: [logistic_level(*each, 6) for each in zip(x, FIRST, SIGMA, strict=True)],
    ),
    "beta": (
        lambda: Beta(3),
        [0.01, 0.5, 0.999],
        lambda x: stats.beta.logpdf(x, SIGMA * special.expit(FIRST), SIGMA * special.expit(-FIRST)),
    ),
    "log_normal": (
        lambda: LogNormal(3),
        [0.01, 1.0, 30.0],
        lambda x: stats.lognorm.logpdf(x, SIGMA, scale=np.exp(FIRST)),
    ),
    "gamma": (
        lambda: Gamma(3),
        [0.01, 1.0, 30.0],
        lambda x: stats.gamma.logpdf(x, SIGMA, scale=np.exp(FIRST) / SIGMA),
    ),
    "von_mises": (
        lambda: VonMises(3),
        [-3.1, 0.2, 3.1],
        lambda x: stats.vonmises.logpdf(x, np.hypot(FIRST, SECOND), np.arctan2(SECOND, FIRST)),
    ),
    "ordinal": (
        lambda: Ordinal(3, categories=4),
        [0, 2, 3],
        lambda x: np.log(
            stats.logistic.cdf(np.array([-1.0, 1.0, np.inf]) - FIRST)
            - stats.logistic.cdf(np.array([-np.inf, 0.0, 1.0]) - FIRST)
        ),
    ),
    "censored_gaussian": (
        lambda: CensoredGaussian(3, [1.0, 2.0, 0.5], "predicted"),
        [1.0, 1.5, 0.5],
        lambda x: np.where(
            [True, False, True],
            stats.norm.logsf(x, FIRST, SIGMA),
            stats.norm.logpdf(x, FIRST, SIGMA),
        ),
    ),
}
each_case = pytest.mark.parametrize("name", CASES)


def given(likelihood):
    return H[: likelihood.input_shape[0]].clone()


@each_case
def test_it_is_that_of_scipy_summed_over_the_event(name):
    build, x, truth = CASES[name]
    likelihood = build()
    found = likelihood(given(likelihood)).log_prob(torch.tensor(x))
    assert found.item() == pytest.approx(np.sum(truth(np.array(x, float))), abs=1e-12)


@each_case
def test_gradients_are_those_of_finite_differences(name):
    build, x, _ = CASES[name]
    likelihood = build()
    x = torch.tensor(x)
    assert torch.autograd.gradcheck(lambda h: likelihood(h).log_prob(x), given(likelihood).requires_grad_())


@each_case
def test_far_out_in_float32_densities_and_gradients_are_finite(name):
    build, x, _ = CASES[name]
    likelihood = build().float()
    for first in (-80.0, 0.0, 80.0):
        for second in (-80.0, 0.0, 80.0):
            if name == "von_mises" and (first or second):
                continue
            h = torch.tensor([[first] * 3, [second] * 3], dtype=torch.float32)[: likelihood.input_shape[0]]
            h.requires_grad_()
            log_prob = likelihood(h).log_prob(torch.tensor(x, dtype=torch.float32))
            (gradient,) = torch.autograd.grad(log_prob, h)
            assert not log_prob.isnan(), (first, second)
            assert not gradient.isnan().any(), (first, second)


@each_case
def test_the_first_output_has_the_data_s_mean(name):
    likelihood = CASES[name][0]()
    torch.manual_seed(0)
    h = given(likelihood) / 4 + (1.0 if name in ("beta", "gamma") else 0.0)
    u = likelihood(h).sample((4000,))
    p = likelihood(likelihood.start(u, None))
    if name == "ordinal":
        share = torch.stack([(u == k).double().mean(0) for k in range(4)], -1)
        torch.testing.assert_close(p.base_dist.probs, share, rtol=0, atol=1e-3)
    elif name == "von_mises":
        torch.testing.assert_close(p.base_dist.direction, torch.atan2(u.sin().mean(0), u.cos().mean(0)))
    elif name != "censored_gaussian":  # whose decoder gives the mean of what is not seen
        torch.testing.assert_close(p.mean, u.mean(0), rtol=0.05, atol=0.05)


def test_cauchy_has_no_moments_but_a_point_and_a_start():
    likelihood = StudentT(2, df=1.0)
    h = likelihood.start(torch.randn(10, 2), None)
    assert torch.equal(likelihood.point(likelihood(h)), h[0])
    assert likelihood.log_scale.isfinite().all()


def test_degrees_of_freedom_are_learned():
    likelihood = StudentT(1)
    x = torch.distributions.StudentT(3.0).sample((2000, 1))
    loss = -likelihood(torch.zeros(2000, 1, 1)).log_prob(x).mean()
    assert torch.autograd.grad(loss, likelihood.log_df)[0] > 0  # it starts at 10


def test_bytes_keep_their_probabilities_where_sigmoids_have_no_digits_left():
    likelihood = DiscretisedLogistic(1, levels=256)
    h = torch.tensor([[-3.0], [-4.0]])
    found = likelihood(h).log_prob(torch.tensor([200 / 255])).item()
    scale = math.exp(12 * math.tanh(-4 / 12))
    # Far in the tail the mass of an interval is e^(-low) - e^(-high).
    low, width = (199.5 / 255 + 3) / scale, 1 / 255 / scale
    assert found == pytest.approx(-low + math.log(-math.expm1(-width)), rel=1e-12)
    assert found < -100


@pytest.mark.parametrize("components", [1, 3])
def test_levels_sum_to_one_and_their_mean_is_the_sum(components):
    likelihood = DiscretisedLogistic((1, 2), levels=9, components=components)
    p = likelihood(torch.randn(4, *likelihood.input_shape))
    levels = (torch.arange(9) / 8).reshape(9, 1, 1, 1)
    mass = p.base_dist.log_prob(levels.expand(9, 4, 1, 2)).exp()
    torch.testing.assert_close(mass.sum(0), torch.ones(4, 1, 2))
    torch.testing.assert_close((levels * mass).sum(0), p.mean)
    assert isinstance(p.base_dist, Mixture) == (components > 1)


def test_a_mixture_of_logistics_is_the_sum_of_its_parts():
    likelihood = DiscretisedLogistic(1, levels=5, components=2)
    h = torch.tensor([0.1, 0.8, -2.0, -1.0, 0.3, -0.4]).reshape(6, 1)
    share = np.exp([0.3, -0.4]) / np.exp([0.3, -0.4]).sum()
    scale = [math.exp(12 * math.tanh(s / 12)) for s in (-2.0, -1.0)]
    for x in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts = [math.exp(logistic_level(x, m, s, 5)) for m, s in zip((0.1, 0.8), scale, strict=True)]
        found = likelihood(h).log_prob(torch.tensor([x])).item()
        assert found == pytest.approx(math.log(share @ parts), abs=1e-12)


def test_angles_have_no_seam():
    likelihood = VonMises(1)
    x = torch.tensor([[math.pi], [-math.pi]])
    for h in torch.randn(5, 2, 1):
        torch.testing.assert_close(*likelihood(h).log_prob(x))
    torch.testing.assert_close(likelihood.features(x)[0], likelihood.features(x)[1])
    assert likelihood(torch.zeros(2, 1)).log_prob(x)[0].item() == pytest.approx(-math.log(2 * math.pi))
    # large κ: a Gaussian of variance 1/κ about the direction
    k = 1e6
    found = likelihood(torch.tensor([[k], [0.0]])).log_prob(torch.tensor([1e-3])).item()
    assert found == pytest.approx(stats.norm.logpdf(1e-3, 0, k**-0.5), abs=1e-5)


def test_a_value_on_its_limit_has_a_probability_and_draws_have_it_so_often():
    likelihood = CensoredGaussian(1, 24.7, scale=2.0)
    x32 = torch.tensor([24.7], dtype=torch.float32)
    likelihood.check(x32.double().unsqueeze(0))  # 24.7 in float32 lies above 24.7 in float64
    p = likelihood(torch.tensor([[24.0]]))
    chance = stats.norm.sf(24.7, 24, 2)
    assert p.log_prob(x32.double()).item() == pytest.approx(math.log(chance), abs=1e-6)
    drawn = p.sample((20_000,))
    assert (drawn == x32.double()).double().mean().item() == pytest.approx(chance, abs=0.02)
    assert p.mean.item() == pytest.approx(drawn.mean().item(), abs=0.05)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Laplace(2, scale=0), ConfigError, "Laplace needs a positive number as scale"),
        (lambda: LogCosh(2, scale="lerned"), ConfigError, "did you mean 'learned'"),
        (lambda: LogCosh(2, power=-1.0), ConfigError, "power > 0; got -1.0"),
        (lambda: StudentT(2, df=0.0), ConfigError, "positive number of degrees of freedom"),
        (lambda: StudentT(2, df="lots"), ConfigError, "got 'lots'"),
        (lambda: DiscretisedLogistic(2, levels=1), ConfigError, "levels >= 2; got 1"),
        (lambda: DiscretisedLogistic(2, components=0), ConfigError, "components >= 1; got 0"),
        (lambda: Ordinal(2, categories=1), ConfigError, "categories >= 2; got 1"),
        (lambda: CensoredGaussian(2, limit=[1.0, 2.0, 3.0]), ConfigError, "one for each of 2"),
        (lambda: CensoredGaussian(2, limit=math.nan), ConfigError, "got nan"),
        (lambda: DiscretisedLogistic(1).check(torch.tensor([[0.501]])), SupportError, "dequantize=False"),
        (lambda: Beta(2).check(torch.tensor([[0.0, 1.0]])), SupportError, "dequantize=True"),
        (lambda: Gamma(1).check(torch.tensor([[0.0]])), SupportError, "the positive numbers"),
        (lambda: VonMises(1).check(torch.tensor([[180.0]])), SupportError, "np.angle"),
        (lambda: CensoredGaussian(1, 3).check(torch.tensor([[3.1]])), SupportError, "largest value"),
    ],
)
def test_bad_input_is_refused_with_its_remedy(call, error, message):
    with pytest.raises(error, match=message):
        call()
