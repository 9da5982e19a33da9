"""Codes made of blocks: exact where each block is, by name in files, with a capacity for each."""

import math

import pytest
import torch
from test_latent_families import Told, unbounded
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal

import lowerbound as lb
from lowerbound import posteriors, priors
from lowerbound.errors import ConfigError, ShapeError
from lowerbound.objectives import Capacity, Linear, Progress
from lowerbound.registry import build, describe

pytestmark = pytest.mark.usefixtures("float64")

NOISE = 0.7


class Both(nn.Module):
    """An encoder: means and log-scales of two numbers of the first five columns, scores of a choice of the rest."""

    def __init__(self, told, means):
        super().__init__()
        self.told, self.means = told, nn.Parameter(means)

    def forward(self, x):
        away = (x[:, 5:].unsqueeze(1) - self.means).square().sum(-1)
        return torch.cat([self.told(x[:, :5]).flatten(1), -away / (2 * NOISE**2)], 1)


class Parts(nn.Module):
    """A decoder: five columns by the numbers, three by the choice."""

    def __init__(self, weight, means):
        super().__init__()
        self.weight, self.means = nn.Parameter(weight), nn.Parameter(means)

    def forward(self, z):
        return torch.cat([z[:, :2] @ self.weight.T, z[:, 2:] @ self.means], -1).unsqueeze(1)


def exact():
    stretch, means = 1.5, torch.randn(4, 3)
    w = stretch * torch.linalg.qr(torch.randn(5, 2))[0]
    v = 1 / (1 + stretch**2 / NOISE**2)
    weight, bias = torch.zeros(4, 5), torch.zeros(4)
    weight[:2], bias[2:] = v * w.T / NOISE**2, unbounded(math.sqrt(v))
    blocks = {"numbers": posteriors.DiagonalGaussian(2), "choice": posteriors.GumbelSoftmax(4, categories=4)}
    prior = {"numbers": priors.StandardNormal(2), "choice": priors.Categorical(4, categories=4)}
    model = lb.VAE(
        Both(Told(weight, bias, (2, 2)), means),
        posteriors.Product(6, blocks),
        priors.Product(6, prior),
        Parts(w, means),
        lb.likelihoods.Gaussian(8, scale=NOISE),
    ).double()
    marginal = MultivariateNormal(torch.zeros(5), w @ w.T + NOISE**2 * torch.eye(5))

    def log_prob(x):
        parts = Independent(Normal(means, NOISE), 1).log_prob(x[:, 5:].unsqueeze(1))
        return marginal.log_prob(x[:, :5]) + parts.logsumexp(1) - math.log(4)

    return model, log_prob


def test_weights_are_constant_where_each_block_is_exact():
    model, log_prob = exact()
    x = torch.randn(6, 8)
    truth = log_prob(x).expand(7, 6)
    torch.testing.assert_close(model(x, samples=7).log_weight, truth, rtol=0, atol=1e-9)


def test_levels_are_the_blocks_and_the_decoder_reads_them_side_by_side():
    model, _ = exact()
    out = model(torch.randn(6, 8), samples=3)
    assert [z.shape for z in out.draw.z] == [(3, 6, 2), (3, 6, 1, 4)]
    assert model.prior.real().tolist() == [True] * 2 + [False] * 4
    assert torch.equal(out.draw.code, torch.cat([out.draw.z[0], out.draw.z[1].flatten(2)], -1))
    assert torch.equal(model.under(None).code(out.z), out.draw.code)
    q, p = out.draw.q, out.draw.p
    numbers = 0.5 * (q[0].variance + q[0].mean.square() - 1 - q[0].variance.log()).sum(-1)
    share = q[1].base_dist.probs.squeeze(1)
    choice = (share * (share * 4).clamp(min=1e-300).log()).sum(-1)
    for found, truth in zip(out.draw.kl_of_levels(), (numbers, choice), strict=True):
        torch.testing.assert_close(found, truth)
    torch.testing.assert_close(out.kl(), numbers + choice)
    assert p[0].batch_shape == ()


def test_a_point_is_that_of_each_block():
    flow = posteriors.IAF(3, features=2, hidden=(4,))
    product = posteriors.Product(5, {"a": flow, "b": posteriors.DiagonalGaussian(2)})
    h = torch.randn(4, *product.input_shape)
    told = product.read(h, None)
    a, b = (product.level(n, told, None, None) for n in range(2))
    assert torch.equal(product.middle(0, a), flow.point(flow(h[:, :8])))
    assert torch.equal(product.middle(1, b), h[:, 8:10])


