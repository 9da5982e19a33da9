"""Further priors and posteriors: exact where they can be, equal to others, and what codes of rows learn."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch.distributions import Independent, MultivariateNormal, Normal

import lowerbound as lb
from lowerbound import posteriors, priors
from lowerbound.distributions import (
    GumbelOneHot,
    OneHot,
    UniformSphere,
    VonMisesFisher,
    WrappedNormal,
    closed_form_kl,
    from_middle,
    kl_per_dimension,
    log_bessel_i,
)
from lowerbound.errors import ConfigError
from lowerbound.registry import REGISTRY
from lowerbound.testing import check_exact
from lowerbound.walk import Walk

pytestmark = pytest.mark.usefixtures("float64")


def unbounded(scale):
    """The number whose bounded exponential is ``scale``."""
    return 12 * math.atanh(math.log(scale) / 12)


# ------------------------------------------------------------------------------ where q can be the posterior
class Told(torch.nn.Module):
    """An encoder: the posterior's numbers as parameters, linear in x."""

    def __init__(self, weight, bias, shape):
        super().__init__()
        self.weight, self.bias, self.shape = torch.nn.Parameter(weight), torch.nn.Parameter(bias), shape

    def forward(self, x):
        return (x @ self.weight.T + self.bias).reshape(-1, *self.shape)


def linear(posterior, w, r, loc, prior=None, numbers=()):
    """x ~ N(w z, r² I) under a posterior of which the first numbers are ``loc`` times x, the others as given."""
    weight = torch.zeros(math.prod(posterior.input_shape), len(w))
    weight[: len(loc)] = loc
    bias = torch.zeros(len(weight))
    for place, value in numbers:
        bias[place] = value
    decoder = torch.nn.Sequential(
        torch.nn.Linear(*w.T.shape, bias=False), torch.nn.Unflatten(-1, (1, len(w)))
    )
    decoder[0].weight.data.copy_(w)
    prior = prior or priors.StandardNormal(posterior.event_shape)
    encoder = Told(weight, bias, posterior.input_shape)
    return lb.VAE(encoder, posterior, prior, decoder, lb.likelihoods.Gaussian(len(w), scale=r)).double()


def still(posterior):
    """The posterior with maps that leave a draw where it is."""
    for parameter in posterior.parameters():
        parameter.data.zero_()
    return posterior


FACTORISED = {
    "diagonal_gaussian": lambda: posteriors.DiagonalGaussian(3),
    "low_rank_gaussian": lambda: posteriors.LowRankGaussian(3, rank=2),
    "iaf": lambda: still(posteriors.IAF(3, features=2, hidden=(4,)).double()),
    "coupling": lambda: still(posteriors.Coupling(3, features=2, hidden=(4,)).double()),
    "planar": lambda: posteriors.Planar(3, transforms=2),
    "sylvester": lambda: posteriors.Sylvester(3, transforms=2, columns=3),
}


@pytest.mark.parametrize("build", FACTORISED.values(), ids=FACTORISED)
def test_weights_are_constant_where_the_exact_posterior_factorises(build):
    stretch, r = 1.5, 0.6
    w = stretch * torch.linalg.qr(torch.randn(5, 3))[0]
    v = 1 / (1 + stretch**2 / r**2)
    posterior = build()
    model = linear(posterior, w, r, v * w.T / r**2, numbers=[(slice(3, 6), unbounded(math.sqrt(v)))])
    x = torch.randn(4, 5)
    truth = MultivariateNormal(torch.zeros(5), w @ w.T + r**2 * torch.eye(5)).log_prob(x)
    check_exact(model, x, truth)


def test_weights_are_constant_where_the_exact_posterior_has_low_rank():
    r, f = 0.5, torch.tensor([[0.5], [-0.4], [0.3]])
    covariance = 0.3 * torch.eye(3) + f @ f.T
    gram = r**2 * (torch.linalg.inv(covariance) - torch.eye(3))
    w = torch.linalg.qr(torch.randn(5, 3))[0] @ torch.linalg.cholesky(gram).T
    posterior = posteriors.LowRankGaussian(3, rank=1)
    numbers = [(slice(3, 6), unbounded(math.sqrt(0.3))), (slice(6, 9), f.flatten())]
    model = linear(posterior, w, r, covariance @ w.T / r**2, numbers=numbers)
    x = torch.randn(4, 5)
    truth = MultivariateNormal(torch.zeros(5), w @ w.T + r**2 * torch.eye(5)).log_prob(x)
    check_exact(model, x, truth)


