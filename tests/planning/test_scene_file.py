"""Scenes as files: what they mean, and one clear sentence for what they may not say."""

import json
import sys

import numpy as np
import pytest

from lowerbound.errors import ConfigError, DataError
from lowerbound.planning import read_scene

SCENE = {
    "boxes": [{"position": [0.5, 0, 0.2], "size": [0.2, 0.6, 0.4], "yaw": 0.3, "name": "table"}],
    "spheres": [{"position": [0.3, 0.4, 0.6], "radius": 0.1}],
    "cylinders": [{"position": [0, 0.6, 0.3], "radius": 0.05, "height": 0.6}],
    "floor": -0.01,
}
YAML = """
boxes:
  - {position: [0.5, 0, 0.2], size: [0.2, 0.6, 0.4], yaw: 0.3, name: table}
spheres:
  - position: [0.3, 0.4, 0.6]
    radius: 0.1
cylinders:
  - {position: [0, 0.6, 0.3], radius: 0.05, height: 0.6}
floor: -0.01
"""
TOML = """
floor = -0.01
boxes = [{position = [0.5, 0, 0.2], size = [0.2, 0.6, 0.4], yaw = 0.3, name = "table"}]
[[spheres]]
position = [0.3, 0.4, 0.6]
radius = 0.1
[[cylinders]]
position = [0, 0.6, 0.3]
radius = 0.05
height = 0.6
"""


@pytest.mark.parametrize(("ending", "text"), [("json", json.dumps(SCENE)), ("yaml", YAML), ("toml", TOML)])
def test_a_scene(tmp_path, ending, text):
    if ending == "yaml":
        pytest.importorskip("yaml")
    path = tmp_path / f"scene.{ending}"
    path.write_text(text)
    boxes, shapes, floor = read_scene(path)
    assert (shapes, floor) == (("box", "sphere", "cylinder"), -0.01)
    np.testing.assert_allclose(
        boxes,
        [
            [0.5, 0, 0.2, 0.1, 0.3, 0.2, 0.3],
            [0.3, 0.4, 0.6, 0.1, 0.1, 0.1, 0],
            [0, 0.6, 0.3, 0.05, 0.05, 0.3, 0],
        ],
    )


def test_an_empty_scene(tmp_path):
    (tmp_path / "s.json").write_text("{}")
    boxes, shapes, floor = read_scene(tmp_path / "s.json")
    assert (boxes.shape, shapes, floor) == ((0, 7), (), None)


BOX = SCENE["boxes"][0]


@pytest.mark.parametrize(
    ("scene", "words"),
    [
        ([], "holds no scene"),
        ({"boxs": []}, "no 'boxs'; did you mean 'boxes'"),
        ({"boxes": {}}, "boxes is a list of obstacles; got {}"),
        ({"boxes": [3]}, r"boxes\[0\] needs position, size; got 3"),
        (
            {"boxes": [BOX, {**BOX, "radius": 1}]},
            r"boxes\[1\] has 'radius', which is not read; options: name",
        ),
        (
            {"boxes": [{"position": [0, 0, 0]}]},
            r"boxes\[0\] has no size; it needs position and size, in metres",
        ),
        (
            {"boxes": [{**BOX, "size": [1, 2]}]},
            r"size needs 3 numbers like \[0.1, 0.2, 0.3\] above 0; got \[1, 2\]",
        ),
        ({"boxes": [{**BOX, "size": [1, 2, 0]}]}, "above 0; got"),
        ({"boxes": [{**BOX, "position": [1, 2, "3"]}]}, "position needs 3 numbers"),
        ({"boxes": [{**BOX, "position": [1, 2, True]}]}, "position needs 3 numbers"),
        ({"boxes": [{**BOX, "position": [1, 2, float("nan")]}]}, "position needs 3 numbers"),
        ({"boxes": [{**BOX, "position": [1, 2, 10**400]}]}, "position needs 3 numbers"),
        ({"boxes": [{**BOX, "yaw": [0]}]}, "yaw needs a number; got"),
        (
            {"spheres": [{"position": [0, 0, 0], "radius": -1}]},
            r"spheres\[0\].radius needs a number above 0; got -1",
        ),
        ({"floor": "low"}, "floor needs a number; got 'low'"),
    ],
)
def test_what_a_scene_may_not_say(tmp_path, scene, words):
    (tmp_path / "s.json").write_text(json.dumps(scene))
    with pytest.raises(DataError, match=words) as raised:
        read_scene(tmp_path / "s.json")
    assert len(str(raised.value)) < 400


def test_files_that_are_none(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"is a .yaml, .json or .toml file; got"):
        read_scene("scene.txt")
    with pytest.raises(DataError, match="there is no file"):
        read_scene(tmp_path / "scene.json")
    for name, text in (
        ("a.json", "{"),
        ("b.toml", "="),
        ("c.json", "[" * 100_000),
        ("d.json", b"\xff\xfe"),
        ("e.yaml", "a: [1"),
    ):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        if name == "e.yaml":
            pytest.importorskip("yaml")
        with pytest.raises(DataError, match="cannot be read"):
            read_scene(tmp_path / name)
    (tmp_path / "f.json").write_bytes(b" " * 1_000_001)
    with pytest.raises(DataError, match="larger than"):
        read_scene(tmp_path / "f.json")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ConfigError, match=r"pip install pyyaml, or write the scene as .json or .toml"):
        read_scene(tmp_path / "e.yaml")
