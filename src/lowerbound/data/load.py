"""`load`: from a name, a path or an object in memory to three splits of known meaning."""

from __future__ import annotations

import difflib
import inspect
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import numpy as np

from ..errors import ConfigError, DataError, brief, suggest
from . import arrays, idx, objects, sparse, tables
from .dataset import Data
from .entries import read_entries, read_labels
from .files import find, read_files, reading_of, user_path
from .frames import TABLE_SUFFIXES, is_table
from .images import pictures_in, read_folder, refuse_run
from .lists import TYPES
from .masks import MASK_RULES, check_rule
from .memory import MIB, cap_of
from .partition import check_parts, cut, cut_by_identity, is_cut, make_splits
from .pictures import SUFFIXES, PictureForm, check_colour, some
from .several import check_names, join_source, meaning_of
from .shared import Shared
from .source import Source
from .spec import Binarize, ColumnSpec, ConditionSpec, DataSpec, Values, check_option, owners_of
from .values import interpret, scan

NAMES = ("digits", *idx.DATASETS)
_FRACTIONS = (0.8, 0.1, 0.1)
_FEW = 10  # training examples
_SUFFIXES = (
    ".npy, .npz, .csv, .tsv, .txt, .data, .json, .xlsx, .parquet (tables also packed: .csv.gz, ...), .tar"
)
_STREAMED = "a .npy or .parquet file, tar shards, or a folder of .parquet or .tar files"

# Options that mean something for some sources only: the value for "not used", and where they are.
_PICTURES = ("folder", "parquet", "tar", "columns")
_TABLES = ("table", "file", "parquet", "columns")
_ARRAYS = (None, "npy", "parquet", "tar", "columns")
_LABELLED = (*_TABLES, "tar", "folder")
_ONLY = {
    "image_size": (None, _PICTURES),
    "crop": ("center", _PICTURES),
    "channels": (None, _PICTURES),
    "frames": (None, _PICTURES),
    "background": ("white", _PICTURES),
    "on_corrupt": ("refuse", ("folder",)),
    "columns": (None, _TABLES),
    "label_column": (None, _LABELLED),
    "schema": (None, _TABLES),
    "unknown": ("refuse", _TABLES),
    "missing": (None, _TABLES),
    "axes": (None, _ARRAYS),
    "stream": (None, ("npy", "parquet", "tar", "file")),
    "memory": (None, ("npy", "parquet", "tar")),
}
_FORMS = {
    ("folder",): "folders of images",
    _PICTURES: "folders of images, and pictures in tar shards or .parquet files",
    _TABLES: "tables (.csv and other text, .xlsx, .parquet, DataFrame)",
    _LABELLED: "tables (.csv, .parquet, DataFrame), tar shards, and folders of images with a list of labels",
    ("npy", "parquet", "tar"): _STREAMED,
    ("npy", "parquet", "tar", "file"): f"a table of text, {_STREAMED}",
    _ARRAYS: "arrays, in memory, in .npy, .npz and .parquet files and tar shards",
}


