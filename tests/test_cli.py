"""The command line: what each command writes, where it says it, how it ends, and what it leaves alone."""

import csv
import json
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import lowerbound as lb
import lowerbound.report
from lowerbound import cli
from lowerbound.cli import listing
from lowerbound.errors import NonFiniteError
from lowerbound.training.checkpoint import seed_for

pytestmark = [pytest.mark.runs, pytest.mark.processes]

write_pictures = lowerbound.report.write_pictures
SMALL = ["--latent", "2", "--set", "network.hidden=[8]", "--quiet"]


@pytest.fixture(autouse=True, scope="module")
def _no_pictures():
    """Pictures take longer than everything else in these runs together; one test has them written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lowerbound.report, "write_pictures", lambda *_: [])
        yield


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """Run a command in an empty folder; returns its exit status, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main([str(argument) for argument in arguments])
        return left.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A run on labelled images, with its numbers."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (folder / "photos" / label).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 256, (6, 5), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / label / f"{i}.png")
    return trained(folder, folder / "photos")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A run on a table whose columns have units: around 1000, -5 and 0.01."""
    folder = tmp_path_factory.mktemp("table")
    x = np.random.default_rng(1).standard_normal((60, 3)) * [100, 1, 0.001] + [1000, -5, 0.01]
    lines = [f"{a},{b},{c},{'odd' if i % 2 else 'even'}" for i, (a, b, c) in enumerate(x)]
    (folder / "t.csv").write_text("\n".join(['height,"weight, net",age,kind', *lines]))
    return trained(folder, folder / "t.csv", "--set", "data.label_column=kind")


def trained(folder, source, *more):
    with pytest.raises(SystemExit) as left:
        cli.main(["train", str(source), "--epochs", "1", "--out", str(folder / "run"), *SMALL, *more])
    assert not left.value.code
    return folder / "run"


@pytest.fixture(scope="module")
def told(images, tmp_path_factory):
    """A run on the same images that is told their label."""
    return trained(tmp_path_factory.mktemp("told"), images.parent / "photos", "--condition", "label")


@pytest.fixture(scope="module")
def half(images, tmp_path_factory):
    """A run on the same images that is told their left half."""
    return trained(tmp_path_factory.mktemp("half"), images.parent / "photos", "--observed", "half")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A run on a table that is told two of its columns, a label and a number."""
    folder = tmp_path_factory.mktemp("people")
    (folder / "p.csv").write_text(people_table("amber", "blue", "crimson"))
    return trained(folder, folder / "p.csv", "--condition", "kind", "--condition", "age")


def people_table(*kinds, without=None):
    draw = np.random.default_rng(2)
    columns = {
        "height": [f"{v:.4f}" for v in draw.normal(170, 9, 90)],
        "weight": [f"{v:.4f}" for v in draw.normal(70, 9, 90)],
        "age": [str(v) for v in draw.integers(20, 80, 90)],
        "kind": [kinds[i % len(kinds)] for i in range(90)],
    }
    columns.pop(without, None)
    return "\n".join([",".join(columns), *(",".join(row) for row in zip(*columns.values(), strict=True))])


