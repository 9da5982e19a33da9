"""MNIST and Fashion-MNIST: four IDX files, found in a folder or downloaded once.

An IDX file is two zero bytes, the type (8 = unsigned byte), the number of axes, each length as four bytes with the
largest first, then the values. Validation is the last 10,000 of the training file, the usual 50k / 10k / 10k.

References:
    MNIST: Gradient-based learning applied to document recognition (LeCun et al., 1998)
    Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017), https://arxiv.org/abs/1708.07747
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DataError
from .download import cache_folder, fetch
from .files import user_path
from .memory import DEFLATE, check_fits
from .source import Source
from .spec import Binarize

VALID = 10_000
TRAIN = (60_000, 28, 28)
TEST = (10_000, 28, 28)
_AXES = 8  # more than images have, and fewer than numpy takes


@dataclass(frozen=True)
class Entry:
    """Where a data set lies, whence it comes, and what it holds.

    Attributes:
        folder: Its folder under the root, torchvision's name.
        mirrors: Addresses that end in a slash.
        md5: Checksum of each packed file on the mirrors.
        classes: Names of the labels.
        binarize: Its usual binarisation.
    """

    folder: str
    mirrors: tuple[str, ...]
    md5: dict[str, str]
    classes: tuple[str, ...]
    binarize: Binarize


DATASETS = {
    "mnist": Entry(
        folder="MNIST",
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        md5={
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
        classes=tuple("0123456789"),
        binarize="dynamic",
    ),
    "fashion-mnist": Entry(
        folder="FashionMNIST",
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        ),
        md5={
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        classes=(
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
            "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
        ),
        binarize="none",
    ),
}  # fmt: skip


def read_mnist(name: str, root: str | os.PathLike[str] | None) -> Source:
    """Read one of `DATASETS`.

    Args:
        name: "mnist" or "fashion-mnist".
        root: Folder that holds MNIST/raw or FashionMNIST/raw, or that raw folder itself.

    Raises:
        DataError: The files are neither found nor to be had, or are not what they should be.
    """
    entry = DATASETS[name]
    files = _find(name, entry, root) or _download(name, entry, root)
    train, train_labels, test, test_labels = (read_idx(file) for file in files)
    for file, array, shape in zip(
        files, (train, train_labels, test, test_labels), (TRAIN, TRAIN[:1], TEST, TEST[:1]), strict=True
    ):
        if array.shape != shape:
            raise DataError(
                f"{file} holds an array {array.shape}, but {name} has {shape} there; fetch the file again"
            )
    parts = (train[:-VALID], train[-VALID:], test)
    labels = (train_labels[:-VALID], train_labels[-VALID:], test_labels)
    return Source(parts, labels, classes=entry.classes, white=255, binarize=entry.binarize)


def read_idx(path: Path) -> np.ndarray:
    """The array of unsigned bytes in an IDX file, packed (.gz) or not.

    Raises:
        DataError: The file is damaged, truncated, or not IDX.
    """
    packed = path.suffix == ".gz"
    try:
        with (gzip.open if packed else open)(path, "rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:3] != b"\x00\x00\x08":
                raise DataError(
                    f"{path} begins with {head.hex()!r}, not with 000008 as IDX bytes do; fetch it again"
                )
            axes = file.read(4 * head[3])
            shape = tuple(int.from_bytes(axes[i : i + 4], "big") for i in range(0, len(axes), 4))
            size = math.prod(shape)
            if len(axes) < 4 * head[3] or not 1 <= len(shape) <= _AXES:
                raise DataError(f"{path} announces {head[3]} axes, which no images have; fetch it again")
            most = (DEFLATE if packed else 1) * path.stat().st_size
            if size > most:
                raise DataError(
                    f"{path} announces {shape}, {size} bytes, but has at most {most}; fetch it again"
                )
            check_fits(size, f"{path}, which announces {shape},", "fetch it again")
            content = file.read(size + 1)  # by one more it is seen to be longer, however long it is unpacked
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); fetch the file again") from error
    if len(content) != size:
        has = "more" if len(content) > size else len(content)
        raise DataError(f"{path} announces {shape}, {size} bytes of values, but has {has}; fetch it again")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _places(entry: Entry, root: str | os.PathLike[str] | None) -> list[Path]:
    """Folders that may hold the files, the most explicit first."""
    given = root or os.environ.get("LOWERBOUND_DATA")
    places = []
    if given:
        base = user_path(given)
        places.append(base / entry.folder / "raw")
        # The two data sets name their files alike: the raw folder of the other one must not pass for this one.
        if base.resolve().parent.name not in {other.folder for other in DATASETS.values()} - {entry.folder}:
            places.append(base)
    return [*places, cache_folder() / entry.folder / "raw"]


def _find(name: str, entry: Entry, root: str | os.PathLike[str] | None) -> list[Path] | None:
    if root is not None and not user_path(root).is_dir():
        raise DataError(
            f"root={str(root)!r} is not a folder; give one that holds {entry.folder}/raw of {name}"
        )
    for place in _places(entry, root):
        found = [
            next(
                (file for file in (place / packed.removesuffix(".gz"), place / packed) if file.is_file()),
                None,
            )
            for packed in entry.md5
        ]
        files = [file for file in found if file is not None]
        if len(files) == len(entry.md5):
            return files
    return None


def _download(name: str, entry: Entry, root: str | os.PathLike[str] | None) -> list[Path]:
    folder = cache_folder() / entry.folder / "raw"
    try:
        return [fetch(entry.mirrors, file, md5, folder) for file, md5 in entry.md5.items()]
    except DataError as error:
        looked = ", ".join(map(str, _places(entry, root)))
        wanted = ", ".join(entry.md5)
        raise DataError(
            f"{name} was not found in {looked}, and could not be downloaded: {error}\n"
            f"Put {wanted} (packed or not) into DIR/{entry.folder}/raw and pass root=DIR (--root DIR), "
            "or set LOWERBOUND_DATA=DIR"
        ) from error
