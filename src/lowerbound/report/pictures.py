"""The pictures that lie in a run's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data import Data
from ..model import VAE
from ..training import write_atomically
from ..training.folder import RUN_FILES
from .views import views


def write_pictures(
    folder: str | Path, model: VAE, data: Data, history: Sequence[Mapping[str, Any]], seed: int = 0
) -> list[Path]:
    """Write the pictures that apply to a model and its data; return their paths.

    For images these are ``samples.png``, ``curves.png`` (if anything was recorded), ``reconstructions.png``,
    ``interpolations.png``, ``latent.png`` and ``latent_grid.png``, or ``traversals.png`` of more than two latent
    dimensions; vectors have none of ``interpolations.png``, ``latent_grid.png`` and ``traversals.png``, but
    ``correlations.png`` and, if cells are empty, ``missing.png``. A condition adds ``conditions.png`` if it has a
    label or a number, and for images ``conversions.png`` if it has one label and ``completions.png`` if it is the
    observed part.

    Args:
        folder: Where to; made if it does not exist.
        model: The model; its mode is left as it was, and so is torch's global generator.
        data: The data it was trained on.
        history: Records of ``metrics.jsonl``.
        seed: Of all draws, and of the choice of examples.
    """
    paths = []
    for view in views(model, data, history, seed=seed, page=False):
        path = Path(folder) / f"{view.name}.png"
        if path.name not in RUN_FILES:
            continue
        write_atomically(path, lambda temporary, png=view.png: temporary.write_bytes(png))
        paths.append(path)
    return paths