def rows(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def size_of(path):
    with Image.open(path) as picture:
        return picture.size


def digest(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------------------------ the program
def test_the_package_and_the_help_need_no_torch_and_little_time(tmp_path):
    code = """
import sys
import lowerbound
assert "torch" not in sys.modules, "import lowerbound imports torch"
import lowerbound.cli
try:
    lowerbound.cli.main(["train", "--help"])
finally:
    assert "torch" not in sys.modules, "train --help imports torch"
"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--preset" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_python_m_runs_the_same_program(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "lowerbound", "--version"], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"lowerbound {lb.__version__}\n", "")


def test_without_a_command_the_help_is_shown(call):
    code, out, err = call()
    assert (code, err) == (0, "")
    for command in (
        "train",
        "evaluate",
        "sample",
        "reconstruct",
        "convert",
        "complete",
        "encode",
        "interpolate",
        "score",
        "report",
        "list",
    ):
        assert f"\n  {command} " in out


def test_a_closed_pipe_a_missing_right_and_our_own_failures(call, monkeypatch, images):
    def fail(error):
        def raising(*_, **__):
            raise error

        monkeypatch.setattr(listing, "_entries", raising)
        return call("list", "priors")

    assert fail(BrokenPipeError()) == (0, "", "")
    assert fail(PermissionError(13, "Permission denied", "/x")) == (
        2,
        "",
        "lowerbound: /x: Permission denied\n",
    )
    assert fail(KeyboardInterrupt()) == (130, "", "lowerbound: interrupted\n")
    assert fail(NonFiniteError("step 3: KL became NaN")) == (1, "", "lowerbound: step 3: KL became NaN\n")
    monkeypatch.setattr(listing, "_entries", lambda kind: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["list"])


def test_a_terminal_without_greek_letters_is_no_reason_to_fail(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "lowerbound", "list", "presets"],
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "80"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"one learned ?" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


# ------------------------------------------------------------------------------------------------------- train
def test_the_first_command_of_the_readme(call, tmp_path, monkeypatch):
    monkeypatch.setattr(lowerbound.report, "write_pictures", write_pictures)
    code, out, err = call("train", "digits", "--epochs", 1, "--out", "run", "--latent", 3)
    assert (code, out) == (0, "")
    lines = err.splitlines()
    assert lines[0].startswith("digits: 1,797 images of 8 x 8 pixels, grey; zeros and ones")
    assert "split: 1,437 train, 180 valid, 180 test" in lines
    assert "writing to run" in lines
    assert any("epoch 1 · train " in line and "valid" in line for line in lines)
    assert "best validation bound" in err
    assert "training for 1 epoch; log p(x) in nats, higher is better" in lines
    # Nothing is learned in one epoch, and nothing is wrong with that.
    assert lines[-3:] == [
        "samples: run/samples.png",
        "next:    lowerbound sample run",
        "or:      lowerbound evaluate run",
    ]
    written = {path.name for path in (tmp_path / "run").iterdir()}
    pictures = {"samples.png", "reconstructions.png", "latent.png", "curves.png"}
    assert {"config.json", "metrics.jsonl", "model.safetensors", "checkpoint", *pictures} <= written
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["model"]["latent"] == 3
    assert stored["model"]["likelihood"] == {"type": "bernoulli"}
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    keys = "step examples seconds split elbo reconstruction kl images_per_second learning_rate"
    assert set(keys.split()) <= set(records[0])
    assert {record["split"] for record in records} == {"train", "valid"}


def test_later_layers_win_and_all_reach_the_config(call, tmp_path, images):
    (tmp_path / "c.toml").write_text(
        """
latent = 5
[objective]
type = "elbo"
beta = { type = "linear", length = 0.5 }
[training]
minutes = 3
batch_size = 16
[network]
hidden = [6]
[likelihood]
scale = "learned"
"""
    )
    code, _, err = call(
        *(
            "train",
            images.parent / "photos",
            "--preset",
            "free-bits",
            "--config",
            "c.toml",
            "--out",
            "run",
            "-q",
        ),
        *("--set", "objective.free_bits=0.5", "--set", "latent=4", "--set", "encoder.activation=tanh"),
        *("--latent", 2, "--epochs", 1, "--seed", 3, "--set", "data.channels=1"),
    )
    assert (code, err) == (0, "")
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["model"]["latent"] == 2
    assert stored["model"]["encoder"]["hidden"] == stored["model"]["decoder"]["hidden"] == [6]
    assert stored["model"]["encoder"]["activation"] == "tanh"
    assert stored["model"]["decoder"]["activation"] == "silu"
    assert stored["model"]["likelihood"]["scale"] == "learned"
    assert stored["objective"]["free_bits"] == 0.5
    assert stored["objective"]["beta"]["length"] == 0.5
    assert (stored["training"]["epochs"], stored["training"]["minutes"]) == (1, None)
    assert (stored["training"]["batch_size"], stored["training"]["seed"]) == (16, 3)
    assert (stored["data"]["options"]["seed"], stored["data"]["options"]["channels"]) == (3, 1)


def test_a_json_file_does_as_well(call, tmp_path, table):
    (tmp_path / "c.json").write_text(json.dumps({"latent": 3, "training": {"clip": None, "epochs": 1}}))
    code, _, err = call(
        "train",
        table.parent / "t.csv",
        "--config",
        "c.json",
        "--out",
        "r",
        *SMALL[2:],
        "--set",
        "data.label_column=kind",
    )
    assert (code, err) == (0, "")
    stored = json.loads((tmp_path / "r" / "config.json").read_text())
    assert (stored["model"]["latent"], stored["training"]["clip"]) == (3, None)


def test_the_same_seed_gives_the_same_weights_and_another_one_others(call, table, tmp_path):
    more = ["--set", "data.label_column=kind", "--epochs", 1, *SMALL]
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert call("train", table.parent / "t.csv", "--out", name, "--seed", seed, *more)[0] == 0
    weights = {name: (tmp_path / name / "model.safetensors").read_bytes() for name in "abc"}
    assert weights["a"] == weights["b"]
    assert weights["a"] != weights["c"]


def test_the_default_folder_is_runs_name_and_then_runs_name_2(call, table, tmp_path):
    for _ in range(2):
        assert (
            call("train", table.parent / "t.csv", "--epochs", 1, *SMALL, "--set", "data.label_column=kind")[0]
            == 0
        )
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["t", "t-2"]


def test_a_folder_that_holds_another_run_is_refused_before_the_data_are_read(call, images, monkeypatch):
    monkeypatch.setattr(lb.data, "load", never)
    before = digest(images)
    code, out, err = call("train", images.parent / "photos", "--epochs", 1, "--out", images)
    assert (code, out) == (2, "")
    assert "holds another run" in err
    assert "--resume" in err
    assert "--overwrite" in err
    assert digest(images) == before


def test_overwriting_replaces_the_run_and_nothing_else_in_its_folder(call, table, tmp_path):
    again = [
        "train",
        table.parent / "t.csv",
        "--set",
        "data.label_column=kind",
        "--epochs",
        1,
        "--out",
        "r",
        *SMALL,
    ]
    assert call(*again)[0] == 0
    (tmp_path / "r" / "notes.txt").write_text("mine")
    (tmp_path / "r" / "evaluation.json").write_text("{}")
    assert call(*again, "--overwrite", "--latent", 3)[0] == 0
    assert json.loads((tmp_path / "r" / "config.json").read_text())["model"]["latent"] == 3
    assert (tmp_path / "r" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "r" / "evaluation.json").exists()


def never(*_, **__):
    raise AssertionError("the data were read")


@pytest.mark.parametrize(
    "wrong",
    [
        ["--set", "encoder.hiden=[3]"],
        ["--set", "objective.beta=-1"],
        ["--set", "training.learning_rate=-1"],
        ["--set", "training.learning_rate=nan"],
        ["--set", "network.dropout=2"],
        ["--latent", "0"],
        ["--preset", "vea"],
        ["--epochs", "0"],
        ["--epochs", "1", "--minutes", "1"],
        ["--binarize", "dinamic"],
        ["--device", "gpu"],
        ["--precision", "fp8"],
        ["--config", "nowhere.toml"],
        ["--resume"],
    ],
    ids=" ".join,
)
def test_a_wrong_option_is_refused_before_any_data_are_read_and_the_old_run_stays(
    call, images, monkeypatch, wrong
):
    monkeypatch.setattr(lb.data, "load", never)
    before = digest(images)
    code, out, err = call("train", images.parent / "photos", "--out", images, "--overwrite", *wrong)
    assert (code, out) == (2, "")
    assert err.startswith("lowerbound: ")
    assert err.count("\n") == 1 + ("\ntry: lowerbound train " in err)
    assert digest(images) == before
    assert call("train", images.parent / "photos", "--out", "new", *wrong)[0] == 2
    assert not os.listdir()


@pytest.mark.parametrize(
    "wrong",
    [
        ["nowhere.npy"],
        ["bad.npy"],
        ["photos", "--set", "data.channels=3", "--set", "likelihood=bernoulli"],
        ["photos", "--epochs", "1", "--set", 'objective.beta={type="linear", length=2, unit="epochs"}'],
        ["good.npy", "--preset", "conv"],
    ],
    ids=lambda wrong: wrong[0],
)
def test_data_that_cannot_be_used_leave_the_old_run_and_make_no_new_one(call, images, tmp_path, wrong):
    (tmp_path / "bad.npy").write_bytes(b"nonsense")
    np.save(tmp_path / "good.npy", np.random.default_rng(0).standard_normal((9, 3)))
    (tmp_path / "photos").symlink_to(images.parent / "photos")
    before = digest(images)
    code, _, err = call("train", *wrong, "--out", images, "--overwrite", "-q")
    assert code == 2
    assert err.startswith("lowerbound: ")
    assert digest(images) == before
    assert call("train", *wrong, "--out", "new")[0] == 2
    assert not (tmp_path / "new").exists()


def test_a_noise_that_hides_the_data_is_told_before_training(call, images):
    few = ["--latent", "2", "--set", "network.hidden=[8]", "--set", "objective=elbo", "--epochs", "1"]
    for scale, said in (("100", True), ("0.001", False), ("optimal", False)):
        more = ["--set", "likelihood=gaussian", "--set", f"likelihood.scale={scale}"]
        code, _, err = call("train", images.parent / "photos", *few, *more, "--overwrite", "--out", "loud")
        assert code == 0
        text = " ".join(err.split())
        assert ("will collapse: noise of standard deviation 100" in text) is said
        assert not said or text.index("will collapse") < text.index("training for")


def test_resume_continues_and_equals_a_run_that_was_not_interrupted(call, table, tmp_path):
    choices = [
        "--set",
        "data.label_column=kind",
        "--set",
        "training.schedule=constant",
        "--set",
        "training.warmup=0",
    ]
    start = ["train", table.parent / "t.csv", *choices, *SMALL]
    assert call(*start, "--epochs", 2, "--out", "whole")[0] == 0
    assert call(*start, "--epochs", 1, "--out", "half")[0] == 0
    code, out, err = call("train", "--resume", "--out", "half", "--epochs", 2)
    assert (code, out) == (0, "")
    assert "writing to half" in err
    assert json.loads((tmp_path / "half" / "config.json").read_text())["training"]["epochs"] == 2
    weights = [
        (tmp_path / name / "checkpoint" / "state.safetensors").read_bytes() for name in ("whole", "half")
    ]
    header = 8 + int.from_bytes(weights[0][:8], "little")
    assert weights[0][header:] == weights[1][8 + int.from_bytes(weights[1][:8], "little") :]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--latent", "3"], "latent was given"),
        (["--preset", "beta-vae"], "prior was given"),
        (["--set", "decoder.hidden=[3]"], "decoder was given"),
        (["--seed", "3"], "training.seed was given"),
        (["--set", "training.learning_rate=1"], "training.learning_rate was given"),
        (["--binarize", "none"], "data.binarize was given"),
        (["--overwrite"], "excludes --overwrite"),
        (["other.csv"], "not on 'other.csv'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_resume_refuses_changed_choices(call, table, monkeypatch, changed, message):
    monkeypatch.setattr(lb.data, "load", never)
    before = digest(table)
    code, _, err = call("train", *changed, "--resume", "--out", table)
    assert code == 2
    assert message in err
    assert digest(table) == before


def test_an_interrupted_run_says_how_to_go_on(call, table, monkeypatch):
    from lowerbound import persistence

    done = persistence.fit

    def interrupted(*arguments, **options):
        run = done(*arguments, **options)
        run.stopped = "interrupted"
        return run

    monkeypatch.setattr(persistence, "fit", interrupted)
    code, _, err = call(
        *("train", table.parent / "t.csv", "--set", "data.label_column=kind", "--epochs", 1, "--out", "r"),
        *SMALL[:-1],
    )
    assert code == 130
    assert err.endswith("next:    lowerbound train --resume --out r\n")


# ---------------------------------------------------------------------------------------------------- evaluate
KEYS = (
    "nll nll_stderr elbo kl reconstruction samples n split ess_median khat_share_bad active_units units binarize "
    "bits_per_dim seconds"
).split()


def test_evaluate_json_is_one_object_on_standard_output(call, images):
    code, out, err = call("evaluate", images, "-k", 7, "--split", "valid", "--limit", 3, "--json")
    assert code == 0
    numbers = json.loads(out)
    assert out.count("\n") == 1
    assert set(KEYS) <= set(numbers)
    assert (numbers["samples"], numbers["n"], numbers["split"], numbers["units"]) == (7, 3, "valid", "nats")
    assert numbers["elbo"] == pytest.approx(numbers["reconstruction"] - numbers["kl"])
    assert numbers["bits_per_dim"] == pytest.approx(numbers["nll"] / (30 * np.log(2)))
    assert "{" not in err
    assert json.loads((images / "evaluation.json").read_text()) == numbers


def test_the_table_for_people_has_units_and_fits_80_columns(call, images, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(images.parent)
    code, out, err = call("evaluate", "run", "-k", 30)
    out = out.replace(str(images.parent), "")
    assert code == 0
    numbers = json.loads((images / "evaluation.json").read_text())
    assert f"{numbers['n']} test examples, binarisation none, 30 importance" in " ".join(out.split())
    value = f"{-numbers['nll']:.3f}".replace("-", "−")
    assert f"{value} ± {numbers['nll_stderr']:.3f}  nats, higher is better" in out
    assert out.startswith(f"log p(x) = {-numbers['nll']:.2f} ±".replace("-", "−"))
    assert f" bits/dim); {numbers['verdict']}: " in " ".join(out.split())
    assert numbers["naive_nll"] is None
    assert err.splitlines()[-1] == "for a paper: lowerbound evaluate run --samples 5000 --all"
    assert "nats, E[log p(x|z)]" in out
    assert max(map(len, (out + err).splitlines())) <= 80


def test_evaluate_takes_some_examples_evenly_spaced_and_all_on_request(call, images, monkeypatch):
    photos = images.parent / "photos"
    every = lb.evaluate.nll(lb.load(images), lb.data.load(photos, split=None).all, 30, proposal="mixture")
    code, out, _ = call("evaluate", images, photos, "-k", 30, "--limit", 4)
    assert (code, "4 examples of 40, evenly spaced" in " ".join(out.split())) == (0, True)
    split = lb.data.load(photos, split=None).all.select(np.array([0, 10, 20, 30]))
    part = lb.evaluate.nll(lb.load(images), split, 30, proposal="mixture")
    assert (
        json.loads(call("evaluate", images, photos, "-k", 30, "--limit", 4, "--json")[1])["nll"] == part.value
    )
    numbers = json.loads(call("evaluate", images, photos, "-k", 30, "--all", "--naive", "--json")[1])
    assert (numbers["n"], numbers["nll"]) == (40, every.value)
    assert numbers["naive_nll"] > numbers["nll"] - 1
    assert call("evaluate", images, "--all", "--limit", 3)[0] == 2


def test_evaluate_names_the_proposal_and_s_in_the_first_line(call, images):
    for name in lb.evaluate.PROPOSALS:
        code, out, _ = call("evaluate", images, "-k", 30, "--limit", 5, "--proposal", name)
        assert code == 0
        assert f" nats ({name}, S = 30; " in " ".join(out.split())
        assert ("log p(x), z from q" in out) == (name != "posterior")
    assert json.loads((images / "evaluation.json").read_text())["proposal"] == name
    # Without a choice it is the tighter one, with q's number right below.
    code, out, _ = call("evaluate", images, "-k", 30, "--limit", 5)
    assert " nats (mixture, S = 30; " in " ".join(out.split())
    first, second = [line.split("  ")[0] for line in out.split("\n\n")[-1].splitlines()][:2]
    assert (first, second) == ("log p(x)", "log p(x), z from q")
    code, _, err = call("evaluate", images, "--proposal", "laplac")
    assert (code, "laplace" in err) == (2, True)


def test_other_data_do_not_replace_the_numbers_of_the_run(call, images):
    assert call("evaluate", images, "-k", 2, "--json")[0] == 0
    before = (images / "evaluation.json").read_bytes()
    code, out, _ = call("evaluate", images, images.parent / "photos", "-k", 3, "--json")
    assert (code, json.loads(out)["samples"]) == (0, 3)
    assert (images / "evaluation.json").read_bytes() == before


# ---------------------------------------------------------------------------------------- sample, encode, score
def test_sample_writes_every_format_and_repeats_with_its_seed(call, images, tmp_path):
    assert call("sample", images, "-n", 4, "--out", "a.png") == (0, "a.png\n", "")
    assert size_of("a.png")[0] >= 2 * 5
    for name, seed in (("a.npy", 1), ("b.npy", 1), ("c.npy", 2)):
        assert call("sample", images, "-n", 4, "--seed", seed, "--draw", "--out", f"deep/{name}")[0] == 0
    a, b, c = (np.load(f"deep/{name}.npy") for name in "abc")
    assert a.shape == (4, 1, 6, 5)
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert call("sample", images, "-n", 2) == (0, f"{images / 'sample.png'}\n", "")


def test_samples_of_a_table_have_its_columns_and_units(call, table):
    assert call("sample", table, "-n", 50, "--draw", "--out", "s.csv")[0] == 0
    header, *body = rows("s.csv")
    assert header == ["height", "weight, net", "age"]
    values = np.array(body, float)
    assert values.shape == (50, 3)
    np.testing.assert_allclose(values.mean(0), [1000, -5, 0.01], rtol=0.1)
    np.testing.assert_allclose(values.std(0), [100, 1, 0.001], rtol=0.5)
    assert call("sample", table, "-n", 5, "--out", "s.npy")[0] == 0
    assert np.load("s.npy").shape == (5, 3)


def test_temperature_zero_is_the_priors_mean(call, table):
    assert call("sample", table, "-n", 3, "--temperature", 0, "--mean", "--out", "s.npy")[0] == 0
    x = np.load("s.npy")
    assert np.array_equal(x[0], x[1])


def test_reconstruct(call, images, table):
    assert call("reconstruct", images, "-n", 3, "--out", "r.png")[0] == 0
    width, height = size_of("r.png")
    assert width > height  # three columns, two rows
    assert call("reconstruct", images, "-n", 3, "--out", "r.npy")[0] == 0
    data = lb.data.load(images.parent / "photos")
    x, _ = next(data.test.batches(3))
    back = lb.load(images).reconstruct(x).numpy()
    np.testing.assert_allclose(np.load("r.npy"), back, atol=1e-2)
    assert call("reconstruct", table, "--out", "r.csv")[0] == 0
    header, *body = rows("r.csv")
    assert header == ["height", "weight, net", "age"]
    assert len(body) == 6  # all of the test split, which has fewer than 16
    np.testing.assert_allclose(np.array(body, float).mean(0), [1000, -5, 0.01], rtol=0.2)


def test_encode(call, images):
    assert call("encode", images, "--out", "z.csv")[0] == 0
    header, *body = rows("z.csv")
    assert header == ["z0", "z1", "label", "file"]
    data = lb.data.load(images.parent / "photos")
    assert [row[3] for row in body] == [data.names[i] for i in data.places(data.test)]
    assert all(row[3].split("/")[0] == row[2] for row in body)
    assert [row[2] for row in body] == [("cat", "dog")[label] for label in data.test.labels]
    x, _ = next(data.test.batches(99))
    np.testing.assert_allclose(
        np.array([row[:2] for row in body], float), lb.load(images).encode(x), atol=1e-2
    )
    assert call("encode", images, "--split", "train", "--out", "z.npy")[0] == 0
    stored = np.load("z.npy")
    assert stored.shape == (32, 3)
    assert np.array_equal(stored[:, 2], data.train.labels.numpy())
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert call("encode", images, "--draw", "--seed", seed, "--out", f"{name}.npy")[0] == 0
    assert np.array_equal(np.load("a.npy"), np.load("b.npy"))
    assert not np.array_equal(np.load("a.npy"), np.load("c.npy"))


def test_interpolate(call, images, table):
    assert call("interpolate", images, "-n", 2, "--steps", 5, "--out", "i.png")[0] == 0
    width, height = size_of("i.png")
    assert width > height
    assert call("interpolate", images, "-n", 1, "--steps", 5, "--method", "linear", "--out", "i.npy")[0] == 0
    assert call("reconstruct", images, "-n", 2, "--out", "ends.npy")[0] == 0
    way, ends = np.load("i.npy"), np.load("ends.npy")
    assert way.shape == (5, 1, 6, 5)
    np.testing.assert_allclose(way[[0, -1]], ends, atol=1e-5)
    assert call("interpolate", table, "--steps", 4, "--out", "i.csv")[0] == 0
    assert len(rows("i.csv")) == 1 + 3 * 4  # six test examples make three pairs


def test_score(call, table):
    code, out, err = call("score", table, "-k", 50, "--out", "s.csv")
    assert (code, out) == (0, "s.csv\n")
    header, *body = rows("s.csv")
    assert header == ["row", "log_prob", "effective_samples", "odd_nats", "odd_column"]
    assert {row[-1] for row in body} <= {"height", "weight, net", "age"}
    numbers = [int(row[0]) for row in body]
    values = np.array([row[1:3] for row in body], float)
    assert values.shape == (6, 2)
    assert f"mean log p(x) −{-values[:, 0].mean():.3f} ± " in err
    assert ((values[:, 1] >= 1) & (values[:, 1] <= 50)).all()
    data = lb.data.load(table.parent / "t.csv", label_column="kind")
    x = data.test.batch(torch.arange(6))[0]
    assert torch.equal(data.all.batch(torch.tensor(numbers))[0], x)
    truth = lb.evaluate.nll(lb.load(table), data.test, 50).per_example
    np.testing.assert_allclose(values[:, 0], truth, rtol=0.02)
    assert call("score", table, "-k", 5, "--out", "s.npy")[0] == 0
    assert np.load("s.npy").shape == (6, 2)


def test_another_source_is_scored_and_encoded_whole_in_its_order(call, table, tmp_path):
    """A row of the result belongs to the row of the file: the odd one out is found where it stands."""
    lines = (table.parent / "t.csv").read_text().splitlines()
    lines[41] = "1e4,-5,0.01,odd"
    (tmp_path / "new.csv").write_text("\n".join(lines))
    assert call("score", table, "new.csv", "-k", 50, "--out", "s.csv")[0] == 0
    values = np.array([row[1] for row in rows("s.csv")[1:]], float)
    assert len(values) == 60
    assert values.argmin() == 40
    assert call("encode", table, "new.csv", "--out", "z.csv")[0] == 0
    x = np.array([line.split(",")[:3] for line in lines[1:]], np.float32)
    truth = lb.load(table).encode(torch.from_numpy(x))
    np.testing.assert_allclose(np.array(rows("z.csv")[1:], float), truth, rtol=1e-4, atol=1e-4)


# -------------------------------------------------------------------------------------------------- conditions
def test_train_writes_what_it_was_told(call, told, half, people):
    data = [json.loads((run / "config.json").read_text())["data"] for run in (told, half, people)]
    assert [d["options"]["condition"] for d in data] == [["label"], None, ["kind", "age"]]
    assert [d["options"]["observed"] for d in data] == [None, "half", None]
    assert lb.load(told).condition["label"].classes == ("cat", "dog")
    source = people.parent / "p.csv"
    more = ["--set", 'data.columns=["height","weight"]', "--observed", "height", "--epochs", 1, *SMALL]
    assert call("train", source, "--out", "c", *more)[0] == 0
    assert lb.load("c").condition["observed"].masks == ("height",)
    code, out, err = call("train", source, "--condition", "kynd", "--out", "d", *more)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "has no column 'kynd' to condition on; did you mean 'kind'?" in err
    assert not os.path.exists("d")


def test_sample_draws_what_is_given(call, told, people):
    model = lb.load(told)
    assert call("sample", told, "-n", 5, "--given", "label=dog", "--seed", 3, "--out", "s.npy")[0] == 0
    np.testing.assert_array_equal(np.load("s.npy"), model.sample(5, "dog", seed=3))
    given = ["--given", "kind=blue", "--given", "age=41", "--draw"]
    assert call("sample", people, "-n", 5, *given, "--out", "s.csv")[0] == 0
    header, *body = rows("s.csv")
    assert header == ["height", "weight"]
    truth = lb.load(people).sample(5, {"kind": "blue", "age": 41.0}, mean=False, seed=0)
    np.testing.assert_allclose(np.array(body, float), truth, rtol=1e-6)


def test_samples_are_spread_over_the_classes_if_none_is_given(call, told, people):
    model = lb.load(told)
    assert call("sample", told, "-n", 5, "--out", "s.npy")[0] == 0
    truth = model.sample(5, torch.tensor([0, 0, 0, 1, 1]), seed=0)
    np.testing.assert_array_equal(np.load("s.npy"), truth)
    assert call("sample", told, "--out", "s.png")[0] == 0
    width, height = size_of("s.png")
    assert width > 3 * height  # eight of each of two classes
    assert call("sample", people, "--given", "age=50", "-n", 6, "--mean", "--out", "s.csv")[0] == 0
    header, *body = rows("s.csv")
    assert header == ["height", "weight", "kind"]
    assert [row[2] for row in body] == ["amber", "amber", "blue", "blue", "crimson", "crimson"]
    c = {"kind": torch.arange(3).repeat_interleave(2), "age": 50.0}
    truth = lb.load(people).sample(6, c, seed=0)
    np.testing.assert_allclose(np.array([row[:2] for row in body], float), truth, rtol=1e-6)


def test_a_missing_entry_is_given_as_nothing(call, told, images):
    more = ["--condition", "label", "--set", "condition.label.dropout=0.5", "--epochs", 1, *SMALL]
    assert call("train", images.parent / "photos", "--out", "r", *more)[0] == 0
    assert call("sample", "r", "-n", 3, "--given", "label=", "--out", "s.npy")[0] == 0
    np.testing.assert_array_equal(np.load("s.npy"), lb.load("r").sample(3, None, seed=0))
    code, _, err = call("sample", told, "--given", "label=", "--out", "t.npy")
    assert (code, "has only seen it known" in err) == (2, True)


def test_an_image_is_given_by_its_path(call):
    draw = np.random.default_rng(0)
    grids = draw.integers(0, 256, (60, 4, 4), dtype=np.uint8)
    np.savez("d.npz", x=draw.standard_normal((60, 2)), map=grids)
    assert call("train", "d.npz", "--condition", "map", "--epochs", 1, "--out", "r", *SMALL)[0] == 0
    np.save("one.npy", grids[7])
    assert call("sample", "r", "-n", 3, "--given", "map=one.npy", "--out", "s.npy")[0] == 0
    truth = lb.load("r").sample(3, grids[7][None].astype(np.float32) / 255, seed=0)
    np.testing.assert_array_equal(np.load("s.npy"), truth)
    assert "--given map=FILE.npy" in call("sample", "r", "--out", "t.npy")[2]
    assert call("sample", "r", "--given", "map=none.npy", "--out", "t.npy")[2].startswith(
        "lowerbound: none.npy"
    )


def test_a_set_is_given_by_its_path_with_as_many_rows_as_there_are(call):
    rng = np.random.default_rng(0)
    boxes = lb.data.Shared(rng.standard_normal((5, 4, 3)), np.arange(40) % 5, "set")
    data = lb.data.load(rng.standard_normal((40, 2)), condition={"boxes": boxes})
    model = lb.VAE.for_data(data, latent=1, condition={"boxes": {"size": 3, "hidden": [4]}})
    lb.save(model, "r")
    for rows in (4, 2):
        one = rng.standard_normal((rows, 3))
        np.save("one.npy", one)
        assert call("sample", "r", "-n", 3, "--given", "boxes=one.npy", "--out", f"{rows}.npy")[0] == 0
        wanted = model.sample(3, {"boxes": one}, seed=0)
        np.testing.assert_allclose(np.load(f"{rows}.npy"), wanted.numpy(), rtol=1e-5)
    assert "--given boxes=FILE.npy" in call("sample", "r", "--out", "t.npy")[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("sample TOLD --given label=dgo", "label has no class 'dgo'; did you mean 'dog'?"),
        ("sample TOLD --given lable=dog", "the model has no condition 'lable'; did you mean 'label'?"),
        (
            "sample TOLD --given dog",
            "--given needs NAME=VALUE, like --given label=cat (its classes: cat, dog)",
        ),
        ("sample TOLD --given label=cat --given label=dog", "names 'label' twice"),
        ("sample IMAGES --given label=dog", "takes no condition that can be given"),
        (
            "sample PEOPLE",
            "the condition 'age' is missing, but the model has only seen it known; give it, like --given",
        ),
        ("sample PEOPLE --given age=old", "needs numbers, with commas between them"),
        ("sample PEOPLE --given age=1,2", "age"),
        ("sample HALF", "use `lowerbound complete HALF`"),
        ("convert HALF", "use `lowerbound complete HALF`"),
        ("convert IMAGES", "convert needs a conditional model"),
        ("complete HALF --mask quadrant", "the model was trained with one mask, half observed"),
        ("complete HALF --method gibbs", "use 'trained'"),
        ("complete IMAGES --method giggs", "did you mean 'gibbs'?"),
        (
            "complete IMAGES --mask hlaf",
            "--mask hlaf: observed=['hlaf'] names columns, which only tables have",
        ),
        ("complete PEOPLE --mask half", "--mask half: observed='half' is for images"),
    ],
)
def test_what_cannot_be_given_is_refused_in_one_line(
    call, request, images, told, half, people, arguments, message
):
    runs = {"IMAGES": images, "TOLD": told, "HALF": half, "PEOPLE": people}
    command = [str(runs.get(word, word)) for word in arguments.split()]
    code, out, err = call(*command, "--out", "x.npy")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message.replace("HALF", str(half)) in err
    assert not os.path.exists("x.npy")


def test_commands_use_the_condition_of_each_example(call, told):
    model = lb.load(told)
    data = lb.data.load(told_source(told), condition="label")
    x, c = next(data.test.batches(4))
    assert len(c["label"].unique()) == 2
    assert call("reconstruct", told, "-n", 4, "--out", "r.npy")[0] == 0
    np.testing.assert_allclose(np.load("r.npy"), model.reconstruct(x, c), atol=1e-6)
    assert call("encode", told, "--out", "z.npy")[0] == 0
    np.testing.assert_allclose(np.load("z.npy")[:4, :2], model.encode(x, c), atol=1e-6)
    assert call("interpolate", told, "-n", 2, "--steps", 3, "--out", "i.npy")[0] == 0
    way = model.interpolate(x[:2], x[2:], 3, c=c["label"][:2]).transpose(0, 1)
    np.testing.assert_allclose(np.load("i.npy"), way.flatten(0, 1), atol=1e-6)
    code, _, err = call("score", told, "-k", 20, "--out", "s.npy")
    assert (code, err.startswith("mean log p(x|c) ")) == (0, True)
    truth = lb.evaluate.nll(model, data.test, 20).per_example
    np.testing.assert_allclose(np.load("s.npy")[:, 0], truth, rtol=1e-5)


def own_draws(seed, batch=0):
    """The seed of what a command draws: no noise of the data has it."""
    return seed_for(seed, 1, batch)


def told_source(run):
    return json.loads((run / "config.json").read_text())["data"]["source"]


def test_convert_is_the_models_own(call, told, people):
    model = lb.load(told)
    x, c = next(lb.data.load(told_source(told), condition="label").test.batches(3))
    assert call("convert", told, "-n", 3, "--given", "label=dog", "--out", "d.npy")[0] == 0
    np.testing.assert_allclose(np.load("d.npy"), model.convert(x, c, "dog"), atol=1e-6)
    assert call("convert", told, "-n", 3, "--out", "all.npy")[0] == 0
    truth = torch.stack([model.convert(x, c, "cat"), model.convert(x, c, "dog")], 1).flatten(0, 1)
    np.testing.assert_allclose(np.load("all.npy"), truth, atol=1e-6)
    assert call("convert", told, "-n", 3, "--out", "all.png")[0] == 0
    assert call("convert", told, "-n", 3, "--given", "label=cat", "--out", "one.png")[0] == 0
    assert size_of("all.png") == (2 + 3 * 62, 22 + 2 + 3 * 74)  # words above the data and the two classes
    assert size_of("one.png")[1] == 2 + 2 * 74
    assert call("convert", people, "-n", 2, "--out", "p.csv")[0] == 0
    header, *body = rows("p.csv")
    assert header == ["height", "weight", "kind"]
    assert [row[2] for row in body] == ["amber", "blue", "crimson"] * 2
    x, c = next(lb.data.load(people.parent / "p.csv", condition=["kind", "age"]).test.batches(2))
    truth = lb.load(people).convert(x, c, {"kind": torch.tensor([1, 1]), "age": c["age"]})  # its own age
    np.testing.assert_allclose(np.array([body[1][:2], body[4][:2]], float), truth, rtol=1e-6)


def test_complete_leaves_what_was_observed_and_draws_the_rest(call, images, half, table):
    x, _ = next(lb.data.load(told_source(half)).test.batches(3))
    left = (torch.arange(5) < 2).expand(6, 5)
    code, out, err = call("complete", half, "-n", 3, "--draws", 2, "--seed", 0, "--out", "c.npy")
    assert (code, out, err) == (0, "c.npy\n", "")
    done = np.load("c.npy").reshape(3, 2, 1, 6, 5)
    truth = lb.load(half).complete(x, left, 2, seed=own_draws(0)).x.transpose(0, 1)
    np.testing.assert_allclose(done, truth, atol=1e-6)
    np.testing.assert_array_equal(done[..., :2], np.stack([x, x], 1)[..., :2])
    assert np.ptp(done[..., 2:], 1).min() > 0
    assert call("complete", half, "-n", 3, "--out", "c.png")[0] == 0
    assert size_of("c.png") == (2 + 6 * 62, 22 + 2 + 3 * 74)
    # A model that was not trained for it weighs codes, and says how well that went.
    code, _, err = call("complete", images, "-n", 3, "-k", 50, "--mean", "--out", "w.npy")
    assert code == 0
    done = lb.load(images).complete(x, left, 4, mean=True, samples=50, seed=own_draws(0))
    np.testing.assert_allclose(np.load("w.npy").reshape(3, 4, 1, 6, 5), done.x.transpose(0, 1), atol=1e-6)
    assert err.startswith(f"effective sample size {done.ess.median():.1f} of 50, median\n")
    assert ("warning" in err) == (done.warning is not None)
    assert "of 200 moves" in call("complete", images, "-n", 2, "--method", "gibbs", "--out", "g.npy")[2]
    assert call("complete", table, "-n", 2, "--mask", "age,height", "--out", "t.csv")[0] == 0
    header, *body = rows("t.csv")
    assert header == ["height", "weight, net", "age"]
    original, _ = next(lb.data.load(table.parent / "t.csv", label_column="kind").test.batches(2))
    body = np.array(body, float).reshape(2, 4, 3)
    np.testing.assert_allclose(body[..., [0, 2]], original[:, None, [0, 2]].expand(2, 4, 2), rtol=1e-6)
    assert np.ptp(body[..., 1], 1).min() > 0


def test_evaluate_says_what_is_given(call, told, half):
    code, out, _ = call("evaluate", told, "-k", 30, "--limit", 5)
    assert (code, "condition c: label\n" in out) == (0, True)
    for formula in ("log p(x|c) = ", "E[log p(x|z,c)]", "KL(q(z|x,c) ‖ p(z|c))"):
        assert formula in out
    numbers = json.loads((told / "evaluation.json").read_text())
    assert (numbers["condition"], numbers["scored"]) == (["label"], None)
    code, out, _ = call("evaluate", half, "-k", 30, "--limit", 5)
    assert (code, "condition c: observed; of 30 values 18 scored\n" in out) == (0, True)
    assert "bits per dimension" not in out
    numbers = json.loads((half / "evaluation.json").read_text())
    assert (numbers["condition"], numbers["scored"], numbers["bits_per_dim"]) == (["observed"], 18, None)


def test_another_source_has_the_classes_of_the_run(call, people):
    with open("fewer.csv", "w") as file:
        file.write(people_table("crimson", "blue"))
    assert call("score", people, "fewer.csv", "-k", 20, "--out", "s.npy")[0] == 0
    source = lb.data.load("fewer.csv", condition=["kind", "age"], split=(0.8, 0.1, 0.1)).all
    x, c = next(source.batches(90))
    c["kind"] = torch.tensor([2, 1] * 45)  # as the run numbers amber, blue and crimson
    truth = lb.evaluate.nll(lb.load(people), x, 20, c=c).per_example
    np.testing.assert_allclose(np.load("s.npy")[:, 0], truth, rtol=1e-5)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (people_table("amber", "blue", without="kind"), "has no column 'kind'"),
        (people_table("amber", "blue", without="age"), "has no column 'age'"),
        (people_table("amber", "green"), "'green', which was never seen in training"),
    ],
    ids=["no label", "no number", "a new class"],
)
def test_another_source_without_the_runs_condition_is_refused(call, people, table, message):
    with open("other.csv", "w") as file:
        file.write(table)
    commands = ["reconstruct", "report", "convert", "complete"]
    leaving_out = ["encode", "score", "evaluate"]
    for command in [*commands, *leaving_out] if "green" not in message else commands:
        code, out, err = call(command, people, "other.csv")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert message in err


def test_a_tables_label_column_is_read_where_it_is_the_condition(call, table):
    more = ["--set", "data.label_column=kind", "--condition", "label", "--epochs", 1, *SMALL]
    assert call("train", table.parent / "t.csv", "--out", "r", *more)[0] == 0
    assert call("encode", "r", table.parent / "t.csv", "--out", "z.csv")[0] == 0
    header, *body = rows("z.csv")
    assert header == ["z0", "z1", "label"]
    assert [row[2] for row in body] == ["even", "odd"] * 30
    assert call("train", "--resume", "--out", "r", "--epochs", 2, "-q") == (0, "", "")


@pytest.mark.parametrize(
    "command", ["sample", "reconstruct", "complete", "encode", "interpolate", "score", "report"]
)
def test_a_file_that_exists_is_replaced_only_when_asked(call, images, tmp_path, command):
    name = {"encode": "f.csv", "score": "f.csv", "report": "f.html"}.get(command, "f.png")
    (tmp_path / name).write_text("mine")
    code, out, err = call(command, images, "--out", name)
    assert (code, out) == (2, "")
    assert (
        err == f"lowerbound: {name} exists; choose another name with --out, or replace it with --overwrite\n"
    )
    assert (tmp_path / name).read_text() == "mine"
    assert call(command, images, "--out", name, "--overwrite")[0] == 0
    assert (tmp_path / name).read_bytes() != b"mine"
    (tmp_path / f"d{name}").mkdir()
    code, _, err = call(command, images, "--out", f"d{name}", "--overwrite")
    assert (code, "is a folder" in err) == (2, True)
    code, _, err = call(command, images, "--out", "x.gif")
    assert (code, "the formats are" in err) == (2, True)


# ----------------------------------------------------------------------------------------------------- report
def test_report(call, images):
    (images / "evaluation.json").unlink(missing_ok=True)
    code, out, err = call("report", images)
    assert (code, out) == (0, f"{images / 'report.html'}\n")
    assert err == f"no numbers yet: `lowerbound evaluate {images}`, then report again\n"
    assert call("evaluate", images, "-k", 3, "-q")[0] == 0
    code, _, err = call("report", images, "--title", "My <run>")
    assert (code, err) == (0, "")
    page = (images / "report.html").read_text()
    assert "My &lt;run&gt;" in page
    assert "3 importance samples" in page


def test_report_of_a_conditional_run(call, told, tmp_path):
    code, out, _ = call("report", told, "--out", "r.html")
    assert (code, out) == (0, "r.html\n")
    page = (tmp_path / "r.html").read_text()
    assert '<section id="conditions">' in page
    assert '<section id="conversions">' in page
    assert '<section id="completions">' not in page


# ------------------------------------------------------------------------------------------------------- list
def test_list_names_everything_that_is_registered(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    from lowerbound.presets import PRESETS
    from lowerbound.registry import REGISTRY

    code, out, err = call("list")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    for name in [*PRESETS, *(name for classes in REGISTRY.values() for name in classes)]:
        assert f"\n  {name}" in out
    for kind in listing.KINDS:
        assert f"{kind}:\n" in out
        assert call("list", kind)[0] == 0


def test_list_gives_options_as_set_takes_them(call):
    from lowerbound.overrides import check_overrides, merge, parse_assignment

    _, out, _ = call("list", "encoders")
    words = " ".join(out.split("conv ")[0].replace("[512, 512]", "[512,512]").split()[1:])
    chosen = {"encoder": {"type": "mlp"}}
    for option in words.split():
        chosen = merge(chosen, parse_assignment(f"encoder.{option}"))
    assert set(chosen["encoder"]) == {
        "type",
        "hidden",
        "activation",
        "residual",
        "norm",
        "dropout",
        "input_dropout",
        "injection",
    }
    check_overrides(chosen)


def test_torch_is_left_as_it_was(call, table):
    torch.manual_seed(4)
    state = torch.random.get_rng_state()
    more = ["--set", "data.label_column=kind"]
    assert call("train", table.parent / "t.csv", "--epochs", 1, "--out", "r", *SMALL, *more)[0] == 0
    assert torch.equal(torch.random.get_rng_state(), state)
