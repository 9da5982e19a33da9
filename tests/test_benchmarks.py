"""The comparisons compare like with like: the peers' networks and losses are ours, from the same weights."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import lowerbound as lb

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def peers(monkeypatch):
    """Import the modules of ``benchmarks/peers`` as its workers do."""
    monkeypatch.syspath_prepend(str(BENCHMARKS / "peers"))
    return importlib.import_module


@pytest.fixture
def script(monkeypatch):
    """Import a script of ``benchmarks``."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def images(tmp_path):
    """Return the path of a few colour images whose sides are no powers of two."""
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (2000, 3, 12, 10), np.uint8))
    return str(path)


@pytest.fixture
def pair(peers, images):
    """Return both sides' networks with the same weights, and our model."""

    def make(network: str):
        ours = peers("side_ours").Training(images, network, batch=20, precision="fp32")
        encoder, decoder = peers("networks").build(network, (3, 12, 10))
        weights = [*ours.model.encoder.parameters(), *ours.model.decoder.parameters()]
        peers("networks").set_weights(encoder, decoder, weights)
        return ours, encoder, decoder

    return make


def test_second_views_are_other_images_of_the_class(script):
    label = np.random.default_rng(0).integers(0, 4, 50)
    other = script("multimodal").another(label, np.random.default_rng(1))
    assert sorted(other) == list(range(50))
    assert (label[other] == label).all()
    assert (other != np.arange(50)).all()


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_the_peers_networks_give_what_ours_give(pair, network):
    ours, encoder, decoder = pair(network)
    x = ours.data.train.batch(torch.arange(7))[0]
    q = ours.model.infer(x)
    mean, log_scale = encoder(x)
    torch.testing.assert_close(mean, q.mean)
    torch.testing.assert_close(log_scale.exp(), q.stddev)
    z = torch.randn(7, 32)
    torch.testing.assert_close(torch.sigmoid(decoder(z)), ours.model.decode(z))


def test_the_plain_loss_is_minus_our_bound(peers, pair):
    ours, encoder, decoder = pair("mlp")
    plain = peers("side_plain")
    x = ours.data.train.batch(torch.arange(7))[0]
    model = plain.VAE(encoder, decoder)
    torch.manual_seed(1)
    probabilities, mu, log_variance = model(x)
    theirs = plain.loss_of(probabilities, x, mu, log_variance) / len(x)
    torch.manual_seed(1)
    out = ours.model(x)
    torch.testing.assert_close(theirs, (out.kl() - out.log_likelihood[0]).mean())


@pytest.mark.processes
def test_a_worker_answers_with_numbers_and_says_what_went_wrong(images):
    make = {"do": "make", "name": "a", "kind": "Training"}
    orders = [
        make | {"arguments": {"images": images, "network": "mlp", "batch": 50}},
        {"do": "call", "name": "a", "method": "run", "arguments": {"images": 100}},
        {"do": "call", "name": "b", "method": "run", "arguments": {}},
    ]
    worker = subprocess.run(
        [sys.executable, str(BENCHMARKS / "peers" / "worker.py"), "plain"],
        input="\n".join(map(json.dumps, orders)),
        capture_output=True,
        text=True,
        check=True,
    )
    made, trained, wrong = map(json.loads, worker.stdout.splitlines())
    assert made == {"answer": None}
    assert trained["answer"]["images"] == 100
    assert trained["answer"]["seconds"] > 0
    assert 0 < trained["answer"]["loss"] < 2 * 3 * 12 * 10  # nats, near 0.7 per pixel at first
    assert "KeyError: 'b'" in wrong["error"]


def test_forward_flops_are_those_of_the_matrix_products(peers):
    wanted = 2 * (784 * 512 + 512 * 512 + 512 * 64 + 32 * 512 + 512 * 512 + 512 * 784)
    assert peers("networks").forward_flops("mlp", (1, 28, 28)) == wanted


@pytest.mark.runs
def test_our_timed_training_is_that_of_the_second_epoch(peers, images):
    ours = peers("side_ours").Training(images, "mlp", batch=20, precision="fp32")
    answer = ours.run(images=200)
    assert answer["images"] == 200
    assert answer["seconds"] > 0
    assert isinstance(ours.model, lb.VAE)


