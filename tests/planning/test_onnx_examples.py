"""The programs of examples/onnx, in Python and in C++, give what the library gives, without the library."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lowerbound.planning import (
    Learned,
    PlanarProblem,
    export_onnx,
    family,
    load_data,
    make_data,
    model_for,
    read_meta,
)

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = [pytest.mark.processes, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "examples" / "onnx"
N = 40


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """A folder with a graph whose weights make every input matter, and its states for the example's problem."""
    folder = tmp_path_factory.mktemp("graph")
    made = make_data(family("narrow", gap=0.1, walls=1), 12, folder / "set.npz", states=4, workers=1).path
    torch.manual_seed(0)
    meta = read_meta(made)
    model = model_for(load_data(made), meta["lower"], meta["upper"], hidden=(8,))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    export_onnx(model.eval(), folder / "graph.onnx")
    lines = [line.split() for line in (PROGRAMS / "problem.txt").read_text().splitlines()]
    numbers = {word: [list(map(float, rest)) for w, *rest in lines if w == word] for word, *_ in lines}
    problem = PlanarProblem(np.array(numbers["wall"]), numbers["start"][0], numbers["goal"][0])
    told = {name: value[None] for name, value in Learned(model).condition(problem).items()}
    u = np.array([[radical_inverse(i + 1, base) for base in (2, 3, 5, 7)] for i in range(N)])
    with torch.no_grad():
        view = model.under(told)
        assert view.uniforms() == 4
        code = view.carried(torch.as_tensor(u, dtype=torch.float32)).code[:, 0]
        states = view.to_data(view.likelihood(code).mean).numpy()
    return folder, problem.mirrored(states), told["grid"][0].numpy(), problem


def radical_inverse(i, base):
    value, scale = 0.0, 1.0
    while i:
        i, digit = divmod(i, base)
        scale /= base
        value += digit * scale
    return value


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "q0,q1"
    return np.array([[float(value) for value in line.split(",")] for line in lines[1:]])


def test_python(graph):
    folder, truth, image, problem = graph
    states = run(sys.executable, PROGRAMS / "sample.py", folder / "graph.onnx", PROGRAMS / "problem.txt", N)
    np.testing.assert_allclose(states, truth, atol=1e-5)
    assert np.ptp(states, axis=0).min() > 0.01
    named = {}
    exec(compile((PROGRAMS / "sample.py").read_text(), "sample.py", "exec"), named)
    np.testing.assert_array_equal(named["grid"](problem.start, problem.goal, problem.boxes, 64), image)
    # it imports nothing of ours
    text = (PROGRAMS / "sample.py").read_text()
    assert [line for line in text.splitlines() if line.startswith(("import", "from"))] == [
        "from __future__ import annotations",
        "import sys",
        "import numpy as np",
        "import onnxruntime",
    ]


def official_header():
    """Return the folder of ONNX Runtime's own header, where it is installed."""
    named = os.environ.get("ONNXRUNTIME_INCLUDE")
    usual = (f"{root}/include{below}" for root in ("/usr", "/usr/local") for below in ("/onnxruntime", ""))
    places = [Path(named)] if named else map(Path, usual)
    return next((place for place in places if (place / "onnxruntime_c_api.h").is_file()), None)


@pytest.mark.parametrize("header", ["official", "stand-in"])
def test_cpp(graph, tmp_path, header):
    folder, truth, _, _ = graph
    compiler = shutil.which("g++") or shutil.which("clang++")
    libraries = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    if compiler is None or not libraries:
        pytest.skip("needs a C++ compiler, and an onnxruntime whose wheel has the shared library")
    include = official_header() if header == "official" else Path(__file__).parent / "ort_stand_in"
    if include is None:
        pytest.skip("needs onnxruntime_c_api.h: of Debian's libonnxruntime-dev, or in $ONNXRUNTIME_INCLUDE")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (tmp_path / name).symlink_to(libraries[0])
    program = tmp_path / "sample"
    command = [
        compiler,
        *"-std=c++17 -Wall -Wextra -Werror -I".split(),
        include,
        PROGRAMS / "sample.cpp",
        "-o",
        program,
    ]
    command += ["-L", tmp_path, "-lonnxruntime", f"-Wl,-rpath,{tmp_path}"]
    built = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    states = run(program, folder / "graph.onnx", PROGRAMS / "problem.txt", N)
    np.testing.assert_allclose(states, truth, atol=1e-5)
    for arguments, words in (
        (["none.onnx", "x", "3"], "none.onnx failed"),
        ([folder / "graph.onnx", "x", "3"], "there is no file x"),
        ([], "usage: sample"),
    ):
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
