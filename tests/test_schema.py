"""What columns of a table mean, and how their cells become numbers and come back."""

import json
import math
import re

import numpy as np
import pandas as pd
import pytest
import torch
from pandas.testing import assert_frame_equal

import lowerbound as lb
from lowerbound.data import load, load_like
from lowerbound.data.facts import PIECE, look
from lowerbound.data.schema import decide, decode, words
from lowerbound.data.spec import DataSpec
from lowerbound.errors import ConfigError, DataError
from lowerbound.likelihoods import Columns

N = 200


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def of(column, **options):
    """What a column means beside one of plain numbers."""
    frame = pd.DataFrame({"c": column, "beside": np.random.default_rng(1).normal(size=len(column))})
    return load(frame, **options).spec.table[0]


KINDS = [
    ("real", lambda r: r.normal(size=N), {"step": None, "digits": None}),
    ("real", lambda r: r.normal(20, 3, N).round(1), {"step": 0.1, "digits": 1}),
    ("real", lambda r: r.normal(20, 3e3, N).round(3), {"step": None, "cell": 0.001, "digits": 3}),
    ("real", lambda r: r.normal(20, 3, N).round(3), {"step": 0.001, "digits": 3}),
    ("real", lambda r: (r.random(N) < 0.3) * r.random(N), {"spikes": (0.0,), "cell": None}),
    ("real", lambda r: np.arange(N) % 7 / 3, {"step": None, "cell": pytest.approx(1 / 3)}),
    ("integer", lambda r: r.integers(0, 10**9, N), {"step": None, "cell": 1.0}),
    (
        "real",
        lambda r: (1e3 + r.integers(0, 90, N) / 3).round(6),
        {"step": None, "cell": pytest.approx(1 / 3)},
    ),
    ("real", lambda r: np.where(r.random(N) < 0.3, 0.0, r.normal(size=N)), {"spikes": (0.0,)}),
    ("integer", lambda r: r.poisson(4, N), {"step": 1.0}),
    (
        "integer",
        lambda r: pd.array(np.where(np.arange(N) % 9, r.poisson(4, N), None), "Int64"),
        {"missing": True},
    ),
    ("integer", lambda r: r.poisson(4, N).astype(float), {"stored": "float", "step": 1.0}),
    ("category", lambda r: r.choice(["a", "None", "NA"], N), {"categories": ("NA", "None", "a")}),
    ("category", lambda r: r.integers(0, 2, N), {"categories": (0, 1)}),
    ("category", lambda r: r.integers(0, 2, N) * 4 + 1, {"categories": (1, 5)}),
    ("category", lambda r: r.random(N) < 0.5, {"categories": (False, True), "stored": "boolean"}),
    (
        "category",
        lambda r: pd.Categorical(r.choice(["b", "a"], N), ["z", "b", "a"]),
        {"categories": ("a", "b")},
    ),
    (
        "ordered",
        lambda r: pd.Categorical(r.choice(["low", "high"], N), ["low", "mid", "high"], ordered=True),
        {"categories": ("low", "mid", "high")},
    ),
    (
        "date",
        lambda r: pd.Timestamp("2024-01-01") + pd.to_timedelta(r.integers(0, 99, N), "D"),
        {"step": 1.0},
    ),
    (
        "date",
        lambda r: pd.Timestamp("2024-01-01") + pd.to_timedelta(r.integers(0, 99, N), "s"),
        {"step": 1 / 86400},
    ),
    ("integer", lambda r: 25 * r.integers(100, 250, N), {"step": 25.0, "offset": 0.0}),
    ("integer", lambda r: 5 + 10 * r.integers(0, 90, N), {"step": 10.0}),
    ("integer", lambda r: -4 + 6 * r.integers(-50, 90, N), {"step": 6.0}),
    ("integer", lambda r: 1000 + 1001 * r.integers(0, 99, N), {"step": 1001.0, "offset": 1000.0}),
    ("integer", lambda r: 25 * r.integers(0, 8, N), {"step": 1.0}),  # eight values: that may be chance
    ("integer", lambda r: np.append(25 * r.integers(0, 250, N - 1), 7), {"step": 1.0}),
    ("real", lambda r: (5 * r.integers(0, 900, N)) / 100, {"step": 0.05}),
    ("real", lambda r: r.integers(0, 900, N) + 0.25, {"step": 1.0}),
    (
        "date",
        lambda r: pd.Timestamp("2024-01-01") + pd.to_timedelta(7 * r.integers(0, 99, N), "D"),
        {"step": 7.0},
    ),
    (
        "date",
        lambda r: pd.Timestamp("2024-01-01 06:07") + pd.to_timedelta(15 * r.integers(0, 9999, N), "min"),
        {"step": 1 / 96},
    ),
    (
        "date",
        lambda r: pd.Timestamp("2024-01-01") + pd.to_timedelta(7 * r.integers(0, 9, N), "D"),
        {"step": 1.0},
    ),
    ("constant", lambda r: np.full(N, 7.0), {"categories": (7,)}),
    ("constant", lambda r: ["x"] * N, {"categories": ("x",)}),
    ("identifier", lambda r: np.arange(5, 5 + N), {}),
    ("identifier", lambda r: [f"customer {i}" for i in range(N)], {}),
    ("empty", lambda r: np.full(N, np.nan), {}),
]