def test_the_shared_bound_is_ours(peers, pair):
    ours, encoder, decoder = pair("mlp")
    networks = peers("networks")
    with torch.no_grad():  # means and scales far from the prior's: a KL of many nats
        for last in (ours.model.encoder.output, encoder.layers[-1]):
            last.weight.mul_(10)
    x = ours.data.train.batch(torch.arange(1000))[0]
    theirs = networks.bound(encoder, networks.bernoulli(decoder), x)
    assert theirs == networks.bound(encoder, networks.bernoulli(decoder), x)  # the same draws
    bound = lb.evaluate.bound(ours.model, x, samples=1)
    assert bound.kl > 20 * bound.stderr
    # Both have one draw of z for each of the same images, which is the smaller part of the error.
    assert theirs == pytest.approx(bound.elbo, abs=4 * bound.stderr)
    assert theirs != bound.elbo


def test_weights_go_from_one_environment_to_the_other(peers, pair, tmp_path):
    _, encoder, decoder = pair("conv")
    networks = peers("networks")
    networks.save_weights(encoder, decoder, str(tmp_path / "weights.npz"))
    again = networks.build("conv", (3, 12, 10))
    networks.load_weights(*again, str(tmp_path / "weights.npz"))
    z = torch.randn(2, 32)
    torch.testing.assert_close(again[1](z), decoder(z))


def test_the_clock_of_a_curve_stands_still_while_it_is_evaluated(peers, monkeypatch):
    loading = peers("loading")
    now = iter([0.0, 2.0, 7.0, 10.0, 30.0])  # made; paused, noted; paused, noted
    monkeypatch.setattr(loading.time, "perf_counter", lambda: next(now))
    curve = loading.Curve(target=-100.0)
    curve.pause()
    assert not curve.note(-120.0)
    curve.pause()
    assert curve.note(-100.0)
    assert curve.points == [[2.0, -120.0], [5.0, -100.0]]


@pytest.mark.runs
def test_our_curve_ends_one_evaluation_after_the_target(peers, tmp_path):
    data = lb.data.load("digits")
    np.save(tmp_path / "bits.npy", next(data.valid.batches(50))[0].byte().numpy())
    side = peers("side_ours").Quality(str(tmp_path / "bits.npy"), None, source="digits")
    whole = side.run(seed=0, recipe={"epochs": 4})
    cut = side.run(seed=0, recipe={"epochs": 4}, target=whole[0][1] - 5)
    assert [len(whole), len(cut)] == [4, 2]
    seconds = [at for at, _ in whole]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0
    assert whole[-1][1] > whole[0][1]  # it learns


def test_sides_take_turns_in_an_order_that_is_reversed(script, capsys):
    seen = []
    turns = {name: lambda name=name: seen.append(name) or {"seconds": 1.0} for name in "abc"}
    answers = script("contest").alternate(turns, 3)
    assert "".join(seen) == "abccbaabc"
    assert {name: len(of_side) for name, of_side in answers.items()} == {"a": 3, "b": 3, "c": 3}


def test_ratios_are_taken_round_by_round(script):
    numbers = script("contest").Numbers()
    numbers.add_ratio("ratio", [2.0, 30.0, 8.0], [1.0, 10.0, 2.0])
    assert numbers.metrics == {"ratio": 3.0}
    assert numbers.intervals == {"ratio": [2.0, 4.0]}


def test_a_target_is_reached_at_the_first_evaluation_that_has_it(script):
    curve = [[1.0, -120.0], [2.0, -101.0], [3.0, -99.0], [4.0, -98.0]]
    reached = script("time_to_quality").reached
    assert reached(curve, -100.0) == 3.0
    assert reached(curve, -101.0) == 2.0
    assert reached(curve, -97.0) is None


