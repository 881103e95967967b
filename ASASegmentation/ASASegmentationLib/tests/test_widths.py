"""The panel at the width of a narrow dock: no text is cut off."""

from __future__ import annotations

import qt
import slicer

from asa.tasks import TASKS
from ASASegmentationLib.tests.case import PanelTestCase
from ASASlicerLib.tests.clipping import clipped
from ASASlicerLib.tests.fakes import add_head
from ASASlicerLib.tests.scene import wait_for

_WIDTH = 350
_LONG = "sub-01_ses-02_acq-iso_run-01_rec-norm_{}_with_a_very_long_name_of_a_node"


class TestWidths(PanelTestCase):
    """In each state, with long names."""

    def check(self, state: str) -> None:
        for _round in range(3):  # labels that wrap need more than one
            self.widget.resize(_WIDTH, 1000)
            slicer.app.processEvents()
        with self.subTest(state=state):
            self.assertLessEqual(self.widget.width, _WIDTH)
            self.assertEqual(clipped(self.widget), [])

    def test_nothing_is_clipped(self) -> None:
        self.check("empty")
        for name in ("T1w", "T1w_gd", "T2w", "FLAIR"):
            add_head(_LONG.format(name))
        wait_for(self.parameters.volumes)
        self.ui.advancedSection.collapsed = False
        self.ui.logSection.collapsed = False
        for task in TASKS:
            self.choose_task(task)
            wait_for(lambda: self.ui.segmentButton.enabled)
            self.check(f"{task}, ready")
            self.start()
            self.check(f"{task}, running")
            self.runner.process.doubts = [
                "the tumour model was trained on very few patients: " + 4 * "check the result "
            ]
            self.runner.process.finish()
            wait_for(lambda: not self.panel.logic.running)
            self.check(f"{task}, done")

    def test_clipped_texts_are_seen(self) -> None:
        label, button = qt.QLabel("a text of several words"), qt.QPushButton("another text")
        box = qt.QWidget()
        for child in (label, button):
            child.setParent(box)
            child.resize(20, 20)
        box.show()
        slicer.app.processEvents()
        self.assertEqual(clipped(box), ["label: a text of several words", "button: another text"])
        box.close()
