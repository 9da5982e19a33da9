"""Densities against numerical integrals and other implementations; divergences against closed forms and draws."""

import itertools
import math

import pytest
import torch
from scipy import integrate, stats
from torch.distributions import (
    Bernoulli,
    Categorical,
    Independent,
    Laplace,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    StudentT,
    kl_divergence,
)
from torch.distributions import ContinuousBernoulli as TorchContinuousBernoulli

import lowerbound
from lowerbound.distributions import (
    BernoulliLogits,
    ContinuousBernoulliLogits,
    Mixture,
    OneHot,
    closed_form_kl,
    from_uniform,
    kl_per_dimension,
    uniforms,
)

pytestmark = pytest.mark.usefixtures("float64")

# around the switches between series and closed form (0.001, 0.1), and out to where sigmoid is 0 or 1
SIZES = (1e-12, 1e-4, 9e-4, 1.1e-3, 0.05, 0.099, 0.101, 1.0, 5.0, 20.0, 60.0)
LOGITS = [*(-size for size in SIZES), 0.0, *SIZES]


def density(logit):
    """Unnormalised density of the continuous Bernoulli, e^(l x), kept below 1; and the factor taken out."""
    top = max(logit, 0.0)
    return (lambda x: math.exp(logit * x - top)), top


def integral(function, a, b, logit=0.0):
    edges = [e for e in (3 / (abs(logit) + 1), 1 - 3 / (abs(logit) + 1)) if a < e < b]
    return integrate.quad(function, a, b, points=edges or None, epsabs=1e-13, epsrel=1e-12)[0]


# ------------------------------------------------------------------------------------------ Bernoulli
@pytest.mark.parametrize("logit", [-60.0, -3.0, 0.0, 1e-4, 2.0, 19.0, 21.0, 60.0])
def test_bernoulli_is_that_of_torch_and_sums_to_one(logit):
    x = torch.tensor([0.0, 1.0])
    ours = BernoulliLogits(torch.tensor(logit)).log_prob(x)
    theirs = Bernoulli(logits=torch.tensor(logit)).log_prob(x)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=3e-9)  # softplus is the identity above 20
    assert ours.exp().sum().item() == pytest.approx(1, abs=3e-9)


def test_bernoulli_gradient_is_x_minus_p():
    logits = torch.tensor([-50.0, -1.0, 0.0, 3.0, 50.0], requires_grad=True)
    BernoulliLogits(logits).log_prob(torch.ones(5)).sum().backward()
    torch.testing.assert_close(logits.grad, 1 - logits.detach().sigmoid(), rtol=0, atol=3e-9)


@pytest.mark.parametrize(
    ("logits", "value"), [((3,), (3,)), ((2, 1, 3), (4, 3)), ((3,), (2, 4, 3)), ((2, 3), (1, 3)), ((), (3,))]
)
def test_bernoulli_derivatives_pass_gradcheck_under_broadcasting(logits, value):
    arguments = [torch.randn(shape, requires_grad=True) for shape in (logits, value)]

    def log_prob(h, x):
        return BernoulliLogits(h).log_prob(x)

    assert log_prob(*arguments).shape == torch.broadcast_shapes(logits, value)
    assert torch.autograd.gradcheck(log_prob, arguments)
    assert torch.autograd.gradgradcheck(log_prob, arguments)


@pytest.mark.parametrize("logits", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [torch.bool, torch.uint8, torch.int64, torch.float32, torch.float64])
def test_bernoulli_takes_values_of_any_type(logits, value):
    h = torch.tensor([-1.0, 2.0], dtype=logits, requires_grad=True)
    x = torch.tensor([0, 1])
    log_prob = BernoulliLogits(h).log_prob(x.to(value))
    torch.testing.assert_close(log_prob.double(), BernoulliLogits(h.double()).log_prob(x.double()))
    log_prob.sum().backward()
    torch.testing.assert_close(h.grad, x - h.detach().sigmoid(), check_dtype=False)
    assert h.grad.dtype == logits


@pytest.mark.parametrize("family", [BernoulliLogits, ContinuousBernoulliLogits])
def test_expand_keeps_the_density(family):
    p = Independent(family(torch.tensor([0.5, -2.0])), 1)
    expanded = p.expand((3,))
    x = p.sample()
    assert expanded.batch_shape == (3,)
    torch.testing.assert_close(expanded.log_prob(x), p.log_prob(x).expand(3))
    assert type(expanded.base_dist) is family


