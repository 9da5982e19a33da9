"""The likelihood of the columns of a table, against sums, integrals and scipy."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from lowerbound.errors import ConfigError, SupportError
from lowerbound.likelihoods import Columns

F64 = torch.float64


def started(parts, x):
    """A likelihood in float64 whose maps are fitted to the columns x, and where the decoder would begin."""
    slot = Columns(len(parts), parts).to(F64)
    return slot, slot.start(torch.as_tensor(np.column_stack(x)), None)


def density(slot, h, values):
    """log p(x) of single values of the one column, under the numbers h for all."""
    x = torch.as_tensor(np.asarray(values, float)).reshape(-1, 1)
    return slot(torch.as_tensor(h, dtype=F64).expand(len(x), -1)).log_prob(x).numpy()


def integral(slot, h, ends):
    """The integral of the density between ends (K,), by Gauss-Legendre of 40 points on each piece."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    low, width = ends[:-1, None], np.diff(ends)[:, None]
    points = low + width * (nodes + 1) / 2
    return (np.exp(density(slot, h, points)).reshape(points.shape) * width * weights / 2).sum()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


H = [(0.0, 0.0), (0.7, -1.0), (-1.5, 0.4), (2.0, -3.0)]


@pytest.mark.parametrize("h", H)
def test_a_real_column_has_a_density_that_integrates_to_one(rng, h):
    slot, _ = started([{}], [rng.gamma(2.0, 3.0, 3000)])
    knots = slot.xs[0].numpy()
    ends = np.unique(
        np.concatenate([knots, knots[0] - np.arange(0, 50, 2.0), knots[-1] + np.arange(0, 50, 2.0)])
    )
    total = integral(slot, h, ends)
    assert total == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("h", H)
@pytest.mark.parametrize("step", [1.0, 0.25, 10.0])
def test_a_column_of_steps_has_probabilities_that_sum_to_one(rng, h, step):
    values = np.round(rng.normal(20, 8, 2000)) * step
    slot, _ = started([{"step": step}], [values])
    every = np.arange(-4000, 4000) * step
    assert np.exp(density(slot, h, every)).sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("h", [(0.0, 0.0, 0.0, 0.0), (0.6, -1.0, 1.5, -0.5)])
def test_spikes_have_a_probability_and_the_rest_a_density(rng, h):
    x = np.where(rng.random(4000) < 0.3, 0.0, rng.exponential(2.0, 4000))
    slot, begin = started([{"low": 0.0, "spikes": [0.0]}], [x])
    at_zero = math.exp(density(slot, h, [0.0])[0])
    assert at_zero == pytest.approx(1 / (1 + math.exp(h[3] - h[2])))
    knots = np.unique(slot.xs[0].numpy())
    rest = integral(slot, h, np.concatenate([knots, knots[-1] + np.arange(1, 60, 2.0)]))
    assert at_zero + rest == pytest.approx(1, abs=1e-5)
    assert math.exp(density(slot, begin, [0.0])[0]) == pytest.approx((x == 0).mean(), abs=1e-3)


@pytest.mark.parametrize("spikes", [[3.0], [0.0, 1.0, 2.0, 3.0, 4.0]])
def test_frequent_steps_have_a_probability_beside_that_of_their_place(rng, spikes):
    values = np.where(rng.random(3000) < 0.4, 3.0, rng.poisson(6.0, 3000))
    slot, begin = started([{"step": 1.0, "low": 0.0, "spikes": spikes}], [values])
    logits = rng.normal(size=len(spikes) + 1)
    h = np.concatenate([[0.4, -0.3], logits])
    every = np.arange(0.0, 400.0)
    own = np.exp(density(slot, h, every))
    assert own.sum() == pytest.approx(1, abs=1e-6)
    shares = np.exp(logits) / np.exp(logits).sum()
    plain, _ = started([{"step": 1.0, "low": 0.0}], [values[~np.isin(values, spikes)]])
    rest = shares[-1] * np.exp(density(plain, h[:2], every))
    rest[: len(spikes) + 3] += [shares[spikes.index(v)] if v in spikes else 0 for v in range(len(spikes) + 3)]
    assert own == pytest.approx(rest, rel=1e-9, abs=1e-15)
    start = np.exp(density(slot, begin, spikes))
    assert start == pytest.approx([(values == v).mean() for v in spikes], abs=2e-3)
    torch.manual_seed(0)
    p = slot(torch.as_tensor(h))
    drawn = p.sample((40_000,))[:, 0].numpy()
    assert np.bincount(drawn.astype(int), minlength=20)[:20] / 40_000 == pytest.approx(own[:20], abs=0.01)
    assert drawn.max() <= values.max()  # beyond, no draw goes
    assert p.mean.item() == pytest.approx(drawn.mean(), abs=0.05)
    up_to = own.cumsum()
    assert p.median.item() == np.searchsorted(up_to, 0.5)


