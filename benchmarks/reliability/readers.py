"""Damaged and hostile files for every reader: each must end in data or in our error, soon and in bounded memory.

    python benchmarks/reliability/readers.py [--cases 5000] [--readers npy csv] [--keep FOLDER]
    python benchmarks/reliability/readers.py --case npz:1234

Small valid files of each kind are damaged by a seeded generator and read in child processes. A case is *read*,
*refused* (by DataError or ConfigError with a message of bounded length), a *traceback* (any other exception, numpy's
warning of an invalid cast among them, or a process that died), a *hang* (no answer in time) or *over memory* (an
allocation beyond the limit was tried). ``--case`` runs a single one here, with its traceback.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # the others set whole GiB of addresses aside

import argparse
import functools
import gzip
import io
import json
import re
import resource
import shutil
import sys
import tarfile
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import write_result

from lowerbound.data import load
from lowerbound.data.idx import read_idx
from lowerbound.errors import ConfigError, DataError

SECONDS = 10.0  # that a case may take
MEMORY = 2 * 2**30  # bytes of addresses that a child may take beyond what it starts with
LETTERS = 5000  # of a message
CHUNK = 200  # cases of a child
OUTCOMES = ("read", "refused", "tracebacks", "hangs", "over_memory")

Members = dict[str, bytes]


@dataclass(frozen=True)
class Seed:
    """A valid file, as its members and how they are put together.

    Attributes:
        name: Of the file, whose suffix says its kind; "" for a folder.
        members: What is in it, by name.
        pack: Makes the bytes of the file of them.
        options: Sets of options to read it with.
    """

    name: str
    members: Members
    pack: Callable[[Members], bytes]
    options: tuple[dict[str, Any], ...] = ({},)


# Valid files


def _alone(members: Members) -> bytes:
    return next(iter(members.values()))


def _npy(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version)
    return stream.getvalue()


def _zip(members: Members, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name[:60_000], content)  # longer ones the format cannot hold
    return stream.getvalue()


def _tar(members: Members) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _picture(kind: str, colour: bool, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 256, (6, 5, 3) if colour else (6, 5), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind)
    return stream.getvalue()


def _parquet(columns: dict[str, Any], compression: str = "none") -> Callable[[Members], bytes]:
    """Put a table together; the member is what pandas wrote about it."""

    def pack(members: Members) -> bytes:
        table = pa.table(columns).replace_schema_metadata({"pandas": _alone(members)})
        stream = pa.BufferOutputStream()
        pq.write_table(table, stream, row_group_size=2, compression=compression)
        return stream.getvalue().to_pybytes()

    return pack


@functools.cache
def seeds(reader: str) -> tuple[Seed, ...]:
    """Return valid files for a reader."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 3))
    number, words = np.arange(30) % 3, np.array(["cat", "dog", "mouse"])[np.arange(30) % 3]
    streamed = ({}, {"stream": True}, {"stream": False})
    match reader:
        case "npy":
            pixels = rng.integers(0, 256, (30, 4, 4), np.uint8)
            arrays = (x, pixels, np.asfortranarray(x.astype(">f4")), number[:, None])
            contents = (*map(_npy, arrays), _npy(x, (2, 0)))
            return tuple(Seed("a.npy", {"a": content}, _alone, streamed) for content in contents)
        case "npz":
            one = {"x.npy": _npy(x), "y.npy": _npy(number), "kind.npy": _npy(words)}
            own = {
                f"{p}{s}.npy": _npy(a)
                for p in ("train", "valid", "test")
                for s, a in (("", x), ("_labels", words))
            }
            options = ({}, {"condition": "kind"}, {"condition": "label"})
            return (
                Seed("a.npz", one, _zip, options),
                Seed("a.npz", one, functools.partial(_zip, method=zipfile.ZIP_STORED), options),
                Seed("a.npz", own, _zip, ({}, {"condition": "label"})),
            )
        case "csv":
            frame = pd.DataFrame(x.round(3), columns=["a", "b", "c"]).assign(word=words, number=number)
            options = (
                {"label_column": "word"}, {"label_column": "number", "condition": "word"}, {"columns": ["a", "b"]},
            )  # fmt: skip
            bare = frame[["a", "b", "c"]].to_csv(index=False, header=False).encode()
            return (
                Seed("a.csv", {"a": frame.to_csv(index=False).encode()}, _alone, options),
                Seed("a.csv", {"a": bare}, _alone),
            )
        case "parquet":
            numbers = {"a": x[:, 0], "b": number.astype(np.uint8), "word": words, "n": number}
            pandas = pa.Table.from_pandas(pd.DataFrame(numbers)).schema.metadata[b"pandas"]
            tables = tuple(
                {**option, **stream}
                for option in ({"label_column": "word"}, {"label_column": "n", "condition": "word"})
                for stream in streamed
            )
            kinds = tuple(
                {"columns": ["a", "b"], "condition": ["word", "n", "flag"], **stream} for stream in streamed
            )
            sorts = {
                "word": pa.array(words).dictionary_encode(),
                "n": pa.array([None if i == 7 else i % 3 for i in range(30)]),
                "flag": pa.array([i % 2 == 0 for i in range(30)]),
            }
            others = {"a": x[:, 0], "b": x[:, 1].astype(np.float16), **sorts}
            lists = {"l": [row.tolist() for row in x]}
            pictures = {"p": [_picture("png", i % 2 == 0, i) for i in range(30)]}
            structs = {"p": [{"bytes": p, "path": "a"} for p in pictures["p"]]}
            return (
                Seed("a.parquet", {"pandas": pandas}, _parquet(numbers), tables),
                Seed("a.parquet", {"pandas": pandas}, _parquet(numbers, "zstd"), tables),
                Seed("a.parquet", {"pandas": pandas}, _parquet(others), kinds),
                Seed("a.parquet", {"pandas": b"{}"}, _parquet(lists, "snappy"), streamed),
                Seed("a.parquet", {"pandas": b"{}"}, _parquet(pictures), streamed),
                Seed("a.parquet", {"pandas": b"{}"}, _parquet(structs, "gzip"), streamed),
            )
        case "idx":
            content = bytes([0, 0, 8, 3, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 2, *range(20)])
            return (
                Seed("a-ubyte", {"a": content}, _alone),
                Seed("a-ubyte.gz", {"a": content}, lambda members: gzip.compress(_alone(members))),
            )
        case "tar":
            arrays, pictures = {}, {}
            for i in range(20):
                arrays |= {f"{i:03}.npy": _npy(x[i]), f"{i:03}.cls": str(number[i]).encode()}
                kind = "png" if i % 2 else "jpeg"
                pictures |= {
                    f"d/{i:03}.img.png": _picture(kind, False, i),
                    f"d/{i:03}.cls": words[i].encode(),
                }
            pictures = {name.replace(".img", ""): content for name, content in pictures.items()}
            return Seed("a.tar", arrays, _tar, streamed), Seed("a.tar", pictures, _tar, streamed)
        case "json":
            members = {}
            for i in range(20):
                entry = {"label": str(words[i]), "n": int(number[i]), "v": float(x[i, 0])}
                members |= {f"{i:03}.npy": _npy(x[i]), f"{i:03}.json": json.dumps(entry).encode()}
            return (
                Seed(
                    "a.tar",
                    members,
                    _tar,
                    ({"label_column": "label"}, {"label_column": "n", "condition": "v"}),
                ),
            )
        case "folder":
            kinds = ("png", "jpeg", "bmp", "gif", "tiff", "webp", "ppm")
            pictures = {f"{i}.{kind}": _picture(kind, i % 2 == 0, i) for i, kind in enumerate(kinds)}
            nested = {
                f"{'cat' if i % 2 else 'dog'}/{name}": p for i, (name, p) in enumerate(pictures.items())
            }
            options = ({}, {"image_size": 4}, {"channels": 1})
            return Seed("", pictures, _alone, options), Seed("", nested, _alone, options)
    raise ValueError(f"no reader {reader!r}")


