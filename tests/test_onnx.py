"""Encoder, decoder and sampler of any model as ONNX graphs: what they compute, and what is said of them."""

import json
import re

import numpy as np
import pytest
import torch

import lowerbound as lb
from lowerbound import cli
from lowerbound.errors import ConfigError
from lowerbound.export import export_onnx

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

DIGITS = lb.data.load("digits", condition="label")


def table():
    import pandas as pd

    r = np.random.default_rng(0)
    z = r.normal(size=300)
    frame = pd.DataFrame(
        {
            "temperature": 60 + 8 * z + r.normal(size=300),
            "kind": np.where(z > 0, "a", "b"),
            "count": r.poisson(3, 300),
        }
    )
    frame.loc[3, "temperature"] = np.nan
    return lb.data.load(frame)


def shaken(model):
    """Weights that make every input matter."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


MODELS = {
    "classes": lambda: lb.VAE.for_data(DIGITS, latent=3, condition={"label": {"dropout": 0.1}}),
    "convolutions": lambda: lb.VAE.for_data(
        lb.data.load("digits"), latent=3, encoder="conv", decoder="conv", likelihood="gaussian"
    ),
    "table": lambda: lb.VAE.for_data(table(), latent=2, prior="standard_normal"),
    "covariance": lambda: lb.VAE.for_data(
        lb.data.load("digits"), latent=3, posterior="full_covariance_gaussian"
    ),
}


def run(path, **given):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    values = {name: np.asarray(value) for name, value in given.items()}
    names = [output.name for output in session.get_outputs()]
    return dict(
        zip(names, session.run(None, values), strict=True)
    ), session.get_modelmeta().custom_metadata_map


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_graphs_compute_what_the_model_computes(tmp_path, name, capfd):
    model = shaken(MODELS[name]())
    data = table() if name == "table" else DIGITS if name == "classes" else lb.data.load("digits")
    x, c = next(iter(data.test.batches(7, limit=7)))
    given = {} if c is None else {key: value.numpy() for key, value in c.items()}
    # ------------------------------------------------------------------ encoder
    made = export_onnx(model, tmp_path / "e.onnx", "encoder")
    assert made.error < 1e-5
    found, told = run(tmp_path / "e.onnx", x=x.numpy(), **given)
    np.testing.assert_allclose(found["z"], model.encode(x, c), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        sd = model.under(c).posterior(x).stddev
    np.testing.assert_allclose(found["sd"], sd, rtol=1e-4, atol=1e-5)
    assert made.outputs == {"z": ("n", *model.latent_shape), "sd": ("n", *model.latent_shape)}
    assert (told["part"], json.loads(told["outputs"])) == ("encoder", ["z", "sd"])
    # ------------------------------------------------------------------ decoder
    export_onnx(model, tmp_path / "d.onnx")
    z = torch.randn(5, *model.latent_shape)
    five = {key: value[:5] for key, value in (c or {}).items()}
    found, told = run(tmp_path / "d.onnx", z=z.numpy(), **{key: value.numpy() for key, value in five.items()})
    right = model.decode(z, five or None)
    np.testing.assert_allclose(found["x"], right, rtol=1e-4, atol=1e-5)
    # ------------------------------------------------------------------ sampler
    made = export_onnx(model, tmp_path / "s.onnx", "sampler")
    u = torch.rand(9, made.inputs["u"][1]).clamp(1e-3, 1 - 1e-3)
    one = {key: value[:1] for key, value in (c or {}).items()}
    found, told = run(tmp_path / "s.onnx", u=u.numpy(), **{key: value.numpy() for key, value in one.items()})
    z = torch.special.ndtri(u.double()).float()  # the prior is standard normal
    right = model.decode(z, {key: value.expand(9, *value.shape[1:]) for key, value in one.items()} or None)
    np.testing.assert_allclose(found["x"], right, rtol=1e-4, atol=1e-4)
    assert told["uniforms"] == str(u.shape[1])
    if name == "classes":
        assert json.loads(told["classes"]) == {"label": [str(k) for k in range(10)]}
        missing, _ = run(tmp_path / "s.onnx", u=u.numpy(), label=np.array([-1]))
        np.testing.assert_allclose(missing["x"], model.decode(z), rtol=1e-4, atol=1e-4)
    if name == "table":
        assert [column["name"] for column in json.loads(told["columns"])] == ["temperature", "kind", "count"]
        gap = np.full((1, x.shape[1]), np.nan, dtype=np.float32)
        found, _ = run(tmp_path / "e.onnx", x=gap)
        np.testing.assert_allclose(found["z"], model.encode(torch.from_numpy(gap)), rtol=1e-4, atol=1e-5)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_predicted_scale_is_given(tmp_path):
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) * 5 + 2
    data = lb.data.load(x.numpy())
    model = shaken(lb.VAE.for_data(data, latent=2, likelihood={"type": "gaussian", "scale": "predicted"}))
    made = export_onnx(model, tmp_path / "d.onnx")
    z = torch.randn(4, 2)
    found, _ = run(made.path, z=z.numpy())
    draws = torch.stack([model.decode(z, sample=True, seed=i) for i in range(4000)])
    np.testing.assert_allclose(found["x"], draws.mean(0), atol=0.15 * draws.std().item())
    np.testing.assert_allclose(found["sd"], draws.std(0), rtol=0.06)


def test_what_cannot_be_exported(tmp_path):
    model = lb.VAE.for_data(lb.data.load("digits"), latent=2)
    with pytest.raises(ConfigError, match="no part 'encode'; did you mean 'encoder'"):
        export_onnx(model, tmp_path / "a.onnx", "encode")
    with pytest.raises(ConfigError, match=r"written as .onnx; got"):
        export_onnx(model, tmp_path / "a.pt")
    flow = lb.VAE.for_data(lb.data.load("digits"), latent=2, prior="flow")
    with pytest.raises(ConfigError, match=r"factorises.*; export the decoder, and draw z outside"):
        export_onnx(flow, tmp_path / "a.onnx", "sampler")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    model = lb.VAE.for_data(lb.data.load("digits"), latent=2)
    lb.save(model, tmp_path / "run")

    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            cli.main(["export", str(tmp_path / "run"), *arguments])
        return left.value.code or 0, *capsys.readouterr()

    code, out, err = call("--part", "encoder")
    path = tmp_path / "run" / "encoder.onnx"
    assert (code, out) == (0, f"{path}\n")
    assert "  in   x  (n, 1, 8, 8)\n  out  z  (n, 2)\n" in err
    assert re.search(r"onnxruntime agrees with torch to [\d.e-]+\n", err)
    next_ = re.fullmatch(r'next:  python -c "(.*)"', err.splitlines()[-1])
    exec(next_[1])
    assert capsys.readouterr().out == "['x']\n"
    assert call("--part", "encoder")[0] == 2  # it is there
    assert call("--part", "encodr")[2].startswith(
        "lowerbound: there is no part 'encodr'; did you mean 'encoder'"
    )
    assert call("--format", "pickle")[0] == 2
