"""From names and options to slots and back: the registry, the choice by data, validation and its messages.

A slot is chosen by a registered name with options, ``{"type": "gaussian", "scale": "learned"}``; its options are
its constructor's arguments, less those that follow from the data and the other slots (``in_shape``,
``out_shape``, ``event_shape``). A file can name nothing but what stands in ``REGISTRY``: no import path, no code.
To add a slot, write its class in one file and name it here.
"""

from __future__ import annotations

import collections.abc
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from . import conditions, likelihoods, objectives, posteriors, priors
from .data import DataSpec, Standardize
from .data import load as load_data
from .errors import ConfigError, suggest
from .model import VAE
from .nn import ENCODERS, MLP, CellDecoder, CellEncoder, ConvDecoder, ResNetDecoder
from .nn.cells import lattice, place_cells
from .objectives import schedules
from .training import Settings

REGISTRY: dict[str, dict[str, type]] = {
    "encoder": {**ENCODERS, "cells": CellEncoder},
    "decoder": {"mlp": MLP, "conv": ConvDecoder, "resnet": ResNetDecoder, "cells": CellDecoder},
    "posterior": {
        "cell_gaussian": posteriors.CellGaussian,
        "diagonal_gaussian": posteriors.DiagonalGaussian,
        "full_covariance_gaussian": posteriors.FullCovarianceGaussian,
    },
    "prior": {
        "cell": priors.CellPrior,
        "standard_normal": priors.StandardNormal,
        "conditional_gaussian": priors.ConditionalGaussian,
    },
    "likelihood": {
        "bernoulli": likelihoods.Bernoulli,
        "continuous_bernoulli": likelihoods.ContinuousBernoulli,
        "gaussian": likelihoods.Gaussian,
        "categorical": likelihoods.Categorical,
    },
    "transform": {"none": types.NoneType, "standardize": Standardize},
    "condition": {
        "label": conditions.Label,
        "vector": conditions.Vector,
        "image": conditions.Image,
        "map": conditions.Map,
        "set": conditions.PointSet,
        "observed": conditions.Observed,
    },
    "classifier": {"none": types.NoneType, **ENCODERS},
    "objective": {
        "elbo": objectives.ELBO,
        "importance_weighted": objectives.ImportanceWeighted,
        "semi_supervised": objectives.SemiSupervised,
        "switch": objectives.Switch,
    },
    "schedule": {
        "constant": schedules.Constant,
        "linear": schedules.Linear,
        "cosine": schedules.Cosine,
    },
}
SLOTS = ("encoder", "posterior", "prior", "decoder", "likelihood", "transform", "condition", "classifier")
# Arguments that follow from the data and the neighbouring slots, and so are nobody's to choose.
_DERIVED = {
    "in_shape",
    "out_shape",
    "event_shape",
    "feature_shape",
    "context",
    "mean",
    "std",
    "classes",
    "masks",
    "map_shape",
}
_SECTIONS = ("latent", "network", *SLOTS, "objective", "training", "data")
DATA_OPTIONS = tuple(name for name in inspect.signature(load_data).parameters if name != "source")
# Shapes to build a slot with for nothing but its constructor's checks, before there are data.
_STAND_INS: dict[str, dict[str, Any]] = {
    "encoder": {"in_shape": (1, 8, 8), "out_shape": (2, 2)},
    "posterior": {"event_shape": (2,)},
    "prior": {"event_shape": (2,), "context": 2},
    "decoder": {"in_shape": (2,), "out_shape": (1, 1, 8, 8)},
    "likelihood": {"event_shape": (1, 8, 8), "categories": 2},
    "transform": {"mean": torch.zeros(1), "std": torch.ones(1)},
    "classifier": {"in_shape": (1, 8, 8), "out_shape": (2,)},
    "objective": {},
}

# What the slots are that a latent with cells needs, all of them.
_WITH_CELLS = {"posterior": "cell_gaussian", "prior": "cell", "encoder": "cells", "decoder": "cells"}
_FOR_CELLS = 20_000  # examples that k-means finds centres in

Options = Mapping[str, Any]


# -------------------------------------------------------------------------------------------- names and options
def options_of(cls: type) -> dict[str, inspect.Parameter]:
    """Return the options a user may set, by name: the constructor's arguments that are not derived."""
    if cls is types.NoneType:
        return {}
    parameters = inspect.signature(cls).parameters
    return {name: p for name, p in parameters.items() if name not in _DERIVED}


