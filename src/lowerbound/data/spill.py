"""Columns of a table that memory does not hold, in files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

if TYPE_CHECKING:
    from pandas import DataFrame, Series

_ROWS = 2**16  # that are held of all columns at once


class Spilled:
    """A table whose columns are written to files one by one, and read as from a DataFrame.

    Args:
        folder: Where the files are; they are good for as long as it is there.

    Attributes:
        columns: Their names.
        attrs: As of a DataFrame.
    """

    def __init__(
        self, folder: Path, columns: Sequence[str] = (), attrs: dict[str, Any] | None = None
    ) -> None:
        self.columns, self.attrs = list(columns), attrs or {}
        self._folder = folder
        self._files: dict[str, Path] = {}

    def __setitem__(self, name: str, column: Series) -> None:
        import pyarrow as pa
        from pyarrow import feather

        path = self._folder / f"column {len(self.columns)}"
        table = pa.Table.from_pandas(column.to_frame(name), preserve_index=False)
        feather.write_feather(table, str(path), compression="uncompressed")
        self.columns.append(name)
        self._files[name] = path

    def __len__(self) -> int:
        return len(self._stored(self.columns[0])) if self.columns else 0

    def _stored(self, name: str) -> Any:
        from pyarrow import feather

        return feather.read_table(str(self._files[name]), memory_map=True)

    @overload
    def __getitem__(self, name: str) -> Series: ...
    @overload
    def __getitem__(self, name: list[str]) -> Spilled: ...
    def __getitem__(self, name: str | list[str]) -> Series | Spilled:
        if isinstance(name, str):
            return _series(self._stored(name))
        part = Spilled(self._folder, name, self.attrs)
        part._files = self._files
        return part

    def parts(self) -> Iterator[tuple[int, DataFrame]]:
        """Some rows of all columns at a time, and the number of the first."""
        import pandas as pd

        stored = {name: self._stored(name) for name in self.columns}
        for start in range(0, len(self), _ROWS):
            yield start, pd.DataFrame({n: _series(t.slice(start, _ROWS)) for n, t in stored.items()})

    def new_array(self, width: int) -> np.memmap:
        """An array (N, width) of float32 on disk, to be written; it lives on when the folder is gone."""
        return np.lib.format.open_memmap(self._folder / "x.npy", "w+", np.float32, (len(self), width))


def _series(table: Any) -> Series:
    """The only column of a table of Arrow, words as objects with None where they are missing."""
    import pandas as pd
    import pyarrow as pa

    column = table.column(0)
    if (
        pa.types.is_string(column.type)
        or pa.types.is_large_string(column.type)
        or pa.types.is_null(column.type)
    ):
        return pd.Series(column.to_numpy(), dtype=object, name=table.column_names[0])
    return table.to_pandas().iloc[:, 0]
