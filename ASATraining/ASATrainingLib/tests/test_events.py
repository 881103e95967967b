"""events.jsonl as it may be found: growing, half written, full of noise, replaced, of a run that was resumed."""

from __future__ import annotations

import json

import numpy as np

from ASATrainingLib.tests.case import FolderTestCase
from ASATrainingLib.watch.curves import charts
from ASATrainingLib.watch.events import Curves, EventReader, decimated, smoothed


class TestEventReader(FolderTestCase):
    """Reading never fails and never reads twice."""

    def setUp(self) -> None:
        super().setUp()
        self.path = self.folder / "events.jsonl"
        self.reader = EventReader(self.path)

    def write(self, data: bytes, mode: str = "ab") -> None:
        with self.path.open(mode) as stream:
            stream.write(data)

    def steps(self) -> list[int]:
        return [event["step"] for event in self.reader.read(1.0)[0]]

    def test_without_a_file_there_is_nothing(self) -> None:
        self.assertEqual(self.reader.read(1.0), ([], False))

    def test_only_what_is_new_and_whole(self) -> None:
        self.write(b'{"event": "step", "step": 1}\n{"event": "st')
        self.assertEqual(self.steps(), [1])
        self.assertEqual(self.steps(), [])
        self.write(b'ep", "step": 2}')
        self.assertEqual(self.steps(), [])
        self.write(b'\n{"event": "step", "step": 3}\n')
        self.assertEqual(self.steps(), [2, 3])
        self.assertEqual(self.reader.noise, 0)

    def test_noise_is_passed_over_and_counted(self) -> None:
        noise = (b"\x00\xff\xfe\n", b"[]\n", b"3\n", b'{"step": 4}\n', b"{" * 5000 + b"\n", b'{"event": 5}\n', b"\n")
        for line in noise:
            self.write(line)
        self.write(b'{"event": "step", "step": 7}\n')
        self.assertEqual(self.steps(), [7])
        self.assertEqual(self.reader.noise, 6)

    def test_a_line_without_an_end_is_noise(self) -> None:
        self.write(b"x" * 5_000_000)
        self.assertEqual(self.steps(), [])
        self.assertLess(len(self.reader._rest), 2_000_000)
        self.write(b'\n{"event": "step", "step": 8}\n')
        self.assertEqual(self.steps(), [8])
        self.assertEqual(self.reader.noise, 1)

    def test_a_shorter_file_is_read_from_its_start(self) -> None:
        self.write(b'{"event": "step", "step": 1}\n{"event": "step", "step": 2}\n')
        self.steps()
        self.write(b'{"event": "step", "step": 9}\n', "wb")
        self.assertEqual(self.steps(), [9])
        self.assertTrue(self.reader.restarted)
        self.assertEqual(self.steps(), [])
        self.assertFalse(self.reader.restarted)

    def test_a_little_at_a_time(self) -> None:
        self.write(b"".join(b'{"event": "step", "step": %d, "loss": 0.5}\n' % i for i in range(20_000)))
        found, rounds, more = [], 0, True
        while more:
            events, more = self.reader.read(0.0)
            found += [event["step"] for event in events]
            rounds += 1
        self.assertEqual(found, list(range(20_000)))
        self.assertGreater(rounds, 5)


