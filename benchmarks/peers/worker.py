"""A side of a comparison in a process of its own: reads commands, works, answers with seconds and checks.

    python worker.py SIDE

SIDE is a module beside this file, ``side_SIDE.py``. Commands and answers are one JSON object a line:

    {"do": "make", "name": "a", "kind": "Training", "arguments": {...}}     an object of one of the side's classes
    {"do": "call", "name": "a", "method": "run", "arguments": {...}}        {"answer": what the method returns}
    {"do": "versions", "of": ["torch", ...]}                                {"answer": {"torch": "2.13.0", ...}}

What goes wrong comes back as {"error": the traceback}. What libraries print goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from importlib.metadata import version
from typing import Any


def main() -> None:
    # Answers keep the real standard output to themselves.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    side = importlib.import_module(f"side_{sys.argv[1]}")
    made: dict[str, Any] = {}
    for line in sys.stdin:
        try:
            reply = {"answer": obey(side, made, **json.loads(line))}
        except Exception:
            reply = {"error": traceback.format_exc()}
        print(json.dumps(reply), file=answers, flush=True)


def obey(side: Any, made: dict[str, Any], do: str, **order: Any) -> Any:
    """Carry out one command."""
    if do == "versions":
        return {name: version(name) for name in order["of"]}
    if do == "make":
        made[order["name"]] = getattr(side, order["kind"])(**order["arguments"])
        return None
    return getattr(made[order["name"]], order["method"])(**order["arguments"])


if __name__ == "__main__":
    main()
