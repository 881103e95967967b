"""The job's process and what surrounds it: its lines, its end with all its children, its inputs and outputs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from ASASlicerLib import process as process_module
from ASASlicerLib.engine_job import CleanUp, EngineJob
from ASASlicerLib.nifti import read_nifti, write_nifti
from ASASlicerLib.process import PythonRunner, RunningProcess
from ASASlicerLib.steps import finish


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "The condition was not met in time."
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def start(code: str, folder: Path) -> RunningProcess:
    return PythonRunner(folder).start(["-c", code], folder)


def all_lines(process: RunningProcess) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []

    def ended() -> bool:
        found.extend(process.lines())
        return process.exit_code is not None

    wait_for(ended)
    return found


def test_both_streams_come_line_by_line_and_whole(tmp_path: Path) -> None:
    code = "import sys; [print('line', i, 'é') for i in range(2000)]; print('oops', file=sys.stderr); sys.exit(3)"
    process = start(code, tmp_path)
    lines = all_lines(process)
    assert [text for stream, text in lines if stream == "stdout"] == [f"line {i} é" for i in range(2000)]
    assert [text for stream, text in lines if stream == "stderr"] == ["oops"]
    assert process.exit_code == 3


def test_asking_never_waits(tmp_path: Path) -> None:
    process = start("import time; time.sleep(60)", tmp_path)
    before = time.thread_time()
    assert process.lines() == []
    assert process.exit_code is None
    process.stop()
    assert time.thread_time() - before < 0.05
    wait_for(lambda: process.lines() == [] and process.exit_code is not None)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("stubborn", [False, True], ids=["obedient", "ignores the request"])
def test_stopping_ends_the_children_too(tmp_path: Path, stubborn: bool) -> None:
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " if stubborn else ""
    child = f"{ignore}import time; print('up', flush=True); time.sleep(60)"
    code = (
        f"{ignore}import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    process = start(code, tmp_path)
    lines: list[tuple[str, str]] = []
    wait_for(lambda: lines.extend(process.lines()) or lines)
    grandchild = int(lines[0][1])
    assert alive(process.pid) and alive(grandchild)
    process.stop()
    wait_for(lambda: not alive(process.pid) and not alive(grandchild))


def test_a_child_left_behind_by_its_parent_is_ended(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
        " stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
    )
    process = start(code, tmp_path)
    orphan = int(all_lines(process)[0][1])
    process.stop()
    wait_for(lambda: not alive(orphan))


def test_the_engine_is_found_and_the_environment_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "engine.py").write_text("", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/elsewhere"]))
    process = start("import engine, os; print(os.environ['PYTHONPATH'])", tmp_path)
    assert all_lines(process) == [("stdout", os.pathsep.join([str(tmp_path), "/elsewhere"]))]


_NO_WINDOW, _NEW_GROUP = 0x08000000, 0x00000200  # of CreateProcess


class Recorded:
    """Instead of a program: how it was to be started."""

    calls: ClassVar[list[tuple[list[str], dict[str, Any]]]] = []
    pid = 4711

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        self.calls.append((list(command), options))
        self.stdout = self.stderr = SimpleNamespace(fileno=lambda: -1)

    def poll(self) -> None:
        return None


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, Any]]]:
    """The process module as it is on Windows; the calls of CreateProcess."""
    Recorded.calls.clear()
    monkeypatch.setattr(process_module, "_POSIX", False)
    monkeypatch.setattr(process_module, "_FLAGS", _NO_WINDOW)
    monkeypatch.setattr(process_module.subprocess, "CREATE_NEW_PROCESS_GROUP", _NEW_GROUP, raising=False)
    monkeypatch.setattr(process_module.subprocess, "Popen", Recorded)
    return Recorded.calls


def test_programs_on_windows(windows: list[tuple[list[str], dict[str, Any]]], tmp_path: Path) -> None:
    runner = PythonRunner(tmp_path)
    runner.start(["-m", "asa.jobs.segment", "request.json"], tmp_path).stop()
    runner.detach(["-m", "asa", "pretrain"], tmp_path, tmp_path / "console.txt")
    (_job, job), (killer, kill), (_run, run) = windows
    assert killer == ["taskkill", "/F", "/T", "/PID", "4711"]  # with all that it started
    flags = [options["creationflags"] for options in (job, kill, run)]
    assert flags == [_NO_WINDOW, _NO_WINDOW, _NO_WINDOW | _NEW_GROUP]
    assert not job["start_new_session"] and not run["start_new_session"]


class HeldFolder(EngineJob[None]):
    """A job whose process never started."""


def test_a_folder_that_is_held_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where what a program has open cannot be removed."""
    job, ended = HeldFolder(PythonRunner(Path())), CleanUp()
    job.cancel()
    ended.add(job)
    with monkeypatch.context() as held:
        held.setattr("shutil.rmtree", lambda *_args, **_options: None)
        ended.advance()
        assert ended and job.folder.is_dir()
    ended.advance()
    assert not ended and not job.folder.exists()


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.uint16, np.int64])
def test_nifti_there_and_back(tmp_path: Path, kind: type) -> None:
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(kind)
    sheared = np.array([[-1, 0.2, 0, 5], [0.1, 2, 0.3, -6], [0, 0, 1.5, 7], [0, 0, 0, 1.0]])
    finish(write_nifti(tmp_path / "a.nii", lambda: array, sheared))
    found, affine = finish(read_nifti(tmp_path / "a.nii"))
    np.testing.assert_array_equal(found, array.T)
    np.testing.assert_allclose(affine, sheared, rtol=1e-6)


def test_nifti_agrees_with_nibabel(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    array = np.random.default_rng(1).random((5, 6, 7)).astype(np.float32)
    affine = np.diag([-1.0, 2.0, 3.0, 1.0])
    finish(write_nifti(tmp_path / "ours.nii", lambda: array, affine))
    image = nibabel.load(tmp_path / "ours.nii")
    np.testing.assert_array_equal(np.asarray(image.dataobj), array.T)
    np.testing.assert_array_equal(image.affine, affine)
    nibabel.save(image, tmp_path / "theirs.nii.gz")
    found, read = finish(read_nifti(tmp_path / "theirs.nii.gz"))
    np.testing.assert_array_equal(found, array.T)
    np.testing.assert_array_equal(read, affine)


def test_what_is_no_nifti_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"no image" * 100)
    with pytest.raises(ValueError, match="not a NIfTI"):
        finish(read_nifti(tmp_path / "a.nii"))


def test_python_for_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module.shutil, "which", lambda name: f"/bin/{name}")
    assert process_module.python_executable() == "/bin/PythonSlicer"
    monkeypatch.setattr(process_module.shutil, "which", lambda name: None)
    assert process_module.python_executable() == sys.executable
