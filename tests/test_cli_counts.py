"""Counts on the command line: a sparse file learned, evaluated with the name of its density, sampled, reported."""

import json

import numpy as np
import pytest
import scipy.sparse
from toys import ended as run

pytestmark = pytest.mark.runs


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Cells of two kinds, and a run on them."""
    here = tmp_path_factory.mktemp("counts")
    rng = np.random.default_rng(0)
    share = np.exp(rng.normal(size=(2, 8)))[rng.integers(0, 2, 200)]
    cells = scipy.sparse.csr_matrix(rng.poisson(share * rng.lognormal(1, 0.5, size=(200, 1))))
    scipy.sparse.save_npz(here / "cells.npz", cells)
    run_folder = str(here / "run")
    assert (
        run("train", str(here / "cells.npz"), "--out", run_folder, "--epochs", "2", "--latent", "2", "-q")
        == 0
    )
    return here


def test_inspect_calls_them_counts(made, capsys):
    assert run("inspect", str(made / "cells.npz")) == 0
    out = capsys.readouterr().out
    assert "counts" in out
    assert "stays sparse until a batch" in out


def test_evaluate_names_the_density(made, capsys):
    assert run("evaluate", str(made / "run"), "--samples", "20", "-q") == 0
    out = capsys.readouterr().out
    assert "given library: the density is p(x | library)" in out
    assert "log p(x|z,library)" in out
    assert "KL(q(z|x) ‖ p(z))" in out
    assert run("evaluate", str(made / "run"), "--samples", "20", "-q", "--json") == 0
    assert json.loads(capsys.readouterr().out)["given"] == "library"
    assert run("score", str(made / "run"), "--out", str(made / "scores.npy")) == 0
    assert "mean log p(x|library)" in capsys.readouterr().err


def test_samples_are_counts_and_the_report_is_written(made, capsys):
    assert run("sample", str(made / "run"), "-n", "50", "--out", str(made / "drawn.npy")) == 0
    drawn = np.load(made / "drawn.npy")
    assert drawn.shape == (50, 8)
    assert (drawn == drawn.round()).all()
    assert drawn.max() > 1
    assert run("report", str(made / "run")) == 0
    assert (made / "run" / "report.html").is_file()