# ------------------------------------------------------------------------------- continuous Bernoulli
@pytest.mark.parametrize("logit", LOGITS)
def test_continuous_bernoulli_integrates_to_one_and_has_the_mean_of_its_integral(logit):
    p = ContinuousBernoulliLogits(torch.tensor(logit))
    f, top = density(logit)
    normaliser = integral(f, 0, 1, logit)
    assert p.log_normaliser.item() == pytest.approx(math.log(normaliser) + top, abs=1e-10)
    assert p.mean.item() == pytest.approx(integral(lambda x: x * f(x), 0, 1, logit) / normaliser, abs=1e-9)
    total = integral(lambda x: p.log_prob(torch.tensor(x)).exp().item(), 0, 1, logit)
    assert total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("logit", [-12.0, -3.0, -0.5, 0.5, 2.0, 12.0])
def test_continuous_bernoulli_is_that_of_torch_where_torch_is_exact(logit):
    x = torch.linspace(0, 1, 11)
    ours = ContinuousBernoulliLogits(torch.tensor(logit))
    theirs = TorchContinuousBernoulli(logits=torch.tensor(logit))
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x))
    torch.testing.assert_close(ours.mean, theirs.mean)
    torch.testing.assert_close(ours.icdf(x), theirs.icdf(x))


@pytest.mark.parametrize("logit", LOGITS)
def test_continuous_bernoulli_icdf_inverts_the_cdf(logit):
    p = ContinuousBernoulliLogits(torch.tensor(logit))
    u = torch.tensor([0.0, 0.01, 0.3, 0.5, 0.8, 0.99, 1.0])
    f, _ = density(logit)
    normaliser = integral(f, 0, 1, logit)
    back = [integral(f, 0, x, logit) / normaliser for x in p.icdf(u).tolist()]
    assert back == pytest.approx(u.tolist(), abs=1e-9)


@pytest.mark.parametrize("logit", [-60.0, -2.0, 0.0, 0.05, 2.0, 60.0])
def test_continuous_bernoulli_draws_have_its_moments(logit):
    n = 40_000
    x = ContinuousBernoulliLogits(torch.tensor(logit)).sample((n,))
    f, _ = density(logit)
    normaliser = integral(f, 0, 1, logit)
    for power in (1, 2):
        moment = integral(lambda y: y**power * f(y), 0, 1, logit) / normaliser  # noqa: B023
        error = (x**power).std() / math.sqrt(n)
        assert abs((x**power).mean() - moment) < 4 * error


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_continuous_bernoulli_has_finite_gradients_everywhere(dtype):
    logits = torch.tensor([-1e4, *LOGITS, 1e4], dtype=dtype, requires_grad=True)
    p = ContinuousBernoulliLogits(logits)
    for x in (0.0, 0.3, 1.0):
        gradient = torch.autograd.grad(p.log_prob(torch.tensor(x, dtype=dtype)).sum(), logits)[0]
        # d log p / dl = x − E[x]
        torch.testing.assert_close(
            gradient, x - p.mean.detach(), rtol=0, atol=1e-5 if dtype.itemsize == 4 else 1e-8
        )
    (gradient,) = torch.autograd.grad(p.rsample((1000,)).sum(), logits)
    assert gradient.isfinite().all()