@pytest.mark.parametrize(("kind", "make", "attributes"), KINDS)
def test_the_kind_of_a_column_is_seen(rng, kind, make, attributes):
    column = of(make(rng))
    assert column.kind == kind
    assert {name: getattr(column, name) for name in attributes} == attributes
    assert words(column)[0] == kind


@pytest.mark.parametrize(
    ("kind", "make", "attributes"), [row for row in KINDS if row[0] not in ("identifier", "empty")]
)
def test_cells_come_back_as_they_were(rng, kind, make, attributes):
    frame = pd.DataFrame({"c": make(rng), "beside": rng.normal(size=N).astype(np.float32)})
    data = load(frame)
    x = data.all.batch(torch.arange(N))[0].numpy()
    back = decode(data.spec.table, x)[["c"]]
    before = frame[["c"]]
    if before["c"].dtype.kind == "M":
        before = before.astype("datetime64[us]")
    assert_frame_equal(
        back, before, check_dtype=before["c"].dtype.kind in "iub", check_categorical=False, rtol=1e-6
    )
    if kind == "date" or data.spec.table[0].step:
        assert (back["c"].dropna() == before["c"].dropna()).all()


@pytest.mark.parametrize("low", [1.7e9, 20_240_101.0, 101_325.0, -4e12])
def test_large_numbers_keep_their_digits(rng, low):
    values = low + np.sort(rng.uniform(0, 120, 600).round(2))
    data = load(pd.DataFrame({"time": values, "y": rng.normal(size=600)}))
    x = data.all.batch(torch.arange(600))[0]
    assert len(x[:, 0].unique()) == len(np.unique(values))
    assert x[:, 0].double().std().item() == pytest.approx(values.std(ddof=1), rel=1e-5)
    assert np.abs(decode(data.spec.table, x.numpy())["time"].to_numpy() - values).max() < 2e-3


def test_steps_are_of_all_values_however_they_are_cut_and_said(rng):
    """A single value off the grid counts in a row that no sample has, and so does one of more decimals."""
    values = 25.0 * rng.integers(0, 999, 250_000)
    cases = {25.0: (), 1.0: (7.0,), 0.5: (7.0, 0.5), 12.5: (12.5,), 0.01: (1.01,)}
    for step, odd in cases.items():
        changed = values.copy()
        changed[100_001 : 100_001 + len(odd)] = odd
        frame = pd.DataFrame({"a": changed})
        chunks = [frame.iloc[i : i + 70_000] for i in range(0, len(frame), 70_000)]
        (cut,), (whole,) = look(chunks, len(frame), "t"), look([frame], len(frame), "t")
        assert decide(cut).step == decide(whole).step == step, odd
    times = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 99, 250_000), "D").to_series()
    times.iloc[100_001] += pd.Timedelta(90, "s")
    times = pd.DataFrame({"t": times.to_numpy()})
    assert decide(look([times], len(times), "t")[0]).step == pytest.approx(90 / 86400)
    column = of(5 + 25 * rng.integers(100, 250, N))
    assert words(column)[1].endswith("in steps of 25 from " + str(int(column.offset)))


@pytest.mark.parametrize("make", [lambda k: 25 * k, lambda k: 5 + 10 * k, lambda k: k / 20 + 0.01])
def test_probabilities_of_steps_sum_to_one(rng, make):
    frame = pd.DataFrame(
        {"a": make(rng.poisson(3, 4000) + rng.integers(0, 30, 4000)), "y": rng.normal(size=4000)}
    )
    data = load(frame, columns=["a"])
    column = data.spec.table[0]
    grid = make(np.arange(-3, 80))
    grid = grid[grid >= 0]  # the data have nothing below 0
    x = torch.tensor(grid - column.offset, dtype=torch.float32)[:, None]
    likelihood = Columns((1,), data.spec.parts)
    head = likelihood.start(data.train.batch(torch.arange(len(data.train)))[0], None)
    p = likelihood(head.expand(len(grid), -1))
    assert p.log_prob(x).exp().sum().item() == pytest.approx(1, abs=1e-4)
    drawn = decode(data.spec.table, p.sample((20,)).flatten(0, 1).numpy())["a"]
    assert set(drawn.round(9)) <= set(frame["a"].round(9))
    with pytest.raises(DataError, match=r"steps of .*round it"):
        load_like(frame.assign(a=frame["a"] + 0.004), data.spec)


