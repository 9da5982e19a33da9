"""Runs side by side: paired by hand-made numbers, and what may not stand in one column is refused."""

import csv
import dataclasses
import io
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from toys import CELLS, ended, points_on_grids, with_cells

import lowerbound as lb
from lowerbound.comparison import compare, differences
from lowerbound.data.identity import digest
from lowerbound.errors import ConfigError, DataError
from lowerbound.evaluation import NLL, bound, nll

SMALL = {"network": {"hidden": [8]}, "latent": 2}
FEW = {"samples": 5, "limit": 40}


def result(values, samples=100, proposal="posterior"):
    log_p = torch.tensor(values, dtype=torch.float64)
    nan = torch.full_like(log_p, 0.1)
    error = log_p.std().item() / math.sqrt(len(log_p))
    return NLL(-log_p.mean().item(), error, samples, len(log_p), log_p, nan, nan, 0.0, proposal)


def saved(folder, source="digits", seed=0, like=None, cut=0, **options):
    """Save an untrained model with the data of its run."""
    data = lb.data.load(source, seed=cut, **options)
    torch.manual_seed(seed)
    model = lb.VAE.for_data(data, **SMALL | (like or {}))
    lb.save(model, folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["data"]["options"] = data.options
    config["training"] = {"seed": seed, "epochs": 3}
    path.write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [saved(folder / "a"), saved(folder / "b", seed=1, like={"latent": 3})]


# ----------------------------------------------------------------------------------------------- the numbers
def test_the_difference_is_paired_over_the_examples():
    found = compare({"b": result([-1.5, -2.5, -4.5]), "a": result([-1.0, -2.0, -3.0])})
    assert [row.name for row in found.rows] == ["a", "b"]  # the best first
    a, b = found.rows
    assert (a.difference, a.difference_stderr) == (0, 0)
    assert b.difference == pytest.approx(-2.5 / 3)
    assert b.difference_stderr == pytest.approx(1 / 3)  # sd of 0.5, 0.5, 1.5 is 1 / √3
    assert b.log_p_stderr == pytest.approx(np.std([1.5, 2.5, 4.5], ddof=1) / 3**0.5)
    assert found.verdict == "a is best, by 0.83 ± 0.33 nats before b"


def test_what_cannot_be_told_apart_is_said():
    near, nearer = result([-1.1, -2.0, -2.9]), result([-1.0, -2.05, -3.0])
    found = compare({"a": result([-1.0, -2.0, -3.0]), "b": near, "c": nearer})
    assert found.verdict.startswith("a has the highest value, but b and c cannot be told from it")


def test_runs_are_evaluated_like_nll(runs):
    found = compare(runs, **FEW)
    data = lb.data.load("digits")
    values = {}
    for run in runs:
        values[run.name] = nll(lb.load(run), data.test, samples=5, limit=40)
    best = min(values, key=lambda name: values[name].value)
    assert found.best == best
    for row in found.rows:
        assert row.log_p == pytest.approx(-values[row.name].value)
        gap = (values[row.name].per_example - values[best].per_example).numpy()
        assert row.difference == pytest.approx(gap.mean())
        assert row.latent == {"a": 2, "b": 3}[row.name]
        assert row.bits_per_dim == pytest.approx(-row.log_p / 64 / math.log(2))
    assert found.protocol["n"] == 40


def test_all_runs_see_the_same_bits_however_large_their_batches_are(monkeypatch):
    data = lb.data.load("digits")
    sizes = {"small": 4, "large": 3000}
    models = {
        name: lb.VAE.for_data(data, latent=2, network={"hidden": [size]}) for name, size in sizes.items()
    }
    seen, batches = {name: [] for name in sizes}, {name: [] for name in sizes}

    def note(model, x):
        name = next(name for name, one in models.items() if one is model)
        seen[name].append(x)
        batches[name].append(len(x))

    monkeypatch.setattr(lb.VAE, "check_x", note)
    compare(models, data.test, samples=20, memory=1)
    small, large = (torch.cat(seen[name]) for name in sizes)
    assert max(batches["small"]) > max(batches["large"])
    assert torch.equal(small, large)
    assert set(small.unique().tolist()) == {0, 1}


def test_what_several_runs_share_is_said_once():
    good = result([-1.0, -2.0])
    runs = {
        k: dataclasses.replace(good, khat=torch.full_like(good.khat, 0.9), ess=good.ess + i)
        for i, k in enumerate("ab")
    }
    (warning,) = compare(runs).warnings
    assert warning.count("the proposal misses part of the posterior") == 1
    assert "a: k-hat exceeds 0.7 for 100% of the examples" in warning
    assert "; b: k-hat exceeds" in warning


def test_a_bound_is_called_one(tmp_path):
    paths = [saved(tmp_path / name, binarize="none", seed=i) for i, name in enumerate("ab")]
    assert compare(paths, **FEW).heading.endswith("; nats, a lower bound")


def test_a_value_that_is_not_finite_is_last():
    found = compare({"a": result([-math.inf, -2.0]), "b": result([-3.0, -4.0])})
    assert found.best == "b"
    assert found.verdict == "b has the only finite value"
    lost = result([-math.inf, -2.0])
    assert compare({"a": lost, "b": lost}).verdict == "no value is finite"
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["runs"][1]["log_p"] is None


# ---------------------------------------------------------------------------------------------- several seeds
def of_seeds(values, differences):
    """A comparison of runs by name, each with the same log p(x) of both of its examples."""
    found = compare({name: result([value - 1, value + 1]) for name, value in values.items()})
    return dataclasses.replace(found, differences=differences)


def test_runs_that_differ_in_the_seed_alone_are_one_row():
    values = {"wide-0": -2.0, "wide-1": -2.4, "slim-0": -3.0, "slim-1": -3.4}
    seeds = {name: int(name[-1]) for name in values}
    latent = {name: 8 if name[0] == "w" else 2 for name in values}
    found = of_seeds(values, {"training.seed": seeds, "model.latent": latent}).over_seeds()
    wide, slim = found.rows
    assert (wide.name, slim.name, wide.runs, slim.runs) == ("wide-*", "slim-*", 2, 2)
    assert wide.log_p == pytest.approx(-2.2)
    assert wide.log_p_stderr == pytest.approx(0.2)  # the sd of two numbers 0.4 apart is 0.4 / √2
    assert (wide.difference, slim.difference) == (0, pytest.approx(-1.0))
    assert slim.difference_stderr == pytest.approx(0.08**0.5)  # of means that do not depend on each other
    assert found.differences == {"model.latent": {"wide-*": 8, "slim-*": 2}}
    assert found.protocol["stderr"] == "over seeds"
    # 3.5 standard errors are not enough with two degrees of freedom: t is 4.3
    assert "slim-* cannot be told from it" in found.verdict
    assert "± over seeds" in found.heading
    assert "seeds" in str(found).splitlines()[2].split()
    assert found.over_seeds() == found


def test_more_seeds_tell_the_settings_apart():
    values = {f"{name}{i}": base + 0.2 * i for name, base in (("a", -2.0), ("b", -3.0)) for i in range(3)}
    found = of_seeds(
        values, {"data.options.seed": {n: n[1] for n in values}, "latent": {n: n[0] for n in values}}
    ).over_seeds()
    assert found.verdict == "a* is best, by 1.00 ± 0.16 nats before b*"


def test_a_single_seed_has_no_error_and_is_told_from_nothing():
    values = {"000": -2.0, "001": -2.2, "002": -9.0}
    differences = {
        "training.seed": {"000": 0, "001": 1, "002": 0},
        "latent": {"000": 2, "001": 2, "002": 4},
    }
    found = of_seeds(values, differences).over_seeds()
    assert [row.name for row in found.rows] == ["000, 001", "002"]
    assert math.isnan(found.rows[1].log_p_stderr)
    assert "002 cannot be told from it: one seed has no error" in found.verdict
    assert "nan" not in str(found) + found.to_markdown() + found.to_latex()
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["runs"][1]["log_p_stderr"] is None
    assert len(found.plot()) > 1000


def test_one_setting_is_one_row():
    found = of_seeds({"a": -2.0, "b": -2.4}, {"training.seed": {"a": 0, "b": 1}}).over_seeds()
    assert [row.name for row in found.rows] == ["a, b"]
    assert found.verdict == "2 seeds of one model"


def test_where_no_two_runs_differ_in_the_seed_alone_each_stays():
    values = {"a": -2.0, "b": -2.4}
    for same in (
        {},
        {"training.seed": {"a": 1, "b": 1}},
    ):  # results of which nothing is known; one run and its copy
        found = of_seeds(values, same)
        assert found.over_seeds() is found
    found = of_seeds(values, {"training.seed": {"a": 0, "b": 1}, "latent": {"a": 2, "b": 4}})
    assert found.over_seeds() is found


# ------------------------------------------------------------------------------------------------ refusals
@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ({}, {"binarize": "threshold"}, "the binarisation is dynamic in a, and threshold in b"),
        ({"binarize": "none"}, {"binarize": "none", "dequantize": False}, "the probability of grey levels"),
        ({}, {"condition": "label"}, r"the number is log p\(x\) in a, and log p\(x\|label\) in b"),
        (
            {"binarize": "threshold"},
            {"binarize": "threshold", "like": {"likelihood": {"type": "gaussian"}, "transform": "none"}},
            "the unit is nats of a probability in a, and a density",
        ),
        ({}, {"cut": 1}, "their test examples differ"),
    ],
)  # fmt: skip
def test_what_may_not_stand_in_one_column_is_refused(tmp_path, a, b, words):
    paths = [saved(tmp_path / name, **options) for name, options in (("a", a), ("b", b))]
    with pytest.raises((ConfigError, DataError), match=words) as caught:
        compare(paths, **FEW)
    assert "a and b cannot stand in one column" in str(caught.value)
    assert str(caught.value).count(". ") == 0


