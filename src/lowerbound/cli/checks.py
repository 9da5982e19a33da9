"""What is wrong with a command line, all of it, before torch is imported; and the command that was meant."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError, closest
from ..names import Mistake, Range, ends, mistakes, nested, options_in, parse_axis, words
from .options import DATASETS

# What each of train's own options stands for in a configuration, as --set and files name it.
FLAGS: dict[str, tuple[str, ...]] = {
    "latent": ("latent",),
    "network": ("network.type",),
    "beta": ("objective.beta",),
    "epochs": ("training.epochs",),
    "minutes": ("training.minutes",),
    "lr": ("training.learning_rate",),
    "batch_size": ("training.batch_size",),
    "patience": ("training.patience",),
    "precision": ("training.precision",),
    "device": ("training.device",),
    "seed": ("training.seed", "data.seed"),
    "binarize": ("data.binarize",),
    "condition": ("data.condition",),
    "observed": ("data.observed",),
    "columns": ("data.columns",),
    "label": ("data.label_column",),
    "missing": ("data.missing",),
    "image_size": ("data.image_size",),
    "schema": ("data.schema",),
    "root": ("data.root",),
}
_OF = {path: name for name, paths in reversed(FLAGS.items()) for path in paths}
_RUN_FILES = ("config.json", "model.safetensors", "metrics.jsonl", "checkpoint")
_LAUNCHERS = ("TORCHELASTIC_RUN_ID", "LOWERBOUND_LAUNCH")  # which take up a run of their own


class Mistakes(ConfigError):
    """Everything that is wrong with a command line.

    Attributes:
        all: One by one.
    """

    def __init__(self, found: Sequence[Mistake]) -> None:
        super().__init__("\n".join(mistake.message for mistake in found))
        self.all = tuple(found)


def told(found: Sequence[Mistake], arguments: Sequence[str]) -> str:
    """Return what to say of mistakes: a line each, and the command that was meant if that is known of all."""
    lines = [mistake.message for mistake in found]
    if len(lines) > 1:
        lines = [f"{len(lines)} things are wrong with this command:", *(f"  - {line}" for line in lines)]
    meant = list(arguments)
    for mistake in found:
        if mistake.right is None:
            return "\n".join(lines)
        meant = [_replaced(argument, mistake.wrong, mistake.right) for argument in meant]
    return "\n".join([*lines, f"try: lowerbound {shlex.join(meant)}"] if meant != [*arguments] else lines)


def _replaced(argument: str, wrong: str, right: str) -> str:
    """Return an argument with the right name in the place of the wrong one: all of it, or one side of its =."""
    name, equals, value = argument.partition("=")
    if argument == wrong:
        return right
    if equals and name == wrong:
        return f"{right}={value}"
    return f"{name}={right}" if equals and value == wrong else argument


def of_files(given: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield which of the files and folders that a command names are not there, or are in the way.

    Args:
        given: The command's parameters by name; all commands call the same thing by the same name.
    """
    if (run := given.get("run")) is not None and (message := _no_run(Path(run))):
        yield Mistake(message, "", None)
    source = given.get("source")
    if source is not None and source not in DATASETS and not given.get("resume") and not _exists(source):
        near = _beside(source)
        hint = f"; did you mean {near!r}?" if near else ""
        message = f"{source!r} is neither a data set ({', '.join(DATASETS)}) nor a file or folder{hint}"
        yield Mistake(message, source, near)
    for name, what in (("config", "configuration"), ("schema", "schema")):
        path = given.get(name)
        if path is not None and not Path(path).is_file():
            near = _beside(str(path))
            hint = f"; did you mean {near!r}?" if near else ""
            why = "it is a folder" if Path(path).is_dir() else "No such file or directory"
            yield Mistake(f"cannot read the {what} {path}: {why}{hint}", str(path), near)
    for path in given.get("plugin") or ():
        if not path.is_file():
            yield Mistake(f"--plugin {path}: there is no such file", str(path), _beside(str(path)))


