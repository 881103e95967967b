"""Run folders as they may be found: alive, dead, half written, from elsewhere, from the future."""

from __future__ import annotations

import os
import subprocess
import time
import unittest
from unittest import mock

from asa.liveness import process_alive
from ASASlicerLib.process import python_executable
from ASATrainingLib.runs.run_folder import Status, read_run, read_state
from ASATrainingLib.tests.case import FolderTestCase, write_run, write_state


class TestRunFolder(FolderTestCase):
    """Reading never fails; it says what is wrong."""

    def test_a_run_is_described(self) -> None:
        write_run(self.folder, "finetuning", optimisation={"steps": 7})
        run = read_run(self.folder)
        self.assertEqual((run.kind, run.problem, run.status), ("finetuning", "", Status.NEW))
        self.assertEqual(run.settings["optimisation"]["steps"], 7)

    def test_without_a_yaml_reader_the_kind_is_known(self) -> None:
        write_run(self.folder, "finetuning")
        (self.folder / "run.yaml").write_text("format: 1\nkind: finetuning\nsettings:\n  store: x\n", encoding="utf-8")
        with mock.patch("importlib.import_module", side_effect=ImportError):
            run = read_run(self.folder)
        self.assertEqual((run.kind, run.settings, run.problem), ("finetuning", {}, ""))

    def test_newer_damaged_and_missing(self) -> None:
        self.assertIn("not a run folder", read_run(self.folder).problem)
        write_run(self.folder, version=2)
        self.assertIn("newer version of ASA (format 2)", read_run(self.folder).problem)
        for text in ("format: 1\nki", "{", "\x00\xff", ""):
            (self.folder / "run.yaml").write_text(text, encoding="utf-8")
            self.assertIn("damaged", read_run(self.folder).problem)

    def test_half_written_state_is_no_state(self) -> None:
        for text in ("", '{"phase": "run', "[]", '{"phase": 3, "pid": "x", "time": null}'):
            (self.folder / "state.json").write_text(text, encoding="utf-8")
            self.assertIs(read_state(self.folder).status, Status.NEW)

    def test_a_process_that_is_gone_is_noticed(self) -> None:
        write_state(self.folder, "running")
        self.assertIs(read_state(self.folder).status, Status.RUNNING)
        child = subprocess.Popen([python_executable(), "-c", "pass"])
        child.wait()
        write_state(self.folder, "running", pid=child.pid)
        self.assertIs(read_state(self.folder).status, Status.DIED)
        write_state(self.folder, "finished", pid=child.pid)
        self.assertIs(read_state(self.folder).status, Status.FINISHED)

    def test_elsewhere_the_heartbeat_decides(self) -> None:
        write_state(self.folder, "running", host="node-17", pid=1)
        self.assertIs(read_state(self.folder).status, Status.RUNNING)
        write_state(self.folder, "running", host="node-17", pid=os.getpid(), time=time.time() - 7200)
        self.assertIs(read_state(self.folder).status, Status.DIED)

    @unittest.skipUnless(os.name == "posix", "zombies are POSIX's")
    def test_a_zombie_is_dead(self) -> None:
        child = subprocess.Popen([python_executable(), "-c", "pass"])
        deadline = time.monotonic() + 10
        while process_alive(child.pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertFalse(process_alive(child.pid))
        child.wait()
