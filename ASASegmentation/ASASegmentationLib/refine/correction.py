"""A correction: strokes are answered by the engine, previewed, and applied or dropped. Works in steps; never blocks."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from asa.events import Failed, Reported, from_line
from asa.temporary import private_folder
from ASASegmentationLib.refine import exchange, patches
from ASASegmentationLib.refine.exchange import Mark
from ASASegmentationLib.refine.patches import Patch, Preview
from ASASegmentationLib.refine.strokes import Stroke
from ASASegmentationLib.refine.subject import RefusedError, Subject, find_subject
from ASASlicerLib.resident import Request, ResidentRunner
from ASASlicerLib.signals import Signal
from ASASlicerLib.steps import Steps, advance
from ASASlicerLib.volumes import ChangedError

_ASK, _APPLY = "ask", "apply"


class Correction:
    """Corrects one segmentation at a time.

    `runner` asks the engine, `save_state` saves the segmentation for the editor's undo. Call `poll` about every 20 ms
    while it is `busy`.

    Signal: `changed()` whenever `status`, `busy` or `pending` may have changed.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, runner: ResidentRunner, save_state: Callable[[], None]) -> None:
        self.changed = Signal()
        self.status = ""
        self.subject: Subject | None = None
        self._runner, self._save_state = runner, save_state
        self._preview = Preview(scene)
        self._scene = scene
        self._closing = scene.AddObserver(scene.StartCloseEvent, lambda *_: self.close())
        self._folder: Path | None = None
        self._work: deque[tuple[str, Steps[bool]]] = deque()
        self._request: Request | None = None
        self._forget()

    def _forget(self) -> None:
        """Forget what was done to a segmentation."""
        self._opened: dict[str, Any] | None = None
        self._images: object = None  # stamp of the images that were written
        self._applied: list[Mark] = []
        self._pending: list[tuple[Mark, Patch]] = []
        self._clean: dict[str, int] = {}  # stamp of the segments as the engine knows them
        self._starts = 0  # of the engine that knows them
        self._asked = 0
        self._answered = ""

    @property
    def busy(self) -> bool:
        """Whether there is work for `poll`."""
        return bool(self._work)

    @property
    def pending(self) -> int:
        """How many marks are previewed."""
        return len(self._pending)

    @property
    def preview(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The node of the preview."""
        return self._preview.node

    # --- what the user does

    def open(self, node: slicer.vtkMRMLSegmentationNode | None, source: slicer.vtkMRMLVolumeNode | None) -> bool:
        """Prepare the correction of a segmentation; return whether it is possible, which `status` tells too."""
        try:
            subject = find_subject(node, source)
        except RefusedError as reason:
            self.close()
            self._say(str(reason))
            return False
        if subject.is_same(self.subject) and self._images == subject.image_stamp():
            self.subject = subject  # segments may have been added or removed
            return True
        self.close()
        self.subject = subject
        self._say(_("Preparing the correction of {segmentation}…").format(segmentation=subject.node.GetName()))
        self._add(_ASK, self._ask(None))
        return True

    def mark(self, stroke: Stroke, segment: str) -> None:
        """Preview what a stroke on a segment changes, besides what is previewed already."""
        if self.subject is None:
            return
        try:
            mark = exchange.make_mark(stroke, segment, self.subject)
        except RefusedError as reason:
            self._say(str(reason))
            return
        self._say(_("Computing the change…"))
        self._add(_ASK, self._ask(mark))

    def accept(self) -> None:
        """Apply what is previewed; each mark is one step of undo."""
        self._add(_APPLY, self._apply())

    def drop(self) -> bool:
        """Drop the mark that was previewed last, or those on their way; return whether there was any."""
        if self._drop_requests():
            self._say(_("Discarded; nothing was changed."))
            return True
        if not self._pending or self._work:
            return False
        self._pending.pop()
        self._show()
        self._say(self._summary())
        return True

    def _drop_requests(self) -> bool:
        """Drop the marks that are not answered yet; return whether there was any."""
        if self._opened is None or not any(kind == _ASK for kind, _steps in self._work):
            return False
        self._work = deque(one for one in self._work if one[0] != _ASK)
        if self._request is not None:
            self._request.discard()
            self._request = None
        return True

    def close(self) -> None:
        """Drop what is previewed, and forget the segmentation; its temporary files are removed."""
        self._work.clear()
        if self._request is not None:
            self._request.discard()
            self._request = None
        self._preview.clear()
        self._forget()
        self.subject = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        self.changed()

    def end(self) -> None:
        """Close, and stop observing the scene."""
        self.close()
        self._scene.RemoveObserver(self._closing)

    def hide(self) -> None:
        """Drop what is previewed; the segmentation stays prepared."""
        self._drop_requests()
        if not self._work:
            self._pending = []
            self._preview.clear()
        self.changed()

    # --- working

    def _add(self, kind: str, steps: Steps[None]) -> None:
        self._work.append((kind, _whole(steps)))
        self.changed()

    def poll(self) -> None:
        """Do a few milliseconds of work."""
        if not self._work:
            return
        work = self._work[0]
        try:
            if advance(work[1]) is None:
                return
        except (RefusedError, ChangedError) as reason:
            self._say(str(reason))
        except (OSError, ValueError, LookupError) as error:
            self._say(_("The mark could not be applied: {reason}").format(reason=error))
        if self._work and self._work[0] is work:
            self._work.popleft()
        self._request = None
        self.changed()

    def _ask(self, mark: Mark | None) -> Steps[None]:
        """Ask the engine what the previewed marks and one more change."""
        subject = self.subject
        if subject is None:
            return
        if self._opened is None:
            self._folder = self._folder or private_folder("refine")
            self._images, self._clean = subject.image_stamp(), subject.stamp()
            self._opened = yield from exchange.write_opening(subject, self._folder)
            self._starts = self._runner.starts
        assert self._folder is not None
        current, stamp = None, subject.stamp()
        if stamp != self._clean or (self._applied and not self._knows()):
            current = yield from exchange.write_segments(subject, self._folder, f"current_{self._asked}")
        self._asked += 1
        marks = [one for one, _patch in self._pending] + ([mark] if mark is not None else [])
        path = self._folder / f"request_{self._asked}.json"
        exchange.write_request(path, self._opened, current, subject.locked, self._applied, marks)
        values = yield from self._answer(path)
        self._clean, self._starts = stamp, self._runner.starts
        del self._applied[int(values["kept"]) :]
        found = [Patch.read(one.segment, part) for one, part in zip(marks, values["patches"], strict=True)]
        self._pending = list(zip(marks, found, strict=True))
        self._answered = "" if values["posterior"] else _("Using intensities only, without probabilities.")
        if values["notes"]:
            self._answered = " ".join(values["notes"])
        self._show()
        self._say(self._summary())

    def _knows(self) -> bool:
        """Whether the engine that answered last still runs."""
        return self._runner.running and self._starts == self._runner.starts

    def _answer(self, path: Path) -> Steps[dict[str, Any]]:
        """Send a request and wait for its answer.

        Raises:
            RefusedError: the engine refused it, or ended; the message is for the user.
        """
        self._request = request = self._runner.ask("refine", path)
        values: dict[str, Any] | None = None
        reason, log = "", []
        while True:
            for stream, line in request.lines():
                event = from_line(line) if stream == "stdout" else None
                if isinstance(event, Reported):
                    values = dict(event.values)
                elif isinstance(event, Failed):
                    reason = event.message
                elif event is None:
                    log.append(line)
            if request.exit_code is not None:
                break
            yield False
        if values is None:
            last = log[-1] if log else ""
            ended = _("The engine ended unexpectedly ({reason}); mark again to restart it.").format(reason=last)
            raise RefusedError(reason or ended)
        return values

    def _apply(self) -> Steps[None]:
        subject = self.subject
        if subject is None or not self._pending:
            return
        if subject.stamp() != self._clean:  # edited since the preview was made
            yield from self._ask(None)
        count, hidden = 0, False
        while self._pending:
            mark, patch = self._pending.pop(0)
            if patch.changes:
                self._save_state()
                yield True
                hidden = patches.drop_surfaces(subject) or hidden
                yield from patches.apply(patch, subject)
            self._applied.append(mark)
            self._clean = subject.stamp()
            count += 1
        self._preview.clear()
        text = _("Applied; undo reverts it.") if count == 1 else _("Applied {count} marks; undo reverts them.")
        more = _("Surfaces are hidden; Show 3D restores them.") if hidden else ""
        self._say(" ".join(filter(None, [text.format(count=count), more])))

    def _show(self) -> None:
        if self.subject is not None:
            self._preview.show([patch for _mark, patch in self._pending], self.subject)

    def _summary(self) -> str:
        if not self._pending:
            return " ".join(filter(None, [_("Ready: mark what is missing or too much."), self._answered]))
        voxels = sum(patch.changes for _mark, patch in self._pending)
        if not voxels:
            return _("The segmentation already satisfies the mark.")
        text = _("Preview: {voxels} voxels change. Space applies, Esc discards.").format(voxels=voxels)
        return " ".join(filter(None, [text, self._answered]))

    def _say(self, status: str) -> None:
        self.status = status
        self.changed()


def _whole(steps: Steps[None]) -> Steps[bool]:
    """Return steps whose result says that they have ended."""
    yield from steps
    return True
