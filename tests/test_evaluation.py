"""The estimators of log p(x) against models on which it is known, and what they promise to leave alone."""

import contextlib
import json
import math
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from exact import bernoulli_vae, linear_gaussian, linear_vae, log_evidence_on_grid
from torch import nn

import lowerbound as lb
from lowerbound import data
from lowerbound.data import Standardize
from lowerbound.errors import ConfigError, DataError, ShapeError, SupportError
from lowerbound.evaluation import (
    NLL,
    active_units,
    bound,
    nll,
    posterior_collapse_warning,
    posterior_means,
    summary,
)
from lowerbound.evaluation.importance import evenly, joined, log_weights, stream
from lowerbound.evaluation.pareto import fewest_samples, fit_generalised_pareto, pareto_khat, tail_length
from lowerbound.evaluation.stream import frozen, tile_rows
from lowerbound.evaluation.summary import verdict
from lowerbound.likelihoods import Bernoulli, ContinuousBernoulli
from lowerbound.model import VAE
from lowerbound.nn import MLP, ConvDecoder
from lowerbound.persistence import check_start
from lowerbound.posteriors import DiagonalGaussian
from lowerbound.priors import StandardNormal
from lowerbound.training import Settings


def binary_vae(event=(1, 8, 8), latent=3, **options):
    """An untrained float32 model with hidden layers."""
    encoder = MLP(event, (2, latent), hidden=(16,), **options)
    decoder = MLP((latent,), (1, *event), hidden=(16,), **options)
    return VAE(encoder, DiagonalGaussian(latent), StandardNormal(latent), decoder, Bernoulli(event))


def constant_vae(likelihood, latent=2):
    """A model whose networks give zeros: q is the prior, and x does not depend on z."""
    encoder = MLP(likelihood.feature_shape, (2, latent), hidden=())
    decoder = MLP((latent,), likelihood.input_shape, hidden=())
    for network in (encoder, decoder):
        nn.init.zeros_(network.output.weight)
    return VAE(encoder, DiagonalGaussian(latent), StandardNormal(latent), decoder, likelihood)


def rows_through(module):
    """The batch size of every call of a module, from now on."""
    seen = []
    module.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    return seen


def binary(n, *event):
    return (torch.rand(n, *event) < 0.4).float()


def monte_carlo_error(result):
    """Standard error of the estimate for fixed examples: Var(log of a mean weight) = 1/ESS − 1/S."""
    return math.sqrt((1 / result.ess - 1 / result.samples).sum().item()) / result.n


# ---------------------------------------------------------------- exactly, for every draw
@pytest.mark.parametrize("samples", [1, 7, 100])
@pytest.mark.parametrize(("orthogonal", "posterior"), [(True, "diagonal"), (True, "full"), (False, "full")])
def test_at_the_exact_posterior_every_draw_gives_log_p(orthogonal, posterior, samples):
    exact = linear_gaussian(6, 3, orthogonal=orthogonal)
    model, x = linear_vae(exact, posterior), exact.sample(20)
    truth = exact.marginal().log_prob(x)
    for seed in (0, 1):
        result = nll(model, x, samples, seed=seed)
        assert result.value == pytest.approx(-truth.mean().item(), abs=1e-9)
        torch.testing.assert_close(result.per_example, truth, atol=1e-9, rtol=0)
        torch.testing.assert_close(result.ess, torch.full_like(truth, samples), atol=1e-6, rtol=0)


def test_standard_error_is_that_of_the_mean_over_examples():
    exact = linear_gaussian(4, 2, orthogonal=True)
    x = exact.sample(50)
    log_p = exact.marginal().log_prob(x)
    assert nll(linear_vae(exact), x, 3).stderr == pytest.approx(log_p.std().item() / math.sqrt(50), abs=1e-9)
    assert math.isnan(nll(linear_vae(exact), x[:1], 3).stderr)


def test_in_units_of_the_data_under_standardize():
    exact = linear_gaussian(4, 2, orthogonal=False)
    mean, std = torch.tensor([5.0, -3, 0, 100]).double(), torch.tensor([10.0, 0.1, 1, 7]).double()
    model = linear_vae(exact, "full", transform=Standardize(mean, std))
    u = exact.sample(30)
    truth = exact.marginal().log_prob(u) - std.log().sum()
    torch.testing.assert_close(nll(model, mean + std * u, 5).per_example, truth, atol=1e-9, rtol=0)
    prior = nll(model, mean + std * u, 5, proposal="prior").value
    plain = nll(linear_vae(exact, "full"), u, 5, proposal="prior").value
    assert prior == pytest.approx(plain + std.log().sum().item(), abs=1e-9)


