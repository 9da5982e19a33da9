"""``lowerbound export``: a part of a model for programs without torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import OverwriteOption, RunArgument, one_of
from .writing import check_out

if TYPE_CHECKING:
    from ..export import Exported


def export(
    run: RunArgument,
    part: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            callback=one_of("encoder", "decoder", "sampler"),
            help="encoder: x to codes; decoder: codes to x; sampler: numbers between 0 and 1 to x.",
        ),
    ] = "decoder",
    format_: Annotated[
        str, typer.Option("--format", metavar="NAME", callback=one_of("onnx"), help="onnx.")
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The .onnx file; PART.onnx in the run's folder if not given."),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write the encoder, decoder or sampler of a model as an ONNX graph, for programs without Python or torch.

    Transforms are in the graph: x is in the units of the data. The result is compared with torch where onnxruntime is
    installed.
    """
    path = check_out(out or run / f"{part}.onnx", overwrite, (".onnx",))
    from ..export import export_onnx
    from .task import load_run

    told(export_onnx(load_run(run, "cpu")[0], path, part))


def told(made: Exported) -> None:
    """Say what a graph takes and gives, and how to run it."""
    print(made.path)
    for kind, shapes in (("in", made.inputs), ("out", made.outputs)):
        for name, shape in shapes.items():
            print(f"  {kind:3s}  {name}  ({', '.join(map(str, shape))})", file=sys.stderr)
    if made.error is not None:
        print(f"onnxruntime agrees with torch to {made.error:.1g}", file=sys.stderr)
    load = f"import onnxruntime as o; s = o.InferenceSession('{made.path}')"
    script = f"{load}; print([i.name for i in s.get_inputs()])"
    print(f'next:  python -c "{script}"', file=sys.stderr)
