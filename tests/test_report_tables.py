"""The numbers behind the pictures of a table: panels, distances, associations, odd cells."""

import re
import sys

import numpy as np
import pytest
import torch
from test_report import NASTY, by_name, make_model, page, table

from lowerbound.data import Standardize, load
from lowerbound.data.spec import ColumnSpec
from lowerbound.likelihoods import Gaussian
from lowerbound.model import VAE
from lowerbound.persistence import fit
from lowerbound.report import charts
from lowerbound.report.tables import (
    association,
    cell,
    columns_of,
    distances,
    levels,
    odd_columns,
    panel,
    values_of,
)

pandas = pytest.importorskip("pandas")
stats = pytest.importorskip("scipy.stats")

REAL = ColumnSpec("v", "real", "float")
WHOLE = ColumnSpec("n", "integer", "integer", step=1.0, digits=0)


def category(*words, kind="category", stored="text"):
    return ColumnSpec("c", kind, stored, categories=words)


def mixed(n=400, missing=0.2):
    """Two numbers with ties and two categories that depend on each other, with empty cells; what they are."""
    draw = np.random.default_rng(0)
    a = draw.normal(size=n)
    b = np.round(np.exp(a + draw.normal(size=n)))
    c = np.digitize(a + 0.5 * draw.normal(size=n), [-0.5, 0.7]).astype(float)
    d = np.where(draw.random(n) < 0.6, c % 2, draw.integers(0, 2, n))
    x = np.stack([a, b, c, d], 1)
    x[draw.random(x.shape) < missing] = np.nan
    return x, [REAL, WHOLE, category("low", "middle", "high"), category("no", "yes")]


# ---------------------------------------------------------------- associations
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_associations_are_spearmans_cramers_and_the_correlation_ratio(missing):
    x, columns = mixed(missing=missing)
    found = association(x, levels(columns, x))
    frame = pandas.DataFrame(x)
    # Ranks are those among all cells of a column, so that with empty cells they are not quite those of the pair.
    spearman = frame.rank().corr().loc[0, 1]
    assert found[0, 1] == pytest.approx(abs(spearman), abs=1e-12)
    assert found[0, 1] == pytest.approx(abs(frame.corr("spearman").loc[0, 1]), abs=0.01 if missing else 1e-12)
    counts = pandas.crosstab(frame[2], frame[3]).to_numpy()
    assert found[2, 3] == pytest.approx(stats.contingency.association(counts, "cramer"), abs=1e-12)
    ranks = frame.rank()[1][frame[2].notna()]
    groups = ranks.groupby(frame[2])
    n = ranks.notna().sum()
    between = (groups.count() * (groups.mean() - ranks.mean()) ** 2).sum()
    assert found[1, 2] == pytest.approx(np.sqrt(between / (n * ranks.var(ddof=0))), abs=1e-12)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_allclose(np.diag(found), 1)


def test_of_two_categories_of_two_values_it_is_the_correlation_whatever_they_are_taken_for():
    draw = np.random.default_rng(1)
    a = draw.integers(0, 2, 300)
    x = np.stack([a, np.where(draw.random(300) < 0.3, 1 - a, a)], 1).astype(float)
    truth = abs(np.corrcoef(x.T)[0, 1])
    places = np.arange(2)
    for level in ([None, None], [places, places], [None, places], [places, None]):
        assert association(x, level)[0, 1] == pytest.approx(truth, abs=1e-12)


def test_a_column_that_does_not_vary_has_no_associations_and_nothing_warns():
    x = np.stack([np.ones(20), np.arange(20.0), np.zeros(20), np.full(20, np.nan)], 1)
    with np.errstate(all="raise"):
        found = association(x, [None, None, np.arange(2), None])
    assert found[1, 1] == pytest.approx(1)
    found[1, 1] = np.nan
    assert np.isnan(found).all()


def test_rare_categories_are_one_level():
    places = np.concatenate([np.repeat(np.arange(30.0), np.arange(30, 0, -1)), [np.nan]])
    (level,) = levels([category(*map(str, range(40)))], places[:, None])
    assert list(level[:20]) == list(range(20))
    assert set(level[20:]) == {20}