def lookup(kind: str, name: Any) -> type:
    """Return the class registered for a kind of slot.

    Raises:
        ConfigError: there is no such name; the nearest one is given.
    """
    known = REGISTRY[kind]
    if not isinstance(name, str) or name not in known:
        raise ConfigError(f"there is no {kind} {name!r}; {suggest(str(name), known)}")
    return known[name]


def _unknown(of: str, name: Any, known: typing.Collection[str]) -> ConfigError:
    return ConfigError(
        f"{of} has no option {name!r}; {suggest(str(name), known) if known else 'it has none'}"
    )


def _as_options(kind: str, value: Any) -> dict[str, Any]:
    """Return a slot's choice as a dict: a bare name stands for that type with its default options."""
    if value is None:
        return {"type": "none"} if "none" in REGISTRY[kind] else {}
    if isinstance(value, str):
        return {"type": value}
    if isinstance(value, Mapping):
        return dict(value)
    raise ConfigError(
        f"{kind} is a registered name, a table with a 'type' and options, or an object; got {value!r}"
    )


def check_value(kind: str, owner: Callable[..., Any], name: str, value: Any) -> Any:
    """Return ``value`` as the type that the annotation of ``owner`` asks for; nested slots are built."""
    annotated = owner.__init__ if isinstance(owner, type) else owner
    hint = typing.get_type_hints(annotated).get(name, Any)
    for nested, base in (("schedule", schedules.Schedule), ("objective", objectives.Objective)):
        if base is hint or base in typing.get_args(hint):
            if isinstance(value, base):
                return value
            if isinstance(value, Mapping | str) or base is hint:
                return build(nested, _as_options(nested, value))
            hint = float  # what may stand in a schedule's place
    try:
        return TypeAdapter(hint).validate_json(json.dumps(value), strict=True)
    except (ValidationError, TypeError):
        words = _words(hint)
        if isinstance(value, str) and words:
            raise ConfigError(f"{kind}.{name} cannot be {value!r}; {suggest(value, words)}") from None
        raise ConfigError(f"{kind}.{name} must be {_wanted(hint)}; got {value!r}") from None


def _words(hint: Any) -> list[str]:
    """Return the words that an annotation admits."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return [word for word in arguments if isinstance(word, str)]
    return [word for argument in arguments for word in _words(argument)]


def _wanted(hint: Any) -> str:
    """Return an annotation in words, for messages."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_wanted(argument) for argument in arguments if argument is not types.NoneType)
    if origin is typing.Literal:
        return " or ".join(map(repr, arguments))
    if origin in (tuple, collections.abc.Sequence):
        many = {int: "whole numbers, like [400, 400]", float: "numbers", str: "names"}[arguments[0]]
        return f"a list of {len(arguments)} {many}" if origin is tuple else f"a list of {many}"
    plain = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
    return plain.get(hint, "a path")


def build(kind: str, options: Options, **derived: Any) -> Any:
    """Build one slot from its type and options.

    Args:
        kind: A key of ``REGISTRY``.
        options: ``type`` and options.
        **derived: Arguments that follow from the data; those the class has no use for are left out.

    Raises:
        ConfigError: unknown type or option, or a value of the wrong type.
    """
    if "type" not in options:
        raise ConfigError(f"{kind} needs a 'type'; {suggest('', REGISTRY[kind])}")
    cls = lookup(kind, options["type"])
    if cls is types.NoneType:
        return None
    arguments = {}
    for name, value in options.items():
        if name == "type":
            continue
        if name not in options_of(cls):
            raise _unknown(f"{kind} {options['type']!r}", name, options_of(cls))
        arguments[name] = check_value(kind, cls, name, value)
    accepted = inspect.signature(cls).parameters
    missing = [
        n
        for n, p in options_of(cls).items()
        if p.default is p.empty and n not in arguments and n not in derived
    ]
    if missing:
        raise ConfigError(f"{kind} {options['type']!r} needs the option {missing[0]!r}")
    return cls(**{n: v for n, v in derived.items() if n in accepted and n not in arguments}, **arguments)


def build_objective(value: str | Options) -> objectives.Objective:
    """Return the objective of a registered name, or of options; without a type they are the ELBO's."""
    return build("objective", {"type": "elbo", **_as_options("objective", value)})


