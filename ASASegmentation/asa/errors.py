"""What can go wrong, as a user meets it: each error is one sentence and one exit code of the command line."""

from __future__ import annotations

DISTRIBUTION = "slicer-asa"  # what pip calls this package: `asa` on PyPI is another project


class AsaError(Exception):
    """Base of all errors that are told to the user instead of being shown with a traceback.

    ``str(error)`` is one sentence that says what is wrong, where, and where it helps what to do.
    """

    exit_code = 1


class InputError(AsaError):
    """An image cannot be read or cannot be what it is said to be."""

    exit_code = 3


class OutputError(AsaError):
    """A result cannot be written: no space, no permission, not a folder."""

    exit_code = 4


class ModelError(AsaError):
    """A model is missing, incompatible or not what its description says."""

    exit_code = 5


class ResourceError(AsaError):
    """The machine lacks the memory for what was asked."""

    exit_code = 6


class DependencyError(AsaError):
    """An optional package is missing; the sentence names the extra that brings it."""

    exit_code = 7


def install_command(extra: str) -> str:
    """How to install the packages of an extra, for a sentence."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


class Cancelled(AsaError):
    """The user stopped it."""

    exit_code = 130
