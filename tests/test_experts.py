"""x of several named parts: experts against exact posteriors and integrals, p(x_a | x_b) against its closed form."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from exact import raw_scale
from torch.distributions import MultivariateNormal

import lowerbound as lb
from lowerbound.data import DataSpec, join_parts, split_parts
from lowerbound.errors import ConfigError, DataError, ShapeError, SupportError
from lowerbound.likelihoods import Bernoulli, Categorical, Gaussian, Parts
from lowerbound.nn import PartsDecoder, PartsEncoder
from lowerbound.objectives import ELBO, MVTCAE, ImportanceWeighted, Progress, Subsets
from lowerbound.objectives.subsets import only
from lowerbound.posteriors import Experts
from lowerbound.slots import Part

SIZES, SIGMA = (3, 2, 1), 0.6
LAYOUT = [Part(name, (n,), (2 * n,), (1, n)) for name, n in zip("abc", SIZES, strict=True)]


@pytest.fixture
def linear(float64):
    """x = W z + m + noise in three parts, the columns of W orthogonal within each: W'W of each part is diagonal."""
    blocks = []
    for n in SIZES:
        q = torch.linalg.qr(torch.randn(n, n)).Q[:, : min(n, 2)] * (0.5 + torch.rand(min(n, 2)))
        blocks.append(torch.cat([q, torch.zeros(n, 2 - q.shape[1])], 1))
    return torch.cat(blocks), torch.randn(sum(SIZES))


def exact_model(linear, combine="poe", stratified=True, widen=1.0):
    """The VAE whose expert of each part is N(z; x_k | z) as a function of z: with N(0, I) they make p(z | x)."""
    weight, mean = linear
    parts = [{"name": p.name, "shape": list(p.event_shape), "values": "real"} for p in LAYOUT]
    likelihood = Parts(sum(SIZES), parts, {name: {"type": "gaussian", "scale": SIGMA} for name in "abc"})
    posterior = Experts(2, likelihood.layout, combine, stratified)
    encoder = PartsEncoder((2 * sum(SIZES),), posterior.input_shape, likelihood.layout, hidden=())
    decoder = PartsDecoder((2,), likelihood.input_shape, likelihood.layout, hidden=())
    model = lb.VAE(encoder, posterior, lb.priors.StandardNormal(2), decoder, likelihood, missing=True)
    with torch.no_grad():
        for w, m, into, out in zip(
            weight.split(SIZES), mean.split(SIZES), encoder.each, decoder.each, strict=True
        ):
            out.output.weight.copy_(w)
            out.output.bias.copy_(m)
            precision = (w.T @ w / SIGMA**2).diagonal()
            gain = torch.where(
                precision[:, None] > 0, w.T / SIGMA**2 / precision.clamp(min=1e-9)[:, None], 0.0
            )
            shape = torch.where(precision > 0, raw_scale(widen * precision.clamp(min=1e-9).rsqrt()), 200.0)
            into.output.weight.zero_()
            into.output.weight[:2, : len(m)] = gain
            into.output.bias.copy_(torch.cat([-gain @ m, shape]))
    return model


def marginal(linear, places):
    weight, mean = linear
    w = weight[places]
    return MultivariateNormal(mean[places], w @ w.T + SIGMA**2 * torch.eye(len(w)))


def draw(linear, n=6):
    return marginal(linear, torch.arange(sum(SIZES))).sample((n,))


def without(x, gone):
    keep = torch.tensor([[p.name not in gone for p in LAYOUT]]).expand(len(x), -1)
    return only(x, keep, SIZES)


# ----------------------------------------------------------------------------------------------- the posterior
@pytest.mark.parametrize("gone", ["", "a", "b", "c", "ab", "ac", "bc", "abc"])
def test_a_product_of_linear_experts_is_the_exact_posterior_whatever_parts_are_missing(linear, gone):
    model, x = exact_model(linear), without(draw(linear), gone)
    weights = model(x, samples=50).log_weight
    places = (~x[0].isnan()).nonzero().flatten()
    expected = marginal(linear, places).log_prob(x[:, places]) if len(places) else torch.zeros(len(x))
    # The expert of an effect that its part does not have is as wide as can be, e^12, and not infinitely wide.
    torch.testing.assert_close(weights, expected.expand_as(weights), atol=1e-8, rtol=0)


