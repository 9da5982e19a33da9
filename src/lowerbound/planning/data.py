"""Training sets: problems of a family, solved, and the states of their solutions that a sampler should learn.

A file holds each problem once, with what a model is conditioned on, and the states with the number of their problem:

    meta               JSON: the family with its options, split, targets, counts, version
    c_NAME (M, ...)    entry NAME of every problem's condition
    lower, upper (D,)  limits of the states
    x_KIND (N, D)      states of solutions, float32, for the kinds "path" and "bottleneck"
    i_KIND (N,)        which of the M problems a state belongs to

Problems are solved by several processes in parts of a fixed size, and finished parts are kept beside the file until
it is complete: what was interrupted goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from .. import __version__
from ..data import Data, Shared, load
from ..data.arrays import unpack
from ..errors import ConfigError, DataError, RunError, suggest
from .families import family_from
from .problem import Array, Family
from .targets import TARGETS, solution, targets

_PART = 10  # problems in a part: after Ctrl-C those that have begun are waited for
_KINDS: dict[str, Any] = {"boxes": "set", "voxels": "image"}  # what entries are whose shape does not tell
_BOTH_WAYS = ("boxes", "voxels")  # those that hold for the way back too: they do not show start and goal


@dataclass(frozen=True)
class Made:
    """What ``make_data`` wrote.

    Attributes:
        path: The file.
        problems: Problems in it.
        unsolved: Problems that the search did not solve, and that are not in it.
        seconds: Wall-clock time of this call.
    """

    path: Path
    problems: int
    unsolved: int
    seconds: float


def make_data(
    family: Family,
    n: int,
    out: str | os.PathLike[str],
    *,
    states: int = 16,
    workers: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Made:
    """Solve problems 0 to ``n - 1`` of a family's training split and write the states of the solutions to a file.

    What a problem contributes depends on the family and the problem's number alone, not on the number of processes.

    Args:
        family: Where the problems come from.
        n: Number of problems, at least 3.
        out: The .npz file. A file of another family or size in its place is not touched.
        states: States per problem and kind of target.
        workers: Processes; as many as there are cores if not given, and 1 stays in this process. Others import the
            script that calls this: there the call belongs under ``if __name__ == "__main__":``.
        progress: Called with the number of problems that are done since its last call; at first those of an earlier
            call that was interrupted.

    Raises:
        ConfigError: an option is wrong, or the file exists.
        DataError: fewer than 3 of the problems could be solved.
        RunError: a process died.
    """
    path = Path(out)
    if path.suffix != ".npz":
        raise ConfigError(f"training data are written as .npz; got {path}")
    for name, value, least in (
        ("n", n, 3),
        ("states", states, 1),
        ("workers", 1 if workers is None else workers, 1),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"{name} must be a whole number of at least {least}; got {value!r}")
    if path.exists():
        raise ConfigError(f"{path} exists; choose another name, or delete it")
    begun = time.perf_counter()
    job = {"family": family.to_dict(), "n": n, "states": states}
    parts = _folder(path, {**job, "part": _PART})
    first = range(0, n, _PART)
    waiting = [i for i in first if not _part(parts, i).exists()]
    report = progress or (lambda more: None)
    report(n - sum(min(_PART, n - i) for i in waiting))
    count = min(workers or os.cpu_count() or 1, max(1, len(waiting)))
    if count == 1:
        for i in waiting:
            _solve_part(job["family"], i, min(_PART, n - i), states, str(_part(parts, i)))
            report(min(_PART, n - i))
    else:
        # Not forked: a process that torch has run in has threads, which a fork does not survive.
        pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_as_worker)
        try:
            jobs = {
                pool.submit(_solve_part, job["family"], i, min(_PART, n - i), states, str(_part(parts, i))): i
                for i in waiting
            }
            for finished in as_completed(jobs):
                finished.result()
                report(min(_PART, n - jobs[finished]))
        except BrokenProcessPool:
            raise RunError(
                "a process that made the data died: the memory is short, or a script calls make_data outside of "
                '`if __name__ == "__main__":`; ask for workers=1, or call it there'
            ) from None
        finally:
            # After an error or Ctrl-C the parts that have begun are finished and kept, no other is begun.
            pool.shutdown(wait=True, cancel_futures=True)
    unsolved = _join([_part(parts, i) for i in first], path, job)
    shutil.rmtree(parts)
    return Made(path, n - unsolved, unsolved, time.perf_counter() - begun)


def _as_worker() -> None:
    """Keep one process to one core, and leave Ctrl-C, which the terminal sends to all of them, to the first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threadpool_limits(1)  # small matrix products on several threads wait more than they work


