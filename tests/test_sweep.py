"""Many runs over choices: what is tried, who is ended early, and that nothing is lost."""

import json
import sys

import numpy as np
import pytest
from toys import ended

import lowerbound as lb
from lowerbound.errors import ConfigError, RunError
from lowerbound.sweep import Range, Sweep, Trial, _ask, _is_hopeless, parse_axis, with_choices

BASE = {
    "latent": 2,
    "network": {"hidden": [4]},
    "training": {"epochs": 2, "batch_size": 20, "evaluations": 2},
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    x = np.random.default_rng(0).standard_normal((80, 3)).astype("f4")
    path = tmp_path_factory.mktemp("data") / "x.npy"
    np.save(path, x @ np.array([[1, 0.9, 0], [0, 0.1, 0], [0, 0, 1]], "f4"))
    return str(path)


# ----------------------------------------------------------------------------------------------- what is tried
@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("objective.beta=1,2,4", [1, 2, 4]),
        ("objective.beta=4", [4]),
        ("likelihood.type=gaussian,columns", ["gaussian", "columns"]),
        ("network.hidden=[8],[8, 8]", [[8], [8, 8]]),
        ("training.learning_rate=1e-4..1e-2", Range(1e-4, 1e-2, log=True, whole=False)),
        ("training.learning_rate=1e-4..1e-2:linear", Range(1e-4, 1e-2, log=False, whole=False)),
        ("objective.beta=0.5..1.0", Range(0.5, 1, log=False, whole=False)),
        ("latent=2..64", Range(2, 64, log=True, whole=True)),
        ("latent=2..8", Range(2, 8, log=False, whole=True)),
    ],
)
def test_lists_and_ranges(text, values):
    assert parse_axis(text) == (text.partition("=")[0], values)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("objective.beta", "needs KEY=VALUES"),
        ("objective.beta=4..1", "the smaller number first"),
        ("objective.beta=1..x", "is no range"),
        ("objective.beta=0..1:log", "begins above 0"),
    ],
)
def test_what_is_no_list_and_no_range(text, words):
    with pytest.raises(ConfigError, match=words):
        parse_axis(text)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({}, "needs something to try"),
        ({"objective.beta": [1]}, "needs something to try"),
        ({"data.binarize": ["none", "dynamic"]}, "compared on the same data"),
        ({"training.validation_samples": [1, 2]}, "could not be compared"),
        ({"objective.bta": [1, 2]}, "did you mean 'beta'"),
        ({"training.learning_rate": Range(-1.0, 1.0, False, False)}, "must be positive"),
        ({"training.seed": list(range(40)), "latent": list(range(1, 41))}, "1,600 combinations"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused_before_it_begins(space, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        Sweep(tmp_path / "s", "digits", space)
    assert not (tmp_path / "s").exists()


def test_a_type_does_not_drop_the_options_beside_it():
    found = with_choices(
        {"decoder": {"type": "conv", "channels": [8]}}, {"decoder.hidden": [4], "decoder.type": "mlp"}
    )
    assert found == {"decoder": {"type": "mlp", "hidden": [4]}}


def test_without_optuna_lists_do_and_ranges_say_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert Sweep(tmp_path, "digits", {"latent": [2, 4]}).wanted == 2
    with pytest.raises(ConfigError, match=r"pip install 'lowerbound\[sweep\]'"):
        Sweep(tmp_path, "digits", {"latent": Range(2, 4, False, True)})


# ------------------------------------------------------------------------------------------------ the decisions
def course(name, *bounds, state="finished"):
    return Trial(name, {}, state, max(bounds), [(float(i), bound) for i, bound in enumerate(bounds, 1)])


def test_a_trial_below_the_median_at_its_epoch_is_ended():
    others = [
        course("a", -9, -5),
        course("b", -8, -4),
        course("c", -7, -3),
    ]  # at the first epoch a median of -8
    assert _is_hopeless(course("d", -8.5, state="running"), others)
    assert not _is_hopeless(course("d", -7.5, state="running"), others)
    assert not _is_hopeless(course("d", -7.5, -4, state="running"), others)
    assert _is_hopeless(course("d", -7.5, -4.5, state="running"), others)
    assert not _is_hopeless(course("d", -99, state="running"), others[:2])  # too few to judge by
    late = [Trial(str(i), {}, "finished", -1, [(1.0, -9), (100.0, -1)]) for i in range(3)]
    assert not _is_hopeless(course("d", -99, state="running"), late)  # its run has hardly begun


@pytest.mark.slow
def test_optuna_goes_where_it_was_good():
    space = {"a": Range(0.0, 1.0, False, False), "b": [[1], [2, 3]]}
    trials = []
    for number in range(40):
        choices = _ask(space, trials)
        assert choices["b"] in space["b"]
        bound = -((choices["a"] - 0.3) ** 2) - (choices["b"] == [1])
        trials.append(Trial(f"{number}", choices, "finished", bound))
    early, late = (np.mean([t.bound for t in part]) for part in (trials[:10], trials[-10:]))
    assert late > early + 0.1
    assert (
        _ask(space, trials[:5]) == trials[5].choices
    )  # a sweep that goes on is one that was not interrupted


# --------------------------------------------------------------------------------------------------- whole sweeps
@pytest.mark.runs
def test_all_combinations_are_trained_and_compared_on_the_validation_split(source, tmp_path):
    space = {"objective.beta": [1, 4], "training.seed": [0, 1], "objective.type": ["elbo"]}
    sweep, said = Sweep(tmp_path / "s", source, space, BASE), []
    assert sweep.run(prune=False, tell=said.append)
    assert len(said) == 4
    tried = {(t.choices["objective.beta"], t.choices["training.seed"]) for t in sweep.trials}
    assert tried == {(1, 0), (1, 1), (4, 0), (4, 1)}
    for trial in sweep.trials:
        config = json.loads((tmp_path / "s" / trial.name / "config.json").read_text())
        assert config["objective"]["beta"] == trial.choices["objective.beta"]
        assert config["training"]["seed"] == trial.choices["training.seed"]
    table = sweep.compared(samples=10)
    assert table.protocol["split"] == "valid"
    assert set(table.differences) == {"objective.beta"}
    assert {row.name: row.runs for row in table.rows} == {"000, 001": 2, "002, 003": 2}
    again = Sweep.opened(tmp_path / "s")
    assert again.settings() == sweep.settings()
    assert again.run(tell=pytest.fail)  # nothing is left to do


@pytest.mark.runs
def test_a_sweep_that_was_stopped_goes_on_where_it_stood(source, tmp_path, monkeypatch):
    import signal

    space = {"latent": [1, 2]}
    whole = Sweep(tmp_path / "whole", source, space, BASE)
    whole.run(prune=False)
    sweep, write = Sweep(tmp_path / "s", source, space, BASE), Sweep.write

    def interrupted(self):
        write(self)
        if len(self.trials) == 2 and self.trials[1].course:
            monkeypatch.setattr(Sweep, "write", write)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Sweep, "write", interrupted)
    assert not sweep.run(prune=False)
    assert lb.load(tmp_path / "s" / "001").latent_shape == (2,)  # usable as it is
    again = Sweep.opened(tmp_path / "s")
    assert [t.state for t in again.trials] == ["finished", "running"]
    assert again.run(prune=False)
    for one, other in zip(whole.trials, again.trials, strict=True):
        assert (one.bound, one.course) == (other.bound, other.course)


@pytest.mark.runs
def test_a_trial_that_fails_ends_no_sweep(source, tmp_path):
    # The second asks for labelled examples, of which there are none.
    space = {"training.labelled_per_batch": [0, 5]}
    sweep = Sweep(tmp_path / "s", source, space, BASE)
    assert sweep.run()
    assert [t.state for t in sweep.trials] == ["finished", "failed"]
    assert sweep.trials[1].why
    assert sweep.compared() is None


@pytest.mark.runs
def test_pruned_trials_are_usable_and_not_compared(source, tmp_path, monkeypatch):
    monkeypatch.setattr("lowerbound.sweep._is_hopeless", lambda trial, trials: len(trials) == 2)
    sweep = Sweep(tmp_path / "s", source, {"latent": [1, 2, 3]}, BASE)
    assert sweep.run()
    assert [t.state for t in sweep.trials] == ["finished", "pruned", "finished"]
    assert lb.load(tmp_path / "s" / "001").latent_shape == (2,)
    assert {row.name for row in sweep.compared(samples=5).rows} == {"000", "002"}


@pytest.mark.runs
def test_the_command(source, tmp_path, capsys):
    out = tmp_path / "s"
    fixed = ["--set", "network.hidden=[4]", "--set", "training.batch_size=20", "--epochs", 1]
    assert ended("sweep", source, "--set", "latent=1,2", *fixed, "--out", out, "-k", 30, "-q") == 0
    table, err = capsys.readouterr()
    assert "8 valid examples" in table
    assert err == ""
    assert ended("sweep", source, "--set", "latent=1,2", *fixed, "--out", out) == 2
    assert "continue with --resume" in capsys.readouterr().err
    assert ended("sweep", "--resume", "--out", out, "-k", 30) == 0
    assert "lowerbound evaluate" in capsys.readouterr().err
    assert ended("sweep", "--set", "latent=1,2") == 2
    assert "name the data" in capsys.readouterr().err
    with pytest.raises(lb.errors.DataError, match="is the folder of a run"):
        lb.data.load(out)


@pytest.mark.runs
def test_what_a_file_says_holds_for_all_runs_and_seeds_are_averaged(source, tmp_path, capsys):
    out, file = tmp_path / "s", tmp_path / "small.toml"
    file.write_text("latent = 1\n[network]\nhidden = [4]\n[training]\nbatch_size = 20\nepochs = 9\n")
    tried = ["--set", "objective.beta=1,4", "--set", "training.seed=0,1"]
    assert ended("sweep", source, "--config", file, *tried, "--epochs", 1, "--out", out, "-k", 30) == 0
    table, err = capsys.readouterr()
    config = json.loads((out / "003" / "config.json").read_text())
    assert config["model"]["encoder"]["hidden"] == [4]
    assert (config["training"]["batch_size"], config["training"]["epochs"]) == (20, 1)
    names = [line.split("  ")[0] for line in table.splitlines()]
    assert {"000, 001", "002, 003"} <= set(names)
    assert "± over seeds" in table
    best, *_ = (name for name in names if name in ("000, 001", "002, 003"))
    assert f"lowerbound compare {' '.join(str(out / name) for name in best.split(', '))}" in err
    assert ended("sweep", source, "--config", tmp_path / "smal.toml", *tried) == 2
    assert "small.toml" in capsys.readouterr().err


def test_the_best_settings_are_shown_with_all_their_seeds(tmp_path):
    sweep = Sweep(tmp_path, "digits", {"latent": [1, 2, 3, 4], "training.seed": [0, 1, 2]}, BASE)
    for latent, bounds in ((1, (-9, -9, -1)), (2, (-5, -5, -5)), (3, (-6, -6, -6)), (4, (-7, -7, -8))):
        for seed, bound in enumerate(bounds):
            choices = {"latent": latent, "training.seed": seed}
            sweep.trials.append(Trial(f"{len(sweep.trials):03}", choices, "finished", bound))
    assert [trials[0].choices["latent"] for trials in sweep.settings()] == [2, 3, 1, 4]
    assert [trial.name for trials in sweep.shown() for trial in trials] == [
        f"{number:03}" for number in (3, 4, 5, 6, 7, 8, 0, 1, 2)
    ]


def test_a_folder_without_a_sweep_or_with_a_damaged_one(tmp_path):
    with pytest.raises(RunError, match="holds no sweep"):
        Sweep.opened(tmp_path)
    for text in ("{", "[]", '{"format": 1}', '{"format": 9}'):
        (tmp_path / "sweep.json").write_text(text)
        with pytest.raises(RunError, match=r"is no sweep|newer version"):
            Sweep.opened(tmp_path)
