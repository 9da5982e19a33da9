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
from dataclasses import replace
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
_OF_A_RUN = ("model.safetensors", "metrics.jsonl", "checkpoint")  # beside its config.json
_SHARE = 0.1  # of train, for a part that a split of its own lacks
_NUMBER = re.compile(r"(\d+)")
_LITTER = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx")
_NAMED = 8  # damaged files that a message names
_USUAL_SIZE = 64  # where pictures have several sizes and nobody names one
_QUIET = 2.0  # seconds before reading is told of
_MANY_PIXELS = 2**16  # in smaller pictures, the threads would wait for each other most of the time


class _File(NamedTuple):
    path: str  # within the folder
    part: int
    label: Any


def part_of(name: str, *, whole: bool = True) -> str | None:
    """The part of a split, "train", "valid" or "test", that a name is a usual spelling of, or begins with."""
    found = (_WORDS.fullmatch if whole else _WORDS.match)(name)
    return None if found is None else PARTS[(found.lastindex or 1) - 1]


def natural(name: str) -> tuple[list[Any], str]:
    """A key by which numbers in names are sorted as numbers, and capitals as small letters."""
    pieces: list[Any] = _NUMBER.split(name.lower())
    pieces[1::2] = map(int, pieces[1::2])
    return pieces, name


class _SizesError(DataError):
    """Pictures have several sizes, these among them."""

    def __init__(self, message: str, sizes: tuple[int, ...]) -> None:
        super().__init__(message)
        self.sizes = sizes


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
            ignores the aspect, "pad" scales to fit inside and fills with black; without one they keep theirs, or
            where these differ get 64 x 64, or less of smaller pictures, which is said.
        on_corrupt: "refuse" or "skip" the files that cannot be decoded; either way the first of them are named.
        labels: A file that lists names and labels; see `lists.read_list`.
        label_column: Which column of the list is the label.
        seed: Of the examples of train that become a part which the folder's own split lacks.

    Raises:
        DataError: No pictures, unreadable pictures, several depths, more than memory holds, or an unclear layout of
            folders.
    """
    notes: list[str] = []
    if folder.is_file():
        if labels is not None or label_column is not None:
            raise DataError(f"{folder} is one picture; a list of names and labels is for a folder of them")
        folder, files = folder.parent, [_File(folder.name, 0, None)]
    else:
        files = _list(folder, labels, label_column, seed, notes)
    try:
        array, kept = _read(folder, files, form, on_corrupt, notes)
    except _SizesError as error:
        size = min(_USUAL_SIZE, *error.sizes)
        notes.append(
            f"{error}: each is scaled and cut to {size} x {size} around its middle; image_size= names another size, "
            "with crop='stretch' or 'pad' for other ways"
        )
        array, kept = _read(folder, files, replace(form, size=(size, size)), on_corrupt, notes)
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
        settled=True,
        names=tuple(file.path for file in kept),
    )


def _list(
    folder: Path, labels: str | None, label_column: str | None, seed: int, notes: list[str]
) -> list[_File]:
    """The pictures with their parts and labels: those of train first, in natural order."""
    paths, others = [], []
    for path in _walk(str(folder)):
        (paths if _is_picture(path) else others).append(path)
    if not paths:
        raise DataError(
            f"{folder} holds no images ({', '.join(SUFFIXES)}), neither directly nor in sub-folders; it has "
            f"{some(sorted(child.name for child in folder.iterdir())) or 'nothing'}"
        )
    parts = _parts_of(folder, paths)
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
        known = _classes(folder, paths, bool(parts))
    else:
        known = match(pairs, paths, some(lists))
    numbers = [PARTS.index(parts[_top(path)]) if parts else 0 for path in paths]
    if parts:
        numbers = completed(str(folder), numbers, seed, notes, "pictures")
    files = [_File(*entry) for entry in zip(paths, numbers, known, strict=True)]
    return sorted(files, key=lambda file: file.part)  # which keeps the order within a part


def pictures_in(folder: Path) -> list[str]:
    """Paths within a folder of the pictures below it, in natural order."""
    return [path for path in _walk(str(folder)) if _is_picture(path)]


def _is_picture(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in SUFFIXES


def refuse_run(folder: str | Path) -> None:
    """Raise a DataError if the folder is that of a run: its pictures are no data."""
    inside = Path(folder)
    if (inside / "config.json").is_file() and any((inside / part).exists() for part in _OF_A_RUN):
        raise DataError(
            f"{folder} is the folder of a run, and its pictures are no data; name the data that are meant, or a "
            f"single file in it; `lowerbound compare RUN {folder}` puts runs side by side, `lowerbound evaluate "
            f"{folder}` and `lowerbound report {folder}` are about the run itself"
        )


def _walk(folder: str, inside: str = "", above: tuple[str, ...] = ()) -> Iterator[str]:
    """Paths within a folder of the files below it, in natural order; not of what is hidden or left by systems."""
    here = os.path.realpath(folder)
    if here in above:  # a link to a folder that it lies in
        return
    try:
        entries = sorted(os.scandir(here), key=lambda entry: natural(entry.name))
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error}") from error
    if any(entry.name == "config.json" for entry in entries):
        refuse_run(folder)
    for entry in entries:
        if entry.name[0] == "." or entry.name.lower() in _LITTER:
            continue
        if entry.is_file() or not os.path.exists(entry.path):
            yield inside + entry.name
        elif entry.is_dir():  # neither, for a pipe would be waited for
            yield from _walk(entry.path, f"{inside}{entry.name}/", (*above, here))


def _top(path: str) -> str:
    """The sub-folder that a path goes through first; nothing if it is a file's name alone."""
    return path[: path.find("/")] if "/" in path else ""