def _folder(path: Path, job: dict[str, Any]) -> Path:
    """Return the folder of the parts, new or of the same job."""
    folder = path.with_suffix(".parts")
    told = folder / "job.json"
    if folder.exists():
        try:
            found = json.loads(told.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = "not one of ours"
        if found != json.loads(json.dumps(job)):
            raise ConfigError(
                f"{folder} holds the unfinished parts of another set ({found}); delete it, or choose another name"
            )
        return folder
    folder.mkdir(parents=True)
    told.write_text(json.dumps(job), encoding="utf-8")
    return folder


def _part(folder: Path, first: int) -> Path:
    return folder / f"{first:08d}.npz"


def _solve_part(stored: dict[str, Any], first: int, n: int, states: int, out: str) -> None:
    """Solve problems ``first`` to ``first + n - 1`` and write what a training set holds of them."""
    family = family_from(stored)
    rows: dict[str, list[Array]] = {}
    limits: dict[str, Array] = {}
    for i, problem in enumerate(family.problems("train", n, first)):
        # A stream of its own: the problem was drawn from [1, index].
        rng = np.random.default_rng([1, first + i, 1])
        path = solution(problem, rng)
        if path is None:
            continue
        limits = {"lower": problem.lower, "upper": problem.upper}
        for name, value in problem.condition().items():
            rows.setdefault(f"c_{name}", []).append(value)
        for kind in TARGETS:
            rows.setdefault(f"x_{kind}", []).append(
                targets(problem, path, kind, states, rng).astype(np.float32)
            )
    # Under another name until it is whole, so that a part that exists is a finished one.
    unfinished = Path(out).with_suffix(".unfinished.npz")
    arrays: dict[str, Any] = {**limits, **{name: np.stack(values) for name, values in rows.items()}}
    np.savez(unfinished, solved=len(rows.get("c_start", ())), **arrays)
    unfinished.replace(out)


def _join(parts: list[Path], path: Path, job: dict[str, Any]) -> int:
    """Write the file from its parts and return how many problems were not solved."""
    rows: dict[str, list[Array]] = {}
    for part in parts:
        with np.load(part, allow_pickle=False) as found:
            for name in found.files:
                rows.setdefault(name, []).append(found[name])
    solved = int(sum(rows.pop("solved")))
    if solved < 3:
        raise DataError(f"{solved} of {job['n']} problems were solved; a training set needs at least 3")
    arrays: dict[str, Any] = {name: rows.pop(name)[0] for name in ("lower", "upper")}
    for name, pieces in rows.items():
        whole = np.concatenate(pieces)
        if name.startswith("x_"):
            arrays[name] = whole.reshape(-1, whole.shape[-1])
            arrays[f"i_{name[2:]}"] = np.repeat(np.arange(len(whole), dtype=np.int32), whole.shape[1])
        else:
            arrays[name] = whole
    meta = {"lowerbound": __version__, "split": "train", **job, "solved": solved}
    unfinished = path.with_suffix(".unfinished.npz")
    np.savez_compressed(unfinished, meta=np.array(json.dumps(meta)), **arrays)
    unfinished.replace(path)
    return job["n"] - solved


def read_meta(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a training set says of itself: ``family``, ``n``, ``solved``, ``states``, ``lower``, ``upper``.

    Raises:
        DataError: the file is no training set.
    """
    arrays = _read(path)
    return json.loads(str(arrays["meta"])) | {name: arrays[name].tolist() for name in ("lower", "upper")}


def load_data(
    path: str | os.PathLike[str],
    *,
    target: str = "bottleneck",
    obstacles: str | None = None,
    problems: int | None = None,
    seed: int = 0,
) -> Data:
    """Load a training set for ``lowerbound.fit``, split by problem 90 / 5 / 5 into train, valid and test.

    Args:
        path: A file that ``make_data`` wrote.
        target: "bottleneck" or "path": which states x are.
        obstacles: Which entry of the condition tells the obstacles, beside start and goal, for example "voxels";
            the first there is if not given.
        problems: Use only the first so many.
        seed: Of the split.

    Raises:
        ConfigError: there is no such target or entry, or there are fewer problems.
        DataError: the file is no training set.
    """
    arrays = _read(path)
    meta = json.loads(str(arrays["meta"]))
    if target not in TARGETS:
        raise ConfigError(f"there is no target {target!r}; {suggest(str(target), TARGETS)}")
    told = [name[2:] for name in arrays if name.startswith("c_")]
    maps = [name for name in told if name not in ("start", "goal")]
    if not maps:
        raise DataError(
            f"{path} tells the start and the goal of its problems, but no obstacles; the condition of a family needs "
            "an entry for them next to start and goal"
        )
    if obstacles is not None and obstacles not in maps:
        raise ConfigError(f"{path} tells no obstacles as {obstacles!r}; {suggest(obstacles, maps)}")
    if problems is not None and not 3 <= problems <= meta["solved"]:
        raise ConfigError(f"{path} holds {meta['solved']} problems; ask for 3 to so many; got {problems}")
    index = arrays[f"i_{target}"].astype(np.int64)
    kept = index < (problems or meta["solved"])
    index = index[kept]
    x, groups = arrays[f"x_{target}"][kept], index
    told_as = obstacles or maps[0]
    told_of = {name: arrays[f"c_{name}"] for name in ("start", "goal")}
    if told_as in _BOTH_WAYS:
        # The states of a solution solve the problem of the way back as well.
        ends = [told_of["start"], told_of["goal"]]
        told_of = {"start": np.concatenate(ends), "goal": np.concatenate(ends[::-1])}
        x, groups = np.concatenate([x, x]), np.concatenate([index, index])
        index = np.concatenate([index, index + len(ends[0])])
    shared = {name: Shared(values, index) for name, values in told_of.items()}
    # What tells the obstacles comes last, where networks that know of places look for it.
    shared[told_as] = Shared(arrays[f"c_{told_as}"], groups, _KINDS.get(told_as))
    return load(
        x,
        values="real",
        condition=shared,
        groups=groups,
        split=(0.9, 0.05, 0.05),
        seed=seed,
    )


def _read(path: str | os.PathLike[str]) -> dict[str, Array]:
    if not Path(path).exists():
        raise DataError(f"there is no file {path}")
    try:
        arrays = unpack(Path(path))
        if not {"family", "solved"} <= json.loads(str(arrays["meta"])).keys():
            raise KeyError("family")
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise DataError(
            f"{path} is no training set for planning ({error!r}); make one with `lowerbound plan make-data`"
        ) from None
    return arrays
