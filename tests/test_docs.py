"""The documentation is true of the code: its blocks run, its command lines parse, its links lead somewhere.

A block marked ``python`` is run; the blocks of one page share a namespace, in order, in a folder of their own. Mark a
block ``py`` to have it coloured and left alone. Tables of commands and presets are written by

    python tests/test_docs.py
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
import types
from dataclasses import fields
from pathlib import Path

import pytest
import typer.main

import lowerbound as lb
from lowerbound.cli.commands import app
from lowerbound.names import known
from lowerbound.overrides import all_names, check_overrides, parse_assignment
from lowerbound.presets import PRESETS, preset
from lowerbound.registry import REGISTRY, options_of
from lowerbound.training import RunFolder, Settings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
_TOP = typer.main.get_command(app).commands
# By their words, those of a group too: "train", "plan make-data".
COMMANDS = {name: command for name, command in _TOP.items() if not hasattr(command, "commands")} | {
    f"{group} {name}": command
    for group, commands in _TOP.items()
    for name, command in getattr(commands, "commands", {}).items()
}

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^(?P=indent)```", re.M | re.S
)
_LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)[^)]*\)")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Return (line number, code) of a page's blocks in one language."""
    text = page.read_text()
    return [
        (text.count("\n", 0, match.start("code")) + 1, textwrap.dedent(match["code"]))
        for match in _FENCE.finditer(text)
        if match["language"] == language
    ]


# ------------------------------------------------------------------------------------------------------ Python
def one_epoch(monkeypatch) -> None:
    """Let every run end after an epoch."""
    check = Settings.__post_init__

    def shorten_and_check(settings):
        if settings.epochs:
            object.__setattr__(settings, "epochs", min(settings.epochs, 1))
        check(settings)

    monkeypatch.setattr(Settings, "__post_init__", shorten_and_check)


@pytest.mark.pages
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_the_python_blocks_of_a_page_run_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if not any("assert" in code for _, code in blocks(page, "python")):
        one_epoch(monkeypatch)  # a page that asserts nothing needs no good model
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # classes of a page find their module
    for kind, classes in REGISTRY.items():  # a page may register names
        monkeypatch.setitem(REGISTRY, kind, dict(classes))
    for line, code in blocks(page, "python"):
        # Blank lines before it, so that a traceback has the page's line numbers.
        exec(compile("\n" * (line - 1) + code, str(page), "exec"), module.__dict__)


def unnumbered(text: str) -> list[str]:
    """Return the lines of a text without their numbers, blanks, folders and what a seed decides between."""
    words = re.sub(r"[+−-]?\d[\d.,]*", "0", text)
    return [" ".join(line.split()) for line in words.splitlines() if line.strip()]


SHOWN = [ROOT / "README.md", DOCS / "quickstart.md"]
"""The pages whose commands and blocks print what stands below them, but for the numbers."""


@pytest.mark.pages
@pytest.mark.parametrize("page", SHOWN, ids=name_of)
def test_python_blocks_print_what_stands_below_them(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    one_epoch(monkeypatch)
    space: dict[str, object] = {"__name__": "page"}
    pairs = re.findall(
        r"```python\n(.*?)```(?:\s*```text\n(.*?)```)?", textwrap.dedent(page.read_text()), re.S
    )
    assert any(below for _, below in pairs)
    for code, below in pairs:
        capsys.readouterr()
        exec(compile(textwrap.dedent(code), str(page), "exec"), space)
        printed, shown = (unnumbered(text) for text in (capsys.readouterr().out, textwrap.dedent(below)))
        assert len(printed) == len(shown)
        for one, other in zip(printed, shown, strict=True):
            # Of a table's rows the words are drawn; of the verdict the share may be none.
            assert one.split()[0] == other.split()[0]
            assert len(one.split()) == len(other.split()) or "k-hat" in one


@pytest.mark.pages
@pytest.mark.parametrize("page", SHOWN, ids=name_of)
def test_commands_print_what_stands_below_them(page, tmp_path, monkeypatch, capsys):
    """In a block ``console``, lines after ``$ command`` are found in its output in this order; ``...`` are others."""
    from lowerbound import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    one_epoch(monkeypatch)
    told = "\n".join(code for _, code in blocks(page, "console"))
    commands = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n?)*)", told, re.M)
    assert len(commands) >= 3
    for line, below in commands:
        program, *words = shlex.split(line, comments=True)
        if program == "python":
            exec(words[1], {})
            continue
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        captured = capsys.readouterr()
        assert ended.value.code in (0, None), captured.err
        printed = iter(unnumbered(captured.out + captured.err))
        for shown in unnumbered(below):
            # The words up to the first number: what follows depends on how far an epoch comes.
            start = shown.split("0")[0]
            assert shown == "..." or any(other.startswith(start) for other in printed), (line, shown)