def load(
    source: Any,
    *,
    root: str | os.PathLike[str] | None = None,
    binarize: Binarize | None = None,
    labels: Any = None,
    split: Sequence[float] = _FRACTIONS,
    split_by: Any = None,
    seed: int = 0,
    image_size: int | Sequence[int] | None = None,
    crop: str = "center",
    channels: int | None = None,
    frames: str | None = None,
    background: str = "white",
    dequantize: bool = True,
    on_corrupt: str = "refuse",
    columns: Sequence[str] | None = None,
    label_column: str | None = None,
    values: Values | None = None,
    axes: str | None = None,
    schema: Any = None,
    unknown: str = "refuse",
    missing: str | float | Sequence[str | float] | None = None,
    condition: str | Sequence[str] | Mapping[str, Any] | None = None,
    observed: str | Sequence[str] | None = None,
    parts: Sequence[str] | None = None,
    labelled: int | None = None,
    groups: Any = None,
    stream: bool | None = None,
    memory: int | float | None = None,
) -> Data:
    """Load data and split them into train, valid and test.

    Values are read by these rules, which `binarize` and `values` override:

    - "mnist" and "digits" are binarised dynamically; nothing else is binarised unless asked for.
    - Zeros and ones only, from a file or from memory, are binary.
    - Images of bytes (or of integers 0..255) are dequantised to (v + u)/256, or with `dequantize=False` scaled to
      v/255; those of uint16 likewise, by 65536 and 65535. Images of floats in [0, 1] are taken as they are. All these
      are "unit".
    - The columns of a table are what their cells say: numbers, whole numbers, categories, dates, ...; see
      `lowerbound.data.schema` and, to change it, `schema`. Empty cells are missing values, NaN in x.
    - Whole numbers in a sparse matrix or an AnnData, none of them negative, are counts.
    - Everything else is real: vectors too, even where they lie in [0, 1]. There too NaN, or the mask of a masked
      array, is a missing value.

    MNIST and Fashion-MNIST are split 50,000 / 10,000 / 10,000, validation being the end of the training file; a .npz
    with arrays train, valid and test and a folder with these three sub-folders keep their own split, and so does one
    of .parquet or .tar files whose names begin with these words. All else is cut by `split`: "digits" and `groups`
    by a permutation from the seed, what is streamed by blocks, and the rest by the values of the examples and
    the seed (see `split_by`): equal examples are not parted, and one of each class that is conditioned on goes to
    train.

    Files larger than memory are streamed: they stay on disk, and a window of their blocks (row groups of .parquet,
    ranges of .npy and of tar shards) is in memory at a time; `Split.order` says how they are shuffled. What is
    streamed is split by whole blocks.

    What is conditioned on is a label if it is one whole number, word or boolean for each example (in a table only
    words, booleans and categories are); else a vector, or with the axes of images an image, scaled to [0, 1] if it is
    of bytes. Where it has NaN, None, an empty word or an empty cell, the entry of this example is missing.

    Args:
        source: "digits", "mnist" or "fashion-mnist" (for a file or folder of that name write "./mnist"); a folder of
            images, or one of them; a .npy (memory-mapped) or .npz file; a table (.csv, .tsv, .json, .xlsx, .parquet,
            ...; see `lowerbound.data.frames`); tar shards as the webdataset package writes them; a folder of .parquet
            or .tar files; or an object in memory: an array, tensor or DataFrame, a torch data set or DataLoader, a
            data set of Hugging Face, a list, ...; see `lowerbound.data.objects`; or a sparse matrix of scipy, in
            memory or in its own .npz, or an AnnData, which stay sparse until a batch is drawn.
        root: Where to look for MNIST and Fashion-MNIST: a folder that holds MNIST/raw, or that folder itself. The
            default is $LOWERBOUND_DATA, then a download into the cache.
        binarize: "none"; "dynamic", a fresh draw each time with P(x = 1) = v/white; "static", one draw from the seed;
            "threshold" at the middle; None for what is usual for the source.
        labels: One label per example, whole numbers or strings, or the path of a .npy with them; for a folder of
            images in the natural order of their paths (2.png before 10.png). Or the path of a list of file names and
            labels, .csv, .jsonl or .parquet, there or in the folder; a metadata.csv in the folder need not be named.
        split: Shares of train, valid and test.
        split_by: How examples in memory are told apart: None, by a hash of their values, so that an example stays in
            its split whatever is added, removed or put elsewhere; "permutation", by their places; or the table that
            a run keeps of where the hashes are cut.
        seed: Of the hashes or the permutation, of static binarisation and of the labels that `labelled` keeps.
        image_size: Size of the images of a folder, of shards or of a .parquet, one number or (height, width). None
            for their own; where those of a folder differ, 64 or less, which is said.
        crop: How they get there: "center" covers the size and cuts, "stretch" ignores the aspect, "pad" fills.
        channels: 1 for grey, 3 for colour, 4 for colour and transparency, None for grey if all images of the folder
            are; of shards and of a .parquet for what the first is stored as.
        frames: What becomes of images of several frames: "all" makes each an example (of a folder), "first" takes the
            first, None refuses them.
        background: Colour under transparent parts of images, by name or as "#rrggbb".
        dequantize: Whether to add uniform noise to the grey levels of images that are not binarised.
        on_corrupt: "refuse" or "skip" images of a folder that cannot be decoded.
        columns: The table's columns to use.
        label_column: The column of the table, or of the list of labels, that is the label; in shards the name in the
            .json, which else is the .cls.
        values: "binary", "unit", "real", "count" or "categorical"; of a table "real" takes all columns as plain
            numbers.
        axes: What the axes of an array are where the look at them is not right, a letter each: N examples, and D of
            vectors or C, H, W of pictures, like "NHWC" or "HWN".
        schema: What the columns of a table mean where the look at them is not right: a list of tables with "name" and
            other attributes of `ColumnSpec`, a table of them (or of kinds) by name, or the path of a .json with that,
            as `lowerbound inspect` writes it.
        missing: What stands for an empty cell in a table, besides the usual words: -999, or several, like
            [-999, "not asked"]. For single columns see "gaps" in their schema.
        unknown: What a category that a trained model does not know becomes: "refuse", or "missing".
        condition: What x depends on, one name or several: "label", the source's labels; columns of a table, which are
            then no longer data; other arrays of a .npz file (train_NAME, valid_NAME and test_NAME where it has its
            own split); names in the .json of shards. Or a dict of arrays by name; `Shared` where many examples have
            one value.
        observed: Make a part of x itself the entry "observed" of the condition: "quadrant", "half",
            "three-quadrants" or "random" (see `lowerbound.data.masks`), or the columns of a table that are observed.
        parts: Names of the parts of x, where it has several, like ["image", "label"]. The first is x itself, of a
            dict of arrays or a .npz the array of this name; the others lie where `condition` finds what it names.
            See `split_parts` and `join_parts`.
        labelled: Keep so many labels of the training split as condition, of each class equally many; the others are
            missing.
        groups: One number or word per example, or the path of a .npy with them: examples of a group stay in one
            split, so that nothing of a test group was seen in training. `split` then gives the shares of the groups.
        stream: Whether to leave the examples of .npy, .parquet and .tar files on disk and read them by blocks; and
            those of tables of text, of which a copy is mapped that lies in the folder for temporary files. None if
            they would take more than a quarter of the memory that is available.
        memory: MiB of decoded blocks that are kept of what is streamed, by each process; the order of an epoch
            depends on it. None for 512, or an eighth of the machine's memory if that is less.

    Returns:
        The three splits, their spec, and the options that load them again.

    Raises:
        ConfigError: An option is wrong, or does not fit this source.
        DataError: The data are missing, damaged, or not what they should be.

    Example:
        >>> load("digits").spec.event_shape
        (1, 8, 8)
        >>> load("digits", condition="label", labelled=100).spec.conditions[0].missing
        True
    """
    return _load(source, {name: value for name, value in locals().items() if name != "source"})


