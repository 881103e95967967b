"""Source files of a stored scan or case, with checksums that reveal later changes.

They are stored in records/<name>.json under `sources`, with other facts about the scan or case.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asa.errors import InputError
from asa.files import read_json, sha256, write_json

KEY = "sources"


@dataclass(frozen=True)
class Source:
    """One file.

    Attributes:
        path: absolute.
        size: in bytes.
        mtime_ns, ctime_ns: when its content and its entry last changed; while these and the size stay, so does the sum.
        sha256: of its content, 64 hexadecimal digits.
    """

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    sha256: str


Sources = dict[str, Source]


def describe_sources(files: Mapping[str, Path], known: Mapping[str, Source] | None = None) -> Sources:
    """Role (a modality, "labels", "mask") -> file as it is now.

    Args:
        files: role -> file.
        known: as they were; a file of the same size and times is not read again.

    Raises:
        InputError: a file cannot be read.
    """
    found: Sources = {}
    for role, path in files.items():
        try:
            status = path.stat()
            stamp = (str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            before = (known or {}).get(role)
            same = before is not None and (before.path, before.size, before.mtime_ns, before.ctime_ns) == stamp
            found[role] = before if same and before is not None else Source(*stamp, sha256(path))
        except OSError as error:
            raise InputError(f"The file {path} cannot be read: {error.strerror or error}.") from error
    return found


def write_record(path: Path, values: Mapping[str, Any], sources: Mapping[str, Source]) -> None:
    """Write the record of a scan or case.

    Raises:
        OutputError: no room or no permission.
    """
    described = {role: dataclasses.asdict(source) for role, source in sources.items()}
    write_json(path, {**values, KEY: described})


def read_values(path: Path) -> dict[str, Any]:
    """Return a record without its sources.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    values: dict[str, Any] = read_json(path)
    values.pop(KEY, None)
    return values


def read_sources(path: Path) -> Sources:
    """Return the sources that a record names; none where an older version wrote it, or it cannot be read."""
    try:
        described = read_json(path)[KEY]
        return {role: Source(**values) for role, values in described.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def changed_sources(files: Mapping[str, Path], record: Path) -> list[str]:
    """Roles of the files whose content is not that from which the record was made; the record then must be made again.

    Where an older version recorded no checksums, a file that is younger than the record counts as changed. The record
    of unchanged files is brought up to date, so that the next look at them is quick.

    Raises:
        InputError: a file cannot be read.
        OutputError: the record cannot be written.
    """
    known = read_sources(record)
    found = describe_sources(files, known)
    if known:
        sums = {role: source.sha256 for role, source in known.items()}
        changed = [role for role in {**known, **found} if role not in found or sums.get(role) != found[role].sha256]
    else:
        written = record.stat().st_mtime_ns
        changed = [role for role, source in found.items() if max(source.mtime_ns, source.ctime_ns) > written]
    if not changed and found != known:
        write_record(record, read_values(record), found)
    return changed
