"""``python -m lowerbound``."""

from .cli import main

main()