@pytest.mark.parametrize(("levels", "bits"), [(256, 8), (17, math.log2(17))])
def test_uniform_model_of_grey_levels_needs_their_bits(levels, bits):
    if levels == 256:
        pixels = np.random.default_rng(0).integers(0, 256, (50, 1, 6, 6), dtype=np.uint8)
        pixels.flat[:2] = 0, 255
        split = data.load(pixels).train
    else:
        split = data.load("digits", binarize="none").test.take(40)
    assert split.spec.levels == levels
    model = constant_vae(ContinuousBernoulli(split.spec.event_shape))
    result = nll(model, split, 4)
    numbers = summary(model, split, 30, proposal="posterior", naive=True)
    assert result.value == pytest.approx(split.spec.dimensions * bits * math.log(2), rel=1e-6)
    assert numbers["bits_per_dim"] == pytest.approx(bits, rel=1e-6)
    assert numbers["naive_nll"] == pytest.approx(result.value, rel=1e-6)
    assert numbers["reconstruction"] == pytest.approx(-result.value, rel=1e-6)
    assert numbers["elbo"] == pytest.approx(-result.value, rel=1e-6)


def test_fair_coins_need_one_bit_and_real_numbers_have_none():
    split = data.load("digits").test.take(20)
    coins = summary(constant_vae(Bernoulli((1, 8, 8))), split, 5, proposal="posterior")
    assert coins["bits_per_dim"] == pytest.approx(1, rel=1e-6)
    exact = linear_gaussian(3, 1, orthogonal=True)
    reals = data.load(exact.sample(40).numpy()).test
    assert summary(linear_vae(exact), reals, 5)["bits_per_dim"] is None


# ---------------------------------------------------------------- within the error of the draws
@pytest.mark.parametrize("proposal", ["posterior", "prior"])
@pytest.mark.parametrize("latent", [1, 2])
def test_bernoulli_decoder_agrees_with_the_integral(latent, proposal):
    model, x = bernoulli_vae(5, latent), binary(12, 5).double()
    result = nll(model, x, 20_000, proposal=proposal)
    error = monte_carlo_error(result)
    assert error < 0.01
    assert abs(result.value + log_evidence_on_grid(model, x).mean().item()) < 4 * error


def test_probabilities_of_all_binary_vectors_sum_to_one():
    model = bernoulli_vae(3, 1)
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    result = nll(model, every, 20_000)
    p = result.per_example.exp()
    error = math.sqrt((p.square() * (1 / result.ess - 1 / 20_000)).sum().item())
    assert abs(p.sum().item() - 1) < 4 * error < 0.05


def test_naive_estimator_is_right_in_one_dimension_and_fails_in_many():
    excess = []
    for latent in (1, 5, 20):
        exact = linear_gaussian(25, latent, orthogonal=True)
        model, x = linear_vae(exact), exact.sample(40)
        truth = -exact.marginal().log_prob(x).mean().item()
        naive = nll(model, x, 1000, proposal="prior")
        excess.append(naive.value - truth)
        if latent == 1:
            assert abs(excess[0]) < 4 * monte_carlo_error(naive) < 0.1
        assert nll(model, x, 1000).value == pytest.approx(truth, abs=1e-9)
    assert excess[0] < 0.1 < excess[1] < 3 < excess[2]
    assert not naive.trusted


@pytest.mark.parametrize("samples", [25, 50])
def test_bias_is_half_the_variance_of_the_weights_over_k(samples):
    exact, widen = linear_gaussian(1, 1, orthogonal=True), 2.0
    n = 100_000
    x = exact.sample(1).expand(n, 1)
    result = nll(linear_vae(exact, widen=widen), x, samples)
    # With q = N(m, f² τ²) against the posterior N(m, τ²): E[w²] / p² = f² / sqrt(2 f² − 1).
    variance = widen**2 / math.sqrt(2 * widen**2 - 1) - 1
    bias = exact.marginal().log_prob(x[:1]).item() + result.value
    predicted = variance / (2 * samples)
    error = result.stderr + predicted * variance / samples  # of the draws, and of the order 1/K²
    assert abs(bias - predicted) < 4 * error < predicted


