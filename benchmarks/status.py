"""List the result files that are older than the code they measure.

    python benchmarks/status.py

Comments, docstrings and layout do not count as a change, and the planners' code counts for the planners' results
only.
"""

from __future__ import annotations

import ast
import functools
from typing import Any

from common import git, results

PLANNING = "src/lowerbound/planning/"


def status(result: dict[str, Any]) -> str:
    """Return in words whether the code has changed since a result was measured, and where."""
    files = changed(result["commit"])
    if files is None:
        return f"its commit {result['commit'][:10]} is not in this repository"
    if not result["name"].startswith("planning"):
        files = [file for file in files if not file.startswith(PLANNING)]
    if not files:
        return "measures the code as it is"
    shown = ", ".join(file.removeprefix("src/lowerbound/") for file in files[:5])
    return f"changed since, {len(files)} in all: {shown}{', ...' if len(files) > 5 else ''}"


@functools.cache
def changed(commit: str) -> list[str] | None:
    """Return the files under src whose statements are not those of a commit; None if it is not known."""
    names = git("diff", "--name-only", "--no-renames", commit, "HEAD", "--", "src")
    if names is None:
        return None
    return [name for name in names.split() if statements_at(commit, name) != statements_at("HEAD", name)]


@functools.cache
def statements_at(commit: str, name: str) -> str | None:
    """Return a file as it was at a commit, its statements only; None if it was not there."""
    text = git("show", f"{commit}:{name}")
    return statements(text) if text is not None and name.endswith(".py") else text


def statements(source: str) -> str:
    """Return what a module does, without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = node.body[ast.get_docstring(node) is not None :]
    return ast.dump(tree)


if __name__ == "__main__":
    for result in results():
        print(f"{result['name']:<24}{result['date']}  {status(result)}")
