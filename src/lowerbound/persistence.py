"""Models and runs on disk: ``config.json`` next to ``model.safetensors``, never a pickle, never code.

``config.json`` names parts of the registry and their options; ``model.safetensors`` holds the weights. Loading
compares every tensor's name, shape and type with what the configuration calls for.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shlex
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from . import __version__
from .data import Data, DataSpec, Split, load_like
from .data.dataset import without_unseen
from .data.files import find, user_path
from .data.frames import TABLE_SUFFIXES
from .data.identity import difference, fingerprint
from .data.images import SUFFIXES
from .data.load import NAMES, USUAL
from .defaults import build_model, check_data, describe_model, recipe
from .errors import ConfigError, DataError, LowerboundError, RunError, listed, suggest
from .model import VAE
from .objectives import Objective, Progress
from .overrides import DATA_OPTIONS, build_settings, check_data_options, check_settings, describe_settings
from .registry import SLOTS, build_objective, describe, own_files, shown, with_usual
from .shapes import draws
from .training import Run, RunFolder, Settings, load_module, load_tensors, save_tensors, train
from .training.devices import choose_device
from .training.engine import is_restarted
from .training.loggers import make_loggers

FORMAT = 2
_RESTORE = "restore the file from a copy, or train again"
_PATHS = ("source", "labels", "groups", "root")  # what of the data may be the path of a file or folder
# Settings that a resumed run may have otherwise: its length, and what no number depends on.
FREE_SETTINGS = ("epochs", "minutes", "patience", "device", "checkpoint_seconds")


def save(model: VAE, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a model to a folder: ``config.json`` and ``model.safetensors``.

    Args:
        model: The model; parts of the user's own are named in the file and must be passed to ``load``.
        path: The folder.
        overwrite: Replace a model or run that is already there.

    Raises:
        RunError: the folder holds another model or run.
    """
    folder = RunFolder(path)
    config = _config(model)
    folder.prepare(overwrite=overwrite)
    folder.write_config(config)
    save_tensors(folder.model, model.state_dict(), {})
    return folder.path


def load(path: str | Path, *, device: str | torch.device = "cpu", **slots: nn.Module) -> VAE:
    """Read a model from the folder of ``save`` or of a run; in evaluation mode.

    Args:
        path: The folder.
        device: Where the model goes.
        **slots: Modules for the parts that were of the user's own making, for example ``encoder=MyNet()``.

    Raises:
        RunError: the folder is missing, damaged, from a newer version, or its weights do not fit.
        ConfigError: a part of the user's own is not given, or there is no such device.
    """
    folder = RunFolder(path)
    where = choose_device(str(device))
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are replaced
        model = build_stored(folder, read_config(folder), **slots)
    load_module(model, load_tensors(folder.model)[0], str(folder.model))
    return model.to(where).eval()


def build_stored(folder: RunFolder, config: Mapping[str, Any], **slots: nn.Module) -> VAE:
    """Return the model that a run's configuration describes, with fresh weights.

    Args:
        folder: Where the configuration was read, for messages.
        config: What ``read_config`` gives.
        **slots: Modules for the parts that were of the user's own making.

    Raises:
        RunError: the configuration describes no model.
        ConfigError: a part of the user's own is not given.
    """
    for name, module in slots.items():
        if name not in SLOTS:
            raise ConfigError(f"load has no part {name!r}; {suggest(name, SLOTS)}")
        if not isinstance(module, nn.Module):
            raise ConfigError(f"load takes a built module for {name}; got {module!r}")
    stored = config["model"]
    for slot in SLOTS:
        described = stored[slot].values() if slot == "condition" else [stored[slot]]
        custom = next((part for part in described if part["type"] == "custom"), None)
        if custom and slot not in slots:
            raise ConfigError(
                f"{slot} of {folder.path} is your own class {custom.get('class')}; files never name code to run, so "
                f"give it a name with lowerbound.register, or in Python pass the built module: "
                f"lowerbound.load({str(folder.path)!r}, {slot}=...)"
            )
    try:
        spec = DataSpec.from_dict(config["data"]["spec"]) if config["data"] else _bare_spec(config)
        model = build_model({**stored, **slots}, stored["latent"], spec).to(getattr(torch, stored["dtype"]))
    except Exception as error:  # to numbers that make no sense a constructor may answer with anything
        why = str(error) if isinstance(error, LowerboundError) else shown(error)
        raise RunError(
            f"{folder.config} describes no model that can be built: {why}; {_own_code(config) or _RESTORE}"
        ) from error
    model.data_spec = spec if config["data"] else None
    return model


