"""Encoded pictures, brought to one form: what folders, shards and tables of pictures hold.

Only formats that PIL decodes by itself are opened, whatever a file is called: for others it starts programs.

    stored as                                   values
    1, 2, 4 or 8 bits, palettes, CMYK           uint8, white 255
    one channel of 16 bits                      uint16, white 65535
    one channel of floats, all in [0, 1]        float32 as they are
    colours of 16 bits                          uint8, for PIL decodes no more of them
"""

from __future__ import annotations

import io
import math
import re
import threading
import warnings
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch

from ..errors import ConfigError, DataError
from .memory import MIB, available_memory

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "TGA": (".tga",),  # the last, for it has no mark that it begins with
}
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)

_STILL = ("JPEG", "MPO")  # further pictures in a JPEG are previews and maps of depth
_GREY = ("1", "L", "LA", "La")
_EIGHT_BITS = (*_GREY, "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV")
WHITE = {"uint8": 255, "uint16": 65535, "float32": None}
_FINER = 3  # a JPEG is decoded at no less than so many times the size that is asked for
_SMALL_FILE = 2**16
_PLAIN_MARKS = (0xC4, 0xDB, 0xDD, 0xE0, 0xFE)  # tables, JFIF and comments
_LARGE = 64 * MIB  # what takes less is never too much
_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
_one_large = threading.Lock()


class UnfitError(DataError):
    """A picture is intact, but cannot be read without a choice of the user."""


class Picture(NamedTuple):
    """A decoded picture.

    Attributes:
        values: (H, W) of a grey one, (C, H, W) of another, in a type of the module's table.
        grey: It is stored without colours.
        remarks: What was done that is to be said, keys of `REMARKS`.
    """

    values: np.ndarray
    grey: bool
    remarks: tuple[str, ...] = ()


REMARKS = {
    "transparent": "transparent parts, laid on {background}: background= names another ground, channels=4 keeps them",
    "cut": "16 bits per colour and are read with 8, for PIL decodes no more; a .npy holds all of them",
    "first": "several frames, of which the first alone is read, as frames='first' says",
}


@dataclass(frozen=True)
class PictureForm:
    """What encoded pictures become.

    Attributes:
        size: Height and width; None for those they have.
        crop: How they get there; see `images.read_folder`.
        channels: 1 for grey, 3 for colour, 4 with transparency; None for what the first picture is stored as.
        frames: What becomes of several frames in one file: None refuses them, "first" takes the first, "all" each.
        background: The colour that shows through transparent parts: a name, or "#rrggbb".
        strict: Let no picture in colour become grey, for nobody has asked for that.
        depth: Type of the values, as the first picture has them.
        axes: Of arrays where there are no pictures, see `arrays.check_array`.
    """

    size: tuple[int, int] | None = None
    crop: str = "center"
    channels: int | None = None
    frames: Literal["first", "all"] | None = None
    background: str = "white"
    strict: bool = False
    depth: str | None = None
    axes: str | tuple[int, ...] | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> PictureForm:
        """The form that the options of `load` ask for; their size may be one number."""
        size = options["image_size"]
        size = None if size is None else (size, size) if isinstance(size, int) else tuple(size)
        asked = (options[name] for name in ("crop", "channels", "frames", "background"))
        return cls(size, *asked, axes=options.get("axes"))

    def check_unused(self, what: str, kind: str) -> None:
        """Raise a ConfigError if something was asked that is not for what is there: "pictures", "lists", "table"."""
        if isinstance(self.axes, str) and kind != "lists":
            raise ConfigError(f"axes={self.axes!r} is for arrays, but {what} holds {kind}; leave it out")
        if isinstance(self.axes, str) and self.axes[0] != "N":
            raise ConfigError(f"axes={self.axes!r}: each example of {what} is by itself, so N comes first")
        if kind == "pictures":
            return
        if self.size is not None or self.channels is not None:
            raise ConfigError(
                f"image_size= and channels= are for pictures, but {what} holds none; leave them out"
            )

    @property
    def white(self) -> int | None:
        """The largest grey level; None of floats, and of no picture."""
        return WHITE[self.depth or "float32"]

    def settled(self, first: bytes) -> PictureForm:
        """The form with its channels and depth, as the first of the pictures has them."""
        picture = decode(io.BytesIO(first), self)[0]
        form = replace(self, depth=picture.values.dtype.name)
        return form if self.channels else replace(form, channels=1 if picture.grey else 3, strict=True)

    def read(self, content: bytes) -> np.ndarray:
        """One picture (C, H, W), in a settled form.

        Raises:
            ValueError: It is in colour or of a depth, and the first is not. Decoders raise nearly anything where it
                is damaged.
        """
        (picture,) = decode(io.BytesIO(content), self)
        values = picture.values
        if self.channels == 1 and self.strict and not picture.grey:
            raise ValueError(
                "it is in colour, but the first picture is grey; pass channels=1 for grey or 3 for colour"
            )
        if values.dtype.name != self.depth:
            raise ValueError(f"its values are {values.dtype}, but those of the first picture {self.depth}")
        for remark in picture.remarks:
            warnings.warn(f"pictures with {self.told(remark)}", stacklevel=2)
        return values if values.ndim == 3 else np.repeat(values[None], self.channels or 1, 0)

    def told(self, remark: str) -> str:
        """A remark in words, after "pictures with"."""
        return REMARKS[remark].format(background=self.background)