@pytest.mark.slow
def test_nll_falls_to_the_truth_with_the_samples():
    exact = linear_gaussian(6, 3, orthogonal=False)
    x = exact.sample(2000)
    model = linear_vae(exact)
    values = [nll(model, x, k).value for k in (1, 5, 50, 1000)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(-exact.marginal().log_prob(x).mean().item(), abs=0.01)


# ---------------------------------------------------------------- the bound
@pytest.mark.parametrize("orthogonal", [True, False])
def test_gap_of_the_bound_is_that_of_the_best_diagonal_posterior(orthogonal):
    exact = linear_gaussian(3, 3, orthogonal=orthogonal)
    model, x = linear_vae(exact), exact.sample(10)
    truth = exact.marginal().log_prob(x).mean().item()
    elbos = torch.tensor([bound(model, x, samples=500, seed=seed).elbo for seed in range(20)])
    error = elbos.std().item() / math.sqrt(20)
    assert error < 0.02
    assert abs(truth - elbos.mean().item() - exact.diagonal_gap) < 4 * error
    assert exact.diagonal_gap == pytest.approx(0, abs=1e-12) if orthogonal else exact.diagonal_gap > 0.1


def test_terms_of_the_bound_are_their_closed_forms():
    exact = linear_gaussian(5, 2, orthogonal=False)
    model, x = linear_vae(exact), exact.sample(400)
    result = bound(model, x, samples=50)
    variance = 1 / exact.precision.diagonal()
    mean = exact.posterior(x).mean
    kl = 0.5 * (variance + mean.square() - 1 - variance.log())
    torch.testing.assert_close(result.kl_per_dimension, kl.mean(0), atol=1e-9, rtol=0)
    assert result.kl == pytest.approx(kl.sum(1).mean().item(), abs=1e-9)
    assert result.elbo == pytest.approx(result.reconstruction - result.kl, abs=1e-9)
    residual = (x - exact.mean - mean @ exact.weight.T).square().sum(1) + (
        variance * exact.weight.square()
    ).sum()
    reconstruction = -residual / (2 * exact.sigma**2) - 2.5 * math.log(2 * math.pi * exact.sigma**2)
    assert result.reconstruction == pytest.approx(reconstruction.mean().item(), abs=0.1)
    assert result.n == 400


def test_bound_of_a_full_covariance_posterior_has_no_kl_per_dimension():
    exact = linear_gaussian(4, 2, orthogonal=False)
    model, x = linear_vae(exact, "full"), exact.sample(10)
    result = bound(model, x, samples=3)
    exact_kl = torch.distributions.kl_divergence(
        exact.posterior(x),
        torch.distributions.MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double()),
    )
    assert result.kl == pytest.approx(exact_kl.mean().item(), abs=1e-9)
    assert result.kl_per_dimension is None


# ---------------------------------------------------------------- tiles
@pytest.mark.parametrize("proposal", ["posterior", "prior"])
@pytest.mark.parametrize(("n", "samples"), [(7, 13), (1, 1000), (50, 1)])
@pytest.mark.parametrize("memory", [0.01, 1, 256])
def test_decodes_exactly_the_samples_and_encodes_once(n, samples, memory, proposal):
    model = binary_vae()
    decoded, encoded = rows_through(model.decoder), rows_through(model.encoder)
    result = nll(model, binary(n, 1, 8, 8), samples, memory=memory, proposal=proposal)
    assert sum(decoded) == n * samples
    assert sum(encoded) == (n if proposal == "posterior" else 0)
    assert max(decoded) <= tile_rows(model, memory)
    assert (result.n, result.samples, len(result.per_example)) == (n, samples, n)


def test_memory_is_flat_in_the_samples():
    model, x = binary_vae(), binary(5, 1, 8, 8)
    largest = {}
    for samples in (10, 100, 10_000):
        decoded = rows_through(model.decoder)
        nll(model, x, samples, memory=0.1)
        largest[samples] = max(decoded)
    assert largest[10_000] <= tile_rows(model, 0.1) < 300
    assert largest[10] <= largest[10_000]