def build_settings(options: Options, epochs: float = 50) -> Settings:
    """Return the settings of a run.

    Args:
        options: Fields of ``Settings``.
        epochs: Length of the run if the options give none.

    Raises:
        ConfigError: unknown name, with the nearest valid one, or wrong type or value.
    """
    checked = check_settings(options)
    if checked.get("epochs") is None and checked.get("minutes") is None:
        checked["epochs"] = epochs
    return Settings(**checked)


def describe(kind: str, slot: Any) -> dict[str, Any]:
    """Return the type and options that build ``slot`` again: the inverse of ``build``."""
    for name, cls in REGISTRY[kind].items():
        if type(slot) is cls:
            return {"type": name} | {option: _plain(getattr(slot, option)) for option in options_of(cls)}
    return {"type": "custom", "class": f"{type(slot).__module__}.{type(slot).__qualname__}"}


def _plain(value: Any) -> Any:
    """Return an option's value as JSON has it."""
    if isinstance(value, schedules.Schedule):
        return describe("schedule", value)
    if isinstance(value, objectives.Objective):
        return describe("objective", value)
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


# ------------------------------------------------------------------------------------------------------ overrides
def merge(base: Options, over: Options) -> dict[str, Any]:
    """Return ``base`` with ``over`` laid on it, section by section; a new ``type`` drops the old one's options."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        old = {"type": old} if isinstance(old, str) and isinstance(value, Mapping) else old
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            types_named = {options["type"] for options in (old, value) if "type" in options}
            keep = old if len(types_named) < 2 else {}
            merged[key] = merge(keep, value)
        else:
            merged[key] = value
    return merged


def parse_assignment(text: str) -> dict[str, Any]:
    """Return ``slot.option=value`` as a nested dict; the value is TOML, or else a plain string.

    Raises:
        ConfigError: there is no equals sign or no name.
    """
    import tomllib

    path, equals, raw = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(
            f"--set needs slot.option=value, for example decoder.hidden=[400, 400]; got {text!r}"
        )
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw.strip()
    nested: Any = value
    for key in reversed(keys):
        nested = {key: nested}
    return nested


def check_overrides(overrides: Options, where: str | None = None) -> None:
    """Refuse unknown sections, types and options, and values of a wrong type, before any data are read.

    Args:
        overrides: Sections with their options.
        where: What they come from, for the messages.

    Raises:
        ConfigError: with the nearest valid name.
    """
    try:
        if not isinstance(overrides, Mapping):
            raise ConfigError(f"a configuration is a table of sections; got {overrides!r}")
        for section, value in overrides.items():
            if section not in _SECTIONS:
                raise ConfigError(f"there is no section {section!r}; {suggest(str(section), _SECTIONS)}")
            _check_section(section, value)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}" if where else str(error)) from None


def _check_section(section: str, value: Any) -> None:
    if section in ("training", "data"):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{section} is a table of options; got {value!r}")
        check_settings(value) if section == "training" else check_data_options(value)
    elif section == "latent":
        _check_latent(value)
    elif section == "condition":
        _check_condition(value)
    elif not isinstance(value, nn.Module | objectives.Objective) or section == "network":
        _check_slot("decoder" if section == "network" else section, _as_options(section, value))


def _check_slot(kind: str, options: Options) -> None:
    """Build a slot for its checks; without a type, the options must be those of some type of that kind."""
    if "type" in options:
        # On the meta device nothing is computed or stored, however large the networks are.
        with torch.device("meta"):
            build(kind, options, **_stand_ins(kind, options))
        return None
    known = {option for cls in REGISTRY[kind].values() for option in options_of(cls)}
    for name in options:
        if name not in known:
            raise _unknown(kind, name, known)
    refusals = []
    for name, cls in REGISTRY[kind].items():
        if set(options) <= set(options_of(cls)):
            try:
                return _check_slot(kind, {"type": name, **options})
            except ConfigError as error:
                refusals.append(error)
    raise refusals[0] if refusals else ConfigError(f"no {kind} has all the options {', '.join(options)}")


def _stand_ins(kind: str, options: Options) -> dict[str, Any]:
    """Return shapes for a slot to be checked with; a latent with cells must have room for them."""
    made = dict(_STAND_INS[kind])
    cells = _cells_of(kind, options)
    if not isinstance(cells, int):
        return made
    latent = (2 + max(0, cells),)
    if options.get("between") is True:
        made["context"] = 128  # two points of as many numbers as the stand-ins have
    slot = {"encoder": {"out_shape": (2, *latent)}, "decoder": {"in_shape": latent}}
    return made | slot.get(kind, {"event_shape": latent})


def _cells_of(kind: str, options: Options) -> Any:
    """Return how many cells a slot's options ask for; None if it knows of none."""
    option = options_of(lookup(kind, options["type"])).get("cells")
    return None if option is None else options.get("cells", option.default)


