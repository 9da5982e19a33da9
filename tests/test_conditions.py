"""Conditional models against what is known exactly of them: densities, bounds, classes, hidden conditions."""

import itertools
import math

import numpy as np
import pytest
import torch
from exact import (
    cell_vae,
    conditional_linear_gaussian,
    conditional_linear_vae,
    linear_gaussian,
    log_joint_of_cells,
    raw_scale,
)
from torch import nn
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import MultivariateNormal, Normal

from lowerbound import data
from lowerbound.conditions import Conditions, Image, Label, Map, Observed, PointSet, Vector
from lowerbound.data import Standardize
from lowerbound.errors import ConfigError, ShapeError
from lowerbound.evaluation import bound, nll, summary
from lowerbound.evaluation.stream import Passes
from lowerbound.likelihoods import Bernoulli, Categorical, Gaussian
from lowerbound.model import VAE
from lowerbound.nn import (
    MLP,
    CellDecoder,
    CellEncoder,
    ConvDecoder,
    ConvEncoder,
    ResNetDecoder,
    ResNetEncoder,
)
from lowerbound.nn.cells import lattice, place_cells
from lowerbound.nn.layers import Injection
from lowerbound.objectives import ELBO, ImportanceWeighted, Progress
from lowerbound.posteriors import CellGaussian, DiagonalGaussian, FullCovarianceGaussian
from lowerbound.priors import CellPrior, ConditionalGaussian, StandardNormal

pytestmark = pytest.mark.usefixtures("float64")

START = Progress(total_steps=10)