def decode(file: str | IO[bytes], form: PictureForm) -> list[Picture]:
    """The frames of a picture that are to be read, mostly one.

    Raises:
        UnfitError: It has several frames, values of unknown white, or a kind of colours that is not read.
        ValueError: It is of no known format, or takes too much memory. Decoders raise nearly anything where it is
            damaged.
    """
    if isinstance(file, str) and form.size is None and (image := _plain_jpeg(file)) is not None:
        return [_picture(image, form, plain=True)]
    with _opened(file) as image:
        count = frames_in(image)
        if count > 1 and form.frames is None:
            raise UnfitError(
                f"it holds {count} frames, and an example is one; pass frames='all' for an example of each (of "
                "folders), or frames='first' for the first alone"
            )
        if form.size is not None:  # by halves, which is faster; the target may lie across
            longest = _FINER * max(form.size)
            image.draft(None, (longest, longest))
        with _one_large if _is_large(image) else nullcontext():
            if count == 1 or form.frames == "first":
                picture = _picture(image, form)
                return [picture._replace(remarks=(*picture.remarks, "first")) if count > 1 else picture]
            pictures = []
            for number in range(count):
                image.seek(number)
                pictures.append(_picture(image, form))
            return pictures


def _plain_jpeg(file: str) -> Image | None:
    """A small JPEG of one frame and 8 bits, grey or coloured as usual, without the rotation of a camera.

    PIL's way of opening a file takes longer than decoding one of a few kilobytes; None for all that is not plain.
    """
    from PIL import Image

    with open(file, "rb", 0) as stream:
        data = stream.read(_SMALL_FILE)
    if len(data) == _SMALL_FILE or data[:2] != b"\xff\xd8":
        return None
    at = 2
    while data[at : at + 1] == b"\xff" and len(data) > at + 9:
        mark, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if mark in (0xC0, 0xC2):  # baseline and progressive
            mode = {1: "L", 3: "RGB"}.get(data[at + 9])
            height, width = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
            if mode is None or data[at + 4] != 8 or not 0 < height * width * 16 < _LARGE:
                return None
            return Image.frombytes(mode, (width, height), data, "jpeg", mode, "")
        if mark not in _PLAIN_MARKS:  # Exif, XMP, several pictures, the colours of Adobe, ...
            return None
        at += 2 + length
    return None


def count_frames(file: str) -> int:
    """How many frames a file holds; 1 for what cannot be read, which `decode` finds out."""
    try:
        with _opened(file) as image:
            return frames_in(image)
    except Exception:  # a damaged file makes decoders raise nearly anything
        return 1


def pixels_in(file: str) -> int:
    """How many pixels a file says that it has; 0 for what cannot be read."""
    try:
        with _opened(file) as image:
            return math.prod(image.size)
    except Exception:  # a damaged file makes decoders raise nearly anything
        return 0


def frames_in(image: ImageFile) -> int:
    """Frames of an open picture."""
    return 1 if image.format in _STILL else getattr(image, "n_frames", 1)


def some(names: Iterable[object], most: int = 5, longest: int = 200) -> str:
    """The first of many names or findings, each cut at a length, and how many more there are."""
    names = [str(name) for name in names]
    first = [name if len(name) <= longest else f"{name[:longest]}..." for name in names[:most]]
    return ", ".join(first) + (f" and {len(names) - most} more" if len(names) > most else "")


def check_colour(name: object) -> None:
    """Raise a ConfigError unless PIL knows the colour."""
    from PIL import ImageColor

    try:
        ImageColor.getrgb(name)  # pyright: ignore[reportArgumentType]
    except (ValueError, AttributeError, TypeError):
        raise ConfigError(
            f"background={name!r} is no colour; give a name like 'black', or '#rrggbb'"
        ) from None


