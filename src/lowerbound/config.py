"""From names and options to slots and back: the registry, the choice by data, validation and its messages.

A slot is chosen by a registered name with options, ``{"type": "gaussian", "scale": "learned"}``; its options are
its constructor's arguments, less those that follow from the data and the other slots (``in_shape``,
``out_shape``, ``event_shape``). A file can name nothing but what stands in ``REGISTRY``: no import path, no code.
To add a slot, write its class in one file and name it here.
"""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from . import likelihoods, objectives, posteriors, priors
from .data import DataSpec, Standardize
from .errors import ConfigError, suggest
from .model import VAE
from .nn import MLP, ConvDecoder, ConvEncoder, ResNetDecoder, ResNetEncoder
from .objectives import schedules
from .training import Settings

REGISTRY: dict[str, dict[str, type]] = {
    "encoder": {"mlp": MLP, "conv": ConvEncoder, "resnet": ResNetEncoder},
    "decoder": {"mlp": MLP, "conv": ConvDecoder, "resnet": ResNetDecoder},
    "posterior": {
        "diagonal_gaussian": posteriors.DiagonalGaussian,
        "full_covariance_gaussian": posteriors.FullCovarianceGaussian,
    },
    "prior": {"standard_normal": priors.StandardNormal},
    "likelihood": {
        "bernoulli": likelihoods.Bernoulli,
        "continuous_bernoulli": likelihoods.ContinuousBernoulli,
        "gaussian": likelihoods.Gaussian,
        "categorical": likelihoods.Categorical,
    },
    "transform": {"none": types.NoneType, "standardize": Standardize},
    "objective": {
        "elbo": objectives.ELBO,
        "importance_weighted": objectives.ImportanceWeighted,
        "switch": objectives.Switch,
    },
    "schedule": {
        "constant": schedules.Constant,
        "linear": schedules.Linear,
        "cosine": schedules.Cosine,
    },
}
SLOTS = ("encoder", "posterior", "prior", "decoder", "likelihood", "transform")
# Arguments that follow from the data and the neighbouring slots, and so are nobody's to choose.
_DERIVED = {"in_shape", "out_shape", "event_shape", "mean", "std"}
_SECTIONS = ("latent", "network", *SLOTS, "objective", "training", "data")
DATA_OPTIONS = (
    "root binarize labels split seed image_size crop channels dequantize on_corrupt columns label_column values"
).split()

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
    if name not in known:
        raise ConfigError(f"there is no {kind} {name!r}; {suggest(str(name), known)}")
    return known[name]


def _as_options(kind: str, value: Any) -> dict[str, Any]:
    """Return a slot's choice as a dict: a bare name stands for that type with its default options."""
    if value is None:
        return {"type": "none"} if kind == "transform" else {}
    if isinstance(value, str):
        return {"type": value}
    if isinstance(value, Mapping):
        return dict(value)
    raise ConfigError(f"{kind} is a registered name, or a table with a 'type' and options; got {value!r}")


