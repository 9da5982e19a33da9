"""What a configuration can name, known without torch: a typing error is answered in a fraction of a second.

``names.json`` has every section with its options by type and what these may be, read off the registry by
``python tests/test_docs.py``. What values mean together, and what is registered later, ``overrides`` checks.
"""

from __future__ import annotations

import csv
import functools
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .errors import ConfigError, brief, closest, suggest

Options = Mapping[str, Any]
_RANGE = re.compile(r"(?P<low>[-+.\de]+)\.\.(?P<high>[-+.\de]+)(?::(?P<scale>log|linear))?", re.I)
_LISTS = tuple(
    f"data.{name}" for name in ("columns", "missing", "condition", "observed", "split", "image_size")
)


class Mistake(NamedTuple):
    """What is wrong with a name.

    Attributes:
        message: What there is not, and what is near.
        wrong: The name as it came, with dots.
        right: The nearest name, with dots; None if there is none.
    """

    message: str
    wrong: str
    right: str | None


@dataclass(frozen=True)
class Range:
    """Numbers between two others, both included.

    Attributes:
        low: The least.
        high: The greatest.
        log: Drawn evenly by their logarithm.
        whole: Whole numbers only.
    """

    low: float
    high: float
    log: bool
    whole: bool


def merge(base: Options, over: Options) -> dict[str, Any]:
    """Return ``base`` with ``over`` laid on it, section by section; a new ``type`` drops the old one's options."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        old = {"type": old} if isinstance(old, str) and isinstance(value, Mapping) else old
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            same = "type" not in old or "type" not in value or old["type"] == value["type"]
            merged[key] = merge(old if same else {}, value)
        else:
            merged[key] = value
    return merged


def parse_assignment(text: str) -> dict[str, Any]:
    """Return ``part.option=value`` as a nested dict.

    The value is TOML; or else words or numbers with commas between them, a list; or else a plain word.

    Raises:
        ConfigError: there is no equals sign or no name.
    """
    path, equals, raw = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(
            f"--set needs part.option=value, for example decoder.hidden=400,400; got {brief(text, 200)}"
        )
    try:
        value = _value(raw.strip())
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"--set cannot read the value of {path.strip()!r}: {error}") from None
    return nested(path.strip(), value)


def _value(raw: str, whole: bool = True) -> Any:
    try:
        parsed = tomllib.loads(f"value = {raw}")
    except tomllib.TOMLDecodeError:
        entries = words(raw) if whole else [raw]
        return raw if entries == [raw] else [_value(entry, whole=False) for entry in entries]
    if len(parsed) > 1:
        raise ConfigError(f"--set takes one assignment at a time; got {brief(raw, 200)}")
    return parsed["value"]


def words(text: str) -> list[str]:
    """Return the words of a list like ``a,b``, or ``a,`` of one; a word that has a comma stands in double quotes.

    What looks like TOML and is not, as ``[a,b``, is one word.
    """
    if "," not in text or text.lstrip()[:1] in ("[", "{", "(", "'"):
        return [text]
    found = [word.strip() for word in next(csv.reader([text], skipinitialspace=True))]
    return found if found[-1] else found[:-1]


def nested(path: str, value: Any) -> dict[str, Any]:
    """Return the table of tables in which ``value`` has this name with dots."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def parse_axis(text: str) -> tuple[str, list[Any] | Range]:
    """Return a key and its values, of ``objective.beta=1,2,4`` or ``training.learning_rate=1e-4..1e-2``.

    A range is logarithmic if its ends have a ratio of 10 or more; ``:log`` or ``:linear`` behind it says else.
    What is one value is a list of one, and so is a list that an option of the data takes.

    Raises:
        ConfigError: a value cannot be read, or a range is empty.
    """
    key, equals, raw = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ConfigError(f"--set needs KEY=VALUES, like objective.beta=1,2,4; got {text[:100]!r}")
    if match := _RANGE.fullmatch(raw.strip()):
        try:
            low, high = float(match["low"]), float(match["high"])
        except ValueError:
            raise ConfigError(f"{key}: {raw} is no range; write LOW..HIGH, like 1e-4..1e-2") from None
        if not (low < high and math.isfinite(high - low)):
            raise ConfigError(f"{key}: the range {raw} is empty; write the smaller number first")
        log = match["scale"] == "log" if match["scale"] else low > 0 and high >= 10 * low
        if log and low <= 0:
            raise ConfigError(f"{key}: a logarithmic range begins above 0; got {raw}")
        return key, Range(low, high, log, not re.search(r"[.e]", match["low"] + match["high"], re.I))
    parts = [raw] if key in _LISTS else _parts(raw)
    if ".." in raw and not key.startswith("data."):
        raise ConfigError(f"{key}: {raw[:100]} is no range; write LOW..HIGH, like 1e-4..1e-2")
    return key, [
        functools.reduce(dict.__getitem__, key.split("."), parse_assignment(f"{key}={part}"))
        for part in parts
    ]


def _parts(raw: str) -> list[str]:
    """Return what stands between commas that no bracket or quote holds."""
    parts, depth, quote = [""], 0, ""
    for letter in raw:
        quote = "" if letter == quote else letter if not quote and letter in "\"'" else quote
        depth += 0 if quote else (letter in "[{") - (letter in "]}")
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part.strip()] or [raw]