@lru_cache(maxsize=1)
def _known() -> tuple[str, ...]:
    """The formats that the installed PIL has; its plugins are loaded before there are threads."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _opened(file: str | IO[bytes]) -> ImageFile:
    from PIL import Image, UnidentifiedImageError

    # What PIL remarks on names no file, and sizes are checked here. For good, since filters are one for all threads.
    if _QUIET not in warnings.filters:
        warnings.filterwarnings("ignore", module=_QUIET[3].pattern)
    try:
        return Image.open(file, formats=_known())
    except UnidentifiedImageError:
        raise ValueError(f"it is none of {', '.join(_known())}, whatever its name") from None
    except Image.DecompressionBombError:
        raise ValueError(
            f"it announces more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels, which PIL does not decode"
        ) from None


def _is_large(image: Image) -> bool:
    """Whether a picture is to be decoded while no other large one is.

    Raises:
        ValueError: Decoding, with the copies in between, takes more memory than there is.
    """
    width, height = image.size
    needed = width * height * (4 if image.mode in ("1", "L", "P") else 16)
    if needed < _LARGE:
        return False
    free = available_memory()
    if needed > free // 2:
        raise ValueError(
            f"it announces {width} x {height} pixels (width x height), which take {needed // MIB:,} MiB to decode, "
            f"more than half of the {free // MIB:,} MiB that are free"
        )
    return needed * torch.get_num_threads() > free // 2


def _picture(image: Image, form: PictureForm, plain: bool = False) -> Picture:
    """The frame at which an open picture stands; of a plain one as `_plain_jpeg` finds it there is less to ask."""
    from PIL import Image, ImageOps

    cut = not plain and image.mode in _EIGHT_BITS and _is_cut(image)
    stored = image.mode
    turned = not plain and image.getexif().get(0x0112, 1) != 1
    upright = ImageOps.exif_transpose(image) if turned else image
    if stored not in _EIGHT_BITS:
        return Picture(_deep(upright, image.format, form), True)
    remarks = ("cut",) if cut else ()
    if form.channels == 4:
        return Picture(_planes(_resized(upright.convert("RGBA"), form)), False, remarks)
    if not plain and upright.has_transparency_data:
        layer = upright.convert("RGBA")
        if layer.getchannel("A").getextrema()[0] != 255:
            remarks = (*remarks, "transparent")
            layer = Image.alpha_composite(Image.new("RGBA", layer.size, form.background), layer)
        upright = layer
    mode = "L" if form.channels == 1 or upright.mode in ("1", "L") else "RGB"
    values = _planes(_resized(upright if upright.mode == mode else upright.convert(mode), form))
    if form.channels is None and all((values[0] == other).all() for other in values[1:]):
        values = values[:1]
    return Picture(values[0] if len(values) == 1 else values, stored in _GREY, remarks)


def _planes(image: Image) -> np.ndarray:
    """Bytes (C, H, W); several microseconds sooner than by asarray, which asks an image for much that it has not."""
    flat = np.frombuffer(image.tobytes(), np.uint8)
    return flat.reshape(image.height, image.width, -1).transpose(2, 0, 1)


def _is_cut(image: Image) -> bool:
    """Whether colours of 16 bits are about to become 8, which PIL says nowhere."""
    if image.format not in ("PNG", "TIFF", "PPM") or not getattr(image, "tile", None):
        return False
    rule = image.tile[0][3]  # pyright: ignore[reportAttributeAccessIssue]
    return ";16" in str(rule) or (image.format == "PPM" and isinstance(rule, tuple) and rule[-1] > 255)


def _deep(image: Image, format: str | None, form: PictureForm) -> np.ndarray:
    """Values (H, W) of more than 8 bits."""
    from PIL import Image

    if form.channels == 4 or image.has_transparency_data:
        raise UnfitError("it has more than 8 bits, of which transparency is not read; pass channels=1")
    if image.mode == "F":
        values = np.asarray(image, np.float32)
        if not ((values >= 0) & (values <= 1)).all():
            raise UnfitError(
                f"its floats lie in [{values.min():g}, {values.max():g}], so that white is unknown; scale them to "
                "[0, 1], or load them from a .npy"
            )
    elif image.mode.startswith("I;16") or (image.mode == "I" and format in ("PNG", "PPM")):
        values = np.asarray(image).astype(np.uint16)
    else:
        raise UnfitError(
            f"its mode is {image.mode}, of which white is unknown; save it with 8 or 16 bits, or load the values "
            "from a .npy"
        )
    if form.size is None:
        return values
    floats = np.asarray(_resized(Image.fromarray(values.astype(np.float32)), form))
    if values.dtype == np.uint16:
        return np.rint(floats).clip(0, 65535).astype(np.uint16)
    return floats.clip(0, 1)


def _resized(image: Image, form: PictureForm) -> Image:
    from PIL import Image, ImageOps

    if form.size is None:
        return image
    size = (form.size[1], form.size[0])  # PIL's order
    method = Image.Resampling.BICUBIC
    if form.crop == "stretch":
        return image.resize(size, method)
    return (ImageOps.fit if form.crop == "center" else ImageOps.pad)(image, size, method)