@pytest.mark.parametrize("each", [True, False])
def test_a_capacity_for_each_level_holds_each(each):
    model, _ = exact()
    x = torch.randn(6, 8)
    numbers, choice = model(x).draw.kl_of_levels()
    assert (numbers - choice).abs().min() > 0.01
    objective = Capacity([1.5, Linear(0.0, 2.0, 0.5, "fraction")], 3.0) if each else Capacity(2.5, 3.0)
    objective.check(model, Progress())
    out = objective(model, x, None, Progress(fraction=0.25))
    truth = (numbers - 1.5).abs() + (choice - 1.0).abs() if each else (numbers + choice - 2.5).abs()
    torch.testing.assert_close(out.loss, 3.0 * truth.mean() - out.terms["reconstruction"])
    torch.testing.assert_close(out.bound, out.terms["reconstruction"] - (numbers + choice).mean())


def test_capacities_are_as_many_as_levels():
    model, _ = exact()
    with pytest.raises(ConfigError, match="1 capacities, but the latent has 2 levels"):
        Capacity([1.0]).check(model, Progress())
    with pytest.raises(ConfigError, match="a finite capacity >= 0; got -1"):
        Capacity([1.0, -1.0])
    with pytest.raises(
        ConfigError, match=r"capacity must be numbers or a schedule each; got 'True'|got True"
    ):
        build("objective", {"type": "capacity", "capacity": [1.0, True]})


def blocks(**more):
    return {
        "a": {"type": "diagonal_gaussian", "latent": 3} | more,
        "b": {"type": "gumbel_softmax", "latent": 10},
    }


def test_blocks_are_read_back_from_a_description():
    options = {"type": "product", "blocks": blocks()}
    made = build("posterior", options, event_shape=(13,))
    described = describe("posterior", made)
    assert described["blocks"]["a"] == {"type": "diagonal_gaussian", "latent": 3}
    assert list(described["blocks"]) == ["a", "b"]
    assert describe("posterior", build("posterior", described, event_shape=(13,))) == described


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: priors.Product(4, {"a": priors.StandardNormal(3)}),
            r"3 \(a\) numbers, but a code has \(4,\)",
        ),
        (lambda: priors.Product(4, {}), "the blocks have none numbers"),
        (lambda: priors.Product(3, {"keys": priors.StandardNormal(3)}), "give the block another name"),
        (lambda: posteriors.Product(4, {"a": posteriors.Hamiltonian(4)}), "can be no block"),
        (
            lambda: build(
                "posterior", {"type": "product", "blocks": {"a": "diagonal_gaussian"}}, event_shape=(3,)
            ),
            "product.blocks.a needs 'latent'|blocks.a needs 'latent'",
        ),
        (
            lambda: build("posterior", {"type": "product", "blocks": blocks(rank=1)}, event_shape=(13,)),
            "has no option 'rank'",
        ),
        (
            lambda: build("posterior", {"type": "product", "blocks": 3}, event_shape=(13,)),
            "a table of posteriors by name; got 3",
        ),
    ],
)
def test_bad_blocks_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_blocks_go_together_by_name_and_kind():
    data = lb.data.load("digits", binarize="static")
    chosen = {"type": "product", "blocks": blocks()}
    for other, message in (
        ({"a": {"type": "standard_normal", "latent": 13}}, "the same names in the same order"),
        (
            {"a": {"type": "standard_normal", "latent": 3}, "b": {"type": "standard_normal", "latent": 10}},
            "posterior 'gumbel_softmax' goes with prior 'categorical'",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            lb.VAE.for_data(data, posterior=chosen, prior={"type": "product", "blocks": other})
    fitting = {"a": {"type": "standard_normal", "latent": 3}, "b": {"type": "categorical", "latent": 10}}
    model = lb.VAE.for_data(data, posterior=chosen, prior={"type": "product", "blocks": fitting})
    assert model.latent_shape == (13,)
    with pytest.raises(ShapeError, match="the levels of posterior Product"):
        lb.VAE(
            model.encoder,
            posteriors.Product(13, {"a": posteriors.DiagonalGaussian(13)}),
            model.prior,
            model.decoder,
            model.likelihood,
        )


def test_pseudo_inputs_are_for_the_first_block():
    data = lb.data.load("digits", binarize="static")
    numbers = {"type": "diagonal_gaussian", "latent": 3}
    vamp, normal = {"type": "vamp", "latent": 3, "components": 4}, {"type": "standard_normal", "latent": 3}

    def model(first, second):
        return lb.VAE.for_data(
            data,
            network={"type": "mlp", "hidden": [8]},
            posterior={"type": "product", "blocks": {"a": numbers, "b": numbers}},
            prior={"type": "product", "blocks": {"a": first, "b": second}},
        )

    made = model(vamp, normal)
    assert made.sample(3, seed=0).shape == (3, *data.spec.event_shape)
    x, _ = next(iter(data.test.batches(4)))
    assert made.log_prob(x, samples=3).isfinite().all()
    with pytest.raises(ConfigError, match="put it first"):
        model(normal, vamp).sample(3)
