"""A run holds on to its data, and its model is used on new ones: the command line, and ``open_data`` in Python."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from toys import ended as main
from toys import no_pictures  # noqa: F401

import lowerbound as lb
import lowerbound.report
from lowerbound.errors import DataError
from lowerbound.persistence import open_data, read_config

pytestmark = [pytest.mark.runs, pytest.mark.usefixtures("no_pictures")]

SMALL = ["--latent", "2", "--epochs", "1", "--set", "network.hidden=[8]", "--quiet"]
EVALUATE = ["--samples", "5", "--json", "--quiet"]


def frame(rows=200, seed=0):
    r = np.random.default_rng(seed)
    z = r.normal(size=rows)
    return pd.DataFrame(
        {"temp": 60 + 8 * z + r.normal(size=rows), "cur": 20 + 3 * z + 0.3 * r.normal(size=rows)}
    ).round(3)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Runs on a table, on a folder of pictures, and on other files, with their data; copied for each test."""
    folder = tmp_path_factory.mktemp("made")
    r = np.random.default_rng(0)
    frame().to_csv(folder / "t.csv", index=False)
    frame().assign(cls=["a", "b"] * 100, age=r.normal(40, 9, 200).round(2)).to_csv(
        folder / "c.csv", index=False
    )
    frame().to_parquet(folder / "p.parquet", row_group_size=20)
    x = r.normal(size=(60, 3))
    np.savez(folder / "own.npz", train=x[:40], valid=x[40:50], test=x[50:])
    np.save(folder / "x.npy", x)
    (folder / "pictures").mkdir()
    for i in range(30):
        Image.fromarray(r.integers(0, 256, (6, 5), dtype=np.uint8)).save(folder / "pictures" / f"{i}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for source, more in (
            ("t.csv", []),
            ("c.csv", ["--condition", "cls", "--condition", "age", "--set", "condition.age.dropout=0.1"]),
            ("p.parquet", ["--set", "data.stream=true"]),
            ("own.npz", []),
            ("x.npy", []),
            ("pictures", []),
        ):
            assert main("train", source, "--out", f"run-{source}", *SMALL, *more) == 0
    return folder


@pytest.fixture
def call(capsys, monkeypatch, tmp_path, made):
    """Run a command in a folder with the runs and their data; the status, standard output and standard error."""
    # Paths are kept absolute: moved as a whole, the data are found by their names.
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    for run in (tmp_path / "here").glob("run-*"):
        text = (run / "config.json").read_text()
        (run / "config.json").write_text(
            text.replace(str(made.resolve()), str((tmp_path / "here").resolve()))
        )

    def run(*arguments):
        capsys.readouterr()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            status = main(*arguments)
        out, err = capsys.readouterr()
        err = "" if arguments[0] == "evaluate" and status == 0 else err  # of few samples and a short run
        return (
            status,
            out,
            err + "".join(f"warning: {w.message}\n" for w in told if w.category is UserWarning),
        )

    return run


def values(data):
    return next(data.batches(len(data)))[0]


def test_what_a_run_keeps_of_its_data(call, tmp_path):
    stored = json.loads((tmp_path / "here/run-t.csv/config.json").read_text())["data"]
    assert stored["source"] == "t.csv"
    assert stored["paths"] == {"source": str((tmp_path / "here/t.csv").resolve())}
    assert stored["fingerprint"]["examples"] == 200


def other_value(path):
    """The table with one cell changed."""
    t = frame()
    t.loc[7, "temp"] += 1
    return t.to_parquet(path, row_group_size=20) if path.suffix == ".parquet" else t.to_csv(path, index=False)


def moved(path):
    """The arrays of a .npz with valid and test exchanged."""
    with np.load(path) as parts:
        arrays = dict(parts)
    np.savez(path, train=arrays["train"], valid=arrays["test"], test=arrays["valid"])


def edited(**change):
    def edit(path):
        t = pd.read_csv(path)
        t.assign(**{name: made(t) for name, made in change.items()}).to_csv(path, index=False)

    return edit


