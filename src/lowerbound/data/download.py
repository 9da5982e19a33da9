"""Download a file once, with its checksum, into the user's cache."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from ..errors import DataError

_TIMEOUT = 30.0  # seconds without an answer
_LARGEST = 2**28  # bytes, ten times the largest file; a mirror that sends more sends something else


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/lowerbound, by default ~/.cache/lowerbound."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lowerbound"


def fetch(mirrors: Sequence[str], name: str, md5: str, folder: Path) -> Path:
    """Put a file into a folder from the first mirror that gives it whole; a file already there is kept.

    The file appears under its name only once its checksum is right, so an interrupted download leaves none.

    Args:
        mirrors: Addresses that end in a slash.
        name: Name of the file, there and here.
        md5: Its checksum. It guards against damage and mix-ups.
        folder: Where it goes; made if missing.

    Raises:
        DataError: No mirror gave the file, with what failed at each.
    """
    target = folder / name
    if target.is_file():
        return target
    failures = []
    for mirror in mirrors:
        print(f"downloading {mirror}{name}", file=sys.stderr)
        try:
            with urllib.request.urlopen(mirror + name, timeout=_TIMEOUT) as answer:
                content = answer.read(_LARGEST)
            found = hashlib.md5(content, usedforsecurity=False).hexdigest()
            if found == md5:
                _write(target, content)
                return target
            failures.append(f"{mirror}{name}: checksum {found} instead of {md5}")
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{mirror}{name}: {error}")
    raise DataError("; ".join(failures))


def _write(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=target.parent, prefix=target.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(partial, target)
    except BaseException:
        os.unlink(partial)
        raise