def test_exponents_are_slopes_of_logarithms(script):
    growth = script("growth")
    sizes = [10, 100, 1000]
    assert growth.slope(sizes, [7.0 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert growth.last_linear(sizes, [1.0, 5.0, 50.0]) == 1000
    assert growth.last_linear(sizes, [1.0, 10.0, 200.0]) == 100  # the last step grows with the power 1.3


def test_estimates_are_compared_by_their_standard_error(script):
    gap, error = script("likelihood_throughput").compared([1.0, 3.0], [5.0, 5.0, 5.0])
    assert gap == -3.0
    assert error == pytest.approx(1.0)  # variance 2 of the one over 2, 0 of the other


def test_ten_minutes_are_the_two_commands_and_kept_runs_are_taken_up(script, monkeypatch, tmp_path):
    module = script("mnist_mlp")
    commands = []

    def run(*arguments: str) -> str:
        commands.append(arguments)
        folder = tmp_path / "mnist-seed1"
        folder.mkdir(exist_ok=True)
        (folder / "evaluation.json").write_text('{"nll": 84.0}')
        (folder / "metrics.jsonl").write_text('{"epoch": 2}\n')
        (folder / "config.json").write_text('{"data": {"options": {"root": "here"}}}')
        return ""

    monkeypatch.setattr(module, "lowerbound", run)
    found = [module.train_and_evaluate([1], ["--minutes", "10"], "data", tmp_path) for _ in range(2)]
    assert found[0] == found[1] == [({"nll": 84.0}, [{"epoch": 2}], {"data": {"options": {}}})]
    assert [command[0] for command in commands] == ["train", "evaluate"]  # the second time nothing
    assert {"dynamic", "10", "1", "data"} <= set(commands[0])


@pytest.fixture
def commands(script, monkeypatch):
    """The commands that a table of runs gives; each trains and evaluates nothing."""
    given = []

    def run(*arguments):
        given.append(arguments)
        if arguments[0] == "train":
            folder = Path(arguments[arguments.index("--out") + 1])
            folder.mkdir(parents=True)
            (folder / "metrics.jsonl").write_text('{"seconds": 60.0, "examples": 2000}\n')
            (folder / "config.json").write_text('{"data": {"options": {"root": "here"}}}')
        else:
            nll = 80.0 + len(given)
            numbers = {
                "nll": nll,
                "posterior_nll": nll + 1,
                "nll_stderr": 0.2,
                "proposal": "mixture",
                "samples": 9,
            }
            (Path(arguments[1]) / "evaluation.json").write_text(json.dumps(numbers))
        return ""

    monkeypatch.setattr(script("mnist_runs"), "lowerbound", run)
    return given


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("iwae_table", {"vae", "iwae_5", "iwae_50", "images_seen_millions"}),
        ("prior_ladder", {"standard", "vamp", "flow", "minutes"}),
    ],
)
def test_a_table_of_runs_takes_up_what_is_finished(script, monkeypatch, commands, tmp_path, name, metrics):
    module, written = script(name), {}
    monkeypatch.setattr(module, "write_result", lambda name, metrics, **rest: written.update(metrics, **rest))
    monkeypatch.setattr(
        sys, "argv", [name, "--keep", str(tmp_path), "--seeds", "3", "4", "--millions", "0.5"]
    )
    module.main()
    assert len(commands) == 2 * 3 * 2
    assert metrics <= set(written)
    assert written["images_seen_millions"] == 0.002
    assert all({"--epochs", "10.0", "dynamic"} <= set(c) for c in commands if c[0] == "train")
    assert all("--all" in c for c in commands if c[0] == "evaluate")
    module.main()
    assert len(commands) == 2 * 3 * 2
    # What is published is q's number.
    first = sorted(metrics & set(written["intervals"]))[0]
    assert written[first] == pytest.approx(sum(written["intervals"][first]) / 2)
    assert min(written["intervals"].values())[0] >= 81


@pytest.mark.slow
def test_the_open_table_has_rows_of_ones_own_and_a_picture(script, monkeypatch, commands, tmp_path, capsys):
    module, written = script("time_to_nats"), {}
    assert {"default", "vae", "iwae", "flow-prior"} <= set(module.presets())
    assert not {"ae", "m2", "cvae", "sigma-vae", "swae"} & set(module.presets())
    monkeypatch.setattr(module, "operations", lambda run, root: 1e6)
    monkeypatch.setattr(module, "write_result", lambda name, metrics, **rest: written.update(metrics))
    theirs = tmp_path / "theirs.json"
    row = {"name": "theirs", "seconds": 600, "images": None, "flop": None, "nll": 84.2, "source": "a paper"}
    theirs.write_text(json.dumps([row]))
    own = ["--row", "mine: --preset vae --latent 5", "--rows", str(theirs), "--out", str(tmp_path / "p.png")]
    given = ["time_to_nats", "--keep", str(tmp_path / "runs"), "--minutes", "1", "--presets", "vae", *own]
    monkeypatch.setattr(sys, "argv", given)
    module.main()
    assert set(written) == {"vae_1m", "mine_1m"}
    assert {"--latent", "5", "--minutes"} <= set(commands[2])
    out = capsys.readouterr().out
    assert "theirs" in out
    assert "0.000 PFLOP  mine" in out
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    theirs.write_text('[{"name": "theirs"}]')
    with pytest.raises(SystemExit, match="lacks flop, images, nll, seconds, source"):
        module.read_rows([theirs])


