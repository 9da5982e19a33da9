"""The commands by their names. torch is imported inside those that need it."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from . import compare, complete, evaluate, export, generate, inspect, listing, plan, report, sweep, train

app = typer.Typer(
    name="lowerbound",
    help="Variational autoencoders with true likelihoods: train on your data, sample, embed, score, report.",
    no_args_is_help=True,
    add_completion=False,
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
    epilog="\b\nExamples:\n  lowerbound export runs/digits --part encoder\n"
    "  lowerbound export runs/digits --part sampler --out digits.onnx",
)(export.export)
app.command("list")(listing.list_names)
app.add_typer(plan.app, name="plan")


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
