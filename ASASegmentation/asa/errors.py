"""Errors shown to users: each is one sentence and one exit code of the command line."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

DISTRIBUTION = "slicer-asa"  # what pip calls this package: `asa` on PyPI is another project
_ESCAPED = {"Cc", "Cs", "Zl", "Zp"}  # control characters, bytes of a file name that are no text, ends of lines


def one_line(text: str) -> str:
    """Return a text in which everything that would break its line, or cannot be printed, is escaped."""
    if text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode("ascii") if unicodedata.category(c) in _ESCAPED else c for c in text
    )


class AsaError(Exception):
    """Base of all errors that are shown to the user without a traceback.

    ``str(error)`` says what is wrong, where, and what to do, on one line; ``details`` follow on a line each.
    """

    exit_code = 1

    def __init__(self, sentence: str = "", details: Sequence[str] = ()) -> None:
        super().__init__(sentence, tuple(details))  # which pickle passes on from process to process

    def __str__(self) -> str:
        sentence, details = self.args
        return "\n".join([one_line(sentence), *(f"  {one_line(detail)}" for detail in details)])


class InputError(AsaError):
    """An input is missing, unreadable or invalid."""

    exit_code = 3


class OutputError(AsaError):
    """A result cannot be written: no space, no permission, or not a folder."""

    exit_code = 4


class ModelError(AsaError):
    """A model is missing, incompatible or inconsistent with its description."""

    exit_code = 5


class ResourceError(AsaError):
    """A device or the required memory is not available."""

    exit_code = 6


class DependencyError(AsaError):
    """An optional package is missing; the message names the extra that installs it."""

    exit_code = 7


def install_command(extra: str) -> str:
    """Return the command that installs the packages of an extra."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


class Cancelled(AsaError):
    """The user cancelled the command."""

    exit_code = 130
