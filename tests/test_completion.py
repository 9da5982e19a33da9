"""Completion: the law of the missing elements against closed forms and integrals, and what is refused."""

import math
from types import SimpleNamespace

import exact
import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import MultivariateNormal

import lowerbound as lb
from lowerbound import completion
from lowerbound.completion import Completion, complete
from lowerbound.conditions import Conditions, Label, Observed
from lowerbound.data.transforms import Standardize
from lowerbound.errors import ConfigError, DataError, ShapeError, SupportError
from lowerbound.likelihoods import Bernoulli, Categorical, Gaussian, Likelihood
from lowerbound.model import VAE
from lowerbound.nn import MLP
from lowerbound.posteriors import DiagonalGaussian
from lowerbound.priors import ConditionalGaussian, StandardNormal

pytestmark = pytest.mark.usefixtures("float64")

DRAWS = 20_000
both_methods = pytest.mark.parametrize("method", ["importance", "gibbs"])


# ------------------------------------------------------------------------------ models and their exact laws
def given_observed(law: MultivariateNormal, x, mask):
    """p(x_missing | x_observed) of one example, and log p(x_observed)."""
    s = law.covariance_matrix
    gain = torch.linalg.solve(s[mask][:, mask], s[mask][:, ~mask]).T
    mean = law.mean[~mask] + gain @ (x - law.mean)[mask]
    covariance = s[~mask][:, ~mask] - gain @ s[mask][:, ~mask]
    observed = MultivariateNormal(law.mean[mask], s[mask][:, mask]) if mask.any() else None
    return mean, covariance, 0.0 if observed is None else observed.log_prob(x[mask]).item()


def check_law(drawn, mean, covariance, effective, errors=5.0):
    """Assert that draws (n, D), worth ``effective`` independent ones, have this mean and covariance."""
    variance = covariance.diagonal()
    assert ((drawn.mean(0) - mean).abs() < errors * (variance / effective).sqrt()).all()
    spread = ((torch.outer(variance, variance) + covariance.square()) / effective).sqrt()
    assert ((drawn.T.cov(correction=0).reshape(covariance.shape) - covariance).abs() < errors * spread).all()


def effective(done: Completion, b: int) -> float:
    """What the draws of an example are worth: resampling adds its own variance to that of the weights."""
    n = len(done.x)
    return n if done.ess is None else 1 / (1 / n + 1 / done.ess[b].item())


def misled(exact_model, transform=None):
    """The linear VAE with codes that q puts elsewhere and spreads too far: pseudo-Gibbs is biased."""
    model = exact.linear_vae(exact_model, widen=1.3, transform=transform)
    with torch.no_grad():
        model.encoder.output.bias[:2] += 0.4
    return model


def affine_vae(condition, dimensions=4, latent=2, sigma=0.6, transform=None):
    """Every map affine, prior and decoder random, q near the exact posterior; and p(u | e) for an embedding e."""
    torch.manual_seed(3)
    size = condition.context
    prior = ConditionalGaussian(latent, context=size, hidden=())
    decoder = MLP((latent,), (1, dimensions), hidden=(), context=size)
    encoder = MLP((dimensions,), (2, latent), hidden=(), context=size)
    likelihood = Gaussian(dimensions, scale=sigma)
    model = VAE(encoder, DiagonalGaussian(latent), prior, decoder, likelihood, transform, condition)
    scale = torch.tensor([0.8, 1.3])
    w, v, b = (0.7 * torch.randn(dimensions, k) for k in (latent, size, 1))
    a = 0.7 * torch.randn(latent, size)
    precision = w.T @ w / sigma**2 + torch.diag(scale**-2)
    gain = torch.linalg.solve(precision, w.T / sigma**2)
    towards_prior = torch.linalg.solve(precision, torch.diag(scale**-2) @ a) - gain @ v
    wide = exact.raw_scale(1.3 * precision.diagonal().rsqrt())
    for linear, weight, bias in (
        (decoder.output, w, b.squeeze(1)),
        (decoder.affine.map, v, None),
        (prior.network.output, torch.cat([a, 0 * a]), torch.cat([0 * scale, exact.raw_scale(scale)])),
        (encoder.output, torch.cat([gain, 0 * gain]), torch.cat([0.3 - gain @ b.squeeze(1), wide])),
        (encoder.affine.map, torch.cat([towards_prior, 0 * towards_prior]), None),
    ):
        with torch.no_grad():
            linear.weight.copy_(weight)
            if bias is not None:
                linear.bias.copy_(bias)

    def law(e):
        covariance = w @ torch.diag(scale**2) @ w.T + sigma**2 * torch.eye(dimensions)
        return MultivariateNormal(w @ a @ e + v @ e + b.squeeze(1), covariance)

    return model, law


