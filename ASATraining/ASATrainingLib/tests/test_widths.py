"""The tabs at the width of a narrow dock: no text is cut off."""

from __future__ import annotations

import qt
import slicer

from ASASlicerLib.tests.clipping import clipped
from ASASlicerLib.tests.fakes import add_head
from ASATrainingLib.tests.case import write_run, write_state
from ASATrainingLib.tests.test_inspect import InspectTestCase
from ASATrainingLib.tests.test_run import RunTestCase

_WIDTH = 350


class TestWidths(RunTestCase):
    """Each tab, with a run of a long name."""

    def test_nothing_is_clipped(self) -> None:
        run = write_run(self.folder / "a_run_with_a_very_long_name_that_no_dock_shows_in_full")
        write_state(run, "running", step=12345, steps=1_000_000)
        self.logic.open_run(run)
        add_head("sub-01_ses-02_acq-mprage_run-01_rec-norm_T1w_with_a_very_long_name_of_a_node")
        self.controls.allCheckBox.setChecked(True)
        self.control("mask_ratio").setText("1.5")
        for index, title in enumerate(self.panel.tabs):
            self.ui.tabWidget.setCurrentIndex(index)
            for _round in range(3):  # labels that wrap need more than one
                self.widget.resize(_WIDTH, 1100)
                slicer.app.processEvents()
            with self.subTest(tab=title):
                self.assertLessEqual(self.widget.width, _WIDTH)
                self.assertEqual(clipped(self.widget), [])


class TestErrorsInView(InspectTestCase):
    """In a dock that is not as high as the tab."""

    def test_an_error_of_an_inspection_is_scrolled_to(self) -> None:
        area = qt.QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(self.widget)
        area.resize(_WIDTH, 260)
        area.show()
        slicer.app.processEvents()
        self.begin()
        self.runner.process.end(3)
        area.verticalScrollBar().setValue(area.verticalScrollBar().maximum)
        label = self.controls.statusLabel
        self.tab._say("The model cannot be read.")
        slicer.app.processEvents()
        slicer.app.processEvents()
        self.assertFalse(label.visibleRegion().isEmpty())
        self.widget = area  # which is closed, and the panel in it, after the test