def test_a_name_alone_makes_no_identifier_and_asking_for_a_column_keeps_it(rng):
    assert of(rng.permutation(1000)[:N]).kind == "integer"
    frame = pd.DataFrame({"customer_id": rng.permutation(10**6)[:N], "y": rng.normal(size=N)})
    assert load(frame).spec.table[0].kind == "identifier"
    assert load(frame, columns=["customer_id", "y"]).spec.table[0].kind == "integer"


def test_constants_do_not_change_the_density_and_come_back(rng):
    frame = pd.DataFrame({"a": rng.normal(size=N), "b": rng.normal(size=N)})
    for count in (1, 3):
        more = frame.assign(**{f"k{i}": 7.0 for i in range(count)})
        data = load(more)
        assert data.spec.event_shape == (2,)
        assert list(decode(data.spec.table, np.zeros((2, 2)))[f"k{count - 1}"]) == [7, 7]
        assert any("constant" in note for note in data.notes)


def test_columns_are_taken_by_name_whatever_their_order(rng):
    frame = pd.DataFrame({"a": rng.normal(size=N), "w": rng.choice(["x", "y"], N), "c": rng.poisson(3, N)})
    spec = load(frame).spec
    turned = load_like(frame[["c", "a", "w"]].assign(more=1), spec)
    assert torch.equal(
        turned.all.batch(torch.arange(N))[0], load_like(frame, spec).all.batch(torch.arange(N))[0]
    )
    assert any("more" in note for note in turned.notes)
    with pytest.raises(DataError, match="no column 'w'"):
        load_like(frame.drop(columns="w"), spec)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"w": "z"}, r"'w' has 'z' in row 0.*categories are x, y.*unknown='missing'"),
        ({"c": 2.5}, r"'c' has 2.5 in row 0.*steps of 1"),
        ({"a": "word"}, r"'a' holds numbers, but here words, like 'word'"),
        ({"a": np.inf}, r"'a' has inf in row 0.* infinite or beyond float32"),
        ({"a": 1e300}, r"'a' has 1e\+300 in row 0.* infinite or beyond float32"),
    ],
)
def test_cells_that_a_column_cannot_hold_are_refused(rng, change, message):
    frame = pd.DataFrame({"a": rng.normal(size=N), "w": rng.choice(["x", "y"], N), "c": rng.poisson(3, N)})
    spec = load(frame).spec
    with pytest.raises(DataError, match=message):
        load_like(frame.assign(**change), spec)


def test_a_wrong_cell_of_a_long_table_is_counted_among_all(rng):
    """Numbers are gone through piece by piece, and the message is about the table."""
    frame = pd.DataFrame({"a": rng.normal(size=N), "c": rng.poisson(3, N).astype(float)})
    spec = load(frame).spec
    long = pd.concat([frame] * math.ceil(2.5 * PIECE / N), ignore_index=True)
    long.loc[[PIECE + 3, 2 * PIECE + 1], "c"] = 2.5
    with pytest.raises(DataError, match=rf"'c' has 2.5 in row {PIECE + 3}, counted from 0, and 2 such cells"):
        load_like(long, spec)


def test_unknown_categories_can_be_taken_as_missing(rng):
    frame = pd.DataFrame({"a": rng.normal(size=N), "w": rng.choice(["x", "y"], N)})
    data = load_like(frame.assign(w="z"), load(frame).spec, unknown="missing")
    assert data.all.batch(torch.arange(N))[0][:, 1].isnan().all()


def test_a_schema_changes_kinds(tmp_path, rng):
    frame = pd.DataFrame({"zone": rng.integers(1, 4, N), "note": rng.normal(size=N), "y": rng.normal(size=N)})
    path = tmp_path / "schema.json"
    path.write_text(json.dumps([{"name": "zone", "kind": "category"}, {"name": "note", "kind": "ignored"}]))
    for schema in (str(path), path, {"zone": "category", "note": {"kind": "ignored"}}):
        data = load(frame, schema=schema)
        assert data.spec.columns == ("zone", "y")
        assert data.spec.table[0].categories == (1, 2, 3)
    for wrong, message in (
        ({"zon": "category"}, "did you mean 'zone'"),
        ({"zone": "categry"}, "categry"),
        ({"y": {"kind": "real", "stepp": 1}}, "stepp"),
        ([1], "a list of columns"),
    ):
        with pytest.raises(ConfigError, match=message):
            load(frame, schema=wrong)