def identity(linear):
    with torch.no_grad():
        linear.weight.copy_(torch.eye(*linear.weight.shape))
        if getattr(linear, "bias", None) is not None:
            linear.bias.zero_()


X = torch.tensor([[0.3, -1.2, 2.0, 0.1, 0.7], [1.5, 0.4, -0.8, 0.9, -2.0]])
MASK = torch.tensor([[1, 0, 1, 0, 1], [0, 1, 0, 0, 1]]).bool()
STANDARDIZE = Standardize(torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0]), torch.tensor([0.5, 2.0, 3.0, 0.2, 1.5]))


# ------------------------------------------------------------------------------------------- exact laws
@pytest.mark.slow
@both_methods
@pytest.mark.parametrize("transform", [None, STANDARDIZE], ids=["plain", "standardized"])
def test_linear_gaussian_completions_have_the_exact_law(method, transform):
    linear = exact.linear_gaussian(5, 2, orthogonal=False)
    model = misled(linear, transform)
    mean, scale = (torch.zeros(5), torch.ones(5)) if transform is None else (transform.mean, transform.std)
    x = X * scale + mean
    done = complete(model, x, MASK, DRAWS, method=method, samples=DRAWS, steps=40, seed=1)
    assert done.method == method
    assert torch.equal(done.x[:, MASK], x[MASK].expand(DRAWS, -1))
    for b in range(2):
        m, s, log_observed = given_observed(linear.marginal(), X[b], MASK[b])
        missing, unit = ~MASK[b], scale[~MASK[b]]
        check_law(
            done.x[:, b, missing], m * unit + mean[missing], s * torch.outer(unit, unit), effective(done, b)
        )
        if method == "importance":
            assert done.acceptance is None
            density = log_observed - scale[MASK[b]].log().sum()
            assert abs(done.log_observed[b] - density) < 5 / done.ess[b].sqrt()
        else:
            assert done.ess is None
            assert 0.1 < done.acceptance[b] < 0.95


@pytest.mark.slow
def test_chains_that_accept_every_move_would_be_biased(monkeypatch):
    # The test above has the power to tell: with q misled, pseudo-Gibbs is far outside its tolerance.
    monkeypatch.setattr(completion.torch, "rand_like", torch.zeros_like)
    linear = exact.linear_gaussian(5, 2, orthogonal=False)
    done = complete(misled(linear), X, MASK, DRAWS, method="gibbs", steps=40, seed=1)
    assert (done.acceptance == 1).all()
    for b in range(2):
        m, s, _ = given_observed(linear.marginal(), X[b], MASK[b])
        error = (done.x[:, b, ~MASK[b]].mean(0) - m).abs() / (s.diagonal() / DRAWS).sqrt()
        assert error.max() > 15


