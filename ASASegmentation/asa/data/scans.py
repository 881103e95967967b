"""Find the T1-weighted scans of ADNI, OASIS-1, OASIS-3 and BIDS trees."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asa.errors import InputError
from asa.files import walk

IMAGE = r"\.(nii|nii\.gz|mgz)$"
SKIPPED_FOLDERS = {"derivatives", "sourcedata", "code"}
# Named groups say who it is; tried in this order on the path relative to the tree, with "/" between folders.
CONVENTIONS: tuple[re.Pattern[str], ...] = (
    # BIDS, and OASIS-3 as XNAT delivers it (whose folders do not follow BIDS, but whose file names do)
    re.compile(
        r"(?:^|/)sub-(?P<subject>[a-zA-Z0-9]+)(?:_ses-(?P<session>[a-zA-Z0-9]+))?(?:_[a-z]+-[a-zA-Z0-9]+)*_T1w" + IMAGE
    ),
    # ADNI: 002_S_0295/MP-RAGE/2006-04-18_08_20_30.0/I118671/ADNI_002_S_0295_MR_MP-RAGE_....nii
    re.compile(
        r"^(?!.*(?:mask|seg)[^/]*$)(?:.*/)?(?P<subject>\d{3}_S_\d{4,5})/[^/]*(?i:mp-?rage|spgr)[^/]*/"
        r"(?P<session>\d{4}-\d{2}-\d{2})[^/]*/(?:.*/)?[^/]+" + IMAGE
    ),
    # OASIS-1: OAS1_0001_MR1/.../OAS1_0001_MR1_mpr-1_anon.nii.gz, or mri/T1.mgz and orig.mgz of its FreeSurfer release
    re.compile(r"(?:^|/)(?P<subject>OAS1_\d{4})_(?P<session>MR\d)(?:_[^/]*mpr[^/]*|/mri/(?:T1|orig))" + IMAGE),
)
COMPARED_BYTES = 1 << 16


@dataclass(frozen=True)
class Scan:
    """A scan that was found.

    Attributes:
        name: made of its path; unique in its tree and fit for a file name.
        subject, session: session is empty where there is one only.
        path: relative to the tree.
    """

    name: str
    subject: str
    session: str
    path: Path


def find_scans(tree: Path) -> tuple[list[Scan], dict[Path, str]]:
    """T1-weighted scans of a tree, in the order of their paths, and those left out with the reason.

    A scan that is there twice (with and without compression, through a link, or as a copy) is taken once.

    Raises:
        InputError: no such folder, or nothing in it is named as a T1-weighted scan.
    """
    if not tree.is_dir():
        raise InputError(f"{tree} is not a folder.")
    found: list[Scan] = []
    left_out: dict[Path, str] = {}
    names: dict[str, Path] = {}
    contents: dict[tuple[int, str], Path] = {}
    for path in _files(tree):
        relative = path.relative_to(tree)
        scan = _recognise(relative)
        if scan is None:
            continue
        try:
            content = fingerprint(path)
        except OSError as error:
            left_out[relative] = f"cannot be read: {error.strerror}"
            continue
        first = names.get(scan.name) or contents.get(content)
        if first is not None:
            left_out[relative] = f"listed twice: it is the same scan as {first}"
            continue
        names[scan.name] = contents[content] = relative
        found.append(scan)
    if not found and not left_out:
        raise InputError(
            f"{tree} contains no T1-weighted scan: expected sub-*_T1w.nii.gz (BIDS, OASIS-3), ADNI's MPRAGE "
            f"folders and "
            "OAS1_* files; DICOM and Analyze images must be converted to NIfTI first."
        )
    return found, left_out


def fingerprint(path: Path) -> tuple[int, str]:
    """Return the size and digest of the beginning, middle and end of a file: equal for copies, not for two scans."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for start in (0, size // 2, max(0, size - COMPARED_BYTES)):
            stream.seek(start)
            digest.update(stream.read(COMPARED_BYTES))
    return size, digest.hexdigest()


def _recognise(relative: Path) -> Scan | None:
    text = relative.as_posix()
    for convention in CONVENTIONS:
        if match := convention.search(text):
            subject, session = match["subject"], match["session"] or ""
            return Scan(_name(relative, subject, session), subject, session, relative)
    return None


def _name(relative: Path, subject: str, session: str) -> str:
    """Return the file's own name, after subject and session where it does not say them itself."""
    stem = re.sub(IMAGE, "", relative.name)
    missing = [part for part in (subject, session) if part and part not in stem]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "_".join((*missing, stem)))


def _files(tree: Path) -> Iterator[Path]:
    for folder, subfolders, files in walk(tree):
        subfolders[:] = sorted(s for s in subfolders if s not in SKIPPED_FOLDERS and not s.startswith("."))
        yield from (folder / name for name in sorted(files))
