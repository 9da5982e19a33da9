"""What the choice of slots knows of a latent with cells: four slots go together, and centres lie in the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .errors import ConfigError
from .nn import CellDecoder, CellEncoder
from .nn.cells import lattice, place_cells
from .registry import Options, lookup, options_of

_WITH_CELLS = {"posterior": "cell_gaussian", "prior": "cell", "encoder": "cells", "decoder": "cells"}
_FOR_CELLS = 20_000  # examples that k-means finds centres in


def stand_ins(kind: str, options: Options) -> dict[str, Any]:
    """Return shapes for a slot to be checked with, with room for its cells; nothing for a slot without cells."""
    cells = _cells_of(kind, options)
    if not isinstance(cells, int):
        return {}
    latent = (2 + max(0, cells),)
    # Two points of as many numbers as the stand-ins have.
    context = {"context": 128} if options.get("between") is True else {}
    slot = {"encoder": {"out_shape": (2, *latent)}, "decoder": {"in_shape": latent}}
    return slot.get(kind, {"event_shape": latent}) | context


def room_for_cells(chosen: Mapping[str, Options]) -> int:
    """Return how many numbers of the latent say which cell it is."""
    with_cells = chosen["posterior"]["type"] == _WITH_CELLS["posterior"]
    return _cells_of("posterior", chosen["posterior"]) if with_cells else 0


def _cells_of(kind: str, options: Options) -> Any:
    """Return how many cells a slot's options ask for; None if it knows of none."""
    if kind not in _WITH_CELLS:
        return None
    option = options_of(kind, lookup(kind, options["type"])).get("cells")
    return None if option is None else options.get("cells", option.default)


def check_cells(chosen: Mapping[str, Options]) -> None:
    """Refuse a latent with cells that some slot knows nothing of, or takes for another."""
    slots = [slot for slot, name in _WITH_CELLS.items() if chosen[slot]["type"] == name]
    if not slots:
        return
    if any(chosen[slot]["type"] not in (name, "custom") for slot, name in _WITH_CELLS.items()):
        came = ", ".join(f"{slot} {chosen[slot]['type']!r}" for slot in _WITH_CELLS)
        raise ConfigError(
            "cells need four slots together: posterior 'cell_gaussian', prior 'cell', encoder 'cells' and decoder "
            f"'cells'; got {came}"
        )
    counts = {slot: _cells_of(slot, chosen[slot]) for slot in slots}
    if len(set(counts.values())) > 1:
        raise ConfigError(
            f"the slots disagree on the number of cells: {', '.join(f'{s} {n}' for s, n in counts.items())}; set "
            "the option cells of all four"
        )
    likelihood = chosen["likelihood"]["type"]
    if "decoder" in slots and likelihood not in ("gaussian", "custom"):
        raise ConfigError(
            f"decoder 'cells' gives means near the centres of cells, which likelihood {likelihood!r} does not read; "
            "use 'gaussian'"
        )


def place_in_data(model: Any, data: Any) -> None:
    """Cut the space of the data into cells: evenly where a map has a place for each, else by k-means.

    A map is taken to span the range of the data; where it spans another, ``nn.cells.place_cells`` says so.

    Raises:
        ConfigError: there are fewer different examples than cells, or a map and no points in its plane.
    """
    encoder, decoder = model.encoder, model.decoder
    if not (isinstance(encoder, CellEncoder) and isinstance(decoder, CellDecoder)):
        return
    index = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[:_FOR_CELLS]
    x = torch.cat([x for x, _ in data.train.select(index.numpy()).batches(1024)])
    u = (x if model.transform is None else model.transform(x)).flatten(1).cpu()
    if decoder.between:
        # The centres go with the condition.
        centres, reach = decoder.centres, u.std(0) / 2
    elif decoder.map_shape is not None:
        if u.shape[1] != 2:
            raise ConfigError(f"cells on a map need data (x, y); {data.spec.source} has {u.shape[1]} numbers")
        counts = decoder.map_shape[:0:-1]
        low, high = u.amin(0), u.amax(0)
        centres = lattice(low.tolist(), high.tolist(), counts)
        reach = (high - low) / torch.tensor(counts)
    else:
        if encoder.cells > len(different := u.unique(dim=0)):
            raise ConfigError(
                f"{encoder.cells} cells are more than the {len(different)} different examples; use fewer"
            )
        from sklearn.cluster import KMeans

        fitted = KMeans(encoder.cells, n_init=1, random_state=0)  # pyright: ignore[reportArgumentType]
        fitted.fit(u.numpy())
        centres, reach = torch.from_numpy(fitted.cluster_centers_), u.std(0) / 2
    place_cells(encoder, decoder, centres, torch.where(reach > 0, reach, 1.0))
