"""A folder of pictures, decoded once into one array.

    photos/*.png                          no labels
    photos/CLASS/**/*.png                 the sub-folder is the label
    photos/{train,valid,test}/...         either of the two in each part: the folder's own split
    photos/**/*.png and a list            a file of names and labels is given, or lies there as metadata.csv

Files come in natural order, 2.png before 10.png. Colour stays colour unless every picture is grey; the camera's
rotation is applied. `pictures` says which formats and depths there are.
"""

from __future__ import annotations

import math
import os
import re
import warnings
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ..errors import DataError
from ..progress import progress_bar
from .lists import METADATA, as_array, is_metadata, match, read_list
from .memory import MIB, available_memory
from .pictures import SUFFIXES, WHITE, Picture, PictureForm, UnfitError, count_frames, decode, pixels_in, some
from .source import Source

PARTS = ("train", "valid", "test")
_WORDS = re.compile(
    r"(?:(train(?:ing)?)|(val(?:id(?:ation)?)?|dev(?:elopment)?)|(test(?:ing)?))"
    r"(?:[ _-]?(?:set|split|images))?(?![a-z])",
    re.IGNORECASE,
)
_SHARE = 0.1  # of train, for a part that a split of its own lacks
_LITTER = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx")
_NAMED = 8  # damaged files that a message names
_QUIET = 2.0  # seconds before reading is told of
_MANY_PIXELS = 2**16  # in smaller pictures, the threads would wait for each other most of the time


class _File(NamedTuple):
    path: Path  # within the folder
    part: int
    label: Any


def part_of(name: str, *, whole: bool = True) -> str | None:
    """The part of a split, "train", "valid" or "test", that a name is a usual spelling of, or begins with."""
    found = (_WORDS.fullmatch if whole else _WORDS.match)(name)
    return None if found is None else PARTS[(found.lastindex or 1) - 1]


def natural(path: Path) -> list[Any]:
    """A key by which numbers in names are sorted as numbers, and capitals as small letters."""
    return [
        ([int(piece) if i % 2 else piece.lower() for i, piece in enumerate(re.split(r"(\d+)", name))], name)
        for name in path.parts
    ]


def read_folder(
    folder: Path,
    form: PictureForm,
    *,
    on_corrupt: str = "refuse",
    labels: str | None = None,
    label_column: str | None = None,
    seed: int = 0,
) -> Source:
    """Read all pictures of a folder, or one.

    Args:
        folder: Where they lie, or the file of a picture.
        form: What they become. With its size, "center" scales to cover the size and cuts what juts out, "stretch"
            ignores the aspect, "pad" scales to fit inside and fills with black; without it all must agree.
        on_corrupt: "refuse" or "skip" the files that cannot be decoded; either way the first of them are named.
        labels: A file that lists names and labels; see `lists.read_list`.
        label_column: Which column of the list is the label.
        seed: Of the examples of train that become a part which the folder's own split lacks.

    Raises:
        DataError: No pictures, unreadable pictures, several sizes without one to bring them to, several depths, more
            than memory holds, or an unclear layout of folders.
    """
    notes: list[str] = []
    if folder.is_file():
        folder, files = folder.parent, [_File(Path(folder.name), 0, None)]
    else:
        files = _list(folder, labels, label_column, seed, notes)
    array, kept = _read(folder, files, form, on_corrupt, notes)
    for note in notes:
        warnings.warn(f"{folder}: {note}", stacklevel=5)  # from here up to who called `load`
    ends = np.cumsum([0, *(sum(file.part == part for file in kept) for part in range(files[-1].part + 1))])
    slices = [slice(start, end) for start, end in pairwise(ends)]
    for name, rows in zip(PARTS, slices, strict=False):
        if rows.start == rows.stop:
            raise DataError(f"{folder}: no picture of {name} can be decoded; each part of a split needs some")
    labelled = (
        as_array([file.label for file in kept]) if any(file.label is not None for file in kept) else None
    )
    return Source(
        tuple(array[rows] for rows in slices),
        None if labelled is None else tuple(labelled[rows] for rows in slices),
        white=WHITE[array.dtype.name],
    )


def _list(
    folder: Path, labels: str | None, label_column: str | None, seed: int, notes: list[str]
) -> list[_File]:
    """The pictures with their parts and labels: those of train first, in natural order."""
    there = sorted(_walk(folder), key=natural)
    paths = [path for path in there if path.suffix.lower() in SUFFIXES]
    others = [path for path in there if path.suffix.lower() not in SUFFIXES]
    if not paths:
        raise DataError(
            f"{folder} holds no images ({', '.join(SUFFIXES)}), neither directly nor in sub-folders; it has "
            f"{some(sorted(child.name for child in folder.iterdir())) or 'nothing'}"
        )
    parts = _parts_of(folder, paths)
    inside = [Path(*path.parts[1:]) if parts else path for path in paths]
    pairs, lists = _listed(folder, labels, label_column, others)
    others = [path for path in others if path not in lists]
    if others:
        notes.append(f"passed over {len(others)} files that are no pictures: {some(others, longest=80)}")
    if pairs is None:
        if label_column is not None:
            raise DataError(
                f"label_column={label_column!r} is a column of a list of labels, but {folder} has no metadata.csv "
                "and none is given; pass labels=, the path of one"
            )
        known = _classes(folder, paths, inside)
    else:
        known = match(pairs, paths, some(lists))
    numbers = [PARTS.index(parts[path.parts[0]]) if parts else 0 for path in paths]
    if parts:
        numbers = _completed(folder, numbers, seed, notes)
    files = [_File(*entry) for entry in zip(paths, numbers, known, strict=True)]
    return sorted(files, key=lambda file: file.part)  # which keeps the order within a part