def close(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def build(condition, likelihood=None, latent=3, posterior=DiagonalGaussian, prior=None, hidden=(8,)):
    """A random model whose encoder, prior and decoder all take the context."""
    likelihood = likelihood or Gaussian(4, scale=0.5)
    posterior = posterior(latent)
    size = condition.context
    return VAE(
        MLP(likelihood.feature_shape, posterior.input_shape, hidden=hidden, context=size),
        posterior,
        prior or ConditionalGaussian(latent, size, hidden=(8,)),
        MLP(posterior.event_shape, likelihood.input_shape, hidden=hidden, context=size),
        likelihood,
        condition=condition,
    )


def monte_carlo_error(result):
    """Standard error of the estimate for fixed examples: Var(log of a mean weight) = 1/ESS − 1/S."""
    return math.sqrt((1 / result.ess - 1 / result.samples).sum().item()) / result.n


# ------------------------------------------------------------------------------------ networks
@pytest.mark.parametrize("hidden", [(4,), (4, 5), (6, 6)])
@pytest.mark.parametrize("residual", [False, True])
def test_a_context_is_concatenated_to_the_input(hidden, residual):
    network = MLP((3,), (2, 2), hidden=hidden, residual=residual, context=2)
    plain = MLP((5,), (2, 2), hidden=hidden, residual=residual)
    rest = dict(network.named_parameters())
    injected = rest.pop("layers.2.map.weight")
    rest["layers.1.weight"] = torch.cat([rest["layers.1.weight"], injected], 1)
    for ours, theirs in zip(plain.parameters(), rest.values(), strict=True):
        ours.data.copy_(theirs)
    x, e = torch.randn(7, 3), torch.randn(7, 2)
    close(network(x, e), plain(torch.cat([x, e], 1)), 1e-12)


def test_an_affine_network_adds_an_affine_map_of_the_context():
    network = MLP((3,), (2,), hidden=(), context=2)
    x, e = torch.randn(7, 3), torch.randn(7, 2)
    by_hand = x @ network.output.weight.T + e @ network.affine.map.weight.T + network.output.bias
    close(network(x, e), by_hand, 1e-12)


def test_film_scales_and_shifts_every_hidden_layer():
    network = MLP((3,), (2,), hidden=(4, 5), injection="film", activation="tanh", context=2)
    _, one, first, _, two, second, _ = network.layers
    x, e = torch.randn(7, 3), torch.randn(7, 2)
    h = x
    for affine, injection in ((one, first), (two, second)):
        nn.init.normal_(injection.map.weight)
        gamma, beta = (e @ injection.map.weight.T).chunk(2, 1)
        h = torch.tanh((1 + gamma) * affine(h) + beta)
    close(network(x, e), network.output(h), 1e-12)


@pytest.mark.parametrize("film", [False, True])
def test_film_of_images_is_one_factor_and_one_shift_per_channel(film):
    injection = Injection(3, 2, film=film)
    h, e = torch.randn(4, 3, 5, 6), torch.randn(4, 2)
    effect = e @ injection.map.weight.T
    gamma, beta = effect.chunk(2, 1) if film else (torch.zeros_like(effect), effect)
    close(injection(h, e), (1 + gamma)[:, :, None, None] * h + beta[:, :, None, None], 1e-12)


CONTEXTUAL = {
    "mlp": lambda: MLP((3,), (1, 4), hidden=(5,), context=2),
    "mlp_affine": lambda: MLP((3,), (1, 4), hidden=(), context=2),
    "mlp_film": lambda: MLP((3,), (1, 4), hidden=(5, 5), residual=True, injection="film", context=2),
    "mlp_gated": lambda: MLP((3,), (1, 4), hidden=(5,), activation="gated", norm=True, context=2),
    "conv_encoder": lambda: ConvEncoder((1, 6, 5), (2, 3), channels=(4,), hidden=5, context=2),
    "conv_decoder": lambda: ConvDecoder((3,), (1, 6, 5), channels=(4, 4), hidden=5, context=2),
    "resnet_encoder": lambda: ResNetEncoder((1, 6, 5), (2, 3), channels=(4,), hidden=5, context=2),
    "resnet_decoder": lambda: ResNetDecoder((3,), (1, 6, 5), channels=(4,), hidden=5, context=2),
    "cell_encoder": lambda: CellEncoder((3,), (2, 5), cells=4, hidden=(5,), context=2),
    "cell_decoder": lambda: CellDecoder((6,), (1, 3), cells=4, hidden=(5,), features=3, context=2),
    "cell_decoder_map": lambda: CellDecoder(
        (4,), (2, 1, 3), cells=2, hidden=(5,), map_shape=(1, 1, 2), context=2
    ),
}
every_network = pytest.mark.parametrize("make", CONTEXTUAL.values(), ids=CONTEXTUAL)


@every_network
def test_samples_of_an_example_share_its_context(make):
    network = make()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, e = torch.randn(3, 5, *network.in_shape), torch.randn(5, 2)
    y = network(x, e)
    assert not torch.allclose(y, network(x, e.flip(0)))
    for s, b in itertools.product(range(3), range(5)):
        close(y[s, b], network(x[s, b : b + 1], e[b : b + 1])[0])
    close(network(x, e[:1]), network(x, e[:1].expand(5, 2)))
    close(network(x[0, 0], e[:1]), network(x, e)[0, 0])


@every_network
@pytest.mark.parametrize("context", [None, torch.zeros(5, 3), torch.zeros(5, 1)])
def test_a_context_of_another_size_is_refused(make, context):
    network = make()
    came = 0 if context is None else context.shape[1]
    with pytest.raises(ShapeError, match=f"takes a context of size 2; got {came}"):
        network(torch.zeros(5, *network.in_shape), context)


def test_a_network_without_context_refuses_one():
    with pytest.raises(ShapeError, match="takes a context of size 0; got 2"):
        MLP((3,), (4,))(torch.zeros(5, 3), torch.zeros(5, 2))


# ------------------------------------------------------------- log p(x | c) in closed form
EXACT = {(o, p): (o, p) for o, p in ((True, "diagonal"), (True, "full"), (False, "full"))}


@pytest.fixture(params=EXACT.values(), ids=lambda pair: f"{'orthogonal' if pair[0] else 'oblique'}-{pair[1]}")
def linear(request):
    """A model at the exact posterior, its closed form, 40 observations and their conditions."""
    orthogonal, posterior = request.param
    exact = conditional_linear_gaussian(5, 3, 2, orthogonal=orthogonal)
    condition = Vector(2).double()
    c = torch.randn(40, 2) * torch.tensor([3.0, 0.2]) + torch.tensor([5.0, -1.0])
    condition.start(c)
    model = conditional_linear_vae(exact, condition, posterior, condition.std, condition.mean)
    return model, exact, exact.marginal(c).sample(), c


def test_posterior_and_prior_are_those_of_the_closed_form(linear):
    model, exact, x, c = linear
    q, p = model.infer(x, c), exact.posterior(x, c)
    close(q.mean, p.mean)
    close(q.variance, p.variance)
    close(model.prior_at(c).mean, exact.prior(c).mean)
    close(model.prior_at(c).variance, exact.prior(c).variance)
    assert model.prior_at(c).batch_shape == (40,)


def test_every_draw_gives_log_p_at_the_exact_posterior(linear):
    model, exact, x, c = linear
    truth = exact.marginal(c).log_prob(x)
    close(model(x, {"vector": c}, samples=6).log_weight, truth.expand(6, 40), 1e-9)
    close(model.log_prob(x, c, samples=3), truth, 1e-9)
    one_by_one = torch.cat([model.log_prob(a[None], b, samples=2) for a, b in zip(x, c, strict=True)])
    close(one_by_one, truth, 1e-9)
    common = exact.marginal(c[:1].expand(40, 2)).log_prob(x)
    close(model.log_prob(x, c[0], samples=2), common, 1e-9)
    assert (common - truth).abs().max() > 1  # the condition matters


@pytest.mark.parametrize(
    "objective",
    [
        ELBO(samples=3, analytic_kl=False),
        ImportanceWeighted(4),
        ImportanceWeighted(4, "stl"),
        ImportanceWeighted(4, "dreg"),
    ],
    ids=["elbo", "standard", "stl", "dreg"],
)
def test_every_objective_reports_log_p(linear, objective):
    model, exact, x, c = linear
    out = objective(model, x, {"vector": c}, START)
    assert out.bound.item() == pytest.approx(exact.marginal(c).log_prob(x).mean().item(), abs=1e-9)
    if getattr(objective, "gradient", "standard") != "standard":
        gradients = torch.autograd.grad(out.loss, list(model.encoder.parameters()))
        assert max(g.abs().max() for g in gradients) < 1e-9


def test_the_closed_form_of_the_kl_gives_the_same_bound(linear):
    model, exact, x, c = linear
    with torch.no_grad():
        bounds = torch.stack([ELBO(samples=50)(model, x, {"vector": c}, START).bound for _ in range(60)])
    off = bounds.mean() - exact.marginal(c).log_prob(x).mean()
    assert off.abs() < 4 * bounds.std() / math.sqrt(60) < 0.1


@pytest.mark.parametrize(
    "given", [lambda c: c, lambda c: {"vector": c}, lambda c: c.numpy(), lambda c: c.tolist()]
)
def test_the_nll_is_exact_and_takes_conditions_of_any_form(linear, given):
    model, exact, x, c = linear
    truth = exact.marginal(c).log_prob(x)
    for memory in (256, 0.002):  # many and few examples in a tile
        result = nll(model, x, 7, c=given(c), memory=memory)
        close(result.per_example, truth, 1e-9)
    close(nll(model, x, 7, c=given(c), limit=9).per_example, truth[:9], 1e-9)
    assert bound(model, x, c=given(c), samples=400).elbo == pytest.approx(truth.mean().item(), abs=0.1)


def test_the_naive_estimate_draws_from_the_conditional_prior():
    exact = conditional_linear_gaussian(3, 2, 2, orthogonal=True, sigma=1.0)
    model = conditional_linear_vae(exact, Vector(2))
    c = torch.randn(20, 2)
    x = exact.marginal(c).sample()
    truth = -exact.marginal(c).log_prob(x).mean().item()
    for memory in (256, 0.05):
        result = nll(model, x, 20_000, c=c, proposal="prior", memory=memory)
        assert abs(result.value - truth) < 4 * monte_carlo_error(result) < 0.05


def test_all_samples_of_a_batch_belong_to_their_own_condition():
    """A condition of three examples must not pass for one of six, nor be recycled."""
    model = build(Vector(2))
    with pytest.raises(ShapeError, match="x is a batch of 6 but the condition one of 3"):
        model(torch.zeros(6, 4), {"vector": torch.zeros(3, 2)}, samples=2)


# ----------------------------------------------------------------------------- prior and posterior
@pytest.mark.parametrize("posterior", [DiagonalGaussian, FullCovarianceGaussian])
@pytest.mark.parametrize("conditional", [False, True], ids=["N(0, I)", "conditional"])
def test_kl_of_each_example_agrees_with_its_draws(posterior, conditional):
    prior = None if conditional else StandardNormal(3)
    model = build(Vector(2), posterior=posterior, prior=prior)
    for parameter in model.parameters():
        parameter.data += 0.5 * torch.randn_like(parameter)
    with torch.no_grad():
        out = model(torch.randn(4, 4), {"vector": torch.randn(4, 2)}, samples=20_000)
    draws = out.log_posterior - out.log_prior
    assert ((out.kl() - draws.mean(0)).abs() < 4 * draws.std(0) / math.sqrt(20_000)).all()
    assert out.p_z.batch_shape == ((4,) if conditional else ())
    if posterior is DiagonalGaussian:
        close(out.kl_per_dimension().sum(1), out.kl())
    # By hand: ln(s/σ) + (σ² + (μ − m)²) / 2s² − ½ for each dimension of a factorised q.
    q, p = out.q, out.p_z
    s2 = p.variance.expand(4, 3)
    if posterior is DiagonalGaussian:
        by_hand = 0.5 * ((s2 / q.variance).log() + (q.variance + (q.mean - p.mean).square()) / s2 - 1).sum(1)
        close(out.kl(), by_hand)


def test_convert_keeps_the_place_in_the_prior():
    exact = conditional_linear_gaussian(5, 2, 2, orthogonal=True)
    model = conditional_linear_vae(exact, Vector(2))
    to_log_scale = 0.3 * torch.randn(2, 2)
    with torch.no_grad():
        model.prior.network.output.weight[2:] = to_log_scale
    x, c_from, c_to = torch.randn(6, 5), torch.randn(6, 2), torch.randn(6, 2)

    def mean_and_scale(c):
        raw = c @ to_log_scale.T + raw_scale(exact.prior_scale)
        return c @ exact.prior_weight.T + exact.prior_mean, (12 * torch.tanh(raw / 12)).exp()

    z = exact.posterior(x, c_from).mean
    (m, s), (m_to, s_to) = mean_and_scale(c_from), mean_and_scale(c_to)
    expected = (m_to + s_to * (z - m) / s) @ exact.weight.T + c_to @ exact.shift.T + exact.mean
    close(model.convert(x, c_from, c_to), expected)
    close(model.convert(x, c_from, c_to[0])[0], expected[0])
    close(model.convert(x, c_from, c_from), model.reconstruct(x, c_from))


def test_convert_keeps_the_code_where_the_prior_does_not_depend_on_the_condition():
    model = build(Label(3), prior=StandardNormal(3))
    x = torch.randn(5, 4)
    close(model.convert(x, 0, [2, 1, 0, 2, 1]), model.decode(model.encode(x, 0), [2, 1, 0, 2, 1]))


# ------------------------------------------------------------------------------ some of x observed
def known_part(x, mask):
    return {"observed": torch.stack([x * mask, mask], 1)}


OBSERVED = {
    "bernoulli": (lambda: Bernoulli(4), lambda p, x: TorchBernoulli(logits=p.logits).log_prob(x)),
    "categorical": (
        lambda: Categorical(4, categories=3),
        lambda p, x: p.logits.log_softmax(-1).gather(-1, x.long().expand(*p.logits.shape[:-1])[..., None])[
            ..., 0
        ],
    ),
    **{
        f"gaussian_{scale}": (
            lambda scale=scale: Gaussian(4, scale=scale),
            lambda p, x: Normal(p.loc, p.scale).log_prob(x),
        )
        for scale in (0.6, "learned", "per_dimension", "predicted", "optimal")
    },
}


def observed_model(likelihood, transform=None):
    condition = Observed(likelihood.event_shape, likelihood.feature_shape, size=5, hidden=(6,), network="mlp")
    model = build(condition, likelihood, latent=2)
    model.transform = transform
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def values_of(likelihood, n=6):
    if isinstance(likelihood, Gaussian):
        return torch.randn(n, 4)
    return torch.randint(getattr(likelihood, "categories", 2), (n, 4)).double()


@pytest.mark.parametrize(
    ("kind", "standardised"),
    [(kind, False) for kind in OBSERVED] + [(kind, True) for kind in OBSERVED if kind.startswith("gaussian")],
)
def test_only_the_missing_elements_are_scored(kind, standardised):
    make, by_hand = OBSERVED[kind]
    likelihood = make()
    std = torch.rand(4) + 0.5
    model = observed_model(likelihood, Standardize(torch.randn(4), std) if standardised else None).eval()
    x, mask = values_of(likelihood), (torch.rand(6, 4) < 0.5).double()
    out = model(x, known_part(x, mask), samples=3)
    u = model.transform(x) if standardised else x
    slope = -std.log() if standardised else torch.zeros(4)
    elementwise = by_hand(out.p_x.base_dist, u) + slope
    expected = torch.stack(
        [sum((elementwise[:, b, d] for d in range(4) if not mask[b, d]), torch.zeros(3)) for b in range(6)], 1
    )
    close(out.log_likelihood, expected)
    assert not torch.allclose(expected, elementwise.sum(-1))
    shown = model.decode(out.z[0], known_part(x, mask))
    assert torch.equal(shown[mask > 0].to(x.dtype), x[mask > 0])  # and the others are the model's
    plain = model.likelihood.point(out.p_x)[0]
    plain = model.transform.inverse(plain) if standardised else plain
    close(shown[mask == 0], plain[mask == 0].to(shown.dtype))


def test_the_optimal_scale_is_the_error_of_the_missing_elements_alone():
    model = observed_model(Gaussian(4)).train()
    x, mask = values_of(model.likelihood), (torch.rand(6, 4) < 0.5).double()
    out = model(x, known_part(x, mask), samples=3)
    missing = (mask == 0).expand(3, 6, 4)
    error = (x - out.p_x.mean).expand(3, 6, 4)[missing]
    sigma = error.square().mean().sqrt()
    expected = torch.where(missing, Normal(out.p_x.mean, sigma).log_prob(x), 0.0).sum(-1)
    close(out.log_likelihood, expected)
    close(model.likelihood.variance, sigma.square())  # what evaluation goes on with
    assert sigma != (x - out.p_x.mean).square().mean().sqrt()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("make", [make for make, _ in OBSERVED.values()], ids=OBSERVED)
def test_the_bound_does_not_depend_on_the_decoders_outputs_at_observed_elements(make, training):
    likelihood = make()
    model = observed_model(likelihood).train(training)
    mask = torch.tensor([1.0, 0, 0, 1])
    x = values_of(likelihood)
    c = known_part(x, mask.expand(6, 4))
    torch.manual_seed(1)
    loss = ELBO()(model, x, c, START).loss
    (gradient,) = torch.autograd.grad(loss, model.decoder.output.bias)
    gradient = gradient.reshape(likelihood.input_shape)
    assert (gradient[:, mask > 0] == 0).all()
    assert (gradient[:, mask == 0] != 0).all()
    with torch.no_grad():
        model.decoder.output.bias.reshape(likelihood.input_shape)[:, mask > 0] += 100.0
    torch.manual_seed(1)
    close(ELBO()(model, x, c, START).loss, loss)


@pytest.mark.parametrize("fill", [7.0, math.nan, math.inf])
def test_what_stands_at_unobserved_places_has_no_influence(fill):
    model = observed_model(Gaussian(4, scale=0.5), Standardize(torch.ones(4), 2 * torch.ones(4)))
    x, mask = torch.randn(6, 4), (torch.rand(6, 4) < 0.5).double()
    c = known_part(x, mask)
    other = {"observed": torch.stack([torch.where(mask > 0, x, fill), mask], 1)}
    model.check(x, other)
    for call in (
        lambda c: model.log_prob(x, c, samples=3, seed=1),
        lambda c: model.sample(6, c, seed=1),
        lambda c: model.encode(x, c),
    ):
        assert torch.equal(call(c), call(other))
    x_elsewhere = known_part(x, 1 - mask)
    assert not torch.allclose(model.encode(x, c), model.encode(x, x_elsewhere))


@pytest.mark.parametrize("standardised", [False, True])
def test_missing_given_observed_in_closed_form(standardised):
    """x ~ N(m, W Wᵀ + σ² I), of which the first three of five values are observed."""
    exact = linear_gaussian(5, 2, orthogonal=False, seed=3)
    seen, hidden = slice(0, 3), slice(3, 5)
    # With orthogonal columns of the observed rows, p(z | observed) factorises, as the prior does.
    weight = exact.weight.clone()
    weight[seen] = torch.linalg.qr(weight[seen]).Q * torch.tensor([1.2, 0.8])
    exact = type(exact)(weight, exact.mean, exact.sigma)
    sub = type(exact)(weight[seen], exact.mean[seen], exact.sigma)
    posterior = FullCovarianceGaussian(2)
    condition = Observed(5, network="mlp", size=10, hidden=())
    model = VAE(
        MLP((5,), posterior.input_shape, hidden=()),
        posterior,
        ConditionalGaussian(2, context=10, hidden=()),
        MLP((2,), (1, 5), hidden=()),
        Gaussian(5, scale=exact.sigma),
        transform=Standardize(torch.randn(5), torch.rand(5) + 0.5) if standardised else None,
        condition=condition,
    )
    with torch.no_grad():
        condition.body.output.weight.copy_(torch.eye(10))
        # Of the prior: q(z | observed); of the encoder: q(z | all of x), for each the exact one.
        gain = torch.linalg.solve(sub.precision, sub.weight.T) / sub.sigma**2
        model.prior.network.output.weight.zero_()[:2, seen] = gain
        model.prior.network.output.weight[:2, hidden] = 1.0  # of no effect: zeros stand there, also of u
        model.prior.network.output.bias.copy_(
            torch.cat([-gain @ sub.mean, raw_scale(sub.precision.diagonal().rsqrt())])
        )
        gain = torch.linalg.solve(exact.precision, exact.weight.T) / exact.sigma**2
        tril = torch.linalg.cholesky(torch.linalg.inv(exact.precision))
        model.encoder.output.weight.zero_()[:2] = gain
        model.encoder.output.bias.copy_(
            torch.cat([-gain @ exact.mean, raw_scale(tril.diagonal()), tril[1:, 0]])
        )
        model.decoder.output.weight.copy_(exact.weight)
        model.decoder.output.bias.copy_(exact.mean)

    u = exact.sample(30)
    truth = exact.marginal().log_prob(u) - sub.marginal().log_prob(u[:, seen])
    x = u
    if standardised:
        x = model.transform.inverse(u)
        truth = truth - model.transform.std[hidden].log().sum()
    mask = torch.zeros(5)
    mask[seen] = 1
    c = known_part(x, mask.expand(30, 5))
    close(model(x, c, samples=4).log_weight, truth.expand(4, 30), 1e-9)
    close(nll(model, x, 5, c=c).per_example, truth, 1e-9)
    # The mean of completions is E[x_m | x_o] by the conditional Gaussian.
    cov = exact.marginal().covariance_matrix
    mean = exact.mean[hidden] + (u[:, seen] - exact.mean[seen]) @ torch.linalg.solve(
        cov[seen, seen], cov[seen, hidden]
    )
    shown = model.decode(model.prior_at(c).mean, c)
    close(shown[:, seen], x[:, seen])
    close(
        shown[:, hidden],
        model.transform.inverse(torch.cat([u[:, seen], mean], 1))[:, hidden] if standardised else mean,
    )


def test_the_dequantisation_constant_counts_for_the_scored_elements():
    split = data.load("digits", binarize="none", dequantize=True, observed="half").test.take(20)
    event = split.spec.event_shape
    likelihood = Gaussian(event, scale=0.5)
    model = VAE(
        MLP(event, (2, 2), hidden=(8,)),
        DiagonalGaussian(2),
        StandardNormal(2),
        MLP((2,), likelihood.input_shape, hidden=(8,), context=4),
        likelihood,
        condition=Observed(event, size=4, network="mlp", hidden=(8,)),
    )
    x, c = next(iter(split.batches(20)))
    c = {name: value.double() for name, value in c.items()}
    volume = split.spec.log_volume
    assert volume > 0
    close(Passes(model, split).log_volume(c), torch.full((20,), volume / 2))
    of_data, of_tensor = nll(model, split, 3), nll(model, x.double(), 3, c=c)
    close(of_data.per_example, of_tensor.per_example - volume / 2)
    assert bound(model, split).elbo == pytest.approx(
        bound(model, x.double(), c=c).elbo - volume / 2, abs=1e-9
    )


# ------------------------------------------------------------------------------ hidden conditions
@pytest.mark.runs
def test_one_model_with_label_dropout_serves_both_p_x_given_c_and_p_x():
    """Two labels of probabilities 0.8 and 0.2; three bits, each 1 with a probability that depends on the label."""
    p_c = torch.tensor([0.8, 0.2])
    p_bit = torch.tensor([[0.9, 0.8, 0.2], [0.1, 0.3, 0.9]])
    every_x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    log_p_x_c = TorchBernoulli(p_bit).log_prob(every_x[:, None]).sum(-1)  # (8, 2)
    log_p_x = (log_p_x_c + p_c.log()).logsumexp(1)

    torch.manual_seed(2)
    model = VAE(
        MLP((3,), (2, 1), hidden=(16,), context=2),
        DiagonalGaussian(1),
        StandardNormal(1),
        MLP((1,), (1, 3), hidden=(16,), context=2),
        Bernoulli(3),
        condition=Label(2, dropout=0.5),
    ).float()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 800)
    objective = ImportanceWeighted(16)
    for _ in range(800):
        y = torch.multinomial(p_c, 256, replacement=True)
        x = torch.bernoulli(p_bit[y]).float()
        optimiser.zero_grad()
        objective(model, x, {"label": y}, START).loss.backward()
        optimiser.step()
        schedule.step()

    model = model.double().eval()

    @torch.no_grad()
    def by_quadrature(c):
        """log p(x | c) of all eight x, c the same for all, by the trapezoidal rule over z."""
        z = torch.linspace(-8, 8, 801)[:, None, None]
        log_joint = model.likelihood_at(z, c).log_prob(every_x) + Normal(0.0, 1.0).log_prob(z[:, 0])
        return log_joint.logsumexp(0) + math.log(16 / 800)

    def divergence(log_p, log_q):
        return (log_p.exp() * (log_p - log_q)).sum().item()

    hidden = by_quadrature(None)
    of_each = torch.stack([by_quadrature(k) for k in range(2)], 1)
    assert hidden.logsumexp(0).item() == pytest.approx(0, abs=1e-6)
    for k in range(2):
        assert divergence(log_p_x_c[:, k], of_each[:, k]) < 0.02
    mixed = (of_each + p_c.log()).logsumexp(1)
    assert divergence(log_p_x, hidden) < 0.02
    assert divergence(mixed, hidden) < 0.02
    # What the tolerances can tell apart: equal shares of the labels, and a missing one that passes for the first.
    assert divergence(log_p_x, (of_each + math.log(0.5)).logsumexp(1)) > 0.1
    assert divergence(log_p_x, of_each[:, 0]) > 0.1