def test_a_spec_goes_through_json(rng):
    frame = pd.DataFrame({"a": rng.normal(size=N), "w": rng.choice(["x", "y"], N)})
    spec = load(frame).spec
    assert DataSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.slow
def test_a_streamed_table_has_the_schema_of_one_in_memory(tmp_path, rng):
    frame = pd.DataFrame(
        {
            "a": rng.normal(size=2000),
            "w": rng.choice(["x", "y", None], 2000),
            "c": pd.array(np.where(rng.random(2000) < 0.1, None, rng.poisson(3, 2000)), "Int64"),
            "d": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 99, 2000), "D"),
            "flag": pd.array(rng.choice([True, False, None], 2000), "boolean"),
        }
    )
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=97)
    there = load(tmp_path / "t.parquet", stream=True)
    here = load(tmp_path / "t.parquet", stream=False)
    assert there.spec.table == here.spec.table == load(frame).spec.table
    x, y = (data.all.batch(torch.arange(2000))[0] for data in (there, here))
    assert torch.equal(x.nan_to_num(-9), y.nan_to_num(-9))


def grey(rng):
    return np.floor(255 * rng.random((60, 8, 8)) ** 3)


def test_bytes_are_levels_whatever_type_they_come_in(rng):
    g = grey(rng).astype(np.uint8)
    data = load(g[:40])
    torch.manual_seed(0)
    model = lb.VAE.for_data(data, latent=2)
    scores = {
        name: model.log_prob(next(iter(load_like(new, data.spec).all.batches(20)))[0], samples=3, seed=0)
        for name, new in {
            "bytes": g[40:],
            "whole": g[40:].astype(np.int64),
            "shares": (g[40:] / 255).astype(np.float32),
        }.items()
    }
    assert torch.allclose(scores["bytes"], scores["whole"])
    assert torch.allclose(scores["bytes"], scores["shares"])
    with pytest.raises(DataError, match=r"grey levels 0\.\.255.*divide by 255"):
        load_like(g[40:].astype(np.float32), data.spec)
    dark = load_like((g[40:] > 128).astype(np.uint8), data.spec).all.batch(torch.arange(20))[0]
    assert dark.max() < 2 / 256
    direct = model.log_prob(torch.as_tensor(g[40:])[:, None], samples=3, seed=0)
    assert torch.allclose(direct, scores["bytes"])
    with pytest.raises(lb.errors.SupportError, match="divide"):
        model.log_prob(torch.as_tensor(g[40:], dtype=torch.float32)[:, None])


def test_shares_of_white_take_bytes(rng):
    g = grey(rng)
    data = load((g[:40] / 255).astype(np.float32))
    floats = load_like((g[40:] / 255).astype(np.float32), data.spec).all.batch(torch.arange(20))[0]
    levels = load_like(g[40:].astype(np.uint8), data.spec).all.batch(torch.arange(20))[0]
    assert torch.allclose(floats, levels)
    with pytest.raises(DataError, match=r"in \[0, 1\]"):
        load_like(g[40:].astype(np.float32), data.spec)


@pytest.mark.parametrize("mean", [10, 100, 1000, 20_000])
def test_decimals_in_float32_are_those_of_float64(mean):
    """1000.84 is 1000.840027 there, which is no other value."""
    frame = pd.DataFrame({"a": np.random.default_rng(0).normal(mean, 8, N).round(2)})
    single = frame.astype("float32")
    data = load(single)
    for other in (single, single.astype(float), frame):
        x = load_like(other, data.spec).all.batch(torch.arange(N))[0]
        torch.testing.assert_close(
            x, load_like(single, data.spec).all.batch(torch.arange(N))[0], rtol=1e-6, atol=1e-7 * mean
        )
    if data.spec.table[0].step is not None:
        with pytest.raises(DataError, match=r"in steps of 0\.01"):
            load_like(frame + 0.003, data.spec)


# --- what stands for a gap


def sentinels():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "p": rng.normal(1000, 8, N).round(2),
            "n": rng.integers(0, 20, N),
            "w": rng.choice(["a", "b"], N),
            "d": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, N), "D"),
        }
    )
    frame.loc[::20, "p"] = -999
    frame.loc[1::30, "n"] = -99
    frame.loc[2::25, "w"] = "unknown"
    frame.loc[3::40, "d"] = pd.Timestamp("1900-01-01")
    return frame


