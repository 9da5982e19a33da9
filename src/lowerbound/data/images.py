"""A folder of images, decoded once into one array of bytes.

    photos/*.png                          no labels
    photos/CLASS/**/*.png                 the sub-folder is the label
    photos/{train,valid,test}/...         either of the two in each part: the folder's own split

Colour stays colour unless every image is grey; transparency is dropped; the camera's rotation is applied.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import DataError
from .source import Source

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")
_PARTS = ("train", "valid", "test")
_NAMED, _LONGEST = 8, 200  # damaged files that a message names, and letters of each


class _File(NamedTuple):
    path: Path
    part: int
    label: str | None


def read_folder(
    folder: Path,
    *,
    image_size: tuple[int, int] | None = None,
    crop: str = "center",
    channels: int | None = None,
    on_corrupt: str = "refuse",
) -> Source:
    """Read all images of a folder.

    Args:
        folder: Where they lie.
        image_size: Height and width to bring every image to; without it all must agree.
        crop: "center" scales to cover the size and cuts what juts out, "stretch" ignores the aspect, "pad" scales
            to fit inside and fills with black.
        channels: 1 for grey, 3 for colour, None for grey if all images are.
        on_corrupt: "refuse" or "skip" the files that cannot be decoded; either way the first of them are named.

    Raises:
        DataError: No images, unreadable images, several sizes without image_size, or an unclear layout of folders.
    """
    files = _list(folder)
    images, kept, corrupt = [], [], []
    for file in files:
        try:
            images.append(decode(file.path, image_size, crop, channels))
            kept.append(file)
        except Exception as error:  # a damaged file makes decoders raise nearly anything
            corrupt.append(f"{file.path.relative_to(folder)} ({error})")
    if corrupt:
        _report(folder, corrupt, len(files), on_corrupt)
    _check_sizes(folder, kept, images)
    stacked = _stack(images)
    parts = [
        [i for i, file in enumerate(kept) if file.part == part]
        for part in range(max(f.part for f in files) + 1)
    ]
    for name, part in zip(_PARTS, parts, strict=False):
        if not part:
            raise DataError(
                f"{folder / name} holds no readable image; each of train, valid and test needs some"
            )
    labels = None
    if all(file.label is not None for file in kept):
        labels = tuple(np.array([kept[i].label for i in part]) for part in parts)
    return Source(tuple(stacked[part] for part in parts), labels, white=255)


def _list(folder: Path) -> list[_File]:
    names = {child.name for child in folder.iterdir() if child.is_dir() and any(_images(child, deep=True))}
    if names and names <= {"train", "valid", "val", "test"}:
        if names != set(_PARTS):
            raise DataError(
                f"{folder} has the sub-folders {', '.join(sorted(names))}; a folder with its own split has exactly "
                "train, valid and test: rename or add one, or pass one of them alone"
            )
        listed = [_list_part(folder / name, part) for part, name in enumerate(_PARTS)]
        if len({files[0].label is None for files in listed}) > 1:
            raise DataError(
                f"{folder}: some of train, valid and test have class folders, others not; use one layout"
            )
        return [file for files in listed for file in files]
    return _list_part(folder, 0)


def _list_part(folder: Path, part: int) -> list[_File]:
    flat = [_File(path, part, None) for path in _images(folder)]
    classes = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    nested = [_File(path, part, child.name) for child in classes for path in _images(child, deep=True)]
    if flat and nested:
        raise DataError(
            f"{folder} has images both directly ({flat[0].path.name}, ...) and in sub-folders ({nested[0].label}, "
            "...); put all of them in sub-folders, one per class, or none"
        )
    if not flat and not nested:
        raise DataError(
            f"{folder} holds no images ({', '.join(SUFFIXES)}), neither directly nor in sub-folders; it has "
            f"{', '.join(sorted(child.name for child in folder.iterdir())[:5]) or 'nothing'}"
        )
    return flat or nested


def _images(folder: Path, deep: bool = False) -> list[Path]:
    paths = folder.rglob("*") if deep else folder.iterdir()
    return sorted(
        p for p in paths if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()
    )


def decode(
    file: Path | IO[bytes], size: tuple[int, int] | None, crop: str, channels: int | None
) -> np.ndarray:
    """Bytes (H, W) of a grey image, (3, H, W) of a coloured one."""
    from PIL import Image, ImageOps

    with Image.open(file) as opened:
        if opened.mode.startswith(("I", "F")):
            raise ValueError(
                f"mode {opened.mode}: more than 8 bits; convert it, or load the values from a .npy"
            )
        image = ImageOps.exif_transpose(opened).convert("L" if channels == 1 else "RGB")
    if size is not None:
        image = _resize(image, size, crop)
    array = np.asarray(image)
    if array.ndim == 2:
        return array
    if channels is None and (array == array[..., :1]).all():
        return array[..., 0]
    return np.moveaxis(array, -1, 0)


def _resize(image: Image, size: tuple[int, int], crop: str) -> Image:
    from PIL import Image, ImageOps

    height_width = (size[1], size[0])  # PIL's order
    method = Image.Resampling.BICUBIC
    if crop == "stretch":
        return image.resize(height_width, method)
    return (ImageOps.fit if crop == "center" else ImageOps.pad)(image, height_width, method)


def _report(folder: Path, corrupt: Sequence[str], total: int, on_corrupt: str) -> None:
    named = "; ".join(entry[:_LONGEST] for entry in corrupt[:_NAMED])
    more = f"; and {len(corrupt) - _NAMED} more" if len(corrupt) > _NAMED else ""
    listed = f"{len(corrupt)} of {total} images in {folder} cannot be decoded: {named}{more}"
    if on_corrupt == "refuse":
        raise DataError(f"{listed}; repair or remove them, or pass on_corrupt='skip'")
    if len(corrupt) == total:
        raise DataError(f"{listed}; none is left")
    warnings.warn(f"skipped {listed}", stacklevel=4)


def _check_sizes(folder: Path, files: Sequence[_File], images: Sequence[np.ndarray]) -> None:
    first = images[0].shape[-2:]
    other = next((i for i, image in enumerate(images) if image.shape[-2:] != first), None)
    if other is not None:
        raise DataError(
            f"the images in {folder} have several sizes: {files[0].path.name} is {first[0]}x{first[1]} and "
            f"{files[other].path.name} {images[other].shape[-2]}x{images[other].shape[-1]} (height x width); pass "
            "image_size=, with crop='center', 'stretch' or 'pad'"
        )


def _stack(images: list[np.ndarray]) -> np.ndarray:
    """One array (N, C, H, W), C = 1 if all images are grey, else 3."""
    height, width = images[0].shape[-2:]
    stacked = np.empty((len(images), max(1 if i.ndim == 2 else 3 for i in images), height, width), np.uint8)
    for i, image in enumerate(images):
        stacked[i] = image  # a grey image fills the three channels
    return stacked