def test_dropout_hides_each_entry_on_its_own_in_training_only():
    conditions = Conditions({"a": Label(3, dropout=0.3), "b": Vector(2, dropout=0.6)}).train()
    n = 20_000
    c = {"a": torch.zeros(n, dtype=torch.int64), "b": torch.ones(n, 2)}
    e = conditions(c)
    a = (e[:, :3] == conditions["a"].null).all(1).double()
    b = (e[:, 3:] == conditions["b"].null).all(1).double()
    assert a.mean().item() == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / n))
    assert b.mean().item() == pytest.approx(0.6, abs=4 * math.sqrt(0.24 / n))
    assert (a * b).mean().item() == pytest.approx(0.18, abs=4 * math.sqrt(0.15 / n))
    close(
        conditions.eval()(c), torch.cat([conditions["a"].table.weight[:1], torch.ones(1, 2)], 1).expand(n, 5)
    )


def test_missing_entries_are_missing_however_they_are_said():
    model = build(Conditions({"a": Label(("x", "y"), missing=True), "b": Vector(2, missing=True)}))
    x, y = torch.randn(3, 4), torch.randn(3, 2)
    y[1] = math.nan
    spoken = model.encode(x, {"a": ["x", None, "y"], "b": y})
    close(
        model.encode(x, {"a": torch.tensor([0, -1, 1]), "b": torch.where(y.isnan(), 0 * y + math.nan, y)}),
        spoken,
    )
    close(model.encode(x[1:2]), spoken[1:2])
    close(model.encode(x[1:2], {"a": None}), spoken[1:2])
    y[1, 0] = 5.0  # one value missing, all missing
    close(model.encode(x, {"a": ["x", None, "y"], "b": y}), spoken)


