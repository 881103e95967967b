"""Atomic file writing, protection of input files, and locks between processes.

Also what must be known before anything is written: checksums of files, and whether an output would hit an input.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from asa.errors import OutputError
from asa.interrupts import cleanup, deferred
from asa.temporary import remove_abandoned, temporary_path

_ATTEMPTS, _PAUSE_S = 20, 0.05
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}

if sys.platform == "win32":
    import msvcrt

    def _lock(stream: IO[str]) -> None:
        stream.seek(0)
        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(stream: IO[str]) -> None:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def walk(tree: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield each folder below ``tree``, itself included, with the names of its folders and files, as ``os.walk`` does.

    Links to folders are followed: data sets are often shared by linking subjects. A folder is visited once, so that a
    link to a folder above it does not lead round in circles.
    """
    seen = {os.path.realpath(tree)}
    for folder, subfolders, files in os.walk(tree, followlinks=True):
        yield Path(folder), subfolders, files
        for name in list(subfolders):
            real = os.path.realpath(Path(folder) / name)
            if real in seen:
                subfolders.remove(name)
            seen.add(real)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the same folder, moved onto ``path`` once the block ends without an error.

    The temporary name ends like the final one, because writers choose their format by it. Missing parent folders are
    made. When the block fails or is interrupted, the temporary file is removed and an existing ``path`` is untouched;
    what a killed process left in the folder is removed by the next that writes there.
    Raises OutputError for any OSError on the way: disk full, read-only, no permission, a folder in the way.
    """
    final = Path(path)
    temporary = temporary_path(final)
    try:
        with cleanup() as stack:
            stack.callback(_remove, temporary)
            if final.is_dir():
                raise IsADirectoryError(None, "it is a folder")
            final.parent.mkdir(parents=True, exist_ok=True)
            remove_abandoned(final.parent)
            yield temporary
            temporary.chmod(0o666 & ~_umask())  # some writers make files that only their owner can read
            _flush_to_disk(temporary)
            _replace(temporary, final)
    except OSError as error:
        raise OutputError(f"Cannot write {final}: {(error.strerror or str(error)).lower()}.") from error


def _replace(temporary: Path, final: Path) -> None:
    """Replace a file; on Windows, wait up to a second for a reader, which prevents it."""
    for _attempt in range(_ATTEMPTS if os.name == "nt" else 0):
        try:
            temporary.replace(final)
        except PermissionError:
            time.sleep(_PAUSE_S)
        else:
            return
    temporary.replace(final)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text with ``\\n`` line ends, atomically; bytes of a file name that are not text become ``\\udcNN``.

    Raises OutputError.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON, atomically. Raises OutputError; ValueError for NaN, which JSON lacks."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Return the value of a JSON file, which begins with a byte-order mark where some editors wrote it.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError:
        raise ValueError("It is nested too deep.") from None


def sha256(path: Path) -> str:
    """SHA-256 of the content of a file, as 64 hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def protect_inputs(inputs: Iterable[Path], outputs: Iterable[Path]) -> None:
    """Refuse outputs that would replace an input, however it is reached: another spelling, a symbolic or a hard link.

    Raises:
        OutputError: an output is the same file as an input.
    """
    known = {identity: path for path in inputs if (identity := _identity(path)) is not None}
    for output in outputs:
        identity = _identity(output)
        if identity is not None and identity in known:
            raise OutputError(f"{output} would overwrite the input {known[identity]}. Choose another output folder.")


def protect_others(outputs: Iterable[Path]) -> None:
    """Refuse outputs that exist already, in a folder that no record shows to be the work of the same command.

    Raises:
        OutputError: one exists.
    """
    for output in outputs:
        if output.is_file() and output.stat().st_size:
            raise OutputError(
                f"{output} already exists, and it was not written by an earlier run of this command. "
                "Move it elsewhere, or choose another output folder."
            )


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and number of the file that a path leads to; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def try_lock(path: Path) -> IO[str] | None:
    """The file, made if missing and locked until it is closed or the process ends; None where another process has it.

    Some file systems of clusters know no locks: there it is open and not locked. Raises OSError when it cannot be made.
    """
    stream = path.open("a+", encoding="utf-8")
    try:
        _lock(stream)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return stream
        stream.close()
        return None
    return stream


@contextmanager
def exclusive_lock(path: Path) -> Iterator[bool]:
    """Yield whether this process, and no other, has the lock file ``path``, which is removed afterwards.

    Raises OSError when it cannot be made.
    """
    with cleanup() as stack:
        with deferred():
            stream, ours = try_lock(path), False
            if stream is not None:
                stack.callback(stream.close)
                # Its former holder may have removed it between our opening and locking it: then somebody else makes a
                # new one.
                ours = path.exists() and os.path.samestat(os.fstat(stream.fileno()), path.stat())
                if ours:
                    stack.callback(_remove, path)
                    if os.name == "nt":  # where an open file cannot be removed
                        stack.callback(stream.close)
        yield ours


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