# ---------------------------------------------------------------- distances
def test_distances_are_kolmogorov_smirnovs_and_the_total_variation():
    (a, columns), (b, _) = mixed(300), mixed(500, missing=0.5)
    b[:, 0] += 0.4
    found = distances(columns, a, b)
    for k in (0, 1):
        one, two = (x[~np.isnan(x[:, k]), k] for x in (a, b))
        assert found[k] == pytest.approx(stats.ks_2samp(one, two).statistic, abs=1e-12)
    for k in (2, 3):
        shares = [pandas.Series(x[:, k]).value_counts(normalize=True) for x in (a, b)]
        assert found[k] == pytest.approx((shares[0] - shares[1]).abs().sum() / 2, abs=1e-12)
    assert np.isnan(distances([REAL], a[:, :1], np.full((5, 1), np.nan))).all()


# ---------------------------------------------------------------- panels
def test_a_category_has_its_eight_most_frequent_words_and_the_others_as_one():
    places = np.repeat(np.arange(12.0), np.arange(1, 13))
    shown = panel(category(*"abcdefghijkl"), [places, np.array([0.0, 11.0, np.nan])])
    assert shown.words == [*"lkjihgfe", "other"]
    np.testing.assert_allclose(shown.heights[0], np.array([12, 11, 10, 9, 8, 7, 6, 5, 10]) / 78)
    assert list(shown.heights[1][[0, 8]]) == [0.5, 0.5]  # of the cells that are not empty


@pytest.mark.parametrize("kind", ["ordered", "integer"])
def test_what_has_an_order_keeps_it(kind):
    if kind == "ordered":
        shown = panel(category("low", "middle", "high", kind="ordered"), [np.array([2.0, 2, 1, 0])])
        assert shown.words == ["low", "middle", "high"]
        return
    x = np.repeat([3.0, 1.0, 2.0], [30, 20, 10])
    shown = panel(WHOLE, [x, np.array([1.0, 7.0])])
    assert shown.words == ["1", "2", "3", "other"]
    np.testing.assert_allclose(shown.heights[1], [0.5, 0, 0, 0.5])
    assert panel(WHOLE, [x]).words == ["1", "2", "3"]


def test_a_histogram_is_a_density_and_says_what_lies_beyond():
    x = np.append(np.random.default_rng(0).normal(50, 1, 2000), [1e6, np.nan])
    shown = panel(REAL, [x, np.full(10, 90.0)])
    assert shown.scale == "linear"
    assert shown.limits[1] < 60  # the outlier does not flatten the rest
    held = (shown.heights[0] * np.diff(shown.edges)).sum()
    assert held + shown.beyond[0] == pytest.approx(1)
    assert 0.005 < shown.beyond[0] < 0.015
    assert shown.beyond[1] == 1
    assert shown.empty == pytest.approx(1 / len(x))


def test_each_bin_of_whole_numbers_holds_as_many_of_them():
    x = np.random.default_rng(0).integers(0, 173, 3000).astype(float)
    shown = panel(WHOLE, [x])
    assert len(set(np.diff(shown.edges))) == 1
    assert np.diff(shown.edges)[0] % 1 == 0
    assert shown.edges[0] % 1 == 0.5


def test_positive_numbers_of_many_decades_have_a_logarithmic_axis_with_their_zeros_beside_it():
    draw = np.random.default_rng(0)
    x = np.where(draw.random(2000) < 0.1, 0, 10 ** draw.normal(1, 1, 2000))
    shown = panel(REAL, [x])
    assert shown.scale == "log"
    ((place, word, (share,)),) = shown.spikes
    assert word == "0"
    assert place < shown.edges[0]
    assert share == (x == 0).mean()
    assert shown.at(np.array([0.0, 100.0])) == pytest.approx([place, 2])
    assert panel(REAL, [x + 100]).scale == "linear"
    assert panel(REAL, [x - 1]).scale == "linear"


def test_a_value_that_most_rows_have_stands_alone():
    draw = np.random.default_rng(0)
    x = np.where(draw.random(3000) < 0.9, 0, np.round(draw.normal(2000, 300, 3000)))
    shown = panel(WHOLE, [x, np.zeros(10)])
    ((place, word, shares),) = shown.spikes
    assert word == "0"
    assert shares == [(x == 0).mean(), 1.0]
    assert shown.edges[0] > 500  # the axis is for the rest
    assert shown.limits[0] < place < shown.edges[0]


def test_few_different_whole_numbers_are_not_torn_apart():
    x = np.repeat(np.arange(16.0), np.where(np.arange(16) == 9, 400, 60))
    assert panel(WHOLE, [x]).spikes == []


def test_dates_are_days_on_the_axis_and_dates_in_words():
    day = ColumnSpec("when", "date", "date", offset=18000.0, step=1.0)
    x = np.random.default_rng(0).integers(0, 900, 500).astype(float)
    shown = panel(day, [x])
    assert shown.scale == "date"
    assert 17999 <= shown.edges[0] < shown.edges[-1] <= 18960
    assert cell(day, 1.0) == "2019-04-15"


