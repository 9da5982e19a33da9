"""Likelihoods of counts: equal to scipy's, normalised, drawn as they are scored; published fits; sparse matrices."""

import itertools
import math
import os
from pathlib import Path

import mpmath
import numpy as np
import pytest
import scipy.stats
import torch

from lowerbound.distributions import NegativeBinomialLog, PoissonLog, ZeroInflated, restrict
from lowerbound.errors import ConfigError, SupportError
from lowerbound.likelihoods import Multinomial, NegativeBinomial, Poisson

pytestmark = pytest.mark.usefixtures("float64")
DATA = Path(os.environ.get("LOWERBOUND_DATA", ".")) / "counts"
X = torch.tensor([0.0, 1.0, 2.0, 7.0, 63.0, 624.0, 20_000.0], dtype=torch.float64)
MEANS = torch.tensor([1e-6, 0.03, 1.0, 17.0, 900.0], dtype=torch.float64)
THETAS = torch.tensor([1e-3, 0.4, 1.0, 63.0, 65.0, 5000.0], dtype=torch.float64)


def grid(*axes):
    return torch.cartesian_prod(*axes).unbind(1)


# ------------------------------------------------------------------------------------------ element by element
def test_negative_binomial_is_that_of_scipy():
    x, mean, theta = grid(X, MEANS, THETAS)
    ours = NegativeBinomialLog(mean.log(), theta.log()).log_prob(x)
    with mpmath.workdps(40):
        exact = [
            mpmath.loggamma(a + t) - mpmath.loggamma(t) - mpmath.loggamma(a + 1)
            + t * mpmath.log(t / (t + m)) + a * mpmath.log(m / (t + m))
            for a, m, t in (map(mpmath.mpf, row) for row in torch.stack([x, mean, theta], 1).tolist())
        ]  # fmt: skip
    np.testing.assert_allclose(ours, np.array(exact, float), rtol=1e-9)
    usual = (x <= 624) & (theta <= 100) & (mean >= 0.03)  # where scipy itself is exact
    scipys = scipy.stats.nbinom.logpmf(x, theta, theta / (theta + mean))
    np.testing.assert_allclose(ours[usual], scipys[usual], rtol=1e-9)


def test_zero_inflated_counts_are_mixtures_of_scipys_with_zero():
    x, mean, theta, logit = grid(X[:6], MEANS[1:], THETAS[1:4], torch.tensor([-30.0, -2.0, 0.5, 4.0]))
    share = 1 / (1 + np.exp(-logit.numpy()))
    for base, other in (
        (PoissonLog(mean.log()), scipy.stats.poisson.logpmf(x, mean)),
        (
            NegativeBinomialLog(mean.log(), theta.log()),
            scipy.stats.nbinom.logpmf(x, theta, theta / (theta + mean)),
        ),
    ):
        zero = np.where(x == 0, np.log(share), -np.inf)
        expected = np.logaddexp(zero, np.log1p(-share) + other)
        np.testing.assert_allclose(ZeroInflated(base, logit).log_prob(x), expected, rtol=1e-9)


def test_poisson_is_that_of_scipy_and_the_limit_of_the_negative_binomial():
    x, mean = grid(X[:6], MEANS)
    poisson = PoissonLog(mean.log()).log_prob(x)
    np.testing.assert_allclose(poisson, scipy.stats.poisson.logpmf(x, mean), rtol=1e-9)
    near = NegativeBinomialLog(mean.log(), torch.full_like(mean, math.log(1e12))).log_prob(x)
    torch.testing.assert_close(near, poisson, rtol=1e-6, atol=1e-6)


def test_a_large_theta_costs_no_digits_in_float32():
    x, mean = grid(X[:6], MEANS)
    log_theta = torch.full_like(mean, math.log(1e5))
    exact = NegativeBinomialLog(mean.log(), log_theta).log_prob(x)
    single = NegativeBinomialLog(mean.log().float(), log_theta.float()).log_prob(x.float())
    torch.testing.assert_close(single.double(), exact, rtol=1e-5, atol=1e-5)


