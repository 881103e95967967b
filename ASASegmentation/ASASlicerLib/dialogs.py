"""What the panel asks and tells the user in windows of their own."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import qt
import slicer
from slicer.i18n import tr as _


class Dialogs(Protocol):
    """Questions and messages; tests answer them."""

    def ask(self, question: str) -> bool: ...

    def tell(self, message: str) -> None: ...

    def show_text(self, title: str, text: str) -> None: ...

    def choose_file(self, proposed: str) -> str: ...

    def choose_folder(self, title: str) -> str: ...

    def busy(self) -> AbstractContextManager[object]: ...


class SlicerDialogs:
    """Slicer's own. In testing mode nothing is shown and questions are answered no."""

    def ask(self, question: str) -> bool:
        """Whether the user agrees."""
        return not slicer.app.testingEnabled() and bool(slicer.util.confirmYesNoDisplay(question))

    def tell(self, message: str) -> None:
        """An error, until the user has read it."""
        slicer.util.errorDisplay(message)

    def show_text(self, title: str, text: str) -> None:
        """A longer text in a window that can stay open."""
        self._window = qt.QTextBrowser()
        self._window.setWindowTitle(str(title))
        self._window.setMarkdown(str(text))
        self._window.resize(640, 560)
        self._window.show()

    def choose_file(self, proposed: str) -> str:
        """A file to write, "" when the user thought better of it."""
        kinds = [(_("Segmentation"), "seg.nrrd"), (_("Label map"), "nii"), (_("DICOM"), "dcm")]
        kinds += [(_("Table"), "csv"), (_("Picture"), "png")]
        filters = ";;".join(f"{title} (*.{ending})" for title, ending in kinds)
        return str(qt.QFileDialog.getSaveFileName(None, _("Export"), proposed, filters) or "")

    def choose_folder(self, title: str) -> str:
        """A folder that exists, "" when the user thought better of it."""
        return str(qt.QFileDialog.getExistingDirectory(None, str(title), "") or "")

    def busy(self) -> AbstractContextManager[object]:
        """A waiting cursor while it is entered."""
        return slicer.util.WaitCursor()