GONE = [-999, "-99", "unknown", "1900-01-01"]
FORMS = {
    "frame": lambda t, p: t,
    "categories": lambda t, p: t.astype({"w": "category"}),
    "single": lambda t, p: t.astype({"p": "float32"}),
    "polars": lambda t, p: pytest.importorskip("polars").from_pandas(t),
    "csv": lambda t, p: t.to_csv(p / "t.csv", index=False) or p / "t.csv",
    "euro": lambda t, p: t.to_csv(p / "t.csv", index=False, sep=";", decimal=",") or p / "t.csv",
    "json": lambda t, p: t.assign(d=t.d.dt.strftime("%F")).to_json(p / "t.json", orient="records") or p / "t.json",
    "xlsx": lambda t, p: t.to_excel(p / "t.xlsx", index=False) or p / "t.xlsx",
    "parquet": lambda t, p: t.to_parquet(p / "t.parquet", row_group_size=100) or p / "t.parquet",
    "feather": lambda t, p: t.to_feather(p / "t.feather") or p / "t.feather",
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_what_is_said_to_stand_for_a_gap_is_one_in_every_form(tmp_path, form):
    frame = sentinels()
    source = FORMS[form](frame, tmp_path)
    data = load(source, missing=GONE)
    by_name = {column.name: column for column in data.spec.table}
    for name in frame:
        assert by_name[name].missing, name
        assert by_name[name].gaps == ("-999", "-99", "unknown", "1900-01-01")
    assert by_name["p"].low > 900
    assert (by_name["n"].low, by_name["w"].categories) == (0, ("a", "b"))
    assert by_name["d"].low > 10_000
    assert not any("far from" in note for note in data.notes)
    x = data.all.batch(torch.arange(N))[0]
    assert x.isnan().sum(0).tolist() == [len(frame[k::s]) for k, s in enumerate((20, 30, 25, 40))]
    # A model that was trained so knows it, of any source.
    for other in (source, frame.iloc[:21], FORMS["csv"](frame.iloc[:21], tmp_path)):
        assert load_like(other, data.spec).all.batch(torch.arange(21))[0].isnan().sum() == 5


@pytest.mark.slow
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_what_stands_for_a_gap_is_one_in_streams_labels_and_conditions(tmp_path, form, stream):
    source = FORMS[form](pd.concat([sentinels()] * 20), tmp_path)
    more = {"label_column": "w", "condition": ["label", "n"], "missing": GONE, "stream": stream}
    data = load(source, **more)
    assert data.spec.classes == ("a", "b")
    assert [entry.missing for entry in data.spec.conditions] == [True, True]


def test_gaps_are_written_as_they_were(tmp_path):
    data = load(FORMS["csv"](sentinels(), tmp_path), missing=GONE)
    assert [column.gap for column in data.spec.table] == ["-999.0", "-99", "unknown", "1900-01-01"]


def test_one_column_can_have_gaps_of_its_own(tmp_path):
    frame = sentinels().assign(p=lambda t: t.p.where(t.p != -999, -99))
    for source in (frame, FORMS["csv"](frame, tmp_path)):
        table = load(source, schema=[{"name": "n", "gaps": ["-99"]}]).spec.table
        assert [column.missing for column in table] == [False, True, False, False]


def far(values, dtype=float):
    notes = load(pd.DataFrame({"a": np.array(values, dtype), "b": np.sin(np.arange(len(values)))})).notes
    return next((note for note in notes if "far from" in note), None)


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ([-999] * 12, "column 'a' has -999 in 12 rows, far from all its other values"),
        ([-999] * 12, r"missing=\[-999\]"),
        ([9999], "9999 in 1 row,"),
        ([-1e5, -1e5], "-100000 in 2 rows"),
        ([-999, -999, -998, -998, 99999], r"missing=\[-999, -998, 99999\]"),
        ([1e20] * 3, r"missing=\[1e\+20\]"),
    ],
)
def test_numbers_that_may_stand_for_gaps_are_said(odd, said):
    values = [*np.random.default_rng(0).normal(20, 5, 300).round(1), *odd]
    assert re.search(said, far(values))


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).lognormal(0, 2, 500),
        np.random.default_rng(0).standard_cauchy(500),
        np.random.default_rng(0).poisson(3, 500),
        [0, 0, 0, 1, 1, 5, 90] * 30,
        [1, 2] * 100,
        [-1, 0, 1] * 100,
        np.arange(300) % 999 + 700,
        [*np.random.default_rng(0).normal(20, 5, 300), 17000],  # one row is what happens
    ],
)
def test_what_lies_far_out_by_nature_is_not(values):
    assert far(values) is None