# ---------------------------------------------------------------------------------------- classes
def test_predict_proba_is_bayes_rule():
    exact = conditional_linear_gaussian(4, 2, 3, orthogonal=True, sigma=1.0)
    label = Label(("a", "b", "c"), size=3).double()
    label.table.weight.data.copy_(torch.eye(3))
    label.start(torch.tensor([0] * 6 + [1] * 3 + [2]))
    model = conditional_linear_vae(exact, label)
    x = exact.marginal(torch.eye(3)).sample((5,)).reshape(15, 4)
    frequency = torch.tensor([0.6, 0.3, 0.1])
    log_p = exact.marginal(torch.eye(3)).log_prob(x[:, None])  # (15, 3)
    # 1e-6: the frequencies are kept in 32 bits
    close(model.predict_proba(x, samples=2), (log_p + frequency.log()).softmax(1), 1e-6)
    assert (log_p.softmax(1) - (log_p + frequency.log()).softmax(1)).abs().max() > 0.05

    label.start(
        torch.tensor([0, 0, 1, -1, -1])
    )  # missing labels do not count; nor can an unseen class be one
    expected = (log_p[:, :2] + torch.tensor([2 / 3, 1 / 3]).log()).softmax(1)
    close(model.predict_proba(x, samples=2), torch.cat([expected, torch.zeros(15, 1)], 1), 1e-6)


def test_predict_proba_goes_by_the_other_entries():
    model = build(Conditions({"label": Label(3), "at": Vector(2)}))
    x, at = torch.randn(5, 4), torch.randn(5, 2)
    found = model.predict_proba(x, 50, c={"at": at}, seed=1)
    log_p = torch.stack([model.log_prob(x, {"label": k, "at": at}, 50, seed=1) for k in range(3)], 1)
    close(found, log_p.softmax(1), 1e-6)
    assert (found - model.predict_proba(x, 50, c={"at": at + 3}, seed=1)).abs().max() > 1e-3
    with pytest.raises(ConfigError, match="'at' is missing"):
        model.predict_proba(x)


def test_predict_proba_by_the_classifier_if_there_is_one():
    model = build(Label(3))
    model.classifier = MLP((4,), (3,), hidden=())
    x = torch.randn(5, 4)
    logits = x @ model.classifier.output.weight.T + model.classifier.output.bias
    close(model.predict_proba(x), logits.softmax(1))
    close(model.classify(x), logits.log_softmax(1))


# ---------------------------------------------------------------------------------------- drawing
def embedded_batches(model):
    """The batch sizes that reach the condition's only entry, from now on."""
    entry, sizes = next(iter(model.condition.entries)), []
    embed = entry.embed

    def counted(value):
        sizes.append(len(value))
        return embed(value)

    entry.embed = counted
    return sizes


