"""Objectives that weigh the parts of the KL, or the shape of q(z), against closed forms."""

import math

import pytest
import torch
from exact import linear_gaussian, linear_vae
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from lowerbound.errors import ConfigError
from lowerbound.objectives import DIP, Capacity, FactorVAE, Linear, Progress, TotalCorrelation
from lowerbound.objectives.dip import code_covariance
from lowerbound.objectives.factor_vae import shuffled
from lowerbound.objectives.total_correlation import aggregate_log_probs

pytestmark = pytest.mark.usefixtures("float64")

START = Progress(total_steps=100)
R = 0.8
CORRELATION = -0.5 * math.log(1 - R**2)  # of a two-dimensional Gaussian with correlation r


@pytest.fixture
def model():
    """A linear VAE with an encoder that is off."""
    made = linear_vae(linear_gaussian(4, 2, orthogonal=True, sigma=0.6))
    for parameter in made.encoder.parameters():
        nn.init.normal_(parameter, std=0.4)
    return made


def correlated(n):
    return MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, R], [R, 1.0]])).sample((n,))


def standard_error(values):
    return values.std(0) / math.sqrt(len(values))


# ------------------------------------------------------------------------------------------------- capacity
def test_the_distance_to_the_capacity_is_of_every_example(model):
    x = torch.randn(6, 4)
    kl = model(x).kl().detach()
    inside = (kl.min() + kl.max()) / 2  # some are above it, some below
    torch.manual_seed(1)
    got = Capacity(capacity=inside.item(), gamma=10.0)(model, x, None, START)
    per_example = sum(abs(k - inside.item()) for k in kl.tolist()) / 6
    assert (got.loss + got.terms["reconstruction"]).item() == pytest.approx(10 * per_example)
    assert per_example > abs(kl.mean() - inside) + 1e-3  # what the mean over the batch would give
    assert got.bound.item() == pytest.approx((got.terms["reconstruction"] - kl.mean()).item())


def test_a_capacity_rises_and_has_to_fit_the_run(model):
    objective = Capacity(capacity=Linear(0.0, 20.0, 1.0), gamma=1.0)
    x = torch.zeros(3, 4)
    kl = model(x).kl().mean().item()

    def excess(fraction):
        out = objective(model, x, None, Progress(fraction=fraction))
        return (out.loss + out.terms["reconstruction"]).item()

    assert [excess(f) for f in (0.0, 0.5, 1.0)] == pytest.approx([kl, abs(kl - 10), abs(kl - 20)])
    with pytest.raises(ConfigError, match="the run has only"):
        Capacity(capacity=Linear(length=200, unit="steps")).check(model, START)


# ------------------------------------------------------------------------------------- the aggregate posterior
def posteriors(n, spread=0.3):
    return Independent(Normal(correlated(n) * math.sqrt(1 - spread**2), spread), 1)


def test_of_all_examples_the_stratified_estimate_is_the_aggregate_posterior_itself():
    q = posteriors(50)
    z = q.sample()
    log_q, each = aggregate_log_probs(q, z, 50, "mss")
    mixture = MixtureSameFamily(Categorical(torch.ones(50)), q)
    torch.testing.assert_close(log_q, mixture.log_prob(z))
    for j in range(2):
        parts = Normal(q.base_dist.loc[:, j], q.base_dist.scale[:, j])
        torch.testing.assert_close(
            each[:, j], MixtureSameFamily(Categorical(torch.ones(50)), parts).log_prob(z[:, j])
        )


@pytest.mark.slow
def test_of_batches_the_stratified_estimate_of_the_density_is_unbiased():
    """Of one z the mean over all batches that hold its example is q(z); the weighted one's is lower, as it says."""
    q = posteriors(20)
    z = q.sample()[:1]
    truth = MixtureSameFamily(Categorical(torch.ones(20)), q).log_prob(z).exp().item()
    estimates = {"mss": [], "mws": []}
    for _ in range(4000):
        index = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(19)[:4]])
        part = Independent(Normal(q.base_dist.loc[index], q.base_dist.scale[index]), 1)
        for kind, values in estimates.items():
            log_q, _ = aggregate_log_probs(part, z.expand(5, 2), 20, kind)
            values.append(log_q[0].exp())
    stratified, weighted = (torch.stack(v) for v in estimates.values())
    assert abs(stratified.mean() - truth) < 4 * standard_error(stratified)
    assert 1 / 20 < weighted.mean() / truth < 1 / 5 + 4 * standard_error(weighted) / truth


@pytest.mark.slow
def test_the_total_correlation_of_a_correlated_gaussian_is_its_closed_form():
    q = posteriors(3000)
    z = q.sample()
    log_q, each = aggregate_log_probs(q, z, 3000)
    terms = log_q - each.sum(1)
    # The means have correlation r and variance 1 - s², and q adds s² to each: correlation r (1 - s²).
    expected = -0.5 * math.log(1 - (R * (1 - 0.3**2)) ** 2)
    assert abs(terms.mean() - expected) < 4 * standard_error(terms) + 0.01


def test_the_three_parts_add_up_to_the_kl(model):
    x = torch.randn(8, 4)
    torch.manual_seed(1)
    got = TotalCorrelation(1.0, 1.0, 1.0)(model, x, None, START)
    torch.manual_seed(1)
    out = model(x)
    sampled = (out.log_posterior - out.log_prior).mean()
    torch.testing.assert_close(got.loss, sampled - out.log_likelihood.mean())
    torch.manual_seed(1)
    weighed = TotalCorrelation(2.0, 5.0, 3.0)(model, x, None, START)
    information, correlation = (got.terms[k] for k in ("mutual_information", "total_correlation"))
    rest = sampled - information - correlation
    expected = 2 * information + 5 * correlation + 3 * rest - out.log_likelihood.mean()
    torch.testing.assert_close(weighed.loss, expected)
    torch.testing.assert_close(weighed.bound, got.bound)


