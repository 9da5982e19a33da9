"""The model: what fits, what is refused, what is repeatable, and densities in the units of the data."""

import math
import threading

import pytest
import torch
from exact import cell_vae, linear_gaussian, linear_vae
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

import lowerbound.model
from lowerbound.conditions import Conditions, Vector
from lowerbound.data.transforms import Standardize
from lowerbound.errors import ConfigError, ShapeError, SupportError
from lowerbound.likelihoods import Bernoulli, Categorical, ContinuousBernoulli, Gaussian
from lowerbound.model import VAE
from lowerbound.nn import MLP, ConvDecoder, ConvEncoder
from lowerbound.objectives import ELBO, ImportanceWeighted, Progress
from lowerbound.posteriors import DiagonalGaussian, FullCovarianceGaussian
from lowerbound.priors import ConditionalGaussian, StandardNormal
from lowerbound.using import slerp

pytestmark = pytest.mark.usefixtures("float64")


def build(likelihood, latent=3, posterior=DiagonalGaussian, **options):
    posterior = posterior(latent)
    encoder = MLP(likelihood.feature_shape, posterior.input_shape, hidden=(8,), **options)
    decoder = MLP(posterior.event_shape, likelihood.input_shape, hidden=(8,), **options)
    return VAE(encoder, posterior, StandardNormal(latent), decoder, likelihood)


def observations(model, n=5):
    with torch.no_grad():
        return model.sample(n, mean=False, seed=7)


LIKELIHOODS = {
    "bernoulli": lambda: Bernoulli((1, 3, 2)),
    "continuous_bernoulli": lambda: ContinuousBernoulli(4),
    "categorical": lambda: Categorical((2, 3), categories=4),
    "gaussian": lambda: Gaussian(4, scale=0.5),
    "gaussian_optimal": lambda: Gaussian((1, 3, 2)),
    "gaussian_predicted": lambda: Gaussian((2, 3), scale="predicted"),
}
every_likelihood = pytest.mark.parametrize("likelihood", LIKELIHOODS.values(), ids=LIKELIHOODS)


@pytest.fixture
def model():
    return build(Gaussian(4, scale=0.5))


# --------------------------------------------------------------------------------------- shapes
@every_likelihood
@pytest.mark.parametrize("posterior", [DiagonalGaussian, FullCovarianceGaussian])
@pytest.mark.parametrize("batch", [1, 5])
def test_axes_are_samples_batch_event(likelihood, posterior, batch):
    model = build(likelihood(), posterior=posterior)
    event, x = model.event_shape, observations(model, batch)
    out = model(x, samples=2)
    assert out.z.shape == (2, batch, 3)
    for term in (out.log_likelihood, out.log_prior, out.log_posterior, out.log_weight):
        assert term.shape == (2, batch)
    assert out.kl().shape == out.kl(analytic=False).shape == model.log_prob(x, samples=4).shape == (batch,)
    assert model.infer(x).batch_shape == (batch,)
    assert model.encode(x).shape == model.encode(x, sample=True).shape == (batch, 3)
    assert model.decode(model.encode(x)).shape == model.reconstruct(x).shape == (batch, *event)
    assert model.reconstruct(x, sample=True).shape == (batch, *event)
    assert model.interpolate(x, x.flip(0), steps=4).shape == (4, batch, *event)
    assert model.sample().shape == (1, *event)
    assert model.sample(6, mean=False).shape == (6, *event)
    assert model.decode(torch.zeros(3)).shape == event
    assert model.decode(torch.zeros(2, 3, batch, 3)).shape == (2, 3, batch, *event)
    assert model.likelihood_at(torch.zeros(2, batch, 3)).batch_shape == (2, batch)


@settings(max_examples=25, deadline=None)
@given(
    latent=st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple),
    event=st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple),
    batch=st.integers(1, 3),
    samples=st.integers(1, 3),
)
def test_latents_and_observations_have_any_shape(latent, event, batch, samples):
    model = build(Gaussian(event, scale="predicted"), latent)
    x = torch.randn(batch, *event, dtype=model.dtype)
    out = model(x, samples=samples)
    assert out.z.shape == (samples, batch, *latent)
    assert out.log_weight.shape == (samples, batch)
    assert out.kl_per_dimension().shape == (batch, *latent)
    assert model.interpolate(x, x, steps=2).shape == (2, batch, *event)


