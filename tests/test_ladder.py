"""Latents of several levels: exact where they can be, free where q is p, sampled and trained level by level."""

import math

import pytest
import torch
from scipy import stats
from torch.distributions import Independent, MultivariateNormal, Normal

import lowerbound as lb
from lowerbound import posteriors, priors
from lowerbound.errors import ConfigError
from lowerbound.nn.order import Raster
from lowerbound.objectives import ELBO, Linear, Progress
from lowerbound.posteriors.ladder import changed
from lowerbound.testing import check_exact

pytestmark = pytest.mark.usefixtures("float64")


def raw(scale):
    """The number whose bounded exponential is ``scale``."""
    return 12 * math.atanh(math.log(scale) / 12)


class Told(torch.nn.Module):
    """An affine encoder."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = torch.nn.Parameter(weight), torch.nn.Parameter(bias)

    def forward(self, x):
        return x @ self.weight.T + self.bias


def linear_ladder(merge="residual"):
    """z1 ~ N(0, I), z2 | z1 ~ N(A z1 + a, s² I), x | z2 ~ N(W z2, r² I), under its exact posterior; and log p(x).

    Columns of A and of W are orthogonal, so that both parts of the posterior factorise.
    """
    s, r, stretch = 0.7, 0.5, 1.3
    a_map = torch.linalg.qr(torch.randn(3, 2))[0] * torch.tensor([1.5, 0.4])
    a, w = torch.randn(3), stretch * torch.linalg.qr(torch.randn(6, 3))[0]
    m, c = w @ a_map, s**2 * w @ w.T + r**2 * torch.eye(6)  # x | z1 ~ N(m z1 + w a, c)
    precision = torch.eye(2) + m.T @ torch.linalg.solve(c, m)
    gain = torch.linalg.solve(precision, torch.linalg.solve(c, m).T)
    # Of z2 given z1 and x the precision is 1 / s² + stretch² / r², and the vote of x, N(wᵀx, r²) / stretch².
    total = 1 / s**2 + stretch**2 / r**2

    prior = priors.Ladder(5, sizes=[2, 3], hidden=())
    posterior = posteriors.Ladder(5, sizes=[2, 3], hidden=(), features=6, merge=merge)
    head, network = prior.heads[0].output, posterior.networks[0]
    decoder = torch.nn.Sequential(torch.nn.Linear(5, 6, bias=False), torch.nn.Unflatten(-1, (1, 6)))
    with torch.no_grad():
        head.weight.copy_(torch.cat([a_map, torch.zeros(3, 2)]))
        head.bias.copy_(torch.cat([a, torch.full((3,), raw(s))]))
        decoder[0].weight.copy_(torch.cat([torch.zeros(6, 2), w], 1))
        for parameter in network.parameters():
            parameter.zero_()
        if merge == "residual":
            # mean − (A z1 + a) = (wᵀx / r² − stretch² / r² (A z1 + a)) / total, in units of s
            network.affine.map.weight[:3] = w.T / r**2 / total / s
            network.output.weight[:3] = -(stretch**2) / r**2 / total / s * a_map
            network.output.bias[:3] = -(stretch**2) / r**2 / total / s * a
            network.output.bias[3:] = raw(total**-0.5 / s)
        else:
            network.output.weight[:3] = w.T / stretch**2
            network.output.bias[3:] = raw(r / stretch)
    weight = torch.cat([gain, torch.zeros(2, 6), torch.eye(6)])
    scales = torch.tensor([raw(v**-0.5) for v in precision.diagonal().tolist()])
    bias = torch.cat([-gain @ w @ a, scales, torch.zeros(6)])
    model = lb.VAE(
        Told(weight, bias), posterior, prior, decoder, lb.likelihoods.Gaussian(6, scale=r)
    ).double()
    return model, MultivariateNormal(w @ a, c + m @ m.T).log_prob


@pytest.mark.parametrize("merge", ["residual", "precision"])
def test_weights_are_constant_at_the_exact_posterior_of_two_levels(merge):
    model, log_prob = linear_ladder(merge)
    x = torch.randn(4, 6)
    check_exact(model, x, log_prob(x))


# ------------------------------------------------------------------------------------------ q = p costs nothing
def of_digits(**slots):
    data = lb.data.load("digits")
    torch.manual_seed(0)
    network = {"type": "mlp", "hidden": [16]}
    return data, lb.VAE.for_data(data, **{"network": network, **slots}).double()


LADDERS = {
    "ladder": {
        "latent": 6,
        "posterior": {"type": "ladder", "sizes": 3},
        "prior": {"type": "ladder", "sizes": 3},
    },
    "conv_ladder": {"posterior": "conv_ladder", "prior": "conv_ladder"},
}


@pytest.mark.parametrize("slots", LADDERS.values(), ids=LADDERS)
def test_a_model_for_data_begins_with_levels_that_cost_nothing(slots):
    data, model = of_digits(**slots)
    x = data.train.batch(torch.arange(9))[0].double()
    out = model(x, samples=4)
    first = 0 if slots["prior"] == "conv_ladder" else 1  # the first level has no p to change but N(0, I)
    for number, (kl, sampled) in enumerate(
        zip(out.draw.kl_of_levels(), out.draw.kl_of_levels(analytic=False), strict=True)
    ):
        assert bool((kl == 0).all()) == (number >= first)
        assert bool((sampled == 0).all()) == (number >= first)
    out.log_likelihood.sum().backward()
    assert all(
        network.output.weight.grad.any()
        for name, network in model.posterior.named_modules()
        if name.startswith(("networks.", "changes.")) and name.count(".") == 1
    )


def test_a_change_moves_by_scales_and_multiplies_them():
    p = Independent(Normal(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])), 1)
    q = changed(p, torch.tensor([[[2.0, -1.0], [raw(0.1), raw(4.0)]]]), 1)
    torch.testing.assert_close(q.mean, torch.tensor([[2.0, -5.0]]))
    torch.testing.assert_close(q.stddev, torch.tensor([[0.05, 12.0]]))


# ------------------------------------------------------------------------------------------------- the objective
def test_kl_of_levels_sum_to_the_kl_and_are_those_of_each(monkeypatch):
    model, _ = linear_ladder()
    out = model(torch.randn(3, 6), samples=2)
    first, second = out.draw.kl_of_levels()
    torch.testing.assert_close(out.kl(), first + second)
    q, p = out.draw.q[1], out.draw.p[1]
    by_hand = (
        (p.stddev / q.stddev).log() + (q.variance + (q.mean - p.mean) ** 2) / (2 * p.variance) - 0.5
    ).sum(-1)
    torch.testing.assert_close(second, by_hand.mean(0))


def test_free_bits_of_levels_hold_each_level_at_the_floor():
    model, _ = linear_ladder()
    x, start = torch.randn(5, 6), Progress()

    def loss(**options):
        torch.manual_seed(3)
        return ELBO(free_bits_of="level", **options)(model, x, None, start)

    plain = loss()
    kl = [plain.terms["kl_level_1"], plain.terms["kl_level_2"]]
    floor = float(sum(kl) / 2)
    low, high = sorted(kl)
    assert low < floor < high
    torch.testing.assert_close(loss(free_bits=floor).loss, plain.loss + floor - low)
    assert loss(free_bits=floor).bound == plain.bound
    falling = Linear(floor, 0.0, 0.5, "fraction")
    torch.testing.assert_close(loss(free_bits=falling).loss, plain.loss + floor - low)
    torch.testing.assert_close(
        ELBO(free_bits_of="level", free_bits=falling)(
            model, x, None, Progress(fraction=0.5)
        ).bound.isfinite(),
        torch.tensor(True),
    )


def test_free_bits_of_a_level_need_no_factorised_posterior():
    _, model = of_digits(latent=4, prior="gaussian_mixture")
    ELBO(free_bits=1.0, free_bits_of="level").check(model, Progress())
    with pytest.raises(ConfigError, match="free_bits_of='level'"):
        ELBO(free_bits=1.0).check(model, Progress())
    with pytest.raises(ConfigError, match="'dimension' or 'level'"):
        ELBO(free_bits_of="scale")


# ------------------------------------------------------------------------------------------------- sampling
def test_each_level_has_its_temperature():
    model, _ = linear_ladder()
    cold = model.sample(3000, temperature=(0.0, 1.0), seed=0)
    head = model.prior.heads[0].output
    w = model.decoder[0].weight[:, 2:]
    middle = w @ head.bias[:3]
    error = 5 * 0.7 * 1.3 / math.sqrt(3000)
    assert (cold.mean(0) - middle).abs().max() < error
    spread = torch.cov(cold.T)
    assert (spread - 0.49 * w @ w.T).abs().max() < 0.15  # of z2 alone
    torch.testing.assert_close(model.sample(2, temperature=(0.0, 0.0)), middle.expand(2, -1))
    assert torch.equal(model.sample(4, temperature=(1, 1), seed=1), model.sample(4, seed=1))
    spread = torch.cov(model.sample(2000, temperature=(0.0, 1.0), spread=True, seed=1).T)
    assert (spread - 0.49 * w @ w.T).abs().max() < 0.05
    for bad in ((1.0,), (1.0, 1.0, 1.0), (1.0, -1.0), math.nan):
        with pytest.raises(ConfigError, match="one for each of the 2 levels"):
            model.sample(2, temperature=bad)


def test_levels_below_those_that_know_of_x_are_the_priors():
    model, _ = linear_ladder()
    x = torch.randn(2, 6)
    first, second = model.encode(x, levels=1).split([2, 3], -1)
    head = model.prior.heads[0].output
    torch.testing.assert_close(first, model.infer(x).mean)
    torch.testing.assert_close(second, first @ head.weight[:3].T + head.bias[:3])
    assert torch.equal(model.encode(x, levels=2), model.encode(x))
    many = model.encode(x[:1].expand(4000, -1), levels=1, sample=True, seed=0)
    spread = torch.cov(many.T)[2:, 2:]
    a = head.weight[:3]
    wanted = 0.49 * torch.eye(3) + a @ model.infer(x).variance[0].diag() @ a.T
    assert (spread - wanted).abs().max() < 0.1
    assert model.reconstruct(x, levels=1).shape == (2, 6)
    with pytest.raises(ConfigError, match="1 to 2 can know of x; got levels=3"):
        model.encode(x, levels=3)


def test_the_first_level_can_have_another_prior():
    for top in ("flow", {"type": "gaussian_mixture", "components": 3}, "maf"):
        prior = priors.Ladder(6, hidden=(8,), top=top).double()
        assert type(prior.first).__name__.lower() == (top if isinstance(top, str) else "gaussianmixture")
    with pytest.raises(ConfigError, match="the first level's prior cannot be 'flo'; did you mean 'flow'"):
        priors.Ladder(6, top="flo")
    with pytest.raises(ConfigError, match="has no option 'couplingz'"):
        priors.Ladder(6, top={"type": "flow", "couplingz": 3})


def test_the_vamp_prior_of_two_levels_is_the_mixture_of_the_first_levels_posteriors():
    _, model = of_digits(
        latent=6, posterior="ladder", prior={"type": "ladder", "top": {"type": "vamp", "components": 4}}
    )
    z = torch.randn(5, 1, 6)
    got = model.at().along(None, z).p[0].log_prob(z[..., :3])
    q = model.infer(model.prior.first.inputs)
    wanted = torch.stack([q.log_prob(each.unsqueeze(0)) for each in z[:, 0, :3]]).logsumexp(1) - math.log(4)
    torch.testing.assert_close(got[:, 0], wanted)


MISTAKES = [
    (lambda: priors.Ladder(5), "a multiple of 2"),
    (lambda: priors.Ladder(5, sizes=[2, 2]), "their sum, 4"),
    (lambda: posteriors.Ladder(4, sizes=1), "at least two levels"),
    (lambda: posteriors.Ladder(4, merge="product"), "'residual' or 'precision'"),
    (lambda: priors.ConvLadder(5, (1, 8, 8)), "leave latent out"),
    (lambda: priors.ConvLadder(5, (8,)), "need images"),
    (lambda: priors.ConvLadder(5, (1, 8, 8), scales=[1]), "at least two in all"),
    (lambda: priors.Codebook(10, stride=4, data_shape=(1, 8, 8)), "leave latent out"),
    (lambda: posteriors.VectorQuantised(7, stride=4, data_shape=(1, 8, 8)), "leave latent out"),
    (lambda: priors.Codebook(8, stride=4, data_shape=(8,)), "needs images"),
    (lambda: lb.nn.ConvEncoder((1, 8, 8), (2, 3), channels=(4,), hidden=0), "hidden=0 keeps maps"),
    (lambda: lb.nn.ConvDecoder((3, 2, 2), (1, 8, 8), channels=(4,), hidden=0), "make 4 x 4"),
]


@pytest.mark.parametrize(("build", "message"), MISTAKES)
def test_what_cannot_be_is_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


@pytest.mark.parametrize("other", [{"sizes": 3}, {"hidden": [8]}])
def test_a_ladder_and_its_posterior_must_agree(other):
    with pytest.raises(ConfigError, match=f"disagree on {next(iter(other))}"):
        of_digits(latent=6, prior={"type": "ladder", **other}, posterior="ladder")


# ------------------------------------------------------------------------------------------------- maps
NETWORKS = [
    (lb.nn.ConvEncoder, lb.nn.ConvDecoder),
    (lb.nn.ResNetEncoder, lb.nn.ResNetDecoder),
]


@pytest.mark.parametrize(("down", "up"), NETWORKS)
def test_networks_without_a_dense_layer_keep_places_apart(down, up):
    options = {"channels": (3,), "hidden": 0}
    if down is lb.nn.ConvEncoder:  # norms see all places
        network = down((1, 16, 12), (2, 5, 8, 6), **options).double()
        x = torch.randn(1, 1, 16, 12)
        other = x.clone()
        other[..., 0, 0] += 1
        moved = (network(x) != network(other)).any(1).any(1)[0]
        assert moved[0, 0]
        assert not moved[3:].any()
        assert not moved[:, 3:].any()
    encoder = down((1, 7, 5), (2, 4, 3), context=2, **options).double()
    decoder = up((2, 4, 3), (3, 1, 7, 5), context=2, **options).double()
    x, context = torch.randn(3, 2, 1, 7, 5), torch.randn(2, 2)
    h = encoder(x, context)
    assert h.shape == (3, 2, 2, 4, 3)
    torch.testing.assert_close(h[1], encoder(x[1], context))
    y = decoder(h, context)
    assert y.shape == (3, 2, 3, 1, 7, 5)
    torch.testing.assert_close(y[2], decoder(h[2], context))
    assert not torch.equal(y[2], decoder(h[2], context.flip(0)))


# ------------------------------------------------------------------------------------------------- maps of codes
def test_a_place_of_a_grid_sees_all_places_before_it_and_no_others():
    raster = Raster((3, 4), 2, 5, 6, 0, below=False)
    x = torch.randn(1, 12, 2)

    def total(x):
        return raster(x, None, None)[0].sum(-1)

    seen = torch.autograd.functional.jacobian(total, x)[:, 0].abs().sum(-1)
    assert not seen.triu().any()
    assert (seen.tril(-1) != 0).sum() == 12 * 11 / 2


def test_the_probabilities_of_all_maps_of_codes_sum_to_one():
    prior = priors.Codebook(8, codes=2, stride=4, order=5, data_shape=(1, 6, 8))
    places = torch.cartesian_prod(*[torch.arange(2)] * 4)
    z = prior.rows(0)[places].flatten(1)
    p = prior.level(0, prior.begin(None, None))
    probability = p.log_prob(z).exp()
    assert probability.sum().item() == pytest.approx(1.0, abs=1e-6)
    drawn = p.sample((4000,))
    counts = torch.bincount(
        (prior.index(0, drawn.unflatten(-1, (4, 2))) * torch.tensor([8, 4, 2, 1])).sum(1), minlength=16
    )
    assert (
        stats.chisquare(counts.numpy(), 4000 * (probability / probability.sum()).detach().numpy()).pvalue
        > 1e-4
    )


def test_the_decoder_reads_the_map_of_which_the_encoder_gave_each_place():
    shape, kept = (1, 6, 8), {"stride": 2, "data_shape": (1, 6, 8)}
    prior, posterior = priors.Codebook(24, codes=5, **kept), posteriors.VectorQuantised(24, **kept)
    assert posterior.input_shape == prior.code_shape == (2, 3, 4)
    h = torch.randn(1, 2, 3, 4).float()
    walk = lb.walk.Walk(prior, posterior, posterior.read(h, None), begun=prior.begin(None, None))
    code = walk.draw().code[0, 0]
    for i in range(3):
        for j in range(4):
            nearest = (prior.rows(0) - h[0, :, i, j]).square().sum(1).argmin()
            torch.testing.assert_close(code[:, i, j], prior.rows(0)[nearest])
    assert lb.priors.Codebook.usual({"width": 3, "stride": 2, "depth": 2}, shape, 40) == (72,)
