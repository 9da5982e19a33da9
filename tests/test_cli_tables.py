"""Tables on the command line: inspected, learned, sampled, filled and scored in their own types."""

import json

import numpy as np
import pandas as pd
import pytest
from toys import ended as run

pytestmark = pytest.mark.runs


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A table of customers with gaps, and a run on it."""
    here = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(0)
    n = 300
    size = rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "id": [f"c{i:04}" for i in range(n)],
            "age": (40 + 10 * size + rng.normal(size=n)).round().astype(int),
            "income": (2000 + 500 * size + 50 * rng.normal(size=n)).round(2),
            "plan": np.where(size > 0.5, "gold", np.where(size < -0.5, "None", "basic")),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), "D"),
            "country": "DE",
        }
    )
    frame["age"] = frame["age"].astype("Int64")
    frame.loc[rng.random(n) < 0.1, "age"] = pd.NA
    frame.loc[rng.random(n) < 0.1, "plan"] = None
    frame.to_csv(here / "customers.csv", index=False)
    assert run("train", str(here / "customers.csv"), "--out", str(here / "run"), "--epochs", "20", "-q") == 0
    return here


def test_inspect_says_what_each_column_means_and_its_schema_can_be_edited(made, capsys, monkeypatch):
    monkeypatch.chdir(made)
    assert run("inspect", "customers.csv", "--out", "schema.json") == 0
    out = capsys.readouterr().out
    for line in (
        "id       identifier",
        "age      integer",
        "plan     category    None, basic, gold; some empty",
    ):
        assert line in out
    assert "country  constant    always DE" in out
    assert all(len(line) <= 110 for line in out.splitlines())
    schema = json.loads((made / "schema.json").read_text())
    assert [column["name"] for column in schema] == ["id", "age", "income", "plan", "since", "country"]
    (made / "edited.json").write_text(json.dumps([{"name": "since", "kind": "ignored"}]))
    assert run("inspect", "customers.csv", "--schema", "edited.json", "--json") == 0
    spec = json.loads(capsys.readouterr().out)
    assert spec["columns"] == ["age", "income", "plan"]


def test_samples_are_rows_like_those_of_the_file(made, monkeypatch):
    monkeypatch.chdir(made)
    for name in ("s.csv", "s.parquet"):
        assert run("sample", "run", "-n", "200", "--out", name) == 0
    read = {".csv": lambda p: pd.read_csv(p, keep_default_na=False, na_values=[""], parse_dates=["since"])}
    for path in ("s.csv", "s.parquet"):
        frame = read.get(path[1:], pd.read_parquet)(path)
        assert list(frame.columns) == ["id", "age", "income", "plan", "since", "country"]
        assert frame["id"].tolist() == [f"c{i:04}" for i in range(300, 500)]
        assert set(frame["plan"].dropna()) == {"None", "basic", "gold"}
        assert (frame["country"] == "DE").all()
        assert frame["since"].dt.normalize().equals(frame["since"])
        assert (frame["income"].round(2) == frame["income"]).all()
        assert 0.02 < frame["age"].isna().mean() < 0.25
        assert frame["age"].dropna().between(0, 100).all()


def test_the_gaps_of_a_file_are_filled_and_every_row_comes_back(made, capsys, monkeypatch):
    monkeypatch.chdir(made)
    assert run("complete", "run", "customers.csv", "--out", "filled.csv", "-k", "200") == 0
    before = pd.read_csv("customers.csv", keep_default_na=False, na_values=[""])
    after = pd.read_csv("filled.csv", keep_default_na=False, na_values=[""])
    assert list(after.columns) == list(before.columns)
    assert not after.isna().any().any()
    for column in before:
        known = ~before[column].isna()
        assert (
            after[column][known].astype(str) == before[column][known].astype(str)
        ).mean() > 0.999 or np.allclose(
            after[column][known].astype(float), before[column][known].astype(float)
        )
    spans = pd.read_csv("filled.intervals.csv")
    assert len(spans) == before.isna().sum().sum()
    ages = spans[spans["column"] == "age"]
    assert (ages["low"] <= ages["value"].astype(float)).all()
    assert (ages["value"].astype(float) <= ages["high"]).all()
    assert f"{len(spans)} empty cells" in capsys.readouterr().err
    assert run("complete", "run", "customers.csv", "--draws", "2", "--out", "two.csv", "-k", "50") == 0
    two = pd.read_csv("two.csv")
    assert two["draw"].tolist() == [0] * 300 + [1] * 300


def test_scores_carry_rows_and_the_odd_column(made, monkeypatch):
    monkeypatch.chdir(made)
    odd = pd.read_csv("customers.csv", keep_default_na=False).iloc[:30].copy()
    odd["income"] = odd["income"].astype(float)
    odd.loc[7, "income"] = 9999.0
    odd.to_csv("odd.csv", index=False)
    assert run("score", "run", "odd.csv", "--out", "scores.csv") == 0
    scores = pd.read_csv("scores.csv")
    assert scores["row"].tolist() == list(range(30))
    worst = scores.loc[scores["log_prob"].idxmin()]
    assert (worst["row"], worst["odd_column"]) == (7, "income")
    odd.iloc[:1].to_csv("one.csv", index=False)
    assert run("score", "run", "one.csv", "--out", "one_score.csv") == 0
    assert len(pd.read_csv("one_score.csv")) == 1


def test_a_word_that_was_never_seen_is_refused_in_one_line(made, capsys, monkeypatch):
    monkeypatch.chdir(made)
    pd.read_csv("customers.csv", keep_default_na=False).assign(plan="silver").to_csv("new.csv", index=False)
    assert run("score", "run", "new.csv", "--out", "new_scores.csv") == 2
    err = capsys.readouterr().err
    assert "'plan' has 'silver' in row 0" in err
    assert err.count("\n") == 1


def test_rows_that_cannot_be_scored_come_back_empty(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"income": rng.normal(50, 9, 80).round(1), "plan": rng.choice(["gold", "basic"], 80)}
    )
    table.to_csv("customers.csv", index=False)
    assert run("train", "customers.csv", "--out", "run", "--epochs", "1", "-q") == 0
    (tmp_path / "new.csv").write_text("income,plan\n50.1,gold\n48.2,silver\n,basic\n61.3,basic\n")
    capsys.readouterr()
    assert run("score", "run", "new.csv", "--out", "refused.csv") == 2
    assert "--unknown missing" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="rows 1, 2, counted from 0"):
        assert run("score", "run", "new.csv", "--unknown", "missing", "--out", "scored.csv") == 0
    scores = pd.read_csv("scored.csv")
    assert scores["row"].tolist() == [0, 1, 2, 3]
    assert scores["log_prob"].isna().tolist() == [False, True, True, False]
    with pytest.warns(UserWarning, match="left out"):
        assert run("encode", "run", "new.csv", "--unknown", "missing", "--out", "codes.npy") == 0
    assert np.isnan(np.load("codes.npy")).any(1).tolist() == [False, True, True, False]


def test_gaps_are_filled_in_the_file_that_was_learned_from(made, tmp_path, monkeypatch):
    """From another folder, where a file of the same name is another one."""
    monkeypatch.chdir(made)
    assert run("train", "customers.csv", "--out", "near", "--epochs", "1", "-q") == 0
    pd.DataFrame({"id": ["x"]}).to_csv(tmp_path / "customers.csv", index=False)
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match="not the one of the run"):
        assert run("complete", made / "near", "--out", "filled.csv", "-k", "20") == 0
    before = pd.read_csv(made / "customers.csv", keep_default_na=False)
    assert pd.read_csv("filled.csv", keep_default_na=False)["id"].tolist() == before["id"].tolist()


def test_facts_on_copies_are_said_and_printed(made, capsys, monkeypatch):
    monkeypatch.chdir(made)
    assert run("sample", "run", "-n", "50", "--out", "facts.csv", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["file"] == "facts.csv"
    assert facts["closeness"]["copies"] == 0
    assert (facts["closeness"]["rows"], facts["closeness"]["references"]) == (50, 30)
    (made / "customers.csv").rename(made / "away.csv")
    try:
        assert run("sample", "run", "-n", "5", "--out", "unknown.csv") == 0
    finally:
        (made / "away.csv").rename(made / "customers.csv")
    assert "not known without the data" in capsys.readouterr().err


def test_a_label_keeps_its_name_and_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=60).round(2), "kind": rng.choice(["x", "y"], 60)})
    frame["b"] = rng.normal(size=60).round(2)
    frame.to_csv("t.csv", index=False)
    assert run("train", "t.csv", "--label", "kind", "--condition", "label", "--epochs", "1", "-q") == 0
    assert run("sample", "runs/t", "--out", "s.csv") == 0
    assert list(pd.read_csv("s.csv")) == ["a", "kind", "b"]
    assert run("train", "t.csv", "--epochs", "1", "-q", "--overwrite") == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["t"]
    assert run("sample", "runs/t", "--out", "s.csv", "--overwrite") == 0
    assert set(pd.read_csv("s.csv")["kind"]) == {"x", "y"}


def test_inspect_takes_what_train_takes(made, capsys, monkeypatch):
    monkeypatch.chdir(made)
    assert run("inspect", "customers.csv", "--drop", "age", "--label", "plan", "--json") == 2
    assert "labels of customers.csv are missing" in capsys.readouterr().err
    assert run("inspect", "customers.csv", "--drop", "age", "--columns", "age,income", "--json") == 0
    assert json.loads(capsys.readouterr().out)["columns"] == ["income"]
    assert run("inspect", "customers.csv", "--drop", "agee") == 2
    assert "'agee', which is to be left out; did you mean 'age'" in capsys.readouterr().err