def test_convolutions_see_samples_and_batch_as_one_axis():
    likelihood, latent = Bernoulli((1, 6, 5)), (2, 3, 1)
    posterior = DiagonalGaussian(latent)
    encoder = ConvEncoder(likelihood.feature_shape, posterior.input_shape, channels=(4,), hidden=8)
    decoder = nn.Sequential(nn.Flatten(), ConvDecoder((6,), likelihood.input_shape, channels=(4,), hidden=8))
    model = VAE(encoder, posterior, StandardNormal(latent), decoder, likelihood)
    x = observations(model, 2)
    out = model(x, samples=3)
    for s in range(3):
        one = model.likelihood_at(out.z[s]).log_prob(x)
        torch.testing.assert_close(out.log_likelihood[s], one)


class Undeclared(nn.Module):
    """A network that does not state its shapes."""

    def __init__(self, inputs, *outputs):
        super().__init__()
        self.linear = nn.Linear(inputs, math.prod(outputs))
        self.outputs = outputs

    def forward(self, x):
        return self.linear(x.flatten(1)).reshape(len(x), *self.outputs)


def assemble(encoder=None, decoder=None, posterior=None, prior=None, likelihood=None):
    return VAE(
        encoder or MLP((4,), (2, 3)),
        posterior or DiagonalGaussian(3),
        prior or StandardNormal(3),
        decoder or MLP((3,), (1, 4)),
        likelihood or Gaussian(4),
    ).double()


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ({"prior": StandardNormal(2)}, r"posterior has latent shape \(3,\) but prior has \(2,\)"),
        ({"encoder": MLP((5,), (2, 3))}, r"encoder has in_shape \(5,\) but likelihood Gaussian needs \(4,\)"),
        (
            {"encoder": MLP((4,), (3,))},
            r"encoder has out_shape \(3,\) but posterior DiagonalGaussian needs \(2, 3\)",
        ),
        (
            {"decoder": MLP((2,), (1, 4))},
            r"decoder has in_shape \(2,\) but prior StandardNormal needs \(3,\)",
        ),
        (
            {"decoder": MLP((3,), (4,))},
            r"decoder has out_shape \(4,\) but likelihood Gaussian needs \(1, 4\)",
        ),
        ({"likelihood": Bernoulli(5)}, r"in_shape \(4,\) but likelihood Bernoulli needs \(5,\)"),
        (
            {"posterior": FullCovarianceGaussian(3)},
            r"out_shape \(2, 3\) but posterior FullCovarianceGaussian needs \(9,\)",
        ),
    ],
)
def test_slots_that_do_not_fit_are_named_with_both_shapes(slots, message):
    with pytest.raises(ShapeError, match=message):
        assemble(**slots)


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ({"encoder": Undeclared(4, 6)}, r"DiagonalGaussian needs \(2, 3\) per example .* got \(6,\)"),
        ({"encoder": Undeclared(4, 3)}, r"DiagonalGaussian needs \(2, 3\) per example .* got \(3,\)"),
        ({"decoder": Undeclared(3, 4)}, r"Gaussian needs \(1, 4\) per example .* got \(4,\)"),
        ({"decoder": Undeclared(3, 2, 4)}, r"Gaussian needs \(1, 4\) per example .* got \(2, 4\)"),
        ({"decoder": Undeclared(3, 4), "likelihood": Bernoulli(4)}, r"Bernoulli needs \(1, 4\)"),
    ],
)
@pytest.mark.parametrize("batch", [1, 5])
def test_networks_that_do_not_state_their_shapes_are_checked_by_the_first_batch(slots, message, batch):
    with pytest.raises(ShapeError, match=message):
        assemble(**slots)(torch.zeros(batch, 4))


def test_undeclared_networks_that_fit_are_welcome():
    assemble(encoder=Undeclared(4, 2, 3), decoder=Undeclared(3, 1, 4))(torch.zeros(5, 4), samples=2)