def test_continuous_bernoulli_smallest_uniform_draw_keeps_the_gradient_finite(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda shape, **options: torch.zeros(shape, **options))
    logits = torch.tensor([-60.0, 0.0, 1.0, 60.0], requires_grad=True)
    x = ContinuousBernoulliLogits(logits).rsample()
    (gradient,) = torch.autograd.grad(x.sum(), logits)
    assert gradient.isfinite().all()
    assert ((x >= 0) & (x <= 1)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("logit", [-3.0, -1e-3, -1e-6, 0.0, 1e-6, 1e-3, 2.0])
def test_continuous_bernoulli_draws_carry_the_derivative_of_the_quantile(logit, dtype):
    """dx/dl at fixed u is −(∂F/∂l) / (∂F/∂x); at l = 0 it is u (1 − u) / 2."""
    u = torch.tensor([0.1, 0.5, 0.9], dtype=dtype)
    logits = torch.full((3,), logit, dtype=dtype, requires_grad=True)
    (gradient,) = torch.autograd.grad(ContinuousBernoulliLogits(logits).icdf(u).sum(), logits)

    step = 1e-3
    outer = [ContinuousBernoulliLogits(torch.tensor(logit + s * step)).icdf(u.double()) for s in (-1, 1)]
    torch.testing.assert_close(gradient.double(), (outer[1] - outer[0]) / (2 * step), rtol=2e-3, atol=1e-5)


def test_continuous_bernoulli_normaliser_passes_gradcheck():
    logits = torch.tensor([-30.0, -0.11, -0.09, 0.0, 0.05, 0.5, 40.0], requires_grad=True)
    assert torch.autograd.gradcheck(lambda h: ContinuousBernoulliLogits(h).log_normaliser, logits)
    assert torch.autograd.gradcheck(lambda h: ContinuousBernoulliLogits(h).mean, logits)


# ---------------------------------------------------------------------------------------- divergences
def standard(k):
    return Independent(Normal(torch.zeros(k), torch.ones(k)), 1)


def diagonal(*batch, k=3):
    return Independent(Normal(torch.randn(*batch, k), torch.rand(*batch, k) + 0.3), 1)


def full(*batch, k=3):
    tril = torch.tril(torch.randn(*batch, k, k), -1) + torch.diag_embed(torch.rand(*batch, k) + 0.3)
    return MultivariateNormal(torch.randn(*batch, k), scale_tril=tril)


PAIRS = {
    "diagonal, standard": lambda: (diagonal(4), standard(3)),
    "diagonal, diagonal": lambda: (diagonal(4), diagonal()),
    "full, standard": lambda: (full(4), standard(3)),
    "full, diagonal": lambda: (full(4), diagonal()),
    "full, batch of diagonals": lambda: (full(4), diagonal(4)),
    "full, full": lambda: (full(4), full()),
}
every_pair = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)


def as_full(p):
    if isinstance(p, MultivariateNormal):
        return p
    return MultivariateNormal(p.mean, scale_tril=torch.diag_embed(p.base_dist.scale))


@every_pair
def test_kl_is_that_of_torch_between_full_covariances(pair):
    q, p = pair()
    kl = closed_form_kl(q, p)
    assert kl.shape == (4,)
    torch.testing.assert_close(kl, kl_divergence(as_full(q), as_full(p)))


@every_pair
def test_kl_is_that_of_draws(pair):
    q, p = pair()
    n = 20_000
    z = q.sample((n,))
    difference = q.log_prob(z) - p.log_prob(z)
    error = difference.std(0) / math.sqrt(n)
    assert ((difference.mean(0) - closed_form_kl(q, p)).abs() < 4 * error).all()


def test_kl_of_a_full_covariance_against_the_standard_normal_is_the_textbook_formula():
    q = full(4, k=2)
    covariance = q.scale_tril @ q.scale_tril.mT
    trace = covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
    expected = 0.5 * (trace + q.loc.square().sum(-1) - 2 - torch.logdet(covariance))
    torch.testing.assert_close(closed_form_kl(q, standard(2)), expected)


def test_kl_of_a_diagonal_gaussian_against_the_standard_normal_is_the_textbook_formula():
    q = diagonal(4)
    mean, variance = q.mean, q.variance
    per_dimension = 0.5 * (mean**2 + variance - 1 - variance.log())
    torch.testing.assert_close(kl_per_dimension(q, standard(3)), per_dimension)
    torch.testing.assert_close(closed_form_kl(q, standard(3)), per_dimension.sum(-1))


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4)])
def test_kl_per_dimension_sums_to_the_kl(shape):
    axes = len(shape)
    q = Independent(Normal(torch.randn(5, *shape), torch.rand(5, *shape) + 0.3), axes)
    p = Independent(Normal(torch.randn(shape), torch.rand(shape) + 0.3), axes)
    per_dimension = kl_per_dimension(q, p)
    assert per_dimension.shape == (5, *shape)
    torch.testing.assert_close(per_dimension.flatten(1).sum(1), closed_form_kl(q, p))


def test_kl_is_none_where_no_closed_form_is_known():
    q, p = standard(2), Independent(StudentT(3 * torch.ones(2)), 1)
    assert closed_form_kl(q, p) is None
    assert kl_per_dimension(q, p) is None
    assert closed_form_kl(full(k=2), Independent(Laplace(torch.zeros(2), torch.ones(2)), 1)) is None


def test_kl_per_dimension_is_none_unless_both_factorise():
    assert kl_per_dimension(full(), standard(3)) is None
    joint = Independent(full(2), 1)  # independent rows of dependent numbers
    assert kl_per_dimension(joint, joint) is None


# -------------------------------------------------------------------------------------------- one of K
def one_hot(k, values):
    return torch.eye(values)[torch.as_tensor(k)]


