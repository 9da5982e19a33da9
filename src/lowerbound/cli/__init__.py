"""The command line: thin readers of a configuration. torch is imported inside the commands that need it."""

from __future__ import annotations

import sys

import typer

from . import evaluate, generate, listing, report, train

app = typer.Typer(
    name="lowerbound",
    help="Variational autoencoders with true likelihoods: train on your data, sample, embed, score, report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(report.report)
app.command()(generate.sample)
app.command()(generate.reconstruct)
app.command()(generate.encode)
app.command()(generate.interpolate)
app.command()(generate.score)
app.command("list")(listing.list_names)


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


def main() -> None:
    """Run the command line. Exit status: 0 done, 2 the user's mistake, 130 interrupted, 1 our failure."""
    from ..errors import LowerboundError, NonFiniteError

    try:
        app()
    except LowerboundError as error:
        print(f"lowerbound: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, NonFiniteError) else 2)
    except KeyboardInterrupt:
        print("lowerbound: interrupted", file=sys.stderr)
        sys.exit(130)
