"""Several processes under torchrun or Ray: one model, one folder, the numbers of one process, and a second life."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from in_each_process import BATCH, MOVING, SEED, Fragile, make_data, make_model, noise_of

import lowerbound as lb
from lowerbound.cluster import _described, _followed, _Job, _work
from lowerbound.errors import ConfigError, DataError, RunError
from lowerbound.training import RunFolder, load_tensors
from lowerbound.training.checkpoint import seed_for
from lowerbound.training.engine import LAUNCH, begin, begun_by, is_restarted

pytestmark = [pytest.mark.processes, pytest.mark.runs]

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
IN_EACH_PROCESS = str(Path(__file__).with_name("in_each_process.py"))
CHECKPOINT = "checkpoint/state.safetensors"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def command(out, *options):
    return ["-m", "lowerbound", "train", "digits", *options, "--device", "cpu", "--out", str(out)]


def run_two(*arguments):
    """Run two processes to their end."""
    done = subprocess.run(
        [*TORCHRUN, *arguments], capture_output=True, text=True, timeout=240, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr


def recorded(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def validated(out):
    """Return the validation records without what the clock says."""
    clock = ("seconds", "images_per_second")
    return [{k: v for k, v in r.items() if k not in clock} for r in recorded(out) if r["split"] == "valid"]


def same_files(one, other, *names):
    """Return whether two runs hold the same tensors, bit for bit."""
    pairs = [[load_tensors(out / name)[0] for out in (one, other)] for name in names]
    return all(a.keys() == b.keys() and all(torch.equal(t, b[n]) for n, t in a.items()) for a, b in pairs)


# ------------------------------------------------------------------------------------------------ one model
@pytest.mark.slow
def test_two_processes_agree_on_the_clock(tmp_path):
    length = ("--minutes", "0.03", "--set", "training.batch_size=100")
    run_two(*command(tmp_path / "run", "--preset", "vae", *length))
    records = recorded(tmp_path / "run")
    steps = [record["step"] for record in records if record["split"] == "valid"]
    assert steps == sorted(set(steps))  # one process writes, once each
    assert records[-1]["bound"] > records[1]["bound"]


@pytest.mark.slow
def test_two_processes_sum_missing_labels_out_and_share_a_single_validation_batch(tmp_path):
    options = ["--preset", "m2", "--set", "data.labelled=50", "--set", "training.batch_size=200"]
    run_two(*command(tmp_path / "run", *options, "--epochs", "2"))
    records = recorded(tmp_path / "run")
    assert records[-1]["split"] == "valid"
    assert records[-1]["bound"] > records[1]["bound"]
    assert 0 < records[-1]["error"] < records[1]["error"] <= 1


# ---------------------------------------------------------------------------- the numbers of one process
STEPS = 8  # seven batches of 98 examples and one of 1


@pytest.mark.slow
def test_two_processes_give_the_gradients_and_bounds_of_one(tmp_path, one_thread):
    data = make_data(tmp_path / "data.npy")
    run_two(IN_EACH_PROCESS, str(tmp_path))
    seen = [load_tensors(tmp_path / f"seen-{rank}.safetensors")[0] for rank in (0, 1)]
    model = make_model(data)
    check_draws(model, data, seen)
    check_gradients(model, data, seen)
    train, valid = recorded(tmp_path / "run")
    check_training_bound(model, data, train)
    check_validation_bound(model.eval(), data, valid)


def ranks(step):
    """Return the ranks that have examples in a step."""
    return (0, 1) if step < STEPS - 1 else (0,)


def alone(model, data, step, rank):
    """Return one process's share of a step: x, the noise of z and the bounds (B,); gradients of their sum add up."""
    shuffle = torch.Generator().manual_seed(seed_for(SEED, -1, 0))
    batch = torch.randperm(len(data.train), generator=shuffle)[step * BATCH : (step + 1) * BATCH]
    torch.manual_seed(seed_for(SEED, rank, step))
    x, _ = data.train.batch(batch[rank::2])
    o = model(x)
    bounds = o.log_likelihood[0] - o.kl()
    bounds.sum().neg().backward()
    return x, noise_of(o), bounds.detach()


