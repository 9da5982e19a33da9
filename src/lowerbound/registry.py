"""Names and classes: what a file can name, with which options, and how a part is read back.

A part of a model is chosen by a registered name with options, ``{"type": "gaussian", "scale": "learned"}``; these are
its constructor's arguments, less those that follow from the data and the other parts (``DERIVED``). What is saved of
a part is every option, read from the attribute of the same name. A file can name nothing but what stands in
``REGISTRY``: no import path, no code. A class of your own is added by ``register``.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import json
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from torch import nn

from . import conditions, likelihoods, objectives, posteriors, priors
from .data import Standardize
from .errors import ConfigError, suggest
from .nn import (
    ENCODERS,
    MLP,
    AffineMLP,
    CellDecoder,
    CellEncoder,
    ConvDecoder,
    PartsDecoder,
    PartsEncoder,
    ResNetDecoder,
)
from .objectives import schedules
from .shapes import event_shape_of

REGISTRY: dict[str, dict[str, type]] = {
    "encoder": {**ENCODERS, "affine_mlp": AffineMLP, "cells": CellEncoder, "parts": PartsEncoder},
    "decoder": {
        "mlp": MLP,
        "affine_mlp": AffineMLP,
        "conv": ConvDecoder,
        "resnet": ResNetDecoder,
        "cells": CellDecoder,
        "parts": PartsDecoder,
    },
    "posterior": {
        "cell_gaussian": posteriors.CellGaussian,
        "diagonal_gaussian": posteriors.DiagonalGaussian,
        "full_covariance_gaussian": posteriors.FullCovarianceGaussian,
        "von_mises_fisher": posteriors.VonMisesFisher,
        "low_rank_gaussian": posteriors.LowRankGaussian,
        "student_t": posteriors.StudentT,
        "iaf": posteriors.IAF,
        "coupling": posteriors.Coupling,
        "sylvester": posteriors.Sylvester,
        "planar": posteriors.Planar,
        "deterministic": posteriors.Deterministic,
        "vq": posteriors.VectorQuantised,
        "gumbel_vq": posteriors.GumbelQuantised,
        "fsq": posteriors.FiniteScalar,
        "gumbel_softmax": posteriors.GumbelSoftmax,
        "poincare": posteriors.Poincare,
        "experts": posteriors.Experts,
        "gamma": posteriors.Gamma,
        "hamiltonian": posteriors.Hamiltonian,
        "riemannian": posteriors.Riemannian,
        "product": posteriors.Product,
        "ladder": posteriors.Ladder,
        "conv_ladder": posteriors.ConvLadder,
        "two_stage": posteriors.TwoStage,
    },
    "prior": {
        "cell": priors.CellPrior,
        "standard_normal": priors.StandardNormal,
        "conditional_gaussian": priors.ConditionalGaussian,
        "flow": priors.Flow,
        "gaussian_mixture": priors.GaussianMixture,
        "vamp": priors.VampPrior,
        "maf": priors.MAF,
        "nsf": priors.NSF,
        "sphere": priors.Sphere,
        "codebook": priors.Codebook,
        "lattice": priors.Lattice,
        "categorical": priors.Categorical,
        "poincare": priors.Poincare,
        "gamma": priors.Gamma,
        "momentum": priors.Momentum,
        "product": priors.Product,
        "ladder": priors.Ladder,
        "conv_ladder": priors.ConvLadder,
        "two_stage": priors.TwoStage,
    },
    "likelihood": {
        "bernoulli": likelihoods.Bernoulli,
        "continuous_bernoulli": likelihoods.ContinuousBernoulli,
        "gaussian": likelihoods.Gaussian,
        "categorical": likelihoods.Categorical,
        "columns": likelihoods.Columns,
        "parts": likelihoods.Parts,
        "laplace": likelihoods.Laplace,
        "student_t": likelihoods.StudentT,
        "log_cosh": likelihoods.LogCosh,
        "discretised_logistic": likelihoods.DiscretisedLogistic,
        "beta": likelihoods.Beta,
        "log_normal": likelihoods.LogNormal,
        "gamma": likelihoods.Gamma,
        "von_mises": likelihoods.VonMises,
        "ordinal": likelihoods.Ordinal,
        "censored_gaussian": likelihoods.CensoredGaussian,
        "poisson": likelihoods.Poisson,
        "negative_binomial": likelihoods.NegativeBinomial,
        "multinomial": likelihoods.Multinomial,
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
        "capacity": objectives.Capacity,
        "total_correlation": objectives.TotalCorrelation,
        "factor_vae": objectives.FactorVAE,
        "dip": objectives.DIP,
        "info_vae": objectives.InfoVAE,
        "wasserstein": objectives.Wasserstein,
        "multiply_weighted": objectives.MultiplyWeighted,
        "combined": objectives.Combined,
        "renyi": objectives.Renyi,
        "regularised": objectives.Regularised,
        "adversarial": objectives.Adversarial,
        "vae_gan": objectives.VAEGAN,
        "structural_similarity": objectives.StructuralSimilarity,
        "deep_features": objectives.DeepFeatures,
        "switch": objectives.Switch,
        "subsets": objectives.Subsets,
        "mvtcae": objectives.MVTCAE,
    },
    "schedule": {
        "constant": schedules.Constant,
        "linear": schedules.Linear,
        "cosine": schedules.Cosine,
    },
}
SLOTS = ("encoder", "posterior", "prior", "decoder", "likelihood", "transform", "condition", "classifier")
# Arguments that follow from the data and the neighbouring slots, and so are nobody's to choose; each with a value to
# build a slot with for nothing but its constructor's checks, before there are data.
DERIVED: dict[str, dict[str, Any]] = {
    "encoder": {"in_shape": (1, 8, 8), "out_shape": (2, 2), "context": 0},
    "posterior": {"event_shape": (2,)},
    "prior": {"event_shape": (2,), "context": 2, "map_shape": None},
    "decoder": {"in_shape": (2,), "out_shape": (1, 1, 8, 8), "context": 0, "map_shape": None},
    "likelihood": {"event_shape": (1, 8, 8)},
    "transform": {"mean": torch.zeros(1), "std": torch.ones(1)},
    "condition": {"event_shape": None, "classes": None, "masks": None, "feature_shape": None},
    "classifier": {"in_shape": (1, 8, 8), "out_shape": (2,), "context": 0},
}
# What a class of any kind can have as well, if its class attribute ``derived`` names it.
ON_REQUEST: dict[str, Any] = {
    "data_shape": (1, 8, 8),
    "feature_shape": (1, 8, 8),
    "latent_shape": (2,),
    "context": 2,
    "map_shape": None,
    "layout": None,
}
_BASES: dict[str, type] = {
    "posterior": posteriors.Posterior,
    "prior": priors.Prior,
    "likelihood": likelihoods.Likelihood,
    "condition": conditions.Condition,
    "objective": objectives.Objective,
    "schedule": schedules.Schedule,
}
_NESTED = ("schedule", "objective", "posterior", "prior")  # kinds that may be an option of another one

Options = Mapping[str, Any]


def register(kind: str, name: str, cls: type) -> None:
    """Give a class a name, by which options, files and saved runs know it.

    Args:
        kind: A kind of part, "prior" for one, or "objective" or "schedule".
        name: Its name.
        cls: The class. Its options are the arguments of its constructor that neither ``DERIVED`` has for the kind
            nor its class attribute ``derived`` names; each is kept as an attribute of the same name, as it was given.

    Raises:
        ConfigError: there is no such kind, another class has the name, or the constructor cannot be read back.

    Example:
        >>> from lowerbound.priors import StandardNormal
        >>> class Wide(StandardNormal):
        ...     def __init__(self, event_shape, std: float = 1.0):
        ...         super().__init__(event_shape)
        ...         self.std = std
        >>> register("prior", "wide", Wide)
        >>> build("prior", {"type": "wide", "std": 3.0}, event_shape=(2,)).std
        3.0
    """
    if kind not in REGISTRY:
        raise ConfigError(f"there is no kind of part {kind!r}; {suggest(str(kind), REGISTRY)}")
    if not isinstance(name, str) or name in ("", "none", "custom"):
        raise ConfigError(f"a name is a word other than 'none' and 'custom'; got {name!r}")
    base = _BASES.get(kind, nn.Module)
    if not isinstance(cls, type) or not issubclass(cls, base):
        raise ConfigError(f"{kind} {name!r} must be a class of {base.__name__}; got {cls!r}")
    old = REGISTRY[kind].get(name)
    # The same class written once more, as in a notebook's cell that is run again, takes its own place.
    if old is not None and (old.__module__, old.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ConfigError(
            f"the {kind} {name!r} is {old.__module__}.{old.__qualname__} already; choose another name"
        )
    _check_constructor(kind, cls)
    REGISTRY[kind][name] = cls


def own_files(described: Any) -> list[str]:
    """Return the Python files of the user's own classes that a description names, as far as they came from files."""
    named = set(_types(described))
    found: dict[str, None] = {}
    for classes in REGISTRY.values():
        for name in named & classes.keys():
            module = sys.modules.get(classes[name].__module__)
            if not classes[name].__module__.startswith((f"{__package__}.", "builtins")):
                if file := getattr(module, "__file__", None):
                    found[str(Path(file).resolve())] = None
    return list(found)


