"""What stands at the foot of a command's help, and what people do after it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

EXAMPLES: dict[str, tuple[str, ...]] = {
    "train": (
        "lowerbound train digits --epochs 20",
        "lowerbound train customers.csv --drop id --epochs 100",
        "lowerbound train photos/ --image-size 64 --network conv --lr 1e-3",
        "lowerbound train mnist --condition label --set network.hidden=400,400",
        "lowerbound train --resume --out runs/digits --epochs 40",
    ),
    "inspect": (
        "lowerbound inspect customers.csv",
        "lowerbound inspect customers.csv --out schema.json",
    ),
    "evaluate": (
        "lowerbound evaluate runs/digits",
        "lowerbound evaluate runs/digits --samples 5000 --all",
        "lowerbound evaluate runs/digits other.npy --json",
    ),
    "report": ("lowerbound report runs/digits", "lowerbound report runs/digits --out page.html"),
    "sample": (
        "lowerbound sample runs/digits -n 100 --out samples.npy",
        "lowerbound sample runs/by-class --given label=3",
    ),
    "reconstruct": ("lowerbound reconstruct runs/digits -n 8",),
    "convert": (
        "lowerbound convert runs/by-class -n 8",
        "lowerbound convert runs/by-class --given label=3 --out threes.png",
    ),
    "complete": (
        "lowerbound complete runs/digits --mask half",
        "lowerbound complete runs/customers gaps.csv --out filled.csv",
    ),
    "encode": ("lowerbound encode runs/digits --split all --out codes.csv",),
    "interpolate": ("lowerbound interpolate runs/digits -n 4 --steps 12",),
    "score": ("lowerbound score runs/customers new.csv --out scores.csv",),
    "compare": (
        "lowerbound compare runs/digits runs/digits-2",
        "lowerbound compare runs/* --samples 1000 --csv numbers.csv --out numbers.png",
    ),
    "sweep": (
        "lowerbound sweep digits --set objective.beta=1,2,4 --set latent=2,8",
        "lowerbound sweep digits --set training.learning_rate=1e-4..1e-2 --trials 10",
    ),
    "export": (
        "lowerbound export runs/digits --part encoder",
        "lowerbound export runs/digits --part sampler --out digits.onnx",
    ),
    "list": ("lowerbound list priors", "lowerbound list training"),
}
# Of a command on a run: what comes next, RUN being its folder.
_NEXT = {
    "evaluate": "lowerbound report RUN",
    "report": "lowerbound sample RUN -n 100 --overwrite",
    "sample": "lowerbound evaluate RUN",
    "reconstruct": "lowerbound interpolate RUN",
    "convert": "lowerbound report RUN",
    "complete": "lowerbound evaluate RUN",
    "encode": "lowerbound score RUN",
    "interpolate": "lowerbound report RUN",
    "score": "lowerbound report RUN",
}


def epilog(command: str) -> str | None:
    """Return the foot of a command's help."""
    lines = EXAMPLES.get(command)
    return None if lines is None else "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def next_step(command: str, given: Mapping[str, Any]) -> str | None:
    """Return the command that comes next, by the parameters of the one that has ended; None if it said so itself."""
    run: Path | None = given.get("run")
    if command == "inspect" and given.get("out") is None:
        return f"lowerbound train {given['source']}"
    return _NEXT[command].replace("RUN", str(run)) if run is not None and command in _NEXT else None
