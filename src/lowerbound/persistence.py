"""Models and runs on disk: ``config.json`` beside ``model.safetensors``, never a pickle, never code.

``config.json`` names slots of the registry and their options; ``model.safetensors`` holds the weights. Loading
compares every tensor's name, shape and type with what the configuration calls for.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import __version__
from .config import (
    DATA_OPTIONS,
    SLOTS,
    build_model,
    build_objective,
    check_settings,
    describe,
    describe_model,
    describe_settings,
)
from .data import Data, DataSpec
from .data import load as load_data
from .errors import ConfigError, DataError, RunError, suggest
from .model import VAE
from .objectives import ELBO, Objective
from .training import Run, RunFolder, Settings, load_module, load_tensors, save_tensors, train

FORMAT = 1


def save(model: VAE, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a model to a folder: ``config.json`` and ``model.safetensors``.

    Args:
        model: The model; slots of the user's own are named in the file and must be passed to ``load``.
        path: The folder.
        overwrite: Replace a model or run that is already there.

    Raises:
        RunError: the folder holds another model or run.
    """
    folder = RunFolder(path)
    folder.prepare(overwrite=overwrite)
    folder.write_config(_config(model))
    save_tensors(folder.model, model.state_dict(), {})
    return folder.path


def load(path: str | Path, *, device: str | torch.device = "cpu", **slots: nn.Module) -> VAE:
    """Read a model from the folder of ``save`` or of a run; in evaluation mode.

    Args:
        path: The folder.
        device: Where the model goes.
        **slots: Modules for the slots that were of the user's own making, for example ``encoder=MyNet()``.

    Raises:
        RunError: the folder is missing, damaged, from a newer version, or its weights do not fit.
        ConfigError: a slot of the user's own is not given.
    """
    folder = RunFolder(path)
    config = read_config(folder)
    stored = config["model"]
    for name in slots:
        if name not in SLOTS:
            raise ConfigError(f"load has no slot {name!r}; {suggest(name, SLOTS)}")
    for slot in SLOTS:
        if stored[slot].get("type") == "custom" and slot not in slots:
            raise ConfigError(
                f"{slot} of {path} is your own class {stored[slot]['class']}; files never name code to run, so pass "
                f"the built module: load({str(path)!r}, {slot}=...)"
            )
    spec = DataSpec.from_dict(config["data"]["spec"]) if config.get("data") else _bare_spec(config)
    model = build_model({**stored, **slots}, stored["latent"], spec)
    tensors, _ = load_tensors(folder.model)
    model.to(next((t.dtype for t in tensors.values() if t.is_floating_point()), torch.float32))
    load_module(model, tensors, str(folder.model))
    model.data_spec = spec if config.get("data") else None
    return model.to(device).eval()


def read_config(folder: RunFolder | str | Path) -> dict[str, Any]:
    """Return a run's ``config.json``, brought up to the present format.

    Raises:
        RunError: it is missing, is not JSON, or was written by a newer version.
    """
    folder = folder if isinstance(folder, RunFolder) else RunFolder(folder)
    if not folder.config.is_file():
        what = "is not a run's folder: config.json is missing" if folder.path.is_dir() else "does not exist"
        raise RunError(f"{folder.path} {what}; `lowerbound train ... --out {folder.path}` makes one")
    try:
        config = json.loads(folder.config.read_text())
        version = config["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder.config} is no configuration of a run ({error})") from None
    if not isinstance(version, int) or version > FORMAT:
        raise RunError(
            f"{folder.config} has format {version}, written by lowerbound {config.get('lowerbound', '?')}; this is "
            f"lowerbound {__version__}, which reads up to format {FORMAT}: upgrade it"
        )
    return config