def _own_code(config: Mapping[str, Any]) -> str | None:
    """Say which files of the user's own a run needs, if any; none is run unless the user names it."""
    files = config.get("plugins")
    if not isinstance(files, list) or not files:
        return None
    return (
        f"the run was trained with {listed(files)}, in which lowerbound.register names parts of it: add "
        f"{' '.join(f'--plugin {shlex.quote(str(file))}' for file in files)} (in Python import that file first)"
    )


@dataclass
class _Slot:
    type: str


@dataclass
class _Model:
    """What a configuration says of the model, beside the options of each part."""

    latent: int | list[int]
    encoder: _Slot
    posterior: _Slot
    prior: _Slot
    decoder: _Slot
    likelihood: _Slot
    transform: _Slot
    condition: dict[str, _Slot]
    classifier: _Slot
    event_shape: list[int]
    dtype: Literal["float16", "bfloat16", "float32", "float64"]


@dataclass
class _Source:
    source: str
    options: dict[str, Any]
    spec: dict[str, Any]
    paths: dict[str, str] = dataclasses.field(default_factory=dict)
    fingerprint: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclass
class _Config:
    """The parts of ``config.json`` that make a model and find its data; others may stand beside them."""

    format: int
    model: _Model
    data: _Source | None


def read_config(folder: RunFolder | str | Path) -> dict[str, Any]:
    """Return a run's ``config.json``, brought up to the present format.

    Raises:
        RunError: it is missing, is not JSON, or was written by a newer version.
    """
    folder = folder if isinstance(folder, RunFolder) else RunFolder(folder)
    if folder.path.is_file():
        raise RunError(
            f"{folder.path} is a file, not a run's folder; data are read by lowerbound.data.load, and "
            f"`lowerbound train {folder.path}` makes a run of them"
        )
    if not folder.config.is_file():
        what = "is not a run's folder: config.json is missing" if folder.path.is_dir() else "does not exist"
        raise RunError(f"{folder.path} {what}; `lowerbound train SOURCE --out {folder.path}` makes one")
    try:
        config = json.loads(folder.config.read_text(encoding="utf-8"))
        version = config["format"]
        if isinstance(version, int) and version > FORMAT:
            raise RunError(
                f"{folder.config} has format {version}, written by lowerbound {config.get('lowerbound', '?')}; this "
                f"is lowerbound {__version__}, which reads up to format {FORMAT}: upgrade it"
            )
        config = _upgraded(config) if version == 1 else config
        TypeAdapter(_Config).validate_json(json.dumps(config), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RunError(f"{folder.config} describes no model: {where}: {first['msg']}; {_RESTORE}") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"{folder.config} is no configuration of a run ({error!r}); {_RESTORE}") from None
    if config["data"]:
        _add_streaming(**config["data"])
    return config


def _add_streaming(source: str, options: dict[str, Any], **_: Any) -> None:
    """Say of data that were read before there was streaming that they were read whole, and split accordingly."""
    if options and Path(source).suffix.lower() in (".npy", ".parquet"):
        options.setdefault("stream", False)
        options.setdefault("memory", None)