class Directed(posteriors.VonMisesFisher):
    """Of which the encoder gives κμ itself."""

    def __init__(self, event_shape):
        super().__init__(event_shape)
        self.input_shape = self.event_shape

    def forward(self, h):
        return VonMisesFisher(h / h.norm(dim=-1, keepdim=True), h.norm(dim=-1))


@pytest.mark.parametrize("d", [2, 3, 4])
def test_weights_are_constant_where_the_exact_posterior_is_a_direction(d):
    # All Wz of a code on the sphere have one length: p(z | x) is von Mises-Fisher with κμ = Wᵀx / r².
    stretch, r = 1.3, 0.7
    w = stretch * torch.linalg.qr(torch.randn(5, d))[0]
    model = linear(Directed(d), w, r, w.T / r**2, prior=priors.Sphere(d))
    x = torch.randn(4, 5)
    k = (x @ w / r**2).norm(dim=1).numpy()
    nu = d / 2 - 1
    log_mean = torch.from_numpy(
        special.gammaln(d / 2) + nu * np.log(2 / k) + np.log(special.ive(nu, k)) + k
    )  # log ∫ exp(κμᵀz) over the sphere
    truth = log_mean - (x.square().sum(1) + stretch**2) / (2 * r**2) - 2.5 * math.log(2 * math.pi * r**2)
    check_exact(model, x, truth)


def test_weights_are_constant_where_the_exact_posterior_is_a_choice():
    means, r = torch.randn(3, 5), 0.8

    class Scores(torch.nn.Module):
        def forward(self, x):
            return -((x.unsqueeze(1) - means).square().sum(-1) / (2 * r**2)).unsqueeze(1)

    decoder = torch.nn.Sequential(torch.nn.Linear(3, 5, bias=False), torch.nn.Unflatten(-1, (1, 5)))
    decoder[0].weight.data.copy_(means.T)
    model = lb.VAE(
        Scores(),
        posteriors.GumbelSoftmax(3, categories=3),
        priors.Categorical(3, categories=3),
        decoder,
        lb.likelihoods.Gaussian(5, scale=r),
    ).double()
    x = torch.randn(6, 5)
    parts = Independent(Normal(means, r), 1).log_prob(x.unsqueeze(1))
    truth = (parts.logsumexp(1) - math.log(3)).expand(7, 6)
    torch.testing.assert_close(model(x, samples=7).log_weight, truth, rtol=0, atol=1e-9)


# --------------------------------------------------------------------------------------------- divergences
def law(posterior):
    torch.manual_seed(1)
    return posterior(torch.randn(1, *posterior.input_shape) / 2)


def gaussian(*shape):
    return Independent(Normal(torch.randn(shape), torch.rand(shape) + 0.5), len(shape))


PAIRS = {
    "low_rank": lambda: (law(posteriors.LowRankGaussian(4)), gaussian(4)),
    "student_t": lambda: (law(posteriors.StudentT(3, df=5)), gaussian(3)),
    "student_t_map": lambda: (
        law(posteriors.StudentT((2, 1, 2), df=5)),
        gaussian(2, 1, 2),
    ),
    "von_mises_fisher": lambda: (law(posteriors.VonMisesFisher(5)), UniformSphere(torch.zeros(5))),
    "gamma": lambda: (law(posteriors.Gamma(3)), priors.Gamma(3, 2.0, 1.5)()),
    "choices": lambda: (law(posteriors.GumbelSoftmax(12, categories=4)), law_of_choices()),
}


def law_of_choices():
    return Independent(OneHot(torch.randn(3, 4)), 1)


@pytest.mark.parametrize("name", PAIRS)
def test_a_divergence_in_closed_form_is_that_of_draws(name):
    q, p = PAIRS[name]()
    kl = closed_form_kl(q, p)
    z = q.sample((50_000,))
    each = q.log_prob(z) - p.log_prob(z)
    assert kl.shape == (1,)
    assert abs(kl.item() - each.mean().item()) < 5 * each.std().item() / math.sqrt(len(each))
    assert kl.item() > 0.01


def test_divergences_of_dimensions_add_up():
    q = law(posteriors.StudentT(3))
    p = priors.StandardNormal(3)()
    torch.testing.assert_close(kl_per_dimension(q, p).sum(-1), closed_form_kl(q, p))