USUAL = {name: p.default for name, p in inspect.signature(load).parameters.items() if name != "source"}
# Options that are kept with a run, to load the same data again: all whose value is not an array.
_STORED = (
    "root", "binarize", "labels", "split", "split_by", "seed", "image_size", "crop", "channels", "frames",
    "background", "dequantize", "on_corrupt",
    "columns", "label_column", "values", "axes", "schema", "unknown", "missing", "condition", "observed", "parts",
    "labelled", "groups",
)  # fmt: skip


def load_as(source: Any, like: DataSpec, **options: Any) -> Data:
    """Load data for a model that is trained: what stored values mean is what they meant then.

    Args:
        source: As for `load`.
        like: What the model is trained on.
        **options: Those of `load`. Without `split`, a source that brings no split of its own is not cut: train, valid
            and test are each all of it.
    """
    for name in options:
        if name not in USUAL:
            raise ConfigError(f"load_like has no option {name!r}; {suggest(name, USUAL)}")
    return _load(source, USUAL | {"split": None} | options, like)


def _load(source: Any, given: Mapping[str, Any], like: DataSpec | None = None) -> Data:
    condition, labels, groups = given["condition"], given["labels"], given["groups"]
    arrays_given = condition if isinstance(condition, Mapping) else {}
    options = {name: _stored(given[name]) for name in _STORED}
    for name in ("columns", "condition"):
        options[name] = [given[name]] if isinstance(given[name], str) else options[name]
    if isinstance(condition, Mapping):
        options["condition"] = None
    for name in ("groups", "split_by", "axes", "parts", "missing"):
        if options[name] is None:
            del options[name]
    whole = options["split"] is None
    options["split"] = options["split"] or list(_FRACTIONS)
    streaming = {"stream": given["stream"], "memory": given["memory"]}
    of_model = like.named if like is not None else None
    several = [part.source for part in of_model] if of_model and given["parts"] is None else given["parts"]
    if several is not None:
        options["parts"] = several = check_names(several)
        if given["values"] is not None:
            raise ConfigError("values= is for x of one kind; with parts= leave it out")
    _check(options | streaming, labels)
    observed, seed = given["observed"], given["seed"]
    asked = list(arrays_given) if isinstance(condition, Mapping) else options["condition"]
    names = _check_conditions(asked, observed, given["labelled"])
    for part in set(several or ()) & set(names):
        raise ConfigError(f"{part!r} is both a part of x and a condition; leave it out of one of them")
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else "array"
    known = _schema_of(given["schema"]) if like is None else _table_of(like)
    # A list of names and labels is for the reader of the folder, which knows the names.
    beside = None if _is_list(options["labels"]) else labels
    how = options | streaming | {"schema": known, "axes": given["axes"] or (like and like.event_shape)}
    found = _joined(_open(source, how), beside, arrays_given, name)
    cap = cap_of(given["memory"])
    if found.streams:
        options |= {"stream": found.streamed, "memory": cap if found.streamed else None}
    if found.streamed:
        _check_streamed(options, groups, name)
    if found.own_split and tuple(options["split"]) != _FRACTIONS:
        raise ConfigError(f"split={options['split']}: {name} has a split of its own; leave split out")
    # Blocks have the axes of data already.
    found = found.with_parts(
        [
            arrays.check_array(part, name, axes=how["axes"])
            if isinstance(part, np.ndarray) and not found.settled
            else part
            for part in found.parts
        ]
    )
    whole = whole and not found.own_split
    check_parts(found, name, whole)
    event_shape = found.parts[0].shape[1:]
    kind = "vector" if len(event_shape) == 1 else "image"
    named = readings = None
    if several is not None:
        how_read = {option: given[option] for option in ("binarize", "dequantize")}
        found, named, readings = join_source(found, several, how_read, like, name)
        event_shape, kind = found.parts[0].shape[1:], "vector"
    cuts: list[Any] = [slice(0, len(found.parts[0]))] * 3
    by = options.pop("split_by", None)
    if not whole:
        grouped = None if groups is None else _read_groups(groups, found, name)
        if found.own_split or found.streamed or grouped is not None or name in NAMES:
            cuts = cut(found, options["split"], seed, grouped)
        elif by == "permutation":
            cuts, options["split_by"] = cut(found, options["split"], seed), by
        else:
            cuts, options["split_by"] = cut_by_identity(found, options["split"], seed, names, by, name)
    numbered = read_labels(found, cuts, name, optional="label" in names)
    entries = read_entries(
        found, names, numbered, cuts, name, labelled=given["labelled"], seed=seed, like=like
    )
    conditions = [entry.spec for entry in entries]
    if observed is not None:
        rule = observed if isinstance(observed, str) else tuple(observed)
        check_rule(rule, event_shape, found.columns or owners_of(named))
        conditions.append(ConditionSpec("observed", "observed", (2, *event_shape), masks=rule))
    facts = scan(found, name)
    asked_for = {option: given[option] for option in ("binarize", "values", "dequantize")}
    if like is not None and like.stored is None and like.table is None:  # written before both were stored
        asked_for["values"] = like.values
    if readings is None:
        meaning = interpret(found, facts, kind, like=like, name=name, **asked_for)
    else:
        meaning = meaning_of(readings)
    spec = DataSpec(
        source=name,
        kind=kind,
        event_shape=event_shape,
        values=meaning.values,
        binarize=meaning.binarize,
        levels=meaning.levels,
        categories=meaning.categories,
        columns=found.columns,
        classes=None if numbered is None else numbered.spec.classes,
        conditions=tuple(conditions) or None,
        missing=facts.missing > 0 or named is not None,  # of named parts, any may be left out
        table=found.table if like is None else like.table,
        stored=None if found.table is not None else str(facts.stored_as),
        white=meaning.white,
        file=found.file,
        named=named,
    )
    splits = make_splits(found, cuts, numbered, entries, spec, meaning.reading, seed, int(cap * MIB))
    order = None if found.own_split or whole else np.concatenate(cuts)
    if named is None:
        options["binarize"] = spec.binarize
    notes = [*found.notes, *facts.notes(meaning, found.table is not None)]
    if not whole and len(splits[0]) < _FEW:
        notes.append(f"only {len(splits[0])} examples to train on; of so few nothing can be learned")
    return Data(*splits, options=options, order=order, whole=whole, notes=notes, names=found.names)


