"""Imports point down the code map of CONTRIBUTING.md, and what a module keeps to itself no other uses."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "lowerbound"
SOURCES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
}
# Methods of the model, and of results that draw themselves, hand over to what is built on them when they are called;
# a likelihood of parts builds those of the parts by their names.
UPWARD = {
    ("comparison", "report"),
    ("likelihoods", "registry"),
    ("model", "completion"),
    ("model", "defaults"),
    ("model", "using"),
    ("training", "report"),
}
# Names of torch and of matplotlib for which there is no public one.
FOREIGN = {
    ("nn.packing", "_linear_pointwise"),
    ("nn.packing", "_reorder_linear_weight"),
    ("planning.pictures", "_axinfo"),
    ("training.ema", "_foreach_lerp_"),
}


def layers():
    """Return each part of the package with its line in the code map, counted from the top."""
    text = (ROOT / "CONTRIBUTING.md").read_text().split("## Code map")[1].split("\n## ")[0]
    rows = [re.findall(r"`(\w+)(?:\.py|/)`", line.split("|")[1]) for line in text.splitlines() if "|" in line]
    return {part: i for i, row in enumerate(row for row in rows if row) for part in row}


def imports(module, tree):
    """Yield (part of the package that is imported, whether at once) of every import but those for types alone."""
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    late = {
        id(node) for block in ast.walk(tree) if isinstance(block, ast.FunctionDef) for node in ast.walk(block)
    }
    package = module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and id(node) not in typing_only:
            base = package[: len(package) + 1 - node.level]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            for name in names:
                yield (*base, *name.split("."))[0], id(node) not in late


def test_every_part_of_the_package_stands_in_the_code_map():
    parts = {module.split(".")[0] for module in SOURCES} - {"__init__", "__main__"}
    assert parts == set(layers())


def test_imports_point_down_the_code_map():
    order = layers()
    upward = set()
    for module, tree in SOURCES.items():
        part = module.split(".")[0]
        for other, at_once in imports(module, tree):
            if part not in order or other in (part, "__version__") or order[other] > order[part]:
                continue
            assert (part, other) in UPWARD, f"{module} imports {other}, which is not below it in the code map"
            assert not at_once, f"{module} imports {other} before it is called"
            upward.add((part, other))
    assert upward == UPWARD, "a late import that is no longer needed is still listed"


def test_no_module_uses_what_another_one_keeps_to_itself():
    used = set()
    for module, tree in SOURCES.items():
        nodes = list(ast.walk(tree))
        own = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
        attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
        own |= {node.attr for node in attributes if isinstance(node.ctx, ast.Store)} | {"_replace"}
        for node in attributes:
            of_self = ast.unparse(node.value) in ("self", "cls", "super()")
            if node.attr.startswith("_") and not node.attr.startswith("__") and not of_self:
                # A name that the module defines may be used on another object of its classes.
                if node.attr not in own:
                    used.add((module, node.attr))
        for node in nodes:
            if isinstance(node, ast.ImportFrom):
                used |= {
                    (module, alias.name)
                    for alias in node.names
                    if alias.name.startswith("_") and not alias.name.startswith("__")
                }
    assert used - FOREIGN == set(), "give what others need a public name"
    assert FOREIGN - used == set(), "what is mended is still listed"