def check_draws(model, data, seen):
    assert len(seen[0]["x.0"]) == len(seen[1]["x.0"]) == BATCH // 2
    for step in (0, 6):
        for what, differ in (
            ("x", 0.4),
            ("noise", 1.0),
        ):  # the images are all alike; half of their bits differ
            first, second = (tensors[f"{what}.{step}"] for tensors in seen)
            assert (first != second).float().mean() >= differ
        for rank in (0, 1):
            x, noise, _ = alone(model, data, step, rank)
            assert torch.equal(seen[rank][f"x.{step}"], x)
            torch.testing.assert_close(seen[rank][f"noise.{step}"], noise, rtol=0, atol=1e-5)


def check_gradients(model, data, seen):
    for step in range(STEPS):
        model.zero_grad()
        rows = sum(len(alone(model, data, step, rank)[0]) for rank in ranks(step))
        assert rows == (BATCH if step < STEPS - 1 else 1)
        for name, parameter in model.named_parameters():
            first, second = (tensors[f"gradient.{step}.{name}"] for tensors in seen)
            assert torch.equal(first, second)
            torch.testing.assert_close(first, parameter.grad / rows, rtol=1e-4, atol=1e-6)


def check_training_bound(model, data, record):
    shares = [alone(model, data, step, rank) for step in range(STEPS) for rank in ranks(step)]
    rows = sum(len(x) for x, _, _ in shares)
    assert rows == len(data.train)
    total = sum(bounds.sum().item() for _, _, bounds in shares)
    assert record["bound"] == pytest.approx(total / rows, rel=1e-6)


def check_validation_bound(model, data, record):
    """Every example counts once, also that of the last batch, of which the second process has none."""
    bounds = []
    for number, (x, _) in enumerate(data.valid.batches(BATCH, seed=SEED)):
        for rank in (0, 1):
            if len(mine := x[rank::2]):
                torch.manual_seed(seed_for(SEED, -2 - rank, number))
                with torch.no_grad():
                    o = model(mine, samples=4)
                log_weights = o.log_likelihood + o.p_z.log_prob(o.z) - o.q.log_prob(o.z)
                bounds.append(torch.logsumexp(log_weights, 0) - math.log(4))
    assert [len(b) for b in bounds] == [49, 49, 49, 49, 1]
    assert record["bound"] == pytest.approx(torch.cat(bounds).double().mean().item(), rel=1e-6)


@pytest.mark.slow
def test_two_processes_have_one_critic(tmp_path):
    make_data(tmp_path / "data.npy")
    run_two(IN_EACH_PROCESS, str(tmp_path), "critic")
    first, second = (load_tensors(tmp_path / f"critic-{rank}.safetensors")[0] for rank in (0, 1))
    assert first.keys() == second.keys() == {"critic.weight", "critic.bias"}
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    saved = load_tensors(tmp_path / "critic" / CHECKPOINT)[0]
    assert all(torch.equal(tensor, saved[f"objective.{name}"]) for name, tensor in first.items())
    losses = [record["critic"] for record in recorded(tmp_path / "critic") if record["split"] == "train"]
    assert losses[-1] < losses[0]


# ------------------------------------------------------------------------------------------- a second life
# Long enough to be met in the middle, with checkpoints wherever it is, and an evaluation after every epoch.
LONG = [
    *("--preset", "vae", "--epochs", "16", "--seed", "1", "--set", "training.batch_size=100"),
    *("--set", "training.evaluations=10000", "--set", "training.checkpoint_seconds=0.02"),
]