# ------------------------------------------------------------------------------------ wrong calls
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m(torch.zeros(1, 3, 2)), ShapeError, r"use x.unsqueeze\(0\)"),
        (lambda m: m(torch.zeros(5, 3, 2)), ShapeError, r"x.reshape\(-1, 1, 3, 2\)"),
        (lambda m: m(torch.zeros(5, 6)), ShapeError, r"x.reshape\(-1, 1, 3, 2\)"),
        (lambda m: m(torch.zeros(3, 2)), ShapeError, r"event shape \(1, 3, 2\) but came as \(3, 2\)"),
        (lambda m: m(torch.zeros(())), ShapeError, "one batch axis comes first"),
        (lambda m: m(torch.zeros(5, 1, 2, 3)), ShapeError, "likelihood Bernoulli has event shape"),
        (lambda m: m.encode(torch.zeros(3, 2)), ShapeError, "batch axis"),
        (lambda m: m.infer(torch.zeros(3, 2)), ShapeError, "batch axis"),
        (lambda m: m.reconstruct(torch.zeros(1, 3, 2)), ShapeError, "unsqueeze"),
        (lambda m: m.log_prob(torch.zeros(1, 3, 2)), ShapeError, "unsqueeze"),
        (lambda m: m.log_prob(torch.full((5, 1, 3, 2), 0.5)), SupportError, "binarise"),
        (lambda m: m.check(torch.full((5, 1, 3, 2), math.nan)), SupportError, "Bernoulli needs x in"),
        (lambda m: m.log_prob(torch.zeros(5, 1, 3, 2), samples=0), ConfigError, "samples >= 1; got 0"),
        (lambda m: m(torch.zeros(5, 1, 3, 2), samples=-1), ConfigError, "samples >= 1; got -1"),
        (lambda m: m.decode(torch.zeros(5, 4)), ShapeError, r"codes have shape \(..., 3\); got \(5, 4\)"),
        (lambda m: m.decode(torch.zeros(())), ShapeError, r"codes have shape \(..., 3\); got \(\)"),
        (lambda m: m.likelihood_at(torch.zeros(2)), ShapeError, "codes have shape"),
        (lambda m: m.sample(0), ConfigError, "n >= 1; got 0"),
        (lambda m: m.sample(-3), ConfigError, "n >= 1; got -3"),
        (lambda m: m.interpolate(*torch.zeros(2, 5, 1, 3, 2), steps=1), ConfigError, "steps >= 2; got 1"),
        (lambda m: m.interpolate(*torch.zeros(2, 5, 1, 3, 2), method="bent"), ConfigError, "got 'bent'"),
        (
            lambda m: m.interpolate(torch.zeros(2, 1, 3, 2), torch.zeros(3, 1, 3, 2)),
            ShapeError,
            "2 starts and 3 ends",
        ),
        *[
            (
                lambda m, f=f: f(m, seed=1, generator=torch.Generator()),
                ConfigError,
                "either seed= or generator=, not both",
            )
            for f in (
                lambda m, **o: m.sample(2, **o),
                lambda m, **o: m.encode(torch.zeros(5, 1, 3, 2), **o),
                lambda m, **o: m.decode(torch.zeros(5, 3), **o),
                lambda m, **o: m.reconstruct(torch.zeros(5, 1, 3, 2), **o),
                lambda m, **o: m.log_prob(torch.zeros(5, 1, 3, 2), **o),
            )
        ],
    ],
)
def test_wrong_calls_are_refused_with_their_remedy(call, error, message):
    with pytest.raises(error, match=message):
        call(build(Bernoulli((1, 3, 2))))


# ------------------------------------------------------------------------------------- randomness
DRAWS = {
    "encode": lambda m, **o: m.encode(torch.ones(5, 4), sample=True, **o),
    "decode": lambda m, **o: m.decode(torch.ones(5, 3), sample=True, **o),
    "reconstruct": lambda m, **o: m.reconstruct(torch.ones(5, 4), sample=True, **o),
    "sample": lambda m, **o: m.sample(5, **o),
    "sample x": lambda m, **o: m.sample(5, mean=False, **o),
    "log_prob": lambda m, **o: m.log_prob(torch.ones(5, 4), samples=3, **o),
}
every_draw = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.encode(torch.ones(5, 4)),
        lambda m: m.decode(torch.ones(5, 3)),
        lambda m: m.reconstruct(torch.ones(5, 4)),
        lambda m: m.interpolate(torch.ones(5, 4), torch.zeros(5, 4)),
    ],
)
def test_deterministic_unless_asked_and_draws_nothing(model, call):
    state = torch.get_rng_state()
    assert torch.equal(call(model), call(model))
    assert torch.equal(state, torch.get_rng_state())


@every_draw
def test_a_seed_repeats_a_draw_and_leaves_the_global_generator(model, draw):
    state = torch.get_rng_state()
    first = draw(model, seed=3)
    assert torch.equal(first, draw(model, seed=3))
    assert not torch.equal(first, draw(model, seed=4))
    assert torch.equal(state, torch.get_rng_state())


