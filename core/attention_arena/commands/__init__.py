"""The command line, one command a module; nothing heavy is imported before a command needs it."""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import version

import typer

from attention_arena.commands import compare, data, report, run, status, validate
from attention_arena.commands import list as list_command
from attention_arena.errors import ConfigError

app = typer.Typer(
    help=(
        "Compare attention variants fairly: the same model, the same training, one report.\n\n"
        "Start with `arena run smoke`, a study of minutes; then look at `arena list` and `studies/lra.yaml`."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"attention-arena {version('attention-arena')}")
        raise typer.Exit


@app.callback()
def options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    _version: bool = typer.Option(
        False, "--version", callback=_tell_version, is_eager=True, help="Print the version and leave."
    ),
) -> None:
    """Keep what all commands share."""
    _shared["debug"] = debug


_shared = {"debug": False}

app.command("run")(run.run)
app.command("validate")(validate.validate)
app.command("status")(status.status)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("list")(list_command.list_entries)
app.add_typer(data.app, name="data")


def _tell_warning(message: Warning | str, *_: object, **__: object) -> None:
    typer.echo(f"warning: {message}", err=True)


def main() -> None:
    """Run the command line; a user's mistake is one message and exit code 2, without a traceback."""
    warnings.showwarning = _tell_warning
    try:
        app()
    except ConfigError as error:
        if _shared["debug"]:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(1)
