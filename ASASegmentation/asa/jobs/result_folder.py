"""Result folder of a segmentation: its record in report.json, protection of other files, atomic replacement.

The standard library only. report.json holds the SHA-256 of every file of the result (`outputs`), so that a file that
was cut short, emptied or replaced is never returned as the result, and one that a user has edited is never lost.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from asa.errors import OutputError
from asa.files import exclusive_lock, protect_inputs, protect_others, read_json, sha256, write_json
from asa.interrupts import cleanup, deferred

REPORT = "report.json"
_STAGING, _LOCK = ".asa-partial", ".asa-lock"

Report = dict[str, Any]


def protect(images: Iterable[Path], folders: Iterable[Path], names: Sequence[str]) -> None:
    """Refuse result folders in which a new result would replace an image or a file that ASA did not write.

    Args:
        images: all files that are read.
        folders: result folders.
        names: files that a new result may consist of.

    Raises:
        OutputError: a file is in the way; it is named.
    """
    inputs, outputs = list(images), []
    for folder in folders:
        ours = {name for where in (folder, folder / _STAGING) for name in _recorded(where)}
        outputs += [folder / name for name in {*names, *ours}]
        if (folder / _STAGING).is_dir():  # of a run that was killed: it is emptied
            outputs += (folder / _STAGING).iterdir()
        if not ours and not _damaged(folder / REPORT):
            protect_others(folder / name for name in names)
    protect_inputs(inputs, outputs)


def find_current(
    folder: Path, settings: Mapping[str, Any], inputs: Mapping[str, str], wanted: Iterable[str]
) -> tuple[Report | None, str]:
    """Return the report of a folder that holds the result of these settings and inputs, every file as it was written.

    What a run that was killed left hidden next to it is removed.

    Args:
        settings: what decides the result besides the images.
        inputs: modality -> SHA-256 of its image.
        wanted: files that must be among those of the result.

    Returns:
        The report and ""; or None and the sentence that says why an earlier result cannot be used, "" if there is none.
    """
    if not (folder / REPORT).exists():
        return None, ""
    try:
        report = _read(folder)
        if report["settings"] != settings or {m: i["sha256"] for m, i in report["inputs"].items()} != dict(inputs):
            reason = "it was made from other images, with another model or with other settings"
        else:
            reason = next(_faults(folder, _recorded(folder), wanted), "")
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        reason = f"its {REPORT} is damaged"
    if not reason:
        _remove_leftovers(folder)
        return report, ""
    return None, f"The earlier result in {folder} was replaced, because {reason}."


def _faults(folder: Path, recorded: Mapping[str, str], wanted: Iterable[str]) -> Iterator[str]:
    """Clauses on what is wrong with the files of a result."""
    for name in sorted({*recorded, *wanted}):
        path = folder / name
        if not path.is_file():
            yield f"{name} is missing"
        elif not path.stat().st_size:
            yield f"{name} is empty"
        elif not recorded.get(name):
            yield f"its {REPORT} holds no checksum of {name}"
        elif sha256(path) != recorded[name]:
            yield f"{name} has been changed since it was written"


@contextlib.contextmanager
def staging_in(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder inside `folder` and remove it afterwards; `folder` and its parents too, if created here.

    A lock file next to it admits only one process: two would mix or remove each other's files.

    Raises:
        OutputError: the folder cannot be written to, or another run is writing into it.
    """
    staging = folder / _STAGING
    with cleanup() as stack:
        try:
            with deferred():
                missing = [path for path in (*reversed(folder.parents), folder) if not path.exists()]
                for path in missing:
                    stack.callback(_remove_empty, path)
                folder.mkdir(parents=True, exist_ok=True)
                if not stack.enter_context(exclusive_lock(folder / _LOCK)):
                    raise OutputError(f"Another run is writing into the folder {folder}.")
                stack.callback(shutil.rmtree, staging, ignore_errors=True)
            _finish_removal(folder)
            shutil.rmtree(staging, ignore_errors=True)  # left by a run that was killed
            staging.mkdir()
        except OSError as error:
            raise OutputError(f"The folder {folder} cannot be written to: {error.strerror or error}.") from error
        yield staging


