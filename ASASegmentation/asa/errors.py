"""Errors shown to users: each is one sentence and one exit code of the command line."""

from __future__ import annotations

DISTRIBUTION = "slicer-asa"  # what pip calls this package: `asa` on PyPI is another project


class AsaError(Exception):
    """Base of all errors that are shown to the user without a traceback.

    ``str(error)`` says what is wrong, where, and what to do.
    """

    exit_code = 1


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