# What is done to a source, what is said of it.
CHANGES = {
    "a row in front": (
        "t.csv",
        lambda p: pd.concat([frame(1, 5), frame()]).to_csv(p, index=False),
        "201 examples, 200 in training",
    ),
    "shorter": ("t.csv", lambda p: frame()[:150].to_csv(p, index=False), "150 examples, 200 in training"),
    "one value changed": ("t.csv", other_value, "other values"),
    "another file": ("t.csv", lambda p: frame(seed=3).to_csv(p, index=False), "other values"),
    "a label changed": ("c.csv", edited(cls=lambda t: ["b", "a", *t["cls"][2:]]), "other labels"),
    "a condition changed": (
        "c.csv",
        edited(age=lambda t: [*t["age"][::-1]]),
        "other labels or conditions",
    ),
    "a picture more": (
        "pictures",
        lambda p: shutil.copy(p / "3.png", p / "new.png"),
        "31 examples, 30 in training",
    ),
    "another picture": ("pictures", lambda p: Image.new("L", (5, 6), 9).save(p / "3.png"), "other values"),
    "its own split moved": ("own.npz", moved, "in other splits"),
    "a .npy of other values": ("x.npy", lambda p: np.save(p, np.load(p) * 2), "other values"),
    "streamed, one value": ("p.parquet", other_value, "other bytes"),
    "streamed, longer": (
        "p.parquet",
        lambda p: frame(220).to_parquet(p, row_group_size=20),
        "220 examples, 200 in training",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_data_that_have_changed_are_refused_or_gone_on_with_if_that_is_said(call, tmp_path, change):
    source, write, said = CHANGES[change]
    run = f"run-{source}"
    assert call("evaluate", run, *EVALUATE)[0] == 0
    write(tmp_path / "here" / source)
    for command in (["evaluate", run, *EVALUATE], ["train", "--resume", "--out", run, "--epochs", "2", "-q"]):
        status, out, err = call(*command)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"lowerbound: {source} is not what the run was trained on: ")
        assert said in err
        assert "--changed-data" in err
    with pytest.raises(DataError, match="changed_data=True"):
        open_data(read_config(run))
    with pytest.warns(UserWarning, match="is not what the run was trained on") as told:
        open_data(read_config(run), changed_data=True)
    assert len(told) == 1
    status, out, err = call("evaluate", run, "--changed-data", *EVALUATE)
    assert status == 0
    assert err.count("is not what the run was trained on") == 1
    assert json.loads(out)["n"] > 0
    # Named as a SOURCE it is any data.
    assert call("evaluate", run, source, *EVALUATE)[0] == 0


HARMLESS = {
    "reordered": lambda p: frame()[::-1].to_csv(p, index=False),
    "a column more": lambda p: frame().assign(new=np.arange(200.0) ** 1.5).to_csv(p, index=False),
    "columns in another order": lambda p: frame()[["cur", "temp"]].to_csv(p, index=False),
    "written otherwise": lambda p: p.write_text(frame().to_csv(index=False, sep=";", lineterminator="\r\n")),
    "touched": lambda p: p.touch(),
}


@pytest.mark.parametrize("change", HARMLESS)
def test_what_changes_no_example_changes_no_number(call, tmp_path, change):
    before = call("evaluate", "run-t.csv", *EVALUATE)
    HARMLESS[change](tmp_path / "here/t.csv")
    after = call("evaluate", "run-t.csv", *EVALUATE)
    assert before[0] == after[0] == 0
    assert json.loads(after[1])["nll"] == pytest.approx(json.loads(before[1])["nll"], rel=1e-6)


@pytest.mark.parametrize("command", ["score", "encode", "report", "reconstruct", "interpolate"])
def test_every_command_that_reads_the_runs_data_compares_them(call, tmp_path, command):
    frame(201).to_csv(tmp_path / "here/t.csv", index=False)
    status, out, err = call(command, "run-t.csv")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "201 examples, 200 in training" in err
    assert call(command, "run-t.csv", "--changed-data", "--overwrite")[0] == 0


def test_a_run_is_read_with_other_shares_if_that_is_asked(call):
    data = open_data(read_config("run-t.csv"), split=[0.5, 0.25, 0.25])
    assert [len(data.train), len(data.valid), len(data.test)] == [100, 50, 50]


def test_rows_that_come_move_no_row_of_the_test_set(call, tmp_path):
    config = read_config("run-t.csv")
    before = open_data(config)
    pd.concat([frame(50, 5), frame()[::-1]]).to_csv("t.csv", index=False)
    with pytest.warns(UserWarning, match="250 examples, 200 in training"):
        after = open_data(config, changed_data=True)
    for part in ("train", "valid", "test"):
        old, new = ({tuple(row) for row in values(getattr(d, part)).tolist()} for d in (before, after))
        assert old <= new
    assert len(after.test) + len(after.train) + len(after.valid) == 250


def test_a_run_that_goes_on_with_changed_data_keeps_their_fingerprint(call):
    frame(210).to_csv("t.csv", index=False)
    resume = ["train", "--resume", "--out", "run-t.csv", "--epochs", "2", "-q"]
    assert call(*resume)[0] == 2
    status, _, err = call(*resume, "--changed-data")
    assert (status, err.count("\n")) == (0, 1)
    status, _, err = call("evaluate", "run-t.csv", *EVALUATE)
    assert (status, err) == (0, "")
    assert "--changed-data is about" in call("train", "t.csv", "--changed-data", *SMALL)[2]


def test_resuming_in_python_compares_too(call):
    config, model = read_config("run-t.csv"), lb.load("run-t.csv")
    frame(210).to_csv("t.csv", index=False)
    options = {
        "objective": config["objective"],
        "out": "run-t.csv",
        "resume": True,
        "epochs": 2,
        "progress": False,
    }
    with pytest.raises(DataError, match="210 examples, 200 in training"):
        lb.fit(model, lb.data.load("t.csv"), **options)
    with pytest.warns(UserWarning, match="210 examples"):
        data = open_data(config, changed_data=True)
    with pytest.raises(DataError, match="210 examples, 200 in training"):
        lb.fit(model, data, **options)
    lb.fit(model, data, changed_data=True, **options)


# --- where the data lie


def test_a_run_finds_its_data_from_another_folder(call, monkeypatch, tmp_path):
    want = call("evaluate", "run-t.csv", *EVALUATE)[1]
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    status, out, err = call("evaluate", "../here/run-t.csv", *EVALUATE)
    assert (status, err) == (0, "")
    assert json.loads(out)["nll"] == json.loads(want)["nll"]
    status, _, err = call("train", "--resume", "--out", "../here/run-t.csv", "--epochs", "2", "-q")
    assert (status, err) == (0, "")
    stored = json.loads((tmp_path / "here/run-t.csv/config.json").read_text())["data"]
    assert stored["source"] == "t.csv"
    assert stored["paths"] == {"source": str((tmp_path / "here/t.csv").resolve())}
    # Another file of the name is here: the run's own is meant.
    frame(seed=8).to_csv("t.csv", index=False)
    status, out, err = call("evaluate", "../here/run-t.csv", *EVALUATE)
    assert (status, err.count("\n")) == (0, 1)
    assert "t.csv is here, but not the one of the run" in err
    assert str(tmp_path / "here/t.csv") in err


def test_a_run_that_was_moved_with_its_data_finds_them_by_name(call, monkeypatch, tmp_path):
    want = json.loads(call("evaluate", "run-t.csv", *EVALUATE)[1])["nll"]
    (tmp_path / "here").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    status, out, err = call("evaluate", "run-t.csv", *EVALUATE)
    assert (status, err) == (0, "")
    assert json.loads(out)["nll"] == want
    frame(seed=8).to_csv("t.csv", index=False)
    assert "other values" in call("evaluate", "run-t.csv", *EVALUATE)[2]
    (tmp_path / "moved/t.csv").unlink()
    status, _, err = call("evaluate", "run-t.csv", *EVALUATE)
    assert (status, err.count("\n")) == (2, 1)
    assert "t.csv" in err


def test_labels_in_a_file_of_their_own_are_found_too(call, monkeypatch, tmp_path):
    np.save("y.npy", np.arange(60) % 2)
    more = ["--condition", "label", "--set", "data.labels=y.npy"]
    assert call("train", "x.npy", "--out", "r", *SMALL, *more)[0] == 0
    want = call("evaluate", "r", *EVALUATE)[1]
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    status, out, err = call("evaluate", "../here/r", *EVALUATE)
    assert (status, err) == (0, "")
    assert json.loads(out)["nll"] == json.loads(want)["nll"]
    np.save("../here/y.npy", (np.arange(60) + 1) % 2)
    assert "other labels" in call("evaluate", "../here/r", *EVALUATE)[2]


def test_a_run_of_a_version_without_fingerprints_goes_on_as_before(call):
    config = json.loads(Path("run-t.csv/config.json").read_text())
    for key in ("paths", "fingerprint"):
        del config["data"][key]
    del config["data"]["options"]["split_by"]
    data = open_data(config)
    np.testing.assert_array_equal(data.order, np.random.default_rng(0).permutation(200))
    other = open_data(config, seed=1)
    np.testing.assert_array_equal(other.order, np.random.default_rng(1).permutation(200))
    frame(250).to_csv("t.csv", index=False)
    assert len(open_data(config).train) == 200
    Path("run-t.csv/config.json").write_text(json.dumps(config))
    status, _, err = call("train", "--resume", "--out", "run-t.csv", "--epochs", "2", "-q")
    assert (status, err) == (0, "")


@pytest.mark.parametrize(("key", "value"), [("paths", 3), ("paths", {"source": 3}), ("fingerprint", [])])
def test_damaged_entries_are_refused(call, key, value):
    config = json.loads(Path("run-t.csv/config.json").read_text())
    config["data"][key] = value
    Path("run-t.csv/config.json").write_text(json.dumps(config))
    status, _, err = call("evaluate", "run-t.csv", *EVALUATE)
    assert (status, err.count("\n")) == (2, 1)
    assert key in err


# --- a model on new data


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_a_split_of_what_has_none_is_refused(call, part):
    frame(7, 4).to_csv("new.csv", index=False)
    for command in ("evaluate", "score", "encode"):
        status, out, err = call(command, "run-t.csv", "new.csv", "--split", part)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert f"new.csv is not split, so it has no {part}" in err
    assert call("score", "run-t.csv", "new.csv", "--split", "all")[0] == 0
    # What brings its own has one.
    shutil.copy("own.npz", "other.npz")
    assert (
        json.loads(call("evaluate", "run-own.npz", "other.npz", "--split", part, *EVALUATE)[1])["split"]
        == part
    )


def test_one_row_is_scored_encoded_and_reconstructed(call):
    frame()[3:4].to_csv("one.csv", index=False)
    assert call("score", "run-t.csv", "--split", "all", "--out", "every.csv")[0] == 0
    assert call("score", "run-t.csv", "one.csv", "--out", "s.csv")[0] == 0
    every, one = pd.read_csv("every.csv"), pd.read_csv("s.csv")
    assert len(one) == 1
    assert abs(one["log_prob"][0] - every["log_prob"][3]) < 1  # by other draws
    for command in ("encode", "reconstruct"):
        assert call(command, "run-t.csv", "one.csv", "--out", f"{command}.csv")[0] == 0
        assert len(pd.read_csv(f"{command}.csv")) == 1
    assert json.loads(call("evaluate", "run-t.csv", "one.csv", *EVALUATE)[1])["n"] == 1
    data = lb.data.load_like(frame()[3:4], lb.load("run-t.csv").data_spec)
    torch.testing.assert_close(values(data.all), values(open_data(read_config("run-t.csv")).all)[3:4])


@pytest.mark.parametrize("source", ["one.png", "folder", "array.npy"])
def test_one_picture_is_scored_encoded_and_reconstructed(call, source):
    shutil.copy("pictures/3.png", "one.png")
    np.save("array.npy", np.asarray(Image.open("one.png"))[None])
    Path("folder").mkdir()
    shutil.copy("pictures/3.png", "folder/3.png")
    for command, file in (("score", "s.csv"), ("encode", "e.npy"), ("reconstruct", "r.npy")):
        status, _, err = call(command, "run-pictures", source, "--out", file)
        assert status == 0, err
    assert len(pd.read_csv("s.csv")) == len(np.load("e.npy")) == len(np.load("r.npy")) == 1
    assert call("reconstruct", "run-pictures", source)[0] == 0


def test_an_empty_condition_column_is_missing(call):
    frame(3, 4).assign(cls=["a", "b", "a"], age="").to_csv("new.csv", index=False)
    for command in ("score", "encode", "reconstruct", "evaluate"):
        status, _, err = call(command, "run-c.csv", "new.csv")
        assert status == 0, err
    data = lb.data.load_like("new.csv", lb.load("run-c.csv").data_spec)
    assert bool(data.all.condition("age").isnan().all())


# --- rare classes


@pytest.mark.parametrize("seed", [0, 1, 2, 7])
def test_a_class_with_one_example_stops_neither_training_nor_evaluation(call, seed):
    frame().assign(cls=["a"] * 3 + ["z"] + ["a"] * 196).to_csv("rare.csv", index=False)
    assert call("train", "rare.csv", "--condition", "cls", "--seed", seed, "--out", "r", *SMALL)[0] == 0
    status, out, err = call("evaluate", "r", *EVALUATE)
    assert (status, err, json.loads(out)["n"]) == (0, "", 20)


def test_examples_of_unseen_classes_are_left_out_of_an_evaluation(call):
    new = frame(30, 4).assign(cls=["a", "b", "new"] * 10, age=40.5)
    new.to_csv("new.csv", index=False)
    new[new["cls"] != "new"].to_csv("known.csv", index=False)
    status, out, err = call("evaluate", "run-c.csv", "new.csv", *EVALUATE)
    assert (status, err.count("\n")) == (0, 1)
    assert "10 of the 30 examples of new.csv are left out: they have 'new' as 'cls'" in err
    known = json.loads(call("evaluate", "run-c.csv", "known.csv", *EVALUATE)[1])
    assert json.loads(out)["n"] == 20
    assert json.loads(out)["nll"] == known["nll"]
    for command in ("score", "encode"):
        status, _, err = call(command, "run-c.csv", "new.csv", "--out", "lines.csv", "--overwrite")
        assert status == 0
        assert "10 of the 30 examples of new.csv are left out" in err
        numbers = pd.read_csv("lines.csv", skip_blank_lines=False)[
            {"score": "log_prob", "encode": "z0"}[command]
        ]
        assert numbers.isna().tolist() == [i % 3 == 2 for i in range(30)]
    new[new["cls"] == "new"].to_csv("new.csv", index=False)
    for command in (["evaluate", *EVALUATE], ["score"], ["encode"]):
        status, out, err = call(command[0], "run-c.csv", "new.csv", *command[1:])
        assert (status, out) == (2, "")
        assert "'new', which was never seen" in err
    # What shows one thing beside another leaves none out.
    assert call("reconstruct", "run-c.csv", "new.csv")[0] == 2


def test_a_class_that_only_the_test_split_has_is_left_out_of_its_evaluation(call):
    # As in what is split by groups or by its owner: the class has a name, but no example to learn it by.
    x, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 2
    parts = {"train": slice(0, 40), "valid": slice(40, 50), "test": slice(50, 60)}
    y[55:] = 2
    np.savez(
        "d.npz", **{k: x[v] for k, v in parts.items()}, **{f"{k}_labels": y[v] for k, v in parts.items()}
    )
    assert call("train", "d.npz", "--condition", "label", "--out", "r", *SMALL)[0] == 0
    status, out, err = call("evaluate", "r", *EVALUATE)
    assert (status, json.loads(out)["n"]) == (0, 5)
    assert "5 examples of test are left out: they have '2' as 'label', which none of train has" in err


def test_a_class_that_comes_with_changed_data_is_left_out(call):
    t = pd.read_csv("c.csv")
    pd.concat([t, t.assign(cls="new", temp=t["temp"] + 0.5)]).to_csv("c.csv", index=False)
    assert "400 examples, 200 in training" in call("evaluate", "run-c.csv", *EVALUATE)[2]
    status, out, err = call("evaluate", "run-c.csv", "--changed-data", *EVALUATE)
    assert status == 0
    assert json.loads(out)["n"] == 20
    assert "200 of the 400 examples of c.csv are left out" in err
