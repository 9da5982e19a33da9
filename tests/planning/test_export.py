"""Samplers for other planners: files of states, and an ONNX graph that computes what the model computes."""

import json

import numpy as np
import pytest
import torch

import lowerbound as lb
from lowerbound.distributions import from_uniform
from lowerbound.errors import ConfigError
from lowerbound.export import by_operations, inverse_normal
from lowerbound.planning import (
    Learned,
    export_onnx,
    family,
    load_data,
    make_data,
    model_for,
    read_meta,
    write_states,
)

FAMILIES = {
    "plane": family("narrow", gap=0.1, walls=1, thickness=0.15, grid=16),
    "arm": family("wam", scene="shelf"),
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for name, n in (("plane", 12), ("arm", 4)):
        make_data(FAMILIES[name], n, folder / f"{name}.npz", states=4, workers=1)
    return folder


def sampler_of(path, **options):
    torch.manual_seed(0)
    meta = read_meta(path)
    model = model_for(load_data(path), meta["lower"], meta["upper"], hidden=(8,), **options)
    with torch.no_grad():  # weights that make every input matter
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return Learned(model.eval())


# ------------------------------------------------------------------------------------------------------ files
def test_states_as_csv(tmp_path):
    problem = FAMILIES["plane"].problem("test", 0)
    states = problem.uniform(5, np.random.default_rng(0))
    write_states(states, problem, tmp_path / "s.csv")
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert lines[0] == "q0,q1"
    np.testing.assert_allclose([[float(v) for v in line.split(",")] for line in lines[1:]], states, rtol=1e-8)


def test_states_as_npz(tmp_path):
    problem = FAMILIES["plane"].problem("test", 0)
    states = problem.uniform(5, np.random.default_rng(0))
    write_states(states, problem, str(tmp_path / "s.npz"))
    with np.load(tmp_path / "s.npz") as found:
        assert set(found.files) == {"states", "start", "goal", "lower", "upper"}
        np.testing.assert_array_equal(found["states"], states)
        for name in ("start", "goal", "lower", "upper"):
            np.testing.assert_array_equal(found[name], getattr(problem, name))
    with pytest.raises(ConfigError, match=r"written as .csv or .npz; got"):
        write_states(states, problem, tmp_path / "s.txt")


# ---------------------------------------------------------------------------------------------- the functions
def test_inverse_normal_by_the_distribution_function():
    u = torch.cat([torch.linspace(1e-6, 1 - 1e-6, 10001), torch.tensor([0.075, 0.925, 0.5])]).double()
    u = torch.cat([u, 10.0 ** -torch.arange(1, 40).double()])
    truth = torch.special.ndtri(u)
    assert ((inverse_normal(u) - truth).abs() <= 2e-7 * truth.abs() + 1e-9).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plane", "arm"])
def test_codes_are_those_of_the_library(sets, name):
    sampler = sampler_of(sets / f"{name}.npz")
    c = {key: value[None] for key, value in sampler.condition(FAMILIES[name].problem("test", 0)).items()}
    with torch.no_grad():
        view = sampler.model.under(c)
        u = torch.rand(500, view.uniforms(), dtype=torch.float64)
        codes = [view.carried(u, carry).code for carry in (by_operations, from_uniform)]
        torch.testing.assert_close(*codes, rtol=1e-5, atol=1e-6)


# ----------------------------------------------------------------------------------------------------- graphs
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "outputs"),
    [
        ("plane", {}, ["states"]),
        ("plane", {"kind": "gaussian"}, ["states"]),
        ("arm", {"cells": 4}, ["states", "sd"]),
    ],
    ids=["map", "gaussian", "between"],
)
def test_the_graph_computes_what_the_model_computes(sets, tmp_path, name, options, outputs):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    sampler = sampler_of(sets / f"{name}.npz", **options)
    model = sampler.model
    export_onnx(model, tmp_path / "s.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["s.onnx"]
    session = runtime.InferenceSession(str(tmp_path / "s.onnx"), providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    assert told["lowerbound"] == lb.__version__
    assert json.loads(told["outputs"]) == [output.name for output in session.get_outputs()] == outputs
    entries = json.loads(told["condition"])
    assert [entry.name for entry in session.get_inputs()] == ["u", *entries]
    for i, n in ((0, 50), (1, 1), (2, 7)):  # any number of rows, any problem
        problem = FAMILIES[name].problem("test", i)
        c = {key: value[None] for key, value in sampler.condition(problem).items()}
        assert {key: list(value.shape) for key, value in c.items()} == entries
        u = torch.rand(n, int(told["uniforms"])).clamp(1e-6, 1 - 1e-6)
        found = session.run(None, {"u": u.numpy(), **{key: value.numpy() for key, value in c.items()}})
        with torch.no_grad():
            view = model.under(c)
            p_x = view.likelihood(view.carried(u).code[:, 0])
            truth = [view.to_data(p_x.mean)]
            if len(outputs) == 2:
                unit = torch.as_tensor(problem.upper - problem.lower, dtype=torch.float32) / 2
                truth.append(p_x.stddev * unit)
        assert found[0].shape == (n, problem.dimensions)
        for came, right in zip(found, truth, strict=True):
            np.testing.assert_allclose(came, right, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_what_cannot_be_exported_is_said(sets, tmp_path):
    model = sampler_of(sets / "plane.npz").model
    with pytest.raises(ConfigError, match=r"written as .onnx; got"):
        export_onnx(model, tmp_path / "s.pt")
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    with pytest.raises(ConfigError, match="only a conditional model"):
        export_onnx(lb.VAE.for_data(lb.data.load("digits"), latent=2), tmp_path / "s.onnx")
    labelled = lb.data.load("digits", condition="label")
    with pytest.raises(ConfigError, match="Gaussian likelihood"):
        export_onnx(lb.VAE.for_data(labelled, latent=2), tmp_path / "s.onnx")
    assert not list(tmp_path.iterdir())