def test_at_the_start_a_column_has_the_law_of_the_data(rng):
    x, counts = rng.gamma(2.0, 3.0, 20_000), rng.poisson(3.0, 20_000).astype(float)
    words = rng.choice(3, 20_000, p=[0.7, 0.2, 0.1]).astype(float)
    slot, h = started([{}, {"step": 1.0, "low": 0.0}, {"categories": 3}], [x, counts, words])
    p = slot(h.expand(1, -1))
    fresh = np.column_stack(
        [rng.gamma(2.0, 3.0, 5000), rng.poisson(3.0, 5000), rng.choice(3, 5000, p=[0.7, 0.2, 0.1])]
    )
    own = p.per_column(torch.as_tensor(fresh)).numpy()
    true = [stats.gamma(2, scale=3).logpdf(fresh[:, 0]), stats.poisson(3).logpmf(fresh[:, 1])]
    true.append(np.log([0.7, 0.2, 0.1])[fresh[:, 2].astype(int)])
    for column, log_p in enumerate(true):
        assert own[:, column].mean() == pytest.approx(log_p.mean(), abs=0.02)
    torch.manual_seed(0)
    drawn = slot(h.expand(20_000, -1)).sample().numpy()
    assert stats.ks_2samp(drawn[:, 0], x).statistic < 0.02
    assert stats.ks_2samp(drawn[:, 1], counts).statistic < 0.02
    assert np.bincount(drawn[:, 2].astype(int)) / 20_000 == pytest.approx([0.7, 0.2, 0.1], abs=0.02)


def test_draws_have_the_probabilities_that_are_scored(rng):
    values = rng.poisson(4.0, 3000).astype(float)
    slot, _ = started([{"step": 1.0, "low": 0.0}], [values])
    h = torch.tensor([0.6, -0.7], dtype=F64)
    torch.manual_seed(1)
    drawn = slot(h.expand(40_000, -1)).sample()[:, 0].numpy()
    for value in range(3, 9):
        assert (drawn == value).mean() == pytest.approx(math.exp(density(slot, h, [value])[0]), abs=0.012)
    assert drawn.min() >= 0


def test_the_probability_of_an_interval_is_that_of_the_normal_law(rng):
    slot, _ = started([{"step": 1.0}], [np.round(rng.normal(0, 3, 5000))])
    low, high, _ = (part[:, 0].numpy() for part in slot.score(torch.arange(-9.0, 10.0, dtype=F64)[:, None]))
    for mean, raw in H:
        scale = math.exp(4 * math.tanh(raw / 4)) + 1e-3
        exact = stats.norm.cdf((high - mean) / scale) - stats.norm.cdf((low - mean) / scale)
        own = np.exp(density(slot, (mean, raw), np.arange(-9, 10)))
        assert own == pytest.approx(exact, rel=1e-4, abs=1e-12)


def test_far_out_and_in_float32_nothing_is_infinite(rng):
    slot = Columns(2, [{"step": 1.0}, {}])
    x = torch.as_tensor(rng.normal(1e4, 3.0, (500, 2)).round(), dtype=torch.float32)
    slot.start(x, None)
    h = torch.tensor([[9.0, -9.0, -6.0, -6.0]], requires_grad=True)
    log_p = slot(h).log_prob(torch.tensor([[1e6, -1e6], [9000.0, 1e4]]))
    log_p.sum().backward()
    assert log_p.isfinite().all()
    assert h.grad is not None
    assert h.grad.isfinite().all()