def test_the_number_of_examples_is_that_of_the_training_data(model):
    class Data:
        train = range(500)

    objective = TotalCorrelation(aggregate="mws")
    x = torch.randn(5, 4)
    torch.manual_seed(1)
    alone = objective(model, x, None, START).terms["mutual_information"]
    objective.start(model, Data())
    torch.manual_seed(1)
    among = objective(model, x, None, START).terms["mutual_information"]
    assert (among - alone).item() == pytest.approx(math.log(500 / 5))


# ------------------------------------------------------------------------------------------------- the critic
class Exact(nn.Module):
    """log of the density of a correlated Gaussian over that of its margins."""

    def forward(self, z):
        joint = MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, R], [R, 1.0]]))
        return (joint.log_prob(z) - Normal(0.0, 1.0).log_prob(z).sum(1)).unsqueeze(1)


def test_the_best_critic_gives_the_total_correlation_and_has_the_least_loss(model):
    objective = FactorVAE(gamma=1.0)
    objective.start(model)
    z = correlated(20_000)
    model.forward = lambda x, c=None: type("Out", (), _fixed(z))()
    losses = []
    for factor in (0.0, 0.5, 1.0, 1.5):
        critic = Exact()
        objective.critic = _Scaled(critic, factor)
        moves = list(objective.moves(model, torch.zeros(20_000, 4), None, START))
        losses.append(moves[1].loss.item())
        if factor == 1.0:
            ratio = critic(z)
            error = standard_error(ratio.squeeze(1))
            assert abs(moves[0].terms["total_correlation"] - CORRELATION) < 4 * error
            torch.testing.assert_close(moves[0].loss, ratio.mean())
    assert losses[0] == pytest.approx(math.log(2))
    assert min(losses) == losses[2]


class _Scaled(nn.Module):
    def __init__(self, critic, factor):
        super().__init__()
        self.critic, self.factor = critic, factor

    def forward(self, z):
        return self.factor * self.critic(z)


def _fixed(z):
    zero = torch.zeros(1, len(z))
    return {"z": z.unsqueeze(0), "log_likelihood": zero, "kl": lambda self: zero[0], "penalty": 0.0}


def test_shuffling_keeps_each_dimension_and_breaks_their_tie():
    z = correlated(5000)
    mixed = shuffled(z)
    torch.testing.assert_close(mixed.sort(0).values, z.sort(0).values, rtol=0, atol=0)
    assert abs(torch.corrcoef(mixed.T)[0, 1]) < 0.08 < torch.corrcoef(z.T)[0, 1]


# ------------------------------------------------------------------------------------------------- DIP
@pytest.mark.slow
def test_the_covariance_of_codes_is_that_of_their_definition():
    means = correlated(200)
    scales = 0.1 + torch.rand(200, 2)
    q = Independent(Normal(means, scales), 1)
    torch.testing.assert_close(code_covariance(q, aggregate=False), torch.cov(means.T, correction=0))
    z = q.sample((20_000,)).reshape(-1, 2)
    torch.testing.assert_close(code_covariance(q), torch.cov(z.T), rtol=0.02, atol=0.01)
    full = MultivariateNormal(means, torch.tensor([[0.5, 0.2], [0.2, 0.3]]).expand(200, 2, 2))
    z = full.sample((20_000,)).reshape(-1, 2)
    torch.testing.assert_close(code_covariance(full), torch.cov(z.T), rtol=0.02, atol=0.01)


@pytest.mark.parametrize(("kind", "added"), [("i", 0.0), ("ii", 1.0)])
def test_the_penalty_is_on_each_side_of_the_diagonal_with_its_own_weight(model, kind, added):
    x = torch.randn(50, 4)
    q = model.infer(x)
    covariance = torch.cov(q.mean.T, correction=0) + added * torch.diag(q.variance.mean(0))
    off, on = 2 * covariance[0, 1] ** 2, ((covariance.diagonal() - 1) ** 2).sum()
    torch.manual_seed(1)
    got = DIP(kind, off_diagonal=3.0, diagonal=5.0)(model, x, None, START)
    torch.testing.assert_close(got.loss + got.bound, 3 * off + 5 * on)


# ------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Capacity(gamma=-1.0), "finite gamma >= 0; got -1.0"),
        (lambda: Capacity(capacity=-1.0), "finite capacity >= 0"),
        (lambda: TotalCorrelation(beta=math.inf), "finite beta >= 0"),
        (lambda: TotalCorrelation(aggregate="msw"), "did you mean 'mws'"),
        (lambda: FactorVAE(gamma=math.nan), "finite gamma >= 0"),
        (lambda: DIP("iii"), "kind 'i' or 'ii'"),
    ],
)
def test_bad_options_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_what_has_no_moments_or_no_distances_is_refused(model):
    with pytest.raises(ConfigError, match="mean and variance are known"):
        code_covariance(torch.distributions.Distribution(validate_args=False))
    model.prior.levels = (model.prior.levels[0]._replace(kind="one-hot"),)
    with pytest.raises(ConfigError, match="FactorVAE compares codes by their distance"):
        FactorVAE().check(model, START)


def test_a_posterior_that_does_not_factorise_has_no_density_of_each_dimension():
    q = MultivariateNormal(torch.zeros(3, 2), torch.eye(2).expand(3, 2, 2))
    with pytest.raises(ConfigError, match="factorises"):
        aggregate_log_probs(q, torch.zeros(3, 2), 3)