@every_draw
def test_a_generator_repeats_a_draw_and_moves_on(model, draw):
    state = torch.get_rng_state()
    generator = torch.Generator().manual_seed(3)
    first, second = draw(model, generator=generator), draw(model, generator=generator)
    assert not torch.equal(first, second)
    generator.manual_seed(3)
    assert torch.equal(first, draw(model, generator=generator))
    assert torch.equal(second, draw(model, generator=generator))
    assert torch.equal(state, torch.get_rng_state())


@every_draw
def test_without_a_seed_the_global_generator_draws(model, draw):
    torch.manual_seed(5)
    first, second = draw(model), draw(model)
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    assert torch.equal(first, draw(model))


def test_an_error_inside_a_seeded_draw_leaves_the_global_generator(model):
    state = torch.get_rng_state()
    with pytest.raises(ShapeError):
        model.encode(torch.ones(5, 3), sample=True, seed=1)
    assert torch.equal(state, torch.get_rng_state())


def test_reconstruct_draws_code_and_observation_from_different_noise():
    """One seed for both draws, restarted, would give the noise of x the numbers of the noise of z."""
    model = build(Gaussian(3, scale=0.5))
    x = torch.ones(5, 3)
    z = model.encode(x, sample=True, seed=3)
    y = model.reconstruct(x, sample=True, seed=3)
    noise_z = (z - model.infer(x).mean) / model.infer(x).stddev
    noise_x = (y - model.decode(z)) / 0.5
    assert not torch.allclose(noise_z, noise_x)


def test_a_draw_of_the_code_has_the_posterior_as_its_distribution(model):
    x, n = torch.ones(1, 4), 4000
    z = model.encode(x.expand(n, 4), sample=True)
    q = model.infer(x)
    assert ((z.mean(0) - q.mean[0]).abs() < 4 * q.stddev[0] / math.sqrt(n)).all()
    assert ((z.var(0) / q.variance[0] - 1).abs() < 4 * math.sqrt(2 / n)).all()


def test_encode_and_decode_give_the_means(model):
    x = torch.randn(5, 4)
    torch.testing.assert_close(model.encode(x), model.infer(x).mean)
    z = torch.randn(5, 3)
    torch.testing.assert_close(model.decode(z), model.likelihood_at(z).mean)
    torch.testing.assert_close(model.reconstruct(x), model.decode(model.encode(x)))


def test_temperature_scales_the_prior_draw(model):
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(3))
    for temperature in (0.0, 0.5, 1.0):
        drawn = model.sample(5, temperature=temperature, seed=3)
        torch.testing.assert_close(drawn, model.decode(temperature * z))


# ------------------------------------------------------------------------------------ evenly spread samples
def shows_its_codes(latent=3, prior=None, condition=None):
    """A model whose mean observation is the code itself."""
    decoder = MLP((latent,), (1, latent), hidden=())
    nn.init.eye_(decoder.output.weight)
    encoder = MLP((latent,), (2, latent), hidden=())
    prior, likelihood = prior or StandardNormal(latent), Gaussian(latent, scale=0.1)
    return VAE(encoder, DiagonalGaussian(latent), prior, decoder, likelihood, condition=condition)


def shows_its_cell(cells=6, condition=None):
    """A model whose mean observation is the centre of its cell; and the cells' probabilities are uneven."""
    model = cell_vae(condition, cells)
    nn.init.zeros_(model.decoder.body.output.weight)
    nn.init.zeros_(model.decoder.body.output.bias)
    if condition is None:
        nn.init.normal_(model.prior.logits, std=1.5)
    return model


def cells_of(model, x):
    far = (x[:, None] - model.decoder.centres).norm(dim=-1)
    assert far.amin(1).max() < 1e-9
    return far.argmin(1)