def test_memory_counts_the_widest_layer():
    event = (1, 16, 16)
    narrow, wide = (ConvDecoder((3,), (1, *event), channels=(c,), hidden=8) for c in (4, 64))
    rows = [
        tile_rows(
            VAE(
                MLP(event, (2, 3), hidden=()),
                DiagonalGaussian(3),
                StandardNormal(3),
                decoder,
                Bernoulli(event),
            ),
            8,
        )
        for decoder in (narrow, wide)
    ]
    assert rows[0] > 4 * rows[1]
    assert 3 * 4 * 64 * 8 * 8 * rows[1] <= 8 * 2**20


@pytest.mark.slow
def test_tiles_of_any_size_agree():
    exact = linear_gaussian(6, 3, orthogonal=False)
    model, x = linear_vae(exact), exact.sample(30)
    few, many = (nll(model, x, 500, memory=memory) for memory in (0.001, 100))
    assert abs(few.value - many.value) < 4 * math.hypot(monte_carlo_error(few), monte_carlo_error(many))
    assert few.value != many.value


def test_streamed_is_the_one_shot_result_on_the_same_draws():
    model, x = bernoulli_vae(5, 2), binary(4, 5).double()
    with frozen(model, seed=3):
        tiles = list(log_weights(model, x, None, 101, 40, "posterior"))
    assert [len(tile) for tile in tiles] == [*evenly(101, 10)]
    w = torch.cat(tiles)
    log_sum, log_square_sum, khat = stream(tiles, tail_length(101) + 1)
    torch.testing.assert_close(log_sum, w.logsumexp(0), atol=1e-12, rtol=0)
    torch.testing.assert_close(log_square_sum, (2 * w).logsumexp(0), atol=1e-12, rtol=0)
    once = pareto_khat(w.sort(0, descending=True).values[: tail_length(101) + 1])
    torch.testing.assert_close(khat, once, atol=1e-12, rtol=0)
    with frozen(model, seed=3):
        first = model(x, samples=len(tiles[0])).log_weight
    torch.testing.assert_close(tiles[0], first, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("most", "lengths"), [(1, [7] * 6), (10, [7] * 6), (25, [21, 21]), (1000, [42])])
def test_joined_tiles_lose_nothing(most, lengths):
    tiles = [torch.arange(7 * n, 7 * n + 7).unsqueeze(1) for n in range(6)]
    parts = list(joined(iter(tiles), most))
    assert torch.equal(torch.cat(parts), torch.arange(42).unsqueeze(1))
    assert [len(part) for part in parts] == lengths


