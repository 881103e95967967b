"""Check of the option ``--output``, which names a folder in every command."""

from __future__ import annotations

from pathlib import Path

from asa.errors import OutputError
from asa.image_names import IMAGE_SUFFIXES

_FILES = (*IMAGE_SUFFIXES, ".csv", ".json", ".safetensors", ".yaml", ".yml")


def check_output(path: Path | None) -> None:
    """Refuse a folder whose name says that a file is wanted.

    Raises:
        OutputError: it ends as a file does, and there is no folder of that name yet.
    """
    suffix = next((one for one in _FILES if path is not None and path.name.lower().endswith(one)), "")
    if path is not None and suffix and not path.is_dir():
        example = path.name[: -len(suffix)] or "result"
        raise OutputError(
            f"--output names a folder for several files, and '{path.name}' is the name of a file. Give a folder, "
            f"for example '{path.with_name(example)}'."
        )
