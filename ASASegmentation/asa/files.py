"""Writing files so that a reader sees the old one or the whole new one, never a part."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import OutputError

_ATTEMPTS, _PAUSE_S = 20, 0.05


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path in the same folder, moved onto ``path`` once the block ends without an error.

    The temporary name ends like the final one, because writers choose their format by it. Missing parent folders are
    made. When the block fails or is interrupted, the temporary file is removed and an existing ``path`` is untouched.
    Raises OutputError for any OSError on the way: disk full, read-only, no permission, a folder in the way.
    """
    final = Path(path)
    temporary = final.with_name(f".{secrets.token_hex(4)}.{final.name}")
    try:
        try:
            if final.is_dir():
                raise IsADirectoryError(None, "it is a folder")
            final.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.chmod(0o666 & ~_umask())  # some writers make files that only their owner can read
            _flush_to_disk(temporary)
            _replace(temporary, final)
        finally:
            _remove(temporary)
    except OSError as error:
        raise OutputError(f"Cannot write {final}: {(error.strerror or str(error)).lower()}.") from error


def _replace(temporary: Path, final: Path) -> None:
    """On Windows a file that somebody is reading cannot be replaced: the reader is waited for, up to a second."""
    for _attempt in range(_ATTEMPTS if os.name == "nt" else 0):
        try:
            temporary.replace(final)
        except PermissionError:
            time.sleep(_PAUSE_S)
        else:
            return
    temporary.replace(final)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes UTF-8 text with ``\\n`` line ends, atomically. Raises OutputError."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes ``value`` as indented JSON, atomically. Raises OutputError; ValueError for NaN, which JSON lacks."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _flush_to_disk(path: Path) -> None:
    """Without it a power cut soon after the rename can leave the new name with no content."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        # A read-only or missing folder: there is nothing of ours in it, and the first error tells the story.
        return