def _table_of(like: DataSpec) -> tuple[ColumnSpec, ...] | None:
    """What the columns of a table mean to a model; where nothing was stored of them, they are plain numbers."""
    if like.table is None and like.columns is not None:
        return tuple(ColumnSpec(name, "real", "float") for name in like.columns)
    return like.table


def _stored(value: Any) -> Any:
    """An option as JSON keeps it: a tuple as a list, a path as its words; what is no such thing is not kept."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    value = _listed(value)
    return value if value is None or isinstance(value, str | int | float | list | dict) else None


def _schema_of(schema: Any) -> Any:
    """A user's schema, read from its file if it is one."""
    if not isinstance(schema, str | os.PathLike):
        return schema
    path = Path(schema).expanduser()
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the schema {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the schema {path} is no valid JSON: {error}") from None


def _listed(value: Any) -> Any:
    """A tuple as the list that JSON makes of it."""
    return list(value) if isinstance(value, tuple) else value


def _check(options: dict[str, Any], labels: Any) -> None:
    """Everything about the options that can be told without the source."""
    check_option("binarize", options["binarize"], (None, *get_args(Binarize)))
    check_option("values", options["values"], (None, *get_args(Values)))
    check_option("crop", options["crop"], ("center", "stretch", "pad"))
    check_option("on_corrupt", options["on_corrupt"], ("refuse", "skip"))
    check_option("channels", options["channels"], (None, 1, 3, 4))
    check_option("frames", options["frames"], (None, "first", "all"))
    check_colour(options["background"])
    if options["channels"] == 4 and options["background"] != "white":
        raise ConfigError("channels=4 keeps transparency, so nothing shows through; leave background out")
    check_option("dequantize", options["dequantize"], (True, False))
    arrays.check_axes(options.get("axes"))
    check_option("unknown", options["unknown"], ("refuse", "missing"))
    split, seed, size = options["split"], options["seed"], options["image_size"]
    by = options.get("split_by")
    if by not in (None, "permutation") and not is_cut(by):
        raise ConfigError(
            f'split_by={brief(by)} must be None, "permutation", or what a run keeps of its split'
        )
    if not _numbers(split, 3) or abs(sum(split) - 1) > 1e-6:
        raise ConfigError(f"split={split!r} must be three positive shares that sum to 1, like {_FRACTIONS}")
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ConfigError(f"seed={seed!r} must be a whole number, not negative")
    if size is not None and not (_numbers([size], 1, int) or _numbers(size, 2, int)):
        raise ConfigError(f"image_size={size!r} must be a positive number of pixels, or (height, width)")
    if options["columns"] is not None and not isinstance(options["columns"], list):
        raise ConfigError(f"columns={options['columns']!r} must be a list of names")
    if options["values"] not in (None, "binary") and options["binarize"] not in (None, "none"):
        raise ConfigError(
            f"binarize={options['binarize']!r} gives binary values, but values={options['values']!r}; leave one out"
        )
    check_option("stream", options["stream"], (None, True, False))
    memory = options["memory"]
    if memory is not None and not _numbers([memory], 1):
        raise ConfigError(f"memory={memory!r} must be a positive number of MiB, like {cap_of(None):g}")
    if labels is not None and options["label_column"] is not None and not _is_list(options["labels"]):
        raise ConfigError("labels= and label_column= both name the labels; give one of them")


def _check_streamed(options: dict[str, Any], groups: Any, name: str) -> None:
    """What cannot be had without all examples in memory."""
    if options["binarize"] == "static":
        raise ConfigError(
            f"binarize='static' keeps one draw of everything in memory, but {name} is streamed; use 'dynamic' or "
            "'threshold', or stream=False"
        )
    if groups is not None:
        raise ConfigError(
            f"groups= would cut through the blocks of {name}, which is streamed; bring the split in sub-folders "
            "train, valid and test, or pass stream=False"
        )


def _check_conditions(names: Any, observed: Any, labelled: Any) -> list[str]:
    """The names to condition on, with everything checked that can be told without the source."""
    names = [] if names is None else names
    if not _words(names):
        raise ConfigError(f"condition={names!r} must be a name, a list of names, or a dict of arrays by name")
    if len(set(names)) < len(names):
        raise ConfigError(f"condition={names} repeats a name; give each once")
    if "observed" in names:
        raise ConfigError("condition 'observed' is the one that observed= makes from x; choose another name")
    if isinstance(observed, str):
        check_option("observed", observed, MASK_RULES)
    elif observed is not None and not _words(_listed(observed)):
        raise ConfigError(f"observed={observed!r} must be {', '.join(MASK_RULES)}, or a list of columns")
    if labelled is not None and (not isinstance(labelled, int) or isinstance(labelled, bool) or labelled < 1):
        raise ConfigError(f"labelled={labelled!r} must be a positive whole number of labels to keep")
    if labelled is not None and "label" not in names:
        raise ConfigError(f"labelled={labelled} keeps labels as condition; add condition='label'")
    return names


def _is_list(labels: Any) -> bool:
    """Whether labels are given as the path of a list that names the pictures."""
    return isinstance(labels, str) and Path(labels).suffix.lower() in TYPES


def _words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _numbers(value: Any, count: int, kind: type | UnionType = int | float) -> bool:
    return (
        isinstance(value, list) and len(value) == count and all(isinstance(v, kind) and v > 0 for v in value)
    )


def _open(source: Any, options: dict[str, Any]) -> Source:
    """Read the source, whatever it is."""
    if isinstance(source, str | os.PathLike):
        return _open_path(os.fspath(source), options)
    if sparse.is_sparse(source) or sparse.is_annotated(source):
        _check_use(options, None)
        if sparse.is_annotated(source):
            return sparse.read_annotated(source, _parts(options))
        return sparse.read_sparse(source, "the matrix")
    held = objects.held(source)
    _check_use(options, held.form)
    if held.form == "columns" and (names := options.get("parts")):
        own = {"columns": names[:1], "label_column": "label" if "label" in names[1:] else None}
        options = options | {option: options[option] or value for option, value in own.items()}
    return held.read(PictureForm.of(options), reading_of(options, _parts(options)), options["seed"])


def _open_path(name: str, options: dict[str, Any]) -> Source:
    if name in NAMES:
        _check_use(options, name)
        return _read_digits() if name == "digits" else idx.read_mnist(name, options["root"])
    path = user_path(name)
    if not path.exists():
        raise DataError(_not_found(name, path))
    if path.is_dir():
        refuse_run(path)
    # A list of the pictures' labels may lie among them, and be a .parquet.
    files = None if path.is_dir() and _is_list(options["labels"]) else find(path)
    if files is not None:
        if path.is_dir() and (pictures := pictures_in(path)):
            warnings.warn(
                f"{name} is read as {files.suffix} files; passed over {len(pictures)} pictures in it: "
                f"{some(pictures)}",
                stacklevel=4,
            )
        _check_use(options, files.suffix[1:])
        return read_files(files, options, _parts(options) if files.suffix != ".npy" else ())
    suffix = path.suffix.lower()
    if path.is_dir() or suffix in SUFFIXES:
        _check_use(options, "folder")
        return read_folder(
            path,
            PictureForm.of(options),
            on_corrupt=options["on_corrupt"],
            labels=options["labels"] if _is_list(options["labels"]) else None,
            label_column=options["label_column"],
            seed=options["seed"],
        )
    if path.name.lower().endswith((".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")):
        raise DataError(
            f"{name} is compressed, and samples of a shard are read by their place; unpack it to a .tar"
        )
    if path.name.lower().endswith(TABLE_SUFFIXES):
        _check_use(options, "file")
        return tables.read_table(path, reading_of(options, _parts(options)), options["stream"])
    _check_use(options, None)
    if suffix == ".npz" and sparse.is_sparse_npz(path):
        return sparse.read_sparse_npz(path)
    if suffix == ".npz":
        return arrays.read_npz(path, _parts(options), *(options.get("parts") or ())[:1])
    if suffix in (".pkl", ".pickle", ".pt", ".pth", ".joblib"):
        raise DataError(
            f"{name} is a pickle, and opening one can run any code; save the array with numpy.savez"
        )
    if suffix == ".h5ad":
        raise DataError(
            f"{name} is read by anndata: pass load(anndata.read_h5ad(path)), or save its counts by "
            "scipy.sparse.save_npz('cells.npz', adata.X)"
        )
    if is_table(path):
        _check_use(options, "file")
        found = tables.read_table(path, reading_of(options, _parts(options)), options["stream"])
        said = (
            f"{suffix or 'no ending'} is no known type of file: read as a table, which its content looks like"
        )
        return replace(found, notes=(said, *found.notes))
    raise DataError(
        f"{name} has no known type; readable are {_SUFFIXES}, a folder of images, or {', '.join(NAMES)}"
    )


def _parts(options: dict[str, Any]) -> list[str]:
    """What is to be conditioned on, or a part of x, and lies in the source beside the data and the labels."""
    names = [*(options["condition"] or ()), *(options.get("parts") or ())[1:]]
    return [name for name in names if name != "label"]


def _check_use(options: dict[str, Any], form: str | None) -> None:
    for option, (unused, forms) in _ONLY.items():
        # What a model knows of its table is no option of the user's.
        given = unused if isinstance(options.get(option), tuple) else options.get(option)
        if form not in forms and given != unused:
            raise ConfigError(f"{option}={given!r} is for {_FORMS[forms]}, which this source is not")
    if form != "folder" and _is_list(options["labels"]):
        raise ConfigError(
            f"labels={options['labels']!r} goes by the names of pictures, so it is for folders of them; pass a .npy, "
            "or the array"
        )
    if form != "folder" and options["frames"] == "all":
        raise ConfigError(
            "frames='all' is for folders of images; a sample or row is one example, so pass 'first'"
        )
    if options["crop"] != "center" and options["image_size"] is None:
        raise ConfigError(f"crop={options['crop']!r} needs image_size=")


def _not_found(name: str, path: Path) -> str:
    near = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.5)
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    # The part of the path that does not exist, compared with what there is at its place.
    wrong = path.absolute().relative_to(folder).parts[0]
    there = difflib.get_close_matches(wrong, [child.name for child in folder.iterdir()], n=3, cutoff=0.5)
    hints = [repr(found) for found in near] + [str(folder / found) for found in there]
    hint = f"; did you mean {' or '.join(hints)}?" if hints else ""
    return (
        f"{name!r} is neither a data set ({', '.join(NAMES)}) nor a file or folder: "
        f"{wrong!r} is not in {folder}{hint}"
    )