def _types(described: Any) -> Iterator[str]:
    """Yield every type that a description names, at any depth."""
    if isinstance(described, Mapping):
        if isinstance(kind := described.get("type"), str):
            yield kind
        for value in described.values():
            yield from _types(value)
    elif isinstance(described, list):
        for value in described:
            yield from _types(value)


def _check_constructor(kind: str, cls: type) -> None:
    """Refuse a class whose arguments cannot be said in a file, or are not named one by one."""
    what = f"{kind} {cls.__name__} cannot be read back from a file: its argument"
    unknown = getattr(cls, "derived", frozenset()) - ON_REQUEST.keys()
    if unknown:
        raise ConfigError(
            f"{kind} {cls.__name__} asks for {min(unknown)!r} by its attribute derived; "
            f"there are {', '.join(ON_REQUEST)}"
        )
    try:
        hints = _hints(cls)
    except NameError as error:
        raise ConfigError(f"the annotations of {kind} {cls.__name__} cannot be read: {error}") from None
    for name, parameter in options_of(kind, cls).items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ConfigError(f"{what} {parameter} has no name of its own; name every option")
        try:
            if _nested(hints.get(name, Any)) is None:
                TypeAdapter(hints.get(name, Any))
        except PydanticUserError:
            raise ConfigError(
                f"{what} {name!r} is a {hints[name]}; options are numbers, words, true or false, and lists of these"
            ) from None