@pytest.mark.parametrize("n", [64, 256])
def test_spread_codes_have_one_value_in_every_stratum_of_every_dimension(n):
    strata = (n * torch.special.ndtr(shows_its_codes().sample(n, spread=True, seed=1))).long()
    assert all(sorted(column.tolist()) == list(range(n)) for column in strata.T)
    # Of two dimensions together too: an 8 x n/8 grid of boxes has one each.
    boxes = set(zip((strata[:, 0] // (n // 8)).tolist(), (strata[:, 1] // 8).tolist(), strict=True))
    assert len(boxes) == n
    loose = (n * torch.special.ndtr(shows_its_codes().sample(n, seed=1))).long()
    assert len(loose[:, 0].unique()) < 0.8 * n


def test_spread_codes_follow_the_prior_of_their_condition():
    condition = Conditions({"start": Vector(2)})
    prior = ConditionalGaussian(3, 2, hidden=(5,))
    model = shows_its_codes(prior=prior, condition=condition)
    model.prior.network.output.weight.data.normal_()
    p = model.prior_at([1.0, -2.0])
    z = model.sample(512, [1.0, -2.0], spread=True, seed=1)
    u = torch.special.ndtr((z - p.mean) / p.stddev)
    assert all(sorted((512 * column).long().tolist()) == list(range(512)) for column in u.T)


@pytest.mark.slow
def test_each_spread_code_alone_has_the_law_of_the_prior():
    model = shows_its_cell()
    first = torch.stack([model.sample(3, spread=True, seed=seed)[1] for seed in range(600)])
    counts = torch.bincount(cells_of(model, first), minlength=6)
    expected = 600 * model.prior_at().probs.detach()
    assert stats.chisquare(counts, expected).pvalue > 1e-3
    model = shows_its_codes(2)
    values = torch.cat([model.sample(3, spread=True, seed=seed)[1:2] for seed in range(600)])
    assert stats.kstest(values[:, 0], "norm").pvalue > 1e-3
    assert stats.kstest(values[:, 1], "norm").pvalue > 1e-3


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize(("n", "most"), [(64, 2), (512, 2), (100, 6)])
def test_spread_samples_give_every_cell_its_share(conditional, n, most):
    """A cell's interval holds its share of a (0, m, 1)-net, up to its two ends; 100 = 64 + 32 + 4 are three nets."""
    model = shows_its_cell(20, Conditions({"start": Vector(2)}) if conditional else None)
    c = [1.0, -0.5] if conditional else None
    expected = n * model.prior_at(c).probs.detach().reshape(-1)
    for seed in range(5):
        counts = torch.bincount(cells_of(model, model.sample(n, c, spread=True, seed=seed)), minlength=20)
        assert (counts - expected).abs().max() <= most
    loose = torch.bincount(cells_of(model, model.sample(n, c, seed=0)), minlength=20)
    assert (loose - expected).abs().max() > 2


def test_spread_samples_repeat_by_their_seed_alone(model):
    draw = [model.sample(20, spread=True, seed=seed) for seed in (3, 3, 4)]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    before = torch.get_rng_state()
    model.sample(20, spread=True, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(model.sample(20, spread=True), model.sample(20, spread=True))
    generators = [torch.Generator().manual_seed(5) for _ in range(2)]
    assert torch.equal(*[model.sample(20, spread=True, generator=generator) for generator in generators])
    halved = model.sample(20, spread=True, temperature=0.0, seed=3)
    torch.testing.assert_close(halved, model.decode(torch.zeros(20, 3)))


def test_spread_samples_of_float32_are_finite():
    model = shows_its_codes().float()
    x = torch.cat([model.sample(4096, spread=True, seed=seed) for seed in range(3)])
    assert x.dtype == torch.float32
    assert x.isfinite().all()


def test_what_cannot_be_spread_is_refused():
    condition = Conditions({"start": Vector(2)})
    many = shows_its_codes(prior=ConditionalGaussian(3, 2), condition=condition)
    wide = VAE(
        MLP((4,), (2, 2, 3)),
        DiagonalGaussian((2, 3)),
        StandardNormal((2, 3)),
        MLP((2, 3), (1, 4)),
        Gaussian(4),
    )
    for model, c in ((many, torch.randn(5, 2)), (wide, None)):
        with pytest.raises(ConfigError, match="need a prior over vectors that factorises"):
            model.sample(5, c, spread=True)
    assert many.sample(5, torch.randn(1, 2), spread=True).shape == (5, 3)
    for spread in (False, True):
        with pytest.raises(ConfigError, match="CellPrior has one-hot values, so no temperature"):
            cell_vae().sample(5, temperature=0.5, spread=spread)


@every_likelihood
def test_samples_of_any_likelihood_are_in_its_support(likelihood):
    model = build(likelihood())
    model.check(observations(model, 5))


# --------------------------------------------------------------------------------- train and eval
def test_dropout_is_off_in_what_users_call_and_the_mode_comes_back():
    model = build(Gaussian(4, scale=0.5), dropout=0.5).train()
    x = torch.randn(5, 4)
    for call in (
        lambda: model.encode(x),
        lambda: model.reconstruct(x),
        lambda: model.sample(5, seed=1),
        lambda: model.log_prob(x, samples=3, seed=1),
        lambda: model.interpolate(x, x),
    ):
        assert torch.equal(call(), call())
        assert all(part.training for part in model.modules())
    with pytest.raises(ShapeError):
        model.encode(x[0])
    assert all(part.training for part in model.modules())


def test_parts_frozen_in_evaluation_mode_stay_so():
    model = build(Gaussian(4)).train()
    model.encoder.eval()
    model.reconstruct(torch.randn(5, 4))
    assert not any(part.training for part in model.encoder.modules())
    assert model.training
    assert model.decoder.training


def test_a_part_left_in_training_mode_is_switched_off_too():
    model = build(Gaussian(4, scale=0.5), dropout=0.5).eval()
    model.encoder.train()
    x = torch.randn(5, 4)
    assert torch.equal(model.encode(x), model.encode(x))
    assert model.encoder.training
    assert not model.decoder.training


def test_an_estimate_leaves_the_running_variance_of_the_optimal_scale():
    model = build(Gaussian(4)).train()
    model.log_prob(torch.randn(5, 4))
    assert model.likelihood.seen == 0


# --------------------------------------------------------------------------------- interpolation
@pytest.mark.parametrize("method", ["spherical", "linear"])
@pytest.mark.parametrize("batch", [1, 5])
def test_interpolation_ends_are_the_reconstructions(model, method, batch):
    a, b = torch.randn(2, batch, 4)
    path = model.interpolate(a, b, steps=5, method=method)
    torch.testing.assert_close(path[0], model.reconstruct(a))
    torch.testing.assert_close(path[-1], model.reconstruct(b))


def test_linear_interpolation_takes_equal_steps_along_the_chord(model):
    a, b = torch.randn(2, 5, 4)
    codes = torch.stack([torch.lerp(model.encode(a), model.encode(b), w) for w in torch.linspace(0, 1, 5)])
    torch.testing.assert_close(model.interpolate(a, b, steps=5, method="linear"), model.decode(codes))


def turned(a, b, n=7):
    return torch.stack([slerp(a, b, w) for w in torch.linspace(0, 1, n)])


@pytest.mark.parametrize("shape", [(2,), (6,), (2, 3, 1)])
def test_slerp_keeps_the_norm_of_codes_of_equal_norm(shape):
    a, b = torch.randn(2, 4, *shape)
    b = b * (a.flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)).reshape(-1, *[1] * len(shape))
    norms = turned(a, b).flatten(2).norm(dim=2)
    torch.testing.assert_close(norms, norms[:1].expand_as(norms))


def test_slerp_changes_the_norm_linearly():
    a, b = torch.randn(4, 5), 3 * torch.randn(4, 5)
    norms = turned(a, b).norm(dim=2)
    weights = torch.linspace(0, 1, 7).unsqueeze(1)
    torch.testing.assert_close(norms, torch.lerp(norms[:1], norms[-1:], weights))


def test_slerp_turns_by_equal_angles():
    path = nn.functional.normalize(turned(*torch.randn(2, 4, 5)), dim=2)
    angles = (path[1:] * path[:-1]).sum(2).acos()
    torch.testing.assert_close(angles, angles[:1].expand_as(angles))
    whole = (path[0] * path[-1]).sum(1).acos()
    torch.testing.assert_close(angles.sum(0), whole)


def test_slerp_of_perpendicular_codes_at_one_third_is_thirty_degrees():
    z = slerp(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]]), 1 / 3)
    torch.testing.assert_close(z, torch.tensor([[2 * math.cos(math.pi / 6), 2 * math.sin(math.pi / 6)]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [1.0, 2.5, -1.0, -2.0, 0.0])
def test_slerp_of_parallel_opposite_and_zero_codes_goes_along_the_chord(factor, dtype):
    a = torch.tensor([[1.0, 2.0, -1.0]], dtype=dtype)
    path = turned(a, factor * a, 5)
    assert path.isfinite().all()
    torch.testing.assert_close(path[0], a)
    torch.testing.assert_close(path[-1], factor * a)
    if factor:
        expected = torch.lerp(torch.ones(()), torch.tensor(factor), torch.linspace(0, 1, 5))
        torch.testing.assert_close(path, (expected.reshape(5, 1, 1) * a).to(dtype))


@pytest.mark.parametrize("angle", [1e-5, 1e-3, math.pi - 1e-3])
def test_slerp_of_nearly_parallel_and_nearly_opposite_codes_keeps_the_norm_in_float32(angle):
    a = torch.tensor([[1.0, 0.0]], dtype=torch.float32)
    b = torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float32)
    norms = turned(a, b).norm(dim=2)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=2e-3)