@pytest.mark.parametrize("combine", ["moe", "mopoe"])
@pytest.mark.parametrize("stratified", [True, False])
def test_the_weights_of_a_mixture_are_unbiased(linear, combine, stratified):
    # A mixture of experts has none that covers p(z | x): widened, none of its weights is unbounded.
    model, x = exact_model(linear, combine, stratified, widen=1.5), draw(linear, 3)
    with torch.no_grad():
        estimate = model(x, samples=60_000).log_weight.logsumexp(0) - math.log(60_000)
    torch.testing.assert_close(estimate, marginal(linear, torch.arange(6)).log_prob(x), atol=0.1, rtol=0)


def grid(half=9.0, points=301):
    axis = torch.linspace(-half, half, points)
    return torch.cartesian_prod(axis, axis), (axis[1] - axis[0]) ** 2


def naive(h, combine, z):
    """The density of q written out part by part and subset by subset, of one example h (K, 3, 2)."""
    here = [k for k in range(len(h)) if h[k, 2, 0] > 0.5]
    normal = torch.distributions.Normal(0.0, 1.0)

    def product(s):
        log = normal.log_prob(z).sum(-1) + sum(
            torch.distributions.Normal(h[k, 0], h[k, 1].exp()).log_prob(z).sum(-1) for k in s
        )
        cell = (grid()[0][1] - grid()[0][0])[1] ** 2
        every = normal.log_prob(grid()[0]).sum(-1) + sum(
            torch.distributions.Normal(h[k, 0], h[k, 1].exp()).log_prob(grid()[0]).sum(-1) for k in s
        )
        return (log - every.logsumexp(0) - cell.log()).exp()

    if not here or combine == "poe":
        return product(here)
    if combine == "moe":
        each = [torch.distributions.Normal(h[k, 0], h[k, 1].exp()).log_prob(z).sum(-1).exp() for k in here]
    else:
        each = [product(s) for n in range(1, len(here) + 1) for s in combinations(here, n)]
    return sum(each) / len(each)


