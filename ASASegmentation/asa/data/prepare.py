"""Prepare a store of aligned, stripped and cropped scans: parallel, resumable, with a quality sheet."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from pathlib import Path

import numpy as np

from asa.data.quality import SHEET, draw_scan, picture_path, write_sheet
from asa.data.scan_store import (
    INDEX,
    ScanRecord,
    Shape,
    check_settings,
    map_array,
    protect_store,
    quantise,
    read_record,
    record_path,
    volume_path,
    write_index,
    write_scan,
)
from asa.data.scans import Scan, find_scans
from asa.data.sources import changed_sources, describe_sources
from asa.data.stripping import MaskFile, Stripper
from asa.doubts import brain_shape
from asa.errors import Cancelled, InputError, ResourceError
from asa.geometry import FRAME, Alignment, align_to_frame, template_overlap, to_frame
from asa.interrupts import finish, install
from asa.program import processors
from asa.volume import read_scan, standardise

# After alignment a brain fills the template's, in any subject; scalp left on, or lobes cut off, do not.
DOUBTED_OVERLAP = 0.85


@dataclass(frozen=True)
class Preparation:
    """How every scan of a store is made.

    Attributes:
        tree: where the scans lie.
        output: the store.
        stripper: finds the brain.
        shape: voxels (T, H, W) that are kept around the centre of the brain frame; multiples of 16, at most the frame.
        align: False trusts the scans to lie in MNI152 space already.
    """

    tree: Path
    output: Path
    stripper: Stripper
    shape: Shape = (128, 128, 128)
    align: bool = True

    @property
    def origin(self) -> Shape:
        """Where the kept voxels begin in the brain frame."""
        t, h, w = ((whole - kept) // 2 for whole, kept in zip(FRAME.shape, self.shape, strict=True))
        return t, h, w

    def prepare_scan(self, scan: Scan) -> ScanRecord:
        """Align, strip, crop and store one scan, and draw it.

        Raises:
            AsaError: it cannot be used, or not be written.
        """
        started = time.perf_counter()
        path = self.tree / scan.path
        sources = describe_sources(self.sources(scan))
        volume, _ = standardise(read_scan(path))
        alignment = align_to_frame(volume) if self.align else Alignment(np.eye(4), "identity", 1.0)
        framed = to_frame(volume, alignment)
        brain = self.stripper(path, framed, alignment)
        box = tuple(slice(o, o + n) for o, n in zip(self.origin, self.shape, strict=True))
        array = quantise(np.asarray(framed.array[box], np.float32), brain[box])
        overlap = template_overlap(brain)
        record = ScanRecord(
            name=scan.name,
            subject=scan.subject,
            session=scan.session,
            source=scan.path.as_posix(),
            alignment=round(alignment.quality, 4),
            stripping=round(overlap, 4),
            brain_ml=round(float(brain.sum()) / 1000, 1),
            cut=round(1 - float(brain[box].sum()) / float(brain.sum()), 4),
            seconds=round(time.perf_counter() - started, 2),
            warnings=(*alignment.warnings, *doubts(overlap)),
        )
        draw_scan(self.output, record, framed.array, brain, self.origin, self.shape)
        write_scan(self.output, record, array, sources)
        return record

    def sources(self, scan: Scan) -> dict[str, Path]:
        """Role -> file, of what a stored scan is made from."""
        path = self.tree / scan.path
        mask = {"mask": self.stripper.mask_of(path)} if isinstance(self.stripper, MaskFile) else {}
        return {"t1": path, **mask}


def doubts(overlap: float) -> Iterator[str]:
    """Yield a warning about a brain mask with this small overlap with the template's."""
    if overlap < DOUBTED_OVERLAP:
        yield brain_shape(overlap)


