"""What a configuration can name, known without torch: a typing error is answered in a fraction of a second.

``names.json`` has every section with its options, of a slot by type, read off the registry by
``python tests/test_docs.py``. Values, and what is registered later, are checked by ``overrides``.
"""

from __future__ import annotations

import csv
import functools
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .errors import ConfigError, brief, closest, suggest

Options = Mapping[str, Any]


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
    """Return ``slot.option=value`` as a nested dict.

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


@functools.cache
def known() -> dict[str, Any]:
    """Return each section's options: a list, or of slots a list by type."""
    return json.loads(Path(__file__).with_name("names.json").read_text(encoding="utf-8"))


def mistakes(choices: Options) -> Iterator[Mistake]:
    """Yield what is named and does not exist."""
    sections = known()
    for section, value in choices.items():
        if section not in sections:
            yield _mistake(f"there is no section {section!r}", section, section, sections)
        elif not isinstance(value, Mapping):
            if isinstance(sections[section], dict) and isinstance(value, str):
                yield from _of_type(section, {"type": value})
        elif section == "condition":
            every = _every(sections[section])
            for name, entry in value.items():
                for option in entry if isinstance(entry, Mapping) else ():
                    if option not in every:
                        where = f"{section}.{name}"
                        yield _mistake(
                            f"{where} has no option {option!r}", f"{where}.{option}", option, every
                        )
        elif isinstance(sections[section], list):
            for option in value:
                if option not in sections[section]:
                    message = f"{section} has no option {option!r}"
                    yield _mistake(message, f"{section}.{option}", option, sections[section], section)
        else:
            yield from _of_type(section, value)


def _of_type(section: str, options: Options) -> Iterator[Mistake]:
    types = known()[section]
    kind = options.get("type")
    if kind is not None and (not isinstance(kind, str) or kind not in types):
        if isinstance(kind, str):
            right = closest(kind, types)
            message = f"there is no {section} {brief(kind)}; {suggest(kind, types)}"
            yield Mistake(message, kind, right)
        return
    there = _every(types) if kind is None else types[kind]
    for option in options:
        if option not in there and option != "type":
            of = section if kind is None else f"{section} {kind!r}"
            yield _mistake(f"{of} has no option {option!r}", f"{section}.{option}", option, there, section)


def _every(types: Mapping[str, list[str]]) -> list[str]:
    return [*dict.fromkeys(option for options in types.values() for option in options)]


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
        options = sections[section]
        there = _every(options) if isinstance(options, dict) else options
        if (near := closest(name, [*there, section], cutoff)) is not None:
            return near if near == section else f"{section}.{near}"
    return None