def pictures_in(folder: Path) -> list[Path]:
    """Paths within a folder of the pictures below it, in natural order."""
    return sorted((p for p in _walk(folder) if p.suffix.lower() in SUFFIXES), key=natural)


def _walk(folder: Path, inside: Path = Path(), above: tuple[str, ...] = ()) -> Iterator[Path]:
    """The files below a folder, as paths within it; neither what is hidden nor what systems leave behind."""
    here = os.path.realpath(folder / inside)
    if here in above:  # a link to a folder that it lies in
        return
    try:
        entries = list(os.scandir(here))
    except OSError as error:
        raise DataError(f"{folder / inside} cannot be read: {error}") from error
    for entry in entries:
        if entry.name.startswith(".") or entry.name.lower() in _LITTER:
            continue
        if entry.is_dir():
            yield from _walk(folder, inside / entry.name, (*above, here))
        elif entry.is_file() or not os.path.exists(entry.path):  # a pipe would be waited for
            yield inside / entry.name


def _parts_of(folder: Path, paths: Sequence[Path]) -> dict[str, str]:
    """Which sub-folder is which part of a split; empty if the folder has none of its own.

    Raises:
        DataError: Some are and others are not, two are the same, or train is missing.
    """
    tops = list(dict.fromkeys(path.parts[0] for path in paths if len(path.parts) > 1))
    parts = {name: part for name in tops if (part := part_of(name))}
    flat = next((path.name for path in paths if len(path.parts) == 1), None)
    beside = [name for name in tops if name not in parts] + ([] if flat is None else [flat])
    if beside and set(parts.values()) <= {"train"}:
        return {}  # there are pictures of trains
    if beside:
        raise DataError(
            f"{folder} has {some(parts)}, parts of a split, and beside them {some(beside)}; move these, or rename "
            "the sub-folders that are classes"
        )
    if len(set(parts.values())) < len(parts):
        raise DataError(
            f"{folder} has {' and '.join(parts)}, of which some are the same part; keep one of them"
        )
    if parts and (len(parts) == 1 or "train" not in parts.values()):
        raise DataError(
            f"{folder} has the sub-folders {', '.join(parts)}; a folder with its own split has train, and valid or "
            "test or both: rename or add one, or pass one of them alone"
        )
    return parts


def _completed(folder: Path, numbers: list[int], seed: int, notes: list[str]) -> list[int]:
    """The part of each picture, where a part that is missing is drawn from train."""
    numbers, train = list(numbers), numbers.count(0)
    order = [i for i in np.random.default_rng(seed).permutation(len(numbers)) if numbers[i] == 0]
    count = max(1, round(_SHARE * train))
    for part in sorted({1, 2} - set(numbers)):
        if len(order) <= count:
            raise DataError(
                f"{folder} has {train} pictures of train, too few for a part of them to be {PARTS[part]}"
            )
        drawn, order = order[:count], order[count:]
        for i in drawn:
            numbers[i] = part
        notes.append(
            f"no pictures of {PARTS[part]}, so {count} of the {train} of train are taken, by the seed"
        )
    return numbers


def _classes(folder: Path, paths: Sequence[Path], inside: Sequence[Path]) -> Sequence[str | None]:
    """The classes that sub-folders are; None for each picture if there are none."""
    flat = [path for path, own in zip(paths, inside, strict=True) if len(own.parts) == 1]
    nested = [path for path, own in zip(paths, inside, strict=True) if len(own.parts) > 1]
    if flat and nested:
        raise DataError(
            f"{folder} has images both directly ({flat[0].as_posix()}, ...) and in sub-folders "
            f"({nested[0].as_posix()}, ...); put all of them in sub-folders, one per class, or none"
        )
    return [own.parts[0] if nested else None for own in inside]


def _listed(
    folder: Path, labels: str | None, label_column: str | None, others: Sequence[Path]
) -> tuple[list[tuple[str, Any]] | None, list[Path]]:
    """Names and labels by a list, if there is one, and the lists that are in use."""
    if labels is not None:
        given = Path(labels).expanduser()
        file = given if given.is_file() else folder / given
        pairs = read_list(file, label_column)
        if pairs is None:
            raise DataError(f"{file} has no column called label; pass label_column=, the one that is")
        same = [path for path in others if file.samefile(folder / path)]
        return pairs, same or [file]
    lists = [
        path
        for path in others
        if path.name in METADATA
        and (len(path.parts) == 1 or (len(path.parts) == 2 and part_of(path.parts[0])))
        and is_metadata(folder / path)
    ]
    pairs = []
    for path in lists:
        base = f"{path.parts[0]}/" if len(path.parts) > 1 else ""
        own = read_list(folder / path, label_column, base)
        if own is None:
            return None, []
        pairs += own
    return (pairs, lists) if lists else (None, [])