# ------------------------------------------------------------------------------------------------ command lines
def command_lines() -> list[tuple[str, str]]:
    """Return (page, command) of every command line: of shell blocks, indented blocks and inline code."""
    found = []
    for page in PAGES:
        text = page.read_text()
        shell = [code for language in ("bash", "console", "sh") for _, code in blocks(page, language)]
        outside = _FENCE.sub("", text)
        shell += [line for line in outside.splitlines() if line.startswith("    ")]
        lines = "\n".join(shell).replace("\\\n", " ").splitlines()
        found += [
            (name_of(page), match[1])
            for line in lines
            if (match := re.match(r"\s*(?:\$ |! )?(lowerbound .*)", line))
        ]
        inline = re.findall(r"`(lowerbound [a-z][^`]*)`", outside)
        found += [(name_of(page), line) for line in inline if "..." not in line and "[OPTIONS]" not in line]
    return sorted(set(found))


def arguments_of(line: str) -> list[str]:
    """Return the arguments of a shell line, up to a pipe, a redirection or the next command."""
    words = shlex.split(line, comments=True)
    end = next(
        (i for i, word in enumerate(words) if word in ("|", "||", "&&", ";", ">", ">>", "2>", "&")), None
    )
    return [word.rstrip(";") for word in words[1:end]]


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_a_command_line_parses_and_its_options_exist(page, line):
    name, *arguments = arguments_of(line)
    if name.startswith("-"):
        return
    if any(known.startswith(f"{name} ") for known in COMMANDS) and arguments:
        name, *arguments = f"{name} {arguments[0]}", *arguments[1:]
    assert name in COMMANDS, f"{page}: there is no command {name!r}"
    if name.startswith("plan ") and not arguments:
        return  # the command itself is named, not a call of it
    context = COMMANDS[name].make_context(name, arguments)
    assert not context.meta, "what is wrong is kept there"
    if name == "train" and not context.params["plugin"]:
        preset(context.params["preset"])
        for assignment in context.params["set_"] or []:
            check_overrides(parse_assignment(assignment))
    if name == "list" and context.params["kind"]:
        COMMANDS[name].invoke(context)


def test_command_lines_are_found_in_every_form():
    assert len(command_lines()) > 20
    assert {page for page, _ in command_lines()} >= {"README.md", "docs/index.md", "docs/how-to/slots.md"}


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")], ids=name_of)
def test_toml_files_are_valid_configurations(page):
    for _, code in blocks(page, "toml"):
        check_overrides(tomllib.loads(code))


# -------------------------------------------------------------------------------------------- links and pictures
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_and_pictures_resolve(page):
    text = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", page.read_text()))
    broken = []
    targets = [match["target"] for match in _LINK.finditer(text)]
    for whole in [*targets, *re.findall(r'\bsrc(?:set)?="([^"]*)"', text)]:
        target, _, anchor = whole.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        path = page if not target else page.parent / target
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in _anchors(path)):
            broken.append(whole)
    assert not broken


def _anchors(page: Path) -> set[str]:
    from markdown.extensions.toc import slugify

    headings = re.findall(r"^#+ +(.+?) *$", _FENCE.sub("", page.read_text()), re.M)
    return {slugify(re.sub(r"[`*]", "", heading), "-") for heading in headings}


def test_the_readme_is_short_its_picture_small_and_its_citation_that_of_the_file():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 100
    assert (DOCS / "images" / "moving.webp").stat().st_size < 500_000
    cited = dict(
        re.findall(r"^(title|version|license): \"?([^\"\n]*)", (ROOT / "CITATION.cff").read_text(), re.M)
    )
    assert f"title = {{{cited['title']}}}" in text
    assert f"version = {{{cited['version']}}}" in text
    assert cited["version"] == lb.__version__
    assert f"Licence: {cited['license']}" in text


def test_no_page_is_left_out_of_the_navigation():
    listed = (ROOT / "mkdocs.yml").read_text()
    assert [p for page in DOCS.rglob("*.md") if (p := page.relative_to(DOCS).as_posix()) not in listed] == []


FAMILIES = [page for page in sorted((DOCS / "models").glob("*.md")) if page.name != "index.md"]


@pytest.mark.parametrize("page", FAMILIES, ids=lambda page: page.stem)
def test_the_page_of_a_family_has_a_command_a_block_a_paper_and_a_small_picture(page):
    text, index = page.read_text(), (DOCS / "models" / "index.md").read_text()
    assert blocks(page, "bash")
    assert blocks(page, "python")
    assert "https://" in text
    assert "**When to use it.**" in text
    assert f"({page.name})" in index
    picture = f"images/family_{page.stem}.png"
    assert f"(../{picture})" in text
    assert f"(../{picture})" in index
    assert (DOCS / picture).stat().st_size < 80_000


def test_every_part_and_preset_is_on_the_page_of_a_family():
    text = "".join(page.read_text() for page in (DOCS / "models").glob("*.md"))
    kinds = ("posterior", "prior", "likelihood", "objective")
    names = [name for kind in kinds for name in REGISTRY[kind]] + list(PRESETS)
    assert [name for name in names if f"`{name}`" not in text] == []


def test_the_site_fetches_nothing_from_elsewhere():
    sources = [ROOT / "mkdocs.yml", *DOCS.rglob("*.css"), *DOCS.rglob("*.js")]
    for source in sources:
        assert not re.search(
            r"url\(\s*['\"]?https?:|@import|<script|fonts\.google|cdn\.", source.read_text()
        ), source