class TestCurves(FolderTestCase):
    """From events to what is drawn."""

    def test_a_resumed_run_replaces_what_came_after_its_checkpoint(self) -> None:
        found = Curves()
        for step, loss in ((10, 5.0), (20, 4.0), (30, 3.0)):
            found.add({"event": "step", "step": step, "loss": loss})
        found.add({"event": "end", "step": 30, "outcome": "stopped"})
        self.assertEqual(found.end["outcome"], "stopped")
        found.add({"event": "resume", "step": 15})
        found.add({"event": "step", "step": 20, "loss": 1.0})
        steps, values = found.series["step", "loss"].arrays()
        self.assertEqual((list(steps), list(values), found.end, found.step), ([10, 20], [5, 1], {}, 20))

    def test_what_is_no_number_is_passed_over(self) -> None:
        found = Curves()
        for value in ("x", None, [1], float("nan"), float("inf"), True, {"a": 1}):
            found.add({"event": "step", "step": 1, "loss": value})
            found.add({"event": "step", "step": value, "loss": 1.0})
        self.assertEqual(found.series, {})
        self.assertEqual(charts(found), [])

    def test_many_at_once_are_the_same_as_one_by_one(self) -> None:
        events = [json.loads(line) for line in event_lines(2500).splitlines()]
        events[700]["loss"] = float("nan")
        events[1200] = {"event": "resume", "step": 900}
        events[1300]["step"] = 901
        del events[2000]["lr"]
        singly, together = Curves(), Curves()
        for event in events:
            singly.add(event)
        for start in range(0, len(events), 300):
            together.extend(events[start : start + 300])
        self.assertEqual(set(singly.series), set(together.series))
        for key, series in singly.series.items():
            np.testing.assert_array_equal(series.arrays(), together.series[key].arrays())
        self.assertEqual((singly.step, singly.end), (together.step, together.end))

    def test_charts_of_both_kinds_of_run(self) -> None:
        tuned, trained = Curves(), Curves()
        for step in range(1, 6):
            rate = {"lr": 0.1, "samples_per_second": 2.0, "remaining_s": 60.0 * step}
            for found in (tuned, trained):
                found.add({"event": "step", "step": step, "loss": 1 / step, **rate})
            tuned.add({"event": "validation", "step": step, "score": 0.5, "dice WT": 0.8, "dice ET": 0.6})
            trained.add({"event": "validation", "step": step, "score": -0.5, "loss": 0.5, "mse": 0.4})
        drawn = {chart.key: chart for chart in charts(tuned)}
        self.assertEqual(list(drawn), ["loss", "scores", "lr", "speed", "remaining"])
        self.assertEqual([curve.title for curve in drawn["scores"].curves], ["WT", "ET"])
        self.assertEqual(list(drawn["remaining"].curves[0].values), [1, 2, 3, 4, 5])
        drawn = {chart.key: chart for chart in charts(trained)}
        self.assertEqual([curve.title for curve in drawn["loss"].curves], ["training", "held out"])
        self.assertEqual([curve.title for curve in drawn["scores"].curves], ["mse"])

    def test_a_decimated_curve_keeps_its_extremes(self) -> None:
        values = np.sin(np.arange(100_003) / 900.0)
        values[[40_001, 77_777]] = 9.0, -7.0
        steps = np.arange(100_003.0)
        few, thinned = decimated(steps, values, 500)
        self.assertLessEqual(len(few), 1002)
        self.assertTrue((np.diff(few) > 0).all())
        self.assertEqual((few[0], few[-1]), (0, 100_002))
        np.testing.assert_array_equal(thinned, values[few.astype(int)])
        for part in range(0, 100_003, 5000):
            inside = (few >= part) & (few < part + 5000)
            self.assertAlmostEqual(thinned[inside].max(), values[part : part + 5000].max(), delta=0.3)
        self.assertTrue({40_001.0, 77_777.0} <= set(few))
        np.testing.assert_array_equal(decimated(steps[:9], values[:9], 500)[1], values[:9])

    def test_smoothing_is_a_mean(self) -> None:
        np.testing.assert_allclose(smoothed(np.array([1.0, 2, 3, 4]), 2), [1, 1.5, 2.5, 3.5])


def event_lines(count: int) -> str:
    """Events as a long pre-training writes them."""
    lines = []
    for step in range(1, count + 1):
        loss = round(1 / (1 + step / 5000) + 0.02 * (step * 7919 % 101) / 101, 6)
        lines.append(
            f'{{"event": "step", "time": {1e9 + step}, "step": {step}, "lr": 0.001, "seconds": 0.5, '
            f'"samples_per_second": 8.0, "remaining_s": {count - step}, "memory_gib": 1.2, "loss": {loss}, '
            f'"mse": {loss}, "attentive": {loss}, "attentive_sum": {loss}, "gradient_norm": 0.3}}'
        )
        if step % 1000 == 0:
            lines.append(json.dumps({"event": "validation", "step": step, "best": True, "score": -loss, "loss": loss}))
    return "\n".join(lines) + "\n"
