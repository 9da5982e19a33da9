"""Several processes under torchrun: they agree on where the run stands, and one of them writes it down."""

import json
import os
import subprocess
import sys

import pytest

import lowerbound as lb


def train_with_two(out, *options):
    """Run the command in two processes and return what it has recorded."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, "-m", "lowerbound", "train", "digits", *options, "--device", "cpu", "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("length", [["--epochs", "3"], ["--minutes", "0.03"]], ids=["epochs", "minutes"])
def test_two_processes_train_one_model(tmp_path, length):
    batch = "training.batch_size=100"
    records = train_with_two(tmp_path / "run", "--preset", "vae", "--set", batch, *length)
    steps = [record["step"] for record in records if record["split"] == "valid"]
    assert steps == sorted(set(steps))  # one process writes, once each
    if length[0] == "--epochs":
        assert steps == [15, 30, 45]  # 100 examples a step, over both processes
        assert records[-1]["examples"] == 3 * 1437
    assert records[-1]["bound"] > records[1]["bound"]
    assert lb.load(tmp_path / "run").sample(2, seed=0).shape == (2, 1, 8, 8)


@pytest.mark.slow
def test_two_processes_sum_missing_labels_out_and_share_a_single_validation_batch(tmp_path):
    options = ["--preset", "m2", "--set", "data.labelled=50", "--set", "training.batch_size=200"]
    records = train_with_two(tmp_path / "run", *options, "--epochs", "2")
    assert records[-1]["split"] == "valid"
    assert records[-1]["bound"] > records[1]["bound"]
    assert 0 < records[-1]["error"] < records[1]["error"] <= 1