@pytest.mark.processes
def test_the_site_builds_without_a_warning(tmp_path):
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--site-dir",
        str(tmp_path / "site"),
    ]
    built = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 30
    fetched = re.compile(r"<(?:script|img|link rel=\"stylesheet\")[^>]*(?:src|href)=\"https?:")
    for page in pages:
        text = page.read_text()
        assert not fetched.search(text), page.name
        assert ".. math::" not in text, page.name
        assert ":math:" not in text, page.name


# ---------------------------------------------------------------------------------------- tables made from the code
def cell(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def is_argument(parameter) -> bool:
    return parameter.param_type_name == "argument"


def metavar(parameter) -> str:
    return (parameter.metavar or parameter.name).upper().strip("[]")


def command_reference() -> str:
    """Return every command with its arguments and options, as Markdown."""
    parts = []
    for name, command in COMMANDS.items():
        given = [metavar(p) if p.required else f"[{metavar(p)}]" for p in command.params if is_argument(p)]
        parts += [f"## {name}", "", f"`lowerbound {name} [OPTIONS] {' '.join(given)}`", ""]
        parts += ["\n\n".join(" ".join(text.split()) for text in (command.help or "").split("\n\n"))]
        rows = []
        for parameter in command.params:
            if is_argument(parameter):
                names = f"`{metavar(parameter)}`"
            else:
                names = ", ".join(f"`{option}`" for option in parameter.opts)
                names += "" if parameter.is_flag else f" `{metavar(parameter)}`"
            shown = (
                "" if parameter.default is None or parameter.default is False else f"`{parameter.default}`"
            )
            rows.append(f"| {cell(names)} | {cell(getattr(parameter, 'help', '') or '')} | {shown} |")
        parts += ["", "| | Meaning | Default |", "|---|---|---|", *rows, ""]
    return "\n".join(parts).strip()


def preset_table() -> str:
    rows = [f"| `{name}` | {cell(p.summary)} | {cell(p.source)} |" for name, p in PRESETS.items()]
    return "\n".join(["| Preset | What it is | Source |", "|---|---|---|", *rows])


def setting_table() -> str:
    """Return the training settings with their defaults; what they mean stands in the docstring of Settings."""
    meanings = dict(re.findall(r"^ {8}(\w+): (.*?)(?=^ {8}\w+: |\Z)", _attributes(Settings), re.M | re.S))
    rows = []
    for field in fields(Settings):
        default = "" if field.default is None else f"`{json.dumps(field.default)}`"
        rows.append(f"| `{field.name}` | {default} | {cell(meanings[field.name])} |")
    return "\n".join(["| Option | Default | Meaning |", "|---|---|---|", *rows])


def _attributes(cls: type) -> str:
    return (cls.__doc__ or "").split("Attributes:\n")[1]


def slot_table() -> str:
    """Return every registered name with its options."""
    rows = []
    for kind, classes in REGISTRY.items():
        for name, cls in classes.items():
            options = [
                f"`{option}`" if p.default is p.empty else f"`{option}={json.dumps(p.default)}`"
                for option, p in options_of(kind, cls).items()
            ]
            rows.append(f"| `{kind}` | `{name}` | {cell(', '.join(options))} |")
    return "\n".join(["| Section | `type` | Options |", "|---|---|---|", *rows])


GENERATED = {
    "commands": (DOCS / "reference" / "cli.md", command_reference),
    "presets": (DOCS / "how-to" / "slots.md", preset_table),
    "settings": (DOCS / "reference" / "configuration.md", setting_table),
    "slots": (DOCS / "reference" / "configuration.md", slot_table),
}


def _region(name: str) -> re.Pattern[str]:
    return re.compile(f"(<!-- {name}:begin -->\n)(.*?)(<!-- {name}:end -->)", re.S)


@pytest.mark.parametrize("name", GENERATED)
def test_tables_made_from_the_code_are_up_to_date(name):
    page, make = GENERATED[name]
    found = _region(name).search(page.read_text())
    assert found
    assert found[2].strip() == make(), "run: python tests/test_docs.py"


def test_the_run_folder_page_names_every_file():
    from lowerbound.training.folder import RUN_FILES

    text = (DOCS / "reference" / "run-folder.md").read_text()
    assert [name for name in (*RUN_FILES, RunFolder("run").checkpoint.name) if f"`{name}`" not in text] == []


def test_the_names_that_are_known_without_torch_are_those_of_the_registry():
    assert known() == all_names(), "run: python tests/test_docs.py"


def _write_names() -> None:
    lines = [f"{json.dumps(section)}: {json.dumps(types)}" for section, types in all_names().items()]
    (ROOT / "src" / "lowerbound" / "names.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _write_tables() -> None:
    for region, (path, make) in GENERATED.items():
        made = make()
        text = _region(region).sub(
            lambda found, made=made: f"{found[1]}\n{made}\n\n{found[3]}", path.read_text()
        )
        path.write_text(text)
        print(f"wrote {region} into {path.relative_to(ROOT)}")


if __name__ == "__main__":
    _write_names()
    _write_tables()