@pytest.mark.parametrize("prior", [None, StandardNormal(3)], ids=["conditional", "N(0, I)"])
def test_sample_embeds_one_condition_once(prior):
    model = build(Vector(2), prior=prior)
    sizes = embedded_batches(model)
    model.sample(7, [1.0, 2.0])
    assert sizes == [1]
    model.sample(7, torch.randn(7, 2))
    assert sizes == [1, 7]
    model.decode(torch.randn(2, 7, 3), [1.0, 2.0])
    assert sizes == [1, 7, 1]


@pytest.mark.parametrize("prior", [None, StandardNormal(3)], ids=["conditional", "N(0, I)"])
@pytest.mark.parametrize("n", [1, 5])
def test_samples_come_from_the_prior_of_their_condition(prior, n):
    model = build(Vector(2), prior=prior).double()
    c = torch.randn(n, 2)
    noise = torch.randn(n, 3, generator=torch.Generator().manual_seed(3))
    p_z = model.prior_at(c)
    for temperature in (1.0, 0.5, 0.0):
        z = p_z.mean + temperature * p_z.stddev * noise
        close(model.sample(n, c, temperature=temperature, seed=3), model.decode(z, c))
    close(model.sample(n, c[0], seed=3), model.sample(n, c[:1].expand(n, 2), seed=3))
    assert torch.equal(model.sample(n, c, mean=False, seed=3), model.sample(n, c, mean=False, seed=3))
    assert not torch.equal(model.sample(n, c, seed=3), model.sample(n, c, seed=4))


def test_interpolation_keeps_the_condition():
    model = build(Label(3))
    a, b = torch.randn(2, 4, 4)
    path = model.interpolate(a, b, steps=3, c=2)
    close(path[0], model.reconstruct(a, 2))
    close(path[-1], model.reconstruct(b, 2))
    assert not torch.allclose(path[0], model.reconstruct(a, 1))


# -------------------------------------------------------------------------------------- refusals
def seen(classes, *numbers, **options):
    label = Label(classes, **options)
    label.start(torch.tensor(numbers))
    return label


MODELS = {
    "unconditional": lambda: VAE(
        MLP((4,), (2, 3)), DiagonalGaussian(3), StandardNormal(3), MLP((3,), (1, 4)), Gaussian(4)
    ),
    "label": lambda: build(seen(("cat", "dog", "eel"), 0, 0, 1)),
    "digits": lambda: build(Label(("3", "5", "2"))),
    "vector": lambda: build(Vector(2)),
    "image": lambda: build(Image((1, 2, 2), size=3)),
    "observed": lambda: build(Observed(4, size=3)),
    "two": lambda: build(Conditions({"kind": Label(3), "size": Vector(1)})),
}
REFUSED = [
    ("label", 3, ConfigError, r"label has classes 0..2 \(cat, dog, eel\); got 3"),
    ("label", -2, ConfigError, r"classes 0..2 .*; got -2"),
    ("label", torch.tensor([0, 7, 0]), ConfigError, r"classes 0..2 .*; got 7"),
    ("label", "dogg", ConfigError, "label has no class 'dogg'; did you mean 'dog'"),
    ("label", ["cat", "dogg", "dog"], ConfigError, "did you mean 'dog'"),
    ("label", np.array(["cat", "dogg", "dog"]), ConfigError, "did you mean 'dog'"),
    ("label", "eel", ConfigError, "class 'eel' of label was never seen in training; seen were cat, dog"),
    ("label", 2, ConfigError, "class 'eel' of label was never seen in training"),
    (
        "label",
        None,
        ConfigError,
        "'label' is missing, but the model has only seen it known; give it, or train",
    ),
    ("label", -1, ConfigError, "'label' is missing"),
    ("label", 0.5, ConfigError, "label is a class number or name; got 0.5"),
    ("label", True, ConfigError, "class number or name; got True"),
    ("label", torch.tensor([0.5]), ConfigError, "label is a class; got numbers that are not whole"),
    ("label", torch.zeros(3, 1), ShapeError, r"one class or a batch of classes \(B,\); got shape \(3, 1\)"),
    ("label", [], ShapeError, r"got shape \(0,\)"),
    ("label", [0, 1], ShapeError, "label has 2 values, but 3 examples are asked for; give one, or one each"),
    ("label", {"lable": 0}, ConfigError, "no condition 'lable'; did you mean 'label'"),
    (
        "digits",
        4,
        ConfigError,
        "label has no class '4'; options: 2, 3, 5",
    ),
    ("vector", [1.0, 2.0, 3.0], ShapeError, r"vector has shape \(2,\), or \(B, 2\) for a batch; got \(3,\)"),
    ("vector", torch.zeros(2, 2), ShapeError, "vector has 2 values, but 3 examples are asked for"),
    ("vector", [1.0, math.nan], ConfigError, "'vector' is missing, but the model has only seen it known"),
    ("vector", [1.0, math.inf], ConfigError, "vector holds an infinite value; give finite numbers"),
    ("vector", "red", ConfigError, r"vector needs numbers of shape \(2,\); got str 'red'"),
    ("image", torch.zeros(1, 3, 3), ShapeError, r"image has shape \(1, 2, 2\)"),
    ("image", torch.full((1, 2, 2), math.nan), ConfigError, "'image' is missing"),
    ("image", torch.full((1, 2, 2), math.inf), ConfigError, "image holds an infinite value"),
    ("observed", torch.full((2, 4), 0.5), ConfigError, "the mask of observed must be 1 where"),
    ("observed", torch.tensor([[math.nan] * 4, [1.0] * 4]), ConfigError, "set the mask to 0 there"),
    ("observed", torch.zeros(4), ShapeError, r"observed has shape \(2, 4\)"),
    (
        "two",
        1,
        ConfigError,
        "the model has the conditions kind, size; give them by name, like c={'kind': ...}",
    ),
    ("two", {"kind": 1}, ConfigError, "'size' is missing"),
    ("two", {"kind": 1, "sise": 2.0}, ConfigError, "no condition 'sise'; did you mean 'size'"),
    ("two", {"kind": [0, 1, 2], "size": [1.0, 2.0]}, ShapeError, "size has 2 values, but 3 examples"),
    ("unconditional", 1, ConfigError, "the model takes no condition; leave c out"),
    ("unconditional", {"label": 1}, ConfigError, "the model takes no condition; leave c out"),
]
CALLS = {
    "check": lambda m, c: m.check(torch.zeros(3, 4), c),
    "encode": lambda m, c: m.encode(torch.zeros(3, 4), c),
    "decode": lambda m, c: m.decode(torch.zeros(3, 3), c),
    "reconstruct": lambda m, c: m.reconstruct(torch.zeros(3, 4), c),
    "sample": lambda m, c: m.sample(3, c),
    "log_prob": lambda m, c: m.log_prob(torch.zeros(3, 4), c),
    "nll": lambda m, c: nll(m, torch.zeros(3, 4), 2, c=c),
    "interpolate": lambda m, c: m.interpolate(torch.zeros(3, 4), torch.ones(3, 4), c=c),
}


@pytest.mark.parametrize(("model", "c", "error", "message"), REFUSED)
def test_wrong_conditions_are_refused_with_their_remedy(model, c, error, message):
    model = MODELS[model]()
    for call in CALLS.values():
        with pytest.raises(error, match=message):
            call(model, c)


@pytest.mark.parametrize(
    ("model", "c", "error", "message"),
    [
        ("label", None, ConfigError, "'label' is missing"),
        ("label", {}, ConfigError, "'label' is missing"),
        ("label", {"lable": torch.zeros(3)}, ConfigError, "did you mean 'label'"),
        ("label", 4, ConfigError, "needs the condition as tensors by name; got int"),
        (
            "vector",
            {"vector": torch.zeros(3, 4)},
            ShapeError,
            r"has shape \(3, 2\) for a batch of 3; got \(3, 4\)",
        ),
        ("vector", {"vector": torch.zeros(2, 2)}, ShapeError, "x is a batch of 3 but the condition one of 2"),
        ("two", {"kind": torch.zeros(3, dtype=torch.int64)}, ConfigError, "'size' is missing"),
        ("unconditional", 4, ConfigError, "takes no condition; leave c out"),
        ("unconditional", {"label": torch.zeros(3)}, ConfigError, "takes no condition; leave c out"),
    ],
)
def test_a_pass_refuses_what_it_cannot_embed(model, c, error, message):
    with pytest.raises(error, match=message):
        MODELS[model]()(torch.zeros(3, 4), c)