def publish(staging: Path, folder: Path, report: Report) -> list[str]:
    """Move the finished files to their place: an older report goes first, as it is no longer true; ours comes last.

    So do the files of the older result that are not made again: probabilities next to the labels of another scan would
    be misleading. A file that differs from the older report's record, because it may have been edited, is renamed.

    Returns:
        A sentence for each file that was renamed.

    Raises:
        OutputError: the files cannot be moved; nothing of the new result is left.
    """
    recorded, moved = _recorded(folder), []
    try:
        kept = _edited(folder, {*report["outputs"], *recorded, *([] if recorded else [REPORT])}, recorded)
        report["files"] = sorted({*report["files"], *kept.values()})
        write_json(staging / REPORT, report)
        with deferred():
            for name, new in kept.items():
                (folder / name).replace(folder / new)
            for name in (REPORT, *(recorded.keys() - report["outputs"].keys())):
                (folder / name).unlink(missing_ok=True)
            for name in (*report["outputs"], REPORT):
                (staging / name).replace(folder / name)
                moved.append(name)
    except BaseException as error:
        if REPORT not in moved:
            for name in moved:
                with contextlib.suppress(OSError):
                    (folder / name).unlink()
        if isinstance(error, OSError):
            reason = error.strerror or error
            raise OutputError(f"The results cannot be moved into {folder}: {reason}.") from error
        raise
    return [
        f"The file {name} in {folder} was not the one that ASA had written; it was kept as {new}."
        for name, new in kept.items()
    ]


def _edited(folder: Path, names: Iterable[str], recorded: Mapping[str, str]) -> dict[str, str]:
    """Those of the files `names` that exist, are not empty and not as recorded -> a free name to keep them under."""
    kept = {}
    for name in sorted(names):
        path = folder / name
        if path.is_file() and path.stat().st_size and sha256(path) != recorded.get(name):
            stem, _, ending = name.partition(".")
            new, number = f"{stem}.earlier.{ending}", 2
            while (folder / new).exists():
                new, number = f"{stem}.earlier{number}.{ending}", number + 1
            kept[name] = new
    return kept


def _remove_leftovers(folder: Path) -> None:
    """Remove what a run that was killed after its result was complete left hidden in the folder."""
    if any((folder / name).exists() for name in (_STAGING, _LOCK)):
        with contextlib.suppress(OSError), exclusive_lock(folder / _LOCK) as ours:
            if ours:
                shutil.rmtree(folder / _STAGING, ignore_errors=True)


def _finish_removal(folder: Path) -> None:
    """Remove what a killed run had moved already: without a report it is not a result, and is as that run wrote it."""
    if not (folder / REPORT).exists():
        for name, digest in _recorded(folder / _STAGING).items():
            path = folder / name
            if path.is_file() and sha256(path) == digest:
                path.unlink()


def _read(folder: Path) -> Report:
    report: Report = read_json(folder / REPORT)
    return report


def _recorded(folder: Path) -> dict[str, str]:
    """File name -> SHA-256 of the result that the report in a folder describes.

    Empty where there is no report of ours; "" for each file where an older version wrote no checksums. Names are
    plain, so nothing outside the folder is ever meant.
    """
    try:
        report = _read(folder)
        outputs = report.get("outputs") or {name: {} for name in report["files"] if report["settings"]}
        digests = {str(name): str(values.get("sha256", "")) for name, values in outputs.items()}
        return {name: digest for name, digest in digests.items() if name == Path(name).name}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def _damaged(report: Path) -> bool:
    """Whether there is a report that cannot be read as JSON: one of ours that was cut short, for all that is known."""
    try:
        read_json(report)
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
    return False


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
