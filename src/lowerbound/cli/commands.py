"""The commands by their names. torch is imported inside those that need it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from ..errors import closest
from ..names import Mistake, find
from . import (
    checks,
    compare,
    complete,
    evaluate,
    export,
    generate,
    guide,
    inspect,
    listing,
    plan,
    report,
    sweep,
    train,
)
from .options import MISTAKES, PluginOption, note, parameter, parameters_of, shaped
from .plugins import run_plugin


class _Group(TyperGroup):
    """Commands with their summaries in full, wrapped where the terminal is narrow."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        rows = [
            (name, command.get_short_help_str(1000))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class _Command(TyperCommand):
    """A command that goes on after an unknown option whose meaning is clear, to find what else is wrong."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        flags = sorted(option for parameter in self.params for option in parameter.opts if option[:2] == "--")
        while True:
            try:
                return super().parse_args(ctx, list(args))
            except Exception as error:  # the class of typer depends on its version
                wrong = getattr(error, "option_name", None)
                if type(error).__name__ not in ("NoSuchOption", "NoSuchOptionError") or ctx.resilient_parsing:
                    raise
                right = _flag_like(str(wrong), flags)
                hint = f"did you mean {right}? " if right else ""
                message = f"{ctx.info_name} has no option {wrong}; {hint}see `{ctx.command_path} --help`"
                note(ctx, Mistake(message, str(wrong), right))
                if right is None:
                    raise checks.Mistakes(ctx.meta[MISTAKES]) from None
                args = [_renamed(argument, str(wrong), right) for argument in args]


def _flag_like(wrong: str, flags: Sequence[str]) -> str | None:
    """Return the option that is meant: one nearly spelled so, or that of what others call so."""
    name = wrong.lstrip("-")
    named = {flag.lstrip("-"): flag for flag in flags}
    if (near := closest(name, named, 0.75)) is not None:
        return named[near]
    path = find(name.replace("-", "_"))
    meant = (f"--{flag.replace('_', '-')}" for flag, paths in checks.FLAGS.items() if path in paths)
    return next((flag for flag in meant if flag in flags), None)


def _renamed(argument: str, wrong: str, right: str) -> str:
    name, equals, value = argument.partition("=")
    return f"{right}{equals}{value}" if name == wrong else argument


def _whole(name: str, function: Callable[..., None]) -> Callable[..., None]:
    """Return a command with what all have: a check of all at once, --plugin, and the next command at the end."""

    def command(ctx: typer.Context, plugin: list[Path] | None = None, **given: Any) -> None:
        found = [*ctx.meta.get(MISTAKES, ()), *_mistakes(name, {**given, "plugin": plugin})]
        if found:
            raise checks.Mistakes(found)
        for path in plugin or ():
            run_plugin(path)
        function(**given)
        following = guide.next_step(name, given)
        if following and sys.stderr.isatty() and not (given.get("quiet") or given.get("as_json")):
            print(f"next: {following}", file=sys.stderr)

    parameters = [
        parameter("ctx", typer.Context),
        *parameters_of(function),
        parameter("plugin", PluginOption, None),
    ]
    return shaped(command, function, parameters)


def _mistakes(name: str, given: Mapping[str, Any]) -> Iterator[Mistake]:
    yield from checks.of_files(given)
    if name == "train":
        yield from checks.of_train(given)
    if name == "sweep":
        yield from checks.of_sweep(given)


app = typer.Typer(
    name="lowerbound",
    help="Variational autoencoders with true likelihoods: train on your data, sample, embed, score, report.",
    no_args_is_help=True,
    cls=_Group,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command()(train.train)
app.command()(inspect.inspect)
app.command()(evaluate.evaluate)
app.command()(compare.compare)
app.command()(sweep.sweep)
app.command()(report.report)
app.command()(generate.sample)
app.command()(generate.reconstruct)
app.command()(generate.convert)
app.command()(complete.complete)
app.command()(generate.encode)
app.command()(generate.interpolate)
app.command()(generate.score)
app.command(
    short_help="Write encoder, decoder or sampler as an ONNX graph.",
)(export.export)
app.command("list")(listing.list_names)
app.add_typer(plan.app, name="plan", cls=_Group)

for _prefix, _of in (("", app), ("plan ", plan.app)):
    for _info in _of.registered_commands:
        assert _info.callback is not None
        _name = _prefix + (_info.name or _info.callback.__name__)
        _info.cls, _info.epilog = _Command, _info.epilog or guide.epilog(_name)
        _info.callback = _whole(_name, _info.callback)


def _version(show: bool) -> None:
    if show:
        from .. import __version__

        print(f"lowerbound {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Hold the options of the whole program."""


def command_among(arguments: Sequence[str], among: typer.Typer = app) -> str:
    """Return the command among the arguments, that of a group behind its name, with a space after each."""
    name = arguments[0] if arguments else ""
    for group in among.registered_groups:
        if group.name == name and group.typer_instance is not None:
            return f"{name} {command_among(arguments[1:], group.typer_instance)}"
    known = {
        command.name or getattr(command.callback, "__name__", "") for command in among.registered_commands
    }
    return f"{name} " if name in known else ""