def test_the_largest_weights_are_found_in_more_tiles_than_are_joined():
    w = 3 * torch.randn(3000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    _, _, khat = stream(w.split(7), keep=tail_length(3000) + 1)
    once = pareto_khat(w.sort(0, descending=True).values[: tail_length(3000) + 1])
    torch.testing.assert_close(khat, once, atol=1e-12, rtol=0)


def test_effective_sample_size_of_a_small_case():
    log_w = torch.tensor([[1.0, 2.0, 3.0], [5.0, 0.0, 0.0]]).double().log().T + 1000
    log_sum, log_square_sum, _ = stream([log_w[:2], log_w[2:]], keep=1)
    ess = torch.exp(2 * log_sum - log_square_sum)
    torch.testing.assert_close(ess, torch.tensor([36 / 14, 1.0], dtype=torch.float64), atol=1e-9, rtol=0)


@pytest.mark.parametrize(("total", "most"), [(10, 3), (9, 3), (1, 5), (1000, 31), (7, 1)])
def test_evenly_loses_nothing(total, most):
    parts = [*evenly(total, most)]
    assert sum(parts) == total
    assert max(parts) <= most
    assert max(parts) - min(parts) <= 1
    assert len(parts) == math.ceil(total / most)


# ---------------------------------------------------------------- the tail of the weights
@pytest.mark.parametrize("shape", [-0.4, 0.1, 0.5, 0.7, 1.2])
def test_fit_finds_the_shape_and_scale_of_generalised_pareto_draws(shape):
    m, columns, scale = 300, 400, 3.0
    draws = scipy.stats.genpareto.rvs(shape, scale=scale, size=(m, columns), random_state=0)
    k, sigma = fit_generalised_pareto(torch.from_numpy(draws).sort(0).values)
    k = (k * (m + 10) - 5) / m  # without the prior
    assert k.mean().item() == pytest.approx(shape, abs=4 * k.std().item() / math.sqrt(columns) + 0.02)
    assert sigma.mean().item() == pytest.approx(scale, rel=0.05)
    assert k.std().item() < 1.5 * (1 + max(shape, 0)) / math.sqrt(m)  # asymptotically (1 + k) / sqrt(M)


def test_fit_is_the_published_formula_on_five_excesses():
    y = [0.1, 0.4, 0.5, 2.0, 6.0]
    candidates = [
        1 / 6 + (1 - math.sqrt(32 / (j - 0.5))) / (3 * 0.1) for j in range(1, 33)
    ]  # 32 = 30 + floor(√5)

    def shape(theta):
        return sum(math.log(1 - theta * value) for value in y) / 5

    likelihoods = [math.exp(5 * (math.log(-t / shape(t)) - shape(t) - 1)) for t in candidates]
    theta = sum(t * w for t, w in zip(candidates, likelihoods, strict=True)) / sum(likelihoods)
    k, sigma = fit_generalised_pareto(torch.tensor(y, dtype=torch.float64).unsqueeze(1))
    assert k.item() == pytest.approx((5 * shape(theta) + 5) / 15, abs=1e-12)
    assert sigma.item() == pytest.approx(-shape(theta) / theta, abs=1e-12)


def test_fit_is_near_maximum_likelihood():
    y = np.sort(scipy.stats.genpareto.rvs(0.6, size=2000, random_state=1))
    shape, _, scale = scipy.stats.genpareto.fit(y, floc=0)
    k, sigma = fit_generalised_pareto(torch.from_numpy(y).unsqueeze(1))
    assert k.item() == pytest.approx((2000 * shape + 5) / 2010, abs=0.01)
    assert sigma.item() == pytest.approx(scale, rel=0.02)


@pytest.mark.parametrize("shape", [0.3, 0.7, 1.5])
def test_khat_of_weights_with_a_pareto_tail(shape):
    # u^-k has the tail index 1/k beyond any threshold; a factor on the weights changes nothing.
    samples, columns = 4000, 200
    log_w = -shape * torch.rand(samples, columns, dtype=torch.float64).log() - 500
    m = tail_length(samples)
    khat = pareto_khat(log_w.topk(m + 1, dim=0).values)
    expected = (m * shape + 5) / (m + 10)
    assert khat.mean().item() == pytest.approx(
        expected, abs=4 * khat.std().item() / math.sqrt(columns) + 0.02
    )


def test_khat_of_a_gaussian_proposal_that_is_too_narrow():
    # w = exp(c z²) under a proposal with the share f² of the posterior's variance has the tail k = 1 − f².
    exact = linear_gaussian(1, 1, orthogonal=True)
    x = exact.sample(300)
    narrow, wide = (nll(linear_vae(exact, widen=f), x, 5000) for f in (0.3, 1.5))
    assert narrow.khat.mean().item() == pytest.approx(1 - 0.3**2, abs=0.1)
    assert narrow.khat_share_bad > 0.7
    assert not narrow.trusted
    assert "k-hat exceeds 0.7" in narrow.warning
    assert wide.khat_share_bad == 0
    assert wide.trusted
    assert wide.warning is None


def test_tail_length_of_the_paper():
    assert [tail_length(s) for s in (10, 20, 21, 100, 225, 1000, 10_000)] == [2, 4, 5, 20, 45, 95, 300]
    assert fewest_samples() == 21


def test_khat_says_when_the_samples_are_too_few():
    exact = linear_gaussian(3, 1, orthogonal=False)
    model, x = linear_vae(exact, widen=1.5), exact.sample(20)
    few, enough = nll(model, x, 20), nll(model, x, 21)
    assert few.khat.isnan().all()
    assert math.isnan(few.khat_share_bad)
    assert "20 samples are too few" in few.warning
    assert "21" in few.warning
    assert not few.trusted
    assert enough.khat.isfinite().all()


@pytest.mark.parametrize(
    ("log_weights_of_one", "expected"),
    [(torch.zeros(200), -math.inf), (torch.arange(200) * -1000.0, math.inf)],
    ids=["constant", "one carries all"],
)
def test_khat_at_the_extremes(log_weights_of_one, expected):
    assert pareto_khat(log_weights_of_one.double().unsqueeze(1)).item() == expected


# ---------------------------------------------------------------- what is left alone, and what repeats
def test_seeds_reproduce_and_nothing_else_changes():
    model = binary_vae(dropout=0.5).train()
    model.compute_dtype = torch.bfloat16
    split = data.load("digits").test.take(30)
    torch.rand(3)
    before = torch.get_rng_state()
    first, again, other = (nll(model, split, 40, seed=seed, precision="fp32") for seed in (5, 5, 6))
    bound(model, split)
    posterior_means(model, split)
    assert torch.equal(first.per_example, again.per_example)
    assert not torch.equal(first.per_example, other.per_example)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert model.compute_dtype is torch.bfloat16
    assert model.eval() is model
    assert torch.equal(nll(model, split, 40, seed=5, precision="fp32").per_example, first.per_example)


def test_everything_is_restored_after_an_error():
    model = binary_vae().train()
    x = torch.cat([binary(3, 1, 8, 8), torch.full((1, 1, 8, 8), 0.5)])
    before = torch.get_rng_state()
    with pytest.raises(SupportError):
        nll(model, x, 10, precision="bf16")
    assert model.training
    assert model.compute_dtype is None
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.is_inference_mode_enabled()


def test_latent_draws_do_not_repeat_the_noise_of_the_data():
    with frozen(binary_vae(), seed=0):
        latent = torch.rand(5)
    assert not torch.equal(latent, torch.rand(5, generator=torch.Generator().manual_seed(0)))


def test_results_can_enter_a_gradient():
    model = binary_vae()
    scale = torch.ones(3, requires_grad=True)
    for tensor in (
        nll(model, binary(3, 1, 8, 8), 2).per_example,
        posterior_means(model, binary(3, 1, 8, 8)).mean[0],
    ):
        (scale * tensor).sum().backward()
    assert scale.grad is not None


def test_bf16_is_for_the_networks_only():
    model, x = binary_vae(), binary(20, 1, 8, 8)
    dtypes = set()
    model.decoder.register_forward_hook(lambda _, __, output: dtypes.add(output.dtype))
    full, half = (nll(model, x, 50, precision=precision) for precision in ("fp32", "bf16"))
    assert dtypes == {torch.float32, torch.bfloat16}
    assert half.value == pytest.approx(full.value, abs=0.1)
    assert half.value != full.value
    with frozen(model, precision="bf16"):
        assert {w.dtype for w in log_weights(model, x, None, 3, 20, "posterior")} == {torch.float32}


def test_limit_takes_the_first_examples():
    exact = linear_gaussian(4, 2, orthogonal=True)
    model, x = linear_vae(exact), exact.sample(20)
    assert nll(model, x, 3, limit=5).value == pytest.approx(nll(model, x[:5], 3).value, abs=1e-9)
    assert nll(model, x, 3, limit=5).n == bound(model, x, limit=5).n == 5
    assert nll(model, x.numpy(), 3, limit=50).n == 20


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"samples": 0}, ConfigError, "samples >= 1"),
        ({"proposal": "postreior"}, ConfigError, "did you mean 'posterior'"),
        ({"precision": "bf61"}, ConfigError, "did you mean 'bf16'"),
        ({"limit": 0}, ConfigError, "limit must be at least 1"),
        ({"memory": 0}, ConfigError, "memory must be positive"),
        ({"split": torch.zeros(0, 1, 8, 8)}, DataError, "no examples"),
        ({"split": torch.zeros(3, 8, 8)}, ShapeError, r"\(1, 8, 8\)"),
        ({"split": torch.zeros(())}, ShapeError, r"\(1, 8, 8\)"),
        ({"split": torch.full((3, 1, 8, 8), 2.0)}, SupportError, "binarise"),
    ],
)
def test_mistakes_are_named(options, error, message):
    with pytest.raises(error, match=message):
        nll(binary_vae(), **{"split": torch.zeros(3, 1, 8, 8), "samples": 4, **options})