def ends(values: Range) -> list[Any]:
    """Return the least and the greatest of a range."""
    return [int(v) if values.whole else v for v in (values.low, values.high)]


@functools.cache
def known() -> dict[str, dict[str, dict[str, list[str]]]]:
    """Return each section's types with their options and what these may be; training has one without a name."""
    return json.loads(Path(__file__).with_name("names.json").read_text(encoding="utf-8"))


def options_in(section: str) -> list[str]:
    """Return the options of a section, of all its types."""
    return [*dict.fromkeys(option for options in known()[section].values() for option in options)]


def mistakes(choices: Options) -> Iterator[Mistake]:
    """Yield what is named and does not exist, and values that cannot be meant."""
    sections = known()
    for section, value in choices.items():
        if section not in sections:
            yield _mistake(f"there is no section {section!r}", section, section, sections)
        elif section == "latent":
            if isinstance(value, int) and value < 1:
                message = f"latent is the number of latent dimensions, a positive integer; got {value}"
                yield Mistake(message, "", None)
        elif not isinstance(value, Mapping):
            if "" not in sections[section] and isinstance(value, str):
                yield from _of_type(section, {"type": value})
        elif section == "condition":
            every = options_in(section)
            for name, entry in value.items():
                for option in entry if isinstance(entry, Mapping) else ():
                    if option not in [*every, "type"]:
                        where = f"{section}.{name}"
                        yield _mistake(
                            f"{where} has no option {option!r}", f"{where}.{option}", option, every
                        )
        else:
            found = [*_of_type(section, value)]
            yield from found or (_of_settings(value) if section == "training" else ())


def _of_type(section: str, options: Options) -> Iterator[Mistake]:
    types = known()[section]
    kind = options.get("type", "" if "" in types else None)
    if kind is not None and (not isinstance(kind, str) or kind not in types):
        if isinstance(kind, str):
            yield _no_word(f"there is no {section} {brief(kind)}", kind, types)
        return
    there = options_in(section) if kind is None else [*types[kind]]
    for option, value in options.items():
        if option not in there and (option != "type" or kind == ""):
            of = f"{section} {kind!r}" if kind else section
            yield _mistake(f"{of} has no option {option!r}", f"{section}.{option}", option, there, section)
        elif option in there:
            yield from _of_value(
                f"{section}.{option}",
                value,
                [t[option] for name, t in types.items() if option in t and kind in (None, name)],
            )


def _of_value(name: str, value: Any, wanted: list[list[str]]) -> Iterator[Mistake]:
    """Yield what is wrong with a value that no type of its section takes."""
    if any(not one or any(_fits(value, words) for words in one) for one in wanted):
        return
    every = [*dict.fromkeys(words for one in wanted for words in one)]
    if isinstance(value, str) and (choices := [words[1:-1] for words in every if words[0] == "'"]):
        yield _no_word(f"{name} cannot be {brief(value)}", value, choices)
    else:
        yield Mistake(f"{name} must be {' or '.join(every)}; got {brief(value)}", "", None)


def _fits(value: Any, words: str) -> bool:
    """Whether a value is what words say; nothing, and words for no plain type, always are."""
    if words[0] == "'" or value is None:
        return value in (None, words[1:-1])
    kinds: dict[str, Any] = {
        "true or false": bool, "a whole number": int, "a number": int | float, "a word": str, "a list": list
    }  # fmt: skip
    kind = kinds.get("a list" if words.startswith("a list of ") else words)
    return kind is None or (isinstance(value, kind) and isinstance(value, bool) == (kind is bool))


def _of_settings(options: Options) -> Iterator[Mistake]:
    from .settings import Settings

    given = {name: value for name, value in options.items() if value is not None}
    try:
        Settings(**({} if {"epochs", "minutes"} & given.keys() else {"epochs": 1}), **given)
    except ConfigError as error:
        yield Mistake(str(error), "", None)


def _no_word(message: str, value: str, choices: Any) -> Mistake:
    return Mistake(f"{message}; {suggest(value, choices)}", value, closest(value, choices))


def _mistake(message: str, wrong: str, name: str, there: Any, section: str = "") -> Mistake:
    """Say what is near: in the section, or else in another one."""
    near = closest(name, there)
    right = f"{section}.{near}" if near and section else near
    right = find(name, 1.0) or (right if _same(name, near) else find(name) or right)
    if right is None or right.rpartition(".")[2] == near:
        return Mistake(f"{message}; {suggest(name, there)}", wrong, right)
    return Mistake(f"{message}; did you mean {right!r}?", wrong, right)


def _same(name: str, near: str | None) -> bool:
    """Whether a name is surely meant: another word for it, or one or two letters off."""
    return near is not None and closest(name, [near], 0.8) is not None


def find(name: str, cutoff: float = 0.8) -> str | None:
    """Return the option of whatever section that a name is near to, with its section before a dot."""
    sections = known()
    # The parts of a model before what trains it: "hidden" is meant of the networks, and not of a critic.
    for section in sorted(sections, key=lambda section: section == "objective"):
        if (near := closest(name, [*options_in(section), section], cutoff)) is not None:
            return near if near == section else f"{section}.{near}"
    return None
