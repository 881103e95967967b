"""The tab that follows a run: runs of every kind, what it puts into the scene, and that it never holds Slicer up."""

from __future__ import annotations

import json
import time
from typing import Any

import slicer

from ASASlicerLib.tests.scene import wait_for
from ASATrainingLib.layouts import PLOT_VIEWS
from ASATrainingLib.tests.case import PanelTestCase, report, write_run, write_state
from ASATrainingLib.tests.test_events import event_lines

MANY = 100_000


class TestWatching(PanelTestCase):
    """Following runs through their files."""

    @property
    def tab(self) -> Any:
        return self.panel.tabs["Watch"]

    def watch(self, name: str = "run", lines: str = "", kind: str = "pretraining", **state: Any) -> None:
        """Opens a run with these events, and waits until they are drawn."""
        folder = write_run(self.folder / name, kind)
        (folder / "events.jsonl").write_text(lines, encoding="utf-8")
        write_state(folder, **{"phase": "running", **state})
        self.panel.ui.tabWidget.setCurrentIndex(list(self.panel.tabs).index("Watch"))
        self.logic.open_run(folder)
        wait_for(lambda: not self.tab._dirty)

    def chart(self, key: str) -> Any:
        return self.tab.plots.nodes().get(key)

    def values(self, key: str, curve: str) -> list[float]:
        """What a curve of the scene holds."""
        chart = self.chart(key)
        for number in range(chart.GetNumberOfPlotSeriesNodes()):
            series = chart.GetNthPlotSeriesNode(number)
            if series.GetName() == curve:
                column = series.GetTableNode().GetTable().GetColumnByName(series.GetYColumnName())
                return [column.GetValue(i) for i in range(column.GetNumberOfTuples())]
        raise AssertionError(f"no curve {curve}")

    def cells(self) -> dict[str, str]:
        table = self.tab.ui.numbersTable
        return {table.item(row, 0).text(): table.item(row, 1).text() for row in range(table.rowCount)}

    def test_without_a_run_there_is_nothing_to_do(self) -> None:
        self.assertFalse(self.tab.ui.plotsButton.enabled)
        self.assertIn("Choose a run", self.tab.ui.progressLabel.text)

    def test_curves_grow_while_the_run_goes_on(self) -> None:
        self.watch(lines=event_lines(20), step=20, steps=50)
        self.assertEqual(len(self.values("loss", "training")), 20)
        self.assertEqual(self.tab.ui.progressBar.value, 20)
        self.assertIn("Step 20 of 50", self.tab.ui.progressLabel.text)
        self.assertIn("Less than a minute left", self.tab.ui.progressLabel.text)
        node = self.chart("loss")
        with (self.folder / "run" / "events.jsonl").open("a", encoding="utf-8") as stream:
            stream.write("\n".join(event_lines(25).splitlines()[20:]) + "\n")
        wait_for(lambda: len(self.values("loss", "training")) == 25)
        self.assertEqual(self.chart("loss").GetID(), node.GetID())
        self.assertEqual(self.cells()["Samples per second"], "8")

    def test_the_axes_follow_the_run_unless_the_user_zoomed(self) -> None:
        self.watch(lines=event_lines(20), step=20, steps=50)
        chart = self.chart("loss")
        first = chart.GetXAxisRange()
        self.assertEqual(first[1], 20)
        self.extend(25)
        self.assertEqual(chart.GetXAxisRange()[1], 25)
        low, high = chart.GetYAxisRange()
        values = self.values("loss", "training")
        self.assertTrue(low <= min(values) and max(values) <= high)
        chart.SetXAxisRange(3.0, 9.0)  # what a plot view writes when the user zooms
        self.extend(30)
        self.assertEqual(chart.GetXAxisRange(), (3.0, 9.0))
        chart.SetXAxisRange(first[0], 25.0)  # Fit to content
        self.extend(35)
        self.assertEqual(chart.GetXAxisRange()[1], 35)
        chart.SetXAxisRange(3.0, 9.0)
        self.watch("another", event_lines(10))
        self.assertEqual(chart.GetXAxisRange()[1], 10)

    def extend(self, count: int) -> None:
        """Lets the run go on to so many steps, and waits until they are drawn."""
        there = len(self.values("loss", "training"))
        with (self.folder / "run" / "events.jsonl").open("a", encoding="utf-8") as stream:
            stream.write("\n".join(event_lines(count).splitlines()[there:]) + "\n")
        wait_for(lambda: len(self.values("loss", "training")) == count)

    def test_dice_of_each_region(self) -> None:
        event = {"event": "validation", "step": 5, "score": 0.7, "dice WT": 0.9, "dice ET": 0.5}
        self.watch(lines=json.dumps(event) + "\n", kind="finetuning")
        self.assertEqual(self.values("scores", "WT"), [0.9])
        self.assertEqual(self.cells()["Dice, ET"], "0.500")

    def test_another_run_takes_the_place_of_the_first(self) -> None:
        self.watch("one", event_lines(10))
        nodes = slicer.mrmlScene.GetNumberOfNodes()
        self.watch("two", event_lines(6))
        self.assertEqual(len(self.values("loss", "training")), 6)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), nodes)
        self.assertIn("two", self.chart("loss").GetName())
        self.watch("three", "")
        self.assertEqual(self.tab.plots.nodes(), {})

    def test_a_closed_scene_gets_its_curves_again(self) -> None:
        self.watch(lines=event_lines(5))
        slicer.mrmlScene.Clear(0)
        with (self.folder / "run" / "events.jsonl").open("a", encoding="utf-8") as stream:
            stream.write('{"event": "step", "step": 6, "loss": 0.1}\n')
        wait_for(lambda: self.chart("loss") is not None)
        self.assertEqual(len(self.values("loss", "training")), 6)

    def test_plots_are_arranged(self) -> None:
        self.watch(lines=event_lines(1000))
        self.tab.ui.plotsButton.click()
        wait_for(lambda: self.tab._plotting is None)
        views = [slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLPlotViewNode") for name in PLOT_VIEWS]
        self.assertEqual([view.GetPlotChartNode().GetTitle() for view in views],
                         ["Loss", "Learning rate", "Throughput", "Remaining time"])  # fmt: skip

    def test_a_failed_run_says_why_first(self) -> None:
        end = {"event": "end", "step": 3, "outcome": "failed", "reason": "the loss became nan at step 3"}
        folder = write_run(self.folder / "run")
        (folder / "log.txt").write_text("2026-01-01 step 3\n", encoding="utf-8")
        (folder / "console.txt").write_text("Traceback\nthe last word\n", encoding="utf-8")
        self.watch(lines=event_lines(3) + json.dumps(end) + "\n", phase="failed")
        self.assertEqual(self.tab.ui.errorLabel.text, end["reason"])
        self.assertTrue(self.tab.ui.errorLabel.isVisible())
        wait_for(lambda: "the last word" in self.tab.ui.logText.plainText)
        self.assertIn("step 3", self.tab.ui.logText.plainText)

    def test_a_run_that_died_and_one_that_is_well(self) -> None:
        folder = write_run(self.folder / "run")
        launcher = "error: [/opt/Slicer/bin/python-real] exit abnormally - Report the problem."
        (folder / "console.txt").write_text(f"the last word\n{launcher}\n", encoding="utf-8")
        self.watch(lines=event_lines(3), pid=2**22 + 1)
        self.assertIn("ended unexpectedly", self.tab.ui.errorLabel.text)
        self.assertTrue(self.tab.ui.errorLabel.text.endswith("\nthe last word"))
        self.watch("well", event_lines(3))
        self.assertFalse(self.tab.ui.errorLabel.isVisible())

    def test_noise_and_a_newer_version_are_sentences(self) -> None:
        self.watch(lines="\x00\x01 noise\n[1, 2]\n" + event_lines(4) + '{"event": "step", "st')
        self.assertIn("2 damaged lines of events.jsonl", self.tab.ui.progressLabel.text)
        self.assertEqual(len(self.values("loss", "training")), 4)
        self.logic.open_run(write_run(self.folder / "new", version=99))
        self.assertIn("newer version", self.tab.ui.errorLabel.text)
        self.assertFalse(self.tab.ui.plotsButton.enabled)

    def test_a_hidden_tab_does_nothing(self) -> None:
        self.watch(lines=event_lines(4))
        self.panel.ui.tabWidget.setCurrentIndex(-1)
        self.widget.hide()
        with (self.folder / "run" / "events.jsonl").open("a", encoding="utf-8") as stream:
            stream.write('{"event": "step", "step": 9, "loss": 0.1}\n')
        self.tab.poll()
        self.assertEqual(len(self.values("loss", "training")), 4)

    def test_a_run_of_100000_events_holds_nothing_up(self) -> None:
        """A long file is read in many GUI steps, decimated for the curves and followed; prints the times."""
        lines = event_lines(MANY)
        folder = write_run(self.folder / "long")
        (folder / "events.jsonl").write_text(lines, encoding="utf-8")
        write_state(folder, "running", step=MANY, steps=MANY)
        self.panel.ui.tabWidget.setCurrentIndex(list(self.panel.tabs).index("Watch"))
        slicer.app.processEvents()
        busy, spent, rounds = self.follow(lambda: self.logic.open_run(folder), MANY)
        self.assertGreaterEqual(rounds, 2)
        report(f"opening a run of {MANY} events, {spent:.2f} s in all", busy)
        self.assertLess(len(self.values("loss", "training")), 2003)
        more = lines.splitlines()[-1].replace(f'"step": {MANY}', f'"step": {MANY + 5}')
        with (folder / "events.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(more.replace("validation", "step") + "\n")
        busy, _spent, _rounds = self.follow(lambda: None, MANY + 5)
        report(f"following a run of {MANY} events", busy)

    def follow(self, begin: Any, step: int) -> tuple[float, float, int]:
        """Until the tab has drawn a step: the longest round of the GUI thread and all of them, in s of its time, and
        in how many rounds events were read."""
        started = time.thread_time()
        begin()
        longest, spent = time.thread_time() - started, time.thread_time() - started
        deadline, seen = time.monotonic() + 300, set()
        while self.tab._curves.step < step or self.tab._dirty:
            self.assertLess(time.monotonic(), deadline)
            started = time.thread_time()
            slicer.app.processEvents()
            took = time.thread_time() - started
            longest, spent = max(longest, took), spent + took
            seen.add(self.tab._curves.step)
        return longest, spent, len(seen - {0})


class TestTensorBoard(PanelTestCase):
    """The program is started once and opened where it says."""

    def test_it_is_opened_and_ended(self) -> None:
        from ASATrainingLib.watch.tensorboard import TensorBoard

        opened: list[str] = []
        said: list[str] = []
        board = TensorBoard(self.runner, opened.append, said.append)
        run = write_run(self.folder / "run")
        board.show(run)
        self.assertIn("no TensorBoard data", said[-1])
        self.assertIsNone(self.runner.process)
        (run / "tensorboard").mkdir()
        board.show(run)
        process = self.runner.process
        words = "TensorBoard 2.20 at http://localhost:6007/ (Press CTRL+C)"
        process._lines += [("stderr", "warnings"), ("stderr", words)]
        board.poll()
        board.show(run)
        self.assertEqual(opened, ["http://localhost:6007/"] * 2)
        self.assertIs(self.runner.process, process)
        process.end(1)
        board.poll()
        self.assertIn("ended", said[-1])
        board.show(run)
        self.assertIsNot(self.runner.process, process)
        board.stop()
        self.assertTrue(self.runner.process.stopped)