def _exists(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # no path at all: its reader says why
        return True


def _beside(path: str) -> str | None:
    """Return the file, folder or data set whose name is nearest to that of a path that does not exist."""
    place = Path(path)
    try:
        there = {str(place.with_name(name)) for name in os.listdir(place.parent)}
    except (OSError, ValueError):
        return None
    return closest(path, sorted(there | set(DATASETS)), 0.75)


def _no_run(run: Path) -> str | None:
    """Say why this is no folder of a run, or return None."""
    if run.is_file():
        return f"{run} is a file; RUN is the folder that `lowerbound train` writes, and data come after it"
    if (run / "config.json").is_file():
        return None
    what = "is not a run's folder: config.json is missing" if run.is_dir() else "does not exist"
    return f"{run} {what}; `lowerbound train SOURCE --out {run}` makes one"


def of_train(given: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield what is wrong with what train is asked for, as far as it can be told without the data."""
    if given["source"] is None and not given["resume"]:
        yield Mistake("name the data to train on, for example `lowerbound train digits`", "", None)
    if given["epochs"] is not None and given["minutes"] is not None:
        message = "a run's length is either --epochs or --minutes; got both"
        yield Mistake(message, "", None)
    if given["changed_data"] and not given["resume"]:
        message = "--changed-data is about the data of a run that goes on; it needs --resume"
        yield Mistake(message, "", None)
    out = given["out"]
    if given["resume"] and (out is None or given["overwrite"]):
        message = "--resume needs --out, the folder of the run to continue, and excludes --overwrite"
        yield Mistake(message, "", None)
    present = [] if out is None else [name for name in _RUN_FILES if (out / name).exists()]
    if present and not (given["resume"] or given["overwrite"] or any(map(os.environ.get, _LAUNCHERS))):
        message = (
            f"{out} holds another run ({', '.join(present[:3])}{', ...' * (len(present) > 3)}); "
            "choose another folder with --out, continue that run with --resume, or replace it with --overwrite"
        )
        yield Mistake(message, "", None)
    from .train import layers

    try:
        found = layers(given)
    except ConfigError as error:
        if given["config"] is None or Path(given["config"]).is_file():  # else it has been told
            yield Mistake(str(error), "", None)
        return
    flags = {
        name: value for name, value in found.pop()[1].items() if name == "network"
    }  # others were checked one by one
    yield from _in_layers([*found, ("the command line", flags)], given)


def of_sweep(given: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield what is wrong with what a sweep is to try, as far as it can be told without the data."""
    from .train import from_file

    try:
        axes = dict(map(parse_axis, given["set_"] or ()))
        tried = [
            ("--set", nested(key, value))
            for key, values in axes.items()
            for value in (ends(values) if isinstance(values, Range) else values)
        ]
        layers = [*from_file(given["config"]), *tried]
    except ConfigError as error:
        if given["config"] is None or Path(given["config"]).is_file():  # else it has been told
            yield Mistake(str(error), "", None)
        return
    yield from _in_layers(layers, given)


def _in_layers(layers: Sequence[tuple[str, Any]], given: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield what is wrong in choices by where they stand, once each."""
    if not given.get("plugin"):  # whose names are known when it has been run
        found = (
            m._replace(message=f"{where}: {m.message}") for where, layer in layers for m in mistakes(layer)
        )
        yield from dict.fromkeys(found)


def layer_of_flags(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration that train's own options stand for, those that are given."""
    from ..names import merge

    layer: dict[str, Any] = {}
    for name, paths in FLAGS.items():
        value = given.get(name)
        for path in paths if value is not None else ():
            layer = merge(layer, nested(path, str(value) if isinstance(value, Path) else value))
    if dropped := given.get("drop"):
        layer = merge(
            layer, {"data": {"schema": _without(words(dropped), layer.get("data", {}).get("schema"))}}
        )
    return layer


def _without(dropped: Sequence[str], schema: str | None) -> Any:
    """Return a schema in which some columns are no data, laid over that of a file."""
    if schema is None:
        return dict.fromkeys(dropped, "ignored")
    try:
        columns = json.loads(Path(schema).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read the schema {schema}: {error}") from None
    ignored = [{"name": name, "kind": "ignored"} for name in dropped]
    return (
        [*columns, *ignored]
        if isinstance(columns, list)
        else {**columns, **dict.fromkeys(dropped, "ignored")}
    )


def in_flags(message: str, only: Sequence[str] | None = None) -> str:
    """Return a message in which options of data and training are named as on the command line, not as in Python.

    Args:
        message: The message.
        only: The options that the command has; all if not given.
    """
    sections = {name: section for section in ("training", "data") for name in options_in(section)}
    sections = sections if only is None else {name: sections[name] for name in only}
    value = r"""'[^']*'|"[^"]*"|\[[^\]]*\]|\([^)]*\)|[\w.+-]*\w"""
    return re.sub(
        rf"(?<![\w.-])({'|'.join(sections)})=({value})?",
        lambda found: _as_flag(sections[found[1]], found[1], found[2], only is not None),
        message,
    )


def _as_flag(section: str, name: str, value: str | None, own: bool) -> str:
    path = f"{section}.{name}"
    known = _OF.get(path, name if own else None)
    flag = f"--set {path}" if known is None else f"--{known.replace('_', '-')}"
    if value is None:
        return f"{flag}=..." if known is None else flag
    plain = re.sub(r"[\[\]()'\"]", "", value).replace(", ", ",")
    return f"{flag}={plain}" if known is None else f"{flag} {plain}"
