"""The Hamiltonian posterior: exact where the dynamics are solved by hand, one to one, unbiased, and at work."""

import math

import pytest
import torch
from test_latent_families import Told, unbounded
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal

import lowerbound as lb
from lowerbound import posteriors, priors
from lowerbound.errors import ConfigError
from lowerbound.evaluation.stream import frozen
from lowerbound.testing import check_exact

pytestmark = pytest.mark.usefixtures("float64")

NOISE = 0.6


def gaussian(stretch=1.5, exact=True, **options):
    """A model of x ~ N(W z, r² I) with WᵀW = stretch² I, its precision P of p(z | x), and log p(x)."""
    w = stretch * torch.linalg.qr(torch.randn(5, 3))[0]
    precision = 1 + stretch**2 / NOISE**2
    posterior = posteriors.Hamiltonian(6, **options)
    decoder = nn.Sequential(nn.Linear(3, 5, bias=False), nn.Unflatten(-1, (1, 5)))
    decoder[0].weight.data.copy_(w)
    weight, bias = torch.zeros(6, 5), torch.zeros(6)
    if exact:
        weight[:3] = w.T / NOISE**2 / precision
        bias[3:] = unbounded(precision**-0.5)
    else:
        weight[:3] = w.T / NOISE**2 / precision * 0.8
        bias[3:] = unbounded(1.3 * precision**-0.5)
    likelihood = lb.likelihoods.Gaussian(5, scale=NOISE)
    model = lb.VAE(Told(weight, bias, (2, 3)), posterior, priors.Momentum(6), decoder, likelihood).double()
    marginal = MultivariateNormal(torch.zeros(5), w @ w.T + NOISE**2 * torch.eye(5))
    return model, precision, marginal.log_prob


P = 1 + 1.5**2 / NOISE**2


@pytest.mark.parametrize(
    ("steps", "square", "tempering"),
    # A step of ε turns the shadow ellipse by θ, cos θ = 1 − ε² P / 2. Half a turn mirrors the law in itself;
    # a quarter turn makes momenta of numbers, of the wrong spread by a factor √2, which is that of β_0 = 2.
    [(2, 2.0, 1.0), (3, 1.0, 1.0), (1, 2.0, 2.0)],
)
def test_weights_are_constant_where_the_dynamics_carry_the_exact_posterior_into_itself(
    steps, square, tempering
):
    model, precision, log_prob = gaussian(steps=steps, step_size=math.sqrt(square / P), tempering=tempering)
    assert precision == pytest.approx(P)
    x = torch.randn(4, 5)
    check_exact(model, x, log_prob(x))


def test_the_mean_weight_is_the_marginal_density():
    model, _, log_prob = gaussian(exact=False, step_size=0.15, tempering=0.5)
    x = torch.randn(3, 5)
    with torch.no_grad():
        weight = (model(x, samples=40_000).log_weight - log_prob(x)).exp()
    error = weight.std(0) / math.sqrt(len(weight))
    assert ((weight.mean(0) - 1).abs() < 5 * error).all()
    assert (error < 0.02).all()
    assert (weight.std(0) > 0.1).all()


def bits(steps=3, step_size=0.2, tempering=0.3, context=0):
    """A model whose p(z | x) is no Gaussian, its networks smooth."""
    torch.manual_seed(3)
    posterior = posteriors.Hamiltonian(4, steps, step_size, tempering)
    network = {"hidden": (6,), "activation": "tanh"}
    return lb.VAE(
        lb.nn.MLP((7,), (2, 2), **network),
        posterior,
        priors.Momentum(4, hidden=(3,), context=context),
        lb.nn.MLP((2,), (1, 7), context=context, **network),
        lb.likelihoods.Bernoulli(7),
        condition=lb.conditions.Conditions({"y": lb.conditions.Vector(context)}) if context else None,
    ).double()


def law(model, x, c=None):
    view = model.under(c)
    return view.infer(view.evidence(x), len(x)).q[0]


def test_the_way_back_is_the_way_there_and_tempering_alone_changes_volumes():
    model, x = bits(), (torch.rand(3, 7) < 0.5).double()
    q = law(model, x)
    code = torch.randn(2, 3, 4)
    moved, log_det = q.carried(code)
    assert (moved - code).abs().max() > 0.05
    back = moved
    for each in reversed(q.maps):
        back = each.inverse(back)
    torch.testing.assert_close(back, code, rtol=0, atol=1e-12)
    torch.testing.assert_close(log_det, torch.full_like(log_det, 2 / 2 * math.log(0.3)))
    one = law(model, x[:1])
    jacobian = torch.autograd.functional.jacobian(lambda v: one.carried(v)[0], code[0, :1]).reshape(4, 4)
    assert torch.linalg.slogdet(jacobian)[1].item() == pytest.approx(math.log(0.3), abs=1e-10)


