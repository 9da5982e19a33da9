"""Sparse matrices, which stay sparse in memory until a batch is drawn: scipy's, in its own .npz, and in AnnData.

AnnData is known by its attributes X, obs and var_names, and need not be installed.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, listed
from . import arrays
from .memory import check_fits
from .source import Source, check_names

_MEMBERS = {"format", "shape", "data"}  # of what scipy.sparse.save_npz writes


class SparseRows:
    """A matrix by rows, of which those that are asked for become dense; an array of two axes in that it is indexed.

    Args:
        matrix: A sparse matrix of scipy, which is copied.
        name: What it is called in messages.

    Raises:
        DataError: It is damaged, or its values are no numbers.
    """

    ndim = 2

    def __init__(self, matrix: Any, name: str) -> None:
        if getattr(matrix, "ndim", 2) != 2 or matrix.dtype.kind not in "buif":
            raise DataError(
                f"{name} has shape {matrix.shape}, {matrix.dtype}; give numbers with two axes, (N, D)"
            )
        if 0 in matrix.shape:
            raise DataError(f"{name} is empty: shape {matrix.shape}")
        try:
            self._csr = matrix.tocsr(copy=True)
            self._csr.check_format(full_check=True)
            self._csr.sum_duplicates()
        except (ValueError, IndexError) as error:
            raise DataError(f"{name} is a damaged sparse matrix: {error}") from error
        self.shape: tuple[int, int] = (int(matrix.shape[0]), int(matrix.shape[1]))
        self.dtype: np.dtype = self._csr.dtype
        self.size = self.shape[0] * self.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self._csr[rows].toarray()

    @property
    def filled(self) -> float:
        """Share of the values that are stored."""
        return self._csr.nnz / self.size


def is_sparse(value: Any) -> bool:
    """Whether a value is a sparse matrix or array of scipy, which it can be only if scipy.sparse is loaded."""
    scipy = sys.modules.get("scipy.sparse")
    return scipy is not None and bool(scipy.issparse(value))


def is_annotated(value: Any) -> bool:
    """Whether a value is an AnnData, or has what of it is read."""
    return all(hasattr(value, name) for name in ("X", "obs", "var_names"))


def read_sparse(matrix: Any, name: str) -> Source:
    """A sparse matrix of scipy, (N, D), of any format."""
    rows = SparseRows(matrix, name)
    note = f"a sparse matrix, of which {rows.filled:.1%} is stored; it stays sparse until a batch is drawn"
    return Source((rows,), counts=True, notes=(note,))  # pyright: ignore[reportArgumentType]


def read_annotated(cells: Any, conditions: Sequence[str] = ()) -> Source:
    """An AnnData: x is X, columns are named by var_names, and what is conditioned on are columns of obs.

    Raises:
        DataError: X lies on disk, or obs lacks a column to condition on.
    """
    x = cells.X
    if not (is_sparse(x) or isinstance(x, np.ndarray)):
        raise DataError(
            f"X of the AnnData is a {type(x).__name__}; read it into memory first (adata.to_memory()), or pass one "
            "of its layers"
        )
    check_names(conditions, map(str, cells.obs), "obs of the AnnData has no column")
    source = read_sparse(x, "X of the AnnData") if is_sparse(x) else Source((np.array(x),), counts=True)
    layers = [str(name) for name in getattr(cells, "layers", None) or ()]
    values = np.asarray(x.data if is_sparse(x) else x)
    if layers and bool((values != np.round(values)).any()):
        note = (
            f"X holds no whole numbers; counts may be in a layer: {listed(layers)}, load(adata.layers[...])"
        )
        source = replace(source, notes=(*source.notes, note))
    return replace(
        source,
        columns=tuple(map(str, cells.var_names)),
        conditions={name: (np.asarray(cells.obs[name]),) for name in conditions},
    )


def is_sparse_npz(path: Path) -> bool:
    """Whether a .npz is one that ``scipy.sparse.save_npz`` wrote."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {f"{name}.npy" for name in _MEMBERS} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile, ValueError):
        return False  # the reader of arrays says what is wrong


def read_sparse_npz(path: Path) -> Source:
    """A .npz of scipy, of which nothing is unpickled.

    Raises:
        DataError: The file is damaged, of another format than CSR, CSC, COO or BSR, or larger than the memory.
    """
    from scipy import sparse

    members = arrays.unpack(path)
    kind = members["format"].astype(str).item() if members["format"].ndim == 0 else ""
    data, shape = members["data"], tuple(map(int, members["shape"].ravel()))
    names = {"coo": ("row", "col")}.get(kind, ("indices", "indptr"))
    if kind not in ("csr", "csc", "coo", "bsr") or not set(names) <= set(members) or len(shape) != 2:
        raise DataError(
            f"{path} is a sparse matrix of format {kind[:20]!r} with {listed(list(members))}; save it with "
            "scipy.sparse.save_npz(path, matrix.tocsr())"
        )
    check_fits(3 * data.nbytes, f"{path}, of shape {shape},")
    places = tuple(members[name] for name in names)
    try:
        build = getattr(sparse, f"{kind}_matrix")
        matrix = build((data, places) if kind == "coo" else (data, *places), shape=shape)
        if kind != "coo":
            matrix.check_format(full_check=True)
    except (ValueError, TypeError, IndexError) as error:
        raise DataError(f"{path} is a damaged sparse matrix: {error}") from error
    return read_sparse(matrix, str(path))
