"""Command line. Each module without a leading underscore is one command.

Such a module defines `command`, a function that typer can read; its docstring is the help. What is slow to import
(torch, nibabel) is imported inside the function, so that `asa --help` answers at once.
"""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from asa import __version__, events
from asa.errors import AsaError, Cancelled
from asa.program import interruptible

_DEBUG = "--debug"


def main(arguments: list[str] | None = None) -> None:
    """The entry point `asa`: runs a command and leaves with its exit code.

    An error is one sentence on standard error; with --debug anywhere on the line, the traceback too. With --events, as
    the panels ask for it, the sentence is an event on standard output instead.
    """
    try:
        _run(arguments)
    except SystemExit as left:
        if int(os.environ.get("WORLD_SIZE", 1)) > 1 and "torch.distributed" in sys.modules:
            from asa.training.parallel.distributed import end_process

            end_process(left.code if isinstance(left.code, int) else int(left.code is not None))
        raise


def _run(arguments: list[str] | None) -> None:
    """Does what :func:`main` says, always leaving by SystemExit."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug, as_event = _DEBUG in arguments, events.FLAG in arguments

    def leave(sentence: str, code: int, kind: str = "Error: ") -> NoReturn:
        if as_event:
            typer.echo(events.to_line(events.Failed(sentence, code)))
        else:
            typer.echo(f"{kind}{sentence}", err=True)
        sys.exit(code)

    interruptible()
    try:
        build()(args=[a for a in arguments if a not in (_DEBUG, events.FLAG)], prog_name="asa")
    except AsaError as error:
        if debug:
            traceback.print_exc()
        leave(str(error), error.exit_code)
    except KeyboardInterrupt:  # before a command had begun, or while it was leaving
        leave("Cancelled.", Cancelled.exit_code)
    except Exception as error:
        if debug:
            traceback.print_exc()
        sentence = f"Unexpected error: {type(error).__name__}: {error} (add {_DEBUG} for details)"
        leave(sentence, AsaError.exit_code, kind="")


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
            app.command(module.name)(_cancellable(command))
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


def _cancellable(command: Callable[..., Any]) -> Callable[..., Any]:
    """Ctrl-C leaves with 130 and one sentence, from wherever it was pressed."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            raise Cancelled("Cancelled.") from None

    return wrapped