def test_columns_of_other_kinds_are_refused(tmp_path):
    r = np.random.default_rng(0)
    lines = [f"{a},{b:.3f}" for a, b in zip(r.integers(0, 90, 200), r.standard_normal(200), strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["age,height", *lines]))
    a = saved(tmp_path / "a", tmp_path / "t.csv")
    b = saved(tmp_path / "b", tmp_path / "t.csv", values="real")
    c = saved(tmp_path / "c", tmp_path / "t.csv", schema={"age": "category"})
    with pytest.raises(ConfigError, match="columns of their own kinds in a, and a density in b"):
        compare([a, b], **FEW)
    with pytest.raises(
        ConfigError, match=r"a column is age \(integer in steps of 1\) in a, and age \(category\) in c"
    ):
        compare([a, c], **FEW)


def test_one_discrete_code_of_many_is_a_bound():
    data = points_on_grids(20, 10)
    cells = lb.VAE.for_data(data, latent=CELLS + 2, **with_cells(hidden=[8]))
    plain = lb.VAE.for_data(data, latent=2, network={"hidden": [8]})
    with pytest.raises(ConfigError, match="counts one discrete code of many in b; with --proposal prior"):
        compare({"a": plain, "b": cells}, data, **FEW)
    assert compare({"a": plain, "b": cells}, data, proposal="prior", **FEW).protocol["kind"] == "an estimate"


