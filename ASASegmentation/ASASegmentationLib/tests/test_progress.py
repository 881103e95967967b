"""Progress, elapsed and remaining time, and what is learnt from the last segmentations."""

from __future__ import annotations

import json
import unittest

from asa.events import SEGMENTING, STAGES, Progress, part_of_stage
from ASASegmentationLib.durations import Durations, Estimate
from ASASegmentationLib.tests.case import PanelTestCase
from ASASlicerLib.tests.fakes import MemoryStore
from ASASlicerLib.tests.scene import wait_for

_KEY = "ASASegmentation/durations"


class Clock:
    """A clock that is set by hand, in seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class TestDurations(unittest.TestCase):
    """Without a panel."""

    def setUp(self) -> None:
        self.store, self.clock = MemoryStore(), Clock()
        self.durations = Durations(self.store, self.clock)

    def estimate(self) -> Estimate:
        found = self.durations.estimate()
        assert found is not None
        return found

    def run_once(self, **seconds: float) -> None:
        self.durations.start("kind")
        for stage, took in seconds.items():
            self.durations.take(Progress(stage, SEGMENTING * STAGES.get(stage, 1.0)))
            self.clock.now += took
        self.durations.finish()

    def test_the_shares_of_the_stages_are_those_of_the_last_runs(self) -> None:
        for aligning in (50, 60, 70):
            self.run_once(preparing=10, aligning=aligning, network=20, surfaces=20)
        self.assertEqual(self.durations.total_s("kind"), 110)
        self.durations.start("kind")
        self.clock.now += 10
        self.durations.take(Progress("aligning", 0.046))
        self.clock.now += 30
        estimate = self.estimate()
        self.assertAlmostEqual(estimate.fraction, 40 / 110)
        self.assertEqual((estimate.stage, estimate.elapsed_s), ("aligning", 40))
        self.assertAlmostEqual(estimate.remaining_s or 0, 70)

    def test_a_busy_computer_changes_the_pace(self) -> None:
        self.run_once(preparing=10, aligning=50, network=40)
        self.durations.start("kind")
        self.clock.now += 20
        self.durations.take(Progress("aligning", 0.046))
        self.clock.now += 100
        self.durations.take(Progress("network", SEGMENTING * 0.45))
        estimate = self.estimate()
        self.assertAlmostEqual(estimate.fraction, 0.6)
        self.assertAlmostEqual(estimate.remaining_s or 0, 80)

    def test_the_bar_moves_in_a_stage_that_reports_nothing_and_never_back(self) -> None:
        self.run_once(preparing=10, aligning=50, network=40)
        self.durations.start("kind")
        shown = []
        for stage, fraction in (("preparing", 0.0), ("aligning", 0.046), ("network", 0.5), ("network", 0.46)):
            self.durations.take(Progress(stage, fraction))
            for _second in range(30):
                self.clock.now += 1
                shown.append(self.estimate().fraction)
        self.assertEqual(shown, sorted(shown))
        self.assertGreater(len(set(shown)), 40)
        self.assertLess(shown[-1], 1.0)

    def test_without_earlier_runs_nothing_is_said_of_the_time_left_at_first(self) -> None:
        self.assertIsNone(self.durations.total_s("kind"))
        self.durations.start("kind")
        self.assertIsNone(self.estimate().remaining_s)
        self.clock.now += 30
        self.durations.take(Progress("network", 0.5))
        self.assertGreater(self.estimate().remaining_s or 0, 10)

    def test_a_run_that_did_not_end_well_is_not_learnt_from(self) -> None:
        self.durations.start("kind")
        self.clock.now += 5
        self.durations.start("kind")
        self.assertIsNone(self.durations.total_s("kind"))
        self.assertIsNone(Durations(self.store, self.clock).estimate())

    def test_only_the_last_runs_and_kinds_are_kept(self) -> None:
        for number in range(30):
            self.durations.start(f"kind {number}")
            self.durations.finish()
        for _run in range(9):
            self.run_once(preparing=1)
        stored = json.loads(self.store.values[_KEY])
        self.assertEqual((len(stored), len(stored["kind"])), (20, 5))
        self.assertNotIn("kind 0", stored)

    def test_stored_values_that_are_damaged_are_ignored(self) -> None:
        for text in ("no json", "[]", '{"kind": 3}', '{"kind": [{}]}', '{"kind": [{"aligning": "long"}]}',
                     '{"kind": [{"aligning": Infinity}]}', '{"kind": [{"of a later version": 3}]}'):  # fmt: skip
            with self.subTest(text=text):
                self.store.values[_KEY] = text
                self.assertIsNone(self.durations.total_s("kind"))
                self.run_once(preparing=3)
                self.assertEqual(self.durations.total_s("kind"), 3)

    def test_parts_of_stages(self) -> None:
        self.assertEqual(part_of_stage(Progress("aligning", SEGMENTING * STAGES["aligning"])), 0)
        self.assertAlmostEqual(part_of_stage(Progress("network", SEGMENTING * 0.625)), 0.5)
        for stage in ("surfaces", "writing", "done", "of a later version"):
            self.assertEqual(part_of_stage(Progress(stage, 1.0)), 0)


class TestProgress(PanelTestCase):
    """In the panel."""

    def test_stage_elapsed_and_remaining_time_are_shown(self) -> None:
        self.add_proposed()
        self.start()
        self.runner.process.say(event="progress", stage="network", fraction=0.5, remaining_s=120)
        wait_for(lambda: "Segmenting" in self.ui.statusLabel.text)
        self.assertRegex(self.ui.statusLabel.text, r"^Segmenting… \d+ s elapsed")
        self.assertGreater(self.ui.progressBar.value, 400)
        self.runner.process.finish()
        wait_for(lambda: not self.panel.logic.running)

    def test_how_long_it_takes_here_is_said_before_the_click(self) -> None:
        self.add_proposed()
        self.assertIn("Not timed on this computer yet", self.ui.statusLabel.text)
        self.segment()
        self.ui.ttaComboBox.setCurrentIndex(self.ui.ttaComboBox.findData("on"))
        self.assertIn("Done", self.ui.statusLabel.text)
        self.panel.close()
        self.open()
        self.assertIn("Not timed", self.ui.statusLabel.text, "with the flip it takes twice as long")
        self.ui.ttaComboBox.setCurrentIndex(self.ui.ttaComboBox.findData("model"))
        self.assertRegex(self.ui.statusLabel.text, r"Takes about \d+ s on this computer")