READERS = ("npy", "npz", "csv", "parquet", "idx", "tar", "folder", "json")
_HUGE = ("0", "-1", "-5", "255", "65536", "2147483647", "4294967296", "9223372036854775808", "1" + "0" * 25,
         "9" * 400, "9" * 5000,
         "1e300", "-1e19", "nan", "inf", "1.5", "True", "--5", "", "'a'", "[]", "{}", "null")  # fmt: skip
_MARKS = (
    *"()[]{}'\",;:-\\\n\t\0 ",
    "((((",
    "[" * 2000,
    "-" * 9000,
    "\ufeff",
    "\u0663",
    "\ud800",
    "a" * 2000,
    "b" * 200_000,
    "\r\n\r\n",
)
_SUFFIXES = (".npy", ".npz", ".csv", ".parquet", ".tar", ".png", ".gz", ".txt", "", ".NPY")


# Damage


def _flip(content: bytearray, rng: np.random.Generator) -> None:
    for place in rng.integers(0, len(content), rng.integers(1, 9)):
        content[place] ^= 1 << int(rng.integers(0, 8))


def _truncate(content: bytearray, rng: np.random.Generator) -> None:
    del content[int(rng.integers(0, len(content))) :]


def _block(content: bytearray, rng: np.random.Generator) -> tuple[int, int]:
    start = int(rng.integers(0, len(content)))
    return start, min(len(content), start + int(2 ** rng.uniform(0, 10)))