@pytest.mark.parametrize("batch", [(), (1,), (5,)])
def test_one_hot_probabilities_are_those_of_the_categorical_and_sum_to_one(batch):
    p = OneHot(torch.randn(*batch, 4))
    k = torch.randint(4, (3, 5))
    log_prob = p.log_prob(one_hot(k, 4))
    assert log_prob.shape == (3, 5)
    torch.testing.assert_close(log_prob, Categorical(logits=p.log_probs).log_prob(k))
    total = sum(p.log_prob(one_hot(k, 4)).exp() for k in range(4))
    torch.testing.assert_close(total, torch.ones(batch))


def test_one_hot_moments_and_draws_are_those_of_its_frequencies():
    n, logits = 40_000, torch.randn(3, 4)
    p = OneHot(logits)
    torch.testing.assert_close(p.probs, logits.softmax(-1))
    square = sum(p.probs[:, k, None] * (one_hot(k, 4) - p.mean).square() for k in range(4))
    torch.testing.assert_close(p.variance, square)
    z = p.sample((n,))
    assert z.shape == (n, 3, 4)
    assert ((z == 0) | (z == 1)).all()
    assert (z.sum(-1) == 1).all()
    assert ((z.mean(0) - p.mean).abs() < 4 * (p.variance / n).sqrt()).all()
    assert not p.has_rsample


@pytest.mark.parametrize("batches", [((4,), ()), ((4,), (1,)), ((4,), (4,)), ((), ())])
def test_one_hot_kl_is_a_sum_over_the_values(batches):
    q, p = (OneHot(torch.randn(*batch, 4)) for batch in batches)
    kl = closed_form_kl(q, p)
    assert kl.shape == batches[0]
    torch.testing.assert_close(
        kl, sum(q.probs[..., k] * (q.probs[..., k] / p.probs[..., k]).log() for k in range(4))
    )
    assert torch.equal(closed_form_kl(q, q), torch.zeros(batches[0]))
    assert kl_per_dimension(q, p) is None
    assert closed_form_kl(q, standard(4)) is None


def test_one_hot_kl_of_a_certain_value_is_the_cross_entropy():
    p, k = OneHot(torch.randn(5, 4)), torch.tensor([2, 0, 3, 3, 1])
    q = OneHot(torch.where(one_hot(k, 4) > 0, 0.0, -1e4))
    torch.testing.assert_close(
        closed_form_kl(q, p), torch.nn.functional.cross_entropy(p.log_probs, k, reduction="none")
    )


def test_values_of_no_probability_are_never_drawn_and_do_no_harm():
    logits = torch.tensor([0.3, -torch.inf, 1.0], requires_grad=True)
    p = OneHot(logits)
    z = p.sample((1000,))
    assert not z[:, 1].any()
    assert p.log_prob(z).isfinite().all()
    assert p.log_prob(torch.tensor([0.0, 1.0, 0.0])) == -torch.inf
    q = OneHot(torch.tensor([0.0, -torch.inf, 0.0]))
    kl = closed_form_kl(q, p)
    assert kl.item() == pytest.approx(-0.5 * (p.probs[0] * p.probs[2]).log().item() - math.log(2))
    assert closed_form_kl(OneHot(torch.zeros(3)), p) == torch.inf
    (gradient,) = torch.autograd.grad(kl - p.log_prob(z).mean(), logits)
    assert gradient.isfinite().all()
    assert not from_uniform(p, torch.rand(1000, 1).clamp(1e-9))[:, 1].any()


# ------------------------------------------------------------------------------------------ mixtures
@pytest.mark.parametrize("batch", [(), (2,)])
def test_a_mixture_is_that_of_torch_with_the_parts_on_the_first_axis(batch):
    loc, scale, logits = torch.randn(3, *batch, 2), torch.rand(3, *batch, 2) + 0.3, torch.randn(3, *batch)
    p = Mixture(Independent(Normal(loc, scale), 1), logits)
    last = Independent(Normal(loc.movedim(0, -2), scale.movedim(0, -2)), 1)
    truth = MixtureSameFamily(Categorical(logits=logits.movedim(0, -1)), last)
    z = torch.randn(7, *batch, 2)
    assert (p.batch_shape, p.event_shape) == (torch.Size(batch), (2,))
    torch.testing.assert_close(p.log_prob(z), truth.log_prob(z))
    torch.testing.assert_close(p.mean, truth.mean)
    torch.testing.assert_close(p.variance, truth.variance)
    equal = Mixture(Independent(Normal(loc, scale), 1))
    truth = MixtureSameFamily(Categorical(logits=torch.zeros(*batch, 3)), last)
    torch.testing.assert_close(equal.log_prob(z), truth.log_prob(z))