@pytest.mark.parametrize("combine", ["poe", "moe", "mopoe"])
@pytest.mark.parametrize("there", [(1, 1, 1), (1, 0, 1), (0, 1, 0), (0, 0, 0)])
def test_densities_integrate_to_one_and_are_what_the_formula_says(float64, combine, there):
    h = torch.randn(3, 3, 2) * 0.4
    h[:, 1] = 12 * torch.tanh(h[:, 1] / 12)
    h[:, 2] = torch.tensor(there)[:, None]
    z, cell = grid()
    density = Experts(2, LAYOUT, combine)(h[None]).log_prob(z[:, None]).exp()[:, 0]
    assert float(density.sum() * cell) == pytest.approx(1, abs=1e-6)
    h[:, 1] = 12 * torch.tanh(h[:, 1] / 12)
    torch.testing.assert_close(density, naive(h, combine, z), atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("stratified", [True, False])
def test_draws_of_a_mixture_follow_its_density_and_the_parts_that_are_there(float64, stratified):
    h = torch.zeros(2, 3, 3, 1)
    h[:, :, 0, 0] = torch.tensor([-4.0, 0.0, 4.0])
    h[:, :, 1] = -2.0
    h[:, :, 2] = 1.0
    h[1, 1, 2] = 0.0  # the second example lacks the middle part
    z = Experts(1, LAYOUT, "moe", stratified)(h).rsample((3000,))[..., 0]
    shares = torch.stack([((z - m).abs() < 2).double().mean(0) for m in (-4.0, 0.0, 4.0)], 1)
    expected = torch.tensor([[1, 1, 1], [1.5, 0, 1.5]]) / 3
    torch.testing.assert_close(shares, expected.double(), atol=1e-3 if stratified else 0.05, rtol=0)


def test_dreg_of_independent_draws_of_a_mixture_has_the_expectation_of_the_plain_gradient(linear):
    x = draw(linear, 2)

    def gradients(kind, n):
        model = exact_model(linear, "moe", stratified=False, widen=1.5)
        big = x.repeat(n, 1)
        ImportanceWeighted(2, kind)(model, big, None, Progress()).loss.backward()
        return model.encoder.each[0].output.bias.grad

    plain, doubly = gradients("standard", 40_000), gradients("dreg", 40_000)
    torch.testing.assert_close(doubly, plain, atol=0.03, rtol=0)
    assert plain.norm() > 0.2


def test_dreg_is_refused_where_draws_depend_on_each_other(linear):
    objective = ImportanceWeighted(4, "dreg")
    with pytest.raises(ConfigError, match=r"set posterior\.stratified=false"):
        objective.check(exact_model(linear, "moe"), Progress(total_steps=1))
    objective.check(exact_model(linear, "moe", stratified=False), Progress(total_steps=1))
    objective.check(exact_model(linear), Progress(total_steps=1))


# ---------------------------------------------------------------------------------- one part given another
@pytest.mark.parametrize(("combine", "widen"), [("poe", 1.0), ("poe", 1.3), ("mopoe", 1.3)])
def test_conditional_nll_against_the_closed_form(linear, combine, widen):
    model, x = exact_model(linear, combine, widen=widen), draw(linear, 30)
    for of in ("a", "bc"):
        mask = torch.cat([torch.full((n,), p.name in of) for p, n in zip(LAYOUT, SIZES, strict=True)])
        exact = marginal(linear, torch.arange(6)).log_prob(x)
        exact = exact - marginal(linear, (~mask).nonzero().flatten()).log_prob(x[:, ~mask])
        found = lb.evaluate.conditional_nll(model, x, of=mask, samples=5000, progress=False)
        torch.testing.assert_close(found.per_example, exact, atol=1e-6 if widen == 1 else 0.2, rtol=0)
        assert found.value == pytest.approx(-exact.mean().item(), abs=1e-6 if widen == 1 else 0.04)


def test_a_part_is_completed_from_the_others_as_the_joint_law_says(linear):
    model, x = exact_model(linear), without(draw(linear, 2), "a")
    done = model.complete(x, ~x.isnan(), n=4000, samples=4000, seed=0)
    joint = marginal(linear, torch.arange(6))
    cov = joint.covariance_matrix
    gain = cov[:3, 3:] @ torch.linalg.inv(cov[3:, 3:])
    mean = joint.loc[:3] + (x[:, 3:] - joint.loc[3:]) @ gain.T
    spread = cov[:3, :3] - gain @ cov[3:, :3]
    torch.testing.assert_close(done.x[..., :3].mean(0), mean, atol=0.12, rtol=0)
    torch.testing.assert_close(torch.cov(done.x[:, 0, :3].T), spread, atol=0.12, rtol=0)
    torch.testing.assert_close(
        done.log_observed, marginal(linear, torch.arange(3, 6)).log_prob(x[:, 3:]), atol=0.1, rtol=0
    )


def test_conditional_nll_says_what_it_cannot_do(linear):
    model, x = exact_model(linear), draw(linear)
    with pytest.raises(ConfigError, match="x_a is all of x"):
        lb.evaluate.conditional_nll(model, x, of=torch.ones(6), samples=2)
    with pytest.raises(ShapeError, match=r"x's shape \(6,\); got \(5,\)"):
        lb.evaluate.conditional_nll(model, x, of=torch.ones(5), samples=2)
    with pytest.raises(ConfigError, match="give a mask"):
        lb.evaluate.conditional_nll(model, x, of="a", samples=2)
    model.missing = False
    with pytest.raises(ConfigError, match="takes missing values"):
        lb.evaluate.conditional_nll(model, x, of="a", samples=2)


# ------------------------------------------------------------------------------------------------ the likelihood
def of_two_kinds():
    parts = [
        {"name": "image", "shape": [1, 2, 2], "values": "binary"},
        {"name": "label", "shape": [1], "values": "categorical", "categories": 3},
    ]
    return Parts(5, parts, {"image": "bernoulli", "label": "categorical"})


def test_parts_have_the_densities_of_their_families_and_sum_to_one(float64):
    slot = of_two_kinds()
    h = torch.randn(*slot.input_shape)
    every = torch.cartesian_prod(*[torch.arange(2.0)] * 4, torch.arange(3.0))
    p = slot(h)
    assert float(p.log_prob(every).exp().sum()) == pytest.approx(1, abs=1e-12)
    image, label = every[:, :4].reshape(-1, 1, 2, 2), every[:, 4:]
    alone = Bernoulli((1, 2, 2))(h[:4].reshape(1, 1, 2, 2)).log_prob(image)
    alone = alone + Categorical(1, 3)(h[4:].reshape(3, 1)).log_prob(label)
    torch.testing.assert_close(p.log_prob(every), alone)
    scored = torch.tensor([1.0, 1, 1, 1, 0]).expand(len(every), -1)
    torch.testing.assert_close(p.restricted(scored).log_prob(every), p.per_part(every)[:, 0])
    drawn = p.sample((20_000,))
    for values in every[::7]:
        share = (drawn == values).all(1).double().mean()
        assert float(share) == pytest.approx(float(p.log_prob(values).exp()), abs=0.015)


def test_parts_read_and_refuse_each_on_its_own():
    slot = of_two_kinds()
    x = torch.tensor([[0.0, 1, 1, 0, 2]])
    torch.testing.assert_close(slot.features(x), torch.tensor([[0.0, 1, 1, 0, 0, 0, 1]]))
    torch.testing.assert_close(
        slot.per_feature(torch.arange(5.0)[None]), torch.tensor([[0.0, 1, 2, 3, 4, 4, 4]])
    )
    slot.check(x)
    with pytest.raises(SupportError, match="in the part 'label' of x, Categorical needs"):
        slot.check(torch.tensor([[0.0, 1, 1, 0, 3]]))
    assert slot.point(slot(torch.zeros(slot.input_shape))).shape == (5,)
    assert slot.layout[0] == Part("image", (1, 2, 2), (2, 2, 2), (1, 1, 2, 2))


def test_parts_say_what_is_wrong_with_them():
    parts = of_two_kinds().parts
    with pytest.raises(ConfigError, match=r"x is \(6,\): load the data with parts="):
        Parts(6, parts, {"image": "bernoulli", "label": "categorical"})
    with pytest.raises(ConfigError, match="'bernoulli' cannot score the categorical values of 'label'"):
        Parts(5, parts, {"image": "bernoulli", "label": "bernoulli"})
    with pytest.raises(ConfigError, match="no part of x; did you mean 'label'"):
        Parts(5, parts, {"image": "bernoulli", "labels": "bernoulli"})
    with pytest.raises(ConfigError, match="needs x of several named parts"):
        Experts(2, None)
    with pytest.raises(ConfigError, match="options: moe, mopoe, poe"):
        Experts(2, LAYOUT, "mixture")
    with pytest.raises(ConfigError, match=r"2\^9 - 1 subsets"):
        Experts(2, LAYOUT * 3, "mopoe")
    with pytest.raises(ConfigError, match="no part of x; options: a, b, c"):
        PartsDecoder((2,), (6,), LAYOUT, networks={"d": "mlp"})
    with pytest.raises(ConfigError, match="no option 'width'"):
        PartsDecoder((2,), (6,), LAYOUT, networks={"a": {"type": "mlp", "width": 3}})
    with pytest.raises(ConfigError, match="missing=True"):
        PartsEncoder((6,), (3, 3, 2), LAYOUT)(torch.zeros(1, 6))


# ------------------------------------------------------------------------------------------------- the objectives
def test_subsets_add_up_the_bounds_of_all_parts_and_of_each_alone(linear):
    """With exact posteriors each bound is log p(x_S) itself, whatever is drawn."""
    model, x = exact_model(linear), draw(linear)
    out = Subsets(ImportanceWeighted(3), random=0)(model, x, None, Progress())
    singles = [
        marginal(linear, places).log_prob(x[:, places]).mean() for places in torch.arange(6).split(SIZES)
    ]
    whole = marginal(linear, torch.arange(6)).log_prob(x).mean()
    torch.testing.assert_close(out.bound, whole)
    torch.testing.assert_close(-out.loss, whole + sum(singles), atol=1e-7, rtol=0)
    torch.testing.assert_close(out.terms["subsets"], sum(singles) / 3, atol=1e-7, rtol=0)


def test_random_subsets_are_of_more_than_one_part_and_not_all(linear, monkeypatch):
    model, x = exact_model(linear), draw(linear, 200)
    seen = []
    inner = ELBO()
    forward = inner.forward
    monkeypatch.setattr(inner, "forward", lambda m, x, c, p: (seen.append(x), forward(m, x, c, p))[1])
    Subsets(inner, random=2)(model, x, None, Progress())
    assert [len(each) for each in seen] == [200, 5 * 200]
    there = torch.stack([~part[:, 0].isnan() for part in seen[1].split(SIZES, 1)], 1)
    assert (there[:600].sum(1) == 1).all()
    assert (there[600:].sum(1) == 2).all()
    assert len(there[600:].unique(dim=0)) == 3
    kept = ~seen[1].isnan()
    assert torch.equal(seen[1][kept], x.repeat(5, 1)[kept])


@pytest.mark.slow
def test_mvtcae_is_what_its_paper_says_on_gaussians(linear):
    """The loss at known posteriors, its terms by torch's own divergences and Monte Carlo."""
    model, x = exact_model(linear, widen=1.4), draw(linear, 3)
    alpha, beta = 0.7, 2.0
    torch.manual_seed(0)
    loss = torch.stack([MVTCAE(alpha, beta)(model, x, None, Progress()).loss.detach() for _ in range(300)])
    with torch.no_grad():
        whole = model(x, None, 4000)
        q, k = whole.q, len(SIZES)
        others = sum(
            torch.distributions.kl_divergence(q, model(without(x, gone), None).q)
            for gone in ("bc", "ac", "ab")
        )
        reconstruction = (k - alpha) / k * whole.log_likelihood.mean()
        expected = beta * ((1 - alpha) * whole.kl() + alpha / k * others).mean() - reconstruction
    assert loss.mean().item() == pytest.approx(expected.item(), abs=5 * loss.std().item() / math.sqrt(300))
    out = MVTCAE(alpha, beta)(model, x, None, Progress())
    assert out.bound.item() < marginal(linear, torch.arange(6)).log_prob(x).mean().item() + 1


def test_subsets_and_mvtcae_need_named_parts(linear):
    plain = lb.VAE(
        lb.nn.MLP((3,), (2, 2), hidden=()), lb.posteriors.DiagonalGaussian(2), lb.priors.StandardNormal(2),
        lb.nn.MLP((2,), (1, 3), hidden=()), Gaussian(3),
    )  # fmt: skip
    for objective in (Subsets(), MVTCAE()):
        with pytest.raises(ConfigError, match="needs x of several named parts"):
            objective.check(plain, Progress(total_steps=1))
    with pytest.raises(ConfigError, match="mixture"):
        MVTCAE().check(exact_model(linear, "moe"), Progress(total_steps=1))
    with pytest.raises(ConfigError, match="random >= 0"):
        Subsets(random=-1)
    with pytest.raises(ConfigError, match="several players"):
        Subsets(lb.objectives.FactorVAE())


# ------------------------------------------------------------------------------------------------------- the data
@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (60, 4, 4), dtype=np.uint8)
    kind = rng.choice(np.array(["cat", "dog", "eel"], object), 60)
    kind[5] = None
    return {"image": image, "tone": rng.normal(3, 2, (60, 2)), "kind": kind}


