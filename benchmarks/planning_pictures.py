"""The pictures of docs/images of the planning benchmarks, drawn again from their stored results.

Nothing is measured: ``benchmarks/results/planning_NAME.json`` has the curves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from common import RESULTS

from lowerbound import planning

# What is drawn of each result, in the order of the legend's colours: words by the key of the curve, ours last.
PICTURES: dict[str, dict[str, str]] = {
    "planning_narrow": {
        "uniform": "uniform",
        "halton": "Halton sequence",
        "bridge": "bridge test, half uniform",
        "cvae_path 0.7": "learned without cells, 30% uniform",
        "ours 0.7": "learned, 30% uniform",
    },
    "planning_integrator": {
        "uniform": "uniform",
        "halton": "Halton sequence",
        "bridge": "bridge test, half uniform",
        "cells_path 0.5": "learned with cells, half uniform",
        "cvae_path 0.5": "learned without cells, half uniform",
    },
    "planning_wam": {
        "uniform": "uniform",
        "halton": "Halton sequence",
        "near_ends 0.9": "near the ends, 10% uniform",
        "cvae_path 0.9": "learned without cells, 10% uniform",
        "ours 0.9": "learned, 10% uniform",
        "ours with near_ends": "learned and near the ends, 10% uniform",
    },
}


def draw(name: str, curves: Mapping[str, Any]) -> None:
    """Write ``docs/images/NAME.png``: success against the number of samples, where most samplers were tried."""
    most = {key: curves[key] for key in PICTURES[name]}
    tried = [point["n"] for points in most.values() for point in points]
    numbers = {n for n in tried if tried.count(n) > 1}
    shown = {
        PICTURES[name][key]: [point for point in points if point["n"] in numbers]
        for key, points in most.items()
    }
    picture = RESULTS.parent.parent / "docs" / "images" / f"{name}.png"
    picture.write_bytes(planning.success_picture(shown))


def main() -> None:
    for name in PICTURES:
        stored = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        draw(name, stored["protocol"]["curves"])


if __name__ == "__main__":
    main()
