"""Several processes under torchrun: they agree on where the run stands, and one of them writes it down."""

import json
import os
import subprocess
import sys

import pytest

import lowerbound as lb


@pytest.mark.slow
@pytest.mark.parametrize("length", [["--epochs", "3"], ["--minutes", "0.03"]], ids=["epochs", "minutes"])
def test_two_processes_train_one_model(tmp_path, length):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    train = ["-m", "lowerbound", "train", "digits", "--preset", "vae", "--set", "training.batch_size=100"]
    done = subprocess.run(
        [*launch, *train, *length, "--device", "cpu", "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [record["step"] for record in records if record["split"] == "valid"]
    assert steps == sorted(set(steps))  # one process writes, once each
    if length[0] == "--epochs":
        assert steps == [15, 30, 45]  # 100 examples a step, over both processes
        assert records[-1]["examples"] == 3 * 1437
    assert records[-1]["bound"] > records[1]["bound"]
    assert lb.load(tmp_path / "run").sample(2, seed=0).shape == (2, 1, 8, 8)