def test_many_small_steps_keep_their_probabilities_in_float32(rng):
    values = np.round(rng.lognormal(12, 0.6, 20_000))
    slot = Columns(1, [{"step": 1.0, "low": 0.0}])
    slot.start(torch.as_tensor(values, dtype=torch.float32)[:, None], None)
    at = np.arange(150_000, 150_400)
    own = slot(torch.zeros(1, 2)).log_prob(torch.as_tensor(at, dtype=torch.float32)[:, None]).exp().numpy()
    expected = ((values >= 145_000) & (values < 155_000)).mean() / 10_000
    assert own.mean() == pytest.approx(expected, rel=0.1)
    assert own.std() < 0.02 * own.mean()


def test_empty_cells_have_the_probability_of_being_empty_and_nothing_else(rng):
    parts = [{"missing": True}, {"categories": 2, "missing": True}, {}]
    slot, h = started(parts, [rng.normal(size=500), rng.integers(0, 2, 500), rng.normal(size=500)])
    h[-2:] = torch.tensor([0.3, -1.2])
    p, x = slot(h.expand(1, -1)), torch.tensor([[0.5, 1.0, 0.2]], dtype=F64)
    seen, gone = (
        p.per_column(x)[0],
        p.per_column(torch.where(torch.tensor([True, True, False]), torch.nan, x))[0],
    )
    plain = Columns(3, parts, gaps=False).to(F64)
    plain.xs, plain.us = slot.xs, slot.us
    without = plain(h[None, :-2]).per_column(x)[0]
    empty = torch.tensor([0.3, -1.2], dtype=F64).sigmoid()
    assert torch.allclose(seen[:2], without[:2] + (1 - empty).log())
    assert torch.allclose(gone[:2], empty.log())
    assert seen[2] == gone[2] == without[2]
    torch.manual_seed(0)
    drawn = slot(h.expand(20_000, -1)).sample()
    assert drawn.isnan().double().mean(0).tolist() == pytest.approx([*empty.tolist(), 0], abs=0.015)
    assert not slot(h.expand(50, -1)).values().isnan().any()


def test_features_are_normal_scores_and_one_hot(rng):
    x = np.column_stack([rng.gamma(2.0, 3.0, 4000), rng.integers(0, 3, 4000)])
    slot, _ = started([{}, {"categories": 3}], x.T)
    f = slot.features(torch.as_tensor(x)).numpy()
    assert f.shape == (4000, 4) == (4000, *slot.feature_shape)
    assert f[:, 0].mean() == pytest.approx(0, abs=0.02)
    assert f[:, 0].std() == pytest.approx(1, abs=0.02)
    assert np.array_equal(f[:, 1:], np.eye(3)[x[:, 1].astype(int)])
    mask = torch.tensor([[1.0, 0.0]])
    assert slot.per_feature(mask).tolist() == [[1, 0, 0, 0]]


def test_the_point_is_the_median_and_the_mean_the_mean(rng):
    slot, _ = started([{}, {"categories": 3}], [rng.gamma(2.0, 3.0, 20_000), rng.integers(0, 3, 20_000)])
    p = slot(torch.tensor([[0.4, -0.5, 0.0, 2.0, 1.0]], dtype=F64))
    torch.manual_seed(0)
    drawn = p.sample((40_000,))[:, 0, 0]
    assert slot.point(p)[0, 0].item() == pytest.approx(drawn.median().item(), rel=0.02)
    assert p.mean[0, 0].item() == pytest.approx(drawn.mean().item(), rel=0.02)
    assert slot.point(p)[0, 1] == 1


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([{}], "one entry per column"),
        ([{}, {"categories": 1}], "2 to 10000 categories"),
        ([{"step": -1.0}, {}], "positive step"),
        ([{"stepp": 1.0}, {}], "no entry 'stepp'"),
    ],
)
def test_impossible_columns_are_refused(parts, message):
    with pytest.raises(ConfigError, match=message):
        Columns(2, parts)


def test_few_rows_with_many_decimals_leave_a_smooth_curve(rng):
    """Between values that a row or two have, others are as likely: held-out rows tell."""
    x = rng.normal(13, 0.8, 142 + 2000).round(2)
    slot, h = started([{"step": 0.01}], [x[:142]])
    own = density(slot, h, x[142:]).mean() - math.log(0.01)
    assert own > stats.norm(13, 0.8).logpdf(x[142:]).mean() - 0.1