def test_parts_of_a_dict_are_read_each_as_it_would_be_alone(arrays):
    data = lb.data.load(arrays, parts=["image", "tone", "kind"])
    alone = lb.data.load(arrays["image"]).spec
    image, tone, kind = data.spec.named
    assert (image.values, image.levels, image.event_shape) == ("unit", 256, (1, 4, 4)) == (
        alone.values, alone.levels, alone.event_shape)  # fmt: skip
    assert (tone.values, tone.event_shape) == ("real", (2,))
    assert (kind.values, kind.classes, kind.event_shape, kind.missing) == (
        "categorical",
        ("cat", "dog", "eel"),
        (1,),
        True,
    )
    assert (data.spec.event_shape, data.spec.missing) == ((19,), True)
    assert data.spec.log_volume == pytest.approx(16 * math.log(256))
    found = [
        split_parts(x, data.spec)
        for split in (data.train, data.valid, data.test)
        for x, _ in split.batches(60)
    ]
    whole = {name: torch.cat([each[name] for each in found]) for name in arrays}
    order = data.order
    levels = torch.floor(whole["image"][:, 0] * 256)
    assert torch.equal(levels, torch.from_numpy(arrays["image"][order]).float())
    np.testing.assert_allclose(whole["tone"], arrays["tone"][order], rtol=1e-6)
    names = [None if np.isnan(n) else kind.classes[int(n)] for n in whole["kind"].flatten().tolist()]
    assert names == list(arrays["kind"][order])
    assert DataSpec.from_dict(data.spec.to_dict()) == data.spec
    assert data.spec.places(["tone"]) == [False] * 16 + [True] * 2 + [False]