def test_a_model_that_gives_nan_is_not_trusted():
    model = binary_vae()
    nn.init.constant_(model.decoder.output.bias, torch.nan)
    result = nll(model, binary(3, 1, 8, 8), 50)
    assert not result.trusted
    assert result.warning == "3 of 3 examples have no finite estimate of log p(x)"
    nn.init.constant_(model.encoder.output.bias, torch.nan)
    numbers = summary(model, binary(3, 1, 8, 8), 50)
    assert numbers["nll"] is None
    assert numbers["kl_per_dimension"] == [None] * 3
    json.dumps(numbers, allow_nan=False)


@pytest.mark.parametrize("evaluate", [nll, bound, posterior_means, summary])
@pytest.mark.parametrize(
    ("terminal", "progress", "drawn"), [(True, None, True), (True, False, False), (False, None, False)]
)
def test_progress_is_for_terminals(capsys, monkeypatch, evaluate, terminal, progress, drawn):
    monkeypatch.setattr("lowerbound.evaluation.stream._PATIENCE", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    evaluate(binary_vae(), binary(3, 1, 8, 8), progress=progress)
    out, err = capsys.readouterr()
    assert out == ""
    assert bool(err) == drawn


def test_many_samples_of_few_examples_move_the_bar_within_a_batch(monkeypatch):
    moves = []

    @contextlib.contextmanager
    def progress_bar(*_, **__):
        yield moves.append

    monkeypatch.setattr("lowerbound.evaluation.stream.progress_bar", progress_bar)
    nll(binary_vae(), binary(3, 1, 8, 8), 1000, memory=0.05)
    assert max(moves) < 0.2
    assert sum(moves) == pytest.approx(3)


# ---------------------------------------------------------------- the latent space
def reading_vae(gains):
    """A model whose posterior mean is the input times ``gains``."""
    latent = len(gains)
    model = constant_vae(Bernoulli(latent), latent)
    with torch.no_grad():
        model.encoder.output.weight[:latent] = torch.diag(torch.tensor(gains))
    return model


def test_active_units_are_those_whose_mean_moves():
    gains = [2.0, 0.22, 0.18, 0.0]
    x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)  # each column has the variance 1/4
    result = active_units(reading_vae(gains), x)
    assert (result.count, result.total) == (2, 4)  # 0.0121 and 0.0081 lie on both sides of 0.01
    torch.testing.assert_close(result.variance, torch.tensor(gains).double().square() / 4)
    assert active_units(reading_vae(gains), x, threshold=0.005).count == 3