def options_of(kind: str, cls: type) -> dict[str, inspect.Parameter]:
    """Return the options a user may set, by name: the constructor's arguments that are not derived."""
    if cls is types.NoneType:
        return {}
    derived = DERIVED.get(kind, {}).keys() | getattr(cls, "derived", frozenset())
    return {name: p for name, p in inspect.signature(cls).parameters.items() if name not in derived}


def lookup(kind: str, name: Any) -> type:
    """Return the class registered for a kind of part.

    Raises:
        ConfigError: there is no such name; the nearest one is given.
    """
    known = REGISTRY[kind]
    if not isinstance(name, str) or name not in known:
        raise ConfigError(f"there is no {kind} {shown(name)}; {suggest(str(name), known)}")
    return known[name]


def unknown_option(of: str, name: Any, known: Collection[str]) -> ConfigError:
    """Return the error for an option that there is not."""
    return ConfigError(
        f"{of} has no option {name!r}; {suggest(str(name), known) if known else 'it has none'}"
    )


def as_options(kind: str, value: Any) -> dict[str, Any]:
    """Return a part's choice as a dict: a bare name stands for that type with its default options.

    Raises:
        ConfigError: it is no choice.
    """
    if value is None:
        return {"type": "none"} if "none" in REGISTRY[kind] else {}
    if isinstance(value, str):
        return {"type": value}
    if isinstance(value, Mapping):
        return dict(value)
    raise ConfigError(
        f"{kind} is a registered name, a table with a 'type' and options, or an object; got {shown(value)}"
    )