@pytest.mark.slow
@both_methods
def test_bernoulli_completions_have_the_law_of_the_integral(method):
    model = exact.bernoulli_vae(4, 1, seed=27)
    x, mask = torch.tensor([[0.0, 0.0, 0.0, 1.0]]), torch.tensor([True, False, False, True])
    patterns = torch.tensor([[[0.0, i, j, 1.0]] for i in (0, 1) for j in (0, 1)])
    joint = torch.stack([exact.log_evidence_on_grid(model, pattern) for pattern in patterns]).squeeze(1)
    truth = joint.softmax(0)

    done = complete(model, x, mask, DRAWS, method=method, samples=DRAWS, steps=40, seed=1)
    number = (2 * done.x[:, 0, 1] + done.x[:, 0, 2]).long()
    share = torch.bincount(number, minlength=4) / DRAWS
    worth = effective(done, 0)
    assert ((share - truth).abs() < 4.5 * (truth * (1 - truth) / worth).sqrt()).all()
    # The two missing elements depend on each other: this is not the product of their frequencies.
    assert (truth[3] - (truth[2] + truth[3]) * (truth[1] + truth[3])).abs() > 0.1
    if method == "importance":
        assert abs(done.log_observed[0] - joint.logsumexp(0)) < 4.5 / done.ess[0].sqrt()

    means = complete(model, x, mask, DRAWS, mean=True, method=method, samples=DRAWS, steps=40, seed=2).x[:, 0]
    assert torch.equal(means[:, mask], x[:, mask].expand(DRAWS, -1))
    assert ((means > 0) & (means < 1))[:, ~mask].all()
    wanted = torch.stack([truth[2] + truth[3], truth[1] + truth[3]])
    assert ((means[:, ~mask].mean(0) - wanted).abs() < 4.5 * means[:, ~mask].std(0) / math.sqrt(worth)).all()


@pytest.mark.parametrize("transform", [None, STANDARDIZE], ids=["plain", "standardized"])
@pytest.mark.parametrize("mean", [False, True])
def test_a_model_trained_for_completion_draws_from_what_it_has_learned(transform, mean):
    entries = {"observed": Observed(5, size=10, hidden=()), "label": Label(3)}
    model, law = affine_vae(Conditions(entries), 5, transform=transform)
    identity(entries["observed"].body.output)
    identity(entries["label"].table)
    done = complete(model, X, MASK, DRAWS, c={"label": [2, 0]}, mean=mean, seed=1)
    assert done.method == "trained"
    assert done.ess is done.log_observed is done.acceptance is None
    assert torch.equal(done.x[:, MASK], X[MASK].expand(DRAWS, -1))
    u = X if transform is None else transform(X)
    shift, scale = (torch.zeros(5), torch.ones(5)) if transform is None else (transform.mean, transform.std)
    for b, label in enumerate([2, 0]):
        e = torch.cat([u[b] * MASK[b], MASK[b].double(), torch.eye(3)[label]])
        p, missing, unit = law(e), ~MASK[b], scale[~MASK[b]]
        # The decoder's mean lacks its noise.
        s = (p.covariance_matrix - mean * 0.6**2 * torch.eye(5))[missing][:, missing]
        check_law(
            done.x[:, b, missing], p.mean[missing] * unit + shift[missing], s * torch.outer(unit, unit), DRAWS
        )
    for c in (2, {"label": 2}):
        same = complete(model, X[:1], MASK[:1], c=c, seed=5).x
        assert torch.equal(same, complete(model, X[:1], MASK[:1], c={"label": torch.tensor([2])}, seed=5).x)