def _check_condition(entries: Any) -> None:
    """Check the options of a condition's entries; what their values can be depends on the data."""
    if not isinstance(entries, Mapping):
        raise ConfigError(f"condition is a table of entries with their options; got {entries!r}")
    for name, value in entries.items():
        if isinstance(value, conditions.Condition):
            continue
        if not isinstance(value, Mapping):
            raise ConfigError(f"condition.{name} is a table of options, or a Condition; got {value!r}")
        kinds = [lookup("condition", value["type"])] if "type" in value else REGISTRY["condition"].values()
        known = {option: cls for cls in kinds for option in options_of(cls)}
        for option in value.keys() - {"type"}:
            if option not in known:
                raise _unknown(f"condition {name!r}", option, known)
            check_value(f"condition.{name}", known[option], option, value[option])


def _check_latent(latent: Any) -> int:
    if isinstance(latent, bool) or not isinstance(latent, int) or latent < 1:
        raise ConfigError(f"latent is the number of latent dimensions, a positive integer; got {latent!r}")
    return latent


def check_settings(options: Options) -> dict[str, Any]:
    """Return training options checked for their names and types.

    Raises:
        ConfigError: unknown name, with the nearest valid one, or wrong type.
    """
    return _check_all("training", Settings, [f.name for f in fields(Settings)], options)


def check_data_options(options: Options) -> dict[str, Any]:
    """Return the options of ``lowerbound.data.load`` checked for their names and types.

    Raises:
        ConfigError: unknown name, with the nearest valid one, or wrong type.
    """
    return _check_all("data", load_data, DATA_OPTIONS, options)


def _check_all(
    kind: str, owner: Callable[..., Any], known: typing.Collection[str], options: Options
) -> dict[str, Any]:
    for name in options:
        if name not in known:
            raise _unknown(kind, name, known)
    return {name: check_value(kind, owner, name, value) for name, value in options.items()}


# --------------------------------------------------------------------------------------------- choice by the data
def choose(spec: DataSpec, overrides: Options) -> dict[str, dict[str, Any]]:
    """Return every slot's type and options for data of this schema, with the user's choices laid over.

    The default for images of up to 32 x 32 grey pixels and for vectors is a multi-layer perceptron, for larger
    images a convolutional network; the likelihood follows the values: Bernoulli for bits, a Gaussian with the
    optimal σ for grey levels, a standardised Gaussian with one σ per column for tables, categorical for classes.
    A module stands as its description, which ``build`` knows only if its class is registered.

    Raises:
        ConfigError: a slot cannot go with these data or with another slot.
    """
    check_overrides(overrides)
    image, size = spec.kind == "image", spec.dimensions
    network: dict[str, Any] = {"type": "conv"}
    if not image or size <= 1024:
        network = {"type": "mlp", "hidden": [512, 512] if size > 256 else [128, 128]}
    given = _as_options("network", overrides.get("network", {}))
    network = merge({"network": network}, {"network": given})["network"]
    likelihood: dict[str, Any] = {
        "binary": {"type": "bernoulli"},
        "unit": {"type": "gaussian", "scale": "optimal"},
        "real": {"type": "gaussian", "scale": "optimal" if image else "per_dimension"},
        "categorical": {"type": "categorical", "categories": spec.categories},
    }[spec.values]
    chosen: dict[str, dict[str, Any]] = {
        "encoder": network,
        "posterior": {"type": "diagonal_gaussian"},
        "prior": {"type": "standard_normal"},
        "decoder": network,
        "likelihood": likelihood,
        "transform": {"type": "none"},
        "condition": {},
        "classifier": {"type": "none"},
    }
    for entry in spec.conditions or ():
        derived: dict[str, Any] = {"event_shape": list(entry.event_shape), "missing": entry.missing}
        if entry.kind == "label":
            derived = {"classes": list(entry.classes or ()), "missing": entry.missing}
        elif entry.kind == "observed":
            derived = {"event_shape": list(spec.event_shape), "masks": entry.masks}
        chosen["condition"][entry.name] = {"type": entry.kind, **derived}
        if entry.kind != "label":
            # A class leaves the codes free to mean the same under each; what fixes more of x says where they lie.
            chosen["prior"] = {"type": "conditional_gaussian"}
    for slot in SLOTS:
        if slot == "condition":
            chosen[slot] = _with_conditions(spec, chosen[slot], overrides.get(slot, {}))
            continue
        if slot == "transform" and spec.values == "real" and chosen["likelihood"]["type"] == "gaussian":
            chosen["transform"] = {"type": "standardize"}
        if slot in overrides:
            value = overrides[slot]
            options = describe(slot, value) if isinstance(value, nn.Module) else _as_options(slot, value)
            chosen = merge(chosen, {slot: options})
    if chosen["likelihood"]["type"] == "categorical":
        chosen["likelihood"].setdefault("categories", spec.categories or 2)
    if chosen["classifier"]["type"] != "none":
        # Where a label is missing it is summed out, which leaves nothing for a learned vector to stand in for.
        for entry in chosen["condition"].values():
            if entry["type"] == "label":
                entry["missing"] = False
    _check_together(spec, chosen)
    return chosen


