"""How a command is run, and how whatever may end it is told: in one line."""

from __future__ import annotations

import errno
import io
import re
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..display import wrapped
from ..errors import LowerboundError, NonFiniteError
from .checks import Mistakes, in_flags, told
from .commands import app, command_among

# What allocators of torch, CUDA and numpy say; torch has no class for that of the processor's memory.
_NO_MEMORY = re.compile(
    r"can't allocate|cannot allocate|unable to allocate|out of memory|not enough memory|calculation overflowed"
    r"|multiplication overflow|overflow when unpacking|invalid size",
    re.I,
)
_FULL = {errno.ENOSPC, errno.EDQUOT}


def run(arguments: list[str]) -> int:
    """Run a command and return its exit status; a failure of ours is raised.

    Raises:
        KeyboardInterrupt: the user has stopped it.
    """
    language = _language(arguments)
    warnings.formatwarning = lambda message, *_, **__: "\n".join(
        [*wrapped(f"warning: {language(str(message))}"), ""]
    )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without σ shows a question mark instead
    if empty := _empty(arguments):
        return _told(f"{empty} is empty; is a variable of the shell not set?")
    try:
        # Without its standalone mode typer raises what it would print itself. It still makes of Ctrl-C a status.
        status = app(arguments or ["--help"], prog_name="lowerbound", standalone_mode=False)
    except BrokenPipeError:
        sys.stdout = None  # the reader has gone, as `| head` does; nothing is left to say
        return 0
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # typer's own classes depend on its version
            print(error.format_message())  # type: ignore[attr-defined]
            return 0
        if (words := _words(error, arguments)) is None:
            raise
        return _told(words, 1 if isinstance(error, NonFiniteError) else 2)
    if status == 130:
        raise KeyboardInterrupt
    return status or 0


def _words(error: Exception, arguments: list[str]) -> str | None:
    """Return what to tell of an error, None if it is a failure of ours."""
    if isinstance(error, Mistakes):
        return told(error.all, arguments)
    if isinstance(error, LowerboundError):
        return _language(arguments)(str(error))
    if isinstance(error, OSError):
        return _of_system(error)
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | TypeError) and _NO_MEMORY.search(str(error))
    ):
        return f"there is not enough memory: {_first_line(error)}; ask for less, or for a smaller model"
    if type(error).__name__ == "SafetensorError":  # what it says of the system stands in its text alone
        number = re.search(r"os error (\d+)", str(error))
        return _of_system(OSError(int(number[1]), str(error))) if number else _first_line(error)
    if (message := getattr(error, "format_message", None)) is not None:
        return f"{' '.join(message().split())} (see `lowerbound {command_among(arguments)}--help`)"
    return None


def _language(arguments: list[str]) -> Callable[[str], str]:
    """Return what says a message as the command would: those that read data have flags for the options of it."""
    return in_flags if arguments[:1] in (["train"], ["inspect"]) else partial(in_flags, only=("unknown",))


def _of_system(error: OSError) -> str:
    """Return what to tell of a file that could not be read or written."""
    if error.errno in _FULL:
        name = "the disk" if error.filename is None else f"the disk of {_meant(error.filename)}"
        return f"{name} is full; make room, and run the command again (a training with --resume)"
    what = error.strerror or _first_line(error)
    return what if error.filename is None else f"{_meant(error.filename)}: {what}"


def _meant(name: object) -> str:
    """Return the file that was asked for: it is written under a name of its own first."""
    path = Path(str(name))
    match = re.fullmatch(r"\.(.+)\.\w+\.tmp", path.name)
    return str(path.with_name(match[1]) if match else path)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _empty(arguments: list[str]) -> str | None:
    """Return an argument without a letter in words, None if there is none."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if argument == "":
            return f"what stands behind {before}" if before.startswith("-") else "an argument"
        if re.fullmatch(r"--[\w-]+=", argument):
            return argument.removesuffix("=")
    return None


def _told(message: str, status: int = 2) -> int:
    print(f"lowerbound: {message}", file=sys.stderr)
    return status
