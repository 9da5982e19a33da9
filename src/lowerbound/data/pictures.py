"""Encoded pictures one at a time, brought to one form: what shards and tables of pictures hold."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .images import decode

_GREY = ("1", "L", "LA", "La")


@dataclass(frozen=True)
class PictureForm:
    """What encoded pictures become.

    Attributes:
        size: Height and width; None for those they have.
        crop: How they get there; see `images.read_folder`.
        channels: 1 for grey, 3 for colour; None for what the first picture is stored as.
        strict: Let no picture in colour become grey, for nobody has asked for that.
    """

    size: tuple[int, int] | None = None
    crop: str = "center"
    channels: int | None = None
    strict: bool = False

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> PictureForm:
        """The form that the options of `load` ask for; their size may be one number."""
        size = options["image_size"]
        size = None if size is None else (size, size) if isinstance(size, int) else tuple(size)
        return cls(size, options["crop"], options["channels"])

    def settled(self, first: bytes) -> PictureForm:
        """The form with its channels, as the first of the pictures has them."""
        if self.channels is not None:
            return self
        return replace(self, channels=1 if _is_grey(first) else 3, strict=True)

    def read(self, content: bytes) -> np.ndarray:
        """One picture, bytes (C, H, W), in a settled form.

        Raises:
            ValueError: It is in colour, and the first is not. Decoders raise nearly anything where it is damaged.
        """
        if self.channels == 1 and self.strict and not _is_grey(content):
            raise ValueError(
                "it is in colour, but the first picture is grey; pass channels=1 for grey or 3 for colour"
            )
        array = decode(io.BytesIO(content), self.size, self.crop, self.channels)
        return array if array.ndim == 3 else array[None]


def _is_grey(content: bytes) -> bool:
    from PIL import Image

    with Image.open(io.BytesIO(content)) as opened:
        return opened.mode in _GREY