def test_real_parts_are_standardised_and_others_are_not(arrays):
    model = lb.VAE.for_data(lb.data.load(arrays, parts=["image", "tone", "kind"]), latent=2)
    mean, std = model.transform.mean, model.transform.std
    assert torch.equal(mean[:16], torch.zeros(16))
    assert torch.equal(std[:16], torch.ones(16))
    np.testing.assert_allclose(mean[16:18], arrays["tone"].mean(0), atol=0.8)
    assert (mean[18], std[18]) == (0, 1)


def test_other_data_are_read_with_the_classes_that_the_model_knows(arrays):
    data = lb.data.load(arrays, parts=["image", "tone", "kind"])
    few = {name: array[:4] for name, array in arrays.items()} | {
        "kind": np.array(["eel", "cat", "eel", "eel"])
    }
    like = lb.data.load_like(few, data.spec)
    assert like.spec.named[2].classes == data.spec.named[2].classes
    assert split_parts(next(iter(like.test.batches(9)))[0], data.spec)["kind"].flatten().tolist() == [
        2,
        0,
        2,
        2,
    ]
    with pytest.raises(DataError, match="'fox', but the classes are cat, dog, eel"):
        lb.data.load_like(few | {"kind": np.array(["fox", "cat", "fox", "fox"])}, data.spec)
    x = join_parts({"kind": ["dog", "eel"], "image": few["image"][:2]}, data.spec)
    parts = split_parts(x, data.spec)
    assert parts["kind"].flatten().tolist() == [1, 2]
    assert torch.equal(torch.floor(parts["image"][:, 0] * 256), torch.from_numpy(few["image"][:2]).float())
    assert parts["tone"].isnan().all()
    model = lb.VAE.for_data(data, latent=2)
    assert torch.equal(model.accept({"kind": ["dog", "eel"], "image": few["image"][:2]}).isnan(), x.isnan())
    assert model.log_prob({"kind": ["dog"]}, samples=3).shape == (1,)