def assemble(encoder=0, decoder=0, prior=0, condition=None, **options):
    return VAE(
        MLP((4,), (2, 3), context=encoder),
        DiagonalGaussian(3),
        ConditionalGaussian(3, prior) if prior else StandardNormal(3),
        MLP((3,), (1, 4), context=decoder),
        Gaussian(4),
        condition=condition,
        **options,
    )


def test_a_summary_names_the_condition_and_counts_what_is_scored():
    model = observed_model(Gaussian(4, scale=0.5))
    x, mask = torch.randn(12, 4), torch.tensor([1.0, 0, 0, 0]).expand(12, 4)
    numbers = summary(model, x, 30, c=known_part(x, mask))
    assert numbers["condition"] == ["observed"]
    assert numbers["scored"] == pytest.approx(3)
    assert numbers["proposal"] == "mixture"
    assert numbers["posterior_nll"] == nll(model, x, 30, c=known_part(x, mask)).value


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: assemble(condition=Label(5)), ConfigError, "reaches nothing: build .* with context=5"),
        (
            lambda: assemble(encoder=4, condition=Label(5)),
            ShapeError,
            "encoder takes a context of size 4 but .* 5",
        ),
        (lambda: assemble(decoder=4, condition=Label(5)), ShapeError, "decoder takes a context of size 4"),
        (lambda: assemble(prior=4, condition=Label(5)), ShapeError, "prior takes a context of size 4"),
        (lambda: assemble(decoder=5), ShapeError, "takes a context of size 5 but the condition gives 0"),
        (
            lambda: assemble(decoder=5, condition=Label(5), classifier=MLP((4,), (3,))),
            ShapeError,
            r"classifier has out_shape \(3,\) but condition .* needs \(5,\)",
        ),
        (
            lambda: assemble(decoder=2, condition=Vector(2), classifier=MLP((4,), (3,))),
            ConfigError,
            "exactly one label; the model has 0",
        ),
        (lambda: ConditionalGaussian(3), ConfigError, "needs a condition; use 'standard_normal'"),
        (lambda: Conditions({}), ConfigError, "at least one entry"),
        (lambda: Conditions({"a": nn.Linear(2, 2)}), ConfigError, "'a' must be a Condition"),
        (lambda: Label(("a", "a")), ConfigError, "without repetition"),
        (lambda: Label(0), ConfigError, "number of classes"),
        (lambda: Label(3, size=0), ConfigError, "size >= 1; got 0"),
        (lambda: Label(3, dropout=1.0), ConfigError, r"dropout must be a number in \[0, 1\); got 1.0"),
        (lambda: Vector((2, 2)), ConfigError, "for images use Image"),
        (lambda: Image((4, 4)), ConfigError, r"needs \(C, H, W\)"),
        (lambda: Image((1, 4, 4), network="cnov"), ConfigError, "no network 'cnov'; did you mean 'conv'"),
        (lambda: Image((1, 4, 4), network="conv", hidden=(3, 3)), ConfigError, "one fully connected layer"),
        (lambda: Observed(4, network="conv"), ConfigError, "needs images .* use 'mlp'"),
        (lambda: assemble().convert(torch.zeros(2, 4), 0, 1), ConfigError, "needs a model with a condition"),
        (lambda: assemble().predict_proba(torch.zeros(2, 4)), ConfigError, "exactly one label; .* has 0"),
        (lambda: assemble().classify(torch.zeros(2, 4)), ConfigError, "no classifier"),
    ],
)
def test_wrong_parts_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_only_a_factorised_likelihood_can_leave_elements_out():
    class Correlated(Gaussian):
        def forward(self, h):
            return MultivariateNormal(h.squeeze(-2), torch.eye(4))

    model = build(Observed(4, size=3), Correlated(4, scale=1.0))
    with pytest.raises(ConfigError, match=r"factorises over its elements .* MultivariateNormal does not"):
        model(torch.zeros(2, 4), known_part(torch.zeros(2, 4), torch.zeros(2, 4)))


# -------------------------------------------------------------------------------------- precision
def test_16_bit_networks_give_nearly_the_same_log_weights_in_32():
    model = build(
        Conditions({"a": Label(3, missing=True), "b": Vector(2, hidden=(8,))}), Bernoulli(4)
    ).float()
    x = torch.randint(2, (20, 4)).float()
    c = {"a": torch.randint(-1, 3, (20,)), "b": torch.randn(20, 2).float()}
    log_weights = []
    for dtype in (None, torch.bfloat16):
        model.compute_dtype = dtype
        torch.manual_seed(1)
        out = model(x, c, samples=5)
        assert out.log_weight.dtype == out.p_z.mean.dtype == torch.float32
        log_weights.append(out.log_weight)
    torch.testing.assert_close(log_weights[1], log_weights[0], rtol=0.02, atol=0.05)
    assert not torch.equal(*log_weights)


def test_16_bit_weights_give_log_densities_in_32():
    model = build(Label(3)).bfloat16()
    assert model.log_prob(torch.randn(5, 4), 1, samples=2).dtype == torch.float32
    assert model.predict_proba(torch.randn(5, 4), samples=2).sum(1).allclose(torch.ones(5).float(), atol=1e-2)


# -------------------------------------------------------------- grids that say what is where, and sets
def averaging_map(shape, channels, **options):
    """A map whose every weight is positive: a place's feature grows with what lies around it."""
    grid = Map(shape, features=1, channels=channels, **options)
    for name, parameter in grid.named_parameters():
        parameter.data.fill_(0.0 if name.endswith("bias") else 1.0)
    return grid


@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("size", [(8, 16), (16, 8), (12, 20)])
def test_a_map_has_a_place_for_every_block_of_pixels(stages, size):
    grid = averaging_map((1, *size), (1,) * stages, blocks=0)
    step = 2**stages
    rows, columns = size[0] // step, size[1] // step
    assert grid.map_shape == (1, rows, columns)
    assert grid.context == rows * columns
    for row, column in itertools.product(range(rows), range(columns)):
        value = torch.zeros(1, 1, *size)
        value[0, 0, row * step : (row + 1) * step, column * step : (column + 1) * step] = 1
        assert grid(value).argmax().item() == row * columns + column


def test_a_map_moves_with_its_grid_away_from_the_borders():
    grid = Map((2, 64, 48), features=3, channels=(4, 5), blocks=2)
    value = torch.zeros(1, 2, 64, 48)
    value[..., 24:40, 20:28] = torch.randn(2, 16, 8)
    moved = value.roll((4, -8), (2, 3))
    a, b = (grid(v).unflatten(1, grid.map_shape)[0] for v in (value, moved))
    assert a.shape == (3, 16, 12)
    background = grid(torch.zeros(1, 2, 64, 48)).unflatten(1, grid.map_shape)[0, :, 8, 6]
    assert (a - background[:, None, None])[:, 6:10, 5:7].abs().max() > 1e-3
    # From the place of a border the padding is seen as far as stages and dilated blocks reach.
    close(b[:, 5:-5, 4:-4], a.roll((1, -2), (1, 2))[:, 5:-5, 4:-4], 1e-12)


def test_a_map_sees_as_far_as_its_dilations():
    def sees(blocks):
        grid = averaging_map((1, 64, 64), (1,), blocks=blocks)
        value = torch.zeros(1, 1, 64, 64)
        value[0, 0, 32, 32] = 1
        away = (grid(value) - grid(torch.zeros(1, 1, 64, 64))).reshape(32, 32).nonzero() - 16
        return away.abs().max().item()

    assert [sees(blocks) for blocks in range(6)] == [0, 1, 3, 7, 8, 10]