def _with_conditions(spec: DataSpec, chosen: Mapping[str, Options], over: Options) -> dict[str, Any]:
    """Return every entry of the data's condition with the user's options laid over it."""
    for name, value in over.items():
        if name not in chosen:
            have = suggest(str(name), chosen) if chosen else "they have none; load them with condition="
            raise ConfigError(f"{spec.source} has no condition {name!r}; {have}")
        kind = describe("condition", value)["type"] if isinstance(value, nn.Module) else value.get("type")
        fits = ("image", "map") if chosen[name]["type"] == "image" else (chosen[name]["type"],)
        if kind not in (None, "custom", *fits):
            raise ConfigError(
                f"the condition {name!r} of {spec.source} is a {chosen[name]['type']}, not a {kind}"
            )
    options = {name: value for name, value in over.items() if not isinstance(value, nn.Module)}
    # What the data say of an entry, its shape for one, holds for any type that it is read as.
    said = {
        name: {key: value for key, value in entry.items() if key in _DERIVED or key == "missing"}
        for name, entry in chosen.items()
    }
    return {name: said[name] | dict(entry) for name, entry in merge(chosen, options).items()}


def _check_together(spec: DataSpec, chosen: Mapping[str, Options]) -> None:
    """Refuse combinations that cannot work, with the reason."""
    for side in ("encoder", "decoder", "classifier"):
        if chosen[side]["type"] in ("conv", "resnet") and spec.kind != "image":
            raise ConfigError(
                f"{side} {chosen[side]['type']!r} needs images (C, H, W), but {spec.source} has vectors of "
                f"{spec.event_shape}; use 'mlp'"
            )
    _check_cells(chosen)
    likelihood, transform = chosen["likelihood"]["type"], chosen["transform"]["type"]
    fits = {
        "bernoulli": ("binary",),
        "continuous_bernoulli": ("binary", "unit"),
        "gaussian": ("binary", "unit", "real"),
        "categorical": ("categorical", "binary"),
    }
    if likelihood in fits and spec.values not in fits[likelihood]:
        usual = [name for name, values in fits.items() if spec.values in values]
        raise ConfigError(
            f"likelihood {likelihood!r} cannot score the {spec.values} values of {spec.source}"
            + (", unless they are binarised (binarize='dynamic')" if likelihood == "bernoulli" else "")
            + f"; use {' or '.join(usual)}"
        )
    if transform != "none" and likelihood in fits and likelihood != "gaussian":
        raise ConfigError(
            f"transform {transform!r} makes real numbers, which likelihood {likelihood!r} cannot score"
        )


def _check_cells(chosen: Mapping[str, Options]) -> None:
    """Refuse a latent with cells that some slot knows nothing of, or takes for another."""
    slots = [slot for slot, name in _WITH_CELLS.items() if chosen[slot]["type"] == name]
    if not slots:
        return
    if any(chosen[slot]["type"] not in (name, "custom") for slot, name in _WITH_CELLS.items()):
        came = ", ".join(f"{slot} {chosen[slot]['type']!r}" for slot in _WITH_CELLS)
        raise ConfigError(
            "cells need four slots together: posterior 'cell_gaussian', prior 'cell', encoder 'cells' and decoder "
            f"'cells'; got {came}"
        )
    counts = {slot: _cells_of(slot, chosen[slot]) for slot in slots}
    if len(set(counts.values())) > 1:
        raise ConfigError(
            f"the slots disagree on the number of cells: {', '.join(f'{s} {n}' for s, n in counts.items())}; set "
            "the option cells of all four"
        )
    likelihood = chosen["likelihood"]["type"]
    if "decoder" in slots and likelihood not in ("gaussian", "custom"):
        raise ConfigError(
            f"decoder 'cells' gives means near the centres of cells, which likelihood {likelihood!r} does not read; "
            "use 'gaussian'"
        )


