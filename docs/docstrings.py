"""Lets the site show the package's docstrings: reStructuredText mathematics becomes Markdown's.

A `.. math::` block becomes `$$ ... $$`, one per paragraph, and ``:math:`x` `` becomes `$x$`; a section "Example:"
takes the plural that the docstring parser knows, so that its lines are shown as code; a bare address becomes a link.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Docstring, Extension, Object

_BLOCK = re.compile(r"^( *)\.\. math::(.*)\n((?:(?:\1[ ]+.*)?\n)*)", re.MULTILINE)
_ROLE = re.compile(r":math:`([^`]+)`")
_CROSS = re.compile(r":(?:class|func|meth|mod):`~?([^`]+)`")
_ADDRESS = re.compile(r"(?<![<(\"'`])https?://[^\s,;)]*[\w/]")
_EXAMPLE = re.compile(r"^( *)Example:\n(?=\s*>>>)", re.MULTILINE)


def _display(match: re.Match[str]) -> str:
    indent, first, rest = match.groups()
    paragraphs = re.split(r"\n\s*\n", f"{first}\n{rest}".strip())
    formulas = [" ".join(line.strip() for line in p.splitlines()) for p in paragraphs]
    return "".join(f"{indent}$$\n{indent}{f}\n{indent}$$\n\n" for f in formulas if f)


def to_markdown(text: str) -> str:
    """Return a docstring with Markdown mathematics."""
    text = _BLOCK.sub(_display, text + "\n")
    text = _ROLE.sub(lambda m: f"${m.group(1).strip()}$", text)
    text = _CROSS.sub(r"`\1`", text)
    text = _ADDRESS.sub(lambda m: f"<{m.group()}>", text)
    return _EXAMPLE.sub(r"\1Examples:\n", text).rstrip("\n")


class Docstrings(Extension):
    """Rewrites every docstring as it is loaded."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Change the docstring of one module, class or function."""
        if isinstance(obj.docstring, Docstring):
            obj.docstring.value = to_markdown(obj.docstring.value)
