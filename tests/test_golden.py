"""Run folders of every format that was ever written load, and give the numbers that they gave then.

The folders lie in ``golden/``; ``golden/make.py`` wrote those of format 2, and at an older commit those of format 1.
They are never written anew: they stand for the folders that users have.
"""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

import lowerbound as lb
from lowerbound.persistence import open_data, read_config

GOLDEN = Path(__file__).parent / "golden"
FOLDERS = sorted(path.parent for path in GOLDEN.rglob("config.json"))

sys.path.insert(0, str(GOLDEN))
import make  # noqa: E402


def data_of(folder):
    if folder.name == "table":
        return lb.data.load(make.table(), split_by="permutation")
    if folder.name == "cells":
        x, grids = make.points()
        return lb.data.load(x, values="real", condition={"grid": grids}, split_by="permutation")
    return open_data(read_config(folder))


def name_of(folder):
    return "/".join(folder.parts[-2:])


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_golden_folder_gives_the_numbers_of_its_day(folder):
    expected = json.loads((folder / "expected.json").read_text())
    found = make.numbers(lb.load(folder), data_of(folder))
    assert set(found) == set(expected)
    for name, value in expected.items():
        if value is None:
            assert found[name] is None
        else:
            torch.testing.assert_close(
                torch.tensor(found[name]),
                torch.tensor(value),
                rtol=2e-4,
                atol=2e-4,
                msg=lambda m, n=name: f"{n}: {m}",
            )


def test_there_are_golden_folders_of_each_format():
    assert {read_config(folder)["format"] for folder in FOLDERS}  # brought up to the present one
    assert {json.loads((f / "config.json").read_text())["format"] for f in FOLDERS} >= {1, 2}
    assert len(FOLDERS) >= 9


@pytest.mark.runs
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("which", ["format1/bits", "format2/bits"])
def test_a_golden_run_is_resumed(which, tmp_path):
    shutil.copytree(GOLDEN / which, tmp_path / "run")
    config = read_config(tmp_path / "run")
    data = open_data(config)
    model = lb.load(tmp_path / "run")
    run = lb.fit(
        model,
        data,
        objective=config["objective"],
        out=tmp_path / "run",
        resume=True,
        epochs=4,
        progress=False,
    )
    assert run.steps == 4 * 15
    assert run.best["bound"] > -40