def test_features_tell_a_spike_from_its_neighbours(rng):
    slot, _ = started(
        [{"step": 1.0, "spikes": [0.0, 7.0]}, {"categories": 2}],
        [rng.poisson(7, 500), rng.integers(0, 2, 500)],
    )
    f = slot.features(torch.tensor([[7.0, 1.0], [8.0, 0.0], [0.0, 1.0]], dtype=F64))
    assert slot.feature_shape == (6,)
    assert f[:, 1:].tolist() == [[0, 1, 0, 1, 0], [1, 0, 0, 0, 1], [0, 1, 1, 0, 0]]
    assert slot.per_feature(torch.tensor([[0.0, 1.0]])).tolist() == [[0, 1, 1, 0, 0, 0]]


def test_a_state_without_the_ends_of_the_data_still_loads(rng):
    slot, _ = started([{}], [rng.normal(size=100)])
    state = {name: value for name, value in slot.state_dict().items() if name != "ends"}
    other = Columns(1, [{}]).to(F64)
    other.load_state_dict(state)
    assert torch.equal(other.xs, slot.xs)
    assert other.ends.tolist() == [[-math.inf, math.inf]]


def test_values_outside_are_refused():
    slot = Columns(2, [{"step": 0.5}, {"categories": 3}])
    slot.check(torch.tensor([[1.5, 2.0]]))
    for bad in ([1.2, 0.0], [1.0, 3.0], [1.0, 0.5], [math.inf, 0.0]):
        with pytest.raises(SupportError):
            slot.check(torch.tensor([bad]))


def test_steps_keep_their_digits_in_a_model_of_float32(rng):
    slot = Columns(1, [{"step": 0.001}]).to(torch.float16).to(torch.float32)
    assert slot.steps.dtype == torch.float64
    values = torch.tensor([[7999.999], [0.001], [5000.123]])
    slot.start(
        (torch.rand(500, 1, generator=torch.Generator().manual_seed(0)) * 8000).mul(1e3).round() / 1e3, None
    )
    slot.check(values)
    assert (slot._on_grid(values.double()) * 1000 % 1 < 1e-6).sum() + (
        slot._on_grid(values.double()) * 1000 % 1 > 1 - 1e-6
    ).sum() == 3
    assert slot(torch.zeros(1, 2)).log_prob(values).isfinite().all()


# ---------------------------------------------------------------------- heavy tails
@pytest.mark.parametrize("part", [{}, {"step": 1.0}, {"cell": 0.5}])
@pytest.mark.parametrize("h", H)
def test_a_share_of_the_numbers_is_cauchy(rng, part, h):
    """Against scipy's laws of the scores, of densities and of intervals, in float64 and in float32."""
    x = np.round(rng.normal(20, 8, 2000)) if part else rng.gamma(2.0, 3.0, 2000)
    at = torch.as_tensor(np.concatenate([x[:20], [-150.0, 90.0, 4000.0]]))[:, None]
    slot = Columns(1, [part], tails=0.2).to(F64)
    slot.start(torch.as_tensor(x)[:, None], None)
    low, high, log_width = (score[:, 0].numpy() for score in slot.score(at))
    mean, scale = h[0], math.exp(4 * math.tanh(h[1] / 4)) + 1e-3
    if part:
        wide = np.where(low > 0, stats.cauchy.sf(low) - stats.cauchy.sf(high), 0) + np.where(
            low > 0, 0, stats.cauchy.cdf(high) - stats.cauchy.cdf(low)
        )
        narrow = stats.norm.cdf(high, mean, scale) - stats.norm.cdf(low, mean, scale)
    else:
        wide, narrow = (law.pdf(low) * np.exp(log_width) for law in (stats.cauchy, stats.norm(mean, scale)))
    expected = np.log(0.2 * wide + 0.8 * narrow)
    assert density(slot, h, at) == pytest.approx(expected, rel=1e-4)
    short = slot.float()(torch.tensor(h).expand(len(at), -1)).log_prob(at.float())
    assert short.numpy() == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_with_heavy_tails_everything_sums_to_one_and_draws_follow(rng):
    values = rng.poisson(4.0, 3000).astype(float)
    slot = Columns(1, [{"step": 1.0, "low": 0.0}], tails=0.3).to(F64)
    slot.start(torch.as_tensor(values)[:, None], None)
    h = torch.tensor([0.6, -2.0], dtype=F64)
    own = np.exp(density(slot, h, np.arange(0.0, 300_000)))
    assert own.sum() == pytest.approx(1, abs=1e-3)  # the rest lies beyond
    torch.manual_seed(1)
    drawn = slot(h.expand(40_000, -1)).sample()[:, 0].numpy()
    last = int(values.max())
    assert np.bincount(drawn.astype(int)) / 40_000 == pytest.approx(
        [*own[:last], own[last:].sum()], abs=0.012
    )
    assert slot(h[None]).mean.item() == pytest.approx(drawn.mean(), abs=0.05)


