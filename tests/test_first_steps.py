"""The first ten minutes of each kind of user, from an empty folder: every command ends well."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import lowerbound as lb

pytestmark = [pytest.mark.pages, pytest.mark.processes, pytest.mark.slow]

STEPS = Path(__file__).parent.parent / "examples" / "first_steps"


@pytest.fixture
def steps(tmp_path, monkeypatch):
    """Give a function that runs a script in an empty folder, as in 80 columns, and returns what it said."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    (tmp_path / "bin").mkdir()
    for name, module in (("lowerbound", "-m lowerbound"), ("python", "")):
        command = tmp_path / "bin" / name
        command.write_text(f'#!{bash}\nexec "{sys.executable}" {module} "$@"\n')
        command.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    paths = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])
    here = str(Path(lb.__file__).parent.parent)  # the package that is tested, whatever is installed
    environment = os.environ | {"PATH": paths, "COLUMNS": "80", "OMP_NUM_THREADS": "1", "PYTHONPATH": here}

    def run(name):
        done = subprocess.run(
            [bash, str(STEPS / name)], env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr[-2000:]
        said = done.stdout + done.stderr
        assert "Traceback" not in said
        shown = [line for line in said.splitlines() if "next:" not in line and str(tmp_path) not in line]
        assert max(map(len, shown)) <= 80  # but for what is to be copied
        return said

    return run


def is_picture(name):
    return Path(name).read_bytes().startswith(b"\x89PNG")


def test_table(steps):
    said = steps("table.sh")
    before, after = pd.read_csv("customers.csv"), pd.read_csv("synthetic.csv")
    assert (list(after.columns), len(after)) == (list(before.columns), 1000)
    assert (after.dtypes == before.dtypes).all()
    assert "closer to a training than to a held-out row" in said
    for name in ("plan", "active", "newsletter", "country"):
        cells = [
            set(pd.read_csv(f, dtype=str, keep_default_na=False)[name])
            for f in ("customers.csv", "synthetic.csv")
        ]
        assert cells[1] <= cells[0]
    filled = pd.read_csv("filled.csv", dtype=str, keep_default_na=False)
    known = pd.read_csv("customers.csv", dtype=str, keep_default_na=False)
    gaps = (known == "") | (known == "NA")
    assert filled[~gaps].equals(known[~gaps])
    assert not filled.isin(["", "NA"]).any().any()
    scores = pd.read_csv("scores.csv")
    assert (scores["log_prob"].idxmin(), scores["odd_column"].iloc[-1]) == (10, "income")
    assert len(pd.read_csv("embeddings.csv")) == len(before)


def test_photos(steps):
    steps("photos.sh")
    assert all(map(is_picture, ("new.png", "runs/photos/reconstruct.png", "runs/photos/interpolate.png")))
    codes = pd.read_csv("embeddings.csv")
    assert len(codes) == 500
    assert set(codes["label"]) == {"day", "evening"}
    assert codes["file"].str.endswith(".jpg").all()
    assert {"file", "log_prob"} <= set(pd.read_csv("scores.csv"))
    assert Path("runs/photos/report.html").stat().st_size > 10_000


def test_researcher(steps):
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    said = steps("researcher.sh")
    numbers = json.loads(Path("nll.json").read_text())
    assert numbers["nll"] < -numbers["elbo"]
    assert "tabular" in Path("table.tex").read_text()
    assert is_picture("compare.png")
    assert "report.html" in said


def test_robot(steps):
    for package in ("pybullet", "onnx"):
        pytest.importorskip(package, reason="pip install 'lowerbound[planning,export]'")
    steps("robot.sh")
    assert all(map(is_picture, ("success.png", "states.png", "runs/plan-narrow/samples.png")))
    assert Path("arm.onnx").stat().st_size > 1000