# ---------------------------------------------------------------------------------------------- directions
@pytest.mark.parametrize("order", [0, 0.5, 1, 4.5, 19, 59.5, 60, 200])
def test_the_bessel_function_is_that_of_scipy(order):
    x = torch.logspace(-2, 5, 50)
    for n, found in zip((order, order + 1), log_bessel_i(order, x), strict=True):
        with np.errstate(divide="ignore"):
            truth = np.log(special.ive(n, x.numpy())) + x.numpy()
        known = np.isfinite(truth)
        np.testing.assert_allclose(found.numpy()[known], truth[known], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("k", [1e-2, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("d", [2, 3, 6, 40])
def test_directions_have_the_density_of_scipy_and_draws_of_their_law(d, k):
    mu = torch.nn.functional.normalize(torch.randn(d), dim=0)
    q = VonMisesFisher(mu.expand(20_000, d), torch.full((20_000,), k, requires_grad=True))
    z = q.rsample()
    torch.testing.assert_close(z.norm(dim=1), torch.ones(20_000))
    truth = torch.from_numpy(stats.vonmises_fisher(mu.numpy(), k).logpdf(z[:50].detach().numpy()))
    torch.testing.assert_close(q.log_prob(z)[:50].detach(), truth, rtol=1e-9, atol=1e-9)
    w = z @ mu
    length = q.length[0]
    assert abs(w.mean() - length) < 5 * w.std() / math.sqrt(len(w))
    # The gradient of a draw is that of its law: A'(κ) = 1 − A² − (d − 1) A / κ for E[w] = A.
    (slope,) = torch.autograd.grad(w.sum(), q.concentration)
    (truth,) = torch.autograd.grad(length, q.concentration)
    assert abs(slope.mean() - truth.sum()) < 5 * slope.std() / math.sqrt(len(w))
    assert truth.sum().item() == pytest.approx(
        1 - length.item() ** 2 - (d - 1) * length.item() / k, rel=1e-4, abs=1e-9
    )


def test_directions_turn_with_a_gradient():
    loc = torch.tensor([[0.6, 0.8, 0.0]], requires_grad=True)
    q = VonMisesFisher(loc.expand(5000, 3), torch.full((5000,), 20.0))
    (gradient,) = torch.autograd.grad(q.rsample()[:, 2].mean(), loc)
    assert gradient[0, 2].item() == pytest.approx(q.length[0].item(), abs=0.05)


def test_all_directions_are_alike():
    p = priors.Sphere(3)()
    z = p.sample((5000,))
    torch.testing.assert_close(z.norm(dim=1), torch.ones(5000))
    assert p.log_prob(z[:2]).tolist() == pytest.approx([-math.log(4 * math.pi)] * 2)
    assert (z.mean(0).abs() < 5 / math.sqrt(3 * 5000)).all()


# -------------------------------------------------------------------------------------------- the ball
def test_the_ball_s_law_without_curvature_is_a_gaussian():
    loc, scale = torch.tensor([0.2, -0.1]), torch.tensor([0.3, 0.5])
    z = torch.randn(6, 2) / 4
    # Distances from the middle are twice the numbers.
    found = WrappedNormal(loc, scale, 1e-10).log_prob(z)
    torch.testing.assert_close(
        found, Independent(Normal(loc, scale / 2), 1).log_prob(z), rtol=1e-6, atol=1e-6
    )


def test_distances_in_the_ball_are_those_of_its_geometry():
    c = 0.7
    loc = from_middle(torch.tensor([1.0, 0.4]), c)
    q = WrappedNormal(loc, torch.ones(2), c)
    z = q.sample((100,))
    square = (z - loc).square().sum(-1) / ((1 - c * loc.square().sum()) * (1 - c * z.square().sum(-1)))
    r = torch.acosh(1 + 2 * c * square)  # √c times the distance
    volume = torch.log(r / r.sinh()) + 2 * torch.log(2 / (1 - c * z.square().sum(-1)))
    torch.testing.assert_close(q.log_prob(z), -(r**2) / c / 2 - math.log(2 * math.pi) + volume)
    assert q.log_prob(torch.tensor([2.0, 0.0])) == -torch.inf


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_out_in_the_ball_numbers_are_finite(dtype):
    posterior = posteriors.Poincare(3).to(dtype)
    h = torch.tensor([[[90.0, -90.0, 5.0], [3.0, -30.0, 0.0]]], dtype=dtype, requires_grad=True)
    q = posterior(h)
    z = q.rsample((100,))
    assert (z.norm(dim=-1) < 1).all()
    (gradient,) = torch.autograd.grad(q.log_prob(z).sum(), h)
    assert gradient.isfinite().all()


# ------------------------------------------------------------------------------------------------- flows
@pytest.mark.slow
@pytest.mark.parametrize("columns", [1, 2, 4])
def test_a_sylvester_map_has_its_determinant_and_its_inverse(columns):
    posterior = posteriors.Sylvester(4, transforms=2, columns=columns)
    q = posterior(2 * torch.randn(1, *posterior.input_shape))
    u = 2 * torch.randn(1, 4)
    for each in q.maps:
        y, log_det = each.forward(u)
        jacobian = torch.autograd.functional.jacobian(lambda z, each=each: each.forward(z)[0], u).reshape(
            4, 4
        )
        assert log_det.item() == pytest.approx(torch.linalg.slogdet(jacobian)[1].item(), abs=1e-10)
        torch.testing.assert_close(each.inverse(y), u, rtol=0, atol=1e-10)
    h = torch.randn(1, *posterior.input_shape, requires_grad=True)
    z = torch.randn(1, 4, requires_grad=True)
    assert torch.autograd.gradcheck(lambda h, z: posterior(h).log_prob(z), (h, z))


def test_a_planar_map_is_the_published_one():
    posterior = posteriors.Planar(3, transforms=1)
    q = posterior(torch.randn(1, *posterior.input_shape))
    (each,) = q.maps
    u = torch.randn(1, 3)
    w = (each.q @ each.t.mT).flatten()
    move = (each.q @ each.r).flatten() * torch.tanh(w @ u[0] + each.shift[0, 0])
    torch.testing.assert_close(each.forward(u)[0], u + move)


@pytest.mark.parametrize("name", ["iaf", "coupling", "planar", "sylvester"])
def test_what_comes_with_a_draw_is_its_density(name):
    posterior = REGISTRY["posterior"][name](3).double()
    q = posterior(torch.randn(5, *posterior.input_shape))
    z, log_q = q.rsample_and_log_prob((4,))
    torch.testing.assert_close(q.log_prob(z), log_q, rtol=1e-8, atol=1e-8)
    assert posterior.point(q).shape == (5, 3)


# ----------------------------------------------------------------------------------------------- mixtures
def test_a_mixture_prior_is_the_sum_of_its_parts():
    prior = priors.GaussianMixture(2, components=3, context=4, hidden=(5,)).double()
    c, z = torch.randn(6, 4), torch.randn(6, 2)
    numbers = prior.numbers + prior.network(c)
    share = numbers[..., 0].softmax(-1)
    scale = (12 * (numbers[..., 3:] / 12).tanh()).exp()
    density = Normal(numbers[..., 1:3], scale).log_prob(z.unsqueeze(1)).sum(-1).exp()
    torch.testing.assert_close(prior(c).log_prob(z), (share * density).sum(-1).log())


def test_a_vamp_prior_is_the_mean_of_the_posteriors_of_its_inputs():
    prior = priors.VampPrior(2, (4,), components=3).double()
    encode = lambda u: Independent(Normal(u[..., :2], 0.3 + u[..., 2:].square()), 1)  # noqa: E731
    z = torch.randn(5, 2)
    truth = torch.stack([encode(u).log_prob(z).exp() for u in prior.inputs]).mean(0).log()
    torch.testing.assert_close(prior(None, encode).log_prob(z), truth)


def test_a_vamp_prior_starts_at_examples_and_refuses_classes():
    data = lb.data.load(np.random.default_rng(0).integers(4, size=(60, 5)), values="categorical")
    with pytest.raises(
        ConfigError, match="by gradients, which classes and the columns of a table do not have"
    ):
        lb.VAE.for_data(data, latent=2, prior="vamp")
    data = lb.data.load("digits", binarize="static")
    model = lb.VAE.for_data(data, latent=2, prior={"type": "vamp", "components": 4})
    assert ((model.prior.inputs == 0) | (model.prior.inputs == 1)).all()


@pytest.mark.parametrize("name", ["maf", "nsf"])
def test_a_flow_prior_starts_near_a_gaussian_and_can_be_tempered(name):
    p = REGISTRY["prior"][name](3).double()()
    z = torch.randn(100, 3)
    assert (p.log_prob(z) - Independent(Normal(torch.zeros(3), 1.0), 1).log_prob(z)).abs().max() < 0.5
    assert p.tempered((500,), 0.1).std() < 0.2


# ------------------------------------------------------------------------------------------- rows of books
def codebook(**options):
    torch.manual_seed(0)
    return priors.Codebook(4, **{"codes": 5, **options}).double()


def quantised(prior, e, **options):
    posterior = posteriors.VectorQuantised(prior.event_shape, depth=prior.depth, **options)
    walk = Walk(prior, posterior, e, begun=prior.begin(None, None))
    return walk.draw(1, len(e))


def test_each_place_takes_the_nearest_row_and_a_gradient_passes_by():
    prior = codebook(learning="gradient")
    e = torch.randn(3, 4, requires_grad=True)
    draw = quantised(prior, e)
    z = draw.code[0]
    for i, place in itertools.product(range(3), range(2)):
        own = e[i, 2 * place : 2 * place + 2]
        nearest = min(prior.book[0], key=lambda row: (row - own).square().sum().item())
        assert torch.equal(z[i, 2 * place : 2 * place + 2], nearest)
    weight = torch.randn(3, 4)
    (gradient,) = torch.autograd.grad((z * weight).sum(), e, retain_graph=True)
    assert torch.equal(gradient, weight)
    # commitment 1/4 of the encoder, 1 of the book
    square = (z - e).square().sum(1)
    torch.testing.assert_close(draw.penalty[0], 1.25 * square)
    to_e, to_book = torch.autograd.grad(draw.penalty.sum(), [e, prior.book])
    torch.testing.assert_close(to_e, 0.5 * (e - z))
    torch.testing.assert_close(to_book.sum((0, 1)), 2 * (z - e).unflatten(1, (2, 2)).sum((0, 1)))
    assert draw.kl().tolist() == pytest.approx([2 * math.log(5)] * 3)
    torch.testing.assert_close(draw.log_q, torch.zeros(1, 3))


def test_the_rotation_trick_turns_a_gradient_back():
    prior = codebook()
    e = torch.randn(1, 4, requires_grad=True)
    z = quantised(prior, e, gradient="rotation").code[0]
    weight = torch.randn(4)
    (found,) = torch.autograd.grad((z[0] * weight).sum(), e)
    for place in (slice(0, 2), slice(2, 4)):
        a, b = e[0, place].detach(), z[0, place].detach()
        angle = torch.atan2(b[1], b[0]) - torch.atan2(a[1], a[0])
        turn = torch.stack(
            [torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])]
        )
        torch.testing.assert_close(turn @ a * b.norm() / a.norm(), b)
        torch.testing.assert_close(found[0, place], b.norm() / a.norm() * turn.T @ weight[place])


def test_layers_code_what_is_left_over():
    prior = priors.Codebook(12, codes=6, width=2, depth=3).double()
    e = torch.randn(50, 4, requires_grad=True)
    posterior = posteriors.VectorQuantised(12, depth=3).eval()
    draw = Walk(prior, posterior, e, begun=prior.begin(None, None)).draw(2, 50)
    left = e.detach()
    for number, z in enumerate(draw.z):
        rows = prior.book[number]
        wanted = rows[torch.cdist(left.reshape(-1, 2), rows).argmin(1)].reshape(50, 4)
        torch.testing.assert_close(z[0], wanted)
        left = left - wanted
    torch.testing.assert_close(draw.code, sum(draw.z))
    (gradient,) = torch.autograd.grad(draw.code.sum(), e)
    torch.testing.assert_close(gradient, torch.full_like(e, 2.0))  # of two draws, once each
    assert draw.kl().tolist() == pytest.approx([6 * math.log(6)] * 50)


def chosen(e, **options):
    """A draw of five for each of e under two layers of three rows."""
    torch.manual_seed(1)
    prior = priors.Codebook(8, codes=3, depth=2, learning="gradient").double()
    posterior = posteriors.GumbelQuantised(8, depth=2, **options)
    walk = Walk(prior, posterior, posterior.read(e, None), begun=prior.begin(None, None))
    return prior, posterior, walk


def test_rows_are_chosen_by_their_distances_and_their_probabilities_add_up():
    e = torch.randn(2, 4)
    prior, posterior, walk = chosen(e)
    places = [torch.stack(rows).flatten() for rows in itertools.product(prior.book[0], repeat=2)]
    below = [torch.stack(rows).flatten() for rows in itertools.product(prior.book[1], repeat=2)]
    pairs = list(itertools.product(places, below))
    codes = [torch.stack([pair[n] for pair in pairs]).unsqueeze(1).expand(-1, 2, -1) for n in (0, 1)]
    with torch.no_grad():
        draw = walk.along(codes)
        torch.testing.assert_close(draw.log_q.exp().sum(0), torch.ones(2))
        # One code by hand: each place of each layer is a softmax of minus squared distances.
        at, truth = 17, torch.zeros(2)
        for i, place in itertools.product(range(2), (slice(0, 2), slice(2, 4))):
            left = e[i, place]
            for n, book in enumerate(prior.book):
                row = pairs[at][n][place]
                scores = [-(left - other).square().sum().item() for other in book]
                truth[i] += -(left - row).square().sum() - torch.tensor(scores).logsumexp(0)
                left = left - row
        torch.testing.assert_close(draw.log_q[at], truth)
        first = draw.q[0]
        kl = (draw.log_q.exp() * (walk.along(codes).q[0].log_prob(codes[0]) + 2 * math.log(3))).sum(0)
        torch.testing.assert_close(closed_form_kl(first, draw.p[0]), kl)
        drawn = first.sample((20_000,))
        for i, row in enumerate(places):
            share = (drawn == row).all(-1).double().mean(0)
            expected = first.log_prob(row.expand(2, -1)).exp()
            assert (share - expected).abs().max() < 0.02, i
        torch.testing.assert_close(
            posterior.point(first)[0], max(places, key=lambda r: first.log_prob(r)[0].item())
        )


def test_a_book_that_would_not_learn_from_a_choice_is_refused():
    prior = codebook()
    state = prior.begin(None, None)
    with pytest.raises(ConfigError, match="got a prior with learning='means'"):
        posteriors.GumbelQuantised(4).level(0, torch.randn(2, 4), state, prior.level(0, state))


def test_an_order_of_codes_has_no_closed_divergence_from_a_choice():
    prior = priors.Codebook(4, codes=3, order=4, learning="gradient").double()
    p = prior.level(0, prior.begin(None, None))
    q = posteriors.GumbelQuantised(4).level(0, torch.randn(2, 4), None, p)
    assert closed_form_kl(q, p) is None


def test_a_gradient_reaches_encoder_and_book_of_a_choice():
    e = torch.randn(2, 4, requires_grad=True)
    prior, _, walk = chosen(e)
    draw = walk.draw(3, 2)
    for found in torch.autograd.grad(draw.code.square().sum(), [e, prior.book]):
        assert found.any()
        assert found.isfinite().all()
    for z, rows in zip(draw.z, prior.book, strict=True):
        assert (torch.cdist(z.reshape(-1, 2), rows).min(1).values < 1e-12).all()


def test_lower_layers_are_dropped_for_some_examples_in_training_alone():
    e = torch.randn(4000, 4)
    _, posterior, walk = chosen(e, drop=0.3)
    draw = walk.draw(2, 4000)
    gone = (draw.z[1] == 0).all(-1)
    assert torch.equal(gone[0], gone[1])
    assert gone[0].double().mean().item() == pytest.approx(0.3, abs=0.03)
    assert not (draw.z[0] == 0).all(-1).any()
    assert isinstance(posterior.eval().read(e, None), torch.Tensor)


def test_a_book_with_a_norm_too_large_beside_the_one_above_costs():
    e = torch.randn(2, 4)
    prior, _, walk = chosen(e, norm=0.6, scale=2.0)
    prior.book.data[0], prior.book.data[1] = torch.ones(3, 2), 1.5 * torch.ones(3, 2)
    torch.testing.assert_close(walk.draw(1, 2).penalty, torch.full((1, 2), 0.6 / 2 * (2 * 1.5 - 1) ** 2))
    prior.book.data[1] = 0.4 * torch.ones(3, 2)
    assert not walk.draw(1, 2).penalty.any()


def test_rows_move_to_the_means_of_what_is_nearest_to_them():
    prior = codebook(decay=0.0, revive=0.0)
    e = torch.randn(300, 2, 2)
    near = torch.cdist(e.reshape(-1, 2), prior.book[0]).argmin(1)
    prior.learn(0, e)
    for k in near.unique():
        torch.testing.assert_close(prior.book[0, k], e.reshape(-1, 2)[near == k].mean(0))


def test_means_run_over_steps_without_a_bias():
    prior = codebook(codes=1, decay=0.9)
    truth, weight = prior.book[0, 0].clone(), 1.0
    for _ in range(5):
        e = torch.randn(20, 2, 2)
        prior.learn(0, e)
        truth = 0.9 * truth + 0.1 * e.mean((0, 1))
    torch.testing.assert_close(prior.book[0, 0], truth * weight)


def test_a_row_that_nothing_is_near_takes_a_vector_s_place():
    prior = codebook(decay=0.5, revive=0.1)
    prior.book[0, 3] = prior.total[0, 3] = 1e3
    e = torch.randn(40, 2, 2)
    for _ in range(5):
        prior.learn(0, e)
    distance = (e.reshape(-1, 2) - prior.book[0, 3]).norm(dim=1).min()
    assert prior.book[0, 3].norm() < 10
    assert distance < 1


def test_the_book_learns_in_training_alone():
    prior, posterior = codebook(), posteriors.VectorQuantised(4)
    before = prior.book.clone()
    e = torch.randn(9, 4)
    posterior.eval().level(0, e, (None, None), prior.level(0, (None, None)))
    with torch.no_grad():
        posterior.train().level(0, e, (None, None), prior.level(0, (None, None)))
    assert torch.equal(prior.book, before)
    posterior.level(0, e, (None, None), prior.level(0, (None, None)))
    assert not torch.equal(prior.book, before)


@pytest.mark.parametrize(
    "build",
    [
        lambda: priors.Codebook(4, codes=3, width=2, order=4),
        lambda: priors.Codebook(4, codes=3, width=1, depth=2, order=4),
        lambda: priors.Codebook(4, codes=3, width=2, order=4, context=2),
        lambda: priors.Lattice(4, steps=(3, 2), order=4),
        lambda: priors.Lattice(4, steps=(3, 2)),
    ],
)
def test_over_all_codes_probabilities_add_up_and_draws_have_them(build):
    prior = build().double()
    for parameter in prior.parameters():
        parameter.data += torch.randn_like(parameter)
    books = [prior.rows(n) for n in range(prior.depth)]
    layers = [torch.cat([torch.cartesian_prod(*[torch.arange(len(b))] * prior.places)]) for b in books]
    codes = [b[k].flatten(1) for b, k in zip(books, layers, strict=True)]
    pairs = list(itertools.product(*codes))
    z = [torch.stack(part).unsqueeze(1) for part in zip(*pairs, strict=True)]
    walk = Walk(prior, context=torch.randn(1, 2) if prior.context else None)
    walk.begun = prior.begin(walk.context, None)
    probability = walk.along(z).log_p.exp().flatten()
    assert probability.sum().item() == pytest.approx(1, abs=1e-12)
    with torch.no_grad():
        drawn = walk.draw(4000, 1)
    flat = torch.cat(drawn.z, -1).flatten(0, 1)
    which = torch.cdist(flat, torch.cat(z, -1).flatten(0, 1)).argmin(1)
    share = torch.bincount(which, minlength=len(pairs)) / 4000
    assert ((share - probability).abs() < 5 * (probability / 4000).sqrt() + 1e-3).all()


def test_finite_scalars_are_points_of_the_lattice():
    prior, posterior = priors.Lattice(8), posteriors.FiniteScalar(8)
    assert prior.points.shape == (1000, 4)
    assert torch.equal(prior.index(0, prior.points), torch.arange(1000))
    e = (4 * torch.randn(200, 8)).requires_grad_()
    q = posterior.level(0, e, None, prior.level(0, (None, None)))
    z = q.rsample().unflatten(-1, (2, 4))
    torch.testing.assert_close(prior.points[prior.index(0, z)], z.detach())
    for j, n in enumerate((8, 5, 5, 5)):
        assert z[..., j].unique().numel() == n
    (gradient,) = torch.autograd.grad(z.sum(), e)
    assert (gradient > 0).all()
    # In the middle a number is rounded to the nearest of its values.
    near = posterior.level(0, torch.zeros(1, 8), None, None).rsample()
    torch.testing.assert_close(near, torch.zeros(1, 8))


# -------------------------------------------------------------------------------------------------- choices
def test_choices_have_their_probabilities_and_a_relaxed_draw_nears_them():
    logits = torch.randn(3, requires_grad=True)
    q = GumbelOneHot(logits, 0.5)
    z = q.rsample((20_000,))
    assert ((z == 0) | (z == 1)).all()
    assert ((z.mean(0) - q.probs).abs() < 5 * (q.variance / 20_000).sqrt()).all()
    assert torch.autograd.grad(z[:, 0].sum(), logits)[0][0] > 0
    soft = GumbelOneHot(logits, 0.05, hard=False).rsample((1000,))
    torch.testing.assert_close(soft.sum(-1), torch.ones(1000))
    assert (soft.max(-1).values > 0.99).double().mean() > 0.8


def test_relaxed_draws_are_for_training_alone():
    posterior = posteriors.GumbelSoftmax(6, categories=3, hard=False)
    h = torch.randn(50, 2, 3)
    assert posterior.train()(h).rsample().max() < 1
    assert (posterior.eval()(h).rsample().max(-1).values == 1).all()


# ------------------------------------------------------------------------------------------- without density
def test_a_deterministic_code_is_an_autoencoder_s_and_says_that_it_has_no_density():
    data = lb.data.load("digits", binarize="static")
    model = lb.VAE.for_data(data, latent=3, posterior="deterministic", network={"type": "mlp", "hidden": [8]})
    x, _ = next(iter(data.test.batches(6)))
    out = lb.objectives.ELBO(beta=0.5)(model, x, None, lb.objectives.Progress())
    z = model.encode(x)
    log_p = Independent(Normal(torch.zeros(3), 1.0), 1).log_prob(z.double())
    loss = -0.5 * log_p.mean() - model.likelihood_at(z).log_prob(x).mean()
    torch.testing.assert_close(out.loss.double(), loss.double(), rtol=1e-5, atol=1e-5)
    assert torch.equal(model.encode(x, sample=True, seed=1), z)
    for call in (
        lambda: model.log_prob(x),
        lambda: lb.evaluate.nll(model, x, samples=3),
        lambda: lb.evaluate.bound(model, x),
        lambda: lb.objectives.ImportanceWeighted()(model, x, None, lb.objectives.Progress()),
    ):
        with pytest.raises(ConfigError, match="a deterministic code has no density"):
            call()


# ----------------------------------------------------------------------------------------- bad options
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: priors.GaussianMixture(2, components=0), "components must be a positive integer; got 0"),
        (lambda: priors.MAF((2, 3)), r"MAF needs a vector latent \(L,\)"),
        (lambda: priors.NSF(2, bins=0), "bins must be a positive integer"),
        (lambda: priors.Sphere(1), "at least 2 numbers"),
        (lambda: priors.Codebook(5), "let latent be a multiple of 2"),
        (lambda: priors.Codebook(4, learning="magic"), "'means' or 'gradient'; got 'magic'"),
        (lambda: priors.Codebook(4, decay=1.0), r"decay must be a number in \[0, 1\)"),
        (lambda: priors.Lattice(4, steps=(1, 2)), "steps of at least 2"),
        (lambda: priors.Lattice(4, steps=(2**9, 2**9)), "at most 65536 points"),
        (lambda: priors.Categorical(7), "a multiple of 10 numbers"),
        (lambda: priors.Poincare(2, curvature=0), "curvature > 0"),
        (lambda: posteriors.LowRankGaussian(3, rank=4), "a rank of at most k"),
        (lambda: posteriors.StudentT(3, df=2), "more than 2 degrees of freedom; got 2"),
        (lambda: posteriors.Coupling(1), "one half of the numbers by the other"),
        (lambda: posteriors.IAF((2, 2, 2)), "IAF needs a vector latent"),
        (lambda: posteriors.Sylvester(2, columns=3), "at most k columns"),
        (lambda: posteriors.VonMisesFisher(1), "at least 2 numbers"),
        (lambda: posteriors.VectorQuantised(4, gradient="none"), "'straight_through' or 'rotation'"),
        (lambda: posteriors.VectorQuantised(5, depth=2), "a multiple of 2 numbers"),
        (lambda: posteriors.FiniteScalar(5), "a multiple of 4 numbers"),
        (lambda: posteriors.GumbelSoftmax(20, temperature=0.0), "temperature > 0"),
        (lambda: posteriors.Poincare(2, curvature=-1.0), "curvature > 0"),
        (lambda: priors.Gamma(2, rate=0.0), "a shape and a rate > 0; got 2.0 and 0.0"),
    ],
)
def test_bad_options_are_refused_with_their_remedy(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_a_slot_without_its_partner_is_refused_by_name():
    data = lb.data.load("digits", binarize="static")
    for slots, message in (
        ({"posterior": "vq"}, "posterior 'vq' goes with prior 'codebook'"),
        ({"prior": "sphere"}, "prior 'sphere' goes with posterior 'von_mises_fisher'"),
        (
            {"posterior": {"type": "fsq", "steps": [3, 3]}, "prior": "lattice"},
            "disagree on steps",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            lb.VAE.for_data(data, latent=8, **slots)