def _repeat(content: bytearray, rng: np.random.Generator) -> None:
    start, end = _block(content, rng)
    content[start:start] = content[start:end] * int(rng.integers(1, 20))


def _delete(content: bytearray, rng: np.random.Generator) -> None:
    start, end = _block(content, rng)
    del content[start:end]


def _fill(content: bytearray, rng: np.random.Generator) -> None:
    start, end = _block(content, rng)
    content[start:end] = bytes([int(rng.choice([0, 0xFF, 0x7F, 0x80, 0x20]))]) * (end - start)


def _insert(content: bytearray, rng: np.random.Generator) -> None:
    start, end = _block(content, rng)
    content[start:start] = rng.bytes(end - start)


def _size(content: bytearray, rng: np.random.Generator) -> None:
    """Write a large number over four or eight bytes."""
    value = int(rng.choice([0, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1]))
    width = int(rng.choice([4, 8]))
    raw = (value << 31 * int(rng.integers(0, 2)) * (width == 8)).to_bytes(width, "little")
    # Sizes stand at the beginning or at the end of most files.
    place = int(rng.choice([rng.integers(0, 64), rng.integers(-64, 0), rng.integers(0, 2**20)])) % len(
        content
    )
    content[place : place + width] = raw if rng.random() < 0.5 else raw[::-1]


def _number(content: bytearray, rng: np.random.Generator) -> None:
    """Put a strange value in the place of a number in digits."""
    found = [match.span() for match in re.finditer(rb"-?\d+(\.\d+)?", content[:20_000])]
    if found:
        start, end = found[int(rng.integers(0, len(found)))]
        content[start:end] = str(rng.choice(_HUGE)).encode()


def _mark(content: bytearray, rng: np.random.Generator) -> None:
    """Put brackets, quotes and the like somewhere, near the beginning as a rule."""
    place = int(rng.integers(0, min(len(content), 200) if rng.random() < 0.7 else len(content)))
    content[place : place + int(rng.integers(0, 4))] = _MARKS[int(rng.integers(0, len(_MARKS)))].encode(
        "utf-8", "surrogatepass"
    )


DAMAGES = (_flip, _truncate, _repeat, _delete, _fill, _insert, _size, _number, _mark)


def _damaged(content: bytes, rng: np.random.Generator) -> bytes:
    result = bytearray(content)
    for _ in range(int(rng.choice([1, 1, 1, 2, 4]))):
        if result:
            DAMAGES[int(rng.integers(0, len(DAMAGES)))](result, rng)
    return bytes(result)


def _summed(content: bytes) -> bytes:
    """A tar file whose headers have right sums, so that a reader looks at what they say."""
    result = bytearray(content)
    for start in range(0, len(result) - 511, 512):
        if result[start + 257 : start + 262] == b"ustar":
            result[start + 148 : start + 156] = b" " * 8
            result[start + 148 : start + 156] = b"%06o\0 " % sum(result[start : start + 512])
    return bytes(result)