@pytest.mark.parametrize("size", [(8, 16), (16, 8)])
@pytest.mark.parametrize("beside", [False, True])
def test_a_bright_place_of_the_map_is_the_cell_at_that_place(size, beside):
    """The most likely mistake of all: rows are y, columns are x, from the first sample to the last."""
    entries = {"grid": averaging_map((1, *size), (1, 1), blocks=0)}
    if beside:
        entries = {"start": Vector(2), **entries}
    condition = Conditions(entries)
    _, rows, columns = entries["grid"].map_shape
    cells, context = rows * columns, condition.context
    known = {"cells": cells, "map_shape": entries["grid"].map_shape, "context": context}
    latent = (cells + 1,)
    encoder = CellEncoder((2,), (2, *latent), cells=cells, hidden=(4,), context=context)
    decoder = CellDecoder(latent, (1, 2), hidden=(4,), **known)
    # A prior that likes bright places, and a decoder that stays at the centre.
    prior = CellPrior(latent, hidden=(), **known)
    nn.init.constant_(prior.network.output.weight, 50.0)
    if beside:
        nn.init.zeros_(prior.network.affine.map.weight)
    nn.init.zeros_(decoder.body.output.weight)
    model = VAE(
        encoder, CellGaussian(latent, cells), prior, decoder, Gaussian(2, scale=0.1), condition=condition
    )
    # Not the unit square: x goes from 2 to 6 and y from -1 to 0.
    low, high = torch.tensor([2.0, -1.0]), torch.tensor([6.0, 0.0])
    place_cells(encoder, decoder, lattice((2, -1), (6, 0), (columns, rows)), torch.ones(2))
    for row, column in itertools.product(range(rows), range(columns)):
        value = torch.zeros(1, *size)
        value[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 1
        c = {"grid": value, **({"start": [0.3, -2.0]} if beside else {})}
        # The middle of these pixels, where the grid is laid over the box.
        middle = low + (high - low) * torch.tensor([(4 * column + 2) / size[1], (4 * row + 2) / size[0]])
        for draw in (model.sample(8, c, seed=0), model.sample(8, c, spread=True, seed=0)):
            close(draw, middle.expand(8, 2))
        near = (middle + torch.tensor([0.1, -0.02])).unsqueeze(0)
        k = model.encode(near, c)[0, :cells].argmax().item()
        assert k == row * columns + column == model.prior_at(c).probs.argmax().item()


def test_a_condition_of_a_map_is_that_of_its_own_example():
    grid = Map((1, 8, 12), features=2, channels=(3,), blocks=1)
    condition = Conditions({"start": Vector(2), "grid": grid})
    model = cell_vae(condition, cells=24)
    c = {"start": torch.randn(5, 2), "grid": torch.randn(5, 1, 8, 12)}
    x = torch.randn(5, 2)
    together = model(x, c, samples=3)
    for i in range(5):
        alone = {name: value[i : i + 1] for name, value in c.items()}
        close(model.infer(x[i : i + 1], alone).mean, together.q.mean[i : i + 1])
        close(model.prior_at(alone).probs, together.p_z.probs[i : i + 1])
        close(model.likelihood_at(together.z[:, i : i + 1], alone).mean, together.p_x.mean[:, i : i + 1])
    common = {name: value[:1] for name, value in c.items()}
    each = {name: value.expand(5, *value.shape[1:]) for name, value in common.items()}
    close(model.likelihood_at(together.z, common).mean, model.likelihood_at(together.z, each).mean)


def test_a_set_has_no_order_and_what_is_no_row_does_not_count():
    entry = PointSet((6, 3), size=5, hidden=(8,)).eval()
    rows = torch.randn(4, 3)
    nothing = torch.full((1, 3), torch.nan)
    whole = torch.cat([rows, nothing, nothing]).unsqueeze(0)
    e = entry(whole)
    for _ in range(5):
        close(entry(whole[:, torch.randperm(6)]), e)
    partly = whole.clone()
    partly[0, 4, 1:] = 7.0  # with a NaN it is still no row
    close(entry(partly), e)
    wider = PointSet((9, 3), size=5, hidden=(8,)).eval()
    wider.load_state_dict(entry.state_dict())
    close(wider(torch.cat([whole, nothing.expand(1, 3, 3)], 1)), e)
    assert (entry(whole[:, [0, 0, 1, 2, 3, 5]]) - e).abs().max() > 1e-6  # a row that comes twice does count
    other = whole.clone()
    other[0, 3, 0] += 0.1
    assert (entry(other) - e).abs().max() > 1e-6
    # Of several sets each is embedded by itself.
    both = torch.cat([whole, torch.randn(1, 6, 3)])
    close(entry(both)[:1], e)


def test_a_set_takes_fewer_rows_from_the_user():
    entry = PointSet((3, 2), size=4, hidden=(5,), missing=True)
    read = entry.read([[1.0, 2.0]], "boxes")
    assert torch.equal(read.nan_to_num(-9), torch.tensor([[[1.0, 2.0], [-9, -9], [-9, -9]]]))
    assert entry.read(np.ones((7, 2, 2)), "boxes").isnan().sum(1).tolist() == [[1, 1]] * 7
    assert torch.equal(entry.read(torch.ones(3, 2), "boxes"), torch.ones(1, 3, 2))
    assert not entry.known(entry.read(np.zeros((0, 2)), "boxes")).any()
    with pytest.raises(ShapeError, match=r"boxes has shape \(3, 2\)"):
        entry.read(np.ones((4, 2)), "boxes")
    with pytest.raises(ShapeError, match=r"boxes has shape \(3, 2\)"):
        entry.read(np.ones((1, 3)), "boxes")
    with pytest.raises(ConfigError, match="boxes needs numbers"):
        entry.read([["a", "b"]], "boxes")


def test_sets_are_standardised_by_their_rows():
    values = torch.randn(40, 6, 3) * torch.tensor([3.0, 0.2, 1.0]) + torch.tensor([5.0, -1.0, 0.0])
    values[..., 2] = 4.0
    values[torch.rand(40, 6) < 0.4] = torch.nan
    entry = PointSet((6, 3), size=4, hidden=(5,))
    entry.start(values)
    rows = values[~values.isnan().any(-1)]
    torch.testing.assert_close(entry.mean, rows.mean(0))
    torch.testing.assert_close(entry.std[:2], rows.std(0, correction=0)[:2])
    assert entry.std[2] == 1  # a constant column is left alone


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Map((8, 8)), r"Map needs a grid \(C, H, W\); got \(8, 8\)"),
        (lambda: Map((1, 8, 8), channels=()), "channels must be a non-empty tuple"),
        (lambda: Map((1, 8, 8), features=0), "features must be a positive integer"),
        (lambda: Map((1, 8, 8), blocks=-1), "blocks must be a positive integer"),
        (lambda: PointSet((8,)), r"PointSet needs rows of numbers \(N, D\); got \(8,\)"),
        (lambda: PointSet((8, 2), hidden=()), "hidden must be a non-empty tuple"),
        (lambda: CellGaussian(4, cells=4), r"cells=4 needs a latent \(K \+ L,\)"),
        (lambda: CellGaussian(4, cells=0), r"cells=0 needs a latent \(K \+ L,\)"),
        (lambda: CellGaussian((4, 4), cells=2), r"cells=2 needs a latent \(K \+ L,\)"),
        (lambda: CellPrior(8, cells=6, map_shape=(2, 2, 2), context=8), "is not one of 6 cells"),
        (lambda: CellPrior(8, cells=6, map_shape=(2, 3, 2), context=11), "in a context of 11"),
        (lambda: CellDecoder((8,), (2,), cells=6), r"needs out_shape \(P, \*event\)"),
        (lambda: CellEncoder((2,), (2, 6), cells=6), r"cells=6 needs a latent \(K \+ L,\)"),
    ],
)
def test_wrong_maps_sets_and_cells_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