@pytest.mark.slow
@both_methods
@pytest.mark.parametrize("tiled", [False, True])
def test_completions_follow_the_rest_of_the_condition(method, tiled, monkeypatch):
    # One example at a time and its samples in several parts, or all at once.
    monkeypatch.setattr(completion, "tile_rows", lambda model, memory: 3000 if tiled else 3 * DRAWS)
    monkeypatch.setattr(completion, "_DENSITIES", 2**40)
    samples = DRAWS if tiled else DRAWS // 4
    condition = Label(3)
    model, law = affine_vae(condition)
    identity(condition.table)
    x, mask = X[[0, 1, 0], :4], MASK[[0, 1, 0], :4]
    labels = [1, 0, 2]
    done = complete(model, x, mask, DRAWS, c=labels, method=method, samples=samples, steps=60, seed=1)
    for b, label in enumerate(labels):
        m, s, log_observed = given_observed(law(torch.eye(3)[label]), x[b], mask[b])
        check_law(done.x[:, b, ~mask[b]], m, s, effective(done, b))
        if method == "importance":
            assert abs(done.log_observed[b] - log_observed) < 5 / done.ess[b].sqrt()


def test_an_exact_encoder_makes_weights_equal_and_accepts_every_move(monkeypatch):
    linear = exact.linear_gaussian(5, 2, orthogonal=True)
    model, everything = exact.linear_vae(linear), torch.ones(5)
    monkeypatch.setattr(completion, "_PRIOR_SHARE", 0.0)
    monkeypatch.setattr(completion, "_WIDE_SHARE", 0.0)
    done = complete(model, X, everything, samples=2000, seed=1)
    # One draw of the 2000 is always from the prior.
    assert (done.ess > 1990).all()
    assert (done.ess <= 2000).all()
    torch.testing.assert_close(done.log_observed, linear.marginal().log_prob(X), atol=2e-3, rtol=0)
    assert (complete(model, X, MASK, method="gibbs", seed=1).acceptance > 0.999).all()


def test_every_example_has_its_own_acceptance():
    linear = exact.linear_gaussian(5, 2, orthogonal=True)
    model = exact.linear_vae(linear)
    with torch.no_grad():
        # Right at the mean of the data, ever more wrong away from it.
        model.encoder.output.weight[:2] *= 0.8
        model.encoder.output.bias[:2] *= 0.8
    x = linear.mean + torch.tensor([[0.0], [3.0]]) * linear.weight[:, 0]
    options = dict(method="gibbs", steps=50, seed=1)
    near, far = complete(model, x, MASK[0] | MASK[1], 500, **options).acceptance
    assert near > far + 0.2
    for example, share in ((x[:1], near), (x[1:], far)):
        alone = complete(model, example, MASK[0] | MASK[1], 500, **options).acceptance
        assert abs(alone - share) < 0.03


