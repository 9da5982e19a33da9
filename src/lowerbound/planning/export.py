"""Samplers for planners in other languages: states as files, or the sampler itself as an ONNX graph.

The graph takes the condition of a problem and numbers between 0 and 1, evenly spread or random, and gives states: it
holds the condition's networks, the prior's inverse distribution functions, the decoder and the limits' scaling.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .. import __version__
from ..distributions import from_uniform, uniforms
from ..errors import ConfigError
from ..model import VAE
from .problem import Array, Problem


def write_states(states: Array, problem: Problem, path: str | os.PathLike[str]) -> None:
    """Write states (n, D) as .csv, one row each under a header q0, q1, ..., or as .npz with start, goal and limits.

    Raises:
        ConfigError: the file's ending is neither.
    """
    path = Path(path)
    if path.suffix == ".csv":
        header = ",".join(f"q{i}" for i in range(states.shape[1]))
        np.savetxt(path, states, delimiter=",", header=header, comments="", fmt="%.9g")
    elif path.suffix == ".npz":
        np.savez(
            path,
            states=states,
            start=problem.start,
            goal=problem.goal,
            lower=problem.lower,
            upper=problem.upper,
        )
    else:
        raise ConfigError(f"states are written as .csv or .npz; got {path}")


class _Graph(nn.Module):
    """What the graph computes, with tensors as arguments only."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.model = model
        assert model.condition is not None
        self.names = model.condition.names

    def forward(self, u: Tensor, *values: Tensor) -> Tensor:
        given = self.model._given(dict(zip(self.names, values, strict=True)))
        z = from_uniform(self.model._prior(given), u)
        h = self.model._network(self.model.decoder, z, given.context)
        loc = h.unbind(-1 - len(self.model.event_shape))[0]
        return self.model._to_data(loc, given)


def export_onnx(model: VAE, path: str | os.PathLike[str]) -> None:
    """Write a sampler as an ONNX graph.

    Inputs are ``u`` (n, U), strictly between 0 and 1, and the condition's entries with a leading axis of 1, float32
    (images scaled to [0, 1]); the output ``states`` is (n, D). The metadata say U, the entries and the version.

    Args:
        model: With a Gaussian likelihood and a condition.
        path: The .onnx file.

    Raises:
        ConfigError: the model is no sampler, or the packages for ONNX are missing.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise ConfigError(f"a graph is written as .onnx; got {path}")
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError:
        raise ConfigError("an ONNX graph needs the packages of pip install 'lowerbound[export]'") from None
    if model.condition is None:
        raise ConfigError("only a conditional model is a sampler")
    graph = _Graph(model).eval()
    values = tuple(
        torch.zeros((1, *entry.value_shape), dtype=model.dtype) for _, entry in model.condition.items()
    )
    with torch.no_grad():
        size = uniforms(model._prior(model._given(dict(zip(graph.names, values, strict=True)))))
    if size is None:
        raise ConfigError("the prior has no inverse distribution function; export needs a Gaussian or cells")
    u = torch.full((4, size), 0.5)
    torch.onnx.export(
        graph,
        (u, *values),
        str(path),
        input_names=["u", *graph.names],
        output_names=["states"],
        dynamic_shapes=({0: torch.export.Dim("n")}, tuple(None for _ in values)),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    written = onnx.load(str(path))
    entries = {name: list(value.shape) for name, value in zip(graph.names, values, strict=True)}
    told = {"lowerbound": __version__, "uniforms": str(size), "condition": json.dumps(entries)}
    for key, value in told.items():
        written.metadata_props.add(key=key, value=value)
    onnx.save(written, str(path))
