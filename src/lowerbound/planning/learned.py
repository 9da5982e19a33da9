"""The learned sampler: a conditional VAE that draws states where solutions of a problem pass.

Reference:
    Learning sampling distributions for robot motion planning (Ichter, Harrison and Pavone, 2018),
    https://arxiv.org/abs/1709.05448
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from ..conditions import Map
from ..data import Data, Standardize
from ..defaults import model_for_data
from ..errors import ConfigError, ShapeError, suggest
from ..model import VAE
from ..nn.cells import CellDecoder, CellEncoder, lattice, place_cells
from .problem import Array, Problem
from .samplers import Sampler, check_number
from .thinning import representatives

KINDS = ("cells", "gaussian")
_CANDIDATES = 8  # chosen on tuning problems: more gain nothing that shows


def model_for(
    data: Data,
    lower: Any,
    upper: Any,
    *,
    kind: str = "cells",
    latent: int = 3,
    cells: int = 12,
    hidden: tuple[int, ...] = (256, 256),
    width: float | None = None,
    condition: dict[str, Any] | None = None,
) -> VAE:
    """Return a model for a training set of ``load_data``: a conditional VAE in the coordinates of the limits.

    States are scaled so that the limits are -1 and 1.

    Args:
        data: The training set.
        lower: Limits of the states, (D,).
        upper: (D,).
        kind: "cells", a latent of which one part is the cell that the state lies in: in the plane a place of the
            grid, else a stretch of the way from the start to the goal; or "gaussian".
        latent: Dimensions of the Gaussian part.
        cells: Number of cells, where no map gives it. In the plane, with the grid told as {"type": "image"} instead
            of as a map, it is the square of the number of cells a side.
        hidden: Widths of the hidden layers of encoder and decoder.
        width: Standard deviation σ of p(x | z), in scaled coordinates; if not given 0.02 in the plane, else
            predicted.
        condition: Options of the condition's entries, over the usual ones.

    Raises:
        ConfigError: an option is unknown or does not fit.
    """
    if kind not in KINDS:
        raise ConfigError(f"there is no kind {kind!r} of sampler; {suggest(str(kind), KINDS)}")
    low, high = (torch.as_tensor(limit, dtype=torch.float32) for limit in (lower, upper))
    entries = data.spec.conditions or ()
    if len(entries) < 3 or not {"start", "goal"} <= {entry.name for entry in entries}:
        raise ConfigError(
            "a sampler learns from data that tell start, goal and obstacles, as load_data reads them"
        )
    planar = entries[-1].kind == "image" and data.spec.dimensions == 2
    options: dict[str, Any] = {}
    for entry in entries:
        if entry.kind == "image" and kind == "cells" and planar:
            options[entry.name] = {"type": "map"}
        elif entry.kind == "image":
            options[entry.name] = {"type": "image", "network": "conv"}
    given = condition or {}
    # Another type has other options: those given are then all there are.
    options |= {
        name: {**({} if "type" in value else options.get(name, {})), **value} for name, value in given.items()
    }
    if kind == "cells" and planar:
        rows, columns = _places(entries[-1].event_shape, options[entries[-1].name], cells)
        cells = rows * columns
    with_cells = kind == "cells"
    of_cells: dict[str, Any] = {"cells": cells} if with_cells else {}
    network = {"hidden": list(hidden), **of_cells}
    if with_cells and not planar:
        network["between"] = True
    model = model_for_data(
        data,
        latent=latent + (cells if with_cells else 0),
        encoder={"type": "cells" if with_cells else "mlp", **network},
        decoder={"type": "cells" if with_cells else "mlp", **network},
        posterior={"type": "cell_gaussian" if with_cells else "diagonal_gaussian", **of_cells},
        prior={"type": "cell" if with_cells else "standard_normal", **of_cells},
        likelihood={"type": "gaussian", "scale": width or (0.02 if planar else "predicted")},
        transform=Standardize((low + high) / 2, (high - low) / 2),
        condition=options,
    )
    assert model.condition is not None
    for name in ("start", "goal"):
        # In the coordinates of the states, so that the way from one to the other lies in their space.
        entry = model.condition[name]
        entry.mean.copy_((low + high) / 2)
        entry.std.copy_((high - low) / 2)
    if isinstance(model.encoder, CellEncoder) and isinstance(model.decoder, CellDecoder) and planar:
        # The cells of the map tile the limits, not only where the training states lie.
        centres = lattice((-1, -1), (1, 1), (columns, rows))
        place_cells(model.encoder, model.decoder, centres, torch.tensor([2 / columns, 2 / rows]))
    return model


def _places(grid: tuple[int, ...], options: dict[str, Any], cells: int) -> tuple[int, int]:
    """Return the rows and columns of cells in the plane: those of the map, or of a square of ``cells``."""
    if options["type"] == "map":
        shape = Map(grid, **{k: v for k, v in options.items() if k != "type"}).map_shape
        return shape[1], shape[2]
    side = math.isqrt(cells)
    if side * side != cells:
        raise ConfigError(f"without a map the cells of the plane form a square: a square number; got {cells}")
    return side, side


class Learned(Sampler):
    """States decoded from the prior of a VAE whose condition is the problem.

    States beyond a limit are mirrored at it, and none comes twice. A learned sampler alone gives no guarantee of
    finding a path: use it within ``Mixed``.

    Args:
        model: Its condition names entries of ``Problem.condition``.
        spread: Spread the latent codes evenly (see ``VAE.sample``), which leaves no gaps where few states are drawn.
        candidates: States decoded for each one that is asked for, of which those are kept that together stand for
            the others (see ``lowerbound.planning.thinning``); for states of two coordinates, where it is 8 if not
            given. With 1, as elsewhere, what is decoded is what is drawn, and follows p(x | c) also one by one.
        name: Names the sampler in tables.

    Raises:
        ConfigError: the model has no condition, or ``candidates`` is no whole number above 0, or above 1 for states
            of other than two coordinates.
    """

    def __init__(
        self, model: VAE, *, spread: bool = True, candidates: int | None = None, name: str = "learned"
    ) -> None:
        if model.condition is None:
            raise ConfigError(
                "a sampler needs a model whose condition is the problem: start, goal and obstacles"
            )
        planar = model.event_shape == (2,)
        if candidates is None:
            candidates = _CANDIDATES if planar else 1
        if isinstance(candidates, bool) or not isinstance(candidates, int) or candidates < 1:
            raise ConfigError(f"candidates is a whole number above 0; got {candidates!r}")
        if candidates > 1 and not planar:
            raise ConfigError(
                f"candidates are chosen among for states of two coordinates; this model's have shape "
                f"{model.event_shape}; leave candidates at 1"
            )
        self.model, self.spread, self.candidates, self.name = model, spread, candidates, name

    def condition(self, problem: Problem) -> dict[str, Any]:
        """Return what the model is conditioned on for a problem.

        Raises:
            ConfigError: the problem does not say what the model asks for.
            ShapeError: it says it in another shape: a grid of another size, another number of joints.
        """
        told, wanted = problem.condition(), self.model.condition
        assert wanted is not None
        if self.model.event_shape != (problem.dimensions,):
            raise ShapeError(
                f"the model draws states of {self.model.event_shape[0]} numbers, but the problem has "
                f"{problem.dimensions}; train one for it"
            )
        given = {}
        for name, entry in wanted.items():
            if name not in told:
                raise ConfigError(
                    f"the model was trained with the condition {name!r}, but the problem tells only "
                    f"{', '.join(told)}"
                )
            if tuple(told[name].shape) != entry.value_shape:
                raise ShapeError(
                    f"the condition {name!r} of the problem has shape {tuple(told[name].shape)}, but the model was "
                    f"trained with {entry.value_shape}; draw the problems with the grid it was trained with"
                )
            value = torch.from_numpy(np.ascontiguousarray(told[name]))
            given[name] = value.float() / 255 if value.dtype == torch.uint8 else value
        return given

    def draw(self, problem: Problem, n: int, rng: np.random.Generator) -> Array:
        check_number(n)
        seed = int(rng.integers(2**31))
        c = self.condition(problem)
        # Where σ is predicted it says how far states of solutions lie from the mean, and is drawn from.
        mean = isinstance(getattr(self.model.likelihood, "scale", None), float)
        decoded = n * self.candidates
        x = self.model.sample(decoded, c, mean=mean, spread=self.spread, seed=seed).double().cpu().numpy()
        states = np.unique(problem.mirrored(x), axis=0)
        if self.candidates > 1:
            unit = (states - problem.lower) / (problem.upper - problem.lower)
            states = states[representatives(unit, n, rng)]
        # Sorted by np.unique; and what came twice is replaced by states from everywhere.
        states = rng.permutation(states)
        return np.concatenate([states, problem.uniform(n - len(states), rng)])