def _check_value(kind: str, cls: type, name: str, value: Any) -> Any:
    """Return ``value`` as the type that the constructor's annotation asks for; nested slots are built."""
    hint = typing.get_type_hints(cls.__init__ if "__init__" in vars(cls) else cls).get(name, Any)
    for nested, base in (("schedule", schedules.Schedule), ("objective", objectives.Objective)):
        if base is hint or base in typing.get_args(hint):
            if isinstance(value, base):
                return value
            if isinstance(value, Mapping) or base is hint:
                return build(nested, _as_options(nested, value))
            hint = float  # what may stand in a schedule's place
    try:
        return TypeAdapter(hint).validate_json(json.dumps(value), strict=True)
    except (ValidationError, TypeError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        wanted = (
            getattr(hint, "__name__", str(hint))
            if not typing.get_args(hint)
            else str(hint).replace("typing.", "")
        )
        raise ConfigError(f"{kind}.{name} is of type {wanted}; got {value!r} ({reason.lower()})") from None


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
            raise ConfigError(
                f"{kind} {options['type']!r} has no option {name!r}; {suggest(name, options_of(cls))}"
            )
        arguments[name] = _check_value(kind, cls, name, value)
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
    """Return the objective of a registered name, or of a dict with a type and options."""
    return build("objective", _as_options("objective", value))


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
            keep = old if value.get("type", old.get("type")) == old.get("type") else {}
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


def check_overrides(overrides: Options, where: str = "the configuration") -> None:
    """Refuse unknown sections, types and options, and values of a wrong type, before any data are read.

    Raises:
        ConfigError: with the nearest valid name.
    """
    for section, value in overrides.items():
        if section not in _SECTIONS:
            raise ConfigError(f"{where} has no section {section!r}; {suggest(section, _SECTIONS)}")
        if section == "training":
            check_settings(value)
        elif section == "data":
            for name in value:
                if name not in DATA_OPTIONS:
                    raise ConfigError(f"data has no option {name!r}; {suggest(name, DATA_OPTIONS)}")
        elif section == "latent":
            _check_latent(value)
        elif section == "network":
            lookup("decoder", _as_options("network", value).get("type", "mlp"))
            _check_section("decoder", _as_options("network", value))
        elif isinstance(value, str | Mapping) or value is None:
            _check_section(section, _as_options(section, value))


def _check_section(kind: str, options: Options) -> None:
    """Check a slot's options; without a type they must be options of some type of that kind."""
    if "type" in options:
        classes = [lookup(kind, options["type"])]
    else:
        classes = list(REGISTRY[kind].values())
    known = {name for cls in classes for name in options_of(cls)}
    for name, value in options.items():
        if name == "type":
            continue
        if name not in known:
            of = f"{kind} {options['type']!r}" if "type" in options else kind
            raise ConfigError(f"{of} has no option {name!r}; {suggest(name, known)}")
        owners = [cls for cls in classes if name in options_of(cls)]
        _check_value(kind, owners[0], name, value)


def _check_latent(latent: Any) -> int:
    if isinstance(latent, bool) or not isinstance(latent, int) or latent < 1:
        raise ConfigError(f"latent is the number of latent dimensions, a positive integer; got {latent!r}")
    return latent


def check_settings(options: Options) -> dict[str, Any]:
    """Return training options checked for their names and types.

    Raises:
        ConfigError: unknown name, with the nearest valid one, or wrong type.
    """
    known = {f.name for f in fields(Settings)}
    checked = {}
    for name, value in options.items():
        if name not in known:
            raise ConfigError(f"training has no option {name!r}; {suggest(name, known)}")
        checked[name] = _check_value("training", Settings, name, value)
    return checked


# --------------------------------------------------------------------------------------------- choice by the data
def choose(spec: DataSpec, overrides: Options) -> dict[str, dict[str, Any]]:
    """Return every slot's type and options for data of this schema, with the user's choices laid over.

    The default for images of up to 32 x 32 grey pixels and for vectors is a multi-layer perceptron, for larger
    images a convolutional network; the likelihood follows the values: Bernoulli for bits, a Gaussian with the
    optimal σ for grey levels, a standardised Gaussian with one σ per column for tables, categorical for classes.

    Raises:
        ConfigError: a slot cannot go with these data or with another slot.
    """
    check_overrides(overrides)
    image, size = spec.kind == "image", spec.dimensions
    network: dict[str, Any] = {"type": "mlp" if size <= 1024 else "conv"}
    if network["type"] == "mlp":
        network["hidden"] = [512, 512] if size > 256 else [128, 128]
    network = merge(network, _as_options("network", overrides.get("network", {})))
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
        "transform": {"type": "standardize" if spec.values == "real" else "none"},
    }
    for slot in SLOTS:
        value = overrides.get(slot)
        if slot in overrides and not isinstance(value, nn.Module):
            chosen[slot] = merge(chosen[slot], _as_options(slot, value))
    _check_together(spec, chosen)
    return chosen


def _check_together(spec: DataSpec, chosen: Mapping[str, Options]) -> None:
    """Refuse combinations that cannot work, with the reason."""
    for side in ("encoder", "decoder"):
        if chosen[side].get("type") in ("conv", "resnet") and spec.kind != "image":
            raise ConfigError(
                f"{side} {chosen[side]['type']!r} needs images (C, H, W), but {spec.source} has vectors of "
                f"{spec.event_shape}; use 'mlp'"
            )
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
    if transform != "none" and likelihood != "gaussian":
        raise ConfigError(
            f"transform {transform!r} makes real numbers, which likelihood {likelihood!r} cannot score"
        )


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
    model = VAE(
        encoder=slot("encoder", in_shape=likelihood.feature_shape, out_shape=posterior.input_shape),
        posterior=posterior,
        prior=slot("prior", event_shape=posterior.event_shape),
        decoder=slot("decoder", in_shape=posterior.event_shape, out_shape=likelihood.input_shape),
        likelihood=likelihood,
        transform=slot("transform", mean=0 * unit, std=unit),
    )
    model.data_spec = spec
    return model


def model_for_data(data: Any, latent: int | None = None, **slots: Any) -> VAE:
    """Choose, build and initialise a model for ``data``; the body of ``VAE.for_data``."""
    known = ("network", *SLOTS)
    for name in slots:
        if name not in known:
            raise ConfigError(f"VAE.for_data has no argument {name!r}; {suggest(name, ('latent', *known))}")
    spec = data.spec
    latent = default_latent(spec) if latent is None else _check_latent(latent)
    chosen: dict[str, Any] = choose(spec, slots)
    modules = {name: value for name, value in slots.items() if isinstance(value, nn.Module)}
    model = build_model(chosen | modules, latent, spec)
    mean, std = data.mean, data.std
    if isinstance(model.transform, Standardize) and "transform" not in modules:
        model.transform = Standardize(mean, std)
        mean, std = torch.zeros_like(mean), torch.ones_like(std)
    start = model.likelihood.initial_output(mean, std)
    set_bias = getattr(model.decoder, "set_output_bias", None)
    if set_bias is not None and "decoder" not in modules:
        set_bias(start)
    return model


def describe_model(model: VAE) -> dict[str, Any]:
    """Return what ``build_model`` needs to build ``model`` again, JSON-able."""
    if len(model.latent_shape) != 1:
        raise ConfigError(f"a model with latent shape {model.latent_shape} cannot be described yet")
    slots = {slot: describe(slot, getattr(model, slot)) for slot in SLOTS}
    return {"latent": model.latent_shape[0], **slots}


def describe_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings as JSON has them."""
    return {name: _plain(value) for name, value in asdict(settings).items()}
