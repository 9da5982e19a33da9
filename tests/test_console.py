"""What a run says while it goes on and when it ends: readable in 80 columns, in the unit of evaluations."""

import math

import numpy as np
import pytest

import lowerbound as lb
from lowerbound.training import console
from lowerbound.training.health import findings, settled


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def said(capsys):
    return capsys.readouterr().err.splitlines()


def test_a_line_says_where_the_run_stands_and_how_long_it_will_take(clock, capsys):
    shown = console.Console(True, lambda *_, **__: None)
    shown.step(0.25, 15_000)  # where a run that is resumed begins
    clock[0] += 60
    shown.step(0.5, 15_000)
    train = {"bound": -23.456, "images_per_second": 15234.0}
    shown.evaluated(0.5, train, {"bound": -22.6, "epoch": 10.0, "seconds": 60.0}, True)
    assert said(capsys)[1:] == [" 50% · epoch 10 · train −23.46 · valid −22.60 best · 15.2k/s · 2:00 left"]


def test_many_epochs_of_few_data_are_told_as_steps():
    assert console.length_in_words(20, None, 100) == "20 epochs"
    assert console.length_in_words(667, None, 4002) == "4,002 steps (667 epochs)"
    assert console.length_in_words(None, 2.5, None) == "2.5 minutes"


def test_there_is_a_line_within_ten_seconds_however_long_an_epoch_is(clock, capsys):
    shown = console.Console(True, lambda *_, **__: None)
    for _ in range(40):
        clock[0] += 0.25
        shown.step((clock[0] - 100) / 3600, 12_345, lambda: -543.21)
    (line,) = said(capsys)
    assert line == "  0% · train −543.21 · 12.3k examples/s · 59:52 left"
    assert len(line) < 80


def history(train, valid, steps=100):
    records = []
    for i, (t, v) in enumerate(zip(train, valid, strict=True), 1):
        common = {"step": i * steps, "epoch": i / 2, "seconds": float(i)}
        records += [{**common, "split": "train", "bound": t}, {**common, "split": "valid", "bound": v}]
    return records


RISING = [-100 + 80 * (1 - math.exp(-i / 4)) for i in range(25)]
NOISE = np.random.default_rng(0).normal(0, 0.3, 25)


@pytest.mark.parametrize(
    ("train", "valid", "stopped", "words"),
    [
        (RISING, RISING, "finished", None),
        (RISING, [*(np.array(RISING) + NOISE)], "finished", None),
        (RISING[:2], [-30, -90], "finished", None),  # a trial says nothing
        (
            RISING,
            [-20, -19, *np.linspace(-19.5, -86, 23)],
            "finished",
            "−19.00 nats at evaluation 2 of 25 (epoch 1)",
        ),
        (RISING, [-20, -19, *np.linspace(-19.5, -86, 23)], "early", None),
        (
            [*RISING[:12], *np.linspace(-25, -90, 13)],
            RISING,
            "finished",
            "learning rate 0.01 is probably too high",
        ),
        (RISING, [*RISING[:-1], math.nan], "finished", "1 of 25 validation bounds are not finite"),
    ],
    ids=["rises", "noise", "trial", "falls", "stopped", "diverges", "nan"],
)
def test_what_went_wrong_has_a_cause_and_what_did_not_is_not_mentioned(train, valid, stopped, words):
    found = findings(history(train, valid), 0.01, stopped)
    assert len(found) == (words is not None)
    assert words is None or words in found[0].replace("-", "−").replace("learning−rate", "learning rate")


def test_a_trial_has_not_settled_and_a_long_run_has():
    assert not settled([])
    assert not settled(history([-30, -29], [-31, -30], 1000))
    assert settled(history(RISING, RISING, 1000))
    assert not settled(history(RISING, [-100.0 + i for i in range(25)], 1000))


@pytest.mark.runs
def test_bounds_of_training_have_the_unit_of_evaluations():
    x = np.random.default_rng(0).integers(0, 256, (200, 1, 4, 4), dtype=np.uint8)
    data = lb.data.load(x)
    run = lb.fit(lb.VAE.for_data(data, latent=2), data, epochs=3, ema=0.0, keep="last", progress=False)
    last = run.history[-1]
    truth = lb.evaluate.bound(run.model, data.valid, samples=200).elbo
    # 16 pixels of noise need 16 log 256 = 88.7 nats; as a density it would be near 0.
    assert last["elbo"] == pytest.approx(truth, abs=1.0)
    assert -100 < last["bound"] < -85
    assert last["bits_per_dim"] == pytest.approx(-last["bound"] / (16 * math.log(2)))
    train = run.history[-2]
    assert -100 < train["bound"] < -85
    assert train["elbo"] == pytest.approx(train["reconstruction"] - train["kl"])
