"""The Riemannian posterior: volumes kept and the way back, the metric's forces, exact weights, and its memory."""

import math

import pytest
import torch
from test_hamiltonian import P, bits, gaussian, law
from torch import nn

import lowerbound as lb
from lowerbound import posteriors, priors
from lowerbound.errors import ConfigError
from lowerbound.posteriors.riemannian import _Metric
from lowerbound.testing import check_exact

pytestmark = pytest.mark.usefixtures("float64")

BITS = (torch.arange(21).reshape(3, 7) % 3 == 0).double()


def riemannian(model, **options):
    """The model with this posterior in place of the Hamiltonian one, its encoder's other outputs too."""
    old = model.posterior
    options = {"steps": old.steps, "step_size": old.step_size, "tempering": old.tempering} | options
    posterior = posteriors.Riemannian(old.event_shape, **options).double()
    posterior.log_step.data.copy_(old.log_step.data)
    d = old.event_shape[0] // 2
    encoder = Wider(model.encoder, model.event_shape[0], d * (d + 1) // 2)
    return lb.VAE(
        encoder, posterior, model.prior, model.decoder, model.likelihood, condition=model.condition
    ).double()


class Wider(nn.Module):
    """An encoder's (B, 2, d), flat, and K more numbers of x."""

    def __init__(self, encoder, size, more):
        super().__init__()
        self.encoder, self.more = encoder, nn.Linear(size, more)
        self.context = getattr(encoder, "context", 0)

    def forward(self, x, *context):
        return torch.cat([self.encoder(x, *context).flatten(1), self.more(x.flatten(1))], 1)


def learned(**options):
    """A model whose metric has been made of some codes, none of them at rest."""
    torch.manual_seed(1)
    model = riemannian(bits(step_size=0.1), centroids=5, **options)
    model.eval()
    model.posterior.centres.copy_(torch.randn(5, 2))
    model.posterior.roots.copy_(torch.randn(5, 2, 2).tril())
    return model


@pytest.mark.parametrize("tempering", [1.0, 0.5])
def test_under_a_constant_metric_of_one_it_is_the_hamiltonian_posterior(tempering):
    torch.manual_seed(0)
    plain = bits(tempering=tempering)
    curved = riemannian(plain, regularisation=1.0).eval()
    for samples in (1, 3):
        with lb.shapes.draws("cpu", seed=0):
            one = plain(BITS, samples=samples)
        with lb.shapes.draws("cpu", seed=0):
            other = curved(BITS, samples=samples)
        torch.testing.assert_close(other.z, one.z, rtol=0, atol=1e-10)
        torch.testing.assert_close(other.log_weight, one.log_weight, rtol=0, atol=1e-10)


def test_weights_are_constant_where_the_dynamics_carry_the_exact_posterior_into_itself():
    # Under G⁻¹ = λ I time goes √λ times as fast: two quarter turns are half a turn, as in test_hamiltonian.
    plain, _, log_prob = gaussian(steps=2, step_size=math.sqrt(2.0 / P / 0.25), tempering=1.0)
    curved = riemannian(plain, regularisation=0.25)
    curved.encoder.more.requires_grad_(False)
    x = torch.randn(4, 5)
    check_exact(curved.eval(), x, log_prob(x))


def test_volumes_are_kept_and_the_way_back_is_the_way_there():
    model = learned(iterations=8)
    q = law(model, BITS[:1])
    code = torch.randn(2, 1, 4)
    moved, log_det = q.carried(code)
    assert (moved - code).abs().max() > 0.05
    back = moved
    for each in reversed(q.maps):
        back = each.inverse(back)
    torch.testing.assert_close(back, code, rtol=0, atol=1e-10)
    for each in q.maps[1:-1]:
        jacobian = torch.autograd.functional.jacobian(lambda v, m=each: m.forward(v)[0], code[0, :1]).reshape(
            4, 4
        )
        assert torch.linalg.slogdet(jacobian)[1].item() == pytest.approx(
            2 * math.log(each.cooling), abs=1e-10
        )
    # with what it takes to go from numbers to momenta and back
    jacobian = torch.autograd.functional.jacobian(lambda v: q.carried(v)[0], code[0, :1]).reshape(4, 4)
    assert torch.linalg.slogdet(jacobian)[1].item() == pytest.approx(log_det[0, 0].item(), abs=1e-10)
    assert abs(log_det[0, 0].item() - math.log(0.3)) > 1e-3


def test_forces_are_those_of_the_energy():
    torch.manual_seed(0)
    metric = _Metric(torch.randn(6, 3), torch.randn(6, 3, 3).tril(), 1.3, 0.02)
    z, momentum = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    away = (z[:, None] - metric.centres).square().sum(-1)
    inverse = 0.02 * torch.eye(3) + sum(
        (-away[:, i] / 1.3**2).exp()[:, None, None] * (metric.roots[i] @ metric.roots[i].T) for i in range(6)
    )
    energy = (momentum[:, None] @ inverse @ momentum[:, :, None]).sum() / 2 - torch.logdet(inverse).sum() / 2
    in_z, in_momentum = torch.autograd.grad(energy, [z, momentum])
    torch.testing.assert_close(metric.force(z)(momentum), -in_z)
    torch.testing.assert_close(metric.velocity(momentum)(z), in_momentum)
    root = metric.root(z)
    torch.testing.assert_close(root @ root.mT, inverse)


@pytest.mark.slow
def test_the_mean_weight_is_the_marginal_density():
    plain, _, log_prob = gaussian(exact=False, step_size=0.1, tempering=0.5)
    torch.manual_seed(2)
    model = riemannian(plain, regularisation=0.3, centroids=4)
    model.eval()
    model.posterior.centres.copy_(torch.randn(4, 3))
    model.posterior.roots.copy_(0.5 * torch.randn(4, 3, 3).tril())
    x = torch.randn(3, 5)
    with torch.no_grad():
        weight = (model(x, samples=20_000).log_weight - log_prob(x)).exp()
    error = weight.std(0) / math.sqrt(len(weight))
    assert ((weight.mean(0) - 1).abs() < 5 * error).all()
    assert (error < 0.03).all()


@pytest.mark.slow
def test_its_density_is_that_of_the_draw_and_its_gradient_is_exact():
    model = learned(iterations=8)
    z, log_q = law(model, BITS).rsample_and_log_prob((2,))
    torch.testing.assert_close(law(model, BITS).log_prob(z), log_q, rtol=0, atol=1e-9)
    model.train()
    names = [n for n, _ in model.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in model.parameters()]
    start = {k: v.clone() for k, v in model.named_buffers()}

    def weight(*parameters):
        given = dict(zip(names, parameters, strict=True)) | {k: v.clone() for k, v in start.items()}
        with lb.shapes.draws("cpu", seed=0):
            out = torch.func.functional_call(model, given, (BITS,))
        return out.log_weight.sum()

    assert torch.autograd.gradcheck(weight, values, atol=1e-5, fast_mode=True)
    found = torch.autograd.grad(weight(*values), values)
    reached = dict(zip(names, found, strict=True))
    assert reached["encoder.more.weight"].any()  # what the metric is made of learns with the rest


def test_the_last_examples_of_training_are_remembered_and_saved():
    torch.manual_seed(0)
    model = riemannian(bits(), centroids=4)
    model(BITS)
    assert model.posterior.next.item() == 3
    mean, *_ = model.encoder(BITS).split([2, 2, 3], 1)
    torch.testing.assert_close(model.posterior.centres[:3], mean.detach())
    assert not model.posterior.roots[3].any()
    first = model.posterior.centres.clone()
    model(BITS[:2])
    torch.testing.assert_close(model.posterior.centres[[3, 0]], mean[:2].detach())
    torch.testing.assert_close(model.posterior.centres[1:3], first[1:3])
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert {"posterior.centres", "posterior.roots", "posterior.next"} <= before.keys()
    with torch.no_grad():
        model.under(None).evidence(BITS)
    model.eval().under(None).evidence(BITS)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_evaluation_says_if_a_step_is_not_solved():
    model = learned(iterations=1)
    model.posterior.log_step.data.fill_(1.0)
    with (
        torch.no_grad(),
        pytest.warns(UserWarning, match="some steps of the posterior riemannian are too long"),
    ):
        model(BITS, samples=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "a temperature and a regularisation > 0; got 0.0"),
        ({"regularisation": -1.0}, "got 1.5 and -1.0"),
        ({"centroids": 0}, "centroids must be a positive integer"),
        ({"iterations": 0}, "iterations must be a positive integer"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        posteriors.Riemannian(4, **options)


def test_a_prior_may_go_with_several_posteriors():
    data = lb.data.load("digits", binarize="static")
    model = lb.VAE.for_data(data, posterior="riemannian", prior="momentum")
    assert isinstance(model.prior, priors.Momentum)
    with pytest.raises(ConfigError, match="goes with posterior 'hamiltonian' or 'riemannian'; got"):
        lb.VAE.for_data(data, prior="momentum")