def make_case(reader: str, number: int, seed: int, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Write the damaged source of a case into an empty folder.

    Returns:
        Its path, and the options to read it with.
    """
    rng = np.random.default_rng([seed, READERS.index(reader), number])
    every = seeds(reader)
    chosen = every[int(rng.integers(0, len(every)))]
    options = chosen.options[int(rng.integers(0, len(chosen.options)))]
    members = dict(chosen.members)
    inner = not chosen.name or rng.random() < (0.15 if reader == "parquet" else 0.5)
    if inner:
        for _ in range(int(rng.choice([1, 1, 3]))):
            name = list(members)[int(rng.integers(0, len(members)))]
            if chosen.name and rng.random() < 0.05:  # its name
                members[_damaged(name.encode(), rng).decode("latin1").replace("\0", "") or "a"] = members.pop(
                    name
                )
            elif rng.random() < 0.05:  # another one's content
                members[name] = list(members.values())[int(rng.integers(0, len(members)))]
            elif members[name]:
                members[name] = _damaged(members[name], rng)

    def damaged(content: bytes) -> bytes:
        if inner:
            return content
        # Whatever happens to the end of a Parquet file is seen at once; what lies before it is damaged by itself.
        end = len(content)
        if reader == "parquet" and rng.random() < 0.6:
            end -= 8 + int.from_bytes(content[-8:-4], "little")
        content = _damaged(content[:end], rng) + content[end:]
        return _summed(content) if chosen.name.endswith(".tar") and rng.random() < 0.7 else content

    name = chosen.name
    if name and rng.random() < 0.03:
        name = name.partition(".")[0] + str(rng.choice(_SUFFIXES))
    return write_source(replace(chosen, name=name, members=members), folder, damaged), options


def write_source(seed: Seed, folder: Path, change: Callable[[bytes], bytes] = bytes) -> Path:
    """Write the file, or the folder of files, and return its path."""
    if seed.name:
        (folder / seed.name).write_bytes(change(seed.pack(seed.members)))
        return folder / seed.name
    for name, content in seed.members.items():
        path = folder / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / "photos"


def read(path: Path, reader: str, options: dict[str, Any]) -> None:
    """Read a source, and an example of each split."""
    if reader == "idx":
        read_idx(path)
        return
    data = load(path, **options)
    for split in (data.train, data.valid, data.test):
        split.batch(torch.arange(min(2, len(split))))


def try_case(reader: str, number: int, seed: int, folder: Path) -> tuple[str, str]:
    """Return the outcome of a case, and in words what went wrong."""
    place = folder / "case"
    place.mkdir()
    try:
        path, options = make_case(reader, number, seed, place)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", RuntimeWarning)
            read(path, reader, options)
        return "read", ""
    except (DataError, ConfigError) as error:
        if any(isinstance(cause, MemoryError) for cause in _chain(error)):
            return "over_memory", _where(error)
        if not 0 < len(str(error)) <= LETTERS:
            return "tracebacks", f"a message of {len(str(error))} letters {_where(error)}"
        return "refused", ""
    except MemoryError as error:
        return "over_memory", _where(error)
    except Exception as error:
        return "tracebacks", f"{type(error).__name__}: {str(error)[:100]} {_where(error)}"
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _chain(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _where(error: BaseException) -> str:
    """The last place in our package that an exception came through."""
    frames = [
        f for e in _chain(error) for f in traceback.extract_tb(e.__traceback__) if "lowerbound/" in f.filename
    ]
    return f"in {Path(frames[-1].filename).name}:{frames[-1].name}" if frames else ""


# Children


def _child(reader: str, numbers: range, seed: int, memory: int, answers: Connection) -> None:
    with open("/proc/self/statm") as file:
        there = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (there + memory, there + memory))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what decoders print
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            answers.send(try_case(reader, number, seed, Path(folder)))
    answers.close()


def run_chunk(reader: str, numbers: range, seed: int, memory: int = MEMORY) -> list[tuple[str, str]]:
    """Return the outcomes of cases in one child; it ends with the first that hangs or kills it."""
    context = get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(reader, numbers, seed, memory, theirs))
    child.start()
    theirs.close()
    outcomes: list[tuple[str, str]] = []
    for _ in numbers:
        if not ours.poll(SECONDS):
            outcomes.append(("hangs", ""))
            child.kill()
            break
        try:
            outcomes.append(ours.recv())
        except EOFError:
            child.join()
            outcomes.append(("tracebacks", f"the process died: {child.exitcode}"))
            break
    child.join()
    return outcomes


def run(reader: str, cases: int, seed: int, keep: Path | None) -> Counter[str]:
    """Run the cases of a reader, and print what went wrong, each kind once."""
    counts: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    number = 0
    while number < cases:
        outcomes = run_chunk(reader, range(number, min(cases, number + CHUNK)), seed)
        for i, (outcome, why) in enumerate(outcomes, number):
            if outcome in ("hangs", "over_memory") or "died" in why:
                # In a child of its own it cannot be for what the cases before it left behind.
                outcome, why = run_chunk(reader, range(i, i + 1), seed)[0]
            counts[outcome] += 1
            if outcome in OUTCOMES[2:]:
                kind = f"{reader}: {outcome} {re.sub(r'[0-9]+', '#', why)[:160]}"
                seen[kind] += 1
                if seen[kind] == 1:
                    print(f"{reader}:{i} {outcome} {why}", flush=True)
                    if keep is not None:
                        (keep / f"{reader}-{i}").mkdir(parents=True, exist_ok=True)
                        make_case(reader, i, seed, keep / f"{reader}-{i}")
        number += len(outcomes)
    for kind, count in seen.most_common():
        print(f"{count:6} {kind}", flush=True)
    return counts


def main() -> None:
    """Run the campaign and write its result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=5000, help="of each reader")
    parser.add_argument("--readers", nargs="+", choices=READERS, default=list(READERS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--keep", type=Path, help="keep the file of the first case of each kind of failure here"
    )
    parser.add_argument("--case", help="run one here, as READER:NUMBER")
    parser.add_argument("--no-result", action="store_true", help="write no result file")
    arguments = parser.parse_args()
    if arguments.case:
        reader, _, number = arguments.case.partition(":")
        with tempfile.TemporaryDirectory() as folder:
            path, options = make_case(reader, int(number), arguments.seed, Path(folder))
            print(path.name, options)
            read(path, reader, options)
        return
    torch.set_num_threads(1)
    Image.init()
    started = time.monotonic()
    metrics: Counter[str] = Counter()
    for reader in arguments.readers:
        counts = run(reader, arguments.cases, arguments.seed, arguments.keep)
        print(f"{reader}: {dict(counts)}, {time.monotonic() - started:.0f} s", flush=True)
        for outcome in OUTCOMES:
            metrics[outcome] += counts[outcome]
            metrics[f"{outcome}_{reader}"] = counts[outcome]
        metrics["tried"] += counts.total()
        metrics[f"tried_{reader}"] = counts.total()
    print({key: metrics[key] for key in ("tried", *OUTCOMES)})
    if arguments.no_result:
        return
    path = write_result(
        "reliability_readers",
        {name: float(count) for name, count in metrics.items()},
        protocol={
            "case": "a small valid file, damaged by flipped bits, cuts, blocks repeated, inserted or filled, "
            "numbers and sizes made strange, brackets and quotes, other suffixes; of what is packed the "
            "whole or a member before it is packed",
            "read": "the source was loaded and a batch of each split taken",
            "refused": f"DataError or ConfigError, with a message of at most {LETTERS} letters",
            "tracebacks": "any other exception, a RuntimeWarning among them, or a process that died",
            "hangs": f"no answer within {SECONDS:g} seconds",
            "over_memory": f"an allocation beyond {MEMORY / 2**30:g} GiB over the start of the process was tried",
        },
        seeds=[arguments.seed],
        config={"cases": arguments.cases, "readers": arguments.readers},
        seconds=time.monotonic() - started,
        versions={"pandas": pd.__version__, "pyarrow": pa.__version__, "pillow": Image.__version__},
    )
    print(path)


if __name__ == "__main__":
    main()