def _upgraded(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration of format 1, which knew no conditions, in the present one."""
    model = {"condition": {}, "classifier": {"type": "none"}} | config["model"]
    for side in ("encoder", "decoder"):
        if model[side]["type"] == "mlp":
            model[side] = {"injection": "concatenate"} | model[side]
    config["model"] = model
    if "training" in config:
        config["training"] = {"labelled_per_batch": 0} | config["training"]
    if data := config["data"]:
        data["options"] = {"condition": None, "observed": None, "labelled": None} | data["options"]
        data["spec"] = {"conditions": None} | data["spec"]
    return config | {"format": FORMAT}


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
    logger: Any = None,
    changed_data: bool = False,
    **settings: Any,
) -> Run:
    """Train a model, and write the run to a folder if one is named.

    Args:
        model: The model; trained in place and returned in ``run.model`` with the kept weights.
        data: The data, from ``lowerbound.data.load``.
        objective: An objective, a registered name, or a dict with a type and options; if not given what suits the
            data, with settings that suit it unless they are given (``defaults.recipe``), or the resumed run's.
        out: The run's folder. It is loadable from before the first step on; until then an older run in it stays.
        resume: Continue the run in ``out`` exactly where its last checkpoint stands; settings that are not
            given are the run's.
        overwrite: Replace another run in ``out``.
        progress: Show progress on standard error.
        callback: Called with (model, record) after each evaluation; the model has the averaged weights and is in
            evaluation mode. Training goes on as if it had not been called.
        logger: Where the records go in addition to ``metrics.jsonl``: "csv", "tensorboard", "wandb", "mlflow", a
            logger of Lightning, or a list of these.
        changed_data: Resume although the data are not those that the run was started with.
        **settings: Fields of ``Settings``: ``epochs`` or ``minutes`` (``default_epochs`` if neither is given),
            ``batch_size``, ``learning_rate``, ``seed``, ...

    Raises:
        ConfigError: an option is unknown, of a wrong type, or does not fit the length of the run.
        RunError: ``out`` holds another run.
        DataError: the run was started with other data.
        NonFiniteError: a NaN or Inf appeared.

    Example:
        >>> import lowerbound as lb
        >>> data = lb.data.load("digits")
        >>> run = fit(VAE.for_data(data, latent=2), data, epochs=1, progress=False)
        >>> run.stopped
        'finished'
    """
    if resume and (out is None or overwrite):
        raise RunError("resume needs out=, the folder of the run to continue, and excludes overwrite")
    folder = None if out is None else RunFolder(out)
    loggers = make_loggers(logger, folder and folder.path)
    old = None
    if folder and is_restarted(folder):  # after a process has died, with the words of the first start
        resume, overwrite = folder.checkpoint.is_file(), not folder.checkpoint.is_file()
    if folder and resume:
        folder.check(resume=True)  # refuses a folder without a checkpoint
        old = read_config(folder)
    given = settings if old is None else _resumed_settings(old, settings, str(out))
    if old is not None and objective is None:
        with suppress(LowerboundError):  # one of the user's own, or a file that was edited; refused below
            objective = build_objective(old.get("objective", {}))
    check_data(data)
    data = without_unseen(data)
    objective, numbers = chosen(model, data, objective, given)
    choose_device(numbers.device)
    check_start(model, data, objective, numbers)
    config = None
    if folder and old is None:
        folder.check(overwrite=overwrite)
    model.data_spec = data.spec
    if folder and os.environ.get("RANK", "0") == "0":  # of several processes, one owns the folder
        config = _config(model) | {
            "data": _describe_data(data, {} if old is None else old["data"] or {}),
            "objective": describe("objective", objective),
            "training": describe_settings(numbers),
        }
        config["plugins"] = own_files([config["model"], config["objective"]])
        if old is not None:
            _check_same_run(old, config, folder, changed_data)
    return train(
        model,
        data,
        objective,
        numbers,
        folder=folder,
        config=config,
        resume=resume,
        progress=progress,
        callback=callback,
        loggers=loggers,
    )


def _describe_data(data: Data, old: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run keeps of its data: how to read them, where they lie, and what was read."""
    named = {"source": data.spec.source} | {name: data.options.get(name) for name in _PATHS[1:]}
    paths = _resolved({k: v for k, v in named.items() if v not in (None, "array", *NAMES)})
    if paths == old.get("paths"):  # read from another working folder
        named = {"source": old["source"]} | {name: old["options"].get(name) for name in _PATHS[1:]}
    return {
        "source": named.pop("source"),
        "options": data.options | {name: value for name, value in named.items() if name in data.options},
        "spec": data.spec.to_dict(),
        "paths": paths,
        "fingerprint": fingerprint(data, Path(paths["source"]) if "source" in paths else None),
    }


def _resolved(named: Mapping[str, str]) -> dict[str, str]:
    """Return the absolute paths of what is there, of some paths by what they name."""
    found = {name: user_path(path) for name, path in named.items()}
    return {name: str(path.resolve()) for name, path in found.items() if path.exists()}


def chosen(
    model: VAE, data: Data, objective: Objective | str | dict[str, Any] | None, settings: dict[str, Any]
) -> tuple[Objective, Settings]:
    """Return the objective and the settings of a run, the usual ones where none are given.

    Raises:
        ConfigError: an option is unknown or of a wrong type.
    """
    if objective is None:
        objective, settings = recipe(data, model, settings)
    elif not isinstance(objective, Objective):
        objective = build_objective(objective)
    usual = default_epochs(len(data.train), build_settings(settings).batch_size)
    return objective, build_settings(settings, usual)


def check_start(model: VAE, data: Data, objective: Objective, settings: Settings) -> None:
    """Refuse what does not fit together, while the folder of an older run is still whole.

    The conditions of all examples are looked at, but x of the first ones only: the others may lie on disk.

    Raises:
        LowerboundError: the objective, the data or the length of the run does not fit the model.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ConfigError("there is nothing to train: no parameter of the model requires a gradient")
    if strange := {p.dtype for p in trained} - {torch.float32, torch.float64}:
        raise ConfigError(
            f"weights are trained in float32 or float64; the model has {strange.pop()}; call model.float(), and "
            "choose the type of the networks' products with precision="
        )
    steps = math.ceil(len(data.train) / settings.batch_size)
    total = None if settings.epochs is None else max(1, round(settings.epochs * steps))
    objective.check(model, Progress(0, steps, total))
    if model.data_spec is not None:
        model.data_spec.check_same(data.spec)
    for split in (data.valid, data.train):
        x, c = next(iter(split.batches(min(1024, len(split)))))
        x = x.to(model.device, model.dtype) if x.is_floating_point() else x.to(model.device)
        model.check(x, _with_labels(model, c))
        _check_conditions(model, split)
    if model.classifier is not None and not objective.sums_out_labels:
        name, label = model.label
        missing = int((data.train.condition(name) < 0).sum())
        if missing and label.null is None:
            raise ConfigError(
                f"{missing} training examples have no {name}, which {type(objective).__name__} would take for the "
                f"first class; use objective='semi_supervised', which sums it out, or leave the "
                "classifier out"
            )
    with torch.no_grad(), model.evaluating(), draws(model.device, 0):
        model(x[:2], c and {name: value[:2].to(model.device) for name, value in c.items()})


def _check_conditions(model: VAE, split: Split) -> None:
    """Raise ConfigError unless every example's condition can be embedded."""
    if model.condition is None:
        return
    for name in split.conditions:
        entry = model.condition[name]
        if len(entry.value_shape) < 3:  # of pictures, the first ones
            entry.check(_with_labels(model, {name: split.distinct(name)})[name].to(model.device), name)


def _with_labels(model: VAE, c: dict[str, Tensor] | None) -> Any:
    """Return a condition in which the label that a classifier would find is never missing."""
    if model.classifier is None or c is None or (name := model.label[0]) not in c:
        return c
    return c | {name: c[name].clamp(min=0)}


def _resumed_settings(old: dict[str, Any], given: dict[str, Any], out: str) -> dict[str, Any]:
    """Return the settings of a run that goes on: its own, but for those that may change."""
    stored, given = old.get("training"), check_settings(given)
    if not isinstance(stored, dict):
        raise RunError(f"{out} does not say how the run was trained; {_RESTORE}")
    usual = {field.name: field.default for field in dataclasses.fields(Settings)}  # of a setting named anew
    for name, value in given.items():
        has = stored.get(name, _as_json(usual[name]))
        if name not in FREE_SETTINGS and _as_json(value) != has:
            raise RunError(
                f"cannot resume {out} with {name}={value!r}: the run has {has!r}; "
                f"only {', '.join(FREE_SETTINGS)} may change"
            )
    length = {name: given.get(name) for name in ("epochs", "minutes")}
    return stored | given | (length if any(length.values()) else {})


def default_epochs(examples: int, batch_size: int) -> int:
    """Return a usual length: 50 epochs, or more where the data are so few that it would be under 4,000 steps."""
    return max(50, math.ceil(4000 / math.ceil(examples / batch_size)))


def _known_to(stored: Any, came: Any) -> Any:
    """Return ``came`` without the entries of tables that ``stored`` does not have, at any depth."""
    if isinstance(stored, dict) and isinstance(came, dict):
        return {key: _known_to(stored[key], value) for key, value in came.items() if key in stored}
    if isinstance(stored, list) and isinstance(came, list) and len(stored) == len(came):
        return [_known_to(*pair) for pair in zip(stored, came, strict=True)]
    return came


def _check_unchanged(then: Mapping[str, Any], now: Mapping[str, Any], name: str, changed_data: bool) -> None:
    """Refuse data that are not what a run was trained on, or say how they differ if that is allowed."""
    differs = difference(then, now)
    if differs is None:
        return
    what = f"{name} is not what the run was trained on: {differs}"
    if changed_data:
        warnings.warn(what, stacklevel=3)
        return
    raise DataError(
        f"{what}; restore it, name other data as SOURCE, or go on with what is there by --changed-data "
        "(changed_data=True in Python)"
    )


def _check_same_run(
    old: dict[str, Any], new: dict[str, Any], folder: RunFolder, changed_data: bool = False
) -> None:
    """Refuse to resume with another model, data or objective; where the data lie may change."""
    for section in ("model", "data", "objective"):
        came, stored = _as_json(new[section]), _as_json(old.get(section))
        if not isinstance(stored, dict):
            raise RunError(f"{folder.config} has no section {section!r}; {_RESTORE}")
        if section == "data":
            # What there was none of then, an option or an attribute, is no difference.
            usual = _as_json(USUAL) | {"split_by": "permutation"}
            stored["options"] = usual | stored["options"] | {"root": None}
            came["options"] = usual | came["options"] | {"root": None}
            came["spec"] = _known_to(stored["spec"], came["spec"]) | {"source": stored["spec"].get("source")}
            if changed_data:  # whoever has read them has said it
                came["spec"] = stored["spec"]
            elif came["source"] == stored.get("source") and _asked(came) == _asked(stored):
                _check_unchanged(stored.get("fingerprint", {}), came["fingerprint"], came["source"], False)
            for key in ("paths", "fingerprint"):
                for side in (came, stored):
                    side.pop(key, None)
        if section == "objective":
            stored = with_usual("objective", stored)
        elif section == "model":
            stored |= {slot: with_usual(slot, stored[slot]) for slot in SLOTS if slot in stored}
        for key in dict.fromkeys([*came, *stored]):
            here, there = came.get(key), stored.get(key)
            if here != there or (key in came) != (key in stored):
                raise RunError(
                    f"cannot resume {folder.path}: its {section} section differs from the one asked for, in {key!r}: "
                    f"{there!r} there, {here!r} here; start another run, or resume without changing it"
                )


def _asked(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of data that were chosen and not found."""
    return {name: value for name, value in data["options"].items() if name != "split_by"}


def _as_json(value: Any) -> Any:
    """Return a value as it comes back from a JSON file."""
    return json.loads(json.dumps(value))


def open_data(
    config: dict[str, Any],
    source: Any = None,
    *,
    changed_data: bool = False,
    unseen: Any = "refuse",
    gaps: Literal["leave out", "keep"] = "leave out",
    **options: Any,
) -> Data:
    """Load the data that a run was trained on, or another source in the same way.

    The run's own are read where they lay in training, whatever the working folder is; only if there is nothing any
    more their path is looked up from here. They are compared with what was read then.

    Args:
        config: The run's configuration.
        source: Another source; its binarisation, units, conditions and class numbers are those of the run.
        changed_data: Go on, with a warning, if the run's own data have changed since. What is split by the identity
            of its examples is cut as then: those that were there stay in their splits.
        unseen: What becomes of examples of classes that were never seen, as for ``load_like``.
        gaps: What becomes of examples of another source with missing values, if the model has never seen any: with
            "leave out" those without are left, and a warning lists the others.
        **options: What to load differently, for example ``root``.

    Raises:
        DataError: the data came from memory, so only the caller has them, they have changed, or they are not what the
            model needs.
        RunError: the configuration does not say what they are.
    """
    stored, own = config.get("data"), source is None
    others = {name for name, value in options.items() if value is not None}
    if stored is None:
        raise DataError("this model was saved without data; name a SOURCE")
    if own and stored["source"] == "array":
        raise DataError("the run was trained on an array in memory, which only you have; name a SOURCE")
    try:
        spec = DataSpec.from_dict(stored["spec"])
        known = check_data_options({k: v for k, v in stored["options"].items() if k in DATA_OPTIONS})
    except ConfigError as error:
        raise RunError(f"the run's config.json does not say what its data are: {error}; {_RESTORE}") from None
    if own:
        # Before there were hashes, examples were told apart by their places.
        keep = {"split": None, "split_by": "permutation"} | known | _found(stored)
        source = keep.pop("source")
        if others & {"split", "seed"} and keep["split_by"] != "permutation":
            del keep["split_by"]  # cut anew
    else:
        keep = _options_for(source, stored)
    chosen = {k: v for k, v in (keep | options).items() if v is not None}
    try:
        data = load_like(source, spec, unseen=unseen, **chosen)
    except ConfigError as error:
        if options or not own:
            raise
        raise RunError(
            f"the run's config.json does not say how to read its data: {error}; {_RESTORE}"
        ) from None
    data = without_unseen(data) if own else data
    if own and stored.get("fingerprint") and not others - {"root"}:
        path = user_path(source) if stored.get("paths", {}).get("source") else None
        _check_unchanged(stored["fingerprint"], fingerprint(data, path), str(source), changed_data)
    if own or gaps == "keep" or not data.spec.missing or spec.missing:
        return data
    return _without_gaps(data)


def _without_gaps(data: Data) -> Data:
    """Return the examples of which no value is missing, with a warning that lists the others; all if none is left."""
    splits = (data.train, data.valid, data.test)
    masks = [_complete(data.train)] * 3 if data.whole else [*map(_complete, splits)]
    if not all(mask.any() for mask in masks):
        return data
    kept = data.kept(masks)
    every = data.places(data.all)
    left = np.setdiff1d(every, kept.places(kept.all))
    warnings.warn(
        f"{len(left)} of the {len(every)} examples of {data.spec.source} are left out, for they have missing values, "
        f"and the model was trained on data without any: rows {listed([*left], 10)}, counted from 0; `lowerbound "
        "complete` fills them",
        stacklevel=3,
    )
    return kept


def _complete(split: Split) -> np.ndarray:
    """Return which examples of a split have all their values, (N,)."""
    found = [~x.flatten(1).isnan().any(1) for x, _ in split.batches(4096)]
    return torch.cat(found).cpu().numpy()


def _found(stored: Mapping[str, Any]) -> dict[str, str]:
    """Return where a run's data lie now: where they lay then, or else where their names lead from here."""
    found = {"source": stored["source"]}
    for name, place in stored.get("paths", {}).items():
        given = str((stored if name == "source" else stored["options"]).get(name) or place)
        here, there = user_path(given), Path(place)
        if here.exists() and (not there.exists() or here.samefile(there)):
            found[name] = given
            continue
        found[name] = place
        if here.exists():
            warnings.warn(f"{given} is here, but not the one of the run: {place} is read", stacklevel=3)
    return found


def _options_for(source: Any, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that read another source as the run's own was read."""
    options, spec = stored["options"], stored["spec"]
    keep = {name: options.get(name) for name in ("binarize", "values", "dequantize", "seed")}
    if isinstance(source, str | Path):
        path = user_path(source)
        pictures = path.suffix.lower() in SUFFIXES or (path.is_dir() and find(path) is None)
        if pictures and spec["kind"] == "image":
            channels, *size = spec["event_shape"]
            keep |= {"image_size": size, "channels": channels}
            keep |= {name: options.get(name) for name in ("crop", "frames", "background")}
        if path.suffix.lower() in (".npy", ".npz"):
            keep["axes"] = options.get("axes")
        if spec["table"] and path.name.lower().endswith(TABLE_SUFFIXES):
            keep["missing"] = options.get("missing")
        if spec["columns"] and "label" in (options.get("condition") or ()):
            keep["label_column"] = options.get("label_column")
    return keep


def _config(model: VAE) -> dict[str, Any]:
    spec, described = model.data_spec, describe_model(model)
    return {
        "format": FORMAT,
        "lowerbound": __version__,
        "model": described
        | {"event_shape": list(model.event_shape), "dtype": str(model.dtype).removeprefix("torch.")},
        "plugins": own_files(described),
        "data": None
        if spec is None
        else {"source": spec.source, "options": {"binarize": spec.binarize}, "spec": spec.to_dict()},
    }


def _bare_spec(config: Mapping[str, Any]) -> DataSpec:
    """Return a stand-in schema for a model that was built without data."""
    shape = tuple(config["model"]["event_shape"])
    return DataSpec(
        source="array", kind="image" if len(shape) == 3 else "vector", event_shape=shape, values="real"
    )