def test_parts_of_npz_files_and_of_sources_with_labels(arrays, tmp_path):
    np.savez(tmp_path / "pairs.npz", image=arrays["image"], tone=arrays["tone"], label=np.arange(60) % 4)
    data = lb.data.load(tmp_path / "pairs.npz", parts=["image", "tone", "label"])
    assert [part.source for part in data.spec.named] == ["image", "tone", "label"]
    again = lb.data.load(data.spec.source, **data.options)
    assert again.spec == data.spec
    digits = lb.data.load("digits", parts=["image", "label"])
    assert [part.values for part in digits.spec.named] == ["binary", "categorical"]
    plain = lb.data.load("digits")
    x, _ = next(iter(digits.test.batches(180)))
    assert torch.equal(split_parts(x, digits.spec)["label"].flatten().long(), plain.test.labels)
    given = lb.data.load(arrays["image"], labels=np.arange(60) % 4, parts=["image", "label"])
    assert given.spec.named[1].classes == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"parts": ["image"]}, ConfigError, "two or more names"),
        ({"parts": "image"}, ConfigError, "two or more names"),
        ({"parts": ["image", "image"]}, ConfigError, "two or more names"),
        ({"parts": ["image", "sound"]}, DataError, "no column 'sound'"),
        ({"parts": ["image", "label"]}, DataError, "no column 'label'"),
        ({"parts": ["image", "kind"], "condition": "kind"}, ConfigError, "both a part of x and a condition"),
        ({"parts": ["image", "kind"], "values": "real"}, ConfigError, "values= is for x of one kind"),
    ],
)
def test_parts_that_cannot_be_are_refused(arrays, options, error, message):
    with pytest.raises(error, match=message):
        lb.data.load(arrays, **options)


