"""Command line. Each module without a leading underscore is one command.

Such a module defines `command`, a function that typer can read; its docstring is the help. What is slow to import
(torch, nibabel) is imported inside the function, so that `asa --help` answers immediately.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import io
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from asa import __version__, events
from asa.cli._output import check_output
from asa.errors import AsaError, Cancelled, OutputError
from asa.interrupts import interruptible, requested
from asa.program import UNEXPECTED, check_current_folder, end_output, explain, use_one_blas_thread

_DEBUG = "--debug"


def main(arguments: list[str] | None = None) -> NoReturn:
    """The entry point `asa`: runs a command and leaves with its exit code.

    An error is one sentence on standard error; with --debug anywhere on the line, the traceback too. With --events, as
    the panels ask for it, the sentence is an event on standard output instead.
    """
    use_one_blas_thread()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may be no text, and the locale may know ASCII only
            stream.reconfigure(errors="backslashreplace")
    code = _run(sys.argv[1:] if arguments is None else arguments)
    if (error := end_output()) is not None and not code:
        code = OutputError.exit_code
        if error.errno != errno.EPIPE:  # whoever reads no further, as `head`, knows it
            _say(f"Error: {explain(error)}")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and "torch.distributed" in sys.modules:
        from asa.training.parallel.distributed import end_process

        end_process(code)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    """Do what :func:`main` says and return the exit code."""
    debug, as_event = _DEBUG in arguments, events.FLAG in arguments

    def leave(sentence: str, code: int, kind: str = "Error: ") -> int:
        line = events.to_line(events.Failed(sentence, code)) if as_event else f"{kind}{sentence}"
        _say(line, err=not as_event)
        return code

    interruptible()
    try:
        check_current_folder()
        build()(args=[a for a in arguments if a not in (_DEBUG, events.FLAG)], prog_name="asa")
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    except KeyboardInterrupt:  # before a command had begun, or while it was leaving
        return leave("Cancelled.", Cancelled.exit_code)
    except Exception as error:
        if debug:
            traceback.print_exc()
        if requested() and not isinstance(error, AsaError):  # a library turned the signal into an error of its own
            return leave("Cancelled.", Cancelled.exit_code)
        said = explain(error)
        if str(said).startswith(UNEXPECTED):
            return leave(f"{said} (add {_DEBUG} for details)", said.exit_code, kind="")
        return leave(str(said), said.exit_code)
    return 0


def _say(line: str, *, err: bool = True) -> None:
    with contextlib.suppress(OSError):  # a terminal that has gone
        typer.echo(line, err=err)


def build() -> typer.Typer:
    """The application with every command in this package."""
    app = typer.Typer(
        name="asa",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(epilog=f"Add {_DEBUG} to any command to see where an error came from.")(_root)
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            command = importlib.import_module(f"{__name__}.{module.name}").command
            app.command(module.name.replace("_", "-"))(_guarded(command))
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"asa {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Segment brain MRI with the Attentive Symmetric Auto-encoder (ASA). For research use."""


def _guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    """Check the output folder; Ctrl-C leaves with 130 and one sentence, from wherever it was pressed."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        check_output(kwargs.get("output"))
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            raise Cancelled("Cancelled.") from None

    return wrapped
