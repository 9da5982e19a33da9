"""Families in files: found again by what was made of them, and never run once they have changed."""

import json
import warnings

import pytest

from lowerbound import planning
from lowerbound.errors import ConfigError
from lowerbound.planning.family_file import is_file

FILE = """
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
from pathlib import Path
from lowerbound import planning
from lowerbound.planning import PlanarProblem

RAN = Path(__file__).with_suffix(".ran")
RAN.write_text(RAN.read_text() + "x" if RAN.exists() else "x")
FILES = ("walls.txt",)


@dataclass(frozen=True)
class Walls(planning.NarrowPassage):
    name: ClassVar[str] = "walls"
    shift: float = 0.0
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(FILE)
    (tmp_path / "walls.txt").write_text("one")
    return path


def stored(family):
    return json.loads(json.dumps(family.to_dict()))


def ran(file):
    return len(file.with_suffix(".ran").read_text())


def test_a_file_is_a_family(file):
    family = planning.family(str(file), shift=0.5)
    assert (type(family).__name__, family.name, family.shift) == ("Walls", "walls", 0.5)
    assert family.problem("test", 0).condition()["grid"].shape == (3, 64, 64)
    assert planning.family(f"{file}:Walls") == planning.family(file)
    assert stored(family)["from"]["file"] == str(file)
    again = planning.family_from(stored(family))
    assert again == family
    assert ran(file) == 1  # it is run once
    with pytest.raises(ConfigError, match=r"no option 'shft'; did you mean 'shift'"):
        planning.family(file, shft=1)
    with pytest.raises(ConfigError, match="no family 'Wals'; did you mean 'Walls'"):
        planning.family(f"{file}:Wals")
    assert planning.family("narrow").origin is None  # the class it derives from is not of the file
    assert "from" not in planning.family("narrow").to_dict()


@pytest.mark.parametrize("changed", ["own.py", "walls.txt"])
def test_what_has_changed_is_not_run_unless_it_is_named(file, changed):
    then = stored(planning.family(file, shift=0.25))
    with open(file.parent / changed, "a") as other:
        other.write("\n#")
    before = ran(file)
    with pytest.raises(ConfigError, match=r"walls.*change.* since.*--family FILE") as raised:
        planning.family_from(then)
    assert changed in str(raised.value)
    assert ran(file) == before
    with pytest.warns(UserWarning, match=f"drawn with another state of {changed}"):
        assert planning.family_from(then, file).shift == 0.25
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert planning.family_from(stored(planning.family(file)), file).shift == 0.0


def test_a_file_that_moved_is_named(file, tmp_path):
    then = stored(planning.family(file))
    folder = tmp_path / "there"
    folder.mkdir()
    for path in (file, tmp_path / "walls.txt"):
        path.rename(folder / path.name)
    with pytest.raises(ConfigError, match="not there any more; name the file to use with --family FILE"):
        planning.family_from(then)
    assert planning.family_from(then, folder / "own.py").name == "walls"


def test_several_families_in_a_file(file):
    file.write_text(FILE + FILE.split("\n\n\n")[1].replace("Walls", "More").replace('"walls"', '"more"'))
    with pytest.raises(ConfigError, match=r"holds 2 families; name one, like own.py:More"):
        planning.family(file)
    more = planning.family(f"{file}:More")
    assert planning.family_from(stored(more)) == more
    assert planning.family_from(stored(more), file) == more


def test_names_of_files():
    for name, is_one in (
        ("a.py", True),
        ("b/a.py:Cls", True),
        ("narrow", False),
        ("a.pyc", False),
        ("a.py/x", False),
    ):
        assert is_file(name) == is_one
    with pytest.raises(
        ConfigError, match=r"no family of problems 'posts' here .*name its file with --family FILE"
    ):
        planning.family_from({"family": "posts"})


def test_a_file_has_the_futures_it_asks_for_and_no_others(file):
    file.write_text(FILE.replace("from __future__ import annotations\n", "") + "\n    other: int = 0\n")
    assert planning.load_family(file).__annotations__["other"] is int


def test_files_that_hold_no_family(file, tmp_path):
    for text, words in (
        ("", "holds no family: a class derived from"),
        ("\n1 / 0", "cannot be run: line 2: ZeroDivisionError: division by zero"),
        ("def", "cannot be run: .*SyntaxError"),
        (FILE.replace("walls.txt", "none.txt"), "needs none.txt, which is not there"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=words):
            planning.family(file)
    with pytest.raises(ConfigError, match=r"there is no file .*gone.py"):
        planning.family(str(tmp_path / "gone.py"))
    file.write_text(FILE)
    with pytest.raises(ConfigError, match="has the family 'walls', but 'arm' is asked for"):
        planning.family_from({"family": "arm"}, file)
    for origin in (3, {"file": 1}, {"file": "x.py", "sha256": "0"}, ["x.py"]):
        with pytest.raises(ConfigError, match="does not say which file it came from"):
            planning.family_from({"family": "arm", "from": origin})