def test_posterior_means_come_with_labels_in_order():
    split = data.load("digits").test.take(25)
    model = binary_vae(latent=6)
    codes = posterior_means(model, split, memory=0.01)
    x, _ = next(iter(split.batches(25)))
    torch.testing.assert_close(codes.mean, model.encode(x))
    assert torch.equal(codes.labels, split.labels)
    assert posterior_means(model, x, limit=4).labels is None
    assert posterior_means(model, x, limit=4).mean.shape == (4, 6)


def test_latent_maps_are_flattened():
    latent = (2, 1, 3)
    encoder, decoder = MLP((4,), (2, *latent), hidden=()), MLP(latent, (1, 4), hidden=())
    model = VAE(encoder, DiagonalGaussian(latent), StandardNormal(latent), decoder, Bernoulli(4))
    x = binary(9, 4)
    assert posterior_means(model, x).mean.shape == (9, 6)
    assert active_units(model, x).total == 6
    assert len(summary(model, x, 3)["kl_per_dimension"]) == 6
    assert nll(model, x, 3).n == 9


@pytest.mark.parametrize(
    ("gains", "message"),
    [
        ([0.0] * 4, "posterior collapse"),
        ([3.0, 0, 0, 0], "only 1 of 4"),
        ([3.0, 3.0, 0, 0], None),
        ([3.0] * 4, None),
    ],
)
def test_collapse_is_said(gains, message):
    model = reading_vae(gains)
    x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)
    warning = posterior_collapse_warning(active_units(model, x), bound(model, x))
    assert warning is None if message is None else message in warning
    assert (warning in summary(model, x, 30)["warnings"]) == (warning is not None)


# ---------------------------------------------------------------- the summary
def test_summary_is_what_its_parts_say():
    model, split = binary_vae(), data.load("digits").test.take(60)
    numbers = summary(model, split, 50, naive=True, seed=2, limit=40)
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    result = nll(model, split, 50, proposal="mixture", seed=2, limit=40)
    by_q = nll(model, split, 50, seed=2, limit=40)
    terms = bound(model, split, samples=10, seed=2, limit=40)
    expected = {
        "nll": result.value,
        "nll_stderr": result.stderr,
        "elbo": terms.elbo,
        "elbo_stderr": terms.stderr,
        "reconstruction": terms.reconstruction,
        "kl": terms.kl,
        "kl_per_dimension": terms.kl_per_dimension.tolist(),
        "bits_per_dim": result.value / (64 * math.log(2)),
        "units": "nats",
        "proposal": "mixture",
        "proposal_reason": None,
        "samples": 50,
        "n": 40,
        "split": "test",
        "binarize": "dynamic",
        "ess_median": result.ess_median,
        "khat_share_bad": result.khat_share_bad,
        "active_units": active_units(model, split, limit=40).count,
        "latent": 3,
        "naive_nll": nll(model, split, 50, proposal="prior", seed=2, limit=40).value,
        "naive_n": 40,
        "precision": "fp32",
        "seed": 2,
        "condition": None,
        "given": None,
        "scored": None,
        "posterior_nll": by_q.value,
        "posterior_nll_stderr": by_q.stderr,
        "error": None,
        "error_stderr": None,
    }
    assert {key: numbers[key] for key in expected} == expected
    assert set(numbers) - set(expected) == {*("naive_nll_stderr", "warnings", "seconds", "verdict", "reason")}
    assert summary(model, split, 5, limit=3)["naive_nll"] is None  # only on request