@pytest.mark.parametrize("batch", [(), (3,)])
def test_many_gaussians_have_the_density_of_torch_and_its_gradients(batch):
    loc = 3 * torch.randn(120, *batch, 40)
    loc.requires_grad_()
    scale = (torch.rand(120, *batch, 40) * 0.5 + 0.05).requires_grad_()
    logits = torch.randn(120, *batch, requires_grad=True)
    z = (loc[:7] + scale[:7] * torch.randn(7, *batch, 40)).detach().requires_grad_()
    p = Mixture(Independent(Normal(loc, scale), 1), logits)
    last = Independent(Normal(loc.movedim(0, -2), scale.movedim(0, -2)), 1)
    truth = MixtureSameFamily(Categorical(logits=logits.movedim(0, -1)), last)
    inputs = [z, loc, scale, logits]
    found, exact = p.log_prob(z), truth.log_prob(z)
    torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-9)
    ours, theirs = (torch.autograd.grad(log_p.sum(), inputs) for log_p in (found, exact))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-7)
    with torch.no_grad():
        single = Mixture(Independent(Normal(loc.float(), scale.float()), 1), logits.float())
        torch.testing.assert_close(single.log_prob(z.float()).double(), exact, rtol=1e-5, atol=1e-3)


def test_draws_of_a_mixture_are_its_own(monkeypatch):
    monkeypatch.setattr(lowerbound.distributions.mixture, "_AT_ONCE", 9 * 5000)  # in several parts
    loc, logits = torch.tensor([[-3.0], [0.0], [4.0]]), torch.tensor([0.2, 0.5, 0.3]).log()
    z = Mixture(Independent(Normal(loc, 0.1 * torch.ones(3, 1)), 1), logits).sample((20_000, 2))
    assert z.shape == (20_000, 2, 1)
    for centre, share in zip(loc.flatten(), (0.2, 0.5, 0.3), strict=True):
        near = (z - centre).abs() < 1
        assert abs(near.double().mean().item() - share) < 4 * math.sqrt(share * (1 - share) / z.numel())
        assert z[near].std().item() == pytest.approx(0.1, rel=0.05)


# -------------------------------------------------------------------------- from points of the unit cube
@pytest.mark.parametrize("batch", [(), (1,)])
def test_points_of_the_cube_become_values_by_the_inverse_distribution_functions(batch):
    u = torch.rand(500, 3).clamp(1e-9)
    gaussian = diagonal(*batch)
    assert uniforms(gaussian) == 3
    torch.testing.assert_close(from_uniform(gaussian, u), gaussian.base_dist.icdf(u).reshape(500, 3))
    p = OneHot(torch.randn(*batch, 4))
    assert uniforms(p) == 1
    z = from_uniform(p, u[:, :1])
    edges = [0.0, *p.probs.flatten().cumsum(0).tolist()]
    for k, (low, high) in enumerate(itertools.pairwise(edges)):
        assert torch.equal(z[:, k] == 1, (u[:, 0] > low) & (u[:, 0] <= high))
    assert (z.sum(1) == 1).all()


def test_even_points_give_every_value_its_share_to_one_point():
    n = 1000
    p = OneHot(torch.randn(50))
    u = ((torch.arange(n) + 0.5) / n).unsqueeze(1)
    assert ((from_uniform(p, u).sum(0) - n * p.probs).abs() <= 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_outermost_points_are_finite(dtype):
    u = torch.tensor([[2.0**-31] * 2, [1 - 2.0**-31] * 2])
    gaussian = Independent(Normal(torch.zeros(2, dtype=dtype), torch.ones(2, dtype=dtype)), 1)
    z = from_uniform(gaussian, u)
    assert z.dtype == dtype
    assert z.isfinite().all()
    assert z[1, -1].item() == pytest.approx(stats.norm.isf(2.0**-31), abs=1e-5)
    assert torch.equal(
        from_uniform(OneHot(torch.zeros(4, dtype=dtype)), u[:, :1]).argmax(1), torch.tensor([0, 3])
    )


def test_points_become_no_values_of_what_does_not_factorise_over_a_vector():
    assert uniforms(full()) is None
    assert uniforms(Independent(Normal(torch.zeros(2, 3), torch.ones(2, 3)), 2)) is None
    assert uniforms(Independent(StudentT(3 * torch.ones(2)), 1)) is None
