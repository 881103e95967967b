"""What the two commands of the README call besides pip."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLE_IMAGE = REPOSITORY / "Resources" / "Scripts" / "sample_image.py"


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(
        words, capture_output=True, encoding="utf-8", errors="replace", timeout=300, env=environment or None
    )


def test_the_sample_image_is_a_whole_head(tmp_path: Path) -> None:
    pytest.importorskip("nilearn", reason="the sample lies inside nilearn's wheel")
    image = tmp_path / "new" / "folder" / "head.nii.gz"
    done = run(sys.executable, SAMPLE_IMAGE, image)
    assert done.returncode == 0, done.stderr
    head = nibabel.load(image)
    assert head.shape == (197, 233, 189)
    assert nibabel.aff2axcodes(head.affine) == ("R", "A", "S")


def test_a_sample_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run(sys.executable, SAMPLE_IMAGE, tmp_path / "file" / "head.nii.gz")
    assert done.returncode == 1
    assert done.stderr.startswith("No sample image: ")
    assert "Traceback" not in done.stderr


@pytest.fixture
def bare_machine(tmp_path: Path) -> str:
    """A PATH on which ldconfig knows one library, and the user is not root."""
    programs = {"ldconfig": "echo ' libEGL.so.1 (libc6) => libEGL.so.1'", "id": "echo 1000", "uname": "echo Linux"}
    for program, line in programs.items():
        (tmp_path / program).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        (tmp_path / program).chmod(0o755)
    grep = subprocess.run(
        ["sh", "-c", "command -v grep"], capture_output=True, encoding="utf-8", errors="replace", check=True
    ).stdout.strip()
    (tmp_path / "grep").symlink_to(grep)
    return str(tmp_path)


def test_missing_system_libraries_are_named_in_one_line(bare_machine: str) -> None:
    done = run("/bin/sh", REPOSITORY / "Testing" / "system_libraries.sh", PATH=bare_machine)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert "apt-get install" in done.stdout
    assert "libgl1" in done.stdout
    assert "libegl1" not in done.stdout


def test_past_the_time_of_ci_no_slow_test_is_begun() -> None:
    slow = REPOSITORY / "Testing" / "engine" / "training" / "finetuning" / "test_overfit.py"
    every_one = (sys.executable, "-m", "pytest", "-q", "-rs", "--rootdir", REPOSITORY, "-p", "no:cacheprovider", slow)
    done = run(*every_one, **{**os.environ, "ASA_TEST_MINUTES": "0"})
    assert done.returncode == 0, done.stdout
    assert (
        re.search(r"^[1-9]\d* skipped in", done.stdout, re.MULTILINE)
        and "passed" not in done.stdout
        and "not begun after 0 minutes" in done.stdout
    )