def _read(
    folder: Path, files: Sequence[_File], form: PictureForm, on_corrupt: str, notes: list[str]
) -> tuple[np.ndarray, list[_File]]:
    """The pictures (N, C, H, W), C = 1 if all are grey, and of which file each is."""
    paths = [folder / file.path for file in files]
    counts = [count_frames(path) for path in paths] if form.frames == "all" else [1] * len(paths)
    array, kept, corrupt, said = None, [], [], Counter()
    with progress_bar("reading pictures", len(files), True, after=_QUIET) as advance:
        for i, result in enumerate(_decoded(paths, form)):
            advance()
            if isinstance(result, UnfitError):
                raise DataError(f"{folder}: {files[i].path.as_posix()} cannot be taken as it is: {result}")
            if isinstance(result, Exception):
                corrupt.append(f"{files[i].path.as_posix()} ({result})")
                continue
            for picture in result:
                values = picture.values
                if array is None:
                    shape = (form.channels or (1 if values.ndim == 2 else 3), *values.shape[-2:])
                    array = _room(folder, sum(counts[i:]), shape, values.dtype)
                elif values.ndim == 3 and array.shape[1] == 1:
                    grown = _room(folder, len(array), (3, *array.shape[2:]), array.dtype)
                    grown[: len(kept)] = array[: len(kept)]
                    array = grown
                _check_alike(folder, kept, files[i], array, values)
                array[len(kept)] = values  # a grey picture fills the three channels
                kept.append(files[i])
                said.update([*picture.remarks, *(["grey"] if values.ndim == 2 else [])])
    if corrupt:
        notes.append(_report(folder, corrupt, len(files), on_corrupt))
    assert array is not None  # else all are corrupt
    if form.channels is None and array.shape[1] == 3 and said["grey"]:
        notes.append(
            f"grey pictures beside coloured ones get three equal channels ({said['grey']} of {len(kept)})"
        )
    for remark in sorted(said.keys() - {"grey"}):
        notes.append(f"pictures with {form.told(remark)} ({said[remark]} of {len(kept)})")
    return array[: len(kept)], kept


def _decoded(paths: Sequence[Path], form: PictureForm) -> Iterator[list[Picture] | Exception]:
    """What becomes of each file, in their order; threads work some files ahead."""

    def work(path: Path) -> list[Picture] | Exception:
        try:
            return decode(path, form)
        except Exception as error:  # a damaged file makes decoders raise nearly anything
            return error

    threads = torch.get_num_threads()
    if threads == 1 or max(map(pixels_in, paths[:: max(1, len(paths) // 8)])) < _MANY_PIXELS:
        yield from map(work, paths)
        return
    pool = ThreadPoolExecutor(threads, "pictures")
    try:
        ahead = deque()
        for path in paths:
            ahead.append(pool.submit(work, path))
            if len(ahead) > 4 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _room(folder: Path, count: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    needed, free = count * math.prod(shape) * dtype.itemsize, available_memory()
    if needed > free:
        raise DataError(
            f"{folder}: {count} pictures of {shape[1]}x{shape[2]} take {needed // MIB:,} MiB, and {free // MIB:,} "
            "MiB are free; pass image_size=, or write them as tar shards, which are streamed"
        )
    return np.empty((count, *shape), dtype)


def _check_alike(
    folder: Path, kept: Sequence[_File], file: _File, array: np.ndarray, values: np.ndarray
) -> None:
    height, width = array.shape[2:]
    if values.shape[-2:] != (height, width):
        raise DataError(
            f"the images in {folder} have several sizes: {kept[0].path.as_posix()} is {height}x{width} and "
            f"{file.path.as_posix()} {values.shape[-2]}x{values.shape[-1]} (height x width); pass image_size=, with "
            "crop='center', 'stretch' or 'pad'"
        )
    if values.dtype != array.dtype:
        raise DataError(
            f"the images in {folder} have several depths: {kept[0].path.as_posix()} is read as {array.dtype} and "
            f"{file.path.as_posix()} as {values.dtype}; bring all to one depth"
        )


def _report(folder: Path, corrupt: Sequence[str], total: int, on_corrupt: str) -> str:
    """What is said of files that are left out, unless they are refused."""
    listed = f"{len(corrupt)} of {total} images cannot be decoded: {some(corrupt, _NAMED)}"
    if on_corrupt == "refuse":
        raise DataError(f"{folder}: {listed}; repair or remove them, or pass on_corrupt='skip'")
    if len(corrupt) == total:
        raise DataError(f"{folder}: {listed}; none is left")
    return f"left out, {listed}"
