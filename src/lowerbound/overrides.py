"""What a user chooses, in layers: presets, files, flags and ``--set``, laid over each other and checked.

A choice is a table of sections, ``{"latent": 8, "encoder": {"type": "mlp"}, "training": {"epochs": 3}}``. All that
can be wrong without the data is refused before they are read.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import torch
from torch import nn

from .conditions import Condition
from .data import load as load_data
from .errors import ConfigError
from .names import merge, mistakes, parse_assignment
from .registry import (
    DERIVED,
    ON_REQUEST,
    REGISTRY,
    SLOTS,
    Options,
    as_options,
    build,
    check_all,
    check_value,
    lookup,
    options_of,
    plain,
    shown,
    unknown_option,
    wanted,
)
from .shapes import event_shape_of
from .training import Settings

__all__ = [
    "DATA_OPTIONS",
    "FROM_DATA",
    "all_names",
    "build_settings",
    "check_data_options",
    "check_overrides",
    "check_settings",
    "describe_settings",
    "latent_shape_of",
    "merge",
    "parse_assignment",
]

DATA_OPTIONS = tuple(name for name in inspect.signature(load_data).parameters if name != "source")
# Options that the data give a value to, where the user does not; each with one to check the others with.
FROM_DATA: dict[str, dict[str, Any]] = {"likelihood": {"categories": 2, "parts": [{}] * 64}}
_LARGE = 2**16
_SECTIONS = ("latent", "network", *SLOTS, "objective", "training", "data")


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
            raise ConfigError(f"a configuration is a table of sections; got {shown(overrides)}")
        for section, value in overrides.items():
            if section not in _SECTIONS:
                raise ConfigError(next(mistakes({str(section): value})).message)
            _check_section(section, value)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}" if where else str(error)) from None


def _check_section(section: str, value: Any) -> None:
    if section in ("training", "data"):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{section} is a table of options; got {shown(value)}")
        check_settings(value) if section == "training" else check_data_options(value)
    elif section == "latent":
        latent_shape_of(value)
    elif section == "condition":
        _check_condition(value)
    elif not isinstance(value, nn.Module) or section == "network":
        _check_slot("decoder" if section == "network" else section, as_options(section, value))


def _check_slot(kind: str, options: Options) -> None:
    """Build a slot for its checks; without a type, the options must be those of some type of that kind."""
    if "type" in options:
        known = options_of(kind, lookup(kind, options["type"]))
        given = {name: value for name, value in FROM_DATA.get(kind, {}).items() if name in known}
        shapes = ON_REQUEST | DERIVED.get(kind, {})
        refusals = [_refusal(kind, given | dict(options), s) for s in (shapes, shapes | _large(kind))]
        # What is refused for one size only, or in words that name it, depends on the data.
        if refusals[0] is not None and str(refusals[0]) == str(refusals[1]):
            raise refusals[0]
        return None
    known = {option for cls in REGISTRY[kind].values() for option in options_of(kind, cls)}
    for name in options:
        if name not in known:
            raise unknown_option(kind, name, known)
    refusals = []
    for name, cls in REGISTRY[kind].items():
        if set(options) <= set(options_of(kind, cls)):
            try:
                return _check_slot(kind, {"type": name, **options})
            except ConfigError as error:
                refusals.append(error)
    raise refusals[0] if refusals else ConfigError(f"no {kind} has all the options {', '.join(options)}")


def _refusal(kind: str, options: Options, shapes: Mapping[str, Any]) -> ConfigError | None:
    try:
        # On the meta device nothing is computed or stored, however large the networks are.
        with torch.device("meta"):
            build(kind, options, **shapes)
    except ConfigError as error:
        return error
    except NotImplementedError:  # a layer of another library that does not know this device
        return None
    return None


def _large(kind: str) -> dict[str, Any]:
    """Return other shapes to check a slot with: a large latent, and a context."""
    latent = (_LARGE,)
    side = {"encoder": {"out_shape": (2, *latent)}, "decoder": {"in_shape": latent}}
    return {"latent_shape": latent, "context": 128, **side.get(kind, {"event_shape": latent})}


def _check_condition(entries: Any) -> None:
    """Check the options of a condition's entries; what their values can be depends on the data."""
    if not isinstance(entries, Mapping):
        raise ConfigError(f"condition is a table of entries with their options; got {entries!r}")
    for name, value in entries.items():
        if isinstance(value, Condition):
            continue
        if not isinstance(value, Mapping):
            raise ConfigError(f"condition.{name} is a table of options, or a Condition; got {shown(value)}")
        kinds = [lookup("condition", value["type"])] if "type" in value else REGISTRY["condition"].values()
        known = {option: cls for cls in kinds for option in options_of("condition", cls)}
        for option in value.keys() - {"type"}:
            if option not in known:
                raise unknown_option(f"condition {name!r}", option, known)
            check_value(f"condition.{name}", known[option], option, value[option])


def latent_shape_of(latent: Any) -> tuple[int, ...]:
    """Return the shape of a code from the number of its dimensions, or from its sizes.

    Raises:
        ConfigError: it is neither.
    """
    try:
        return event_shape_of(plain(latent), "latent")
    except ConfigError:
        raise ConfigError(
            "latent is the number of latent dimensions, or a list of sizes: each a positive integer; "
            f"got {shown(latent)}"
        ) from None


def check_settings(options: Options) -> dict[str, Any]:
    """Return training options checked for their names and types.

    Raises:
        ConfigError: unknown name, with the nearest valid one, or wrong type.
    """
    return check_all("training", Settings, [f.name for f in fields(Settings)], options)


def check_data_options(options: Options) -> dict[str, Any]:
    """Return the options of ``lowerbound.data.load`` checked for their names and types.

    Raises:
        ConfigError: unknown name, with the nearest valid one, or wrong type.
    """
    return check_all("data", load_data, DATA_OPTIONS, options)


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


def describe_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings as JSON has them."""
    return plain(asdict(settings))


def all_names() -> dict[str, dict[str, dict[str, list[str]]]]:
    """Return what ``names.json`` holds: of every section its types, with their options and what these may be.

    Sections without types have one of no name.
    """
    kinds = ("network", *SLOTS, "objective")
    owners: dict[str, dict[str, Any]] = {"training": {"": Settings}, "data": {"": load_data}}
    owners |= {kind: REGISTRY["decoder" if kind == "network" else kind] for kind in kinds}
    names = {Settings: [field.name for field in fields(Settings)], load_data: DATA_OPTIONS}
    return {"latent": {}} | {
        section: {
            name: {option: wanted(owner, option) for option in names.get(owner) or options_of(kind, owner)}
            for name, owner in types.items()
        }
        for section, types in owners.items()
        for kind in ["decoder" if section == "network" else section]
    }