# ------------------------------------------------------------------------------------ ends of the range
@pytest.mark.slow
@both_methods
def test_nothing_observed_is_a_draw_from_the_model(method):
    linear = exact.linear_gaussian(5, 2, orthogonal=False)
    nothing, options = (
        torch.zeros(5),
        dict(method=method, samples=DRAWS, steps=300 if method == "gibbs" else 20, seed=1),
    )
    done = complete(misled(linear), X[:1] * torch.nan, nothing, DRAWS // 4, **options)
    law = linear.marginal()
    check_law(done.x[:, 0], law.mean, law.covariance_matrix, effective(done, 0))
    if method == "importance":
        assert abs(done.log_observed[0]) < 5 / done.ess[0].sqrt()


@pytest.mark.parametrize("method", ["importance", "gibbs", None])
def test_everything_observed_comes_back_to_the_last_bit(method):
    if method is None:
        model, _ = affine_vae(Observed(5, size=4, hidden=()), 5, transform=STANDARDIZE)
    else:
        model = misled(exact.linear_gaussian(5, 2, orthogonal=False), STANDARDIZE)
    # The model computes in float32, which cannot hold these.
    done = complete(model.float(), X / 3, torch.ones(2, 5), 3, method=method, samples=50, steps=5)
    assert torch.equal(done.x, (X / 3).expand(3, 2, 5))


@pytest.mark.parametrize("mean", [False, True])
def test_classes_stay_whole_numbers(mean):
    torch.manual_seed(0)
    likelihood = Categorical((1, 2, 3), categories=4)
    encoder = MLP(likelihood.feature_shape, (2, 2), hidden=(8,))
    model = VAE(
        encoder,
        DiagonalGaussian(2),
        StandardNormal(2),
        MLP((2,), likelihood.input_shape, hidden=(8,)),
        likelihood,
    )
    x, mask = torch.randint(4, (2, 1, 2, 3)), torch.rand(2, 1, 2, 3) < 0.5
    x[~mask] = 99
    for method in ("importance", "gibbs"):
        done = complete(model, x, mask, 6, mean=mean, method=method, samples=50, steps=5)
        assert done.x.dtype == torch.int64
        assert torch.equal(done.x[:, mask], x[mask].expand(6, -1))
        assert (done.x < 4).all()
        assert (done.x >= 0).all()


def test_a_few_samples_and_sweeps_will_do():
    model = misled(exact.linear_gaussian(5, 2, orthogonal=False))
    for samples in (1, 2, 7):
        done = complete(model, X, MASK, 3, samples=samples, steps=1)
        assert done.x.isfinite().all()
        assert (done.ess <= samples + 1e-9).all()
        assert done.log_observed.isfinite().all()
    assert complete(model, X, MASK, method="gibbs", steps=1).x.shape == (1, 2, 5)


# ----------------------------------------------------------------------------------- what is given, how
@pytest.mark.parametrize("method", ["importance", "gibbs", None])
def test_what_stands_at_missing_places_is_never_read(method):
    if method is None:
        model, _ = affine_vae(Observed(5, size=4, hidden=()), 5, transform=STANDARDIZE)
    else:
        model = misled(exact.linear_gaussian(5, 2, orthogonal=False), STANDARDIZE)
    options = dict(n=3, method=method, samples=60, steps=4, seed=1)
    wanted = complete(model, X, MASK, **options)
    assert wanted.x.isfinite().all()
    for rubbish in (torch.nan, torch.inf, 1e30):
        done = complete(model, X.masked_fill(~MASK, rubbish), MASK, **options)
        assert torch.equal(done.x, wanted.x)


def test_draws_follow_the_seed_and_leave_the_rest_as_it_was():
    model = misled(exact.linear_gaussian(5, 2, orthogonal=False)).train()
    for method in ("importance", "gibbs"):
        before = torch.get_rng_state()
        first = complete(model, X, MASK, 2, method=method, samples=50, steps=5, seed=1).x
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(model.complete(X, MASK, 2, method=method, samples=50, steps=5, seed=1).x, first)
        assert not torch.equal(complete(model, X, MASK, 2, method=method, samples=50, steps=5).x, first)
        g = torch.Generator().manual_seed(1)
        a, b = (complete(model, X, MASK, 2, method=method, samples=50, steps=5, generator=g).x for _ in "ab")
        assert torch.equal(a, first)
        assert not torch.equal(a, b)
        assert not complete(model, X, MASK, mean=True, method=method, samples=50, steps=5).x.requires_grad
        assert all(part.training for part in model.modules())


def test_masks_of_every_form():
    torch.manual_seed(0)
    model = VAE(
        MLP((2, 3, 4), (2, 2), hidden=()),
        DiagonalGaussian(2),
        StandardNormal(2),
        MLP((2,), (1, 2, 3, 4), hidden=()),
        Gaussian((2, 3, 4), scale=1.0),
    )
    x, plane = torch.randn(5, 2, 3, 4), torch.rand(3, 4) < 0.5
    wanted = complete(model, x, plane.expand(5, 2, 3, 4), samples=50, seed=1).x
    assert torch.equal(wanted[0] == x, plane.expand_as(x))
    for mask in (
        plane,
        plane[None],
        plane[None, None],
        plane.expand(2, 3, 4),
        plane.expand(5, 1, 3, 4),
        plane.long(),
        plane.float().numpy(),
    ):
        assert torch.equal(complete(model, x, mask, samples=50, seed=1).x, wanted)


def test_a_model_trained_with_one_mask_knows_no_other():
    def build(masks, shape):
        condition = Observed(shape, masks=masks, size=4, hidden=())
        encoder = MLP(shape, (2, 2), hidden=(), context=4)
        decoder = MLP((2,), (1, *shape), hidden=(), context=4)
        return VAE(
            encoder, DiagonalGaussian(2), StandardNormal(2), decoder, Bernoulli(shape), None, condition
        )

    lower_left = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 0, 0]])
    model, x = build("quadrant", (1, 3, 3)), torch.ones(2, 1, 3, 3)
    assert complete(model, x, lower_left).x.shape == (1, 2, 1, 3, 3)
    with pytest.raises(ConfigError, match="quadrant observed; 2 of 2 examples have another"):
        complete(model, x, 1 - lower_left)
    mask = lower_left.repeat(2, 1, 1, 1)
    mask[1, 0, 0, 0] = 1
    with pytest.raises(ConfigError, match="1 of 2 examples"):
        complete(model, x, mask)

    table = build(["height", "age"], (3,))
    table.data_spec = SimpleNamespace(owners=("age", "weight", "height"))
    x, columns = torch.ones(2, 3), torch.tensor([1, 0, 1])
    assert complete(table, x, columns).x.shape == (1, 2, 3)
    with pytest.raises(ConfigError, match="columns height, age observed"):
        complete(table, x, 1 - columns)


