"""Memory that a process may use, and its refusal of work that needs more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from asa import memory
from asa.errors import ResourceError

GIB = 1 << 30
V2 = {"memory.max": "{limit}\n", "memory.current": "{used}\n", "memory.stat": "anon 1\ninactive_file {files}\n"}
V1 = {
    "memory.limit_in_bytes": "{limit}\n",
    "memory.usage_in_bytes": "{used}\n",
    "memory.stat": "cache 1\ntotal_inactive_file {files}\n",
}


def control_group(folder: Path, files: dict[str, str], limit: int | str) -> None:
    """Write what Linux says of a group that uses 3 GiB, 1 GiB of it for files that make room."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text.format(limit=limit, used=3 * GIB, files=GIB), encoding="ascii")


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A computer with 64 GiB free, whose control groups are in the folder ``groups``."""
    (tmp_path / "self").mkdir()
    monkeypatch.setattr(memory, "CONTROL_GROUP", tmp_path / "groups")
    monkeypatch.setattr(memory, "PROCESS", tmp_path / "self")
    monkeypatch.setattr(memory, "main_memory", lambda line: 64 * GIB)
    monkeypatch.setattr(memory, "_left_by_limits", lambda: iter(()))
    return tmp_path


@pytest.mark.parametrize(
    ("lines", "groups", "left"),
    [
        ("0::/", {".": (V2, 4 * GIB)}, 2),  # in a container
        ("0::/slurm/job_7", {"slurm/job_7": (V2, "max"), "slurm": (V2, 5 * GIB)}, 3),  # a job of a cluster
        ("0::/outside", {".": (V2, 4 * GIB)}, 2),  # a container that sees the path of its computer
        ("4:memory:/slurm/job_7\n0::/", {"memory/slurm/job_7": (V1, 6 * GIB), "memory": (V1, 2**63 - 4096)}, 4),
        ("4:cpu,memory:/a", {"memory/a": (V1, 6 * GIB)}, 4),
        ("damaged", {".": (V2, 4 * GIB)}, 64),
        ("0::/", {}, 64),
    ],
)
def test_the_least_that_the_control_groups_leave(lines: str, groups: dict, left: int, computer: Path) -> None:
    (computer / "self" / "cgroup").write_text(lines, encoding="ascii")
    for name, (files, limit) in groups.items():
        control_group(computer / "groups" / name, files, limit)
    assert memory.available_memory() == left * GIB


def test_what_the_process_holds_is_usable(computer: Path) -> None:
    (computer / "self" / "status").write_text(f"Name:\tpython\nRssAnon:\t{GIB // 1024} kB\n", encoding="ascii")
    memory.require_memory(65 * GIB)
    with pytest.raises(ResourceError, match=r"needs about 70\.9 GB of memory, and 69\.8 GB can be used here\. Close"):
        memory.require_memory(66 * GIB)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say how much a process uses")
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_limit_of_the_process_is_said_before_the_work(limit: str, tmp_path: Path) -> None:
    scan, result = tmp_path / "scan.nii", tmp_path / "result"
    scan.write_bytes(b"not read")
    code = (
        "import resource, sys; from asa.cli import main; import asa.inference, asa.jobs.segment;"
        f"resource.setrlimit(resource.{limit}, (1 << 30, 1 << 30)); main({['segment', str(scan), '-o', str(result)]})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == ResourceError.exit_code, done.stderr
    assert "Error: A segmentation needs about" in done.stderr and "GB can be used here. Close" in done.stderr
    assert "Traceback" not in done.stderr
    assert not result.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say how much a process uses")
def test_a_program_of_the_panel_says_it_too(tmp_path: Path) -> None:
    request, scan = tmp_path / "request.json", tmp_path / "scan.nii"
    scan.write_bytes(b"not read")
    request.write_text(json.dumps({"images": {"t1": str(scan)}, "output": str(tmp_path / "result")}), encoding="utf-8")
    code = (
        "import resource, sys; import asa.inference; from asa.jobs.segment import main;"
        f"resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30)); sys.exit(main([{str(request)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False)
    event = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == ResourceError.exit_code and event["message"].startswith("A segmentation needs about")
