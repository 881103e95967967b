"""What a killed process leaves is removed by the next one, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from asa import temporary
from asa.files import atomic_path, write_text
from asa.temporary import private_folder, remove_abandoned, temporary_folder, temporary_path

KILLED = """
import os, signal
from pathlib import Path
from asa.files import atomic_path
from asa.temporary import private_folder
(private_folder("job") / "t1.nii.gz").write_bytes(b"a patient's head")
with atomic_path(Path("state.json")) as half:
    half.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def temporary_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setattr(temporary, "_looked_through", set())
    return place


@pytest.mark.skipif(os.name == "nt", reason="what is left is removed after a day there, if the process cannot be asked")
def test_a_killed_process_leaves_nothing_to_the_next(tmp_path: Path, temporary_place: Path) -> None:
    place = tmp_path / "run"
    place.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary_place)}
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=place, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [len(list(one.iterdir())) for one in (place, temporary_place)] == [1, 1]
    write_text(place / "other.txt", "text")
    assert [path.name for path in place.iterdir()] == ["other.txt"]
    with temporary_folder("next") as own:
        assert list(temporary_place.iterdir()) == [own]
    assert list(temporary_place.iterdir()) == []


def test_what_is_written_right_now_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with atomic_path(tmp_path / "a.txt") as half:
        half.write_text("half")
        monkeypatch.setattr(temporary, "_looked_through", set())
        write_text(tmp_path / "b.txt", "text")
        assert half.exists()
    assert private_folder("x").stat().st_mode & 0o077 == 0 or os.name == "nt"


def test_of_another_machine_only_what_is_old_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary, "_machine", lambda: "0" * 8)
    fresh, old = temporary_path(tmp_path / "fresh.txt"), temporary_path(tmp_path / "old.txt")
    monkeypatch.undo()
    for path in (fresh, old):
        path.write_text("half")
    day_before = time.time() - 2 * temporary.ABANDONED_AFTER_S
    os.utime(old, (day_before, day_before))
    remove_abandoned(tmp_path)
    assert fresh.exists() and not old.exists()


@pytest.mark.parametrize("name", [".asa-partial", ".hidden", "asa-notes.txt", ".asa-lock", ".1234abcd.state.json"])
def test_other_files_stay(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("of somebody")
    os.utime(path, (0, 0))
    remove_abandoned(tmp_path)
    assert path.exists()


def test_a_link_is_removed_and_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "precious"
    target.mkdir()
    (target / "scan.nii.gz").write_bytes(b"scan")
    monkeypatch.setattr(temporary, "process_alive", lambda _pid: False)
    link = temporary_path(tmp_path / "x.txt")
    link.symlink_to(target)
    remove_abandoned(tmp_path)
    assert not link.is_symlink() and (target / "scan.nii.gz").exists()