def test_gradients_of_counts_are_those_of_finite_differences():
    x, mean, theta, logit = grid(X[:5], MEANS[1:4], THETAS[1:], torch.tensor([-2.0, 1.0]))
    parameters = [t.requires_grad_() for t in (mean.log(), theta.log(), logit.clone())]
    density = lambda m, t, g: ZeroInflated(NegativeBinomialLog(m, t), g).log_prob(x)  # noqa: E731
    assert torch.autograd.gradcheck(density, parameters)


@pytest.mark.parametrize("zeros", [False, True])
def test_draws_of_counts_have_the_frequencies_that_are_scored(zeros):
    torch.manual_seed(0)
    mean, theta, logit = (torch.tensor(v).log() for v in (3.0, 0.7, 0.4))
    for base in (PoissonLog(mean), NegativeBinomialLog(mean, theta)):
        p = ZeroInflated(base, logit) if zeros else base
        x = p.sample((40_000,))
        values = torch.arange(200.0)
        mass = p.log_prob(values).exp()
        assert mass.sum().item() == pytest.approx(1, abs=1e-6)
        torch.testing.assert_close((mass * values).sum(), p.mean, rtol=1e-4, atol=0)
        torch.testing.assert_close((mass * (values - p.mean).square()).sum(), p.variance, rtol=1e-3, atol=0)
        frequency = torch.bincount(x.long(), minlength=200)[:8] / len(x)
        torch.testing.assert_close(frequency.double(), mass[:8], rtol=0, atol=5 * 0.5 / 200)


# ------------------------------------------------------------------------------------------ the likelihoods
def decoder_output(likelihood, *lead):
    return torch.randn(*lead, *likelihood.input_shape)


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("dispersion", ["feature", "predicted"])
def test_a_library_that_is_given_scales_shares_to_means(dispersion, zeros):
    torch.manual_seed(0)
    likelihood = NegativeBinomial((2, 2), dispersion=dispersion, zero_inflated=zeros)
    h = decoder_output(likelihood, 3, 5)
    x = torch.randint(0, 9, (5, 2, 2)).double()
    x[0] = 0
    share = h[..., 0, :, :].flatten(-2).softmax(-1).reshape(3, 5, 2, 2)
    log_theta = h[..., 1, :, :] if dispersion == "predicted" else likelihood.log_theta
    theta = (12 * (log_theta / 12).tanh()).exp().expand_as(share).detach().numpy()
    mean = (share * x.sum((1, 2), keepdim=True)).numpy().clip(1e-300)
    expected = scipy.stats.nbinom.logpmf(x.expand(3, 5, 2, 2).numpy(), theta, theta / (theta + mean))
    if zeros:
        share0 = h[..., -1, :, :].sigmoid().numpy()
        expected = np.logaddexp(np.where(x == 0, np.log(share0), -np.inf), np.log1p(-share0) + expected)
    torch.testing.assert_close(likelihood(h).log_prob(x).detach(), torch.from_numpy(expected.sum((2, 3))))
    assert likelihood.given == "library"


def test_draws_under_a_library_have_the_totals_of_the_training_data():
    torch.manual_seed(0)
    likelihood = Poisson(6)
    u = torch.poisson(torch.rand(6) * torch.randn(4000, 1).mul(0.7).add(4).exp())
    p = likelihood(likelihood.start(u, None))
    x = p.sample((4000,))
    assert x.sum(1).log().mean().item() == pytest.approx(u.sum(1).log().mean().item(), abs=0.05)
    assert x.sum(1).log().std().item() == pytest.approx(u.sum(1).log().std().item(), abs=0.05)
    torch.testing.assert_close(x.mean(0), p.mean, rtol=0.1, atol=0)
    torch.testing.assert_close(p.mean, u.mean(0), rtol=0.1, atol=0)


