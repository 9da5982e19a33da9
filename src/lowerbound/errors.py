"""The exceptions a user can meet, under one base class, and how names and values stand in their messages.

Each message says what was asked, what came, and what to do, in a bounded number of letters.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Collection, Iterable

_LONGEST = 4000  # letters of a message; whatever a file or another library brings, it can be read
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_COMPARED = 1000  # names that are compared for the nearest one
# What others call an option.
_SYNONYMS = {
    other: name
    for name, others in {
        "learning_rate": "lr",
        "batch_size": "batch bs",
        "epochs": "n_epochs num_epochs max_epochs",
        "weight_decay": "wd",
        "clip": "grad_clip gradient_clip max_grad_norm",
        "patience": "early_stopping",
        "optimizer": "optim",
        "seed": "random_state random_seed",
        "cuda": "gpu",
        "beta": "kl_weight kld_weight kl_beta",
        "samples": "num_samples n_samples importance_samples",
        "latent": "latent_dim latent_dims latent_size n_latent z_dim zdim num_latents",
        "hidden": "hidden_dim hidden_dims hidden_size hidden_sizes layers layer_sizes units widths",
        "activation": "act nonlinearity",
        "network": "net arch architecture",
        "scale": "sigma std",
        "columns": "usecols features",
        "label_column": "label target target_column",
        "image_size": "img_size size resolution",
        "binarize": "binary binarise",
        "root": "data_dir",
    }.items()
    for other in others.split()
}


class LowerboundError(Exception):
    """Base of every error that lowerbound raises on purpose: the user's mistake, with its remedy.

    A message that is too long to be read loses its middle: what was asked stands first, the remedy last. What would
    steer a terminal is written as Python writes it.
    """

    def __init__(self, *args: object):
        super().__init__(*(_readable(arg) if isinstance(arg, str) else arg for arg in args))


class ShapeError(LowerboundError, ValueError):
    """A tensor has a shape that the model or the data cannot take."""


class SupportError(LowerboundError, ValueError):
    """Values lie outside the support of the likelihood."""


class ConfigError(LowerboundError, ValueError):
    """An option is unknown, has the wrong type, or contradicts another one."""


class DataError(LowerboundError, ValueError):
    """Data are missing, unreadable, or not what was announced."""


class RunError(LowerboundError, RuntimeError):
    """A run folder is missing, holds another run, is damaged, or comes from a newer version."""


class NonFiniteError(LowerboundError, RuntimeError):
    """A NaN or an infinity appeared in training; the message names the step, the term and the layer."""


def suggest(name: str, options: Iterable[str]) -> str:
    """End of a sentence that helps after a wrong name: the nearest valid one, then what there is."""
    options = sorted(options)
    near = closest(name, options)
    hint = f"did you mean {near!r}? " if near else ""
    return f"{hint}options: {listed(options, 60)}"


def closest(name: str, options: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The option that is meant by a wrong name: what others call it, or one that is nearly spelled so; or None."""
    short = [
        option for option in itertools.islice(options, _COMPARED) if len(option) <= 100
    ]  # or it takes minutes
    other = _SYNONYMS.get(name[:100].lower().replace("-", "_"))
    near = [other] if other in short else difflib.get_close_matches(name[:100], short, n=1, cutoff=cutoff)
    return near[0] if near else None


def listed(names: Collection[object], most: int = 10) -> str:
    """Names with commas between them, each cut to 100 letters; after so many the others are counted."""
    words = map(str, itertools.islice(names, most))
    named = ", ".join(word if len(word) <= 100 else f"{word[:100]}..." for word in words)
    return f"{named} and {len(names) - most} more" if len(names) > most else named


def brief(value: object, letters: int = 100) -> str:
    """A value as Python writes it, cut to so many letters."""
    text = repr(value[: letters + 1] if isinstance(value, str | bytes) else value)
    return text if len(text) <= letters + 2 else f"{text[:letters]}..."


def _readable(text: str) -> str:
    left_out = len(text) - _LONGEST
    if left_out > 0:
        start, end = text[: _LONGEST * 2 // 3], text[-_LONGEST // 3 :]
        text = f"{start} ... ({left_out} letters left out) ... {end}"
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
