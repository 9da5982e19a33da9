"""The command line asked for the impossible: it ends soon, in one line, with status 2, and loses nothing."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import ended

import lowerbound as lb
import lowerbound.report
from lowerbound import planning
from lowerbound.cli import generate, plan
from lowerbound.model import VAE
from lowerbound.training.checkpoint import seed_for

SMALL = ["--latent", "2", "--set", "network.hidden=[8]", "--quiet", "--epochs", "1"]

pytestmark = [pytest.mark.runs, pytest.mark.processes]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with three runs, on images, on a table with a condition and on planning problems, and their data."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    np.savez(folder / "i.npz", x=rng.integers(0, 256, (40, 6, 5), np.uint8), labels=np.arange(40) % 2)
    table = "\n".join(f"{a},{b},{c}" for a, b, c in rng.normal(size=(60, 3)).round(3))
    (folder / "t.csv").write_text("a,b,c\n" + table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lowerbound.report, "write_pictures", lambda *_: [])
        assert not ended("train", folder / "i.npz", "--out", folder / "images", *SMALL)
        assert not ended("train", folder / "t.csv", "--condition", "c", "--out", folder / "table", *SMALL)
    worlds = ["--set", "gap=0.1", "--set", "walls=1", "--set", "grid=16"]
    small = ["-n", 6, "--states", 2, "--workers", 1, "-q"]
    assert not ended("plan", "make-data", "narrow", "--out", folder / "p.npz", *worlds, *small)
    assert not ended("plan", "train", folder / "p.npz", "--out", folder / "planner", "--epochs", 0.1, "-q")
    return folder


@pytest.fixture
def call(capsys, monkeypatch, made, tmp_path):
    """Run a command in a folder of its own with the runs in it; returns its status, standard output and error."""
    for path in made.iterdir():
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        return ended(*arguments), *capsys.readouterr()

    return run


def refused(answer, *words):
    code, out, err = answer
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("lowerbound: ")
    for word in words:
        assert word in err


# ------------------------------------------------------------------------------------------------ numbers too large
@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("sample images --temperature nan", ["--temperature must be at least 0; got nan"]),
        ("sample images --temperature inf", ["--temperature must be at most 1,000; got inf"]),
        ("sample images --temperature 1e300", ["--temperature must be at most 1,000"]),
        ("sample images --seed 18446744073709551616", ["--seed must be at most 9,223,372,036,854,775,807"]),
        ("evaluate images --seed 18446744073709551616", ["--seed must be at most"]),
        ("encode images --seed -1", ["--seed must be at least 0; got -1"]),
        (
            "sample images -n 1000000000000 --out x.npy",
            ["--number asks for 1,000,000,000,000 times 30 numbers"],
        ),
        ("sample images -n 200000", ["a picture of 200,000 examples, and 10,000 are the most", "FILE.npy"]),
        ("sample table --given c=0 -n 1000000000000", ["GiB", "ask for fewer"]),
        ("interpolate table --steps 1000000000000", ["--steps asks for"]),
        ("interpolate images --steps 9999", ["10,000 are the most"]),
        ("complete images --draws 1000000000000 --out x.npy", ["--draws asks for"]),
        ("complete images -k 10000000000", ["--samples must be at most 1,000,000"]),
        ("evaluate images -k 1000000000000", ["--samples must be at most 1,000,000"]),
        ("score images -k 100000000", ["--samples must be at most 1,000,000"]),
        ("plan sample planner -n 1000000000000", ["--number must be at most 1,000,000"]),
        ("plan benchmark planner -n 10000000000", ["--problems must be at most"]),
        ("plan benchmark planner --samples 5,1000000000", ["like 25,50,100, up to 1,000,000"]),
        ("plan make-data narrow --out n.npz -n 10000000000", ["--problems must be at most"]),
        ("plan make-data narrow --out n.npz --workers 1000000", ["--workers must be at most"]),
        ("train i.npz --set latent=9999999999999999999999", ["whole numbers are below 2**63"]),
        ("train i.npz --set encoder.hidden=[9999999999999999999999]", ["whole numbers are below 2**63"]),
        ("train i.npz --seed 18446744073709551616", ["--seed must be at most 9,223,372,036,854,775,807"]),
        ("train i.npz --latent 100000000000 --out r", ["not enough memory"]),
        ("train i.npz --latent 9223372036854775807 --out r", ["not enough memory"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_number_beyond_what_can_be_is_refused_before_the_work(call, command, words):
    before = sorted(os.listdir())
    refused(call(*command.split()), *words)
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 7.45 GiB for an array with shape (9,)"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has"),
        RuntimeError("Storage size calculation overflowed with sizes=[4611686018427387904, 8]"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_memory_that_ends_in_the_middle_is_told_in_one_line(call, monkeypatch, error):
    monkeypatch.setattr(VAE, "sample", failing(error))
    refused(call("sample", "images"), "not enough memory")


def failing(error):
    def fail(*_, **__):
        raise error

    return fail


def test_values_that_are_not_finite_are_not_written(call, monkeypatch):
    monkeypatch.setattr(VAE, "sample", lambda *_, **__: torch.full((64, 1, 6, 5), torch.nan))
    refused(call("sample", "images", "--out", "x.npy"), "not finite, so x.npy is not written")
    assert not os.path.exists("x.npy")


# ------------------------------------------------------------------------------------------------ names and folders
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "t.csv", "--out", ""], "what stands behind --out is empty"),
        (["train", "t.csv", "--out="], "--out is empty"),
        (["train", ""], "an argument is empty"),
        (["score", "images", ""], "an argument is empty"),
        (["evaluate", "images", "--root", ""], "what stands behind --root is empty"),
        (["plan", "sample", "planner", "--out", ""], "what stands behind --out is empty"),
    ],
)
def test_an_empty_name_is_not_the_present_folder(call, arguments, words):
    before = sorted(os.listdir())
    refused(call(*arguments), words)
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    "command",
    ["train", "evaluate", "report", "reconstruct", "convert", "complete", "encode", "interpolate", "score"],
)
def test_the_folder_of_a_run_is_no_source_of_data(call, command):
    run = [] if command == "train" else ["images"]
    more = ["--given", "label=0"] if command == "convert" else []
    if command == "convert":
        run = ["table"]
        more = ["--given", "c=0"]
    refused(call(command, *run, "table", *more), "table is the folder of a run", "lowerbound evaluate table")
    with pytest.raises(lb.errors.DataError, match="is the folder of a run"):
        lb.data.load("images")


def test_a_file_is_no_run(call):
    refused(call("evaluate", "t.csv"), "t.csv is a file; RUN is the folder that `lowerbound train` writes")


def test_a_planners_run_leads_to_the_commands_for_it(call):
    for command in ("evaluate", "report", "encode"):
        refused(call(command, "planner"), "lowerbound plan benchmark planner")


def test_plan_alone_shows_its_help(call):
    code, out, err = call("plan")
    assert (code, err) == (0, "")
    assert "\n  make-data " in out


# ------------------------------------------------------------------------------------------------ disks and signals
FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FULL, "the disk is full; make room"),
        (
            OSError(errno.ENOSPC, "No space left on device", "ro/.x.png.8804.tmp"),
            "the disk of ro/x.png is full",
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk is full"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (OSError("only words"), "only words"),
        (
            PermissionError(errno.EACCES, "Permission denied", "ro/.x.png.8804.tmp"),
            "ro/x.png: Permission denied",
        ),
    ],
    ids=str,
)
def test_what_the_system_refuses_is_told_in_one_line(call, monkeypatch, error, words):
    monkeypatch.setattr(generate, "write_observations", failing(error))
    refused(call("sample", "images"), words)


def test_a_full_disk_under_safetensors_is_told_like_any_other(call, monkeypatch):
    from safetensors import SafetensorError

    text = "Error while serializing: I/O error: No space left on device (os error 28)"
    monkeypatch.setattr(generate, "write_observations", failing(SafetensorError(text)))
    refused(call("sample", "images"), "the disk is full; make room")


def test_numbers_that_cannot_be_kept_are_shown_all_the_same(call):
    before = Path("images/config.json").read_text()
    code, out, _ = call("evaluate", "images", "-k", 3, "--json", "-q")
    assert (code, json.loads(out)["samples"]) == (0, 3)
    os.remove("images/evaluation.json")
    os.mkdir("images/evaluation.json")  # neither root nor others can write a file in its place
    code, out, err = call("evaluate", "images", "-k", 3, "--json", "-q")
    assert (code, json.loads(out)["samples"]) == (0, 3)
    assert "warning: the numbers are not kept: cannot write images/evaluation.json: " in err
    assert Path("images/config.json").read_text() == before


def test_ctrl_c_before_the_commands_are_there_ends_in_one_line(tmp_path):
    """The import of the commands is the first that takes long; a signal may come within it."""
    code = """