def fit(
    model: VAE,
    data: Data,
    *,
    objective: Objective | str | dict[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    callback: Any = None,
    **settings: Any,
) -> Run:
    """Train a model, and write the run to a folder if one is named.

    Args:
        model: The model; trained in place and returned in ``run.model`` with the kept weights.
        data: The data, from ``lowerbound.data.load``.
        objective: An objective, a registered name, or a dict with a type and options; the evidence lower
            bound if not given.
        out: The run's folder. It is loadable from before the first step on.
        resume: Continue the run in ``out`` exactly where its last checkpoint stands.
        overwrite: Replace another run in ``out``.
        progress: Show progress on standard error.
        callback: Called with (model, record) after each evaluation.
        **settings: Fields of ``Settings``: ``epochs`` or ``minutes`` (50 epochs if neither is given),
            ``batch_size``, ``learning_rate``, ``seed``, ...

    Raises:
        ConfigError: an option is unknown, of a wrong type, or does not fit the length of the run.
        RunError: ``out`` holds another run.
        NonFiniteError: a NaN or Inf appeared.

    Example:
        >>> data = load_data("digits")
        >>> run = fit(VAE.for_data(data, latent=2), data, epochs=1, progress=False)
        >>> run.stopped
        'finished'
    """
    if objective is None:
        objective = ELBO()
    elif not isinstance(objective, Objective):
        objective = build_objective(objective)
    checked = check_settings(settings)
    if "epochs" not in checked and "minutes" not in checked:
        checked["epochs"] = 50
    numbers = Settings(**checked)
    if resume and out is None:
        raise RunError("resume needs out=, the folder of the run to continue")
    folder = None
    if out is not None:
        folder = RunFolder(out)
        folder.prepare(resume=resume, overwrite=overwrite)
        model.data_spec = model.data_spec or data.spec
        config = _config(model) | {
            "data": {"source": data.spec.source, "options": data.options, "spec": data.spec.to_dict()},
            "objective": describe("objective", objective),
            "training": describe_settings(numbers),
        }
        if resume:
            _check_same_run(read_config(folder), config, folder)
        folder.write_config(config)
    return train(
        model, data, objective, numbers, folder=folder, resume=resume, progress=progress, callback=callback
    )


def _check_same_run(old: dict[str, Any], new: dict[str, Any], folder: RunFolder) -> None:
    """Refuse to resume with another model, data or objective; only the run's length may change."""
    for section in ("model", "data", "objective"):
        if json.loads(json.dumps(new[section])) != old.get(section):
            raise RunError(
                f"cannot resume {folder.path}: its {section} section differs from the one asked for; "
                "start another run, or resume without changing it"
            )


def open_data(config: dict[str, Any], source: Any = None, **options: Any) -> Data:
    """Load the data that a run was trained on, or another source in the same way.

    Args:
        config: The run's configuration.
        source: Another source; its binarisation and units are those of the run.
        **options: What to load differently, for example ``root``.

    Raises:
        DataError: the data came from memory, so only the caller has them, or they have another shape.
    """
    stored = config.get("data")
    if stored is None:
        raise DataError("this model was saved without data; name a SOURCE")
    if source is None and stored["source"] == "array":
        raise DataError("the run was trained on an array in memory, which only you have; name a SOURCE")
    keep = {k: v for k, v in stored["options"].items() if k in DATA_OPTIONS and v is not None}
    keep |= {k: v for k, v in options.items() if v is not None}
    data = load_data(stored["source"] if source is None else source, **keep)
    wanted = tuple(stored["spec"]["event_shape"])
    if data.spec.event_shape != wanted:
        raise DataError(
            f"{data.spec.source} has examples of shape {data.spec.event_shape}, but the run needs {wanted}"
        )
    return data


def _config(model: VAE) -> dict[str, Any]:
    spec = model.data_spec
    return {
        "format": FORMAT,
        "lowerbound": __version__,
        "model": describe_model(model) | {"event_shape": list(model.event_shape)},
        "data": None if spec is None else {"source": spec.source, "options": {}, "spec": spec.to_dict()},
    }


def _bare_spec(config: dict[str, Any]) -> DataSpec:
    """Return a stand-in schema for a model that was built without data."""
    shape = tuple(config["model"]["event_shape"])
    return DataSpec(
        source="array", kind="image" if len(shape) == 3 else "vector", event_shape=shape, values="real"
    )
