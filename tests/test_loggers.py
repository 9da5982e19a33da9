"""Where the records of a run go, and what a run shows of itself."""

import csv
import importlib.util
import math

import numpy as np
import pytest
from PIL import Image
from toys import ended, small_model

import lowerbound as lb
from lowerbound.errors import ConfigError
from lowerbound.training import Run
from lowerbound.training.loggers import CSVLogger, make_loggers

SHORT = {"epochs": 3, "batch_size": 20, "evaluations": 3, "progress": False}


class Noting:
    """A logger of Lightning's kind."""

    def __init__(self, fails=False):
        self.rows, self.params, self.status, self.fails = [], None, None, fails

    def log_hyperparams(self, params):
        self.params = params

    def log_metrics(self, metrics, step=None):
        if self.fails:
            raise OSError("no network")
        self.rows.append((step, metrics))

    def finalize(self, status):
        self.status = status


@pytest.fixture(scope="module")
def data():
    return lb.data.load(np.random.default_rng(0).standard_normal((60, 3)).astype("f4"))


# ------------------------------------------------------------------------------------------------------ loggers
@pytest.mark.runs
def test_every_evaluation_goes_to_all_loggers_and_the_csv(data, tmp_path):
    mine = Noting()
    run = lb.fit(small_model(data, 4), data, out=tmp_path / "run", logger=["csv", mine], **SHORT)
    valid = [record for record in run.history if record["split"] == "valid"]
    assert [step for step, _ in mine.rows] == [record["step"] for record in valid]
    assert [m["valid/bound"] for _, m in mine.rows] == [record["bound"] for record in valid]
    assert mine.rows[0][1]["train/kl"] == run.history[0]["kl"]
    assert mine.params["training.batch_size"] == 20
    assert mine.status == "success"
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["valid_bound"]) for row in rows] == [record["bound"] for record in valid]
    assert [int(row["step"]) for row in rows] == [record["step"] for record in valid]


@pytest.mark.runs
def test_a_run_that_goes_on_has_all_of_its_rows(data, tmp_path):
    def short(**more):
        return lb.fit(small_model(data, 4), data, out=tmp_path / "run", logger="csv", **SHORT | more)

    short(epochs=1)
    run = short(epochs=3, resume=True)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == [record["step"] for record in run.history if record["split"] == "valid"]


@pytest.mark.runs
def test_a_logger_that_fails_ends_no_run(data):
    with pytest.warns(UserWarning, match="Noting failed and is left out .OSError: no network"):
        run = lb.fit(small_model(data, 4), data, logger=Noting(fails=True), **SHORT)
    assert run.stopped == "finished"


@pytest.mark.runs
def test_a_run_that_fails_closes_its_loggers(data):
    mine = Noting()

    def stop(model, record):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        lb.fit(small_model(data, 4), data, logger=mine, callback=stop, **SHORT)
    assert mine.status == "failed"


def test_a_column_that_comes_late_stands_at_the_end(tmp_path):
    logger = CSVLogger(tmp_path / "m.csv")
    logger.log_metrics({"a": 1}, step=1)
    logger.log_metrics({"a": 2, "b": math.pi}, step=2)
    assert (tmp_path / "m.csv").read_text().splitlines() == ["step,a,b", "1,1,", f"2,2,{math.pi}"]


@pytest.mark.parametrize(
    ("asked", "missing", "words"),
    [
        ("tensorbord", (), "did you mean 'tensorboard'"),
        ("tensorboard", ("tensorboard", "tensorboardX"), "pip install tensorboard"),
        ("wandb", ("wandb",), "pip install wandb pytorch-lightning"),
        ("mlflow", ("mlflow",), "pip install mlflow pytorch-lightning"),
        (3, (), "a logger is one of csv, tensorboard, wandb, mlflow, or has"),
    ],
)
def test_a_missing_package_is_said_with_the_line_that_installs_it(
    asked, missing, words, tmp_path, monkeypatch
):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else found(name))
    for name in missing:
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(ConfigError, match=words):
        make_loggers(asked, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_name_needs_a_folder():
    with pytest.raises(ConfigError, match="name it with out="):
        make_loggers("csv", None)


def test_the_command_refuses_before_it_reads(capsys, monkeypatch, tmp_path):
    (tmp_path / "x.npy").write_text("no array")
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    assert ended("train", tmp_path / "x.npy", "--log", "wandb") == 2
    assert "pip install wandb" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------------- what is shown
def records():
    common = {"examples": 1, "seconds": 1.0, "learning_rate": 0.1, "images_per_second": 1.0}
    for epoch in (1.0, 2.0, 20.0):
        for split in ("train", "valid"):
            yield {"step": int(epoch), "epoch": epoch, "split": split, "bound": -24.4, "kl": 3.0} | common


def test_a_run_shows_itself(data, tmp_path):
    history = list(records())
    run = Run(small_model(data, 4), history, history[-1], 20, 1.0, "early", tmp_path)
    assert repr(run) == f"Run({tmp_path}, 20 epochs, best −24.40, stopped early)"
    frame = run.to_frame()
    assert list(frame[frame.split == "valid"].epoch) == [1, 2, 20]
    assert "<th>best bound, nats</th><td>-24.40</td>" in run._repr_html_()
    picture = run.plot()
    with Image.open(picture.save(tmp_path / "p.png")) as opened:
        assert opened.size[0] > 500
    assert picture._repr_png_()[:4] == b"\x89PNG"
    assert len(repr(picture)) < 80


def test_a_run_without_records_has_nothing_to_draw(data):
    run = Run(small_model(data, 4))
    assert repr(run) == "Run(0 epochs)"
    with pytest.raises(ConfigError, match="no records"):
        run.plot()


def test_results_show_themselves_in_a_line(data):
    model = small_model(data, 4)
    one = lb.evaluate.nll(model, data.test, samples=100)
    assert repr(one).startswith(f"NLL {one.value:.2f} ± {one.stderr:.2f} nats (n = 6, S = 100, k-hat ")
    terms = lb.evaluate.bound(model, data.test)
    assert "nats (n = 6)" in repr(terms)
    assert f"KL {terms.kl:.2f}" in repr(terms)
    assert "latent dimensions" in repr(lb.evaluate.active_units(model, data.test))
    assert "train" in data._repr_html_()
    assert "<td>" in model._repr_html_()
    for found in (one, terms, model, data.train):
        assert len(repr(found)) < 600