def test_cells_are_in_the_users_words():
    assert cell(category("cat", "dog"), 1.0) == "dog"
    assert cell(ColumnSpec("v", "real", "float", offset=1000.0, step=0.1, digits=1), 0.1) == "1000.1"
    assert cell(ColumnSpec("v", "date", "date", offset=18000.0), 1.25) == "2019-04-15 06:00:00"
    assert cell(category(False, True, stored="boolean"), 0.0) == "False"
    assert cell(WHOLE, 1234567.0) == "1234567"
    assert cell(WHOLE, 1234567.0, 3) == "1.23e+06"
    assert cell(REAL, float(np.float32(0.1))) == "0.1"
    assert cell(REAL, np.nan) == "empty"


def test_equal_cells_are_equal_after_float32():
    column = ColumnSpec("v", "real", "float", step=0.1, digits=1)
    steps = np.arange(300)
    one = (steps * np.float32(0.1)).astype(np.float32)
    two = (steps / 10).astype(np.float32)
    assert (one != two).any()
    np.testing.assert_array_equal(values_of(column, one), values_of(column, two))


@pytest.mark.slow
@pytest.mark.parametrize("column", [REAL, WHOLE, category("a", "b")])
def test_hardly_any_cells_still_make_a_panel_and_a_picture(column):
    cells = [np.array(x) for x in ([np.nan, np.nan], [1.0, 1.0], [1.0], [])]
    shown = [panel(column, [x, np.array([1.0])]) for x in cells]
    for one in shown:
        assert np.isfinite([*one.edges, *one.heights[0], *one.beyond]).all()
    values = [values_of(column, x[~np.isnan(x)]) for x in cells]
    assert charts.panels(("data", "model"), shown)
    assert charts.reconstructions(list(zip(shown, values, values, strict=True)))


# ---------------------------------------------------------------- the views of a model
def frame(n=300):
    draw = np.random.default_rng(0)
    a = draw.normal(size=n)
    made = pandas.DataFrame({"size": a.round(3), "price": np.exp(2 * a + 0.1 * draw.normal(size=n)).round(2)})
    made["kind"] = np.where(a > 0, "big", "small")
    made["day"] = pandas.Timestamp("2020-01-01") + pandas.to_timedelta(draw.integers(0, 500, n), "D")
    made.loc[::9, "size"] = np.nan
    return made


def untrained(data):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VAE.for_data(data, latent=2, network={"hidden": [8]}).eval()


@pytest.fixture
def undrawn(monkeypatch):
    pixel = b"\x89PNG\r\n\x1a\n" + bytes(16)
    for name in ("curves", "latent_map", "dimension_bars", "panels", "reconstructions", "heat_maps", "bars"):
        monkeypatch.setattr(charts, name, lambda *_, **__: pixel)


def test_a_table_with_empty_cells_has_its_views_and_its_samples_first(tmp_path, undrawn):
    data = load(frame())
    text = page(tmp_path, (data, untrained(data)), numbers=None)
    order = [
        "samples",
        "numbers",
        "curves",
        "correlations",
        "reconstructions",
        "missing",
        "odd",
        "latent",
        "kl",
    ]
    assert re.findall(r'<section id="(\w+)">', text) == [*order, "config"]
    found = by_name((data, untrained(data)))
    empty = frame()["size"].isna().mean()
    share = float(re.search(r"size ([\d.]+)%", found["missing"].alt)[1]) / 100
    assert share == pytest.approx(empty, abs=0.02)
    assert "missing" not in by_name(table())


def test_the_verdict_tells_good_draws_from_bad_ones(undrawn, monkeypatch):
    data = load(
        np.random.default_rng(0).multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], 5000).astype(np.float32)
    )
    model = make_model(Gaussian(2), transform=Standardize(data.mean, data.std))
    truth = torch.distributions.MultivariateNormal(torch.zeros(2), torch.tensor([[1, 0.9], [0.9, 1]]))
    alone = torch.distributions.Normal(torch.zeros(2), 1.0)

    def verdict(draw):
        monkeypatch.setattr(VAE, "sample", lambda self, n, *_, **__: draw(n))
        torch.manual_seed(0)
        return by_name((data, model))["samples"].lead

    assert "The columns, and how they go together, are like" in verdict(lambda n: truth.sample((n,)))
    assert "are like the data's; how they go together is not" in verdict(lambda n: alone.sample((n,)))
    wide = verdict(lambda n: 2 * truth.sample((n,)))
    assert "not like the data's, but they go together" in wide
    # sup |Φ(x) − Φ(x / 2)| = 0.1614
    off = float(re.search(r"differ by ([\d.]+) ", wide)[1])
    assert off == pytest.approx(0.161, abs=0.05)


