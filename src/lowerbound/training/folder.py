"""The folder of a run: which files it has, and when they may be written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ..errors import RunError
from .checkpoint import write_atomically

# All that a run may write; overwriting removes these and nothing else that lies in the folder.
RUN_FILES = (
    "config.json",
    "metrics.jsonl",
    "model.safetensors",
    "evaluation.json",
    "samples.png",
    "conditions.png",
    "conversions.png",
    "completions.png",
    "reconstructions.png",
    "interpolations.png",
    "latent.png",
    "latent_grid.png",
    "curves.png",
    "report.html",
    *(
        f"{command}.{kind}"
        for command in ("sample", "reconstruct", "convert", "complete", "interpolate")
        for kind in ("png", "csv")
    ),
    *(f"{command}.csv" for command in ("encode", "score")),
)


class RunFolder:
    """A run's files under ``path``.

    Args:
        path: The folder; made if it does not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
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
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file; a run needs a folder")
        if resume:
            if not self.checkpoint.is_file():
                raise RunError(f"{self.path} has no checkpoint to resume from ({self.checkpoint} is missing)")
            return
        present = [name for name in (*RUN_FILES, "checkpoint") if (self.path / name).exists()]
        if present and not overwrite:
            raise RunError(
                f"{self.path} holds another run ({', '.join(present[:3])}{', ...' if len(present) > 3 else ''}); "
                "choose another folder with --out, continue that run with --resume, or replace it with --overwrite"
            )
        for name in present:
            target = self.path / name
            shutil.rmtree(target) if target.is_dir() else target.unlink()
        self.path.mkdir(parents=True, exist_ok=True)

    def write_config(self, config: dict[str, Any]) -> None:
        """Write ``config.json``, atomically."""
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        write_atomically(self.config, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def append(self, record: dict[str, Any]) -> None:
        """Add one line to ``metrics.jsonl``."""
        with self.metrics.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def forget_after(self, step: int) -> None:
        """Drop the lines of ``metrics.jsonl`` beyond ``step``: a resumed run writes them again."""
        lines = [json.dumps(record) for record in self.history() if record["step"] <= step]
        write_atomically(
            self.metrics, lambda temporary: temporary.write_text("".join(f"{s}\n" for s in lines))
        )

    def history(self) -> list[dict[str, Any]]:
        """Return the records of ``metrics.jsonl``; a last line cut off by a crash is left out."""
        if not self.metrics.is_file():
            return []
        records = []
        for line in self.metrics.read_text().splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return records