import sys, importlib.abc
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "typer":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Finder())
from lowerbound.cli import main
main(["list"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "lowerbound: interrupted\n")


# ------------------------------------------------------------------------------------------------------- the report
@pytest.mark.parametrize(
    "text",
    ["", "[1]", "{", "[" * 100_000, '{"nll": "x"}', '{"nll": 1, "nll_stderr": "x"}', '{"warnings": 3}'],
    ids=lambda text: text[:20],
)
def test_a_report_goes_without_a_damaged_evaluation(call, monkeypatch, text):
    Path("images/evaluation.json").write_text(text)
    monkeypatch.setattr("lowerbound.report.page.views", lambda *_: [])
    code, out, err = call("report", "images")
    assert (code, out) == (0, "images/report.html\n")
    assert "warning: images/evaluation.json is damaged and left out" in err
    assert "has not been evaluated" in Path("images/report.html").read_text()


# ----------------------------------------------------------------------------------------------------------- draws
def test_what_is_drawn_has_other_noise_than_the_data(call, monkeypatch):
    seeds = []
    encode = VAE.encode

    def spy(self, *arguments, seed=None, **options):
        seeds.append(seed)
        return encode(self, *arguments, seed=seed, **options)

    monkeypatch.setattr(VAE, "encode", spy)
    assert call("encode", "images", "--draw", "--seed", 3, "--split", "all", "--out", "z.npy")[0] == 0
    assert seeds == [seed_for(3, 1, 0)]
    spec = lb.load("images").data_spec
    data = lb.data.load("i.npz")
    assert spec.levels  # the data have noise of their own
    x, _ = next(data.all.batches(40, seed=3))
    want = lb.load("images").encode(x, sample=True, seed=seed_for(3, 1, 0))
    np.testing.assert_allclose(np.load("z.npy")[:, :2], want, atol=1e-4)


def test_problems_are_drawn_once_for_all_samplers(call, monkeypatch):
    family, seen = planning.family("narrow", gap=0.1, walls=1, grid=16), []
    draw = type(family).draw
    monkeypatch.setattr(type(family), "draw", lambda self, rng: seen.append(1) or draw(self, rng))
    samplers = {name: planning.Uniform() for name in "abc"}
    table = plan._compare(family, samplers, "test", 4, [5], 0, False)
    assert len(seen) == 4
    assert len({json.dumps([{**point, "seconds": 0} for point in points]) for points in table.values()}) == 1


# ---------------------------------------------------------------------------------------------------- the campaign
NUMBERS = [
    *(
        "0",
        "-1",
        "1",
        "3",
        "nan",
        "inf",
        "-inf",
        "1e300",
        "1e9",
        "1.5",
        "0.5",
        "1000000000",
        "10000000000000000",
    ),
    *("9223372036854775807", "9223372036854775808", "99999999999999999999999999", "1" * 5000),
]
WORDS = [
    *(
        "",
        "true",
        "null",
        "[]",
        "é",
        "\x00x",
        "none/..",  # nothing outside the folder of the test is read
        "/dev/null",
        "a=b",
        "=",
        "--",
        "x" * 300,
        "{",
        "[[[[",
        "a,b,a",
    ),
    *(
        "label=",
        "c=1e400",
        "c=nan",
        "c=1,2",
        "c=none.npy",
        "none.npy",
        "t.csv",
        "images",
        "table",
        "i.npz",
        "new.npy",
    ),
    *(
        "gap=1e300",
        "grid=99999999999999999999",
        "latent=1e9",
        "latent=0",
        "training.epochs=nan",
        "half",
        "random",
    ),
    *("encoder.hidden=[0]", "encoder.hidden=[-1]", "likelihood=bernoulli", "data.values=categorical", "c"),
]
NUMERIC = (
    "-n -k --seed --temperature --limit --steps --draws --latent --epochs --minutes --problem --share --states "
    "--workers --samples"
).split()
OPTIONS = {
    "sample": ["-n", "--given", "--temperature", "--seed", "--out", "--device"],
    "reconstruct": ["-n", "--split", "--seed", "--root", "--out"],
    "convert": ["--given", "-n", "--out"],
    "complete": ["--mask", "-n", "--draws", "--method", "-k", "--seed"],
    "encode": ["--split", "--seed", "--out"],
    "interpolate": ["-n", "--steps", "--method", "--seed"],
    "score": ["-k", "--split", "--seed", "--device"],
    "evaluate": ["-k", "--split", "--limit", "--seed", "--precision", "--device"],
    "report": ["--title", "--seed", "--out"],
    "train": [
        "--config",
        "--latent",
        "--epochs",
        "--minutes",
        "--seed",
        "--binarize",
        "--condition",
        "--preset",
    ],
    "list": [],
    "plan sample": ["--problem", "-n", "--share", "--seed", "--out", "--set"],
    "plan benchmark": ["--samples", "--share", "--split", "--seed", "--set"],
    "plan train": ["--target", "--kind", "--epochs", "--seed", "--device"],
    "plan make-data": ["-n", "--states", "--workers", "--set"],
    "plan export": ["--out"],
}


def odd(rng):
    """Return a command line with something odd in it."""
    command = str(rng.choice(list(OPTIONS)))
    first = {"list": [], "train": ["t.csv"], "plan train": ["p.npz"], "plan make-data": ["narrow"]}
    words = [
        *command.split(),
        *first.get(command, ["planner" if "plan" in command else rng.choice(["images", "table"])]),
    ]
    if rng.random() < 0.2 or command == "list":
        words[len(command.split()) :] = [rng.choice(WORDS)]
    elif rng.random() < 0.2:
        words.append(rng.choice(WORDS))
    quick = {"plan make-data": ["-n", "3", "--workers", "1"], "plan benchmark": ["-n", "1", "--samples", "5"]}
    words += quick.get(command, [])
    for name in rng.permutation(OPTIONS[command])[: rng.integers(3)]:
        numeric = name in NUMERIC and rng.random() < 0.9
        words += [name, rng.choice(NUMBERS if numeric else WORDS)]
    if command in ("train", "plan train") and "--out" not in words:
        words += ["--out", "new/run", "-q"]
    if command == "plan make-data":
        words += ["--out", "new.npz"]
    if command in ("plan make-data", "plan benchmark"):
        words += ["-q"]
    return [str(word) for word in words]


@contextlib.contextmanager
def soon(seconds):
    def late(*_):
        pytest.fail(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("seed", range(4))
def test_odd_command_lines_are_done_or_refused(call, monkeypatch, seed):
    monkeypatch.setattr(lowerbound.report, "write_pictures", lambda *_: [])
    monkeypatch.setattr(lowerbound.report, "write_report", lambda path, **_: path)
    monkeypatch.setattr("lowerbound.persistence.fit", lambda *_, **__: sys.exit(0))
    monkeypatch.setattr("lowerbound.planning.train", lambda *_, **__: sys.exit(0))
    rng = np.random.default_rng(seed)
    for _ in range(40):
        line = odd(rng)
        with soon(20):
            code, out, err = call(*line)
        assert code in (0, 2), (line, err)
        assert "Traceback" not in err, line
        if code == 2:
            lines = err.splitlines()
            several = "things are wrong" in err
            told = lines[1:] if several else lines
            told = told[:-1] if told[-1].startswith("try: ") else told
            assert told, (line, err)
            assert all(text.startswith("  - ") for text in told) if several else len(told) == 1, (line, err)
            assert len(err) < 2000 + len(" ".join(line)), line
        assert not out or code == 0, line