def children(parent):
    """Return the process ids of a process's children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(stat.parent.name))
    return found


def kill_the_second(launcher, out):
    """Send SIGKILL to the process of rank 1 once some epochs of the run are recorded."""
    while not (out / "metrics.jsonl").is_file() or len(recorded(out)) < 4:
        assert launcher.poll() is None, "it ended before it could be disturbed"
        time.sleep(0.01)
    second = [
        pid for pid in children(launcher.pid) if b"\0RANK=1\0" in Path(f"/proc/{pid}/environ").read_bytes()
    ]
    os.kill(second[0], signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the process to kill in /proc")
def test_a_run_of_which_a_process_is_killed_ends_as_one_that_nothing_disturbed(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_two(*command(whole, *LONG))
    steps = [record["step"] for record in validated(whole)]
    assert steps == [
        15 * epoch for epoch in range(1, 17)
    ]  # 100 examples a step over both; one writes, once each
    assert recorded(whole)[-1]["examples"] == 16 * 1437

    killed.mkdir()
    (killed / "config.json").write_text(
        "{}"
    )  # --overwrite is meant for what lay there before, not for the restart
    with subprocess.Popen(
        [*TORCHRUN, "--max-restarts", "1", *command(killed, *LONG, "--overwrite")],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    ) as launcher:
        kill_the_second(launcher, killed)
        _, said = launcher.communicate(timeout=240)
    assert launcher.returncode == 0, said
    assert validated(killed) == validated(whole)
    assert same_files(killed, whole, "model.safetensors", CHECKPOINT)


def test_a_launch_knows_its_own_run_and_no_other(tmp_path, monkeypatch):
    own, other = RunFolder(tmp_path / "own"), RunFolder(tmp_path / "other")
    monkeypatch.setattr("lowerbound.training.engine._begun", set())
    monkeypatch.setenv(LAUNCH, "night-1")
    begin(own)
    assert begun_by(own) == "night-1"
    assert not is_restarted(own)  # this very process has begun it: training there again is another run
    monkeypatch.setattr("lowerbound.training.engine._begun", set())  # what a restarted process knows
    assert is_restarted(own)
    assert not is_restarted(other)
    monkeypatch.setenv(LAUNCH, "night-2")
    assert not is_restarted(own)
    monkeypatch.delenv(LAUNCH)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")  # a launch of torchrun that has got no name
    assert not is_restarted(own)


def test_a_restart_before_the_first_checkpoint_begins_again(tmp_path, monkeypatch):
    data = lb.data.load("digits")
    options = {"epochs": 1, "batch_size": 256, "out": tmp_path, "progress": False}  # six steps
    monkeypatch.setenv(LAUNCH, "night")
    lb.fit(lb.VAE.for_data(data, latent=2), data, **options)
    with pytest.raises(RunError, match="holds another run"):
        lb.fit(lb.VAE.for_data(data, latent=2), data, **options)
    monkeypatch.setattr("lowerbound.training.engine._begun", set())
    assert lb.fit(lb.VAE.for_data(data, latent=2), data, **options).steps == 6  # at its end already
    monkeypatch.setattr("lowerbound.training.engine._begun", set())
    RunFolder(tmp_path).checkpoint.unlink()
    run = lb.fit(lb.VAE.for_data(data, latent=2), data, **options)
    assert len(run.history) == 2
    assert RunFolder(tmp_path).checkpoint.is_file()


# ------------------------------------------------------------------------------------------------------ Ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_run_on_ray_of_which_a_worker_is_killed_ends_as_one_under_torchrun(tmp_path):
    pytest.importorskip("ray", reason="needs the extra cluster")
    data = make_data(tmp_path / "data.npy")
    run_two(IN_EACH_PROCESS, str(tmp_path), "whole")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    objective, model = Fragile(str(tmp_path / "flag"), rank=0, step=12), make_model(data)
    run = lb.cluster.fit(model, data, out=killed, workers=2, objective=objective, progress=False, **MOVING)
    assert (tmp_path / "flag").exists()
    assert (run.steps, run.stopped) == (24, "finished")
    assert [record["step"] for record in validated(killed)] == [8, 16, 24]
    assert validated(killed) == validated(whole)
    assert same_files(killed, whole, "model.safetensors", CHECKPOINT)
    assert run.model is model
    kept = load_tensors(killed / "model.safetensors")[0]
    assert all(torch.equal(tensor, kept[name]) for name, tensor in model.state_dict().items())
    assert run.best in run.history
    assert not list(tmp_path.glob(".ray*"))
    with pytest.raises(RunError, match="holds another run"):
        lb.cluster.fit(make_model(data), data, out=killed, epochs=1)


def test_a_run_on_a_cluster_is_followed_by_what_it_records_and_no_other_run_is(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(LAUNCH, "mine")
    data = lb.data.load("digits")
    run = lb.fit(
        lb.VAE.for_data(data, latent=2), data, epochs=1, batch_size=256, out=tmp_path, progress=False
    )
    for launch, shown, told in (("mine", True, 1), ("mine", False, 0), ("another", True, 0)):
        with _followed(RunFolder(tmp_path), launch, shown):
            pass
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == told
    with _followed(RunFolder(tmp_path), "mine", shown=True):
        pass
    bound = f"{run.best['bound']:.3f}"
    assert capsys.readouterr().err.startswith(f"training: 100% · epoch 1 · valid {bound} · ")


def test_a_worker_refuses_other_data_than_those_given(tmp_path):
    data = make_data(tmp_path / "data.npy")
    job = _Job("a", str(tmp_path), make_model(data), data.spec.source, data.options, _described(data), {})
    options = {k: v for k, v in data.options.items() if k != "split_by"} | {"split": [0.6, 0.3, 0.1]}
    with pytest.raises(DataError, match="holds other data than those given"):
        _work({"job": replace(job, options=options)})
    with pytest.raises(RunError, match="has no folder"):
        _work({"job": replace(job, directory=str(tmp_path / "elsewhere"))})


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"workers": 0}, ConfigError, "workers=0 must be a whole number, at least 1"),
        ({"restarts": -1}, ConfigError, "restarts=-1 must be a whole number, at least 0"),
        ({"resume": True, "overwrite": True}, RunError, "give one of them"),
        ({"resume": True}, RunError, "no checkpoint to resume from"),
        ({"epoch": 3}, ConfigError, "did you mean 'epochs'"),
        ({"objective": "elb"}, ConfigError, "did you mean 'elbo'"),
    ],
)
def test_a_wrong_request_is_refused_before_ray_starts(tmp_path, options, error, says):
    ray = pytest.importorskip("ray", reason="needs the extra cluster")
    data = lb.data.load("digits")
    with pytest.raises(error, match=says):
        lb.cluster.fit(lb.VAE.for_data(data, latent=2), data, out=tmp_path, **options)
    assert not ray.is_initialized()


def test_data_and_conditions_from_memory_cannot_travel(tmp_path):
    pytest.importorskip("ray", reason="needs the extra cluster")
    data = lb.data.load(np.zeros((50, 3), np.float32))
    with pytest.raises(DataError, match="came from memory"):
        lb.cluster.fit(lb.VAE.for_data(data, latent=2), data, out=tmp_path / "run")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((50, 3)))
    data = lb.data.load(tmp_path / "x.npy", condition={"size": np.arange(50.0)[:, None]})
    with pytest.raises(DataError, match="condition 'size' came from memory"):
        lb.cluster.fit(lb.VAE.for_data(data, latent=2), data, out=tmp_path / "run")


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    data = lb.data.load("digits")
    with pytest.raises(ConfigError, match=r"pip install 'lowerbound\[cluster\]'"):
        lb.cluster.fit(lb.VAE.for_data(data, latent=2), data, out=tmp_path)