# ------------------------------------------------------------------------------------- transforms
def standardised(model, mean, std):
    return VAE(
        model.encoder, model.posterior, model.prior, model.decoder, model.likelihood, Standardize(mean, std)
    )


def test_a_transform_changes_log_densities_by_minus_the_sum_of_log_std(model):
    mean, std = torch.randn(4), torch.rand(4) + 0.5
    other = standardised(model, mean, std)
    u = torch.randn(5, 4)
    x = u * std + mean
    change = -std.log().sum()
    torch.testing.assert_close(
        other.log_prob(x, samples=7, seed=1), model.log_prob(u, samples=7, seed=1) + change
    )

    torch.manual_seed(1)
    plain = model(u, samples=3)
    torch.manual_seed(1)
    out = other(x, samples=3)
    torch.testing.assert_close(out.log_likelihood, plain.log_likelihood + change)
    torch.testing.assert_close(out.kl(), plain.kl())


def test_a_transformed_density_integrates_to_one():
    likelihood = Gaussian(1, scale=0.5)
    model = standardised(build(likelihood, latent=1), torch.tensor([2.0]), torch.tensor([3.0]))
    x = torch.linspace(-40, 40, 2001).unsqueeze(1)
    out = model(torch.zeros(1, 1))
    density = (out.p_x.log_prob(model.transform(x)) + out.log_volume).exp().flatten().detach()
    assert torch.trapezoid(density, x.flatten()).item() == pytest.approx(1, abs=1e-8)