# ------------------------------------------------------------------------------------------ what is refused
class Correlated(Likelihood):
    """A likelihood in which the elements depend on each other given z."""

    def forward(self, h):
        return MultivariateNormal(h.squeeze(-2), torch.eye(3) + 0.5)

    def check(self, x):
        pass


def test_a_likelihood_that_does_not_factorise_is_refused():
    model = VAE(
        MLP((3,), (2, 2)), DiagonalGaussian(2), StandardNormal(2), MLP((2,), (1, 3)), Correlated((3,))
    )
    for method in ("importance", "gibbs"):
        with pytest.raises(ConfigError, match="factorises over its elements"):
            complete(model, torch.zeros(2, 3), torch.tensor([1, 0, 1]), method=method)


REFUSED = [
    (dict(x=torch.zeros(2, 3)), ShapeError, r"event shape \(4,\) but came as \(2, 3\)"),
    (dict(x=torch.zeros(4)), ShapeError, "unsqueeze"),
    (dict(x=torch.zeros(0, 4)), DataError, "no examples"),
    (
        dict(mask=torch.ones(3)),
        ShapeError,
        r"the mask of x \(2, 4\) has .* \(4,\), or of all of them; got \(3,\)",
    ),
    (dict(mask=torch.ones(2, 1)), ShapeError, r"got \(2, 1\)"),
    (dict(mask=torch.tensor(1)), ShapeError, r"got \(\)"),
    (dict(mask=torch.full((4,), 0.5)), ConfigError, "got 0.5"),
    (dict(mask=torch.full((4,), torch.nan)), ConfigError, "got nan"),
    (dict(n=0), ConfigError, "n >= 1, a whole number; got 0"),
    (dict(n=1.5), ConfigError, "got 1.5"),
    (dict(samples=0), ConfigError, "samples >= 1"),
    (dict(steps=0), ConfigError, "steps >= 1"),
    (dict(method="importnace"), ConfigError, "did you mean 'importance'"),
    (dict(method="trained"), ConfigError, "observed='random'"),
    (dict(c=1), ConfigError, "takes no condition"),
    (dict(x=torch.full((2, 4), 0.5)), SupportError, r"\{0, 1\}"),
    (dict(x=torch.full((2, 4), torch.nan)), SupportError, r"use mask = ~x\.isnan\(\)"),
]


