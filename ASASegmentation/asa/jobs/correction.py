"""Corrections of a segmentation that is open in 3D Slicer: one session of refinement, kept between requests.

A request states everything that its answer depends on: what the segmentation was when it was opened, the marks that
are in effect, and those to preview. The session only saves work, so that an engine that was ended in between gives the
same answer. Its format is described in docs/reference/resident-engine.md.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asa.entries import Entries, distinct, each, mapping, number, text
from asa.errors import InputError
from asa.files import read_json
from asa.jobs.refine import series_frames, to_label_grid
from asa.jobs.segment import image_sha256
from asa.program import Progress, memory_errors
from asa.refinement import Mark, MarkSet, Refinement, Start
from asa.refinement.record import Record
from asa.refinement.segments import combined, stored_mask
from asa.refinement.session import Change
from asa.tasks import TASKS, TITLES, Task
from asa.volume import StorageOrder, Volume, read_scan

UNCHANGED = 255  # in a patch; no label has this value
_REMEDY = "this is a fault of the extension; report it with the log"
_OTHER_SCAN = (
    "The stored probabilities belong to another version of the {} image, so the marks use intensities only; "
    "segment again to use probabilities."
)
Segments = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Opened:
    """What a correction starts from.

    Attributes:
        task: key of :data:`asa.tasks.TASKS`.
        reference: modality whose grid the segmentation is corrected on.
        images: modality -> file.
        record: record of the result, or None.
        segments: name -> file of its mask and 4×4 ``ijk_to_ras`` in mm.
    """

    task: Task
    reference: str
    images: Mapping[str, Path]
    record: Path | None
    segments: Segments


@dataclass(frozen=True)
class Asked:
    """One request.

    Attributes:
        opened: what the correction started from.
        current: the current segments, if they may differ from the last answer; otherwise None.
        locked: segments that must not change.
        applied: marks that are part of the segmentation.
        pending: marks to preview.
        output: folder for the patches.
    """

    opened: Opened
    current: Segments | None
    locked: tuple[str, ...]
    applied: tuple[Mark, ...]
    pending: tuple[Mark, ...]
    output: Path


def read_request(path: Path) -> Asked:
    """Read a request.

    Raises:
        InputError: it cannot be read, or an entry is missing, unknown or of the wrong type.
    """
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"The request {path} cannot be read: {error}.") from error
    where = f"the request {path}"
    entries = Entries(values, where, InputError, _REMEDY)
    entries.only(("opened", "applied", "pending", "output"), ("current", "locked"))
    start = Entries(values["opened"], f"'opened' in {where}", InputError, _REMEDY)
    start.only(("task", "reference", "images", "segments"), ("record",))
    task = start.take("task", text, "the name of a task", "")
    if task not in TASKS:
        raise start.fault(f"there is no task '{task}'")
    known = [modality.key for modality in TASKS[task].modalities]
    none: Mapping[str, str] = {}
    images = start.take("images", lambda value: mapping(value, known, text), f"files of {', '.join(known)}", none)
    reference = start.take("reference", text, "a modality", "")
    if reference not in images:
        raise start.fault(f"'reference' is {reference}, and there is no such image")
    record = start.take("record", lambda value: None if value is None else text(value), "a file or null", None)
    opened = Opened(
        task=TASKS[task],
        reference=reference,
        images={key: Path(images[key]) for key in known if key in images},
        record=None if record is None else Path(record),
        segments=_segments(start, "segments") or {},
    )
    return Asked(
        opened=opened,
        current=_segments(entries, "current"),
        locked=entries.take("locked", lambda value: distinct(value, None), "a list of different names", ()),
        applied=_marks(values["applied"], f"'applied' in {where}"),
        pending=_marks(values["pending"], f"'pending' in {where}"),
        output=Path(entries.take("output", text, "a folder", "")),
    )


def _segments(entries: Entries, key: str) -> Segments | None:
    if entries.values.get(key) is None:
        return None

    def one(value: object) -> Mapping[str, Any]:
        parts = Entries(value, f"'{key}' in {entries.where}", InputError, _REMEDY)
        parts.only(("file", "ijk_to_ras"), ())
        rows: Sequence[Sequence[float]] = parts.take(
            "ijk_to_ras", lambda value: each(value, lambda row: each(row, number)), "a matrix of 4 by 4 numbers", ()
        )
        matrix = np.asarray(rows, float) if {len(row) for row in rows} == {4} else np.zeros(0)
        if matrix.shape != (4, 4):
            raise parts.fault("'ijk_to_ras' is no matrix of 4 by 4 numbers")
        return {"file": parts.take("file", text, "a file", ""), "ijk_to_ras": matrix}

    none: Segments = {}
    return entries.take(key, lambda value: mapping(value, None, one), "segments by name", none)


def _marks(values: object, where: str) -> tuple[Mark, ...]:
    if values == []:
        return ()
    return MarkSet.from_json({"format": 1, "marks": values}, where).marks


class Corrections:
    """Answers requests, and keeps the session of the last one."""

    def __init__(self) -> None:
        self._key = ""
        self._live: _Live | None = None

    def answer(self, path: Path, progress: Progress) -> dict[str, Any]:
        """Answer the request in a file.

        Args:
            path: the request.
            progress: called with the name of a stage and the fraction done.

        Returns:
            The values of the event ``refined``.

        Raises:
            InputError: the request, an image or a mark is invalid; the session is as before.
            ResourceError: there is not enough memory.
        """
        asked = read_request(path)
        opened = asked.opened
        places = {name: str(one["file"]) for name, one in opened.segments.items()}
        key = json.dumps([opened.task.name, str(opened.record), places, *map(str, opened.images.values())])
        with memory_errors():
            if key != self._key or self._live is None:
                self._key, self._live = "", None  # before memory is taken for the next
                self._live = _Live(opened, asked.locked, asked.applied, progress)
                self._key = key
            return self._live.answer(asked, progress)


class _Live:
    """A session and what it was made from."""

    def __init__(self, opened: Opened, locked: Sequence[str], applied: Sequence[Mark], progress: Progress) -> None:
        progress("reading", 0.0)
        self.task = opened.task
        scans = {key: read_scan(path) for key, path in opened.images.items()}
        reference = scans[opened.reference]
        self.grid, self.storage = reference.grid, reference.storage
        progress("reading", 0.4)
        record, self.notes = _usable_record(opened, reference)
        labels = _labels(opened.segments, self.task, self.grid)
        self.images = _on_one_grid(scans, opened.reference, None if record is None else record.report)
        self.edited = None if record is None else record.labels != labels
        self.posterior = record is not None
        progress("preparing", 0.7)
        start = Start(
            images=self.images,
            labels=reference.with_array(labels),
            task=self.task,
            posterior=None if record is None else record.posterior,
            edited=self.edited,
        )
        self.session = Refinement(start, locked)
        self.locked = tuple(locked)
        for mark in applied:  # made before the engine was started again; what cannot be repeated follows as an edit
            with contextlib.suppress(InputError):
                self.session.add(mark)
        self._settle(len(applied))

    def _settle(self, count: int) -> None:
        """Take the marks that are in effect as given: they cannot be undone any more."""
        #: marks of the session that cannot be undone, and marks of the user that they stand for
        self.fixed, self.offset = len(self.session.marks), count
        self.changes: list[Change] = []

    def answer(self, asked: Asked, progress: Progress) -> dict[str, Any]:
        kept = len(asked.applied)
        if asked.current is not None:
            kept = self._follow(_labels(asked.current, self.task, self.grid), asked.applied)
        if asked.locked != self.locked:
            self._go_back(kept - self.offset)
            self._start_over(self.session.labels.copy(), self.edited, asked.locked, kept)
        progress("refining", 0.9)
        wanted = [*asked.applied[self.offset : kept], *asked.pending]
        first = kept - self.offset
        patches = [self._patch(asked.output, number) for number in self._make(wanted, first)]
        return {"kept": kept, "patches": patches, "posterior": self.posterior, "notes": self.notes}

    @property
    def _made(self) -> tuple[Mark, ...]:
        return self.session.marks[self.fixed :]

    def _go_back(self, count: int) -> None:
        """Undo marks until so many are left."""
        while len(self._made) > max(0, count):
            self.session.undo()

    def _make(self, wanted: Sequence[Mark], first: int) -> Any:
        """Make the marks that are wanted, and yield the number of each from the ``first`` on once it is made."""
        same = 0
        while same < min(len(wanted), len(self._made)) and wanted[same] == self._made[same]:
            same += 1
        self._go_back(same)
        self.changes = self.changes[:same]
        self._go_back(first)
        for index in range(len(self._made), len(wanted)):
            if index < same:
                self.session.redo()
            else:
                self.changes.append(self.session.add(wanted[index]))
            if index >= first:
                yield index

    def _patch(self, folder: Path, number: int) -> dict[str, Any]:
        """Write what the last mark changed: its new labels, in the order (i, j, k) of the reference."""
        change = self.changes[number]
        low, high = np.asarray(change.low), np.asarray(change.high)
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        after = self.session.labels[box].copy()
        self.session.undo()
        unchanged = self.session.labels[box] == after
        self.session.redo()
        after[unchanged] = UNCHANGED
        sizes = np.asarray(self.grid.shape)
        corner = np.where(self.storage.flipped, sizes - high, low)[np.argsort(self.storage.axes)]
        path = folder / f"patch_{number}.npy"
        np.save(path, np.ascontiguousarray(self.storage.to_stored(after)), allow_pickle=False)
        return {"file": str(path), "low": [int(one) for one in corner], "voxels": change.voxels}

    def _follow(self, now: npt.NDArray[np.uint8], applied: Sequence[Mark]) -> int:
        """Bring the session to the segmentation as it is now; return how many of the applied marks it holds.

        The user may have undone marks, which is recognised, or edited it, which is kept from then on.
        """
        with contextlib.suppress(InputError):
            for _ in self._make(applied[self.offset :], 0):
                pass
        made = len(self._made)
        for count in range(made, -1, -1):
            self._go_back(count)
            if (self.session.labels == now).all():
                return self.offset + count
        while self.session.redo():
            pass
        changed = self.session.labels != now
        self._start_over(now, changed if self.edited is None else self.edited | changed, self.locked, len(applied))
        return len(applied)

    def _start_over(
        self, labels: npt.NDArray[np.uint8], edited: npt.NDArray[np.bool_] | None, locked: Sequence[str], count: int
    ) -> None:
        """Go on with another label map or other locks; earlier marks stay in effect where they hold."""
        before, features = self.session, self.session.features
        volume = Volume(labels, self.grid, self.storage)
        start = Start(self.images, volume, self.task, before.posterior, edited)
        session = Refinement(start, locked, features=features)
        for mark in before.marks:
            with contextlib.suppress(InputError):
                if session.add(mark).voxels:
                    session.undo()
        self.session, self.edited, self.locked = session, edited, tuple(locked)
        self._settle(count)


def _usable_record(opened: Opened, reference: Volume) -> tuple[Record | None, list[str]]:
    """Read the record of the result; refuse one of other images, and say so."""
    if opened.record is None:
        return None, []
    try:
        record = Record.read(opened.record)
    except InputError as error:
        return None, [str(error)]
    digests = record.report["inputs"]
    for key, path in opened.images.items():
        if key not in digests or digests[key]["sha256"] != image_sha256(path):
            return None, [_OTHER_SCAN.format(TITLES[key])]
    if record.task is not opened.task or not record.grid.same_as(reference.grid):
        return None, [_OTHER_SCAN.format(TITLES[opened.reference])]
    return record, []


def _on_one_grid(scans: Mapping[str, Volume], reference: str, report: Mapping[str, Any] | None) -> list[Volume]:
    """Return the images on the grid of the reference, moved as they were for the result, else by registration."""
    grid = scans[reference].grid
    matrices = series_frames(report or {})
    if not matrices.keys() >= scans.keys():
        if all(scan.grid.same_as(grid) for scan in scans.values()):
            matrices = dict.fromkeys(scans, np.eye(4))
        else:
            from asa.inference.placement import place_series

            matrices = {key: one.alignment.matrix for key, one in place_series(scans, align=True).series.items()}
    here = np.linalg.inv(matrices[reference])
    return [to_label_grid(scan, grid, matrices[key] @ here) for key, scan in scans.items()]


def _labels(segments: Segments, task: Task, grid: Any) -> npt.NDArray[np.uint8]:
    """Read the masks of segments and return the label map."""
    masks = {}
    for name, one in segments.items():
        try:
            mask = np.load(one["file"], allow_pickle=False).astype(np.uint8)
        except (OSError, ValueError) as error:
            raise InputError(f"The mask of {name} cannot be read: {error}.") from error
        if mask.ndim != 3:
            raise InputError(f"The mask of {name} has {mask.ndim} axes, not 3.")
        if mask.size:
            masks[name] = stored_mask(mask, StorageOrder.of(one["ijk_to_ras"]), one["ijk_to_ras"])
    return combined(masks, task, grid, "The segmentation")