def test_other_examples_of_equal_number_are_noticed(runs):
    x = np.random.default_rng(0).integers(0, 2, (60, 1, 8, 8)).astype("u1")
    models = {"a": lb.load(runs[0]), "b": lb.load(runs[1])}
    one, other = lb.data.load(x, binarize="none"), lb.data.load(1 - x, binarize="none")
    assert (
        len({digest(split) for split in (one.test, other.test, one.test.select(np.arange(6)[::-1].copy()))})
        == 3
    )
    assert digest(one.test) == digest(lb.data.load(x, binarize="none").test)
    assert digest(one.test, 3) == digest(one.test.take(3)) != digest(one.test)
    assert compare(models, one.test, samples=5).protocol["n"] == len(one.test)


@pytest.mark.parametrize(
    ("b", "words"),
    [
        (result([-1.0, -2.0, -3.0], proposal="prior"), "the proposal is posterior in a, and prior in b"),
        (result([-1.0, -2.0, -3.0], samples=5), "importance samples are 100 in a, and 5 in b"),
        (result([-1.0, -2.0]), "the examples are 3 in a, and 2 in b"),
        ("bound", "the number is an estimate in a, and a bound in b"),
    ],
)
def test_results_of_other_protocols_are_refused(runs, b, words):
    if b == "bound":
        b = bound(lb.load(runs[0]), lb.data.load("digits").test.take(5))
    with pytest.raises(ConfigError, match=words):
        compare({"a": result([-1.0, -2.0, -3.0]), "b": b})


