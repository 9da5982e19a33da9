"""What is said of a condition on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, suggest
from ..names import words

RULES = ("quadrant", "half", "three-quadrants", "random")  # of images

if TYPE_CHECKING:
    from torch import Tensor

    from ..conditions import Label
    from ..model import VAE


def mask_rule(text: str) -> str | list[str]:
    """Return a rule of what is observed: its name, or the names of columns."""
    return text if text in RULES else words(text)


def read_given(model: VAE, given: list[str] | None) -> dict[str, Tensor]:
    """Return what --given says: entries of the condition by name, one value each."""
    names = [] if model.condition is None else model.condition.beside
    if given and not names:
        raise ConfigError("the model takes no condition that can be given; leave --given out")
    entries: dict[str, Tensor] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(
                f"--given needs NAME=VALUE, like {example_given(model, names[0])}; got {text!r}"
            )
        if name not in names:
            raise ConfigError(f"the model has no condition {name!r}; {suggest(name, names)}")
        if name in entries:
            raise ConfigError(f"--given names {name!r} twice; give it once")
        assert model.condition is not None
        entry = model.condition[name]
        entries[name] = entry.read(_read_value(entry, text, value) if value else None, name)
        entry.check(entries[name], name)
        if len(entries[name]) != 1:
            raise ConfigError(f"--given {text} holds {len(entries[name])} values; give one")
    return entries


def _read_value(entry: Any, text: str, value: str) -> Any:
    """Return the value of an entry from how its kind is written on the command line."""
    from pathlib import Path

    import numpy as np

    from ..conditions import Label, PointSet, Vector
    from ..data.arrays import check_array, open_npy

    if isinstance(entry, Label):
        return value
    if isinstance(entry, Vector):
        try:
            return [float(number) for number in value.split(",")]
        except ValueError:
            raise ConfigError(f"--given {text} needs numbers, with commas between them") from None
    image = np.array(open_npy(Path(value)))  # in memory, for torch wants to be able to write
    if isinstance(entry, PointSet):
        return image
    image = check_array(image[None] if image.ndim < 4 else image, value, axes=())
    return image / np.float32(255) if image.dtype == np.uint8 and image.max() > 1 else image


def example_given(model: VAE, name: str) -> str:
    """Return how an entry of the condition is given, by an example."""
    from ..conditions import Label, Vector

    assert model.condition is not None
    entry = model.condition[name]
    if isinstance(entry, Label):
        classes = ", ".join(entry.classes[:20]) + (", ..." if len(entry.classes) > 20 else "")
        return f"--given {name}={entry.classes[entry.seen[0]]} (its classes: {classes})"
    if isinstance(entry, Vector):
        return f"--given {name}={','.join(f'{value:.6g}' for value in entry.mean.tolist())}"
    return f"--given {name}=FILE.npy"


def only_label(model: VAE, given: dict[str, Tensor]) -> tuple[str, Label] | None:
    """Return name and entry of the condition's only label, unless its class is given."""
    try:
        name, label = model.label
    except ConfigError:
        return None
    return None if name in given else (name, label)