def test_summary_of_few_samples_and_one_example_has_nulls_for_nan():
    numbers = summary(binary_vae(), binary(1, 1, 8, 8), 5, precision="bf16")
    assert numbers["khat_share_bad"] is None
    assert numbers["nll_stderr"] is None
    assert numbers["bits_per_dim"] is None
    assert numbers["split"] is None
    assert numbers["precision"] == "bf16"
    assert any("too few" in warning for warning in numbers["warnings"])
    json.dumps(numbers, allow_nan=False)


def test_a_model_without_condition_is_evaluated_on_data_that_have_one():
    plain, told = lb.data.load("digits"), lb.data.load("digits", condition="label")
    model = lb.VAE.for_data(plain, latent=2)
    found = [lb.evaluate.nll(model, data.test, 5, limit=20).value for data in (plain, told)]
    assert found[0] == found[1]


def test_data_of_other_columns_or_classes_are_refused():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 2)), columns=["a", "b"])
    data = lb.data.load(frame)
    model = lb.VAE.for_data(data, latent=1)
    other = lb.data.load(frame[["b", "a"]])
    with pytest.raises(DataError, match="has the columns b, a; the model was made for a, b, in this order"):
        nll(model, other.test, samples=5)
    with pytest.raises(DataError, match="has the columns b, a"):
        check_start(model, other, lb.objectives.ELBO(), Settings(epochs=1))
    x = rng.normal(size=(60, 2)).astype("f")
    cats, zebras = (
        lb.data.load(x, condition="label", labels=np.array(names)[np.arange(60) % 2])
        for names in (["cat", "dog"], ["cat", "zebra"])
    )
    model = lb.VAE.for_data(cats, latent=1)
    with pytest.raises(DataError, match="in 'label' the classes cat, zebra; the model was made for cat, dog"):
        nll(model, zebras.test, samples=5)


# ---------------------------------------------------------------- the verdict
def result_of(log_p, ess, khat, samples=200):
    n = len(log_p)
    log_p = torch.as_tensor(log_p, dtype=torch.float64)
    of_each = [torch.as_tensor(v, dtype=torch.float64).expand(n) for v in (ess, khat)]
    stderr = (log_p.std() / n**0.5).item()
    return NLL(-log_p.mean().item(), stderr, samples, n, log_p, *of_each, 0.0)


NORMAL = torch.randn(100, generator=torch.Generator().manual_seed(0)).tolist()
SOME_BAD = torch.tensor([0.9] * 20 + [0.1] * 80)


@pytest.mark.parametrize(
    ("result", "word", "reason"),
    [
        (result_of(NORMAL, 100.0, 0.2), "good", "below 0.7 for 100% of the examples"),
        (result_of(NORMAL, 100.0, SOME_BAD), "do not trust", "above 0.7 for 20% of the examples"),
        (
            result_of([*NORMAL, -math.inf], 100.0, 0.2),
            "do not trust",
            "1 of 101 examples have no finite log p(x)",
        ),
        (result_of(NORMAL, 100.0, math.nan), "rough", "200 samples are too few to judge"),
        (result_of(NORMAL, 2.0, 0.2), "rough", "about 0.25 nats too low"),  # (1/2 - 1/200) / 2
        (result_of(NORMAL[:20], 100.0, 0.2), "rough", "20 examples are few"),
        (result_of([*NORMAL, -1e4], 100.0, 0.2), "rough", "number 100, -10000 nats"),
    ],
)
def test_the_verdict_names_its_reason(result, word, reason):
    found, why = verdict(result)
    assert found == word
    assert reason in why
