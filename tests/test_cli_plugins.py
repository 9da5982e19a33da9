"""A file of the user's own, named by ``--plugin``, works in every command; none is run that nobody names."""

import json
import sys

import numpy as np
import pytest

import lowerbound as lb
from lowerbound import registry
from lowerbound.cli import main

pytestmark = pytest.mark.runs

CODE = """
import lowerbound as lb
from lowerbound.priors import StandardNormal
from neighbour import SPREAD


class Wide(StandardNormal):
    def __init__(self, event_shape, spread: float = SPREAD):
        super().__init__(event_shape)
        self.spread = spread


lb.register("prior", "wide_one", Wide)
"""


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lowerbound.report.write_pictures", lambda *_: [])
    monkeypatch.setattr(sys, "path", [*sys.path])
    np.save("x.npy", np.random.default_rng(0).normal(size=(60, 3)))
    (tmp_path / "my.py").write_text(CODE)
    (tmp_path / "neighbour.py").write_text("SPREAD = 2.0\n")

    def run(*arguments):
        monkeypatch.setitem(registry.REGISTRY, "prior", dict(PRIORS))  # as in a new process
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        return left.value.code or 0, *capsys.readouterr()

    return run


PRIORS = dict(registry.REGISTRY["prior"])
TRAIN = ["train", "x.npy", "--epochs", 1, "--latent", 2, "--set", "network.hidden=8,", "-q", "--out", "run"]


def test_ones_own_part_works_in_every_command_that_names_its_file(call, tmp_path):
    wide = ["--set", "prior=wide_one"]
    code, _, err = call(*TRAIN, *wide)
    assert code == 2
    assert "there is no prior 'wide_one'" in err
    assert call(*TRAIN, *wide, "--plugin", "my.py")[0] == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model"]["prior"] == {"type": "wide_one", "spread": 2.0}
    assert config["plugins"] == [str(tmp_path / "my.py")]
    assert call("evaluate", "run", "-k", 5, "-q", "--plugin", "my.py")[0] == 0
    assert "wide_one" in call("list", "priors", "--plugin", "my.py")[1]
    code, _, err = call("sample", "run", "--out", "s.csv")
    assert code == 2
    assert f"add --plugin {tmp_path / 'my.py'}" in err
    assert call("train", "--resume", "--out", "run", "--epochs", 2, "-q", "--plugin", "my.py")[0] == 0
    assert not lb.load("run").training  # named in this process by now


def test_a_run_of_the_librarys_own_parts_names_no_file(call, tmp_path):
    assert call(*TRAIN)[0] == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["plugins"] == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("x = 1\nraise ValueError('bad day')\n", "--plugin my.py, line 2: ValueError: bad day"),
        ("x = = 1\n", "--plugin my.py, line 1: SyntaxError"),
        ("import no_such_module\n", "No module named 'no_such_module'"),
        ("import lowerbound as lb\nlb.register('prior', 'x', int)\n", "must be a class of Prior"),
        (None, "--plugin my.py: there is no such file"),
    ],
)
def test_a_file_that_cannot_be_run_is_told_in_one_line(call, tmp_path, code, words):
    (tmp_path / "my.py").unlink() if code is None else (tmp_path / "my.py").write_text(code)
    status, out, err = call("list", "priors", "--plugin", "my.py")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err
