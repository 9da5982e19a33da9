"""The folder of a run: which files it has, and when they may be written."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import RunError
from .checkpoint import write_atomically

# All that a run may write; overwriting removes these and nothing else that lies in the folder.
RUN_FILES = (
    "config.json",
    "metrics.jsonl",
    "metrics.csv",
    "tensorboard",
    "model.safetensors",
    "evaluation.json",
    "samples.png",
    "conditions.png",
    "conversions.png",
    "completions.png",
    "correlations.png",
    "missing.png",
    "reconstructions.png",
    "interpolations.png",
    "latent.png",
    "latent_grid.png",
    "traversals.png",
    "curves.png",
    "report.html",
    *(
        f"{command}.{kind}"
        for command in ("sample", "reconstruct", "convert", "complete", "interpolate")
        for kind in ("png", "csv")
    ),
    *(f"{command}.csv" for command in ("encode", "score")),
)


# What makes a run, in the order in which it is moved into place: with config.json it is one.
_BEGINNING = ("checkpoint", "model.safetensors", "config.json")
_BESIDE = ".new"


class RunFolder:
    """A run's files under ``path``.

    Args:
        path: The folder; made if it does not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.model = self.path / "model.safetensors"
        self.checkpoint = self.path / "checkpoint" / "state.safetensors"

    def prepare(self, *, resume: bool = False, overwrite: bool = False) -> None:
        """Make the folder ready to be written.

        Raises:
            RunError: it holds another run and neither ``resume`` nor ``overwrite`` is given, there is nothing
                to resume, or the path is a file.
        """
        self.check(resume=resume, overwrite=overwrite)
        if not resume:
            self._clear()
            self.path.mkdir(parents=True, exist_ok=True)

    def check(self, *, resume: bool = False, overwrite: bool = False) -> None:
        """Refuse what ``prepare`` refuses, and change nothing."""
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file; a run needs a folder")
        if resume and not self.checkpoint.is_file():
            raise RunError(f"{self.path} has no checkpoint to resume from ({self.checkpoint} is missing)")
        present = self._present()
        if present and not (overwrite or resume):
            raise RunError(
                f"{self.path} holds another run ({', '.join(present[:3])}{', ...' if len(present) > 3 else ''}); "
                "choose another folder with --out, continue that run with --resume, or replace it with --overwrite"
            )

    def begin(self, write: Callable[[RunFolder], None]) -> None:
        """Put a new run in the place of what is there.

        All of it is written beside the old run and then moved, so that an error, or a full disk, leaves the old one.

        Args:
            write: Writes config.json, model.safetensors and the checkpoint to the folder that it is given.

        Raises:
            RunError: something cannot be written.
        """
        beside = RunFolder(self.path / _BESIDE)
        shutil.rmtree(beside.path, ignore_errors=True)
        try:
            write(beside)
            self._clear()
            for name in _BEGINNING:
                if (beside.path / name).exists():
                    os.replace(beside.path / name, self.path / name)
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {error.strerror or error}") from None
        finally:
            shutil.rmtree(beside.path, ignore_errors=True)

    def _present(self) -> list[str]:
        return [name for name in (*RUN_FILES, "checkpoint") if (self.path / name).exists()]

    def _clear(self) -> None:
        for name in self._present():
            target = self.path / name
            shutil.rmtree(target) if target.is_dir() else target.unlink()
        self._remove_halves()

    def tidy(self) -> None:
        """Remove what a process that was killed has left half written."""
        shutil.rmtree(self.path / _BESIDE, ignore_errors=True)
        self._remove_halves()

    def _remove_halves(self) -> None:
        for path in (*(self.path / name for name in RUN_FILES), self.checkpoint):
            for temporary in path.parent.glob(f".{path.name}.*.tmp"):
                temporary.unlink(missing_ok=True)

    def write_config(self, config: dict[str, Any]) -> None:
        """Write ``config.json``, atomically."""
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        write_atomically(self.config, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def append(self, record: dict[str, Any]) -> None:
        """Add one line to ``metrics.jsonl``.

        Raises:
            RunError: it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise RunError(f"cannot write {self.metrics}: {error.strerror or error}") from None

    def write_history(self, records: list[dict[str, Any]]) -> None:
        """Write ``metrics.jsonl`` anew, atomically."""
        text = "".join(json.dumps(record) + "\n" for record in records)
        write_atomically(self.metrics, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def history(self) -> list[dict[str, Any]]:
        """Return the records of ``metrics.jsonl``; a last line cut off by a crash is left out.

        Raises:
            RunError: another line is no record; its number is named.
        """
        if not self.metrics.is_file():
            return []
        try:
            lines = self.metrics.read_bytes().splitlines()
        except OSError as error:
            raise RunError(f"cannot read {self.metrics}: {error.strerror or error}") from None
        records = []
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line.decode())
            except (ValueError, RecursionError):
                if number == len(lines):
                    break
                record = None
            if not is_record(record):
                raise RunError(
                    f"line {number} of {self.metrics} is no record of a run: {line.decode(errors='replace')[:80]!r}; "
                    "restore the file from a copy, or remove the line"
                )
            records.append(record)
        return records


def is_record(record: Any) -> bool:
    """Return whether this is an object with a split, numbers, and among these all that a reader counts on."""
    if not isinstance(record, dict) or record.get("split") not in ("train", "valid"):
        return False
    numbers = {name: value for name, value in record.items() if name != "split"}
    return (
        all(_is_number(value) for value in numbers.values())
        and all(math.isfinite(numbers.get(name, math.nan)) for name in ("step", "epoch", "seconds"))
        and (record["split"] == "train" or "bound" in numbers)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**63)