@pytest.mark.parametrize("dispersion", ["none", "learned"])
def test_multinomial_sums_to_one_over_all_that_has_a_total_and_is_scipys(dispersion):
    torch.manual_seed(0)
    likelihood = Multinomial(3, dispersion=dispersion)
    h = decoder_output(likelihood, 1)
    every = torch.tensor([x for x in itertools.product(range(6), repeat=3) if sum(x) == 5]).double()
    ours = likelihood(h).log_prob(every).detach()
    assert ours.exp().sum().item() == pytest.approx(1)
    share = h.softmax(-1).flatten().numpy()
    if dispersion == "none":
        expected = scipy.stats.multinomial.logpmf(every.numpy(), 5, share)
    else:
        alpha = math.exp(12 * math.tanh(4 / 12)) * share
        expected = [scipy.stats.dirichlet_multinomial.logpmf(x.astype(int), alpha, 5) for x in every.numpy()]
    np.testing.assert_allclose(ours, expected, rtol=1e-9)


@pytest.mark.parametrize("dispersion", ["none", "learned"])
def test_a_modelled_total_makes_a_density_of_x(dispersion):
    likelihood = Multinomial(2, total="modelled", dispersion=dispersion)
    h = torch.tensor([[0.3, -0.4, 1.0, 1.5]])
    every = torch.cartesian_prod(torch.arange(80.0), torch.arange(80.0))
    p = likelihood(h)
    mass = p.log_prob(every).exp().detach()
    assert likelihood.given is None
    assert mass.sum().item() == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close((mass[:, None] * every).sum(0), p.mean[0].detach(), rtol=1e-4, atol=0)
    torch.manual_seed(0)
    x = p.sample((20_000,))[:, 0]
    torch.testing.assert_close(x.mean(0), p.mean[0].detach(), rtol=0.05, atol=0)
    covariance = torch.cov(x.T)
    centred = every - p.mean.detach()
    torch.testing.assert_close((mass[:, None] * centred).T @ centred, covariance, rtol=0.1, atol=0)


def test_of_a_modelled_total_the_scored_elements_have_their_marginal_density():
    likelihood = Multinomial(3, total="modelled")
    h = torch.tensor([[0.3, -0.4, 0.1, 0.5, 1.5]])
    scored = torch.tensor([[1.0, 0.0, 1.0]])
    x = torch.tensor([[2.0, 0.0, 1.0]]).repeat(60, 1)
    x[:, 1] = torch.arange(60)
    whole = likelihood(h).log_prob(x).logsumexp(0)
    part = restrict(likelihood(h), scored).log_prob(x)
    torch.testing.assert_close(part, whole.expand_as(part), rtol=1e-6, atol=1e-6)
    with pytest.raises(ConfigError, match="cannot leave elements out"):
        restrict(Multinomial(3, total="modelled", dispersion="learned")(h), scored)


def test_what_is_not_scored_counts_for_nothing_under_a_library():
    likelihood = NegativeBinomial(4)
    h, scored = decoder_output(likelihood, 2, 3), torch.tensor([[1.0, 0.0, 1.0, 1.0]]).expand(3, 4)
    x = torch.randint(0, 9, (3, 4)).double()
    part = restrict(likelihood(h), scored).log_prob(x)
    y = x.clone()
    y[:, 1] = 77
    torch.testing.assert_close(restrict(likelihood(h), scored).log_prob(y), part)
    three = NegativeBinomial(3)
    torch.testing.assert_close(three(h[..., [0, 2, 3]]).log_prob(x[:, [0, 2, 3]]), part)


@pytest.mark.parametrize("family", [Poisson, NegativeBinomial])
def test_without_a_library_start_gives_the_means_of_the_data(family):
    torch.manual_seed(0)
    u = torch.poisson(torch.tensor([0.2, 3.0, 5000.0]).expand(2000, 3))
    likelihood = family(3, library="none")
    torch.testing.assert_close(likelihood(likelihood.start(u, None)).mean, u.mean(0), rtol=1e-2, atol=1e-3)