def test_inputs_and_outputs_stay_in_the_units_of_the_data(model):
    mean, std = torch.randn(4), torch.rand(4) + 0.5
    other = standardised(model, mean, std)
    u = torch.randn(5, 4)
    x = u * std + mean
    torch.testing.assert_close(other.encode(x), model.encode(u))
    for method, plain, transformed in (
        ("reconstruct", model.reconstruct(u), other.reconstruct(x)),
        ("reconstruct, drawn", *(m.reconstruct(v, sample=True, seed=1) for m, v in ((model, u), (other, x)))),
        ("sample", model.sample(5, seed=1), other.sample(5, seed=1)),
        ("sample x", *(m.sample(5, mean=False, seed=1) for m in (model, other))),
        ("interpolate", model.interpolate(u, u.flip(0)), other.interpolate(x, x.flip(0))),
    ):
        torch.testing.assert_close(transformed, plain * std + mean, msg=method)


def test_log_prob_rises_to_the_evidence_of_a_linear_gaussian_model():
    encoder, decoder = Undeclared(3, 2, 1), Undeclared(1, 1, 3)
    model = VAE(encoder, DiagonalGaussian(1), StandardNormal(1), decoder, Gaussian(3, scale=0.8))
    encoder.linear.weight.data[1], encoder.linear.bias.data[1] = 0, 0.5  # wider than the posterior
    weight, bias = decoder.linear.weight.detach(), decoder.linear.bias.detach()
    covariance = weight @ weight.T + 0.64 * torch.eye(3)
    x = torch.randn(5, 3)
    evidence = torch.distributions.MultivariateNormal(bias, covariance).log_prob(x)
    torch.testing.assert_close(model.log_prob(x, samples=20_000), evidence, rtol=0, atol=0.02)


# ---------------------------------------------------------------------------------------- precision
@every_likelihood
def test_networks_in_16_bits_give_log_densities_in_32(likelihood):
    model = build(likelihood()).float()
    x = observations(model, 5)
    types = []
    for network in (model.encoder, model.decoder):
        network.register_forward_hook(lambda module, inputs, output: types.append(output.dtype))
    torch.manual_seed(1)
    plain = ImportanceWeighted(4)(model.eval(), x, None, Progress()).bound
    model.compute_dtype = torch.bfloat16
    torch.manual_seed(1)
    out = model(x, samples=4)
    assert types[2:] == [torch.bfloat16] * 2
    for term in (out.z, out.log_likelihood, out.log_prior, out.log_posterior, out.kl()):
        assert term.dtype == torch.float32
    # bfloat16 keeps 8 bits: 2⁻⁸ of a bound of a few nats per example
    torch.manual_seed(1)
    torch.testing.assert_close(
        ImportanceWeighted(4)(model, x, None, Progress()).bound, plain, rtol=0.02, atol=0.02
    )


def test_a_model_whose_weights_have_16_bits_gives_log_densities_in_32():
    model = build(Gaussian(4, scale=0.5)).bfloat16()
    out = model(torch.randn(5, 4, dtype=torch.float32), samples=2)
    for term in (out.log_likelihood, out.log_prior, out.log_posterior, out.kl()):
        assert term.dtype == torch.float32
    assert model.log_prob(torch.randn(5, 4)).isfinite().all()