def test_the_pages_have_what_the_result_files_say(script):
    for path, text in script("table").pages().items():
        assert path.read_text() == text, "run: make bench-table"


def test_a_headline_has_date_and_machine_and_a_published_number_its_own_column(script, monkeypatch):
    table = script("table")
    row = {"benchmark": "a", "metric": "nll", "words": "a model, nats", "published": "5 (Who 2000)"}
    rows = [row | {"readme": "ours", "others": "{other} (Who 2000)"}, row | {"benchmark": "b"}]
    told = {"title": "Density", "label": "nats", "chart": "density", "row": rows}
    monkeypatch.setattr(table, "HEADLINES", {"table": [told]})
    monkeypatch.setattr(table, "ROWS", rows)
    measured = {"name": "a", "metrics": {"nll": 4.0, "other": 1.0}, "intervals": {"nll": [3.0, 12345.0]}}
    measured |= {"seeds": [0, 1], "protocol": {}, "date": "2026-01-31", "hardware": "one core"}
    lines = table.overview([measured]).splitlines()
    assert lines[0] == "## Density"
    assert lines[-1] == "| a model, nats | 4 | 3 to 12,345 | 5 (Who 2000) | 2026-01-31, one core |"
    assert len(lines) == 7  # heading, chart and a table of one row: b has not been measured
    assert table.summary([measured]).splitlines()[2:] == [
        "| ours | 4 | 1 (Who 2000) | 2026-01-31, one core |"
    ]
    assert table.spread(measured | {"seeds": [0]}, "nll") == ""


def test_a_chart_has_a_bar_for_what_is_measured_and_for_what_is_published(script, monkeypatch):
    table, drawn = script("table"), []
    monkeypatch.setattr("matplotlib.axes.Axes.barh", lambda ax, *bars, color: drawn.append((*bars, color)))
    bars = [
        {"words": "ours", "benchmark": "a", "metric": "nll"},
        {"words": "theirs", "value": 5.0},
        {"words": "not measured", "benchmark": "b", "metric": "nll"},
    ]
    table.chart({"bars": bars, "start": 0, "label": "nats"}, {"a": {"metrics": {"nll": 4.0}}})
    ((places, values, _, colors),) = drawn
    assert (list(places), values) == ([0, 1], (4.0, 5.0))
    assert colors[0] != colors[1]


def test_every_headline_is_a_metric_of_a_result_file(script):
    table = script("table")
    measured = {(result["name"], metric) for result in table.results() for metric in result["metrics"]}
    rows = [(row["benchmark"], row["metric"]) for row in table.ROWS]
    bars = [bar for told in table.HEADLINES["table"] for bar in told["bars"] if "value" not in bar]
    assert [
        row for row in (*rows, *((bar["benchmark"], bar["metric"]) for bar in bars)) if row not in measured
    ] == []
    assert len(set(rows)) == len(rows)
    assert sum("readme" in row for row in table.ROWS) == 5


def test_terms_are_pythae_s_and_known_differences_are_explained(script):
    found = json.loads((BENCHMARKS / "results" / "oracle_parity.json").read_text())
    metrics, lines = found["metrics"], script("oracle_parity").LINES
    assert metrics["worst_difference"] < 1e-5
    assert metrics["worst_residual"] < 1e-5
    assert {name.removeprefix("apart_") for name in metrics if name.startswith("apart_")} == set(lines)
    assert metrics["explained"] == len(lines)
    assert metrics["presets_compared"] == len(found["protocol"]["presets"].split(", ")) >= 24


def test_a_result_is_old_when_statements_it_depends_on_have_changed(script, monkeypatch):
    status = script("status")
    code = 'def double(x):\n    """Return twice x."""\n    return 2 * x\n'
    assert status.statements(code) == status.statements("def double(x):\n\n  # twice\n  return 2*x")
    assert status.statements(code) != status.statements(code.replace("2 *", "3 *"))
    monkeypatch.setattr(status, "changed", lambda commit: ["src/lowerbound/planning/thinning.py"])
    told = [status.status({"name": name, "commit": "abc"}) for name in ("planning_wam", "growth")]
    assert told == ["changed since, 1 in all: planning/thinning.py", "measures the code as it is"]
    monkeypatch.setattr(status, "changed", lambda commit: None)
    assert "not in this repository" in status.status({"name": "growth", "commit": "unknown"})