def test_tables_have_no_parts_of_this_kind():
    import pandas as pd

    frame = pd.DataFrame({"a": np.arange(9.0), "b": np.arange(9.0)})
    with pytest.raises(ConfigError, match="is a table"):
        lb.data.load(frame, parts=["a", "b"])


def test_join_and_split_say_what_is_wrong(arrays):
    spec = lb.data.load(arrays, parts=["image", "tone", "kind"]).spec
    with pytest.raises(DataError, match="no part 'tune'; did you mean 'tone'"):
        join_parts({"tune": np.zeros((2, 2))}, spec)
    with pytest.raises(ShapeError, match=r"'tone' is \(N, 2\)"):
        join_parts({"tone": np.zeros((2, 3))}, spec)
    with pytest.raises(ShapeError, match="have one length"):
        join_parts({"tone": np.zeros((2, 2)), "kind": ["cat"]}, spec)
    with pytest.raises(ShapeError, match="one at least is given"):
        join_parts({"tone": None}, spec)
    with pytest.raises(ShapeError, match=r"is \(\.\.\., 19\)"):
        split_parts(torch.zeros(2, 18), spec)
    with pytest.raises(ConfigError, match="no named parts"):
        split_parts(torch.zeros(2, 18), lb.data.load(arrays["tone"]).spec)


# -------------------------------------------------------------------------------------------- the rest of the library
def test_the_usual_choice_for_parts(arrays):
    from lowerbound.defaults import recipe
    from lowerbound.report.tables import columns_of

    data = lb.data.load(arrays, parts=["image", "tone", "kind"])
    model = lb.VAE.for_data(data)
    parts = (model.encoder, model.posterior, model.decoder, model.likelihood, model.transform)
    names = [type(part).__name__ for part in parts]
    assert names == ["PartsEncoder", "Experts", "PartsDecoder", "Parts", "Standardize"]
    assert [type(family).__name__ for family in model.likelihood.each] == [
        "Gaussian",
        "Gaussian",
        "Categorical",
    ]
    objective, _ = recipe(data, model, {})
    assert isinstance(objective, Subsets)
    assert repr(data).startswith(
        "Data 'array': parts image (1, 4, 4) unit, tone (2,) real, kind (1,) categorical"
    )
    columns = columns_of(data.spec)
    assert [column.name for column in columns[-3:]] == ["tone 1", "tone 2", "kind"]
    assert columns[-1].categories == ("cat", "dog", "eel")
    assert (len(columns), columns[0].kind) == (19, "real")


def test_parts_are_written_as_a_file_that_is_read_again(tmp_path):
    from lowerbound.cli.writing import formats_of, write_observations
    from lowerbound.data.masks import check_rule, draw_masks

    data = lb.data.load("digits", parts=["image", "label"])
    x = lb.VAE.for_data(data, latent=2).sample(6, mean=False, seed=0)
    assert formats_of(data.spec)[0] == ".npz"
    write_observations(tmp_path / "x.npz", x, data.spec)
    with np.load(tmp_path / "x.npz") as file:
        assert file["label"].tolist() == [str(int(n)) for n in x[:, -1]]
    back, _ = next(iter(lb.data.load_like(tmp_path / "x.npz", data.spec).test.batches(6)))
    assert torch.equal(back, x)
    check_rule(("label",), (65,), data.spec.owners)
    assert draw_masks(("label",), 1, (65,), data.spec.owners)[0].nonzero().tolist() == [[64]]