def test_dispersion_starts_where_the_data_have_it():
    torch.manual_seed(0)
    theta = torch.tensor([0.5, 2.0, 8.0])
    u = NegativeBinomialLog(torch.tensor(20.0).log().expand(3), theta.log()).sample((20_000,))
    likelihood = NegativeBinomial(3, library="none")
    likelihood.start(u, None)
    torch.testing.assert_close(likelihood.log_theta.detach().exp(), theta, rtol=0.1, atol=0)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Poisson(3, library="gven"),
        lambda: NegativeBinomial(3, dispersion="gene"),
        lambda: NegativeBinomial(3, library="observed"),
        lambda: Multinomial(3, total="none"),
        lambda: Multinomial(3, dispersion="yes"),
    ],
)
def test_an_unknown_word_is_refused_with_the_known_ones(build):
    with pytest.raises(ConfigError, match=r"has no (library|dispersion|total)"):
        build()


@pytest.mark.parametrize("bad", [0.5, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("family", [Poisson, NegativeBinomial, Multinomial])
def test_what_is_no_count_is_refused(family, bad):
    with pytest.raises(SupportError, match="raw counts"):
        family(2).check(torch.tensor([[1.0, bad]]))


# ------------------------------------------------------------------------------------------ published fits
PUBLISHED = {  # of art given all other columns, by R's glm, MASS and pscl
    "poisson": (lambda: Poisson(1, library="none"), -1651.056),
    "negative_binomial": (lambda: NegativeBinomial(1, library="none"), -1560.958),
    "zero_inflated_poisson": (lambda: Poisson(1, library="none", zero_inflated=True), -1604.773),
    "zero_inflated_negative_binomial": (
        lambda: NegativeBinomial(1, library="none", zero_inflated=True),
        -1549.991,
    ),
}


@pytest.mark.runs
@pytest.mark.skipif(
    not (DATA / "bioChemists.csv").is_file(), reason="LOWERBOUND_DATA holds no bioChemists.csv"
)
@pytest.mark.parametrize("name", PUBLISHED)
def test_regressions_of_counts_reach_the_published_log_likelihoods(name):
    from lowerbound import VAE
    from lowerbound.conditions import Vector
    from lowerbound.nn import MLP
    from lowerbound.posteriors import DiagonalGaussian
    from lowerbound.priors import StandardNormal

    build, published = PUBLISHED[name]
    rows = [
        line.replace('"', "").split(",")[-6:] for line in (DATA / "bioChemists.csv").read_text().split()[1:]
    ]
    columns = [[r[0], r[1] == "Women", r[2] == "Married", r[3], r[4], r[5]] for r in rows]
    table = torch.tensor([[float(v) for v in row] for row in columns])
    x, c = table[:, :1], (table[:, 1:] - table[:, 1:].mean(0)) / table[:, 1:].std(0)
    likelihood = build()
    decoder = MLP((1,), likelihood.input_shape, hidden=(), context=5)
    model = VAE(
        MLP((1,), (2, 1), hidden=()), DiagonalGaussian(1), StandardNormal(1), decoder, likelihood,
        condition=Vector(5),
    ).double()  # fmt: skip
    model.condition.requires_grad_(False)
    with torch.no_grad():
        decoder.output.weight.zero_()  # the code reaches nothing
        decoder.set_output_bias(likelihood.start(x, model))
    parameters = [decoder.output.bias, *decoder.affine.parameters(), *likelihood.parameters()]
    optimiser = torch.optim.LBFGS(
        parameters, max_iter=400, line_search_fn="strong_wolfe", tolerance_change=1e-12
    )
    view = model.under({"vector": c})

    def loss():
        optimiser.zero_grad()
        total = -view.decoded(torch.zeros(len(x), 1)).log_prob(x).sum()
        total.backward()
        return total

    optimiser.step(lambda: loss() / len(x))
    assert -loss().item() == pytest.approx(published, abs=1e-3)