def test_training_in_16_bits_gives_32_bit_gradients_to_every_parameter():
    model = build(Bernoulli(4)).float()
    model.compute_dtype = torch.bfloat16
    ELBO()(model, torch.ones(5, 4, dtype=torch.float32), None, Progress()).loss.backward()
    for parameter in model.parameters():
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()


def test_inputs_of_other_types_are_taken():
    model = build(Gaussian(4, scale=0.5)).float()
    for x in (torch.ones(2, 4, dtype=torch.float64), torch.ones(2, 4, dtype=torch.int64), [[1, 1, 1, 1]] * 2):
        torch.testing.assert_close(model.encode(x), model.encode(torch.ones(2, 4, dtype=torch.float32)))


# ------------------------------------------------------------------------------------------ the rest
def test_held_posterior_is_q_without_a_path_to_the_encoder(model):
    out = model(torch.randn(5, 4))
    z = out.z.detach()
    torch.testing.assert_close(out.view.along(out.draw.walk.evidence, z).log_q_held, out.log_posterior)
    assert not out.view.along(out.draw.walk.evidence, z).log_q_held.requires_grad


@every_likelihood
def test_state_dict_gives_the_same_numbers(likelihood):
    model, copy = build(likelihood()), build(likelihood())
    x = observations(model, 5)
    copy.load_state_dict(model.state_dict())
    assert torch.equal(model.log_prob(x, samples=3, seed=1), copy.log_prob(x, samples=3, seed=1))


def test_moves_of_device_and_type(device):
    model = build(Bernoulli(4)).to(device, torch.float32)
    x = model.sample(5, mean=False, seed=3)
    assert x.device.type == model.device.type == torch.device(device).type
    assert x.dtype == model.dtype == torch.float32
    assert torch.equal(x, model.sample(5, mean=False, seed=3))
    generator = torch.Generator(device).manual_seed(3)
    first, second = model.sample(5, generator=generator), model.sample(5, generator=generator)
    assert not torch.equal(first, second)
    assert model.log_prob(x.cpu(), samples=3).device.type == model.device.type


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second kind of device")
def test_a_generator_on_another_device_is_refused():
    with pytest.raises(ConfigError, match="generator is on cpu but the model is on cuda"):
        build(Bernoulli(4)).cuda().sample(2, generator=torch.Generator())


def test_seeded_draws_in_threads_are_those_of_one_thread_and_leave_the_generator_alone(model):
    reference, before, different = model.sample(4, seed=0), torch.get_rng_state(), []

    def draw():
        different.extend(not torch.equal(model.sample(4, seed=0), reference) for _ in range(40))

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(different) == 160
    assert not any(different)
    assert torch.equal(torch.get_rng_state(), before)


def test_interpolation_turns_about_the_mean_of_the_prior_in_units_of_its_scales(monkeypatch):
    prior = ConditionalGaussian(3, 2, hidden=())
    with torch.no_grad():
        prior.network.output.weight.zero_()
        prior.network.output.bias.copy_(torch.tensor([5.0, -4.0, 9.0, 0.7, -0.5, 0.0]))
    condition = Conditions({"start": Vector(2)})
    decoder = MLP((3,), (1, 4))
    model = VAE(MLP((4,), (2, 3)), DiagonalGaussian(3), prior, decoder, Gaussian(4), condition=condition)
    monkeypatch.setattr(model, "decode", lambda z, c=None: z)
    z = model.interpolate(torch.randn(6, 4), torch.randn(6, 4), steps=3, c=[0.0, 0.0])
    p = model.prior_at([0.0, 0.0])
    radius = ((z - p.mean) / p.stddev).norm(dim=-1)
    torch.testing.assert_close(radius[1], (radius[0] + radius[2]) / 2)


def test_log_prob_of_many_examples_is_that_of_each_whatever_is_held_at_once(monkeypatch):
    exact = linear_gaussian(4, 2, orthogonal=True)
    model, x = linear_vae(exact), exact.sample(11)
    monkeypatch.setattr(lowerbound.model, "_AT_ONCE", 3 * 5 * 4)  # three examples of five samples
    passes = []
    model.encoder.register_forward_hook(lambda module, inputs, output: passes.append(len(output)))
    torch.testing.assert_close(model.log_prob(x, samples=5), exact.marginal().log_prob(x))
    assert passes == [3, 3, 3, 2]