def _read_digits() -> Source:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = np.asarray(pixels, np.uint8).reshape(-1, 8, 8)
    return Source((images,), (np.asarray(labels),), classes=tuple("0123456789"), white=16, binarize="dynamic")


def _read_groups(groups: Any, source: Source, name: str) -> np.ndarray:
    """The group of each example."""
    if source.own_split:
        raise ConfigError(f"groups= is for sources without a split of their own; {name} brings its own")
    if isinstance(groups, str | os.PathLike):
        return arrays.open_npy(user_path(groups))
    if name != "array":
        # Read again without them, as an evaluation of a run reads its data, the file would be split otherwise.
        raise ConfigError(
            f"{name} can be read again, but not groups= from memory; save them with numpy.save and give the path"
        )
    return arrays.as_numpy(groups)


def _joined(source: Source, labels: Any, conditions: Mapping[str, Any], name: str) -> Source:
    """The source with the labels and the arrays to condition on that the user gave, if any."""
    if source.own_split and (labels is not None or conditions):
        what = "labels=" if labels is not None else "a dict of arrays as condition="
        raise ConfigError(f"{what} is for sources without a split of their own; {name} brings its own")
    if labels is not None:
        if isinstance(labels, str | os.PathLike):
            labels = arrays.open_npy(user_path(labels))
        source = replace(source, labels=(arrays.as_numpy(labels),), classes=None)
    given = {
        key: (array if isinstance(array, Shared) else arrays.as_numpy(array),)
        for key, array in conditions.items()
    }
    return replace(source, conditions={**source.conditions, **given})