def _parts_of(folder: Path, paths: Sequence[str]) -> dict[str, str]:
    """Which sub-folder is which part of a split; empty if the folder has none of its own.

    Raises:
        DataError: Some are and others are not, two are the same, or train is missing.
    """
    tops = [top for top in dict.fromkeys(map(_top, paths)) if top]
    parts = {name: part for name in tops if (part := part_of(name))}
    flat = next((path for path in paths if "/" not in path), None)
    beside = [name for name in tops if name not in parts] + ([] if flat is None else [flat])
    if beside and set(parts.values()) <= {"train"}:
        return {}  # there are pictures of trains
    if beside:
        raise DataError(
            f"{folder} has {some(parts)}, parts of a split, and next to them {some(beside)}; move these, or rename "
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


def completed(
    name: str, numbers: list[int], seed: int, notes: list[str], what: str = "examples"
) -> list[int]:
    """The part of each example (0, 1, 2), where a part that is missing is drawn from train."""
    numbers, train = list(numbers), numbers.count(0)
    order = [i for i in np.random.default_rng(seed).permutation(len(numbers)) if numbers[i] == 0]
    count = max(1, round(_SHARE * train))
    for part in sorted({1, 2} - set(numbers)):
        if len(order) <= count:
            raise DataError(
                f"{name} has {train} {what} of train, too few for a part of them to be {PARTS[part]}"
            )
        drawn, order = order[:count], order[count:]
        for i in drawn:
            numbers[i] = part
        notes.append(f"no {what} of {PARTS[part]}, so {count} of the {train} of train are taken, by the seed")
    return numbers


def _classes(folder: Path, paths: Sequence[str], split: bool) -> list[str | None]:
    """The classes that sub-folders are, within the parts of a split; None for each picture if there are none."""
    depth = int(split)
    folders = [path.split("/")[depth:-1] for path in paths]
    flat = next((path for path, own in zip(paths, folders, strict=True) if not own), None)
    nested = next((path for path, own in zip(paths, folders, strict=True) if own), None)
    if flat and nested:
        raise DataError(
            f"{folder} has images both directly ({flat}, ...) and in sub-folders ({nested}, ...); put all of them in "
            "sub-folders, one per class, or none"
        )
    return [own[0] if own else None for own in folders]


def _listed(
    folder: Path, labels: str | None, label_column: str | None, others: Sequence[str]
) -> tuple[list[tuple[str, Any]] | None, list[str]]:
    """Names and labels by a list, if there is one, and the lists that are in use."""
    if labels is not None:
        given = Path(labels).expanduser()
        file = given if given.is_file() else folder / given
        pairs = read_list(file, label_column)
        if pairs is None:
            raise DataError(f"{file} has no column called label; pass label_column=, the one that is")
        same = [path for path in others if file.samefile(folder / path)]
        return pairs, same or [str(file)]
    lists = [
        path
        for path in others
        if path.removeprefix(f"{_top(path)}/") in METADATA
        and (not _top(path) or part_of(_top(path)))
        and is_metadata(folder / path)
    ]
    pairs = []
    for path in lists:
        own = read_list(folder / path, label_column, path[: path.rfind("/") + 1])
        if own is None:
            return None, []
        pairs += own
    return (pairs, lists) if lists else (None, [])


def _read(
    folder: Path, files: Sequence[_File], form: PictureForm, on_corrupt: str, notes: list[str]
) -> tuple[np.ndarray, list[_File]]:
    """The pictures (N, C, H, W), C = 1 if all are grey, and of which file each is."""
    paths = [f"{folder}/{file.path}" for file in files]
    counts = [count_frames(path) for path in paths] if form.frames == "all" else [1] * len(paths)
    array, kept, corrupt, grey, said = None, [], [], 0, Counter()
    with progress_bar("reading pictures", len(files), True, after=_QUIET) as advance:
        for i, result in enumerate(_decoded(paths, form)):
            advance()
            if isinstance(result, UnfitError):
                raise DataError(f"{folder}: {files[i].path} cannot be taken as it is: {result}")
            if isinstance(result, Exception):
                corrupt.append(f"{files[i].path} ({result})")
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
                grey += values.ndim == 2
                for remark in picture.remarks:
                    said[remark] += 1
    if corrupt:
        notes.append(_report(folder, corrupt, len(files), on_corrupt))
    assert array is not None  # else all are corrupt
    if form.channels is None and array.shape[1] == 3 and grey:
        notes.append(f"grey pictures among coloured ones get three equal channels ({grey} of {len(kept)})")
    for remark in sorted(said):
        notes.append(f"pictures with {form.told(remark)} ({said[remark]} of {len(kept)})")
    return array[: len(kept)], kept


def _decoded(paths: Sequence[str], form: PictureForm) -> Iterator[list[Picture] | Exception]:
    """What becomes of each file, in their order; threads work some files ahead."""

    def work(path: str) -> list[Picture] | Exception:
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
            if len(ahead) > 2 * threads:
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
        raise _SizesError(
            f"{kept[0].path} is {height}x{width} and {file.path} {values.shape[-2]}x{values.shape[-1]} (height x "
            "width)",
            (height, width, *values.shape[-2:]),
        )
    if values.dtype != array.dtype:
        raise DataError(
            f"the images in {folder} have several depths: {kept[0].path} is read as {array.dtype} and "
            f"{file.path} as {values.dtype}; bring all to one depth"
        )


def _report(folder: Path, corrupt: Sequence[str], total: int, on_corrupt: str) -> str:
    """What is said of files that are left out, unless they are refused."""
    listed = f"{len(corrupt)} of {total} images cannot be decoded: {some(corrupt, _NAMED)}"
    if on_corrupt == "refuse":
        raise DataError(f"{folder}: {listed}; repair or remove them, or pass on_corrupt='skip'")
    if len(corrupt) == total:
        raise DataError(f"{folder}: {listed}; none is left")
    return f"left out, {listed}"