def test_its_density_is_that_of_the_change_of_variables_and_its_gradient_is_exact():
    model, x = bits(), (torch.rand(3, 7) < 0.5).double()
    q = law(model, x)
    z, log_q = q.rsample_and_log_prob((2,))
    torch.testing.assert_close(q.log_prob(z), log_q, rtol=0, atol=1e-10)
    names = [n for n, _ in model.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in model.parameters()]

    def weight(*parameters):
        with lb.shapes.draws("cpu", seed=0):
            out = torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (x,))
        return out.log_weight.sum()

    assert torch.autograd.gradcheck(weight, values, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("context", [0, 2])
def test_it_gives_the_same_with_and_without_gradients_and_where_weights_are_packed(context):
    model, x = bits(context=context).float(), (torch.rand(3, 7) < 0.5).float()
    c = {"y": torch.randn(3, 2).float()} if context else None
    z = torch.randn(5, 3, 4).float()

    def scored():
        view = model.under(c)
        return view.along(view.evidence(x), z).log_q

    with_gradient = scored()
    with torch.no_grad():
        torch.testing.assert_close(scored(), with_gradient.detach())
    with frozen(model):
        torch.testing.assert_close(scored().clone(), with_gradient.detach(), rtol=1e-4, atol=1e-4)
    for precision in ("fp32", "bf16"):
        found = lb.evaluate.nll(model, x, samples=20, c=c, precision=precision, progress=False)
        assert math.isfinite(found.value)


@pytest.mark.parametrize("context", [0, 2])
def test_held_fixed_no_parameter_of_the_model_is_reached(context):
    model, x = bits(context=context), (torch.rand(3, 7) < 0.5).double()
    c = {"y": torch.randn(3, 2)} if context else None
    out = model(x, c, 2)
    z = out.draw.z[0].detach().requires_grad_()
    held = out.draw.walk.held([z])
    torch.testing.assert_close(held, out.log_posterior)
    found = torch.autograd.grad(held.sum(), [z, *model.parameters()], allow_unused=True)
    assert found[0].any()
    assert all(g is None or not g.any() for g in found[1:])
    # and otherwise the decoder is a part of q, through the forces
    scored = out.draw.walk.along([z]).log_q.sum()
    (alive,) = torch.autograd.grad(scored, next(model.decoder.parameters()))
    assert alive.any()


def test_tempered_steps_tighten_the_bound():
    # Without tempering the energy is kept, and with it the bound.
    gaps = []
    for size in (1e-6, 0.6 / math.sqrt(P)):
        torch.manual_seed(5)
        model, _, log_prob = gaussian(exact=False, step_size=size, tempering=0.7)
        x = log_prob.__self__.sample((50,))
        with torch.no_grad():
            gaps.append((log_prob(x) - model(x, samples=300).log_weight.mean(0)).mean().item())
    assert 0 < gaps[1] < 0.8 * gaps[0]


def test_what_it_is_told_is_log_p_of_x_and_z():
    model, x = bits(), (torch.rand(3, 7) < 0.5).double()
    _, joint = model.under(None).evidence(x)
    z = torch.randn(2, 3, 4, requires_grad=True)
    truth = model.likelihood(model.decoder(z[..., :2].reshape(6, 2)).reshape(2, 3, 1, 7)).log_prob(x)
    truth = truth + Independent(Normal(torch.zeros(4), 1.0), 1).log_prob(z)
    torch.testing.assert_close(joint.gradient(z), torch.autograd.grad(truth.sum(), z)[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: posteriors.Hamiltonian(3), "an even latent"),
        (lambda: posteriors.Hamiltonian(4, step_size=0.0), "step_size and a tempering > 0; got 0.0"),
        (lambda: posteriors.Hamiltonian(4, steps=0), "steps must be a positive integer"),
        (lambda: priors.Momentum(5), "an even latent"),
        (lambda: posteriors.Hamiltonian(4).read(torch.zeros(1, 2, 2), None), "no prior can be made of it"),
    ],
)
def test_bad_options_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_momenta_come_beside_the_usual_dimensions_and_are_no_latent_units():
    data = lb.data.load("digits", binarize="static")
    usual = lb.VAE.for_data(data).latent_shape[0]
    model = lb.VAE.for_data(data, posterior="hamiltonian", prior="momentum")
    assert model.latent_shape == (2 * usual,)
    assert model.prior.real().tolist() == [True] * usual + [False] * usual
    with pytest.raises(ConfigError, match="'hamiltonian' goes with prior 'momentum'"):
        lb.VAE.for_data(data, posterior="hamiltonian", prior="vamp")