def build(kind: str, options: Options, **derived: Any) -> Any:
    """Build one part from its type and options.

    Args:
        kind: A key of ``REGISTRY``.
        options: ``type`` and options.
        **derived: Arguments that follow from the data; those that do not for this class are left out.

    Raises:
        ConfigError: unknown type or option, a value of the wrong type, or a class that does not keep its options.
    """
    if "type" not in options:
        raise ConfigError(f"{kind} needs a 'type'; {suggest('', REGISTRY[kind])}")
    cls = lookup(kind, options["type"])
    if cls is types.NoneType:
        return None
    known = options_of(kind, cls)
    arguments = {}
    for name, value in options.items():
        if name == "type":
            continue
        if name not in known:
            raise unknown_option(f"{kind} {options['type']!r}", name, known)
        arguments[name] = check_value(kind, cls, name, value, derived)
    parameters = inspect.signature(cls).parameters
    derived = {name: v for name, v in derived.items() if name in parameters and name not in known}
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in arguments | derived:
            what = "option" if name in known else "argument"
            raise ConfigError(f"{kind} {options['type']!r} needs the {what} {name!r}")
    slot = cls(**derived, **arguments)
    kept = describe(kind, slot)
    for name, value in arguments.items():
        # Otherwise another slot would come back from the file, and nobody would notice.
        if kept[name] != plain(value):
            raise ConfigError(
                f"{kind} {options['type']!r} was built with {name}={value!r} but keeps {kept[name]!r} as its "
                f"attribute {name!r}; let the class keep what it was given"
            )
    return slot


def build_objective(value: str | Options) -> objectives.Objective:
    """Return the objective of a registered name, or of options; without a type they are the ELBO's."""
    return build("objective", {"type": "elbo", **as_options("objective", value)})


def describe(kind: str, slot: Any, derived: bool = False) -> dict[str, Any]:
    """Return the type and options that build ``slot`` again, as JSON has them: the inverse of ``build``.

    Args:
        kind: A key of ``REGISTRY``.
        slot: The object; one of a class without a name is described as "custom".
        derived: Say the derived arguments of the constructor as well.

    Raises:
        ConfigError: a registered class does not keep one of its options as an attribute that a file can say.
    """
    for name, cls in REGISTRY[kind].items():
        if type(slot) is cls:
            named = inspect.signature(cls).parameters if derived else options_of(kind, cls)
            return {"type": name} | {option: _kept(kind, slot, option) for option in named}
    return {"type": "custom", "class": f"{type(slot).__module__}.{type(slot).__qualname__}"}


def with_usual(kind: str, options: Any) -> Any:
    """Return the options of a part, as a file has them, with the usual values of those that it does not say.

    A file that was written before an option was there does not say it. What describes no part stays as it is.
    """
    name = options.get("type") if isinstance(options, Mapping) else None
    cls = REGISTRY[kind].get(name) if isinstance(name, str) else None
    if cls is None:
        return options
    found = dict(options)
    for option, parameter in options_of(kind, cls).items():
        if option not in found and parameter.default is not parameter.empty:
            found[option] = plain(parameter.default)
        elif option in found and (nested := _nested(_hints(cls).get(option, Any))) is not None:
            found[option] = with_usual(nested, found[option])
    return found


def _kept(kind: str, slot: Any, option: str) -> Any:
    """Return the value of an option, as JSON has it."""
    try:
        value = plain(getattr(slot, option))
        json.dumps(value)
    except (AttributeError, TypeError):
        raise ConfigError(
            f"{kind} {type(slot).__name__} does not keep its argument {option!r}: a file needs the value it was "
            f"given as the attribute {option!r}; got {getattr(slot, option, 'no such attribute')!r}"
        ) from None
    return value


def plain(value: Any) -> Any:
    """Return a value as JSON has it: a numpy number is a number, a schedule the options that build it."""
    for kind in _NESTED:
        if isinstance(value, _BASES[kind]):
            shape = plain(value.event_shape) if kind in ("posterior", "prior") else ()
            return describe(kind, value) | (
                {"latent": shape[0] if len(shape) == 1 else shape} if shape else {}
            )
    if isinstance(value, nn.ModuleDict):
        value = dict(value.items())
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {name: plain(v) for name, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, tuple | list) else value