def recipe(spec: DataSpec, model: VAE) -> tuple[objectives.Objective, dict[str, Any]]:
    """Return the objective and the training settings that suit the data, where the user has chosen no objective.

    A model with a classifier learns from labelled and unlabelled examples together.

    Models of binary data are compared by their log-likelihood, and there the importance-weighted bound gains the
    most: on MNIST a nat over the evidence lower bound at equal time, chosen on the validation split, as were the
    numbers for multi-layer perceptrons. With real values it would fit σ to draws that it hardly weighs.
    """
    if model.classifier is not None:
        augment = 1.0 if spec.kind == "image" else 0.0
        # The bound says little of the classifier: the weights to keep are the last ones.
        return objectives.SemiSupervised(augment=augment), {"labelled_per_batch": 50, "keep": "last"}
    if spec.values != "binary":
        return objectives.ELBO(), {}
    chosen = {"batch_size": 256, "learning_rate": 3e-3, "weight_decay": 0.06}
    settings = chosen if isinstance(model.encoder, MLP) else {}
    return objectives.ImportanceWeighted(samples=8, gradient="dreg", kept=2), settings


def default_latent(spec: DataSpec) -> int:
    """Return a usual number of latent dimensions: an eighth of the data's, between 2 and 40."""
    return max(2, min(40, spec.dimensions // 8))


def build_model(chosen: Mapping[str, Any], latent: int, spec: DataSpec) -> VAE:
    """Build the model from every slot's options; slots that are modules already are taken as they are."""

    def slot(kind: str, **derived: Any) -> Any:
        value = chosen[kind]
        return value if isinstance(value, nn.Module) else build(kind, value, **derived)

    likelihood = slot("likelihood", event_shape=spec.event_shape)
    posterior = slot("posterior", event_shape=(latent,))
    unit = torch.ones(spec.event_shape)
    condition = _build_condition(chosen["condition"], likelihood.feature_shape)
    context = 0 if condition is None else condition.context
    last = None if condition is None else condition.items()[-1][1]
    map_shape = last.map_shape if isinstance(last, conditions.Map) else None
    labels = [] if condition is None else condition.labels
    model = VAE(
        encoder=slot(
            "encoder", in_shape=likelihood.feature_shape, out_shape=posterior.input_shape, context=context
        ),
        posterior=posterior,
        prior=slot("prior", event_shape=posterior.event_shape, context=context, map_shape=map_shape),
        decoder=slot(
            "decoder",
            in_shape=posterior.event_shape,
            out_shape=likelihood.input_shape,
            context=context,
            map_shape=map_shape,
        ),
        likelihood=likelihood,
        transform=slot("transform", mean=0 * unit, std=unit),
        condition=condition,
        classifier=slot(
            "classifier",
            in_shape=likelihood.feature_shape,
            out_shape=(len(labels[0][1].classes) if labels else 1,),
        ),
    )
    model.data_spec = spec
    return model


def _build_condition(
    chosen: Mapping[str, Any], feature_shape: tuple[int, ...]
) -> conditions.Conditions | None:
    """Build the entries of a condition; those that are modules already are taken as they are."""
    entries = {}
    for name, value in chosen.items():
        if not isinstance(value, nn.Module):
            derived = {key: value[key] for key in value if key in _DERIVED} | {"feature_shape": feature_shape}
            options = {key: value[key] for key in value if key not in _DERIVED}
            value = build("condition", options, **derived)
        entries[name] = value
    # Last comes the map: there, networks that know of places look for it.
    ordered = sorted(entries.items(), key=lambda item: isinstance(item[1], conditions.Map))
    return conditions.Conditions(dict(ordered)) if entries else None


def model_for_data(data: Any, latent: int | None = None, **slots: Any) -> VAE:
    """Choose, build and initialise a model for ``data``; the body of ``VAE.for_data``."""
    known = ("network", *SLOTS)
    for name in slots:
        if name not in known:
            raise ConfigError(f"VAE.for_data has no argument {name!r}; {suggest(name, ('latent', *known))}")
    spec = data.spec
    chosen: dict[str, Any] = choose(spec, slots)
    modules = {name: value for name, value in slots.items() if isinstance(value, nn.Module)}
    entries = {n: v for n, v in slots.get("condition", {}).items() if isinstance(v, nn.Module)}
    chosen["condition"] = chosen["condition"] | entries
    if latent is not None:
        _check_latent(latent)
        if "posterior" in modules and modules["posterior"].event_shape != (latent,):
            raise ConfigError(
                f"latent={latent}, but the posterior has latent shape {modules['posterior'].event_shape}; "
                "leave one out"
            )
    with_cells = chosen["posterior"]["type"] == _WITH_CELLS["posterior"]
    cells = _cells_of("posterior", chosen["posterior"]) if with_cells else 0
    model = build_model(chosen | modules, latent or default_latent(spec) + cells, spec)
    for name, entry in model.condition.items() if model.condition is not None else ():
        if entry.fitted:
            entry.fit(data.train.distinct(name))
    mean, std = data.mean, data.std
    if isinstance(model.transform, Standardize) and "transform" not in modules:
        model.transform = Standardize(mean, std)
        mean, std = torch.zeros_like(mean), torch.ones_like(std)
    encoder, decoder = model.encoder, model.decoder
    if isinstance(encoder, CellEncoder) and isinstance(decoder, CellDecoder):
        # Those of the user's own making have their centres already.
        if not {"encoder", "decoder"} & modules.keys():
            _place_cells(model, encoder, decoder, data)
    start = model.likelihood.initial_output(mean, std)
    set_bias = getattr(model.decoder, "set_output_bias", None)
    if set_bias is not None and "decoder" not in modules:
        set_bias(start)
    return model


def _place_cells(model: VAE, encoder: CellEncoder, decoder: CellDecoder, data: Any) -> None:
    """Cut the space of the data into cells: evenly where a map has a place for each, else by k-means.

    A map is taken to span the range of the data; where it spans another, ``nn.cells.place_cells`` says so.

    Raises:
        ConfigError: there are fewer different examples than cells, or a map and no points in its plane.
    """
    index = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[:_FOR_CELLS]
    x = torch.cat([x for x, _ in data.train.select(index.numpy()).batches(1024)])
    u = (x if model.transform is None else model.transform(x)).flatten(1).cpu()
    if decoder.between:
        # The centres go with the condition.
        centres, reach = decoder.centres, u.std(0) / 2
    elif decoder.map_shape is not None:
        if u.shape[1] != 2:
            raise ConfigError(f"cells on a map need data (x, y); {data.spec.source} has {u.shape[1]} numbers")
        counts = decoder.map_shape[:0:-1]
        low, high = u.amin(0), u.amax(0)
        centres = lattice(low.tolist(), high.tolist(), counts)
        reach = (high - low) / torch.tensor(counts)
    else:
        if encoder.cells > len(different := u.unique(dim=0)):
            raise ConfigError(
                f"{encoder.cells} cells are more than the {len(different)} different examples; use fewer"
            )
        from sklearn.cluster import KMeans

        fitted = KMeans(encoder.cells, n_init=1, random_state=0)  # pyright: ignore[reportArgumentType]
        fitted.fit(u.numpy())
        centres, reach = torch.from_numpy(fitted.cluster_centers_), u.std(0) / 2
    place_cells(encoder, decoder, centres, torch.where(reach > 0, reach, 1.0))


def describe_model(model: VAE) -> dict[str, Any]:
    """Return what ``build_model`` needs to build ``model`` again, JSON-able."""
    if len(model.latent_shape) != 1:
        raise ConfigError(f"a model with latent shape {model.latent_shape} cannot be described yet")
    slots = {slot: describe(slot, getattr(model, slot)) for slot in SLOTS if slot != "condition"}
    entries = {} if model.condition is None else dict(model.condition.items())
    described = {
        name: describe("condition", entry)
        | {
            key: _plain(getattr(entry, key))
            for key in inspect.signature(type(entry)).parameters
            if key in _DERIVED
        }
        for name, entry in entries.items()
    }
    return {"latent": model.latent_shape[0], **slots, "condition": described}


def describe_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings as JSON has them."""
    return {name: _plain(value) for name, value in asdict(settings).items()}