def test_of_many_columns_those_furthest_from_the_data_are_shown_and_the_others_named(undrawn, monkeypatch):
    seen = {}
    monkeypatch.setattr(charts, "panels", lambda parts, columns, *_, **__: seen.update(x=columns) or b"")
    data = load(np.random.default_rng(0).normal(size=(2000, 40)).astype(np.float32))
    model = make_model(Gaussian(40), transform=Standardize(data.mean, data.std))
    shift = torch.zeros(40)
    shift[[3, 17, 39]] = 5
    monkeypatch.setattr(VAE, "sample", lambda self, n, *_, **__: torch.randn(n, 40) + shift)
    caption = by_name((data, model))["samples"].caption
    names = [shown.column.name for shown in seen["x"]]
    assert len(names) == 24
    assert {"x₄", "x₁₈", "x₄₀"} <= set(names)
    left = set(re.search(r"left out, as they differ less: ([^)]*)\)", caption)[1].split(", "))
    assert left == {column.name for column in columns_of(data.spec)} - set(names)
    assert len(left) == 16


def test_vectors_of_bits_and_of_categories_have_bars():
    for values, words in (("binary", ["0", "1"]), ("categorical", ["0", "1", "2"])):
        data, _ = table(values=values)
        column = columns_of(data.spec)[1]
        assert column.name == "x₂"
        assert panel(column, [np.array([0.0, 1.0])]).words == words


def test_of_bits_those_are_reproduced_whose_probability_is_on_their_side(undrawn, monkeypatch):
    seen = []
    monkeypatch.setattr(charts, "reconstructions", lambda columns, **_: seen.extend(columns) or b"")
    data, model = table(values="binary", columns=2)
    monkeypatch.setattr(VAE, "reconstruct", lambda self, x, c: torch.where(x > 0, 0.7, 0.4))
    by_name((data, model))
    assert len(seen) == 2
    for _, values, others in seen:
        assert set(values) == {0, 1}
        np.testing.assert_array_equal(values, others)


def test_vectors_need_no_pandas(undrawn, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    for values in ("real", "binary", "categorical"):
        assert "odd" in by_name(table(values=values))


# ---------------------------------------------------------------- odd rows
def test_odd_columns_are_those_furthest_below_their_mean():
    each = np.array([[-9.0, 0.0, -1.0], [-9.0, -3.0, np.nan], [-9.5, 0.0, -1.0], [-8.5, 0.0, -1.0]])
    assert odd_columns(each, np.array([1, 2]), 2).tolist() == [[1, 0], [0, 2]]


@pytest.mark.runs
def test_a_planted_row_is_found_with_its_cell_and_its_row_in_the_source(undrawn, tmp_path):
    made, planted = frame(600), []
    # Which split a row is in may depend on what it holds: it is planted until it is in the validation split.
    for odd in ({"day": pandas.Timestamp("2031-06-01")}, {"size": 0.0, "price": 4000.0}):
        for row in range(600):
            tried = made.copy()
            tried.loc[row, list(odd)] = list(odd.values())
            data = load(tried)
            start = len(data.train)
            if row not in planted and row in data.order[start : start + len(data.valid)]:
                made = tried
                planted.append(row)
                break
    data = load(made)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VAE.for_data(data, latent=2, network={"hidden": [32]})
        fit(model, data, epochs=60, seed=0, progress=False)
    view = by_name((data, model))["odd"]
    head, *rows = view.table
    assert head[0] == "Row"
    assert len(rows) == 10
    cells = {int(row[0]): row[2] for row in rows}
    assert set(planted) <= set(cells)
    assert cells[planted[0]].startswith("day = 2031-06-01 (")
    assert cells[planted[1]].startswith("price = 4000.00 (")
    values = [float(row[1]) for row in rows]
    assert values == sorted(values)


def test_words_of_the_odd_rows_are_escaped(tmp_path, undrawn):
    made = frame(90).rename(columns={"price": NASTY})
    made["kind"] = np.where(np.arange(90) % 2, NASTY, "b")
    data = load(made)
    text = page(tmp_path, (data, untrained(data)), numbers=None)
    assert "<script" not in text
