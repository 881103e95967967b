"""Dialog windows of the panels."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import qt
import slicer
from slicer.i18n import tr as _


class Dialogs(Protocol):
    """Interface of the dialogs; replaced in tests."""

    def ask(self, question: str) -> bool:
        """Ask a question and return whether the answer is yes."""

    def tell(self, message: str) -> None:
        """Show a message."""

    def show_text(self, title: str, text: str) -> None:
        """Show a long text in a window with a title."""

    def choose_file(self, proposed: str) -> str:
        """Return the path chosen for a new file, or "" if cancelled."""

    def choose_folder(self, title: str) -> str:
        """Return the chosen folder, or "" if cancelled."""

    def busy(self) -> AbstractContextManager[object]:
        """Return a context in which the application shows that it is busy."""


class SlicerDialogs:
    """Dialogs of Slicer. In testing mode nothing is shown and questions are answered with no."""

    def ask(self, question: str) -> bool:
        """Ask the user a yes-no question."""
        return not slicer.app.testingEnabled() and bool(slicer.util.confirmYesNoDisplay(question))

    def tell(self, message: str) -> None:
        """Show an error message."""
        slicer.util.errorDisplay(message)

    def show_text(self, title: str, text: str) -> None:
        """Show a longer text in a window that can stay open."""
        self._window = qt.QTextBrowser()
        self._window.setWindowTitle(str(title))
        self._window.setMarkdown(str(text))
        self._window.resize(640, 560)
        self._window.show()

    def choose_file(self, proposed: str) -> str:
        """Return the file to write, or "" if the user cancelled."""
        kinds = [(_("Segmentation"), "seg.nrrd"), (_("Label map"), "nii.gz *.nii"), (_("DICOM"), "dcm")]
        kinds += [(_("Table"), "csv"), (_("Picture"), "png")]
        filters = ";;".join(f"{title} (*.{ending})" for title, ending in kinds)
        return str(qt.QFileDialog.getSaveFileName(None, _("Export"), proposed, filters) or "")

    def choose_folder(self, title: str) -> str:
        """Return an existing folder, or "" if the user cancelled."""
        return str(qt.QFileDialog.getExistingDirectory(None, str(title), "") or "")

    def busy(self) -> AbstractContextManager[object]:
        """Show a wait cursor inside the context."""
        return slicer.util.WaitCursor()
