"""The command line: thin readers of a configuration. torch is imported inside the commands that need it."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

import typer

from . import evaluate, generate, listing, plan, report, train

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
app.command()(evaluate.evaluate)
app.command()(report.report)
app.command()(generate.sample)
app.command()(generate.reconstruct)
app.command()(generate.convert)
app.command()(generate.complete)
app.command()(generate.encode)
app.command()(generate.interpolate)
app.command()(generate.score)
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process.

    Exit status: 0 done, 2 the user's mistake, 130 interrupted, 1 our failure.

    Args:
        arguments: What stands behind the program's name; that of this process if not given.
    """
    from ..errors import LowerboundError, NonFiniteError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without σ shows a question mark instead
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        # Without its standalone mode typer raises what it would print itself. It still makes of Ctrl-C a status.
        status = app(list(arguments) or ["--help"], prog_name="lowerbound", standalone_mode=False)
        if status == 130:
            raise KeyboardInterrupt
        sys.exit(status)
    except LowerboundError as error:
        _fail(str(error), 1 if isinstance(error, NonFiniteError) else 2)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BrokenPipeError:
        sys.stdout = None  # the reader has gone, as `| head` does; nothing is left to say
        sys.exit(0)
    except OSError as error:
        if error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror}", 2)
    except Exception as error:
        message = getattr(error, "format_message", None)  # typer's own, whose class depends on its version
        if message is None:
            raise
        _fail(f"{' '.join(message().split())} (see `lowerbound {_command(arguments)}--help`)", 2)


def _command(arguments: Sequence[str], among: typer.Typer = app) -> str:
    """Return the command among the arguments, that of a group behind its name, with a space after each."""
    name = arguments[0] if arguments else ""
    for group in among.registered_groups:
        if group.name == name and group.typer_instance is not None:
            return f"{name} {_command(arguments[1:], group.typer_instance)}"
    known = {
        command.name or getattr(command.callback, "__name__", "") for command in among.registered_commands
    }
    return f"{name} " if name in known else ""


def _fail(message: str, status: int) -> None:
    print(f"lowerbound: {message}", file=sys.stderr)
    sys.exit(status)