# ------------------------------------------------------------------------------------------------ checks of values
def shown(value: Any) -> str:
    """Return a value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def check_all(
    kind: str, owner: Callable[..., Any], known: Collection[str], options: Options
) -> dict[str, Any]:
    """Return the arguments of ``owner`` checked for their names and types.

    Raises:
        ConfigError: unknown name, with the nearest valid one, or wrong type.
    """
    for name in options:
        if name not in known:
            raise unknown_option(kind, name, known)
    return {name: check_value(kind, owner, name, value) for name, value in options.items()}


def check_value(
    kind: str, owner: Callable[..., Any], name: str, value: Any, derived: Options = types.MappingProxyType({})
) -> Any:
    """Return ``value`` as the type that the annotation of ``owner`` asks for; nested parts are built.

    Args:
        kind: Of ``owner``, for messages.
        owner: Class or function.
        name: Of the argument.
        value: What was given.
        derived: What nested slots are built with, beside their options.

    Raises:
        ConfigError: it is of another type.
    """
    hint = _hints(owner).get(name, Any)
    nested = _nested(hint)
    if nested is not None:
        base = _BASES[nested]
        if isinstance(value, base):
            return value
        if typing.get_origin(hint) is collections.abc.Mapping:
            return _blocks(f"{kind}.{name}", nested, value, derived)
        if isinstance(value, list | tuple) and "Sequence" in str(hint):
            return [one if isinstance(one, base) else _one(kind, nested, name, one) for one in value]
        if isinstance(value, Mapping | str) or base is hint:
            return build(nested, as_options(nested, value))
        hint = float  # what may stand in a schedule's place
    value = plain(value)
    try:
        return TypeAdapter(hint).validate_json(json.dumps(value), strict=True)
    except (ValidationError, TypeError, RecursionError):
        words = list(_words(hint))
        if isinstance(value, str) and words:
            raise ConfigError(f"{kind}.{name} cannot be {shown(value)}; {suggest(value, words)}") from None
        raise ConfigError(f"{kind}.{name} must be {' or '.join(_wanted(hint))}; got {shown(value)}") from None


def wanted(owner: Callable[..., Any], name: str) -> list[str]:
    """Return what an argument may be, in words; nothing if not all of it can be said."""
    hint = _hints(owner).get(name, Any)
    return [] if _nested(hint) else [*_wanted(hint)]


def _one(kind: str, nested: str, name: str, value: Any) -> Any:
    """Return one of several: a nested slot, or a number in its place."""
    if isinstance(value, Mapping | str):
        return build(nested, as_options(nested, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{kind}.{name} must be numbers or a {nested} each; got {shown(value)}")
    return float(value)


def _blocks(what: str, nested: str, value: Any, derived: Options) -> dict[str, Any]:
    """Return nested slots by name, each built for its own ``latent``.

    Raises:
        ConfigError: it is no table of such slots.
    """
    if isinstance(value, nn.ModuleDict):
        value = dict(value.items())
    if not isinstance(value, Mapping):
        raise ConfigError(f"{what} is a table of {nested}s by name; got {shown(value)}")
    blocks = {}
    for name, one in value.items():
        if not isinstance(one, _BASES[nested]):
            options = as_options(nested, one)
            if "latent" not in options:
                raise ConfigError(f"{what}.{name} needs 'latent', the number of its dimensions")
            shape = event_shape_of(plain(options.pop("latent")), "latent")
            one = build(nested, options, **{**derived, "event_shape": shape})
        blocks[str(name)] = one
    return blocks


def _hints(owner: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of a constructor's or a function's arguments."""
    # Those of a dataclass hold each field's in the module of the class that has it, where its names are known.
    of = owner.__init__ if isinstance(owner, type) and not dataclasses.is_dataclass(owner) else owner
    return typing.get_type_hints(of)


def _nested(hint: Any) -> str | None:
    """Return the kind of part that an annotation admits, if it does."""
    return next((k for k in _NESTED if _BASES[k] is hint or _BASES[k] in typing.get_args(hint)), None)


def _words(hint: Any) -> Iterator[str]:
    """Yield the words that an annotation admits."""
    for argument in typing.get_args(hint):
        if typing.get_origin(hint) is not typing.Literal:
            yield from _words(argument)
        elif isinstance(argument, str):
            yield argument


def _wanted(hint: Any) -> Iterator[str]:
    """Yield what an annotation admits, in words, for messages."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        for argument in arguments:
            yield from _wanted(argument) if argument is not types.NoneType else ()
    elif origin is typing.Literal:
        yield from map(repr, arguments)
    elif origin in (tuple, list, collections.abc.Sequence):
        each = {int: "whole numbers, like [400, 400]", float: "numbers", str: "names"}
        many = each.get(arguments[0], "values")
        fixed = origin is tuple and Ellipsis not in arguments
        yield f"a list of {len(arguments)} {many}" if fixed else f"a list of {many}"
    else:
        plain_types = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
        yield plain_types.get(hint, "a path" if "Path" in str(hint) else f"a {hint}")