def test_a_value_beyond_the_data_costs_a_few_nats(rng):
    x = rng.normal(0, 1, 2000)
    parts = [{}, {"step": 0.5}]
    table = torch.as_tensor(np.column_stack([x, np.round(2 * x) / 2]))
    far = torch.tensor([[12.0, 12.0]], dtype=F64)
    h = torch.tensor([[0.0, 0.0, -2.0, -2.0]], dtype=F64, requires_grad=True)
    costs = []
    for tails in (0.0, 1e-3):
        slot = Columns(2, parts, tails=tails).to(F64)
        slot.start(table, None)
        costs.append(-slot(h).per_column(far)[0])
        near = slot(h).log_prob(torch.zeros(1, 2, dtype=F64))
        costs.append(near)
    assert (costs[0] > 800).all()
    assert (costs[2] < 20).all()
    assert (costs[1] - costs[3]).abs().item() == pytest.approx(2e-3, abs=1e-3)
    costs[2].sum().backward()
    assert h.grad.isfinite().all()


@pytest.mark.parametrize(("option", "value"), [("tails", 1.0), ("tails", -0.1), ("gaps", "self-masking")])
def test_impossible_options_are_refused(option, value):
    with pytest.raises(ConfigError, match=f"{option} of Columns"):
        Columns(1, [{}], **{option: value})


# ---------------------------------------------------------------------- values that empty their own cells
def masking(rng, gaps="self_masking", dtype=F64):
    """A density, one with a spike, steps, and categories, all of which empty their cells; one that does not."""
    parts = [
        {"missing": True},
        {"low": 0.0, "spikes": [0.0], "missing": True},
        {"step": 1.0, "missing": True},
        {"categories": 3, "missing": True},
        {},
    ]
    n = 3000
    x = [
        rng.normal(3, 2, n),
        np.where(rng.random(n) < 0.3, 0.0, rng.exponential(2.0, n)),
        rng.poisson(5, n),
        rng.integers(0, 3, n),
        rng.normal(size=n),
    ]
    slot = Columns(5, parts, gaps=gaps).to(dtype)
    h = slot.start(torch.as_tensor(np.column_stack(x), dtype=dtype), None)
    with torch.no_grad():
        slope = {"self_masking_high": 0.7, "self_masking_low": -0.7}.get(gaps)
        slope = torch.tensor([1.5, 2.0, -0.7] if slope is None else [slope] * 3)
        slot.begin_at_masking(torch.tensor([0.3, -0.5, -1.0]), slope)
        assert torch.allclose(slot.slope, slope.to(dtype))
        slot.mask_logits.copy_(torch.tensor([-0.25, 0.0, 0.125]))
    return slot, h + 0.2 * torch.as_tensor(rng.normal(size=len(h)), dtype=dtype)