def test_one_run_or_one_twice_is_no_comparison(runs):
    for given, words in ((runs[:1], "at least two runs"), ([runs[0], runs[0]], "named twice")):
        with pytest.raises(ConfigError, match=words):
            compare(given)
    with pytest.raises(ConfigError, match="is in memory; give what"):
        compare({"a": lb.load(runs[0]), "b": lb.load(runs[1])})


# ------------------------------------------------------------------------------------------------- as text
def test_only_keys_that_differ_are_listed():
    a = {"training": {"lr": 1, "ema": 2}, "model": {"decoder": {"type": "mlp", "hidden": [1]}}, "data": None}
    b = {"training": {"lr": 3, "ema": 2}, "model": {"decoder": {"type": "conv"}}, "format": 1}
    assert differences({"a": a, "b": b}) == {
        "model.decoder.type": {"a": "mlp", "b": "conv"},
        "model.decoder.hidden": {"a": [1], "b": None},
        "training.lr": {"a": 1, "b": 3},
    }


def test_the_table_in_all_its_forms(runs, tmp_path):
    found = compare(runs, **FEW)
    text = str(found)
    assert max(map(len, text.splitlines())) <= 80
    assert "digits, 40 test examples, dynamic binarisation, 5 importance samples from q; nats" in " ".join(
        text.split()
    )
    assert "model.latent" in text
    assert text.count("5 samples are too few") == 1  # for both runs in one sentence
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [float(row["log_p"]) for row in rows] == [row.log_p for row in found.rows]
    assert {row["name"]: row["model.latent"] for row in rows} == {"a": "2", "b": "3"}
    assert found.to_frame().loc["a", "model.latent"] == 2
    assert found.to_markdown().splitlines()[2].startswith(f"| **{found.best}** |")
    latex = found.to_latex()
    assert latex.count(r"\\") == 3
    assert "±" not in latex
    assert "<td>best</td>" in found._repr_html_()
    path = found.plot().save(tmp_path / "c.png")
    with Image.open(path) as picture:
        assert picture.size[0] > 500


def test_many_runs_of_long_names_stay_within_80_columns(tmp_path):
    paths = [saved(tmp_path / f"a_very_long_name_of_a_run_{i}", seed=i) for i in range(4)]
    found = compare(paths, **FEW)
    assert max(map(len, str(found).splitlines())) <= 80
    assert len({row.name for row in found.rows}) == 4
    assert any(
        line.endswith("  seed") for line in str(found).splitlines()
    )  # what differs as a column, as there is room
    many = {f"model.an_option_{i}": {row.name: i + k for k, row in enumerate(found.rows)} for i in range(9)}
    text = str(dataclasses.replace(found, differences=many))
    assert max(map(len, text.splitlines())) <= 80
    assert f"  model.an_option_2: 2 ({found.best}); 3 (" in text


def test_the_command(runs, tmp_path, capsys):
    a, b = map(str, runs)
    assert ended("compare", a, b, "-k", 5, "--limit", 20, "--json", "--out", tmp_path / "c.png") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["protocol"]["samples"] == 5
    assert "(1 of 2)" in err
    assert (tmp_path / "c.png").stat().st_size > 1000
    assert ended("compare", a, b, "--json", "--csv") == 2
    assert "two forms of one table" in capsys.readouterr().err
    assert ended("compare", a) == 2
    assert "at least two runs" in capsys.readouterr().err
    assert ended("compare", a, b, "--out", tmp_path / "c.png") == 2  # it is there


def test_the_command_averages_over_seeds(tmp_path, capsys):
    paths = [str(saved(tmp_path / f"a-{seed}", seed=seed)) for seed in range(2)]
    assert ended("compare", *paths, "-k", 5, "--limit", 20, "-q") == 0
    assert "a-*" in capsys.readouterr().out
    assert ended("compare", *paths, "-k", 5, "--limit", 20, "-q", "--each") == 0
    assert "a-1" in capsys.readouterr().out


def test_a_folder_of_runs_is_no_data_either(runs):
    for place in (runs[0], runs[0].parent, runs[0].parents[1]):  # at any depth
        with pytest.raises(DataError, match="lowerbound compare RUN"):
            lb.data.load(place)


def test_examples_that_a_run_has_seen_are_named(runs):
    assert any("was trained on some" in warning for warning in compare(runs, split="all", **FEW).warnings)
    assert not any("was trained on" in warning for warning in compare(runs, **FEW).warnings)
