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
    assert lines[0].startswith("Data 'digits': images (1, 8, 8)")
    assert lines[2] == "writing to run"
    assert any(line.startswith("epoch") and "valid" in line for line in lines)
    assert "best validation bound" in err
    end = lines.index("numbers:   lowerbound evaluate run")
    assert lines[end + 1] == "page:      lowerbound report run"
    assert [line.split(":")[0] for line in lines[end + 2 :]] == ["warning"]  # one epoch: nothing learned yet
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
    assert err.count("\n") == 1
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
        (["--preset", "beta-vae"], "objective was given"),
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
    assert err.endswith("continue:  lowerbound train --resume --out r\n")


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
    assert f"{numbers['n']} test examples, binarisation none" in out
    assert f"{numbers['nll']:.3f} ± {numbers['nll_stderr']:.3f}  nats; 30 importance samples" in out
    assert "nats, E[log p(x|z)]" in out
    assert max(map(len, (out + err).splitlines())) <= 80


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
    assert call("sample", table, "-n", 3, "--temperature", 0, "--out", "s.npy")[0] == 0
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
    assert header == ["z0", "z1", "label"]
    data = lb.data.load(images.parent / "photos")
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
    assert header == ["log_prob", "effective_samples"]
    values = np.array(body, float)
    assert values.shape == (6, 2)
    assert f"mean log p(x) {values[:, 0].mean():.3f} ± " in err
    assert ((values[:, 1] >= 1) & (values[:, 1] <= 50)).all()
    data = lb.data.load(table.parent / "t.csv", label_column="kind")
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
    values = np.array(rows("s.csv")[1:], float)[:, 0]
    assert len(values) == 60
    assert values.argmin() == 40
    assert call("encode", table, "new.csv", "--out", "z.csv")[0] == 0
    x = np.array([line.split(",")[:3] for line in lines[1:]], np.float32)
    truth = lb.load(table).encode(torch.from_numpy(x))
    np.testing.assert_allclose(np.array(rows("z.csv")[1:], float), truth, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("command", ["sample", "reconstruct", "encode", "interpolate", "score", "report"])
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


# ------------------------------------------------------------------------------------------------------- list
def test_list_names_everything_that_is_registered(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    from lowerbound.config import REGISTRY
    from lowerbound.presets import PRESETS

    code, out, err = call("list")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    for name in [*PRESETS, *(name for classes in REGISTRY.values() for name in classes)]:
        assert f"\n  {name}" in out
    for kind in listing.KINDS:
        assert f"{kind}:\n" in out
        assert call("list", kind)[0] == 0


def test_list_gives_options_as_set_takes_them(call):
    from lowerbound.config import check_overrides, merge, parse_assignment

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
    }
    check_overrides(chosen)


def test_torch_is_left_as_it_was(call, table):
    torch.manual_seed(4)
    state = torch.random.get_rng_state()
    more = ["--set", "data.label_column=kind"]
    assert call("train", table.parent / "t.csv", "--epochs", 1, "--out", "r", *SMALL, *more)[0] == 0
    assert torch.equal(torch.random.get_rng_state(), state)
