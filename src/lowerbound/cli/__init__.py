"""The command line: thin readers of a configuration.

Nothing is imported here before ``main`` runs: so Ctrl-C ends the program with one line from the first moment on.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave the process.

    Exit status: 0 done, 2 the user's mistake, 130 interrupted, 1 our failure.

    Args:
        arguments: What stands behind the program's name; that of this process if not given.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        from .running import run

        status = run(arguments)
    except KeyboardInterrupt:
        print("lowerbound: interrupted", file=sys.stderr)
        status = 130
    sys.exit(status)