def test_what_is_there_and_what_is_not_sum_to_one(rng):
    slot, h = masking(rng)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    ends = np.linspace(-60, 60, 241)
    line = (ends[:-1, None] + 0.25 * (nodes + 1)).ravel()
    of_line = np.tile(weights * 0.25, 240)
    steps, places = np.arange(-400.0, 400.0), np.arange(3.0)

    def total(column, at, weight=1.0, also=()):
        x = torch.zeros(len(at) + 1 + len(also), 5, dtype=F64)
        x[:, column] = torch.tensor([*at, *also, math.nan])
        each = slot(h.expand(len(x), -1)).per_column(x)[:, column].exp().detach().numpy()
        return (each[: len(at)] * weight).sum() + each[len(at) :].sum()

    assert total(0, line, of_line) == pytest.approx(1, abs=1e-7)
    assert total(1, line, of_line, also=[0.0]) == pytest.approx(1, abs=1e-7)
    assert total(2, steps) == pytest.approx(1, abs=1e-3)  # in an interval the chance is that of its middle
    assert total(3, places) == pytest.approx(1, abs=1e-9)
    empty = slot(h[None]).per_column(torch.full((1, 5), math.nan, dtype=F64))[0]
    assert empty[4] == 0


def test_cells_are_empty_as_often_as_drawn_and_hold_what_was_drawn(rng):
    """What fills an empty cell has the law of the draws that emptied theirs."""
    slot, h = masking(rng)
    torch.manual_seed(0)
    p = slot(h.expand(10_000, -1))
    x = p.values()
    logit = slot.logit_of(x)
    emptied = torch.rand_like(logit) < logit.sigmoid()
    chance = p.per_column(torch.full((1, 5), math.nan, dtype=F64))[0].exp().tolist()
    assert emptied.double().mean(0).tolist() == pytest.approx(chance[:4], abs=0.02)
    drawn = p.sample()
    assert drawn.isnan().double().mean(0).tolist() == pytest.approx([*chance[:4], 0], abs=0.02)
    gone = torch.tensor([True, True, True, True, False])
    given = slot.given_gaps(p, gone.expand(10_000, -1))
    filled = given.values()
    for column in range(4):
        expected, own = x[emptied[:, column], column].numpy(), filled[:, column].numpy()
        if column == 3:
            shares = [np.bincount(v.astype(int), minlength=3) / len(v) for v in (expected, own)]
            assert shares[0] == pytest.approx(shares[1], abs=0.03)
        else:
            assert stats.ks_2samp(expected, own).statistic < 0.035
            spread = max(1.0, expected.std())
            assert given.mean[0, column].item() == pytest.approx(expected.mean(), abs=0.05 * spread)
    assert stats.ks_2samp(x[:, 4].numpy(), filled[:, 4].numpy()).statistic < 0.035
    none = slot.given_gaps(p, torch.zeros(10_000, 5, dtype=torch.bool))
    assert torch.equal(none.mean, p.mean)


@pytest.mark.parametrize("gaps", ["self_masking", "self_masking_high", "self_masking_low"])
def test_self_masking_has_the_gradient_of_its_density(rng, gaps):
    slot, h = masking(rng, gaps)
    x = torch.tensor([[1.0, 0.0, 4.0, 2.0, 0.5], [math.nan] * 5, [2.5, 1.5, math.nan, 0.0, 0.1]], dtype=F64)
    sign = {"self_masking_high": 1, "self_masking_low": -1}.get(gaps)
    assert sign is None or (slot.slope.sign() == sign).all()
    names = ["mask_offset", "mask_slope", "mask_logits"]

    masks = [getattr(slot, name).detach().clone().requires_grad_() for name in names]

    def scored(h, *masks):
        state = {f"slot.{name}": mask for name, mask in zip(names, masks, strict=True)}
        return torch.func.functional_call(_Scored(slot), state, (h, x))

    assert torch.autograd.gradcheck(scored, (h.detach().requires_grad_(), *masks))


class _Scored(torch.nn.Module):
    def __init__(self, slot):
        super().__init__()
        self.slot = slot

    def forward(self, h, x):
        return self.slot(h.expand(len(x), -1)).per_column(x)


def test_a_masked_column_reaches_beyond_its_data(rng):
    """The map is affine: what is missing may be larger than all that is there, but not below a bound."""
    x = np.abs(rng.normal(size=4000))
    slot = Columns(1, [{"missing": True, "low": 0.0}], gaps="self_masking_high").to(F64)
    h = slot.start(torch.as_tensor(np.minimum(x, 1.0))[:, None], None)
    torch.manual_seed(0)
    filled = slot.given_gaps(slot(h.expand(2000, -1)), torch.ones(2000, 1, dtype=torch.bool)).values()
    assert filled.max() > 1.2
    assert filled.min() >= 0