@pytest.mark.parametrize(("wrong", "error", "message"), REFUSED)
def test_bad_input_is_refused(wrong, error, message):
    model = exact.bernoulli_vae(4, 1)
    options = {"x": torch.zeros(2, 4), "mask": torch.tensor([1, 0, 1, 0]), **wrong}
    with pytest.raises(error, match=message):
        complete(model, options.pop("x"), options.pop("mask"), **options)


def test_bad_conditions_of_a_trained_model_are_refused():
    mask = torch.tensor([1, 0, 1, 0, 0])
    alone, _ = affine_vae(Observed(5, size=4, hidden=()), 5)
    three = {"observed": Observed(5, size=4, hidden=()), "label": Label(3), "other": Label(2)}
    several, _ = affine_vae(Conditions(three), 5)
    for model, options, message in (
        (alone, dict(method="gibbs"), "use 'trained'"),
        (alone, dict(c=1), "c is for nothing beside it: leave it out"),
        (several, dict(c=1), "label, other beside it, by name"),
        (several, dict(c={"observed": None}), "leave 'observed' out"),
        (several, dict(c={"label": 5, "other": 0}), "no class '5'; options: 0, 1, 2"),
        (several, dict(c={"label": 1}), "'other' is missing"),
    ):
        with pytest.raises(ConfigError, match=message):
            complete(model, X, mask, **options)
    with pytest.raises(ShapeError, match="has 3 values, but 2 examples"):
        complete(several, X, mask, c={"label": [0, 1, 2], "other": 0})


def test_warnings_state_the_number_and_the_remedy():
    x = torch.zeros(1, 3, 2)
    good, poor = torch.tensor([500.0, 10.0, 30.0]), torch.tensor([500.0, 9.0, 1.25])
    assert Completion(x, "trained", 1).warning is None
    assert Completion(x, "importance", 1000, ess=good).warning is None
    warning = Completion(x, "importance", 1000, ess=poor).warning
    assert warning.startswith("2 of 3 examples have fewer than 10 effective draws (the least 1.25 of 1000)")
    assert "use more samples" in warning
    assert Completion(x, "gibbs", 200, acceptance=torch.tensor([0.05, 0.5, 1.0])).warning is None
    warning = Completion(x, "gibbs", 200, acceptance=torch.tensor([0.049, 0.5, 0.01])).warning
    assert warning.startswith(
        "the chains of 2 of 3 examples accept fewer than 5% of their moves (the least 1.00%"
    )
    assert "use more steps" in warning
    # An example whose weights have no value is not to be trusted either.
    assert "1 of 3" in Completion(x, "importance", 1000, ess=torch.tensor([500.0, torch.nan, 30.0])).warning


@pytest.mark.slow
@both_methods
def test_that_a_cell_was_found_empty_tells_of_what_it_held(method):
    """NaN is a cell that its own high value may have emptied; a number under the mask is merely not looked at."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(400, 3)), columns=["a", "b", "c"])
    table.loc[table.a + rng.logistic(size=400) > 0, "a"] = np.nan
    data = lb.data.load(table)
    torch.manual_seed(0)
    model = lb.VAE.for_data(data, latent=2, prior="standard_normal", likelihood={"gaps": "self_masking_high"})
    x, _ = data.train.batch(torch.arange(12))
    x[:, 0] = math.nan
    mask = ~x.isnan()
    options = dict(n=100, method=method, seed=0) | ({"steps": 3} if method == "gibbs" else {"samples": 300})
    found = model.complete(x, mask, **options)
    hidden = model.complete(torch.where(mask, x, 0.0), mask, **options)
    assert found.x[..., 0].mean() > hidden.x[..., 0].mean() + 0.3
    if method == "importance":
        log_p = model.log_prob(x, samples=500, seed=1)
        assert torch.allclose(found.log_observed, log_p, atol=0.3)
        assert (found.log_observed - hidden.log_observed).mean() < -0.2  # log P(empty), about log 1/2