# ------------------------------------------------------------------------- a latent with cells, exactly
CELLS = {
    "plain": lambda: (None, 6),
    "vector": lambda: (Conditions({"start": Vector(2)}), 6),
    "map": lambda: (Conditions({"grid": Map((1, 4, 6), features=2, channels=(3,), blocks=1)}), 6),
    "vector, map": lambda: (
        Conditions({"start": Vector(2), "grid": Map((1, 5, 3), features=2, channels=(3,), blocks=1)}),
        6,
    ),
}


@pytest.fixture(params=CELLS.values(), ids=CELLS)
def with_cells(request):
    """A model with cells, points, their conditions, and log p(x, k | c) by quadrature."""
    condition, cells = request.param()
    model = cell_vae(condition, cells).eval()
    c = None
    if condition is not None:
        c = {name: torch.randn(12, *entry.value_shape) for name, entry in condition.items()}
    x = model.sample(12, c, mean=False)
    return model, x, c, log_joint_of_cells(model, x, c)


class Undecided(nn.Module):
    """A ``CellEncoder`` that holds every cell possible, so that q reaches wherever p does."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.context = encoder, encoder.context

    def forward(self, x, context=None):
        h = self.encoder(x, context) if self.context else self.encoder(x)
        far = 0.3 * torch.cdist(x, self.encoder.centres)
        return torch.cat([torch.stack([-far, far], 1), h[..., self.encoder.cells :]], -1)


def test_the_quadrature_is_that_of_its_own_grid(with_cells):
    model, x, c, joint = with_cells
    finer = log_joint_of_cells(model, x, c, half_width=10, points=2001)
    close(finer.logsumexp(1), joint.logsumexp(1), 1e-9)


def test_the_bound_of_a_model_with_cells_lies_below_log_p(with_cells):
    model, x, c, joint = with_cells
    far = (x[:, None] - model.encoder.centres).square().sum(-1)
    of_cell = joint.gather(1, far.argmin(1, keepdim=True)).squeeze(1)
    log_p = joint.logsumexp(1)
    with torch.no_grad():
        out = model(x, c, samples=20_000)
    draws = out.log_likelihood
    elbo = draws.mean(0) - out.kl()
    error = draws.std(0) / math.sqrt(len(draws))
    assert (elbo - 4 * error <= of_cell).all()
    assert (of_cell <= log_p).all()
    assert (log_p - of_cell).max() > 1e-3  # some points could have come from another cell than theirs
    # The same by the draws alone: log w has the ELBO for its mean, and its weights sum to p(x, k(x) | c).
    weights = out.log_weight
    assert ((weights.mean(0) - elbo).abs() < 5 * weights.std(0) / math.sqrt(len(draws))).all()
    estimate = weights.logsumexp(0) - math.log(len(weights))
    spread = ((2 * weights).logsumexp(0) - 2 * weights.logsumexp(0)).exp() - 1 / len(weights)
    assert ((estimate - of_cell).abs() < 5 * spread.sqrt()).all()
    assert spread.sqrt().median() < 0.02


def test_importance_sampling_gives_log_p_where_q_reaches_every_cell(with_cells):
    model, x, c, joint = with_cells
    log_p = joint.logsumexp(1)
    model.encoder = Undecided(model.encoder)
    result = nll(model, x, 20_000, c=c)
    error = (1 / result.ess - 1 / result.samples).sqrt()
    assert ((result.per_example - log_p).abs() < 5 * error).all()
    assert error.median() < 0.03


def test_draws_from_a_prior_with_cells_give_log_p_whatever_q_is(with_cells):
    model, x, c, joint = with_cells
    result = nll(model, x, 20_000, c=c, proposal="prior")
    error = (1 / result.ess - 1 / result.samples).sqrt()
    assert ((result.per_example - joint.logsumexp(1)).abs() < 5 * error).all()
    assert error.median() < 0.1


def test_the_density_of_a_model_with_cells_integrates_to_one():
    model = cell_vae(Conditions({"start": Vector(2)}))
    axis = torch.linspace(-7.5, 7.5, 61)
    x = torch.cartesian_prod(axis, axis)
    c = {"start": torch.tensor([[0.5, -1.0]])}
    mass = log_joint_of_cells(model, x, c, points=81).exp().sum(0) * 0.25**2
    assert mass.sum().item() == pytest.approx(1, abs=1e-4)
    close(mass, model.prior_at(c).probs[0], 1e-4)


@pytest.mark.parametrize("objective", [ELBO(), ImportanceWeighted(1), ImportanceWeighted(3, "dreg")])
def test_the_priors_scores_learn_by_cross_entropy(objective):
    model = cell_vae()
    nn.init.normal_(model.prior.logits)
    x = 1.5 * torch.randn(30, 2)
    k = (x[:, None] - model.encoder.centres).square().sum(-1).argmin(1)
    assert len(k.unique()) > 3
    out = objective(model, x, None, START)
    (gradient,) = torch.autograd.grad(out.loss, model.prior.logits)
    logits = model.prior.logits.detach().requires_grad_()
    nn.functional.cross_entropy(logits.expand(30, 6), k).backward()
    close(gradient, logits.grad)


def test_networks_with_cells_in_16_bits_find_the_same_cells():
    model = cell_vae(
        Conditions({"start": Vector(2), "grid": Map((1, 4, 6), channels=(3,), blocks=1)})
    ).float()
    x, c = (
        torch.randn(200, 2).float(),
        {"start": torch.randn(200, 2).float(), "grid": torch.randn(200, 1, 4, 6)},
    )
    c["grid"] = c["grid"].float()
    exact = model(x, c)
    model.compute_dtype = torch.bfloat16
    coarse = model(x, c)
    assert torch.equal(exact.q.mean[:, :6], coarse.q.mean[:, :6])
    assert coarse.log_weight.dtype == torch.float32
    assert coarse.z.dtype == coarse.p_x.mean.dtype == torch.float32
    torch.testing.assert_close(coarse.p_z.probs, exact.p_z.probs, rtol=0, atol=0.02)
    model.compute_dtype = None
    assert model.bfloat16()(x, c).log_weight.dtype == torch.float32
    assert model.sample(3, {name: value[0] for name, value in c.items()}, spread=True).isfinite().all()


def test_only_completion_that_was_trained_goes_with_cells():
    model = cell_vae()
    for method in (None, "importance", "gibbs"):
        with pytest.raises(ConfigError, match="no posterior leads out of a discrete one"):
            model.complete(torch.zeros(3, 2), torch.tensor([True, False]), method=method)


def test_a_cell_has_no_place_in_the_prior():
    model = cell_vae(Conditions({"start": Vector(2)}))
    with pytest.raises(ConfigError, match="CellPrior under a condition has none"):
        model.convert(torch.zeros(3, 2), [0.0, 0.0], [1.0, 1.0])


def test_a_summary_says_if_x_could_have_come_from_other_cells():
    """With z from the prior, which reaches them all, the estimate is then above that of the posterior."""
    warned = {}
    for sigma in (0.02, 1.0):
        model = cell_vae(sigma=sigma)
        nn.init.zeros_(model.decoder.body.output.weight)
        nn.init.zeros_(model.decoder.body.output.bias)
        x = model.sample(100, mean=False, seed=1)
        numbers = summary(model, x, samples=500)
        warned[sigma] = any("others could have given x too" in warning for warning in numbers["warnings"])
        joint = log_joint_of_cells(model, x)
        far = (x[:, None] - model.encoder.centres).square().sum(-1)
        of_cell = joint.gather(1, far.argmin(1, keepdim=True)).squeeze(1)
        assert numbers["nll"] == pytest.approx(-of_cell.mean().item(), abs=0.05)
        gap = (joint.logsumexp(1) - of_cell).mean()
        assert (gap > 0.1) == warned[sigma]
    assert warned == {0.02: False, 1.0: True}


def test_active_units_are_those_of_the_gaussian_part():
    units = summary(cell_vae(), torch.randn(50, 2), samples=10)
    assert units["latent"] == 1
    assert units["kl_per_dimension"] is None
