r"""Encoder and decoder of a latent whose discrete part is a cell of a partition of the data space.

The cells are the Voronoi cells of K centres. The encoder names the cell that x lies in, and reads x and where in its
cell it is; the decoder places x near the centre of its cell:

.. math:: k(x) = \arg\min_k \|x - m_k\|, \qquad
    h(x, c) = g\Big(x, \frac{x - m_{k(x)}}{r}, c\Big), \qquad x = m_k + r\, f(e, h_k, c)

with r the reach of a cell. As a function of x alone the second argument of g is a saw with a tooth for every cell,
which a network learns badly. h_k is what is known of cell k: where the condition ends in a feature map with one place
per cell (the entry "map"), its features there, else a learned vector.

Reference:
    the nearest of several centres as a code: Neural discrete representation learning (van den Oord, Vinyals and
    Kavukcuoglu, 2017), https://arxiv.org/abs/1711.00937, eq. 1
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..shapes import event_shape_of, full_precision
from .layers import initialise
from .mlp import MLP
from .network import Network, features, size, sizes

# Log-probability of another cell than the nearest: its exponential is 0 in any type, and it is finite itself.
_IMPOSSIBLE = -1e4


def check_cells(event_shape: int | Sequence[int], cells: int) -> tuple[int, ...]:
    """Return the latent's shape (K + L,) if it has room for ``cells`` cells and a Gaussian.

    Raises:
        ConfigError: it has not.
    """
    shape = event_shape_of(event_shape)
    if len(shape) != 1 or isinstance(cells, bool) or not 1 <= cells < shape[0]:
        raise ConfigError(
            f"cells={cells!r} needs a latent (K + L,) of K cells and a Gaussian of L >= 1 dimensions; got {shape}"
        )
    return shape


def lattice(low: Sequence[float], high: Sequence[float], counts: Sequence[int]) -> Tensor:
    """Return the centres (K, D) of a box cut into equal cells, the first axis fastest.

    So the places of a map (F, h, w), taken row by row, lie at the centres of ``counts=(w, h)``: its columns go along
    the first axis of the data, x, and its rows along the second, y, row 0 at the lower end.

    Args:
        low: Lower corner of the box, D numbers.
        high: Upper corner.
        counts: Number of cells along each axis.

    Example:
        >>> lattice((0, 0), (3, 2), (3, 2)).tolist()[:4]
        [[0.5, 0.5], [1.5, 0.5], [2.5, 0.5], [0.5, 1.5]]
    """
    axes = [
        lo + (torch.arange(n, dtype=torch.float64) + 0.5) * (hi - lo) / n
        for lo, hi, n in zip(low, high, counts, strict=True)
    ]
    grid = torch.meshgrid(*reversed(axes), indexing="ij")
    return torch.stack([axis.flatten() for axis in reversed(grid)], 1).float()


class CellEncoder(Network):
    """Nearest centre, and a fully connected network for the Gaussian within the cell.

    Args:
        in_shape: Shape of one input; the centres are in its units.
        out_shape: (2, K + L), as ``CellGaussian`` reads it.
        cells: Number K of cells.
        hidden: Widths of the hidden layers.
        between: The centres lie evenly on the straight line between two points in the units of x that the context
            begins with, both included: cells that go with the condition.
        context: Size of the context vector, 0 for none.

    Attributes:
        centres: (K, D); set them before training (``lattice``, or k-means of the data). Not used with ``between``.
        reach: (D,), how far a cell reaches from its centre, about.
    """

    partners: ClassVar = {"posterior": "cell_gaussian"}
    agree: ClassVar = ("cells",)
    centres: Tensor
    reach: Tensor

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        cells: int = 256,
        hidden: Sequence[int] = (256, 256),
        between: bool = False,
        context: int = 0,
    ) -> None:
        super().__init__(in_shape, out_shape, context)
        self.cells = size("cells", cells)
        self.hidden = sizes("hidden", hidden, may_be_empty=True)
        dimensions = features(self.in_shape)
        self.between = check_between(between, dimensions, context)
        gaussian = check_cells(self.out_shape[-1], self.cells)[0] - self.cells
        self.register_buffer("centres", torch.zeros(self.cells, dimensions))
        self.register_buffer("reach", torch.ones(dimensions))
        self.body = MLP((2, dimensions), (2, gaussian), hidden=self.hidden, context=context)

    def _flat(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Return the cells' log-probabilities and the Gaussian's parameters, (N, 2, K + L)."""
        # Distances are never in 16 bits, and by differences: as |x|² − 2 x·m + |m|² they would cancel.
        flat = full_precision(x.flatten(1))
        if self.between:
            assert context is not None
            line = on_line(context, flat.shape[1], self.cells)
            line = line.expand(len(flat) // len(line), *line.shape).flatten(0, 1) if len(line) > 1 else line
            far = torch.linalg.vector_norm(flat.unsqueeze(1) - line, dim=-1)
            k = far.argmin(1)
            centre = line[torch.arange(k.shape[0], device=k.device) % len(line), k]
        else:
            far = torch.cdist(flat, full_precision(self.centres), compute_mode="donot_use_mm_for_euclid_dist")
            k = far.argmin(1)
            centre = self.centres[k]
        within = (flat - centre) / self.reach
        rest = self.body(torch.stack([flat, within], 1).to(x.dtype), context)
        nearest = torch.full_like(far, _IMPOSSIBLE).scatter_(1, k.unsqueeze(1), 0.0)
        discrete = torch.stack([nearest, torch.zeros_like(nearest)], 1)
        return torch.cat([discrete, rest.to(discrete.dtype)], -1)

    def start(self, u: Tensor, model: Any) -> None:
        """Take the decoder's centres if it has any; else cut the space of the data into cells.

        Evenly where the decoder's map has a place for each (the map is taken to span the range of the data; where it
        spans another, ``place_cells`` says so), else by k-means.

        Raises:
            ConfigError: there are fewer different examples than cells, or a map and no points in its plane.
        """
        decoder = model.decoder
        if isinstance(decoder, CellDecoder) and bool(decoder.centres.any()):
            centres, reach = decoder.centres, decoder.reach
        else:
            centres, reach = self._cut(u.flatten(1).cpu(), getattr(decoder, "map_shape", None))
        with torch.no_grad():
            self.centres.copy_(centres)
            self.reach.copy_(torch.where(reach > 0, reach, 1.0))

    def _cut(self, u: Tensor, map_shape: tuple[int, ...] | None) -> tuple[Tensor, Tensor]:
        if self.between:
            return self.centres, u.std(0) / 2  # the centres go with the condition
        if map_shape is not None:
            if u.shape[1] != 2:
                raise ConfigError(f"cells on a map need data (x, y); an example has {u.shape[1]} numbers")
            low, high, counts = u.amin(0), u.amax(0), map_shape[:0:-1]
            return lattice(low.tolist(), high.tolist(), counts), (high - low) / torch.tensor(counts)
        if self.cells > len(different := u.unique(dim=0)):
            raise ConfigError(
                f"{self.cells} cells are more than the {len(different)} different examples; use fewer"
            )
        from sklearn.cluster import KMeans

        fitted = KMeans(self.cells, n_init=1, random_state=0)  # pyright: ignore[reportArgumentType]
        fitted.fit(u.numpy())
        return torch.from_numpy(fitted.cluster_centers_), u.std(0) / 2

    def set_output_bias(self, value: Tensor) -> None:
        """Set the Gaussian's part of the bias; which cell it is has none.

        Args:
            value: (2, K + L).
        """
        self.body.set_output_bias(value[..., self.cells :])


class CellDecoder(Network):
    """The cell's centre, moved by a fully connected network.

    Args:
        in_shape: (K + L,): one-hot cell and Gaussian.
        out_shape: (P, *event), P parameters for each number of x; the first of them starts at the centre.
        cells: Number K of cells.
        hidden: Widths of the hidden layers.
        features: Size of the learned vector of a cell, where there is no map.
        between: As the encoder's.
        map_shape: Shape (F, h, w) of the feature map that the context ends in, h w = K; None for none.
        context: Size of the context vector, 0 for none.

    Attributes:
        centres: (K, D), as the encoder's.
        reach: (D,), how far an output of 1 moves from the centre.
    """

    # Its means lie near the centres of cells, which other likelihoods do not read.
    partners: ClassVar = {"prior": "cell", "likelihood": "gaussian"}
    agree: ClassVar = ("cells",)
    centres: Tensor
    reach: Tensor

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        cells: int = 256,
        hidden: Sequence[int] = (256, 256),
        features: int = 64,
        between: bool = False,
        map_shape: Sequence[int] | None = None,
        context: int = 0,
    ) -> None:
        super().__init__(in_shape, out_shape, context)
        self.cells = size("cells", cells)
        self.hidden = sizes("hidden", hidden)
        self.features = size("features", features)
        self.map_shape = check_map(map_shape, self.cells, context)
        gaussian = check_cells(self.in_shape, self.cells)[0] - self.cells
        if len(self.out_shape) < 2:
            raise ConfigError(f"CellDecoder needs out_shape (P, *event), like (1, 2); got {self.out_shape}")
        dimensions = math.prod(self.out_shape[1:])
        self.between = check_between(between, dimensions, context)
        self.register_buffer("centres", torch.zeros(self.cells, dimensions))
        self.register_buffer("reach", torch.ones(dimensions))
        self.embedding = None
        if self.map_shape is None:
            self.embedding = initialise(
                nn.Linear(self.cells, self.features, bias=False), math.sqrt(self.cells)
            )
        of_cell = self.features if self.map_shape is None else self.map_shape[0]
        beside = context - (0 if self.map_shape is None else math.prod(self.map_shape))
        self.body = MLP((gaussian + of_cell,), self.out_shape, hidden=self.hidden, context=beside)

    def _flat(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Map z (S * B, K + L), S samples of each of B examples, and a context (B, E) to (S * B, *out_shape)."""
        chosen, e = x.split([self.cells, x.shape[-1] - self.cells], -1)
        k = chosen.argmax(-1)  # its shape below, as len() would fix the number of rows in an exported graph
        centre = self.centres[k]
        if self.between:
            assert context is not None
            line = on_line(context, self.centres.shape[1], self.cells)
            centre = line[torch.arange(k.shape[0], device=k.device) % len(line), k]
        if self.embedding is None:
            assert context is not None
            assert self.map_shape is not None
            context, places = split_map(context, self.map_shape)
            rows = torch.arange(k.shape[0], device=k.device) % len(places)
            known = places[rows, k]
        else:
            known = self.embedding.weight.T[k]
        moved = self.body(torch.cat([e, known.to(e.dtype)], -1), context if self.body.context else None)
        moved = moved.to(self.centres.dtype)
        near = centre + self.reach * moved[:, 0].flatten(1)
        return torch.cat([near.reshape(-1, 1, *self.out_shape[1:]), moved[:, 1:]], 1)

    def start(self, u: Tensor, model: Any) -> None:
        """Take the encoder's centres and reach."""
        if isinstance(model.encoder, CellEncoder):
            place_cells(model.encoder, self, model.encoder.centres, model.encoder.reach)

    def set_output_bias(self, value: Tensor) -> None:
        """Set the bias of all parameters but the first, which starts at the centre of its cell.

        Args:
            value: (P, *event).
        """
        self.body.set_output_bias(torch.cat([torch.zeros_like(value[:1]), value[1:]]))


def place_cells(encoder: CellEncoder, decoder: CellDecoder, centres: Tensor, reach: Tensor) -> None:
    """Give both networks the centres (K, D) of the cells, and how far (D,) an output of 1 moves from them.

    Args:
        encoder: Of the model.
        decoder: Of the model.
        centres: In the units of the data as the model sees them, after its transform.
        reach: About the size of a cell, in the same units; none is 0.
    """
    with torch.no_grad():
        encoder.centres.copy_(centres)
        decoder.centres.copy_(centres)
        encoder.reach.copy_(reach)
        decoder.reach.copy_(reach)


def on_line(context: Tensor, dimensions: int, cells: int) -> Tensor:
    """Return ``cells`` points from the first point that a context (B, E) begins with to the second, (B, K, D)."""
    start, end = full_precision(context[:, : 2 * dimensions]).unflatten(1, (2, 1, dimensions)).unbind(1)
    share = torch.linspace(0, 1, cells, device=context.device, dtype=start.dtype).unsqueeze(1)
    return torch.lerp(start, end, share)


def check_between(between: bool, dimensions: int, context: int) -> bool:
    """Return ``between`` if the context has room for two points.

    Raises:
        ConfigError: it has not.
    """
    if between and context < 2 * dimensions:
        raise ConfigError(
            f"between=True needs a context that begins with two points of {dimensions} numbers; it has {context}"
        )
    return between


def split_map(context: Tensor, map_shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return a context (B, E) as what stands before the feature map, and the map by place, (B, K, F)."""
    at = context.shape[1] - math.prod(map_shape)
    return context[:, :at], context[:, at:].unflatten(1, map_shape).flatten(2).transpose(1, 2)


def check_map(map_shape: Sequence[int] | None, cells: int, context: int) -> tuple[int, ...] | None:
    """Return the shape of the feature map if it has one place per cell and fits into the context.

    Raises:
        ConfigError: it does not.
    """
    if map_shape is None:
        return None
    shape = sizes("map_shape", tuple(map_shape))
    if len(shape) != 3 or shape[1] * shape[2] != cells or math.prod(shape) > context:
        raise ConfigError(
            f"a map of {shape} features, rows and columns is not one of {cells} cells in a context of {context}; "
            "set cells to rows x columns of the condition's map"
        )
    return shape
