"""What all parts of a model have in common: how they start from data; and a family, from numbers to a distribution.

To add a part, write a class in a file of its own under ``priors/``, ``posteriors/``, ``likelihoods/`` or
``conditions/`` and register it; ``docs/how-to/extend.md`` has one of each kind. The constructor's arguments are
kept as attributes of the same names: from these a saved model is built again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from torch import Tensor, nn
from torch.distributions import Distribution

from .errors import ConfigError, suggest
from .shapes import event_shape_of, numel

if TYPE_CHECKING:
    from .model import VAE


class Level(NamedTuple):
    """One level of a latent.

    Attributes:
        shape: Shape of its value.
        kind: What its numbers are: "real"; "one-hot"; "embedding", vectors out of a finite set; "simplex"; "sphere";
            "positive".
            Tools ask for it: only real numbers are active or not, have a temperature, or can be moved.
    """

    shape: tuple[int, ...]
    kind: str = "real"


class Part(NamedTuple):
    """One named part of x; x has them flattened, one after the other.

    Attributes:
        name: Its name.
        event_shape: Shape of its value.
        feature_shape: Shape of it as a network reads it, with a mask of its elements below.
        input_shape: Shape of what the likelihood reads of a network for it.
    """

    name: str
    event_shape: tuple[int, ...]
    feature_shape: tuple[int, ...]
    input_shape: tuple[int, ...]


def check_of_parts(option: str, given: Mapping[str, Any] | None, names: Sequence[str]) -> None:
    """Raise a ConfigError if an option by the names of parts has one that is none."""
    for name in given or ():
        if name not in names:
            raise ConfigError(f"{option} names {name!r}, which is no part of x; {suggest(name, names)}")


def build_named(
    what: str, given: Any, classes: Mapping[str, Callable[..., Any]], usual: str, **derived: Any
) -> Any:
    """Return an object of one of several classes, for a part that is an option of another.

    Args:
        what: The part, for messages.
        given: The class's name, or options with it as their ``type``.
        classes: The classes.
        usual: Name of the one that options without a type mean.
        **derived: Arguments that nobody chooses; those that a class does not take are left out.

    Raises:
        ConfigError: there is no such class, or it has no such option.
    """
    options: dict[str, Any] = {"type": given} if isinstance(given, str) else dict(given)
    name = options.pop("type", usual)
    if not isinstance(name, str) or name not in classes:
        raise ConfigError(f"{what} cannot be {name!r}; {suggest(str(name), classes)}")
    parameters = inspect.signature(classes[name]).parameters
    known = [parameter for parameter in parameters if parameter not in derived]
    for option in options:
        if option not in known:
            raise ConfigError(f"{what}, {name!r}, has no option {option!r}; {suggest(str(option), known)}")
    return classes[name](**{key: v for key, v in derived.items() if key in parameters}, **options)


def levels_of(event_shape: int | Sequence[int], sizes: int | Sequence[int]) -> list[Level]:
    """Return levels of real numbers that make up a latent (L,).

    Args:
        event_shape: (L,) or L.
        sizes: Their number, if all are of one size, or the size of each.

    Raises:
        ConfigError: they do not.
    """
    shape = event_shape_of(event_shape)
    each = [shape[0] // max(sizes, 1)] * sizes if isinstance(sizes, int) else list(sizes)
    if len(shape) != 1 or len(each) < 2 or min(each) < 1 or sum(each) != shape[0]:
        wanted = f"a multiple of {sizes}" if isinstance(sizes, int) else f"their sum, {sum(each)}"
        raise ConfigError(
            f"sizes={sizes!r} must be at least two levels that make up the latent, of shape {shape}: let latent be "
            f"{wanted}, or leave it out"
        )
    return [Level((n,)) for n in each]


def stages_of(event_shape: int | Sequence[int], second: int) -> list[Level]:
    """Return the levels u (M,) and z (L,) of a latent (M + L,), of which the second stage's u has so many numbers.

    Raises:
        ConfigError: nothing is left for z.
    """
    shape = event_shape_of(event_shape)
    if len(shape) != 1 or not 0 < second < shape[0]:
        raise ConfigError(
            f"second={second!r} numbers of the second stage leave none for the first, of a latent of shape {shape}; "
            "latent counts both"
        )
    return [Level((second,)), Level((shape[0] - second,))]


def maps_of(
    data_shape: Sequence[int],
    scales: Sequence[int],
    width: int,
    event_shape: int | Sequence[int] | None = None,
) -> list[Level]:
    """Return levels that are maps of real numbers, coarse to fine, and make up a latent (L,).

    Args:
        data_shape: (C, H, W).
        scales: Levels of each size, coarse to fine; the finest maps are half as high and wide as x.
        width: Channels of each.
        event_shape: (L,) or L; None asks for no check.

    Raises:
        ConfigError: x is no image, a number is not positive, or the latent is another.
    """
    shape = event_shape_of(data_shape, "data_shape")
    if len(shape) != 3:
        raise ConfigError(f"levels that are maps need images (C, H, W); got data of shape {shape}")
    if not scales or min(scales) < 1 or sum(scales) < 2 or width < 1:
        raise ConfigError(
            "levels that are maps need scales of at least two in all, and a positive width; "
            f"got {scales!r} and {width}"
        )
    sides, levels = shape[1:], []
    for many in reversed(scales):
        sides = tuple(-(-side // 2) for side in sides)
        levels = [Level((width, *sides))] * many + levels
    total = sum(numel(level.shape) for level in levels)
    if event_shape is not None and event_shape_of(event_shape) != (total,):
        raise ConfigError(
            f"scales={scales!r} of width={width} make {total} numbers of images {shape}, but the latent has shape "
            f"{event_shape_of(event_shape)}: leave latent out"
        )
    return levels


class Slot(nn.Module):
    """Base of the parts of a model.

    Attributes:
        partners: Registered names that other parts must have next to this one, by kind; of several one.
        agree: Options on which it and its partners must agree.
        derived: Arguments beside those of its kind that follow from the data and the other slots.
    """

    partners: ClassVar[Mapping[str, str | Sequence[str]]] = {}
    agree: ClassVar[Sequence[str]] = ()
    derived: ClassVar[frozenset[str]] = frozenset()

    def start(self, u: Tensor, model: VAE) -> Tensor | None:
        """Take from a sample of the training data what the part should begin with; ``VAE.for_data`` calls it once.

        Called in the order encoder, posterior, prior, decoder, likelihood, so that each finds the ones before it
        started. It draws from torch's global generator where it needs chance.

        Args:
            u: Examples (N, *event), as the model sees them: after its transform.
            model: The model that it is a part of.

        Returns:
            The output, (*input_shape), at which the network that feeds the part should begin; None if any will do.
        """
        return None

    def extra_repr(self) -> str:
        """Show every constructor argument."""
        options = inspect.signature(type(self)).parameters
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in options)


def side_by_side(
    owner: str, event_shape: int | Sequence[int], blocks: Mapping[str, Any]
) -> tuple[tuple[int, ...], Any, list[tuple[str, int]]]:
    """Return the shape of a code made of blocks, these as modules, and for each level its block and number within.

    Args:
        owner: Whose blocks they are, for messages.
        event_shape: Shape of the code.
        blocks: Priors, or posteriors, by name.

    Raises:
        ConfigError: there are none, a name cannot be used, or the code has another number of numbers.
    """
    shape, sizes = event_shape_of(event_shape), {name: numel(b.event_shape) for name, b in blocks.items()}
    if not sizes or shape != (sum(sizes.values()),):
        told = " + ".join(f"{size} ({name})" for name, size in sizes.items()) or "none"
        raise ConfigError(
            f"{owner}: the blocks have {told} numbers, but a code has {shape}: set latent to their sum"
        )
    try:
        modules: Any = nn.ModuleDict(dict(blocks.items()))
    except KeyError as error:
        raise ConfigError(f"{owner}: {error.args[0]}; give the block another name") from None
    return shape, modules, [(name, i) for name, b in modules.items() for i in range(len(b.levels))]


class Family(Slot):
    """Numbers to a distribution: ``forward(h)`` makes of (..., *input_shape) a distribution of batch (...).

    It may own parameters.

    Attributes:
        event_shape: Shape of one value.
        input_shape: What it reads of a network, per value.
    """

    event_shape: tuple[int, ...]
    input_shape: tuple[int, ...]

    def forward(self, h: Tensor) -> Distribution:
        """Return the distribution, batch (...), from a network's output (..., *input_shape)."""
        raise NotImplementedError

    def point(self, p: Distribution) -> Tensor:
        """Return the one value that stands for ``p``: its mean, unless that has no meaning."""
        return p.mean