def prepare(
    preparation: Preparation, *, jobs: int = 1, progress: Callable[[int, int, str], None] = lambda *_: None
) -> tuple[list[ScanRecord], list[dict[str, str]]]:
    """Prepare every scan of the tree that the store does not hold yet; what fails is skipped and listed.

    So is a scan that has changed since it was stored, or whose array is damaged; ``progress`` reports the reason.

    Args:
        jobs: processes.
        progress: called after each scan with how many are done, how many there are, and what happened.

    Returns:
        The records of all scans in the store, and {"source", "reason"} of those left out.

    Raises:
        InputError: no scans, sizes that do not fit, or a store that was begun with other settings.
        OutputError: no room or no permission, or files in the folder that are of no store.
    """
    out = preparation.output
    scans, left_out = find_scans(preparation.tree)
    _check_settings(preparation, scans)  # which begins the store
    failed = [{"source": str(path), "reason": reason} for path, reason in left_out.items()]
    records: dict[str, ScanRecord] = {}
    reasons: dict[str, str] = {}
    for scan in scans:
        record = read_record(out, scan.name)
        if record is not None and (reason := _out_of_date(preparation, scan)):
            reasons[scan.name] = f"prepared again, because {reason}; "
        elif record is not None:
            records[scan.name] = record
    todo = [scan for scan in scans if scan.name not in records]
    for scan, result in _results(preparation, todo, jobs):
        if isinstance(result, ScanRecord):
            records[scan.name] = result
            said = "; ".join(result.warnings) or "ok"
        else:
            failed.append({"source": str(scan.path), "reason": result})
            said = f"skipped: {result}"
        said = f"{scan.name}: {reasons.get(scan.name, '')}{said}"
        progress(len(records) + len(failed) - len(left_out), len(scans), said)
    ordered = [records[scan.name] for scan in scans if scan.name in records]
    write_index(out, preparation.shape, preparation.origin, ordered, failed)
    write_sheet(out, ordered, failed)
    return ordered, failed


def _check_settings(preparation: Preparation, scans: Sequence[Scan]) -> None:
    """Write the settings into a new store, or compare them with those it was begun with."""
    if any(n % 16 or n > whole for n, whole in zip(preparation.shape, FRAME.shape, strict=True)):
        raise InputError(
            f"The store size {preparation.shape} is invalid: sides must be multiples of 16 within {FRAME.shape}."
        )
    settings = {
        "tree": str(preparation.tree.resolve()),
        "shape": list(preparation.shape),
        "align": preparation.align,
        "stripping": repr(preparation.stripper),
    }
    folder = preparation.output
    outputs = [folder / INDEX, folder / "quality" / SHEET]
    for scan in scans:
        outputs += [volume_path(folder, scan.name), record_path(folder, scan.name), picture_path(folder, scan.name)]
    protect_store(folder, outputs)
    check_settings(folder, settings)


def _out_of_date(preparation: Preparation, scan: Scan) -> str:
    """Return why a stored scan must be prepared again, as a clause; "" if it need not."""
    folder = preparation.output
    try:
        array = map_array(volume_path(folder, scan.name))
    except (OSError, ValueError):
        return "its stored array is missing or damaged"
    if array.shape != preparation.shape or array.dtype != np.uint8:
        return "its stored array has the wrong shape"
    try:
        changed = changed_sources(preparation.sources(scan), record_path(folder, scan.name))
    except InputError as error:
        return str(error)
    return f"{' and '.join(changed)} changed" if changed else ""


def _attempt(preparation: Preparation, scan: Scan) -> ScanRecord | str:
    """Return the record, or the sentence that says why there is none."""
    try:
        return preparation.prepare_scan(scan)
    except InputError as error:
        return str(error)
    except (ValueError, ArithmeticError, MemoryError, np.linalg.LinAlgError) as error:
        return f"{type(error).__name__}: {error}"


def _results(preparation: Preparation, scans: list[Scan], jobs: int) -> Iterator[tuple[Scan, ScanRecord | str]]:
    if jobs <= 1 or len(scans) <= 1:
        for scan in scans:
            yield scan, _attempt(preparation, scan)
        return
    # fork would copy the threads of libraries in an unknown state
    with ProcessPoolExecutor(min(jobs, len(scans), processors()), get_context("spawn"), _begin_worker) as pool:
        pending = {pool.submit(_attempt, preparation, scan): scan for scan in scans}
        try:
            for future in as_completed(pending):
                yield pending[future], future.result()
        except BrokenProcessPool:
            raise ResourceError(
                "A process was killed, probably because memory ran out. Run the command again with fewer "
                "jobs to resume."
            ) from None
        except BaseException:  # nothing can be written any more, or it was interrupted: the others need not begin
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in active_children():
                worker.terminate()
            raise


def _begin_worker() -> None:
    """Processes share the cores, so none takes more than one; Ctrl-C is left to the process that started them."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        os.environ[variable] = "1"
    install(_end_worker)


def _end_worker(number: int, _frame: object) -> None:
    if number == signal.SIGTERM:
        finish()  # removes what is half-written
        os._exit(Cancelled.exit_code)  # at once: an exception would be taken for the scan's, and the next one begun
