"""Proposals and annealed importance sampling against models whose log p(x) is known without sampling."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from exact import (
    bernoulli_vae,
    cell_vae,
    conditional_linear_gaussian,
    conditional_linear_vae,
    linear_gaussian,
    linear_ladder,
    linear_vae,
    log_evidence_on_grid,
)
from torch.distributions import Independent, MultivariateNormal, Normal
from torch.func import jacrev

import lowerbound as lb
from lowerbound import likelihoods
from lowerbound.conditions import Vector
from lowerbound.data import Standardize
from lowerbound.errors import ConfigError
from lowerbound.evaluation import PROPOSALS, ais, bdmc, gaps, nll, proposals, summary
from lowerbound.evaluation.laplace import Precision, Search, StudentT, laplace
from lowerbound.evaluation.proposals import Batch, source
from lowerbound.evaluation.stream import frozen
from lowerbound.model import VAE
from lowerbound.nn import MLP
from lowerbound.posteriors import DiagonalGaussian
from lowerbound.priors import Flow, GaussianMixture, StandardNormal

QUIET = {"progress": False}
# Nats that may lie in a tail which no draw has reached: these are missing from an estimate, and from its error.
UNSEEN = {"laplace": 0.1, "mixture": 0.03}


def all_binary(d):
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * d).double()


def exact_laplace(view, u):
    """The Gaussian at the mode of a model in which nothing is nonlinear: the posterior."""
    model = view.model
    w, b = model.decoder.output.weight, model.decoder.output.bias
    precision = w.T @ w / model.likelihood.scale**2 + torch.eye(w.shape[1], dtype=w.dtype)
    mean = torch.linalg.solve(precision, w.T @ (u - b).T / model.likelihood.scale**2).T
    return MultivariateNormal(mean, precision_matrix=precision.expand(len(u), -1, -1))


def matrices(precision, k=0):
    """H_k, (B, L, L), by the covariance of its draws."""
    like = precision.tril
    size = like.shape[-1] if precision.basis is None else precision.basis.shape[1]
    rows = torch.eye(size).to(like).unsqueeze(1).expand(-1, like.shape[1], -1)
    m = precision.colour(rows, torch.full((1, 1), k)).transpose(0, 1)
    return torch.linalg.inv(m.mT @ m)


def small_vae(likelihood, prior=None, latent=2, seed=0, gain=1.0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = MLP(likelihood.feature_shape, (2, latent), hidden=())
        decoder = MLP((latent,), likelihood.input_shape, hidden=(8,), activation="tanh")
        torch.nn.init.normal_(decoder.output.weight, std=gain)
        torch.nn.init.normal_(decoder.output.bias, std=0.3)
        prior = StandardNormal(latent) if prior is None else prior()
        for p in prior.parameters():
            torch.nn.init.normal_(p, std=0.3)
    return VAE(encoder, DiagonalGaussian(latent), prior, decoder, likelihood).double()


def log_evidence(model, x, half_width=9.0, points=401):
    """log p(x) of a latent of two numbers on a grid, whatever prior and likelihood."""
    return log_evidence_on_grid(model, x, half_width, points)


# ---------------------------------------------------------------- Laplace
@pytest.mark.parametrize("conditional", [False, True])
def test_laplace_is_the_posterior_where_all_is_linear_and_gaussian(conditional):
    if conditional:
        exact = conditional_linear_gaussian(5, 3, 2, orthogonal=False)
        condition = lb.conditions.Conditions({"v": Vector(2)})
        model = conditional_linear_vae(exact, condition)
        g = torch.Generator().manual_seed(3)
        x, c = torch.randn(7, 5, generator=g).double(), torch.randn(7, 2, generator=g).double()
        truth, posterior, given = exact.marginal(c).log_prob(x), exact.posterior(x, c), {"v": c}
    else:
        exact = linear_gaussian(6, 3, orthogonal=False)
        model, x, given = linear_vae(exact, widen=1.5), exact.sample(7), None
        truth, posterior = exact.marginal().log_prob(x), exact.posterior(x)
    with frozen(model):
        with Batch(model, x, given, 10, 1000).differentiable() as (view, u):
            law = laplace(view, u, 1000)
    torch.testing.assert_close(law.loc, posterior.mean, atol=1e-8, rtol=0)
    for k in range(len(law.precision)):
        h = matrices(law.precision, k)
        torch.testing.assert_close(h, posterior.precision_matrix.expand_as(h), atol=1e-8, rtol=0)
    # A Gaussian there has constant weights; the Student-t nearly so.
    options = {**QUIET} if given is None else {"c": c, **QUIET}
    found = nll(
        model, x, 200, proposal=lambda view, u: MultivariateNormal(law.loc, precision_matrix=h), **options
    )
    torch.testing.assert_close(found.per_example, truth, atol=1e-8, rtol=0)
    torch.testing.assert_close(found.ess, torch.full_like(truth, 200), atol=1e-3, rtol=0)
    wide = nll(model, x, 500, proposal="laplace", **options)
    assert (wide.per_example - truth).abs().max() < 0.15
    assert wide.ess_median > 400


@pytest.mark.slow
@pytest.mark.parametrize("proposal", sorted(PROPOSALS))
@pytest.mark.parametrize("latent", [1, 2])
def test_every_proposal_agrees_with_the_integral(proposal, latent):
    model, x = bernoulli_vae(5, latent), all_binary(5)[::3]
    found = nll(model, x, 4000, proposal=proposal, **QUIET)
    error = (1 / found.ess - 1 / found.samples).clamp(min=0).sqrt()
    away = found.per_example - log_evidence_on_grid(model, x)
    assert found.proposal == proposal
    assert error.max() < 0.1
    unseen = UNSEEN.get(proposal, 1e-6)
    assert (away.abs() < 4.5 * error + unseen).all()
    assert abs(away.mean()) < 4 * error.square().mean().sqrt() / math.sqrt(len(x)) + unseen / 8


@pytest.mark.slow
@pytest.mark.parametrize("proposal", sorted(PROPOSALS))
def test_the_mean_of_few_samples_is_unbiased_for_p(proposal):
    # Ten thousand estimates of three samples each: their logarithms are biased, they themselves are not.
    model, x = bernoulli_vae(4, 2), all_binary(4)[5:6]
    truth = log_evidence_on_grid(model, x).exp().item()
    p = nll(model, x.expand(10_000, 4), 3, proposal=proposal, **QUIET).per_example.exp()
    error = p.std().item() / 100
    assert abs(p.mean().item() - truth) < 4 * error < 0.1 * truth
    assert p.log().mean().item() < math.log(truth)


@pytest.mark.slow
@pytest.mark.parametrize(
    "prior",
    [lambda: Flow(2, couplings=3, hidden=(8,)), lambda: GaussianMixture(2, components=3)],
    ids=["flow", "mixture"],
)
@pytest.mark.parametrize("proposal", ["laplace", "mixture"])
def test_laplace_under_a_learned_prior(prior, proposal):
    model, x = small_vae(likelihoods.Bernoulli(6), prior), all_binary(6)[::9]
    found = nll(model, x, 3000, proposal=proposal, **QUIET)
    error = (1 / found.ess - 1 / found.samples).clamp(min=0).sqrt()
    truth = log_evidence(model, x, 14.0, 701)
    assert error.max() < 0.1
    assert ((found.per_example - truth).abs() < 4.5 * error + UNSEEN[proposal]).all()


@pytest.mark.slow
@pytest.mark.parametrize(("proposal", "gain"), [("laplace", 0.4), ("mixture", 0.4), ("mixture", 1.0)])
def test_the_coverage_of_the_truth_is_what_trusted_says(proposal, gain):
    """Where k-hat trusts the weights, the truth lies within two of their errors as often as it should."""
    model, x = small_vae(likelihoods.Bernoulli(5), gain=gain), all_binary(5)
    truth = log_evidence_on_grid(model, x)
    inside = []
    for seed in range(20):
        found = nll(model, x, 200, proposal=proposal, seed=seed, **QUIET)
        error = (1 / found.ess - 1 / found.samples).clamp(min=0).sqrt()
        inside.append(((found.per_example - truth).abs() < 2 * error)[found.khat < 0.7])
    assert len(torch.cat(inside)) > 300
    assert 0.92 < torch.cat(inside).double().mean() < 0.98


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")  # whose number is that of the codes drawn together
def test_a_mode_that_laplace_misses_the_mixture_finds():
    """Far modes leave no trace in the weights of draws that never go there: q and prior do."""
    model = small_vae(likelihoods.Gaussian(1, scale=0.3), latent=1)
    model.decoder = Square()
    x = torch.full((300, 1), 9.0).double()
    grid = torch.linspace(-8, 8, 4001).double().reshape(-1, 1, 1)
    joint = model.likelihood_at(grid).log_prob(x[:1]) + model.at().log_prior(grid)
    truth = joint.logsumexp(0).item() + math.log(16 / 4000)
    alone, mixed = (nll(model, x, 4000, proposal=p, **QUIET) for p in ("laplace", "mixture"))
    assert alone.trusted
    assert alone.per_example.mean().item() == pytest.approx(truth - math.log(2), abs=0.02)
    assert mixed.per_example.exp().mean().log().item() == pytest.approx(truth, abs=0.15)
    assert mixed.ess_median < alone.ess_median / 2


class Square(torch.nn.Module):
    """x is the square of a code, which comes from two places."""

    def forward(self, z):
        return z.square().unsqueeze(1)


def test_laplace_beats_a_poor_q_at_equal_samples():
    exact = linear_gaussian(30, 20, orthogonal=False, sigma=0.3)
    model, x = linear_vae(exact), exact.sample(20)
    truth = exact.marginal().log_prob(x).mean().item()
    q, sharp, mixed = (nll(model, x, 500, proposal=p, **QUIET) for p in ("posterior", "laplace", "mixture"))
    assert truth + q.value > 1
    for found in (sharp, mixed):
        assert abs(truth + found.value) < 0.05
        assert found.ess_median > 10 * q.ess_median
        assert found.trusted > q.trusted


@pytest.mark.slow
def test_the_centre_is_the_mean_of_the_nearest_gaussian():
    """z² = x has a posterior that is not symmetric about its mode; the least KL(r || p) is found by brute force."""
    model = small_vae(likelihoods.Gaussian(1, scale=0.6), latent=1)
    model.decoder = Square()
    x = torch.tensor([[2.0]]).double()
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(40))
    log_joint = lambda z: model.likelihood_at(z).log_prob(x) + model.at().log_prior(z)  # noqa: E731
    best = max(
        (
            (weights @ log_joint((m + s * nodes).reshape(-1, 1, 1))[:, 0] / math.sqrt(2 * math.pi)).item()
            + math.log(s),
            m,
            s,
        )
        for m in np.linspace(1.0, 1.5, 51)
        for s in np.linspace(0.1, 0.5, 41)
    )
    with torch.no_grad():
        model.encoder.output.weight.zero_()
        model.encoder.output.bias.copy_(torch.tensor([1.0, 0.0]))
    with frozen(model):
        law = source("laplace", Batch(model, x.expand(200, 1), None, 1, 10_000)).law
    grid = torch.linspace(0.5, 2, 1501).double().reshape(-1, 1, 1)
    mode = grid[log_joint(grid).argmax()].item()
    centre, scale = law.loc.mean().item(), law.precision.tril.square().mean().rsqrt().item()
    assert abs(centre - best[1]) < abs(mode - best[1]) / 2
    assert scale == pytest.approx(best[2], rel=0.15)


def test_mode_search_climbs_from_far():
    model, x = bernoulli_vae(8, 2), all_binary(8)[::17]
    with torch.no_grad():
        model.encoder.output.bias.add_(3.0)
    grid = torch.cartesian_prod(*[torch.linspace(-4, 4, 161).double()] * 2).unsqueeze(1)
    with torch.no_grad():
        best = (model.likelihood_at(grid).log_prob(x) + model.at().log_prior(grid)).max(0).values
    with frozen(model), Batch(model, x, None, 1, 100).differentiable() as (view, u):
        search = Search(view, u, 100)
        z_now = view.points(view.evidence(u), len(u)).detach()
        for _ in range(3):
            z_now = search.mode(z_now, search.precision(z_now)[0])
        z = z_now.detach()
    with torch.no_grad():
        reached = model.likelihood_at(z[None]).log_prob(x)[0] + model.at().log_prior(z[None])[0]
    assert (best - reached < 0.02).double().mean() > 0.8  # the others have found another mode


def test_missing_values_and_units_of_the_data():
    exact = linear_gaussian(6, 2, orthogonal=False)
    mean, std = torch.tensor([5.0, -3, 0, 100, 1, 2]).double(), torch.tensor([10.0, 0.1, 1, 7, 2, 3]).double()
    model = linear_vae(exact, transform=Standardize(mean, std))
    gapped = VAE(
        MLP((12,), (2, 2), hidden=()), model.posterior, model.prior, model.decoder, model.likelihood,
        model.transform, missing=True,
    ).double()  # fmt: skip
    u = exact.sample(9)
    hidden = torch.rand(9, 6, generator=torch.Generator().manual_seed(1)) < 0.4
    x = (mean + std * u).masked_fill(hidden, math.nan)
    truth = torch.stack(
        [
            MultivariateNormal(exact.mean[s], exact.marginal().covariance_matrix[s][:, s]).log_prob(one[s])
            - std[s].log().sum()
            for one, s in zip(u, ~hidden, strict=True)
        ]
    )
    found = nll(gapped, x, 2000, proposal="laplace", **QUIET)
    torch.testing.assert_close(found.per_example, truth, atol=0.1, rtol=0)
    assert found.ess.min() > 1500


# ---------------------------------------------------------------- the Fisher information
LIKELIHOODS = {
    "bernoulli": likelihoods.Bernoulli(3),
    "gaussian": likelihoods.Gaussian(3, scale=0.7),
    "gaussian predicted": likelihoods.Gaussian(3, scale="predicted"),
    "continuous_bernoulli": likelihoods.ContinuousBernoulli(3),
    "categorical": likelihoods.Categorical(3, categories=4),
    "poisson": likelihoods.Poisson(3, library="none"),
    "negative_binomial": likelihoods.NegativeBinomial(3, library="none"),
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_information_is_the_mean_of_the_squared_score(name):
    likelihood = LIKELIHOODS[name].double()
    h = torch.randn(likelihood.input_shape, generator=torch.Generator().manual_seed(0)).double()

    def numbers(h):
        p = likelihood(h.unsqueeze(0))
        return torch.cat([part.flatten() for part in likelihood.information(p, p.sample())])

    torch.manual_seed(0)
    x = likelihood(h).sample((40_000,))
    rows = h.expand(len(x), *h.shape).clone().requires_grad_()
    (score,) = torch.autograd.grad(likelihood(rows).log_prob(x).sum(), rows)
    score = score.flatten(1)
    j = jacrev(numbers)(h).flatten(1)
    spread = (score.unsqueeze(1) * score.unsqueeze(2)).std(0) / 200
    away = (j.T @ j - score.T @ score / len(x)).abs()
    assert (away < 5 * spread + 1e-9).all()


@pytest.mark.parametrize("likelihood", [likelihoods.Poisson(4), likelihoods.Multinomial(4)], ids=str)
def test_information_given_a_total_is_that_of_a_multinomial(likelihood):
    h, x = torch.randn(1, 1, 4).double(), torch.tensor([[1.0, 2.0, 0.0, 4.0]]).double()
    scored = torch.tensor([[1.0, 1.0, 0.0, 1.0]]).double()

    def numbers(h):
        p = likelihood.double()(h).restricted(scored)
        return torch.cat([(part * scored).flatten() for part in likelihood.information(p, x)])

    j = jacrev(numbers)(h).reshape(4, 4)
    share = torch.where(scored[0] > 0, h.flatten(), -math.inf).softmax(0)
    torch.testing.assert_close(j.T @ j, 7 * (share.diag() - share.outer(share)), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    "likelihood",
    [
        likelihoods.Beta(3),
        likelihoods.NegativeBinomial(3, dispersion="predicted"),
        likelihoods.Poisson(3, zero_inflated=True),
    ],
    ids=["beta", "predicted", "inflated"],
)  # fmt: skip
def test_what_has_no_fisher_information_is_refused_by_name(likelihood):
    model = small_vae(likelihood)
    x = (
        torch.full((4, 3), 0.5).double()
        if isinstance(likelihood, likelihoods.Beta)
        else torch.ones(4, 3).double()
    )
    for proposal in ("laplace", "mixture"):
        with pytest.raises(ConfigError, match=f"{type(likelihood).__name__}.*proposal='posterior'"):
            nll(model, x, 10, proposal=proposal, **QUIET)


def test_a_latent_that_is_not_real_is_refused_by_name():
    data = lb.data.load("digits").test.take(5)
    model = lb.VAE.for_data(
        lb.data.load("digits"),
        posterior="fsq",
        prior="lattice",
        latent=4,
        network={"type": "mlp", "hidden": [4]},
    )
    with pytest.raises(ConfigError, match=r"real numbers.*Lattice"):
        nll(model, data, 10, proposal="laplace", **QUIET)
    with pytest.raises(ConfigError, match="Lattice"):
        ais(model, data, **QUIET)


# ---------------------------------------------------------------- hierarchies
@pytest.mark.parametrize("proposal", ["laplace", "mixture"])
def test_laplace_is_the_posterior_of_a_linear_ladder(proposal):
    model, marginal = linear_ladder()
    x = marginal.sample((6,))
    with frozen(model), Batch(model, x, None, 1, 1000).differentiable() as (view, u):
        law = laplace(view, u, 1000)
    mean = model.posterior.gain @ x.T  # of the level above, given x
    torch.testing.assert_close(law.loc[:, :2], mean.T, atol=1e-8, rtol=0)
    found = torch.linalg.inv(matrices(law.precision))[:, :2, :2]
    # Directions of which the likelihood tells less than a hundredth are the prior's.
    torch.testing.assert_close(found, model.posterior.covariance.expand(6, -1, -1), atol=0.002, rtol=0.01)
    result = nll(model, x, 500, proposal=proposal, **QUIET)
    torch.testing.assert_close(result.per_example, marginal.log_prob(x), atol=0.12, rtol=0)
    assert result.ess_median > 300


@pytest.mark.slow
@pytest.mark.parametrize("start", ["posterior", "prior", "laplace"])
def test_ais_and_both_bounds_of_a_ladder(start):
    model, marginal = linear_ladder()
    x = marginal.sample((12,))
    found = ais(model, x, temperatures=40, chains=30, start=start, **QUIET)
    error = (1 / found.ess - 1 / 30).clamp(min=0).sqrt()
    assert ((found.per_example - marginal.log_prob(x)).abs() < 4.5 * error + 1e-8).all()
    if start == "posterior":  # which is exact: along the way nothing changes, and all weights are the same
        torch.testing.assert_close(found.per_example, marginal.log_prob(x), atol=1e-8, rtol=0)
    # From the prior the way is longer.
    both = bdmc(model, 20, temperatures=160 if start == "prior" else 40, chains=8, start=start, **QUIET)
    assert abs(both.gap) < max(1e-8, 4 * both.stderr) < (1.0 if start == "prior" else 0.3)


def test_a_level_that_is_not_real_is_refused_by_name_in_a_hierarchy_too():
    model, x = cell_vae(), torch.zeros(3, 2).double()
    for call in (lambda: ais(model, x), lambda: bdmc(model, 3), lambda: nll(model, x, 9, proposal="mixture")):
        with pytest.raises(ConfigError, match=r"CellPrior.*(nll|proposal='posterior')|real.*CellPrior"):
            call()
    assert summary(model, x, 9, **QUIET)["proposal"] == "posterior"


# ---------------------------------------------------------------- what the pilot draws choose
@pytest.mark.parametrize(("narrow", "width"), [(1.0, 1.0), (4.0, 1.7)])
def test_pilot_draws_widen_a_law_that_is_too_narrow(monkeypatch, narrow, width):
    exact = linear_gaussian(6, 3, orthogonal=False)
    model, x = linear_vae(exact), exact.sample(30)
    posterior = exact.posterior(x)
    tril = torch.linalg.cholesky(posterior.precision_matrix).expand(1, 30, 3, 3) * math.sqrt(narrow)

    def law(view, u, rows):
        return StudentT(posterior.mean, Precision(tril), 100.0, 1.0)

    monkeypatch.setattr(proposals, "laplace", law)
    with frozen(model):
        chosen = source("laplace", Batch(model, x, None, 100, 1000)).law.wider
    assert ((chosen / width - 1).abs() < 1e-9).double().mean() > 0.8


@pytest.mark.parametrize("astray", [False, True])
def test_pilot_draws_give_q_a_larger_share_where_it_is_the_better_one(monkeypatch, astray):
    exact = linear_gaussian(6, 3, orthogonal=False)
    model, x = linear_vae(exact), exact.sample(30)
    if not astray:
        model.encoder.output.bias.data += 1.0
    posterior = exact.posterior(x)
    tril = torch.linalg.cholesky(posterior.precision_matrix).expand(1, 30, 3, 3)

    def law(view, u, rows):
        return StudentT(posterior.mean + 3.0 * astray, Precision(tril), 100.0, 1.0)

    monkeypatch.setattr(proposals, "laplace", law)
    with frozen(model):
        shares = source("mixture", Batch(model, x, None, 100, 1000)).shares
    assert ((shares[1] == 0.5) == astray).double().mean() > 0.9
    found = nll(model, x, 1000, proposal="mixture", **QUIET)
    torch.testing.assert_close(found.per_example, exact.marginal().log_prob(x), atol=0.4, rtol=0)


# ---------------------------------------------------------------- the default
def test_the_default_is_the_mixture_and_says_why_where_it_is_not(monkeypatch):
    model, x = bernoulli_vae(5, 2), all_binary(5)
    numbers = summary(model, x, 50, **QUIET)
    assert (numbers["proposal"], numbers["proposal_reason"]) == ("mixture", None)
    assert numbers["nll"] == nll(model, x, 50, proposal="mixture", **QUIET).value
    assert numbers["posterior_nll"] == nll(model, x, 50, **QUIET).value
    given = summary(model, x, 50, proposal="posterior", **QUIET)
    assert (given["posterior_nll"], given["proposal_reason"]) == (None, None)
    beta = summary(small_vae(likelihoods.Beta(3)), torch.full((4, 3), 0.5).double(), 9, **QUIET)
    assert (beta["proposal"], beta["posterior_nll"]) == ("posterior", None)
    assert "Fisher information of Beta" in beta["proposal_reason"]
    monkeypatch.setattr(proposals, "_BEARABLE", 0.0)
    dear = summary(model, x, 5, **QUIET)
    assert dear["proposal"] == "posterior"
    assert "times as long" in dear["proposal_reason"]
    assert summary(model, x, 5000, **QUIET)["proposal"] == "mixture"  # at no more than four times the price


# ---------------------------------------------------------------- the parts
def test_student_t_is_torchs_and_its_draws_follow_it():
    tril = torch.tensor([[[[2.0, 0.0], [0.5, 1.5]]], [[[1.0, 0.0], [0.2, 0.8]]]]).double()
    law = StudentT(torch.tensor([[1.0, -1.0]]).double(), Precision(tril), 6.0, 1.3)
    z = torch.cartesian_prod(*[torch.linspace(-40, 40, 1601).double()] * 2).unsqueeze(1)
    assert law.log_prob(z).exp().sum().item() * 0.05**2 == pytest.approx(1, abs=1e-3)
    one = StudentT(torch.zeros(1, 1).double(), Precision(torch.full((1, 1, 1, 1), 2.0).double()), 6.0, 1.0)
    y = torch.linspace(-5, 5, 11).double().reshape(-1, 1, 1)
    torch.testing.assert_close(
        one.log_prob(y), torch.distributions.StudentT(6.0, 0.0, 0.5).log_prob(y[..., 0])
    )
    torch.manual_seed(0)
    drawn = law.sample((50_000,))[:, 0]
    covariance = torch.linalg.inv(tril[:, 0] @ tril[:, 0].mT).mean(0) * 1.3 * 6 / 4
    torch.testing.assert_close(torch.cov(drawn.T), covariance, atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.mean(0), law.loc[0], atol=0.02, rtol=0)


def test_a_precision_in_a_subspace_is_the_matrix_it_stands_for():
    g = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(2, 5, 2, generator=g).double())[0]
    root = 0.5 + torch.rand(2, 5, generator=g).double()
    tril = torch.tensor([[2.0, 0.0], [0.7, 1.2]]).double().expand(3, 2, 2, 2) * torch.tensor(
        [1.0, 2, 3]
    ).reshape(3, 1, 1, 1)
    part = Precision(tril, basis, root)
    for k in range(3):
        h = torch.eye(5).double() + basis @ (tril[k] @ tril[k].mT - torch.eye(2)) @ basis.mT
        h = root.diag_embed() @ h @ root.diag_embed()
        torch.testing.assert_close(matrices(part, k), h)
        torch.testing.assert_close(part.half_log_det[k], torch.logdet(h) / 2)
        rows = torch.randn(7, 2, 5, generator=g).double()
        inside, rest = part.lengths(rows)
        torch.testing.assert_close(inside[k] + rest, torch.einsum("sbi,bij,sbj->sb", rows, h, rows))
    torch.testing.assert_close(part.solved(rows), torch.linalg.solve(matrices(part), rows[..., None])[..., 0])
    law = StudentT(torch.zeros(2, 5).double(), part, 50.0, 1.0)
    normals = [MultivariateNormal(law.loc, precision_matrix=matrices(part, k)) for k in range(3)]
    near = torch.stack([n.log_prob(rows / 10) for n in normals]).logsumexp(0) - math.log(3)
    torch.testing.assert_close(law.log_prob(rows / 10), near, atol=0.05, rtol=0)
    drawn = law.sample((60_000,))
    covariance = torch.stack([n.covariance_matrix for n in normals]).mean(0)
    torch.testing.assert_close(torch.cov(drawn[:, 1].T), covariance[1], atol=0.1, rtol=0.06)


@pytest.mark.parametrize("proposal", ["laplace", "mixture"])
def test_a_large_latent_of_low_rank_needs_no_matrix_of_its_size(proposal):
    """Twelve numbers of x tell of twelve directions in three hundred: the posterior is found, and log p is exact."""
    exact = linear_gaussian(12, 300, orthogonal=False)
    model, x = linear_vae(exact, widen=1.0), exact.sample(5)
    with frozen(model), Batch(model, x, None, 1, 100).differentiable() as (view, u):
        search = Search(view, u, 100)
        z, precision = search.found(torch.zeros(5, 300).double())
        assert precision.tril.shape[-1] < 100
        torch.testing.assert_close(z, exact.posterior(x).mean, atol=1e-6, rtol=0)
        torch.testing.assert_close(matrices(precision), exact.precision.expand(5, -1, -1), atol=1e-6, rtol=0)
    found = nll(model, x, 400, proposal=proposal, **QUIET)
    torch.testing.assert_close(found.per_example, exact.marginal().log_prob(x), atol=0.2, rtol=0)
    assert found.ess.min() > 150


@pytest.mark.parametrize("samples", [1, 3, 20, 101])
def test_a_mixture_counts_its_members_out(samples):
    model, x = bernoulli_vae(4, 2), all_binary(4)[:3]
    with frozen(model):
        mixed = source("mixture", Batch(model, x, None, samples, 50))
        assert mixed.order.shape == (samples, 3)
        for number, order in enumerate(mixed.order.T):
            shares = torch.bincount(order, minlength=3) / samples
            torch.testing.assert_close(shares.double(), mixed.shares[:, number])
            near = min((shares - torch.tensor(entry)).abs().max() for entry in mixed.menu)
            assert near <= 1 / samples
        tiles = [mixed.weighted(s)[1] for s in (1, *[1] * (samples - 1))]
    assert torch.cat(tiles).isfinite().all()


def test_a_function_is_a_proposal_and_one_that_gives_something_else_is_told():
    exact = linear_gaussian(5, 2, orthogonal=False)
    model, x = linear_vae(exact), exact.sample(6)
    found = nll(model, x, 9, proposal=exact_laplace, **QUIET)
    torch.testing.assert_close(found.per_example, exact.marginal().log_prob(x), atol=1e-8, rtol=0)
    assert found.proposal == "exact_laplace"
    assert "z from exact_laplace" in repr(found)
    with pytest.raises(ConfigError, match="batch shape"):
        nll(
            model,
            x,
            9,
            proposal=lambda view, u: Independent(Normal(torch.zeros(2), torch.ones(2)), 1),
            **QUIET,
        )
    with pytest.raises(ConfigError, match="laplace"):
        nll(model, x, 9, proposal="laplac", **QUIET)


@pytest.mark.parametrize("proposal", ["laplace", "mixture"])
def test_tiles_repeat_and_leave_all_as_it_was(proposal):
    model, x = bernoulli_vae(5, 2).float().train(), all_binary(5).float()
    before = torch.get_rng_state()
    once, again, small = (
        nll(model, x, 100, proposal=proposal, memory=memory, seed=3, **QUIET) for memory in (8, 8, 0.005)
    )
    assert torch.equal(once.per_example, again.per_example)
    assert not torch.equal(once.per_example, small.per_example)
    assert (once.value - small.value) == pytest.approx(0, abs=0.06)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert nll(model, x, 100, proposal=proposal, precision="bf16", **QUIET).value == pytest.approx(
        once.value, abs=0.1
    )


def test_summary_names_the_proposal_and_keeps_the_number_of_q_beside():
    model, x = bernoulli_vae(5, 2), all_binary(5)
    numbers = summary(model, x, 100, proposal="laplace", **QUIET)
    assert (numbers["proposal"], numbers["samples"]) == ("laplace", 100)
    assert numbers["nll"] == nll(model, x, 100, proposal="laplace", **QUIET).value
    assert numbers["posterior_nll"] == nll(model, x, 100, **QUIET).value != numbers["nll"]
    json.dumps(numbers, allow_nan=False)


# ---------------------------------------------------------------- annealed importance sampling
@pytest.mark.slow
@pytest.mark.parametrize("start", ["posterior", "prior", "laplace"])
def test_ais_is_unbiased_and_near_the_truth(start):
    model, x = bernoulli_vae(4, 2), all_binary(4)
    truth = log_evidence_on_grid(model, x)
    found = ais(model, x, temperatures=20, chains=30, leapfrog=3, start=start, **QUIET)
    error = (1 / found.ess - 1 / 30).clamp(min=0).sqrt()
    away = found.per_example - truth
    assert (away.abs() < 4.5 * error + 1e-6).all()
    assert error.max() < 0.2
    assert 0.5 < found.acceptance < 0.95
    assert found.n == 16
    # Of p(x) itself, with one chain each, and temperatures too few to be near.
    p = ais(
        model, x[5:6].expand(8000, 4), temperatures=3, chains=1, leapfrog=2, start=start, **QUIET
    ).per_example.exp()
    assert abs(p.mean() - truth[5].exp()) < 4 * p.std() / math.sqrt(8000)


def test_ais_beats_its_own_start():
    exact = linear_gaussian(8, 4, orthogonal=False, sigma=0.4)
    model, x = linear_vae(exact, widen=1.7), exact.sample(200)
    truth = exact.marginal().log_prob(x)
    few, many = (ais(model, x, temperatures=t, chains=2, **QUIET) for t in (1, 40))
    assert (truth - few.per_example).mean() > 3 * (truth - many.per_example).mean().abs()
    assert many.ess.mean() > few.ess.mean() + 0.2
    with pytest.raises(ConfigError, match="temperatures >= 1"):
        ais(model, x, temperatures=0)
    with pytest.raises(ConfigError, match="start from 'q'"):
        ais(model, x, start="q")


@pytest.mark.slow
def test_ais_in_units_of_the_data_and_under_a_condition():
    exact = conditional_linear_gaussian(5, 3, 2, orthogonal=False)
    model = conditional_linear_vae(exact, lb.conditions.Conditions({"v": Vector(2)}))
    g = torch.Generator().manual_seed(3)
    x, c = torch.randn(7, 5, generator=g).double(), torch.randn(7, 2, generator=g).double()
    found = ais(model, x, temperatures=40, chains=100, c=c, **QUIET)
    torch.testing.assert_close(found.per_example, exact.marginal(c).log_prob(x), atol=0.15, rtol=0)
    plain = linear_gaussian(3, 2, orthogonal=False)
    mean, std = torch.tensor([5.0, -3, 0]).double(), torch.tensor([10.0, 0.1, 3]).double()
    u = plain.sample(10)
    found = ais(
        linear_vae(plain, transform=Standardize(mean, std)),
        mean + std * u,
        temperatures=30,
        chains=50,
        **QUIET,
    )
    truth = plain.marginal().log_prob(u) - std.log().sum()
    torch.testing.assert_close(found.per_example, truth, atol=0.1, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["posterior", "prior", "laplace"])
def test_bounds_from_both_sides_hold_the_truth_between_them(start):
    exact = linear_gaussian(6, 3, orthogonal=False)
    model = linear_vae(exact, widen=1.3)
    found = bdmc(model, 60, temperatures=40, chains=6, start=start, seed=2, **QUIET)
    loose = bdmc(model, 60, temperatures=4, chains=2, start=start, seed=2, **QUIET)
    # The data that it has drawn are those of a model whose entropy is known.
    spread = exact.marginal().log_prob(exact.sample(4000)).std().item() / math.sqrt(60)
    assert abs(found.lower + exact.marginal().entropy().item()) < 4 * spread
    assert -3 * found.stderr < found.gap < loose.gap
    assert start == "laplace" or loose.gap > 3 * loose.stderr
    assert found.per_example.shape == (60, 2)
    assert "gap" in repr(found)


def test_one_step_upper_and_lower_bounds_are_elbo_and_its_mirror():
    # Without a step between them the bounds are E_q[log w] and E_p(z|x)[log w], which differ by the two KLs.
    exact = linear_gaussian(2, 1, orthogonal=True)
    f = 1.5
    found = bdmc(linear_vae(exact, widen=f), 20_000, temperatures=1, chains=1, **QUIET)
    forward, back = math.log(1 / f) + f**2 / 2 - 0.5, math.log(f) + 1 / (2 * f**2) - 0.5
    assert abs(found.gap - forward - back) < 4 * found.stderr < 0.1


@pytest.mark.runs
def test_gaps_are_those_of_the_best_diagonal_gaussian():
    exact = linear_gaussian(4, 3, orthogonal=False)
    x = exact.sample(40)
    found = gaps(
        linear_vae(exact, widen=1.6), x, temperatures=20, chains=100, samples=400, steps=300, **QUIET
    )
    # KL of a Gaussian that is f times as wide as the best one, less that one's.
    lost = torch.tensor(1.6).log().neg().item() * 3 + 3 * (1.6**2 - 1) / 2
    assert found.approximation == pytest.approx(exact.diagonal_gap, abs=0.1)
    assert found.amortisation == pytest.approx(lost, abs=0.1)
    assert found.log_p == pytest.approx(exact.marginal().log_prob(x).mean().item(), abs=0.03)
    assert found.log_p == pytest.approx(found.elbo + found.approximation + found.amortisation, abs=1e-9)
    assert dataclasses.is_dataclass(found)
