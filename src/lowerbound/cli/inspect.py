"""``lowerbound inspect``: what the data mean, before anything is learned from them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..display import wrapped
from ..errors import ConfigError
from .checks import in_flags, layer_of_flags
from .options import (
    ColumnsOption,
    DropOption,
    ImageSizeOption,
    LabelOption,
    MissingOption,
    OverwriteOption,
    RootOption,
    SchemaOption,
    picture_size,
)
from .writing import check_out

if TYPE_CHECKING:
    from ..data import Data, DataSpec


def inspect(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="What `lowerbound train` takes.")],
    columns: ColumnsOption = None,
    drop: DropOption = None,
    label: LabelOption = None,
    missing: MissingOption = None,
    image_size: ImageSizeOption = None,
    schema: SchemaOption = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="data.OPTION=VALUE", help="An option of reading; may be repeated."),
    ] = None,
    root: RootOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the schema of a table to a .json, to edit and pass as --schema."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all of it as one JSON object instead.")
    ] = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Say what SOURCE holds and how it will be read: columns and their kinds, pictures, classes, what is missing.

    The schema of a table can be saved, edited and passed to train: a column's "kind" may be real, integer, category,
    ordered, date, or ignored.
    """
    import functools

    from .. import data as sources
    from ..names import words
    from ..overrides import check_overrides, merge, parse_assignment

    choices = functools.reduce(merge, map(parse_assignment, set_ or []), {})
    if strange := choices.keys() - {"data"}:
        raise ConfigError(f"inspect reads data only: --set data.OPTION=VALUE; got {sorted(strange)[0]}")
    check_overrides(choices, "--set")
    flags: dict[str, Any] = {"schema": schema, "root": root, "drop": drop, "label": label}
    flags["missing"] = missing and words(missing)
    flags |= {"columns": columns and words(columns), "image_size": image_size and picture_size(image_size)}
    options = merge(choices, layer_of_flags(flags)).get("data", {})
    if out is not None:
        check_out(out, overwrite, (".json",))
    data = sources.load(source, **options)
    if as_json:
        print(json.dumps(data.spec.to_dict() | {"notes": [*map(in_flags, data.notes)]}, indent=2))
    else:
        print("\n".join(described(data)))
    if out is not None:
        write_schema(data, out)
        if not as_json:
            print(f"\nedit {out}, then: lowerbound train {source} --schema {out}")


def write_schema(data: Data, out: Path) -> None:
    """Write the schema of a table, one column to a line.

    Raises:
        ConfigError: the data are no table.
    """
    from ..training import write_atomically

    table = data.spec.to_dict()["table"]
    if table is None:
        raise ConfigError(f"{data.spec.source} is no table, so it has no columns to edit; leave --out out")
    # What an attribute is if it is left out need not be written.
    usual: dict[str, Any] = {"offset": 0.0, "spikes": [], "missing": False}
    lines = [
        json.dumps({k: v for k, v in column.items() if v is not None and (k not in usual or v != usual[k])})
        for column in table
    ]
    text = "[\n  " + ",\n  ".join(lines) + "\n]\n"
    write_atomically(out, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def described(data: Data) -> list[str]:
    """Return what the data are in a few lines as wide as the terminal; of a table a line for each column."""
    width = min(110, shutil.get_terminal_size().columns)
    spec, sizes = data.spec, [len(split) for split in (data.train, data.valid, data.test)]
    count = sizes[0] if data.whole else sum(sizes)
    lines = wrapped(f"{spec.source}: {count:,} {_what(data)}", width)
    if spec.table is not None:
        lines += _columns(spec.table, width)
    if spec.classes is not None:
        end = f" ({len(spec.classes)} classes)"
        lines.append(f"label: {_cut(', '.join(spec.classes), width - 7 - len(end))}{end}")
    lines += [f"conditioned on {entry}" for entry in spec.conditions or ()]
    if not data.whole:
        lines.append("split: {:,} train, {:,} valid, {:,} test".format(*sizes))
    return lines + [line for note in data.notes for line in wrapped(f"note: {in_flags(note)}", width)]


def _what(data: Data) -> str:
    spec = data.spec
    if spec.table is not None:
        return f"rows, {len(spec.table)} columns"
    if spec.named is not None:
        return f"examples of {len(spec.named)} parts: " + "; ".join(
            f"{part.source}, {_kind(part)}" for part in spec.named
        )
    return _kind(spec)


def _kind(spec: DataSpec) -> str:
    values = {
        "binary": "zeros and ones",
        "unit": "values in [0, 1]",
        "real": "real numbers",
        "count": "counts",
    }.get(spec.values, f"categories 0..{(spec.categories or 1) - 1}")
    if spec.stored is not None:
        values = f"{values}, stored as {spec.stored}" + (
            f" 0..{spec.white:g}" if (spec.white or 1) > 1 else ""
        )
    if spec.binarize != "none":
        values += f", binarised ({spec.binarize})"
    if spec.levels:
        values += ", dequantised: noise within each grey level makes a density of them"
    if spec.missing:
        values += ", some missing"
    if spec.kind == "image":
        channels, height, width = spec.event_shape
        colour = {1: "grey", 3: "colour", 4: "colour with transparency"}.get(channels, f"{channels} channels")
        return f"images of {height} x {width} pixels, {colour}; {values}"
    return f"vectors of {spec.event_shape[0]}; {values}"


def _columns(table: Any, width: int) -> list[str]:
    from ..data.schema import words

    rows = [(column.name, *words(column)) for column in table]
    names = min(30, max(len(name) for name, *_ in rows))
    kinds = max(len(kind) for _, kind, *_ in rows)
    room = max(20, width - names - kinds - 6)
    return [
        f"  {_cut(name, names):{names}}  {kind:{kinds}}  {_cut(meaning, room - len(end))}{end}"
        for name, kind, meaning, end in rows
    ]


def _cut(text: str, most: int) -> str:
    """The text, or so much of it as fits: of a list whole entries."""
    if len(text) <= most:
        return text
    kept, mark, _ = text[: max(1, most - 3)].rpartition(", ")
    return f"{kept}, ..." if mark else f"{text[: max(1, most - 3)]}..."
